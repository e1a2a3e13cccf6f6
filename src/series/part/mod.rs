//! One fixed series on disk: its directory, metadata, chunks and the seat of its one writer.
//!
//! A fixed series of the user is one part; a variable-length series is several. Readers go through [`Contents`] and
//! never wait for the writer. The last chunk is opened for appending at the first append and let go again when more
//! writers are open than the limits allow.

mod appender;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub use appender::Appender;

use libc::EIO;

use super::{
    Damage, Error, FixedParameters, Result, Timestamp,
    chunk::{ChunkWriter, Placement, format::timestamp_of_name},
    contents::{Contents, PartKey},
    context::{Context, Place},
    metadata::{METADATA_FILE, METADATA_LIMIT_BYTES, SeriesMetadata},
    recovery::{Ward, Wound},
};
use crate::storage::{Access, Directory, EntryKind};

/// The seat of the writer.
#[derive(Default)]
struct Writer {
    /// Length of a value in bytes.
    block_bytes: usize,
    tail: Option<ChunkWriter>,
    last: Option<Timestamp>,
    /// Chunks that were written and closed since the last sync.
    unsynced: BTreeSet<Timestamp>,
    /// True where names or the last chunk changed since the last sync.
    dirty: bool,
    /// The error of a sync that failed: the host may have dropped what it could not write and then reports success.
    lost: Option<i32>,
    closed: bool,
}

impl Writer {
    /// Remembers a sync that failed, for good: none of this series may succeed again until it is opened anew.
    fn note(&mut self, synced: Result<()>) -> Result<()> {
        if let Err(Error::Io { source, .. }) = &synced {
            self.lost = Some(source.raw_os_error().unwrap_or(EIO));
        }
        synced
    }
}

/// One fixed series on disk.
pub(super) struct Part {
    contents: Contents,
    key: PartKey,
    metadata: Mutex<SeriesMetadata>,
    writer: Mutex<Writer>,
    writing: AtomicBool,
    /// As the seat's, for those who may not wait for it.
    closed: AtomicBool,
    /// Entries appended here; written from the seat only.
    appended: AtomicU64,
    /// Why nothing may be appended.
    wound: Option<Wound>,
    me: Weak<Part>,
}

/// Reads the metadata of the series in `directory`.
pub(super) fn read_metadata(context: &Context, directory: &Path) -> Result<SeriesMetadata> {
    let path = directory.join(METADATA_FILE);
    let bytes = context
        .directory
        .read(&path, METADATA_LIMIT_BYTES)
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Damaged {
                path: context.shown(&path),
                damage: Damage::Missing,
            },
            _ => context.failed(&path)(source),
        })?;
    SeriesMetadata::decode(&bytes).map_err(|damage| Error::Damaged {
        path: context.shown(&path),
        damage,
    })
}

/// First timestamps of the chunks in `directory`, in order; `stray` is told of other names.
pub(super) fn list_chunks(context: &Context, directory: &Path, mut stray: impl FnMut(&str)) -> Result<Vec<Timestamp>> {
    let entries = context.directory.list(directory).map_err(context.failed(directory))?;
    let mut firsts = Vec::with_capacity(entries.len());
    for entry in entries {
        match timestamp_of_name(&entry.name) {
            Some(first) if entry.exact && entry.kind == EntryKind::File => firsts.push(first),
            _ if entry.name == METADATA_FILE => {}
            _ => stray(&entry.name),
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

impl Part {
    /// Makes the directory of a new part with its metadata.
    pub(super) fn create(context: &Context, directory: &Path, metadata: &SeriesMetadata) -> Result<()> {
        let made = context.directory.create_directory(directory);
        made.map_err(context.failed(directory))?;
        let path = directory.join(METADATA_FILE);
        let written = context.directory.replace(&path, &metadata.encode());
        written.map_err(context.failed(&path))
    }

    /// Opens a series; for writing, after recovery of its last chunk.
    ///
    /// # Errors
    /// [`Error::Damaged`] where its metadata cannot be read. Damage of the last chunk only bars appends.
    pub(super) fn open(
        context: &Arc<Context>,
        key: PartKey,
        place: &Arc<Place>,
        durable: Option<Timestamp>,
    ) -> Result<Arc<Self>> {
        let directory = place.get().unwrap_or_default().join(&key.below);
        let metadata = read_metadata(context, &directory)?;
        let mut firsts = list_chunks(context, &directory, |name| {
            log::warn!(
                "{}: left alone, it is no part of a series",
                context.shown(&directory.join(name)).display()
            );
        })?;
        let parameters = metadata.fixed_parameters();
        let ward = Ward {
            context,
            key: &key,
            directory: &directory,
            parameters: &parameters,
            durable,
        };
        let recovered = ward.recover(&mut firsts)?;
        let contents = Contents::new(
            Arc::clone(context),
            key.clone(),
            Arc::clone(place),
            &parameters,
            firsts,
            recovered.last_entries,
            false,
        );
        let last = match recovered.wound {
            None => contents.last_timestamp()?,
            Some(_) => None,
        };
        Ok(Arc::new_cyclic(|me| Self {
            contents,
            key,
            metadata: Mutex::new(metadata),
            writer: Mutex::new(Writer {
                block_bytes: parameters.block_size as usize,
                last,
                ..Writer::default()
            }),
            writing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            appended: AtomicU64::new(0),
            wound: recovered.wound,
            me: Weak::clone(me),
        }))
    }

    /// The readable side.
    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    fn context(&self) -> &Arc<Context> {
        self.contents.context()
    }

    /// Directory relative to the database.
    pub(super) fn directory(&self) -> PathBuf {
        self.contents.directory().unwrap_or_default()
    }

    /// Directory, absolute, for messages.
    pub(super) fn shown(&self) -> PathBuf {
        self.context().shown(&self.directory())
    }

    #[inline]
    fn seat(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn metadata(&self) -> SeriesMetadata {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the metadata and replaces its file in one step.
    pub(super) fn change_metadata(&self, change: impl FnOnce(&mut SeriesMetadata)) -> Result<()> {
        self.context().writable()?;
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = metadata.clone();
        change(&mut changed);
        let path = self.directory().join(METADATA_FILE);
        self.context()
            .directory
            .replace(&path, &changed.encode())
            .map_err(self.context().failed(&path))?;
        *metadata = changed;
        Ok(())
    }

    /// Changes the parameters of a series without entries.
    pub(super) fn set_parameters(&self, parameters: &FixedParameters) -> Result<()> {
        let mut writer = self.seat();
        if !self.contents.is_empty() {
            return Err(Error::StillOpen {
                path: self.shown(),
                by: "it has entries, so its parameters are fixed".to_owned(),
            });
        }
        self.change_metadata(|metadata| {
            metadata.block_size = parameters.block_size;
            metadata.max_entries_per_chunk = parameters.entries_per_chunk;
            metadata.page_size = parameters.page_size;
        })?;
        self.contents.set_parameters(parameters);
        writer.block_bytes = parameters.block_size as usize;
        Ok(())
    }

    /// Takes the writer's seat.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when closed or read-only, [`Error::Damaged`] where the last chunk is.
    #[inline]
    pub(super) fn appender(&self) -> Result<Appender<'_>> {
        self.context().writable()?;
        if let Some(wound) = &self.wound {
            return Err(wound.clone().into());
        }
        let writer = self.seat();
        if writer.closed {
            return Err(Error::InvalidState {
                path: self.shown(),
                state: "closed",
            });
        }
        Ok(Appender { part: self, writer })
    }

    /// Drops leading chunks whose successor begins before `before`; those that `keep` wants are moved to the name it
    /// gives. The last chunk always stays.
    pub(super) fn trim(&self, before: Timestamp, keep: impl Fn(Timestamp) -> Option<PathBuf>) -> Result<usize> {
        self.context().writable()?;
        let mut writer = self.seat();
        let mut dropped = 0;
        loop {
            let names = self.contents.leading_names();
            let [Some(first), Some(second)] = names else { break };
            if second >= before {
                break;
            }
            self.contents.drop_first();
            writer.unsynced.remove(&first);
            self.discard(first, keep(first).as_deref())?;
            dropped += 1;
        }
        if dropped > 0 {
            // Durable at once: a root that came back after a crash would find the pieces of its values gone.
            let directory = self.directory();
            let synced = self.context().directory.sync_directory(&directory);
            synced.map_err(self.context().failed(&directory))?;
        }
        Ok(dropped)
    }

    fn discard(&self, first: Timestamp, pin: Option<&Path>) -> Result<()> {
        let directory = &self.context().directory;
        let path = self.contents.chunk_path(first);
        let gone = match pin {
            Some(pin) => directory.rename(&path, pin),
            None => directory.remove(&path),
        };
        match gone {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(self.context().failed(&path)),
        }
    }

    /// Drops all entries after `after`, or all where it is none: halves of variable-length values that were never
    /// acknowledged. No reader has reached them.
    pub(super) fn cut_after(&self, after: Option<Timestamp>) -> Result<u64> {
        let mut writer = self.seat();
        let mut dropped = 0;
        while let Some(first) = self.contents.name_at(Timestamp::MAX) {
            if after.is_some_and(|after| first <= after) {
                break;
            }
            let Some((chunk, entries)) = self.contents.chunk_named(first)? else {
                break;
            };
            dropped += u64::from(entries);
            drop(chunk);
            writer.tail = None;
            self.contents.drop_last();
            writer.unsynced.remove(&first);
            self.discard(first, None)?;
        }
        writer.last = None;
        if let (Some(after), Some(first)) = (after, self.contents.name_at(Timestamp::MAX)) {
            let tail = self.tail(&mut writer, first)?;
            let keep = tail.chunk().find_right(after, tail.chunk().entries())?;
            dropped += u64::from(tail.chunk().entries() - keep);
            tail.cut(keep)?;
            writer.last = Some(tail.last());
        }
        writer.dirty = true;
        Ok(dropped)
    }

    /// The last chunk, opened for appending.
    fn tail<'w>(&self, writer: &'w mut Writer, first: Timestamp) -> Result<&'w mut ChunkWriter> {
        if writer.tail.is_none() {
            let path = self.contents.chunk_path(first);
            let storage = self
                .context()
                .directory
                .open(&path, Access::ReadWrite)
                .map_err(self.context().failed(&path))?;
            let tail = ChunkWriter::open(storage, self.placement(&path), first)?;
            self.contents.set_tail(Some(Arc::clone(tail.chunk())), None);
            writer.tail = Some(tail);
            self.note_writer();
        }
        Ok(writer.tail.as_mut().expect("it was just opened"))
    }

    fn note_writer(&self) {
        self.writing.store(true, Ordering::Relaxed);
        self.context()
            .writer_opened((self.key.id, self.key.part), Weak::clone(&self.me));
    }

    fn placement<'a>(&'a self, path: &'a Path) -> Placement<'a> {
        let directory: &dyn Directory = self.context().directory.as_ref();
        Placement {
            directory,
            path,
            layout: self.contents.layout(),
            entries_per_chunk: self.contents.parameters().entries_per_chunk,
            mapped: self.contents.is_mapped(),
            window_bytes: self.context().options.limits.window_bytes,
        }
    }

    /// Makes everything appended so far durable. Returns the newest timestamp.
    pub(super) fn sync(&self) -> Result<Option<Timestamp>> {
        self.context().writable()?;
        let mut writer = self.seat();
        if writer.closed {
            return Err(Error::InvalidState {
                path: self.shown(),
                state: "closed",
            });
        }
        self.sync_seated(&mut writer)
    }

    /// Makes all chunks durable, whoever wrote them. Returns the newest timestamp.
    pub(super) fn sync_all(&self) -> Result<Option<Timestamp>> {
        let mut writer = self.seat();
        writer.unsynced.extend(self.contents.chunk_names());
        writer.dirty = true;
        self.sync_seated(&mut writer)
    }

    fn sync_seated(&self, writer: &mut Writer) -> Result<Option<Timestamp>> {
        if let Some(errno) = writer.lost {
            let again = io::Error::from_raw_os_error(errno);
            return Err(self.context().failed(&self.directory())(again));
        }
        if !writer.dirty {
            return Ok(writer.last);
        }
        while let Some(first) = writer.unsynced.first().copied() {
            let path = self.contents.chunk_path(first);
            let storage = self.contents.chunk_storage(first)?;
            writer.note(storage.sync().map_err(self.context().failed(&path)))?;
            writer.unsynced.remove(&first);
        }
        let synced = writer.tail.as_ref().map_or(Ok(()), ChunkWriter::sync);
        writer.note(synced)?;
        let directory = self.directory();
        let synced = self.context().directory.sync_directory(&directory);
        writer.note(synced.map_err(self.context().failed(&directory)))?;
        writer.dirty = false;
        Ok(writer.last)
    }

    /// Lets the last chunk go if nobody is appending at this moment; false where somebody is.
    pub(super) fn release_writer_if_idle(&self) -> bool {
        let Ok(mut writer) = self.writer.try_lock() else {
            return false;
        };
        match self.release(&mut writer) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("{error}; left open");
                false
            }
        }
    }

    fn release(&self, writer: &mut Writer) -> Result<()> {
        if let Some(tail) = &mut writer.tail {
            tail.tighten()?;
            let chunk = tail.chunk();
            writer.unsynced.insert(chunk.min_ts());
            self.contents.set_tail(None, Some(chunk.entries()));
            writer.tail = None;
        }
        self.writing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Hands the count of its appends over to the database; those behind a root were counted there.
    fn retire(&self) {
        let appended = self.appended.swap(0, Ordering::Relaxed);
        if self.key.part == 0 {
            self.context().count_appended(appended);
        }
    }

    /// How many entries were appended since it was opened.
    pub(super) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// True while the last chunk is open for appending.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Chooses mapped or descriptor access for all chunks from now on.
    pub(super) fn set_mapped(&self, mapped: bool) -> Result<()> {
        let mut writer = self.seat();
        self.release(&mut writer)?;
        self.contents.set_mapped(mapped);
        Ok(())
    }

    /// Syncs and lets everything go; appends are refused from now on. Closing twice is allowed.
    pub(super) fn close(&self) -> Result<Option<Timestamp>> {
        let mut writer = self.seat();
        if writer.closed {
            return Ok(writer.last);
        }
        if !self.context().read_only() {
            self.release(&mut writer)?;
            self.sync_seated(&mut writer)?;
        }
        writer.closed = true;
        self.closed.store(true, Ordering::Release);
        self.retire();
        self.contents.close_chunks(false);
        Ok(writer.last)
    }

    /// Marks it closed without touching its files, which are going away.
    pub(super) fn abandon(&self) {
        let mut writer = self.seat();
        writer.tail = None;
        writer.closed = true;
        self.closed.store(true, Ordering::Release);
        self.retire();
        self.writing.store(false, Ordering::Relaxed);
        self.contents.close_chunks(false);
    }

    /// True after [`Part::close`] or [`Part::abandon`]. Never waits for the seat.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
