//! An open file of the host.
//!
//! It stands behind [`super::HostDirectory`]: everything an engine does with an open file ends here in a call of the host.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt as _,
    },
    sync::OnceLock,
    time::SystemTime,
};

use rustix::{
    fs::{self, FallocateFlags},
    io::{Errno, ReadWriteFlags, preadv2, retry_on_intr as retry},
};

use super::{claim::claim, stat_of};
use crate::storage::{Access, Mapping, Span, Stat, Storage};

/// Bytes of zeros written at once where the file system cannot reserve.
const ZEROS_BYTES: usize = 64 * 1024;

/// A file of the host.
#[derive(Debug)]
pub(super) struct HostFile {
    pub file: File,
    pub can_reserve: bool,
    /// Whether its file system has no disk behind it, once that was asked.
    pub in_memory: OnceLock<bool>,
}

/// Magic number of tmpfs, from statfs(2).
const TMPFS_MAGIC: u64 = 0x0102_1994;

impl HostFile {
    /// True on tmpfs, which knows no reads that do not wait, and need not.
    fn is_in_memory(&self) -> bool {
        let ask = || fs::fstatfs(&self.file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS_MAGIC));
        *self.in_memory.get_or_init(ask)
    }

    /// Reserves by writing zeros where no byte is yet: past the end, up to the end of what is asked for. Holes inside
    /// the file are filled as well, found by SEEK_HOLE; a file system without it has none to find.
    fn fill_with_zeros(&self, offset_bytes: u64, end_bytes: u64) -> io::Result<()> {
        // The seeks move the position of the descriptor, which nothing here uses.
        let mut position = offset_bytes;
        while position < end_bytes {
            let hole = self.next_hole(position)?.min(end_bytes);
            let data = self.next_data(hole)?.unwrap_or(end_bytes).min(end_bytes);
            let mut at = hole;
            while at < data {
                let step = usize::try_from(data - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
                self.file.write_all_at(&[0; ZEROS_BYTES][..step], at)?;
                at += step as u64;
            }
            position = data;
        }
        Ok(())
    }

    /// Start of the first hole at or after an offset; past the end everything is one.
    fn next_hole(&self, offset_bytes: u64) -> io::Result<u64> {
        match fs::seek(&self.file, fs::SeekFrom::Hole(offset_bytes)) {
            Err(Errno::NXIO) => Ok(offset_bytes),
            Err(Errno::INVAL) => Ok(offset_bytes.max(self.file.metadata()?.len())),
            found => Ok(found?),
        }
    }

    /// Start of the first data at or after an offset; none where there is only a hole left.
    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        match fs::seek(&self.file, fs::SeekFrom::Data(offset_bytes)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NXIO | Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Storage for HostFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset_bytes + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        let wanted = buffer.len();
        if self.is_in_memory() {
            return Ok(self.read_at(buffer, offset_bytes)? == wanted);
        }
        let mut parts = [IoSliceMut::new(buffer)];
        match retry(|| preadv2(&self.file, &mut parts, offset_bytes, ReadWriteFlags::NOWAIT)) {
            // A part may be all that memory holds.
            Ok(count) => Ok(count == wanted),
            // Some file systems never answer without waiting.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset_bytes)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if length_bytes == 0 {
            return Ok(());
        }
        if self.can_reserve {
            let flags = FallocateFlags::KEEP_SIZE;
            match retry(|| fs::fallocate(&self.file, flags, offset_bytes, length_bytes)) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                reserved => return Ok(reserved?),
            }
        }
        let end_bytes = offset_bytes.checked_add(length_bytes).ok_or(Errno::FBIG)?;
        self.fill_with_zeros(offset_bytes, end_bytes)
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if length_bytes == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(retry(|| fs::fallocate(&self.file, flags, offset_bytes, length_bytes))?)
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        let size_bytes = self.file.metadata()?.len();
        if offset_bytes >= size_bytes {
            return Ok(None);
        }
        let hole_bytes = self.next_hole(offset_bytes)?.min(size_bytes);
        Ok(Some(if hole_bytes > offset_bytes {
            let (hole, end_bytes) = (false, hole_bytes);
            Span { hole, end_bytes }
        } else {
            let end_bytes = self.next_data(offset_bytes)?.unwrap_or(size_bytes).min(size_bytes);
            Span { hole: true, end_bytes }
        }))
    }

    fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        let end_bytes = match fs::seek(&self.file, fs::SeekFrom::Data(offset_bytes)) {
            Ok(data_bytes) => data_bytes,
            // Behind the last data there is a hole up to the end, and nothing behind that.
            Err(Errno::NXIO) => self.file.metadata()?.len(),
            Err(Errno::INVAL) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        Ok(end_bytes > offset_bytes && end_bytes >= offset_bytes.saturating_add(length_bytes))
    }

    fn never_waits(&self) -> bool {
        self.is_in_memory()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(retry(|| fs::fdatasync(&self.file))?)
    }

    fn map(&self, length_bytes: usize, access: Access) -> io::Result<Mapping> {
        Mapping::new(&self.file, length_bytes, access)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&fs::fstat(&self.file)?))
    }

    fn claim(&self, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()> {
        claim(&self.file, offset_bytes, length_bytes, access)
    }

    fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}
