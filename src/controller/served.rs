//! The arrays that a process serves, each with the keeper that takes care of it, and how their service ends.
//!
//! One array can be taken out of service while the others go on; when the last one is, the server ends.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    error::{Error, Kind, Result},
    interface::{Ask, Tell},
    order::{on_host, perform},
};
use crate::{
    nbd::{Export, Keeper, Server},
    raid::assemble::Image,
};

/// How long requests that are under way may take at the end.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Finds the image of a path.
pub type Finder = dyn Fn(&Path) -> Result<Image> + Send + Sync;

/// A server and the arrays that it serves.
pub struct Served {
    server: Arc<Server>,
    find: Box<Finder>,
    keepers: Mutex<Vec<Arc<Keeper>>>,
}

impl Served {
    /// The arrays of a server.
    pub fn new(server: Arc<Server>, keepers: Vec<Arc<Keeper>>) -> Self {
        Self {
            server,
            find: Box::new(on_host),
            keepers: Mutex::new(keepers),
        }
    }

    /// The same, whose arrays take images in as `find` gives them.
    pub fn with_images(self, find: Box<Finder>) -> Self {
        Self { find, ..self }
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The arrays, each with its keeper.
    pub fn all(&self) -> Vec<Arc<Keeper>> {
        self.keepers().clone()
    }

    /// Serves one more array.
    pub fn add(&self, keeper: Arc<Keeper>, export: Export) {
        self.keepers().push(keeper);
        self.server.exports().add(export);
    }

    fn keepers(&self) -> MutexGuard<'_, Vec<Arc<Keeper>>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what is asked of the arrays. With the last array the server ends.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is no such array, and those of what is asked.
    pub fn answer(&self, ask: Ask, tell: Tell<'_>) -> Result<Map<String, Value>> {
        match ask {
            Ask::Array { name, order } => {
                let keeper = Arc::clone(keeper_of(&self.keepers(), name.as_deref())?);
                perform(&keeper, &order, &self.find, tell)
            }
            Ask::Stop { name, disconnect } => {
                let stopped = self.stop_one(name.as_deref(), disconnect);
                let ended = self.keepers().is_empty();
                if ended {
                    self.server.stop(PATIENCE);
                }
                stopped.map(|()| Map::from_iter([("ended".to_owned(), json!(ended))]))
            }
            Ask::Store(_) | Ask::Invite => Err(Error::refused(
                Kind::Unavailable,
                "these arrays are served by themselves, without a store",
                "'headstack serve STORE', which has what is asked for",
            )),
        }
    }

    /// Takes an array out of service and stops it; its images can be used by others then. The server is left to end by
    /// the caller.
    ///
    /// # Errors
    /// [`Kind::Busy`] where clients have it and `disconnect` does not say to cut them off. Where members could not be
    /// flushed it is out of service all the same.
    pub(super) fn stop_one(&self, name: Option<&str>, disconnect: bool) -> Result<()> {
        let keeper = Arc::clone(keeper_of(&self.keepers(), name)?);
        let export = keeper.array().name().to_owned();
        let clients = self.server.clients_of(&export);
        if clients > 0 && !disconnect {
            let message = format!("array {export} is in use by {clients} clients");
            let remedy = "again when they have left, or --disconnect to cut them off";
            return Err(Error::refused(Kind::Busy, message, remedy));
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

/// The one of some keepers that a name or a UUID means; the only one where none is named.
///
/// # Errors
/// [`Kind::NotFound`], with the names that there are.
pub fn keeper_of<'a>(keepers: &'a [Arc<Keeper>], name: Option<&str>) -> Result<&'a Arc<Keeper>> {
    let is = |keeper: &&Arc<Keeper>| {
        let array = keeper.array();
        name.is_none_or(|name| array.name() == name || array.uuid().to_string() == name)
    };
    let mut found = keepers.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(keeper), None) => Ok(keeper),
        (found, _) => {
            let names: Vec<&str> = keepers.iter().map(|keeper| keeper.array().name()).collect();
            let what = if found.is_some() {
                "several arrays are"
            } else {
                "no such array is"
            };
            let message = format!("{what} served there; it serves {}", names.join(", "));
            Err(Error::refused(
                Kind::NotFound,
                message,
                "the name or UUID of one of them",
            ))
        }
    }
}
