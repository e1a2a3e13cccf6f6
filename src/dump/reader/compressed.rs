//! Records that `dump -z`, `-j` or `-y` of Linux compressed, out of the bytes of a tape.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | u32, little-endian: bit 0 set where compressed, bits 1 to 3 how (0 zlib, 1 bzip2, 2 LZO), from bit 4 the length of what follows |
//! | 4 | the record, compressed or as it is |
//!
//! The first record of a volume is as it is, without these four bytes. Every record is as long as the blocking factor says,
//! so what unpacks to another length is damage: the search goes on, a byte at a time, to what unpacks well. Source:
//! `compaddr` and `protocols/dumprestore.h` of dump 0.4b47, and tapes.

use std::io::Read as _;

/// Most that a record grows by when it is compressed, in bytes.
const SLACK_BYTES: usize = 4096;
const HEAD_BYTES: usize = 4;

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// A record.
    Record(Vec<u8>),
    /// The beginning of a record: more bytes are needed.
    Short,
    /// No record.
    Damaged,
}

/// Bytes of a tape, and the records in them.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// How many of the bytes are used up.
    used: usize,
    record_bytes: usize,
    /// True where the first record of a volume comes.
    plain: bool,
}

impl Packed {
    /// A tape of records of one length when unpacked, of which the first record comes.
    pub(super) fn new(record_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            record_bytes,
            plain: true,
        }
    }

    /// Begins a volume.
    pub(super) fn begin(&mut self) {
        *self = Self::new(self.record_bytes);
    }

    /// Adds what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// True where bytes are left over.
    pub(super) fn has_rest(&self) -> bool {
        self.used < self.bytes.len()
    }

    /// Passes a byte over.
    pub(super) fn skip(&mut self) {
        self.used += usize::from(self.has_rest());
    }

    /// Takes the record at the front.
    pub(super) fn take(&mut self) -> Unpacked {
        let rest = self.bytes.get(self.used..).unwrap_or_default();
        if self.plain {
            return match rest.get(..self.record_bytes) {
                Some(record) => {
                    self.plain = false;
                    self.used += self.record_bytes;
                    Unpacked::Record(record.to_vec())
                }
                None => Unpacked::Short,
            };
        }
        let Some((head, body)) = rest.split_first_chunk::<HEAD_BYTES>() else {
            return Unpacked::Short;
        };
        let word = u32::from_le_bytes(*head);
        let (packed, how) = (word & 1 != 0, word >> 1 & 7);
        let length = (word >> 4) as usize;
        if length == 0 || length > self.record_bytes + SLACK_BYTES || how > 2 {
            return Unpacked::Damaged;
        }
        let Some(body) = body.get(..length) else {
            return Unpacked::Short;
        };
        let record = if packed {
            unpack(body, how, self.record_bytes)
        } else {
            Some(body.to_vec())
        };
        match record.filter(|record| record.len() == self.record_bytes) {
            Some(record) => {
                self.used += HEAD_BYTES + length;
                Unpacked::Record(record)
            }
            None => Unpacked::Damaged,
        }
    }
}

/// Unpacks a record; none where it is damaged.
fn unpack(body: &[u8], how: u32, record_bytes: usize) -> Option<Vec<u8>> {
    let mut record = Vec::with_capacity(record_bytes);
    // One byte more shows that it would be too long.
    let limit = record_bytes as u64 + 1;
    let done = match how {
        0 => flate2::read::ZlibDecoder::new(body)
            .take(limit)
            .read_to_end(&mut record)
            .is_ok(),
        1 => bzip2::read::BzDecoder::new(body)
            .take(limit)
            .read_to_end(&mut record)
            .is_ok(),
        _ => {
            record.resize(record_bytes, 0);
            let length = lzokay::decompress::decompress(body, &mut record).ok()?;
            record.truncate(length);
            true
        }
    };
    done.then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as Python's zlib makes them of 1024 letters `a`.
    const ZLIB: [u8; 17] = [
        0x78, 0x9c, 0x4b, 0x4c, 0x1c, 0x05, 0xa3, 0x60, 0x14, 0x8c, 0x54, 0x00, 0x00, 0xf3, 0x78, 0x84, 0x10,
    ];

    #[test]
    fn records_are_found_behind_damage_too() {
        let mut packed = Packed::new(1024);
        packed.push(&[b'p'; 1024]);
        assert_eq!(
            packed.take(),
            Unpacked::Record(vec![b'p'; 1024]),
            "the first is as it is"
        );
        let head = |length: usize, packed: u32| (u32::try_from(length).unwrap() << 4 | packed).to_le_bytes();
        let mut stream = vec![0xFF, 0xFF, 0xFF];
        stream.extend(head(ZLIB.len(), 1));
        stream.extend(ZLIB);
        stream.extend(head(1024, 0));
        stream.extend([b'r'; 1024]);
        packed.push(&stream[..10]);
        let mut found = Vec::new();
        let mut skipped = 0;
        let mut rest = &stream[10..];
        loop {
            match packed.take() {
                Unpacked::Record(record) => found.push(record[0]),
                Unpacked::Damaged => {
                    packed.skip();
                    skipped += 1;
                }
                Unpacked::Short if rest.is_empty() => break,
                Unpacked::Short => packed.push(std::mem::take(&mut rest)),
            }
        }
        assert_eq!((found, skipped, packed.has_rest()), (b"ar".to_vec(), 3, false));
    }
}
