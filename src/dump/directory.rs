//! What a directory looks like on a tape, as bytes: no I/O here.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | u32 number of the object, 0 for no entry |
//! | 4 | u16 length of this entry |
//! | 6 | u8 type, as `d_type` has it (0 in old formats, where 6 is a u16 length of the name) |
//! | 7 | u8 length of the name |
//! | 8 | name, a zero byte, padding to 4 |
//!
//! Entries lie in chunks of 512 bytes, none crosses a chunk, the last of each reaches to its end; `.` and `..` are first.
//! Names of 255 bytes are destroyed by the programs of Linux, whose macro for the length wraps: they are told of when
//! written. Before 4.2BSD a directory was entries of 16 bytes: u16 number and a name of at most 14. Sources:
//! `ufs/ufs/dir.h` of 4.4BSD, `restore/dirs.c` of FreeBSD.

/// Length of a chunk, in bytes.
const CHUNK_BYTES: usize = 512;
/// Length of an entry before its name.
const HEAD_BYTES: usize = 8;
/// Longest name that an entry takes, in bytes.
pub const NAME_MAX_BYTES: usize = 255;
/// Longest name that the programs of Linux read back.
pub const NAME_SAFE_BYTES: usize = 254;

/// Type of an object as an entry tells it: `st_mode` shifted right by 12.
pub type EntryType = u8;

/// One name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Number of the object.
    pub number: u32,
    /// Type of the object; 0 where it is not told.
    pub kind: EntryType,
    /// Name, as the host has it.
    pub name: Vec<u8>,
}

/// Entries as they are put together.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Where the last entry begins.
    last: usize,
}

impl Writer {
    /// A directory that holds itself and its parent.
    #[must_use]
    pub fn new(number: u32, parent: u32) -> Self {
        let mut writer = Self::default();
        for (number, name) in [(number, &b"."[..]), (parent, b"..")] {
            writer.push(number, 4, name);
        }
        writer
    }

    /// Adds the name of an object; it has 1 to 255 bytes.
    pub fn push(&mut self, number: u32, kind: EntryType, name: &[u8]) {
        let length = u8::try_from(name.len()).unwrap_or(0);
        assert!(length > 0, "a name of {} bytes", name.len());
        let need = (HEAD_BYTES + name.len() + 1).next_multiple_of(4);
        if self.bytes.len() % CHUNK_BYTES + need > CHUNK_BYTES {
            self.close_chunk();
        }
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes
            .extend_from_slice(&u16::try_from(need).unwrap_or(0).to_le_bytes());
        self.bytes.extend_from_slice(&[kind, length]);
        self.bytes.extend_from_slice(name);
        self.bytes.resize(self.last + need, 0);
    }

    /// The whole directory, a multiple of 512 bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close_chunk();
        self.bytes
    }

    /// Lets the last entry reach to the end of its chunk.
    fn close_chunk(&mut self) {
        let end = self.bytes.len().next_multiple_of(CHUNK_BYTES);
        let length = u16::try_from(end - self.last).unwrap_or(0);
        self.bytes.resize(end, 0);
        if let Some(field) = self.bytes.get_mut(self.last + 4..self.last + 6) {
            field.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// How a directory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As above.
    Typed,
    /// Without types: 4.2 and 4.3BSD.
    Untyped,
    /// In entries of 16 bytes: before 4.2BSD.
    Short,
}

/// Length of an entry of [`Form::Short`].
const SHORT_BYTES: usize = 16;

/// What was read of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// Entries in order, `.` and `..` too.
    pub entries: Vec<Entry>,
    /// Chunks of which a part made no sense.
    pub damaged_chunks: usize,
}

/// Reads a directory of either byte order; what makes no sense costs the rest of its chunk.
///
/// A name is given only if it is one: not empty, without `/` and zero bytes.
#[must_use]
pub fn decode(bytes: &[u8], big_endian: bool, form: Form) -> Read {
    let mut read = Read::default();
    if form == Form::Short {
        for entry in bytes.chunks(SHORT_BYTES) {
            match decode_short(entry, big_endian) {
                Some(entry) => read.entries.extend(entry),
                None => read.damaged_chunks += 1,
            }
        }
        return read;
    }
    let old = form == Form::Untyped;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let mut at = 0;
        while at < chunk.len() {
            let Some((entry, length)) = decode_entry(&chunk[at..], big_endian, old) else {
                read.damaged_chunks += 1;
                break;
            };
            read.entries.extend(entry);
            at += length;
        }
    }
    read
}

/// Reads an entry of 16 bytes; none inside where it is empty, none at all where it makes no sense.
fn decode_short(bytes: &[u8], big_endian: bool) -> Option<Option<Entry>> {
    let (number, name) = bytes.split_first_chunk::<2>()?;
    let number = if big_endian {
        u16::from_be_bytes(*number)
    } else {
        u16::from_le_bytes(*number)
    };
    if number == 0 {
        return Some(None);
    }
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    is_name(name).then(|| {
        Some(Entry {
            number: number.into(),
            kind: 0,
            name: name.to_vec(),
        })
    })
}

/// Reads an entry and its length; none inside where it is empty, none at all where it makes no sense.
fn decode_entry(bytes: &[u8], big_endian: bool, old: bool) -> Option<(Option<Entry>, usize)> {
    let head: [u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
    let [n0, n1, n2, n3, l0, l1, kind, name_length] = head;
    let (number, length) = if big_endian {
        (u32::from_be_bytes([n0, n1, n2, n3]), u16::from_be_bytes([l0, l1]))
    } else {
        (u32::from_le_bytes([n0, n1, n2, n3]), u16::from_le_bytes([l0, l1]))
    };
    let (kind, name_length) = match (old, big_endian) {
        (false, _) => (kind, name_length),
        (true, true) => (0, name_length),
        (true, false) => (0, kind),
    };
    let (length, name_length) = (usize::from(length), usize::from(name_length));
    if length < HEAD_BYTES || length % 4 != 0 || length > bytes.len() {
        return None;
    }
    if number == 0 {
        return Some((None, length));
    }
    let name = bytes.get(HEAD_BYTES..HEAD_BYTES + name_length)?;
    if HEAD_BYTES + name_length > length || !is_name(name) {
        return None;
    }
    let entry = Entry {
        number,
        kind,
        name: name.to_vec(),
    };
    Some((Some(entry), length))
}

/// True where a directory of the host can hold this name, `.` and `..` too.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

#[cfg(test)]
mod tests;
