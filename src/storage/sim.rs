//! Storage in memory, with power losses and faults.
//!
//! It gives the results and the errors of [`super::file`], which a test of random operations holds it to. Beyond that,
//! it can give the disk as it would be after a power loss ([`SimDirectory::crash`]) or after the process was killed
//! ([`SimDirectory::killed`]), refuse operations, run out of space, and it keeps a log of all it was asked. Time is a
//! count of changes, so that everything depends on nothing but what was done and on seeds; stores through a mapping do
//! not change a file's time, and directories keep theirs.
//!
//! A *crash image* is one of the disks that a power loss may leave: every sector and the size of a file come out as
//! last synced or as last written, each by itself, and names that were not synced happened or did not.

mod chance;
mod contents;
mod faults;
mod names;
mod storage;

use std::{
    collections::BTreeMap,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rustix::io::Errno;

use self::{
    chance::Chance,
    contents::{BLOCK_BYTES, Contents, blocks_for},
    faults::Faults,
    names::{NAME_MAX, Names, Node, Place, ROOT},
    storage::SimFile,
};
pub use self::{
    contents::{SECTOR_BYTES, SIZE_MAX_BYTES},
    faults::{Operation, Rule, Verb},
};
use super::{Access, Capacity, Directory, Entry, EntryKind, Fill, Stat, Storage, beneath, named_beneath, parent_of};

/// First moment of the simulated clock, in seconds since 1970.
const FIRST_MOMENT_S: u64 = 1_700_000_000;

/// Blocks of a disk without a limit.
const BLOCKS_UNLIMITED: u64 = 1 << 28;

/// Inodes of a disk.
const FILES_MAX: u64 = 1 << 24;

/// A directory in memory; clones are handles of the same.
#[derive(Debug, Clone)]
pub struct SimDirectory {
    disk: Arc<Disk>,
}

/// What all handles share.
#[derive(Debug)]
struct Disk {
    state: Mutex<State>,
    faults: Faults,
    boot: u128,
}

/// What is on the disk, under one lock: an image is thus of one moment.
#[derive(Debug)]
struct State {
    names: Names,
    space_blocks: Option<u64>,
    /// Count of changes, the simulated clock.
    moment: u64,
}

impl Default for SimDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDirectory {
    /// An empty directory without limits or faults.
    #[must_use]
    pub fn new() -> Self {
        Self::of(
            State {
                names: Names::new(),
                space_blocks: None,
                moment: 0,
            },
            1,
        )
    }

    fn of(state: State, boot: u128) -> Self {
        Self {
            disk: Arc::new(Disk {
                state: Mutex::new(state),
                faults: Faults::default(),
                boot,
            }),
        }
    }

    /// A disk that a power loss at this moment may leave, chosen by the seed, in the next run of the machine. It has the
    /// same limit of space, and neither the faults nor the log.
    ///
    /// # Errors
    /// What the host says where memory files cannot be read.
    pub fn crash(&self, seed: u64) -> io::Result<Self> {
        let mut chance = Chance::new(seed);
        let state = self.disk.state();
        let names = state.names.crashed(&mut chance);
        let names = exchange_files(&names, |file| file.crashed(&mut chance))?;
        let crashed = State {
            names,
            space_blocks: state.space_blocks,
            moment: state.moment,
        };
        Ok(Self::of(crashed, self.disk.boot + 1))
    }

    /// The disk after the process was killed at this moment: nothing is lost but locks, and nothing became durable.
    ///
    /// # Errors
    /// What the host says where memory files cannot be read.
    pub fn killed(&self) -> io::Result<Self> {
        let state = self.disk.state();
        let names = exchange_files(&state.names, Contents::copied)?;
        let killed = State {
            names,
            space_blocks: state.space_blocks,
            moment: state.moment,
        };
        Ok(Self::of(killed, self.disk.boot))
    }

    /// Limits the space of all files that have a name, in bytes, rounded down to whole blocks of 4096; `None` lifts it.
    /// Beyond it, `ENOSPC` comes from writing, reserving, and making files and directories.
    pub fn set_space_bytes(&self, limit_bytes: Option<u64>) {
        self.disk.state().space_blocks = limit_bytes.map(|limit| limit / BLOCK_BYTES);
    }

    /// Lets the next operation of a kind fail. Called again, the one after it fails as well.
    pub fn fail_next(&self, verb: Verb, errno: i32) {
        self.disk.faults.fail_next(verb, errno);
    }

    /// Asks `rule` about each operation before it has any effect; the errno it gives is the operation's error. It may
    /// take images of this directory, and must not use it otherwise; a rule that owns a handle keeps the disk until it is
    /// cleared.
    pub fn set_rule(&self, rule: impl Fn(&Operation) -> Option<i32> + Send + Sync + 'static) {
        self.disk.faults.set_rule(Some(Arc::new(rule)));
    }

    /// Lets all operations pass again.
    pub fn clear_rule(&self) {
        self.disk.faults.set_rule(None);
    }

    /// All operations so far, or since they were last taken.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.disk.faults.operations()
    }

    /// All operations since they were last taken; the log is empty then.
    pub fn take_operations(&self) -> Vec<Operation> {
        self.disk.faults.take_operations()
    }

    /// How many operations of a kind are in the log.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.disk.faults.count(verb)
    }

    /// Files into which a mapping stored bytes where no space was reserved: on a full disk they would be lost.
    ///
    /// # Errors
    /// What the host says where memory files cannot be read.
    pub fn unreserved_stores(&self) -> io::Result<Vec<PathBuf>> {
        let state = self.disk.state();
        let mut found = Vec::new();
        let mut open = vec![(ROOT, PathBuf::new())];
        while let Some((directory, path)) = open.pop() {
            for (name, node) in state.names.entries(directory) {
                match node {
                    Node::Directory(id) => open.push((*id, path.join(name))),
                    Node::File(file) if lock(file).has_unreserved_stores()? => found.push(path.join(name)),
                    Node::File(_) => {}
                }
            }
        }
        Ok(found)
    }

    /// Logs an operation on a path, or refuses it.
    fn admit(&self, verb: Verb, path: &Path) -> io::Result<()> {
        self.disk.faults.admit(Operation::on(verb, path))
    }

    fn file(&self, path: &Path, contents: Arc<Mutex<Contents>>, access: Access) -> SimFile {
        SimFile::new(Arc::clone(&self.disk), path.to_path_buf(), contents, access)
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The next moment of the simulated clock.
    fn tick(&mut self) -> SystemTime {
        self.moment += 1;
        SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_MOMENT_S) + Duration::from_millis(self.moment)
    }

    /// Blocks that are free to a file, which may have no name yet.
    fn blocks_free(&self, file: Option<&Arc<Mutex<Contents>>>) -> u64 {
        let Some(limit) = self.space_blocks else {
            return BLOCKS_UNLIMITED;
        };
        let named: u64 = self.names.files().map(|named| lock(named).blocks_used()).sum();
        let nameless = file.filter(|file| !self.names.files().any(|named| Arc::ptr_eq(named, file)));
        limit.saturating_sub(named + nameless.map_or(0, |file| lock(file).blocks_used()))
    }

    /// Refuses what needs a block where there is none.
    fn check_space(&self, blocks: u64) -> io::Result<()> {
        if self.blocks_free(None) < blocks {
            Err(Errno::NOSPC.into())
        } else {
            Ok(())
        }
    }

    /// The place of a path, which must be free.
    fn free_place(&self, clean: &Path) -> io::Result<Place> {
        let place = self.names.place(clean)?;
        if self.names.get(&place).is_some() {
            Err(Errno::EXIST.into())
        } else {
            Ok(place)
        }
    }
}

impl Directory for SimDirectory {
    fn path(&self) -> &Path {
        Path::new("/simulated")
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.admit(Verb::List, directory)?;
        let state = self.disk.state();
        let id = state.names.directory(&beneath(directory)?)?;
        let entries = state.names.entries(id).map(|(name, node)| Entry {
            name: name.to_string_lossy().into_owned(),
            exact: name.to_str().is_some(),
            kind: match node {
                Node::File(_) => EntryKind::File,
                Node::Directory(_) => EntryKind::Directory,
            },
        });
        Ok(entries.collect())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.admit(Verb::CreateDirectory, path)?;
        let mut state = self.disk.state();
        let path = named_beneath(path)?;
        state.free_place(&path)?;
        state.check_space(1)?;
        state.names.create_directory(&path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.admit(Verb::RemoveDirectory, path)?;
        self.disk.state().names.remove_directory(&named_beneath(path)?)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>> {
        self.admit(Verb::Open, path)?;
        let path = named_beneath(path)?;
        let contents = self.disk.state().names.file(&path)?;
        Ok(Arc::new(self.file(&path, contents, access)))
    }

    fn create(&self, path: &Path, fill: Fill<'_>) -> io::Result<Arc<dyn Storage>> {
        self.admit(Verb::Create, path)?;
        let path = named_beneath(path)?;
        let contents = {
            let mut state = self.disk.state();
            state.names.directory(&parent_of(&path))?;
            state.check_space(1)?;
            Arc::new(Mutex::new(Contents::new(state.tick())))
        };
        let file = self.file(&path, Arc::clone(&contents), Access::ReadWrite);
        fill(&file)?;
        let mut state = self.disk.state();
        let place = state.free_place(&path)?;
        state.names.link(place, contents);
        Ok(Arc::new(file))
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.admit(Verb::Replace, path)?;
        let path = named_beneath(path)?;
        let mut state = self.disk.state();
        let place = state.names.place(&path)?;
        // The old contents keep their space until the new ones are in their place.
        state.check_space(blocks_for(contents.len()).max(1))?;
        if matches!(state.names.get(&place), Some(Node::Directory(_))) {
            return Err(Errno::ISDIR.into());
        }
        let modified = state.tick();
        let directory = place.0;
        state
            .names
            .link(place, Arc::new(Mutex::new(Contents::durable(contents, modified))));
        state.names.sync(directory);
        Ok(())
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        self.admit(Verb::ReadFile, path)?;
        let state = self.disk.state();
        let file = state.names.file(&named_beneath(path)?)?;
        let contents = lock(&file);
        if contents.size_bytes()? > limit_bytes {
            Err(Errno::FBIG.into())
        } else {
            contents.bytes()
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.admit(Verb::Rename, from)?;
        self.disk
            .state()
            .names
            .rename(&named_beneath(from)?, &named_beneath(to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.admit(Verb::Remove, path)?;
        self.disk.state().names.remove(&named_beneath(path)?)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.admit(Verb::Stat, path)?;
        let state = self.disk.state();
        match state.names.node(&beneath(path)?)? {
            Node::File(file) => lock(&file).stat(),
            Node::Directory(_) => Ok(Stat {
                kind: EntryKind::Directory,
                size_bytes: BLOCK_BYTES,
                allocated_bytes: BLOCK_BYTES,
                modified: SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_MOMENT_S),
            }),
        }
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.admit(Verb::SyncDirectory, directory)?;
        let mut state = self.disk.state();
        let id = state.names.directory(&beneath(directory)?)?;
        state.names.sync(id);
        Ok(())
    }

    /// There are none: what is staged has no name here.
    fn sweep_staged(&self) -> io::Result<usize> {
        self.admit(Verb::SweepStaged, Path::new(""))?;
        Ok(0)
    }

    fn boot(&self) -> [u8; 16] {
        self.disk.boot.to_be_bytes()
    }

    fn capacity(&self) -> io::Result<Capacity> {
        self.admit(Verb::Capacity, Path::new(""))?;
        let state = self.disk.state();
        let free = state.blocks_free(None);
        Ok(Capacity {
            fragment_bytes: BLOCK_BYTES,
            blocks: state.space_blocks.unwrap_or(BLOCKS_UNLIMITED),
            blocks_free: free,
            blocks_available: free,
            files: FILES_MAX,
            files_free: FILES_MAX.saturating_sub(state.names.files().count() as u64),
            name_max: u32::try_from(NAME_MAX).unwrap_or(u32::MAX),
        })
    }

    fn lock(&self, path: &Path, contents: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.admit(Verb::Lock, path)?;
        let path = named_beneath(path)?;
        let mut state = self.disk.state();
        let place = state.names.place(&path)?;
        let file = match state.names.get(&place) {
            Some(Node::File(file)) => Arc::clone(file),
            Some(Node::Directory(_)) => return Err(Errno::ISDIR.into()),
            None => {
                state.check_space(1)?;
                let file = Arc::new(Mutex::new(Contents::new(state.tick())));
                state.names.link(place, Arc::clone(&file));
                file
            }
        };
        if mem::replace(&mut lock(&file).locked, true) {
            return Err(Errno::WOULDBLOCK.into());
        }
        let held = Lock(Arc::clone(&file));
        lock(&file).set_size(0)?;
        let free = state.blocks_free(Some(&file));
        match lock(&file).write_all_at(contents.as_bytes(), 0, free) {
            // On a full disk only the text is lost.
            Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => Err(error),
            _ => Ok(Box::new(held)),
        }
    }
}

/// Holds the lock of a file.
#[derive(Debug)]
struct Lock(Arc<Mutex<Contents>>);

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&self.0).locked = false;
    }
}

/// Names whose files are made anew by `remake`, each once.
fn exchange_files(names: &Names, mut remake: impl FnMut(&Contents) -> io::Result<Contents>) -> io::Result<Names> {
    let mut made = BTreeMap::new();
    names.with_files(|file| {
        if let Some(counterpart) = made.get(&Arc::as_ptr(file)) {
            return Ok(Arc::clone(counterpart));
        }
        let counterpart = Arc::new(Mutex::new(remake(&lock(file))?));
        made.insert(Arc::as_ptr(file), Arc::clone(&counterpart));
        Ok(counterpart)
    })
}

/// Locks; a test that panicked elsewhere does not spoil what it left whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
