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

/// An object whose data is read a segment at a time.
#[derive(Debug)]
pub struct Progress {
    header: Header,
    /// Where the next segment begins.
    offset: u64,
    /// Stretches that are lost so far.
    lost: Vec<Range<u64>>,
    /// Where a segment was lost whose length nobody told.
    guessed_from: Option<u64>,
    done: bool,
}

impl Progress {
    fn of(header: Header) -> Self {
        let offset = told_offset(&header).unwrap_or(0);
        let mut lost = Vec::new();
        add_range(&mut lost, 0..offset.min(header.node.size_bytes));
        Self {
            header,
            offset,
            lost,
            guessed_from: None,
            done: false,
        }
    }

    /// Up to where data was given or is lost.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        if self.done {
            self.header.node.size_bytes
        } else {
            self.offset
        }
    }

    /// Length of the object.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.header.node.size_bytes
    }

    /// Stretches that are lost or not as they were written, in order.
    #[must_use]
    pub fn lost(&self) -> &[Range<u64>] {
        &self.lost
    }
}

impl Reader {
    /// Begins with the data of the object that [`Reader::item`] just gave; none where it was asked for already.
    pub fn begin_data(&mut self) -> Option<Progress> {
        self.unread.take().map(Progress::of)
    }

    pub(super) fn data_of(&mut self, header: Header, sink: Sink<'_>) -> Result<Vec<Range<u64>>> {
        let mut progress = Progress::of(header);
        while self.advance(&mut progress, sink)? {}
        Ok(progress.lost)
    }

    /// Gives the next segment of an object; false once there is no more.
    ///
    /// # Errors
    /// As [`Reader::item`].
    pub fn advance(&mut self, progress: &mut Progress, sink: Sink<'_>) -> Result<bool> {
        if progress.done {
            return Ok(false);
        }
        let Progress {
            header, offset, lost, ..
        } = progress;
        let size = header.node.size_bytes;
        let start = *offset;
        let mut gathered = std::mem::take(&mut self.gathered);
        let segment_lost = self.segment(header, start, &mut gathered, sink)?;
        segment_lost.into_iter().for_each(|range| add_range(lost, range));
        *offset += header.cells().len() as u64 * TAPE_BLOCK_BYTES as u64;
        // A device has a size on some tapes, and no data on any.
        let empty = header.kind == Kind::Inode && header.count == 0;
        if *offset >= size || empty {
            if empty && matches!(header.node.mode & 0o170_000, 0o40_000 | 0o100_000 | 0o120_000) {
                add_range(lost, 0..size);
            }
            self.judge_tail(header, start, &gathered, lost)?;
            progress.done = true;
        }
        self.gathered = gathered;
        if !progress.done {
            progress.done = !self.next_segment(progress, start)?;
        }
        // A guess that does not come out at the end was wrong, and all behind it is in the wrong place.
        let whole = size.next_multiple_of(TAPE_BLOCK_BYTES as u64);
        if let Some(from) = progress
            .guessed_from
            .filter(|_| progress.done && progress.offset != whole)
        {
            progress.lost.retain(|range| range.start < from);
            add_range(&mut progress.lost, from..size);
        }
        Ok(!progress.done)
    }

    /// Goes to the next segment of an object, whose last one began at `start`; false where there is none.
    fn next_segment(&mut self, progress: &mut Progress, start: u64) -> Result<bool> {
        let size = progress.header.node.size_bytes;
        let next = loop {
            match self.header()? {
                Some(next) if next.kind == Kind::Tape => self.pass(&next)?,
                next => break next,
            }
        };
        let lost = &mut progress.lost;
        let offset = progress.offset;
        if self.cut && progress.header.private.is_none() {
            add_range(lost, start..offset.min(size));
        }
        let Some(next) = next else {
            add_range(lost, offset..size);
            return Ok(false);
        };
        let follows = next.kind == Kind::Address && next.number == progress.header.number;
        let at = told_offset(&next).unwrap_or_else(|| {
            // Every segment but the last is full, and without holes it has a block a cell.
            let full = CELLS_MAX as u64;
            let segments = self.gap.div_ceil(full + 1);
            if follows && segments > 0 {
                progress.guessed_from = progress.guessed_from.or(Some(offset));
            }
            offset.saturating_add(segments.saturating_mul(full * TAPE_BLOCK_BYTES as u64))
        });
        if !follows || at >= size {
            add_range(lost, offset..size);
            self.hold(next);
            return Ok(false);
        }
        add_range(lost, offset..at);
        // All segments of an object are of the length that the first one tells.
        progress.offset = at;
        progress.header = Header {
            node: crate::dump::record::Node {
                size_bytes: size,
                ..next.node
            },
            ..next
        };
        Ok(true)
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
    let inside = 1..header.node.size_bytes;
    (header.kind == Kind::Address && inside.contains(&private.offset_bytes)).then_some(private.offset_bytes)
}
