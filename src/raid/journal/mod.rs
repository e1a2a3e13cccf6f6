//! The stripe journal: what closes the write hole of arrays with parity that have lost a member.
//!
//! While the journal is *active* every write of columns of a stripe is first put, durably, into the sidecars of the members
//! that take part, as one *record*, and only then in its place. A crash in between leaves either no complete record, and
//! nothing in place, or a complete one that is written again. Replay goes by sequence numbers; records below the *floor*
//! are durable in place and are never looked at again, so a place of the ring is used again only once the floor has passed
//! it on all sidecars. A member that is lost later takes only its own part with it, which nobody needs any more.
//!
//! A sidecar also says that a verify found the array inconsistent, and what of it is [`blank`], for which md's superblock has
//! no place.
//!
//! A sidecar that is absent, damaged or from another time (its stamp is not that of its member's superblock) is as if there
//! were none: members keep assembling under Linux md, which knows nothing of it.

pub mod blank;
pub mod format;
mod replay;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use self::format::{BLOCK_BYTES, ENTRIES, Entry, PAYLOAD_BYTES, State};
pub use self::{blank::Blank, format::Stamp, replay::Replay};
use super::{Slot, error::again, member::Member, metadata::identity::Uuid};
use crate::storage::{Access, Directory, Storage};

/// Longest that a sidecar gets.
pub const SIDECAR_BYTES: u64 = 2 * BLOCK_BYTES as u64 + ENTRIES * (BLOCK_BYTES as u64 + PAYLOAD_BYTES);

/// An image's sidecar: a file beside it.
#[derive(Clone)]
pub struct Sidecar {
    directory: Arc<dyn Directory>,
    name: PathBuf,
}

impl Sidecar {
    /// The sidecar of an image.
    pub fn of(directory: &Arc<dyn Directory>, image: &std::path::Path) -> Self {
        let mut name = image.as_os_str().to_owned();
        name.push(".journal");
        Self {
            directory: Arc::clone(directory),
            name: name.into(),
        }
    }

    /// Its path in the directory of the image.
    pub fn name(&self) -> &std::path::Path {
        &self.name
    }

    fn open(&self, access: Access) -> io::Result<Option<Arc<dyn Storage>>> {
        match self.directory.open(&self.name, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens it, or makes it durably.
    fn open_or_create(&self) -> io::Result<Arc<dyn Storage>> {
        if let Some(storage) = self.open(Access::ReadWrite)? {
            return Ok(storage);
        }
        let storage = self
            .directory
            .create(&self.name, &mut |file| file.set_size(Entry::place_bytes(ENTRIES - 1)))?;
        storage.sync()?;
        let parent = self.name.parent().unwrap_or(std::path::Path::new(""));
        self.directory.sync_directory(parent)?;
        Ok(storage)
    }
}

/// What is to be written to one member.
pub struct Part<'a> {
    /// Its slot.
    pub slot: Slot,
    /// The member.
    pub member: &'a Arc<Member>,
    /// Where, from the start of its device: where its data begin changes with a reshape.
    pub offset_bytes: u64,
    /// What.
    pub bytes: &'a [u8],
}

/// The journal of an array.
pub struct Journal {
    array_uuid: Uuid,
    ring: Mutex<Ring>,
    applied: Condvar,
    view: blank::View,
}

/// A member and its open sidecar.
type Open = (Arc<Member>, Arc<dyn Storage>);

struct Ring {
    active: bool,
    inconsistent: bool,
    blank: Option<Blank>,
    generation: u64,
    stamp: Stamp,
    stamp_before: Stamp,
    next: u64,
    floor: u64,
    in_flight: BTreeSet<u64>,
    /// Of those the ones that a member did not take in place, with what it said, until the array has decided about it.
    unfinished: BTreeMap<u64, (Arc<Member>, io::Error)>,
    /// A member that could not take what is in flight, and cannot be done without: no record after it.
    stuck: Option<Arc<Member>>,
    sidecars: Vec<Open>,
}

impl Ring {
    /// Opens the sidecars of members, where none is open yet; of others too where one cannot be.
    fn open_sidecars<'a>(&mut self, members: impl Iterator<Item = &'a Arc<Member>>) -> io::Result<()> {
        if !self.sidecars.is_empty() {
            return Ok(());
        }
        let mut opened = Ok(());
        for member in members {
            match member.sidecar().map(Sidecar::open_or_create) {
                Some(Ok(storage)) => self.sidecars.push((Arc::clone(member), storage)),
                Some(Err(error)) => opened = Err(error),
                None => opened = Err(io::Error::other("a member has no place for a sidecar")),
            }
        }
        opened
    }

    /// Writes the state to all sidecars, durably.
    fn write_state(&mut self, array_uuid: Uuid) -> Vec<(Arc<Member>, io::Error)> {
        self.generation += 1;
        let state = State {
            array_uuid,
            generation: self.generation,
            stamp: self.stamp,
            stamp_before: self.stamp_before,
            floor: self.floor,
            active: self.active,
            inconsistent: self.inconsistent,
            blank: self.blank.clone(),
        };
        let mut failed = Vec::new();
        for (member, storage) in &self.sidecars {
            let written = storage
                .write_all_at(&state.encode(), state.place_bytes())
                .and_then(|()| storage.sync());
            if let Err(error) = written {
                failed.push((Arc::clone(member), error));
            }
        }
        failed
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// A journal that is not active, to go on behind what [`Replay`] found, of an array whose superblocks are `stamp`.
    pub fn new(array_uuid: Uuid, replay: &Replay, stamp: Stamp) -> Self {
        Self {
            array_uuid,
            ring: Mutex::new(Ring {
                active: false,
                inconsistent: replay.inconsistent,
                blank: None,
                generation: replay.generation,
                stamp,
                stamp_before: stamp,
                next: replay.next,
                floor: replay.next,
                stuck: None,
                in_flight: BTreeSet::new(),
                unfinished: BTreeMap::new(),
                sidecars: Vec::new(),
            }),
            applied: Condvar::new(),
            view: blank::View::default(),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where every write has to go through the journal. Changes only while no write is under way.
    pub fn is_active(&self) -> bool {
        self.ring().active
    }

    /// Begins to journal, for the members that are there; all that was written before is durable.
    ///
    /// # Errors
    /// What the host says of a sidecar: the journal is as it was then.
    pub fn activate<'a>(&self, members: impl Iterator<Item = &'a Arc<Member>>) -> io::Result<()> {
        let mut sidecars = Vec::new();
        for member in members {
            let Some(sidecar) = member.sidecar() else {
                return Err(io::Error::other("the member has no place for a sidecar"));
            };
            sidecars.push((Arc::clone(member), sidecar.open_or_create()?));
        }
        let mut ring = self.ring();
        (ring.active, ring.floor, ring.sidecars) = (true, ring.next, sidecars);
        match ring.write_state(self.array_uuid).pop() {
            Some((_, error)) => {
                ring.active = false;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Stops to journal; all that was written before is durable. Then writes may go past the journal.
    ///
    /// # Errors
    /// What the host says of a sidecar: the journal stays active.
    pub fn deactivate(&self) -> io::Result<()> {
        let mut ring = self.ring();
        ring.active = false;
        ring.floor = ring.next;
        match ring.write_state(self.array_uuid).pop() {
            Some((_, error)) => {
                ring.active = true;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// True where redundancy was found not to go with the data.
    pub fn is_inconsistent(&self) -> bool {
        self.ring().inconsistent
    }

    /// Notes whether redundancy goes with the data, durably where members have sidecars.
    pub fn set_inconsistent<'a>(&self, inconsistent: bool, members: impl Iterator<Item = &'a Arc<Member>>) {
        let mut ring = self.ring();
        if ring.inconsistent == inconsistent && !(inconsistent && ring.sidecars.is_empty()) {
            return;
        }
        ring.inconsistent = inconsistent;
        if let Err(error) = ring.open_sidecars(members) {
            log::warn!("a member has no sidecar: {error}");
        }
        for (member, error) in ring.write_state(self.array_uuid) {
            log::warn!("{}: not noted in its sidecar: {error}", member.path().display());
        }
    }

    /// Forgets a member that failed.
    pub fn forget(&self, gone: &Arc<Member>) {
        self.ring().sidecars.retain(|(member, _)| !member.is(gone));
    }

    /// Takes in a member that is new; no write is under way. All records are retired first: those in which another member
    /// of the same slot took part would look as if they never became whole.
    ///
    /// # Errors
    /// What the host says of a sidecar or a flush.
    pub fn admit(&self, member: &Arc<Member>) -> io::Result<()> {
        let Some(sidecar) = member.sidecar().filter(|_| self.is_active() || self.has_blank()) else {
            return Ok(());
        };
        let storage = sidecar.open_or_create()?;
        // What an earlier life of the sidecar holds must not be taken for this one's.
        storage.set_size(0)?;
        storage.set_size(Entry::place_bytes(ENTRIES - 1))?;
        storage.sync()?;
        let mut ring = self.ring();
        for (member, _) in &ring.sidecars {
            member.flush()?;
        }
        ring.floor = ring.next;
        ring.sidecars.push((Arc::clone(member), storage));
        let Some((_, error)) = ring.write_state(self.array_uuid).pop() else {
            return Ok(());
        };
        ring.sidecars.pop();
        Err(error)
    }

    /// Notes that superblocks are about to be written.
    pub fn stamp(&self, stamp: Stamp) -> Vec<(Arc<Member>, io::Error)> {
        let mut ring = self.ring();
        ring.stamp_before = std::mem::replace(&mut ring.stamp, stamp);
        if ring.active || ring.inconsistent || ring.blank.is_some() {
            ring.write_state(self.array_uuid)
        } else {
            Vec::new()
        }
    }

    /// Puts a record into the journal, durably. It has to be ended by [`Journal::applied`].
    ///
    /// # Errors
    /// The member whose sidecar or flush failed, or that did not take an earlier record without whose end there is no room:
    /// nothing may be written in place then, and who waits for others to end must not wait here.
    pub fn record(&self, parts: &[Part<'_>]) -> Result<u64, (Arc<Member>, io::Error)> {
        let (sequence, sidecars) = {
            let mut ring = self.ring();
            while ring.next - ring.floor >= ENTRIES || ring.stuck.is_some() {
                ring = self.advance(ring)?;
            }
            let sequence = ring.next;
            ring.next += 1;
            ring.in_flight.insert(sequence);
            (sequence, ring.sidecars.clone())
        };
        let written = self.write_entries(sequence, &sidecars, parts);
        if written.is_err() {
            self.applied(sequence);
        }
        written.map(|()| sequence)
    }

    fn write_entries(
        &self,
        sequence: u64,
        sidecars: &[Open],
        parts: &[Part<'_>],
    ) -> Result<(), (Arc<Member>, io::Error)> {
        let takers: Vec<u16> = parts.iter().map(|part| part.slot.0).collect();
        let mut written = Vec::new();
        for part in parts {
            let failed = |error| (Arc::clone(part.member), error);
            let known = sidecars.iter().find(|(known, _)| known.is(part.member));
            let (_, storage) = known.ok_or_else(|| failed(io::Error::other("the member has no sidecar")))?;
            let entry = Entry::encode(
                self.array_uuid,
                sequence,
                part.slot.0,
                part.offset_bytes,
                part.bytes,
                &takers,
            );
            let entry = entry.ok_or_else(|| failed(io::Error::other("the write does not fit the journal")))?;
            storage
                .write_all_at(&entry, Entry::place_bytes(sequence))
                .map_err(failed)?;
            written.push((part.member, storage));
        }
        for (member, storage) in written {
            storage.sync().map_err(|error| (Arc::clone(member), error))?;
        }
        Ok(())
    }

    /// Ends a record: it is in place, if not durably so.
    pub fn applied(&self, sequence: u64) {
        let mut ring = self.ring();
        ring.in_flight.remove(&sequence);
        ring.unfinished.remove(&sequence);
        self.applied.notify_all();
    }

    /// Notes that a member did not take its part of a record in place. The record stays until [`Journal::applied`], for
    /// which all writes have to end first.
    pub fn unfinished(&self, sequence: u64, member: &Arc<Member>, error: io::Error) {
        let refused = (Arc::clone(member), error);
        self.ring().unfinished.insert(sequence, refused);
        self.applied.notify_all();
    }

    /// Keeps records for good: what they were to write is in place on some members only, and a member that is needed did
    /// not take it. The next assembly writes them again; there is no further record before.
    pub fn keep(&self, member: &Arc<Member>) {
        self.ring().stuck = Some(Arc::clone(member));
        self.applied.notify_all();
    }

    /// Moves the floor as far as records are in place, once they are durable there.
    fn advance<'a>(&'a self, mut ring: MutexGuard<'a, Ring>) -> Result<MutexGuard<'a, Ring>, (Arc<Member>, io::Error)> {
        if let Some(member) = &ring.stuck {
            return Err((
                Arc::clone(member),
                io::Error::other("a write of a stripe stays unfinished"),
            ));
        }
        let floor = ring.in_flight.first().copied().unwrap_or(ring.next);
        if let Some((member, error)) = ring.unfinished.get(&floor).filter(|_| floor == ring.floor) {
            return Err((Arc::clone(member), again(error)));
        }
        if floor == ring.floor {
            return Ok(self.applied.wait(ring).unwrap_or_else(PoisonError::into_inner));
        }
        for (member, _) in &ring.sidecars {
            member.flush().map_err(|error| (Arc::clone(member), error))?;
        }
        ring.floor = floor;
        match ring.write_state(self.array_uuid).pop() {
            Some(failed) => Err(failed),
            None => Ok(ring),
        }
    }
}

#[cfg(test)]
mod tests;
