//! `headstack series create`: a new series; the database too where there is none.
//!
//! Every parameter is checked before anything is made. A format is kept in the metadata, where the mount finds it too.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, json};

use crate::{
    cli::{
        arguments::{DatabaseArgument, Instead, directory, named, size_u32},
        exit::{Code, Failure},
        output::{Cell, JsonOption, Output},
    },
    series::text::{FORMAT_KEY, Format},
    series::{Database, FixedParameters, Kind, SeriesId, VarlenParameters},
};

/// Make a series, and the database where there is none
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series create db temperature --block-size 8 --format f64
      values of 8 bytes, written and read as floating-point numbers
  headstack series create db log --varlen 100,255 --size-struct 2 --format utf8
      values of up to 65535 bytes; the first 100 bytes of each stand together")]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArgument,
    /// Name of the new series; `varlen/NAME` makes a variable-length one
    #[arg(value_name = "NAME")]
    name: String,
    /// Length of each value
    #[arg(long, value_name = "SIZE", value_parser = size_u32)]
    block_size: Option<u32>,
    /// Entries after which the next chunk file begins
    #[arg(long, value_name = "N", value_parser = size_u32)]
    entries_per_chunk: Option<u32>,
    /// Unit by which a chunk file grows
    #[arg(long, value_name = "SIZE", value_parser = size_u32)]
    page_size: Option<u32>,
    /// Make a variable-length series, whose values are split into parts of these lengths; the last one repeats
    #[arg(long, value_name = "LENGTHS", value_delimiter = ',', num_args = 1, conflicts_with_all = ["block_size", "page_size"])]
    varlen: Option<Vec<u32>>,
    /// Bytes that hold a value's length: 1, 2, 3 or 4
    #[arg(long, value_name = "BYTES", conflicts_with = "block_size")]
    size_struct: Option<u8>,
    /// How values are written and read as text from now on: hex, base64, utf8, u64, i64 or f64
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Makes the series.
    ///
    /// # Errors
    /// A parameter is out of range, the name is taken, the database is locked or cannot be written.
    pub fn run(self) -> Result<Code> {
        let key = named(&self.name, self.varlen.is_some());
        key.validate()?;
        let parameters = self.parameters(key.kind)?;
        let instead = Instead::new("mkdir", directory(&key));
        let database = self.database.write_or_create("series create", &instead)?;
        let (SeriesId(id), path) = make(&database, &key.name, &parameters, self.format)?;
        database.close()?;
        let sentence = format!("made {} {}", key.what(), path.display());
        let facts = [
            ("name", Cell::text(&key.name)),
            ("kind", Cell::text(key.what())),
            ("id", Cell::Number(id.into())),
            ("path", Cell::path(&path)),
        ];
        Output::of_json("series create", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }

    /// The parameters that were asked for, checked before anything is made.
    fn parameters(&self, kind: Kind) -> Result<Parameters> {
        let wrong = |what, remedy| Failure::new(Code::Usage, format!("{:?}: {what}", self.name), remedy);
        match kind {
            Kind::Fixed => {
                let Some(block_size) = self.block_size else {
                    let remedy = "--block-size N, or --varlen 10,255 for values that differ in length";
                    return Err(wrong("the length of its values is missing", remedy).into());
                };
                let usual = FixedParameters::default();
                let parameters = FixedParameters {
                    block_size,
                    entries_per_chunk: self.entries_per_chunk.unwrap_or(usual.entries_per_chunk),
                    page_size: self.page_size.unwrap_or(usual.page_size),
                };
                parameters.validate()?;
                Ok(Parameters::Fixed(parameters))
            }
            Kind::Varlen => {
                if self.block_size.is_some() || self.page_size.is_some() {
                    let remedy = "--varlen 10,255 for the lengths of the parts of its values";
                    return Err(wrong("a variable-length series has no block size and no page size", remedy).into());
                }
                let usual = VarlenParameters::default();
                let parameters = VarlenParameters {
                    length_profile: self.varlen.clone().unwrap_or(usual.length_profile),
                    size_struct: self.size_struct.unwrap_or(usual.size_struct),
                    entries_per_chunk: self.entries_per_chunk.unwrap_or(usual.entries_per_chunk),
                };
                parameters.validate()?;
                Ok(Parameters::Varlen(parameters))
            }
        }
    }
}

/// Parameters of a series of either kind.
enum Parameters {
    Fixed(FixedParameters),
    Varlen(VarlenParameters),
}

fn make(
    database: &Database,
    name: &str,
    parameters: &Parameters,
    format: Option<Format>,
) -> Result<(SeriesId, PathBuf)> {
    let metadata = format.map(|format| Map::from_iter([(FORMAT_KEY.to_owned(), json!(format.name()))]));
    match parameters {
        Parameters::Fixed(parameters) => {
            let series = database.create_series(name, parameters)?;
            if metadata.is_some() {
                series.set_metadata(metadata)?;
            }
            Ok((series.id(), series.path()))
        }
        Parameters::Varlen(parameters) => {
            let series = database.create_varlen_series(name, parameters)?;
            if metadata.is_some() {
                series.set_metadata(metadata.as_ref())?;
            }
            Ok((series.id(), series.path()))
        }
    }
}
