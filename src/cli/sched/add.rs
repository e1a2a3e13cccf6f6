//! `headstack sched add ..`: a task more.
//!
//! One verb for each thing that can be done; when it is due is said the same way for all of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::asked;
use crate::{
    cli::{
        exit::Code,
        output::{Cell, JsonOption, Output},
        store::StoreOption,
    },
    controller::{
        order::Mending,
        schedule::{
            self, ScheduleAsk,
            task::{Deed, Missed},
        },
    },
};

/// What is done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Verify(Verify),
    Rebuild(Rebuild),
    Dump(Dump),
    Restore(Restore),
    Resume(Resume),
    Drill(Drill),
}

/// Compare the redundancy of an array with its data
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched add verify r5 --weekly 'sunday 02:00' --store /srv/store
  headstack sched add verify r5 --once '2026-12-31 23:00:00'
  headstack sched add verify r5 --cron '30 1 * * 1-5' --missed skip")]
pub struct Verify {
    /// The array, which has to be Normal
    #[arg(value_name = "ARRAY")]
    array: String,
    /// What is done about what is found
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Mending::None)]
    repair: Mending,
    #[command(flatten)]
    task: Task,
}

/// Make an array whole again that is critical
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched add rebuild r5 --once '2026-12-31 23:00:00' --store /srv/store")]
pub struct Rebuild {
    /// The array, which has to be Critical
    #[arg(value_name = "ARRAY")]
    array: String,
    #[command(flatten)]
    task: Task,
}

/// Put a tree or the series of a database on a tape
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched add dump /srv/data -f /srv/store/tapes/data.tap --daily 03:00 --store /srv/store
  headstack sched add dump /srv/data -f /srv/store/tapes/data.tap --level 0,1,1,1,1,1,1 --daily 03:00
      a full dump each seventh run, what changed since the last full one in between
  headstack sched add dump /srv/data -f /srv/store/tapes/data.tap --now
      at once; 'headstack sched ls' says how far it is, 'headstack sched stop' ends it")]
pub struct Dump {
    /// Root of the tree
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    path: PathBuf,
    /// The tape, behind what is on it
    #[arg(short = 'f', long = "file", value_name = "TAPE", value_hint = clap::ValueHint::FilePath)]
    tape: PathBuf,
    /// Level, or a cycle of them, one a run
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', default_value = "0")]
    level: Vec<u8>,
    #[command(flatten)]
    task: Task,
}

/// Bring a dump, or parts of it, back
///
/// Files that are there are overwritten: 'headstack restore --dry-run' tells which.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched add restore -f /srv/store/tapes/data.tap -D /srv/new --now --store /srv/store
  headstack sched add restore -f /srv/store/tapes/data.tap -s 2 -D /srv/new etc/hosts --now")]
pub struct Restore {
    /// The tape; once for each volume of a set, in order
    #[arg(short = 'f', long = "file", value_name = "TAPE", required = true, value_hint = clap::ValueHint::FilePath)]
    tapes: Vec<PathBuf>,
    /// Tape file that the dump is in, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    /// Directory that is restored into
    #[arg(short = 'D', long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
    /// Objects to restore, as the listing of the dump names them; everything by default
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    task: Task,
}

/// Go on with a dump that stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched add resume 330e6739-0179-41e6-a299-005056bb4bc9 --now --store /srv/store")]
pub struct Resume {
    /// Identity of its context, as 'headstack context ls' has it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    task: Task,
}

/// Restore a random sample of the newest dump of a tape into a scratch directory, and compare it with the tree
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack sched add drill -f /srv/store/tapes/data.tap --monthly '1 04:00' --store /srv/store")]
pub struct Drill {
    /// The tape
    #[arg(short = 'f', long = "file", value_name = "TAPE", value_hint = clap::ValueHint::FilePath)]
    tape: PathBuf,
    /// So many files; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    sample: u32,
    #[command(flatten)]
    task: Task,
}

/// What is said of any task.
#[derive(Debug, Args)]
struct Task {
    #[command(flatten)]
    when: When,
    /// Name of the task; such as verify_1 by default
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What becomes of a run that was due while the controller was off
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    missed: Missed,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    json: JsonOption,
}

/// When a task is due, in local time.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct When {
    /// At once; the task is forgotten some time after it has ended
    #[arg(long)]
    now: bool,
    /// At one time, 'YYYY-MM-DD HH:MM:SS'
    #[arg(long, value_name = "TIME")]
    once: Option<String>,
    /// Every day at 'HH:MM:SS'
    #[arg(long, value_name = "TIME")]
    daily: Option<String>,
    /// Every week, such as 'sunday HH:MM:SS'
    #[arg(long, value_name = "DAY TIME")]
    weekly: Option<String>,
    /// Every month on a day, such as '31 HH:MM:SS'; on the last one where the month is shorter
    #[arg(long, value_name = "DAY TIME")]
    monthly: Option<String>,
    /// As cron has it: minute, hour, day, month, weekday
    #[arg(long, value_name = "LINE")]
    cron: Option<String>,
}

impl When {
    fn text(self) -> String {
        if self.now {
            return "now".to_owned();
        }
        let given = [
            ("once", self.once),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("cron", self.cron),
        ];
        let text = |(word, rest): (&str, Option<String>)| Some(format!("{word} {}", rest?));
        given.into_iter().find_map(text).unwrap_or_default()
    }
}

impl Verb {
    pub(super) fn run(self) -> Result<Code> {
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| path.display().to_string());
        let (deed, task) = match self {
            Self::Verify(Verify { array, repair, task }) => (Deed::Verify { array, repair }, task),
            Self::Rebuild(Rebuild { array, task }) => (Deed::Rebuild { array }, task),
            Self::Dump(dump) => {
                let (source, tape) = (absolute(dump.path)?, absolute(dump.tape)?);
                let levels = dump.level;
                (Deed::Dump { source, tape, levels }, dump.task)
            }
            Self::Restore(restore) => {
                let deed = schedule::task::Restore {
                    tapes: restore.tapes.into_iter().map(absolute).collect::<Result<_>>()?,
                    file: restore.file,
                    into: absolute(restore.directory)?,
                    paths: restore.paths,
                };
                (Deed::Restore(deed), restore.task)
            }
            Self::Resume(Resume { id, task }) => (Deed::Resume { context: id }, task),
            Self::Drill(drill) => {
                let (tape, sample) = (absolute(drill.tape)?, drill.sample);
                (Deed::Drill { tape, sample }, drill.task)
            }
        };
        let store = task.store.open(None)?;
        let ask = ScheduleAsk::Add {
            name: task.name,
            deed,
            when: task.when.text(),
            missed: task.missed,
        };
        let facts = asked(&store, ask)?;
        let name = facts["name"].as_str().unwrap_or_default();
        Output::of_json("sched add", task.json).told(name, &[("name", Cell::text(name))])?;
        Ok(Code::Success)
    }
}
