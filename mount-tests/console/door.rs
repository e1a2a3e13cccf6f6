//! Who comes in: the first password, users and roles, the way back from a forgotten password.
//!
//! The requests are those of a browser, written by hand; the users are made with the command line, or come by the link that
//! the store's owner gets.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use openssl::ssl::{SslConnector, SslMethod, SslVersion};

use super::{PASSWORD, Served, reply, run};
use crate::cli::controller::mail::certificate as self_signed;

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

/// R36: with a certificate the console speaks TLS and nothing else, and its cookie goes over TLS only.
#[test]
fn a_console_with_a_certificate_speaks_tls_only() {
    let place = tempfile::tempdir().unwrap();
    let Some([certificate, key]) = self_signed(place.path()) else {
        return;
    };
    for (from, to) in [(&certificate, "server-cert.pem"), (&key, "server-key.pem")] {
        fs::copy(from, place.path().join(to)).unwrap();
    }
    let served = Served::serving(3, "16M", &["--tls", place.path().to_str().unwrap()]);
    served.set_password("anna", "admin");
    assert!(served.link().starts_with("https://127.0.0.1:"), "{}", served.link());
    let ask = |newest: SslVersion, request: &str| {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_ca_file(&certificate).unwrap();
        connector.set_max_proto_version(Some(newest)).unwrap();
        let mut stream = connector.build().connect("127.0.0.1", served.connect()).ok()?;
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // Its end may come without a farewell.
        let _ = stream.read_to_end(&mut bytes);
        Some(reply(&bytes))
    };
    let stranger = served.stranger();
    let page = ask(
        SslVersion::TLS1_3,
        &format!("{}\r\n", stranger.head("GET", "/login", "")),
    );
    page.unwrap().ends(200);
    let old = ask(SslVersion::TLS1_1, "");
    assert!(old.is_none(), "{old:?}");
    let body = format!("name=anna&password={}", PASSWORD.replace(' ', "+"));
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let head = stranger.head("POST", "/login", &format!("{kind}Content-Length: {}\r\n", body.len()));
    let entered = ask(SslVersion::TLS1_2, &format!("{head}\r\n{body}")).unwrap().ends(303);
    let cookie = entered.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-headstack-") && cookie.contains("; Secure"),
        "{cookie}"
    );
    let bare = stranger.get("/login");
    assert!(bare.status == 0 || bare.status == 400, "{bare:?}");
    // A key that is another's is no key.
    let other = tempfile::tempdir().unwrap();
    let [_, key] = self_signed(other.path()).unwrap();
    fs::copy(key, place.path().join("server-key.pem")).unwrap();
    let store = served.store();
    drop(served);
    let refused = run(
        &["serve", &store, "--port", "0", "--tls", place.path().to_str().unwrap()],
        "",
    );
    assert_ne!(refused.status.code(), Some(0));
}
