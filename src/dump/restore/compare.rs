//! A dump held against a directory: what differs is named, nothing is written.
//!
//! Compared are type, permissions, owner, size, times of modification to what the tape tells, targets, devices, data and
//! what is missing. Data is compared as it comes, so no copy is made.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, OFlags, SeekFrom, seek},
    io::{Errno, pread, retry_on_intr as retry},
};

use super::{Catalogue, Destination, is_directory};
use crate::dump::{
    error::{Lost, Result, Trouble},
    reader::{Item, Reader},
    record::Header,
    tree::{Status, link_target},
};

/// Compares a dump with what is in a directory; returns the differences.
///
/// # Errors
/// [`crate::dump::Error::Tape`].
pub fn compare(reader: &mut Reader, destination: &Destination) -> Result<Vec<Trouble>> {
    let mut catalogue = Catalogue::read(reader)?;
    let mut found = Differences {
        destination,
        troubles: std::mem::take(&mut catalogue.troubles),
    };
    let space = catalogue.reach(&mut found.troubles);
    for number in &space.order {
        let path = space.paths.get(number).cloned().unwrap_or_default();
        let label = &catalogue.label;
        if let Some(dressing) = catalogue.dressings.get(number) {
            let header = Header {
                node: dressing.node,
                ..label.clone()
            };
            found.facts(&path, &header);
        }
    }
    loop {
        let item = match catalogue.next.take() {
            Some(item) => item,
            None => reader.item()?,
        };
        match item {
            Item::End => break,
            Item::Object(header) if !is_directory(&header.node) => {
                let paths = space.paths_of(header.number);
                for path in &paths {
                    found.facts(path, &header);
                }
                if let Some(path) = paths.first() {
                    found.data(reader, &header, path)?;
                }
            }
            _ => {}
        }
    }
    found.troubles.extend(reader.take_troubles());
    Ok(found.troubles)
}

/// Bytes that are compared at once where the tape has a hole.
const PIECE_BYTES: usize = 1 << 20;

struct Differences<'a> {
    destination: &'a Destination,
    troubles: Vec<Trouble>,
}

impl Differences<'_> {
    /// Compares everything but data.
    fn facts(&mut self, path: &Path, header: &Header) {
        let status = match self.destination.status(path) {
            Ok(status) => status,
            Err(errno) => return self.note(path, format!("is not there: {errno}")),
        };
        let (tape, here) = (&header.node, &status.node);
        if tape.mode != here.mode {
            self.note(path, format!("has mode {:o}, on the tape {:o}", here.mode, tape.mode));
        }
        if (tape.uid, tape.gid) != (here.uid, here.gid) {
            let (is, was) = ((here.uid, here.gid), (tape.uid, tape.gid));
            self.note(
                path,
                format!("has owner {}:{}, on the tape {}:{}", is.0, is.1, was.0, was.1),
            );
        }
        let kind = FileType::from_raw_mode(tape.mode.into());
        if kind == FileType::RegularFile && tape.size_bytes != here.size_bytes {
            self.note(
                path,
                format!("has {} bytes, on the tape {}", here.size_bytes, tape.size_bytes),
            );
        }
        let exact = header.private.is_some();
        let differs = if exact {
            tape.modified != here.modified
        } else {
            tape.modified.seconds != here.modified.seconds
        };
        if differs {
            let (is, was) = (here.modified.seconds, tape.modified.seconds);
            self.note(path, format!("was modified at {is}, on the tape {was}"));
        }
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            self.device(path, header, &status);
        }
    }

    fn device(&mut self, path: &Path, header: &Header, status: &Status) {
        let same = match &header.private {
            Some(private) => private.device == status.device,
            None => header.node.device == status.node.device,
        };
        if !same {
            self.note(path, "is another device than on the tape".into());
        }
    }

    /// Compares the data of files and the targets of symlinks.
    fn data(&mut self, reader: &mut Reader, header: &Header, path: &Path) -> Result<()> {
        match FileType::from_raw_mode(header.node.mode.into()) {
            FileType::Symlink => {
                let (target, whole) = reader.small_data(4095)?;
                if !whole {
                    self.note(path, "is damaged on the tape".into());
                }
                let opened = self.destination.open_at(path, OFlags::PATH);
                let here = opened.and_then(link_target);
                if here.is_ok_and(|here| here != target) {
                    self.note(path, "says something else than on the tape".into());
                }
            }
            FileType::RegularFile => {
                let Ok(file) = self.destination.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK) else {
                    return Ok(());
                };
                let mut held = Held::over(file);
                let ranges = reader.data(&mut |offset, piece| held.compare(offset, piece))?;
                held.compare_hole(header.node.size_bytes);
                if let Some(offset) = held.differs_at {
                    self.note(
                        path,
                        format!("has other data than the tape, at or behind byte {offset}"),
                    );
                }
                if !ranges.is_empty() {
                    let path = path.to_path_buf();
                    let what = Lost {
                        path: path.clone(),
                        ranges,
                    }
                    .told();
                    self.note(&path, what);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, what: String) {
        self.troubles.push(Trouble {
            path: PathBuf::from(path),
            what,
            loss: true,
        });
    }
}

/// A file that is compared from its beginning.
struct Held {
    file: OwnedFd,
    buffer: Vec<u8>,
    /// How far it was compared.
    done: u64,
    differs_at: Option<u64>,
}

impl Held {
    fn over(file: OwnedFd) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            done: 0,
            differs_at: None,
        }
    }

    /// Compares a stretch of data, and the hole before it.
    fn compare(&mut self, offset: u64, piece: &[u8]) {
        self.compare_hole(offset);
        if self.differs_at.is_none() && !(self.read(offset, piece.len()) && self.buffer == piece) {
            self.differs_at = Some(offset);
        }
        self.done = offset + piece.len() as u64;
    }

    /// Compares a hole up to an offset.
    fn compare_hole(&mut self, to: u64) {
        while self.differs_at.is_none() && self.done < to {
            // What the host knows to be a hole needs no reading.
            match seek(&self.file, SeekFrom::Data(self.done)) {
                Ok(data) if data > self.done => {
                    self.done = data.min(to);
                    continue;
                }
                Err(Errno::NXIO) => return,
                _ => {}
            }
            let length = usize::try_from(to - self.done).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            if !self.read(self.done, length) || self.buffer.iter().any(|byte| *byte != 0) {
                self.differs_at = Some(self.done);
            }
            self.done += length as u64;
        }
    }

    /// Fills the buffer from the file; false where it is too short or cannot be read.
    fn read(&mut self, offset: u64, length: usize) -> bool {
        self.buffer.resize(length, 0);
        let mut done = 0;
        while done < length {
            match retry(|| pread(&self.file, &mut self.buffer[done..], offset + done as u64)) {
                Ok(0) | Err(_) => return false,
                Ok(more) => done += more,
            }
        }
        true
    }
}
