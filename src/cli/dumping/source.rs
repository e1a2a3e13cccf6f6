//! Where a dump reads its tree: the tree itself, or in a mount of ours a snapshot, which is made, held and released.
//!
//! Snapshots are made and removed through the mount, as anybody can: mkdir and rmdir in `.snapshot`. A tag holds them
//! until the context of the dump is removed. What a mount is no more, is looked for in its database.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{XattrFlags, getxattr, removexattr, setxattr},
    io::Errno,
};

use super::super::{
    arguments::options_for,
    exit::{Code, Failure},
};
use crate::{
    controller::{Store, images::images_of},
    dump::{
        context::{Context, Keeper, Snapshot},
        images::{FOLDER, Images, path_of},
        snapshots::next_name,
        tree::Tree,
        writer::Scope,
    },
    mount::kernel::{FILE_SYSTEM_TYPE, MountLine, mount_of, mounted_at},
    series::{self, Database, Mode},
    storage::Directory,
};

/// The directory of snapshots in a mount.
const SNAPSHOTS: &str = ".snapshot";
/// How many names are tried for a snapshot: contexts of earlier runs of the machine may hold some.
const NAMES: u32 = 1000;

/// A tree that is to be dumped.
#[derive(Debug)]
pub struct Source {
    /// The tree, as an absolute path without symlinks.
    path: PathBuf,
    /// Its file system.
    mount: Option<MountLine>,
    /// The one array of it that is dumped.
    only: Option<String>,
}

/// The store and the name of an array in the path that it has on tapes, such as `STORE/arrays/r5.img`; none where the path
/// is one of the host.
fn array_of(path: &Path) -> Option<(&Path, &str)> {
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    let store = folder.parent()?;
    let is_array = folder.file_name()? == FOLDER && !path.exists() && Store::open(store).is_ok();
    is_array.then_some((store, name))
}

impl Source {
    /// Looks where a tree is.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(path: &Path) -> Result<Self> {
        let (path, only) = array_of(path).map_or((path, None), |(store, name)| (store, Some(name.to_owned())));
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        let mount = mount_of(&path);
        Ok(Self { path, mount, only })
    }

    /// The path by which tapes, levels and the catalogue know what is dumped of it.
    pub fn known_as(&self) -> String {
        let array = self.only.as_ref().map(|name| self.path.join(path_of(name)));
        array.as_ref().unwrap_or(&self.path).to_string_lossy().into_owned()
    }

    /// The tree, as an absolute path without symlinks.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How much of its file system a tree is.
    pub fn scope(&self) -> Scope {
        match self.inside().components().count() {
            0 => Scope::Store,
            1 => Scope::Group,
            _ => Scope::Subtree,
        }
    }

    /// Path of the tree in its file system.
    fn inside(&self) -> &Path {
        let root = self.mount.as_ref().map(|mount| mount.path.as_path());
        root.and_then(|root| self.path.strip_prefix(root).ok())
            .unwrap_or(Path::new(""))
    }

    /// Root of its file system, where that is a mounted database: a mounted tape has no snapshots, and needs none.
    fn ours(&self) -> Option<&MountLine> {
        let ours = self.mount.as_ref().filter(|mount| mount.kind == FILE_SYSTEM_TYPE);
        ours.filter(|mount| mount.database().is_some())
    }

    /// Finds or makes the snapshot that is dumped, and holds it; the context knows of it before it is made.
    ///
    /// # Errors
    /// There is no snapshot of the name given, none can be had of such a tree, or none can be made.
    pub fn freeze(&self, named: Option<&str>, keeper: &mut Keeper, state: &dyn Directory) -> Result<()> {
        let Some(mount) = self.ours() else {
            if named.is_some() {
                let message = format!("{} is in no mount of a database", self.path.display());
                return Err(Failure::new(Code::Usage, message, "without --snapshot").into());
            }
            return Ok(());
        };
        let inside = self.inside();
        let mut parts = inside.components();
        if parts.next() == Some(Component::Normal(SNAPSHOTS.as_ref())) {
            // The tree is in a snapshot already.
            if let Some(Component::Normal(name)) = parts.next() {
                let name = name.to_string_lossy().into_owned();
                return hold(mount, &name, false, self.path.clone(), keeper);
            }
            let message = format!("{} holds snapshots and is none", self.path.display());
            return Err(Failure::new(Code::Usage, message, "one of the snapshots in it").into());
        }
        let snapshots = mount.path.join(SNAPSHOTS);
        if let Some(name) = named {
            if !snapshots.join(name).is_dir() {
                let message = format!("{}: there is no snapshot {name}", mount.path.display());
                let remedy = format!("'ls {}' for those there are", snapshots.display());
                return Err(Failure::new(Code::NotFound, message, remedy).into());
            }
            return hold(mount, name, false, snapshots.join(name).join(inside), keeper);
        }
        for _ in 0..NAMES {
            let name = next_name(state)?;
            let path = snapshots.join(&name);
            if path.is_dir() {
                continue;
            }
            keep(mount, &name, true, path.join(inside), keeper)?;
            match fs::create_dir(&path) {
                Ok(()) => return hold(mount, &name, true, path.join(inside), keeper),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    keeper.change(|context| context.snapshot = None)?;
                    return Err(no_room(&path, error));
                }
            }
        }
        let message = format!("{}: all names of snapshots are taken", mount.path.display());
        Err(Failure::new(Code::Exists, message, "'headstack context rm' for dumps that stopped").into())
    }
}

/// The tree that a dump reads; of a store its arrays stand for the images of their members.
///
/// # Errors
/// It cannot be opened; as [`arrays_of`].
pub fn tree_of(context: &Context) -> Result<Tree> {
    Ok(Tree::open(&context.tree)?.with_images(arrays_of(context)?))
}

/// The arrays that stand for images of their members in a dump, or the one that it is of; none where it is of no store.
///
/// # Errors
/// The disks of the store cannot be read, or it has no such array.
pub fn arrays_of(context: &Context) -> Result<Images> {
    Ok(match Store::open(&context.tree) {
        Ok(store) => images_of(&store, only_of(context))?,
        Err(_) => Images::default(),
    })
}

/// The name of the one array that a dump is of: where it is known by a path within the tree that it reads.
fn only_of(context: &Context) -> Option<&str> {
    let within = context.order.path.strip_prefix(&*context.tree.to_string_lossy())?;
    let name = Path::new(within.strip_prefix('/')?).strip_prefix(FOLDER).ok()?;
    name.to_str()
}

/// Says of a file system that is full what makes room.
fn no_room(path: &Path, error: io::Error) -> anyhow::Error {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        let message = format!("{}: no space for a snapshot", path.display());
        let remedy = "again after the file system has grown, or older snapshots were deleted";
        return Failure::new(Code::Io, message, remedy).into();
    }
    anyhow::Error::new(error).context(path.display().to_string())
}

/// Lets the context know of a snapshot.
fn keep(mount: &MountLine, name: &str, automatic: bool, tree: PathBuf, keeper: &mut Keeper) -> Result<()> {
    let database = mount.database();
    let snapshot = Snapshot {
        volume: mount.path.clone(),
        database: database.with_context(|| format!("{}: it does not say what is mounted", mount.path.display()))?,
        name: name.to_owned(),
        automatic,
    };
    keeper.change(|context| {
        context.volume.clone_from(&snapshot.volume);
        context.snapshot = Some(snapshot);
        context.tree = tree;
    })?;
    Ok(())
}

/// Holds a snapshot for a context.
fn hold(mount: &MountLine, name: &str, automatic: bool, tree: PathBuf, keeper: &mut Keeper) -> Result<()> {
    keep(mount, name, automatic, tree, keeper)?;
    let snapshots = mount.path.join(SNAPSHOTS);
    change_tags(&snapshots, name, |tags| {
        let tag = tag_of(keeper.context());
        tags.retain(|other| *other != tag);
        tags.push(tag);
    })
    .with_context(|| snapshots.join(name).display().to_string())
}

fn tag_of(context: &Context) -> String {
    format!("dump-{}", context.id())
}

/// Changes the tags that hold a snapshot, through the mount.
fn change_tags(snapshots: &Path, name: &str, change: impl FnOnce(&mut Vec<String>)) -> io::Result<()> {
    let key = format!("user.headstack.hold.{name}");
    let mut value = vec![0; 1 << 16];
    let length = match getxattr(snapshots, key.as_str(), &mut value) {
        Ok(length) => length,
        Err(Errno::NODATA) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let text = String::from_utf8_lossy(&value[..length]).into_owned();
    let mut tags: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut tags);
    let changed = tags.join("\n");
    if changed == text {
        return Ok(());
    }
    if tags.is_empty() {
        return Ok(removexattr(snapshots, key.as_str())?);
    }
    Ok(setxattr(
        snapshots,
        key.as_str(),
        changed.as_bytes(),
        XattrFlags::empty(),
    )?)
}

/// True where the snapshot that a dump reads is there, or it reads none.
pub fn is_there(context: &Context) -> bool {
    let path = |snapshot: &Snapshot| snapshot.volume.join(SNAPSHOTS).join(&snapshot.name);
    context.snapshot.as_ref().is_none_or(|snapshot| path(snapshot).is_dir())
}

/// Lets go of the snapshot of a context, and removes it if the dump made it; the context says that this is pending
/// until it is done.
///
/// # Errors
/// The mount or the database cannot be reached.
pub fn release(keeper: &mut Keeper) -> Result<()> {
    let Some(snapshot) = keeper.context().snapshot.clone() else {
        return Ok(());
    };
    keeper.change(|context| context.cleanup_pending = true)?;
    let tag = tag_of(keeper.context());
    let ours = mounted_at(&snapshot.volume).is_some_and(|mount| mount.kind == FILE_SYSTEM_TYPE);
    if !ours {
        return release_in_database(&snapshot, &tag);
    }
    let snapshots = snapshot.volume.join(SNAPSHOTS);
    let path = snapshots.join(&snapshot.name);
    if !path.is_dir() {
        return Ok(());
    }
    let place = || path.display().to_string();
    change_tags(&snapshots, &snapshot.name, |tags| tags.retain(|other| *other != tag)).with_context(place)?;
    if snapshot.automatic {
        fs::remove_dir(&path).with_context(place)?;
    }
    Ok(())
}

/// The same where the database is not mounted.
fn release_in_database(snapshot: &Snapshot, tag: &str) -> Result<()> {
    let database = match Database::open(
        &snapshot.database,
        options_for(Mode::ReadWrite, "headstack context rm".into()),
    ) {
        // A database that is gone has no snapshots.
        Err(series::Error::DoesNotExist { .. }) => return Ok(()),
        opened => opened?,
    };
    let gone = |result: series::Result<()>| match result {
        Err(series::Error::DoesNotExist { .. }) => Ok(()),
        result => result,
    };
    gone(database.release_snapshot(&snapshot.name, tag))?;
    if snapshot.automatic {
        gone(database.remove_snapshot(&snapshot.name))?;
    }
    Ok(database.close()?)
}
