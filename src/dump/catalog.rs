//! What is on tapes, without the tapes: the names of a dump and where its files lie.
//!
//! A dump is kept as three files under the key of its label. `.toc` is the beginning of the dump itself, maps and
//! directories, ended as a dump is: what stock `dump -A` writes and `restore -A` takes. `.qfa` says which record of which
//! volume an object begins in, as `dump -Q` does. `.json` says which tapes it is on. A dump notes them as it goes on the tape,
//! and puts them behind itself as the tape's index ([`on_tape`]); reading the tape makes the same again.

pub mod find;
pub mod on_tape;

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    TAPE_BLOCK_BYTES,
    error::{Error, Result, Trouble},
    reader::{Item, Reader},
    record::{Header, Kind},
};
use crate::{
    storage::Directory,
    tape::{Container, Limits, Names, Volumes},
};

/// First lines of what stock `restore -Q` takes.
const QFA_MAGIC: &str = "495115637697";
const QFA_VERSION: &str = "1.0";
/// Longest file that is read, in bytes.
const LIMIT_BYTES: u64 = 4 << 30;
/// Length of a place as a context keeps it, in bytes.
pub(super) const PLACE_BYTES: usize = 16;
/// Length of the records that a table of contents is read in, in bytes.
const RECORD_BYTES: usize = 64 * 1024;

/// Where [`Places`] have what stands behind the end of a dump: behind all numbers.
pub const TRAILING: u32 = u32::MAX;

/// Where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Volume of the set, from 1.
    pub volume: u32,
    /// Offset in the file that holds the volume.
    pub offset_bytes: u64,
}

/// Where the objects of a dump lie, the first that begins in each record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    date_s: i64,
    entries: Vec<(u32, Place)>,
}

impl Places {
    /// No places yet, of a dump of a date in seconds since 1970.
    #[must_use]
    pub fn new(date_s: i64) -> Self {
        Self {
            date_s,
            entries: Vec::new(),
        }
    }

    /// Notes the record that an object begins in; only the first object of a record counts, and objects come in order, with
    /// [`TRAILING`] behind all others.
    pub fn note(&mut self, number: u32, place: Place) {
        let differs = |(known, last): &(u32, Place)| *known != TRAILING && *last != place;
        if self.entries.last().is_none_or(differs) {
            self.entries.push((number, place));
        }
    }

    /// What was noted from a place in the order on, as the context of a dump keeps it: u32 number, u32 volume, u64 offset, all
    /// little-endian.
    pub(super) fn encode_from(&self, from: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, place) in self.entries.iter().skip(from) {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&place.volume.to_le_bytes());
            bytes.extend_from_slice(&place.offset_bytes.to_le_bytes());
        }
        bytes
    }

    /// Notes what [`Places::encode_from`] gave; none where it is cut off.
    pub(super) fn with_kept(mut self, bytes: &[u8]) -> Option<Self> {
        for entry in bytes.chunks(PLACE_BYTES) {
            let entry: &[u8; PLACE_BYTES] = entry.try_into().ok()?;
            let [number, volume] =
                [&entry[..4], &entry[4..8]].map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()));
            let offset_bytes = u64::from_le_bytes(*entry.last_chunk()?);
            self.entries.push((number, Place { volume, offset_bytes }));
        }
        Some(self)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The record to begin with to find an object; none where it lies before all that are known.
    #[must_use]
    pub fn of(&self, number: u32) -> Option<Place> {
        let behind = self.entries.partition_point(|(first, _)| *first <= number);
        Some(self.entries.get(behind.checked_sub(1)?)?.1)
    }

    /// The record in which what stands behind the end of the dump begins, if anything does.
    #[must_use]
    pub fn trailing(&self) -> Option<Place> {
        let (number, place) = self.entries.last()?;
        (*number == TRAILING).then_some(*place)
    }

    /// The places as the text that stock `restore -Q` takes.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{QFA_MAGIC}\n{QFA_VERSION}\n{}\n\nino\ttapeno\ttapepos\n", self.date_s);
        for (number, place) in &self.entries {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{number}\t{}\t{}", place.volume, place.offset_bytes);
        }
        text
    }

    /// Reads such a text; none where it is none.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if (lines.next()?, lines.next()?) != (QFA_MAGIC, QFA_VERSION) {
            return None;
        }
        let date_s = lines.next()?.trim().parse().ok()?;
        let mut places = Self {
            date_s,
            entries: Vec::new(),
        };
        for line in lines.skip(2).filter(|line| !line.is_empty()) {
            let mut words = line.split_ascii_whitespace();
            let number = words.next()?.parse().ok()?;
            let place = Place {
                volume: words.next()?.parse().ok()?,
                offset_bytes: words.next()?.parse().ok()?,
            };
            places.entries.push((number, place));
        }
        places.entries.sort_unstable();
        Some(places)
    }
}

/// What a tape was found to hold.
#[derive(Debug)]
pub struct Scanned {
    /// The beginning of the dump, ended as a dump.
    pub contents: Vec<u8>,
    /// Where its files lie.
    pub places: Places,
    /// Objects on the tape.
    pub objects: u64,
    /// What is lost.
    pub troubles: Vec<Trouble>,
}

/// Reads a dump to its end and notes what is in it and where.
///
/// # Errors
/// [`Error::Tape`] and [`Error::WrongTape`].
pub fn scan(reader: &mut Reader) -> Result<Scanned> {
    let mut scanned = Scanned {
        contents: Vec::new(),
        places: Places::new(reader.label().date_s),
        objects: 0,
        troubles: Vec::new(),
    };
    let mut copied = false;
    loop {
        match reader.item()? {
            Item::End => break,
            Item::Trailing(..) => scanned.places.note(TRAILING, reader.place()),
            Item::Used(_) | Item::Here(_) | Item::Attributes(..) => {}
            Item::Object(header) => {
                scanned.objects += 1;
                if header.node.mode & 0o170_000 == 0o40_000 {
                    continue;
                }
                if !copied {
                    copied = true;
                    scanned.contents = ended(reader, 1);
                }
                scanned.places.note(header.number, reader.place());
            }
        }
    }
    if !copied {
        scanned.contents = ended(reader, 0);
    }
    scanned.troubles = reader.take_troubles();
    Ok(scanned)
}

/// What was read so far but for the last `without` blocks, with an end behind it.
fn ended(reader: &mut Reader, without: usize) -> Vec<u8> {
    let mut bytes = reader.take_copy();
    let length = bytes.len().saturating_sub(without * TAPE_BLOCK_BYTES);
    bytes.truncate(length);
    with_end(bytes)
}

/// The beginning of a dump with an end behind it, as its label tells it.
pub(super) fn with_end(mut bytes: Vec<u8>) -> Vec<u8> {
    let label = bytes.first_chunk().map(Header::decode);
    if let Some(Ok(mut end)) = label {
        end.kind = Kind::End;
        end.tape_block = (bytes.len() / TAPE_BLOCK_BYTES) as u64;
        bytes.extend_from_slice(&end.encode());
    }
    bytes
}

/// The key of a dump: its identity, or for tapes of others its date and a checksum of its label.
#[must_use]
pub fn key_of(label: &Header) -> String {
    match &label.private {
        Some(private) => data_encoding::HEXLOWER.encode(&private.dump),
        None => {
            let told = &label.label;
            let level = told.level.to_le_bytes();
            let parts: [&[u8]; 5] = [&told.label, &told.filesystem, &told.device, &told.host, &level];
            let checksum = parts.iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part));
            format!("{}-{checksum:08x}", label.date_s)
        }
    }
}

/// A dump that is in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Key of the dump.
    pub key: String,
    /// Tapes it is on, in order; bytes that are no text are replaced.
    pub tapes: Vec<String>,
    /// Tape file of the first tape, from 1.
    pub file: u32,
    /// Level.
    pub level: i32,
    /// Date, in seconds since 1970.
    pub date_s: i64,
    /// Date of its base; 0 at level 0.
    pub base_s: i64,
    /// What was dumped.
    pub path: String,
    /// Objects on the tape.
    pub objects: u64,
    /// Paths of what is not whole on the tape, as far as the dump told.
    #[serde(default)]
    pub partial: Vec<String>,
}

impl Entry {
    /// What is kept of a dump of `objects` objects.
    #[must_use]
    pub fn of(label: &Header, tapes: Vec<String>, file: u32, objects: u64) -> Self {
        Self {
            key: key_of(label),
            tapes,
            file,
            level: label.label.level,
            date_s: label.date_s,
            base_s: label.base_date_s,
            path: String::from_utf8_lossy(&label.label.filesystem).into_owned(),
            objects,
            partial: Vec::new(),
        }
    }

    /// True where both cannot be on the tapes that they name: a dump takes the place of what was behind it.
    fn overwrites(&self, other: &Self) -> bool {
        self.key != other.key && self.tapes.first() == other.tapes.first() && self.file <= other.file
    }
}

/// A dump with everything that the catalogue holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// What it is and which tapes it is on.
    pub entry: Entry,
    /// Its beginning, ended as a dump.
    pub contents: Vec<u8>,
    /// Where its files lie.
    pub places: Places,
}

/// The dumps that a directory knows.
pub struct Catalog {
    directory: Arc<dyn Directory>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("path", &self.directory.path()).finish()
    }
}

/// Name of a file of a dump.
fn name(key: &str, kind: &str) -> PathBuf {
    // Keys are what we wrote; a file that was edited cannot lead elsewhere.
    let key: String = key.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("dump-{key}.{kind}").into()
}

impl Catalog {
    /// The catalogue in a directory.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory }
    }

    /// All dumps, the oldest first. Files that make no sense are passed over: they can be made again.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let listed = self.directory.list(Path::new(""));
        let listed = listed.map_err(|source| self.failed(Path::new(""), source))?;
        let names = listed
            .iter()
            .filter(|file| file.name.starts_with("dump-") && file.name.ends_with(".json"));
        let read = |file: &crate::storage::Entry| self.directory.read(Path::new(&file.name), LIMIT_BYTES).ok();
        let mut entries: Vec<Entry> = names
            .filter_map(read)
            .filter_map(|text| serde_json::from_slice(&text).ok())
            .collect();
        entries.sort_by(|a, b| (a.date_s, &a.key).cmp(&(b.date_s, &b.key)));
        Ok(entries)
    }

    /// Adds a dump, or puts it in place of what was known of it.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn add(&self, noted: &Noted) -> Result<()> {
        let text = serde_json::to_vec_pretty(&noted.entry);
        let text = text.map_err(|error| self.failed(Path::new(""), error.into()))?;
        let places = noted.places.encode();
        let files: [(&str, &[u8]); 3] = [("toc", &noted.contents), ("qfa", places.as_bytes()), ("json", &text)];
        for (kind, bytes) in files {
            let path = name(&noted.entry.key, kind);
            let replaced = self.directory.replace(&path, bytes);
            replaced.map_err(|source| self.failed(&path, source))?;
        }
        Ok(())
    }

    /// Adds a dump that was just written, and forgets those whose place on the tape it took.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn add_written(&self, noted: &Noted) -> Result<()> {
        self.add(noted)?;
        for gone in self.entries()?.iter().filter(|other| noted.entry.overwrites(other)) {
            // The file that it is listed by goes first: the others alone are nothing.
            for kind in ["json", "qfa", "toc"] {
                let path = name(&gone.key, kind);
                match self.directory.remove(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(self.failed(&path, source)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// True where a dump is known.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.directory.stat(&name(key, "json")).is_ok()
    }

    /// Names of a dump, to be read as the dump itself is; none where the dump is not known.
    #[must_use]
    pub fn contents(&self, key: &str) -> Option<Reader> {
        contents(self.directory.clone(), name(key, "toc")).ok()
    }

    /// Where the files of a dump lie; none where that is not known.
    #[must_use]
    pub fn places(&self, key: &str) -> Option<Places> {
        let text = self.directory.read(&name(key, "qfa"), LIMIT_BYTES).ok()?;
        Places::decode(&String::from_utf8(text).ok()?)
    }

    fn failed(&self, path: &Path, source: io::Error) -> Error {
        Error::State {
            path: self.directory.path().join(path),
            source,
        }
    }
}

/// Opens a table of contents, as [`scan`] and stock `dump -A` make it.
///
/// # Errors
/// As [`Reader::open`].
pub fn contents(directory: Arc<dyn Directory>, path: PathBuf) -> Result<Reader> {
    let volumes = Volumes {
        directory,
        names: Names::Listed(vec![path]),
        container: Container::Flat,
        record_bytes: RECORD_BYTES,
        limits: Limits::default(),
    };
    Reader::open(volumes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is what stock dump -Q writes.
    #[test]
    fn places_are_told_as_stock_restore_takes_them() {
        let text = "495115637697\n1.0\n1700000000\n\nino\ttapeno\ttapepos\n12\t1\t20480\n40\t1\t30720\n90\t2\t0\n";
        let places = Places::decode(text).unwrap();
        assert_eq!(places.encode(), text);
        let place = |volume, offset_bytes| Some(Place { volume, offset_bytes });
        assert_eq!(places.of(11), None);
        assert_eq!(places.of(12), place(1, 20480));
        assert_eq!(places.of(39), place(1, 20480));
        assert_eq!(places.of(1000), place(2, 0));
        for wrong in [
            "",
            "1\n1.0\n1\n",
            "495115637697\n1.0\nx\n",
            &text.replace("20480", "-1"),
        ] {
            assert_eq!(Places::decode(wrong), None, "{wrong:?}");
        }
    }
}
