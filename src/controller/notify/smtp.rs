//! Mails to a server that speaks SMTP.
//!
//! One connection a mail, in the clear, with STARTTLS or encrypted from the first byte. What the server says may become
//! part of an event, so it is cut short, its control characters are escaped, and a password that it repeats is taken out.

use std::{error::Error as _, time::Duration};

use data_encoding::BASE64;
use lettre::{
    message::Message,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{Certificate, SmtpConnection, TlsParameters},
        extension::ClientId,
    },
};

use super::{
    Carrier, Failure, Parcel,
    link::{Bounds, Link},
    message::{clean, message},
    settings::{Security, Smtp},
};

/// Longest reason that is told, in characters.
const REASON_MAX: usize = 300;

/// Carries parcels by mail.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mail {
    /// What a connection may take.
    pub bounds: Bounds,
}

impl Carrier for Mail {
    fn carry(&self, parcel: &Parcel) -> Result<(), Failure> {
        let smtp = &parcel.wishes.smtp;
        let recipient = parcel.wishes.recipient(&parcel.to);
        let mail = recipient.and_then(|to| message(&parcel.origin, smtp, to, &parcel.events, parcel.left_out));
        let mail = mail.map_err(|error| Failure::of_one(error.to_string()))?;
        let sent = self.send(smtp, &parcel.origin.domain(), &mail);
        sent.map_err(|failure| Failure {
            reason: harmless(&failure.reason, smtp),
            ..failure
        })
    }
}

impl Mail {
    fn send(self, smtp: &Smtp, domain: &str, mail: &Message) -> Result<(), Failure> {
        let place = format!("{} port {}", smtp.server, smtp.port());
        let unreachable = |reason: String| Failure::of_server(format!("the mail server {place}: {reason}"));
        let link =
            Link::open(&smtp.server, smtp.port(), self.bounds).map_err(|error| unreachable(error.to_string()))?;
        let failed = |error: lettre::transport::smtp::Error| unreachable(reason_of(&error));
        let hello = ClientId::Domain(domain.to_owned());
        let parameters = tls(smtp).map_err(&unreachable)?;
        let wrapped = (smtp.security == Security::Ssl).then_some(&parameters);
        let patience: Duration = self.bounds.whole;
        let connected = SmtpConnection::connect(link.local, Some(patience), &hello, wrapped, None);
        let mut connection = connected.map_err(failed)?;
        let told = (|| {
            if smtp.security != Security::Ssl && connection.can_starttls() {
                connection.starttls(&parameters, &hello).map_err(failed)?;
            }
            if !smtp.login.is_empty() {
                let hidden = connection.is_encrypted() || link.server.is_loopback();
                if !hidden && smtp.security != Security::Clear {
                    let reason = "it offers no encryption, and the password is not sent in the clear; \
                                  'headstack notify smtp set --security clear' allows it";
                    return Err(unreachable(reason.to_owned()));
                }
                let credentials = Credentials::new(smtp.login.clone(), smtp.password.0.clone());
                let mechanisms = [Mechanism::Plain, Mechanism::Login];
                connection.auth(&mechanisms, &credentials).map_err(failed)?;
            }
            // From here on it is about this mail: another recipient may fare better.
            let sent = connection.send(mail.envelope(), &mail.formatted());
            sent.map_err(|error| Failure {
                of_server: !error.is_permanent(),
                ..failed(error)
            })
        })();
        if told.is_ok() {
            // The mail is taken; how the server says goodbye does not matter.
            let _ = connection.quit();
        }
        // Dropped, it is closed; the library must not be asked to end a connection whose encryption failed.
        told.map(drop)
    }
}

fn tls(smtp: &Smtp) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(smtp.server.clone());
    if let Some(path) = &smtp.authority {
        let named = |error: String| format!("{}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| named(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_native().map_err(|error| error.to_string())
}

/// An error with all its causes.
fn reason_of(error: &lettre::transport::smtp::Error) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = cause.source();
    }
    reason
}

/// A reason without the password in any form that it was sent in, without control characters, and cut short.
fn harmless(reason: &str, smtp: &Smtp) -> String {
    let mut reason = reason.to_owned();
    let password = &smtp.password.0;
    if !password.is_empty() {
        let plain = format!("\0{}\0{password}", smtp.login);
        for form in [
            BASE64.encode(plain.as_bytes()),
            BASE64.encode(password.as_bytes()),
            password.clone(),
        ] {
            reason = reason.replace(&form, "(password)");
        }
    }
    clean(&reason).chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::notify::settings::Secret;

    /// R41: whatever a server repeats, the password is in nothing that is told.
    #[test]
    fn a_password_is_taken_out_of_what_a_server_says() {
        let smtp = Smtp {
            login: "nas".to_owned(),
            password: Secret("hunter2".to_owned()),
            ..Smtp::default()
        };
        assert!(!format!("{smtp:?}").contains("hunter2"));
        let said = "535 no hunter2 aHVudGVyMg== AG5hcwBodW50ZXIy\u{1b}[2J\r\n";
        let told = harmless(said, &smtp);
        assert_eq!(told, "535 no (password) (password) (password)\\u{1b}[2J\\r\\n");
        assert_eq!(harmless(&"x".repeat(9999), &smtp).len(), REASON_MAX);
    }
}
