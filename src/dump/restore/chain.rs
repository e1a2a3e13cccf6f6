//! A chain of dumps, one after the other, into one directory: what was renamed is renamed, what is gone goes.
//!
//! What the chain so far left is remembered: see `state.rs`.
//!
//! From one tree to the next: names that are gone are removed while all paths are still the old ones, and what
//! keeps no name at all is set aside in the root under a name of ours. Then directories that moved are set aside, the
//! deepest first, and dead ones removed. Then the new tree is put together from the root down.

mod state;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

pub(super) use self::state::last_restored;
use self::state::{Left, STATE, Step, read_state, write_state};
use super::{
    Catalogue, Destination, Folders, Restored, Space, Target,
    files::{Files, PART},
    names::Name,
    room,
};
use crate::dump::{
    ROOT,
    error::{Error, Result, Trouble},
    reader::Reader,
};

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
    let after = next_space(old.folders, &catalogue, &mut troubles);
    catalogue.tell_torn(&after, &mut troubles);
    room::check(
        destination,
        reader,
        after.objects().saturating_sub(before.objects()),
        true,
    )?;
    log::info!("stage 2: putting names in place");
    let mut files = Files::new(destination, troubles).exactly();
    if after
        .folders
        .get(&ROOT)
        .is_some_and(|names| names.contains_key(STATE.as_bytes()))
    {
        let what = "has its place taken by what is remembered of this restore; 'restore -x' brings it back elsewhere";
        files.tell(Path::new(STATE), what.into());
    }
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

/// The tree of a dump that goes on top of another one.
fn next_space(old: Folders, catalogue: &Catalogue, troubles: &mut Vec<Trouble>) -> Space {
    let mut all = old;
    all.extend(catalogue.folders.clone());
    // A name whose number is free now is gone, whatever an older listing says.
    if catalogue.used.count() > 0 {
        for (folder, names) in &mut all {
            if !catalogue.folders.contains_key(folder) {
                names.retain(|_, target| catalogue.used.contains(target.number));
            }
        }
    }
    Space::reach(&all, troubles)
}

/// Names of objects that the chain so far left, and that are gone with the next dump; what only moves is not.
pub(super) fn vanishing(catalogue: &mut Catalogue, destination: &Destination) -> Result<Vec<PathBuf>> {
    let old = match catalogue.label.base_date_s {
        0 => None,
        _ => read_state(destination)?,
    };
    let Some(old) = old else { return Ok(Vec::new()) };
    catalogue.settle_types();
    let before = Space::reach(&old.folders, &mut Vec::new());
    let after = next_space(old.folders, catalogue, &mut Vec::new());
    let files = before.file_names.iter();
    let files = files.filter(|(number, _)| !after.file_names.contains_key(number));
    let mut gone: Vec<PathBuf> = files
        .flat_map(|(_, names)| names.iter().map(|name| before.path_of(name)))
        .filter(|path| !destination.has_as_image(path) && !destination.is_part(path))
        .collect();
    let folders = before.order.iter().filter(|number| !after.paths.contains_key(number));
    gone.extend(folders.filter_map(|number| before.paths.get(number).cloned()));
    gone.sort();
    Ok(gone)
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
                if self.destination.is_part(&path) {
                    self.files.lose(&path, PART.into());
                    continue;
                }
                if !survives && self.destination.has_as_image(&path) {
                    let what = "is gone from the dump, and its array stays: 'headstack array delete' removes it";
                    self.files.tell(&path, what.into());
                    continue;
                }
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
                    let series = self.destination.is_store();
                    let what = if series {
                        "is gone from the dump, but cannot be removed unless the mount has the option allow-delete"
                    } else {
                        "is gone from the dump, but cannot be removed"
                    };
                    if self.tell(&path, what, removed) && series {
                        self.files.tell(&path, "is gone from the dump, and was removed".into());
                    }
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
        let nowhere = result == Err(Errno::NOENT) && self.destination.has_as_image(path);
        if let Err(errno) = result
            && !nowhere
        {
            self.files.lose(path, format!("{what}: {errno}"));
        }
        result.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
