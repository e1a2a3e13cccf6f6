//! A growing file is never seen to be what it is not: no zero where a byte was written, no size that is too small after
//! a write returned, no record out of place.
//!
//! Rounds are bounded; `HEADSTACK_STRESS_ROUNDS` makes them last for hours.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::fixture::{Mount, appender, record};

const VALUE: usize = 16;
const RECORD: u64 = 8 + VALUE as u64;

fn rounds() -> u64 {
    std::env::var("HEADSTACK_STRESS_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3000)
}

/// A record whose every byte says which one it is.
fn marked(timestamp: u64) -> Vec<u8> {
    let byte = u8::try_from(timestamp % 255 + 1).unwrap();
    record(timestamp, &[byte; VALUE])
}

/// Reads the tail that stat promises, and checks each byte of it.
fn check_tail(file: &File, acknowledged: &AtomicU64) -> u64 {
    let floor = acknowledged.load(Ordering::Acquire) * RECORD;
    let size = file.metadata().unwrap().len();
    assert!(size >= floor, "stat shows {size} bytes after {floor} were acknowledged");
    assert_eq!(size % RECORD, 0);
    let from = size.saturating_sub(5 * RECORD);
    let mut tail = vec![0; usize::try_from(size - from).unwrap()];
    file.read_exact_at(&mut tail, from).unwrap();
    for (bytes, number) in tail.chunks(24).zip(from / RECORD + 1..) {
        assert_eq!(bytes, marked(number), "record {number} of {}", size / RECORD);
    }
    size
}

fn stress(options: &str) {
    let mount = Mount::with(options);
    let series = mount.series("s");
    mount.set(&series, "block_size", "16");
    mount.set(&series, "entries_per_chunk", "700");
    let raw = series.join("raw");
    let (acknowledged, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Barrier::new(4);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            let mut file = appender(&raw);
            for timestamp in 1..=rounds() {
                file.write_all(&marked(timestamp)).unwrap();
                acknowledged.store(timestamp, Ordering::Release);
            }
            over.store(true, Ordering::Release);
        });
        for reopen in [false, false, true] {
            let (raw, start, over, acknowledged) = (&raw, &start, &over, &acknowledged);
            scope.spawn(move || {
                let mut file = File::open(raw).unwrap();
                start.wait();
                while !over.load(Ordering::Acquire) {
                    if reopen {
                        file = File::open(raw).unwrap();
                    }
                    check_tail(&file, acknowledged);
                }
                assert_eq!(check_tail(&file, acknowledged), rounds() * RECORD);
            });
        }
    });
    check_whole(&raw);
}

fn check_whole(raw: &Path) {
    let mut bytes = Vec::new();
    File::open(raw).unwrap().read_to_end(&mut bytes).unwrap();
    let expected: Vec<u8> = (1..=rounds()).flat_map(marked).collect();
    assert!(bytes == expected);
}

#[test]
fn readers_of_a_growing_file_see_only_what_was_written() {
    stress("");
}

#[test]
fn readers_through_the_page_cache_see_only_what_was_written() {
    stress("live-read=cached");
}

/// Every writer comes and goes: sizes that the kernel may keep between writers are dropped before the next one writes.
#[test]
fn a_size_is_exact_after_every_write_whoever_wrote() {
    for options in ["", "live-read=cached"] {
        let mount = Mount::with(options);
        let series = mount.series("s");
        let held = File::open(series.join("text")).unwrap();
        for timestamp in 1..=300u64 {
            let (form, entry) = match timestamp % 2 {
                0 => ("raw", record(timestamp, &[7; 8])),
                _ => ("text", format!("{timestamp} 07\n").into_bytes()),
            };
            let mut writer = appender(&series.join(form));
            writer.write_all(&entry).unwrap();
            for (name, width) in [("raw", 16), ("text", 38)] {
                assert_eq!(
                    std::fs::metadata(series.join(name)).unwrap().len(),
                    timestamp * width,
                    "{options} {name}"
                );
            }
            assert_eq!(held.metadata().unwrap().len(), timestamp * 38);
            assert!(
                std::fs::read_to_string(series.join("latest"))
                    .unwrap()
                    .starts_with(&format!("{timestamp:020} "))
            );
        }
    }
}

/// One write() is one append: records of two writers never mix, and the order is that of the timestamps.
#[test]
fn several_writers_never_interleave_within_a_write() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "block_size", "16");
    let raw = series.join("raw");
    let next = AtomicU64::new(1);
    thread::scope(|scope| {
        for writer in 0..4u8 {
            let (raw, next) = (&raw, &next);
            scope.spawn(move || {
                let mut file = appender(raw);
                let mut written = 0;
                while written < 200 {
                    // Whoever is overtaken between taking a number and writing is refused, and takes another.
                    let first = next.fetch_add(10, Ordering::SeqCst);
                    let burst: Vec<u8> = (first..first + 10).flat_map(|t| record(t, &[writer; VALUE])).collect();
                    match file.write(&burst) {
                        Ok(taken) => {
                            assert_eq!(taken, burst.len());
                            written += 1;
                        }
                        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ERANGE)),
                    }
                }
            });
        }
    });
    let mut bytes = Vec::new();
    let mut file = OpenOptions::new().read(true).open(&raw).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 4 * 200 * 10 * 24);
    let mut last = 0;
    for burst in bytes.chunks(240) {
        let writers: Vec<&[u8]> = burst.chunks(24).map(|record| &record[8..]).collect();
        assert!(writers.windows(2).all(|pair| pair[0] == pair[1]), "a burst was torn");
        for record in burst.chunks(24) {
            let timestamp = u64::from_le_bytes(record[..8].try_into().unwrap());
            assert!(timestamp > last);
            last = timestamp;
        }
    }
}
