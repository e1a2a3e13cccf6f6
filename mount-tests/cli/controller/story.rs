//! What happens to the arrays of a store in its operator's life: disks fail, come back, are replaced, and the wrong one is
//! pulled.
//!
//! What an array holds is compared through a real client, where there is one.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use super::{Store, end, refused};
use crate::{
    cli::{
        HEADSTACK, headstack,
        mounting::{can_mount, is_mounted},
        peer, wait_until,
    },
    peer::run,
};

/// Copies a file into an array and gives what is compared with later; none where there is no peer for it.
pub(super) fn fill(store: &Store, array: &str) -> Option<Vec<u8>> {
    peer("nbdcopy")?;
    let data: Vec<u8> = (0..8_u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let file = store.file("data");
    fs::write(&file, &data).unwrap();
    run(
        Command::new("nbdcopy").arg("--flush").arg(file).arg(store.uri(array)),
        b"",
    );
    Some(data)
}

#[track_caller]
pub(super) fn holds(store: &Store, array: &str, data: &Option<Vec<u8>>) {
    let Some(data) = data else { return };
    let file = store.file("copy");
    run(Command::new("nbdcopy").arg(store.uri(array)).arg(&file), b"");
    let copy = fs::read(file).unwrap();
    assert!(copy[..data.len()] == data[..], "the array holds something else");
}

/// R03, R24, R25, R28, R53: a spare takes the place of a failed disk by itself, and the data are whole all the while.
#[test]
fn a_spare_replaces_a_failed_disk_by_itself() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    headstack(&["spare", "add", &store.disk(3)]).text();
    refused(&["spare", "add", &store.disk(3)], 73, &["d3.img"]);
    refused(&["spare", "add", &store.disk(0)], 78, &["d0.img", "member"]);
    let spares = headstack(&["spare", "ls", "--json", "--store", &store.path()]).json();
    assert_eq!(spares["spares"][0]["name"], "d3.img");
    assert_eq!(store.disk_state(3), "Spare");
    store.on_disk("pull", 1);
    store.wait_for_event("ArrayNormal");
    store.wait_for("Normal");
    holds(&store, "r5", &data);
    assert_eq!(store.disk_state(3), "Normal");
    let events = store.events();
    let place = |name: &str| events.iter().position(|event| event == name).unwrap();
    assert!(place("Fail") < place("MoveSpare") && place("MoveSpare") < place("ArrayNormal"));
    let spares = headstack(&["spare", "ls", "--json", "--store", &store.path()]).json();
    assert_eq!(spares["spares"].as_array().unwrap().len(), 0);
    assert_eq!(end(controller), Some(0));
    let shown = headstack(&["array", "show", "r5", "--in", &store.path(), "--json"]).json();
    assert_eq!(shown["state"], "Normal");
}

/// R29, R34, R52: the disk that was pulled is recognised and filled where it missed something, unless that is switched off.
#[test]
fn a_disk_that_comes_back_is_recognised() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    store.set("auto_rebuild", "false");
    store.on_disk("pull", 2);
    store.wait_for("Critical – missing disk");
    assert_eq!(store.disk_state(2), "Critical – missing disk");
    store.on_disk("insert", 2);
    assert_eq!(store.disk_state(2), "Critical – rebuild required");
    headstack(&["disk", "rescan", "--store", &store.path()]).text();
    assert_eq!(store.state(), "Critical – missing disk");
    store.set("auto_rebuild", "true");
    headstack(&["disk", "rescan", "--store", &store.path()]).text();
    store.wait_for("Normal");
    assert_eq!(store.disk_state(2), "Normal");
    holds(&store, "r5", &data);
    assert_eq!(end(controller), Some(0));
}

/// R30, R54, R55: the wrong disk is pulled: nothing more is written, and with all disks back nothing is lost.
#[test]
fn the_wrong_disk_is_pulled_and_put_back() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    store.on_disk("pull", 0);
    store.wait_for("Critical – missing disk");
    let before: Vec<_> = [1, 2].map(|number| fs::read(store.disk(number)).unwrap()).into();
    store.on_disk("pull", 1);
    store.wait_for("Disabled");
    let told = headstack(&["status", &store.path()]).text();
    assert!(told.starts_with("r5: Disabled."), "{told}");
    headstack(&["status", "--check", &store.path()]).ends(2);
    let after: Vec<_> = [1, 2].map(|number| fs::read(store.disk(number)).unwrap()).into();
    assert!(before == after, "a disabled array was written");
    store.on_disk("insert", 1);
    store.wait_for("Critical – missing disk");
    headstack(&["status", "--check", &store.path()]).ends(1);
    holds(&store, "r5", &data);
    store.on_disk("insert", 0);
    store.wait_for("Normal");
    headstack(&["status", "--check", &store.path()]).ends(0);
    holds(&store, "r5", &data);
    assert_eq!(end(controller), Some(0));
}

/// R50, R35: a bad sector is repaired from redundancy, and the disk's counters and the log tell of it.
#[test]
fn bad_sectors_are_mended_counted_and_told() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    store.inject(1, "bad-sector@4M+64K");
    let verify = headstack(&["array", "verify", "r5", "--in", &store.path(), "--json"]);
    let verify = verify.ends(65).document();
    assert!(verify["unreadable_bytes"].as_u64().unwrap() > 0, "{verify}");
    store.wait_for_event("BadSector");
    holds(&store, "r5", &data);
    let status = store.status();
    assert_eq!(
        status["disks"][1]["faults"].as_array().unwrap().len(),
        0,
        "it was written again"
    );
    assert!(status["disks"][1]["smart"]["media_errors"].as_u64().unwrap() > 0);
    assert_eq!(end(controller), Some(0));
    // R46, R47: the counters go on where they were.
    let again = store.serve();
    let later = store.status();
    for field in ["media_errors", "data_units_written", "host_write_commands"] {
        let count = |status: &serde_json::Value| status["disks"][1]["smart"][field].as_u64().unwrap();
        assert!(count(&later) >= count(&status), "{field}");
    }
    assert_eq!(later["disks"][1]["smart"]["power_cycles"], 2);
    assert_eq!(end(again), Some(0));
}

/// R56: images that are copied to another store are the same array there.
#[test]
fn arrays_roam_between_stores() {
    let one = Store::with_array();
    let controller = one.serve();
    one.wait_for("Normal");
    let data = fill(&one, "r5");
    assert_eq!(end(controller), Some(0));
    let other = Store::new(0);
    for number in 0..3 {
        fs::copy(one.disk(number), other.disk(number + 5)).unwrap();
    }
    let controller = other.serve();
    assert_eq!(other.state(), "Normal");
    holds(&other, "r5", &data);
    assert_eq!(end(controller), Some(0));
}

/// R32: a disk that comes while the controller runs is found by itself; an array that is made then is served after a rescan.
#[test]
fn new_disks_and_arrays_are_found() {
    let store = Store::new(2);
    let controller = store.serve();
    headstack(&["disk", "create", &store.disk(2), "--size", "16M"]).text();
    wait_until("the new disk", || {
        store.status()["disks"].as_array().unwrap().len() == 3
    });
    store.create("r1", "1", &[0, 1]);
    headstack(&["disk", "rescan", "--store", &store.path()]).text();
    store.wait_for("Normal");
    assert_eq!(store.status()["arrays"][0]["name"], "r1");
    headstack(&["array", "stop", "r1", "--in", &store.path()]).text();
    assert_eq!(store.status()["arrays"].as_array().unwrap().len(), 0);
    headstack(&["disk", "rescan", "--store", &store.path()]).text();
    assert_eq!(store.status()["arrays"][0]["name"], "r1");
    assert_eq!(end(controller), Some(0));
}

/// Events and counters are series of the store's own database, as everything else in it.
#[test]
fn telemetry_is_a_series_of_the_store() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    assert_eq!(end(controller), Some(0));
    let text = headstack(&["series", "cat", &store.path(), "headstack.events", "--varlen"]).text();
    assert!(text.contains(r#""event":"NewArray","array":"r5""#), "{text}");
    assert!(text.lines().last().unwrap().contains("ControllerStopped"), "{text}");
    let page = headstack(&["series", "latest", &store.path(), "headstack.disk.d0.img"]).text();
    let hex = page.split_whitespace().nth(1).unwrap();
    assert_eq!(hex.len(), 2 * 512);
    assert_eq!(&hex[6..10], "640a", "spare 100 %, threshold 10 %");
}

/// R45, R44: the log is listed by level, cleared, and told to the hook as mdadm's monitor does.
#[test]
fn events_are_listed_cleared_and_told_to_the_hook() {
    let store = Store::with_array();
    let hook = store.file("hook.sh");
    let told = store.file("told");
    let script = format!("#!/bin/sh\necho \"$1 $2 $3\" >> {}\n", told.display());
    fs::write(&hook, script).unwrap();
    run(Command::new("chmod").arg("+x").arg(&hook), b"");
    store.set("hook", hook.to_str().unwrap());
    let controller = store.serve();
    store.wait_for("Normal");
    store.on_disk("pull", 1);
    store.wait_for_event("Fail");
    headstack(&["event", "test", "--store", &store.path()]).text();
    let expected = format!("Fail r5 {}", store.disk(1));
    wait_until("the hook", || {
        let told = fs::read_to_string(&told).unwrap_or_default();
        told.lines().any(|line| line == expected) && told.lines().any(|line| line.starts_with("TestMessage"))
    });
    let errors = headstack(&["event", "ls", "--level", "error", "--json", "--store", &store.path()]).json();
    let levels = errors["events"].as_array().unwrap().iter().map(|event| &event["level"]);
    assert!(levels.clone().count() > 0 && levels.clone().all(|level| level == "Error"));
    headstack(&["event", "clear", "--store", &store.path()]).fails(78, &["events"]);
    headstack(&["event", "clear", "--yes", "--store", &store.path()]).text();
    assert_eq!(store.events()[0], "LogCleared");
    assert_eq!(end(controller), Some(0));
}

/// R28: a disk that an operator adds in a failed one's place is a disk of the store as any other: it can be pulled, too.
#[test]
fn a_disk_that_was_added_can_fail_too() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    store.on_disk("pull", 1);
    store.wait_for("Critical – missing disk");
    headstack(&["array", "add", "r5", &store.disk(3), "--in", &store.path()]).text();
    store.wait_for("Normal");
    let written = |status: &serde_json::Value| status["disks"][3]["written_bytes"].as_u64().unwrap();
    assert!(written(&store.status()) > 0, "what it was filled with is counted");
    store.on_disk("pull", 3);
    store.wait_for("Critical – missing disk");
    assert_eq!(store.disk_state(3), "Critical – missing disk");
    assert_eq!(end(controller), Some(0));
}

/// R50: a disk that hangs holds nobody up for longer than its deadline; then it counts as failed, and can come back.
#[test]
fn a_disk_that_hangs_is_done_without() {
    let store = Store::with_array();
    store.set("member_timeout_s", "1");
    let controller = store.serve();
    store.wait_for("Normal");
    let data = fill(&store, "r5");
    store.inject(1, "hang");
    holds(&store, "r5", &data);
    if data.is_some() {
        store.wait_for_event("Fail");
        assert_eq!(store.state(), "Critical – missing disk");
    }
    store.on_disk("heal", 1);
    headstack(&["disk", "rescan", "--store", &store.path()]).text();
    store.wait_for("Normal");
    holds(&store, "r5", &data);
    assert_eq!(end(controller), Some(0));
}

/// A scenario does the same to the same requests.
#[test]
fn a_scenario_brings_its_faults_by_itself() {
    let store = Store::with_array();
    let controller = store.serve();
    store.wait_for("Normal");
    let scenario = store.file("bad-day.txt");
    fs::write(
        &scenario,
        "seed 7\nafter 10 d1.img pull # a bad day\nafter 20 d1.img insert\n",
    )
    .unwrap();
    let path = scenario.to_str().unwrap();
    headstack(&["disk", "inject", "--scenario", path, "--store", &store.path()]).text();
    let data = fill(&store, "r5");
    // It makes requests; whether it is still allowed to depends on how far the scenario is.
    headstack(&["array", "verify", "r5", "--in", &store.path()]);
    store.wait_for_event("Fail");
    store.wait_for_event("SpareActive");
    store.wait_for("Normal");
    holds(&store, "r5", &data);
    fs::write(&scenario, "after 1 nobody.img pull\n").unwrap();
    refused(
        &["disk", "inject", "--scenario", path, "--store", &store.path()],
        66,
        &["nobody.img"],
    );
    fs::write(&scenario, "\nafter soon d1.img pull\n").unwrap();
    refused(
        &["disk", "inject", "--scenario", path, "--store", &store.path()],
        64,
        &["line 2"],
    );
    assert_eq!(end(controller), Some(0));
}

/// The series of a store are mounted by its controller, which goes on writing its own: a reader sees each event at once, and
/// the metrics are in `.stats`.
#[test]
fn the_controller_mounts_its_series() {
    if !can_mount() {
        return;
    }
    let store = Store::with_array();
    let place = store.file("mnt");
    fs::create_dir(&place).unwrap();
    let database = store.file("series");
    headstack(&[
        "series",
        "create",
        database.to_str().unwrap(),
        "load",
        "--block-size",
        "8",
    ])
    .text();
    let controller = store.serve_with(&["--mount", place.to_str().unwrap()]);
    let events = || fs::read_to_string(place.join("varlen/headstack.events/text")).unwrap();
    assert!(events().contains(r#""event":"ControllerStarted""#), "{}", events());
    for number in 1..=3 {
        headstack(&["event", "test", "--store", &store.path()]).text();
        assert_eq!(events().matches("TestMessage").count(), number);
        fs::OpenOptions::new()
            .append(true)
            .open(place.join("load/text"))
            .unwrap()
            .write_all(format!("{number} 0{number}\n").as_bytes())
            .unwrap();
    }
    assert_eq!(fs::read_to_string(place.join("load/text")).unwrap().lines().count(), 3);
    assert_eq!(store.status()["telemetry_trouble"], serde_json::Value::Null);
    let listed = store.ask(serde_json::json!("series"));
    let load = listed["series"]
        .as_array()
        .unwrap()
        .iter()
        .find(|series| series["name"] == "load")
        .unwrap();
    assert_eq!(load["entries"], 3);
    let metrics = fs::read_to_string(place.join(".stats")).unwrap();
    assert!(
        metrics.contains("headstack_array_state{array=\"r5\",state=\"Normal\"} 1\n"),
        "{metrics}"
    );
    assert_eq!(end(controller), Some(0));
    assert!(!is_mounted(place.to_str().unwrap()));
    let text = headstack(&["series", "cat", &store.path(), "headstack.events", "--varlen"]).text();
    assert!(text.lines().last().unwrap().contains("ControllerStopped"), "{text}");
    refused(
        &["serve", &store.path(), "--port", "0", "--mount", "/nowhere/at/all"],
        66,
        &["/nowhere/at/all"],
    );
    // What only the settings name keeps nobody from being served.
    store.set("mount", "/nowhere/at/all");
    assert_eq!(end(store.serve()), Some(0));
}

/// R23, R28: a disk that several arrays have partitions of is missed by all of them, used or not.
#[test]
fn a_disk_with_partitions_is_missed_by_all_of_its_arrays() {
    let store = Store::new(3);
    let disks: Vec<String> = (0..3).map(|disk| store.disk(disk)).collect();
    for name in ["one", "two"] {
        let mut words = vec![
            "array",
            "create",
            name,
            "--level",
            "5",
            "--init",
            "foreground",
            "--capacity",
            "8M",
        ];
        words.extend(["--chunk", "64K"].into_iter().chain(disks.iter().map(String::as_str)));
        headstack(&words).text();
    }
    let controller = store.serve();
    store.wait_for("Normal");
    let states = || -> Vec<String> {
        let status = store.status();
        let arrays = status["arrays"].as_array().unwrap().iter();
        arrays
            .map(|array| array["state"].as_str().unwrap().to_owned())
            .collect()
    };
    store.on_disk("pull", 1);
    wait_until("both miss it", || states() == ["Critical – missing disk"; 2]);
    store.on_disk("insert", 1);
    wait_until("both have it back", || states() == ["Normal"; 2]);
    assert_eq!(end(controller), Some(0));
}

/// Sockets that a service manager hands over are served, with all arrays from the first client on.
#[test]
fn sockets_that_are_handed_over_are_served() {
    if peer("nbdinfo").is_none() {
        return;
    }
    let store = Store::with_array();
    for _ in 0..3 {
        // What it prints is not for nbdinfo's reader.
        let serve = format!("exec {HEADSTACK} serve {} --port 0 >/dev/null", store.path());
        let mut command = Command::new("nbdinfo");
        command.args(["--json", "--list", "--", "[", "sh", "-c", &serve, "]"]);
        let told: serde_json::Value = serde_json::from_slice(&run(&mut command, b"").stdout).unwrap();
        assert_eq!(told["exports"][0]["export-name"], "r5", "{told}");
        assert_eq!(told["exports"][0]["export-size"], 30 << 20, "{told}");
    }
}

/// R62, R63: doctor doubts images that share what fails, and makes an archive for whoever helps, without passwords.
#[test]
fn doctor_doubts_and_bundles() {
    let store = Store::with_array();
    let file = store.root.path().join("report.tar");
    let path = file.to_str().unwrap();
    let doctor = |words: &[&str]| headstack(&[&["doctor", "--json", &store.path()], words].concat());
    let warnings = doctor(&[]).document()["warnings"].to_string();
    assert!(
        warnings.contains("array r5: all its images are on one drive or file system"),
        "{warnings}"
    );
    let names = || String::from_utf8(run(Command::new("tar").args(["-tf", path]), b"").stdout).unwrap();
    doctor(&["--bundle", path]).document();
    assert_eq!(names(), "doctor.json\nevents.jsonl\n");
    doctor(&["--bundle", path]).fails(73, &["report.tar"]);
    fs::remove_file(&file).unwrap();
    let controller = store.serve();
    doctor(&["--bundle", path]).document();
    assert_eq!(names(), "doctor.json\nstatus.json\nevents.jsonl\n");
    let status = run(Command::new("tar").args(["-xOf", path, "status.json"]), b"").stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["arrays"][0]["name"], "r5");
    assert_eq!(end(controller), Some(0));
}

/// R59: work that an operator stopped waits after the controller was killed too, until it is asked for.
#[test]
fn a_pause_outlives_a_killed_controller() {
    let store = Store::new(4);
    store.create("a", "5", &[0, 1, 2]);
    let on_array = |verb: &str| headstack(&["array", verb, "a", "--in", &store.path()]).ends(0);
    let mut controller = store.serve();
    (0..4).for_each(|disk| store.inject(disk, "slow:40"));
    let mut grow = Command::new(HEADSTACK);
    grow.args(["array", "grow", "a", &store.disk(3), "--in", &store.path()])
        .env_remove("RUST_LOG");
    let mut grow = grow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    store.wait_for("OCE/ORLM");
    on_array("pause");
    grow.wait().unwrap();
    store.wait_for("OCE/ORLM stopped");
    for _ in 0..2 {
        drop(controller);
        controller = store.serve();
        // The disks are quick again: work that went on would be seen after a look at them.
        headstack(&["disk", "rescan", "--store", &store.path()]).text();
        let array = &store.status()["arrays"][0];
        assert_eq!(
            (&array["state"], &array["halted"], &array["work"]["kind"]),
            (&"OCE/ORLM stopped".into(), &true.into(), &"paused".into())
        );
        assert!(headstack(&["status", &store.path()]).text().contains("paused"));
    }
    on_array("resume");
    // Killed at once: that it goes on is as durable.
    drop(controller);
    controller = store.serve();
    store.wait_for("Normal");
    assert_eq!(end(controller), Some(0));
}
