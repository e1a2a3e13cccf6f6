//! The data of a regular file, cell by cell, on its way to the tape.
//!
//! A cell that holds zeros only is a hole on the tape, and what the file system knows to be a hole is not even read. A file
//! that becomes shorter meanwhile ends in holes; what it grows by is left to the next dump.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::load::read_whole;
use crate::dump::{
    TAPE_BLOCK_BYTES,
    images::Contents,
    record::{CELLS_MAX, Header},
};

/// Bytes of a file that one header tells of.
pub(super) const SEGMENT_BYTES: usize = CELLS_MAX * TAPE_BLOCK_BYTES;

/// Where the data of an object come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A file of the tree.
    File(BorrowedFd<'a>),
    /// An image.
    Image(&'a dyn Contents),
    /// Nowhere: it could not be opened.
    Lost(Errno),
}

impl Source<'_> {
    /// Reads until the buffer is full or the object ends; how far that went, and what ended it before.
    fn read(self, buffer: &mut [u8], offset_bytes: u64) -> (usize, Option<Errno>) {
        match self {
            Self::File(file) => read_whole(file, buffer, offset_bytes),
            Self::Image(image) => match image.read_at(buffer, offset_bytes) {
                Ok(()) => (buffer.len(), None),
                Err(error) => {
                    log::warn!("{error}");
                    (0, Some(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
                }
            },
            Self::Lost(errno) => (0, Some(errno)),
        }
    }

    /// Offset of the next data at or behind an offset; the offset itself where nobody can tell.
    fn next_data(self, offset_bytes: u64) -> u64 {
        match self {
            Self::File(file) => match seek(file, SeekFrom::Data(offset_bytes)) {
                Ok(data) => data,
                Err(Errno::NXIO) => u64::MAX,
                Err(_) => offset_bytes,
            },
            Self::Image(image) => match image.next_data(offset_bytes) {
                Ok(data) => data.unwrap_or(u64::MAX),
                Err(_) => offset_bytes,
            },
            Self::Lost(_) => offset_bytes,
        }
    }
}

/// The buffer that large files go through, a segment at a time.
pub(super) struct Cells {
    buffer: Vec<u8>,
    /// Where the next data of the file is; nothing before it needs reading.
    data_at: u64,
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; SEGMENT_BYTES],
            data_at: 0,
        }
    }

    /// Begins a file at an offset.
    pub(super) fn begin(&mut self) {
        self.data_at = 0;
    }

    /// Reads the segment at an offset of a file of `size_bytes`; `sparse` where it may have holes. What is lost of it is
    /// returned.
    pub(super) fn read(
        &mut self,
        header: &mut Header,
        file: Source<'_>,
        offset_bytes: u64,
        sparse: bool,
    ) -> Option<String> {
        let left = header.node.size_bytes - offset_bytes;
        let length = usize::try_from(left.min(SEGMENT_BYTES as u64)).unwrap_or(SEGMENT_BYTES);
        let end = offset_bytes + length as u64;
        if self.data_at <= offset_bytes {
            self.data_at = if sparse {
                file.next_data(offset_bytes)
            } else {
                offset_bytes
            };
        }
        let cells = length.div_ceil(TAPE_BLOCK_BYTES);
        let buffer = &mut self.buffer[..cells * TAPE_BLOCK_BYTES];
        if self.data_at >= end {
            header.count = u32::try_from(cells).unwrap_or(0);
            header.cells = [0; CELLS_MAX];
            return None;
        }
        let (read, error) = file.read(&mut buffer[..length], offset_bytes);
        buffer[read..].fill(0);
        self.data_at = self.data_at.max(end);
        choose_cells(header, buffer);
        missing(length, read, error, offset_bytes)
    }

    /// The blocks of the segment that was read, those of holes left out.
    pub(super) fn blocks<'a>(&'a self, header: &Header) -> Blocks<'a> {
        Blocks::new(&self.buffer, header)
    }
}

/// What to say of a stretch that was not read whole.
pub(super) fn missing(length: usize, read: usize, error: Option<Errno>, offset_bytes: u64) -> Option<String> {
    match error {
        Some(errno) => Some(format!("{} bytes at {offset_bytes} are lost: {errno}", length - read)),
        None if read < length => Some("became shorter while it was read".into()),
        None => None,
    }
}

/// Marks the cells of a segment that are not holes.
pub(super) fn choose_cells(header: &mut Header, bytes: &[u8]) {
    header.count = u32::try_from(bytes.len() / TAPE_BLOCK_BYTES).unwrap_or(0);
    header.cells = [0; CELLS_MAX];
    for (cell, block) in header.cells.iter_mut().zip(bytes.chunks(TAPE_BLOCK_BYTES)) {
        *cell = u8::from(block.iter().any(|byte| *byte != 0));
    }
}

/// The tape blocks of a segment's data.
#[derive(Clone)]
pub(super) struct Blocks<'a> {
    bytes: &'a [u8],
    cells: [u8; CELLS_MAX],
    at: usize,
}

impl<'a> Blocks<'a> {
    /// The blocks of `bytes` whose cells are data.
    pub(super) fn new(bytes: &'a [u8], header: &Header) -> Self {
        let count = header.count as usize;
        Self {
            bytes: &bytes[..count * TAPE_BLOCK_BYTES],
            cells: header.cells,
            at: 0,
        }
    }

    /// The checksum of the blocks.
    pub(super) fn checksum(&self) -> u32 {
        let count = self.bytes.len() / TAPE_BLOCK_BYTES;
        if self.cells[..count].iter().all(|cell| *cell != 0) {
            return crc32c::crc32c(self.bytes);
        }
        self.clone().fold(0, crc32c::crc32c_append)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(block) = self
            .bytes
            .get(self.at * TAPE_BLOCK_BYTES..(self.at + 1) * TAPE_BLOCK_BYTES)
        {
            self.at += 1;
            if self.cells[self.at - 1] != 0 {
                return Some(block);
            }
        }
        None
    }
}
