//! Looking for more input for a moment before sleeping.
//!
//! A client at depth 1 asks again within microseconds, and waking a thread costs more than the read it wakes for. It is
//! a [`Wager`]: where it is lost the time is taken from others, so it is made less often with a client that loses it,
//! and not at all where there are more readers than half of the processors.

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

/// Something that is tried as long as it pays: each time that it did not it is left out for longer, else for shorter.
pub(super) struct Wager {
    left_out: u32,
    leave_out: u32,
    leave_out_max: u32,
}

impl Wager {
    /// A wager that is left out `leave_out_max` times in a row at most.
    pub(super) fn new(leave_out_max: u32) -> Self {
        Self {
            left_out: 0,
            leave_out: 0,
            leave_out_max,
        }
    }

    /// Whether it is tried this time.
    pub(super) fn is_made(&mut self) -> bool {
        let made = self.left_out >= self.leave_out;
        self.left_out = if made { 0 } else { self.left_out + 1 };
        made
    }

    /// Takes in how a try came out.
    pub(super) fn learn(&mut self, paid: bool) {
        self.leave_out = if paid {
            self.leave_out / 2
        } else {
            (2 * self.leave_out + 1).min(self.leave_out_max)
        };
    }
}

/// Most times in a row that looking is left out.
const LEFT_OUT_MAX: u32 = 63;

/// Whether looking for more pays with one client.
pub(super) struct SpinHabit(Wager);

impl Default for SpinHabit {
    fn default() -> Self {
        Self(Wager::new(LEFT_OUT_MAX))
    }
}

impl SpinHabit {
    pub(super) fn allows(&mut self, spin: &Spin) -> bool {
        if spin.counted || spin.slept {
            return !spin.slept;
        }
        self.0.is_made()
    }

    pub(super) fn learn(&mut self, spin: &Spin) {
        if spin.counted {
            self.0.learn(!spin.slept);
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
