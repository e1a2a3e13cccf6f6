//! The write-intent bitmap: which regions of the array may be out of sync. Bytes in, bytes out, no I/O.
//!
//! A bit is set, durably, before its region is written, and cleared some time after. After a crash only regions of set
//! bits are resynced; when a member returns, only they are rebuilt. Little endian:
//!
//! | at | what | at | what |
//! |---|---|---|---|
//! | 0 | magic `bitm`, version | 48 | state: 2 stale, 4 write error, 8 first use |
//! | 8 | array's UUID | 52 | chunk in bytes, daemon's sleep in s |
//! | 24 | events when written last | 60 | write-behind, reserved sectors, nodes |
//! | 32 | events when bits were last cleared | 72 | cluster's name, pad |
//! | 40 | size covered, in sectors | 256 | bits, the lowest of a byte first (versions 4 and 5) |
//! | | | 1024 | states, one byte a chunk (version 6, lockless; read only) |
//!
//! RAID 1, 4, 5 and 6 count sectors of a member from its data offset, RAID 10 sectors of the array. Sources: Linux 6.1
//! and mdadm 4.2 by experiment; version 6 from the documentation of Linux 6.18.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use super::identity::Uuid;
use crate::raid::{Level, Sector};

const MAGIC: u32 = 0x6d74_6962;
const LOCKLESS_DATA_AT: usize = 1024;
/// Bytes of a page, the unit in which md writes bitmaps.
pub const PAGE_BYTES: usize = 4096;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    magic: U32,             // 0
    version: U32,           // 4
    array_uuid: [u8; 16],   // 8
    events: U64,            // 24
    events_cleared: U64,    // 32
    sync_size: U64,         // 40
    state: U32,             // 48
    chunk_bytes: U32,       // 52
    daemon_sleep_s: U32,    // 56
    write_behind: U32,      // 60
    sectors_reserved: U32,  // 64
    nodes: U32,             // 68
    cluster_name: [u8; 64], // 72
    pad: [u8; 120],         // 136
}

const _: () = assert!(size_of::<Fixed>() == 256);

/// How the bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitmapVersion {
    /// 4: one bit a chunk.
    Bits,
    /// 5: one bit a chunk, one bitmap for each node of a cluster.
    Clustered,
    /// 6: one byte a chunk.
    Lockless,
}

impl BitmapVersion {
    fn number(self) -> u32 {
        match self {
            Self::Bits => 4,
            Self::Clustered => 5,
            Self::Lockless => 6,
        }
    }
}

/// Why bytes are not a bitmap that can be trusted. The array is then resynced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BitmapDamage {
    /// There is none.
    #[error("no write-intent bitmap (magic {found:#010x})")]
    Absent {
        /// What stands there.
        found: u32,
    },
    /// The version is not known.
    #[error("write-intent bitmap of version {version}; 4, 5 and 6 are served")]
    Version {
        /// The version.
        version: u32,
    },
    /// It is another array's.
    #[error("write-intent bitmap of array {found}, not of {expected}")]
    Foreign {
        /// Whose it is.
        found: Uuid,
        /// Whose it should be.
        expected: Uuid,
    },
    /// A field cannot be right.
    #[error("bitmap field {field} is {value}: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        reason: &'static str,
    },
}

fn bad<T>(field: &'static str, value: u64, reason: &'static str) -> Result<T, BitmapDamage> {
    Err(BitmapDamage::Field { field, value, reason })
}

/// Header of a bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapHeader {
    /// How the bits are kept.
    pub version: BitmapVersion,
    /// Identity of the array.
    pub array_uuid: Uuid,
    /// Events of the array when the bitmap was last written.
    pub events: u64,
    /// Events of the array when bits were last cleared with all members present: a member that is as fresh may return
    /// and be rebuilt by the bitmap.
    pub events_cleared: u64,
    /// What the bits cover.
    pub sync_size: Sector,
    /// State as stored.
    pub state: u32,
    /// Bytes that a bit stands for.
    pub chunk_bytes: u32,
    /// Seconds after which a quiet region's bit is cleared.
    pub daemon_sleep_s: u32,
    /// Writes that a write-mostly mirror may lag behind; 0 for none.
    pub write_behind: u32,
    /// Sectors reserved for the bitmap; 0 where nothing is said.
    pub sectors_reserved: u32,
    /// Nodes of the cluster.
    pub nodes: u32,
    /// Name of the cluster.
    pub cluster_name: [u8; 64],
    /// Bytes that md leaves alone.
    pub pad: [u8; 120],
}

impl BitmapHeader {
    /// Length of a header in bytes.
    pub const BYTES: usize = size_of::<Fixed>();
    /// State of a bitmap that misses writes.
    pub const STALE: u32 = 1 << 1;
    /// State of a bitmap that could not be written.
    pub const WRITE_ERROR: u32 = 1 << 2;
    /// State of a bitmap whose bits were not set up yet.
    pub const FIRST_USE: u32 = 1 << 3;

    /// Header of a new bitmap of version 4, as mdadm makes it.
    pub fn new(array_uuid: Uuid, sync_size: Sector, chunk_bytes: u32) -> Self {
        Self {
            version: BitmapVersion::Bits,
            array_uuid,
            events: 0,
            events_cleared: 0,
            sync_size,
            state: 0,
            chunk_bytes,
            daemon_sleep_s: 5,
            write_behind: 0,
            sectors_reserved: 0,
            nodes: 0,
            cluster_name: [0; 64],
            pad: [0; 120],
        }
    }

    /// Decodes the header at the start of `bytes`.
    ///
    /// # Errors
    /// [`BitmapDamage`] that names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, BitmapDamage> {
        let Ok((fixed, _)) = Fixed::read_from_prefix(bytes) else {
            return Err(BitmapDamage::Absent { found: 0 });
        };
        if fixed.magic.get() != MAGIC {
            return Err(BitmapDamage::Absent {
                found: fixed.magic.get(),
            });
        }
        let version = match fixed.version.get() {
            4 => BitmapVersion::Bits,
            5 => BitmapVersion::Clustered,
            6 => BitmapVersion::Lockless,
            version => return Err(BitmapDamage::Version { version }),
        };
        let chunk_bytes = fixed.chunk_bytes.get();
        if chunk_bytes < 512 || !chunk_bytes.is_power_of_two() {
            return bad(
                "chunksize",
                chunk_bytes.into(),
                "it is a power of two of bytes, at least 512",
            );
        }
        if fixed.sync_size.get() == 0 {
            return bad("sync_size", 0, "a bitmap covers something");
        }
        Ok(Self {
            version,
            array_uuid: Uuid(fixed.array_uuid),
            events: fixed.events.get(),
            events_cleared: fixed.events_cleared.get(),
            sync_size: Sector(fixed.sync_size.get()),
            state: fixed.state.get(),
            chunk_bytes,
            daemon_sleep_s: fixed.daemon_sleep_s.get(),
            write_behind: fixed.write_behind.get(),
            sectors_reserved: fixed.sectors_reserved.get(),
            nodes: fixed.nodes.get(),
            cluster_name: fixed.cluster_name,
            pad: fixed.pad,
        })
    }

    /// Encodes the header.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        zerocopy::transmute!(Fixed {
            magic: MAGIC.into(),
            version: self.version.number().into(),
            array_uuid: self.array_uuid.0,
            events: self.events.into(),
            events_cleared: self.events_cleared.into(),
            sync_size: self.sync_size.0.into(),
            state: self.state.into(),
            chunk_bytes: self.chunk_bytes.into(),
            daemon_sleep_s: self.daemon_sleep_s.into(),
            write_behind: self.write_behind.into(),
            sectors_reserved: self.sectors_reserved.into(),
            nodes: self.nodes.into(),
            cluster_name: self.cluster_name,
            pad: self.pad,
        })
    }

    /// Sectors that a bit stands for.
    pub fn chunk_sectors(&self) -> u64 {
        u64::from(self.chunk_bytes) / 512
    }

    /// Bits in use.
    pub fn bits(&self) -> u64 {
        self.sync_size.0.div_ceil(self.chunk_sectors())
    }

    /// Bytes of header and bits, in whole pages.
    pub fn area_bytes(&self) -> u64 {
        let used = match self.version {
            BitmapVersion::Lockless => self.bits().saturating_add(LOCKLESS_DATA_AT as u64),
            BitmapVersion::Bits | BitmapVersion::Clustered => self.bits().div_ceil(8) + Self::BYTES as u64,
        };
        used.div_ceil(PAGE_BYTES as u64).saturating_mul(PAGE_BYTES as u64)
    }

    /// Checks that this bitmap is of the array `uuid`.
    ///
    /// # Errors
    /// [`BitmapDamage::Foreign`] where it is not.
    pub fn belongs_to(&self, uuid: Uuid) -> Result<(), BitmapDamage> {
        if self.array_uuid == uuid {
            return Ok(());
        }
        Err(BitmapDamage::Foreign {
            found: self.array_uuid,
            expected: uuid,
        })
    }

    /// True where the bits say nothing of an array at `events`, so that all of it counts as set: the bitmap was not
    /// written since, or is marked.
    pub fn is_stale(&self, events: u64) -> bool {
        self.events < events || self.state & (Self::STALE | Self::WRITE_ERROR | Self::FIRST_USE) != 0
    }

    /// True where a member whose superblock stayed at `events` misses no more than what the set bits cover.
    pub fn covers_absence_since(&self, events: u64) -> bool {
        events >= self.events_cleared
    }
}

/// Sectors that the bitmap of an array covers; `size` is what is used of each member.
pub fn sync_size(level: Level, layout: u32, size: Sector, slots: u64) -> Sector {
    match level {
        Level::Raid10 => {
            let copies = u64::from(layout & 0xff) * u64::from(layout >> 8 & 0xff);
            let all = u128::from(size.0) * u128::from(slots) / u128::from(copies.max(1));
            Sector(u64::try_from(all).unwrap_or(u64::MAX))
        }
        Level::Linear | Level::Raid0 => Sector(0),
        Level::Raid1 | Level::Raid4 | Level::Raid5 | Level::Raid6 => size,
    }
}

/// A bitmap in memory: header and bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    header: BitmapHeader,
    /// Bytes after the header up to the end of the last page; a lockless bitmap is turned into bits.
    bits: Vec<u8>,
}

impl Bitmap {
    /// Bitmap with no bit set.
    ///
    /// # Panics
    /// If the header covers more than memory could hold bits for.
    pub fn new(header: BitmapHeader) -> Self {
        let bits = usize::try_from(header.area_bytes()).expect("a new bitmap fits memory") - BitmapHeader::BYTES;
        Self {
            header,
            bits: vec![0; bits],
        }
    }

    /// Decodes header and bits; `bytes` are what is stored in the room that the superblock leaves, at least
    /// [`BitmapHeader::area_bytes`].
    ///
    /// A lockless bitmap becomes one of version 4 in memory, in which every region that is not known to be clean is
    /// set; it is not to be written back in its place.
    ///
    /// # Errors
    /// [`BitmapDamage`], also where the bits end after `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BitmapDamage> {
        let header = BitmapHeader::decode(bytes)?;
        let area = usize::try_from(header.area_bytes())
            .ok()
            .and_then(|area| bytes.get(..area));
        let Some(area) = area else {
            return bad(
                "sync_size",
                header.sync_size.0,
                "the bits for it reach past the room for the bitmap",
            );
        };
        if header.version != BitmapVersion::Lockless {
            let bits = area[BitmapHeader::BYTES..].to_vec();
            return Ok(Self { header, bits });
        }
        let mut bitmap = Self::new(BitmapHeader {
            version: BitmapVersion::Bits,
            ..header
        });
        for (bit, state) in (0..bitmap.header.bits()).zip(&area[LOCKLESS_DATA_AT..]) {
            // 1: clean; 7: never written, yet in sync. All others need a sync of some kind.
            if !matches!(state, 1 | 7) {
                bitmap.put(bit, true);
            }
        }
        Ok(bitmap)
    }

    /// Encodes header and bits, in whole pages.
    pub fn encode(&self) -> Vec<u8> {
        [&self.header.encode(), self.bits.as_slice()].concat()
    }

    /// Page `index` of the encoded bitmap; the first begins with the header.
    pub fn page(&self, index: usize) -> Option<[u8; PAGE_BYTES]> {
        let mut page = [0; PAGE_BYTES];
        let from = index.checked_mul(PAGE_BYTES)?;
        let (head, place) = page.split_at_mut(if index == 0 { BitmapHeader::BYTES } else { 0 });
        if index == 0 {
            head.copy_from_slice(&self.header.encode());
        }
        let start = from.saturating_sub(BitmapHeader::BYTES);
        place.copy_from_slice(self.bits.get(start..start + place.len())?);
        Some(page)
    }

    /// Page that holds bit `bit`.
    pub fn page_of(&self, bit: u64) -> usize {
        usize::try_from(bit / 8)
            .ok()
            .map_or(usize::MAX, |byte| byte.saturating_add(BitmapHeader::BYTES) / PAGE_BYTES)
    }

    /// The header.
    pub fn header(&self) -> &BitmapHeader {
        &self.header
    }

    /// Notes that the bitmap is written at `events`; with `cleared` also that bits were cleared with all members there.
    pub fn stamp(&mut self, events: u64, cleared: bool) {
        self.header.events = events;
        if cleared {
            self.header.events_cleared = events;
        }
    }

    /// Sectors of the area on disk, header and bits.
    pub fn area_sectors(&self) -> Sector {
        Sector((BitmapHeader::BYTES + self.bits.len()) as u64 / 512)
    }

    /// Bits that the sectors from `start` touch; those past what is covered are left out.
    pub fn bits_of(&self, start: Sector, length: Sector) -> std::ops::Range<u64> {
        let chunk = self.header.chunk_sectors();
        let end = start.0.saturating_add(length.0).min(self.header.sync_size.0);
        let first = start.0 / chunk;
        first..end.div_ceil(chunk).max(first)
    }

    /// True where `bit` is set; a bit past the end is.
    pub fn get(&self, bit: u64) -> bool {
        let byte = usize::try_from(bit / 8).ok().and_then(|byte| self.bits.get(byte));
        byte.is_none_or(|byte| byte >> (bit % 8) & 1 == 1)
    }

    /// Sets or clears `bit`; true where that changed it.
    pub fn put(&mut self, bit: u64, set: bool) -> bool {
        let byte = usize::try_from(bit / 8).ok().and_then(|byte| self.bits.get_mut(byte));
        let Some(byte) = byte.filter(|_| bit < self.header.bits()) else {
            return false;
        };
        let mask = 1 << (bit % 8);
        let before = *byte;
        *byte = if set { before | mask } else { before & !mask };
        *byte != before
    }

    /// Sets every bit, those of the padding too, as mdadm has it in a new bitmap.
    pub fn set_all(&mut self) {
        self.bits.fill(0xff);
    }

    /// Clears every bit in use and of the padding.
    pub fn clear_all(&mut self) {
        self.bits.fill(0);
    }

    /// How many bits in use are set.
    pub fn count(&self) -> u64 {
        let bits = self.header.bits();
        let whole = usize::try_from(bits / 8).unwrap_or(usize::MAX).min(self.bits.len());
        let full: u64 = self.bits[..whole].iter().map(|byte| u64::from(byte.count_ones())).sum();
        full + (bits / 8 * 8..bits).filter(|&bit| self.get(bit)).count() as u64
    }

    /// Regions of set bits, in ascending order, joined where they touch: first sector and length.
    pub fn regions(&self) -> Vec<(Sector, Sector)> {
        let chunk = self.header.chunk_sectors();
        let mut found: Vec<(Sector, Sector)> = Vec::new();
        for bit in (0..self.header.bits()).filter(|&bit| self.get(bit)) {
            let start = bit * chunk;
            let length = chunk.min(self.header.sync_size.0 - start);
            match found.last_mut() {
                Some((first, joined)) if first.0 + joined.0 == start => joined.0 += length,
                _ => found.push((Sector(start), Sector(length))),
            }
        }
        found
    }

    /// The same regions in a bitmap that covers `sync_size`, as a grown array needs; what is new is set.
    pub fn resized(&self, sync_size: Sector) -> Self {
        let mut resized = Self::new(BitmapHeader {
            sync_size,
            ..self.header.clone()
        });
        for bit in 0..resized.header.bits() {
            let set = bit >= self.header.bits() || self.get(bit);
            resized.put(bit, set);
        }
        resized
    }
}

#[cfg(test)]
mod tests;
