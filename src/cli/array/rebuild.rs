//! `headstack array rebuild`: make an array's redundancy whole.
//!
//! The same work that a server does on its own; here it is waited for.

use anyhow::Result;
use clap::Args;

use super::target::PlaceArguments;
use crate::cli::{
    exit::Code,
    output::{JsonOption, Output},
};
use crate::controller::order::Order;

/// Fill members that are new and make redundancy right after a crash, and wait until that is done
///
/// What was interrupted goes on where it was. It is also what is tried again after a member that could not be read was
/// replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array rebuild r5
  headstack array rebuild r5 --socket /srv/r5.sock
      waits for the rebuild of an array that is being served")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Rebuilds.
    ///
    /// # Errors
    /// [`Code::Io`] where bytes cannot be had from the other members.
    pub fn run(self) -> Result<Code> {
        let facts = self
            .place
            .carry_out(Some(&self.name), None, Order::Rebuild, "rebuild")?;
        let output = Output::of_json("array rebuild", self.json);
        if output.is_json() {
            output.document(facts)?;
        }
        Ok(Code::Success)
    }
}
