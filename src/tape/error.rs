//! What can go wrong with a tape: one variant a decision that the caller can make.
//!
//! Damage is not among them: a reader is told of it as [`super::Found::Lost`] and goes on. The faces over the engine
//! choose exit codes from these.

use std::{io, path::PathBuf};

/// Result of the tape engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of an operation on a tape.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The tape was opened for reading only.
    #[error("{} is write-protected", path.display())]
    WriteProtected {
        /// The tape.
        path: PathBuf,
    },
    /// The record does not fit on the medium; nothing was written.
    #[error("{} is full: its capacity is {capacity_bytes} bytes", path.display())]
    Full {
        /// The tape.
        path: PathBuf,
        /// Its capacity.
        capacity_bytes: u64,
    },
    /// No tape takes a record of this length.
    #[error("{}: a record of {length_bytes} bytes cannot be written", path.display())]
    BadLength {
        /// The tape.
        path: PathBuf,
        /// Length of the record.
        length_bytes: usize,
    },
    /// The move would leave the tape; it stands at its end or beginning.
    #[error("{}: the tape ends after {moved} of {asked}", path.display())]
    OutOfTape {
        /// The tape.
        path: PathBuf,
        /// How far it was to go, in files or records, or the offset asked for.
        asked: u64,
        /// How far it went, or its length.
        moved: u64,
    },
    /// The tape is damaged where it would have to be understood: moving backward over it is not possible.
    #[error("{}: nothing can be read before offset {offset_bytes}", path.display())]
    Damaged {
        /// The tape.
        path: PathBuf,
        /// Where it stands.
        offset_bytes: u64,
    },
    /// The set has no volume of this number.
    #[error("volume {number} of the set is missing{}", path.as_ref().map(|path| format!(": {}", path.display())).unwrap_or_default())]
    NoVolume {
        /// Number of the volume, from 1.
        number: u32,
        /// Its file; none where no name is left.
        path: Option<PathBuf>,
    },
    /// The tape is not as the writer left it that wants to go on.
    #[error("{}: the dump cannot go on at offset {offset_bytes}: {reason}", path.display())]
    Changed {
        /// The tape.
        path: PathBuf,
        /// Where the writer stood.
        offset_bytes: u64,
        /// What is different.
        reason: &'static str,
    },
    /// The file is there, and was not to be overwritten.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}
