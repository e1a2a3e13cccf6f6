//! A reshape as superblocks have it: which two geometries lie behind md's numbers, and how members fit to them.
//!
//! md turns some arrays into others by declaring members missing that never were: a RAID 0 is a RAID 4 or 5 whose last
//! member, the parity, is missing; a RAID 5 a RAID 6 whose last member, Q, is. Here such an array stays what it is, a
//! geometry of its own without the missing member, so that it counts as neither degraded nor torn. Nothing here does I/O.

use crate::raid::{
    Level, SECTOR_BYTES, Sector, Slot,
    assemble::Found,
    geometry::{Direction, Geometry, ReshapeView},
    metadata::superblock::{Features, ReshapeFields, Role, Superblock},
};

/// md's layout of RAID 4 and 5 with parity on the last member.
const PARITY_LAST: u32 = 5;
/// md's layouts of RAID 6 that are a RAID 5 with Q on the last member: those of RAID 5 and 16.
const Q_LAST: u32 = 16;

/// A level, and what goes with it, in md's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Codes {
    level: Level,
    layout: u32,
    slots: u16,
}

impl Codes {
    fn of(geometry: &Geometry) -> Self {
        Self {
            level: geometry.level(),
            layout: geometry.layout(),
            slots: geometry.slots(),
        }
    }

    /// The same bytes as an array of a level that md moves `to`; none where there is none.
    fn taken_over(self, to: Level) -> Option<Self> {
        let Self { level, layout, slots } = self;
        let codes = |layout, slots| Self {
            level: to,
            layout,
            slots,
        };
        match (level, to) {
            (Level::Raid0, Level::Raid4 | Level::Raid5) => Some(codes(PARITY_LAST, slots + 1)),
            (Level::Raid4, Level::Raid4 | Level::Raid5) => Some(codes(PARITY_LAST, slots)),
            (Level::Raid5, Level::Raid6) if layout == PARITY_LAST => Some(codes(PARITY_LAST, slots + 1)),
            (Level::Raid5, Level::Raid6) => Some(codes(layout + Q_LAST, slots + 1)),
            _ if level == to => Some(self),
            _ => None,
        }
    }

    fn geometry(self, chunk_bytes: u64, member_bytes: u64) -> Result<Geometry, String> {
        let sizes = vec![member_bytes; usize::from(self.slots)];
        Geometry::new(self.level, self.layout, chunk_bytes, &sizes).map_err(|error| error.to_string())
    }
}

/// What the superblocks of a reshape have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::raid) struct Stored {
    /// Level, by which md works on both sides.
    pub(in crate::raid) level: Level,
    /// Layout of the old side.
    pub(in crate::raid) layout: u32,
    /// Number of slots, of which the last may have no member.
    pub(in crate::raid) slots: u16,
    /// Slots more than before.
    pub(in crate::raid) delta: i32,
    /// Layout of the new side.
    pub(in crate::raid) new_layout: u32,
    /// The slot, if any, that only the new side has, though md counts it on both: a member that is being filled to md.
    pub(in crate::raid) filled: Option<Slot>,
}

impl Stored {
    /// How md puts a move from one geometry to another; none where it has no way.
    pub(in crate::raid) fn of(old: &Geometry, new: &Geometry) -> Option<Self> {
        // RAID 0 moves as a RAID 4 without parity, on both sides.
        let level = match new.level() {
            Level::Raid0 => Level::Raid4,
            level => level,
        };
        let (from, to) = (Codes::of(old).taken_over(level)?, Codes::of(new).taken_over(level)?);
        Some(Self {
            level,
            layout: from.layout,
            slots: from.slots.max(to.slots),
            delta: i32::from(to.slots) - i32::from(from.slots),
            new_layout: to.layout,
            filled: (from.slots > old.slots() && new.slots() > old.slots()).then(|| Slot(old.slots())),
        })
    }
}

/// The two geometries of a reshape under way.
///
/// # Errors
/// What is wrong with it, in words.
pub(in crate::raid) fn sides(view: &Superblock, found: &[Found]) -> Result<ReshapeView, String> {
    let reshape = view.reshape;
    let to = Level::from_code(reshape.new_level).unwrap_or(view.level);
    if to != view.level {
        return Err(format!(
            "it is reshaped from {} to {to}, which no md can do",
            view.level
        ));
    }
    let (old, new) = both(view, found)?;
    let member_bytes = view.size.bytes().ok_or("its members are too large")?;
    let old = old.geometry(u64::from(view.chunk) * SECTOR_BYTES, member_bytes)?;
    let new = new.geometry(u64::from(reshape.new_chunk) * SECTOR_BYTES, member_bytes)?;
    let direction = if view.reshapes_backwards() {
        Direction::Backward
    } else {
        Direction::Forward
    };
    // The least of all shifts is safe for all; a member that failed before the reshape began has no part in it.
    let fresh = |found: &&Found| found.superblock.events.saturating_add(1) >= view.events;
    let shifts = found
        .iter()
        .filter(fresh)
        .map(|found| i64::from(shift(&found.superblock)) * SECTOR_BYTES.cast_signed());
    let shift = shifts.min_by_key(|shift| shift.unsigned_abs()).unwrap_or(0);
    let position = Sector(reshape.position)
        .bytes()
        .ok_or("its reshape position is too large")?;
    ReshapeView::new(old, new, direction, shift, position).map_err(|error| error.to_string())
}

/// What stands on each side, without the members that are none.
fn both(view: &Superblock, found: &[Found]) -> Result<(Codes, Codes), String> {
    let count = |slots: u32| u16::try_from(slots).map_err(|_| "it has too many members".to_owned());
    let mut old = Codes {
        level: view.level,
        layout: view.layout,
        slots: count(view.slots_before())?,
    };
    let mut new = Codes {
        level: view.level,
        layout: view.reshape.new_layout,
        slots: count(view.slots)?,
    };
    let holder = |slot: u16| {
        let has = |found: &&Found| view.role_of(found.superblock.device_number) == Role::Active(Slot(slot));
        found.iter().find(has)
    };
    let last_before = old.slots.saturating_sub(1);
    let filled = holder(last_before).is_some_and(|found| found.superblock.recovered_to().is_some());
    let failed = view.roles.contains(&Role::Faulty);
    match view.level {
        Level::Raid4 if holder(new.slots.saturating_sub(1)).is_none() && !failed => {
            let bare = |slots: u16| Codes {
                level: Level::Raid0,
                layout: 0,
                slots: slots.saturating_sub(1),
            };
            (old, new) = (bare(old.slots), bare(new.slots));
        }
        Level::Raid4 | Level::Raid5 if filled && old.layout == PARITY_LAST => {
            old = Codes {
                level: Level::Raid0,
                layout: 0,
                slots: last_before,
            };
        }
        Level::Raid6 if filled && (Q_LAST..Q_LAST + PARITY_LAST).contains(&old.layout) => {
            old = Codes {
                level: Level::Raid5,
                layout: old.layout - Q_LAST,
                slots: last_before,
            };
        }
        Level::Raid6 if filled && old.layout == PARITY_LAST => {
            old = Codes {
                level: Level::Raid5,
                layout: PARITY_LAST,
                slots: last_before,
            };
        }
        _ => {}
    }
    Ok((old, new))
}

/// How far the data of a member move, in sectors.
pub(in crate::raid) fn shift(superblock: &Superblock) -> i32 {
    let moves = superblock.features.has(Features::NEW_OFFSET);
    if moves { superblock.reshape.new_offset } else { 0 }
}

/// Makes a member that missed the last superblocks of a growth, or the first or the last of a reshape, say what the freshest
/// says. Only the place of its data is its own.
pub(in crate::raid) fn catch_up(superblock: &mut Superblock, freshest: &Superblock) {
    let before = superblock.reshaping();
    let now = freshest.reshaping();
    let moves = Features::RESHAPE;
    match (before, now) {
        // What a growth without a reshape changes.
        (None, None) => {
            superblock.size = freshest.size;
            superblock.slots = freshest.slots;
            return;
        }
        (Some(_), None) => {
            let moved = superblock.data_offset.checked_offset(i64::from(shift(superblock)));
            superblock.data_offset = moved.unwrap_or(superblock.data_offset);
            if freshest.level == Level::Raid0 {
                superblock.data_size = superblock.size;
            }
            superblock.reshape = ReshapeFields::default();
        }
        (None, Some(fields)) => superblock.reshape = fields,
        (Some(own), Some(fields)) => {
            superblock.reshape = ReshapeFields {
                new_offset: own.new_offset,
                ..fields
            };
        }
    }
    let differ = before.is_none() || now.is_none();
    let features = [Features::RESHAPE, Features::RESHAPE_BACKWARDS, Features::RAID0_LAYOUT];
    for feature in features.into_iter().chain(differ.then_some(Features::NEW_OFFSET)) {
        let on = freshest.features.has(feature);
        superblock.features = superblock.features.with(feature, on);
    }
    debug_assert_eq!(superblock.features.has(moves), now.is_some());
    superblock.level = freshest.level;
    superblock.layout = freshest.layout;
    superblock.chunk = freshest.chunk;
    superblock.size = freshest.size;
    superblock.slots = freshest.slots;
}

/// True where a member that md takes for one that is being filled has all that the new side needs of it.
pub(in crate::raid) fn has_new_side(superblock: &Superblock, view: &ReshapeView) -> bool {
    let Some(Sector(filled)) = superblock.recovered_to() else {
        return true;
    };
    let new = view.new_geometry();
    let rows = match view.direction() {
        Direction::Forward => view.position_bytes() / new.unit_bytes().max(1) * new.chunk_bytes(),
        Direction::Backward => u64::MAX,
    };
    filled.saturating_mul(SECTOR_BYTES) >= rows
}
