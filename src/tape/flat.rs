//! A plain stream of records of one length, as stock tools take it with `-f FILE`: no marks, nothing between records.
//!
//! It holds one tape file. The last record may be short. A process that is killed leaves a stream that ends earlier.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{BlockRead, BlockWrite, Error, Found, Limits, Position, RECORD_MAX_BYTES, Result, Room, window::Window};
use crate::storage::{Access, Directory, Storage};

/// Bytes that are gathered before they are written.
const GATHER_BYTES: usize = 1 << 20;

/// A stream that is read or written.
pub struct FlatStream {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    access: Access,
    limits: Limits,
    record_bytes: usize,
    window: Window,
    position: Position,
    gathered: Vec<u8>,
}

impl std::fmt::Debug for FlatStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("FlatStream");
        debug.field("path", &self.path).field("position", &self.position);
        debug.finish_non_exhaustive()
    }
}

impl FlatStream {
    /// Makes an empty stream.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken, [`Error::BadLength`] of a record length that cannot be.
    pub fn create(directory: &dyn Directory, path: &Path, record_bytes: usize, limits: Limits) -> Result<Self> {
        let storage = match directory.create(path, &mut |_| Ok(())) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists {
                    path: path.to_path_buf(),
                });
            }
            made => made.map_err(|source| failed(path, source))?,
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let synced = directory.sync_directory(parent);
        synced.map_err(|source| failed(path, source))?;
        Self::over(path, storage, Access::ReadWrite, record_bytes, limits)
    }

    /// Opens a stream at its beginning.
    ///
    /// # Errors
    /// What the host says, [`Error::BadLength`] of a record length that cannot be.
    pub fn open(
        directory: &dyn Directory,
        path: &Path,
        access: Access,
        record_bytes: usize,
        limits: Limits,
    ) -> Result<Self> {
        let storage = directory.open(path, access).map_err(|source| failed(path, source))?;
        Self::over(path, storage, access, record_bytes, limits)
    }

    fn over(
        path: &Path,
        storage: Arc<dyn Storage>,
        access: Access,
        record_bytes: usize,
        limits: Limits,
    ) -> Result<Self> {
        if record_bytes == 0 || record_bytes > RECORD_MAX_BYTES {
            return Err(Error::BadLength {
                path: path.to_path_buf(),
                length_bytes: record_bytes,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            storage,
            access,
            limits,
            record_bytes,
            window: Window::default(),
            position: Position::START,
            gathered: Vec::new(),
        })
    }

    /// Writes what is gathered.
    fn commit(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let start = self.position.offset_bytes - gathered.len() as u64;
        self.window.drop_held();
        let written = self.storage.write_all_at(&gathered, start);
        if let Err(source) = written {
            self.stand_at(start);
            return Err(failed(&self.path, source));
        }
        Ok(())
    }

    fn stand_at(&mut self, offset_bytes: u64) {
        self.position.offset_bytes = offset_bytes;
        self.position.record = u32::try_from(offset_bytes.div_ceil(self.record_bytes as u64)).ok();
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.to_path_buf(),
        source,
    }
}

impl BlockRead for FlatStream {
    fn read_record(&mut self, buffer: &mut Vec<u8>) -> Result<Found> {
        self.commit()?;
        let offset = self.position.offset_bytes;
        let read = self.window.get(&*self.storage, offset, self.record_bytes);
        let bytes = read.map_err(|source| failed(&self.path, source))?;
        if bytes.is_empty() {
            return Ok(Found::End);
        }
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.stand_at(offset + buffer.len() as u64);
        Ok(Found::Record)
    }

    fn position(&self) -> Position {
        self.position
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        self.commit()?;
        let size = self.storage.size_bytes().map_err(|source| failed(&self.path, source))?;
        if position.offset_bytes > size {
            return Err(Error::OutOfTape {
                path: self.path.clone(),
                asked: position.offset_bytes,
                moved: size,
            });
        }
        self.stand_at(position.offset_bytes);
        Ok(())
    }
}

impl BlockWrite for FlatStream {
    fn write_record(&mut self, bytes: &[u8]) -> Result<Room> {
        if self.access == Access::Read {
            return Err(Error::WriteProtected {
                path: self.path.clone(),
            });
        }
        if bytes.is_empty() || bytes.len() > self.record_bytes {
            return Err(Error::BadLength {
                path: self.path.clone(),
                length_bytes: bytes.len(),
            });
        }
        let end = self.position.offset_bytes + bytes.len() as u64;
        if let Some(capacity_bytes) = self.limits.capacity_bytes.filter(|_| !self.limits.hold(end)) {
            return Err(Error::Full {
                path: self.path.clone(),
                capacity_bytes,
            });
        }
        if self.gathered.is_empty() {
            let cut = self.storage.set_size(self.position.offset_bytes);
            cut.map_err(|source| failed(&self.path, source))?;
        }
        self.gathered.extend_from_slice(bytes);
        self.stand_at(end);
        if self.gathered.len() >= GATHER_BYTES {
            self.commit()?;
        }
        Ok(self.limits.room(end))
    }

    fn sync(&mut self) -> Result<()> {
        self.commit()?;
        self.storage.sync().map_err(|source| failed(&self.path, source))
    }

    fn finish(&mut self) -> Result<()> {
        BlockWrite::sync(self)
    }

    fn write_index(&mut self, _contents: &[u8], _record_bytes: usize) -> Result<bool> {
        Ok(false)
    }

    fn has_room(&self, record_bytes: usize) -> bool {
        let end = self.position.offset_bytes + record_bytes as u64;
        (self.limits.hold(end) && self.limits.room(end) == Room::Plenty) || self.position.offset_bytes == 0
    }

    fn position(&self) -> Position {
        self.position
    }
}
