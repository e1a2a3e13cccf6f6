//! What a chain of dumps so far left in a directory: the names, by which the next one finds what moved.
//!
//! It is remembered in `restoresymtable` in the directory itself, as with other programs, or where that
//! is the root of a mounted database, beside its series in `.headstack.restored`; in
//! a form of our own: `HSR2`, i64 date, i64 date of a dump that is being restored, u8 how far, u32 count of directories; for each u32 number and u32 count of names; for each
//! name u32 number, u8 1 for a directory, u8 length, the name; CRC-32C at the end; little-endian.

use std::{collections::BTreeMap, os::fd::AsFd as _, path::Path};

use rustix::{
    fs::{FileType, Mode, OFlags, openat, renameat},
    io::{Errno, retry_on_intr as retry},
};

use crate::dump::{
    error::{Error, Result},
    restore::{Destination, Folders, Target, target::write_at},
};

/// Name of what is remembered, in the directory, and in the directory of a database.
pub(super) const STATE: &str = "restoresymtable";
const STATE_NEW: &str = "restoresymtable.new";
const STATE_OF_STORE: &str = ".headstack.restored";
const MAGIC: &[u8; 4] = b"HSR2";
/// Longest state that is read, in bytes.
const STATE_MAX_BYTES: u64 = 4 << 30;

/// What the chain so far left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Left {
    pub(super) date_s: i64,
    /// The dump that was on its way on top of this one, where a restore was interrupted, and how far names were.
    pub(super) pending: Option<(i64, Step)>,
    pub(super) folders: Folders,
}

/// How far the names of the next dump are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// What moves is being set aside.
    Aside = 1,
    /// All that moves is aside, and is being put in its new place.
    Placing = 2,
    /// All names are in place.
    Placed = 3,
}

impl Left {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend_from_slice(&self.date_s.to_le_bytes());
        let (pending_s, step) = self.pending.map_or((0, 0), |(date_s, step)| (date_s, step as u8));
        bytes.extend_from_slice(&pending_s.to_le_bytes());
        bytes.push(step);
        bytes.extend_from_slice(&count(self.folders.len()));
        for (number, names) in &self.folders {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&count(names.len()));
            for (name, target) in names {
                bytes.extend_from_slice(&target.number.to_le_bytes());
                bytes.push(target.is_directory.into());
                bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                bytes.extend_from_slice(name);
            }
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let date_s = i64::from_le_bytes(take(&mut rest)?);
        let pending_s = i64::from_le_bytes(take(&mut rest)?);
        let pending = match take(&mut rest)? {
            [0] => None,
            [1] => Some((pending_s, Step::Aside)),
            [2] => Some((pending_s, Step::Placing)),
            [3] => Some((pending_s, Step::Placed)),
            _ => return None,
        };
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut folders = Folders::new();
        for _ in 0..count {
            let number = u32::from_le_bytes(take(&mut rest)?);
            let count = u32::from_le_bytes(take(&mut rest)?);
            let mut names = BTreeMap::new();
            for _ in 0..count {
                let number = u32::from_le_bytes(take(&mut rest)?);
                let [is_directory, length] = take(&mut rest)?;
                let (name, behind) = rest.split_at_checked(length.into())?;
                rest = behind;
                let target = Target {
                    number,
                    is_directory: is_directory == 1,
                };
                names.insert(name.to_vec(), target);
            }
            folders.insert(number, names);
        }
        Some(Self {
            date_s,
            pending,
            folders,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*head)
}

fn state_error(destination: &Destination, source: std::io::Error) -> Error {
    Error::State {
        path: destination.path().join(STATE),
        source,
    }
}

/// Date of what the chain so far left.
pub(in crate::dump::restore) fn last_restored(destination: &Destination) -> Result<Option<i64>> {
    Ok(read_state(destination)?.map(|left| left.date_s))
}

/// What the chain so far left; none where nothing was restored here.
pub(super) fn read_state(destination: &Destination) -> Result<Option<Left>> {
    use std::io::Read as _;
    let failed = |error| state_error(destination, error);
    let damaged = |path| Error::DamagedState {
        path,
        reason: "it is not what a restore of this program left",
    };
    if destination.is_store() {
        let Some(directory) = destination.memory() else {
            return Ok(None);
        };
        let bytes = match directory.read(Path::new(STATE_OF_STORE), STATE_MAX_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed)?,
        };
        let left = Left::decode(&bytes);
        return Ok(Some(
            left.ok_or_else(|| damaged(directory.path().join(STATE_OF_STORE)))?,
        ));
    }
    match destination.status(Path::new(STATE)) {
        Err(Errno::NOENT) => return Ok(None),
        // What a tape put there may be a device, which is better not even opened.
        Ok(status) if status.file_type() != FileType::RegularFile => {
            return Err(damaged(destination.path().join(STATE)));
        }
        status => drop(status.map_err(|errno| failed(errno.into()))?),
    }
    let file = destination.open_at(Path::new(STATE), OFlags::RDONLY | OFlags::NONBLOCK);
    let file = std::fs::File::from(file.map_err(|errno| failed(errno.into()))?);
    let mut bytes = Vec::new();
    file.take(STATE_MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let left = Left::decode(&bytes).ok_or_else(|| damaged(destination.path().join(STATE)))?;
    Ok(Some(left))
}

/// Remembers what a restore left, in one step.
pub(super) fn write_state(destination: &Destination, left: &Left) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if destination.is_store() {
            // Without a place for it no increment goes on top.
            let memory = destination.memory();
            return memory.map_or(Ok(()), |directory| {
                directory.replace(Path::new(STATE_OF_STORE), &left.encode())
            });
        }
        destination.remove(Path::new(STATE_NEW))?;
        let root = destination.root();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry(|| openat(root.as_fd(), STATE_NEW, flags, Mode::RUSR | Mode::WUSR))?;
        write_at(&file, &left.encode(), 0)?;
        rustix::fs::fsync(&file)?;
        renameat(root.as_fd(), STATE_NEW, root.as_fd(), STATE)?;
        Ok(())
    };
    write().map_err(|error| state_error(destination, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u32, is_directory: bool) -> Target {
        Target { number, is_directory }
    }

    #[test]
    fn what_was_left_is_read_back_or_refused() {
        let names = BTreeMap::from([(b"a".to_vec(), target(3, false)), (b"d".to_vec(), target(4, true))]);
        let left = Left {
            date_s: 1_700_000_000,
            pending: Some((1_700_000_001, Step::Placing)),
            folders: Folders::from([(2, names), (4, BTreeMap::new())]),
        };
        let bytes = left.encode();
        assert_eq!(Left::decode(&bytes), Some(left));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Left::decode(&damaged), None, "byte {at}");
            assert_eq!(Left::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_opened_as_the_state() {
        let room = tempfile::tempdir().unwrap();
        std::fs::create_dir(room.path().join(STATE)).unwrap();
        let destination = Destination::open(room.path()).unwrap();
        let refused = read_state(&destination).unwrap_err();
        assert!(matches!(refused, Error::DamagedState { .. }), "{refused:?}");
    }
}
