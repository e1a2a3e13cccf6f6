//! Tests of the engine as a whole, on the host's file system and on simulated storage.

use std::{path::Path, time::SystemTime};

use super::*;

mod crash;
mod faults;
mod review;
mod semantics;

fn open(path: &Path) -> Database {
    Database::open(path, OpenOptions::read_write()).unwrap()
}

fn create(path: &Path) -> Database {
    Database::create(path, OpenOptions::read_write()).unwrap()
}

fn parameters(block_size: u32, entries_per_chunk: u32) -> FixedParameters {
    FixedParameters {
        block_size,
        entries_per_chunk,
        page_size: 4096,
    }
}

fn timestamps(contents: &Contents, from: u64, to: u64) -> Vec<u64> {
    let range = contents.range(Timestamp(from), Timestamp(to)).unwrap();
    range.entries().map(|entry| entry.unwrap().timestamp.0).collect()
}

fn fill(series: &Series, timestamps: impl IntoIterator<Item = u64>) {
    for timestamp in timestamps {
        series.append(Timestamp(timestamp), &timestamp.to_le_bytes()).unwrap();
    }
}

/// T13, T18, T19: what was appended is read back, in ranges that include exactly `a <= timestamp <= b`.
#[test]
fn ranges_are_exact_whatever_the_bounds() {
    let scratch = tempfile::tempdir().unwrap();
    let database = create(&scratch.path().join("db"));
    let series = database.create_series("s", &parameters(8, 4)).unwrap();
    let all: Vec<u64> = (1..=23).map(|n| n * 10).collect();
    fill(&series, all.iter().copied());
    for from in 0..240 {
        for to in from..240 {
            let expected: Vec<u64> = all.iter().copied().filter(|t| (from..=to).contains(t)).collect();
            assert_eq!(timestamps(&series, from, to), expected, "{from}..={to}");
        }
    }
    assert_eq!(series.latest().unwrap().unwrap().timestamp, Timestamp(230));
    assert_eq!(series.first().unwrap().unwrap().value, 10u64.to_le_bytes());
    assert!(matches!(
        series.range(Timestamp(2), Timestamp(1)),
        Err(Error::BadRange { .. })
    ));
    assert_eq!(series.entries().unwrap(), 23);
    assert_eq!(series.lower_bound(Timestamp(45)).unwrap(), 4);
    assert_eq!(series.upper_bound(Timestamp(50)).unwrap(), 5);
    let mut bytes = vec![0; 1000];
    assert_eq!(series.read_records(&mut bytes, 0).unwrap(), 23 * 16);
    for (number, record) in bytes[..23 * 16].chunks_exact(16).enumerate() {
        assert_eq!(record[..8], all[number].to_le_bytes());
        assert_eq!(record[8..], all[number].to_le_bytes());
    }
    assert_eq!(series.read_records(&mut bytes, 23 * 16 - 3).unwrap(), 3);
    database.close().unwrap();
}

/// T13: a wrong order or length is refused before anything is stored; 0 is a timestamp like any other.
#[test]
fn refused_entries_leave_no_trace() {
    let scratch = tempfile::tempdir().unwrap();
    let database = create(&scratch.path().join("db"));
    let series = database.create_series("s", &parameters(4, 10)).unwrap();
    series.append(Timestamp(0), b"zero").unwrap();
    for timestamp in [0, 0] {
        let refused = series.append(Timestamp(timestamp), b"more");
        assert!(matches!(refused, Err(Error::OutOfOrder { .. })), "{refused:?}");
    }
    for value in [&b"abc"[..], b"abcde", b""] {
        let refused = series.append(Timestamp(5), value);
        assert!(matches!(refused, Err(Error::BadLength { .. })), "{refused:?}");
    }
    series.append_padded(Timestamp(u64::MAX), b"x").unwrap();
    assert_eq!(series.latest().unwrap().unwrap().value, b"x\0\0\0");
    assert_eq!(timestamps(&series, 0, u64::MAX), [0, u64::MAX]);
    database.close().unwrap();
}

/// A batch stops at the first bad record and says how far it came; the rest is untouched.
#[test]
fn batches_are_all_or_nothing_per_record() {
    let scratch = tempfile::tempdir().unwrap();
    let database = create(&scratch.path().join("db"));
    let series = database.create_series("s", &parameters(8, 3)).unwrap();
    let mut packed = Vec::new();
    for timestamp in [1u64, 2, 3, 4, 5, 6, 7, 7, 9] {
        packed.extend_from_slice(&timestamp.to_le_bytes());
        packed.extend_from_slice(&timestamp.to_be_bytes());
    }
    let (stored, outcome) = series.append_records(&packed);
    assert_eq!(stored, 7);
    assert!(matches!(outcome, Err(Error::OutOfOrder { .. })));
    assert_eq!(timestamps(&series, 0, 100), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(series.chunk_count(), 3);
    packed.extend_from_slice(&[0; 4]);
    let (stored, outcome) = series.append_records(&packed[8 * 16..]);
    assert_eq!(stored, 1);
    assert!(matches!(outcome, Err(Error::BadLength { .. })));
    database.close().unwrap();
}

/// T24: a trim drops whole chunks, never the last one, and entry numbers and offsets follow.
#[test]
fn trim_drops_whole_chunks() {
    let scratch = tempfile::tempdir().unwrap();
    let database = create(&scratch.path().join("db"));
    let series = database.create_series("s", &parameters(8, 3)).unwrap();
    fill(&series, (1..=10).map(|n| n * 10));
    assert_eq!(series.trim(Timestamp(40)).unwrap(), 0);
    assert_eq!(series.trim(Timestamp(41)).unwrap(), 1);
    assert_eq!(timestamps(&series, 0, 1000), [40, 50, 60, 70, 80, 90, 100]);
    assert_eq!(series.entries().unwrap(), 7);
    assert_eq!(series.lower_bound(Timestamp(70)).unwrap(), 3);
    assert_eq!(series.trim(Timestamp(1000)).unwrap(), 2);
    assert_eq!(timestamps(&series, 0, 1000), [100]);
    fill(&series, [110]);
    database.close().unwrap();
    let database = open(&scratch.path().join("db"));
    assert_eq!(timestamps(&database.series("s").unwrap(), 0, 1000), [100, 110]);
    database.close().unwrap();
}

/// T07, T35, T36, T38: values of every length around the parts' bounds come back whole.
#[test]
fn varlen_values_come_back_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let database = create(&scratch.path().join("db"));
    let profile = VarlenParameters {
        length_profile: vec![10, 255],
        size_struct: 2,
        entries_per_chunk: 7,
    };
    let series = database.create_varlen_series("v", &profile).unwrap();
    let lengths = [0, 1, 9, 10, 11, 264, 265, 266, 520, 521, 1024, 3];
    let value = |n: usize| (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect::<Vec<_>>();
    for (i, n) in lengths.iter().enumerate() {
        series.append(Timestamp(i as u64 * 3), &value(*n)).unwrap();
    }
    assert!(matches!(
        series.append(Timestamp(1), b"x"),
        Err(Error::OutOfOrder { .. })
    ));
    assert!(matches!(
        series.append(Timestamp(1000), &vec![0; 65536]),
        Err(Error::BadLength { .. })
    ));
    let check = |contents: &VarlenContents| {
        let mut range = contents.range(Timestamp(0), Timestamp(u64::MAX)).unwrap();
        let mut bytes = Vec::new();
        for (i, n) in lengths.iter().enumerate() {
            let timestamp = range.next_into(&mut bytes).unwrap().unwrap();
            assert_eq!((timestamp.0, &bytes), (i as u64 * 3, &value(*n)));
        }
        assert!(range.next_into(&mut bytes).is_none());
        for (entry, n) in contents.range(Timestamp(0), Timestamp(100)).unwrap().zip(lengths) {
            let entry = entry.unwrap();
            assert_eq!(entry.slice(n / 3..n).unwrap(), value(n)[n / 3..]);
            assert!(entry.starts_with(&value(n.min(12))).unwrap());
            assert!(entry.ends_with(&value(n)[n / 2..]).unwrap());
        }
    };
    check(&series);
    assert_eq!(series.latest().unwrap().unwrap().value, value(3));
    database.close().unwrap();
    // 1,024 bytes take 5 parts.
    assert_eq!(
        std::fs::read_dir(scratch.path().join("db/varlen/v")).unwrap().count(),
        5
    );
    let database = open(&scratch.path().join("db"));
    check(&database.varlen_series("v").unwrap());
    database.close().unwrap();
}

/// Snapshots are frozen under appends, trims, renames and deletion, survive a restart, and give their space back.
#[test]
fn snapshots_stay_as_they_were() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("db");
    let database = create(&path);
    let series = database.create_series("s", &parameters(8, 3)).unwrap();
    fill(&series, 1..=10);
    let snapshot = database.create_snapshot("one", SystemTime::UNIX_EPOCH).unwrap();
    let frozen = |snapshot: &Snapshot, name: &str| match snapshot.series(&SeriesKey::fixed(name)).unwrap().contents {
        AnyContents::Fixed(contents) => timestamps(&contents, 0, u64::MAX),
        AnyContents::Varlen(_) => panic!("a fixed series"),
    };
    let expected: Vec<u64> = (1..=10).collect();
    fill(&series, 11..=20);
    assert_eq!(frozen(&snapshot, "s"), expected);
    series.trim(Timestamp(18)).unwrap();
    assert_eq!(frozen(&snapshot, "s"), expected);
    assert_eq!(timestamps(&series, 0, 100), [16, 17, 18, 19, 20]);
    database.hold_snapshot("one", "backup").unwrap();
    assert!(matches!(database.remove_snapshot("one"), Err(Error::StillOpen { .. })));
    database.close().unwrap();
    drop(database);

    let database = open(&path);
    let snapshot = database.snapshot("one").unwrap();
    assert_eq!(frozen(&snapshot, "s"), expected);
    database.delete_series(&SeriesKey::fixed("s")).unwrap();
    assert_eq!(frozen(&snapshot, "s"), expected);
    let again = database.create_series("s", &parameters(8, 3)).unwrap();
    fill(&again, [5, 6]);
    assert_eq!(frozen(&database.snapshot("one").unwrap(), "s"), expected);
    let pins = || {
        let names = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".pin.")).count()
    };
    assert_eq!(pins(), 4);
    database.release_snapshot("one", "backup").unwrap();
    database.remove_snapshot("one").unwrap();
    assert_eq!(pins(), 0);
    assert_eq!(timestamps(&again, 0, 100), [5, 6]);
    database.close().unwrap();
}
