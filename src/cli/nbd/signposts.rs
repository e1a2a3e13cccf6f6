//! Links by which a server is found from the images of its arrays: at the place where each array's control socket is by
//! default one stands that leads to the server's own, wherever it listens.
//!
//! They go with the server. One that a killed server left leads nowhere, which is as if there were none, and the next
//! server puts its own in its place.

use std::{
    fs, io,
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf, absolute},
};

use super::default_socket;
use crate::{controller::socket::path_of, raid::discover::ArraySet};

/// Links that stand until this is dropped.
pub struct Signposts {
    target: PathBuf,
    links: Vec<PathBuf>,
}

impl Signposts {
    /// Puts up those that lead from the arrays to a control socket; where a link cannot be made `--socket` finds the server.
    pub fn set(control: &Path, sets: &[ArraySet]) -> io::Result<Self> {
        let target = absolute(control)?;
        let places = sets
            .iter()
            .filter_map(|set| Some(path_of(&default_socket(&set.members.first()?.image.path(), &set.name))));
        let mut links: Vec<PathBuf> = Vec::new();
        for place in places.filter(|place| *place != target) {
            if links.contains(&place) || fs::canonicalize(&place).is_ok_and(|there| there == target) {
                continue;
            }
            match put(&place, &target) {
                Ok(()) => links.push(place),
                Err(error) => log::warn!("{}: no link to the control socket: {error}", place.display()),
            }
        }
        Ok(Self { target, links })
    }
}

impl Drop for Signposts {
    fn drop(&mut self) {
        for link in &self.links {
            if fs::read_link(link).is_ok_and(|target| target == self.target)
                && let Err(error) = fs::remove_file(link)
            {
                log::warn!("{}: not removed: {error}", link.display());
            }
        }
    }
}

/// Makes a link where none is, or one that leads nowhere.
fn put(place: &Path, target: &Path) -> io::Result<()> {
    if fs::symlink_metadata(place).is_ok_and(|file| file.file_type().is_symlink())
        && UnixStream::connect(place).is_err()
    {
        fs::remove_file(place)?;
    }
    symlink(target, place)
}
