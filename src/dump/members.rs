//! Images of members of arrays among the files of a tree, where no [image object](super::images) stands for them: they are
//! dumped only while nobody writes to their array.
//!
//! An image is told by the superblock of Linux md 1.2 at 4096, or by a partition table that may hold one. While a dump runs
//! it claims those that it takes, so no array is started on them that could be written to. What is claimed already is left
//! to the next dump, with all images of the same array: one alone is worth nothing.

use std::{collections::HashSet, fs::File, io, os::unix::fs::FileExt as _, path::PathBuf};

use rustix::fs::{FileType, OFlags};

use super::{tree::Tree, walker::Walk};
use crate::storage::{Access, claim};

/// How the names of images end.
const ENDING: &[u8] = b".img";
/// Where the superblock is, in bytes, its magic, and where in it the identity of the array is.
const SUPERBLOCK_AT: u64 = 4096;
const MAGIC: [u8; 4] = 0xA92B_4EFC_u32.to_le_bytes();
const IDENTITY: std::ops::Range<usize> = 16..32;
/// Where a partition table is, in bytes, and what it begins with.
const TABLE_AT: u64 = 512;
const TABLE: &[u8; 8] = b"EFI PART";

/// Images that are claimed until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    _files: Vec<File>,
}

/// An image that others have.
#[derive(Debug)]
pub(super) struct Busy {
    /// Its place in [`Walk::objects`].
    pub(super) object: usize,
    /// Where, from the root of the tree.
    pub(super) path: PathBuf,
    /// Who has it, or has another of its array.
    pub(super) why: String,
}

/// An image of a member.
struct Image {
    object: usize,
    path: PathBuf,
    /// Identity of its array, where it has one superblock.
    array: Option<[u8; 16]>,
    claimed: io::Result<File>,
}

/// Claims the images among what is chosen, but for those of arrays that others have.
pub(super) fn hold(tree: &Tree, walk: &Walk) -> (Held, Vec<Busy>) {
    let chosen = walk.objects.iter().enumerate().filter(|(_, object)| {
        let regular = object.status.file_type() == FileType::RegularFile;
        object.chosen && regular && object.name.ends_with(ENDING)
    });
    let images: Vec<Image> = chosen
        .filter_map(|(at, object)| image(tree, at, walk.path_of_object(object)))
        .collect();
    let taken: HashSet<[u8; 16]> = images
        .iter()
        .filter(|image| image.claimed.is_err())
        .filter_map(|image| image.array)
        .collect();
    let (mut files, mut busy) = (Vec::new(), Vec::new());
    for image in images {
        let why = match image.claimed {
            Ok(file) if image.array.is_none_or(|array| !taken.contains(&array)) => {
                files.push(file);
                continue;
            }
            Ok(_) => "another image of its array is in use".to_owned(),
            Err(error) => error.to_string(),
        };
        busy.push(Busy {
            object: image.object,
            path: image.path,
            why,
        });
    }
    (Held { _files: files }, busy)
}

/// Claims a file if it is an image; what cannot be read is none.
fn image(tree: &Tree, object: usize, path: PathBuf) -> Option<Image> {
    let file = File::from(tree.open_at(&path, OFlags::RDONLY).ok()?);
    let array = array_of(&file);
    if array.is_none() && !has_table(&file) {
        return None;
    }
    Some(Image {
        object,
        array,
        claimed: claim(&file, 0, 0, Access::Read).map(|()| file),
        path,
    })
}

/// Identity of the array that a file is a member of.
fn array_of(file: &File) -> Option<[u8; 16]> {
    let mut head = [0; IDENTITY.end];
    file.read_exact_at(&mut head, SUPERBLOCK_AT).ok()?;
    head.starts_with(&MAGIC).then_some(())?;
    head.get(IDENTITY)?.try_into().ok()
}

fn has_table(file: &File) -> bool {
    let mut head = [0; TABLE.len()];
    file.read_exact_at(&mut head, TABLE_AT).is_ok_and(|()| head == *TABLE)
}

/// What to tell of an image that is left out.
pub(super) fn told(why: &str) -> String {
    format!("is part of an array in use ({why}), and left to the next dump")
}
