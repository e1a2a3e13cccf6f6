//! The store's database, as the place of the controller's own series.
//!
//! One process writes a database. The controller takes it when it can; while another process has it, such as a mount, what
//! is to be stored waits in memory, within bounds, and the controller says so. Names of the controller's series begin with
//! [`PREFIX`].

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::store::Store;
use crate::series::{self, Database, Mode, OpenOptions, SeriesKey};

/// How the names of the controller's series begin.
pub const PREFIX: &str = "headstack.";

/// The database of a store, where it is to be had.
pub struct Telemetry {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Somebody else has the database too: it is not opened anew.
    shared: bool,
    database: Option<Arc<Database>>,
    /// Why it is not to be had.
    trouble: Option<String>,
}

impl Telemetry {
    /// The database of a store, which is not opened yet.
    pub fn new(store: &Store) -> Self {
        Self {
            path: store.series(),
            state: Mutex::default(),
        }
    }

    /// The database, opened for writing; none while it cannot be.
    pub fn database(&self) -> Option<Arc<Database>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.database.is_none() {
            let options = OpenOptions {
                mode: Mode::ReadWrite,
                holder: format!("headstack serve, pid {}", std::process::id()),
                ..OpenOptions::read_only()
            };
            match Database::open(&self.path, options) {
                Ok(database) => {
                    state.database = Some(Arc::new(database));
                    state.trouble = None;
                }
                Err(error) => state.trouble = Some(error.to_string()),
            }
        }
        state.database.clone()
    }

    /// The database, for another part of this process, which has to let go of it before [`Telemetry::close`]; none while it
    /// is another process's.
    pub fn share(&self) -> Option<Arc<Database>> {
        let database = self.database()?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).shared = true;
        Some(database)
    }

    /// Why nothing can be stored; none where it can.
    pub fn trouble(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.trouble.clone()
    }

    /// Takes note that the database does not take what is to be stored: it is opened again for the next.
    pub fn failed(&self, error: &series::Error) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.trouble = Some(error.to_string());
        if !state.shared {
            state.database = None;
        }
    }

    /// Gives the database back.
    ///
    /// # Errors
    /// Its series could not be written to the end.
    pub fn close(&self) -> series::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.database.take().map_or(Ok(()), |database| database.close())
    }
}

/// The series of a name, made by `make` where there is none.
pub fn ensured<S>(
    database: &Database,
    key: &SeriesKey,
    open: impl Fn(&str) -> series::Result<S>,
    make: impl FnOnce(&str) -> series::Result<S>,
) -> series::Result<S> {
    if database.keys()?.contains(key) {
        open(&key.name)
    } else {
        make(&key.name)
    }
}
