//! The growing end of a series: makes a chunk, appends to it, cuts and seals it.
//!
//! An entry's bytes are stored first, then the count at the end of the file, then the count in memory: whoever sees
//! the count sees the entry. Space is reserved ahead in growing steps, before it is mapped, so that a full disk is an
//! error here and never a signal; the file's last four bytes are the right count at every instant, also while it
//! grows (one write extends the file and puts the count at its new end) and shrinks (the count is stored where the
//! new end will be, then the file is cut). Order, length and room below `entries_per_chunk` are the caller's to check.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    format::{COUNT_BYTES, Layout, TIMESTAMP_BYTES},
    reader::{Chunk, Reach, failed},
};
use crate::{
    series::{Damage, Result, Timestamp},
    storage::{Access, Directory, Storage},
};

/// Greatest step by which a chunk file is extended, in bytes.
const STEP_BYTES_MAX: u64 = 4 << 20;
/// Batches from this length on are written through the descriptor: the kernel copies them faster than stores to pages
/// that first have to be mapped.
const WRITE_BYTES_MIN: usize = 64 << 10;
/// From this size on the pages of a new step are made present in one call instead of one fault each, in bytes.
const POPULATE_BYTES: u64 = 256 << 10;

/// Where a new chunk goes and how it is laid out.
#[derive(Clone, Copy)]
pub(crate) struct Placement<'a> {
    pub(crate) directory: &'a dyn Directory,
    pub(crate) path: &'a Path,
    pub(crate) layout: Layout,
    pub(crate) entries_per_chunk: u32,
    pub(crate) mapped: bool,
    /// Address space that the chunk is given at once, in bytes.
    pub(crate) window_bytes: u64,
}

/// The last chunk of a series, open for appending.
pub(crate) struct ChunkWriter {
    chunk: Arc<Chunk>,
    storage: Arc<dyn Storage>,
    entries: u32,
    entries_max: u32,
    size_bytes: u64,
    last: Timestamp,
    mapped: bool,
    window_bytes: u64,
    moved: bool,
}

impl ChunkWriter {
    /// Makes a chunk that holds `record` as its only entry; it appears under its name complete.
    pub(crate) fn create(at: Placement<'_>, record: &[u8]) -> Result<Self> {
        let first = super::format::timestamp_of(record);
        let shown = at.directory.path().join(at.path);
        let size_bytes = at.layout.size_bytes(1);
        let storage = at
            .directory
            .create(at.path, &mut |storage| {
                storage.reserve(0, size_bytes)?;
                storage.write_all_at(&at.layout.block_size.to_le_bytes(), 0)?;
                storage.write_all_at(record, at.layout.record_offset(0))?;
                storage.write_all_at(&1u32.to_le_bytes(), size_bytes - COUNT_BYTES)
            })
            .map_err(|source| failed(&shown, source))?;
        Ok(Self::over(storage, &shown, at, first, first, 1, size_bytes))
    }

    /// Opens the last chunk to append; `storage` is writable and the chunk has passed recovery.
    ///
    /// # Errors
    /// As [`Chunk::open`].
    pub(crate) fn open(storage: Arc<dyn Storage>, at: Placement<'_>, first: Timestamp) -> Result<Self> {
        let shown = at.directory.path().join(at.path);
        let chunk = Chunk::open(&storage, &shown, first, at.layout, at.mapped)?;
        let (entries, last) = (chunk.entries(), chunk.max_ts()?);
        let size_bytes = storage.size_bytes().map_err(|source| failed(&shown, source))?;
        // A sparse file may lack blocks that a store through the mapping would then miss.
        storage
            .reserve(0, size_bytes)
            .map_err(|source| failed(&shown, source))?;
        Ok(Self::over(storage, &shown, at, first, last, entries, size_bytes))
    }

    fn over(
        storage: Arc<dyn Storage>,
        shown: &Path,
        at: Placement<'_>,
        first: Timestamp,
        last: Timestamp,
        entries: u32,
        size_bytes: u64,
    ) -> Self {
        let entries_max = at.entries_per_chunk.max(1);
        let chunk = Arc::new(Chunk {
            path: shown.to_owned(),
            first,
            layout: at.layout,
            reach: Chunk::reach(
                &storage,
                window(at.layout, entries_max, size_bytes, at.window_bytes),
                at.mapped,
                Access::ReadWrite,
            ),
            entries: AtomicU32::new(entries),
        });
        Self {
            chunk,
            storage,
            entries,
            entries_max,
            size_bytes,
            last,
            mapped: at.mapped,
            window_bytes: at.window_bytes,
            moved: false,
        }
    }

    /// What readers share; it changes when the chunk outgrows its window.
    pub(crate) fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// True once after the shared chunk was replaced.
    #[inline]
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Newest timestamp.
    #[inline]
    pub(crate) fn last(&self) -> Timestamp {
        self.last
    }

    /// How many more entries go into this chunk.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        self.entries_max.saturating_sub(self.entries)
    }

    /// Appends one entry whose timestamp is larger than [`ChunkWriter::last`] and whose value is a block.
    ///
    /// # Errors
    /// `ENOSPC` and other failures of the host; the chunk is as before.
    #[inline]
    pub(crate) fn append(&mut self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        let layout = self.chunk.layout;
        let offset = layout.record_offset(u64::from(self.entries));
        if offset + layout.record_bytes() + COUNT_BYTES > self.size_bytes {
            self.grow(self.entries + 1, true)?;
        }
        match &self.chunk.reach {
            Reach::Mapped(mapping) => {
                #[expect(clippy::cast_possible_truncation, reason = "offsets below a mapping's length fit")]
                let offset = offset as usize;
                mapping.copy_from(offset, &timestamp.0.to_le_bytes());
                mapping.copy_from(offset + TIMESTAMP_BYTES, value);
            }
            Reach::Descriptor(_) => {
                let mut record = Vec::with_capacity(TIMESTAMP_BYTES + value.len());
                record.extend_from_slice(&timestamp.0.to_le_bytes());
                record.extend_from_slice(value);
                self.write(&record, offset)?;
            }
        }
        self.publish(self.entries + 1, timestamp)
    }

    /// Appends whole packed records in order, published together; they fit into [`ChunkWriter::room`].
    ///
    /// # Errors
    /// As [`ChunkWriter::append`]; either all or none are there.
    pub(crate) fn append_records(&mut self, records: &[u8]) -> Result<()> {
        let layout = self.chunk.layout;
        let added = records.len() as u64 / layout.record_bytes();
        assert!(added > 0 && added <= u64::from(self.room()));
        let total = self.entries + u32::try_from(added).expect("below the room");
        let offset = layout.record_offset(u64::from(self.entries));
        let large = records.len() >= WRITE_BYTES_MIN;
        if layout.record_offset(u64::from(total)) + COUNT_BYTES > self.size_bytes {
            self.grow(total, !large)?;
        }
        match &self.chunk.reach {
            Reach::Mapped(mapping) if !large => {
                mapping.copy_from(usize::try_from(offset).expect("mapped"), records);
            }
            _ => self.write(records, offset)?,
        }
        let start = records.len() - usize::try_from(layout.record_bytes()).expect("a record is there");
        self.publish(total, super::format::timestamp_of(&records[start..]))
    }

    #[inline]
    fn publish(&mut self, entries: u32, last: Timestamp) -> Result<()> {
        let offset = self.size_bytes - COUNT_BYTES;
        match &self.chunk.reach {
            Reach::Mapped(mapping) => {
                #[expect(clippy::cast_possible_truncation, reason = "offsets below a mapping's length fit")]
                mapping.store_u32(offset as usize, entries);
                if mapping.damaged() {
                    return Err(self.chunk.damaged(Damage::Truncated));
                }
            }
            Reach::Descriptor(_) => self.write(&entries.to_le_bytes(), offset)?,
        }
        self.entries = entries;
        self.last = last;
        self.chunk.entries.store(entries, Ordering::Release);
        Ok(())
    }

    /// Extends the file so that `entries` fit, by a step that grows with it; `populate` makes the mapping ready for
    /// stores to all of it.
    #[cold]
    fn grow(&mut self, entries: u32, populate: bool) -> Result<()> {
        let layout = self.chunk.layout;
        let full = layout.size_bytes(u64::from(self.entries_max));
        let step = self.size_bytes.min(STEP_BYTES_MAX);
        let generous = (self.size_bytes + step).next_multiple_of(u64::from(layout.page_size.max(1)));
        let size_bytes = generous.min(full).max(layout.size_bytes(u64::from(entries)));
        self.extend(size_bytes, populate)?;
        let needs = window(layout, self.entries_max, size_bytes, self.window_bytes);
        if let Reach::Mapped(mapping) = &self.chunk.reach
            && (mapping.len() as u64) < size_bytes
        {
            self.chunk = Arc::new(Chunk {
                path: self.chunk.path.clone(),
                first: self.chunk.first,
                layout,
                reach: Chunk::reach(&self.storage, needs, self.mapped, Access::ReadWrite),
                entries: AtomicU32::new(self.entries),
            });
            self.moved = true;
        }
        Ok(())
    }

    fn extend(&mut self, size_bytes: u64, populate: bool) -> Result<()> {
        let old = self.size_bytes;
        let extended = self.storage.reserve(old, size_bytes - old).and_then(|()| {
            self.storage
                .write_all_at(&self.entries.to_le_bytes(), size_bytes - COUNT_BYTES)
        });
        if let Err(source) = extended {
            // Whatever came of it, the count is where readers look for it: at the old end.
            if let Err(error) = self.storage.set_size(old) {
                log::error!(
                    "{}: cannot be cut back to {old} bytes: {error}",
                    self.chunk.path.display()
                );
            }
            return Err(failed(&self.chunk.path, source));
        }
        if let Reach::Mapped(mapping) = &self.chunk.reach
            && populate
            && size_bytes - old >= POPULATE_BYTES
            && let (Ok(start), Ok(end)) = (usize::try_from(old), usize::try_from(size_bytes))
            && end <= mapping.len()
        {
            mapping.populate(start..end);
        }
        self.size_bytes = size_bytes;
        Ok(())
    }

    /// Drops all but the first `entries`, at least one of them. For recovery, and for parts of a value that could not
    /// be stored as a whole; no reader may hold the dropped entries.
    pub(crate) fn cut(&mut self, entries: u32) -> Result<()> {
        assert!(entries >= 1 && entries <= self.entries);
        if entries == self.entries {
            return Ok(());
        }
        let (from, to) = (
            self.chunk.layout.record_offset(u64::from(entries)),
            self.chunk.layout.record_offset(u64::from(self.entries)),
        );
        let last = self.chunk.timestamp_at(entries - 1)?;
        self.publish(entries, last)?;
        let zeros = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX).min(1 << 20)];
        let mut offset = from;
        while offset < to {
            let length = usize::try_from(to - offset).unwrap_or(usize::MAX).min(zeros.len());
            self.write(&zeros[..length], offset)?;
            offset += length as u64;
        }
        Ok(())
    }

    /// Gives back the space kept ahead: the file is as long as the library would have left it.
    pub(crate) fn tighten(&mut self) -> Result<()> {
        let size_bytes = self.chunk.layout.size_bytes(u64::from(self.entries));
        if size_bytes < self.size_bytes {
            self.write(&self.entries.to_le_bytes(), size_bytes - COUNT_BYTES)?;
            self.storage
                .set_size(size_bytes)
                .map_err(|source| failed(&self.chunk.path, source))?;
            self.size_bytes = size_bytes;
        }
        Ok(())
    }

    /// Makes all entries durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.storage.sync().map_err(|source| failed(&self.chunk.path, source))
    }

    fn write(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        self.storage
            .write_all_at(bytes, offset_bytes)
            .map_err(|source| failed(&self.chunk.path, source))
    }
}

/// How much address space a chunk of `size_bytes` that may grow to `entries_max` entries is given, in bytes; `least` is
/// the limit's.
fn window(layout: Layout, entries_max: u32, size_bytes: u64, least: u64) -> u64 {
    let full = layout.size_bytes(u64::from(entries_max)).max(size_bytes);
    full.min(least.max(size_bytes.saturating_mul(2)))
}
