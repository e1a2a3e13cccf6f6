//! What pass 4 of a dump writes: its files in the order of the tape, with the directories that lead to them.
//!
//! Kept as bytes, little-endian: `HSP1`, u32 count of directories, u64 count of files; for each directory u32 its
//! parent's place and the name; for each file u64 inode, i64 birth, u32 number, u32 place of its directory, u16 mode, u8 1
//! for a mount point and the name; names are a u8 length and bytes; CRC-32C at the end.

use crate::dump::{
    tree::{Identity, Status},
    walker::{Folder, Object, Walk},
};

const MAGIC: &[u8; 4] = b"HSP1";

/// Files that are to be written, in order.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The tree, of which nothing but these files and what leads to them needs to be known.
    pub(crate) walk: Walk,
    /// Places of the files in [`Walk::objects`].
    pub(crate) files: Vec<usize>,
}

impl Plan {
    /// The plan as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let walk = &self.walk;
        let mut bytes = MAGIC.to_vec();
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend_from_slice(&count(walk.folders.len()));
        bytes.extend_from_slice(&(self.files.len() as u64).to_le_bytes());
        for folder in &walk.folders {
            bytes.extend_from_slice(&count(folder.parent));
            push_name(&mut bytes, &walk.objects[folder.object].name);
        }
        for at in &self.files {
            let object = &walk.objects[*at];
            let identity = object.status.identity;
            bytes.extend_from_slice(&identity.inode.to_le_bytes());
            bytes.extend_from_slice(&identity.born_ns.to_le_bytes());
            bytes.extend_from_slice(&object.number.to_le_bytes());
            bytes.extend_from_slice(&count(object.folder));
            bytes.extend_from_slice(&object.status.node.mode.to_le_bytes());
            bytes.push(object.status.mount_root.into());
            push_name(&mut bytes, &object.name);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err("its checksum is wrong");
        }
        let rest = body.strip_prefix(MAGIC).ok_or("it is no plan")?;
        decode_body(rest).ok_or("it makes no sense")
    }
}

fn decode_body(mut rest: &[u8]) -> Option<Plan> {
    let rest = &mut rest;
    let folders = u32::from_le_bytes(take(rest)?) as usize;
    let count = u64::from_le_bytes(take(rest)?);
    let mut walk = Walk {
        objects: Vec::new(),
        folders: Vec::new(),
        troubles: Vec::new(),
    };
    for at in 0..folders {
        let parent = u32::from_le_bytes(take(rest)?) as usize;
        // Parents come before their children; the root is its own.
        if parent >= at.max(1) {
            return None;
        }
        walk.objects.push(Object {
            number: 0,
            status: Status::default(),
            folder: parent,
            name: take_name(rest)?.into(),
            entered: Some(at),
            chosen: false,
        });
        walk.folders.push(Folder {
            object: at,
            parent,
            entries: Vec::new(),
            unread: false,
        });
    }
    let mut files = Vec::new();
    for _ in 0..count {
        let mut status = Status::default();
        let inode = u64::from_le_bytes(take(rest)?);
        let born_ns = i64::from_le_bytes(take(rest)?);
        let number = u32::from_le_bytes(take(rest)?);
        let folder = u32::from_le_bytes(take(rest)?) as usize;
        status.node.mode = u16::from_le_bytes(take(rest)?);
        status.mount_root = take::<1>(rest)? == [1];
        status.identity = Identity {
            inode,
            born_ns,
            kind: status.node.mode & 0o170_000,
        };
        if folder >= folders {
            return None;
        }
        files.push(walk.objects.len());
        walk.objects.push(Object {
            number,
            status,
            folder,
            name: take_name(rest)?.into(),
            entered: None,
            chosen: true,
        });
    }
    rest.is_empty().then_some(Plan { walk, files })
}

fn push_name(bytes: &mut Vec<u8>, name: &[u8]) {
    // No name of the host has more than 255 bytes.
    bytes.push(u8::try_from(name.len()).unwrap_or(0));
    bytes.extend_from_slice(name);
}

fn take_name<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [length] = take(rest)?;
    let (name, behind) = rest.split_at_checked(length.into())?;
    *rest = behind;
    Some(name)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*head)
}
