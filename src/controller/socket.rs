//! The socket on which a server is asked for something, beside the one of its NBD clients.
//!
//! It is open to the server's own user and to root, by its mode and by the credentials of whoever connects. A line in is
//! a [`Request`], lines out are [`Answer`]s. A client that does not read its answers holds up nobody but itself, and only so
//! many clients are heard at a time.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags},
    io::Errno,
    net::SocketFlags,
    process::geteuid,
};

use super::{
    error::{Error, Kind, Result, Told},
    interface::{Answer, Answerer, Request, VERSION},
};
use crate::{nbd::Listener, raid::rebuild::Progress};

/// Longest request.
const LINE_MAX_BYTES: u64 = 64 << 10;
/// Clients that are heard at a time.
const CLIENTS_MAX: usize = 256;
/// How long a client may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long accepting rests where no descriptor is left.
const REST: Duration = Duration::from_millis(100);

/// The control socket beside a server's socket.
pub fn path_of(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".control");
    PathBuf::from(path)
}

/// Requests that are not yet answered.
#[derive(Default)]
struct Pending {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Pending {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// Takes requests until it is dropped, which waits until those that were taken are answered.
pub struct Control {
    stop: Arc<OwnedFd>,
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Takes requests on a socket at `path`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(path: &Path, answerer: Arc<Answerer>) -> Result<Self> {
        let listener = Listener::unix(path)
            .map_err(|error| Error::refused(Kind::Busy, error.to_string(), "another --socket, or end who has it"))?;
        let host = |source: io::Error| Error::host(path)(source);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(host)?;
        rustix::io::ioctl_fionbio(&listener, true).map_err(|errno| host(errno.into()))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let stop = Arc::new(rustix::event::eventfd(0, flags).map_err(|errno| host(errno.into()))?);
        let pending = Arc::new(Pending::default());
        let thread = thread::Builder::new().name("control".to_owned()).spawn({
            let (stop, pending) = (Arc::clone(&stop), Arc::clone(&pending));
            move || accept(&listener, &stop, &pending, &answerer)
        });
        Ok(Self {
            stop,
            pending,
            thread: Some(thread.map_err(host)?),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Fails only where the counter is full, and then it is set.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told where it happened.
            let _ = thread.join();
        }
        let count = self.pending.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.pending
                .changed
                .wait_timeout_while(count, PATIENCE, |count| *count > 0),
        );
    }
}

/// Accepts clients until it is told to stop; the socket's file goes with the listener.
fn accept(listener: &Listener, stop: &OwnedFd, pending: &Arc<Pending>, answerer: &Arc<Answerer>) {
    let heard = Arc::new(());
    loop {
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return log::error!("no more requests are taken: {errno}"),
        }
        if fds[0].revents().contains(PollFlags::IN) {
            return;
        }
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                let (answerer, place, pending) = (Arc::clone(answerer), Arc::clone(&heard), Arc::clone(pending));
                let crowded = Arc::strong_count(&heard) > CLIENTS_MAX + 1;
                let thread = thread::Builder::new().name("requests".to_owned());
                let spawned = thread.spawn(move || {
                    let _place = place;
                    if let Err(error) = serve(&UnixStream::from(socket), &pending, &*answerer, crowded) {
                        log::debug!("requests: {error}");
                    }
                });
                if let Err(error) = spawned {
                    log::warn!("requests: no thread: {error}");
                }
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                log::warn!("requests: no file descriptor is left; raise 'ulimit -n'");
                thread::sleep(REST);
            }
            Err(errno) => return log::error!("no more requests are taken: {errno}"),
        }
    }
}

/// Serves one client.
fn serve(stream: &UnixStream, pending: &Pending, answerer: &Answerer, crowded: bool) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let user = rustix::net::sockopt::socket_peercred(stream)?.uid;
    if !user.is_root() && user != geteuid() {
        let error = Error::refused(Kind::NotPermitted, "another user's server", "as its user, or as root");
        return send(stream, &Answer::Failed(error.told()));
    }
    if crowded {
        let message = format!("{CLIENTS_MAX} clients are here already");
        let error = Error::refused(Kind::Busy, message, "again a little later");
        return send(stream, &Answer::Failed(error.told()));
    }
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.by_ref().take(LINE_MAX_BYTES).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut tell = |progress: Progress| {
            let answer = Answer::Progress {
                done_bytes: progress.done_bytes,
                whole_bytes: progress.whole_bytes,
            };
            send(stream, &answer).map_err(|_| Error::ClientGone)
        };
        pending.change(|count| *count += 1);
        let done = understood(&line).and_then(|request| answerer(request.ask, &mut tell));
        let answer = done.map_or_else(|error| Answer::Failed(error.told()), Answer::Done);
        let sent = send(stream, &answer);
        pending.change(|count| *count -= 1);
        sent?;
    }
}

/// The request of a line.
fn understood(line: &str) -> Result<Request> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let bad = |error: serde_json::Error| {
        let (kind, message, remedy) = match serde_json::from_str::<Versioned>(line) {
            Ok(found) if found.version != VERSION => (
                Kind::Unavailable,
                format!(
                    "the server speaks version {VERSION} of the interface, not {}",
                    found.version
                ),
                "the same version of headstack on both sides",
            ),
            _ => (
                Kind::Usage,
                format!("not a request: {error}"),
                "one JSON document a line",
            ),
        };
        Told {
            kind,
            message,
            remedy: Some(remedy.to_owned()),
        }
    };
    let request: Request = serde_json::from_str(line).map_err(bad)?;
    if request.version == VERSION {
        return Ok(request);
    }
    let message = format!(
        "the server speaks version {VERSION} of the interface, not {}",
        request.version
    );
    Err(Error::refused(
        Kind::Unavailable,
        message,
        "the same version of headstack on both sides",
    ))
}

fn send(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}
