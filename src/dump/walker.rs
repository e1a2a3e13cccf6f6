//! Passes I and II: a walk over the tree, and the choice of what goes on the tape.
//!
//! The walk holds every name and every object with its number in memory; `listing.rs` reads directories ahead of it. An increment takes what changed since its base,
//! what its base does not know, and every directory that leads to any of it.

mod listing;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{fs::FileType, io::Errno};

use self::listing::{Listing, Listings, listings};
use super::{
    ROOT, directory,
    error::{Error, Result, Trouble},
    images::Images,
    numbers::Numbers,
    selection::Selection,
    tree::{Status, Tree, joined},
};

/// An object of the tree, once however many names it has.
#[derive(Debug)]
pub struct Object {
    /// Number on the tape.
    pub number: u32,
    /// Facts, as the walk found them.
    pub status: Status,
    /// The directory that its first name is in, by its place in [`Walk::folders`]; itself for the root.
    pub folder: usize,
    /// Its first name; empty for the root.
    pub name: Arc<[u8]>,
    /// Its own place in [`Walk::folders`] if it is a directory that was entered.
    pub entered: Option<usize>,
    /// True where it goes on this tape.
    pub chosen: bool,
}

/// A directory that was entered.
#[derive(Debug)]
pub struct Folder {
    /// Its place in [`Walk::objects`].
    pub object: usize,
    /// The directory that it is in.
    pub parent: usize,
    /// Names in it, with the places of their objects, in order.
    pub entries: Vec<(Arc<[u8]>, usize)>,
    /// True where its names could not be read.
    pub unread: bool,
}

/// Everything in a tree.
#[derive(Debug)]
pub struct Walk {
    /// Objects in the order in which they were met, the root first.
    pub objects: Vec<Object>,
    /// Directories, the root first, parents before their children.
    pub folders: Vec<Folder>,
    /// What could not be read.
    pub troubles: Vec<Trouble>,
}

/// What an increment leaves out.
#[derive(Debug, Clone)]
pub struct Since {
    /// Changes from this second on are taken.
    pub seconds: i64,
    /// True where a change of the inode alone is one.
    pub inode_changes: bool,
    /// Objects from this number on are taken.
    pub number: u32,
    /// Objects that are taken, changed or not.
    pub again: BTreeSet<u32>,
}

/// What is not even looked at.
#[derive(Debug, Clone, Copy)]
pub struct LeftOut<'a> {
    /// True where what is flagged so is left out.
    pub flagged: bool,
    /// Names that are left out.
    pub selection: &'a Selection,
    /// What stands for some of the files.
    pub images: &'a Images,
}

impl Walk {
    /// Walks over a tree until `stop` is set.
    ///
    /// # Errors
    /// [`Error::Tree`] where the root cannot be read, [`Error::BadParameter`] where there are too many objects,
    /// [`Error::Interrupted`].
    pub fn over(tree: &Tree, numbers: &mut Numbers, leave_out: LeftOut<'_>, stop: &AtomicBool) -> Result<Self> {
        let root = Object {
            number: ROOT,
            status: *tree.status(),
            folder: 0,
            name: Arc::default(),
            entered: Some(0),
            chosen: false,
        };
        let mut walk = Self {
            objects: vec![root],
            folders: Vec::new(),
            troubles: Vec::new(),
        };
        walk.folders.push(Folder {
            object: 0,
            parent: 0,
            entries: Vec::new(),
            unread: false,
        });
        let listings = listings(tree, leave_out.selection);
        listings.helped(|| walk.go(tree, &listings, numbers, leave_out, stop))?;
        Ok(walk)
    }

    /// Walks from the root down.
    fn go(
        &mut self,
        tree: &Tree,
        listings: &Listings<'_>,
        numbers: &mut Numbers,
        leave_out: LeftOut<'_>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let walk = self;
        let mut linked = HashMap::new();
        listings.ask([(0, PathBuf::new())].into_iter());
        let mut open = vec![0];
        while let Some(folder) = open.pop() {
            if stop.load(Ordering::Relaxed) {
                let path = tree.path().to_path_buf();
                return Err(Error::Interrupted { path, pass: 1 });
            }
            let first = walk.folders.len();
            if let Err(errno) = walk.enter(listings.take(folder), folder, numbers, &mut linked, leave_out)? {
                let path = walk.path_of(folder);
                if folder == 0 {
                    return Err(Error::Tree {
                        path: tree.path().to_path_buf(),
                        source: errno.into(),
                    });
                }
                walk.folders[folder].unread = true;
                walk.lose(path, format!("its names cannot be read: {errno}"));
            }
            let entered = first..walk.folders.len();
            listings.ask(entered.clone().map(|folder| (folder, walk.path_of(folder))));
            open.extend(entered.rev());
        }
        Ok(())
    }

    /// Takes the names in a directory.
    fn enter(
        &mut self,
        listing: Listing,
        folder: usize,
        numbers: &mut Numbers,
        linked: &mut HashMap<u64, usize>,
        leave_out: LeftOut<'_>,
    ) -> Result<Result<(), Errno>> {
        let names = match listing {
            Ok(names) => names,
            Err(errno) => return Ok(Err(errno)),
        };
        let path = self.path_of(folder);
        self.folders[folder].entries.reserve_exact(names.len());
        for (name, status) in names.iter() {
            if leave_out.images.alone || leave_out.images.covers(&path, name) {
                continue;
            }
            let status = match status {
                Ok(status) => status,
                Err(errno) => {
                    self.lose(joined(&path, name), format!("cannot be read: {errno}"));
                    continue;
                }
            };
            if leave_out.flagged && status.nodump {
                continue;
            }
            if name.len() > directory::NAME_MAX_BYTES {
                let what = format!(
                    "its name has {} bytes, and a tape takes {}",
                    name.len(),
                    directory::NAME_MAX_BYTES
                );
                self.lose(joined(&path, name), what);
                continue;
            }
            let name: Arc<[u8]> = name.into();
            let object = self.object(folder, &name, status, numbers, linked)?;
            self.folders[folder].entries.push((name, object));
        }
        Ok(Ok(()))
    }

    /// The place of an object; a new one where it was not met under another name.
    fn object(
        &mut self,
        folder: usize,
        name: &Arc<[u8]>,
        status: &Status,
        numbers: &mut Numbers,
        linked: &mut HashMap<u64, usize>,
    ) -> Result<usize> {
        let is_directory = status.file_type() == FileType::Directory;
        let several = !is_directory && status.node.links > 1;
        if several && let Some(object) = linked.get(&status.identity.inode) {
            return Ok(*object);
        }
        let object = self.objects.len();
        if several {
            linked.insert(status.identity.inode, object);
        }
        let here = status.filesystem == self.objects[0].status.filesystem && !status.mount_root;
        let mut status = *status;
        if is_directory && !here {
            // What is mounted there is another tree: it stands on the tape as a symlink.
            status.node.mode = 0o120_777;
            status.identity.kind = 0o120_000;
            status.mount_root = true;
        }
        let number = numbers.of(status.identity).ok_or_else(|| Error::BadParameter {
            parameter: "tree",
            value: "2147483646 objects".into(),
            reason: "a chain of dumps has no more numbers; begin a new one with level 0",
        })?;
        let entered = (is_directory && here).then_some(self.folders.len());
        self.objects.push(Object {
            number,
            status,
            folder,
            name: Arc::clone(name),
            entered,
            chosen: false,
        });
        if entered.is_some() {
            self.folders.push(Folder {
                object,
                parent: folder,
                entries: Vec::new(),
                unread: false,
            });
        }
        Ok(object)
    }

    /// Chooses what goes on the tape: everything, or what changed, and what leads there.
    pub fn choose(&mut self, since: Option<&Since>) {
        for object in &mut self.objects {
            let node = &object.status.node;
            object.chosen = since.is_none_or(|since| {
                node.modified.seconds >= since.seconds
                    || since.inode_changes && node.changed.seconds >= since.seconds
                    || object.number >= since.number
                    || since.again.contains(&object.number)
            });
        }
        // What could not be read is as its base has it.
        for folder in &self.folders {
            if folder.unread && since.is_some_and(|since| self.objects[folder.object].number < since.number) {
                self.objects[folder.object].chosen = false;
            }
        }
        // Children come behind their parents.
        for folder in self.folders.iter().rev() {
            if folder.entries.iter().any(|(_, object)| self.objects[*object].chosen) {
                self.objects[folder.object].chosen = true;
            }
        }
        self.objects[0].chosen = true;
    }

    /// What is chosen in the order of the tape: directories, then everything else, each by its number.
    #[must_use]
    pub fn in_order(&self) -> (Vec<usize>, Vec<usize>) {
        let chosen = (0..self.objects.len()).filter(|at| self.objects[*at].chosen);
        let (mut folders, mut files): (Vec<_>, Vec<_>) = chosen.partition(|at| self.objects[*at].entered.is_some());
        for places in [&mut folders, &mut files] {
            places.sort_by_key(|at| self.objects[*at].number);
        }
        (folders, files)
    }

    /// Tape blocks that what is chosen takes, about.
    #[must_use]
    pub fn tape_blocks(&self) -> u64 {
        let blocks = |object: &Object| {
            let bytes = object
                .status
                .node
                .size_bytes
                .min(object.status.allocated_bytes.max(1024));
            1 + bytes.div_ceil(1024) + bytes.div_ceil(512 << 10)
        };
        self.objects.iter().filter(|object| object.chosen).map(blocks).sum()
    }

    /// Path of a directory from the root of the tree.
    #[must_use]
    pub fn path_of(&self, folder: usize) -> PathBuf {
        let mut names = Vec::new();
        let mut at = folder;
        while at != 0 {
            let folder = &self.folders[at];
            names.push(&self.objects[folder.object].name);
            at = folder.parent;
        }
        names
            .iter()
            .rev()
            .fold(PathBuf::new(), |path, name| joined(&path, name))
    }

    /// Path of an object by its first name.
    #[must_use]
    pub fn path_of_object(&self, object: &Object) -> PathBuf {
        if object.name.is_empty() {
            return PathBuf::new();
        }
        joined(&self.path_of(object.folder), &object.name)
    }

    pub(super) fn lose(&mut self, path: PathBuf, what: String) {
        self.troubles.push(Trouble { path, what, loss: true });
    }
}

/// What a mount point says as a symlink.
pub(super) fn junction_target(tree: &Tree, path: &Path) -> PathBuf {
    tree.path().join(path)
}

#[cfg(test)]
mod tests;
