//! `headstack spare ..`: the pool of disks that take the place of members that fail.
//!
//! The pool belongs to the store, not to an array: the first disk of it that fits is taken. Without a controller the pool is
//! changed in the store's settings.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    exit::{Code, Failure},
    output::{Cell, Column, FormOptions, JsonOption, Output, Table},
    store::{StoreOption, ask_if_running},
};
use crate::controller::{Store, interface::StoreAsk, settings::Remembered};

/// Verbs on the spare pool.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Add(Change),
    /// Take a disk out of the spare pool
    #[command(after_help = "\
Examples:
  headstack spare rm /srv/store/disks/disk3.img")]
    Rm(Change),
    Ls(Ls),
}

/// Put a disk into the spare pool
///
/// It takes the place of the next member that fails, in whichever array it fits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack spare add /srv/store/disks/disk3.img
  headstack spare add disk3.img --store /srv/store")]
pub struct Change {
    /// The image
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    image: PathBuf,
    /// Take it though it holds something, which is lost when it is used
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// List the spare pool, in the order in which disks are taken
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack spare ls --store /srv/store")]
pub struct Ls {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

const COLUMNS: &[Column] = &[Column::left("name", "NAME"), Column::left("path", "PATH")];

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Add(change) => change.run(true),
            Self::Rm(change) => change.run(false),
            Self::Ls(ls) => ls.run(),
        }
    }
}

impl Change {
    fn run(self, add: bool) -> Result<Code> {
        let store = self.store.open(Some(&self.image))?;
        let name = name_of(&store, &self.image)?;
        let ask = StoreAsk::Spare {
            name: name.clone(),
            add,
            yes: self.yes,
        };
        if ask_if_running(&store, ask)?.is_none() {
            let message = format!("{}: its controller does not run", store.root().display());
            let remedy = format!("'headstack serve {}' first", store.root().display());
            return Err(Failure::new(Code::Unavailable, message, remedy).into());
        }
        let (command, done) = if add {
            ("spare add", "went to the spare pool")
        } else {
            ("spare rm", "left the spare pool")
        };
        Output::of_json(command, self.json).done(&format!("{name} {done}"), &[("name", Cell::text(&name))])?;
        Ok(Code::Success)
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let names: Vec<String> = match ask_if_running(&store, StoreAsk::Status)? {
            Some(facts) => {
                let spares = facts.get("spares").and_then(Value::as_array).into_iter().flatten();
                spares.filter_map(Value::as_str).map(str::to_owned).collect()
            }
            None => Remembered::load(&store)?.spares,
        };
        let mut table = Table::new(COLUMNS);
        for name in names {
            let path = store.disks().join(&name);
            table.push(vec![Cell::text(name), Cell::path(&path)]);
        }
        Output::new("spare ls", self.form).table("spares", &table)?;
        Ok(Code::Success)
    }
}

/// The name of a disk of a store: its image is in the directory `disks`.
///
/// # Errors
/// [`Code::Usage`] for an image elsewhere.
pub fn name_of(store: &Store, image: &Path) -> Result<String> {
    let bare = image.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    let inside = store.disks();
    let there = bare || std::fs::canonicalize(image).is_ok_and(|path| path.parent() == Some(&inside));
    match image.file_name().and_then(|name| name.to_str()) {
        Some(name) if there => Ok(name.to_owned()),
        _ => {
            let message = format!("{} is no disk of the store {}", image.display(), store.root().display());
            let remedy = format!("an image in {}", inside.display());
            Err(Failure::new(Code::Usage, message, remedy).into())
        }
    }
}
