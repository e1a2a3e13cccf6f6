//! Bytes of an overlay file. Bytes in, bytes out, no I/O; all bytes are untrusted.
//!
//! | at | what |
//! |---|---|
//! | 0, 65,536 | header in two copies by turns: the valid one of the greater generation counts |
//! | from 131,072 | by stream: its map, then as many bytes as the stream has, at the same places |
//!
//! The file is sparse: what was never written takes no space, and a block of 4096 bytes is the overlay's where its bit in
//! the map is set, else the member's. All is little endian. Header: magic `HSoverly`, version, CRC32C of its 65,536 bytes
//! with this field zero, generation, UUID of the array, count of streams; from 64 on an entry of 96 bytes for each: kind
//! (1 member, 2 sidecar), CRC32C of the member's superblock as it was, the member's UUID, length, time of modification
//! (seconds, nanoseconds), places of map and data. Map: pages of bits, LSB first, each in two slots of 4096 bytes by turns:
//! magic `HSmp`, CRC32C of the slot's place and of the slot with this field zero, generation, 4080 bytes of bits.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use crate::raid::metadata::identity::Uuid;

/// Length of a copy of the header.
pub const HEADER_BYTES: usize = 65_536;
/// Unit that is either the overlay's or the member's.
pub const BLOCK_BYTES: u64 = 4096;
/// Length of a slot of a page of the map.
pub const SLOT_BYTES: usize = 4096;
/// Blocks that a page of the map stands for.
pub const PAGE_BLOCKS: u64 = 8 * BITS_BYTES as u64;
/// Bytes of bits of a page.
pub const BITS_BYTES: usize = SLOT_BYTES - 16;
/// Most streams of an overlay.
pub const STREAMS_MAX: usize = (HEADER_BYTES - FIXED_BYTES) / size_of::<RawStream>();

const FIXED_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"HSoverly";
const VERSION: u32 = 1;
const PAGE_MAGIC: [u8; 4] = *b"HSmp";
const CRC_AT: std::ops::Range<usize> = 12..16;
const PAGE_CRC_AT: std::ops::Range<usize> = 4..8;
/// Where the first stream may begin, and what places are multiples of.
const STREAMS_AT: u64 = 2 * HEADER_BYTES as u64;
/// Files are not longer than this.
const FILE_BYTES_MAX: u64 = 1 << 62;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],       // 0
    version: U32,         // 8
    crc: U32,             // 12
    generation: U64,      // 16
    array_uuid: [u8; 16], // 24
    count: U32,           // 40
    pad: [u8; 20],        // 44
}

const _: () = assert!(size_of::<RawHeader>() == FIXED_BYTES);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawStream {
    kind: U32,             // 0
    superblock_crc: U32,   // 4
    device_uuid: [u8; 16], // 8
    size: U64,             // 24
    modified_s: U64,       // 32
    modified_ns: U32,      // 40
    pad0: U32,             // 44
    map_at: U64,           // 48
    data_at: U64,          // 56
    pad1: [u8; 32],        // 64
}

const _: () = assert!(size_of::<RawStream>() == 96);
// Parts of a block are zeroed from a slot of zeros.
const _: () = assert!(BLOCK_BYTES == SLOT_BYTES as u64);

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A member; what is not in the overlay is in its image.
    Member,
    /// A member's sidecar, all of which is in the overlay.
    Sidecar,
}

/// One of the files that an overlay stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// What it is for.
    pub kind: StreamKind,
    /// Identity of the member.
    pub device_uuid: Uuid,
    /// CRC32C of the member's superblock when the overlay was made.
    pub superblock_crc: u32,
    /// Length in bytes.
    pub size_bytes: u64,
    /// When the image was last changed before the overlay was made: seconds since 1970 and nanoseconds.
    pub modified: (u64, u32),
    /// Where its map begins.
    pub map_bytes: u64,
    /// Where its data begin.
    pub data_bytes: u64,
}

impl StreamEntry {
    /// Pages of the map.
    pub fn pages(&self) -> u64 {
        self.size_bytes.div_ceil(BLOCK_BYTES).div_ceil(PAGE_BLOCKS)
    }

    /// Place of a slot of a page of the map.
    pub fn slot_bytes(&self, page: u64, generation: u64) -> u64 {
        self.map_bytes + (2 * page + generation % 2) * SLOT_BYTES as u64
    }

    /// First byte after the stream; none past all limits.
    pub fn end_bytes(&self) -> Option<u64> {
        let size = self.size_bytes.checked_next_multiple_of(BLOCK_BYTES)?;
        self.data_bytes.checked_add(size).filter(|end| *end <= FILE_BYTES_MAX)
    }
}

/// The header of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Counts the headers that were written.
    pub generation: u64,
    /// The array.
    pub array_uuid: Uuid,
    /// The streams, in the order of their places.
    pub streams: Vec<StreamEntry>,
}

/// Why a header is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayDamage {
    /// There is none.
    #[error("it is no overlay")]
    Absent,
    /// Another version of the format.
    #[error("it is an overlay of version {version}, only {VERSION} is known")]
    Version {
        /// Which one.
        version: u32,
    },
    /// The checksum is wrong.
    #[error("the header's checksum is {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// A stream cannot be where the header has it.
    #[error("stream {number} {reason}")]
    Stream {
        /// Which one.
        number: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Both slots of a page of the map are damaged.
    #[error("page {page} of the map of stream {number} is damaged")]
    Page {
        /// Which stream.
        number: usize,
        /// Which page.
        page: u64,
    },
}

impl Header {
    /// A header without streams.
    pub fn new(array_uuid: Uuid) -> Self {
        Self {
            generation: 1,
            array_uuid,
            streams: Vec::new(),
        }
    }

    /// First byte after all streams, where the next may begin.
    pub fn end_bytes(&self) -> u64 {
        let end = self.streams.last().and_then(StreamEntry::end_bytes);
        end.unwrap_or(STREAMS_AT).next_multiple_of(1 << 20)
    }

    /// Adds a stream behind the others and gives it its places; false where there is no room for it.
    pub fn push(&mut self, mut stream: StreamEntry) -> bool {
        stream.map_bytes = self.end_bytes();
        let map = stream.pages().checked_mul(2 * SLOT_BYTES as u64);
        let data = map.and_then(|map| stream.map_bytes.checked_add(map));
        let Some(data) = data else { return false };
        stream.data_bytes = data;
        let fits = stream.end_bytes().is_some() && self.streams.len() < STREAMS_MAX;
        if fits {
            self.streams.push(stream);
        }
        fits
    }

    /// Place of the copy that this generation is written to.
    pub fn place_bytes(&self) -> u64 {
        self.generation % 2 * HEADER_BYTES as u64
    }

    /// Decodes one copy.
    ///
    /// # Errors
    /// [`OverlayDamage`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, OverlayDamage> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(OverlayDamage::Absent)?;
        let (raw, rest) = RawHeader::read_from_prefix(bytes).map_err(|_| OverlayDamage::Absent)?;
        if raw.magic != MAGIC {
            return Err(OverlayDamage::Absent);
        }
        if raw.version.get() != VERSION {
            return Err(OverlayDamage::Version {
                version: raw.version.get(),
            });
        }
        let (stored, computed) = (raw.crc.get(), crc_without(bytes, CRC_AT, &[]));
        if stored != computed {
            return Err(OverlayDamage::Checksum { stored, computed });
        }
        let count = usize::try_from(raw.count.get()).unwrap_or(usize::MAX);
        if count > STREAMS_MAX {
            return Err(OverlayDamage::Stream {
                number: count,
                reason: "is more than there can be",
            });
        }
        let mut header = Self {
            generation: raw.generation.get(),
            array_uuid: Uuid(raw.array_uuid),
            streams: Vec::with_capacity(count),
        };
        for (number, bytes) in rest.chunks_exact(size_of::<RawStream>()).take(count).enumerate() {
            let stream = decode_stream(bytes, header.streams.last())
                .map_err(|reason| OverlayDamage::Stream { number, reason })?;
            header.streams.push(stream);
        }
        Ok(header)
    }

    /// Encodes a copy.
    pub fn encode(&self) -> Vec<u8> {
        let raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            crc: 0.into(),
            generation: self.generation.into(),
            array_uuid: self.array_uuid.0,
            count: u32::try_from(self.streams.len()).unwrap_or(u32::MAX).into(),
            pad: [0; 20],
        };
        let mut bytes = raw.as_bytes().to_vec();
        for stream in &self.streams {
            let raw = RawStream {
                kind: match stream.kind {
                    StreamKind::Member => 1,
                    StreamKind::Sidecar => 2,
                }
                .into(),
                superblock_crc: stream.superblock_crc.into(),
                device_uuid: stream.device_uuid.0,
                size: stream.size_bytes.into(),
                modified_s: stream.modified.0.into(),
                modified_ns: stream.modified.1.into(),
                pad0: 0.into(),
                map_at: stream.map_bytes.into(),
                data_at: stream.data_bytes.into(),
                pad1: [0; 32],
            };
            bytes.extend_from_slice(raw.as_bytes());
        }
        bytes.resize(HEADER_BYTES, 0);
        let crc = crc_without(&bytes, CRC_AT, &[]);
        bytes[CRC_AT].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn decode_stream(bytes: &[u8], before: Option<&StreamEntry>) -> Result<StreamEntry, &'static str> {
    let raw = RawStream::read_from_bytes(bytes).map_err(|_| "is cut off")?;
    let stream = StreamEntry {
        kind: match raw.kind.get() {
            1 => StreamKind::Member,
            2 => StreamKind::Sidecar,
            _ => return Err("is of no known kind"),
        },
        device_uuid: Uuid(raw.device_uuid),
        superblock_crc: raw.superblock_crc.get(),
        size_bytes: raw.size.get(),
        modified: (raw.modified_s.get(), raw.modified_ns.get()),
        map_bytes: raw.map_at.get(),
        data_bytes: raw.data_at.get(),
    };
    let least = before.map_or(Some(STREAMS_AT), StreamEntry::end_bytes);
    let aligned = stream.map_bytes.is_multiple_of(BLOCK_BYTES) && stream.data_bytes.is_multiple_of(BLOCK_BYTES);
    let map_end = stream.pages().checked_mul(2 * SLOT_BYTES as u64);
    let map_end = map_end.and_then(|length| stream.map_bytes.checked_add(length));
    if !aligned || least.is_none_or(|least| stream.map_bytes < least) {
        return Err("begins where another ends");
    }
    if map_end.is_none_or(|end| end > stream.data_bytes) || stream.end_bytes().is_none() {
        return Err("has its data in its map, or past all limits");
    }
    Ok(stream)
}

/// CRC32C of some bytes before and of `bytes`, of which the checksum's own count as zero.
fn crc_without(bytes: &[u8], own: std::ops::Range<usize>, before: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), &bytes[..own.start]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &bytes[own.end..])
}

/// A slot of a page, decoded: generation and bits.
pub type PageBits = (u64, Box<[u8; BITS_BYTES]>);

/// Decodes the slot at a place; none where it is not whole.
pub fn decode_page(bytes: &[u8], place_bytes: u64) -> Option<PageBits> {
    let bytes: &[u8; SLOT_BYTES] = bytes.get(..SLOT_BYTES)?.try_into().ok()?;
    let stored = u32::from_le_bytes(bytes[PAGE_CRC_AT].try_into().ok()?);
    let whole = bytes[..4] == PAGE_MAGIC && stored == crc_without(bytes, PAGE_CRC_AT, &place_bytes.to_le_bytes());
    let generation = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    let bits: [u8; BITS_BYTES] = bytes[16..].try_into().ok()?;
    whole.then(|| (generation, Box::new(bits)))
}

/// Encodes a slot for a place.
pub fn encode_page(generation: u64, bits: &[u8; BITS_BYTES], place_bytes: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..4].copy_from_slice(&PAGE_MAGIC);
    bytes[8..16].copy_from_slice(&generation.to_le_bytes());
    bytes[16..].copy_from_slice(bits);
    let crc = crc_without(&bytes, PAGE_CRC_AT, &place_bytes.to_le_bytes());
    bytes[PAGE_CRC_AT].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Neither slot of a page is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedPage;

/// The page that two slots hold, given whole: none where it was never written.
///
/// The first write of a page goes to slot 1. A slot that is not whole is a write that never ended; only where no other
/// explanation is left than damage it is refused.
///
/// # Errors
/// [`DamagedPage`] where both slots are.
pub fn newer_page(slots: &[u8], place_bytes: u64) -> Result<Option<PageBits>, DamagedPage> {
    let half = SLOT_BYTES.min(slots.len());
    let (first, second) = slots.split_at(half);
    let decoded = [
        decode_page(first, place_bytes),
        decode_page(second, place_bytes + SLOT_BYTES as u64),
    ];
    let newest = decoded.into_iter().flatten().max_by_key(|(generation, _)| *generation);
    let is_empty = |slot: &[u8]| slot.iter().all(|byte| *byte == 0);
    match newest {
        Some(page) => Ok(Some(page)),
        None if is_empty(first) => Ok(None),
        None => Err(DamagedPage),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(size_bytes: u64) -> StreamEntry {
        StreamEntry {
            kind: StreamKind::Member,
            device_uuid: Uuid([9; 16]),
            superblock_crc: 0x1234_5678,
            size_bytes,
            modified: (1_700_000_000, 5),
            map_bytes: 0,
            data_bytes: 0,
        }
    }

    /// Written by hand from the table above.
    #[test]
    fn header_stands_as_the_table_has_it() {
        let mut header = Header::new(Uuid([7; 16]));
        assert!(header.push(stream(200 << 20)) && header.push(stream(4096)));
        let bytes = header.encode();
        assert_eq!(bytes[..12], *b"HSoverly\x01\0\0\0");
        assert_eq!(bytes[16..24], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((&bytes[24..40], &bytes[40..44]), (&[7; 16][..], &[2, 0, 0, 0][..]));
        assert_eq!(bytes[64..72], [1, 0, 0, 0, 0x78, 0x56, 0x34, 0x12]);
        assert_eq!(bytes[72..88], [9; 16]);
        assert_eq!(bytes[88..96], (200_u64 << 20).to_le_bytes());
        // The first map begins at 1 MiB; 200 MiB are 51,200 blocks, or two pages of 32,640.
        assert_eq!(bytes[112..120], (1_u64 << 20).to_le_bytes());
        assert_eq!(bytes[120..128], ((1_u64 << 20) + 4 * 4096).to_le_bytes());
        assert_eq!(bytes[160..164], [1, 0, 0, 0]);
        assert_eq!(bytes[208..216], (202_u64 << 20).to_le_bytes());
        assert_eq!(Header::decode(&bytes), Ok(header));
    }

    #[test]
    fn damage_is_named() {
        let mut header = Header::new(Uuid([7; 16]));
        header.push(stream(1 << 20));
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes[1..]), Err(OverlayDamage::Absent));
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(OverlayDamage::Absent));
        let mut other = bytes.clone();
        other[8] = 2;
        assert_eq!(Header::decode(&other), Err(OverlayDamage::Version { version: 2 }));
        let mut other = bytes.clone();
        other[HEADER_BYTES - 1] = 1;
        assert!(matches!(Header::decode(&other), Err(OverlayDamage::Checksum { .. })));
        let mut wrong = header.clone();
        wrong.streams[0].data_bytes = wrong.streams[0].map_bytes;
        assert!(matches!(
            Header::decode(&wrong.encode()),
            Err(OverlayDamage::Stream { number: 0, .. })
        ));
        wrong.streams[0] = header.streams[0].clone();
        wrong.streams.push(header.streams[0].clone());
        assert!(matches!(
            Header::decode(&wrong.encode()),
            Err(OverlayDamage::Stream { number: 1, .. })
        ));
        assert!(!header.push(stream(u64::MAX)) && !header.push(stream(1 << 62)));
    }

    #[test]
    fn torn_pages_fall_back_and_damaged_ones_are_refused() {
        let bits = |byte| Box::new([byte; BITS_BYTES]);
        let at = 1 << 20;
        let slots = |first: &[u8], second: &[u8]| [first, second].concat();
        let empty = [0; SLOT_BYTES];
        let one = encode_page(1, &bits(1), at + 4096);
        let two = encode_page(2, &bits(3), at);
        assert_eq!(newer_page(&slots(&empty, &empty), at), Ok(None));
        assert_eq!(newer_page(&slots(&empty, &one), at), Ok(Some((1, bits(1)))));
        assert_eq!(newer_page(&slots(&two, &one), at), Ok(Some((2, bits(3)))));
        let torn = [&two[..512], &empty[512..]].concat();
        assert_eq!(newer_page(&slots(&torn, &one), at), Ok(Some((1, bits(1)))));
        let torn = [&one[..512], &empty[512..]].concat();
        assert_eq!(newer_page(&slots(&empty, &torn), at), Ok(None));
        assert_eq!(newer_page(&slots(&torn, &torn), at), Err(DamagedPage));
        // A page of another place is not this one's.
        assert_eq!(newer_page(&slots(&one, &empty), at), Err(DamagedPage));
    }

    proptest! {
        #[test]
        fn decoders_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..9000), at in any::<u64>()) {
            let _ = Header::decode(&bytes);
            let _ = newer_page(&bytes, at & !4095 & (u64::MAX >> 2));
            let mut long = bytes.clone();
            long.resize(HEADER_BYTES, 0);
            long[..8].copy_from_slice(b"HSoverly");
            long[8..12].copy_from_slice(&1_u32.to_le_bytes());
            let crc = crc_without(&long, CRC_AT, &[]);
            long[CRC_AT].copy_from_slice(&crc.to_le_bytes());
            if let Ok(header) = Header::decode(&long) {
                prop_assert!(header.streams.len() <= STREAMS_MAX);
            }
        }
    }
}
