//! `headstack array ..`: the verbs on arrays, one file each.
//!
//! An array is named by the images of its members, or by its name among the images that stand together. Where it is
//! being served, the verb asks the server; else it starts the array, does its work and stops it ([`target`]).

mod add;
mod create;
mod delete;
mod examine;
mod explain;
pub mod facts;
mod fail;
mod grow;
mod ls;
mod pause;
mod rebuild;
mod remove;
mod rename;
mod show;
mod start;
mod stop;
mod target;
mod verify;

use anyhow::Result;
use clap::Subcommand;

use super::exit::Code;
use crate::controller::order::Order;

pub use explain::place_of;
pub use facts::level_name;

/// Verbs on arrays.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(create::Arguments),
    Ls(ls::Arguments),
    Show(show::Arguments),
    Examine(examine::Arguments),
    Explain(explain::Arguments),
    Fail(fail::Arguments),
    Add(add::Arguments),
    Remove(remove::Arguments),
    Start(start::Arguments),
    Stop(stop::Arguments),
    Rebuild(rebuild::Arguments),
    /// Stop what is done to an array that is served: a verify ends, other work waits for 'resume'
    #[command(after_help = pause::PAUSE_EXAMPLES)]
    Pause(pause::Arguments),
    /// Go on with what was stopped
    #[command(after_help = pause::RESUME_EXAMPLES)]
    Resume(pause::Arguments),
    Verify(verify::Arguments),
    Grow(grow::GrowArguments),
    Migrate(grow::MigrateArguments),
    Rename(rename::Arguments),
    Delete(delete::Arguments),
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
            Self::Examine(arguments) => arguments.run(),
            Self::Explain(arguments) => arguments.run(),
            Self::Fail(arguments) => arguments.run(),
            Self::Add(arguments) => arguments.run(),
            Self::Remove(arguments) => arguments.run(),
            Self::Start(arguments) => arguments.run(),
            Self::Stop(arguments) => arguments.run(),
            Self::Rebuild(arguments) => arguments.run(),
            Self::Pause(arguments) => arguments.run("array pause", Order::Pause),
            Self::Resume(arguments) => arguments.run("array resume", Order::Resume),
            Self::Verify(arguments) => arguments.run(),
            Self::Grow(arguments) => arguments.run(),
            Self::Migrate(arguments) => arguments.run(),
            Self::Rename(arguments) => arguments.run(),
            Self::Delete(arguments) => arguments.run(),
        }
    }
}
