//! The only door to host files that hold our formats.
//!
//! Two traits and two implementations of each: [`mod@file`] is the host's file system, [`sim`] is memory with injected
//! faults and crash images. An engine names a file by a path relative to its [`Directory`], so a test can put the
//! whole engine on simulated storage and pull the plug at any instant.
//!
//! Glossary: a *directory* is the root that an engine works in; a *storage* is one open file in it; a *mapping* is a
//! window of shared memory onto a storage, *guarded*: if the file is cut short behind it, reads give zeros and the
//! mapping says so ([`guard::Mapping::damaged`]), the process lives on.

pub mod file;
pub mod guard;
mod natural;
pub mod sim;
pub mod size;
pub mod through;

use std::{
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

pub use file::{HostDirectory, claim};
pub use guard::Mapping;
pub use natural::natural;
pub use sim::SimDirectory;

/// What an open storage may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only; works on read-only file systems.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// Kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else; engines treat it as damage.
    Other,
}

/// One name in a listing. Names that are not UTF-8 are given lossily and flagged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name, without its directory.
    pub name: String,
    /// True where `name` is the host's very bytes.
    pub exact: bool,
    /// What it is.
    pub kind: EntryKind,
}

/// Facts about one file.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// Kind of the file.
    pub kind: EntryKind,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Space it takes on the device, in bytes.
    pub allocated_bytes: u64,
    /// Last modification.
    pub modified: SystemTime,
}

/// Capacity of the file system that holds a directory.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Unit of the block counts, in bytes.
    pub fragment_bytes: u64,
    /// Size of the file system in fragments.
    pub blocks: u64,
    /// Free fragments.
    pub blocks_free: u64,
    /// Free fragments for unprivileged users.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Longest name, in bytes.
    pub name_max: u32,
}

/// What a file holds at an offset, and how far that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// True where no space was ever taken, so that it reads as zeros.
    pub hole: bool,
    /// Where it ends, in bytes from the start of the file.
    pub end_bytes: u64,
}

/// One open file.
///
/// Every method may be called from several threads; overlapping writes are the caller's to order.
pub trait Storage: Send + Sync {
    /// Length in bytes.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes at `offset_bytes`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize>;

    /// Reads as [`Storage::read_at`] does, but only what memory holds already; `false` where it would have to wait for a
    /// device, where the file ends inside the range and where the host cannot tell. The buffer's contents are then lost.
    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool>;

    /// Writes all of `bytes` at `offset_bytes`, extending the file as needed.
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros) to `size_bytes`.
    fn set_size(&self, size_bytes: u64) -> io::Result<()>;

    /// Reserves space for `[offset_bytes, offset_bytes + length_bytes)` without changing the size, so that a later
    /// store through a mapping cannot run out of space.
    ///
    /// # Errors
    /// `ENOSPC` where there is no room. Where the file system cannot reserve, zeros are written instead and the size
    /// may grow.
    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()>;

    /// Gives the space of a range back, which then reads as zeros; the size stays. A range past the end is left alone.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system cannot, and nothing has changed.
    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()>;

    /// What stands at an offset; none at and behind the end. A file system that does not tell holes has only data.
    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>>;

    /// True where no space was ever taken for any of a range inside the file, as [`Storage::span_at`] says. To find the
    /// end of a span the host may look through all of the file; this question it answers at once where there are data.
    ///
    /// # Errors
    /// As [`Storage::span_at`].
    fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        let span = self.span_at(offset_bytes)?;
        Ok(span.is_some_and(|span| span.hole && span.end_bytes >= offset_bytes.saturating_add(length_bytes)))
    }

    /// True where no operation ever waits for a device, because the file has none but memory.
    fn never_waits(&self) -> bool {
        false
    }

    /// Makes the contents and the size durable.
    fn sync(&self) -> io::Result<()>;

    /// Maps `length_bytes` from the start of the file, shared, which may reach past its end.
    ///
    /// # Errors
    /// `ENOMEM` where mappings are not to be had; the caller falls back to descriptor access.
    fn map(&self, length_bytes: usize, access: Access) -> io::Result<Mapping>;

    /// Facts about this file.
    fn stat(&self) -> io::Result<Stat>;

    /// Claims a range, which may be past the end, until this handle is dropped: alone for writing, together with other
    /// readers for reading. A length of 0 stands for everything behind the offset. It is advisory: only who claims too is
    /// kept out. A handle claims a range once.
    ///
    /// # Errors
    /// `WouldBlock`, saying who has it as far as that is to be found out. Where the host has no locks nothing is claimed.
    fn claim(&self, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()>;

    /// Sets the time of last modification.
    fn set_modified(&self, modified: SystemTime) -> io::Result<()>;

    /// The host's descriptor, for kernel passthrough; none in simulation.
    fn as_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
}

/// Writes the first contents of a file that [`Directory::create`] makes, before it has a name.
pub type Fill<'a> = &'a mut dyn FnMut(&dyn Storage) -> io::Result<()>;

/// A tree of files under one root; paths are relative to it.
///
/// A path that is absolute, goes up (`..`) or has no name where one is needed is `EINVAL`'s kind, `InvalidInput`.
pub trait Directory: Send + Sync {
    /// Where the root is, for messages.
    fn path(&self) -> &Path;

    /// Lists a directory, in no order; `Path::new("")` is the root.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a directory; its parent must exist.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Opens a file that exists.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>>;

    /// Makes a file that appears under its name complete: `fill` runs before the name exists. The file is open for
    /// reading and writing. Neither contents nor name are durable before [`Storage::sync`] and
    /// [`Directory::sync_directory`].
    ///
    /// # Errors
    /// `EEXIST` where the name is taken; then, and when `fill` fails, nothing is left behind.
    fn create(&self, path: &Path, fill: Fill<'_>) -> io::Result<Arc<dyn Storage>>;

    /// Replaces the contents of `path` in one step, durably: a crash leaves the old or the new contents, and no other
    /// name in the directory of `path` is ever seen.
    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()>;

    /// Reads a whole file of at most `limit_bytes`.
    ///
    /// # Errors
    /// `EFBIG` where it is larger.
    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>>;

    /// Moves a file or directory to a name that must be free. A crash leaves the old name or the new one.
    ///
    /// # Errors
    /// `EEXIST` where the new name is taken, even by the same file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Facts about a path, which is not followed if it is a symlink.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Removes what a dead process left of files that it had not yet put in their place; returns how many. Such *staged*
    /// files are in the root only. The caller holds the lock that all writers of the directory take.
    fn sweep_staged(&self) -> io::Result<usize>;

    /// Identity of the run of the machine: it changes exactly when memory that was not made durable may be lost.
    fn boot(&self) -> [u8; 16];

    /// Capacity of the file system.
    fn capacity(&self) -> io::Result<Capacity>;

    /// Takes the advisory lock of file `path`, which is made where it is missing; it is held until the value is dropped
    /// or the process ends. `contents` says who holds it.
    ///
    /// # Errors
    /// `EWOULDBLOCK` where another handle holds it.
    fn lock(&self, path: &Path, contents: &str) -> io::Result<Box<dyn Send + Sync>>;
}

/// A path in a directory, cleaned; the root is `.`.
///
/// # Errors
/// `InvalidInput` where it is absolute, goes up or has a zero byte.
fn beneath(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if !name.as_encoded_bytes().contains(&0) => clean.push(name),
            Component::CurDir => {}
            _ => return Err(stray_path(path)),
        }
    }
    Ok(if clean.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        clean
    })
}

/// A path in a directory, cleaned, that is not the root.
fn named_beneath(path: &Path) -> io::Result<PathBuf> {
    let clean = beneath(path)?;
    if clean.as_os_str() == "." {
        Err(stray_path(path))
    } else {
        Ok(clean)
    }
}

/// The directory of a cleaned path.
fn parent_of(clean: &Path) -> PathBuf {
    let parent = clean.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn stray_path(path: &Path) -> io::Error {
    let message = format!("path {path:?} does not name anything inside the directory");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests;
