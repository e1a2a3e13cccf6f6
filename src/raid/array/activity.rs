//! What is going on with an array beside the requests: whether it is being verified, rebuilt or resynced, and whether
//! flaws were found that its superblocks do not tell of yet.
//!
//! In memory only, for telling the array's state and for keeping work of one kind from running twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Flags of work under way.
#[derive(Debug, Default)]
pub(in crate::raid) struct Activity {
    verifying: AtomicBool,
    rebuilding: AtomicBool,
    resyncing: AtomicBool,
    /// How often flaws were noted.
    flaws_noted: AtomicU64,
    /// How many of those the superblocks know of.
    flaws_committed: AtomicU64,
}

/// Work that is under way until this is dropped.
#[derive(Debug)]
pub(in crate::raid) struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn begin(flag: &AtomicBool) -> Option<Running<'_>> {
    let was = flag.swap(true, Ordering::AcqRel);
    (!was).then_some(Running(flag))
}

impl Activity {
    /// Begins a verify; none where one is under way.
    pub(in crate::raid) fn verifying(&self) -> Option<Running<'_>> {
        begin(&self.verifying)
    }

    /// Begins a rebuild; none where one is under way.
    pub(in crate::raid) fn rebuilding(&self) -> Option<Running<'_>> {
        begin(&self.rebuilding)
    }

    /// Begins a resync; none where one is under way.
    pub(in crate::raid) fn resyncing(&self) -> Option<Running<'_>> {
        begin(&self.resyncing)
    }

    pub(in crate::raid) fn is_verifying(&self) -> bool {
        self.verifying.load(Ordering::Acquire)
    }

    pub(in crate::raid) fn is_rebuilding(&self) -> bool {
        self.rebuilding.load(Ordering::Acquire)
    }

    pub(in crate::raid) fn is_resyncing(&self) -> bool {
        self.resyncing.load(Ordering::Acquire)
    }

    /// Notes that superblocks have to be written, because a flaw is new.
    pub(in crate::raid) fn note_flaws(&self) {
        self.flaws_noted.fetch_add(1, Ordering::AcqRel);
    }

    /// How often flaws were noted, where the superblocks do not know of all: nobody may rely on one before they do.
    pub(in crate::raid) fn uncommitted_flaws(&self) -> Option<u64> {
        let noted = self.flaws_noted.load(Ordering::Acquire);
        (noted > self.flaws_committed.load(Ordering::Acquire)).then_some(noted)
    }

    /// Notes that superblocks were written since flaws were noted so often.
    pub(in crate::raid) fn flaws_committed(&self, noted: u64) {
        self.flaws_committed.fetch_max(noted, Ordering::AcqRel);
    }
}
