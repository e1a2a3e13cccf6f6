//! Kill -9: a child appends, marks, annotates or takes snapshots and says so, and is killed at a random moment.
//!
//! The child is this test binary again, running the same test with `HEADSTACK_KILLED_CHILD` set; it writes one line
//! `ack N` after each operation that it was told has succeeded. A kill leaves the page cache whole, so everything that
//! was acknowledged must be there afterwards, for headstack before and after its recovery and for the real library, and
//! nothing may be there in part. The seed of the moments is printed.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

use headstack::series::{AnyContents, Database, FixedParameters, OpenOptions, SeriesKey, Timestamp, VarlenParameters};
use serde_json::{Map, Value, json};

use super::{Dice, copy, found, open_to_read, open_to_write};
use crate::peer::{Entry, Hex, Manifest, Tempsdb};

const CHILD: &str = "HEADSTACK_KILLED_CHILD";
const KILLS: usize = 60;
/// Kills after which the loop goes on with a fresh database.
const KILLS_PER_DATABASE: usize = 12;

/// One kind of work that is killed.
struct Loop {
    /// Full name of the test.
    test: &'static str,
    /// The child is killed once so many lines were read, or fewer.
    lines: u64,
    create: fn(&Database),
    /// Works for ever; calls the closure with the number of each operation that has succeeded.
    work: fn(&Database, &mut dyn FnMut(u64)),
    /// Checks what headstack finds; the number is the last acknowledged one.
    check: fn(&Database, u64),
    /// Checks what the real library finds.
    check_found: fn(&Manifest, u64),
}

impl Loop {
    fn run(&self) {
        if let Some(path) = std::env::var_os(CHILD) {
            let database = open_to_write(Path::new(&path));
            (self.work)(&database, &mut |number| {
                let line = format!("ack {number}\n");
                // The parent has gone: so does the child.
                io::stdout()
                    .write_all(line.as_bytes())
                    .unwrap_or_else(|_| std::process::exit(1));
            });
        }
        let mut dice = Dice::new(self.test);
        let scratch = tempfile::tempdir().unwrap();
        let mut left = Vec::new();
        let mut path = scratch.path().join("0");
        for kill in 0..KILLS {
            if kill % KILLS_PER_DATABASE == 0 {
                path = scratch.path().join(kill.to_string());
                let database = Database::create(&path, OpenOptions::read_write()).unwrap();
                (self.create)(&database);
                database.close().unwrap();
            }
            let acknowledged = self.kill_child(&path, 1 + dice.below(self.lines));
            (self.check)(&open_to_read(&path), acknowledged);
            let copied = scratch.path().join(format!("{kill}.killed"));
            copy(&path, &copied);
            left.push((copied, acknowledged));
            let database = open_to_write(&path);
            (self.check)(&database, acknowledged);
            assert_eq!(database.check(None).unwrap(), [], "after recovery");
        }
        let Some(peer) = Tempsdb::find() else { return };
        let paths: Vec<&Path> = left.iter().map(|(path, _)| path.as_path()).collect();
        let theirs = peer.read_all(&paths);
        assert_eq!(theirs.len(), KILLS);
        for (theirs, (_, acknowledged)) in theirs.iter().zip(&left) {
            (self.check_found)(theirs, *acknowledged);
        }
    }

    /// Runs a child and kills it after `lines` acknowledgements; returns the last one, which may have come later.
    fn kill_child(&self, path: &Path, lines: u64) -> u64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([self.test, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, path);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut last, mut seen, mut line) = (None, 0, String::new());
        while seen < lines {
            line.clear();
            let read = output.read_line(&mut line).unwrap();
            assert!(read > 0, "{}: the child ended by itself: {:?}", self.test, child.wait());
            if let Some(number) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix('\n')) {
                last = Some(number.parse().unwrap());
                seen += 1;
            }
        }
        child.kill().unwrap();
        for line in output.lines() {
            let line = line.unwrap_or_default();
            last = line.strip_prefix("ack ").and_then(|rest| rest.parse().ok()).or(last);
        }
        child.wait().unwrap();
        last.expect("at least one line was read")
    }
}

/// The value of a timestamp: `length` bytes that no other timestamp has, none of them zero.
fn value(timestamp: u64, length: usize) -> Vec<u8> {
    let byte = |index: u64| u8::try_from((timestamp * 31 + index * 7 + timestamp / 250) % 255 + 1).unwrap();
    (0..length as u64).map(byte).collect()
}

/// Entries are 1, 2, .., at least up to `acknowledged`, each with its whole value.
fn whole(entries: &[Entry], acknowledged: u64, length: fn(u64) -> usize) {
    assert!(
        entries.len() as u64 >= acknowledged,
        "{} entries of {acknowledged} acknowledged",
        entries.len()
    );
    for ((timestamp, Hex(found)), expected) in entries.iter().zip(1..) {
        assert_eq!(*timestamp, expected);
        assert_eq!(*found, value(expected, length(expected)), "value at {expected}");
    }
}

fn create_fixed(database: &Database) {
    let parameters = FixedParameters {
        block_size: 24,
        entries_per_chunk: 150,
        page_size: 512,
    };
    database.create_series("s", &parameters).unwrap();
}

/// What was appended is whole after a kill, and nothing of what was not (T13, T26, T34).
#[test]
fn acknowledged_append_survives_kill() {
    Loop {
        lines: 1500,
        test: "oracle::kill::acknowledged_append_survives_kill",
        create: create_fixed,
        work: |database, acknowledge| {
            let series = database.series("s").unwrap();
            let last = series.contents().last_timestamp().unwrap().map_or(0, |last| last.0);
            for timestamp in last + 1.. {
                series.append(Timestamp(timestamp), &value(timestamp, 24)).unwrap();
                acknowledge(timestamp);
            }
        },
        check: |database, acknowledged| whole(&found(database).fixed["s"].entries, acknowledged, |_| 24),
        check_found: |found, acknowledged| whole(&found.fixed["s"].entries, acknowledged, |_| 24),
    }
    .run();
}

/// Length of the variable-length value at a timestamp: up to four parts.
fn varied(timestamp: u64) -> usize {
    usize::try_from(timestamp * 13 % 70).unwrap()
}

/// Values in several parts are whole after a kill, whichever part was being written (T35, T36, T38).
#[test]
fn acknowledged_varlen_append_survives_kill() {
    Loop {
        lines: 1500,
        test: "oracle::kill::acknowledged_varlen_append_survives_kill",
        create: |database| {
            let parameters = VarlenParameters {
                length_profile: vec![4, 8, 32],
                size_struct: 2,
                entries_per_chunk: 60,
            };
            database.create_varlen_series("v", &parameters).unwrap();
        },
        work: |database, acknowledge| {
            let series = database.varlen_series("v").unwrap();
            let last = series.contents().last_timestamp().unwrap().map_or(0, |last| last.0);
            for timestamp in last + 1.. {
                series
                    .append(Timestamp(timestamp), &value(timestamp, varied(timestamp)))
                    .unwrap();
                acknowledge(timestamp);
            }
        },
        check: |database, acknowledged| whole(&found(database).varlen["v"].entries, acknowledged, varied),
        check_found: |found, acknowledged| whole(&found.varlen["v"].entries, acknowledged, varied),
    }
    .run();
}

fn annotation(number: u64) -> Map<String, Value> {
    let padding = "x".repeat(usize::try_from(number * 37 % 6000).unwrap());
    let Value::Object(map) = json!({"number": number, "padding": padding}) else {
        unreachable!()
    };
    map
}

/// The annotation is whole and that of the last acknowledged number or the one after it.
fn annotated(metadata: Option<&Map<String, Value>>, synced: u64, acknowledged: u64) {
    let metadata = metadata.expect("metadata");
    let number = metadata["number"].as_u64().unwrap();
    assert_eq!(*metadata, annotation(number));
    assert!(
        (acknowledged..=acknowledged + 1).contains(&number),
        "{number} after {acknowledged}"
    );
    assert!(
        (acknowledged..=acknowledged + 1).contains(&synced),
        "synced {synced} after {acknowledged}"
    );
}

/// Metadata and the synced mark are the old or the new ones after a kill, never an empty file (T20, T22).
#[test]
fn metadata_survives_kill() {
    Loop {
        lines: 40,
        test: "oracle::kill::metadata_survives_kill",
        create: |database| {
            create_fixed(database);
            let series = database.series("s").unwrap();
            series.set_metadata(Some(annotation(0))).unwrap();
            database.set_metadata(Some(&annotation(0))).unwrap();
        },
        work: |database, acknowledge| {
            let series = database.series("s").unwrap();
            let first = series.metadata().unwrap()["number"].as_u64().unwrap();
            for number in first + 1.. {
                series.set_metadata(Some(annotation(number))).unwrap();
                series.mark_synced_up_to(Timestamp(number)).unwrap();
                database.set_metadata(Some(&annotation(number))).unwrap();
                acknowledge(number);
            }
        },
        check: |database, acknowledged| {
            let series = database.series("s").unwrap();
            annotated(series.metadata().as_ref(), series.last_entry_synced().0, acknowledged);
            annotated(database.metadata().unwrap().as_ref(), acknowledged, acknowledged);
        },
        check_found: |found, acknowledged| {
            let series = &found.fixed["s"];
            annotated(series.metadata.as_ref(), series.last_entry_synced, acknowledged);
            annotated(found.metadata.as_ref(), acknowledged, acknowledged);
        },
    }
    .run();
}

/// A batch of the snapshot loop: 10 entries, then a snapshot named for it; older ones and their entries go.
const BATCH: u64 = 10;

fn snapshot_batch(database: &Database, batch: u64) {
    let series = database.series("s").unwrap();
    for timestamp in batch * BATCH + 1..=(batch + 1) * BATCH {
        series.append(Timestamp(timestamp), &value(timestamp, 24)).unwrap();
    }
    database
        .create_snapshot(&format!("batch {batch}"), SystemTime::UNIX_EPOCH)
        .unwrap();
    if let Some(bound) = batch.checked_sub(2) {
        series.trim(Timestamp(bound * BATCH)).unwrap();
    }
    let names: Vec<String> = database
        .snapshots()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    for name in names.iter().filter(|name| batch_of(name) + 3 < batch) {
        database.remove_snapshot(name).unwrap();
    }
}

fn batch_of(snapshot: &str) -> u64 {
    snapshot.strip_prefix("batch ").unwrap().parse().unwrap()
}

/// The last acknowledged snapshot is there, and each one ends with its whole batch and holds whole values only.
fn snapshots_whole(database: &Database, acknowledged: u64) {
    let snapshots = database.snapshots().unwrap();
    if acknowledged > 0 {
        assert!(
            snapshots.iter().any(|info| batch_of(&info.name) == acknowledged),
            "batch {acknowledged} is gone"
        );
    }
    for info in snapshots {
        let frozen = database
            .snapshot(&info.name)
            .unwrap()
            .series(&SeriesKey::fixed("s"))
            .unwrap();
        let AnyContents::Fixed(contents) = frozen.contents else {
            panic!("{} is not fixed", info.name)
        };
        let entries = super::fixed_entries(&contents, Timestamp::MIN, Timestamp::MAX);
        let batch = batch_of(&info.name);
        let newest: Vec<u64> = entries.iter().rev().map(|entry| entry.0).take(10).collect();
        assert_eq!(
            newest,
            (batch * BATCH + 1..=(batch + 1) * BATCH).rev().collect::<Vec<_>>(),
            "{}",
            info.name
        );
        values_right(&entries);
    }
}

fn values_right(entries: &[Entry]) {
    for (timestamp, Hex(found)) in entries {
        assert_eq!(*found, value(*timestamp, 24), "value at {timestamp}");
    }
}

/// Snapshots and what they froze survive a kill while others are made and removed and the series is trimmed; when the
/// last one goes, so does every chunk that was kept for them (T24).
#[test]
fn snapshots_survive_kill() {
    Loop {
        lines: 40,
        test: "oracle::kill::snapshots_survive_kill",
        create: |database| {
            let parameters = FixedParameters {
                block_size: 24,
                entries_per_chunk: 7,
                page_size: 256,
            };
            database.create_series("s", &parameters).unwrap();
        },
        work: |database, acknowledge| {
            let last = database.series("s").unwrap().contents().last_timestamp().unwrap();
            for batch in last.map_or(1, |last| last.0 / BATCH + 1).. {
                snapshot_batch(database, batch);
                acknowledge(batch);
            }
        },
        check: |database, acknowledged| {
            snapshots_whole(database, acknowledged);
            let entries = &found(database).fixed["s"].entries;
            values_right(entries);
            let last = entries.last().map_or(0, |entry| entry.0);
            assert!(last >= (acknowledged + 1) * BATCH, "{last} after batch {acknowledged}");
            if database.mode() == headstack::series::Mode::ReadWrite && acknowledged % 5 == 0 {
                no_pins_without_snapshots(database);
            }
        },
        check_found: |found, acknowledged| {
            let entries = &found.fixed["s"].entries;
            values_right(entries);
            let last = entries.last().map_or(0, |entry| entry.0);
            assert!(last >= (acknowledged + 1) * BATCH, "{last} after batch {acknowledged}");
        },
    }
    .run();
}

/// Removes all snapshots; then no chunk is left that was kept for them.
fn no_pins_without_snapshots(database: &Database) {
    for info in database.snapshots().unwrap() {
        database.remove_snapshot(&info.name).unwrap();
    }
    for entry in fs::read_dir(database.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with(".headstack.pin."), "{name} is left");
    }
}
