//! What has which name: the directories of a dump, of a chain so far, and the walk from the root over them.
//!
//! Tapes may claim anything: a directory in two places, in itself, or not at all. The walk takes each once, by its first
//! name, and tells of the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    path::{Path, PathBuf},
};

use crate::dump::{ROOT, error::Trouble, tree::joined};

/// Longest path, in bytes: the host's limit, without its end.
pub(in crate::dump) const PATH_MAX_BYTES: usize = 4095;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Number of the object.
    pub number: u32,
    /// True for a directory.
    pub is_directory: bool,
}

/// Names by directory.
pub type Folders = BTreeMap<u32, BTreeMap<Vec<u8>, Target>>;

/// A name: the directory's number, and what is said there.
pub type Name = (u32, Vec<u8>);

/// All names that can be reached from the root.
#[derive(Debug, Clone, Default)]
pub struct Space {
    /// Names of the directories that were reached.
    pub folders: Folders,
    /// Path of each directory.
    pub paths: HashMap<u32, PathBuf>,
    /// Directories, each behind its parent, the root first.
    pub order: Vec<u32>,
    /// The name of each directory but the root.
    pub folder_names: HashMap<u32, Name>,
    /// All names of each object that is no directory.
    pub file_names: BTreeMap<u32, BTreeSet<Name>>,
}

impl Space {
    /// Walks from the root; what cannot be is told.
    pub fn reach(all: &Folders, troubles: &mut Vec<Trouble>) -> Self {
        let mut space = Self::default();
        space.paths.insert(ROOT, PathBuf::new());
        space.order.push(ROOT);
        let mut at = 0;
        while let Some(number) = space.order.get(at).copied() {
            at += 1;
            let path = space.paths.get(&number).cloned().unwrap_or_default();
            let mut names = BTreeMap::new();
            for (name, target) in all.get(&number).into_iter().flatten() {
                if matches!(name.as_slice(), b"." | b"..") {
                    continue;
                }
                let named = (number, name.clone());
                if path.as_os_str().len() + 1 + name.len() > PATH_MAX_BYTES {
                    // A tape may lead down without an end, and every path of it is longer.
                    troubles.push(Trouble {
                        path: path.clone(),
                        what: format!("a name in it is beyond the longest path, {PATH_MAX_BYTES} bytes"),
                        loss: true,
                    });
                    continue;
                }
                if !target.is_directory {
                    space.file_names.entry(target.number).or_default().insert(named);
                } else if let Entry::Vacant(vacant) = space.paths.entry(target.number) {
                    vacant.insert(joined(&path, name));
                    space.folder_names.insert(target.number, named);
                    space.order.push(target.number);
                } else {
                    troubles.push(Trouble {
                        path: joined(&path, name),
                        what: "is a directory that stands elsewhere too".into(),
                        loss: true,
                    });
                    continue;
                }
                names.insert(name.clone(), *target);
            }
            space.folders.insert(number, names);
        }
        space
    }

    /// Path of a name.
    pub fn path_of(&self, (folder, name): &Name) -> PathBuf {
        joined(self.paths.get(folder).map_or(Path::new(""), |path| path), name)
    }

    /// How many objects these are.
    pub fn objects(&self) -> u64 {
        (self.order.len() + self.file_names.len()) as u64
    }

    /// A path of an object, or its number where it has no name.
    pub fn path_of_number(&self, number: u32) -> PathBuf {
        let directory = self.paths.get(&number).cloned();
        let path = directory.or_else(|| self.paths_of(number).into_iter().next());
        path.unwrap_or_else(|| PathBuf::from(format!("number {number}")))
    }

    /// Paths of an object that is no directory.
    pub fn paths_of(&self, number: u32) -> Vec<PathBuf> {
        let names = self.file_names.get(&number).into_iter().flatten();
        names.map(|name| self.path_of(name)).collect()
    }
}
