//! Reads a suspect chunk in windows, trusting none of its numbers.
//!
//! It answers questions of fact for the verdicts of [`super`]: what is in order, what is zero, what was never stored.

use super::Suspect;
use crate::series::{
    Damage, Error, Result, Timestamp,
    chunk::format::{COUNT_BYTES, timestamp_of},
};

/// A disk stores so many bytes at once.
const SECTOR_BYTES: u64 = 512;
/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Reads a chunk in windows.
pub(super) struct Scan<'a> {
    suspect: &'a Suspect<'a>,
    pub(super) size_bytes: u64,
    window: Vec<u8>,
    window_start: u64,
    last: Timestamp,
    last_index: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(suspect: &'a Suspect<'a>, size_bytes: u64) -> Self {
        Self {
            suspect,
            size_bytes,
            window: Vec::new(),
            window_start: 0,
            last: Timestamp::MIN,
            last_index: 0,
        }
    }

    /// Bytes of the file; shorter than `length` only past its end.
    pub(super) fn bytes_at(&mut self, offset: u64, length: u64) -> Result<&[u8]> {
        let end = (offset + length).min(self.size_bytes).max(offset);
        let loaded = self.window_start + self.window.len() as u64;
        if offset < self.window_start || end > loaded {
            let wanted = (end - offset)
                .max(WINDOW_BYTES)
                .min(self.size_bytes.saturating_sub(offset));
            self.window.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
            let mut filled = 0;
            while filled < self.window.len() {
                let read = self
                    .suspect
                    .storage
                    .read_at(&mut self.window[filled..], offset + filled as u64)
                    .map_err(|source| Error::Io {
                        path: self.suspect.path.to_owned(),
                        source,
                    })?;
                if read == 0 {
                    break;
                }
                filled += read;
            }
            self.window.truncate(filled);
            self.window_start = offset;
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        let stop = usize::try_from(end - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(start..stop.min(self.window.len())).unwrap_or(&[]))
    }

    pub(super) fn timestamp(&mut self, index: u64) -> Result<Timestamp> {
        let offset = self.suspect.layout.record_offset(index);
        let bytes = self.bytes_at(offset, 8)?;
        Ok(if bytes.len() == 8 {
            timestamp_of(bytes)
        } else {
            Timestamp::MIN
        })
    }

    pub(super) fn ends_are_right(&mut self, count: u32) -> Result<bool> {
        let last = u64::from(count) - 1;
        Ok(self.timestamp(0)? == self.suspect.first
            && (last == 0 || self.timestamp(last - 1)? < self.timestamp(last)?))
    }

    /// True where at least two more entries in order stand behind the counted ones: one may be an append that was
    /// never counted, but nobody who closes a chunk leaves two.
    pub(super) fn continues_after(&mut self, count: u32) -> Result<bool> {
        let count = u64::from(count);
        if self.suspect.layout.capacity(self.size_bytes) < count + 2 {
            return Ok(false);
        }
        let (last, one, two) = (
            self.timestamp(count - 1)?,
            self.timestamp(count)?,
            self.timestamp(count + 1)?,
        );
        Ok(last < one && one < two)
    }

    /// How many of at most `limit` leading entries are in order, and what is wrong with the next one.
    pub(super) fn ordered(&mut self, limit: u64) -> Result<(u64, Option<Damage>)> {
        let mut previous = self.timestamp(0)?;
        if previous != self.suspect.first {
            return Ok((0, None));
        }
        let mut index = 1;
        let mut damage = None;
        while index < limit {
            let found = self.timestamp(index)?;
            if found <= previous {
                damage = Some(Damage::Order { index, found, previous });
                break;
            }
            previous = found;
            index += 1;
        }
        (self.last, self.last_index) = (previous, index);
        Ok((index, damage))
    }

    /// Timestamp of the last of `entries` ordered entries.
    pub(super) fn last_of(&self, entries: u64) -> Timestamp {
        debug_assert_eq!(entries, self.last_index);
        self.last
    }

    /// How many of the first `entries` have a timestamp at or below `timestamp`.
    pub(super) fn at_or_below(&mut self, timestamp: Timestamp, entries: u64) -> Result<u64> {
        let (mut low, mut high) = (0, entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.timestamp(middle)? <= timestamp {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Of entries `from..to`, the number of the first one that has a sector of zeros; `to` if none. Where something of
    /// a later entry stands in the sector, it was stored, and the zeros are the entry's own.
    pub(super) fn stored(&mut self, from: u64, to: u64) -> Result<u64> {
        let layout = self.suspect.layout;
        for index in from..to {
            let start = layout.record_offset(index);
            let end = layout.record_offset(index + 1);
            let mut piece = start;
            while piece < end {
                let next = (piece / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                if zeros(self.bytes_at(piece, next.min(end) - piece)?) {
                    // The last bytes of a sector may be a count that stood there once.
                    let later = (next - COUNT_BYTES).min(layout.record_offset(to));
                    let whole = u64::from(layout.page_size).is_multiple_of(SECTOR_BYTES);
                    if !whole || later <= end || zeros(self.bytes_at(end, later - end)?) {
                        return Ok(index);
                    }
                }
                piece = next;
            }
        }
        Ok(to)
    }

    /// True where nothing but zeros stands from `offset` to the count.
    pub(super) fn zeros_from(&mut self, offset: u64) -> Result<bool> {
        let end = self.size_bytes.saturating_sub(COUNT_BYTES);
        let mut at = offset;
        while at < end {
            let bytes = self.bytes_at(at, (end - at).min(WINDOW_BYTES))?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }
}
