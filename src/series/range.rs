//! Iteration over a range of a fixed series.
//!
//! A range holds one chunk at a time, so descriptors and mappings stay bounded however long it is. It finds its place
//! again by timestamp at each chunk, so appends, trims and rollovers may go on meanwhile: entries that are trimmed
//! before they are reached are left out, entries that are appended before the end is reached are included.

use super::{
    Entry, Result, Timestamp,
    chunk::{Chunk, Records},
    contents::Contents,
};

/// Runs of packed records, in order; see [`Contents::range`].
#[derive(Debug)]
pub struct Range {
    contents: Contents,
    /// Where to go on; none at the end.
    next: Option<Timestamp>,
    to: Timestamp,
    remaining: u64,
}

impl Range {
    pub(super) fn new(contents: Contents, from: Timestamp, to: Timestamp, most: u64) -> Self {
        Self {
            contents,
            next: (most > 0).then_some(from),
            to,
            remaining: most,
        }
    }

    /// The same range entry by entry, each copied out.
    pub fn entries(self) -> Entries {
        Entries { range: self, run: None }
    }

    fn step(&mut self, from: Timestamp) -> Result<Option<Records>> {
        let mut name = self.contents.name_at(from);
        while let Some(first) = name.filter(|first| *first <= self.to) {
            // Asked before the count: where there was a chunk behind it, the count is its last.
            let after = self.contents.name_after(first);
            let Some((chunk, entries)) = self.contents.chunk_named(first)? else {
                name = self.contents.name_at(from);
                continue;
            };
            let start = chunk.find_left(from, entries)?;
            if start == entries {
                name = after;
                continue;
            }
            let end = self.end(&chunk, start, entries)?;
            if start >= end {
                break;
            }
            let records = chunk.records(start..end)?;
            self.remaining -= records.len() as u64;
            let last = chunk.timestamp_at(records.start() + last_of(&records))?;
            self.next = last.0.checked_add(1).map(Timestamp).filter(|next| *next <= self.to);
            return Ok(Some(records));
        }
        Ok(None)
    }

    fn end(&self, chunk: &Chunk, start: u32, entries: u32) -> Result<u32> {
        let end = if chunk.timestamp_at(entries - 1)? <= self.to {
            entries
        } else {
            chunk.find_right(self.to, entries)?
        };
        let most = u32::try_from(self.remaining).unwrap_or(u32::MAX);
        Ok(end.min(start.saturating_add(most)))
    }
}

fn last_of(records: &Records) -> u32 {
    u32::try_from(records.len() - 1).expect("a chunk's entries are counted in 32 bits")
}

impl Iterator for Range {
    type Item = Result<Records>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.next.take()?;
        if self.remaining == 0 {
            return None;
        }
        // After an error or the end `next` stays empty: the iterator is fused.
        self.step(from).transpose()
    }
}

impl std::iter::FusedIterator for Range {}

/// Entries of a range, each copied out; see [`Range::entries`].
#[derive(Debug)]
pub struct Entries {
    range: Range,
    run: Option<(Records, usize)>,
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((run, position)) = &mut self.run {
                if let Some((timestamp, value)) = run.get(*position) {
                    *position += 1;
                    let value = value.to_vec();
                    return Some(run.verify().map(|()| Entry { timestamp, value }));
                }
                self.run = None;
            }
            match self.range.next()? {
                Ok(run) => self.run = Some((run, 0)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
