//! The catalogue: which dumps there are, on which tapes, and which of them has a file. No tape is needed to ask it.
//!
//! Dumps note themselves; what others wrote, or what was lost, is noted by reading the tape. It lies in the state directory, where `restore -x` looks too, so that single files need no reading of the whole tape.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    cli::{
        dump::time_of,
        exit::{Code, Failure},
        output::{Cell, Column, FormOptions, JsonOption, Output, Table},
        reels::{StateArgument, TapesArgument, host, tell},
    },
    dump::catalog::{Catalog, Entry, Noted, scan},
    storage::Directory,
};

const FOUND: &[Column] = &[
    Column::left("tape", "TAPE"),
    Column::right("file", "FILE"),
    Column::right("level", "LEVEL"),
    Column::left("date", "DATE"),
    Column::right("number", "NUMBER"),
    Column::left("path", "PATH"),
];

const DUMPS: &[Column] = &[
    Column::left("tape", "TAPE"),
    Column::right("file", "FILE"),
    Column::right("level", "LEVEL"),
    Column::left("date", "DATE"),
    Column::left("base", "BASE"),
    Column::right("objects", "OBJECTS"),
    Column::right("partial", "PARTIAL"),
    Column::left("path", "PATH"),
];

/// Note what is on a tape and where, so that files are found without it
///
/// Dumps made here are noted as they are made. For others, or where the state directory is lost, the whole tape is read once. -A and -Q also write what stock restore takes with the same options.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape catalogue -f full.tap
  headstack tape catalogue -f full.tap -s 2
  headstack tape catalogue -f data.dump -A data.toc -Q data.qfa
      restore -x -f data.dump -Q data.qfa many/f7")]
pub struct Catalogue {
    #[command(flatten)]
    tapes: TapesArgument,
    /// Tape file that the dump is in, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    /// Also write the table of contents, as stock dump -A does
    #[arg(short = 'A', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    contents: Option<PathBuf>,
    /// Also write where files lie, as stock dump -Q does
    #[arg(short = 'Q', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    places: Option<PathBuf>,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

/// Find files in the catalogue: which tapes have them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape find hosts
      every dump with a file whose path has this text in it
  headstack tape find ./etc/hosts
      of this very path, and all under it")]
pub struct Find {
    /// Text in the path, or with ./ before it a path from the root of the tree
    #[arg(value_name = "TEXT")]
    text: PathBuf,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    form: FormOptions,
}

/// List the dumps in the catalogue, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape history")]
pub struct History {
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    form: FormOptions,
}

/// The catalogue of a state directory.
fn open(state: &StateArgument) -> Result<Catalog> {
    Ok(Catalog::new(state.open()?))
}

impl Catalogue {
    pub(super) fn run(self) -> Result<Code> {
        let mut reader = self.tapes.reader(self.file)?.copying();
        let scanned = scan(&mut reader)?;
        let code = tell(&scanned.troubles);
        let noted = Noted {
            entry: Entry::of(reader.label(), reader.tapes(), self.file, scanned.objects),
            contents: scanned.contents,
            places: scanned.places,
        };
        open(&self.state)?.add(&noted)?;
        let (entry, places) = (&noted.entry, noted.places.encode());
        for (path, bytes) in [
            (&self.contents, noted.contents.as_slice()),
            (&self.places, places.as_bytes()),
        ] {
            if let Some(path) = path {
                write(path, bytes)?;
            }
        }
        let facts = [
            ("key", Cell::text(&entry.key)),
            ("objects", Cell::Number(entry.objects)),
        ];
        let sentence = format!("noted {} objects", entry.objects);
        Output::of_json("tape catalogue", self.json).done(&sentence, &facts)?;
        Ok(code)
    }
}

/// Writes a file in one step.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let (directory, name) = host(path)?;
    directory
        .replace(name, bytes)
        .with_context(|| path.display().to_string())
}

/// Tapes of a dump as one text.
fn tapes_of(entry: &Entry) -> Cell {
    Cell::text(entry.tapes.join(", "))
}

impl Find {
    pub(super) fn run(self) -> Result<Code> {
        let mut table = Table::new(FOUND);
        let unknown = open(&self.state)?.find(&self.text, &mut |found| {
            table.push(vec![
                tapes_of(found.entry),
                Cell::Number(found.entry.file.into()),
                Cell::Number(u64::try_from(found.entry.level).unwrap_or(0)),
                Cell::Time(time_of(found.entry.date_s)),
                Cell::Number(found.number.into()),
                Cell::path(&Path::new(".").join(found.path)),
            ]);
            ControlFlow::Continue(())
        })?;
        for key in unknown {
            log::warn!("{key}: its table of contents is missing; make it again with 'headstack tape catalogue'");
        }
        if table.is_empty() {
            let message = format!("{}: no dump in the catalogue has it", self.text.display());
            let remedy = "'headstack tape history' for the dumps it knows";
            return Err(Failure::new(Code::NotFound, message, remedy).into());
        }
        Output::new("tape find", self.form).table("found", &table)?;
        Ok(Code::Success)
    }
}

impl History {
    pub(super) fn run(self) -> Result<Code> {
        let mut table = Table::new(DUMPS);
        let output = Output::new("tape history", self.form);
        for entry in open(&self.state)?.entries()? {
            let base = if entry.base_s == 0 {
                Cell::None
            } else {
                Cell::Time(time_of(entry.base_s))
            };
            let partial = if output.is_json() {
                Cell::Json(serde_json::to_value(&entry.partial)?)
            } else {
                Cell::Number(entry.partial.len() as u64)
            };
            table.push(vec![
                tapes_of(&entry),
                Cell::Number(entry.file.into()),
                Cell::Number(u64::try_from(entry.level).unwrap_or(0)),
                Cell::Time(time_of(entry.date_s)),
                base,
                Cell::Number(entry.objects),
                partial,
                Cell::text(&entry.path),
            ]);
        }
        output.table("dumps", &table)?;
        Ok(Code::Success)
    }
}
