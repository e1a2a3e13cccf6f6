//! `headstack array pause` and `resume`: what is being done to an array stops, and goes on.
//!
//! Verifying, rebuilding, initialising and moving to another shape can be stopped; the array is in use meanwhile.

use anyhow::Result;
use clap::Args;

use super::target::PlaceArguments;
use crate::{
    cli::{
        exit::Code,
        output::{Cell, JsonOption, Output},
    },
    controller::order::Order,
};

/// Examples of `array pause`.
pub const PAUSE_EXAMPLES: &str = "\
Examples:
  headstack array pause r5 --in /srv/store/disks";
/// Examples of `array resume`.
pub const RESUME_EXAMPLES: &str = "\
Examples:
  headstack array resume r5 --in /srv/store/disks";

/// An array whose work stops or goes on.
#[derive(Debug, Args)]
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
    /// Stops the work, or lets it go on.
    ///
    /// # Errors
    /// [`Code::Refused`] where there is nothing to stop, or nothing that was stopped.
    pub fn run(self, verb: &'static str, order: Order) -> Result<Code> {
        let facts = self.place.carry_out(Some(&self.name), None, order, "work")?;
        let output = Output::of_json(verb, self.json);
        if output.is_json() {
            output.document(facts)?;
        } else {
            let state = Cell::of("state", &facts["state"]);
            output.record(&[("name", Cell::text(self.name)), ("state", state)])?;
        }
        Ok(Code::Success)
    }
}
