//! A drive held to tapes written by hand, word by word.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::storage::{
    SimDirectory,
    sim::{Operation, Verb},
};

const TAPE: &str = "t.tap";

/// A record as the standard draws it.
fn record(bytes: &[u8]) -> Vec<u8> {
    let word = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let padding: &[u8] = if bytes.len() % 2 == 1 { b"\0" } else { b"" };
    [&word, bytes, padding, &word].concat()
}

const GAP: [u8; 4] = [0xFE, 0xFF, 0xFF, 0xFF];

fn directory_with(bytes: &[u8]) -> SimDirectory {
    let directory = SimDirectory::new();
    directory
        .create(Path::new(TAPE), &mut |file| file.write_all_at(bytes, 0))
        .unwrap();
    directory
}

fn open(directory: &SimDirectory) -> TapImage {
    TapImage::open(directory, Path::new(TAPE), Access::ReadWrite, Limits::default()).unwrap()
}

fn contents(directory: &SimDirectory) -> Vec<u8> {
    directory.read(Path::new(TAPE), 1 << 30).unwrap()
}

/// Everything that forward reading finds, with the data of records.
fn found(image: &mut TapImage) -> Vec<(Found, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut buffer = Vec::new();
        let found = image.read_record(&mut buffer).unwrap();
        all.push((found, buffer));
        if found == Found::End {
            return all;
        }
    }
}

fn records(image: &mut TapImage) -> Vec<Vec<u8>> {
    let found = found(image).into_iter();
    found
        .filter(|(found, _)| *found == Found::Record)
        .map(|(_, data)| data)
        .collect()
}

#[test]
fn writing_gives_the_bytes_of_the_standard() {
    let directory = SimDirectory::new();
    let mut image = TapImage::create(&directory, Path::new(TAPE), Limits::default()).unwrap();
    assert_eq!(contents(&directory), END);
    image.write_record(b"first!").unwrap();
    image.write_record(b"odd").unwrap();
    image.finish().unwrap();
    assert_eq!(image.position.file, 1);
    let one = [&record(b"first!")[..], &record(b"odd"), &MARK, &MARK, &END].concat();
    assert_eq!(contents(&directory), one);
    image.write_record(b"second").unwrap();
    image.finish().unwrap();
    let two = [&one[..one.len() - 8], &record(b"second"), &MARK, &MARK, &END].concat();
    assert_eq!(contents(&directory), two);
}

#[test]
fn reading_finds_records_marks_and_the_end() {
    let bytes = [
        &record(b"ab")[..],
        &record(b"c"),
        &MARK,
        &record(b"dd"),
        &MARK,
        &MARK,
        &END,
        b"rubbish",
    ]
    .concat();
    let directory = directory_with(&bytes);
    let mut image = open(&directory);
    let none = Vec::new;
    let expected = [
        (Found::Record, b"ab".to_vec()),
        (Found::Record, b"c".to_vec()),
        (Found::Mark, none()),
        (Found::Record, b"dd".to_vec()),
        (Found::Mark, none()),
        (Found::Mark, none()),
        (Found::End, none()),
    ];
    assert_eq!(found(&mut image), expected);
    assert_eq!(
        image.read_record(&mut none()).unwrap(),
        Found::End,
        "the end stays the end"
    );
}

#[test]
fn gaps_and_foreign_classes_are_passed_over_in_both_directions() {
    // A gap that is half a word longer on each side: what writing over a longer record leaves.
    let half_gap = [&[0xFF, 0xFF, 0xFE, 0xFF][..], &[0xFF; 2], &GAP, &GAP].concat();
    let private = b"\x02\0\0\x10pp\x02\0\0\x10";
    let marker = b"\x01\x02\x03\x70";
    let described = b"\x04\0\0\xE0text\x04\0\0\xE0";
    let bytes = [
        &record(b"aa")[..],
        &GAP,
        &GAP,
        &record(b"bb"),
        private,
        marker,
        described,
        &record(b"cc"),
        &MARK,
    ]
    .concat();
    let directory = directory_with(&bytes);
    let mut image = open(&directory);
    assert_eq!(records(&mut image), [b"aa", b"bb", b"cc"]);
    image.backward_records(1).unwrap_err();
    image.backward_records(2).unwrap();
    assert_eq!(records(&mut image), [b"bb", b"cc"]);

    let bytes = [&record(b"aa")[..], &half_gap, &record(b"bb")].concat();
    let directory = directory_with(&bytes);
    let mut image = open(&directory);
    assert_eq!(
        found(&mut image).iter().map(|(found, _)| *found).collect::<Vec<_>>(),
        [Found::Record, Found::Record, Found::End]
    );
}

#[test]
fn a_bad_record_is_told_with_what_is_left_of_it() {
    let bytes = [
        b"\x04\0\0\x80part\x04\0\0\x80".as_slice(),
        b"\0\0\0\x80\0\0\0\x80",
        &record(b"ok"),
    ]
    .concat();
    let mut image = open(&directory_with(&bytes));
    let expected = [
        (Found::BadRecord, b"part".to_vec()),
        (Found::BadRecord, Vec::new()),
        (Found::Record, b"ok".to_vec()),
        (Found::End, Vec::new()),
    ];
    assert_eq!(found(&mut image), expected);
}

#[test]
fn damage_costs_the_records_it_hits() {
    let whole: Vec<Vec<u8>> = (0..6_u8).map(|byte| record(&[byte; 1024])).collect();
    for wound in [0, 1032, 1032 + 1028, 2064 + 500] {
        let mut bytes = [&whole.concat()[..], &MARK, &MARK, &END].concat();
        bytes[wound..wound + 4].copy_from_slice(b"\xDE\xAD\xFE\xFF");
        let mut image = open(&directory_with(&bytes));
        let found = found(&mut image);
        let lost = found
            .iter()
            .filter(|(found, _)| matches!(found, Found::Lost { .. }))
            .count();
        let kept = found.iter().filter(|(found, _)| *found == Found::Record).count();
        let expected = if wound == 2064 + 500 { (0, 6) } else { (1, 5) };
        assert_eq!((lost, kept), expected, "wound at {wound}");
    }
}

#[test]
fn a_record_without_its_padding_is_read() {
    // As the emulator E11 writes it.
    let bytes = b"\x03\0\0\0abc\x03\0\0\0\x02\0\0\0de\x02\0\0\0\0\0\0\0";
    let mut image = open(&directory_with(bytes));
    assert_eq!(records(&mut image), [b"abc".to_vec(), b"de".to_vec()]);
}

#[test]
fn moves_count_as_drives_do() {
    let files = [
        [record(b"a0"), record(b"a1"), record(b"a2")].concat(),
        record(b"b0"),
        [record(b"c0"), record(b"c1")].concat(),
    ];
    let bytes = [&files[0][..], &MARK, &files[1], &MARK, &files[2], &MARK, &MARK, &END].concat();
    let directory = directory_with(&bytes);
    let mut image = open(&directory);
    let mut data = Vec::new();
    image.forward_files(2).unwrap();
    assert_eq!((image.position.file, image.position.record), (2, Some(0)));
    image.read_record(&mut data).unwrap();
    assert_eq!(data, b"c0");
    image.backward_files(1).unwrap();
    assert_eq!((image.position.file, image.position.record), (1, None));
    assert_eq!(image.read_record(&mut data).unwrap(), Found::Mark);
    image.backward_files(2).unwrap();
    image.backward_records(2).unwrap();
    image.read_record(&mut data).unwrap();
    assert_eq!(data, b"a1");
    let error = image.forward_records(5).unwrap_err();
    assert!(matches!(error, Error::OutOfTape { asked: 5, moved: 1, .. }), "{error}");
    assert_eq!(image.position.file, 1, "behind the mark that stopped it");
    let error = image.backward_files(9).unwrap_err();
    assert!(matches!(error, Error::OutOfTape { asked: 9, moved: 1, .. }), "{error}");
    assert_eq!(image.position, Position::START);
    image.to_end_of_data().unwrap();
    assert_eq!(
        (image.position.file, image.position.offset_bytes),
        (3, bytes.len() as u64 - 8)
    );
    image.to_file(1).unwrap();
    image.read_record(&mut data).unwrap();
    assert_eq!(data, b"b0");
    assert!(image.to_file(5).is_err());
}

#[test]
fn writing_in_the_midst_loses_what_was_behind() {
    let bytes = [&record(b"aa")[..], &record(b"bb"), &MARK, &record(b"cc"), &MARK, &MARK].concat();
    let directory = directory_with(&bytes);
    let mut image = open(&directory);
    image.forward_records(1).unwrap();
    image.write_record(b"new").unwrap();
    image.finish().unwrap();
    assert_eq!(
        contents(&directory),
        [&record(b"aa")[..], &record(b"new"), &MARK, &MARK, &END].concat()
    );
    image.rewind().unwrap();
    image.erase().unwrap();
    assert_eq!(contents(&directory), END);
}

#[test]
fn a_protected_tape_is_not_touched() {
    let directory = directory_with(&record(b"aa"));
    let mut image = TapImage::open(&directory, Path::new(TAPE), Access::Read, Limits::default()).unwrap();
    directory.take_operations();
    assert!(matches!(image.write_record(b"x"), Err(Error::WriteProtected { .. })));
    assert!(matches!(image.finish(), Err(Error::WriteProtected { .. })));
    assert!(matches!(image.erase(), Err(Error::WriteProtected { .. })));
    assert_eq!(directory.count(Verb::Write) + directory.count(Verb::SetSize), 0);
}

#[test]
fn a_full_tape_warns_and_still_takes_its_end() {
    let limits = Limits {
        capacity_bytes: Some(10 * 1032 + 12),
        early_warning_bytes: 3 * 1032,
    };
    let directory = SimDirectory::new();
    let mut image = TapImage::create(&directory, Path::new(TAPE), limits).unwrap();
    let room: Vec<Room> = (0..10).map(|_| image.write_record(&[7; 1024]).unwrap()).collect();
    assert_eq!(room, [[Room::Plenty; 7].as_slice(), &[Room::Little; 3]].concat());
    assert!(matches!(image.write_record(&[7; 1024]), Err(Error::Full { .. })));
    image.finish().unwrap();
    assert_eq!(contents(&directory).len(), 10 * 1032 + 12);
    image.rewind().unwrap();
    assert_eq!(records(&mut image).len(), 10);
}

#[test]
fn a_full_disk_leaves_a_tape_that_ends_before_the_loss() {
    let directory = SimDirectory::new();
    let mut image = TapImage::create(&directory, Path::new(TAPE), Limits::default()).unwrap();
    image.write_record(&[1; 1024]).unwrap();
    image.sync().unwrap();
    image.write_record(&[2; 1024]).unwrap();
    directory.fail_next(Verb::Write, libc::ENOSPC);
    image.sync().unwrap_err();
    assert_eq!(records(&mut open(&directory)), [[1; 1024]]);
    image.write_record(&[3; 1024]).unwrap();
    image.finish().unwrap();
    assert_eq!(records(&mut open(&directory)), [[1; 1024], [3; 1024]]);
}

/// Whatever call of the host is the last one, and whatever part of it was done, the tape reads up to a record that was
/// written, without damage, and at least to the last sync; the next tape file goes behind it.
#[test]
fn a_killed_writer_leaves_a_readable_end_of_data() {
    let directory = SimDirectory::new();
    let images = Arc::new(Mutex::new(Vec::new()));
    let synced = Arc::new(Mutex::new(0));
    let (taken, count) = (Arc::clone(&images), Arc::clone(&synced));
    let disk = directory.clone();
    let mut image = TapImage::create(&directory, Path::new(TAPE), Limits::default()).unwrap();
    directory.set_rule(move |operation: &Operation| {
        let killed = disk.killed().unwrap();
        taken
            .lock()
            .unwrap()
            .push((operation.clone(), killed, *count.lock().unwrap()));
        None
    });
    let data = |number: usize| vec![u8::try_from(number).unwrap(); 300_000];
    for number in 0..24 {
        image.write_record(&data(number)).unwrap();
        if number % 6 == 5 {
            if number % 12 == 11 {
                image.finish().unwrap()
            } else {
                image.sync().unwrap()
            }
            *synced.lock().unwrap() = number + 1;
        }
    }
    directory.clear_rule();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(
        images
            .iter()
            .filter(|(operation, ..)| operation.verb == Verb::Write)
            .count()
            > 16
    );
    for (operation, disk, synced) in images {
        if operation.verb == Verb::Write && operation.length_bytes > 4 {
            // The write was done in part: it lies behind the end of the medium.
            let file = disk.open(Path::new(TAPE), Access::ReadWrite).unwrap();
            file.write_all_at(&[0x55; 700], operation.offset_bytes).unwrap();
        }
        let mut image = open(&disk);
        let found = found(&mut image);
        assert!(!found.iter().any(|(found, _)| matches!(found, Found::Lost { .. })));
        image.rewind().unwrap();
        let read = records(&mut image);
        assert!(read.len() >= synced, "{} of {synced} after {operation:?}", read.len());
        assert!(read.iter().enumerate().all(|(number, bytes)| *bytes == data(number)));
        image.to_end_of_data().unwrap();
        image.write_record(b"after").unwrap();
        image.finish().unwrap();
        image.rewind().unwrap();
        assert_eq!(records(&mut image).len(), read.len() + 1);
    }
}

#[test]
fn a_power_loss_keeps_what_was_synced() {
    for seed in 0..64 {
        let directory = SimDirectory::new();
        let mut image = TapImage::create(&directory, Path::new(TAPE), Limits::default()).unwrap();
        for number in 0..5 {
            image.write_record(&[number; 2000]).unwrap();
        }
        image.finish().unwrap();
        for number in 5..9 {
            image.write_record(&[number; 2000]).unwrap();
        }
        image.commit().unwrap();
        let disk = directory.crash(seed).unwrap();
        let mut image = open(&disk);
        let read = records(&mut image);
        for number in 0..5_u8 {
            assert_eq!(read[usize::from(number)], [number; 2000], "seed {seed}");
        }
        image.to_end_of_data().unwrap();
        image.write_record(b"after").unwrap();
        image.finish().unwrap();
        image.rewind().unwrap();
        assert_eq!(records(&mut image).last().unwrap(), b"after", "seed {seed}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(prop_oneof![Just(0), Just(0xFF), Just(0xFE), any::<u8>()], 0..3000)) {
        let directory = directory_with(&bytes);
        let mut image = open(&directory);
        found(&mut image);
        prop_assert!(image.position.offset_bytes <= bytes.len() as u64 + 4);
        image.to_end_of_data().unwrap();
        while image.backward_records(1).is_ok() {}
    }

    #[test]
    fn what_was_written_is_read(lengths in proptest::collection::vec(1..5000_usize, 1..40), files in 1..4_usize) {
        let directory = SimDirectory::new();
        let mut image = TapImage::create(&directory, Path::new(TAPE), Limits::default()).unwrap();
        for _ in 0..files {
            for length in &lengths {
                image.write_record(&vec![b'z'; *length]).unwrap();
            }
            image.finish().unwrap();
        }
        for file in 0..files {
            image.to_file(u32::try_from(file).unwrap()).unwrap();
            let mut buffer = Vec::new();
            for length in &lengths {
                prop_assert_eq!(image.read_record(&mut buffer).unwrap(), Found::Record);
                prop_assert_eq!(buffer.len(), *length);
            }
            prop_assert_eq!(image.read_record(&mut buffer).unwrap(), Found::Mark);
            prop_assert_eq!(BlockRead::position(&image).file as usize, file + 1);
        }
    }
}

/// A file of holes claims records and marks of any length and number: none of it is read into memory, or gone over for ever.
#[test]
fn files_of_holes_cost_nothing() {
    let room = tempfile::tempdir().unwrap();
    let directory = crate::storage::HostDirectory::open(room.path()).unwrap();
    let put = |bytes: &[(u64, &[u8])]| {
        let file = std::fs::File::create(room.path().join(TAPE)).unwrap();
        for (at, bytes) in bytes {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, *at).unwrap();
        }
        file
    };
    let length = (1_u32 << 24) + 2;
    let word = length.to_le_bytes();
    let behind = u64::from(length) + 4;
    let rest = [&word[..], &record(b"next"), &END].concat();
    put(&[(0, &word), (behind, &rest)]);
    let mut image = TapImage::open(&directory, Path::new(TAPE), Access::Read, Limits::default()).unwrap();
    let mut buffer = Vec::new();
    assert_eq!(
        image.read_record(&mut buffer).unwrap(),
        Found::Lost {
            length_bytes: behind + 4
        }
    );
    assert_eq!(buffer, b"", "nothing of it is kept");
    assert_eq!(image.read_record(&mut buffer).unwrap(), Found::Record);
    assert_eq!(buffer, b"next");

    put(&[]).set_len(1 << 42).unwrap();
    let mut image = TapImage::open(&directory, Path::new(TAPE), Access::Read, Limits::default()).unwrap();
    assert_eq!(image.read_first().unwrap(), Found::Mark);
}

/// An index that claims to be longer than any tape is none, however far its end lies from the mark behind it.
#[test]
fn an_index_of_any_length_is_survived() {
    let room = tempfile::tempdir().unwrap();
    let directory = crate::storage::HostDirectory::open(room.path()).unwrap();
    let file = std::fs::File::create(room.path().join(TAPE)).unwrap();
    let put = |bytes: &[u8], at: u64| std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
    let trailer = [&(4_u64 << 30).to_le_bytes()[..], &[0; 8], b"HEADSTACK INDEX\n"].concat();
    let first = [record(b"data"), record(&trailer)].concat();
    put(&first, 0);
    // Records of a private class, all holes, which nobody reads.
    let (word, whole) = (0x1FFF_FFFE_u32.to_le_bytes(), 0x0FFF_FFFE + 8);
    let mut at = first.len() as u64;
    for _ in 0..520 {
        put(&word, at);
        put(&word, at + whole - 4);
        at += whole;
    }
    put(&[&MARK[..], &MARK, &END].concat(), at);
    let mut image = TapImage::open(&directory, Path::new(TAPE), Access::Read, Limits::default()).unwrap();
    assert_eq!(image.index().unwrap(), None);
}
