//! Directories over another one: what is asked of them goes through to it, and open files are wrapped on their way back.
//!
//! Who has something to say says it in one of the methods of [`Through`]; all of [`Directory`] follows from them.

use std::{io, path::Path, sync::Arc};

use super::{Access, Capacity, Directory, Entry, Fill, Stat, Storage};

/// A directory over another one.
pub trait Through: Send + Sync {
    /// The other one.
    fn files(&self) -> &Arc<dyn Directory>;

    /// What stands for an open file.
    fn wrap(&self, path: &Path, storage: Arc<dyn Storage>) -> Arc<dyn Storage>;

    /// Lets a request for a file through, or does not.
    ///
    /// # Errors
    /// The request's then.
    fn admit(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Opens a file of the other one.
    ///
    /// # Errors
    /// As [`Directory::open`].
    fn open_below(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>> {
        self.files().open(path, access)
    }
}

impl<T: Through> Directory for T {
    fn path(&self) -> &Path {
        self.files().path()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.files().list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.files().create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.files().remove_directory(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>> {
        self.admit(path)?;
        Ok(self.wrap(path, self.open_below(path, access)?))
    }

    fn create(&self, path: &Path, fill: Fill<'_>) -> io::Result<Arc<dyn Storage>> {
        self.admit(path)?;
        Ok(self.wrap(path, self.files().create(path, fill)?))
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.admit(path)?;
        self.files().replace(path, contents)
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        self.admit(path)?;
        self.files().read(path, limit_bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.admit(from)?;
        self.files().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.admit(path)?;
        self.files().remove(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.admit(path)?;
        self.files().stat(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.files().sync_directory(directory)
    }

    fn sweep_staged(&self) -> io::Result<usize> {
        self.files().sweep_staged()
    }

    fn boot(&self) -> [u8; 16] {
        self.files().boot()
    }

    fn capacity(&self) -> io::Result<Capacity> {
        self.files().capacity()
    }

    fn lock(&self, path: &Path, contents: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.files().lock(path, contents)
    }
}
