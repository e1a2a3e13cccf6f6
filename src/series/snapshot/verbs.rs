//! What a database does with its snapshots: make, list, open, rename, hold, release, remove.
//!
//! Each verb is one small file replaced or removed; the gate keeps chunks from being dropped meanwhile.

use std::{path::Path, sync::Arc, time::SystemTime};

use super::{PartRecord, SeriesRecord, Snapshot, SnapshotInfo, SnapshotRecord, info_of};
use crate::series::{
    AnySeries, Contents, Database, Error, Result, SeriesKey, database::path_of, metadata::METADATA_FILE,
    part::read_metadata, types::check_name, varlen::part_directory,
};

impl Database {
    /// Freezes the state of all series under `name`; takes a time that grows with the number of series, not of
    /// entries. Series whose metadata is damaged are left out, with a word in the log.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::AlreadyExists`], [`Error::InvalidState`], [`Error::Io`].
    pub fn create_snapshot(&self, name: &str, created: SystemTime) -> Result<Arc<Snapshot>> {
        self.ensure_open()?;
        self.context.writable()?;
        check_name(name)?;
        let _gate = self.context.snapshots.gate();
        self.ensure_free(name)?;
        let mut series = Vec::new();
        for key in self.keys()? {
            match self.any(&key).and_then(|any| self.record(&key, &any)) {
                Ok(record) => series.push(record),
                Err(error @ (Error::Damaged { .. } | Error::DoesNotExist { .. })) => {
                    log::warn!("left out of snapshot {name:?}: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        let record = SnapshotRecord {
            number: self.context.catalogue.next_snapshot()?,
            name: name.to_owned(),
            created,
            tags: std::collections::BTreeSet::new(),
            series,
        };
        self.context.catalogue.sync()?;
        let record = self.context.snapshots.put(record)?;
        Ok(Arc::new(Snapshot::new(Arc::clone(&self.context), record)))
    }

    fn ensure_free(&self, name: &str) -> Result<()> {
        if self.context.snapshots.find(name).is_ok() {
            return Err(Error::AlreadyExists {
                what: "snapshot",
                name: name.to_owned(),
                path: self.path().to_owned(),
            });
        }
        Ok(())
    }

    fn record(&self, key: &SeriesKey, any: &AnySeries) -> Result<SeriesRecord> {
        let (id, parts, directory) = match any {
            AnySeries::Fixed(series) => (series.id(), vec![freeze(series.contents())?], path_of(key)),
            AnySeries::Varlen(series) => {
                // The root first: whatever it holds by now, the other parts hold by then, new parts too.
                let root = freeze(series.contents().root());
                let parts = series.contents().parts();
                let parts = std::iter::once(root)
                    .chain(parts.iter().skip(1).map(freeze))
                    .collect::<Result<_>>()?;
                (series.id(), parts, path_of(key).join(part_directory(0)))
            }
        };
        let metadata = read_metadata(&self.context, &directory)?.encode();
        Ok(SeriesRecord {
            id,
            kind: key.kind,
            name: key.name.clone(),
            parts,
            metadata: String::from_utf8(metadata).map_err(|_| Error::Damaged {
                path: self.context.shown(&directory.join(METADATA_FILE)),
                damage: crate::series::Damage::Metadata("it is not UTF-8".to_owned()),
            })?,
        })
    }

    /// All snapshots, oldest first.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when closed.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.ensure_open()?;
        let records = self.context.snapshots.records();
        Ok(records.iter().map(|record| info_of(record)).collect())
    }

    /// Opens a snapshot.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`].
    pub fn snapshot(&self, name: &str) -> Result<Arc<Snapshot>> {
        self.ensure_open()?;
        let record = self.context.snapshots.find(name)?;
        Ok(Arc::new(Snapshot::new(Arc::clone(&self.context), record)))
    }

    /// Removes a snapshot; the space of chunks that only it needed comes back.
    ///
    /// # Errors
    /// [`Error::StillOpen`] while a tag holds it, [`Error::DoesNotExist`], [`Error::Io`].
    pub fn remove_snapshot(&self, name: &str) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        let _gate = self.context.snapshots.gate();
        let record = self.context.snapshots.find(name)?;
        if !record.tags.is_empty() {
            let tags: Vec<_> = record.tags.iter().map(String::as_str).collect();
            return Err(Error::StillOpen {
                path: self.context.shown(Path::new(&record.file_name())),
                by: format!("snapshot {name:?} is held by {}", tags.join(", ")),
            });
        }
        self.context.snapshots.remove(&record)
    }

    /// Gives a snapshot another name; its number stays.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::AlreadyExists`], [`Error::DoesNotExist`], [`Error::Io`].
    pub fn rename_snapshot(&self, name: &str, new: &str) -> Result<()> {
        check_name(new)?;
        self.change_snapshot(name, |record| {
            self.ensure_free(new)?;
            new.clone_into(&mut record.name);
            Ok(())
        })
    }

    /// Holds a snapshot by a tag; it cannot be removed until the tag is released. Holding it again is no error.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::DoesNotExist`], [`Error::Io`].
    pub fn hold_snapshot(&self, name: &str, tag: &str) -> Result<()> {
        check_name(tag)?;
        self.change_snapshot(name, |record| {
            record.tags.insert(tag.to_owned());
            Ok(())
        })
    }

    /// Releases a tag.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`] where there is no such snapshot or tag, [`Error::Io`].
    pub fn release_snapshot(&self, name: &str, tag: &str) -> Result<()> {
        self.change_snapshot(name, |record| {
            if record.tags.remove(tag) {
                return Ok(());
            }
            Err(Error::DoesNotExist {
                what: "tag",
                name: tag.to_owned(),
                path: self.context.shown(Path::new(&record.file_name())),
            })
        })
    }

    /// Names a snapshot that needs the chunk of a part that begins at `first`; its file cannot go away.
    pub fn chunk_needed_by(&self, key: &SeriesKey, part: u32, first: crate::series::Timestamp) -> Option<String> {
        let id = self.context.catalogue.id(key)?;
        self.context.snapshots.needed_by(id, part, first)
    }

    fn change_snapshot(&self, name: &str, change: impl FnOnce(&mut SnapshotRecord) -> Result<()>) -> Result<()> {
        self.ensure_open()?;
        self.context.writable()?;
        let _gate = self.context.snapshots.gate();
        let mut record = (*self.context.snapshots.find(name)?).clone();
        change(&mut record)?;
        self.context.snapshots.put(record).map(drop)
    }
}

/// The state of one part now.
fn freeze(contents: &Contents) -> Result<PartRecord> {
    let parameters = contents.parameters();
    let (first_chunk, last_chunk, last_chunk_entries) = contents.extent()?;
    Ok(PartRecord {
        block_size: parameters.block_size,
        page_size: parameters.page_size,
        max_entries_per_chunk: parameters.entries_per_chunk,
        first_chunk,
        last_chunk,
        last_chunk_entries,
    })
}
