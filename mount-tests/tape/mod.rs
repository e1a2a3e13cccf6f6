//! Tapes beside the tools of SIMH: `mtdump` lists ours, and what `tp512cvt` and `mtcvtodd` write is read here.
//!
//! What stock `dump` and `restore` say of our dumps, and we of theirs, stands elsewhere: here records are just bytes.

use std::{fs, path::Path, process::Command};

use headstack::{
    storage::{Access, HostDirectory},
    tape::{BlockRead as _, BlockWrite as _, Found, Limits, TapImage},
};

use crate::peer::{run, skip};

/// True where the tools of SIMH are installed.
fn simh() -> bool {
    let found = Command::new("mtdump").arg("/dev/null").output().is_ok();
    if !found {
        skip("peer mtdump (Debian package simh)");
    }
    found
}

fn open(directory: &Path, name: &str) -> TapImage {
    let host = HostDirectory::open(directory).unwrap();
    TapImage::open(&host, Path::new(name), Access::Read, Limits::default()).unwrap()
}

/// Kinds of objects to the end, with the records' data.
fn objects(mut image: TapImage) -> Vec<(Found, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut data = Vec::new();
        let found = image.read_record(&mut data).unwrap();
        all.push((found, data));
        if found == Found::End {
            return all;
        }
    }
}

#[test]
fn mtdump_lists_a_tape_as_it_was_written() {
    if !simh() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let host = HostDirectory::open(directory.path()).unwrap();
    let mut image = TapImage::create(&host, Path::new("t.tap"), Limits::default()).unwrap();
    let mut expected = Vec::new();
    for (file, lengths) in [&[10_240_usize, 10_240, 4096][..], &[61_440], &[1, 3, 2]]
        .iter()
        .enumerate()
    {
        for (record, length) in lengths.iter().enumerate() {
            image.write_record(&vec![b'x'; *length]).unwrap();
            expected.push(format!("record {}, length = {length} ({length:#X})", record + 1));
        }
        image.finish().unwrap();
        expected.push(format!("end of tape file {}", file + 1));
    }
    expected.push("end of logical tape".to_owned());
    let output = run(Command::new("mtdump").arg(directory.path().join("t.tap")), b"");
    let text = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Obj ")?.splitn(3, ", ").nth(2))
        .collect();
    assert_eq!(listed, expected, "{text}");
}

#[test]
fn tapes_of_tp512cvt_are_read() {
    if !simh() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..2048_u32).map(|at| (at * 7 % 251) as u8).collect();
    fs::write(directory.path().join("flat"), &bytes).unwrap();
    run(Command::new("tp512cvt").arg("flat").current_dir(&directory), b"");
    let objects = objects(open(directory.path(), "flat.tap"));
    let kinds: Vec<Found> = objects.iter().map(|(found, _)| *found).collect();
    let expected = [[Found::Record; 4].as_slice(), &[Found::Mark, Found::Mark, Found::End]].concat();
    assert_eq!(kinds, expected);
    let read: Vec<u8> = objects.into_iter().flat_map(|(_, data)| data).collect();
    assert_eq!(read, bytes);
}

#[test]
fn odd_records_are_read_with_and_without_padding() {
    if !simh() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Records of 5 and 7 bytes and two marks, without padding.
    let bare = b"\x05\0\0\0seven\x05\0\0\0\x07\0\0\0letters\x07\0\0\0\0\0\0\0\0\0\0\0";
    fs::write(directory.path().join("odd.tap"), bare).unwrap();
    run(Command::new("mtcvtodd").arg("odd.tap").current_dir(&directory), b"");
    let padded = objects(open(directory.path(), "odd.new"));
    assert_eq!(padded[0], (Found::Record, b"seven".to_vec()));
    assert_eq!(padded[1], (Found::Record, b"letters".to_vec()));
    assert_eq!(padded, objects(open(directory.path(), "odd.tap")));
}
