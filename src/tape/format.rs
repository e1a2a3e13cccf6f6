//! Words of the SIMH magnetic tape container, as bytes: no I/O here.
//!
//! | object | bytes |
//! |---|---|
//! | record | length word, data, one zero byte if the length is odd, the length word again |
//! | tape mark | `00000000` |
//! | end of medium | `FFFFFFFF`; the end of the file means the same |
//! | erase gap | `FFFFFFFE`; a gap that begins or ends inside a word shows as a *half gap*: forward `FFFEFFFF`, backward `FFFF0000` to `FFFFFFFD` |
//!
//! All words are little-endian. The top four bits of a length word are the class of the record: 0 good, 8 bad, 7 and F
//! single markers, the rest private or reserved, to be skipped. Source: "SIMH magtape representation and handling", R.
//! Supnik, 2022.

/// Length of a word in bytes.
pub const WORD_BYTES: u64 = 4;

/// The tape mark as it is stored.
pub const MARK: [u8; 4] = [0; 4];

/// The end of the medium as it is stored.
pub const END: [u8; 4] = [0xFF; 4];

/// What a word says when it is read forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// A record of this class (0 to 6, 8 to 14) and length.
    Record {
        /// Class of the record.
        class: u8,
        /// Length of its data in bytes.
        length_bytes: u32,
    },
    /// A tape mark.
    Mark,
    /// The end of the medium.
    End,
    /// Nothing, over so many bytes.
    Gap {
        /// Length in bytes.
        length_bytes: u64,
    },
    /// A marker that says nothing to us, one word long.
    Marker,
    /// Not a word of the container.
    Illegal,
}

impl Word {
    /// Reads a word in the forward direction.
    #[must_use]
    pub fn forward(bytes: [u8; 4]) -> Self {
        let word = u32::from_le_bytes(bytes);
        match word {
            0 => Self::Mark,
            0xFFFF_FFFF => Self::End,
            0xFFFF_FFFE => Self::Gap { length_bytes: 4 },
            // A gap begins in the middle of this word, so the next one does too.
            0xFFFE_FFFF => Self::Gap { length_bytes: 2 },
            0xFFFE_0000..=0xFFFE_FFFE => Self::Illegal,
            0x7000_0000..=0x7FFF_FFFF | 0xF000_0000.. => Self::Marker,
            _ => Self::Record {
                class: bytes[3] >> 4,
                length_bytes: word & 0x0FFF_FFFF,
            },
        }
    }

    /// Reads the word before the place where the tape stands.
    #[must_use]
    pub fn backward(bytes: [u8; 4]) -> Self {
        match u32::from_le_bytes(bytes) {
            // Backward these are the second half of a gap; the end of the medium is never behind anything.
            0xFFFF_0000..=0xFFFF_FFFD | 0xFFFF_FFFF => Self::Gap { length_bytes: 2 },
            _ => Self::forward(bytes),
        }
    }
}

/// Length of a record's data as it is stored, in bytes.
#[must_use]
pub fn padded(length_bytes: u32) -> u64 {
    u64::from(length_bytes).next_multiple_of(2)
}

/// Adds a good record to `out`; its length must be below 2^24, which the callers see to.
pub fn push_record(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    assert!(
        length > 0 && length < 1 << 24,
        "a record of {length} bytes has no length word"
    );
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    if length % 2 == 1 {
        out.push(0);
    }
    out.extend_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_the_standard_says() {
        let record = |class, length_bytes| Word::Record { class, length_bytes };
        let gap = |length_bytes| Word::Gap { length_bytes };
        // word, forward, backward
        let table = [
            (0, Word::Mark, Word::Mark),
            (1, record(0, 1), record(0, 1)),
            (0x0000_2800, record(0, 10240), record(0, 10240)),
            (0x1000_0004, record(1, 4), record(1, 4)),
            (0x7654_3210, Word::Marker, Word::Marker),
            (0x8000_0000, record(8, 0), record(8, 0)),
            (0x8000_0400, record(8, 1024), record(8, 1024)),
            (0xE000_0010, record(14, 16), record(14, 16)),
            (0xF000_0001, Word::Marker, Word::Marker),
            (0xFFFD_FFFF, Word::Marker, Word::Marker),
            (0xFFFE_0000, Word::Illegal, Word::Illegal),
            (0xFFFE_FFFE, Word::Illegal, Word::Illegal),
            (0xFFFE_FFFF, gap(2), gap(2)),
            (0xFFFF_0000, Word::Marker, gap(2)),
            (0xFFFF_FFFD, Word::Marker, gap(2)),
            (0xFFFF_FFFE, gap(4), gap(4)),
            (0xFFFF_FFFF, Word::End, gap(2)),
        ];
        for (word, forward, backward) in table {
            let bytes = u32::to_le_bytes(word);
            assert_eq!(Word::forward(bytes), forward, "{word:#010x} forward");
            assert_eq!(Word::backward(bytes), backward, "{word:#010x} backward");
        }
    }

    #[test]
    fn records_are_padded_to_whole_words() {
        let mut out = Vec::new();
        push_record(&mut out, b"abc");
        push_record(&mut out, b"abcd");
        assert_eq!(out, b"\x03\0\0\0abc\0\x03\0\0\0\x04\0\0\0abcd\x04\0\0\0");
        assert_eq!((padded(3), padded(4)), (4, 4));
    }
}
