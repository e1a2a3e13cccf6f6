//! `headstack event ..`: the log of what happened.
//!
//! The log is a series of the store's database; without a controller it is read there.

use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use super::{
    exit::Code,
    output::{Cell, Column, FormOptions, JsonOption, Output, Table, confirm},
    store::{StoreOption, ask, ask_if_running},
};
use crate::controller::{
    Event, Store,
    event::Level,
    interface::StoreAsk,
    log::{self, Log, PAGE, Query},
    telemetry::Telemetry,
};

/// How long a controller waits for an event before it answers that there is none.
const WAIT_S: u64 = 30;

/// Verbs on the log of events.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Ls(Ls),
    Follow(Follow),
    Download(Download),
    Clear(Clear),
    Test(Test),
}

/// How much an event matters at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AtLeast {
    /// All events
    #[default]
    Information,
    /// Those where redundancy or data are in danger, or worse
    Warning,
    /// Those where redundancy or data are lost
    Error,
}

impl From<AtLeast> for Level {
    fn from(level: AtLeast) -> Self {
        match level {
            AtLeast::Information => Self::Information,
            AtLeast::Warning => Self::Warning,
            AtLeast::Error => Self::Error,
        }
    }
}

/// List events, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack event ls --store /srv/store
  headstack event ls --level warning --count 10
  headstack event ls --before 1700000000000001
      the page before the event of this ID")]
pub struct Ls {
    /// Only those that matter as much
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    level: AtLeast,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = PAGE)]
    count: usize,
    /// Only those before the event of this ID
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

/// Print events as they happen
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack event follow --store /srv/store")]
pub struct Follow {
    /// Only those that matter as much
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    level: AtLeast,
    /// Begin after the event of this ID; with what happens from now on by default
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// Print the whole log, the oldest event first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack event download --store /srv/store > events.log")]
pub struct Download {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// Forget all events
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack event clear --store /srv/store --yes")]
pub struct Clear {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// Let an event happen, to see who is told
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack event test --store /srv/store")]
pub struct Test {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

const COLUMNS: &[Column] = &[
    Column::right("time_us", "ID"),
    Column::left("time", "TIME"),
    Column::left("level", "LEVEL"),
    Column::left("event", "EVENT"),
    Column::left("array", "ARRAY"),
    Column::left("text", "TEXT"),
];

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Follow(follow) => follow.run(),
            Self::Download(download) => download.run(),
            Self::Clear(clear) => clear.run(),
            Self::Test(test) => test.run(),
        }
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let query = Query {
            before_us: self.before,
            level: self.level.into(),
            count: self.count,
            after_us: None,
        };
        let mut table = Table::new(COLUMNS);
        for event in events(&self.store.open(None)?, query)? {
            table.push(vec![
                Cell::Number(event.time_us),
                Cell::text(event.time_text()),
                Cell::text(event.level.name()),
                Cell::text(event.event.to_string()),
                event.array.map_or(Cell::None, Cell::Text),
                Cell::Text(event.text),
            ]);
        }
        Output::new("event ls", self.form).table("events", &table)?;
        Ok(Code::Success)
    }
}

impl Follow {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let output = Output::of_json("event follow", self.json);
        let newest = Query {
            count: 1,
            ..Query::default()
        };
        let last = |events: &[Event]| events.last().map(|event| event.time_us);
        let mut after_us = match self.after {
            Some(after) => after,
            None => last(&events(&store, newest)?).unwrap_or(0),
        };
        loop {
            let query = Query {
                after_us: Some(after_us),
                level: self.level.into(),
                ..Query::default()
            };
            let answer = ask(&store, StoreAsk::Events { query, wait_s: WAIT_S })?;
            let events = read(&answer);
            for event in &events {
                if output.is_json() {
                    output.text(&format!("{}\n", event.facts()))?;
                } else {
                    output.told(&event.to_string(), &[])?;
                }
            }
            after_us = last(&events).unwrap_or(after_us);
        }
    }
}

impl Download {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let output = Output::of_json("event download", self.json);
        let mut after_us = 0;
        let mut all = Vec::new();
        loop {
            let query = Query {
                after_us: Some(after_us),
                count: 1000,
                ..Query::default()
            };
            let page = events(&store, query)?;
            let Some(last) = page.last() else { break };
            after_us = last.time_us;
            if output.is_json() {
                all.extend(page.iter().map(Event::facts));
            } else {
                page.iter().try_for_each(|event| output.told(&event.to_string(), &[]))?;
            }
        }
        if output.is_json() {
            output.document(Map::from_iter([("events".to_owned(), all.into())]))?;
        }
        Ok(Code::Success)
    }
}

impl Clear {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        confirm("all events of the log would be lost", "clear", self.yes)?;
        if ask_if_running(&store, StoreAsk::ClearEvents)?.is_none() {
            let _tenure = store.take()?;
            let telemetry = Arc::new(Telemetry::new(&store));
            Log::new(Arc::clone(&telemetry)).clear()?;
            telemetry.close()?;
        }
        Output::of_json("event clear", self.json).done("the log of events was cleared", &[])?;
        Ok(Code::Success)
    }
}

impl Test {
    fn run(self) -> Result<Code> {
        ask(&self.store.open(None)?, StoreAsk::TestEvent)?;
        Output::of_json("event test", self.json).done("a test was told", &[])?;
        Ok(Code::Success)
    }
}

/// The events of a query, from the controller or from the database.
fn events(store: &Store, query: Query) -> Result<Vec<Event>> {
    let ask = StoreAsk::Events {
        query: query.clone(),
        wait_s: 0,
    };
    match ask_if_running(store, ask)? {
        Some(answer) => Ok(read(&answer)),
        None => Ok(log::read(&store.series(), &query)?),
    }
}

/// The events of an answer.
fn read(answer: &Map<String, Value>) -> Vec<Event> {
    let told = answer.get("events").and_then(Value::as_array).into_iter().flatten();
    let event = |told: &Value| {
        let event: Event = serde_json::from_value(told.clone()).ok()?;
        let time_us = told["time_us"].as_u64()?;
        Some(Event { time_us, ..event })
    };
    told.filter_map(event).collect()
}
