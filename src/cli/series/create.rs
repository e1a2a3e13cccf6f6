//! `headstack series create`: a new series; the database too where there is none.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, json};

use crate::{
    cli::{
        arguments::{DatabaseArgument, Instead, directory, named, size_u32},
        exit::{Code, Failure},
        output::{Cell, JsonOption, Output},
    },
    mount::text::Format,
    series::{FixedParameters, Kind, SeriesId, VarlenParameters},
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
    #[arg(long, value_name = "SIZE", value_parser = size_u32, required_unless_present = "varlen")]
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
    #[arg(long, value_name = "BYTES", requires = "varlen")]
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
        let mut fixed = FixedParameters::default();
        let mut varlen = VarlenParameters::default();
        match key.kind {
            Kind::Fixed => {
                fixed.block_size = self.block_size.unwrap_or(fixed.block_size);
                fixed.entries_per_chunk = self.entries_per_chunk.unwrap_or(fixed.entries_per_chunk);
                fixed.page_size = self.page_size.unwrap_or(fixed.page_size);
                fixed.validate()?;
            }
            Kind::Varlen => {
                if self.block_size.is_some() {
                    let message = format!("{}: a variable-length series has no block size", self.name);
                    return Err(
                        Failure::new(Code::Usage, message, "--varlen 10,255 for the lengths of its parts").into(),
                    );
                }
                varlen.length_profile = self.varlen.unwrap_or(varlen.length_profile);
                varlen.size_struct = self.size_struct.unwrap_or(varlen.size_struct);
                varlen.entries_per_chunk = self.entries_per_chunk.unwrap_or(varlen.entries_per_chunk);
                varlen.validate()?;
            }
        }
        let instead = Instead::new("mkdir", directory(&key));
        let database = self.database.write_or_create("series create", &instead)?;
        let metadata = self
            .format
            .map(|format| Map::from_iter([("format".to_owned(), json!(format.name()))]));
        let (id, path) = match key.kind {
            Kind::Fixed => {
                let series = database.create_series(&key.name, &fixed)?;
                if metadata.is_some() {
                    series.set_metadata(metadata)?;
                }
                (series.id(), series.path())
            }
            Kind::Varlen => {
                let series = database.create_varlen_series(&key.name, &varlen)?;
                if metadata.is_some() {
                    series.set_metadata(metadata.as_ref())?;
                }
                (series.id(), series.path())
            }
        };
        database.close()?;
        let SeriesId(id) = id;
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
}
