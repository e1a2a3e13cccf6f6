//! The tree that is dumped, seen through one descriptor of its root.
//!
//! Every path is resolved beneath it by the kernel, without symlinks and without crossing into other file systems, so
//! whoever changes the tree meanwhile cannot lead the dump astray.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags},
    io::{Errno, retry_on_intr as retry},
};

use super::{
    attributes::Attribute,
    error::{Error, Result},
    images::Images,
    record::{Node, Time},
};

/// `STATX_ATTR_NODUMP` and `STATX_ATTR_MOUNT_ROOT` of Linux.
const ATTRIBUTE_NODUMP: u64 = 0x40;
const ATTRIBUTE_MOUNT_ROOT: u64 = 0x2000;

/// `FUSE_SUPER_MAGIC` of Linux.
const FUSE_MAGIC: i64 = 0x6573_5546;
/// Immutable and append-only.
const FLAGS_OF_MOUNTS: u32 = 0x10 | 0x20;

/// How paths beneath a root are resolved.
pub(super) const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// What an object is to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Identity {
    /// Inode number.
    pub inode: u64,
    /// Birth in nanoseconds since 1970, 0 where the file system does not tell: a number that is used again is not the
    /// same object.
    pub born_ns: i64,
    /// Type, as `st_mode` has it.
    pub kind: u16,
}

/// Facts about an object of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// What it is to the host.
    pub identity: Identity,
    /// What the tape tells of it.
    pub node: Node,
    /// Number of a device, in full.
    pub device: u64,
    /// Space that it takes on its file system, in bytes.
    pub allocated_bytes: u64,
    /// File system it is on.
    pub filesystem: (u32, u32),
    /// True where another file system is mounted on it.
    pub mount_root: bool,
    /// True where its owner asked to leave it out.
    pub nodump: bool,
}

impl Status {
    fn of(statx: &Statx) -> Self {
        let time = |time: fs::StatxTimestamp| Time {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec,
        };
        let born = if statx.stx_mask & StatxFlags::BTIME.bits() == 0 {
            0
        } else {
            time(statx.stx_btime).ns()
        };
        let device = fs::makedev(statx.stx_rdev_major, statx.stx_rdev_minor);
        let attributes = statx.stx_attributes.bits();
        Self {
            identity: Identity {
                inode: statx.stx_ino,
                born_ns: born,
                kind: statx.stx_mode & 0o170_000,
            },
            node: Node {
                mode: statx.stx_mode,
                links: u16::try_from(statx.stx_nlink).unwrap_or(u16::MAX),
                uid: statx.stx_uid,
                gid: statx.stx_gid,
                size_bytes: statx.stx_size,
                accessed: time(statx.stx_atime),
                modified: time(statx.stx_mtime),
                changed: time(statx.stx_ctime),
                device: u32::try_from(device & 0xFFFF_FFFF).unwrap_or(0),
                flags: 0,
            },
            device,
            allocated_bytes: statx.stx_blocks.saturating_mul(512),
            filesystem: (statx.stx_dev_major, statx.stx_dev_minor),
            mount_root: attributes & ATTRIBUTE_MOUNT_ROOT != 0,
            nodump: attributes & ATTRIBUTE_NODUMP != 0,
        }
    }

    /// Type of the object.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.node.mode.into())
    }
}

/// A tree, by its root.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    path: PathBuf,
    status: Status,
    /// True on a file system in user space.
    fuse: bool,
    /// True where nothing can be written.
    read_only: bool,
    /// What stands for some of its files.
    images: Images,
}

impl Tree {
    /// Opens the directory that is the root of a tree.
    ///
    /// # Errors
    /// [`Error::Tree`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source: Errno| Error::Tree {
            path: path.to_path_buf(),
            source: source.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry(|| fs::openat(fs::CWD, path, flags, Mode::empty())).map_err(failed)?;
        let status = status_at(&root, c"").map_err(failed)?;
        let fuse = fs::fstatfs(&root).is_ok_and(|facts| facts.f_type == FUSE_MAGIC);
        let read_only = fs::fstatvfs(&root).is_ok_and(|facts| facts.f_flag.contains(fs::StatVfsMountFlags::RDONLY));
        Ok(Self {
            root,
            path: path.to_path_buf(),
            status,
            fuse,
            read_only,
            images: Images::default(),
        })
    }

    /// Flags of the inode of a file or directory, 0 where its file system has none.
    pub(super) fn flags_of(&self, file: impl AsFd) -> u32 {
        let flags = fs::ioctl_getflags(file).map_or(0, |flags| flags.bits());
        // A mount says by them what can be done with its files, which is not so where they are restored.
        if self.fuse { flags & !FLAGS_OF_MOUNTS } else { flags }
    }

    /// Lets images stand for some of its files.
    #[must_use]
    pub fn with_images(self, images: Images) -> Self {
        Self { images, ..self }
    }

    /// What stands for some of its files.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// True where its file system can only be read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Where it is, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Facts about its root.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Opens an object for reading, of which nothing is read yet. The time of access stays as it is where that is
    /// permitted.
    ///
    /// # Errors
    /// What the host says.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = BENEATH | ResolveFlags::NO_XDEV;
        let open = |flags| retry(|| fs::openat2(&self.root, path, flags, Mode::empty(), resolve));
        if flags.contains(OFlags::PATH) {
            return open(flags);
        }
        // What became a named pipe since it was looked at must not block.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags),
            opened => opened,
        }
    }
}

/// Facts about an entry of a directory, or with an empty name about what is open itself.
pub(super) fn status_at(directory: impl AsFd, name: &CStr) -> Result<Status, Errno> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    // Where it is not needed, it costs the host a look at every name.
    flags.set(AtFlags::EMPTY_PATH, name.is_empty());
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let statx = retry(|| fs::statx(&directory, name, flags, wanted))?;
    Ok(Status::of(&statx))
}

/// What a symlink says that is open as a path.
pub(super) fn link_target(link: impl AsFd) -> Result<Vec<u8>, Errno> {
    Ok(fs::readlinkat(link, c"", Vec::new())?.into_bytes())
}

/// Extended attributes of what is open, if only as a path.
pub(super) fn attributes(file: impl AsFd) -> io::Result<Vec<Attribute>> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let listed = match sized(|buffer| fs::flistxattr(&file, buffer)) {
        // A descriptor that is a path only has no attributes of its own, but its name in /proc has.
        Err(Errno::BADF) => sized(|buffer| fs::listxattr(&path, buffer)),
        listed => listed,
    };
    let list = match listed {
        Ok(list) => list,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut attributes = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // XFS shows ACLs a second time, and the label of the security module belongs to the host.
        if name.starts_with(b"trusted.SGI_ACL_") || name == b"security.selinux" {
            continue;
        }
        let key = CString::new(name).map_err(io::Error::other)?;
        match sized(|buffer| fs::getxattr(&path, key.as_c_str(), buffer)) {
            Ok(value) => attributes.push(Attribute {
                name: name.to_vec(),
                value,
            }),
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    attributes.sort();
    Ok(attributes)
}

/// Calls with a buffer that grows until it is long enough.
fn sized(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 512];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// A path of components.
pub(super) fn joined(directory: &Path, name: &[u8]) -> PathBuf {
    directory.join(OsStr::from_bytes(name))
}
