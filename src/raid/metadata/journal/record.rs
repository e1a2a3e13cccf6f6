//! A record of the stripe journal: the bytes that one member is to get in one write of a stripe.
//!
//! Encoded as a head of one block and a payload of whole blocks; found again by looking at every block of the ring.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

use super::{BLOCK_BYTES, Checkpoint, JournalDamage, MAX_SLOTS, bad, block_checksum};
use crate::raid::{Sector, Slot, metadata::identity::Uuid};

const MAGIC: [u8; 8] = *b"HSJRNRC\n";
const CHECKSUM_AT: usize = 8;
const RANGES_AT: usize = size_of::<Fixed>();
/// Most ranges of one record.
const MAX_RANGES: usize = (BLOCK_BYTES - RANGES_AT) / size_of::<StoredRange>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    magic: [u8; 8],         // 0x00
    checksum: U32,          // 0x08
    payload_checksum: U32,  // 0x0c
    array_uuid: [u8; 16],   // 0x10
    epoch: U64,             // 0x20
    position: U64,          // 0x28
    sequence: U64,          // 0x30
    stripe: U64,            // 0x38
    slot: U16,              // 0x40
    ranges: U16,            // 0x42
    payload_sectors: U32,   // 0x44
    participants: [u8; 32], // 0x48
    pad: [u8; 8],           // 0x68
}

const _: () = assert!(size_of::<Fixed>() == 0x70);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct StoredRange {
    sector: U64,  // 0
    sectors: U32, // 8
    kind: u8,     // 12
    pad: [u8; 3], // 13
}

const _: () = assert!(size_of::<StoredRange>() == 16);

/// What a range holds; for messages, replay treats all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Data.
    Data,
    /// The first parity.
    P,
    /// The second parity.
    Q,
}

/// Sectors of a member that a record has new bytes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First sector, from the start of the member's device.
    pub sector: Sector,
    /// How many.
    pub sectors: u32,
    /// What it holds.
    pub kind: Kind,
}

/// Head of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The array.
    pub array_uuid: Uuid,
    /// Start of the array that wrote it.
    pub epoch: u64,
    /// Position in the ring.
    pub position: u64,
    /// Number of the stripe write, the same on all members; ascending over the life of the journal.
    pub sequence: u64,
    /// The stripe.
    pub stripe: u64,
    /// The member that it is for.
    pub slot: Slot,
    /// The members that the write changes, in ascending order.
    pub participants: Vec<Slot>,
    /// Where the payload goes.
    pub ranges: Vec<Range>,
}

impl Record {
    /// Bytes that a record with `payload_sectors` takes in the ring.
    pub fn length_bytes(payload_sectors: u32) -> u64 {
        BLOCK_BYTES as u64 + (u64::from(payload_sectors) * 512).next_multiple_of(BLOCK_BYTES as u64)
    }

    /// Sectors of all ranges.
    pub fn payload_sectors(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.sectors)).sum()
    }

    /// Encodes head and payload; `payload` has the ranges' bytes one after the other.
    ///
    /// # Panics
    /// If the payload is not as long as the ranges, if there are none or more than 249, or if a slot is 256 or more.
    pub fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let count = self.ranges.len();
        assert_eq!(
            payload.len() as u64,
            self.payload_sectors() * 512,
            "payload of {count} ranges"
        );
        let sectors = u32::try_from(self.payload_sectors()).expect("a payload is less than 2 TiB");
        assert!((1..=MAX_RANGES).contains(&count), "{count} ranges");
        let mut participants = [0; 32];
        for slot in &self.participants {
            assert!(usize::from(slot.0) < MAX_SLOTS, "slot {}", slot.0);
            participants[usize::from(slot.0) / 8] |= 1 << (slot.0 % 8);
        }
        let length = usize::try_from(Self::length_bytes(sectors)).expect("a record fits memory");
        let mut bytes = vec![0; length];
        bytes[BLOCK_BYTES..BLOCK_BYTES + payload.len()].copy_from_slice(payload);
        for (place, range) in bytes[RANGES_AT..BLOCK_BYTES].chunks_exact_mut(16).zip(&self.ranges) {
            let stored = StoredRange {
                sector: range.sector.0.into(),
                sectors: range.sectors.into(),
                kind: range.kind as u8,
                pad: [0; 3],
            };
            place.copy_from_slice(stored.as_bytes());
        }
        let mut fixed = Fixed {
            magic: MAGIC,
            checksum: 0.into(),
            payload_checksum: crc32c::crc32c(payload).into(),
            array_uuid: self.array_uuid.0,
            epoch: self.epoch.into(),
            position: self.position.into(),
            sequence: self.sequence.into(),
            stripe: self.stripe.into(),
            slot: self.slot.0.into(),
            ranges: u16::try_from(self.ranges.len()).expect("249 at most").into(),
            payload_sectors: sectors.into(),
            participants,
            pad: [0; 8],
        };
        bytes[..RANGES_AT].copy_from_slice(fixed.as_bytes());
        fixed.checksum = block_checksum(&bytes[..BLOCK_BYTES], CHECKSUM_AT).into();
        bytes[..RANGES_AT].copy_from_slice(fixed.as_bytes());
        bytes
    }

    /// Decodes a head; returns with it the checksum that its payload has to have.
    ///
    /// # Errors
    /// [`JournalDamage`] where it is not whole or its fields do not go together.
    pub fn decode(block: &[u8]) -> Result<(Self, u32), JournalDamage> {
        let absent = JournalDamage::Absent { what: "record" };
        let Some(block) = block.get(..BLOCK_BYTES) else {
            return Err(absent);
        };
        let (fixed, _) = Fixed::read_from_prefix(block).expect("a block is longer");
        if fixed.magic != MAGIC || fixed.checksum.get() != block_checksum(block, CHECKSUM_AT) {
            return Err(absent);
        }
        let count = usize::from(fixed.ranges.get());
        if !(1..=MAX_RANGES).contains(&count) {
            return bad("ranges", count as u64, "a record has 1 to 249");
        }
        let slots = (0_u16..256).filter(|&slot| fixed.participants[usize::from(slot) / 8] >> (slot % 8) & 1 == 1);
        let participants: Vec<Slot> = slots.map(Slot).collect();
        if !participants.contains(&Slot(fixed.slot.get())) {
            return bad("slot", fixed.slot.get().into(), "it is one of the participants");
        }
        let mut ranges = Vec::with_capacity(count);
        for bytes in block[RANGES_AT..].chunks_exact(16).take(count) {
            ranges.push(decode_range(bytes)?);
        }
        let record = Self {
            array_uuid: Uuid(fixed.array_uuid),
            epoch: fixed.epoch.get(),
            position: fixed.position.get(),
            sequence: fixed.sequence.get(),
            stripe: fixed.stripe.get(),
            slot: Slot(fixed.slot.get()),
            participants,
            ranges,
        };
        if record.payload_sectors() != u64::from(fixed.payload_sectors.get()) {
            let stored = fixed.payload_sectors.get();
            return bad("payload_sectors", stored.into(), "it is the sum of the ranges");
        }
        Ok((record, fixed.payload_checksum.get()))
    }
}

fn decode_range(bytes: &[u8]) -> Result<Range, JournalDamage> {
    let stored = StoredRange::read_from_bytes(bytes).expect("a range's bytes");
    let kind = match stored.kind {
        0 => Kind::Data,
        1 => Kind::P,
        2 => Kind::Q,
        kind => return bad("kind", kind.into(), "0, 1 and 2 are known"),
    };
    if stored.sectors.get() == 0 {
        return bad("sectors", 0, "a range is not empty");
    }
    Ok(Range {
        sector: Sector(stored.sector.get()),
        sectors: stored.sectors.get(),
        kind,
    })
}

/// A record found in a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its head.
    pub record: Record,
    /// Where its payload is in the ring, in bytes.
    pub payload: std::ops::Range<usize>,
}

/// Finds the whole records in a member's ring that its checkpoint counts, in the order of their places.
///
/// `ring` are the bytes after both checkpoints; what is torn, of another epoch, of another lap or another array's is
/// passed over.
pub fn scan(ring: &[u8], checkpoint: &Checkpoint) -> Vec<Scanned> {
    let size = usize::try_from(checkpoint.ring_bytes).map_or(ring.len(), |size| size.min(ring.len()));
    let window = checkpoint.tail..checkpoint.tail + checkpoint.ring_bytes;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(block) = ring[..size].get(at..at + BLOCK_BYTES) {
        let here = at;
        at += BLOCK_BYTES;
        let Ok((record, payload_checksum)) = Record::decode(block) else {
            continue;
        };
        let ours = record.array_uuid == checkpoint.array_uuid && record.epoch == checkpoint.epoch;
        let lap = window.contains(&record.position) && record.position % checkpoint.ring_bytes == here as u64;
        if !ours || !lap {
            continue;
        }
        let sectors = usize::try_from(record.payload_sectors()).unwrap_or(usize::MAX);
        let payload = at..at.saturating_add(sectors.saturating_mul(512));
        let Some(bytes) = ring[..size].get(payload.clone()) else {
            continue;
        };
        // What follows belongs to this record even where it is torn; it is no place to look for others.
        at = payload.end.next_multiple_of(BLOCK_BYTES);
        if crc32c::crc32c(bytes) == payload_checksum && record.sequence >= checkpoint.retired_below {
            found.push(Scanned { record, payload });
        }
    }
    found
}
