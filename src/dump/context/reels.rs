//! The tapes of a dump that is under way, as its context keeps them.
//!
//! They are the set that it was begun with, but for those that had no room, and whatever tapes it was given since to go on
//! with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    dump::error::{Error, Result},
    storage::HostDirectory,
    tape::{Container, Limits, Names, Volumes},
};

/// The tapes that a dump is written on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reels {
    #[serde(with = "super::path")]
    directory: PathBuf,
    #[serde(with = "super::path::list")]
    names: Vec<PathBuf>,
    /// True where the one name is a prefix.
    numbered: bool,
    flat: bool,
    record_bytes: usize,
    capacity_bytes: Option<u64>,
    early_warning_bytes: u64,
}

impl Reels {
    /// The tapes of a set.
    #[must_use]
    pub fn of(volumes: &Volumes) -> Self {
        let directory = volumes.directory.path();
        let (names, numbered) = match &volumes.names {
            Names::Listed(names) => (names.clone(), false),
            Names::Numbered(prefix) => (vec![prefix.clone()], true),
            // Whoever wrote to a pipe cannot go on.
            Names::Piped(_) => (Vec::new(), false),
        };
        Self {
            directory: std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf()),
            names,
            numbered,
            flat: volumes.container == Container::Flat,
            record_bytes: volumes.record_bytes,
            capacity_bytes: volumes.limits.capacity_bytes,
            early_warning_bytes: volumes.limits.early_warning_bytes,
        }
    }

    /// Adds a volume behind those that there are, unless it is one of them. False where it lies in another directory, or the set
    /// has a prefix and numbers.
    pub fn add(&mut self, directory: &Path, name: PathBuf) -> bool {
        if self.numbered || *directory != self.directory {
            return false;
        }
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        true
    }

    /// The set again.
    ///
    /// # Errors
    /// [`Error::State`] where its directory cannot be opened.
    pub fn volumes(&self) -> Result<Volumes> {
        let directory = HostDirectory::open(&self.directory).map_err(|source| Error::State {
            path: self.directory.clone(),
            source,
        })?;
        let first = self.names.first().cloned().unwrap_or_default();
        Ok(Volumes {
            directory: Arc::new(directory),
            names: if self.numbered {
                Names::Numbered(first)
            } else {
                Names::Listed(self.names.clone())
            },
            container: if self.flat { Container::Flat } else { Container::Tap },
            record_bytes: self.record_bytes,
            limits: Limits {
                capacity_bytes: self.capacity_bytes,
                early_warning_bytes: self.early_warning_bytes,
            },
        })
    }
}
