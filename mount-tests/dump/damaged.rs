//! Damaged tapes: what is lost is named to the byte, everything else comes back, and volumes in a wrong order are refused.
//!
//! The wounds in `images/damaged/tape` are of a tape of stock dump; those made here are of our own.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use headstack::{
    dump::{
        Error, Lost,
        reader::Reader,
        restore::{Choice, Destination, Restored, extract, restore_chain},
        salvage::salvage,
        verify::verify,
    },
    tape::{Container, Limits, Names, Volumes},
};

use super::{Place, describe, root, same};
use crate::peer::{run, top};

fn salvaged(place: &Place, volumes: Volumes) -> Restored {
    let destination = Destination::open(&place.path("out")).unwrap();
    salvage(Reader::open(volumes, 0).unwrap(), &destination).unwrap()
}

fn names(lost: &[Lost]) -> BTreeSet<String> {
    lost.iter().map(|lost| lost.path.to_str().unwrap().to_owned()).collect()
}

/// Path of an object in a line of a description.
fn path_of(line: &str) -> String {
    let name = line.split(' ').next().unwrap();
    String::from_utf8_lossy(&data_encoding::HEXLOWER.decode(name.as_bytes()).unwrap()).into_owned()
}

/// A golden tape with a wound, as a file of the place.
fn wounded(place: &Place, case: &str) -> BTreeSet<String> {
    let folder = top().join("images/damaged/tape").join(case);
    let tape = run(Command::new("xz").arg("-dc").arg(folder.join("tape.xz")), b"").stdout;
    fs::write(place.path("tapes/wounded"), tape).unwrap();
    let lost = fs::read_to_string(folder.join("lost.txt")).unwrap();
    lost.lines().map(str::to_owned).collect()
}

/// Exactly what is lost is named, by a verification too, and all else is as it was.
#[test]
fn a_wound_costs_what_was_in_it_and_nothing_else() {
    if !root() {
        return;
    }
    let golden = fs::read_to_string(top().join("images/tape/little-dump-0.4b47/level0.txt")).unwrap();
    for case in [
        "zeroed_record",
        "flipped_header",
        "missing_record",
        "truncated",
        "repeated_record",
        "bad_record",
    ] {
        let place = Place::new();
        let expected = wounded(&place, case);
        let volumes = place.listed("wounded", Container::Flat);
        let result = salvaged(&place, volumes.clone());
        assert_eq!(names(&result.lost), expected, "{case}: {result:?}");
        assert!(!result.troubles.is_empty(), "{case}");
        let losses = result.troubles.iter().any(|trouble| trouble.loss);
        assert_eq!(losses, !expected.is_empty(), "{case}: {result:?}");
        let kept: Vec<String> = golden
            .lines()
            .filter(|line| !expected.contains(&path_of(line)))
            .map(str::to_owned)
            .collect();
        same(&describe(&place.path("out")), &kept, case);
        let verified = verify(&mut Reader::open(volumes, 0).unwrap()).unwrap();
        assert_eq!(names(&verified.lost), expected, "{case}: verified");
        assert_eq!(verified.troubles, result.troubles, "{case}: verified");
    }
}

/// Without its beginning a tape still gives its files, under their numbers where their names were there.
#[test]
fn what_has_lost_its_name_is_found_under_its_number() {
    if !root() {
        return;
    }
    let place = Place::new();
    wounded(&place, "zeroed_beginning");
    let volumes = place.listed("wounded", Container::Flat);
    let result = salvaged(&place, volumes.clone());
    assert!(result.troubles.iter().any(|trouble| trouble.loss), "{result:?}");
    let found = place.path("out/lost+found");
    assert_eq!(fs::read(found.join("#40/f7")).unwrap(), b"file 7\n");
    assert_eq!(fs::read(found.join("#14/b/c/deep")).unwrap(), b"deep\n");
    assert_eq!(fs::read(found.join("#12")).unwrap(), b"hello\n");
    assert_eq!(fs::metadata(found.join("#29")).unwrap().len(), 9 << 20);
    let destination = Destination::open(&place.path("state")).unwrap();
    let plain = extract(&mut Reader::open(volumes, 0).unwrap(), &destination, &Choice::all()).unwrap();
    let told = plain
        .troubles
        .iter()
        .any(|trouble| trouble.path == Path::new("number 12"));
    assert!(told, "a plain restore names what it leaves: {plain:?}");
}

/// A tree with a file of 3 MiB whose byte `n` is `n % 251`, and its dump in records of 32 blocks.
fn long_file(place: &mut Place, volumes: Volumes) -> Vec<u8> {
    let long: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    fs::write(place.path("tree/long"), &long).unwrap();
    fs::write(place.path("tree/behind"), "behind\n").unwrap();
    assert_eq!(place.dump(0, volumes).troubles, []);
    long
}

/// Ordinals of the blocks of our tape that begin a segment of the long file, with the offsets of their data.
fn segments(tape: &[u8]) -> Vec<(usize, u64)> {
    let mut at = 0;
    let mut found = Vec::new();
    while let Some(block) = tape.chunks(1024).nth(at) {
        let word = |from: usize| u32::from_le_bytes(block[from..from + 4].try_into().unwrap());
        let (kind, count) = (word(0), word(160) as usize);
        let data = match kind {
            2 | 4 => block[164..164 + count].iter().filter(|cell| **cell != 0).count(),
            3 | 6 => count,
            _ => 0,
        };
        if data > 8 && matches!(kind, 2 | 4) {
            found.push((at, found.len() as u64 * (512 << 10)));
        }
        at += 1 + data;
    }
    found
}

/// A record that is lost in the middle of a file costs its own bytes: the rest of the file and of the tape come back. The
/// range is told, whether the record is unreadable or gone, and if it holds the header of a segment.
#[test]
fn a_record_lost_in_a_file_costs_its_own_bytes() {
    let mut place = Place::new();
    let volumes = place.listed("t", Container::Flat);
    let long = long_file(&mut place, volumes);
    let tape = fs::read(place.path("tapes/t")).unwrap();
    let segments = segments(&tape);
    assert_eq!(segments.len(), 6);
    let record = 32;
    // The bytes of the file in a stretch of tape blocks; none of it where it begins a segment.
    let (header, offset) = segments[2];
    let inside = (header / record + 2) * record;
    let begin = (inside - header - 1) as u64 * 1024 + offset;
    let plain = (inside, begin..begin + 32 * 1024, segments[2].1..segments[3].1);
    let heading = header / record * record;
    let before = (heading - segments[1].0 - 1) as u64 * 1024 + segments[1].1;
    // The blocks behind the lost header cannot be told apart from nothing: the segment is lost with it.
    let headed = (heading, before..segments[3].1, segments[1].1..segments[3].1);
    for (at, unreadable, gone) in [plain, headed] {
        // Where a record was that left no trace nobody knows, so its whole segment is not to be trusted.
        for (cut, range) in [(true, gone), (false, unreadable)] {
            let ranges = vec![range];
            let out = Place::new();
            let target = out.path("tapes/t.tap");
            write_tap(&target, &tape, at / record, cut);
            let result = salvaged(&out, out.listed("t.tap", Container::Tap));
            assert_eq!(result.lost.len(), 1, "{result:?}");
            assert_eq!(
                (&result.lost[0].path, &result.lost[0].ranges),
                (&PathBuf::from("long"), &ranges),
                "block {at}, cut: {cut}"
            );
            let found = blank(fs::read(out.path("out/long")).unwrap(), &ranges);
            assert!(found == blank(long.clone(), &ranges), "block {at}, cut: {cut}");
            assert_eq!(fs::read(out.path("out/behind")).unwrap(), b"behind\n");
        }
    }
}

/// The bytes with zeros in the ranges.
fn blank(mut bytes: Vec<u8>, ranges: &[Range<u64>]) -> Vec<u8> {
    for range in ranges {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        bytes[range].fill(0);
    }
    bytes
}

/// Writes a stream as an image without one of its records, or with that record marked as bad.
fn write_tap(path: &Path, stream: &[u8], lost: usize, cut: bool) {
    let mut out = Vec::new();
    for (at, record) in stream.chunks(32 * 1024).enumerate() {
        let word = u32::try_from(record.len()).unwrap().to_le_bytes();
        match (at == lost, cut) {
            (true, true) => {}
            (true, false) => out.extend([0, 0, 0, 0x80, 0, 0, 0, 0x80]),
            (false, _) => out.extend([&word, record, &word].concat()),
        }
    }
    out.extend([0; 8]);
    fs::write(path, out).unwrap();
}

/// The first segment of a file is lost with its header; what is behind it comes back at its place.
#[test]
fn a_file_without_its_first_header_keeps_what_is_behind() {
    let mut place = Place::new();
    let volumes = place.listed("t", Container::Flat);
    let long = long_file(&mut place, volumes);
    let tape = fs::read(place.path("tapes/t")).unwrap();
    let (header, _) = segments(&tape)[0];
    let file = fs::File::options().write(true).open(place.path("tapes/t")).unwrap();
    file.write_all_at(&[0; 64], header as u64 * 1024).unwrap();
    let result = salvaged(&place, place.listed("t", Container::Flat));
    assert_eq!(
        result.lost,
        [Lost {
            path: "long".into(),
            ranges: std::iter::once(0..512 << 10).collect()
        }]
    );
    let found = fs::read(place.path("out/long")).unwrap();
    assert!(found[512 << 10..] == long[512 << 10..] && found[..512 << 10].iter().all(|byte| *byte == 0));
}

/// D55: volumes in a wrong order and of another dump are refused by name; a missing one costs what was on it.
#[test]
fn volumes_are_told_apart() {
    let mut place = Place::new();
    let limits = Limits {
        capacity_bytes: Some(10 * 33 * 1024),
        early_warning_bytes: 2 * 33 * 1024,
    };
    let set = place.volumes(Names::Numbered("v".into()), Container::Tap, limits);
    let long = long_file(&mut place, set.clone());
    let listed = |names: &[&str]| Names::Listed(names.iter().map(PathBuf::from).collect());
    let of = |names: &[&str]| Volumes {
        names: listed(names),
        ..set.clone()
    };
    let other = place.listed("other", Container::Tap);
    place.dump(0, other);
    let destination = Destination::open(&place.path("state")).unwrap();
    for (names, said) in [
        (
            &["v001", "v003", "v002"][..],
            "volume 3 of the dump, but volume 2 comes here",
        ),
        (&["v001", "other"], "holds no volume of the dump"),
    ] {
        let mut reader = Reader::open(of(names), 0).unwrap();
        let refused = restore_chain(&mut reader, &destination).unwrap_err();
        assert!(
            matches!(&refused, Error::WrongTape { reason, .. } if reason.contains(said)),
            "{refused:?}"
        );
    }
    fs::remove_file(place.path("tapes/v003")).unwrap();
    let result = salvaged(&place, set.clone());
    assert_eq!(names(&result.lost), BTreeSet::from(["long".to_owned()]));
    let [lost] = result.lost.as_slice() else { panic!() };
    let expected = blank(long, &lost.ranges);
    let bytes: u64 = lost.ranges.iter().map(|range| range.end - range.start).sum();
    assert!(bytes < 900 * 1024, "{lost:?}");
    assert!(fs::read(place.path("out/long")).unwrap() == expected, "{lost:?}");
    assert_eq!(fs::read(place.path("out/behind")).unwrap(), b"behind\n");
}
