//! The arrays that a process serves, each with the keeper that takes care of it, and how their service ends.
//!
//! One array can be taken out of service while the others go on; when the last one is, the server ends.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;

use crate::{
    cli::exit::{Code, Failure},
    nbd::{Keeper, Server},
};

/// How long requests that are under way may take at the end.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A server and the arrays that it serves.
pub struct Served {
    server: Arc<Server>,
    keepers: Mutex<Vec<Arc<Keeper>>>,
}

impl Served {
    /// The arrays of a server.
    pub fn new(server: Arc<Server>, keepers: Vec<Arc<Keeper>>) -> Self {
        Self {
            server,
            keepers: Mutex::new(keepers),
        }
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn keepers(&self) -> MutexGuard<'_, Vec<Arc<Keeper>>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where no array is left.
    pub fn is_empty(&self) -> bool {
        self.keepers().is_empty()
    }

    /// The keeper of the array of a name or UUID; of the only one where none is named.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there is no such array, or where several would do.
    pub fn keeper(&self, name: Option<&str>) -> Result<Arc<Keeper>> {
        let keepers = self.keepers();
        let is = |keeper: &&Arc<Keeper>| {
            let array = keeper.array();
            name.is_none_or(|name| array.name() == name || array.uuid().to_string() == name)
        };
        let mut found = keepers.iter().filter(is);
        match (found.next(), found.next()) {
            (Some(keeper), None) => Ok(Arc::clone(keeper)),
            (found, _) => {
                let names: Vec<&str> = keepers.iter().map(|keeper| keeper.array().name()).collect();
                let what = if found.is_some() {
                    "several arrays are"
                } else {
                    "no such array is"
                };
                let message = format!("{what} served there; it serves {}", names.join(", "));
                Err(Failure::new(Code::NotFound, message, "the name or UUID of one of them").into())
            }
        }
    }

    /// Takes an array out of service and stops it; its images can be used by others then. The server is left to end by
    /// whoever stopped the last one.
    ///
    /// # Errors
    /// [`Code::Busy`] where clients have it and `disconnect` does not say to cut them off. Where members could not be
    /// flushed it is out of service all the same.
    pub fn stop_one(&self, name: Option<&str>, disconnect: bool) -> Result<()> {
        let keeper = self.keeper(name)?;
        let export = keeper.array().name().to_owned();
        let clients = self.server.clients_of(&export);
        if clients > 0 && !disconnect {
            let message = format!("array {export} is in use by {clients} clients");
            let remedy = "again when they have left, or --disconnect to cut them off";
            return Err(Failure::new(Code::Busy, message, remedy).into());
        }
        self.server.remove(&export, PATIENCE);
        self.keepers().retain(|other| !Arc::ptr_eq(other, &keeper));
        Ok(keeper.stop()?)
    }

    /// Waits for the end: of the last client where sockets were handed over, else until the server is stopped.
    pub fn wait(&self, handed: bool) {
        if handed {
            self.server.wait_for_last_client();
        } else {
            self.server.wait_until_stopped();
        }
    }

    /// Stops all arrays that are left.
    ///
    /// # Errors
    /// Members could not be flushed.
    pub fn stop_all(&self) -> Result<()> {
        let keepers = std::mem::take(&mut *self.keepers());
        let stopped: Vec<_> = keepers.iter().map(|keeper| keeper.stop()).collect();
        Ok(stopped.into_iter().collect::<Result<(), _>>()?)
    }
}
