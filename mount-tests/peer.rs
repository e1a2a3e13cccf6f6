//! Peers: other programs that read and write our formats, found on this machine or named as skipped.
//!
//! A peer is run as a child process; what it found comes back as a [`Manifest`], the shape that the scripts in
//! `tools/peers/tempsdb` describe. A test that misses its peer prints one line that begins `SKIPPED:` and returns;
//! `tools/check` fails on any such line unless the peer cannot exist on the machine.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An entry as manifests have it: timestamp and value.
pub type Entry = (u64, Hex);

/// A value that JSON holds in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

/// Everything in a database, as one side knows it.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// Metadata of the database.
    pub metadata: Option<Map<String, Value>>,
    /// Fixed series by name.
    pub fixed: BTreeMap<String, Fixed>,
    /// Variable-length series by name.
    pub varlen: BTreeMap<String, Varlen>,
    /// Questions and right answers; none in what a reader found.
    #[serde(default)]
    pub ranges: Vec<Question>,
}

/// A fixed series.
#[derive(Debug, Deserialize)]
pub struct Fixed {
    pub block_size: u32,
    pub max_entries_per_chunk: u32,
    pub page_size: u32,
    pub metadata: Option<Map<String, Value>>,
    pub last_entry_synced: u64,
    /// First timestamps of the chunks.
    pub chunks: Vec<u64>,
    pub entries: Vec<Entry>,
    /// All entries that were appended, where the series was trimmed afterwards.
    pub written: Option<Vec<Entry>>,
    /// The bound that it was trimmed with.
    pub trim: Option<u64>,
}

/// A variable-length series.
#[derive(Debug, Deserialize)]
pub struct Varlen {
    pub length_profile: Vec<u32>,
    pub size_struct: u8,
    pub max_entries_per_chunk: u32,
    pub last_entry_synced: u64,
    /// Names and block sizes of the parts, `root` first.
    pub parts: Vec<(String, u32)>,
    pub entries: Vec<Entry>,
}

/// Kind, series, bounds, then how many entries are inside and the first and last of them.
#[derive(Debug, Deserialize)]
pub struct Question(
    pub String,
    pub String,
    pub u64,
    pub u64,
    pub usize,
    pub Option<u64>,
    pub Option<u64>,
);

/// Says that a test ran without its peer, also in the file that `$HEADSTACK_SKIPS` names.
pub fn skip(what: &str) {
    let line = format!("SKIPPED: {what}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("HEADSTACK_SKIPS") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// The real tempsdb 0.6.4 under a CPython that can run it.
pub struct Tempsdb {
    python: PathBuf,
}

impl Tempsdb {
    /// The peer of `$HEADSTACK_TEMPSDB_PYTHON`, else the one that `tools/setup` installed.
    pub fn find() -> Option<Self> {
        let installed = top().join("target/peers/tempsdb-0.6.4/bin/python");
        let python = std::env::var_os("HEADSTACK_TEMPSDB_PYTHON").map_or(installed, PathBuf::from);
        if python.exists() {
            return Some(Self { python });
        }
        skip("peer tempsdb 0.6.4 (needs CPython 3.8 or 3.9)");
        None
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(top().join("tools/peers/tempsdb").join(name));
        command
    }

    /// Writes a varied database into `directory`/db; returns everything in it.
    pub fn make(&self, directory: &Path) -> Manifest {
        run(self.script("make.py").arg(directory), b"");
        read_manifest(&directory.join("manifest.json"))
    }

    /// Reads databases whole.
    ///
    /// # Panics
    /// If the library cannot open or read any of their series.
    pub fn read_all<P: AsRef<OsStr>>(&self, databases: &[P]) -> Vec<Manifest> {
        let output = run(self.script("read.py").args(databases), b"");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .zip(databases)
            .map(|(line, path)| parse_found(line, path.as_ref()))
            .collect()
    }

    /// Reads one database whole; see [`Tempsdb::read_all`].
    pub fn read(&self, database: &Path) -> Manifest {
        self.read_all(&[database]).pop().unwrap()
    }

    /// Appends to an existing series of either kind, `fixed` or `varlen`.
    pub fn append(&self, database: &Path, kind: &str, name: &str, entries: &[Entry]) {
        let mut lines = String::new();
        for (timestamp, Hex(value)) in entries {
            lines.push_str(&format!(
                "[{timestamp}, \"{}\"]\n",
                data_encoding::HEXLOWER.encode(value)
            ));
        }
        run(
            self.script("append.py").arg(database).arg(kind).arg(name),
            lines.as_bytes(),
        );
    }
}

fn parse_found(line: &str, path: &OsStr) -> Manifest {
    let value: Value = serde_json::from_str(line).unwrap();
    for kind in ["fixed", "varlen"] {
        for (name, facts) in value[kind].as_object().unwrap() {
            assert!(
                facts.get("error").is_none(),
                "tempsdb cannot read {kind} {name:?} of {path:?}: {facts}"
            );
        }
    }
    serde_json::from_value(value).unwrap()
}

/// Reads a manifest file.
pub fn read_manifest(path: &Path) -> Manifest {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The checkout.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command with `input` on its standard input; it must succeed.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    output
}
