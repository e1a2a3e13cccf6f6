//! The md superblock of format 1: what a member says of itself and of its array. Bytes in, bytes out, no I/O.
//!
//! One layout serves three versions that differ in its place: 1.0 near the end of the device, 1.1 at sector 0, 1.2 at
//! sector 8. Bytes are little endian, sectors have 512 bytes, offsets count from the superblock:
//!
//! | at | what | at | what |
//! |---|---|---|---|
//! | 0x00 | magic, major, features, pad | 0x98 | recovery offset, or tail of a journal |
//! | 0x10 | array's UUID, then its name | 0xa0 | device number, corrected reads, device's UUID, flags |
//! | 0x40 | created, level, layout, size, chunk, slots | 0xb9 | bad-block log: shift, sectors, offset |
//! | 0x60 | offset of the bitmap, or place of the PPL | 0xc0 | updated, events, resync offset |
//! | 0x64 | reshape: level, position, delta, layout, chunk, offset | 0xd8 | checksum, length of the role table |
//! | 0x80 | data offset, data size, super offset | 0x100 | roles, u16 each, by device number |
//!
//! Decoding refuses what the kernel refuses: unknown features and pads that are not zero are another format's.
//! Sources: `linux/raid/md_p.h`, and arrays made by mdadm 4.2 and Linux 6.1.

mod checks;
mod features;
#[cfg(test)]
mod tests;

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{I32, U16, U32, U64},
};

use super::identity::{Name, Time, Uuid};
use crate::raid::{Level, Sector, Slot};

pub use checks::{SuperblockDamage, checksum, downgrade};
pub use features::Features;

/// Bytes to read for decoding: no superblock is longer.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// Greatest length of the role table.
pub const MAX_ROLES: usize = (SUPERBLOCK_BYTES - FIXED_BYTES) / 2;
/// A position that stands for the end: nothing left to resync or recover.
pub const MAX_SECTOR: Sector = Sector(u64::MAX);

const MAGIC: u32 = 0xa92b_4efc;
const MAJOR: u32 = 1;
const FIXED_BYTES: usize = size_of::<Fixed>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Fixed {
    magic: U32,               // 0x00
    major: U32,               // 0x04
    features: U32,            // 0x08
    pad0: U32,                // 0x0c
    array_uuid: [u8; 16],     // 0x10
    name: [u8; 32],           // 0x20
    created: U64,             // 0x40
    level: I32,               // 0x48
    layout: U32,              // 0x4c
    size: U64,                // 0x50
    chunk: U32,               // 0x58
    slots: U32,               // 0x5c
    log_place: U32,           // 0x60
    new_level: I32,           // 0x64
    reshape_position: U64,    // 0x68
    delta: I32,               // 0x70
    new_layout: U32,          // 0x74
    new_chunk: U32,           // 0x78
    new_offset: I32,          // 0x7c
    data_offset: U64,         // 0x80
    data_size: U64,           // 0x88
    super_offset: U64,        // 0x90
    recovery_offset: U64,     // 0x98
    device_number: U32,       // 0xa0
    corrected_reads: U32,     // 0xa4
    device_uuid: [u8; 16],    // 0xa8
    device_flags: u8,         // 0xb8
    bad_block_shift: u8,      // 0xb9
    bad_block_sectors: U16,   // 0xba
    bad_block_offset: I32,    // 0xbc
    updated: U64,             // 0xc0
    events: U64,              // 0xc8
    resync_offset: U64,       // 0xd0
    checksum: U32,            // 0xd8
    max_dev: U32,             // 0xdc
    logical_block_bytes: U32, // 0xe0
    pad3: [u8; 28],           // 0xe4
}

const _: () = assert!(size_of::<Fixed>() == 0x100);

/// Which of the three places of a format 1 superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 8 to 12 KiB before the end of the device.
    V1_0,
    /// At the start of the device.
    V1_1,
    /// 4 KiB from the start of the device.
    V1_2,
}

impl Version {
    /// All of them, in the order in which to look.
    pub const ALL: [Self; 3] = [Self::V1_2, Self::V1_1, Self::V1_0];

    /// Where the superblock stands on a device of `device` sectors; none on a device that is too small for md.
    pub fn place(self, device: Sector) -> Option<Sector> {
        let end = device.0.checked_sub(16).filter(|_| device.0 >= 24)?;
        Some(Sector(match self {
            Self::V1_0 => end & !7,
            Self::V1_1 => 0,
            Self::V1_2 => 8,
        }))
    }

    /// As mdadm prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }
}

/// What a device is to the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Holds this slot's data.
    Active(Slot),
    /// Holds nothing yet; also an unused number.
    Spare,
    /// Failed.
    Faulty,
    /// Holds the journal.
    Journal,
}

impl Role {
    fn code(self) -> u16 {
        match self {
            Self::Active(Slot(slot)) => slot,
            Self::Spare => 0xffff,
            Self::Faulty => 0xfffe,
            Self::Journal => 0xfffd,
        }
    }

    fn from_code(code: u16) -> Self {
        match code {
            0xffff => Self::Spare,
            0xfffe => Self::Faulty,
            0xfffd => Self::Journal,
            slot => Self::Active(Slot(slot)),
        }
    }
}

/// Fields of a reshape as stored; meaningful while [`Features::RESHAPE`] is set, else left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReshapeFields {
    /// md's number of the level that the array turns into.
    pub new_level: i32,
    /// Next position to reshape, in sectors of the array.
    pub position: u64,
    /// Slots afterwards less slots before.
    pub delta: i32,
    /// Layout afterwards.
    pub new_layout: u32,
    /// Chunk afterwards, in sectors.
    pub new_chunk: u32,
    /// Data offset afterwards less data offset before, in sectors; counts with [`Features::NEW_OFFSET`].
    pub new_offset: i32,
}

/// Fields of the bad-block log as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BadBlockFields {
    /// Power of two of sectors that an entry's unit stands for.
    pub shift: u8,
    /// Sectors reserved for the log, 8 at most; 0 where there is none.
    pub sectors: u16,
    /// Place of the log, in sectors from the superblock.
    pub offset: i32,
}

/// A region of a member, in sectors of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Area {
    /// First sector.
    pub start: Sector,
    /// Length.
    pub length: Sector,
}

impl Area {
    /// First sector after it; saturates.
    pub fn end(self) -> Sector {
        Sector(self.start.0.saturating_add(self.length.0))
    }

    /// True where both have a sector in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// A superblock: one member's view of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// What a reader has to understand.
    pub features: Features,
    /// Identity of the array.
    pub array_uuid: Uuid,
    /// Name of the array.
    pub name: Name,
    /// When the array was created.
    pub created: Time,
    /// Level; while reshaping that of before.
    pub level: Level,
    /// Layout in md's numbers for the level.
    pub layout: u32,
    /// Sectors of each member that are in use; 0 for RAID 0 and linear.
    pub size: Sector,
    /// Chunk in sectors; 0 for RAID 1; for linear the unit to round members to, 0 for none.
    pub chunk: u32,
    /// Number of slots; while reshaping that of afterwards.
    pub slots: u32,
    /// Place of bitmap or PPL as stored; see [`Superblock::bitmap_start`] and [`Superblock::ppl_area`].
    pub log_place: u32,
    /// Reshape under way, as stored.
    pub reshape: ReshapeFields,
    /// First sector of data on this member.
    pub data_offset: Sector,
    /// Sectors for data on this member.
    pub data_size: Sector,
    /// Where this superblock stands on the member.
    pub super_offset: Sector,
    /// While [`Features::RECOVERY`]: data before it, from the data offset, is right. On a journal device: its tail.
    pub recovery_offset: u64,
    /// Number of this device in the role table; not its slot.
    pub device_number: u32,
    /// Read errors that were repaired.
    pub corrected_reads: u32,
    /// Identity of this device.
    pub device_uuid: Uuid,
    /// 1: to be read last (write-mostly); 2: to be failed at once (failfast).
    pub device_flags: u8,
    /// Bad-block log, as stored.
    pub bad_blocks: BadBlockFields,
    /// When the superblock was written.
    pub updated: Time,
    /// How often the superblocks of the array were written.
    pub events: u64,
    /// Data before it is in sync; [`MAX_SECTOR`] where all of it is, 0 while writes are under way.
    pub resync_offset: Sector,
    /// Logical block size that a kernel of 6.19 or later recorded, in bytes; written as 0, which every kernel takes.
    pub logical_block_bytes: u32,
    /// Roles by device number.
    pub roles: Vec<Role>,
}

impl Superblock {
    /// Decodes the superblock at the start of `bytes`; [`SUPERBLOCK_BYTES`] are enough for any.
    ///
    /// # Errors
    /// [`SuperblockDamage`] that names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, SuperblockDamage> {
        let (fixed, roles) = checks::split(bytes)?;
        let level = checks::level("level", fixed.level.get())?;
        let superblock = Self {
            features: Features(fixed.features.get()),
            array_uuid: Uuid(fixed.array_uuid),
            name: Name(fixed.name),
            created: Time(fixed.created.get()),
            level,
            layout: fixed.layout.get(),
            size: Sector(fixed.size.get()),
            chunk: fixed.chunk.get(),
            slots: fixed.slots.get(),
            log_place: fixed.log_place.get(),
            reshape: ReshapeFields {
                new_level: fixed.new_level.get(),
                position: fixed.reshape_position.get(),
                delta: fixed.delta.get(),
                new_layout: fixed.new_layout.get(),
                new_chunk: fixed.new_chunk.get(),
                new_offset: fixed.new_offset.get(),
            },
            data_offset: Sector(fixed.data_offset.get()),
            data_size: Sector(fixed.data_size.get()),
            super_offset: Sector(fixed.super_offset.get()),
            recovery_offset: fixed.recovery_offset.get(),
            device_number: fixed.device_number.get(),
            corrected_reads: fixed.corrected_reads.get(),
            device_uuid: Uuid(fixed.device_uuid),
            device_flags: fixed.device_flags,
            bad_blocks: BadBlockFields {
                shift: fixed.bad_block_shift,
                sectors: fixed.bad_block_sectors.get(),
                offset: fixed.bad_block_offset.get(),
            },
            updated: Time(fixed.updated.get()),
            events: fixed.events.get(),
            resync_offset: Sector(fixed.resync_offset.get()),
            logical_block_bytes: fixed.logical_block_bytes.get(),
            roles: roles.iter().map(|role| Role::from_code(role.get())).collect(),
        };
        superblock.check()?;
        Ok(superblock)
    }

    /// Encodes the superblock with its checksum, in whole sectors; the logical block size is written as 0.
    ///
    /// Older bitmaps may begin 1 KiB after the superblock, so no more than these bytes is to be written.
    ///
    /// # Panics
    /// If there are more than [`MAX_ROLES`] roles.
    pub fn encode(&self) -> Vec<u8> {
        let mut fixed = self.fixed();
        let mut bytes = vec![0; self.length_bytes()];
        for (place, role) in bytes[FIXED_BYTES..].chunks_exact_mut(2).zip(&self.roles) {
            place.copy_from_slice(&role.code().to_le_bytes());
        }
        bytes[..FIXED_BYTES].copy_from_slice(fixed.as_bytes());
        fixed.checksum = checksum(&bytes[..FIXED_BYTES + 2 * self.roles.len()]).into();
        bytes[..FIXED_BYTES].copy_from_slice(fixed.as_bytes());
        bytes
    }

    /// Length of the encoded superblock in bytes, a multiple of 512.
    pub fn length_bytes(&self) -> usize {
        assert!(self.roles.len() <= MAX_ROLES, "{} roles", self.roles.len());
        (FIXED_BYTES + 2 * self.roles.len()).next_multiple_of(512)
    }

    fn fixed(&self) -> Fixed {
        Fixed {
            magic: MAGIC.into(),
            major: MAJOR.into(),
            features: self.features.0.into(),
            pad0: 0.into(),
            array_uuid: self.array_uuid.0,
            name: self.name.0,
            created: self.created.0.into(),
            level: self.level.code().into(),
            layout: self.layout.into(),
            size: self.size.0.into(),
            chunk: self.chunk.into(),
            slots: self.slots.into(),
            log_place: self.log_place.into(),
            new_level: self.reshape.new_level.into(),
            reshape_position: self.reshape.position.into(),
            delta: self.reshape.delta.into(),
            new_layout: self.reshape.new_layout.into(),
            new_chunk: self.reshape.new_chunk.into(),
            new_offset: self.reshape.new_offset.into(),
            data_offset: self.data_offset.0.into(),
            data_size: self.data_size.0.into(),
            super_offset: self.super_offset.0.into(),
            recovery_offset: self.recovery_offset.into(),
            device_number: self.device_number.into(),
            corrected_reads: self.corrected_reads.into(),
            device_uuid: self.device_uuid.0,
            device_flags: self.device_flags,
            bad_block_shift: self.bad_blocks.shift,
            bad_block_sectors: self.bad_blocks.sectors.into(),
            bad_block_offset: self.bad_blocks.offset.into(),
            updated: self.updated.0.into(),
            events: self.events.into(),
            resync_offset: self.resync_offset.0.into(),
            checksum: 0.into(),
            max_dev: u32::try_from(self.roles.len()).expect("MAX_ROLES at most").into(),
            logical_block_bytes: 0.into(),
            pad3: [0; 28],
        }
    }

    /// Role of this device, by its number in its own table; a number outside of it is a spare's.
    pub fn role(&self) -> Role {
        self.role_of(self.device_number)
    }

    /// Role of device `number` in this member's view.
    pub fn role_of(&self, number: u32) -> Role {
        let role = usize::try_from(number).ok().and_then(|number| self.roles.get(number));
        role.copied().unwrap_or(Role::Spare)
    }

    /// Slots that data may be on: while reshaping the greater of before and afterwards.
    pub fn slots_in_use(&self) -> u32 {
        let before = self.reshaping().map_or(self.slots, |_| self.slots_before());
        self.slots.max(before)
    }

    /// Slots before the reshape under way; the number of slots where none is.
    pub fn slots_before(&self) -> u32 {
        let delta = self.reshaping().map_or(0, |reshape| reshape.delta);
        u32::try_from(i64::from(self.slots) - i64::from(delta)).unwrap_or(0)
    }

    /// Fields of the reshape under way.
    pub fn reshaping(&self) -> Option<ReshapeFields> {
        self.features.has(Features::RESHAPE).then_some(self.reshape)
    }

    /// True where the reshape under way runs from the end of the array to its start.
    pub fn reshapes_backwards(&self) -> bool {
        self.reshaping().is_some_and(|reshape| {
            reshape.delta < 0 || reshape.delta == 0 && self.features.has(Features::RESHAPE_BACKWARDS)
        })
    }

    /// How far this member is rebuilt, in sectors from the data offset; none where it is whole.
    pub fn recovered_to(&self) -> Option<Sector> {
        let journal = self.role() == Role::Journal;
        (self.features.has(Features::RECOVERY) && !journal).then_some(Sector(self.recovery_offset))
    }

    /// True where every stripe is known to be in sync.
    pub fn is_clean(&self) -> bool {
        self.resync_offset == MAX_SECTOR
    }

    /// Region that the superblock takes.
    pub fn own_area(&self) -> Area {
        Area {
            start: self.super_offset,
            length: Sector((self.length_bytes() / 512) as u64),
        }
    }

    /// Region for data.
    pub fn data_area(&self) -> Area {
        Area {
            start: self.data_offset,
            length: self.data_size,
        }
    }

    /// First sector of the bitmap, where there is one.
    pub fn bitmap_start(&self) -> Option<Sector> {
        let offset = i64::from(self.log_place.cast_signed());
        let place = self.super_offset.0.checked_add_signed(offset).map(Sector);
        place.filter(|_| self.features.has(Features::BITMAP))
    }

    /// Region of the partial parity log, where there is one.
    pub fn ppl_area(&self) -> Option<Area> {
        if !self.features.has(Features::PPL) && !self.features.has(Features::MULTIPLE_PPLS) {
            return None;
        }
        let [a, b, c, d] = self.log_place.to_le_bytes();
        let offset = i64::from(i16::from_le_bytes([a, b]));
        Some(Area {
            start: Sector(self.super_offset.0.checked_add_signed(offset)?),
            length: Sector(u64::from(u16::from_le_bytes([c, d]))),
        })
    }

    /// Forgets the partial parity log.
    pub fn leave_ppl(&mut self) {
        if self.ppl_area().is_some() {
            self.features = self
                .features
                .with(Features::PPL, false)
                .with(Features::MULTIPLE_PPLS, false);
            self.log_place = 0;
        }
    }

    /// Region reserved for the bad-block log, where there is one.
    pub fn bad_block_area(&self) -> Option<Area> {
        let fields = self.bad_blocks;
        let start = self.super_offset.0.checked_add_signed(i64::from(fields.offset));
        start
            .filter(|_| fields.sectors > 0 && fields.offset != 0)
            .map(|start| Area {
                start: Sector(start),
                length: Sector(u64::from(fields.sectors)),
            })
    }
}
