//! Sessions from start to end: extended headers, growth, TLS, inherited sockets, the server's own end.
//!
//! What no peer here can do is sent by hand; for the rest the peer is named.

use std::{
    fs::OpenOptions,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use headstack::{
    nbd::{Exports, Keys, Limits, Listener, Server, Settings, Tls, TlsError},
    storage::{SimDirectory, sim::Verb},
};

use super::{
    door::{Door, Images, done},
    fixture::{Served, array, array_in, assembled, export, find, pattern, run, wait_until},
    raw::{BLOCK_STATUS, Chunk, DISC, FLUSH, READ, RESIZE, Raw, WRITE},
};

const PAYLOAD_LEN: u16 = 1 << 5;

#[test]
fn extended_headers_carry_64_bit_lengths() {
    let served = Served::new(6 << 30);
    let mut raw = Raw::extended(&served);
    raw.extended_request(PAYLOAD_LEN, WRITE, 1, 5 << 30, 4);
    raw.send(b"data");
    let done = |cookie, offset| Chunk {
        flags: 1,
        kind: 0,
        cookie,
        offset,
        payload: Vec::new(),
    };
    assert_eq!(raw.chunk(), done(1, 5 << 30));
    raw.extended_request(0, READ, 2, 5 << 30, 4);
    let read = raw.chunk();
    assert_eq!((read.flags, read.kind, read.cookie, read.offset), (1, 1, 2, 5 << 30));
    assert_eq!(read.payload, b"\0\0\0\x01\x40\0\0\0data");
    raw.extended_request(0, BLOCK_STATUS, 3, 0, 6 << 30);
    let status = raw.chunk();
    assert_eq!((status.flags, status.kind), (1, 6));
    let table = b"\0\0\0\x01\0\0\0\x03\
        \0\0\0\x01\x40\0\0\0\0\0\0\0\0\0\0\x03\
        \0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\x3f\xff\xf0\0\0\0\0\0\0\0\0\x03";
    assert_eq!(status.payload, table);
    // Zeroes of 5 GiB in one request.
    raw.extended_request(0, 6, 4, 0, (5 << 30) + 4096);
    assert_eq!(raw.chunk(), done(4, 0));
    raw.extended_request(0, READ, 5, 5 << 30, 4);
    assert_eq!(raw.chunk().payload[8..], [0; 4]);
}

#[test]
fn block_status_can_choose_contexts_in_a_payload() {
    let served = Served::new(1 << 20);
    let mut raw = Raw::extended(&served);
    raw.extended_request(PAYLOAD_LEN, BLOCK_STATUS, 1, 0, 12);
    raw.send(b"\0\0\0\0\0\0\x10\0\0\0\0\x01");
    let table = b"\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x03";
    assert_eq!(raw.chunk().payload, table);
    raw.extended_request(PAYLOAD_LEN, BLOCK_STATUS, 2, 0, 12);
    raw.send(b"\0\0\0\0\0\0\x10\0\0\0\0\x09");
    let refused = raw.chunk();
    assert_eq!((refused.kind, &refused.payload[..4]), (0x8001, &[0, 0, 0, 22][..]));
    raw.extended_request(PAYLOAD_LEN, READ, 3, 0, 8);
    raw.send(b"payload!");
    assert_eq!(raw.chunk().kind, 0x8001, "a payload that a read has not");
    raw.extended_request(0, READ, 4, 0, 1);
    assert_eq!(raw.chunk().payload.len(), 9);
}

#[test]
fn clients_see_the_size_of_the_array_and_do_not_change_it() {
    let served = Served::new(1 << 20);
    let mut raw = Raw::simple(&served);
    raw.request(0, RESIZE, 1, 3 << 20, 0);
    assert_eq!(raw.reply(), (1, 28), "more than there is");
    raw.request(0, RESIZE, 2, 1 << 19, 0);
    assert_eq!(raw.reply(), (2, 1), "clients do not cut");
    raw.request(0, RESIZE, 3, 1 << 20, 0);
    assert_eq!(raw.reply(), (3, 0));
    raw.request(0, READ, 4, (1 << 20) - 1, 1);
    assert_eq!(raw.reply(), (4, 0));
    raw.take(1);
    raw.request(0, READ, 5, 1 << 20, 1);
    assert_eq!(raw.reply(), (5, 22));
}

/// R59: a client that reads its reply only after the array has begun to grow gets what was there when it asked: nothing is
/// moved over the pages that its socket holds.
#[test]
fn a_reply_that_is_read_late_outlasts_growth() {
    const LENGTH: u32 = 512 << 10;
    let images = Images::new("0", 2, "16M");
    let door = Door::of(&images);
    let mut raw = Raw::simple_to(&PathBuf::from(images.at("a.sock")), b"a");
    let bytes = pattern(7, 8 << 20);
    for (number, part) in (0..).zip(bytes.chunks(1 << 20)) {
        raw.request(0, WRITE, number, number << 20, 1 << 20);
        raw.send(part);
        assert_eq!(raw.reply(), (number, 0));
    }
    raw.request(0, READ, 9, 1 << 20, LENGTH);
    let reply = raw.reply();
    let more = images.at("2.img");
    done(&["disk", "create", "--size", "16M", &more]);
    std::thread::scope(|scope| {
        let grown = scope.spawn(|| done(&["array", "grow", "a", &more]));
        wait_until("growth has begun", || images.shown()["state"] != "Normal");
        // As long as it would take.
        for _ in 0..40 {
            images.shown();
        }
        assert_eq!((reply, grown.is_finished()), ((9, 0), false));
        assert!(raw.take(LENGTH as usize) == bytes[1 << 20..][..LENGTH as usize]);
        grown.join().unwrap();
    });
    assert_eq!(images.shown()["state"], "Normal");
    drop(door);
}

/// R59: whoever is there while the array grows keeps the size that it saw until it asks; then it has the new one, as whoever
/// comes later has.
#[test]
fn a_client_that_asks_sees_growth() {
    let images = Images::new("0", 2, "16M");
    let door = Door::of(&images);
    let socket = PathBuf::from(images.at("a.sock"));
    let client = || Raw::simple_to(&socket, b"a");
    let size = || images.shown()["size_bytes"].as_u64().unwrap();
    let last = |raw: &mut Raw, offset| {
        raw.request(0, READ, 1, offset, 1);
        let (_, error) = raw.reply();
        if error == 0 {
            raw.take(1);
        }
        error
    };
    let before = size();
    let (mut asks, mut stays) = (client(), client());
    asks.request(0, RESIZE, 2, before + (1 << 20), 0);
    assert_eq!(asks.reply(), (2, 28), "more than there is");
    let more = images.at("2.img");
    done(&["disk", "create", "--size", "16M", &more]);
    done(&["array", "grow", "a", &more]);
    let after = size();
    assert!(after > before, "{after}");
    assert_eq!(last(&mut asks, before), 22, "nobody asked");
    asks.request(0, RESIZE, 3, after, 0);
    assert_eq!(asks.reply(), (3, 0));
    assert_eq!((last(&mut asks, after - 1), last(&mut asks, after)), (0, 22));
    assert_eq!((last(&mut stays, before - 1), last(&mut stays, before)), (0, 22));
    assert_eq!(last(&mut client(), after - 1), 0);
    drop((asks, stays));
    assert_eq!(door.stop(), 0);
}

#[test]
fn a_flush_that_failed_goes_on_failing_for_every_client() {
    let directory = tempfile::tempdir().unwrap();
    let simulated = SimDirectory::new();
    let array = array_in(Arc::new(simulated.clone()), Path::new("image"), 1 << 20);
    // It takes writes and cannot be made durable; the second time it could, but what was lost stays lost.
    simulated.fail_next(Verb::Sync, 5);
    let exports = Exports::default();
    exports.add(export("disk", array));
    let served = Served::start(directory, exports, Settings::default());
    let mut first = Raw::simple(&served);
    first.request(0, WRITE, 1, 0, 4);
    first.send(b"lost");
    assert_eq!(first.reply(), (1, 0));
    for mut raw in [first, Raw::simple(&served)] {
        for cookie in 2..4 {
            raw.request(0, FLUSH, cookie, 0, 0);
            assert_eq!(raw.reply(), (cookie, 5));
        }
        for flags in 0..2 {
            raw.request(flags, WRITE, 4, 0, 4);
            raw.send(b"lost");
            assert_eq!(raw.reply(), (4, 5), "no write is taken that could be lost as well");
        }
    }
}

/// Long reads are handed from the host's cache to the socket: they are right byte for byte wherever they begin, also where the
/// client lets them pile up, and where the image was cut short they are an error and the client stays.
#[test]
fn long_reads_are_whole_though_the_client_takes_its_time() {
    const LENGTH: u32 = (400 << 10) + 123;
    let served = Served::new(16 << 20);
    let bytes = pattern(7, 16 << 20);
    served.array().write_at(&bytes, 0, false).unwrap();
    let mut raw = Raw::simple(&served);
    let starts: Vec<u64> = (0..30).map(|number| number * 500_001).collect();
    for start in &starts {
        raw.request(0, READ, *start, *start, LENGTH);
    }
    let mut seen = Vec::new();
    for _ in &starts {
        let (start, error) = raw.reply();
        assert_eq!(error, 0);
        let at = usize::try_from(start).unwrap();
        assert!(
            raw.take(LENGTH as usize) == bytes[at..at + LENGTH as usize],
            "at {start}"
        );
        seen.push(start);
    }
    seen.sort_unstable();
    assert_eq!(seen, starts);
    let image = OpenOptions::new().write(true).open(served.image()).unwrap();
    image.set_len(served.data_offset() + (1 << 20)).unwrap();
    raw.request(0, READ, 1, (1 << 20) - 4096, LENGTH);
    assert_eq!(raw.reply(), (1, 5), "a part of it is gone");
    raw.request(0, READ, 2, 4096, LENGTH);
    assert_eq!(raw.reply(), (2, 0));
    assert!(raw.take(LENGTH as usize) == bytes[4096..4096 + LENGTH as usize]);
}

#[test]
fn requests_before_a_disconnect_are_all_answered() {
    let served = Served::new(8 << 20);
    let mut raw = Raw::simple(&served);
    for cookie in 0..64_u64 {
        raw.request(0, WRITE, cookie, cookie << 16, 1 << 16);
        raw.send(&[1; 1 << 16]);
    }
    raw.request(0, DISC, 99, 0, 0);
    let mut cookies: Vec<u64> = (0..64).map(|_| raw.reply().0).collect();
    cookies.sort_unstable();
    assert!(cookies.into_iter().eq(0..64));
    assert_eq!(raw.rest(), b"");
}

#[test]
fn stopping_finishes_what_is_under_way_and_removes_the_socket() {
    let served = Served::new(8 << 20);
    let idle = Raw::simple(&served);
    let mut busy = Raw::simple(&served);
    busy.request(0, WRITE, 1, 0, 4 << 20);
    busy.send(&vec![6; 4 << 20]);
    assert_eq!(busy.reply(), (1, 0));
    assert_eq!(served.server.stop(super::fixture::LIMIT), 0);
    assert!(!served.socket().exists());
    assert_eq!(busy.rest(), b"");
    drop(idle);
}

#[test]
fn an_export_that_is_taken_away_leaves_others_alone() {
    let served = Served::new(1 << 20);
    let array = served.array();
    let mut stays = Raw::greeted(&served);
    let mut goes = Raw::simple(&served);
    goes.request(0, FLUSH, 1, 0, 0);
    assert_eq!(goes.reply(), (1, 0));
    assert!(served.server.remove("disk", super::fixture::LIMIT));
    assert_eq!(goes.rest(), b"");
    stays.option(7, b"\0\0\0\x04disk\0\0");
    assert_eq!(stays.option_reply().1, 0x8000_0006);
    served.server.exports().add(export("disk", array));
    stays.option(7, b"\0\0\0\x04disk\0\0");
    assert_eq!(stays.option_reply().1, 3, "it came back under its name");
}

#[test]
fn an_idle_client_is_cut_off_where_that_is_wished() {
    let limits = Limits {
        idle: Some(Duration::from_secs(2)),
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let served = Served::with(1 << 20, settings, |export| export);
    let mut raw = Raw::simple(&served);
    raw.request(0, FLUSH, 1, 0, 0);
    assert_eq!(raw.reply(), (1, 0));
    assert_eq!(raw.rest(), b"");
    served.wait_until_empty();
}

#[test]
fn tcp_serves_this_machine() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let served = Served::new(1 << 20);
    let array = served.array();
    let listener = Listener::loopback(0).unwrap();
    let uri = listener.uri("disk", false).unwrap();
    let exports = Exports::default();
    exports.add(export("disk", array));
    let server = Server::start(exports, Settings::default(), vec![listener]).unwrap();
    assert_eq!(run(nbdinfo.args(["--size", &uri])).trim(), "1048576");
    drop(server);
}

/// TLS that is required, with these keys.
pub(super) fn offered(certificates: Option<&Path>, verify: bool, shared: Option<&Path>) -> Tls {
    let keys = Keys {
        certificates,
        verify,
        shared,
    };
    Tls::load(&keys, true).unwrap()
}

/// Makes an authority, a server's and a client's certificate.
pub(super) fn certificates(directory: &Path) -> bool {
    let Some(mut probe) = find("openssl") else { return false };
    run(probe.arg("version"));
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        run(command.current_dir(directory).args(arguments.split_whitespace()));
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=authority -keyout ca-key.pem -out ca-cert.pem",
    );
    for who in ["server", "client"] {
        std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={who} -keyout {who}-key.pem -out {who}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {who}.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 3650 -extfile names -out {who}-cert.pem"
        ));
    }
    true
}

#[test]
fn tls_with_certificates_is_required_of_clients_and_checks_them() {
    let Some(mut nbdcopy) = find("nbdcopy") else { return };
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().to_owned();
    if !certificates(&keys) {
        return;
    }
    let settings = Settings {
        tls: offered(Some(&keys), true, None),
        ..Settings::default()
    };
    let served = Served::with(4 << 20, settings, |export| export);
    let secure = format!(
        "{}&tls-certificates={}",
        served.uri().replacen("nbd+", "nbds+", 1),
        keys.display()
    );
    let source = keys.join("source");
    let bytes = super::fixture::pattern(5, 4 << 20);
    std::fs::write(&source, &bytes).unwrap();
    run(nbdcopy.arg(&source).arg(&secure));
    assert!(served.contents() == bytes);
    let mut back = find("nbdcopy").unwrap();
    let target = keys.join("target");
    run(back.arg(&secure).arg(&target));
    assert!(super::fixture::contents(&target) == bytes);
    // In the clear nothing is told but that TLS is wanted.
    let mut raw = Raw::greeted(&served);
    raw.option(3, b"");
    assert_eq!(raw.option_reply().1, 0x8000_0005);
    raw.option(1, b"disk");
    assert_eq!(raw.rest(), b"");
    // A client without a certificate of the authority gets nothing.
    for name in ["client-cert.pem", "client-key.pem"] {
        std::fs::remove_file(keys.join(name)).unwrap();
    }
    let refused = Command::new("timeout")
        .args(["600", "nbdinfo", "--size", &secure])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    served.wait_until_empty();
}

/// Clients with a key that the server knows are served, over TLS 1.3 and 1.2; others are not. With certificates besides, a
/// client has the choice.
#[test]
fn tls_with_shared_keys_knows_its_clients() {
    if ["nbdcopy", "nbdinfo", "psktool"]
        .iter()
        .any(|peer| find(peer).is_none())
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (name, file) in [("alice", "keys"), ("bob", "keys"), ("alice", "others")] {
        run(find("psktool")
            .unwrap()
            .args(["--keysize", "32", "-u", name, "-p"])
            .arg(at(file)));
    }
    let secure = |served: &Served, user: &str, file: &str| {
        let uri = served
            .uri()
            .replacen("nbd+unix:///", &format!("nbds+unix://{user}@/"), 1);
        format!("{uri}&tls-psk-file={}", at(file).display())
    };
    let settings = Settings {
        tls: offered(None, false, Some(&at("keys"))),
        ..Settings::default()
    };
    let served = Served::with(4 << 20, settings, |export| export);
    let bytes = super::fixture::pattern(6, 4 << 20);
    std::fs::write(at("source"), &bytes).unwrap();
    run(find("nbdcopy")
        .unwrap()
        .arg(at("source"))
        .arg(secure(&served, "alice", "keys")));
    assert!(served.contents() == bytes);
    run(find("nbdcopy")
        .unwrap()
        .arg(secure(&served, "bob", "keys"))
        .arg(at("target")));
    assert!(super::fixture::contents(&at("target")) == bytes);
    let refused = |uri: &str| {
        !find("nbdinfo")
            .unwrap()
            .args(["--size", uri])
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(refused(&secure(&served, "alice", "others")), "another key");
    assert!(refused(&served.uri()), "no key");
    if !certificates(directory.path()) {
        return;
    }
    let settings = Settings {
        tls: offered(Some(directory.path()), true, Some(&at("keys"))),
        ..Settings::default()
    };
    let both = Served::with(1 << 20, settings, |export| export);
    let certified = format!(
        "{}&tls-certificates={}",
        both.uri().replacen("nbd+", "nbds+", 1),
        directory.path().display()
    );
    for uri in [&secure(&both, "bob", "keys"), &certified] {
        assert_eq!(run(find("nbdinfo").unwrap().args(["--size", uri])).trim(), "1048576");
    }
    both.wait_until_empty();
}

/// A file of keys that is none is refused with its line.
#[test]
fn shared_keys_are_read_as_psktool_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let load = |text: &[u8]| {
        std::fs::write(&path, text).unwrap();
        let keys = Keys {
            shared: Some(&path),
            ..Keys::default()
        };
        Tls::load(&keys, true)
    };
    assert!(load(b"# two\nalice:0a0B\n\nbob:ff\r\n").is_ok());
    let long = [b"alice:".to_vec(), b"00".repeat(257)].concat();
    for text in [
        &b"x:00\nalice"[..],
        b"x:00\nalice:",
        b"x:00\nalice:0",
        b"x:00\nalice:0g",
        &[b"\n".to_vec(), long].concat(),
    ] {
        assert!(matches!(load(text), Err(TlsError::Line { line: 2, .. })), "{text:?}");
    }
}

#[test]
fn what_is_sent_in_the_clear_before_tls_is_not_taken_for_secure() {
    let directory = tempfile::tempdir().unwrap();
    if !certificates(directory.path()) {
        return;
    }
    let settings = Settings {
        tls: offered(Some(directory.path()), false, None),
        ..Settings::default()
    };
    let served = Served::with(1 << 20, settings, |export| export);
    let mut raw = Raw::greeted(&served);
    raw.send(b"IHAVEOPT\0\0\0\x05\0\0\0\0IHAVEOPT\0\0\0\x03\0\0\0\0");
    assert_eq!(raw.option_reply(), (5, 1, Vec::new()));
    let rest = raw.rest();
    assert!(!rest.windows(4).any(|window| window == b"disk"), "{rest:?}");
}

/// Serves what is handed over where the environment says so: the other half of the next test.
#[test]
fn serve_inherited_socket() {
    let Some(image) = std::env::var_os("HEADSTACK_TEST_SERVE") else {
        return;
    };
    let exports = Exports::default();
    exports.add(export("disk", assembled(Path::new(&image))));
    let listeners = Listener::inherited().unwrap();
    assert_eq!(listeners.len(), 1);
    let server = Server::start(exports, Settings::default(), listeners).unwrap();
    server.wait_for_last_client();
    assert_eq!(server.stop(Duration::from_secs(10)), 0);
}

#[test]
fn a_socket_that_was_handed_over_is_served_until_the_last_client_leaves() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    drop(array(&image, 3 << 20));
    let program = std::env::current_exe().unwrap();
    // The harness prints to the standard output, which nbdinfo needs for itself.
    let serve = r#"exec "$0" --exact nbd::sessions::serve_inherited_socket >/dev/null"#;
    nbdinfo
        .args(["--size", "--", "[", "sh", "-c", serve])
        .arg(program)
        .arg("]");
    nbdinfo.env("HEADSTACK_TEST_SERVE", &image).process_group(0);
    assert_eq!(run(&mut nbdinfo).trim(), "3145728");
}
