//! What is read of an object before it is written: its facts, its attributes, and its data if that is little.
//!
//! Nothing here knows the tape, so objects can be read ahead of the writer, and by several threads.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, OFlags},
    io::{Errno, pread, retry_on_intr as retry},
};

use crate::dump::{
    TAPE_BLOCK_BYTES,
    attributes::Attribute,
    images::Images,
    tree::{self, Status, Tree},
    walker::Walk,
};

/// Files up to this length are read at once, in bytes.
const SMALL_BYTES: u64 = 128 << 10;

/// Objects that a thread loads at a time: enough that handing them over costs little.
pub(super) const BATCH: usize = 16;
/// Batches that are loaded ahead, which bounds memory and descriptors.
pub(super) const BATCHES: usize = 8;

/// An object as it was found.
pub(super) struct Loaded {
    /// Facts, with the flags of the inode.
    pub(super) status: Status,
    /// Its data.
    pub(super) body: Body,
    /// Its extended attributes.
    pub(super) attributes: io::Result<Vec<Attribute>>,
}

/// The data of an object.
pub(super) enum Body {
    /// None, or a directory's, which is known already.
    Nothing,
    /// What a symlink says.
    Target(Result<Vec<u8>, Errno>),
    /// A whole file.
    Small(Read),
    /// A file that is yet to be read.
    Large(OwnedFd),
    /// An image, which is opened when its turn comes.
    Image,
}

/// Data of a file, in whole tape blocks.
pub(super) struct Read {
    /// The data, with zeros behind it.
    pub(super) bytes: Vec<u8>,
    /// How much of it was read.
    pub(super) length: usize,
    /// What ended the reading, but for the end of the file.
    pub(super) error: Option<Errno>,
}

/// Reads the object at a path that the walk found to be `walked`.
pub(super) fn load(tree: &Tree, path: &Path, walked: &Status) -> Result<Loaded, Errno> {
    if let Some(loaded) = stands_in(tree, walked) {
        return Ok(loaded);
    }
    let kind = walked.file_type();
    let readable = matches!(kind, FileType::RegularFile | FileType::Directory);
    let flags = if readable { OFlags::RDONLY } else { OFlags::PATH };
    let file = tree.open_at(path, flags)?;
    let mut status = tree::status_at(&file, c"")?;
    if readable {
        status.node.flags = tree.flags_of(&file);
    }
    let attributes = tree::attributes(&file);
    let size = status.node.size_bytes;
    let body = match kind {
        FileType::Symlink => Body::Target(tree::link_target(&file)),
        FileType::RegularFile if size > SMALL_BYTES => Body::Large(file),
        FileType::RegularFile => Body::Small(read_small(&file, size)),
        _ => Body::Nothing,
    };
    Ok(Loaded {
        status,
        body,
        attributes,
    })
}

/// Reads objects of a walk by their places, each with its path; nothing is loaded of what is not read.
pub(super) fn load_batch(tree: &Tree, walk: &Walk, places: &[usize]) -> Vec<(PathBuf, Option<Result<Loaded, Errno>>)> {
    let next = |at: &usize| {
        let object = &walk.objects[*at];
        let path = walk.path_of_object(object);
        let loaded = (!object.status.mount_root).then(|| load(tree, &path, &object.status));
        (path, loaded)
    };
    places.iter().map(next).collect()
}

/// What is no object of the host: an image, or the directory of images.
fn stands_in(tree: &Tree, walked: &Status) -> Option<Loaded> {
    let (status, body, attributes) = match tree.images().of(&walked.identity) {
        Some(image) => (image.status(tree.status()), Body::Image, image.attributes.clone()),
        None if Images::is_folder(&walked.identity) => (*walked, Body::Nothing, Vec::new()),
        None => return None,
    };
    Some(Loaded {
        status,
        body,
        attributes: Ok(attributes),
    })
}

fn read_small(file: &OwnedFd, size_bytes: u64) -> Read {
    let size = usize::try_from(size_bytes).unwrap_or(0);
    let mut bytes = vec![0; size.next_multiple_of(TAPE_BLOCK_BYTES)];
    let (length, error) = read_whole(file, &mut bytes[..size], 0);
    bytes[length..].fill(0);
    Read { bytes, length, error }
}

/// Reads until the buffer is full or the file ends; how far that went, and what ended it before.
pub(super) fn read_whole(file: impl AsFd, buffer: &mut [u8], offset_bytes: u64) -> (usize, Option<Errno>) {
    let mut length = 0;
    while length < buffer.len() {
        match retry(|| pread(&file, &mut buffer[length..], offset_bytes + length as u64)) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) => return (length, Some(error)),
        }
    }
    (length, None)
}

/// True where a file may have holes.
pub(super) fn is_sparse(file: &OwnedFd) -> bool {
    tree::status_at(file, c"").is_ok_and(|status| status.allocated_bytes < status.node.size_bytes)
}
