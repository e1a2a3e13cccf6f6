//! Power losses and kills at every kind of instant, on simulated storage.

use std::sync::{Arc, Mutex};

use super::*;
use crate::storage::{Directory, sim::SimDirectory};

/// What has been acknowledged so far, seen by the rule that takes images.
#[derive(Debug, Clone, Default)]
struct Promise {
    /// Entries acknowledged, by number; one more may be on its way.
    appended: u64,
    /// Entries acknowledged as synced.
    synced: u64,
    /// Entries on their way in one call, behind `appended`.
    pending: u64,
    /// Number of the first entry that must still be there.
    kept_from: u64,
}

/// One disk as it was left, and what had been promised by then.
struct Image {
    disk: SimDirectory,
    killed: bool,
    fixed: Promise,
    varlen: Promise,
    operation: u64,
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

pub(super) fn timestamp(number: u64) -> Timestamp {
    Timestamp(number * 7 + 3)
}

/// A value whose every byte says which entry it belongs to, and is never zero.
pub(super) fn value(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|i| u8::try_from((number * 31 + i * 7) % 255 + 1).unwrap())
        .collect()
}

fn varlen_length(number: u64) -> usize {
    usize::try_from(number * 13 % 60).unwrap()
}

const BLOCK: usize = 24;
const NAMES: (&str, &str) = ("fixed", "varlen");

/// Appends, syncs, trims and snapshots at random, while the rule takes an image before some of the operations.
fn run(seed: u64, every: u64) -> Vec<Image> {
    let disk = SimDirectory::new();
    let promises = Arc::new(Mutex::new((Promise::default(), Promise::default())));
    let images = Arc::new(Mutex::new(Vec::new()));
    let database = Database::open_on(Arc::new(disk.clone()), OpenOptions::read_write()).unwrap();
    let series = database
        .create_series(
            NAMES.0,
            &FixedParameters {
                block_size: 24,
                entries_per_chunk: 200,
                page_size: 4096,
            },
        )
        .unwrap();
    let varlen = database
        .create_varlen_series(
            NAMES.1,
            &VarlenParameters {
                length_profile: vec![10, 16],
                size_struct: 2,
                entries_per_chunk: 90,
            },
        )
        .unwrap();
    database.sync().unwrap();
    let (source, shared, taken) = (disk.clone(), Arc::clone(&promises), Arc::clone(&images));
    let counter = std::sync::atomic::AtomicU64::new(0);
    disk.set_rule(move |_| {
        let operation = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if operation % every == seed % every {
            let killed = operation.is_multiple_of(3);
            let disk = match killed {
                true => source.killed().unwrap(),
                false => source.crash(seed ^ operation).unwrap(),
            };
            let (fixed, varlen) = shared.lock().unwrap().clone();
            taken.lock().unwrap().push(Image {
                disk,
                killed,
                fixed,
                varlen,
                operation,
            });
        }
        None
    });
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for step in 0..160 {
        match random.below(12) {
            0..=4 => append(&series, &promises, random.below(60)),
            5..=8 => append_varlen(&varlen, &promises, random.below(25)),
            9 => {
                series.sync().unwrap();
                let mut promises = promises.lock().unwrap();
                promises.0.synced = promises.0.appended;
            }
            10 => {
                varlen.sync().unwrap();
                let mut promises = promises.lock().unwrap();
                promises.1.synced = promises.1.appended;
            }
            _ => {
                let (fixed, split) = {
                    let mut promises = promises.lock().unwrap();
                    let from = [promises.0.appended / 2, promises.1.appended / 2];
                    promises.0.kept_from = promises.0.kept_from.max(from[0]);
                    promises.1.kept_from = promises.1.kept_from.max(from[1]);
                    (from[0], from[1])
                };
                series.trim(timestamp(fixed)).unwrap();
                varlen.trim(timestamp(split)).unwrap();
                if step % 2 == 0 {
                    database
                        .create_snapshot(&step.to_string(), SystemTime::UNIX_EPOCH)
                        .unwrap();
                }
            }
        }
    }
    disk.clear_rule();
    database.close().unwrap();
    Arc::into_inner(images).unwrap().into_inner().unwrap()
}

type Promises = Mutex<(Promise, Promise)>;

fn append(series: &Series, promises: &Promises, count: u64) {
    let start = promises.lock().unwrap().0.appended;
    if count.is_multiple_of(2) {
        let mut packed = Vec::new();
        for number in start..start + count {
            packed.extend_from_slice(&timestamp(number).0.to_le_bytes());
            packed.extend_from_slice(&value(number, BLOCK));
        }
        promises.lock().unwrap().0.pending = count;
        assert_eq!(series.append_records(&packed).0 as u64, count);
        let mut promises = promises.lock().unwrap();
        promises.0.pending = 0;
        promises.0.appended += count;
    } else {
        for number in start..start + count {
            promises.lock().unwrap().0.pending = 1;
            series.append(timestamp(number), &value(number, BLOCK)).unwrap();
            let mut promises = promises.lock().unwrap();
            promises.0.pending = 0;
            promises.0.appended += 1;
        }
    }
}

fn append_varlen(series: &VarlenSeries, promises: &Promises, count: u64) {
    for _ in 0..count {
        let number = promises.lock().unwrap().1.appended;
        promises.lock().unwrap().1.pending = 1;
        series
            .append(timestamp(number), &value(number, varlen_length(number)))
            .unwrap();
        let mut promises = promises.lock().unwrap();
        promises.1.pending = 0;
        promises.1.appended += 1;
    }
}

/// The entries are a run of whole, right entries that holds all that was promised.
fn check(entries: &[Entry], promise: &Promise, killed: bool, length: impl Fn(u64) -> usize, context: &str) {
    let due = if killed { promise.appended } else { promise.synced };
    let first = entries.first().map_or(0, |entry| (entry.timestamp.0 - 3) / 7);
    for (number, entry) in (first..).zip(entries) {
        assert_eq!(entry.timestamp, timestamp(number), "{context}");
        assert_eq!(entry.value, value(number, length(number)), "entry {number}, {context}");
    }
    let end = first + entries.len() as u64;
    assert!(end >= due, "{context}: {end} entries of {due} promised");
    assert!(
        end <= promise.appended + promise.pending,
        "{context}: {end} entries of {promise:?}"
    );
    assert!(
        due == 0 || first <= promise.kept_from,
        "{context}: begins at {first}, {promise:?}"
    );
}

fn survive(image: Image, seed: u64) {
    let context = format!("seed {seed}, operation {}, killed {}", image.operation, image.killed);
    let directory: Arc<dyn Directory> = Arc::new(image.disk);
    let mut options = OpenOptions::read_only();
    for mode in [Mode::ReadOnly, Mode::ReadWrite, Mode::ReadWrite] {
        options.mode = mode;
        let database = Database::open_on(Arc::clone(&directory), options.clone())
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let context = format!("{context}, {mode:?}");
        let series = database
            .series(NAMES.0)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let range = series.range(Timestamp::MIN, Timestamp::MAX).unwrap();
        let entries: Vec<Entry> = range
            .entries()
            .collect::<Result<_>>()
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&entries, &image.fixed, image.killed, |_| BLOCK, &context);
        if mode == Mode::ReadOnly {
            continue; // parts of a varlen series are levelled by a writer only
        }
        let varlen = database
            .varlen_series(NAMES.1)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let range = varlen.range(Timestamp::MIN, Timestamp::MAX).unwrap();
        let entries: Vec<Entry> = range
            .map(|entry| entry.and_then(|entry| entry.to_entry()))
            .collect::<Result<_>>()
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&entries, &image.varlen, image.killed, varlen_length, &context);
        // Life goes on, in both.
        let next = series
            .last_timestamp()
            .unwrap()
            .map_or(Timestamp(0), |last| Timestamp(last.0 + 1));
        series
            .append(next, &value(1, BLOCK))
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let next = varlen
            .last_timestamp()
            .unwrap()
            .map_or(Timestamp(0), |last| Timestamp(last.0 + 1));
        varlen
            .append(next, &value(1, 50))
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(varlen.latest().unwrap().unwrap().value, value(1, 50), "{context}");
        assert_eq!(database.check(None).unwrap(), [], "{context}");
        database.close().unwrap();
        break;
    }
}

/// T23, T29: whatever instant the machine or the process stops at, what was acknowledged as synced (after a kill: all
/// that was acknowledged) is there, nothing half-stored is, and appending goes on.
#[test]
fn promises_hold_at_any_instant() {
    for seed in 1..=12 {
        let images = run(seed, 23);
        assert!(images.len() > 8, "seed {seed} took {} images", images.len());
        for image in images {
            survive(image, seed);
        }
    }
}
