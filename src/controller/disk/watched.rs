//! The directory of a store's images as the array engine sees it: each request is counted and meets the disk's faults.
//!
//! Files that belong to no disk go straight through. A disk without faults costs a request one look at a flag and two
//! additions.

use std::{
    io,
    os::fd::BorrowedFd,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use super::{Disk, Table, faults::Write, unplugged};
use crate::storage::{Access, Directory, Mapping, Span, Stat, Storage, through::Through};

/// The directory.
pub(super) struct Watched {
    files: Arc<dyn Directory>,
    disks: Arc<Table>,
}

impl Watched {
    pub(super) fn new(files: Arc<dyn Directory>, disks: Arc<Table>) -> Self {
        Self { files, disks }
    }
}

impl Through for Watched {
    fn files(&self) -> &Arc<dyn Directory> {
        &self.files
    }

    fn wrap(&self, path: &Path, file: Arc<dyn Storage>) -> Arc<dyn Storage> {
        match self.disks.of(path) {
            Some(disk) => Arc::new(WatchedFile { disk, file }),
            None => file,
        }
    }

    /// Its disk has to be plugged in.
    fn admit(&self, path: &Path) -> io::Result<()> {
        match self.disks.of(path) {
            Some(disk) if disk.is_pulled() => Err(unplugged()),
            _ => Ok(()),
        }
    }
}

/// A file of a disk.
struct WatchedFile {
    disk: Arc<Disk>,
    file: Arc<dyn Storage>,
}

impl WatchedFile {
    /// Lets a request begin; says whether it has to ask the faults.
    fn begin(&self) -> io::Result<bool> {
        self.disk.clock.fetch_add(1, Ordering::Relaxed);
        if self.disk.is_pulled() {
            return Err(unplugged());
        }
        Ok(self.disk.armed.load(Ordering::Acquire))
    }

    fn read(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        if self.begin()? {
            self.disk.faults.read(offset_bytes, buffer.len() as u64)?;
        }
        self.file.read_at(buffer, offset_bytes)
    }

    fn write(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        if self.begin()?
            && let Write::Torn(stored) = self.disk.faults.write(bytes, offset_bytes)?
        {
            self.file.write_all_at(&bytes[..stored], offset_bytes)?;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.file.write_all_at(bytes, offset_bytes)
    }

    fn flush(&self) -> io::Result<()> {
        if self.begin()? && !self.disk.faults.flush()? {
            return Ok(());
        }
        self.file.sync()
    }
}

impl Storage for WatchedFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.begin()?;
        self.file.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let read = self.read(buffer, offset_bytes);
        self.disk.counters.read(read.as_ref().ok().copied());
        read
    }

    /// With faults nothing is at hand: the request is then made as one that may wait.
    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        if self.begin()? {
            return Ok(false);
        }
        let read = self.file.read_cached_at(buffer, offset_bytes)?;
        if read {
            self.disk.counters.read(Some(buffer.len()));
        }
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let written = self.write(bytes, offset_bytes);
        self.disk.counters.write(written.as_ref().ok().map(|()| bytes.len()));
        written
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.begin()?;
        self.file.set_size(size_bytes)
    }

    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.begin()?;
        self.file.reserve(offset_bytes, length_bytes)
    }

    /// With faults nothing is punched: whoever asks writes zeros then, which meet them.
    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if self.begin()? {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        self.file.punch(offset_bytes, length_bytes)
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        self.begin()?;
        self.file.span_at(offset_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let flushed = self.flush();
        self.disk.counters.flush(flushed.is_ok());
        flushed
    }

    /// There is none: what is done through a mapping could be neither counted nor refused.
    fn map(&self, _length_bytes: usize, _access: Access) -> io::Result<Mapping> {
        Err(io::Error::from_raw_os_error(libc::ENOMEM))
    }

    fn stat(&self) -> io::Result<Stat> {
        self.begin()?;
        self.file.stat()
    }

    fn claim(&self, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()> {
        self.file.claim(offset_bytes, length_bytes, access)
    }

    fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    /// There is none, for the same reason.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_goes_with_the_image() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.img"), [0; 4096]).unwrap();
        std::fs::write(place.path().join("a.img.journal"), [0; 4096]).unwrap();
        std::fs::write(place.path().join("other"), b"x").unwrap();
        let disks = super::super::Disks::new(place.path()).unwrap();
        disks.rescan().unwrap();
        let disk = disks.named("a.img").unwrap();
        let directory = disks.image(&disk).directory;
        let journal = directory.open(Path::new("a.img.journal"), Access::ReadWrite).unwrap();
        disk.pull();
        for path in ["a.img", "a.img.journal"].map(Path::new) {
            let refused = directory.open(path, Access::Read).err().unwrap();
            assert_eq!(refused.raw_os_error(), Some(libc::ENODEV));
        }
        assert_eq!(journal.sync().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        directory.open(Path::new("other"), Access::Read).unwrap();
        disk.insert();
        journal.sync().unwrap();
    }
}
