//! Contexts: what is kept of a dump under way, so that one that is stopped, killed or cut off can go on.
//!
//! A context is some files beside the dump dates, named for its identity: `.json` is what it was asked to be and how far it
//! got, `.plan` what is to be written in pass 4, `.numbers` the numbers of its chain, `.mark` where it stood last; `.toc`,
//! `.index` and `.places` are what the catalogue will have of it. Each is replaced in one step but the places, which grow
//! before the mark that counts them. The lock beside them is held while the dump runs, so who holds none was stopped.
//! Only a dump that reached pass 4 and kept its history goes on; the tape is then the same, byte for byte.

pub(super) mod mark;
pub(super) mod path;
pub(super) mod plan;
mod reels;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use self::reels::Reels;
use self::{mark::Mark, plan::Plan};
use super::{
    catalog::{PLACE_BYTES, Places},
    dumpdates::Remembered,
    error::{Error, Hindrance, Result},
    numbers::Numbers,
    stream::Notes,
    writer::Order,
};
use crate::{
    storage::{Access, Directory},
    tape::Volumes,
};

/// Longest file that is read, in bytes; the plan of 50 million files is shorter.
const LIMIT_BYTES: u64 = 4 << 30;
/// The pass that can be restarted: the one that writes files.
pub const RESTART_PASS: u8 = 4;

/// A snapshot that a dump reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Root of the file system that it is of.
    #[serde(with = "path")]
    pub volume: PathBuf,
    /// The database behind it.
    #[serde(with = "path")]
    pub database: PathBuf,
    /// Its name.
    pub name: String,
    /// True where the dump made it, and removes it.
    pub automatic: bool,
}

/// What is kept of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// What it was asked to be.
    pub order: Order,
    /// Where the tree is read.
    #[serde(with = "path")]
    pub tree: PathBuf,
    /// Root of the file system or tree that the dump is of.
    #[serde(with = "path")]
    pub volume: PathBuf,
    /// The snapshot that is read; none where the tree itself is.
    pub snapshot: Option<Snapshot>,
    /// Its tapes.
    pub reels: Reels,
    /// Its base; none at level 0.
    #[serde(default)]
    pub base: Option<Remembered>,
    /// Date on the tape, in seconds since 1970; 0 before it has one.
    #[serde(default)]
    pub date_s: i64,
    /// The number that its chain would have given next when it began.
    #[serde(default)]
    pub chain_next: u32,
    /// Tape blocks that it takes, about.
    #[serde(default)]
    pub estimate: u64,
    /// The pass that it is in, from 1.
    pub pass: u8,
    /// True once it is to be removed.
    #[serde(default)]
    pub cleanup_pending: bool,
}

impl Context {
    /// The context of a dump that is yet to begin.
    #[must_use]
    pub fn new(order: Order, tree: PathBuf, volumes: &Volumes) -> Self {
        Self {
            volume: tree.clone(),
            order,
            tree,
            snapshot: None,
            reels: Reels::of(volumes),
            base: None,
            date_s: 0,
            chain_next: 0,
            estimate: 0,
            pass: 1,
            cleanup_pending: false,
        }
    }

    /// Its identity, as UUIDs are written.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(&self.order.identity)
    }

    /// What keeps it from going on, if its snapshot is there or not.
    #[must_use]
    pub fn hindrance(&self, snapshot_there: bool) -> Option<Hindrance> {
        if !self.order.history {
            return Some(Hindrance::History);
        }
        if self.pass != RESTART_PASS {
            return Some(Hindrance::Pass { pass: self.pass });
        }
        let snapshot = self.snapshot.as_ref().filter(|_| !snapshot_there)?;
        Some(Hindrance::Snapshot {
            name: snapshot.name.clone(),
        })
    }
}

/// The contexts in a directory.
#[derive(Clone)]
pub struct Contexts {
    directory: Arc<dyn Directory>,
}

impl std::fmt::Debug for Contexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contexts").field(&self.directory.path()).finish()
    }
}

impl Contexts {
    /// The contexts that a directory holds.
    #[must_use]
    pub fn of(directory: Arc<dyn Directory>) -> Self {
        Self { directory }
    }

    /// All of them, in the order of their identities.
    ///
    /// # Errors
    /// [`Error::State`] and [`Error::DamagedState`].
    pub fn all(&self) -> Result<Vec<Context>> {
        let listed = self.directory.list(Path::new(""));
        let entries = listed.map_err(|source| failed(&*self.directory, Path::new(""), source))?;
        let mut ids: Vec<String> = entries
            .into_iter()
            .filter_map(|entry| Some(entry.name.strip_prefix("context-")?.strip_suffix(".json")?.to_owned()))
            .collect();
        ids.sort();
        ids.iter().map(|id| self.get(id)).collect()
    }

    /// The context of an identity.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::State`] and [`Error::DamagedState`].
    pub fn get(&self, id: &str) -> Result<Context> {
        let no_context = || Error::NoContext { id: id.to_owned() };
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Err(no_context());
        }
        let path = name(id, "json");
        match self.directory.read(&path, LIMIT_BYTES) {
            Ok(bytes) => {
                let context: Option<Context> = serde_json::from_slice(&bytes).ok();
                let context = context.filter(|context| context.id() == id);
                context.ok_or_else(|| self.damaged(&path, "it is no context"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_context()),
            Err(source) => Err(failed(&*self.directory, &path, source)),
        }
    }

    /// When a context was last written.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn updated(&self, context: &Context) -> Result<std::time::SystemTime> {
        let id = context.id();
        let modified = |path: PathBuf| self.directory.stat(&path).map(|stat| stat.modified);
        let json =
            modified(name(&id, "json")).map_err(|source| failed(&*self.directory, &name(&id, "json"), source))?;
        Ok(modified(name(&id, "mark")).map_or(json, |mark| mark.max(json)))
    }

    /// True while a process has the context.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn is_busy(&self, context: &Context) -> Result<bool> {
        match self.lock(&context.id()) {
            Ok(_) => Ok(false),
            Err(Error::Busy { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Begins a context.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn begin(&self, context: Context) -> Result<Keeper> {
        let keeper = Keeper {
            _lock: self.lock(&context.id())?,
            directory: self.directory.clone(),
            context,
            places_kept: 0,
        };
        keeper.store()?;
        Ok(keeper)
    }

    /// Takes a context that no process has.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Busy`], [`Error::State`] and [`Error::DamagedState`].
    pub fn take(&self, id: &str) -> Result<Keeper> {
        self.get(id)?;
        let lock = self.lock(id)?;
        // Who had it may have ended it meanwhile.
        let context = self.get(id)?;
        Ok(Keeper {
            _lock: lock,
            directory: self.directory.clone(),
            context,
            places_kept: 0,
        })
    }

    fn lock(&self, id: &str) -> Result<Box<dyn Send + Sync>> {
        let path = name(id, "lock");
        let contents = format!("pid {}\n", std::process::id());
        self.directory
            .lock(&path, &contents)
            .map_err(|source| match source.kind() {
                io::ErrorKind::WouldBlock => Error::Busy {
                    what: format!("context {id}"),
                },
                _ => failed(&*self.directory, &path, source),
            })
    }

    fn damaged(&self, path: &Path, reason: &'static str) -> Error {
        Error::DamagedState {
            path: self.directory.path().join(path),
            reason,
        }
    }
}

/// A context in the hands of the process that dumps.
pub struct Keeper {
    directory: Arc<dyn Directory>,
    context: Context,
    /// Places that are in their file.
    places_kept: usize,
    _lock: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// What is kept.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Changes what is kept.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn change(&mut self, change: impl FnOnce(&mut Context)) -> Result<()> {
        change(&mut self.context);
        self.store()
    }

    /// Keeps what pass 4 is to write.
    pub(super) fn keep_plan(&self, plan: &Plan, numbers: &Numbers) -> Result<()> {
        if !self.context.order.history {
            return Ok(());
        }
        self.replace("plan", &plan.encode())?;
        self.replace("numbers", &numbers.encode())
    }

    /// Keeps where the dump stands, and what was noted before it.
    pub(super) fn keep_mark(&mut self, mark: &Mark, places: Option<&Places>) -> Result<()> {
        if let Some(places) = places {
            let path = name(&self.context.id(), "places");
            let new = places.encode_from(self.places_kept);
            let at = (self.places_kept * PLACE_BYTES) as u64;
            let kept = match self.directory.open(&path, Access::ReadWrite) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self
                    .directory
                    .create(&path, &mut |file| file.write_all_at(&new, at))
                    .map(drop),
                file => file.and_then(|file| {
                    file.write_all_at(&new, at)?;
                    file.sync()
                }),
            };
            kept.map_err(|source| self.failed("places", source))?;
            self.places_kept = places.count();
        }
        self.replace("mark", &mark.encode())
    }

    /// Keeps what was noted before the first file.
    pub(super) fn keep_notes(&self, notes: &Notes) -> Result<()> {
        self.replace("toc", &notes.contents)?;
        self.replace("index", &notes.earlier)
    }

    /// What [`Keeper::keep_notes`] and [`Keeper::keep_mark`] kept, up to a mark.
    pub(super) fn kept_notes(&mut self, mark: &Mark) -> Result<Notes> {
        let mut bytes = self.read("places")?;
        let count = usize::try_from(mark.places).unwrap_or(usize::MAX);
        let length = count.saturating_mul(PLACE_BYTES);
        if bytes.len() < length {
            return Err(self.damaged("places", "it is too short"));
        }
        bytes.truncate(length);
        self.places_kept = count;
        Ok(Notes {
            earlier: self.read("index")?,
            contents: self.read("toc")?,
            places: Places::new(self.context.date_s).with_kept(&bytes),
        })
    }

    /// What [`Keeper::keep_plan`] and [`Keeper::keep_mark`] kept.
    pub(super) fn kept(&self) -> Result<(Plan, Numbers, Mark)> {
        let plan = Plan::decode(&self.read("plan")?).map_err(|reason| self.damaged("plan", reason))?;
        let numbers = Numbers::decode(&self.read("numbers")?).map_err(|reason| self.damaged("numbers", reason))?;
        let mark = Mark::decode(&self.read("mark")?).map_err(|reason| self.damaged("mark", reason))?;
        Ok((plan, numbers, mark))
    }

    /// Removes the context; whoever called this has let go of its snapshot.
    ///
    /// # Errors
    /// [`Error::State`]: then it says that its removal is pending.
    pub fn remove(mut self) -> Result<()> {
        if !self.context.cleanup_pending {
            self.change(|context| context.cleanup_pending = true)?;
        }
        let id = self.context.id();
        // The file that it is listed by goes last.
        for kind in [
            "mark", "image", "plan", "numbers", "places", "toc", "index", "json", "lock",
        ] {
            let path = name(&id, kind);
            match self.directory.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&*self.directory, &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn store(&self) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.context).map_err(|error| self.failed("json", error.into()))?;
        text.push(b'\n');
        self.replace("json", &text)
    }

    fn read(&self, kind: &str) -> Result<Vec<u8>> {
        let read = self.directory.read(&name(&self.context.id(), kind), LIMIT_BYTES);
        read.map_err(|source| self.failed(kind, source))
    }

    fn replace(&self, kind: &str, contents: &[u8]) -> Result<()> {
        let replaced = self.directory.replace(&name(&self.context.id(), kind), contents);
        replaced.map_err(|source| self.failed(kind, source))
    }

    fn failed(&self, kind: &str, source: io::Error) -> Error {
        failed(&*self.directory, &name(&self.context.id(), kind), source)
    }

    fn damaged(&self, kind: &str, reason: &'static str) -> Error {
        Error::DamagedState {
            path: self.directory.path().join(name(&self.context.id(), kind)),
            reason,
        }
    }
}

/// An identity, as UUIDs are written.
fn id_of(identity: &[u8; 16]) -> String {
    let hex = data_encoding::HEXLOWER.encode(identity);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    parts.join("-")
}

/// How the names of all files begin that the context of a dump of this identity is in, beside the dump dates.
#[must_use]
pub fn beginning_of(identity: &[u8; 16]) -> String {
    format!("context-{}.", id_of(identity))
}

fn name(id: &str, kind: &str) -> PathBuf {
    format!("context-{id}.{kind}").into()
}

fn failed(directory: &dyn Directory, path: &Path, source: io::Error) -> Error {
    Error::State {
        path: directory.path().join(path),
        source,
    }
}

#[cfg(test)]
mod tests;
