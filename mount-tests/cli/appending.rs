//! `series append`: batches, bad lines, and what becomes visible when.
//!
//! Entries come from arguments, files and pipes; each test reads them back with another run of the binary.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{HEADSTACK, Place, headstack, headstack_fed, wait_until};

fn entries(db: &str, name: &str) -> u64 {
    headstack(&["series", "show", "--json", db, name]).json()["entries"]
        .as_u64()
        .unwrap()
}

/// T13: an entry from the command line, in the series' own format and in others.
#[test]
fn one_entry_from_the_command_line() {
    let place = Place::filled();
    let db = place.db.as_str();
    headstack(&["series", "append", db, "t", "110", "11"]).text();
    headstack(&[
        "series",
        "append",
        db,
        "t",
        "120",
        "0c00000000000000",
        "--format",
        "hex",
    ])
    .text();
    headstack(&["series", "append", db, "t", "130", "-1", "--format", "i64"]).text();
    let done = headstack(&["series", "append", db, "t", "140", "14", "--json"]).json();
    assert_eq!((&done["appended"], &done["last_timestamp"]), (&json!(1), &json!(140)));
    let cat = headstack(&["series", "cat", "--json", db, "t", "--from", "110"]).json();
    let values: Vec<_> = cat["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["value"].clone())
        .collect();
    assert_eq!(values, [json!(11), json!(12), json!(u64::MAX), json!(14)]);
    let told = headstack(&["-v", "series", "append", db, "t", "150", "15"]).ends(0);
    assert!(
        told.out.is_empty() && told.err.contains("appended 1 entries"),
        "{told:?}"
    );
}

/// T13: the timestamp has to be larger than the last, zero included, and the value as long as the series has it.
#[test]
fn wrong_arguments_append_nothing() {
    let place = Place::filled();
    let db = place.db.as_str();
    for timestamp in ["100", "99", "0"] {
        let path = format!("{db}/t");
        headstack(&["series", "append", db, "t", timestamp, "1"]).fails(64, &[&path, timestamp, "100", "101 or more"]);
    }
    headstack(&["series", "append", db, "t", "110", "ff", "--format", "hex"]).fails(64, &["1 bytes", "--pad"]);
    headstack(&[
        "series",
        "append",
        db,
        "t",
        "110",
        "00112233445566778899",
        "--format",
        "hex",
    ])
    .fails(64, &["10 bytes", "8"]);
    headstack(&["series", "append", db, "t", "110", "x"]).fails(64, &["\"x\"", "u64", "--format"]);
    headstack(&["series", "append", db, "t", "110"]).fails_usage("VALUE");
    headstack(&["series", "append", db, "t", "18446744073709551616", "1"]).fails_usage("18446744073709551616");
    headstack(&["series", "append", db, "log", "3", "1", "--format", "f64"]).fails(64, &["f64", "--format hex"]);
    assert_eq!(entries(db, "t"), 10);
    headstack(&["series", "create", db, "z", "--block-size", "1"]).text();
    headstack(&["series", "append", db, "z", "0", "01"]).text();
    headstack(&["series", "append", db, "z", "0", "02"]).fails(64, &["timestamp 0", "1 or more"]);
}

/// T14: shorter values are filled up where that is asked for, and always in the format utf8.
#[test]
fn short_values_are_padded_where_asked() {
    let place = Place::filled();
    let db = place.db.as_str();
    headstack(&["series", "append", db, "t", "110", "ff", "--format", "hex", "--pad"]).text();
    let latest = headstack(&["series", "latest", db, "t", "--format", "hex"]).text();
    assert_eq!(latest, "00000000000000000110 ff00000000000000\n");
    headstack(&[
        "series",
        "create",
        db,
        "words",
        "--block-size",
        "10",
        "--format",
        "utf8",
    ])
    .text();
    headstack_fed(
        &["series", "append", db, "words"],
        "1 zwölf\n2 two words\n3 \n".as_bytes(),
    )
    .text();
    let cat = headstack(&["series", "cat", "--json", db, "words"]).json();
    let values: Vec<_> = cat["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["value"].clone())
        .collect();
    assert_eq!(values, ["zwölf", "two words", ""]);
    let text = headstack(&["series", "cat", db, "words"]).text();
    headstack(&["series", "create", db, "copy", "--block-size", "10", "--format", "utf8"]).text();
    headstack_fed(&["series", "append", db, "copy"], text.as_bytes()).text();
    assert_eq!(
        headstack(&["series", "cat", db, "copy"]).text(),
        text,
        "what cat prints append takes"
    );
}

/// T43: the largest timestamp is stored, and nothing can follow it.
#[test]
fn the_last_timestamp_ends_a_series() {
    let place = Place::filled();
    let db = place.db.as_str();
    let last = u64::MAX.to_string();
    headstack(&["series", "append", db, "t", &last, "1"]).text();
    headstack(&["series", "append", db, "t", &last, "1"]).fails(64, &[&last, "another series"]);
    assert_eq!(
        headstack(&["series", "latest", "--json", db, "t"]).json()["entries"][0]["timestamp"],
        u64::MAX
    );
}

/// T13: a line that is no entry stops the stream; what stood before it is committed and counted.
#[test]
fn a_bad_line_is_named_and_what_stood_before_it_is_kept() {
    let place = Place::filled();
    let db = place.db.as_str();
    let append = |lines: &str| headstack_fed(&["series", "append", db, "t"], lines.as_bytes());
    append("110 1\n120 2\nnonsense\n130 3\n").fails(65, &["line 3", "nonsense", "2 entries"]);
    assert_eq!(entries(db, "t"), 12);
    append("130 3\n130 4\n140 5\n").fails(
        65,
        &[
            "line 2",
            "timestamp 130",
            &format!("{db}/t"),
            "1 entries",
            "131 or more",
        ],
    );
    append("140 4\n150 -5\n").fails(65, &["line 2", "-5", "1 entries"]);
    append("150 5\n\n160 6\n").fails(65, &["line 2", "1 entries"]);
    append("160 6").text();
    assert_eq!(entries(db, "t"), 16, "a last line needs no newline");
    let log = headstack_fed(&["series", "append", db, "log"], b"3 x\n3 y\n");
    log.fails(65, &["line 2", "timestamp 3", "1 entries"]);
    assert_eq!(entries(db, "log"), 3);
    headstack_fed(&["series", "append", db, "t", "--format", "hex"], b"170 00\n")
        .fails(65, &["line 1", "--pad", "0 entries"]);
}

/// T13 T26: many lines are written in batches that cross chunks, and each is there.
#[test]
fn many_lines_are_all_appended() {
    let place = Place::new();
    let db = place.db.as_str();
    headstack(&[
        "series",
        "create",
        db,
        "s",
        "--block-size",
        "8",
        "--entries-per-chunk",
        "30000",
        "--format",
        "u64",
    ])
    .text();
    let count = 100_000_u64;
    let lines: String = (0..count).map(|i| format!("{} {}\n", i * 3, i * i)).collect();
    let done = headstack_fed(&["series", "append", "--json", "--progress", db, "s"], lines.as_bytes());
    assert_eq!(done.json()["appended"], count);
    let cat = headstack(&["series", "cat", db, "s"]).text();
    let expected: String = (0..count).map(|i| format!("{:020} {:020}\n", i * 3, i * i)).collect();
    assert!(cat == expected, "what was appended is printed");
}

/// T13: a slow producer's lines are committed as they come, not when the input ends.
#[test]
fn lines_are_visible_before_the_input_ends() {
    let place = Place::filled();
    let db = place.db.as_str();
    let mut child = Command::new(HEADSTACK)
        .args(["series", "append", db, "t"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for (sent, part) in [(1, "110 11\n12"), (2, "0 12\n"), (4, "130 13\n140 14\n")] {
        input.write_all(part.as_bytes()).unwrap();
        wait_until(&format!("{sent} entries are visible"), || entries(db, "t") == 10 + sent);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// A program that may tell its progress says it on standard error, a line for each tenth.
#[test]
fn progress_is_told_in_tenths() {
    let place = Place::filled();
    let db = place.db.as_str();
    let lines: String = (11..=1000).map(|i| format!("{} {i}\n", i * 10)).collect();
    std::fs::write(place.at("lines"), &lines).unwrap();
    let append = |flags: &[&str]| {
        let input = std::fs::File::open(place.at("lines")).unwrap();
        Command::new(HEADSTACK)
            .args(["series", "append", db, "t"])
            .args(flags)
            .stdin(input)
            .output()
            .unwrap()
    };
    let output = append(&["--progress"]);
    let err = String::from_utf8(output.stderr).unwrap();
    let tenths: Vec<&str> = err
        .lines()
        .map(|line| line.strip_prefix("headstack: series append: ").unwrap())
        .collect();
    assert_eq!(
        tenths,
        [
            "10 %", "20 %", "30 %", "40 %", "50 %", "60 %", "70 %", "80 %", "90 %", "100 %"
        ]
    );
    let told = headstack(&["series", "cat", "--progress", db, "t"]).ends(0);
    assert!(told.err.ends_with("series cat: 100 %\n"), "{}", told.err);
    let quiet = headstack(&["-q", "series", "cat", "--progress", db, "t"]).ends(0);
    assert_eq!(quiet.err, "");
}
