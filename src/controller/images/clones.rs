//! Clones of arrays: overlays beside the disks of a store, each of which is dumped as an array of its own.
//!
//! An overlay holds only what differs from its array, and is worth nothing beside another; on the tape stands what one reads
//! through it. Restored it is an array that knows nothing of the one that it was cloned from. While that one is served, its
//! members may change beneath the overlay, so the clone is left to the next dump.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::dumped::{READING, Still, attributes, latest, shape_of};
use crate::{
    controller::{
        error::{Error, Result},
        store::Store,
    },
    dump::images::{Contents, ENDING, Image},
    raid::{
        Array, assemble,
        discover::{ArraySet, Discovery, open_over},
        overlay::format::{HEADER_BYTES, Header},
    },
};

/// The clones of the arrays that were found, with the files that they are in.
pub(super) fn clones_of(store: &Store, found: &Discovery) -> Result<Vec<(PathBuf, Image)>> {
    let disks = store.disks();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&disks).map_err(Error::host(&disks))? {
        let path = entry.map_err(Error::host(&disks))?.path();
        let other = path
            .extension()
            .is_none_or(|ending| ending != "img" && ending != "journal");
        if other && std::fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_file()) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut clones = Vec::new();
    for path in paths {
        let Some(header) = header_of(&path) else { continue };
        if let Some(set) = found.arrays.iter().find(|set| set.uuid == header.array_uuid) {
            let file = assemble::Image::at(&path).map_err(Error::host(&path))?;
            clones.push((path, clone_of(set, file)));
        }
    }
    Ok(clones)
}

/// What a file says of its array if it is an overlay: the newer of its two headers.
fn header_of(path: &Path) -> Option<Header> {
    let file = File::open(path).ok()?;
    let mut bytes = vec![0; 2 * HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let headers = bytes
        .chunks(HEADER_BYTES)
        .filter_map(|bytes| Header::decode(bytes).ok());
    headers.max_by_key(|header| header.generation)
}

fn clone_of(set: &ArraySet, file: assemble::Image) -> Image {
    let path = file.path();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // It is not the array that it was cloned from, and the same one in each dump.
    let mut identity = set.uuid.0;
    let own = crc32c::crc32c(path.file_name().unwrap_or_default().as_encoded_bytes()) | 1;
    for (byte, other) in identity.iter_mut().zip(own.to_le_bytes()) {
        *byte ^= other;
    }
    let looked = opened(set, &file);
    let members = set.members.iter().map(|member| member.image.path());
    let set = set.clone();
    Image {
        name: format!("{name}{ENDING}"),
        identity,
        size_bytes: looked.as_ref().map_or(0, |array| array.size_bytes()),
        modified: latest(members.chain([path])),
        facts: shape_of(&set),
        attributes: attributes(&set),
        notes: vec![format!(
            "is a clone of array {}, and an array of its own from here on",
            set.name
        )],
        served: false,
        refused: looked.err().map(|error| error.to_string()),
        open: Box::new(move || {
            let array = opened(&set, &file).map_err(io::Error::other)?;
            Ok(Arc::new(Still(array)) as Arc<dyn Contents>)
        }),
    }
}

fn opened(set: &ArraySet, file: &assemble::Image) -> crate::raid::Result<Array> {
    open_over(set, READING, file)
}
