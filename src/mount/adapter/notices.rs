//! Telling the kernel what to forget, from threads of their own.
//!
//! A notification waits for locks in the kernel that a request may hold until it is answered; so no handler sends one.
//! A handler hands its answer to the thread of answers with what became stale by it: that is dropped first, then the
//! request is answered. Names have a thread to themselves: dropping one takes the lock of its directory, which the next
//! request may hold by then, and whose answer must not wait for this.

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
}

/// Where handlers leave their notices.
#[derive(Clone)]
pub struct Notices {
    answers: Sender<Notice>,
    names: Sender<Vec<Stale>>,
}

/// The other end.
pub struct Notified {
    answers: Receiver<Notice>,
    names: Receiver<Vec<Stale>>,
}

/// Makes the two ends; the threads start with [`serve`], when there is a session.
pub fn channel() -> (Notices, Notified) {
    let (answers, taken_answers) = crossbeam_channel::unbounded();
    let (names, taken_names) = crossbeam_channel::unbounded();
    let notified = Notified {
        answers: taken_answers,
        names: taken_names,
    };
    (Notices { answers, names }, notified)
}

impl Notices {
    /// Answers after every notice before this one.
    pub fn in_turn(&self, answer: impl FnOnce() + Send + 'static) {
        let notice = Notice {
            stale: Vec::new(),
            answer: Box::new(answer),
        };
        if let Err(unsent) = self.answers.send(notice) {
            (unsent.0.answer)();
        }
    }

    /// Answers at once where nothing is stale, else after the kernel has forgotten it; names are forgotten some time
    /// after that.
    pub fn settle(&self, stale: Vec<Stale>, answer: impl FnOnce() + Send + 'static) {
        let (names, stale): (Vec<_>, Vec<_>) = stale.into_iter().partition(|stale| matches!(stale, Stale::Name(..)));
        if stale.is_empty() {
            answer();
        } else {
            let notice = Notice {
                stale,
                answer: Box::new(answer),
            };
            // The thread ends with the session only; then there is no kernel to forget anything.
            if let Err(unsent) = self.answers.send(notice) {
                (unsent.0.answer)();
            }
        }
        if !names.is_empty() {
            // As above.
            let _ = self.names.send(names);
        }
    }
}

/// Starts the threads; they end when every [`Notices`] is gone.
///
/// # Errors
/// The host has no more threads.
pub fn serve(notified: Notified, kernel: &Notifier, filesystem: &Arc<Filesystem>) -> io::Result<[JoinHandle<()>; 2]> {
    let Notified { answers, names } = notified;
    let (for_answers, for_names) = (kernel.clone(), kernel.clone());
    let (fs_answers, fs_names) = (Arc::clone(filesystem), Arc::clone(filesystem));
    let answers = thread::Builder::new().name("answers".to_owned()).spawn(move || {
        for notice in answers {
            notice
                .stale
                .iter()
                .for_each(|stale| forget(&for_answers, &fs_answers, stale));
            (notice.answer)();
        }
    })?;
    let names = thread::Builder::new().name("names".to_owned()).spawn(move || {
        for stale in names.iter().flatten() {
            forget(&for_names, &fs_names, &stale);
        }
    })?;
    Ok([answers, names])
}

fn forget(kernel: &Notifier, filesystem: &Filesystem, stale: &Stale) {
    let outcome = match stale {
        // A negative offset means attributes alone, and takes no page's lock.
        Stale::Attributes(node) => kernel.inval_inode(INodeNo(*node), -1, 0),
        Stale::Contents(node) => kernel.inval_inode(INodeNo(*node), 0, 0),
        Stale::Tail(node, from) => kernel.inval_inode(INodeNo(*node), i64::try_from(*from).unwrap_or(0), 0),
        Stale::Name(directory, name) => kernel.inval_entry(INodeNo(*directory), OsStr::new(name)),
        Stale::Grown(node, end, last) => kernel.store(INodeNo(*node), end.saturating_sub(1), &[*last]),
        Stale::Published(series, entries) => {
            filesystem.publish(*series, *entries);
            Ok(())
        }
    };
    if let Err(error) = outcome {
        log::debug!("{stale:?}: {error}");
    }
}
