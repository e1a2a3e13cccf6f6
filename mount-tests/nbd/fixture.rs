//! A server over files in a scratch directory, and the peers that are run against it.
//!
//! The one place where tests make an array; everything else goes through the socket.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use headstack::{
    nbd::{Export, Exports, Listener, Server, Settings},
    raid::{
        Array, Level, Sector,
        assemble::{Assembly, Image, assemble},
        create::{Initialisation, NewImage, Wish, create},
        metadata::{
            identity::{Time, Uuid},
            plan::{Tracking, data_offset},
            superblock::Version,
        },
    },
    storage::{Directory, HostDirectory, Storage},
};
use tempfile::TempDir;

use crate::peer;

/// How long a test waits for something that should happen at once.
pub const LIMIT: Duration = Duration::from_secs(120);

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
        let array = array(&directory.path().join("image"), size_bytes);
        let exports = Exports::default();
        exports.add(change(export("disk", array)));
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

    /// The array of the one export.
    pub fn array(&self) -> Arc<Array> {
        Arc::clone(self.server.exports().find("disk").unwrap().array())
    }

    /// Where the array begins in its image.
    pub fn data_offset(&self) -> u64 {
        let length = self.image().metadata().unwrap().len();
        length - self.array().size_bytes()
    }

    /// The array as it stands in its image, past the server.
    pub fn contents(&self) -> Vec<u8> {
        contents(&self.image()).split_off(usize::try_from(self.data_offset()).unwrap())
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

/// A new array of one image, which becomes as long as `size_bytes` of data need.
pub fn array(image: &Path, size_bytes: u64) -> Arc<Array> {
    let directory = Arc::new(HostDirectory::open(image.parent().unwrap()).unwrap());
    array_in(directory, Path::new(image.file_name().unwrap()), size_bytes)
}

/// A new array of one image that is made in `directory`.
pub fn array_in(directory: Arc<dyn Directory>, name: &Path, size_bytes: u64) -> Arc<Array> {
    let mut device = 0;
    loop {
        let Sector(offset) = data_offset(Version::V1_2, Sector(device / 512), 0, Tracking::None);
        let wanted = size_bytes + offset * 512;
        if wanted == device {
            break;
        }
        device = wanted;
    }
    let fill = &mut |file: &dyn Storage| file.set_size(device);
    directory.create(name, fill).unwrap();
    let wish = Wish {
        name: "disk".to_owned(),
        uuid: Uuid([1; 16]),
        created: Time::new(1_700_000_000, 0),
        level: Level::Linear,
        layout: 0,
        chunk_bytes: 0,
        initialisation: Initialisation::Keep,
        member_bytes: None,
        bitmap_chunk_bytes: None,
        overwrite: false,
    };
    let image = Image {
        directory,
        name: name.to_owned(),
    };
    let uuid = Uuid([2; 16]);
    let array = create(&wish, &[Some(NewImage { image, uuid })], &[]).unwrap();
    assert_eq!(array.size_bytes(), size_bytes);
    Arc::new(array)
}

/// The array of one image that was made before.
pub fn assembled(image: &Path) -> Arc<Array> {
    let directory = Arc::new(HostDirectory::open(image.parent().unwrap()).unwrap());
    let name = image.file_name().unwrap().into();
    Arc::new(assemble(&[Image { directory, name }], Assembly::default()).unwrap())
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
        command.args(["600", program]);
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
            "600",
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
