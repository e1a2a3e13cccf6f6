//! What was asked of one disk, counted with no lock in the way.
//!
//! A counter is added to after the request, by whichever thread made it. A reader sees each counter as it is at some
//! moment, not all of them at one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a disk since the controller began.
#[derive(Debug, Default)]
pub struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    flushes: AtomicU64,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that were answered.
    pub reads: u64,
    /// Bytes that they gave.
    pub read_bytes: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Bytes that they took.
    pub written_bytes: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes and flushes that failed.
    pub write_errors: u64,
}

impl Counters {
    /// Counts a read of so many bytes.
    pub(super) fn read(&self, outcome: Option<usize>) {
        match outcome {
            Some(bytes) => {
                self.reads.fetch_add(1, Ordering::Relaxed);
                self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            None => {
                self.read_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a write of so many bytes.
    pub(super) fn write(&self, outcome: Option<usize>) {
        match outcome {
            Some(bytes) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            None => {
                self.write_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a flush.
    pub(super) fn flush(&self, done: bool) {
        let counter = if done { &self.flushes } else { &self.write_errors };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            reads: of(&self.reads),
            read_bytes: of(&self.read_bytes),
            writes: of(&self.writes),
            written_bytes: of(&self.written_bytes),
            flushes: of(&self.flushes),
            read_errors: of(&self.read_errors),
            write_errors: of(&self.write_errors),
        }
    }
}
