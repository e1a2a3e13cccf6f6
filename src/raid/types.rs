//! The nouns that every part of the engine shares: sectors, slots, levels.
//!
//! A mix-up of these destroys data, so each has its own type.

use std::fmt;

/// Count or position in units of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sector(pub u64);

/// Place of a member in an array's geometry, from 0; md calls it the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// RAID level as md has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Members one after the other.
    Linear,
    /// Striped, no redundancy.
    Raid0,
    /// Copies.
    Raid1,
    /// Parity on the last member.
    Raid4,
    /// Rotating parity.
    Raid5,
    /// Two rotating parities.
    Raid6,
    /// Striped copies.
    Raid10,
}

impl Level {
    /// Number of md: -1, 0, 1, 4, 5, 6, 10.
    pub fn code(self) -> i32 {
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

    /// Level of md's number; none where it is not served.
    pub fn from_code(code: i32) -> Option<Self> {
        [
            Self::Linear,
            Self::Raid0,
            Self::Raid1,
            Self::Raid4,
            Self::Raid5,
            Self::Raid6,
            Self::Raid10,
        ]
        .into_iter()
        .find(|level| level.code() == code)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => f.write_str("linear"),
            level => write!(f, "raid{}", level.code()),
        }
    }
}
