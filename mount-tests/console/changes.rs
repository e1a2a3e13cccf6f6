//! What pages change beyond the guide's daily work: arrays that grow, work that is stopped, snapshots, the webhook, and files
//! that are looked for in dumps.
//!
//! What a page did is looked at with the command line.

use std::{fs, io::Write as _, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::Value;

use super::{HEADSTACK, Served, said, wait_until};
use crate::cli::controller::mail::posted;

/// R59: an array takes a disk in and grows while it is in use; what cannot be is refused with the reason.
#[test]
fn an_array_is_expanded_from_its_page() {
    let served = Served::with_array(4);
    let browser = served.browser("anna", "admin");
    let page = browser.get("/logical/array/r5").ends(200).body;
    assert!(page.contains("Expand / Migrate"), "{page}");
    let page = browser.get("/logical/array/r5/change").ends(200).body;
    assert!(
        page.contains("value=\"d3.img\"") && !page.contains("value=\"d0.img\""),
        "{page}"
    );
    let change = |fields: &[(&str, &str)]| browser.post("/logical/array/r5/change", fields).status;
    assert_eq!(change(&[]), 400);
    assert_eq!(change(&[("disk", "d9.img")]), 404);
    assert_eq!(change(&[("level", "ten")]), 400);
    assert!([400, 409].contains(&change(&[("level", "10")])));
    assert_eq!(served.status()["arrays"][0]["size_bytes"], 30 << 20);
    let viewer = served.browser("otto", "operate");
    viewer.get("/logical/array/r5/change").ends(403);
    viewer.post("/logical/array/r5/change", &[("disk", "d3.img")]).ends(403);
    said(&["spare", "add", &served.disk(3)]);
    assert_eq!(change(&[("disk", "d3.img")]), 303);
    wait_until("the array has grown", || {
        let status = served.status();
        status["state"] == "Normal" && status["arrays"][0]["size_bytes"] == 45 << 20
    });
    assert!(served.events().contains("anna: expand or migrate array r5"));
    // The disk is a member now, for everybody.
    wait_until("the disk has left the pool", || {
        let status = served.status();
        status["spares"] == serde_json::json!([]) && status["disks"][3]["array"] == "r5"
    });
}

/// R34, R53: a rebuild is stopped from its page, stays so, and goes on when it is asked for.
#[test]
fn a_rebuild_is_stopped_and_goes_on() {
    let served = Served::with_array_of(4, "32M");
    let browser = served.browser("anna", "operate");
    let Some(nbdcopy) = crate::cli::peer("nbdcopy") else {
        return;
    };
    let file = served.root.path().join("data");
    fs::write(&file, vec![7; 60 << 20]).unwrap();
    let array = format!("nbd+unix:///r5?socket={}/state/nbd.sock", served.store());
    let copied = Command::new(nbdcopy).arg("--flush").arg(&file).arg(&array).status();
    assert!(copied.unwrap().success());
    served.inject([3], "slow:1500");
    said(&["disk", "pull", &served.disk(1)]);
    served.wait_for("Critical – missing disk");
    browser.post("/logical/array/r5/add", &[("disk", "d3.img")]).ends(303);
    served.wait_for("Rebuilding");
    let page = browser.get("/logical/array/r5").ends(200).body;
    assert!(page.contains("Stop Rebuild"), "{page}");
    browser.post("/logical/array/r5/stop", &[]).ends(303);
    said(&["disk", "heal", &served.disk(3)]);
    served.wait_for("Critical – Inconsistency");
    let status = served.status();
    assert_eq!(status["arrays"][0]["halted"], true);
    let steps = status["advice"][0]["steps"].to_string();
    assert!(
        steps.contains("Let the work go on") && !steps.contains("Find the disk"),
        "{steps}"
    );
    let page = browser.get("/logical/array/r5").ends(200).body;
    assert!(page.contains(">Rebuild<"), "{page}");
    browser.post("/logical/array/r5/rebuild", &[]).ends(303);
    served.wait_for("Normal");
}

/// R25: a spare of the pool joins by itself when a disk fails, and the pages tell of it.
#[test]
fn pages_tell_of_the_spare_that_joined() {
    let served = Served::with_array(4);
    let browser = served.browser("anna", "operate");
    browser
        .post("/logical/spares", &[("verb", "add"), ("disk", "d3.img")])
        .ends(303);
    said(&["disk", "pull", &served.disk(1)]);
    wait_until("the spare has joined", || {
        let status = served.status();
        status["state"] == "Normal" && served.events().contains("ArrayNormal")
    });
    assert_eq!(served.status()["spares"], serde_json::json!([]));
    let log = browser.get("/event").ends(200).body;
    for event in ["MoveSpare", "RebuildStarted", "RebuildFinished", "ArrayNormal"] {
        assert!(log.contains(event), "{event}: {log}");
    }
    let page = browser.get("/logical/array/r5").ends(200).body;
    assert!(page.contains("d3.img") && !page.contains("d1.img"), "{page}");
}

/// R34, R35, R36, R37, R38: the settings stand on the page with the guide's defaults.
#[test]
fn settings_have_the_guides_defaults() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let page = browser.get("/setting").ends(200).body;
    let chosen = |name: &str| {
        let list = page.split(&format!("<select id=\"{name}\"")).nth(1).unwrap();
        let option = list.split("selected").nth(1).unwrap();
        let label = option.split('>').nth(1).unwrap();
        label.split('<').next().unwrap().to_owned()
    };
    for (name, default) in [
        ("auto_rebuild", "Enabled"),
        ("continue_on_error", "Enabled"),
        ("restrict_to_localhost", "Enabled"),
        ("rebuild_priority", "Medium"),
    ] {
        assert_eq!(chosen(name), default, "{name}");
    }
    assert!(
        page.contains("name=\"port\" type=\"number\" min=\"1\" max=\"65535\" value=\"7402\""),
        "{page}"
    );
    browser
        .post("/setting", &[("port", "7403"), ("continue_on_error", "false")])
        .ends(303);
    let settings = served.status()["settings"].clone();
    assert_eq!(
        (&settings["port"], &settings["continue_on_error"]),
        (&7403.into(), &false.into())
    );
    browser.post("/setting", &[("port", "0")]).ends(400);
    browser.post("/setting", &[("port", "70000")]).ends(400);
}

#[test]
fn snapshots_are_made_and_removed() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let change = |verb: &str, name: &str| {
        browser
            .post("/series/snapshot", &[("verb", verb), ("name", name)])
            .status
    };
    assert_eq!(change("create", "before"), 303);
    assert_eq!(change("create", "before"), 409);
    assert_eq!(change("create", ""), 303);
    assert_eq!(change("create", "a/b"), 400);
    assert!(served.file("series").is_dir());
    let page = browser.get("/series").ends(200).body;
    assert!(page.contains("<strong>before</strong>"), "{page}");
    assert_eq!(change("remove", "before"), 303);
    assert_eq!(change("remove", "before"), 404);
    let page = browser.get("/series").ends(200).body;
    assert!(!page.contains("<strong>before</strong>"), "{page}");
    let viewer = served.browser("vera", "view");
    viewer.post("/series/snapshot", &[("verb", "create")]).ends(403);
}

/// R42: a webhook is set, tested and removed from the page, and a test is a post of JSON.
#[test]
fn a_webhook_is_set_and_tested() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    let set = |url: &str| {
        let form = [("verb", "set"), ("url", url), ("level", "Error")];
        browser.post("/setting/webhook", &form).status
    };
    assert_eq!(set("ftp://x/"), 400);
    assert_eq!(set(&url), 303);
    assert!(browser.get("/setting").ends(200).body.contains(&url));
    let told = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let (_, body) = posted(&stream).unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        (&stream).write_all(answer).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    });
    browser.post("/setting/webhook", &[("verb", "test")]).ends(303);
    assert_eq!(told.join().unwrap()["event"], "TestMessage");
    browser.post("/setting/webhook", &[("verb", "remove")]).ends(303);
    assert!(!browser.get("/setting").ends(200).body.contains(&url));
    browser.post("/setting/webhook", &[("verb", "test")]).ends(404);
}

#[test]
fn files_are_found_in_dumps() {
    let served = Served::with_array(3);
    let browser = served.browser("vera", "view");
    let tree = served.root.path().join("tree");
    fs::create_dir_all(tree.join("letters")).unwrap();
    fs::write(tree.join("letters/needle.txt"), b"hay").unwrap();
    let tape = served.file("tapes/full.tap");
    let dumped = Command::new(HEADSTACK)
        .args(["dump", "-0", "-f"])
        .args([&tape, &tree])
        .arg("--state")
        .arg(served.file("state"))
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    let page = browser.get("/tapes?q=needle").ends(200).body;
    assert!(
        page.contains("./letters/needle.txt") && page.contains("full.tap"),
        "{page}"
    );
    let page = browser.get("/tapes?q=haystack").ends(200).body;
    assert!(page.contains("No dump in the catalogue has a file by that"), "{page}");
    let page = browser.get("/tapes?q=%3Cscript%3E").ends(200).body;
    assert!(page.contains("value=\"&lt;script&gt;\""), "{page}");
    assert_eq!(page.matches("<script>").count(), 1, "none but the page's own: {page}");
}

/// R02: the list at the top left has the other controllers of this machine, by their stores, while they run.
#[test]
fn the_list_has_all_controllers_that_run() {
    let one = Served::with_array(3);
    let root = tempfile::tempdir().unwrap();
    let other = Served::serving_beside(root, one.root.path(), 3, "16M", &[]);
    let browser = one.browser("anna", "view");
    let listed = || browser.get("/").ends(200).body;
    let option = format!(
        "<option value=\"http://127.0.0.1:{}/\" title=\"{}\">store</option>",
        other.port,
        other.store()
    );
    assert!(listed().contains(&option), "{}", listed());
    // One that is killed takes nothing with it, and is not listed any more.
    drop(other);
    assert!(!listed().contains(&option));
    let notes = one.root.path().join("headstack");
    assert_eq!(fs::metadata(&notes).unwrap().permissions().mode() & 0o777, 0o700);
    // What others may write to is not believed.
    let forged = format!(
        "{{\"store\":\"/evil\",\"url\":\"http://evil.example/\",\"pid\":{}}}",
        std::process::id()
    );
    fs::write(notes.join("forged.json"), &forged).unwrap();
    assert!(listed().contains("http://evil.example/"));
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!listed().contains("http://evil.example/"));
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(notes.join("forged.json"), forged.replace("http:", "javascript:")).unwrap();
    assert!(!listed().contains("javascript:"));
}
