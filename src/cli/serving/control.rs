//! The socket on which a server takes orders for its arrays, beside the one of its clients.
//!
//! It is open to the server's own user and to root, by its mode and by the credentials of whoever connects. A line in is
//! a [`Request`], lines out are [`Answer`]s.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags},
    io::Errno,
    net::SocketFlags,
    process::geteuid,
};

use serde_json::{Map, Value};

use super::{
    order::{Answer, Order, Request, Tell, perform},
    served::{PATIENCE, Served},
};
use crate::{
    cli::exit::{Code, Failure, Report},
    nbd::Listener,
    raid::rebuild::Progress,
};

/// Longest order.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// The control socket of a server's socket.
pub fn path_of(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".control");
    PathBuf::from(path)
}

/// Takes orders until it is dropped.
pub struct Control {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Takes orders for the arrays that are served on a socket at `path`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(path: &Path, served: Arc<Served>) -> Result<Self> {
        let listener = Listener::unix(path)?;
        let place = || path.display().to_string();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(place)?;
        rustix::io::ioctl_fionbio(&listener, true).with_context(place)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let stop = Arc::new(rustix::event::eventfd(0, flags).with_context(place)?);
        let thread = thread::Builder::new().name("control".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || accept(&listener, &stop, &served)
        });
        Ok(Self {
            stop,
            thread: Some(thread.with_context(place)?),
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
    }
}

/// Accepts clients until it is told to stop; the socket's file goes with the listener.
fn accept(listener: &Listener, stop: &OwnedFd, served: &Arc<Served>) {
    loop {
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return log::error!("no more orders are taken: {errno}"),
        }
        if fds[0].revents().contains(PollFlags::IN) {
            return;
        }
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                let served = Arc::clone(served);
                let thread = thread::Builder::new().name("orders".to_owned());
                let spawned = thread.spawn(move || {
                    if let Err(error) = serve(UnixStream::from(socket), &served) {
                        log::debug!("orders: {error:#}");
                    }
                });
                if let Err(error) = spawned {
                    log::warn!("orders: no thread: {error}");
                }
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) => return log::error!("no more orders are taken: {errno}"),
        }
    }
}

/// Serves one client.
fn serve(stream: UnixStream, served: &Served) -> Result<()> {
    let user = rustix::net::sockopt::socket_peercred(&stream)?.uid;
    if !user.is_root() && user != geteuid() {
        let failure = Failure::new(Code::NotPermitted, "another user's server", "as its user, or as root");
        return send(&stream, &failed(&failure.into()));
    }
    let mut lines = BufReader::new(&stream);
    loop {
        let mut line = String::new();
        if lines.by_ref().take(LINE_MAX_BYTES).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut tell = |progress: Progress| {
            send(
                &stream,
                &Answer::Progress {
                    done_bytes: progress.done_bytes,
                    whole_bytes: progress.whole_bytes,
                },
            )
        };
        let request: Result<Request> = serde_json::from_str(&line).context("an order");
        let stopping = matches!(
            &request,
            Ok(Request {
                order: Order::Stop { .. },
                ..
            })
        );
        let done = request.and_then(|request| carry_out(served, &request, &mut tell));
        send(&stream, &done.map_or_else(|error| failed(&error), Answer::Done))?;
        if stopping && served.is_empty() {
            // The client hears of the end of this process by the end of the stream, and hears all before it.
            served.server().stop(PATIENCE);
        } else if stopping {
            return Ok(());
        }
    }
}

fn carry_out(served: &Served, request: &Request, tell: Tell<'_>) -> Result<Map<String, Value>> {
    let name = request.array.as_deref();
    match request.order {
        Order::Stop { disconnect } => served.stop_one(name, disconnect).map(|()| Map::new()),
        _ => perform(&*served.keeper(name)?, &request.order, tell),
    }
}

fn failed(error: &anyhow::Error) -> Answer {
    let report = Report::of(error);
    Answer::Failed {
        code: report.code as u8,
        message: report.message.unwrap_or_default(),
    }
}

fn send(mut stream: &UnixStream, answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}
