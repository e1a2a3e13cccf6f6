//! `headstack array stop`: ends the service of an array.
//!
//! The server flushes and stops it cleanly, and ends with its last array. Where clients have it, it is busy, as a device in
//! use is to `mdadm --stop`.

use anyhow::Result;
use clap::Args;

use super::target::PlaceArguments;
use crate::cli::{
    exit::Code,
    output::{Cell, JsonOption, Output},
};

/// Stop an array that is being served
///
/// It is flushed, marked clean and let go of; a server that has no other array ends. What rebuilds or grows goes on when it is
/// started again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array stop r5
  headstack array stop r5 --socket /srv/r5.sock --disconnect")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// Cut clients off that have it
    #[arg(long)]
    disconnect: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Stops the array and waits until its images are free.
    ///
    /// # Errors
    /// [`Code::Unavailable`] where it is not being served, [`Code::Busy`] where clients have it, [`Code::Io`] where it
    /// could not be flushed.
    pub fn run(self) -> Result<Code> {
        self.place.stop(&self.name, self.disconnect)?;
        let facts = [("name", Cell::text(&self.name))];
        Output::of_json("array stop", self.json).done(&format!("stopped {}", self.name), &facts)?;
        Ok(Code::Success)
    }
}
