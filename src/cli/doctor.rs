//! `headstack doctor`: what this machine offers, which limits are in force, and what is doubtful about a database.
//!
//! It only looks: nothing is mounted, locked or written. A fact is a key and a value; a doubt is a warning that names
//! the path and says why. What the kernel's files mean is in `facts.rs`.

mod bundle;
mod facts;

use std::{
    fs,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use super::{
    arguments::{database_path, open},
    exit::{Code, Failure},
    images::images,
    output::{Cell, FormOptions, Output},
};
use crate::{
    controller::{
        Store,
        disk::{drive::Drive, hardware::Hardware},
    },
    raid::discover::discover,
    series::{Limits, Mode},
};

/// First kernel with FUSE passthrough.
const PASSTHROUGH_SINCE: (u64, u64) = (6, 9);

/// Look at what this machine offers: kernel, FUSE, memory, limits, and the file system of a database
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack doctor
  headstack doctor --json /srv/store
  headstack doctor --bundle report.tar /srv/store
      what whoever helps has to know: these facts, the status and the events")]
pub struct Arguments {
    /// Database directory or store to look at as well
    #[arg(value_name = "DB", value_hint = clap::ValueHint::DirPath)]
    db: Option<PathBuf>,
    /// Put the facts, the store's status and its events into this tar archive, which must not exist
    #[arg(long, value_name = "FILE", requires = "db", value_hint = clap::ValueHint::FilePath)]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    form: FormOptions,
}

/// Facts in the order they are told, and what is doubtful.
#[derive(Debug, Default)]
struct Findings {
    facts: Vec<(&'static str, Cell)>,
    warnings: Vec<String>,
}

impl Arguments {
    /// Prints the findings.
    ///
    /// # Errors
    /// [`Code::Unavailable`] after them where nothing can be mounted; [`Code::NotFound`] where there is no such database.
    pub fn run(self) -> Result<Code> {
        let mut findings = Findings::default();
        let mountable = findings.fuse();
        findings.memory();
        findings.limits();
        if let Some(db) = &self.db {
            findings.database(&database_path(db))?;
            if let Ok(store) = Store::open(db) {
                findings.disks(&store)?;
            }
        }
        if let Some(bundle) = &self.bundle {
            let store = self.db.as_deref().and_then(|db| Store::open(db).ok());
            bundle::write(bundle, store.as_ref(), &findings.document())?;
        }
        let output = Output::new("doctor", self.form);
        let Findings { mut facts, warnings } = findings;
        if output.is_json() {
            facts.push(("warnings", Cell::Json(warnings.into_iter().map(Value::from).collect())));
        } else {
            facts.extend(warnings.into_iter().map(|warning| ("warning", Cell::Text(warning))));
        }
        output.record(&facts)?;
        match mountable {
            Ok(()) => Ok(Code::Success),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Findings {
    /// All of them as JSON.
    fn document(&self) -> Map<String, Value> {
        let facts = self.facts.iter().map(|(key, cell)| ((*key).to_owned(), cell.json()));
        let mut facts: Map<String, Value> = facts.collect();
        facts.insert("warnings".to_owned(), self.warnings.clone().into());
        facts
    }

    /// What is doubtful about where the images of a store stand: that is what their redundancy is worth.
    fn disks(&mut self, store: &Store) -> Result<()> {
        let place = store.disks();
        let kind = facts::file_system(&text_of("/proc/self/mountinfo"), &place);
        let doubt = kind.as_deref().and_then(facts::doubt_about_images);
        self.warnings
            .extend(doubt.map(|doubt| format!("{}: {doubt}", place.display())));
        let mut asked: Vec<String> = Vec::new();
        for set in discover(&images(&[place])?).arrays {
            let paths = set
                .members
                .iter()
                .map(|member| member.image.directory.path().join(whole(&member.image.name)));
            let places: Vec<Under> = paths.map(|path| Under::of(&path)).collect();
            let shared = places.windows(2).all(|pair| pair[0].is_shared_by(&pair[1]));
            if !set.level.is_bare() && places.len() > 1 && shared {
                self.warnings.push(format!(
                    "array {}: all its images are on one drive or file system: what fails under it fails them all",
                    set.name
                ));
            }
            asked.extend(places.into_iter().flat_map(|under| under.drives));
        }
        asked.sort();
        asked.dedup();
        for drive in asked.iter().filter_map(|name| Drive::ask(name)) {
            let doubts = drive
                .doubts
                .iter()
                .map(|doubt| format!("drive {}: {doubt}", drive.name));
            self.warnings.extend(doubts);
        }
        Ok(())
    }

    /// Kernel and FUSE; an error where nothing can be mounted.
    fn fuse(&mut self) -> Result<(), Failure> {
        let release = text_of("/proc/sys/kernel/osrelease").trim().to_owned();
        let version = facts::version(&release);
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let administrator = facts::is_administrator(&text_of("/proc/self/status"));
        let fusermount = std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|dir| dir.join("fusermount3"))
                .find(|file| file.is_file())
        });
        let mountable = device.is_ok() && (administrator || fusermount.is_some());
        let others = text_of("/etc/fuse.conf")
            .lines()
            .any(|line| line.trim() == "user_allow_other");
        self.facts.extend([
            ("version", Cell::text(env!("CARGO_PKG_VERSION"))),
            ("kernel", Cell::text(release)),
            ("fuse_usable", Cell::Flag(mountable)),
            ("fusermount3", fusermount.as_deref().map_or(Cell::None, Cell::path)),
            (
                "passthrough_possible",
                Cell::Flag(mountable && administrator && version >= Some(PASSTHROUGH_SINCE)),
            ),
            ("allow_other_possible", Cell::Flag(administrator || others)),
            (
                "fuse_max_pages",
                Cell::number(facts::number(&text_of("/proc/sys/fs/fuse/max_pages_limit"))),
            ),
        ]);
        match device {
            Err(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::PermissionDenied => "'chmod 666 /dev/fuse' as root, which is how udev makes it",
                    _ => "'modprobe fuse'; in a container, one that is given /dev/fuse",
                };
                Err(Failure::new(Code::Unavailable, format!("/dev/fuse: {error}"), remedy))
            }
            Ok(_) if !mountable => Err(Failure::new(
                Code::Unavailable,
                "fusermount3 is not in PATH, and this user may not mount without it",
                "the package fuse3, or as root",
            )),
            Ok(_) => Ok(()),
        }
    }

    fn memory(&mut self) {
        let memory = text_of("/proc/meminfo");
        let field = |name| facts::meminfo_bytes(&memory, name).map_or(Cell::None, Cell::Bytes);
        let pressure = text_of("/proc/pressure/memory");
        self.facts.extend([
            ("memory_total_bytes", field("MemTotal")),
            ("memory_available_bytes", field("MemAvailable")),
            (
                "memory_pressure",
                facts::pressure_avg10(&pressure).map_or(Cell::None, Cell::Json),
            ),
        ]);
        if pressure.is_empty() {
            let warning = "/proc/pressure/memory is not there: chunks are closed by their number only";
            self.warnings.push(warning.to_owned());
        }
    }

    fn limits(&mut self) {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limits = Limits::default();
        let count = |number: usize| Cell::number(u64::try_from(number).ok());
        self.facts.extend([
            ("open_files_limit", Cell::number(files)),
            (
                "mappings_limit",
                Cell::number(facts::number(&text_of("/proc/sys/vm/max_map_count"))),
            ),
            ("open_chunks_limit", count(limits.open_chunks)),
            ("open_writers_limit", count(limits.open_writers)),
        ]);
        let needed = u64::try_from(limits.open_chunks + limits.open_writers).unwrap_or(u64::MAX);
        if let Some(files) = files.filter(|files| *files < needed + 64) {
            self.warnings.push(format!(
                "{files} open files are few where {needed} chunks may be open: raise 'ulimit -n'"
            ));
        }
    }

    fn database(&mut self, path: &Path) -> Result<()> {
        let database = open(path, Mode::ReadOnly, "doctor")?;
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let kind = facts::file_system(&text_of("/proc/self/mountinfo"), &place);
        let space = rustix::fs::statvfs(&place).ok();
        self.facts.extend([
            ("database", Cell::path(database.path())),
            ("series", Cell::number(u64::try_from(database.keys()?.len()).ok())),
            (
                "snapshots",
                Cell::number(u64::try_from(database.snapshots()?.len()).ok()),
            ),
            ("file_system", kind.clone().map_or(Cell::None, Cell::Text)),
            (
                "free_bytes",
                space.map_or(Cell::None, |space| {
                    Cell::Bytes(space.f_bavail.saturating_mul(space.f_frsize))
                }),
            ),
        ]);
        let doubt = kind.as_deref().and_then(facts::doubt_about);
        self.warnings
            .extend(doubt.map(|doubt| format!("{}: {doubt}", place.display())));
        Ok(())
    }
}

/// What is under an image.
struct Under {
    /// Device of the file system; none where there is no such file.
    file_system: Option<u64>,
    /// Names of the drives, where the kernel tells them.
    drives: Vec<String>,
}

impl Under {
    fn of(image: &Path) -> Self {
        Self {
            file_system: fs::metadata(image).ok().map(|file| file.dev()),
            drives: Hardware::of(image).drives,
        }
    }

    fn is_shared_by(&self, other: &Self) -> bool {
        let one_file_system = self.file_system.is_some() && self.file_system == other.file_system;
        one_file_system || (!self.drives.is_empty() && self.drives == other.drives)
    }
}

/// The name of the image that a member is, or is a partition of.
fn whole(name: &Path) -> PathBuf {
    let text = name.to_string_lossy();
    match text.rsplit_once(".p") {
        Some((image, number)) if number.parse::<u32>().is_ok() => image.into(),
        _ => name.to_path_buf(),
    }
}

/// Text of a small file of the kernel; empty where it is not there.
fn text_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
