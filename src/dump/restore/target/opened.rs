//! What can be done to an object that is open, if only as a path: its owner, flags and attributes.
//!
//! Nothing here goes by a name of the target, which somebody may have given to another object meanwhile.

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags},
    io::{Errno, retry_on_intr as retry},
};

use crate::dump::{attributes::Attribute, tree};

/// Flags of inodes that a restore sets: the others tell of how a file system keeps data.
pub(in crate::dump::restore) const FLAGS_KEPT: u32 = 0x08 | 0x10 | 0x20 | 0x40 | 0x80;

/// Name in /proc of what is open, which leads to nothing else.
pub(super) fn magic_of(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Removes attributes of an object that are not among `kept`; gives those that the host does not let go of.
pub(super) fn strip(file: &OwnedFd, kept: &[Attribute]) -> Vec<(Vec<u8>, Errno)> {
    let mut left = found_attributes(file);
    left.retain(|name| !kept.iter().any(|attribute| attribute.name == *name));
    let magic = magic_of(file);
    let remove = |name: Vec<u8>| {
        let removed = fs::removexattr(&magic, name.as_slice());
        Some((name, removed.err()?))
    };
    left.into_iter().filter_map(remove).collect()
}

/// Opens for reading what is open as a path only: the object itself, whatever has its name by now.
pub(super) fn reopened(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    retry(|| fs::openat(fs::CWD, magic_of(file), flags, Mode::empty()))
}

/// Gives a file or directory the flags that a restore sets; `open` is true where it is open as more than a path.
pub(super) fn set_flags(file: &OwnedFd, open: bool, flags: u32) -> Result<(), Errno> {
    if flags & FLAGS_KEPT == 0 {
        return Ok(());
    }
    let again = if open { None } else { Some(reopened(file)?) };
    let file = again.as_ref().unwrap_or(file);
    let kept = fs::ioctl_getflags(file)?.bits() & !FLAGS_KEPT;
    fs::ioctl_setflags(file, fs::IFlags::from_bits_retain(kept | flags & FLAGS_KEPT))
}

/// Names of the attributes that an object has.
fn found_attributes(file: &OwnedFd) -> Vec<Vec<u8>> {
    let attributes = tree::attributes(file).unwrap_or_default();
    attributes.into_iter().map(|attribute| attribute.name).collect()
}

/// Gives an object to its owner and group, of whom the host knows none by the highest number.
pub(super) fn give_away(file: &OwnedFd, uid: u32, gid: u32) -> Result<(), Errno> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    let (uid, gid) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
    fs::chownat(file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}
