//! Properties of random shapes of every level and layout: maps are bijections, and losses are judged as they are.

use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::{Cell, Geometry, GeometryError, Redundancy};
use crate::raid::{Level, SECTOR_BYTES, Slot};

const CHUNK_BYTES: u64 = 4096;

fn layout(level: Level) -> impl Strategy<Value = u32> {
    let raid10 = (1..=3_u32, 1..=3_u32, any::<bool>(), 0..=2_u32)
        .prop_map(|(near, far, offset, sets)| near | far << 8 | u32::from(offset) << 16 | sets << 17);
    match level {
        Level::Raid0 => prop_oneof![Just(1), Just(2)].boxed(),
        Level::Raid5 => (0..=5_u32).boxed(),
        Level::Raid6 => prop_oneof![0..=5_u32, 8..=10_u32, 16..=20_u32].boxed(),
        Level::Raid10 => raid10.boxed(),
        Level::Linear | Level::Raid1 | Level::Raid4 => Just(0).boxed(),
    }
}

/// A shape that is allowed, of members of up to 13 chunks and odd rests.
fn geometry(slots: usize) -> impl Strategy<Value = (Geometry, Vec<u64>)> {
    let level = prop::sample::select(Level::ALL.to_vec());
    let members = prop::collection::vec((1..=13_u64, 0..CHUNK_BYTES / SECTOR_BYTES), 1..=slots);
    let member = |(chunks, rest): (u64, u64)| chunks * CHUNK_BYTES + rest * SECTOR_BYTES;
    let shape = level.prop_flat_map(move |level| (Just(level), layout(level), members.clone()));
    shape.prop_filter_map("a shape that is refused", move |(level, layout, members)| {
        let sizes: Vec<u64> = members.into_iter().map(member).collect();
        let chunk = if level == Level::Raid0 {
            CHUNK_BYTES * 3 / 2
        } else {
            CHUNK_BYTES
        };
        Geometry::new(level, layout, chunk, &sizes)
            .ok()
            .map(|geometry| (geometry, sizes))
    })
}

/// Every chunk of every slot that holds data or parity, by the map from the array's side.
fn mapped(geometry: &Geometry) -> Vec<(Slot, u64, u64)> {
    let pieces = geometry.map(0, geometry.capacity_bytes());
    let copies = pieces.flat_map(|piece| piece.copies().map(move |(slot, at)| (slot, at, piece.length_bytes)));
    let stripes = (0..geometry.stripes()).map(|number| geometry.stripe(number).unwrap());
    let parities = stripes.flat_map(|stripe| {
        let slots = [Some(stripe.p), stripe.q].into_iter().flatten();
        slots.map(move |slot| (slot, stripe.member_offset_bytes, geometry.chunk_bytes()))
    });
    copies.chain(parities).collect()
}

proptest! {
    /// R08, R09: pieces follow one another, every copy is on a member of its own and inside it, no two things lie in one
    /// place, and what is left over is what the member does not use.
    #[test]
    fn maps_are_bijections_between_array_and_members((geometry, sizes) in geometry(9)) {
        let mut next = 0;
        for piece in geometry.map(0, geometry.capacity_bytes()) {
            prop_assert_eq!(piece.array_offset_bytes, next);
            next += piece.length_bytes;
            let slots: BTreeSet<Slot> = piece.copies().map(|(slot, _)| slot).collect();
            prop_assert_eq!(slots.len() as u64, geometry.copies());
            for (slot, at) in piece.copies() {
                for within in [0, piece.length_bytes - 1] {
                    let cell = geometry.cell(slot, at + within);
                    let Cell::Data { array_offset_bytes, run_bytes } = cell else { panic!("{cell:?}") };
                    prop_assert_eq!(array_offset_bytes, piece.array_offset_bytes + within);
                    prop_assert_eq!(run_bytes, piece.length_bytes - within);
                }
            }
        }
        prop_assert_eq!(next, geometry.capacity_bytes());
        let mut cells = mapped(&geometry);
        cells.sort();
        for pair in cells.windows(2) {
            prop_assert!(pair[0].0 != pair[1].0 || pair[0].1 + pair[0].2 <= pair[1].1, "{:?}", pair);
        }
        for (slot, size) in (0..).map(Slot).zip(sizes) {
            let mine = || cells.iter().filter(|cell| cell.0 == slot);
            prop_assert!(geometry.used_bytes(slot) <= size);
            prop_assert!(mine().all(|cell| cell.1 + cell.2 <= geometry.used_bytes(slot)));
            let unused = (0..size / SECTOR_BYTES)
                .filter(|sector| geometry.cell(slot, sector * SECTOR_BYTES) == Cell::Unused)
                .count() as u64;
            prop_assert_eq!(mine().map(|cell| cell.2).sum::<u64>() / SECTOR_BYTES + unused, size / SECTOR_BYTES);
        }
    }

    /// R09: capacity is the level's share of the members, in whole chunks.
    #[test]
    fn capacity_is_exact((geometry, sizes) in geometry(9)) {
        let chunk = geometry.chunk_bytes().max(SECTOR_BYTES);
        let (members, smallest) = (sizes.len() as u64, sizes.iter().min().unwrap() / chunk);
        let (near, far) = (u64::from(geometry.layout() & 0xff), u64::from(geometry.layout() >> 8 & 0xff));
        let chunks = match geometry.level() {
            Level::Raid1 => smallest,
            Level::Raid4 | Level::Raid5 => smallest * (members - 1),
            Level::Raid6 => smallest * (members - 2),
            Level::Raid10 => smallest / far * members / near,
            Level::Linear => sizes.iter().map(|size| size / chunk).sum(),
            // md masks sectors with the chunk of 12 sectors less one.
            Level::Raid0 => {
                let sectors: u64 = sizes.iter().map(|size| (size / chunk * 12) & !11).sum();
                prop_assert_eq!(geometry.capacity_bytes(), sectors * SECTOR_BYTES);
                return Ok(());
            }
        };
        prop_assert_eq!(geometry.capacity_bytes(), chunks * chunk);
    }

    /// Any range is cut where the whole is.
    #[test]
    fn ranges_lie_where_the_whole_does((geometry, _) in geometry(6), from in any::<u64>(), length in any::<u64>()) {
        let from = from % geometry.capacity_bytes();
        let length = length % (geometry.capacity_bytes() - from + 1);
        let whole: Vec<_> = geometry.map(0, geometry.capacity_bytes()).collect();
        let mut next = from;
        for piece in geometry.map(from, length) {
            prop_assert_eq!(piece.array_offset_bytes, next);
            next += piece.length_bytes;
            let outer = whole.iter().rfind(|outer| outer.array_offset_bytes <= piece.array_offset_bytes).unwrap();
            let within = piece.array_offset_bytes - outer.array_offset_bytes;
            prop_assert!(within + piece.length_bytes <= outer.length_bytes);
            let moved = outer.copies().map(|(slot, at)| (slot, at + within));
            prop_assert_eq!(piece.copies().collect::<Vec<_>>(), moved.collect::<Vec<_>>());
            prop_assert_eq!(piece.first_copy(), piece.copies().next().unwrap());
        }
        prop_assert_eq!(next, from + length);
    }

    /// Every slot of a stripe has one part of it, and exponents of Q differ.
    #[test]
    fn stripes_have_every_part_once((geometry, _) in geometry(9)) {
        for stripe in (0..geometry.stripes()).map(|number| geometry.stripe(number).unwrap()) {
            let mut slots: Vec<Slot> = stripe.data().chain([stripe.p]).chain(stripe.q).collect();
            slots.sort();
            prop_assert_eq!(slots, (0..geometry.slots()).map(Slot).collect::<Vec<_>>());
            let indices = stripe.data().map(|slot| stripe.index_of(slot).unwrap());
            prop_assert!(indices.eq(0..stripe.data_chunks()));
            let at = geometry.stripe_of(stripe.array_offset_bytes()).unwrap();
            prop_assert_eq!((at.stripe, at.index, at.within_bytes), (stripe, 0, 0));
            if stripe.q.is_some() {
                let exponents: BTreeSet<u8> = (0..stripe.data_chunks()).map(|index| stripe.exponent(index)).collect();
                prop_assert_eq!(exponents.len(), usize::from(stripe.data_chunks()));
            }
        }
    }

    /// R10: of every subset of members it is known whether the array can be read without them.
    #[test]
    fn every_subset_of_lost_members_is_judged((geometry, _) in geometry(7)) {
        let (mut always, mut at_best) = (geometry.slots(), 0);
        let parities = usize::from(geometry.level().parities());
        for subset in 0_u32..1 << geometry.slots() {
            let missing: Vec<Slot> = (0..geometry.slots()).map(Slot).filter(|slot| subset >> slot.0 & 1 != 0).collect();
            let lost_data = geometry.map(0, geometry.capacity_bytes()).any(|piece| {
                piece.copies().all(|(slot, _)| missing.contains(&slot))
            });
            let survives = if parities > 0 { missing.len() <= parities } else { !lost_data };
            // Where the last rows are short, a member may hold nothing at all; that is no redundancy.
            if geometry.can_read(&missing) != survives {
                let chunks = geometry.capacity_bytes() / geometry.chunk_bytes().max(CHUNK_BYTES);
                prop_assert!(survives && chunks < u64::from(geometry.slots()));
            }
            match geometry.can_read(&missing) {
                true => at_best = at_best.max(u16::try_from(missing.len()).unwrap()),
                false => always = always.min(u16::try_from(missing.len()).unwrap() - 1),
            }
        }
        prop_assert_eq!(geometry.redundancy(), Redundancy { always, at_best });
    }

    /// No shape of a superblock that was tampered with panics.
    #[test]
    fn nothing_that_a_superblock_says_panics(
        level in prop::sample::select(Level::ALL.to_vec()),
        layout in prop_oneof![any::<u32>(), 0..0x8_0000_u32],
        chunk in prop_oneof![any::<u64>(), (0..60_u32).prop_map(|bits| 1 << bits)],
        sizes in prop::collection::vec(any::<u64>(), 0..12),
    ) {
        if let Ok(geometry) = Geometry::new(level, layout, chunk, &sizes) {
            let last = geometry.capacity_bytes() - 1;
            for piece in geometry.map(last, 1) {
                for (slot, at) in piece.copies() {
                    prop_assert!(at < geometry.used_bytes(slot));
                    let found = match geometry.cell(slot, at) {
                        Cell::Data { array_offset_bytes, .. } => Some(array_offset_bytes),
                        _ => None,
                    };
                    prop_assert_eq!(found, Some(last));
                }
            }
            prop_assert!(geometry.redundancy().at_best < geometry.slots());
        }
    }
}

#[test]
fn shapes_that_are_none_are_refused_with_a_remedy() {
    let refused = |level, layout, chunk, sizes: &[u64]| Geometry::new(level, layout, chunk, sizes).unwrap_err();
    let chunk = CHUNK_BYTES;
    let few = refused(Level::Raid6, 2, chunk, &[chunk; 3]);
    assert_eq!(few.to_string(), "raid6 has 4 to 255 members, not 3");
    let odd = refused(Level::Raid5, 2, 3 * chunk, &[4 * chunk; 3]);
    assert!(matches!(odd, GeometryError::BadChunk { .. }), "{odd}");
    let unknown = refused(Level::Raid6, 7, chunk, &[chunk; 5]);
    assert!(unknown.to_string().contains("0x7"), "{unknown}");
    let empty = refused(Level::Raid5, 2, chunk, &[chunk, chunk, chunk - 1]);
    assert!(matches!(empty, GeometryError::Empty { .. }), "{empty}");
    let large = refused(Level::Raid5, 2, chunk, &[u64::MAX; 3]);
    assert_eq!(large, GeometryError::TooLarge);
    // Zones of a RAID 0 that does not say which layout it has, from kernels before 5.4.
    let zones = [4 * chunk, 4 * chunk, chunk];
    assert!(matches!(
        refused(Level::Raid0, 0, chunk, &zones),
        GeometryError::UnknownLayout { .. }
    ));
    assert!(Geometry::new(Level::Raid0, 0, chunk, &[chunk; 3]).is_ok());
    assert!(Geometry::new(Level::Raid0, 0, chunk, &[chunk, 2 * chunk]).is_ok());
    // One copy is no mirror; two on one member are none either.
    assert!(matches!(
        refused(Level::Raid10, 0x101, chunk, &[chunk; 4]),
        GeometryError::UnknownLayout { .. }
    ));
    assert!(matches!(
        refused(Level::Raid10, 0x20201, chunk, &[4 * chunk; 3]),
        GeometryError::UnknownLayout { .. }
    ));
}

/// R09: RAID 10 HighPoint has the layout number 0x102 and any number of members.
#[test]
fn near_copies_of_odd_numbers_of_members_lie_side_by_side() {
    let geometry = Geometry::new(Level::Raid10, 0x102, CHUNK_BYTES, &[3 * CHUNK_BYTES; 5]).unwrap();
    assert_eq!(geometry.capacity_bytes(), 7 * CHUNK_BYTES);
    let places: Vec<Vec<(u16, u64)>> = geometry
        .map(0, geometry.capacity_bytes())
        .map(|piece| piece.copies().map(|(slot, at)| (slot.0, at / CHUNK_BYTES)).collect())
        .collect();
    let expected = [
        [(0, 0), (1, 0)],
        [(2, 0), (3, 0)],
        [(4, 0), (0, 1)],
        [(1, 1), (2, 1)],
        [(3, 1), (4, 1)],
        [(0, 2), (1, 2)],
        [(2, 2), (3, 2)],
    ];
    assert_eq!(places, expected);
}

#[test]
#[should_panic(expected = "of an array of")]
fn ranges_past_the_end_are_refused() {
    let geometry = Geometry::new(Level::Raid1, 0, 0, &[4096; 2]).unwrap();
    geometry.map(4096, 1).count();
}
