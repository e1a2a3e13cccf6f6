//! The write-intent bitmap of an assembled array: which regions a crash may leave with redundancy that is not right.
//!
//! A bit is set and flushed before the first write to its region, and cleared lazily: a tick after the last write, once
//! what was written is durable. The common case, a region whose bit is set, is one look at an atomic byte. Regions are
//! those of md's bitmap: of a member's used size, for RAID 10 of the array.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use crate::raid::{SECTOR_BYTES, Sector, metadata::bitmap::Bitmap};

/// The bit is clear: nothing was written since it was in sync.
const CLEAR: u8 = 0;
/// The bit is set, and nothing was written since the last tick.
const QUIET: u8 = 1;
/// The bit is set.
const BUSY: u8 = 2;
/// The bit is set, and stays so until a resync has passed.
const UNSYNCED: u8 = 3;
/// The same, and a resync is at it.
const SYNCING: u8 = 4;

/// Regions of an array without a bitmap.
const UNTOLD_REGIONS: u64 = 1024;

/// The bitmap, or what stands for it where the array has none.
pub(in crate::raid) struct Intent {
    states: Vec<AtomicU8>,
    region_bytes: u64,
    bitmap: Mutex<Option<Bitmap>>,
}

impl Intent {
    /// Takes over a bitmap that covers `whole_bytes`. What may be out of sync begins at `unsynced_from`, if anything is:
    /// set bits from there on are regions to resync; the others that are set are those that an absent member missed.
    /// Without a bitmap there are regions all the same, of which nobody is told.
    pub(in crate::raid) fn new(bitmap: Option<Bitmap>, unsynced_from: Option<u64>, whole_bytes: u64) -> Self {
        let region_bytes = bitmap.as_ref().map_or_else(
            || (whole_bytes / UNTOLD_REGIONS).next_multiple_of(64 << 10).max(64 << 10),
            |bitmap| u64::from(bitmap.header().chunk_bytes),
        );
        let count = bitmap.as_ref().map_or_else(
            || whole_bytes.div_ceil(region_bytes).max(1),
            |bitmap| bitmap.header().bits(),
        );
        let state = |index: u64| {
            let end = (index + 1).saturating_mul(region_bytes);
            let unsynced = unsynced_from.is_some_and(|from| end > from);
            match &bitmap {
                Some(bitmap) if !bitmap.get(index) => CLEAR,
                _ if unsynced => UNSYNCED,
                _ => QUIET,
            }
        };
        Self {
            states: (0..count).map(state).map(AtomicU8::new).collect(),
            region_bytes,
            bitmap: Mutex::new(bitmap),
        }
    }

    /// True where there are regions for so many bytes and no more.
    pub(in crate::raid) fn covers(&self, whole_bytes: u64) -> bool {
        self.states.len() as u64 == whole_bytes.div_ceil(self.region_bytes).max(1)
    }

    fn states(&self, offset_bytes: u64, length_bytes: u64) -> &[AtomicU8] {
        let index = |byte: u64| usize::try_from(byte / self.region_bytes).unwrap_or(usize::MAX);
        let first = index(offset_bytes).min(self.states.len());
        let end = index(offset_bytes + length_bytes.max(1) - 1).saturating_add(1);
        &self.states[first..end.clamp(first, self.states.len())]
    }

    /// True where redundancy of some of the range may not be right.
    pub(in crate::raid) fn is_unsynced(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let mut states = self.states(offset_bytes, length_bytes).iter();
        states.any(is_unsynced)
    }

    /// First byte at or behind an offset whose redundancy may not be right, and where that run ends.
    pub(in crate::raid) fn next_unsynced(&self, offset_bytes: u64) -> Option<(u64, u64)> {
        let first = usize::try_from(offset_bytes / self.region_bytes).unwrap_or(usize::MAX);
        let start = first + self.states.get(first..)?.iter().position(is_unsynced)?;
        let length = self.states[start..]
            .iter()
            .take_while(|state| is_unsynced(state))
            .count();
        let byte = |index: usize| (index as u64).saturating_mul(self.region_bytes);
        Some((byte(start).max(offset_bytes), byte(start + length)))
    }

    /// Says that redundancy of the range is not right; its bits are set already, as a write was under way.
    pub(in crate::raid) fn mark_unsynced(&self, offset_bytes: u64, length_bytes: u64) {
        for state in self.states(offset_bytes, length_bytes) {
            state.store(UNSYNCED, Ordering::Release);
        }
    }

    /// Says that a resync begins with the range.
    pub(in crate::raid) fn mark_syncing(&self, offset_bytes: u64, length_bytes: u64) {
        for state in self.states(offset_bytes, length_bytes) {
            let _ = state.compare_exchange(UNSYNCED, SYNCING, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Says that a resync has made redundancy of the range right since [`Intent::mark_syncing`]; regions that it covers in
    /// part stay as they are, but for one that ends at the end of all, and so do those marked as unsynced meanwhile.
    pub(in crate::raid) fn mark_synced(&self, offset_bytes: u64, end_bytes: u64, whole_bytes: u64) {
        for (index, state) in (0_u64..).zip(&self.states) {
            let start = index.saturating_mul(self.region_bytes);
            let end = start.saturating_add(self.region_bytes).min(whole_bytes);
            if start >= offset_bytes && end <= end_bytes && start < end {
                let _ = state.compare_exchange(SYNCING, BUSY, Ordering::AcqRel, Ordering::Acquire);
            }
        }
    }

    /// Prepares for a write: `write` gets pages of the bitmap, with their numbers, to write and flush before any data;
    /// it is not called where all bits are set.
    pub(in crate::raid) fn begin(
        &self,
        offset_bytes: u64,
        length_bytes: u64,
        write: impl FnOnce(&[(usize, [u8; 4096])]),
    ) {
        let states = self.states(offset_bytes, length_bytes);
        let mut all_set = true;
        for state in states {
            match state.load(Ordering::Acquire) {
                BUSY | UNSYNCED | SYNCING => {}
                // Nobody clears bits while a write is under way, so this cannot come too late.
                QUIET => {
                    let _ = state.compare_exchange(QUIET, BUSY, Ordering::AcqRel, Ordering::Acquire);
                }
                _ => all_set = false,
            }
        }
        if all_set {
            return;
        }
        let mut bitmap = self.lock();
        let Some(bitmap) = bitmap.as_mut() else { return };
        let length = Sector(length_bytes.div_ceil(SECTOR_BYTES) + 1);
        let mut pages: Vec<usize> = Vec::new();
        for bit in bitmap.bits_of(Sector(offset_bytes / SECTOR_BYTES), length) {
            if bitmap.put(bit, true) {
                pages.push(bitmap.page_of(bit));
            }
        }
        pages.dedup();
        write(&encoded(bitmap, &pages));
        for state in states {
            let _ = state.compare_exchange(CLEAR, BUSY, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Ages all regions; no write may be under way. Regions that were quiet since the last call are returned as clear in
    /// pages to be written, once what was written before this call is durable.
    pub(in crate::raid) fn age(&self) {
        for state in &self.states {
            let _ = state.compare_exchange(BUSY, QUIET, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// True where [`Intent::clear_quiet`] would clear something.
    pub(in crate::raid) fn has_quiet(&self) -> bool {
        self.lock().is_some() && self.states.iter().any(|state| state.load(Ordering::Acquire) == QUIET)
    }

    /// Clears the bits of regions that no write has touched since the last [`Intent::age`], whose data the caller has made
    /// durable since; no write may be under way. Returns the pages to write.
    pub(in crate::raid) fn clear_quiet(&self) -> Vec<(usize, [u8; 4096])> {
        let mut bitmap = self.lock();
        let Some(bitmap) = bitmap.as_mut() else {
            return Vec::new();
        };
        let mut pages = Vec::new();
        for (bit, state) in (0_u64..).zip(&self.states) {
            let quiet = state.compare_exchange(QUIET, CLEAR, Ordering::AcqRel, Ordering::Acquire);
            if quiet.is_ok() && bitmap.put(bit, false) {
                pages.push(bitmap.page_of(bit));
            }
        }
        pages.dedup();
        encoded(bitmap, &pages)
    }

    /// All pages, for a member that is new.
    pub(in crate::raid) fn pages(&self) -> Vec<(usize, [u8; 4096])> {
        let bitmap = self.lock();
        bitmap.as_ref().map_or_else(Vec::new, |bitmap| {
            let count = usize::try_from(bitmap.area_sectors().0 * SECTOR_BYTES / 4096).unwrap_or(0);
            encoded(bitmap, &(0..count).collect::<Vec<_>>())
        })
    }

    /// True where some bit of the range is set, so that a member that was away may have missed a write there.
    pub(in crate::raid) fn is_set(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let mut states = self.states(offset_bytes, length_bytes).iter();
        states.any(|state| state.load(Ordering::Acquire) != CLEAR)
    }

    /// The bitmap, for stamping its header.
    pub(in crate::raid) fn lock(&self) -> MutexGuard<'_, Option<Bitmap>> {
        self.bitmap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_unsynced(state: &AtomicU8) -> bool {
    matches!(state.load(Ordering::Acquire), UNSYNCED | SYNCING)
}

fn encoded(bitmap: &Bitmap, pages: &[usize]) -> Vec<(usize, [u8; 4096])> {
    let page = |&number: &usize| bitmap.page(number).map(|page| (number, page));
    pages.iter().filter_map(page).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_while_a_resync_passes_stays_marked() {
        let region = 64 << 10;
        let intent = Intent::new(None, Some(0), 16 * region);
        intent.mark_syncing(0, 16 * region);
        assert_eq!(intent.next_unsynced(0), Some((0, 16 * region)));
        intent.mark_unsynced(3 * region + 5, 1);
        intent.mark_synced(0, 16 * region, 16 * region);
        assert_eq!(intent.next_unsynced(0), Some((3 * region, 4 * region)));
        assert!(intent.is_unsynced(3 * region, 1) && !intent.is_unsynced(0, 3 * region));
        intent.mark_syncing(3 * region, region);
        intent.mark_synced(3 * region, 4 * region, 16 * region);
        assert_eq!(intent.next_unsynced(0), None);
    }
}
