//! A chain of dumps, one after the other, into one directory: what was renamed is renamed, what is gone goes.
//!
//! What the chain so far left is remembered in `restoresymtable` in the directory itself, as with other programs, or where that
//! is the root of a mounted database, beside its series in `.headstack.restored`; in
//! a form of our own: `HSR2`, i64 date, i64 date of a dump that is being restored, u8 how far, u32 count of directories; for each u32 number and u32 count of names; for each
//! name u32 number, u8 1 for a directory, u8 length, the name; CRC-32C at the end; little-endian.
//!
//! From one tree to the next: names that are gone are removed while all paths are still the old ones, and what
//! keeps no name at all is set aside in the root under a name of ours. Then directories that moved are set aside, the
//! deepest first, and dead ones removed. Then the new tree is put together from the root down.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, openat, renameat},
    io::{Errno, retry_on_intr as retry},
};

use super::{
    Catalogue, Destination, Folders, Restored, Space, Target, files::Files, names::Name, room, target::write_at,
};
use crate::dump::{
    ROOT,
    error::{Error, Result},
    reader::Reader,
};

const STATE: &str = "restoresymtable";
const STATE_NEW: &str = "restoresymtable.new";
const STATE_OF_STORE: &str = ".headstack.restored";
const MAGIC: &[u8; 4] = b"HSR2";
/// Longest state that is read, in bytes.
const STATE_MAX_BYTES: u64 = 4 << 30;

/// What the chain so far left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Left {
    date_s: i64,
    /// The dump that was on its way on top of this one, where a restore was interrupted, and how far names were.
    pending: Option<(i64, Step)>,
    folders: Folders,
}

/// How far the names of the next dump are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// What moves is being set aside.
    Aside = 1,
    /// All that moves is aside, and is being put in its new place.
    Placing = 2,
    /// All names are in place.
    Placed = 3,
}

pub(super) fn restore(reader: &mut Reader, destination: &Destination) -> Result<Restored> {
    let label = reader.label().clone();
    let old = match label.base_date_s {
        0 => Left::default(),
        base_s => read_state(destination)?
            .filter(|left| left.pending.is_none_or(|(date_s, _)| date_s == label.date_s))
            .filter(|left| left.date_s == base_s)
            .ok_or_else(|| Error::WrongTape {
                path: reader.path(),
                reason: format!(
                    "level {} goes on top of the dump of {base_s} (seconds since 1970), which is not the last one restored here",
                    label.label.level
                ),
            })?,
    };
    let mut catalogue = Catalogue::read(reader)?;
    catalogue.settle_types();
    let mut troubles = std::mem::take(&mut catalogue.troubles);
    let before = Space::reach(&old.folders, &mut Vec::new());
    let left = old.clone();
    let mut all = old.folders;
    all.extend(catalogue.folders.clone());
    // A name whose number is free now is gone, whatever an older listing says.
    if catalogue.used.count() > 0 {
        for (folder, names) in &mut all {
            if !catalogue.folders.contains_key(folder) {
                names.retain(|_, target| catalogue.used.contains(target.number));
            }
        }
    }
    let after = Space::reach(&all, &mut troubles);
    catalogue.tell_torn(&after, &mut troubles);
    room::check(
        destination,
        reader,
        after.objects().saturating_sub(before.objects()),
        true,
    )?;
    log::info!("stage 2: putting names in place");
    let mut files = Files::new(destination, troubles).exactly();
    let turn = Turn {
        before: &before,
        after: &after,
        destination,
        files: &mut files,
        aside: BTreeSet::new(),
        resumed: false,
    };
    turn.run(&catalogue, left)?;
    files.restore(reader, &mut catalogue, &after)?;
    let left = Left {
        date_s: label.date_s,
        pending: None,
        folders: after.folders.clone(),
    };
    // Before the root gets its times.
    write_state(destination, &left)?;
    files.dress_directories(&catalogue, &after, |_| true);
    Ok(files.finish())
}

/// The way from one tree to the next.
struct Turn<'a, 'b> {
    before: &'a Space,
    after: &'a Space,
    destination: &'a Destination,
    files: &'a mut Files<'b>,
    /// What is set aside in the root.
    aside: BTreeSet<Target>,
    /// True where an interrupted restore may have put some of it in its place.
    resumed: bool,
}

/// Where something is set aside.
fn aside(target: Target) -> PathBuf {
    let kind = if target.is_directory { 'd' } else { 'f' };
    format!(".headstack-restore-{kind}{}", target.number).into()
}

fn file(number: u32) -> Target {
    Target {
        number,
        is_directory: false,
    }
}

fn folder(number: u32) -> Target {
    Target {
        number,
        is_directory: true,
    }
}

impl Turn<'_, '_> {
    /// Puts all names in place, from where an interrupted restore left them. How far that is is remembered in `left`, but not
    /// at level 0, where nothing moves.
    fn run(mut self, catalogue: &Catalogue, mut left: Left) -> Result<()> {
        let destination = self.destination;
        let label = &catalogue.label;
        let done = left.pending.map_or(Step::Aside, |(_, step)| step);
        let mut reached = |step| {
            left.pending = Some((label.date_s, step));
            if label.base_date_s == 0 {
                Ok(())
            } else {
                write_state(destination, &left)
            }
        };
        if done < Step::Placing {
            reached(Step::Aside)?;
            self.clear_names();
            self.clear_directories();
            reached(Step::Placing)?;
        } else {
            self.find_aside();
        }
        if done < Step::Placed {
            self.build_directories();
            self.build_names(catalogue);
            reached(Step::Placed)?;
        }
        Ok(())
    }

    /// Where something is set aside that has this path, or will have it.
    fn aside(&self, path: &Path, target: Target) -> PathBuf {
        // A series stays in its directory, and may not be called as files of this program are.
        if self.destination.is_store() {
            let kind = if target.is_directory { 'd' } else { 'f' };
            return path.with_file_name(format!(".restored-{kind}{}", target.number));
        }
        aside(target)
    }

    /// Sets something aside, unless an interrupted restore did.
    fn set_aside(&self, path: &Path, target: Target) -> Result<(), Errno> {
        let aside = self.aside(path, target);
        match self.destination.status(&aside) {
            Ok(_) => Ok(()),
            Err(_) => self.destination.rename(path, &aside),
        }
    }

    /// Finds what an interrupted restore set aside and did not put in its place.
    fn find_aside(&mut self) {
        let paths = |number: &u32| self.before.paths.get(number).cloned().unwrap_or_default();
        let files = self
            .before
            .file_names
            .keys()
            .map(|number| (PathBuf::new(), file(*number)));
        let folders = self.before.order.iter().map(|number| (paths(number), folder(*number)));
        let there = files
            .chain(folders)
            .filter(|(path, target)| self.destination.status(&self.aside(path, *target)).is_ok());
        self.aside = there.map(|(_, target)| target).collect();
        self.resumed = true;
    }

    /// Names that a file keeps, and those that it loses.
    fn split(&self, number: u32, names: &BTreeSet<Name>) -> (Vec<Name>, Vec<Name>) {
        let none = BTreeSet::new();
        let next = self.after.file_names.get(&number).unwrap_or(&none);
        names.iter().cloned().partition(|name| next.contains(name))
    }

    /// Removes names of files that are gone; a file with none left and some to come is set aside.
    fn clear_names(&mut self) {
        // What is in a series goes with it.
        if self.destination.is_store() {
            return;
        }
        for (number, names) in &self.before.file_names {
            let (kept, mut gone) = self.split(*number, names);
            let survives = self.after.file_names.contains_key(number);
            if kept.is_empty()
                && survives
                && let Some(name) = gone.pop()
            {
                let target = file(*number);
                let moved = self.set_aside(&self.before.path_of(&name), target);
                if self.tell(&self.before.path_of(&name), "cannot be moved", moved) {
                    self.aside.insert(target);
                }
            }
            for name in gone {
                let path = self.before.path_of(&name);
                let removed = self.destination.remove(&path);
                self.tell(&path, "cannot be removed", removed);
            }
        }
    }

    /// Sets directories aside that move, and removes those that are gone, the deepest first.
    fn clear_directories(&mut self) {
        for number in self.before.order.iter().rev().filter(|number| **number != ROOT) {
            let path = self.before.paths.get(number).cloned().unwrap_or_default();
            match self.after.folder_names.get(number) {
                Some(name) if self.before.folder_names.get(number) == Some(name) => {}
                Some(_) => {
                    let target = folder(*number);
                    let moved = self.set_aside(&path, target);
                    if self.tell(&path, "cannot be moved", moved) {
                        self.aside.insert(target);
                    }
                }
                None => {
                    let removed = self.destination.remove_directory(&path);
                    let what = if self.destination.is_store() {
                        "is gone from the dump, but cannot be removed unless the mount has the option allow-delete"
                    } else {
                        "is gone from the dump, but cannot be removed"
                    };
                    self.tell(&path, what, removed);
                }
            }
        }
    }

    /// Puts the directories of the new tree together, from the root down.
    fn build_directories(&mut self) {
        for number in self.after.order.iter().filter(|number| **number != ROOT) {
            let path = self.after.paths.get(number).cloned().unwrap_or_default();
            let target = folder(*number);
            if self.aside.contains(&target) {
                let moved = self.destination.rename(&self.aside(&path, target), &path);
                self.tell(&path, "cannot be put in its place", moved);
            } else if !self.before.paths.contains_key(number) {
                self.files.make_directory(&path);
            }
        }
    }

    /// Gives files their new names; those on the tape are made anew later.
    fn build_names(&mut self, catalogue: &Catalogue) {
        let none = BTreeSet::new();
        for (number, names) in &self.after.file_names {
            let old = self.before.file_names.get(number).unwrap_or(&none);
            let mut missing: Vec<&Name> = names.difference(old).collect();
            let mut from = names.intersection(old).next().map(|name| self.after.path_of(name));
            if self.aside.contains(&file(*number))
                && let Some(name) = missing.pop()
            {
                let path = self.after.path_of(name);
                let moved = self.destination.rename(&self.aside(&path, file(*number)), &path);
                self.tell(&path, "cannot be put in its place", moved);
                from = Some(path);
            } else if self.resumed && from.is_none() {
                // It was put there before.
                let placed = missing.last().map(|name| self.after.path_of(name));
                from = placed.filter(|path| self.destination.status(path).is_ok());
                missing.truncate(missing.len() - usize::from(from.is_some()));
            }
            if catalogue.here.contains(*number) {
                continue;
            }
            for name in missing {
                let path = self.after.path_of(name);
                match &from {
                    Some(from) => {
                        let linked = self.destination.link(from, &path);
                        self.tell(&path, "cannot be linked", linked);
                    }
                    None => self
                        .files
                        .lose(&path, "is neither on this tape nor on those before".into()),
                }
            }
        }
    }

    fn tell(&mut self, path: &Path, what: &str, result: Result<(), Errno>) -> bool {
        // What is restored as what it was is no file: nobody moves it.
        let nowhere = result == Err(Errno::NOENT) && self.destination.takes_images_at(path);
        if let Err(errno) = result
            && !nowhere
        {
            self.files.lose(path, format!("{what}: {errno}"));
        }
        result.is_ok()
    }
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
pub(super) fn last_restored(destination: &Destination) -> Result<Option<i64>> {
    Ok(read_state(destination)?.map(|left| left.date_s))
}

/// What the chain so far left; none where nothing was restored here.
fn read_state(destination: &Destination) -> Result<Option<Left>> {
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
    let file = match destination.open_at(Path::new(STATE), OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    let mut bytes = Vec::new();
    file.take(STATE_MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let left = Left::decode(&bytes).ok_or_else(|| damaged(destination.path().join(STATE)))?;
    Ok(Some(left))
}

/// Remembers what a restore left, in one step.
fn write_state(destination: &Destination, left: &Left) -> Result<()> {
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
    use proptest::prelude::*;

    #[test]
    fn what_was_left_is_read_back_or_refused() {
        let names = BTreeMap::from([(b"a".to_vec(), file(3)), (b"d".to_vec(), folder(4))]);
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

    proptest! {
        #[test]
        fn any_folders_are_walked_to_an_end(links in proptest::collection::vec((1..12_u32, "[a-d]{1,2}", 1..12_u32, any::<bool>()), 0..60)) {
            let mut folders = Folders::new();
            for (from, name, number, is_directory) in links {
                folders.entry(from).or_default().insert(name.into_bytes(), Target { number, is_directory });
            }
            let space = Space::reach(&folders, &mut Vec::new());
            let reached: BTreeSet<_> = space.order.iter().collect();
            prop_assert_eq!(reached.len(), space.order.len(), "each directory once");
            prop_assert!(space.folder_names.len() + 1 == space.order.len());
        }
    }
}
