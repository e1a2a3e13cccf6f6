//! The host's file system behind the storage traits.
//!
//! Everything is named relative to one descriptor of the root, opened once, so a database survives that its directory
//! is moved; a path that would leave the root is refused. Descriptors are closed on exec, and the last component of a
//! path is never followed if it is a symlink. What a crash may leave is bounded: a file is filled before it has a name
//! (`O_TMPFILE`), and where that cannot be, it is *staged* under a name of its own in the root, never elsewhere.
//!
//! Errors are the host's, with its errno; the caller knows the path.

mod claim;
mod staged;
mod storage;

pub use claim::claim;

use std::{
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags},
    io::{Errno, retry_on_intr as retry},
};

use self::storage::HostFile;
use super::{Access, Capacity, Directory, Entry, EntryKind, Fill, Stat, Storage, beneath, named_beneath, parent_of};

/// Mode of new files, before the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// Mode of new directories, before the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// What the host's file systems have not all learnt. Tests switch it off to prove the other way.
#[derive(Debug, Clone, Copy)]
struct Abilities {
    /// `O_TMPFILE`.
    unnamed_files: bool,
    /// `RENAME_NOREPLACE`.
    exclusive_rename: bool,
    /// `fallocate`.
    reserve: bool,
}

const ABILITIES: Abilities = Abilities {
    unnamed_files: true,
    exclusive_rename: true,
    reserve: true,
};

/// A directory of the host.
#[derive(Debug)]
pub struct HostDirectory {
    path: PathBuf,
    root: OwnedFd,
    boot: [u8; 16],
    abilities: Abilities,
}

impl HostDirectory {
    /// Opens a directory that exists. Writes nothing.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, and whatever else the host says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry(|| fs::openat(fs::CWD, path, flags, Mode::empty()))?;
        Ok(Self {
            path: path.to_path_buf(),
            root,
            boot: boot(),
            abilities: ABILITIES,
        })
    }

    /// Makes a directory and opens it; its parent must exist.
    ///
    /// # Errors
    /// `EEXIST` where the name is taken, and whatever else the host says.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::mkdirat(fs::CWD, path, DIRECTORY_MODE)?;
        Self::open(path)
    }

    /// Opens a directory as if the host could neither make unnamed files nor rename with care.
    #[cfg(test)]
    pub(super) fn open_on_old_host(path: &Path) -> io::Result<Self> {
        let abilities = Abilities {
            unnamed_files: false,
            exclusive_rename: false,
            ..ABILITIES
        };
        Ok(Self {
            abilities,
            ..Self::open(path)?
        })
    }

    /// Opens a directory inside the root, itself included.
    fn open_directory(&self, directory: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(retry(|| fs::openat(&self.root, directory, flags, Mode::empty()))?)
    }

    /// Opens a regular file inside the root; anything else is an error of its own.
    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        // A named pipe would block the open, were it not for O_NONBLOCK, which means nothing to a regular file.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(retry(|| fs::openat(&self.root, path, flags, FILE_MODE))?);
        match kind_of(FileType::from_raw_mode(fs::fstat(&file)?.st_mode)) {
            EntryKind::File => Ok(file),
            EntryKind::Directory => Err(Errno::ISDIR.into()),
            EntryKind::Other => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a file nor a directory",
            )),
        }
    }

    /// Opens a file without a name on the file system of `directory`; none where that cannot be.
    fn open_unnamed(&self, directory: &Path) -> io::Result<Option<HostFile>> {
        if !self.abilities.unnamed_files {
            return Ok(None);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match retry(|| fs::openat(&self.root, directory, flags, FILE_MODE)) {
            Ok(file) => Ok(Some(self.host_file(file.into()))),
            // What file systems and kernels say that do not have it; for the last, a directory that is not there must
            // be told apart.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(None),
            Err(Errno::NOENT) => self.open_directory(directory).map(|_| None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives an unnamed file its name, which must be free.
    fn name(&self, file: &HostFile, path: &Path) -> io::Result<()> {
        let magic = format!("/proc/self/fd/{}", file.file.as_raw_fd());
        let linked = match fs::linkat(fs::CWD, magic, &self.root, path, AtFlags::SYMLINK_FOLLOW) {
            // Without /proc; this way may need a capability.
            Err(Errno::NOENT) => fs::linkat(&file.file, "", &self.root, path, AtFlags::EMPTY_PATH),
            linked => linked,
        };
        Ok(linked?)
    }

    /// Moves a name to one that is free.
    fn rename_exclusive(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.abilities.exclusive_rename {
            match fs::renameat_with(&self.root, from, &self.root, to, RenameFlags::NOREPLACE) {
                // Said by file systems that do not have it, and of a directory that would move into itself, which the
                // plain call tells apart.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                renamed => return Ok(renamed?),
            }
        }
        match fs::statat(&self.root, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {
                fs::statat(&self.root, from, AtFlags::SYMLINK_NOFOLLOW)?;
                Err(Errno::EXIST.into())
            }
            // Nothing there that could be overwritten; the call says what else is wrong.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {
                Ok(fs::renameat(&self.root, from, &self.root, to)?)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn host_file(&self, file: File) -> HostFile {
        HostFile {
            file,
            can_reserve: self.abilities.reserve,
            in_memory: std::sync::OnceLock::new(),
        }
    }
}

impl Directory for HostDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let descriptor = self.open_directory(&beneath(directory)?)?;
        let mut entries = Vec::new();
        for entry in fs::Dir::read_from(&descriptor)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if matches!(bytes, b"." | b"..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                match fs::statat(&descriptor, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                    // Removed since it was listed.
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno.into()),
                }
            }
            let name = String::from_utf8_lossy(bytes);
            let exact = name.as_bytes() == bytes;
            entries.push(Entry {
                name: name.into_owned(),
                exact,
                kind: kind_of(kind),
            });
        }
        Ok(entries)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        Ok(fs::mkdirat(&self.root, named_beneath(path)?, DIRECTORY_MODE)?)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        Ok(fs::unlinkat(&self.root, named_beneath(path)?, AtFlags::REMOVEDIR)?)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        Ok(Arc::new(self.host_file(self.open_file(&named_beneath(path)?, flags)?)))
    }

    fn create(&self, path: &Path, fill: Fill<'_>) -> io::Result<Arc<dyn Storage>> {
        let path = named_beneath(path)?;
        if let Some(file) = self.open_unnamed(&parent_of(&path))? {
            fill(&file)?;
            self.name(&file, &path)?;
            return Ok(Arc::new(file));
        }
        self.open_directory(&parent_of(&path))?;
        let staged = self.stage(FILE_MODE)?;
        fill(staged.file())?;
        Ok(Arc::new(staged.keep(|name| self.rename_exclusive(name, &path))?))
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let path = named_beneath(path)?;
        let parent = self.open_directory(&parent_of(&path))?;
        let old = match fs::statat(&self.root, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat).filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        let mode = old
            .as_ref()
            .map_or(FILE_MODE, |old| Mode::from_raw_mode(old.st_mode & 0o7777));
        // The new contents are never open to more than the old ones were.
        let staged = self.stage(mode)?;
        let file = staged.file();
        file.write_all_at(contents, 0)?;
        if let Some(old) = &old {
            let owner = (fs::Uid::from_raw(old.st_uid), fs::Gid::from_raw(old.st_gid));
            match fs::fchown(&file.file, Some(owner.0), Some(owner.1)) {
                Ok(()) => fs::fchmod(&file.file, mode)?,
                // Only root may give files away; the new contents matter more than their owner.
                Err(Errno::PERM) => fs::fchmod(&file.file, mode & Mode::from_raw_mode(0o777))?,
                Err(errno) => return Err(errno.into()),
            }
        }
        file.sync()?;
        staged.keep(|name| Ok(fs::renameat(&self.root, name, &self.root, &path)?))?;
        Ok(retry(|| fs::fsync(&parent))?)
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        use io::Read as _;
        let file = self.open_file(&named_beneath(path)?, OFlags::RDONLY)?;
        let length = file.metadata()?.len();
        if length > limit_bytes {
            return Err(Errno::FBIG.into());
        }
        let mut contents = Vec::new();
        // One byte more, as it may have grown; with room for it the end is found without growing the buffer.
        contents.try_reserve_exact(usize::try_from(length).unwrap_or(0).saturating_add(1))?;
        file.take(limit_bytes.saturating_add(1)).read_to_end(&mut contents)?;
        let fits = u64::try_from(contents.len()).is_ok_and(|length| length <= limit_bytes);
        if fits { Ok(contents) } else { Err(Errno::FBIG.into()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_exclusive(&named_beneath(from)?, &named_beneath(to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(fs::unlinkat(&self.root, named_beneath(path)?, AtFlags::empty())?)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(stat_of(&fs::statat(
            &self.root,
            beneath(path)?,
            AtFlags::SYMLINK_NOFOLLOW,
        )?))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let directory = self.open_directory(&beneath(directory)?)?;
        Ok(retry(|| fs::fsync(&directory))?)
    }

    fn sweep_staged(&self) -> io::Result<usize> {
        self.sweep()
    }

    fn boot(&self) -> [u8; 16] {
        self.boot
    }

    fn capacity(&self) -> io::Result<Capacity> {
        let facts = fs::fstatvfs(&self.root)?;
        Ok(Capacity {
            fragment_bytes: if facts.f_frsize == 0 {
                facts.f_bsize
            } else {
                facts.f_frsize
            },
            blocks: facts.f_blocks,
            blocks_free: facts.f_bfree,
            blocks_available: facts.f_bavail,
            files: facts.f_files,
            files_free: facts.f_ffree,
            name_max: u32::try_from(facts.f_namemax).unwrap_or(u32::MAX),
        })
    }

    fn lock(&self, path: &Path, contents: &str) -> io::Result<Box<dyn Send + Sync>> {
        let file = self.open_file(&named_beneath(path)?, OFlags::RDWR | OFlags::CREATE)?;
        retry(|| fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        let lock = Lock(file);
        lock.0.set_len(0)?;
        match lock.0.write_all_at(contents.as_bytes(), 0) {
            // On a full disk the lock must still be had, or nothing could be removed; only its text is lost.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => Err(error),
            _ => Ok(Box::new(lock)),
        }
    }
}

/// Holds the lock of a file.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// A child that was forked in between has the same lock, so closing alone would not give it up.
    fn drop(&mut self) {
        if let Err(errno) = fs::flock(&self.0, FlockOperation::Unlock) {
            log::warn!("the lock could not be given up before its file is closed: {errno}");
        }
    }
}

fn kind_of(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        _ => EntryKind::Other,
    }
}

fn stat_of(stat: &fs::Stat) -> Stat {
    let nanoseconds = Duration::from_nanos(stat.st_mtime_nsec);
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let whole = if stat.st_mtime < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let modified = whole.and_then(|whole| whole.checked_add(nanoseconds));
    Stat {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        // st_blocks counts 512 bytes whatever the file system's own unit is.
        allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// The kernel's identity of this run. Where it is not to be had, a random one: a run that is not known to be the same
/// is taken for another, which costs a recovery and loses nothing.
fn boot() -> [u8; 16] {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let told = told.and_then(|text| {
        data_encoding::HEXLOWER
            .decode(text.trim().replace('-', "").as_bytes())
            .ok()
    });
    told.and_then(|bytes| bytes.try_into().ok()).unwrap_or_else(|| {
        let random = || RandomState::new().hash_one("boot");
        (u128::from(random()) << 64 | u128::from(random())).to_le_bytes()
    })
}

#[cfg(test)]
mod tests;
