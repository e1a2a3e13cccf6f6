//! `headstack series mark`: remembers how far the entries have been sent elsewhere.
//!
//! The mark is tempsdb's `last_entry_synced`, kept in the series' metadata file.

use anyhow::Result;
use clap::Args;

use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::Code,
        output::{Cell, JsonOption, Output},
    },
    series::{AnySeries, Timestamp},
};

/// Mark a series as synced up to a timestamp
///
/// The mark is yours: `headstack series show` gives it back as `last_entry_synced`. It may go backwards.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series mark db temperature 1700000000
      after the entries up to then were uploaded")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// Timestamp of the last entry that is synced
    #[arg(value_name = "TS")]
    timestamp: Timestamp,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Writes the mark.
    ///
    /// # Errors
    /// There is no such series, the database is mounted, or the file system fails.
    pub fn run(self) -> Result<Code> {
        let (database, key) =
            self.series
                .write("series mark", &format!("writing 'synced {}' to", self.timestamp), "ctl")?;
        let series = database.any(&key)?;
        match &series {
            AnySeries::Fixed(series) => series.mark_synced_up_to(self.timestamp)?,
            AnySeries::Varlen(series) => series.mark_synced_up_to(self.timestamp)?,
        }
        let Timestamp(synced) = series.last_entry_synced();
        drop(series);
        database.close()?;
        let sentence = format!("{}/{}: synced up to {synced}", database.path().display(), key.name);
        let facts = [
            ("series", Cell::text(&key.name)),
            ("last_entry_synced", Cell::Number(synced)),
        ];
        Output::of_json("series mark", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }
}
