//! Dump and restore: trees of files on tapes in the format that BSD made standard, and back.
//!
//! [`record`] is the header of 1024 bytes that begins everything on a tape; [`directory`], [`inode_map`] and
//! [`attributes`] are what directories, the two maps and extended attributes look like behind one. They take and give
//! bytes. On top of them a dump is made: [`tree`] is what is dumped, [`walker`] finds what is in it (for it and for the
//! writer `ahead` does what comes next), [`selection`] leaves some of it out, [`images`] stand for arrays, `members` keeps those still that it meets as files,
//! [`numbers`] gives numbers to that, [`writer`] puts it on the tape, [`dumpdates`] remembers it, [`context`] lets one that was stopped go on. The
//! other way, [`reader`] takes a tape apart, and [`restore`] makes a tree of it; [`verify`] only reads, [`salvage`] takes
//! what can be had of a damaged one. [`catalog`] keeps what is where, so that single files are found without reading all, and [`browse`]
//! looks into a dump by it.
//!
//! Glossary: a *tape block* is 1024 bytes, the unit of everything on a tape; the *blocking factor* is how many of them
//! one record holds; a *cell* is a stretch of 1024 bytes of a file, on the tape unless it is a hole; a *segment* is a
//! header and the cells behind it; a *number* is what the tape calls an inode, small and dense; a *level* is 0 for
//! everything, 1 to 31 for what changed since the *base*, the latest dump of a lower level.

mod ahead;
pub mod attributes;
pub mod browse;
pub mod catalog;
pub mod context;
pub mod directory;
pub mod dumpdates;
mod error;
pub mod images;
pub mod inode_map;
pub mod locks;
mod members;
pub mod numbers;
pub mod reader;
pub mod record;
pub mod restore;
pub mod salvage;
pub mod selection;
pub mod snapshots;
mod stream;
pub mod tree;
pub mod verify;
pub mod walker;
pub mod writer;

pub use self::error::{Error, Hindrance, Lost, Result, Trouble};

/// Length of a tape block, in bytes.
pub const TAPE_BLOCK_BYTES: usize = 1024;

/// Number of the root of a tree on every tape.
pub const ROOT: u32 = 2;
