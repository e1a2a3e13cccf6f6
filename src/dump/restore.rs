//! Restore: a dump's tree, or parts of it, into a directory; a chain of dumps, one after the other; comparison.
//!
//! First the catalogue is read: maps and directories, which come first on a tape. Then directories are made, then every
//! file as it comes, and at the end directories get their owners, permissions and times, the deepest first. Files that
//! are there are overwritten, directories are not. `chain.rs` turns the tree of one dump into that of the next.

mod chain;
mod choice;
mod compare;
mod files;
mod names;
mod room;
mod target;

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use super::{
    ROOT,
    attributes::{self, Attribute},
    catalog::{Places, key_of},
    directory,
    error::{Lost, Result, Trouble},
    inode_map::InodeMap,
    reader::{Item, Reader},
    record::{Dialect, Header, Node},
};
pub use choice::Choice;
pub use compare::compare;
pub(super) use files::{FOUND, Files, Unnamed};
pub use names::PATH_MAX_BYTES;
pub use names::{Folders, Space, Target};
pub use room::check_room;
pub use target::{Destination, Terms};

/// Longest directory that is read, in bytes: ten million names.
const DIRECTORY_MAX_BYTES: usize = 1 << 30;

/// A directory as a tape has it.
#[derive(Debug)]
pub(super) struct Dressing {
    pub(super) node: Node,
    pub(super) attributes: Vec<Attribute>,
}

/// What stands before the files on a tape.
#[derive(Debug)]
pub struct Catalogue {
    /// What the volume says of the dump.
    pub label: Header,
    /// Numbers that were in use.
    pub used: InodeMap,
    /// Numbers on the tape.
    pub here: InodeMap,
    /// Names in the directories on the tape.
    pub folders: Folders,
    pub(super) dressings: BTreeMap<u32, Dressing>,
    /// Directories of which names are lost.
    torn: Vec<u32>,
    /// The first item that is no directory.
    next: Option<Item>,
    /// What was lost so far.
    pub troubles: Vec<Trouble>,
}

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Objects that were made.
    pub objects: u64,
    /// What befell single objects.
    pub troubles: Vec<Trouble>,
    /// Objects that are not as they were dumped; each is told among the troubles too.
    pub lost: Vec<Lost>,
}

impl Catalogue {
    /// Reads everything that stands before the files.
    ///
    /// # Errors
    /// [`super::Error::Tape`]. Damage is in [`Catalogue::troubles`].
    pub fn read(reader: &mut Reader) -> Result<Self> {
        log::info!("stage 1: reading the names on the tape");
        let mut catalogue = Self {
            label: reader.label().clone(),
            used: InodeMap::default(),
            here: InodeMap::default(),
            folders: Folders::new(),
            dressings: BTreeMap::new(),
            torn: Vec::new(),
            next: None,
            troubles: Vec::new(),
        };
        let (mut last, mut mapped) = (None, false);
        loop {
            match reader.item()? {
                Item::Used(map) => catalogue.used = map,
                Item::Here(map) => (catalogue.here, mapped) = (map, true),
                Item::Object(header) if is_directory(&header.node) => {
                    last = Some(header.number);
                    catalogue.add(reader, &header)?;
                }
                // What belongs to an object that is lost says nothing.
                Item::Attributes(header, _) if last != Some(header.number) => {}
                Item::Attributes(header, block) => {
                    let attributes = attributes_of(&block, header.number, &mut catalogue.troubles);
                    if let Some(dressing) = catalogue.dressings.get_mut(&header.number) {
                        // Linux writes what stood in the inode and what stood outside as two.
                        dressing.attributes.extend(attributes);
                    }
                }
                next => {
                    catalogue.next = Some(next);
                    break;
                }
            }
        }
        catalogue.troubles.extend(reader.take_troubles());
        if !mapped {
            catalogue.troubles.push(Trouble {
                path: reader.path(),
                what: "the map of what is on the tape is missing: nothing tells whether all of it came".into(),
                loss: true,
            });
        }
        Ok(catalogue)
    }

    fn add(&mut self, reader: &mut Reader, header: &Header) -> Result<()> {
        let mut bytes = Vec::new();
        // What is lost leaves no hole: a tape may claim any length, and chunks of names stand alone.
        let lost = reader.data(&mut |_, piece| {
            if bytes.len() < DIRECTORY_MAX_BYTES {
                bytes.extend_from_slice(piece);
            }
        })?;
        let whole = lost.is_empty() && bytes.len() as u64 == header.node.size_bytes;
        let read = directory::decode(&bytes, header.big_endian, form_of(header.dialect));
        if !whole || read.damaged_chunks > 0 {
            self.torn.push(header.number);
        }
        let names = read.entries.into_iter().map(|entry| {
            let target = Target {
                number: entry.number,
                is_directory: entry.kind == 4,
            };
            (entry.name, target)
        });
        self.folders.insert(header.number, names.collect());
        let dressing = Dressing {
            node: header.node,
            attributes: Vec::new(),
        };
        self.dressings.insert(header.number, dressing);
        Ok(())
    }

    /// The names of this tape alone, from the root; what is wrong with them is told.
    pub(super) fn reach(&mut self, troubles: &mut Vec<Trouble>) -> Space {
        self.settle_types();
        let space = Space::reach(&self.folders, troubles);
        self.tell_torn(&space, troubles);
        space
    }

    /// Tells of directories of which names are lost.
    fn tell_torn(&self, space: &Space, troubles: &mut Vec<Trouble>) {
        troubles.extend(self.torn.iter().map(|number| Trouble {
            path: space.path_of_number(*number),
            what: "is a directory of which names are lost".into(),
            loss: true,
        }));
    }

    /// Old formats do not tell types in directories: whatever is a directory on this tape is one.
    pub(super) fn settle_types(&mut self) {
        if form_of(self.label.dialect) == directory::Form::Typed {
            return;
        }
        let directories: HashSet<u32> = self.folders.keys().copied().collect();
        for target in self.folders.values_mut().flat_map(BTreeMap::values_mut) {
            target.is_directory = directories.contains(&target.number);
        }
    }

    /// The next object that is no directory; its data may be read.
    pub(super) fn next_object(&mut self, reader: &mut Reader) -> Result<Option<Box<Header>>> {
        loop {
            let item = match self.next.take() {
                Some(item) => item,
                None => reader.item()?,
            };
            match item {
                Item::End => return Ok(None),
                Item::Object(header) => return Ok(Some(header)),
                Item::Used(_) | Item::Here(_) | Item::Attributes(..) | Item::Trailing(..) => {}
            }
        }
    }

    /// Reads all that is left of the dump; gives how many objects it has in all.
    ///
    /// # Errors
    /// As [`Reader::item`]. Damage is in [`Catalogue::troubles`].
    pub fn read_rest(&mut self, reader: &mut Reader) -> Result<u64> {
        let mut objects = self.folders.len() as u64;
        while self.next_object(reader)?.is_some() {
            objects += 1;
        }
        self.troubles.extend(reader.take_troubles());
        Ok(objects)
    }

    /// All names of the tape by their paths, with the numbers, in order.
    pub fn list(&mut self) -> Vec<(PathBuf, Target)> {
        let mut troubles = std::mem::take(&mut self.troubles);
        let space = self.reach(&mut troubles);
        self.troubles = troubles;
        let mut listed = vec![(PathBuf::new(), root_target())];
        for (folder, names) in &space.folders {
            for (name, target) in names {
                listed.push((space.path_of(&(*folder, name.clone())), *target));
            }
        }
        listed.sort();
        listed
    }
}

fn root_target() -> Target {
    Target {
        number: ROOT,
        is_directory: true,
    }
}

/// How directories are written where headers are of this dialect.
fn form_of(dialect: Dialect) -> directory::Form {
    match dialect {
        Dialect::Standard | Dialect::Ufs2 => directory::Form::Typed,
        Dialect::Bsd43 => directory::Form::Untyped,
        Dialect::Old => directory::Form::Short,
    }
}

pub(super) fn is_directory(node: &Node) -> bool {
    node.mode & 0o170_000 == 0o40_000
}

/// Reads a block of attributes; what makes no sense is told.
pub(super) fn attributes_of(block: &[u8], number: u32, troubles: &mut Vec<Trouble>) -> Vec<Attribute> {
    attributes::decode(block).unwrap_or_else(|flaw| {
        troubles.push(Trouble {
            path: PathBuf::from(format!("number {number}")),
            what: flaw.to_string(),
            loss: true,
        });
        Vec::new()
    })
}

/// Restores the whole dump on top of what the chain so far left in the directory.
///
/// # Errors
/// [`super::Error::WrongTape`] where the dump is not the next of the chain; [`super::Error::State`] where what is
/// remembered of it in the directory cannot be read or written; [`super::Error::Tape`].
pub fn restore_chain(reader: &mut Reader, destination: &Destination) -> Result<Restored> {
    chain::restore(reader, destination)
}

/// Date of the dump that a chain was last restored to in a directory; none where none was.
///
/// # Errors
/// As [`restore_chain`].
pub fn last_restored(destination: &Destination) -> Result<Option<i64>> {
    chain::last_restored(destination)
}

/// Paths of what a chain left in a directory, and what would be removed with the next dump of it, whose catalogue this is.
///
/// # Errors
/// [`super::Error::State`] where what is remembered of the chain cannot be read.
pub fn vanishing(catalogue: &mut Catalogue, destination: &Destination) -> Result<Vec<PathBuf>> {
    chain::vanishing(catalogue, destination)
}

/// Restores what is chosen.
///
/// # Errors
/// [`super::Error::Tape`]. Names that are not on the tape are among the troubles.
pub fn extract(reader: &mut Reader, destination: &Destination, choice: &Choice) -> Result<Restored> {
    let mut catalogue = Catalogue::read(reader)?;
    let mut troubles = std::mem::take(&mut catalogue.troubles);
    let mut space = catalogue.reach(&mut troubles);
    choice.narrow(&mut space, &mut troubles);
    let unnamed = if choice.is_all() { Unnamed::Tell } else { Unnamed::Pass };
    room::check(destination, reader, space.objects(), choice.is_all())?;
    let mut files = Files::new(destination, troubles).with(unnamed);
    files.make_directories(&space);
    files.restore(reader, &mut catalogue, &space)?;
    // A directory that is only on the way is not dressed.
    files.dress_directories(&catalogue, &space, |path| choice.takes(path));
    Ok(files.finish())
}

/// Restores what is chosen from where it lies, without reading what is between them: the names come from
/// `contents`, which is a table of contents of the same dump.
///
/// # Errors
/// [`super::Error::WrongTape`] where the two are not of one dump; [`super::Error::Tape`].
pub fn extract_placed(
    contents: &mut Reader,
    reader: &mut Reader,
    places: &Places,
    destination: &Destination,
    choice: &Choice,
) -> Result<Restored> {
    if key_of(contents.label()) != key_of(reader.label()) {
        return Err(super::Error::WrongTape {
            path: reader.path(),
            reason: format!("{} tells of another dump", contents.path().display()),
        });
    }
    let mut catalogue = Catalogue::read(contents)?;
    let mut troubles = std::mem::take(&mut catalogue.troubles);
    let mut space = catalogue.reach(&mut troubles);
    choice.narrow(&mut space, &mut troubles);
    room::check(destination, reader, space.objects(), false)?;
    let mut files = Files::new(destination, troubles).with(Unnamed::Pass);
    files.make_directories(&space);
    files.restore_placed(reader, places, &mut catalogue, &space)?;
    files.dress_directories(&catalogue, &space, |path| choice.takes(path));
    Ok(files.finish())
}
