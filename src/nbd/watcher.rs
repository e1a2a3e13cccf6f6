//! One thread an array that has nothing to do but to tell it that time has passed for members that do not answer.
//!
//! It is not the keeper's, for that one asks members itself and would wait for the one that hangs. Between the clock and
//! [`Array::look_at_members`]; what a hanging member means is decided there.

use std::{
    io,
    sync::{Arc, Once},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::raid::{
    Array,
    watch::{Watch, starts},
};

/// How long a member may take to answer where nobody says otherwise: longer than disks try to read a bad sector.
pub const MEMBER_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks from now on at all that arrays in this process are started from, so that an image which takes longer than
/// [`MEMBER_TIMEOUT`], by up to a quarter, is given up.
pub fn watch_starts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        starts::look();
        let looking = thread::Builder::new().name("start watch".to_owned()).spawn(|| {
            loop {
                thread::sleep(MEMBER_TIMEOUT / u32::from(Watch::LOOKS));
                for path in starts::look() {
                    log::error!("{} does not answer", path.display());
                }
            }
        });
        if let Err(error) = looking {
            log::warn!("an image that hangs is waited for: no thread: {error}");
        }
    });
}

/// Looks at the members of an array until it is dropped.
pub(super) struct Watcher {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Looks from now on, so that a member which takes longer than `timeout`, by up to a quarter, is given up.
    ///
    /// # Errors
    /// No thread is left.
    pub(super) fn start(array: Arc<Array>, timeout: Duration) -> io::Result<Self> {
        let (end, ended) = bounded(0);
        array.look_at_members();
        let thread = thread::Builder::new().name("member watch".to_owned()).spawn(move || {
            let pause = timeout / u32::from(Watch::LOOKS);
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                array.look_at_members();
            }
        });
        Ok(Self {
            end: Some(end),
            thread: Some(thread?),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told where it happened.
            let _ = thread.join();
        }
    }
}
