//! What time it is, and in which zone: the host's clock, or one that is set by hand.
//!
//! Mail and the schedule ask here, so that a year of them passes in a test without waiting.

use std::sync::{Mutex, PoisonError};

use jiff::{Timestamp, tz::TimeZone};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;
    /// The zone of local time.
    fn zone(&self) -> TimeZone;
}

/// The clock of the host, with the zone that it is set to or that `TZ` names.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn zone(&self) -> TimeZone {
        TimeZone::system()
    }
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct SetClock {
    now: Mutex<Timestamp>,
    zone: TimeZone,
}

impl SetClock {
    /// A clock that stands at a time of a zone.
    pub fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self {
            now: Mutex::new(now),
            zone,
        }
    }

    /// Sets it.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zone(&self) -> TimeZone {
        self.zone.clone()
    }
}
