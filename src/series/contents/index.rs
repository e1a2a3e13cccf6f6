//! What is known in memory about the chunks of one part: their first timestamps, how many entries stand before each,
//! and which of them is growing.
//!
//! Arithmetic only; [`super::Contents`] holds it under a lock and does the reading.

use std::{collections::VecDeque, sync::Arc};

use crate::series::{
    FixedParameters, Timestamp,
    chunk::{Chunk, format::Layout},
};

/// One chunk as the index knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) first: Timestamp,
    /// Entries in all chunks before it since the index was made, trimmed ones included; right up to `Index::counted`.
    pub(super) before: u64,
}

/// The chunks of one part, in order.
pub(super) struct Index {
    pub(super) layout: Layout,
    pub(super) entries_per_chunk: u32,
    pub(super) chunks: VecDeque<Known>,
    /// How many leading chunks have a right `before`; at least one where there is a chunk.
    pub(super) counted: usize,
    /// Entries trimmed since the index was made.
    pub(super) trimmed: u64,
    /// The last chunk while it is open for appending.
    pub(super) tail: Option<Arc<Chunk>>,
    /// How many entries of the last chunk count: in a snapshot, after a crash that a reader may not repair, or simply
    /// known; `None` asks the file.
    pub(super) last_entries: Option<u32>,
    /// How often the writer took up or let go a last chunk.
    pub(super) visits: u64,
}

impl Index {
    pub(super) fn new(parameters: &FixedParameters, firsts: Vec<Timestamp>, last_entries: Option<u32>) -> Self {
        Self {
            layout: layout_of(parameters),
            entries_per_chunk: parameters.entries_per_chunk,
            counted: firsts.len().min(1),
            chunks: firsts.into_iter().map(|first| Known { first, before: 0 }).collect(),
            trimmed: 0,
            tail: None,
            last_entries,
            visits: 0,
        }
    }

    /// Changes the parameters of an empty series.
    pub(super) fn set_parameters(&mut self, parameters: &FixedParameters) {
        assert!(self.chunks.is_empty());
        self.layout = layout_of(parameters);
        self.entries_per_chunk = parameters.entries_per_chunk;
    }

    pub(super) fn position(&self, first: Timestamp) -> Option<usize> {
        self.chunks.binary_search_by_key(&first, |known| known.first).ok()
    }

    /// First timestamp of the chunk at `position`.
    pub(super) fn name(&self, position: usize) -> Option<Timestamp> {
        self.chunks.get(position).map(|known| known.first)
    }

    /// Name of the chunk that `timestamp` falls in: the last one that begins at or before it, else the first.
    pub(super) fn name_at(&self, timestamp: Timestamp) -> Option<Timestamp> {
        let after = self.chunks.partition_point(|known| known.first <= timestamp);
        self.name(after.saturating_sub(1))
    }

    /// Name of the chunk after the one that begins at `first`.
    pub(super) fn name_after(&self, first: Timestamp) -> Option<Timestamp> {
        self.name(self.chunks.partition_point(|known| known.first <= first))
    }

    /// The chunk of entry `number`, and the entry's position there as far as `before` is right.
    /// `trimmed` is what the number was counted from; none too where that has changed.
    pub(super) fn locate(&self, number: u64, trimmed: u64) -> Option<(Timestamp, u64)> {
        let absolute = number.checked_add(trimmed).filter(|_| trimmed == self.trimmed)?;
        let after = self.chunks.partition_point(|known| known.before <= absolute);
        let known = self.chunks[after.checked_sub(1)?];
        Some((known.first, absolute - known.before))
    }

    /// Entries before the chunk that begins at `first`; none where it is gone.
    pub(super) fn before(&self, first: Timestamp) -> Option<u64> {
        self.position(first)
            .map(|position| self.chunks[position].before - self.trimmed)
    }

    /// Takes up the count of the chunk before position `counted`, unless the index changed since `first` stood there.
    pub(super) fn count(&mut self, counted: usize, first: Option<Timestamp>, entries: u32) {
        if self.counted == counted && self.name(counted) == first {
            self.chunks[counted].before = self.chunks[counted - 1].before + u64::from(entries);
            self.counted = counted + 1;
        }
    }

    /// Takes up a chunk that now receives the appends; `sealed` is the one before it.
    pub(super) fn push(&mut self, tail: Arc<Chunk>, sealed: Option<&Chunk>) {
        let counted = self.counted == self.chunks.len();
        let before = match (sealed, self.chunks.back()) {
            (Some(sealed), Some(last)) => last.before + u64::from(sealed.entries()),
            _ => self.trimmed,
        };
        self.chunks.push_back(Known {
            first: tail.min_ts(),
            before,
        });
        self.counted += usize::from(counted);
        self.set_tail(Some(tail), None);
    }

    /// Takes up a new form of the last chunk, or its end as an open one.
    pub(super) fn set_tail(&mut self, tail: Option<Arc<Chunk>>, last_entries: Option<u32>) {
        self.tail = tail;
        self.last_entries = last_entries;
        self.visits += 1;
    }

    /// Forgets the oldest chunk, of which the next one's `before` is known.
    pub(super) fn drop_first(&mut self) {
        self.chunks.pop_front();
        if let Some(next) = self.chunks.front() {
            self.trimmed = next.before;
        }
        self.counted = self.counted.saturating_sub(1).max(self.chunks.len().min(1));
    }

    /// Forgets the newest chunk, which nobody appends to.
    pub(super) fn drop_last(&mut self) {
        self.chunks.pop_back();
        self.counted = self.counted.min(self.chunks.len());
        self.set_tail(None, None);
    }
}

fn layout_of(parameters: &FixedParameters) -> Layout {
    Layout {
        block_size: parameters.block_size,
        page_size: parameters.page_size,
    }
}
