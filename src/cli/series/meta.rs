//! `headstack series meta`: prints or replaces the metadata of a series.
//!
//! Metadata is a JSON object of the user's own; its key `format` says how values are written as text.

use std::io::{self, Read};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value};

use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::{Code, Failure},
        output::{Cell, Data, JsonOption, Output},
    },
    series::AnySeries,
};

/// Print the metadata of a series, or replace it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series meta db temperature
  headstack series meta db temperature '{\"unit\": \"C\", \"format\": \"f64\"}'
  headstack series meta db temperature - < metadata.json
  headstack series meta db temperature null
      there is none from now on")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// New metadata, an object; `-` reads it from standard input, `null` clears it
    #[arg(value_name = "JSON")]
    metadata: Option<String>,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Prints or replaces the metadata.
    ///
    /// # Errors
    /// [`Code::Usage`] for an argument that is no object, [`Code::Corrupt`] for such input; there is no such series; the
    /// database is mounted.
    pub fn run(self) -> Result<Code> {
        let output = Output::of_json("series meta", self.json);
        let Some(argument) = &self.metadata else {
            let (database, key) = self.series.read()?;
            let metadata = database.any(&key)?.metadata().map_or(Value::Null, Value::Object);
            if self.json.json {
                output.record(&facts(&key.name, metadata))?;
            } else {
                let mut data = Data::open()?;
                data.write(format!("{metadata:#}\n").as_bytes())?;
                data.finish()?;
            }
            return Ok(Code::Success);
        };
        let metadata = read(argument)?;
        let (database, key) = self.series.write("series meta", "writing to", "meta")?;
        match database.any(&key)? {
            AnySeries::Fixed(series) => series.set_metadata(metadata.clone())?,
            AnySeries::Varlen(series) => series.set_metadata(metadata.as_ref())?,
        }
        database.close()?;
        let sentence = format!("{}/{}: metadata replaced", database.path().display(), key.name);
        output.done(
            &sentence,
            &facts(&key.name, metadata.map_or(Value::Null, Value::Object)),
        )?;
        Ok(Code::Success)
    }
}

fn facts(name: &str, metadata: Value) -> [(&'static str, Cell); 2] {
    [("series", Cell::text(name)), ("metadata", Cell::Json(metadata))]
}

/// The object that the argument, or standard input, holds.
fn read(argument: &str) -> Result<Option<Map<String, Value>>> {
    let mut input = String::new();
    let (what, text, code) = if argument == "-" {
        io::stdin()
            .lock()
            .read_to_string(&mut input)
            .context("standard input")?;
        ("standard input", input.as_str(), Code::Corrupt)
    } else {
        (argument, argument, Code::Usage)
    };
    let wrong = |reason: String| Failure::new(code, format!("{what}: {reason}"), "a JSON object, or null to clear it");
    match serde_json::from_str(text) {
        Ok(Value::Object(metadata)) => Ok(Some(metadata)),
        Ok(Value::Null) => Ok(None),
        Ok(_) => Err(wrong("metadata is a JSON object".to_owned()).into()),
        Err(error) => Err(wrong(format!("no JSON: {error}")).into()),
    }
}
