//! The thread that reads one client's requests.
//!
//! It receives as much as there is, serves every whole request in it, sends the replies of that batch in one go and
//! waits for more: first a moment without sleeping, since a client at depth 1 asks again within microseconds and waking
//! a thread costs more than the read it wakes for. Reads are answered from memory here, and small writes are made here
//! as long as they are as quick as memory: a hand-over would cost more than they do. The rest goes to the pool.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;

use super::{
    Connection,
    outbox::{Data, Reply},
    pool::{Job, guarded},
    request::{Operation, Range, Refusal, Terms},
    spin::{CountedReader, Spin, SpinHabit, Wager},
};
use crate::{
    nbd::{
        protocol::transmission::{self, Request},
        transport::{Interest, Lost},
    },
    raid::buffer::Buffer,
};

/// Bytes that are received at a time.
const INPUT_BYTES: usize = 256 << 10;
/// Bytes of replies that are gathered before they are sent.
const OUTPUT_BYTES: usize = 320 << 10;
/// Longest read that is answered here, in bytes.
const INLINE_READ_BYTES: u64 = 64 << 10;
/// The same where there are more readers than half of the processors: then there is nobody to share a longer read with.
const CROWDED_READ_BYTES: u64 = 256 << 10;
/// Longest write that is made here, in bytes.
const INLINE_WRITE_BYTES: u64 = 64 << 10;
/// A write that takes longer was not made in memory.
const SLOW_WRITE: Duration = Duration::from_micros(200);
/// Most writes in a row that go to the pool before another is tried here. A single slow one says little: the processor may
/// have been taken away meanwhile.
const HANDED_OVER_MAX: u32 = 255;
/// Shortest rest of a payload that is received in place, in bytes.
const IN_PLACE_BYTES: usize = 16 << 10;
/// How long a client that is not heard of may have read its replies without being looked at.
const RECALL: Duration = Duration::from_millis(50);
/// What a request counts for besides its data, in bytes.
const REQUEST_COST_BYTES: usize = 16 << 10;

/// What the next bytes are.
enum Expect {
    Request,
    /// The rest of a write's bytes, or of another payload.
    Payload {
        request: Request,
        operation: Operation,
        buffer: Buffer,
        filled: usize,
    },
    /// Bytes of a request that was refused.
    Skip {
        request: Request,
        refusal: Refusal,
        left: u64,
    },
}

/// Whether the session goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    End,
}

struct Reader {
    connection: Arc<Connection>,
    jobs: Sender<Job>,
    terms: Terms,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    output: Box<[u8]>,
    used: usize,
    head: Vec<u8>,
    expect: Expect,
    /// Whether small writes are as quick as memory.
    quick_writes: Wager,
    spin: SpinHabit,
}

/// Serves one client until it leaves.
///
/// # Errors
/// [`Lost`] where it does not leave in good order.
pub(in crate::nbd) fn transmit(connection: Connection) -> Result<(), Lost> {
    let connection = Arc::new(connection);
    let jobs = connection
        .export
        .pool
        .jobs(connection.export.name(), connection.bounds.workers);
    let mut reader = Reader {
        jobs,
        terms: connection.terms.clone(),
        connection: Arc::clone(&connection),
        input: vec![0; INPUT_BYTES].into_boxed_slice(),
        start: 0,
        end: 0,
        output: vec![0; OUTPUT_BYTES].into_boxed_slice(),
        used: 0,
        head: Vec::new(),
        expect: Expect::Request,
        quick_writes: Wager::new(HANDED_OVER_MAX),
        spin: SpinHabit::default(),
    };
    let counted = CountedReader::new();
    let ended = reader.run();
    drop(counted);
    if matches!(ended, Err(Lost::Gone | Lost::TooSlow | Lost::Socket(_))) {
        connection.settle((super::Sent::Dead, connection.outbox.kill()));
    }
    let drained = reader.drain();
    connection.settle((super::Sent::Dead, connection.outbox.kill()));
    connection.stream.close();
    ended.and(drained)
}

impl Reader {
    fn run(&mut self) -> Result<(), Lost> {
        loop {
            let flow = self.serve_input();
            self.send_output();
            if flow? == Flow::End || self.fill()? == Flow::End {
                return Ok(());
            }
        }
    }

    /// Serves every whole request that has been received.
    fn serve_input(&mut self) -> Result<Flow, Lost> {
        loop {
            let input = &self.input[self.start..self.end];
            match &mut self.expect {
                Expect::Request => {
                    let request = Request::decode(self.terms.dialect, input);
                    let Some(request) = request.map_err(|_| Lost::Protocol("a request without its magic number"))?
                    else {
                        return Ok(Flow::On);
                    };
                    self.start += self.terms.dialect.request_bytes();
                    if self.begin(request)? == Flow::End {
                        return Ok(Flow::End);
                    }
                }
                Expect::Payload { buffer, filled, .. } => {
                    let rest = &mut buffer[*filled..];
                    let part = rest.len().min(input.len());
                    rest[..part].copy_from_slice(&input[..part]);
                    *filled += part;
                    self.start += part;
                    if part < rest.len() {
                        return Ok(Flow::On);
                    }
                    if let Expect::Payload {
                        request,
                        operation,
                        buffer,
                        ..
                    } = std::mem::replace(&mut self.expect, Expect::Request)
                    {
                        self.dispatch(request, operation, Some(buffer));
                    }
                }
                Expect::Skip { request, refusal, left } => {
                    let part = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    *left -= part as u64;
                    self.start += part;
                    if *left > 0 {
                        return Ok(Flow::On);
                    }
                    let (request, refusal) = (*request, *refusal);
                    self.expect = Expect::Request;
                    self.refuse(&request, refusal);
                }
            }
        }
    }

    /// Begins a request whose head is there.
    fn begin(&mut self, request: Request) -> Result<Flow, Lost> {
        self.terms.size_bytes = self.connection.size_bytes.load(Ordering::Acquire);
        let payload = self.terms.payload_bytes(&request);
        // Twice the largest request is still skipped, so that who asks too much is told; more is an attack.
        if payload > 2 * u64::from(self.terms.maximum_request_bytes) {
            return Err(Lost::Protocol("an endless payload"));
        }
        let operation = match self.terms.check(&request) {
            Ok(Operation::Disconnect) => return Ok(Flow::End),
            Err(refusal) if payload > 0 => {
                self.expect = Expect::Skip {
                    request,
                    refusal,
                    left: payload,
                };
                return Ok(Flow::On);
            }
            Err(refusal) => {
                self.refuse(&request, refusal);
                return Ok(Flow::On);
            }
            Ok(operation) => operation,
        };
        if payload > 0 {
            self.expect = Expect::Payload {
                request,
                operation,
                buffer: Buffer::take(usize::try_from(payload).expect("payloads are bounded")),
                filled: 0,
            };
            return Ok(Flow::On);
        }
        match operation {
            Operation::Read(range) if range.length_bytes > 0 => {
                let here = self.splice_cached(&request, range)
                    || range.length_bytes <= longest_here() && self.read_cached(&request, range);
                if !here {
                    self.dispatch(request, operation, None);
                }
            }
            operation => self.dispatch(request, operation, None),
        }
        Ok(Flow::On)
    }

    /// Answers a long read with pages of the host's cache; false where it has none, and nothing has happened.
    fn splice_cached(&mut self, request: &Request, range: Range) -> bool {
        let Some(pipe) = self.connection.piped(range) else {
            return false;
        };
        self.send_output();
        let mut head = Vec::with_capacity(transmission::DATA_HEAD_MAX_BYTES);
        transmission::reply_data(&mut head, self.terms.dialect, request);
        let cost_bytes = REQUEST_COST_BYTES + pipe.length();
        self.connection.under_way_bytes.fetch_add(cost_bytes, Ordering::SeqCst);
        self.connection.send(Reply {
            head,
            data: Some(Data::Piped(pipe)),
            cost_bytes,
        });
        true
    }

    /// Answers a read from memory; false where that would block or fail, and nothing has happened.
    fn read_cached(&mut self, request: &Request, range: Range) -> bool {
        let length = usize::try_from(range.length_bytes).expect("the caller has bounded it");
        self.head.clear();
        transmission::reply_data(&mut self.head, self.terms.dialect, request);
        if self.used + self.head.len() + length > self.output.len() {
            self.send_output();
        }
        let data = self.used + self.head.len();
        self.output[self.used..data].copy_from_slice(&self.head);
        let into = &mut self.output[data..data + length];
        let array = self.connection.export.array();
        let read = guarded(|| array.read_cached_at(into, range.offset_bytes));
        // Errors are left to the pool, which tries again and words them.
        let cached = matches!(read, Ok(Ok(true)));
        if cached {
            self.used = data + length;
        }
        cached
    }

    fn refuse(&mut self, request: &Request, refusal: Refusal) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        transmission::reply_error(&mut head, self.terms.dialect, request, refusal.errno, refusal.reason);
        self.gather(&head);
        self.head = head;
    }

    /// Makes a small write here, or hands a request to the pool.
    fn dispatch(&mut self, request: Request, operation: Operation, payload: Option<Buffer>) {
        if let Operation::Write { range, fua: false } = operation
            && range.length_bytes <= INLINE_WRITE_BYTES
            && self.quick_writes.is_made()
        {
            self.write_here(&request, operation, payload);
            return;
        }
        let data = match operation {
            Operation::Read(range) => usize::try_from(range.length_bytes).unwrap_or(usize::MAX),
            _ => payload.as_ref().map_or(0, |payload| payload.len()),
        };
        let cost_bytes = REQUEST_COST_BYTES + data;
        self.connection.under_way_bytes.fetch_add(cost_bytes, Ordering::SeqCst);
        let job = Job {
            connection: Arc::clone(&self.connection),
            request,
            operation,
            payload,
            cost_bytes,
        };
        // Without any worker thread the receiving end is gone.
        if let Err(refused) = self.jobs.send(job) {
            refused.into_inner().run();
        }
    }

    /// Makes a small write, and learns from it whether the next are made here, too.
    fn write_here(&mut self, request: &Request, operation: Operation, payload: Option<Buffer>) {
        let start = Instant::now();
        let reply = self.connection.execute(request, operation, payload, 0);
        self.quick_writes.learn(start.elapsed() <= SLOW_WRITE);
        self.gather(&reply.head);
    }

    /// Adds a reply without data to those that are sent with the batch.
    fn gather(&mut self, head: &[u8]) {
        if self.used + head.len() > self.output.len() {
            self.send_output();
        }
        self.output[self.used..self.used + head.len()].copy_from_slice(head);
        self.used += head.len();
    }

    fn send_output(&mut self) {
        let connection = &self.connection;
        let wait = || {
            let interest = Interest {
                input: false,
                output: true,
            };
            let until = Instant::now() + connection.bounds.stall;
            let ready = connection.stream.wait(interest, Some(until));
            ready.is_ok_and(|ready| !ready.timed_out)
        };
        if self.used > 0 {
            let sent = connection
                .outbox
                .put_bytes(&connection.stream, &self.output[..self.used], wait);
            connection.settle(sent);
            self.used = 0;
        }
    }

    /// Receives more, after waiting for it and for the right to.
    fn fill(&mut self) -> Result<Flow, Lost> {
        let connection = Arc::clone(&self.connection);
        let mut spin = Spin::default();
        loop {
            self.wait_for_room()?;
            if connection.outbox.is_dead() {
                return Err(Lost::Gone);
            }
            // One that is never waited for would otherwise keep the lease of what it has read.
            connection.stream.end_lease();
            match self.receive() {
                Ok(0) => {
                    // In the middle of a message this is no good order, but there is nobody to tell.
                    return Ok(Flow::End);
                }
                Ok(_) => {
                    self.spin.learn(&spin);
                    return Ok(Flow::On);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if self.spin.allows(&spin) && spin.goes_on() {
                continue;
            }
            self.sleep(Interest {
                input: true,
                output: connection.outbox.is_blocked(),
            })?;
            spin.has_slept();
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if let Expect::Payload { buffer, filled, .. } = &mut self.expect {
                let rest = &mut buffer[*filled..];
                if rest.len() >= IN_PLACE_BYTES {
                    let received = self.connection.stream.receive(rest)?;
                    *filled += received;
                    return Ok(received);
                }
            }
        } else if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let received = self.connection.stream.receive(&mut self.input[self.end..])?;
        self.end += received;
        Ok(received)
    }

    /// Waits until replies are out of the way and something of the allowance is free.
    fn wait_for_room(&self) -> Result<(), Lost> {
        let connection = &self.connection;
        let full = || {
            let under_way = connection.under_way_bytes.load(Ordering::SeqCst);
            under_way > connection.bounds.allowance_bytes
        };
        while connection.outbox.is_blocked() || full() {
            connection.hungry.store(true, Ordering::SeqCst);
            let output = connection.outbox.is_blocked();
            if output || full() {
                self.sleep(Interest { input: false, output })?;
            }
            connection.hungry.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Sleeps until there is something to do; sends on where there is room again.
    fn sleep(&self, interest: Interest) -> Result<(), Lost> {
        let connection = &self.connection;
        let whole = matches!(self.expect, Expect::Request) && self.start == self.end;
        let idle = connection.under_way_bytes.load(Ordering::SeqCst) == 0;
        let limit = if interest.output || !whole {
            Some(connection.bounds.stall)
        } else {
            connection.bounds.idle
        };
        let limit = limit.filter(|_| interest.input || interest.output);
        // Nobody else tells when the client has read its replies.
        let recalls = whole && interest.input && !interest.output && connection.stream.end_lease();
        let limit = if recalls { Some(RECALL) } else { limit };
        let ready = connection
            .stream
            .wait(interest, limit.map(|limit| Instant::now() + limit))?;
        if ready.timed_out && recalls {
            return Ok(());
        }
        if ready.timed_out {
            // While the engine is at work, which has deadlines of its own, the client is not idle.
            let waits_for_engine = whole && !interest.output && !idle;
            return if waits_for_engine { Ok(()) } else { Err(Lost::TooSlow) };
        }
        if ready.output {
            connection.settle(connection.outbox.resume(&connection.stream));
        }
        // A client that only closed its sending side still reads, and its end of stream is seen by receiving.
        if ready.hung_up && !interest.input {
            connection.settle((super::Sent::Dead, connection.outbox.kill()));
            return Err(Lost::Gone);
        }
        Ok(())
    }

    /// Waits until every request is answered or nobody is there to be answered.
    fn drain(&mut self) -> Result<(), Lost> {
        let connection = Arc::clone(&self.connection);
        self.expect = Expect::Request;
        self.start = self.end;
        connection.hungry.store(true, Ordering::SeqCst);
        while !connection.outbox.is_dead()
            && (connection.outbox.is_blocked() || connection.under_way_bytes.load(Ordering::SeqCst) > 0)
        {
            let output = connection.outbox.is_blocked();
            self.sleep(Interest { input: false, output })?;
        }
        Ok(())
    }
}

fn longest_here() -> u64 {
    if CountedReader::are_many() {
        CROWDED_READ_BYTES
    } else {
        INLINE_READ_BYTES
    }
}
