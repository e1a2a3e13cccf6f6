//! A dump mounted: what programs see of it is the tree that was dumped, and each look at it reads little of the tape.
//!
//! The mount is served by this process; what a hostile tape shows is in `hostile.rs`.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use headstack::{
    dump::{
        browse::{Browser, Data},
        catalog::{contents, scan},
        reader::Reader,
    },
    tape::{Container, Volumes},
    tapefs::session::{Mounted, mount},
};

use super::{Place, describe, root, same, shape};
use crate::peer::top;

/// A dump to look into, by what a scan of it finds.
fn browser(place: &Place, volumes: &Volumes) -> Browser {
    let mut reader = Reader::open(volumes.clone(), 0).unwrap().copying();
    let found = scan(&mut reader).unwrap();
    fs::write(place.path("state/toc"), &found.contents).unwrap();
    let mut names = contents(place.host("state"), "toc".into()).unwrap();
    Browser::new(&mut names, Reader::open(volumes.clone(), 0).unwrap(), found.places).unwrap()
}

pub(super) fn mounted(place: &Place, volumes: &Volumes) -> Mounted {
    mount(browser(place, volumes), "tape", &place.path("out"), false).unwrap()
}

/// Everything that can be seen in the mount of one of our tapes is what was dumped, to attributes, lists and nanoseconds.
#[test]
fn a_mounted_dump_is_what_was_dumped() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let long: Vec<u8> = (0..20_000_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(tree.join("long"), &long).unwrap();
    let volumes = place.listed("t.tap", Container::Tap);
    assert_eq!(place.dump(0, volumes.clone()).troubles, []);
    let mounted = mounted(&place, &volumes);
    let out = place.path("out");
    same(&describe(&out), &describe(&tree), "the mount");
    for name in ["file", "many", "symlink", "block", "size1025"] {
        let (seen, was) = (out.join(name), tree.join(name));
        let (seen, was) = (seen.symlink_metadata().unwrap(), was.symlink_metadata().unwrap());
        assert_eq!(
            (seen.mtime(), seen.mtime_nsec(), seen.nlink() > 1, seen.rdev()),
            (was.mtime(), was.mtime_nsec(), was.nlink() > 1, was.rdev()),
            "{name}"
        );
    }
    // From the end to the beginning: what was passed is read again.
    let mut file = File::open(out.join("long")).unwrap();
    for at in [19_000_000_usize, 10_000_000, 12_345, 15_000_000] {
        let mut bytes = vec![0; 100_000];
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        assert!(bytes == long[at..at + bytes.len()], "{at}");
    }
    assert!(fs::write(out.join("file"), "x").is_err() && fs::create_dir(out.join("new")).is_err());
    drop(mounted);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

/// Data and holes of a file in the mount are those of the file that was dumped, so that a hole costs nothing to read.
#[test]
fn holes_are_holes_in_the_mount() {
    const MIB: u64 = 1 << 20;
    let mut place = Place::new();
    let tree = place.path("tree");
    // Far from each other, at a border of segments, and longer than what a search looks through.
    let data = [(3 * MIB, 5000), (64 * MIB - 1024, 2048), (100 * MIB, 9 * MIB)];
    let sparse = File::create(tree.join("sparse")).unwrap();
    for (at, length) in data {
        let bytes = vec![7; usize::try_from(length).unwrap()];
        std::os::unix::fs::FileExt::write_all_at(&sparse, &bytes, at).unwrap();
    }
    sparse.set_len(2000 * MIB).unwrap();
    fs::write(tree.join("dense"), vec![1; 5000]).unwrap();
    let volumes = place.listed("t.tap", Container::Tap);
    assert_eq!(place.dump(0, volumes.clone()).troubles, []);
    let mounted = mounted(&place, &volumes);
    let file = File::open(place.path("out/sparse")).unwrap();
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while let Ok(from) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(from)).unwrap();
        match found.last_mut() {
            // Long data may be told in parts.
            Some((_, end)) if *end == from => *end = at,
            _ => found.push((from, at)),
        }
    }
    let expected = data.map(|(at, length)| (at, at + length.next_multiple_of(1024)));
    assert_eq!(found, expected);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)), Ok(0));
    let end = rustix::fs::SeekFrom::Data(2000 * MIB);
    assert_eq!(rustix::fs::seek(&file, end), Err(rustix::io::Errno::NXIO));
    let facts = fs::metadata(place.path("out/sparse")).unwrap();
    assert!(
        facts.blocks() < 20 * MIB / 512 && facts.len() == 2000 * MIB,
        "{facts:?}"
    );
    let dense = File::open(place.path("out/dense")).unwrap();
    assert_eq!(rustix::fs::seek(&dense, rustix::fs::SeekFrom::Hole(0)), Ok(5000));
    drop((file, dense));
    drop(mounted);
}

/// A tape of stock dump, and its increment: of that only what is on it is there.
#[test]
fn mounted_tapes_of_stock_dump_are_what_was_dumped() {
    if !root() {
        return;
    }
    let place = Place::new();
    let golden = top().join("images/tape/little-dump-0.4b47");
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(golden.join(name)).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    for level in ["level0", "level1"] {
        fs::copy(golden.join(format!("{level}.dump")), place.path("tapes/copy")).unwrap();
        let mounted = mounted(&place, &place.listed("copy", Container::Flat));
        let seen = describe(&place.path("out"));
        let expected = lines(&format!("{level}.txt"));
        // Of an increment directories are there too that lead to what it holds.
        let kept = |line: &&String| level == "level0" || seen.contains(line);
        let expected: Vec<String> = expected.iter().filter(kept).cloned().collect();
        assert!(expected.len() > 5 && (level == "level0" || expected.len() < lines("level1.txt").len()));
        // The directory of the file system itself is no part of the tree.
        let seen: Vec<String> = seen
            .into_iter()
            .filter(|line| !line.starts_with(&data_encoding::HEXLOWER.encode(b"lost+found")))
            .collect();
        same(&seen, &expected, level);
        drop(mounted);
    }
}

/// What the tape has lost is an error of that file alone, and only where it is lost.
#[test]
fn what_is_lost_cannot_be_read() {
    let mut place = Place::new();
    // No stretch of it is like another.
    let long: Vec<u8> = (0..3_u32 << 18)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(place.path("tree/long"), &long).unwrap();
    fs::write(place.path("tree/other"), "other").unwrap();
    let volumes = place.listed("t", Container::Flat);
    place.dump(0, volumes.clone());
    let mut tape = fs::read(place.path("tapes/t")).unwrap();
    let at = tape
        .windows(1000)
        .position(|window| window == &long[1_500_000..1_501_000])
        .unwrap();
    tape[at] ^= 1;
    fs::write(place.path("tapes/t"), tape).unwrap();
    let mut browser = browser(&place, &volumes);
    let number = browser.child(2, b"long").unwrap().number;
    assert_eq!(browser.read(number, 1_500_000, 1000).unwrap(), Data::Lost);
    for from in [0, 2 << 20] {
        let expected = Data::Bytes(long[from..from + 1000].to_vec());
        assert_eq!(browser.read(number, from as u64, 1000).unwrap(), expected, "{from}");
    }
    let other = browser.child(2, b"other").unwrap().number;
    assert_eq!(browser.read(other, 0, 100).unwrap(), Data::Bytes(b"other".to_vec()));
    assert!(browser.child(2, b"none").is_none() && !Path::new("long").exists());
}
