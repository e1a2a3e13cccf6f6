//! One open member of an array: its file, where its data stand in it, and how far they can be trusted.
//!
//! While an array moves its data on a member may begin at two places; there are two [`Member`]s of the same device then,
//! which share all but the place of the data and how far they are right ([`Member::moved`], [`Member::is`]).
//!
//! Offsets are in bytes of the member's data area unless a method says *raw*; what lies outside the area is refused here,
//! whatever a superblock claims. It knows nothing of other members and never decides what an error means for the array.

mod flaws;
mod flushes;

use std::{
    io,
    num::NonZeroU64,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use rustix::{io::Errno, pipe::SpliceFlags};

use super::journal::Sidecar;
use crate::storage::{Span, Storage};

/// A position that stands for "all of it".
pub const WHOLE: u64 = u64::MAX;

/// An open member.
pub struct Member {
    device: Arc<Device>,
    data_offset_bytes: u64,
    data_bytes: u64,
    /// How far its data are right; see [`Member::recovered`].
    recovered: AtomicU64,
    /// How far that is durable, to be said in its superblock.
    checkpoint: AtomicU64,
}

/// What does not depend on where the data begin.
struct Device {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    /// Where the device of the member begins in the file: not 0 for a partition.
    device_start_bytes: u64,
    device_bytes: u64,
    bitmap_bytes: Option<u64>,
    sidecar: Option<Sidecar>,
    flaws: flaws::Flaws,
    flushes: flushes::Flushes,
    read_errors: AtomicU64,
    corrected: AtomicU32,
    refuses_holes: AtomicBool,
    suspect: AtomicBool,
    delta: AtomicBool,
}

/// Where a member stands in its file.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// First byte of the member's device in the file.
    pub device_start_bytes: u64,
    /// Length of the device.
    pub device_bytes: u64,
    /// First byte of the data, from the start of the device.
    pub data_offset_bytes: u64,
    /// Length of the data.
    pub data_bytes: u64,
    /// First byte of the bitmap, from the start of the device; none where there is no bitmap.
    pub bitmap_bytes: Option<u64>,
}

impl Member {
    /// A member of which all data are right.
    pub fn new(path: &Path, storage: Arc<dyn Storage>, place: Place, sidecar: Option<Sidecar>) -> Self {
        let device = Device {
            path: path.to_path_buf(),
            storage,
            device_start_bytes: place.device_start_bytes,
            device_bytes: place.device_bytes,
            bitmap_bytes: place.bitmap_bytes,
            sidecar,
            flaws: flaws::Flaws::default(),
            flushes: flushes::Flushes::default(),
            read_errors: AtomicU64::new(0),
            corrected: AtomicU32::new(0),
            refuses_holes: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            delta: AtomicBool::new(false),
        };
        Self::of(Arc::new(device), place.data_offset_bytes, place.data_bytes)
    }

    fn of(device: Arc<Device>, data_offset_bytes: u64, data_bytes: u64) -> Self {
        Self {
            device,
            data_offset_bytes,
            data_bytes,
            recovered: AtomicU64::new(WHOLE),
            checkpoint: AtomicU64::new(WHOLE),
        }
    }

    /// The same device with its data in another place, all of them right.
    #[must_use]
    pub fn moved(&self, data_offset_bytes: u64, data_bytes: u64) -> Self {
        Self::of(Arc::clone(&self.device), data_offset_bytes, data_bytes)
    }

    /// True where both are the same device, wherever their data begin.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.device, &other.device)
    }

    /// First byte of its data, from the start of the device.
    pub fn data_offset_bytes(&self) -> u64 {
        self.data_offset_bytes
    }

    /// Where a range of the device is in the data area; none where it is not inside.
    pub fn offset_of(&self, device_offset_bytes: u64, length_bytes: u64) -> Option<u64> {
        let offset = device_offset_bytes.checked_sub(self.data_offset_bytes)?;
        let end = offset.checked_add(length_bytes)?;
        (end <= self.data_bytes).then_some(offset)
    }

    /// Length of the device.
    pub fn device_bytes(&self) -> u64 {
        self.device.device_bytes
    }

    /// Length that the device has by now, which may be more than when it was opened.
    ///
    /// # Errors
    /// What the host says.
    pub fn current_bytes(&self) -> io::Result<u64> {
        let size = self.device.storage.size_bytes()?;
        Ok(size.saturating_sub(self.device.device_start_bytes))
    }

    /// The place for its part of a stripe journal.
    pub fn sidecar(&self) -> Option<&Sidecar> {
        self.device.sidecar.as_ref()
    }

    /// Path of its file, for messages.
    pub fn path(&self) -> &Path {
        &self.device.path
    }

    /// Length of the data area in bytes.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Where its bitmap begins, in bytes from the start of the device; none where there is none.
    pub fn bitmap_bytes(&self) -> Option<u64> {
        self.device.bitmap_bytes
    }

    /// First byte of the data area that is not right yet: [`WHOLE`] for a member in sync.
    pub fn recovered(&self) -> u64 {
        self.recovered.load(Ordering::Acquire)
    }

    /// Moves the first byte of the data area that is not right yet.
    pub fn set_recovered(&self, offset_bytes: u64) {
        self.recovered.store(offset_bytes, Ordering::Release);
    }

    /// First byte of the data area that a crash may leave wrong: never behind [`Member::recovered`].
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    /// Notes that everything before is durable.
    pub fn set_checkpoint(&self, offset_bytes: u64) {
        self.checkpoint.store(offset_bytes, Ordering::Release);
    }

    /// True where all of a range of the data area is right.
    pub fn holds(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        offset_bytes.saturating_add(length_bytes) <= self.recovered()
    }

    /// Fills the buffer from the data area.
    ///
    /// # Errors
    /// What the host says; `EIO` where the file ends early.
    pub fn read(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let at = self.raw(offset_bytes, buffer.len() as u64)?;
        if self.is_flawed(offset_bytes, buffer.len() as u64) {
            return Err(Errno::IO.into());
        }
        self.read_file(buffer, at)
    }

    /// Fills the buffer if memory holds all of it.
    ///
    /// # Errors
    /// As [`Member::read`].
    pub fn read_cached(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        let at = self.raw(offset_bytes, buffer.len() as u64)?;
        if self.is_flawed(offset_bytes, buffer.len() as u64) {
            return Ok(false);
        }
        self.device.storage.read_cached_at(buffer, at)
    }

    /// True where its device is memory, for which nobody ever waits.
    pub fn never_waits(&self) -> bool {
        self.device.storage.never_waits()
    }

    /// Puts a part of the data area into a pipe, as pages of the host's cache; `false`, and what the pipe holds is lost,
    /// where the device cannot do that or the pipe is too small.
    ///
    /// # Errors
    /// As [`Member::read`].
    pub fn splice(&self, pipe: BorrowedFd<'_>, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        let mut at = self.raw(offset_bytes, length_bytes)?;
        let Some(file) = self.device.storage.as_fd() else {
            return Ok(false);
        };
        if self.is_flawed(offset_bytes, length_bytes) {
            return Ok(false);
        }
        let end = at + length_bytes;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            // A full pipe must not be waited for: nobody empties it meanwhile. The host moves the offset on.
            match rustix::pipe::splice(file, Some(&mut at), pipe, None, left, SpliceFlags::NONBLOCK) {
                Ok(0) | Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    /// Writes to the data area.
    ///
    /// # Errors
    /// What the host says.
    pub fn write(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let at = self.raw(offset_bytes, bytes.len() as u64)?;
        self.device.storage.write_all_at(bytes, at)?;
        self.made_good(offset_bytes, bytes.len() as u64)
    }

    /// Takes away the flaws that were just written over.
    fn made_good(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if self.has_flaws() {
            self.clear_flaws(offset_bytes, length_bytes)
        } else {
            Ok(())
        }
    }

    /// Reserves space for a part of the data area, which reads as before.
    ///
    /// # Errors
    /// `ENOSPC` where there is none, and what else the host says.
    pub fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let at = self.raw(offset_bytes, length_bytes)?;
        self.device.storage.reserve(at, length_bytes)
    }

    /// Gives back the space of a part of the data area, which then reads as zeros.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the host cannot; nothing has changed then.
    pub fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let at = self.raw(offset_bytes, length_bytes)?;
        let punched = self.device.storage.punch(at, length_bytes);
        if let Err(error) = &punched
            && error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error())
        {
            self.device.refuses_holes.store(true, Ordering::Relaxed);
        }
        punched.and_then(|()| self.made_good(offset_bytes, length_bytes))
    }

    /// False once the host has refused to make a hole.
    pub fn can_punch(&self) -> bool {
        !self.device.refuses_holes.load(Ordering::Relaxed)
    }

    /// Asks the host to read a part of the data area ahead.
    ///
    /// # Errors
    /// What the host says.
    pub fn advise(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let at = self.raw(offset_bytes, length_bytes)?;
        let (Some(file), Some(length)) = (self.device.storage.as_fd(), NonZeroU64::new(length_bytes)) else {
            return Ok(());
        };
        Ok(rustix::fs::fadvise(
            file,
            at,
            Some(length),
            rustix::fs::Advice::WillNeed,
        )?)
    }

    /// What stands at an offset of the data area; its end is one too, and never behind that of the area. Behind the
    /// file's end nothing is known, which counts as data.
    ///
    /// # Errors
    /// What the host says.
    pub fn span(&self, offset_bytes: u64) -> io::Result<Span> {
        let at = self.raw(offset_bytes, 0)?;
        let start = at - offset_bytes;
        let span = self.device.storage.span_at(at)?;
        Ok(span.map_or(
            Span {
                hole: false,
                end_bytes: self.data_bytes,
            },
            |span| Span {
                end_bytes: (span.end_bytes - start).min(self.data_bytes),
                ..span
            },
        ))
    }

    /// True where the host says that all of a range of the data area is a hole, so that it reads as zeros for sure.
    pub fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let hole = self
            .raw(offset_bytes, length_bytes)
            .and_then(|at| self.device.storage.is_hole(at, length_bytes));
        hole.unwrap_or(false)
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// What the host says; once it has said so, for ever, because nobody can say what is lost.
    pub fn flush(&self) -> io::Result<()> {
        self.device.flushes.flush(|| self.device.storage.sync())
    }

    /// Reads outside the data: raw offsets are bytes from the start of the device.
    ///
    /// # Errors
    /// `EINVAL` where the device has no such place, and what the host says.
    pub fn read_raw(&self, buffer: &mut [u8], raw_bytes: u64) -> io::Result<()> {
        let at = self.outside_data(raw_bytes, buffer.len() as u64)?;
        self.read_file(buffer, at)
    }

    /// Writes outside the data: raw offsets are bytes from the start of the device.
    ///
    /// # Errors
    /// `EINVAL` where the device has no such place or data stand there, and what the host says.
    pub fn write_raw(&self, bytes: &[u8], raw_bytes: u64) -> io::Result<()> {
        let at = self.outside_data(raw_bytes, bytes.len() as u64)?;
        self.device.storage.write_all_at(bytes, at)
    }

    /// True where the member was one before, so that only what the bitmap names has to be rebuilt.
    pub fn is_delta(&self) -> bool {
        self.device.delta.load(Ordering::Acquire)
    }

    /// Notes whether the bitmap says what is to be rebuilt.
    pub fn set_delta(&self, delta: bool) {
        self.device.delta.store(delta, Ordering::Release);
    }

    /// True from a write that failed until the array has decided what becomes of the member.
    pub fn is_suspect(&self) -> bool {
        self.device.suspect.load(Ordering::Acquire)
    }

    /// Notes that a write failed, or that the member stays in use all the same.
    pub fn set_suspect(&self, suspect: bool) {
        self.device.suspect.store(suspect, Ordering::Release);
    }

    /// Notes a read that failed.
    pub fn count_read_error(&self) {
        self.device.read_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a read error that was repaired by writing the right bytes.
    pub fn count_corrected(&self) {
        self.device.corrected.fetch_add(1, Ordering::Relaxed);
    }

    /// Read errors since the array was assembled.
    pub fn read_errors(&self) -> u64 {
        self.device.read_errors.load(Ordering::Relaxed)
    }

    /// How many read errors were repaired since this was last asked.
    pub fn take_corrected(&self) -> u32 {
        self.device.corrected.swap(0, Ordering::Relaxed)
    }

    fn read_file(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let wanted = buffer.len();
        match self.device.storage.read_at(buffer, at)? {
            count if count == wanted => Ok(()),
            // The file was cut short behind our back: the rest is not there, which is not zeros.
            _ => Err(Errno::IO.into()),
        }
    }

    /// Place in the file of a range of the data area.
    fn raw(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<u64> {
        let end = offset_bytes.checked_add(length_bytes);
        if end.is_none_or(|end| end > self.data_bytes) {
            return Err(Errno::INVAL.into());
        }
        Ok(self.device.device_start_bytes + self.data_offset_bytes + offset_bytes)
    }

    /// Place in the file of a range of the device that touches no data.
    fn outside_data(&self, raw_bytes: u64, length_bytes: u64) -> io::Result<u64> {
        let end = raw_bytes
            .checked_add(length_bytes)
            .filter(|end| *end <= self.device.device_bytes);
        let data = self.data_offset_bytes..self.data_offset_bytes + self.data_bytes;
        match end {
            Some(end) if end <= data.start || raw_bytes >= data.end => Ok(self.device.device_start_bytes + raw_bytes),
            _ => Err(Errno::INVAL.into()),
        }
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Member")
            .field("path", &self.device.path)
            .field("recovered", &self.recovered())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::{Directory as _, SimDirectory};

    fn member() -> Member {
        let directory = SimDirectory::new();
        let storage = directory
            .create(Path::new("m"), &mut |file| file.set_size(64 << 10))
            .unwrap();
        let place = Place {
            device_start_bytes: 4096,
            device_bytes: 40 << 10,
            data_offset_bytes: 8192,
            data_bytes: 16 << 10,
            bitmap_bytes: None,
        };
        Member::new(Path::new("m"), storage, place, None)
    }

    #[test]
    fn data_and_metadata_stay_apart() {
        let member = member();
        member.write(&[7; 4096], (16 << 10) - 4096).unwrap();
        assert_eq!(
            member.write(&[7; 2], (16 << 10) - 1).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
        assert!(member.read(&mut [0; 1], u64::MAX).is_err());
        member.write_raw(&[9; 8192], 0).unwrap();
        member.write_raw(&[9; 1], 24 << 10).unwrap();
        assert!(member.write_raw(&[9; 2], 8191).is_err());
        assert!(member.write_raw(&[9; 1], (24 << 10) - 1).is_err());
        assert!(member.write_raw(&[9; 2], (40 << 10) - 1).is_err());
        let mut byte = [0];
        member.read(&mut byte, 0).unwrap();
        assert_eq!(byte, [0]);
        member
            .device
            .storage
            .read_at(&mut byte, 4096 + 8192 + (16 << 10) - 1)
            .unwrap();
        assert_eq!(byte, [7]);
    }

    #[test]
    fn member_that_was_cut_short_gives_an_error_not_zeros() {
        let member = member();
        member.device.storage.set_size(4096 + 8192 + 100).unwrap();
        member.read(&mut [0; 100], 0).unwrap();
        assert_eq!(
            member.read(&mut [0; 101], 0).unwrap_err().raw_os_error(),
            Some(libc::EIO)
        );
    }
}
