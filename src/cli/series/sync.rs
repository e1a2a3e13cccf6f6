//! `headstack series sync`: makes appended entries durable.
//!
//! Verbs that append do so themselves when they end; this is for entries that another program left unsynced.

use anyhow::Result;
use clap::Args;

use crate::{
    cli::{
        arguments::{DatabaseArgument, Instead, directory, found, named},
        exit::Code,
        output::{Cell, JsonOption, Output},
    },
    series::{AnySeries, SeriesKey},
};

/// Make the entries of all series, or of one, durable
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series sync db
  headstack series sync db temperature
  sync -f /mnt/temperature/raw
      the same while the database is mounted")]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArgument,
    /// Series; all of them where none is named
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Take the variable-length series where both kinds have that name
    #[arg(long, requires = "name")]
    varlen: bool,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Syncs.
    ///
    /// # Errors
    /// There is no such series, the database is mounted, or the file system fails.
    pub fn run(self) -> Result<Code> {
        let instead = match &self.name {
            Some(name) => directory(&named(name, self.varlen)) + "/raw",
            None => String::new(),
        };
        let instead = Instead::new("sync -f", instead);
        let database = self.database.write("series sync", &instead)?;
        let keys: Vec<SeriesKey> = match &self.name {
            Some(name) => vec![found(&database, &named(name, self.varlen))?],
            None => database.keys()?,
        };
        for key in &keys {
            match database.any(key)? {
                AnySeries::Fixed(series) => series.sync()?,
                AnySeries::Varlen(series) => series.sync()?,
            }
        }
        database.close()?;
        let sentence = format!("{}: synced {} series", database.path().display(), keys.len());
        let facts = [
            ("database", Cell::path(database.path())),
            ("synced", Cell::number(u64::try_from(keys.len()).ok())),
        ];
        Output::of_json("series sync", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }
}
