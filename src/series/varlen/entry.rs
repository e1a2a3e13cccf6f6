//! One value of a variable-length series, fetched piece by piece as it is asked for.
//!
//! It holds the root's chunk and finds the other parts by timestamp, so it stays good while the series is appended to;
//! once it is trimmed, only its head is still there.

use std::{
    cmp::Ordering,
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{VarlenContents, part_bytes};
use crate::series::{Entry, Result, Timestamp, chunk::Chunk};

/// Where a value begins.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) chunk: Arc<Chunk>,
    pub(super) index: u32,
    pub(super) timestamp: Timestamp,
    pub(super) length: usize,
}

impl Head {
    /// Copies bytes of the root's block, from `offset` on.
    pub(super) fn copy(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        self.chunk.copy_value(self.index, offset, buffer)
    }
}

/// A value that is still in its chunks: its length is known, its bytes are read when they are asked for.
#[derive(Debug, Clone)]
pub struct VarlenEntry {
    contents: VarlenContents,
    head: Head,
    whole: OnceLock<Vec<u8>>,
}

impl VarlenEntry {
    pub(super) fn new(contents: VarlenContents, head: Head) -> Self {
        Self {
            contents,
            head,
            whole: OnceLock::new(),
        }
    }

    /// When it happened.
    pub fn timestamp(&self) -> Timestamp {
        self.head.timestamp
    }

    /// Length of the value in bytes.
    pub fn len(&self) -> usize {
        self.head.length
    }

    /// True for a value of no bytes.
    pub fn is_empty(&self) -> bool {
        self.head.length == 0
    }

    /// The whole value; it is read once.
    ///
    /// # Errors
    /// [`crate::series::Error::Damaged`] where a part is missing or cut short; [`crate::series::Error::DoesNotExist`]
    /// where it was trimmed meanwhile; [`crate::series::Error::Io`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole.clone());
        }
        let whole = self.slice(0..self.len())?;
        Ok(self.whole.get_or_init(|| whole).clone())
    }

    /// The value with its timestamp.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn to_entry(&self) -> Result<Entry> {
        Ok(Entry {
            timestamp: self.timestamp(),
            value: self.to_bytes()?,
        })
    }

    /// Bytes `range` of the value, cut to its length; only the parts that hold them are read.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn slice(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        if let Some(whole) = self.whole.get() {
            return Ok(whole[start..end].to_vec());
        }
        let parameters = self.contents.parameters_now();
        let mut bytes = vec![0; end - start];
        let (mut part, mut part_start) = (0, 0);
        while part_start < end {
            let part_end = part_start + part_bytes(&parameters, part);
            if part_end > start {
                let (from, to) = (start.max(part_start), end.min(part_end));
                self.copy(part, from - part_start, &mut bytes[from - start..to - start])?;
            }
            part_start = part_end;
            part += 1;
        }
        Ok(bytes)
    }

    fn copy(&self, part: usize, offset: usize, buffer: &mut [u8]) -> Result<()> {
        if part == 0 {
            let prefix = usize::from(self.contents.parameters_now().size_struct);
            return self.head.copy(prefix + offset, buffer);
        }
        let missing = || self.contents.missing(self.timestamp(), part);
        let contents = self.contents.part(part).ok_or_else(missing)?;
        let (chunk, entries) = contents.chunk_at(self.timestamp())?.ok_or_else(missing)?;
        let position = chunk.find_left(self.timestamp(), entries)?;
        if position == entries || chunk.timestamp_at(position)? != self.timestamp() {
            return Err(missing());
        }
        chunk.copy_value(position, offset, buffer)
    }

    /// Byte `index` of the value; none beyond its end.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn byte_at(&self, index: usize) -> Result<Option<u8>> {
        if index >= self.len() {
            return Ok(None);
        }
        Ok(self.slice(index..index + 1)?.first().copied())
    }

    /// True where the value begins with `prefix`; reads no more than that.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn starts_with(&self, prefix: &[u8]) -> Result<bool> {
        Ok(prefix.len() <= self.len() && self.slice(0..prefix.len())? == prefix)
    }

    /// True where the value ends with `suffix`; reads no more than that.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn ends_with(&self, suffix: &[u8]) -> Result<bool> {
        match self.len().checked_sub(suffix.len()) {
            Some(start) => Ok(self.slice(start..self.len())? == suffix),
            None => Ok(false),
        }
    }

    /// Compares the value with `other`, byte by byte.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn compare(&self, other: &[u8]) -> Result<Ordering> {
        Ok(self.to_bytes()?.as_slice().cmp(other))
    }
}
