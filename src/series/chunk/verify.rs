//! Reads a whole chunk and says whether it is right.

use std::path::Path;

use super::{
    format::{HEADER_BYTES, Layout, TIMESTAMP_BYTES, timestamp_of},
    reader::{failed, read_count},
};
use crate::{
    series::{Damage, Result, Timestamp},
    storage::Storage,
};

/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Checks header, count, first timestamp and the order of all; gives the last timestamp or what is wrong.
///
/// # Errors
/// [`crate::series::Error::Io`] where the file cannot be read.
pub(in crate::series) fn verify(
    storage: &dyn Storage,
    path: &Path,
    first: Timestamp,
    layout: Layout,
) -> Result<Result<Timestamp, Damage>> {
    let (size_bytes, count) = read_count(storage, path)?;
    let mut header = [0; HEADER_BYTES as usize];
    let read = storage.read_at(&mut header, 0).map_err(|source| failed(path, source))?;
    if read < header.len() {
        header = [0; HEADER_BYTES as usize];
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
    Ok(Ok(previous.unwrap_or(first)))
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
