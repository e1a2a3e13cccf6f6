//! What opening does with the last chunk of a series after a crash.
//!
//! [`examine`] looks and decides, it never writes; [`repair`] does what was decided. A crash can only have hurt the
//! last chunk, and only entries that were not yet synced: they may be missing from the file, read as zeros, or stand
//! there without being counted. Whatever else is wrong is damage: it is named, nothing is written over it, and the
//! series refuses appends.
//!
//! How much is believed depends on how the last writer ended. Closed properly, or never ours: header, count, first and
//! last timestamp have to be right. Killed (same boot): the page cache survived, so all counted entries are whole; their
//! order is checked. Crashed (another boot): a disk stores 512 byte sectors whole or not at all, and a sector that was
//! never stored reads as zeros; so behind the last entry known durable the first entry with a sector of zeros, and all
//! after it, were not stored. Bytes that are dropped are first set aside in a file of the database's root.

use std::path::{Path, PathBuf};

use super::{
    Damage, Error, Result, SeriesId, Timestamp,
    chunk::{
        format::{COUNT_BYTES, HEADER_BYTES, Layout, timestamp_of},
        read_count,
    },
    context::Context,
    marks::PreviousEnd,
};
use crate::storage::{Access, Storage};

/// A disk stores so many bytes at once.
const SECTOR_BYTES: u64 = 512;
/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// What is to be done with a last chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right as it is and has so many entries.
    Sound(u32),
    /// So many entries count; what stands behind them is set aside where it holds anything.
    Keep { entries: u32, set_aside: bool, why: String },
    /// It never held a whole entry.
    Discard { set_aside: bool, why: String },
    /// It is damaged in a way that no crash explains.
    Damaged(Damage),
}

/// Which chunk is examined, and what is known about it.
pub(super) struct Suspect<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) path: &'a Path,
    pub(super) first: Timestamp,
    pub(super) layout: Layout,
    /// Newest timestamp known durable.
    pub(super) durable: Option<Timestamp>,
    pub(super) end: PreviousEnd,
}

/// Decides about one last chunk, reading only.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
pub(super) fn examine(suspect: &Suspect<'_>) -> Result<Verdict> {
    let layout = suspect.layout;
    let (size_bytes, count) = read_count(suspect.storage, suspect.path)?;
    let must_hold = suspect.durable.is_some_and(|durable| durable >= suspect.first);
    let mut scan = Scan::new(suspect, size_bytes);
    let header = scan.bytes_at(0, HEADER_BYTES.min(size_bytes))?.to_vec();
    let needed_bytes = layout.record_offset(1) + COUNT_BYTES;
    if size_bytes < needed_bytes || header.iter().all(|byte| *byte == 0) {
        let empty = scan.zeros_from(0)?;
        let damage = Damage::TooShort {
            size_bytes,
            needed_bytes,
        };
        let short = size_bytes < needed_bytes;
        return Ok(if must_hold || !(short || empty) {
            Verdict::Damaged(if short {
                damage
            } else {
                layout_damage(layout, size_bytes, &header)
            })
        } else {
            Verdict::Discard {
                set_aside: !empty,
                why: format!("removed, since its first entry was never stored ({size_bytes} bytes)"),
            }
        });
    }
    if let Err(damage @ Damage::BlockSize { .. }) = layout.validate(size_bytes, array(&header), 1) {
        return Ok(Verdict::Damaged(damage));
    }
    let plausible = layout.validate(size_bytes, array(&header), count).is_ok();
    let clean = suspect.end == PreviousEnd::Clean;
    let more = plausible && clean && scan.continues_after(count)?;
    if clean && plausible && !more && scan.ends_are_right(count)? {
        return Ok(Verdict::Sound(count));
    }
    decide(suspect, &mut scan, count, plausible && !more, must_hold)
}

fn decide(suspect: &Suspect<'_>, scan: &mut Scan<'_>, count: u32, plausible: bool, must_hold: bool) -> Result<Verdict> {
    let layout = suspect.layout;
    let limit = layout.capacity(scan.size_bytes);
    let (ordered, disorder) = scan.ordered(limit)?;
    if ordered == 0 {
        let found = scan.timestamp(0)?;
        if found == Timestamp(0) && scan.zeros_from(layout.record_offset(0))? && !must_hold {
            return Ok(Verdict::Discard {
                set_aside: false,
                why: "removed, since its first entry was never stored".to_owned(),
            });
        }
        return Ok(Verdict::Damaged(Damage::FirstTimestamp {
            found,
            expected: suspect.first,
        }));
    }
    let synced = match suspect.durable {
        Some(durable) => scan.at_or_below(durable, ordered)?,
        None => 0,
    };
    let mut keep = if plausible {
        u64::from(count).min(ordered)
    } else {
        ordered
    };
    keep = keep.max(synced);
    if plausible && ordered < u64::from(count) {
        // Entries that are counted are out of order: a hole that a crash left, or damage.
        let hole = scan.timestamp(ordered)? == Timestamp(0);
        let lost_synced = suspect.durable.is_some_and(|durable| durable > scan.last_of(ordered));
        if !hole || lost_synced {
            return Ok(Verdict::Damaged(disorder.unwrap_or(Damage::Count { count, limit })));
        }
    }
    if suspect.end == PreviousEnd::Crashed && suspect.durable.is_some() {
        keep = scan.stored(synced, keep)?;
    }
    let Some(entries) = u32::try_from(keep).ok().filter(|entries| *entries > 0) else {
        return Ok(Verdict::Discard {
            set_aside: true,
            why: "set aside, since none of its entries was wholly stored".to_owned(),
        });
    };
    if plausible && entries == count {
        return Ok(Verdict::Sound(count));
    }
    Ok(Verdict::Keep {
        entries,
        set_aside: !scan.zeros_from(layout.record_offset(keep))?,
        why: format!("its count said {count}, {entries} entries are whole and kept"),
    })
}

/// Carries a verdict out on the chunk at `path`; what is dropped goes to `.headstack.lost.*` in the root first.
///
/// Returns false where the chunk is gone.
///
/// # Errors
/// [`Error::Damaged`] for damage, [`Error::Io`].
pub(super) fn repair(
    context: &Context,
    verdict: Verdict,
    path: &Path,
    layout: Layout,
    key: (SeriesId, u32),
    first: Timestamp,
) -> Result<bool> {
    let failed = context.failed(path);
    match verdict {
        Verdict::Sound(_) => Ok(true),
        Verdict::Damaged(damage) => Err(Error::Damaged {
            path: context.shown(path),
            damage,
        }),
        Verdict::Discard { set_aside: true, why } => {
            let aside = lost_name(context, key, first);
            context.directory.rename(path, &aside).map_err(failed)?;
            context.recovered(path, format!("{why}; its bytes are in {}", aside.display()));
            Ok(false)
        }
        Verdict::Discard { set_aside: false, why } => {
            context.directory.remove(path).map_err(failed)?;
            context.recovered(path, why);
            Ok(false)
        }
        Verdict::Keep {
            entries,
            set_aside,
            why,
        } => {
            let storage = context.directory.open(path, Access::ReadWrite).map_err(&failed)?;
            let mut note = why;
            if set_aside {
                let aside = lost_name(context, key, first);
                copy(context, storage.as_ref(), &aside)?;
                note = format!("{note}; a copy as it was is in {}", aside.display());
            }
            set_count(storage.as_ref(), layout, entries).map_err(&failed)?;
            context.recovered(path, note);
            Ok(true)
        }
    }
}

/// Makes a chunk file end behind `entries` entries, with the right count, and durable.
fn set_count(storage: &dyn Storage, layout: Layout, entries: u32) -> std::io::Result<()> {
    let size_bytes = layout.size_bytes(u64::from(entries));
    let end = layout.record_offset(u64::from(entries));
    let mut tail = vec![0; usize::try_from(size_bytes - end - COUNT_BYTES).unwrap_or(0)];
    tail.extend_from_slice(&entries.to_le_bytes());
    storage.write_all_at(&tail, end)?;
    storage.set_size(size_bytes)?;
    storage.sync()
}

fn lost_name(context: &Context, (id, part): (SeriesId, u32), first: Timestamp) -> PathBuf {
    (0..)
        .map(|attempt: u32| PathBuf::from(format!(".headstack.lost.{}.{part}.{first}.{attempt}", id.0)))
        .find(|path| context.directory.stat(path).is_err())
        .expect("some name is free")
}

fn copy(context: &Context, from: &dyn Storage, to: &Path) -> Result<()> {
    let copied = context.directory.create(to, &mut |copy| {
        let mut window = vec![0; usize::try_from(WINDOW_BYTES).unwrap_or(1 << 16)];
        let mut offset = 0;
        loop {
            let read = from.read_at(&mut window, offset)?;
            if read == 0 {
                return copy.sync();
            }
            copy.write_all_at(&window[..read], offset)?;
            offset += read as u64;
        }
    });
    copied.map(drop).map_err(context.failed(to))
}

/// Reads a chunk in windows.
struct Scan<'a> {
    suspect: &'a Suspect<'a>,
    size_bytes: u64,
    window: Vec<u8>,
    window_start: u64,
    last: Timestamp,
    last_index: u64,
}

impl<'a> Scan<'a> {
    fn new(suspect: &'a Suspect<'a>, size_bytes: u64) -> Self {
        Self {
            suspect,
            size_bytes,
            window: Vec::new(),
            window_start: 0,
            last: Timestamp::MIN,
            last_index: 0,
        }
    }

    /// Bytes of the file; shorter than `length` only past its end.
    fn bytes_at(&mut self, offset: u64, length: u64) -> Result<&[u8]> {
        let end = (offset + length).min(self.size_bytes).max(offset);
        let loaded = self.window_start + self.window.len() as u64;
        if offset < self.window_start || end > loaded {
            let wanted = (end - offset)
                .max(WINDOW_BYTES)
                .min(self.size_bytes.saturating_sub(offset));
            self.window.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
            let mut filled = 0;
            while filled < self.window.len() {
                let read = self
                    .suspect
                    .storage
                    .read_at(&mut self.window[filled..], offset + filled as u64)
                    .map_err(|source| Error::Io {
                        path: self.suspect.path.to_owned(),
                        source,
                    })?;
                if read == 0 {
                    break;
                }
                filled += read;
            }
            self.window.truncate(filled);
            self.window_start = offset;
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        let stop = usize::try_from(end - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(start..stop.min(self.window.len())).unwrap_or(&[]))
    }

    fn timestamp(&mut self, index: u64) -> Result<Timestamp> {
        let offset = self.suspect.layout.record_offset(index);
        let bytes = self.bytes_at(offset, 8)?;
        Ok(if bytes.len() == 8 {
            timestamp_of(bytes)
        } else {
            Timestamp::MIN
        })
    }

    fn ends_are_right(&mut self, count: u32) -> Result<bool> {
        let last = u64::from(count) - 1;
        Ok(self.timestamp(0)? == self.suspect.first
            && (last == 0 || self.timestamp(last - 1)? < self.timestamp(last)?))
    }

    /// True where at least two more entries in order stand behind the counted ones: one may be an append that was
    /// never counted, but nobody who closes a chunk leaves two.
    fn continues_after(&mut self, count: u32) -> Result<bool> {
        let count = u64::from(count);
        if self.suspect.layout.capacity(self.size_bytes) < count + 2 {
            return Ok(false);
        }
        let (last, one, two) = (
            self.timestamp(count - 1)?,
            self.timestamp(count)?,
            self.timestamp(count + 1)?,
        );
        Ok(last < one && one < two)
    }

    /// How many of at most `limit` leading entries are in order, and what is wrong with the next one.
    fn ordered(&mut self, limit: u64) -> Result<(u64, Option<Damage>)> {
        let mut previous = self.timestamp(0)?;
        if previous != self.suspect.first {
            return Ok((0, None));
        }
        let mut index = 1;
        let mut damage = None;
        while index < limit {
            let found = self.timestamp(index)?;
            if found <= previous {
                damage = Some(Damage::Order { index, found, previous });
                break;
            }
            previous = found;
            index += 1;
        }
        (self.last, self.last_index) = (previous, index);
        Ok((index, damage))
    }

    /// Timestamp of the last of `entries` ordered entries.
    fn last_of(&self, entries: u64) -> Timestamp {
        debug_assert_eq!(entries, self.last_index);
        self.last
    }

    /// How many of the first `entries` have a timestamp at or below `timestamp`.
    fn at_or_below(&mut self, timestamp: Timestamp, entries: u64) -> Result<u64> {
        let (mut low, mut high) = (0, entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.timestamp(middle)? <= timestamp {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Of entries `from..to`, the number of the first one that has a sector of zeros; `to` if none.
    fn stored(&mut self, from: u64, to: u64) -> Result<u64> {
        let layout = self.suspect.layout;
        for index in from..to {
            let start = layout.record_offset(index);
            let end = layout.record_offset(index + 1);
            let mut piece = start;
            while piece < end {
                let next = (piece / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let bytes = self.bytes_at(piece, next.min(end) - piece)?;
                if bytes.iter().all(|byte| *byte == 0) {
                    return Ok(index);
                }
                piece = next;
            }
        }
        Ok(to)
    }

    /// True where nothing but zeros stands from `offset` to the count.
    fn zeros_from(&mut self, offset: u64) -> Result<bool> {
        let end = self.size_bytes.saturating_sub(COUNT_BYTES);
        let mut at = offset;
        while at < end {
            let bytes = self.bytes_at(at, (end - at).min(WINDOW_BYTES))?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }
}

fn array(header: &[u8]) -> [u8; 4] {
    let mut array = [0; 4];
    array[..header.len().min(4)].copy_from_slice(&header[..header.len().min(4)]);
    array
}

fn layout_damage(layout: Layout, size_bytes: u64, header: &[u8]) -> Damage {
    match layout.validate(size_bytes, array(header), 1) {
        Err(damage) => damage,
        Ok(()) => Damage::TooShort {
            size_bytes,
            needed_bytes: layout.record_offset(1) + COUNT_BYTES,
        },
    }
}
