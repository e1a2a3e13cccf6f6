//! The log of events: a variable-length series of the store's database, so that it shows in the mount and on tapes.
//!
//! A warning or an error is durable before [`Log::record`] returns. Where the database is another process's for the
//! moment, events wait in memory, and the oldest are dropped when there are too many. What is not on disk yet is seen by
//! readers of this process all the same.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    error::Result,
    event::{Event, Level, Name},
    telemetry::{PREFIX, Telemetry, ensured},
};
use crate::series::{
    self, Database, OpenOptions, SeriesKey, Timestamp, VarlenContents, VarlenParameters, VarlenSeries,
};

/// Events that wait in memory at most.
const WAITING_MAX: usize = 10_000;
/// Entries that are read together.
const PAGE_ENTRIES: u64 = 256;
/// Events of a page where nothing else is asked for.
pub const PAGE: usize = 50;

/// Which events are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Only those after this time, the oldest first.
    pub after_us: Option<u64>,
    /// Only those before this time, the newest first.
    pub before_us: Option<u64>,
    /// Only those that matter as much.
    pub level: Level,
    /// At most so many.
    pub count: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            after_us: None,
            before_us: None,
            level: Level::Information,
            count: PAGE,
        }
    }
}

/// The events of a store.
pub struct Log {
    telemetry: Arc<Telemetry>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    last_us: u64,
    /// Not stored yet.
    waiting: VecDeque<Event>,
    dropped: u64,
}

impl Log {
    /// The log of a store's telemetry.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self {
            telemetry,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs an event; returns it with its time.
    pub fn record(&self, mut event: Event) -> Event {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX - 1);
        let mut state = self.lock();
        if state.last_us == 0 {
            state.last_us = self.stored_last().unwrap_or(0);
        }
        event.time_us = now_us.max(state.last_us + 1);
        state.last_us = event.time_us;
        match event.level {
            Level::Information => log::info!("{}: {}", event.event, event.text),
            Level::Warning => log::warn!("{}: {}", event.event, event.text),
            Level::Error => log::error!("{}: {}", event.event, event.text),
        }
        if state.waiting.len() == WAITING_MAX {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(event.clone());
        self.store(&mut state);
        self.changed.notify_all();
        event
    }

    /// Stores what waits, if the database is to be had now.
    pub fn settle(&self) {
        let mut state = self.lock();
        if !state.waiting.is_empty() {
            self.store(&mut state);
        }
    }

    /// Events that were dropped because nobody could store them.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn stored_last(&self) -> Option<u64> {
        let database = self.telemetry.database()?;
        let series = series_of(&database).ok()?;
        let last = series.contents().last_timestamp().ok()??;
        Some(last.0)
    }

    fn store(&self, state: &mut State) {
        let Some(database) = self.telemetry.database() else {
            return;
        };
        if let Err(error) = store(&database, &mut state.waiting) {
            self.telemetry.failed(&error);
        }
    }

    /// The events of a query.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn page(&self, query: &Query) -> Result<Vec<Event>> {
        let state = self.lock();
        let mut events = match self.telemetry.database() {
            Some(database) => select(&series_of(&database)?.contents().clone(), query)?,
            None => Vec::new(),
        };
        let waiting = state.waiting.iter().filter(|event| wanted(event, query)).cloned();
        if query.after_us.is_some() {
            events.extend(waiting);
        } else {
            events.splice(0..0, waiting.rev());
        }
        events.truncate(query.count);
        Ok(events)
    }

    /// As [`Log::page`], but waits for an event up to `patience` where there is none yet.
    ///
    /// # Errors
    /// As [`Log::page`].
    pub fn wait(&self, query: &Query, patience: Duration) -> Result<Vec<Event>> {
        let found = self.page(query)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let after_us = query.after_us.unwrap_or(0);
        let state = self.lock();
        let none = |state: &mut State| state.last_us <= after_us;
        drop(self.changed.wait_timeout_while(state, patience, none));
        self.page(query)
    }

    /// Forgets all events.
    ///
    /// # Errors
    /// The database cannot be written, or another process has it.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.lock();
        state.waiting.clear();
        if let Some(database) = self.telemetry.database() {
            if database.keys()?.contains(&key()) {
                database.delete_series(&key())?;
            }
            series_of(&database)?;
        }
        drop(state);
        self.record(Event::new(Name::LogCleared, "the log of events was cleared"));
        Ok(())
    }
}

/// The events of a database that nobody writes, or another process does.
///
/// # Errors
/// The database cannot be read.
pub fn read(database: &Path, query: &Query) -> Result<Vec<Event>> {
    let database = Database::open(database, OpenOptions::read_only())?;
    let found = if database.keys()?.contains(&key()) {
        let series = database.varlen_series(&key().name)?;
        select(&series.contents().clone(), query)
    } else {
        Ok(Vec::new())
    };
    database.close()?;
    Ok(found?)
}

fn key() -> SeriesKey {
    SeriesKey::varlen(format!("{PREFIX}events"))
}

/// The series of events; its values are text, as its metadata say.
fn series_of(database: &Database) -> series::Result<Arc<VarlenSeries>> {
    let parameters = VarlenParameters {
        length_profile: vec![255],
        size_struct: 2,
        entries_per_chunk: 1 << 14,
    };
    let make = |name: &str| {
        let series = database.create_varlen_series(name, &parameters)?;
        let metadata = Map::from_iter([("format".to_owned(), Value::from("utf8"))]);
        series.set_metadata(Some(&metadata))?;
        Ok(series)
    };
    ensured(database, &key(), |name| database.varlen_series(name), make)
}

/// Stores events and takes away those that are.
fn store(database: &Database, waiting: &mut VecDeque<Event>) -> series::Result<()> {
    let series = series_of(database)?;
    let matters = waiting.iter().any(|event| event.level > Level::Information);
    while let Some(event) = waiting.front() {
        let text = serde_json::to_vec(event).unwrap_or_default();
        match series.append(Timestamp(event.time_us), &text) {
            // The clock was turned back behind the log, or the text is too long for an entry: it cannot be stored ever.
            Err(series::Error::OutOfOrder { .. } | series::Error::BadLength { .. }) | Ok(()) => {
                waiting.pop_front();
            }
            Err(error) => return Err(error),
        }
    }
    if matters { series.sync() } else { Ok(()) }
}

fn wanted(event: &Event, query: &Query) -> bool {
    event.level >= query.level
        && query.after_us.is_none_or(|after| event.time_us > after)
        && query.before_us.is_none_or(|before| event.time_us < before)
}

/// The events of a query among those that are stored: after a time from the oldest on, else from the newest back.
fn select(contents: &VarlenContents, query: &Query) -> series::Result<Vec<Event>> {
    let (mut low, mut high) = (0, contents.entries()?);
    if let Some(after) = query.after_us {
        low = contents.upper_bound(Timestamp(after))?;
    }
    if let Some(before) = query.before_us {
        high = contents.lower_bound(Timestamp(before))?;
    }
    let mut found = Vec::new();
    let mut value = Vec::new();
    while low < high && found.len() < query.count {
        let part = if query.after_us.is_some() {
            let end = high.min(low + PAGE_ENTRIES);
            std::mem::replace(&mut low, end)..end
        } else {
            let start = low.max(high.saturating_sub(PAGE_ENTRIES));
            start..std::mem::replace(&mut high, start)
        };
        let mut page = Vec::new();
        let mut range = contents.range_by_index(part)?;
        while let Some(timestamp) = range.next_into(&mut value) {
            let time_us = timestamp?.0;
            // Another program may have written something else there.
            let Ok(event) = serde_json::from_slice::<Event>(&value) else {
                continue;
            };
            let event = Event { time_us, ..event };
            if wanted(&event, query) {
                page.push(event);
            }
        }
        if query.after_us.is_none() {
            page.reverse();
        }
        found.append(&mut page);
    }
    found.truncate(query.count);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::store::Store;

    fn log(root: &Path) -> (Store, Arc<Telemetry>, Log) {
        let store = Store::open(root).or_else(|_| Store::create(root)).unwrap();
        let telemetry = Arc::new(Telemetry::new(&store));
        let log = Log::new(Arc::clone(&telemetry));
        (store, telemetry, log)
    }

    fn texts(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.text.as_str()).collect()
    }

    fn numbered(from: usize, to: usize) -> Vec<String> {
        (from..to).rev().map(|number| format!("event {number}")).collect()
    }

    /// R45: pages back and forth, by level, downloaded whole and cleared.
    #[test]
    fn events_are_paged_and_cleared_and_survive_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("store");
        let (_, telemetry, log) = self::log(&root);
        for number in 0..1000 {
            let name = if number % 10 == 0 {
                Name::Fail
            } else {
                Name::SpareActive
            };
            log.record(Event::new(name, format!("event {number}")));
        }
        let newest = log.page(&Query::default()).unwrap();
        assert_eq!(texts(&newest), numbered(950, 1000));
        assert!(newest.is_sorted_by(|one, other| one.time_us > other.time_us));
        let before_us = newest.last().map(|event| event.time_us);
        let older = Query {
            before_us,
            ..Query::default()
        };
        assert_eq!(texts(&log.page(&older).unwrap()), numbered(900, 950));
        let errors = Query {
            level: Level::Error,
            count: 60,
            ..Query::default()
        };
        assert_eq!(log.page(&errors).unwrap().len(), 60);
        assert!(log.page(&errors).unwrap().iter().all(|event| event.event == Name::Fail));
        telemetry.close().unwrap();
        let (store, _, log) = self::log(&root);
        let all = Query {
            after_us: Some(0),
            count: usize::MAX,
            ..Query::default()
        };
        assert_eq!(log.page(&all).unwrap().len(), 1000);
        assert_eq!(read(&store.series(), &all).unwrap(), log.page(&all).unwrap());
        log.clear().unwrap();
        let left = log.page(&all).unwrap();
        assert_eq!(
            left.iter().map(|event| event.event).collect::<Vec<_>>(),
            [Name::LogCleared]
        );
    }

    #[test]
    fn events_wait_while_another_process_has_the_database() {
        let place = tempfile::tempdir().unwrap();
        let (store, telemetry, log) = log(&place.path().join("store"));
        let other = Database::open(&store.series(), OpenOptions::read_write()).unwrap();
        log.record(Event::new(Name::Fail, "while it is locked"));
        assert!(telemetry.trouble().is_some());
        let query = Query::default();
        assert_eq!(texts(&log.page(&query).unwrap()), ["while it is locked"]);
        assert!(read(&store.series(), &query).unwrap().is_empty());
        other.close().unwrap();
        drop(other);
        log.settle();
        assert!(telemetry.trouble().is_none());
        assert_eq!(texts(&read(&store.series(), &query).unwrap()), ["while it is locked"]);
        log.record(Event::new(Name::Fail, "after it"));
        assert_eq!(texts(&log.page(&query).unwrap()), ["after it", "while it is locked"]);
    }

    #[test]
    fn whoever_waits_for_events_is_woken() {
        let place = tempfile::tempdir().unwrap();
        let (_, _, log) = log(&place.path().join("store"));
        let after_us = log.record(Event::new(Name::NewArray, "first")).time_us;
        let query = Query {
            after_us: Some(after_us),
            ..Query::default()
        };
        let log = Arc::new(log);
        let waiter = std::thread::spawn({
            let (log, query) = (Arc::clone(&log), query.clone());
            move || log.wait(&query, Duration::from_secs(60)).unwrap()
        });
        log.record(Event::new(Name::NewArray, "second"));
        assert_eq!(texts(&waiter.join().unwrap()), ["second"]);
        let last_us = log.page(&query).unwrap()[0].time_us;
        let none = Query {
            after_us: Some(last_us),
            ..query
        };
        assert!(log.wait(&none, Duration::from_millis(1)).unwrap().is_empty());
    }
}
