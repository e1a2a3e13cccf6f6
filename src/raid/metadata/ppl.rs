//! md's partial parity log: what it takes to make parity right again after a crash of a RAID 5. Read only, no I/O.
//!
//! Before md writes part of a stripe it logs, on the member that holds the stripe's parity, the XOR of the chunks that
//! it does not write. After a crash parity is that XOR plus whatever stands in the chunks that were being written, so a
//! missing member that was not written to is rebuilt as it was. Little endian, in the area that the superblock names:
//!
//! | at | what |
//! |---|---|
//! | 0 | 512 bytes 0xff, signature (CRC-32C of the array's UUID), 0, generation, count of entries, CRC-32C |
//! | 536 | entries of 24 bytes: first array sector, bytes of partial parity, bytes of data, parity's slot, CRC-32C |
//! | 4096 | the partial parities, one after the other |
//!
//! With several logs in one area they follow each other and the one of the highest generation counts. Sources:
//! `linux/raid/md_p.h`, the kernel's documentation of raid5-ppl, and arrays of Linux 6.1 that were killed in the middle.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use super::identity::Uuid;
use crate::raid::{Sector, Slot};

/// Bytes of a header, without the partial parities after it.
pub const HEADER_BYTES: usize = 4096;
const CHECKSUM_AT: std::ops::Range<usize> = 532..536;
const ENTRIES_AT: usize = size_of::<Fixed>();
const MAX_ENTRIES: usize = (HEADER_BYTES - ENTRIES_AT) / size_of::<StoredEntry>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    reserved: [u8; 512], // 0
    signature: U32,      // 512
    padding: U32,        // 516
    generation: U64,     // 520
    count: U32,          // 528
    checksum: U32,       // 532
}

const _: () = assert!(size_of::<Fixed>() == 536);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct StoredEntry {
    data_sector: U64,   // 0
    partial_bytes: U32, // 8
    data_bytes: U32,    // 12
    parity_slot: U32,   // 16
    checksum: U32,      // 20
}

const _: () = assert!(size_of::<StoredEntry>() == 24);

/// Why a log says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PplDamage {
    /// There is no whole header.
    #[error("partial parity log header has CRC {stored:#010x}, but its bytes have {computed:#010x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// It is another array's.
    #[error("partial parity log has signature {found:#010x}; this array's is {expected:#010x}")]
    Foreign {
        /// As stored.
        found: u32,
        /// Of the array's UUID.
        expected: u32,
    },
    /// A field of an entry cannot be right.
    #[error("partial parity log: {field} of entry {entry} is {value}: {reason}")]
    Field {
        /// Which entry, from 0; the header's count of entries is nobody's.
        entry: usize,
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        reason: &'static str,
    },
    /// The log ends before what it should hold.
    #[error("partial parity log of {size_bytes} bytes is too short")]
    TooShort {
        /// Its size.
        size_bytes: usize,
    },
}

/// One write that was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PplEntry {
    /// First sector of the array that was to be written.
    pub data_sector: Sector,
    /// Bytes of partial parity; 0 for a write of whole stripes.
    pub partial_bytes: u32,
    /// Bytes of data, on all members together.
    pub data_bytes: u32,
    /// Slot of the parity.
    pub parity_slot: u32,
    /// CRC-32C of the partial parity.
    pub checksum: u32,
}

/// Header of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PplHeader {
    /// Counts the headers that were written.
    pub generation: u64,
    /// What was logged.
    pub entries: Vec<PplEntry>,
}

/// Signature of an array's logs.
pub fn signature(array: Uuid) -> u32 {
    crc32c::crc32c(&array.0)
}

impl PplHeader {
    /// Decodes the header at the start of `bytes`.
    ///
    /// # Errors
    /// [`PplDamage`] where it is not whole or not this array's.
    pub fn decode(bytes: &[u8], array: Uuid) -> Result<Self, PplDamage> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(PplDamage::TooShort {
                size_bytes: bytes.len(),
            });
        };
        let (fixed, _) = Fixed::read_from_prefix(bytes).expect("a header is longer");
        let before = crc32c::crc32c(&bytes[..CHECKSUM_AT.start]);
        let zeroed = crc32c::crc32c_append(before, &[0; 4]);
        let computed = crc32c::crc32c_append(zeroed, &bytes[CHECKSUM_AT.end..]);
        if fixed.checksum.get() != computed {
            return Err(PplDamage::Checksum {
                stored: fixed.checksum.get(),
                computed,
            });
        }
        if fixed.signature.get() != signature(array) {
            return Err(PplDamage::Foreign {
                found: fixed.signature.get(),
                expected: signature(array),
            });
        }
        let count = usize::try_from(fixed.count.get()).unwrap_or(usize::MAX);
        if count > MAX_ENTRIES {
            return Err(PplDamage::Field {
                entry: 0,
                field: "entries_count",
                value: fixed.count.get().into(),
                reason: "it is at most 148",
            });
        }
        let stored = bytes[ENTRIES_AT..].chunks_exact(size_of::<StoredEntry>());
        let entries = stored.take(count).map(|bytes| {
            let stored = StoredEntry::read_from_bytes(bytes).expect("an entry's bytes");
            PplEntry {
                data_sector: Sector(stored.data_sector.get()),
                partial_bytes: stored.partial_bytes.get(),
                data_bytes: stored.data_bytes.get(),
                parity_slot: stored.parity_slot.get(),
                checksum: stored.checksum.get(),
            }
        });
        Ok(Self {
            generation: fixed.generation.get(),
            entries: entries.collect(),
        })
    }

    /// Encodes a header without entries, which says that nothing is to be replayed.
    pub fn encode_empty(array: Uuid, generation: u64) -> Vec<u8> {
        let mut fixed = Fixed {
            reserved: [0xff; 512],
            signature: signature(array).into(),
            padding: 0.into(),
            generation: generation.into(),
            count: 0.into(),
            checksum: 0.into(),
        };
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..ENTRIES_AT].copy_from_slice(fixed.as_bytes());
        fixed.checksum = crc32c::crc32c(&bytes).into();
        bytes[..ENTRIES_AT].copy_from_slice(fixed.as_bytes());
        bytes
    }

    /// Bytes of header and partial parities.
    fn length_bytes(&self) -> usize {
        let partial = self.entries.iter().map(|entry| entry.partial_bytes as usize);
        partial.fold(HEADER_BYTES, usize::saturating_add)
    }
}

/// Parity that is to be computed again over `length` sectors: the XOR of data and of a partial parity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParityUpdate {
    /// Array sectors where the data begin, one a member; the stripe of the first is the one whose parity is meant, and
    /// its offset in the chunk is the parity's.
    pub data: Vec<Sector>,
    /// Sectors on each member.
    pub length: Sector,
    /// Partial parity: its bytes in the log's area; none where the data make up the whole stripe.
    pub partial: Option<std::ops::Range<usize>>,
    /// Slot that has to hold the parity, which is the slot of the log's own member.
    pub parity: Slot,
}

/// What a log asks for. An update is skipped where one of its data members is missing: then nothing better than the
/// parity that stands there can be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PplReplay {
    /// In order.
    pub updates: Vec<ParityUpdate>,
    /// Entries whose partial parity was not whole; their stripes need a resync.
    pub torn: usize,
}

/// Finds the newest header in a log's area: where it begins, and what it says.
///
/// # Errors
/// [`PplDamage`] of the first header where that is not whole.
pub fn newest(area: &[u8], array: Uuid) -> Result<(usize, PplHeader), PplDamage> {
    let mut best = (0, PplHeader::decode(area, array)?);
    let mut next = best.1.length_bytes();
    while let Some(Ok(header)) = area.get(next..).map(|rest| PplHeader::decode(rest, array)) {
        if header.generation < best.1.generation {
            break;
        }
        let at = next;
        next = next.saturating_add(header.length_bytes());
        best = (at, header);
    }
    Ok(best)
}

/// Plans what the log in `area` asks for, of an array of `slots` members with chunks of `chunk` sectors.
///
/// # Errors
/// [`PplDamage`] where header or entries are not whole.
pub fn replay(area: &[u8], array: Uuid, chunk: u32, slots: u16) -> Result<PplReplay, PplDamage> {
    let (start, header) = newest(area, array)?;
    let mut plan = PplReplay::default();
    let mut at = start + HEADER_BYTES;
    for (index, entry) in header.entries.iter().enumerate() {
        check(index, entry, chunk, slots)?;
        let end = at + entry.partial_bytes as usize;
        let Some(partial) = area.get(at..end) else {
            return Err(PplDamage::TooShort { size_bytes: area.len() });
        };
        if crc32c::crc32c(partial) == entry.checksum {
            let parity = Slot(u16::try_from(entry.parity_slot).expect("it is less than the number of slots"));
            plan_entry(entry, at, u64::from(chunk), slots, parity, &mut plan.updates);
        } else {
            plan.torn += 1;
        }
        at = end;
    }
    Ok(plan)
}

fn check(index: usize, entry: &PplEntry, chunk: u32, slots: u16) -> Result<(), PplDamage> {
    let bad = |field, value: u64, reason| {
        Err(PplDamage::Field {
            entry: index,
            field,
            value,
            reason,
        })
    };
    let (partial, data) = (u64::from(entry.partial_bytes), u64::from(entry.data_bytes));
    let members = u64::from(slots.saturating_sub(1)).max(1);
    if partial % 512 != 0 || partial > u64::from(chunk) * 512 {
        return bad("pp_size", partial, "it is whole sectors, at most a chunk");
    }
    if data % 512 != 0 || data == 0 || data > members * u64::from(chunk) * 512 {
        return bad("data_size", data, "it is whole sectors of one stripe");
    }
    if partial > 0 && partial < u64::from(chunk) * 512 && (data % partial != 0 || data / partial > members) {
        return bad("data_size", data, "it is a multiple of the partial parity's size");
    }
    if partial == 0 && data % (members * 512) != 0 {
        return bad("data_size", data, "a write without partial parity is to all members");
    }
    if entry.parity_slot >= u32::from(slots) {
        return bad("parity_disk", entry.parity_slot.into(), "the array has no such slot");
    }
    if entry.data_sector.0 > u64::MAX >> 1 {
        return bad("data_sector", entry.data_sector.0, "no array is so large");
    }
    Ok(())
}

/// Splits an entry at the rows where another set of members takes part or a chunk ends.
fn plan_entry(entry: &PplEntry, at: usize, chunk: u64, slots: u16, parity: Slot, updates: &mut Vec<ParityUpdate>) {
    let first = entry.data_sector.0;
    let (partial, data) = (u64::from(entry.partial_bytes) / 512, u64::from(entry.data_bytes) / 512);
    let all = u64::from(slots) - 1;
    let (members, rows, last) = match partial {
        0 => (all, data / all, first + (all - 1) * chunk + data / all),
        partial if partial < chunk => {
            let members = data / partial;
            (members, partial, first + (members - 1) * chunk + partial)
        }
        _ => (all, chunk, first + data),
    };
    let mut cuts = vec![0, rows, (last - first) % chunk, chunk - first % chunk];
    cuts.retain(|&cut| cut <= rows);
    cuts.sort_unstable();
    cuts.dedup();
    for rows in cuts.windows(2) {
        let (from, to) = (rows[0], rows[1]);
        let starts = (0..members).map(|member| first + from + member * chunk);
        let data: Vec<Sector> = starts.filter(|&start| start < last).map(Sector).collect();
        if data.is_empty() {
            continue;
        }
        let bytes = |row: u64| at + usize::try_from(row * 512).expect("at most a chunk");
        updates.push(ParityUpdate {
            data,
            length: Sector(to - from),
            partial: (partial > 0).then(|| bytes(from)..bytes(to)),
            parity,
        });
    }
}

#[cfg(test)]
mod tests;
