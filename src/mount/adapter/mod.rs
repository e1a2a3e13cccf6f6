//! From FUSE requests to [`Filesystem`] and back: the one place, with the session, that knows the crate fuser.
//!
//! Thin: names and numbers are unpacked, the answer is packed. Each handler runs under a net, so that a panic costs its
//! caller an EIO and not the mount a thread.
//!
//! The crate has one number for a node and for `st_ino`. Where they differ, in snapshots, a lookup is answered with the
//! node's number and attributes that hold for no time; the kernel then asks for the attributes, whose answer has the
//! file's id, and keeps that. In a listing such a line bears the file's id (it is what `d_ino` shows) and a size that
//! no file can have: the kernel shows the line, makes no node of it, and forgets the number at once, which is why one
//! lookup of it is lent.

mod answers;
mod greeting;
pub mod notices;
mod passthrough;

use std::{
    cell::RefCell,
    ffi::OsStr,
    io,
    os::fd::BorrowedFd,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use self::{
    answers::{GENERATION, file_type, name_only, packed, reply_attribute, reply_found, run_on},
    notices::Notices,
    passthrough::Passthrough,
};
use super::{
    counters::Operation,
    errno::{NAME_MAX, Refusal},
    filesystem::{Filesystem, attributes::TRANSFER_BYTES, open::Caching},
};

/// Serves one mount.
pub struct Adapter {
    filesystem: Arc<Filesystem>,
    notices: Notices,
    passthrough: Passthrough,
}

thread_local! {
    /// What a read fills; kept, for a fresh megabyte would have to be zeroed for each.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Adapter {
    /// Serves `filesystem`; answers that make something stale go through `notices`.
    pub fn new(filesystem: Arc<Filesystem>, notices: Notices) -> Self {
        Self {
            filesystem,
            notices,
            passthrough: Passthrough::default(),
        }
    }
}

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _request: &Request, kernel: &mut KernelConfig) -> io::Result<()> {
        if greeting::ask(kernel) {
            self.passthrough.offer();
            self.filesystem.set_passthrough(true);
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.answer_sizes(
            move |fs| match run_on(fs, Operation::Lookup, |fs| fs.lookup(parent.0, &name)) {
                Ok(found) => reply_found(reply, &found),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn forget(&self, _request: &Request, node: INodeNo, lookups: u64) {
        let _ = self.run(Operation::Forget, |fs| {
            fs.forget(node.0, lookups);
            Ok(())
        });
    }

    fn getattr(&self, _request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.answer_sizes(
            move |fs| match run_on(fs, Operation::GetAttributes, |fs| fs.attributes(node.0)) {
                Ok((attributes, hold)) => reply.attr(&hold, &packed(&attributes, attributes.file_id)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let chosen = |time: Option<TimeOrNow>| matches!(time, Some(TimeOrNow::SpecificTime(_)));
        let thread = request.pid();
        let set = move |fs: &Filesystem| {
            fs.admit(node.0, thread)?;
            if let Some(size) = size {
                fs.set_size(node.0, handle.map(|handle| handle.0), size)?;
            }
            if mode.is_some() || uid.is_some() || gid.is_some() {
                fs.set_attributes(node.0, false, "change of owner or mode")?;
            }
            fs.set_attributes(node.0, !chosen(accessed) && !chosen(modified), "change of times")?;
            fs.attributes(node.0)
        };
        self.answer_sizes(move |fs| match run_on(fs, Operation::SetAttributes, set) {
            Ok((attributes, hold)) => reply.attr(&hold, &packed(&attributes, attributes.file_id)),
            Err(errno) => reply.error(errno),
        });
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        match self.run(Operation::ReadLink, |fs| fs.read_link(node.0)) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(&self, _r: &Request, parent: INodeNo, name: &OsStr, _m: u32, _u: u32, _rdev: u32, reply: ReplyEntry) {
        let refused = self.run(Operation::MakeNode, |fs| fs.make_other(parent.0, name, "mknod"));
        reply.error(refused.err().unwrap_or(fuser::Errno::EPERM));
    }

    fn mkdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        match self.run(Operation::MakeDirectory, |fs| fs.make_directory(parent.0, name)) {
            Ok(found) => reply_found(reply, &found),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run_settled(Operation::Unlink, reply, |fs| {
            fs.admit(parent.0, request.pid())?;
            fs.unlink(parent.0, name)
        });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run_empty(Operation::RemoveDirectory, reply, |fs| {
            fs.remove_directory(parent.0, name)
        });
    }

    fn symlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, _target: &Path, reply: ReplyEntry) {
        let refused = self.run(Operation::SymbolicLink, |fs| fs.make_other(parent.0, name, "symlink"));
        reply.error(refused.err().unwrap_or(fuser::Errno::EPERM));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.run_empty(Operation::Rename, reply, |fs| {
            fs.rename((parent.0, name), (new_parent.0, new_name), flags.bits())
        });
    }

    fn link(&self, _request: &Request, _node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let refused = self.run(Operation::Link, |fs| fs.make_other(new_parent.0, new_name, "link"));
        reply.error(refused.err().unwrap_or(fuser::Errno::EPERM));
    }

    fn create(&self, _r: &Request, parent: INodeNo, name: &OsStr, _m: u32, _u: u32, _flags: i32, reply: ReplyCreate) {
        let refused = self.run(Operation::Create, |fs| fs.make_other(parent.0, name, "create"));
        reply.error(refused.err().unwrap_or(fuser::Errno::EPERM));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = match self.run_admitted(Operation::Open, request, node, |fs| fs.open(node.0, flags.0.into())) {
            Ok(opened) => opened,
            Err(errno) => return reply.error(errno),
        };
        let handle = FileHandle(opened.value.handle);
        let mut flags = match opened.value.caching {
            Caching::Direct => FopenFlags::FOPEN_DIRECT_IO,
            Caching::UntilReopened => FopenFlags::empty(),
            Caching::Keep | Caching::Passthrough => FopenFlags::FOPEN_KEEP_CACHE,
        };
        flags.set(FopenFlags::FOPEN_NOFLUSH, !opened.value.flush);
        if opened.value.caching == Caching::Passthrough {
            let file = |file: Option<BorrowedFd<'_>>| self.passthrough.open(node.0, handle.0, file, &reply);
            let backing = self.filesystem.with_backing(handle.0, file).ok().flatten();
            self.filesystem.set_passthrough(self.passthrough.is_offered());
            return match backing {
                Some(backing) => reply.opened_passthrough(handle, FopenFlags::FOPEN_NOFLUSH, &backing),
                None => reply.opened(handle, flags),
            };
        }
        self.notices.settle(opened.stale, move || reply.opened(handle, flags));
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = usize::try_from(size).unwrap_or(0);
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let mut reply = Some(reply);
            let answered = self.run_admitted(Operation::Read, request, node, |fs| {
                fs.read_with(handle.0, offset, &mut buffer[..size], |bytes| {
                    if let Some(reply) = reply.take() {
                        reply.data(bytes);
                    }
                })
            });
            if let (Err(errno), Some(reply)) = (answered, reply.take()) {
                reply.error(errno);
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |fs: &Filesystem| fs.write(handle.0, offset, data, flags.0);
        match self.run_admitted(Operation::Write, request, node, write) {
            Ok(done) => {
                let taken = u32::try_from(done.value).unwrap_or(u32::MAX);
                self.notices.settle(done.stale, move || reply.written(taken));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, request: &Request, node: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        self.run_settled(Operation::Flush, reply, |fs| {
            fs.admit(node.0, request.pid())?;
            fs.flush(handle.0)
        });
    }

    fn release(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.run_empty(Operation::Release, reply, |fs| {
            fs.release(handle.0);
            self.passthrough.release(handle.0);
            Ok(())
        });
    }

    fn fsync(&self, _request: &Request, _node: INodeNo, handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.run_empty(Operation::Sync, reply, |fs| fs.sync(handle.0));
    }

    fn opendir(&self, _request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.run(Operation::OpenDirectory, |fs| fs.open_directory(node.0)) {
            Ok(opened) => {
                let mut flags = FopenFlags::empty();
                flags.set(FopenFlags::FOPEN_CACHE_DIR, opened.keep);
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.kept);
                reply.opened(FileHandle(opened.handle), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _r: &Request, _node: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let filled = self.run(Operation::ReadDirectory, |fs| {
            for (next, listed) in fs.lines(handle.0, offset)?.iter() {
                let number = INodeNo(listed.place.file_id());
                if reply.add(number, next, file_type(listed.place.kind()), &listed.name) {
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

    fn readdirplus(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let filled = self.run(Operation::ReadDirectory, |fs| {
            for (next, listed) in fs.lines(handle.0, offset)?.iter() {
                let is_dot = matches!(listed.name.as_str(), "." | "..");
                let found = if is_dot { None } else { fs.found_listed(listed) };
                let (hold, attributes) = match &found {
                    // The kernel has one time for both here.
                    Some(found) => (
                        found.attributes_hold.min(found.name_holds),
                        packed(&found.attributes, found.node),
                    ),
                    None => (Duration::ZERO, name_only(listed)),
                };
                let full = reply.add(attributes.ino, next, &listed.name, &hold, &attributes, GENERATION);
                match found {
                    Some(found) if full => fs.forget(found.node, 1),
                    None if !full && !is_dot => fs.nodes().lend_file_id(listed.place),
                    _ => {}
                }
                if full {
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

    fn releasedir(&self, _r: &Request, _node: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.run_empty(Operation::ReleaseDirectory, reply, |fs| {
            fs.release(handle.0);
            Ok(())
        });
    }

    fn fsyncdir(&self, _request: &Request, node: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.run_empty(Operation::SyncDirectory, reply, |fs| fs.sync_directory(node.0));
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        match self.run(Operation::StatFileSystem, Filesystem::capacity) {
            Ok(host) => {
                let unit = u32::try_from(host.fragment_bytes).unwrap_or(4096);
                let name_max = u32::try_from(NAME_MAX).unwrap_or(255);
                reply.statfs(
                    host.blocks,
                    host.blocks_free,
                    host.blocks_available,
                    host.files,
                    host.files_free,
                    TRANSFER_BYTES,
                    name_max,
                    unit,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.run_settled(Operation::SetAttribute, reply, |fs| {
            fs.admit(node.0, request.pid())?;
            fs.set_attribute(node.0, name, value)
        });
    }

    fn getxattr(&self, _request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.run(Operation::GetAttribute, |fs| fs.get_attribute(node.0, name));
        reply_attribute(reply, size, value);
    }

    fn listxattr(&self, _request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.run(Operation::ListAttributes, |fs| fs.list_attributes(node.0));
        reply_attribute(reply, size, names);
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run_settled(Operation::RemoveAttribute, reply, |fs| {
            fs.admit(node.0, request.pid())?;
            fs.remove_attribute(node.0, name)
        });
    }

    fn ioctl(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        command: u32,
        input: &[u8],
        room: u32,
        reply: ReplyIoctl,
    ) {
        match self.run(Operation::Control, |fs| fs.control(node.0, command, input)) {
            Ok(mut output) => {
                output.truncate(usize::try_from(room).unwrap_or(0));
                reply.ioctl(0, &output);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        self.run_empty(Operation::Allocate, reply, |_| Err(Refusal::NoReservation));
    }

    fn lseek(&self, _r: &Request, node: INodeNo, _handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let found = self.run(Operation::Seek, |fs| {
            let from = u64::try_from(offset).map_err(|_| Refusal::PastEnd { offset: 0 })?;
            fs.seek(node.0, from, whence)
        });
        match found {
            Ok(offset) => reply.offset(i64::try_from(offset).unwrap_or(i64::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        _from_handle: FileHandle,
        _from_offset: u64,
        _to: INodeNo,
        _to_handle: FileHandle,
        _to_offset: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        match self.run(Operation::Copy, |_| Err::<(), _>(Refusal::LeftToKernel)) {
            Ok(()) => reply.written(0),
            Err(errno) => reply.error(errno),
        }
    }
}
