//! How the adapter answers: the net under each handler, errnos, and attributes packed for the kernel.
//!
//! A handler that panics is counted and answered with EIO. Why a request was refused is in the log: at level info where
//! the engine said so, else at level debug.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use fuser::{FileAttr, FileType, Generation, INodeNo, ReplyEmpty, ReplyEntry, ReplyXattr, Request};

use super::Adapter;
use crate::mount::{
    counters::Operation,
    errno::{Refusal, Result, errno},
    filesystem::{
        Effect, Filesystem,
        attributes::{Attributes, Found, TRANSFER_BYTES},
        listing::Listed,
        lookup::FileKind,
    },
    options::LiveRead,
};

/// Generation of every node: numbers are never used for another file.
pub(super) const GENERATION: Generation = Generation(0);
/// A size that no file can have.
const NO_SIZE: u64 = u64::MAX;

/// Runs one operation under the net, counts it, and chooses its errno.
pub(super) fn run_on<T>(
    filesystem: &Filesystem,
    operation: Operation,
    work: impl FnOnce(&Filesystem) -> Result<T>,
) -> Result<T, fuser::Errno> {
    let start = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| work(filesystem)));
    let outcome = caught.unwrap_or_else(|panic| {
        filesystem.counters().count_panic();
        Err(Refusal::Panicked {
            operation: operation.name(),
            message: panic_message(&*panic),
        })
    });
    filesystem
        .counters()
        .count(operation, outcome.is_err(), start.elapsed());
    outcome.map_err(|refusal| {
        match refusal {
            Refusal::Panicked { .. } => log::error!("{refusal}"),
            Refusal::Engine(_) => log::info!("{}: {refusal}", operation.name()),
            _ => log::debug!("{}: {refusal}", operation.name()),
        }
        fuser::Errno::from_i32(errno(&refusal).0)
    })
}

impl Adapter {
    /// Runs one operation: see [`run_on`].
    pub(super) fn run<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Filesystem) -> Result<T>,
    ) -> Result<T, fuser::Errno> {
        run_on(&self.filesystem, operation, work)
    }

    /// Runs one operation on a node, unless another process has its series for itself.
    pub(super) fn run_admitted<T>(
        &self,
        operation: Operation,
        request: &Request,
        node: INodeNo,
        work: impl FnOnce(&Filesystem) -> Result<T>,
    ) -> Result<T, fuser::Errno> {
        self.run(operation, |filesystem| {
            filesystem.admit(node.0, request.pid())?;
            work(filesystem)
        })
    }

    /// Answers a question about sizes: at once, or in turn with what appends make stale where readers use the page
    /// cache. There a size that grows between a reader's look at the file and its arrival in the kernel would have the
    /// kernel cut, and for a moment blank, pages that another reader has fetched since.
    pub(super) fn answer_sizes(&self, answer: impl FnOnce(&Filesystem) + Send + 'static) {
        if self.filesystem.options().live_read == LiveRead::Direct {
            return answer(&self.filesystem);
        }
        let filesystem = Arc::clone(&self.filesystem);
        self.notices.in_turn(move || answer(&filesystem));
    }

    /// Runs an operation with an empty answer.
    pub(super) fn run_empty(
        &self,
        operation: Operation,
        reply: ReplyEmpty,
        work: impl FnOnce(&Filesystem) -> Result<()>,
    ) {
        match self.run(operation, work) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    /// Runs an operation with an empty answer and something stale.
    pub(super) fn run_settled(
        &self,
        operation: Operation,
        reply: ReplyEmpty,
        work: impl FnOnce(&Filesystem) -> Result<Effect<()>>,
    ) {
        match self.run(operation, work) {
            Ok(done) => self.notices.settle(done.stale, move || reply.ok()),
            Err(errno) => reply.error(errno),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::File => FileType::RegularFile,
        FileKind::Link => FileType::Symlink,
    }
}

pub(super) fn packed(attributes: &Attributes, number: u64) -> FileAttr {
    let modified = attributes.modified;
    FileAttr {
        ino: INodeNo(number),
        size: attributes.size_bytes,
        blocks: attributes.blocks,
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: file_type(attributes.kind),
        perm: attributes.permissions,
        nlink: 1,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: TRANSFER_BYTES,
        flags: 0,
    }
}

/// A line of a listing without attributes that the kernel would keep.
pub(super) fn name_only(listed: &Listed) -> FileAttr {
    FileAttr {
        ino: INodeNo(listed.place.file_id()),
        size: NO_SIZE,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(listed.place.kind()),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: TRANSFER_BYTES,
        flags: 0,
    }
}

pub(super) fn reply_found(reply: ReplyEntry, found: &Found) {
    let attributes = packed(&found.attributes, found.node);
    let hold = match found.node == found.attributes.file_id {
        true => found.attributes_hold,
        false => Duration::ZERO,
    };
    reply.entry_with_ttls(&hold, &found.name_holds, &attributes, GENERATION);
}

pub(super) fn reply_attribute(reply: ReplyXattr, size: u32, value: Result<Vec<u8>, fuser::Errno>) {
    match (value, usize::try_from(size).unwrap_or(usize::MAX)) {
        (Err(errno), _) => reply.error(errno),
        (Ok(value), 0) => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        (Ok(value), room) if value.len() <= room => reply.data(&value),
        (Ok(value), room) => {
            let refusal = Refusal::BufferTooSmall {
                size: room,
                needed: value.len(),
            };
            reply.error(fuser::Errno::from_i32(errno(&refusal).0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mount::options::Options,
        series::{Database, OpenOptions},
    };

    #[test]
    fn a_panic_costs_its_caller_an_error_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::create(&directory.path().join("db"), OpenOptions::read_write()).unwrap();
        let filesystem = Filesystem::new(database, Options::default(), (0, 0)).unwrap();
        let outcome = run_on(&filesystem, Operation::Read, |_| -> Result<()> { panic!("of a test") });
        assert_eq!(outcome.unwrap_err(), fuser::Errno::EIO);
        assert!(filesystem.metrics().contains("\nheadstack_panics_total 1\n"));
        assert_eq!(filesystem.counters().errors(Operation::Read), 1);
        assert!(run_on(&filesystem, Operation::Lookup, |fs| fs.lookup(1, "varlen".as_ref())).is_ok());
    }
}
