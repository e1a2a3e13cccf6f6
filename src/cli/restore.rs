//! `headstack restore`: a tree or parts of it back from tapes; what is on them; what differs.
//!
//! One mode has to be given, as with other programs of the name: list, whole chain, extract, look around, compare.

mod interactive;
mod options;
mod plan;
mod whole;

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    dumping,
    exit::{Code, Failure},
    output::{Cell, Column, FormOptions, Output, Progress, Table, Unit},
    reels::{StateArgument, TapesArgument, host, tell},
};
use crate::{
    dump::{
        Trouble,
        catalog::{Catalog, Places, contents, key_of},
        reader::Reader,
        restore::{Catalogue, Choice, Destination, Restored, compare, extract, extract_placed, restore_chain},
    },
    mount::kernel::mounted_at,
    storage::{Directory as _, HostDirectory, SimDirectory},
};

/// What a database has that is mounted.
const LOCK: &str = ".headstack.lock";

const COLUMNS: &[Column] = &[Column::right("number", "NUMBER"), Column::left("path", "PATH")];

/// Bring a tree, or parts of it, back from tapes
///
/// It goes into the working directory, or into the one that -D names, and never outside it. Files that are there are
/// overwritten, directories are not. In a store arrays/NAME.img is written into the array of that identity or name, which
/// nobody else has meanwhile, or into one that is made of free disks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack restore -t -f full.tap
  headstack restore -r -f full.tap -D /srv/new
  headstack restore -r -s 2 -f full.tap -D /srv/new
      the second dump on the tape, on top of its base
  headstack restore -x -f full.tap etc/hosts
  headstack restore -r --dry-run -f full.tap -D /srv/new
      what it needs, and what is missing
  headstack restore -x -f full.tap --rename etc/hosts=etc/hosts.old --extract-as E etc/hosts
  headstack restore -i -f full.tap
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
    /// Table of contents of the dump, as stock dump -A writes it; what the catalogue has by default
    #[arg(short = 'A', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    contents: Option<PathBuf>,
    /// Where the files of the dump lie, as stock dump -Q writes it; what the catalogue has by default
    #[arg(short = 'Q', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    places: Option<PathBuf>,
    #[command(flatten)]
    options: options::Options,
    #[command(flatten)]
    state: StateArgument,
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
    /// Look around in the dump, mark what is wanted, extract it
    #[arg(short = 'i', long)]
    interactive: bool,
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
        self.options.check_factor(reader.label().factor)?;
        if self.mode.list {
            return self.list(&mut reader, &wanted);
        }
        if self.mode.restore && (self.options.renames() || !wanted.is_empty()) {
            let remedy = "-x for single objects and other names";
            return Err(Failure::new(Code::Usage, "-r restores the whole dump as it is", remedy).into());
        }
        let choice = Choice::of(&wanted);
        let direct = self.mode.extract && !choice.is_all() && self.known(&reader)?.is_some();
        let destination = self.options.onto(self.destination()?, direct)?;
        if let Some(look) = self.options.dry_run {
            return plan::tell_plan(&mut reader, &destination, &choice, self.mode.restore, look, self.form);
        }
        let state = self.state.existing();
        let _session = match &state {
            Some(state) if !self.mode.compare => Some(dumping::session(&**state)?),
            _ => None,
        };
        if !self.mode.compare {
            destination.claim()?;
        }
        if self.mode.interactive {
            let names = self.names(&mut reader)?;
            let mut take = |reader: &mut Reader, choice: &Choice| self.extract(reader, &destination, choice);
            return interactive::run(&mut reader, names, self.form, &mut take);
        }
        if self.mode.compare {
            let found = compare(&mut reader, &destination)?;
            let code = tell(&found);
            self.told(found.len() as u64, &found, "compared")?;
            // What the tape has lost weighs more than what differs.
            return Ok(match code {
                Code::Success if !found.is_empty() => Code::Failure,
                code => code,
            });
        }
        let mut progress = Progress::new("restore", Unit::Bytes, reader.most_bytes(), false);
        let mut reader = reader.telling(move |passed_bytes| progress.reach(passed_bytes));
        let Restored { objects, troubles, .. } = if self.mode.restore {
            restore_chain(&mut reader, &destination)?
        } else {
            self.extract(&mut reader, &destination, &choice)?
        };
        let missing = |path: &&PathBuf| troubles.iter().any(|trouble| trouble.path == **path);
        let missing: Vec<&PathBuf> = wanted.iter().filter(missing).collect();
        if !missing.is_empty() {
            let mut names = self.names(&mut self.tapes.reader(self.file)?)?;
            whole::refuse_parts(&mut names, &missing)?;
        }
        let code = tell(&troubles);
        self.told(objects, &troubles, "restored")?;
        Ok(code)
    }

    /// The directory that is restored into; of a mounted database with where it is kept.
    fn destination(&self) -> Result<Destination> {
        let destination = Destination::open(&self.directory)?;
        if !destination.is_store() {
            return Ok(destination);
        }
        let mount = self.directory.canonicalize().ok().and_then(|path| mounted_at(&path));
        let database = mount.and_then(|mount| HostDirectory::open(Path::new(&mount.source)).ok());
        // A mount may be given any name for what is mounted.
        let database = database.filter(|directory| directory.stat(Path::new(LOCK)).is_ok());
        Ok(match database {
            Some(directory) => destination.of_database(Arc::new(directory)),
            None => destination,
        })
    }

    /// Extracts objects, from where they lie if that is known.
    fn extract(&self, reader: &mut Reader, destination: &Destination, choice: &Choice) -> Result<Restored> {
        let known = if choice.is_all() { None } else { self.known(reader)? };
        Ok(match known {
            Some((mut contents, places)) => extract_placed(&mut contents, reader, &places, destination, choice)?,
            None => extract(reader, destination, choice)?,
        })
    }

    /// What stands before the files of the dump.
    fn names(&self, reader: &mut Reader) -> Result<Catalogue> {
        Ok(match self.known(reader)? {
            Some((mut contents, _)) => Catalogue::read(&mut contents)?,
            None => Catalogue::read(reader)?,
        })
    }

    /// The names of the dump and where its files lie, if both are known.
    fn known(&self, reader: &Reader) -> Result<Option<(Reader, Places)>> {
        let key = key_of(reader.label());
        let catalog = self.catalog(reader, &key)?;
        let listed = match &self.contents {
            Some(path) => {
                let (directory, name) = host(path)?;
                Some(contents(Arc::new(directory), name.to_path_buf())?)
            }
            None => catalog.contents(&key),
        };
        let places = match &self.places {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                let places = Places::decode(&text).ok_or_else(|| {
                    let message = format!("{}: it does not say where files lie", path.display());
                    Failure::new(
                        Code::Corrupt,
                        message,
                        "a file that dump -Q or 'headstack tape catalogue -Q' wrote",
                    )
                })?;
                Some(places)
            }
            None => catalog.places(&key),
        };
        Ok(listed.zip(places))
    }

    /// The catalogue if it has a dump, or else what the tape says of itself.
    fn catalog(&self, reader: &Reader, key: &str) -> Result<Catalog> {
        let known = self.state.existing().map(|directory| Catalog::new(directory));
        if let Some(known) = known.filter(|catalog| catalog.has(key)) {
            return Ok(known);
        }
        let catalog = Catalog::new(Arc::new(SimDirectory::new()));
        for noted in reader.catalogue()? {
            catalog.add(&noted)?;
        }
        Ok(catalog)
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
        let mut catalogue = self.names(reader)?;
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
            cleaned(path).ok_or_else(|| {
                let message = format!("{}: no path on a tape goes up", path.display());
                Failure::new(Code::Usage, message, "a path as 'restore -t' lists it").into()
            })
        };
        self.paths.iter().map(clean).collect()
    }
}

/// A path from the root of a tree; none where it goes up.
fn cleaned(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}
