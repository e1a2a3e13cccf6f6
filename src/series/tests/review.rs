//! Promises under races, odd sizes and hostile hosts: what a reader, a snapshot or a late caller may meet.
//!
//! A race is made certain, not likely: the rule of the simulated storage does the other thread's part at the very
//! operation where it hurts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::*;
use crate::storage::sim::{Operation, SimDirectory, Verb};

fn on(disk: &SimDirectory) -> Database {
    Database::open_on(Arc::new(disk.clone()), OpenOptions::read_write()).unwrap()
}

fn frozen(snapshot: &Snapshot, key: &SeriesKey) -> AnyContents {
    snapshot.series(key).unwrap().contents
}

fn frozen_timestamps(snapshot: &Snapshot, name: &str) -> Vec<u64> {
    match frozen(snapshot, &SeriesKey::fixed(name)) {
        AnyContents::Fixed(contents) => timestamps(&contents, 0, u64::MAX),
        AnyContents::Varlen(_) => panic!("a fixed series"),
    }
}

/// Does `act` once, at the first operation that `at` picks.
fn once(
    disk: &SimDirectory,
    at: impl Fn(&Operation) -> bool + Send + Sync + 'static,
    act: impl FnOnce() + Send + 'static,
) {
    let act: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(Some(Box::new(act)));
    disk.set_rule(move |operation| {
        if at(operation) {
            let act = act.lock().unwrap().take();
            if let Some(act) = act {
                act();
            }
        }
        None
    });
}

/// A snapshot shows all its entries although an older one, of the same chunk when it was shorter, was read before.
#[test]
fn snapshots_of_one_chunk_are_told_apart() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let series = database.create_series("s", &parameters(8, 1000)).unwrap();
    fill(&series, 1..=10);
    let one = database.create_snapshot("one", SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(frozen_timestamps(&one, "s"), (1..=10).collect::<Vec<_>>());
    fill(&series, 11..=20);
    let two = database.create_snapshot("two", SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(frozen_timestamps(&two, "s"), (1..=20).collect::<Vec<_>>());
    assert_eq!(frozen_timestamps(&one, "s"), (1..=10).collect::<Vec<_>>());
    database.close().unwrap();
}

/// A reader that opens the last chunk while it is written, filled up and left behind does not make the shorter form of it
/// the one that others see.
#[test]
fn chunk_opened_before_it_was_full_is_not_kept_for_the_full_one() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    fill(&database.create_series("s", &parameters(8, 10)).unwrap(), 1..=4);
    database.close().unwrap();
    drop(database);
    let database = on(&disk);
    let series = database.series("s").unwrap();
    series.close_chunks();
    let reader = Arc::clone(&series);
    // The chunk is opened and counted, then the writer comes, before its first entry is looked at.
    let (writer, sizes) = (Arc::clone(&series), Mutex::new(0));
    once(
        &disk,
        move |operation| {
            let mut sizes = sizes.lock().unwrap();
            *sizes += usize::from(operation.verb == Verb::Map);
            *sizes > 0
        },
        move || fill(&writer, 5..=15),
    );
    timestamps(&reader, 0, 100);
    disk.clear_rule();
    assert_eq!(timestamps(&reader, 0, 100), (1..=15).collect::<Vec<_>>());
    database.close().unwrap();
}

/// A snapshot that is first looked at while a trim moves its chunks away has all of them.
#[test]
fn snapshot_opened_during_a_trim_is_whole() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let series = database.create_series("s", &parameters(8, 5)).unwrap();
    fill(&series, 1..=23);
    let snapshot = database.create_snapshot("one", SystemTime::UNIX_EPOCH).unwrap();
    let trimmed = Arc::clone(&series);
    once(
        &disk,
        |operation| operation.verb == Verb::List && operation.path.ends_with("s"),
        move || assert_eq!(trimmed.trim(Timestamp(18)).unwrap(), 3),
    );
    assert_eq!(frozen_timestamps(&snapshot, "s"), (1..=23).collect::<Vec<_>>());
    disk.clear_rule();
    database.close().unwrap();
}

/// A value that needs a part of its own, appended while a snapshot is made, is in the snapshot whole or not at all.
#[test]
fn snapshot_holds_whole_values_only() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let profile = VarlenParameters {
        length_profile: vec![4, 16],
        size_struct: 2,
        entries_per_chunk: 100,
    };
    database
        .create_varlen_series("v", &profile)
        .unwrap()
        .append(Timestamp(1), b"abc")
        .unwrap();
    database.close().unwrap();
    drop(database);
    let database = on(&disk);
    let series = database.varlen_series("v").unwrap();
    series.close_chunks();
    let writer = Arc::clone(&series);
    once(
        &disk,
        |operation| operation.verb == Verb::Open && operation.path.ends_with("root/1"),
        move || writer.append(Timestamp(2), &[7; 40]).unwrap(),
    );
    let snapshot = database.create_snapshot("one", SystemTime::UNIX_EPOCH).unwrap();
    disk.clear_rule();
    let AnyContents::Varlen(contents) = frozen(&snapshot, &SeriesKey::varlen("v")) else {
        panic!("a varlen series");
    };
    let entries = contents.range(Timestamp::MIN, Timestamp::MAX).unwrap();
    let values: Vec<_> = entries.map(|entry| entry.unwrap().to_bytes().unwrap()).collect();
    assert!(
        values == [b"abc".to_vec(), vec![7; 40]] || values == [b"abc".to_vec()],
        "{values:?}"
    );
    database.close().unwrap();
}

/// Whoever has the seat of one series can still look at the database: nothing there waits for a seat.
#[test]
fn database_is_usable_from_the_writer_s_seat() {
    let disk = SimDirectory::new();
    let database = Arc::new(on(&disk));
    let series = database.create_series("s", &parameters(8, 5)).unwrap();
    let seat = series.appender().unwrap();
    let (done, other) = (Arc::new(AtomicBool::new(false)), Arc::clone(&database));
    let told = Arc::clone(&done);
    let looking = thread::spawn(move || {
        other.series("s").unwrap();
        assert_eq!(other.open_series().len(), 1);
        assert_eq!(other.statistics().open_series, 1);
        told.store(true, Ordering::Release);
    });
    let limit = std::time::Duration::from_secs(10);
    let (sender, receiver) = std::sync::mpsc::channel();
    let waiting = thread::spawn(move || {
        looking.join().unwrap();
        sender.send(()).unwrap();
    });
    let waited = receiver.recv_timeout(limit);
    drop(seat);
    waiting.join().unwrap();
    assert!(
        waited.is_ok() && done.load(Ordering::Acquire),
        "a look at the database waited for the seat"
    );
    database.close().unwrap();
}

/// One read of packed records is of one numbering, also while a trim moves it.
#[test]
fn records_read_during_a_trim_are_contiguous() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let series = database.create_series("s", &parameters(8, 5)).unwrap();
    fill(&series, 1..=33);
    series.entries().unwrap();
    series.close_chunks();
    let trimmed = Arc::clone(&series);
    once(
        &disk,
        |operation| operation.verb == Verb::Open && operation.path.ends_with("16"),
        move || assert_eq!(trimmed.trim(Timestamp(13)).unwrap(), 2),
    );
    let mut bytes = vec![0; 15 * 16];
    let read = series.read_records(&mut bytes, 10 * 16).unwrap();
    disk.clear_rule();
    let found: Vec<u64> = bytes[..read]
        .chunks_exact(16)
        .map(|record| u64::from_le_bytes(record[..8].try_into().unwrap()))
        .collect();
    assert_eq!(found, (21..=33).collect::<Vec<_>>());
    database.close().unwrap();
}

/// T38, T39: values that are trimmed before an iteration reaches them are left out; none of it is damage.
#[test]
fn values_trimmed_behind_a_reader_are_left_out() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let profile = VarlenParameters {
        length_profile: vec![4, 16],
        size_struct: 1,
        entries_per_chunk: 5,
    };
    let series = database.create_varlen_series("v", &profile).unwrap();
    for timestamp in 1..=33 {
        series.append(Timestamp(timestamp), &[7; 30]).unwrap();
    }
    let mut range = series.range(Timestamp::MIN, Timestamp::MAX).unwrap();
    let mut value = Vec::new();
    assert_eq!(range.next_into(&mut value).unwrap().unwrap(), Timestamp(1));
    let held = range.next().unwrap().unwrap();
    assert_eq!(series.trim(Timestamp(22)).unwrap(), 4);
    let gone = held.to_bytes();
    assert!(matches!(gone, Err(Error::DoesNotExist { .. })), "{gone:?}");
    let mut found = Vec::new();
    while let Some(next) = range.next_into(&mut value) {
        found.push(next.unwrap().0);
        assert_eq!(value, [7; 30]);
    }
    assert_eq!(found.last(), Some(&33));
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    assert!(found.ends_with(&(21..=33).collect::<Vec<_>>()), "{found:?}");
    database.close().unwrap();
}

/// A reader can open what was made since it opened the database.
#[test]
fn reader_opens_series_made_since() {
    let disk = SimDirectory::new();
    let writer = on(&disk);
    let reader = Database::open_on(Arc::new(disk.clone()), OpenOptions::read_only()).unwrap();
    fill(&writer.create_series("s", &parameters(8, 5)).unwrap(), 1..=3);
    assert_eq!(reader.keys().unwrap(), [SeriesKey::fixed("s")]);
    assert_eq!(timestamps(&reader.series("s").unwrap(), 0, 10), [1, 2, 3]);
    writer.close().unwrap();
}

/// A reader beside a writing process sees as many entries as it counts.
#[test]
fn reader_sees_what_it_counts() {
    let disk = SimDirectory::new();
    let writer = on(&disk);
    let series = writer.create_series("s", &parameters(8, 1000)).unwrap();
    fill(&series, 1..=3);
    writer.close().unwrap();
    drop((series, writer));
    let reader = Database::open_on(Arc::new(disk.clone()), OpenOptions::read_only()).unwrap();
    let seen = reader.series("s").unwrap();
    assert_eq!(timestamps(&seen, 0, 1000), [1, 2, 3]);
    let writer = on(&disk);
    fill(&writer.series("s").unwrap(), 4..=500);
    let expected: Vec<u64> = (1..=500).collect();
    assert_eq!(seen.entries().unwrap(), 500);
    assert_eq!(timestamps(&seen, 0, 1000), expected);
    assert_eq!(seen.latest().unwrap().unwrap().timestamp, Timestamp(500));
    writer.close().unwrap();
    reader.close().unwrap();
}

/// Entries that a power loss left whole are kept, though bytes of theirs at the start of a sector are zeros, as in any
/// small number.
#[test]
fn zeros_in_a_value_are_not_taken_for_a_sector_that_was_never_stored() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let series = database.create_series("s", &parameters(8, 10_000)).unwrap();
    fill(&series, [1]);
    series.sync().unwrap();
    fill(&series, 2..=2000);
    // All of it reaches the disk, but nobody says so.
    let stored = crate::storage::Directory::open(&disk, Path::new("s/1"), crate::storage::Access::Read).unwrap();
    stored.sync().unwrap();
    let crashed = disk.crash(7).unwrap();
    let recovered = on(&crashed);
    let found = timestamps(&recovered.series("s").unwrap(), 0, 10_000);
    assert!(found.len() >= 1999, "{} of 2000 entries are left", found.len());
    assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
    recovered.close().unwrap();
    database.close().unwrap();
}

/// What was said to be durable stays so: a sync that was overtaken by a later one does not take its mark back.
#[test]
fn overtaken_sync_leaves_the_later_mark() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let series = database.create_series("s", &parameters(2048, 100)).unwrap();
    series.append(Timestamp(1), &[0; 2048]).unwrap();
    series.append(Timestamp(2), &[0; 2048]).unwrap();
    series.sync().unwrap();
    // A sync of another thread, which had seen the first entry only, comes to its mark now.
    database.context.mark_durable(series.id(), Some(Timestamp(1))).unwrap();
    let recovered = on(&disk.crash(3).unwrap());
    assert_eq!(timestamps(&recovered.series("s").unwrap(), 0, 10), [1, 2]);
    recovered.close().unwrap();
    database.close().unwrap();
}

/// A chunk larger than its window of address space moves to a larger one, and readers follow it.
#[test]
fn chunk_larger_than_its_window_is_read_and_written_whole() {
    let disk = SimDirectory::new();
    let mut options = OpenOptions::read_write();
    options.limits.window_bytes = 3 * 4096;
    let database = Database::open_on(Arc::new(disk.clone()), options).unwrap();
    let series = database.create_series("s", &parameters(8, 100_000)).unwrap();
    fill(&series, [1]);
    let held = series
        .range(Timestamp(1), Timestamp(1))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let early = Arc::clone(held.chunk());
    let mapped = disk.count(Verb::Map);
    fill(&series, 2..=3000);
    assert!(disk.count(Verb::Map) > mapped + 1, "the window was never outgrown");
    assert!(early.entries() < 3000);
    assert_eq!(held.get(0).unwrap().0, Timestamp(1));
    assert_eq!(timestamps(&series, 0, 5000), (1..=3000).collect::<Vec<_>>());
    assert_eq!(series.latest().unwrap().unwrap().timestamp, Timestamp(3000));
    let mut batch = Vec::new();
    for timestamp in 3001u64..=9000 {
        batch.extend_from_slice(&timestamp.to_le_bytes());
        batch.extend_from_slice(&timestamp.to_le_bytes());
    }
    assert!(matches!(series.append_records(&batch), (6000, Ok(()))));
    assert_eq!(timestamps(&series, 0, 10_000), (1..=9000).collect::<Vec<_>>());
    assert_eq!(series.chunk_count(), 1);
    database.close().unwrap();
    drop(database);
    let database = on(&disk);
    assert_eq!(
        timestamps(&database.series("s").unwrap(), 0, 10_000),
        (1..=9000).collect::<Vec<_>>()
    );
    assert_eq!(database.check(None).unwrap(), []);
    database.close().unwrap();
}

/// A database whose directories and files forbid writing is read like any other, and nothing is left in it.
#[test]
fn reader_needs_no_permission_to_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("db");
    let database = create(&path);
    fill(&database.create_series("s", &parameters(8, 5)).unwrap(), 1..=12);
    let varlen = database
        .create_varlen_series("v", &VarlenParameters::default())
        .unwrap();
    varlen.append(Timestamp(5), &[9; 600]).unwrap();
    database.create_snapshot("one", SystemTime::UNIX_EPOCH).unwrap();
    database.close().unwrap();
    drop((varlen, database));
    let mut all = vec![path.clone()];
    let mut at = 0;
    while let Some(next) = all.get(at).cloned() {
        at += 1;
        if next.is_dir() {
            all.extend(std::fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let modes = |directory: u32, file: u32| {
        for path in &all {
            let mode = if path.is_dir() { directory } else { file };
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    modes(0o555, 0o444);
    let reader = Database::open(&path, OpenOptions::read_only()).unwrap();
    assert_eq!(
        timestamps(&reader.series("s").unwrap(), 0, 100),
        (1..=12).collect::<Vec<_>>()
    );
    let varlen = reader.varlen_series("v").unwrap();
    assert_eq!(varlen.latest().unwrap().unwrap().value, [9; 600]);
    assert_eq!(
        frozen_timestamps(&reader.snapshot("one").unwrap(), "s"),
        (1..=12).collect::<Vec<_>>()
    );
    assert_eq!(reader.check(None).unwrap(), []);
    let refused = reader.series("s").unwrap().append(Timestamp(13), &[0; 8]);
    assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
    reader.close().unwrap();
    drop((varlen, reader));
    let listed = |path: &Path| std::fs::read_dir(path).map_or(0, Iterator::count);
    let now: usize = all.iter().map(|path| listed(path)).sum();
    modes(0o755, 0o644);
    assert_eq!(now, all.len() - 1);
}

/// On a file system that takes no writing a reader asks for none, whatever a killed writer left there.
#[test]
fn reader_on_a_read_only_file_system_asks_for_no_writing() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let series = database.create_series("s", &parameters(8, 5)).unwrap();
    fill(&series, 1..=12);
    let varlen = database
        .create_varlen_series("v", &VarlenParameters::default())
        .unwrap();
    varlen.append(Timestamp(5), &[9; 600]).unwrap();
    database.create_snapshot("one", SystemTime::UNIX_EPOCH).unwrap();
    let left = disk.killed().unwrap();
    database.close().unwrap();
    let reads = [
        Verb::List,
        Verb::Open,
        Verb::ReadFile,
        Verb::Stat,
        Verb::Size,
        Verb::Read,
        Verb::Map,
    ];
    left.set_rule(move |operation| (!reads.contains(&operation.verb)).then_some(libc::EROFS));
    left.take_operations();
    let reader = Database::open_on(Arc::new(left.clone()), OpenOptions::read_only()).unwrap();
    let expected: Vec<u64> = (1..=12).collect();
    assert_eq!(timestamps(&reader.series("s").unwrap(), 0, 100), expected);
    let varlen = reader.varlen_series("v").unwrap();
    assert_eq!(varlen.latest().unwrap().unwrap().value, [9; 600]);
    assert_eq!(frozen_timestamps(&reader.snapshot("one").unwrap(), "s"), expected);
    assert_eq!(reader.check(None).unwrap(), []);
    reader.close().unwrap();
    let refused = left.take_operations();
    let refused = refused.iter().find(|operation| !reads.contains(&operation.verb));
    assert_eq!(refused, None);
}

/// Opening a varlen series looks at the last chunks of its parts, not at each chunk.
#[test]
fn opening_a_varlen_series_costs_the_same_with_many_chunks() {
    let disk = SimDirectory::new();
    let database = on(&disk);
    let profile = VarlenParameters {
        length_profile: vec![4],
        size_struct: 1,
        entries_per_chunk: 1,
    };
    let series = database.create_varlen_series("v", &profile).unwrap();
    for timestamp in 0..200 {
        series.append(Timestamp(timestamp), b"abc").unwrap();
    }
    database.close().unwrap();
    drop((series, database));
    let database = on(&disk);
    disk.take_operations();
    let series = database.varlen_series("v").unwrap();
    let opened = disk.count(Verb::Open);
    assert!(opened < 10, "{opened} files were opened");
    assert_eq!(series.entries().unwrap(), 200);
    database.close().unwrap();
}

/// T29: one writer, several readers, a trimmer and a snapshotter at once: every read is a contiguous run of right entries.
#[test]
fn every_read_beside_a_writer_is_a_contiguous_run() {
    const ENTRIES: u64 = 30_000;
    let scratch = tempfile::tempdir().unwrap();
    let mut options = OpenOptions::read_write();
    options.limits.open_chunks = 4;
    options.limits.window_bytes = 4096;
    let database = Database::create(&scratch.path().join("db"), options).unwrap();
    let series = database.create_series("s", &parameters(8, 37)).unwrap();
    fill(&series, [1]);
    let (writing, trimmed) = (AtomicBool::new(true), AtomicU64::new(0));
    // What was appended is there, but for what a trim may have dropped.
    let no_gap = |found: &[u64]| {
        let gap = |pair: &[u64]| pair[1] != pair[0] + 1 && pair[1] > trimmed.load(Ordering::SeqCst);
        assert!(!found.windows(2).any(gap), "{found:?}");
    };
    let contiguous = |found: &[u64], what: &str| {
        assert!(!found.is_empty(), "{what}: nothing");
        assert!(found.windows(2).all(|pair| pair[1] == pair[0] + 1), "{what}: {found:?}");
    };
    thread::scope(|scope| {
        for reader in 0..3 {
            let (series, writing, trimmed, no_gap) = (&series, &writing, &trimmed, &no_gap);
            scope.spawn(move || {
                let mut bytes = vec![0; 16 * 500];
                while writing.load(Ordering::Acquire) {
                    let last = series.last_timestamp().unwrap().unwrap().0;
                    match reader {
                        0 => {
                            let from = last.saturating_sub(90);
                            let mut found = Vec::new();
                            for run in series.range(Timestamp(from), Timestamp::MAX).unwrap() {
                                for (timestamp, value) in run.unwrap().iter() {
                                    assert_eq!(value, timestamp.0.to_le_bytes());
                                    found.push(timestamp.0);
                                }
                            }
                            no_gap(&found);
                            assert!(found.last() >= Some(&last), "{last} was there, {:?} is", found.last());
                        }
                        1 => {
                            let entries = series.entries().unwrap();
                            let from = entries.saturating_sub(60);
                            let read = series.read_records(&mut bytes, from * 16).unwrap();
                            let found: Vec<u64> = bytes[..read / 16 * 16]
                                .chunks_exact(16)
                                .map(|record| u64::from_le_bytes(record[..8].try_into().unwrap()))
                                .collect();
                            if !found.is_empty() {
                                contiguous(&found, "records");
                            }
                        }
                        _ => {
                            match series.get(Timestamp(last)).unwrap() {
                                Some(value) => assert_eq!(value, last.to_le_bytes()),
                                None => assert!(last < trimmed.load(Ordering::SeqCst), "{last} is gone"),
                            }
                            let latest = series.latest().unwrap().unwrap();
                            assert!(latest.timestamp.0 >= last);
                            assert_eq!(latest.value, latest.timestamp.0.to_le_bytes());
                        }
                    }
                }
            });
        }
        let (database, series, writing, trimmed) = (&database, &series, &writing, &trimmed);
        scope.spawn(move || {
            while writing.load(Ordering::Acquire) {
                let last = series.last_timestamp().unwrap().unwrap().0;
                let before = last.saturating_sub(1000);
                trimmed.fetch_max(before, Ordering::SeqCst);
                series.trim(Timestamp(before)).unwrap();
            }
        });
        scope.spawn(move || {
            for number in 0..12 {
                let name = number.to_string();
                let before = series.last_timestamp().unwrap().unwrap().0;
                let snapshot = database.create_snapshot(&name, SystemTime::UNIX_EPOCH).unwrap();
                for _ in 0..2 {
                    let found = frozen_timestamps(&snapshot, "s");
                    contiguous(&found, "snapshot");
                    assert!(found.last() >= Some(&before));
                }
                if number >= 3 {
                    database.remove_snapshot(&(number - 3).to_string()).unwrap();
                }
            }
        });
        fill(series, 2..=ENTRIES);
        writing.store(false, Ordering::Release);
    });
    assert_eq!(series.last_timestamp().unwrap(), Some(Timestamp(ENTRIES)));
    assert_eq!(database.check(None).unwrap(), []);
    database.close().unwrap();
}
