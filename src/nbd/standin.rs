//! An array of one file, which stands in for the array engine until that is merged.
//!
//! It has the methods and errors of the engine that the server uses, and no redundancy. The server names it in one line
//! of `mod.rs`, tests in one function of each fixture.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use rustix::{
    fs::{FallocateFlags, SeekFrom},
    io::{Errno, ReadWriteFlags},
};

/// Failure of an operation on the array.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request reaches past the end.
    #[error("{length_bytes} bytes at {offset_bytes} reach past the end of an array of {size_bytes}")]
    OutOfRange {
        /// Where the request begins.
        offset_bytes: u64,
        /// How long it is.
        length_bytes: u64,
        /// Size of the array.
        size_bytes: u64,
    },
    /// The array takes no writes.
    #[error("array {array} is read-only")]
    ReadOnly {
        /// Name of the array.
        array: String,
    },
    /// A flush failed, now or before: writes that were acknowledged may not be durable.
    #[error("array {array}: writes since the last flush may be lost; assemble it again to go on")]
    FlushLost {
        /// Name of the array.
        array: String,
        /// What the member said when it happened; none when an earlier failure is repeated.
        source: Option<io::Error>,
    },
    /// The range could be zeroed, but not faster than by writing zeros, and the caller wants that only.
    #[error("zeros cannot be made without writing them")]
    NotFast,
    /// A member's file could not be used.
    #[error("{path}: cannot {verb}: {source}", path = path.display())]
    Member {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// What the host said.
        source: io::Error,
    },
}

/// How a range is to be made zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zeroes {
    /// Space may be given back.
    pub may_trim: bool,
    /// Only where that is faster than writing.
    pub fast_only: bool,
    /// Durable before it returns.
    pub fua: bool,
}

/// What a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Stored bytes.
    Data,
    /// Nothing is stored; it reads as zeros.
    Hole,
    /// Space is taken; it reads as zeros.
    Zero,
}

/// A range of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// How far it goes.
    pub length_bytes: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

/// One file as an array.
#[derive(Debug)]
pub struct Array {
    path: PathBuf,
    file: File,
    size_bytes: AtomicU64,
    read_only: bool,
    flush_lost: AtomicBool,
}

impl Array {
    /// Opens a file; its size is the array's.
    ///
    /// # Errors
    /// [`Error::Member`] where it cannot be opened.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, Error> {
        let member = |source| Error::Member {
            path: path.to_owned(),
            verb: "open",
            source,
        };
        let file = File::options()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(member)?;
        let size_bytes = file.metadata().map_err(member)?.len();
        Ok(Self::over(path, file, size_bytes, read_only))
    }

    /// Takes an open file, of which `size_bytes` are the array.
    #[must_use]
    pub fn over(path: &Path, file: File, size_bytes: u64, read_only: bool) -> Self {
        Self {
            path: path.to_owned(),
            file,
            size_bytes: AtomicU64::new(size_bytes),
            read_only,
            flush_lost: AtomicBool::new(false),
        }
    }

    /// Makes the array and its file larger.
    ///
    /// # Errors
    /// [`Error::Member`] where the file cannot grow.
    pub fn grow(&self, size_bytes: u64) -> Result<(), Error> {
        self.file
            .set_len(size_bytes)
            .map_err(|source| self.member("grow", source))?;
        self.size_bytes.store(size_bytes, Ordering::Release);
        Ok(())
    }

    /// Size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    /// True where writes are refused.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Size of requests that are served best, in bytes.
    #[must_use]
    pub fn preferred_block_bytes(&self) -> u32 {
        4096
    }

    /// Reads a range.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::Member`].
    pub fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<(), Error> {
        self.check(offset_bytes, buffer.len() as u64)?;
        self.file
            .read_exact_at(buffer, offset_bytes)
            .map_err(|source| self.member("read", source))
    }

    /// Reads a range if memory holds all of it; false where it does not.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::Member`].
    pub fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<bool, Error> {
        self.check(offset_bytes, buffer.len() as u64)?;
        let length = buffer.len();
        let mut into = [io::IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.file, &mut into, offset_bytes, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == length),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(false),
            Err(errno) => Err(self.member("read", errno.into())),
        }
    }

    /// Writes a range; durable before it returns where `fua` says so.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::ReadOnly`], [`Error::Member`].
    pub fn write_at(&self, bytes: &[u8], offset_bytes: u64, fua: bool) -> Result<(), Error> {
        self.check_write(offset_bytes, bytes.len() as u64)?;
        self.file
            .write_all_at(bytes, offset_bytes)
            .map_err(|source| self.member("write", source))?;
        self.make_durable(fua)
    }

    /// Makes all writes durable that were acknowledged. After it failed once it fails for good.
    ///
    /// # Errors
    /// [`Error::FlushLost`].
    pub fn flush(&self) -> Result<(), Error> {
        let source = if self.flush_lost.load(Ordering::Acquire) {
            None
        } else {
            let Err(error) = self.file.sync_data() else {
                return Ok(());
            };
            self.flush_lost.store(true, Ordering::Release);
            Some(error)
        };
        let array = self.path.display().to_string();
        Err(Error::FlushLost { array, source })
    }

    /// Gives the space of a range back.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::ReadOnly`], [`Error::Member`].
    pub fn trim(&self, offset_bytes: u64, length_bytes: u64, fua: bool) -> Result<(), Error> {
        self.check_write(offset_bytes, length_bytes)?;
        match self.punch(offset_bytes, length_bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NODEV) => self.make_durable(fua),
            Err(errno) => Err(self.member("trim", errno.into())),
        }
    }

    /// Makes a range read as zeros.
    ///
    /// # Errors
    /// [`Error::NotFast`] where only a fast way is wanted; [`Error::OutOfRange`], [`Error::ReadOnly`],
    /// [`Error::Member`].
    pub fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, how: Zeroes) -> Result<(), Error> {
        self.check_write(offset_bytes, length_bytes)?;
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let fast = if length_bytes == 0 {
            Ok(())
        } else if how.may_trim {
            self.punch(offset_bytes, length_bytes)
        } else {
            rustix::fs::fallocate(&self.file, flags, offset_bytes, length_bytes)
        };
        match fast {
            Ok(()) => return self.make_durable(how.fua),
            Err(Errno::OPNOTSUPP | Errno::NODEV) if how.fast_only => return Err(Error::NotFast),
            Err(Errno::OPNOTSUPP | Errno::NODEV) => {}
            Err(errno) => return Err(self.member("zero", errno.into())),
        }
        let zeros = [0; 64 << 10];
        let end = offset_bytes + length_bytes;
        let mut at = offset_bytes;
        while at < end {
            let length = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.file
                .write_all_at(&zeros[..length], at)
                .map_err(|source| self.member("zero", source))?;
            at += length as u64;
        }
        self.make_durable(how.fua)
    }

    /// Brings a range into memory.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::Member`].
    pub fn cache(&self, offset_bytes: u64, length_bytes: u64) -> Result<(), Error> {
        self.check(offset_bytes, length_bytes)?;
        let advice = rustix::fs::Advice::WillNeed;
        let length = std::num::NonZeroU64::new(length_bytes);
        rustix::fs::fadvise(&self.file, offset_bytes, length, advice)
            .map_err(|errno| self.member("cache", errno.into()))
    }

    /// What a range holds, from its start on; it may stop early.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::Member`].
    pub fn block_status(&self, offset_bytes: u64, length_bytes: u64) -> Result<Vec<Extent>, Error> {
        self.check(offset_bytes, length_bytes)?;
        let end = offset_bytes + length_bytes;
        let mut extents = Vec::new();
        let mut at = offset_bytes;
        while at < end {
            let (kind, next) = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) if data > at => (ExtentKind::Hole, data),
                Ok(_) => match rustix::fs::seek(&self.file, SeekFrom::Hole(at)) {
                    Ok(hole) => (ExtentKind::Data, hole),
                    Err(errno) => return Err(self.member("map", errno.into())),
                },
                Err(Errno::NXIO) => (ExtentKind::Hole, end),
                Err(_) => (ExtentKind::Data, end),
            };
            let next = next.clamp(at + 1, end);
            extents.push(Extent {
                length_bytes: next - at,
                kind,
            });
            at = next;
        }
        Ok(extents)
    }

    /// Health of a range: lengths in bytes, and flags, 1 for degraded and 2 for bad.
    #[must_use]
    pub fn health_status(&self, _offset_bytes: u64, length_bytes: u64) -> Vec<(u64, u32)> {
        vec![(length_bytes, 0)]
    }

    /// Lengths in bytes, and the slots that hold the first copy.
    #[must_use]
    pub fn stripe_status(&self, _offset_bytes: u64, length_bytes: u64) -> Vec<(u64, u32)> {
        vec![(length_bytes, 0)]
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> Result<(), Errno> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if length_bytes == 0 {
            return Ok(());
        }
        rustix::fs::fallocate(&self.file, flags, offset_bytes, length_bytes)
    }

    fn make_durable(&self, fua: bool) -> Result<(), Error> {
        if fua { self.flush() } else { Ok(()) }
    }

    fn check_write(&self, offset_bytes: u64, length_bytes: u64) -> Result<(), Error> {
        if self.read_only {
            let array = self.path.display().to_string();
            return Err(Error::ReadOnly { array });
        }
        self.check(offset_bytes, length_bytes)
    }

    fn check(&self, offset_bytes: u64, length_bytes: u64) -> Result<(), Error> {
        let size_bytes = self.size_bytes();
        let end = offset_bytes.checked_add(length_bytes);
        if end.is_some_and(|end| end <= size_bytes) {
            return Ok(());
        }
        Err(Error::OutOfRange {
            offset_bytes,
            length_bytes,
            size_bytes,
        })
    }

    fn member(&self, verb: &'static str, source: io::Error) -> Error {
        Error::Member {
            path: self.path.clone(),
            verb,
            source,
        }
    }
}
