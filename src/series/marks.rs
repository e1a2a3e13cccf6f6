//! How far each series is known to be durable, and how the last writer ended: `.headstack.marks` in a database's root, a
//! file tempsdb does not look at. It says nothing of the entries themselves; recovery draws the conclusions.
//!
//! A header of 64 bytes, then one slot of 32 bytes for each [`SeriesId`], slot 0 unused; little endian. A file may end
//! before a slot: that slot is empty. Defined here; no other program reads it.
//!
//! The header is written when a writer opens and when it closes, so an open one that a writer finds was left by a kill,
//! of the same boot, or by a power loss, of another. Both are counted, and each slot holds the counts of when it was
//! written: a series that no one opened since is known by it, however many writers came and went in between. A slot is
//! one write inside one sector: after a power loss it has the old or the new mark, or a wrong checksum, which counts as
//! no mark.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use super::{Damage, Error, Result, SeriesId, Timestamp};
use crate::storage::{Access, Directory, Storage};

/// Name of the file.
pub const MARKS_FILE: &str = ".headstack.marks";

const MAGIC: [u8; 16] = *b"headstack marks\n";
const VERSION: u32 = 1;
const STATE_CLEAN: u32 = 0;
const STATE_OPEN: u32 = 1;
const FLAG_TIMESTAMP: u32 = 1;
const HEADER_BYTES: usize = 64;
const SLOT_BYTES: usize = 32;

/// First bytes of the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    /* 0x00 */ magic: [u8; 16],
    /* 0x10 */ version: U32,
    /* 0x14 */ state: U32, // 0 closed, 1 open
    /* 0x18 */ boot: [u8; 16], // of the writer
    /* 0x28 */ kills: U32, // writers that were killed, modulo 2^32
    /* 0x2c */ crashes: U32, // and that lost power
    /* 0x30 */ zero: [u8; 12],
    /* 0x3c */ crc: U32, // CRC-32 of bytes 0x00..0x3c
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// The mark of one series.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Slot {
    /* 0x00 */ timestamp: U64,
    /* 0x08 */ flags: U32, // bit 0: there is a timestamp
    /* 0x0c */ kills: U32, // the header's when this was written
    /* 0x10 */ crashes: U32, // the header's when this was written
    /* 0x14 */ zero: [u8; 8],
    /* 0x1c */ crc: U32, // CRC-32 of bytes 0x00..0x1c and the number of the series
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

/// How the last writer of a database ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousEnd {
    /// It closed, or there never was one.
    Clean,
    /// It was killed, or still runs, since the machine was last started: what it wrote is there, durable or not.
    Killed,
    /// The machine lost power, or the header cannot be read: what was not durable may be gone.
    Crashed,
}

/// How often a writer of this database ended in a way that was not clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ends {
    kills: u32,
    crashes: u32,
}

/// What a slot says; an empty one says the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    /// False where nothing was ever said.
    known: bool,
    timestamp: Option<Timestamp>,
    /// What was known when it was written.
    ends: Ends,
}

/// The marks of a database.
pub struct Marks {
    directory: Arc<dyn Directory>,
    /// None where there is no file, which only a reader puts up with.
    file: Option<Arc<dyn Storage>>,
    /// The end of the previous writer included.
    ends: Ends,
    state: Mutex<State>,
}

struct State {
    /// Whether marks can be written, or why not.
    writable: Result<(), &'static str>,
    /// Marks that were read or are durable.
    known: HashMap<SeriesId, Mark>,
    /// Series of which the file may have another mark, since writing it failed or is under way.
    unsure: HashSet<SeriesId>,
    /// The latest that this writer was told of a series: a sync that was overtaken does not take it back.
    told: HashMap<SeriesId, Option<Timestamp>>,
}

impl Marks {
    /// Opens the marks of a database and says how its last writer ended. Opening to write makes the file where there is
    /// none and says durably that there is a writer; a reader changes nothing. The caller holds the database's lock when
    /// it writes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] where the file is of a newer version.
    pub fn open(directory: Arc<dyn Directory>, writable: bool) -> Result<(Self, PreviousEnd)> {
        let access = if writable { Access::ReadWrite } else { Access::Read };
        let file = match directory.open(Path::new(MARKS_FILE), access) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(io_error(&*directory, e)),
        };
        let mut marks = Self {
            directory,
            file,
            ends: Ends::default(),
            state: Mutex::new(State {
                writable: if writable { Ok(()) } else { Err("open for reading only") },
                known: HashMap::new(),
                unsure: HashSet::new(),
                told: HashMap::new(),
            }),
        };
        let header = marks.read_header()?;
        let end = match (&marks.file, &header) {
            (None, _) => PreviousEnd::Clean,
            (Some(_), None) => PreviousEnd::Crashed,
            (Some(_), Some(header)) if header.state == STATE_CLEAN => PreviousEnd::Clean,
            (Some(_), Some(header)) if header.boot == marks.directory.boot() => PreviousEnd::Killed,
            (Some(_), Some(_)) => PreviousEnd::Crashed,
        };
        marks.ends = header.as_ref().map_or(Ends::default(), Header::ends).and(end);
        let open = marks.header(STATE_OPEN);
        match (&marks.file, header.is_some()) {
            _ if !writable => {
                // Slots under a header that cannot be read are not believed.
                marks.file = marks.file.filter(|_| header.is_some());
            }
            (None, _) => marks.file = Some(marks.create(&open)?),
            (Some(file), readable) => {
                if !readable {
                    // Durable before the new header, under which a slot that came back would be believed.
                    marks.check(file.set_size(0).and_then(|()| file.sync()))?;
                }
                marks.check(file.write_all_at(open.as_bytes(), 0).and_then(|()| file.sync()))?;
            }
        }
        Ok((marks, end))
    }

    /// Timestamp up to which the entries of a series are known to be durable; none where nothing is known. A mark that
    /// cannot be read is none, and logged.
    pub fn durable(&self, id: SeriesId) -> Option<Timestamp> {
        self.look_up(&mut self.state(), id).timestamp
    }

    /// True where the mark of this series was ever set or cleared, so that all behind it is this program's.
    pub fn is_known(&self, id: SeriesId) -> bool {
        self.look_up(&mut self.state(), id).known
    }

    /// The worst end of a writer since a mark of this series was last set or cleared: the state in which its files were
    /// left, whoever opened the database in between. It is clean once its mark is set or cleared.
    pub fn previous_end(&self, id: SeriesId) -> PreviousEnd {
        let then = self.look_up(&mut self.state(), id).ends;
        if then.crashes != self.ends.crashes {
            PreviousEnd::Crashed
        } else if then.kills != self.ends.kills {
            PreviousEnd::Killed
        } else {
            PreviousEnd::Clean
        }
    }

    /// Says durably that there is no writer any more; to be called when all is durable. Marks cannot be set after it.
    /// Without it, the next writer takes this one for killed.
    ///
    /// # Errors
    /// [`Error::Io`]. Closing again, or a reader, does nothing.
    pub fn close_clean(&self) -> Result<()> {
        let mut state = self.state();
        let (Ok(()), Some(file)) = (state.writable, &self.file) else {
            return Ok(());
        };
        let header = self.header(STATE_CLEAN);
        self.check(file.write_all_at(header.as_bytes(), 0).and_then(|()| file.sync()))?;
        state.writable = Err("closed");
        Ok(())
    }

    /// Says durably of several series that their files are in order, and their entries durable up to a timestamp, which
    /// they must already be, or not known to be. A small write for each where that is new, and one sync for all. What was
    /// said since the marks were opened is not taken back by something older.
    ///
    /// # Errors
    /// [`Error::Io`], and any of the marks may be set or not then; [`Error::InvalidState`] when open for reading only or
    /// closed.
    pub fn set_all(&self, wanted: &[(SeriesId, Option<Timestamp>)]) -> Result<()> {
        let mut state = self.state();
        state.writable.map_err(|state| Error::InvalidState {
            path: self.path(),
            state,
        })?;
        let mut changed = Vec::new();
        for (id, timestamp) in wanted.iter().copied() {
            let before = self.look_up(&mut state, id);
            let told = state.told.entry(id).or_insert(timestamp);
            *told = timestamp.max(*told);
            let timestamp = *told;
            let mark = Mark {
                known: true,
                timestamp,
                ends: self.ends,
            };
            if before != mark || state.unsure.contains(&id) {
                state.known.insert(id, before);
                state.unsure.insert(id);
                changed.push((id, mark));
            }
        }
        if let (false, Some(file)) = (changed.is_empty(), &self.file) {
            // Written in the order of the lock, so that the latest stays.
            for (id, mark) in &changed {
                self.check(file.write_all_at(Slot::new(*id, *mark).as_bytes(), offset_of(*id)))?;
            }
            // No lock while the disk works: marks of other series are not held up.
            drop(state);
            self.check(file.sync())?;
            state = self.state();
        }
        for (id, mark) in changed {
            if state.told.get(&id) == Some(&mark.timestamp) {
                state.known.insert(id, mark);
                state.unsure.remove(&id);
            }
        }
        Ok(())
    }

    /// The mark as it is known, or as the file has it.
    fn look_up(&self, state: &mut State, id: SeriesId) -> Mark {
        if let Some(known) = state.known.get(&id) {
            return *known;
        }
        let Some(file) = &self.file else {
            return Mark::default();
        };
        let mut bytes = [0; SLOT_BYTES];
        let slot = match read_full(&**file, &mut bytes, offset_of(id)) {
            Ok(complete) => complete.then(|| Slot::read_from_bytes(&bytes).ok()).flatten(),
            Err(e) => {
                log::warn!("{}: mark of series {}: {e}", self.path().display(), id.0);
                return Mark::default();
            }
        };
        let mark = slot.and_then(|slot| slot.mark(id)).unwrap_or_default();
        state.known.insert(id, mark);
        mark
    }

    /// The header that this writer leaves.
    fn header(&self, state: u32) -> Header {
        Header::new(state, self.directory.boot(), self.ends)
    }

    /// The header; none where it cannot be read or there is no file.
    fn read_header(&self) -> Result<Option<Header>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let mut bytes = [0; HEADER_BYTES];
        if !self.check(read_full(&**file, &mut bytes, 0))? {
            return Ok(None);
        }
        let header = Header::read_from_bytes(&bytes).ok().filter(Header::is_intact);
        match header.map(|header| header.version.get()) {
            Some(version) if version > VERSION => Err(Error::Damaged {
                path: self.path(),
                damage: Damage::Metadata(format!("of version {version}, this program reads up to {VERSION}")),
            }),
            _ => Ok(header),
        }
    }

    fn create(&self, header: &Header) -> Result<Arc<dyn Storage>> {
        let fill = &mut |file: &dyn Storage| {
            file.write_all_at(header.as_bytes(), 0)?;
            file.sync()
        };
        let file = self.check(self.directory.create(Path::new(MARKS_FILE), fill))?;
        self.check(self.directory.sync_directory(Path::new("")))?;
        Ok(file)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(MARKS_FILE)
    }

    fn check<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| io_error(&*self.directory, e))
    }
}

impl Ends {
    /// These and one more.
    fn and(mut self, end: PreviousEnd) -> Self {
        match end {
            PreviousEnd::Clean => {}
            PreviousEnd::Killed => self.kills = self.kills.wrapping_add(1),
            PreviousEnd::Crashed => self.crashes = self.crashes.wrapping_add(1),
        }
        self
    }
}

impl Header {
    fn new(state: u32, boot: [u8; 16], ends: Ends) -> Self {
        let mut header = Self {
            magic: MAGIC,
            version: VERSION.into(),
            state: state.into(),
            boot,
            kills: ends.kills.into(),
            crashes: ends.crashes.into(),
            zero: [0; 12],
            crc: U32::ZERO,
        };
        header.crc = header.checksum().into();
        header
    }

    fn checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..HEADER_BYTES - 4])
    }

    fn ends(&self) -> Ends {
        Ends {
            kills: self.kills.get(),
            crashes: self.crashes.get(),
        }
    }

    fn is_intact(&self) -> bool {
        let state_is_known = self.state == STATE_CLEAN || self.state == STATE_OPEN;
        self.magic == MAGIC && self.crc == self.checksum() && (state_is_known || self.version > VERSION)
    }
}

impl Slot {
    fn new(id: SeriesId, mark: Mark) -> Self {
        let mut slot = Self {
            timestamp: mark.timestamp.unwrap_or_default().0.into(),
            flags: U32::new(if mark.timestamp.is_some() { FLAG_TIMESTAMP } else { 0 }),
            kills: mark.ends.kills.into(),
            crashes: mark.ends.crashes.into(),
            zero: [0; 8],
            crc: U32::ZERO,
        };
        slot.crc = slot.checksum(id).into();
        slot
    }

    /// What it says; none where it is empty, damaged or of another series.
    fn mark(&self, id: SeriesId) -> Option<Mark> {
        let flags = self.flags.get();
        if self.crc != self.checksum(id) || flags & !FLAG_TIMESTAMP != 0 {
            return None;
        }
        let ends = Ends {
            kills: self.kills.get(),
            crashes: self.crashes.get(),
        };
        let timestamp = (flags == FLAG_TIMESTAMP).then(|| Timestamp(self.timestamp.get()));
        Some(Mark {
            known: true,
            timestamp,
            ends,
        })
    }

    fn checksum(&self, id: SeriesId) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.as_bytes()[..SLOT_BYTES - 4]);
        hasher.update(&id.0.to_le_bytes());
        hasher.finalize()
    }
}

/// Where the slot of a series is.
fn offset_of(id: SeriesId) -> u64 {
    const { assert!(HEADER_BYTES == 64 && SLOT_BYTES == 32) };
    64 + 32 * u64::from(id.0)
}

/// Fills the buffer; false where the file ends before.
fn read_full(file: &dyn Storage, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
    Ok(file.read_at(buffer, offset_bytes)? == buffer.len())
}

fn io_error(directory: &dyn Directory, source: io::Error) -> Error {
    Error::Io {
        path: directory.path().join(MARKS_FILE),
        source,
    }
}

#[cfg(test)]
mod tests;
