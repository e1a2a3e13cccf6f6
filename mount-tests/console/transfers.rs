//! Dumps and restores that are begun, watched and stopped from a page.
//!
//! What a page did is looked at with the command line: the tape, the files, the events, the context of a dump that stopped.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Browser, Served, run, said, wait_until};

/// A store with a console, and a tree beside it.
fn with_tree() -> Served {
    let served = Served::with_array(3);
    let tree = served.root.path().join("tree");
    fs::create_dir_all(tree.join("letters")).unwrap();
    fs::write(tree.join("letters/needle"), b"hay").unwrap();
    fs::write(tree.join("other"), b"straw").unwrap();
    served
}

fn path_of(served: &Served, name: &str) -> String {
    served.root.path().join(name).to_str().unwrap().to_owned()
}

/// Begins a dump of the tree and waits for its end.
fn dump(served: &Served, browser: &Browser<'_>, level: &str) {
    let before = finished(served);
    let form = [("tree", &*path_of(served, "tree")), ("level", level), ("tape", "full")];
    browser.post("/tapes/dump", &form).ends(303);
    wait_until("the dump has ended", || finished(served) > before);
}

fn finished(served: &Served) -> usize {
    served.events().matches(" TaskFinished: ").count()
}

/// D29: a dump is begun from the page, and what is on the tape is what the command line finds there; a level that is
/// none, a tape elsewhere and a tree that is not absolute are refused, and who may only look may not dump.
#[test]
fn a_dump_is_begun_from_the_page() {
    let served = with_tree();
    let browser = served.browser("otto", "operate");
    let page = browser.get("/tapes").ends(200).body;
    assert!(
        page.contains("Start Dump") && page.contains(&format!("value=\"{}\"", served.store())),
        "{page}"
    );
    let tree = path_of(&served, "tree");
    let try_with = |tree: &str, level: &str, tape: &str| {
        let form = [("tree", tree), ("level", level), ("tape", tape)];
        browser.post("/tapes/dump", &form).status
    };
    for (tree, level, tape) in [
        ("tree", "0", "full"),
        (&*tree, "32", "full"),
        (&*tree, "256", "full"),
        (&*tree, "", "full"),
        (&*tree, "0", "../state/full"),
        (&*tree, "0", "/tmp/full"),
        (&*tree, "0", ".."),
        (&*tree, "0", ".hidden"),
        (&*tree, "0", &"x".repeat(300)),
        (&*format!("/{}", "x".repeat(5000)), "0", "full"),
    ] {
        assert_eq!(try_with(tree, level, tape), 400, "{tree} {level} {tape}");
    }
    dump(&served, &browser, "0");
    let listed = said(&["tape", "ls", served.file("tapes/full.tap").to_str().unwrap(), "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["files"][0]["level"], &listed["files"][0]["path"]),
        (&0.into(), &tree.as_str().into())
    );
    assert!(
        served
            .events()
            .contains(&format!("otto: began a dump of {tree} to full.tap"))
    );
    let page = browser.get("/tapes").ends(200).body;
    assert!(
        page.contains("a dump of level 0") && !page.contains(">Restore<"),
        "{page}"
    );
    let viewer = served.browser("vera", "view");
    let page = viewer.get("/tapes").ends(200).body;
    assert!(!page.contains("Start Dump"), "{page}");
    viewer
        .post("/tapes/dump", &[("tree", &tree), ("level", "0"), ("tape", "x")])
        .ends(403);
    viewer.post("/tapes/runs", &[("task", "dump_1")]).ends(403);
    // The task is one of the schedule's, for the command line too.
    let tasks = said(&["sched", "ls", "--store", &served.store()]);
    assert!(tasks.contains("dump_1") && tasks.contains("now"), "{tasks}");
}

/// A restore says first what it would overwrite, and asks for the name; it needs an admin, and never writes where the
/// controller keeps its users.
#[test]
fn a_restore_says_what_it_overwrites_and_asks_for_the_name() {
    let served = with_tree();
    let browser = served.browser("anna", "admin");
    dump(&served, &browser, "0");
    let page = browser.get("/tapes?q=needle").ends(200).body;
    let link = page.split("href=\"").find(|rest| rest.contains("path=")).unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let page = browser.get(&link).ends(200).body;
    assert!(page.contains("./letters/needle") && page.contains("full.tap"), "{page}");
    let into = path_of(&served, "back");
    let form = |into: &str, more: &[(&str, &str)]| {
        let fields = [
            ("tape", "full.tap"),
            ("file", "1"),
            ("path", "./letters/needle"),
            ("into", into),
        ];
        browser.post("/tapes/restore", &[&fields[..], more].concat())
    };
    // It has to be there.
    assert!(form(&into, &[]).ends(409).body.contains("No such file"));
    fs::create_dir(&into).unwrap();
    let plan = form(&into, &[]).ends(200).body;
    assert!(plan.contains("Nothing that is there is overwritten"), "{plan}");
    assert!(fs::read_dir(&into).unwrap().next().is_none(), "a plan writes nothing");
    let before = finished(&served);
    form(&into, &[("confirmed", "1")]).ends(303);
    wait_until("the restore has ended", || finished(&served) > before);
    assert_eq!(fs::read(format!("{into}/letters/needle")).unwrap(), b"hay");
    assert!(!fs::exists(format!("{into}/other")).unwrap());
    // What is there now would be overwritten.
    fs::write(format!("{into}/letters/needle"), b"mine").unwrap();
    let plan = form(&into, &[]).ends(200).body;
    assert!(
        plan.contains("what it holds now is lost")
            && plan.contains("letters/needle")
            && plan.contains("name=\"typed\""),
        "{plan}"
    );
    form(&into, &[("confirmed", "1")]).ends(409);
    form(&into, &[("confirmed", "1"), ("typed", "tree")]).ends(409);
    assert_eq!(fs::read(format!("{into}/letters/needle")).unwrap(), b"mine");
    form(&into, &[("confirmed", "1"), ("typed", "back")]).ends(303);
    wait_until("the file is back", || {
        fs::read(format!("{into}/letters/needle")).is_ok_and(|bytes| bytes == b"hay")
    });
    for forbidden in [
        &*format!("{}/state", served.store()),
        &format!("{}/tapes/../state/", served.store()),
    ] {
        form(forbidden, &[]).ends(409);
        form(forbidden, &[("confirmed", "1"), ("typed", "state")]).ends(409);
    }
    form("back", &[]).ends(400);
    let elsewhere = [("tape", "../../tree/other"), ("file", "1"), ("into", &*into)];
    browser.post("/tapes/restore", &elsewhere).ends(400);
    browser.post_with("/tapes/restore", &elsewhere, "").ends(403);
    // What would overwrite something is not run again by a button that does not say so.
    let again = browser.post("/shi/schedule", &[("verb", "run"), ("name", "restore_1")]);
    assert!(again.ends(409).body.contains("may overwrite"));
    let operator = served.browser("otto", "operate");
    operator.get(&link).ends(403);
    operator
        .post(
            "/tapes/restore",
            &[("tape", "full.tap"), ("file", "1"), ("into", &into)],
        )
        .ends(403);
}

/// A whole dump and its increment come back in their order; an increment without its base is not offered.
#[test]
fn a_chain_is_restored_in_its_order() {
    let served = with_tree();
    let browser = served.browser("anna", "admin");
    dump(&served, &browser, "0");
    fs::write(path_of(&served, "tree/new"), b"later").unwrap();
    dump(&served, &browser, "1");
    let into = path_of(&served, "back");
    fs::create_dir(&into).unwrap();
    let fields = |file| {
        [
            ("tape", "full.tap"),
            ("file", file),
            ("into", &*into),
            ("confirmed", "1"),
        ]
    };
    let plan = browser.post("/tapes/restore", &fields("2")[..3]).ends(200).body;
    assert!(plan.contains("base") && !plan.contains(">Restore</button>"), "{plan}");
    for (file, came) in [("1", "other"), ("2", "new")] {
        let before = finished(&served);
        browser.post("/tapes/restore", &fields(file)).ends(303);
        wait_until("the restore has ended", || finished(&served) > before);
        assert!(fs::exists(format!("{into}/{came}")).unwrap(), "{came}");
    }
    assert_eq!(fs::read(format!("{into}/new")).unwrap(), b"later");
}

/// A restore into the store tells that an array is overwritten, and asks for the name.
#[test]
fn a_restore_into_the_store_tells_of_the_arrays() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let form = [("tree", &*served.store()), ("level", "0"), ("tape", "all")];
    browser.post("/tapes/dump", &form).ends(303);
    wait_until("the dump has ended", || finished(&served) > 0);
    let form = [
        ("tape", "all.tap"),
        ("file", "1"),
        ("path", "arrays/r5.img"),
        ("into", &*served.store()),
    ];
    let plan = browser.post("/tapes/restore", &form).ends(200).body;
    assert!(
        plan.contains("<code>arrays/r5.img</code>") && plan.contains("name=\"typed\""),
        "{plan}"
    );
}

/// D19: one array of a store is chosen on the page, and it alone is on the tape; a higher level builds on that dump.
#[test]
fn one_array_is_dumped_alone() {
    let served = Served::with_array(3);
    let browser = served.browser("otto", "operate");
    let array = format!("{}/arrays/r5.img", served.store());
    let page = browser.get("/tapes").ends(200).body;
    assert!(
        page.contains(&format!("<option value=\"{array}\">Array r5</option>")),
        "{page}"
    );
    let tape = served.file("tapes/one.tap");
    let tape = tape.to_str().unwrap();
    let told = |words: &[&str]| -> Value { serde_json::from_str(&said(words)).unwrap() };
    for level in ["0", "1"] {
        let before = finished(&served);
        let form = [("what", &*array), ("tree", ""), ("level", level), ("tape", "one")];
        browser.post("/tapes/dump", &form).ends(303);
        wait_until("the dump has ended", || finished(&served) > before);
    }
    let files = told(&["tape", "ls", "--json", tape]);
    for level in [0, 1] {
        let file = &files["files"][level];
        assert_eq!((&file["level"], &file["path"]), (&level.into(), &array.as_str().into()));
    }
    let listed = told(&["restore", "-t", "--json", "-f", tape]);
    let objects = listed["objects"].as_array().unwrap().iter();
    let paths: Vec<&str> = objects.map(|object| object["path"].as_str().unwrap()).collect();
    assert_eq!(paths, [".", "./arrays", "./arrays/r5.img"]);
    let other = format!("{}/arrays/r6.img", served.store());
    let form = [("what", &*other), ("level", "0"), ("tape", "one")];
    browser.post("/tapes/dump", &form).ends(303);
    wait_until("the dump has failed", || {
        served.events().contains("there is no array r6.img")
    });
}

/// The process that does a task of the controller.
fn verb_of(served: &Served) -> Pid {
    let parent = served.controller.id().to_string();
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let is_verb = |stat: &str| {
        let (_, facts) = stat.rsplit_once(") ").unwrap();
        facts.split(' ').nth(1) == Some(&parent)
    };
    let path = processes.find(|path| fs::read_to_string(path.join("stat")).is_ok_and(|stat| is_verb(&stat)));
    let name = path.expect("the task is done by a process of its own");
    Pid::from_raw(name.file_name().unwrap().to_str().unwrap().parse().unwrap()).unwrap()
}

/// A run that is under way is on the pages with how far it is, and is stopped from there or by the command line; a dump that
/// is stopped can go on.
#[test]
fn a_run_is_watched_and_stopped() {
    let served = with_tree();
    let browser = served.browser("otto", "operate");
    let tree = served.root.path().join("tree");
    let large = fs::File::create(tree.join("large")).unwrap();
    // A hole takes no room on a tape: what is written does.
    std::io::copy(&mut std::io::Read::take(std::io::repeat(7), 1 << 30), &mut &large).unwrap();
    for stop in ["page", "verb"] {
        let form = [("tree", tree.to_str().unwrap()), ("level", "0"), ("tape", stop)];
        browser.post("/tapes/dump", &form).ends(303);
        let under_way = || served.status()["runs"][0].clone();
        wait_until("the dump tells how far it is", || {
            under_way()["done_bytes"].as_u64() > Some(0)
        });
        // It stays as it is for as long as it is looked at.
        let dump = verb_of(&served);
        kill_process(dump, Signal::STOP).unwrap();
        let task = under_way()["task"].as_str().unwrap().to_owned();
        let page = browser.get("/").ends(200).body;
        assert!(page.contains("Under way") && page.contains("<progress"), "{page}");
        if stop == "page" {
            browser.post("/tapes/runs", &[("task", &task)]).ends(303);
        } else {
            said(&["sched", "stop", &task, "--store", &served.store()]);
        }
        kill_process(dump, Signal::CONT).unwrap();
        wait_until("the run has ended", || under_way().is_null());
        let history = said(&["sched", "history", &task, "--store", &served.store()]);
        assert!(
            history.contains("interrupted") && history.contains("it was stopped"),
            "{history}"
        );
        assert!(served.events().contains(&format!("TaskStopped: the task {task}")));
        browser.post("/tapes/runs", &[("task", &task)]).ends(404);
    }
    let contexts = || -> Vec<String> {
        let listed = said(&[
            "context",
            "ls",
            "--json",
            "--state",
            &format!("{}/state", served.store()),
        ]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let ids = listed["contexts"].as_array().unwrap().iter();
        ids.map(|context| context["context_identifier"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = browser.get("/tapes").ends(200).body;
    assert!(
        page.contains("2 entries were displayed") && page.matches(">Resume<").count() == 2,
        "{page}"
    );
    // One of them goes on to its end.
    let id = contexts()[0].clone();
    let viewer = served.browser("vera", "view");
    assert!(!viewer.get("/tapes").ends(200).body.contains(">Resume<"));
    viewer.post("/tapes/resume", &[("context", &id)]).ends(403);
    for unknown in ["", "../users", "00000000-0000-4000-8000-000000000000"] {
        browser.post("/tapes/resume", &[("context", unknown)]).ends(404);
    }
    let before = finished(&served);
    browser.post("/tapes/resume", &[("context", &id)]).ends(303);
    wait_until("the dump that went on has ended", || finished(&served) > before);
    assert!(
        served
            .events()
            .contains(&format!("otto: let the dump of context {id} go on"))
    );
    assert!(!contexts().contains(&id));
    let page = browser.get("/tapes").ends(200).body;
    assert!(
        page.contains("1 entry was displayed") && page.contains("the dump is whole: level 0"),
        "{page}"
    );
    let failed = run(&["sched", "stop", "dump_1", "--store", &served.store()], "");
    assert_eq!(failed.status.code(), Some(66), "{failed:?}");
}
