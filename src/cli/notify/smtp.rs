//! `headstack notify smtp ..`: the mail server.
//!
//! The password comes from a file or from standard input, and is not shown again.

use std::{ffi::OsString, io::Read as _, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{asked, done};
use crate::{
    cli::{
        exit::Code,
        output::{Cell, FormOptions, JsonOption, Output},
        store::StoreOption,
    },
    controller::notify::{
        NotifyAsk,
        settings::{Secret, Security, SmtpChange},
    },
};

/// Longest password file that is read, in bytes.
const PASSWORD_MAX_BYTES: u64 = 4096;

/// Verbs on the mail server.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Set(Box<Set>),
    Show(Show),
}

/// Set the mail server; what is not named stays as it is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify smtp set --server mail.example.com --from nas@example.com --enable true
  headstack notify smtp set --security ssl --login nas --password-file /etc/headstack/mail-password
      port 465 then, unless --port says another one
  printf %s \"$PASSWORD\" | headstack notify smtp set --password-file -
  headstack notify smtp set --enable false --store /srv/store")]
pub struct Set {
    /// Mail events
    #[arg(long, value_name = "true|false")]
    enable: Option<bool>,
    /// Name or IP address of the server
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Its port; 0 for the usual one: 25, or 465 with --security ssl
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// How it is spoken to
    #[arg(long, value_name = "HOW", value_enum)]
    security: Option<Security>,
    /// Address that mails are from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Name to log in with; empty for none
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// File with the password to log in with; - for standard input
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside those of the host; empty for none
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    authority: Option<OsString>,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// Show the mail server, without its password
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack notify smtp show --store /srv/store")]
pub struct Show {
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    form: FormOptions,
}

impl Verb {
    pub(super) fn run(self) -> Result<Code> {
        match self {
            Self::Set(set) => set.run(),
            Self::Show(show) => show.run(),
        }
    }
}

impl Set {
    fn run(self) -> Result<Code> {
        let store = self.store.open(None)?;
        let absolute = |path: OsString| {
            if path.is_empty() {
                return Ok(PathBuf::new());
            }
            std::path::absolute(&path).with_context(|| path.display().to_string())
        };
        let change = SmtpChange {
            enabled: self.enable,
            server: self.server,
            port: self.port,
            security: self.security,
            from: self.from,
            login: self.login,
            password: self.password_file.map(password).transpose()?,
            authority: self.authority.map(absolute).transpose()?,
        };
        asked(&store, NotifyAsk::Smtp(change))?;
        done("notify smtp set", self.json, "the mail server was set")
    }
}

impl Show {
    fn run(self) -> Result<Code> {
        let mut facts = asked(&self.store.open(None)?, NotifyAsk::Show)?;
        let output = Output::new("notify smtp show", self.form);
        if output.is_json() {
            facts.retain(|key, _| key == "smtp");
            output.document(facts)?;
        } else {
            output.record(&record(&facts))?;
        }
        Ok(Code::Success)
    }
}

/// The mail server as a record.
pub(super) fn record(facts: &Map<String, Value>) -> Vec<(&'static str, Cell)> {
    let smtp = facts.get("smtp").unwrap_or(&Value::Null);
    let keys = [
        "enabled",
        "server",
        "port",
        "security",
        "from",
        "login",
        "password_set",
        "authority",
    ];
    let cell = |key| match &smtp[key] {
        Value::Null => Cell::None,
        Value::Bool(flag) => Cell::Flag(*flag),
        Value::String(text) if text.is_empty() => Cell::None,
        Value::String(text) => Cell::text(text),
        other => Cell::Json(other.clone()),
    };
    keys.map(|key| (key, cell(key))).to_vec()
}

/// The first line of a file.
fn password(path: PathBuf) -> Result<Secret> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        let stdin = std::io::stdin().lock();
        stdin
            .take(PASSWORD_MAX_BYTES)
            .read_to_string(&mut text)
            .context("standard input")?;
    } else {
        let place = || path.display().to_string();
        let file = std::fs::File::open(&path).with_context(place)?;
        file.take(PASSWORD_MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(place)?;
    }
    Ok(Secret(text.lines().next().unwrap_or_default().to_owned()))
}
