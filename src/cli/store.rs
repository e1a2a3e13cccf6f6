//! The store of a verb, and how what it asks reaches the store's controller.
//!
//! A store is named, or is the one around an image that is named, or the working directory. Where its controller runs it is
//! asked through its socket; what can be done without one the verb does itself.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use super::exit::{Code, Failure};
use crate::controller::{
    Store, client,
    interface::{Ask, StoreAsk},
    socket::path_of,
};

/// The store of a verb.
#[derive(Debug, Clone, Args)]
pub struct StoreOption {
    /// The store; the working directory by default, or the one around the image that is named
    #[arg(long, value_name = "STORE", value_hint = clap::ValueHint::DirPath)]
    store: Option<PathBuf>,
}

impl StoreOption {
    /// The store, where `image` is the image that the verb is about.
    ///
    /// # Errors
    /// There is none.
    pub fn open(&self, image: Option<&Path>) -> Result<Store> {
        match (&self.store, image.and_then(Store::around)) {
            (Some(named), _) => Ok(Store::open(named)?),
            (None, Some(around)) => Ok(around),
            (None, None) => Ok(Store::open(Path::new("."))?),
        }
    }
}

/// Asks the controller of a store; none where it has none that runs.
///
/// # Errors
/// What the controller says.
pub fn ask_if_running(store: &Store, ask: StoreAsk) -> Result<Option<Map<String, Value>>> {
    match client::connect(&path_of(&store.socket())) {
        Some(stream) => Ok(Some(client::ask(stream, Ask::Store(ask), &mut |_| Ok(()))?)),
        None => Ok(None),
    }
}

/// Asks the controller of a store.
///
/// # Errors
/// [`Code::Unavailable`] where it does not run; what the controller says.
pub fn ask(store: &Store, ask: StoreAsk) -> Result<Map<String, Value>> {
    let root = store.root().display();
    ask_if_running(store, ask)?.ok_or_else(|| {
        let message = format!("{root}: its controller does not run");
        Failure::new(Code::Unavailable, message, format!("'headstack serve {root}'")).into()
    })
}
