//! Exit codes and remedies of the array engine and of the NBD server.
//!
//! The same promise as for the other engines: a script can tell what to do next from the code alone.

use super::{Code, code_of_io, remedy_of_io};
use crate::{
    controller::{self, Kind, error::judge_array},
    nbd::{ListenError, TlsError, exports::BadName, keeper::Unfinished},
    raid,
};

/// Code and remedy of a cause, if it is one of arrays.
pub(super) fn judge(cause: &(dyn std::error::Error + 'static)) -> Option<(Code, Option<String>)> {
    if let Some(error) = cause.downcast_ref::<controller::Error>() {
        let (kind, remedy) = error.judge();
        return Some((kind.into(), remedy));
    }
    if let Some(error) = cause.downcast_ref::<raid::Error>() {
        let (kind, remedy) = judge_array(error);
        return Some((kind.into(), Some(remedy)));
    }
    if let Some(error) = cause.downcast_ref::<ListenError>() {
        return Some(match error {
            ListenError::InUse { .. } => (Code::Busy, None),
            ListenError::NotASocket { .. } => (Code::Exists, None),
            ListenError::Refused { source, .. } => (code_of_io(source), remedy_of_io(source)),
            ListenError::NotListening { .. } => (Code::Usage, Some("--socket PATH".to_owned())),
        });
    }
    if let Some(error) = cause.downcast_ref::<TlsError>() {
        return Some(match error {
            TlsError::Unreadable { source, .. } => (code_of_io(source), remedy_of_io(source)),
            _ => (
                Code::Corrupt,
                Some("a directory with server-cert.pem and server-key.pem, or a file of psktool".to_owned()),
            ),
        });
    }
    if cause.is::<Unfinished>() {
        return Some((Code::Io, Some("'headstack array explain' for the way back".to_owned())));
    }
    if cause.is::<BadName>() {
        return Some((Code::Usage, Some("another name".to_owned())));
    }
    None
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Failure => Self::Failure,
            Kind::Usage => Self::Usage,
            Kind::Corrupt => Self::Corrupt,
            Kind::NotFound => Self::NotFound,
            Kind::Unavailable => Self::Unavailable,
            Kind::Exists => Self::Exists,
            Kind::Io => Self::Io,
            Kind::Busy => Self::Busy,
            Kind::NotPermitted => Self::NotPermitted,
            Kind::Refused => Self::Refused,
        }
    }
}
