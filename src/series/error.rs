//! What can go wrong in the series engine: one variant a decision that the caller can make.
//!
//! A variant's fields say where, its source says why. [`Damage`] is one wound of a stored file, apart from how it was met.

use std::{io, path::PathBuf};

use super::Timestamp;

/// Result of the series engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of an operation on a database, series or snapshot. Paths are absolute, for messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such database, series, snapshot or tag.
    #[error("{what} {name:?} does not exist in {path}", path = path.display())]
    DoesNotExist {
        /// Kind of thing: `series`, `varlen series`, `snapshot`, `tag`, `database`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The name is taken.
    #[error("{what} {name:?} already exists in {path}", path = path.display())]
    AlreadyExists {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it stands.
        path: PathBuf,
    },
    /// The name cannot be stored.
    #[error("{name:?} cannot name a series or snapshot: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A parameter of a new series is out of its range.
    #[error("{parameter} cannot be {value}: {reason}")]
    BadParameter {
        /// Which one.
        parameter: &'static str,
        /// The value that was asked for.
        value: String,
        /// Its range.
        reason: &'static str,
    },
    /// A value is not as long as the series wants.
    #[error("value of {length} bytes in {path}, which takes {limit}", path = path.display())]
    BadLength {
        /// The series.
        path: PathBuf,
        /// Length of the value in bytes.
        length: usize,
        /// Length, or greatest length, that fits in bytes.
        limit: usize,
        /// True where a shorter value would have fitted.
        too_long: bool,
    },
    /// A timestamp is not larger than the last one.
    #[error("timestamp {timestamp} is not larger than {last}, the last of {path}", path = path.display())]
    OutOfOrder {
        /// The series.
        path: PathBuf,
        /// The timestamp that was refused.
        timestamp: Timestamp,
        /// The newest timestamp stored.
        last: Timestamp,
    },
    /// A range's start is after its end.
    #[error("range {from}..={to} is reversed")]
    BadRange {
        /// First timestamp asked for.
        from: Timestamp,
        /// Last timestamp asked for.
        to: Timestamp,
    },
    /// The series or database is closed or read-only.
    #[error("{path} is {state}", path = path.display())]
    InvalidState {
        /// The series or database.
        path: PathBuf,
        /// `closed`, `open for reading only`, `deleted`.
        state: &'static str,
    },
    /// Something still refers to it.
    #[error("{path} is still in use: {by}", path = path.display())]
    StillOpen {
        /// What was to be closed or removed.
        path: PathBuf,
        /// Who holds it: an iterator, a snapshot's name, a tag.
        by: String,
    },
    /// The database is open for writing elsewhere.
    #[error("{path} is open for writing elsewhere ({holder})", path = path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// What the holder says of itself.
        holder: String,
    },
    /// Stored bytes are wrong; nothing was changed.
    #[error("{path} is damaged: {damage}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// The host's file system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One wound of a stored file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Too short to hold a header, an entry and a count.
    #[error("{size_bytes} bytes are too few for a chunk of {needed_bytes}")]
    TooShort {
        /// Length of the file.
        size_bytes: u64,
        /// Least length.
        needed_bytes: u64,
    },
    /// The header's block size is not the series'.
    #[error("block size {found} in the header, {expected} in the metadata")]
    BlockSize {
        /// In the chunk's header.
        found: u32,
        /// In the metadata.
        expected: u32,
    },
    /// The entry count cannot be right.
    #[error("count {count} where {limit} entries fit")]
    Count {
        /// In the last four bytes.
        count: u32,
        /// How many fit.
        limit: u64,
    },
    /// The first entry is not the one that the file is named for.
    #[error("first timestamp {found} under the name {expected}")]
    FirstTimestamp {
        /// In the chunk.
        found: Timestamp,
        /// Its name.
        expected: Timestamp,
    },
    /// A timestamp is not larger than the one before.
    #[error("entry {index} has timestamp {found} after {previous}")]
    Order {
        /// Which entry of the chunk, from 0.
        index: u64,
        /// Its timestamp.
        found: Timestamp,
        /// The one before.
        previous: Timestamp,
    },
    /// A chunk begins before the one before it ends.
    #[error("begins at {found}, before the end {previous} of the chunk before")]
    Overlap {
        /// First timestamp.
        found: Timestamp,
        /// Last timestamp of the chunk before.
        previous: Timestamp,
    },
    /// The file was cut short while it was open.
    #[error("cut short while it was open")]
    Truncated,
    /// A file that should be there is not.
    #[error("missing")]
    Missing,
    /// The metadata is not what it should be.
    #[error("metadata: {0}")]
    Metadata(String),
    /// A name in a series directory that the format does not know.
    #[error("{0:?} does not belong in a series")]
    Stray(String),
    /// A variable-length value lacks a part.
    #[error("value at {timestamp} lacks its part in sub-series {part}")]
    MissingPart {
        /// When.
        timestamp: Timestamp,
        /// Which sub-series, from 1.
        part: usize,
    },
    /// A variable-length value's length cannot be right.
    #[error("value at {timestamp} has length {length}, {limit} at most")]
    Length {
        /// When.
        timestamp: Timestamp,
        /// Stored length.
        length: u64,
        /// Greatest length.
        limit: u64,
    },
}
