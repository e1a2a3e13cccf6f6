//! `headstack context ..`: dumps that stopped, what is kept of them, and going on with them.
//!
//! The two listings have the words and the layout that operators of filers know; programs take `--json`.

use std::{
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    dumping::{
        self,
        source::{arrays_of, is_there, release},
        told,
    },
    exit::{Code, Failure, resumable},
    output::{Cell, JsonOption, Output, confirm},
    reels::{StateArgument, parent_of},
};
use crate::{
    dump::{
        Error,
        context::{Context, Contexts, Keeper, RESTART_PASS},
        dumpdates::Dumpdates,
        writer::resume_with,
    },
    tape,
};

/// Verbs on contexts.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Ls(Ls),
    Show(Show),
    Resume(Resume),
    Rm(Rm),
}

/// List the dumps that are under way or stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack context ls")]
pub struct Ls {
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

/// Show what is kept of a dump
///
/// Status of Backup is 1 while it is written and 2 once it stopped. State of the Context is 3 before files are written, 7 from
/// then on, and 9 where it is to be removed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack context show 330e6739-0179-41e6-a299-005056bb4bc9")]
pub struct Show {
    /// Identity, as the list has it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

/// Go on with a dump where it stopped
///
/// The tape has to be as it was left; it is then the same, byte for byte, as if the dump had not stopped. That needs that it
/// stopped while it wrote files, that its snapshot is still there, and that it kept its file history.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack context resume 330e6739-0179-41e6-a299-005056bb4bc9
  headstack context resume 330e6739-0179-41e6-a299-005056bb4bc9 -f more.tap
      its tapes were full")]
pub struct Resume {
    /// Identity, as the list has it
    #[arg(value_name = "ID")]
    id: String,
    /// Further tape, where those that it has are full; once for each, in order
    #[arg(short = 'f', long = "file", value_name = "TAPE", value_hint = clap::ValueHint::FilePath)]
    tapes: Vec<PathBuf>,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

/// Remove what is kept of a dump, which then cannot go on; its snapshot is released
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack context rm 330e6739-0179-41e6-a299-005056bb4bc9 --yes")]
pub struct Rm {
    /// Identity, as the list has it
    #[arg(value_name = "ID")]
    id: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    state: StateArgument,
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
            Self::Ls(ls) => ls.run(),
            Self::Show(show) => show.run(),
            Self::Resume(resume) => resume.run(),
            Self::Rm(rm) => rm.run(),
        }
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let contexts = Contexts::of(self.state.open()?).all()?;
        let output = Output::of_json("context ls", self.json);
        if output.is_json() {
            let listed: Vec<Value> = contexts.iter().map(line_json).collect();
            output.document(Map::from_iter([("contexts".to_owned(), listed.into())]))?;
        } else {
            output.text(&list_text(&contexts))?;
        }
        Ok(Code::Success)
    }
}

fn line_json(context: &Context) -> Value {
    json!({
        "vserver": context.order.host,
        "context_identifier": context.id(),
        "is_cleanup_pending": context.cleanup_pending,
    })
}

/// The list as filers print it.
fn list_text(contexts: &[Context]) -> String {
    let widest = contexts.iter().map(|context| context.order.host.len()).max();
    let width = widest.unwrap_or(0).max(11);
    let mut text = format!(
        "{:<width$} {:<36} Is Cleanup Pending?\n",
        "Vserver", "Context Identifier"
    );
    let dashes = |count| "-".repeat(count);
    text.push_str(&format!("{} {} {}\n", dashes(width), dashes(36), dashes(19)));
    for context in contexts {
        let line = format!(
            "{:<width$} {} {}\n",
            context.order.host,
            context.id(),
            context.cleanup_pending
        );
        text.push_str(&line);
    }
    let count = contexts.len();
    let entries = if count == 1 { "entry was" } else { "entries were" };
    text.push_str(&format!("{count} {entries} displayed.\n"));
    text
}

impl Show {
    fn run(self) -> Result<Code> {
        let contexts = Contexts::of(self.state.open()?);
        let context = contexts.get(&self.id)?;
        let busy = contexts.is_busy(&context)?;
        let updated = contexts.updated(&context)?.duration_since(UNIX_EPOCH);
        let facts = facts(&context, busy, updated.map_or(0, |updated| updated.as_secs()));
        let output = Output::of_json("context show", self.json);
        if output.is_json() {
            let body = facts.into_iter().map(|(label, value)| (key_of(label), value));
            output.document(body.collect())?;
        } else {
            output.text(&show_text(&facts))?;
        }
        Ok(Code::Success)
    }
}

fn show_text(facts: &[(&'static str, Value)]) -> String {
    let line = |(label, value): &(&str, Value)| match value {
        Value::String(text) => format!("{label}: {text}\n"),
        Value::Null => format!("{label}: -\n"),
        value => format!("{label}: {value}\n"),
    };
    facts.iter().map(line).collect()
}

/// A label as a key of JSON: `Is Context Busy?` as `is_context_busy`.
fn key_of(label: &str) -> String {
    label.replace([' ', '-'], "_").replace('?', "").to_lowercase()
}

/// What filers tell of a context, in their order.
fn facts(context: &Context, busy: bool, updated_s: u64) -> Vec<(&'static str, Value)> {
    let shown = |path: &Path| Value::from(path.display().to_string());
    let in_files = context.pass == RESTART_PASS;
    let state = match (context.cleanup_pending, in_files) {
        (true, _) => 9,
        (false, true) => 7,
        (false, false) => 3,
    };
    let volume = shown(&context.volume);
    let name = match context.order.label.as_str() {
        "none" => volume.clone(),
        label => label.into(),
    };
    let snapshot = context.snapshot.as_ref();
    vec![
        ("Vserver", context.order.host.clone().into()),
        ("Context Identifier", context.id().into()),
        ("Volume Name", volume),
        ("Is Cleanup Pending?", context.cleanup_pending.into()),
        ("Backup Engine Type", "dump".into()),
        (
            "Is Snapshot Copy Auto-created?",
            snapshot.is_some_and(|snapshot| snapshot.automatic).into(),
        ),
        ("Dump Path", context.order.path.clone().into()),
        ("Incremental Backup Level ID", context.order.level.into()),
        ("Dump Name", name),
        ("Context Last Updated Time", updated_s.into()),
        ("Has Offset Map?", (context.order.history && in_files).into()),
        ("Offset Verify", context.order.history.into()),
        (
            "Is Context Restartable?",
            context.hindrance(is_there(context)).is_none().into(),
        ),
        ("Is Context Busy?", busy.into()),
        ("Restart Pass", context.pass.into()),
        ("Status of Backup", if busy { 1 } else { 2 }.into()),
        (
            "Snapshot Copy Name",
            snapshot.map_or(Value::Null, |snapshot| snapshot.name.clone().into()),
        ),
        ("State of the Context", state.into()),
    ]
}

impl Resume {
    fn run(self) -> Result<Code> {
        let state = self.state.open()?;
        let _session = dumping::session(&*state)?;
        let mut keeper = Contexts::of(state.clone()).take(&self.id)?;
        self.add_tapes(&mut keeper)?;
        let mut dates = Dumpdates::open(state.clone())?;
        let there = is_there(keeper.context());
        let context = keeper.context().clone();
        let log = dumping::log_of(&*state, &context);
        log.tell("Start", &format!("Level {}, restart", context.order.level));
        let result = dumping::watched(&log, context.clone(), &mut |watch| {
            let arrays = arrays_of(&context)?;
            Ok(resume_with(&mut keeper, there, arrays, &mut dates, watch)?)
        });
        if let Err(error) = result {
            log.tell("Abort", &error.to_string());
            return Err(if is_refused(&error) {
                error
            } else {
                resumable(&error, &self.id)
            });
        }
        let summary = dumping::ended(keeper, &log, result)?;
        told(Output::of_json("context resume", self.json), &context.order, &summary)
    }
}

impl Resume {
    /// Adds tapes to those that the dump has.
    fn add_tapes(&self, keeper: &mut Keeper) -> Result<()> {
        let mut reels = keeper.context().reels.clone();
        for tape in &self.tapes {
            let directory = std::path::absolute(parent_of(tape))?;
            let name = tape.file_name().map(PathBuf::from);
            if !name.is_some_and(|name| reels.add(&directory, name)) {
                let message = format!("{}: the volumes of a set lie in one directory", tape.display());
                return Err(Failure::new(
                    Code::Usage,
                    message,
                    "a name beside those of the set, which no -M numbers",
                )
                .into());
            }
        }
        if reels != keeper.context().reels {
            keeper.change(|context| context.reels = reels)?;
        }
        Ok(())
    }
}

/// True where trying again would be refused again.
fn is_refused(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(Error::NotRestartable { .. } | Error::DamagedState { .. } | Error::Tape(tape::Error::Changed { .. }))
    )
}

impl Rm {
    fn run(self) -> Result<Code> {
        let contexts = Contexts::of(self.state.open()?);
        let mut keeper = contexts.take(&self.id)?;
        let loss = format!("the dump of {} could not go on any more", keeper.context().order.path);
        confirm(&loss, &self.id, self.yes)?;
        release(&mut keeper)?;
        keeper.remove()?;
        let facts = [("context", Cell::text(&self.id))];
        Output::of_json("context rm", self.json).done("removed", &facts)?;
        Ok(Code::Success)
    }
}

#[cfg(test)]
mod tests;
