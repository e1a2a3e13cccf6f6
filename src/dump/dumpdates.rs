//! What is remembered of earlier dumps: for each tree and level the last one, and the numbers of each chain.
//!
//! A text file, `dumpdates.json`, and beside it one file of numbers a chain, which goes when its last dump is forgotten.
//! Both are replaced in one step, the numbers first: a crash between them leaves numbers that nobody uses.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    error::{Error, Result},
    locks::{Held, briefly},
    numbers::Numbers,
};
use crate::storage::Directory;

const FILE: &str = "dumpdates.json";
/// What is remembered is understood up to this epoch; it is raised where an earlier release would build wrong increments.
pub const EPOCH: u32 = 1;
/// Longest file that is read, in bytes; numbers of 100 million objects are shorter.
const LIMIT_BYTES: u64 = 4 << 30;

/// One dump, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The tree, as an absolute path; bytes that are no text are replaced.
    pub path: String,
    /// Level, 0 to 31.
    pub level: u8,
    /// Date on the tape, in seconds since 1970.
    pub date_s: i64,
    /// Date of its base; 0 at level 0.
    #[serde(default)]
    pub base_s: i64,
    /// Changes from this moment on are in no dump yet, in seconds since 1970.
    pub since_s: i64,
    /// Numbers from this one on are of objects that the dump does not know.
    pub next_number: u32,
    /// Identity of the dump, in hexadecimal.
    pub dump: String,
    /// Identity of the level 0 that its chain began with.
    pub chain: String,
    /// What the numbers and dates of its chain mean: [`EPOCH`] of the release that made it.
    #[serde(default = "first_epoch")]
    pub epoch: u32,
    /// True where its tree could only be read.
    #[serde(default)]
    pub read_only: bool,
    /// Numbers of objects that are not on its tape as they should be, which the next increment takes.
    #[serde(default)]
    pub again: BTreeSet<u32>,
}

fn first_epoch() -> u32 {
    1
}

/// The dumps that are remembered in a directory.
pub struct Dumpdates {
    directory: Arc<dyn Directory>,
    remembered: Vec<Remembered>,
}

impl std::fmt::Debug for Dumpdates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dumpdates")
            .field("remembered", &self.remembered)
            .finish_non_exhaustive()
    }
}

impl Dumpdates {
    /// Reads what a directory remembers; nothing where it has no such file.
    ///
    /// # Errors
    /// [`Error::State`] and [`Error::DamagedState`].
    pub fn open(directory: Arc<dyn Directory>) -> Result<Self> {
        let remembered = read(&*directory)?;
        Ok(Self { directory, remembered })
    }

    /// The directory that remembers.
    pub(super) fn directory(&self) -> Arc<dyn Directory> {
        self.directory.clone()
    }

    /// Keeps others from changing the dates, and takes over what they changed since.
    fn refresh(&mut self) -> Result<Held> {
        let lock = briefly(&*self.directory, "dumpdates.lock")?;
        self.remembered = read(&*self.directory)?;
        Ok(lock)
    }

    /// All dumps, in the order of their trees and levels.
    #[must_use]
    pub fn all(&self) -> &[Remembered] {
        &self.remembered
    }

    /// The base of a dump of `level`: the latest of all lower ones.
    #[must_use]
    pub fn base(&self, path: &str, level: u8) -> Option<&Remembered> {
        let lower = self
            .remembered
            .iter()
            .filter(|dump| dump.path == path && dump.level < level);
        lower.max_by_key(|dump| dump.date_s)
    }

    /// Date of the latest dump of a tree, of whatever level.
    #[must_use]
    pub fn latest_s(&self, path: &str) -> Option<i64> {
        let dumps = self.remembered.iter().filter(|dump| dump.path == path);
        dumps.map(|dump| dump.date_s).max()
    }

    /// The numbers of the chain that a dump belongs to.
    ///
    /// # Errors
    /// [`Error::State`] and [`Error::DamagedState`].
    pub fn numbers(&self, dump: &Remembered) -> Result<Numbers> {
        let path = numbers_path(&dump.chain);
        let read = self.directory.read(&path, LIMIT_BYTES);
        let bytes = read.map_err(|source| failed(&*self.directory, &path, source))?;
        Numbers::decode(&bytes).map_err(|reason| Error::DamagedState {
            path: self.directory.path().join(&path),
            reason,
        })
    }

    /// Remembers a dump in place of the one of the same tree and level, durably.
    ///
    /// # Errors
    /// [`Error::State`]: then nothing has changed.
    pub fn remember(&mut self, dump: Remembered, numbers: &Numbers) -> Result<()> {
        let _lock = self.refresh()?;
        let path = numbers_path(&dump.chain);
        let replaced = self.directory.replace(&path, &numbers.encode());
        replaced.map_err(|source| failed(&*self.directory, &path, source))?;
        let mut next = self.remembered.clone();
        next.retain(|other| (&other.path, other.level) != (&dump.path, dump.level));
        next.push(dump);
        next.sort_by(|a, b| (&a.path, a.level).cmp(&(&b.path, b.level)));
        self.store(next)
    }

    /// Forgets the dumps that `unwanted` picks; returns how many.
    ///
    /// # Errors
    /// [`Error::State`]: then nothing has changed.
    pub fn forget(&mut self, unwanted: impl Fn(&Remembered) -> bool) -> Result<usize> {
        let _lock = self.refresh()?;
        let next: Vec<_> = self.remembered.iter().filter(|dump| !unwanted(dump)).cloned().collect();
        let forgotten = self.remembered.len() - next.len();
        if forgotten > 0 {
            self.store(next)?;
        }
        Ok(forgotten)
    }

    fn store(&mut self, next: Vec<Remembered>) -> Result<()> {
        let path = Path::new(FILE);
        let mut text = serde_json::to_vec_pretty(&next).map_err(|error| Error::State {
            path: path.to_path_buf(),
            source: error.into(),
        })?;
        text.push(b'\n');
        let replaced = self.directory.replace(path, &text);
        replaced.map_err(|source| failed(&*self.directory, path, source))?;
        let kept: BTreeSet<&String> = next.iter().map(|dump| &dump.chain).collect();
        let gone = self.remembered.iter().map(|dump| &dump.chain);
        for chain in gone.filter(|chain| !kept.contains(chain)) {
            match self.directory.remove(&numbers_path(chain)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&*self.directory, &numbers_path(chain), error));
                }
                _ => {}
            }
        }
        self.remembered = next;
        Ok(())
    }
}

fn read(directory: &dyn Directory) -> Result<Vec<Remembered>> {
    let path = Path::new(FILE);
    match directory.read(path, LIMIT_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| Error::DamagedState {
            path: directory.path().join(path),
            reason: "it is no list of dumps",
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(failed(directory, path, source)),
    }
}

fn numbers_path(chain: &str) -> PathBuf {
    // A chain is named by what we wrote; a file that was edited cannot lead elsewhere.
    let name: String = chain.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("numbers-{name}").into()
}

fn failed(directory: &dyn Directory, path: &Path, source: io::Error) -> Error {
    Error::State {
        path: directory.path().join(path),
        source,
    }
}

#[cfg(test)]
mod tests;
