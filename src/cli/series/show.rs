//! `headstack series show`: all that is known of one series.
//!
//! Parameters, extent, marks, the space it takes, the format of its values and the user's metadata.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::any;
use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::Code,
        output::{Cell, FormOptions, Output},
    },
    series::{AnySeries, SeriesId, Timestamp},
};

/// Show the parameters and the state of a series
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series show db temperature
  headstack series show --json db temperature | jq .entries")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints the facts.
    ///
    /// # Errors
    /// There is no such series, or it is damaged.
    pub fn run(self) -> Result<Code> {
        let (database, key) = self.series.read()?;
        let series = database.any(&key)?;
        let (SeriesId(id), path) = match &series {
            AnySeries::Fixed(series) => (series.id(), series.path()),
            AnySeries::Varlen(series) => (series.id(), series.path()),
        };
        let mut facts = vec![
            ("name", Cell::text(&key.name)),
            ("kind", Cell::text(key.what())),
            ("id", Cell::Number(id.into())),
            ("path", Cell::path(&path)),
        ];
        facts.extend(parameters(&series));
        let first = series.first()?.map(|entry| entry.timestamp.0);
        let last = series.last_timestamp()?.map(|Timestamp(last)| last);
        let Timestamp(synced) = series.last_entry_synced();
        facts.extend([
            ("entries", Cell::Number(series.entries()?)),
            ("chunks", Cell::number(u64::try_from(series.chunks()?.len()).ok())),
            ("first_timestamp", Cell::number(first)),
            ("last_timestamp", Cell::number(last)),
            ("last_entry_synced", Cell::Number(synced)),
            ("allocated_bytes", Cell::Bytes(series.allocated_bytes()?)),
            ("modified", modified(&series)?),
            ("format", Cell::text(any::codec(&series, None)?.format().name())),
            (
                "metadata",
                Cell::Json(series.metadata().map_or(Value::Null, Value::Object)),
            ),
        ]);
        Output::new("series show", self.form).record(&facts)?;
        Ok(Code::Success)
    }
}

fn parameters(series: &AnySeries) -> Vec<(&'static str, Cell)> {
    match series {
        AnySeries::Fixed(series) => {
            let parameters = series.parameters();
            vec![
                ("block_size_bytes", Cell::Bytes(parameters.block_size.into())),
                ("entries_per_chunk", Cell::Number(parameters.entries_per_chunk.into())),
                ("page_size_bytes", Cell::Bytes(parameters.page_size.into())),
            ]
        }
        AnySeries::Varlen(series) => {
            let parameters = series.parameters();
            vec![
                ("length_profile", Cell::Json(json!(parameters.length_profile))),
                ("size_struct_bytes", Cell::Number(parameters.size_struct.into())),
                ("maximum_length_bytes", Cell::Bytes(series.maximum_length())),
                ("entries_per_chunk", Cell::Number(parameters.entries_per_chunk.into())),
            ]
        }
    }
}

fn modified(series: &AnySeries) -> Result<Cell> {
    Ok(Cell::Time(match series {
        AnySeries::Fixed(series) => series.modified()?,
        AnySeries::Varlen(series) => series.modified()?,
    }))
}
