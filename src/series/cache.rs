//! The bounded set of open closed-chunks of one database.
//!
//! At most [`super::Limits::open_chunks`] chunks stay open after use, whatever the number of series and chunks; the
//! least recently used one is let go first. A chunk that somebody still reads lives on until they are done.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::{Result, SeriesId, Timestamp, chunk::Chunk};

/// What an open chunk was when it was opened. A last chunk grows, so what was opened of it counts no longer once the
/// writer came by, and is never taken for the full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Full: it never changes again.
    Sealed,
    /// The last one of a live series, between two visits of its writer, which are counted.
    Last(u64),
    /// The last one of a snapshot, or of a series that another process writes, when so many entries of it counted;
    /// there may be more by now.
    Frozen(u32),
}

/// Which chunk: series, part (0 for a fixed series or a root), first timestamp, and its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChunkKey {
    pub(crate) series: SeriesId,
    pub(crate) part: u32,
    pub(crate) first: Timestamp,
    pub(crate) form: Form,
}

/// Least recently used cache of open chunks.
pub(crate) struct ChunkCache {
    chunks: Mutex<LruCache<ChunkKey, Arc<Chunk>>>,
}

impl ChunkCache {
    /// Makes a cache that keeps at most `capacity` chunks, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            chunks: Mutex::new(LruCache::new(capacity)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<ChunkKey, Arc<Chunk>>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk under `key`, opened by `open` where it is not open yet.
    pub(crate) fn get(&self, key: ChunkKey, open: impl FnOnce() -> Result<Chunk>) -> Result<Arc<Chunk>> {
        if let Some(chunk) = self.lock().get(&key) {
            return Ok(Arc::clone(chunk));
        }
        let chunk = Arc::new(open()?);
        self.insert(key, Arc::clone(&chunk));
        Ok(chunk)
    }

    /// Takes over an open chunk.
    pub(crate) fn insert(&self, key: ChunkKey, chunk: Arc<Chunk>) {
        let evicted = self.lock().push(key, chunk);
        drop(evicted); // unmapped after the lock is released
    }

    /// Lets go of all chunks that `which` picks; true in `unused_only` spares those that somebody reads.
    pub(crate) fn close(&self, unused_only: bool, which: impl Fn(&ChunkKey) -> bool) -> usize {
        let mut chunks = self.lock();
        let keys: Vec<_> = chunks
            .iter()
            .filter(|(key, chunk)| which(key) && !(unused_only && Arc::strong_count(chunk) > 1))
            .map(|(key, _)| *key)
            .collect();
        let closed: Vec<_> = keys.iter().filter_map(|key| chunks.pop(key)).collect();
        drop(chunks);
        closed.len()
    }

    /// How many chunks that `which` picks are open, and how many bytes of them are mapped.
    pub(crate) fn usage(&self, which: impl Fn(&ChunkKey) -> bool) -> (usize, u64) {
        let chunks = self.lock();
        chunks
            .iter()
            .filter(|(key, _)| which(key))
            .fold((0, 0), |(count, bytes), (_, chunk)| {
                (count + 1, bytes + chunk.mapped_bytes())
            })
    }
}
