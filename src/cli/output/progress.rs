//! How far a long job is: a bar on a terminal, else one line for each tenth.
//!
//! It is told on standard error, for jobs that take long enough to be waited for, and never with `-q`. The controller, whose
//! environment asks for it, is told of each hundredth of any job, in numbers.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use super::complain;
use crate::controller::schedule::verbs::{PROGRESS, PROGRESS_WORD};

/// What a job's size is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes that are read or written.
    Bytes,
    /// Entries.
    Entries,
}

impl Unit {
    /// Jobs below this size are over before anybody could read how far they are.
    fn worth_showing(self) -> u64 {
        match self {
            Self::Bytes => 64 << 20,
            Self::Entries => 1 << 22,
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Bytes => "{msg}{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            Self::Entries => "{msg}{bar:40} {pos}/{len} entries {per_sec} {eta}",
        }
    }
}

/// Progress of one job, told on standard error.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: u64,
    done: u64,
    /// Tenths or hundredths that were told.
    told: u64,
    face: Face,
}

#[derive(Debug)]
enum Face {
    Hidden,
    Lines,
    Numbers,
    Bar(ProgressBar),
}

impl Progress {
    /// Progress of `what` towards `total`; small jobs tell nothing unless `always`, and none does with `-q`.
    pub fn new(what: impl Into<String>, unit: Unit, total: u64, always: bool) -> Self {
        let wanted = total > 0 && (always || total >= unit.worth_showing()) && log::log_enabled!(log::Level::Warn);
        let face = if total > 0 && std::env::var_os(PROGRESS).is_some() {
            Face::Numbers
        } else if !wanted {
            Face::Hidden
        } else if io::stderr().is_terminal() {
            Face::Bar(bar(unit, total))
        } else {
            Face::Lines
        };
        Self {
            what: what.into(),
            total,
            done: 0,
            told: 0,
            face,
        }
    }

    /// Tells which part of the job is under way.
    pub fn enter(&mut self, part: &str) {
        self.what = part.to_owned();
        if let Face::Bar(bar) = &self.face {
            bar.set_message(format!("{part} "));
        }
    }

    /// Tells that `count` more are done.
    pub fn add(&mut self, count: u64) {
        self.reach(self.done + count);
    }

    /// Tells that so many are done in all.
    pub fn reach(&mut self, done: u64) {
        self.done = done;
        match &self.face {
            Face::Hidden => {}
            Face::Bar(bar) => bar.set_position(self.done),
            Face::Lines => {
                if let Some(tenths) = self.next_of(10) {
                    complain(&format!("headstack: {}: {tenths}0 %", self.what));
                }
            }
            Face::Numbers => {
                if self.next_of(100).is_some() {
                    complain(&format!("{PROGRESS_WORD} {} {}", self.done.min(self.total), self.total));
                }
            }
        }
    }

    /// How many of so many parts are done, where more are than were told.
    fn next_of(&mut self, parts: u64) -> Option<u64> {
        let done = u128::from(self.done.min(self.total)) * u128::from(parts) / u128::from(self.total);
        let done = u64::try_from(done).unwrap_or(parts);
        let is_next = done > self.told;
        self.told = done.max(self.told);
        is_next.then_some(done)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
        }
    }
}

fn bar(unit: Unit, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template(unit.template()) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
