//! Replies on their way to one client.
//!
//! Whoever has a reply puts it here. One thread at a time sends; who comes meanwhile leaves its reply to that thread, so
//! that what piles up goes out in one gathered send. A sender never waits: where the socket is full the rest stays, the
//! outbox is *blocked*, and the connection's reader, which knows how to wait, sends on when there is room. After the
//! first error the outbox is *dead* and drops everything.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::pipe::Pipe;
use crate::{
    nbd::transport::{Stream, locked},
    raid::buffer::Buffer,
};

/// Replies that go out in one send at most.
const GATHERED: usize = 64;

/// Data of a reply.
pub(super) enum Data {
    Bytes(Buffer),
    Piped(Pipe),
}

/// One reply: a head, then data.
pub(super) struct Reply {
    pub(super) head: Vec<u8>,
    pub(super) data: Option<Data>,
    /// What it counts for in the connection's allowance, in bytes.
    pub(super) cost_bytes: usize,
}

impl Reply {
    fn length(&self) -> usize {
        let data = match &self.data {
            None => 0,
            Some(Data::Bytes(bytes)) => bytes.len(),
            Some(Data::Piped(pipe)) => pipe.length(),
        };
        self.head.len() + data
    }
}

/// How a send came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing is left, or another thread sends it.
    All,
    /// The socket is full.
    Blocked,
    /// The client is gone.
    Dead,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Reply>,
    /// Bytes of the first reply that are out already.
    out: usize,
    sending: bool,
}

/// Replies on their way to one client.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    blocked: AtomicBool,
    dead: AtomicBool,
}

impl Outbox {
    /// True where the reader has to send on when the socket has room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    /// True where everything is dropped.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Drops everything from now on; returns what the dropped replies counted for.
    pub(super) fn kill(&self) -> usize {
        self.dead.store(true, Ordering::Release);
        self.drop_all(&mut locked(&self.state))
    }

    /// Adds a reply and sends what there is, unless another thread does; also says what the replies that are out or
    /// dropped counted for.
    pub(super) fn put(&self, stream: &Stream, reply: Reply) -> (Sent, usize) {
        let mut state = locked(&self.state);
        if self.is_dead() {
            return (Sent::Dead, reply.cost_bytes);
        }
        state.waiting.push_back(reply);
        if state.sending || self.is_blocked() {
            return (Sent::All, 0);
        }
        state.sending = true;
        drop(state);
        self.send_waiting(stream)
    }

    /// Sends bytes that are not kept anywhere. Only the reader calls it, which may wait: `wait` does that where the socket
    /// is full, and says whether the client still takes anything. Where another thread sends, a copy is left to it.
    pub(super) fn put_bytes(&self, stream: &Stream, bytes: &[u8], wait: impl Fn() -> bool) -> (Sent, usize) {
        let mut state = locked(&self.state);
        if self.is_dead() {
            return (Sent::Dead, 0);
        }
        if state.sending || self.is_blocked() || !state.waiting.is_empty() {
            state.waiting.push_back(Reply {
                head: bytes.to_vec(),
                data: None,
                cost_bytes: 0,
            });
            if state.sending || self.is_blocked() {
                return (Sent::All, 0);
            }
            state.sending = true;
            drop(state);
            return self.send_waiting(stream);
        }
        state.sending = true;
        drop(state);
        let mut rest = bytes;
        while !rest.is_empty() {
            match stream.send(&[IoSlice::new(rest)], false) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait() => {}
                Err(_) => {
                    let mut state = locked(&self.state);
                    state.sending = false;
                    return (Sent::Dead, self.die(&mut state));
                }
            }
        }
        self.send_waiting(stream)
    }

    /// Sends on after the outbox was blocked. Only the reader calls it.
    pub(super) fn resume(&self, stream: &Stream) -> (Sent, usize) {
        let mut state = locked(&self.state);
        if state.sending || self.is_dead() {
            return (Sent::All, 0);
        }
        self.blocked.store(false, Ordering::Release);
        state.sending = true;
        drop(state);
        self.send_waiting(stream)
    }

    /// Sends until nothing waits or the socket is full. The caller has set `sending`.
    fn send_waiting(&self, stream: &Stream) -> (Sent, usize) {
        let mut freed = 0;
        let mut batch: Vec<Reply> = Vec::new();
        loop {
            let mut out = {
                let mut state = locked(&self.state);
                let count = state.waiting.len().min(GATHERED);
                batch.extend(state.waiting.drain(..count));
                std::mem::take(&mut state.out)
            };
            let sent = send_batch(stream, &mut batch, &mut out, &mut freed);
            let mut state = locked(&self.state);
            match sent {
                Ok(()) if state.waiting.is_empty() => {
                    state.sending = false;
                    return (Sent::All, freed);
                }
                Ok(()) => {}
                // A dead outbox has been emptied for good.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_dead() => {
                    for reply in batch.drain(..).rev() {
                        state.waiting.push_front(reply);
                    }
                    state.out = out;
                    state.sending = false;
                    self.blocked.store(true, Ordering::Release);
                    return (Sent::Blocked, freed);
                }
                Err(_) => {
                    state.sending = false;
                    freed += batch.iter().map(|reply| reply.cost_bytes).sum::<usize>();
                    return (Sent::Dead, freed + self.die(&mut state));
                }
            }
        }
    }

    fn die(&self, state: &mut State) -> usize {
        self.dead.store(true, Ordering::Release);
        self.drop_all(state)
    }

    fn drop_all(&self, state: &mut State) -> usize {
        self.blocked.store(false, Ordering::Release);
        state.out = 0;
        state.waiting.drain(..).map(|reply| reply.cost_bytes).sum()
    }
}

/// Sends the replies of a batch and takes out those that are gone; `out` is how much of the first one is out already.
fn send_batch(stream: &Stream, batch: &mut Vec<Reply>, out: &mut usize, freed: &mut usize) -> io::Result<()> {
    while !batch.is_empty() {
        *out += match &mut batch[0] {
            Reply {
                head,
                data: Some(Data::Piped(pipe)),
                ..
            } if *out >= head.len() => pipe.send(stream)?,
            _ => send_gathered(stream, batch, *out)?,
        };
        let mut gone = 0;
        while let Some(reply) = batch.get(gone)
            && *out >= reply.length()
        {
            *out -= reply.length();
            *freed += reply.cost_bytes;
            gone += 1;
        }
        batch.drain(..gone);
    }
    stream.push()
}

/// Sends what lies in memory of the replies of a batch, up to where the first pipe comes in.
fn send_gathered(stream: &Stream, batch: &[Reply], out: usize) -> io::Result<usize> {
    let mut parts = Vec::with_capacity(2 * batch.len());
    let mut more = false;
    for reply in batch {
        parts.push(IoSlice::new(&reply.head));
        match &reply.data {
            None => {}
            Some(Data::Bytes(bytes)) => parts.push(IoSlice::new(bytes)),
            Some(Data::Piped(_)) => {
                more = true;
                break;
            }
        }
    }
    let mut unsent = &mut parts[..];
    IoSlice::advance_slices(&mut unsent, out);
    stream.send(unsent, more)
}
