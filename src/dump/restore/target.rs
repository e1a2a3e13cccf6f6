//! The directory that is restored into, through one descriptor: nothing outside it can be reached.
//!
//! Every path is resolved by the kernel beneath the root and through no symlink, neither one from the tape nor one that
//! somebody puts there meanwhile; the last name is never followed either.

mod opened;
mod terms;

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
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
        images::{Images, IsPart, Take},
        record::{Node, Time},
        tree::{BENEATH, Status, status_at},
    },
    storage::Directory,
};

pub(super) use opened::FLAGS_KEPT;
use opened::{give_away, magic_of, reopened, set_flags, strip};
pub(super) use terms::Kept;
pub use terms::Terms;

impl AsFd for Entered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Flags with which nothing can be changed: immutable and append-only.
const FLAGS_PROTECTING: u32 = 0x10 | 0x20;

/// Bits of a mode by which a program acts as its owner or group.
const SET_ID: u16 = 0o6000;

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
    images: Option<(Take, IsPart)>,
    /// What images are held against.
    against: Images,
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
            against: Images::default(),
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
        let list = fs::getxattr(magic_of(&directory), c"system.posix_acl_default", &mut [0; 0][..]);
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
        let given = give_away(&file, node.uid, node.gid);
        // With another owner these bits would let anybody act as whoever restores.
        let withheld = match given {
            Ok(()) => 0,
            Err(_) if found == FileType::Directory => 0,
            Err(_) => node.mode & SET_ID,
        };
        note("owner", given);
        // A descriptor that is a path only takes these by its name in /proc, which no tape can lead elsewhere.
        let magic = magic_of(&file);
        let (lists, others): (Vec<_>, Vec<_>) = attributes
            .iter()
            .partition(|attribute| attribute.name.starts_with(b"system.posix_acl_"));
        let set = |attribute: &Attribute| {
            fs::setxattr(&magic, attribute.name.as_slice(), &attribute.value, XattrFlags::empty())
        };
        if exact && !plain {
            for (name, errno) in strip(&file, attributes) {
                note(&String::from_utf8_lossy(&name), Err(errno));
            }
        }
        for attribute in others {
            note(&String::from_utf8_lossy(&attribute.name), set(attribute));
        }
        let permissions = Mode::from_raw_mode(u32::from(node.mode & !withheld) & 0o7777);
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
            note("flags", set_flags(&file, open, node.flags));
        }
        if withheld != 0 {
            refused.push("set-user-ID and set-group-ID bits: they are the owner's that it did not get".into());
        }
        Ok(refused)
    }

    /// Gives an object attributes besides those that it has, and other permissions, also where its flags protect it. What
    /// could not be given is returned.
    pub(super) fn add(&self, path: &Path, attributes: &[Attribute], mode: Option<u16>) -> Result<Vec<String>, Errno> {
        let file = self.open_at(path, OFlags::PATH)?;
        let open = match status_at(&file, c"")?.file_type() {
            FileType::RegularFile => Some(reopened(&file)?),
            _ => None,
        };
        let flags = open.as_ref().and_then(|open| fs::ioctl_getflags(open).ok());
        let protected = open
            .zip(flags)
            .filter(|(_, flags)| flags.bits() & FLAGS_PROTECTING != 0);
        if let Some((open, flags)) = &protected {
            let bare = fs::IFlags::from_bits_retain(flags.bits() & !FLAGS_PROTECTING);
            fs::ioctl_setflags(open, bare)?;
        }
        let magic = magic_of(&file);
        let mut refused = Vec::new();
        if let Some(mode) = mode {
            fs::chmod(&magic, Mode::from_raw_mode(u32::from(mode) & 0o7777))?;
        }
        for Attribute { name, value } in attributes {
            if let Err(errno) = fs::setxattr(&magic, name.as_slice(), value, XattrFlags::empty()) {
                refused.push(format!("{}: {errno}", String::from_utf8_lossy(name)));
            }
        }
        if let Some((open, flags)) = protected {
            fs::ioctl_setflags(&open, flags)?;
        }
        Ok(refused)
    }

    /// The root, for files of our own in it.
    pub(super) fn root(&self) -> impl AsFd + '_ {
        &self.root
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever takes the name of a file between its making and its dressing gets nothing of it.
    #[test]
    fn what_was_made_is_dressed_whatever_has_its_name_by_now() {
        const NODUMP: u32 = 0x40;
        let room = tempfile::tempdir().unwrap();
        let destination = Destination::open(room.path()).unwrap();
        let made = destination.make_file(Path::new("f")).unwrap();
        let file = made.file.try_clone().unwrap();
        let other = std::fs::File::create(room.path().join("other")).unwrap();
        std::fs::rename(room.path().join("other"), room.path().join("f")).unwrap();
        let flags_of = |file: &dyn AsFd| fs::ioctl_getflags(file.as_fd()).map(|flags| flags.bits() & NODUMP);
        let node = Node {
            mode: 0o100_600,
            flags: NODUMP,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Node::default()
        };
        let refused = destination
            .dress(Path::new("f"), Some(made), &node, &[], false)
            .unwrap();
        // A file system without flags refuses them.
        let takes_flags = flags_of(&other).is_ok();
        assert_eq!(refused.is_empty(), takes_flags, "{refused:?}");
        assert_eq!(flags_of(&other).unwrap_or(0), 0, "the other file is as it was");
        assert_eq!(flags_of(&file).is_ok_and(|flags| flags != 0), takes_flags);
    }

    /// A program does not act as whoever restores it where its owner could not be given to it.
    #[test]
    fn programs_without_their_owner_act_as_nobody() {
        let room = tempfile::tempdir().unwrap();
        let destination = Destination::open(room.path()).unwrap();
        let dressed = |uid: u32| {
            let path = Path::new("program");
            let made = destination.make_file(path).unwrap();
            let node = Node {
                mode: 0o106_755,
                uid,
                gid: rustix::process::getegid().as_raw(),
                ..Node::default()
            };
            let refused = destination.dress(path, Some(made), &node, &[], false).unwrap();
            (destination.status(path).unwrap().node.mode & 0o7777, refused)
        };
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(dressed(own), (0o6755, Vec::new()));
        // The number that stands for no user, which nobody may give a file to.
        let (mode, refused) = dressed(u32::MAX);
        assert_eq!(mode, 0o755);
        assert!(
            refused.iter().any(|what| what.starts_with("set-user-ID")),
            "{refused:?}"
        );
    }
}
