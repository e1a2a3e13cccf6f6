//! What is chosen of a dump: paths with all that is under them, and paths that are left out again.
//!
//! The nearest path above an object decides. What leads to a chosen object is made, but only what is chosen gets its owner,
//! permissions and times.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use super::names::Space;
use crate::dump::{ROOT, error::Trouble};

/// A choice of objects by their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    rules: BTreeMap<PathBuf, bool>,
}

impl Choice {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self {
            rules: BTreeMap::from([(PathBuf::new(), true)]),
        }
    }

    /// Nothing yet.
    #[must_use]
    pub fn nothing() -> Self {
        Self { rules: BTreeMap::new() }
    }

    /// These paths with all that is under them, or everything where there are none.
    #[must_use]
    pub fn of(paths: &[PathBuf]) -> Self {
        if paths.is_empty() {
            return Self::all();
        }
        Self {
            rules: paths.iter().map(|path| (path.clone(), true)).collect(),
        }
    }

    /// Chooses an object with all that is under it, or leaves it out with all that is under it.
    pub fn put(&mut self, path: &Path, wanted: bool) {
        self.rules.retain(|other, _| !other.starts_with(path));
        if self.takes(path) != wanted {
            self.rules.insert(path.to_path_buf(), wanted);
        }
    }

    /// True where an object is chosen.
    #[must_use]
    pub fn takes(&self, path: &Path) -> bool {
        let nearest = path.ancestors().find_map(|above| self.rules.get(above));
        nearest.copied().unwrap_or(false)
    }

    /// True where nothing is left out.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }

    /// True where nothing is chosen.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.rules.values().any(|wanted| *wanted)
    }

    /// Leaves only what is chosen, and what is on the way to it; what is not on the tape is told.
    pub(super) fn narrow(&self, space: &mut Space, troubles: &mut Vec<Trouble>) {
        if self.is_all() {
            return;
        }
        let mut kept = HashSet::from([ROOT]);
        let mut found: HashSet<PathBuf> = HashSet::new();
        let mut keep_up = |space: &Space, path: &Path, mut folder: u32| {
            found.extend(
                path.ancestors()
                    .filter(|above| self.rules.contains_key(*above))
                    .map(Path::to_path_buf),
            );
            while kept.insert(folder) {
                let Some((parent, _)) = space.folder_names.get(&folder) else {
                    break;
                };
                folder = *parent;
            }
        };
        let mut files = BTreeMap::new();
        for (number, names) in &space.file_names {
            let chosen: BTreeSet<_> = names
                .iter()
                .filter(|name| self.takes(&space.path_of(name)))
                .cloned()
                .collect();
            for name in &chosen {
                keep_up(space, &space.path_of(name), name.0);
            }
            if !chosen.is_empty() {
                files.insert(*number, chosen);
            }
        }
        for (number, path) in &space.paths {
            if self.takes(path) {
                keep_up(space, path, *number);
            }
        }
        let missing = self
            .rules
            .iter()
            .filter(|(path, wanted)| **wanted && !found.contains(*path));
        troubles.extend(missing.map(|(path, _)| Trouble {
            path: path.clone(),
            what: "is not on the tape".into(),
            loss: true,
        }));
        space.file_names = files;
        space.order.retain(|number| kept.contains(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_path_above_decides() {
        let mut choice = Choice::nothing();
        assert!(choice.is_nothing());
        choice.put(Path::new("a"), true);
        choice.put(Path::new("a/b"), false);
        choice.put(Path::new("a/b/c"), true);
        for (path, taken) in [
            ("", false),
            ("a", true),
            ("a/x", true),
            ("a/b", false),
            ("a/b/y", false),
            ("a/b/c/z", true),
            ("ab", false),
        ] {
            assert_eq!(choice.takes(Path::new(path)), taken, "{path}");
        }
        choice.put(Path::new("a"), false);
        assert!(choice.is_nothing(), "{choice:?}");
        choice.put(Path::new(""), true);
        assert!(choice.is_all());
    }
}
