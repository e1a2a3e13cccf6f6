//! Directories as the walk takes them: names and facts of what is in them, in order.
//!
//! They are read by several threads [ahead](crate::dump::ahead) of the walk; what is read ahead is bounded by its names.

use std::{
    ffi::CStr,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, RawDir},
    io::Errno,
};

use crate::dump::{
    ahead::Ahead,
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
    /// One name, as a file system may tell it.
    #[cfg(test)]
    pub(super) fn of_one(name: &[u8], status: Status) -> Self {
        let end = name.len();
        Self {
            text: [name, b"\0"].concat(),
            found: vec![(Name { start: 0, end }, Ok(status))],
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Each with the facts, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Result<Status, Errno>)> {
        self.found.iter().map(|(name, status)| (name.of(&self.text), status))
    }
}

/// Directories on their way to the walk.
pub(super) type Listings<'a> = Ahead<'a, PathBuf, Listing>;

/// Lets the directories of a tree be read ahead.
pub(super) fn listings<'a>(tree: &'a Tree, selection: &'a Selection) -> Listings<'a> {
    let weigh = |listing: &Listing| listing.as_ref().map_or(0, |names| names.found.len());
    Ahead::new(move |path: &PathBuf| list(tree, path, selection), weigh, AHEAD_NAMES)
}

/// Reads a directory; what is removed meanwhile and what is left out by its name is not in it.
fn list(tree: &Tree, path: &Path, selection: &Selection) -> Listing {
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
