//! `headstack console ..`, and the options of `headstack serve` that concern the console.
//!
//! The link that `open` prints is the only way to a first password: whoever may ask the controller through its socket owns
//! the store.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{
    exit::{Code, Failure},
    output::{Cell, JsonOption, Output},
};
use crate::{
    console::{Access, Config, Console},
    controller::{
        Kind, Store, client,
        interface::{Answerer, Ask, StoreAsk},
        settings::Remembered,
        socket::path_of,
    },
};

/// Directory in a store's state where a certificate is looked for.
const TLS: &str = "tls";

/// Verbs on the console.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Open(Open),
}

/// Print a link to the console that needs no password
///
/// It holds once, for a quarter of an hour, for a browser of this machine. With it the first password is set; later it logs
/// in as the first admin. After a forgotten password, delete STORE/state/users.json and open the console with a new link.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack console open /srv/store
  xdg-open \"$(headstack console open /srv/store)\"")]
pub struct Open {
    /// The store, whose controller runs
    #[arg(value_name = "STORE", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    store: PathBuf,
    #[command(flatten)]
    json: JsonOption,
}

/// How the console is served.
#[derive(Debug, Args)]
pub struct Options {
    /// Port of the console; 0 takes a free one; by default that of the setting port, 7402
    #[arg(long, value_name = "N", conflicts_with = "no_console")]
    port: Option<u16>,
    /// Serve no console
    #[arg(long)]
    no_console: bool,
    /// Serve the console with TLS, with server-cert.pem and server-key.pem of this directory; STORE/state/tls by default,
    /// where that exists
    #[arg(long, value_name = "DIR", conflicts_with = "no_console", value_hint = clap::ValueHint::DirPath)]
    tls: Option<PathBuf>,
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Open(open) => open.run(),
        }
    }
}

impl Open {
    fn run(self) -> Result<Code> {
        let store = Store::open(&self.store)?;
        let stream = client::connect(&path_of(&store.socket())).ok_or_else(|| {
            let root = store.root().display();
            let message = format!("{root}: its controller does not run");
            Failure::new(Code::Unavailable, message, format!("'headstack serve {root}'"))
        })?;
        let facts = client::ask(stream, Ask::Invite, &mut |_| Ok(()))?;
        let url = facts.get("url").and_then(serde_json::Value::as_str).unwrap_or_default();
        let output = Output::of_json("console open", self.json);
        if output.is_json() {
            output.record(&[("url", Cell::text(url))])?;
        } else {
            output.told(url, &[])?;
        }
        Ok(Code::Success)
    }
}

impl Options {
    /// Serves the console of a store, if it is to be served. What only the settings wish for and cannot be is told, and the
    /// arrays are served without a console.
    ///
    /// # Errors
    /// The port or the certificate that an option names cannot be used.
    pub fn start(&self, store: &Store, answerer: Arc<Answerer>) -> Result<Option<Console>> {
        let settings = Remembered::load(store).unwrap_or_default().settings;
        if self.no_console {
            return Ok(None);
        }
        let usual = Some(store.state().path().join(TLS)).filter(|directory| directory.is_dir());
        let config = Config {
            port: self.port.unwrap_or(settings.port.get()),
            access: if settings.restrict_to_localhost {
                Access::Local
            } else {
                Access::Everywhere
            },
            certificates: self.tls.clone().or(usual),
        };
        let error = match Console::start(&config, store, Arc::clone(&answerer)) {
            Ok(console) => return Ok(Some(console)),
            Err(error) => error,
        };
        let named = match error.judge().0 {
            Kind::Busy => self.port.is_some(),
            Kind::Refused => false,
            _ => true,
        };
        if named {
            return Err(error.into());
        }
        let remedy = error.judge().1.unwrap_or_default();
        let text = format!("not served: {error}; try {remedy}");
        log::error!("console {text}");
        let user = "console".to_owned();
        answerer(Ask::Store(StoreAsk::Note { user, text }), &mut |_| Ok(()))?;
        Ok(None)
    }
}
