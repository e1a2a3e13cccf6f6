//! `doctor`: what it tells of the machine and of a database.
//!
//! Compared with the kernel's own files where they hold a number, with the kind of value elsewhere.

use std::fs;

use headstack::controller::disk::drive::Drive;

use super::{Place, headstack, peer};

/// D64: the memory of the machine, and the rest that a report needs.
#[test]
fn the_machine_is_told() {
    let ran = headstack(&["doctor", "--json"]);
    assert!([0, 69].contains(&ran.code), "{ran:?}");
    let usable = ran.code == 0;
    let told = ran.document();
    assert_eq!(told["fuse_usable"], usable);
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(told["memory_total_bytes"], total * 1024);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(told["kernel"], release.trim());
    for key in [
        "open_files_limit",
        "mappings_limit",
        "open_chunks_limit",
        "open_writers_limit",
    ] {
        assert!(told[key].as_u64().is_some_and(|limit| limit > 0), "{key}: {told}");
    }
    assert!(told["warnings"].is_array());
    let text = String::from_utf8(headstack(&["doctor"]).out).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("memory_total_bytes ")),
        "{text}"
    );
}

#[test]
fn a_database_is_looked_at() {
    let place = Place::filled();
    let told = headstack(&["doctor", "--json", &place.db]).document();
    assert_eq!(
        (told["series"].as_u64(), told["snapshots"].as_u64()),
        (Some(2), Some(0))
    );
    assert!(
        told["file_system"].is_string() && told["free_bytes"].as_u64() > Some(0),
        "{told}"
    );
    headstack(&["doctor", &place.at("absent")]).fails(66, &["absent"]);
}

/// A database in memory only draws a warning that names it.
#[test]
fn a_database_in_memory_draws_a_warning() {
    let Ok(root) = tempfile::tempdir_in("/dev/shm") else {
        return crate::peer::skip("/dev/shm");
    };
    let db = root.path().join("db").to_str().unwrap().to_owned();
    headstack(&["series", "create", &db, "x", "--block-size", "1"]).text();
    let told = headstack(&["doctor", "--json", &db]).document();
    assert_eq!(told["file_system"], "tmpfs");
    let warnings = told["warnings"].as_array().unwrap();
    assert!(
        warnings.iter().any(|warning| warning.as_str().unwrap().contains(&db)),
        "{told}"
    );
}

/// R46: a drive that smartctl does not know is told with smartctl's own words.
#[test]
fn what_smartctl_refuses_is_told() {
    if peer("smartctl").is_none() {
        return;
    }
    let drive = Drive::ask("null").unwrap();
    assert_eq!((drive.name.as_str(), drive.passed), ("null", None));
    let trouble = drive.trouble.unwrap();
    assert!(trouble.contains("/dev/null"), "{trouble}");
}
