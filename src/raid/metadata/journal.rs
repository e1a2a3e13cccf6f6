//! Our stripe journal: what closes the write hole of RAID 4, 5 and 6, also where members are missing. Formats, the ring
//! and the plan of a replay; no I/O.
//!
//! A write that changes two members of a stripe or more is logged before it is made: every member that it changes gets a
//! *record* in its own journal, in its private partition or sidecar, with the new bytes of that member alone, be they
//! data, P or Q. When all the records are durable the stripe is written in place; when that is durable too the records
//! are *retired*. So the cost is one more write to each member, and no member is special.
//!
//! Replay after a crash: records of one sequence number are a *group*. A group is replayed where every participant that
//! is present has its record, and dropped otherwise, for then nothing was written in place. A participant that was lost
//! with its journal is not missed: its bytes follow from the parity of the others, all old or all new. Groups are
//! replayed in ascending order; to replay twice is to replay once. A stripe that has a live record and is then written
//! without one must be retired first, durably on all members; whoever writes keeps that rule.
//!
//! The journal of a member is its *checkpoint*, twice, then a ring of records. Little endian, blocks of 4096 bytes:
//!
//! | block | at | what |
//! |---|---|---|
//! | 0, 1 | 0 | checkpoint: magic, CRC-32C, version, array's and device's UUID |
//! | | 0x30 | generation (the higher of the two counts), epoch, tail in bytes, sequence below which all is retired |
//! | | 0x50 | events and time of the superblocks now, and of those that are about to be written |
//! | | 0x70 | bytes of the ring; flags: 1 every write goes through the journal |
//! | 2.. | 0 | record: magic, CRC-32C of this block, CRC-32C of the payload, array's UUID, epoch |
//! | | 0x28 | position in bytes since the epoch began, sequence, stripe |
//! | | 0x40 | slot, count of ranges, sectors of payload, participants (a bit a slot, 256 of them) |
//! | | 0x70 | ranges of 16 bytes: sector of the device, sectors, kind (0 data, 1 P, 2 Q) |
//! | | | then the payload: the ranges' bytes one after the other, filled up to a whole block |
//!
//! The *epoch* is a random number of each start of the array: records of another epoch, or of another lap of the ring,
//! are not seen. Superblocks that moved on without us (another md ran the array) make a journal *void*: it is ignored.
//! A record that is torn does not hide those after it: every block of the ring is looked at.

mod checkpoint;
mod record;
mod replay;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Stamp};
pub use record::{Kind, Range, Record, Scanned, scan};
pub use replay::{Doubt, Journal, Replay, ReplayWrite, replay};

/// Bytes of a block: of a checkpoint, and of a record's head.
pub const BLOCK_BYTES: usize = 4096;
/// Where the ring begins in a member's journal, in bytes.
pub const RING_AT: u64 = 2 * BLOCK_BYTES as u64;
/// Slots that can take part in a journal; an array of more has none.
pub const MAX_SLOTS: usize = 256;

/// Why a block of a journal says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalDamage {
    /// There is none, or it is torn.
    #[error("no whole {what} of a stripe journal")]
    Absent {
        /// `checkpoint` or `record`.
        what: &'static str,
    },
    /// It was written by a later version.
    #[error("stripe journal of version {version}; only 1 is known")]
    Version {
        /// The version.
        version: u32,
    },
    /// A field cannot be right.
    #[error("stripe journal: {field} is {value}: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        reason: &'static str,
    },
}

fn bad<T>(field: &'static str, value: u64, reason: &'static str) -> Result<T, JournalDamage> {
    Err(JournalDamage::Field { field, value, reason })
}

/// CRC-32C of a block whose checksum at `at` counts as 0.
fn block_checksum(block: &[u8], at: usize) -> u32 {
    let before = crc32c::crc32c(&block[..at]);
    crc32c::crc32c_append(crc32c::crc32c_append(before, &[0; 4]), &block[at + 4..])
}

/// Which places of a ring are taken: positions count bytes since the epoch began and never go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    ring_bytes: u64,
    head: u64,
    tail: u64,
}

/// A place for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Position, which goes into the record.
    pub position: u64,
    /// Offset in the member's journal, in bytes.
    pub offset_bytes: u64,
}

impl Ring {
    /// Empty ring of `ring_bytes`, rounded down to whole blocks.
    pub fn new(ring_bytes: u64) -> Self {
        Self {
            ring_bytes: ring_bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
            head: 0,
            tail: 0,
        }
    }

    /// Size in bytes.
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes
    }

    /// Takes a place for a record with `payload_sectors`; none while the ring is too full, and for ever where the ring
    /// is too small. A record never wraps: what is left at the end of a lap is skipped.
    pub fn take(&mut self, payload_sectors: u32) -> Option<Place> {
        let length = Record::length_bytes(payload_sectors);
        if length > self.ring_bytes {
            return None;
        }
        let left = self.ring_bytes - self.head % self.ring_bytes;
        let position = if length > left { self.head + left } else { self.head };
        if position + length - self.tail > self.ring_bytes {
            return None;
        }
        self.head = position + length;
        Some(Place {
            position,
            offset_bytes: RING_AT + position % self.ring_bytes,
        })
    }

    /// Position after the newest record.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Gives back all before `position`, which a durable checkpoint names as its tail.
    ///
    /// # Panics
    /// If `position` was not taken yet or was given back before.
    pub fn release(&mut self, position: u64) {
        assert!((self.tail..=self.head).contains(&position), "{position} of {self:?}");
        self.tail = position;
    }
}
