//! One image: the members in it, whole or in partitions, and what else it holds.
//!
//! It is opened for reading only and nothing here fails: what cannot be read is reported as such, in words.

use std::{fmt, sync::Arc};

use crate::{
    raid::{
        SECTOR_BYTES, Sector,
        assemble::{Found, Image, find},
        error::{Error, Result},
        metadata::{
            foreign::{Foreign, HEAD_BYTES, TAIL_BYTES, foreign, signatures},
            gpt::ARRAYS_PER_IMAGE,
            superblock::{SUPERBLOCK_BYTES, Superblock, Version},
        },
        partition::{free_of, host, partition, read_table},
    },
    storage::{Access, Storage},
};

/// What one image holds.
#[derive(Debug, Clone)]
pub struct ImageReport {
    /// The image.
    pub image: Image,
    /// Its length in bytes; 0 where it could not be opened.
    pub size_bytes: u64,
    /// What is in it.
    pub contents: Contents,
    /// Members of arrays that it holds: more than one where it has partitions.
    pub members: usize,
    /// Room for a member of another array: the largest gap between partitions, in bytes; all of an image that is blank.
    pub free_bytes: u64,
}

/// What an image holds, for one that is no member with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// It is a member of one of the arrays.
    Member,
    /// Zeros at both ends: it was never used.
    Blank,
    /// A file system, or a container of one; the name of its kind.
    FileSystem(&'static str),
    /// A partition table without members in it; the name of its kind.
    PartitionTable(&'static str),
    /// A superblock or partition table that is damaged; what is wrong with it.
    Damaged(String),
    /// A member of an array in a format that is not served; its name.
    NotTaken(&'static str),
    /// Something that is not known.
    Unknown,
    /// It could not be read; what the host said.
    Unreadable(String),
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member => f.write_str("member"),
            Self::Blank => f.write_str("blank"),
            Self::FileSystem(kind) => write!(f, "holds a file system or volume: {kind}"),
            Self::PartitionTable(kind) => write!(f, "holds a partition table: {kind}"),
            Self::Damaged(reason) => write!(f, "damaged: {reason}"),
            Self::NotTaken(kind) => write!(f, "not taken: it is a member of an array in the format {kind}"),
            Self::Unknown => f.write_str("holds data of no known kind"),
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
        }
    }
}

/// A member that was found, and where.
pub(super) struct Device {
    pub(super) image: Image,
    pub(super) number: usize,
    pub(super) partition: Option<usize>,
    pub(super) found: Found,
    /// Name of another array whose superblock it has too.
    pub(super) other: Option<String>,
}

/// Looks at one image.
pub(super) fn look(image: &Image, number: usize, devices: &mut Vec<Device>) -> ImageReport {
    let before = devices.len();
    let looked = image.open(Access::Read).and_then(|storage| {
        let size_bytes = storage.size_bytes().map_err(host(image, "find its size"))?;
        Ok((size_bytes, look_into(image, &storage, number, size_bytes, devices)?))
    });
    let (size_bytes, (contents, free_bytes)) = looked.unwrap_or_else(|error| {
        let contents = match error {
            Error::NotStartable { reason, .. } => Contents::Damaged(reason),
            error => Contents::Unreadable(host_says(&error)),
        };
        (0, (contents, 0))
    });
    ImageReport {
        image: image.clone(),
        size_bytes,
        contents,
        members: devices.len() - before,
        free_bytes,
    }
}

/// What an open image holds, and how much of it is free.
fn look_into(
    image: &Image,
    storage: &Arc<dyn Storage>,
    number: usize,
    size_bytes: u64,
    devices: &mut Vec<Device>,
) -> Result<(Contents, u64)> {
    if let Some(found) = find(&image.path(), &**storage, number)? {
        devices.push(device(image.clone(), number, None, &**storage, found));
        return Ok((Contents::Member, 0));
    }
    let Some(gpt) = read_table(image, &**storage)? else {
        let contents = unclaimed(&**storage, size_bytes).map_err(host(image, "read it"))?;
        let free = if contents == Contents::Blank { size_bytes } else { 0 };
        return Ok((contents, free));
    };
    let (free, members) = free_of(&gpt);
    let free = if members < ARRAYS_PER_IMAGE { free } else { 0 };
    let mut contents = Contents::PartitionTable("GPT");
    for (index, entry) in gpt.partitions() {
        let part = partition(image, index, entry.area);
        let window = part.open(Access::Read)?;
        match find(&part.path(), &*window, number) {
            Ok(Some(found)) => {
                devices.push(device(part, number, Some(index), &*window, found));
                contents = Contents::Member;
            }
            Ok(None) => {}
            Err(Error::NotStartable { reason, .. }) if contents != Contents::Member => {
                contents = Contents::Damaged(format!("partition {index}: {reason}"));
            }
            Err(Error::NotStartable { reason, .. }) => log::warn!("{}: {reason}", part.path().display()),
            Err(error) => return Err(error),
        }
    }
    Ok((contents, free))
}

fn device(image: Image, number: usize, partition: Option<usize>, storage: &dyn Storage, found: Found) -> Device {
    Device {
        other: second_array(storage, &found),
        image,
        number,
        partition,
        found,
    }
}

/// What is in an image that has no md superblock of version 1.
pub(in crate::raid) fn unclaimed(storage: &dyn Storage, size_bytes: u64) -> std::io::Result<Contents> {
    let device = Sector(size_bytes / SECTOR_BYTES);
    let (head, tail) = ends(storage, device)?;
    Ok(match foreign(&head, &tail, device) {
        Some(Foreign::FileSystem(kind)) => Contents::FileSystem(kind),
        Some(Foreign::DosPartitions) => Contents::PartitionTable("MBR"),
        Some(Foreign::Gpt) => Contents::PartitionTable("GPT"),
        Some(Foreign::Md090) => Contents::NotTaken("md 0.90"),
        Some(Foreign::Ddf) => Contents::NotTaken("DDF"),
        None if head.iter().chain(&tail).all(|byte| *byte == 0) => Contents::Blank,
        None => Contents::Unknown,
    })
}

/// The first and the last bytes of an image, as many as signatures can be in; a tail that ends with the last whole sector.
fn ends(storage: &dyn Storage, device: Sector) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let end = device.0 * SECTOR_BYTES;
    let mut head = vec![0; HEAD_BYTES.min(usize::try_from(end).unwrap_or(HEAD_BYTES))];
    let mut tail = vec![0; TAIL_BYTES.min(usize::try_from(end).unwrap_or(TAIL_BYTES))];
    let count = storage.read_at(&mut head, 0)?;
    head.truncate(count);
    let tail_at = end - tail.len() as u64;
    storage.read_at(&mut tail, tail_at)?;
    Ok((head, tail))
}

/// Zeroes what makes others take an image for what it was.
///
/// # Errors
/// [`Error::Member`].
pub(in crate::raid) fn wipe_signatures(image: &Image, storage: &dyn Storage) -> Result<()> {
    let failed = host(image, "wipe what it was");
    let device = Sector(storage.size_bytes().map_err(&failed)? / SECTOR_BYTES);
    let (head, tail) = ends(storage, device).map_err(&failed)?;
    for range in signatures(&head, &tail, device) {
        let zeros = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        storage.write_all_at(&zeros, range.start).map_err(&failed)?;
    }
    Ok(())
}

/// Name of another array of which the device has a superblock of another version.
fn second_array(storage: &dyn Storage, found: &Found) -> Option<String> {
    let at = |version: Version| {
        let place = version.place(found.device)?;
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        let count = storage.read_at(&mut bytes, place.0 * SECTOR_BYTES).ok()?;
        let superblock = Superblock::decode(&bytes[..count]).ok()?;
        superblock.fits(place, found.device).ok()?;
        (superblock.array_uuid != found.superblock.array_uuid).then(|| superblock.name.short())
    };
    Version::ALL.into_iter().find_map(at)
}

fn host_says(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
