//! The bytes of a chunk file, as tempsdb 0.6.4 writes them; pure arithmetic and decoding, no I/O.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | block size, u32 |
//! | 4 + i·(8 + block size) | 8 | timestamp of entry i, u64, strictly increasing |
//! | 12 + i·(8 + block size) | block size | value of entry i |
//! | after the last entry | | zeros |
//! | file size − 4 | 4 | count of entries, u32 |
//!
//! All integers are little endian. Entries run on across page boundaries; there is no magic, version or checksum. A
//! reader takes any file size; a writer rounds it up to the series' page size. The file's name is the first timestamp
//! in decimal. Source: release 0.6.4 of the library, by experiment.

use crate::series::{Damage, Timestamp};

/// Length of the block size at the start, in bytes.
pub const HEADER_BYTES: u64 = size_of::<Header>() as u64;
/// Length of the count at the end, in bytes.
pub const COUNT_BYTES: u64 = size_of::<u32>() as u64;
/// Length of an entry's timestamp, in bytes.
pub const TIMESTAMP_BYTES: usize = 8;

/// The first bytes of a chunk: the block size.
pub type Header = [u8; 4];

/// Where things stand in the chunks of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Length of a value in bytes.
    pub block_size: u32,
    /// Unit of the file's size in bytes; not 0.
    pub page_size: u32,
}

impl Layout {
    /// Length of a record, timestamp and value, in bytes.
    pub fn record_bytes(self) -> u64 {
        TIMESTAMP_BYTES as u64 + u64::from(self.block_size)
    }

    /// Offset of record `index` in the file.
    pub fn record_offset(self, index: u64) -> u64 {
        HEADER_BYTES + index * self.record_bytes()
    }

    /// Size of the file with `entries` entries, as the library leaves it.
    pub fn size_bytes(self, entries: u64) -> u64 {
        (self.record_offset(entries) + COUNT_BYTES).next_multiple_of(u64::from(self.page_size.max(1)))
    }

    /// How many entries a file of `size_bytes` has room for.
    pub fn capacity(self, size_bytes: u64) -> u64 {
        size_bytes.saturating_sub(HEADER_BYTES + COUNT_BYTES) / self.record_bytes()
    }

    /// Checks what can be checked without reading the entries: room for header, one entry and count, the header's
    /// block size, and a count from 1 to what fits.
    ///
    /// # Errors
    /// The first [`Damage`] found.
    pub fn validate(self, size_bytes: u64, header: Header, count: u32) -> Result<(), Damage> {
        let needed_bytes = self.record_offset(1) + COUNT_BYTES;
        if size_bytes < needed_bytes {
            return Err(Damage::TooShort {
                size_bytes,
                needed_bytes,
            });
        }
        let found = u32::from_le_bytes(header);
        if found != self.block_size {
            return Err(Damage::BlockSize {
                found,
                expected: self.block_size,
            });
        }
        let limit = self.capacity(size_bytes);
        if count == 0 || u64::from(count) > limit {
            return Err(Damage::Count { count, limit });
        }
        Ok(())
    }
}

/// Timestamp at the start of `record`.
///
/// # Panics
/// When `record` is shorter than a timestamp; lengths are the caller's to keep.
#[inline]
pub fn timestamp_of(record: &[u8]) -> Timestamp {
    let (head, _) = record
        .split_first_chunk::<TIMESTAMP_BYTES>()
        .expect("a record begins with its timestamp");
    Timestamp(u64::from_le_bytes(*head))
}

/// Timestamp that a chunk's file name stands for: canonical decimal of a u64, nothing else.
pub fn timestamp_of_name(name: &str) -> Option<Timestamp> {
    let canonical = name == "0" || (!name.starts_with(['0', '+']) && !name.is_empty());
    canonical.then(|| name.parse().ok().map(Timestamp)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T26, T34: sizes read off files that the library wrote (block size, page size, entries, size).
    #[test]
    fn sizes_are_the_library_s() {
        for (block_size, page_size, entries, size_bytes) in [
            (8, 4096, 1, 4096),
            (8, 4096, 255, 4096),
            (8, 4096, 256, 8192),
            (8, 64, 3, 64),
            (8, 64, 8, 192),
            (32, 5000, 700, 30000),
            (4080, 4096, 3, 12288),
            (4084, 4096, 3, 12288),
            (4104, 4096, 10, 45056),
        ] {
            let layout = Layout { block_size, page_size };
            assert_eq!(layout.size_bytes(entries), size_bytes, "{layout:?} {entries}");
            assert!(layout.capacity(size_bytes) >= entries);
        }
    }

    #[test]
    fn names_are_canonical_decimals() {
        assert_eq!(timestamp_of_name("0"), Some(Timestamp(0)));
        assert_eq!(timestamp_of_name("18446744073709551615"), Some(Timestamp::MAX));
        for bad in ["", "00", "01", "+1", "-1", "1.gz", "18446744073709551616", " 1", "x"] {
            assert_eq!(timestamp_of_name(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hostile_headers_are_named() {
        let layout = Layout {
            block_size: 8,
            page_size: 64,
        };
        let header = 8u32.to_le_bytes();
        assert_eq!(layout.validate(64, header, 3), Ok(()));
        assert!(matches!(layout.validate(0, header, 0), Err(Damage::TooShort { .. })));
        assert!(matches!(layout.validate(23, header, 1), Err(Damage::TooShort { .. })));
        assert_eq!(layout.validate(24, header, 1), Ok(()));
        assert!(matches!(
            layout.validate(64, header, 4),
            Err(Damage::Count { limit: 3, .. })
        ));
        assert!(matches!(layout.validate(64, header, 0), Err(Damage::Count { .. })));
        assert!(matches!(
            layout.validate(64, [9, 0, 0, 0], 1),
            Err(Damage::BlockSize { found: 9, expected: 8 })
        ));
    }
}
