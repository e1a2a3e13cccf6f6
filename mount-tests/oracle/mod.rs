//! The series engine against the real tempsdb: what one side writes the other must read, byte for byte.
//!
//! [`found`] is everything a database holds as headstack sees it, in the shape of the peer's manifest; [`same`] compares
//! the two. The tests stand in [`read`], [`write`], [`interleave`], [`golden`], [`damaged`] and [`kill`].

mod damaged;
mod golden;
mod interleave;
mod kill;
mod read;
mod write;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use headstack::series::{AnySeries, Contents, Database, Kind, OpenOptions, Series, Timestamp, VarlenSeries};

use crate::peer::{self, Entry, Fixed, Hex, Manifest, Varlen};

/// Opens for reading only.
fn open_to_read(path: &Path) -> Database {
    Database::open(path, OpenOptions::read_only()).unwrap()
}

/// Opens for reading and writing.
fn open_to_write(path: &Path) -> Database {
    Database::open(path, OpenOptions::read_write()).unwrap()
}

/// Everything that headstack finds in a database.
fn found(database: &Database) -> Manifest {
    let mut manifest = Manifest {
        metadata: database.metadata().unwrap(),
        fixed: BTreeMap::new(),
        varlen: BTreeMap::new(),
        ranges: Vec::new(),
    };
    for key in database.keys().unwrap() {
        match database.any(&key).unwrap() {
            AnySeries::Fixed(series) => drop(manifest.fixed.insert(key.name, fixed(&series))),
            AnySeries::Varlen(series) => drop(manifest.varlen.insert(key.name, varlen(&series))),
        }
    }
    manifest
}

fn fixed(series: &Series) -> Fixed {
    let contents = series.contents();
    let parameters = contents.parameters();
    let entries = fixed_entries(contents, Timestamp::MIN, Timestamp::MAX);
    assert_eq!(contents.entries().unwrap(), entries.len() as u64, "{}", series.name());
    let latest = contents
        .latest()
        .unwrap()
        .map(|entry| (entry.timestamp.0, Hex(entry.value)));
    assert_eq!(latest.as_ref(), entries.last(), "{}", series.name());
    let first = contents
        .first()
        .unwrap()
        .map(|entry| (entry.timestamp.0, Hex(entry.value)));
    assert_eq!(first.as_ref(), entries.first(), "{}", series.name());
    Fixed {
        block_size: parameters.block_size,
        max_entries_per_chunk: parameters.entries_per_chunk,
        page_size: parameters.page_size,
        metadata: series.metadata(),
        last_entry_synced: series.last_entry_synced().0,
        chunks: contents.chunks().unwrap().iter().map(|chunk| chunk.first.0).collect(),
        entries,
        written: None,
        trim: None,
    }
}

fn fixed_entries(contents: &Contents, from: Timestamp, to: Timestamp) -> Vec<Entry> {
    let entries = contents.range(from, to).unwrap().entries();
    entries
        .map(|entry| entry.map(|entry| (entry.timestamp.0, Hex(entry.value))).unwrap())
        .collect()
}

fn varlen(series: &VarlenSeries) -> Varlen {
    let contents = series.contents();
    let parameters = contents.parameters();
    let entries = varlen_entries(series, Timestamp::MIN, Timestamp::MAX);
    assert_eq!(contents.entries().unwrap(), entries.len() as u64, "{}", series.name());
    let latest = contents
        .latest()
        .unwrap()
        .map(|entry| (entry.timestamp.0, Hex(entry.value)));
    assert_eq!(latest.as_ref(), entries.last(), "{}", series.name());
    let parts = contents.parts();
    let part = |(number, part): (usize, &Contents)| {
        let name = if number == 0 {
            "root".to_owned()
        } else {
            number.to_string()
        };
        (name, part.parameters().block_size)
    };
    Varlen {
        length_profile: parameters.length_profile,
        size_struct: parameters.size_struct,
        max_entries_per_chunk: parameters.entries_per_chunk,
        last_entry_synced: series.last_entry_synced().0,
        parts: parts.iter().enumerate().map(part).collect(),
        entries,
    }
}

fn varlen_entries(series: &VarlenSeries, from: Timestamp, to: Timestamp) -> Vec<Entry> {
    let entries = series.contents().range(from, to).unwrap();
    let entry = |entry: headstack::series::Result<headstack::series::VarlenEntry>| {
        let entry = entry.unwrap();
        (entry.timestamp().0, Hex(entry.to_bytes().unwrap()))
    };
    entries.map(entry).collect()
}

/// Asserts that two sides know the same of a database; `what` is for messages.
fn same(expected: &Manifest, found: &Manifest, what: &str) {
    assert_eq!(expected.metadata, found.metadata, "{what}: metadata of the database");
    let names = |manifest: &Manifest| -> Vec<String> {
        let fixed = manifest.fixed.keys().map(|name| format!("fixed {name}"));
        fixed
            .chain(manifest.varlen.keys().map(|name| format!("varlen {name}")))
            .collect()
    };
    assert_eq!(names(expected), names(found), "{what}: names of the series");
    for (name, expected) in &expected.fixed {
        let found = &found.fixed[name];
        let facts = |series: &Fixed| {
            let numbers = (
                series.block_size,
                series.max_entries_per_chunk,
                series.page_size,
                series.last_entry_synced,
            );
            (numbers, series.metadata.clone(), series.chunks.clone())
        };
        assert_eq!(facts(expected), facts(found), "{what}: facts of fixed {name:?}");
        same_entries(&expected.entries, &found.entries, &format!("{what}: fixed {name:?}"));
    }
    for (name, expected) in &expected.varlen {
        let found = &found.varlen[name];
        let facts = |series: &Varlen| {
            let numbers = (
                series.size_struct,
                series.max_entries_per_chunk,
                series.last_entry_synced,
            );
            (numbers, series.length_profile.clone(), series.parts.clone())
        };
        assert_eq!(facts(expected), facts(found), "{what}: facts of varlen {name:?}");
        same_entries(&expected.entries, &found.entries, &format!("{what}: varlen {name:?}"));
    }
}

/// Asserts that entries are the same, and names the first one that is not.
fn same_entries(expected: &[Entry], found: &[Entry], what: &str) {
    let differing = expected
        .iter()
        .zip(found)
        .position(|(expected, found)| expected != found);
    if let Some(index) = differing {
        panic!(
            "{what}: entry {index} is {:?}, expected {:?}",
            found[index], expected[index]
        );
    }
    assert_eq!(expected.len(), found.len(), "{what}: number of entries");
}

/// Every question of a manifest has its right answer.
fn answers_questions(manifest: &Manifest, database: &Database) {
    assert!(manifest.ranges.len() > 400, "the manifest asks little");
    for peer::Question(kind, name, from, to, count, first, last) in &manifest.ranges {
        let (from, to) = (Timestamp(*from), Timestamp(*to));
        let found = match kind.as_str() {
            "fixed" => fixed_entries(database.series(name).unwrap().contents(), from, to),
            _ => varlen_entries(&database.varlen_series(name).unwrap(), from, to),
        };
        let found = (
            found.len(),
            found.first().map(|entry| entry.0),
            found.last().map(|entry| entry.0),
        );
        assert_eq!(found, (*count, *first, *last), "{kind} {name:?} from {from} to {to}");
    }
}

/// Every file below `path` with its bytes, and every directory without; what headstack keeps beside the series is left
/// out.
fn tree(path: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(path.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = directory.join(entry.file_name());
            if name.to_string_lossy().starts_with(".headstack") {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                files.insert(name.clone(), None);
                pending.push(name);
            } else {
                files.insert(name, Some(fs::read(entry.path()).unwrap()));
            }
        }
    }
    files
}

/// Asserts that two trees hold the same names and bytes, and names the first file that differs.
fn same_tree(expected: &BTreeMap<PathBuf, Option<Vec<u8>>>, found: &BTreeMap<PathBuf, Option<Vec<u8>>>, what: &str) {
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>(),
        "{what}: names"
    );
    for (path, expected) in expected {
        let (Some(expected), Some(found)) = (expected, &found[path]) else {
            continue;
        };
        let differing = expected
            .iter()
            .zip(found)
            .position(|(expected, found)| expected != found);
        assert_eq!(
            (differing, expected.len()),
            (None, found.len()),
            "{what}: {path:?} differs at that byte"
        );
    }
}

/// Copies a tree with its times.
fn copy(from: &Path, to: &Path) {
    peer::run(Command::new("cp").arg("-a").arg(from).arg(to), b"");
}

/// Scattered numbers from a seed that a failing test has printed; `HEADSTACK_SEED` sets it.
struct Dice(u64);

impl Dice {
    fn new(test: &str) -> Self {
        let chosen = std::env::var("HEADSTACK_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
        let seed = chosen.unwrap_or_else(clock);
        eprintln!("{test}: HEADSTACK_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// Name of a kind in manifests.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Fixed => "fixed",
        Kind::Varlen => "varlen",
    }
}
