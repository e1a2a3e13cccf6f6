//! `headstack restore`: a tree or parts of it back from tapes; what is on them; what differs.
//!
//! One mode of four has to be given, as with other programs of the name: list, whole chain, extract, compare.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{
    exit::{Code, Failure},
    output::{Cell, Column, FormOptions, Output, Table},
    reels::{TapesArgument, tell},
};
use crate::dump::{
    Trouble,
    reader::Reader,
    restore::{Catalogue, Destination, Restored, compare, extract, restore_chain},
};

const COLUMNS: &[Column] = &[Column::right("number", "NUMBER"), Column::left("path", "PATH")];

/// Bring a tree, or parts of it, back from tapes
///
/// It goes into the working directory, or into the one that -D names, and never outside it. Files that are there are
/// overwritten, directories are not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack restore -t -f full.tap
  headstack restore -r -f full.tap -D /srv/new
  headstack restore -r -s 2 -f full.tap -D /srv/new
      the second dump on the tape, on top of its base
  headstack restore -x -f full.tap etc/hosts
  headstack restore -C -f full.tap -D /srv/data")]
pub struct Arguments {
    #[command(flatten)]
    mode: Mode,
    #[command(flatten)]
    tapes: TapesArgument,
    /// Tape file that the dump is in, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    /// Directory that is restored into, or compared with
    #[arg(short = 'D', long, value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
    /// Objects to extract or list, as the listing names them; everything by default
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    form: FormOptions,
}

/// What is done with the dump.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one option a mode, of which the parser takes one"
)]
struct Mode {
    /// List what is on the tape
    #[arg(short = 't', long)]
    list: bool,
    /// Restore the whole dump on top of what the dumps before it left
    #[arg(short = 'r', long)]
    restore: bool,
    /// Extract the objects named, or all
    #[arg(short = 'x', long)]
    extract: bool,
    /// Compare the dump with what is there
    #[arg(short = 'C', long)]
    compare: bool,
}

impl Arguments {
    /// Does what the mode says.
    ///
    /// # Errors
    /// The engine's.
    pub fn run(self) -> Result<Code> {
        let wanted = self.wanted()?;
        let mut reader = self.tapes.reader(self.file)?;
        if self.mode.list {
            return self.list(&mut reader, &wanted);
        }
        let destination = Destination::open(&self.directory)?;
        if self.mode.compare {
            let found = compare(&mut reader, &destination)?;
            tell(&found);
            self.told(found.len() as u64, &found, "compared")?;
            return Ok(if found.is_empty() { Code::Success } else { Code::Failure });
        }
        if self.mode.restore && !wanted.is_empty() {
            return Err(Failure::new(Code::Usage, "-r restores the whole dump", "-x for single objects").into());
        }
        let Restored { objects, troubles, .. } = if self.mode.restore {
            restore_chain(&mut reader, &destination)?
        } else {
            extract(&mut reader, &destination, &wanted)?
        };
        let code = tell(&troubles);
        self.told(objects, &troubles, "restored")?;
        Ok(code)
    }

    fn told(&self, objects: u64, troubles: &[Trouble], done: &str) -> Result<()> {
        let facts = [
            ("objects", Cell::Number(objects)),
            ("troubles", Cell::Number(troubles.len() as u64)),
        ];
        let sentence = format!("{done}: {objects} objects, {} troubles", troubles.len());
        Output::new("restore", self.form).done(&sentence, &facts)
    }

    fn list(&self, reader: &mut Reader, wanted: &[PathBuf]) -> Result<Code> {
        let mut catalogue = Catalogue::read(reader)?;
        let mut table = Table::new(COLUMNS);
        for (path, target) in catalogue.list() {
            if wanted.is_empty() || wanted.iter().any(|wanted| path.starts_with(wanted)) {
                let path = if path.as_os_str().is_empty() {
                    ".".into()
                } else {
                    Path::new(".").join(path)
                };
                table.push(vec![Cell::Number(target.number.into()), Cell::path(&path)]);
            }
        }
        Output::new("restore", self.form).table("objects", &table)?;
        Ok(tell(&catalogue.troubles))
    }

    /// Paths as the tape has them: from the root of the tree.
    fn wanted(&self) -> Result<Vec<PathBuf>> {
        let clean = |path: &PathBuf| {
            let mut clean = PathBuf::new();
            for component in path.components() {
                match component {
                    Component::Normal(name) => clean.push(name),
                    Component::CurDir | Component::RootDir => {}
                    _ => {
                        let message = format!("{}: no path on a tape goes up", path.display());
                        return Err(Failure::new(Code::Usage, message, "a path as 'restore -t' lists it").into());
                    }
                }
            }
            Ok(clean)
        };
        self.paths.iter().map(clean).collect()
    }
}
