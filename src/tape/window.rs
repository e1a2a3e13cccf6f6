//! A stretch of a file held in memory, so that small reads in order cost few calls.
//!
//! It knows nothing of tapes. Reading on from the end of what is held reads more each time; anywhere else it begins small, so
//! who looks for one record reads little. Whoever writes to the file drops the window; what another process adds is seen
//! once the reader reaches the end of what is held.

use std::io;

use crate::storage::Storage;

/// Bytes that are read at once: at first, and at most.
const AHEAD_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;

/// Bytes of a file from `start_bytes` on.
#[derive(Debug)]
pub(super) struct Window {
    start_bytes: u64,
    bytes: Vec<u8>,
    ahead_bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            start_bytes: 0,
            bytes: Vec::new(),
            ahead_bytes: *AHEAD_BYTES.start(),
        }
    }
}

impl Window {
    /// Bytes of the file from `offset_bytes`: `length` of them, fewer only where it ends.
    pub(super) fn get(&mut self, storage: &dyn Storage, offset_bytes: u64, length: usize) -> io::Result<&[u8]> {
        if self.held(offset_bytes, length).is_none() {
            let end = self.start_bytes + self.bytes.len() as u64;
            let goes_on = !self.bytes.is_empty() && (self.start_bytes..=end).contains(&offset_bytes);
            self.ahead_bytes = if goes_on {
                (self.ahead_bytes * 2).min(*AHEAD_BYTES.end())
            } else {
                *AHEAD_BYTES.start()
            };
            let left = storage.size_bytes()?.saturating_sub(offset_bytes);
            let wanted = length.max(self.ahead_bytes);
            self.bytes
                .resize(usize::try_from(left).unwrap_or(wanted).min(wanted), 0);
            self.start_bytes = offset_bytes;
            let filled = storage.read_at(&mut self.bytes, offset_bytes);
            self.bytes.truncate(*filled.as_ref().unwrap_or(&0));
            filled?;
        }
        let from = usize::try_from(offset_bytes - self.start_bytes).map_err(io::Error::other)?;
        let to = from.saturating_add(length).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// Forgets everything.
    pub(super) fn drop_held(&mut self) {
        self.bytes.clear();
    }

    /// Bytes of the file that are held already.
    pub(super) fn held(&self, offset_bytes: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(offset_bytes.checked_sub(self.start_bytes)?).ok()?;
        self.bytes.get(from..from.checked_add(length)?)
    }
}
