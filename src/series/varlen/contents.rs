//! The readable side of a variable-length series: its parts, and iteration over whole values.
//!
//! The root leads: it says which values there are and how long they are; the other parts are asked by timestamp, and walked
//! in step where values are read in order.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use super::{VarlenEntry, entry::Head, part_bytes};
use crate::series::{
    Contents, Damage, Entry, Error, Range, Result, SeriesId, Timestamp, VarlenParameters,
    chunk::{Chunk, Records},
    context::Context,
};

/// Readable side of a variable-length series, live or frozen in a snapshot. Clones share their state.
#[derive(Clone)]
pub struct VarlenContents(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    parameters: RwLock<Arc<VarlenParameters>>,
    root: Contents,
    parts: RwLock<Vec<Contents>>,
}

impl VarlenContents {
    /// Joins the parts of a series.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a part's values have another length than the parameters say.
    pub(in crate::series) fn new(
        context: &Arc<Context>,
        parameters: VarlenParameters,
        root: Contents,
        parts: Vec<Contents>,
    ) -> Result<Self> {
        for (part, number) in parts.iter().zip(1..) {
            let (found, expected) = (part.parameters().block_size, part_bytes(&parameters, number));
            if found as usize != expected {
                let metadata = part.directory().unwrap_or_default().join("metadata.txt");
                let text = format!("block_size is {found}, length_profile makes it {expected}");
                return Err(Error::Damaged {
                    path: context.shown(&metadata),
                    damage: Damage::Metadata(text),
                });
            }
        }
        Ok(Self(Arc::new(Inner {
            context: Arc::clone(context),
            parameters: RwLock::new(Arc::new(parameters)),
            root,
            parts: RwLock::new(parts),
        })))
    }

    /// Parameters of the series.
    pub fn parameters(&self) -> VarlenParameters {
        (*self.parameters_now()).clone()
    }

    pub(super) fn parameters_now(&self) -> Arc<VarlenParameters> {
        Arc::clone(&self.0.parameters.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_parameters(&self, parameters: VarlenParameters) {
        *self.0.parameters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parameters);
    }

    /// Longest value in bytes.
    pub fn maximum_length(&self) -> u64 {
        self.parameters_now().maximum_length()
    }

    pub(super) fn add_part(&self, part: Contents) {
        self.0.parts.write().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    /// The fixed series it is made of, root first.
    pub fn parts(&self) -> Vec<Contents> {
        let parts = self.0.parts.read().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&self.0.root).chain(parts.iter()).cloned().collect()
    }

    /// The part that holds the length and head of every value.
    pub fn root(&self) -> &Contents {
        &self.0.root
    }

    pub(super) fn part(&self, number: usize) -> Option<Contents> {
        let parts = self.0.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.get(number - 1).cloned()
    }

    /// Number of the series.
    pub fn id(&self) -> SeriesId {
        self.0.root.id()
    }

    /// True in a snapshot.
    pub fn is_frozen(&self) -> bool {
        self.0.root.is_frozen()
    }

    /// Number of entries.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn entries(&self) -> Result<u64> {
        self.0.root.entries()
    }

    /// True where there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.root.is_empty()
    }

    /// The newest timestamp.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn last_timestamp(&self) -> Result<Option<Timestamp>> {
        self.0.root.last_timestamp()
    }

    /// The oldest entry.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn first(&self) -> Result<Option<Entry>> {
        let mut value = Vec::new();
        let first = self.range(Timestamp::MIN, Timestamp::MAX)?.next_into(&mut value);
        Ok(first.transpose()?.map(|timestamp| Entry { timestamp, value }))
    }

    /// The newest entry.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn latest(&self) -> Result<Option<Entry>> {
        let Some(last) = self.last_timestamp()? else {
            return Ok(None);
        };
        let newest = self.range(last, Timestamp::MAX)?.last();
        newest.transpose()?.map(|entry| entry.to_entry()).transpose()
    }

    /// The value at exactly `timestamp`.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn get(&self, timestamp: Timestamp) -> Result<Option<Vec<u8>>> {
        let mut value = Vec::new();
        let found = self.range(timestamp, timestamp)?.next_into(&mut value);
        Ok(found.transpose()?.map(|_| value))
    }

    /// Number of the first entry whose timestamp is not below `timestamp`.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn lower_bound(&self, timestamp: Timestamp) -> Result<u64> {
        self.0.root.lower_bound(timestamp)
    }

    /// Number after the last entry whose timestamp is not above `timestamp`.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn upper_bound(&self, timestamp: Timestamp) -> Result<u64> {
        self.0.root.upper_bound(timestamp)
    }

    /// Entries with timestamps from `from` to `to`, both included.
    ///
    /// # Errors
    /// [`Error::BadRange`] where `from` is larger than `to`.
    pub fn range(&self, from: Timestamp, to: Timestamp) -> Result<VarlenRange> {
        Ok(VarlenRange::new(self, self.0.root.range(from, to)?))
    }

    /// Entries by number, from 0; parts beyond the end are left out.
    ///
    /// # Errors
    /// As [`Contents::entries`].
    pub fn range_by_index(&self, range: std::ops::Range<u64>) -> Result<VarlenRange> {
        Ok(VarlenRange::new(self, self.0.root.range_by_index(range)?))
    }

    /// Time of the last append.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn modified(&self) -> Result<SystemTime> {
        self.0.root.modified()
    }

    /// Space that the chunk files of all parts take, in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn allocated_bytes(&self) -> Result<u64> {
        self.parts().iter().map(Contents::allocated_bytes).sum()
    }

    /// Reads length and place of the value in record `position` of `run`.
    fn head(&self, run: &Records, position: usize) -> Result<Head> {
        let parameters = self.parameters_now();
        let prefix = usize::from(parameters.size_struct);
        let (timestamp, block) = run.get(position).expect("the position is in the run");
        let mut length = [0; 8];
        length[..prefix].copy_from_slice(&block[..prefix]);
        let length = u64::from_le_bytes(length);
        run.verify()?;
        let limit = parameters.maximum_length();
        if length > limit {
            return Err(Error::Damaged {
                path: run.chunk().path().to_owned(),
                damage: Damage::Length {
                    timestamp,
                    length,
                    limit,
                },
            });
        }
        Ok(Head {
            chunk: Arc::clone(run.chunk()),
            index: run.start() + u32::try_from(position).expect("a run is counted in 32 bits"),
            timestamp,
            length: usize::try_from(length).expect("a value is shorter than 2 GiB"),
        })
    }

    /// True where the root no longer has the entry at `timestamp`, which was there once.
    fn is_trimmed(&self, timestamp: Timestamp) -> bool {
        let oldest = self.0.root.name_at(Timestamp::MIN);
        oldest.is_none_or(|oldest| timestamp < oldest)
    }

    /// What to say of a value that lacks a part: that it was trimmed meanwhile, or that it is damaged.
    pub(super) fn missing(&self, timestamp: Timestamp, part: usize) -> Error {
        if self.is_trimmed(timestamp) {
            return Error::DoesNotExist {
                what: "entry",
                name: timestamp.to_string(),
                path: self.0.context.shown(&self.0.root.directory().unwrap_or_default()),
            };
        }
        let directory = self.0.root.directory().unwrap_or_default();
        Error::Damaged {
            path: self.0.context.shown(directory.parent().unwrap_or(&directory)),
            damage: Damage::MissingPart { timestamp, part },
        }
    }
}

impl std::fmt::Debug for VarlenContents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VarlenContents")
            .field("root", &self.0.root)
            .finish_non_exhaustive()
    }
}

/// Entries of a variable-length series, in order; see [`VarlenContents::range`].
#[derive(Debug)]
pub struct VarlenRange {
    contents: VarlenContents,
    root: Range,
    run: Option<(Records, usize)>,
    cursors: Vec<Cursor>,
}

/// Where the next piece of a part is expected.
#[derive(Debug)]
struct Cursor {
    part: Contents,
    chunk: Option<(Arc<Chunk>, u32)>,
    next: u32,
}

impl VarlenRange {
    fn new(contents: &VarlenContents, root: Range) -> Self {
        Self {
            contents: contents.clone(),
            root,
            run: None,
            cursors: Vec::new(),
        }
    }

    fn next_head(&mut self) -> Option<Result<Head>> {
        loop {
            if let Some((run, position)) = &mut self.run {
                if *position < run.len() {
                    *position += 1;
                    let position = *position - 1;
                    return Some(self.contents.head(run, position));
                }
                self.run = None;
            }
            match self.root.next()? {
                Ok(run) => self.run = Some((run, 0)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Puts the next value into `value`, which is cleared first, and returns its timestamp: the fastest way to read
    /// many short values, since each part is walked in step.
    ///
    /// # Errors
    /// As [`VarlenEntry::to_bytes`].
    pub fn next_into(&mut self, value: &mut Vec<u8>) -> Option<Result<Timestamp>> {
        loop {
            let head = match self.next_head()? {
                Ok(head) => head,
                Err(error) => return Some(Err(error)),
            };
            match self.fill(&head, value) {
                // Trimmed before it was reached.
                Err(Error::DoesNotExist { .. }) => {}
                filled => return Some(filled.map(|()| head.timestamp)),
            }
        }
    }

    fn fill(&mut self, head: &Head, value: &mut Vec<u8>) -> Result<()> {
        let parameters = self.contents.parameters_now();
        value.clear();
        value.resize(head.length, 0);
        let first = head.length.min(part_bytes(&parameters, 0));
        head.copy(usize::from(parameters.size_struct), &mut value[..first])?;
        let mut filled = first;
        let mut number = 1;
        while filled < head.length {
            let bytes = part_bytes(&parameters, number).min(head.length - filled);
            if self.cursors.len() < number {
                let part = self.contents.part(number);
                let part = part.ok_or_else(|| self.contents.missing(head.timestamp, number))?;
                self.cursors.push(Cursor {
                    part,
                    chunk: None,
                    next: 0,
                });
            }
            let found = self.cursors[number - 1].read(head.timestamp, &mut value[filled..filled + bytes])?;
            if !found {
                return Err(self.contents.missing(head.timestamp, number));
            }
            filled += bytes;
            number += 1;
        }
        Ok(())
    }
}

impl Cursor {
    /// Copies the start of the value at `timestamp`; false where there is none.
    fn read(&mut self, timestamp: Timestamp, buffer: &mut [u8]) -> Result<bool> {
        if let Some((chunk, entries)) = &self.chunk
            && self.next < *entries
            && chunk.timestamp_at(self.next)? == timestamp
        {
            chunk.copy_value(self.next, 0, buffer)?;
            self.next += 1;
            return Ok(true);
        }
        self.chunk = self.part.chunk_at(timestamp)?;
        let Some((chunk, entries)) = &self.chunk else {
            return Ok(false);
        };
        let position = chunk.find_left(timestamp, *entries)?;
        if position == *entries || chunk.timestamp_at(position)? != timestamp {
            return Ok(false);
        }
        chunk.copy_value(position, 0, buffer)?;
        self.next = position + 1;
        Ok(true)
    }
}

impl Iterator for VarlenRange {
    type Item = Result<VarlenEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.next_head()?;
        Some(head.map(|head| VarlenEntry::new(self.contents.clone(), head)))
    }
}
