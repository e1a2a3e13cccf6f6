//! Chooses the protocol's error number for what the engine says; nothing else does.
//!
//! The host's error is looked for in the chain of sources, since the engine wraps it with what it was doing.

use std::{error::Error as _, io};

use rustix::io::Errno as Host;

use super::{engine::Error, protocol::Errno};

/// The error number that a client is told.
pub(super) fn errno(error: &Error) -> Errno {
    match error {
        Error::NotFast => Errno::NotSupported,
        Error::ReadOnly { .. } => Errno::Perm,
        Error::OutOfRange { .. } => Errno::Invalid,
        // Whatever made the flush fail, the client must not take it for a full disk that it can make room on.
        Error::FlushLost { .. } => Errno::Io,
        _ => host(error).map_or(Errno::Io, from_host),
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
    fn refusals_have_their_own_numbers() {
        assert_eq!(errno(&Error::NotFast), Errno::NotSupported);
        assert_eq!(errno(&Error::ReadOnly { array: "a".into() }), Errno::Perm);
        assert_eq!(errno(&member(Host::ROFS.raw_os_error())), Errno::Perm);
    }
}
