//! Reads a whole chunk and says whether it is right.
//!
//! It is what a check does with each chunk, through the descriptor and in windows; opening a chunk looks at its ends only.

use std::path::Path;

use super::{
    format::{Header, Layout, TIMESTAMP_BYTES, timestamp_of},
    reader::{failed, read_count},
};
use crate::{
    series::{Damage, Result, Timestamp},
    storage::Storage,
};

/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Checks header, count, first timestamp and the order of all; gives the last timestamp or what is wrong. `next` is the
/// first timestamp of the chunk after it: then no entries may stand behind the counted ones.
///
/// # Errors
/// [`crate::series::Error::Io`] where the file cannot be read.
pub(in crate::series) fn verify(
    storage: &dyn Storage,
    path: &Path,
    first: Timestamp,
    layout: Layout,
    next: Option<Timestamp>,
) -> Result<Result<Timestamp, Damage>> {
    let (size_bytes, count) = read_count(storage, path)?;
    let mut header = Header::default();
    let read = storage.read_at(&mut header, 0).map_err(|source| failed(path, source))?;
    if read < header.len() {
        header = Header::default();
    }
    if let Err(damage) = layout.validate(size_bytes, header, count) {
        return Ok(Err(damage));
    }
    let record_bytes = layout.record_bytes();
    let most = (WINDOW_BYTES / record_bytes).max(1);
    let mut window = Vec::new();
    let mut previous: Option<Timestamp> = None;
    let mut index = 0;
    while index < u64::from(count) {
        let records = most.min(u64::from(count) - index);
        window.resize(usize::try_from(records * record_bytes).unwrap_or(usize::MAX), 0);
        let read =
            read_full(storage, &mut window, layout.record_offset(index)).map_err(|source| failed(path, source))?;
        if read < window.len() {
            return Ok(Err(Damage::Truncated));
        }
        for record in window.chunks_exact(usize::try_from(record_bytes).unwrap_or(TIMESTAMP_BYTES)) {
            let found = timestamp_of(record);
            match previous {
                None if found != first => return Ok(Err(Damage::FirstTimestamp { found, expected: first })),
                Some(previous) if found <= previous => {
                    return Ok(Err(Damage::Order { index, found, previous }));
                }
                _ => previous = Some(found),
            }
            index += 1;
        }
    }
    let last = previous.unwrap_or(first);
    let limit = layout.capacity(size_bytes);
    if let Some(next) = next
        && limit >= u64::from(count) + 2
    {
        // One may be left of an append that failed; nobody leaves two.
        window.resize(usize::try_from(2 * record_bytes).unwrap_or(usize::MAX), 0);
        read_full(storage, &mut window, layout.record_offset(index)).map_err(|source| failed(path, source))?;
        let (one, two) = window.split_at(window.len() / 2);
        let (one, two) = (timestamp_of(one), timestamp_of(two));
        if last < one && one < two && two < next {
            return Ok(Err(Damage::Count { count, limit }));
        }
    }
    Ok(Ok(last))
}

fn read_full(storage: &dyn Storage, buffer: &mut [u8], offset_bytes: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match storage.read_at(&mut buffer[filled..], offset_bytes + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
