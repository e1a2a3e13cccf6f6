//! One member under an overlay, or its sidecar, as an open file.
//!
//! The map of the blocks that the overlay has is in memory, as far as bits are set, and written with each flush after the
//! blocks themselves are durable. A block of which only a part is written is first filled from the member, under a lock, so
//! that two writers of its parts do not lose one another's.

use std::{
    collections::BTreeMap,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::SystemTime,
};

use rustix::io::Errno;

use super::format::{BITS_BYTES, BLOCK_BYTES, PAGE_BLOCKS, SLOT_BYTES, StreamEntry, encode_page, newer_page};
use crate::storage::{Access, EntryKind, Mapping, Span, Stat, Storage};

/// A page of the map.
struct Page {
    bits: Box<[u8; BITS_BYTES]>,
    generation: u64,
    dirty: bool,
}

/// An open stream.
pub struct Stream {
    file: Arc<dyn Storage>,
    entry: StreamEntry,
    /// What has the blocks that the overlay has not; none where the overlay has all.
    below: Option<Arc<dyn Storage>>,
    pages: RwLock<BTreeMap<u64, Page>>,
    /// Held while a block is filled from below.
    filling: Mutex<()>,
    /// Held while the map is written.
    flushing: Mutex<()>,
}

/// Why a stream cannot be opened.
pub enum OpenError {
    /// The host refused.
    Host(io::Error),
    /// Both slots of a page are damaged.
    Page(u64),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl Stream {
    /// Reads the map.
    pub fn open(
        file: Arc<dyn Storage>,
        entry: StreamEntry,
        below: Option<Arc<dyn Storage>>,
    ) -> Result<Self, OpenError> {
        let mut pages = BTreeMap::new();
        let count = if below.is_some() { entry.pages() } else { 0 };
        let mut page = 0;
        while page < count {
            let place = entry.slot_bytes(page, 0);
            match file.span_at(place)? {
                None => break,
                // A hole holds pages that were never written.
                Some(span) if span.hole && span.end_bytes >= place + 2 * SLOT_BYTES as u64 => {
                    page += (span.end_bytes - place) / (2 * SLOT_BYTES as u64);
                    continue;
                }
                Some(_) => {}
            }
            let mut slots = vec![0; 2 * SLOT_BYTES];
            file.read_at(&mut slots, place)?;
            if let Some((generation, bits)) = newer_page(&slots, place).map_err(|_| OpenError::Page(page))? {
                let dirty = false;
                pages.insert(
                    page,
                    Page {
                        bits,
                        generation,
                        dirty,
                    },
                );
            }
            page += 1;
        }
        Ok(Self {
            file,
            entry,
            below,
            pages: RwLock::new(pages),
            filling: Mutex::new(()),
            flushing: Mutex::new(()),
        })
    }

    /// Whether the overlay has the block at an offset, and where the run of such blocks ends, not after `end`.
    fn run(&self, offset: u64, end: u64) -> (bool, u64) {
        if self.below.is_none() {
            return (true, end);
        }
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let mut block = offset / BLOCK_BYTES;
        let own = is_set(&pages, block);
        while block * BLOCK_BYTES < end {
            if !block.is_multiple_of(PAGE_BLOCKS) || own || pages.contains_key(&(block / PAGE_BLOCKS)) {
                if is_set(&pages, block) != own {
                    break;
                }
                block += 1;
            } else {
                // A page without bits is passed at once.
                block += PAGE_BLOCKS;
            }
        }
        (own, (block * BLOCK_BYTES).min(end))
    }

    /// Notes that the overlay has the blocks of a range.
    fn set(&self, offset: u64, end: u64) {
        if self.below.is_none() || offset >= end {
            return;
        }
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        for block in offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            let page = pages.entry(block / PAGE_BLOCKS).or_insert_with(|| Page {
                bits: Box::new([0; BITS_BYTES]),
                generation: 0,
                dirty: false,
            });
            let (byte, bit) = bit_of(block);
            page.dirty |= page.bits[byte] & bit == 0;
            page.bits[byte] |= bit;
        }
    }

    fn own(&self, offset: u64) -> u64 {
        self.entry.data_bytes + offset
    }

    /// Length of what can be read at an offset.
    fn readable(&self, length: usize, offset: u64) -> usize {
        let left = self.entry.size_bytes.saturating_sub(offset);
        usize::try_from(left).map_or(length, |left| left.min(length))
    }

    fn check_inside(&self, offset: u64, length: u64) -> io::Result<u64> {
        let end = offset.checked_add(length).filter(|end| *end <= self.entry.size_bytes);
        end.ok_or_else(|| Errno::FBIG.into())
    }

    /// Writes a part of one block, which is filled first where the overlay has it not.
    fn write_part(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = offset - offset % BLOCK_BYTES;
        let below = match &self.below {
            Some(below) if !self.run(start, start + 1).0 => below,
            _ => return self.file.write_all_at(bytes, self.own(offset)),
        };
        let filling: MutexGuard<'_, ()> = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.run(start, start + 1).0 {
            drop(filling);
            return self.file.write_all_at(bytes, self.own(offset));
        }
        let length = usize::try_from(BLOCK_BYTES.min(self.entry.size_bytes - start)).unwrap_or(0);
        let mut block = vec![0; length];
        if below.read_at(&mut block, start)? < length {
            return Err(Errno::IO.into());
        }
        let at = usize::try_from(offset - start).unwrap_or(0);
        block[at..at + bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(&block, self.own(start))?;
        self.set(start, start + 1);
        Ok(())
    }

    /// The parts of a range: within its first block, whole blocks, within its last; each as its end.
    fn parts(&self, offset: u64, end: u64) -> [u64; 3] {
        let head = if offset.is_multiple_of(BLOCK_BYTES) {
            offset
        } else {
            offset.next_multiple_of(BLOCK_BYTES).min(end)
        };
        // The last block of the stream may be a short one.
        let whole = if end == self.entry.size_bytes {
            end.max(head)
        } else {
            (end - end % BLOCK_BYTES).max(head)
        };
        [head, whole, end]
    }

    /// Writes the pages that have changed; blocks are durable already.
    fn write_pages(&self, changed: &[(u64, u64, Box<[u8; BITS_BYTES]>)]) -> io::Result<()> {
        for (page, generation, bits) in changed {
            let place = self.entry.slot_bytes(*page, *generation);
            self.file.write_all_at(&encode_page(*generation, bits, place), place)?;
        }
        self.file.sync()
    }

    fn take_changed(&self) -> Vec<(u64, u64, Box<[u8; BITS_BYTES]>)> {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let changed = pages.iter_mut().filter(|(_, page)| page.dirty);
        changed
            .map(|(number, page)| {
                page.dirty = false;
                page.generation = page.generation.wrapping_add(1);
                (*number, page.generation, page.bits.clone())
            })
            .collect()
    }
}

fn bit_of(block: u64) -> (usize, u8) {
    let bit = block % PAGE_BLOCKS;
    (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8))
}

fn is_set(pages: &BTreeMap<u64, Page>, block: u64) -> bool {
    let (byte, bit) = bit_of(block);
    pages
        .get(&(block / PAGE_BLOCKS))
        .is_some_and(|page| page.bits[byte] & bit != 0)
}

impl Storage for Stream {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.entry.size_bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let length = self.readable(buffer.len(), offset_bytes);
        let end = offset_bytes + length as u64;
        let mut at = offset_bytes;
        while at < end {
            let (own, stop) = self.run(at, end);
            let from = usize::try_from(at - offset_bytes).unwrap_or(0);
            let part = &mut buffer[from..from + usize::try_from(stop - at).unwrap_or(0)];
            match (&self.below, own) {
                (Some(below), false) => {
                    let count = below.read_at(part, at)?;
                    if count < part.len() {
                        return Ok(from + count);
                    }
                }
                _ => {
                    // What the file does not reach was never written.
                    let count = self.file.read_at(part, self.own(at))?;
                    part[count..].fill(0);
                }
            }
            at = stop;
        }
        Ok(length)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        if self.readable(buffer.len(), offset_bytes) < buffer.len() {
            return Ok(false);
        }
        let end = offset_bytes + buffer.len() as u64;
        match (self.run(offset_bytes, end), &self.below) {
            ((true, stop), _) if stop == end => self.file.read_cached_at(buffer, self.own(offset_bytes)),
            ((false, stop), Some(below)) if stop == end => below.read_cached_at(buffer, offset_bytes),
            _ => Ok(false),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let end = self.check_inside(offset_bytes, bytes.len() as u64)?;
        let [head, whole, end] = self.parts(offset_bytes, end);
        let part = |from: u64, to: u64| {
            let index = |at: u64| usize::try_from(at - offset_bytes).unwrap_or(0);
            &bytes[index(from)..index(to)]
        };
        if head > offset_bytes {
            self.write_part(part(offset_bytes, head), offset_bytes)?;
        }
        if whole > head {
            self.file.write_all_at(part(head, whole), self.own(head))?;
            self.set(head, whole);
        }
        if end > whole {
            self.write_part(part(whole, end), whole)?;
        }
        Ok(())
    }

    /// A sidecar is emptied by this; nothing else has another length than its own.
    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        if self.below.is_some() && size_bytes != self.entry.size_bytes || size_bytes > self.entry.size_bytes {
            return Err(Errno::INVAL.into());
        }
        let length = self.entry.size_bytes - size_bytes;
        match self.file.punch(self.own(size_bytes), length) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
                self.file.write_all_at(&zeros, self.own(size_bytes))
            }
            punched => punched,
        }
    }

    /// Reserves space in the overlay; its blocks are the overlay's only once they are written.
    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.check_inside(offset_bytes, length_bytes)?;
        self.file.reserve(self.own(offset_bytes), length_bytes)
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let end = offset_bytes.saturating_add(length_bytes).min(self.entry.size_bytes);
        if offset_bytes >= end {
            return Ok(());
        }
        let [head, whole, end] = self.parts(offset_bytes, end);
        if whole > head {
            self.file.punch(self.own(head), whole - head)?;
            self.set(head, whole);
        }
        let zeros = [0; SLOT_BYTES];
        for (from, to) in [(offset_bytes, head), (whole, end)] {
            if from < to {
                self.write_part(&zeros[..usize::try_from(to - from).unwrap_or(0)], from)?;
            }
        }
        Ok(())
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        let size = self.entry.size_bytes;
        if offset_bytes >= size {
            return Ok(None);
        }
        let (own, stop) = self.run(offset_bytes, size);
        match (&self.below, own) {
            (Some(below), false) => Ok(below.span_at(offset_bytes)?.map(|span| Span {
                end_bytes: span.end_bytes.min(stop),
                ..span
            })),
            _ => {
                let span = self.file.span_at(self.own(offset_bytes))?;
                Ok(Some(span.map_or(
                    Span {
                        hole: true,
                        end_bytes: stop,
                    },
                    |span| Span {
                        end_bytes: (span.end_bytes - self.entry.data_bytes).min(stop),
                        ..span
                    },
                )))
            }
        }
    }

    fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        let end = offset_bytes.saturating_add(length_bytes);
        let (own, stop) = self.run(offset_bytes, end.min(self.entry.size_bytes));
        if stop < end {
            return Ok(false);
        }
        match (&self.below, own) {
            (Some(below), false) => below.is_hole(offset_bytes, length_bytes),
            _ => self.file.is_hole(self.own(offset_bytes), length_bytes),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.take_changed();
        let written = self.file.sync().and_then(|()| {
            if changed.is_empty() {
                Ok(())
            } else {
                self.write_pages(&changed)
            }
        });
        if written.is_err() {
            let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
            for (number, _, _) in &changed {
                if let Some(page) = pages.get_mut(number) {
                    page.dirty = true;
                }
            }
        }
        written
    }

    /// There is none: blocks are in two files.
    fn map(&self, _length_bytes: usize, _access: Access) -> io::Result<Mapping> {
        Err(Errno::NOMEM.into())
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            kind: EntryKind::File,
            size_bytes: self.entry.size_bytes,
            ..self.file.stat()?
        })
    }

    /// Nothing is left to claim: overlay and member are claimed as long as the stream is open.
    fn claim(&self, _offset_bytes: u64, _length_bytes: u64, _access: Access) -> io::Result<()> {
        Ok(())
    }

    fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    /// There is none: blocks are in two files.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
