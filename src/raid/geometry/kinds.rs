//! What users create, by the controller guide's table of levels: fewest members, usable space, what is left over.
//!
//! An [`ArrayKind`] is an entry of that table, a [`Plan`] the arithmetic of making one of some disks' free space. It is
//! stricter than [`Geometry`], which serves whatever md made, and it uses the same length of every disk.

use std::fmt;

use super::{Geometry, PlanError, Raid50};
use crate::raid::Level;

/// md's left-symmetric layout of RAID 5 and 6.
const LEFT_SYMMETRIC: u32 = 2;
/// md's RAID 10 layout of two near copies.
const NEAR_2: u32 = 0x102;
/// md's `original` layout of RAID 0.
const ORIGINAL: u32 = 1;

/// An entry of the table of levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArrayKind {
    /// One disk as it is.
    Jbod,
    /// Stripes.
    Raid0,
    /// Mirrors.
    Raid1,
    /// Stripes of mirrored pairs.
    Raid10,
    /// Stripes with one parity.
    Raid5,
    /// Stripes over several RAID 5.
    Raid50,
    /// Stripes with two parities.
    Raid6,
}

impl ArrayKind {
    /// All of them, in the table's order.
    pub const ALL: [Self; 7] = [
        Self::Jbod,
        Self::Raid0,
        Self::Raid1,
        Self::Raid10,
        Self::Raid5,
        Self::Raid50,
        Self::Raid6,
    ];

    /// Its name in the table; names of new arrays are made of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jbod => "JBOD",
            Self::Raid0 => "RAID 0",
            Self::Raid1 => "RAID 1",
            Self::Raid10 => "RAID 10",
            Self::Raid5 => "RAID 5",
            Self::Raid50 => "RAID 50",
            Self::Raid6 => "RAID 6",
        }
    }

    /// The md level of the array, or of the legs of a RAID 50.
    pub const fn level(self) -> Level {
        match self {
            Self::Jbod => Level::Linear,
            Self::Raid0 => Level::Raid0,
            Self::Raid1 => Level::Raid1,
            Self::Raid10 => Level::Raid10,
            Self::Raid5 | Self::Raid50 => Level::Raid5,
            Self::Raid6 => Level::Raid6,
        }
    }

    /// md's layout number that new arrays of the kind get.
    pub const fn layout(self) -> u32 {
        match self {
            Self::Jbod | Self::Raid1 => 0,
            Self::Raid0 => ORIGINAL,
            Self::Raid10 => NEAR_2,
            Self::Raid5 | Self::Raid50 | Self::Raid6 => LEFT_SYMMETRIC,
        }
    }

    /// The fewest members.
    pub const fn minimum_members(self) -> usize {
        match self {
            Self::Jbod => 1,
            Self::Raid0 | Self::Raid1 => 2,
            Self::Raid5 => 3,
            Self::Raid10 | Self::Raid6 => 4,
            Self::Raid50 => 6,
        }
    }

    /// What its members have to be, for messages.
    pub const fn needs(self) -> &'static str {
        match self {
            Self::Jbod => "takes at least 1 member",
            Self::Raid0 | Self::Raid1 => "needs at least 2 members",
            Self::Raid5 => "needs at least 3 members",
            Self::Raid10 | Self::Raid6 => "needs at least 4 members",
            Self::Raid50 => "needs at least 6 members that make equal legs of 3 or more",
        }
    }

    /// True where that many members can become one.
    pub fn allows(self, members: usize) -> bool {
        members >= self.minimum_members() && (self != Self::Raid50 || self.legs(members).is_some())
    }

    /// Legs that so many members of a RAID 50 make: as few as there can be.
    pub fn legs(self, members: usize) -> Option<usize> {
        if self != Self::Raid50 {
            return Some(1);
        }
        (2..=members / 3).find(|legs| members.is_multiple_of(*legs))
    }

    /// Members' worth of usable space, as a fraction of the members: 2 of 3 for a RAID 5 of three.
    pub fn usable(self, members: usize) -> (usize, usize) {
        match self {
            Self::Jbod | Self::Raid0 => (members, members),
            Self::Raid1 => (1, members),
            Self::Raid10 => (members, 2 * members),
            Self::Raid5 => (members - 1, members),
            Self::Raid50 => (members - self.legs(members).unwrap_or(1), members),
            Self::Raid6 => (members - 2, members),
        }
    }
}

impl fmt::Display for ArrayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An array that some disks' free space allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bytes that it takes of every disk, metadata and all.
    pub member_bytes: u64,
    /// Bytes of that for data.
    pub data_bytes: u64,
    /// Bytes of the array.
    pub capacity_bytes: u64,
    /// Bytes then left on each disk for further arrays.
    pub left_bytes: Vec<u64>,
}

/// How space is shared out: what the metadata of a member takes, and what member lengths are rounded to.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes of a member before its data area.
    pub data_offset_bytes: u64,
    /// Multiple of bytes that a member's length is.
    pub align_bytes: u64,
    /// Length of a chunk.
    pub chunk_bytes: u64,
}

impl Plan {
    /// Makes an array of all that the smallest disk allows, or of `wanted_bytes` of capacity, rounded up to whole
    /// chunks and alignments.
    ///
    /// `free_bytes` is the free space of each disk in slot order.
    pub fn new(kind: ArrayKind, free_bytes: &[u64], wanted_bytes: Option<u64>, room: Room) -> Result<Self, PlanError> {
        if !kind.allows(free_bytes.len()) {
            return Err(PlanError::MemberCount {
                kind,
                members: free_bytes.len(),
                needs: kind.needs(),
            });
        }
        let (member, free) = (0..)
            .zip(free_bytes.iter().copied())
            .min_by_key(|(_, free)| *free)
            .unwrap_or((0, 0));
        let largest = free - free % room.align_bytes;
        let data = largest.saturating_sub(room.data_offset_bytes);
        if data < room.chunk_bytes.max(1) {
            return Err(PlanError::NoRoom {
                member,
                free_bytes: free,
            });
        }
        let maximum = kind.capacity(free_bytes.len(), data, room)?;
        let member_bytes = match wanted_bytes {
            None => largest,
            Some(wanted) if wanted > maximum => {
                return Err(PlanError::TooMuch {
                    wanted_bytes: wanted,
                    maximum_bytes: maximum,
                });
            }
            Some(wanted) => kind.member_bytes(free_bytes.len(), wanted, largest, room),
        };
        let data_bytes = member_bytes - room.data_offset_bytes;
        let left = |free: &u64| (free - member_bytes) - (free - member_bytes) % room.align_bytes;
        Ok(Self {
            member_bytes,
            data_bytes,
            capacity_bytes: kind.capacity(free_bytes.len(), data_bytes, room)?,
            left_bytes: free_bytes.iter().map(left).collect(),
        })
    }
}

impl ArrayKind {
    /// Capacity over so many members with data areas of that length.
    fn capacity(self, members: usize, data_bytes: u64, room: Room) -> Result<u64, PlanError> {
        let chunk = if self == Self::Jbod { 0 } else { room.chunk_bytes };
        let legs = self.legs(members).unwrap_or(1);
        let geometry = Geometry::new(self.level(), self.layout(), chunk, &vec![data_bytes; members / legs])?;
        if self != Self::Raid50 {
            return Ok(geometry.capacity_bytes());
        }
        let legs = u16::try_from(legs).map_err(|_| super::GeometryError::TooLarge)?;
        Ok(Raid50::new(geometry, legs, chunk, room.data_offset_bytes)?.capacity_bytes())
    }

    /// The shortest aligned member length that gives `wanted` bytes; `largest` gives them.
    fn member_bytes(self, members: usize, wanted: u64, largest: u64, room: Room) -> u64 {
        let enough = |units: u64| {
            let data = (units * room.align_bytes).saturating_sub(room.data_offset_bytes);
            self.capacity(members, data, room)
                .is_ok_and(|capacity| capacity >= wanted)
        };
        let (mut low, mut high) = (0, largest / room.align_bytes);
        while low < high {
            let middle = low + (high - low) / 2;
            (low, high) = if enough(middle) {
                (low, middle)
            } else {
                (middle + 1, high)
            };
        }
        high * room.align_bytes
    }
}
