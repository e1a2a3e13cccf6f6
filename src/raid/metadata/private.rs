//! The label of a private area: what md has no room for. Bytes in, bytes out, no I/O.
//!
//! The area is a GPT partition of type [`PRIVATE`](super::gpt::PRIVATE) where an image holds several members, and a
//! sidecar file beside an image that is a bare member. Arrays are whole without it: absent or stale it is harmless. Two
//! blocks of 4096 bytes, at 0 and at 65536, hold a label each; they are written in turn. Little endian:
//!
//! | at | what |
//! |---|---|
//! | 0x00 | magic, CRC-32C, version, disk's identity (GPT's GUID, or the member's device UUID), generation, flags |
//! | 0x40 | 16 areas of 40 bytes: kind (1 journal, 2 checksums, 3 events), array's UUID, offset and length in bytes |
//! | 0x300 | 16 policies of 64 bytes: array's UUID, revision, watermark in sectors, events, time, then order, cache, method |
//!
//! A policy stands on every member of its array; the one of the highest revision counts. Events and time say for which
//! state of the superblocks the watermark is true: an array that ran elsewhere since has none.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use super::identity::{Time, Uuid};
use crate::raid::Sector;

/// Bytes of a label.
pub const LABEL_BYTES: usize = 4096;
/// Where the labels stand in the area, in bytes.
pub const LABELS_AT: [u64; 2] = [0, 65536];
/// Where areas may begin, in bytes.
pub const AREAS_AT: u64 = 2 * 65536;
/// Most areas of a label.
pub const MAX_AREAS: usize = 16;
/// Most policies of a label.
pub const MAX_POLICIES: usize = 16;

const MAGIC: [u8; 8] = *b"HEADSTK\n";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = 8;
const POLICIES_AT: usize = 0x300;
const MEBIBYTE: u64 = 2048;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    magic: [u8; 8],  // 0x00
    checksum: U32,   // 0x08
    version: U32,    // 0x0c
    disk: [u8; 16],  // 0x10
    generation: U64, // 0x20
    flags: U64,      // 0x28
    pad: [u8; 16],   // 0x30
}

const _: () = assert!(size_of::<Fixed>() == 0x40);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct StoredArea {
    kind: U32,       // 0
    pad: U32,        // 4
    array: [u8; 16], // 8
    offset: U64,     // 24
    length: U64,     // 32
}

const _: () = assert!(size_of::<StoredArea>() == 40);
const _: () = assert!(size_of::<Fixed>() + MAX_AREAS * size_of::<StoredArea>() <= POLICIES_AT);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct StoredPolicy {
    array: [u8; 16], // 0
    revision: U64,   // 16
    watermark: U64,  // 24
    events: U64,     // 32
    updated: U64,    // 40
    order: u8,       // 48
    cache: u8,       // 49
    method: u8,      // 50
    used: u8,        // 51
    pad: [u8; 12],   // 52
}

const _: () = assert!(size_of::<StoredPolicy>() == 64);
const _: () = assert!(POLICIES_AT + MAX_POLICIES * size_of::<StoredPolicy>() <= LABEL_BYTES);

/// Why a label says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelDamage {
    /// There is none, or it is torn.
    #[error("no whole private label")]
    Absent,
    /// It was written by a later version.
    #[error("private label of version {version}; only 1 is known")]
    Version {
        /// The version.
        version: u32,
    },
    /// It is another disk's: a sidecar that stands beside the wrong image.
    #[error("private label of disk {found}, not of {expected}")]
    Foreign {
        /// Whose it is.
        found: Uuid,
        /// Whose it should be.
        expected: Uuid,
    },
    /// A field cannot be right.
    #[error("private label: {field} is {value}: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        reason: &'static str,
    },
}

/// What an area is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AreaKind {
    /// Stripe journal of an array's member.
    Journal,
    /// CRC-32C of each 4 KiB of a member.
    Checksums,
    /// Ring of events.
    Events,
}

impl AreaKind {
    const ALL: [Self; 3] = [Self::Journal, Self::Checksums, Self::Events];

    fn code(self) -> u32 {
        match self {
            Self::Journal => 1,
            Self::Checksums => 2,
            Self::Events => 3,
        }
    }
}

/// Part of a private area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateArea {
    /// What it is for.
    pub kind: AreaKind,
    /// The array that it is for; zero where it is the disk's.
    pub array: Uuid,
    /// Where it begins, in bytes from the start of the private area.
    pub offset_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// When the array has it.
    WriteBack,
    /// When the members have it, durably.
    WriteThrough,
}

/// How an array was made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The members' bytes were kept.
    Keep,
    /// Start and end were wiped.
    Quick,
    /// All was zeroed before the first use.
    Foreground,
    /// All is zeroed while in use, up to the watermark.
    Background,
}

impl Method {
    const ALL: [Self; 4] = [Self::Keep, Self::Quick, Self::Foreground, Self::Background];
}

/// One state of an array's superblocks: how often they were written, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Events.
    pub events: u64,
    /// Time of the last write.
    pub updated: Time,
}

/// What the user wants of one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The array.
    pub array: Uuid,
    /// Counts the changes.
    pub revision: u64,
    /// Place among the arrays, from 0.
    pub order: u8,
    /// When a write counts as done.
    pub cache: Cache,
    /// How the array was made ready.
    pub method: Method,
    /// Sectors of each member that are zeroed; all ones where nothing is left to do.
    pub watermark: Sector,
    /// Superblocks for which the watermark is true.
    pub stamp: Stamp,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Identity of the disk: its GPT's GUID as stored, or the device UUID of a bare member.
    pub disk: Uuid,
    /// Counts the labels of this disk; label number `generation` stands at `LABELS_AT[generation % 2]`.
    pub generation: u64,
    /// True where the disk may replace a lost member of any array.
    pub global_spare: bool,
    /// True where the user has given the disk over to arrays.
    pub initialised: bool,
    /// Parts of the private area.
    pub areas: Vec<PrivateArea>,
    /// Wishes for arrays that have a member here.
    pub policies: Vec<Policy>,
}

/// Sectors of the private area of a disk: 16 MiB and a thousandth of the disk, in whole MiB.
pub fn private_size(disk: Sector) -> Sector {
    Sector((16 * MEBIBYTE + disk.0 / 1000).next_multiple_of(MEBIBYTE))
}

fn bad<T>(field: &'static str, value: u64, reason: &'static str) -> Result<T, LabelDamage> {
    Err(LabelDamage::Field { field, value, reason })
}

impl Label {
    /// Encodes one label.
    ///
    /// # Panics
    /// If there are more than 16 areas or 16 policies.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.areas.len() <= MAX_AREAS && self.policies.len() <= MAX_POLICIES,
            "{self:?}"
        );
        let mut block = vec![0; LABEL_BYTES];
        let mut fixed = Fixed {
            magic: MAGIC,
            checksum: 0.into(),
            version: VERSION.into(),
            disk: self.disk.0,
            generation: self.generation.into(),
            flags: (u64::from(self.global_spare) | u64::from(self.initialised) << 1).into(),
            pad: [0; 16],
        };
        for (place, area) in block[size_of::<Fixed>()..POLICIES_AT]
            .chunks_exact_mut(40)
            .zip(&self.areas)
        {
            let stored = StoredArea {
                kind: area.kind.code().into(),
                pad: 0.into(),
                array: area.array.0,
                offset: area.offset_bytes.into(),
                length: area.length_bytes.into(),
            };
            place.copy_from_slice(stored.as_bytes());
        }
        for (place, policy) in block[POLICIES_AT..].chunks_exact_mut(64).zip(&self.policies) {
            place.copy_from_slice(policy.stored().as_bytes());
        }
        block[..size_of::<Fixed>()].copy_from_slice(fixed.as_bytes());
        fixed.checksum = crc32c::crc32c(&block).into();
        block[..size_of::<Fixed>()].copy_from_slice(fixed.as_bytes());
        block
    }

    /// Decodes one label of the disk `disk`, whose private area has `area_bytes`.
    ///
    /// # Errors
    /// [`LabelDamage`] where it is not whole, not this disk's, or where an area overlaps another or the labels.
    pub fn decode(block: &[u8], disk: Uuid, area_bytes: u64) -> Result<Self, LabelDamage> {
        let block = block.get(..LABEL_BYTES).ok_or(LabelDamage::Absent)?;
        let (fixed, _) = Fixed::read_from_prefix(block).expect("a label is longer");
        let mut zeroed = block.to_vec();
        zeroed[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
        if fixed.magic != MAGIC || fixed.checksum.get() != crc32c::crc32c(&zeroed) {
            return Err(LabelDamage::Absent);
        }
        if fixed.version.get() != VERSION {
            return Err(LabelDamage::Version {
                version: fixed.version.get(),
            });
        }
        if fixed.disk != disk.0 {
            return Err(LabelDamage::Foreign {
                found: Uuid(fixed.disk),
                expected: disk,
            });
        }
        let flags = fixed.flags.get();
        if flags > 3 {
            return bad("flags", flags, "1 and 2 are known");
        }
        let mut label = Self {
            disk,
            generation: fixed.generation.get(),
            global_spare: flags & 1 != 0,
            initialised: flags & 2 != 0,
            areas: Vec::new(),
            policies: Vec::new(),
        };
        for bytes in block[size_of::<Fixed>()..].chunks_exact(40).take(MAX_AREAS) {
            label.take_area(
                &StoredArea::read_from_bytes(bytes).expect("an area's bytes"),
                area_bytes,
            )?;
        }
        for bytes in block[POLICIES_AT..].chunks_exact(64).take(MAX_POLICIES) {
            label.take_policy(&StoredPolicy::read_from_bytes(bytes).expect("a policy's bytes"))?;
        }
        Ok(label)
    }

    /// The newer of two labels, as they stand at [`LABELS_AT`].
    ///
    /// # Errors
    /// [`LabelDamage`] of the first where neither is whole.
    pub fn newest(blocks: [&[u8]; 2], disk: Uuid, area_bytes: u64) -> Result<Self, LabelDamage> {
        match blocks.map(|block| Self::decode(block, disk, area_bytes)) {
            [Ok(first), Ok(second)] if second.generation > first.generation => Ok(second),
            [Ok(label), _] | [Err(_), Ok(label)] => Ok(label),
            [Err(damage), Err(_)] => Err(damage),
        }
    }

    fn take_area(&mut self, stored: &StoredArea, area_bytes: u64) -> Result<(), LabelDamage> {
        if stored.kind.get() == 0 {
            return Ok(());
        }
        let kind = AreaKind::ALL.into_iter().find(|kind| kind.code() == stored.kind.get());
        let Some(kind) = kind else {
            return bad("area kind", stored.kind.get().into(), "1, 2 and 3 are known");
        };
        let (start, length) = (stored.offset.get(), stored.length.get());
        let end = start
            .checked_add(length)
            .filter(|&end| end <= area_bytes && start >= AREAS_AT);
        let Some(end) = end.filter(|_| start.is_multiple_of(4096) && length.is_multiple_of(4096) && length > 0) else {
            return bad(
                "area offset",
                start,
                "an area is whole blocks between the labels and the end",
            );
        };
        let overlaps =
            |other: &PrivateArea| start < other.offset_bytes + other.length_bytes && other.offset_bytes < end;
        if self.areas.iter().any(overlaps) {
            return bad("area offset", start, "areas do not overlap");
        }
        self.areas.push(PrivateArea {
            kind,
            array: Uuid(stored.array),
            offset_bytes: start,
            length_bytes: length,
        });
        Ok(())
    }

    fn take_policy(&mut self, stored: &StoredPolicy) -> Result<(), LabelDamage> {
        if stored.used == 0 {
            return Ok(());
        }
        let cache = match stored.cache {
            0 => Cache::WriteBack,
            1 => Cache::WriteThrough,
            cache => return bad("policy cache", cache.into(), "0 and 1 are known"),
        };
        let Some(&method) = Method::ALL.get(usize::from(stored.method)) else {
            return bad("policy method", stored.method.into(), "0 to 3 are known");
        };
        self.policies.push(Policy {
            array: Uuid(stored.array),
            revision: stored.revision.get(),
            order: stored.order,
            cache,
            method,
            watermark: Sector(stored.watermark.get()),
            stamp: Stamp {
                events: stored.events.get(),
                updated: Time(stored.updated.get()),
            },
        });
        Ok(())
    }

    /// Takes room for an area of `length_bytes`, rounded up to whole blocks, in a private area of `area_bytes`.
    /// Returns it, or none where there is no room or no entry left.
    pub fn add_area(&mut self, kind: AreaKind, array: Uuid, length_bytes: u64, area_bytes: u64) -> Option<PrivateArea> {
        let length_bytes = length_bytes.max(1).checked_next_multiple_of(4096)?;
        let mut offset_bytes = AREAS_AT;
        let mut taken: Vec<&PrivateArea> = self.areas.iter().collect();
        taken.sort_by_key(|area| area.offset_bytes);
        for area in taken {
            if offset_bytes.checked_add(length_bytes)? <= area.offset_bytes {
                break;
            }
            offset_bytes = area.offset_bytes + area.length_bytes;
        }
        let fits = offset_bytes.checked_add(length_bytes)? <= area_bytes && self.areas.len() < MAX_AREAS;
        let area = PrivateArea {
            kind,
            array,
            offset_bytes,
            length_bytes,
        };
        fits.then(|| {
            self.areas.push(area);
            area
        })
    }

    /// The area of one kind for one array.
    pub fn area(&self, kind: AreaKind, array: Uuid) -> Option<PrivateArea> {
        let mut areas = self.areas.iter().copied();
        areas.find(|area| area.kind == kind && area.array == array)
    }
}

impl Policy {
    fn stored(&self) -> StoredPolicy {
        StoredPolicy {
            array: self.array.0,
            revision: self.revision.into(),
            watermark: self.watermark.0.into(),
            events: self.stamp.events.into(),
            updated: self.stamp.updated.0.into(),
            order: self.order,
            cache: match self.cache {
                Cache::WriteBack => 0,
                Cache::WriteThrough => 1,
            },
            method: match self.method {
                Method::Keep => 0,
                Method::Quick => 1,
                Method::Foreground => 2,
                Method::Background => 3,
            },
            used: 1,
            pad: [0; 12],
        }
    }

    /// The policy of `array` that counts among the labels of its members.
    pub fn of_array<'a>(labels: impl IntoIterator<Item = &'a Label>, array: Uuid) -> Option<Self> {
        let policies = labels.into_iter().flat_map(|label| &label.policies);
        let of_array = policies.filter(|policy| policy.array == array);
        of_array.copied().max_by_key(|policy| policy.revision)
    }

    /// Sectors that are still to be zeroed count from here; none where the array ran elsewhere since or nothing is left.
    pub fn zeroed_to(&self, found: Stamp) -> Option<Sector> {
        let true_here = self.method == Method::Background && self.stamp == found;
        Some(self.watermark).filter(|watermark| true_here && watermark.0 != u64::MAX)
    }
}

#[cfg(test)]
mod tests;
