//! The readable side of one fixed series: an ordered set of chunks, live or frozen in a snapshot.
//!
//! Chunks are found by first timestamp in an index in memory, which listing the directory fills; opening a series
//! reads no chunk but the last one. Entry numbers (for packed offsets) need the count of every chunk before, which is
//! read once, on the first question that needs it. Lookups are O(log chunks + log entries).

mod chunks;
mod index;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicBool},
    time::SystemTime,
};

use index::{Index, Known};

use super::{
    Damage, Error, FixedParameters, Result, SeriesId, Timestamp,
    chunk::{
        Chunk,
        format::{Layout, TIMESTAMP_BYTES},
    },
    context::{Context, Place},
    range::Range,
    snapshot::pin_name,
};
use crate::storage::{Access, Storage};

/// One entry, copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it happened.
    pub timestamp: Timestamp,
    /// Its value.
    pub value: Vec<u8>,
}

/// Facts about one chunk file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Its first timestamp, which names it.
    pub first: Timestamp,
    /// How many entries it has.
    pub entries: u32,
    /// Number of its first entry in the series, from 0.
    pub first_index: u64,
    /// True where it never changes again.
    pub closed: bool,
    /// Absolute path of the file.
    pub path: PathBuf,
}

/// Readable side of a fixed series. Clones share their state.
#[derive(Clone)]
pub struct Contents(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    id: SeriesId,
    part: u32,
    place: Arc<Place>,
    /// Directory below the place: `root`, `1`, ..; empty for a fixed series.
    below: PathBuf,
    frozen: bool,
    mapped: AtomicBool,
    index: RwLock<Index>,
}

/// Identity of a part: series, number (0 for a fixed series or a root) and directory below the series'.
#[derive(Debug, Clone)]
pub(super) struct PartKey {
    pub(super) id: SeriesId,
    pub(super) part: u32,
    pub(super) below: PathBuf,
}

impl Contents {
    pub(super) fn new(
        context: Arc<Context>,
        key: PartKey,
        place: Arc<Place>,
        parameters: &FixedParameters,
        firsts: Vec<Timestamp>,
        last_entries: Option<u32>,
        frozen: bool,
    ) -> Self {
        let index = Index::new(parameters, firsts, last_entries);
        Self(Arc::new(Inner {
            mapped: AtomicBool::new(context.options.limits.mapped),
            context,
            id: key.id,
            part: key.part,
            place,
            below: key.below,
            frozen,
            index: RwLock::new(index),
        }))
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    /// Parameters of the series.
    pub fn parameters(&self) -> FixedParameters {
        let index = self.index();
        FixedParameters {
            block_size: index.layout.block_size,
            entries_per_chunk: index.entries_per_chunk,
            page_size: index.layout.page_size,
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.index().layout
    }

    /// Number of the series.
    pub fn id(&self) -> SeriesId {
        self.0.id
    }

    /// Length of a record, timestamp and value, in bytes.
    pub fn record_size(&self) -> usize {
        TIMESTAMP_BYTES + self.layout().block_size as usize
    }

    /// True in a snapshot.
    pub fn is_frozen(&self) -> bool {
        self.0.frozen
    }

    /// Number of entries.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a chunk whose count cannot be right; [`Error::Io`].
    pub fn entries(&self) -> Result<u64> {
        self.count_all()?;
        let index = self.index();
        let Some(last) = index.chunks.back() else {
            return Ok(0);
        };
        let before = last.before - index.trimmed;
        let position = index.chunks.len() - 1;
        drop(index);
        Ok(before + u64::from(self.entries_of(position)?))
    }

    /// True where there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index().chunks.is_empty()
    }

    /// How many chunk files there are.
    pub fn chunk_count(&self) -> usize {
        self.index().chunks.len()
    }

    /// First timestamps of all chunks, in order.
    pub fn chunk_names(&self) -> Vec<Timestamp> {
        self.index().chunks.iter().map(|known| known.first).collect()
    }

    /// The oldest entry.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn first(&self) -> Result<Option<Entry>> {
        let Some((chunk, _)) = self.chunk_at(Timestamp::MIN)? else {
            return Ok(None);
        };
        Ok(Some(Entry {
            timestamp: chunk.min_ts(),
            value: chunk.value_at(0)?,
        }))
    }

    /// The newest entry.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn latest(&self) -> Result<Option<Entry>> {
        let Some((chunk, entries)) = self.last_chunk()? else {
            return Ok(None);
        };
        Ok(Some(Entry {
            timestamp: chunk.timestamp_at(entries - 1)?,
            value: chunk.value_at(entries - 1)?,
        }))
    }

    /// The newest timestamp.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn last_timestamp(&self) -> Result<Option<Timestamp>> {
        match self.last_chunk()? {
            Some((chunk, entries)) => chunk.timestamp_at(entries - 1).map(Some),
            None => Ok(None),
        }
    }

    /// The value at exactly `timestamp`.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn get(&self, timestamp: Timestamp) -> Result<Option<Vec<u8>>> {
        let Some((chunk, entries)) = self.chunk_at(timestamp)? else {
            return Ok(None);
        };
        let position = chunk.find_left(timestamp, entries)?;
        if position < entries && chunk.timestamp_at(position)? == timestamp {
            return chunk.value_at(position).map(Some);
        }
        Ok(None)
    }

    /// True where there is an entry at exactly `timestamp`.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn contains(&self, timestamp: Timestamp) -> Result<bool> {
        let Some((chunk, entries)) = self.chunk_at(timestamp)? else {
            return Ok(false);
        };
        let position = chunk.find_left(timestamp, entries)?;
        Ok(position < entries && chunk.timestamp_at(position)? == timestamp)
    }

    /// Timestamp of entry `number`, from 0; none beyond the end.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn timestamp_of(&self, number: u64) -> Result<Option<Timestamp>> {
        match self.at(number)? {
            Some((chunk, within, _)) => chunk.timestamp_at(within).map(Some),
            None => Ok(None),
        }
    }

    /// Number of the first entry whose timestamp is not below `timestamp`; [`Contents::entries`] if none.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn lower_bound(&self, timestamp: Timestamp) -> Result<u64> {
        self.bound(timestamp, Chunk::find_left)
    }

    /// Number after the last entry whose timestamp is not above `timestamp`.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn upper_bound(&self, timestamp: Timestamp) -> Result<u64> {
        self.bound(timestamp, Chunk::find_right)
    }

    fn bound(&self, timestamp: Timestamp, find: impl Fn(&Chunk, Timestamp, u32) -> Result<u32>) -> Result<u64> {
        loop {
            self.count_all()?;
            let Some(first) = self.name_at(timestamp) else {
                return Ok(0);
            };
            if let Some((chunk, entries)) = self.chunk_named(first)? {
                let within = find(&chunk, timestamp, entries)?;
                if let Some(before) = self.index().before(first) {
                    return Ok(before + u64::from(within));
                }
            }
        }
    }

    /// Entries with timestamps from `from` to `to`, both included, as runs of packed records.
    ///
    /// # Errors
    /// [`Error::BadRange`] where `from` is larger than `to`.
    pub fn range(&self, from: Timestamp, to: Timestamp) -> Result<Range> {
        if from > to {
            return Err(Error::BadRange { from, to });
        }
        Ok(Range::new(self.clone(), from, to, u64::MAX))
    }

    /// Entries by number, from 0; parts beyond the end are left out.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn range_by_index(&self, range: std::ops::Range<u64>) -> Result<Range> {
        let most = range.end.saturating_sub(range.start);
        match self.at(range.start)? {
            Some((chunk, within, _)) if most > 0 => {
                let from = chunk.timestamp_at(within)?;
                Ok(Range::new(self.clone(), from, Timestamp::MAX, most))
            }
            _ => Ok(Range::new(self.clone(), Timestamp::MAX, Timestamp::MAX, 0)),
        }
    }

    /// Chunk of entry `number`, its position there, and how many entries of the chunk count.
    fn at(&self, number: u64) -> Result<Option<(Arc<Chunk>, u32, u32)>> {
        loop {
            let trimmed = self.index().trimmed;
            if let Some(found) = self.at_since(number, trimmed)? {
                return Ok(Some(found));
            }
            if self.index().trimmed == trimmed {
                return Ok(None);
            }
        }
    }

    /// As `at`, of a number that counts from when so many entries were trimmed; none too where more are by now.
    fn at_since(&self, number: u64, trimmed: u64) -> Result<Option<(Arc<Chunk>, u32, u32)>> {
        loop {
            self.count_all()?;
            let Some((first, within)) = self.index().locate(number, trimmed) else {
                return Ok(None);
            };
            if let Some((chunk, entries)) = self.chunk_named(first)? {
                return Ok(u32::try_from(within)
                    .ok()
                    .filter(|within| *within < entries)
                    .map(|within| (chunk, within, entries)));
            }
        }
    }

    /// Reads packed records (timestamp, value, timestamp, ..) from byte `offset_bytes` of their concatenation on.
    ///
    /// Returns how much was read: less than the buffer only at the end.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn read_records(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<usize> {
        loop {
            // All of one numbering: where a trim shifts it meanwhile, the read begins anew.
            let trimmed = self.index().trimmed;
            let filled = self.read_records_since(buffer, offset_bytes, trimmed)?;
            if self.index().trimmed == trimmed {
                return Ok(filled);
            }
        }
    }

    fn read_records_since(&self, buffer: &mut [u8], offset_bytes: u64, trimmed: u64) -> Result<usize> {
        let layout = self.layout();
        let record_bytes = layout.record_bytes();
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(offset) = offset_bytes.checked_add(filled as u64) else {
                break;
            };
            let Some((chunk, within, entries)) = self.at_since(offset / record_bytes, trimmed)? else {
                break;
            };
            let start = u64::from(within) * record_bytes + offset % record_bytes;
            let available = u64::from(entries) * record_bytes - start;
            let length = usize::try_from(available)
                .unwrap_or(usize::MAX)
                .min(buffer.len() - filled);
            chunk.copy(&mut buffer[filled..filled + length], layout.record_offset(0) + start)?;
            filled += length;
        }
        Ok(filled)
    }

    /// Facts about all chunks, in order.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn chunks(&self) -> Result<Vec<ChunkInfo>> {
        self.count_all()?;
        let index = self.index();
        let (known, trimmed) = (index.chunks.clone(), index.trimmed);
        drop(index);
        let mut chunks = Vec::with_capacity(known.len());
        for (position, this) in known.iter().enumerate() {
            let next = known.get(position + 1);
            let entries = match next {
                Some(next) => u32::try_from(next.before - this.before).unwrap_or(u32::MAX),
                None => self.entries_of(position)?,
            };
            chunks.push(ChunkInfo {
                first: this.first,
                entries,
                first_index: this.before - trimmed,
                closed: next.is_some() || self.0.frozen,
                path: self.0.context.shown(&self.chunk_path(this.first)),
            });
        }
        Ok(chunks)
    }

    /// The chunk file that begins at `first`, open for reading.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is missing; [`Error::Io`].
    pub fn chunk_storage(&self, first: Timestamp) -> Result<Arc<dyn Storage>> {
        let context = &self.0.context;
        let live = self.directory().map(|directory| directory.join(first.to_string()));
        let pin = PathBuf::from(pin_name(self.0.id, self.0.part, first));
        // A trim moves a chunk that a snapshot needs from its series to its pin, at any moment.
        let candidates = [
            live.as_deref(),
            Some(pin.as_path()).filter(|_| self.0.frozen),
            live.as_deref(),
        ];
        for path in candidates.into_iter().flatten() {
            match context.directory.open(path, Access::Read) {
                Ok(storage) => return Ok(storage),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(context.failed(path)(error)),
            }
        }
        Err(self.missing(first))
    }

    /// Time of the last append: the newest chunk's.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn modified(&self) -> Result<SystemTime> {
        let context = &self.0.context;
        match self.index().chunks.back().map(|known| known.first) {
            Some(first) => {
                let stat = self.chunk_storage(first)?.stat();
                Ok(stat.map_err(context.failed(&self.chunk_path(first)))?.modified)
            }
            None => {
                let path = self.directory().unwrap_or_default();
                Ok(context.directory.stat(&path).map_err(context.failed(&path))?.modified)
            }
        }
    }

    /// Space that the chunk files take, in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn allocated_bytes(&self) -> Result<u64> {
        let context = &self.0.context;
        let mut total = 0;
        for first in self.chunk_names() {
            let path = self.chunk_path(first);
            let stat = match context.directory.stat(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.chunk_storage(first)?.stat(),
                other => other,
            };
            total += stat.map_err(context.failed(&path))?.allocated_bytes;
        }
        Ok(total)
    }

    /// The open chunk that begins at `first`.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is none or it is wrong; [`Error::Io`].
    pub fn open_chunk(&self, first: Timestamp) -> Result<Arc<Chunk>> {
        match self.chunk_named(first)? {
            Some((chunk, _)) => Ok(chunk),
            None => Err(self.missing(first)),
        }
    }

    fn missing(&self, first: Timestamp) -> Error {
        Error::Damaged {
            path: self.0.context.shown(&self.chunk_path(first)),
            damage: Damage::Missing,
        }
    }
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents")
            .field("directory", &self.directory())
            .field("chunks", &self.chunk_count())
            .field("frozen", &self.0.frozen)
            .finish()
    }
}
