//! Directories read ahead of the walk: names and facts of what is in them, by several threads, for the walk to take in its order.
//!
//! A walk costs a system call for each object, so that is what is spread. Who needs a directory that nobody has begun reads it
//! itself; while another thread reads it, it reads the next one. What is read ahead is bounded by its names.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{Dir, OFlags},
    io::Errno,
};

use crate::dump::{
    selection::Selection,
    tree::{Status, Tree, status_at},
};

/// Names that are read ahead at most, unless one directory has more.
const AHEAD_NAMES: usize = 1 << 17;

/// Names in a directory in order, with the facts about what they stand for.
pub(super) type Listing = Result<Vec<(CString, Result<Status, Errno>)>, Errno>;

/// Reads a directory; what is removed meanwhile and what is left out by its name is not in it.
pub(super) fn list(tree: &Tree, path: &Path, selection: &Selection) -> Listing {
    let directory = tree.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let names = names_of(&directory)?.into_iter();
    let known = names
        .filter(|name| !selection.leaves_out(name.to_bytes()))
        .map(|name| {
            let status = status_at(&directory, &name);
            (name, status)
        })
        .filter(|(_, status)| *status != Err(Errno::NOENT));
    Ok(known.collect())
}

/// Names in a directory, sorted, so that two walks over the same tree give the same tape.
fn names_of(directory: &rustix::fd::OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What threads and the walk share.
#[derive(Default)]
struct Shared {
    /// Directories that nobody reads yet, by their places, the one that is needed first last.
    waiting: Vec<(usize, PathBuf)>,
    ready: HashMap<usize, Listing>,
    /// Names in what is ready.
    names: usize,
    /// True once the walk is over.
    over: bool,
}

/// Directories on their way to the walk.
pub(super) struct Listings<'a> {
    tree: &'a Tree,
    selection: &'a Selection,
    shared: Mutex<Shared>,
    changed: Condvar,
}

impl<'a> Listings<'a> {
    /// No directories yet.
    pub(super) fn new(tree: &'a Tree, selection: &'a Selection) -> Self {
        Self {
            tree,
            selection,
            shared: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, shared: MutexGuard<'g, Shared>) -> MutexGuard<'g, Shared> {
        self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for directories that come next, the first of them before all that were asked for.
    pub(super) fn ask(&self, directories: impl DoubleEndedIterator<Item = (usize, PathBuf)>) {
        let mut shared = self.lock();
        let before = shared.waiting.len();
        shared.waiting.extend(directories.rev());
        if shared.waiting.len() > before {
            self.changed.notify_all();
        }
    }

    /// Reads directories for others until the walk is over.
    pub(super) fn help(&self) {
        let mut shared = self.lock();
        while !shared.over {
            let next = if shared.names < AHEAD_NAMES {
                shared.waiting.pop()
            } else {
                None
            };
            shared = match next {
                Some((place, path)) => {
                    drop(shared);
                    self.read(place, &path)
                }
                None => self.wait(shared),
            };
        }
    }

    fn read(&self, place: usize, path: &Path) -> MutexGuard<'_, Shared> {
        let listing = list(self.tree, path, self.selection);
        let mut shared = self.lock();
        shared.names += listing.as_ref().map_or(0, Vec::len);
        shared.ready.insert(place, listing);
        self.changed.notify_all();
        shared
    }

    /// A directory that was asked for.
    pub(super) fn take(&self, place: usize) -> Listing {
        let mut shared = self.lock();
        loop {
            if let Some(listing) = shared.ready.remove(&place) {
                shared.names -= listing.as_ref().map_or(0, Vec::len);
                self.changed.notify_all();
                return listing;
            }
            // The one that is needed is the last, unless somebody reads it.
            shared = match shared.waiting.pop() {
                Some((other, path)) if other == place => {
                    drop(shared);
                    return list(self.tree, &path, self.selection);
                }
                Some((other, path)) => {
                    drop(shared);
                    self.read(other, &path)
                }
                None => self.wait(shared),
            };
        }
    }

    /// Lets the threads go.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }
}

/// Ends the help however the walk ends.
pub(super) struct Ended<'a, 'b>(pub(super) &'a Listings<'b>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
