//! An assembled array: one run of bytes over its members, for many threads at once.
//!
//! A request checks its range, takes the [`roster`] of the moment, goes through [`read`], [`mod@write`] or [`stripe`], and
//! expels the members that failed it ([`membership`]) before it is answered. What a request holds, in the only order in
//! which it may take them: the *gate* (shared by writes, so that a change of membership can wait for all of them), the
//! *lanes* of its range ([`lanes`]), the *control* of the superblocks ([`control`]), the bitmap ([`intent`]). No lock is
//! held over all of the array while data moves. While the array is reshaped a request also holds the *crossing* of its
//! range, before all lanes, so that the position between the two sides does not move through it.
//!
//! Time comes in with [`Array::tick`]; nothing here asks a clock.

mod activity;
mod blank;
mod control;
pub(in crate::raid) mod crew;
mod damage;
mod flush;
mod intent;
mod lanes;
mod legs;
mod lent;
mod membership;
mod merge;
mod naming;
mod read;
mod roster;
mod rows;
mod state;
mod status;
mod stripe;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

pub use read::Lease;
pub use status::{Extent, ExtentKind, MemberStatus, Reshaping, Status};
pub use write::Zeroes;

pub(in crate::raid) use activity::Activity;
pub(in crate::raid) use control::{Control, Device};
pub(in crate::raid) use intent::Intent;
pub(in crate::raid) use lanes::{Held, LANE_BYTES};
pub(in crate::raid) use membership::write_pages;
pub(in crate::raid) use read::rewrite;
pub(in crate::raid) use roster::{Failures, Moving, Roster};
pub(in crate::raid) use rows::Rows;
pub(in crate::raid) use stripe::{Parities, SLAB_BYTES, Slab, trusted};
pub(in crate::raid) use write::{Source, put_on};

use super::{
    Level,
    error::{Error, Result},
    geometry::{Geometry, Stripe},
    journal::Journal,
    member::Member,
    metadata::identity::Uuid,
    reshape::Shape,
    watch::Watch,
};

/// What an array is made of; [`super::assemble`] brings it together.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    pub(super) shape: Shape,
    pub(super) seats: Vec<Option<Arc<Member>>>,
    /// Of the new side, while the array is reshaped.
    pub(super) new_seats: Vec<Option<Arc<Member>>>,
    pub(super) control: Control,
    pub(super) intent: Intent,
    pub(super) read_only: bool,
    pub(super) journal: Arc<Journal>,
    /// Journal every write of a stripe, not only while a member is missing.
    pub(super) journal_always: bool,
    /// Every write is durable before it is answered.
    pub(super) write_through: bool,
    /// Watches the members, and whoever is taken in.
    pub(super) watch: Arc<Watch>,
}

/// An array that is in use. Dropping it without [`Array::stop`] is a crash: the next assembly resyncs.
pub struct Array {
    name: String,
    uuid: Uuid,
    read_only: bool,
    /// Bytes of the array; those of the roster's geometry.
    size_bytes: AtomicU64,
    roster: RwLock<Arc<Roster>>,
    /// Counts reads whose bytes are pages of the members' files still.
    leases: Arc<()>,
    gate: RwLock<()>,
    lanes: lanes::Lanes,
    crossing: lanes::Lanes,
    /// What requests under way are about to write.
    offers: merge::Offers,
    /// Held by the one who moves a reshape on.
    reshaping: Mutex<()>,
    reshape_runs: AtomicBool,
    control: Mutex<Control>,
    journal: Arc<Journal>,
    journal_always: bool,
    write_through: AtomicBool,
    /// The arrays that it is made of, if any.
    legs: Vec<Arc<Array>>,
    activity: Activity,
    watch: Arc<Watch>,
    /// The superblocks say so since this assembly, and who is missing.
    dirty: AtomicBool,
    /// A flush failed, or more members than the array can do without.
    lost: AtomicBool,
    /// Too few members are left: nothing is written any more, not even superblocks.
    disabled: AtomicBool,
    /// Writes so far, by which a tick sees whether the array is idle.
    writes: AtomicU64,
    writes_at_tick: AtomicU64,
}

impl Array {
    pub(in crate::raid) fn new(parts: Parts) -> Self {
        let (size_bytes, roster) = match parts.shape {
            Shape::Still(geometry) => {
                let size = geometry.capacity_bytes();
                (size, Roster::new(geometry, parts.intent, parts.seats))
            }
            Shape::Moving(view) => {
                let old = Roster::new(view.old().clone(), parts.intent, parts.seats);
                let mut new_seats = parts.new_seats;
                new_seats.truncate(usize::from(view.new_geometry().slots()));
                let new = old.shaped(view.new_geometry().clone(), new_seats);
                let size = view.capacity_bytes();
                (size, old.with_moving(Some(Moving { view: *view, new })))
            }
        };
        Self {
            name: parts.name,
            uuid: parts.uuid,
            read_only: parts.read_only,
            size_bytes: AtomicU64::new(size_bytes),
            roster: RwLock::new(Arc::new(roster)),
            gate: RwLock::new(()),
            lanes: lanes::Lanes::new(),
            crossing: lanes::Lanes::new(),
            leases: Arc::default(),
            offers: merge::Offers::default(),
            reshaping: Mutex::new(()),
            reshape_runs: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            control: Mutex::new(parts.control),
            journal: parts.journal,
            journal_always: parts.journal_always,
            write_through: AtomicBool::new(parts.write_through),
            legs: Vec::new(),
            activity: Activity::default(),
            watch: parts.watch,
            lost: AtomicBool::new(false),
            disabled: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            writes_at_tick: AtomicU64::new(0),
        }
    }

    /// Name of the array, without a host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Identity of the array.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Level of the array.
    pub fn level(&self) -> Level {
        self.roster().geometry().level()
    }

    /// Shape of the array.
    pub fn geometry(&self) -> Arc<Geometry> {
        Arc::clone(self.roster().geometry())
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    /// True where writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// True where every write is durable before it is answered, so that a power cut loses none; else only what was
    /// flushed is.
    pub fn is_write_through(&self) -> bool {
        self.write_through.load(Ordering::Acquire)
    }

    /// Sets whether every write is durable before it is answered; those before this are made so first.
    ///
    /// # Errors
    /// As [`Array::flush`].
    pub fn set_write_through(&self, write_through: bool) -> Result<()> {
        self.write_through.store(write_through, Ordering::Release);
        if write_through { self.flush() } else { Ok(()) }
    }

    /// Block size that costs least: the chunk, or a page where there is none.
    pub fn preferred_block_bytes(&self) -> u32 {
        let chunk = u32::try_from(self.geometry().chunk_bytes()).unwrap_or(0);
        if chunk.is_power_of_two() { chunk.max(4096) } else { 4096 }
    }

    /// Members of the moment, and the shape that they have: what a request works with until it is answered.
    pub(in crate::raid) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The roster to work with in a range of the array, and while the array is reshaped what keeps the range on its side.
    pub(in crate::raid) fn snapshot(&self, offset_bytes: u64, length_bytes: u64) -> (Option<Held<'_>>, Arc<Roster>) {
        let roster = self.roster();
        if roster.moving().is_none() {
            return (None, roster);
        }
        let held = self.hold_crossing(offset_bytes, length_bytes);
        (Some(held), self.roster())
    }

    /// Waits until no request of a reshaped array is under way in a range.
    pub(in crate::raid) fn hold_crossing(&self, offset_bytes: u64, length_bytes: u64) -> Held<'_> {
        let last = offset_bytes + length_bytes.max(1) - 1;
        self.crossing.hold(offset_bytes / LANE_BYTES, last / LANE_BYTES)
    }

    /// Says how large the array is from now on.
    pub(in crate::raid) fn set_size(&self, bytes: u64) {
        self.size_bytes.store(bytes, Ordering::Release);
    }

    /// True while somebody moves a reshape on.
    pub(in crate::raid) fn reshape_runs(&self) -> &AtomicBool {
        &self.reshape_runs
    }

    /// The right to move a reshape on; none where another has it.
    pub(in crate::raid) fn try_reshaping(&self) -> Option<MutexGuard<'_, ()>> {
        match self.reshaping.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn set_roster(&self, roster: Roster) {
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roster);
    }

    /// Lets writes begin; held until they are done.
    pub(in crate::raid) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no write is under way, and keeps new ones out.
    pub(in crate::raid) fn exclude(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::raid) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::raid) fn intent(&self) -> Arc<Intent> {
        Arc::clone(self.roster().intent())
    }

    pub(in crate::raid) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Watches the members.
    pub(in crate::raid) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    pub(in crate::raid) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits for the lanes of a range of the array, for levels whose redundancy is copies.
    pub(in crate::raid) fn hold_range(&self, offset_bytes: u64, length_bytes: u64) -> Held<'_> {
        let last = offset_bytes + length_bytes.max(1) - 1;
        self.lanes.hold(offset_bytes / LANE_BYTES, last / LANE_BYTES)
    }

    /// Waits for the lanes of columns of a stripe, for levels with parity.
    pub(in crate::raid) fn hold_stripe(&self, stripe: &Stripe, first_column: u64, end_column: u64) -> Held<'_> {
        let per_stripe = stripe.chunk_bytes().div_ceil(LANE_BYTES);
        let lane = |column: u64| stripe.number * per_stripe + column / LANE_BYTES;
        self.lanes.hold(lane(first_column), lane(end_column.max(1) - 1))
    }

    /// Waits for the lanes of all columns of stripes, or of columns of the only one.
    pub(in crate::raid) fn hold_stripes(&self, first: &Stripe, count: u64, start: u64, end: u64) -> Held<'_> {
        if count <= 1 {
            return self.hold_stripe(first, start, end);
        }
        let per_stripe = first.chunk_bytes().div_ceil(LANE_BYTES);
        let lane = first.number * per_stripe;
        self.lanes.hold(lane, lane + count * per_stripe - 1)
    }

    fn check_range(&self, offset_bytes: u64, length_bytes: u64) -> Result<()> {
        let size_bytes = self.size_bytes();
        match offset_bytes.checked_add(length_bytes) {
            Some(end) if end <= size_bytes => Ok(()),
            _ => Err(Error::OutOfRange {
                offset_bytes,
                length_bytes,
                size_bytes,
            }),
        }
    }

    pub(in crate::raid) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            Err(Error::ReadOnly {
                array: self.name.clone(),
            })
        } else if self.lost.load(Ordering::Acquire) {
            Err(self.flush_lost(None))
        } else {
            self.check_enabled(0)
        }
    }

    pub(in crate::raid) fn flush_lost(&self, source: Option<std::io::Error>) -> Error {
        Error::FlushLost {
            array: self.name.clone(),
            source,
        }
    }

    pub(in crate::raid) fn unreadable(&self, offset_bytes: u64, source: Option<std::io::Error>) -> Error {
        Error::Unreadable {
            array: self.name.clone(),
            offset_bytes,
            source,
        }
    }
}

impl std::fmt::Debug for Array {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Array")
            .field("name", &self.name)
            .field("geometry", self.roster().geometry())
            .finish_non_exhaustive()
    }
}
