//! One client's byte stream: a socket, with TLS over it once that is agreed on.
//!
//! Nothing here waits but [`Stream::wait`] and the two verbs of the handshake, which have a deadline: sending and
//! receiving take what the socket has room for. Many threads may send; who has the right to is the outbox's business.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown},
    pipe::SpliceFlags,
};

use super::{
    queue::Queue,
    tls::{Session, Tls},
};
use crate::raid::Lease;

/// Plain bytes that go into TLS at a time.
const TLS_PART_BYTES: usize = 64 << 10;

/// Why a session ended other than by the client's wish.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The client hung up.
    #[error("the client hung up")]
    Gone,
    /// The client broke the protocol.
    #[error("the client broke the protocol: {0}")]
    Protocol(&'static str),
    /// The client took too long.
    #[error("the client took too long")]
    TooSlow,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// What [`Stream::wait`] waits for, apart from being woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interest {
    /// Bytes from the client.
    pub(super) input: bool,
    /// Room for bytes to the client.
    pub(super) output: bool,
}

/// What [`Stream::wait`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    /// There is room for bytes to the client.
    pub(super) output: bool,
    /// Both directions are closed.
    pub(super) hung_up: bool,
    /// The time was up.
    pub(super) timed_out: bool,
}

/// One client's byte stream.
pub(super) struct Stream {
    socket: Arc<OwnedFd>,
    tls: Option<Mutex<Session>>,
    /// What is in the socket; none where that cannot be known.
    queue: Option<Queue>,
    wake: OwnedFd,
}

impl Stream {
    /// A stream over a connected socket.
    ///
    /// # Errors
    /// No descriptor is left to wake it with.
    pub(super) fn new(socket: Arc<OwnedFd>) -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // To send out of a pipe waits unless the socket itself does not.
        rustix::io::ioctl_fionbio(&socket, true)?;
        // TCP says when bytes have come, but not when they were read.
        let is_unix = rustix::net::sockopt::socket_domain(&socket)? == AddressFamily::UNIX;
        Ok(Self {
            socket,
            tls: None,
            queue: is_unix.then(Queue::default),
            wake,
        })
    }

    /// Begins TLS: the next bytes of the client are the first of its handshake.
    pub(super) fn start_tls(&mut self, tls: &Tls) -> Result<(), Lost> {
        let session = tls.accept(Arc::clone(&self.socket));
        let session = session.ok_or(Lost::Protocol("TLS is not offered"))?;
        let session = session.map_err(|error| Lost::Socket(io::Error::other(error)))?;
        self.tls = Some(Mutex::new(session));
        Ok(())
    }

    /// Receives what is there; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            None => receive_some(&self.socket, buffer),
            Some(tls) => locked(tls).receive(buffer),
        }
    }

    /// True where bytes can go out of a pipe, without being seen here, and it can be known when the client has read them.
    pub(super) fn takes_pipes(&self) -> bool {
        self.tls.is_none() && self.queue.is_some()
    }

    /// Keeps a lease of pages that are in the socket now until the client has read them.
    pub(super) fn lend(&self, lease: Lease) {
        if let Some(queue) = &self.queue {
            queue.lend(lease);
        }
    }

    /// Ends the lease of pages where the client has read all of them; true where it goes on.
    pub(super) fn end_lease(&self) -> bool {
        self.queue
            .as_ref()
            .is_some_and(|queue| queue.end_lease(self.socket.as_fd()))
    }

    fn count_sent(&self, count: usize) {
        if let Some(queue) = &self.queue {
            queue.count_sent(count);
        }
    }

    /// Sends up to `length` bytes out of a pipe; returns how much.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room.
    pub(super) fn send_pipe(&self, pipe: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        let sent = rustix::pipe::splice(pipe, None, &*self.socket, None, length, SpliceFlags::NONBLOCK)?;
        self.count_sent(sent);
        Ok(sent)
    }

    /// Sends as much of `parts` as there is room for; returns how much. More follows at once where `more` says so.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room.
    pub(super) fn send(&self, parts: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            flags.set(SendFlags::MORE, more);
            let sent = match parts {
                [part] => rustix::net::send(&*self.socket, part, flags),
                parts => rustix::net::sendmsg(&*self.socket, parts, &mut SendAncillaryBuffer::default(), flags),
            }?;
            self.count_sent(sent);
            return Ok(sent);
        };
        let mut tls = locked(tls);
        tls.push()?;
        let mut taken = 0;
        for part in parts {
            let part = &part[..part.len().min(TLS_PART_BYTES - taken)];
            tls.take(part)?;
            taken += part.len();
            if taken == TLS_PART_BYTES {
                break;
            }
        }
        match tls.push() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Pushes out what [`Stream::send`] has taken but not sent.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room for it.
    pub(super) fn push(&self) -> io::Result<()> {
        match &self.tls {
            None => Ok(()),
            Some(tls) => locked(tls).push(),
        }
    }

    /// Ends [`Stream::wait`], now or the next time.
    pub(super) fn wake(&self) {
        // Fails only where the counter is full, and then it is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Waits for what is of interest, to be woken, or until a time.
    pub(super) fn wait(&self, interest: Interest, until: Option<Instant>) -> io::Result<Ready> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, interest.input);
        wanted.set(PollFlags::OUT, interest.output);
        let mut fds = [
            PollFd::new(&*self.socket, wanted),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let count = match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => 1,
            count => count?,
        };
        if fds[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        let seen = fds[0].revents();
        Ok(Ready {
            output: seen.contains(PollFlags::OUT),
            hung_up: seen.intersects(PollFlags::HUP | PollFlags::ERR),
            timed_out: count == 0,
        })
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    /// [`Lost`], also where that is not done at `until`.
    pub(super) fn receive_exact(&self, mut buffer: &mut [u8], until: Instant) -> Result<(), Lost> {
        while !buffer.is_empty() {
            match self.receive(buffer) {
                Ok(0) => return Err(Lost::Gone),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_by(true, until)?,
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// [`Lost`], also where that is not done at `until`.
    pub(super) fn send_all(&self, mut bytes: &[u8], until: Instant) -> Result<(), Lost> {
        loop {
            let sent = if bytes.is_empty() {
                self.push().map(|()| 0)
            } else {
                self.send(&[IoSlice::new(bytes)], false)
            };
            match sent {
                Ok(_) if bytes.is_empty() => return Ok(()),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_by(false, until)?,
                Err(error) => return Err(lost(error)),
            }
        }
    }

    fn wait_by(&self, input: bool, until: Instant) -> Result<(), Lost> {
        let pending = self.tls.as_ref().is_some_and(|tls| locked(tls).wants_push());
        let output = !input || pending;
        let ready = self.wait(Interest { input, output }, Some(until))?;
        if ready.output && pending {
            match self.push() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(lost(error)),
                _ => {}
            }
        }
        if ready.timed_out { Err(Lost::TooSlow) } else { Ok(()) }
    }

    /// Ends the session in both directions; with TLS the client is told first, if there is room for it.
    pub(super) fn close(&self) {
        if let Some(tls) = &self.tls {
            locked(tls).close();
        }
        // Fails only where the client is gone already.
        let _ = rustix::net::shutdown(&*self.socket, Shutdown::Both);
    }
}

/// Takes a lock; what a thread that panicked left behind is whole, since nothing here panics half-way.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost(error: io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Lost::Gone,
        _ => Lost::Socket(error),
    }
}

/// Receives what is there, without waiting.
pub(super) fn receive_some(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (read, _) = rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(read)
}

/// Sends what there is room for, without waiting.
pub(super) fn send_some(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(rustix::net::send(socket, bytes, flags)?)
}
