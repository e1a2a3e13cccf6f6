//! `headstack series cat`: the entries of a range, streamed.
//!
//! Nothing is collected: a run of packed records is formatted, or passed on as it is, chunk by chunk.

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
    series::text::Format,
    series::{AnySeries, Contents, Error, Range, Timestamp, VarlenRange},
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
                let writer = EntryWriter::begin(&output, form, facts)?;
                self.print_fixed(series, range, writer)?;
            }
            AnySeries::Varlen(series) => {
                let range = series.range(self.from, self.to)?;
                let writer = EntryWriter::begin(&output, form, facts)?;
                self.print_varlen(series.root(), range, writer)?;
            }
        }
        Ok(Code::Success)
    }

    fn print_fixed(&self, contents: &Contents, range: Range, mut writer: EntryWriter) -> Result<()> {
        let bytes = self.entries(contents) * contents.record_size() as u64;
        let mut progress = Progress::new("series cat", Unit::Bytes, bytes, self.progress);
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
        writer.finish()
    }

    /// The length of variable-length values is not known beforehand, so entries are counted.
    fn print_varlen(&self, root: &Contents, range: VarlenRange, mut writer: EntryWriter) -> Result<()> {
        let mut progress = Progress::new("series cat", Unit::Entries, self.entries(root), self.progress);
        for entry in range {
            let entry = entry?;
            writer.entry(entry.timestamp(), &entry.to_bytes()?)?;
            progress.add(1);
        }
        writer.finish()
    }

    /// Entries in the range, for the progress. Counting may meet damage in chunks outside the range, which is no reason
    /// not to print it.
    fn entries(&self, contents: &Contents) -> u64 {
        let count = || Ok::<_, Error>(contents.upper_bound(self.to)? - contents.lower_bound(self.from)?);
        count().unwrap_or(0)
    }
}
