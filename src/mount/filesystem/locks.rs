//! Series that one process has for itself, such as a restore that fills them: everybody else is refused as busy.
//!
//! The line `lock PID` in `ctl` gives a series to the threads of a process, in the live tree and in snapshots that are made
//! meanwhile, where half of what is restored would stand. Names and attributes can still be looked at. A lock goes with the
//! open `ctl`, and so with its process, however that ends.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Filesystem, lock};
use crate::mount::{
    errno::{Refusal, Result},
    nodes::{Place, SeriesNode, Tree},
    view::SeriesView,
};

/// Series that are locked, by their live nodes.
#[derive(Debug, Default)]
pub struct Locks {
    held: Mutex<HashMap<SeriesNode, Lock>>,
    /// How many there are, for all who pass while there are none.
    count: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
struct Lock {
    process: u32,
    /// Number of the last snapshot that was made before.
    last_snapshot: u32,
}

/// A lock while it is held.
#[derive(Debug)]
pub struct Held {
    locks: Arc<Locks>,
    series: SeriesNode,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.locks.held).remove(&self.series);
        self.locks.count.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Locks {
    fn are_none(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// The process that has a series; none where nobody does.
    pub(super) fn holder(&self, series: SeriesNode) -> Option<u32> {
        if self.are_none() {
            return None;
        }
        let live = SeriesNode {
            tree: Tree::Live,
            ..series
        };
        let held = lock(&self.held).get(&live).copied()?;
        let before = matches!(series.tree, Tree::Frozen(number) if number <= held.last_snapshot);
        (!before).then_some(held.process)
    }

    /// Refuses what nobody may do to a series while it is locked.
    pub(super) fn refuse(&self, series: SeriesNode) -> Result<()> {
        match self.holder(series) {
            Some(process) => Err(Refusal::Locked { process }),
            None => Ok(()),
        }
    }
}

/// The process that a thread belongs to, as the host numbers both.
fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

impl Filesystem {
    /// Refuses a node of a series that is locked to all threads but those of the process that has it.
    ///
    /// # Errors
    /// [`Refusal::Locked`].
    pub fn admit(&self, node: u64, thread: u32) -> Result<()> {
        if self.locks.are_none() {
            return Ok(());
        }
        let Some(Place::Series(series, _)) = self.nodes.place(node) else {
            return Ok(());
        };
        match self.locks.holder(series) {
            Some(process) if thread != process && process_of(thread) != Some(process) => {
                Err(Refusal::Locked { process })
            }
            _ => Ok(()),
        }
    }

    /// Gives a live series to a process.
    pub(super) fn lock_series(&self, view: &SeriesView, process: u32) -> Result<Held> {
        let series = view.node();
        let numbers = self.database.snapshots()?.into_iter().map(|info| info.number);
        let last_snapshot = numbers.max().unwrap_or(0);
        let mut held = lock(&self.locks.held);
        if let Some(Lock { process, .. }) = held.get(&series) {
            return Err(Refusal::Locked { process: *process });
        }
        held.insert(series, Lock { process, last_snapshot });
        self.locks.count.fetch_add(1, Ordering::AcqRel);
        Ok(Held {
            locks: Arc::clone(&self.locks),
            series,
        })
    }
}
