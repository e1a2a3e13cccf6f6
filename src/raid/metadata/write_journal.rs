//! md's write journal: the log of a RAID 4, 5 or 6 on a device of its own, of which *meta blocks* say what follows them.
//!
//! | at | meta block | at | payload |
//! |---|---|---|---|
//! | 0 | magic 6433c509, CRC32C of the block with this field zero | 0 | type (0 data, 1 parity, 2 flush), flags |
//! | 8 | version 1, pad | 4 | sectors that follow; of a flush the bytes of its list |
//! | 12 | bytes of the block that are used | 8 | data: sector of the array; parity: of the members |
//! | 16 | number of the block, sector of the ring that it stands at | 16 | CRC32C of each page |
//!
//! Little endian, as Linux has it (`include/linux/raid/md_p.h`); checksums begin with that of the array's UUID. Pages of data and
//! parity follow their block in the order of its payloads. Read only, but for the block that says that the log is empty.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

use super::identity::Uuid;
use crate::raid::Sector;

/// Length of a block and of a page.
pub const PAGE_BYTES: usize = 4096;
/// The same in sectors.
pub const PAGE_SECTORS: u64 = 8;

const MAGIC: u32 = 0x6433_c509;
const VERSION: u8 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone)]
#[repr(C)]
struct RawBlock {
    magic: U32,    // 0
    checksum: U32, // 4
    version: u8,   // 8
    pad: [u8; 3],  // 9
    used: U32,     // 12
    sequence: U64, // 16
    position: U64, // 24
}

const _: () = assert!(size_of::<RawBlock>() == 32);

#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawPayload {
    kind: U16,  // 0
    flags: U16, // 2
    size: U32,  // 4
}

/// What a block says of a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A page of the array.
    Data {
        /// Where in the array.
        array: Sector,
        /// Of the page.
        checksum: u32,
    },
    /// A page of P, and of Q behind it.
    Parity {
        /// Where on the members, from where their data begin.
        row: Sector,
        /// Of each page.
        checksums: Vec<u32>,
    },
    /// Pages of the members that are in place: what was logged of them before is done.
    Flush {
        /// Where on the members.
        rows: Vec<Sector>,
    },
}

impl Payload {
    /// Pages that follow the block for it.
    pub fn checksums(&self) -> &[u32] {
        match self {
            Self::Data { checksum, .. } => std::slice::from_ref(checksum),
            Self::Parity { checksums, .. } => checksums,
            Self::Flush { .. } => &[],
        }
    }
}

/// A meta block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaBlock {
    /// Its number; each block has that of the one before and one more.
    pub sequence: u64,
    /// What follows it.
    pub payloads: Vec<Payload>,
}

/// The checksum of a page, for an array.
pub fn checksum(array: Uuid, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(crc32c::crc32c(&array.0), bytes)
}

impl MetaBlock {
    /// Decodes the block at a sector of the ring; none where none stands there that is whole.
    pub fn decode(array: Uuid, position: Sector, bytes: &[u8]) -> Option<Self> {
        let page = bytes.get(..PAGE_BYTES)?;
        let (raw, _) = RawBlock::read_from_prefix(page).ok()?;
        let (before, rest) = (&page[..4], &page[8..]);
        let whole = [before, &[0; 4], rest].concat();
        let known = raw.magic.get() == MAGIC && raw.version == VERSION && raw.position.get() == position.0;
        if !known || raw.checksum.get() != checksum(array, &whole) {
            return None;
        }
        let mut rest = page.get(size_of::<RawBlock>()..usize::try_from(raw.used.get()).ok()?)?;
        let mut payloads = Vec::new();
        while !rest.is_empty() {
            let (payload, after) = decode_payload(rest)?;
            payloads.push(payload);
            rest = after;
        }
        Some(Self {
            sequence: raw.sequence.get(),
            payloads,
        })
    }

    /// A block that nothing follows, which at the log's tail says that the log is empty.
    pub fn empty(array: Uuid, position: Sector, sequence: u64) -> Vec<u8> {
        let mut raw = RawBlock {
            magic: MAGIC.into(),
            checksum: 0.into(),
            version: VERSION,
            pad: [0; 3],
            used: 32.into(),
            sequence: sequence.into(),
            position: position.0.into(),
        };
        let mut bytes = vec![0; PAGE_BYTES];
        bytes[..32].copy_from_slice(raw.as_bytes());
        raw.checksum = checksum(array, &bytes).into();
        bytes[..32].copy_from_slice(raw.as_bytes());
        bytes
    }
}

fn decode_payload(bytes: &[u8]) -> Option<(Payload, &[u8])> {
    let (raw, rest) = RawPayload::ref_from_prefix(bytes).ok()?;
    let size = usize::try_from(raw.size.get()).ok()?;
    if raw.kind.get() == 2 {
        let (list, rest) = rest.split_at_checked(size)?;
        let rows = list.chunks_exact(8).filter_map(|row| U64::read_from_bytes(row).ok());
        let rows = rows.map(|row| Sector(row.get())).collect();
        return Some((Payload::Flush { rows }, rest));
    }
    let (place, rest) = U64::read_from_prefix(rest).ok()?;
    let (list, rest) = rest.split_at_checked(size.checked_div(8)?.checked_mul(4)?)?;
    let sums = list.chunks_exact(4).filter_map(|sum| U32::read_from_bytes(sum).ok());
    let checksums: Vec<u32> = sums.map(|sum| sum.get()).collect();
    let place = Sector(place.get());
    let payload = match (raw.kind.get(), checksums.as_slice()) {
        (0, [checksum]) => Payload::Data {
            array: place,
            checksum: *checksum,
        },
        (1, [_] | [_, _]) => Payload::Parity { row: place, checksums },
        _ => return None,
    };
    Some((payload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid([0x5a; 16]);

    /// A block with a payload of each kind, by hand from the kernel's structures.
    fn block() -> Vec<u8> {
        let mut bytes = MetaBlock::empty(UUID, Sector(1864), 77);
        let data = [
            &[0; 4][..],
            &8_u32.to_le_bytes(),
            &1160_u64.to_le_bytes(),
            &0xabcd_u32.to_le_bytes(),
        ]
        .concat();
        let parity = [
            &[1, 0, 0, 0][..],
            &16_u32.to_le_bytes(),
            &520_u64.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &2_u32.to_le_bytes(),
        ]
        .concat();
        let flush = [&[2, 0, 0, 0][..], &8_u32.to_le_bytes(), &96_u64.to_le_bytes()].concat();
        let all = [data, parity, flush].concat();
        bytes[32..32 + all.len()].copy_from_slice(&all);
        bytes[12..16].copy_from_slice(&(32 + u32::try_from(all.len()).unwrap()).to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    fn seal(bytes: &mut [u8]) {
        bytes[4..8].fill(0);
        let sum = checksum(UUID, bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    }

    #[test]
    fn blocks_say_what_follows_them() {
        let found = MetaBlock::decode(UUID, Sector(1864), &block()).unwrap();
        let payloads = vec![
            Payload::Data {
                array: Sector(1160),
                checksum: 0xabcd,
            },
            Payload::Parity {
                row: Sector(520),
                checksums: vec![1, 2],
            },
            Payload::Flush { rows: vec![Sector(96)] },
        ];
        assert_eq!(found, MetaBlock { sequence: 77, payloads });
        assert_eq!(MetaBlock::decode(UUID, Sector(1872), &block()), None);
        assert_eq!(MetaBlock::decode(Uuid([1; 16]), Sector(1864), &block()), None);
        assert_eq!(MetaBlock::decode(UUID, Sector(1864), &block()[..4095]), None);
    }

    #[test]
    fn no_byte_makes_a_decoder_stumble() {
        for at in 0..120 {
            for value in [0, 1, 7, 0x7f, 0xff] {
                let mut bytes = block();
                bytes[at] = value;
                if bytes != block() {
                    assert_eq!(MetaBlock::decode(UUID, Sector(1864), &bytes), None, "byte {at}");
                }
                seal(&mut bytes);
                if let Some(found) = MetaBlock::decode(UUID, Sector(1864), &bytes) {
                    assert!(found.payloads.len() <= 4, "byte {at}");
                }
            }
        }
    }
}
