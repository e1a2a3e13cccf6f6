//! An index: a last tape file that says what the files before it hold, and gives way to the next one that is written.
//!
//! What it says is not known here. It is made of whole records of one length, so that programs that pass over tape files
//! take it for any other:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `HEADSTACK INDEX` and a line feed, by which it is known from the front |
//! | n | the contents |
//! | | zeros, up to whole records |
//! | 8, 4, 4 | length of the contents, their CRC-32C, zeros, little-endian |
//! | 16 | the first line again, by which it is known from the back |

use super::{
    BlockRead, BlockWrite, Error, Found, Position, Result, TapImage,
    format::{MARK, WORD_BYTES},
};

const MAGIC: &[u8; 16] = b"HEADSTACK INDEX\n";
/// The last fields.
const TRAILER_BYTES: usize = 32;
/// Longest index that is read, in bytes.
const LIMIT_BYTES: u64 = 4 << 30;

/// True where an index begins with this record.
#[must_use]
pub fn begins_with(record: &[u8]) -> bool {
    record.starts_with(MAGIC)
}

/// An index as whole records.
fn encode(contents: &[u8], record_bytes: usize) -> Vec<u8> {
    let length = (MAGIC.len() + contents.len() + TRAILER_BYTES).next_multiple_of(record_bytes);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(contents);
    bytes.resize(length - TRAILER_BYTES, 0);
    bytes.extend_from_slice(&(contents.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(contents).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(MAGIC);
    bytes
}

/// What the last record of an index tells: length of the contents in bytes, and their checksum.
fn told(last: &[u8]) -> Option<(u64, u32)> {
    let trailer = last
        .last_chunk::<TRAILER_BYTES>()
        .filter(|bytes| bytes.ends_with(MAGIC))?;
    let (length, rest) = trailer.split_first_chunk::<8>()?;
    Some((
        u64::from_le_bytes(*length),
        u32::from_le_bytes(*rest.first_chunk::<4>()?),
    ))
}

/// An index that was found at the end of a tape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Offset of its first record in the file that holds the tape.
    pub offset_bytes: u64,
    /// What it says.
    pub contents: Vec<u8>,
}

impl TapImage {
    /// The index that ends before a place, which is behind a tape mark; none where there is none or it is damaged. The
    /// tape stands anywhere then.
    ///
    /// # Errors
    /// What the host says.
    pub(super) fn index_before(&mut self, end_bytes: u64) -> Result<Option<Index>> {
        match self.index_behind(end_bytes) {
            Err(Error::OutOfTape { .. } | Error::Damaged { .. }) => Ok(None),
            found => found,
        }
    }

    fn index_behind(&mut self, end_bytes: u64) -> Result<Option<Index>> {
        self.seek(Position {
            offset_bytes: end_bytes,
            file: 1,
            record: Some(0),
        })?;
        self.backward_files(1)?;
        let mark = BlockRead::position(self).offset_bytes;
        self.backward_records(1)?;
        let last = BlockRead::position(self);
        let mut record = Vec::new();
        if self.read_record(&mut record)? != Found::Record {
            return Ok(None);
        }
        let Some((length, checksum)) = told(&record).filter(|(length, _)| *length <= LIMIT_BYTES) else {
            return Ok(None);
        };
        let record_bytes = record.len() as u64;
        let whole = (length + (MAGIC.len() + TRAILER_BYTES) as u64).next_multiple_of(record_bytes);
        let before = (whole / record_bytes - 1).saturating_mul(mark - last.offset_bytes);
        let Some(offset_bytes) = last
            .offset_bytes
            .checked_sub(before)
            .filter(|start| *start >= WORD_BYTES)
        else {
            return Ok(None);
        };
        self.seek(Position { offset_bytes, ..last })?;
        let mut bytes = Vec::new();
        while BlockRead::position(self).offset_bytes < mark {
            let fits = self.read_record(&mut record)? == Found::Record && (bytes.len() + record.len()) as u64 <= whole;
            if !fits {
                return Ok(None);
            }
            bytes.extend_from_slice(&record);
        }
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Ok(None);
        };
        let contents = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        Ok(contents
            .filter(|contents| crc32c::crc32c(contents) == checksum)
            .map(|contents| Index {
                offset_bytes,
                contents: contents.to_vec(),
            }))
    }

    /// The index at the end of a tape that was ended in good order; none where there is none. Little of the tape is read.
    ///
    /// # Errors
    /// What the host says.
    pub fn index(&mut self) -> Result<Option<Index>> {
        // Two marks and the end of the medium, all of four bytes.
        match self.size_bytes()?.checked_sub(MARK.len() as u64 + WORD_BYTES) {
            Some(end) => self.index_before(end),
            None => Ok(None),
        }
    }

    /// Writes an index as a tape file where the tape stands; false where it does not fit, and nothing was written.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    pub(super) fn write_index_file(&mut self, contents: &[u8], record_bytes: usize) -> Result<bool> {
        let bytes = encode(contents, record_bytes);
        let frames = (bytes.len() / record_bytes) as u64 * 2 * WORD_BYTES;
        let end = BlockWrite::position(self).offset_bytes + bytes.len() as u64 + frames;
        match self.check_room(end) {
            Err(Error::Full { .. }) => return Ok(false),
            room => room?,
        }
        for record in bytes.chunks(record_bytes) {
            self.write_record(record)?;
        }
        self.finish()?;
        Ok(true)
    }
}
