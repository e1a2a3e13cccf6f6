//! Listings of directories, which the kernel may keep.
//!
//! The kernel keeps a listing from one opening of a directory to the next where we say that nothing has changed; for
//! that every directory has a *version*, which is cheap to tell. An open directory takes its listing when it is read
//! from the start; the offsets of its lines bear its version, so that two listings are never mixed.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Filesystem,
    handles::Handle,
    lock,
    lookup::{FileKind, SERIES_FILES, chunk_name, part_name},
};
use crate::{
    mount::{
        errno::{Refusal, Result},
        nodes::{Item, Place, SeriesNode, Tree},
    },
    series::{ChunkInfo, Kind},
};

/// How long the kernel keeps a listing of the live tree. With it go the attributes that came with it: reading it anew
/// brings them all in a few requests, where stat would ask for each.
const KEPT: Duration = Duration::from_secs(60);
/// Bits of an offset that number the line; the others are the listing's version.
const LINE_BITS: u32 = 32;

/// One line of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// What it is.
    pub place: Place,
    /// Facts about the chunk that the listing has at hand.
    pub chunk: Option<ChunkInfo>,
}

/// An open directory.
#[derive(Debug)]
pub struct OpenDirectory {
    node: u64,
    place: Place,
    lines: Mutex<Option<Lines>>,
}

/// A directory that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedDirectory {
    /// Number of the open directory.
    pub handle: u64,
    /// The kernel may keep the listing it will read.
    pub keep: bool,
    /// What the kernel has kept is still true.
    pub kept: bool,
}

/// A listing, or the rest of one.
#[derive(Debug, Clone)]
pub struct Lines {
    all: Arc<Vec<Listed>>,
    version: u64,
    start: usize,
}

impl Lines {
    /// The lines, each with the offset at which the listing goes on behind it.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Listed)> {
        // Positive as a signed number, for that is what programs take it for.
        let version = (self.version >> LINE_BITS & 0x7fff_ffff) << LINE_BITS;
        let numbered = (1..).zip(self.all.iter()).skip(self.start);
        numbered.map(move |(number, line)| (version | number, line))
    }
}

impl Filesystem {
    /// Opens a directory.
    ///
    /// # Errors
    /// It is no directory, or its series is damaged.
    pub fn open_directory(&self, node: u64) -> Result<OpenedDirectory> {
        let place = self.place(node)?;
        if place.kind() != FileKind::Directory {
            return Err(Refusal::NotADirectory);
        }
        let version = self.version(place)?;
        let listed = lock(&self.listings).get(&node).copied();
        let keep = !self.options.read_only;
        let fresh = |at: Instant| place.tree() != Tree::Live || at.elapsed() < KEPT;
        let kept = keep && listed.is_some_and(|(then, at)| then == version && fresh(at));
        let lines = Mutex::new(None);
        let handle = self
            .handles
            .insert(Handle::Listing(OpenDirectory { node, place, lines }));
        Ok(OpenedDirectory { handle, keep, kept })
    }

    /// The lines of an open directory from an offset on; from 0 the directory is listed anew.
    ///
    /// # Errors
    /// It is no open directory, or its series is damaged.
    pub fn lines(&self, handle: u64, offset: u64) -> Result<Lines> {
        let handle = self.handles.get(handle)?;
        let Handle::Listing(open) = &*handle else {
            return Err(Refusal::NotADirectory);
        };
        let mut lines = lock(&open.lines);
        let known = lines.as_ref().filter(|_| offset > 0).cloned();
        let all = match known {
            Some(known) => known,
            None => {
                // What changes while it is listed makes another version.
                let version = self.version(open.place)?;
                let all = Arc::new(self.list_with_dots(open.place)?);
                lock(&self.listings).insert(open.node, (version, Instant::now()));
                lines.insert(Lines { all, version, start: 0 }).clone()
            }
        };
        let start = usize::try_from(offset & ((1 << LINE_BITS) - 1)).unwrap_or(usize::MAX);
        Ok(Lines { start, ..all })
    }

    /// A number that changes with the names in a directory.
    fn version(&self, place: Place) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        match place {
            _ if place.tree() != Tree::Live => {}
            Place::Series(series, item @ (Item::Chunks | Item::Part(_))) => {
                let view = self.view(series)?;
                let part = if let Item::Part(part) = item { part } else { 0 };
                let names = view.part(part).map(|part| part.chunk_names()).unwrap_or_default();
                (names.first().copied(), names.len()).hash(&mut hasher);
                (0..)
                    .take_while(|part| view.part(*part).is_some())
                    .count()
                    .hash(&mut hasher);
            }
            Place::Series(_, Item::Snapshots) | Place::Snapshots => {
                self.names_version.load(Ordering::Acquire).hash(&mut hasher)
            }
            Place::Series(..) | Place::Statistics => {}
            Place::Root(_) => (
                self.names_version.load(Ordering::Acquire),
                self.names_changed("".as_ref()),
            )
                .hash(&mut hasher),
            Place::Varlen(_) => {
                (
                    self.names_version.load(Ordering::Acquire),
                    self.names_changed("varlen".as_ref()),
                )
                    .hash(&mut hasher);
            }
        }
        Ok(hasher.finish())
    }

    fn list_with_dots(&self, place: Place) -> Result<Vec<Listed>> {
        let mut list = vec![listed(".", place), listed("..", place.parent())];
        list.extend(self.list(place)?);
        Ok(list)
    }

    fn list(&self, place: Place) -> Result<Vec<Listed>> {
        match place {
            Place::Root(tree) => {
                let mut list = Vec::new();
                if tree == Tree::Live {
                    if !self.options.hide_snapshots {
                        list.push(listed(".snapshot", Place::Snapshots));
                    }
                    list.push(listed(".stats", Place::Statistics));
                }
                list.push(listed("varlen", Place::Varlen(tree)));
                self.list_series(tree, Kind::Fixed, &mut list)?;
                Ok(list)
            }
            Place::Varlen(tree) => {
                let mut list = Vec::new();
                self.list_series(tree, Kind::Varlen, &mut list)?;
                Ok(list)
            }
            Place::Snapshots => {
                let place = |number| Place::Root(Tree::Frozen(number));
                let all = self.database.snapshots()?;
                Ok(all
                    .into_iter()
                    .map(|info| listed(info.name, place(info.number)))
                    .collect())
            }
            Place::Statistics => Err(Refusal::NotADirectory),
            Place::Series(series, item) => self.list_item(series, item),
        }
    }

    fn list_series(&self, tree: Tree, kind: Kind, list: &mut Vec<Listed>) -> Result<()> {
        let keys: Vec<_> = match tree {
            Tree::Live => {
                let keys = self.database.keys()?.into_iter();
                keys.map(|key| (self.database.id(&key), key)).collect()
            }
            Tree::Frozen(number) => {
                let keys = self.snapshot(number)?.keys.clone();
                keys.into_iter().map(|(key, id)| (Ok(id), key)).collect()
            }
        };
        for (id, key) in keys.into_iter().filter(|(_, key)| key.kind == kind) {
            // A series may go while its neighbours are listed.
            let Ok(id) = id else { continue };
            let series = SeriesNode { tree, kind, id };
            list.push(listed(key.name.clone(), Place::Series(series, Item::Directory)));
            lock(&self.names).insert(series, key);
        }
        Ok(())
    }

    fn list_item(&self, series: SeriesNode, item: Item) -> Result<Vec<Listed>> {
        let at = |item| Place::Series(series, item);
        match item {
            // A snapshot lists each entry once, so that a walk of it meets it once; the other files answer by name.
            Item::Directory => Ok(SERIES_FILES
                .iter()
                .filter(|(name, _)| series.tree == Tree::Live || matches!(*name, "raw" | "meta"))
                .map(|(name, item)| listed(*name, at(*item)))
                .collect()),
            Item::Ranges => Ok(Vec::new()),
            Item::Chunks => {
                let view = self.view(series)?;
                let mut list = Vec::new();
                if series.kind == Kind::Varlen {
                    let parts = (0..).take_while(|part| view.part(*part).is_some());
                    list.extend(parts.map(|part| listed(part_name(part), at(Item::Part(part)))));
                }
                let with_files = series.kind == Kind::Fixed;
                self.list_chunks(series, 0, with_files, true, &mut list)?;
                Ok(list)
            }
            Item::Part(part) => {
                let mut list = Vec::new();
                self.list_chunks(series, part, true, false, &mut list)?;
                Ok(list)
            }
            Item::Snapshots => {
                let all = self.database.snapshots()?;
                let mut list = Vec::new();
                for info in all {
                    if self.key_in_snapshot(series, info.number)?.is_some() {
                        list.push(listed(info.name, at(Item::SnapshotLink(info.number))));
                    }
                }
                Ok(list)
            }
            _ => Err(Refusal::NotADirectory),
        }
    }

    fn list_chunks(
        &self,
        series: SeriesNode,
        part: u32,
        files: bool,
        texts: bool,
        list: &mut Vec<Listed>,
    ) -> Result<()> {
        let chunks = self.view(series)?.chunks(part)?;
        let last = chunks.len().checked_sub(1).filter(|_| series.tree != Tree::Live);
        for (position, chunk) in chunks.into_iter().enumerate() {
            let first = chunk.first;
            let mut push = |ending: &str, item| {
                list.push(Listed {
                    name: format!("{}{ending}", chunk_name(first)),
                    place: Place::Series(series, item),
                    chunk: Some(chunk.clone()),
                });
            };
            if files && Some(position) != last {
                push(".chunk", Item::Chunk { part, first });
            }
            if texts {
                push(".text", Item::ChunkText { first });
            }
        }
        Ok(())
    }
}

fn listed(name: impl Into<String>, place: Place) -> Listed {
    Listed {
        name: name.into(),
        place,
        chunk: None,
    }
}
