//! Looks for all damage of a database; changes nothing.
//!
//! Every chunk of every series is read as a whole: header, count, first timestamp against its name, order of all
//! timestamps, order of the chunks, stray names, metadata, and for variable-length series that every value has all its
//! parts. A last chunk that a crash left behind is reported with what opening it for writing will do.

use std::path::{Path, PathBuf};

use super::{
    Damage, Database, Error, Kind, Result, SeriesKey, Timestamp,
    chunk::{format::Layout, verify},
    database::path_of,
    metadata::{SeriesMetadata, varlen_parameters},
    part::{list_chunks, read_metadata},
    varlen::{count_parts, incomplete, part_directory},
};
use crate::storage::Access;

/// One wound that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose.
    pub series: SeriesKey,
    /// The file, absolute.
    pub path: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
}

impl Database {
    /// Checks one series, or all; returns all that is wrong.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`] for a series that is not there, [`Error::Io`] where files cannot be read.
    pub fn check(&self, only: Option<&SeriesKey>) -> Result<Vec<Finding>> {
        let keys = match only {
            Some(key) => {
                self.id(key)?;
                vec![key.clone()]
            }
            None => self.keys()?,
        };
        let mut findings = Vec::new();
        for key in keys {
            let mut check = Check {
                database: self,
                key: &key,
                findings: &mut findings,
            };
            check.series()?;
        }
        Ok(findings)
    }
}

struct Check<'a> {
    database: &'a Database,
    key: &'a SeriesKey,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    fn found(&mut self, path: PathBuf, damage: Damage) {
        self.findings.push(Finding {
            series: self.key.clone(),
            path,
            damage,
        });
    }

    /// Notes damage and goes on; other failures end the check.
    fn noted<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Error::Damaged { path, damage }) => {
                self.found(path, damage);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn series(&mut self) -> Result<()> {
        let path = path_of(self.key);
        match self.key.kind {
            Kind::Fixed => self.part(&path).map(drop),
            Kind::Varlen => self.varlen(&path),
        }
    }

    fn varlen(&mut self, path: &Path) -> Result<()> {
        let context = &self.database.context;
        let root = path.join(part_directory(0));
        let before = self.findings.len();
        if let Some(metadata) = self.part(&root)?
            && let Err(damage) = varlen_parameters(&metadata)
        {
            self.found(context.shown(&root.join("metadata.txt")), damage);
        }
        for part in 1..=count_parts(context, path)? {
            self.part(&path.join(part_directory(part)))?;
        }
        if self.findings.len() == before {
            let Some(series) = self.noted(self.database.varlen_series(&self.key.name))? else {
                return Ok(());
            };
            if let Some(missing) = self.noted(incomplete(series.contents()))? {
                for (_, damage) in missing {
                    self.found(context.shown(path), damage);
                }
            }
        }
        Ok(())
    }

    fn part(&mut self, directory: &Path) -> Result<Option<SeriesMetadata>> {
        let context = &self.database.context;
        let Some(metadata) = self.noted(read_metadata(context, directory))? else {
            return Ok(None);
        };
        let layout = Layout {
            block_size: metadata.block_size,
            page_size: metadata.page_size,
        };
        let mut strays = Vec::new();
        let firsts = list_chunks(context, directory, |name| strays.push(name.to_owned()))?;
        for stray in strays {
            self.found(context.shown(directory), Damage::Stray(stray));
        }
        let mut previous: Option<Timestamp> = None;
        for (number, first) in firsts.iter().copied().enumerate() {
            let next = firsts.get(number + 1).copied();
            let path = directory.join(first.to_string());
            let shown = context.shown(&path);
            if let Some(previous) = previous
                && first <= previous
            {
                self.found(shown.clone(), Damage::Overlap { found: first, previous });
            }
            let storage = context
                .directory
                .open(&path, Access::Read)
                .map_err(context.failed(&path))?;
            match verify(storage.as_ref(), &shown, first, layout, next)? {
                Ok(last) => previous = Some(last),
                Err(damage) => self.found(shown, damage),
            }
        }
        Ok(Some(metadata))
    }
}
