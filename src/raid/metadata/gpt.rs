//! The GUID partition table of an image that holds members of several arrays. Bytes in, bytes out, no I/O.
//!
//! | sectors | what |
//! |---|---|
//! | 0 | protective MBR: boot code, one entry of type 0xee over all |
//! | 1 | header: signature, revision, size, CRC; places of both headers; usable sectors; disk's GUID; CRC of the entries |
//! | 2 to 33 | 128 entries of 128 bytes: type, GUID, first and last sector, attributes, name of 36 UTF-16 units |
//! | the last 33 | the entries again, then the header again with the places exchanged |
//!
//! Little endian. Tables of any other shape are refused, for they could not be written back in place. What we add is
//! aligned to 1 MiB; four arrays an image, as the controllers have it that this follows. Source: UEFI 2.10, section 5.3.

mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use super::{
    identity::{Guid, Name},
    superblock::Area,
};
use crate::raid::{Sector, Slot};

pub use table::{Found, GptBytes, GptDamage, has_dos_partitions};

/// Bytes to read from the start of an image: MBR, header and entries.
pub const HEAD_BYTES: usize = 34 * 512;
/// Bytes to read from the end of an image: entries and header.
pub const TAIL_BYTES: usize = 33 * 512;
/// Unit to which partitions are aligned: 1 MiB.
pub const ALIGNMENT: Sector = Sector(2048);
/// Entries of a table.
pub const ENTRIES: usize = 128;
/// Most arrays that one image has members of.
pub const ARRAYS_PER_IMAGE: usize = 4;

/// Type of a partition that is a member of an md array.
pub const LINUX_RAID: Guid = Guid::from_printed(0xA19D_880F_05FC_4D3B_A006_743F_0F84_911E);

/// Name of a partition: UTF-16, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartitionName(pub [u16; 36]);

impl PartitionName {
    /// The first 36 units of `text`, whole characters only.
    pub fn new(text: &str) -> Self {
        let mut units = [0; 36];
        let mut used = 0;
        for c in text.chars().filter(|&c| c != '\0') {
            if used + c.len_utf16() > units.len() {
                break;
            }
            used += c.encode_utf16(&mut units[used..]).len();
        }
        Self(units)
    }

    /// Name of the partition that holds `slot` of an array; the array's name is cut where it is too long.
    pub fn of_member(array: &Name, slot: Slot) -> Self {
        let end = format!("-{}", slot.0);
        let short: String = array.short().chars().take(36 - end.len()).collect();
        Self::new(&format!("{short}{end}"))
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.iter().copied().take_while(|&unit| unit != 0);
        for c in char::decode_utf16(units) {
            let c = c.ok().filter(|c| !c.is_control());
            fmt::Write::write_char(f, c.unwrap_or(char::REPLACEMENT_CHARACTER))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// Its identity.
    pub id: Guid,
    /// Where it is.
    pub area: Area,
    /// Attributes, as stored.
    pub attributes: u64,
    /// Its name.
    pub name: PartitionName,
}

/// Why a table cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GptError {
    /// The image has no room for a table and anything else.
    #[error("an image of {device} sectors is too small for a partition table; {least} are the least")]
    TooSmall {
        /// Size of the image.
        device: u64,
        /// The least size.
        least: u64,
    },
    /// There is no gap of this length.
    #[error("no free space of {wanted} sectors; the largest gap has {largest}")]
    NoSpace {
        /// What is wanted, in sectors.
        wanted: u64,
        /// The largest gap, in sectors.
        largest: u64,
    },
    /// All entries are taken.
    #[error("the partition table is full: it has {ENTRIES} entries")]
    Full,
    /// The image holds as many members as it may.
    #[error("the image holds members of {ARRAYS_PER_IMAGE} arrays already")]
    TooManyArrays,
    /// A partition would lie outside of the table's sectors or on another partition.
    #[error("a partition of sectors {start} to {end} is outside of the usable sectors or overlaps another")]
    Misplaced {
        /// First sector.
        start: u64,
        /// First sector after it.
        end: u64,
    },
    /// Partitions lie beyond the new end.
    #[error("partition {number} ends after the end of the image")]
    CutOff {
        /// Number of the partition, from 1.
        number: usize,
    },
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    disk: Guid,
    device: Sector,
    usable: Area,
    boot_code: [u8; 446],
    entries: Vec<Option<Partition>>,
}

impl Gpt {
    /// Empty table for an image of `device` sectors.
    ///
    /// # Errors
    /// [`GptError::TooSmall`] below 3 MiB.
    pub fn new(disk: Guid, device: Sector) -> Result<Self, GptError> {
        let least = 3 * ALIGNMENT.0;
        if device.0 < least {
            return Err(GptError::TooSmall {
                device: device.0,
                least,
            });
        }
        Ok(Self {
            disk,
            device,
            usable: table::usable(device),
            boot_code: [0; 446],
            entries: vec![None; ENTRIES],
        })
    }

    /// Identity of the image.
    pub fn disk(&self) -> Guid {
        self.disk
    }

    /// Size of the image.
    pub fn device(&self) -> Sector {
        self.device
    }

    /// Partitions with their numbers, from 1.
    pub fn partitions(&self) -> impl Iterator<Item = (usize, &Partition)> {
        let numbered = self.entries.iter().enumerate();
        numbered.filter_map(|(index, entry)| entry.as_ref().map(|partition| (index + 1, partition)))
    }

    /// Gaps between partitions, in whole MiB, in ascending order.
    pub fn free(&self) -> Vec<Area> {
        let mut taken: Vec<Area> = self.partitions().map(|(_, partition)| partition.area).collect();
        taken.sort();
        taken.push(Area {
            start: self.usable.end(),
            length: Sector(0),
        });
        let mut gaps = Vec::new();
        let mut from = self.usable.start.0;
        for area in taken {
            let start = from.next_multiple_of(ALIGNMENT.0);
            let end = area.start.0 / ALIGNMENT.0 * ALIGNMENT.0;
            if start < end {
                gaps.push(Area {
                    start: Sector(start),
                    length: Sector(end - start),
                });
            }
            from = from.max(area.end().0);
        }
        gaps
    }

    /// Length of the largest gap.
    pub fn max_free(&self) -> Sector {
        let lengths = self.free().into_iter().map(|gap| gap.length);
        lengths.max().unwrap_or_default()
    }

    /// The first gap that holds `length` sectors, rounded up to whole MiB, from its start.
    ///
    /// # Errors
    /// [`GptError::NoSpace`] where there is none.
    pub fn place(&self, length: Sector) -> Result<Area, GptError> {
        let wanted = length
            .0
            .max(1)
            .checked_next_multiple_of(ALIGNMENT.0)
            .unwrap_or(u64::MAX);
        let gap = self.free().into_iter().find(|gap| gap.length.0 >= wanted);
        gap.map(|gap| Area {
            start: gap.start,
            length: Sector(wanted),
        })
        .ok_or_else(|| GptError::NoSpace {
            wanted,
            largest: self.max_free().0,
        })
    }

    /// Adds a partition; returns its number, from 1.
    ///
    /// # Errors
    /// [`GptError`] where its place or the table has no room, and for a fifth member of an array.
    pub fn add(&mut self, partition: Partition) -> Result<usize, GptError> {
        let index = self.entries.iter().position(Option::is_none).ok_or(GptError::Full)?;
        self.add_at(index + 1, partition)
    }

    /// Adds a partition under a number that is free, from 1.
    ///
    /// # Errors
    /// As [`Gpt::add`].
    pub fn add_at(&mut self, number: usize, partition: Partition) -> Result<usize, GptError> {
        let area = partition.area;
        let inside = area.start >= self.usable.start && area.end() <= self.usable.end() && area.length.0 > 0;
        if !inside || self.partitions().any(|(_, other)| other.area.overlaps(area)) {
            return Err(GptError::Misplaced {
                start: area.start.0,
                end: area.end().0,
            });
        }
        let members = self.partitions().filter(|(_, other)| other.kind == LINUX_RAID).count();
        if partition.kind == LINUX_RAID && members >= ARRAYS_PER_IMAGE {
            return Err(GptError::TooManyArrays);
        }
        let entry = number.checked_sub(1).and_then(|index| self.entries.get_mut(index));
        *entry.filter(|entry| entry.is_none()).ok_or(GptError::Full)? = Some(partition);
        Ok(number)
    }

    /// Removes partition `number`; returns it, or none where there is none.
    pub fn remove(&mut self, number: usize) -> Option<Partition> {
        self.entries.get_mut(number.checked_sub(1)?)?.take()
    }

    /// The same table for an image that now has `device` sectors.
    ///
    /// # Errors
    /// [`GptError`] where a partition would be cut off.
    pub fn resized(&self, device: Sector) -> Result<Self, GptError> {
        let mut resized = Self::new(self.disk, device)?;
        resized.boot_code = self.boot_code;
        let cut = self
            .partitions()
            .find(|(_, partition)| partition.area.end() > resized.usable.end());
        if let Some((number, _)) = cut {
            return Err(GptError::CutOff { number });
        }
        resized.usable = Area {
            start: self.usable.start,
            length: Sector(resized.usable.end().0 - self.usable.start.0),
        };
        resized.entries.clone_from(&self.entries);
        Ok(resized)
    }
}
