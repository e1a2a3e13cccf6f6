//! States of a disk: those of members follow from their array's, the others from what is on the disk.
//!
//! A member in sync of an array that is well has no icon of its own in the guide but the array's, so there is one state
//! more here than in its table.

use std::fmt;

use super::ArrayState;

/// State of a disk, from harmless to worst: the guide's first table, and [`Self::Normal`], for which it has no icon of
/// its own but the array's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskState {
    /// A member in sync.
    Normal,
    /// Waits to replace a member of any array.
    Spare,
    /// Holds a file system that is not ours.
    Legacy,
    /// Blank: has to be initialised before use.
    NotInitialized,
    /// Its array is being verified.
    Verifying,
    /// Its array is being initialised.
    Initializing,
    /// Its array is growing or moving.
    Reshaping,
    /// Its array's initialisation was interrupted.
    Uninitialized,
    /// Its array's growing or moving was interrupted.
    ReshapeStopped,
    /// It is being filled.
    Rebuilding,
    /// It is there, but has to be rebuilt.
    CriticalRebuildRequired,
    /// It is gone.
    CriticalMissingDisk,
    /// Its array has too few members.
    Disabled,
}

/// How a slot of an array is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// By a member that has all that was written.
    InSync,
    /// By a member that is being filled.
    Rebuilding,
    /// By a member that has to be rebuilt.
    OutOfDate,
    /// By none.
    Missing,
}

impl DiskState {
    /// All of them, from harmless to worst.
    pub const ALL: [Self; 13] = [
        Self::Normal,
        Self::Spare,
        Self::Legacy,
        Self::NotInitialized,
        Self::Verifying,
        Self::Initializing,
        Self::Reshaping,
        Self::Uninitialized,
        Self::ReshapeStopped,
        Self::Rebuilding,
        Self::CriticalRebuildRequired,
        Self::CriticalMissingDisk,
        Self::Disabled,
    ];

    /// The guide's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Spare => "Spare",
            Self::Legacy => "Legacy",
            Self::NotInitialized => "Not Initialized",
            Self::Verifying => "Verifying",
            Self::Initializing => "Initializing",
            Self::Reshaping => "OCE/ORLM",
            Self::Uninitialized => "Uninitialized",
            Self::ReshapeStopped => "OCE/ORLM has stopped",
            Self::Rebuilding => "Rebuilding",
            Self::CriticalRebuildRequired => "Critical – rebuild required",
            Self::CriticalMissingDisk => "Critical – missing disk",
            Self::Disabled => "Disabled",
        }
    }

    /// Name of its icon, without ending.
    pub const fn icon(self) -> &'static str {
        match self {
            Self::Normal => "disk-normal",
            Self::Spare => "disk-spare",
            Self::Legacy => "disk-legacy",
            Self::NotInitialized => "disk-not-initialized",
            Self::Verifying => "disk-verifying",
            Self::Initializing => "disk-initializing",
            Self::Reshaping => "disk-oce-orlm",
            Self::Uninitialized => "disk-uninitialized",
            Self::ReshapeStopped => "disk-oce-orlm-stopped",
            Self::Rebuilding => "disk-rebuilding",
            Self::CriticalRebuildRequired => "disk-critical-rebuild-required",
            Self::CriticalMissingDisk => "disk-critical-missing-disk",
            Self::Disabled => "disk-disabled",
        }
    }

    /// What it means, in a sentence.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Normal => "The disk is a member of an array and holds all that it should.",
            Self::Spare => "The disk replaces by itself any member that fails.",
            Self::Legacy => "The disk holds a file system that is not part of any array.",
            Self::NotInitialized => "The disk has to be initialised before it can be used.",
            Self::Verifying => "The disk's array is being verified.",
            Self::Initializing => "The disk's array is being initialised, in the foreground or in the background.",
            Self::Reshaping => "The disk's array is growing or moving to another level.",
            Self::Uninitialized => "The initialisation of the disk's array was interrupted.",
            Self::ReshapeStopped => "Growing or moving the disk's array was stopped.",
            Self::Rebuilding => "The disk is being filled from the other members.",
            Self::CriticalRebuildRequired => "All disks are there, but this one has to be rebuilt.",
            Self::CriticalMissingDisk => "The disk is gone; another failure could lose data.",
            Self::Disabled => "The disk's array has lost too many members and cannot be read.",
        }
    }

    /// State of the disk in a slot of an array.
    pub const fn of_member(array: ArrayState, slot: SlotState) -> Self {
        match (array, slot) {
            (_, SlotState::Missing) => Self::CriticalMissingDisk,
            (ArrayState::Disabled, _) => Self::Disabled,
            (_, SlotState::Rebuilding) => Self::Rebuilding,
            (_, SlotState::OutOfDate) => Self::CriticalRebuildRequired,
            (ArrayState::Verifying, _) => Self::Verifying,
            (ArrayState::Initializing, _) => Self::Initializing,
            (ArrayState::Reshaping, _) => Self::Reshaping,
            (ArrayState::InitializationStopped, _) => Self::Uninitialized,
            (ArrayState::ReshapeStopped, _) => Self::ReshapeStopped,
            _ => Self::Normal,
        }
    }
}

impl fmt::Display for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
