//! The command line as its users meet it: the real binary, its output, its messages and its exit codes.
//!
//! Here is how a run is made and judged: [`headstack`] runs the binary, [`Ran`] holds what it left behind. A run in a
//! test sees no terminal and another time zone than UTC.

mod appending;
mod arrays;
pub mod controller;
mod copies;
mod doctor;
mod dumps;
mod failures;
mod generated;
mod interop;
mod mounting;
mod restores;
mod series;
mod snapshots;
mod tapes;

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::peer::skip;
use serde_json::Value;
use tempfile::TempDir;

/// Path of the binary under test.
const HEADSTACK: &str = env!("CARGO_BIN_EXE_headstack");

/// Longest wait for something that another process does.
const LIMIT: Duration = Duration::from_secs(120);

/// What a run of the binary left behind.
#[derive(Debug)]
struct Ran {
    words: Vec<String>,
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    /// Standard output of a run that has to end with `code`.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Text on standard output of a run that has to succeed and to complain about nothing.
    #[track_caller]
    fn text(self) -> String {
        assert!(self.code == 0 && self.err.is_empty(), "{self:#?}");
        String::from_utf8(self.out).unwrap()
    }

    /// The JSON document of a run that has to succeed, whose version has to name the verb.
    #[track_caller]
    fn json(self) -> Value {
        assert_eq!(self.code, 0, "{self:#?}");
        self.document()
    }

    /// The JSON document of a run, whose version has to name the verb.
    #[track_caller]
    fn document(self) -> Value {
        let document: Value = serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        let version = &document["output_version"];
        let command = version["command"].as_str().unwrap();
        assert!(
            self.words.join(" ").starts_with(command),
            "{command:?} of {:?}",
            self.words
        );
        assert_eq!((&version["major"], &version["minor"]), (&1.into(), &0.into()));
        document
    }

    /// The message of a run that has to fail with `code`: it names all of `named` and a remedy.
    #[track_caller]
    fn fails(self, code: i32, named: &[&str]) -> String {
        assert_eq!(self.code, code, "{self:#?}");
        for name in named {
            assert!(self.err.contains(name), "{name:?} is not named: {self:#?}");
        }
        assert!(self.err.contains("try "), "no remedy: {self:#?}");
        assert_eq!(
            self.err.lines().filter(|line| line.starts_with("headstack: ")).count(),
            1,
            "{self:#?}"
        );
        self.err
    }
}

/// Runs the binary with nothing on standard input.
fn headstack<S: AsRef<OsStr>>(words: &[S]) -> Ran {
    headstack_fed(words, b"")
}

/// Runs the binary with `input` on standard input.
fn headstack_fed<S: AsRef<OsStr>>(words: &[S], input: &[u8]) -> Ran {
    run(Command::new(HEADSTACK).args(words), input)
}

/// Runs a program; `RUST_LOG` and the like of the tests' own environment do not reach it.
fn run(command: &mut Command, input: &[u8]) -> Ran {
    command
        .env_remove("RUST_LOG")
        .env_remove("NOTIFY_SOCKET")
        .env("TZ", "Asia/Tokyo");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A run that fails early does not read its input.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    Ran {
        words: command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits for something that another process does.
#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited for: {what}");
        std::thread::yield_now();
    }
}

/// A program of this machine; where it is missing the test that needs it says so and passes.
pub fn peer(name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(name);
    }
    found
}

/// A directory for one test, with a database `db` that is yet to be made.
struct Place {
    root: TempDir,
    db: String,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let db = root.path().join("db").to_str().unwrap().to_owned();
        Self { root, db }
    }

    /// A place whose database has the fixed series `t` (format u64, 4 entries a chunk) with timestamps 10, 20, .. 100
    /// and values 1, 2, .. 10, and the variable-length series `log` (format utf8) with `one` at 1 and nothing at 2.
    fn filled() -> Self {
        let place = Self::new();
        let db = place.db.as_str();
        let create = [
            "series",
            "create",
            db,
            "t",
            "--block-size",
            "8",
            "--entries-per-chunk",
            "4",
            "--format",
            "u64",
        ];
        headstack(&create).text();
        let lines: String = (1..=10).map(|i| format!("{} {i}\n", i * 10)).collect();
        headstack_fed(&["series", "append", db, "t"], lines.as_bytes()).text();
        headstack(&[
            "series",
            "create",
            db,
            "log",
            "--varlen",
            "4,6",
            "--size-struct",
            "2",
            "--format",
            "utf8",
        ])
        .text();
        headstack_fed(&["series", "append", db, "log"], b"1 one\n2 \n").text();
        place
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    /// Path of a name in the place.
    fn at(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }
}
