//! Engine 1: append-only time series in the directory and chunk format of the Python library tempsdb.
//!
//! A *database* is a directory of *series*; a series is an ordered run of *entries*, each a *timestamp* and a *value*;
//! it is stored in *chunks*, files named for their first timestamp, of which only the last one grows. A *record* is
//! the stored form of an entry: the timestamp, then the value. A *variable-length* (varlen) series is made of several
//! fixed *parts*: `root` holds the length and the head of each value, `1`, `2`, .. hold the rest.
//!
//! *Recovery* is what opening for writing does after a crash. A *snapshot* is a named, frozen state of all series.
//! The *catalogue* numbers series; *marks* say how far each series is known to be durable.

mod cache;
mod catalogue;
mod check;
pub mod chunk;
mod contents;
mod context;
mod database;
mod error;
mod json;
mod marks;
mod metadata;
mod nursery;
mod part;
pub mod pressure;
mod range;
mod recovery;
#[expect(clippy::module_inception, reason = "the noun of the file is the noun of the layer")]
mod series;
mod snapshot;
pub mod text;
mod types;
mod varlen;

pub use check::Finding;
pub use chunk::{Chunk, Records};
pub use contents::{ChunkInfo, Contents, Entry};
pub use context::Recovery;
pub use database::{AnySeries, Database, LOCK_FILE, Limits, Mode, OpenOptions, Statistics};
pub use error::{Damage, Error, Result};
pub use part::Appender;
pub use range::{Entries, Range};
pub use series::Series;
pub use snapshot::{AnyContents, FrozenSeries, Snapshot, SnapshotInfo};
pub use types::{
    BLOCK_SIZE_MAX, ENTRIES_PER_CHUNK_MAX, FixedParameters, Kind, PAGE_SIZE_MAX, SeriesId, SeriesKey, Timestamp,
    VarlenParameters,
};
// What [`Contents::chunk_storage`] and [`Database::directory`] speak of.
pub use crate::storage::{Capacity, Stat, Storage};
pub use varlen::{VarlenContents, VarlenEntry, VarlenRange, VarlenSeries};

#[cfg(test)]
mod tests;
