//! What the reference library's document promises of each call, one capability row at a time.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::storage::{
    Directory,
    sim::{SimDirectory, Verb},
};

fn simulated(disk: &SimDirectory, mode: Mode) -> Database {
    let options = OpenOptions {
        mode,
        ..OpenOptions::read_write()
    };
    Database::open_on(Arc::new(disk.clone()), options).unwrap()
}

fn with_series(entries_per_chunk: u32, entries: u64) -> (SimDirectory, Database, Arc<Series>) {
    let disk = SimDirectory::new();
    let database = simulated(&disk, Mode::ReadWrite);
    let series = database.create_series("s", &parameters(8, entries_per_chunk)).unwrap();
    fill(&series, 1..=entries);
    (disk, database, series)
}

/// T01: only the last chunk changes; a closed one keeps its bytes and its time for ever.
#[test]
fn closed_chunks_never_change() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("db");
    let database = create(&path);
    let series = database.create_series("s", &parameters(8, 5)).unwrap();
    fill(&series, 1..=12);
    let facts = || {
        ["1", "6"].map(|name| {
            let file = path.join("s").join(name);
            (
                std::fs::read(&file).unwrap(),
                file.metadata().unwrap().modified().unwrap(),
            )
        })
    };
    let before = facts();
    fill(&series, 13..=40);
    series.sync().unwrap();
    assert_eq!(series.entries().unwrap(), 40);
    database.close().unwrap();
    assert_eq!(facts(), before);
}

/// T02, T10, T15, T21: chunks that were read stay open and mapped until they are closed; those somebody reads stay.
#[test]
fn chunks_stay_open_until_they_are_closed() {
    let (_disk, database, series) = with_series(5, 23);
    series.close_chunks();
    assert_eq!(database.statistics().open_chunks, 0);
    let mut range = series.range(Timestamp(1), Timestamp(23)).unwrap();
    let held = range.next().unwrap().unwrap();
    let rest = range.count();
    assert_eq!((held.len(), rest), (5, 4));
    assert_eq!(database.statistics().open_chunks, 4);
    assert!(series.open_chunks_mmap_size() >= 5 * 4096);
    assert_eq!(database.close_chunks(), 3);
    assert_eq!(database.statistics().open_chunks, 1);
    assert_eq!(held.get(0).unwrap().0, Timestamp(1));
    drop(held);
    assert_eq!(series.close_chunks(), 1);
    series.close().unwrap();
    assert_eq!(series.close_chunks(), 0);
    series.close().unwrap();
    database.close().unwrap();
}

/// What is open stays within the limits, however many chunks and series are used.
#[test]
fn open_chunks_and_writers_are_bounded() {
    let disk = SimDirectory::new();
    let mut options = OpenOptions::read_write();
    options.limits = Limits {
        open_chunks: 7,
        open_writers: 3,
        ..Limits::default()
    };
    let database = Database::open_on(Arc::new(disk), options).unwrap();
    let all: Vec<_> = (0..10)
        .map(|i| database.create_series(&i.to_string(), &parameters(8, 2)).unwrap())
        .collect();
    for round in 1..=20 {
        for series in &all {
            fill(series, [round]);
            let statistics = database.statistics();
            assert!(
                statistics.open_writers <= 3 && statistics.open_chunks <= 7,
                "{statistics:?}"
            );
        }
    }
    for series in &all {
        assert_eq!(timestamps(series, 0, 100), (1..=20).collect::<Vec<_>>());
    }
    assert!(database.statistics().open_chunks <= 7);
    assert_eq!(database.statistics().appended, 200);
    database.close().unwrap();
}

/// T03, T04, T09: what does not exist is not opened, what exists is not made again; a database that is dropped while
/// open closes itself.
#[test]
fn existence_is_told_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("db");
    let missing = Database::open(&path, OpenOptions::read_write());
    assert!(matches!(missing, Err(Error::DoesNotExist { what: "database", .. })));
    let database = create(&path);
    fill(&database.create_series("s", &parameters(8, 5)).unwrap(), [1, 2]);
    drop(database);
    let again = Database::create(&path, OpenOptions::read_write());
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    let database = open(&path);
    assert!(matches!(database.series("t"), Err(Error::DoesNotExist { .. })));
    assert!(matches!(database.varlen_series("s"), Err(Error::DoesNotExist { .. })));
    let taken = database.create_series("s", &parameters(8, 5));
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })));
    assert_eq!(timestamps(&database.series("s").unwrap(), 0, 9), [1, 2]);
    database.close().unwrap();
    assert!(matches!(database.series("s"), Err(Error::InvalidState { .. })));
}

/// One writing process: a second one is told who holds the database; readers need no lock.
#[test]
fn a_second_writer_is_told_who_holds_the_database() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("db");
    let mut options = OpenOptions::read_write();
    options.holder = "process 7, mounted at /m".to_owned();
    let database = Database::create(&path, options).unwrap();
    fill(&database.create_series("s", &parameters(8, 5)).unwrap(), 1..=7);
    match Database::open(&path, OpenOptions::read_write()) {
        Err(Error::Locked { holder, .. }) => assert_eq!(holder, "process 7, mounted at /m"),
        other => panic!("{other:?}"),
    }
    let reader = Database::open(&path, OpenOptions::read_only()).unwrap();
    let series = reader.series("s").unwrap();
    assert_eq!(timestamps(&series, 0, 9), (1..=7).collect::<Vec<_>>());
    assert!(matches!(
        series.append(Timestamp(9), &[0; 8]),
        Err(Error::InvalidState { .. })
    ));
    reader.close().unwrap();
    database.close().unwrap();
    open(&path).close().unwrap();
}

/// T05, T37: names of what is there and what is open; the two namespaces do not meet.
#[test]
fn names_are_listed() {
    let disk = SimDirectory::new();
    let database = simulated(&disk, Mode::ReadWrite);
    for name in ["b", "a", ".hidden", "ż ó", "0"] {
        database.create_series(name, &parameters(8, 5)).unwrap();
    }
    database
        .create_varlen_series("a", &VarlenParameters::default())
        .unwrap();
    let keys = database.keys().unwrap();
    let expected = [".hidden", "0", "a", "b", "ż ó"].map(SeriesKey::fixed);
    assert_eq!(keys[..5], expected);
    assert_eq!(keys[5..], [SeriesKey::varlen("a")]);
    assert_eq!(database.open_series(), keys);
    assert_eq!(database.close_all_open_series().unwrap(), 6);
    assert_eq!(database.open_series(), []);
    database.close().unwrap();
}

/// T06: entries that cannot be stored, and names that no file can have, are refused when the series is made.
#[test]
fn impossible_series_are_refused() {
    let disk = SimDirectory::new();
    let database = simulated(&disk, Mode::ReadWrite);
    let with = |block_size, page_size| FixedParameters {
        block_size,
        entries_per_chunk: 10,
        page_size,
    };
    for (block_size, page_size, good) in [
        (0, 4096, false),
        (1, 4096, true),
        (4088, 4096, true),
        (4089, 4096, false),
        (8, 15, false),
        (8, 16, true),
        (u32::MAX, u32::MAX, false),
    ] {
        let made = database.create_series(&format!("{block_size}-{page_size}"), &with(block_size, page_size));
        assert_eq!(made.is_ok(), good, "{block_size} {page_size} {made:?}");
    }
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "varlen",
        "metadata.txt",
        ".headstack.lock",
        "nul\0",
        &"x".repeat(256),
    ] {
        let made = database.create_series(name, &parameters(8, 10));
        assert!(matches!(made, Err(Error::BadName { .. })), "{name:?} {made:?}");
    }
    let profile = |length_profile: &[u32], size_struct| VarlenParameters {
        length_profile: length_profile.to_vec(),
        size_struct,
        entries_per_chunk: 10,
    };
    for (n, (bad, size)) in [
        (&[][..], 2),
        (&[0], 2),
        (&[10, 0], 2),
        (&[10], 0),
        (&[10], 5),
        (&[4088], 2),
    ]
    .into_iter()
    .enumerate()
    {
        let made = database.create_varlen_series(&n.to_string(), &profile(bad, size));
        assert!(matches!(made, Err(Error::BadParameter { .. })), "{bad:?} {size}");
    }
    database.close().unwrap();
}

/// T08: the first timestamp is known from the names alone.
#[test]
fn first_timestamp_opens_nothing() {
    let (disk, database, _) = with_series(5, 23);
    database.series("s").unwrap().trim(Timestamp(9)).unwrap();
    database.close().unwrap();
    let database = simulated(&disk, Mode::ReadOnly);
    disk.take_operations();
    assert_eq!(database.first_timestamp("s").unwrap(), Some(Timestamp(6)));
    assert_eq!(disk.count(Verb::Open), 0);
    assert_eq!(database.open_series(), []);
    assert!(matches!(database.first_timestamp("t"), Err(Error::DoesNotExist { .. })));
    database.close().unwrap();
}

/// T11, T23: syncing makes every open series durable, and is refused once closed.
#[test]
fn sync_is_durable_and_refused_when_closed() {
    let (disk, database, series) = with_series(5, 23);
    let varlen = database
        .create_varlen_series("v", &VarlenParameters::default())
        .unwrap();
    varlen.append(Timestamp(1), &[7; 100]).unwrap();
    database.sync().unwrap();
    for seed in 0..20 {
        let after = simulated(&disk.crash(seed).unwrap(), Mode::ReadWrite);
        assert_eq!(
            timestamps(&after.series("s").unwrap(), 0, 99),
            (1..=23).collect::<Vec<_>>()
        );
        let value = after.varlen_series("v").unwrap().latest().unwrap().unwrap().value;
        assert_eq!(value, [7; 100]);
        after.close().unwrap();
    }
    series.close().unwrap();
    assert!(matches!(series.sync(), Err(Error::InvalidState { .. })));
    assert!(matches!(
        series.append(Timestamp(99), &[0; 8]),
        Err(Error::InvalidState { .. })
    ));
    assert_eq!(series.entries().unwrap(), 23);
    database.close().unwrap();
}

/// A sync that failed may have lost what the host could not write: none succeeds again until the series is opened anew.
#[test]
fn failed_sync_is_not_forgotten() {
    let (disk, database, series) = with_series(5, 3);
    disk.fail_next(Verb::Sync, libc::ENOSPC);
    for more in 4..7 {
        match series.sync() {
            Err(Error::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(libc::ENOSPC)),
            other => panic!("{other:?}"),
        }
        series.append(Timestamp(more), &[0; 8]).unwrap();
    }
    drop(series);
    let _ = database.close();
    let again = simulated(&disk, Mode::ReadWrite);
    let series = again.series("s").unwrap();
    series.append(Timestamp(99), &[0; 8]).unwrap();
    series.sync().unwrap();
    again.close().unwrap();
}

/// T12, T20, T22: attributes, the user's mark and the user's metadata, also after a restart.
#[test]
fn attributes_and_metadata_are_kept() {
    let (disk, database, series) = with_series(5, 3);
    assert_eq!(series.last_entry_synced(), Timestamp(0));
    assert_eq!(series.metadata(), None);
    assert_eq!((series.name(), series.block_size()), ("s".to_owned(), 8));
    assert!(!series.descriptor_based_access());
    let object = json!({"unit": "kPa", "n": [1, 2.5, null]}).as_object().cloned();
    series.set_metadata(object.clone()).unwrap();
    series.mark_synced_up_to(Timestamp(2)).unwrap();
    let varlen = database
        .create_varlen_series("v", &VarlenParameters::default())
        .unwrap();
    varlen.set_metadata(object.as_ref()).unwrap();
    database.set_metadata(object.as_ref()).unwrap();
    let after = simulated(&disk.crash(5).unwrap(), Mode::ReadOnly);
    let series = after.series("s").unwrap();
    assert_eq!(series.metadata(), object);
    assert_eq!(series.last_entry_synced(), Timestamp(2));
    assert_eq!(after.varlen_series("v").unwrap().metadata(), object);
    assert_eq!(
        after.varlen_series("v").unwrap().parameters(),
        VarlenParameters::default()
    );
    assert_eq!(after.metadata().unwrap(), object);
    assert!(after.set_metadata(None).is_err());
    after.close().unwrap();
    database.set_metadata(None).unwrap();
    assert_eq!(database.metadata().unwrap(), None);
    varlen.set_metadata(None).unwrap();
    assert_eq!(varlen.metadata(), None);
    database.close().unwrap();
}

/// T14, T43: a shorter value is padded with zeros; the largest timestamp is one like any other.
#[test]
fn padding_and_the_largest_timestamp() {
    let (_disk, database, series) = with_series(5, 0);
    series.append_padded(Timestamp(u64::MAX - 1), b"ab").unwrap();
    series.append_padded(Timestamp::MAX, b"").unwrap();
    assert!(matches!(
        series.append_padded(Timestamp::MAX, &[0; 9]),
        Err(Error::BadLength { too_long: true, .. })
    ));
    assert_eq!(series.get(Timestamp(u64::MAX - 1)).unwrap().unwrap(), b"ab\0\0\0\0\0\0");
    assert_eq!(timestamps(&series, 0, u64::MAX), [u64::MAX - 1, u64::MAX]);
    assert_eq!(timestamps(&series, u64::MAX, u64::MAX), [u64::MAX]);
    database.close().unwrap();
}

/// T16: deleting a series takes all its files; whoever has it open finds it closed.
#[test]
fn deleted_series_are_gone() {
    let (disk, database, series) = with_series(5, 23);
    let varlen = database
        .create_varlen_series("v", &VarlenParameters::default())
        .unwrap();
    varlen.append(Timestamp(1), &[1; 300]).unwrap();
    database.delete_series(&SeriesKey::fixed("s")).unwrap();
    database.delete_series(&SeriesKey::varlen("v")).unwrap();
    assert!(matches!(
        series.append(Timestamp(99), &[0; 8]),
        Err(Error::InvalidState { .. })
    ));
    assert!(matches!(
        varlen.append(Timestamp(99), b""),
        Err(Error::InvalidState { .. })
    ));
    assert_eq!(database.keys().unwrap(), []);
    assert!(disk.list(Path::new("varlen")).unwrap().is_empty());
    let gone = database.delete_series(&SeriesKey::fixed("s"));
    assert!(matches!(gone, Err(Error::DoesNotExist { .. })));
    database.close().unwrap();
}

/// T17, T33, T42: without mappings everything works through descriptors, by choice and where the host has no memory
/// for them.
#[test]
fn descriptors_do_where_mappings_cannot_be_had() {
    let disk = SimDirectory::new();
    disk.set_rule(|operation| (operation.verb == Verb::Map).then_some(libc::ENOMEM));
    let database = simulated(&disk, Mode::ReadWrite);
    let series = database.create_series("s", &parameters(8, 50)).unwrap();
    fill(&series, 1..=120);
    assert_eq!(series.open_chunks_mmap_size(), 0);
    assert_eq!(timestamps(&series, 45, 55), (45..=55).collect::<Vec<_>>());
    disk.clear_rule();
    series.disable_mmap().unwrap();
    assert!(series.descriptor_based_access());
    fill(&series, 121..=130);
    assert_eq!(timestamps(&series, 0, 999), (1..=130).collect::<Vec<_>>());
    assert_eq!(series.open_chunks_mmap_size(), 0);
    series.enable_mmap().unwrap();
    fill(&series, 131..=180);
    assert_eq!(timestamps(&series, 0, 999), (1..=180).collect::<Vec<_>>());
    assert!(series.open_chunks_mmap_size() > 0);
    database.close().unwrap();
}

/// T25: an iterator ends for good, by itself, and holds one chunk at a time.
#[test]
fn iterators_end_for_good() {
    let (_disk, database, series) = with_series(5, 23);
    let mut entries = series.range(Timestamp(4), Timestamp(12)).unwrap().entries();
    let numbers: Vec<u64> = entries.by_ref().map(|entry| entry.unwrap().timestamp.0).collect();
    assert_eq!(numbers, (4..=12).collect::<Vec<_>>());
    assert!(entries.next().is_none());
    fill(&series, 24..=30);
    assert!(entries.next().is_none());
    let mut open_ended = series.range(Timestamp(29), Timestamp::MAX).unwrap();
    fill(&series, [31]);
    assert_eq!(open_ended.by_ref().map(|run| run.unwrap().len()).sum::<usize>(), 3);
    database.close().unwrap();
}

/// T26: appending is a matter of memory: a million appends take a few dozen calls of the host.
#[test]
fn appends_rarely_call_the_host() {
    let (disk, database, series) = with_series(1 << 20, 0);
    disk.take_operations();
    let mut appender = series.appender().unwrap();
    for timestamp in 1..=1_000_000 {
        appender.append(Timestamp(timestamp), &[7; 8]).unwrap();
    }
    drop(appender);
    let calls = disk.take_operations().len();
    assert!(calls < 100, "{calls} calls");
    database.close().unwrap();
}

/// T28, T31, T32: the parts of a chunk: bounds, entries, timestamps, values, searches.
#[test]
fn a_chunk_can_be_read_by_itself() {
    let (_disk, database, series) = with_series(50, 0);
    fill(&series, (1..=20).map(|n| n * 10));
    let chunk = series.open_chunk(Timestamp(10)).unwrap();
    assert_eq!(
        (chunk.min_ts(), chunk.max_ts().unwrap()),
        (Timestamp(10), Timestamp(200))
    );
    assert_eq!((chunk.block_size(), chunk.page_size(), chunk.entries()), (8, 4096, 20));
    for (timestamp, left, right) in [
        (0, 0, 0),
        (10, 0, 1),
        (11, 1, 1),
        (95, 9, 9),
        (200, 19, 20),
        (201, 20, 20),
    ] {
        assert_eq!(chunk.find_left(Timestamp(timestamp), 20).unwrap(), left, "{timestamp}");
        assert_eq!(
            chunk.find_right(Timestamp(timestamp), 20).unwrap(),
            right,
            "{timestamp}"
        );
    }
    assert_eq!(chunk.timestamp_at(4).unwrap(), Timestamp(50));
    assert_eq!(chunk.value_at(4).unwrap(), 50u64.to_le_bytes());
    let mut byte = [0];
    chunk.copy_value(4, 0, &mut byte).unwrap();
    assert_eq!(byte, [50]);
    let records = chunk.records(3..6).unwrap();
    let found: Vec<u64> = records.iter().map(|(timestamp, _)| timestamp.0).collect();
    assert_eq!(found, [40, 50, 60]);
    assert!(records.get(3).is_none());
    assert!(series.open_chunk(Timestamp(11)).is_err());
    database.close().unwrap();
}

/// T30: a chunk that is trimmed while somebody reads it stays readable for them, and is gone for others.
#[test]
fn trimmed_chunks_stay_with_their_readers() {
    let (disk, database, series) = with_series(5, 23);
    let chunk = series.open_chunk(Timestamp(1)).unwrap();
    let mut range = series.range(Timestamp(1), Timestamp(23)).unwrap();
    let first = range.next().unwrap().unwrap();
    assert_eq!(series.trim(Timestamp(17)).unwrap(), 3);
    assert!(disk.stat(Path::new("s/1")).is_err());
    assert_eq!(chunk.timestamp_at(4).unwrap(), Timestamp(5));
    assert_eq!(first.iter().count(), 5);
    let rest: Vec<u64> = range.entries().map(|entry| entry.unwrap().timestamp.0).collect();
    assert_eq!(rest, (16..=23).collect::<Vec<_>>());
    database.close().unwrap();
}

/// T39, T40, T41: a variable-length entry is a proxy: its parts are fetched when they are asked for.
#[test]
fn varlen_entries_fetch_what_is_asked_for() {
    let disk = SimDirectory::new();
    let database = simulated(&disk, Mode::ReadWrite);
    let profile = VarlenParameters {
        length_profile: vec![4, 8],
        size_struct: 1,
        entries_per_chunk: 10,
    };
    let series = database.create_varlen_series("v", &profile).unwrap();
    let value: Vec<u8> = (0..100).collect();
    series.append(Timestamp(1), &value).unwrap();
    series.append(Timestamp(2), b"").unwrap();
    series.close().unwrap();
    let series = database.varlen_series("v").unwrap();
    let mut range = series.range(Timestamp(0), Timestamp(9)).unwrap();
    let entry = range.next().unwrap().unwrap();
    let empty = range.next().unwrap().unwrap();
    assert!(range.next().is_none());
    database.close_chunks();
    disk.take_operations();
    assert_eq!(
        (entry.len(), entry.timestamp(), empty.is_empty()),
        (100, Timestamp(1), true)
    );
    assert!(entry.starts_with(&value[..4]).unwrap());
    assert_eq!(disk.count(Verb::Open), 0, "the head is in the root");
    assert!(entry.ends_with(&value[98..]).unwrap());
    assert_eq!(disk.count(Verb::Open), 1, "the end is in one part");
    assert_eq!(entry.byte_at(50).unwrap(), Some(50));
    assert_eq!(entry.byte_at(100).unwrap(), None);
    assert_eq!(entry.slice(3..14).unwrap(), value[3..14]);
    assert_eq!(entry.slice(90..1000).unwrap(), value[90..]);
    assert_eq!(entry.to_bytes().unwrap(), value);
    assert_eq!(entry.compare(&value[..99]).unwrap(), std::cmp::Ordering::Greater);
    assert_eq!(entry.compare(b"\x01").unwrap(), std::cmp::Ordering::Less);
    database.close().unwrap();
}

/// T44: read what is newer than the mark, upload it, mark it, trim it: the loop of a store that forwards its data.
#[test]
fn store_and_forward() {
    let (disk, database, series) = with_series(5, 13);
    let mut uploaded = Vec::new();
    for last in [13, 20, 31] {
        fill(&series, series.last_timestamp().unwrap().unwrap().0 + 1..=last);
        let from = Timestamp(series.last_entry_synced().0 + 1);
        for entry in series.range(from, Timestamp::MAX).unwrap().entries() {
            uploaded.push(entry.unwrap().timestamp.0);
        }
        series.mark_synced_up_to(Timestamp(last)).unwrap();
        series.trim(Timestamp(last)).unwrap();
    }
    assert_eq!(uploaded, (1..=31).collect::<Vec<_>>());
    assert_eq!(series.chunk_names(), [26, 31].map(Timestamp));
    database.close().unwrap();
    let database = simulated(&disk, Mode::ReadOnly);
    assert_eq!(database.series("s").unwrap().last_entry_synced(), Timestamp(31));
    database.close().unwrap();
}
