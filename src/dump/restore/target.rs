//! The directory that is restored into, through one descriptor: nothing outside it can be reached.
//!
//! Every path is resolved by the kernel beneath the root and through no symlink, neither one from the tape nor one that
//! somebody puts there meanwhile; the last name is never followed either.

mod terms;

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags},
    io::{Errno, retry_on_intr as retry},
};

use crate::{
    dump::{
        attributes::Attribute,
        error::{Error, Result},
        images::Take,
        record::{Node, Time},
        tree::{BENEATH, Status, status_at},
    },
    storage::Directory,
};

pub(super) use terms::Kept;
pub use terms::Terms;

impl AsFd for Entered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Flags of inodes that a restore sets: the others tell of how a file system keeps data.
pub(super) const FLAGS_KEPT: u32 = 0x08 | 0x10 | 0x20 | 0x40 | 0x80;
/// Flags with which nothing can be changed: immutable and append-only.
const FLAGS_PROTECTING: u32 = 0x10 | 0x20;

/// A directory that is restored into.
pub struct Destination {
    root: OwnedFd,
    path: PathBuf,
    forced: bool,
    renames: Vec<(PathBuf, PathBuf)>,
    terms: Terms,
    /// True where it is the root of a mounted database.
    store: bool,
    /// Where it is remembered what was restored into a mounted database.
    memory: Option<Arc<dyn Directory>>,
    /// Takes images as what they were.
    images: Option<Take>,
    /// Alignment that files get in place of the one that they had.
    alignment: Option<Vec<u8>>,
    /// The directory that was used last: objects of one come together.
    entered: Mutex<Option<(PathBuf, Arc<Entered>)>>,
}

/// A directory of the target, open.
#[derive(Debug)]
struct Entered {
    directory: OwnedFd,
    /// True where what is made in it gets an access control list from it.
    bequeaths: bool,
}

/// A file that was made just now.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) file: OwnedFd,
    /// True where it cannot have any attributes yet.
    plain: bool,
}

impl Destination {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// [`Error::Tree`].
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry(|| fs::openat(fs::CWD, path, flags, Mode::empty())).map_err(|errno| Error::Tree {
            path: path.to_path_buf(),
            source: errno.into(),
        })?;
        Ok(Self {
            store: super::files::series::is_store(&root),
            alignment: terms::alignment_of(&root),
            root,
            path: path.to_path_buf(),
            forced: false,
            renames: Vec::new(),
            terms: Terms::default(),
            memory: None,
            images: None,
            entered: Mutex::new(None),
        })
    }

    /// Lets a restore take what fits, without a check of the room beforehand.
    #[must_use]
    pub fn forced(self, forced: bool) -> Self {
        Self { forced, ..self }
    }

    /// Lets objects that the tape has under one path be restored under another; both are from the root.
    #[must_use]
    pub fn renaming(self, renames: Vec<(PathBuf, PathBuf)>) -> Self {
        Self { renames, ..self }
    }

    /// Claims the directory for one restore, until it is closed.
    ///
    /// # Errors
    /// [`Error::Claimed`] where another has it.
    pub fn claim(&self) -> Result<()> {
        match fs::flock(&self.root, fs::FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Error::Claimed {
                path: self.path.clone(),
            }),
            // A file system without locks has no other claims either.
            _ => Ok(()),
        }
    }

    /// True where a restore takes what fits.
    pub(super) fn takes_what_fits(&self) -> bool {
        self.forced
    }

    /// Says which directory holds the database that is mounted here, so that increments go on top of what was restored into it.
    #[must_use]
    pub fn of_database(self, directory: Arc<dyn Directory>) -> Self {
        Self {
            memory: Some(directory),
            ..self
        }
    }

    /// Where it is remembered what was restored into a mounted database.
    pub(super) fn memory(&self) -> Option<&dyn Directory> {
        self.memory.as_deref()
    }

    /// What it takes.
    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    /// Paths that others are restored under.
    pub(super) fn new_names(&self) -> impl Iterator<Item = &Path> {
        self.renames.iter().map(|(_, to)| to.as_path())
    }

    /// Where an object of the tape goes.
    fn renamed(&self, path: &Path) -> PathBuf {
        let renames = self.renames.iter();
        let found = renames.filter_map(|(from, to)| Some((from, to, path.strip_prefix(from).ok()?)));
        match found.max_by_key(|(from, ..)| from.as_os_str().len()) {
            Some((_, to, rest)) if rest.as_os_str().is_empty() => to.clone(),
            Some((_, to, rest)) => to.join(rest),
            None => path.to_path_buf(),
        }
    }

    /// True where it is the root of a mounted database, in which directories are series.
    #[must_use]
    pub fn is_store(&self) -> bool {
        self.store
    }

    /// Where it is, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is there.
    pub(super) fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_here(&self.renamed(path), flags)
    }

    fn open_here(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        retry(|| fs::openat2(&self.root, path, flags, Mode::empty(), BENEATH))
    }

    /// The directory of a path, open, and the last name in it.
    fn parent(&self, path: &Path) -> Result<(Arc<Entered>, CString), Errno> {
        let path = &self.renamed(path);
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut last = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, entered)) = &*last
            && known == parent
        {
            return Ok((Arc::clone(entered), name));
        }
        let directory = self.open_here(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let magic = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let list = fs::getxattr(magic, c"system.posix_acl_default", &mut [0; 0][..]);
        let entered = Arc::new(Entered {
            directory,
            bequeaths: list.is_ok(),
        });
        *last = Some((parent.to_path_buf(), Arc::clone(&entered)));
        Ok((entered, name))
    }

    /// Forgets the directory that was used last: its path may mean another one now.
    fn leave(&self) {
        *self.entered.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// True where something of this path is there.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.status(path).is_ok()
    }

    /// Facts about what is there.
    pub(super) fn status(&self, path: &Path) -> Result<Status, Errno> {
        if path.as_os_str().is_empty() {
            return status_at(&self.root, c"");
        }
        let (parent, name) = self.parent(path)?;
        status_at(&*parent, &name)
    }

    /// Makes a directory; one that is there is left as it is.
    pub(super) fn make_directory(&self, path: &Path) -> Result<(), Errno> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let (parent, name) = self.parent(path)?;
        match fs::mkdirat(&*parent, &name, Mode::RWXU) {
            Err(Errno::EXIST) if status_at(&*parent, &name)?.file_type() == FileType::Directory => Ok(()),
            made => made,
        }
    }

    /// Makes a regular file in place of whatever has its name, a directory aside.
    pub(super) fn make_file(&self, path: &Path) -> Result<Made, Errno> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || retry(|| fs::openat(&*parent, &name, flags, Mode::RUSR | Mode::WUSR));
        let made = match make() {
            Err(Errno::EXIST) => {
                unlink(&parent, &name)?;
                make()
            }
            made => made,
        };
        made.map(|file| Made {
            file,
            plain: !parent.bequeaths,
        })
    }

    /// Makes a symlink in place of whatever has its name.
    pub(super) fn make_symlink(&self, path: &Path, target: &[u8]) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        unlink(&parent, &name)?;
        fs::symlinkat(target, &*parent, &name)
    }

    /// Makes a device, pipe or socket in place of whatever has its name.
    pub(super) fn make_special(&self, path: &Path, kind: FileType, device: u64) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        unlink(&parent, &name)?;
        fs::mknodat(&*parent, &name, kind, Mode::RUSR | Mode::WUSR, device)
    }

    /// Gives what is there another name, in place of whatever has it.
    pub(super) fn link(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to)?;
        unlink(&new, &new_name)?;
        fs::linkat(&*old, &old_name, &*new, &new_name, AtFlags::empty())
    }

    /// Moves a name.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to)?;
        self.leave();
        fs::renameat(&*old, &old_name, &*new, &new_name)
    }

    /// Removes a name that is no directory; that it is gone already is fine.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        unlink(&parent, &name)
    }

    /// Removes an empty directory; that it is gone already is fine.
    pub(super) fn remove_directory(&self, path: &Path) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        self.leave();
        match fs::unlinkat(&*parent, &name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    /// Gives an object its owner, attributes, permissions and times, in the order in which none undoes another; `made` is the
    /// file where it was made just now and is still open. What could not be given is returned.
    pub(super) fn dress(
        &self,
        path: &Path,
        made: Option<Made>,
        node: &Node,
        attributes: &[Attribute],
        exact: bool,
    ) -> Result<Vec<String>, Errno> {
        let found = FileType::from_raw_mode(node.mode.into());
        let open = made.is_some();
        let (file, plain) = match made {
            Some(Made { file, plain }) => (file, plain),
            None => (self.open_at(path, OFlags::PATH)?, false),
        };
        if !open && status_at(&file, c"")?.file_type() != found {
            return Err(Errno::STALE);
        }
        let mut refused = Vec::new();
        let mut note = |what: &str, result: Result<(), Errno>| {
            if let Err(errno) = result {
                refused.push(format!("{what}: {errno}"));
            }
        };
        note("owner", give_away(&file, node.uid, node.gid));
        // A descriptor that is a path only takes these by its name in /proc, which no tape can lead elsewhere.
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        let (lists, others): (Vec<_>, Vec<_>) = attributes
            .iter()
            .partition(|attribute| attribute.name.starts_with(b"system.posix_acl_"));
        let set = |attribute: &Attribute| {
            fs::setxattr(&magic, attribute.name.as_slice(), &attribute.value, XattrFlags::empty())
        };
        if exact && !plain {
            let there = found_attributes(&file).into_iter();
            let names = there.filter(|name| !attributes.iter().any(|attribute| attribute.name == *name));
            for name in names {
                note(
                    &String::from_utf8_lossy(&name),
                    fs::removexattr(&magic, name.as_slice()),
                );
            }
        }
        for attribute in others {
            note(&String::from_utf8_lossy(&attribute.name), set(attribute));
        }
        let permissions = Mode::from_raw_mode(u32::from(node.mode) & 0o7777);
        match found {
            FileType::Symlink => {}
            _ if open => note("permissions", fs::fchmod(&file, permissions)),
            _ => note("permissions", fs::chmod(&magic, permissions)),
        }
        for attribute in lists {
            note(&String::from_utf8_lossy(&attribute.name), set(attribute));
        }
        let times = Timestamps {
            last_access: spec(node.accessed),
            last_modification: spec(node.modified),
        };
        note("times", fs::utimensat(&file, c"", &times, AtFlags::EMPTY_PATH));
        if matches!(found, FileType::RegularFile | FileType::Directory) {
            note("flags", self.set_flags(path, node.flags));
        }
        Ok(refused)
    }

    /// Gives an object attributes besides those that it has, and other permissions, also where its flags protect it. What
    /// could not be given is returned.
    pub(super) fn add(&self, path: &Path, attributes: &[Attribute], mode: Option<u16>) -> Result<Vec<String>, Errno> {
        let file = self.open_at(path, OFlags::PATH)?;
        let flags = match status_at(&file, c"")?.file_type() {
            FileType::RegularFile => {
                let open = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
                fs::ioctl_getflags(&open).map_or(0, |flags| flags.bits())
            }
            _ => 0,
        };
        let protected = flags & FLAGS_PROTECTING != 0;
        if protected {
            self.put_flags(path, flags & !FLAGS_PROTECTING)?;
        }
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut refused = Vec::new();
        if let Some(mode) = mode {
            fs::chmod(&magic, Mode::from_raw_mode(u32::from(mode) & 0o7777))?;
        }
        for Attribute { name, value } in attributes {
            if let Err(errno) = fs::setxattr(&magic, name.as_slice(), value, XattrFlags::empty()) {
                refused.push(format!("{}: {errno}", String::from_utf8_lossy(name)));
            }
        }
        if protected {
            self.put_flags(path, flags)?;
        }
        Ok(refused)
    }

    fn put_flags(&self, path: &Path, flags: u32) -> Result<(), Errno> {
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        fs::ioctl_setflags(&file, fs::IFlags::from_bits_retain(flags))
    }

    fn set_flags(&self, path: &Path, flags: u32) -> Result<(), Errno> {
        if flags & FLAGS_KEPT == 0 {
            return Ok(());
        }
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let kept = fs::ioctl_getflags(&file)?.bits() & !FLAGS_KEPT;
        fs::ioctl_setflags(&file, fs::IFlags::from_bits_retain(kept | flags & FLAGS_KEPT))
    }

    /// The root, for files of our own in it.
    pub(super) fn root(&self) -> impl AsFd + '_ {
        &self.root
    }
}

/// Names of the attributes that an object has.
fn found_attributes(file: &OwnedFd) -> Vec<Vec<u8>> {
    let attributes = crate::dump::tree::attributes(file).unwrap_or_default();
    attributes.into_iter().map(|attribute| attribute.name).collect()
}

/// Gives an object to its owner and group, of whom the host knows none by the highest number.
fn give_away(file: &OwnedFd, uid: u32, gid: u32) -> Result<(), Errno> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    let (uid, gid) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
    fs::chownat(file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

fn spec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}

/// Removes a name; that there is none is fine.
fn unlink(parent: &Entered, name: &CString) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Writes all of `bytes` at an offset.
pub(super) fn write_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        done += retry(|| rustix::io::pwrite(file, &bytes[done..], offset + done as u64))?;
    }
    Ok(())
}
