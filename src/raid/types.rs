//! The nouns that every part of the engine shares: sectors, slots and levels.
//!
//! They are newtypes because a mix-up destroys data: a sector is no byte, a slot is no device number. Nothing here
//! knows a format; md's codes are given because they are the names that users and superblocks share.

use std::{fmt, str::FromStr};

/// Bytes of a sector, the unit of md's superblocks and of NBD's smallest request. Always 512, whatever a disk has.
pub const SECTOR_BYTES: u64 = 512;

/// A place or a length in units of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sector(pub u64);

impl Sector {
    /// The sector that begins at a byte; none where the byte is inside one.
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes.is_multiple_of(SECTOR_BYTES) {
            Some(Self(bytes / SECTOR_BYTES))
        } else {
            None
        }
    }

    /// Byte that the sector begins at; none past 2^64.
    pub const fn bytes(self) -> Option<u64> {
        self.0.checked_mul(SECTOR_BYTES)
    }

    /// Sum; none past 2^64.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Difference; none below 0.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Moved by a signed number of sectors, as md's `new_offset` has it; none outside 0..2^64.
    pub const fn checked_offset(self, sectors: i64) -> Option<Self> {
        match self.0.checked_add_signed(sectors) {
            Some(moved) => Some(Self(moved)),
            None => None,
        }
    }

    /// Rounded down to a multiple of `unit`, which is not 0.
    pub const fn round_down(self, unit: Self) -> Self {
        Self(self.0 - self.0 % unit.0)
    }
}

impl fmt::Display for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a member in its array, from 0: md's *role*. Kept when a member is replaced; no device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot as an index into a table of members.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How an array spreads its bytes over its members: md's levels. RAID 50 is no level but RAID 0 over RAID 5 legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One member after the other: JBOD, of one member or more.
    Linear,
    /// Stripes without redundancy.
    Raid0,
    /// Every member holds everything.
    Raid1,
    /// Stripes with parity on the last member.
    Raid4,
    /// Stripes with one rotating parity.
    Raid5,
    /// Stripes with two rotating parities.
    Raid6,
    /// Stripes of copies.
    Raid10,
}

impl Level {
    /// All of them, in the order of md's codes.
    pub const ALL: [Self; 7] = [
        Self::Linear,
        Self::Raid0,
        Self::Raid1,
        Self::Raid4,
        Self::Raid5,
        Self::Raid6,
        Self::Raid10,
    ];

    /// md's code in the superblock: -1, 0, 1, 4, 5, 6, 10.
    pub const fn code(self) -> i32 {
        match self {
            Self::Linear => -1,
            Self::Raid0 => 0,
            Self::Raid1 => 1,
            Self::Raid4 => 4,
            Self::Raid5 => 5,
            Self::Raid6 => 6,
            Self::Raid10 => 10,
        }
    }

    /// The level of a code of md; none of a code that is no level here (faulty, multipath, container).
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.code() == code)
    }

    /// Its name as mdadm and the kernel print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Raid0 => "raid0",
            Self::Raid1 => "raid1",
            Self::Raid4 => "raid4",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
            Self::Raid10 => "raid10",
        }
    }

    /// How many parities a stripe has: 0, 1 or 2.
    pub const fn parities(self) -> u16 {
        match self {
            Self::Raid4 | Self::Raid5 => 1,
            Self::Raid6 => 2,
            Self::Linear | Self::Raid0 | Self::Raid1 | Self::Raid10 => 0,
        }
    }

    /// True where the loss of a member loses data.
    pub const fn is_bare(self) -> bool {
        matches!(self, Self::Linear | Self::Raid0)
    }

    /// The fewest members that md runs the level with. What may be created is stricter: see
    /// [`ArrayKind`](super::geometry::ArrayKind).
    pub const fn minimum_members(self) -> u16 {
        match self {
            Self::Linear | Self::Raid0 | Self::Raid1 => 1,
            Self::Raid4 | Self::Raid5 | Self::Raid10 => 2,
            Self::Raid6 => 4,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no RAID level: choose linear, raid0, raid1, raid4, raid5, raid6 or raid10")]
pub struct UnknownLevel(pub String);

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Reads `raid5`, `RAID5` and `5`.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let lower = text.to_ascii_lowercase();
        let named = |level: &Level| {
            level.name() == lower || level.name().strip_prefix("raid").is_some_and(|number| number == lower)
        };
        Self::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Sector};

    #[test]
    fn codes_and_names_of_levels_lead_back() {
        let codes: Vec<i32> = Level::ALL.iter().map(|level| level.code()).collect();
        assert_eq!(codes, [-1, 0, 1, 4, 5, 6, 10]);
        for level in Level::ALL {
            assert_eq!(Level::from_code(level.code()), Some(level));
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!("10".parse(), Ok(Level::Raid10));
        assert_eq!("RAID6".parse(), Ok(Level::Raid6));
        assert_eq!(Level::from_code(-5), None);
        assert!("raid7".parse::<Level>().unwrap_err().to_string().contains("raid7"));
        assert!("".parse::<Level>().is_err());
    }

    #[test]
    fn arithmetic_of_sectors_does_not_wrap() {
        assert_eq!(Sector::from_bytes(1024), Some(Sector(2)));
        assert_eq!(Sector::from_bytes(1025), None);
        assert_eq!(Sector(u64::MAX).bytes(), None);
        assert_eq!(Sector(u64::MAX).checked_add(Sector(1)), None);
        assert_eq!(Sector(1).checked_sub(Sector(2)), None);
        assert_eq!(Sector(2048).checked_offset(-512), Some(Sector(1536)));
        assert_eq!(Sector(1).checked_offset(-2), None);
        assert_eq!(Sector(1025).round_down(Sector(128)), Sector(1024));
    }
}
