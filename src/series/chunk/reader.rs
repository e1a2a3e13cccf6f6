//! An open chunk, read through a mapping or through its descriptor.
//!
//! Stands between [`super::format`] and the readers of a series. It is shared: iterators hold it by `Arc`, so a chunk
//! that is trimmed or evicted stays readable for those who have it. It never trusts a stored length, and a file that
//! is cut short behind its back gives [`Damage::Truncated`], not a signal.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::format::{COUNT_BYTES, Header, Layout, TIMESTAMP_BYTES, timestamp_of};
use crate::{
    series::{Damage, Error, Result, Timestamp},
    storage::{Access, Mapping, Storage},
};

/// Greatest length of one piece read through a descriptor, in bytes, unless a single record is longer.
const WINDOW_BYTES: u64 = 1 << 20;

/// Guesses of a search that assume evenly spaced timestamps, before it bisects.
const INTERPOLATED_GUESSES: u32 = 4;

/// How a chunk's bytes are reached.
pub(super) enum Reach {
    /// Through shared memory.
    Mapped(Mapping),
    /// Through its descriptor.
    Descriptor(Arc<dyn Storage>),
}

/// One open chunk file.
pub struct Chunk {
    pub(super) path: PathBuf,
    pub(super) first: Timestamp,
    pub(super) layout: Layout,
    pub(super) reach: Reach,
    pub(super) entries: AtomicU32,
}

impl Chunk {
    /// Opens the chunk file `path` through `storage`, mapped if `mapped` and possible.
    ///
    /// Reads the header, the count and the first and last timestamp, not the entries.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a chunk whose header, count, first or last timestamp is wrong; [`Error::Io`].
    pub fn open(
        storage: &Arc<dyn Storage>,
        path: &Path,
        first: Timestamp,
        layout: Layout,
        mapped: bool,
    ) -> Result<Self> {
        let (_, count) = read_count(storage.as_ref(), path)?;
        Self::open_known(storage, path, first, layout, mapped, count)
    }

    /// Opens a chunk of which only the first `count` entries are to be seen, whatever its own count says.
    ///
    /// # Errors
    /// As [`Chunk::open`].
    pub(in crate::series) fn open_known(
        storage: &Arc<dyn Storage>,
        path: &Path,
        first: Timestamp,
        layout: Layout,
        mapped: bool,
        count: u32,
    ) -> Result<Self> {
        let size_bytes = storage.size_bytes().map_err(|source| failed(path, source))?;
        let mut header = Header::default();
        read_exact(storage.as_ref(), &mut header, 0, path)?;
        layout
            .validate(size_bytes, header, count)
            .map_err(|damage| damaged(path, damage))?;
        let chunk = Self {
            path: path.to_owned(),
            first,
            layout,
            reach: Self::reach(storage, size_bytes, mapped, Access::Read),
            entries: AtomicU32::new(count),
        };
        chunk.check_ends()?;
        Ok(chunk)
    }

    /// Maps `storage`, or falls back to its descriptor where memory or address space is short.
    pub(super) fn reach(storage: &Arc<dyn Storage>, length_bytes: u64, mapped: bool, access: Access) -> Reach {
        let length = usize::try_from(length_bytes).ok().filter(|_| mapped);
        match length.map(|length| storage.map(length, access)) {
            Some(Ok(mapping)) => Reach::Mapped(mapping),
            Some(Err(error)) => {
                log::debug!("no mapping of {length_bytes} bytes ({error}); reading through the descriptor");
                Reach::Descriptor(Arc::clone(storage))
            }
            None => Reach::Descriptor(Arc::clone(storage)),
        }
    }

    fn check_ends(&self) -> Result<()> {
        let found = self.timestamp_at(0)?;
        if found != self.first {
            return Err(self.damaged(Damage::FirstTimestamp {
                found,
                expected: self.first,
            }));
        }
        let index = self.entries() - 1;
        if index > 0 {
            let previous = self.timestamp_at(index - 1)?;
            let found = self.timestamp_at(index)?;
            if found <= previous {
                return Err(self.damaged(Damage::Order {
                    index: u64::from(index),
                    found,
                    previous,
                }));
            }
        }
        Ok(())
    }

    /// Absolute path of the file, for messages; it may have moved since.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its first timestamp, which names it.
    pub fn min_ts(&self) -> Timestamp {
        self.first
    }

    /// Its last timestamp.
    ///
    /// # Errors
    /// As [`Chunk::timestamp_at`].
    pub fn max_ts(&self) -> Result<Timestamp> {
        self.timestamp_at(self.entries() - 1)
    }

    /// Length of a value in bytes.
    pub fn block_size(&self) -> u32 {
        self.layout.block_size
    }

    /// Unit of the file's size in bytes.
    pub fn page_size(&self) -> u32 {
        self.layout.page_size
    }

    /// How many entries it holds now; at least 1. It grows while the series is written.
    pub fn entries(&self) -> u32 {
        self.entries.load(Ordering::Acquire)
    }

    /// True where it is read through shared memory.
    pub fn is_mapped(&self) -> bool {
        matches!(self.reach, Reach::Mapped(_))
    }

    /// Bytes of file that are mapped; 0 for descriptor access.
    pub fn mapped_bytes(&self) -> u64 {
        match self.reach {
            Reach::Mapped(_) => self.layout.size_bytes(u64::from(self.entries())),
            Reach::Descriptor(_) => 0,
        }
    }

    /// Timestamp of entry `index`, from 0.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the file was cut short; [`Error::Io`].
    ///
    /// # Panics
    /// When `index` is not below [`Chunk::entries`].
    pub fn timestamp_at(&self, index: u32) -> Result<Timestamp> {
        assert!(index < self.entries(), "entry {index} of {}", self.entries());
        let mut bytes = [0; TIMESTAMP_BYTES];
        self.copy(&mut bytes, self.layout.record_offset(u64::from(index)))?;
        Ok(Timestamp(u64::from_le_bytes(bytes)))
    }

    /// Copies part of the value of entry `index`, from its byte `offset` on, into `buffer`.
    ///
    /// # Errors
    /// As [`Chunk::timestamp_at`].
    ///
    /// # Panics
    /// When entry or part do not exist.
    pub fn copy_value(&self, index: u32, offset: usize, buffer: &mut [u8]) -> Result<()> {
        assert!(index < self.entries() && offset + buffer.len() <= self.layout.block_size as usize);
        let start = self.layout.record_offset(u64::from(index)) + (TIMESTAMP_BYTES + offset) as u64;
        self.copy(buffer, start)
    }

    /// The value of entry `index`.
    ///
    /// # Errors
    /// As [`Chunk::timestamp_at`].
    pub fn value_at(&self, index: u32) -> Result<Vec<u8>> {
        let mut value = vec![0; self.layout.block_size as usize];
        self.copy_value(index, 0, &mut value)?;
        Ok(value)
    }

    /// Index of the first of the first `entries` entries whose timestamp is not below `timestamp`; `entries` if none.
    ///
    /// # Errors
    /// As [`Chunk::timestamp_at`].
    pub fn find_left(&self, timestamp: Timestamp, entries: u32) -> Result<u32> {
        self.partition(entries, timestamp, |found| found < timestamp)
    }

    /// Index after the last of the first `entries` entries whose timestamp is not above `timestamp`.
    ///
    /// # Errors
    /// As [`Chunk::timestamp_at`].
    pub fn find_right(&self, timestamp: Timestamp, entries: u32) -> Result<u32> {
        self.partition(entries, timestamp, |found| found <= timestamp)
    }

    /// Bisects; the first guesses are interpolated, since most series are regular in time.
    fn partition(&self, entries: u32, target: Timestamp, before: impl Fn(Timestamp) -> bool) -> Result<u32> {
        if entries == 0 || !before(self.first) {
            return Ok(0);
        }
        let mut last = self.timestamp_at(entries - 1)?;
        if before(last) {
            return Ok(entries);
        }
        // Entry `low` is before the bound, entry `high` is not.
        let (mut low, mut high, mut first) = (0, entries - 1, self.first);
        let mut guesses = INTERPOLATED_GUESSES;
        while high - low > 1 {
            let middle = if guesses > 0 && last > first {
                guesses -= 1;
                let along = u128::from(high - low) * u128::from(target.0.saturating_sub(first.0));
                let guess = along / u128::from(last.0 - first.0);
                let guess = u32::try_from(guess).unwrap_or(u32::MAX);
                // A guess at the bound itself is tried from the near side, so that both ends close in.
                (low.saturating_add(guess)).clamp(low + 1, high - 1)
            } else {
                low + (high - low) / 2
            };
            let found = self.timestamp_at(middle)?;
            if before(found) {
                (low, first) = (middle, found);
            } else {
                (high, last) = (middle, found);
            }
        }
        Ok(high)
    }

    /// Records `range`, without a copy where the chunk is mapped; through a descriptor at most a window of them, and
    /// always at least one.
    ///
    /// # Errors
    /// As [`Chunk::timestamp_at`].
    ///
    /// # Panics
    /// When the range is empty or reaches past [`Chunk::entries`].
    pub fn records(self: &Arc<Self>, range: Range<u32>) -> Result<Records> {
        assert!(range.start < range.end && range.end <= self.entries());
        let (end, copy) = match self.reach {
            Reach::Mapped(_) => (range.end, None),
            Reach::Descriptor(_) => {
                let most = (WINDOW_BYTES / self.layout.record_bytes()).max(1);
                let end = range
                    .end
                    .min(range.start.saturating_add(u32::try_from(most).unwrap_or(u32::MAX)));
                let length = u64::from(end - range.start) * self.layout.record_bytes();
                let mut bytes = vec![0; usize::try_from(length).expect("a window fits in memory")];
                self.copy(&mut bytes, self.layout.record_offset(u64::from(range.start)))?;
                (end, Some(bytes))
            }
        };
        Ok(Records {
            chunk: Arc::clone(self),
            range: range.start..end,
            copy,
        })
    }

    /// Copies bytes of published entries.
    pub(in crate::series) fn copy(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        match &self.reach {
            Reach::Mapped(mapping) => {
                mapping.copy_to(in_memory(offset_bytes), buffer);
                self.check_mapping(mapping)
            }
            Reach::Descriptor(storage) => read_exact(storage.as_ref(), buffer, offset_bytes, &self.path),
        }
    }

    fn check_mapping(&self, mapping: &Mapping) -> Result<()> {
        if mapping.damaged() {
            return Err(self.damaged(Damage::Truncated));
        }
        Ok(())
    }

    pub(super) fn damaged(&self, damage: Damage) -> Error {
        damaged(&self.path, damage)
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk")
            .field("path", &self.path)
            .field("entries", &self.entries())
            .field("mapped", &self.is_mapped())
            .finish_non_exhaustive()
    }
}

/// Packed records of one chunk: timestamps and values as they are stored.
///
/// They stay readable after the chunk is trimmed or evicted. Where the chunk is mapped and its file is cut short by
/// somebody else, the lost part reads as zeros and [`Records::verify`] says so.
#[derive(Debug)]
pub struct Records {
    chunk: Arc<Chunk>,
    range: Range<u32>,
    copy: Option<Vec<u8>>,
}

impl Records {
    /// How many records there are; at least 1.
    #[inline]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// False: there is always one record.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Index of the first one in its chunk.
    pub fn start(&self) -> u32 {
        self.range.start
    }

    /// The records, each an 8 byte timestamp and a value, little endian.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match (&self.copy, &self.chunk.reach) {
            (Some(bytes), _) => bytes,
            (None, Reach::Mapped(mapping)) => {
                let layout = self.chunk.layout;
                let start = in_memory(layout.record_offset(u64::from(self.range.start)));
                let end = in_memory(layout.record_offset(u64::from(self.range.end)));
                // SAFETY: `range` ends at or below the chunk's count, and the writer never touches a record below it
                // again (`ChunkWriter::append` writes behind the count only, `ChunkWriter::cut` runs before a series
                // has readers or on parts whose cut entries were never reachable).
                unsafe { mapping.slice(start..end) }
            }
            (None, Reach::Descriptor(_)) => unreachable!("records read through a descriptor are a copy"),
        }
    }

    /// Timestamps and values in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Timestamp, &[u8])> + DoubleEndedIterator {
        let record_bytes = in_memory(self.chunk.layout.record_bytes());
        self.bytes()
            .chunks_exact(record_bytes)
            .map(|record| (timestamp_of(record), &record[TIMESTAMP_BYTES..]))
    }

    /// The record at `position`, from 0.
    #[inline]
    pub fn get(&self, position: usize) -> Option<(Timestamp, &[u8])> {
        let record_bytes = in_memory(self.chunk.layout.record_bytes());
        let start = position.checked_mul(record_bytes)?;
        let record = self.bytes().get(start..start.checked_add(record_bytes)?)?;
        Some((timestamp_of(record), &record[TIMESTAMP_BYTES..]))
    }

    /// Confirms that the bytes were all there while they were looked at.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the file has been cut short.
    pub fn verify(&self) -> Result<()> {
        match &self.chunk.reach {
            Reach::Mapped(mapping) => self.chunk.check_mapping(mapping),
            Reach::Descriptor(_) => Ok(()),
        }
    }

    /// The chunk they are in.
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }
}

/// Size and count of a chunk file that another process may be extending: read again until the size stands still.
pub(in crate::series) fn read_count(storage: &dyn Storage, path: &Path) -> Result<(u64, u32)> {
    loop {
        let size_bytes = storage.size_bytes().map_err(|source| failed(path, source))?;
        let mut bytes = [0; size_of::<u32>()];
        let Some(offset) = size_bytes.checked_sub(COUNT_BYTES) else {
            return Ok((size_bytes, 0));
        };
        let read = storage
            .read_at(&mut bytes, offset)
            .map_err(|source| failed(path, source))?;
        let after = storage.size_bytes().map_err(|source| failed(path, source))?;
        if after == size_bytes && read == bytes.len() {
            return Ok((size_bytes, u32::from_le_bytes(bytes)));
        }
    }
}

fn read_exact(storage: &dyn Storage, buffer: &mut [u8], offset_bytes: u64, path: &Path) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match storage.read_at(&mut buffer[filled..], offset_bytes + filled as u64) {
            Ok(0) => return Err(damaged(path, Damage::Truncated)),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(failed(path, source)),
        }
    }
    Ok(())
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("offsets in a mapping fit in memory")
}

pub(super) fn damaged(path: &Path, damage: Damage) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        damage,
    }
}

pub(super) fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        source,
    }
}
