//! Looking for more input for a moment before sleeping.
//!
//! A client at depth 1 asks again within microseconds, and waking a thread costs more than the read it wakes for. It is
//! a wager: where it is lost the time is taken from others, so it is made less often with a client that loses it, and
//! not at all where there are more readers than half of the processors.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a reader looks for more.
const SPIN: Duration = Duration::from_micros(30);

/// Readers there are.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// A reader that is counted as long as this lives.
pub(super) struct CountedReader(());

impl CountedReader {
    pub(super) fn new() -> Self {
        READERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// True where there are more readers than half of the processors.
    pub(super) fn are_many() -> bool {
        static MOST: LazyLock<usize> =
            LazyLock::new(|| thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2)));
        READERS.load(Ordering::Relaxed) > *MOST
    }
}

impl Drop for CountedReader {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether looking for more pays with this client: after each time in vain it is left out for longer.
#[derive(Default)]
pub(super) struct SpinHabit {
    left_out: u32,
    leave_out: u32,
}

/// Most times in a row that looking is left out.
const LEFT_OUT_MAX: u32 = 63;

impl SpinHabit {
    pub(super) fn allows(&mut self, spin: &Spin) -> bool {
        if spin.counted || spin.slept {
            return !spin.slept;
        }
        let allowed = self.left_out >= self.leave_out;
        self.left_out = if allowed { 0 } else { self.left_out + 1 };
        allowed
    }

    pub(super) fn learn(&mut self, spin: &Spin) {
        if spin.counted {
            self.leave_out = if spin.slept {
                (2 * self.leave_out + 1).min(LEFT_OUT_MAX)
            } else {
                0
            };
        }
    }
}

/// One time of looking for more without sleeping.
#[derive(Default)]
pub(super) struct Spin {
    until: Option<Instant>,
    counted: bool,
    slept: bool,
}

impl Spin {
    pub(super) fn goes_on(&mut self) -> bool {
        let Some(until) = self.until else {
            if CountedReader::are_many() {
                return false;
            }
            self.counted = true;
            self.until = Some(Instant::now() + SPIN);
            return true;
        };
        std::hint::spin_loop();
        Instant::now() < until
    }

    pub(super) fn has_slept(&mut self) {
        self.slept = true;
    }
}
