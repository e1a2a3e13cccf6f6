//! Directories read ahead of the walk: names and facts of what is in them, by several threads, for the walk to take in its order.
//!
//! A walk costs a system call for each object, so that is what is spread. Who needs a directory that nobody has begun reads it
//! itself; while another thread reads it, it reads the next one. What is read ahead is bounded by its names.

use std::{
    collections::HashMap,
    ffi::CStr,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{OFlags, RawDir},
    io::Errno,
};

use crate::dump::{
    selection::Selection,
    tree::{Status, Tree, status_at},
};

/// Names that are read ahead at most, unless one directory has more.
const AHEAD_NAMES: usize = 1 << 17;
/// Bytes of names that are asked for at a time.
const NAMES_BYTES: usize = 32 << 10;

/// What is in a directory, or why nobody knows.
pub(super) type Listing = Result<Names, Errno>;

/// Names in a directory in order, with the facts about what they stand for.
pub(super) struct Names {
    /// All names, a zero byte behind each.
    text: Vec<u8>,
    found: Vec<(Name, Result<Status, Errno>)>,
}

/// Where a name is, without the zero byte behind it.
#[derive(Clone, Copy)]
struct Name {
    start: usize,
    end: usize,
}

impl Name {
    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start..self.end]
    }
}

impl Names {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Each with the facts, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Result<Status, Errno>)> {
        self.found.iter().map(|(name, status)| (name.of(&self.text), status))
    }
}

/// Reads a directory; what is removed meanwhile and what is left out by its name is not in it.
pub(super) fn list(tree: &Tree, path: &Path, selection: &Selection) -> Listing {
    let directory = tree.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let (text, names) = names_of(&directory, selection)?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let terminated = CStr::from_bytes_with_nul(&text[name.start..=name.end]).map_err(|_| Errno::INVAL)?;
        match status_at(&directory, terminated) {
            Err(Errno::NOENT) => {}
            status => found.push((name, status)),
        }
    }
    Ok(Names { text, found })
}

/// Names in a directory, sorted, so that two walks over the same tree give the same tape.
fn names_of(directory: &rustix::fd::OwnedFd, selection: &Selection) -> Result<(Vec<u8>, Vec<Name>), Errno> {
    let (mut text, mut names) = (Vec::new(), Vec::new());
    let mut buffer = Vec::with_capacity(NAMES_BYTES);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || selection.leaves_out(name.to_bytes()) {
            continue;
        }
        let start = text.len();
        text.extend_from_slice(name.to_bytes_with_nul());
        names.push(Name {
            start,
            end: text.len() - 1,
        });
    }
    names.sort_unstable_by(|one, other| one.of(&text).cmp(other.of(&text)));
    Ok((text, names))
}

/// What threads and the walk share.
#[derive(Default)]
struct Shared {
    /// Directories that nobody reads yet, by their places, the one that is needed first last.
    waiting: Vec<(usize, PathBuf)>,
    ready: HashMap<usize, Listing>,
    /// Names in what is ready.
    names: usize,
    /// Threads that wait for something to read.
    idle: usize,
    /// True while the walk waits for what another thread reads.
    walk_waits: bool,
    /// True once the walk is over.
    over: bool,
}

/// Directories on their way to the walk.
pub(super) struct Listings<'a> {
    tree: &'a Tree,
    selection: &'a Selection,
    shared: Mutex<Shared>,
    /// There is something to read, or the walk is over.
    wanted: Condvar,
    /// Something was read.
    read: Condvar,
}

impl<'a> Listings<'a> {
    /// No directories yet.
    pub(super) fn new(tree: &'a Tree, selection: &'a Selection) -> Self {
        Self {
            tree,
            selection,
            shared: Mutex::default(),
            wanted: Condvar::new(),
            read: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for directories that come next, the first of them before all that were asked for.
    pub(super) fn ask(&self, directories: impl DoubleEndedIterator<Item = (usize, PathBuf)>) {
        let mut shared = self.lock();
        shared.waiting.extend(directories.rev());
        self.call(&shared);
    }

    /// Calls threads that have nothing to do if there is more than the walk is about to read itself: a call that is not
    /// needed costs as much as several objects.
    fn call(&self, shared: &Shared) {
        if shared.idle > 0 && shared.waiting.len() > 1 && shared.names < AHEAD_NAMES {
            self.wanted.notify_all();
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
                None => {
                    shared.idle += 1;
                    let mut shared = self.wanted.wait(shared).unwrap_or_else(PoisonError::into_inner);
                    shared.idle -= 1;
                    shared
                }
            };
        }
    }

    fn read(&self, place: usize, path: &Path) -> MutexGuard<'_, Shared> {
        let listing = list(self.tree, path, self.selection);
        let mut shared = self.lock();
        shared.names += listing.as_ref().map_or(0, Names::len);
        shared.ready.insert(place, listing);
        if shared.walk_waits {
            self.read.notify_one();
        }
        shared
    }

    /// A directory that was asked for.
    pub(super) fn take(&self, place: usize) -> Listing {
        let mut shared = self.lock();
        loop {
            if let Some(listing) = shared.ready.remove(&place) {
                let full = shared.names >= AHEAD_NAMES;
                shared.names -= listing.as_ref().map_or(0, Names::len);
                if full {
                    self.call(&shared);
                }
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
                None => {
                    shared.walk_waits = true;
                    let mut shared = self.read.wait(shared).unwrap_or_else(PoisonError::into_inner);
                    shared.walk_waits = false;
                    shared
                }
            };
        }
    }

    /// Lets the threads go.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.wanted.notify_all();
    }
}

/// Ends the help however the walk ends.
pub(super) struct Ended<'a, 'b>(pub(super) &'a Listings<'b>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
