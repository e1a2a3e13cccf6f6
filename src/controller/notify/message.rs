//! A mail about events, as text: a subject that says the worst and where, then the lines of the log.
//!
//! Nothing here is sent. Text of events may hold names that others chose, so control characters are written as escapes: no
//! line of a mail's head or body comes from a name.

use std::path::Path;

use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

use super::settings::{Recipient, Smtp};
use crate::controller::{
    error::{Error, Kind, Result},
    event::{Event, Level},
};

/// Lines of events in a mail.
pub const LINES_MAX: usize = 100;
/// Longest subject in characters.
const SUBJECT_MAX: usize = 160;

/// Where events come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Name of the machine.
    pub host: String,
    /// The store.
    pub store: String,
}

impl Origin {
    /// A store of this machine.
    pub fn of(store: &Path) -> Self {
        Self {
            host: clean(&rustix::system::uname().nodename().to_string_lossy()),
            store: clean(&store.display().to_string()),
        }
    }

    /// The machine's name as a part of an address.
    pub fn domain(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        self.host.chars().map(plain).collect()
    }
}

/// The text with its control characters as escapes.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            cleaned.extend(c.escape_default());
        } else {
            cleaned.push(c);
        }
    }
    cleaned
}

/// The subject: the worst event, how many others there are, and where.
pub fn subject(origin: &Origin, events: &[Event]) -> String {
    let worst = events.iter().rev().max_by_key(|event| event.level);
    let what = worst.map_or_else(String::new, |event| format!("{}: {}", event.level, event.text));
    let others = events.len().saturating_sub(1);
    let more = if others > 0 {
        format!(" (and {others} more)")
    } else {
        String::new()
    };
    let head = format!("[headstack {}] ", origin.host);
    let room = SUBJECT_MAX.saturating_sub(head.len() + more.len());
    let mut what = clean(&what);
    if what.chars().count() > room {
        what = what.chars().take(room.saturating_sub(1)).chain(['…']).collect();
    }
    format!("{head}{what}{more}")
}

/// The body: how many of each level, the lines of the log, and what was left out.
pub fn body(origin: &Origin, events: &[Event], left_out: u64) -> String {
    let counts = Level::ALL.iter().rev().map(|level| {
        let count = events.iter().filter(|event| event.level == *level).count();
        format!("{level}: {count}")
    });
    let counts: Vec<String> = counts.collect();
    let mut text = format!(
        "Events of the store {} on {}\n{}\n\n",
        origin.store,
        origin.host,
        counts.join(", ")
    );
    for event in shown(events) {
        text.push_str(&clean(&event.to_string()));
        text.push('\n');
    }
    let hidden = events.len().saturating_sub(LINES_MAX);
    if hidden > 0 {
        text.push_str(&format!("\n{hidden} more events are left out of this mail.\n"));
    }
    if left_out > 0 {
        text.push_str(&format!(
            "\n{left_out} earlier events were dropped because too many waited to be told.\n"
        ));
    }
    text.push_str("\nAll events: headstack event ls --store STORE\nHow it is now: headstack status STORE\n");
    text.replace("STORE", &origin.store)
}

/// The events that have lines: the worst, and of those the newest, in the order in which they happened.
fn shown(events: &[Event]) -> Vec<&Event> {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse((events[*at].level, *at)));
    order.truncate(LINES_MAX);
    order.sort_unstable();
    order.into_iter().map(|at| &events[at]).collect()
}

/// The whole mail.
///
/// # Errors
/// [`Kind::Usage`] where an address is none.
pub fn message(origin: &Origin, smtp: &Smtp, to: &Recipient, events: &[Event], left_out: u64) -> Result<Message> {
    let wrong = |what: &str| {
        let message = format!("{}: {what} is no address", clean(&to.address));
        Error::refused(Kind::Usage, message, "'headstack notify smtp set' or 'recipient add'")
    };
    let from = smtp.from.parse().map_err(|_| wrong("what mails are from"))?;
    let address = to.address.parse().map_err(|_| wrong("it"))?;
    let name = Some(clean(&to.name)).filter(|name| !name.is_empty());
    // The same events give the same ID, so that a mail that is sent again after a crash can be told from a new one.
    let time = |event: Option<&Event>| event.map_or(0, |event| event.time_us);
    let id = format!(
        "<headstack.{}.{}.{}@{}>",
        time(events.first()),
        time(events.last()),
        events.len(),
        origin.domain()
    );
    let mut message = Message::builder()
        .from(Mailbox::new(Some("headstack".to_owned()), from))
        .to(Mailbox::new(name, address))
        .subject(subject(origin, events))
        .message_id(Some(id))
        .header(ContentType::TEXT_PLAIN)
        .body(body(origin, events, left_out))
        .map_err(|error| Error::refused(Kind::Failure, error.to_string(), "another address"))?;
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let headers = message.headers_mut();
    headers.insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::event::Name;

    fn origin() -> Origin {
        Origin {
            host: "nas".to_owned(),
            store: "/srv/store".to_owned(),
        }
    }

    fn event(name: Name, text: &str, time_us: u64) -> Event {
        Event {
            time_us,
            ..Event::new(name, text)
        }
    }

    /// R43: the mail carries the lines of the event log, and its subject the worst of them.
    #[test]
    fn a_mail_says_the_worst_first_and_has_the_lines_of_the_log() {
        let events = [
            event(Name::RebuildStarted, "array r5: rebuild begins", 1_700_000_000_000_000),
            event(Name::Fail, "array r5: member 1 failed", 1_700_000_000_000_001),
            event(Name::BadSector, "array r5: 2 reads failed", 1_700_000_000_000_002),
        ];
        let expected = "[headstack nas] Error: array r5: member 1 failed (and 2 more)";
        assert_eq!(subject(&origin(), &events), expected);
        let text = body(&origin(), &events, 7);
        assert!(text.starts_with("Events of the store /srv/store on nas\nError: 1, Warning: 1, Information: 1\n\n"));
        for event in &events {
            assert!(text.contains(&format!("{event}\n")), "{text}");
        }
        assert!(text.contains("7 earlier events were dropped"), "{text}");
        assert!(text.contains("headstack status /srv/store\n"), "{text}");
    }

    #[test]
    fn what_is_left_out_is_counted_and_never_the_worst() {
        let mut events: Vec<Event> = (0..LINES_MAX as u64 + 20)
            .map(|number| event(Name::SpareActive, &format!("number {number}."), number))
            .collect();
        events[0] = event(Name::Fail, "the worst", 0);
        let text = body(&origin(), &events, 0);
        assert!(
            text.contains("the worst") && text.contains("20 more events are left out"),
            "{text}"
        );
        assert!(!text.contains("number 20.") && text.contains("number 21."), "{text}");
    }

    /// R42: no name and no text of an event becomes a line of the mail's head.
    #[test]
    fn nothing_can_be_put_into_the_head_of_a_mail() {
        let smtp = Smtp {
            from: "nas@example.com".to_owned(),
            ..Smtp::default()
        };
        let to = Recipient {
            address: "op@example.com".to_owned(),
            name: "Ops\r\nBcc: all@example.com".to_owned(),
            levels: vec![Level::Error],
        };
        let evil = event(Name::Fail, "x\r\nBcc: all@example.com\r\n\r\n.\r\nMAIL FROM:<>", 5);
        let mail = message(&origin(), &smtp, &to, &[evil], 0).unwrap().formatted();
        let text = String::from_utf8(mail).unwrap();
        assert!(text.is_ascii());
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in head.split("\r\n").chain(body.split("\r\n")) {
            assert!(
                !line.starts_with("Bcc") && !line.starts_with("MAIL") && line != ".",
                "{text}"
            );
        }
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| Some(line.split_once(':')?.0))
            .collect();
        for name in ["From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted"] {
            assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{names:?}");
        }
        for address in ["", "x", "a@b\r\nBcc: c@d"] {
            let to = Recipient {
                address: address.to_owned(),
                ..to.clone()
            };
            assert!(message(&origin(), &smtp, &to, &[], 0).is_err());
        }
    }
}
