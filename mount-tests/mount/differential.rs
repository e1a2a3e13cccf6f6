//! The same calls on `raw` and on a file of ext4 that has the append-only attribute: the same errno.
//!
//! But for a few rows, listed with their reasons, where a file of entries means to differ; those have to differ.
//! Needs root and an ext4 file system under the temporary directory.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::{
    fs::{AtFlags, FallocateFlags, Mode, OFlags, Timespec, Timestamps},
    io::Errno,
};

use super::fixture::{Mount, appender, records, shell, try_shell};

type Call = (&'static str, fn(&Path) -> Result<(), Errno>);

fn open(path: &Path, flags: OFlags) -> Result<rustix::fd::OwnedFd, Errno> {
    rustix::fs::open(path, flags, Mode::from_bits_truncate(0o644))
}

fn of<T>(result: std::io::Result<T>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| Errno::from_io_error(&error).unwrap())
}

fn other(path: &Path) -> PathBuf {
    path.with_file_name("other")
}

fn times(path: &Path, seconds: i64, nanoseconds: i64) -> Result<(), Errno> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty())
}

const CALLS: &[Call] = &[
    ("open for reading", |p| open(p, OFlags::RDONLY).map(drop)),
    ("open for writing", |p| open(p, OFlags::WRONLY).map(drop)),
    ("open for both", |p| open(p, OFlags::RDWR).map(drop)),
    ("open to append", |p| open(p, OFlags::WRONLY | OFlags::APPEND).map(drop)),
    ("open to read and append", |p| {
        open(p, OFlags::RDWR | OFlags::APPEND).map(drop)
    }),
    ("open, appending, with O_TRUNC", |p| {
        open(p, OFlags::WRONLY | OFlags::APPEND | OFlags::TRUNC).map(drop)
    }),
    ("open, reading, with O_TRUNC", |p| {
        open(p, OFlags::RDONLY | OFlags::TRUNC).map(drop)
    }),
    ("open with O_CREAT", |p| {
        open(p, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE).map(drop)
    }),
    ("open with O_EXCL", |p| {
        open(p, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL).map(drop)
    }),
    ("open as a directory", |p| {
        open(p, OFlags::RDONLY | OFlags::DIRECTORY).map(drop)
    }),
    ("open without following", |p| {
        open(p, OFlags::RDONLY | OFlags::NOFOLLOW).map(drop)
    }),
    ("open synchronously", |p| {
        open(p, OFlags::WRONLY | OFlags::APPEND | OFlags::SYNC).map(drop)
    }),
    ("open as a path", |p| open(p, OFlags::PATH).map(drop)),
    ("ftruncate to nothing", |p| of(appender(p).set_len(0))),
    ("ftruncate to the same size", |p| {
        of(appender(p).set_len(fs::metadata(p).unwrap().len()))
    }),
    ("ftruncate to more", |p| of(appender(p).set_len(1 << 20))),
    ("truncate", |p| of(truncate_by_path(p, 0))),
    ("truncate to the same size", |p| {
        of(truncate_by_path(p, fs::metadata(p).unwrap().len()))
    }),
    ("chmod", |p| {
        of(fs::set_permissions(p, fs::Permissions::from_mode(0o600)))
    }),
    ("chmod to the same mode", |p| {
        of(fs::set_permissions(p, fs::Permissions::from_mode(0o644)))
    }),
    ("chown", |p| of(std::os::unix::fs::chown(p, Some(1), Some(1)))),
    ("chgrp", |p| of(std::os::unix::fs::chown(p, None, Some(1)))),
    ("times to now", |p| times(p, 0, rustix::fs::UTIME_NOW)),
    ("times of the caller's", |p| times(p, 1, 1)),
    ("times left alone", |p| times(p, 0, rustix::fs::UTIME_OMIT)),
    ("futimens", |p| of(appender(p).set_modified(SystemTime::UNIX_EPOCH))),
    ("link", |p| of(fs::hard_link(p, other(p)))),
    ("rename", |p| of(fs::rename(p, other(p)))),
    ("unlink", |p| of(fs::remove_file(p))),
    ("rmdir", |p| of(fs::remove_dir(p))),
    ("readlink", |p| of(fs::read_link(p))),
    ("read at the end", |p| {
        let file = fs::File::open(p).unwrap();
        let end = file.metadata().unwrap().len();
        assert_eq!(file.read_at(&mut [0; 9], end).unwrap(), 0);
        Ok(())
    }),
    ("read through a writer's descriptor", |p| {
        of(appender(p).read_at(&mut [0; 9], 0))
    }),
    ("write through a reader's descriptor", |p| {
        of(fs::File::open(p).unwrap().write_at(&[0; 16], 0))
    }),
    ("punch a hole", |p| {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(appender(p), flags, 0, 16)
    }),
    ("seek before the start", |p| {
        rustix::fs::seek(fs::File::open(p).unwrap(), rustix::fs::SeekFrom::Current(-1)).map(drop)
    }),
    ("seek for data", |p| {
        rustix::fs::seek(fs::File::open(p).unwrap(), rustix::fs::SeekFrom::Data(1)).map(drop)
    }),
    ("seek for a hole", |p| {
        rustix::fs::seek(fs::File::open(p).unwrap(), rustix::fs::SeekFrom::Hole(1)).map(drop)
    }),
    ("seek for data past the end", |p| {
        rustix::fs::seek(fs::File::open(p).unwrap(), rustix::fs::SeekFrom::Data(1 << 40)).map(drop)
    }),
    ("fsync", |p| of(fs::File::open(p).unwrap().sync_all())),
    ("fdatasync", |p| of(appender(p).sync_data())),
    ("lock", |p| {
        rustix::fs::flock(fs::File::open(p).unwrap(), rustix::fs::FlockOperation::LockExclusive)
    }),
    ("access to read", |p| rustix::fs::access(p, rustix::fs::Access::READ_OK)),
    ("access to write", |p| {
        rustix::fs::access(p, rustix::fs::Access::WRITE_OK)
    }),
    ("access to execute", |p| {
        rustix::fs::access(p, rustix::fs::Access::EXEC_OK)
    }),
    ("advise", |p| {
        rustix::fs::fadvise(fs::File::open(p).unwrap(), 0, None, rustix::fs::Advice::Sequential)
    }),
    ("a name below it", |p| of(fs::metadata(p.join("x")))),
    ("a name beside it", |p| of(fs::metadata(other(p)))),
    ("a name that is too long", |p| {
        of(fs::metadata(p.with_file_name("x".repeat(300))))
    }),
    ("set an attribute", |p| {
        rustix::fs::setxattr(p, "user.x", b"1", rustix::fs::XattrFlags::empty())
    }),
    ("get an attribute", |p| {
        rustix::fs::getxattr(p, "user.x", &mut [0u8; 9][..]).map(drop)
    }),
    ("remove an attribute", |p| rustix::fs::removexattr(p, "user.x")),
    ("list attributes", |p| {
        rustix::fs::listxattr(p, &mut [0u8; 999][..]).map(drop)
    }),
    ("chattr to the same", |p| {
        shell_errno(&format!("chattr +a {}", p.display()))
    }),
];

/// Rows where the layout of the mount asks for another answer, and why.
const MEANT: &[(&str, &str)] = &[
    ("rmdir", "ext4 minds the attribute before the kind; ENOTDIR says more"),
    (
        "punch a hole",
        "there is no such thing as space here: EOPNOTSUPP, where ext4 says EPERM",
    ),
];

/// truncate(2), which the standard library does not have; truncate(1) opens first.
fn truncate_by_path(path: &Path, size: u64) -> std::io::Result<()> {
    let script =
        "import os,sys\ntry: os.truncate(sys.argv[1], int(sys.argv[2]))\nexcept OSError as e: sys.exit(e.errno)";
    let run = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .arg(size.to_string())
        .status()?;
    match run.code() {
        Some(0) => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code.unwrap_or(libc::EINTR))),
    }
}

fn shell_errno(command: &str) -> Result<(), Errno> {
    match try_shell(command).status.success() {
        true => Ok(()),
        false => Err(Errno::PERM),
    }
}

/// A file of the host with the append-only attribute, which is taken off again.
struct AppendOnly(PathBuf);

impl AppendOnly {
    fn new(path: PathBuf) -> Option<Self> {
        fs::write(&path, records(1..=10)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let made = Self(path);
        try_shell(&format!("chattr +a {}", made.0.display()))
            .status
            .success()
            .then_some(made)
    }
}

impl Drop for AppendOnly {
    fn drop(&mut self) {
        try_shell(&format!("chattr -a {}", self.0.display()));
    }
}

#[test]
fn errors_are_those_of_an_append_only_file_of_ext4() {
    let mount = Mount::new();
    let series = mount.series("s");
    appender(&series.join("raw")).write_all_records();
    fs::create_dir(mount.scratch("host")).unwrap();
    let kind = shell(&format!("stat -f -c %T {}", mount.scratch("host").display()));
    let peer = AppendOnly::new(mount.scratch("host/raw")).filter(|_| kind.starts_with("ext"));
    let Some(peer) = peer else {
        return crate::peer::skip(&format!("chattr +a needs root and an ext4 file system, this is {kind}"));
    };
    let mut differences = Vec::new();
    for (name, call) in CALLS {
        let (theirs, ours) = (call(&peer.0), call(&series.join("raw")));
        let meant = MEANT.iter().any(|(row, _)| row == name);
        if (theirs != ours) != meant {
            differences.push(format!("{name}: ext4 {theirs:?}, here {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(fs::read(series.join("raw")).unwrap(), records(1..=10));
}

trait WriteRecords {
    fn write_all_records(self);
}

impl WriteRecords for fs::File {
    fn write_all_records(mut self) {
        std::io::Write::write_all(&mut self, &records(1..=10)).unwrap();
    }
}
