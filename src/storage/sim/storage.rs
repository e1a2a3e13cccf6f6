//! An open file of simulated storage.
//!
//! The simulated counterpart of the host's open file: the same trait, over bytes in memory.

use std::{
    io,
    os::fd::BorrowedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustix::io::Errno;

use super::{
    Disk,
    contents::{Claim, Contents},
    faults::{Operation, Verb},
    lock,
};
use crate::storage::{Access, Mapping, Span, Stat, Storage};

/// A handle of a file; it lives on when the file has no name any more.
#[derive(Debug)]
pub(super) struct SimFile {
    disk: Arc<Disk>,
    path: PathBuf,
    contents: Arc<Mutex<Contents>>,
    access: Access,
    /// Tells this handle's claims from those of others.
    number: u64,
}

/// Numbers the handles of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Drop for SimFile {
    fn drop(&mut self) {
        lock(&self.contents).release(self.number);
    }
}

impl SimFile {
    pub fn new(disk: Arc<Disk>, path: PathBuf, contents: Arc<Mutex<Contents>>, access: Access) -> Self {
        Self {
            disk,
            path,
            contents,
            access,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn admit(&self, verb: Verb, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.disk
            .faults
            .admit(Operation::on_range(verb, &self.path, offset_bytes, length_bytes))
    }

    /// Refuses to change what was opened for reading, with the errno that the host has for this change.
    fn check_writable(&self, errno: Errno) -> io::Result<()> {
        if self.access == Access::ReadWrite {
            Ok(())
        } else {
            Err(errno.into())
        }
    }

    /// Looks at the file while the disk stands still.
    fn look<T>(&self, look: impl FnOnce(&Contents) -> io::Result<T>) -> io::Result<T> {
        let _state = self.disk.state();
        look(&lock(&self.contents))
    }

    /// Changes the file, given how many blocks are free to it.
    fn change<T>(&self, change: impl FnOnce(&mut Contents, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        let free = state.blocks_free(Some(&self.contents));
        let moment = state.tick();
        let mut contents = lock(&self.contents);
        contents.modified = moment;
        change(&mut contents, free)
    }
}

impl Storage for SimFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.admit(Verb::Size, 0, 0)?;
        self.look(Contents::size_bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        self.admit(Verb::Read, offset_bytes, buffer.len() as u64)?;
        self.look(|contents| contents.read_at(buffer, offset_bytes))
    }

    /// Memory holds everything.
    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        Ok(self.read_at(buffer, offset_bytes)? == buffer.len())
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        self.admit(Verb::Write, offset_bytes, bytes.len() as u64)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.check_writable(Errno::BADF)?;
        self.change(|contents, free| contents.write_all_at(bytes, offset_bytes, free))
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.admit(Verb::SetSize, 0, size_bytes)?;
        self.check_writable(Errno::INVAL)?;
        self.change(|contents, _| contents.set_size(size_bytes))
    }

    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.admit(Verb::Reserve, offset_bytes, length_bytes)?;
        if length_bytes == 0 {
            return Ok(());
        }
        self.check_writable(Errno::BADF)?;
        self.change(|contents, free| contents.reserve(offset_bytes, length_bytes, free))
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.admit(Verb::Punch, offset_bytes, length_bytes)?;
        if length_bytes == 0 {
            return Ok(());
        }
        self.check_writable(Errno::BADF)?;
        self.change(|contents, _| contents.punch(offset_bytes, length_bytes))
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        self.admit(Verb::Span, offset_bytes, 0)?;
        self.look(|contents| contents.span_at(offset_bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.admit(Verb::Sync, 0, 0)?;
        let _state = self.disk.state();
        lock(&self.contents).sync()
    }

    fn map(&self, length_bytes: usize, access: Access) -> io::Result<Mapping> {
        self.admit(Verb::Map, 0, length_bytes as u64)?;
        if access == Access::ReadWrite {
            self.check_writable(Errno::ACCESS)?;
        }
        let _state = self.disk.state();
        lock(&self.contents).map(length_bytes, access)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.admit(Verb::Stat, 0, 0)?;
        self.look(Contents::stat)
    }

    fn claim(&self, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()> {
        self.admit(Verb::Claim, offset_bytes, length_bytes)?;
        if access == Access::ReadWrite {
            self.check_writable(Errno::BADF)?;
        }
        let end_bytes = match length_bytes {
            0 => u64::MAX,
            length => offset_bytes.saturating_add(length),
        };
        let claim = Claim {
            handle: self.number,
            range: offset_bytes..end_bytes,
            alone: access == Access::ReadWrite,
        };
        lock(&self.contents).claim(claim)
    }

    fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.admit(Verb::SetModified, 0, 0)?;
        let _state = self.disk.state();
        lock(&self.contents).modified = modified;
        Ok(())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
