//! Who is told about events, and through which server: the wishes of an operator and the file that remembers them.
//!
//! The file holds a password, so it is its owner's only, and the password goes nowhere but to the mail server: facts say
//! whether there is one. Names and addresses become parts of a mail's head, so nothing with a control character is taken.

use std::{fmt, path::PathBuf};

use lettre::Address;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::controller::{
    error::{Error, Kind, Result},
    event::Level,
    kept::Kept,
    store::Store,
};

/// File of the wishes, in the store's state.
const KEPT: Kept = Kept {
    name: "notify",
    what: "what is known of mail and webhook",
};
/// Recipients at most.
const RECIPIENTS_MAX: usize = 64;
/// Longest name, login or password in bytes.
const WORD_MAX_BYTES: usize = 256;
/// How long events are gathered after a mail, in seconds, where nothing else is wished.
const DIGEST_S: u32 = 300;
/// Longest time to gather, in seconds.
const DIGEST_MAX_S: u32 = 86_400;

/// A word that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// In the clear at first, encrypted as soon as the server offers it (STARTTLS). A password goes only over an
    /// encrypted connection, or to this machine.
    #[default]
    Auto,
    /// Encrypted from the first byte; the guide's "Support SSL".
    Ssl,
    /// As `Auto`, but a password goes in the clear where nothing else is offered.
    Clear,
}

/// The mail server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Whether events are mailed.
    pub enabled: bool,
    /// Its name or IP address.
    pub server: String,
    /// Its port; none for the usual one: 465 where `security` is `Ssl`, else 25.
    pub port: Option<u16>,
    /// How it is spoken to.
    pub security: Security,
    /// Address that mails are from.
    pub from: String,
    /// Name to log in with; empty for none.
    pub login: String,
    /// Password to log in with.
    pub password: Secret,
    /// File of certificates (PEM) to trust beside those of the host.
    pub authority: Option<PathBuf>,
}

/// A change of the mail server: what is none stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpChange {
    /// Whether events are mailed.
    pub enabled: Option<bool>,
    /// Name or IP address.
    pub server: Option<String>,
    /// Port; 0 for the usual one.
    pub port: Option<u16>,
    /// How it is spoken to.
    pub security: Option<Security>,
    /// Address that mails are from.
    pub from: Option<String>,
    /// Name to log in with; empty for none.
    pub login: Option<String>,
    /// Password to log in with; empty for none.
    pub password: Option<Secret>,
    /// File of certificates to trust; empty for none.
    pub authority: Option<PathBuf>,
}

impl Smtp {
    /// Port that is connected to.
    pub fn port(&self) -> u16 {
        let usual = if self.security == Security::Ssl { 465 } else { 25 };
        self.port.unwrap_or(usual)
    }

    fn change(&mut self, change: SmtpChange) -> Result<()> {
        if let Some(server) = change.server {
            check_server(&server)?;
            self.server = server;
        }
        if let Some(from) = change.from {
            check_address(&from)?;
            self.from = from;
        }
        if let Some(login) = change.login {
            check_word("the login name", &login)?;
            self.login = login;
        }
        if let Some(password) = change.password {
            check_word("the password", &password.0)?;
            self.password = password;
        }
        if let Some(port) = change.port {
            self.port = Some(port).filter(|port| *port != 0);
        }
        if let Some(path) = change.authority {
            self.authority = Some(path).filter(|path| !path.as_os_str().is_empty());
        }
        self.security = change.security.unwrap_or(self.security);
        self.enabled = change.enabled.unwrap_or(self.enabled);
        if self.enabled && (self.server.is_empty() || self.from.is_empty()) {
            let message = "mail cannot be enabled without a server and an address that it is from";
            return Err(Error::refused(Kind::Usage, message, "--server and --from"));
        }
        Ok(())
    }
}

/// Somebody who is mailed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// E-mail address, which is also what tells recipients apart.
    pub address: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Levels of the events that are wanted.
    pub levels: Vec<Level>,
}

/// A server that is told about events over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where each event is posted to, `http://` or `https://`.
    pub url: String,
    /// Levels of the events that are wanted.
    pub levels: Vec<Level>,
}

/// All wishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wishes {
    /// The mail server.
    pub smtp: Smtp,
    /// Who is mailed.
    pub recipients: Vec<Recipient>,
    /// Who is told over HTTP.
    pub webhook: Option<Webhook>,
    /// How long events are gathered after a mail before the next one goes to the same recipient, in seconds.
    pub digest_s: u32,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            smtp: Smtp::default(),
            recipients: Vec::new(),
            webhook: None,
            digest_s: DIGEST_S,
        }
    }
}

/// What is asked of those who tell about events.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyAsk {
    /// The wishes, without the password, and how the telling goes: `smtp`, `recipients`, `webhook`, `digest_s`.
    Show,
    /// A change of the mail server.
    Smtp(SmtpChange),
    /// Another time to gather events for, in seconds.
    Digest(u32),
    /// One more recipient, or other wishes of one who is there.
    AddRecipient(Recipient),
    /// A recipient less, by address.
    RemoveRecipient(String),
    /// A mail to a recipient at once, also where mail is not enabled; the answer tells what the server said.
    TestRecipient(String),
    /// A webhook, or none.
    Webhook(Option<Webhook>),
    /// A post to the webhook at once.
    TestWebhook,
}

impl Wishes {
    /// The wishes of a store.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where the file is damaged; an error of the host.
    pub fn load(store: &Store) -> Result<Self> {
        KEPT.load(store)
    }

    /// Remembers them durably; a file that cannot be used is put aside.
    ///
    /// # Errors
    /// An error of the host.
    pub fn save(&self, store: &Store) -> Result<()> {
        KEPT.save(store, self)
    }

    /// Makes the change that is asked for; the sentence says what it was. None where nothing is to be changed.
    ///
    /// # Errors
    /// [`Kind::Usage`] for what cannot be, [`Kind::NotFound`] for a recipient that there is not.
    pub fn change(&mut self, ask: NotifyAsk) -> Result<Option<String>> {
        Ok(Some(match ask {
            NotifyAsk::Show | NotifyAsk::TestRecipient(_) | NotifyAsk::TestWebhook => return Ok(None),
            NotifyAsk::Smtp(change) => {
                let mut smtp = self.smtp.clone();
                smtp.change(change)?;
                self.smtp = smtp;
                "the mail server was set".to_owned()
            }
            NotifyAsk::Digest(seconds) if seconds > DIGEST_MAX_S => {
                let message = format!("{seconds} s are too long to gather events for");
                return Err(Error::refused(Kind::Usage, message, format!("at most {DIGEST_MAX_S}")));
            }
            NotifyAsk::Digest(seconds) => {
                self.digest_s = seconds;
                format!("events are gathered for {seconds} s")
            }
            NotifyAsk::AddRecipient(recipient) => self.add(recipient)?,
            NotifyAsk::RemoveRecipient(address) => {
                self.recipient(&address)?;
                self.recipients.retain(|recipient| recipient.address != address);
                format!("{address} is not mailed any more")
            }
            NotifyAsk::Webhook(webhook) => {
                if let Some(webhook) = &webhook {
                    check_url(&webhook.url)?;
                    check_levels(&webhook.levels)?;
                }
                self.webhook = webhook;
                "the webhook was set".to_owned()
            }
        }))
    }

    fn add(&mut self, mut recipient: Recipient) -> Result<String> {
        check_address(&recipient.address)?;
        check_word("the name", &recipient.name)?;
        check_levels(&recipient.levels)?;
        recipient.levels.sort_unstable();
        recipient.levels.dedup();
        let address = recipient.address.clone();
        let count = self.recipients.len();
        match self.recipients.iter_mut().find(|known| known.address == address) {
            Some(known) => *known = recipient,
            None if count >= RECIPIENTS_MAX => {
                let message = format!("there are {RECIPIENTS_MAX} recipients already");
                return Err(Error::refused(
                    Kind::Busy,
                    message,
                    "'headstack notify recipient rm' first",
                ));
            }
            None => self.recipients.push(recipient),
        }
        Ok(format!("{address} is mailed"))
    }

    /// The recipient of an address.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is none.
    pub fn recipient(&self, address: &str) -> Result<&Recipient> {
        let found = self.recipients.iter().find(|recipient| recipient.address == address);
        found.ok_or_else(|| {
            let message = format!("{} is no recipient", address.escape_debug());
            Error::refused(Kind::NotFound, message, "'headstack notify recipient ls'")
        })
    }

    /// The wishes without the password.
    pub fn facts(&self) -> Map<String, Value> {
        let smtp = &self.smtp;
        let facts = json!({
            "smtp": {
                "enabled": smtp.enabled,
                "server": smtp.server,
                "port": smtp.port(),
                "security": smtp.security,
                "from": smtp.from,
                "login": smtp.login,
                "password_set": !smtp.password.0.is_empty(),
                "authority": smtp.authority,
            },
            "recipients": self.recipients,
            "webhook": self.webhook,
            "digest_s": self.digest_s,
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }
}

fn refused(what: &str, word: &str, remedy: &str) -> Error {
    let message = format!("{what} cannot be {}", word.escape_debug());
    Error::refused(Kind::Usage, message, remedy)
}

/// Refuses what would end a line of a mail's head or of the conversation with a server. The word itself is not told: it may
/// be a password.
fn check_word(what: &str, word: &str) -> Result<()> {
    if word.len() > WORD_MAX_BYTES || word.chars().any(char::is_control) {
        let message = format!("{what} is too long or has control characters");
        return Err(Error::refused(Kind::Usage, message, "one without them"));
    }
    Ok(())
}

fn check_address(address: &str) -> Result<()> {
    let plain = address.len() <= WORD_MAX_BYTES && !address.contains(|c: char| c.is_control() || c.is_whitespace());
    if !plain || address.parse::<Address>().is_err() {
        return Err(refused("an address", address, "one such as operator@example.com"));
    }
    Ok(())
}

fn check_server(server: &str) -> Result<()> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_name = !server.is_empty() && server.len() < WORD_MAX_BYTES && server.chars().all(named);
    if !is_name && server.parse::<std::net::IpAddr>().is_err() {
        return Err(refused("a server", server, "its name or IP address"));
    }
    Ok(())
}

fn check_url(url: &str) -> Result<()> {
    let remedy = "one that begins with http:// or https://, without a user's name and password";
    let parsed = url
        .parse::<ureq::http::Uri>()
        .map_err(|_| refused("the URL", url, remedy))?;
    let host = parsed.authority().filter(|authority| !authority.as_str().contains('@'));
    let scheme = matches!(parsed.scheme_str(), Some("http" | "https"));
    if host.is_none() || !scheme || url.len() > 2048 {
        return Err(refused("the URL", url, remedy));
    }
    Ok(())
}

fn check_levels(levels: &[Level]) -> Result<()> {
    if levels.is_empty() {
        let message = "nobody is told about events of no level";
        return Err(Error::refused(Kind::Usage, message, "information, warning or error"));
    }
    Ok(())
}
