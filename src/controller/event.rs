//! What happens, in words: an event has a level, a name, and what it is about.
//!
//! Where mdadm has a name for it, that is the name, so that programs written for mdadm's monitor can be the hook. The
//! others are this controller's. An event is stored as one line of JSON, the value of an entry of the series of events;
//! the entry's timestamp is the event's time in microseconds since 1970, made larger where two would be equal.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How much an event matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something was done.
    #[default]
    Information,
    /// Redundancy or data are in danger.
    Warning,
    /// Redundancy or data are lost.
    Error,
}

impl Level {
    /// All of them, from harmless to worst.
    pub const ALL: [Self; 3] = [Self::Information, Self::Warning, Self::Error];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Information => "Information",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happened. The first twelve are those of mdadm's monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Name {
    /// An array that was in use is not there any more.
    DeviceDisappeared,
    /// A rebuild, resync or reshape began.
    RebuildStarted,
    /// It is a fifth further.
    Rebuild20,
    /// Two fifths.
    Rebuild40,
    /// Three fifths.
    Rebuild60,
    /// Four fifths.
    Rebuild80,
    /// It ended, done or not.
    RebuildFinished,
    /// A member failed.
    Fail,
    /// A member that was being filled failed.
    FailSpare,
    /// A member that was being filled is in sync.
    SpareActive,
    /// An array is in use from now on.
    NewArray,
    /// An array is in use and misses members.
    DegradedArray,
    /// A disk of the spare pool went to an array.
    MoveSpare,
    /// An array has too few members: its data cannot be reached.
    ArrayDisabled,
    /// An array works as it should again.
    ArrayNormal,
    /// A sector could not be read.
    BadSector,
    /// Data and redundancy do not agree.
    Inconsistent,
    /// A comparison began.
    VerifyStarted,
    /// A comparison ended.
    VerifyFinished,
    /// Work failed, and is not tried again by itself.
    WorkFailed,
    /// A disk is there that was not.
    DiskInserted,
    /// A disk is gone.
    DiskRemoved,
    /// A disk went to the spare pool.
    SpareAdded,
    /// A disk left the spare pool.
    SpareRemoved,
    /// An array cannot be started.
    NotStarted,
    /// A fault was set up or taken away, to rehearse.
    Rehearsal,
    /// A setting was changed.
    SettingChanged,
    /// The settings, or what is to be remembered, cannot be read or written.
    StateTrouble,
    /// The controller began.
    ControllerStarted,
    /// It ends.
    ControllerStopped,
    /// The log was cleared.
    LogCleared,
    /// A user of the console did something.
    UserAction,
    /// A test, asked for by an operator.
    TestMessage,
    /// Somebody who wants to hear of events cannot be told.
    NotifyFailed,
    /// A scheduled task began.
    TaskStarted,
    /// It ended well.
    TaskFinished,
    /// It ended otherwise.
    TaskFailed,
    /// It was stopped by an operator.
    TaskStopped,
    /// It was due while it could not run.
    TaskMissed,
    /// An array was left out of a dump.
    LeftOut,
    /// An array is given to a restore, and its clients are cut off.
    Lent,
}

impl Name {
    /// How much it matters where nothing else is said.
    pub const fn level(self) -> Level {
        match self {
            Self::Fail | Self::FailSpare | Self::ArrayDisabled | Self::NotStarted | Self::StateTrouble => Level::Error,
            Self::DeviceDisappeared
            | Self::DegradedArray
            | Self::BadSector
            | Self::Inconsistent
            | Self::WorkFailed
            | Self::DiskRemoved
            | Self::NotifyFailed
            | Self::TaskFailed
            | Self::TaskMissed
            | Self::LeftOut => Level::Warning,
            _ => Level::Information,
        }
    }

    /// The name of progress over a fifth, two, three or four fifths.
    pub const fn of_progress(fifths: u64) -> Option<Self> {
        match fifths {
            1 => Some(Self::Rebuild20),
            2 => Some(Self::Rebuild40),
            3 => Some(Self::Rebuild60),
            4 => Some(Self::Rebuild80),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since 1970; it is the event's identity. 0 until it is logged.
    #[serde(skip)]
    pub time_us: u64,
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub event: Name,
    /// The array that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// The disk that it is about, by its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// A sentence.
    pub text: String,
}

impl Event {
    /// An event of its name's level.
    pub fn new(event: Name, text: impl Into<String>) -> Self {
        Self {
            time_us: 0,
            level: event.level(),
            event,
            array: None,
            disk: None,
            text: text.into(),
        }
    }

    /// The same about an array.
    #[must_use]
    pub fn of(mut self, array: &str) -> Self {
        self.array = Some(array.to_owned());
        self
    }

    /// The same about a disk.
    #[must_use]
    pub fn at(mut self, disk: impl Into<String>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// The same with another level.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The event with its time, as it is told in JSON.
    pub fn facts(&self) -> Value {
        let mut facts = json!(self);
        facts["time_us"] = json!(self.time_us);
        facts["time"] = json!(self.time_text());
        facts
    }

    /// Its time in UTC, as ISO 8601 has it.
    pub fn time_text(&self) -> String {
        let micros = i64::try_from(self.time_us).unwrap_or(i64::MAX);
        let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        time.to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
            .to_string()
    }
}

impl fmt::Display for Event {
    /// A line of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:<11} {}: {}",
            self.time_text(),
            self.level,
            self.event,
            self.text
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R44: three levels, in their order, with the guide's names.
    #[test]
    fn there_are_three_levels() {
        assert_eq!(Level::ALL.map(Level::name), ["Information", "Warning", "Error"]);
        assert!(Level::ALL.is_sorted());
        assert_eq!(Name::Fail.level(), Level::Error);
        assert_eq!(Name::DegradedArray.level(), Level::Warning);
        assert_eq!(Name::RebuildFinished.level(), Level::Information);
    }

    #[test]
    fn a_line_says_when_what_and_how_bad() {
        let mut event = Event::new(Name::Fail, "member 1 (b.img) failed").of("r5").at("b.img");
        event.time_us = 1_700_000_000_000_001;
        let line = "2023-11-14T22:13:20.000001Z Error       Fail: member 1 (b.img) failed";
        assert_eq!(event.to_string(), line);
        let json = serde_json::to_string(&event).unwrap();
        let stored = r#"{"level":"error","event":"Fail","array":"r5","disk":"b.img","text":"member 1 (b.img) failed"}"#;
        assert_eq!(json, stored);
        event.time_us = 0;
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
