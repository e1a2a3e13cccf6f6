//! `headstack notify webhook ..`: the URL that events are posted to.
//!
//! Each event is a request of its own, whose body is the event in JSON.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{asked, done, recipient::levels};
use crate::{
    cli::{
        exit::Code,
        output::{Cell, JsonOption, Output},
        store::StoreOption,
    },
    controller::{
        event::Level,
        notify::{NotifyAsk, settings::Webhook},
    },
};

/// Verbs on the webhook.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Set(Set),
    /// Post no events any more
    #[command(after_help = "\
Examples:
  headstack notify webhook rm --store /srv/store")]
    Rm(Bare),
    /// Post a test event now, and tell what the server says
    #[command(after_help = "\
Examples:
  headstack notify webhook test --store /srv/store")]
    Test(Bare),
}

/// Post events to a URL, one request an event, as JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify webhook set http://127.0.0.1:9000/events --store /srv/store
  headstack notify webhook set https://chat.example.com/hook --level error")]
pub struct Set {
    /// The URL, http:// or https://
    #[arg(value_name = "URL", value_hint = clap::ValueHint::Url)]
    url: String,
    /// Levels of the events to post
    #[arg(long, value_name = "LEVELS", value_enum, value_delimiter = ',', default_values_t = Level::ALL)]
    level: Vec<Level>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// The webhook.
#[derive(Debug, Args)]
pub struct Bare {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

impl Verb {
    pub(super) fn run(self) -> Result<Code> {
        match self {
            Self::Set(set) => {
                let (url, levels) = (set.url, set.level);
                asked(
                    &set.store.open(None)?,
                    NotifyAsk::Webhook(Some(Webhook { url, levels })),
                )?;
                done("notify webhook set", set.json, "events are posted")
            }
            Self::Rm(bare) => {
                asked(&bare.store.open(None)?, NotifyAsk::Webhook(None))?;
                done("notify webhook rm", bare.json, "events are not posted any more")
            }
            Self::Test(bare) => {
                asked(&bare.store.open(None)?, NotifyAsk::TestWebhook)?;
                done("notify webhook test", bare.json, "the server took the event")
            }
        }
    }
}

/// Shows the webhook, and how long events are gathered for mails.
pub(super) fn show(output: &Output, facts: &Map<String, Value>) -> Result<()> {
    let webhook = facts.get("webhook").unwrap_or(&Value::Null);
    let url = webhook["url"].as_str().map_or(Cell::None, Cell::text);
    let digest_s = facts.get("digest_s").and_then(Value::as_u64);
    output.record(&[
        ("webhook", url),
        ("webhook_levels", Cell::text(levels(&webhook["levels"]))),
        ("digest_s", Cell::number(digest_s)),
    ])
}
