//! The life of a mount: from a database and a directory to the last request.
//!
//! Mounting first takes off what a dead server left, then attaches the kernel, then serves. It ends when somebody
//! unmounts, or on SIGINT, SIGTERM or SIGHUP: then we unmount, lazily where programs hold on, and close the database.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use fuser::{Config, Session, SessionACL};
use rustix::process::{getegid, geteuid};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle as SignalsHandle, Signals},
};

use super::{
    adapter::{Adapter, notices},
    errno::Refusal,
    filesystem::Filesystem,
    kernel::{self, Attached, Identity, KernelError},
    options::Options,
    pressure,
};
use crate::series::{self, Database};

/// Threads that serve requests, at least: with one, a program that reads waits for another that writes.
const THREADS_MIN: usize = 4;
/// How long open files of a mount that was taken off lazily are served before the database is closed under them.
const LINGER: Duration = Duration::from_secs(10);

/// Why a mount could not be made or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel's side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The database's side.
    #[error(transparent)]
    Series(#[from] series::Error),
    /// The file system refused to begin or end.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The host's side: threads, signals, the conversation with the kernel.
    #[error("{path}: {action}: {source}", path = path.display())]
    Host {
        /// The mount point.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What to mount where.
#[derive(Debug, Clone)]
pub struct MountRequest {
    /// The database's directory, for /proc/mounts and messages.
    pub database: PathBuf,
    /// The directory to mount on.
    pub mount_point: PathBuf,
    /// Options.
    pub options: Options,
}

/// Why a mount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Somebody unmounted it.
    Unmounted,
    /// This signal came.
    Signal(i32),
}

/// A mount that is being served. Dropping it unmounts.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    identity: Identity,
    filesystem: Arc<Filesystem>,
    served: Option<JoinHandle<io::Result<()>>>,
    aides: Vec<JoinHandle<()>>,
    over: Receiver<()>,
}

/// SIGINT, SIGTERM and SIGHUP, caught from the moment this is made, so that one that comes while the mount begins does
/// not leave a dead mount behind.
#[derive(Debug)]
pub struct StopSignals(Signals);

impl StopSignals {
    /// Catches the signals from now on; [`Mounted::wait`] acts on them.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn catch() -> io::Result<Self> {
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Self)
    }

    /// Waits for one of them, or for the other end of `over` to be dropped: somebody unmounted.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn wait(self, over: &Receiver<()>) -> io::Result<Ended> {
        let handle = self.0.handle();
        let caught = listen(self.0)?;
        let ended = select! {
            recv(over) -> _ => Ended::Unmounted,
            recv(caught) -> signal => signal.map_or(Ended::Unmounted, Ended::Signal),
        };
        SignalsHandle::close(&handle);
        Ok(ended)
    }
}

/// Mounts `database` as `request` says; it is served by threads of this process from then on.
///
/// # Errors
/// The mount point cannot be used, or the kernel refuses. Nothing stays mounted then, and the database is closed unless it
/// is shared.
pub fn mount(request: &MountRequest, database: impl Into<Arc<Database>>) -> Result<Mounted, MountError> {
    let path = kernel::absolute(&request.mount_point);
    let owner = (geteuid().as_raw(), getegid().as_raw());
    let filesystem = Arc::new(Filesystem::new(database, request.options.clone(), owner)?);
    let outcome = serve(request, &path, &filesystem);
    if outcome.is_err() {
        filesystem.close()?;
    }
    outcome
}

fn serve(request: &MountRequest, path: &Path, filesystem: &Arc<Filesystem>) -> Result<Mounted, MountError> {
    kernel::recover_dead_mount_point(path)?;
    let database = kernel::absolute(&request.database);
    let source = request
        .options
        .source
        .clone()
        .unwrap_or_else(|| database.to_string_lossy().into_owned());
    let Attached { device, identity } = kernel::attach(path, &source, &request.options)?;
    let started = start(request, path, filesystem, device);
    if started.is_err() {
        kernel::detach(path, identity)?;
    }
    let (served, aides, over) = started?;
    kernel::raise_read_ahead(identity);
    log::info!("{} mounted on {}", source, path.display());
    Ok(Mounted {
        path: path.to_owned(),
        identity,
        filesystem: Arc::clone(filesystem),
        served: Some(served),
        aides,
        over,
    })
}

type Started = (JoinHandle<io::Result<()>>, Vec<JoinHandle<()>>, Receiver<()>);

fn start(
    request: &MountRequest,
    path: &Path,
    filesystem: &Arc<Filesystem>,
    device: std::os::fd::OwnedFd,
) -> Result<Started, MountError> {
    let failed = |action: &'static str| {
        move |source| MountError::Host {
            path: path.to_owned(),
            action,
            source,
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut config = Config::default();
    config.n_threads = Some(request.options.threads.unwrap_or(cores.max(THREADS_MIN)));
    // A descriptor a thread, where the host lets us open the device: users may get theirs from the helper alone.
    config.clone_fd = kernel::can_open_device();
    let (sender, receiver) = notices::channel();
    let adapter = Adapter::new(Arc::clone(filesystem), sender);
    // The kernel itself lets in whom the options allow.
    let session = Session::from_fd(adapter, device, SessionACL::All, config).map_err(failed("greet the kernel"))?;
    let notices = notices::serve(receiver, &session.notifier(), filesystem);
    let mut aides = Vec::from(notices.map_err(failed("start a thread"))?);
    let (ended, over): (Sender<()>, Receiver<()>) = bounded(0);
    let serve = move || {
        // Dropped at the end, which tells whoever waits.
        let _ended = ended;
        session.run()
    };
    let watched = pressure::watch(Arc::clone(filesystem), over.clone());
    aides.extend(watched.map_err(failed("start a thread"))?);
    let served = thread::Builder::new()
        .name("session".to_owned())
        .spawn(serve)
        .map_err(failed("start a thread"))?;
    Ok((served, aides, over))
}

impl Mounted {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file system that is served.
    pub fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }

    /// Serves until somebody unmounts or a signal comes or has come, then unmounts and closes the database.
    ///
    /// # Errors
    /// The database could not be closed cleanly, or the kernel refused to unmount.
    pub fn wait(self, signals: StopSignals) -> Result<Ended, MountError> {
        let ended = signals.wait(&self.over).map_err(|source| MountError::Host {
            path: self.path.clone(),
            action: "wait for signals",
            source,
        })?;
        if let Ended::Signal(signal) = ended {
            log::info!("{}: unmounting on signal {signal}", self.path.display());
        }
        self.unmount()?;
        Ok(ended)
    }

    /// Unmounts, waits for the last request, and closes the database. Files that programs still have open are served
    /// for a while; then they answer that the mount is shut down.
    ///
    /// # Errors
    /// As [`Mounted::wait`].
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), MountError> {
        let Some(served) = self.served.take() else {
            return Ok(());
        };
        let detached = kernel::detach(&self.path, self.identity);
        // A mount that was taken off lives on where a program has it open, or another name space has a copy of it.
        let is_over = self.over.recv_timeout(LINGER) != Err(crossbeam_channel::RecvTimeoutError::Timeout);
        if is_over {
            match served.join() {
                Ok(outcome) => outcome.map_err(|source| MountError::Host {
                    path: self.path.clone(),
                    action: "serve",
                    source,
                })?,
                Err(_) => log::error!("{}: the session's thread panicked", self.path.display()),
            }
            self.aides.drain(..).for_each(|thread| drop(thread.join()));
        } else {
            log::warn!(
                "{}: closing the database under files that are still open",
                self.path.display()
            );
        }
        self.filesystem.close()?;
        detached?;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("{error}");
        }
    }
}

/// Hands on the first signal; ends when the other side closes the handle.
fn listen(mut signals: Signals) -> io::Result<Receiver<i32>> {
    let (sender, receiver) = bounded(1);
    let forward = move || {
        if let Some(signal) = signals.forever().next() {
            // Nobody listens any more where the mount has ended by itself.
            let _ = sender.send(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(forward)?;
    Ok(receiver)
}
