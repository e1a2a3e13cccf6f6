//! `headstack setting ..`: what an operator can choose of a controller.
//!
//! Settings are remembered in the store; a controller that runs takes a change over at once, but for what it needs at its start.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    exit::Code,
    output::{Cell, Column, FormOptions, JsonOption, Output, Table},
    store::{StoreOption, ask_if_running},
};
use crate::controller::{Kind, Settings, interface::StoreAsk, settings::Remembered};

/// Verbs on settings.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Ls(Ls),
    Set(Set),
}

/// List the settings and their values
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack setting ls --store /srv/store")]
pub struct Ls {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

/// Change a setting
///
/// A controller that runs takes it over at once; mount, port and restrict_to_localhost hold from its next start.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack setting set rebuild_priority highest --store /srv/store
  headstack setting set auto_rebuild false
  headstack setting set hook /usr/local/bin/told
      runs it for each event, with the arguments that mdadm's monitor gives: event, array, disk
  headstack setting set hook null")]
pub struct Set {
    /// Which
    #[arg(value_name = "KEY")]
    key: String,
    /// Its value
    #[arg(value_name = "VALUE")]
    value: String,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

const COLUMNS: &[Column] = &[Column::left("setting", "SETTING"), Column::left("value", "VALUE")];

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Set(set) => set.run(),
        }
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let settings = match ask_if_running(&store, StoreAsk::Status)? {
            Some(facts) => facts
                .get("settings")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            None => facts_of(&Remembered::load(&store)?.settings),
        };
        let output = Output::new("setting ls", self.form);
        if output.is_json() {
            output.document(Map::from_iter([("settings".to_owned(), settings.into())]))?;
            return Ok(Code::Success);
        }
        let mut table = Table::new(COLUMNS);
        for (key, value) in settings {
            let value = match value {
                Value::String(text) => Cell::Text(text),
                Value::Null => Cell::None,
                other => Cell::Json(other),
            };
            table.push(vec![Cell::text(key), value]);
        }
        output.table("settings", &table)?;
        Ok(Code::Success)
    }
}

impl Set {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let ask = StoreAsk::Set {
            key: self.key.clone(),
            value: self.value.clone(),
        };
        let settings = match ask_if_running(&store, ask)? {
            Some(settings) => settings,
            None => {
                let mut remembered = match Remembered::load(&store) {
                    // Damaged settings are put aside by what is saved now.
                    Err(error) if error.judge().0 == Kind::Corrupt => Remembered::default(),
                    loaded => loaded?,
                };
                remembered.settings = remembered.settings.with(&self.key, &self.value)?;
                remembered.save(&store)?;
                facts_of(&remembered.settings)
            }
        };
        let output = Output::of_json("setting set", self.json);
        if output.is_json() {
            output.document(Map::from_iter([("settings".to_owned(), settings.into())]))?;
        }
        Ok(Code::Success)
    }
}

fn facts_of(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(facts)) => facts,
        _ => Map::new(),
    }
}
