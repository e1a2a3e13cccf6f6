//! `headstack notify ..`: who is told about events, by mail and by a webhook.
//!
//! What is wished is remembered in the store; a controller that runs takes a change over at once. Nothing prints a
//! password, and none is an argument, which others could see.

mod recipient;
mod smtp;
mod webhook;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    exit::Code,
    output::{FormOptions, JsonOption, Output},
    store::{StoreOption, ask_if_running},
};
use crate::controller::{
    Store,
    clock::HostClock,
    interface::StoreAsk,
    notify::{NotifyAsk, answer_alone},
};

/// Verbs on those who are told.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set and show the mail server
    #[command(subcommand)]
    Smtp(smtp::Verb),
    /// Add, remove, list and test those who are mailed
    #[command(subcommand)]
    Recipient(recipient::Verb),
    /// Set, remove and test the URL that events are posted to
    #[command(subcommand)]
    Webhook(webhook::Verb),
    Digest(Digest),
    Show(Show),
}

/// Set how long events are gathered after a mail, before the next one goes to the same recipient
///
/// An event that is worse than those of the last mail does not wait.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify digest 600 --store /srv/store")]
pub struct Digest {
    /// Seconds, at most a day; 300 by default
    #[arg(value_name = "SECONDS")]
    seconds: u32,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// Show all of it: mail server, recipients, webhook, and what still waits to be told
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify show --store /srv/store --json")]
pub struct Show {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Smtp(verb) => verb.run(),
            Self::Recipient(verb) => verb.run(),
            Self::Webhook(verb) => verb.run(),
            Self::Digest(digest) => {
                let store = digest.store.open(None)?;
                asked(&store, NotifyAsk::Digest(digest.seconds))?;
                done("notify digest", digest.json, "events are gathered for that long")
            }
            Self::Show(show) => show.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<Code> {
        let facts = asked(&self.store.open(None)?, NotifyAsk::Show)?;
        let output = Output::new("notify show", self.form);
        if output.is_json() {
            output.document(facts)?;
            return Ok(Code::Success);
        }
        output.record(&smtp::record(&facts))?;
        output.table("recipients", &recipient::table(&facts))?;
        webhook::show(&output, &facts)?;
        Ok(Code::Success)
    }
}

/// Asks the controller, or does it without one.
fn asked(store: &Store, ask: NotifyAsk) -> Result<Map<String, Value>> {
    match ask_if_running(store, StoreAsk::Notify(ask.clone()))? {
        Some(facts) => Ok(facts),
        None => Ok(answer_alone(store, &HostClock, ask)?),
    }
}

fn done(command: &'static str, json: JsonOption, sentence: &str) -> Result<Code> {
    Output::of_json(command, json).done(sentence, &[])?;
    Ok(Code::Success)
}
