//! The console as browsers and their enemies meet it: the real binary, real sockets, requests written by hand.
//!
//! Here is a store with its controller, and a browser that knows no more than HTTP, a cookie and a token; `story` is a real
//! one. A browser in a test waits for conditions only.

mod changes;
mod door;
mod hostile;
mod pages;
mod story;
mod transfers;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const HEADSTACK: &str = env!("CARGO_BIN_EXE_headstack");
/// Longest wait for something that another process does.
const LIMIT: Duration = Duration::from_secs(120);
const PASSWORD: &str = "correct horse";

/// A store whose controller runs with a console.
struct Served {
    root: TempDir,
    controller: Child,
    port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It is gone already where the test has ended it.
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    #[track_caller]
    fn ends(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

/// A browser that is logged in, or is not yet.
struct Browser<'a> {
    served: &'a Served,
    cookie: Option<String>,
    token: String,
}

fn run(words: &[&str], input: &str) -> Output {
    let mut child = Command::new(HEADSTACK)
        .args(words)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn said(words: &[&str]) -> String {
    let output = run(words, "");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited for: {what}");
        std::thread::yield_now();
    }
}

impl Served {
    /// A store of disks `d0.img`.., the first three of which are the array `r5`.
    fn with_array(disks: usize) -> Self {
        Self::with_array_of(disks, "16M")
    }

    fn with_array_of(disks: usize, size: &str) -> Self {
        Self::serving(disks, size, &[])
    }

    fn serving(disks: usize, size: &str, more: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().to_path_buf();
        Self::serving_beside(root, &run, disks, size, more)
    }

    /// A store whose controller finds others by their notes in `run`.
    fn serving_beside(root: TempDir, run: &Path, disks: usize, size: &str, more: &[&str]) -> Self {
        let store = root.path().join("store").to_str().unwrap().to_owned();
        said(&["init", &store]);
        let paths: Vec<String> = (0..disks)
            .map(|number| format!("{store}/disks/d{number}.img"))
            .collect();
        for path in &paths {
            said(&["disk", "create", path, "--size", size]);
        }
        let create = [
            "array",
            "create",
            "r5",
            "--level",
            "5",
            "--init",
            "foreground",
            "--chunk",
            "64K",
        ];
        said(&[&create[..], &[&paths[0], &paths[1], &paths[2]]].concat());
        let mut controller = Command::new(HEADSTACK)
            .args(["serve", &store, "--port", "0", "--json"])
            .args(more)
            .env("XDG_RUNTIME_DIR", run)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(controller.stdout.take().unwrap()).lines();
        let mut text = String::new();
        for line in lines.map_while(Result::ok) {
            text.push_str(&line);
            if line == "}" {
                break;
            }
        }
        let told: Value = serde_json::from_str(&text).unwrap();
        let url = told["console"].as_str().unwrap();
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        Self { root, controller, port }
    }

    fn store(&self) -> String {
        self.root.path().join("store").to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("store").join(name)
    }

    fn disk(&self, number: usize) -> String {
        format!("{}/disks/d{number}.img", self.store())
    }

    fn inject(&self, disks: impl IntoIterator<Item = usize>, fault: &str) {
        for disk in disks {
            said(&["disk", "inject", &self.disk(disk), fault]);
        }
    }

    fn status(&self) -> Value {
        serde_json::from_str(&said(&["status", &self.store(), "--json"])).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        wait_until(state, || self.status()["state"] == state);
    }

    /// Texts of all events.
    fn events(&self) -> String {
        said(&["event", "download", "--store", &self.store()])
    }

    /// A link for one use.
    fn link(&self) -> String {
        said(&["console", "open", &self.store()]).trim().to_owned()
    }

    fn set_password(&self, user: &str, role: &str) {
        let words = ["passwd", user, "--role", role, "--store", &self.store()];
        let output = run(&words, &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{output:?}");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends a request as it is and takes what comes until the end.
    fn send(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        // A server that has heard enough may close before it has read all.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        reply(&bytes)
    }

    fn stranger(&self) -> Browser<'_> {
        Browser {
            served: self,
            cookie: None,
            token: String::new(),
        }
    }

    /// A browser of a user, who is made first.
    fn browser(&self, user: &str, role: &str) -> Browser<'_> {
        if !self.file("state/users.json").exists() && role != "admin" {
            self.set_password("root", "admin");
        }
        self.set_password(user, role);
        let mut browser = self.stranger();
        browser.log_in(user, PASSWORD).ends(303);
        browser
    }
}

fn reply(bytes: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    Reply {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

impl Browser<'_> {
    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let cookie = self
            .cookie
            .as_ref()
            .map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let port = self.served.port;
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{cookie}{more}")
    }

    fn get(&self, path: &str) -> Reply {
        self.served.send(&format!("{}\r\n", self.head("GET", path, "")))
    }

    /// Sends a form, with the token.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let fields = [&[("token", self.token.as_str())], fields].concat();
        self.post_with(path, &fields, "")
    }

    fn post_with(&self, path: &str, fields: &[(&str, &str)], more: &str) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let more = format!("{more}{kind}Content-Length: {}\r\n", body.len());
        self.served
            .send(&format!("{}\r\n{body}", self.head("POST", path, &more)))
    }

    fn log_in(&mut self, user: &str, password: &str) -> Reply {
        let reply = self.post_with("/login", &[("name", user), ("password", password)], "");
        self.take(&reply);
        reply
    }

    /// Takes the cookie of an answer, and the token of the page behind it.
    fn take(&mut self, reply: &Reply) {
        let Some(cookie) = reply.header("set-cookie") else {
            return;
        };
        self.cookie = cookie.split(';').next().map(str::to_owned);
        let page = self.get("/help").ends(200).body;
        let token = page
            .split("name=\"token\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        self.token = token.unwrap().to_owned();
    }
}
