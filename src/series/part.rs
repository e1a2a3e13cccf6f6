//! One fixed series on disk: its directory, metadata, chunks and the seat of its one writer.
//!
//! A fixed series of the user is one part; a variable-length series is several. Readers go through [`Contents`] and
//! never wait for the writer. The last chunk is opened for appending at the first append and let go again when more
//! writers are open than the limits allow.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Damage, Error, FixedParameters, Result, Timestamp,
    chunk::{
        ChunkWriter, Placement,
        format::{TIMESTAMP_BYTES, timestamp_of, timestamp_of_name},
    },
    contents::{Contents, PartKey},
    context::{Context, Place},
    metadata::{METADATA_FILE, METADATA_LIMIT_BYTES, SeriesMetadata},
    recovery::{Suspect, Verdict, examine, repair},
};
use crate::storage::{Access, Directory, EntryKind};

/// The seat of the writer.
#[derive(Default)]
struct Writer {
    tail: Option<ChunkWriter>,
    last: Option<Timestamp>,
    /// Chunks that were written and closed since the last sync.
    unsynced: BTreeSet<Timestamp>,
    /// True where names or the last chunk changed since the last sync.
    dirty: bool,
    closed: bool,
}

/// One fixed series on disk.
pub(super) struct Part {
    contents: Contents,
    key: PartKey,
    metadata: Mutex<SeriesMetadata>,
    writer: Mutex<Writer>,
    writing: AtomicBool,
    /// Why nothing may be appended.
    wound: Option<(PathBuf, Damage)>,
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
    /// Makes the directory of a new series with its metadata; an empty directory of that name is taken over.
    pub(super) fn create(context: &Context, directory: &Path, metadata: &SeriesMetadata) -> Result<()> {
        context.writable()?;
        match context.directory.create_directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let entries = context.directory.list(directory).map_err(context.failed(directory))?;
                if !entries.is_empty() {
                    return Err(context.failed(directory)(error));
                }
            }
            other => other.map_err(context.failed(directory))?,
        }
        let path = directory.join(METADATA_FILE);
        context
            .directory
            .replace(&path, &metadata.encode())
            .map_err(context.failed(&path))?;
        let parent = directory.parent().unwrap_or(Path::new(""));
        context.directory.sync_directory(parent).map_err(context.failed(parent))
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
        let (last_entries, wound) = recover(context, &key, &directory, &parameters, &mut firsts, durable)?;
        let contents = Contents::new(
            Arc::clone(context),
            key.clone(),
            Arc::clone(place),
            &parameters,
            firsts,
            last_entries,
            false,
        );
        let last = match wound {
            None => contents.last_timestamp()?,
            Some(_) => None,
        };
        Ok(Arc::new_cyclic(|me| Self {
            contents,
            key,
            metadata: Mutex::new(metadata),
            writer: Mutex::new(Writer {
                last,
                ..Writer::default()
            }),
            writing: AtomicBool::new(false),
            wound,
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
        let writer = self.seat();
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
        drop(writer);
        Ok(())
    }

    /// Takes the writer's seat.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when closed or read-only, [`Error::Damaged`] where the last chunk is.
    pub(super) fn appender(&self) -> Result<Appender<'_>> {
        self.appender_of(self.contents.layout().block_size as usize)
    }

    /// Takes the writer's seat of a series whose blocks are known to be of `block_bytes`.
    pub(super) fn appender_of(&self, block_bytes: usize) -> Result<Appender<'_>> {
        self.context().writable()?;
        if let Some((path, damage)) = &self.wound {
            return Err(Error::Damaged {
                path: path.clone(),
                damage: damage.clone(),
            });
        }
        let writer = self.seat();
        if writer.closed {
            return Err(Error::InvalidState {
                path: self.shown(),
                state: "closed",
            });
        }
        Ok(Appender {
            part: self,
            writer,
            block_bytes,
            appended: 0,
        })
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
            writer.dirty = true;
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
        }
    }

    /// Makes everything appended so far durable. Returns the newest durable timestamp, and whether anything was done.
    pub(super) fn sync(&self) -> Result<(Option<Timestamp>, bool)> {
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

    fn sync_seated(&self, writer: &mut Writer) -> Result<(Option<Timestamp>, bool)> {
        if !writer.dirty {
            return Ok((writer.last, false));
        }
        while let Some(first) = writer.unsynced.first().copied() {
            let path = self.contents.chunk_path(first);
            let storage = self.contents.chunk_storage(first)?;
            storage.sync().map_err(self.context().failed(&path))?;
            writer.unsynced.remove(&first);
        }
        if let Some(tail) = &writer.tail {
            tail.sync()?;
        }
        let directory = self.directory();
        self.context()
            .directory
            .sync_directory(&directory)
            .map_err(self.context().failed(&directory))?;
        writer.dirty = false;
        Ok((writer.last, true))
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
        self.contents.close_chunks(false);
        Ok(writer.last)
    }

    /// Marks it closed without touching its files, which are going away.
    pub(super) fn abandon(&self) {
        let mut writer = self.seat();
        writer.tail = None;
        writer.closed = true;
        self.writing.store(false, Ordering::Relaxed);
        self.contents.close_chunks(false);
    }

    /// True after [`Part::close`] or [`Part::abandon`].
    pub(super) fn is_closed(&self) -> bool {
        self.seat().closed
    }
}

/// The writer's seat of one part; others wait until it is dropped.
pub struct Appender<'a> {
    part: &'a Part,
    writer: MutexGuard<'a, Writer>,
    block_bytes: usize,
    appended: u64,
}

impl Appender<'_> {
    /// Newest timestamp.
    pub fn last(&self) -> Option<Timestamp> {
        self.writer.last
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// [`Error::BadLength`], [`Error::OutOfOrder`], [`Error::Io`] (`ENOSPC`), [`Error::Damaged`]; nothing is stored then.
    #[inline]
    pub fn append(&mut self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        if value.len() != self.block_bytes {
            return Err(self.bad_length(value.len()));
        }
        if let Some(last) = self.writer.last
            && timestamp <= last
        {
            return Err(self.out_of_order(timestamp, last));
        }
        match &mut self.writer.tail {
            Some(tail) if tail.room() > 0 => {
                tail.append(timestamp, value)?;
                if tail.take_moved() {
                    self.show_moved();
                }
            }
            _ => {
                let mut record = Vec::with_capacity(TIMESTAMP_BYTES + value.len());
                record.extend_from_slice(&timestamp.0.to_le_bytes());
                record.extend_from_slice(value);
                self.append_elsewhere(&record)?;
            }
        }
        self.writer.last = Some(timestamp);
        self.writer.dirty = true;
        self.appended += 1;
        Ok(())
    }

    /// Appends one entry, its value padded with zeros to the block size.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_padded(&mut self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        if value.len() > self.block_bytes {
            return Err(self.bad_length(value.len()));
        }
        let mut padded = value.to_vec();
        padded.resize(self.block_bytes, 0);
        self.append(timestamp, &padded)
    }

    /// Appends packed records until one is refused; returns how many were stored.
    pub fn append_records(&mut self, records: &[u8]) -> (usize, Result<()>) {
        let record_bytes = TIMESTAMP_BYTES + self.block_bytes;
        let (whole, rest) = records.split_at(records.len() / record_bytes * record_bytes);
        let (ordered, disorder) = self.ordered(whole, record_bytes);
        let mut stored = 0;
        while stored < ordered {
            let remaining = &whole[stored * record_bytes..ordered * record_bytes];
            match self.append_run(remaining, record_bytes) {
                Ok(added) => stored += added,
                Err(error) => return (stored, Err(error)),
            }
        }
        match disorder {
            Some((timestamp, last)) => (stored, Err(self.out_of_order(timestamp, last))),
            None if rest.is_empty() => (stored, Ok(())),
            None => (stored, Err(self.bad_length(rest.len().saturating_sub(TIMESTAMP_BYTES)))),
        }
    }

    /// How many leading records are in order, and the pair of timestamps that is not.
    fn ordered(&self, records: &[u8], record_bytes: usize) -> (usize, Option<(Timestamp, Timestamp)>) {
        let mut last = self.writer.last;
        for (number, record) in records.chunks_exact(record_bytes).enumerate() {
            let timestamp = timestamp_of(record);
            match last {
                Some(last) if timestamp <= last => return (number, Some((timestamp, last))),
                _ => last = Some(timestamp),
            }
        }
        (records.len() / record_bytes, None)
    }

    /// Appends as many of the ordered `records` as go into one chunk.
    fn append_run(&mut self, records: &[u8], record_bytes: usize) -> Result<usize> {
        let added = match &mut self.writer.tail {
            Some(tail) if tail.room() > 0 => {
                let added = (records.len() / record_bytes).min(tail.room() as usize);
                tail.append_records(&records[..added * record_bytes])?;
                if tail.take_moved() {
                    self.show_moved();
                }
                added
            }
            _ => {
                self.append_elsewhere(&records[..record_bytes])?;
                1
            }
        };
        let start = (added - 1) * record_bytes;
        self.writer.last = Some(timestamp_of(&records[start..]));
        self.writer.dirty = true;
        self.appended += added as u64;
        Ok(added)
    }

    /// Appends one record where the last chunk is not open or full.
    #[cold]
    fn append_elsewhere(&mut self, record: &[u8]) -> Result<()> {
        let part = self.part;
        if self.writer.tail.is_none()
            && let Some(first) = part.contents.name_at(Timestamp::MAX)
        {
            let tail = part.tail(&mut self.writer, first)?;
            if tail.room() > 0 {
                tail.append_records(record)?;
                if tail.take_moved() {
                    self.show_moved();
                }
                return Ok(());
            }
        }
        let first = timestamp_of(record);
        let path = part.directory().join(first.to_string());
        if let Some(tail) = &mut self.writer.tail {
            tail.tighten()?;
        }
        let next = ChunkWriter::create(part.placement(&path), record)?;
        let sealed = self.writer.tail.take().map(|tail| Arc::clone(tail.chunk()));
        if let Some(sealed) = &sealed {
            self.writer.unsynced.insert(sealed.min_ts());
        }
        part.contents.push(Arc::clone(next.chunk()), sealed);
        self.writer.tail = Some(next);
        if !part.is_writing() {
            part.note_writer();
        }
        Ok(())
    }

    #[cold]
    fn show_moved(&self) {
        if let Some(tail) = &self.writer.tail {
            self.part.contents.set_tail(Some(Arc::clone(tail.chunk())), None);
        }
    }

    #[cold]
    fn bad_length(&self, length: usize) -> Error {
        Error::BadLength {
            path: self.part.shown(),
            length,
            limit: self.block_bytes,
            too_long: length > self.block_bytes,
        }
    }

    #[cold]
    fn out_of_order(&self, timestamp: Timestamp, last: Timestamp) -> Error {
        Error::OutOfOrder {
            path: self.part.shown(),
            timestamp,
            last,
        }
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        self.part.context().count_appended(self.appended);
    }
}

/// Recovers the last chunks of a series that is opened for writing, or decides what a reader may see of them.
///
/// Returns how many entries of the last chunk count where its file does not say, and the damage that bars appends.
#[expect(clippy::type_complexity, reason = "two independent facts, used at one place")]
fn recover(
    context: &Context,
    key: &PartKey,
    directory: &Path,
    parameters: &FixedParameters,
    firsts: &mut Vec<Timestamp>,
    durable: Option<Timestamp>,
) -> Result<(Option<u32>, Option<(PathBuf, Damage)>)> {
    let layout = super::chunk::format::Layout {
        block_size: parameters.block_size,
        page_size: parameters.page_size,
    };
    while let Some(first) = firsts.last().copied() {
        let path = directory.join(first.to_string());
        let storage = context
            .directory
            .open(&path, Access::Read)
            .map_err(context.failed(&path))?;
        let shown = context.shown(&path);
        let verdict = examine(&Suspect {
            storage: storage.as_ref(),
            path: &shown,
            first,
            layout,
            durable,
            end: context.previous_end,
        })?;
        match verdict {
            Verdict::Sound(_) => return Ok((None, None)),
            Verdict::Damaged(damage) => {
                log::error!("{} is damaged: {damage}; the series takes no appends", shown.display());
                return Ok((None, Some((shown, damage))));
            }
            Verdict::Keep { entries, .. } if context.read_only() => return Ok((Some(entries), None)),
            Verdict::Discard { .. } if context.read_only() => {
                firsts.pop();
            }
            repairable => {
                if repair(context, repairable, &path, layout, (key.id, key.part), first)? {
                    return Ok((None, None));
                }
                firsts.pop();
            }
        }
    }
    Ok((None, None))
}
