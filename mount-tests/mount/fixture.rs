//! A database on a mount that is gone after the test, however it ends.
//!
//! The mount is served by threads of the test's own process; its clients are this process' system calls and the tools
//! of a shell.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use headstack::{
    mount::{
        options::Options,
        session::{MountRequest, Mounted, mount},
    },
    series::{Database, OpenOptions as DatabaseOptions},
};
use tempfile::TempDir;

/// A mounted database. Dropping it unmounts.
pub struct Mount {
    // Dropped first: the directories can only be removed when nothing is mounted any more.
    mounted: Option<Mounted>,
    _disk: Option<SmallDisk>,
    directory: TempDir,
    options: String,
}

/// A file system of a few megabytes on a directory. Dropping it unmounts.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: &Path, bytes: u64) -> Option<Self> {
        let made = try_shell(&format!("mount -t tmpfs -o size={bytes} none {}", path.display()));
        made.status.success().then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        try_shell(&format!("umount {}", self.0.display()));
    }
}

impl Mount {
    /// Mounts a new database.
    pub fn new() -> Self {
        Self::with("")
    }

    /// Mounts a new database on a disk of its own that has so many bytes; none where that cannot be had.
    pub fn on_small_disk(bytes: u64) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let disk = SmallDisk::new(directory.path(), bytes)?;
        Some(Self::inside(directory, Some(disk), ""))
    }

    /// Mounts a new database with these options.
    pub fn with(options: &str) -> Self {
        Self::inside(TempDir::new().unwrap(), None, options)
    }

    /// Mounts a new database that is kept in memory where the system has a place for that: for tests that sync often.
    pub fn in_memory() -> Self {
        let directory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        Self::inside(directory, None, "")
    }

    fn inside(directory: TempDir, disk: Option<SmallDisk>, options: &str) -> Self {
        fs::create_dir(directory.path().join("m")).unwrap();
        let database = directory.path().join("db");
        Database::create(&database, DatabaseOptions::read_write())
            .unwrap()
            .close()
            .unwrap();
        let mut fixture = Self {
            mounted: None,
            _disk: disk,
            directory,
            options: options.to_owned(),
        };
        fixture.mount();
        fixture
    }

    fn mount(&mut self) {
        let request = MountRequest {
            database: self.database(),
            mount_point: self.point(),
            options: self.options.parse::<Options>().unwrap(),
        };
        let how = match request.options.read_only {
            true => DatabaseOptions::read_only(),
            false => DatabaseOptions::read_write(),
        };
        let database = Database::open(&self.database(), how).unwrap();
        self.mounted = Some(mount(&request, database).unwrap());
    }

    /// The database's directory.
    pub fn database(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    /// The mount point.
    pub fn point(&self) -> PathBuf {
        self.directory.path().join("m")
    }

    /// A path in the mount.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.point().join(relative)
    }

    /// A scratch path outside the mount.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is mounted.
    pub fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }

    /// Unmounts.
    pub fn unmount(&mut self) {
        self.mounted.take().unwrap().unmount().unwrap();
    }

    /// Mounts again after [`Mount::unmount`].
    pub fn mount_again(&mut self) {
        self.mount();
    }

    /// Unmounts and mounts again, with other options.
    pub fn remount(&mut self, options: &str) {
        self.unmount();
        self.options = options.to_owned();
        self.mount();
    }

    /// Makes a fixed series of 8 byte values.
    pub fn series(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Sets an attribute.
    pub fn set(&self, path: &Path, name: &str, value: &str) {
        shell(&format!(
            "setfattr -n user.headstack.{name} -v {value} '{}'",
            path.display()
        ));
    }
}

/// Runs a shell command; it has to succeed.
pub fn shell(command: &str) -> String {
    let output = try_shell(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a shell command.
pub fn try_shell(command: &str) -> Output {
    Command::new("bash")
        .arg("-c")
        .arg(command)
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// Opens for appending.
pub fn appender(path: &Path) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}

/// One packed record.
pub fn record(timestamp: u64, value: &[u8]) -> Vec<u8> {
    let mut out = timestamp.to_le_bytes().to_vec();
    out.extend_from_slice(value);
    out
}

/// Packed records of 8 byte values, for these timestamps.
pub fn records(timestamps: impl IntoIterator<Item = u64>) -> Vec<u8> {
    timestamps
        .into_iter()
        .flat_map(|t| record(t, &(t * 3).to_le_bytes()))
        .collect()
}

/// The errno of a failure.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap(),
    }
}
