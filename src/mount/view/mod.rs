//! One series of one tree as its files see it: sizes, bytes at an offset, lines in and out.
//!
//! Entries are numbered from the oldest one. [`read`] turns offsets into entries, [`append`] takes entries in; here is
//! what both share: the codec, who writes, and when the last append was.

mod append;
mod read;

use std::{
    collections::HashMap,
    io,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use serde_json::{Map, Value};

use super::{
    appending::{VARLEN_HEADER, varlen_length},
    errno::{Refusal, Result},
    nodes::SeriesNode,
    offsets::Offsets,
};
use crate::series::{
    AnyContents, AnySeries, ChunkInfo, Contents, Error, FrozenSeries, Stat, Timestamp,
    text::{Codec, Format},
};

/// Chunks of a series about which facts are remembered.
const CLOSED_REMEMBERED: usize = 1 << 16;

/// Where a series' files get their bytes.
#[derive(Debug)]
pub enum Source {
    /// A series that grows.
    Live(AnySeries),
    /// A series in a snapshot, with its metadata and the time of the snapshot.
    Frozen {
        /// The series as it was then.
        series: FrozenSeries,
        /// When the snapshot was made.
        created: SystemTime,
    },
}

/// Who writes, and when the last append was.
#[derive(Debug, Default)]
struct Growth {
    writers: usize,
    /// Last append through this mount.
    appended: Option<SystemTime>,
    /// Time of the newest chunk, where nobody else changes that.
    stored: Option<SystemTime>,
}

/// One series of one tree.
#[derive(Debug)]
pub struct SeriesView {
    node: SeriesNode,
    source: Source,
    contents: AnyContents,
    /// Nobody else writes to the database.
    alone: bool,
    codec: RwLock<Codec>,
    growth: Mutex<Growth>,
    /// Held for reading while numbers are turned into entries, for writing by whatever renumbers them.
    numbering: RwLock<()>,
    /// Held by whoever appends, so that the end of the file stays where it was looked up.
    seat: Mutex<()>,
    offsets: Mutex<Offsets>,
    /// Number of chunks, and the space that all but the last take.
    allocated: Mutex<Option<(usize, u64)>>,
    /// What was found out about chunk files that never change again.
    closed: Mutex<HashMap<(u32, Timestamp), Stat>>,
    held_fragments: AtomicU64,
    /// How many entries sizes show; all of them where there are fewer.
    published: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a handler is answered with EIO; what it left behind is whole, for every update is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SeriesView {
    /// Makes the view of one series; `alone` where nobody else writes to the database.
    pub fn new(node: SeriesNode, source: Source, alone: bool) -> Self {
        let contents = match &source {
            Source::Live(AnySeries::Fixed(series)) => AnyContents::Fixed(series.contents().clone()),
            Source::Live(AnySeries::Varlen(series)) => AnyContents::Varlen(series.contents().clone()),
            Source::Frozen { series, .. } => series.contents.clone(),
        };
        let view = Self {
            node,
            source,
            contents,
            alone,
            codec: RwLock::new(Codec::varlen(Format::Hex, 0)),
            growth: Mutex::default(),
            numbering: RwLock::default(),
            seat: Mutex::default(),
            offsets: Mutex::default(),
            allocated: Mutex::default(),
            closed: Mutex::default(),
            held_fragments: AtomicU64::new(0),
            published: AtomicU64::new(u64::MAX),
        };
        view.renew_codec();
        view
    }

    /// Which series this is.
    pub fn node(&self) -> SeriesNode {
        self.node
    }

    /// The readable side.
    pub fn contents(&self) -> &AnyContents {
        &self.contents
    }

    /// The series itself where it is live.
    pub fn live(&self) -> Option<&AnySeries> {
        match &self.source {
            Source::Live(series) => Some(series),
            Source::Frozen { .. } => None,
        }
    }

    /// How its entries are printed.
    pub fn codec(&self) -> Codec {
        *self.codec.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes parameters and format anew after either was changed; returns true where lines look different now.
    pub fn renew_codec(&self) -> bool {
        let metadata = self.metadata();
        let codec = match &self.contents {
            AnyContents::Fixed(contents) => {
                let block_size = contents.parameters().block_size as usize;
                Codec::fixed(Format::of_metadata(metadata.as_ref(), Some(block_size)), block_size)
            }
            AnyContents::Varlen(contents) => {
                Codec::varlen(Format::of_metadata(metadata.as_ref(), None), contents.maximum_length())
            }
        };
        let before = std::mem::replace(&mut *self.codec.write().unwrap_or_else(PoisonError::into_inner), codec);
        if before != codec {
            *lock(&self.offsets) = Offsets::default();
        }
        before != codec
    }

    /// The user's metadata.
    pub fn metadata(&self) -> Option<Map<String, Value>> {
        match &self.source {
            Source::Live(AnySeries::Fixed(series)) => series.metadata(),
            Source::Live(AnySeries::Varlen(series)) => series.metadata(),
            Source::Frozen { series, .. } => series.metadata.clone(),
        }
    }

    /// The user's metadata as `meta` shows it: JSON and a newline, `null` where there is none.
    pub fn metadata_text(&self) -> String {
        let value = self.metadata().map_or(Value::Null, Value::Object);
        format!("{value}\n")
    }

    /// The user's mark of what was copied elsewhere.
    pub fn last_entry_synced(&self) -> Timestamp {
        match &self.source {
            Source::Live(AnySeries::Fixed(series)) => series.last_entry_synced(),
            Source::Live(AnySeries::Varlen(series)) => series.last_entry_synced(),
            Source::Frozen { series, .. } => series.last_entry_synced,
        }
    }

    /// Number of entries.
    pub fn entries(&self) -> Result<u64> {
        Ok(match &self.contents {
            AnyContents::Fixed(contents) => contents.entries()?,
            AnyContents::Varlen(contents) => contents.entries()?,
        })
    }

    /// True where there is no entry; opens no chunk.
    pub fn is_empty(&self) -> bool {
        match &self.contents {
            AnyContents::Fixed(contents) => contents.is_empty(),
            AnyContents::Varlen(contents) => contents.is_empty(),
        }
    }

    /// The newest timestamp.
    pub fn last_timestamp(&self) -> Result<Option<Timestamp>> {
        Ok(match &self.contents {
            AnyContents::Fixed(contents) => contents.last_timestamp()?,
            AnyContents::Varlen(contents) => contents.last_timestamp()?,
        })
    }

    /// The fixed series that holds chunk files of `part`; part 0 is a fixed series itself, or a root.
    pub fn part(&self, part: u32) -> Option<Contents> {
        match &self.contents {
            AnyContents::Fixed(contents) => (part == 0).then(|| contents.clone()),
            AnyContents::Varlen(contents) => contents.parts().into_iter().nth(usize::try_from(part).ok()?),
        }
    }

    /// The root's part, or the whole of a fixed series.
    fn root(&self) -> &Contents {
        match &self.contents {
            AnyContents::Fixed(contents) => contents,
            AnyContents::Varlen(contents) => contents.root(),
        }
    }

    /// The chunks of one part.
    pub fn chunks(&self, part: u32) -> Result<Vec<ChunkInfo>> {
        Ok(self
            .part(part)
            .map(|part| part.chunks())
            .transpose()?
            .unwrap_or_default())
    }

    /// True where a part has a chunk that begins at `first`.
    pub fn has_chunk(&self, part: u32, first: Timestamp) -> bool {
        self.part(part)
            .is_some_and(|part| part.chunk_names().binary_search(&first).is_ok())
    }

    /// True where the chunk that begins at `first` never changes again.
    pub fn is_chunk_closed(&self, part: u32, first: Timestamp) -> bool {
        let last = self.part(part).and_then(|part| part.chunk_names().last().copied());
        self.live().is_none() || last.is_some_and(|last| first < last)
    }

    /// The newest entry as a line; empty where there is none.
    pub fn latest_line(&self) -> Result<Vec<u8>> {
        let latest = match &self.contents {
            AnyContents::Fixed(contents) => contents.latest()?,
            AnyContents::Varlen(contents) => contents.latest()?,
        };
        let mut line = Vec::new();
        if let Some(entry) = latest {
            self.codec().push_line(&mut line, entry.timestamp, &entry.value);
        }
        Ok(line)
    }

    /// Time of the last append: exact where it went through this mount, else that of the newest chunk.
    pub fn modified(&self) -> Result<SystemTime> {
        let growth = lock(&self.growth);
        if let Some(known) = growth.appended.or(growth.stored) {
            return Ok(known);
        }
        drop(growth);
        let stored = self.stored_modified()?;
        // Whoever else writes to the database is not seen by us.
        if self.alone || self.live().is_none() {
            lock(&self.growth).stored = Some(stored);
        }
        Ok(stored)
    }

    fn stored_modified(&self) -> Result<SystemTime> {
        let stored = match &self.contents {
            AnyContents::Fixed(contents) => contents.modified()?,
            AnyContents::Varlen(contents) => contents.modified()?,
        };
        // The file that holds a snapshot's last entries may go on growing.
        Ok(match &self.source {
            Source::Frozen { created, .. } => stored.min(*created),
            Source::Live(_) => stored,
        })
    }

    /// Space that the chunk files take, in bytes.
    pub fn allocated_bytes(&self) -> Result<u64> {
        let AnyContents::Fixed(contents) = &self.contents else {
            let AnyContents::Varlen(contents) = &self.contents else {
                return Ok(0);
            };
            return Ok(contents.allocated_bytes()?);
        };
        let names = contents.chunk_count();
        let Some(last) = contents.chunk_names().last().copied() else {
            return Ok(0);
        };
        let storage = contents.chunk_storage(last)?;
        let tail = storage.stat().map_err(|source| self.failed(source))?.allocated_bytes;
        let mut known = lock(&self.allocated);
        let closed = match *known {
            Some((count, closed)) if count == names => closed,
            _ => contents.allocated_bytes()?.saturating_sub(tail),
        };
        *known = Some((names, closed));
        Ok(closed + tail)
    }

    /// Facts about a chunk file, which are remembered where it is closed; none where it is gone.
    pub fn chunk_stat(&self, part: u32, first: Timestamp, closed: bool) -> Result<Option<Stat>> {
        if closed && let Some(stat) = lock(&self.closed).get(&(part, first)) {
            return Ok(Some(*stat));
        }
        let Some(contents) = self.part(part).filter(|_| self.has_chunk(part, first)) else {
            return Ok(None);
        };
        let storage = contents.chunk_storage(first)?;
        let stat = storage.stat().map_err(|source| self.failed(source))?;
        if closed {
            let mut known = lock(&self.closed);
            if known.len() >= CLOSED_REMEMBERED {
                known.clear();
            }
            known.insert((part, first), stat);
        }
        Ok(Some(stat))
    }

    /// Wraps a failure of a chunk file.
    pub fn failed(&self, source: io::Error) -> Error {
        let path = match self.live() {
            Some(AnySeries::Fixed(series)) => series.path(),
            Some(AnySeries::Varlen(series)) => series.path(),
            None => Default::default(),
        };
        Error::Io { path, source }
    }

    /// Takes the writer's seat among the mount's own writers.
    pub fn seat(&self) -> MutexGuard<'_, ()> {
        lock(&self.seat)
    }

    /// Notes that entries were appended just now.
    pub fn appended(&self) {
        lock(&self.growth).appended = Some(SystemTime::now());
    }

    /// True where entries were appended through this mount.
    pub fn was_appended(&self) -> bool {
        lock(&self.growth).appended.is_some()
    }

    /// Gives the newest chunk the time of the last append through this mount: what else was done to the file, such as
    /// cutting off space that it did not need, is nothing to whoever goes by that time.
    pub fn keep_time(&self) -> Result<()> {
        let Some(appended) = lock(&self.growth).appended else {
            return Ok(());
        };
        let Some(last) = self.root().chunk_names().last().copied() else {
            return Ok(());
        };
        let storage = self.root().chunk_storage(last)?;
        Ok(storage.set_modified(appended).map_err(|source| self.failed(source))?)
    }

    /// Counts a file open for writing; returns true for the first one.
    pub fn begin_writing(&self) -> bool {
        let mut growth = lock(&self.growth);
        growth.writers += 1;
        growth.writers == 1
    }

    /// Takes back [`SeriesView::begin_writing`].
    pub fn end_writing(&self) {
        let mut growth = lock(&self.growth);
        growth.writers = growth.writers.saturating_sub(1);
        if growth.writers == 0 {
            self.publish(u64::MAX);
        }
    }

    /// From now on sizes show only what is published.
    pub fn publish_only_on_demand(&self) -> Result<()> {
        let entries = self.entries()?;
        // Another writer may be ahead.
        let _ = self
            .published
            .compare_exchange(u64::MAX, entries, Ordering::AcqRel, Ordering::Acquire);
        Ok(())
    }

    /// Lets sizes show this many entries.
    pub fn publish(&self, entries: u64) {
        self.published.store(entries, Ordering::Release);
    }

    /// True while a file of it is open for writing.
    pub fn is_being_written(&self) -> bool {
        lock(&self.growth).writers > 0
    }

    /// Runs a change that no file open for writing may see, and takes parameters and format anew.
    ///
    /// # Errors
    /// [`Refusal::HasEntries`] where a file is open for writing or the series has entries.
    pub fn change_while_empty(&self, name: &str, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let growth = lock(&self.growth);
        if growth.writers > 0 || !self.is_empty() {
            return Err(Refusal::HasEntries { name: name.to_owned() });
        }
        change()?;
        self.renew_codec();
        Ok(())
    }

    /// Runs a change that renumbers entries, while nobody reads by number.
    pub fn renumber<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let _alone = self.numbering.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = change();
        *lock(&self.offsets) = Offsets::default();
        *lock(&self.allocated) = None;
        lock(&self.closed).clear();
        outcome
    }

    /// Counts a file that was closed inside a record.
    pub fn count_held_fragment(&self) {
        self.held_fragments.fetch_add(1, Ordering::Relaxed);
    }

    /// Files closed inside a record since this view was made.
    pub fn held_fragments(&self) -> u64 {
        self.held_fragments.load(Ordering::Relaxed)
    }
}

/// Timestamp, and place of the value, of the packed variable-length record at byte `start`; none where it is not whole.
fn varlen_range(records: &[u8], start: usize) -> Option<(Timestamp, Range<usize>)> {
    let record = records.get(start..)?;
    let timestamp = <[u8; 8]>::try_from(record.get(..8)?).ok()?;
    let length = usize::try_from(varlen_length(record)?).ok()?;
    let value = start + VARLEN_HEADER..start + VARLEN_HEADER + length;
    records.get(value.clone())?;
    Some((Timestamp(u64::from_le_bytes(timestamp)), value))
}
