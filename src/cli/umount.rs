//! `headstack umount`: takes a mounted database out of the tree.
//!
//! Only mounts of this program are touched; the mount layer looks at what is mounted there before it acts.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{
    exit::Code,
    output::{Cell, JsonOption, Output},
};
use crate::mount::session;

/// Unmount a database
///
/// It returns when everything is written and the database is closed; umount(8) and fusermount3(1) do the same, without
/// waiting. Files that are open in the mount keep it busy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack umount /mnt")]
pub struct Arguments {
    /// Where the database is mounted
    #[arg(value_name = "MOUNTPOINT", value_hint = clap::ValueHint::DirPath)]
    mount_point: PathBuf,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Unmounts.
    ///
    /// # Errors
    /// Nothing is mounted there, it is busy, or the system does not permit it.
    pub fn run(self) -> Result<Code> {
        session::umount(&self.mount_point)?;
        let sentence = format!("unmounted {}", self.mount_point.display());
        let facts = [("mount_point", Cell::path(&self.mount_point))];
        Output::of_json("umount", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }
}
