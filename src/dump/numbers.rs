//! The numbers of a chain of dumps: which object of the host has which small number on the tapes.
//!
//! Maps on tapes and tables of `restore` grow with the highest number, so numbers are dense: 2 for the root, then as
//! objects are met. Within a chain a number is never given to another object. Kept as bytes: `HSN1`, u32 next number, u64
//! count, then an entry of 24 bytes each (u64 inode, i64 birth, u32 number, u16 type, u16 0), CRC-32C; little-endian.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{ROOT, tree::Identity};

const MAGIC: &[u8; 4] = b"HSN1";
const HEAD_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;

/// Numbers of a chain.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// Objects with their numbers, in order of these.
    known: Vec<(Identity, u32)>,
    /// Places in `known`, once one was looked for.
    places: Option<HashMap<Identity, usize, RandomState>>,
    /// Place in `known` of what is asked for next if the tree is as it was: a walk meets what it met before in the same
    /// order, which saves a search that reads all over the memory.
    expected: usize,
    next: u32,
}

impl PartialEq for Numbers {
    fn eq(&self, other: &Self) -> bool {
        (&self.known, self.next) == (&other.known, other.next)
    }
}

impl Eq for Numbers {}

impl Numbers {
    /// Numbers of a new chain, whose root is `root`.
    #[must_use]
    pub fn new(root: Identity) -> Self {
        Self::of_known(vec![(root, ROOT)], ROOT + 1)
    }

    fn of_known(known: Vec<(Identity, u32)>, next: u32) -> Self {
        Self {
            known,
            places: None,
            // The root has its number without being asked for.
            expected: 1,
            next,
        }
    }

    /// The number that the next new object gets; all that are given are below.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The number of an object, which it gets now if it has none; none where numbers have run out.
    pub fn of(&mut self, identity: Identity) -> Option<u32> {
        if let Some((known, number)) = self.known.get(self.expected)
            && *known == identity
        {
            self.expected += 1;
            return Some(*number);
        }
        let known = &self.known;
        let places = self.places.get_or_insert_with(|| {
            let identities = known.iter().map(|(identity, _)| *identity);
            identities.zip(0..).collect()
        });
        if let Some(place) = places.get(&identity) {
            self.expected = place + 1;
            return known.get(*place).map(|(_, number)| *number);
        }
        let number = self.next;
        // The programs of Linux count with signed words.
        if number >= 1 << 31 {
            return None;
        }
        places.insert(identity, known.len());
        self.known.push((identity, number));
        self.next += 1;
        Some(number)
    }

    /// Lets an object be the root, as where the tree was copied to another place.
    pub fn set_root(&mut self, root: Identity) {
        if self.known.first() == Some(&(root, ROOT)) {
            return;
        }
        self.known
            .retain(|(identity, number)| *number != ROOT && *identity != root);
        self.known.insert(0, (root, ROOT));
        self.places = None;
    }

    /// All numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.known.iter().map(|(_, number)| *number)
    }

    /// The numbers as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.known.len() * ENTRY_BYTES + size_of::<u32>());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&(self.known.len() as u64).to_le_bytes());
        for (identity, number) in &self.known {
            bytes.extend_from_slice(&identity.inode.to_le_bytes());
            bytes.extend_from_slice(&identity.born_ns.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&identity.kind.to_le_bytes());
            bytes.extend_from_slice(&[0; 2]);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads numbers.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err("its checksum is wrong");
        }
        let head = body.get(..HEAD_BYTES).filter(|head| head.starts_with(MAGIC));
        let head = head.ok_or("it holds no numbers of a chain")?;
        let next = u32_at(head, 4);
        let entries = body.get(HEAD_BYTES..).unwrap_or_default().chunks_exact(ENTRY_BYTES);
        if entries.len() as u64 != u64_at(head, 8) || !entries.remainder().is_empty() {
            return Err("its length is wrong");
        }
        let known: Vec<_> = entries
            .map(|entry| {
                let identity = Identity {
                    inode: u64_at(entry, 0),
                    born_ns: u64_at(entry, 8).cast_signed(),
                    kind: u16::from_le_bytes([entry[20], entry[21]]),
                };
                (identity, u32_at(entry, 16))
            })
            .collect();
        if known.iter().any(|(_, number)| *number >= next || *number < ROOT) {
            return Err("a number is out of its range");
        }
        Ok(Self::of_known(known, next))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    u32::from_le_bytes(word.unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64, born_ns: i64) -> Identity {
        Identity {
            inode,
            born_ns,
            kind: 0o100_000,
        }
    }

    #[test]
    fn a_number_stays_with_its_object_and_is_never_given_again() {
        let mut numbers = Numbers::new(identity(9_000_000_000, 1));
        assert_eq!(numbers.of(identity(9_000_000_000, 1)), Some(2));
        assert_eq!(numbers.of(identity(77, 5)), Some(3));
        assert_eq!(
            numbers.of(identity(77, 6)),
            Some(4),
            "born again under the same inode number"
        );
        let mut numbers = Numbers::decode(&numbers.encode()).unwrap();
        assert_eq!(
            (numbers.of(identity(77, 5)), numbers.of(identity(78, 5))),
            (Some(3), Some(5))
        );
    }

    #[test]
    fn a_number_does_not_depend_on_the_order_of_asking() {
        let root = identity(1, 0);
        let mut numbers = Numbers::new(root);
        for inode in 10..20 {
            assert_eq!(numbers.of(identity(inode, 0)), u32::try_from(inode - 7).ok());
        }
        let bytes = numbers.encode();
        // As it was; with some gone, one new, two moved; backwards.
        for order in [
            vec![10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
            vec![12, 13, 99, 14, 18, 15, 10, 99, 19],
            vec![19, 18, 17, 1, 16, 15, 14, 13, 12, 11, 10],
        ] {
            let mut numbers = Numbers::decode(&bytes).unwrap();
            numbers.set_root(root);
            for inode in order {
                let expected = match inode {
                    1 => ROOT,
                    99 => 13,
                    known => u32::try_from(known - 7).unwrap(),
                };
                assert_eq!(numbers.of(identity(inode, 0)), Some(expected), "{inode}");
            }
        }
        let mut numbers = Numbers::decode(&bytes).unwrap();
        numbers.set_root(identity(14, 0));
        assert_eq!(numbers.of(identity(14, 0)), Some(ROOT));
        assert_eq!(numbers.of(identity(15, 0)), Some(8));
        assert_eq!(numbers.of(root), Some(13), "what was the root is an object like others");
        assert_eq!(
            numbers.iter().collect::<Vec<_>>(),
            [2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]
        );
    }

    #[test]
    fn bytes_that_were_damaged_are_refused() {
        let bytes = Numbers::new(identity(1, 2)).encode();
        assert!(Numbers::decode(&bytes).is_ok());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Numbers::decode(&damaged).is_err(), "byte {at}");
            assert!(Numbers::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
