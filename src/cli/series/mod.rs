//! `headstack series ..`: the verbs on time series, one file each.
//!
//! Those that read open the database for reading only, which works while it is mounted; those that change it take its
//! lock, and where that is taken they say how the mount makes the same change.

mod any;
mod append;
mod cat;
mod check;
mod create;
mod entry;
mod ls;
mod mark;
mod meta;
mod point;
mod rm;
mod show;
mod sync;
mod trim;

use anyhow::Result;
use clap::Subcommand;

use super::exit::Code;

/// Verbs on time series.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(create::Arguments),
    Ls(ls::Arguments),
    Show(show::Arguments),
    Append(append::Arguments),
    Cat(cat::Arguments),
    /// Print the newest entry of a series
    #[command(after_help = point::LATEST_EXAMPLES)]
    Latest(point::Arguments),
    /// Print the oldest entry of a series
    #[command(after_help = point::FIRST_EXAMPLES)]
    First(point::Arguments),
    Trim(trim::Arguments),
    Sync(sync::Arguments),
    Mark(mark::Arguments),
    Meta(meta::Arguments),
    Rm(rm::Arguments),
    Check(check::Arguments),
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Create(arguments) => arguments.run(),
            Self::Ls(arguments) => arguments.run(),
            Self::Show(arguments) => arguments.run(),
            Self::Append(arguments) => arguments.run(),
            Self::Cat(arguments) => arguments.run(),
            Self::Latest(arguments) => arguments.run(point::End::Latest),
            Self::First(arguments) => arguments.run(point::End::First),
            Self::Trim(arguments) => arguments.run(),
            Self::Sync(arguments) => arguments.run(),
            Self::Mark(arguments) => arguments.run(),
            Self::Meta(arguments) => arguments.run(),
            Self::Rm(arguments) => arguments.run(),
            Self::Check(arguments) => arguments.run(),
        }
    }
}
