//! Advisory locks of ranges of a file, held by the open file and not by the process: the kernel's OFD locks.
//!
//! A process that ends, however, gives them up. Who holds one is asked of `/proc` only when that is to be told: the lock
//! itself names no process, but the descriptors of each process show the locks they hold.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

use crate::storage::Access;

/// Claims a range of a file, as [`crate::storage::Storage::claim`] does; it is held until the file is closed.
///
/// # Errors
/// `WouldBlock`, saying who has it as far as that is to be found out.
pub fn claim(file: &File, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()> {
    let range = |bytes: u64| i64::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    let kind = match access {
        Access::Read => libc::F_RDLCK,
        Access::ReadWrite => libc::F_WRLCK,
    };
    let lock = libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: range(offset_bytes)?,
        l_len: range(length_bytes)?,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(held(file)),
        Err(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {
            log::warn!("the file system has no locks: nothing keeps another process from using the same image");
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

fn held(file: &File) -> io::Error {
    let holder = holder(file).map_or_else(
        || "another process has it".to_owned(),
        |pid| format!("pid {pid} has it"),
    );
    io::Error::new(io::ErrorKind::WouldBlock, holder)
}

/// A process that holds a lock of the file; none where none that we may look at does.
fn holder(file: &File) -> Option<u32> {
    let own = file.metadata().ok()?;
    let processes = fs::read_dir("/proc").ok()?;
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let same = |path: &Path| fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()));
    numbers.into_iter().find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors.into_iter().flatten().flatten().any(|descriptor| {
            let number = descriptor.file_name();
            let info = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(&number);
            same(&descriptor.path()) && fs::read_to_string(info).is_ok_and(|info| info.contains("\nlock:"))
        })
    })
}
