//! Every exit code, and that each message names the path, the thing and the remedy.
//!
//! Codes are those of cli.md, after `sysexits.h`; usage errors of the parser included.

use std::{
    fs,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use super::{HEADSTACK, Place, Ran, headstack, run, wait_until};
use crate::peer::skip;

impl Ran {
    /// A usage error that the parser of the command line found.
    #[track_caller]
    pub(super) fn fails_usage(self, named: &str) {
        assert_eq!(self.code, 64, "{self:#?}");
        assert!(
            self.err.contains(named) && self.err.contains("--help") && self.out.is_empty(),
            "{self:#?}"
        );
    }
}

#[test]
fn usage_errors_are_64() {
    let none: [&str; 0] = [];
    headstack(&none).fails_usage("Usage: headstack");
    headstack(&["frobnicate"]).fails_usage("frobnicate");
    headstack(&["series"]).fails_usage("Usage: headstack series");
    headstack(&["series", "ls"]).fails_usage("<DB>");
    headstack(&["series", "ls", "--frob", "db"]).fails_usage("--frob");
    headstack(&["series", "create", "db", "x", "--block-size", "8Q"]).fails_usage("K, M, G or T");
    headstack(&["series", "create", "db", "x"]).fails(64, &["\"x\"", "--block-size N", "--varlen"]);
    headstack(&["series", "create", "db", "varlen/x", "--block-size", "8"]).fails(64, &["varlen/x", "--varlen"]);
    headstack(&["series", "cat", "db", "x", "--raw", "--json"]).fails_usage("--raw");
    headstack(&["series", "cat", "db", "x", "--format", "octal"]).fails_usage("octal");
    headstack(&["completions", "tcsh"]).fails_usage("tcsh");
    assert!(!std::path::Path::new("db").exists());
}

#[test]
fn help_and_version_are_data() {
    for words in [
        &["--help"][..],
        &["-h"],
        &["series", "--help"],
        &["series", "append", "--help"],
        &["mount", "-h"],
    ] {
        assert!(headstack(words).text().contains("Usage: headstack"), "{words:?}");
    }
    assert_eq!(
        headstack(&["--version"]).text(),
        format!("headstack {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// T03 T09: what does not exist is 66.
#[test]
fn missing_things_are_66() {
    let place = Place::filled();
    let db = place.db.as_str();
    let absent = place.at("absent");
    for verb in ["ls", "check", "sync"] {
        headstack(&["series", verb, &absent]).fails(66, &[&place.path().display().to_string(), "absent"]);
    }
    for verb in ["show", "cat", "latest", "first", "meta", "rm", "append"] {
        headstack(&["series", verb, db, "none"]).fails(66, &[db, "\"none\"", "series ls"]);
        headstack(&["series", verb, &absent, "none"]).fails(66, &["absent", &format!("series create {absent} NAME")]);
    }
    headstack(&["snapshot", "rm", db, "none", "--yes"]).fails(66, &[db, "\"none\"", "snapshot ls"]);
    headstack(&["series", "ls", &place.at("db/t/10")]).ends(66);
    headstack(&["umount", &absent]).ends(66);
}

/// T04 T06 T07: what exists already is 73.
#[test]
fn taken_names_are_73() {
    let place = Place::filled();
    let db = place.db.as_str();
    headstack(&["series", "create", db, "t", "--block-size", "1"]).fails(73, &[db, "\"t\"", "another name"]);
    headstack(&["series", "create", db, "log", "--varlen", "5"]).fails(73, &[db, "\"log\""]);
    headstack(&["snapshot", "create", db, "s"]).ends(0);
    headstack(&["snapshot", "create", db, "s"]).fails(73, &[db, "\"s\""]);
    headstack(&["init", &place.at("db/t/10")]).fails(73, &["db/t/10"]);
}

/// Names that would leave the database, or that it needs itself, are refused before anything is made.
#[test]
fn names_that_cannot_be_stored_are_64() {
    let place = Place::filled();
    for name in [
        "a/b",
        "../x",
        "/x",
        ".",
        "..",
        "",
        "varlen/",
        "varlen",
        "metadata.txt",
        &"x".repeat(256),
    ] {
        let ran = headstack(&["series", "create", &place.db, name, "--block-size", "1"]);
        assert_eq!(ran.code, 64, "{ran:?}");
        assert!(ran.err.contains("try "), "{ran:?}");
    }
    assert!(!place.path().join("x").exists());
}

/// A program that reads no further ends the verb quietly, as SIGPIPE would.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::filled();
    let db = place.db.as_str();
    let lines: String = (11..60_000).map(|i| format!("{} {i}\n", i * 10)).collect();
    super::headstack_fed(&["series", "append", db, "t"], lines.as_bytes()).text();
    for words in [
        &["series", "cat", db, "t"][..],
        &["series", "cat", "--json", db, "t"],
        &["series", "cat", "--raw", db, "t"],
    ] {
        let mut child = Command::new(HEADSTACK)
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 5]).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(141), None));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}

/// A file system without room is 74, and whatever was written whole is kept and counted.
#[test]
fn full_output_is_74() {
    let place = Place::filled();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let child = Command::new(HEADSTACK)
        .args(["series", "cat", &place.db, "t"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{err}");
    assert!(err.contains("standard output") && err.contains("try "), "{err}");
}

/// What the system does not permit is 77. Root is permitted everything, so another user tries.
#[test]
fn forbidden_things_are_77() {
    let place = Place::new();
    if !rustix::process::geteuid().is_root() {
        return skip("root, to become another user");
    }
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = place.at("headstack");
    fs::copy(HEADSTACK, &binary).unwrap();
    let mut create = Command::new(&binary);
    create
        .args(["series", "create", &place.db, "x", "--block-size", "1"])
        .uid(65534)
        .gid(65534);
    run(&mut create, b"").fails(77, &[&place.db, "permission"]);
    headstack(&["series", "create", &place.db, "x", "--block-size", "1"]).text();
    fs::set_permissions(place.at("db/x"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut show = Command::new(&binary);
    show.args(["series", "show", &place.db, "x"]).uid(65534).gid(65534);
    run(&mut show, b"").fails(77, &["db/x"]);
}

/// T03: a database that another process writes to is 75, and the message says who has it.
#[test]
fn a_locked_database_is_75_and_can_be_read() {
    let place = Place::filled();
    let db = place.db.as_str();
    let mut writer = Command::new(HEADSTACK)
        .args(["series", "append", db, "t"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = writer.id().to_string();
    let mut input = writer.stdin.take().unwrap();
    input.write_all(b"110 11\n").unwrap();
    wait_until("the writer has the database", || {
        headstack(&["series", "show", "--json", db, "t"]).json()["entries"] == 11
    });
    headstack(&["series", "mark", db, "t", "1"]).fails(75, &[db, "series append", &pid]);
    for words in [
        &["series", "cat", db, "t"][..],
        &["series", "ls", db],
        &["snapshot", "ls", db],
        &["series", "check", db],
    ] {
        headstack(words).ends(0);
    }
    drop(input);
    assert!(writer.wait().unwrap().success());
    headstack(&["series", "mark", db, "t", "1"]).text();
}

/// Damage in the metadata is 65 and names the file.
#[test]
fn damaged_metadata_is_65() {
    let place = Place::filled();
    fs::write(place.at("db/t/metadata.txt"), b"{").unwrap();
    headstack(&["series", "show", &place.db, "t"]).fails(65, &[&place.at("db/t/metadata.txt"), "series check"]);
    headstack(&["series", "append", &place.db, "t", "1", "1"]).ends(65);
    headstack(&["series", "check", &place.db]).ends(65);
}

/// A name with control characters cannot write to the terminal through a message or a table.
#[test]
fn hostile_names_are_printed_harmlessly() {
    let place = Place::new();
    let name = "a\u{1b}[2Jb\nc";
    headstack(&["series", "create", &place.db, name, "--block-size", "1"]).text();
    for words in [
        &["series", "ls", &place.db][..],
        &["series", "ls", "-H", &place.db],
        &["series", "show", &place.db, name],
    ] {
        let text = headstack(words).text();
        assert!(
            !text.contains('\u{1b}') && text.contains("a\\u{1b}[2Jb\\nc"),
            "{text:?}"
        );
    }
    assert_eq!(
        headstack(&["series", "ls", "--json", &place.db]).json()["series"][0]["name"],
        name
    );
    let message = headstack(&["series", "latest", &place.db, name]).fails(66, &[]);
    assert!(
        !message.contains('\u{1b}') && message.lines().count() == 1,
        "{message:?}"
    );
}
