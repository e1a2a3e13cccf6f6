//! What is on tapes, without the tapes: the names of a dump and where its files lie.
//!
//! A dump is kept as three files under the key of its label. `.toc` is the beginning of the dump itself, maps and
//! directories, ended as a dump is: what stock `dump -A` writes and `restore -A` takes. `.qfa` says which record of which
//! volume an object begins in, as `dump -Q` does. `.json` says which tapes it is on. All are made by reading the tape, so
//! none of them can hold what it does not, and all can be made again.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
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
/// Length of the records that a table of contents is read in, in bytes.
const RECORD_BYTES: usize = 64 * 1024;

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
    /// The record to begin with to find an object; none where it lies before all that are known.
    #[must_use]
    pub fn of(&self, number: u32) -> Option<Place> {
        let behind = self.entries.partition_point(|(first, _)| *first <= number);
        Some(self.entries.get(behind.checked_sub(1)?)?.1)
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
        places: Places {
            date_s: reader.label().date_s,
            entries: Vec::new(),
        },
        objects: 0,
        troubles: Vec::new(),
    };
    let mut copied = false;
    loop {
        match reader.item()? {
            Item::End => break,
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
                let place = reader.place();
                if scanned.places.entries.last().is_none_or(|(_, last)| *last != place) {
                    scanned.places.entries.push((header.number, place));
                }
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
    let length = bytes.len().saturating_sub(without * super::TAPE_BLOCK_BYTES);
    bytes.truncate(length);
    let mut end = reader.label().clone();
    end.kind = Kind::End;
    end.tape_block = (bytes.len() / super::TAPE_BLOCK_BYTES) as u64;
    bytes.extend_from_slice(&end.encode());
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
}

impl Entry {
    /// What is kept of a dump that was read.
    #[must_use]
    pub fn of(label: &Header, tapes: Vec<String>, file: u32, scanned: &Scanned) -> Self {
        Self {
            key: key_of(label),
            tapes,
            file,
            level: label.label.level,
            date_s: label.date_s,
            base_s: label.base_date_s,
            path: String::from_utf8_lossy(&label.label.filesystem).into_owned(),
            objects: scanned.objects,
        }
    }
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
    pub fn add(&self, entry: &Entry, scanned: &Scanned) -> Result<()> {
        let text = serde_json::to_vec_pretty(entry).map_err(|error| self.failed(Path::new(""), error.into()))?;
        let places = scanned.places.encode();
        let files: [(&str, &[u8]); 3] = [("toc", &scanned.contents), ("qfa", places.as_bytes()), ("json", &text)];
        for (kind, bytes) in files {
            let path = name(&entry.key, kind);
            let replaced = self.directory.replace(&path, bytes);
            replaced.map_err(|source| self.failed(&path, source))?;
        }
        Ok(())
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
