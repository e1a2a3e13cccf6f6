//! A fixed series as its users see it: one [`Part`] with an identity.
//!
//! Reading is [`Contents`]' business; here is the writer's seat, the user's metadata, trimming, syncing and closing.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value};

use super::{
    Contents, FixedParameters, Result, SeriesId, Timestamp,
    contents::PartKey,
    context::{Context, Place},
    metadata::check_object,
    part::{Appender, Part},
};

/// An open fixed series: every value has the same length. Shared by all who have it open.
pub struct Series {
    context: Arc<Context>,
    id: SeriesId,
    place: Arc<Place>,
    part: Arc<Part>,
    /// True once it is known how far the series was durable before its first append here.
    marked: AtomicBool,
}

impl Series {
    pub(super) fn open(context: &Arc<Context>, id: SeriesId, place: Arc<Place>) -> Result<Self> {
        let key = PartKey {
            id,
            part: 0,
            below: PathBuf::new(),
        };
        let part = Part::open(context, key, &place, context.durable(id))?;
        Ok(Self {
            context: Arc::clone(context),
            id,
            place,
            part,
            marked: AtomicBool::new(context.is_marked(id)),
        })
    }

    /// Number of the series, which it keeps through renames.
    pub fn id(&self) -> SeriesId {
        self.id
    }

    /// Its name now.
    pub fn name(&self) -> String {
        super::context::name_of(&self.place)
    }

    /// Its directory, absolute.
    pub fn path(&self) -> PathBuf {
        self.part.shown()
    }

    /// Length of a value in bytes.
    pub fn block_size(&self) -> usize {
        self.parameters().block_size as usize
    }

    /// The readable side, which may be kept and read from any thread.
    pub fn contents(&self) -> &Contents {
        self.part.contents()
    }

    pub(super) fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// Takes the writer's seat, to append many entries; other writers wait until it is dropped.
    ///
    /// # Errors
    /// [`crate::series::Error::InvalidState`] when closed or read-only, [`crate::series::Error::Damaged`] where the last chunk is damaged.
    #[inline]
    pub fn appender(&self) -> Result<Appender<'_>> {
        if !self.marked.load(Ordering::Relaxed) {
            self.mark()?;
        }
        self.part.appender()
    }

    #[cold]
    fn mark(&self) -> Result<()> {
        let last = self.part.sync_all()?;
        self.context.mark_durable(self.id, last)?;
        self.marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Appends one entry of exactly a block.
    ///
    /// # Errors
    /// [`crate::series::Error::BadLength`], [`crate::series::Error::OutOfOrder`] unless `timestamp` is larger than the last one, those of
    /// [`Series::appender`], [`crate::series::Error::Io`]. Nothing is stored then.
    #[inline]
    pub fn append(&self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        self.appender()?.append(timestamp, value)
    }

    /// Appends one entry of at most a block, padded with zeros.
    ///
    /// # Errors
    /// As [`Series::append`].
    pub fn append_padded(&self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        self.appender()?.append_padded(timestamp, value)
    }

    /// Appends packed records, each a little-endian timestamp and a block, until one is refused; returns how many were
    /// stored. No other writer comes between them.
    pub fn append_records(&self, records: &[u8]) -> (usize, Result<()>) {
        match self.appender() {
            Ok(mut appender) => appender.append_records(records),
            Err(error) => (0, Err(error)),
        }
    }

    /// Drops whole chunks that end before `before`, never the last one; entries older than `before` may remain in the
    /// chunk it falls in. Chunks that a snapshot needs are kept for it. Returns how many chunks were dropped.
    ///
    /// # Errors
    /// [`crate::series::Error::InvalidState`] when read-only, [`crate::series::Error::Io`].
    pub fn trim(&self, before: Timestamp) -> Result<usize> {
        let _gate = self.context.snapshots.gate();
        self.part
            .trim(before, |first| self.context.snapshots.pin(self.id, 0, first))
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// [`crate::series::Error::InvalidState`] when closed or read-only, [`crate::series::Error::Io`].
    pub fn sync(&self) -> Result<()> {
        let last = self.part.sync()?;
        self.context.mark_durable(self.id, last)
    }

    /// The user's mark of what was copied elsewhere; 0 at first.
    pub fn last_entry_synced(&self) -> Timestamp {
        Timestamp(self.part.metadata().last_entry_synced)
    }

    /// Sets the user's mark, durably. It may go back.
    ///
    /// # Errors
    /// [`crate::series::Error::InvalidState`] when read-only, [`crate::series::Error::Io`].
    pub fn mark_synced_up_to(&self, timestamp: Timestamp) -> Result<()> {
        self.part
            .change_metadata(|metadata| metadata.last_entry_synced = timestamp.0)
    }

    /// The user's metadata.
    pub fn metadata(&self) -> Option<Map<String, Value>> {
        self.part.metadata().metadata
    }

    /// Replaces the user's metadata in one step, durably; none removes it.
    ///
    /// # Errors
    /// [`crate::series::Error::BadParameter`] where it is too large, [`crate::series::Error::InvalidState`] when read-only, [`crate::series::Error::Io`].
    pub fn set_metadata(&self, metadata: Option<Map<String, Value>>) -> Result<()> {
        if let Some(object) = &metadata {
            check_object(object)?;
        }
        self.part.change_metadata(|stored| stored.metadata = metadata)
    }

    /// Changes the parameters of a series that has no entries yet.
    ///
    /// # Errors
    /// [`crate::series::Error::StillOpen`] where it has entries, [`crate::series::Error::BadParameter`], [`crate::series::Error::Io`].
    pub fn set_parameters(&self, parameters: &FixedParameters) -> Result<()> {
        parameters.validate()?;
        let _gate = self.context.snapshots.gate();
        self.part.set_parameters(parameters)
    }

    /// Closes open chunks that nobody reads; returns how many.
    pub fn close_chunks(&self) -> usize {
        self.contents().close_chunks(true)
    }

    /// Bytes of the files of all open mapped chunks.
    pub fn open_chunks_mmap_size(&self) -> u64 {
        self.contents().mapped_bytes()
    }

    /// Opens chunks as shared memory from now on, where that can be had.
    ///
    /// # Errors
    /// [`crate::series::Error::Io`] where the last chunk cannot be let go.
    pub fn enable_mmap(&self) -> Result<()> {
        self.part.set_mapped(true)
    }

    /// Reads and writes chunks through descriptors from now on.
    ///
    /// # Errors
    /// [`crate::series::Error::Io`] where the last chunk cannot be let go.
    pub fn disable_mmap(&self) -> Result<()> {
        self.part.set_mapped(false)
    }

    /// True where chunks are read and written through descriptors.
    pub fn descriptor_based_access(&self) -> bool {
        !self.contents().is_mapped()
    }

    /// Syncs and closes the series; appends and syncs are refused from now on, reads go on. Closing twice is allowed.
    ///
    /// # Errors
    /// [`crate::series::Error::Io`].
    pub fn close(&self) -> Result<()> {
        let last = self.part.close()?;
        self.context.mark_durable(self.id, last)
    }
}

impl Deref for Series {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        self.contents()
    }
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series")
            .field("id", &self.id)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
