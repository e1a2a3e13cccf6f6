//! Snapshots: a named, frozen state of all series of a database.
//!
//! A series only grows at its end, so its frozen state is a first chunk, a last chunk and a number of entries of the
//! last one: making a snapshot writes one small file, whatever the amount of data. Chunks that a live series drops, by
//! a trim or because it is deleted, and that a snapshot still needs are moved to *pins*, files in the database's root;
//! they go away with the last snapshot that needs them. A *tag* holds a snapshot: while it has one it cannot be removed.

mod record;
mod store;
mod verbs;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::{Map, Value};

pub(super) use record::{PartRecord, SeriesRecord, SnapshotRecord, pin_name};
pub(super) use store::Snapshots;

use super::{
    Contents, Error, FixedParameters, Kind, Result, SeriesId, SeriesKey, Timestamp, VarlenContents,
    contents::PartKey,
    context::Context,
    database::path_of,
    metadata::{SeriesMetadata, varlen_parameters, without_varlen},
    part::list_chunks,
    varlen::part_directory,
};

/// Facts about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// Its number: given once, never reused, kept through renames.
    pub number: u32,
    /// When it was made.
    pub created: SystemTime,
    /// Who holds it.
    pub tags: BTreeSet<String>,
    /// How many series it holds.
    pub series: usize,
}

/// One snapshot, open for reading.
pub struct Snapshot {
    context: Arc<Context>,
    record: Arc<SnapshotRecord>,
    open: Mutex<HashMap<SeriesKey, FrozenSeries>>,
}

/// One series as a snapshot froze it.
#[derive(Debug, Clone)]
pub struct FrozenSeries {
    /// Number of the series, the same as the live one's.
    pub id: SeriesId,
    /// The user's metadata at that time.
    pub metadata: Option<Map<String, Value>>,
    /// The user's mark at that time.
    pub last_entry_synced: Timestamp,
    /// Its entries.
    pub contents: AnyContents,
}

/// Contents of either kind.
#[derive(Debug, Clone)]
pub enum AnyContents {
    /// Of a fixed series.
    Fixed(Contents),
    /// Of a variable-length series.
    Varlen(VarlenContents),
}

impl Snapshot {
    pub(super) fn new(context: Arc<Context>, record: Arc<SnapshotRecord>) -> Self {
        Self {
            context,
            record,
            open: Mutex::default(),
        }
    }

    /// Facts about it, as of when it was opened.
    pub fn info(&self) -> SnapshotInfo {
        info_of(&self.record)
    }

    /// Names of its series, in order.
    pub fn keys(&self) -> Vec<SeriesKey> {
        let mut keys: Vec<_> = self.record.series.iter().map(SeriesRecord::key).collect();
        keys.sort();
        keys
    }

    /// Names and numbers of its series, in order of names; opens none.
    pub fn series_ids(&self) -> Vec<(SeriesKey, SeriesId)> {
        let mut ids: Vec<_> = self
            .record
            .series
            .iter()
            .map(|record| (record.key(), record.id))
            .collect();
        ids.sort();
        ids
    }

    /// Opens one of its series.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`], [`Error::Damaged`], [`Error::Io`].
    pub fn series(&self, key: &SeriesKey) -> Result<FrozenSeries> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frozen) = open.get(key) {
            return Ok(frozen.clone());
        }
        let record = self
            .record
            .series
            .iter()
            .find(|record| record.kind == key.kind && record.name == key.name)
            .ok_or_else(|| Error::DoesNotExist {
                what: key.what(),
                name: key.name.clone(),
                path: self.context.shown(Path::new(&self.record.file_name())),
            })?;
        let frozen = self.freeze(record)?;
        open.insert(key.clone(), frozen.clone());
        Ok(frozen)
    }

    fn freeze(&self, record: &SeriesRecord) -> Result<FrozenSeries> {
        let damaged = |damage| Error::Damaged {
            path: self.context.shown(Path::new(&self.record.file_name())),
            damage,
        };
        let metadata = SeriesMetadata::decode(record.metadata.as_bytes()).map_err(damaged)?;
        let parts = (0..record.parts.len())
            .map(|part| self.freeze_part(record, part))
            .collect::<Result<Vec<_>>>()?;
        let mut parts = parts.into_iter();
        let root = parts
            .next()
            .ok_or_else(|| damaged(super::Damage::Metadata(format!("series {:?} has no part", record.name))))?;
        let (contents, user) = match record.kind {
            Kind::Fixed => (AnyContents::Fixed(root), metadata.metadata.clone()),
            Kind::Varlen => {
                let parameters = varlen_parameters(&metadata).map_err(damaged)?;
                let varlen = VarlenContents::new(&self.context, parameters, root, parts.collect())?;
                (AnyContents::Varlen(varlen), without_varlen(&metadata))
            }
        };
        Ok(FrozenSeries {
            id: record.id,
            metadata: user,
            last_entry_synced: Timestamp(metadata.last_entry_synced),
            contents,
        })
    }

    fn freeze_part(&self, record: &SeriesRecord, number: usize) -> Result<Contents> {
        let part = &record.parts[number];
        let place = self.context.place(record.id, || {
            self.context.catalogue.key(record.id).map(|key| path_of(&key))
        });
        let below = match record.kind {
            Kind::Fixed => PathBuf::new(),
            Kind::Varlen => part_directory(number),
        };
        let key = PartKey {
            id: record.id,
            part: u32::try_from(number).unwrap_or(u32::MAX),
            below,
        };
        // The series first: a chunk only ever moves from there to its pin, which is known before it moves.
        let mut names = BTreeSet::new();
        while let Some(now) = place.get() {
            match list_chunks(&self.context, &now.join(&key.below), |_| {}) {
                Ok(live) => {
                    names.extend(live);
                    break;
                }
                // It was renamed or deleted meanwhile.
                Err(_) if place.get().as_ref() != Some(&now) => {}
                Err(error) => return Err(error),
            }
        }
        names.extend(self.context.snapshots.pins(record.id, key.part));
        let held = match (part.first_chunk, part.last_chunk) {
            (Some(first), Some(last)) if first <= last => names.range(first..=last).copied().collect(),
            _ => Vec::new(),
        };
        let complete = held.last().copied() == part.last_chunk;
        let parameters = FixedParameters {
            block_size: part.block_size,
            entries_per_chunk: part.max_entries_per_chunk,
            page_size: part.page_size,
        };
        Ok(Contents::new(
            Arc::clone(&self.context),
            key,
            place,
            &parameters,
            held,
            complete.then_some(part.last_chunk_entries),
            true,
        ))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("name", &self.record.name)
            .field("number", &self.record.number)
            .finish_non_exhaustive()
    }
}

pub(super) fn info_of(record: &SnapshotRecord) -> SnapshotInfo {
    SnapshotInfo {
        name: record.name.clone(),
        number: record.number,
        created: record.created,
        tags: record.tags.clone(),
        series: record.series.len(),
    }
}
