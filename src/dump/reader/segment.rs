//! The blocks behind one header, each at its place, whatever was lost between them.
//!
//! Every header tells its ordinal in the dump. So when a record is lost in the middle of a segment, the header that comes
//! next says how many blocks are missing, and what stood between the loss and that header is put to its place from
//! behind. Only what is really lost stays missing.

use std::ops::Range;

use super::{Reader, Sink, blocks::Next};
use crate::dump::{
    TAPE_BLOCK_BYTES,
    error::Result,
    record::{Header, Kind, TapeBlock},
};

/// Where headers have their magic number.
const MAGIC_AT: Range<usize> = 24..28;

/// Most blocks that may be missing in a row where what follows them is still put to its place: only maps are longer, and
/// what is missing takes memory too.
const GAP_MAX_BLOCKS: usize = 16 << 10;

/// Blocks behind a header.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// Which of the blocks came.
    came: Vec<bool>,
    /// The record that the last block came from, and the first block of the segment in it.
    last_record: (Option<u64>, usize),
}

impl Gathered {
    fn reset(&mut self, count: usize) {
        self.bytes.clear();
        self.came.clear();
        self.came.resize(count, false);
        self.last_record = (None, 0);
    }

    fn put(&mut self, at: usize, block: &[u8]) {
        let from = at * TAPE_BLOCK_BYTES;
        if from > self.bytes.len() + GAP_MAX_BLOCKS * TAPE_BLOCK_BYTES {
            return;
        }
        let Some(came) = self.came.get_mut(at) else { return };
        *came = true;
        if self.bytes.len() < from + TAPE_BLOCK_BYTES {
            self.bytes.resize(from + TAPE_BLOCK_BYTES, 0);
        }
        self.bytes[from..from + TAPE_BLOCK_BYTES].copy_from_slice(block);
    }

    /// Takes back the blocks from `from` on: it turned out that some are missing before or among them.
    fn doubt(&mut self, from: usize) {
        self.came.iter_mut().skip(from).for_each(|came| *came = false);
    }

    /// True where nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.came.iter().all(|came| *came)
    }

    /// The blocks up to the last that came; zeros where one is missing.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As [`Gathered::bytes`], to keep.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn block(&self, at: usize) -> Option<&[u8]> {
        let from = at * TAPE_BLOCK_BYTES;
        let came = *self.came.get(at)?;
        self.bytes.get(from..from + TAPE_BLOCK_BYTES).filter(|_| came)
    }

    /// The record that the last block came from, and the first block of the segment in it.
    pub(super) fn last_record(&self) -> (Option<u64>, usize) {
        self.last_record
    }

    /// Gives what came of a file's segment from `start` on; returns the stretches that are missing.
    pub(super) fn give(&self, header: &Header, start: u64, sink: Sink<'_>) -> Vec<Range<u64>> {
        let size = header.node.size_bytes;
        let mut missing = Vec::new();
        let mut run: Option<(u64, Range<usize>)> = None;
        let mut flush = |run: &mut Option<(u64, Range<usize>)>| {
            let Some((at, range)) = run.take() else { return };
            let bytes = self.bytes.get(range).unwrap_or_default();
            let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
            let length = bytes.len().min(left);
            if length > 0 {
                sink(at, &bytes[..length]);
            }
        };
        let mut index = 0;
        for (cell, offset) in header.cells().iter().zip((start..).step_by(TAPE_BLOCK_BYTES)) {
            if *cell == 0 {
                flush(&mut run);
                continue;
            }
            let from = index * TAPE_BLOCK_BYTES;
            let to = from + TAPE_BLOCK_BYTES;
            if self.block(index).is_none() {
                flush(&mut run);
                add_range(&mut missing, offset..(offset + TAPE_BLOCK_BYTES as u64).min(size));
            } else if let Some((_, range)) = &mut run {
                range.end = to;
            } else {
                run = Some((offset, from..to));
            }
            index += 1;
        }
        flush(&mut run);
        missing
    }
}

/// Adds a stretch to those in order, to the last one where it follows it at once.
pub(super) fn add_range(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

/// Offset of the cell that block number `index` of a segment holds.
pub(super) fn offset_of(header: &Header, start: u64, index: usize) -> Option<u64> {
    let cells = header.cells().iter().zip((start..).step_by(TAPE_BLOCK_BYTES));
    cells
        .filter(|(cell, _)| **cell != 0)
        .nth(index)
        .map(|(_, offset)| offset)
}

impl Reader {
    /// Reads the blocks behind `header` into `into`.
    pub(super) fn gather(&mut self, header: &Header, into: &mut Gathered) -> Result<()> {
        let count = header.blocks();
        into.reset(count);
        let first = self.blocks.ordinal();
        let volume = header.volume;
        // Place of the next block, while it is known.
        let mut at = 0;
        // Up to here headers told that no block is missing.
        let mut sure = 0;
        let mut torn = false;
        // Blocks since a loss: the next header says where they belong.
        let mut loose: Vec<u8> = Vec::new();
        let mut block = [0; TAPE_BLOCK_BYTES];
        while torn || at < count {
            match self.next(&mut block)? {
                Next::End => break,
                Next::Lost => {
                    torn = true;
                    loose.clear();
                }
                Next::Block => {
                    let ordinal = if torn { first } else { self.blocks.ordinal() - 1 };
                    if let Some(found) = self.header_within(&block, ordinal) {
                        let labels = found.volume.saturating_sub(volume);
                        if !torn && found.tape_block > ordinal {
                            into.doubt(sure);
                        }
                        let before = labels - u32::from(found.kind == Kind::Tape && labels > 0);
                        place(&loose, found.tape_block, first + u64::from(before), into);
                        loose.clear();
                        self.blocks.count_from(found.tape_block + 1);
                        if found.kind != Kind::Tape {
                            self.hold(found);
                            return Ok(());
                        }
                        torn = false;
                        let next = (found.tape_block + 1).saturating_sub(first + u64::from(labels));
                        at = usize::try_from(next).unwrap_or(count);
                        sure = at;
                    } else if torn {
                        // No more than the segment has is of use.
                        if loose.len() >= 2 * count * TAPE_BLOCK_BYTES {
                            loose.drain(..count * TAPE_BLOCK_BYTES);
                        }
                        loose.extend_from_slice(&block);
                    } else {
                        let record = Some(self.blocks.record());
                        if into.last_record.0 != record {
                            into.last_record = (record, at);
                        }
                        into.put(at, &block);
                        at += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// A header where data should be: the label of a volume, or what shows that blocks before it are missing. A dump of a
    /// tree that holds its own tape has headers in its data too, but those are of blocks before it.
    fn header_within(&self, block: &TapeBlock, ordinal: u64) -> Option<Header> {
        let magic: [u8; 4] = block[MAGIC_AT].try_into().ok()?;
        if !Header::is_magic(magic) {
            return None;
        }
        let header = Header::decode(block).ok()?;
        (self.is_ours(&header) && header.tape_block >= ordinal).then_some(header)
    }
}

/// Puts the blocks that stood before block `end` of the dump to their places in a segment whose data begins at block `first`.
fn place(loose: &[u8], end: u64, first: u64, into: &mut Gathered) {
    let blocks = loose.chunks_exact(TAPE_BLOCK_BYTES);
    let start = end.saturating_sub(blocks.len() as u64);
    for (ordinal, block) in (start..).zip(blocks) {
        if let Some(at) = ordinal.checked_sub(first).and_then(|at| usize::try_from(at).ok())
            && into.block(at).is_none()
        {
            into.put(at, block);
        }
    }
}
