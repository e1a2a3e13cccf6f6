//! A database: a directory of series, open in this process.
//!
//! For writing it takes the advisory lock, so there is one writing process; readers of other processes need none. It
//! hands out each series once, so that all users of the process share its writer, its index and its open chunks.

mod any;
mod lifecycle;
mod options;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value};

pub use any::AnySeries;
pub use options::{Limits, Mode, OpenOptions, Statistics};

use super::{
    Error, Kind, Result, Series, SeriesId, SeriesKey, Timestamp, VarlenSeries,
    catalogue::Catalogue,
    context::Context,
    marks::Marks,
    metadata::{METADATA_FILE, METADATA_LIMIT_BYTES, check_object, decode_object, encode_object},
    nursery,
    part::list_chunks,
    snapshot::Snapshots,
    varlen::part_directory,
};
use crate::storage::{Directory, Entry, EntryKind, file::HostDirectory};

/// Directory of the variable-length series.
const VARLEN: &str = "varlen";
/// File that the advisory lock is taken on; it names the holder.
pub const LOCK_FILE: &str = ".headstack.lock";

/// An open database.
pub struct Database {
    pub(super) context: Arc<Context>,
    open: Mutex<HashMap<SeriesKey, AnySeries>>,
    closed: AtomicBool,
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// Directory of a series, relative to the database.
pub(super) fn path_of(key: &SeriesKey) -> PathBuf {
    match key.kind {
        Kind::Fixed => PathBuf::from(&key.name),
        Kind::Varlen => Path::new(VARLEN).join(&key.name),
    }
}

/// Where a database lies, for messages.
fn place_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => ".".into(),
        Some(parent) => parent.into(),
        None => "/".into(),
    }
}

impl Database {
    /// Makes the directory of a new database and opens it; its parent must exist.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Io`].
    pub fn create(path: &Path, options: OpenOptions) -> Result<Self> {
        let directory = HostDirectory::create(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists {
                what: "database",
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: place_of(path),
            },
            _ => Error::Io {
                path: path.to_owned(),
                source,
            },
        })?;
        Self::open_on(Arc::new(directory), options)
    }

    /// Opens a database; any directory is one.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`], [`Error::Locked`] where another process writes it, [`Error::Io`].
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self> {
        let directory = HostDirectory::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::DoesNotExist {
                what: "database",
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: place_of(path),
            },
            _ => Error::Io {
                path: path.to_owned(),
                source,
            },
        })?;
        Self::open_on(Arc::new(directory), options)
    }

    /// Opens the database on any storage.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_on(directory: Arc<dyn Directory>, options: OpenOptions) -> Result<Self> {
        let writable = options.mode == Mode::ReadWrite;
        let failed = |path: &Path| {
            let path = directory.path().join(path);
            move |source| Error::Io { path, source }
        };
        let mut lock = None;
        if writable {
            lock = Some(take_lock(directory.as_ref(), &options.holder)?);
            let swept = directory.sweep_staged().map_err(failed(Path::new("")))? + nursery::sweep(directory.as_ref())?;
            if swept > 0 {
                log::info!(
                    "{}: {swept} half-made files and series removed",
                    directory.path().display()
                );
            }
            match directory.create_directory(Path::new(VARLEN)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made
                    .and_then(|()| directory.sync_directory(Path::new("")))
                    .map_err(failed(Path::new(VARLEN)))?,
            }
        }
        let marks = match Marks::open(Arc::clone(&directory), writable) {
            Ok((marks, _)) => Some(marks),
            Err(Error::Io { .. }) if !writable => None,
            Err(error) => return Err(error),
        };
        let present = list_keys(directory.as_ref())?;
        let snapshots = Snapshots::open(Arc::clone(&directory))?;
        let catalogue = Catalogue::open_above(Arc::clone(&directory), writable, &present, snapshots.numbers_in_use())?;
        Ok(Self {
            context: Arc::new(Context::new(directory, options, marks, catalogue, snapshots)),
            open: Mutex::default(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(lock),
        })
    }

    /// Directory of the database.
    pub fn path(&self) -> &Path {
        self.context.directory.path()
    }

    /// What it was opened for.
    pub fn mode(&self) -> Mode {
        self.context.options.mode
    }

    /// The storage it is on.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.context.directory
    }

    pub(super) fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::InvalidState {
                path: self.path().to_owned(),
                state: "closed",
            });
        }
        Ok(())
    }

    pub(super) fn series_table(&self) -> MutexGuard<'_, HashMap<SeriesKey, AnySeries>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of all series, fixed ones first, each kind in order of bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keys(&self) -> Result<Vec<SeriesKey>> {
        list_keys(self.context.directory.as_ref())
    }

    /// Number of a series.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`].
    pub fn id(&self, key: &SeriesKey) -> Result<SeriesId> {
        if let Some(id) = self.context.catalogue.id(key) {
            return Ok(id);
        }
        // Somebody else made it since.
        let there = self.context.directory.stat(&path_of(key));
        if key.validate().is_ok() && there.is_ok_and(|stat| stat.kind == EntryKind::Directory) {
            return self.context.catalogue.add(key);
        }
        Err(self.does_not_exist(key))
    }

    pub(super) fn does_not_exist(&self, key: &SeriesKey) -> Error {
        Error::DoesNotExist {
            what: key.what(),
            name: key.name.clone(),
            path: self.path().to_owned(),
        }
    }

    fn already_exists(&self, key: &SeriesKey) -> Error {
        Error::AlreadyExists {
            what: key.what(),
            name: key.name.clone(),
            path: self.path().to_owned(),
        }
    }

    /// Opens a fixed series, or shares it where it is open.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`], [`Error::Damaged`] where its metadata is, [`Error::Io`].
    pub fn series(&self, name: &str) -> Result<Arc<Series>> {
        match self.any(&SeriesKey::fixed(name))? {
            AnySeries::Fixed(series) => Ok(series),
            AnySeries::Varlen(_) => unreachable!("a fixed key names a fixed series"),
        }
    }

    /// Opens a variable-length series, or shares it where it is open.
    ///
    /// # Errors
    /// As [`Database::series`].
    pub fn varlen_series(&self, name: &str) -> Result<Arc<VarlenSeries>> {
        match self.any(&SeriesKey::varlen(name))? {
            AnySeries::Varlen(series) => Ok(series),
            AnySeries::Fixed(_) => unreachable!("a varlen key names a varlen series"),
        }
    }

    /// Opens a series of either kind, or shares it where it is open.
    ///
    /// # Errors
    /// As [`Database::series`].
    pub fn any(&self, key: &SeriesKey) -> Result<AnySeries> {
        let mut table = self.series_table();
        // Asked with the table in hand: whatever is put there before a close is closed by it.
        self.ensure_open()?;
        if let Some(series) = table.get(key).filter(|series| !series.is_closed()) {
            return Ok(series.clone());
        }
        let id = self.id(key)?;
        let path = path_of(key);
        match self.context.directory.stat(&path) {
            Ok(stat) if stat.kind == EntryKind::Directory => {}
            Ok(_) => return Err(self.does_not_exist(key)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.does_not_exist(key)),
            Err(error) => return Err(self.context.failed(&path)(error)),
        }
        let place = self.context.place(id, || Some(path));
        let series = match key.kind {
            Kind::Fixed => AnySeries::Fixed(Arc::new(Series::open(&self.context, id, place)?)),
            Kind::Varlen => AnySeries::Varlen(Arc::new(VarlenSeries::open(&self.context, id, place)?)),
        };
        table.insert(key.clone(), series.clone());
        Ok(series)
    }

    /// First timestamp of a fixed series, from the names of its chunks, without opening it.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`], [`Error::Io`].
    pub fn first_timestamp(&self, name: &str) -> Result<Option<Timestamp>> {
        self.first_timestamp_of(&SeriesKey::fixed(name))
    }

    /// First timestamp of a series of either kind, without opening it.
    ///
    /// # Errors
    /// As [`Database::first_timestamp`].
    pub fn first_timestamp_of(&self, key: &SeriesKey) -> Result<Option<Timestamp>> {
        self.ensure_open()?;
        self.id(key)?;
        let path = match key.kind {
            Kind::Fixed => path_of(key),
            Kind::Varlen => path_of(key).join(part_directory(0)),
        };
        Ok(list_chunks(&self.context, &path, |_| {})?.first().copied())
    }

    /// Names of the series that are open, in order.
    pub fn open_series(&self) -> Vec<SeriesKey> {
        let table = self.series_table();
        let mut keys: Vec<_> = table
            .iter()
            .filter(|(_, series)| !series.is_closed())
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort();
        keys
    }

    /// Closes all open series; returns how many.
    ///
    /// # Errors
    /// The first [`Error::Io`]; the others are closed all the same.
    pub fn close_all_open_series(&self) -> Result<usize> {
        let series: Vec<_> = self.series_table().drain().map(|(_, series)| series).collect();
        self.note_all(series.iter().map(AnySeries::close_unnoted))?;
        Ok(series.len())
    }

    /// Notes what became durable, in one go; the first failure comes after all is done.
    fn note_all(&self, done: impl Iterator<Item = Result<(SeriesId, Option<Timestamp>)>>) -> Result<()> {
        let (mut durable, mut outcome) = (Vec::new(), Ok(()));
        for done in done {
            match done {
                Ok(series) => durable.push(series),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.context.mark_all_durable(&durable).and(outcome)
    }

    /// The database's own metadata.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn metadata(&self) -> Result<Option<Map<String, Value>>> {
        let path = Path::new(METADATA_FILE);
        match self.context.directory.read(path, METADATA_LIMIT_BYTES) {
            Ok(bytes) => decode_object(&bytes).map(Some).map_err(|damage| Error::Damaged {
                path: self.context.shown(path),
                damage,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.context.failed(path)(error)),
        }
    }

    /// Replaces the database's own metadata in one step, durably; none removes it.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where it is too large, [`Error::InvalidState`], [`Error::Io`].
    pub fn set_metadata(&self, metadata: Option<&Map<String, Value>>) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        let path = Path::new(METADATA_FILE);
        let done = match metadata {
            Some(object) => {
                check_object(object)?;
                self.context.directory.replace(path, &encode_object(object))
            }
            None => match self.context.directory.remove(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.map_err(self.context.failed(path))
    }

    /// Makes everything appended to open series so far durable.
    ///
    /// # Errors
    /// The first [`Error::Io`]; the other series are synced all the same.
    pub fn sync(&self) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        let series: Vec<_> = self.series_table().values().cloned().collect();
        let open = series.iter().filter(|series| !series.is_closed());
        self.note_all(open.map(AnySeries::sync_unnoted))
    }

    /// Closes open closed-chunks that nobody reads; returns how many.
    pub fn close_chunks(&self) -> usize {
        self.context.cache.close(true, |_| true)
    }

    /// What it holds open and has done.
    pub fn statistics(&self) -> Statistics {
        let (open_chunks, mapped_bytes) = self.context.cache.usage(|_| true);
        let open: u64 = self.series_table().values().map(AnySeries::appended).sum();
        Statistics {
            open_series: self.open_series().len(),
            open_chunks,
            open_writers: self.context.open_writers(),
            mapped_bytes,
            appended: self.context.appended.load(Ordering::Relaxed) + open,
            recovered: self.context.recoveries(),
        }
    }

    /// Bounds on what is held open.
    pub fn limits(&self) -> Limits {
        self.context.options.limits
    }

    /// Closes all series and gives the lock back; everything but reading what is at hand is refused from now on.
    /// Closing twice is allowed.
    ///
    /// # Errors
    /// The first [`Error::Io`]; then the next opening takes the database for one that was not closed.
    pub fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut outcome = self.close_all_open_series().map(drop);
        self.context.cache.close(false, |_| true);
        if outcome.is_ok()
            && self.mode() == Mode::ReadWrite
            && let Some(marks) = &self.context.marks
        {
            outcome = marks.close_clean();
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::Acquire) {
            log::warn!("{}: closed because it was dropped while open", self.path().display());
            if let Err(error) = self.close() {
                log::error!("{error}");
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path())
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

fn take_lock(directory: &dyn Directory, holder: &str) -> Result<Box<dyn Send + Sync>> {
    let path = Path::new(LOCK_FILE);
    directory.lock(path, holder).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => Error::Locked {
            path: directory.path().to_owned(),
            holder: directory
                .read(path, 4096)
                .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
                .unwrap_or_default(),
        },
        _ => Error::Io {
            path: directory.path().join(path),
            source,
        },
    })
}

fn list_keys(directory: &dyn Directory) -> Result<Vec<SeriesKey>> {
    let failed = |path: &Path| {
        let path = directory.path().join(path);
        move |source| Error::Io { path, source }
    };
    let mut keys = Vec::new();
    let mut take = |entries: Vec<Entry>, name: fn(String) -> SeriesKey| {
        let directories = entries
            .into_iter()
            .filter(|entry| entry.exact && entry.kind == EntryKind::Directory);
        keys.extend(
            directories
                .map(|entry| name(entry.name))
                .filter(|key| key.validate().is_ok()),
        );
    };
    take(
        directory.list(Path::new("")).map_err(failed(Path::new("")))?,
        SeriesKey::fixed,
    );
    match directory.list(Path::new(VARLEN)) {
        Ok(entries) => take(entries, SeriesKey::varlen),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(Path::new(VARLEN))(error)),
    }
    keys.sort();
    Ok(keys)
}
