//! What pages show and do: actions by state, spares, settings, the log.
//!
//! What a page did is looked at with the command line, and what the command line did with a page.

use std::os::unix::fs::FileExt as _;

use super::{Served, said};

/// R26, R27, R28, R30: the Maintenance box offers what the state allows; what is asked for all the same is refused with 409.
#[test]
fn maintenance_offers_what_the_state_allows() {
    let served = Served::with_array(4);
    let browser = served.browser("anna", "admin");
    assert!(
        browser
            .get("/logical")
            .ends(200)
            .body
            .contains("href=\"/logical/array/r5\"")
    );
    let offered = || {
        let page = browser.get("/logical/array/r5").ends(200).body;
        assert!(page.contains("Array Information"));
        ["Delete", "Verify", "Rename", "Add Disk"].map(|word| page.contains(&format!(">{word}<")))
    };
    assert_eq!(offered(), [true, true, true, false]);
    browser.post("/logical/array/r5/add", &[("disk", "d3.img")]).ends(409);
    browser.post("/logical/array/r5/verify", &[]).ends(303);
    served.wait_for("Normal");
    said(&["disk", "pull", &served.disk(1)]);
    served.wait_for("Critical – missing disk");
    assert_eq!(offered(), [true, false, false, true]);
    browser.post("/logical/array/r5/rename", &[("new", "other")]).ends(409);
    browser.post("/logical/array/r5/verify", &[]).ends(409);
    said(&["disk", "pull", &served.disk(2)]);
    served.wait_for("Disabled");
    assert_eq!(offered(), [true, false, false, false]);
    browser.post("/logical/array/r5/add", &[("disk", "d3.img")]).ends(409);
    browser.post("/logical/array/r5/rebuild", &[]).ends(409);
    browser.post("/logical/array/r5/delete", &[("typed", "r6")]).ends(409);
    assert_eq!(served.status()["arrays"][0]["name"], "r5");
}

/// R27: a verify tells what it found; a repair says first what it writes, and writes over what may be right for an admin only,
/// who types the name.
#[test]
fn a_verify_tells_what_it_found_and_repairs_what_it_is_asked_to() {
    let served = Served::with_array(3);
    let [admin, operator, viewer] =
        [("anna", "admin"), ("otto", "operate"), ("vera", "view")].map(|(user, role)| served.browser(user, role));
    let ended = |text: &str| {
        super::wait_until(text, || served.events().contains(text));
    };
    operator.post("/logical/array/r5/verify", &[]).ends(303);
    ended("verify of array r5 ended: array r5 is clean");
    let disk = std::fs::File::options().write(true).open(served.disk(0)).unwrap();
    disk.write_all_at(&[7; 4096], 8 << 20).unwrap();
    operator.post("/logical/array/r5/verify", &[]).ends(303);
    ended("verify of array r5 ended: array r5: 4096 bytes do not agree, 4096 of them are left so");
    served.wait_for("Critical – Inconsistency");
    let page = operator.get("/logical/array/r5").ends(200).body;
    assert!(
        page.contains(">Verify and Repair<") && !page.contains(">Verify<"),
        "{page}"
    );
    super::wait_until("the first page leads there", || {
        operator.get("/").body.contains("href=\"/logical/array/r5/repair\"")
    });
    let path = "/logical/array/r5/repair";
    viewer.get(path).ends(403);
    viewer.post(path, &[("repair", "provable")]).ends(403);
    let page = operator.get(path).ends(200).body;
    assert!(
        page.contains("Written are") && !page.contains("name=\"typed\""),
        "{page}"
    );
    operator
        .post(path, &[("repair", "redundancy"), ("typed", "r5")])
        .ends(403);
    operator.post(path, &[("repair", "all")]).ends(400);
    operator.post(path, &[("repair", "provable")]).ends(303);
    ended("verify and repair of array r5 ended: array r5: 4096 bytes do not agree, 4096 of them are left so");
    assert!(admin.get(path).ends(200).body.contains("name=\"typed\""));
    admin.post(path, &[("repair", "redundancy"), ("typed", "r6")]).ends(409);
    admin.post(path, &[("repair", "redundancy"), ("typed", "r5")]).ends(303);
    ended("bytes were compared; 4096 of them did not agree and were mended");
    served.wait_for("Normal");
    said(&["disk", "pull", &served.disk(1)]);
    served.wait_for("Critical – missing disk");
    admin.get(path).ends(409);
    admin.post(path, &[("repair", "provable")]).ends(409);
}

/// R51: each step of recovery that a page can do is a link or a button there, for who may and while the state allows it; its
/// command stays beside it.
#[test]
fn steps_of_recovery_are_links_and_buttons() {
    let served = Served::with_array(4);
    let [admin, operator, viewer] =
        [("anna", "admin"), ("otto", "operate"), ("vera", "view")].map(|(user, role)| served.browser(user, role));
    let first_page = |browser: &super::Browser<'_>| {
        let page = browser.get("/").ends(200).body;
        page.split("<ol class=\"steps\">")
            .nth(1)
            .map(|steps| steps.split("</ol>").next().unwrap().to_owned())
    };
    assert_eq!(first_page(&admin), None);
    said(&["disk", "pull", &served.disk(1)]);
    served.wait_for("Critical – missing disk");
    let [all, some, few] = [&admin, &operator, &viewer].map(|browser| first_page(browser).unwrap());
    for steps in [&all, &some, &few] {
        assert!(
            steps.contains("headstack disk insert") && steps.contains("href=\"/event\""),
            "{steps}"
        );
    }
    for word in [">Identify<", ">Add Disk<", ">Tapes<"] {
        assert!(
            all.contains(word) && some.contains(word) && !few.contains(word),
            "{word}"
        );
    }
    assert!(all.contains(">Insert<") && !some.contains(">Insert<"), "{all}");
    let pressed = [("verb", "insert"), ("disk", "d1.img")];
    admin.post("/lab/disk", &pressed).ends(303);
    served.wait_for("Normal");
    for disk in [1, 2] {
        said(&["disk", "pull", &served.disk(disk)]);
    }
    served.wait_for("Disabled");
    let steps = first_page(&operator).unwrap();
    assert!(
        steps.contains(">Rescan now<") && !steps.contains(">Add Disk<"),
        "{steps}"
    );
}

/// R07: an array is made with all options after a look at what is made and lost; one that is deleted asks for its name.
#[test]
fn arrays_are_made_and_deleted_after_a_look_at_what_is_lost() {
    let served = Served::with_array(5);
    let browser = served.browser("anna", "admin");
    let page = browser.get("/logical/create").ends(200).body;
    for word in [
        "RAID 50",
        "JBOD",
        "Keep Old Data",
        "Quick Init",
        "Foreground",
        "Background",
        "Write Through",
        "512 KiB",
        "Maximum",
        "RAID_&lt;level&gt;_&lt;number&gt;",
    ] {
        assert!(page.contains(word), "{word}");
    }
    let wish = [
        ("level", "1"),
        ("init", "foreground"),
        ("cache", "write-back"),
        ("block", "64"),
        ("unit", "MiB"),
        ("disk", "d3.img"),
        ("disk", "d4.img"),
    ];
    let plan = browser.post("/logical/create", &wish).ends(200).body;
    assert!(
        plan.contains("Create RAID_1_") && plan.contains("nothing is lost"),
        "{plan}"
    );
    assert_eq!(served.status()["arrays"].as_array().unwrap().len(), 1);
    browser
        .post("/logical/create", &[&wish[..5], &[("confirmed", "1")]].concat())
        .ends(400);
    browser
        .post(
            "/logical/create",
            &[&wish[..], &[("name", "pair"), ("confirmed", "1")]].concat(),
        )
        .ends(303);
    let names = |served: &Served| -> Vec<String> {
        let status = served.status();
        let arrays = status["arrays"].as_array().unwrap().iter();
        arrays.map(|array| array["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(&served).contains(&"pair".to_owned()));
    let asks = browser.get("/logical/array/pair/delete").ends(200).body;
    assert!(
        asks.contains("all data in it are lost") && asks.contains("d3.img"),
        "{asks}"
    );
    browser.post("/logical/array/pair/delete", &[("typed", "r5")]).ends(409);
    browser
        .post("/logical/array/pair/delete", &[("typed", "pair")])
        .ends(303);
    assert_eq!(names(&served), ["r5"]);
}

/// R24: disks go into the spare pool and out of it.
#[test]
fn spares_are_added_and_removed() {
    let served = Served::with_array(5);
    let browser = served.browser("anna", "operate");
    let page = browser.get("/logical/spares").ends(200).body;
    assert!(page.contains("Available Disks") && page.contains("Add Spare") && page.contains("value=\"d3.img\""));
    assert!(!page.contains("value=\"d0.img\""), "a member is no spare");
    browser
        .post(
            "/logical/spares",
            &[("verb", "add"), ("disk", "d3.img"), ("disk", "d4.img")],
        )
        .ends(303);
    assert_eq!(served.status()["spares"], serde_json::json!(["d3.img", "d4.img"]));
    assert!(browser.get("/logical/spares").ends(200).body.contains("Remove Spare"));
    browser
        .post("/logical/spares", &[("verb", "remove"), ("disk", "d3.img")])
        .ends(303);
    assert_eq!(served.status()["spares"], serde_json::json!(["d4.img"]));
    browser
        .post("/logical/spares", &[("verb", "add"), ("disk", "d0.img")])
        .ends(409);
    browser
        .post("/logical/spares", &[("verb", "add"), ("disk", "../x")])
        .ends(404);
}

/// R33: settings are changed on their page, each with an event that names the user.
#[test]
fn settings_are_changed_with_the_name_of_the_user() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let page = browser.get("/setting").ends(200).body;
    for word in [
        "Enable auto rebuild",
        "Enable continue rebuilding on error",
        "Rebuild Priority",
        "Password Setting",
        "Lowest",
        "Highest",
    ] {
        assert!(page.contains(word), "{word}");
    }
    let form = [
        ("auto_rebuild", "false"),
        ("continue_on_error", "true"),
        ("rebuild_priority", "highest"),
    ];
    browser.post("/setting", &form).ends(303);
    let settings = served.status()["settings"].clone();
    assert_eq!(
        (&settings["auto_rebuild"], &settings["rebuild_priority"]),
        (&false.into(), &"highest".into())
    );
    assert_eq!(browser.post("/setting", &[("rebuild_priority", "top")]).status, 400);
    let events = served.events();
    assert!(
        events.contains("anna: set auto_rebuild to false") && !events.contains("set continue_on_error"),
        "{events}"
    );
}

/// R44, R45: the log by level, in pages; the file that is downloaded is the one of the command line.
#[test]
fn the_log_is_shown_filtered_downloaded_and_cleared() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    for _ in 0..40 {
        browser.post("/physical/identify", &[("disk", "d0.img")]).ends(303);
    }
    said(&["disk", "pull", &served.disk(1)]);
    served.wait_for("Critical – missing disk");
    let first = browser.get("/event").ends(200).body;
    assert!(
        first.contains(">Download<") && first.contains(">Clear<") && first.contains("level=information&amp;before=")
    );
    let next = first
        .split("href=\"")
        .find(|rest| rest.contains("before="))
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let second = browser.get(&next.replace("&amp;", "&")).ends(200).body;
    assert!(
        second.contains("after=") && second.contains("ControllerStarted"),
        "{second}"
    );
    let warnings = browser.get("/event?level=warning").ends(200).body;
    assert!(warnings.contains("DiskRemoved") && !warnings.contains("UserAction"));
    let file = browser.get("/event/download").ends(200);
    assert!(file.header("content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(file.body, served.events());
    browser.post("/event/clear", &[]).ends(303);
    assert!(!served.events().contains("ControllerStarted"));
    assert_eq!(browser.get("/event?before=x").status, 400);
}

#[test]
fn what_is_not_there_is_said_so() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    for path in [
        "/nowhere",
        "/logical/array/r6",
        "/shi/disk/d9.img",
        "/series/fixed/none",
        "/assets/none",
        "/logical/array/%2e%2e",
        "/shi/disk/%ff",
    ] {
        let reply = browser.get(path);
        assert!([400, 404].contains(&reply.status), "{path}: {reply:#?}");
    }
    let odd = browser.get("/nowhere/%3Cscript%3Ealert(1)%3C/script%3E").ends(404).body;
    assert!(!odd.contains("<script>alert"), "{odd}");
}

/// R41, R42: the mail server and its recipients are set on their page; a password goes in and not out.
#[test]
fn mail_is_set_and_its_password_never_shown() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let page = browser.get("/setting").ends(200).body;
    for word in [
        "Enable Event Notification",
        "Server Address",
        "Mail From",
        "Login Name",
        "SMTP Port",
        "Support SSL",
        "Change Setting",
        "Recipients",
        "Event Level",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(page.contains("value=\"25\""));
    let form = [
        ("server", "mail.example"),
        ("from", "store@example.com"),
        ("login", "store"),
        ("password", "top-secret-word"),
        ("port", "25"),
        ("ssl", "1"),
    ];
    browser.post("/setting/mail", &form).ends(303);
    let person = [
        ("verb", "add"),
        ("address", "anna@example.com"),
        ("name", "Anna"),
        ("level", "Error"),
        ("level", "Warning"),
    ];
    browser.post("/setting/recipient", &person).ends(303);
    browser
        .post(
            "/setting/recipient",
            &[("verb", "add"), ("address", "no address"), ("level", "Error")],
        )
        .ends(400);
    let page = browser.get("/setting").ends(200).body;
    assert!(
        page.contains("value=\"465\"") && page.contains("mail.example") && page.contains("anna@example.com"),
        "{page}"
    );
    assert!(page.contains("warning, error") && !page.contains("top-secret-word"));
    browser
        .post(
            "/setting/recipient",
            &[("verb", "remove"), ("address", "anna@example.com")],
        )
        .ends(303);
    assert!(
        browser
            .get("/setting")
            .ends(200)
            .body
            .contains("mails no more to anna@example.com")
    );
    assert!(browser.get("/setting").ends(200).body.contains("Nobody is mailed yet"));
    assert!(!served.events().contains("top-secret-word"));
}

/// R48, R49: a task is added by the forms of the guide; where an array is critical the box is the one to rebuild.
#[test]
fn tasks_are_scheduled_for_the_state_that_arrays_are_in() {
    let served = Served::with_array(4);
    let browser = served.browser("anna", "operate");
    let page = browser.get("/shi/schedule").ends(200).body;
    assert!(page.contains("New Verify Task") && page.contains("Tasks List") && page.contains("YYYY-MM-DD"));
    let task = |how: &str, more: &[(&str, &str)]| {
        let form = [
            &[
                ("verb", "add"),
                ("deed", "verify"),
                ("array", "r5"),
                ("how", how),
                ("time", "23:30:00"),
            ],
            more,
        ]
        .concat();
        browser.post("/shi/schedule", &form).status
    };
    assert_eq!(task("Once", &[("date", "2999-12-31"), ("name", "last")]), 303);
    assert_eq!(task("Weekly", &[("weekday", "Sunday")]), 303);
    assert_eq!(task("Monthly", &[("day", "31")]), 303);
    assert_eq!(task("Once", &[("date", "2999-02-30")]), 400);
    assert_eq!(task("Cron", &[("cron", "every day")]), 400);
    let page = browser.get("/shi/schedule").ends(200).body;
    for shown in ["2999-12-31 23:30:00", "weekly sunday 23:30:00", "monthly 31 23:30:00"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    browser
        .post("/shi/schedule", &[("verb", "remove"), ("name", "last")])
        .ends(303);
    said(&["disk", "pull", &served.disk(1)]);
    served.wait_for("Critical – missing disk");
    let page = browser.get("/shi/schedule").ends(200).body;
    assert!(page.contains("New Rebuild Task") && !page.contains("New Verify Task"));
}
