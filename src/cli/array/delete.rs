//! `headstack array delete`: gives the images of an array back.
//!
//! Superblocks, journals and partitions go, the data stay until the space is used again; whoever has the array in use is
//! not disturbed, the verb is refused.

use anyhow::Result;
use clap::Args;

use super::{explain::ask_controller, target::PlaceArguments};
use crate::{
    cli::{
        exit::Code,
        images::chosen,
        output::{Cell, FormOptions, Output, confirm},
    },
    controller::interface::StoreAsk,
    raid::stopped::delete,
};

/// Delete an array and give its images back
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array delete r5 --dry-run
  headstack array delete r5 --yes")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Only tell what would be lost
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Deletes.
    ///
    /// # Errors
    /// [`Code::Refused`] without a confirmation, [`Code::Busy`] where the array is in use.
    pub fn run(self) -> Result<Code> {
        let found = self.place.found(None)?;
        let set = chosen(&found, Some(&self.name))?;
        let images: Vec<String> = set
            .members
            .iter()
            .map(|member| member.image.path().display().to_string())
            .collect();
        let what = format!("array {} on {}", set.name, images.join(", "));
        let facts = [
            ("name", Cell::text(&set.name)),
            ("uuid", Cell::text(set.uuid.to_string())),
            ("size_bytes", set.size_bytes.map_or(Cell::None, Cell::Bytes)),
            ("images", Cell::Json(images.into())),
            ("dry_run", Cell::Flag(self.dry_run)),
        ];
        let output = Output::new("array delete", self.form);
        if self.dry_run {
            output.record(&facts)?;
            return Ok(Code::Success);
        }
        confirm(&format!("{what} would be lost"), &set.name, self.yes)?;
        let ask = StoreAsk::DeleteArray {
            name: set.uuid.to_string(),
            yes: true,
        };
        if ask_controller(set, ask)?.is_none() {
            delete(set)?;
        }
        output.done(&format!("deleted {what}"), &facts)?;
        Ok(Code::Success)
    }
}
