//! What is remembered of tapes between commands: where each stands, what it takes, whether it may be written.
//!
//! One text file, `tapes.json`, replaced in one step. A tape is known by its absolute path; what is remembered of one that
//! is not there any more does no harm. The bytes of the tape have no room for any of this.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Error, Limits, Position, Result};
use crate::storage::Directory;

const FILE: &str = "tapes.json";
/// Longest file that is read, in bytes.
const LIMIT_BYTES: u64 = 64 << 20;

/// What is remembered of one tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// Where it stands: offset in the file.
    #[serde(default)]
    offset_bytes: u64,
    /// Tape marks before that.
    #[serde(default)]
    file: u32,
    /// Records since the last mark.
    #[serde(default)]
    record: Option<u32>,
    /// Length of the medium.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
    /// Room left at which early warning is given.
    #[serde(default)]
    pub early_warning_bytes: u64,
    /// True where nothing may be written.
    #[serde(default)]
    pub write_protected: bool,
}

impl Remembered {
    /// Where the tape stands.
    #[must_use]
    pub fn position(&self) -> Position {
        if self.offset_bytes == 0 {
            return Position::START;
        }
        Position {
            offset_bytes: self.offset_bytes,
            file: self.file,
            record: self.record,
        }
    }

    /// The same with the tape elsewhere.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self {
            offset_bytes: position.offset_bytes,
            file: position.file,
            record: position.record,
            ..self
        }
    }

    /// What the tape takes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            capacity_bytes: self.capacity_bytes,
            early_warning_bytes: self.early_warning_bytes,
        }
    }
}

/// All that is remembered in a directory.
pub struct Memory {
    directory: Arc<dyn Directory>,
    tapes: BTreeMap<String, Remembered>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("tapes", &self.tapes)
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// Reads what a directory remembers.
    ///
    /// # Errors
    /// What the host says; `InvalidData` where the file makes no sense.
    pub fn open(directory: Arc<dyn Directory>) -> Result<Self> {
        let tapes = match directory.read(Path::new(FILE), LIMIT_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(&*directory, error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(failed(&*directory, source)),
        };
        Ok(Self { directory, tapes })
    }

    /// What is remembered of a tape.
    #[must_use]
    pub fn of(&self, path: &str) -> Remembered {
        self.tapes.get(path).copied().unwrap_or_default()
    }

    /// Remembers a tape, durably; one at its beginning of which there is nothing else to say is forgotten.
    ///
    /// # Errors
    /// What the host says.
    pub fn set(&mut self, path: &str, remembered: Remembered) -> Result<()> {
        if remembered == Remembered::default() {
            self.tapes.remove(path);
        } else {
            self.tapes.insert(path.to_owned(), remembered);
        }
        let text = serde_json::to_vec_pretty(&self.tapes).map_err(|error| failed(&*self.directory, error.into()))?;
        let replaced = self.directory.replace(Path::new(FILE), &text);
        replaced.map_err(|source| failed(&*self.directory, source))
    }
}

fn failed(directory: &dyn Directory, source: io::Error) -> Error {
    Error::Io {
        path: directory.path().join(FILE),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDirectory;

    #[test]
    fn a_tape_is_remembered_until_there_is_nothing_to_say() {
        let directory = SimDirectory::new();
        let mut memory = Memory::open(Arc::new(directory.clone())).unwrap();
        assert_eq!(memory.of("/a.tap").position(), Position::START);
        let place = Position {
            offset_bytes: 4132,
            file: 1,
            record: None,
        };
        let mut remembered = Remembered::default().at(place);
        remembered.capacity_bytes = Some(1 << 20);
        memory.set("/a.tap", remembered).unwrap();
        let mut again = Memory::open(Arc::new(directory.clone())).unwrap();
        assert_eq!((again.of("/a.tap"), again.of("/a.tap").position()), (remembered, place));
        assert_eq!(again.of("/a.tap").limits().capacity_bytes, Some(1 << 20));
        again.set("/a.tap", Remembered::default()).unwrap();
        assert_eq!(directory.read(Path::new(FILE), 100).unwrap(), b"{}");
        directory.replace(Path::new(FILE), b"rubbish").unwrap();
        assert!(Memory::open(Arc::new(directory)).is_err());
    }
}
