//! `snapshot ..`: what each verb prints as text and as JSON.
//!
//! What a snapshot holds is told by the engine's tests and the mount's; here it is the verbs.

use serde_json::json;

use super::{Place, headstack};

#[test]
fn a_snapshot_is_named_for_the_time_by_default() {
    let place = Place::filled();
    let name = headstack(&["snapshot", "create", &place.db]).text();
    let time = name.trim_end();
    assert_eq!(time.len(), "2026-01-31T12:00:00Z".len(), "{time}");
    assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    let listed = headstack(&["snapshot", "ls", "--json", &place.db]).json();
    assert_eq!(listed["snapshots"][0]["name"], time);
    assert_eq!(listed["snapshots"][0]["created"], time);
}

#[test]
fn snapshots_are_made_listed_held_released_and_removed() {
    let place = Place::filled();
    let db = place.db.as_str();
    let made = headstack(&["snapshot", "create", "--json", db, "before"]).json();
    assert_eq!(
        (&made["name"], &made["series"], &made["tags"]),
        (&json!("before"), &json!(2), &json!([]))
    );
    headstack(&["snapshot", "create", db, "after"]).ends(0);
    let held = headstack(&["snapshot", "hold", "--json", db, "before", "upload"]).json();
    assert_eq!(held["tags"], json!(["upload"]));
    let tabs = headstack(&["snapshot", "ls", "-H", db]).text();
    let row: Vec<&str> = tabs
        .lines()
        .find(|line| line.starts_with("before\t"))
        .unwrap()
        .split('\t')
        .collect();
    assert_eq!((row[3], row[4]), ("2", "upload"));
    let text = headstack(&["snapshot", "ls", db]).text();
    assert!(text.starts_with("NAME ") && text.lines().count() == 3, "{text}");
    headstack(&["snapshot", "rm", db, "before", "--yes"]).fails(75, &["before", "upload"]);
    headstack(&["snapshot", "release", db, "before", "other"]).fails(66, &["other", db]);
    headstack(&["snapshot", "release", db, "before", "upload"]).text();
    let dry = headstack(&["snapshot", "rm", "--json", "--dry-run", db, "before"]).json();
    assert_eq!(dry["name"], "before");
    headstack(&["snapshot", "rm", db, "before"]).fails(78, &[db, "\"before\"", "2 series", "--yes"]);
    headstack(&["snapshot", "rm", db, "before", "--yes"]).text();
    let left = headstack(&["snapshot", "ls", "--json", db]).json();
    assert_eq!(left["snapshots"].as_array().unwrap().len(), 1);
}

/// T24: chunks that a snapshot needs survive a trim, and go with it.
#[test]
fn a_trim_keeps_what_a_snapshot_needs() {
    let place = Place::filled();
    let db = place.db.as_str();
    headstack(&["snapshot", "create", db, "kept"]).ends(0);
    headstack(&["series", "trim", db, "t", "--before", "1000", "--yes"]).text();
    assert_eq!(headstack(&["series", "show", "--json", db, "t"]).json()["entries"], 2);
    headstack(&["series", "check", db]).text();
    headstack(&["snapshot", "rm", db, "kept", "--yes"]).text();
    headstack(&["series", "check", db]).text();
}

#[test]
fn hostile_snapshot_names_are_refused() {
    let place = Place::filled();
    for name in ["a/b", "..", ".", ""] {
        let ran = headstack(&["snapshot", "create", &place.db, name]);
        assert_eq!(ran.code, 64, "{ran:?}");
    }
}
