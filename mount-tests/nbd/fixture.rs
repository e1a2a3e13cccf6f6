//! A server over files in a scratch directory, and the peers that are run against it.
//!
//! The one place where tests make an array; everything else goes through the socket.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use headstack::nbd::{Export, Exports, Listener, Server, Settings, standin::Array};
use tempfile::TempDir;

use crate::peer;

/// How long a test waits for something that should happen at once.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A server, its directory and its unix socket.
pub struct Served {
    pub server: Server,
    pub directory: TempDir,
}

impl Served {
    /// One export, `disk`, of `size_bytes` that read as zeros.
    pub fn new(size_bytes: u64) -> Self {
        Self::with(size_bytes, Settings::default(), |export| export)
    }

    pub fn with(size_bytes: u64, settings: Settings, change: impl FnOnce(Export) -> Export) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(size_bytes).unwrap();
        let exports = Exports::default();
        exports.add(change(export("disk", array(&image))));
        Self::start(directory, exports, settings)
    }

    pub fn start(directory: TempDir, exports: Exports, settings: Settings) -> Self {
        let listener = Listener::unix(&directory.path().join("nbd.sock")).unwrap();
        let server = Server::start(exports, settings, vec![listener]).unwrap();
        Self { server, directory }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd.sock")
    }

    pub fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    pub fn uri(&self) -> String {
        self.uri_of("disk")
    }

    pub fn uri_of(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// Waits until no client is left.
    pub fn wait_until_empty(&self) {
        wait_until("every client is gone", || self.server.clients() == 0);
    }
}

/// The array of one image.
pub fn array(image: &Path) -> Arc<Array> {
    Arc::new(Array::open(image, false).unwrap())
}

pub fn export(name: &str, array: Arc<Array>) -> Export {
    Export::new(name, array).unwrap()
}

/// Waits for a condition.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// The peer, or a line that says that it is missing.
pub fn find(program: &str) -> Option<Command> {
    let places = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    if places.iter().any(|place| place.join(program).exists()) {
        // A peer that hangs must not hang the tests.
        let mut command = Command::new("timeout");
        command.args(["120", program]);
        return Some(command);
    }
    peer::skip(&format!("peer {program}"));
    None
}

/// The system's Python with libnbd, running `script`, in which `h` is a handle that is not yet connected.
pub fn libnbd(script: &str) -> Option<Command> {
    let python = "/usr/bin/python3";
    let works = Command::new(python).args(["-c", "import nbd"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        let mut command = Command::new("timeout");
        command.args([
            "120",
            python,
            "-c",
            &format!("import nbd, sys\nh = nbd.NBD()\n{script}"),
        ]);
        return Some(command);
    }
    peer::skip("peer python3-libnbd");
    None
}

/// Runs a peer that must succeed; its standard output.
pub fn run(command: &mut Command) -> String {
    String::from_utf8(peer::run(command, b"").stdout).unwrap()
}

/// The file, whole.
pub fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
