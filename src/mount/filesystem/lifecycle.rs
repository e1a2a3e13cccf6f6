//! Making, renaming and removing series and snapshots, and trimming by removing the oldest chunk.
//!
//! Directories are the only things that are made and removed; whatever else a program tries to make is refused as ext4
//! refuses it in a directory that may not change.

use std::{ffi::OsStr, time::SystemTime};

use super::{Effect, Filesystem, attributes::Found, lock};
use crate::{
    mount::{
        errno::{NAME_MAX, Refusal, Result},
        nodes::{Item, Place, SeriesNode, Tree},
    },
    series::{Kind, SeriesKey, Timestamp},
};

/// A name that is to be stored.
fn storable(name: &OsStr) -> Result<&str> {
    match name.to_str() {
        Some(text) if text.len() <= NAME_MAX => Ok(text),
        Some(text) => Err(Refusal::NameTooLong { length: text.len() }),
        None => Err(Refusal::BadName {
            name: name.to_string_lossy().into_owned(),
        }),
    }
}

impl Filesystem {
    /// Makes a series in the root or in `varlen`, or a snapshot in `.snapshot`.
    ///
    /// # Errors
    /// The name is taken or cannot be one; nothing is made elsewhere.
    pub fn make_directory(&self, parent: u64, name: &OsStr) -> Result<Found> {
        let parent = self.place(parent)?;
        self.writable(parent.tree())?;
        let name = storable(name)?;
        let place = match parent {
            Place::Root(_) if super::OWN_NAMES.contains(&name) => {
                return Err(Refusal::Exists { name: name.to_owned() });
            }
            Place::Root(_) => {
                let parameters = lock(&self.defaults).fixed.clone();
                let series = self.database.create_series(name, &parameters)?;
                let format = lock(&self.defaults).fixed_format;
                if let Some(metadata) = super::xattr::format_metadata(format, Some(series.block_size())) {
                    series.set_metadata(Some(metadata))?;
                }
                self.new_series(SeriesKey::fixed(name), series.id())
            }
            Place::Varlen(_) => {
                let parameters = lock(&self.defaults).varlen.clone();
                let series = self.database.create_varlen_series(name, &parameters)?;
                let format = lock(&self.defaults).varlen_format;
                if let Some(metadata) = super::xattr::format_metadata(format, None) {
                    series.set_metadata(Some(&metadata))?;
                }
                self.new_series(SeriesKey::varlen(name), series.id())
            }
            Place::Snapshots => {
                let snapshot = self.database.create_snapshot(name, SystemTime::now())?;
                Place::Root(Tree::Frozen(snapshot.info().number))
            }
            _ => return Err(Refusal::Fixed { action: "mkdir" }),
        };
        self.names_change();
        self.found(place, None)
    }

    fn new_series(&self, key: SeriesKey, id: crate::series::SeriesId) -> Place {
        let kind = key.kind;
        let series = SeriesNode {
            tree: Tree::Live,
            kind,
            id,
        };
        lock(&self.names).insert(series, key);
        Place::Series(series, Item::Directory)
    }

    /// Removes an empty series (one with entries where the mount allows it) or a snapshot that nobody holds.
    ///
    /// # Errors
    /// It has entries or is held; nothing else is removed so.
    pub fn remove_directory(&self, parent: u64, name: &OsStr) -> Result<()> {
        let parent = self.place(parent)?;
        self.writable(parent.tree())?;
        let place = self.child(parent, name)?;
        match place {
            Place::Series(series, Item::Directory) => {
                self.locks.refuse(series)?;
                let key = self.key(series)?;
                // Even a damaged series can be removed, but not by mistake.
                if !self.options.allow_delete && !self.view(series)?.is_empty() {
                    return Err(Refusal::NotEmpty);
                }
                self.database.delete_series(&key)?;
                self.names_change();
                lock(&self.views).remove(&series);
                lock(&self.names).remove(&series);
                Ok(())
            }
            Place::Root(Tree::Frozen(number)) => {
                self.database
                    .remove_snapshot(&self.snapshot(number)?.snapshot.info().name)?;
                self.forget_snapshot(number);
                self.names_change();
                Ok(())
            }
            other if other.kind() == super::lookup::FileKind::Directory => Err(Refusal::Fixed { action: "rmdir" }),
            _ => Err(Refusal::NotADirectory),
        }
    }

    /// Lets go of everything that was opened of a snapshot.
    fn forget_snapshot(&self, number: u32) {
        lock(&self.snapshots).remove(&number);
        let of_it = |series: &SeriesNode| series.tree == Tree::Frozen(number);
        lock(&self.views).retain(|series, _| !of_it(series));
        lock(&self.names).retain(|series, _| !of_it(series));
    }

    /// Renames a series or snapshot within its directory.
    ///
    /// # Errors
    /// Anything else is refused: other directories, other files, flags, and names that are taken.
    pub fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> Result<()> {
        let (directory, target) = (self.place(from.0)?, self.place(to.0)?);
        self.writable(directory.tree())?;
        self.writable(target.tree())?;
        let place = self.child(directory, from.1)?;
        let taken = match self.child(target, to.1) {
            Ok(existing) => Some(existing),
            Err(Refusal::NoSuchName { .. }) => None,
            Err(other) => return Err(other),
        };
        let new = storable(to.1)?;
        let movable = match place {
            Place::Series(series, Item::Directory) => Some(series.tree),
            Place::Root(tree) => Some(tree),
            _ => None,
        };
        match (movable, taken) {
            (None, _) => return Err(Refusal::Fixed { action: "rename" }),
            _ if flags & !libc::RENAME_NOREPLACE != 0 => {
                return Err(Refusal::BadRename {
                    action: "names cannot be exchanged",
                });
            }
            _ if directory != target => {
                return Err(Refusal::BadRename {
                    action: "a series keeps its kind, a snapshot its directory",
                });
            }
            (_, Some(existing)) if existing == place => return Ok(()),
            (_, Some(_)) => return Err(Refusal::Exists { name: new.to_owned() }),
            (_, None) => {}
        }
        match place {
            Place::Series(series, _) => {
                self.locks.refuse(series)?;
                let key = self.key(series)?;
                self.database.rename_series(&key, new)?;
                let renamed = SeriesKey {
                    kind: key.kind,
                    name: new.to_owned(),
                };
                lock(&self.names).insert(series, renamed);
                self.names_change();
                Ok(())
            }
            Place::Root(Tree::Frozen(number)) => {
                let old = self.snapshot(number)?.snapshot.info().name;
                self.database.rename_snapshot(&old, new)?;
                lock(&self.snapshots).remove(&number);
                self.names_change();
                Ok(())
            }
            _ => Err(Refusal::Fixed { action: "rename" }),
        }
    }

    /// Removes a file: only the oldest closed chunk, which trims the series.
    ///
    /// # Errors
    /// Any other chunk is refused as busy, any other file for good.
    pub fn unlink(&self, parent: u64, name: &OsStr) -> Result<Effect<()>> {
        let place = self.child(self.place(parent)?, name)?;
        self.writable(place.tree())?;
        let Place::Series(series, item) = place else {
            return Err(Refusal::Fixed { action: "unlink" });
        };
        let (part, first) = match item {
            Item::Chunk { part, first } => (part, first),
            Item::Entries(_) => return Err(Refusal::AppendOnly { action: "unlink" }),
            _ => return Err(Refusal::Fixed { action: "unlink" }),
        };
        let view = self.view(series)?;
        let names = view.part(part).map(|part| part.chunk_names()).unwrap_or_default();
        // The parts behind a variable-length series' root go with the root's chunks.
        let is_root = part == 0 || series.kind == Kind::Fixed;
        let next = match names.as_slice() {
            [oldest, next, ..] if *oldest == first && is_root => *next,
            _ => return Err(Refusal::NotOldest),
        };
        // A chunk goes when the next one begins before the timestamp.
        let before = next.0.checked_add(1).map(Timestamp).ok_or(Refusal::NotOldest)?;
        let trimmed = self.trim(&view, before)?;
        match trimmed.value {
            0 => Err(Refusal::NotOldest),
            _ => Ok(Effect::new((), trimmed.stale)),
        }
    }

    /// Refuses to make any other kind of file.
    ///
    /// # Errors
    /// Always.
    pub fn make_other(&self, parent: u64, name: &OsStr, action: &'static str) -> Result<()> {
        let parent = self.place(parent)?;
        self.writable(parent.tree())?;
        storable(name)?;
        Err(Refusal::Fixed { action })
    }
}
