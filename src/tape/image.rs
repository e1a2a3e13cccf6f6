//! A drive over one `.tap` file: reads and writes records and marks where it stands, and moves as drives do.
//!
//! A tape in order ends in two tape marks and the word for the end of the medium; the drive stands between the marks to
//! add a tape file. Records are gathered and *committed* together: first everything but their first word is written
//! behind the end of the medium, with a new end of the medium after it, then the first word over the old one. A process
//! that is killed at any instant thus leaves a tape that ends after the last commit. What is in `moves.rs` and
//! `objects.rs` only looks at the file.

mod moves;
mod objects;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BlockRead, BlockWrite, Error, Found, Limits, Position, RECORD_MAX_BYTES, Result, Room,
    format::{END, MARK, WORD_BYTES, push_record},
    window::Window,
};
use crate::storage::{Access, Directory, Storage};

/// Bytes that are gathered before they are committed.
const COMMIT_BYTES: usize = 1 << 20;

/// Room that is kept for the end of a tape: two marks and the end of the medium.
const TAIL_BYTES: u64 = 3 * WORD_BYTES;

/// A drive with a tape in it.
pub struct TapImage {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    access: Access,
    limits: Limits,
    window: Window,
    position: Position,
    /// Where what is gathered goes; meaningful while writing.
    committed: Position,
    /// Records and marks since `committed`.
    gathered: Vec<u8>,
    /// True once the end of the medium is where `committed` says.
    writing: bool,
}

impl std::fmt::Debug for TapImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("TapImage");
        debug.field("path", &self.path).field("position", &self.position);
        debug.finish_non_exhaustive()
    }
}

impl TapImage {
    /// Makes an empty tape.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken.
    pub fn create(directory: &dyn Directory, path: &Path, limits: Limits) -> Result<Self> {
        let storage = match directory.create(path, &mut |file| file.write_all_at(&END, 0)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists {
                    path: path.to_path_buf(),
                });
            }
            made => made.map_err(|source| failed(path, source))?,
        };
        storage.sync().map_err(|source| failed(path, source))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let synced = directory.sync_directory(parent);
        synced.map_err(|source| failed(path, source))?;
        Ok(Self::over(path, storage, Access::ReadWrite, limits))
    }

    /// Puts the tape `path` into a drive, rewound. [`Access::Read`] is its write protection.
    ///
    /// # Errors
    /// What the host says.
    pub fn open(directory: &dyn Directory, path: &Path, access: Access, limits: Limits) -> Result<Self> {
        let storage = directory.open(path, access).map_err(|source| failed(path, source))?;
        Ok(Self::over(path, storage, access, limits))
    }

    fn over(path: &Path, storage: Arc<dyn Storage>, access: Access, limits: Limits) -> Self {
        Self {
            path: path.to_path_buf(),
            storage,
            access,
            limits,
            window: Window::default(),
            position: Position::START,
            committed: Position::START,
            gathered: Vec::new(),
            writing: false,
        }
    }

    /// Name of the tape, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file that holds the tape, in bytes.
    ///
    /// # Errors
    /// What the host says.
    pub fn size_bytes(&self) -> Result<u64> {
        self.storage.size_bytes().map_err(|source| self.failed(source))
    }

    /// True where nothing can be written.
    #[must_use]
    pub fn write_protected(&self) -> bool {
        self.access == Access::Read
    }

    /// Writes a tape mark where the tape stands.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    pub fn write_mark(&mut self) -> Result<Room> {
        self.begin_writing()?;
        let end = self.position.offset_bytes + WORD_BYTES;
        self.check_room(end)?;
        self.gathered.extend_from_slice(&MARK);
        self.position = Position {
            offset_bytes: end,
            file: self.position.file.saturating_add(1),
            record: Some(0),
        };
        self.commit_if_large()?;
        Ok(self.limits.room(end + TAIL_BYTES))
    }

    /// Goes to where a new tape file begins: behind the last one, but for an index, which it overwrites. A file that a
    /// killed writer left without its end gets a mark first.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    pub fn to_new_file(&mut self) -> Result<()> {
        self.to_end_of_data()?;
        if self.position.record != Some(0) {
            self.write_mark()?;
            return Ok(());
        }
        let end = self.position;
        let index = if end.file > 1 {
            self.index_before(end.offset_bytes)?
        } else {
            None
        };
        self.position = match index {
            Some(index) => Position {
                offset_bytes: index.offset_bytes,
                file: end.file - 1,
                record: Some(0),
            },
            None => end,
        };
        Ok(())
    }

    /// Erases everything from where the tape stands. Behind a tape file the second mark stays.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    pub fn erase(&mut self) -> Result<()> {
        self.begin_writing()?;
        if self.position.offset_bytes > 0 {
            let kept = self.position;
            self.write_mark()?;
            self.commit()?;
            self.position = kept;
        }
        self.writing = false;
        self.storage.sync().map_err(|source| self.failed(source))
    }

    /// Writes what is gathered; the tape then ends behind it.
    fn commit(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.extend_from_slice(&END);
        let offset = self.committed.offset_bytes;
        let (first, rest) = gathered.split_at(END.len());
        let written = self.storage.write_all_at(rest, offset + WORD_BYTES);
        let written = written.and_then(|()| self.storage.write_all_at(first, offset));
        self.window.drop_held();
        match written {
            Ok(()) => self.committed = self.position,
            Err(source) => {
                // The end of the medium still stands at the last commit.
                self.position = self.committed;
                return Err(self.failed(source));
            }
        }
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    fn commit_if_large(&mut self) -> Result<()> {
        if self.gathered.len() < COMMIT_BYTES {
            return Ok(());
        }
        self.commit()
    }

    /// Puts the end of the medium where the tape stands, and cuts off what is behind.
    fn begin_writing(&mut self) -> Result<()> {
        if self.access == Access::Read {
            return Err(Error::WriteProtected {
                path: self.path.clone(),
            });
        }
        if self.writing {
            return Ok(());
        }
        let offset = self.position.offset_bytes;
        let ended = self.storage.write_all_at(&END, offset);
        let ended = ended.and_then(|()| self.storage.set_size(offset + WORD_BYTES));
        ended.map_err(|source| self.failed(source))?;
        self.window.drop_held();
        self.committed = self.position;
        self.writing = true;
        Ok(())
    }

    /// Ends writing before the tape is moved or read.
    fn end_writing(&mut self) -> Result<()> {
        self.commit()?;
        self.writing = false;
        Ok(())
    }

    pub(super) fn check_room(&self, end_bytes: u64) -> Result<()> {
        match self.limits.capacity_bytes {
            Some(capacity_bytes) if !self.limits.hold(end_bytes + TAIL_BYTES) => Err(Error::Full {
                path: self.path.clone(),
                capacity_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        failed(&self.path, source)
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_path_buf(),
        source,
    }
}

impl BlockRead for TapImage {
    fn read_record(&mut self, buffer: &mut Vec<u8>) -> Result<Found> {
        self.end_writing()?;
        self.read_forward(buffer)
    }

    fn position(&self) -> Position {
        self.position
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        self.end_writing()?;
        let size = self.size_bytes()?;
        if position.offset_bytes > size {
            return Err(Error::OutOfTape {
                path: self.path.clone(),
                asked: position.offset_bytes,
                moved: size,
            });
        }
        self.position = position;
        Ok(())
    }
}

impl BlockWrite for TapImage {
    fn write_record(&mut self, bytes: &[u8]) -> Result<Room> {
        if bytes.is_empty() || bytes.len() > RECORD_MAX_BYTES {
            return Err(Error::BadLength {
                path: self.path.clone(),
                length_bytes: bytes.len(),
            });
        }
        let length = (bytes.len() as u64).next_multiple_of(2) + 2 * WORD_BYTES;
        let end = self.position.offset_bytes + length;
        self.check_room(end)?;
        self.begin_writing()?;
        push_record(&mut self.gathered, bytes);
        self.position.offset_bytes = end;
        self.position.record = self.position.record.map(|record| record.saturating_add(1));
        self.commit_if_large()?;
        Ok(self.limits.room(end + TAIL_BYTES))
    }

    fn sync(&mut self) -> Result<()> {
        self.commit()?;
        self.storage.sync().map_err(|source| self.failed(source))
    }

    fn finish(&mut self) -> Result<()> {
        self.begin_writing()?;
        self.gathered.extend_from_slice(&MARK);
        let next = Position {
            offset_bytes: self.position.offset_bytes + WORD_BYTES,
            file: self.position.file.saturating_add(1),
            record: Some(0),
        };
        self.position = next;
        // The second mark, on which the drive does not stand.
        self.gathered.extend_from_slice(&MARK);
        self.commit()?;
        self.writing = false;
        self.storage.sync().map_err(|source| self.failed(source))
    }

    fn write_index(&mut self, contents: &[u8], record_bytes: usize) -> Result<bool> {
        self.write_index_file(contents, record_bytes)
    }

    fn has_room(&self, record_bytes: usize) -> bool {
        let end = self.position.offset_bytes + record_bytes as u64 + 2 * WORD_BYTES + TAIL_BYTES;
        let fits = self.limits.hold(end) && self.limits.room(end) == Room::Plenty;
        fits || self.position.offset_bytes == 0
    }

    fn position(&self) -> Position {
        self.position
    }
}

#[cfg(test)]
mod tests;
