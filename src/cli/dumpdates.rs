//! `headstack dumpdates ..`: which dumps are remembered, and forgetting them.
//!
//! What is remembered is the base of later dumps; the tapes themselves are not touched.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{
    dump::time_of,
    exit::{Code, Failure},
    output::{Cell, Column, FormOptions, Output, Table, confirm},
    reels::{StateArgument, absolute},
};
use crate::dump::dumpdates::{Dumpdates, Remembered};

const COLUMNS: &[Column] = &[
    Column::left("path", "PATH"),
    Column::right("level", "LEVEL"),
    Column::left("date", "DATE"),
    Column::left("base", "BASE"),
];

/// Verbs on remembered dumps.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Ls(Ls),
    Rm(Rm),
}

/// List the dumps that are remembered
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack dumpdates ls")]
pub struct Ls {
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    form: FormOptions,
}

/// Forget dumps of a tree; the tapes stay as they are
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack dumpdates rm /srv/data --yes
  headstack dumpdates rm /srv/data --level 2 --yes")]
pub struct Rm {
    /// The tree
    #[arg(value_name = "PATH")]
    path: std::path::PathBuf,
    /// Only the dump of this level
    #[arg(long, value_name = "N")]
    level: Option<u8>,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    form: FormOptions,
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Rm(rm) => rm.run(),
        }
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let dates = Dumpdates::open(self.state.open()?)?;
        let mut table = Table::new(COLUMNS);
        for dump in dates.all() {
            table.push(vec![
                Cell::text(&dump.path),
                Cell::Number(dump.level.into()),
                Cell::Time(time_of(dump.date_s)),
                if dump.base_s == 0 {
                    Cell::None
                } else {
                    Cell::Time(time_of(dump.base_s))
                },
            ]);
        }
        Output::new("dumpdates ls", self.form).table("dumps", &table)?;
        Ok(Code::Success)
    }
}

impl Rm {
    fn run(self) -> Result<Code> {
        let mut dates = Dumpdates::open(self.state.open()?)?;
        let path = absolute(&self.path)?;
        let picked = |dump: &Remembered| dump.path == path && self.level.is_none_or(|level| dump.level == level);
        let count = dates.all().iter().filter(|dump| picked(dump)).count();
        if count == 0 {
            let message = format!("{path}: no such dump is remembered");
            return Err(Failure::new(Code::NotFound, message, "'headstack dumpdates ls' for those that are").into());
        }
        confirm(&format!("{count} dumps of {path} would be forgotten"), &path, self.yes)?;
        let forgotten = dates.forget(picked)? as u64;
        let facts = [("forgotten", Cell::Number(forgotten))];
        Output::new("dumpdates rm", self.form).done(&format!("forgot {forgotten} dumps"), &facts)?;
        Ok(Code::Success)
    }
}
