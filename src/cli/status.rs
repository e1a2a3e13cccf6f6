//! `headstack status`: how a store is, the worst first, and what to do about it.
//!
//! With a controller it is what that says; without one, what the images say of themselves. Steps have the real names, so
//! that they can be copied.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    array::{facts::facts, place_of},
    exit::Code,
    images::images,
    output::{self, Cell, Column, FormOptions, Output, Table},
    store::ask_if_running,
};
use crate::{
    controller::{
        Store,
        explain::{steps, texts},
        interface::StoreAsk,
    },
    raid::{
        discover::{Discovery, discover},
        health::ArrayState,
    },
};

const ARRAYS: &[Column] = &[
    Column::left("name", "ARRAY"),
    Column::left("level", "LEVEL"),
    Column::right("size_bytes", "SIZE"),
    Column::left("state", "STATE"),
    Column::left("work", "WORK"),
];

const DISKS: &[Column] = &[
    Column::left("name", "DISK"),
    Column::right("size_bytes", "SIZE"),
    Column::left("state", "STATE"),
    Column::left("array", "ARRAY"),
    Column::right("written_bytes", "WRITTEN"),
    Column::left("faults", "FAULTS"),
];

/// Tell how a store is: the worst first, why, and what to do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack status /srv/store
  headstack status -x /srv/store
      one line where all is well
  headstack status --check /srv/store || echo look at it
  headstack status --watch /srv/store
      prints it again when something has happened")]
pub struct Arguments {
    /// The store
    #[arg(value_name = "STORE", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    store: PathBuf,
    /// Show only what is not well
    #[arg(short = 'x', long = "unhealthy")]
    unhealthy: bool,
    /// Print nothing; the exit code is 0 for all well, 1 for degraded, 2 for not usable, 4 for an error
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Print it again whenever something has happened
    #[arg(long)]
    watch: bool,
    /// Print the controller's metrics in Prometheus' text format
    #[arg(long, conflicts_with_all = ["check", "watch", "unhealthy"])]
    metrics: bool,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints the status.
    ///
    /// # Errors
    /// There is no such store.
    pub fn run(self) -> Result<Code> {
        if self.metrics {
            let facts = super::store::ask(&Store::open(&self.store)?, StoreAsk::Metrics)?;
            Output::new("status", self.form).text(facts["text"].as_str().unwrap_or_default())?;
            return Ok(Code::Success);
        }
        if self.check {
            return Ok(match self.look() {
                Ok(status) => verdict(&status),
                Err(error) => {
                    output::failure(&error);
                    Code::CheckFailed
                }
            });
        }
        loop {
            self.print(self.look()?)?;
            if !self.watch {
                return Ok(Code::Success);
            }
            self.wait()?;
        }
    }

    /// Facts of the store: from its controller, or from its images where that does not run.
    fn look(&self) -> Result<Map<String, Value>> {
        let store = Store::open(&self.store)?;
        if let Some(mut status) = ask_if_running(&store, StoreAsk::Status)? {
            status.insert("running".to_owned(), true.into());
            return Ok(status);
        }
        at_rest(&store, &discover(&images(&[store.disks()])?))
    }

    /// Waits until something has happened.
    fn wait(&self) -> Result<()> {
        let store = Store::open(&self.store)?;
        let newest = crate::controller::log::Query {
            count: 1,
            ..Default::default()
        };
        let events = |query, wait_s| super::store::ask(&store, StoreAsk::Events { query, wait_s });
        let last = events(newest.clone(), 0)?["events"][0]["time_us"].as_u64();
        let next = crate::controller::log::Query {
            after_us: Some(last.unwrap_or(0)),
            ..newest
        };
        while events(next.clone(), 30)?["events"].as_array().is_none_or(Vec::is_empty) {}
        Ok(())
    }

    fn print(&self, status: Map<String, Value>) -> Result<()> {
        let output = Output::new("status", self.form);
        if output.is_json() {
            return output.document(status);
        }
        let advice = list(&status, "advice");
        let troubles: Vec<&Value> = ["not_started", "nameless"]
            .iter()
            .flat_map(|key| list(&status, key))
            .collect();
        if advice.is_empty() && troubles.is_empty() && self.unhealthy {
            return output.told("all arrays are well", &[]);
        }
        let mut text = String::new();
        for array in advice {
            let word = |key: &str| array[key].as_str().unwrap_or_default();
            text.push_str(&format!(
                "{}: {}. {}\n",
                word("name"),
                word("state"),
                word("explanation")
            ));
            let steps = array["steps"].as_array().into_iter().flatten();
            for (number, step) in (1..).zip(steps.filter_map(Value::as_str)) {
                text.push_str(&format!("  {number}. {step}\n"));
            }
        }
        for trouble in troubles.iter().filter_map(|trouble| trouble.as_str()) {
            text.push_str(&format!("{trouble}\n"));
        }
        if advice.is_empty() && troubles.is_empty() {
            text.push_str("All arrays are well.\n");
        }
        if let Some(trouble) = status.get("telemetry_trouble").and_then(Value::as_str) {
            text.push_str(&format!("Events and counters cannot be stored: {trouble}\n"));
        }
        if status["running"] == false {
            text.push_str("The controller does not run: this is what the images say.\n");
        }
        text.push('\n');
        output.text(&text)?;
        if self.unhealthy {
            return Ok(());
        }
        output.table("arrays", &arrays_table(&status))?;
        output.text("\n")?;
        output.table("disks", &disks_table(&status))?;
        let spares: Vec<&str> = list(&status, "spares").iter().filter_map(Value::as_str).collect();
        let spares = if spares.is_empty() {
            "none".to_owned()
        } else {
            spares.join(", ")
        };
        output.text(&format!("\nSpare pool: {spares}\n"))?;
        let events = list(&status, "events");
        if !events.is_empty() {
            output.text("\nLast events:\n")?;
        }
        for event in events.iter().filter_map(Value::as_str) {
            output.told(&format!("  {event}"), &[])?;
        }
        Ok(())
    }
}

fn list<'a>(status: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    status.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The status of a store whose controller does not run.
fn at_rest(store: &Store, found: &Discovery) -> Result<Map<String, Value>> {
    let mut arrays = Vec::new();
    for set in &found.arrays {
        arrays.push(Value::Object(facts(set)?));
    }
    let unwell = found.arrays.iter().zip(&arrays);
    let unwell = unwell.map(|(set, array)| (set, state_of(array)));
    let unwell = unwell.filter(|(_, state)| *state > ArrayState::Initializing);
    let advice = unwell.map(|(set, state)| {
        json!({
            "name": set.name,
            "state": state.name(),
            "explanation": state.explanation(),
            "steps": texts(steps(set, state, &place_of(set))),
        })
    });
    let advice: Vec<Value> = advice.collect();
    arrays.sort_by_key(|array| std::cmp::Reverse(state_of(array)));
    let disks: Vec<Value> = found
        .images
        .iter()
        .map(|report| {
            let path = report.image.path();
            let is_member =
                |set: &&crate::raid::discover::ArraySet| set.members.iter().any(|member| member.image.path() == path);
            json!({
                "name": report.image.name,
                "path": path,
                "size_bytes": report.size_bytes,
                "state": report.contents.to_string(),
                "array": found.arrays.iter().find(is_member).map(|set| set.name.clone()),
            })
        })
        .collect();
    let worst = arrays.first().map_or(ArrayState::Normal, state_of);
    let spares = crate::controller::settings::Remembered::load(store).map(|remembered| remembered.spares);
    let status = json!({
        "store": store.root(),
        "running": false,
        "state": worst.name(),
        "status": worst.status(),
        "explanation": worst.explanation(),
        "advice": advice,
        "arrays": arrays,
        "disks": disks,
        "spares": spares.unwrap_or_default(),
    });
    match status {
        Value::Object(status) => Ok(status),
        _ => Ok(Map::new()),
    }
}

fn state_of(array: &Value) -> ArrayState {
    let name = array["state"].as_str().unwrap_or_default();
    let known = ArrayState::ALL.into_iter().find(|state| state.name() == name);
    known.unwrap_or(ArrayState::Disabled)
}

/// What `--check` says.
fn verdict(status: &Map<String, Value>) -> Code {
    let worst = list(status, "arrays").iter().map(state_of).max();
    match worst.unwrap_or(ArrayState::Normal) {
        ArrayState::Disabled => Code::Unusable,
        _ if !list(status, "not_started").is_empty() => Code::Unusable,
        state if state.is_critical() || state == ArrayState::Rebuilding => Code::Failure,
        _ if !list(status, "nameless").is_empty() => Code::Failure,
        _ => Code::Success,
    }
}

fn arrays_table(status: &Map<String, Value>) -> Table {
    let mut table = Table::new(ARRAYS);
    for array in list(status, "arrays") {
        let work = &array["work"];
        let done = work["done_bytes"].as_u64().zip(work["whole_bytes"].as_u64());
        let percent = done.map_or(String::new(), |(done, whole)| {
            format!(" {} %", u128::from(done) * 100 / u128::from(whole.max(1)))
        });
        let left = work["eta_seconds"]
            .as_u64()
            .map_or(String::new(), |left| format!(", {left} s left"));
        let work = work["kind"]
            .as_str()
            .map_or(Cell::None, |kind| Cell::text(format!("{kind}{percent}{left}")));
        table.push(vec![
            Cell::of("name", &array["name"]),
            Cell::of("level", &array["level"]),
            Cell::of("size_bytes", &array["size_bytes"]),
            Cell::of("state", &array["state"]),
            work,
        ]);
    }
    table
}

fn disks_table(status: &Map<String, Value>) -> Table {
    let mut table = Table::new(DISKS);
    for disk in list(status, "disks") {
        let faults: Vec<&str> = disk["faults"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let faults = match (disk["pulled"].as_bool(), faults.is_empty()) {
            (Some(true), _) => Cell::text("pulled"),
            (_, true) => Cell::None,
            _ => Cell::text(faults.join(" ")),
        };
        table.push(vec![
            Cell::of("name", &disk["name"]),
            Cell::of("size_bytes", &disk["size_bytes"]),
            Cell::of("state", &disk["state"]),
            Cell::of("array", &disk["array"]),
            Cell::of("written_bytes", &disk["written_bytes"]),
            faults,
        ]);
    }
    table
}
