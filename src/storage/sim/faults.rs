//! What was asked of a simulated directory, and what it is told to refuse.
//!
//! Tests set them; every operation of the simulation asks here first, and is written down here.

use std::{
    fmt, io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::lock;

/// What an operation does; the methods of the storage traits that touch the disk, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `Directory::list`.
    List,
    /// `Directory::create_directory`.
    CreateDirectory,
    /// `Directory::remove_directory`.
    RemoveDirectory,
    /// `Directory::open`.
    Open,
    /// `Directory::create`; what its `fill` does comes after it as operations of their own.
    Create,
    /// `Directory::replace`.
    Replace,
    /// `Directory::read`, a whole file.
    ReadFile,
    /// `Directory::rename`; the path is the old one.
    Rename,
    /// `Directory::remove`.
    Remove,
    /// `Directory::stat` and `Storage::stat`.
    Stat,
    /// `Directory::sync_directory`.
    SyncDirectory,
    /// `Directory::sweep_staged`.
    SweepStaged,
    /// `Directory::capacity`.
    Capacity,
    /// `Directory::lock`.
    Lock,
    /// `Storage::size_bytes`.
    Size,
    /// `Storage::read_at` and `Storage::read_cached_at`.
    Read,
    /// `Storage::write_all_at`.
    Write,
    /// `Storage::set_size`; the length is the new size.
    SetSize,
    /// `Storage::reserve`.
    Reserve,
    /// `Storage::punch`.
    Punch,
    /// `Storage::span_at`.
    Span,
    /// `Storage::sync`.
    Sync,
    /// `Storage::map`; loads and stores through the mapping are not seen.
    Map,
    /// `Storage::set_modified`.
    SetModified,
    /// `Storage::claim`.
    Claim,
}

/// One operation, as it was asked for; it may have failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it does.
    pub verb: Verb,
    /// Path it is about; of an open storage, the path that it was opened by.
    pub path: PathBuf,
    /// Where it starts; 0 where that means nothing.
    pub offset_bytes: u64,
    /// How much it is about; 0 where that means nothing.
    pub length_bytes: u64,
}

impl Operation {
    /// An operation that has no range.
    pub(super) fn on(verb: Verb, path: &Path) -> Self {
        Self {
            verb,
            path: path.to_path_buf(),
            offset_bytes: 0,
            length_bytes: 0,
        }
    }

    /// An operation on a range of a file.
    pub(super) fn on_range(verb: Verb, path: &Path, offset_bytes: u64, length_bytes: u64) -> Self {
        Self {
            verb,
            path: path.to_path_buf(),
            offset_bytes,
            length_bytes,
        }
    }
}

/// Decides of each operation, before it has any effect, whether it fails and by which errno.
pub type Rule = Arc<dyn Fn(&Operation) -> Option<i32> + Send + Sync>;

/// The log and the faults of one directory.
#[derive(Default)]
pub(super) struct Faults {
    log: Mutex<Vec<Operation>>,
    next: Mutex<Vec<(Verb, i32)>>,
    rule: Mutex<Option<Rule>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Faults")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Faults {
    /// Logs an operation that is about to begin, or refuses it.
    ///
    /// The rule runs while nothing is locked, so that it may look at the directory and take images of it.
    pub fn admit(&self, operation: Operation) -> io::Result<()> {
        let rule = lock(&self.rule).clone();
        let errno = rule.and_then(|rule| rule(&operation)).or_else(|| {
            let mut next = lock(&self.next);
            let at = next.iter().position(|(verb, _)| *verb == operation.verb);
            at.map(|at| next.remove(at).1)
        });
        lock(&self.log).push(operation);
        errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    pub fn fail_next(&self, verb: Verb, errno: i32) {
        lock(&self.next).push((verb, errno));
    }

    pub fn set_rule(&self, rule: Option<Rule>) {
        *lock(&self.rule) = rule;
    }

    pub fn operations(&self) -> Vec<Operation> {
        lock(&self.log).clone()
    }

    pub fn take_operations(&self) -> Vec<Operation> {
        mem::take(&mut lock(&self.log))
    }

    pub fn count(&self, verb: Verb) -> usize {
        lock(&self.log)
            .iter()
            .filter(|operation| operation.verb == verb)
            .count()
    }
}
