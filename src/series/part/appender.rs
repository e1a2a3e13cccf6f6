//! Appending to one part: order, length, batches, and the step to the next chunk.
//!
//! It stands between a series and [`ChunkWriter`]: whatever can be refused is refused here, before a byte is stored.

use std::sync::{Arc, MutexGuard, atomic::Ordering};

use super::{Part, Writer};
use crate::series::{
    Error, Result, Timestamp,
    chunk::{
        ChunkWriter,
        format::{TIMESTAMP_BYTES, timestamp_of},
    },
};

/// The writer's seat of one part; others wait until it is dropped.
pub struct Appender<'a> {
    pub(super) part: &'a Part,
    pub(super) writer: MutexGuard<'a, Writer>,
}

impl Appender<'_> {
    /// Newest timestamp.
    pub fn last(&self) -> Option<Timestamp> {
        self.writer.last
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// [`Error::BadLength`], [`Error::OutOfOrder`], [`Error::Io`] (`ENOSPC`), [`Error::Damaged`]; nothing is stored then.
    #[inline]
    pub fn append(&mut self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        if value.len() != self.writer.block_bytes {
            return Err(self.bad_length(value.len()));
        }
        if let Some(last) = self.writer.last
            && timestamp <= last
        {
            return Err(self.out_of_order(timestamp, last));
        }
        match &mut self.writer.tail {
            Some(tail) if tail.room() > 0 => {
                tail.append(timestamp, value)?;
                if tail.take_moved() {
                    self.show_moved();
                }
            }
            _ => {
                let mut record = Vec::with_capacity(TIMESTAMP_BYTES + value.len());
                record.extend_from_slice(&timestamp.0.to_le_bytes());
                record.extend_from_slice(value);
                self.append_elsewhere(&record)?;
            }
        }
        self.writer.last = Some(timestamp);
        self.writer.dirty = true;
        self.count(1);
        Ok(())
    }

    /// Appends one entry, its value padded with zeros to the block size.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_padded(&mut self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        if value.len() > self.writer.block_bytes {
            return Err(self.bad_length(value.len()));
        }
        let mut padded = value.to_vec();
        padded.resize(self.writer.block_bytes, 0);
        self.append(timestamp, &padded)
    }

    /// Appends packed records until one is refused; returns how many were stored.
    pub fn append_records(&mut self, records: &[u8]) -> (usize, Result<()>) {
        let record_bytes = TIMESTAMP_BYTES + self.writer.block_bytes;
        let (whole, rest) = records.split_at(records.len() / record_bytes * record_bytes);
        let (ordered, disorder) = self.ordered(whole, record_bytes);
        let mut stored = 0;
        while stored < ordered {
            let remaining = &whole[stored * record_bytes..ordered * record_bytes];
            match self.append_run(remaining, record_bytes) {
                Ok(added) => stored += added,
                Err(error) => return (stored, Err(error)),
            }
        }
        match disorder {
            Some((timestamp, last)) => (stored, Err(self.out_of_order(timestamp, last))),
            None if rest.is_empty() => (stored, Ok(())),
            None => (stored, Err(self.bad_length(rest.len().saturating_sub(TIMESTAMP_BYTES)))),
        }
    }

    /// How many leading records are in order, and the pair of timestamps that is not.
    fn ordered(&self, records: &[u8], record_bytes: usize) -> (usize, Option<(Timestamp, Timestamp)>) {
        let mut last = self.writer.last;
        for (number, record) in records.chunks_exact(record_bytes).enumerate() {
            let timestamp = timestamp_of(record);
            match last {
                Some(last) if timestamp <= last => return (number, Some((timestamp, last))),
                _ => last = Some(timestamp),
            }
        }
        (records.len() / record_bytes, None)
    }

    /// Appends as many of the ordered `records` as go into one chunk.
    fn append_run(&mut self, records: &[u8], record_bytes: usize) -> Result<usize> {
        let added = match &mut self.writer.tail {
            Some(tail) if tail.room() > 0 => {
                let added = (records.len() / record_bytes).min(tail.room() as usize);
                tail.append_records(&records[..added * record_bytes])?;
                if tail.take_moved() {
                    self.show_moved();
                }
                added
            }
            _ => {
                self.append_elsewhere(&records[..record_bytes])?;
                1
            }
        };
        let start = (added - 1) * record_bytes;
        self.writer.last = Some(timestamp_of(&records[start..]));
        self.writer.dirty = true;
        self.count(added as u64);
        Ok(added)
    }

    /// Appends one record where the last chunk is not open or full.
    #[cold]
    fn append_elsewhere(&mut self, record: &[u8]) -> Result<()> {
        let part = self.part;
        if self.writer.tail.is_none()
            && let Some(first) = part.contents.name_at(Timestamp::MAX)
        {
            let tail = part.tail(&mut self.writer, first)?;
            if tail.room() > 0 {
                tail.append_records(record)?;
                if tail.take_moved() {
                    self.show_moved();
                }
                return Ok(());
            }
        }
        let first = timestamp_of(record);
        let path = part.directory().join(first.to_string());
        if let Some(tail) = &mut self.writer.tail {
            tail.tighten()?;
        }
        let next = ChunkWriter::create(part.placement(&path), record)?;
        let sealed = self.writer.tail.take().map(|tail| Arc::clone(tail.chunk()));
        if let Some(sealed) = &sealed {
            self.writer.unsynced.insert(sealed.min_ts());
        }
        part.contents.push(Arc::clone(next.chunk()), sealed);
        self.writer.tail = Some(next);
        if !part.is_writing() {
            part.note_writer();
        }
        Ok(())
    }

    /// Counts appended entries. Whoever sits here is the only one to do so, so no locked addition is needed.
    #[inline]
    fn count(&self, entries: u64) {
        let appended = &self.part.appended;
        appended.store(appended.load(Ordering::Relaxed) + entries, Ordering::Relaxed);
    }

    #[cold]
    fn show_moved(&self) {
        if let Some(tail) = &self.writer.tail {
            self.part.contents.set_tail(Some(Arc::clone(tail.chunk())), None);
        }
    }

    #[cold]
    fn bad_length(&self, length: usize) -> Error {
        Error::BadLength {
            path: self.part.shown(),
            length,
            limit: self.writer.block_bytes,
            too_long: length > self.writer.block_bytes,
        }
    }

    #[cold]
    fn out_of_order(&self, timestamp: Timestamp, last: Timestamp) -> Error {
        Error::OutOfOrder {
            path: self.part.shown(),
            timestamp,
            last,
        }
    }
}
