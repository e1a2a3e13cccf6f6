//! Facts that only our own tapes have, in bytes 928 to 1024 of every header.
//!
//! | bytes | field |
//! |---|---|
//! | 928, 932 | `HSX1`, CRC-32C of the tape blocks that belong to the header |
//! | 936, 944, 952, 960 | modification, access, change of the inode, birth: ns since 1970, i64; no birth is the least number |
//! | 968, 976 | inode number, number of a device, u64 |
//! | 984, 1000 | identity of the dump, offset of a further segment in its object |
//! | 1008 | of an image object its epoch, u8, 0 for any other object; flags, u8, 1 for arrays in an array |
//! | 1010, 1012, 1016, 1020 | md's level, i16; members, u16; chunk in KiB, u32; md's layout, u32 |
//!
//! The identity of what an image object was taken of stands in place of its inode number and birth.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I16, I64, U16, U32, U64},
};

const MAGIC: [u8; 4] = *b"HSX1";
/// Birth time of an object whose file system does not tell.
const NO_TIME: i64 = i64::MIN;
/// Flag of an array that is made of arrays.
const FLAG_NESTED: u8 = 1;
/// Length of the facts, in bytes.
pub(super) const PRIVATE_BYTES: usize = 96;

#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPrivate {
    /* 928 */ magic: [u8; 4],
    /* 932 */ checksum: U32,
    /* 936 */ modified_ns: I64,
    /* 944 */ accessed_ns: I64,
    /* 952 */ changed_ns: I64,
    /* 960 */ born_ns: I64,
    /* 968 */ file_id: U64,
    /* 976 */ device: U64,
    /* 984 */ dump: [u8; 16],
    /* 1000 */ offset: U64,
    /* 1008 */ image: RawImage,
}

#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawImage {
    /* 1008 */ epoch: u8,
    /* 1009 */ flags: u8,
    /* 1010 */ level: I16,
    /* 1012 */ members: U16,
    /* 1014 */ unused: [u8; 2],
    /* 1016 */ chunk_kib: U32,
    /* 1020 */ layout: U32,
}

const _: () = assert!(size_of::<RawPrivate>() == PRIVATE_BYTES && size_of::<RawImage>() == 16);

/// Facts that only our own tapes have, in bytes 928 to 1024 of every header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Private {
    /// CRC-32C of the tape blocks that belong to the header.
    pub checksum: u32,
    /// Last modification, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Last access.
    pub accessed_ns: i64,
    /// Last change of the inode.
    pub changed_ns: i64,
    /// Birth, where the file system tells.
    pub born_ns: Option<i64>,
    /// Inode number on the host.
    pub file_id: u64,
    /// Number of a device, in full.
    pub device: u64,
    /// Identity of the dump.
    pub dump: [u8; 16],
    /// Offset in its object at which a further segment begins, else 0; of an end see
    /// [`TRAILING_FOLLOW`](super::TRAILING_FOLLOW).
    pub offset_bytes: u64,
    /// What an image object was taken of; none for any other object.
    pub image: Option<ImageFacts>,
}

/// What an image object was taken of: an array, in md's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFacts {
    /// The release that made it, as [`EPOCH`](crate::dump::images::EPOCH) counts them; never 0.
    pub epoch: u8,
    /// True where the array is made of arrays.
    pub nested: bool,
    /// Level.
    pub level: i16,
    /// Members.
    pub members: u16,
    /// Chunk in KiB; 0 where the level has none.
    pub chunk_kib: u32,
    /// Layout.
    pub layout: u32,
}

impl Private {
    pub(super) fn decode(bytes: &[u8; PRIVATE_BYTES]) -> Option<Self> {
        let raw = RawPrivate::ref_from_bytes(bytes).ok()?;
        (raw.magic == MAGIC).then(|| Self {
            checksum: raw.checksum.get(),
            modified_ns: raw.modified_ns.get(),
            accessed_ns: raw.accessed_ns.get(),
            changed_ns: raw.changed_ns.get(),
            born_ns: Some(raw.born_ns.get()).filter(|ns| *ns != NO_TIME),
            file_id: raw.file_id.get(),
            device: raw.device.get(),
            dump: raw.dump,
            offset_bytes: raw.offset.get(),
            image: ImageFacts::decode(&raw.image),
        })
    }

    pub(super) fn encode(&self) -> [u8; PRIVATE_BYTES] {
        let raw = RawPrivate {
            magic: MAGIC,
            checksum: self.checksum.into(),
            modified_ns: self.modified_ns.into(),
            accessed_ns: self.accessed_ns.into(),
            changed_ns: self.changed_ns.into(),
            born_ns: self.born_ns.unwrap_or(NO_TIME).into(),
            file_id: self.file_id.into(),
            device: self.device.into(),
            dump: self.dump,
            offset: self.offset_bytes.into(),
            image: ImageFacts::encode(self.image),
        };
        let mut bytes = [0; PRIVATE_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }
}

impl ImageFacts {
    fn decode(raw: &RawImage) -> Option<Self> {
        (raw.epoch != 0).then(|| Self {
            epoch: raw.epoch,
            nested: raw.flags & FLAG_NESTED != 0,
            level: raw.level.get(),
            members: raw.members.get(),
            chunk_kib: raw.chunk_kib.get(),
            layout: raw.layout.get(),
        })
    }

    fn encode(facts: Option<Self>) -> RawImage {
        let none = Self {
            epoch: 0,
            nested: false,
            level: 0,
            members: 0,
            chunk_kib: 0,
            layout: 0,
        };
        let facts = facts.unwrap_or(none);
        RawImage {
            epoch: facts.epoch,
            flags: if facts.nested { FLAG_NESTED } else { 0 },
            level: facts.level.into(),
            members: facts.members.into(),
            unused: [0; 2],
            chunk_kib: facts.chunk_kib.into(),
            layout: facts.layout.into(),
        }
    }
}
