//! Telling the kernel what to forget, from a thread of its own.
//!
//! A notification waits for locks in the kernel that a request may hold until it is answered; so no handler sends one.
//! A handler hands its answer to this thread with what became stale by it: that is dropped first, then the request is
//! answered.

use std::{
    ffi::OsStr,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender};
use fuser::{INodeNo, Notifier};

use crate::mount::filesystem::{Filesystem, Stale};

/// An answer that waits for the kernel to forget something.
pub struct Notice {
    stale: Vec<Stale>,
    answer: Box<dyn FnOnce() + Send>,
    stale_later: Vec<Stale>,
}

/// Where handlers leave their notices.
#[derive(Clone)]
pub struct Notices(Sender<Notice>);

/// Makes the two ends; the thread starts with [`serve`], when there is a session.
pub fn channel() -> (Notices, Receiver<Notice>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    (Notices(sender), receiver)
}

impl Notices {
    /// Answers at once where nothing is stale, else after the kernel has forgotten it.
    pub fn settle(&self, stale: Vec<Stale>, stale_later: Vec<Stale>, answer: impl FnOnce() + Send + 'static) {
        if stale.is_empty() && stale_later.is_empty() {
            return answer();
        }
        let notice = Notice {
            stale,
            answer: Box::new(answer),
            stale_later,
        };
        // The thread ends with the session only; then there is no kernel to forget anything.
        if let Err(unsent) = self.0.send(notice) {
            (unsent.0.answer)();
        }
    }
}

/// Starts the thread; it ends when every [`Notices`] is gone.
///
/// # Errors
/// The host has no more threads.
pub fn serve(notices: Receiver<Notice>, kernel: Notifier, filesystem: Arc<Filesystem>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("notices".to_owned()).spawn(move || {
        for notice in notices {
            notice
                .stale
                .iter()
                .for_each(|stale| forget(&kernel, &filesystem, stale));
            (notice.answer)();
            notice
                .stale_later
                .iter()
                .for_each(|stale| forget(&kernel, &filesystem, stale));
        }
    })
}

fn forget(kernel: &Notifier, filesystem: &Filesystem, stale: &Stale) {
    let outcome = match stale {
        // A negative offset means attributes alone, and takes no page's lock.
        Stale::Attributes(node) => kernel.inval_inode(INodeNo(*node), -1, 0),
        Stale::Contents(node) => kernel.inval_inode(INodeNo(*node), 0, 0),
        Stale::Tail(node, from) => kernel.inval_inode(INodeNo(*node), i64::try_from(*from).unwrap_or(0), 0),
        Stale::Name(directory, name) => kernel.inval_entry(INodeNo(*directory), OsStr::new(name)),
        Stale::Published(series, entries) => {
            filesystem.publish(*series, *entries);
            Ok(())
        }
    };
    if let Err(error) = outcome {
        log::debug!("{stale:?}: {error}");
    }
}
