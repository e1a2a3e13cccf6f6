//! Who comes in: the first password, users and roles, the way back from a forgotten password.
//!
//! The requests are those of a browser, written by hand; the users are made with the command line, or come by the link that
//! the store's owner gets.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{PASSWORD, Served, run};

/// R05, R39, R40: there is no default password; a link that only the store's owner gets sets the first one, once. To delete
/// the file of users ends all sessions, and a new link is the way back.
#[test]
fn the_first_password_is_set_with_a_link_for_one_use() {
    let served = Served::with_array(3);
    let mut browser = served.stranger();
    assert_eq!(browser.get("/").ends(303).header("location"), Some("/login"));
    assert!(browser.get("/login").ends(200).body.contains("headstack console open"));
    for password in ["admin", "password", ""] {
        browser.log_in("admin", password).ends(401);
    }
    let first = |link: &str| link[link.find("/open").unwrap()..].to_owned();
    let link = first(&served.link());
    for _ in 0..2 {
        assert!(browser.get(&link).ends(200).body.contains("Set the first password"));
    }
    let key = link.rsplit('=').next().unwrap();
    let form = |confirm| {
        [
            ("key", key),
            ("name", "anna"),
            ("password", PASSWORD),
            ("confirm", confirm),
        ]
    };
    browser.post_with("/open", &form("another one"), "").ends(400);
    assert!(!served.file("state/users.json").exists());
    let reply = browser.post_with("/open", &form(PASSWORD), "").ends(303);
    browser.take(&reply);
    assert!(browser.get("/").ends(200).body.contains("anna"));
    assert_eq!(
        served.file("state/users.json").metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    served.stranger().get(&link).ends(410);
    served.stranger().post_with("/open", &form(PASSWORD), "").ends(410);

    let mut other = served.stranger();
    other.log_in("anna", PASSWORD).ends(303);
    fs::remove_file(served.file("state/users.json")).unwrap();
    browser.get("/").ends(303);
    other.get("/").ends(303);
    assert_eq!(other.log_in("anna", PASSWORD).status, 401);
    let link = first(&served.link());
    assert!(browser.get(&link).ends(200).body.contains("Set the first password"));
    assert!(served.events().contains("UserAction: anna: set the first password"));
}

/// R39: another password ends the other sessions of its user, and must be typed twice.
#[test]
fn another_password_ends_the_sessions_of_the_old_one() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let mut other = served.stranger();
    other.log_in("anna", PASSWORD).ends(303);
    let change = |old: &str, new: &str, confirm: &str| {
        browser
            .post("/setting/password", &[("old", old), ("new", new), ("confirm", confirm)])
            .status
    };
    assert_eq!(change(PASSWORD, "battery staple", "battery stable"), 400);
    assert_eq!(change("wrong horse", "battery staple", "battery staple"), 403);
    assert_eq!(change(PASSWORD, "short", "short"), 400);
    other.get("/").ends(200);
    assert_eq!(change(PASSWORD, "battery staple", "battery staple"), 303);
    other.get("/").ends(303);
    assert_eq!(served.stranger().log_in("anna", PASSWORD).status, 401);
    assert_eq!(served.stranger().log_in("anna", "battery staple").status, 303);
}

#[test]
fn a_role_allows_what_it_says_and_no_more() {
    let served = Served::with_array(4);
    let viewer = served.browser("vera", "view");
    let operator = served.browser("otto", "operate");
    let admin = served.browser("anna", "admin");
    let spare = [("verb", "add"), ("disk", "d3.img")];
    let fault = [("verb", "pull"), ("disk", "d0.img")];
    let user = [("verb", "set"), ("name", "vera"), ("role", "admin")];
    for page in [
        "/",
        "/logical",
        "/physical",
        "/shi",
        "/event",
        "/series",
        "/tapes",
        "/lab",
        "/setting",
        "/help",
    ] {
        viewer.get(page).ends(200);
    }
    viewer.post("/rescan", &[]).ends(403);
    viewer.post("/logical/spares", &spare).ends(403);
    viewer.post("/logical/array/r5/verify", &[]).ends(403);
    operator.post("/logical/spares", &spare).ends(303);
    operator.post("/rescan", &[]).ends(303);
    for path in [
        "/lab/disk",
        "/event/clear",
        "/setting",
        "/setting/user",
        "/logical/array/r5/delete",
        "/logical/create",
    ] {
        for browser in [&viewer, &operator] {
            browser
                .post(
                    path,
                    &[&fault[..], &user[..], &[("typed", "r5"), ("level", "0")]].concat(),
                )
                .ends(403);
        }
    }
    assert_eq!(served.status()["state"], "Normal");
    let before = fs::read(served.file("state/users.json")).unwrap();
    admin
        .post("/setting/user", &[("verb", "remove"), ("name", "root")])
        .ends(303);
    admin
        .post("/setting/user", &[("verb", "remove"), ("name", "anna")])
        .ends(409);
    assert_ne!(fs::read(served.file("state/users.json")).unwrap(), before);
    admin.post("/setting/user", &user).ends(303);
    viewer.post("/lab/disk", &fault).ends(303);
    let events = served.events();
    for told in [
        "otto: add spare d3.img",
        "anna: removed the user root",
        "vera: pulled d0.img",
    ] {
        assert!(events.contains(told), "{told} is not in {events}");
    }
}

#[test]
fn passwords_are_set_and_users_removed_from_the_command_line() {
    let served = Served::with_array(3);
    let store = served.store();
    served.set_password("anna", "admin");
    let listed = run(&["passwd", "--list", "-H", "--store", &store], "");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "anna\tadmin\n");
    let refused = run(&["passwd", "anna", "--remove", "--store", &store], "");
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let short = run(&["passwd", "bert", "--store", &store], "short\n");
    assert_eq!(short.status.code(), Some(64), "{short:?}");
    let none = run(&["console", "open", served.root.path().to_str().unwrap()], "");
    assert_eq!(none.status.code(), Some(66), "{none:?}");
}
