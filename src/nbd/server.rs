//! The server: listeners, clients and their limits.
//!
//! A thread accepts on each listener and starts one for each client, which leads the handshake and then reads requests
//! until the client leaves. A client has its place, a [`Guest`], from its acceptance until its last request is done.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec},
    io::Errno,
    net::{Shutdown, SocketFlags},
};

use super::{
    connection::{Bounds, Connection, transmit},
    exports::Exports,
    listen::Listener,
    negotiate::negotiate,
    tls::Tls,
    transport::{Lost, Stream, locked},
};

/// How long accepting rests where even the spare descriptor is gone.
const REST: Duration = Duration::from_millis(100);
/// Bytes of replies that may be on their way to a client of this machine.
const REPLIES_BYTES: usize = 4 << 20;

/// Bounds for clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Clients at a time.
    pub clients: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a client may ask nothing; none for as long as it likes, as kernels and guests do.
    pub idle: Option<Duration>,
    /// How long a message that has begun may stand still, in either direction.
    pub stall: Duration,
    /// Longest read or write, in bytes.
    pub maximum_request_bytes: u32,
    /// Bytes of requests and replies of one client that may be under way; one request may exceed it.
    pub allowance_bytes: usize,
    /// Threads of each export for what can block.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 64,
            handshake: Duration::from_secs(60),
            idle: None,
            stall: Duration::from_secs(120),
            maximum_request_bytes: 32 << 20,
            allowance_bytes: 8 << 20,
            workers: 8,
        }
    }
}

/// How a server behaves.
#[derive(Clone, Default)]
pub struct Settings {
    /// Bounds for clients.
    pub limits: Limits,
    /// Whether and how clients get TLS.
    pub tls: Tls,
}

/// Who is here.
#[derive(Default)]
struct Roster {
    clients: BTreeMap<u64, Client>,
    /// Clients so far.
    count: u64,
    ending: bool,
}

impl Roster {
    /// Clients that have chosen an export.
    fn having<'a>(&'a self, export: &'a str) -> impl Iterator<Item = &'a Client> {
        let has = move |client: &&Client| client.export.as_deref() == Some(export);
        self.clients.values().filter(has)
    }

    fn shut(&self, export: &str, how: Shutdown) {
        for client in self.having(export) {
            // Fails only where the client is gone already.
            let _ = rustix::net::shutdown(&*client.socket, how);
        }
    }
}

struct Client {
    socket: Arc<OwnedFd>,
    export: Option<String>,
}

/// What all threads of a server share.
struct Shared {
    exports: Exports,
    settings: Settings,
    roster: Mutex<Roster>,
    changed: Condvar,
}

/// The place of one client, until it is dropped.
pub(super) struct Guest {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        locked(&self.shared.roster).clients.remove(&self.number);
        self.shared.changed.notify_all();
    }
}

impl Guest {
    /// A place for a client; none where there is no room or the server is ending.
    fn admit(shared: &Arc<Shared>, socket: &Arc<OwnedFd>) -> Option<Self> {
        let mut roster = locked(&shared.roster);
        if roster.ending || roster.clients.len() >= shared.settings.limits.clients {
            return None;
        }
        let number = roster.count;
        roster.count += 1;
        let client = Client {
            socket: Arc::clone(socket),
            export: None,
        };
        roster.clients.insert(number, client);
        Some(Self {
            number,
            shared: Arc::clone(shared),
        })
    }

    fn chose(&self, export: &str) {
        if let Some(client) = locked(&self.shared.roster).clients.get_mut(&self.number) {
            client.export = Some(export.to_owned());
        }
    }
}

/// A server with its listeners and clients.
pub struct Server {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    acceptors: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Serves `exports` on `listeners` from now on.
    ///
    /// # Errors
    /// No descriptor or thread is left.
    pub fn start(exports: Exports, settings: Settings, listeners: Vec<Listener>) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let server = Self {
            shared: Arc::new(Shared {
                exports,
                settings,
                roster: Mutex::default(),
                changed: Condvar::new(),
            }),
            stop: Arc::new(rustix::event::eventfd(0, flags)?),
            acceptors: Mutex::default(),
        };
        server.listen(listeners)?;
        Ok(server)
    }

    /// Serves on more listeners from now on; clients that came to them before have waited.
    ///
    /// # Errors
    /// No thread is left.
    pub fn listen(&self, listeners: Vec<Listener>) -> io::Result<()> {
        for listener in listeners {
            let acceptor = Acceptor {
                shared: Arc::clone(&self.shared),
                stop: Arc::clone(&self.stop),
                spare: File::open("/dev/null").ok(),
                listener,
            };
            let thread = thread::Builder::new().name("nbd listener".to_owned());
            let thread = thread.spawn(move || acceptor.run())?;
            locked(&self.acceptors).push(thread);
        }
        Ok(())
    }

    /// What is served; exports can be added and changed at any time.
    #[must_use]
    pub fn exports(&self) -> &Exports {
        &self.shared.exports
    }

    /// Clients that are here, in handshake or later.
    #[must_use]
    pub fn clients(&self) -> usize {
        locked(&self.shared.roster).clients.len()
    }

    /// Clients that have chosen an export.
    #[must_use]
    pub fn clients_of(&self, export: &str) -> usize {
        locked(&self.shared.roster).having(export).count()
    }

    /// Takes an export away, also from the clients that have it: their requests finish, for which they have up to
    /// `patience`, and they are cut off. True where there was one.
    pub fn remove(&self, name: &str, patience: Duration) -> bool {
        let removed = self.shared.exports.remove(name);
        let roster = locked(&self.shared.roster);
        roster.shut(name, Shutdown::Read);
        let busy = |roster: &mut Roster| roster.having(name).next().is_some();
        let waited = self.shared.changed.wait_timeout_while(roster, patience, busy);
        let (roster, _) = waited.unwrap_or_else(PoisonError::into_inner);
        roster.shut(name, Shutdown::Both);
        removed
    }

    /// Waits until there has been a client and none is left, or until the server is stopped.
    pub fn wait_for_last_client(&self) {
        let roster = locked(&self.shared.roster);
        let here = |roster: &mut Roster| !roster.ending && (roster.count == 0 || !roster.clients.is_empty());
        let waited = self.shared.changed.wait_while(roster, here);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the server is stopped.
    pub fn wait_until_stopped(&self) {
        let waited = self
            .shared
            .changed
            .wait_while(locked(&self.shared.roster), |roster| !roster.ending);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes no more clients and no more requests, waits up to `patience` for those under way, and cuts off who is left.
    /// Sockets' files are gone when it returns. Returns how many clients were cut off.
    pub fn stop(&self, patience: Duration) -> usize {
        let until = Instant::now() + patience;
        let mut roster = locked(&self.shared.roster);
        roster.ending = true;
        self.shared.changed.notify_all();
        for client in roster.clients.values() {
            let _ = rustix::net::shutdown(&*client.socket, Shutdown::Read);
        }
        drop(roster);
        // Fails only where the counter is full, and then it is set.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        for acceptor in locked(&self.acceptors).drain(..) {
            // A panic of the acceptor has been told where it happened.
            let _ = acceptor.join();
        }
        let left = until.saturating_duration_since(Instant::now());
        let roster = locked(&self.shared.roster);
        let busy = |roster: &mut Roster| !roster.clients.is_empty();
        let waited = self.shared.changed.wait_timeout_while(roster, left, busy);
        let (roster, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for client in roster.clients.values() {
            let _ = rustix::net::shutdown(&*client.socket, Shutdown::Both);
        }
        roster.clients.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// The thread of one listener.
struct Acceptor {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    /// Given up to accept and turn away a client when no other descriptor is left.
    spare: Option<File>,
    listener: Listener,
}

/// Gives a unix socket room for long replies, which are pages of the host's cache: else both sides wait for one another at
/// every fifth part of a megabyte. More than the host lets users have takes the right to; it is only slower without.
fn widen(socket: &OwnedFd) {
    use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
    if set_socket_send_buffer_size_force(socket, REPLIES_BYTES).is_err()
        && let Err(errno) = set_socket_send_buffer_size(socket, REPLIES_BYTES)
    {
        log::debug!("the socket keeps its buffer: {errno}");
    }
}

impl Acceptor {
    fn run(mut self) {
        // A client may be gone between poll and accept; then accept must not wait for the next.
        if let Err(errno) = rustix::io::ioctl_fionbio(&self.listener, true) {
            log::error!("cannot accept clients: {errno}");
            return;
        }
        while self.wait(true, None) {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => self.admit(socket),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => self.turn_away(),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                Err(errno) => {
                    log::warn!("cannot accept a client: {errno}");
                    self.wait(false, Some(REST));
                }
            }
        }
    }

    /// Waits for a client, if `clients`, or for as long as it says; false where the server stops.
    fn wait(&self, clients: bool, limit: Option<Duration>) -> bool {
        let wanted = if clients { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [
            PollFd::new(&*self.stop, PollFlags::IN),
            PollFd::new(&self.listener, wanted),
        ];
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match rustix::event::poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => !fds[0].revents().contains(PollFlags::IN),
            Err(errno) => {
                log::error!("cannot wait for clients: {errno}");
                false
            }
        }
    }

    /// Without descriptors a client that is not accepted would be offered again at once, and for ever.
    fn turn_away(&mut self) {
        log::warn!("no file descriptor is left: a client is turned away; raise 'ulimit -n'");
        if self.spare.take().is_some() {
            // It is closed at once, and its descriptor is the next spare one.
            drop(rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC));
        } else {
            self.wait(false, Some(REST));
        }
        self.spare = File::open("/dev/null").ok();
    }

    fn admit(&self, socket: OwnedFd) {
        if self.listener.is_tcp() {
            // Only slower without it.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        } else {
            widen(&socket);
        }
        let socket = Arc::new(socket);
        let Some(guest) = Guest::admit(&self.shared, &socket) else {
            let most = self.shared.settings.limits.clients;
            log::warn!("a client is turned away: {most} clients are here already, or the server ends");
            return;
        };
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(format!("nbd client {}", guest.number));
        let number = guest.number;
        let started = thread.spawn(move || match serve(&shared, socket, guest) {
            Ok(()) => log::debug!("client {number} has left"),
            Err(lost) => log::info!("client {number} is cut off: {lost}"),
        });
        if let Err(error) = started {
            log::warn!("a client is turned away: no thread for it: {error}");
        }
    }
}

/// Serves one client from its first byte to its last.
fn serve(shared: &Shared, socket: Arc<OwnedFd>, guest: Guest) -> Result<(), Lost> {
    let limits = &shared.settings.limits;
    let mut stream = Stream::new(socket)?;
    let until = Instant::now() + limits.handshake;
    let agreed = negotiate(
        &mut stream,
        &shared.exports,
        &shared.settings.tls,
        limits.maximum_request_bytes,
        until,
    );
    let agreement = match agreed {
        Ok(Some(agreement)) => agreement,
        Ok(None) => {
            stream.close();
            return Ok(());
        }
        Err(lost) => {
            stream.close();
            return Err(lost);
        }
    };
    guest.chose(agreement.export.name());
    let bounds = Bounds {
        maximum_request_bytes: limits.maximum_request_bytes,
        allowance_bytes: limits.allowance_bytes,
        idle: limits.idle,
        stall: limits.stall,
        workers: limits.workers,
    };
    transmit(Connection::new(stream, agreement, bounds, guest))
}
