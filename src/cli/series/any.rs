//! What verbs ask of a series of either kind.
//!
//! The engine's two kinds have no trait in common; where a verb does the same with both, the choice is made here.

use anyhow::Result;
use serde_json::{Map, Value};

use crate::{
    cli::exit::{Code, Failure},
    mount::text::{Codec, Format},
    series::{AnySeries, ChunkInfo, Entry, Timestamp},
};

/// The user's metadata.
pub fn metadata(series: &AnySeries) -> Option<Map<String, Value>> {
    match series {
        AnySeries::Fixed(series) => series.metadata(),
        AnySeries::Varlen(series) => series.metadata(),
    }
}

/// How lines are written: in the format that is asked for, else the one of the series' metadata, else in hexadecimal.
/// They are those of the `text` file that a mount shows.
///
/// # Errors
/// [`Code::Usage`] for a format that does not suit the series.
pub fn codec(series: &AnySeries, asked: Option<Format>) -> Result<Codec> {
    let block_size = match series {
        AnySeries::Fixed(series) => Some(series.block_size()),
        AnySeries::Varlen(_) => None,
    };
    if let Some(format) = asked.filter(|format| !format.suits(block_size)) {
        let message = format!("--format {format} is for series of 8 byte values, which this is not");
        return Err(Failure::new(Code::Usage, message, "--format hex").into());
    }
    let format = asked.unwrap_or_else(|| Format::of_metadata(metadata(series).as_ref(), block_size));
    Ok(match series {
        AnySeries::Fixed(series) => Codec::fixed(format, series.block_size()),
        AnySeries::Varlen(series) => Codec::varlen(format, series.maximum_length()),
    })
}

/// Number of entries.
pub fn entries(series: &AnySeries) -> Result<u64> {
    Ok(match series {
        AnySeries::Fixed(series) => series.entries()?,
        AnySeries::Varlen(series) => series.entries()?,
    })
}

/// The oldest entry.
pub fn first(series: &AnySeries) -> Result<Option<Entry>> {
    Ok(match series {
        AnySeries::Fixed(series) => series.first()?,
        AnySeries::Varlen(series) => series.first()?,
    })
}

/// The newest entry.
pub fn latest(series: &AnySeries) -> Result<Option<Entry>> {
    Ok(match series {
        AnySeries::Fixed(series) => series.latest()?,
        AnySeries::Varlen(series) => series.latest()?,
    })
}

/// The newest timestamp, without reading the value.
pub fn last_timestamp(series: &AnySeries) -> Result<Option<Timestamp>> {
    Ok(match series {
        AnySeries::Fixed(series) => series.last_timestamp()?,
        AnySeries::Varlen(series) => series.last_timestamp()?,
    })
}

/// Up to where the user marked the series as synced.
pub fn last_entry_synced(series: &AnySeries) -> Timestamp {
    match series {
        AnySeries::Fixed(series) => series.last_entry_synced(),
        AnySeries::Varlen(series) => series.last_entry_synced(),
    }
}

/// Space on the device, in bytes.
pub fn allocated_bytes(series: &AnySeries) -> Result<u64> {
    Ok(match series {
        AnySeries::Fixed(series) => series.allocated_bytes()?,
        AnySeries::Varlen(series) => series.allocated_bytes()?,
    })
}

/// Chunks that hold the entries; of a variable-length series those of its root, which has every timestamp.
pub fn chunks(series: &AnySeries) -> Result<Vec<ChunkInfo>> {
    Ok(match series {
        AnySeries::Fixed(series) => series.chunks()?,
        AnySeries::Varlen(series) => series.root().chunks()?,
    })
}
