//! How series come into a database, change their names and go.
//!
//! Each step is one that a crash leaves either done or undone: a series appears complete, a rename is one rename, and a
//! deletion that was cut off can be done again.

use std::{io, path::Path, sync::Arc};

use super::{Database, path_of};
use crate::series::{
    FixedParameters, Kind, Result, Series, SeriesId, SeriesKey, VarlenParameters, VarlenSeries,
    context::Context,
    metadata::{METADATA_FILE, SeriesMetadata},
    nursery,
    part::{Part, list_chunks},
};

impl Database {
    /// Makes a fixed series and opens it.
    ///
    /// # Errors
    /// [`crate::series::Error::BadName`], [`crate::series::Error::BadParameter`], [`crate::series::Error::AlreadyExists`], [`crate::series::Error::InvalidState`], [`crate::series::Error::Io`].
    pub fn create_series(&self, name: &str, parameters: &FixedParameters) -> Result<Arc<Series>> {
        parameters.validate()?;
        let key = SeriesKey::fixed(name);
        self.create_any(&key, |context, path| {
            Part::create(context, path, &SeriesMetadata::new(parameters))
        })?;
        self.series(name)
    }

    /// Makes a variable-length series and opens it.
    ///
    /// # Errors
    /// As [`Database::create_series`].
    pub fn create_varlen_series(&self, name: &str, parameters: &VarlenParameters) -> Result<Arc<VarlenSeries>> {
        parameters.validate()?;
        let key = SeriesKey::varlen(name);
        self.create_any(&key, |context, path| VarlenSeries::create(context, path, parameters))?;
        self.varlen_series(name)
    }

    fn create_any(&self, key: &SeriesKey, create: impl FnOnce(&Context, &Path) -> Result<()>) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        key.validate()?;
        let path = path_of(key);
        let table = self.series_table();
        if self.context.directory.stat(&path).is_ok() {
            return Err(self.already_exists(key));
        }
        // A number first: a directory without one gets one when the database is opened, never the reverse.
        let id = self.context.catalogue.add(key)?;
        let born = nursery::build(&self.context, (id, 0), &path, |unborn| create(&self.context, unborn));
        if let Err(error) = born {
            self.context.catalogue.forget(key)?;
            return Err(error);
        }
        self.context.place(id, || Some(path.clone())).set(Some(path));
        drop(table);
        Ok(())
    }

    /// Gives a series another name; it keeps its number, and whoever has it open goes on with it.
    ///
    /// # Errors
    /// [`crate::series::Error::BadName`], [`crate::series::Error::AlreadyExists`], [`crate::series::Error::DoesNotExist`], [`crate::series::Error::InvalidState`], [`crate::series::Error::Io`].
    pub fn rename_series(&self, key: &SeriesKey, name: &str) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        let new = SeriesKey {
            kind: key.kind,
            name: name.to_owned(),
        };
        new.validate()?;
        let _gate = self.context.snapshots.gate();
        let mut table = self.series_table();
        let id = self.id(key)?;
        let (from, to) = (path_of(key), path_of(&new));
        match self.context.directory.rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.already_exists(&new)),
            other => other.map_err(self.context.failed(&from))?,
        }
        self.context.catalogue.rename(key, &new)?;
        self.context.catalogue.sync()?;
        self.context.place(id, || None).set(Some(to.clone()));
        if let Some(series) = table.remove(key) {
            table.insert(new, series);
        }
        let parent = to.parent().unwrap_or(Path::new(""));
        let synced = self.context.directory.sync_directory(parent);
        synced.map_err(self.context.failed(parent))
    }

    /// Deletes a series with all its entries, open or not. Chunks that a snapshot needs are kept for it.
    ///
    /// # Errors
    /// [`crate::series::Error::DoesNotExist`], [`crate::series::Error::InvalidState`], [`crate::series::Error::Io`].
    pub fn delete_series(&self, key: &SeriesKey) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        let _gate = self.context.snapshots.gate();
        let mut table = self.series_table();
        let id = self.id(key)?;
        if let Some(series) = table.remove(key) {
            series.abandon();
        }
        let path = path_of(key);
        match key.kind {
            Kind::Fixed => self.remove_part(id, 0, &path)?,
            Kind::Varlen => {
                let entries = self.context.directory.list(&path).map_err(self.context.failed(&path))?;
                for entry in entries {
                    let part = match entry.name.as_str() {
                        "root" => Some(0),
                        other => other.parse().ok(),
                    };
                    self.remove_part(id, part.unwrap_or(u32::MAX), &path.join(&entry.name))?;
                }
                let removed = self.context.directory.remove_directory(&path);
                removed.map_err(self.context.failed(&path))?;
            }
        }
        self.context.place(id, || None).set(None);
        self.context.catalogue.forget(key)
    }

    fn remove_part(&self, id: SeriesId, part: u32, path: &Path) -> Result<()> {
        let directory = &self.context.directory;
        let mut others = Vec::new();
        for first in list_chunks(&self.context, path, |name| others.push(path.join(name)))? {
            let chunk = path.join(first.to_string());
            let gone = match self.context.snapshots.pin(id, part, first) {
                Some(pin) => directory.rename(&chunk, &pin),
                None => directory.remove(&chunk),
            };
            gone.map_err(self.context.failed(&chunk))?;
        }
        others.push(path.join(METADATA_FILE));
        for other in others {
            match directory.remove(&other) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.context.failed(&other)(error));
                }
                _ => {}
            }
        }
        directory.remove_directory(path).map_err(self.context.failed(path))
    }
}
