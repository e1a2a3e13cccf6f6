//! When a task is due: once, daily, weekly, monthly, or as a line of cron has it, in local time.
//!
//! Pure: the zone and the time come from the caller. Dates are found in civil time first and put into the zone then. A
//! time that a change of the clocks leaves out is due right after it, and a time that comes twice is due the first time;
//! so each is due once.
//!
//! | text | due |
//! |---|---|
//! | `now` | at once, and never again |
//! | `once 2026-01-31 23:00:00` | then |
//! | `daily 02:00:00` | every day |
//! | `weekly sunday 02:00:00` | on that day of each week |
//! | `monthly 31 02:00:00` | on that day of each month, on its last where it is shorter |
//! | `cron 0 2 * * 1-5` | as cron has it: minute, hour, day, month, weekday |

use std::{fmt, str::FromStr};

use croner::Cron;
use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Deserialize, Serialize};

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum When {
    /// At once, when it is added.
    Now,
    /// At one time.
    Once(DateTime),
    /// Every day.
    Daily(Time),
    /// On a day of each week.
    Weekly(Weekday, Time),
    /// On a day of each month, from 1, or on its last where it has fewer.
    Monthly(i8, Time),
    /// As cron has it.
    Cron(Box<Cron>),
}

/// A text that does not say when.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not say when: {reason}")]
pub struct NoTime {
    text: String,
    reason: String,
}

/// Candidates that are looked at for one answer: more than one time falls on the same instant only in a gap of a zone.
const CANDIDATES_MAX: usize = 100_000;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

impl When {
    /// The first time after `after` at which it is due in a zone; none where there is none.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // What is due later in civil time is never due earlier, so the search begins at the civil time of `after`.
        let mut from = zone.to_datetime(after);
        let mut inclusive = true;
        for _ in 0..CANDIDATES_MAX {
            let civil = self.next_civil(from, inclusive)?;
            let due = instant(civil, zone)?;
            if due > after {
                return Some(due);
            }
            (from, inclusive) = (civil, false);
        }
        None
    }

    /// The first civil time from `from` on, or after it.
    fn next_civil(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        let fits = |civil: &DateTime| *civil > from || (inclusive && *civil == from);
        let days = |step: fn(Date) -> Option<Date>, at: Time| {
            let mut date = Some(from.date());
            std::iter::from_fn(move || {
                let found = date?;
                date = step(found);
                Some(found.to_datetime(at))
            })
        };
        let tomorrow = |date: Date| date.tomorrow().ok();
        match self {
            Self::Now => None,
            Self::Once(civil) => Some(*civil).filter(fits),
            Self::Daily(at) => days(tomorrow, *at).find(fits),
            Self::Weekly(weekday, at) => days(tomorrow, *at).find(|civil| civil.weekday() == *weekday && fits(civil)),
            Self::Monthly(day, at) => {
                let next_month = |date: Date| date.first_of_month().checked_add(1.month()).ok();
                let in_month = |civil: DateTime| {
                    let last = civil.date().last_of_month().day();
                    civil.with().day((*day).min(last)).build().ok()
                };
                days(next_month, *at).filter_map(in_month).find(fits)
            }
            Self::Cron(cron) => cron.find_next_occurrence(&from, inclusive).ok(),
        }
    }
}

/// The instant of a civil time: the first of two, and the end of the gap that it is in.
fn instant(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(civil).ok()
        }
        AmbiguousOffset::Gap { before, .. } => {
            // By the clocks as they were, it is at or after the change.
            let later = before.to_timestamp(civil).ok()?;
            let after = later.checked_add(1.nanosecond()).ok()?;
            zone.preceding(after).next().map(|change| change.timestamp())
        }
    }
}

impl FromStr for When {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        let wrong = |reason: &str| NoTime {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let time = |text: &str| clock_time(text).ok_or_else(|| wrong("a time of day is HH:MM:SS, 24 hours"));
        let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        let parts = || rest.split_once(' ').map(|(day, at)| (day, at.trim()));
        match word {
            "now" if rest.is_empty() => Ok(Self::Now),
            "once" => {
                let parsed = parts().and_then(|(date, at)| Some((date.parse::<Date>().ok()?, clock_time(at)?)));
                let (date, at) = parsed.ok_or_else(|| wrong("a time is YYYY-MM-DD HH:MM:SS, 24 hours"))?;
                Ok(Self::Once(date.to_datetime(at)))
            }
            "daily" => Ok(Self::Daily(time(rest)?)),
            "weekly" => {
                let (day, at) = parts().ok_or_else(|| wrong("a day of the week and a time are wanted"))?;
                let day = day.to_ascii_lowercase();
                let known = |(name, _): &&(&str, Weekday)| *name == day || (day.len() == 3 && name.starts_with(&day));
                let (_, weekday) = WEEKDAYS
                    .iter()
                    .find(known)
                    .ok_or_else(|| wrong("no such day of the week"))?;
                Ok(Self::Weekly(*weekday, time(at)?))
            }
            "monthly" => {
                let (day, at) = parts().ok_or_else(|| wrong("a day of the month and a time are wanted"))?;
                let number = day.parse().ok().filter(|day| (1..=31).contains(day));
                Ok(Self::Monthly(
                    number.ok_or_else(|| wrong("a day is 1 to 31"))?,
                    time(at)?,
                ))
            }
            "cron" => {
                let cron: Cron = rest
                    .parse()
                    .map_err(|error: croner::errors::CronError| wrong(&error.to_string()))?;
                Ok(Self::Cron(Box::new(cron)))
            }
            _ => Err(wrong("it begins with now, once, daily, weekly, monthly or cron")),
        }
    }
}

/// A time of day with or without seconds.
fn clock_time(text: &str) -> Option<Time> {
    let plain = text.len() <= 8 && text.chars().all(|c| c.is_ascii_digit() || c == ':');
    text.parse().ok().filter(|_| plain && text.contains(':'))
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |weekday: &Weekday| {
            WEEKDAYS
                .iter()
                .find(|(_, known)| known == weekday)
                .map_or("", |(name, _)| name)
        };
        match self {
            Self::Now => f.write_str("now"),
            Self::Once(civil) => write!(f, "once {}", civil.strftime("%Y-%m-%d %H:%M:%S")),
            Self::Daily(at) => write!(f, "daily {}", at.strftime("%H:%M:%S")),
            Self::Weekly(weekday, at) => write!(f, "weekly {} {}", name(weekday), at.strftime("%H:%M:%S")),
            Self::Monthly(day, at) => write!(f, "monthly {day} {}", at.strftime("%H:%M:%S")),
            Self::Cron(cron) => write!(f, "cron {}", cron.as_str()),
        }
    }
}

impl TryFrom<String> for When {
    type Error = NoTime;

    fn try_from(text: String) -> Result<Self, NoTime> {
        text.parse()
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first `count` times at which it is due, in local time with the offset.
    fn due(when: &str, after: &str, zone: &str, count: usize) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let when: When = when.parse().unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        let mut found = Vec::new();
        while let Some(next) = when.next(at, &zone).filter(|_| found.len() < count) {
            assert!(next > at);
            at = next;
            found.push(
                next.to_zoned(zone.clone())
                    .strftime("%Y-%m-%d %H:%M:%S %:z")
                    .to_string(),
            );
        }
        found
    }

    /// R48: an hour that does not exist is due once, right after it: where clocks go from 02:00 to 03:00, and in the zone
    /// that changes by half an hour only.
    #[test]
    fn an_hour_that_does_not_exist_is_due_right_after_it() {
        let berlin = [
            "2026-03-28 02:30:00 +01:00",
            "2026-03-29 03:00:00 +02:00",
            "2026-03-30 02:30:00 +02:00",
        ];
        for when in ["daily 02:30:00", "cron 30 2 * * *"] {
            assert_eq!(due(when, "2026-03-27T12:00:00Z", "Europe/Berlin", 3), berlin);
        }
        let york = [
            "2026-03-07 02:30:00 -05:00",
            "2026-03-08 03:00:00 -04:00",
            "2026-03-09 02:30:00 -04:00",
        ];
        assert_eq!(
            due("daily 02:30:00", "2026-03-06T12:00:00Z", "America/New_York", 3),
            york
        );
        let howe = [
            "2026-10-03 02:15:00 +10:30",
            "2026-10-04 02:30:00 +11:00",
            "2026-10-05 02:15:00 +11:00",
        ];
        assert_eq!(
            due("daily 02:15:00", "2026-10-02T12:00:00Z", "Australia/Lord_Howe", 3),
            howe
        );
        // All that would be due in the gap is due once at its end, and so is what is due there anyway.
        let quarters = [
            "2026-03-29 01:45:00 +01:00",
            "2026-03-29 03:00:00 +02:00",
            "2026-03-29 03:15:00 +02:00",
        ];
        assert_eq!(
            due("cron */15 * * * *", "2026-03-29T00:30:00Z", "Europe/Berlin", 3),
            quarters
        );
        let once = ["2026-03-29 03:00:00 +02:00"];
        assert_eq!(
            due("once 2026-03-29 02:10:00", "2026-03-01T00:00:00Z", "Europe/Berlin", 3),
            once
        );
    }

    /// R48: an hour that comes twice is due once, the first time.
    #[test]
    fn an_hour_that_comes_twice_is_due_once() {
        let berlin = [
            "2026-10-24 02:30:00 +02:00",
            "2026-10-25 02:30:00 +02:00",
            "2026-10-26 02:30:00 +01:00",
        ];
        for when in ["daily 02:30:00", "cron 30 2 * * *"] {
            assert_eq!(due(when, "2026-10-23T12:00:00Z", "Europe/Berlin", 3), berlin);
        }
        let york = ["2026-11-01 01:30:00 -04:00", "2026-11-02 01:30:00 -05:00"];
        assert_eq!(
            due("daily 01:30:00", "2026-10-31T12:00:00Z", "America/New_York", 2),
            york
        );
        let howe = ["2026-04-05 01:45:00 +11:00", "2026-04-06 01:45:00 +10:30"];
        assert_eq!(
            due("daily 01:45:00", "2026-04-04T12:00:00Z", "Australia/Lord_Howe", 2),
            howe
        );
        // Asked in the second of the two hours, what was due in the first is not due again.
        let after = ["2026-10-26 02:30:00 +01:00"];
        assert_eq!(due("daily 02:30:00", "2026-10-25T01:10:00Z", "Europe/Berlin", 1), after);
    }

    /// R48: daily, weekly and monthly, with the ends of months and the leap day.
    #[test]
    fn days_weeks_and_months_are_those_of_the_calendar() {
        let ends = [
            "2027-12-31 23:00:00 +00:00",
            "2028-01-31 23:00:00 +00:00",
            "2028-02-29 23:00:00 +00:00",
            "2028-03-31 23:00:00 +00:00",
            "2028-04-30 23:00:00 +00:00",
        ];
        assert_eq!(due("monthly 31 23:00:00", "2027-12-01T00:00:00Z", "UTC", 5), ends);
        assert_eq!(
            due("monthly 30 01:00", "2026-02-01T00:00:00Z", "UTC", 1),
            ["2026-02-28 01:00:00 +00:00"]
        );
        assert_eq!(
            due("monthly 1 01:00", "2026-01-15T00:00:00Z", "UTC", 1),
            ["2026-02-01 01:00:00 +00:00"]
        );
        let leap = ["2028-02-29 00:00:00 +00:00", "2032-02-29 00:00:00 +00:00"];
        assert_eq!(due("cron 0 0 29 2 *", "2026-01-01T00:00:00Z", "UTC", 2), leap);
        let sundays = ["2026-11-22 04:00:00 +00:00", "2026-11-29 04:00:00 +00:00"];
        assert_eq!(due("weekly sun 04:00:00", "2026-11-21T04:00:00Z", "UTC", 2), sundays);
        assert_eq!(
            due("weekly Saturday 04:00", "2026-11-21T04:00:00Z", "UTC", 1),
            ["2026-11-28 04:00:00 +00:00"]
        );
        assert_eq!(
            due("daily 04:00:00", "2026-11-21T04:00:00Z", "UTC", 1),
            ["2026-11-22 04:00:00 +00:00"]
        );
        let workdays = ["2026-11-23 02:00:00 +00:00", "2026-11-24 02:00:00 +00:00"];
        assert_eq!(due("cron 0 2 * * 1-5", "2026-11-20T12:00:00Z", "UTC", 2), workdays);
        assert!(due("once 2026-01-31 23:00:00", "2026-01-31T23:00:00Z", "UTC", 1).is_empty());
        assert!(due("cron 0 0 30 2 *", "2026-01-01T00:00:00Z", "UTC", 1).is_empty());
    }

    #[test]
    fn a_text_says_when_or_is_refused_by_name() {
        for (given, written) in [
            ("once 2026-01-31 23:00", "once 2026-01-31 23:00:00"),
            (" daily  02:00:07 ", "daily 02:00:07"),
            ("weekly WED 2:00", "weekly wednesday 02:00:00"),
            ("monthly 31 02:00:00", "monthly 31 02:00:00"),
            ("cron 0 2 * * 1-5", "cron 0 2 * * 1-5"),
        ] {
            match given.parse::<When>() {
                Ok(when) => {
                    assert_eq!(when.to_string(), written);
                    assert_eq!(written.parse::<When>().unwrap(), when);
                }
                Err(error) => assert!(given.contains("2:00") && !given.contains("02:00"), "{error}"),
            }
        }
        for text in [
            "",
            "now 02:00",
            "once 2026-02-30 00:00:00",
            "once 2026-01-31",
            "daily 24:00:01",
            "daily 25:00",
            "daily x",
            "weekly x 02:00",
            "weekly 02:00",
            "monthly 0 02:00",
            "monthly 32 02:00",
            "cron",
            "cron * * *",
            "cron 61 * * * *",
        ] {
            let refused = text.parse::<When>().unwrap_err();
            assert!(refused.to_string().contains(&format!("{text:?}")), "{refused}");
        }
    }
}
