//! What the writer of a stripe journal keeps in mind: which places of the rings are taken, what may be retired.
//!
//! Positions count bytes since the epoch began and never go back; the place in a ring is the position modulo its size.

use std::collections::BTreeMap;

use super::{BLOCK_BYTES, RING_AT, Record};
use crate::raid::Slot;

/// The ring of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ring {
    ring_bytes: u64,
    head: u64,
    tail: u64,
}

impl Ring {
    /// Position for a record of `length` bytes and the head after it; none while there is no room. A record never wraps:
    /// what is left at the end of a lap is skipped.
    fn room(&self, length: u64) -> Option<u64> {
        let left = self.ring_bytes - self.head % self.ring_bytes;
        let position = if length > left { self.head + left } else { self.head };
        (position + length - self.tail <= self.ring_bytes).then_some(position)
    }
}

/// A place for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The member.
    pub slot: Slot,
    /// Position, which goes into the record.
    pub position: u64,
    /// Offset in the member's journal, in bytes.
    pub offset_bytes: u64,
}

/// Number and places of one stripe write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence number.
    pub sequence: u64,
    /// A place for each participant.
    pub places: Vec<Place>,
}

#[derive(Debug, Clone)]
struct Open {
    stripe: u64,
    places: Vec<Place>,
    done: bool,
}

/// The books of an array's stripe journals. Whoever writes keeps to this order: take an entry; write its records and make
/// them durable; write the stripe in place; make that durable; say that it is done. From time to time write checkpoints
/// with [`Ledger::retired_below`] and [`Ledger::tail`] to all members, make them durable, then release.
#[derive(Debug, Clone)]
pub struct Ledger {
    rings: BTreeMap<Slot, Ring>,
    open: BTreeMap<u64, Open>,
    next_sequence: u64,
}

impl Ledger {
    /// Books of an epoch that begins with empty rings, whose sizes in bytes are rounded down to whole blocks, and with
    /// sequence number `next_sequence`.
    pub fn new(rings: impl IntoIterator<Item = (Slot, u64)>, next_sequence: u64) -> Self {
        let block = BLOCK_BYTES as u64;
        let whole = rings.into_iter().map(|(slot, bytes)| (slot, bytes / block * block));
        let ring = |ring_bytes| Ring {
            ring_bytes,
            head: 0,
            tail: 0,
        };
        Self {
            rings: whole
                .filter(|(_, bytes)| *bytes > 0)
                .map(|(slot, bytes)| (slot, ring(bytes)))
                .collect(),
            open: BTreeMap::new(),
            next_sequence,
        }
    }

    /// Takes a number and places for a write of `stripe`; `payloads` has the sectors for each participant. None while a
    /// ring has no room, and where a participant has no ring. An empty ring has room for any record of half its size,
    /// not always for a longer one.
    pub fn take(&mut self, stripe: u64, payloads: &[(Slot, u32)]) -> Option<Entry> {
        let mut places = Vec::with_capacity(payloads.len());
        for &(slot, sectors) in payloads {
            let ring = self.rings.get(&slot)?;
            let length = Record::length_bytes(sectors);
            let position = ring.room(length)?;
            places.push((
                Place {
                    slot,
                    position,
                    offset_bytes: RING_AT + position % ring.ring_bytes,
                },
                position + length,
            ));
        }
        for (place, head) in &places {
            self.rings.get_mut(&place.slot).expect("it has room").head = *head;
        }
        let places: Vec<Place> = places.into_iter().map(|(place, _)| place).collect();
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let open = Open {
            stripe,
            places: places.clone(),
            done: false,
        };
        self.open.insert(sequence, open);
        Some(Entry { sequence, places })
    }

    /// Notes that the stripe write `sequence` is durable in place, or that it failed before anything was written in
    /// place.
    ///
    /// # Panics
    /// If no such write is open.
    pub fn done(&mut self, sequence: u64) {
        self.open.get_mut(&sequence).expect("a write that was taken").done = true;
    }

    /// Drops a member that was lost; its records no longer hold anything up.
    pub fn lose(&mut self, slot: Slot) {
        self.rings.remove(&slot);
    }

    /// True while `stripe` has a record that is not retired: it is then written through the journal only.
    pub fn holds(&self, stripe: u64) -> bool {
        self.open.values().any(|open| open.stripe == stripe)
    }

    /// Sequence number below which every write is done: what the next checkpoints may retire.
    pub fn retired_below(&self) -> u64 {
        let unfinished = self.open.iter().find(|(_, open)| !open.done);
        unfinished.map_or(self.next_sequence, |(sequence, _)| *sequence)
    }

    /// Tail for the checkpoint of a member that retires all below `retired_below`: its oldest record that stays.
    pub fn tail(&self, slot: Slot, retired_below: u64) -> u64 {
        let staying = self.open.range(retired_below..).flat_map(|(_, open)| &open.places);
        let oldest = staying
            .filter(|place| place.slot == slot)
            .map(|place| place.position)
            .min();
        oldest.unwrap_or_else(|| self.rings.get(&slot).map_or(0, |ring| ring.head))
    }

    /// Gives back the places of all below `retired_below`, which durable checkpoints of all members have retired.
    ///
    /// # Panics
    /// If one of them is not done.
    pub fn release(&mut self, retired_below: u64) {
        let slots: Vec<Slot> = self.rings.keys().copied().collect();
        for slot in slots {
            let tail = self.tail(slot, retired_below);
            if let Some(ring) = self.rings.get_mut(&slot) {
                ring.tail = tail;
            }
        }
        let staying = self.open.split_off(&retired_below);
        let retired = std::mem::replace(&mut self.open, staying);
        assert!(
            retired.values().all(|open| open.done),
            "{retired:?} below {retired_below}"
        );
    }
}
