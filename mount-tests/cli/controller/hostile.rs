//! What must not disturb a controller: a second one, damaged settings, clients that lie, crowd or do not read, and its own
//! sudden end.
//!
//! Requests that no verb makes go to the control socket itself, a line each.

use std::{fs, io::Write as _};

use super::{Store, answer, connect, end, refused};
use crate::cli::{headstack, wait_until};

#[test]
fn a_store_has_one_controller() {
    let store = Store::with_array();
    let controller = store.serve();
    refused(&["serve", &store.path()], 75, &["another controller", "pid"]);
    let other = store.file("other.sock");
    let other = other.to_str().unwrap();
    refused(
        &["serve", &store.path(), "--socket", other],
        75,
        &["another controller"],
    );
    assert_eq!(end(controller), Some(0));
    refused(&["serve", store.root.path().to_str().unwrap()], 66, &["no store"]);
    refused(&["event", "test", "--store", &store.path()], 69, &["does not run"]);
}

#[test]
fn damaged_settings_do_not_keep_arrays_from_being_served() {
    let store = Store::with_array();
    store.set("member_timeout_s", "70");
    fs::write(store.file("state/settings.json"), "{\"version\": 1, \"settings\": 7}").unwrap();
    let controller = store.serve();
    store.wait_for("Normal");
    assert_eq!(store.status()["settings"]["member_timeout_s"], 30);
    assert!(store.events().iter().any(|event| event == "StateTrouble"));
    store.set("member_timeout_s", "71");
    assert_eq!(store.status()["settings"]["member_timeout_s"], 71);
    assert!(store.file("state/settings.damaged.json").exists());
    assert_eq!(end(controller), Some(0));
    assert_eq!(store.status()["arrays"][0]["state"], "Normal");
}

#[test]
fn strange_requests_are_refused_by_name() {
    let store = Store::with_array();
    let controller = store.serve();
    for (line, kind) in [
        ("{}", "usage"),
        ("nonsense", "usage"),
        (r#"{"version":99,"store":"status"}"#, "unavailable"),
        (r#"{"version":99,"something":"new"}"#, "unavailable"),
        (
            r#"{"version":1,"store":{"set":{"key":"member_timeout_s","value":"-1"}}}"#,
            "usage",
        ),
        (
            r#"{"version":1,"store":{"disk":{"name":"../x","deed":"pull"}}}"#,
            "not-found",
        ),
        (
            r#"{"version":1,"store":{"disk":{"name":"d0.img","deed":{"inject":"burn"}}}}"#,
            "usage",
        ),
    ] {
        let answer = answer(&connect(&store), line);
        assert_eq!(answer["failed"]["kind"], kind, "{line}: {answer}");
        assert!(answer["failed"]["remedy"].is_string(), "{answer}");
    }
    let long = format!("\"{}\"", "x".repeat(100_000));
    let answer = answer(&connect(&store), &long);
    assert_eq!(answer["failed"]["kind"], "usage");
    assert_eq!(store.state(), "Normal");
    assert_eq!(end(controller), Some(0));
}

#[test]
fn a_crowd_of_clients_that_do_not_read_disturbs_nobody() {
    let store = Store::with_array();
    let controller = store.serve();
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut client = connect(&store);
        client.write_all(b"{\"version\":1,\"store\":\"status\"}\n").unwrap();
        crowd.push(client);
    }
    assert_eq!(store.state(), "Normal");
    for _ in 0..200 {
        crowd.push(connect(&store));
    }
    let turned_away = headstack(&["status", &store.path()]);
    assert!(turned_away.code == 0 || turned_away.code == 75, "{turned_away:?}");
    drop(crowd);
    wait_until("a place among the clients", || {
        headstack(&["status", "--check", &store.path()]).code == 0
    });
    assert_eq!(end(controller), Some(0));
}

#[test]
fn a_killed_controller_leaves_a_store_that_starts() {
    let store = Store::with_array();
    headstack(&["setting", "set", "rebuild_priority", "lowest", "--store", &store.path()]).text();
    for round in 0..4 {
        let controller = store.serve();
        store.on_disk("pull", round % 3);
        store.wait_for_event("Fail");
        if round % 2 == 0 {
            store.on_disk("insert", round % 3);
        }
        // Dropped: killed at whatever it does.
        drop(controller);
    }
    let controller = store.serve();
    store.wait_for("Normal");
    assert!(
        store
            .events()
            .iter()
            .filter(|event| *event == "ControllerStarted")
            .count()
            == 5
    );
    assert_eq!(end(controller), Some(0));
}
