//! What else a store holds: the series and snapshots of its database, its tapes with their dumps, and dumps that stopped.
//!
//! It is read where it stands; nothing is opened for writing but the database, which the controller has open anyway.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use serde_json::{Map, Value, json};

use super::{
    error::{Error, Kind, Result},
    interface::Span,
    locked,
    store::Store,
    telemetry::Telemetry,
};
use crate::{
    dump::{
        catalog::Catalog,
        context::Contexts,
        record::{self, Header},
    },
    series::{AnySeries, Database, Entry, SeriesKey, Timestamp},
    storage::{Access, Directory, EntryKind, HostDirectory, natural},
    tape::{BlockRead as _, Found, Limits, TapImage},
};

/// Points of an answer at most.
const POINTS_MAX: usize = 10_000;
/// Files of an answer at most.
pub const FOUND_MAX: usize = 500;
/// Entries at the end of a series from which its rate is told.
const RATE_ENTRIES: u64 = 100;
/// How the name of a tape ends.
const ENDING: &str = "tap";

fn database(telemetry: &Telemetry) -> Result<Arc<Database>> {
    telemetry.database().ok_or_else(|| {
        let reason = telemetry.trouble().unwrap_or_default();
        let message = format!("the store's database cannot be opened: {reason}");
        Error::refused(Kind::Busy, message, "again once it is closed or unmounted")
    })
}

fn facts(name: &str, list: Vec<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), list.into())])
}

/// The series of the database: names, entries, the last value, and entries for each unit of their timestamps.
///
/// # Errors
/// The database cannot be had. A series that is damaged is listed with what is wrong.
pub fn series(telemetry: &Telemetry) -> Result<Map<String, Value>> {
    let database = database(telemetry)?;
    let told = |key: SeriesKey| {
        let told = database.any(&key).and_then(|series| series_facts(&series));
        let mut told = told.unwrap_or_else(|error| Map::from_iter([("damage".to_owned(), json!(error.to_string()))]));
        told.insert("name".to_owned(), json!(key.name));
        told.insert("kind".to_owned(), json!(key.what()));
        Value::Object(told)
    };
    Ok(facts("series", database.keys()?.into_iter().map(told).collect()))
}

fn series_facts(series: &AnySeries) -> crate::series::Result<Map<String, Value>> {
    let entries = series.entries()?;
    let (first, latest) = (series.first()?, series.latest()?);
    let codec = series.codec(None);
    let earlier = entries.saturating_sub(RATE_ENTRIES.min(entries));
    let earlier = series.entry_at(earlier)?.map(|entry| entry.timestamp.0);
    let rate = earlier.zip(latest.as_ref()).and_then(|(earlier, latest)| {
        let span = latest.timestamp.0.checked_sub(earlier).filter(|span| *span > 0)?;
        let count = u32::try_from(RATE_ENTRIES.min(entries) - 1).ok()?;
        Some(f64::from(count) / span as f64)
    });
    let facts = json!({
        "entries": entries,
        "first_timestamp": first.map(|entry| entry.timestamp.0),
        "last_timestamp": latest.as_ref().map(|entry| entry.timestamp.0),
        "last_value": latest.map(|entry| codec.json(&entry.value)),
        "format": codec.format().name(),
        "entries_per_unit": rate,
        "allocated_bytes": series.allocated_bytes()?,
        "synced_up_to": series.last_entry_synced().0,
        "metadata": series.metadata(),
    });
    Ok(match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    })
}

/// Entries of a series.
///
/// # Errors
/// [`Kind::NotFound`] where there is no such series.
pub fn points(telemetry: &Telemetry, name: &str, varlen: bool, span: &Span) -> Result<Map<String, Value>> {
    let database = database(telemetry)?;
    let key = if varlen {
        SeriesKey::varlen(name)
    } else {
        SeriesKey::fixed(name)
    };
    if !database.keys()?.contains(&key) {
        let message = format!("there is no {} {name}", key.what());
        return Err(Error::refused(
            Kind::NotFound,
            message,
            "'headstack series ls' for those there are",
        ));
    }
    let series = database.any(&key)?;
    let codec = series.codec(None);
    let point = |entry: Entry| json!([entry.timestamp.0, codec.json(&entry.value)]);
    let points = spread(&series, span)?.into_iter().map(point).collect();
    Ok(facts("points", points))
}

/// Entries of a span, as many as are wanted, spread evenly; with the first and the last that are in it.
///
/// # Errors
/// The series is damaged or gone.
pub fn spread(series: &AnySeries, span: &Span) -> Result<Vec<Entry>> {
    let from = span.from.map_or(Ok(0), |from| series.lower_bound(Timestamp(from)))?;
    let to = span
        .to
        .map_or_else(|| series.entries(), |to| series.upper_bound(Timestamp(to)))?;
    let count = to.saturating_sub(from);
    let wanted = u64::try_from(span.points.min(POINTS_MAX))
        .unwrap_or(u64::MAX)
        .min(count);
    let mut entries = Vec::new();
    for number in 0..wanted {
        // The last number is wanted - 1, which has to become count - 1.
        let step = u128::from(number) * u128::from(count - 1) / u128::from((wanted - 1).max(1));
        let at = from + u64::try_from(step).unwrap_or(u64::MAX);
        // Entries that were trimmed meanwhile are not there any more.
        entries.extend(series.entry_at(at)?);
    }
    Ok(entries)
}

/// The snapshots of the database.
///
/// # Errors
/// The database cannot be had.
pub fn snapshots(telemetry: &Telemetry) -> Result<Map<String, Value>> {
    let listed = database(telemetry)?.snapshots()?;
    let told = listed.into_iter().map(|snapshot| {
        let created = jiff::Timestamp::try_from(snapshot.created).map(|time| time.to_string());
        json!({
            "name": snapshot.name,
            "number": snapshot.number,
            "created": created.ok(),
            "series": snapshot.series,
            "tags": snapshot.tags,
        })
    });
    Ok(facts("snapshots", told.collect()))
}

/// Makes a snapshot of the database; returns its name, which is the time where none is wished.
///
/// # Errors
/// [`Kind::Exists`], [`Kind::Usage`] for a name that cannot be, or the database cannot be had.
pub fn create_snapshot(telemetry: &Telemetry, name: Option<String>) -> Result<String> {
    let name = name.unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    Ok(database(telemetry)?
        .create_snapshot(&name, SystemTime::now())
        .map(|_| name)?)
}

/// Removes a snapshot of the database.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Busy`] while a tag holds it, or the database cannot be had.
pub fn remove_snapshot(telemetry: &Telemetry, name: &str) -> Result<()> {
    Ok(database(telemetry)?.remove_snapshot(name)?)
}

/// Files of the dumps that the catalogue of a store knows: `found`, and `more` where there are more of them.
///
/// # Errors
/// The catalogue cannot be read.
pub fn find_files(store: &Store, text: &str) -> Result<Map<String, Value>> {
    let mut found = Vec::new();
    let mut more = false;
    let unknown = Catalog::new(Arc::clone(store.state())).find(Path::new(text), &mut |file| {
        more = found.len() == FOUND_MAX;
        if more {
            return ControlFlow::Break(());
        }
        found.push(json!({
            "path": Path::new(".").join(&file.path).to_string_lossy(),
            "number": file.number,
            "tapes": file.entry.tapes,
            "file": file.entry.file,
            "level": file.entry.level,
            "date_s": file.entry.date_s,
            "of": file.entry.path,
        }));
        ControlFlow::Continue(())
    });
    let unknown = unknown.map_err(|error| {
        Error::refused(
            Kind::Corrupt,
            error.to_string(),
            "'headstack tape catalogue', which notes the tape again",
        )
    })?;
    Ok(Map::from_iter([
        ("found".to_owned(), found.into()),
        ("more".to_owned(), more.into()),
        ("without_contents".to_owned(), unknown.into()),
    ]))
}

/// The tapes of a store, each with the dumps that its labels name; the dumps that the catalogue knows; dumps that stopped.
///
/// # Errors
/// The directories of the store cannot be read. A tape that is damaged is listed with what is wrong.
pub fn tapes(store: &Store, reels: &Reels) -> Result<Map<String, Value>> {
    let path = store.tapes();
    let directory = HostDirectory::open(&path).map_err(Error::host(&path))?;
    let mut listed = directory.list(Path::new("")).map_err(Error::host(&path))?;
    listed.sort_by(|one, other| natural(one.name.as_bytes(), other.name.as_bytes()));
    let is_tape = |entry: &&crate::storage::Entry| {
        let ends = Path::new(&entry.name)
            .extension()
            .is_some_and(|ending| ending == ENDING);
        entry.exact && entry.kind == EntryKind::File && ends
    };
    let names = listed.iter().filter(is_tape).map(|entry| entry.name.as_str());
    let tapes = reels.told(&directory, names);
    let state = store.state();
    let known = Catalog::new(Arc::clone(state)).entries().unwrap_or_default();
    let all = Contexts::of(Arc::clone(state));
    let contexts = all.all().unwrap_or_default();
    let contexts = contexts.into_iter().map(|context| {
        json!({
            "id": context.id(),
            "host": context.order.host,
            "path": context.order.path,
            "level": context.order.level,
            "volume": context.volume,
            "pass": context.pass,
            "estimate": context.estimate,
            "cleanup_pending": context.cleanup_pending,
            "busy": all.is_busy(&context).unwrap_or(true),
            "hindrance": context.hindrance(true).map(|hindrance| hindrance.to_string()),
        })
    });
    Ok(Map::from_iter([
        ("tapes".to_owned(), tapes.into()),
        ("catalogue".to_owned(), json!(known)),
        ("contexts".to_owned(), contexts.collect()),
    ]))
}

/// What tapes were told to hold, by their names, as they were when they were read: passing over a long one takes its time.
#[derive(Debug, Default)]
pub struct Reels(Mutex<BTreeMap<String, Reel>>);

#[derive(Debug)]
struct Reel {
    as_of: (u64, SystemTime),
    facts: Map<String, Value>,
}

impl Reels {
    /// Facts of these tapes; those that changed since are read again.
    fn told<'n>(&self, directory: &HostDirectory, names: impl Iterator<Item = &'n str>) -> Vec<Value> {
        let mut known = locked(&self.0);
        let mut before = std::mem::take(&mut *known);
        let mut all = Vec::new();
        for name in names {
            let stat = directory.stat(Path::new(name)).ok();
            let as_of = stat.map(|stat| (stat.size_bytes, stat.modified));
            let same = before.remove(name).filter(|reel| Some(reel.as_of) == as_of);
            let facts = same.map_or_else(|| reel_facts(directory, name), |reel| reel.facts);
            all.push(Value::Object(facts.clone()));
            // What could not be read may be another time.
            if let Some(as_of) = as_of.filter(|_| !facts.contains_key("damage")) {
                known.insert(name.to_owned(), Reel { as_of, facts });
            }
        }
        all
    }
}

fn reel_facts(directory: &HostDirectory, name: &str) -> Map<String, Value> {
    let mut facts = tape_facts(directory, Path::new(name))
        .unwrap_or_else(|error| Map::from_iter([("damage".to_owned(), json!(error.to_string()))]));
    facts.insert("name".to_owned(), json!(name));
    facts
}

fn tape_facts(directory: &HostDirectory, path: &Path) -> Result<Map<String, Value>, crate::tape::Error> {
    let mut tape = TapImage::open(directory, path, Access::Read, Limits::default())?;
    tape.rewind()?;
    let mut dumps = Vec::new();
    let mut record = Vec::new();
    let mut file = 1;
    loop {
        match tape.read_record(&mut record)? {
            Found::End => break,
            Found::Mark => {
                file += 1;
                continue;
            }
            Found::Record | Found::BadRecord => {}
            Found::Lost { .. } => continue,
        }
        let block = record.first_chunk::<1024>();
        let header = block.and_then(|block| Header::decode(block).ok());
        if let Some(header) = header.filter(|header| header.kind == record::Kind::Tape) {
            dumps.push(json!({
                "file": file,
                "level": header.label.level,
                "date_s": header.date_s,
                "volume": header.volume,
                "label": String::from_utf8_lossy(&header.label.label),
                "path": String::from_utf8_lossy(&header.label.filesystem),
            }));
        }
        tape.forward_files(1)?;
        file += 1;
    }
    Ok(Map::from_iter([
        ("size_bytes".to_owned(), json!(tape.size_bytes()?)),
        ("dumps".to_owned(), dumps.into()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_that_changed_is_told_anew() {
        let folder = tempfile::tempdir().unwrap();
        let directory = HostDirectory::open(folder.path()).unwrap();
        let reels = Reels::default();
        let told = |names: &[&str]| {
            let all = reels.told(&directory, names.iter().copied());
            all.iter().map(|reel| reel["size_bytes"].as_u64()).collect::<Vec<_>>()
        };
        for name in ["a.tap", "b.tap"] {
            std::fs::write(folder.path().join(name), [0; 8]).unwrap();
        }
        assert_eq!(told(&["a.tap", "b.tap"]), [Some(8), Some(8)]);
        std::fs::write(folder.path().join("a.tap"), [0; 12]).unwrap();
        assert_eq!(told(&["a.tap", "b.tap"]), [Some(12), Some(8)]);
        std::fs::remove_file(folder.path().join("b.tap")).unwrap();
        assert_eq!(told(&["a.tap"]), [Some(12)]);
        std::fs::write(folder.path().join("b.tap"), [0; 4]).unwrap();
        assert_eq!(told(&["a.tap", "b.tap"]), [Some(12), Some(4)]);
    }
}
