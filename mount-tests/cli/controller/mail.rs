//! Who is told about events: mails to a real server, in the clear and encrypted, and posts to a webhook.
//!
//! The server is aiosmtpd; it prints each mail that it takes.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
};

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use serde_json::Value;

use super::{Store, end, headstack, refused, wait_until};
use crate::{
    cli::{HEADSTACK, headstack_fed},
    peer::{run, skip, top},
};

const PASSWORD: &str = "correct-horse-7";

/// A mail server; it ends with the test.
struct Server {
    child: Child,
    port: String,
    mails: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// A server with options of the script; none where aiosmtpd is not installed.
    fn start(options: &[&str]) -> Option<Self> {
        let python = Path::new("/usr/bin/python3");
        let known = Command::new(python)
            .args(["-c", "import aiosmtpd"])
            .stderr(Stdio::null())
            .status();
        if !known.is_ok_and(|status| status.success()) {
            skip("peer aiosmtpd (Debian's python3-aiosmtpd)");
            return None;
        }
        let mut child = Command::new(python)
            .arg(top().join("tools/peers/smtp/receive.py"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        let mails = Arc::<Mutex<Vec<Value>>>::default();
        let taken = Arc::clone(&mails);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, port, mails })
    }

    fn mails(&self) -> Vec<Value> {
        self.mails.lock().unwrap().clone()
    }

    /// Texts of the mails to an address, with lines that were folded for the way put together.
    fn texts(&self, address: &str) -> Vec<String> {
        let mails = self.mails();
        let to = mails.iter().filter(|mail| mail["to"][0] == address);
        to.map(|mail| {
            mail["content"]
                .as_str()
                .unwrap()
                .replace("=\r\n", "")
                .replace("=3D", "=")
        })
        .collect()
    }
}

/// Key and certificate for 127.0.0.1, which nobody vouches for.
pub fn certificate(directory: &Path) -> Option<[String; 2]> {
    let openssl = crate::cli::peer("openssl")?;
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    let made = Command::new(openssl)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-noenc",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=mail.test",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-out", &certificate, "-keyout", &key])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    Some([certificate, key])
}

/// A request to a webhook: its head, and its body.
pub fn posted(stream: impl Read) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[from..].trim_end().to_ascii_lowercase();
        length = line
            .strip_prefix("content-length: ")
            .map_or(length, |text| text.parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

impl Store {
    fn notify(&self, words: &[&str]) -> super::Ran {
        let path = self.path();
        let words: Vec<&str> = ["notify"]
            .iter()
            .chain(words)
            .chain(&["--store", &path])
            .copied()
            .collect();
        headstack(&words)
    }

    /// Sets the mail server, with the login that tests use.
    fn mail_through(&self, server: &Server, more: &[&str]) {
        let words = [
            "smtp",
            "set",
            "--server",
            "127.0.0.1",
            "--from",
            "nas@example.com",
            "--enable",
            "true",
        ];
        let words: Vec<&str> = words
            .iter()
            .chain(&["--port", &server.port])
            .chain(more)
            .copied()
            .collect();
        self.notify(&words).text();
    }

    fn log_in(&self) {
        let path = self.path();
        let words = [
            "notify",
            "smtp",
            "set",
            "--login",
            "nas",
            "--password-file",
            "-",
            "--store",
            &path,
        ];
        headstack_fed(&words, PASSWORD.as_bytes()).text();
    }

    /// Lines of the log, the oldest first.
    fn log(&self) -> Vec<String> {
        let text = headstack(&["event", "download", "--store", &self.path()]).text();
        text.lines().map(str::to_owned).collect()
    }
}

/// R41 R42: a test mail goes through a server in the clear, with STARTTLS and with TLS from the first byte, each with a
/// login; a certificate that nobody vouches for and a wrong password do not pass.
#[test]
fn mail_goes_through_every_kind_of_server() {
    let store = Store::new(0);
    let Some([certificate, key]) = certificate(store.root.path()) else {
        return;
    };
    let login = format!("nas:{PASSWORD}");
    store
        .notify(&["recipient", "add", "op@example.com", "--name", "Op \"the\" Ops, äöü"])
        .text();
    store
        .notify(&["recipient", "test", "op@example.com"])
        .fails(66, &["no mail server"]);
    let secured = ["--cert", &certificate, "--key", &key];
    for (kind, security) in [("", "auto"), ("--starttls", "auto"), ("--implicit", "ssl")] {
        let mut options = vec!["--login", &login];
        if !kind.is_empty() {
            options.push(kind);
            options.extend(secured);
        }
        let Some(server) = Server::start(&options) else { return };
        store.mail_through(&server, &["--security", security, "--authority", "", "--login", ""]);
        let said = store
            .notify(&["recipient", "test", "op@example.com"])
            .fails(69, &["127.0.0.1"]);
        assert!(
            said.contains(if kind.is_empty() { "530" } else { "ertificate" }),
            "{said}"
        );
        store.mail_through(&server, &["--authority", &certificate]);
        store.log_in();
        store.notify(&["recipient", "test", "op@example.com"]).text();
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{mails:?}");
        assert_eq!(mails[0]["login"], "nas");
        assert_eq!(mails[0]["encrypted"], !kind.is_empty());
        assert_eq!(mails[0]["from"], "nas@example.com");
        let text = server.texts("op@example.com").concat();
        assert!(text.contains("TestMessage: a test, asked for by an operator"), "{text}");
        let path = store.path();
        let wrong = ["notify", "smtp", "set", "--password-file", "-", "--store", &path];
        headstack_fed(&wrong, b"wrong\n").text();
        store
            .notify(&["recipient", "test", "op@example.com"])
            .fails(69, &["535"]);
    }
    let shown = store.notify(&["show", "--json"]).json();
    assert_eq!(shown["smtp"]["password_set"], true);
    assert!(!shown.to_string().contains("wrong") && !shown.to_string().contains(PASSWORD));
}

/// R42 R43: with a controller, each recipient is mailed events of the chosen levels, with the lines of the log; the
/// password is in nothing that is told.
#[test]
fn a_failed_disk_is_mailed() {
    let store = Store::with_array();
    let Some(server) = Server::start(&["--login", &format!("nas:{PASSWORD}")]) else {
        return;
    };
    let controller = store.serve();
    store.wait_for("Normal");
    store.mail_through(&server, &[]);
    store.log_in();
    store
        .notify(&["recipient", "add", "errors@example.com", "--level", "error"])
        .text();
    store
        .notify(&["recipient", "add", "quiet@example.com", "--level", "warning"])
        .text();
    store.on_disk("pull", 1);
    let mailed = |to: &str, event: &str| server.texts(to).concat().contains(event);
    wait_until("the mails", || {
        mailed("errors@example.com", " Fail: ") && mailed("quiet@example.com", " DiskRemoved: ")
    });
    let log = store.log();
    let lines = |word: &str| -> Vec<&String> { log.iter().filter(|line| line.contains(word)).collect() };
    let [errors, quiet] = ["errors", "quiet"].map(|name| server.texts(&format!("{name}@example.com")).concat());
    let failed = lines(" Fail: ")[0];
    assert!(
        errors.contains(failed) && !quiet.contains(failed),
        "{failed}\n{errors}\n{quiet}"
    );
    let subject = errors.lines().find(|line| line.starts_with("Subject: ")).unwrap();
    assert!(subject.contains("Error: array r5: member 1 failed"), "{subject}");
    let pulled = lines(" DiskRemoved: ")[0];
    assert!(quiet.contains(pulled) && !errors.contains(pulled), "{pulled}\n{quiet}");
    for answer in [
        store.status().to_string(),
        log.join("\n"),
        store.notify(&["show", "--json"]).json().to_string(),
    ] {
        assert!(!answer.contains(PASSWORD));
    }
    assert_eq!(end(controller), Some(0));
}

/// R41: a server that refuses is told about once; a kill between queueing and sending loses nothing and floods nobody.
#[test]
fn a_kill_before_the_mail_is_sent_loses_nothing() {
    let store = Store::new(0);
    let refuse = store.file("refuse");
    std::fs::write(&refuse, "451 4.3.0 later").unwrap();
    let Some(server) = Server::start(&["--refuse", refuse.to_str().unwrap()]) else {
        return;
    };
    store.mail_through(&server, &[]);
    store
        .notify(&[
            "recipient",
            "add",
            "op@example.com",
            "--level",
            "information,warning,error",
        ])
        .text();
    let test = || headstack(&["event", "test", "--store", &store.path()]).text();
    let mut controller = store.serve();
    test();
    store.wait_for_event("NotifyFailed");
    test();
    controller.0.kill().unwrap();
    controller.0.wait().unwrap();
    std::fs::remove_file(&refuse).unwrap();
    let controller = store.serve();
    wait_until("the mail", || !server.mails().is_empty());
    let texts = server.texts("op@example.com");
    let log = store.log();
    let mailed: Vec<&String> = log.iter().filter(|line| texts[0].contains(line.as_str())).collect();
    let count = |word: &str| mailed.iter().filter(|line| line.contains(word)).count();
    assert_eq!(
        [count("TestMessage"), count("NotifyFailed")],
        [2, 1],
        "{texts:?}\n{log:?}"
    );
    assert_eq!(store.events().iter().filter(|name| *name == "NotifyFailed").count(), 1);
    test();
    assert_eq!(end(controller), Some(0));
    assert_eq!(server.mails().len(), 1, "what follows is gathered");
}

/// R42: a server that knows one recipient and not another mails the one all events; the other's are kept, and it is told
/// once whom and why.
#[test]
fn a_recipient_who_is_refused_for_good_holds_no_other_up() {
    let store = Store::new(0);
    let gone = "gone@example.com";
    let Some(server) = Server::start(&["--nobody", gone]) else {
        return;
    };
    store.mail_through(&server, &[]);
    for address in [gone, "op@example.com"] {
        store
            .notify(&["recipient", "add", address, "--level", "information,warning,error"])
            .text();
    }
    let controller = store.serve();
    headstack(&["event", "test", "--store", &store.path()]).text();
    store.wait_for_event("NotifyFailed");
    wait_until("the mail", || {
        server.texts("op@example.com").concat().contains("TestMessage")
    });
    let log = store.log();
    let failed: Vec<&String> = log.iter().filter(|line| line.contains("NotifyFailed")).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0].contains(gone) && failed[0].contains("(550): 5.1.1 there is nobody"),
        "{failed:?}"
    );
    let shown = store.notify(&["show", "--json"]).json();
    let queue = shown["destinations"].as_array().unwrap();
    let of = |address: &str| queue.iter().find(|to| to["to"] == address).unwrap();
    assert_eq!(
        (&of(gone)["troubled"], &of("op@example.com")["troubled"]),
        (&true.into(), &false.into())
    );
    assert!(of(gone)["waiting"].as_u64() >= Some(1), "{shown}");
    store.notify(&["recipient", "test", gone]).fails(69, &["550"]);
    assert!(
        server
            .mails()
            .iter()
            .all(|mail| mail["to"] == serde_json::json!(["op@example.com"]))
    );
    assert_eq!(end(controller), Some(0));
}

/// R41: a mail server that takes the connection and says nothing holds neither the arrays nor the end of the controller up.
#[test]
fn a_mail_server_that_hangs_holds_nobody_up() {
    let store = Store::with_array();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let words = [
        "smtp",
        "set",
        "--server",
        "127.0.0.1",
        "--port",
        &port,
        "--from",
        "n@example.com",
        "--enable",
        "true",
    ];
    store.notify(&words).text();
    store
        .notify(&["recipient", "add", "op@example.com", "--level", "information,error"])
        .text();
    let controller = store.serve();
    let (_connection, _) = silent.accept().unwrap();
    store.wait_for("Normal");
    store.on_disk("pull", 1);
    store.wait_for("Critical – missing disk");
    store.on_disk("insert", 1);
    store.wait_for("Normal");
    let shown = store.notify(&["show", "--json"]).json();
    assert!(shown["destinations"][0]["waiting"].as_u64().unwrap() > 0, "{shown}");
    assert_eq!(end(controller), Some(0));
}

/// R42: a webhook with TLS is told only where its certificate is one that this machine trusts.
#[test]
fn a_webhook_with_tls_has_to_be_who_it_says() {
    let place = tempfile::tempdir().unwrap();
    let Some([certificate, key]) = certificate(place.path()) else {
        return;
    };
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate_chain_file(&certificate).unwrap();
    acceptor.set_private_key_file(&key, SslFiletype::PEM).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}/told", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that does not trust the certificate leaves.
            let Ok(mut stream) = acceptor.accept(stream) else {
                continue;
            };
            if posted(&mut stream).is_some() {
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                    .unwrap();
                let _ = stream.shutdown();
            }
        }
    });
    let store = Store::new(0);
    store.notify(&["webhook", "set", &url, "--level", "error"]).text();
    let refused = store.notify(&["webhook", "test"]);
    assert!(
        refused.code != 0 && refused.err.to_lowercase().contains("certificate"),
        "{refused:?}"
    );
    let mut trusting = Command::new(HEADSTACK);
    trusting.args(["notify", "webhook", "test", "--store", &store.path()]);
    run(trusting.env("SSL_CERT_FILE", &certificate), b"");
}

/// R42: a webhook gets each event as JSON; what is no address, no level and no URL is refused.
#[test]
fn a_webhook_gets_events_as_json() {
    let store = Store::new(0);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let told = posted(&stream).unwrap();
            (&stream)
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            if sender.send(told).is_err() {
                return;
            }
        }
    });
    let event = |told: (String, Vec<u8>)| -> Value {
        assert!(told.0.starts_with("POST /told HTTP/1.1\r\n"), "{}", told.0);
        serde_json::from_slice(&told.1).unwrap()
    };
    store.notify(&["webhook", "set", &url, "--level", "information"]).text();
    store.notify(&["webhook", "test"]).text();
    assert_eq!(event(told.recv().unwrap())["event"], "TestMessage");
    let controller = store.serve();
    let started = event(told.recv().unwrap());
    assert_eq!(started["event"], "ControllerStarted");
    assert_eq!(started["level"], "information");
    assert_eq!(
        PathBuf::from(started["store"].as_str().unwrap()),
        std::fs::canonicalize(store.path()).unwrap()
    );
    store.notify(&["webhook", "rm"]).text();
    assert_eq!(end(controller), Some(0));
    let path = store.path();
    for (words, named) in [
        (&["notify", "webhook", "set", "ftp://x/"][..], "http://"),
        (&["notify", "recipient", "add", "nobody"], "nobody"),
        (&["notify", "recipient", "add", "a@b.c\r\nBcc: d@e.f"], "Bcc"),
        (
            &[
                "notify",
                "recipient",
                "add",
                "a@example.com",
                "--name",
                "x\r\nBcc: d@e.f",
            ],
            "the name",
        ),
        (&["notify", "smtp", "set", "--server", "a b"], "a b"),
        (&["notify", "smtp", "set", "--enable", "true"], "--server"),
        (&["notify", "digest", "99999999"], "86400"),
    ] {
        let words: Vec<&str> = words.iter().chain(&["--store", &path]).copied().collect();
        refused(&words, 64, &[named]);
    }
    store.notify(&["webhook", "test"]).fails(66, &["webhook"]);
    store
        .notify(&["recipient", "rm", "nobody@example.com"])
        .fails(66, &["nobody@example.com"]);
}
