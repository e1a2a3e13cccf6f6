//! `headstack array remove`: give an image back that an array does without.
//!
//! A spare leaves the array and is free at once. What a member that failed holds may yet be of use, so that needs a word.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::target::PlaceArguments;
use crate::{
    cli::{
        exit::Code,
        output::{JsonOption, Output},
    },
    controller::order::Order,
};

/// Give an image back that the array does without: a spare, or a member that failed
///
/// The image is free for other uses then, and the array never takes it back by itself. Members that are in use are not
/// removed: 'headstack array fail' takes them out first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array remove r5 spare.img
  headstack array fail r5 disk1.img && headstack array remove r5 disk1.img --yes")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// The image
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    image: PathBuf,
    /// Do it though the image was a member, and could be that again
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Gives the image back.
    ///
    /// # Errors
    /// [`Code::Refused`] for a member that is in use, and for one that failed unless that is confirmed; [`Code::NotFound`]
    /// for an image that is none of the array's.
    pub fn run(self) -> Result<Code> {
        let image = std::fs::canonicalize(&self.image).with_context(|| self.image.display().to_string())?;
        let order = Order::Remove { image, yes: self.yes };
        let facts = self
            .place
            .carry_out(Some(&self.name), Some(&self.image), order, "remove")?;
        let output = Output::of_json("array remove", self.json);
        if output.is_json() {
            output.document(facts)?;
        }
        Ok(Code::Success)
    }
}
