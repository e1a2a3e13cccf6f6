//! Damaged databases: each wound of `images/damaged/series` is named, healthy entries stay readable, and nothing that
//! cannot be explained by a crash is written over.
//!
//! The healthy series `s` has the entries 10, 20, .. 250 in three chunks, `v` has 10, 20, .. 60 in two parts; what was
//! done to each is said in `tools/peers/tempsdb/wound.py`, what headstack says in the table below and in the README.

use std::{collections::BTreeSet, fs, path::Path};

use headstack::series::{AnySeries, Database, Error, Kind, SeriesKey, Timestamp};

use super::{copy, open_to_read, open_to_write, same_tree, tree};
use crate::peer::{self, Tempsdb};

/// What opening for writing does about a wound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Cuts the series back to whole entries and says so.
    Repairs,
    /// The same, after setting the bytes that it drops aside.
    RepairsSettingAside,
    /// Leaves the files alone; readers meet the damage where it is.
    Leaves,
    /// Refuses to open the series.
    Refuses,
}
use Opening::{Leaves, Refuses, Repairs, RepairsSettingAside};

/// Name, wounded file, what a check says of it, how many entries can be read from the start, what opening for writing
/// does.
type Wound = (&'static str, &'static str, &'static str, usize, Opening);

#[rustfmt::skip]
const WOUNDS: [Wound; 26] = [
    ("chunk_of_0_bytes", "s/210", "0 bytes are too few for a chunk of 24", 20, Repairs),
    ("chunk_of_3_bytes", "s/210", "3 bytes are too few for a chunk of 24", 20, Repairs),
    ("chunk_of_zeros", "s/210", "block size 0 in the header, 8 in the metadata", 20, Repairs),
    ("count_0", "s/210", "count 0 where 7 entries fit", 25, Repairs),
    ("count_huge", "s/210", "count 4294967295 where 7 entries fit", 25, Repairs),
    ("count_plus_one", "s/210", "entry 5 has timestamp 0 after 250", 25, Repairs),
    ("count_small_in_closed_chunk", "s/110", "count 7 where 11 entries fit", 22, Leaves),
    ("first_timestamp", "s/110", "first timestamp 111 under the name 110", 10, Leaves),
    ("header_block_size", "s/110", "block size 9 in the header, 8 in the metadata", 10, Leaves),
    ("metadata_cut", "s/metadata.txt", "metadata: text ends in a string at byte 27", 0, Refuses),
    ("metadata_empty", "s/metadata.txt", "metadata: text ends too early at byte 0", 0, Refuses),
    ("metadata_list", "s/metadata.txt", "metadata: a list, not an object", 0, Refuses),
    ("metadata_missing", "s/metadata.txt", "missing", 0, Refuses),
    ("metadata_wrong_types", "s/metadata.txt", "metadata: block_size is a string, not a number", 0, Refuses),
    ("order_in_the_middle", "s/10", "entry 4 has timestamp 5 after 40", 25, Leaves),
    ("overlap", "s/110", "begins at 110, before the end 115 of the chunk before", 24, Leaves),
    ("stray_directory", "s", "\"310\" does not belong in a series", 25, Leaves),
    ("stray_file", "s", "\"notes.txt\" does not belong in a series", 25, Leaves),
    ("truncated", "s/210", "count 811955564 where 2 entries fit", 22, RepairsSettingAside),
    ("truncated_closed_chunk", "s/110", "count 1635123200 where 6 entries fit", 10, Leaves),
    ("varlen_hole", "varlen/v", "value at 30 lacks its part in sub-series 1", 2, Leaves),
    ("varlen_length", "varlen/v", "value at 30 lacks its part in sub-series 2", 2, Leaves),
    ("varlen_part_missing", "varlen/v", "value at 10 lacks its part in sub-series 1", 0, Leaves),
    ("varlen_parts_ahead", "", "", 5, Repairs),
    ("varlen_root_ahead", "varlen/v", "value at 60 lacks its part in sub-series 1", 5, Repairs),
    ("zero_page_at_the_end", "s/210", "count 0 where 11 entries fit", 25, RepairsSettingAside),
];

fn key_of(name: &str) -> SeriesKey {
    if name.starts_with("varlen") {
        SeriesKey::varlen("v")
    } else {
        SeriesKey::fixed("s")
    }
}

/// Timestamps from the start up to the first damage, and that damage.
fn readable(database: &Database, key: &SeriesKey) -> (Vec<u64>, Option<Error>) {
    let series = match database.any(key) {
        Ok(series) => series,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
    let entries: Vec<Result<u64, Error>> = match &series {
        AnySeries::Fixed(series) => {
            let entries = series.contents().range(from, to).unwrap().entries();
            entries.map(|entry| entry.map(|entry| entry.timestamp.0)).collect()
        }
        AnySeries::Varlen(series) => {
            let entries = series.contents().range(from, to).unwrap();
            entries
                .map(|entry| entry.and_then(|entry| entry.to_entry()).map(|entry| entry.timestamp.0))
                .collect()
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Ok(timestamp) => found.push(timestamp),
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

fn image(name: &str) -> std::path::PathBuf {
    peer::top().join("images/damaged/series").join(name)
}

/// Every wound is found by a check and named with its file; reading goes as far as it can, and then names the same file;
/// neither changes a byte (T17, T27, T28).
#[test]
fn every_wound_is_named_and_left_alone() {
    let readme = fs::read_to_string(image("README.md")).unwrap();
    let listed = fs::read_dir(image("")).unwrap().map(|entry| entry.unwrap());
    let listed = listed
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(
        listed.collect::<BTreeSet<_>>(),
        WOUNDS.iter().map(|wound| wound.0.to_owned()).collect()
    );
    let scratch = tempfile::tempdir().unwrap();
    for (name, file, message, entries, _) in WOUNDS {
        let path = scratch.path().join(name);
        copy(&image(name), &path);
        let before = tree(&path);
        let database = open_to_read(&path);
        let findings = database.check(None).unwrap();
        if message.is_empty() {
            assert_eq!(findings, [], "{name}");
        } else {
            assert!(!findings.is_empty(), "{name} was not found");
            assert_eq!(findings[0].path, path.join(file), "{name}");
            assert_eq!(findings[0].damage.to_string(), message, "{name}");
            assert!(findings.len() <= 6, "{name}: {} findings", findings.len());
        }
        assert_eq!(findings, database.check(Some(&key_of(name))).unwrap(), "{name}");
        let (found, error) = readable(&database, &key_of(name));
        assert_eq!(found.len(), entries, "{name}");
        if let Some(error) = error {
            assert!(
                error.to_string().starts_with(path.join(file).to_str().unwrap()),
                "{name}: {error}"
            );
        }
        drop(database);
        same_tree(&before, &tree(&path), name);
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in the README");
        assert!(
            readme.contains(&format!("| {message} |")),
            "the README does not say what is said of {name}"
        );
    }
}

/// Opening for writing repairs what a crash explains, says what it did, loses no byte that may be data, and the series
/// goes on, also in the real library; everything else is left as it is or refused (T13, T27).
#[test]
fn opening_repairs_only_what_a_crash_explains() {
    let peer = Tempsdb::find();
    let scratch = tempfile::tempdir().unwrap();
    for (name, file, _, entries, opening) in WOUNDS {
        let path = scratch.path().join(name);
        copy(&image(name), &path);
        let (key, before) = (key_of(name), tree(&path));
        let database = open_to_write(&path);
        let opened = database.any(&key);
        if let Err(error) = opened {
            assert_eq!(opening, Refuses, "{name}: {error}");
            assert!(matches!(error, Error::Damaged { .. }), "{name}: {error}");
            database.close().unwrap();
            same_tree(&before, &without_new_varlen(&path), name);
            continue;
        }
        let (found, _) = readable(&database, &key);
        assert_eq!(found.len(), entries, "{name}");
        let repairs = matches!(opening, Repairs | RepairsSettingAside);
        let recovered = database.statistics().recovered;
        assert_eq!(recovered.is_empty(), !repairs, "{name}: {recovered:?}");
        if opening == RepairsSettingAside {
            let damaged = fs::read(image(name).join(file)).unwrap();
            assert_eq!(set_aside(&path), [damaged], "{name}");
        }
        if opening == Leaves {
            database.close().unwrap();
            same_tree(&before, &without_new_varlen(&path), name);
            continue;
        }
        append(&database, &key, 1000);
        database.close().unwrap();
        let expected: Vec<u64> = found.into_iter().chain([1000]).collect();
        let database = open_to_read(&path);
        assert_eq!(readable(&database, &key).0, expected, "{name}");
        assert_eq!(database.check(None).unwrap(), [], "{name}");
        if let Some(peer) = &peer {
            let theirs = peer.read(&path);
            let theirs = match key.kind {
                Kind::Fixed => &theirs.fixed["s"].entries,
                Kind::Varlen => &theirs.varlen["v"].entries,
            };
            assert_eq!(
                theirs.iter().map(|entry| entry.0).collect::<Vec<_>>(),
                expected,
                "{name} in tempsdb"
            );
        }
    }
}

fn append(database: &Database, key: &SeriesKey, timestamp: u64) {
    match database.any(key).unwrap() {
        AnySeries::Fixed(series) => series.append(Timestamp(timestamp), b"appended").unwrap(),
        AnySeries::Varlen(series) => series.append(Timestamp(timestamp), b"appended").unwrap(),
    }
}

/// The tree without the directory that opening for writing adds where it is missing, as the real library does.
fn without_new_varlen(path: &Path) -> std::collections::BTreeMap<std::path::PathBuf, Option<Vec<u8>>> {
    let mut found = tree(path);
    if !found
        .keys()
        .any(|file| file.starts_with("varlen") && file.components().count() > 1)
    {
        found.remove(Path::new("varlen"));
    }
    found
}

/// Contents of the files that recovery has set aside.
fn set_aside(path: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let lost = files.filter(|entry| entry.file_name().to_string_lossy().starts_with(".headstack.lost."));
    lost.map(|entry| fs::read(entry.path()).unwrap()).collect()
}
