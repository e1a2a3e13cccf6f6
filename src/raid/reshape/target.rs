//! What an array is to become: the wish, checked against the rules of levels and the room on the members. No I/O.
//!
//! What md has no way for is refused with the way round.

use super::stored::Stored;
use crate::raid::{
    Level, SECTOR_BYTES, Sector, Slot,
    create::NewImage,
    error::{Error, Result},
    geometry::{Direction, Geometry, ReshapeView},
    metadata::superblock::Superblock,
};

/// The largest chunk that a mirror turns into a RAID 5 with, as md has it.
const MIRROR_CHUNK_BYTES: u64 = 64 << 10;
/// md's default layout of RAID 5 and 6.
const LEFT_SYMMETRIC: u32 = 2;

/// What an array is to become. What is none stays.
#[derive(Clone, Default)]
pub struct Plan {
    /// Level afterwards.
    pub level: Option<Level>,
    /// md's layout number afterwards; with another level its default.
    pub layout: Option<u32>,
    /// Chunk afterwards.
    pub chunk_bytes: Option<u64>,
    /// Images that become members, beside those that there are.
    pub images: Vec<NewImage>,
    /// Bytes of the room before the data that are used up; none for half of it. The more, the fewer checkpoints are needed.
    pub room_bytes: Option<u64>,
}

/// A move that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Both sides, at the start.
    pub(super) view: ReshapeView,
    /// How superblocks put it.
    pub(super) stored: Stored,
    /// How far data move on every member, in sectors: towards the front.
    pub(super) shift: i32,
}

fn refuse<T>(parameter: &'static str, value: impl ToString, reason: impl ToString) -> Result<T> {
    Err(Error::BadParameter {
        parameter,
        value: value.to_string(),
        reason: reason.to_string(),
    })
}

/// Decides how an array of `old` geometry becomes what is asked for. `superblocks` are those of its members, and
/// `bitmap` the sectors that a bitmap takes.
pub(super) fn target(old: &Geometry, plan: &Plan, superblocks: &[&Superblock], bitmap: Sector) -> Result<Target> {
    let level = plan.level.unwrap_or(old.level());
    check_levels(old, level, plan)?;
    let old = &taken_over(old, level)?;
    let member_bytes = old.used_bytes(Slot(0));
    if (0..old.slots()).any(|slot| old.used_bytes(Slot(slot)) != member_bytes) {
        return refuse(
            "reshape",
            old.level(),
            "its members are used up to different sizes; make a new array and copy",
        );
    }
    let chunk_bytes = plan.chunk_bytes.unwrap_or(old.chunk_bytes());
    if chunk_bytes == 0 || !member_bytes.is_multiple_of(chunk_bytes) {
        let reason = format!("the {member_bytes} bytes that are used of each member are no multiple of it");
        return refuse("chunk", chunk_bytes, reason);
    }
    let layout = plan.layout.unwrap_or(match level {
        _ if level == old.level() => old.layout(),
        Level::Raid5 | Level::Raid6 => LEFT_SYMMETRIC,
        _ => 0,
    });
    let slots = usize::from(old.slots()) + plan.images.len();
    let new = Geometry::new(level, layout, chunk_bytes, &vec![member_bytes; slots]);
    let new = new.or_else(|error| refuse("reshape", level, error))?;
    if new == *old {
        return refuse("reshape", level, "it has that shape already");
    }
    if new.capacity_bytes() < old.capacity_bytes() {
        let reason = format!("it would shrink; add {} members", missing_members(old, level, slots));
        return refuse("reshape", level, reason);
    }
    let Some(stored) = Stored::of(old, &new) else {
        let reason = format!("md has no way from {}; make a new array and copy", old.level());
        return refuse("level", level, reason);
    };
    let shift = shift(old, &new, superblocks, bitmap, plan.room_bytes)?;
    let sectors = i32::try_from(shift / SECTOR_BYTES).unwrap_or(i32::MAX);
    let view = ReshapeView::new(old.clone(), new, Direction::Forward, -shift.cast_signed(), 0);
    Ok(Target {
        view: view.or_else(|error| refuse("reshape", level, error))?,
        stored,
        shift: -sectors,
    })
}

/// Members to add until the array is as large as it was.
fn missing_members(old: &Geometry, level: Level, slots: usize) -> usize {
    let data = usize::from(old.slots() - old.level().parities());
    let data = if old.level() == Level::Raid5 && old.slots() == 2 {
        1
    } else {
        data
    };
    (data + usize::from(level.parities())).saturating_sub(slots)
}

/// Refuses what has no way at all, and names the way round.
fn check_levels(old: &Geometry, level: Level, plan: &Plan) -> Result<()> {
    let from = old.level();
    let around = match (from, level) {
        (Level::Linear, _) => "a linear array does not move; make a new array and copy",
        (Level::Raid1, Level::Raid10) | (Level::Raid0, Level::Raid10) => {
            "md has no way there; make a raid10 of the new members and copy, then add the old ones to it"
        }
        (Level::Raid1, Level::Raid1) if plan.images.is_empty() => "a mirror has no chunk to change",
        (Level::Raid1, Level::Raid1) => {
            "a mirror has no more room with more members; 'headstack array migrate --level 5' makes a raid5 of it and them, \
             'headstack array grow --copies' more copies, 'headstack array add' keeps them as spares"
        }
        (Level::Raid10, _) if level != from => "md has no way there; make a new array and copy",
        (Level::Raid1, Level::Raid5) if old.slots() != 2 => {
            "only a mirror of two turns into a raid5; give up the other copies first (grow --copies 2)"
        }
        (Level::Raid1, Level::Raid5) if plan.images.is_empty() => "a raid5 has at least 3 members; add one",
        (Level::Raid1, Level::Raid6) => "go to raid5 first, and from there to raid6",
        (Level::Raid0, Level::Raid6) => "go to raid5 first, and from there to raid6",
        (Level::Raid6, Level::Raid5) | (Level::Raid5 | Level::Raid6, Level::Raid0 | Level::Raid1) => {
            "redundancy is not given up; make a new array and copy"
        }
        (_, Level::Linear | Level::Raid1 | Level::Raid4) if level != from => {
            "nothing moves there; make a new array and copy"
        }
        _ => return Ok(()),
    };
    refuse("level", level, around)
}

/// The array as md looks at it before it moves: a mirror of two is a RAID 5 of two.
fn taken_over(old: &Geometry, level: Level) -> Result<Geometry> {
    if old.level() != Level::Raid1 || level == Level::Raid1 {
        return Ok(old.clone());
    }
    let bytes = old.capacity_bytes();
    let chunk = (MIRROR_CHUNK_BYTES).min(1 << bytes.trailing_zeros().min(63));
    let geometry = Geometry::new(level, LEFT_SYMMETRIC, chunk, &[bytes; 2]);
    geometry.or_else(|error| refuse("level", level, error))
}

/// How far data move towards the front, in bytes: half of the room there, so that it can be done again.
fn shift(
    old: &Geometry,
    new: &Geometry,
    superblocks: &[&Superblock],
    bitmap: Sector,
    wanted: Option<u64>,
) -> Result<u64> {
    // Stripes of RAID 10 begin and end inside of rows, so one more row may be needed.
    let rows = if new.level() == Level::Raid10 { 2 } else { 1 };
    let unit = old.row_bytes().max(new.row_bytes()) * rows;
    let rooms = superblocks
        .iter()
        .map(|superblock| room(superblock, bitmap).0 * SECTOR_BYTES);
    let room = rooms.min().unwrap_or(0);
    let wanted = wanted.unwrap_or(room / 2);
    let shift = (wanted - wanted % unit).max(unit).min(i32::MAX.unsigned_abs().into());
    if shift > room {
        let reason = format!(
            "{room} bytes are free before the data of its members, {unit} are needed to move them without a copy \
             elsewhere; make a new array and copy"
        );
        return refuse("reshape", new.level(), reason);
    }
    Ok(shift - shift % unit)
}

/// Sectors before the data of a member that hold nothing.
fn room(superblock: &Superblock, bitmap: Sector) -> Sector {
    let data = superblock.data_offset;
    let areas = [
        Some(superblock.own_area().end()),
        superblock.bad_block_area().map(|area| area.end()),
        superblock.bitmap_start().and_then(|start| start.checked_add(bitmap)),
    ];
    let ends = areas.into_iter().flatten().filter(|end| *end <= data);
    Sector(ends.max().map_or(0, |end| data.0 - end.0))
}
