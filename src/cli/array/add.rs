//! `headstack array add`: take an image in.
//!
//! Which of three things becomes of it the array decides: the member it was, a new member in a free slot, or a spare.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::target::PlaceArguments;
use crate::cli::{
    exit::Code,
    output::{JsonOption, Output},
};
use crate::controller::order::Order;

/// Take an image in: as the member it was, in the place of one that is missing, or as a spare
///
/// A member that returns is filled only where it missed writes, as far as the array keeps a bitmap; a new one is filled
/// from the start. The verb returns when that is done.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk create disk9.img --size 1G
  headstack array add r5 disk9.img
  headstack array add r5 disk9.img --no-wait
      returns at once; a server fills it meanwhile")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// The image
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    image: PathBuf,
    /// Return before it is filled; an array that is not served is filled the next time
    #[arg(long)]
    no_wait: bool,
    /// Take the image though it holds something else, which is lost
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Takes the image in.
    ///
    /// # Errors
    /// It does not fit, is in use, or the array takes none.
    pub fn run(self) -> Result<Code> {
        let image = std::fs::canonicalize(&self.image).with_context(|| self.image.display().to_string())?;
        let order = Order::Add {
            image,
            wait: !self.no_wait,
            yes: self.yes,
        };
        let facts = self
            .place
            .carry_out(Some(&self.name), Some(&self.image), order, "rebuild")?;
        let output = Output::of_json("array add", self.json);
        if output.is_json() {
            output.document(facts)?;
        }
        Ok(Code::Success)
    }
}
