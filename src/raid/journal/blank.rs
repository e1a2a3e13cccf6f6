//! Which parts of an array are *blank*: they read as zeros whatever the members hold, until they are written.
//!
//! A new array whose zeros the host cannot make at once is blank, and so is what an array grew by. Regions are made zeros
//! one after the other, or when a write comes to them, and are blank no more once that is durable and all sidecars say so:
//! only then is anything else written there. The map is part of the state that a sidecar holds, behind its first 80 bytes:
//!
//! | at | what, little endian |
//! |---|---|
//! | 80 | first byte of the array that the map has, first behind it, bytes of a region: each u64 |
//! | 104 | CRC32 of the state's first 76 bytes and of the map with this field zero: u32, then 4 zeros |
//! | 112 | a bit for each region, lowest first: set where it is blank |
//!
//! Where there is no map, or one of another time, nothing is blank: members hold what they hold, and md makes redundancy fit
//! that, for a region that is blank was never in sync.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

use super::{BLOCK_BYTES, Journal, format::STATE_BYTES};
use crate::raid::member::Member;

/// Bytes that a map has at most for its bits.
const BITS_BYTES: usize = BLOCK_BYTES - STATE_BYTES - size_of::<RawHeader>();
/// Most regions of a map.
const REGIONS: u64 = BITS_BYTES as u64 * 8;
/// Least bytes of a region.
const REGION_BYTES: u64 = 64 << 10;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawHeader {
    start: U64,  // 80
    end: U64,    // 88
    region: U64, // 96
    crc: U32,    // 104
    pad: U32,    // 108
}

const _: () = assert!(size_of::<RawHeader>() == 32);

/// A map of what is blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blank {
    start_bytes: u64,
    end_bytes: u64,
    region_bytes: u64,
    bits: Vec<u8>,
}

/// A run of the array that is blank, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlankRun {
    /// Where it begins.
    pub offset_bytes: u64,
    /// Its length.
    pub length_bytes: u64,
    /// Whether it is.
    pub blank: bool,
}

impl Blank {
    /// A range of the array, all of which is blank; regions are multiples of `unit_bytes`. None for an empty range.
    pub fn new(start_bytes: u64, end_bytes: u64, unit_bytes: u64) -> Option<Self> {
        let length = end_bytes.checked_sub(start_bytes).filter(|length| *length > 0)?;
        let least = length.div_ceil(REGIONS).max(REGION_BYTES);
        let region_bytes = least.checked_next_multiple_of(unit_bytes.max(1))?;
        let mut blank = Self {
            start_bytes,
            end_bytes,
            region_bytes,
            bits: Vec::new(),
        };
        blank.bits = vec![0; usize::try_from(blank.count().div_ceil(8)).ok()?];
        (0..blank.count()).for_each(|region| blank.put(region, true));
        Some(blank)
    }

    fn count(&self) -> u64 {
        (self.end_bytes - self.start_bytes).div_ceil(self.region_bytes)
    }

    fn get(&self, region: u64) -> bool {
        let byte = usize::try_from(region / 8).ok().and_then(|index| self.bits.get(index));
        byte.is_some_and(|byte| byte >> (region % 8) & 1 == 1)
    }

    fn put(&mut self, region: u64, blank: bool) {
        if let Some(byte) = usize::try_from(region / 8)
            .ok()
            .and_then(|index| self.bits.get_mut(index))
        {
            *byte = *byte & !(1 << (region % 8)) | u8::from(blank) << (region % 8);
        }
    }

    /// Where a region begins; behind the last one where all ends.
    fn place(&self, region: u64) -> u64 {
        let offset = region.saturating_mul(self.region_bytes);
        self.start_bytes.saturating_add(offset).min(self.end_bytes)
    }

    /// The region that a byte is in, which the map has.
    fn region_of(&self, offset_bytes: u64) -> u64 {
        (offset_bytes - self.start_bytes) / self.region_bytes
    }

    /// First blank regions that end behind an offset: where they begin, and where they end.
    pub fn next(&self, offset_bytes: u64) -> Option<(u64, u64)> {
        let first = self.region_of(offset_bytes.max(self.start_bytes));
        let start = (first..self.count()).find(|region| self.get(*region))?;
        let end = (start..self.count()).find(|region| !self.get(*region));
        Some((self.place(start), self.place(end.unwrap_or(self.count()))))
    }

    /// End of the region that has the byte before an offset, which the map has.
    pub fn ceiling(&self, offset_bytes: u64) -> u64 {
        let behind = offset_bytes.saturating_sub(self.start_bytes);
        self.place(behind.div_ceil(self.region_bytes))
    }

    /// The runs of a range, in order.
    pub fn runs(&self, offset_bytes: u64, length_bytes: u64) -> Vec<BlankRun> {
        let (mut at, end) = (offset_bytes, offset_bytes + length_bytes);
        let mut runs = Vec::new();
        let mut push = |at: u64, to: u64, blank: bool| {
            if to > at {
                runs.push(BlankRun {
                    offset_bytes: at,
                    length_bytes: to - at,
                    blank,
                });
            }
        };
        while at < end {
            let (from, to) = self
                .next(at)
                .map_or((end, end), |(from, to)| (from.min(end), to.min(end)));
            push(at, from.max(at), false);
            push(from.max(at), to, true);
            at = to.max(at);
            if from >= end {
                break;
            }
        }
        runs
    }

    /// Says that whole regions of a range are not blank any more.
    fn clear(&mut self, start_bytes: u64, end_bytes: u64) {
        for region in 0..self.count() {
            if self.place(region) >= start_bytes && self.place(region + 1) <= end_bytes {
                self.put(region, false);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.next(0).is_none()
    }

    /// What both say is blank; none where they do not speak of the same regions.
    pub fn meet(mut self, other: &Self) -> Option<Self> {
        let same = (self.start_bytes, self.end_bytes, self.region_bytes)
            == (other.start_bytes, other.end_bytes, other.region_bytes);
        self.bits
            .iter_mut()
            .zip(&other.bits)
            .for_each(|(own, other)| *own &= other);
        (same && !self.is_empty()).then_some(self)
    }

    /// As far as an array of so many bytes has it; none where that is nothing, or regions are no multiples of the unit.
    pub fn fitted(mut self, size_bytes: u64, unit_bytes: u64) -> Option<Self> {
        let unit = unit_bytes.max(1);
        let fits = self.start_bytes.is_multiple_of(unit)
            && self.region_bytes.is_multiple_of(unit)
            && self.start_bytes < size_bytes;
        self.end_bytes = self.end_bytes.min(size_bytes);
        (fits && !self.is_empty()).then_some(self)
    }

    /// Encodes what stands behind the `head` of a state, which ends before its checksum.
    pub(super) fn encode(&self, head: &[u8]) -> Vec<u8> {
        let mut raw = RawHeader {
            start: self.start_bytes.into(),
            end: self.end_bytes.into(),
            region: self.region_bytes.into(),
            crc: 0.into(),
            pad: 0.into(),
        };
        let mut bits = self.bits.clone();
        bits.resize(BITS_BYTES, 0);
        raw.crc = crc32fast::hash(&[head, raw.as_bytes(), &bits].concat()).into();
        [raw.as_bytes(), &bits].concat()
    }

    /// Decodes what stands behind the `head` of a state; none where it is not whole.
    pub(super) fn decode(head: &[u8], bytes: &[u8]) -> Option<Self> {
        let (mut raw, rest) = RawHeader::read_from_prefix(bytes).ok()?;
        let bits = rest.get(..BITS_BYTES)?;
        let crc = std::mem::take(&mut raw.crc);
        let whole = crc.get() == crc32fast::hash(&[head, raw.as_bytes(), bits].concat());
        let (start, end, region) = (raw.start.get(), raw.end.get(), raw.region.get());
        let sane = whole && start < end && region > 0 && (end - start).div_ceil(region) <= REGIONS;
        let mut blank = sane.then(|| Self {
            start_bytes: start,
            end_bytes: end,
            region_bytes: region,
            bits: bits.to_vec(),
        })?;
        blank.bits.truncate(usize::try_from(blank.count().div_ceil(8)).ok()?);
        Some(blank)
    }
}

/// What requests look at.
#[derive(Default)]
pub(super) struct View {
    any: AtomicBool,
    map: RwLock<Option<Blank>>,
    turn: Mutex<()>,
}

impl View {
    fn show(&self, blank: Option<&Blank>) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = blank.cloned();
        self.any.store(blank.is_some(), Ordering::Release);
    }
}

impl Journal {
    /// True where something is blank.
    pub fn has_blank(&self) -> bool {
        self.view.any.load(Ordering::Acquire)
    }

    /// Looks at the map, if there is one.
    pub fn with_blank<T>(&self, look: impl FnOnce(&Blank) -> T) -> Option<T> {
        let map = self.view.map.read().unwrap_or_else(PoisonError::into_inner);
        self.has_blank().then(|| map.as_ref().map(look)).flatten()
    }

    /// The right to make zeros of blank regions.
    pub fn blank_turn(&self) -> MutexGuard<'_, ()> {
        self.view.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what sidecars said; nothing is written. `members` are those whose sidecars go on.
    pub fn adopt_blank<'a>(&self, blank: Blank, members: impl Iterator<Item = &'a Arc<Member>>) {
        let mut ring = self.ring();
        if let Err(error) = ring.open_sidecars(members) {
            // Its stamp will not go with the superblocks any more.
            log::warn!("a sidecar is left out: {error}");
        }
        self.view.show(Some(&blank));
        ring.blank = Some(blank);
    }

    /// Says durably what is blank. Nothing that is there may be written until this returns.
    ///
    /// # Errors
    /// What the host says of a sidecar: nothing is blank then.
    pub fn set_blank<'a>(&self, blank: Blank, members: impl Iterator<Item = &'a Arc<Member>>) -> io::Result<()> {
        let mut ring = self.ring();
        ring.open_sidecars(members)?;
        ring.blank = Some(blank);
        match ring.write_state(self.array_uuid).pop() {
            Some((_, error)) => {
                ring.blank = None;
                Err(error)
            }
            None => {
                self.view.show(ring.blank.as_ref());
                Ok(())
            }
        }
    }

    /// Says durably that whole regions of a range, which are zeros now, are not blank any more.
    ///
    /// # Errors
    /// What the host says of a sidecar: they stay blank.
    pub fn clear_blank(&self, start_bytes: u64, end_bytes: u64) -> io::Result<()> {
        let mut ring = self.ring();
        let before = ring.blank.clone();
        if let Some(blank) = ring.blank.as_mut() {
            blank.clear(start_bytes, end_bytes);
        }
        ring.blank = ring.blank.take().filter(|blank| !blank.is_empty());
        match ring.write_state(self.array_uuid).pop() {
            Some((_, error)) => {
                ring.blank = before;
                Err(error)
            }
            None => {
                self.view.show(ring.blank.as_ref());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn run(offset_kib: u64, length_kib: u64, blank: bool) -> BlankRun {
        BlankRun {
            offset_bytes: offset_kib * KIB,
            length_bytes: length_kib * KIB,
            blank,
        }
    }

    #[test]
    fn runs_are_those_of_the_regions() {
        let mut blank = Blank::new(192 * KIB, 1000 * KIB, 96 * KIB).unwrap();
        assert_eq!(blank.region_bytes, 96 * KIB);
        blank.clear(384 * KIB, 576 * KIB);
        blank.clear(900 * KIB, 1000 * KIB);
        assert_eq!(
            blank.runs(0, 1200 * KIB),
            [
                run(0, 192, false),
                run(192, 192, true),
                run(384, 192, false),
                run(576, 384, true),
                run(960, 240, false)
            ]
        );
        assert_eq!(blank.runs(200 * KIB, 4 * KIB), [run(200, 4, true)]);
        assert_eq!(blank.next(400 * KIB), Some((576 * KIB, 960 * KIB)));
        assert_eq!(
            (blank.ceiling(577 * KIB), blank.ceiling(576 * KIB)),
            (672 * KIB, 576 * KIB)
        );
        let short = blank.clone().fitted(600 * KIB, 96 * KIB).unwrap();
        assert_eq!(short.next(500 * KIB), Some((576 * KIB, 600 * KIB)));
        assert_eq!(blank.clone().fitted(192 * KIB, 96 * KIB), None);
        assert_eq!(blank.clone().fitted(1000 * KIB, 128 * KIB), None);
        blank.clear(0, 1000 * KIB);
        assert!(blank.is_empty());
        assert_eq!(Blank::new(5, 5, 1), None);
    }

    #[test]
    fn large_arrays_have_large_regions_and_every_byte_of_a_map_counts() {
        let mut blank = Blank::new(0, 1 << 44, 3 << 19).unwrap();
        assert!(blank.count() <= REGIONS && blank.region_bytes.is_multiple_of(3 << 19));
        blank.clear(0, 1 << 40);
        let head = [7; 76];
        let bytes = blank.encode(&head);
        assert_eq!(bytes.len(), BLOCK_BYTES - STATE_BYTES);
        assert_eq!(Blank::decode(&head, &bytes).as_ref(), Some(&blank));
        assert_eq!(Blank::decode(&[8; 76], &bytes), None);
        for at in (0..bytes.len()).filter(|at| *at < 40 || at % 64 == 0) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Blank::decode(&head, &damaged), None, "byte {at}");
        }
        assert_eq!(Blank::decode(&head, &bytes[..4000]), None);
    }

    #[test]
    fn only_what_both_call_blank_is() {
        let all = Blank::new(0, 256 * KIB, KIB).unwrap();
        let (mut one, mut other) = (all.clone(), all.clone());
        one.clear(0, 64 * KIB);
        other.clear(192 * KIB, 256 * KIB);
        let both = one.clone().meet(&other).unwrap();
        assert_eq!(
            both.runs(0, 256 * KIB),
            [run(0, 64, false), run(64, 128, true), run(192, 64, false)]
        );
        assert_eq!(one.meet(&Blank::new(0, 128 * KIB, KIB).unwrap()), None);
    }
}
