//! `headstack init`: makes a store.
//!
//! A store is one directory for everything that a long-running controller keeps: the database in `series`, and room for
//! member images, tapes and state. It is not needed for any verb; each works on bare paths as well.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::{
    arguments::options,
    exit::{Code, Failure},
    output::{Cell, JsonOption, Output},
};
use crate::series::{Database, Mode};

/// Directories of a store beside its database.
const DIRECTORIES: [&str; 3] = ["disks", "tapes", "state"];

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
        let store = &self.store;
        let place = || store.display().to_string();
        match fs::create_dir(store) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let empty = store.is_dir() && fs::read_dir(store).with_context(place)?.next().is_none();
                if !empty {
                    let message = format!("{} already exists and is no empty directory", place());
                    return Err(Failure::new(Code::Exists, message, "another place for the store").into());
                }
            }
            made => made.with_context(place)?,
        }
        for name in DIRECTORIES {
            let path = store.join(name);
            fs::create_dir(&path).with_context(|| path.display().to_string())?;
        }
        let database = Database::create(&store.join("series"), options(Mode::ReadWrite, "init"))?;
        database.close()?;
        let facts = [("store", Cell::path(store)), ("database", Cell::path(database.path()))];
        Output::of_json("init", self.json).done(&format!("made the store {}", place()), &facts)?;
        Ok(Code::Success)
    }
}
