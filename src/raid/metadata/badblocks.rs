//! The bad-block log of a member: sectors whose data are lost on it. Bytes in, bytes out, no I/O.
//!
//! Up to 512 entries of 8 bytes, little endian: the first sector shifted by 10, plus the count of sectors in the low 10
//! bits, both in units of `1 << shift` sectors. Sectors count from the start of the device, not of its data. All bits
//! set end the list. The log counts only while the superblock flags it; a log that was never used may hold zeros.
//! Source: Linux 6.1 with dm-dust, by experiment.

use crate::raid::Sector;

/// Most entries that a log has.
pub const MAX_ENTRIES: usize = 512;
/// Most sectors that the kernel puts into one entry.
const MAX_LENGTH: u64 = 512;

/// Why a log cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadBlocksDamage {
    /// An entry stands for no sectors.
    #[error("bad-block log entry {index} has length 0")]
    Empty {
        /// Which one, from 0.
        index: usize,
    },
    /// An entry reaches past the greatest sector number.
    #[error("bad-block log entry {index} begins at sector {sector}, past any device")]
    Overflow {
        /// Which one, from 0.
        index: usize,
        /// Its first sector, before the shift.
        sector: u64,
    },
    /// There are more entries than a log holds. The member is to be failed.
    #[error("{count} bad ranges do not fit the log, which holds {limit}")]
    Full {
        /// Entries needed.
        count: usize,
        /// Entries that fit.
        limit: usize,
    },
}

/// Sectors that are bad on one member: ranges that neither touch nor overlap, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BadBlocks {
    ranges: Vec<(u64, u64)>,
}

impl BadBlocks {
    /// Decodes a log in units of `1 << shift` sectors.
    ///
    /// # Errors
    /// [`BadBlocksDamage`] that names the entry.
    pub fn decode(bytes: &[u8], shift: u8) -> Result<Self, BadBlocksDamage> {
        let mut found = Self::default();
        for (index, entry) in bytes.chunks_exact(8).take(MAX_ENTRIES).enumerate() {
            let entry = u64::from_le_bytes(entry.try_into().expect("8 bytes"));
            if entry == u64::MAX {
                break;
            }
            let (sector, length) = (entry >> 10, entry & 0x3ff);
            if length == 0 {
                return Err(BadBlocksDamage::Empty { index });
            }
            let unit = 1_u64.checked_shl(shift.into());
            let ends = unit.and_then(|unit| Some((sector.checked_mul(unit)?, (sector + length).checked_mul(unit)?)));
            let Some((start, end)) = ends else {
                return Err(BadBlocksDamage::Overflow { index, sector });
            };
            found.add(Sector(start), Sector(end - start));
        }
        Ok(found)
    }

    /// Encodes a log of `sectors` sectors in units of `1 << shift` sectors; ranges are widened to whole units.
    ///
    /// # Errors
    /// [`BadBlocksDamage::Full`] where there are too many ranges.
    pub fn encode(&self, sectors: u16, shift: u8) -> Result<Vec<u8>, BadBlocksDamage> {
        let unit = 1_u64 << shift.min(63);
        let mut entries = Vec::new();
        for &(start, end) in &self.ranges {
            let (mut from, to) = (start / unit, end.div_ceil(unit));
            while from < to {
                let length = (to - from).min(MAX_LENGTH);
                entries.push(from << 10 | length);
                from += length;
            }
        }
        let room = usize::from(sectors) * 512 / 8;
        if entries.len() > room.min(MAX_ENTRIES) {
            return Err(BadBlocksDamage::Full {
                count: entries.len(),
                limit: room.min(MAX_ENTRIES),
            });
        }
        entries.resize(room, u64::MAX);
        Ok(entries.iter().flat_map(|entry| entry.to_le_bytes()).collect())
    }

    /// True where nothing is bad.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The bad ranges in ascending order: first sector and length.
    pub fn ranges(&self) -> impl Iterator<Item = (Sector, Sector)> + '_ {
        self.ranges
            .iter()
            .map(|&(start, end)| (Sector(start), Sector(end - start)))
    }

    /// The first bad sectors among the `length` from `start`.
    pub fn first_in(&self, start: Sector, length: Sector) -> Option<(Sector, Sector)> {
        let end = start.0.saturating_add(length.0);
        let index = self.ranges.partition_point(|&(_, to)| to <= start.0);
        let &(from, to) = self.ranges.get(index).filter(|&&(from, _)| from < end)?;
        let from = from.max(start.0);
        Some((Sector(from), Sector(to.min(end) - from)))
    }

    /// Marks the `length` sectors from `start` as bad.
    pub fn add(&mut self, start: Sector, length: Sector) {
        let (mut from, mut to) = (start.0, start.0.saturating_add(length.0));
        if from == to {
            return;
        }
        let first = self.ranges.partition_point(|&(_, end)| end < from);
        let after = self.ranges.partition_point(|&(begin, _)| begin <= to);
        if let Some(touched) = self.ranges.get(first..after).filter(|touched| !touched.is_empty()) {
            from = from.min(touched[0].0);
            to = to.max(touched[touched.len() - 1].1);
        }
        self.ranges.splice(first..after, [(from, to)]);
    }

    /// Marks the `length` sectors from `start` as good, which writing them makes true.
    pub fn remove(&mut self, start: Sector, length: Sector) {
        let (from, to) = (start.0, start.0.saturating_add(length.0));
        let mut kept = Vec::with_capacity(self.ranges.len() + 1);
        for &(begin, end) in &self.ranges {
            let parts = [(begin, end.min(from)), (begin.max(to), end)];
            if from == to || end <= from || begin >= to {
                kept.push((begin, end));
            } else {
                kept.extend(parts.into_iter().filter(|(begin, end)| begin < end));
            }
        }
        self.ranges = kept;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::{BadBlocks, BadBlocksDamage};
    use crate::raid::Sector;

    /// Entries as Linux 6.1 wrote them: 3000 and 8 sectors, 70000 and 512 and 24.
    #[test]
    fn the_kernel_s_entries_are_read_and_written() {
        let mut bytes = vec![0xff; 4096];
        for (index, entry) in [3000_u64 << 10 | 8, 70_000 << 10 | 512, 70_512 << 10 | 24]
            .iter()
            .enumerate()
        {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&entry.to_le_bytes());
        }
        let bad = BadBlocks::decode(&bytes, 0).unwrap();
        let ranges: Vec<_> = bad.ranges().map(|(start, length)| (start.0, length.0)).collect();
        assert_eq!(ranges, [(3000, 8), (70_000, 536)]);
        assert_eq!(bad.encode(8, 0).unwrap(), bytes);
        assert_eq!(
            bad.first_in(Sector(2000), Sector(1001)),
            Some((Sector(3000), Sector(1)))
        );
        assert_eq!(bad.first_in(Sector(3004), Sector(100)), Some((Sector(3004), Sector(4))));
        assert_eq!(bad.first_in(Sector(3008), Sector(100)), None);
    }

    #[test]
    fn damaged_logs_are_named() {
        assert_eq!(
            BadBlocks::decode(&[0; 4096], 0),
            Err(BadBlocksDamage::Empty { index: 0 })
        );
        let far = (u64::MAX >> 10) << 10 | 1;
        assert!(matches!(
            BadBlocks::decode(&far.to_le_bytes(), 16),
            Err(BadBlocksDamage::Overflow { index: 0, .. })
        ));
        let mut bad = BadBlocks::default();
        (0..600).for_each(|n| bad.add(Sector(n * 10), Sector(1)));
        assert_eq!(bad.encode(8, 0), Err(BadBlocksDamage::Full { count: 600, limit: 512 }));
        assert_eq!(bad.encode(1, 0), Err(BadBlocksDamage::Full { count: 600, limit: 64 }));
    }

    fn change() -> impl Strategy<Value = (bool, u64, u64)> {
        (any::<bool>(), 0..300_u64, 0..60_u64)
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_their_sectors(changes in proptest::collection::vec(change(), 0..40)) {
            let (mut bad, mut model) = (BadBlocks::default(), BTreeSet::new());
            for (add, start, length) in changes {
                if add {
                    bad.add(Sector(start), Sector(length));
                    model.extend(start..start + length);
                } else {
                    bad.remove(Sector(start), Sector(length));
                    (start..start + length).for_each(|sector| { model.remove(&sector); });
                }
            }
            let held: Vec<u64> = bad.ranges().flat_map(|(start, length)| start.0..start.0 + length.0).collect();
            prop_assert_eq!(&held, &model.iter().copied().collect::<Vec<_>>());
            let again = BadBlocks::decode(&bad.encode(8, 0).unwrap(), 0).unwrap();
            prop_assert_eq!(again, bad);
        }

        #[test]
        fn hostile_logs_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000), shift in any::<u8>()) {
            if let Ok(bad) = BadBlocks::decode(&bytes, shift) {
                drop(bad.encode(8, shift));
            }
        }
    }
}
