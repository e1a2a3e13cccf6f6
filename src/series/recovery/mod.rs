//! What opening does with the last chunk of a series after a crash.
//!
//! [`examine`] looks and decides, it never writes; [`Ward::repair`] does what was decided. A crash can only have hurt the
//! last chunk, and only entries that were not yet synced: they may be missing from the file, read as zeros, or stand
//! there without being counted. Whatever else is wrong is damage: it is named, nothing is written over it, and the
//! series refuses appends.
//!
//! How much is believed depends on how the last writer ended. Closed properly, or never ours: header, count, first and
//! last timestamp have to be right. Killed (same boot): the page cache survived, so all counted entries are whole; their
//! order is checked. Crashed (another boot): a disk stores 512 byte sectors whole or not at all, and a sector that was
//! never stored reads as zeros; so behind the last entry known durable the first entry with a sector of zeros, and all
//! after it, were not stored. Bytes that are dropped are first set aside in a file of the database's root.

mod scan;

use std::path::{Path, PathBuf};

use scan::Scan;

use super::{
    Damage, Error, FixedParameters, Result, Timestamp,
    chunk::{
        format::{COUNT_BYTES, HEADER_BYTES, Layout},
        read_count,
    },
    contents::PartKey,
    context::Context,
    marks::PreviousEnd,
};
use crate::storage::{Access, Storage};

/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// What is to be done with a last chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is right as it is and has so many entries.
    Sound(u32),
    /// So many entries count; what stands behind them is set aside where it holds anything.
    Keep { entries: u32, set_aside: bool, why: String },
    /// It never held a whole entry.
    Discard { set_aside: bool, why: String },
    /// It is damaged in a way that no crash explains.
    Damaged(Damage),
}

/// Damage that bars appends to a series.
#[derive(Debug, Clone)]
pub(super) struct Wound {
    path: PathBuf,
    damage: Damage,
}

impl From<Wound> for Error {
    fn from(wound: Wound) -> Self {
        Self::Damaged {
            path: wound.path,
            damage: wound.damage,
        }
    }
}

/// What came of the last chunk of a series.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// How many of its entries count, where its file does not say so.
    pub(super) last_entries: Option<u32>,
    /// Why nothing may be appended.
    pub(super) wound: Option<Wound>,
}

/// Which chunk is examined, and what is known about it.
struct Suspect<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
    first: Timestamp,
    layout: Layout,
    /// Newest timestamp known durable.
    durable: Option<Timestamp>,
    /// True where every durable timestamp has an entry here; not so behind the root of a variable-length series.
    gapless: bool,
    end: PreviousEnd,
}

/// The chunks of one part under recovery.
pub(super) struct Ward<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a PartKey,
    pub(super) directory: &'a Path,
    pub(super) parameters: &'a FixedParameters,
    /// Newest timestamp known durable.
    pub(super) durable: Option<Timestamp>,
}

impl Ward<'_> {
    /// Recovers the last chunks of a series that is opened for writing, or decides what a reader may see of them;
    /// `firsts` is left with those that stay.
    ///
    /// # Errors
    /// [`Error::Io`]. Damage is no error here, it bars appends.
    pub(super) fn recover(&self, firsts: &mut Vec<Timestamp>) -> Result<Recovered> {
        self.drop_behind_gap(firsts)?;
        while let Some(first) = firsts.last().copied() {
            let path = self.directory.join(first.to_string());
            let verdict = self.examine(&path, first)?;
            match verdict {
                Verdict::Sound(_) => return Ok(Recovered::default()),
                Verdict::Damaged(damage) => {
                    let path = self.context.shown(&path);
                    log::error!("{} is damaged: {damage}; the series takes no appends", path.display());
                    return Ok(Recovered {
                        wound: Some(Wound { path, damage }),
                        ..Recovered::default()
                    });
                }
                Verdict::Keep { entries, .. } if self.context.read_only() => {
                    return Ok(Recovered {
                        last_entries: Some(entries),
                        ..Recovered::default()
                    });
                }
                Verdict::Discard { .. } if self.context.read_only() => {}
                repairable => {
                    if self.repair(repairable, &path, first)? {
                        return Ok(Recovered::default());
                    }
                }
            }
            firsts.pop();
        }
        Ok(Recovered::default())
    }

    /// After a crash a chunk that was full may have lost its end while a later one is there: then what stands behind
    /// the gap was never durable either, and is set aside, so that what stays is all there was up to some moment.
    fn drop_behind_gap(&self, firsts: &mut Vec<Timestamp>) -> Result<()> {
        if self.context.previous_end(self.key.id) != PreviousEnd::Crashed {
            return Ok(());
        }
        let known = self
            .durable
            .map_or(0, |durable| firsts.partition_point(|first| *first <= durable));
        let full = self.parameters.entries_per_chunk.max(1);
        for position in known.saturating_sub(1)..firsts.len().saturating_sub(1) {
            let first = firsts[position];
            let verdict = self.examine(&self.directory.join(first.to_string()), first)?;
            match verdict {
                Verdict::Sound(entries) if entries >= full => continue,
                Verdict::Damaged(_) => continue, // no crash did that: it is left as it is, and what follows too
                _ => {}
            }
            for gone in firsts.split_off(position + 1) {
                if !self.context.read_only() {
                    let why = format!("set aside, since the chunk {first} before it lost its end");
                    let verdict = Verdict::Discard { set_aside: true, why };
                    self.repair(verdict, &self.directory.join(gone.to_string()), gone)?;
                }
            }
            break;
        }
        Ok(())
    }

    fn examine(&self, path: &Path, first: Timestamp) -> Result<Verdict> {
        let storage = self.context.directory.open(path, Access::Read);
        let storage = storage.map_err(self.context.failed(path))?;
        examine(&Suspect {
            storage: storage.as_ref(),
            path: &self.context.shown(path),
            first,
            layout: self.layout(),
            durable: self.durable,
            gapless: self.key.part == 0,
            end: self.context.previous_end(self.key.id),
        })
    }

    fn layout(&self) -> Layout {
        Layout {
            block_size: self.parameters.block_size,
            page_size: self.parameters.page_size,
        }
    }

    /// Carries a verdict out on the chunk at `path`; what is dropped goes to `.headstack.lost.*` in the root first.
    /// Returns false where the chunk is gone.
    fn repair(&self, verdict: Verdict, path: &Path, first: Timestamp) -> Result<bool> {
        let context = self.context;
        let failed = context.failed(path);
        match verdict {
            Verdict::Sound(_) => Ok(true),
            Verdict::Damaged(damage) => Err(Error::Damaged {
                path: context.shown(path),
                damage,
            }),
            Verdict::Discard { set_aside: true, why } => {
                let aside = self.lost_name(first);
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
                    let aside = self.lost_name(first);
                    copy(context, storage.as_ref(), &aside)?;
                    note = format!("{note}; a copy as it was is in {}", aside.display());
                }
                set_count(storage.as_ref(), self.layout(), entries).map_err(&failed)?;
                context.recovered(path, note);
                Ok(true)
            }
        }
    }

    fn lost_name(&self, first: Timestamp) -> PathBuf {
        let (id, part) = (self.key.id.0, self.key.part);
        (0..)
            .map(|attempt: u32| PathBuf::from(format!(".headstack.lost.{id}.{part}.{first}.{attempt}")))
            .find(|path| self.context.directory.stat(path).is_err())
            .expect("some name is free")
    }
}

/// Decides about one last chunk, reading only.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
fn examine(suspect: &Suspect<'_>) -> Result<Verdict> {
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
        let explained = short || empty || suspect.end == PreviousEnd::Crashed;
        return Ok(if must_hold || !explained {
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
        let lost_synced = suspect.gapless && suspect.durable.is_some_and(|durable| durable > scan.last_of(ordered));
        if !hole || lost_synced {
            return Ok(Verdict::Damaged(disorder.unwrap_or(Damage::Count { count, limit })));
        }
    }
    if suspect.end == PreviousEnd::Crashed {
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
