//! The life of a mounted tape: attached, served by threads of this process, taken off by whoever unmounts or by a signal.
//!
//! As with a mounted database, but simpler: nothing can be written, so nothing has to be closed.

use std::{
    io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use fuser::{Config, Session, SessionACL};

use super::adapter::Adapter;
use crate::{
    dump::browse::Browser,
    mount::{
        kernel::{self, Attached, Identity},
        options::Options,
        session::{Ended, MountError, StopSignals},
    },
};

/// Threads that serve requests: one reads the tape, another takes the next request.
const THREADS: usize = 2;

/// A dump that is mounted. Dropping it unmounts.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    identity: Identity,
    served: Option<JoinHandle<io::Result<()>>>,
    over: Receiver<()>,
}

/// Mounts a dump on a directory; `source` is what the table of mounts shows.
///
/// # Errors
/// The mount point cannot be used, or the kernel refuses. Nothing stays mounted then.
pub fn mount(browser: Browser, source: &str, mount_point: &Path, allow_other: bool) -> Result<Mounted, MountError> {
    let path = kernel::absolute(mount_point);
    kernel::recover_dead_mount_point(&path)?;
    let options = Options {
        read_only: true,
        allow_other,
        ..Options::default()
    };
    let Attached { device, identity } = kernel::attach(&path, source, &options)?;
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    config.clone_fd = kernel::can_open_device();
    let started = Session::from_fd(Adapter::new(browser), device, SessionACL::All, config).and_then(|session| {
        let (ended, over): (Sender<()>, Receiver<()>) = bounded(0);
        let serve = move || {
            // Dropped at the end, which tells whoever waits.
            let _ended = ended;
            session.run()
        };
        let served = thread::Builder::new().name("session".to_owned()).spawn(serve)?;
        Ok((served, over))
    });
    match started {
        Ok((served, over)) => Ok(Mounted {
            path,
            identity,
            served: Some(served),
            over,
        }),
        Err(source) => {
            kernel::detach(&path, identity)?;
            Err(MountError::Host {
                path,
                action: "greet the kernel",
                source,
            })
        }
    }
}

impl Mounted {
    /// Serves until somebody unmounts or a signal comes or has come, then unmounts.
    ///
    /// # Errors
    /// The kernel refused to unmount.
    pub fn wait(mut self, signals: StopSignals) -> Result<Ended, MountError> {
        let ended = signals.wait(&self.over).map_err(|source| MountError::Host {
            path: self.path.clone(),
            action: "wait for signals",
            source,
        })?;
        self.end()?;
        Ok(ended)
    }

    fn end(&mut self) -> Result<(), MountError> {
        let Some(served) = self.served.take() else {
            return Ok(());
        };
        let detached = kernel::detach(&self.path, self.identity)?;
        // Where a program still has it open, it is served until this process ends.
        if detached != kernel::Detached::Lazily && served.join().is_err() {
            log::error!("{}: the session's thread panicked", self.path.display());
        }
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
