//! States of an array, and what may be asked of it in each.
//!
//! The guide shows a state as an icon and a word in a column of statuses; several critical icons share one word.

use std::fmt;

use super::{Facts, Work};

/// State of an array, from harmless to worst: the guide's second table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArrayState {
    /// All is well.
    Normal,
    /// The redundancy is being looked at.
    Verifying,
    /// Being zeroed, or its parity made for the first time.
    Initializing,
    /// Growing, or moving to another level.
    Reshaping,
    /// The initialisation was interrupted.
    InitializationStopped,
    /// The reshape was interrupted.
    ReshapeStopped,
    /// A member is being filled.
    Rebuilding,
    /// Redundancy does not agree with data, or a member that is there is out of date.
    CriticalInconsistency,
    /// A member is gone.
    CriticalMissingDisk,
    /// A member went in the middle of a reshape.
    CriticalReshape,
    /// A member has to be rebuilt in the middle of a reshape.
    CriticalReshapeRebuild,
    /// Too few members: no data.
    Disabled,
}

impl ArrayState {
    /// All of them, from harmless to worst.
    pub const ALL: [Self; 12] = [
        Self::Normal,
        Self::Verifying,
        Self::Initializing,
        Self::Reshaping,
        Self::InitializationStopped,
        Self::ReshapeStopped,
        Self::Rebuilding,
        Self::CriticalInconsistency,
        Self::CriticalMissingDisk,
        Self::CriticalReshape,
        Self::CriticalReshapeRebuild,
        Self::Disabled,
    ];

    /// The guide's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Verifying => "Verifying",
            Self::Initializing => "Initializing",
            Self::Reshaping => "OCE/ORLM",
            Self::InitializationStopped => "Initialization Stopped",
            Self::ReshapeStopped => "OCE/ORLM stopped",
            Self::Rebuilding => "Rebuilding",
            Self::CriticalInconsistency => "Critical – Inconsistency",
            Self::CriticalMissingDisk => "Critical – missing disk",
            Self::CriticalReshape => "Critical – OCE/ORLM",
            Self::CriticalReshapeRebuild => "Critical – OCE/ORLM - rebuild",
            Self::Disabled => "Disabled",
        }
    }

    /// What the guide shows in the column of statuses.
    pub const fn status(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Verifying => "Verifying",
            Self::Initializing => "Initializing",
            Self::Reshaping => "Expanding/Migrating",
            Self::InitializationStopped => "Uninitialized",
            Self::ReshapeStopped => "Need Expanding/Migrating",
            Self::Rebuilding => "Rebuilding",
            Self::CriticalInconsistency
            | Self::CriticalMissingDisk
            | Self::CriticalReshape
            | Self::CriticalReshapeRebuild => "Critical",
            Self::Disabled => "Disabled",
        }
    }

    /// Name of its icon, without ending.
    pub const fn icon(self) -> &'static str {
        match self {
            Self::Normal => "array-normal",
            Self::Verifying => "array-verifying",
            Self::Initializing => "array-initializing",
            Self::Reshaping => "array-oce-orlm",
            Self::InitializationStopped => "array-initialization-stopped",
            Self::ReshapeStopped => "array-oce-orlm-stopped",
            Self::Rebuilding => "array-rebuilding",
            Self::CriticalInconsistency => "array-critical-inconsistency",
            Self::CriticalMissingDisk => "array-critical-missing-disk",
            Self::CriticalReshape => "array-critical-oce-orlm",
            Self::CriticalReshapeRebuild => "array-critical-oce-orlm-rebuild",
            Self::Disabled => "array-disabled",
        }
    }

    /// What it means, in a sentence.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Normal => "The array works as it should.",
            Self::Verifying => "The array's data and redundancy are being compared.",
            Self::Initializing => "The array is being initialised, in the foreground or in the background.",
            Self::Reshaping => "The array is growing or moving to another level.",
            Self::InitializationStopped => "The initialisation was stopped; the array is not initialised.",
            Self::ReshapeStopped => "Growing or moving to another level was stopped half-way; it can go on.",
            Self::Rebuilding => "A member is being filled from the others.",
            Self::CriticalInconsistency => "The array's redundancy is not that of its data; rebuild it.",
            Self::CriticalMissingDisk => "A member was removed or failed; put it back or add another disk.",
            Self::CriticalReshape => "A member was lost while the array was growing or moving to another level.",
            Self::CriticalReshapeRebuild => "The array, growing or moving to another level, has to be rebuilt.",
            Self::Disabled => "Too few members are left for the array's level; its data cannot be read.",
        }
    }

    /// True where data can be read, but another loss may be the last.
    pub const fn is_critical(self) -> bool {
        matches!(
            self,
            Self::CriticalInconsistency
                | Self::CriticalMissingDisk
                | Self::CriticalReshape
                | Self::CriticalReshapeRebuild
        )
    }

    /// The state that facts amount to: the worst that is true.
    pub const fn of(facts: Facts) -> Self {
        match facts {
            Facts { readable: false, .. } => Self::Disabled,
            Facts {
                reshape: Work::Running | Work::Stopped,
                missing: 1..,
                ..
            } => Self::CriticalReshape,
            Facts {
                reshape: Work::Running | Work::Stopped,
                out_of_date: 1..,
                ..
            } => Self::CriticalReshapeRebuild,
            Facts { rebuilding: true, .. } => Self::Rebuilding,
            Facts { missing: 1.., .. } => Self::CriticalMissingDisk,
            Facts { out_of_date: 1.., .. } | Facts { inconsistent: true, .. } => Self::CriticalInconsistency,
            Facts {
                reshape: Work::Stopped, ..
            } => Self::ReshapeStopped,
            Facts {
                initialization: Work::Stopped,
                ..
            } => Self::InitializationStopped,
            Facts {
                reshape: Work::Running, ..
            } => Self::Reshaping,
            Facts {
                initialization: Work::Running,
                ..
            } => Self::Initializing,
            Facts { verifying: true, .. } => Self::Verifying,
            _ => Self::Normal,
        }
    }

    /// What a user may ask for in this state.
    pub const fn actions(self) -> &'static [Action] {
        match self {
            Self::Normal => &[Action::Delete, Action::Verify, Action::Rename, Action::Reshape],
            Self::Verifying => &[Action::Delete, Action::StopVerify],
            Self::Initializing => &[Action::Delete, Action::StopInitialization],
            Self::Reshaping => &[Action::Delete, Action::StopReshape],
            Self::InitializationStopped => &[Action::Delete, Action::ResumeInitialization],
            Self::ReshapeStopped => &[Action::Delete, Action::ResumeReshape],
            Self::Rebuilding => &[Action::Delete, Action::AddDisk, Action::StopRebuild],
            Self::CriticalInconsistency | Self::CriticalMissingDisk => {
                &[Action::Delete, Action::AddDisk, Action::Rebuild]
            }
            Self::CriticalReshape | Self::CriticalReshapeRebuild => &[
                Action::Delete,
                Action::AddDisk,
                Action::Rebuild,
                Action::StopReshape,
                Action::ResumeReshape,
            ],
            Self::Disabled => &[Action::Delete],
        }
    }

    /// True where a user may ask for it.
    pub fn allows(self, action: Action) -> bool {
        self.actions().contains(&action)
    }
}

impl fmt::Display for ArrayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What users ask of an array. The first four are the guide's menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Give the disks back.
    Delete,
    /// Compare data and redundancy.
    Verify,
    /// Give it another name.
    Rename,
    /// Put a disk into an empty slot.
    AddDisk,
    /// Fill members that are out of date, or make redundancy true again.
    Rebuild,
    /// Stop filling.
    StopRebuild,
    /// Stop comparing.
    StopVerify,
    /// Stop initialising.
    StopInitialization,
    /// Go on initialising.
    ResumeInitialization,
    /// Grow, or move to another level.
    Reshape,
    /// Stop growing or moving.
    StopReshape,
    /// Go on growing or moving.
    ResumeReshape,
}

impl Action {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Verify => "verify",
            Self::Rename => "rename",
            Self::AddDisk => "add-disk",
            Self::Rebuild => "rebuild",
            Self::StopRebuild => "stop-rebuild",
            Self::StopVerify => "stop-verify",
            Self::StopInitialization => "stop-initialization",
            Self::ResumeInitialization => "resume-initialization",
            Self::Reshape => "reshape",
            Self::StopReshape => "stop-reshape",
            Self::ResumeReshape => "resume-reshape",
        }
    }
}
