//! Opening, closing and syncing files.
//!
//! Here is decided who may write and how the kernel may keep what it reads: closed files for ever, growing ones not at
//! all, or until they are opened again where the mount says so.

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, Mutex},
};

use super::{Effect, Filesystem, Stale, control::Commands, handles::Handle, lock, metadata::MetadataBuffer};
use crate::mount::{
    errno::{Refusal, Result},
    nodes::{Item, Place, Tree},
    offsets::Form,
    options::LiveRead,
    view::SeriesView,
};

/// How the kernel may keep what it reads through an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Not at all: every read comes to us.
    Direct,
    /// Until the next open.
    UntilReopened,
    /// For ever: the file cannot change, but by a trim, which says so.
    Keep,
    /// As [`Caching::Keep`]; and the file is one of the host's, which the kernel may read by itself.
    Passthrough,
}

/// A file that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Number of the open file.
    pub handle: u64,
    /// What the kernel may keep.
    pub caching: Caching,
    /// Its closing has something to say.
    pub flush: bool,
}

/// Flags of open(2), as far as they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags {
    /// May write.
    pub write: bool,
    /// `O_APPEND`.
    pub append: bool,
    /// `O_TRUNC`.
    pub truncate: bool,
}

impl From<i32> for OpenFlags {
    fn from(flags: i32) -> Self {
        Self {
            write: flags & libc::O_ACCMODE != libc::O_RDONLY,
            append: flags & libc::O_APPEND != 0,
            truncate: flags & libc::O_TRUNC != 0,
        }
    }
}

impl Filesystem {
    /// Opens a file.
    ///
    /// # Errors
    /// It may not be written so, or not at all; the node is gone or its series damaged.
    pub fn open(&self, node: u64, flags: OpenFlags) -> Result<Effect<Opened>> {
        let place = self.place(node)?;
        if flags.write || flags.truncate {
            self.writable(place.tree())?;
        }
        match place {
            Place::Statistics if flags.write || flags.truncate => Err(Refusal::Fixed { action: "write" }),
            Place::Statistics => Ok(self.opened(Handle::Made(self.metrics().into_bytes()), Caching::Direct)),
            Place::Series(series, item) => {
                let view = self.view(series)?;
                match (item, flags.write || flags.truncate) {
                    (Item::Entries(form), true) => self.open_for_appending(view, form, flags),
                    (Item::Meta, true) => Ok(self.open_metadata(view, flags)),
                    (Item::Control, true) => Ok(self.open_control(view)),
                    (_, true) => Err(Refusal::Fixed { action: "write" }),
                    (_, false) => self.open_for_reading(view, item),
                }
            }
            _ => Err(Refusal::IsADirectory),
        }
    }

    fn opened(&self, handle: Handle, caching: Caching) -> Effect<Opened> {
        let flush = matches!(
            handle,
            Handle::Appending { .. } | Handle::Metadata { .. } | Handle::Control { .. }
        );
        let handle = self.handles.insert(handle);
        Opened { handle, caching, flush }.into()
    }

    fn open_for_reading(&self, view: Arc<SeriesView>, item: Item) -> Result<Effect<Opened>> {
        let frozen = view.node().tree != Tree::Live;
        match item {
            Item::Entries(_) | Item::Range { .. } | Item::ChunkText { .. } => {
                let caching = match self.is_closed(&view, item, None)? {
                    true => Caching::Keep,
                    false if self.options.live_read == LiveRead::Cached => Caching::UntilReopened,
                    false => Caching::Direct,
                };
                Ok(self.opened(Handle::Entries { view, item }, caching))
            }
            Item::Chunk { part, first } => {
                let gone = || Refusal::Gone {
                    node: item_id(&view, item),
                };
                let caching = match self.is_closed(&view, item, None)? {
                    true => Caching::Passthrough,
                    false => Caching::Direct,
                };
                let storage = view.part(part).ok_or_else(gone)?.chunk_storage(first)?;
                let closed = (caching == Caching::Passthrough).then_some((part, first));
                Ok(self.opened(Handle::Chunk { view, storage, closed }, caching))
            }
            Item::Latest => Ok(self.opened(Handle::Made(view.latest_line()?), Caching::Direct)),
            Item::Stats => Ok(self.opened(Handle::Made(self.series_report(&view)?.into_bytes()), Caching::Direct)),
            Item::Meta if frozen => Ok(self.opened(Handle::Made(view.metadata_text().into_bytes()), Caching::Keep)),
            Item::Meta => Ok(self.opened(Handle::Made(view.metadata_text().into_bytes()), Caching::Direct)),
            Item::Control => Ok(self.opened(Handle::Made(Vec::new()), Caching::Direct)),
            _ => Err(Refusal::IsADirectory),
        }
    }

    fn open_for_appending(&self, view: Arc<SeriesView>, form: Form, flags: OpenFlags) -> Result<Effect<Opened>> {
        if !flags.append && !self.options.lax_append {
            return Err(Refusal::AppendOnly { action: "open" });
        }
        // A truncation that changes nothing is what cp does to a file it is about to fill.
        if flags.truncate && !(self.options.lax_append && view.is_empty()) {
            return Err(Refusal::AppendOnly { action: "truncate" });
        }
        let stale = self.begin_writing(&view);
        if self.options.live_read == LiveRead::Cached {
            view.publish_only_on_demand()?;
        }
        let state = Mutex::new(view.appending(form));
        let mut opened = self.opened(Handle::Appending { view, form, state }, Caching::Direct);
        opened.stale = stale;
        Ok(opened)
    }

    fn open_metadata(&self, view: Arc<SeriesView>, flags: OpenFlags) -> Effect<Opened> {
        let stale = self.begin_writing(&view);
        let bytes = if flags.truncate {
            Vec::new()
        } else {
            view.metadata_text().into_bytes()
        };
        let buffer = Mutex::new(MetadataBuffer::new(bytes));
        let mut opened = self.opened(Handle::Metadata { view, buffer }, Caching::Direct);
        opened.stale = stale;
        opened
    }

    fn open_control(&self, view: Arc<SeriesView>) -> Effect<Opened> {
        let state = Mutex::new(Commands::default());
        self.opened(Handle::Control { view, state }, Caching::Direct)
    }

    /// Counts a writer. From now on the kernel is told no size of this series that it might keep; what it keeps from
    /// before is stale.
    fn begin_writing(&self, view: &SeriesView) -> Vec<Stale> {
        match view.begin_writing() {
            true => self.all_stale(view.node(), Stale::Attributes),
            false => Vec::new(),
        }
    }

    /// Runs `use_it` on the host's descriptor behind an open chunk file, for the kernel to read by itself.
    ///
    /// # Errors
    /// It is no open chunk file.
    pub fn with_backing<T>(&self, handle: u64, use_it: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> Result<T> {
        match &*self.handles.get(handle)? {
            Handle::Chunk { storage, .. } => Ok(use_it(storage.as_fd())),
            _ => Ok(use_it(None)),
        }
    }

    /// A descriptor of an open file was closed: ends lines and metadata, and says what was left unfinished.
    ///
    /// # Errors
    /// The last entry or the metadata is bad, or part of a record is left over.
    pub fn flush(&self, handle: u64) -> Result<Effect<()>> {
        match &*self.handles.get(handle)? {
            Handle::Appending { view, form, state } => {
                let mut state = lock(state);
                let grew = state.held() > 0;
                view.finish(*form, &mut state)?;
                drop(state);
                Ok(Effect::new((), if grew { self.grown(view)? } else { Vec::new() }))
            }
            Handle::Metadata { view, buffer } => self.flush_metadata(view, &mut lock(buffer)),
            Handle::Control { view, state } => self.finish_control(view, &mut lock(state)),
            _ => Ok(().into()),
        }
    }

    /// The last descriptor of an open file is gone.
    pub fn release(&self, handle: u64) {
        let Some(gone) = self.handles.remove(handle) else {
            return;
        };
        match &*gone {
            Handle::Appending { view, form, state } => {
                // The kernel flushes before it releases; bytes still held came after that, and nobody hears of them.
                let mut state = lock(state);
                let finished = match self.locks.refuse(view.node()) {
                    Err(refusal) if state.held() > 0 => Err(refusal),
                    _ => view.finish(*form, &mut state),
                };
                if let Err(error) = finished {
                    log::error!("series {}: {error}", view.node().id.0);
                }
                view.end_writing();
            }
            Handle::Metadata { view, .. } => view.end_writing(),
            _ => {}
        }
    }

    /// Makes what was written through any open file of this series durable.
    ///
    /// # Errors
    /// The host could not; the data may be lost with the power.
    pub fn sync(&self, handle: u64) -> Result<()> {
        match &*self.handles.get(handle)? {
            Handle::Appending { view, .. }
            | Handle::Entries { view, .. }
            | Handle::Chunk { view, .. }
            | Handle::Metadata { view, .. }
            | Handle::Control { view, .. } => self.sync_series(view),
            Handle::Made(_) | Handle::Listing(_) => Ok(()),
        }
    }

    pub(super) fn sync_series(&self, view: &SeriesView) -> Result<()> {
        match view.live() {
            Some(series) if !self.options.read_only => Ok(series.sync()?),
            _ => Ok(()),
        }
    }

    /// Makes everything below a directory durable: a series in its own, all series anywhere above.
    ///
    /// # Errors
    /// As [`Filesystem::sync`].
    pub fn sync_directory(&self, node: u64) -> Result<()> {
        match self.place(node)? {
            Place::Series(series, _) => self.sync_series(&*self.view(series)?),
            _ if self.options.read_only => Ok(()),
            _ => Ok(self.database.sync()?),
        }
    }
}

fn item_id(view: &SeriesView, item: Item) -> u64 {
    Place::Series(view.node(), item).file_id()
}
