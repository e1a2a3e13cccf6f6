//! What a crash has left in the sidecars: records that are to be written again, and what else they say of the array.
//!
//! It is read before the array is assembled, and written in place by [`crate::raid::assemble`].

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    Blank, Sidecar, Stamp,
    format::{BLOCK_BYTES, ENTRIES, Entry, PAYLOAD_BYTES, State},
};
use crate::{
    raid::{Slot, metadata::identity::Uuid},
    storage::{Access, Storage},
};

/// What the sidecars of an array hold after a crash.
#[derive(Debug, Default)]
pub struct Replay {
    /// True where the journal was active, and the sidecars of all members are there: parity is right but for the records.
    pub covers: bool,
    /// True where the journal was active, as some sidecar has it.
    pub active: bool,
    /// True where a verify found the array inconsistent, and nothing has made it whole since.
    pub inconsistent: bool,
    /// What all that go with their superblocks call blank.
    pub blank: Option<Blank>,
    /// Number of the next record.
    pub next: u64,
    /// Generation of the last state.
    pub generation: u64,
    /// Entries to be written again, in order.
    pub entries: Vec<Entry>,
}

impl Replay {
    /// Reads the sidecars of the members by slot, each with the stamp of its member's superblock.
    ///
    /// # Errors
    /// What the host says; a sidecar that is not there is no error.
    pub fn read(array_uuid: Uuid, sidecars: &[(Slot, Sidecar, Stamp)]) -> io::Result<Self> {
        let mut replay = Self::default();
        let mut floor = 0;
        let mut active = 0;
        let mut blanks = Vec::new();
        let mut records: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        for (slot, sidecar, stamp) in sidecars {
            let Some(storage) = sidecar.open(Access::Read)? else {
                continue;
            };
            let Some(state) = read_state(array_uuid, &*storage)? else {
                continue;
            };
            let newer = state.generation > replay.generation;
            replay.generation = replay.generation.max(state.generation);
            replay.next = replay.next.max(state.floor);
            if !state.goes_with(*stamp) {
                continue;
            }
            if newer {
                replay.inconsistent = state.inconsistent;
            }
            blanks.push(state.blank);
            if !state.active {
                continue;
            }
            active += 1;
            floor = floor.max(state.floor);
            let mut bytes = vec![0; BLOCK_BYTES + usize::try_from(PAYLOAD_BYTES).unwrap_or(0)];
            for place in 0..ENTRIES {
                let count = storage.read_at(&mut bytes, Entry::place_bytes(place))?;
                let entry = Entry::decode(array_uuid, &bytes[..count]);
                if let Some(entry) = entry.filter(|entry| entry.slot == slot.0) {
                    records.entry(entry.sequence).or_default().push(entry);
                }
            }
        }
        // A region is written only after all say that it is not blank: who does not call it so may know better.
        replay.blank = blanks.into_iter().reduce(|one, other| one?.meet(&other?)).flatten();
        replay.active = active > 0;
        replay.covers = active == sidecars.len() && active > 0;
        replay.next = records
            .keys()
            .next_back()
            .map_or(replay.next, |last| replay.next.max(last + 1));
        // In a crash the numbers of records that never became whole are used up too.
        replay.next += ENTRIES;
        let there: BTreeSet<u16> = sidecars.iter().map(|(slot, ..)| slot.0).collect();
        for (_, entries) in records.range(floor..) {
            let has = |taker: &u16| !there.contains(taker) || entries.iter().any(|entry| entry.slot == *taker);
            if entries.iter().all(|entry| entry.takers.iter().all(has)) {
                replay.entries.extend(entries.iter().cloned());
            }
        }
        Ok(replay)
    }

    /// What of it counts for an array that has no stripes to be torn.
    pub fn of_no_stripes(self) -> Self {
        Self {
            active: false,
            covers: false,
            entries: Vec::new(),
            ..self
        }
    }
}

/// The state of an array's sidecar; none where no copy is whole and its own.
fn read_state(array_uuid: Uuid, storage: &dyn Storage) -> io::Result<Option<State>> {
    let mut bytes = vec![0; 2 * BLOCK_BYTES];
    let count = storage.read_at(&mut bytes, 0)?;
    let copies = bytes[..count].chunks(BLOCK_BYTES).filter_map(State::decode);
    let copies = copies.filter(|state| state.array_uuid == array_uuid);
    Ok(copies.max_by_key(|state| state.generation))
}
