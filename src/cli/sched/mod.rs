//! `headstack sched ..`: what is done by itself at its time.
//!
//! Tasks are remembered in the store and done by its controller; they are listed, added and removed without one as well.

mod add;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    exit::Code,
    output::{Cell, Column, FormOptions, JsonOption, Output, Table},
    store::{StoreOption, ask_if_running},
};
use crate::controller::{
    Store,
    clock::HostClock,
    interface::StoreAsk,
    schedule::{ScheduleAsk, answer_alone},
};

/// Verbs on the schedule.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a task
    #[command(subcommand)]
    Add(Box<add::Verb>),
    Ls(Ls),
    /// Take a task away
    #[command(after_help = "\
Examples:
  headstack sched rm verify_1 --store /srv/store")]
    Rm(One),
    /// Run a task now
    #[command(after_help = "\
Examples:
  headstack sched run verify_1 --store /srv/store
  headstack sched history verify_1 --store /srv/store
      tells what came of it")]
    Run(One),
    /// Stop the run of a task that is under way
    #[command(after_help = "\
Examples:
  headstack sched stop dump_1 --store /srv/store
      a dump that was stopped is kept, and 'headstack context resume' goes on with it")]
    Stop(One),
    History(History),
}

/// List the tasks, when they are due next, and how they ended last
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched ls --store /srv/store")]
pub struct Ls {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

/// One task.
#[derive(Debug, Args)]
pub struct One {
    /// The task
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// List the last runs, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched history --store /srv/store
  headstack sched history verify_1")]
pub struct History {
    /// The task; all by default
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

const TASKS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::left("kind", "KIND"),
    Column::left("object", "OF"),
    Column::left("when", "WHEN"),
    Column::left("missed", "MISSED"),
    Column::left("next_local", "NEXT"),
    Column::left("last", "LAST"),
];

const RUNS: &[Column] = &[
    Column::left("task", "TASK"),
    Column::left("began", "BEGAN"),
    Column::left("ended", "ENDED"),
    Column::left("outcome", "OUTCOME"),
    Column::left("text", "TEXT"),
];

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Add(add) => add.run(),
            Self::Ls(ls) => ls.run(),
            Self::Rm(one) => {
                asked(&one.store.open(None)?, ScheduleAsk::Remove { name: one.name })?;
                done("sched rm", one.json, "the task was removed")
            }
            Self::Run(one) => {
                asked(&one.store.open(None)?, ScheduleAsk::Run { name: one.name })?;
                done("sched run", one.json, "the task begins")
            }
            Self::Stop(one) => {
                asked(&one.store.open(None)?, ScheduleAsk::Stop { name: one.name })?;
                done("sched stop", one.json, "the run is told to end")
            }
            Self::History(history) => history.run(),
        }
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let facts = asked(&self.store.open(None)?, ScheduleAsk::Show)?;
        let output = Output::new("sched ls", self.form);
        if output.is_json() {
            output.document(facts)?;
            return Ok(Code::Success);
        }
        let mut table = Table::new(TASKS);
        for task in rows(&facts, "tasks") {
            table.push(vec![
                word(&task["name"]),
                word(&task["kind"]),
                word(&task["object"]),
                word(&task["when"]),
                word(&task["missed"]),
                word(&task["next_local"]),
                word(&task["last"]["outcome"]),
            ]);
        }
        output.table("tasks", &table)?;
        Ok(Code::Success)
    }
}

impl History {
    fn run(self) -> Result<Code> {
        let facts = asked(&self.store.open(None)?, ScheduleAsk::History { name: self.name })?;
        let mut table = Table::new(RUNS);
        for run in rows(&facts, "runs") {
            table.push(RUNS.iter().map(|column| word(&run[column.key])).collect());
        }
        Output::new("sched history", self.form).table("runs", &table)?;
        Ok(Code::Success)
    }
}

fn rows<'a>(facts: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    facts.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn word(value: &Value) -> Cell {
    value.as_str().map_or(Cell::None, Cell::text)
}

/// Asks the controller, or does it without one.
fn asked(store: &Store, ask: ScheduleAsk) -> Result<Map<String, Value>> {
    match ask_if_running(store, StoreAsk::Schedule(ask.clone()))? {
        Some(facts) => Ok(facts),
        None => Ok(answer_alone(store, &HostClock, ask)?),
    }
}

fn done(command: &'static str, json: JsonOption, sentence: &str) -> Result<Code> {
    Output::of_json(command, json).done(sentence, &[])?;
    Ok(Code::Success)
}
