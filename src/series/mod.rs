//! Engine 1: append-only time series in the directory and chunk format of the Python library tempsdb.
//!
//! A *database* is a directory of *series*; a series is an ordered run of *entries*, each a *timestamp* and a *value*;
//! it is stored in *chunks*, files named for their first timestamp, of which only the last one grows. A *record* is
//! the stored form of an entry: the timestamp, then the value. A *variable-length* (varlen) series is made of several
//! fixed *parts*: `root` holds the length and the head of each value, `1`, `2`, .. hold the rest.
//!
//! *Recovery* is what opening for writing does after a crash. A *snapshot* is a named, frozen state of all series.
//! The *catalogue* numbers series; *marks* say how far each series is known to be durable.

#[cfg_attr(not(test), expect(dead_code, reason = "the engine above it comes next"))]
mod catalogue;
mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "the engine above it comes next"))]
mod json;
#[cfg_attr(not(test), expect(dead_code, reason = "the engine above it comes next"))]
mod marks;
#[expect(dead_code, reason = "the engine above it comes next")]
mod metadata;
mod types;

pub use error::{Damage, Error, Result};
pub use types::{
    BLOCK_SIZE_MAX, ENTRIES_PER_CHUNK_MAX, FixedParameters, Kind, PAGE_SIZE_MAX, SeriesId, SeriesKey, Timestamp,
    VarlenParameters,
};
