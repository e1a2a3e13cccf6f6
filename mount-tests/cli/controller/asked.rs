//! What a page asks of a controller, which the verbs ask too: arrays made and unmade while it runs, advice with real names,
//! the fields of disks, how their health went, and what else the store holds.
//!
//! Requests go to the socket where a verb would ask in the same words.

use serde_json::{Value, json};

use super::{Store, end, refused};
use crate::cli::headstack;

/// The steps that the controller advises for an array, without the path of the store.
fn steps(store: &Store, array: &str) -> Vec<String> {
    let explained = headstack(&[
        "array",
        "explain",
        array,
        "--in",
        &format!("{}/disks", store.path()),
        "--json",
    ])
    .json();
    let steps = explained["steps"].as_array().unwrap().iter();
    steps
        .map(|step| step.as_str().unwrap().replace(&store.path(), "STORE"))
        .collect()
}

fn array<'a>(status: &'a Value, name: &str) -> &'a Value {
    let arrays = status["arrays"].as_array().unwrap();
    arrays.iter().find(|array| array["name"] == name).unwrap()
}

/// R07, R12, R18, R19, R22, R23: arrays are made of the disks of a store whose controller runs, and served at once.
#[test]
fn arrays_are_made_while_the_controller_runs() {
    let store = Store::new(5);
    let controller = store.serve();
    let disks: Vec<String> = (0..5).map(|number| store.disk(number)).collect();
    let mut wish =
        json!({"level": "5", "images": disks[..3], "chunk_bytes": 65536, "init": "foreground", "dry_run": true});
    let planned = store.ask(json!({"create-array": wish}));
    assert_eq!((&planned["name"], &planned["lost"]), (&json!("RAID_5_0"), &json!([])));
    assert_eq!(store.status()["arrays"], json!([]));
    wish["dry_run"] = json!(false);
    wish["cache"] = json!("write-through");
    let made = store.ask(json!({"create-array": wish}));
    let status = store.status();
    let first = array(&status, "RAID_5_0");
    assert_eq!(first["uuid"], made["uuid"]);
    assert_eq!(
        (&first["cache"], &first["chunk_bytes"]),
        (&json!("write-through"), &json!(65536))
    );
    // Parts of two disks, twice: the second array goes into the space that the first has left.
    for name in ["one", "two"] {
        headstack(&[
            "array",
            "create",
            name,
            "--level",
            "1",
            "--capacity",
            "4M",
            &disks[3],
            &disks[4],
        ])
        .text();
    }
    let status = store.status();
    assert_eq!(array(&status, "two")["size_bytes"], 4 << 20);
    let shared = &status["disks"][3];
    assert_eq!(
        (&shared["arrays"], &shared["state"]),
        (&json!(["one", "two"]), &json!("Normal"))
    );
    assert!(shared["free_bytes"].as_u64().unwrap() < 8 << 20);
    refused(
        &["array", "create", "one", "--level", "1", &disks[3], &disks[4]],
        73,
        &["one", "already"],
    );
    refused(
        &["array", "create", "x", "--level", "1", &disks[0], &disks[1]],
        78,
        &["d0.img", "member"],
    );
    let refusal = store.try_ask(json!({"create-array": {"level": "6", "images": disks[..3]}}));
    assert_eq!(refusal["failed"]["kind"], "usage");
    let refusal = store.try_ask(json!({"create-array": {"level": "1", "images": disks[..3], "tier": 1}}));
    assert_eq!(refusal["failed"]["kind"], "usage");
    assert_eq!(end(controller), Some(0));
    // The policy of the cache outlives the controller.
    let controller = store.serve();
    assert_eq!(array(&store.status(), "RAID_5_0")["cache"], "write-through");
    assert_eq!(array(&store.status(), "one")["cache"], "write-back");
    assert_eq!(end(controller), Some(0));
}

/// R27, R28, R30: what may be asked in each state, and that anything else is refused.
#[test]
fn arrays_are_renamed_and_deleted_as_their_state_allows() {
    let store = Store::with_array();
    let (controller, place) = (store.serve(), format!("{}/disks", store.path()));
    let actions = || array(&store.status(), "r5")["actions"].clone();
    assert_eq!(actions(), json!(["delete", "verify", "rename", "reshape"]));
    headstack(&["array", "rename", "r5", "media", "--in", &place]).text();
    assert_eq!(store.status()["arrays"][0]["name"], "media");
    headstack(&["array", "rename", "media", "r5", "--in", &place]).text();
    store.on_disk("pull", 1);
    store.wait_for("Critical – missing disk");
    assert_eq!(actions(), json!(["delete", "add-disk", "rebuild"]));
    refused(
        &["array", "rename", "r5", "media", "--in", &place],
        78,
        &["r5", "member was removed"],
    );
    refused(&["array", "verify", "r5", "--in", &place], 78, &["r5"]);
    refused(&["array", "pause", "r5", "--in", &place], 78, &["r5"]);
    store.on_disk("pull", 0);
    store.wait_for("Disabled");
    assert_eq!(actions(), json!(["delete"]));
    refused(&["array", "add", "r5", &store.disk(3), "--in", &place], 78, &["r5"]);
    refused(&["array", "delete", "r5", "--in", &place], 78, &["d2.img"]);
    let kept = store.try_ask(json!({"delete-array": {"name": "r5", "yes": false}}));
    assert_eq!(kept["failed"]["kind"], "refused");
    headstack(&["array", "delete", "r5", "--in", &place, "--yes"]).ends(0);
    assert_eq!(store.status()["arrays"], json!([]));
    assert_eq!(store.disk_state(2), "Not Initialized");
    assert_eq!(end(controller), Some(0));
}

/// R29, R30, R51: the steps of recovery name the real disks, sockets and verbs.
#[test]
fn advice_has_the_real_names() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    assert_eq!(steps(&store, "r5"), ["Nothing is to be done."]);
    store.on_disk("pull", 1);
    store.wait_for("Critical – missing disk");
    let place = "--in STORE/disks";
    assert_eq!(
        steps(&store, "r5"),
        [
            "Back up the array now, while it can be read: nbdcopy 'nbd+unix:///r5?socket=STORE/state/nbd.sock' BACKUP"
                .to_owned(),
            "Find the disk: member 1 (STORE/disks/d1.img) is missing; its light: headstack disk identify \
             STORE/disks/d1.img; what happened to it: headstack event ls --store STORE"
                .to_owned(),
            format!(
                "Put it back, which fills it where it missed something: headstack disk insert STORE/disks/d1.img. Or add \
                 another: headstack array add r5 STORE/disks/d3.img {place}"
            ),
            format!("The rebuild begins by itself; wait for it: headstack array rebuild r5 {place}"),
            "See that all is well: headstack status STORE".to_owned(),
        ]
    );
    store.on_disk("pull", 0);
    store.wait_for("Disabled");
    let steps = steps(&store, "r5");
    assert!(steps[0].contains("Nothing is written"), "{steps:?}");
    assert!(
        steps
            .iter()
            .any(|step| step.contains("member 0 (STORE/disks/d0.img) and member 1 (STORE/disks/d1.img)"))
    );
    assert_eq!(store.status()["advice"][0]["actions"], json!(["delete"]));
    assert_eq!(end(controller), Some(0));
}

/// R31, R46, R47: the fields of a disk, its health by attribute, and how that went.
#[test]
fn disks_tell_their_fields_and_their_health() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let status = store.status();
    let disk = &status["disks"][3];
    for field in ["model", "revision", "pcie_width", "pcie_speed"] {
        assert!(disk.get(field).is_some(), "{field}: {disk}");
    }
    assert_eq!(disk["location"], json!({"controller": 1, "port": 4}));
    assert_eq!(
        (&disk["size_bytes"], &disk["free_bytes"]),
        (&json!(16 << 20), &json!(16 << 20))
    );
    assert_eq!(disk["state"], "Not Initialized");
    let shown = headstack(&["disk", "show", &store.disk(3), "--json"]).json();
    for (field, value) in [
        ("location", json!("controller 1 port 4")),
        ("model", disk["model"].clone()),
        ("size_bytes", disk["size_bytes"].clone()),
        ("free_bytes", disk["free_bytes"].clone()),
        ("revision", disk["revision"].clone()),
        ("state", disk["state"].clone()),
        ("pcie_width", disk["pcie_width"].clone()),
        ("pcie_speed", disk["pcie_speed"].clone()),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(end(controller), Some(0));
    // Each end of the controller stores a page.
    for _ in 0..3 {
        assert_eq!(end(store.serve()), Some(0));
    }
    let controller = store.serve();
    let history = |points: usize| {
        let span = json!({"points": points});
        store.ask(json!({"history": {"disk": "d0.img", "attribute": "power_cycles", "span": span}}))
    };
    let values = |history: &Value| {
        let points = history["points"].as_array().unwrap().iter();
        points.map(|point| point[1].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(&history(100)), [1, 2, 3, 4]);
    assert_eq!(values(&history(2)), [1, 4]);
    assert_eq!(history(1)["now"], 5);
    let unknown = json!({"history": {"disk": "d0.img", "attribute": "mood", "span": {}}});
    assert_eq!(store.try_ask(unknown)["failed"]["kind"], "not-found");
    assert_eq!(end(controller), Some(0));
}

/// R06: what else the store holds is listed with what is on it.
#[test]
fn series_snapshots_and_tapes_are_listed() {
    let store = Store::new(0);
    let series = store.file("series");
    let database = series.to_str().unwrap();
    headstack(&["series", "create", database, "load", "--block-size", "8"]).text();
    headstack(&["series", "meta", database, "load", r#"{"format": "u64"}"#]).text();
    for number in 1..=9 {
        headstack(&[
            "series",
            "append",
            database,
            "load",
            &format!("{}", number * 10),
            &format!("{number}"),
        ])
        .text();
    }
    headstack(&["snapshot", "create", database, "before"]).text();
    let (tape, tree) = (store.file("tapes/full.tap"), store.file("tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), "a").unwrap();
    let (tape, tree, state) = (tape.to_str().unwrap(), tree.to_str().unwrap(), store.file("state"));
    let state = state.to_str().unwrap();
    for level in ["0", "1"] {
        headstack(&["dump", "--level", level, "-u", "-f", tape, "--state", state, tree]).ends(0);
    }
    let controller = store.serve();
    let listed = store.ask(json!("series"));
    let load = listed["series"]
        .as_array()
        .unwrap()
        .iter()
        .find(|series| series["name"] == "load")
        .unwrap();
    assert_eq!(
        (&load["entries"], &load["last_value"], &load["format"]),
        (&json!(9), &json!(9), &json!("u64"))
    );
    assert_eq!(
        (&load["first_timestamp"], &load["entries_per_unit"]),
        (&json!(10), &json!(0.1))
    );
    let points = |span: Value| store.ask(json!({"points": {"series": "load", "span": span}}))["points"].clone();
    assert_eq!(points(json!({"points": 3})), json!([[10, 1], [50, 5], [90, 9]]));
    assert_eq!(
        points(json!({"from": 25, "to": 50})),
        json!([[30, 3], [40, 4], [50, 5]])
    );
    assert_eq!(points(json!({"points": 0})), json!([]));
    assert_eq!(store.ask(json!("snapshots"))["snapshots"][0]["name"], "before");
    let tapes = store.ask(json!("tapes"));
    let dumps = tapes["tapes"][0]["dumps"].as_array().unwrap();
    assert_eq!(tapes["tapes"][0]["name"], "full.tap");
    let levels: Vec<(u64, i64)> = dumps
        .iter()
        .map(|dump| (dump["file"].as_u64().unwrap(), dump["level"].as_i64().unwrap()))
        .collect();
    assert_eq!(levels, [(1, 0), (2, 1)]);
    assert_eq!(dumps[0]["path"], tree);
    assert_eq!(end(controller), Some(0));
}
