//! From FUSE requests to [`Browser`] and back; one request at a time, for a tape is in one place at a time.
//!
//! The root is node 1, as the kernel has it; any other object is one more than its number on the tape, so that nodes need
//! no table and are the same in every mount of a dump. A handler that panics costs its caller an EIO.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::dump::{
    self, ROOT,
    browse::{Browser, Data, Facts, Sought},
    record::Time,
    restore::Target,
};

/// Nothing on a tape changes.
const HOLD: Duration = Duration::from_secs(1 << 30);
const GENERATION: Generation = Generation(0);
/// Longest target of a symlink, in bytes: the host's limit.
const LINK_MAX_BYTES: usize = 4095;
/// Unit of what is told of the file system, in bytes.
const UNIT_BYTES: u32 = 1024;
/// What programs are told to read at once, in bytes.
const PIECE_BYTES: u32 = 4096;
const NAME_MAX_BYTES: u32 = 255;
/// What lseek(2) is asked for.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Serves one dump.
#[derive(Debug)]
pub struct Adapter {
    browser: Mutex<Browser>,
}

impl Adapter {
    /// Serves what is looked into.
    #[must_use]
    pub fn new(browser: Browser) -> Self {
        Self {
            browser: Mutex::new(browser),
        }
    }

    /// Runs one request under the net.
    fn run<T>(&self, work: impl FnOnce(&mut Browser) -> Result<T, Errno>) -> Result<T, Errno> {
        // Nothing is left half done behind a panic that a later request would trip over: it begins from a place again.
        let mut browser = self.browser.lock().unwrap_or_else(PoisonError::into_inner);
        catch_unwind(AssertUnwindSafe(|| work(&mut browser))).unwrap_or_else(|_| {
            log::error!("a request panicked");
            Err(Errno::EIO)
        })
    }
}

/// What a failure of the tape is answered with.
fn failed(error: &dump::Error) -> Errno {
    log::warn!("{error}");
    Errno::EIO
}

fn node(number: u32) -> u64 {
    if number == ROOT {
        INodeNo::ROOT.0
    } else {
        u64::from(number) + 1
    }
}

fn number(node: INodeNo) -> Result<u32, Errno> {
    if node == INodeNo::ROOT {
        return Ok(ROOT);
    }
    let number = node.0.checked_sub(1).and_then(|number| u32::try_from(number).ok());
    number.ok_or(Errno::ENOENT)
}

fn file_type(mode: u16) -> FileType {
    match mode & 0o170_000 {
        0o040_000 => FileType::Directory,
        0o120_000 => FileType::Symlink,
        0o020_000 => FileType::CharDevice,
        0o060_000 => FileType::BlockDevice,
        0o010_000 => FileType::NamedPipe,
        0o140_000 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

fn moment(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let base = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    let moment = base.and_then(|base| base.checked_add(Duration::from_nanos(time.nanoseconds.into())));
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn packed(of: u32, facts: &Facts) -> FileAttr {
    let told = &facts.node;
    FileAttr {
        ino: INodeNo(node(of)),
        size: told.size_bytes,
        blocks: facts.held_bytes.div_ceil(512),
        atime: moment(told.accessed),
        mtime: moment(told.modified),
        ctime: moment(told.changed),
        crtime: moment(told.changed),
        kind: file_type(told.mode),
        perm: told.mode & 0o7777,
        nlink: u32::from(told.links.max(1)),
        uid: told.uid,
        gid: told.gid,
        rdev: u32::try_from(facts.device & 0xFFFF_FFFF).unwrap_or(0),
        blksize: PIECE_BYTES,
        flags: 0,
    }
}

/// Facts of an object that has a name.
fn facts(browser: &mut Browser, of: u32) -> Result<Facts, Errno> {
    browser.facts(of).map_err(|error| failed(&error))?.ok_or(Errno::EIO)
}

fn attributes(browser: &mut Browser, of: u32) -> Result<FileAttr, Errno> {
    let facts = match facts(browser, of) {
        // A directory whose own header is lost still has its names.
        Err(_) if browser.is_directory(of) => {
            let mut facts = Facts::default();
            facts.node.mode = 0o040_555;
            facts
        }
        facts => facts?,
    };
    Ok(packed(of, &facts))
}

impl fuser::Filesystem for Adapter {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.run(|browser| {
            let Target { number, .. } = browser.child(number(parent)?, name.as_bytes()).ok_or(Errno::ENOENT)?;
            attributes(browser, number)
        });
        match found {
            Ok(attributes) => reply.entry(&HOLD, &attributes, GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.run(|browser| attributes(browser, number(node)?)) {
            Ok(attributes) => reply.attr(&HOLD, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        let target = self.run(|browser| {
            let read = browser.read(number(node)?, 0, LINK_MAX_BYTES);
            read.map_err(|error| failed(&error))
        });
        match target {
            Ok(Data::Bytes(target)) => reply.data(&target),
            Ok(Data::Lost) => reply.error(Errno::EIO),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.run(|browser| {
            let read = browser.read(number(node)?, offset, usize::try_from(size).unwrap_or(0));
            read.map_err(|error| failed(&error))
        });
        match read {
            Ok(Data::Bytes(bytes)) => reply.data(&bytes),
            Ok(Data::Lost) => reply.error(Errno::EIO),
            Err(errno) => reply.error(errno),
        }
    }

    fn lseek(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.run(|browser| {
            let data = match whence {
                SEEK_DATA => true,
                SEEK_HOLE => false,
                _ => return Err(Errno::EINVAL),
            };
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let sought = browser
                .seek(number(node)?, from, data)
                .map_err(|error| failed(&error))?;
            match sought {
                Sought::At(at) => Ok(i64::try_from(at).unwrap_or(i64::MAX)),
                Sought::End => Err(Errno::ENXIO),
                Sought::Lost => Err(Errno::EIO),
            }
        });
        match found {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _request: &Request, of: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let filled = self.run(|browser| {
            let of = number(of)?;
            let dots = [(&b"."[..], of), (b"..", browser.parent(of))];
            let dots = dots.into_iter().map(|(name, number)| (name, number, true));
            let names = browser.children(of);
            let names = names.map(|(name, target)| (name, target.number, target.is_directory));
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            for (next, (name, number, is_directory)) in (1..).zip(dots.chain(names)).skip(from) {
                // What else it is costs reading it; the kernel asks when somebody wants to know.
                let kind = if is_directory {
                    FileType::Directory
                } else {
                    browser.known_mode(number).map_or(FileType::RegularFile, file_type)
                };
                if reply.add(INodeNo(node(number)), next, kind, OsStr::from_bytes(name)) {
                    break;
                }
            }
            Ok(())
        });
        match filled {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let objects = self.run(|browser| Ok(browser.objects())).unwrap_or(0);
        reply.statfs(0, 0, 0, objects, 0, UNIT_BYTES, NAME_MAX_BYTES, UNIT_BYTES);
    }

    fn getxattr(&self, _request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.run(|browser| {
            let facts = facts(browser, number(node)?)?;
            let found = facts
                .attributes
                .into_iter()
                .find(|attribute| attribute.name == name.as_bytes());
            found.map(|attribute| attribute.value).ok_or(Errno::ENODATA)
        });
        reply_sized(reply, size, value);
    }

    fn listxattr(&self, _request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.run(|browser| {
            let facts = facts(browser, number(node)?)?;
            Ok(facts
                .attributes
                .into_iter()
                .flat_map(|attribute| [attribute.name, vec![0]].concat())
                .collect())
        });
        reply_sized(reply, size, names);
    }
}

/// Answers with bytes, or with how many they are where none are wanted.
fn reply_sized(reply: ReplyXattr, size: u32, bytes: Result<Vec<u8>, Errno>) {
    match (bytes, usize::try_from(size).unwrap_or(usize::MAX)) {
        (Err(errno), _) => reply.error(errno),
        (Ok(bytes), 0) => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        (Ok(bytes), room) if bytes.len() <= room => reply.data(&bytes),
        (Ok(_), _) => reply.error(Errno::ERANGE),
    }
}
