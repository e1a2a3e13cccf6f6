//! `headstack series ls`: all series of a database, a line each.
//!
//! A damaged series is listed by its name alone and told on standard error; the others are listed all the same.

use anyhow::Result;
use clap::Args;

use crate::{
    cli::{
        arguments::{DatabaseArgument, directory},
        exit::{Code, Failure},
        output::{Cell, Column, FormOptions, Output, Table},
    },
    series::{Database, SeriesKey, Timestamp},
};

const COLUMNS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::left("kind", "KIND"),
    Column::right("entries", "ENTRIES"),
    Column::right("first_timestamp", "FIRST"),
    Column::right("last_timestamp", "LAST"),
    Column::right("allocated_bytes", "SPACE"),
];

/// List the series of a database
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series ls db
  headstack series ls -H db | cut -f1
      the names alone, as the other verbs take them")]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArgument,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints the list; a damaged series is listed by its name alone.
    ///
    /// # Errors
    /// The database cannot be read; [`Code::Corrupt`] after the list where a series is damaged.
    pub fn run(self) -> Result<Code> {
        let database = self.database.read()?;
        let mut table = Table::new(COLUMNS);
        let mut failed = 0_usize;
        for key in database.keys()? {
            let row = row(&database, &key).unwrap_or_else(|error| {
                failed += 1;
                log::error!("{error:#}");
                [
                    vec![Cell::text(directory(&key)), Cell::text(key.what())],
                    vec![Cell::None; 4],
                ]
                .concat()
            });
            table.push(row);
        }
        Output::new("series ls", self.form).table("series", &table)?;
        if failed > 0 {
            let path = database.path().display();
            let message = format!("{path}: {failed} series cannot be read");
            return Err(Failure::new(Code::Corrupt, message, format!("'headstack series check {path}'")).into());
        }
        Ok(Code::Success)
    }
}

fn row(database: &Database, key: &SeriesKey) -> Result<Vec<Cell>> {
    let series = database.any(key)?;
    let first = series.first()?.map(|entry| entry.timestamp.0);
    let last = series.last_timestamp()?.map(|Timestamp(last)| last);
    Ok(vec![
        Cell::text(directory(key)),
        Cell::text(key.what()),
        Cell::Number(series.entries()?),
        Cell::number(first),
        Cell::number(last),
        Cell::Bytes(series.allocated_bytes()?),
    ])
}
