//! `headstack array verify`: compare all redundancy with the data, and say where it does not fit.
//!
//! What is found is told by place and by member; a repair changes only what was asked for.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use super::target::PlaceArguments;
use crate::cli::{
    exit::Code,
    output::{Cell, Column, FormOptions, Output, Table},
};
use crate::controller::order::{Mending, Order};

const COUNTS: [&str; 5] = [
    "clean",
    "compared_bytes",
    "mismatched_bytes",
    "unrepaired_bytes",
    "unreadable_bytes",
];

const FOUND: &[Column] = &[
    Column::left("what", "FOUND"),
    Column::right("offset_bytes", "OFFSET"),
    Column::right("length_bytes", "LENGTH"),
    Column::left("members", "MEMBERS"),
    Column::left("repaired", "REPAIRED"),
];

/// Compare an array's redundancy with its data, and repair it if that is wished
///
/// With checks of its own it says where the array does not agree with itself and, as far as that can be known, which
/// member is wrong. The array is in use meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array verify r6
  headstack array verify r6 --repair
      mends what can be proven wrong
  headstack array verify r5 --repair redundancy
      takes the data for right and makes parity fit them, as md does")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// What is done about what is found
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, default_missing_value = "provable")]
    repair: Option<Mending>,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Verifies.
    ///
    /// # Errors
    /// [`Code::Refused`] where a member is missing. What does not fit is told, and the exit code is [`Code::Corrupt`].
    pub fn run(self) -> Result<Code> {
        let order = Order::Verify {
            repair: self.repair.unwrap_or(Mending::None),
        };
        let facts = self.place.carry_out(Some(&self.name), None, order, "verify")?;
        let report = facts
            .get("verify")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let clean = report.get("clean").and_then(Value::as_bool).unwrap_or(false);
        let output = Output::new("array verify", self.form);
        if output.is_json() {
            output.document(report)?;
        } else {
            print(&output, &report)?;
        }
        Ok(if clean { Code::Success } else { Code::Corrupt })
    }
}

fn print(output: &Output, report: &Map<String, Value>) -> Result<()> {
    let count = |key: &'static str| {
        let value = report.get(key)?;
        let cell = value.as_bool().map(Cell::Flag);
        Some((key, cell.or_else(|| value.as_u64().map(Cell::Bytes))?))
    };
    let counts: Vec<(&str, Cell)> = COUNTS.into_iter().filter_map(count).collect();
    output.record(&counts)?;
    let mut table = Table::new(FOUND);
    let list = |key: &str| report.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |row: &Value, key: &str| row[key].as_u64().map_or(Cell::None, Cell::Bytes);
    let repaired = |row: &Value| Cell::Flag(row["repaired"].as_bool().unwrap_or(false));
    for row in list("mismatches") {
        let suspects = row["suspects"].as_array().cloned().unwrap_or_default();
        let slots: Vec<String> = suspects.iter().map(|suspect| suspect["slot"].to_string()).collect();
        table.push(vec![
            Cell::text("mismatch"),
            number(&row, "array_offset_bytes"),
            number(&row, "length_bytes"),
            Cell::text(slots.join(",")),
            repaired(&row),
        ]);
    }
    for row in list("unreadable") {
        table.push(vec![
            Cell::text("unreadable"),
            number(&row, "offset_bytes"),
            number(&row, "length_bytes"),
            Cell::text(row["slot"].to_string()),
            repaired(&row),
        ]);
    }
    output.table("found", &table)
}
