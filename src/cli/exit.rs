//! Exit codes, and what a failure says: the path, the thing and the remedy.
//!
//! The codes are those of `sysexits.h`, so a script can tell a mistyped command (64) from damaged data (65) and from a
//! database that somebody else has open (75). Engines name what happened; which code that is and what to try next is
//! decided here and nowhere else.

mod arrays;
mod tapes;

pub use tapes::resumable;

use std::{fmt, io, process::ExitCode};

use crate::{
    controller::{self, Kind},
    dump,
    mount::{kernel::KernelError, session::MountError},
    series, tape,
};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Success = 0,
    /// Failed in a way that no other code tells.
    Failure = 1,
    /// What was checked cannot be used.
    Unusable = 2,
    /// What was to be checked could not be looked at.
    CheckFailed = 4,
    /// The command line is wrong.
    Usage = 64,
    /// Input or stored data is wrong.
    Corrupt = 65,
    /// No such database, series, snapshot, tag or file.
    NotFound = 66,
    /// A service that the verb needs is not there.
    Unavailable = 69,
    /// The name is taken.
    Exists = 73,
    /// Input or output failed, perhaps part of the way.
    Io = 74,
    /// Open elsewhere, still in use, or a limit is reached.
    Busy = 75,
    /// The system does not permit it.
    NotPermitted = 77,
    /// Refused until it is confirmed.
    Refused = 78,
    /// The reader of standard output went away; what a shell reports of a process that SIGPIPE ended.
    ReaderGone = 141,
}

impl Code {
    /// Every code with its meaning, for the manual.
    pub const MEANINGS: [(Self, &'static str); 14] = [
        (Self::Success, "Done."),
        (
            Self::Failure,
            "Failed in a way that no other code tells; with --check: the array is degraded.",
        ),
        (Self::Unusable, "With --check: the array cannot be used."),
        (Self::CheckFailed, "With --check: the array could not be looked at."),
        (
            Self::Usage,
            "The command line is wrong: an unknown option, a value out of range, a name that cannot be used.",
        ),
        (
            Self::Corrupt,
            "Input or stored data is wrong: a line that is no entry, a damaged chunk, an image that is no member.",
        ),
        (
            Self::NotFound,
            "There is no such database, series, snapshot, tag, entry, array, member or file.",
        ),
        (
            Self::Unavailable,
            "A service that is needed is not there: FUSE is not usable.",
        ),
        (Self::Exists, "The name is taken."),
        (
            Self::Io,
            "Reading or writing failed, perhaps part of the way; the message says how far it got.",
        ),
        (
            Self::Busy,
            "The database or an image is open for writing elsewhere, something is still in use, or a limit is reached.",
        ),
        (Self::NotPermitted, "The system does not permit it."),
        (
            Self::Refused,
            "Data would be lost, and that was not confirmed; or the array's state does not allow it.",
        ),
        (Self::ReaderGone, "The reader of standard output went away."),
    ];
}

impl Code {
    /// The code that a process of this program ended with.
    pub fn of(status: u8) -> Self {
        let known = Self::MEANINGS.iter().find(|(code, _)| *code as u8 == status);
        known.map_or(Self::Failure, |(code, _)| *code)
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A failure that a verb itself found, with its exit code and what to try next.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    remedy: String,
}

impl Failure {
    /// Says what is wrong with which thing, and what to try: `remedy` goes on after the word "try".
    pub fn new(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Standard output is closed at its other end: the process ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output went away")]
pub struct ReaderGone;

/// What is told of a failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// How the process ends.
    pub code: Code,
    /// What happened to which thing; none where there is nobody to tell.
    pub message: Option<String>,
}

impl Report {
    /// Chooses the code, the words and the remedy for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<ReaderGone>()) {
            return Self {
                code: Code::ReaderGone,
                message: None,
            };
        }
        let (code, remedy) = error.chain().find_map(judge).unwrap_or((Code::Failure, None));
        let mut message = chain_text(error);
        if let Some(remedy) = remedy {
            message.push_str("; try ");
            message.push_str(&remedy);
        }
        Self {
            code,
            message: Some(message),
        }
    }
}

/// Joins the causes of an error; a cause that the text before it already tells is left out.
fn chain_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Code and remedy of one cause, if it is one that decides them.
fn judge(cause: &(dyn std::error::Error + 'static)) -> Option<(Code, Option<String>)> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some((failure.code, Some(failure.remedy.clone())));
    }
    if let Some(error) = cause.downcast_ref::<series::Error>() {
        return Some((code_of(error), remedy_of(error)));
    }
    if let Some(error) = cause.downcast_ref::<dump::Error>() {
        return Some(tapes::judge_dump(error));
    }
    if let Some(error) = cause.downcast_ref::<tape::Error>() {
        return Some(tapes::judge_tape(error));
    }
    if let Some(error) = cause.downcast_ref::<KernelError>() {
        return Some(judge_kernel(error));
    }
    if let Some(error) = cause.downcast_ref::<MountError>() {
        return match error {
            MountError::Kernel(error) => Some(judge_kernel(error)),
            MountError::Series(error) => Some((code_of(error), remedy_of(error))),
            MountError::Refused(_) => None,
            MountError::Host { source, .. } => Some((code_of_io(source), remedy_of_io(source))),
        };
    }
    if let Some(judged) = arrays::judge(cause) {
        return Some(judged);
    }
    let error = cause.downcast_ref::<io::Error>()?;
    Some((code_of_io(error), remedy_of_io(error)))
}

/// Code and remedy of a mount that the kernel's side refused; most of its messages give the remedy themselves.
fn judge_kernel(error: &KernelError) -> (Code, Option<String>) {
    match error {
        KernelError::MountPoint { source, .. } => (code_of_io(source), Some("a directory that exists".into())),
        KernelError::Occupied { .. } | KernelError::Busy { .. } => (Code::Busy, None),
        KernelError::NotOurs { .. } => (Code::NotFound, Some("'findmnt' for what is mounted where".into())),
        KernelError::Device { .. } | KernelError::NoHelper { .. } => (Code::Unavailable, None),
        KernelError::Helper { .. } => (
            Code::NotPermitted,
            Some("'headstack doctor' for what is possible".into()),
        ),
        KernelError::Kernel { source, .. } => (code_of_io(source), remedy_of_io(source)),
    }
}

/// Exit code of an engine error.
pub fn code_of(error: &series::Error) -> Code {
    use series::Error;
    match error {
        Error::DoesNotExist { .. } => Code::NotFound,
        Error::AlreadyExists { .. } => Code::Exists,
        Error::BadName { .. }
        | Error::BadParameter { .. }
        | Error::BadLength { .. }
        | Error::OutOfOrder { .. }
        | Error::BadRange { .. } => Code::Usage,
        Error::InvalidState { .. } => Code::Failure,
        Error::StillOpen { .. } | Error::Locked { .. } => Code::Busy,
        Error::Damaged { .. } => Code::Corrupt,
        Error::Io { source, .. } => code_of_io(source),
    }
}

/// What to try after an engine error.
pub fn remedy_of(error: &series::Error) -> Option<String> {
    use series::Error;
    let remedy = match error {
        Error::DoesNotExist {
            what: "database",
            name,
            path,
        } => {
            format!(
                "'headstack series create {} NAME', which makes the database too",
                path.join(name).display()
            )
        }
        Error::DoesNotExist { what, path, .. } => {
            let noun = if matches!(*what, "snapshot" | "tag") {
                "snapshot"
            } else {
                "series"
            };
            format!("'headstack {noun} ls {}' for the names there are", path.display())
        }
        Error::AlreadyExists { .. } | Error::BadName { .. } => "another name".into(),
        Error::BadParameter { .. } => "a value in that range".into(),
        Error::BadLength { too_long: false, .. } => "--pad, which fills values up with zeros".into(),
        Error::BadLength { limit, .. } => format!("a value of at most {limit} bytes"),
        Error::OutOfOrder { last, .. } => match last.0.checked_add(1) {
            Some(next) => format!("a timestamp of {next} or more"),
            None => "another series: this one holds the last timestamp there is".into(),
        },
        Error::BadRange { from, to } => format!("--from {to} --to {from}"),
        Error::InvalidState { .. } => "again with the database open".into(),
        Error::StillOpen { .. } => "again once it is released".into(),
        Error::Locked { .. } => "again once it is closed, or write through its mount".into(),
        Error::Damaged { .. } => "'headstack series check' on the database for all damage".into(),
        Error::Io { source, .. } => return remedy_of_io(source),
    };
    Some(remedy)
}

/// Exit code of an error of the operating system.
fn code_of_io(error: &io::Error) -> Code {
    Kind::of_io(error).into()
}

/// What to try after an error of the operating system.
fn remedy_of_io(error: &io::Error) -> Option<String> {
    Some(controller::error::remedy_of_io(error))
}

#[cfg(test)]
mod tests {
    use super::{Code, Failure, ReaderGone, Report};
    use crate::series::{Damage, Error, Timestamp};
    use anyhow::Context;
    use std::io;

    fn report(error: impl Into<anyhow::Error>) -> (u8, String) {
        let report = Report::of(&error.into());
        (report.code as u8, report.message.unwrap_or_default())
    }

    /// T27: each engine error has its own exit code, and the message names the path and a remedy.
    #[test]
    fn engine_errors_have_their_codes_and_remedies() {
        let path = || "/data/db".into();
        let name = || "s".to_string();
        let cases = [
            (
                Error::DoesNotExist {
                    what: "series",
                    name: name(),
                    path: path(),
                },
                66,
            ),
            (
                Error::DoesNotExist {
                    what: "database",
                    name: name(),
                    path: path(),
                },
                66,
            ),
            (
                Error::AlreadyExists {
                    what: "series",
                    name: name(),
                    path: path(),
                },
                73,
            ),
            (
                Error::BadLength {
                    path: path(),
                    length: 1,
                    limit: 8,
                    too_long: false,
                },
                64,
            ),
            (
                Error::BadLength {
                    path: path(),
                    length: 9,
                    limit: 8,
                    too_long: true,
                },
                64,
            ),
            (
                Error::OutOfOrder {
                    path: path(),
                    timestamp: Timestamp(1),
                    last: Timestamp(2),
                },
                64,
            ),
            (
                Error::OutOfOrder {
                    path: path(),
                    timestamp: Timestamp(1),
                    last: Timestamp::MAX,
                },
                64,
            ),
            (
                Error::InvalidState {
                    path: path(),
                    state: "closed",
                },
                1,
            ),
            (
                Error::StillOpen {
                    path: path(),
                    by: "tag \"x\"".into(),
                },
                75,
            ),
            (
                Error::Locked {
                    path: path(),
                    holder: "pid 1".into(),
                },
                75,
            ),
            (
                Error::Damaged {
                    path: path(),
                    damage: Damage::Truncated,
                },
                65,
            ),
        ];
        for (error, code) in cases {
            let told = report(error);
            assert_eq!(told.0, code, "{told:?}");
            assert!(told.1.contains("/data/db") && told.1.contains("; try "), "{told:?}");
        }
        for error in [
            Error::BadName {
                name: "a/b".into(),
                reason: "no",
            },
            Error::BadParameter {
                parameter: "page size",
                value: "1".into(),
                reason: "it is 16 bytes to 1 GiB",
            },
            Error::BadRange {
                from: Timestamp(2),
                to: Timestamp(1),
            },
        ] {
            let told = report(error);
            assert!(told.0 == 64 && told.1.contains("; try "), "{told:?}");
        }
    }

    /// T27: errors of the operating system are told apart by what the caller can do about them.
    #[test]
    fn system_errors_have_their_codes() {
        for (errno, code) in [
            (libc::ENOENT, 66),
            (libc::EEXIST, 73),
            (libc::EACCES, 77),
            (libc::EPERM, 77),
            (libc::EROFS, 77),
            (libc::EMFILE, 75),
            (libc::EBUSY, 75),
            (libc::ENOSPC, 74),
            (libc::EIO, 74),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let told = report(Error::Io {
                path: "/data/db/s/5".into(),
                source,
            });
            assert_eq!(told.0, code, "{told:?}");
            assert!(
                told.1.starts_with("/data/db/s/5: ") && told.1.contains("; try "),
                "{told:?}"
            );
            assert_eq!(told.1.matches("(os error").count(), 1, "told once: {told:?}");
        }
    }

    #[test]
    fn own_failures_keep_their_code_below_context() {
        let failure = Failure::new(Code::Refused, "2 chunks would be lost", "--yes");
        let told = report(anyhow::Error::new(failure).context("/data/db"));
        assert_eq!(told, (78, "/data/db: 2 chunks would be lost; try --yes".into()));
        assert_eq!(report(anyhow::anyhow!("odd")), (1, "odd".into()));
        let gone: anyhow::Result<()> = Err(ReaderGone).context("cat");
        assert_eq!(
            Report::of(&gone.unwrap_err()),
            Report {
                code: Code::ReaderGone,
                message: None
            }
        );
    }
}
