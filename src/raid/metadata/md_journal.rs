//! md's own write journal for RAID 4, 5 and 6, on a device of its own: decoded, never written.
//!
//! The journal is a ring in the data area of a member with role journal; the superblock's journal tail, in sectors from
//! the data offset, says where to begin. A block of 4096 bytes describes the data and parity pages that follow it:
//!
//! | at | what |
//! |---|---|
//! | 0 | magic 6433c509, checksum, version 1, pad, used bytes, sequence, position |
//! | 32 | payloads: type u16, flags u16, then by type: |
//! | | data (0) and parity (1): sectors u32, location u64, a checksum u32 for each page |
//! | | flush (2): bytes u32, then the stripes that are done, u64 each |
//!
//! Checksums are CRC-32C seeded with the array's UUID and not inverted at the end. Source: `linux/raid/md_p.h`; this
//! was read from its definitions and from journals that Linux 6.1 wrote.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

use super::identity::Uuid;
use crate::raid::Sector;

/// Bytes of a block that describes others, and of a page.
pub const BLOCK_BYTES: usize = 4096;
const BLOCK_SECTORS: u64 = 8;
const MAGIC: u32 = 0x6433_c509;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    magic: U32,    // 0
    checksum: U32, // 4
    version: u8,   // 8
    pad: [u8; 3],  // 9
    used: U32,     // 12
    sequence: U64, // 16
    position: U64, // 24
}

const _: () = assert!(size_of::<Fixed>() == 32);

#[derive(FromBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct PayloadHead {
    kind: U16,  // 0
    flags: U16, // 2
    size: U32,  // 4
}

const _: () = assert!(size_of::<PayloadHead>() == 8);

/// Where the log cannot be read on. The first damaged block is the end of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MdJournalDamage {
    /// No block of a journal.
    #[error("no journal block (magic {found:#010x})")]
    Absent {
        /// What stands there.
        found: u32,
    },
    /// The bytes are not what was written.
    #[error("journal block has checksum {stored:#010x}, but its bytes have {computed:#010x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A field cannot be right.
    #[error("journal block: {field} is {value}: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        reason: &'static str,
    },
}

/// What a block says of one run of pages, or of stripes that are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// New data, for a place of the array.
    Data {
        /// Array sector.
        location: Sector,
        /// How many sectors.
        sectors: u64,
        /// Checksum of each page.
        checksums: Vec<u32>,
        /// As stored: 1 discard, 2 and 3 a reshape.
        flags: u16,
    },
    /// New parity, P and for RAID 6 then Q, for a place of the members.
    Parity {
        /// Member sector, from the data offset.
        location: Sector,
        /// How many sectors.
        sectors: u64,
        /// Checksum of each page.
        checksums: Vec<u32>,
        /// As stored.
        flags: u16,
    },
    /// Stripes that are on the members.
    Flush {
        /// Member sectors where they begin.
        stripes: Vec<Sector>,
    },
}

/// One block of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MdJournalBlock {
    /// Counts the blocks.
    pub sequence: u64,
    /// Its place, in sectors from the data offset.
    pub position: Sector,
    /// What follows it, in order.
    pub payloads: Vec<Payload>,
}

/// Reads the journal in `ring`, the whole data area of the device, from `tail` on up to the first block that is not
/// whole or whose pages are not.
///
/// # Errors
/// [`MdJournalDamage`] where not even the first block is whole: a started journal always has one.
pub fn walk(ring: &[u8], tail: Sector, array: Uuid) -> Result<Vec<MdJournalBlock>, MdJournalDamage> {
    let size = ring.len() as u64 / 512 / BLOCK_SECTORS * BLOCK_SECTORS;
    let page = |position: u64| {
        let from = usize::try_from(position.checked_rem(size)? * 512).ok()?;
        ring.get(from..from + BLOCK_BYTES)
    };
    if tail.0 >= size || !tail.0.is_multiple_of(BLOCK_SECTORS) {
        return bad("journal_tail", tail.0, "it is a page of the journal");
    }
    let mut found: Vec<MdJournalBlock> = Vec::new();
    let (mut position, mut walked) = (tail.0, 0);
    loop {
        let block = match MdJournalBlock::decode(page(position).unwrap_or_default(), array) {
            Ok(block) => block,
            Err(damage) if found.is_empty() => return Err(damage),
            Err(_) => break,
        };
        let next = found
            .last()
            .is_none_or(|last| last.sequence.checked_add(1) == Some(block.sequence));
        walked += block.length().0;
        if !next || block.position.0 != position || walked > size {
            break;
        }
        let mut pages = (1..).map(|index| page(position + index * BLOCK_SECTORS).unwrap_or_default());
        let mut whole = |sums: &[u32]| {
            sums.iter()
                .all(|sum| pages.next().is_some_and(|page| checksum(array, page) == *sum))
        };
        let all = block.payloads.iter().all(|payload| match payload {
            Payload::Data { checksums, .. } | Payload::Parity { checksums, .. } => whole(checksums),
            Payload::Flush { .. } => true,
        });
        if !all {
            break;
        }
        position = (position + block.length().0) % size;
        found.push(block);
    }
    Ok(found)
}

/// CRC-32C as the journal has it.
pub fn checksum(array: Uuid, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(crc32c::crc32c(&array.0), bytes)
}

impl MdJournalBlock {
    /// Decodes a block.
    ///
    /// # Errors
    /// [`MdJournalDamage`] that names the field.
    pub fn decode(bytes: &[u8], array: Uuid) -> Result<Self, MdJournalDamage> {
        let Some(bytes) = bytes.get(..BLOCK_BYTES) else {
            return Err(MdJournalDamage::Absent { found: 0 });
        };
        let (fixed, _) = Fixed::read_from_prefix(bytes).expect("a block is longer");
        if fixed.magic.get() != MAGIC {
            return Err(MdJournalDamage::Absent {
                found: fixed.magic.get(),
            });
        }
        let mut zeroed = bytes.to_vec();
        zeroed[4..8].fill(0);
        let computed = checksum(array, &zeroed);
        if fixed.checksum.get() != computed {
            return Err(MdJournalDamage::Checksum {
                stored: fixed.checksum.get(),
                computed,
            });
        }
        if fixed.version != 1 {
            return bad("version", fixed.version.into(), "only 1 is known");
        }
        let used = usize::try_from(fixed.used.get()).unwrap_or(usize::MAX);
        let Some(mut rest) = bytes.get(size_of::<Fixed>()..used) else {
            return bad("meta_size", fixed.used.get().into(), "it is 32 to 4096 bytes");
        };
        let mut payloads = Vec::new();
        while !rest.is_empty() {
            let (payload, after) = decode_payload(rest)?;
            payloads.push(payload);
            rest = after;
        }
        Ok(Self {
            sequence: fixed.sequence.get(),
            position: Sector(fixed.position.get()),
            payloads,
        })
    }

    /// Sectors of the block and of the pages that follow it.
    pub fn length(&self) -> Sector {
        let pages = self.payloads.iter().map(|payload| match payload {
            Payload::Data { sectors, .. } | Payload::Parity { sectors, .. } => *sectors,
            Payload::Flush { .. } => 0,
        });
        Sector(pages.fold(BLOCK_SECTORS, u64::saturating_add))
    }
}

fn bad<T>(field: &'static str, value: u64, reason: &'static str) -> Result<T, MdJournalDamage> {
    Err(MdJournalDamage::Field { field, value, reason })
}

fn decode_payload(bytes: &[u8]) -> Result<(Payload, &[u8]), MdJournalDamage> {
    let cut = "it reaches past the used bytes";
    let Ok((head, rest)) = PayloadHead::read_from_prefix(bytes) else {
        return bad("payload", bytes.len() as u64, cut);
    };
    let (flags, size) = (head.flags.get(), head.size.get());
    match head.kind.get() {
        2 => {
            let length = usize::try_from(size).unwrap_or(usize::MAX);
            let Some((stripes, rest)) = rest.split_at_checked(length).filter(|_| length % 8 == 0) else {
                return bad("flush size", size.into(), "it is whole stripes within the used bytes");
            };
            let numbers = stripes
                .chunks_exact(8)
                .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
            let stripes = numbers.map(Sector).collect();
            Ok((Payload::Flush { stripes }, rest))
        }
        0 | 1 => {
            let Ok((location, rest)) = U64::read_from_prefix(rest) else {
                return bad("payload", bytes.len() as u64, cut);
            };
            if size == 0 || u64::from(size) % BLOCK_SECTORS != 0 {
                return bad("payload size", size.into(), "it is whole pages");
            }
            let count = usize::try_from(u64::from(size) / BLOCK_SECTORS).unwrap_or(usize::MAX);
            let Some((sums, rest)) = rest.split_at_checked(count.saturating_mul(4)) else {
                return bad("payload size", size.into(), cut);
            };
            let sums = sums
                .chunks_exact(4)
                .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes")));
            let (location, sectors, checksums) = (Sector(location.get()), size.into(), sums.collect());
            let payload = if head.kind.get() == 0 {
                Payload::Data {
                    location,
                    sectors,
                    checksums,
                    flags,
                }
            } else {
                Payload::Parity {
                    location,
                    sectors,
                    checksums,
                    flags,
                }
            };
            Ok((payload, rest))
        }
        kind => bad("payload type", kind.into(), "0, 1 and 2 are known"),
    }
}

#[cfg(test)]
mod tests;
