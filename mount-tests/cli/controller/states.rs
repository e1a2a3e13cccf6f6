//! Every state of the controller guide's two tables, reached on purpose with the real binary: by faults, by disks that go
//! and come, and by work that is stopped half-way.
//!
//! Slow disks hold work up for as long as a state is looked at; nothing here waits for a time to pass.

use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::FileExt as _,
    process::{Child, Command, Stdio},
    thread,
};

use super::{Running, Store, end, story::fill};
use crate::cli::{HEADSTACK, headstack, peer, wait_until};

/// The guide's group of disk icons; a member in sync has none of its own.
const DISK_STATES: [&str; 13] = [
    "Critical – missing disk",
    "Critical – rebuild required",
    "Disabled",
    "Initializing",
    "Legacy",
    "Normal",
    "Not Initialized",
    "OCE/ORLM",
    "OCE/ORLM has stopped",
    "Rebuilding",
    "Spare",
    "Uninitialized",
    "Verifying",
];

/// The guide's group of array icons.
const ARRAY_STATES: [&str; 12] = [
    "Critical – Inconsistency",
    "Critical – OCE/ORLM",
    "Critical – OCE/ORLM - rebuild",
    "Critical – missing disk",
    "Disabled",
    "Initialization Stopped",
    "Initializing",
    "Normal",
    "OCE/ORLM",
    "OCE/ORLM stopped",
    "Rebuilding",
    "Verifying",
];

/// What makes an array go through which of its states.
const STORIES: [fn(&mut Story); 4] = [failure, initialisation, reshape, lost_sector];

/// States by kind, `array` or `disk`.
type Seen = BTreeSet<(&'static str, String)>;

/// A store whose states are noted as they are met.
struct Story {
    store: Store,
    controller: Running,
    seen: Seen,
}

impl Story {
    /// Waits until the worst array is in a state; notes it and those of the disks. `code` is that of `status --check`.
    #[track_caller]
    fn at(&mut self, state: &str, code: i32) {
        self.store.wait_for(state);
        let status = self.store.status();
        self.seen.insert(("array", state.to_owned()));
        for disk in status["disks"].as_array().unwrap() {
            self.seen.insert(("disk", disk["state"].as_str().unwrap().to_owned()));
        }
        headstack(&["status", "--check", &self.store.path()]).ends(code);
        let text = headstack(&["status", &self.store.path()]).text();
        assert!(text.contains(state), "{text}");
        if std::env::var_os("SHOW_STATES").is_some() {
            eprintln!("{text}\n");
        }
    }

    /// Each request to some disks takes so many milliseconds more.
    fn slow(&self, disks: impl IntoIterator<Item = usize>, ms: u64) {
        disks
            .into_iter()
            .for_each(|disk| self.store.inject(disk, &format!("slow:{ms}")));
    }

    fn heal(&self) {
        (0..5).for_each(|disk| self.store.on_disk("heal", disk));
    }

    /// A verb on the array.
    fn array(&self, verb: &str, rest: &[&str]) {
        headstack(&self.words(verb, rest)).ends(0);
    }

    /// A verb on the array that goes on until its work is done or stopped.
    fn begin(&self, verb: &str, rest: &[&str]) -> Child {
        let mut command = Command::new(HEADSTACK);
        let quiet = command
            .args(self.words(verb, rest))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.spawn().unwrap()
    }

    fn words(&self, verb: &str, rest: &[&str]) -> Vec<String> {
        let mut words = vec!["array".to_owned(), verb.to_owned(), "a".to_owned()];
        words.extend(rest.iter().map(|word| (*word).to_owned()));
        words.extend(["--in".to_owned(), self.store.path()]);
        words
    }
}

/// R27, R28, R29, R30, R57, R58: each of these states of the guide's tables is reached, and no other one is.
#[test]
fn every_state_is_reached() {
    // What holds no data is neither read nor filled; so there has to be somebody who writes some.
    if peer("nbdcopy").is_none() {
        return;
    }
    let seen: Seen = thread::scope(|scope| {
        let stories = STORIES.map(|story| scope.spawn(move || told(story)));
        let told = stories.into_iter().map(|story| story.join().unwrap());
        told.flatten().collect()
    });
    let of = |kind: &str| -> Vec<&str> {
        let own = seen.iter().filter(|(of, _)| *of == kind);
        own.map(|(_, state)| state.as_str()).collect()
    };
    assert_eq!(of("array"), ARRAY_STATES);
    assert_eq!(of("disk"), DISK_STATES);
}

fn told(story: fn(&mut Story)) -> Seen {
    let store = Store::new(5);
    // Swap space, as the kernel marks it.
    let legacy = File::options().write(true).open(store.disk(4)).unwrap();
    legacy.write_all_at(b"SWAPSPACE2", 4086).unwrap();
    let controller = store.serve();
    let mut story_of = Story {
        store,
        controller,
        seen: Seen::new(),
    };
    story(&mut story_of);
    let Story { controller, seen, .. } = story_of;
    assert_eq!(end(controller), Some(0));
    seen
}

fn failure(story: &mut Story) {
    story.store.create("a", "5", &[0, 1, 2]);
    story.at("Normal", 0);
    fill(&story.store, "a");
    headstack(&["spare", "add", &story.store.disk(3)]).text();
    story.at("Normal", 0);
    headstack(&["spare", "rm", &story.store.disk(3)]).text();
    story.slow(0..3, 500);
    let mut verify = story.begin("verify", &[]);
    story.at("Verifying", 0);
    story.array("pause", &[]);
    assert!(
        !verify.wait().unwrap().success(),
        "a verify that was stopped has not compared all"
    );
    story.heal();
    story.at("Normal", 0);
    story.store.on_disk("pull", 1);
    story.at("Critical – missing disk", 1);
    story.slow([3], 500);
    story.array("add", &[&story.store.disk(3), "--no-wait"]);
    story.at("Rebuilding", 1);
    story.heal();
    story.at("Normal", 0);
    // R34: a disk that is back waits to be asked for.
    story.store.set("auto_rebuild", "false");
    story.store.on_disk("pull", 2);
    story.store.wait_for("Critical – missing disk");
    story.store.on_disk("insert", 2);
    wait_until("the disk that is back", || {
        story.store.disk_state(2) == "Critical – rebuild required"
    });
    story.at("Critical – missing disk", 1);
    story.store.on_disk("pull", 0);
    story.at("Disabled", 2);
}

fn initialisation(story: &mut Story) {
    story.slow(0..3, 40);
    let disks: Vec<String> = (0..3).map(|disk| story.store.disk(disk)).collect();
    let words = [
        "array", "create", "a", "--level", "5", "--init", "quick", "--chunk", "64K",
    ];
    let words: Vec<&str> = words.into_iter().chain(disks.iter().map(String::as_str)).collect();
    headstack(&words).text();
    story.at("Initializing", 0);
    story.array("pause", &[]);
    story.at("Initialization Stopped", 0);
    story.array("resume", &[]);
    story.heal();
    story.at("Normal", 0);
}

fn reshape(story: &mut Story) {
    story.store.create("a", "5", &[0, 1, 2]);
    story.at("Normal", 0);
    story.slow(0..4, 80);
    let mut grow = story.begin("grow", &[&story.store.disk(3)]);
    story.at("OCE/ORLM", 0);
    story.array("pause", &[]);
    assert!(!grow.wait().unwrap().success(), "a move that was stopped is not done");
    story.at("OCE/ORLM stopped", 0);
    story.heal();
    story.store.on_disk("pull", 1);
    story.at("Critical – OCE/ORLM", 1);
    story.array("add", &[&story.store.disk(4), "--no-wait", "--yes"]);
    story.array("pause", &[]);
    story.at("Critical – OCE/ORLM - rebuild", 1);
    story.array("resume", &[]);
    story.at("Normal", 0);
}

/// R35, R50: what nobody can give is noted, and the array stays critical.
fn lost_sector(story: &mut Story) {
    story.store.create("a", "5", &[0, 1, 2]);
    story.at("Normal", 0);
    fill(&story.store, "a");
    story.store.on_disk("pull", 1);
    story.at("Critical – missing disk", 1);
    story.store.inject(0, "bad-sector@4M+4K");
    story.array("add", &[&story.store.disk(3), "--no-wait"]);
    story.at("Critical – Inconsistency", 1);
    wait_until("the bad sector's event", || {
        story.store.events().iter().any(|event| event == "BadSector")
    });
}
