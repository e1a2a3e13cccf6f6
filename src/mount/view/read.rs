//! Sizes and bytes of the files of entries.
//!
//! A *span* is a run of entry numbers in one form; every file of entries is a span, so `raw`, `text`, a range and a
//! chunk's text are read by the same code. In a fixed series an offset is arithmetic, in a variable-length one it comes
//! from the sparse index of [`crate::mount::offsets`].

use std::{
    ops::Range,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
};

use super::{SeriesView, lock};
use crate::{
    mount::{
        appending::VARLEN_HEADER,
        errno::Result,
        nodes::Item,
        offsets::{Form, Offsets},
    },
    series::{AnyContents, ChunkInfo, Contents, Records, Timestamp, VarlenContents, chunk::format::HEADER_BYTES},
};

/// Bytes from which on a read is answered from the chunk itself: below, finding the run costs more than a copy.
const WORTH_A_RUN_BYTES: usize = 1 << 14;

/// A run of entries in one form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    form: Form,
    entries: Range<u64>,
}

impl SeriesView {
    /// Exact size of a file of entries in bytes; none where it is no such file or its chunk is gone.
    pub fn size_bytes(&self, item: Item) -> Result<Option<u64>> {
        let _steady = self.numbering.read().unwrap_or_else(PoisonError::into_inner);
        self.span(item)?.map(|span| self.size_of(&span)).transpose()
    }

    /// Size of a file of entries with those that are not published yet.
    pub fn real_size_bytes(&self, item: Item) -> Result<Option<u64>> {
        let _steady = self.numbering.read().unwrap_or_else(PoisonError::into_inner);
        self.span(item)?
            .map(|span| self.size_below(&span, u64::MAX))
            .transpose()
    }

    /// Exact size of the text of a chunk that a listing has at hand.
    pub fn chunk_text_bytes(&self, chunk: &ChunkInfo) -> Result<u64> {
        let _steady = self.numbering.read().unwrap_or_else(PoisonError::into_inner);
        self.size_of(&Span {
            form: Form::Text,
            entries: chunk.first_index..chunk.first_index + u64::from(chunk.entries),
        })
    }

    /// The entries that a file of entries shows.
    fn span(&self, item: Item) -> Result<Option<Span>> {
        let span = |form, entries| Ok(Some(Span { form, entries }));
        match (item, &self.contents) {
            (Item::Entries(form), _) => span(form, 0..self.entries()?),
            (Item::Range { form, from, to }, AnyContents::Fixed(contents)) => {
                span(form, contents.lower_bound(from)?..contents.upper_bound(to)?)
            }
            (Item::Range { form, from, to }, AnyContents::Varlen(contents)) => {
                span(form, contents.lower_bound(from)?..contents.upper_bound(to)?)
            }
            (Item::ChunkText { first }, _) => {
                let names = self.root().chunk_names();
                let Ok(position) = names.binary_search(&first) else {
                    return Ok(None);
                };
                let end = match names.get(position + 1) {
                    Some(next) => self.root().lower_bound(*next)?,
                    None => self.entries()?,
                };
                span(Form::Text, self.root().lower_bound(first)?..end)
            }
            _ => Ok(None),
        }
    }

    /// Bytes of one entry in a form, in a fixed series.
    fn width(&self, form: Form, contents: &Contents) -> u64 {
        match form {
            Form::Raw => contents.record_size() as u64,
            Form::Text => self.codec().line_width().unwrap_or(1) as u64,
        }
    }

    fn size_of(&self, span: &Span) -> Result<u64> {
        self.size_below(span, self.published.load(Ordering::Acquire))
    }

    /// Size of the entries of a span whose numbers are below `limit`.
    fn size_below(&self, span: &Span, limit: u64) -> Result<u64> {
        let end = span.entries.end.min(limit);
        let count = end.saturating_sub(span.entries.start);
        match &self.contents {
            AnyContents::Fixed(contents) => Ok(count * self.width(span.form, contents)),
            AnyContents::Varlen(_) if count == 0 => Ok(0),
            AnyContents::Varlen(contents) => {
                let start = self.offset_of(contents, span.form, span.entries.start)?;
                Ok(self.offset_of(contents, span.form, end)? - start)
            }
        }
    }

    /// Reads `item` at `offset` bytes into `buffer`; less than asked for only at the end.
    pub fn read(&self, item: Item, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let _steady = self.numbering.read().unwrap_or_else(PoisonError::into_inner);
        match self.span(item)? {
            Some(span) => self.read_span(&span, offset, buffer),
            None => Ok(0),
        }
    }

    /// Packed records where they lie, for a read that is worth it: the bytes of `item` from `offset` on are `range` of the
    /// run's. None where they are not in one piece, or are not packed records.
    pub fn packed_run(&self, item: Item, offset: u64, length: usize) -> Result<Option<(Records, Range<usize>)>> {
        let AnyContents::Fixed(contents) = self.contents() else {
            return Ok(None);
        };
        if length < WORTH_A_RUN_BYTES {
            return Ok(None);
        }
        let _steady = self.numbering.read().unwrap_or_else(PoisonError::into_inner);
        let Some(span) = self.span(item)?.filter(|span| span.form == Form::Raw) else {
            return Ok(None);
        };
        let width = self.width(Form::Raw, contents);
        let first = span.entries.start + offset / width;
        let skip = usize::try_from(offset % width).unwrap_or(0);
        let last = span.entries.end.min(first + ((skip + length) as u64).div_ceil(width));
        let Some(run) = contents.range_by_index(first..last)?.next().transpose()? else {
            return Ok(None);
        };
        let is_whole = first + run.len() as u64 == last;
        let range = skip..run.bytes().len().min(skip + length);
        Ok((is_whole && !range.is_empty()).then_some((run, range)))
    }

    /// Bytes of a closed chunk's file where they lie, as [`SeriesView::packed_run`]; none where the read touches more than
    /// its records.
    pub fn chunk_run(
        &self,
        part: u32,
        first: Timestamp,
        offset: u64,
        length: usize,
    ) -> Result<Option<(Records, Range<usize>)>> {
        let Some(contents) = self.part(part).filter(|_| length >= WORTH_A_RUN_BYTES) else {
            return Ok(None);
        };
        let width = contents.record_size() as u64;
        let Some(from) = offset.checked_sub(HEADER_BYTES) else {
            return Ok(None);
        };
        let chunk = contents.open_chunk(first)?;
        let (begin, end) = (from / width, (from + length as u64).div_ceil(width));
        let (Ok(begin), Ok(end)) = (u32::try_from(begin), u32::try_from(end)) else {
            return Ok(None);
        };
        if !chunk.is_mapped() || end > chunk.entries() || begin >= end {
            return Ok(None);
        }
        let skip = usize::try_from(from % width).unwrap_or(0);
        Ok(Some((chunk.records(begin..end)?, skip..skip + length)))
    }

    fn read_span(&self, span: &Span, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let entries = span.entries.clone();
        if entries.is_empty() {
            return Ok(0);
        }
        match &self.contents {
            AnyContents::Fixed(contents) => {
                let width = self.width(span.form, contents);
                let size = (entries.end - entries.start) * width;
                let wanted = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
                let length = wanted.min(buffer.len());
                let buffer = &mut buffer[..length];
                match span.form {
                    _ if buffer.is_empty() => Ok(0),
                    Form::Raw => Ok(contents.read_records(buffer, entries.start * width + offset)?),
                    Form::Text => self.read_lines(contents, entries, offset, buffer),
                }
            }
            AnyContents::Varlen(contents) => self.read_varlen(contents, span, offset, buffer),
        }
    }

    fn read_lines(&self, contents: &Contents, entries: Range<u64>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let codec = self.codec();
        let width = self.width(Form::Text, contents);
        let first = entries.start + offset / width;
        let last = entries.end.min(first + (buffer.len() as u64).div_ceil(width) + 1);
        let mut window = Window::new(buffer, offset % width);
        let mut line = Vec::new();
        for run in contents.range_by_index(first..last)? {
            let run: Records = run?;
            for (timestamp, value) in run.iter() {
                line.clear();
                codec.push_line(&mut line, timestamp, value);
                if window.push(&line) {
                    break;
                }
            }
            // What was read is only true if the chunk was not cut meanwhile.
            run.verify()?;
            if window.is_full() {
                break;
            }
        }
        Ok(window.filled)
    }

    fn read_varlen(&self, contents: &VarlenContents, span: &Span, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let start = self.offset_of(contents, span.form, span.entries.start)?;
        let (first, begins) = self
            .indexed(contents, span.entries.end)?
            .before_offset(span.form, start + offset);
        let mut window = Window::new(buffer, start + offset - begins);
        let (mut value, mut piece) = (Vec::new(), Vec::new());
        let mut range = contents.range_by_index(first..span.entries.end)?;
        let codec = self.codec();
        while let Some(timestamp) = range.next_into(&mut value) {
            let timestamp = timestamp?;
            piece.clear();
            match span.form {
                Form::Raw => push_varlen_record(&mut piece, timestamp, &value),
                Form::Text => codec.push_line(&mut piece, timestamp, &value),
            }
            if window.push(&piece) {
                break;
            }
        }
        Ok(window.filled)
    }

    /// The offset index, extended to at least `entries` entries.
    fn indexed(&self, contents: &VarlenContents, entries: u64) -> Result<MutexGuard<'_, Offsets>> {
        let mut offsets = lock(&self.offsets);
        if offsets.entries() >= entries {
            return Ok(offsets);
        }
        let codec = self.codec();
        let lengths_suffice = codec.line_width_of_length(0).is_some();
        let mut range = contents.range_by_index(offsets.entries()..entries)?;
        let mut value = Vec::new();
        loop {
            let (raw, text) = if lengths_suffice {
                let Some(entry) = range.next() else { break };
                let length = entry?.len();
                (
                    record_bytes(length),
                    codec.line_width_of_length(length).unwrap_or(0) as u64,
                )
            } else {
                let Some(timestamp) = range.next_into(&mut value) else {
                    break;
                };
                timestamp?;
                (record_bytes(value.len()), codec.line_length(&value) as u64)
            };
            offsets.push(raw, text);
        }
        Ok(offsets)
    }

    /// Where entry `index` begins in a form; the end where there is no such entry.
    fn offset_of(&self, contents: &VarlenContents, form: Form, index: u64) -> Result<u64> {
        let (mark, mut offset) = self.indexed(contents, index)?.before_entry(form, index);
        let codec = self.codec();
        let mut range = contents.range_by_index(mark..index)?;
        let mut value = Vec::new();
        for _ in mark..index {
            let Some(timestamp) = range.next_into(&mut value) else {
                break;
            };
            timestamp?;
            offset += match form {
                Form::Raw => record_bytes(value.len()),
                Form::Text => codec.line_length(&value) as u64,
            };
        }
        Ok(offset)
    }
}

/// Bytes of a packed record of a variable-length series.
fn record_bytes(length: usize) -> u64 {
    (VARLEN_HEADER + length) as u64
}

fn push_varlen_record(out: &mut Vec<u8>, timestamp: Timestamp, value: &[u8]) {
    out.extend_from_slice(&timestamp.0.to_le_bytes());
    let length = u32::try_from(value.len()).expect("the format's longest value is 2147483647 bytes");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value);
}

/// Part of a stream: skips what comes before, stops when the buffer is full.
#[derive(Debug)]
struct Window<'b> {
    buffer: &'b mut [u8],
    skip: u64,
    filled: usize,
}

impl<'b> Window<'b> {
    fn new(buffer: &'b mut [u8], skip: u64) -> Self {
        Self {
            buffer,
            skip,
            filled: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.filled == self.buffer.len()
    }

    /// Takes the next piece of the stream; returns true when no more is wanted.
    fn push(&mut self, piece: &[u8]) -> bool {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
        self.skip -= skipped as u64;
        let piece = &piece[skipped..];
        let taken = piece.len().min(self.buffer.len() - self.filled);
        self.buffer[self.filled..self.filled + taken].copy_from_slice(&piece[..taken]);
        self.filled += taken;
        self.is_full()
    }
}
