//! Why a shape is refused: what was asked for, and what would do.
//!
//! Superblocks of others and options of users both end here, so nothing in this folder panics on a number it was given.

use super::ArrayKind;
use crate::raid::Level;

/// A shape that is no array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Too few or too many members for the level.
    #[error("{level} has {minimum} to {maximum} members, not {members}")]
    MemberCount {
        /// The level.
        level: Level,
        /// Members given.
        members: usize,
        /// The fewest that it runs with.
        minimum: usize,
        /// The most.
        maximum: usize,
    },
    /// The chunk has a length that the level cannot have.
    #[error("{level} cannot have a chunk of {chunk_bytes} bytes: {reason}")]
    BadChunk {
        /// The level.
        level: Level,
        /// Length given.
        chunk_bytes: u64,
        /// What it has to be.
        reason: &'static str,
    },
    /// The layout number means nothing at this level, or not with these members.
    #[error("{level} cannot have layout {layout:#x}: {remedy}")]
    UnknownLayout {
        /// The level.
        level: Level,
        /// md's number.
        layout: u32,
        /// What is known.
        remedy: &'static str,
    },
    /// The smallest member does not hold one chunk.
    #[error("a {level} of these members holds nothing: the smallest is shorter than a chunk of {chunk_bytes} bytes")]
    Empty {
        /// The level.
        level: Level,
        /// Length of a chunk.
        chunk_bytes: u64,
    },
    /// The array would have 2^64 bytes or more.
    #[error("the array would be larger than 2^64 bytes")]
    TooLarge,
    /// Legs of a RAID 50 that are no RAID 5, or differ.
    #[error("RAID 50 needs at least 2 legs of RAID 5, all of the same shape")]
    UnequalLegs,
    /// A reshape from one shape to another that does not go.
    #[error("{from} cannot be reshaped to {to} here: {reason}")]
    NoReshape {
        /// Level before.
        from: Level,
        /// Level after.
        to: Level,
        /// Why not.
        reason: &'static str,
    },
}

/// Why members cannot become an array of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Too few members, or a number that cannot be shared out.
    #[error("{kind} {needs}, not {members}")]
    MemberCount {
        /// The kind.
        kind: ArrayKind,
        /// Members given.
        members: usize,
        /// The rule.
        needs: &'static str,
    },
    /// A member has no room left.
    #[error("member {member} has {free_bytes} bytes free, which is too little for any array; take another disk")]
    NoRoom {
        /// Which one, in the order given.
        member: usize,
        /// What it has.
        free_bytes: u64,
    },
    /// More was asked for than the smallest member allows.
    #[error(
        "{wanted_bytes} bytes do not fit: the smallest member allows {maximum_bytes}; ask for less or for the maximum"
    )]
    TooMuch {
        /// Capacity asked for.
        wanted_bytes: u64,
        /// Capacity that there is.
        maximum_bytes: u64,
    },
    /// The shape was refused.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}
