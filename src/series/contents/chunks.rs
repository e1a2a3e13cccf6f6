//! How a part's chunks are found and opened, and what its writer changes in the index.
//!
//! Every look-up is by first timestamp, never by position, so that a trim or a rollover at the same moment leads to another
//! look, not to another chunk.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use super::{Contents, Known};
use crate::series::{
    Error, FixedParameters, Result, Timestamp,
    cache::{ChunkKey, Form},
    chunk::{Chunk, format::Layout, read_count},
    snapshot::pin_name,
};

impl Contents {
    /// Name of the chunk that `timestamp` falls in: the last one that begins at or before it, else the first.
    pub(in crate::series) fn name_at(&self, timestamp: Timestamp) -> Option<Timestamp> {
        self.index().name_at(timestamp)
    }

    /// Name of the chunk after the one that begins at `first`.
    pub(in crate::series) fn name_after(&self, first: Timestamp) -> Option<Timestamp> {
        self.index().name_after(first)
    }

    /// Names of the two oldest chunks.
    pub(in crate::series) fn leading_names(&self) -> [Option<Timestamp>; 2] {
        let index = self.index();
        [0, 1].map(|position| index.name(position))
    }

    /// First chunk, last chunk, and how many entries of the last one count, all of one moment.
    pub(in crate::series) fn extent(&self) -> Result<(Option<Timestamp>, Option<Timestamp>, u32)> {
        loop {
            let (first, last) = {
                let index = self.index();
                let name = |known: Option<&Known>| known.map(|known| known.first);
                (name(index.chunks.front()), name(index.chunks.back()))
            };
            let Some(newest) = last else {
                return Ok((None, None, 0));
            };
            if let Some((_, entries)) = self.chunk_named(newest)? {
                return Ok((first, last, entries));
            }
        }
    }

    /// The chunk that `timestamp` falls in, and how many entries of it count.
    pub(in crate::series) fn chunk_at(&self, timestamp: Timestamp) -> Result<Option<(Arc<Chunk>, u32)>> {
        while let Some(first) = self.name_at(timestamp) {
            if let Some(found) = self.chunk_named(first)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(super) fn last_chunk(&self) -> Result<Option<(Arc<Chunk>, u32)>> {
        self.chunk_at(Timestamp::MAX)
    }

    /// The chunk that begins at `first`, opened, and how many entries of it count; none where it was trimmed.
    pub(in crate::series) fn chunk_named(&self, first: Timestamp) -> Result<Option<(Arc<Chunk>, u32)>> {
        let (position, layout, limit, form) = {
            let index = self.index();
            let Some(position) = index.position(first) else {
                return Ok(None);
            };
            let last = position + 1 == index.chunks.len();
            if let Some(tail) = index.tail.as_ref().filter(|_| last) {
                return Ok(Some((Arc::clone(tail), tail.entries())));
            }
            let limit = index.last_entries.filter(|_| last);
            let form = match limit {
                _ if !last => Form::Sealed,
                // Its own last chunk is missing, so this one was full then.
                None if self.0.frozen => Form::Sealed,
                Some(entries) if self.0.frozen => Form::Frozen(entries),
                _ => Form::Last(index.visits),
            };
            (position, index.layout, limit, form)
        };
        let form = match form {
            // Another process may have appended since.
            Form::Last(_) if limit.is_none() && self.0.context.read_only() => Form::Frozen(self.entries_of(position)?),
            form => form,
        };
        match self.open_closed(self.key(first, form), layout, limit) {
            Ok(chunk) => {
                let entries = limit.map_or(chunk.entries(), |limit| limit.min(chunk.entries()));
                Ok(Some((chunk, entries)))
            }
            // The name leaves the index before the file leaves the directory.
            Err(_) if self.index().position(first).is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_closed(&self, key: ChunkKey, layout: Layout, limit: Option<u32>) -> Result<Arc<Chunk>> {
        let context = &self.0.context;
        let mapped = self.is_mapped();
        context.cache.get(key, || {
            let first = key.first;
            let storage = self.chunk_storage(first)?;
            let path = context.shown(&self.chunk_path(first));
            match limit {
                Some(entries) if !self.0.frozen => Chunk::open_known(&storage, &path, first, layout, mapped, entries),
                _ => Chunk::open(&storage, &path, first, layout, mapped),
            }
        })
    }

    /// How many entries of the chunk at `position` count; reads its count at most, not the chunk.
    pub(super) fn entries_of(&self, position: usize) -> Result<u32> {
        let (first, layout) = {
            let index = self.index();
            let last = position + 1 == index.chunks.len();
            if last && let Some(tail) = &index.tail {
                return Ok(tail.entries());
            }
            if last && let Some(entries) = index.last_entries {
                return Ok(entries);
            }
            match index.chunks.get(position) {
                Some(known) => (known.first, index.layout),
                None => return Ok(0),
            }
        };
        let storage = self.chunk_storage(first)?;
        let path = self.0.context.shown(&self.chunk_path(first));
        let (size_bytes, count) = read_count(storage.as_ref(), &path)?;
        layout
            .validate(size_bytes, layout.block_size.to_le_bytes(), count)
            .map_err(|damage| Error::Damaged { path, damage })?;
        Ok(count)
    }

    /// Makes every `before` of the index right.
    pub(super) fn count_all(&self) -> Result<()> {
        loop {
            let (position, first, total) = {
                let index = self.index();
                (index.counted, index.name(index.counted), index.chunks.len())
            };
            if position >= total {
                return Ok(());
            }
            let entries = self.entries_of(position - 1)?;
            self.index_mut().count(position, first, entries);
        }
    }

    /// Takes up a chunk that now receives the appends; `sealed` is the one before it.
    pub(in crate::series) fn push(&self, tail: Arc<Chunk>, sealed: Option<Arc<Chunk>>) {
        self.index_mut().push(tail, sealed.as_deref());
        if let Some(sealed) = sealed {
            self.0
                .context
                .cache
                .insert(self.key(sealed.min_ts(), Form::Sealed), sealed);
        }
    }

    /// Takes up a new form of the last chunk, or its end as an open one.
    pub(in crate::series) fn set_tail(&self, tail: Option<Arc<Chunk>>, last_entries: Option<u32>) {
        let mut index = self.index_mut();
        let name = index.chunks.back().map(|known| known.first);
        index.set_tail(tail, last_entries);
        drop(index);
        self.forget_open(name);
    }

    /// Forgets the oldest chunk. Its count keeps entry numbers steady; where it cannot be read, they start anew.
    pub(in crate::series) fn drop_first(&self) {
        let (counted, second, name) = {
            let index = self.index();
            (index.counted, index.name(1), index.name(0))
        };
        if counted == 1 && second.is_some() {
            let entries = self.entries_of(0).unwrap_or(0);
            self.index_mut().count(1, second, entries);
        }
        self.index_mut().drop_first();
        self.forget_open(name);
    }

    /// Forgets the newest chunk; there is no open tail.
    pub(in crate::series) fn drop_last(&self) {
        let name = self.name_at(Timestamp::MAX);
        self.index_mut().drop_last();
        self.forget_open(name);
    }

    fn forget_open(&self, name: Option<Timestamp>) {
        let Some(first) = name else { return };
        let (series, part) = (self.0.id, self.0.part);
        let forget = |key: &ChunkKey| (key.series, key.part, key.first) == (series, part, first);
        self.0.context.cache.close(false, forget);
    }

    /// Changes the parameters of an empty series.
    pub(in crate::series) fn set_parameters(&self, parameters: &FixedParameters) {
        self.index_mut().set_parameters(parameters);
    }

    /// True where chunks are opened as shared memory, where that can be had.
    pub fn is_mapped(&self) -> bool {
        self.0.mapped.load(Ordering::Relaxed)
    }

    pub(in crate::series) fn set_mapped(&self, mapped: bool) {
        self.0.mapped.store(mapped, Ordering::Relaxed);
        self.close_chunks(false);
    }

    /// Directory of the chunk files relative to the database; none for a series that was deleted.
    pub(in crate::series) fn directory(&self) -> Option<PathBuf> {
        let place = self.0.place.get()?;
        // Joining nothing would end the path, which messages show, in a slash.
        let has_parts = !self.0.below.as_os_str().is_empty();
        Some(if has_parts { place.join(&self.0.below) } else { place })
    }

    /// Where the chunk that begins at `first` is now, relative to the database.
    pub(in crate::series) fn chunk_path(&self, first: Timestamp) -> PathBuf {
        match self.directory() {
            Some(directory) => directory.join(first.to_string()),
            None => PathBuf::from(pin_name(self.0.id, self.0.part, first)),
        }
    }

    fn key(&self, first: Timestamp, form: Form) -> ChunkKey {
        ChunkKey {
            series: self.0.id,
            part: self.0.part,
            first,
            form,
        }
    }

    /// Closes open chunks of this series that nobody reads.
    pub(in crate::series) fn close_chunks(&self, unused_only: bool) -> usize {
        let (id, part) = (self.0.id, self.0.part);
        self.0
            .context
            .cache
            .close(unused_only, |key| key.series == id && key.part == part)
    }

    /// Bytes of open mapped chunks.
    pub(in crate::series) fn mapped_bytes(&self) -> u64 {
        let (id, part) = (self.0.id, self.0.part);
        let closed = self.0.context.cache.usage(|key| key.series == id && key.part == part).1;
        closed + self.index().tail.as_ref().map_or(0, |tail| tail.mapped_bytes())
    }
}
