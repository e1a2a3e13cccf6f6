//! The mounted file system without FUSE: every operation as a method, testable without a mount.
//!
//! [`lookup`] finds places by name, [`listing`] lists directories, [`attributes`] says what stat shows, [`open`] opens, closes
//! and syncs, `io` reads and writes, [`xattr`] is for extended attributes and [`flags`] for ioctls,
//! [`lifecycle`] makes, renames and removes, [`control`] runs `ctl`, [`locks`] keeps series for one process, [`report`]
//! writes `stats` and `.stats`.
//!
//! No method calls the kernel. Where an operation makes what the kernel has cached untrue, it returns *stale* things
//! with its result: the adapter has the kernel drop them first and answers the request then, from a thread of its own.

pub mod attributes;
pub mod control;
pub mod flags;
pub mod handles;
mod holds;
pub mod io;
pub mod lifecycle;
pub mod listing;
pub mod locks;
pub mod lookup;
pub mod metadata;
pub mod open;
pub mod report;
#[cfg(test)]
mod tests;
pub mod xattr;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use self::{handles::Handles, locks::Locks, xattr::Defaults};
use super::{
    counters::Counters,
    errno::{Refusal, Result},
    nodes::{Item, NodeTable, Place, SeriesNode, Tree},
    options::Options,
    view::{SeriesView, Source},
};
use crate::series::{self, Capacity, Database, Kind, SeriesId, SeriesKey, Snapshot};

/// Names in the root that are the mount's own, whatever series there are.
const OWN_NAMES: [&str; 2] = [".snapshot", ".stats"];

/// Something that the kernel has to forget before the request that caused it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// Size, times and the like of a node.
    Attributes(u64),
    /// Attributes and cached pages of a node.
    Contents(u64),
    /// Cached pages of a node from this byte on.
    Tail(u64, u64),
    /// A name in a directory.
    Name(u64, String),
    /// Not stale itself: a node of this many bytes, of which this is the last. The kernel takes the size from it without
    /// a look at the pages it has.
    Grown(u64, u64, u8),
    /// Not stale itself: from here on sizes show this many entries of a series whose readers use the page cache.
    Published(SeriesNode, u64),
}

/// A result, and what became stale by it.
#[derive(Debug, PartialEq, Eq)]
pub struct Effect<T> {
    /// The result.
    pub value: T,
    /// What the kernel has to forget: names some time after the request is answered, for it may hold a lock on their
    /// directory until then, everything else before.
    pub stale: Vec<Stale>,
}

impl<T> From<T> for Effect<T> {
    fn from(value: T) -> Self {
        Self::new(value, Vec::new())
    }
}

impl<T> Effect<T> {
    /// A result that made something stale.
    pub fn new(value: T, stale: Vec<Stale>) -> Self {
        Self { value, stale }
    }
}

/// Makes more lines of metrics.
struct MoreMetrics(Box<dyn Fn() -> String + Send + Sync>);

impl std::fmt::Debug for MoreMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MoreMetrics")
    }
}

/// One mounted database.
#[derive(Debug)]
pub struct Filesystem {
    database: Arc<Database>,
    /// Metrics of whoever shares the database, for `.stats`.
    more_metrics: OnceLock<MoreMetrics>,
    options: Options,
    owner: (u32, u32),
    mounted: SystemTime,
    nodes: NodeTable,
    handles: Handles,
    locks: Arc<Locks>,
    names: Mutex<HashMap<SeriesNode, SeriesKey>>,
    views: Mutex<HashMap<SeriesNode, Arc<SeriesView>>>,
    snapshots: Mutex<HashMap<u32, Arc<FrozenTree>>>,
    defaults: Mutex<Defaults>,
    counters: Counters,
    passthrough: AtomicBool,
    /// Version of the listing of each directory that was read last, and when that was.
    listings: Mutex<HashMap<u64, (u64, Instant)>>,
    /// Changes with the names of series and snapshots.
    names_version: AtomicU64,
}

/// One snapshot, with its series by name and by number.
#[derive(Debug)]
struct FrozenTree {
    snapshot: Arc<Snapshot>,
    created: SystemTime,
    keys: Vec<(SeriesKey, SeriesId)>,
    by_key: HashMap<SeriesKey, SeriesId>,
    by_id: HashMap<SeriesId, SeriesKey>,
}

impl FrozenTree {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        let keys = snapshot.series_ids();
        Self {
            created: snapshot.info().created,
            by_key: keys.iter().cloned().collect(),
            by_id: keys.iter().cloned().map(|(key, id)| (id, key)).collect(),
            keys,
            snapshot,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each guarded value is changed by one call that cannot be left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Filesystem {
    /// Serves `database`; `owner` is the user and group that files belong to where the options name none.
    ///
    /// # Errors
    /// The database's metadata cannot be read.
    pub fn new(database: impl Into<Arc<Database>>, options: Options, owner: (u32, u32)) -> Result<Self> {
        let database = database.into();
        let defaults = Defaults::load(database.metadata()?.as_ref());
        for hidden in database
            .keys()?
            .iter()
            .filter(|key| OWN_NAMES.contains(&key.name.as_str()))
        {
            if hidden.kind == Kind::Fixed {
                log::warn!(
                    "series {:?} is hidden by the mount's own file of that name",
                    hidden.name
                );
            }
        }
        let owner = (options.uid.unwrap_or(owner.0), options.gid.unwrap_or(owner.1));
        Ok(Self {
            database,
            more_metrics: OnceLock::new(),
            options,
            owner,
            mounted: SystemTime::now(),
            nodes: NodeTable::default(),
            handles: Handles::default(),
            locks: Arc::default(),
            names: Mutex::default(),
            views: Mutex::default(),
            snapshots: Mutex::default(),
            defaults: Mutex::new(defaults),
            counters: Counters::default(),
            passthrough: AtomicBool::new(false),
            listings: Mutex::default(),
            names_version: AtomicU64::new(0),
        })
    }

    /// The database that is mounted.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// True where nobody else writes to the database.
    fn is_alone(&self) -> bool {
        !self.options.read_only && !self.options.shared
    }

    /// Adds what `more` says to `.stats` from now on.
    pub fn set_more_metrics(&self, more: impl Fn() -> String + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.more_metrics.set(MoreMetrics(Box::new(more)));
    }

    /// The options it is mounted with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Counts of requests.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the kernel holds.
    pub fn nodes(&self) -> &NodeTable {
        &self.nodes
    }

    /// Notes whether closed chunks are read by the kernel itself.
    pub fn set_passthrough(&self, passthrough: bool) {
        self.passthrough.store(passthrough, Ordering::Relaxed);
    }

    /// True where closed chunks are read by the kernel itself.
    pub fn passthrough(&self) -> bool {
        self.passthrough.load(Ordering::Relaxed)
    }

    /// What node `number` is.
    fn place(&self, number: u64) -> Result<Place> {
        self.nodes.place(number).ok_or(Refusal::Gone { node: number })
    }

    /// The view of a series, opened where it is not.
    fn view(&self, series: SeriesNode) -> Result<Arc<SeriesView>> {
        if let Some(view) = lock(&self.views).get(&series) {
            return Ok(Arc::clone(view));
        }
        let key = self.key(series)?;
        let source = match series.tree {
            Tree::Live => Source::Live(self.database.any(&key)?),
            Tree::Frozen(number) => {
                let snapshot = self.snapshot(number)?;
                Source::Frozen {
                    series: snapshot.snapshot.series(&key)?,
                    created: snapshot.created,
                }
            }
        };
        let view = Arc::new(SeriesView::new(series, source, self.is_alone()));
        // Another thread may have been faster; all must share one view, for it counts the writers.
        Ok(Arc::clone(lock(&self.views).entry(series).or_insert(view)))
    }

    /// What a series is called.
    fn key(&self, series: SeriesNode) -> Result<SeriesKey> {
        let known = lock(&self.names).get(&series).cloned();
        known.ok_or(Refusal::Gone {
            node: Place::Series(series, Item::Directory).file_id(),
        })
    }

    /// The snapshot of this number.
    fn snapshot(&self, number: u32) -> Result<Arc<FrozenTree>> {
        if let Some(tree) = lock(&self.snapshots).get(&number) {
            return Ok(Arc::clone(tree));
        }
        let gone = || Refusal::Gone {
            node: Place::Root(Tree::Frozen(number)).file_id(),
        };
        let all = self.database.snapshots()?;
        let info = all.into_iter().find(|info| info.number == number).ok_or_else(gone)?;
        let tree = Arc::new(FrozenTree::new(self.database.snapshot(&info.name)?));
        lock(&self.snapshots).insert(number, Arc::clone(&tree));
        Ok(tree)
    }

    /// Time of the last change of names in a directory of the database; that of mounting where it cannot be had.
    fn names_changed(&self, directory: &Path) -> SystemTime {
        self.database
            .directory()
            .stat(directory)
            .map_or(self.mounted, |stat| stat.modified)
    }

    /// Directory of a live series, relative to the database.
    fn host_directory(key: &SeriesKey) -> PathBuf {
        match key.kind {
            Kind::Fixed => PathBuf::from(&key.name),
            Kind::Varlen => Path::new("varlen").join(&key.name),
        }
    }

    /// Refuses where nothing may be written at all, or not in this tree.
    fn writable(&self, tree: Tree) -> Result<()> {
        match tree {
            Tree::Frozen(_) => Err(Refusal::Frozen),
            Tree::Live if self.options.read_only => Err(Refusal::ReadOnlyMount),
            Tree::Live => Ok(()),
        }
    }

    /// Notes that a series or snapshot was made, renamed or removed.
    fn names_change(&self) {
        self.names_version.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes back lookups of a node that the kernel has forgotten.
    pub fn forget(&self, number: u64, lookups: u64) {
        let last = self.nodes.forget(number, lookups);
        if self.nodes.place(number).is_none() {
            lock(&self.listings).remove(&number);
        }
        if let Some(series) = last {
            let mut views = lock(&self.views);
            // A file may be open although its node is forgotten: its handle and the table share the view. One that was
            // appended to knows a time that nobody else does.
            let unused = |view: &Arc<SeriesView>| Arc::strong_count(view) == 1 && !view.was_appended();
            if views.get(&series).is_some_and(unused) {
                views.remove(&series);
            }
        }
    }

    /// Lets sizes show this many entries of a series: see [`Stale::Published`].
    pub fn publish(&self, series: SeriesNode, entries: u64) {
        if let Some(view) = lock(&self.views).get(&series) {
            view.publish(entries);
        }
    }

    /// Every node of a series that the kernel holds, as stale.
    fn all_stale(&self, series: SeriesNode, stale: impl Fn(u64) -> Stale) -> Vec<Stale> {
        self.nodes
            .of_series(series)
            .into_iter()
            .map(|(node, _)| stale(node))
            .collect()
    }

    /// Capacity of the file system that holds the database.
    ///
    /// # Errors
    /// The host does not say.
    pub fn capacity(&self) -> Result<Capacity> {
        let path = self.database.path().to_owned();
        let capacity = self.database.directory().capacity();
        Ok(capacity.map_err(|source| series::Error::Io { path, source })?)
    }

    /// Syncs and closes the database; whatever still comes is refused.
    ///
    /// # Errors
    /// Not everything could be made durable.
    pub fn close(&self) -> Result<()> {
        if self.options.shared {
            self.database.sync()?;
        } else {
            self.database.close()?;
        }
        for view in lock(&self.views).values() {
            if let Err(error) = view.keep_time() {
                log::info!("{error}; it shows another time of its last append from now on");
            }
        }
        Ok(())
    }
}
