//! The partition table of an image: whose members are in it, what is free, making room for another and taking it back.
//!
//! A partition is an image of its own, `disk.img.p1` beside `disk.img`, which is opened, claimed, written and journaled
//! like any other. A table is changed back copy first, each copy durably, while the claim on its sectors keeps other
//! processes away; the partitions of other arrays may be in use meanwhile.

use std::{path::Path, sync::Arc};

use super::{
    SECTOR_BYTES, Sector,
    assemble::Image,
    device::{Devices, Opener, Window},
    discover::wipe_signatures,
    error::{Error, Result},
    metadata::{
        gpt::{
            ALIGNMENT, Found, Gpt, GptDamage, GptError, HEAD_BYTES, LINUX_RAID, Partition, PartitionName, TAIL_BYTES,
        },
        identity::{Guid, Uuid},
        superblock::Area,
    },
};
use crate::storage::{Access, Storage};

/// True where a member is an image, or a partition of it.
pub fn is_on(member: &Path, image: &Path) -> bool {
    let (member, image) = (
        member.as_os_str().as_encoded_bytes(),
        image.as_os_str().as_encoded_bytes(),
    );
    match member.strip_prefix(image) {
        Some([]) => true,
        Some([b'.', b'p', number @ ..]) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The image that a partition of an image is.
pub fn partition(image: &Image, number: usize, area: Area) -> Image {
    let mut name = image.name.as_os_str().to_owned();
    name.push(format!(".p{number}"));
    let (directory, whole) = (Arc::clone(&image.directory), image.name.clone());
    let opener: Opener = Arc::new(move |access| {
        let storage = directory.open(&whole, access)?;
        let (start, length) = (area.start.0 * SECTOR_BYTES, area.length.0 * SECTOR_BYTES);
        Ok(Arc::new(Window::new(storage, start, length)) as Arc<dyn Storage>)
    });
    let mut devices = Devices::beside(Arc::clone(&image.directory));
    devices.insert(name.clone().into(), opener);
    Image {
        directory: Arc::new(devices),
        name: name.into(),
    }
}

/// The table of an open image; none where there is none. A copy that is damaged is mended by the next change.
///
/// # Errors
/// [`Error::Member`] where the image cannot be read; [`Error::NotStartable`] where no copy of the table is whole.
pub fn read_table(image: &Image, storage: &dyn Storage) -> Result<Option<Gpt>> {
    let failed = host(image, "read its partition table");
    let device = Sector(storage.size_bytes().map_err(&failed)? / SECTOR_BYTES);
    let mut head = vec![0; HEAD_BYTES];
    let mut tail = vec![0; TAIL_BYTES];
    let Some(tail_at) = (device.0 * SECTOR_BYTES).checked_sub(TAIL_BYTES as u64) else {
        return Ok(None);
    };
    storage.read_at(&mut head, 0).map_err(&failed)?;
    storage.read_at(&mut tail, tail_at).map_err(&failed)?;
    match Gpt::decode(&head, &tail, device) {
        Ok(Found { gpt, damage }) => {
            if let Some(damage) = damage {
                log::warn!("{}: {damage}; the other copy is used", image.path().display());
            }
            Ok(Some(gpt))
        }
        Err(GptDamage::Absent { .. }) => Ok(None),
        Err(damage) => Err(Error::NotStartable {
            array: image.path().display().to_string(),
            reason: damage.to_string(),
            remedy: "mend the table with a partition editor, or leave this image out",
        }),
    }
}

/// Writes a table, back copy first, each durably.
///
/// # Errors
/// [`Error::Member`].
fn write_table(image: &Image, storage: &dyn Storage, gpt: &Gpt) -> Result<()> {
    let bytes = gpt.encode();
    let tail_at = gpt.device().0 * SECTOR_BYTES - bytes.tail.len() as u64;
    let written = storage
        .write_all_at(&bytes.tail, tail_at)
        .and_then(|()| storage.sync())
        .and_then(|()| storage.write_all_at(&bytes.head, 0))
        .and_then(|()| storage.sync());
    written.map_err(host(image, "write its partition table"))
}

/// Changes the table of an image; one that has none gets one of that identity.
fn change<T>(image: &Image, disk: Option<Guid>, change: impl FnOnce(&mut Gpt) -> Result<T, GptError>) -> Result<T> {
    let storage = image.open(Access::ReadWrite)?;
    image.claim(&*storage, 0, HEAD_BYTES as u64, Access::ReadWrite)?;
    let table = read_table(image, &*storage)?;
    let is_new = table.is_none();
    let mut gpt = match (table, disk) {
        (Some(gpt), _) => gpt,
        (None, None) => {
            return Err(Error::BadParameter {
                parameter: "image",
                value: image.path().display().to_string(),
                reason: "it has no partition table".to_owned(),
            });
        }
        (None, Some(disk)) => {
            let size = storage.size_bytes().map_err(host(image, "find its size"))?;
            Gpt::new(disk, Sector(size / SECTOR_BYTES)).map_err(|error| no_room(image, &error))?
        }
    };
    let made = change(&mut gpt).map_err(|error| no_room(image, &error))?;
    if is_new {
        wipe_signatures(image, &*storage)?;
    }
    write_table(image, &*storage, &gpt)?;
    Ok(made)
}

/// Makes a partition for a member in the first gap that holds it; returns its number, from 1, and its image. `uuid` is the member's identity and becomes the
/// partition's. An image without a table gets one.
///
/// # Errors
/// [`Error::BadParameter`] where there is no room, or members of four arrays already; [`Error::InUse`] where the image is
/// in use as a whole; [`Error::Member`].
pub fn add_partition(image: &Image, length: Sector, name: &str, uuid: Uuid) -> Result<(usize, Image)> {
    let (number, area) = change(image, Some(disk_of(uuid)), |gpt| {
        let area = gpt.place(length)?;
        let number = gpt.add(Partition {
            kind: LINUX_RAID,
            id: Guid(uuid.0),
            area,
            attributes: 0,
            name: PartitionName::new(name),
        })?;
        Ok((number, area))
    })?;
    Ok((number, partition(image, number, area)))
}

/// Takes a partition out of the table.
///
/// # Errors
/// As [`add_partition`]; a partition that is not there is no error.
pub fn remove_partition(image: &Image, number: usize) -> Result<()> {
    change(image, None, |gpt| Ok(gpt.remove(number))).map(drop)
}

/// Writes another name on a partition.
///
/// # Errors
/// As [`add_partition`].
pub fn rename_partition(image: &Image, number: usize, name: &str) -> Result<()> {
    change(image, None, |gpt| {
        if let Some(partition) = gpt.remove(number) {
            let name = PartitionName::new(name);
            gpt.add_at(number, Partition { name, ..partition })?;
        }
        Ok(())
    })
}

/// Identity of the image of which a member is the first: another one than the member's.
fn disk_of(uuid: Uuid) -> Guid {
    let mut bytes = uuid.0;
    bytes.iter_mut().for_each(|byte| *byte ^= 0xa5);
    Guid(bytes)
}

/// Free space of an image for another member, in bytes, and how many members it has.
pub(super) fn free_of(gpt: &Gpt) -> (u64, usize) {
    let members = gpt.partitions().filter(|(_, partition)| partition.kind == LINUX_RAID);
    (gpt.max_free().0 * SECTOR_BYTES, members.count())
}

/// Free space that an image without a table would have if it got one, in bytes.
pub(super) fn free_of_blank(size_bytes: u64) -> u64 {
    let gpt = Gpt::new(Guid::default(), Sector(size_bytes / SECTOR_BYTES));
    gpt.map_or(0, |gpt| free_of(&gpt).0)
}

/// Unit of partitions in bytes.
pub(super) const fn align_bytes() -> u64 {
    ALIGNMENT.0 * SECTOR_BYTES
}

fn no_room(image: &Image, error: &GptError) -> Error {
    let remedy = match error {
        GptError::TooManyArrays => "; delete one of them or take another image",
        GptError::NoSpace { .. } | GptError::TooSmall { .. } => "; ask for less capacity or take another image",
        _ => "",
    };
    Error::BadParameter {
        parameter: "image",
        value: image.path().display().to_string(),
        reason: format!("{error}{remedy}"),
    }
}

pub(super) fn host(image: &Image, verb: &'static str) -> impl Fn(std::io::Error) -> Error {
    let path = image.path();
    move |source| Error::Member {
        path: path.clone(),
        verb,
        source,
    }
}
