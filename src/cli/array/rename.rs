//! `headstack array rename`: another name for an array that is not in use.
//!
//! Only arrays that are well are renamed, as the controller guide has it; nothing is found by names, so no data can be lost.

use anyhow::Result;
use clap::Args;

use super::{explain::ask_controller, target::PlaceArguments};
use crate::{
    cli::{
        exit::Code,
        images::chosen,
        output::{Cell, JsonOption, Output},
    },
    controller::interface::StoreAsk,
    nbd::keeper::now,
    raid::stopped::rename,
};

/// Give an array another name
///
/// No client may have it, and all its members have to be there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array rename RAID_5_0 archive")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// Its new name: 1 to 32 bytes
    #[arg(value_name = "NEW")]
    new: String,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Renames.
    ///
    /// # Errors
    /// [`Code::Refused`] where the state does not allow it, [`Code::Busy`] where the array is in use.
    pub fn run(self) -> Result<Code> {
        let found = self.place.found(None)?;
        let set = chosen(&found, Some(&self.name))?;
        let ask = StoreAsk::RenameArray {
            name: set.uuid.to_string(),
            new: self.new.clone(),
        };
        if ask_controller(set, ask)?.is_none() {
            rename(set, &self.new, now())?;
        }
        let facts = [
            ("name", Cell::text(&self.new)),
            ("uuid", Cell::text(set.uuid.to_string())),
        ];
        Output::of_json("array rename", self.json).done(&format!("renamed {} to {}", self.name, self.new), &facts)?;
        Ok(Code::Success)
    }
}
