//! Everything that is no directory, as it comes from the tape; and what directories get at the end.
//!
//! An object is made under its first name and linked to the others. It is dressed when the next one comes, as its
//! attributes stand behind it on the tape.

mod crew;
mod dressing;
mod fitting;
mod image;
mod placed;
pub(super) mod series;

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use rustix::{fs::FileType, io::Errno};

use self::crew::{Crew, Failure};
use super::{
    Catalogue, Restored, Space, attributes_of, is_directory,
    target::{Kept, Made, write_at},
};
use crate::dump::{
    attributes::Attribute,
    error::{Lost, Result, Trouble},
    reader::{Item, Reader},
    record::{Header, Kind, Node},
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
    /// The file, still open; none for what is no regular file.
    file: Option<Made>,
    /// Data of a file that is still to be made.
    bytes: Option<Vec<u8>>,
}

/// A restore of files.
pub(in crate::dump) struct Files<'a> {
    destination: &'a Destination,
    restored: Restored,
    last: Option<Last>,
    /// The file that is being made.
    made: Option<Made>,
    /// Data of a small file that a thread is to make.
    held: Option<Vec<u8>>,
    /// True while there are threads that make files.
    gathering: bool,
    /// Numbers that were seen on the tape.
    seen: BTreeSet<u32>,
    /// What the host refused to everything, told once.
    refused: BTreeSet<String>,
    /// True where attributes go that are not on the tape.
    exact: bool,
    unnamed: Unnamed,
    /// The series that others are kept away from.
    kept: Option<Kept>,
    /// True once there is no room for more.
    full: bool,
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

/// What is told of a file in whose place stands a part of an array.
pub(super) const PART: &str =
    "is part of an array here, and is left as it is: 'headstack array delete' first, or another directory";

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
            made: None,
            held: None,
            gathering: false,
            seen: BTreeSet::new(),
            refused: BTreeSet::new(),
            exact: false,
            unnamed: Unnamed::Tell,
            kept: None,
            full: false,
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

    /// Makes all directories of `space`, and those that lead to new names.
    pub(in crate::dump) fn make_directories(&mut self, space: &Space) {
        log::info!("stage 2: making directories");
        let new: Vec<PathBuf> = self.destination.new_names().map(Path::to_path_buf).collect();
        for path in new {
            let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
            above.reverse();
            for path in above {
                if let Err(errno) = self.destination.make_directory(path) {
                    self.lose(path, format!("the directory cannot be made: {errno}"));
                }
            }
        }
        for number in &space.order {
            self.make_directory(space.paths.get(number).map_or(Path::new(""), |path| path));
        }
    }

    pub(in crate::dump) fn make_directory(&mut self, path: &Path) {
        match self.destination.make_directory(path) {
            Ok(()) => self.restored.objects += 1,
            Err(errno) => {
                self.full |= is_full(errno);
                self.lose(path, format!("the directory cannot be made: {errno}"));
            }
        }
    }

    /// Restores all files that have a name in `space`.
    pub(in crate::dump) fn restore(
        &mut self,
        reader: &mut Reader,
        catalogue: &mut Catalogue,
        space: &Space,
    ) -> Result<()> {
        log::info!("stage 3: restoring files as they come, stage 4: until there are no more");
        if self.destination.is_store() {
            self.give_parameters(catalogue, space);
        }
        let full = AtomicBool::new(false);
        let (destination, exact) = (self.destination, self.exact);
        std::thread::scope(|scope| {
            let mut crew = Crew::hire(scope, destination, exact, &full);
            self.gathering = crew.is_some();
            let read = self.read_all(reader, catalogue, space, &mut crew);
            self.gathering = false;
            for (path, failure) in crew.into_iter().flat_map(Crew::dismiss) {
                match failure {
                    Failure::NotMade(what) => {
                        self.restored.objects -= 1;
                        self.lose(&path, what);
                    }
                    Failure::NotDressed(refused) => self.refuse(&path, refused),
                }
            }
            read
        })?;
        self.full |= full.into_inner();
        if !self.full {
            self.take_trailing(reader, catalogue, space)?;
        }
        self.restored.troubles.extend(reader.take_troubles());
        if self.full {
            self.tell_left(catalogue, space);
        } else {
            self.tell_missing(catalogue, space);
        }
        Ok(())
    }

    /// Takes objects as they come from the tape, until there are no more or no room is.
    fn read_all(
        &mut self,
        reader: &mut Reader,
        catalogue: &mut Catalogue,
        space: &Space,
        crew: &mut Option<Crew<'_>>,
    ) -> Result<()> {
        while !self.full {
            let item = match catalogue.next.take() {
                Some(item) => item,
                None => reader.item()?,
            };
            self.restored.troubles.extend(reader.take_troubles());
            match item {
                Item::End => break,
                Item::Used(_) | Item::Here(_) => {}
                Item::Attributes(header, block) => self.belongs(&header, &block),
                trailing @ Item::Trailing(..) => {
                    catalogue.next = Some(trailing);
                    break;
                }
                Item::Object(header) => {
                    self.give_last(crew);
                    // A directory among the files is one in another object's place; what comes twice was spliced in.
                    if self.seen.insert(header.number) && !is_directory(&header.node) {
                        self.object(reader, &header, space)?;
                    }
                }
            }
        }
        self.give_last(crew);
        Ok(())
    }

    /// Takes what stands behind the end of the dump.
    fn take_trailing(&mut self, reader: &mut Reader, catalogue: &mut Catalogue, space: &Space) -> Result<()> {
        while let Some(Item::Trailing(header, block)) = catalogue.next.take() {
            self.add_trailing(&header, &block, catalogue, space);
            catalogue.next = Some(reader.item()?);
        }
        Ok(())
    }

    /// Finishes the object that was made last, or gives it away.
    fn give_last(&mut self, crew: &mut Option<Crew<'_>>) {
        if let Some(job) = self.dress_last()
            && let Some(crew) = crew
        {
            crew.give(job);
            self.full |= crew.is_full();
        }
    }

    /// Takes the attributes of the object that was made last.
    fn belongs(&mut self, header: &Header, block: &[u8]) {
        let attributes = attributes_of(block, header.number, &mut self.restored.troubles);
        if let Some(last) = self.last.as_mut().filter(|last| last.number == header.number) {
            last.attributes.extend(attributes);
        }
    }

    /// Tells of files that were not reached, as there was no room.
    fn tell_left(&mut self, catalogue: &Catalogue, space: &Space) {
        for number in space.file_names.keys() {
            if catalogue.here.contains(*number) && !self.seen.contains(number) {
                for path in space.paths_of(*number) {
                    self.lose(&path, "is not restored: there is no room left".into());
                }
            }
        }
    }

    /// Tells of objects that the tape promised and does not hold.
    fn tell_missing(&mut self, catalogue: &Catalogue, space: &Space) {
        let reached: HashSet<u32> = space.order.iter().copied().collect();
        let seen = std::mem::take(&mut self.seen);
        let missing = || {
            let here = catalogue.here.iter();
            here.filter(|number| !seen.contains(number) && !catalogue.folders.contains_key(number))
        };
        let named = |number: &u32| reached.contains(number) || space.file_names.contains_key(number);
        for number in missing().filter(named) {
            let folder = space.paths.get(&number).filter(|_| reached.contains(&number));
            for path in space.paths_of(number).into_iter().chain(folder.cloned()) {
                self.lose_data(&path, Vec::new());
            }
        }
        if self.unnamed != Unnamed::Pass {
            for lost in Lost::without_names(missing().filter(|number| !named(number))) {
                self.lose_data(&lost.path, lost.ranges);
            }
        }
        self.seen = seen;
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
        if let Some((take, wanted)) = self.destination.image(header, path) {
            return self.make_image(reader, path, take, &wanted);
        }
        if let Some(part) = paths.iter().find(|path| self.destination.is_part(path)) {
            self.lose(&part.clone(), PART.into());
            return Ok(());
        }
        if self.gathering && others.is_empty() && is_small(header) {
            let mut bytes = vec![0; usize::try_from(header.node.size_bytes).unwrap_or(0)];
            let ranges = reader.data(&mut |offset, piece| {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                if let Some(place) = bytes.get_mut(from..from.saturating_add(piece.len())) {
                    place.copy_from_slice(piece);
                }
            })?;
            if !ranges.is_empty() {
                self.lose_data(path, ranges);
            }
            self.held = Some(bytes);
        } else if let Err(what) = self.make(reader, header, path)? {
            for path in &paths {
                self.lose(path, what.clone());
            }
            return Ok(());
        }
        self.restored.objects += 1;
        if header.untold_bytes > 0 {
            let what = "has extended attributes in the form of UFS2, which are left out";
            self.lose(path, what.into());
        }
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
            file: self.made.take(),
            bytes: self.held.take(),
        });
        Ok(())
    }

    /// Makes an object with its data; what went wrong is the inner result.
    fn make(&mut self, reader: &mut Reader, header: &Header, path: &Path) -> Result<Result<(), String>> {
        let node = &header.node;
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
        Ok(made.map_err(|errno| {
            self.full |= is_full(errno);
            format!("cannot be made: {errno}")
        }))
    }

    fn make_file(&mut self, reader: &mut Reader, header: &Header, path: &Path) -> Result<Result<(), String>> {
        if self.destination.is_store() {
            return self.make_series_file(reader, header, path);
        }
        let made = match self.destination.make_file(path) {
            Ok(made) => made,
            Err(errno) => {
                self.full |= is_full(errno);
                return Ok(Err(format!("cannot be made: {errno}")));
            }
        };
        let (mut error, mut end) = (None, 0);
        let ranges = reader.data(&mut |offset, piece| {
            if error.is_none() {
                error = write_at(&made.file, piece, offset).err();
                end = offset + piece.len() as u64;
            }
        })?;
        let sized = match header.node.size_bytes {
            size if size == end => Ok(()),
            size => rustix::fs::ftruncate(&made.file, size),
        };
        if let Some(error) = error {
            if Errno::from_io_error(&error).is_some_and(is_full) {
                // Half a file is worth less than the room it takes; that it stays is told below in any case.
                let _ = self.destination.remove(path);
                self.full = true;
            }
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
        self.made = Some(made);
        Ok(Ok(()))
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

/// True for a file without holes that is short enough to be kept until a thread makes it.
fn is_small(header: &Header) -> bool {
    let regular = FileType::from_raw_mode(header.node.mode.into()) == FileType::RegularFile;
    let plain = header.kind == Kind::Inode && header.cells().iter().all(|cell| *cell != 0);
    regular && plain && header.node.size_bytes <= crew::SMALL_BYTES
}

/// True where there is no room for anything more.
fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT)
}

/// Where an object goes that has lost its name.
pub(in crate::dump) fn found_path(number: u32) -> PathBuf {
    Path::new(FOUND).join(format!("#{number}"))
}
