//! A controller and its store, as operators and clients meet them: the real binary, real sockets, injected faults.
//!
//! Here is how a store is made and its controller run; what it reports is read from `status --json`.

mod asked;
mod dumped;
mod hostile;
pub mod mail;
mod schedule;
mod states;
mod story;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{HEADSTACK, Ran, headstack, wait_until};

/// A store of one's own.
struct Store {
    root: TempDir,
}

/// A controller that runs; it is killed if the test does not end it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already where the test has ended it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Store {
    /// A store with `disks` blank disks of 16 MiB.
    fn new(disks: usize) -> Self {
        let store = Self {
            root: tempfile::tempdir().unwrap(),
        };
        headstack(&["init", &store.path()]).text();
        for number in 0..disks {
            headstack(&["disk", "create", &store.disk(number), "--size", "16M"]).text();
        }
        store
    }

    /// A store with an array `r5` of the first three disks, and one disk more.
    fn with_array() -> Self {
        let store = Self::new(4);
        store.create("r5", "5", &[0, 1, 2]);
        store
    }

    fn create(&self, name: &str, level: &str, disks: &[usize]) {
        let disks: Vec<String> = disks.iter().map(|number| self.disk(*number)).collect();
        let mut words = vec![
            "array",
            "create",
            name,
            "--level",
            level,
            "--init",
            "foreground",
            "--chunk",
            "64K",
        ];
        words.extend(disks.iter().map(String::as_str));
        headstack(&words).text();
    }

    fn path(&self) -> String {
        self.root.path().join("store").to_str().unwrap().to_owned()
    }

    fn disk(&self, number: usize) -> String {
        format!("{}/disks/d{number}.img", self.path())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("store").join(name)
    }

    /// Starts the controller and waits until it serves.
    fn serve(&self) -> Running {
        self.serve_with(&[])
    }

    fn serve_with(&self, words: &[&str]) -> Running {
        let mut child = Command::new(HEADSTACK)
            .args(["serve", &self.path(), "--json"])
            .args(words)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut lines = said.lines().map(|line| line.unwrap_or_default());
        assert!(lines.any(|line| line == "}"), "the controller ends before it serves");
        Running(child)
    }

    fn status(&self) -> Value {
        headstack(&["status", &self.path(), "--json"]).json()
    }

    fn state(&self) -> String {
        self.status()["state"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        wait_until(state, || self.state() == state);
    }

    fn disk_state(&self, number: usize) -> String {
        let status = self.status();
        let name = format!("d{number}.img");
        let disks = status["disks"].as_array().unwrap();
        let disk = disks.iter().find(|disk| disk["name"] == name.as_str()).unwrap();
        disk["state"].as_str().unwrap().to_owned()
    }

    fn on_disk(&self, verb: &str, number: usize) {
        headstack(&["disk", verb, &self.disk(number)]).text();
    }

    fn inject(&self, number: usize, fault: &str) {
        headstack(&["disk", "inject", &self.disk(number), fault]).text();
    }

    fn set(&self, key: &str, value: &str) {
        headstack(&["setting", "set", key, value, "--store", &self.path()]).text();
    }

    /// Names of all events, the oldest first.
    fn events(&self) -> Vec<String> {
        let all = headstack(&["event", "download", "--json", "--store", &self.path()]).json();
        let names = all["events"].as_array().unwrap().iter();
        names.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Text of the last event of a name.
    #[track_caller]
    fn told(&self, name: &str) -> String {
        let all = headstack(&["event", "download", "--json", "--store", &self.path()]).json();
        let mut events = all["events"].as_array().unwrap().iter();
        let last = events.rfind(|event| event["event"] == name).expect(name);
        last["text"].as_str().unwrap().to_owned()
    }

    /// Paths of the members of the first array.
    fn member_paths(&self) -> Vec<String> {
        let status = self.status();
        let members = status["arrays"][0]["members"].as_array().unwrap().iter();
        members
            .filter_map(|member| Some(member["path"].as_str()?.to_owned()))
            .collect()
    }

    #[track_caller]
    fn wait_for_event(&self, name: &str) {
        wait_until(name, || self.events().iter().any(|event| event == name));
    }

    /// What the controller answers to something that is asked of a store, as a page would.
    #[track_caller]
    fn ask(&self, ask: Value) -> Value {
        let mut answer = self.try_ask(ask);
        assert!(answer["done"].is_object(), "{answer}");
        answer["done"].take()
    }

    fn try_ask(&self, ask: Value) -> Value {
        let request = serde_json::json!({"version": 1, "store": ask});
        answer(&connect(self), &request.to_string())
    }

    fn uri(&self, array: &str) -> String {
        format!("nbd+unix:///{array}?socket={}/state/nbd.sock", self.path())
    }
}

fn connect(store: &Store) -> UnixStream {
    UnixStream::connect(store.file("state/nbd.sock.control")).unwrap()
}

/// The first line that the controller says to a line.
fn answer(mut stream: &UnixStream, line: &str) -> Value {
    stream.write_all(line.as_bytes()).unwrap();
    stream.write_all(b"\n").unwrap();
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said).unwrap();
    serde_json::from_str(&said).unwrap()
}

/// Ends a controller as a service manager does; returns its exit code.
fn end(mut running: Running) -> Option<i32> {
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    running.0.wait().unwrap().code()
}

/// Runs a verb that has to be refused with a code and words.
#[track_caller]
fn refused(words: &[&str], code: i32, named: &[&str]) {
    let ran: Ran = headstack(words);
    ran.fails(code, named);
}
