//! The checkpoint of a member's stripe journal: which records still count, and for which state of the array.
//!
//! Two blocks hold one each; they are written in turn, so that a torn write leaves the one before.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use super::{BLOCK_BYTES, JournalDamage, bad, block_checksum};
use crate::raid::metadata::identity::{Time, Uuid};

const MAGIC: [u8; 8] = *b"HSJRNCP\n";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = 8;
const MAX_RING_BYTES: u64 = 1 << 40;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    magic: [u8; 8],        // 0x00
    checksum: U32,         // 0x08
    version: U32,          // 0x0c
    array_uuid: [u8; 16],  // 0x10
    device_uuid: [u8; 16], // 0x20
    generation: U64,       // 0x30
    epoch: U64,            // 0x38
    tail: U64,             // 0x40
    retired_below: U64,    // 0x48
    events_now: U64,       // 0x50
    updated_now: U64,      // 0x58
    events_next: U64,      // 0x60
    updated_next: U64,     // 0x68
    ring_bytes: U64,       // 0x70
    flags: U64,            // 0x78
}

const _: () = assert!(size_of::<Fixed>() == 0x80);

/// One state of an array's superblocks: how often they were written, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Events.
    pub events: u64,
    /// Time of the last write.
    pub updated: Time,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The array.
    pub array_uuid: Uuid,
    /// The member that the journal belongs to.
    pub device_uuid: Uuid,
    /// Counts the checkpoints of this journal.
    pub generation: u64,
    /// Random number of this start of the array.
    pub epoch: u64,
    /// Position of the oldest record that may count, in bytes.
    pub tail: u64,
    /// Records of a lower sequence number are retired on all members.
    pub retired_below: u64,
    /// The superblocks that the array has.
    pub now: Stamp,
    /// Those that it is about to get; the same where none are to be written.
    pub next: Stamp,
    /// Size of the ring in bytes.
    pub ring_bytes: u64,
    /// True while every write that changes a stripe on two members or more goes through the journal, so that a dirty
    /// array with missing members is right again after the replay.
    pub covers_all: bool,
}

impl Checkpoint {
    /// Encodes one block. Checkpoint number `generation` goes to block `generation % 2`.
    pub fn encode(&self) -> Vec<u8> {
        let mut fixed = Fixed {
            magic: MAGIC,
            checksum: 0.into(),
            version: VERSION.into(),
            array_uuid: self.array_uuid.0,
            device_uuid: self.device_uuid.0,
            generation: self.generation.into(),
            epoch: self.epoch.into(),
            tail: self.tail.into(),
            retired_below: self.retired_below.into(),
            events_now: self.now.events.into(),
            updated_now: self.now.updated.0.into(),
            events_next: self.next.events.into(),
            updated_next: self.next.updated.0.into(),
            ring_bytes: self.ring_bytes.into(),
            flags: u64::from(self.covers_all).into(),
        };
        let mut block = vec![0; BLOCK_BYTES];
        block[..size_of::<Fixed>()].copy_from_slice(fixed.as_bytes());
        fixed.checksum = block_checksum(&block, CHECKSUM_AT).into();
        block[..size_of::<Fixed>()].copy_from_slice(fixed.as_bytes());
        block
    }

    /// Decodes one block.
    ///
    /// # Errors
    /// [`JournalDamage`] where it is not whole, and where the ring's size or tail cannot be.
    pub fn decode(block: &[u8]) -> Result<Self, JournalDamage> {
        let absent = JournalDamage::Absent { what: "checkpoint" };
        let Some(block) = block.get(..BLOCK_BYTES) else {
            return Err(absent);
        };
        let (fixed, _) = Fixed::read_from_prefix(block).expect("a block is longer");
        if fixed.magic != MAGIC || fixed.checksum.get() != block_checksum(block, CHECKSUM_AT) {
            return Err(absent);
        }
        if fixed.version.get() != VERSION {
            return Err(JournalDamage::Version {
                version: fixed.version.get(),
            });
        }
        let ring_bytes = fixed.ring_bytes.get();
        if ring_bytes == 0 || !ring_bytes.is_multiple_of(BLOCK_BYTES as u64) || ring_bytes > MAX_RING_BYTES {
            return bad("ring_bytes", ring_bytes, "a ring is whole blocks, 1 TiB at most");
        }
        let flags = fixed.flags.get();
        if flags > 1 {
            return bad("flags", flags, "0 and 1 are known");
        }
        let tail = fixed.tail.get();
        if !tail.is_multiple_of(BLOCK_BYTES as u64) || tail > u64::MAX >> 1 {
            return bad("tail", tail, "it is a block of the ring");
        }
        Ok(Self {
            array_uuid: Uuid(fixed.array_uuid),
            device_uuid: Uuid(fixed.device_uuid),
            generation: fixed.generation.get(),
            epoch: fixed.epoch.get(),
            tail,
            retired_below: fixed.retired_below.get(),
            now: Stamp {
                events: fixed.events_now.get(),
                updated: Time(fixed.updated_now.get()),
            },
            next: Stamp {
                events: fixed.events_next.get(),
                updated: Time(fixed.updated_next.get()),
            },
            ring_bytes,
            covers_all: flags == 1,
        })
    }

    /// The newer of two blocks, as they stand at the start of a journal.
    ///
    /// # Errors
    /// [`JournalDamage`] of the first where neither is whole.
    pub fn newest(blocks: &[u8]) -> Result<Self, JournalDamage> {
        let second = blocks.get(BLOCK_BYTES..).unwrap_or_default();
        match (Self::decode(blocks), Self::decode(second)) {
            (Ok(first), Ok(second)) if second.generation > first.generation => Ok(second),
            (Ok(first), _) => Ok(first),
            (Err(_), Ok(second)) => Ok(second),
            (Err(damage), Err(_)) => Err(damage),
        }
    }

    /// True where the journal speaks of an array whose superblocks are `found`.
    pub fn is_of(&self, found: Stamp) -> bool {
        found == self.now || found == self.next
    }
}
