//! `headstack series rm`: removes a series with all its entries.
//!
//! Also a damaged one, whose entries cannot be counted any more.

use anyhow::Result;
use clap::Args;

use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::Code,
        output::{Cell, FormOptions, Output, confirm},
    },
    series::{Database, SeriesKey},
};

/// Remove a series with all its entries
///
/// Snapshots keep what they hold of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series rm db temperature --dry-run
  headstack series rm db temperature --yes")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Removes the series.
    ///
    /// # Errors
    /// [`Code::Refused`] without a confirmation, [`Code::Busy`] where the database is mounted.
    pub fn run(self) -> Result<Code> {
        let output = Output::new("series rm", self.form);
        if self.dry_run {
            let (database, key) = self.series.read()?;
            output.record(&facts(&key, entries(&database, &key), true))?;
            return Ok(Code::Success);
        }
        let (database, key) = self.series.write("series rm", "rmdir", "")?;
        let entries = entries(&database, &key);
        let path = database.path().display();
        let what = match entries {
            Some(entries) => format!("{path}: {} {:?} with {entries} entries", key.what(), key.name),
            None => format!(
                "{path}: {} {:?}, which is damaged, with all its entries",
                key.what(),
                key.name
            ),
        };
        confirm(&format!("{what} would be lost"), &key.name, self.yes)?;
        database.delete_series(&key)?;
        database.close()?;
        output.done(&format!("removed {what}"), &facts(&key, entries, false))?;
        Ok(Code::Success)
    }
}

/// Number of entries; none where the series is too damaged to tell.
fn entries(database: &Database, key: &SeriesKey) -> Option<u64> {
    database
        .any(key)
        .map_err(anyhow::Error::from)
        .and_then(|series| Ok(series.entries()?))
        .ok()
}

fn facts(key: &SeriesKey, entries: Option<u64>, dry_run: bool) -> [(&'static str, Cell); 4] {
    [
        ("series", Cell::text(&key.name)),
        ("kind", Cell::text(key.what())),
        ("entries", Cell::number(entries)),
        ("dry_run", Cell::Flag(dry_run)),
    ]
}
