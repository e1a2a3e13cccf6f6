//! Devices that are no files: a directory in which some names open something else than a file of that name.
//!
//! The engine opens its members by a directory and a name. [`Devices`] puts partitions, overlaid members and whole arrays
//! under such names, so that whoever reads or writes members need not know of them; what stands beside a member, such as its
//! journal, is still a file. [`Window`] is the commonest of them: a part of a file, such as a partition.

use std::{
    collections::BTreeMap,
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustix::io::Errno;

use crate::storage::{Access, Capacity, Directory, Entry, EntryKind, Fill, Mapping, Span, Stat, Storage};

/// Opens a device.
pub type Opener = Arc<dyn Fn(Access) -> io::Result<Arc<dyn Storage>> + Send + Sync>;

/// A directory of which some names are devices.
#[derive(Clone)]
pub struct Devices {
    files: Arc<dyn Directory>,
    /// False where nothing but the devices may change.
    files_change: bool,
    devices: BTreeMap<PathBuf, Opener>,
}

impl Devices {
    /// The same directory, in which files may be made and changed as before.
    pub fn beside(files: Arc<dyn Directory>) -> Self {
        Self {
            files,
            files_change: true,
            devices: BTreeMap::new(),
        }
    }

    /// The same directory, in which files can only be read.
    pub fn over(files: Arc<dyn Directory>) -> Self {
        Self {
            files_change: false,
            ..Self::beside(files)
        }
    }

    /// Lets a name be a device.
    pub fn insert(&mut self, name: PathBuf, open: Opener) {
        self.devices.insert(name, open);
    }

    /// The directory of the files, for what would change it.
    fn changing(&self) -> io::Result<&Arc<dyn Directory>> {
        if self.files_change {
            Ok(&self.files)
        } else {
            Err(Errno::ROFS.into())
        }
    }

    /// As [`Devices::changing`], for a name that is no device.
    fn changing_file(&self, path: &Path) -> io::Result<&Arc<dyn Directory>> {
        if self.devices.contains_key(path) {
            Err(Errno::BUSY.into())
        } else {
            self.changing()
        }
    }
}

impl Directory for Devices {
    fn path(&self) -> &Path {
        self.files.path()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.files.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.changing()?.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.changing()?.remove_directory(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>> {
        match self.devices.get(path) {
            Some(open) => open(access),
            None if access == Access::Read => self.files.open(path, access),
            None => self.changing()?.open(path, access),
        }
    }

    fn create(&self, path: &Path, fill: Fill<'_>) -> io::Result<Arc<dyn Storage>> {
        if self.devices.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        self.changing()?.create(path, fill)
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.changing_file(path)?.replace(path, contents)
    }

    fn read(&self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        let Some(open) = self.devices.get(path) else {
            return self.files.read(path, limit_bytes);
        };
        let storage = open(Access::Read)?;
        let size = storage.size_bytes()?;
        let length = usize::try_from(size).ok().filter(|_| size <= limit_bytes);
        let mut bytes = vec![0; length.ok_or(Errno::FBIG)?];
        let count = storage.read_at(&mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing_file(to)?;
        self.changing_file(from)?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changing_file(path)?.remove(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        match self.devices.get(path) {
            Some(open) => open(Access::Read)?.stat(),
            None => self.files.stat(path),
        }
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        if self.files_change {
            self.files.sync_directory(directory)
        } else {
            Ok(())
        }
    }

    fn sweep_staged(&self) -> io::Result<usize> {
        self.changing()?.sweep_staged()
    }

    fn boot(&self) -> [u8; 16] {
        self.files.boot()
    }

    fn capacity(&self) -> io::Result<Capacity> {
        self.files.capacity()
    }

    fn lock(&self, path: &Path, contents: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.changing_file(path)?.lock(path, contents)
    }
}

/// A part of a file as a device of its own; its length never changes.
pub struct Window {
    storage: Arc<dyn Storage>,
    start_bytes: u64,
    length_bytes: u64,
    claims: bool,
}

impl Window {
    /// A part of a file.
    pub fn new(storage: Arc<dyn Storage>, start_bytes: u64, length_bytes: u64) -> Self {
        Self {
            storage,
            start_bytes,
            length_bytes,
            claims: true,
        }
    }

    /// The same for a look at what others may be using: claiming it has no effect.
    pub fn unclaimed(storage: Arc<dyn Storage>, start_bytes: u64, length_bytes: u64) -> Self {
        Self {
            claims: false,
            ..Self::new(storage, start_bytes, length_bytes)
        }
    }

    /// Place in the file of a range that lies inside.
    fn inside(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<u64> {
        let end = offset_bytes.checked_add(length_bytes);
        if end.is_some_and(|end| end <= self.length_bytes) {
            Ok(self.start_bytes + offset_bytes)
        } else {
            Err(Errno::FBIG.into())
        }
    }
}

impl Storage for Window {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.length_bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let left = self.length_bytes.saturating_sub(offset_bytes);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if length == 0 {
            return Ok(0);
        }
        self.storage
            .read_at(&mut buffer[..length], self.start_bytes + offset_bytes)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        match self.inside(offset_bytes, buffer.len() as u64) {
            Ok(at) => self.storage.read_cached_at(buffer, at),
            Err(_) => Ok(false),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let at = self.inside(offset_bytes, bytes.len() as u64)?;
        self.storage.write_all_at(bytes, at)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        if size_bytes == self.length_bytes {
            Ok(())
        } else {
            Err(Errno::INVAL.into())
        }
    }

    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.storage
            .reserve(self.inside(offset_bytes, length_bytes)?, length_bytes)
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let length = length_bytes.min(self.length_bytes.saturating_sub(offset_bytes));
        if length == 0 {
            return Ok(());
        }
        self.storage.punch(self.start_bytes + offset_bytes, length)
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        if offset_bytes >= self.length_bytes {
            return Ok(None);
        }
        let span = self.storage.span_at(self.start_bytes + offset_bytes)?;
        Ok(span.map(|span| Span {
            end_bytes: (span.end_bytes - self.start_bytes).min(self.length_bytes),
            ..span
        }))
    }

    fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        self.storage
            .is_hole(self.inside(offset_bytes, length_bytes)?, length_bytes)
    }

    fn never_waits(&self) -> bool {
        self.storage.never_waits()
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.sync()
    }

    /// There is none: a mapping begins at the start of a file.
    fn map(&self, _length_bytes: usize, _access: Access) -> io::Result<Mapping> {
        Err(Errno::NOMEM.into())
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            kind: EntryKind::File,
            size_bytes: self.length_bytes,
            ..self.storage.stat()?
        })
    }

    /// Claims the range in the file; a length of 0 is up to the end of the part.
    fn claim(&self, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()> {
        let left = self.length_bytes.saturating_sub(offset_bytes);
        let length = if length_bytes == 0 {
            left
        } else {
            length_bytes.min(left)
        };
        match length {
            _ if !self.claims => Ok(()),
            0 => Ok(()),
            length => self.storage.claim(self.start_bytes + offset_bytes, length, access),
        }
    }

    fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.storage.set_modified(modified)
    }

    /// There is none: its offsets would not be those of the device.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDirectory;

    fn window() -> (Arc<dyn Storage>, Window) {
        let directory = SimDirectory::new();
        let file = directory
            .create(Path::new("disk"), &mut |file| file.write_all_at(&[1; 64 << 10], 0))
            .unwrap();
        (Arc::clone(&file), Window::new(file, 8192, 16 << 10))
    }

    #[test]
    fn window_shows_its_part_and_touches_no_other() {
        let (file, window) = window();
        window.write_all_at(&[2; 16 << 10], 0).unwrap();
        assert!(window.write_all_at(&[3; 2], (16 << 10) - 1).is_err());
        assert!(window.write_all_at(&[3; 1], u64::MAX).is_err());
        assert!(window.set_size(1).is_err() && window.set_size(16 << 10).is_ok());
        let mut bytes = [0; 64 << 10];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 64 << 10);
        assert_eq!(bytes[..8192], [1; 8192]);
        assert_eq!(bytes[8192..24 << 10], [2; 16 << 10]);
        assert_eq!(bytes[24 << 10..], [1; 40 << 10]);
        assert_eq!(window.read_at(&mut bytes, 16000).unwrap(), 384);
        assert_eq!(window.read_at(&mut bytes, 1 << 40).unwrap(), 0);
        assert!(!window.read_cached_at(&mut bytes, 0).unwrap());
        window.punch(12 << 10, 1 << 30).unwrap();
        assert_eq!(window.span_at(12 << 10).unwrap().unwrap().end_bytes, 16 << 10);
        assert_eq!(window.span_at(16 << 10).unwrap(), None);
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes[20 << 10..24 << 10], [0; 4096]);
        assert_eq!(bytes[24 << 10], 1);
    }

    #[test]
    fn only_devices_change_where_files_may_not() {
        let files = SimDirectory::new();
        files
            .create(Path::new("disk"), &mut |file| file.set_size(4096))
            .unwrap();
        let storage = files.open(Path::new("disk"), Access::ReadWrite).unwrap();
        let mut devices = Devices::over(Arc::new(files));
        let opened: Arc<dyn Storage> = Arc::new(Window::new(storage, 0, 4096));
        devices.insert("part".into(), Arc::new(move |_| Ok(Arc::clone(&opened))));
        let refused = |result: io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EROFS));
        refused(devices.open(Path::new("disk"), Access::ReadWrite).map(drop));
        refused(devices.create(Path::new("new"), &mut |_| Ok(())).map(drop));
        refused(devices.remove(Path::new("disk")));
        refused(devices.replace(Path::new("disk"), b""));
        devices.open(Path::new("disk"), Access::Read).unwrap();
        let device = devices.open(Path::new("part"), Access::ReadWrite).unwrap();
        device.write_all_at(&[1], 0).unwrap();
        assert_eq!(devices.read(Path::new("part"), 4096).unwrap()[0], 1);
        assert!(devices.read(Path::new("part"), 4095).is_err());
    }
}
