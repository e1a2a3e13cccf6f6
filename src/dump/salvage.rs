//! What can be had of a damaged dump: everything that is left of it, also what has lost its name.
//!
//! It is a restore of all, with three differences: volumes that are missing are passed over, directories to which no way
//! leads any more and files without names go to `lost+found` under their numbers, and nothing that is there is a reason
//! to stop. What is lost is told to the byte.

use std::collections::BTreeSet;

use super::{
    ROOT,
    error::Result,
    reader::Reader,
    restore::{Catalogue, Destination, FOUND, Files, Folders, Restored, Space, Target, Unnamed},
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

/// Gives directories to which no way leads a name in `lost+found`.
fn adopt(folders: &mut Folders) {
    loop {
        let mut homeless = unreached(folders);
        // What is inside another of them is found with it; where they are inside each other, one of them is.
        let inside: BTreeSet<u32> = homeless.iter().flat_map(|number| children(folders, *number)).collect();
        if homeless.iter().any(|number| !inside.contains(number)) {
            homeless.retain(|number| !inside.contains(number));
        } else {
            homeless.truncate(1);
        }
        if homeless.is_empty() {
            return;
        }
        name_found(folders, &homeless);
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

/// Directories on the tape that no path from the root leads to.
fn unreached(folders: &Folders) -> Vec<u32> {
    let space = Space::reach(folders, &mut Vec::new());
    folders
        .keys()
        .filter(|number| !space.paths.contains_key(number))
        .copied()
        .collect()
}

/// Directories that a directory names, itself and its parent aside.
fn children(folders: &Folders, number: u32) -> impl Iterator<Item = u32> {
    let names = folders.get(&number).into_iter().flatten();
    let inner = names.filter(|(name, target)| target.is_directory && !matches!(name.as_slice(), b"." | b".."));
    inner
        .map(|(_, target)| target.number)
        .filter(move |child| *child != number)
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(unreached(&folders), Vec::<u32>::new());
    }
}
