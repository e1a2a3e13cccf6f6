//! What lives long: arrays in use, and whoever may ask something of them.
//!
//! A [`Keeper`](crate::nbd::Keeper) tells its array the time and makes redundancy whole again. An [`order::Order`] is what
//! is asked of an array; it is carried out on the keeper, in the process of the verb itself or, through a [`socket`], in
//! the one that serves the array. Progress and result are the same both ways.

pub mod client;
pub mod clock;
pub mod create;
pub mod disk;
pub mod error;
pub mod event;
pub mod explain;
pub mod hook;
pub mod images;
pub mod interface;
pub mod kept;
pub mod library;
pub mod log;
pub mod metrics;
pub mod neighbours;
pub mod notify;
pub mod order;
pub mod profile;
pub mod running;
pub mod schedule;
pub mod served;
pub mod settings;
pub mod socket;
pub mod store;
pub mod telemetry;
pub mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use error::{Error, Kind, Told};
pub use event::{Event, Level};
pub use settings::Settings;
pub use store::Store;

pub use crate::raid::health::{Action, ArrayState, DiskState};

/// What a lock guards, also after a thread died that held it: what is guarded so is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
