//! What must not disturb a controller: a second one, damaged settings, clients that lie, crowd or do not read, and its own
//! sudden end.
//!
//! Requests that no verb makes go to the control socket itself, a line each.

use std::{fs, io::Write as _, process::Command};

use super::{
    Store, answer, connect, end, refused,
    story::{fill, holds},
};
use crate::{
    cli::{
        headstack,
        restores::{Small, root},
        wait_until,
    },
    peer::run,
};

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

/// A thousand clients that ask and do not read: those over the limit are turned away, arrays are served all the while.
#[test]
fn a_crowd_of_clients_that_do_not_read_disturbs_nobody() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut client = connect(&store);
        client.write_all(b"{\"version\":1,\"store\":\"status\"}\n").unwrap();
        crowd.push(client);
    }
    assert_eq!(store.state(), "Normal");
    for _ in 0..800 {
        crowd.push(connect(&store));
    }
    let turned_away = headstack(&["status", &store.path()]);
    assert!(turned_away.code == 0 || turned_away.code == 75, "{turned_away:?}");
    holds(&store, "r5", &data);
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

/// The file of a member is replaced by another while the array is served: the array does without it, and with the member's
/// own file back it is whole again.
#[test]
fn members_that_are_replaced_by_other_files_are_missed() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    let (aside, other) = (store.file("aside"), store.file("other"));
    fs::hard_link(store.disk(1), &aside).unwrap();
    fs::copy(store.disk(3), &other).unwrap();
    fs::rename(&other, store.disk(1)).unwrap();
    store.wait_for("Critical – missing disk");
    let told = store.told("DiskRemoved");
    assert!(told.contains("d1.img was replaced by another file"), "{told}");
    // The array is without it before the controller has looked at what the other file holds.
    wait_until("the other file is looked at", || {
        store.disk_state(1) == "Not Initialized"
    });
    holds(&store, "r5", &data);
    fs::rename(&aside, store.disk(1)).unwrap();
    store.wait_for("Normal");
    holds(&store, "r5", &data);
    // Another name is no harm either.
    fs::rename(store.disk(2), store.disk(7)).unwrap();
    wait_until("the renamed image is in use", || {
        store.state() == "Normal" && store.member_paths().contains(&store.disk(7))
    });
    holds(&store, "r5", &data);
    assert_eq!(end(controller), Some(0));
}

/// An array that cannot do without a member whose file was deleted keeps serving it, and says so until it is stopped.
#[test]
fn an_array_whose_needed_image_is_deleted_goes_on_and_says_so() {
    let store = Store::new(2);
    store.create("r0", "0", &[0, 1]);
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r0");
    fs::remove_file(store.disk(0)).unwrap();
    wait_until("the alarm", || {
        !store.status()["nameless"].as_array().unwrap().is_empty()
    });
    holds(&store, "r0", &data);
    let told = headstack(&["status", &store.path()]).text();
    assert!(told.contains("goes on with the file that was d0.img"), "{told}");
    headstack(&["status", "--check", &store.path()]).ends(1);
    assert!(store.told("Fail").contains("copy its data now"));
    assert_eq!(end(controller), Some(0));
}

/// Nothing can be remembered for want of space: changes are refused, but arrays are served, and a spare takes its place.
#[test]
fn a_full_state_directory_keeps_no_array_from_being_served() {
    if !root() {
        return;
    }
    let store = Store::with_array();
    let state = Small::mounted(store.file("state").to_str().unwrap().to_owned(), "size=256k");
    let controller = store.serve();
    store.wait_for("Normal");
    headstack(&["spare", "add", &store.disk(3)]).text();
    let data = fill(&store, "r5");
    let fill = store.file("state/fill");
    // As much as goes in.
    let _ = fs::write(&fill, vec![1; 1 << 20]);
    refused(
        &["setting", "set", "rebuild_priority", "high", "--store", &store.path()],
        74,
        &["settings.json", "No space left"],
    );
    store.on_disk("pull", 1);
    store.wait_for_event("MoveSpare");
    store.wait_for("Normal");
    assert_eq!(store.disk_state(3), "Normal");
    holds(&store, "r5", &data);
    fs::remove_file(fill).unwrap();
    store.set("rebuild_priority", "high");
    assert_eq!(store.status()["settings"]["rebuild_priority"], "high");
    assert_eq!(
        store.status()["spares"].as_array().unwrap().len(),
        0,
        "{}",
        store.status()
    );
    assert_eq!(end(controller), Some(0));
    drop(state);
}

/// A store that is copied while its controller runs is a store of its own: its arrays start there, or say why not, and
/// neither controller disturbs the other.
#[test]
fn a_copy_of_a_store_in_use_is_a_store_of_its_own() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    let other = Store {
        root: tempfile::tempdir().unwrap(),
    };
    run(Command::new("cp").args(["-a", &store.path(), &other.path()]), b"");
    let copy = other.serve();
    wait_until("the copy is well", || other.state() == "Normal");
    assert_eq!(other.status()["store"], other.path().as_str());
    holds(&other, "r5", &data);
    other.on_disk("pull", 0);
    other.wait_for("Critical – missing disk");
    assert_eq!(store.state(), "Normal");
    assert_eq!(end(copy), Some(0));
    holds(&store, "r5", &data);
    assert_eq!(end(controller), Some(0));
}
