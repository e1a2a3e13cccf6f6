//! Numbers of series and snapshots: `.headstack.catalogue` in a database's root, a file tempsdb does not look at.
//!
//! A number is a series' identity where its name is not enough: file ids in a mount, marks, snapshots. The file is a
//! journal of JSON lines, UTF-8, each ended by a newline. Lines are appended, never changed; where dead lines outnumber
//! live ones by far, opening for writing replaces the file by a short one.
//!
//! | line                                      | meaning                                                             |
//! |-------------------------------------------|---------------------------------------------------------------------|
//! | `{"catalogue":1}`                         | first line: version of the format; a newer one is refused            |
//! | `{"used_series":9,"used_snapshots":4}`    | all numbers up to these have been used (written by the replacement)  |
//! | `{"series":7,"kind":"fixed","name":"a"}`  | series 7 is called so; `kind` is `fixed` or `varlen`                 |
//! | `{"renamed":7,"name":"b"}`                | series 7 is called so from now on                                   |
//! | `{"deleted":7}`                           | series 7 is gone                                                    |
//! | `{"snapshot":3}`                          | snapshot 3 was made                                                 |
//!
//! Lines that do not parse are left out: at the end of the file they are what a crash left of the last write and are
//! overwritten by the next; before it they are damage, which is logged. Nothing is durable before [`Catalogue::sync`]:
//! after a loss of power a series that is there without a number gets a new one. Numbers run up to 4294967295.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};

use super::{Damage, Error, Kind, Result, SeriesId, SeriesKey};
use crate::storage::{Access, Directory, Storage};

/// Name of the file.
pub const CATALOGUE_FILE: &str = ".headstack.catalogue";

const VERSION: u32 = 1;
/// Longest file that is read; about a million series.
const LIMIT_BYTES: u64 = 256 << 20;
/// Dead lines that are never worth a replacement.
const DEAD_LINES_MIN: usize = 100;
/// Dead lines for each live one that are worth a replacement.
const DEAD_LINES_PER_LIVE: usize = 4;

/// The greatest numbers known to be used; 0 where none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Of series.
    pub series: u32,
    /// Of snapshots.
    pub snapshots: u32,
}

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
}

impl Catalogue {
    /// Opens the catalogue of a database in which the series `present` exist: each that has no number gets a new one, in
    /// the order of the keys, and what is gone is forgotten. Where it is not `writable`, that happens in memory only.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] where the file is of a newer version or no number is left.
    pub fn open(directory: Arc<dyn Directory>, writable: bool, present: &[SeriesKey]) -> Result<Self> {
        Self::open_above(directory, writable, present, Used::default())
    }

    /// As [`Catalogue::open`], and gives out no number up to `used`, which other files (snapshots) are known to use.
    ///
    /// # Errors
    /// As [`Catalogue::open`].
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

    /// Gives a new series its number; one that has a number keeps it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::InvalidState`] when open for reading only, [`Error::Damaged`] when no number is left.
    pub fn add(&self, key: &SeriesKey) -> Result<SeriesId> {
        let mut state = self.state();
        if let Some(id) = state.numbers.ids.get(key) {
            return Ok(*id);
        }
        let id = SeriesId(self.number_after(state.numbers.used.series)?);
        let event = Event::Series { id, key: key.clone() };
        self.record(&mut state, vec![event])?;
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
            self.directory
                .sync_directory(Path::new(""))
                .map_err(|e| self.io_error(e))?;
            state.journal.dirty = false;
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
        state.journal.lines = contents.lines;
        state.journal.end_bytes = contents.end_bytes;
        state.journal.tail = u64::try_from(bytes.len()).is_ok_and(|size_bytes| size_bytes > contents.end_bytes);
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
            end_bytes: length_of(&contents),
            lines: events.len(),
            tail: false,
            dirty: false,
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
                journal.end_bytes = length_of(&first);
                journal.lines = 1;
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
        journal.end_bytes += length_of(lines);
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

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Version(u32),
    Used(Used),
    Series { id: SeriesId, key: SeriesKey },
    Renamed { id: SeriesId, name: String },
    Deleted { id: SeriesId },
    Snapshot { number: u32 },
}

/// What a file says.
struct Contents {
    events: Vec<Event>,
    /// Where the last line that parses ends.
    end_bytes: u64,
    /// How many lines end before that, damaged ones included.
    lines: usize,
    damaged_lines: usize,
}

/// Takes a file apart.
///
/// # Errors
/// That it is of a newer version.
fn decode(bytes: &[u8]) -> Result<Contents, String> {
    let mut contents = Contents {
        events: Vec::new(),
        end_bytes: 0,
        lines: 0,
        damaged_lines: 0,
    };
    let (mut at, mut skipped) = (0, 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        at += line.len();
        match line.strip_suffix(b"\n").and_then(Event::parse) {
            Some(Event::Version(version)) if version > VERSION => {
                return Err(format!("of version {version}, this program reads up to {VERSION}"));
            }
            Some(event) => {
                contents.events.push(event);
                contents.damaged_lines += skipped;
                contents.lines += skipped + 1;
                contents.end_bytes = at as u64;
                skipped = 0;
            }
            None => skipped += 1,
        }
    }
    Ok(contents)
}

/// Lines that say `events`.
fn encode(events: &[Event]) -> String {
    events.iter().map(|event| event.fields().to_string() + "\n").collect()
}

impl Event {
    fn fields(&self) -> Value {
        match self {
            Self::Version(version) => json!({ "catalogue": version }),
            Self::Used(used) => json!({ "used_series": used.series, "used_snapshots": used.snapshots }),
            Self::Series { id, key } => json!({ "series": id.0, "kind": kind_text(key.kind), "name": key.name }),
            Self::Renamed { id, name } => json!({ "renamed": id.0, "name": name }),
            Self::Deleted { id } => json!({ "deleted": id.0 }),
            Self::Snapshot { number } => json!({ "snapshot": number }),
        }
    }

    /// What a line says; none where it says nothing that is known.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let number = |key| {
            fields
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|number| u32::try_from(number).ok())
        };
        let id = |key| number(key).filter(|&id| id > 0).map(SeriesId);
        let text = |key| fields.get(key).and_then(Value::as_str);
        if let Some(version) = number("catalogue") {
            Some(Self::Version(version))
        } else if let Some(id) = id("series") {
            let (kind, name) = (kind_from(text("kind")?)?, text("name")?.to_owned());
            let key = SeriesKey { kind, name };
            Some(Self::Series { id, key })
        } else if let Some(id) = id("renamed") {
            let name = text("name")?.to_owned();
            Some(Self::Renamed { id, name })
        } else if let Some(id) = id("deleted") {
            Some(Self::Deleted { id })
        } else if let Some(number) = number("snapshot") {
            Some(Self::Snapshot { number })
        } else {
            let (series, snapshots) = (number("used_series")?, number("used_snapshots")?);
            Some(Self::Used(Used { series, snapshots }))
        }
    }
}

/// A kind as files of ours spell it.
pub(super) fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Fixed => "fixed",
        Kind::Varlen => "varlen",
    }
}

/// The kind that [`kind_text`] spells so.
pub(super) fn kind_from(text: &str) -> Option<Kind> {
    [Kind::Fixed, Kind::Varlen]
        .into_iter()
        .find(|&kind| kind_text(kind) == text)
}

fn length_of(text: &str) -> u64 {
    text.len() as u64
}

#[cfg(test)]
mod tests;
