//! What the mount refuses, and the one place where an errno is chosen for it.
//!
//! A [`Refusal`] says what happened; [`errno`] has one arm for each of its variants and for each variant of the
//! engine's [`series::Error`], with the doubt, where there is one, written beside it. The
//! yardstick is ext4's append-only attribute (`chattr +a`) and, where it has no say, the man page of the call.

use std::io;

use crate::series::{self, text::TextError};

/// Result of a file system operation.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Why a file system operation did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] series::Error),
    /// A line that cannot be read as an entry.
    #[error(transparent)]
    Text(#[from] TextError),
    /// No such name in this directory.
    #[error("{name:?} does not exist here")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// The kernel speaks of a node or handle that is gone: its series or snapshot was deleted.
    #[error("node {node:#x} is gone")]
    Gone {
        /// Number of the node or handle.
        node: u64,
    },
    /// A directory operation on a file.
    #[error("not a directory")]
    NotADirectory,
    /// A file operation on a directory.
    #[error("a directory")]
    IsADirectory,
    /// readlink of what is no link.
    #[error("not a symbolic link")]
    NotALink,
    /// An entry file takes entries at its end only.
    #[error("{action}: entries are only ever appended; open with O_APPEND, or mount with lax-append")]
    AppendOnly {
        /// What was tried.
        action: &'static str,
    },
    /// A write through a descriptor without `O_APPEND`, elsewhere than at the end.
    #[error("write at {offset}, where the file ends at {end}")]
    NotAtEnd {
        /// Where the write was to go, in bytes.
        offset: u64,
        /// The end with the part of an entry that this open file holds, in bytes.
        end: u64,
    },
    /// The file or directory never changes in that way.
    #[error("{action}: the layout of the mount is fixed")]
    Fixed {
        /// What was tried.
        action: &'static str,
    },
    /// A write into a snapshot.
    #[error("a snapshot cannot be changed")]
    Frozen,
    /// A write into a mount that was made with `ro`.
    #[error("mounted read-only")]
    ReadOnlyMount,
    /// A write that ends inside its first record.
    #[error("{length} bytes are less than a record of {record}")]
    Fragment {
        /// Bytes written.
        length: usize,
        /// Bytes of the record they begin.
        record: u64,
    },
    /// A file that was closed inside a record.
    #[error("closed with {held} bytes of an unfinished record: {bytes}")]
    HeldFragment {
        /// How many bytes were held.
        held: usize,
        /// The first of them in hex.
        bytes: String,
    },
    /// A record whose stated length, or a line whose length, no value of this series can have.
    #[error("entry of {length} bytes, where at most {limit} are taken")]
    EntryTooLong {
        /// Stated length in bytes.
        length: u64,
        /// Greatest length in bytes.
        limit: u64,
    },
    /// A writer whose earlier bytes turned out to begin a bad record goes on writing.
    #[error("this open file is broken since an entry was refused half way; open it anew")]
    Broken,
    /// A directory that is to be removed has entries.
    #[error("the series has entries; mount with allow-delete to remove it with them")]
    NotEmpty,
    /// The chunk is not the oldest closed one.
    #[error("only the oldest closed chunk can be removed")]
    NotOldest,
    /// A parameter of a series that has entries already.
    #[error("{name} cannot change once the series has entries")]
    HasEntries {
        /// The attribute.
        name: String,
    },
    /// The name is taken.
    #[error("{name:?} exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// A name that is not UTF-8 text, or cannot be one of this layout.
    #[error("{name:?} cannot be a name here")]
    BadName {
        /// The name, lossily.
        name: String,
    },
    /// A name longer than the file system takes.
    #[error("a name of {length} bytes is too long")]
    NameTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Metadata that is not a JSON object.
    #[error("metadata is a JSON object or null: {reason}")]
    BadMetadata {
        /// What the parser says.
        reason: String,
    },
    /// More metadata than the mount takes.
    #[error("metadata of more than {limit} bytes")]
    MetadataTooLarge {
        /// Greatest length in bytes.
        limit: usize,
    },
    /// A line of `ctl` that is no command.
    #[error("{line:?} is no command: sync | trim TS | synced TS | close | access mmap|descriptor | lock PID")]
    BadCommand {
        /// The line, lossily.
        line: String,
    },
    /// A process has the series for itself.
    #[error("process {process} has the series for itself, such as a restore until it is done")]
    Locked {
        /// The process.
        process: u32,
    },
    /// The attribute has no such value.
    #[error("{name} cannot be {value:?}")]
    BadAttribute {
        /// The attribute.
        name: String,
        /// The value, lossily.
        value: String,
    },
    /// No such attribute.
    #[error("no attribute {name}")]
    NoAttribute {
        /// The attribute.
        name: String,
    },
    /// The attribute exists, or flag exists, and may not be set.
    #[error("{name} cannot be set")]
    AttributeFixed {
        /// The attribute.
        name: String,
    },
    /// An attribute outside `user.`.
    #[error("no attributes of this namespace")]
    NoNamespace,
    /// The caller's buffer is smaller than the attribute.
    #[error("buffer of {size} bytes for {needed}")]
    BufferTooSmall {
        /// Of the caller.
        size: usize,
        /// Of the attribute.
        needed: usize,
    },
    /// Space cannot be reserved: it would have to be entries.
    #[error("space cannot be reserved in a file of entries")]
    NoReservation,
    /// The kernel is to copy by reading and writing.
    #[error("left to the kernel")]
    LeftToKernel,
    /// SEEK_DATA or SEEK_HOLE past the end.
    #[error("offset {offset} is past the end")]
    PastEnd {
        /// The offset in bytes.
        offset: u64,
    },
    /// lseek with a whence that is none.
    #[error("whence {whence} is unknown")]
    BadWhence {
        /// As given.
        whence: i32,
    },
    /// No such ioctl.
    #[error("ioctl {command:#x} is unknown")]
    NoIoctl {
        /// Its number.
        command: u32,
    },
    /// Rename with flags, or between places, that make no sense here.
    #[error("{action}")]
    BadRename {
        /// What was asked for.
        action: &'static str,
    },
    /// A handler panicked; the daemon lives on.
    #[error("internal error in {operation}: {message}")]
    Panicked {
        /// The operation.
        operation: &'static str,
        /// What the panic said.
        message: String,
    },
}

/// A number of errno(3), positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// The errno that a caller gets for `refusal`.
pub fn errno(refusal: &Refusal) -> Errno {
    Errno(match refusal {
        Refusal::Engine(error) => return engine_errno(error),
        // ERANGE would do for a bad number, but is taken by "not larger than the last timestamp".
        Refusal::Text(TextError::TooLong { .. }) | Refusal::EntryTooLong { .. } => libc::EMSGSIZE,
        Refusal::Text(_) => libc::EINVAL,
        Refusal::NoSuchName { .. } => libc::ENOENT,
        // NFS's word for a handle whose file is gone; ENOENT would make path lookups blame the wrong name.
        Refusal::Gone { .. } => libc::ESTALE,
        Refusal::NotADirectory => libc::ENOTDIR,
        Refusal::IsADirectory => libc::EISDIR,
        Refusal::NotALink => libc::EINVAL,
        // ext4 +a: EPERM from open, truncate and from each write without O_APPEND.
        Refusal::AppendOnly { .. } | Refusal::NotAtEnd { .. } => libc::EPERM,
        // ext4 +a and +i: EPERM. EROFS would say that the mount as a whole is read-only.
        Refusal::Fixed { .. } => libc::EPERM,
        Refusal::Frozen | Refusal::ReadOnlyMount => libc::EROFS,
        // EMSGSIZE was considered; EINVAL is what a device says that takes whole records.
        Refusal::Fragment { .. } | Refusal::HeldFragment { .. } | Refusal::Broken => libc::EINVAL,
        Refusal::NotEmpty => libc::ENOTEMPTY,
        Refusal::NotOldest | Refusal::HasEntries { .. } | Refusal::Locked { .. } => libc::EBUSY,
        Refusal::Exists { .. } => libc::EEXIST,
        Refusal::BadName { .. } => libc::EINVAL,
        Refusal::NameTooLong { .. } => libc::ENAMETOOLONG,
        Refusal::BadMetadata { .. } | Refusal::BadCommand { .. } | Refusal::BadAttribute { .. } => libc::EINVAL,
        Refusal::MetadataTooLarge { .. } => libc::EFBIG,
        Refusal::NoAttribute { .. } => libc::ENODATA,
        Refusal::AttributeFixed { .. } => libc::EPERM,
        // Not ENODATA, so that the kernel and ls stop asking; never ENOSYS, which turns all attributes off.
        Refusal::NoNamespace => libc::EOPNOTSUPP,
        Refusal::BufferTooSmall { .. } => libc::ERANGE,
        Refusal::NoReservation => libc::EOPNOTSUPP,
        Refusal::LeftToKernel => libc::ENOSYS,
        Refusal::PastEnd { .. } => libc::ENXIO,
        Refusal::BadWhence { .. } => libc::EINVAL,
        Refusal::NoIoctl { .. } => libc::ENOTTY,
        // mv falls back on copying for EXDEV, which would make things worse.
        Refusal::BadRename { .. } => libc::EINVAL,
        Refusal::Panicked { .. } => libc::EIO,
    })
}

fn engine_errno(error: &series::Error) -> Errno {
    Errno(match error {
        series::Error::DoesNotExist { .. } => libc::ENOENT,
        series::Error::AlreadyExists { .. } => libc::EEXIST,
        series::Error::BadName { name, .. } if name.len() > NAME_MAX => libc::ENAMETOOLONG,
        series::Error::BadName { .. } | series::Error::BadParameter { .. } => libc::EINVAL,
        series::Error::BadLength { too_long: true, .. } => libc::EMSGSIZE,
        series::Error::BadLength { .. } => libc::EINVAL,
        // EINVAL is for what can never be right; a timestamp is right or wrong by what came before it.
        series::Error::OutOfOrder { .. } => libc::ERANGE,
        series::Error::BadRange { .. } => libc::EINVAL,
        series::Error::InvalidState { state, .. } if state.contains("reading") => libc::EROFS,
        series::Error::InvalidState { .. } => libc::ESHUTDOWN,
        series::Error::StillOpen { .. } => libc::EBUSY,
        // Only opening a database says so, before there is a mount; EAGAIN is what flock says.
        series::Error::Locked { .. } => libc::EAGAIN,
        // What ext4 and XFS say of their own damage.
        series::Error::Damaged { .. } => libc::EUCLEAN,
        series::Error::Io { source, .. } => return host_errno(source),
    })
}

/// The host's own errno where it means the same to our caller, else EIO: its ENOENT, say, is not about our path.
fn host_errno(error: &io::Error) -> Errno {
    Errno(match error.raw_os_error() {
        Some(n @ (libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::ENOMEM | libc::EMFILE | libc::ENFILE)) => n,
        Some(n @ (libc::EACCES | libc::EPERM | libc::EFBIG)) => n,
        _ => libc::EIO,
    })
}

/// Longest name of a file in bytes.
pub const NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Damage, Error, Timestamp};

    /// T27: the table of the operations' errnos, by hand from the specification.
    #[test]
    fn engine_errors_have_their_errno() {
        let path = || "/d/s".into();
        let name = || "s".to_owned();
        let io = |n| Error::Io {
            path: path(),
            source: io::Error::from_raw_os_error(n),
        };
        let length = |too_long| Error::BadLength {
            path: path(),
            length: 3,
            limit: 2,
            too_long,
        };
        let state = |state| Error::InvalidState { path: path(), state };
        let (what, last) = ("series", Timestamp(5));
        let cases = [
            (
                Error::DoesNotExist {
                    what,
                    name: name(),
                    path: path(),
                },
                libc::ENOENT,
            ),
            (
                Error::AlreadyExists {
                    what,
                    name: name(),
                    path: path(),
                },
                libc::EEXIST,
            ),
            (
                Error::BadName {
                    name: name(),
                    reason: "reserved",
                },
                libc::EINVAL,
            ),
            (
                Error::BadName {
                    name: "x".repeat(256),
                    reason: "too long",
                },
                libc::ENAMETOOLONG,
            ),
            (length(true), libc::EMSGSIZE),
            (length(false), libc::EINVAL),
            (
                Error::OutOfOrder {
                    path: path(),
                    timestamp: last,
                    last,
                },
                libc::ERANGE,
            ),
            (state("closed"), libc::ESHUTDOWN),
            (state("open for reading only"), libc::EROFS),
            (
                Error::StillOpen {
                    path: path(),
                    by: "nightly".into(),
                },
                libc::EBUSY,
            ),
            (
                Error::Damaged {
                    path: path(),
                    damage: Damage::TooShort {
                        size_bytes: 3,
                        needed_bytes: 24,
                    },
                },
                libc::EUCLEAN,
            ),
            (io(libc::ENOSPC), libc::ENOSPC),
            (io(libc::ENOENT), libc::EIO),
            (io(libc::EIO), libc::EIO),
        ];
        for (error, expected) in cases {
            let text = error.to_string();
            assert_eq!(errno(&Refusal::Engine(error)), Errno(expected), "{text}");
        }
    }

    #[test]
    fn own_refusals_have_the_errno_of_an_append_only_ext4_file() {
        let cases = [
            (Refusal::AppendOnly { action: "open" }, libc::EPERM),
            (Refusal::NotAtEnd { offset: 0, end: 5 }, libc::EPERM),
            (Refusal::Fixed { action: "link" }, libc::EPERM),
            (Refusal::Frozen, libc::EROFS),
            (
                Refusal::Text(TextError::TooLong { length: 9, limit: 8 }),
                libc::EMSGSIZE,
            ),
            (
                Refusal::Text(TextError::NoValue {
                    timestamp: Timestamp(1),
                }),
                libc::EINVAL,
            ),
            (Refusal::NoNamespace, libc::EOPNOTSUPP),
            (Refusal::NoReservation, libc::EOPNOTSUPP),
            (Refusal::PastEnd { offset: 9 }, libc::ENXIO),
        ];
        for (refusal, expected) in cases {
            assert_eq!(errno(&refusal), Errno(expected), "{refusal}");
        }
    }
}
