//! `headstack series cat`: the entries of a range, streamed.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use super::{
    any,
    entry::{EntryForm, EntryWriter},
};
use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::Code,
        output::{JsonOption, Output, Progress, Unit},
    },
    mount::text::Format,
    series::{AnySeries, Contents, Timestamp, VarlenContents},
};

/// Print the entries of a series, all or those of a range
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series cat db temperature --from 1700000000 --to 1700003600
      both ends belong to the range
  headstack series cat --raw db temperature > temperature.raw
      records of a 64 bit little-endian timestamp and the value
  headstack series cat db temperature | headstack series append copy temperature")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// First timestamp
    #[arg(long, value_name = "TS", default_value_t = Timestamp::MIN, hide_default_value = true)]
    from: Timestamp,
    /// Last timestamp
    #[arg(long, value_name = "TS", default_value_t = Timestamp::MAX, hide_default_value = true)]
    to: Timestamp,
    /// How values are written: hex, base64, utf8, u64, i64 or f64; the series' own format by default
    #[arg(long)]
    format: Option<Format>,
    /// Write binary records; a variable-length value is preceded by its length in four bytes
    #[arg(long, conflicts_with_all = ["json", "format"])]
    raw: bool,
    /// Tell the progress however little there is to do
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Prints the entries.
    ///
    /// # Errors
    /// There is no such series, the range is reversed, the series is damaged or standard output cannot be written.
    pub fn run(self) -> Result<Code> {
        let (database, key) = self.series.read()?;
        let series = database.any(&key)?;
        let codec = any::codec(&series, self.format)?;
        let form = match self {
            Self { raw: true, .. } => EntryForm::Raw(key.kind),
            Self {
                json: JsonOption { json: true },
                ..
            } => EntryForm::Json(codec),
            Self { .. } => EntryForm::Lines(codec),
        };
        let facts = Map::from_iter([
            ("series".to_owned(), Value::from(key.name)),
            ("format".to_owned(), Value::from(codec.format().name())),
        ]);
        let output = Output::of_json("series cat", self.json);
        match &series {
            AnySeries::Fixed(series) => {
                let range = series.range(self.from, self.to)?;
                let mut writer = EntryWriter::begin(&output, form, facts)?;
                let mut progress = self.progress_of_fixed(series)?;
                for run in range {
                    let run = run?;
                    if self.raw {
                        writer.records(run.bytes())?;
                    } else {
                        for (timestamp, value) in run.iter() {
                            writer.entry(timestamp, value)?;
                        }
                    }
                    progress.add(run.bytes().len() as u64);
                }
                writer.finish()?;
            }
            AnySeries::Varlen(series) => {
                let range = series.range(self.from, self.to)?;
                let mut writer = EntryWriter::begin(&output, form, facts)?;
                let mut progress = self.progress_of_varlen(series)?;
                for entry in range {
                    let entry = entry?;
                    writer.entry(entry.timestamp(), &entry.to_bytes()?)?;
                    progress.add(1);
                }
                writer.finish()?;
            }
        }
        Ok(Code::Success)
    }

    fn progress_of_fixed(&self, contents: &Contents) -> Result<Progress> {
        let entries = contents
            .upper_bound(self.to)?
            .saturating_sub(contents.lower_bound(self.from)?);
        Ok(Progress::new(
            "series cat",
            Unit::Bytes,
            entries * contents.record_size() as u64,
            self.progress,
        ))
    }

    /// The length of variable-length values is not known beforehand, so entries are counted.
    fn progress_of_varlen(&self, contents: &VarlenContents) -> Result<Progress> {
        let entries = contents
            .upper_bound(self.to)?
            .saturating_sub(contents.lower_bound(self.from)?);
        Ok(Progress::new("series cat", Unit::Entries, entries, self.progress))
    }
}
