//! `headstack series latest` and `first`: one entry from either end.
//!
//! Both print as `headstack series cat` does; a series without entries is a failure, as there is nothing to print.

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
        exit::{Code, Failure},
        output::{JsonOption, Output},
    },
    series::Entry,
    series::text::Format,
};

pub(super) const LATEST_EXAMPLES: &str = "\
Examples:
  headstack series latest db temperature
  headstack series latest --format f64 db temperature";

pub(super) const FIRST_EXAMPLES: &str = "\
Examples:
  headstack series first db temperature
  headstack series first --format f64 db temperature";

/// Which end of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    First,
    Latest,
}

/// Options of both verbs.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// How the value is written: hex, base64, utf8, u64, i64 or f64; the series' own format by default
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Prints the entry.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there is no such series or no entry in it.
    pub(super) fn run(self, end: End) -> Result<Code> {
        let (database, key) = self.series.read()?;
        let series = database.any(&key)?;
        let (command, found) = match end {
            End::First => ("series first", series.first()?),
            End::Latest => ("series latest", series.latest()?),
        };
        let Some(Entry { timestamp, value }) = found else {
            let path = database.path().display();
            let message = format!("{} {:?} of {path} has no entries", key.what(), key.name);
            let remedy = format!("'headstack series append {path} {} TIMESTAMP VALUE'", key.name);
            return Err(Failure::new(Code::NotFound, message, remedy).into());
        };
        let codec = any::codec(&series, self.format)?;
        let output = Output::of_json(command, self.json);
        let form = if self.json.json {
            EntryForm::Json(codec)
        } else {
            EntryForm::Lines(codec)
        };
        let facts = Map::from_iter([
            ("series".to_owned(), Value::from(key.name)),
            ("format".to_owned(), Value::from(codec.format().name())),
        ]);
        let mut writer = EntryWriter::begin(&output, form, facts)?;
        writer.entry(timestamp, &value)?;
        writer.finish()?;
        Ok(Code::Success)
    }
}
