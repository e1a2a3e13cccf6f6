//! The stored form of one snapshot: bytes to a record and back, and the names of the files around it. No I/O.
//!
//! A snapshot is one file `.headstack.snapshot.<number>` in the database's root, where tempsdb does not look. JSON,
//! defined here; no other program reads it. A newer version is refused, and so is a field that is not in this table:
//!
//! | field                                     | value                                                              |
//! |-------------------------------------------|--------------------------------------------------------------------|
//! | `version`                                 | 1                                                                  |
//! | `number`, `name`                          | from 1, the file's; a name that a series could have                |
//! | `created_seconds`, `created_nanoseconds`  | since 1970, rounded down; below 1000000000                         |
//! | `tags`                                    | names, each once                                                   |
//! | `series[].id`, `.kind`, `.name`           | from 1, each once; `fixed` or `varlen`; each key once              |
//! | `series[].metadata`                       | text of `metadata.txt`, of the root of a varlen series             |
//! | `series[].parts[]`                        | one of a fixed series; root, 1, 2, .. of a varlen series           |
//! | `.block_size`, `.page_size`               | as in the metadata                                                 |
//! | `.max_entries_per_chunk`                  |                                                                    |
//! | `.first_chunk`, `.last_chunk`             | names of the chunks it holds, ends included; both `null` when empty |
//! | `.last_chunk_entries`                     | entries of the last one that belong to it; 0 when empty            |
//!
//! A chunk that only snapshots need is a *pin*: `.headstack.pin.<series>.<part>.<first timestamp>` in the root.

use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::series::{
    BLOCK_SIZE_MAX, Damage, ENTRIES_PER_CHUNK_MAX, Kind, PAGE_SIZE_MAX, SeriesId, SeriesKey, Timestamp,
    catalogue::{kind_from, kind_text},
    metadata::{SeriesMetadata, varlen_parameters},
};

const SNAPSHOT_PREFIX: &str = ".headstack.snapshot.";
const PIN_PREFIX: &str = ".headstack.pin.";
const VERSION: u32 = 1;

/// The frozen extent of one part of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRecord {
    /// Length of a value in bytes.
    pub block_size: u32,
    /// Unit by which a chunk file grew, in bytes.
    pub page_size: u32,
    /// Entries after which the next chunk began.
    pub max_entries_per_chunk: u32,
    /// First chunk; none where the part was empty.
    #[serde(with = "timestamp")]
    pub first_chunk: Option<Timestamp>,
    /// Last chunk, which may have grown since.
    #[serde(with = "timestamp")]
    pub last_chunk: Option<Timestamp>,
    /// Entries of the last chunk that belong to the snapshot.
    pub last_chunk_entries: u32,
}

/// One frozen series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRecord {
    /// Its number.
    pub id: SeriesId,
    /// Its namespace.
    pub kind: Kind,
    /// Its name at that time.
    pub name: String,
    /// Its parts, root first.
    pub parts: Vec<PartRecord>,
    /// Text of its `metadata.txt` at that time.
    pub metadata: String,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// Who holds it.
    pub tags: BTreeSet<String>,
    /// What it holds.
    pub series: Vec<SeriesRecord>,
}

impl SeriesRecord {
    /// What the series was called.
    pub fn key(&self) -> SeriesKey {
        SeriesKey {
            kind: self.kind,
            name: self.name.clone(),
        }
    }

    /// True where it needs the chunk of a part that begins at `first`.
    pub fn needs(&self, part: u32, first: Timestamp) -> bool {
        let part = usize::try_from(part).ok().and_then(|part| self.parts.get(part));
        part.is_some_and(|part| part.holds(first))
    }

    fn check(&self) -> Result<(), String> {
        let metadata = SeriesMetadata::decode(self.metadata.as_bytes()).map_err(|damage| damage.to_string())?;
        let profile = match self.kind {
            Kind::Fixed => Vec::new(),
            Kind::Varlen => {
                varlen_parameters(&metadata)
                    .map_err(|damage| damage.to_string())?
                    .length_profile
            }
        };
        if self.parts.is_empty() || (self.kind == Kind::Fixed && self.parts.len() > 1) {
            return Err(format!("it cannot have {} parts", self.parts.len()));
        }
        for (number, part) in self.parts.iter().enumerate() {
            let expected = match profile.last() {
                Some(last) if number > 0 => profile.get(number).unwrap_or(last),
                _ => &metadata.block_size,
            };
            if part.block_size != *expected {
                let found = part.block_size;
                return Err(format!(
                    "part {number} has block size {found}, its metadata makes it {expected}"
                ));
            }
            part.check().map_err(|reason| format!("part {number}: {reason}"))?;
        }
        Ok(())
    }
}

impl PartRecord {
    fn check(&self) -> Result<(), &'static str> {
        if self.block_size > BLOCK_SIZE_MAX {
            return Err("block size is out of range");
        }
        if self.page_size == 0 || self.page_size > PAGE_SIZE_MAX {
            return Err("page size is out of range");
        }
        if self.max_entries_per_chunk > ENTRIES_PER_CHUNK_MAX {
            return Err("entries per chunk are out of range");
        }
        match (self.first_chunk, self.last_chunk, self.last_chunk_entries) {
            (None, None, 0) => Ok(()),
            (Some(first), Some(last), 1..) if first <= last => Ok(()),
            _ => Err("first chunk, last chunk and its entries do not fit"),
        }
    }

    fn holds(&self, chunk: Timestamp) -> bool {
        let ends = self.first_chunk.zip(self.last_chunk);
        ends.is_some_and(|(first, last)| (first..=last).contains(&chunk))
    }
}

impl SnapshotRecord {
    /// Name of its file.
    pub fn file_name(&self) -> String {
        format!("{SNAPSHOT_PREFIX}{}", self.number)
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let (created_seconds, created_nanoseconds) = since_1970(self.created);
        let stored = StoredSnapshot {
            version: VERSION,
            number: self.number,
            name: self.name.clone(),
            created_seconds,
            created_nanoseconds,
            tags: self.tags.iter().cloned().collect(),
            series: self.series.iter().map(StoredSeries::from).collect(),
        };
        serde_json::to_vec(&stored).expect("numbers and strings always have a JSON form")
    }

    /// Reads it; names and tags that `is_name` refuses are damage.
    ///
    /// # Errors
    /// [`Damage::Metadata`] that says what is wrong, that it is of a newer version for one.
    pub fn decode(bytes: &[u8], is_name: impl Fn(&str) -> bool) -> Result<Self, Damage> {
        Self::read(bytes, &is_name).map_err(|reason| Damage::Metadata(format!("snapshot: {reason}")))
    }

    fn read(bytes: &[u8], is_name: &dyn Fn(&str) -> bool) -> Result<Self, String> {
        let Version { version } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if version != VERSION {
            return Err(format!("of version {version}, this program reads version {VERSION}"));
        }
        let stored: StoredSnapshot = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let created = system_time(stored.created_seconds, stored.created_nanoseconds);
        let tags = stored.tags.len();
        let record = Self {
            number: stored.number,
            name: stored.name,
            created: created.ok_or("it was made at a time beyond reason")?,
            tags: stored.tags.into_iter().collect(),
            series: stored
                .series
                .into_iter()
                .map(SeriesRecord::try_from)
                .collect::<Result<_, _>>()?,
        };
        if record.tags.len() != tags {
            return Err("a tag is there twice".to_owned());
        }
        record.check(is_name)?;
        Ok(record)
    }

    fn check(&self, is_name: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if self.number == 0 {
            return Err("it has number 0".to_owned());
        }
        let named = self.series.iter().map(|series| &series.name);
        let mut names = [&self.name].into_iter().chain(&self.tags).chain(named);
        if let Some(bad) = names.find(|name| !is_name(name)) {
            return Err(format!("{bad:?} cannot be a name"));
        }
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        for series in &self.series {
            let name = &series.name;
            if series.id.0 == 0 || !ids.insert(series.id) {
                return Err(format!(
                    "series {name:?} has number {}, which it cannot have",
                    series.id.0
                ));
            }
            if !keys.insert((series.kind, name)) {
                return Err(format!("series {name:?} is there twice"));
            }
            series.check().map_err(|reason| format!("series {name:?}: {reason}"))?;
        }
        Ok(())
    }
}

/// Name of the file that keeps the chunk of a part that begins at `first` for snapshots.
pub fn pin_name(id: SeriesId, part: u32, first: Timestamp) -> String {
    format!("{PIN_PREFIX}{}.{part}.{first}", id.0)
}

/// What [`pin_name`] made such a name of.
pub fn parse_pin_name(name: &str) -> Option<(SeriesId, u32, Timestamp)> {
    let mut numbers = name.strip_prefix(PIN_PREFIX)?.splitn(3, '.');
    let id = SeriesId(numbers.next()?.parse().ok()?);
    let part = numbers.next()?.parse().ok()?;
    let first = numbers.next()?.parse().ok()?;
    (id.0 > 0 && pin_name(id, part, first) == name).then_some((id, part, first))
}

/// Number of the snapshot whose record has such a name.
pub fn snapshot_number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix(SNAPSHOT_PREFIX)?.parse().ok()?;
    (number > 0 && name == format!("{SNAPSHOT_PREFIX}{number}")).then_some(number)
}

/// The field every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSnapshot {
    version: u32,
    number: u32,
    name: String,
    created_seconds: i64,
    created_nanoseconds: u32,
    tags: Vec<String>,
    series: Vec<StoredSeries>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSeries {
    id: u32,
    kind: String,
    name: String,
    metadata: String,
    parts: Vec<PartRecord>,
}

impl From<&SeriesRecord> for StoredSeries {
    fn from(series: &SeriesRecord) -> Self {
        Self {
            id: series.id.0,
            kind: kind_text(series.kind).to_owned(),
            name: series.name.clone(),
            metadata: series.metadata.clone(),
            parts: series.parts.clone(),
        }
    }
}

impl TryFrom<StoredSeries> for SeriesRecord {
    type Error = String;

    fn try_from(stored: StoredSeries) -> Result<Self, String> {
        let kind = kind_from(&stored.kind);
        Ok(Self {
            id: SeriesId(stored.id),
            kind: kind.ok_or_else(|| format!("series {:?} is of kind {:?}", stored.name, stored.kind))?,
            name: stored.name,
            parts: stored.parts,
            metadata: stored.metadata,
        })
    }
}

/// A timestamp or `null`.
mod timestamp {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::series::Timestamp;

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub fn serialize<S: Serializer>(timestamp: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        timestamp.map(|timestamp| timestamp.0).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp))
    }
}

/// Whole seconds since 1970, rounded down, and the nanoseconds beyond; the ends of time are as good as any beyond them.
fn since_1970(moment: SystemTime) -> (i64, u32) {
    match moment.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (-seconds, 0),
                nanoseconds => (-seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

fn system_time(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    let rest = Some(Duration::from_nanos(u64::from(nanoseconds))).filter(|_| nanoseconds < 1_000_000_000);
    moment?.checked_add(rest?)
}

#[cfg(test)]
mod tests;
