//! Arguments that verbs on tapes share: which tapes, which tape file, and where is remembered what was done.
//!
//! A set of volumes is `-f` once for each, or one prefix with `-M`. All of them lie in one directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;

use super::exit::{Code, Failure};
use crate::{
    dump::{Error, Lost, Trouble, reader::Reader},
    storage::HostDirectory,
    tape::{self, Container, Limits, Names, Volumes, remembered::Memory},
};

/// Where is remembered what outlives a command.
#[derive(Debug, Clone, Args)]
pub struct StateArgument {
    /// Directory of dump dates, tape positions and the catalogue; $XDG_STATE_HOME/headstack by default
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state: Option<PathBuf>,
}

impl StateArgument {
    /// Opens the directory, which is made where it is missing.
    ///
    /// # Errors
    /// It cannot be made, or there is no home to make it in.
    pub fn open(&self) -> Result<Arc<HostDirectory>> {
        let path = match &self.state {
            Some(path) => path.clone(),
            None => default_state().ok_or_else(|| {
                let message = "neither XDG_STATE_HOME nor HOME says where to remember dumps";
                Failure::new(Code::Usage, message, "--state DIR")
            })?,
        };
        let place = || path.display().to_string();
        std::fs::create_dir_all(&path).with_context(place)?;
        Ok(Arc::new(HostDirectory::open(&path).with_context(place)?))
    }

    /// Gives another run of this program the same directory.
    pub fn pass_on(&self, command: &mut Command) {
        if let Some(path) = &self.state {
            command.arg("--state").arg(path);
        }
    }

    /// Opens the directory if it is there.
    pub fn existing(&self) -> Option<Arc<HostDirectory>> {
        let path = self.state.clone().or_else(default_state)?;
        Some(Arc::new(HostDirectory::open(&path).ok()?))
    }

    /// What is remembered of tapes.
    ///
    /// # Errors
    /// As [`StateArgument::open`], or it cannot be read.
    pub fn memory(&self) -> Result<Memory> {
        Ok(Memory::open(self.open()?)?)
    }
}

fn default_state() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("headstack"))
}

/// The tapes of a set.
#[derive(Debug, Clone, Args)]
pub struct TapesArgument {
    /// Tape; once for each volume of a set, in order
    #[arg(short = 'f', long = "file", value_name = "TAPE", required = true, value_hint = clap::ValueHint::FilePath)]
    tapes: Vec<PathBuf>,
    /// TAPE is a prefix: the volumes are TAPE001, TAPE002 and so on
    #[arg(short = 'M', long)]
    multi: bool,
}

impl TapesArgument {
    /// The first tape, as it was given.
    pub fn first(&self) -> &Path {
        self.tapes.first().map_or(Path::new(""), |path| path)
    }

    /// Gives another run of this program the same tapes.
    pub fn pass_on(&self, command: &mut Command) {
        for tape in &self.tapes {
            command.arg("-f").arg(tape);
        }
        command.args(self.multi.then_some("-M"));
    }

    /// The set, whose new volumes take `limits`.
    ///
    /// # Errors
    /// The tapes lie in several directories, or in none that exists.
    pub fn volumes(&self, container: Container, factor: u32, limits: Limits) -> Result<Volumes> {
        if self.tapes.iter().any(|tape| tape == Path::new("-")) {
            let remedy = "'./-' for a file of that name, 'headstack copy' for no tape at all";
            return Err(Failure::new(
                Code::Usage,
                "-: a tape is a file, and no stream is read or written",
                remedy,
            )
            .into());
        }
        let mut names = Vec::new();
        let parent = parent_of(self.first());
        for tape in &self.tapes {
            let name = tape.file_name().filter(|_| parent_of(tape) == parent);
            let name = name.ok_or_else(|| {
                let message = format!("{}: the volumes of a set lie in one directory", tape.display());
                Failure::new(Code::Usage, message, "names of files in one directory")
            })?;
            names.push(PathBuf::from(name));
        }
        let names = match (self.multi, names.as_slice()) {
            (false, _) => Names::Listed(names),
            (true, [prefix]) => Names::Numbered(prefix.clone()),
            (true, _) => return Err(Failure::new(Code::Usage, "-M takes one prefix", "one -f").into()),
        };
        let directory = HostDirectory::open(&parent).with_context(|| parent.display().to_string())?;
        Ok(Volumes {
            directory: Arc::new(directory),
            names,
            container,
            record_bytes: factor as usize * 1024,
            limits,
        })
    }

    /// Opens the dump in a tape file, counted from 1.
    ///
    /// # Errors
    /// As [`TapesArgument::volumes`] and [`Reader::open`].
    pub fn reader(&self, file: u32) -> Result<Reader> {
        let volumes = self.volumes(Container::Tap, READ_FACTOR, Limits::default())?;
        match Reader::open(volumes, file.saturating_sub(1)) {
            Err(Error::Tape(tape::Error::OutOfTape { .. })) => {
                let message = format!("{}: there is no tape file {file}", self.first().display());
                Err(Failure::new(Code::NotFound, message, "'headstack tape ls' for what is on it").into())
            }
            opened => beside(self.first(), opened),
        }
    }
}

/// Blocking factor that streams are read with, whatever they were written with.
const READ_FACTOR: u32 = 256;

/// Directory of a tape.
pub fn parent_of(tape: &Path) -> PathBuf {
    let parent = tape.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_path_buf()
}

/// Names the directory of a tape in what went wrong with it, unless that is the working directory.
///
/// # Errors
/// What went wrong.
pub fn beside<T>(tape: &Path, result: Result<T, impl Into<anyhow::Error>>) -> Result<T> {
    result.map_err(|error| match (parent_of(tape), error.into()) {
        (parent, error) if parent == Path::new(".") => error,
        (parent, error) => error.context(parent.display().to_string()),
    })
}

/// The directory that a file is in, and its name there.
///
/// # Errors
/// The directory cannot be opened.
pub fn host(path: &Path) -> Result<(HostDirectory, &Path)> {
    let parent = parent_of(path);
    let directory = HostDirectory::open(&parent).with_context(|| parent.display().to_string())?;
    let name = path.file_name().map_or(Path::new(""), Path::new);
    Ok((directory, name))
}

/// The absolute path by which something is remembered.
///
/// # Errors
/// There is no working directory.
pub fn absolute(path: &Path) -> Result<String> {
    let absolute = match path.canonicalize() {
        Ok(path) => path,
        Err(_) => std::path::absolute(path).with_context(|| path.display().to_string())?,
    };
    Ok(absolute.to_string_lossy().into_owned())
}

/// Losses as a document has them: paths, and stretches in bytes; none where all of an object is lost.
pub fn lost_json(lost: &[Lost]) -> serde_json::Value {
    let one = |lost: &Lost| {
        let ranges: Vec<[u64; 2]> = lost.ranges.iter().map(|range| [range.start, range.end]).collect();
        serde_json::json!({"path": lost.path.to_string_lossy(), "ranges": ranges})
    };
    lost.iter().map(one).collect()
}

/// Tells what befell single objects; the code says whether anything is lost.
pub fn tell(troubles: &[Trouble]) -> Code {
    for trouble in troubles {
        let path = if trouble.path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &trouble.path
        };
        log::warn!("{}: {}", path.display(), trouble.what);
    }
    if troubles.iter().any(|trouble| trouble.loss) {
        Code::Io
    } else {
        Code::Success
    }
}
