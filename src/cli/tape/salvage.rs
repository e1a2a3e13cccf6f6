//! `headstack tape salvage`: all that can be had of a damaged dump, and a list of what cannot.
//!
//! Damage is told on the way and at the end; the list of what is lost is the output.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    cli::{
        exit::Code,
        output::{Cell, Column, FormOptions, Output, Table},
        reels::{TapesArgument, lost_json, tell},
    },
    dump::{restore::Destination, salvage::salvage},
};

const COLUMNS: &[Column] = &[
    Column::left("path", "PATH"),
    Column::right("from_byte", "FROM"),
    Column::right("to_byte", "TO"),
];

/// Restore what can be read of a damaged dump, and list what is lost
///
/// Files that are damaged get what is left of them, with holes for the rest. What has lost its name goes to lost+found under
/// its number. Volumes that are missing are passed over. The output is what is lost: files, and stretches of bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape salvage -f broken.tap -D /srv/saved
  headstack tape salvage -f v1.tap -f v3.tap -D /srv/saved
      volume 2 is gone")]
pub struct Salvage {
    #[command(flatten)]
    tapes: TapesArgument,
    /// Tape file that the dump is in, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    /// Directory that is restored into
    #[arg(short = 'D', long, value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
    #[command(flatten)]
    form: FormOptions,
}

impl Salvage {
    pub(super) fn run(self) -> Result<Code> {
        let reader = self.tapes.reader(self.file)?;
        let destination = Destination::open(&self.directory)?;
        let salvaged = salvage(reader, &destination)?;
        let code = tell(&salvaged.troubles);
        let mut table = Table::new(COLUMNS);
        for lost in &salvaged.lost {
            let path = Cell::path(&lost.path);
            if lost.ranges.is_empty() {
                table.push(vec![path.clone(), Cell::None, Cell::None]);
            }
            for range in &lost.ranges {
                table.push(vec![path.clone(), Cell::Number(range.start), Cell::Number(range.end)]);
            }
        }
        let output = Output::new("tape salvage", self.form);
        if output.is_json() {
            let facts = [
                ("objects", Cell::Number(salvaged.objects)),
                ("troubles", Cell::Number(salvaged.troubles.len() as u64)),
                ("lost", Cell::Json(lost_json(&salvaged.lost))),
            ];
            output.record(&facts)?;
        } else {
            output.table("lost", &table)?;
        }
        log::info!("salvaged {} objects", salvaged.objects);
        Ok(code)
    }
}
