//! The data of a long read on their way from the members to the client without passing through our memory.
//!
//! A pipe holds pages of the host's cache, which the host hands on to the socket: two copies less than to read and to send.
//! All of a read is in its pipe before the first byte of the reply goes out, so that what a member cannot give is read and
//! repaired in the ordinary way, and nothing here faults where a file is cut short, as a mapping would. A client whose
//! read and somebody's write of the same bytes are under way at once may see either, as always. A reshape would put other
//! bytes into those pages; it waits until the client has taken them out of its socket.
//!
//! Pipes are kept for the next reads, and there are so many at most: they count against the user's limit.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::request::Range;
use crate::{
    nbd::{connection::pool::guarded, transport::Stream},
    raid::{Array, Lease},
};

/// What a pipe holds at most: as much as any user may ask for.
const CAPACITY_BYTES: usize = 1 << 20;
/// Shortest read for which it pays.
const LEAST_BYTES: u64 = 64 << 10;
/// Pipes there may be.
const MOST: usize = 48;

/// Where bytes go in, and where they come out.
struct Ends {
    entry: OwnedFd,
    exit: OwnedFd,
}

/// How many there are, beside those that are kept here for the next reads.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static KEPT: Mutex<Vec<Ends>> = Mutex::new(Vec::new());

fn kept() -> MutexGuard<'static, Vec<Ends>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ends {
    /// An empty pipe; none where there are enough, or the user has no more.
    fn new() -> Option<Self> {
        let there = COUNT.fetch_add(1, Ordering::Relaxed);
        let pipe = (there < MOST).then(|| pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK));
        let Some(Ok((exit, entry))) = pipe else {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let ends = Self { entry, exit };
        let size = fcntl_setpipe_size(&ends.entry, CAPACITY_BYTES).ok()?;
        (size >= CAPACITY_BYTES).then_some(ends)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The data of one read.
pub(super) struct Pipe {
    ends: Option<Ends>,
    lease: Option<Lease>,
    length: usize,
    left: usize,
}

impl Pipe {
    /// The data of a read; none where they are too few or too many for it to pay, or the array cannot hand them over so, or
    /// would likely have to wait.
    pub(super) fn of(array: &Array, range: Range) -> Option<Self> {
        let length = usize::try_from(range.length_bytes).ok()?;
        if range.length_bytes < LEAST_BYTES
            || length > CAPACITY_BYTES
            || !array.is_cached(range.offset_bytes, range.length_bytes)
        {
            return None;
        }
        let ends = kept().pop().or_else(Ends::new)?;
        let filled = guarded(|| array.splice_at(ends.entry.as_fd(), range.offset_bytes, range.length_bytes));
        let Ok(Ok(lease @ Some(_))) = filled else {
            return None;
        };
        Some(Self {
            ends: Some(ends),
            lease,
            length,
            left: length,
        })
    }

    /// How much it was at first.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Sends as much as there is room for; returns how much.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room.
    pub(super) fn send(&mut self, stream: &Stream) -> std::io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let sent = stream.send_pipe(ends.exit.as_fd(), self.left)?;
        if sent == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= sent;
        if self.left == 0
            && let Some(lease) = self.lease.take()
        {
            stream.lend(lease);
        }
        Ok(sent)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // One that still holds something is of no more use.
        if self.left == 0
            && let Some(ends) = self.ends.take()
        {
            kept().push(ends);
        }
    }
}
