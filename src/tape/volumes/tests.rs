//! Sets of both containers on simulated storage.

use super::*;
use crate::{
    storage::SimDirectory,
    tape::{Position, Room},
};

fn volumes(container: Container, names: Names) -> Volumes {
    Volumes {
        directory: Arc::new(SimDirectory::new()),
        names,
        container,
        record_bytes: 2048,
        limits: Limits::default(),
    }
}

fn all(tape: &mut dyn BlockRead) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut buffer = Vec::new();
    while tape.read_record(&mut buffer).unwrap() == Found::Record {
        records.push(buffer.clone());
    }
    records
}

#[test]
fn names_of_a_set_are_listed_or_numbered() {
    let listed = Names::Listed(vec!["a".into(), "b".into()]);
    assert_eq!(
        [0, 1, 2, 3].map(|number| listed.of(number)),
        [None, Some("a".into()), Some("b".into()), None]
    );
    let numbered = Names::Numbered("d/run".into());
    assert_eq!(numbered.of(7), Some("d/run007".into()));
    assert_eq!((numbered.of(0), numbered.of(1000)), (None, None));
}

#[test]
fn both_containers_give_back_what_they_took() {
    for container in [Container::Tap, Container::Flat] {
        let set = volumes(container, Names::Numbered("v".into()));
        for number in 1..=2_u8 {
            let mut tape = set.append(number.into()).unwrap();
            for record in 0..3 {
                assert_eq!(tape.write_record(&[number * 16 + record; 2048]).unwrap(), Room::Plenty);
            }
            tape.finish().unwrap();
        }
        for number in 1..=2_u8 {
            let mut tape = set.open(number.into()).unwrap();
            let expected: Vec<_> = (0..3).map(|record| vec![number * 16 + record; 2048]).collect();
            assert_eq!(all(&mut *tape), expected);
            tape.seek(Position::START).unwrap();
            assert_eq!(all(&mut *tape), expected);
            let far = Position {
                offset_bytes: 1 << 40,
                ..Position::START
            };
            assert!(matches!(tape.seek(far), Err(Error::OutOfTape { .. })));
            assert_eq!(
                set.container_of(&set.names.of(number.into()).unwrap()).unwrap(),
                container
            );
        }
    }
}

#[test]
fn a_second_dump_goes_behind_the_first_and_a_stream_is_overwritten() {
    let set = volumes(Container::Tap, Names::Listed(vec!["t".into()]));
    for byte in [1, 2] {
        let mut tape = set.append(1).unwrap();
        tape.write_record(&[byte; 2048]).unwrap();
        tape.finish().unwrap();
    }
    assert_eq!(all(&mut *set.open_file(1, 1).unwrap()), [[2; 2048]]);
    assert!(matches!(set.open_file(1, 4), Err(Error::OutOfTape { .. })));

    let set = volumes(Container::Flat, Names::Listed(vec!["t".into()]));
    for records in [3, 1] {
        let mut tape = set.append(1).unwrap();
        for _ in 0..records {
            tape.write_record(b"\x01\0\0\0 no tape begins so").unwrap();
        }
        tape.finish().unwrap();
    }
    assert_eq!(set.directory.stat(Path::new("t")).unwrap().size_bytes, 22);
    assert!(matches!(set.open_file(1, 1), Err(Error::OutOfTape { .. })));
    let taps = Volumes {
        container: Container::Tap,
        ..set
    };
    assert!(
        matches!(taps.append(1), Err(Error::Exists { .. })),
        "a stream is no tape"
    );
}

#[test]
fn a_dump_behind_one_that_was_killed_is_a_file_of_its_own() {
    let set = volumes(Container::Tap, Names::Listed(vec!["t".into()]));
    for byte in [1, 2] {
        let mut tape = set.append(1).unwrap();
        tape.write_record(&[byte; 2048]).unwrap();
        // No end: the writer was killed.
        tape.sync().unwrap();
    }
    let mut tape = set.append(1).unwrap();
    tape.write_record(&[3; 2048]).unwrap();
    tape.finish().unwrap();
    for (file, byte) in [1, 2, 3].into_iter().enumerate() {
        let read = all(&mut *set.open_file(1, u32::try_from(file).unwrap()).unwrap());
        assert_eq!(read, [[byte; 2048]], "file {file}");
    }
}

#[test]
fn a_missing_volume_is_named() {
    let set = volumes(Container::Tap, Names::Listed(vec!["one".into()]));
    let error = set.open(1).err().unwrap().to_string();
    assert_eq!(error, "volume 1 of the set is missing: one");
    assert!(matches!(set.open(2), Err(Error::NoVolume { number: 2, path: None })));
}

#[test]
fn a_flat_volume_ends_at_its_capacity() {
    let mut set = volumes(Container::Flat, Names::Listed(vec!["t".into()]));
    set.limits = Limits {
        capacity_bytes: Some(4 * 2048),
        early_warning_bytes: 2048,
    };
    let mut tape = set.append(1).unwrap();
    let room: Vec<Room> = (0..4).map(|_| tape.write_record(&[0; 2048]).unwrap()).collect();
    assert_eq!(room[..3], [Room::Plenty; 3]);
    assert_eq!(room[3], Room::Little);
    assert!(matches!(tape.write_record(&[0; 2048]), Err(Error::Full { .. })));
    assert!(matches!(tape.write_record(&[0; 2049]), Err(Error::BadLength { .. })));
    tape.finish().unwrap();
    let protected = Volumes {
        limits: Limits::default(),
        ..set
    };
    let mut tape = FlatStream::open(
        &*protected.directory,
        Path::new("t"),
        Access::Read,
        2048,
        Limits::default(),
    )
    .unwrap();
    assert!(matches!(
        tape.write_record(&[0; 2048]),
        Err(Error::WriteProtected { .. })
    ));
}
