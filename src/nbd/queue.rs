//! Which of the bytes that went into a client's socket may still be in it.
//!
//! Pages of the host's cache can go into a socket without being copied; the client copies them when it reads. Until then
//! their lease is kept. What a unix socket holds is counted with what the host adds to it, so that a lease may end too
//! late, but never too early.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::ioctl::{Getter, Opcode, ioctl};

use super::transport::locked;
use crate::raid::Lease;

#[expect(clippy::cast_possible_truncation, reason = "numbers of calls have 32 bits")]
const TIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;

/// What went into a socket, and the lease of what came last.
#[derive(Debug, Default)]
pub(super) struct Queue {
    sent_bytes: AtomicU64,
    /// A lease, and how much was sent when its pages were in.
    lent: Mutex<Option<(Lease, u64)>>,
    lends: AtomicBool,
}

impl Queue {
    /// Counts bytes that went into the socket.
    pub(super) fn count_sent(&self, count: usize) {
        self.sent_bytes.fetch_add(count as u64, Ordering::AcqRel);
    }

    /// Keeps the lease of pages that all are in the socket, until they were read; it is that of all before them, too.
    pub(super) fn lend(&self, lease: Lease) {
        let mut lent = locked(&self.lent);
        *lent = Some((lease, self.sent_bytes.load(Ordering::Acquire)));
        self.lends.store(true, Ordering::Release);
    }

    /// Ends the lease where its pages were read; true where it goes on.
    pub(super) fn end_lease(&self, socket: BorrowedFd<'_>) -> bool {
        if !self.lends.load(Ordering::Acquire) {
            return false;
        }
        let mut lent = locked(&self.lent);
        // In this order: what is sent meanwhile counts as unread.
        let sent = self.sent_bytes.load(Ordering::Acquire);
        // A socket that does not say so any more has nobody at its other end.
        let unread = unread_bytes(socket).unwrap_or(0);
        if lent
            .as_ref()
            .is_some_and(|(_, end)| sent.saturating_sub(unread) >= *end)
        {
            *lent = None;
        }
        self.lends.store(lent.is_some(), Ordering::Release);
        lent.is_some()
    }
}

/// Bytes in a unix socket that its other end has not read, and what the host keeps for them.
fn unread_bytes(socket: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ for a socket, writes one int and nothing else.
    let unread = unsafe { ioctl(socket, Getter::<TIOCOUTQ, libc::c_int>::new()) }?;
    Ok(u64::try_from(unread).unwrap_or(0))
}
