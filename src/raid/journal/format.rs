//! Bytes of a stripe journal: one *sidecar* file for each member, which holds what was to be written to that member.
//!
//! | at | what |
//! |---|---|
//! | 0, 4096 | state, in two copies by turns: the valid one of the greater generation counts; with what is [`Blank`] |
//! | 8192 + n * 135,168 | entry n of a ring of [`ENTRIES`]: header of 4096 bytes, then up to 128 KiB of the member's bytes |
//!
//! State and header are little endian and end in a CRC32 of what comes before (state) or of the whole header with the
//! field zero. A write of columns of a stripe is one *record*: an entry of the same sequence number in the sidecar of each
//! member that takes part. Nothing here does I/O; all bytes are untrusted.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

use super::blank::Blank;
use crate::raid::metadata::identity::{Time, Uuid};

/// Entries of the ring.
pub const ENTRIES: u64 = 32;
/// Most bytes that an entry has for its member.
pub const PAYLOAD_BYTES: u64 = 128 * 1024;
/// Unit of state and headers.
pub const BLOCK_BYTES: usize = 4096;

/// Bytes of a state without what is blank.
pub(super) const STATE_BYTES: usize = size_of::<RawState>();

const STATE_MAGIC: [u8; 8] = *b"HSstripe";
const ENTRY_MAGIC: [u8; 8] = *b"HSentry1";
const TAKERS_MAX: usize = (BLOCK_BYTES - 60) / 2;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawState {
    magic: [u8; 8],       // 0
    array_uuid: [u8; 16], // 8
    generation: U64,      // 24
    events: U64,          // 32
    updated: U64,         // 40
    events_before: U64,   // 48
    updated_before: U64,  // 56
    floor: U64,           // 64
    flags: U32,           // 72
    crc: U32,             // 76
}

const _: () = assert!(size_of::<RawState>() == 80);

/// A writing of the superblocks: no two have both in common, whoever wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// How often they had been written then. Linux counts back where an array only becomes clean again.
    pub events: u64,
    /// When that was.
    pub updated: Time,
}

/// What a sidecar says of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whose it is.
    pub array_uuid: Uuid,
    /// Counts the states that were written.
    pub generation: u64,
    /// Superblocks that it goes with, which may not have been written yet.
    pub stamp: Stamp,
    /// Those before.
    pub stamp_before: Stamp,
    /// Records before this number are durable in their places.
    pub floor: u64,
    /// True where every write goes through the journal.
    pub active: bool,
    /// True where redundancy was found not to go with the data, and was not repaired since.
    pub inconsistent: bool,
    /// What reads as zeros whatever members hold.
    pub blank: Option<Blank>,
}

const ACTIVE: u32 = 1;
const INCONSISTENT: u32 = 2;
const BLANK: u32 = 4;

/// False for counts that leave no room to count on.
fn counts_are_sane(counts: &[U64]) -> bool {
    counts.iter().all(|count| count.get() < 1 << 62)
}

impl State {
    /// Decodes one copy; none where it is not whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, rest) = RawState::read_from_prefix(bytes).ok()?;
        let head = &raw.as_bytes()[..76];
        let whole = raw.magic == STATE_MAGIC
            && counts_are_sane(&[raw.generation, raw.events, raw.floor])
            && raw.crc.get() == crc32fast::hash(head);
        let blank = match whole && raw.flags.get() & BLANK != 0 {
            true => Some(Blank::decode(head, rest)?),
            false => None,
        };
        whole.then(|| Self {
            array_uuid: Uuid(raw.array_uuid),
            generation: raw.generation.get(),
            stamp: Stamp {
                events: raw.events.get(),
                updated: Time(raw.updated.get()),
            },
            stamp_before: Stamp {
                events: raw.events_before.get(),
                updated: Time(raw.updated_before.get()),
            },
            floor: raw.floor.get(),
            active: raw.flags.get() & ACTIVE != 0,
            inconsistent: raw.flags.get() & INCONSISTENT != 0,
            blank,
        })
    }

    /// Encodes it.
    pub fn encode(&self) -> Vec<u8> {
        let flags = [
            (self.active, ACTIVE),
            (self.inconsistent, INCONSISTENT),
            (self.blank.is_some(), BLANK),
        ];
        let flags: u32 = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| flag).sum();
        let mut raw = RawState {
            magic: STATE_MAGIC,
            array_uuid: self.array_uuid.0,
            generation: self.generation.into(),
            events: self.stamp.events.into(),
            updated: self.stamp.updated.0.into(),
            events_before: self.stamp_before.events.into(),
            updated_before: self.stamp_before.updated.0.into(),
            floor: self.floor.into(),
            flags: flags.into(),
            crc: 0.into(),
        };
        raw.crc = crc32fast::hash(&raw.as_bytes()[..76]).into();
        let blank = self.blank.as_ref().map(|blank| blank.encode(&raw.as_bytes()[..76]));
        [raw.as_bytes(), &blank.unwrap_or_default()].concat()
    }

    /// True where it goes with superblocks that were written so: nobody else ran the array since.
    pub fn goes_with(&self, superblocks: Stamp) -> bool {
        self.stamp == superblocks || self.stamp_before == superblocks
    }

    /// Where this generation stands.
    pub fn place_bytes(&self) -> u64 {
        self.generation % 2 * BLOCK_BYTES as u64
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone)]
#[repr(C)]
struct RawEntry {
    magic: [u8; 8],           // 0
    array_uuid: [u8; 16],     // 8
    sequence: U64,            // 24
    offset: U64,              // 32
    length: U32,              // 40
    payload_crc: U32,         // 44
    crc: U32,                 // 48
    slot: U16,                // 52
    takers: U16,              // 54
    pad: U32,                 // 56
    slots: [U16; TAKERS_MAX], // 60
}

const _: () = assert!(size_of::<RawEntry>() == BLOCK_BYTES);

/// One member's part of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number of the record.
    pub sequence: u64,
    /// Slot of the member.
    pub slot: u16,
    /// Where the bytes belong, from the start of its device.
    pub offset_bytes: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Slots of all members that take part.
    pub takers: Vec<u16>,
}

impl Entry {
    /// Where the entry of a record stands.
    pub fn place_bytes(sequence: u64) -> u64 {
        2 * BLOCK_BYTES as u64 + sequence % ENTRIES * (BLOCK_BYTES as u64 + PAYLOAD_BYTES)
    }

    /// Encodes header and bytes; none where there are too many of either.
    pub fn encode(
        array_uuid: Uuid,
        sequence: u64,
        slot: u16,
        offset_bytes: u64,
        bytes: &[u8],
        takers: &[u16],
    ) -> Option<Vec<u8>> {
        let mut slots = [U16::ZERO; TAKERS_MAX];
        for (place, taker) in slots.get_mut(..takers.len())?.iter_mut().zip(takers) {
            *place = (*taker).into();
        }
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| u64::from(*length) <= PAYLOAD_BYTES)?;
        let mut raw = RawEntry {
            magic: ENTRY_MAGIC,
            array_uuid: array_uuid.0,
            sequence: sequence.into(),
            offset: offset_bytes.into(),
            length: length.into(),
            payload_crc: crc32fast::hash(bytes).into(),
            crc: 0.into(),
            slot: slot.into(),
            takers: u16::try_from(takers.len()).ok()?.into(),
            pad: 0.into(),
            slots,
        };
        raw.crc = crc32fast::hash(raw.as_bytes()).into();
        Some([raw.as_bytes(), bytes].concat())
    }

    /// Decodes what stands in a place of the ring; none where it is not whole or another array's.
    pub fn decode(array_uuid: Uuid, bytes: &[u8]) -> Option<Self> {
        let (mut raw, rest) = RawEntry::read_from_prefix(bytes).ok()?;
        let crc = std::mem::take(&mut raw.crc);
        let whole = raw.magic == ENTRY_MAGIC
            && counts_are_sane(&[raw.sequence])
            && crc.get() == crc32fast::hash(raw.as_bytes());
        let payload = rest.get(..usize::try_from(raw.length.get()).ok()?)?;
        let takers = raw.slots.get(..usize::from(raw.takers.get()))?;
        let own = whole && raw.array_uuid == array_uuid.0 && raw.payload_crc.get() == crc32fast::hash(payload);
        own.then(|| Self {
            sequence: raw.sequence.get(),
            slot: raw.slot.get(),
            offset_bytes: raw.offset.get(),
            bytes: payload.to_vec(),
            takers: takers.iter().map(|slot| slot.get()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid([3; 16]);

    #[test]
    fn every_byte_of_state_and_entry_counts() {
        let state = State {
            array_uuid: UUID,
            generation: 5,
            stamp: Stamp {
                events: 17,
                updated: Time::new(1000, 5),
            },
            stamp_before: Stamp {
                events: 16,
                updated: Time::new(999, 5),
            },
            floor: 40,
            active: true,
            inconsistent: true,
            blank: None,
        };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes).as_ref(), Some(&state));
        let state = State {
            blank: Blank::new(0, 1 << 40, 4096),
            ..state
        };
        let with_blank = state.encode();
        assert_eq!(with_blank.len(), BLOCK_BYTES);
        assert_eq!(State::decode(&with_blank), Some(state));
        // Half of it is of another time.
        assert_eq!(
            State::decode(&[&bytes[..80], &with_blank[80..]].concat())
                .unwrap()
                .blank,
            None
        );
        assert_eq!(State::decode(&with_blank[..3000]), None);
        let entry = Entry::encode(UUID, 33, 2, 8192, &[9; 700], &[0, 2, 3]).unwrap();
        let decoded = Entry::decode(UUID, &entry).unwrap();
        assert_eq!((decoded.sequence, decoded.slot, decoded.offset_bytes), (33, 2, 8192));
        assert_eq!((decoded.bytes, decoded.takers), (vec![9; 700], vec![0, 2, 3]));
        assert_eq!(Entry::decode(Uuid([4; 16]), &entry), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(State::decode(&damaged), None, "byte {at} of the state");
        }
        for at in (0..entry.len()).filter(|at| !(58..4000).contains(at) || at % 64 == 0) {
            let mut damaged = entry.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Entry::decode(UUID, &damaged), None, "byte {at} of the entry");
        }
        assert_eq!(Entry::decode(UUID, &entry[..entry.len() - 1]), None);
        assert_eq!(State::decode(&bytes[..40]), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Entry::encode(UUID, 0, 0, 0, &vec![0; 128 * 1024 + 1], &[]), None);
        assert_eq!(Entry::encode(UUID, 0, 0, 0, &[], &[0; TAKERS_MAX + 1]), None);
    }
}
