//! The data of a regular file, cell by cell, on its way to the tape.
//!
//! A cell that holds zeros only is a hole on the tape, and what the file system knows to be a hole is not even read. A file
//! that becomes shorter meanwhile ends in holes; what it grows by is left to the next dump.

use std::os::fd::AsFd;

use rustix::{
    fs::{SeekFrom, seek},
    io::{Errno, pread, retry_on_intr as retry},
};

use crate::dump::{
    TAPE_BLOCK_BYTES,
    error::Result,
    record::{CELLS_MAX, Header, Kind},
    stream::Stream,
};

const SEGMENT_BYTES: usize = CELLS_MAX * TAPE_BLOCK_BYTES;

/// The buffer that files go through.
pub(super) struct Cells {
    buffer: Vec<u8>,
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; SEGMENT_BYTES],
        }
    }

    /// Writes a file of the size in `header`; what is lost of it is returned.
    pub(super) fn write(
        &mut self,
        stream: &mut Stream,
        header: &mut Header,
        file: impl AsFd,
    ) -> Result<Option<String>> {
        let size = header.node.size_bytes;
        let mut trouble = None;
        let mut offset = 0;
        // Where the next data is; nothing before it needs reading.
        let mut data_at = 0;
        loop {
            let length = usize::try_from((size - offset).min(SEGMENT_BYTES as u64)).unwrap_or(SEGMENT_BYTES);
            let end = offset + length as u64;
            if data_at <= offset && length > 0 {
                data_at = next_data(&file, offset);
            }
            let cells = length.div_ceil(TAPE_BLOCK_BYTES);
            header.count = u32::try_from(cells).unwrap_or(0);
            header.cells = [0; CELLS_MAX];
            let buffer = &mut self.buffer[..cells * TAPE_BLOCK_BYTES];
            if data_at < end {
                let read = read_whole(&file, &mut buffer[..length], offset);
                buffer[read.length..].fill(0);
                if let Some(errno) = read.error {
                    trouble = Some(format!("{} bytes at {offset} are lost: {errno}", length - read.length));
                } else if read.length < length && trouble.is_none() {
                    trouble = Some("became shorter while it was read".into());
                }
                let blocks = buffer.chunks(TAPE_BLOCK_BYTES);
                for (cell, block) in header.cells.iter_mut().zip(blocks) {
                    *cell = u8::from(!is_zero(block));
                }
                data_at = end.max(data_at);
            }
            let chosen = || {
                let blocks = buffer.chunks(TAPE_BLOCK_BYTES).zip(&header.cells);
                blocks.filter(|(_, cell)| **cell != 0).map(|(block, _)| block)
            };
            let checksum = chosen().fold(0, crc32c::crc32c_append);
            let blocks: Vec<&[u8]> = chosen().collect();
            if let Some(private) = &mut header.private {
                private.checksum = checksum;
                private.offset_bytes = offset;
            }
            stream.segment(header, blocks.into_iter())?;
            header.kind = Kind::Address;
            offset = end;
            if offset >= size {
                return Ok(trouble);
            }
        }
    }
}

/// Offset of the next data at or behind an offset; the offset itself where the file system cannot tell.
fn next_data(file: impl AsFd, offset: u64) -> u64 {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(Errno::NXIO) => u64::MAX,
        Err(_) => offset,
    }
}

/// How far a read went.
struct Read {
    length: usize,
    error: Option<Errno>,
}

fn read_whole(file: impl AsFd, buffer: &mut [u8], offset: u64) -> Read {
    let mut length = 0;
    while length < buffer.len() {
        match retry(|| pread(&file, &mut buffer[length..], offset + length as u64)) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) => {
                return Read {
                    length,
                    error: Some(error),
                };
            }
        }
    }
    Read { length, error: None }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}
