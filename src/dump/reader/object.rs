//! The data of one object out of its segments, and which stretches of it are lost.
//!
//! Our own segments have checksums and tell their offsets. With those of others a lost header leaves a guess, which the
//! end of the object proves or refutes, and what stands beside damage is not trusted.

use std::ops::Range;

use super::{
    Reader, Sink,
    segment::{Gathered, add_range, offset_of},
};
use crate::dump::{
    TAPE_BLOCK_BYTES,
    error::Result,
    record::{CELLS_MAX, Header, Kind},
};

impl Reader {
    pub(super) fn data_of(&mut self, mut header: Header, sink: Sink<'_>) -> Result<Vec<Range<u64>>> {
        let number = header.number;
        let size = header.node.size_bytes;
        let mut offset = told_offset(&header).unwrap_or(0);
        let mut lost = Vec::new();
        add_range(&mut lost, 0..offset.min(size));
        // Where a segment was lost whose length nobody told.
        let mut guessed_from = None;
        let mut gathered = std::mem::take(&mut self.gathered);
        loop {
            let start = offset;
            let segment_lost = self.segment(&header, start, &mut gathered, sink)?;
            segment_lost.into_iter().for_each(|range| add_range(&mut lost, range));
            offset += header.cells().len() as u64 * TAPE_BLOCK_BYTES as u64;
            // A device has a size on some tapes, and no data on any.
            let empty = header.kind == Kind::Inode && header.count == 0;
            if offset >= size || empty {
                if empty && matches!(header.node.mode & 0o170_000, 0o40_000 | 0o100_000 | 0o120_000) {
                    add_range(&mut lost, 0..size);
                }
                self.judge_tail(&header, start, &gathered, &mut lost)?;
                break;
            }
            let next = loop {
                match self.header()? {
                    Some(next) if next.kind == Kind::Tape => self.pass(&next)?,
                    next => break next,
                }
            };
            if self.cut && header.private.is_none() {
                add_range(&mut lost, start..offset.min(size));
            }
            let Some(next) = next else {
                add_range(&mut lost, offset..size);
                break;
            };
            if next.kind != Kind::Address || next.number != number {
                add_range(&mut lost, offset..size);
                self.hold(next);
                break;
            }
            let at = told_offset(&next).unwrap_or_else(|| {
                // Every segment but the last is full, and without holes it has a block a cell.
                let full = CELLS_MAX as u64;
                let segments = self.gap.div_ceil(full + 1);
                guessed_from = guessed_from.or((segments > 0).then_some(offset));
                offset.saturating_add(segments * full * TAPE_BLOCK_BYTES as u64)
            });
            add_range(&mut lost, offset..at.min(size));
            offset = at;
            header = next;
        }
        self.gathered = gathered;
        // A guess that does not come out at the end was wrong, and all behind it is in the wrong place.
        if let Some(from) = guessed_from.filter(|_| offset != size.next_multiple_of(TAPE_BLOCK_BYTES as u64)) {
            lost.retain(|range| range.start < from);
            add_range(&mut lost, from..size);
        }
        Ok(lost)
    }

    /// Reads the cells behind a header; returns what of them is lost.
    fn segment(
        &mut self,
        header: &Header,
        start: u64,
        gathered: &mut Gathered,
        sink: Sink<'_>,
    ) -> Result<Vec<Range<u64>>> {
        let size = header.node.size_bytes;
        self.gather(header, gathered)?;
        let mut lost = gathered.give(header, start, sink);
        let told = header.private.as_ref().map(|private| private.checksum);
        if gathered.is_whole() && told.is_some_and(|told| told != crc32c::crc32c(gathered.bytes())) {
            let length = header.cells().len() as u64 * TAPE_BLOCK_BYTES as u64;
            // A flipped bit behind the end of a file still is one, but costs nothing.
            lost.clear();
            add_range(&mut lost, start.min(size)..start.saturating_add(length).min(size));
        }
        Ok(lost)
    }

    /// Without checksums, what stands in the same record as blocks that make no sense is not to be trusted, nor is a
    /// segment from which some may be missing.
    fn judge_tail(
        &mut self,
        header: &Header,
        start: u64,
        gathered: &Gathered,
        lost: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        if header.private.is_some() || header.blocks() == 0 {
            return Ok(());
        }
        if self.held.is_none() {
            let next = self.header()?;
            self.held = next;
        }
        if self.cut {
            add_range(lost, start..header.node.size_bytes);
        }
        let (record, index) = gathered.last_record();
        if record.is_some()
            && self.junk_in == record
            && let Some(from) = offset_of(header, start, index)
        {
            add_range(lost, from..header.node.size_bytes);
        }
        Ok(())
    }
}

/// Where in its object a segment belongs, as our own tapes tell.
pub(super) fn told_offset(header: &Header) -> Option<u64> {
    let private = header.private.as_ref()?;
    (header.kind == Kind::Address && private.offset_bytes > 0).then_some(private.offset_bytes)
}
