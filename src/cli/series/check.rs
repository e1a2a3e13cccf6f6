//! `headstack series check`: reports all damage and changes nothing.
//!
//! One line a finding, the path and its wound; the exit code says whether there is any.

use anyhow::Result;
use clap::Args;

use crate::cli::{
    arguments::{DatabaseArgument, found, named},
    exit::Code,
    output::{Cell, Column, FormOptions, Output, Table},
};

const COLUMNS: &[Column] = &[Column::left("path", "PATH"), Column::left("damage", "DAMAGE")];

/// Report all damage of a database or of one series; nothing is changed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series check db
  headstack series check --json db temperature")]
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
    form: FormOptions,
}

impl Arguments {
    /// Prints what is damaged; [`Code::Corrupt`] where anything is.
    ///
    /// # Errors
    /// There is no such series, or the file system fails.
    pub fn run(self) -> Result<Code> {
        let database = self.database.read()?;
        let only = match &self.name {
            Some(name) => Some(found(&database, &named(name, self.varlen))?),
            None => None,
        };
        let findings = database.check(only.as_ref())?;
        let mut table = Table::new(COLUMNS);
        for finding in &findings {
            table.push(vec![Cell::path(&finding.path), Cell::text(finding.damage.to_string())]);
        }
        Output::new("series check", self.form).table("findings", &table)?;
        let path = database.path().display();
        if findings.is_empty() {
            log::info!("{path}: no damage");
            return Ok(Code::Success);
        }
        log::error!("{path}: {} findings; nothing was changed", findings.len());
        Ok(Code::Corrupt)
    }
}
