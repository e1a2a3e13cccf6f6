//! `headstack disk inject`, `pull`, `insert`, `heal`, `identify` and `rescan`: a store's disks as an operator meets them.
//!
//! Each needs the controller, which has the disks in use.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value};

use crate::cli::{
    exit::Code,
    output::{Cell, JsonOption, Output},
    spare::name_of,
    store::{StoreOption, ask},
};
use crate::controller::interface::{DiskDeed, StoreAsk};

/// Give a disk a fault, to see what the arrays make of it
///
/// Faults: bad-sector@OFFSET+LENGTH, read-error:N and write-error:N (every Nth), bit-flip@OFFSET, torn-write, lost-flush,
/// slow:MS, hang. They last until the disk is healed or the controller ends.
///
/// A scenario is a file of lines: 'seed N', and 'after REQUESTS DISK FAULT', which is due when so many requests were made to
/// all disks; the fault may also be pull, insert, heal or bad-sector@random+LENGTH, and DISK may be random.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk inject disks/disk1.img bad-sector@1M+4K
  headstack disk inject disks/disk1.img hang
  headstack disk inject --scenario bad-day.txt --store /srv/store
      the same requests meet the same faults again")]
pub struct Inject {
    /// The image
    #[arg(value_name = "IMG", required_unless_present = "scenario", value_hint = clap::ValueHint::FilePath)]
    image: Option<PathBuf>,
    /// The fault
    #[arg(value_name = "FAULT", required_unless_present = "scenario")]
    fault: Option<String>,
    /// Faults that come by themselves, from this file
    #[arg(long, value_name = "FILE", conflicts_with = "image", value_hint = clap::ValueHint::FilePath)]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// What is done to one disk.
#[derive(Debug, Args)]
pub struct OneDisk {
    /// The image
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    image: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// Look for images that are new or back, and take them in
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk rescan --store /srv/store")]
pub struct Rescan {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

impl Inject {
    /// Injects.
    ///
    /// # Errors
    /// [`Code::Usage`] for no fault; the controller does not run.
    pub fn run(self) -> Result<Code> {
        let output = Output::of_json("disk inject", self.json);
        if let (Some(image), Some(fault)) = (&self.image, self.fault) {
            let store = self.store.open(Some(image))?;
            let name = name_of(&store, image)?;
            let deed = DiskDeed::Inject(fault);
            return done(output, ask(&store, StoreAsk::Disk { name, deed })?);
        }
        let path = self.scenario.unwrap_or_default();
        let scenario = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ask(&self.store.open(None)?, StoreAsk::Rehearse { scenario })?;
        output.done("the scenario begins", &[("scenario", Cell::path(&path))])?;
        Ok(Code::Success)
    }
}

impl OneDisk {
    /// Does it.
    ///
    /// # Errors
    /// There is no such disk, or the controller does not run.
    pub fn run(self, command: &'static str, deed: DiskDeed) -> Result<Code> {
        let store = self.store.open(Some(&self.image))?;
        let name = name_of(&store, &self.image)?;
        let facts = ask(&store, StoreAsk::Disk { name, deed })?;
        let output = Output::of_json(command, self.json);
        if command == "disk identify" && !output.is_json() {
            output.told(facts["path"].as_str().unwrap_or_default(), &[])?;
            return Ok(Code::Success);
        }
        done(output, facts)
    }
}

impl Rescan {
    /// Looks.
    ///
    /// # Errors
    /// The controller does not run.
    pub fn run(self) -> Result<Code> {
        let facts = ask(&self.store.open(None)?, StoreAsk::Rescan)?;
        done(Output::of_json("disk rescan", self.json), facts)
    }
}

fn done(output: Output, facts: Map<String, Value>) -> Result<Code> {
    if output.is_json() {
        output.document(facts)?;
    }
    Ok(Code::Success)
}
