//! Chooses the protocol's error number for what the engine says; nothing else does.
//!
//! The host's error is looked for in the chain of sources, since the engine wraps it with what it was doing.

use std::{error::Error as _, io};

use rustix::io::Errno as Host;

use super::protocol::Errno;
use crate::raid::Error;

/// The error number that a client is told.
pub(super) fn errno(error: &Error) -> Errno {
    match error {
        Error::NotFast => Errno::NotSupported,
        Error::ReadOnly { .. } => Errno::Perm,
        Error::OutOfRange { .. } => Errno::Invalid,
        // Here, and only here, a full disk is one that the client may make room on: its write is not done.
        Error::NotWritten { .. } | Error::Member { .. } => host(error).map_or(Errno::Io, from_host),
        // Whatever made the flush fail, the client must not take it for a full disk that it can make room on.
        Error::FlushLost { .. } => Errno::Io,
        // Nothing that reading met is the client's to mend.
        Error::Unreadable { .. } => Errno::Io,
        // No request leads to these; if one ever does, the fault is ours.
        Error::InUse { .. }
        | Error::NotStartable { .. }
        | Error::BadParameter { .. }
        | Error::MemberNeeded { .. }
        | Error::WrongState { .. } => Errno::Io,
    }
}

/// The first error of the host in the chain of sources.
fn host(error: &Error) -> Option<Host> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<io::Error>() {
            return Host::from_io_error(found);
        }
        source = cause.source();
    }
    None
}

fn from_host(host: Host) -> Errno {
    match host {
        // The protocol wants these three told as one.
        Host::NOSPC | Host::DQUOT | Host::FBIG => Errno::NoSpace,
        Host::PERM | Host::ROFS => Errno::Perm,
        Host::NOMEM => Errno::NoMemory,
        // EINVAL of the host is our own mistake, not the client's request; so is a missing right on a file.
        _ => Errno::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: i32) -> Error {
        Error::Member {
            path: "disk0.img".into(),
            verb: "write",
            source: io::Error::from_raw_os_error(number),
        }
    }

    #[test]
    fn a_full_disk_is_no_space_in_all_its_forms() {
        for host in [Host::NOSPC, Host::DQUOT, Host::FBIG] {
            assert_eq!(errno(&member(host.raw_os_error())), Errno::NoSpace, "{host}");
        }
    }

    #[test]
    fn a_broken_member_is_an_io_error_whatever_it_says() {
        for host in [Host::IO, Host::INVAL, Host::ACCESS, Host::BADF, Host::TIMEDOUT] {
            assert_eq!(errno(&member(host.raw_os_error())), Errno::Io, "{host}");
        }
    }

    #[test]
    fn a_lost_flush_is_never_a_full_disk() {
        let error = Error::FlushLost {
            array: "a".into(),
            source: Some(io::Error::from_raw_os_error(Host::NOSPC.raw_os_error())),
        };
        assert_eq!(errno(&error), Errno::Io);
    }

    #[test]
    fn a_write_that_found_no_room_is_told_so_and_a_read_never_is() {
        let source = || io::Error::from_raw_os_error(Host::NOSPC.raw_os_error());
        let (array, offset_bytes) = (|| "a".to_owned(), 0);
        let write = Error::NotWritten {
            array: array(),
            offset_bytes,
            source: source(),
        };
        assert_eq!(errno(&write), Errno::NoSpace);
        let read = Error::Unreadable {
            array: array(),
            offset_bytes,
            source: Some(source()),
        };
        assert_eq!(errno(&read), Errno::Io);
    }

    #[test]
    fn refusals_have_their_own_numbers() {
        assert_eq!(errno(&Error::NotFast), Errno::NotSupported);
        assert_eq!(errno(&Error::ReadOnly { array: "a".into() }), Errno::Perm);
        assert_eq!(errno(&member(Host::ROFS.raw_os_error())), Errno::Perm);
    }
}
