//! A store: the directory of everything that a controller keeps, and the claim that there is one controller for it.
//!
//! | path | what |
//! |---|---|
//! | `series/` | one database, with the controller's own events and counters among its series |
//! | `disks/` | member images, `*.img`, each of which says itself what it belongs to |
//! | `tapes/` | tape images |
//! | `state/` | settings, spare pool, sockets; for its owner only |
//!
//! Nothing that an array needs is in `state`: images that are copied to another store are the same arrays there.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::error::{Error, Kind, Result};
use crate::{
    series::{Database, OpenOptions},
    storage::{Directory, HostDirectory},
};

/// Directories of a store beside its state.
const DIRECTORIES: [&str; 2] = ["disks", "tapes"];
/// File whose lock is the controller's.
const LOCK: &str = "controller.lock";

/// The directory of a controller.
#[derive(Clone)]
pub struct Store {
    root: PathBuf,
    state: Arc<dyn Directory>,
}

/// The right to be the controller of a store, until it is dropped.
pub struct Tenure {
    _lock: Box<dyn Send + Sync>,
}

impl Store {
    /// Makes a store; the directory may be there already if it is empty.
    ///
    /// # Errors
    /// [`Kind::Exists`] where something is there, or a directory cannot be made.
    pub fn create(root: &Path) -> Result<Self> {
        match fs::create_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !root.is_dir() || fs::read_dir(root).map_err(Error::host(root))?.next().is_some() {
                    let message = format!("{} already exists and is no empty directory", root.display());
                    return Err(Error::refused(Kind::Exists, message, "another place for the store"));
                }
            }
            made => made.map_err(Error::host(root))?,
        }
        for name in DIRECTORIES {
            let path = root.join(name);
            fs::create_dir(&path).map_err(Error::host(&path))?;
        }
        let state = root.join("state");
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&state).map_err(Error::host(&state))?;
        Database::create(&root.join("series"), OpenOptions::read_write())?.close()?;
        Self::open(root)
    }

    /// A store that exists.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where the directory is no store.
    pub fn open(root: &Path) -> Result<Self> {
        let root = fs::canonicalize(root).map_err(Error::host(root))?;
        let state = root.join("state");
        if !(root.join("disks").is_dir() && state.is_dir()) {
            let message = format!("{} is no store: it has no directories disks and state", root.display());
            let remedy = format!("'headstack init {}', which makes one", root.display());
            return Err(Error::refused(Kind::NotFound, message, remedy));
        }
        let state: Arc<dyn Directory> = Arc::new(HostDirectory::open(&state).map_err(Error::host(&state))?);
        Ok(Self { root, state })
    }

    /// The store that a path is a part of: itself, or the one of the directory `disks` that an image stands in.
    pub fn around(image: &Path) -> Option<Self> {
        Self::of_images(fs::canonicalize(image).ok()?.parent()?)
    }

    /// The store whose images stand in a directory.
    pub fn of_images(directory: &Path) -> Option<Self> {
        let disks = Some(directory).filter(|directory| directory.ends_with("disks"))?;
        Self::open(disks.parent()?).ok()
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its database.
    pub fn series(&self) -> PathBuf {
        self.root.join("series")
    }

    /// The directory of its images.
    pub fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    /// The directory of its tapes.
    pub fn tapes(&self) -> PathBuf {
        self.root.join("tapes")
    }

    /// The directory of its settings.
    pub fn state(&self) -> &Arc<dyn Directory> {
        &self.state
    }

    /// Where its arrays are served.
    pub fn socket(&self) -> PathBuf {
        self.root.join("state/nbd.sock")
    }

    /// Becomes the controller of the store, of which there is one at a time.
    ///
    /// # Errors
    /// [`Kind::Busy`] where there is one already.
    pub fn take(&self) -> Result<Tenure> {
        let holder = format!("headstack serve, pid {}", std::process::id());
        let lock = self.state.lock(Path::new(LOCK), &holder).map_err(|source| {
            if source.kind() != io::ErrorKind::WouldBlock {
                return Error::host(self.root.join("state").join(LOCK))(source);
            }
            let who = self.state.read(Path::new(LOCK), 4096).unwrap_or_default();
            let who = String::from_utf8_lossy(&who).trim().to_owned();
            let message = format!("{}: another controller has the store: {who}", self.root.display());
            Error::refused(
                Kind::Busy,
                message,
                "'headstack status' for what it says, or end it first",
            )
        })?;
        let state = self.root.join("state");
        // A store of an earlier version, or a copy, may have been made with a wider mode.
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).map_err(Error::host(&state))?;
        Ok(Tenure { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_controller_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("store");
        let store = Store::create(&root).unwrap();
        let mode = fs::metadata(root.join("state")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let tenure = store.take().unwrap();
        let refused = Store::open(&root).unwrap().take().err().unwrap();
        assert_eq!(refused.judge().0, Kind::Busy, "{refused}");
        drop(tenure);
        store.take().unwrap();
    }

    #[test]
    fn only_stores_are_opened_and_nothing_is_made_over() {
        let place = tempfile::tempdir().unwrap();
        let kind = |result: Result<Store>| result.err().unwrap().judge().0;
        assert_eq!(kind(Store::open(place.path())), Kind::NotFound);
        fs::write(place.path().join("file"), b"mine").unwrap();
        assert_eq!(kind(Store::create(place.path())), Kind::Exists);
        let store = Store::create(&place.path().join("s")).unwrap();
        fs::write(store.disks().join("a.img"), b"").unwrap();
        assert_eq!(
            Store::around(&store.disks().join("a.img")).unwrap().root(),
            store.root()
        );
        assert!(Store::around(&place.path().join("file")).is_none());
    }
}
