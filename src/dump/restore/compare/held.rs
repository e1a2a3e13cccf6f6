//! What is there of an object, read beside the tape from its beginning to its end.
//!
//! Holes on the tape have to be zeros, of which those that the host knows to be a hole are not read. Reading stops at the
//! first difference.

use std::{io, os::fd::OwnedFd, sync::Arc};

use rustix::{
    fs::{SeekFrom, seek},
    io::{Errno, pread, retry_on_intr as retry},
};

use crate::dump::images::Contents;

/// Bytes that are compared at once where the tape has a hole.
const PIECE_BYTES: usize = 1 << 20;

/// Where the bytes of what is there come from.
pub(super) enum Source {
    /// A file.
    File(OwnedFd),
    /// What an image was taken of, and its length in bytes.
    Image(Arc<dyn Contents>, u64),
}

impl Source {
    /// Fills the buffer; false where it ends before.
    fn read(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        match self {
            Self::File(file) => {
                let mut done = 0;
                while done < buffer.len() {
                    match retry(|| pread(file, &mut buffer[done..], offset_bytes + done as u64))? {
                        0 => return Ok(false),
                        more => done += more,
                    }
                }
                Ok(true)
            }
            Self::Image(_, size_bytes) if offset_bytes.saturating_add(buffer.len() as u64) > *size_bytes => Ok(false),
            Self::Image(contents, _) => contents.read_at(buffer, offset_bytes).map(|()| true),
        }
    }

    /// Offset of the next data at or behind an offset; none where zeros follow to the end.
    fn next_data(&self, offset_bytes: u64) -> Option<u64> {
        match self {
            Self::File(file) => match seek(file, SeekFrom::Data(offset_bytes)) {
                Ok(data) => Some(data),
                Err(Errno::NXIO) => None,
                Err(_) => Some(offset_bytes),
            },
            Self::Image(contents, _) => contents.next_data(offset_bytes).unwrap_or(Some(offset_bytes)),
        }
    }
}

/// What is there, as far as it was compared.
pub(super) struct Held {
    source: Source,
    buffer: Vec<u8>,
    /// How far it was compared.
    done: u64,
    /// Where it differs first, or before.
    pub(super) differs_at: Option<u64>,
    /// Why it cannot be compared any further.
    pub(super) error: Option<io::Error>,
}

impl Held {
    pub(super) fn over(source: Source) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            done: 0,
            differs_at: None,
            error: None,
        }
    }

    fn is_over(&self) -> bool {
        self.differs_at.is_some() || self.error.is_some()
    }

    /// Compares a stretch of data, and the hole before it; what stands behind the end of the object is not its own.
    pub(super) fn compare(&mut self, offset: u64, piece: &[u8], size_bytes: u64) {
        self.compare_hole(offset);
        let length = size_bytes.saturating_sub(offset).min(piece.len() as u64);
        let piece = &piece[..usize::try_from(length).unwrap_or(piece.len())];
        if !self.is_over() && self.read(offset, piece.len()) && self.buffer != piece {
            self.differs_at = Some(offset);
        }
        self.done = offset + length;
    }

    /// Compares a hole up to an offset.
    pub(super) fn compare_hole(&mut self, to: u64) {
        while !self.is_over() && self.done < to {
            // What the host knows to be a hole needs no reading.
            match self.source.next_data(self.done) {
                Some(data) if data > self.done => {
                    self.done = data.min(to);
                    continue;
                }
                None => return,
                Some(_) => {}
            }
            let length = usize::try_from(to - self.done).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            if self.read(self.done, length) && self.buffer.iter().any(|byte| *byte != 0) {
                self.differs_at = Some(self.done);
            }
            self.done += length as u64;
        }
    }

    /// Fills the buffer; false where what is there is too short, which is a difference, or cannot be read.
    fn read(&mut self, offset: u64, length: usize) -> bool {
        self.buffer.resize(length, 0);
        match self.source.read(&mut self.buffer, offset) {
            Ok(true) => return true,
            Ok(false) => self.differs_at = Some(offset),
            Err(error) => self.error = Some(error),
        }
        false
    }
}
