//! Variable-length series: each value split over several fixed series by a length profile.
//!
//! | part | holds |
//! |---|---|
//! | `root` | the length (1 to 4 bytes, little endian), then the first `profile[0]` bytes, padded with zeros |
//! | `1`, `2`, .. | the next `profile[min(i, last)]` bytes, padded, only for values that reach that far |
//!
//! All parts of a value carry its timestamp. The root is written last, so a value is there as a whole or not at all;
//! what a crash left in the other parts is cut away when the series is opened.

mod contents;
mod entry;
mod recovery;

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};

pub use contents::{VarlenContents, VarlenRange};
pub use entry::VarlenEntry;
pub(super) use recovery::incomplete;

use super::{
    Error, Result, SeriesId, Timestamp, VarlenParameters,
    contents::PartKey,
    context::{Context, Place},
    metadata::{SeriesMetadata, check_object, varlen_parameters, with_varlen, without_varlen},
    nursery,
    part::Part,
};
use crate::storage::EntryKind;

/// An open variable-length series. Shared by all who have it open.
pub struct VarlenSeries {
    context: Arc<Context>,
    id: SeriesId,
    place: Arc<Place>,
    root: Arc<Part>,
    contents: VarlenContents,
    writer: Mutex<Writer>,
}

/// The seat of the writer: the parts behind the root, and room to put a block together.
struct Writer {
    parts: Vec<Arc<Part>>,
    block: Vec<u8>,
    /// True once it is known how far the series was durable before its first append here.
    marked: bool,
}

fn part_key(id: SeriesId, part: usize) -> PartKey {
    PartKey {
        id,
        part: u32::try_from(part).unwrap_or(u32::MAX),
        below: part_directory(part),
    }
}

/// Directory of a part below its series'.
pub(super) fn part_directory(part: usize) -> PathBuf {
    match part {
        0 => PathBuf::from("root"),
        _ => PathBuf::from(part.to_string()),
    }
}

/// Bytes of a value that `part` holds at most.
pub(super) fn part_bytes(parameters: &VarlenParameters, part: usize) -> usize {
    let last = parameters.length_profile.len() - 1;
    parameters.length_profile[part.min(last)] as usize
}

/// How many parts behind the root are on disk: `1`, `2`, .. without a gap.
pub(super) fn count_parts(context: &Context, directory: &Path) -> Result<usize> {
    let entries = context.directory.list(directory).map_err(context.failed(directory))?;
    let mut numbers: Vec<usize> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Directory)
        .filter_map(|entry| entry.name.parse().ok().filter(|number| *number > 0))
        .collect();
    numbers.sort_unstable();
    Ok(numbers
        .iter()
        .zip(1..)
        .take_while(|(found, wanted)| *found == wanted)
        .count())
}

impl VarlenSeries {
    /// Makes the directories of a new series.
    pub(super) fn create(context: &Context, directory: &Path, parameters: &VarlenParameters) -> Result<()> {
        let made = context.directory.create_directory(directory);
        made.map_err(context.failed(directory))?;
        let root = directory.join(part_directory(0));
        Part::create(context, &root, &SeriesMetadata::new_part(parameters, 0))
    }

    pub(super) fn open(context: &Arc<Context>, id: SeriesId, place: Arc<Place>) -> Result<Self> {
        let directory = place.get().unwrap_or_default();
        let durable = context.durable(id);
        let root = Part::open(context, part_key(id, 0), &place, durable)?;
        let parameters = varlen_parameters(&root.metadata()).map_err(|damage| Error::Damaged {
            path: context.shown(&directory.join("root/metadata.txt")),
            damage,
        })?;
        let parts = (1..=count_parts(context, &directory)?)
            .map(|part| Part::open(context, part_key(id, part), &place, durable))
            .collect::<Result<Vec<_>>>()?;
        let contents = VarlenContents::new(
            context,
            parameters,
            root.contents().clone(),
            parts.iter().map(|part| part.contents().clone()).collect(),
        )?;
        if !context.read_only() {
            recovery::level(context, &directory, &root, &parts, &contents, durable)?;
        }
        Ok(Self {
            context: Arc::clone(context),
            id,
            place,
            root,
            contents,
            writer: Mutex::new(Writer {
                parts,
                block: Vec::new(),
                marked: context.is_marked(id),
            }),
        })
    }

    fn seat(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.context.shown(&self.place.get().unwrap_or_default())
    }

    /// The readable side, which may be kept and read from any thread.
    pub fn contents(&self) -> &VarlenContents {
        &self.contents
    }

    /// Appends one value of at most [`VarlenContents::maximum_length`] bytes, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::BadLength`], [`Error::OutOfOrder`], [`Error::InvalidState`], [`Error::Io`]; nothing is stored then.
    pub fn append(&self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        let mut writer = self.seat();
        self.append_seated(&mut writer, timestamp, value)
    }

    /// Appends values until one is refused; no other writer comes between them. Returns how many were stored.
    pub fn append_all<'v>(&self, values: impl IntoIterator<Item = (Timestamp, &'v [u8])>) -> (usize, Result<()>) {
        let mut writer = self.seat();
        let mut stored = 0;
        for (timestamp, value) in values {
            if let Err(error) = self.append_seated(&mut writer, timestamp, value) {
                return (stored, Err(error));
            }
            stored += 1;
        }
        (stored, Ok(()))
    }

    fn append_seated(&self, writer: &mut Writer, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        let parameters = self.contents.parameters_now();
        let limit = parameters.maximum_length();
        if value.len() as u64 > limit {
            return Err(Error::BadLength {
                path: self.path(),
                length: value.len(),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                too_long: true,
            });
        }
        let prefix = usize::from(parameters.size_struct);
        let head_bytes = part_bytes(&parameters, 0);
        let mut root = self.root.appender()?;
        if let Some(last) = root.last()
            && timestamp <= last
        {
            return Err(Error::OutOfOrder {
                path: self.path(),
                timestamp,
                last,
            });
        }
        if !writer.marked {
            drop(root);
            self.mark(writer)?;
            return self.append_seated(writer, timestamp, value);
        }
        let (head, mut rest) = value.split_at(value.len().min(head_bytes));
        let Writer { parts, block, .. } = writer;
        let mut part = 1;
        let mut outcome = Ok(());
        while !rest.is_empty() && outcome.is_ok() {
            let bytes = part_bytes(&parameters, part);
            let (piece, behind) = rest.split_at(rest.len().min(bytes));
            pad(block, &[], piece, bytes);
            outcome = self
                .part(parts, &parameters, part)
                .and_then(|part| part.appender()?.append(timestamp, block));
            rest = behind;
            part += 1;
        }
        let outcome = outcome.and_then(|()| {
            let length = (value.len() as u64).to_le_bytes();
            pad(block, &length[..prefix], head, prefix + head_bytes);
            root.append(timestamp, block)
        });
        if outcome.is_err() {
            let last = root.last();
            drop(root);
            undo(&parts[..(part - 1).min(parts.len())], last);
        }
        outcome
    }

    #[cold]
    fn mark(&self, writer: &mut Writer) -> Result<()> {
        for part in &writer.parts {
            part.sync_all()?;
        }
        let last = self.root.sync_all()?;
        self.context.mark_durable(self.id, last)?;
        writer.marked = true;
        Ok(())
    }

    /// Part `number` behind the root, made where it is missing.
    fn part<'p>(
        &self,
        parts: &'p mut Vec<Arc<Part>>,
        parameters: &VarlenParameters,
        number: usize,
    ) -> Result<&'p Arc<Part>> {
        if parts.len() < number {
            let directory = self.place.get().unwrap_or_default().join(part_directory(number));
            let key = part_key(self.id, number);
            nursery::build(&self.context, (self.id, key.part), &directory, |unborn| {
                Part::create(&self.context, unborn, &SeriesMetadata::new_part(parameters, number))
            })?;
            let part = Part::open(&self.context, key, &self.place, None)?;
            self.contents.add_part(part.contents().clone());
            parts.push(part);
        }
        Ok(&parts[number - 1])
    }

    fn all_parts(&self) -> Vec<Arc<Part>> {
        let writer = self.seat();
        std::iter::once(&self.root)
            .chain(&writer.parts)
            .map(Arc::clone)
            .collect()
    }

    /// Drops whole chunks that end before `before`, in each part by itself, never a last one. Returns how many chunks
    /// of the root were dropped. Chunks that a snapshot needs are kept for it.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when read-only, [`Error::Io`].
    pub fn trim(&self, before: Timestamp) -> Result<usize> {
        let _gate = self.context.snapshots.gate();
        let pin = |part: usize| {
            let part = u32::try_from(part).unwrap_or(u32::MAX);
            move |first| self.context.snapshots.pin(self.id, part, first)
        };
        let dropped = self.root.trim(before, pin(0))?;
        // The other parts may not lose what the root still has.
        let oldest = self.root.contents().name_at(Timestamp::MIN).unwrap_or(before);
        for (number, part) in self.all_parts().iter().enumerate().skip(1) {
            part.trim(before.min(oldest), pin(number))?;
        }
        Ok(dropped)
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when closed or read-only, [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        let last = self.sync_parts()?;
        self.context.mark_durable(self.id, last)
    }

    /// Syncs all parts and returns the newest durable timestamp.
    pub(super) fn sync_parts(&self) -> Result<Option<Timestamp>> {
        // The seat is kept: what is marked durable must be so in every part.
        let writer = self.seat();
        for part in &writer.parts {
            part.sync()?;
        }
        self.root.sync()
    }

    /// The user's mark of what was copied elsewhere; 0 at first.
    pub fn last_entry_synced(&self) -> Timestamp {
        Timestamp(self.root.metadata().last_entry_synced)
    }

    /// Sets the user's mark, durably. It may go back.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when read-only, [`Error::Io`].
    pub fn mark_synced_up_to(&self, timestamp: Timestamp) -> Result<()> {
        self.root
            .change_metadata(|metadata| metadata.last_entry_synced = timestamp.0)
    }

    /// The user's metadata, without what the format keeps there.
    pub fn metadata(&self) -> Option<Map<String, Value>> {
        without_varlen(&self.root.metadata())
    }

    /// Replaces the user's metadata in one step, durably; none removes it.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where it is too large, [`Error::InvalidState`] when read-only, [`Error::Io`].
    pub fn set_metadata(&self, metadata: Option<&Map<String, Value>>) -> Result<()> {
        if let Some(object) = metadata {
            check_object(object)?;
        }
        let stored = with_varlen(&self.parameters(), metadata);
        self.root.change_metadata(|root| root.metadata = Some(stored))
    }

    /// Changes the parameters of a series that has no entries yet.
    ///
    /// # Errors
    /// [`Error::StillOpen`] where it has entries, [`Error::BadParameter`], [`Error::Io`].
    pub fn set_parameters(&self, parameters: &VarlenParameters) -> Result<()> {
        parameters.validate()?;
        let _gate = self.context.snapshots.gate();
        let writer = self.seat();
        if !self.root.contents().is_empty() || !writer.parts.is_empty() {
            return Err(Error::StillOpen {
                path: self.path(),
                by: "it has entries, so its parameters are fixed".to_owned(),
            });
        }
        let user = self.metadata();
        let fresh = SeriesMetadata::new_part(parameters, 0);
        self.root.set_parameters(&fresh.fixed_parameters())?;
        self.root
            .change_metadata(|root| root.metadata = Some(with_varlen(parameters, user.as_ref())))?;
        self.contents.set_parameters(parameters.clone());
        drop(writer);
        Ok(())
    }

    /// Closes open chunks that nobody reads; returns how many.
    pub fn close_chunks(&self) -> usize {
        self.contents.parts().iter().map(|part| part.close_chunks(true)).sum()
    }

    /// Bytes of the files of all open mapped chunks.
    pub fn open_chunks_mmap_size(&self) -> u64 {
        self.contents.parts().iter().map(super::Contents::mapped_bytes).sum()
    }

    /// Opens chunks as shared memory from now on, where that can be had.
    ///
    /// # Errors
    /// [`Error::Io`] where a last chunk cannot be let go.
    pub fn enable_mmap(&self) -> Result<()> {
        self.all_parts().iter().try_for_each(|part| part.set_mapped(true))
    }

    /// Reads and writes chunks through descriptors from now on.
    ///
    /// # Errors
    /// [`Error::Io`] where a last chunk cannot be let go.
    pub fn disable_mmap(&self) -> Result<()> {
        self.all_parts().iter().try_for_each(|part| part.set_mapped(false))
    }

    /// True where chunks are read and written through descriptors.
    pub fn descriptor_based_access(&self) -> bool {
        !self.root.contents().is_mapped()
    }

    /// Syncs and closes the series; appends and syncs are refused from now on, reads go on. Closing twice is allowed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn close(&self) -> Result<()> {
        let last = self.close_parts()?;
        self.context.mark_durable(self.id, last)
    }

    /// Syncs and closes all parts and returns the newest durable timestamp.
    pub(super) fn close_parts(&self) -> Result<Option<Timestamp>> {
        let writer = self.seat();
        for part in &writer.parts {
            part.close()?;
        }
        self.root.close()
    }

    /// How many values were appended since it was opened.
    pub(super) fn appended(&self) -> u64 {
        self.root.appended()
    }

    pub(super) fn abandon(&self) {
        self.all_parts().iter().for_each(|part| part.abandon());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.root.is_closed()
    }
}

/// Takes back what a failed append left in `parts`. Where that fails too, opening the series will do it.
fn undo(parts: &[Arc<Part>], last: Option<Timestamp>) {
    for part in parts {
        if let Err(error) = part.cut_after(last) {
            log::error!("half of a refused value stays until the series is opened again: {error}");
        }
    }
}

/// Puts `prefix` and `piece` into `block`, padded with zeros to `bytes`.
fn pad(block: &mut Vec<u8>, prefix: &[u8], piece: &[u8], bytes: usize) {
    block.clear();
    block.extend_from_slice(prefix);
    block.extend_from_slice(piece);
    block.resize(bytes, 0);
}

impl Deref for VarlenSeries {
    type Target = VarlenContents;

    fn deref(&self) -> &VarlenContents {
        &self.contents
    }
}

impl std::fmt::Debug for VarlenSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VarlenSeries")
            .field("id", &self.id)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
