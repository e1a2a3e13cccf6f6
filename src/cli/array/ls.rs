//! `headstack array ls`: the arrays that images are members of.
//!
//! Nothing is opened for writing; where an array is being served its server is asked how it is.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::facts::facts;
use crate::cli::{
    exit::Code,
    images::images,
    output::{Cell, Column, FormOptions, Output, Table},
};
use crate::raid::discover::discover;

const COLUMNS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::left("level", "LEVEL"),
    Column::right("size_bytes", "SIZE"),
    Column::left("state", "STATE"),
    Column::right("members", "MEMBERS"),
    Column::right("missing", "MISSING"),
    Column::left("served", "SERVED"),
    Column::left("uuid", "UUID"),
];

/// List the arrays that images are members of
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array ls disks/
  headstack array ls --json disk0.img disk1.img disk2.img")]
pub struct Arguments {
    /// Images, or directories of them; the working directory by default
    #[arg(value_name = "IMG", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints them.
    ///
    /// # Errors
    /// An image does not exist.
    pub fn run(self) -> Result<Code> {
        let found = discover(&images(&self.images)?);
        let mut table = Table::new(COLUMNS);
        for set in &found.arrays {
            let facts = facts(set)?;
            let text = |key: &str| Cell::text(facts.get(key).and_then(Value::as_str).unwrap_or_default());
            let flag = |key: &str| Cell::Flag(facts.get(key).and_then(Value::as_bool).unwrap_or(false));
            let missing = facts.get("members").and_then(Value::as_array).map(|members| {
                let gone = members.iter().filter(|member| member["standing"] == "missing");
                gone.count() as u64
            });
            table.push(vec![
                text("name"),
                text("level"),
                set.size_bytes.map_or(Cell::None, Cell::Bytes),
                text("state"),
                Cell::Number(set.slots.into()),
                Cell::number(missing),
                flag("served"),
                Cell::text(set.uuid.to_string()),
            ]);
        }
        Output::new("array ls", self.form).table("arrays", &table)?;
        Ok(Code::Success)
    }
}
