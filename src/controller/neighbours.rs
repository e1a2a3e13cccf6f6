//! The controllers of this machine that have a console, for the list at the top left of every page.
//!
//! Each leaves a note in a directory of its user's while it runs: the store, the console's address, and its process. A note
//! that a killed controller left is passed over, as that process is gone, and is written anew when the store is served again.
//! Where there is no such directory, or it is another user's, a controller knows only itself.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, geteuid, getpid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::storage::{Directory as _, HostDirectory};

/// Notes that are read at most.
const NOTES_MAX: usize = 64;
/// Longest note.
const NOTE_MAX_BYTES: u64 = 8 << 10;

/// A controller with a console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its store.
    pub store: PathBuf,
    /// Where its console is.
    pub url: String,
    /// Its process.
    pub pid: i32,
}

/// A note that is there until this is dropped.
#[derive(Debug)]
pub struct Note {
    directory: HostDirectory,
    name: PathBuf,
}

impl Note {
    /// Leaves a note of a store and the address of its console.
    ///
    /// # Errors
    /// The directory cannot be had, or is not this user's alone.
    pub fn leave(store: &Store, url: &str) -> io::Result<Self> {
        let neighbour = Neighbour {
            store: store.root().to_path_buf(),
            url: url.to_owned(),
            pid: getpid().as_raw_pid(),
        };
        let path = place().ok_or_else(|| io::Error::other("the user has no directory for what runs"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        check(&path)?;
        let directory = HostDirectory::open(&path)?;
        // One of each store, which has one controller.
        let hash = crc32fast::hash(neighbour.store.as_os_str().as_encoded_bytes());
        let name = PathBuf::from(format!("{hash:08x}.json"));
        directory.replace(&name, &serde_json::to_vec(&neighbour)?)?;
        Ok(Self { directory, name })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Err(error) = self.directory.remove(&self.name) {
            log::debug!("{}: {error}", self.directory.path().join(&self.name).display());
        }
    }
}

/// The controllers that run, by their stores.
pub fn all() -> Vec<Neighbour> {
    let Some(path) = place().filter(|path| check(path).is_ok()) else {
        return Vec::new();
    };
    let Ok(directory) = HostDirectory::open(&path) else {
        return Vec::new();
    };
    let notes = directory.list(Path::new("")).unwrap_or_default();
    let notes = notes
        .into_iter()
        .filter(|note| note.name.ends_with(".json"))
        .take(NOTES_MAX);
    let mut all: Vec<Neighbour> = notes
        .filter_map(|note| directory.read(Path::new(&note.name), NOTE_MAX_BYTES).ok())
        .filter_map(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(runs)
        .collect();
    all.sort_by(|one, other| one.store.cmp(&other.store));
    all
}

/// True where the process of a note is there, and its address is one that a page may link to.
fn runs(neighbour: &Neighbour) -> bool {
    let is_page = neighbour.url.starts_with("http://") || neighbour.url.starts_with("https://");
    is_page && Pid::from_raw(neighbour.pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// The directory of the notes.
fn place() -> Option<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|path| path.is_absolute());
    let root = || geteuid().is_root().then(|| PathBuf::from("/run"));
    Some(own.or_else(root)?.join("headstack"))
}

/// Refuses a directory that others can write to.
fn check(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let own = found.is_dir() && found.uid() == geteuid().as_raw() && found.permissions().mode() & 0o022 == 0;
    match own {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} is not this user's alone", path.display()))),
    }
}
