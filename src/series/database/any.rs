//! A series of either kind, for those who do not care which.
//!
//! The two kinds differ in how they append and read; what a database does with all its series is the same for both, and
//! stands here.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::series::{
    ChunkInfo, Entry, Result, Series, SeriesId, Timestamp, VarlenSeries,
    text::{Codec, Format},
};

/// An open series of either kind.
#[derive(Debug, Clone)]
pub enum AnySeries {
    /// Every value has the same length.
    Fixed(Arc<Series>),
    /// Values differ in length.
    Varlen(Arc<VarlenSeries>),
}

impl AnySeries {
    pub(in crate::series) fn is_closed(&self) -> bool {
        match self {
            Self::Fixed(series) => series.part().is_closed(),
            Self::Varlen(series) => series.is_closed(),
        }
    }

    /// How many entries were appended since it was opened.
    pub(super) fn appended(&self) -> u64 {
        match self {
            Self::Fixed(series) => series.part().appended(),
            Self::Varlen(series) => series.appended(),
        }
    }

    pub(super) fn abandon(&self) {
        match self {
            Self::Fixed(series) => series.part().abandon(),
            Self::Varlen(series) => series.abandon(),
        }
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// As [`Series::sync`].
    pub fn sync(&self) -> Result<()> {
        match self {
            Self::Fixed(series) => series.sync(),
            Self::Varlen(series) => series.sync(),
        }
    }

    /// Makes everything appended so far durable, but leaves it to the caller to note that.
    pub(super) fn sync_unnoted(&self) -> Result<(SeriesId, Option<Timestamp>)> {
        match self {
            Self::Fixed(series) => Ok((series.id(), series.part().sync()?)),
            Self::Varlen(series) => Ok((series.id(), series.sync_parts()?)),
        }
    }

    /// Syncs and closes the series.
    ///
    /// # Errors
    /// As [`Series::close`].
    pub fn close(&self) -> Result<()> {
        match self {
            Self::Fixed(series) => series.close(),
            Self::Varlen(series) => series.close(),
        }
    }

    /// Syncs and closes the series, but leaves it to the caller to note that.
    pub(super) fn close_unnoted(&self) -> Result<(SeriesId, Option<Timestamp>)> {
        match self {
            Self::Fixed(series) => Ok((series.id(), series.part().close()?)),
            Self::Varlen(series) => Ok((series.id(), series.close_parts()?)),
        }
    }

    /// The user's metadata.
    pub fn metadata(&self) -> Option<Map<String, Value>> {
        match self {
            Self::Fixed(series) => series.metadata(),
            Self::Varlen(series) => series.metadata(),
        }
    }

    /// Number of entries.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn entries(&self) -> Result<u64> {
        match self {
            Self::Fixed(series) => series.entries(),
            Self::Varlen(series) => series.entries(),
        }
    }

    /// The oldest entry.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn first(&self) -> Result<Option<Entry>> {
        match self {
            Self::Fixed(series) => series.first(),
            Self::Varlen(series) => series.first(),
        }
    }

    /// The newest entry.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn latest(&self) -> Result<Option<Entry>> {
        match self {
            Self::Fixed(series) => series.latest(),
            Self::Varlen(series) => series.latest(),
        }
    }

    /// The newest timestamp, without reading the value.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn last_timestamp(&self) -> Result<Option<Timestamp>> {
        match self {
            Self::Fixed(series) => series.last_timestamp(),
            Self::Varlen(series) => series.last_timestamp(),
        }
    }

    /// Up to where the user marked it as synced.
    pub fn last_entry_synced(&self) -> Timestamp {
        match self {
            Self::Fixed(series) => series.last_entry_synced(),
            Self::Varlen(series) => series.last_entry_synced(),
        }
    }

    /// Space on the device, in bytes.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn allocated_bytes(&self) -> Result<u64> {
        match self {
            Self::Fixed(series) => series.allocated_bytes(),
            Self::Varlen(series) => series.allocated_bytes(),
        }
    }

    /// Chunks that hold the entries; of a variable-length series those of its root, which has every timestamp.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn chunks(&self) -> Result<Vec<ChunkInfo>> {
        match self {
            Self::Fixed(series) => series.chunks(),
            Self::Varlen(series) => series.root().chunks(),
        }
    }

    /// Number of the first entry that is not before a timestamp.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn lower_bound(&self, timestamp: Timestamp) -> Result<u64> {
        match self {
            Self::Fixed(series) => series.lower_bound(timestamp),
            Self::Varlen(series) => series.lower_bound(timestamp),
        }
    }

    /// Number of the first entry that is after a timestamp.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn upper_bound(&self, timestamp: Timestamp) -> Result<u64> {
        match self {
            Self::Fixed(series) => series.upper_bound(timestamp),
            Self::Varlen(series) => series.upper_bound(timestamp),
        }
    }

    /// The entry of a number, from 0; none beyond the last.
    ///
    /// # Errors
    /// As [`Contents::entries`](crate::series::Contents::entries).
    pub fn entry_at(&self, number: u64) -> Result<Option<Entry>> {
        match self {
            Self::Fixed(series) => series.range_by_index(number..number + 1)?.entries().next().transpose(),
            Self::Varlen(series) => {
                let entry = series.range_by_index(number..number + 1)?.next().transpose()?;
                entry.map(|entry| entry.to_entry()).transpose()
            }
        }
    }

    /// How values are written: in `format` where it is given and suits the series, else in the one of its metadata, else in
    /// hexadecimal.
    pub fn codec(&self, format: Option<Format>) -> Codec {
        let block_size = match self {
            Self::Fixed(series) => Some(series.block_size()),
            Self::Varlen(_) => None,
        };
        let format = format.unwrap_or_else(|| Format::of_metadata(self.metadata().as_ref(), block_size));
        match self {
            Self::Fixed(series) => Codec::fixed(format, series.block_size()),
            Self::Varlen(series) => Codec::varlen(format, series.maximum_length()),
        }
    }
}
