//! The kernel's side of mounting: attaching /dev/fuse to a directory, and taking that off again.
//!
//! Done here and not by `fuser`, whose 0.18 may unmount another file system that has meanwhile taken our place. As root
//! this is mount(2) with the type `fuse.headstack`, for others the helper `fusermount3` of the fuse3 package, which
//! hands over the descriptor through a socket. An [`Identity`] names one mount for its whole life: nothing is unmounted
//! whose identity is not the one that was mounted.

use std::{
    ffi::{CString, OsStr, OsString},
    fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, StatxAttributes, StatxFlags},
    mount::{MountFlags, UnmountFlags},
    net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType},
    process::{getegid, geteuid},
};

use super::options::Options;

/// What /proc/mounts calls our mounts.
pub const FILE_SYSTEM_TYPE: &str = "fuse.headstack";
/// The device that requests come through.
const DEVICE: &str = "/dev/fuse";
/// The helper that mounts for users who are not root.
const HELPER: &str = "fusermount3";
/// Read-ahead in KiB, one request: the kernel's own 128 leaves a third of the speed on the table.
const READ_AHEAD_KIB: &str = "1024";
/// How often an unmount is tried while the mount is busy, before it is detached lazily, and the pause between.
const UNMOUNT_TRIES: u32 = 20;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);
/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8: a mount's number that no later mount gets.
const UNIQUE_MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Why a mount or unmount failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The mount point is missing or no directory.
    #[error("{path} is no directory to mount on: {source}", path = path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something is mounted there and alive.
    #[error("{path} has a {kind} file system mounted on it; unmount it first, or choose another directory", path = path.display())]
    Occupied {
        /// The mount point.
        path: PathBuf,
        /// Type of what is mounted there.
        kind: String,
    },
    /// Not a mount of ours.
    #[error("{path} is not a headstack mount ({kind})", path = path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// Type of what is mounted there, or `nothing is mounted there`.
        kind: String,
    },
    /// The kernel has no FUSE.
    #[error("{DEVICE}: {source}; load the kernel's FUSE module (modprobe fuse)")]
    Device {
        /// Why it cannot be opened.
        source: io::Error,
    },
    /// The helper for users who are not root cannot be run.
    #[error("{HELPER}: {source}; install the package fuse3, or mount as root")]
    NoHelper {
        /// Why not.
        source: io::Error,
    },
    /// The helper refused.
    #[error("{path}: {HELPER} says: {message}", path = path.display())]
    Helper {
        /// The mount point.
        path: PathBuf,
        /// Its standard error.
        message: String,
    },
    /// Programs still use the mount.
    #[error("{path} is busy: a program has files or its working directory there; end it, or unmount lazily", path = path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("{path}: {action}: {source}", path = path.display())]
    Kernel {
        /// The mount point.
        path: PathBuf,
        /// `mount`, `unmount`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Names one mount for its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    mount: u64,
    device: (u32, u32),
}

/// Result of mounting: the descriptor that requests come through, and what was mounted.
#[derive(Debug)]
pub struct Attached {
    /// Open /dev/fuse.
    pub device: OwnedFd,
    /// The mount.
    pub identity: Identity,
}

/// Mounts an unanswered FUSE file system on directory `path`; whoever looks into it waits until requests are served.
///
/// # Errors
/// The directory, the device or the permission is missing. Nothing is left mounted then.
pub fn attach(path: &Path, source: &str, options: &Options) -> Result<Attached, KernelError> {
    let attached = match attach_as_root(path, source, options) {
        Err(KernelError::Kernel { source: refused, .. } | KernelError::Device { source: refused })
            if matches!(refused.kind(), io::ErrorKind::PermissionDenied) =>
        {
            attach_by_helper(path, source, options)?
        }
        other => other?,
    };
    match identity(path) {
        Ok(identity) => Ok(Attached {
            device: attached,
            identity,
        }),
        Err(source) => Err(KernelError::Kernel {
            path: path.to_owned(),
            action: "find the mount",
            source,
        }),
    }
}

fn attach_as_root(path: &Path, source: &str, options: &Options) -> Result<OwnedFd, KernelError> {
    use std::os::fd::AsRawFd;
    let device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|source| KernelError::Device { source })?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw()
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::NOATIME;
    flags.set(MountFlags::NODEV, !options.dev);
    flags.set(MountFlags::NOSUID, !options.suid);
    flags.set(MountFlags::NOEXEC, !options.exec);
    flags.set(MountFlags::RDONLY, options.read_only);
    let failed = |source: io::Error| KernelError::Kernel {
        path: path.to_owned(),
        action: "mount",
        source,
    };
    let data = CString::new(data).map_err(|e| failed(e.into()))?;
    rustix::mount::mount(source, path, FILE_SYSTEM_TYPE, flags, data.as_c_str()).map_err(|e| failed(e.into()))?;
    Ok(device.into())
}

/// True where this process can open /dev/fuse by itself.
pub fn can_open_device() -> bool {
    fs::OpenOptions::new().read(true).write(true).open(DEVICE).is_ok()
}

/// Options in the helper's language; commas and backslashes in the source are escaped, or they would be options.
fn helper_options(source: &str, options: &Options) -> String {
    let source = source.replace('\\', "\\\\").replace(',', "\\,");
    let mut list = vec!["default_permissions", "noatime", "subtype=headstack"];
    list.push(if options.read_only { "ro" } else { "rw" });
    list.push(if options.exec { "exec" } else { "noexec" });
    list.extend(options.allow_other.then_some("allow_other"));
    format!("{},fsname={source}", list.join(","))
}

fn attach_by_helper(path: &Path, source: &str, options: &Options) -> Result<OwnedFd, KernelError> {
    let no_helper = |source: io::Error| KernelError::NoHelper { source };
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| no_helper(e.into()))?;
    // The helper finds its end of the socket as its standard input: no descriptor number has to survive exec.
    let child = Command::new(HELPER)
        .arg("-o")
        .arg(helper_options(source, options))
        .arg("--")
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_helper)?;
    let device = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(no_helper)?;
    match device {
        Ok(Some(device)) if output.status.success() => Ok(device),
        _ => Err(helper_failed(path, &output)),
    }
}

/// Receives one descriptor; none where the peer closed its end without sending one.
fn receive_descriptor(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

fn helper_failed(path: &Path, output: &Output) -> KernelError {
    KernelError::Helper {
        path: path.to_owned(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

/// The mount that `path` is in, without asking its file system anything, so that it works on a dead one.
fn statx(path: &Path) -> io::Result<rustix::fs::Statx> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::statx(
        rustix::fs::CWD,
        path,
        flags,
        StatxFlags::MNT_ID | UNIQUE_MOUNT_ID,
    )?)
}

/// The identity of the mount that `path` is in.
///
/// # Errors
/// The path cannot be reached.
pub fn identity(path: &Path) -> io::Result<Identity> {
    let facts = statx(path)?;
    Ok(Identity {
        mount: facts.stx_mnt_id,
        device: (facts.stx_dev_major, facts.stx_dev_minor),
    })
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(statx(path)?.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Raises the read-ahead of a mount as far as the system lets us; a mount works without.
pub fn raise_read_ahead(identity: Identity) {
    let (major, minor) = identity.device;
    let knob = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(&knob, READ_AHEAD_KIB) {
        log::debug!("{knob}: {error}; reads of closed files stay slower at first");
    }
}

/// How an unmount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// It is gone from the tree, and nobody uses it.
    Cleanly,
    /// It is gone from the tree; programs that have files open there go on until they close them.
    Lazily,
    /// It was gone already, or something else is mounted there now.
    Before,
}

/// Unmounts the mount with this identity, and nothing else, from `path`: tries for a second while it is busy, then
/// takes it off lazily.
///
/// # Errors
/// The kernel refuses; not for being busy.
pub fn detach(path: &Path, ours: Identity) -> Result<Detached, KernelError> {
    for _ in 0..UNMOUNT_TRIES {
        if identity(path).ok() != Some(ours) {
            return Ok(Detached::Before);
        }
        match unmount_once(path, false) {
            Ok(()) => return Ok(Detached::Cleanly),
            Err(KernelError::Busy { .. }) => thread::sleep(UNMOUNT_PAUSE),
            Err(other) => return Err(other),
        }
    }
    if identity(path).ok() != Some(ours) {
        return Ok(Detached::Before);
    }
    unmount_once(path, true).map(|()| Detached::Lazily)
}

fn unmount_once(path: &Path, lazy: bool) -> Result<(), KernelError> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::BUSY) => Err(KernelError::Busy { path: path.to_owned() }),
        Err(rustix::io::Errno::PERM) => unmount_by_helper(path, lazy),
        Err(errno) => Err(KernelError::Kernel {
            path: path.to_owned(),
            action: "unmount",
            source: errno.into(),
        }),
    }
}

fn unmount_by_helper(path: &Path, lazy: bool) -> Result<(), KernelError> {
    let mut command = Command::new(HELPER);
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(path);
    let output = command
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| KernelError::NoHelper { source })?;
    match output.status.success() {
        true => Ok(()),
        false if String::from_utf8_lossy(&output.stderr).contains("busy") => {
            Err(KernelError::Busy { path: path.to_owned() })
        }
        false => Err(helper_failed(path, &output)),
    }
}

/// Makes `path` ready to be mounted on: takes off mounts whose server died, so that mounts never stack.
///
/// # Errors
/// There is no such directory, or something alive is mounted on it already.
pub fn recover_dead_mount_point(path: &Path) -> Result<(), KernelError> {
    let unusable = |source| KernelError::MountPoint {
        path: path.to_owned(),
        source,
    };
    loop {
        match fs::metadata(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                log::warn!("{}: its server is gone; unmounting it", path.display());
                unmount_once(path, true)?;
            }
            Err(error) => return Err(unusable(error)),
            Ok(facts) if !facts.is_dir() => return Err(unusable(io::Error::from_raw_os_error(libc::ENOTDIR))),
            Ok(_) => break,
        }
    }
    // Mounting over a directory of some volume is fine, over the root of another mount of a FUSE is a mistake.
    match mounted_at(path) {
        Some(mount) if mount.kind.starts_with("fuse") && is_mount_point(path).map_err(unusable)? => {
            Err(KernelError::Occupied {
                path: path.to_owned(),
                kind: mount.kind,
            })
        }
        _ => Ok(()),
    }
}

/// Unmounts a headstack mount, dead or alive, whoever serves it. A file that was just closed keeps it busy until its
/// server has heard of that, so a busy mount is tried for a second.
///
/// # Errors
/// `path` is no mount of ours, or it is busy and `lazy` was not asked for.
pub fn umount(path: &Path, lazy: bool) -> Result<(), KernelError> {
    let path = &absolute(path);
    for _ in 1..UNMOUNT_TRIES {
        match umount_ours(path, lazy) {
            Err(KernelError::Busy { .. }) => thread::sleep(UNMOUNT_PAUSE),
            outcome => return outcome,
        }
    }
    umount_ours(path, lazy)
}

fn umount_ours(path: &Path, lazy: bool) -> Result<(), KernelError> {
    match mounted_at(path) {
        Some(mount) if mount.kind == FILE_SYSTEM_TYPE => unmount_once(path, lazy),
        Some(mount) => Err(KernelError::NotOurs {
            path: path.to_owned(),
            kind: mount.kind,
        }),
        None => Err(KernelError::NotOurs {
            path: path.to_owned(),
            kind: "nothing is mounted there".to_owned(),
        }),
    }
}

/// The path as the mount table has it, without touching its last part, which may be dead.
pub fn absolute(path: &Path) -> PathBuf {
    let with_parent = |path: &Path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let from_root = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match fs::symlink_metadata(&from_root) {
        Ok(facts) if facts.is_symlink() => from_root.canonicalize().unwrap_or(from_root),
        _ => with_parent(&from_root).unwrap_or(from_root),
    }
}

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Type of the file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
}

/// The topmost mount on exactly this absolute path.
pub fn mounted_at(path: &Path) -> Option<MountLine> {
    mount_table().into_iter().rfind(|line| line.path == path)
}

/// The mount that an absolute path without symlinks is in.
pub fn mount_of(path: &Path) -> Option<MountLine> {
    let table = mount_table();
    let mut mounts = path
        .ancestors()
        .filter_map(|path| table.iter().rfind(|line| line.path == path));
    mounts.next().cloned()
}

/// All mounts; none where the host does not tell.
fn mount_table() -> Vec<MountLine> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    parse_mount_table(&table)
}

/// Parses /proc/self/mountinfo; lines that cannot be read are left out.
fn parse_mount_table(table: &[u8]) -> Vec<MountLine> {
    let parse = |line: &[u8]| {
        let mut words = line.split(|&b| b == b' ');
        let path = unescape(words.nth(4)?);
        let mut after = words.skip_while(|word| *word != b"-").skip(1);
        let kind = String::from_utf8_lossy(after.next()?).into_owned();
        let source = unescape(after.next()?).to_string_lossy().into_owned();
        Some(MountLine {
            path: path.into(),
            kind,
            source,
        })
    };
    table.split(|&b| b == b'\n').filter_map(parse).collect()
}

/// Undoes the kernel's `\040`.
fn unescape(word: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|d| str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match (byte, octal) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = &tail[3..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    OsStr::from_bytes(&out).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_with_its_escapes() {
        let table = b"36 35 0:53 / /mnt/my\\040data rw,nosuid,nodev,noatime shared:1 - fuse.headstack /d/a\\134b rw\n\
            22 1 8:1 / / rw - ext4 /dev/sda1 rw,errors=remount-ro\nnonsense\n";
        let lines = parse_mount_table(table);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].path, Path::new("/mnt/my data"));
        assert_eq!(
            (lines[0].kind.as_str(), lines[0].source.as_str()),
            ("fuse.headstack", "/d/a\\b")
        );
        assert_eq!(
            (lines[1].path.as_path(), lines[1].kind.as_str()),
            (Path::new("/"), "ext4")
        );
    }

    #[test]
    fn a_source_with_commas_stays_one_option() {
        let list = helper_options("/d,suid\\x", &Options::default());
        assert!(list.ends_with(",fsname=/d\\,suid\\\\x"), "{list}");
    }

    #[test]
    fn what_is_not_ours_is_not_unmounted() {
        assert!(matches!(umount(Path::new("/proc"), false), Err(KernelError::NotOurs { kind, .. }) if kind == "proc"));
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            umount(directory.path(), true),
            Err(KernelError::NotOurs { .. })
        ));
    }

    #[test]
    fn an_identity_that_is_gone_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let other = Identity {
            mount: 1,
            device: (0, 0),
        };
        assert_eq!(detach(directory.path(), other).unwrap(), Detached::Before);
    }

    #[test]
    fn a_plain_directory_is_ready_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        assert!(recover_dead_mount_point(directory.path()).is_ok());
        let file = directory.path().join("f");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            recover_dead_mount_point(&file),
            Err(KernelError::MountPoint { .. })
        ));
        assert!(matches!(
            recover_dead_mount_point(&directory.path().join("none")),
            Err(KernelError::MountPoint { .. })
        ));
    }
}
