//! Image objects restored as what they were: their bytes go to whoever takes them, holes as zeros.
//!
//! Who takes them keeps others away meanwhile, and makes them look again at the end. Nothing of the object but its bytes is
//! restored: what it is restored to has an owner and times of its own.

use std::{io, path::Path};

use super::{Files, Reader, Result};
use crate::dump::images::{Sink, Take, Wanted};

/// An image that is written from the front to the back.
struct Filled<'a> {
    sink: &'a mut dyn Sink,
    at: u64,
    error: Option<io::Error>,
}

impl Filled<'_> {
    fn put(&mut self, piece: &[u8], offset_bytes: u64, size_bytes: u64) {
        // Behind the end of an object stand zeros that are not its own.
        let length = size_bytes.saturating_sub(offset_bytes).min(piece.len() as u64);
        let piece = &piece[..usize::try_from(length).unwrap_or(piece.len())];
        self.clear_to(offset_bytes);
        if self.error.is_none() && !piece.is_empty() {
            self.error = self.sink.write_at(piece, offset_bytes).err();
            self.at = offset_bytes + length;
        }
    }

    fn clear_to(&mut self, offset_bytes: u64) {
        if self.error.is_none() && offset_bytes > self.at {
            self.error = self.sink.clear(self.at, offset_bytes - self.at).err();
            self.at = offset_bytes;
        }
    }
}

impl Files<'_> {
    /// Restores an image as what it was.
    pub(super) fn make_image(&mut self, reader: &mut Reader, path: &Path, take: &Take, wanted: &Wanted) -> Result<()> {
        let mut sink = match take(wanted) {
            Ok(sink) => sink,
            Err(why) => {
                self.lose(path, format!("is not restored: {why}"));
                return Ok(());
            }
        };
        let mut filled = Filled {
            sink: &mut *sink,
            at: 0,
            error: None,
        };
        let size = wanted.size_bytes;
        let ranges = reader.data(&mut |offset, piece| filled.put(piece, offset, size))?;
        filled.clear_to(size);
        let error = filled.error;
        // Also what failed is given back.
        let finished = sink.finish();
        if let Err(error) = error.map_or(finished, Err) {
            self.lose(path, format!("cannot be written: {error}"));
            return Ok(());
        }
        self.restored.objects += 1;
        if !ranges.is_empty() {
            self.lose_data(path, ranges);
        }
        Ok(())
    }
}
