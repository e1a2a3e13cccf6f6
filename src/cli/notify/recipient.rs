//! `headstack notify recipient ..`: who is mailed, and about what.
//!
//! A recipient is known by the address; to add one again changes the name and the levels.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{asked, done};
use crate::{
    cli::{
        exit::Code,
        output::{Cell, Column, FormOptions, JsonOption, Output, Table},
        store::StoreOption,
    },
    controller::{
        event::Level,
        notify::{NotifyAsk, settings::Recipient},
    },
};

/// Verbs on recipients.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Add(Add),
    /// Take a recipient away
    #[command(after_help = "\
Examples:
  headstack notify recipient rm ops@example.com --store /srv/store")]
    Rm(One),
    Ls(Ls),
    /// Send a mail to a recipient now, and tell what the server says
    #[command(after_help = "\
Examples:
  headstack notify recipient test ops@example.com --store /srv/store")]
    Test(One),
}

/// Add somebody who is mailed, or change what somebody is mailed about
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify recipient add ops@example.com --name 'The operators' --store /srv/store
  headstack notify recipient add log@example.com --level information,warning,error")]
pub struct Add {
    /// The e-mail address
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Name of the recipient
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// Levels of the events to mail
    #[arg(long, value_name = "LEVELS", value_enum, value_delimiter = ',', default_values_t = [Level::Warning, Level::Error])]
    level: Vec<Level>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// One recipient.
#[derive(Debug, Args)]
pub struct One {
    /// The e-mail address
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// List those who are mailed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify recipient ls --store /srv/store")]
pub struct Ls {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

const COLUMNS: &[Column] = &[
    Column::left("address", "ADDRESS"),
    Column::left("name", "NAME"),
    Column::left("levels", "LEVELS"),
];

impl Verb {
    pub(super) fn run(self) -> Result<Code> {
        match self {
            Self::Add(add) => add.run(),
            Self::Rm(one) => {
                asked(&one.store.open(None)?, NotifyAsk::RemoveRecipient(one.address))?;
                done("notify recipient rm", one.json, "the recipient is not mailed any more")
            }
            Self::Test(one) => {
                asked(&one.store.open(None)?, NotifyAsk::TestRecipient(one.address))?;
                done("notify recipient test", one.json, "the server took the mail")
            }
            Self::Ls(ls) => {
                let facts = asked(&ls.store.open(None)?, NotifyAsk::Show)?;
                Output::new("notify recipient ls", ls.form).table("recipients", &table(&facts))?;
                Ok(Code::Success)
            }
        }
    }
}

impl Add {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let recipient = Recipient {
            address: self.address,
            name: self.name,
            levels: self.level,
        };
        asked(&store, NotifyAsk::AddRecipient(recipient))?;
        done("notify recipient add", self.json, "the recipient is mailed")
    }
}

/// The recipients as a table.
pub(super) fn table(facts: &Map<String, Value>) -> Table {
    let mut table = Table::new(COLUMNS);
    for recipient in facts.get("recipients").and_then(Value::as_array).into_iter().flatten() {
        let word = |key: &str| Cell::text(recipient[key].as_str().unwrap_or_default());
        table.push(vec![
            word("address"),
            word("name"),
            Cell::text(levels(&recipient["levels"])),
        ]);
    }
    table
}

/// Levels as words.
pub(super) fn levels(levels: &Value) -> String {
    let words = levels.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(",")
}
