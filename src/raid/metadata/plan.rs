//! What a new array looks like: where data, bitmap and logs go on each member, and the first superblocks.
//!
//! Every choice is mdadm's, so that an array made here and one made by `mdadm --create` on the same devices differ in
//! their UUIDs and times only. Nothing is written here. Source: mdadm 4.2, by experiment on devices of many sizes.

use super::{
    bitmap::{Bitmap, BitmapHeader},
    identity::{Name, Time, Uuid},
    superblock::{BadBlockFields, Features, MAX_ROLES, MAX_SECTOR, ReshapeFields, Role, Superblock, Version},
};
use crate::raid::{Level, Sector, Slot};

/// Greatest room before the data that a reshape may move them into: 128 MiB.
const HEADROOM: u64 = 128 * 1024 * 2;
/// Unit that the data offset is rounded up to: 1 MiB.
const MEBIBYTE: u64 = 2048;
/// Superblock, its own offset and the bad-block log, with a reserve.
const FIXED_ROOM: u64 = 24;
/// Room for a ring of partial parity logs.
const PPL_ROOM: u64 = 2048;
/// Sectors of a bad-block log.
const BAD_BLOCK_SECTORS: u64 = 8;
const GIBIBYTE: u64 = 1024 * 1024 * 2;

/// What an array keeps to know after a crash which stripes were being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    /// Nothing: all is resynced.
    None,
    /// Write-intent bitmap with bits of at least so many bytes; 0 for md's own choice.
    Bitmap {
        /// Bytes a bit stands for: a power of two, or 0.
        chunk_bytes: u32,
    },
    /// Partial parity log of RAID 5.
    Ppl,
}

/// What is asked of a new array.
#[derive(Debug, Clone)]
pub struct NewArray {
    /// Place of the superblocks.
    pub version: Version,
    /// Identity.
    pub uuid: Uuid,
    /// Name.
    pub name: Name,
    /// When it is created.
    pub created: Time,
    /// Level.
    pub level: Level,
    /// Layout in md's numbers.
    pub layout: u32,
    /// Chunk in sectors; for RAID 1 0, for linear the unit to round members to or 0.
    pub chunk: u32,
    /// What to keep for the time after a crash.
    pub tracking: Tracking,
    /// True where the members are known to agree, so that no resync is needed.
    pub clean: bool,
    /// Sectors to use of each member; none for all.
    pub size: Option<Sector>,
    /// Where the data begin; none for md's own choice.
    pub data_offset: Option<Sector>,
}

/// One device of a new array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMember {
    /// Its identity.
    pub uuid: Uuid,
    /// Its size.
    pub device: Sector,
}

/// Why an array cannot be made so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A device has no room.
    #[error("member {member} of {device} sectors is too small: {needed} sectors are the least")]
    TooSmall {
        /// Which member, from 0.
        member: usize,
        /// Its size.
        device: u64,
        /// The least size.
        needed: u64,
    },
    /// More is asked for than the members have.
    #[error("member {member} has {available} sectors for data, {wanted} are wanted")]
    TooLarge {
        /// Which member, from 0.
        member: usize,
        /// What it has.
        available: u64,
        /// What is wanted.
        wanted: u64,
    },
    /// The number of members cannot be.
    #[error("{count} members and spares; an array has 1 to 1920")]
    Count {
        /// How many.
        count: usize,
    },
    /// The level does not go with something else that is asked for.
    #[error("{level} goes without {what}")]
    Without {
        /// The level.
        level: Level,
        /// What it cannot have.
        what: &'static str,
    },
    /// There is no room for a bitmap of so small a chunk.
    #[error("a bitmap of {chunk_bytes} bytes a bit does not fit; {least_bytes} bytes are the least")]
    BitmapChunk {
        /// What is asked for.
        chunk_bytes: u32,
        /// What would fit.
        least_bytes: u64,
    },
}

/// Superblocks and bitmap of a new array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Superblocks by slot, none where a member is missing; then those of the spares.
    pub superblocks: Vec<Option<Superblock>>,
    /// The bitmap that each member gets.
    pub bitmap: Option<Bitmap>,
}

/// Sectors that mdadm leaves for a bitmap on a device or area of `size` sectors.
pub fn bitmap_space(size: Sector) -> Sector {
    Sector(match size.0 {
        size if size < 128 => 0,
        size if size - 128 >= 200 * GIBIBYTE => 256,
        size if size - 8 > 8 * GIBIBYTE => 128,
        _ => 8,
    })
}

/// Where the data of a member of `device` sectors begin by mdadm's rule; `chunk` in sectors, 0 for none.
pub fn data_offset(version: Version, device: Sector, chunk: u32, tracking: Tracking) -> Sector {
    if version == Version::V1_0 {
        return Sector(0);
    }
    let log = match tracking {
        Tracking::Ppl => PPL_ROOM,
        Tracking::None | Tracking::Bitmap { .. } => bitmap_space(device).0,
    };
    let mut headroom = HEADROOM;
    while headroom << 10 > device.0 && (chunk == 0 || headroom / 2 >= 2 * u64::from(chunk)) {
        headroom /= 2;
    }
    Sector((FIXED_ROOM + log + headroom).next_multiple_of(MEBIBYTE))
}

/// Plans an array of `members` by slot, none for a missing one, and `spares`.
///
/// # Errors
/// [`PlanError`] names the member or the wish that cannot be.
pub fn plan(array: &NewArray, members: &[Option<NewMember>], spares: &[NewMember]) -> Result<Plan, PlanError> {
    let count = members.len() + spares.len();
    if members.is_empty() || count > MAX_ROLES {
        return Err(PlanError::Count { count });
    }
    check_wishes(array)?;
    let present: Vec<(usize, NewMember)> = members
        .iter()
        .copied()
        .chain(spares.iter().copied().map(Some))
        .enumerate()
        .filter_map(|(index, member)| member.map(|member| (index, member)))
        .collect();
    let smallest = present.iter().map(|(_, member)| member.device).min();
    let offset = array
        .data_offset
        .unwrap_or_else(|| data_offset(array.version, smallest.unwrap_or_default(), array.chunk, array.tracking));
    let size = used_size(array, offset, &present)?;
    let bitmap = match array.tracking {
        Tracking::Bitmap { chunk_bytes } => Some(first_bitmap(array, size, members.len(), chunk_bytes)?),
        Tracking::None | Tracking::Ppl => None,
    };
    let mut superblocks = vec![None; count];
    for (index, member) in present {
        let superblock = first_superblock(array, members, index, &member, size, offset, bitmap.as_ref());
        superblocks[index] = Some(superblock);
    }
    Ok(Plan { superblocks, bitmap })
}

fn check_wishes(array: &NewArray) -> Result<(), PlanError> {
    let without = |what| {
        Err(PlanError::Without {
            level: array.level,
            what,
        })
    };
    let redundant = !matches!(array.level, Level::Linear | Level::Raid0);
    match array.tracking {
        Tracking::Bitmap { .. } if !redundant => without("a bitmap"),
        Tracking::Ppl if array.level != Level::Raid5 => without("a partial parity log"),
        _ if array.size.is_some() && !redundant => without("a size for its members"),
        _ => Ok(()),
    }
}

/// Sectors for data on one member, before rounding.
fn available(array: &NewArray, offset: Sector, device: Sector) -> Option<u64> {
    let space = match array.tracking {
        Tracking::Ppl => PPL_ROOM,
        Tracking::None | Tracking::Bitmap { .. } => bitmap_space(device).0,
    };
    match array.version {
        Version::V1_0 => (device.0 & !7).checked_sub(16 + BAD_BLOCK_SECTORS + space + offset.0),
        Version::V1_1 | Version::V1_2 => device.0.checked_sub(offset.0),
    }
}

/// Sectors of each member that the array uses; 0 for levels that use all of each.
fn used_size(array: &NewArray, offset: Sector, present: &[(usize, NewMember)]) -> Result<Sector, PlanError> {
    let unit = match array.level {
        Level::Raid1 => 128,
        _ => u64::from(array.chunk).max(2),
    };
    let mut least = u64::MAX;
    for &(member, NewMember { device, .. }) in present {
        let have = available(array, offset, device).unwrap_or(0);
        let room = have / unit * unit;
        if have < unit.max(16) {
            let needed = device.0 - have.min(device.0);
            return Err(PlanError::TooSmall {
                member,
                device: device.0,
                needed: needed.max(offset.0) + unit.max(16),
            });
        }
        if let Some(Sector(wanted)) = array.size.filter(|size| size.0 > room) {
            return Err(PlanError::TooLarge {
                member,
                available: room,
                wanted,
            });
        }
        least = least.min(room);
    }
    let wanted = array.size.map_or(least, |size| size.0 / unit * unit);
    Ok(match array.level {
        Level::Linear | Level::Raid0 => Sector(0),
        _ => Sector(wanted.max(unit)),
    })
}

/// The bitmap of a new array: all bits are set, so that the first resync finds all of it.
fn first_bitmap(array: &NewArray, size: Sector, slots: usize, chunk_bytes: u32) -> Result<Bitmap, PlanError> {
    let sync_size = super::bitmap::sync_size(array.level, array.layout, size, slots as u64);
    let room = bitmap_space(size);
    let bits = (room.0 * 512).saturating_sub(BitmapHeader::BYTES as u64) * 8;
    let mut least_bytes = 4096_u64;
    while sync_size.0 * 512 / least_bytes + 1 > bits {
        least_bytes *= 2;
    }
    let chunk = match u64::from(chunk_bytes) {
        0 => least_bytes.max(64 << 20),
        chunk => chunk,
    };
    let chunk = u32::try_from(chunk)
        .ok()
        .filter(|chunk| chunk.is_power_of_two() && u64::from(*chunk) >= least_bytes);
    let chunk = chunk.ok_or(PlanError::BitmapChunk {
        chunk_bytes,
        least_bytes,
    })?;
    let mut bitmap = Bitmap::new(BitmapHeader::new(array.uuid, sync_size, chunk));
    bitmap.set_all();
    Ok(bitmap)
}

fn roles(members: &[Option<NewMember>], spares: usize) -> Vec<Role> {
    let count = (256 + 2 * (members.len() + spares)).next_multiple_of(512);
    let mut roles = vec![Role::Spare; ((count - 256) / 2).min(MAX_ROLES)];
    for (index, role) in roles.iter_mut().enumerate().take(members.len()) {
        *role = match (members[index], u16::try_from(index)) {
            (Some(_), Ok(slot)) => Role::Active(Slot(slot)),
            _ => Role::Spare,
        };
    }
    roles
}

/// Place of the bitmap or the PPL, as the superblock stores it, and the sectors that it takes.
fn log_place(array: &NewArray, bitmap: Option<&Bitmap>, size: Sector) -> (u32, i64, i64) {
    let end = array.version == Version::V1_0;
    match (array.tracking, bitmap) {
        (Tracking::Ppl, _) => {
            let space = 2048_i16;
            let offset = if end { -space - 8 } else { 8 };
            let [a, b] = offset.to_le_bytes();
            let [c, d] = space.to_le_bytes();
            (u32::from_le_bytes([a, b, c, d]), i64::from(offset), i64::from(space))
        }
        (_, Some(bitmap)) => {
            let space = i32::try_from(bitmap.area_sectors().0).expect("a bitmap has 256 sectors at most");
            let offset = if end { -space - 8 } else { 8 };
            (offset.cast_unsigned(), i64::from(offset), i64::from(space))
        }
        (_, None) => (0, 8, bitmap_space(size).0.cast_signed()),
    }
}

fn first_superblock(
    array: &NewArray,
    members: &[Option<NewMember>],
    index: usize,
    member: &NewMember,
    size: Sector,
    offset: Sector,
    bitmap: Option<&Bitmap>,
) -> Superblock {
    let place = array.version.place(member.device).unwrap_or_default();
    let (log_place, log_offset, log_space) = log_place(array, bitmap, size);
    let own = place.0.cast_signed();
    let (data_size, bad_blocks) = if array.version == Version::V1_0 {
        let space = (log_space + 8).min(own - size.0.cast_signed());
        let fields = (space >= 8).then_some(-8);
        (place.0 - space.max(0).cast_unsigned(), fields)
    } else {
        let data = offset.0.cast_signed();
        let after_log = log_offset + log_space;
        let fields = if data >= own + after_log + 8 {
            Some(after_log)
        } else {
            (data >= own + 16).then_some(data - 8 - own)
        };
        (member.device.0 - offset.0, fields)
    };
    let features = Features::default()
        .with(Features::BITMAP, bitmap.is_some())
        .with(Features::PPL, array.tracking == Tracking::Ppl)
        .with(Features::RAID0_LAYOUT, needs_layout(array, members, offset));
    let unsynced = !matches!(array.level, Level::Linear | Level::Raid0) && !array.clean;
    Superblock {
        features,
        array_uuid: array.uuid,
        name: array.name,
        created: array.created,
        level: array.level,
        layout: array.layout,
        size,
        chunk: array.chunk,
        slots: u32::try_from(members.len()).expect("1920 at most"),
        log_place,
        reshape: ReshapeFields::default(),
        data_offset: offset,
        data_size: Sector(data_size),
        super_offset: place,
        recovery_offset: 0,
        device_number: u32::try_from(index).expect("1920 at most"),
        corrected_reads: 0,
        device_uuid: member.uuid,
        device_flags: 0,
        bad_blocks: BadBlockFields {
            shift: 0,
            sectors: if bad_blocks.is_some() { 8 } else { 0 },
            offset: bad_blocks.and_then(|offset| i32::try_from(offset).ok()).unwrap_or(0),
        },
        updated: array.created,
        events: 0,
        resync_offset: if unsynced { Sector(0) } else { MAX_SECTOR },
        logical_block_bytes: 0,
        roles: roles(members, 0),
    }
}

/// True for a RAID 0 of members that differ in size by a chunk or more: two layouts of it exist.
fn needs_layout(array: &NewArray, members: &[Option<NewMember>], offset: Sector) -> bool {
    let rounded =
        |member: &NewMember| available(array, offset, member.device).map(|size| size / u64::from(array.chunk.max(1)));
    let mut sizes = members.iter().flatten().map(rounded);
    let first = sizes.next();
    array.level == Level::Raid0 && sizes.any(|size| Some(size) != first)
}
