//! `init` and `series ..`: what each verb prints as text and as JSON.
//!
//! Expected output is written out by hand; stored parameters are read from the files themselves.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::{Value, json};

use super::{HEADSTACK, Place, headstack, headstack_fed, peer, run};

fn line(timestamp: u64, value: u64) -> String {
    format!("{timestamp:020} {value:020}\n")
}

/// T04: a store is a database with room for the rest, and every verb takes it for its database.
#[test]
fn init_makes_a_store_that_verbs_take() {
    let place = Place::new();
    let store = place.at("store");
    let made = headstack(&["init", "--json", &store]).json();
    assert_eq!(made["database"], json!(format!("{store}/series")));
    for directory in ["series/varlen", "disks", "tapes", "state"] {
        assert!(place.path().join("store").join(directory).is_dir(), "{directory}");
    }
    headstack(&["series", "create", &store, "t", "--block-size", "1"]).text();
    headstack(&["series", "append", &store, "t", "5", "ff"]).text();
    assert!(place.path().join("store/series/t/5").is_file());
    assert_eq!(
        headstack(&["series", "cat", &store, "t"]).text(),
        "00000000000000000005 ff\n"
    );
    headstack(&["init", &store]).fails(73, &[&store]);
    fs::create_dir(place.at("empty")).unwrap();
    headstack(&["init", &place.at("empty")]).text();
}

/// T06: parameters are stored as they were asked for; sizes take binary units; the database is made with the series.
#[test]
fn create_stores_the_parameters() {
    let place = Place::new();
    let made = headstack(&[
        "series",
        "create",
        &place.db,
        "big",
        "--block-size",
        "1K",
        "--entries-per-chunk",
        "2M",
        "--page-size",
        "64K",
        "--json",
    ])
    .json();
    assert_eq!(made["path"], json!(format!("{}/big", place.db)));
    assert_eq!(made["kind"], "series");
    let stored: Value = serde_json::from_slice(&fs::read(place.at("db/big/metadata.txt")).unwrap()).unwrap();
    assert_eq!(stored["block_size"], 1024);
    assert_eq!(stored["max_entries_per_chunk"], 2 << 20);
    assert_eq!(stored["page_size"], 64 << 10);
    let edges = [("4088", 0), ("4089", 64), ("0", 64), ("1", 0)];
    for (size, code) in edges {
        headstack(&[
            "series",
            "create",
            &place.db,
            &format!("of{size}"),
            "--block-size",
            size,
        ])
        .ends(code);
    }
}

/// T07 T35 T36 T37: a variable-length series has its own namespace, profile and length field.
#[test]
fn create_makes_variable_length_series() {
    let place = Place::new();
    let db = place.db.as_str();
    headstack(&["series", "create", db, "x", "--block-size", "1"]).text();
    headstack(&[
        "series",
        "create",
        db,
        "x",
        "--varlen",
        "10,255",
        "--size-struct",
        "2",
        "--entries-per-chunk",
        "9",
    ])
    .text();
    headstack(&["series", "create", db, "varlen/y"]).text();
    let stored: Value = serde_json::from_slice(&fs::read(place.at("db/varlen/x/root/metadata.txt")).unwrap()).unwrap();
    assert_eq!(
        stored["metadata"],
        json!({"size_field": 2, "length_profile": [10, 255]})
    );
    let shown = headstack(&["series", "show", "--json", "--varlen", db, "x"]).json();
    assert_eq!(shown["length_profile"], json!([10, 255]));
    assert_eq!(shown["maximum_length_bytes"], 65535);
    assert_eq!(shown["entries_per_chunk"], 9);
    headstack(&["series", "append", "--varlen", db, "x", "1", &"ab".repeat(1024)]).text();
    let parts = fs::read_dir(place.at("db/varlen/x")).unwrap().count();
    assert_eq!(parts, 5, "1024 bytes on [10,255]");
    headstack(&["series", "append", "--varlen", db, "x", "2", &"00".repeat(65535)]).text();
    let long = format!("3 {}\n", "00".repeat(65536));
    headstack_fed(&["series", "append", "--varlen", db, "x"], long.as_bytes()).fails(65, &["65536 bytes", "65535"]);
    for (arguments, code) in [
        (["--size-struct", "5"], 64),
        (["--size-struct", "0"], 64),
        (["--size-struct", "4"], 0),
    ] {
        headstack(&[&["series", "create", db, "z", "--varlen", "8"], &arguments[..]].concat()).ends(code);
    }
}

/// T05: all series are listed, of both kinds, and the names are those that the other verbs take.
#[test]
fn ls_lists_both_kinds() {
    let place = Place::filled();
    let listed = headstack(&["series", "ls", "--json", &place.db]).json();
    let series = listed["series"].as_array().unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!(series[0]["name"], "t");
    assert_eq!(series[0]["entries"], 10);
    assert_eq!(
        (&series[0]["first_timestamp"], &series[0]["last_timestamp"]),
        (&json!(10), &json!(100))
    );
    assert_eq!(series[1]["name"], "varlen/log");
    assert_eq!(series[1]["kind"], "varlen series");
    let tabs = headstack(&["series", "ls", "-H", &place.db]).text();
    let first: Vec<&str> = tabs.lines().next().unwrap().split('\t').collect();
    assert_eq!(&first[..5], ["t", "series", "10", "10", "100"]);
    for name in tabs.lines().map(|line| line.split('\t').next().unwrap()) {
        headstack(&["series", "show", &place.db, name]).ends(0);
    }
    let text = headstack(&["series", "ls", &place.db]).text();
    assert!(text.starts_with("NAME "), "{text}");
    assert_eq!(text.lines().count(), 3);
}

/// T12: the attributes of a series.
#[test]
fn show_tells_all_attributes() {
    let place = Place::filled();
    let shown = headstack(&["series", "show", "--json", &place.db, "t"]).json();
    for (key, value) in [
        ("name", json!("t")),
        ("path", json!(format!("{}/t", place.db))),
        ("block_size_bytes", json!(8)),
        ("entries_per_chunk", json!(4)),
        ("page_size_bytes", json!(4096)),
        ("entries", json!(10)),
        ("chunks", json!(3)),
        ("first_timestamp", json!(10)),
        ("last_timestamp", json!(100)),
        ("last_entry_synced", json!(0)),
        ("format", json!("u64")),
        ("metadata", json!({"format": "u64"})),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
    let modified = shown["modified"].as_str().unwrap();
    assert!(
        modified.ends_with('Z') && modified.parse::<jiff::Timestamp>().is_ok(),
        "{modified}"
    );
    let text = headstack(&["series", "show", &place.db, "t"]).text();
    assert!(
        text.lines()
            .any(|line| line.split_whitespace().eq(["block_size_bytes", "8"])),
        "{text}"
    );
    let tabs = headstack(&["series", "show", "-H", &place.db, "t"]).text();
    assert!(tabs.contains("entries\t10\n"), "{tabs}");
}

/// T08 T18: the oldest and the newest entry, in every format.
#[test]
fn latest_and_first_print_one_entry() {
    let place = Place::filled();
    let db = place.db.as_str();
    assert_eq!(headstack(&["series", "latest", db, "t"]).text(), line(100, 10));
    assert_eq!(headstack(&["series", "first", db, "t"]).text(), line(10, 1));
    let value = |format| {
        let text = headstack(&["series", "latest", db, "t", "--format", format]).text();
        text.trim_end().split_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(value("hex"), "0a00000000000000");
    assert_eq!(value("base64"), "CgAAAAAAAAA=");
    assert_eq!(value("i64"), "+0000000000000000010");
    let latest = headstack(&["series", "latest", db, "t", "--json"]).json();
    assert_eq!(latest["entries"], json!([{"timestamp": 100, "value": 10}]));
    assert_eq!(latest["format"], "u64");
    let first = headstack(&["series", "first", db, "log", "--json"]).json();
    assert_eq!(first["entries"], json!([{"timestamp": 1, "value": "one"}]));
    headstack(&["series", "create", db, "empty", "--block-size", "1"]).text();
    headstack(&["series", "latest", db, "empty"]).fails(66, &["empty", db, "series append"]);
    headstack(&["series", "first", db, "empty"]).fails(66, &["empty", db]);
}

/// T19: a range has both its ends, bounds between entries are fine, and one that is reversed is refused.
#[test]
fn cat_prints_exactly_the_range() {
    let place = Place::filled();
    let db = place.db.as_str();
    let cat = |from: &str, to: &str| {
        let text = headstack(&["series", "cat", db, "t", "--from", from, "--to", to]).text();
        text.lines()
            .map(|line| line.split_once(' ').unwrap().0.parse().unwrap())
            .collect::<Vec<u64>>()
    };
    assert_eq!(cat("20", "50"), [20, 30, 40, 50]);
    assert_eq!(cat("21", "49"), [30, 40]);
    assert_eq!(cat("41", "49"), [0_u64; 0], "between two chunks");
    assert_eq!(cat("0", "10"), [10]);
    assert_eq!(cat("101", "18446744073709551615"), [0_u64; 0]);
    let all: String = (1..=10).map(|i| line(i * 10, i)).collect();
    assert_eq!(headstack(&["series", "cat", db, "t"]).text(), all);
    headstack(&["series", "cat", db, "t", "--from", "2", "--to", "1"]).fails(64, &["2..=1", "--from 1 --to 2"]);
}

/// T19 T39: the same entries as one JSON document and as binary records.
#[test]
fn cat_speaks_json_and_raw() {
    let place = Place::filled();
    let db = place.db.as_str();
    let document = headstack(&["series", "cat", "--json", db, "t", "--from", "90"]).json();
    assert_eq!(document["series"], "t");
    assert_eq!(
        document["entries"],
        json!([{"timestamp": 90, "value": 9}, {"timestamp": 100, "value": 10}])
    );
    let none = headstack(&["series", "cat", "--json", db, "t", "--from", "101"]).json();
    assert_eq!(none["entries"], json!([]));
    let raw = headstack(&["series", "cat", "--raw", db, "t", "--from", "20", "--to", "60"])
        .ends(0)
        .out;
    let expected: Vec<u8> = (2..=6_u64)
        .flat_map(|i| [(i * 10).to_le_bytes(), i.to_le_bytes()].concat())
        .collect();
    assert_eq!(raw, expected, "over a chunk's end");
    let raw = headstack(&["series", "cat", "--raw", db, "log"]).ends(0).out;
    assert_eq!(raw, b"\x01\0\0\0\0\0\0\0\x03\0\0\0one\x02\0\0\0\0\0\0\0\0\0\0\0");
}

/// T37: a name alone means the fixed series; the other one by flag, by prefix, or where there is no other.
#[test]
fn both_namespaces_can_be_named() {
    let place = Place::filled();
    let db = place.db.as_str();
    let log = format!("{:020} one\n{:020} \n", 1, 2);
    assert_eq!(headstack(&["series", "cat", db, "log"]).text(), log, "unambiguous");
    assert_eq!(headstack(&["series", "cat", db, "varlen/log"]).text(), log);
    headstack(&["series", "create", db, "log", "--block-size", "1"]).text();
    assert_eq!(headstack(&["series", "cat", db, "log"]).text(), "");
    assert_eq!(headstack(&["series", "cat", db, "log", "--varlen"]).text(), log);
    headstack(&["series", "cat", db, "t", "--varlen"]).fails(66, &["varlen series", "\"t\"", db, "series ls"]);
}

/// T24: a trim drops whole chunks of older entries, says before what it will drop, and asks first.
#[test]
fn trim_drops_whole_chunks_of_older_entries() {
    let place = Place::filled();
    let db = place.db.as_str();
    let trim =
        |before: &str, flags: &[&str]| headstack(&[&["series", "trim", db, "t", "--before", before], flags].concat());
    let dry = trim("51", &["--dry-run", "--json"]).json();
    assert_eq!(
        (&dry["chunks"], &dry["entries"], &dry["dry_run"]),
        (&json!(1), &json!(4), &json!(true))
    );
    assert_eq!(dry["first_timestamp"], 10);
    let message = trim("51", &[]).fails(78, &[db, "1 chunks with 4 entries", "--dry-run", "--yes"]);
    assert!(message.contains("nothing was removed"));
    assert_eq!(headstack(&["series", "first", db, "t"]).text(), line(10, 1));
    let kept = trim("50", &["--yes", "--json"]).json();
    assert_eq!(kept["chunks"], 0, "the second chunk begins at 50");
    let done = trim("51", &["--yes", "--json"]).json();
    assert_eq!(
        (&done["chunks"], &done["entries"], &done["dry_run"]),
        (&json!(1), &json!(4), &json!(false))
    );
    assert_eq!(headstack(&["series", "first", db, "t"]).text(), line(50, 5));
    trim("18446744073709551615", &["--yes"]).text();
    assert_eq!(
        headstack(&["series", "first", db, "t"]).text(),
        line(90, 9),
        "the last chunk stays"
    );
    headstack(&["series", "trim", db, "log", "--before", "2", "--yes"]).text();
}

/// T11 T20 T23: sync and the user's mark, which survives.
#[test]
fn sync_and_mark_are_stored() {
    let place = Place::filled();
    let db = place.db.as_str();
    assert_eq!(headstack(&["series", "sync", "--json", db]).json()["synced"], 2);
    assert_eq!(headstack(&["series", "sync", "--json", db, "t"]).json()["synced"], 1);
    headstack(&["series", "sync", db, "none"]).fails(66, &["none", db]);
    let marked = headstack(&["series", "mark", "--json", db, "t", "70"]).json();
    assert_eq!(marked["last_entry_synced"], 70);
    headstack(&["series", "mark", db, "log", "1"]).text();
    for (name, mark) in [("t", 70), ("log", 1)] {
        assert_eq!(
            headstack(&["series", "show", "--json", db, name]).json()["last_entry_synced"],
            mark,
            "{name}"
        );
    }
}

/// T22: metadata is printed, replaced from an argument or from standard input, and cleared.
#[test]
fn meta_is_printed_replaced_and_cleared() {
    let place = Place::filled();
    let db = place.db.as_str();
    let meta = || serde_json::from_str::<Value>(&headstack(&["series", "meta", db, "t"]).text()).unwrap();
    assert_eq!(meta(), json!({"format": "u64"}));
    let new = r#"{"unit": "kPa", "n": [1, 2.5, null], "big": 18446744073709551615, "ż": "ó"}"#;
    headstack(&["series", "meta", db, "t", new]).text();
    assert_eq!(meta(), serde_json::from_str::<Value>(new).unwrap());
    headstack_fed(&["series", "meta", db, "t", "-"], b"{\"format\": \"hex\"}\n").text();
    assert_eq!(
        headstack(&["series", "meta", "--json", db, "t"]).json()["metadata"],
        json!({"format": "hex"})
    );
    let latest = headstack(&["series", "latest", db, "t"]).text();
    assert_eq!(latest, "00000000000000000100 0a00000000000000\n", "in the new format");
    headstack(&["series", "meta", db, "t", "null"]).text();
    assert_eq!(meta(), Value::Null);
    headstack(&["series", "meta", db, "t", "[1]"]).fails(64, &["[1]", "JSON object"]);
    headstack(&["series", "meta", db, "t", "{"]).fails(64, &["{", "JSON"]);
    headstack_fed(&["series", "meta", db, "t", "-"], b"{").fails(65, &["standard input"]);
    headstack(&["series", "meta", db, "log", r#"{"a": 1}"#]).text();
    assert_eq!(
        headstack(&["series", "show", "--json", db, "log"]).json()["length_profile"],
        json!([4, 6])
    );
}

/// T16: a series goes only when that is confirmed, and then altogether.
#[test]
fn rm_asks_first_and_removes_everything() {
    let place = Place::filled();
    let db = place.db.as_str();
    let dry = headstack(&["series", "rm", db, "t", "--dry-run", "--json"]).json();
    assert_eq!((&dry["entries"], &dry["dry_run"]), (&json!(10), &json!(true)));
    headstack(&["series", "rm", db, "t"]).fails(78, &[db, "10 entries", "--yes"]);
    assert!(place.path().join("db/t/10").exists());
    let gone = headstack(&["series", "rm", db, "t", "--yes", "--json"]).json();
    assert_eq!(gone["entries"], 10);
    assert!(!place.path().join("db/t").exists());
    headstack(&["series", "rm", db, "log", "--yes"]).text();
    assert!(!place.path().join("db/varlen/log").exists());
    headstack(&["series", "rm", db, "t", "--yes"]).fails(66, &["\"t\"", db]);
}

/// On a terminal the name has to be typed; anything else removes nothing.
#[test]
fn rm_takes_a_typed_name_on_a_terminal() {
    let Some(script) = peer("script") else { return };
    let place = Place::filled();
    let remove = format!("{HEADSTACK} series rm {} t", place.db);
    let typed = |name: &str| {
        let mut command = Command::new(&script);
        command.args(["--quiet", "--return", "--command", &remove, "/dev/null"]);
        run(&mut command, name.as_bytes())
    };
    let shown = typed("T\n").ends(78);
    let shown = String::from_utf8(shown.out).unwrap();
    assert!(
        shown.contains("10 entries would be lost") && shown.contains("Type t to go on"),
        "{shown}"
    );
    assert!(place.path().join("db/t").exists());
    typed("t\n").ends(0);
    assert!(!place.path().join("db/t").exists());
}

/// T27: a check names each damaged file and its wound, changes nothing, and reading names it too.
#[test]
fn check_reports_all_damage_and_changes_nothing() {
    let place = Place::filled();
    let db = place.db.as_str();
    assert_eq!(headstack(&["series", "check", db]).text(), "");
    assert_eq!(
        headstack(&["series", "check", "--json", db]).json()["findings"],
        json!([])
    );
    let chunk = place.at("db/t/50");
    let mut bytes = fs::read(&chunk).unwrap();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&chunk, &bytes).unwrap();
    let other = place.at("db/t/10");
    fs::write(&other, b"abc").unwrap();
    let checked = headstack(&["series", "check", "--json", db]).ends(65).document();
    let paths: Vec<&str> = checked["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["path"].as_str().unwrap())
        .collect();
    assert!(
        paths.contains(&chunk.as_str()) && paths.contains(&other.as_str()),
        "{checked}"
    );
    let text = headstack(&["series", "check", "-H", db, "t"]).ends(65);
    assert!(String::from_utf8(text.out).unwrap().contains(&format!("{chunk}\t")));
    headstack(&["series", "check", db, "log"]).text();
    assert_eq!(fs::read(&chunk).unwrap(), bytes);
    headstack(&["series", "cat", db, "t", "--from", "50"]).fails(65, &[&chunk, "series check"]);
    let listed = headstack(&["series", "ls", "--json", db]).ends(65);
    assert!(listed.err.contains("series check"));
    assert_eq!(
        listed.document()["series"][1]["entries"],
        2,
        "the others are listed all the same"
    );
}

/// T03: readers write nothing, not even into a directory that they may write.
#[test]
fn readers_leave_the_database_as_it_is() {
    let place = Place::filled();
    let db = place.db.as_str();
    let state = || {
        let mut entries = Vec::new();
        let mut directories = vec![place.path().join("db")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let (path, facts) = {
                    let e = entry.unwrap();
                    (e.path(), e.metadata().unwrap())
                };
                if facts.is_dir() {
                    directories.push(path.clone());
                }
                entries.push((path, facts.len(), facts.modified().unwrap(), facts.permissions().mode()));
            }
        }
        entries.sort();
        entries
    };
    let before = state();
    for verb in ["ls", "check"] {
        headstack(&["series", verb, db]).ends(0);
    }
    for verb in ["show", "cat", "latest", "first", "meta"] {
        headstack(&["series", verb, db, "t"]).ends(0);
        headstack(&["series", verb, db, "log"]).ends(0);
    }
    headstack(&["snapshot", "ls", db]).ends(0);
    headstack(&["doctor", db]);
    assert_eq!(state(), before);
}
