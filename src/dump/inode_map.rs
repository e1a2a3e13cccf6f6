//! A set of numbers as tapes have it: the maps of what is in use and of what is on the tape.
//!
//! Bit `(n - 1) & 7` of byte `(n - 1) >> 3` stands for number `n`, from 1. A map is a whole count of tape blocks, both
//! maps of a dump have the same. The bits are in bytes, so the byte order of the writer does not matter.

use super::TAPE_BLOCK_BYTES;

/// A set of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InodeMap {
    bytes: Vec<u8>,
}

impl InodeMap {
    /// An empty set with room for numbers up to `highest`.
    #[must_use]
    pub fn new(highest: u32) -> Self {
        let length = (highest as usize).div_ceil(8).next_multiple_of(TAPE_BLOCK_BYTES);
        Self {
            bytes: vec![0; length.max(TAPE_BLOCK_BYTES)],
        }
    }

    /// A set as it was on a tape.
    #[must_use]
    pub fn decode(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The set as tape blocks.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a number, which must be one that the set has room for.
    pub fn insert(&mut self, number: u32) {
        let (byte, bit) = place(number);
        match self.bytes.get_mut(byte) {
            Some(byte) if number > 0 => *byte |= bit,
            _ => panic!("number {number} is not in a map of {} bytes", self.bytes.len()),
        }
    }

    /// True where the number is in the set.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        let (byte, bit) = place(number);
        number > 0 && self.bytes.get(byte).is_some_and(|byte| byte & bit != 0)
    }

    /// The numbers in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bytes = self.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
        bytes.flat_map(|(at, byte)| {
            let first = u32::try_from(at * 8).unwrap_or(u32::MAX - 8) + 1;
            (0..8)
                .filter(move |bit| byte & (1 << bit) != 0)
                .map(move |bit| first + bit)
        })
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bytes.iter().map(|byte| byte.count_ones() as usize).sum()
    }
}

fn place(number: u32) -> (usize, u8) {
    let index = number.wrapping_sub(1);
    ((index >> 3) as usize, 1 << (index & 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_lie_where_the_format_has_them() {
        let mut map = InodeMap::new(8193);
        for number in [1, 2, 9, 8192, 8193] {
            map.insert(number);
        }
        assert_eq!(map.bytes().len(), 2048);
        assert_eq!(
            (map.bytes()[0], map.bytes()[1], map.bytes()[1023], map.bytes()[1024]),
            (3, 1, 0x80, 1)
        );
        assert!(!map.contains(0) && !map.contains(3) && !map.contains(u32::MAX));
    }

    proptest! {
        #[test]
        fn a_map_holds_what_was_put_in(numbers in proptest::collection::btree_set(1..100_000_u32, 0..200)) {
            let mut map = InodeMap::new(100_000);
            numbers.iter().for_each(|number| map.insert(*number));
            let map = InodeMap::decode(map.bytes().to_vec());
            prop_assert_eq!(map.count(), numbers.len());
            prop_assert_eq!(map.iter().collect::<std::collections::BTreeSet<_>>(), numbers);
        }
    }
}
