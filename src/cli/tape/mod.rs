//! `headstack tape ..`: making, moving, listing, checking and copying tapes.
//!
//! A tape keeps its place between commands, as a drive does; what is remembered of it lies in the state directory. What
//! moves it is in `moves.rs`, what looks at it in `look.rs`, what copies it in `copy.rs`.

mod catalog;
mod copy;
mod look;
mod mount;
mod moves;
mod salvage;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::{
    arguments::size,
    exit::Code,
    output::{Cell, JsonOption, Output},
    reels::{StateArgument, absolute, beside, parent_of},
};
use crate::{
    storage::{Access, HostDirectory},
    tape::{BlockRead as _, Error, Limits, TapImage, remembered::Memory},
};

/// Verbs on tapes.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Create),
    Status(look::Status),
    Ls(look::Ls),
    Verify(look::Verify),
    Salvage(salvage::Salvage),
    Catalogue(catalog::Catalogue),
    Find(catalog::Find),
    History(catalog::History),
    Mount(mount::Mount),
    /// Go to the beginning of the tape
    #[command(after_help = "\
Examples:
  headstack tape rewind full.tap")]
    Rewind(moves::Plain),
    /// Go forward behind N tape marks
    #[command(after_help = "\
Examples:
  headstack tape fsf full.tap
  headstack tape fsf full.tap 2")]
    Fsf(moves::Counted),
    /// Go backward before N tape marks
    #[command(after_help = "\
Examples:
  headstack tape bsf full.tap")]
    Bsf(moves::Counted),
    /// Go forward over N records
    #[command(after_help = "\
Examples:
  headstack tape fsr full.tap 10")]
    Fsr(moves::Counted),
    /// Go backward over N records
    #[command(after_help = "\
Examples:
  headstack tape bsr full.tap 10")]
    Bsr(moves::Counted),
    /// Go to the end of data, where the next dump goes
    #[command(after_help = "\
Examples:
  headstack tape eod full.tap")]
    Eod(moves::Plain),
    Erase(moves::Erase),
    Protect(moves::Protect),
    Import(copy::Import),
    Export(copy::Export),
}

/// Make an empty tape
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape create full.tap
  headstack tape create small.tap --capacity 100M
      a medium that ends, for dumps over several volumes")]
pub struct Create {
    #[command(flatten)]
    tape: TapeArgument,
    /// Length of the medium; without end by default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    capacity: Option<u64>,
    /// Room left at which a dump goes to the next volume
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1M")]
    early_warning: u64,
    #[command(flatten)]
    json: JsonOption,
}

/// The tape that a verb works on.
#[derive(Debug, Clone, Args)]
pub struct TapeArgument {
    /// Tape image
    #[arg(value_name = "TAPE", value_hint = clap::ValueHint::FilePath)]
    tape: PathBuf,
    #[command(flatten)]
    state: StateArgument,
}

/// A drive for another program: a tape that it opened, and what is remembered of it.
pub struct Drive {
    /// The tape.
    pub image: TapImage,
    /// True once the tape gave early warning.
    pub warned: bool,
    memory: Memory,
    key: String,
}

impl Drive {
    /// Puts a tape into the drive, where it stood; one that is written is made where it is not there.
    ///
    /// # Errors
    /// The tape's, among them that it is write-protected.
    pub fn open(tape: PathBuf, state: &StateArgument, writes: bool) -> Result<Self> {
        let argument = TapeArgument {
            tape,
            state: state.clone(),
        };
        if writes && !argument.tape.exists() {
            TapImage::create(&argument.directory()?, argument.name(), Limits::default())?;
        }
        let access = if writes { Access::ReadWrite } else { Access::Read };
        let Mounted { image, memory, key } = argument.mount(access)?;
        Ok(Self {
            image,
            warned: false,
            memory,
            key,
        })
    }

    /// Remembers where the tape stands.
    ///
    /// # Errors
    /// It cannot be remembered.
    pub fn keep(self) -> Result<()> {
        let Self { image, memory, key, .. } = self;
        Mounted { image, memory, key }.keep().map(drop)
    }
}

/// A tape in its drive, and what is remembered of it.
struct Mounted {
    image: TapImage,
    memory: Memory,
    key: String,
}

impl TapeArgument {
    fn name(&self) -> &Path {
        self.tape.file_name().map_or(Path::new(""), Path::new)
    }

    fn directory(&self) -> Result<HostDirectory> {
        let parent = parent_of(&self.tape);
        HostDirectory::open(&parent).with_context(|| parent.display().to_string())
    }

    /// Puts the tape into a drive, where it stood.
    fn mount(&self, access: Access) -> Result<Mounted> {
        let memory = self.state.memory()?;
        let key = absolute(&self.tape)?;
        let remembered = memory.of(&key);
        if access == Access::ReadWrite && remembered.write_protected {
            return Err(Error::WriteProtected {
                path: self.tape.clone(),
            }
            .into());
        }
        let opened = TapImage::open(&self.directory()?, self.name(), access, remembered.limits());
        let mut image = beside(&self.tape, opened)?;
        // A tape that became shorter was written by somebody else; it stands at its beginning.
        if image.seek(remembered.position()).is_err() {
            image.rewind()?;
        }
        Ok(Mounted { image, memory, key })
    }
}

impl Mounted {
    /// Remembers where the tape stands.
    fn keep(mut self) -> Result<TapImage> {
        let remembered = self.memory.of(&self.key).at(self.image.position());
        self.memory.set(&self.key, remembered)?;
        Ok(self.image)
    }
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Create(create) => create.run(),
            Self::Status(status) => status.run(),
            Self::Ls(ls) => ls.run(),
            Self::Verify(verify) => verify.run(),
            Self::Salvage(salvage) => salvage.run(),
            Self::Catalogue(catalogue) => catalogue.run(),
            Self::Find(find) => find.run(),
            Self::History(history) => history.run(),
            Self::Mount(mount) => mount.run(),
            Self::Rewind(plain) => plain.run("tape rewind", TapImage::rewind),
            Self::Fsf(counted) => counted.run("tape fsf", TapImage::forward_files),
            Self::Bsf(counted) => counted.run("tape bsf", TapImage::backward_files),
            Self::Fsr(counted) => counted.run("tape fsr", TapImage::forward_records),
            Self::Bsr(counted) => counted.run("tape bsr", TapImage::backward_records),
            Self::Eod(plain) => plain.run("tape eod", TapImage::to_end_of_data),
            Self::Erase(erase) => erase.run(),
            Self::Protect(protect) => protect.run(),
            Self::Import(import) => import.run(),
            Self::Export(export) => export.run(),
        }
    }
}

impl Create {
    fn run(self) -> Result<Code> {
        let directory = self.tape.directory()?;
        let limits = Limits {
            capacity_bytes: self.capacity,
            early_warning_bytes: if self.capacity.is_some() { self.early_warning } else { 0 },
        };
        beside(&self.tape.tape, TapImage::create(&directory, self.tape.name(), limits))?;
        let mut memory = self.tape.state.memory()?;
        let key = absolute(&self.tape.tape)?;
        let mut remembered = crate::tape::remembered::Remembered::default();
        remembered.capacity_bytes = limits.capacity_bytes;
        remembered.early_warning_bytes = limits.early_warning_bytes;
        memory.set(&key, remembered)?;
        let facts = [("tape", Cell::path(&self.tape.tape))];
        let sentence = format!("made the tape {}", self.tape.tape.display());
        Output::of_json("tape create", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }
}
