//! What is done by itself at its time: the tasks of a store, their runs, and the file that remembers both.
//!
//! The file says from which time on a task's next time is looked for, so that no run is forgotten or done twice, whenever
//! the controller ends.

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::when::When;
use crate::{
    controller::{
        error::{Error, Kind, Result},
        kept::Kept,
        order::Mending,
        store::Store,
    },
    dump::{self, context::Contexts, restore::PATH_MAX_BYTES},
};

/// File of the tasks, in the store's state.
const KEPT: Kept = Kept {
    name: "schedule",
    what: "the schedule",
};
/// Tasks at most.
const TASKS_MAX: usize = 256;
/// Runs of a task that are remembered.
pub const RUNS_MAX: usize = 50;
/// Longest name in bytes.
const NAME_MAX_BYTES: usize = 64;
/// Tasks that were run at once and have ended, at most: older ones are forgotten.
const ENDED_MAX: usize = 20;
/// Paths of a restore at most.
const PATHS_MAX: usize = 1000;
/// Levels of a cycle at most.
const CYCLE_MAX: usize = 64;

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Compares an array's redundancy with its data.
    Verify {
        /// The array.
        array: String,
        /// What is done about what is found.
        repair: Mending,
    },
    /// Makes an array whole again.
    Rebuild {
        /// The array.
        array: String,
    },
    /// Puts a tree on a tape.
    Dump {
        /// Root of the tree.
        source: PathBuf,
        /// The tape.
        tape: PathBuf,
        /// Levels, one a run, from the first again after the last.
        levels: Vec<u8>,
    },
    /// Brings a dump, or parts of it, back.
    Restore(Restore),
    /// Goes on with a dump that stopped.
    Resume {
        /// Identity of its context.
        context: String,
    },
    /// Restores a random sample of the newest dump of a tape and compares it.
    Drill {
        /// The tape.
        tape: PathBuf,
        /// How many files; 0 for all.
        sample: u32,
    },
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The tapes, one a volume.
    pub tapes: Vec<PathBuf>,
    /// The tape file that the dump is in, from 1.
    pub file: u32,
    /// The directory that is restored into.
    pub into: PathBuf,
    /// What is restored, by paths from the root of the dump; all of it where there are none.
    pub paths: Vec<PathBuf>,
}

impl Restore {
    /// The words of the verb: the whole dump goes on top of what the dumps before it left, parts go where they were.
    pub fn words(&self, state: &Path, more: Option<&str>) -> Vec<OsString> {
        let mode = if self.paths.is_empty() { "-r" } else { "-x" };
        let mut words: Vec<OsString> = ["restore", mode, "--json", "--state"].map(Into::into).into();
        words.extend([
            state.into(),
            format!("-s{}", self.file).into(),
            "-D".into(),
            self.into.clone().into(),
        ]);
        words.extend(more.map(Into::into));
        for tape in &self.tapes {
            words.extend(["-f".into(), tape.into()]);
        }
        words.push("--".into());
        words.extend(self.paths.iter().map(OsString::from));
        words
    }

    /// Refuses what cannot be restored, or not there.
    ///
    /// # Errors
    /// [`Kind::Usage`] for paths that are not absolute or too many; [`Kind::Refused`] for a directory that what the
    /// controller remembers is in.
    pub fn check(&self, store: &Store) -> Result<()> {
        self.tapes
            .iter()
            .chain([&self.into])
            .try_for_each(|path| check_path(path))?;
        let flaw = match self.paths.len() {
            _ if self.tapes.is_empty() => Some("no tape is named".to_owned()),
            count if count > PATHS_MAX => Some(format!("{count} paths are too many, the most is {PATHS_MAX}")),
            _ => None,
        };
        if let Some(flaw) = flaw {
            return Err(Error::refused(
                Kind::Usage,
                flaw,
                "one tape or more, and fewer paths, or none for all",
            ));
        }
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if real(&self.into).starts_with(real(store.state().path())) {
            let message = format!(
                "{} is where the controller keeps users and settings",
                self.into.display()
            );
            return Err(Error::refused(Kind::Refused, message, "another directory"));
        }
        Ok(())
    }
}

/// Refuses a path that no controller can use.
fn check_path(path: &Path) -> Result<()> {
    if !path.is_absolute() {
        let message = format!("{}: the controller has another working directory", path.display());
        return Err(Error::refused(Kind::Usage, message, "an absolute path"));
    }
    let length = path.as_os_str().len();
    if length > PATH_MAX_BYTES {
        let message = format!("a path of {length} bytes is too long");
        return Err(Error::refused(
            Kind::Usage,
            message,
            format!("at most {PATH_MAX_BYTES}"),
        ));
    }
    Ok(())
}

impl Deed {
    /// Its name, with which names of tasks begin.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Verify { .. } => "verify",
            Self::Rebuild { .. } => "rebuild",
            Self::Dump { .. } => "dump",
            Self::Restore(_) => "restore",
            Self::Resume { .. } => "resume",
            Self::Drill { .. } => "drill",
        }
    }

    /// The array that it is about.
    pub fn array(&self) -> Option<&str> {
        match self {
            Self::Verify { array, .. } | Self::Rebuild { array } => Some(array),
            Self::Dump { .. } | Self::Restore(_) | Self::Resume { .. } | Self::Drill { .. } => None,
        }
    }

    /// What it is about, in words.
    pub fn object(&self) -> String {
        match self {
            Self::Verify { array, .. } | Self::Rebuild { array } => array.clone(),
            Self::Dump { source, tape, .. } => format!("{} to {}", source.display(), tape.display()),
            Self::Restore(restore) => {
                let tapes: Vec<String> = restore.tapes.iter().map(|tape| tape.display().to_string()).collect();
                format!(
                    "{} file {} to {}",
                    tapes.join(" "),
                    restore.file,
                    restore.into.display()
                )
            }
            Self::Resume { context } => format!("context {context}"),
            Self::Drill { tape, .. } => tape.display().to_string(),
        }
    }

    fn check(&self, store: &Store) -> Result<()> {
        match self {
            Self::Dump { levels, .. }
                if levels.is_empty() || levels.len() > CYCLE_MAX || levels.iter().any(|level| *level > 31) =>
            {
                let remedy = "one such as 0, or a cycle such as 0,1,1,1";
                Err(Error::refused(Kind::Usage, "a dump takes levels of 0 to 31", remedy))
            }
            Self::Dump { source, tape, .. } => check_path(source).and_then(|()| check_path(tape)),
            Self::Drill { tape, .. } => check_path(tape),
            Self::Restore(restore) => restore.check(store),
            Self::Resume { context } => {
                let kept = Contexts::of(Arc::clone(store.state())).get(context);
                let unknown =
                    |error: dump::Error| Error::refused(Kind::NotFound, error.to_string(), "'headstack context ls'");
                kept.map(drop).map_err(unknown)
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of a run that was due while the controller was off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// It is made up for, once, when the controller is there again
    #[default]
    Run,
    /// It is left out
    Skip,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What it does.
    pub deed: Deed,
    /// When it is due.
    pub when: When,
    /// What becomes of a run that was missed.
    #[serde(default)]
    pub missed: Missed,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It has not.
    Running,
    /// Well.
    Done,
    /// With a failure.
    Failed,
    /// It was left out.
    Missed,
    /// It was stopped, or the controller ended in the midst of it.
    Interrupted,
}

/// One run of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// When it began, or when it was left out.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// What came of it.
    pub text: String,
}

/// A task with its past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The task.
    pub task: Task,
    /// Its next time is the first after this one.
    pub from: Timestamp,
    /// Runs that ended well, which says the level of the next dump.
    #[serde(default)]
    pub done: u64,
    /// Its last runs, the oldest first.
    #[serde(default)]
    pub runs: VecDeque<Run>,
}

impl Entry {
    /// True while a run is under way.
    pub fn is_running(&self) -> bool {
        self.runs.back().is_some_and(|run| run.outcome == Outcome::Running)
    }

    /// Adds a run; the oldest are forgotten.
    pub fn add_run(&mut self, run: Run) {
        self.runs.push_back(run);
        let excess = self.runs.len().saturating_sub(RUNS_MAX);
        self.runs.drain(..excess);
    }
}

/// All tasks of a store.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Book {
    /// They, in the order in which they were added.
    pub tasks: Vec<Entry>,
}

/// What is asked of the schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleAsk {
    /// The tasks, and what new ones could be about: `tasks`, `verify`, `rebuild`, `zone`.
    Show,
    /// One more task.
    Add {
        /// Its name; none for the next free one, such as `verify_1`.
        name: Option<String>,
        /// What it does.
        deed: Deed,
        /// When, as [`When`] is written.
        when: String,
        /// What becomes of a run that was missed.
        missed: Missed,
    },
    /// A task less.
    Remove {
        /// Its name.
        name: String,
    },
    /// A run at once.
    Run {
        /// Name of the task.
        name: String,
    },
    /// The end of the run that is under way.
    Stop {
        /// Name of the task.
        name: String,
    },
    /// The last runs: `runs`.
    History {
        /// Name of the task; none for all.
        name: Option<String>,
    },
}

impl Book {
    /// The tasks of a store.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where the file is damaged; an error of the host.
    pub fn load(store: &Store) -> Result<Self> {
        KEPT.load(store)
    }

    /// Remembers them durably.
    ///
    /// # Errors
    /// An error of the host.
    pub fn save(&self, store: &Store) -> Result<()> {
        KEPT.save(store, self)
    }

    /// The task of a name.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is none.
    pub fn entry(&mut self, name: &str) -> Result<&mut Entry> {
        let found = self.tasks.iter_mut().find(|entry| entry.task.name == name);
        found.ok_or_else(|| {
            let message = format!("there is no task {}", name.escape_debug());
            Error::refused(Kind::NotFound, message, "'headstack sched ls'")
        })
    }

    /// Adds a task, whose times are those after `now`; returns its name.
    ///
    /// # Errors
    /// [`Kind::Exists`] where the name is taken; [`Kind::Usage`] for a name, a time or a deed that cannot be.
    pub fn add(
        &mut self,
        store: &Store,
        name: Option<String>,
        deed: Deed,
        when: &str,
        missed: Missed,
        now: Timestamp,
    ) -> Result<String> {
        deed.check(store)?;
        let when: When = when.parse().map_err(|error: super::when::NoTime| {
            Error::refused(Kind::Usage, error.to_string(), "'headstack sched add --help'")
        })?;
        self.forget();
        let taken = |name: &str| self.tasks.iter().any(|entry| entry.task.name == name);
        let name = match name {
            Some(name) => name,
            None => {
                let named = |number: &usize| !taken(&format!("{}_{number}", deed.name()));
                let number = (1..=TASKS_MAX + 1).find(named).unwrap_or_default();
                format!("{}_{number}", deed.name())
            }
        };
        if name.is_empty() || name.len() > NAME_MAX_BYTES || name.chars().any(char::is_control) {
            let message = format!("a task cannot be named {}", name.escape_debug());
            return Err(Error::refused(Kind::Usage, message, "a shorter name of letters"));
        }
        if taken(&name) {
            let message = format!("there is a task {name} already");
            return Err(Error::refused(Kind::Exists, message, "another name"));
        }
        if self.tasks.len() >= TASKS_MAX {
            let message = format!("there are {TASKS_MAX} tasks already");
            return Err(Error::refused(Kind::Busy, message, "'headstack sched rm' first"));
        }
        self.tasks.push(Entry {
            task: Task {
                name: name.clone(),
                deed,
                when,
                missed,
            },
            from: now,
            done: 0,
            runs: VecDeque::new(),
        });
        Ok(name)
    }

    /// Forgets tasks that were run at once and have ended, but for the last ones.
    fn forget(&mut self) {
        let ended = |entry: &Entry| entry.task.when == When::Now && !entry.is_running();
        let mut excess = self
            .tasks
            .iter()
            .filter(|entry| ended(entry))
            .count()
            .saturating_sub(ENDED_MAX - 1);
        self.tasks.retain(|entry| {
            let goes = excess > 0 && ended(entry);
            excess -= usize::from(goes);
            !goes
        });
    }

    /// Takes a task away.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.entry(name)?;
        self.tasks.retain(|entry| entry.task.name != name);
        Ok(())
    }
}
