//! The tapes of a set: which file is volume 1, 2, 3, and in which container.
//!
//! A set is one name, a list of names, or a prefix with numbers behind it (`run001`, `run002`, as `dump -M` has them).
//! The container of a file that is there is told from its first object.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    BlockRead, BlockWrite, Error, FlatStream, Found, Limits, Position, Result, TapImage,
    format::WORD_BYTES,
    index,
    pipe::{self, Pipe},
};
use crate::storage::{Access, Directory};

/// How records are kept in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// A SIMH image, with record lengths and tape marks.
    Tap,
    /// A plain stream of bytes.
    Flat,
}

/// Names of the volumes of a set, relative to its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// These, in this order.
    Listed(Vec<PathBuf>),
    /// The prefix, then three digits.
    Numbered(PathBuf),
    /// One volume that is no file.
    Piped(Pipe),
}

impl Names {
    /// Name of a volume, counted from 1; none where the set has no more.
    #[must_use]
    pub fn of(&self, number: u32) -> Option<PathBuf> {
        match self {
            Self::Listed(names) => names.get(usize::try_from(number).ok()?.checked_sub(1)?).cloned(),
            Self::Numbered(prefix) if (1..=999).contains(&number) => {
                let mut name = prefix.clone().into_os_string();
                name.push(format!("{number:03}"));
                Some(name.into())
            }
            Self::Piped(_) if number == 1 => Some(pipe::NAME.into()),
            Self::Numbered(_) | Self::Piped(_) => None,
        }
    }

    /// The set without one of its volumes, whose place the next takes; none where there is no next.
    fn without(&self, number: u32) -> Option<Self> {
        self.of(number.checked_add(1)?)?;
        let others = (1..).filter(|other| *other != number);
        Some(Self::Listed(others.map_while(|number| self.of(number)).collect()))
    }
}

/// The record before a place on a tape, by which the place is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    length_bytes: u32,
    checksum: u32,
}

impl Behind {
    /// What tells this record from others.
    #[must_use]
    pub fn of(record: &[u8]) -> Self {
        Self {
            length_bytes: u32::try_from(record.len()).unwrap_or(u32::MAX),
            checksum: crc32c::crc32c(record),
        }
    }
}

/// A set of tapes in a directory.
#[derive(Clone)]
pub struct Volumes {
    /// Where the tapes are.
    pub directory: Arc<dyn Directory>,
    /// What they are called.
    pub names: Names,
    /// Container of new volumes.
    pub container: Container,
    /// Length of a flat stream's records, in bytes.
    pub record_bytes: usize,
    /// What each volume holds.
    pub limits: Limits,
}

impl std::fmt::Debug for Volumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volumes")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Whether a first record begins what a killed writer left of a volume.
pub type IsLeft<'a> = &'a dyn Fn(&[u8]) -> bool;

impl Volumes {
    /// Opens a volume for reading, at its beginning.
    ///
    /// # Errors
    /// [`Error::NoVolume`] where the set has none of this number, or its file is not there.
    pub fn open(&self, number: u32) -> Result<Box<dyn BlockRead>> {
        if let (Names::Piped(pipe), 1) = (&self.names, number) {
            return pipe.reader();
        }
        let path = self.name(number)?;
        let container = self.container_of(&path).map_err(|error| missing(error, number))?;
        self.open_as(number, container)
    }

    /// Opens a volume for reading as if its records were kept so: a damaged image may not look like one.
    ///
    /// # Errors
    /// As [`Volumes::open`].
    pub fn open_as(&self, number: u32, container: Container) -> Result<Box<dyn BlockRead>> {
        let path = self.name(number)?;
        Ok(match container {
            Container::Tap => Box::new(TapImage::open(&*self.directory, &path, Access::Read, self.limits)?),
            Container::Flat => {
                let (directory, record_bytes) = (&*self.directory, self.record_bytes);
                Box::new(FlatStream::open(
                    directory,
                    &path,
                    Access::Read,
                    record_bytes,
                    self.limits,
                )?)
            }
        })
    }

    /// Opens a volume of SIMH's container for reading at a tape file, counted from 0.
    ///
    /// # Errors
    /// As [`Volumes::open`]; [`Error::OutOfTape`] where there are not so many files, and a stream holds one only.
    pub fn open_file(&self, number: u32, file: u32) -> Result<Box<dyn BlockRead>> {
        if file == 0 {
            return self.open(number);
        }
        let path = self.name(number)?;
        if self.container_of(&path).map_err(|error| missing(error, number))? == Container::Flat {
            return Err(Error::OutOfTape {
                path,
                asked: file.into(),
                moved: 0,
            });
        }
        let mut image = TapImage::open(&*self.directory, &path, Access::Read, self.limits)?;
        image.forward_files(file)?;
        Ok(Box::new(image))
    }

    /// Opens a volume for writing: a new one, or behind what a SIMH image holds already. A stream is overwritten.
    ///
    /// # Errors
    /// [`Error::NoVolume`] where no name is left for it, [`Error::Exists`] where a stream has the name of a SIMH image.
    pub fn append(&self, number: u32) -> Result<Box<dyn BlockWrite>> {
        if let (Names::Piped(pipe), 1) = (&self.names, number) {
            return pipe.writer();
        }
        let path = self.name(number)?;
        let directory = &*self.directory;
        let exists = match directory.stat(&path) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(Error::Io { path, source }),
        };
        Ok(match (self.container, exists) {
            (Container::Tap, false) => Box::new(TapImage::create(directory, &path, self.limits)?),
            (Container::Tap, true) => {
                if self.container_of(&path)? == Container::Flat {
                    return Err(Error::Exists { path });
                }
                let mut image = TapImage::open(directory, &path, Access::ReadWrite, self.limits)?;
                image.to_new_file()?;
                Box::new(image)
            }
            (Container::Flat, false) => Box::new(FlatStream::create(directory, &path, self.record_bytes, self.limits)?),
            (Container::Flat, true) => {
                let (access, record_bytes) = (Access::ReadWrite, self.record_bytes);
                Box::new(FlatStream::open(directory, &path, access, record_bytes, self.limits)?)
            }
        })
    }

    /// Opens a volume for writing as [`Volumes::append`] does, the next one in its place where it has no room for a record: the
    /// full one is no part of the set then. Where a killed writer may have been here before, a last tape file that begins with a
    /// record which `is_left` knows is what it left of this one, and is written anew.
    ///
    /// # Errors
    /// As [`Volumes::append`].
    pub fn append_with_room(&mut self, number: u32, is_left: Option<IsLeft<'_>>) -> Result<Box<dyn BlockWrite>> {
        loop {
            if let Some(is_left) = is_left
                && let Some(left) = self.left(number, is_left)?
            {
                return Ok(left);
            }
            let tape = self.append(number)?;
            let rest = (!tape.has_room(self.record_bytes))
                .then(|| self.names.without(number))
                .flatten();
            let Some(rest) = rest else { return Ok(tape) };
            let full = self.names.of(number).unwrap_or_default();
            log::warn!("{}: is full, the next tape is taken", full.display());
            self.names = rest;
        }
    }

    /// A SIMH image where its last tape file begins, if that is what is left of one.
    fn left(&self, number: u32, is_left: IsLeft<'_>) -> Result<Option<Box<dyn BlockWrite>>> {
        let path = match (&self.names, self.container) {
            (Names::Piped(_), _) | (_, Container::Flat) => return Ok(None),
            _ => self.name(number)?,
        };
        if self.directory.stat(&path).is_err() || self.container_of(&path)? == Container::Flat {
            return Ok(None);
        }
        let mut image = TapImage::open(&*self.directory, &path, Access::ReadWrite, self.limits)?;
        let left = image.to_own_file(is_left)?;
        Ok(left.then(|| Box::new(image) as Box<dyn BlockWrite>))
    }

    /// What the index at the end of a volume says; none where it has none or is not there.
    ///
    /// # Errors
    /// What the host says.
    pub fn index(&self, number: u32) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.names.of(number) else {
            return Ok(None);
        };
        match self.container_of(&path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(Container::Flat) => return Ok(None),
            container => container?,
        };
        let mut image = TapImage::open(&*self.directory, &path, Access::Read, self.limits)?;
        Ok(image.index()?.map(|index| index.contents))
    }

    /// Opens a volume for writing where an earlier writer stood, behind the record `behind`; nothing is written yet.
    ///
    /// # Errors
    /// [`Error::Changed`] where that record is not there, or something else was put behind it; as [`Volumes::open`].
    pub fn resume(&self, number: u32, place: Position, behind: Option<Behind>) -> Result<Box<dyn BlockWrite>> {
        let path = self.name(number)?;
        let container = self.container_of(&path).map_err(|error| missing(error, number))?;
        let changed = |reason| Error::Changed {
            path: path.clone(),
            offset_bytes: place.offset_bytes,
            reason,
        };
        // A stream of which nothing is written yet has no container.
        if place.offset_bytes > 0 && container != self.container {
            return Err(changed("its container is another one"));
        }
        let (directory, record_bytes, limits) = (&*self.directory, self.record_bytes, self.limits);
        let other_record = || changed("the record before that place is another one");
        match self.container {
            Container::Tap => {
                let mut image = TapImage::open(directory, &path, Access::ReadWrite, limits)?;
                if !stands_behind(&mut image, place, behind, 2 * WORD_BYTES)? {
                    return Err(other_record());
                }
                if anything_new(&mut image, place)? {
                    return Err(changed("something else was written behind that place"));
                }
                image.seek(place)?;
                Ok(Box::new(image))
            }
            Container::Flat => {
                let access = Access::ReadWrite;
                let mut stream = FlatStream::open(directory, &path, access, record_bytes, limits)?;
                if !stands_behind(&mut stream, place, behind, 0)? {
                    return Err(other_record());
                }
                stream.seek(place)?;
                Ok(Box::new(stream))
            }
        }
    }

    /// How the records of a file are kept.
    ///
    /// # Errors
    /// What the host says.
    pub fn container_of(&self, path: &Path) -> Result<Container> {
        let mut image = TapImage::open(&*self.directory, path, Access::Read, Limits::default())?;
        // A stream of dump begins with the word 1, behind which no record of one byte follows.
        Ok(match image.read_first()? {
            Found::Lost { .. } => Container::Flat,
            _ => Container::Tap,
        })
    }

    /// The absolute path of a volume, by which it is remembered; bytes that are no text are replaced.
    #[must_use]
    pub fn path_of(&self, number: u32) -> Option<String> {
        let path = self.directory.path().join(self.names.of(number)?);
        let absolute = path.canonicalize().or_else(|_| std::path::absolute(&path));
        Some(absolute.unwrap_or(path).to_string_lossy().into_owned())
    }

    fn name(&self, number: u32) -> Result<PathBuf> {
        let name = self.names.of(number);
        name.ok_or(Error::NoVolume { number, path: None })
    }
}

/// True where the record `behind` ends at a place; around its data are `frame_bytes`.
fn stands_behind(tape: &mut dyn BlockRead, place: Position, behind: Option<Behind>, frame_bytes: u64) -> Result<bool> {
    let Some(behind) = behind else { return Ok(true) };
    let length = u64::from(behind.length_bytes) + frame_bytes;
    let Some(start) = place.offset_bytes.checked_sub(length) else {
        return Ok(false);
    };
    let start = Position {
        offset_bytes: start,
        ..place
    };
    match tape.seek(start) {
        Err(Error::OutOfTape { .. }) => return Ok(false),
        other => other?,
    }
    let mut record = Vec::new();
    let found = tape.read_record(&mut record)?;
    record.truncate(behind.length_bytes as usize);
    Ok(found == Found::Record && Behind::of(&record) == behind)
}

/// True where behind a place there is more than the rest of one tape file, its end and an index.
fn anything_new(tape: &mut TapImage, place: Position) -> Result<bool> {
    tape.seek(place)?;
    let mut record = Vec::new();
    // Tape files that ended, and records in the one after them.
    let (mut ended, mut records) = (0, 0);
    loop {
        match tape.read_record(&mut record)? {
            Found::End => return Ok(false),
            Found::Mark => (ended, records) = (ended + 1, 0),
            // What a power loss left.
            Found::Lost { .. } => {}
            _ if ended == 0 => {}
            _ if ended == 1 && (records > 0 || index::begins_with(&record)) => records += 1,
            _ => return Ok(true),
        }
    }
}

/// A volume whose file is not there.
fn missing(error: Error, number: u32) -> Error {
    match error {
        Error::Io { path, source } if source.kind() == io::ErrorKind::NotFound => Error::NoVolume {
            number,
            path: Some(path),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests;
