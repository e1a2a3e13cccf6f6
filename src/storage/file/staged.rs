//! Files that are filled under a name of their own in the root before they take their place.
//!
//! A *staged* file is `.headstack.tmp.<pid>.<n>`. Its maker holds its advisory lock until it has its final name, so a
//! sweep tells the leftovers of dead processes from the work of living ones without asking who they were.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::{Errno, retry_on_intr as retry},
};

use super::{HostDirectory, HostFile};

/// What the names of staged files start with.
pub const STAGED_PREFIX: &str = ".headstack.tmp.";

/// Numbers the staged files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A staged file; dropped before it is kept, it is removed.
pub struct Staged<'a> {
    directory: &'a HostDirectory,
    name: PathBuf,
    file: Option<HostFile>,
}

impl HostDirectory {
    /// Makes a staged file, empty.
    pub(super) fn stage(&self, mode: Mode) -> io::Result<Staged<'_>> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!("{STAGED_PREFIX}{}.{number}", std::process::id()));
            match retry(|| fs::openat(&self.root, &name, flags, mode)) {
                Ok(file) => {
                    let file = File::from(file);
                    let staged = Staged {
                        directory: self,
                        name,
                        file: Some(self.host_file(file)),
                    };
                    retry(|| fs::flock(&staged.file().file, FlockOperation::NonBlockingLockExclusive))?;
                    return Ok(staged);
                }
                // Left by a dead process that had our number.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Removes the staged files that nobody holds; returns how many.
    pub(super) fn sweep(&self) -> io::Result<usize> {
        let root = self.open_directory(Path::new("."))?;
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&root)? {
            let entry = entry?;
            let staged = entry.file_name().to_bytes().starts_with(STAGED_PREFIX.as_bytes());
            if staged && matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
                names.push(entry.file_name().to_owned());
            }
        }
        let mut removed = 0;
        for name in names {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = match retry(|| fs::openat(&root, &name, flags, Mode::empty())) {
                // It took its place meanwhile.
                Err(Errno::NOENT) => continue,
                file => file?,
            };
            match retry(|| fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
                Err(Errno::WOULDBLOCK) => continue,
                locked => locked?,
            }
            match fs::unlinkat(&root, &name, AtFlags::empty()) {
                Err(Errno::NOENT) => {}
                unlinked => {
                    unlinked?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

impl Staged<'_> {
    /// The file, to be filled.
    pub fn file(&self) -> &HostFile {
        self.file.as_ref().expect("a staged file is open until it is kept")
    }

    /// Moves the file to its place by `take_place`, which gets its present name.
    pub fn keep(mut self, take_place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<HostFile> {
        take_place(&self.name)?;
        let file = self.file.take().expect("a staged file is kept once");
        // The lock is only about the staged name; it must not stay with a file that lives on.
        retry(|| fs::flock(&file.file, FlockOperation::Unlock))?;
        Ok(file)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(errno) = fs::unlinkat(&self.directory.root, &self.name, AtFlags::empty())
        {
            log::warn!(
                "{}: staged file is left behind: {errno}",
                self.directory.path.join(&self.name).display()
            );
        }
    }
}
