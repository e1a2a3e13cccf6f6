//! Exit codes and remedies of the array engine and of the NBD server.
//!
//! The same promise as for the other engines: a script can tell what to do next from the code alone.

use super::{Code, code_of_io, remedy_of_io};
use crate::{
    nbd::{ListenError, TlsError, exports::BadName, keeper::Unfinished},
    raid,
};

/// Code and remedy of a cause, if it is one of arrays.
pub(super) fn judge(cause: &(dyn std::error::Error + 'static)) -> Option<(Code, Option<String>)> {
    if let Some(error) = cause.downcast_ref::<raid::Error>() {
        return Some(judge_engine(error));
    }
    if let Some(error) = cause.downcast_ref::<ListenError>() {
        return Some(match error {
            ListenError::InUse { .. } => (Code::Busy, None),
            ListenError::NotASocket { .. } => (Code::Exists, None),
            ListenError::Refused { source, .. } => (code_of_io(source), remedy_of_io(source)),
            ListenError::NotListening { .. } => (Code::Usage, Some("--socket PATH".to_owned())),
        });
    }
    if cause.is::<TlsError>() {
        return Some((
            Code::Corrupt,
            Some("a directory with server-cert.pem and server-key.pem".to_owned()),
        ));
    }
    if cause.is::<Unfinished>() {
        return Some((Code::Io, Some("'headstack array explain' for the way back".to_owned())));
    }
    if cause.is::<BadName>() {
        return Some((Code::Usage, Some("another name".to_owned())));
    }
    None
}

fn judge_engine(error: &raid::Error) -> (Code, Option<String>) {
    use raid::Error;
    let (code, remedy) = match error {
        Error::OutOfRange { .. } => (Code::Usage, "a range inside the array"),
        Error::ReadOnly { .. } => (Code::NotPermitted, "again without --read-only"),
        Error::Unreadable { .. } => (Code::Io, "'headstack array explain' for the way back"),
        Error::FlushLost { .. } => (Code::Io, "'headstack array verify' once it is assembled again"),
        Error::NotFast => (Code::Failure, "again without that wish"),
        Error::NotWritten { source, .. } | Error::Member { source, .. } => {
            return (code_of_io(source), remedy_of_io(source));
        }
        Error::InUse { .. } => (
            Code::Busy,
            "--socket with the socket of the server that has it, or stop that first",
        ),
        Error::NotStartable { .. } => (Code::Corrupt, "'headstack array explain' for the way back"),
        Error::BadParameter { .. } => (Code::Usage, "another value"),
        Error::MemberNeeded { .. } => (Code::Refused, "'headstack array add' with a new image first"),
        Error::WrongState { .. } => (Code::Refused, "'headstack array show' for its state"),
    };
    (code, Some(remedy.to_owned()))
}
