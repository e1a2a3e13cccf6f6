//! Everything that is no directory, as it comes from the tape; and what directories get at the end.
//!
//! An object is made under its first name and linked to the others. It is dressed when the next one comes, as its
//! attributes stand behind it on the tape.

pub(super) mod series;

use std::{
    collections::BTreeSet,
    ops::Range,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{fs::FileType, io::Errno};

use super::{Catalogue, Restored, Space, attributes_of, is_directory, target::write_at};
use crate::dump::{
    attributes::Attribute,
    error::{Lost, Result, Trouble},
    reader::{Item, Reader},
    record::{Header, Node},
    restore::Destination,
};

/// Longest target of a symlink, in bytes: the host's limit.
const SYMLINK_MAX_BYTES: usize = 4095;

/// The object that was made last.
struct Last {
    number: u32,
    path: PathBuf,
    node: Node,
    attributes: Vec<Attribute>,
}

/// A restore of files.
pub(in crate::dump) struct Files<'a> {
    destination: &'a Destination,
    restored: Restored,
    last: Option<Last>,
    /// Numbers that were seen on the tape.
    seen: BTreeSet<u32>,
    /// What the host refused to everything, told once.
    refused: BTreeSet<String>,
    /// True where attributes go that are not on the tape.
    exact: bool,
    unnamed: Unnamed,
}

/// What becomes of objects on the tape that have no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dump) enum Unnamed {
    /// They are among those that nobody asked for.
    Pass,
    /// They are told of.
    Tell,
    /// They are restored under their numbers.
    Adopt,
}

/// Directory of what has lost its name.
pub(in crate::dump) const FOUND: &str = "lost+found";

impl<'a> Files<'a> {
    pub(in crate::dump) fn new(destination: &'a Destination, troubles: Vec<Trouble>) -> Self {
        Self {
            destination,
            restored: Restored {
                troubles,
                ..Restored::default()
            },
            last: None,
            seen: BTreeSet::new(),
            refused: BTreeSet::new(),
            exact: false,
            unnamed: Unnamed::Tell,
        }
    }

    /// Says what becomes of objects without names.
    pub(in crate::dump) fn with(self, unnamed: Unnamed) -> Self {
        Self { unnamed, ..self }
    }

    /// Lets directories lose attributes that they do not have on the tape.
    pub(super) fn exactly(self) -> Self {
        Self { exact: true, ..self }
    }

    pub(in crate::dump) fn finish(self) -> Restored {
        self.restored
    }

    pub(in crate::dump) fn make_directory(&mut self, path: &Path) {
        match self.destination.make_directory(path) {
            Ok(()) => self.restored.objects += 1,
            Err(errno) => self.lose(path, format!("the directory cannot be made: {errno}")),
        }
    }

    /// Restores all files that have a name in `space`.
    pub(in crate::dump) fn restore(
        &mut self,
        reader: &mut Reader,
        catalogue: &mut Catalogue,
        space: &Space,
    ) -> Result<()> {
        if self.destination.is_store() {
            self.give_parameters(catalogue, space);
        }
        loop {
            let item = match catalogue.next.take() {
                Some(item) => item,
                None => reader.item()?,
            };
            self.restored.troubles.extend(reader.take_troubles());
            match item {
                Item::End => break,
                Item::Used(_) | Item::Here(_) => {}
                Item::Attributes(header, block) => {
                    let attributes = attributes_of(&block, header.number, &mut self.restored.troubles);
                    if let Some(last) = self.last.as_mut().filter(|last| last.number == header.number) {
                        last.attributes.extend(attributes);
                    }
                }
                Item::Object(header) => {
                    self.dress_last();
                    // A directory among the files is one in another object's place; what comes twice was spliced in.
                    if self.seen.insert(header.number) && !is_directory(&header.node) {
                        self.object(reader, &header, space)?;
                    }
                }
            }
        }
        self.dress_last();
        self.restored.troubles.extend(reader.take_troubles());
        self.tell_missing(catalogue, space);
        Ok(())
    }

    /// Tells of objects that the tape promised and does not hold.
    fn tell_missing(&mut self, catalogue: &Catalogue, space: &Space) {
        for number in catalogue.here.iter() {
            let known = self.seen.contains(&number) || catalogue.folders.contains_key(&number);
            if known {
                continue;
            }
            let mut paths = space.paths_of(number);
            paths.extend(
                space
                    .paths
                    .get(&number)
                    .filter(|_| space.order.contains(&number))
                    .cloned(),
            );
            if paths.is_empty() && self.unnamed != Unnamed::Pass {
                paths.push(space.path_of_number(number));
            }
            for path in paths {
                self.lose_data(&path, Vec::new());
            }
        }
    }

    fn object(&mut self, reader: &mut Reader, header: &Header, space: &Space) -> Result<()> {
        let mut paths = space.paths_of(header.number);
        if paths.is_empty() && !space.paths.contains_key(&header.number) {
            match self.unnamed {
                Unnamed::Pass => {}
                Unnamed::Tell => self.lose(
                    &space.path_of_number(header.number),
                    "is on the tape, but its name is lost; 'headstack tape salvage' restores it".into(),
                ),
                Unnamed::Adopt => {
                    self.make_directory(Path::new(FOUND));
                    paths.push(found_path(header.number));
                }
            }
        }
        let Some((path, others)) = paths.split_first() else {
            return Ok(());
        };
        if let Err(what) = self.make(reader, header, path)? {
            self.lose(path, what);
            return Ok(());
        }
        self.restored.objects += 1;
        for other in others {
            if let Err(errno) = self.destination.link(path, other) {
                self.lose(other, format!("cannot be linked to {}: {errno}", path.display()));
            }
        }
        self.last = Some(Last {
            number: header.number,
            path: path.clone(),
            node: header.node,
            attributes: Vec::new(),
        });
        Ok(())
    }

    /// Makes an object with its data; what went wrong is the inner result.
    fn make(&mut self, reader: &mut Reader, header: &Header, path: &Path) -> Result<Result<(), String>> {
        let node = &header.node;
        let failed = |errno: Errno| format!("cannot be made: {errno}");
        let kind = FileType::from_raw_mode(node.mode.into());
        let made = match kind {
            FileType::RegularFile => return self.make_file(reader, header, path),
            FileType::Symlink => {
                let (target, whole) = reader.small_data(SYMLINK_MAX_BYTES)?;
                if !whole || target.is_empty() || target.contains(&0) {
                    return Ok(Err("is a symlink whose target is damaged".into()));
                }
                self.destination.make_symlink(path, &target)
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                let device = header.private.as_ref().map(|private| private.device);
                let device = device.unwrap_or_else(|| node.device.into());
                self.destination.make_special(path, kind, device)
            }
            _ => return Ok(Err(format!("is of no known type: mode {:o}", node.mode))),
        };
        Ok(made.map_err(failed))
    }

    fn make_file(&mut self, reader: &mut Reader, header: &Header, path: &Path) -> Result<Result<(), String>> {
        if self.destination.is_store() {
            return self.make_series_file(reader, header, path);
        }
        let file = match self.destination.make_file(path) {
            Ok(file) => file,
            Err(errno) => return Ok(Err(format!("cannot be made: {errno}"))),
        };
        let mut error = None;
        let ranges = reader.data(&mut |offset, piece| {
            if error.is_none() {
                error = write_at(&file, piece, offset).err();
            }
        })?;
        let sized = rustix::fs::ftruncate(&file, header.node.size_bytes);
        if let Some(error) = error {
            return Ok(Err(format!("cannot be written: {error}")));
        }
        if let Err(errno) = sized {
            return Ok(Err(format!(
                "cannot be made {} bytes long: {errno}",
                header.node.size_bytes
            )));
        }
        if !ranges.is_empty() {
            self.lose_data(path, ranges);
        }
        drop::<OwnedFd>(file);
        Ok(Ok(()))
    }

    /// Gives the object that was made last what belongs to it.
    fn dress_last(&mut self) {
        if let Some(last) = self.last.take() {
            self.dress(&last.path, &last.node, &last.attributes);
        }
    }

    /// Gives all directories what belongs to them, the deepest first.
    pub(in crate::dump) fn dress_directories(
        &mut self,
        catalogue: &Catalogue,
        space: &Space,
        chosen: impl Fn(&Path) -> bool,
    ) {
        for number in space.order.iter().rev() {
            let (Some(path), Some(dressing)) = (space.paths.get(number), catalogue.dressings.get(number)) else {
                continue;
            };
            if chosen(path) {
                self.dress(path, &dressing.node, &dressing.attributes);
            }
        }
    }

    fn dress(&mut self, path: &Path, node: &Node, attributes: &[Attribute]) {
        if self.destination.is_store() {
            return self.dress_series(path, node, attributes);
        }
        match self.destination.dress(path, node, attributes, self.exact) {
            Ok(refused) => {
                for what in refused {
                    // A user who is not root may give nothing away: that is told once, not of every file.
                    if !what.starts_with("owner: ") || self.refused.insert(what.clone()) {
                        self.lose(path, format!("does not get its {what}"));
                    }
                }
            }
            Err(errno) => self.lose(path, format!("does not get its owner, permissions and times: {errno}")),
        }
    }

    /// Tells of data that is lost; all of the object where no ranges are given.
    fn lose_data(&mut self, path: &Path, ranges: Vec<Range<u64>>) {
        let lost = Lost {
            path: path.to_path_buf(),
            ranges,
        };
        self.lose(path, lost.told());
        self.restored.lost.push(lost);
    }

    pub(super) fn lose(&mut self, path: &Path, what: String) {
        self.restored.troubles.push(Trouble {
            path: path.to_path_buf(),
            what,
            loss: true,
        });
    }
}

/// Where an object goes that has lost its name.
pub(in crate::dump) fn found_path(number: u32) -> PathBuf {
    Path::new(FOUND).join(format!("#{number}"))
}
