//! What a restore is told of its target, by `restore` and by `copy`: what it overwrites, renames and takes.
//!
//! `FORCE` and `EXTRACT` are what backup applications set in the environment, and are read as they are there; an option on the
//! line goes before them.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{
    dump::variables::is_yes,
    exit::{Code, Failure},
};
use crate::{
    controller::{
        Store,
        images::{is_part, looked_at, taker},
    },
    dump::{
        images::EPOCH,
        restore::{Destination, Terms},
    },
};

/// What a restore is told of its target.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// Restore as much as fits without checking the room beforehand; also FORCE=Y in the environment
    #[arg(long)]
    force: bool,
    /// Restore OLD as NEW, both from the root; needs --extract-as E where all of the dump is read
    #[arg(long, value_name = "OLD=NEW", value_parser = rename)]
    rename: Vec<(PathBuf, PathBuf)>,
    /// Y or N, or E where objects may be renamed; also EXTRACT in the environment
    #[arg(long = "extract-as", value_name = "Y|N|E")]
    extract_as: Option<String>,
    /// Leave out access control lists of more than N entries; permissions stand for them
    #[arg(long, value_name = "N")]
    ace_limit: Option<usize>,
    /// Security style of the target: unix gives what has permissions of Windows default ones (644, directories 755), ntfs keeps
    /// all as it was
    #[arg(long, value_name = "STYLE", value_parser = ["unix", "ntfs"], default_value = "ntfs")]
    style: String,
    /// The target is of an old release: arrays become files, and series whose names are not ASCII ordinary directories
    #[arg(long)]
    classic: bool,
    /// Restore no more than what an earlier release knows: before 2 arrays and alignments were not known
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(EPOCH)))]
    target_epoch: Option<u8>,
    /// Keep everybody else away from each series of a mounted database while it is restored: their reads and writes fail as
    /// busy. From arrays of a store they are kept away in any case
    #[arg(long)]
    live: bool,
}

/// A path and its new name, both cleaned as paths of the tape are.
fn rename(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (old, new) = text.split_once('=').ok_or("OLD=NEW is needed")?;
    let clean = |path: &str| cleaned(path.as_ref()).ok_or_else(|| format!("{path}: no path on a tape goes up"));
    let (old, new) = (clean(old)?, clean(new)?);
    if old.as_os_str().is_empty() || new.as_os_str().is_empty() {
        return Err("the root cannot be renamed".into());
    }
    Ok((old, new))
}

/// What the environment says, where it says anything.
fn said(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl TargetOptions {
    /// Gives a destination what was asked for.
    ///
    /// # Errors
    /// Words that make no sense, and a renaming without leave.
    pub fn onto(&self, destination: Destination, direct: bool) -> Result<Destination> {
        let force = match said("FORCE") {
            Some(value) if !self.force => is_yes("FORCE", &value)?,
            _ => self.force,
        };
        let extract = self.extract_as.clone().or_else(|| said("EXTRACT"));
        let renames = extract.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("e"));
        if let Some(value) = extract.filter(|_| !renames) {
            is_yes("EXTRACT", &value)?;
        }
        if !self.rename.is_empty() && !renames && !direct {
            let message = "renaming while the whole tape is read needs EXTRACT=E";
            let remedy = "'--extract-as E', or 'headstack tape catalogue' of the tape first";
            return Err(Failure::new(Code::Usage, message, remedy).into());
        }
        if self.live && !destination.is_store() {
            let path = destination.path().display();
            let message = format!("{path}: from files that are in no mounted database nobody can be kept away");
            return Err(Failure::new(Code::Usage, message, "the mount of a database, or without --live").into());
        }
        let store = Store::open(destination.path()).ok();
        let destination = destination.forced(force).renaming(self.rename.clone()).on(Terms {
            list_limit: self.ace_limit,
            unix_style: self.style == "unix",
            classic: self.classic,
            epoch: self.target_epoch,
            live: self.live,
        });
        Ok(match store.filter(|_| !self.classic) {
            Some(store) => destination.taking_images(taker(store.clone()), is_part(store)),
            None => destination,
        })
    }

    /// Lets arrays be compared with those of the store that the destination is.
    ///
    /// # Errors
    /// Its disks cannot be read.
    pub fn against(&self, destination: Destination) -> Result<Destination> {
        Ok(match Store::open(destination.path()) {
            Ok(store) => destination.against(looked_at(&store)?),
            Err(_) => destination,
        })
    }

    /// True where something is renamed.
    pub fn renames(&self) -> bool {
        !self.rename.is_empty()
    }
}

/// A path from the root of a tree; none where it goes up.
pub fn cleaned(path: &Path) -> Option<PathBuf> {
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
