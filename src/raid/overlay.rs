//! An overlay: a file that takes all writes to an array's members, which stay as they are.
//!
//! Members are opened for reading only, wherever they are, even on a file system that is read-only; blocks of 4096 bytes
//! that were written are in the overlay ([`mod@format`] has its bytes), all others in the images. Superblocks, bitmaps and
//! journals are written to it too, so an array under an overlay may be forced, resynced and repaired, and the overlay thrown
//! away. Opened again, it goes on where it was; it is refused where a member was changed without it, for its blocks would no
//! longer go with the member's.
//!
//! What was flushed survives a crash: a block is in the overlay before the map says so. What was not may be lost, as by any
//! disk's cache. Only one process may use an overlay at a time. A change of an image that leaves its superblock as it was,
//! as a level without redundancy allows, is seen by the image's time of modification.

pub mod format;
mod stream;
#[cfg(test)]
mod tests;

use std::{io, path::Path, sync::Arc, time::UNIX_EPOCH};

use rustix::io::Errno;

use self::{
    format::{HEADER_BYTES, Header, OverlayDamage, StreamEntry, StreamKind},
    stream::Stream,
};
use super::{
    assemble::{Found, Image, find},
    device::{Devices, Opener},
    error::{Error, Result},
    journal,
    metadata::identity::Uuid,
};
use crate::storage::{Access, Storage};

/// Bytes copied at once.
const STEP_BYTES: usize = 1 << 20;

/// A member as it stands in its image.
struct Base {
    image: Image,
    storage: Arc<dyn Storage>,
    found: Found,
    entry: StreamEntry,
}

/// Puts the images of an array under the overlay in `file`, which is made where it is missing; returns images that are
/// read and written like the others.
///
/// # Errors
/// [`Error::Member`] names a file that cannot be used, [`Error::NotStartable`] says why an overlay does not go with the
/// members.
pub fn over(images: &[Image], array_uuid: Uuid, file: &Image) -> Result<Vec<Image>> {
    let mut bases = Vec::new();
    for image in images {
        bases.push(base_of(image)?);
    }
    let (storage, header) = open_or_create(file, array_uuid, &bases)?;
    let mut over = Vec::new();
    for base in bases {
        let mut devices = Devices::over(Arc::clone(&base.image.directory));
        for (number, entry) in header.streams.iter().enumerate() {
            if entry.device_uuid != base.entry.device_uuid {
                continue;
            }
            let (name, below) = match entry.kind {
                StreamKind::Member => (base.image.name.clone(), Some(Arc::clone(&base.storage))),
                StreamKind::Sidecar => (base.image.sidecar().name().to_path_buf(), None),
            };
            let stream = Stream::open(Arc::clone(&storage), entry.clone(), below).map_err(|error| match error {
                stream::OpenError::Host(source) => file_error(file, "read its map", source),
                stream::OpenError::Page(page) => damaged(file, &OverlayDamage::Page { number, page }),
            })?;
            let stream: Arc<dyn Storage> = Arc::new(stream);
            let opener: Opener = Arc::new(move |_| Ok(Arc::clone(&stream)));
            devices.insert(name, opener);
        }
        over.push(Image {
            directory: Arc::new(devices),
            name: base.image.name,
        });
    }
    Ok(over)
}

/// A member as it is now, with the entry that an overlay has for it.
fn base_of(image: &Image) -> Result<Base> {
    let storage = image.open(Access::Read)?;
    image.claim(&*storage, 0, 0, Access::Read)?;
    let found = find(&image.path(), &*storage, 0)?;
    let found =
        found.ok_or_else(|| refused(&image.path(), "it is no member of an array".to_owned(), "leave it out"))?;
    let failed = |source| Error::Member {
        path: image.path(),
        verb: "look at it",
        source,
    };
    let superblock = &found.superblock;
    let mut bytes = vec![0; superblock.length_bytes()];
    let at = superblock.super_offset.0 * super::SECTOR_BYTES;
    let count = storage.read_at(&mut bytes, at).map_err(failed)?;
    let modified = storage.stat().map_err(failed)?.modified;
    let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let entry = StreamEntry {
        kind: StreamKind::Member,
        device_uuid: superblock.device_uuid,
        superblock_crc: crc32c::crc32c(&bytes[..count]),
        size_bytes: storage.size_bytes().map_err(failed)?,
        modified: (modified.as_secs(), modified.subsec_nanos()),
        map_bytes: 0,
        data_bytes: 0,
    };
    Ok(Base {
        image: image.clone(),
        storage,
        found,
        entry,
    })
}

/// Opens the overlay, with streams for all members; an empty file is taken for a new one.
fn open_or_create(file: &Image, array_uuid: Uuid, bases: &[Base]) -> Result<(Arc<dyn Storage>, Header)> {
    let (storage, before) = match file.directory.open(&file.name, Access::ReadWrite) {
        Ok(storage) => {
            file.claim(&*storage, 0, 0, Access::ReadWrite)?;
            let empty = storage
                .size_bytes()
                .map_err(|source| file_error(file, "find its size", source))?
                == 0;
            let header = if empty {
                None
            } else {
                Some(read_header(file, &*storage)?)
            };
            (storage, header)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (create(file)?, None),
        Err(error) => return Err(file_error(file, "open it for writing", error)),
    };
    let before = before.unwrap_or(Header {
        generation: 0,
        ..Header::new(array_uuid)
    });
    if before.array_uuid != array_uuid {
        let reason = format!("the overlay was made for array {}", before.array_uuid);
        return Err(refused(&file.path(), reason, "give another file for the overlay"));
    }
    let mut header = before.clone();
    for base in bases {
        take_in(file, base, &*storage, &mut header)?;
    }
    if header != before {
        header.generation = header.generation.wrapping_add(1);
        let written = storage
            .sync()
            .and_then(|()| storage.write_all_at(&header.encode(), header.place_bytes()))
            .and_then(|()| storage.sync());
        written.map_err(|source| file_error(file, "write its header", source))?;
    }
    Ok((storage, header))
}

/// Makes the file, empty.
fn create(file: &Image) -> Result<Arc<dyn Storage>> {
    let made = file.directory.create(&file.name, &mut |_| Ok(())).and_then(|storage| {
        let parent = file.name.parent().unwrap_or(Path::new(""));
        file.directory.sync_directory(parent)?;
        Ok(storage)
    });
    let storage = made.map_err(|source| file_error(file, "make it", source))?;
    file.claim(&*storage, 0, 0, Access::ReadWrite)?;
    Ok(storage)
}

fn read_header(file: &Image, storage: &dyn Storage) -> Result<Header> {
    let mut bytes = vec![0; 2 * HEADER_BYTES];
    let count = storage
        .read_at(&mut bytes, 0)
        .map_err(|source| file_error(file, "read its header", source))?;
    let copies = [0, 1].map(|copy| Header::decode(bytes[..count].get(copy * HEADER_BYTES..).unwrap_or_default()));
    let [first, second] = copies;
    match (first, second) {
        (Ok(first), Ok(second)) if second.generation > first.generation => Ok(second),
        (Ok(header), _) | (_, Ok(header)) => Ok(header),
        // The first header goes to the second place; before it is whole there is none at all.
        (Err(OverlayDamage::Absent), Err(damage)) | (Err(damage), _) => Err(damaged(file, &damage)),
    }
}

/// Makes sure that the header has a member, as it is now, and its sidecar.
fn take_in(file: &Image, base: &Base, storage: &dyn Storage, header: &mut Header) -> Result<()> {
    let known = header
        .streams
        .iter()
        .find(|stream| stream.kind == StreamKind::Member && stream.device_uuid == base.entry.device_uuid);
    if let Some(known) = known {
        let same = known.size_bytes == base.entry.size_bytes && known.superblock_crc == base.entry.superblock_crc;
        let bare = base.found.superblock.level.is_bare();
        if same && (!bare || known.modified == base.entry.modified) {
            return Ok(());
        }
        let reason = format!("it was changed since the overlay {} was made", file.path().display());
        let remedy = "the overlay is of no use any more: give another file for it";
        return Err(refused(&base.image.path(), reason, remedy));
    }
    let sidecar = StreamEntry {
        kind: StreamKind::Sidecar,
        size_bytes: journal::SIDECAR_BYTES,
        ..base.entry.clone()
    };
    if !header.push(base.entry.clone()) || !header.push(sidecar) {
        let too_large = io::Error::from(Errno::FBIG);
        return Err(file_error(file, "take in all members", too_large));
    }
    let place = header.streams.last().map_or(0, |stream| stream.data_bytes);
    copy_sidecar(&base.image, storage, place).map_err(|source| file_error(file, "copy a journal into it", source))
}

/// Copies the sidecar of an image, if it has one, to a place of the overlay.
fn copy_sidecar(image: &Image, storage: &dyn Storage, place: u64) -> io::Result<()> {
    let sidecar = match image.directory.open(image.sidecar().name(), Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut bytes = vec![0; STEP_BYTES];
    let mut at = 0;
    while at < journal::SIDECAR_BYTES {
        let count = sidecar.read_at(&mut bytes, at)?;
        if count == 0 {
            break;
        }
        let left = usize::try_from(journal::SIDECAR_BYTES - at).unwrap_or(count);
        storage.write_all_at(&bytes[..count.min(left)], place + at)?;
        at += count as u64;
    }
    Ok(())
}

fn file_error(file: &Image, verb: &'static str, source: io::Error) -> Error {
    Error::Member {
        path: file.path(),
        verb,
        source,
    }
}

fn damaged(file: &Image, damage: &OverlayDamage) -> Error {
    refused(&file.path(), damage.to_string(), "give another file for the overlay")
}

fn refused(path: &Path, reason: String, remedy: &'static str) -> Error {
    Error::NotStartable {
        array: path.display().to_string(),
        reason,
        remedy,
    }
}
