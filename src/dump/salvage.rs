//! What can be had of a damaged dump: everything that is left of it, also what has lost its name.
//!
//! It is a restore of all, with three differences: volumes that are missing are passed over, directories to which no way
//! leads any more and files without names go to `lost+found` under their numbers, and nothing that is there is a reason
//! to stop. What is lost is told to the byte.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{
    ROOT,
    error::Result,
    reader::Reader,
    restore::{Catalogue, Destination, FOUND, Files, Folders, PATH_MAX_BYTES, Restored, Target, Unnamed},
};

/// Restores whatever can be read of a dump.
///
/// # Errors
/// [`super::Error::Tape`] and [`super::Error::WrongTape`]. What is lost is in what is returned.
pub fn salvage(reader: Reader, destination: &Destination) -> Result<Restored> {
    let mut reader = reader.lenient();
    let mut catalogue = Catalogue::read(&mut reader)?;
    let mut troubles = std::mem::take(&mut catalogue.troubles);
    catalogue.settle_types();
    adopt(&mut catalogue.folders);
    let space = catalogue.reach(&mut troubles);
    let mut files = Files::new(destination, troubles).with(Unnamed::Adopt);
    files.make_directories(&space);
    files.restore(&mut reader, &mut catalogue, &space)?;
    files.dress_directories(&catalogue, &space, |_| true);
    Ok(files.finish())
}

/// Gives directories to which no way leads a name in `lost+found`, each of them once looked at.
fn adopt(folders: &mut Folders) {
    let mut found = Found::default();
    found.reach(folders, ROOT, 0);
    let homeless = |found: &Found, folders: &Folders| -> Vec<u32> {
        let all = folders.keys().filter(|number| !found.reached.contains(number));
        all.copied().collect()
    };
    let lost = homeless(&found, folders);
    // What is inside another of them is found with it.
    let inside: BTreeSet<u32> = lost
        .iter()
        .flat_map(|number| children(folders, *number))
        .map(|(child, _)| child)
        .collect();
    found
        .beyond
        .extend(lost.iter().filter(|number| !inside.contains(number)));
    let mut named = Vec::new();
    // Where they are inside each other, the first of them is taken.
    for number in lost {
        while let Some(next) = found.beyond.pop_front() {
            named.extend(found.adopt(folders, next));
        }
        if inside.contains(&number) {
            named.extend(found.adopt(folders, number));
        }
    }
    while let Some(next) = found.beyond.pop_front() {
        named.extend(found.adopt(folders, next));
    }
    if !named.is_empty() {
        name_found(folders, &named);
    }
}

/// Directories that have a way to them.
#[derive(Default)]
struct Found {
    reached: HashSet<u32>,
    /// Those whose way would be longer than a path can be.
    beyond: VecDeque<u32>,
}

impl Found {
    /// Takes a directory into `lost+found`, with all that is inside; none where it has a way to it already.
    fn adopt(&mut self, folders: &Folders, number: u32) -> Option<u32> {
        if self.reached.contains(&number) || !folders.contains_key(&number) {
            return None;
        }
        let way = format!("{FOUND}/#{number}");
        self.reach(folders, number, way.len());
        Some(number)
    }

    /// Walks down from a directory whose path is so long.
    fn reach(&mut self, folders: &Folders, number: u32, length: usize) {
        self.reached.insert(number);
        let mut open = VecDeque::from([(number, length)]);
        while let Some((number, length)) = open.pop_front() {
            for (child, name) in children(folders, number) {
                let longer = length + 1 + name;
                if longer > PATH_MAX_BYTES {
                    self.beyond.push_back(child);
                } else if self.reached.insert(child) {
                    open.push_back((child, longer));
                }
            }
        }
    }
}

fn name_found(folders: &mut Folders, homeless: &[u32]) {
    let there = folders.get(&ROOT).and_then(|names| names.get(FOUND.as_bytes()));
    let found = there.filter(|target| target.is_directory).copied().unwrap_or(Target {
        number: u32::MAX,
        is_directory: true,
    });
    let names = folders.entry(found.number).or_default();
    names.extend(homeless.iter().map(|number| {
        let target = Target {
            number: *number,
            is_directory: true,
        };
        (format!("#{number}").into_bytes(), target)
    }));
    folders
        .entry(ROOT)
        .or_default()
        .insert(FOUND.as_bytes().to_vec(), found);
}

/// Directories that a directory names, itself and its parent aside, with the lengths of their names.
fn children(folders: &Folders, number: u32) -> impl Iterator<Item = (u32, usize)> {
    let names = folders.get(&number).into_iter().flatten();
    let inner = names.filter(|(name, target)| target.is_directory && !matches!(name.as_slice(), b"." | b".."));
    inner
        .map(|(name, target)| (target.number, name.len()))
        .filter(move |(child, _)| *child != number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::restore::Space;
    use std::path::Path;

    fn folder(names: &[(&str, u32)]) -> std::collections::BTreeMap<Vec<u8>, Target> {
        let target = |number| Target {
            number,
            is_directory: true,
        };
        names
            .iter()
            .map(|(name, number)| (name.as_bytes().to_vec(), target(*number)))
            .collect()
    }

    #[test]
    fn directories_without_a_way_to_them_are_found_under_their_numbers() {
        let mut folders = Folders::from([
            (2, folder(&[("a", 3), (".", 2), ("..", 2)])),
            (3, folder(&[("..", 2)])),
            (7, folder(&[("inner", 8), ("..", 5)])),
            (8, folder(&[("..", 7)])),
            (11, folder(&[("loop", 12)])),
            (12, folder(&[("back", 11)])),
        ]);
        adopt(&mut folders);
        let space = Space::reach(&folders, &mut Vec::new());
        for (number, path) in [(8, "lost+found/#7/inner"), (3, "a"), (12, "lost+found/#11/loop")] {
            assert_eq!(space.paths[&number], Path::new(path));
        }
        assert_eq!(space.order.len(), folders.len());
    }

    /// Deeper than any path, and in circles: every directory is found, and each is looked at once.
    #[test]
    fn directories_of_any_depth_are_found() {
        const DEPTH: u32 = 30_000;
        let mut folders: Folders = (2..DEPTH)
            .map(|number| (number, folder(&[("d", number + 1), ("..", number - 1)])))
            .collect();
        folders.insert(DEPTH, folder(&[]));
        for number in (100_000..130_000).step_by(2) {
            folders.insert(number, folder(&[("there", number + 1)]));
            folders.insert(number + 1, folder(&[("back", number)]));
        }
        adopt(&mut folders);
        let space = Space::reach(&folders, &mut Vec::new());
        assert_eq!(space.order.len(), folders.len());
        assert_eq!(space.paths[&100_001], Path::new("lost+found/#100000/there"));
    }
}
