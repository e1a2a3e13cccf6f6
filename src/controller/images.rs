//! The arrays of a store as image objects of dumps, and back.
//!
//! Where the controller runs, a dump reads a moment of an array through it while clients go on, and a restore gets the
//! array for itself; where not, the array is started by whoever dumps or restores. An array that cannot be read is left to
//! the next dump, and the controller tells so as an event. An overlay beside the disks is a clone of its array, and an array
//! of its own on the tape.

mod clones;
mod dumped;
mod restored;

use std::{os::unix::net::UnixStream, path::PathBuf};

pub use dumped::{images_of, looked_at};
pub use restored::{is_part, taker};

use serde_json::{Map, Value};

use super::{
    client,
    error::{Error, Result},
    interface::{Ask, StoreAsk},
    socket,
    store::Store,
};
use crate::{
    dump::images::{ENDING, path_of},
    nbd::watch_starts,
    raid::{
        assemble::Image,
        discover::{ArraySet, Discovery, discover},
    },
};

/// The path of an array on a tape, from the root of its store.
#[must_use]
pub fn path_on_tape(array: &str) -> PathBuf {
    path_of(&format!("{array}{ENDING}"))
}

/// Paths on a tape that a restore into a store writes over: those of the arrays that it has.
///
/// # Errors
/// The disks of the store cannot be read.
pub fn paths_in(store: &Store) -> Result<Vec<PathBuf>> {
    let path = |set: &ArraySet| path_on_tape(&set.name);
    Ok(found_in(store)?.arrays.iter().map(path).collect())
}

/// A connection to the controller of a store; none where it does not run.
fn controller(store: &Store) -> Option<UnixStream> {
    client::connect(&socket::path_of(&store.socket()))
}

/// Asks the controller of a store; none where it does not run.
fn ask(store: &Store, ask: StoreAsk) -> Option<Result<Map<String, Value>>> {
    Some(client::ask(controller(store)?, Ask::Store(ask), &mut |_| Ok(())))
}

/// What the images of a store hold.
fn found_in(store: &Store) -> Result<Discovery> {
    watch_starts();
    let disks = store.disks();
    let mut images = Vec::new();
    for entry in std::fs::read_dir(&disks).map_err(Error::host(&disks))? {
        let path = entry.map_err(Error::host(&disks))?.path();
        let regular = std::fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_file());
        if regular && path.extension().is_some_and(|ending| ending == "img") {
            images.push(Image::at(&path).map_err(Error::host(&path))?);
        }
    }
    images.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(discover(&images))
}
