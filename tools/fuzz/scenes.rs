//! What a fuzz target does with its bytes: puts them in the place of one file of a small database and works on it.
//!
//! Shared by the targets in `tools/fuzz/targets` and by the replay in `mount-tests`, which runs the same without a fuzzer.
//! The database lives on simulated storage. Whatever the bytes are, nothing may panic, reading may change nothing, a
//! series that was not touched stays as it is, opening for writing keeps what a reader could read, and what was
//! appended afterwards is there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use headstack::{
    series::{
        AnyContents, AnySeries, Contents, Database, Entry, Error, FixedParameters, OpenOptions, SeriesKey, Timestamp,
        VarlenContents, VarlenParameters,
    },
    storage::{Directory, EntryKind, sim::SimDirectory},
};

/// Files by path; directories that hold none are left out.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The healthy database: fixed series `s` and `t`, variable-length series `v`, one snapshot, closed.
static HEALTHY: LazyLock<Files> = LazyLock::new(|| {
    let disk = SimDirectory::new();
    let database = open(&disk, OpenOptions::read_write()).expect("an empty directory opens");
    fill(&database).expect("nothing stands in the way");
    database.close().expect("nothing stands in the way");
    files(&disk)
});

/// Places for a chunk: first, middle and last of `s`, root and part of `v`.
#[allow(dead_code, reason = "each target has its own places")]
pub const CHUNKS: [&str; 5] = ["s/10", "s/50", "s/90", "varlen/v/root/50", "varlen/v/1/50"];
/// Places for metadata: of `s`, of `v`, of a part, of the database.
#[allow(dead_code, reason = "each target has its own places")]
pub const METADATA: [&str; 4] = [
    "s/metadata.txt",
    "varlen/v/root/metadata.txt",
    "varlen/v/1/metadata.txt",
    "metadata.txt",
];
/// Places for the files that headstack keeps beside the series.
#[allow(dead_code, reason = "each target has its own places")]
pub const OWN: [&str; 3] = [".headstack.catalogue", ".headstack.marks", ".headstack.snapshot.1"];

/// Files of the healthy database, as seeds.
#[allow(dead_code, reason = "a fuzzer keeps its own seeds")]
pub fn healthy() -> &'static Files {
    &HEALTHY
}

/// Puts `bytes` into each of `places` in turn and works on the database.
pub fn play(places: &[&str], bytes: &[u8]) {
    for place in places {
        let mut planted = HEALTHY.clone();
        planted.insert(PathBuf::from(place), bytes.to_vec());
        work(&planted, place);
    }
}

fn fill(database: &Database) -> Result<(), Error> {
    let parameters = FixedParameters {
        block_size: 8,
        entries_per_chunk: 4,
        page_size: 64,
    };
    for name in ["s", "t"] {
        let series = database.create_series(name, &parameters)?;
        for number in 1..=10 {
            series.append(Timestamp(number * 10), b"a value.")?;
        }
    }
    let parameters = VarlenParameters {
        length_profile: vec![4, 6],
        size_struct: 2,
        entries_per_chunk: 4,
    };
    let series = database.create_varlen_series("v", &parameters)?;
    for number in 1..=7 {
        series.append(
            Timestamp(number * 10),
            &b"a longer value"[..7 + usize::try_from(number).unwrap_or(0)],
        )?;
    }
    database.set_metadata(Some(&serde_json::Map::from_iter([(
        "owner".to_owned(),
        "nobody".into(),
    )])))?;
    database.create_snapshot("early", SystemTime::UNIX_EPOCH)?;
    Ok(())
}

fn open(disk: &SimDirectory, options: OpenOptions) -> Result<Database, Error> {
    Database::open_on(Arc::new(disk.clone()), options)
}

/// All files of a disk; the lock's file is not part of a database.
fn files(disk: &SimDirectory) -> Files {
    let mut found = Files::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in disk.list(&directory).expect("it was listed") {
            let path = directory.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => pending.push(path),
                _ if entry.name == ".headstack.lock" => {}
                _ => drop(found.insert(path.clone(), disk.read(&path, u64::MAX).expect("it was listed"))),
            }
        }
    }
    found
}

fn disk_of(files: &Files) -> SimDirectory {
    let disk = SimDirectory::new();
    for (path, bytes) in files {
        let mut parents: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|parent| parent.parent().is_some())
            .collect();
        parents.reverse();
        for parent in parents {
            // It may be there already.
            drop(disk.create_directory(parent));
        }
        let created = disk.create(path, &mut |file| file.write_all_at(bytes, 0));
        drop(created.expect("the name is free"));
    }
    drop(disk.create_directory(Path::new("varlen")));
    disk
}

fn work(planted: &Files, place: &str) {
    let disk = disk_of(planted);
    let reader = open(&disk, OpenOptions::read_only());
    let seen = reader.as_ref().ok().map(look);
    drop(reader);
    assert_eq!(
        files(&disk),
        *planted,
        "reading changed a file, after {place} was planted"
    );
    let Ok(database) = open(&disk, OpenOptions::read_write()) else {
        return;
    };
    let kept = look(&database);
    if let Some(seen) = seen {
        assert_eq!(
            seen, kept,
            "opening for writing shows other entries than reading, after {place} was planted"
        );
    }
    if !place.starts_with(".headstack") {
        assert_eq!(
            kept[&SeriesKey::fixed("t")].len(),
            10,
            "an untouched series lost entries after {place} was planted"
        );
    }
    let appended: Vec<SeriesKey> = kept
        .keys()
        .filter(|key| append(&database, key).is_ok())
        .cloned()
        .collect();
    drop(database.close());
    drop(database);
    let Ok(database) = open(&disk, OpenOptions::read_only()) else {
        return;
    };
    for key in appended {
        let latest = match database.any(&key) {
            Ok(AnySeries::Fixed(series)) => series.contents().latest(),
            Ok(AnySeries::Varlen(series)) => series.contents().latest(),
            Err(error) => Err(error),
        };
        let latest = latest
            .expect("a series that took an entry opens")
            .expect("it has an entry");
        assert_eq!(latest.timestamp, Timestamp::MAX, "{key:?}");
    }
}

/// Appends the greatest timestamp, with a value that the series takes.
fn append(database: &Database, key: &SeriesKey) -> Result<(), Error> {
    match database.any(key)? {
        AnySeries::Fixed(series) => series.append_padded(Timestamp::MAX, b"x"),
        AnySeries::Varlen(series) => series.append(Timestamp::MAX, b"another value"),
    }
}

/// Uses everything that reads; returns the entries of each series up to its first damage.
fn look(database: &Database) -> BTreeMap<SeriesKey, Vec<Entry>> {
    let mut found = BTreeMap::new();
    drop(database.metadata());
    drop(database.check(None));
    for key in database.keys().unwrap_or_default() {
        let entries = match database.any(&key) {
            Ok(AnySeries::Fixed(series)) => look_at_fixed(series.contents()),
            Ok(AnySeries::Varlen(series)) => look_at_varlen(series.contents()),
            Err(_) => Vec::new(),
        };
        found.insert(key, entries);
    }
    for info in database.snapshots().unwrap_or_default() {
        let Ok(snapshot) = database.snapshot(&info.name) else {
            continue;
        };
        for key in snapshot.keys() {
            match snapshot.series(&key).map(|frozen| frozen.contents) {
                Ok(AnyContents::Fixed(contents)) => drop(look_at_fixed(&contents)),
                Ok(AnyContents::Varlen(contents)) => drop(look_at_varlen(&contents)),
                Err(_) => {}
            }
        }
    }
    found
}

fn look_at_fixed(contents: &Contents) -> Vec<Entry> {
    drop((
        contents.entries(),
        contents.first(),
        contents.latest(),
        contents.chunks(),
    ));
    drop((
        contents.lower_bound(Timestamp(55)),
        contents.upper_bound(Timestamp(50)),
        contents.get(Timestamp(60)),
    ));
    let mut buffer = [0; 100];
    drop(contents.read_records(&mut buffer, 40));
    let Ok(range) = contents.range(Timestamp::MIN, Timestamp::MAX) else {
        return Vec::new();
    };
    range.entries().map_while(Result::ok).collect()
}

fn look_at_varlen(contents: &VarlenContents) -> Vec<Entry> {
    drop((contents.entries(), contents.first(), contents.latest()));
    drop((
        contents.lower_bound(Timestamp(55)),
        contents.upper_bound(Timestamp(50)),
        contents.get(Timestamp(60)),
    ));
    let Ok(range) = contents.range(Timestamp::MIN, Timestamp::MAX) else {
        return Vec::new();
    };
    range
        .map_while(|entry| entry.and_then(|entry| entry.to_entry()).ok())
        .collect()
}
