//! What all series of one open database share: its directory, limits, cache, marks and the record of what recovery did.
//!
//! Parts and snapshots hold it; it holds nobody but weakly, so a database goes away when its users do.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use lru::LruCache;

use super::{
    Error, Mode, OpenOptions, Result, SeriesId, Timestamp,
    cache::ChunkCache,
    catalogue::Catalogue,
    marks::{Marks, PreviousEnd},
    part::Part,
    snapshot::Snapshots,
};
use crate::storage::Directory;

/// Where a series' directory is, relative to the database; none once it is deleted. Shared by the live series and its
/// frozen forms in snapshots, so that all follow a rename.
#[derive(Debug)]
pub(crate) struct Place(RwLock<Option<PathBuf>>);

impl Place {
    pub(crate) fn get(&self) -> Option<PathBuf> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, path: Option<PathBuf>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = path;
    }
}

/// What opening a series for writing had to repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The file, absolute.
    pub path: PathBuf,
    /// What was done and why, one sentence.
    pub action: String,
}

/// Shared state of one open database.
pub(crate) struct Context {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) options: OpenOptions,
    pub(crate) cache: ChunkCache,
    pub(crate) marks: Option<Marks>,
    pub(crate) appended: AtomicU64,
    pub(crate) catalogue: Catalogue,
    pub(crate) snapshots: Snapshots,
    places: Mutex<HashMap<SeriesId, Arc<Place>>>,
    writers: Mutex<LruCache<(SeriesId, u32), Weak<Part>>>,
    recoveries: Mutex<Vec<Recovery>>,
}

impl Context {
    pub(crate) fn new(
        directory: Arc<dyn Directory>,
        options: OpenOptions,
        marks: Option<Marks>,
        catalogue: Catalogue,
        snapshots: Snapshots,
    ) -> Self {
        Self {
            cache: ChunkCache::new(options.limits.open_chunks),
            directory,
            options,
            marks,
            appended: AtomicU64::new(0),
            catalogue,
            snapshots,
            places: Mutex::default(),
            writers: Mutex::new(LruCache::unbounded()),
            recoveries: Mutex::default(),
        }
    }

    /// True where nothing may be written.
    #[inline]
    pub(crate) fn read_only(&self) -> bool {
        self.options.mode == Mode::ReadOnly
    }

    /// Absolute form of a path in the database, for messages.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Wraps a failure of the host with the path it befell.
    pub(crate) fn failed(&self, path: &Path) -> impl Fn(io::Error) -> Error {
        let path = self.shown(path);
        move |source| Error::Io {
            path: path.clone(),
            source,
        }
    }

    /// Refuses in a database that is open for reading only.
    #[inline]
    pub(crate) fn writable(&self) -> Result<()> {
        if self.read_only() {
            return Err(Error::InvalidState {
                path: self.directory.path().to_owned(),
                state: "open for reading only",
            });
        }
        Ok(())
    }

    /// Newest timestamp of a series that is known durable.
    pub(crate) fn durable(&self, id: SeriesId) -> Option<Timestamp> {
        self.marks.as_ref().and_then(|marks| marks.durable(id))
    }

    /// How the last writer of a series ended. A series that this program never wrote lost nothing of this program's when
    /// the machine crashed: it is taken for one whose writer was killed. A reader that may not see the marks trusts the
    /// chunks.
    pub(crate) fn previous_end(&self, id: SeriesId) -> PreviousEnd {
        match &self.marks {
            Some(marks) => match marks.previous_end(id) {
                PreviousEnd::Crashed if !marks.is_known(id) => PreviousEnd::Killed,
                end => end,
            },
            None => PreviousEnd::Clean,
        }
    }

    /// True where it is known how far a series is durable, so that what is appended can be told from what was there.
    pub(crate) fn is_marked(&self, id: SeriesId) -> bool {
        self.marks.as_ref().is_none_or(|marks| marks.is_known(id))
    }

    /// Notes that a series is in order and durable up to `last`.
    pub(crate) fn mark_durable(&self, id: SeriesId, last: Option<Timestamp>) -> Result<()> {
        self.mark_all_durable(&[(id, last)])
    }

    /// Notes of several series that they are in order and durable.
    pub(crate) fn mark_all_durable(&self, series: &[(SeriesId, Option<Timestamp>)]) -> Result<()> {
        match &self.marks {
            Some(marks) if !self.read_only() => {
                // A mark names its series by number, so the number comes first.
                self.catalogue.sync()?;
                marks.set_all(series)
            }
            _ => Ok(()),
        }
    }

    /// The shared place of a series, known from now on.
    pub(crate) fn place(&self, id: SeriesId, path: impl FnOnce() -> Option<PathBuf>) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(id).or_insert_with(|| Arc::new(Place(RwLock::new(path())))))
    }

    /// Notes a repair and says it in the log.
    pub(crate) fn recovered(&self, path: &Path, action: String) {
        let path = self.shown(path);
        log::warn!("{}: {action}", path.display());
        self.recoveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Recovery { path, action });
    }

    /// All repairs since the database was opened.
    pub(crate) fn recoveries(&self) -> Vec<Recovery> {
        self.recoveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that `part` has its last chunk open for appending, and lets the least recently noted one go where there
    /// are more than [`super::Limits::open_writers`]. A part that is being written at this moment is spared.
    pub(crate) fn writer_opened(&self, key: (SeriesId, u32), part: Weak<Part>) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.put(key, part);
        let mut excess = writers.len().saturating_sub(self.options.limits.open_writers.max(1));
        let mut spared = Vec::new();
        while excess > 0
            && let Some((oldest, part)) = writers.pop_lru()
        {
            excess -= 1;
            if oldest == key || part.upgrade().is_some_and(|part| !part.release_writer_if_idle()) {
                spared.push((oldest, part));
            }
        }
        for (key, part) in spared {
            writers.put(key, part);
        }
    }

    /// How many last chunks are open for appending.
    pub(crate) fn open_writers(&self) -> usize {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers
            .iter()
            .filter(|(_, part)| part.upgrade().is_some_and(|part| part.is_writing()))
            .count()
    }

    /// Counts the entries that were appended to a series that is closed.
    pub(crate) fn count_appended(&self, entries: u64) {
        self.appended.fetch_add(entries, Ordering::Relaxed);
    }
}

/// Name of the series at a place; empty once it is deleted.
pub(super) fn name_of(place: &Place) -> String {
    let path = place.get().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
