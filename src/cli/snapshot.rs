//! `headstack snapshot ..`: frozen states of all series.
//!
//! Making, holding and removing need the database's lock; while it is mounted, mkdir and rmdir in `.snapshot` make and
//! remove snapshots instead. Their contents are read through a mount.

use std::time::SystemTime;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    arguments::{DatabaseArgument, Instead},
    exit::Code,
    output::{Cell, Column, FormOptions, JsonOption, Output, Table, confirm, time_text},
};
use crate::series::{Database, Error, SnapshotInfo};

const COLUMNS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::right("number", "NUMBER"),
    Column::left("created", "CREATED"),
    Column::right("series", "SERIES"),
    Column::left("tags", "TAGS"),
];

/// Verbs on snapshots.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Create),
    Ls(Ls),
    Rm(Rm),
    /// Hold a snapshot, so that it cannot be removed
    #[command(after_help = "\
Examples:
  headstack snapshot hold db 2026-01-31T12:00:00Z upload")]
    Hold(Tagged),
    /// Release a snapshot that was held
    #[command(after_help = "\
Examples:
  headstack snapshot release db 2026-01-31T12:00:00Z upload")]
    Release(Tagged),
}

/// Freeze the state of all series under a name
///
/// It takes no time and no space for the data: the snapshot keeps chunks that the series would drop later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack snapshot create db
      named for the time, such as 2026-01-31T12:00:00Z, which is printed
  headstack snapshot create db before-upgrade
  mkdir /mnt/.snapshot/before-upgrade
      the same while the database is mounted")]
pub struct Create {
    #[command(flatten)]
    database: DatabaseArgument,
    /// Name of the snapshot; the time in UTC by default
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    json: JsonOption,
}

/// List the snapshots of a database
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack snapshot ls db")]
pub struct Ls {
    #[command(flatten)]
    database: DatabaseArgument,
    #[command(flatten)]
    form: FormOptions,
}

/// Remove a snapshot; the space of chunks that nothing else needs comes back
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack snapshot rm db before-upgrade --dry-run
  headstack snapshot rm db before-upgrade --yes")]
pub struct Rm {
    #[command(flatten)]
    database: DatabaseArgument,
    /// Name of the snapshot
    #[arg(value_name = "NAME")]
    name: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: FormOptions,
}

/// A snapshot and one of its tags.
#[derive(Debug, Args)]
pub struct Tagged {
    #[command(flatten)]
    database: DatabaseArgument,
    /// Name of the snapshot
    #[arg(value_name = "NAME")]
    name: String,
    /// Who holds it, and why: any word
    #[arg(value_name = "TAG")]
    tag: String,
    #[command(flatten)]
    json: JsonOption,
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Create(create) => create.run(),
            Self::Ls(ls) => ls.run(),
            Self::Rm(rm) => rm.run(),
            Self::Hold(tagged) => tagged.run("snapshot hold", "held", Database::hold_snapshot),
            Self::Release(tagged) => tagged.run("snapshot release", "released", Database::release_snapshot),
        }
    }
}

impl Create {
    fn run(self) -> Result<Code> {
        let now = SystemTime::now();
        let name = self.name.unwrap_or_else(|| time_text(now));
        let database = self.database.write("snapshot create", &instead("mkdir", &name))?;
        let info = database.create_snapshot(&name, now)?.info();
        database.close()?;
        Output::of_json("snapshot create", self.json).told(&info.name, &facts(&info))?;
        Ok(Code::Success)
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let database = self.database.read()?;
        let output = Output::new("snapshot ls", self.form);
        let mut table = Table::new(COLUMNS);
        for info in database.snapshots()? {
            let mut row: Vec<Cell> = facts(&info).into_iter().map(|(_, cell)| cell).collect();
            if let (false, Some(tags)) = (output.is_json(), row.last_mut()) {
                *tags = if info.tags.is_empty() {
                    Cell::None
                } else {
                    Cell::text(info.tags.iter().map(String::as_str).collect::<Vec<_>>().join(","))
                };
            }
            table.push(row);
        }
        output.table("snapshots", &table)?;
        Ok(Code::Success)
    }
}

impl Rm {
    fn run(self) -> Result<Code> {
        let output = Output::new("snapshot rm", self.form);
        if self.dry_run {
            let database = self.database.read()?;
            let info = info(&database, &self.name)?;
            output.record(&facts(&info))?;
            return Ok(Code::Success);
        }
        let database = self.database.write("snapshot rm", &instead("rmdir", &self.name))?;
        let info = info(&database, &self.name)?;
        let path = database.path().display();
        let what = format!(
            "{path}: snapshot {:?} of {} series, made at {}",
            info.name,
            info.series,
            time_text(info.created)
        );
        confirm(&format!("{what} would be lost"), &info.name, self.yes)?;
        database.remove_snapshot(&self.name)?;
        database.close()?;
        output.done(&format!("removed {what}"), &facts(&info))?;
        Ok(Code::Success)
    }
}

impl Tagged {
    fn run(
        self,
        command: &'static str,
        done: &str,
        change: impl FnOnce(&Database, &str, &str) -> crate::series::Result<()>,
    ) -> Result<Code> {
        let database = self
            .database
            .write(command, &Instead::new("again after headstack umount", ""))?;
        change(&database, &self.name, &self.tag)?;
        let info = info(&database, &self.name)?;
        database.close()?;
        let sentence = format!(
            "{}: {done} snapshot {:?} with tag {:?}",
            database.path().display(),
            self.name,
            self.tag
        );
        Output::of_json(command, self.json).done(&sentence, &facts(&info))?;
        Ok(Code::Success)
    }
}

/// How a snapshot is made or removed through a mount.
fn instead(action: &str, name: &str) -> Instead {
    Instead::new(action, format!(".snapshot/{name}"))
}

fn info(database: &Database, name: &str) -> Result<SnapshotInfo> {
    let found = database.snapshots()?.into_iter().find(|info| info.name == name);
    found.ok_or_else(|| {
        let (name, path) = (name.to_owned(), database.path().to_owned());
        Error::DoesNotExist {
            what: "snapshot",
            name,
            path,
        }
        .into()
    })
}

fn facts(info: &SnapshotInfo) -> [(&'static str, Cell); 5] {
    [
        ("name", Cell::text(&info.name)),
        ("number", Cell::Number(info.number.into())),
        ("created", Cell::Time(info.created)),
        ("series", Cell::number(u64::try_from(info.series).ok())),
        ("tags", Cell::Json(json!(info.tags))),
    ]
}
