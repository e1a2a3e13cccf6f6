//! How far a long job is: a bar on a terminal, else one line for each tenth.
//!
//! It is told on standard error, for jobs that take long enough to be waited for, and never with `-q`.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use super::complain;

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
    told_tenths: u64,
    face: Face,
}

#[derive(Debug)]
enum Face {
    Hidden,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// Progress of `what` towards `total`; small jobs tell nothing unless `always`, and none does with `-q`.
    pub fn new(what: impl Into<String>, unit: Unit, total: u64, always: bool) -> Self {
        let wanted = total > 0 && (always || total >= unit.worth_showing()) && log::log_enabled!(log::Level::Warn);
        let face = if !wanted {
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
            told_tenths: 0,
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
                let tenths = u128::from(self.done.min(self.total)) * 10 / u128::from(self.total);
                let tenths = u64::try_from(tenths).unwrap_or(10);
                if tenths > self.told_tenths {
                    self.told_tenths = tenths;
                    complain(&format!("headstack: {}: {}0 %", self.what, tenths));
                }
            }
        }
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
