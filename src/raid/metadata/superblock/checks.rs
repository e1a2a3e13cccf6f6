//! What a superblock must satisfy: by itself when it is decoded, and on the device where it was found.
//!
//! The first set mirrors the kernel's refusals. The second, [`Superblock::fits`], keeps every region that we may write
//! apart from the data, so that a mutated offset can never make us write a log into it.

use zerocopy::{FromBytes, little_endian::U16};

use super::{Area, FIXED_BYTES, Features, Fixed, MAGIC, MAJOR, MAX_ROLES, Superblock};
use crate::raid::{Level, Sector};

/// Where the checksum stands.
const CHECKSUM_AT: std::ops::Range<usize> = 0xd8..0xdc;
/// Where the logical block size stands.
const LOGICAL_BLOCK_AT: std::ops::Range<usize> = 0xe0..0xe4;

/// Why bytes are not a superblock that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockDamage {
    /// There is none: the magic is not md's.
    #[error("no md superblock (magic {found:#010x})")]
    Absent {
        /// What stands there.
        found: u32,
    },
    /// Format 0.90, or one of the future.
    #[error("superblock of major version {major}; only 1 is served")]
    Version {
        /// The version.
        major: u32,
    },
    /// The bytes are not those that were written.
    #[error("superblock checksum {stored:#010x}, but its bytes sum to {computed:#010x}")]
    Checksum {
        /// In the superblock.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// Features that this version does not know, so that it cannot tell what the other fields mean.
    #[error("superblock feature_map has unknown bits {bits:#x}; a newer md wrote it")]
    UnknownFeatures {
        /// The unknown bits.
        bits: u32,
    },
    /// A field cannot be right.
    #[error("superblock field {field} is {value}: {reason}")]
    Field {
        /// Its name as in `md_p.h`.
        field: &'static str,
        /// Its value.
        value: i128,
        /// What it should be.
        reason: &'static str,
    },
}

/// A field that cannot be right.
fn bad<T>(field: &'static str, value: impl Into<i128>, reason: &'static str) -> Result<T, SuperblockDamage> {
    Err(SuperblockDamage::Field {
        field,
        value: value.into(),
        reason,
    })
}

/// Checksum of a superblock's fixed part and role table, in which the stored checksum counts as 0.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u64;
    for (index, word) in bytes.chunks(4).enumerate() {
        if index * 4 != CHECKSUM_AT.start {
            let mut padded = [0; 4];
            padded[..word.len()].copy_from_slice(word);
            sum += u64::from(u32::from_le_bytes(padded));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "the halves are added")]
    let folded = (sum as u32).wrapping_add((sum >> 32) as u32);
    folded
}

/// Finds the fixed part and the role table in `bytes` and checks all that says whether they are what was written.
pub(super) fn split(bytes: &[u8]) -> Result<(Fixed, &[U16]), SuperblockDamage> {
    let Ok((fixed, rest)) = Fixed::read_from_prefix(bytes) else {
        return Err(SuperblockDamage::Absent { found: 0 });
    };
    if fixed.magic.get() != MAGIC {
        return Err(SuperblockDamage::Absent {
            found: fixed.magic.get(),
        });
    }
    if fixed.major.get() != MAJOR {
        return Err(SuperblockDamage::Version {
            major: fixed.major.get(),
        });
    }
    let max_dev = fixed.max_dev.get();
    let Some(count) = usize::try_from(max_dev).ok().filter(|&count| count <= MAX_ROLES) else {
        return bad("max_dev", max_dev, "it is at most 1920");
    };
    let Ok((roles, _)) = <[U16]>::ref_from_prefix_with_elems(rest, count) else {
        return bad("max_dev", max_dev, "the role table ends after the bytes that were read");
    };
    let computed = checksum(&bytes[..FIXED_BYTES + 2 * count]);
    if fixed.checksum.get() != computed {
        return Err(SuperblockDamage::Checksum {
            stored: fixed.checksum.get(),
            computed,
        });
    }
    let bits = fixed.features.get() & !Features::ALL.0;
    if bits != 0 {
        return Err(SuperblockDamage::UnknownFeatures { bits });
    }
    if fixed.pad0.get() != 0 {
        return bad("pad0", fixed.pad0.get(), "it is 0");
    }
    if let Some(&byte) = fixed.pad3.iter().find(|&&byte| byte != 0) {
        return bad("pad3", byte, "its bytes are 0");
    }
    Ok((fixed, roles))
}

pub(super) fn level(field: &'static str, code: i32) -> Result<Level, SuperblockDamage> {
    match Level::from_code(code) {
        Some(level) => Ok(level),
        None => bad(field, code, "levels linear (-1), 0, 1, 4, 5, 6 and 10 are served"),
    }
}

/// Counts beyond this are damage: they leave no room to count on.
const EVENTS_MAX: u64 = 1 << 62;

/// True for the levels whose members are used up to `size`.
fn has_size(level: Level) -> bool {
    !matches!(level, Level::Linear | Level::Raid0)
}

fn check_chunk(field: &'static str, level: Level, chunk: u32) -> Result<(), SuperblockDamage> {
    let striped = !matches!(level, Level::Linear | Level::Raid1);
    if striped && chunk == 0 {
        return bad(field, chunk, "a striped array has chunks");
    }
    let page_multiple = matches!(level, Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10);
    if page_multiple && (!chunk.is_power_of_two() || chunk < 8) {
        return bad(field, chunk, "it is a power of two of sectors, at least 8");
    }
    Ok(())
}

impl Superblock {
    /// Checks that fields go together, as far as one superblock can tell.
    ///
    /// # Errors
    /// [`SuperblockDamage::Field`] of the first that does not.
    pub(super) fn check(&self) -> Result<(), SuperblockDamage> {
        if self.array_uuid.is_zero() {
            return bad("set_uuid", 0, "an array has a UUID");
        }
        if self.slots == 0 || u64::from(self.slots) > MAX_ROLES as u64 {
            return bad("raid_disks", self.slots, "it is 1 to 1920");
        }
        if self.events > EVENTS_MAX {
            return bad("events", self.events, "no array was ever written so often");
        }
        check_chunk("chunksize", self.level, self.chunk)?;
        if self.data_size.0 < 10 {
            return bad("data_size", self.data_size.0, "it is at least 10 sectors");
        }
        if has_size(self.level) {
            if self.size.0 == 0 {
                return bad("size", self.size.0, "members of this level are used up to a size");
            }
            if self.size > self.data_size && !matches!(self.role(), super::Role::Journal) {
                return bad("size", self.size.0, "it is greater than data_size");
            }
        }
        self.check_features()?;
        self.check_reshape()
    }

    fn check_features(&self) -> Result<(), SuperblockDamage> {
        let features = self.features;
        let value = features.0;
        let ppl = features.has(Features::PPL) || features.has(Features::MULTIPLE_PPLS);
        if features.has(Features::RAID0_LAYOUT) && self.level != Level::Raid0 {
            return bad("feature_map", value, "a layout of RAID 0 on another level");
        }
        if ppl && (features.has(Features::BITMAP) || features.has(Features::JOURNAL)) {
            return bad("feature_map", value, "a PPL goes with neither bitmap nor journal");
        }
        if features.has(Features::PPL) && features.has(Features::MULTIPLE_PPLS) {
            return bad("feature_map", value, "a PPL is single or multiple, not both");
        }
        if ppl && self.level != Level::Raid5 {
            return bad("feature_map", value, "only RAID 5 has a PPL");
        }
        if ppl && self.ppl_area().is_none_or(|area| area.length.0 <= 8) {
            return bad("ppl", self.log_place, "it has no room for a header and an entry");
        }
        if features.has(Features::BITMAP) && (self.log_place == 0 || self.bitmap_start().is_none()) {
            return bad(
                "bitmap_offset",
                self.log_place.cast_signed(),
                "it is on the device and not the superblock's place",
            );
        }
        let log = self.bad_blocks;
        if log.sectors > 8 {
            return bad("bblog_size", log.sectors, "it is at most 8 sectors");
        }
        if log.shift > 16 {
            return bad("bblog_shift", log.shift, "it is at most 16");
        }
        if features.has(Features::BAD_BLOCKS) && self.bad_block_area().is_none() {
            return bad("bblog_offset", log.offset, "bad blocks are flagged but have no log");
        }
        Ok(())
    }

    fn check_reshape(&self) -> Result<(), SuperblockDamage> {
        let Some(reshape) = self.reshaping() else {
            return Ok(());
        };
        let new_level = level("new_level", reshape.new_level)?;
        check_chunk("new_chunk", new_level, reshape.new_chunk)?;
        let before = i64::from(self.slots) - i64::from(reshape.delta);
        if !(1..=MAX_ROLES as i64).contains(&before) {
            return bad("delta_disks", reshape.delta, "it leaves no slots before the reshape");
        }
        let moved = self.data_offset.0.checked_add_signed(i64::from(reshape.new_offset));
        if self.features.has(Features::NEW_OFFSET) && moved.is_none() {
            return bad(
                "new_offset",
                reshape.new_offset,
                "it moves the data before the start of the device",
            );
        }
        Ok(())
    }

    /// Checks a decoded superblock against where it was found: sector `place` of a device of `device` sectors.
    ///
    /// # Errors
    /// [`SuperblockDamage::Field`] where it belongs elsewhere, where data lie outside of the device, and where a region
    /// that may be written overlaps another.
    pub fn fits(&self, place: Sector, device: Sector) -> Result<(), SuperblockDamage> {
        if self.super_offset != place {
            return bad(
                "super_offset",
                self.super_offset.0,
                "it is not where the superblock was found",
            );
        }
        let data = self.data_area();
        let inside = |area: Area| {
            area.start
                .0
                .checked_add(area.length.0)
                .is_some_and(|end| end <= device.0)
        };
        if !inside(data) {
            return bad(
                "data_size",
                self.data_size.0,
                "the data reach past the end of the device",
            );
        }
        let own = self.own_area();
        if !inside(own) || own.overlaps(data) {
            return bad("data_offset", self.data_offset.0, "the data overlap the superblock");
        }
        let clear = |area: Area| inside(area) && !area.overlaps(own) && !area.overlaps(data);
        if self.bad_block_area().is_some_and(|area| !clear(area)) || self.has_lost_bad_block_area() {
            let offset = self.bad_blocks.offset;
            return bad("bblog_offset", offset, "the log is not apart from superblock and data");
        }
        if self.ppl_area().is_some_and(|area| !clear(area)) {
            return bad("ppl", self.log_place, "the log is not apart from superblock and data");
        }
        let header = self.bitmap_start().map(|start| Area {
            start,
            length: Sector(1),
        });
        if header.is_some_and(|area| !clear(area)) {
            let offset = self.log_place.cast_signed();
            return bad(
                "bitmap_offset",
                offset,
                "the bitmap is not apart from superblock and data",
            );
        }
        if let (Some(header), Some(log)) = (header, self.bad_block_area())
            && log.overlaps(header)
        {
            return bad(
                "bitmap_offset",
                self.log_place.cast_signed(),
                "the bitmap begins in the bad-block log",
            );
        }
        if self.features.has(Features::RESHAPE) && self.features.has(Features::NEW_OFFSET) {
            return self.check_moved(own, device);
        }
        Ok(())
    }

    /// True where a log is reserved at a place before the start of the device.
    fn has_lost_bad_block_area(&self) -> bool {
        self.bad_blocks.sectors > 0 && self.bad_blocks.offset != 0 && self.bad_block_area().is_none()
    }

    /// Checks the place that a reshape moves the data to.
    fn check_moved(&self, own: Area, device: Sector) -> Result<(), SuperblockDamage> {
        let offset = self.reshape.new_offset;
        let moved = self.data_offset.0.checked_add_signed(i64::from(offset));
        let end = moved.and_then(|start| start.checked_add(self.size.0));
        match (moved, end) {
            (Some(start), Some(end)) if end <= device.0 => {
                let area = Area {
                    start: Sector(start),
                    length: self.size,
                };
                let log = self.bad_block_area().is_some_and(|log| log.overlaps(area));
                if log
                    || own.overlaps(area)
                    || self
                        .bitmap_start()
                        .is_some_and(|at| area.start <= at && at < area.end())
                {
                    bad(
                        "new_offset",
                        offset,
                        "the moved data overlap superblock, bitmap or bad-block log",
                    )
                } else {
                    Ok(())
                }
            }
            _ => bad("new_offset", offset, "the moved data reach past the device"),
        }
    }

    /// Sectors that a bitmap may take from its start to whatever comes next: log, data, superblock or the end.
    pub fn bitmap_room(&self, device: Sector) -> Sector {
        let Some(start) = self.bitmap_start() else {
            return Sector(0);
        };
        let log = self.bad_block_area().map(|area| area.start);
        let next = [Some(self.data_offset), Some(self.super_offset), log, Some(device)]
            .into_iter()
            .flatten()
            .filter(|place| *place > start)
            .min();
        Sector(next.map_or(0, |next| next.0 - start.0))
    }
}

/// Makes a superblock that a kernel of 6.19 or later has written readable to older ones: zeroes its logical block size.
/// The other bytes stay as they are; none is returned where there is nothing to do.
///
/// # Errors
/// [`SuperblockDamage`] where `bytes` are no superblock.
pub fn downgrade(bytes: &[u8]) -> Result<Option<Vec<u8>>, SuperblockDamage> {
    let superblock = Superblock::decode(bytes)?;
    if superblock.logical_block_bytes == 0 {
        return Ok(None);
    }
    let mut changed = bytes.to_vec();
    changed[LOGICAL_BLOCK_AT].fill(0);
    let sum = checksum(&changed[..FIXED_BYTES + 2 * superblock.roles.len()]);
    changed[CHECKSUM_AT].copy_from_slice(&sum.to_le_bytes());
    Ok(Some(changed))
}
