//! Restoring into the root of a mounted database: directories become series again, with their parameters and entries.
//!
//! There mkdir makes a series, attributes give it its parameters while it is empty, `raw` takes entries at its end and
//! `meta` is written whole; nothing else can be given. Anywhere else what was a series is two files in a directory.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, XattrFlags, fgetxattr, fsetxattr, fstat},
    io::{Errno, pread, retry_on_intr as retry, write},
};

use super::{Files, Reader, Result};
use crate::dump::{
    attributes::Attribute,
    record::{Header, Node},
    restore::{Catalogue, Destination, Space},
};

/// What attributes of series begin with.
const PREFIX: &[u8] = b"user.headstack.";
/// The mark of what was uploaded, which needs the entries.
const MARK: &[u8] = b"user.headstack.last_entry_synced";
/// What attributes of the metadata begin with, all of which is in `meta` too.
const METADATA: &[u8] = b"user.headstack.meta.";
/// Names of the two files of a series.
const ENTRIES: &str = "raw";
/// An attribute that the root of a mounted database has.
const OF_ROOT: &str = "user.headstack.entries_per_chunk";
/// Zeros for holes.
const ZEROS: [u8; 4096] = [0; 4096];

/// True where a directory is the root of a mounted database.
pub(in crate::dump::restore) fn is_store(directory: &OwnedFd) -> bool {
    fgetxattr(directory, OF_ROOT, &mut [0; 64]).is_ok()
}

impl Files<'_> {
    /// Gives new series their parameters, which have to be there before the entries.
    pub(super) fn give_parameters(&mut self, catalogue: &Catalogue, space: &Space) {
        for number in &space.order {
            let (Some(path), Some(dressing)) = (space.paths.get(number), catalogue.dressings.get(number)) else {
                continue;
            };
            let is_parameter = |attribute: &&Attribute| {
                let name = attribute.name.as_slice();
                name.starts_with(PREFIX) && !name.starts_with(METADATA) && name != MARK
            };
            let mut left: Vec<&Attribute> = dressing.attributes.iter().filter(is_parameter).collect();
            let Ok(directory) = self.destination.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) else {
                continue;
            };
            // One parameter may need another before it, such as a block its page.
            let mut refused = Vec::new();
            for _ in 0..left.len() {
                refused.clear();
                left.retain(|attribute| match set(&directory, attribute) {
                    Ok(()) => false,
                    Err(errno) => {
                        refused.push((String::from_utf8_lossy(&attribute.name).into_owned(), errno));
                        true
                    }
                });
            }
            for (name, errno) in refused {
                // A series that has entries keeps its parameters.
                self.lose(path, format!("does not get its {name}: {errno}"));
            }
        }
    }

    /// Dresses a directory or file of a mounted database: only the mark can be given.
    pub(super) fn dress_series(&mut self, path: &Path, node: &Node, attributes: &[Attribute]) {
        let mark = attributes.iter().find(|attribute| attribute.name == MARK);
        let Some(mark) = mark.filter(|mark| mark.value != b"0" && node.mode & 0o170_000 == 0o40_000) else {
            return;
        };
        let directory = self.destination.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY);
        if let Err(errno) = directory.and_then(|directory| set(&directory, mark)) {
            self.lose(path, format!("does not get its mark: {errno}"));
        }
    }

    /// Writes a file of a series.
    pub(super) fn make_series_file(
        &mut self,
        reader: &mut Reader,
        header: &Header,
        path: &Path,
    ) -> Result<Result<(), String>> {
        let kept = self.destination.keep_away(path, &mut self.kept);
        let mut filled = match kept.and_then(|()| Filled::open(self.destination, path)) {
            Ok(filled) => filled,
            Err(errno) => return Ok(Err(format!("cannot be written in a mounted database: {errno}"))),
        };
        let mut error = None;
        let ranges = reader.data(&mut |offset, piece| {
            if error.is_none() {
                error = filled.zeros_to(offset).and_then(|()| filled.put(piece)).err();
            }
        })?;
        let error = error.or_else(|| filled.zeros_to(header.node.size_bytes).err());
        if let Some(error) = error {
            return Ok(Err(format!("cannot be written: {error}")));
        }
        if !ranges.is_empty() {
            self.lose_data(path, ranges);
        }
        Ok(Ok(()))
    }
}

/// Sets an attribute; one that is there already is left alone, as a series with entries lets none be set.
fn set(directory: &OwnedFd, attribute: &Attribute) -> Result<(), Errno> {
    let mut there = vec![0; attribute.value.len() + 1];
    let length = fgetxattr(directory, attribute.name.as_slice(), &mut there);
    if length.is_ok_and(|length| there[..length] == attribute.value) {
        return Ok(());
    }
    fsetxattr(
        directory,
        attribute.name.as_slice(),
        &attribute.value,
        XattrFlags::empty(),
    )
}

/// A file of a series that is written from the front to the back, behind what it has.
struct Filled {
    path: PathBuf,
    file: OwnedFd,
    /// For the comparison of what is there.
    there: Option<OwnedFd>,
    /// Bytes that are there.
    has: u64,
    /// Bytes that are there or were written.
    at: u64,
}

impl Filled {
    fn open(destination: &Destination, path: &Path) -> Result<Self, Errno> {
        let entries = path.file_name().is_some_and(|name| name == ENTRIES);
        let how = if entries { OFlags::APPEND } else { OFlags::TRUNC };
        let file = destination.open_at(path, OFlags::WRONLY | how)?;
        let there = match entries {
            true => Some(destination.open_at(path, OFlags::RDONLY)?),
            false => None,
        };
        let has = match &there {
            Some(there) => u64::try_from(fstat(there)?.st_size).unwrap_or(0),
            None => 0,
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
            there,
            has,
            at: 0,
        })
    }

    /// Takes the next bytes: those that are there already have to be the same.
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(there) = self.there.as_ref().filter(|_| self.at < self.has) {
            let length = usize::try_from(self.has - self.at)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let mut found = vec![0; length];
            let mut read = 0;
            while read < length {
                match retry(|| pread(there, &mut found[read..], self.at + read as u64))? {
                    0 => break,
                    more => read += more,
                }
            }
            if found != bytes[..length] {
                let message = format!("{} holds other entries already", self.path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            self.at += length as u64;
            bytes = &bytes[length..];
        }
        while !bytes.is_empty() {
            let written = retry(|| write(&self.file, bytes))?;
            self.at += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Takes zeros up to an offset.
    fn zeros_to(&mut self, offset_bytes: u64) -> io::Result<()> {
        while self.at < offset_bytes {
            let length = usize::try_from(offset_bytes - self.at).unwrap_or(usize::MAX);
            self.put(&ZEROS[..length.min(ZEROS.len())])?;
        }
        Ok(())
    }
}
