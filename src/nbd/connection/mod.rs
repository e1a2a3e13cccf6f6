//! One client's session after the handshake.
//!
//! A thread a client, the [`reader`], takes requests in batches, checks them ([`request`]), answers reads from memory
//! itself and hands everything that can block to the [`pool`] of the export. Replies of both go through the [`outbox`].
//! What a client has under way is bounded by an allowance in bytes; who has used it up is not read from until some of
//! it is free. Requests of a client that vanished finish, and their replies are dropped.

mod execute;
mod outbox;
mod pipe;
pub(super) mod pool;
mod reader;
mod request;
mod spin;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use outbox::{Outbox, Reply, Sent};
use pipe::Pipe;
use request::{Range, Terms};

pub(super) use reader::transmit;

use super::{exports::Export, negotiate::Agreement, server::Guest, transport::Stream};

/// Bounds for one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) maximum_request_bytes: u32,
    /// Bytes of requests and replies that may be under way.
    pub(super) allowance_bytes: usize,
    /// How long nothing may be asked.
    pub(super) idle: Option<Duration>,
    /// How long a message that has begun may stand still, in either direction.
    pub(super) stall: Duration,
    /// Threads for what can block, for each export.
    pub(super) workers: usize,
}

/// One client's session, shared by its reader and the workers that have its requests.
pub(super) struct Connection {
    stream: Stream,
    export: Arc<Export>,
    terms: Terms,
    bounds: Bounds,
    outbox: Outbox,
    size_bytes: AtomicU64,
    under_way_bytes: AtomicUsize,
    /// The reader sleeps until something of the allowance is free.
    hungry: AtomicBool,
    /// Keeps the client's place among all clients until its last request is done.
    _guest: Guest,
}

impl Connection {
    pub(super) fn new(stream: Stream, agreement: Agreement, bounds: Bounds, guest: Guest) -> Self {
        let terms = Terms {
            dialect: agreement.dialect,
            size_bytes: agreement.size_bytes,
            read_only: agreement.export.is_read_only(),
            write_through: agreement.export.is_write_through(),
            minimum_block_bytes: agreement.export.minimum_block_bytes(),
            maximum_request_bytes: bounds.maximum_request_bytes,
            contexts: agreement.contexts,
        };
        Self {
            stream,
            export: agreement.export,
            size_bytes: AtomicU64::new(terms.size_bytes),
            terms,
            bounds,
            outbox: Outbox::default(),
            under_way_bytes: AtomicUsize::new(0),
            hungry: AtomicBool::new(false),
            _guest: guest,
        }
    }

    fn set_size_bytes(&self, size_bytes: u64) {
        self.size_bytes.store(size_bytes, Ordering::Release);
    }

    /// The data of a read as pages of the host's cache; none where they cannot be had so.
    fn piped(&self, range: Range) -> Option<Pipe> {
        let takes_pipes = self.stream.takes_pipes();
        takes_pipes.then(|| Pipe::of(self.export.array(), range)).flatten()
    }

    /// Sends a reply, or leaves it to the thread that is sending.
    fn send(&self, reply: Reply) {
        let sent = self.outbox.put(&self.stream, reply);
        self.settle(sent);
        if sent.0 != Sent::All {
            self.stream.wake();
        }
    }

    /// Gives back what replies that are out or dropped counted for.
    fn settle(&self, (_, freed): (Sent, usize)) {
        if freed > 0 {
            self.under_way_bytes.fetch_sub(freed, Ordering::SeqCst);
            if self.hungry.load(Ordering::SeqCst) {
                self.stream.wake();
            }
        }
    }
}
