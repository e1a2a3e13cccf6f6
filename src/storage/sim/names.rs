//! The names of simulated storage: the tree that programs see, the one that is durable, and the changes in between.
//!
//! A change becomes durable when a directory that it touches is synced, or by chance in a crash. It never does so
//! without the earlier changes that it builds on: those of the same names; before a directory's removal, all that
//! happened in it; before a move, the making of the directories that it moves into. So a move leaves a file under its
//! old or its new name, as every journalling file system promises, and everything else may come in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path},
    sync::{Arc, Mutex},
};

use rustix::io::Errno;

use super::{chance::Chance, contents::Contents};

/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;

/// A directory, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirectoryId(u64);

/// The root of the tree.
pub(super) const ROOT: DirectoryId = DirectoryId(0);

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Arc<Mutex<Contents>>),
    Directory(DirectoryId),
}

impl Node {
    fn is_directory(&self, id: DirectoryId) -> bool {
        matches!(self, Self::Directory(own) if *own == id)
    }
}

/// A name in a directory.
pub(super) type Place = (DirectoryId, OsString);

/// Directories and what their names stand for.
type View = BTreeMap<DirectoryId, BTreeMap<OsString, Node>>;

/// One step that changes names.
#[derive(Debug, Clone)]
enum Change {
    /// A name stands for a node from now on, whatever it stood for before.
    Link { at: Place, node: Node },
    /// A name is no more.
    Unlink { at: Place, node: Node },
    /// A node goes from one name to another, which lies in `homes`, the root first.
    Move {
        from: Place,
        to: Place,
        node: Node,
        homes: Vec<DirectoryId>,
    },
}

impl Change {
    fn places(&self) -> Vec<&Place> {
        match self {
            Self::Link { at, .. } | Self::Unlink { at, .. } => vec![at],
            Self::Move { from, to, .. } => vec![from, to],
        }
    }

    fn node(&self) -> &Node {
        match self {
            Self::Link { node, .. } | Self::Unlink { node, .. } | Self::Move { node, .. } => node,
        }
    }

    fn touches(&self, directory: DirectoryId) -> bool {
        self.places().iter().any(|place| place.0 == directory)
    }

    fn apply(&self, view: &mut View) {
        match self {
            Self::Link { at, node } => {
                view.entry(at.0).or_default().insert(at.1.clone(), node.clone());
            }
            Self::Unlink { at, .. } => {
                view.entry(at.0).or_default().remove(&at.1);
            }
            Self::Move { from, to, node, .. } => {
                view.entry(from.0).or_default().remove(&from.1);
                view.entry(to.0).or_default().insert(to.1.clone(), node.clone());
            }
        }
    }
}

/// All names of a disk.
#[derive(Debug)]
pub(super) struct Names {
    live: View,
    durable: View,
    pending: Vec<Change>,
    next_id: u64,
}

impl Names {
    /// A root without names.
    pub fn new() -> Self {
        let view = View::from([(ROOT, BTreeMap::new())]);
        Self {
            live: view.clone(),
            durable: view,
            pending: Vec::new(),
            next_id: 1,
        }
    }

    /// The place of a cleaned path, whose directory must exist.
    pub fn place(&self, clean: &Path) -> io::Result<Place> {
        let (homes, name) = self.walk(clean)?;
        check_length(name)?;
        Ok((homes.last().copied().unwrap_or(ROOT), name.to_owned()))
    }

    /// What a place stands for.
    pub fn get(&self, place: &Place) -> Option<&Node> {
        self.live.get(&place.0)?.get(&place.1)
    }

    /// What a cleaned path stands for.
    pub fn node(&self, clean: &Path) -> io::Result<Node> {
        if clean.as_os_str() == "." {
            return Ok(Node::Directory(ROOT));
        }
        Ok(self.get(&self.place(clean)?).cloned().ok_or(Errno::NOENT)?)
    }

    /// The file that a cleaned path stands for.
    pub fn file(&self, clean: &Path) -> io::Result<Arc<Mutex<Contents>>> {
        match self.node(clean)? {
            Node::File(contents) => Ok(contents),
            Node::Directory(_) => Err(Errno::ISDIR.into()),
        }
    }

    /// The directory that a cleaned path stands for.
    pub fn directory(&self, clean: &Path) -> io::Result<DirectoryId> {
        match self.node(clean)? {
            Node::File(_) => Err(Errno::NOTDIR.into()),
            Node::Directory(id) => Ok(id),
        }
    }

    /// Names in a directory.
    pub fn entries(&self, directory: DirectoryId) -> impl Iterator<Item = (&OsString, &Node)> {
        self.live.get(&directory).into_iter().flatten()
    }

    /// All files that have a name.
    pub fn files(&self) -> impl Iterator<Item = &Arc<Mutex<Contents>>> {
        self.live
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|node| match node {
                Node::File(contents) => Some(contents),
                Node::Directory(_) => None,
            })
    }

    /// Gives a file a name, in the place of any other.
    pub fn link(&mut self, at: Place, file: Arc<Mutex<Contents>>) {
        self.change(Change::Link {
            at,
            node: Node::File(file),
        });
    }

    pub fn create_directory(&mut self, clean: &Path) -> io::Result<()> {
        let at = self.place(clean)?;
        if self.get(&at).is_some() {
            return Err(Errno::EXIST.into());
        }
        let id = DirectoryId(self.next_id);
        self.next_id += 1;
        self.live.insert(id, BTreeMap::new());
        self.change(Change::Link {
            at,
            node: Node::Directory(id),
        });
        Ok(())
    }

    pub fn remove_directory(&mut self, clean: &Path) -> io::Result<()> {
        let at = self.place(clean)?;
        let id = self.directory(clean)?;
        if self.entries(id).next().is_some() {
            return Err(Errno::NOTEMPTY.into());
        }
        self.live.remove(&id);
        self.change(Change::Unlink {
            at,
            node: Node::Directory(id),
        });
        Ok(())
    }

    pub fn remove(&mut self, clean: &Path) -> io::Result<()> {
        let at = self.place(clean)?;
        let file = self.file(clean)?;
        self.change(Change::Unlink {
            at,
            node: Node::File(file),
        });
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // In the order of the kernel: both directories, the old name, the new name.
        self.walk(from)?;
        let (homes, name) = self.walk(to)?;
        let from = self.place(from)?;
        let node = self.get(&from).cloned().ok_or(Errno::NOENT)?;
        check_length(name)?;
        let to = (homes.last().copied().unwrap_or(ROOT), name.to_owned());
        if self.get(&to).is_some() {
            return Err(Errno::EXIST.into());
        }
        if homes.iter().any(|home| node.is_directory(*home)) {
            return Err(Errno::INVAL.into());
        }
        self.change(Change::Move { from, to, node, homes });
        Ok(())
    }

    /// Makes the names in a directory durable.
    pub fn sync(&mut self, directory: DirectoryId) {
        let wanted = self.pending.iter().map(|change| change.touches(directory)).collect();
        let wanted = with_what_they_build_on(&self.pending, wanted);
        let mut wanted = wanted.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let wanted = wanted.next().unwrap_or(false);
            if wanted {
                change.apply(durable);
            }
            !wanted
        });
    }

    /// The names after a power loss: changes that are not durable happened or did not.
    pub fn crashed(&self, chance: &mut Chance) -> Self {
        let coin = chance.loaded_coin();
        let wanted = self.pending.iter().map(|_| coin.throw(chance)).collect();
        let wanted = with_what_they_build_on(&self.pending, wanted);
        let mut view = self.durable.clone();
        for (change, _) in self.pending.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            change.apply(&mut view);
        }
        let view = reachable(&view);
        Self {
            live: view.clone(),
            durable: view,
            pending: Vec::new(),
            next_id: self.next_id,
        }
    }

    /// The same names on another disk, each file exchanged for its counterpart there.
    pub fn with_files<E>(
        &self,
        mut counterpart: impl FnMut(&Arc<Mutex<Contents>>) -> Result<Arc<Mutex<Contents>>, E>,
    ) -> Result<Self, E> {
        let mut exchanged = |node: &mut Node| {
            if let Node::File(file) = node {
                *file = counterpart(file)?;
            }
            Ok(())
        };
        let (mut live, mut durable, mut pending) = (self.live.clone(), self.durable.clone(), self.pending.clone());
        for node in live
            .values_mut()
            .chain(durable.values_mut())
            .flat_map(BTreeMap::values_mut)
        {
            exchanged(node)?;
        }
        for change in &mut pending {
            match change {
                Change::Link { node, .. } | Change::Unlink { node, .. } | Change::Move { node, .. } => exchanged(node)?,
            }
        }
        Ok(Self {
            live,
            durable,
            pending,
            next_id: self.next_id,
        })
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// The directories on the way to a cleaned path, the root first, and its last name.
    fn walk<'a>(&self, clean: &'a Path) -> io::Result<(Vec<DirectoryId>, &'a OsStr)> {
        let mut homes = vec![ROOT];
        let mut names = clean.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        let mut name = names.next().ok_or(Errno::INVAL)?;
        loop {
            let Some(next) = names.next() else {
                return Ok((homes, name));
            };
            check_length(name)?;
            let home = homes.last().copied().unwrap_or(ROOT);
            match self.live.get(&home).and_then(|names| names.get(name)) {
                Some(Node::Directory(id)) => homes.push(*id),
                Some(Node::File(_)) => return Err(Errno::NOTDIR.into()),
                None => return Err(Errno::NOENT.into()),
            }
            name = next;
        }
    }
}

/// Refuses a name that is too long.
fn check_length(name: &OsStr) -> io::Result<()> {
    if name.len() > NAME_MAX {
        Err(Errno::NAMETOOLONG.into())
    } else {
        Ok(())
    }
}

/// Adds to a choice of changes the earlier ones that each of them needs.
fn with_what_they_build_on(changes: &[Change], mut wanted: Vec<bool>) -> Vec<bool> {
    let mut places = BTreeSet::new();
    let mut removed = BTreeSet::new();
    let mut homes = BTreeSet::<DirectoryId>::new();
    for (change, wanted) in changes.iter().zip(&mut wanted).rev() {
        let same_name = change.places().iter().any(|place| places.contains(*place));
        let inside_removed = removed.iter().any(|id| change.touches(*id));
        let makes_home = matches!(change.node(), Node::Directory(id) if homes.contains(id));
        *wanted |= same_name || inside_removed || makes_home;
        if !*wanted {
            continue;
        }
        places.extend(change.places().into_iter().cloned());
        match change {
            Change::Unlink {
                node: Node::Directory(id),
                ..
            } => drop(removed.insert(*id)),
            Change::Move { homes: on_the_way, .. } => homes.extend(on_the_way),
            _ => {}
        }
    }
    wanted
}

/// The part of a view that the root leads to.
fn reachable(view: &View) -> View {
    let mut reached = View::new();
    let mut open = vec![ROOT];
    while let Some(id) = open.pop() {
        let names = view.get(&id).cloned().unwrap_or_default();
        open.extend(names.values().filter_map(|node| match node {
            Node::Directory(id) => Some(*id),
            Node::File(_) => None,
        }));
        reached.insert(id, names);
    }
    reached
}
