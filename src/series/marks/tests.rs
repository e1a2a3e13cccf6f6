use std::{path::Path, sync::Arc};

use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::{MARKS_FILE, Marks, PreviousEnd};
use crate::{
    series::{Database, Error, FixedParameters, OpenOptions, SeriesId, Timestamp},
    storage::{Access, Directory, SimDirectory, Storage, sim::Verb},
};

fn open(directory: &SimDirectory) -> (Marks, PreviousEnd) {
    Marks::open(Arc::new(directory.clone()), true).unwrap()
}

fn read(directory: &SimDirectory) -> (Marks, PreviousEnd) {
    Marks::open(Arc::new(directory.clone()), false).unwrap()
}

fn bytes(directory: &SimDirectory) -> Vec<u8> {
    directory.read(Path::new(MARKS_FILE), 1 << 20).unwrap()
}

fn holding(bytes: &[u8]) -> SimDirectory {
    let directory = SimDirectory::new();
    let fill = &mut |file: &dyn Storage| file.write_all_at(bytes, 0);
    directory.create(Path::new(MARKS_FILE), fill).unwrap();
    directory
}

/// Header of a writer of boot 1 that is open, by hand; checksums by Python's zlib.crc32.
const OPEN: [u8; 64] = *b"headstack marks\n\x01\0\0\0\x01\0\0\0\
\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x13\xee\x3a\x0a";
/// Empty slots 0 and 1, then slot 2 with timestamp 0x0102030405060708.
const SLOTS: [u8; 96] = {
    let mut slots = [0; 96];
    let mut i = 0;
    while i < 32 {
        slots[64 + i] = SLOT_2[i];
        i += 1;
    }
    slots
};
const SLOT_2: [u8; 32] = *b"\x08\x07\x06\x05\x04\x03\x02\x01\x01\0\0\0\
\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x71\xa5\x2c\x41";

#[test]
fn bytes_are_as_documented() {
    let directory = SimDirectory::new();
    let (marks, end) = open(&directory);
    assert_eq!(end, PreviousEnd::Clean);
    assert_eq!(bytes(&directory), OPEN);
    marks
        .set_all(&[(SeriesId(2), Some(Timestamp(0x0102_0304_0506_0708)))])
        .unwrap();
    assert_eq!(bytes(&directory), [&OPEN[..], &SLOTS[..]].concat());
    marks.close_clean().unwrap();
    assert_eq!(bytes(&directory)[0x14], 0);
}

#[test]
fn documented_bytes_are_read() {
    let directory = holding(&[&OPEN[..], &SLOTS[..]].concat());
    let (marks, end) = read(&directory);
    assert_eq!(end, PreviousEnd::Killed);
    assert_eq!(marks.durable(SeriesId(2)), Some(Timestamp(0x0102_0304_0506_0708)));
    for none in [0, 1, 3, u32::MAX] {
        assert_eq!(marks.durable(SeriesId(none)), None);
    }
}

#[test]
fn each_end_of_a_writer_is_told_apart() {
    let directory = SimDirectory::new();
    assert_eq!(read(&directory).1, PreviousEnd::Clean, "no writer yet");
    let (marks, end) = open(&directory);
    assert_eq!(end, PreviousEnd::Clean);
    assert_eq!(read(&directory).1, PreviousEnd::Killed);
    assert_eq!(read(&directory.killed().unwrap()).1, PreviousEnd::Killed);
    let crashed = directory.crash(1).unwrap();
    assert_eq!(read(&crashed).1, PreviousEnd::Crashed);
    let (again, end) = open(&crashed);
    assert_eq!(end, PreviousEnd::Crashed);
    assert_eq!(
        read(&crashed).1,
        PreviousEnd::Killed,
        "the new writer is of the new boot"
    );
    again.close_clean().unwrap();
    assert_eq!(open(&crashed).1, PreviousEnd::Clean);
    marks.close_clean().unwrap();
    marks.close_clean().unwrap();
    assert_eq!(
        read(&directory.crash(2).unwrap()).1,
        PreviousEnd::Clean,
        "closing is durable"
    );
}

#[test]
fn opening_to_write_is_durable_before_it_returns() {
    for seed in 0..100 {
        let directory = SimDirectory::new();
        let (marks, _) = open(&directory);
        assert_eq!(
            read(&directory.crash(seed).unwrap()).1,
            PreviousEnd::Crashed,
            "seed {seed}"
        );
        marks.close_clean().unwrap();
        let _marks = open(&directory);
        assert_eq!(
            read(&directory.crash(seed).unwrap()).1,
            PreviousEnd::Crashed,
            "seed {seed}"
        );
    }
}

#[test]
fn marks_are_durable_one_by_one_and_survive_opening() {
    let directory = SimDirectory::new();
    let (marks, _) = open(&directory);
    // One writer never takes a mark back: it was told by a sync that was overtaken.
    for (id, timestamp, expected) in [(1, 0, 0), (2, 3, 3), (2, 5, 5), (2, 3, 5), (40, u64::MAX, u64::MAX)] {
        marks.set_all(&[(SeriesId(id), Some(Timestamp(timestamp)))]).unwrap();
        assert_eq!(marks.durable(SeriesId(id)), Some(Timestamp(expected)));
    }
    marks.set_all(&[(SeriesId(3), Some(Timestamp(7)))]).unwrap();
    marks.set_all(&[(SeriesId(3), None)]).unwrap();
    for seed in 0..50 {
        let crashed = directory.crash(seed).unwrap();
        let (marks, _) = open(&crashed);
        let found = [1, 2, 3, 4, 40].map(|id| marks.durable(SeriesId(id)).map(|timestamp| timestamp.0));
        assert_eq!(found, [Some(0), Some(5), Some(7), None, Some(u64::MAX)], "seed {seed}");
    }
}

#[test]
fn unsynced_mark_is_the_old_or_the_new_one() {
    let directory = SimDirectory::new();
    let (marks, _) = open(&directory);
    marks.set_all(&[(SeriesId(1), Some(Timestamp(10)))]).unwrap();
    directory.fail_next(Verb::Sync, libc::EIO);
    assert!(matches!(
        marks.set_all(&[(SeriesId(1), Some(Timestamp(20)))]),
        Err(Error::Io { .. })
    ));
    let mut seen = [false; 2];
    for seed in 0..100 {
        let (marks, _) = read(&directory.crash(seed).unwrap());
        match marks.durable(SeriesId(1)) {
            Some(Timestamp(10)) => seen[0] = true,
            Some(Timestamp(20)) => seen[1] = true,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert_eq!(seen, [true, true]);
    assert_eq!(marks.durable(SeriesId(1)), Some(Timestamp(10)));
    // What failed is tried again although the file may have it.
    marks.set_all(&[(SeriesId(1), Some(Timestamp(20)))]).unwrap();
    assert_eq!(
        read(&directory.crash(1).unwrap()).0.durable(SeriesId(1)),
        Some(Timestamp(20))
    );
}

#[test]
fn each_new_mark_costs_a_write_and_a_sync_and_an_old_one_nothing() {
    let directory = SimDirectory::new();
    let (marks, _) = open(&directory);
    marks.set_all(&[(SeriesId(7), Some(Timestamp(1)))]).unwrap();
    assert!(!marks.is_known(SeriesId(8)));
    marks.set_all(&[(SeriesId(8), None)]).unwrap();
    assert!(marks.is_known(SeriesId(8)));
    let _ = directory.take_operations();
    marks.set_all(&[(SeriesId(7), Some(Timestamp(1)))]).unwrap();
    marks.set_all(&[(SeriesId(8), None)]).unwrap();
    assert_eq!(directory.count(Verb::Write) + directory.count(Verb::Sync), 0);
    marks.set_all(&[(SeriesId(7), Some(Timestamp(2)))]).unwrap();
    assert_eq!((directory.count(Verb::Write), directory.count(Verb::Sync)), (1, 1));
}

#[test]
fn readers_write_nothing_and_a_closed_writer_takes_no_marks() {
    let directory = SimDirectory::new();
    let (reader, _) = read(&directory);
    assert!(matches!(
        reader.set_all(&[(SeriesId(1), Some(Timestamp(1)))]),
        Err(Error::InvalidState { .. })
    ));
    assert_eq!(reader.durable(SeriesId(1)), None);
    reader.close_clean().unwrap();
    assert!(directory.list(Path::new("")).unwrap().is_empty());
    let (marks, _) = open(&directory);
    marks.set_all(&[(SeriesId(1), Some(Timestamp(1)))]).unwrap();
    let before = bytes(&directory);
    let (reader, _) = read(&directory);
    assert!(reader.set_all(&[(SeriesId(1), None)]).is_err());
    reader.close_clean().unwrap();
    assert_eq!(bytes(&directory), before);
    marks.close_clean().unwrap();
    let closed = marks.set_all(&[(SeriesId(1), Some(Timestamp(2)))]);
    assert!(matches!(closed, Err(Error::InvalidState { state: "closed", .. })));
}

#[test]
fn series_that_no_one_opened_keeps_the_end_of_its_own_writer() {
    let directory = SimDirectory::new();
    let ends = |directory: &SimDirectory| [1, 2, 3].map(|id| read(directory).0.previous_end(SeriesId(id)));
    let (clean, killed, crashed) = (PreviousEnd::Clean, PreviousEnd::Killed, PreviousEnd::Crashed);
    assert_eq!(ends(&directory), [clean; 3]);
    let (marks, _) = open(&directory);
    marks.set_all(&[(SeriesId(1), Some(Timestamp(5)))]).unwrap();
    drop(marks);
    assert_eq!(
        ends(&directory),
        [killed; 3],
        "a reader counts the end that no writer has seen"
    );
    let (marks, end) = open(&directory);
    assert_eq!(end, killed);
    marks.set_all(&[(SeriesId(1), Some(Timestamp(5)))]).unwrap();
    assert_eq!(
        marks.previous_end(SeriesId(1)),
        clean,
        "although the timestamp is the old one"
    );
    marks.close_clean().unwrap();
    assert_eq!(open(&directory).1, clean);
    let directory = directory.crash(3).unwrap();
    let (marks, end) = open(&directory);
    assert_eq!(end, crashed);
    assert_eq!([1, 2, 3].map(|id| marks.previous_end(SeriesId(id))), [crashed; 3]);
    marks.set_all(&[(SeriesId(2), None)]).unwrap();
    drop(marks);
    let (marks, end) = open(&directory);
    assert_eq!(end, killed);
    assert_eq!(
        [1, 2, 3].map(|id| marks.previous_end(SeriesId(id))),
        [crashed, killed, crashed]
    );
    assert_eq!(marks.durable(SeriesId(1)), Some(Timestamp(5)), "marks outlive all ends");
    marks.close_clean().unwrap();
    let (marks, end) = open(&directory);
    assert_eq!(end, clean);
    assert_eq!(
        [1, 2, 3].map(|id| marks.previous_end(SeriesId(id))),
        [crashed, killed, crashed]
    );
    marks.set_all(&[(SeriesId(1), Some(Timestamp(5)))]).unwrap();
    marks.close_clean().unwrap();
    assert_eq!(ends(&directory), [clean, killed, crashed]);
}

#[test]
fn every_changed_byte_of_the_header_is_a_crash_without_marks() {
    let good = [&OPEN[..], &SLOTS[..]].concat();
    for at in 0..64 {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let directory = holding(&bad);
        let (marks, end) = read(&directory);
        assert_eq!(
            (end, marks.durable(SeriesId(2))),
            (PreviousEnd::Crashed, None),
            "byte {at}"
        );
        let (marks, end) = open(&directory);
        assert_eq!(
            (end, marks.durable(SeriesId(2))),
            (PreviousEnd::Crashed, None),
            "byte {at}"
        );
        assert_eq!(marks.previous_end(SeriesId(2)), PreviousEnd::Crashed);
        assert_eq!(bytes(&directory).len(), 64);
        assert_eq!(bytes(&directory)[0x2c], 1);
    }
    for length in 0..64 {
        assert_eq!(
            open(&holding(&good[..length])).1,
            PreviousEnd::Crashed,
            "{length} bytes"
        );
    }
}

#[test]
fn no_mark_comes_back_under_the_header_that_replaces_a_wrong_one() {
    let mut bad = [&OPEN[..], &SLOTS[..]].concat();
    bad[0] = b'H';
    for operations in 0..4 {
        for seed in 0..50 {
            let directory = holding(&bad);
            directory
                .open(Path::new(MARKS_FILE), Access::ReadWrite)
                .unwrap()
                .sync()
                .unwrap();
            directory.sync_directory(Path::new("")).unwrap();
            let verb = [Verb::SetSize, Verb::Sync, Verb::Write, Verb::List][operations];
            directory.fail_next(verb, libc::EIO);
            let opened = Marks::open(Arc::new(directory.clone()), true);
            assert_eq!(opened.is_err(), verb != Verb::List);
            let (marks, end) = open(&directory.crash(seed).unwrap());
            assert_eq!(
                (end, marks.durable(SeriesId(2))),
                (PreviousEnd::Crashed, None),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn every_changed_byte_of_a_slot_is_no_mark_and_slots_do_not_pass_for_others() {
    let good = [&OPEN[..], &SLOTS[..]].concat();
    for at in 64 + 64..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(read(&holding(&bad)).0.durable(SeriesId(2)), None, "byte {at}");
    }
    let mut moved = good.clone();
    moved.copy_within(64 + 64..64 + 96, 64 + 32);
    assert_eq!(read(&holding(&moved)).0.durable(SeriesId(1)), None);
    assert_eq!(read(&holding(&good[..good.len() - 1])).0.durable(SeriesId(2)), None);
}

#[test]
fn newer_version_is_refused_and_left_alone() {
    let mut newer = OPEN;
    newer[0x10] = 2;
    let crc = crc32fast::hash(&newer[..60]);
    newer[60..].copy_from_slice(&crc.to_le_bytes());
    let directory = holding(&newer);
    for writable in [false, true] {
        match Marks::open(Arc::new(directory.clone()), writable) {
            Err(error @ Error::Damaged { .. }) => assert_eq!(
                error.to_string(),
                "/simulated/.headstack.marks is damaged: metadata: of version 2, this program reads up to 1"
            ),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened"),
        }
    }
    assert_eq!(bytes(&directory), newer);
}

proptest! {
    #[test]
    fn any_bytes_are_opened(bytes in prop::collection::vec(any::<u8>(), 0..200), intact: bool) {
        let bytes = if intact { [&OPEN[..], &bytes[..]].concat() } else { bytes };
        let directory = holding(&bytes);
        let (marks, end) = open(&directory);
        prop_assert_eq!(end, if intact { PreviousEnd::Killed } else { PreviousEnd::Crashed });
        for id in (0..12).chain([u32::MAX]) {
            let _ = marks.durable(SeriesId(id));
        }
        marks.set_all(&[(SeriesId(3), Some(Timestamp(9)))]).unwrap();
        drop(marks);
        prop_assert_eq!(open(&directory).0.durable(SeriesId(3)), Some(Timestamp(9)));
    }
}

fn value(number: u64) -> [u8; 8] {
    (number | 0x8080_8080_8080_0000).to_le_bytes()
}

/// A series of 300 entries of which ten are synced, and what 40 power losses may leave of it.
fn crashed_databases() -> impl Iterator<Item = (u64, SimDirectory)> {
    let directory = SimDirectory::new();
    let database = Database::open_on(Arc::new(directory.clone()), OpenOptions::read_write()).unwrap();
    let series = database.create_series("a", &FixedParameters::default()).unwrap();
    for i in 1..=300 {
        series.append(Timestamp(i), &value(i)).unwrap();
        if i == 10 {
            database.sync().unwrap();
        }
    }
    (0..40).map(move |seed| {
        // Open to the last, since closing would sync.
        let _open = (&database, &series);
        (seed, directory.crash(seed).unwrap())
    })
}

#[test]
fn series_is_recovered_although_another_session_came_in_between() {
    for (seed, directory) in crashed_databases() {
        let open = || Database::open_on(Arc::new(directory.clone()), OpenOptions::read_write()).unwrap();
        open().close().unwrap();
        let database = open();
        let series = database.series("a").unwrap();
        let mut count = 0;
        for entry in series.range(Timestamp::MIN, Timestamp::MAX).unwrap().entries() {
            let entry = entry.unwrap();
            count += 1;
            assert_eq!(entry.timestamp, Timestamp(count), "seed {seed}");
            assert_eq!(entry.value, value(count), "seed {seed}, entry {count}");
        }
        assert!(count >= 10, "seed {seed}: {count} entries");
        database.close().unwrap();
        let marks = read(&directory).0;
        assert_eq!(marks.previous_end(SeriesId(1)), PreviousEnd::Clean, "seed {seed}");
        assert_eq!(marks.durable(SeriesId(1)), Some(Timestamp(count)), "seed {seed}");
    }
}
