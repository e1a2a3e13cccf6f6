//! The disks of a store: each image with what was asked of it, what is wrong with it on purpose, and whether it is plugged in.
//!
//! [`watched`] stands between the array engine and the files: it counts ([`counters`]), and where somebody rehearses it
//! behaves as a disk with the [`faults`] that were injected. A disk that is *pulled* is not there: neither its image nor the
//! journal beside it can be opened, and what is open answers nothing but errors. [`smart`] is how a disk's health is stored;
//! [`hardware`] and [`drive`] tell of the real drive under the images.

pub mod counters;
pub mod drive;
pub mod faults;
pub mod hardware;
pub mod scenario;
pub mod smart;
mod watched;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use counters::Counters;
use faults::{Fault, Faults};
use hardware::Hardware;
use watched::Watched;

use super::error::{Error, Kind, Result};
use crate::{
    raid::assemble::Image,
    storage::{Directory, HostDirectory, natural},
};

/// How the name of an image ends.
const ENDING: &str = "img";

/// One disk.
pub struct Disk {
    name: String,
    path: PathBuf,
    /// Its place among the disks, from 1.
    port: usize,
    hardware: Hardware,
    /// The file that it was when it came: device and inode; none where the host does not say.
    file: Option<(u64, u64)>,
    /// What was asked of it since the controller began.
    pub counters: Counters,
    pulled: AtomicBool,
    /// True where requests have to ask the faults.
    armed: AtomicBool,
    faults: Faults,
    /// Requests to all disks, which scenarios count by.
    clock: Arc<AtomicU64>,
}

impl Disk {
    /// Name of its image in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of its image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True where its image is the very file that another disk's was: it has another name now.
    pub fn is_file_of(&self, other: &Self) -> bool {
        self.file.is_some() && self.file == other.file
    }

    /// Its place among the disks, from 1: the first that was free when it came.
    pub fn port(&self) -> usize {
        self.port
    }

    /// The drive that its image is on.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// True where it is not plugged in.
    pub fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::Acquire)
    }

    /// True where it is plugged in and does not hang.
    pub fn answers(&self) -> bool {
        !self.is_pulled() && !self.faults.hangs()
    }

    /// The faults that it has now, as they are written.
    pub fn faults(&self) -> Vec<String> {
        self.faults.list()
    }

    /// Unplugs it: what it had not made durable though it said so is lost, and what hangs fails.
    pub fn pull(&self) {
        self.pulled.store(true, Ordering::Release);
        self.faults.power_cut();
    }

    /// Plugs it in again.
    pub fn insert(&self) {
        self.faults.power_on();
        self.pulled.store(false, Ordering::Release);
    }

    /// Gives it a fault.
    pub fn inject(&self, fault: Fault) {
        self.faults.add(fault);
        self.armed.store(true, Ordering::Release);
    }

    /// Takes all faults away; what hangs goes on.
    pub fn heal(&self) {
        self.faults.clear();
        self.armed.store(false, Ordering::Release);
    }
}

/// All disks of a store.
pub struct Disks {
    files: Arc<HostDirectory>,
    disks: Arc<Table>,
    clock: Arc<AtomicU64>,
}

/// The disks by the names of their images.
#[derive(Default)]
struct Table(Mutex<BTreeMap<String, Arc<Disk>>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Disk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk that a file belongs to: its image, or the journal beside it.
    fn of(&self, path: &Path) -> Option<Arc<Disk>> {
        let name = path.to_str()?;
        let disks = self.lock();
        disks
            .get(name)
            .or_else(|| disks.get(name.strip_suffix(".journal")?))
            .cloned()
    }
}

/// What a look at the directory of the images found.
#[derive(Default)]
pub struct Change {
    /// Disks that were not there before.
    pub found: Vec<Arc<Disk>>,
    /// Disks whose image is gone, or another file now; whoever has it open works on what has no name any more.
    pub gone: Vec<Arc<Disk>>,
}

impl Disks {
    /// The disks of a directory; they are looked for by [`Disks::rescan`].
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn new(directory: &Path) -> Result<Self> {
        Ok(Self {
            files: Arc::new(HostDirectory::open(directory).map_err(Error::host(directory))?),
            disks: Arc::default(),
            clock: Arc::default(),
        })
    }

    /// Looks which images there are.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn rescan(&self) -> Result<Change> {
        let entries = self.files.list(Path::new(""));
        let entries = entries.map_err(Error::host(self.files.path()))?;
        let is_image = |entry: &crate::storage::Entry| {
            entry.exact
                && entry.kind == crate::storage::EntryKind::File
                && Path::new(&entry.name)
                    .extension()
                    .is_some_and(|ending| ending == ENDING)
        };
        let mut names: Vec<String> = entries.into_iter().filter(is_image).map(|entry| entry.name).collect();
        let mut disks = self.disks.lock();
        let mut change = Change::default();
        disks.retain(|name, disk| {
            let there = names.contains(name) && disk.file == file_of(&disk.path);
            if !there {
                change.gone.push(Arc::clone(disk));
            }
            there
        });
        names.sort_by(|one, other| natural(one.as_bytes(), other.as_bytes()));
        for name in names {
            if !disks.contains_key(&name) {
                let taken = |port: &usize| disks.values().any(|disk| disk.port == *port);
                let port = (1..).find(|port| !taken(port)).unwrap_or(usize::MAX);
                let disk = Arc::new(self.disk(name.clone(), port));
                change.found.push(Arc::clone(&disk));
                disks.insert(name, disk);
            }
        }
        Ok(change)
    }

    fn disk(&self, name: String, port: usize) -> Disk {
        let faults = Faults::new(Arc::clone(&self.files) as Arc<dyn Directory>, PathBuf::from(&name));
        let path = self.files.path().join(&name);
        Disk {
            hardware: Hardware::of(&path),
            file: file_of(&path),
            path,
            port,
            counters: Counters::default(),
            pulled: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            faults,
            clock: Arc::clone(&self.clock),
            name,
        }
    }

    /// All of them, by name, `d2` before `d10`.
    pub fn all(&self) -> Vec<Arc<Disk>> {
        let mut all: Vec<Arc<Disk>> = self.disks.lock().values().cloned().collect();
        all.sort_by(|one, other| natural(one.name.as_bytes(), other.name.as_bytes()));
        all
    }

    /// The disk of a name or a path.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn named(&self, name: &str) -> Result<Arc<Disk>> {
        let disks = self.disks.lock();
        let is = |disk: &&Arc<Disk>| disk.path == Path::new(name);
        let found = disks.get(name).or_else(|| disks.values().find(is));
        found.cloned().ok_or_else(|| {
            let message = format!("there is no disk {name} in {}", self.files.path().display());
            Error::refused(Kind::NotFound, message, "'headstack disk ls' for those there are")
        })
    }

    /// The image of a disk, as the array engine is to see it.
    pub fn image(&self, disk: &Disk) -> Image {
        Image {
            directory: Arc::new(Watched::new(
                Arc::clone(&self.files) as Arc<dyn Directory>,
                Arc::clone(&self.disks),
            )),
            name: PathBuf::from(&disk.name),
        }
    }

    /// Images of all disks that answer.
    pub fn images(&self) -> Vec<Image> {
        let disks = self.all();
        let there = disks.iter().filter(|disk| disk.answers());
        there.map(|disk| self.image(disk)).collect()
    }

    /// Requests to all disks so far.
    pub fn requests(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }
}

/// Device and inode of the file of a name.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// What a disk that is not plugged in answers.
fn unplugged() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODEV)
}

#[cfg(test)]
mod tests;
