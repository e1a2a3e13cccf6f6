//! Numbers of series and snapshots: `.headstack.catalogue` in a database's root, a file tempsdb does not look at.
//!
//! A number is a series' identity where its name is not enough: file ids in a mount, marks, snapshots. The file is a
//! journal of [`lines`]. They are appended, never changed; where dead lines outnumber live ones by far, opening for
//! writing replaces the file by a short one.
//!
//! Lines that do not parse are left out: at the end of the file they are what a crash left of the last write and are
//! overwritten by the next; before it they are damage, which is logged. Nothing is durable before [`Catalogue::sync`]:
//! after a loss of power a series that is there without a number gets a new one. Numbers run up to 4294967295.

mod lines;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use self::lines::Used;
use self::lines::{Event, VERSION, decode, encode, length_of};
pub(super) use self::lines::{kind_from, kind_text};
use super::{Damage, Error, Result, SeriesId, SeriesKey};
use crate::storage::{Access, Directory, Storage};

/// Name of the file.
pub const CATALOGUE_FILE: &str = ".headstack.catalogue";

/// Longest file that is read; about a million series.
const LIMIT_BYTES: u64 = 256 << 20;
/// Dead lines that are never worth a replacement.
const DEAD_LINES_MIN: usize = 100;
/// Dead lines for each live one that are worth a replacement.
const DEAD_LINES_PER_LIVE: usize = 4;

/// Gives series and snapshots their numbers and keeps them.
pub struct Catalogue {
    directory: Arc<dyn Directory>,
    writable: bool,
    state: Mutex<State>,
}

/// What the lines say, and where the next one goes.
struct State {
    numbers: Numbers,
    journal: Journal,
}

/// Who has which number.
#[derive(Debug, Default)]
struct Numbers {
    ids: HashMap<SeriesKey, SeriesId>,
    keys: BTreeMap<SeriesId, SeriesKey>,
    used: Used,
}

/// The file as far as it is written.
#[derive(Default)]
struct Journal {
    file: Option<Arc<dyn Storage>>,
    end_bytes: u64,
    lines: usize,
    /// True where something may stand behind `end_bytes` that has to go before the next line.
    tail: bool,
    /// True where lines were written that are not durable.
    dirty: bool,
    /// True where the file's name is not durable.
    new: bool,
}

impl Catalogue {
    /// Opens the catalogue of a database in which the series `present` exist: each that has no number gets a new one, in
    /// the order of the keys, and what is gone is forgotten. Where it is not `writable`, that happens in memory only.
    /// No number up to `used`, which other files (snapshots, pins) are known to use, is given out.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] where the file is of a newer version or no number is left.
    pub fn open_above(
        directory: Arc<dyn Directory>,
        writable: bool,
        present: &[SeriesKey],
        used: Used,
    ) -> Result<Self> {
        let catalogue = Self {
            directory,
            writable,
            state: Mutex::new(State {
                numbers: Numbers::default(),
                journal: Journal::default(),
            }),
        };
        let mut state = catalogue.state();
        catalogue.read(&mut state)?;
        state.numbers.raise(used);
        let live = state.numbers.keys.len();
        let dead = state.journal.lines.saturating_sub(live);
        if writable && dead > DEAD_LINES_MIN + DEAD_LINES_PER_LIVE * live {
            catalogue.replace(&mut state)?;
        }
        catalogue.reconcile(&mut state, present)?;
        drop(state);
        Ok(catalogue)
    }

    /// Number of the series of this name.
    pub fn id(&self, key: &SeriesKey) -> Option<SeriesId> {
        self.state().numbers.ids.get(key).copied()
    }

    /// Name of the series of this number.
    pub fn key(&self, id: SeriesId) -> Option<SeriesKey> {
        self.state().numbers.keys.get(&id).cloned()
    }

    /// Gives a new series its number, in memory only where it is open for reading only; one that has a number keeps it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`] when no number is left.
    pub fn add(&self, key: &SeriesKey) -> Result<SeriesId> {
        let mut state = self.state();
        if let Some(id) = state.numbers.ids.get(key) {
            return Ok(*id);
        }
        let id = SeriesId(self.number_after(state.numbers.used.series)?);
        let event = Event::Series { id, key: key.clone() };
        if self.writable {
            self.record(&mut state, vec![event])?;
        } else {
            state.numbers.apply(event);
        }
        Ok(id)
    }

    /// Gives a series a new name; a series that had that name is forgotten.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`] where `old` has no number; [`Error::Io`], [`Error::InvalidState`].
    pub fn rename(&self, old: &SeriesKey, new: &SeriesKey) -> Result<()> {
        let mut state = self.state();
        let Some(&id) = state.numbers.ids.get(old) else {
            return Err(Error::DoesNotExist {
                what: old.what(),
                name: old.name.clone(),
                path: self.path(),
            });
        };
        let event = if old.kind == new.kind {
            let name = new.name.clone();
            Event::Renamed { id, name }
        } else {
            Event::Series { id, key: new.clone() }
        };
        self.record(&mut state, vec![event])
    }

    /// Takes note that a series is gone; its number is not used again.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::InvalidState`] when open for reading only.
    pub fn forget(&self, key: &SeriesKey) -> Result<()> {
        let mut state = self.state();
        match state.numbers.ids.get(key).copied() {
            Some(id) => self.record(&mut state, vec![Event::Deleted { id }]),
            None => Ok(()),
        }
    }

    /// Takes a number for a new snapshot, from 1.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::InvalidState`] when open for reading only, [`Error::Damaged`] when no number is left.
    pub fn next_snapshot(&self) -> Result<u32> {
        let mut state = self.state();
        let number = self.number_after(state.numbers.used.snapshots)?;
        self.record(&mut state, vec![Event::Snapshot { number }])?;
        Ok(number)
    }

    /// Makes all numbers that were given durable; free where they are. To be called before a number is stored durably
    /// elsewhere, or the number might be given to another series after a loss of power.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        let mut state = self.state();
        if let (true, Some(file)) = (state.journal.dirty, &state.journal.file) {
            file.sync().map_err(|e| self.io_error(e))?;
            if state.journal.new {
                let synced = self.directory.sync_directory(Path::new(""));
                synced.map_err(|e| self.io_error(e))?;
            }
            (state.journal.dirty, state.journal.new) = (false, false);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(CATALOGUE_FILE)
    }

    fn io_error(&self, source: io::Error) -> Error {
        Error::Io {
            path: self.path(),
            source,
        }
    }

    fn damaged(&self, reason: String) -> Error {
        Error::Damaged {
            path: self.path(),
            damage: Damage::Metadata(reason),
        }
    }

    fn number_after(&self, used: u32) -> Result<u32> {
        used.checked_add(1).ok_or_else(|| {
            self.damaged(
                "all numbers are used up; without this file, series and snapshots are numbered anew".to_owned(),
            )
        })
    }

    /// Reads the file, if there is one.
    fn read(&self, state: &mut State) -> Result<()> {
        let bytes = match self.directory.read(Path::new(CATALOGUE_FILE), LIMIT_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(self.io_error(e)),
        };
        let contents = decode(&bytes).map_err(|reason| self.damaged(reason))?;
        if contents.damaged_lines > 0 {
            log::warn!(
                "{}: {} lines do not parse and are left out; a series they named gets a new number",
                self.path().display(),
                contents.damaged_lines
            );
        }
        for event in contents.events {
            state.numbers.apply(event);
        }
        // Who wrote them may have been killed before they were durable.
        (state.journal.dirty, state.journal.new) = (true, true);
        state.journal.lines = contents.lines;
        state.journal.end_bytes = contents.end_bytes;
        state.journal.tail = length_of(&bytes) > contents.end_bytes;
        if self.writable {
            let file = self.directory.open(Path::new(CATALOGUE_FILE), Access::ReadWrite);
            state.journal.file = Some(file.map_err(|e| self.io_error(e))?);
        }
        Ok(())
    }

    /// Replaces the file by one that has only live lines.
    fn replace(&self, state: &mut State) -> Result<()> {
        let mut events = vec![Event::Version(VERSION), Event::Used(state.numbers.used)];
        events.extend(
            state
                .numbers
                .keys
                .iter()
                .map(|(&id, key)| Event::Series { id, key: key.clone() }),
        );
        let contents = encode(&events);
        let name = Path::new(CATALOGUE_FILE);
        self.directory
            .replace(name, contents.as_bytes())
            .map_err(|e| self.io_error(e))?;
        let file = self
            .directory
            .open(name, Access::ReadWrite)
            .map_err(|e| self.io_error(e))?;
        state.journal = Journal {
            file: Some(file),
            end_bytes: length_of(contents.as_bytes()),
            lines: events.len(),
            tail: false,
            dirty: false,
            new: false,
        };
        Ok(())
    }

    /// Makes the numbers fit what is there.
    fn reconcile(&self, state: &mut State, present: &[SeriesKey]) -> Result<()> {
        let mut present: Vec<&SeriesKey> = present.iter().collect();
        present.sort_unstable();
        present.dedup();
        let is_gone = |key: &SeriesKey| present.binary_search(&key).is_err();
        let gone = state.numbers.keys.iter().filter(|(_, key)| is_gone(key));
        let mut events: Vec<Event> = gone.map(|(&id, _)| Event::Deleted { id }).collect();
        let mut last = state.numbers.used.series;
        for key in present {
            if !state.numbers.ids.contains_key(key) {
                last = self.number_after(last)?;
                let id = SeriesId(last);
                events.push(Event::Series { id, key: key.clone() });
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        if self.writable {
            return self.record(state, events);
        }
        for event in events {
            state.numbers.apply(event);
        }
        Ok(())
    }

    /// Writes lines with one write, then believes them.
    fn record(&self, state: &mut State, events: Vec<Event>) -> Result<()> {
        if !self.writable {
            return Err(Error::InvalidState {
                path: self.directory.path().to_path_buf(),
                state: "open for reading only",
            });
        }
        let lines = encode(&events);
        self.append(&mut state.journal, &lines).map_err(|e| self.io_error(e))?;
        state.journal.lines += events.len();
        for event in events {
            state.numbers.apply(event);
        }
        Ok(())
    }

    fn append(&self, journal: &mut Journal, lines: &str) -> io::Result<()> {
        let file = match &journal.file {
            Some(file) => file,
            None => {
                let first = encode(&[Event::Version(VERSION)]);
                let name = Path::new(CATALOGUE_FILE);
                let file = self
                    .directory
                    .create(name, &mut |file| file.write_all_at(first.as_bytes(), 0))?;
                journal.end_bytes = length_of(first.as_bytes());
                journal.lines = 1;
                journal.new = true;
                journal.file.insert(file)
            }
        };
        if journal.tail {
            file.set_size(journal.end_bytes)?;
        }
        // Whatever a write that fails leaves behind is cut before the next one.
        journal.tail = true;
        file.write_all_at(lines.as_bytes(), journal.end_bytes)?;
        journal.tail = false;
        journal.dirty = true;
        journal.end_bytes += length_of(lines.as_bytes());
        Ok(())
    }
}

impl Numbers {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Version(_) => {}
            Event::Used(used) => self.raise(used),
            Event::Snapshot { number } => self.used.snapshots = self.used.snapshots.max(number),
            Event::Series { id, key } => self.name(id, key),
            Event::Deleted { id } => {
                self.remove(id);
                self.used.series = self.used.series.max(id.0);
            }
            Event::Renamed { id, name } => match self.keys.get(&id).map(|key| key.kind) {
                Some(kind) => self.name(id, SeriesKey { kind, name }),
                // The line that says of which kind it is did not parse: the number is used, no more is known.
                None => self.used.series = self.used.series.max(id.0),
            },
        }
    }

    fn name(&mut self, id: SeriesId, key: SeriesKey) {
        self.remove(id);
        if let Some(previous) = self.ids.insert(key.clone(), id) {
            self.keys.remove(&previous);
        }
        self.keys.insert(id, key);
        self.used.series = self.used.series.max(id.0);
    }

    fn remove(&mut self, id: SeriesId) {
        if let Some(key) = self.keys.remove(&id) {
            self.ids.remove(&key);
        }
    }

    fn raise(&mut self, used: Used) {
        self.used.series = self.used.series.max(used.series);
        self.used.snapshots = self.used.snapshots.max(used.snapshots);
    }
}

#[cfg(test)]
mod tests;
