//! What is done by itself at its time: verifies, rebuilds, dumps to tapes, and restore drills.
//!
//! Times themselves are tested where the clock can be set; here tasks are run, and their results looked at.

use std::fs;

use super::{Ran, Store, Value, end, headstack, wait_until};

impl Store {
    fn sched(&self, words: &[&str]) -> Ran {
        let path = self.path();
        let words: Vec<&str> = ["sched"]
            .iter()
            .chain(words)
            .chain(&["--store", &path])
            .copied()
            .collect();
        headstack(&words)
    }

    /// The last runs of a task, the newest first.
    fn runs(&self, name: &str) -> Vec<Value> {
        let runs = self.sched(&["history", name, "--json"]).json();
        runs["runs"].as_array().unwrap().clone()
    }

    /// Runs a task now; returns how it ended and what came of it.
    fn run_task(&self, name: &str) -> [String; 2] {
        let before = self.runs(name).len();
        self.sched(&["run", name]).text();
        let ended = || self.runs(name).first().is_some_and(|run| run["outcome"] != "running");
        wait_until(name, || self.runs(name).len() > before && ended());
        let run = &self.runs(name)[0];
        ["outcome", "text"].map(|key| run[key].as_str().unwrap().to_owned())
    }
}

/// R48: a verify is added with a controller and without, is listed with its next time, fires by itself and leaves its
/// result in the history and in the events.
#[test]
fn a_verify_fires_by_itself() {
    let store = Store::with_array();
    let added = store
        .sched(&["add", "verify", "r5", "--once", "2999-12-31 23:00:00"])
        .text();
    assert_eq!(added, "verify_1\n");
    store.sched(&["run", "verify_1"]).fails(69, &["serve"]);
    let controller = store.serve();
    store.wait_for("Normal");
    let listed = store.sched(&["ls", "--json"]).json();
    assert_eq!(listed["verify"], serde_json::json!(["r5"]));
    assert_eq!(listed["rebuild"], serde_json::json!([]));
    assert!(
        listed["tasks"][0]["next_local"]
            .as_str()
            .unwrap()
            .starts_with("2999-12-31 23:00:00 ")
    );
    let added = store
        .sched(&["add", "verify", "r5", "--cron", "* * * * * *", "--name", "often"])
        .text();
    assert_eq!(added, "often\n");
    wait_until("a run", || {
        store.runs("often").iter().any(|run| run["outcome"] == "done")
    });
    store.sched(&["rm", "often"]).text();
    wait_until("its last run", || {
        store.status()["runs"].as_array().is_none_or(Vec::is_empty)
    });
    store.wait_for_event("TaskStarted");
    store.wait_for_event("TaskFinished");
    let [outcome, text] = store.run_task("verify_1");
    assert!(outcome == "done" && text.contains("r5 is clean"), "{text}");
    store.sched(&["add", "verify", "r5"]).fails_usage("--once");
    store
        .sched(&["add", "verify", "r5", "--daily", "25:00"])
        .fails(64, &["25:00"]);
    store.sched(&["rm", "often"]).fails(66, &["often"]);
    assert_eq!(end(controller), Some(0));
    assert_eq!(store.runs("verify_1").len(), 1, "it is remembered");
}

/// R49: with a critical array, a rebuild takes the place of the verify; it says how the array is afterwards.
#[test]
fn a_rebuild_is_for_critical_arrays_only() {
    let store = Store::with_array();
    store.set("auto_rebuild", "false");
    let rebuild = ["add", "rebuild", "r5", "--once", "2999-12-31 23:00:00"];
    store.sched(&rebuild).fails(69, &["serve"]);
    let controller = store.serve();
    store.wait_for("Normal");
    store
        .sched(&["add", "verify", "r5", "--once", "2999-12-31 23:00:00"])
        .text();
    store.sched(&rebuild).fails(78, &["Critical", "there are none"]);
    store.on_disk("pull", 1);
    store.wait_for("Critical – missing disk");
    assert_eq!(
        store.sched(&["ls", "--json"]).json()["rebuild"],
        serde_json::json!(["r5"])
    );
    store
        .sched(&["add", "verify", "r5", "--daily", "01:00"])
        .fails(78, &["Normal"]);
    assert_eq!(store.sched(&rebuild).text(), "rebuild_1\n");
    let [outcome, text] = store.run_task("verify_1");
    assert!(
        outcome == "failed" && text.contains("Critical – missing disk"),
        "{text}"
    );
    store.on_disk("insert", 1);
    headstack(&["array", "add", "r5", &store.disk(1), "--in", &store.path()]).text();
    let [outcome, text] = store.run_task("rebuild_1");
    assert!(outcome == "done" && text.contains("Normal"), "{text}");
    assert_eq!(end(controller), Some(0));
}

/// R48: dumps go to a tape at the levels of their cycle, a drill restores and compares, and finds a tape that was damaged.
#[test]
fn a_drill_finds_a_tape_that_was_damaged() {
    let store = Store::new(0);
    let tree = store.file("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for number in 0..30 {
        fs::write(
            tree.join(format!("sub/f{number}")),
            format!("file {number} ").repeat(number * 40),
        )
        .unwrap();
    }
    let (tape, source) = (store.file("tapes/t.tap"), tree.to_str().unwrap().to_owned());
    let tape_name = tape.to_str().unwrap().to_owned();
    let late = ["--once", "2999-12-31 23:00:00"];
    let dump = ["add", "dump", &source, "-f", &tape_name, "--level", "0,1"];
    assert_eq!(store.sched(&[&dump[..], &late].concat()).text(), "dump_1\n");
    let drill = ["add", "drill", "-f", &tape_name, "--sample", "0"];
    assert_eq!(store.sched(&[&drill[..], &late].concat()).text(), "drill_1\n");
    let controller = store.serve();
    let [outcome, text] = store.run_task("drill_1");
    assert!(
        outcome == "failed" && text.contains("t.tap"),
        "there is no tape yet: {text}"
    );
    let [outcome, text] = store.run_task("dump_1");
    assert!(outcome == "done" && text.contains("level 0"), "{text}");
    let [outcome, text] = store.run_task("drill_1");
    assert!(
        outcome == "done" && text.contains("30 files were restored; 30 are the same"),
        "{text}"
    );
    let mark = "a line that is on the tape once more. ";
    fs::write(tree.join("changed"), mark.repeat(2000)).unwrap();
    let [outcome, text] = store.run_task("dump_1");
    assert!(outcome == "done" && text.contains("level 1"), "{text}");
    let [outcome, text] = store.run_task("drill_1");
    assert!(
        outcome == "done" && text.contains("are the same as they are now, 0 changed"),
        "{text}"
    );
    let mut bytes = fs::read(&tape).unwrap();
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark.as_bytes())
        .unwrap();
    bytes[at + 1000] ^= 1;
    fs::write(&tape, bytes).unwrap();
    let [outcome, text] = store.run_task("drill_1");
    assert_eq!(outcome, "failed", "{text}");
    store.wait_for_event("TaskFailed");
    assert!(fs::read_dir(store.file("state")).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        !name.to_string_lossy().starts_with("drill.")
    }));
    assert_eq!(end(controller), Some(0));
}
