//! What can go wrong in the controller, and what whoever asked can do about it.
//!
//! A failure has a [`Kind`], which decides the exit code of a verb and the status of a page, a message that names the
//! path and the thing, and a remedy. Through the socket it travels as a [`Told`] with the same three.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{nbd, raid, series};

/// Result of the controller.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing that is known.
    Failure,
    /// Ask for something else: it cannot be.
    Usage,
    /// Look at the data: they are wrong.
    Corrupt,
    /// Name something that exists.
    NotFound,
    /// Start what has to be there.
    Unavailable,
    /// Take another name.
    Exists,
    /// Look at the device.
    Io,
    /// Wait, or end what is in the way.
    Busy,
    /// Ask as somebody else.
    NotPermitted,
    /// Confirm it, or bring about the state in which it is allowed.
    Refused,
}

impl Kind {
    /// Kind of an error of the operating system.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound,
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => Self::Exists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotPermitted,
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Self::Busy,
            _ if is_limit(error) => Self::Busy,
            _ => Self::Io,
        }
    }
}

/// What to try after an error of the operating system.
pub fn remedy_of_io(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "a path that exists",
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => "another name",
        io::ErrorKind::PermissionDenied => "as a user who may do that, or change the permissions with chmod",
        io::ErrorKind::ReadOnlyFilesystem => "a file system that is mounted for writing",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "again with more free space; whole entries written before are kept"
        }
        io::ErrorKind::IsADirectory => "the path of a file",
        io::ErrorKind::InvalidInput if error.raw_os_error().is_none() => "the path of a regular file",
        _ if error.raw_os_error() == Some(libc::ELOOP) => "the file itself: a symlink is not followed there",
        _ if is_limit(error) => "a higher limit of open files ('ulimit -n')",
        _ => "'headstack doctor', and the kernel's log ('dmesg')",
    };
    remedy.to_owned()
}

/// True where the process or the system has too many files open.
fn is_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Kind and remedy of a failure of the array engine.
pub fn judge_array(error: &raid::Error) -> (Kind, String) {
    use raid::Error;
    let (kind, remedy) = match error {
        Error::OutOfRange { .. } => (Kind::Usage, "a range inside the array"),
        Error::ReadOnly { .. } => (Kind::NotPermitted, "again without --read-only"),
        Error::Unreadable { .. } => (Kind::Io, "'headstack array explain' for the way back"),
        Error::FlushLost { .. } => (Kind::Io, "'headstack array verify' once it is assembled again"),
        Error::NotFast => (Kind::Failure, "again without that wish"),
        Error::NotWritten { source, .. } | Error::Member { source, .. } => {
            return (Kind::of_io(source), remedy_of_io(source));
        }
        Error::InUse { .. } => (
            Kind::Busy,
            "--socket with the socket of the server that has it, or stop that first",
        ),
        Error::NotStartable { .. } => (Kind::Corrupt, "'headstack array explain' for the way back"),
        Error::BadParameter { .. } => (Kind::Usage, "another value"),
        Error::MemberNeeded { .. } => (Kind::Refused, "'headstack array add' with a new image first"),
        Error::WrongState { .. } => (Kind::Refused, "'headstack array show' for its state"),
    };
    (kind, remedy.to_owned())
}

/// Kind and remedy of a refusal of the series engine.
fn judge_series(error: &series::Error) -> (Kind, &'static str) {
    use series::Error;
    match error {
        Error::DoesNotExist { .. } => (Kind::NotFound, "one of those that there are"),
        Error::AlreadyExists { .. } => (Kind::Exists, "another name"),
        Error::BadName { .. } | Error::BadParameter { .. } => (Kind::Usage, "another value"),
        Error::StillOpen { .. } => (Kind::Busy, "again once it is released"),
        _ => (Kind::Corrupt, "'headstack series check' on the store's database"),
    }
}

/// A failure as it is told to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Told {
    /// What can be done about it.
    pub kind: Kind,
    /// What happened to which thing.
    pub message: String,
    /// What to try.
    pub remedy: Option<String>,
}

/// Failure of something that the controller was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The array engine refused or failed.
    #[error(transparent)]
    Array(#[from] raid::Error),
    /// Work on an array did not end.
    #[error(transparent)]
    Unfinished(#[from] nbd::keeper::Unfinished),
    /// The series engine refused or failed.
    #[error(transparent)]
    Series(#[from] series::Error),
    /// The host refused or failed.
    #[error("{}: {source}", path.display())]
    Host {
        /// What it was about.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// It is not there, not allowed or not possible; the words say why.
    #[error("{message}")]
    Refused {
        /// What can be done about it.
        kind: Kind,
        /// What is in the way.
        message: String,
        /// What to try.
        remedy: String,
    },
    /// Another process said so.
    #[error(transparent)]
    Told(#[from] Told),
    /// Whoever asked does not wait for the answer.
    #[error("the client went away")]
    ClientGone,
}

impl Error {
    /// A refusal: what is in the way, and what to try.
    pub fn refused(kind: Kind, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// An error of the host about a path.
    pub fn host(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Host { path, source }
    }

    /// What can be done about it, and what to try.
    pub fn judge(&self) -> (Kind, Option<String>) {
        match self {
            Self::Array(error) => {
                let (kind, remedy) = judge_array(error);
                (kind, Some(remedy))
            }
            Self::Unfinished(_) => (Kind::Io, Some("'headstack array explain' for the way back".to_owned())),
            Self::Series(series::Error::Locked { .. }) => {
                (Kind::Busy, Some("again once it is closed or unmounted".to_owned()))
            }
            Self::Series(series::Error::Io { source, .. }) | Self::Host { source, .. } => {
                (Kind::of_io(source), Some(remedy_of_io(source)))
            }
            Self::Series(error) => {
                let (kind, remedy) = judge_series(error);
                (kind, Some(remedy.to_owned()))
            }
            Self::Refused { kind, remedy, .. } => (*kind, Some(remedy.clone())),
            Self::Told(told) => (told.kind, told.remedy.clone()),
            Self::ClientGone => (Kind::Failure, None),
        }
    }

    /// The failure in words.
    pub fn told(&self) -> Told {
        let (kind, remedy) = self.judge();
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Told { kind, message, remedy }
    }
}
