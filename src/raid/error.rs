//! What can go wrong in the array engine: one variant a decision that the caller can make.
//!
//! A variant's fields say where, its source says why. The faces over the engine choose errnos and exit codes from it.

use std::{io, path::PathBuf};

use super::Slot;

/// Result of the array engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of an operation on an array or its members.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request reaches past the end.
    #[error("{length_bytes} bytes at {offset_bytes} reach past the end of an array of {size_bytes}")]
    OutOfRange {
        /// Where the request begins.
        offset_bytes: u64,
        /// How long it is.
        length_bytes: u64,
        /// Size of the array.
        size_bytes: u64,
    },
    /// The array takes no writes.
    #[error("array {array} is read-only")]
    ReadOnly {
        /// Name of the array.
        array: String,
    },
    /// No copy and no parity gives these bytes any more.
    #[error("array {array}: the data at {offset_bytes} cannot be read from any member")]
    Unreadable {
        /// Name of the array.
        array: String,
        /// First byte that is lost.
        offset_bytes: u64,
        /// What the last member said; none where members are missing.
        source: Option<io::Error>,
    },
    /// A write did not reach enough members; what stands in its range is not known.
    #[error("array {array}: the write at {offset_bytes} did not reach enough members")]
    NotWritten {
        /// Name of the array.
        array: String,
        /// Where the request begins.
        offset_bytes: u64,
        /// What the last member said.
        source: io::Error,
    },
    /// A flush failed, now or before: writes that were acknowledged may not be durable.
    #[error("array {array}: writes since the last flush may be lost; assemble it again to go on")]
    FlushLost {
        /// Name of the array.
        array: String,
        /// What the member said when it happened; none when an earlier failure is repeated.
        source: Option<io::Error>,
    },
    /// The range could be zeroed, but not faster than by writing zeros, and the caller wants that only.
    #[error("zeros cannot be made without writing them")]
    NotFast,
    /// A member's file could not be used.
    #[error("{path}: cannot {verb}: {source}", path = path.display())]
    Member {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// What the host said.
        source: io::Error,
    },
    /// A member's file is in use by another array or process.
    #[error("{path}: in use: {source}", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it.
        source: io::Error,
    },
    /// The members that were given make no array that can be started.
    #[error("cannot start array {array}: {reason}; {remedy}")]
    NotStartable {
        /// Name of the array, or what is known of it.
        array: String,
        /// What is missing.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A wish that cannot be fulfilled.
    #[error("{parameter} cannot be {value}: {reason}")]
    BadParameter {
        /// Which one.
        parameter: &'static str,
        /// What was asked for.
        value: String,
        /// Its range.
        reason: String,
    },
    /// The member would leave the array without the members that it needs.
    #[error("array {array}: member {slot} cannot be failed, the array needs it", slot = slot.0)]
    MemberNeeded {
        /// Name of the array.
        array: String,
        /// The member.
        slot: Slot,
    },
    /// The thing asked for does not go with the state that the array is in.
    #[error("array {array}: {reason}")]
    WrongState {
        /// Name of the array.
        array: String,
        /// What is in the way.
        reason: &'static str,
    },
}

/// The same error once more, for another who has to hear of it.
pub(in crate::raid) fn again(error: &io::Error) -> io::Error {
    let told = || io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(told, io::Error::from_raw_os_error)
}
