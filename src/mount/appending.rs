//! What one file that is open for appending remembers between writes: the bytes of an entry that is not whole yet.
//!
//! A write() cuts its stream where the caller's buffer happens to end, the kernel cuts at 1 MiB; entries are committed
//! whole. The bytes of the last, unfinished one are *held* until a later write completes it. Pure: what a write commits
//! goes to a closure, so the rules are tested without a series.
//!
//! Rules, from the operation table: a write that ends inside its first record is refused at once where it is so short
//! that no program streams in such pieces, for a shell would not tell its user of the error at close. A line without
//! its end is committed at close, a record without its end is reported there. An error after some entries is a short
//! count, so that a retry starts with the bad entry; an error in an entry that an earlier write began cannot be
//! retried, and breaks the open file.

use data_encoding::HEXLOWER;

use super::errno::{Refusal, Result};

/// Shortest write that counts as streaming: the smallest buffer of the common tools.
pub const STREAM_BYTES: usize = 4096;
/// Bytes of the timestamp and the length before each value of a variable-length series.
pub const VARLEN_HEADER: usize = 12;

/// How a stream of bytes is cut into entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Records of the same length: timestamp and value.
    Records {
        /// Bytes of a record.
        record: usize,
    },
    /// Timestamp (8 bytes), length (4 bytes), value.
    Varlen {
        /// Longest value in bytes.
        limit: u64,
    },
    /// Lines that end in a newline.
    Lines {
        /// Longest line in bytes.
        limit: u64,
    },
}

/// Commits whole entries, packed in the file's own form; returns how many bytes of them went in.
pub type Commit<'a> = &'a mut dyn FnMut(&[u8]) -> (usize, Result<()>);

/// State of one file open for appending.
#[derive(Debug)]
pub struct Appending {
    framing: Framing,
    held: Vec<u8>,
    broken: bool,
}

impl Appending {
    /// Starts at a boundary between entries.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            held: Vec::new(),
            broken: false,
        }
    }

    /// Bytes of the unfinished entry.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next bytes of the stream; returns how many were taken, which are all of `data` unless an entry was bad.
    ///
    /// # Errors
    /// The first entry is bad, or none of it could be stored; then nothing of `data` was taken.
    pub fn write(&mut self, data: &[u8], commit: Commit<'_>) -> Result<usize> {
        if self.broken {
            return Err(Refusal::Broken);
        }
        let completed = match self.complete_held(data, commit)? {
            Some(taken) => taken,
            None => return Ok(data.len()),
        };
        let rest = &data[completed..];
        let (whole, bad) = self.framing.whole(rest);
        let (committed, outcome) = if whole > 0 { commit(&rest[..whole]) } else { (0, Ok(())) };
        let taken = completed + committed;
        let stopped = outcome.err().or(bad);
        if let Some(refusal) = stopped {
            return if taken > 0 { Ok(taken) } else { Err(refusal) };
        }
        let tail = &data[taken..];
        match self.framing.check_tail(tail, taken == 0) {
            Err(_) if taken > 0 => Ok(taken),
            Err(refusal) => Err(refusal),
            Ok(()) => {
                self.held.extend_from_slice(tail);
                Ok(data.len())
            }
        }
    }

    /// Adds to the held entry and commits it when it is whole; returns how many bytes of `data` that took, none where
    /// `data` did not complete it.
    fn complete_held(&mut self, data: &[u8], commit: Commit<'_>) -> Result<Option<usize>> {
        if self.held.is_empty() {
            return Ok(Some(0));
        }
        let before = self.held.len();
        let step = match self.framing.missing(&mut self.held, data) {
            Ok(Some(taken)) => match commit(&self.held) {
                (_, Ok(())) => Ok(Some(taken)),
                (_, Err(refusal)) => Err(refusal),
            },
            Ok(None) => return Ok(None),
            Err(refusal) => Err(refusal),
        };
        match step {
            Ok(taken) => {
                self.held.clear();
                Ok(taken)
            }
            Err(refusal) => {
                self.held.truncate(before);
                self.broken = true;
                Err(refusal)
            }
        }
    }

    /// Ends the stream: commits a line that lacks its newline.
    ///
    /// # Errors
    /// The last entry was bad, or only part of a record was ever written. Either way the open file is clean again.
    pub fn finish(&mut self, commit: Commit<'_>) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let broken = std::mem::take(&mut self.broken);
        match self.framing {
            _ if held.is_empty() => Ok(()),
            Framing::Lines { .. } if !broken => {
                held.push(b'\n');
                commit(&held).1
            }
            _ => Err(Refusal::HeldFragment {
                held: held.len(),
                bytes: HEXLOWER.encode(&held[..held.len().min(64)]),
            }),
        }
    }
}

impl Framing {
    /// Bytes of the longest run of whole entries at the start of `data`, and what is wrong with the entry after it where
    /// that can be seen already.
    fn whole(self, data: &[u8]) -> (usize, Option<Refusal>) {
        match self {
            Self::Records { record } => (data.len() - data.len() % record, None),
            Self::Lines { .. } => (data.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1), None),
            Self::Varlen { limit } => {
                let mut end = 0;
                while let Some(length) = varlen_length(&data[end..]) {
                    match usize::try_from(length) {
                        Ok(value) if length <= limit && data.len() - end >= VARLEN_HEADER + value => {
                            end += VARLEN_HEADER + value;
                        }
                        _ if length > limit => return (end, Some(Refusal::EntryTooLong { length, limit })),
                        _ => break,
                    }
                }
                (end, None)
            }
        }
    }

    /// Moves bytes of `data` to `held` until that is one whole entry; returns how many, none where `data` is too short.
    fn missing(self, held: &mut Vec<u8>, data: &[u8]) -> Result<Option<usize>> {
        match self {
            Self::Records { record } => Ok(top_up(held, data, 0, record)),
            Self::Lines { limit } => {
                let newline = data.iter().position(|&b| b == b'\n').map(|i| i + 1);
                let wanted = newline.unwrap_or(data.len());
                let length = (held.len() + wanted) as u64;
                if length > limit {
                    return Err(Refusal::EntryTooLong { length, limit });
                }
                held.extend_from_slice(&data[..wanted]);
                Ok(newline)
            }
            Self::Varlen { limit } => {
                let Some(for_header) = top_up(held, data, 0, VARLEN_HEADER) else {
                    return Ok(None);
                };
                let length = varlen_length(held).unwrap_or(0);
                match usize::try_from(length) {
                    Ok(value) if length <= limit => Ok(top_up(held, data, for_header, VARLEN_HEADER + value)),
                    _ => Err(Refusal::EntryTooLong { length, limit }),
                }
            }
        }
    }

    /// Decides whether the start of an entry at the end of a write is worth holding.
    fn check_tail(self, tail: &[u8], is_whole_write: bool) -> Result<()> {
        let too_short = |record: u64| match is_whole_write && !tail.is_empty() && tail.len() < STREAM_BYTES {
            true => Err(Refusal::Fragment {
                length: tail.len(),
                record,
            }),
            false => Ok(()),
        };
        match self {
            Self::Records { record } => too_short(record as u64),
            Self::Varlen { .. } => too_short(VARLEN_HEADER as u64 + varlen_length(tail).unwrap_or(0)),
            Self::Lines { limit } if tail.len() as u64 > limit => Err(Refusal::EntryTooLong {
                length: tail.len() as u64,
                limit,
            }),
            Self::Lines { .. } => Ok(()),
        }
    }
}

/// Extends `held` to `wanted` bytes from `data[from..]`; returns how much of `data` is used by then, none where it runs
/// out first, in which case all of it is held.
fn top_up(held: &mut Vec<u8>, data: &[u8], from: usize, wanted: usize) -> Option<usize> {
    let more = wanted.saturating_sub(held.len());
    let available = data.len() - from;
    held.extend_from_slice(&data[from..from + more.min(available)]);
    (more <= available).then_some(from + more)
}

/// The length that a variable-length record states, where the bytes reach that far.
pub fn varlen_length(record: &[u8]) -> Option<u64> {
    let field = record.get(8..VARLEN_HEADER)?;
    <[u8; 4]>::try_from(field)
        .ok()
        .map(|bytes| u64::from(u32::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::errno::{Errno, errno};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    /// Takes everything.
    fn all(into: &mut Vec<u8>) -> impl FnMut(&[u8]) -> (usize, Result<()>) {
        |bytes| {
            into.extend_from_slice(bytes);
            (bytes.len(), Ok(()))
        }
    }

    /// Takes `records` records of 24 bytes, then says ERANGE-like refusals.
    fn first(records: usize) -> impl FnMut(&[u8]) -> (usize, Result<()>) {
        let mut left = records;
        move |bytes| {
            let taken = (bytes.len() / 24).min(left);
            left -= taken;
            match taken * 24 < bytes.len() {
                true => (taken * 24, Err(Refusal::NotOldest)),
                false => (taken * 24, Ok(())),
            }
        }
    }

    const RECORDS: Framing = Framing::Records { record: 24 };

    #[test]
    fn a_stream_cut_anywhere_is_put_together_again() {
        let mut out = Vec::new();
        let bytes: Vec<u8> = (0..=255).cycle().take(24 * 1000).collect();
        let mut file = Appending::new(RECORDS);
        for piece in bytes.chunks(4099) {
            assert_eq!(file.write(piece, &mut all(&mut out)).unwrap(), piece.len());
        }
        assert!(file.finish(&mut all(&mut out)).is_ok());
        assert_eq!(out, bytes);
    }

    #[test]
    fn a_fragment_at_a_boundary_is_refused_at_once() {
        let mut out = Vec::new();
        let mut file = Appending::new(RECORDS);
        assert!(matches!(
            file.write(b"x", &mut all(&mut out)),
            Err(Refusal::Fragment { length: 1, record: 24 })
        ));
        assert_eq!((file.held(), out.len()), (0, 0));
        let mut varlen = Appending::new(Framing::Varlen { limit: 100 });
        assert!(matches!(
            varlen.write(&[0; 11], &mut all(&mut out)),
            Err(Refusal::Fragment { .. })
        ));
        assert!(matches!(
            varlen.write(&varlen_record(7, 5)[..15], &mut all(&mut out)),
            Err(Refusal::Fragment { .. })
        ));
    }

    #[test]
    fn a_record_larger_than_a_request_is_held() {
        let mut out = Vec::new();
        let mut file = Appending::new(Framing::Records { record: 10_000 });
        assert_eq!(file.write(&[7; 4096], &mut all(&mut out)).unwrap(), 4096);
        assert_eq!(file.write(&[7; 5904], &mut all(&mut out)).unwrap(), 5904);
        assert_eq!((file.held(), out.len()), (0, 10_000));
    }

    #[test]
    fn a_held_fragment_is_an_error_at_close_and_gone_after_it() {
        let mut out = Vec::new();
        let mut file = Appending::new(RECORDS);
        file.write(&[9; 30], &mut all(&mut out)).unwrap();
        let error = file.finish(&mut all(&mut out)).unwrap_err();
        assert_eq!(errno(&error), Errno(libc::EINVAL));
        assert!(error.to_string().contains("090909090909"), "{error}");
        assert_eq!(out.len(), 24);
        assert!(file.finish(&mut all(&mut out)).is_ok());
    }

    #[test]
    fn a_bad_record_makes_a_short_count_and_the_retry_starts_with_it() {
        let mut file = Appending::new(RECORDS);
        let mut commit = first(2);
        assert_eq!(file.write(&[1; 24 * 5], &mut commit).unwrap(), 48);
        assert!(matches!(file.write(&[1; 24 * 3], &mut commit), Err(Refusal::NotOldest)));
        assert_eq!(file.held(), 0);
        assert!(file.finish(&mut commit).is_ok());
    }

    #[test]
    fn a_bad_record_that_an_earlier_write_began_breaks_the_open_file() {
        let mut file = Appending::new(RECORDS);
        let mut commit = first(1);
        assert_eq!(file.write(&[1; 30], &mut commit).unwrap(), 30);
        assert!(matches!(file.write(&[1; 42], &mut commit), Err(Refusal::NotOldest)));
        assert!(matches!(
            file.write(&[1; 24], &mut all(&mut Vec::new())),
            Err(Refusal::Broken)
        ));
        assert!(matches!(
            file.finish(&mut commit),
            Err(Refusal::HeldFragment { held: 6, .. })
        ));
    }

    #[test]
    fn a_line_without_its_end_is_committed_at_close() {
        let mut out = Vec::new();
        let mut file = Appending::new(Framing::Lines { limit: 99 });
        assert_eq!(file.write(b"1 aa\n2 b", &mut all(&mut out)).unwrap(), 8);
        assert_eq!(out, b"1 aa\n");
        assert_eq!(file.write(b"b", &mut all(&mut out)).unwrap(), 1);
        file.finish(&mut all(&mut out)).unwrap();
        assert_eq!(out, b"1 aa\n2 bb\n");
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut out = Vec::new();
        let mut file = Appending::new(Framing::Lines { limit: 10 });
        assert!(matches!(
            file.write(&[b'1'; 11], &mut all(&mut out)),
            Err(Refusal::EntryTooLong { .. })
        ));
        file.write(&[b'1'; 10], &mut all(&mut out)).unwrap();
        assert!(matches!(
            file.write(b"1", &mut all(&mut out)),
            Err(Refusal::EntryTooLong { .. })
        ));
    }

    #[test]
    fn a_stated_length_that_no_value_has_is_refused_before_it_is_held() {
        let mut out = Vec::new();
        let mut file = Appending::new(Framing::Varlen { limit: 100 });
        let mut bytes = varlen_record(1, 3);
        bytes.extend([0; 8]);
        bytes.extend(u32::MAX.to_le_bytes());
        assert_eq!(file.write(&bytes, &mut all(&mut out)).unwrap(), 15);
        assert!(matches!(
            file.write(&bytes[15..], &mut all(&mut out)),
            Err(Refusal::EntryTooLong { .. })
        ));
    }

    fn varlen_record(timestamp: u64, length: usize) -> Vec<u8> {
        let mut out = timestamp.to_le_bytes().to_vec();
        out.extend(u32::try_from(length).unwrap().to_le_bytes());
        out.resize(out.len() + length, 0xee);
        out
    }

    proptest! {
        #[test]
        fn varlen_records_cut_anywhere_are_put_together_again(
            lengths in prop::collection::vec(0..9000usize, 1..20), cuts in prop::collection::vec(4096..9000usize, 1..9)
        ) {
            let bytes: Vec<u8> = lengths.iter().zip(0..).flat_map(|(&n, t)| varlen_record(t, n)).collect();
            let mut out = Vec::new();
            let mut file = Appending::new(Framing::Varlen { limit: 9000 });
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let piece = &rest[..rest.len().min(*cut)];
                if piece.is_empty() {
                    break;
                }
                let mut whole_only = |entries: &[u8]| {
                    let mut at = 0;
                    while at < entries.len() {
                        at += VARLEN_HEADER + usize::try_from(varlen_length(&entries[at..]).unwrap()).unwrap();
                    }
                    assert_eq!(at, entries.len());
                    out.extend_from_slice(entries);
                    (entries.len(), Ok(()))
                };
                match file.write(piece, &mut whole_only) {
                    Ok(n) => rest = &rest[n..],
                    Err(Refusal::Fragment { .. }) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            prop_assert_eq!(&out[..], &bytes[..out.len()]);
            prop_assert_eq!(out.len() + file.held() + rest.len(), bytes.len());
        }

        #[test]
        fn lines_cut_anywhere_are_put_together_again(
            text in "([0-9]{1,5} [a-f]{0,9}\n){0,20}[0-9]{0,3}", cuts in prop::collection::vec(1..9usize, 1..9)
        ) {
            let (mut out, mut rest) = (Vec::new(), text.as_bytes());
            let mut file = Appending::new(Framing::Lines { limit: 99 });
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at(rest.len().min(*cut));
                prop_assert_eq!(file.write(piece, &mut all(&mut out)).unwrap(), piece.len());
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            file.finish(&mut all(&mut out)).unwrap();
            let mut expected = text.clone().into_bytes();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..9)) {
            for framing in [RECORDS, Framing::Varlen { limit: 30 }, Framing::Lines { limit: 30 }] {
                let mut file = Appending::new(framing);
                for piece in &pieces {
                    let _ = file.write(piece, &mut all(&mut Vec::new()));
                }
                let _ = file.finish(&mut all(&mut Vec::new()));
            }
        }
    }
}
