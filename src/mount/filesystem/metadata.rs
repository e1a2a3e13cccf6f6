//! Writing `meta`: the only file that is overwritten as a whole.
//!
//! What is written gathers in the open file and becomes the metadata when it is flushed, that is at each close of a
//! descriptor: a shell opens, duplicates and closes before it writes, so a flush without a write changes nothing.

use serde_json::Value;

use super::{Effect, Filesystem, Stale, handles::Handle, lock};
use crate::{
    mount::{
        errno::{Refusal, Result},
        view::SeriesView,
    },
    series::AnySeries,
};

/// Most metadata that is taken, in bytes.
const LIMIT: usize = 1 << 20;

/// What was written to one open `meta`.
#[derive(Debug)]
pub struct MetadataBuffer {
    bytes: Vec<u8>,
    dirty: bool,
}

impl MetadataBuffer {
    /// Starts with what the file shows, or with nothing where it was opened to be truncated.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, dirty: false }
    }

    /// What the open file reads.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        let too_large = Refusal::MetadataTooLarge { limit: LIMIT };
        let Some(start) = usize::try_from(offset).ok().filter(|start| *start <= LIMIT) else {
            return Err(too_large);
        };
        let end = start + data.len();
        if end > LIMIT {
            return Err(too_large);
        }
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[start..end].copy_from_slice(data);
        self.dirty = true;
        Ok(data.len())
    }
}

impl Filesystem {
    /// Takes bytes of `meta`; `offset` counts from the start of the file, or is its end where none is given.
    pub(super) fn write_metadata(buffer: &mut MetadataBuffer, offset: Option<u64>, data: &[u8]) -> Result<usize> {
        let offset = offset.unwrap_or(buffer.bytes.len() as u64);
        buffer.write(offset, data)
    }

    /// Cuts what an open `meta` holds.
    pub(super) fn truncate_metadata(&self, handle: u64, size: u64) -> Result<()> {
        match &*self.handles.get(handle)? {
            Handle::Metadata { buffer, .. } => {
                let mut buffer = lock(buffer);
                let size = usize::try_from(size).unwrap_or(usize::MAX).min(LIMIT);
                buffer.bytes.resize(size, 0);
                buffer.dirty |= size > 0;
                Ok(())
            }
            _ => Err(Refusal::Fixed { action: "truncate" }),
        }
    }

    /// Makes what was written the metadata of the series.
    pub(super) fn flush_metadata(&self, view: &SeriesView, buffer: &mut MetadataBuffer) -> Result<Effect<()>> {
        if !buffer.dirty {
            return Ok(().into());
        }
        let bad = |reason: String| Refusal::BadMetadata { reason };
        let metadata = match serde_json::from_slice(&buffer.bytes).map_err(|error| bad(error.to_string()))? {
            Value::Null => None,
            Value::Object(map) => Some(map),
            other => return Err(bad(format!("{other} is neither"))),
        };
        let stale = self.set_metadata(view, metadata)?;
        buffer.dirty = false;
        Ok(Effect::new((), stale))
    }

    /// Sets the metadata of a live series; returns what the kernel has to forget.
    pub(super) fn set_metadata(
        &self,
        view: &SeriesView,
        metadata: Option<serde_json::Map<String, Value>>,
    ) -> Result<Vec<Stale>> {
        match view.live().ok_or(Refusal::Frozen)? {
            AnySeries::Fixed(series) => series.set_metadata(metadata)?,
            AnySeries::Varlen(series) => series.set_metadata(metadata.as_ref())?,
        }
        // With another format every text has other bytes.
        let other_text = view.renew_codec();
        Ok(self.all_stale(view.node(), |node| match other_text {
            true => Stale::Contents(node),
            false => Stale::Attributes(node),
        }))
    }
}
