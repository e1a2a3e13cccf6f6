//! `headstack array fail`: take a member out.
//!
//! The engine marks it as failed on all others before it goes on; an array that cannot do without it refuses.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use super::target::PlaceArguments;
use crate::cli::{
    exit::Code,
    output::{JsonOption, Output},
};
use crate::controller::order::Order;

/// Take a member out of an array as if it had failed
///
/// The array goes on without it, and can lose less until another takes its place. One that it cannot do without stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array fail r5 disk1.img
  headstack array fail r5 1 --socket /srv/r5.sock
      member 1 of an array that is being served")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// The member: its image, the name of its file, or its number
    #[arg(value_name = "MEMBER", value_hint = clap::ValueHint::FilePath)]
    member: String,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Takes the member out.
    ///
    /// # Errors
    /// [`Code::Refused`] where the array needs it, [`Code::NotFound`] where there is no such member.
    pub fn run(self) -> Result<Code> {
        let order = Order::Fail {
            member: absolute(&self.member),
        };
        let beside = Path::new(&self.member);
        let facts = self.place.carry_out(Some(&self.name), Some(beside), order, "fail")?;
        let output = Output::of_json("array fail", self.json);
        if output.is_json() {
            output.document(facts)?;
        }
        Ok(Code::Success)
    }
}

/// The path of a member as a server in another directory knows it; anything else is left as it is.
pub fn absolute(member: &str) -> String {
    let path = std::fs::canonicalize(member).ok();
    path.and_then(|path| path.to_str().map(str::to_owned))
        .unwrap_or_else(|| member.to_owned())
}
