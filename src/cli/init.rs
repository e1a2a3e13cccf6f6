//! `headstack init`: makes a store.
//!
//! A store is one directory for everything that a long-running controller keeps: the database in `series`, and room for
//! member images, tapes and state. It is not needed for any verb; each works on bare paths as well.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{
    exit::Code,
    output::{Cell, JsonOption, Output},
};
use crate::controller::Store;

/// Make a store: a directory with one database and room for everything else
///
/// The database is STORE/series; every verb that takes a database takes the store as well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack init /srv/store
  headstack series create /srv/store temperature --block-size 8")]
pub struct Arguments {
    /// Directory to make; it may be there already if it is empty
    #[arg(value_name = "STORE", value_hint = clap::ValueHint::DirPath)]
    store: PathBuf,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Makes the store.
    ///
    /// # Errors
    /// [`Code::Exists`] where something is there, or the directory cannot be made.
    pub fn run(self) -> Result<Code> {
        let store = Store::create(&self.store)?;
        let facts = [
            ("store", Cell::path(store.root())),
            ("database", Cell::path(&store.series())),
        ];
        Output::of_json("init", self.json).done(&format!("made the store {}", store.root().display()), &facts)?;
        Ok(Code::Success)
    }
}
