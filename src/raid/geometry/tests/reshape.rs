//! Reshapes played through on members in memory, with a power cut after every write.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::{Direction, Geometry, ReshapeView, Side, SidePiece};
use crate::raid::{Level, SECTOR_BYTES, Slot};

const CHUNK_BYTES: u64 = 4096;

/// [`SECTOR_BYTES`] as a step.
const SECTOR_STEP: usize = 512;

/// Members as the number of the array's sector that each of their sectors holds.
struct Members {
    sectors: Vec<Vec<u64>>,
    /// Where the old data areas begin, in bytes.
    start_bytes: u64,
}

/// A place on no member's array, and what was never written.
const NOTHING: u64 = u64::MAX;

impl Members {
    fn place(&self, shift_bytes: i64, offset: u64) -> usize {
        usize::try_from((self.start_bytes + offset).strict_add_signed(shift_bytes) / SECTOR_BYTES).unwrap()
    }

    fn read(&self, slot: Slot, shift_bytes: i64, offset: u64) -> u64 {
        self.sectors[slot.index()][self.place(shift_bytes, offset)]
    }

    fn write(&mut self, slot: Slot, shift_bytes: i64, offset: u64, value: u64) {
        let place = self.place(shift_bytes, offset);
        self.sectors[slot.index()][place] = value;
    }

    /// Every place of a range of the array by one geometry.
    fn places(geometry: &Geometry, from: u64, to: u64) -> Vec<(Slot, u64, u64)> {
        let pieces = geometry.map(from, to - from);
        pieces
            .flat_map(|piece| piece.copies().map(move |copy| (piece, copy)))
            .flat_map(|(piece, (slot, at))| {
                let sectors = (0..piece.length_bytes).step_by(SECTOR_STEP);
                sectors.map(move |within| (slot, at + within, (piece.array_offset_bytes + within) / SECTOR_BYTES))
            })
            .collect()
    }

    /// Parities of the stripes of a range, which are overwritten too.
    fn parities(geometry: &Geometry, from: u64, to: u64) -> Vec<(Slot, u64, u64)> {
        let stripes = (0..geometry.stripes()).map(|number| geometry.stripe(number).unwrap());
        let inside = stripes.filter(|stripe| (from..to).contains(&stripe.array_offset_bytes()));
        inside
            .flat_map(|stripe| {
                let slots = [Some(stripe.p), stripe.q].into_iter().flatten();
                slots.flat_map(move |slot| {
                    let sectors = (0..geometry.chunk_bytes()).step_by(SECTOR_STEP);
                    sectors.map(move |within| (slot, stripe.member_offset_bytes + within, NOTHING))
                })
            })
            .collect()
    }

    /// True where every sector is found through the view.
    fn are_whole(&self, view: &ReshapeView) -> bool {
        view.map(0, view.capacity_bytes()).all(|SidePiece { side, piece }| {
            let shift = view.shift_bytes(side);
            piece.copies().all(|(slot, at)| {
                let mut sectors = (0..piece.length_bytes).step_by(SECTOR_STEP);
                sectors.all(|within| {
                    self.read(slot, shift, at + within) == (piece.array_offset_bytes + within) / SECTOR_BYTES
                })
            })
        })
    }
}

fn shapes() -> impl Strategy<Value = (Geometry, Geometry)> {
    let parity = |slots: usize, layout: u32, chunks: u64| {
        let chunk = CHUNK_BYTES << (chunks & 1);
        let level = if layout < 6 { Level::Raid5 } else { Level::Raid6 };
        let layout = if layout < 6 {
            layout
        } else {
            [2, 8, 18][layout as usize - 6]
        };
        Geometry::new(level, layout, chunk, &vec![16 * CHUNK_BYTES; slots])
    };
    let copies = |slots: usize, layout: u32| {
        let layout = [0x102, 0x1_0201, 0x103][layout as usize % 3];
        Geometry::new(Level::Raid10, layout, CHUNK_BYTES, &vec![16 * CHUNK_BYTES; slots])
    };
    let parities = (
        (4..=7_usize, 0..9_u32, any::<u64>()),
        (4..=7_usize, 0..9_u32, any::<u64>()),
    )
        .prop_map(move |(old, new)| (parity(old.0, old.1, old.2), parity(new.0, new.1, new.2)));
    let mirrors = ((3..=7_usize, 0..3_u32), (3..=7_usize, 0..3_u32))
        .prop_map(move |(old, new)| (copies(old.0, old.1), copies(new.0, new.1)));
    prop_oneof![parities, mirrors].prop_map(|(old, new)| (old.unwrap(), new.unwrap()))
}

/// Moves an array step by step as far as it is safe; true where it got to the end.
fn play(members: &mut Members, view: &mut ReshapeView) -> bool {
    let forward = view.direction() == Direction::Forward;
    let (shift, new) = (view.shift_bytes(Side::New), view.new_geometry().clone());
    let goal = if forward { view.capacity_bytes() } else { 0 };
    while (view.position_bytes() < goal) == forward && view.position_bytes() != goal {
        let (position, safe) = (view.position_bytes(), view.safe_position_bytes());
        if safe == position {
            return false;
        }
        let (from, to) = (position.min(safe), position.max(safe).min(new.capacity_bytes()));
        let data = Members::places(&new, from, to.max(from)).into_iter();
        let writes = data.chain(Members::parities(&new, from, to.max(from)));
        for (slot, at, value) in writes {
            members.write(slot, shift, at, value);
        }
        // A power cut here: the superblocks still have the old position.
        assert!(
            members.are_whole(view),
            "a cut between {position} and {safe} loses data"
        );
        view.advance(safe);
        assert!(members.are_whole(view), "{safe} is not where the members are");
    }
    true
}

proptest! {
    /// R59: a reshape that keeps to safe positions loses nothing to a power cut, in either direction; with enough room
    /// it comes to its end without any copy elsewhere.
    #[test]
    fn safe_positions_are_safe(
        (old, new) in shapes(),
        forward in any::<bool>(),
        chunks in prop_oneof![Just(0_i64), Just(1), Just(-1), -40..=40_i64],
    ) {
        let shift_bytes = chunks * CHUNK_BYTES.cast_signed();
        let start_bytes = 40 * CHUNK_BYTES;
        let rows = 16 * CHUNK_BYTES + 80 * CHUNK_BYTES;
        let slots = old.slots().max(new.slots());
        let mut members = Members {
            sectors: vec![vec![NOTHING; usize::try_from(rows / SECTOR_BYTES).unwrap()]; usize::from(slots)],
            start_bytes,
        };
        for (slot, at, value) in Members::places(&old, 0, old.capacity_bytes()) {
            members.write(slot, 0, at, value);
        }
        let (direction, position) = if forward {
            (Direction::Forward, 0)
        } else {
            let end = old.capacity_bytes().min(new.capacity_bytes());
            let unit = if new.stripes() > 0 { new.stripe_bytes() } else { new.chunk_bytes() };
            (Direction::Backward, end.next_multiple_of(unit).min(new.capacity_bytes()))
        };
        let mut view = ReshapeView::new(old, new, direction, shift_bytes, position).unwrap();
        prop_assert!(members.are_whole(&view));
        let done = play(&mut members, &mut view);
        let room = if forward { -40..=-16 } else { 16..=40 };
        prop_assert!(done || !room.contains(&chunks), "stuck at {}", view.position_bytes());
        if done {
            let side = if forward { view.capacity_bytes().saturating_sub(1) } else { 0 };
            prop_assert_eq!(view.side_of(side), Side::New);
        }
    }
}

/// R59: growing without room cannot take even the first step, and half a chunk row of room makes it possible.
#[test]
fn growing_needs_room_before_the_data() {
    let shape = |slots| Geometry::new(Level::Raid5, 2, CHUNK_BYTES, &vec![16 * CHUNK_BYTES; slots]).unwrap();
    let view = |shift| ReshapeView::new(shape(3), shape(4), Direction::Forward, shift, 0).unwrap();
    assert_eq!(view(0).safe_position_bytes(), 0);
    let chunk = CHUNK_BYTES.cast_signed();
    assert_eq!(view(-chunk).safe_position_bytes(), 3 * CHUNK_BYTES);
    assert_eq!(view(-5 * chunk).safe_position_bytes(), 15 * CHUNK_BYTES);
}

/// R59: reshapes that md does not do are refused, with what to do instead.
#[test]
fn shapes_that_do_not_lead_to_one_another_are_refused() {
    let shape = |level, layout| Geometry::new(level, layout, CHUNK_BYTES, &[16 * CHUNK_BYTES; 4]).unwrap();
    let refused = |old, new, position| {
        let view = ReshapeView::new(old, new, Direction::Forward, 0, position);
        view.unwrap_err().to_string()
    };
    let five = || shape(Level::Raid5, 2);
    let sizes = [16 * CHUNK_BYTES, 17 * CHUNK_BYTES];
    let uneven = Geometry::new(Level::Raid0, 1, CHUNK_BYTES, &sizes).unwrap();
    assert!(refused(uneven, five(), 0).contains("equal members"));
    assert!(refused(shape(Level::Raid10, 0x201), shape(Level::Raid10, 0x102), 0).contains("far"));
    assert!(refused(shape(Level::Raid10, 0x102), five(), 0).contains("do not lead"));
    assert!(refused(five(), shape(Level::Raid6, 2), 4096).contains("inside a stripe"));
    assert!(refused(five(), shape(Level::Raid6, 2), 1 << 40).contains("past the end"));
}
