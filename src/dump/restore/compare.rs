//! A dump held against a directory: what differs is named, nothing is written.
//!
//! Compared are type, permissions, owner, size, times of modification to what the tape tells, targets, devices, links,
//! flags, extended attributes, access control lists, data and what is missing. Data is compared as it comes, so no copy
//! is made. In a mounted database only what it keeps of a tape is compared: what is there, and its data. Images are held
//! against what they were taken of.

mod held;
mod image;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, OFlags};

use self::held::{Held, Source};
use super::{Catalogue, Destination, Space, attributes_of, is_directory, target::FLAGS_KEPT};
use crate::dump::{
    attributes::Attribute,
    error::{Lost, Result, Trouble},
    reader::{Item, Reader},
    record::{Header, Time},
    tree::{self, Status, link_target},
};

/// Compares a dump with what is in a directory; returns the differences, and as losses what the tape itself has lost.
///
/// # Errors
/// [`crate::dump::Error::Tape`].
pub fn compare(reader: &mut Reader, destination: &Destination) -> Result<Vec<Trouble>> {
    let mut catalogue = Catalogue::read(reader)?;
    let mut found = Differences {
        destination,
        troubles: std::mem::take(&mut catalogue.troubles),
        pending: BTreeMap::new(),
    };
    let space = catalogue.reach(&mut found.troubles);
    for number in &space.order {
        let path = space.paths.get(number).cloned().unwrap_or_default();
        let label = &catalogue.label;
        if destination.is_folder_of_images(&path) {
            continue;
        }
        if let Some(dressing) = catalogue.dressings.get(number) {
            let header = Header {
                node: dressing.node,
                ..label.clone()
            };
            if found.facts(&path, &header).is_some() {
                found.attributes(*number, &path, dressing.attributes.clone());
            }
        }
    }
    let mut last: Option<Compared> = None;
    loop {
        let item = match catalogue.next.take() {
            Some(item) => item,
            None => reader.item()?,
        };
        match item {
            Item::Attributes(header, block) => {
                if let Some(last) = last.as_mut().filter(|last| last.number == header.number) {
                    let more = attributes_of(&block, header.number, &mut found.troubles);
                    last.attributes.extend(more);
                }
                continue;
            }
            Item::Object(header) if !is_directory(&header.node) => {
                found.finish(last.take());
                let paths = space.paths_of(header.number);
                let image = paths.first().and_then(|path| destination.counterpart(&header, path));
                if let Some((image, wanted)) = image {
                    found.image(reader, &paths[0], &wanted, image)?;
                } else if let Some(path) = found.names(&paths, &header) {
                    found.data(reader, &header, &path)?;
                    last = Some(Compared {
                        number: header.number,
                        path,
                        attributes: Vec::new(),
                    });
                }
            }
            Item::Trailing(header, block) => {
                found.finish(last.take());
                found.trailing(&header, &block, &space);
            }
            Item::End => break,
            _ => {}
        }
    }
    found.finish(last);
    found.tell_pending();
    found.troubles.extend(reader.take_troubles());
    Ok(found.troubles)
}

/// The object that was compared last, whose attributes may still come.
struct Compared {
    number: u32,
    path: PathBuf,
    attributes: Vec<Attribute>,
}

struct Differences<'a> {
    destination: &'a Destination,
    troubles: Vec<Trouble>,
    /// Objects by their numbers whose attributes differ, unless more of them stand behind the end of the dump.
    pending: BTreeMap<u32, (PathBuf, Vec<Attribute>)>,
}

impl Differences<'_> {
    /// Compares all names of an object but for its data; gives the first that is there.
    fn names(&mut self, paths: &[PathBuf], header: &Header) -> Option<PathBuf> {
        let mut first: Option<(&Path, Status)> = None;
        for path in paths {
            let Some(status) = self.facts(path, header) else {
                continue;
            };
            match &first {
                Some((other, facts)) if facts.identity != status.identity => {
                    let what = format!("is another object than {}, on the tape the same", other.display());
                    self.note(path, what);
                }
                Some(_) => {}
                None => first = Some((path, status)),
            }
        }
        let (path, status) = first?;
        let (tape, here) = (header.node.links, status.node.links);
        // Of a part of a tree some links lie elsewhere.
        let whole = usize::from(here) == paths.len() || here == tape || tape == 0;
        if !whole && !self.destination.is_store() {
            self.note(path, format!("has {here} links, on the tape {tape}"));
        }
        Some(path.to_path_buf())
    }

    /// Compares the attributes of the object that came last.
    fn finish(&mut self, last: Option<Compared>) {
        if let Some(last) = last {
            self.attributes(last.number, &last.path, last.attributes);
        }
    }

    /// Compares extended attributes and access control lists.
    fn attributes(&mut self, number: u32, path: &Path, mut on_tape: Vec<Attribute>) {
        on_tape.sort();
        let same = self.here(path).is_ok_and(|here| here == on_tape);
        if !same && !self.destination.is_store() {
            self.pending.insert(number, (path.to_path_buf(), on_tape));
        }
    }

    /// Takes an attribute that stands behind the end of the dump.
    fn trailing(&mut self, header: &Header, block: &[u8], space: &Space) {
        let more = attributes_of(block, header.number, &mut self.troubles);
        if let Some((_, on_tape)) = self.pending.get_mut(&header.number) {
            on_tape.extend(more);
            return;
        }
        let of_file = space.paths_of(header.number).into_iter().next();
        let Some(path) = of_file.or_else(|| space.paths.get(&header.number).cloned()) else {
            return;
        };
        // Without what comes here it was the same.
        if !self.destination.is_store() && self.destination.has(&path) {
            let on_tape = self.here(&path).unwrap_or_default().into_iter().chain(more).collect();
            self.pending.insert(header.number, (path, on_tape));
        }
    }

    /// Tells of attributes that differ now that all of them are known.
    fn tell_pending(&mut self) {
        for (path, on_tape) in std::mem::take(&mut self.pending).into_values() {
            self.tell_attributes(&path, &on_tape);
        }
    }

    /// Attributes of what is there.
    fn here(&self, path: &Path) -> std::io::Result<Vec<Attribute>> {
        tree::attributes(self.destination.open_at(path, OFlags::PATH)?)
    }

    fn tell_attributes(&mut self, path: &Path, on_tape: &[Attribute]) {
        let Ok(here) = self.here(path) else {
            return self.note(path, "has attributes that cannot be read".into());
        };
        let named = |attributes: &[Attribute]| -> BTreeMap<Vec<u8>, Vec<u8>> {
            let pairs = attributes.iter().cloned();
            pairs.map(|Attribute { name, value }| (name, value)).collect()
        };
        let (here, on_tape) = (named(&here), named(on_tape));
        for (name, value) in &on_tape {
            let name_text = String::from_utf8_lossy(name);
            match here.get(name) {
                None => self.note(path, format!("has no {name_text}, on the tape it has")),
                Some(other) if other != value => {
                    self.note(path, format!("has another {name_text} than on the tape"));
                }
                Some(_) => {}
            }
        }
        for name in here.keys().filter(|name| !on_tape.contains_key(*name)) {
            let name_text = String::from_utf8_lossy(name);
            self.note(path, format!("has {name_text}, on the tape it has none"));
        }
    }

    /// Compares the flags of files and directories, where the file system has any.
    fn flags(&mut self, path: &Path, tape: u32) {
        let opened = self.destination.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK);
        let flags = opened.and_then(rustix::fs::ioctl_getflags);
        let (here, tape) = (flags.map_or(0, |flags| flags.bits()) & FLAGS_KEPT, tape & FLAGS_KEPT);
        if here != tape {
            self.note(path, format!("has flags {here:#x}, on the tape {tape:#x}"));
        }
    }

    /// Compares everything but names, attributes and data; gives what is there.
    fn facts(&mut self, path: &Path, header: &Header) -> Option<Status> {
        let status = match self.destination.status(path) {
            Ok(status) => status,
            Err(errno) => {
                self.note(path, format!("is not there: {errno}"));
                return None;
            }
        };
        let (tape, here) = (&header.node, &status.node);
        let kind = FileType::from_raw_mode(tape.mode.into());
        if kind == FileType::RegularFile && tape.size_bytes != here.size_bytes {
            self.note(
                path,
                format!("has {} bytes, on the tape {}", here.size_bytes, tape.size_bytes),
            );
        }
        if self.destination.is_store() {
            if kind != status.file_type() {
                self.note(path, format!("has mode {:o}, on the tape {:o}", here.mode, tape.mode));
            }
            return Some(status);
        }
        self.dressing(path, header, &status);
        Some(status)
    }

    /// Compares permissions, owner, time, device and flags.
    fn dressing(&mut self, path: &Path, header: &Header, status: &Status) {
        let (tape, here) = (&header.node, &status.node);
        let kind = FileType::from_raw_mode(tape.mode.into());
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
        let exact = header.private.is_some();
        let differs = if exact {
            tape.modified != here.modified
        } else {
            tape.modified.seconds != here.modified.seconds
        };
        if differs {
            let same_second = tape.modified.seconds == here.modified.seconds;
            let told = |time: Time| match same_second {
                true => format!("{}.{:09}", time.seconds, time.nanoseconds),
                false => time.seconds.to_string(),
            };
            let (is, was) = (told(here.modified), told(tape.modified));
            self.note(path, format!("was modified at {is}, on the tape {was}"));
        }
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            self.device(path, header, status);
        }
        if kind == status.file_type() && matches!(kind, FileType::RegularFile | FileType::Directory) {
            self.flags(path, tape.flags);
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
                let opened = self.destination.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK);
                match opened {
                    Ok(file) => self.bytes(reader, path, Source::File(file), header.node.size_bytes)?,
                    Err(errno) => self.lose(path, format!("cannot be compared: {errno}")),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares the bytes of the object that comes next on the tape with what is there.
    fn bytes(&mut self, reader: &mut Reader, path: &Path, source: Source, size_bytes: u64) -> Result<()> {
        let mut held = Held::over(source);
        let ranges = reader.data(&mut |offset, piece| held.compare(offset, piece, size_bytes))?;
        held.compare_hole(size_bytes);
        if let Some(offset) = held.differs_at {
            let what = format!("has other data than the tape, at or behind byte {offset}");
            self.note(path, what);
        }
        if let Some(error) = held.error {
            self.lose(path, format!("cannot be compared: {error}"));
        }
        if !ranges.is_empty() {
            let path = path.to_path_buf();
            let lost = Lost { path, ranges };
            self.lose(&lost.path, lost.told());
        }
        Ok(())
    }

    fn lose(&mut self, path: &Path, what: String) {
        self.troubles.push(Trouble {
            path: PathBuf::from(path),
            what,
            loss: true,
        });
    }

    fn note(&mut self, path: &Path, what: String) {
        self.troubles.push(Trouble {
            path: PathBuf::from(path),
            what,
            loss: false,
        });
    }
}
