//! The snapshots of one database: their records, and the pins that keep chunks for them.
//!
//! It knows what is needed; moving a chunk to its pin is done by whoever drops the chunk, under the gate.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::record::{SnapshotRecord, parse_pin_name, pin_name, snapshot_number_of};
use crate::{
    series::{Error, Result, SeriesId, Timestamp, catalogue::Used, types::check_name},
    storage::Directory,
};

/// Greatest length of a snapshot's record in bytes.
const RECORD_LIMIT_BYTES: u64 = 256 << 20;

/// All snapshots of an open database.
pub(crate) struct Snapshots {
    directory: Arc<dyn Directory>,
    gate: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<u32, Held>,
    pins: HashMap<(SeriesId, u32), BTreeSet<Timestamp>>,
    /// Highest number of a record, readable or not, when the database was opened.
    newest: u32,
}

/// A record, and where in it each series is: chunks are asked for one by one.
struct Held {
    record: Arc<SnapshotRecord>,
    positions: HashMap<SeriesId, usize>,
}

impl Held {
    fn new(record: Arc<SnapshotRecord>) -> Self {
        let positions = record.series.iter().enumerate();
        Self {
            positions: positions.map(|(position, series)| (series.id, position)).collect(),
            record,
        }
    }

    fn needs(&self, id: SeriesId, part: u32, first: Timestamp) -> bool {
        let position = self.positions.get(&id);
        position.is_some_and(|position| self.record.series[*position].needs(part, first))
    }
}

impl Snapshots {
    /// Reads all records and pins of the database in `directory`. A record that is damaged is named in the log and left
    /// where it is, and so are all pins, since it may need them.
    pub(crate) fn open(directory: Arc<dyn Directory>) -> Result<Self> {
        let failed = |path: PathBuf| move |source| Error::Io { path, source };
        let root = directory.path().to_owned();
        let mut state = State::default();
        for entry in directory.list(Path::new("")).map_err(failed(root.clone()))? {
            if let Some((id, part, first)) = parse_pin_name(&entry.name) {
                state.pins.entry((id, part)).or_default().insert(first);
            }
            let Some(number) = snapshot_number_of(&entry.name) else {
                continue;
            };
            state.newest = state.newest.max(number);
            let bytes = directory
                .read(Path::new(&entry.name), RECORD_LIMIT_BYTES)
                .map_err(failed(root.join(&entry.name)))?;
            match SnapshotRecord::decode(&bytes, |name| check_name(name).is_ok()) {
                Ok(record) if record.number == number => {
                    state.records.insert(number, Held::new(Arc::new(record)));
                }
                Ok(_) => log::error!(
                    "{}: names another snapshot; left alone",
                    root.join(&entry.name).display()
                ),
                Err(damage) => log::error!("{} is damaged: {damage}; left alone", root.join(&entry.name).display()),
            }
        }
        Ok(Self {
            directory,
            gate: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// Keeps snapshots from being made or removed, and chunks from being dropped, while it is held.
    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> Error {
        let path = self.directory.path().join(path);
        move |source| Error::Io {
            path: path.clone(),
            source,
        }
    }

    /// All records, oldest first.
    pub(crate) fn records(&self) -> Vec<Arc<SnapshotRecord>> {
        let state = self.state();
        state.records.values().map(|held| Arc::clone(&held.record)).collect()
    }

    /// The record under `name`.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<SnapshotRecord>> {
        let state = self.state();
        let found = state.records.values().find(|held| held.record.name == name);
        found
            .map(|held| Arc::clone(&held.record))
            .ok_or_else(|| Error::DoesNotExist {
                what: "snapshot",
                name: name.to_owned(),
                path: self.directory.path().to_owned(),
            })
    }

    /// Stores a new or changed record, durably.
    pub(crate) fn put(&self, record: SnapshotRecord) -> Result<Arc<SnapshotRecord>> {
        let path = PathBuf::from(record.file_name());
        self.directory
            .replace(&path, &record.encode())
            .map_err(self.failed(&path))?;
        let record = Arc::new(record);
        let held = Held::new(Arc::clone(&record));
        self.state().records.insert(record.number, held);
        Ok(record)
    }

    /// Removes a record and the pins that no other snapshot needs. The gate is held.
    pub(crate) fn remove(&self, record: &SnapshotRecord) -> Result<()> {
        let path = PathBuf::from(record.file_name());
        self.directory.remove(&path).map_err(self.failed(&path))?;
        self.directory
            .sync_directory(Path::new(""))
            .map_err(self.failed(Path::new("")))?;
        self.state().records.remove(&record.number);
        for series in &record.series {
            for part in 0..u32::try_from(series.parts.len()).unwrap_or(u32::MAX) {
                for first in self.pins(series.id, part) {
                    self.release(series.id, part, first)?;
                }
            }
        }
        Ok(())
    }

    fn release(&self, id: SeriesId, part: u32, first: Timestamp) -> Result<()> {
        let mut state = self.state();
        if state.needs(id, part, first) {
            return Ok(());
        }
        let path = PathBuf::from(pin_name(id, part, first));
        match self.directory.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.failed(&path)(error)),
            _ => {}
        }
        if let Some(pins) = state.pins.get_mut(&(id, part)) {
            pins.remove(&first);
        }
        Ok(())
    }

    /// Where the chunk that begins at `first` has to be kept when its series drops it; none if nobody needs it.
    /// The gate is held.
    pub(crate) fn pin(&self, id: SeriesId, part: u32, first: Timestamp) -> Option<PathBuf> {
        let mut state = self.state();
        state.needs(id, part, first).then(|| {
            state.pins.entry((id, part)).or_default().insert(first);
            PathBuf::from(pin_name(id, part, first))
        })
    }

    /// Names of a snapshot that needs the chunk that begins at `first`.
    pub(crate) fn needed_by(&self, id: SeriesId, part: u32, first: Timestamp) -> Option<String> {
        let state = self.state();
        let found = state.records.values().find(|held| held.needs(id, part, first));
        found.map(|held| held.record.name.clone())
    }

    /// Chunks of a part that are kept for snapshots only.
    pub(crate) fn pins(&self, id: SeriesId, part: u32) -> BTreeSet<Timestamp> {
        self.state().pins.get(&(id, part)).cloned().unwrap_or_default()
    }

    /// Highest numbers that snapshots and pins speak of, readable or not; the catalogue may not give them out again.
    pub(crate) fn numbers_in_use(&self) -> Used {
        let state = self.state();
        let held = state
            .records
            .values()
            .flat_map(|held| &held.record.series)
            .map(|series| series.id);
        let pinned = state.pins.keys().map(|(id, _)| *id);
        Used {
            series: held.chain(pinned).max().map_or(0, |id| id.0),
            snapshots: state.newest,
        }
    }
}

impl State {
    fn needs(&self, id: SeriesId, part: u32, first: Timestamp) -> bool {
        self.records.values().any(|held| held.needs(id, part, first))
    }
}
