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
pub const PATH_MAX_BYTES: usize = 4095;

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

/// Names in one directory that lead nowhere, told in one: a tape may have millions of them, deep down.
#[derive(Default)]
struct Misled {
    /// How many are beyond the longest path.
    beyond: u64,
    /// The first directory that stands elsewhere too, and how many do.
    elsewhere: (Option<PathBuf>, u64),
}

impl Misled {
    fn told(self, directory: &Path) -> impl Iterator<Item = Trouble> {
        let trouble = |path: &Path, what: String| Trouble {
            path: path.to_path_buf(),
            what,
            loss: true,
        };
        let Self { beyond, elsewhere } = self;
        let what = format!("names in it are beyond the longest path, {PATH_MAX_BYTES} bytes: {beyond}");
        let beyond = (beyond > 0).then(|| trouble(directory, what));
        let first = elsewhere
            .0
            .map(|path| trouble(&path, "is a directory that stands elsewhere too".into()));
        let what = format!("directories in it stand elsewhere too: {}", elsewhere.1);
        let more = (elsewhere.1 > 1).then(|| trouble(directory, what));
        [beyond, first, more].into_iter().flatten()
    }
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
            let mut misled = Misled::default();
            for (name, target) in all.get(&number).into_iter().flatten() {
                if matches!(name.as_slice(), b"." | b"..") {
                    continue;
                }
                let named = (number, name.clone());
                if path.as_os_str().len() + 1 + name.len() > PATH_MAX_BYTES {
                    // A tape may lead down without an end, and every path of it is longer.
                    misled.beyond += 1;
                    continue;
                }
                if !target.is_directory {
                    space.file_names.entry(target.number).or_default().insert(named);
                } else if let Entry::Vacant(vacant) = space.paths.entry(target.number) {
                    vacant.insert(joined(&path, name));
                    space.folder_names.insert(target.number, named);
                    space.order.push(target.number);
                } else {
                    misled.elsewhere.0.get_or_insert_with(|| joined(&path, name));
                    misled.elsewhere.1 += 1;
                    continue;
                }
                names.insert(name.clone(), *target);
            }
            troubles.extend(misled.told(&path));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tape can claim a million times over is told once, with the number of times.
    #[test]
    fn names_that_lead_nowhere_are_told_together() {
        let folder = |names: &[(Vec<u8>, u32)]| -> BTreeMap<Vec<u8>, Target> {
            let target = |number| Target {
                number,
                is_directory: true,
            };
            let names = names.iter();
            names.map(|(name, number)| (name.clone(), target(*number))).collect()
        };
        let mut folders: Folders = (2..40)
            .map(|number| (number, folder(&[(vec![b'd'; 200], number + 1)])))
            .collect();
        let wide: Vec<(Vec<u8>, u32)> = (0..1000).map(|at| (format!("{at:0200}").into_bytes(), 3)).collect();
        for number in [5, 22] {
            folders.entry(number).or_default().extend(folder(&wide));
        }
        let mut troubles = Vec::new();
        Space::reach(&folders, &mut troubles);
        let told: Vec<&str> = troubles.iter().map(|trouble| trouble.what.as_str()).collect();
        assert_eq!(
            told,
            [
                "is a directory that stands elsewhere too",
                "directories in it stand elsewhere too: 1000",
                "names in it are beyond the longest path, 4095 bytes: 1001",
            ]
        );
    }
}
