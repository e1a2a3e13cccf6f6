//! Reading, writing and seeking in open files.
//!
//! Every request names the open file, so nothing is looked up by name here; what a write makes stale for readers that
//! go through the page cache goes back with its result.

use super::{Effect, Filesystem, Stale, handles::Handle, lock};
use crate::mount::{
    errno::{Refusal, Result},
    nodes::{Item, Place},
    options::LiveRead,
    view::SeriesView,
};

/// Flags that make a write durable before it returns.
const SYNC_FLAGS: i32 = libc::O_SYNC | libc::O_DSYNC;
/// Unit of the page cache in bytes.
const PAGE_BYTES: u64 = 4096;

impl Filesystem {
    /// Reads at `offset` bytes; returns how much of `buffer` was filled, less than all of it only at the end.
    ///
    /// # Errors
    /// The series is damaged or the host cannot read.
    pub fn read(&self, handle: u64, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let length = match &*self.handles.get(handle)? {
            Handle::Entries { view, item } => view.read(*item, offset, buffer)?,
            Handle::Appending { view, form, .. } => view.read(Item::Entries(*form), offset, buffer)?,
            Handle::Chunk { view, storage, .. } => {
                storage.read_at(buffer, offset).map_err(|source| view.failed(source))?
            }
            Handle::Made(bytes) => copy_at(bytes, offset, buffer),
            Handle::Metadata { buffer: written, .. } => copy_at(lock(written).bytes(), offset, buffer),
            Handle::Control { .. } => 0,
            Handle::Listing(_) => return Err(Refusal::IsADirectory),
        };
        self.counters.count_read(length as u64);
        Ok(length)
    }

    /// Reads as [`Filesystem::read`] and gives the bytes to `give`, without a copy where they lie in one piece in memory;
    /// else `buffer` is filled.
    ///
    /// A chunk that another process cuts short while its bytes are given away is an error of whoever reads them: the
    /// kernel finds no memory there, and says EIO.
    ///
    /// # Errors
    /// As [`Filesystem::read`].
    pub fn read_with<T>(
        &self,
        handle: u64,
        offset: u64,
        buffer: &mut [u8],
        give: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let open = self.handles.get(handle)?;
        let packed = match &*open {
            Handle::Entries { view, item } => view.packed_run(*item, offset, buffer.len())?,
            Handle::Appending { view, form, .. } => view.packed_run(Item::Entries(*form), offset, buffer.len())?,
            Handle::Chunk {
                view,
                closed: Some((part, first)),
                ..
            } => view.chunk_run(*part, *first, offset, buffer.len())?,
            _ => None,
        };
        if let Some((run, range)) = packed {
            self.counters.count_read(range.len() as u64);
            return Ok(give(&run.bytes()[range]));
        }
        let length = self.read(handle, offset, buffer)?;
        Ok(give(&buffer[..length]))
    }

    /// Writes; returns how many bytes were taken. `flags` are the open file's as they are now, for fcntl(2) may have
    /// changed them since it was opened.
    ///
    /// # Errors
    /// The first entry is bad; it would not go to the end; the disk is full.
    pub fn write(&self, handle: u64, offset: u64, data: &[u8], flags: i32) -> Result<Effect<usize>> {
        let append = flags & libc::O_APPEND != 0;
        let (taken, stale) = match &*self.handles.get(handle)? {
            Handle::Appending { view, form, state } => {
                if !append && !self.options.lax_append {
                    return Err(Refusal::AppendOnly {
                        action: "write without O_APPEND",
                    });
                }
                let taken = view.append(*form, &mut lock(state), data, (!append).then_some(offset))?;
                if flags & SYNC_FLAGS != 0 {
                    self.sync_series(view)?;
                }
                (taken, self.grown(view)?)
            }
            Handle::Metadata { buffer, .. } => {
                let at = (!append).then_some(offset);
                (Self::write_metadata(&mut lock(buffer), at, data)?, Vec::new())
            }
            Handle::Control { view, state } => {
                let done = self.write_control(view, &mut lock(state), data)?;
                (done.value, done.stale)
            }
            _ => return Err(Refusal::Fixed { action: "write" }),
        };
        self.counters.count_written(taken as u64);
        Ok(Effect::new(taken, stale))
    }

    /// What an append makes stale: nothing where growing files are read past the page cache, for then the kernel keeps
    /// neither pages nor sizes while somebody writes.
    pub(super) fn grown(&self, view: &SeriesView) -> Result<Vec<Stale>> {
        if self.options.live_read == LiveRead::Direct {
            return Ok(Vec::new());
        }
        let (mut tails, mut sizes) = (Vec::new(), Vec::new());
        for (node, place) in self.nodes.of_series(view.node()) {
            let Place::Series(_, item @ (Item::Entries(_) | Item::Range { .. } | Item::ChunkText { .. })) = place
            else {
                continue;
            };
            let (shown, real) = (
                view.size_bytes(item)?.unwrap_or(0),
                view.real_size_bytes(item)?.unwrap_or(0),
            );
            let mut last = [0];
            if real > shown && view.read(item, real - 1, &mut last)? == 1 {
                // The kernel fills the last page up with zeros; it must go before the larger size is seen.
                tails.push(Stale::Tail(node, shown - shown % PAGE_BYTES));
                sizes.push(Stale::Grown(node, real, last[0]));
            }
        }
        let mut stale = tails;
        stale.push(Stale::Published(view.node(), view.entries()?));
        stale.extend(sizes);
        Ok(stale)
    }

    /// SEEK_DATA and SEEK_HOLE: a file is data to its end.
    ///
    /// # Errors
    /// The offset is at or past the end, or `whence` is neither.
    pub fn seek(&self, node: u64, offset: u64, whence: i32) -> Result<u64> {
        let (attributes, _) = self.attributes(node)?;
        let end = attributes.size_bytes;
        match whence {
            libc::SEEK_DATA | libc::SEEK_HOLE if offset >= end => Err(Refusal::PastEnd { offset }),
            libc::SEEK_DATA => Ok(offset),
            libc::SEEK_HOLE => Ok(end),
            _ => Err(Refusal::BadWhence { whence }),
        }
    }
}

fn copy_at(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|offset| bytes.get(offset..))
        .unwrap_or_default();
    let length = rest.len().min(buffer.len());
    buffer[..length].copy_from_slice(&rest[..length]);
    length
}
