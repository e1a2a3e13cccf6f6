//! `headstack array show`: one array and its members, or with `--check` only its exit code.
//!
//! The codes of `--check` are those of `mdadm --detail --test`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use super::{facts::facts, target::PlaceArguments};
use crate::cli::{
    exit::Code,
    images::chosen,
    output::{self, Cell, Column, FormOptions, Output, Table},
};

/// Facts that are shown as they are, in this order.
const SHOWN: [&str; 13] = [
    "name",
    "uuid",
    "level",
    "layout",
    "chunk_bytes",
    "size_bytes",
    "state",
    "served",
    "dirty",
    "events",
    "created",
    "updated",
    "refusal",
];

/// Facts of a reshape under way, in this order.
const RESHAPE: [&str; 7] = [
    "to_level",
    "to_members",
    "to_chunk_bytes",
    "to_size_bytes",
    "moved_bytes",
    "of_bytes",
    "running",
];

const MEMBERS: &[Column] = &[
    Column::right("slot", "SLOT"),
    Column::left("standing", "STANDING"),
    Column::right("rebuilt_bytes", "REBUILT"),
    Column::right("read_errors", "READ ERRORS"),
    Column::left("path", "PATH"),
];

/// Show an array: its state, its members and what stands in the way
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array show r5
  headstack array show disk0.img disk1.img disk2.img
  headstack array show --check r5 || echo degraded")]
pub struct Arguments {
    /// Name or UUID of the array, or images of its members
    #[arg(value_name = "NAME|IMG", required = true, value_hint = clap::ValueHint::AnyPath)]
    what: Vec<PathBuf>,
    /// Print nothing; the exit code is 0 for all well, 1 for degraded, 2 for not usable, 4 for an error
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints the facts.
    ///
    /// # Errors
    /// There is no such array.
    pub fn run(self) -> Result<Code> {
        if !self.check {
            let facts = self.facts()?;
            print(&Output::new("array show", self.form), facts)?;
            return Ok(Code::Success);
        }
        Ok(match self.facts() {
            Ok(facts) => verdict(&facts),
            Err(error) => {
                output::failure(&error);
                Code::CheckFailed
            }
        })
    }

    fn facts(&self) -> Result<Map<String, Value>> {
        let all_there = self.what.iter().all(|path| path.exists());
        match self.what.as_slice() {
            [name] if !all_there => {
                let name = name.to_string_lossy();
                let found = self.place.found(None)?;
                facts(chosen(&found, Some(&name))?)
            }
            paths => {
                let found = PlaceArguments::of(paths.to_vec(), None).found(None)?;
                facts(chosen(&found, None)?)
            }
        }
    }
}

/// What `--check` says of facts.
fn verdict(facts: &Map<String, Value>) -> Code {
    let text = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default();
    let degraded = facts.get("degraded").and_then(Value::as_bool).unwrap_or(false);
    match text("state") {
        "Disabled" => Code::Unusable,
        _ if degraded || text("status") == "Critical" => Code::Failure,
        _ => Code::Success,
    }
}

/// Prints facts: a record, then the members as a table.
fn print(output: &Output, facts: Map<String, Value>) -> Result<()> {
    if output.is_json() {
        return output.document(facts);
    }
    let cell = |key: &str, value: &Value| match value {
        Value::Null => Cell::None,
        Value::Bool(flag) => Cell::Flag(*flag),
        Value::String(text) => Cell::text(text),
        Value::Number(number) if key.ends_with("_bytes") => number.as_u64().map_or(Cell::None, Cell::Bytes),
        Value::Number(number) => Cell::number(number.as_u64()),
        other => Cell::Json(other.clone()),
    };
    let shown: Vec<(&str, Cell)> = SHOWN
        .iter()
        .filter_map(|key| Some((*key, cell(key, facts.get(*key)?))))
        .filter(|(key, cell)| !(*key == "refusal" && *cell == Cell::None))
        .collect();
    output.record(&shown)?;
    if let Some(work) = facts.get("work").filter(|work| !work.is_null()) {
        let bytes = |key: &str| work[key].as_u64().map_or(Cell::None, Cell::Bytes);
        output.record(&[
            ("work", cell("kind", &work["kind"])),
            ("done", bytes("done_bytes")),
            ("of", bytes("whole_bytes")),
            ("eta_seconds", Cell::number(work["eta_seconds"].as_u64())),
        ])?;
    }
    if let Some(reshape) = facts.get("reshape").and_then(Value::as_object) {
        let facts: Vec<(&str, Cell)> = RESHAPE
            .iter()
            .filter_map(|key| Some((*key, cell(key, reshape.get(*key)?))))
            .collect();
        output.record(&facts)?;
    }
    let mut table = Table::new(MEMBERS);
    let null = Value::Null;
    let rows = facts.get("members").and_then(Value::as_array).into_iter().flatten();
    let left_out = facts.get("left_out").and_then(Value::as_array).into_iter().flatten();
    for row in rows.chain(left_out) {
        let field = |key: &str| cell(key, row.get(key).unwrap_or(&null));
        table.push(MEMBERS.iter().map(|column| field(column.key)).collect());
    }
    for spare in facts.get("spares").and_then(Value::as_array).into_iter().flatten() {
        let path = cell("path", spare);
        table.push(vec![Cell::None, Cell::text("spare"), Cell::None, Cell::None, path]);
    }
    output.table("members", &table)
}
