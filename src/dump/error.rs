//! What can go wrong with a dump or a restore: one variant a decision that the caller can make.
//!
//! What befalls single objects is no error but a [`Trouble`]: it is told, counted, and the rest goes on.

use std::{
    io,
    ops::{Range, RangeInclusive},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::tape;

/// Result of the dump engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of a dump or a restore as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tape.
    #[error(transparent)]
    Tape(#[from] tape::Error),
    /// The tree that is dumped, or the directory that is restored into.
    #[error("{}", path.display())]
    Tree {
        /// Where.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// What is remembered of earlier dumps.
    #[error("{}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// What is remembered makes no sense.
    #[error("{} is damaged: {reason}", path.display())]
    DamagedState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No dump of a lower level is known, which an increment needs.
    #[error("{}: level {level} needs a dump of a lower level before it", path.display())]
    NoBase {
        /// The tree.
        path: PathBuf,
        /// The level asked for.
        level: u8,
    },
    /// The dump that an increment would build on cannot be its base any more.
    #[error("{}: a baseline is required: {reason}", path.display())]
    BaselineRequired {
        /// The tree.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A parameter is out of its range.
    #[error("{parameter} {value}: {reason}")]
    BadParameter {
        /// Which one.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// Its range.
        reason: &'static str,
    },
    /// No dump begins where the tape stands.
    #[error("{}: no dump here: {reason}", path.display())]
    NoDump {
        /// The tape.
        path: PathBuf,
        /// What is there.
        reason: String,
    },
    /// The directory that is restored into has no room for the dump.
    #[error("{}: {needed} {what} are needed, {free} are free", path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes or inodes.
        what: &'static str,
        /// How many.
        needed: u64,
        /// How many there are.
        free: u64,
    },
    /// Another restore goes into the same directory.
    #[error("{}: another restore goes into it", path.display())]
    Claimed {
        /// The directory.
        path: PathBuf,
    },
    /// The dump was stopped by whoever ran it.
    #[error("{}: stopped in pass {pass}", path.display())]
    Interrupted {
        /// The tree.
        path: PathBuf,
        /// Pass that it was in.
        pass: u8,
    },
    /// No context has this identity.
    #[error("{id}: there is no such context")]
    NoContext {
        /// What was asked for.
        id: String,
    },
    /// A dump that stopped cannot go on.
    #[error("context {id} cannot be resumed: {hindrance}")]
    NotRestartable {
        /// Identity of the context.
        id: String,
        /// Why not.
        hindrance: Hindrance,
    },
    /// Another process has it.
    #[error("{what} is in use by another process")]
    Busy {
        /// What.
        what: String,
    },
    /// As many dumps and restores run as the machine's memory is good for.
    #[error("{limit} dumps and restores are under way, and this machine's memory allows no more")]
    TooManySessions {
        /// How many may run.
        limit: u32,
    },
    /// The tape is not the one that is needed now.
    #[error("{}: {reason}", path.display())]
    WrongTape {
        /// The tape.
        path: PathBuf,
        /// What is needed.
        reason: String,
    },
}

/// Why a dump that stopped cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    /// It stopped before it wrote files.
    #[error("it stopped in pass {pass}, and only pass 4 can be restarted")]
    Pass {
        /// Where it stopped.
        pass: u8,
    },
    /// The snapshot that it reads is not there.
    #[error("its snapshot {name} is not available")]
    Snapshot {
        /// Name of the snapshot.
        name: String,
    },
    /// It was asked to keep no history.
    #[error("it kept no file history")]
    History,
    /// Another dump has given numbers to new objects of the same chain.
    #[error("another dump of its chain was made since")]
    Chain,
}

/// An object that is not as it was dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Where, from the root of the tree.
    pub path: PathBuf,
    /// Stretches of its data that are lost, in bytes and in order; none where all of it is.
    pub ranges: Vec<Range<u64>>,
}

impl Lost {
    /// The loss in words.
    #[must_use]
    pub fn told(&self) -> String {
        if self.ranges.is_empty() {
            return "is not on the tape, which promises it".into();
        }
        let range = |range: &Range<u64>| format!("{} to {}", range.start, range.end.saturating_sub(1));
        let ranges: Vec<String> = self.ranges.iter().map(range).collect();
        format!("is damaged on the tape: bytes {} are lost", ranges.join(", "))
    }
}

/// Runs of numbers that are told one by one: a tape can promise millions that it does not hold.
const RUNS_MAX: usize = 1000;

impl Lost {
    /// Objects that are missing and have no name, by their numbers in order, a run in one.
    #[must_use]
    pub fn without_names(numbers: impl Iterator<Item = u32>) -> Vec<Self> {
        let (mut runs, mut more): (Vec<RangeInclusive<u32>>, u64) = (Vec::new(), 0);
        for number in numbers {
            let follows = |run: &&mut RangeInclusive<u32>| run.end().checked_add(1) == Some(number);
            if let Some(run) = runs.last_mut().filter(follows) {
                *run = *run.start()..=number;
            } else if runs.len() < RUNS_MAX {
                runs.push(number..=number);
            } else {
                more += 1;
            }
        }
        let told = |run: &RangeInclusive<u32>| match (run.start(), run.end()) {
            (start, end) if start == end => format!("number {start}"),
            (start, end) => format!("numbers {start} to {end}"),
        };
        let mut paths: Vec<String> = runs.iter().map(told).collect();
        if more > 0 {
            paths.push(format!("{more} more numbers"));
        }
        let lost = |path: String| Self {
            path: path.into(),
            ranges: Vec::new(),
        };
        paths.into_iter().map(lost).collect()
    }
}

/// What befell one object; everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Where, from the root of the tree.
    #[serde(with = "super::context::path")]
    pub path: PathBuf,
    /// What.
    pub what: String,
    /// True where something is missing from the result; else it is told only.
    pub loss: bool,
}
