//! Members are claimed before they are used: alone for writing, together with other readers for reading.
//!
//! What is claimed is the part of the image that the member is, so several arrays may stand in one image.

use super::{Error, Found, Image, Result, find, place_of};
use crate::storage::{Access, Storage};

impl Image {
    /// Claims the part of it that an open storage of it is used for.
    ///
    /// # Errors
    /// [`Error::InUse`] where another has it.
    pub(in crate::raid) fn claim(
        &self,
        storage: &dyn Storage,
        start_bytes: u64,
        length_bytes: u64,
        access: Access,
    ) -> Result<()> {
        let path = self.path();
        storage
            .claim(start_bytes, length_bytes, access)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::WouldBlock => Error::InUse { path, source },
                _ => Error::Member {
                    path,
                    verb: "claim it",
                    source,
                },
            })
    }
}

/// Claims a member, and looks whether it is still what it was when it was chosen.
pub(super) fn member(image: &Image, storage: &dyn Storage, found: &Found, access: Access) -> Result<()> {
    let place = place_of(found);
    image.claim(storage, place.device_start_bytes, place.device_bytes, access)?;
    let now = find(&image.path(), storage, found.image)?;
    if now.is_some_and(|now| now.superblock == found.superblock) {
        return Ok(());
    }
    let source = std::io::Error::other("it changed while it was looked at");
    let path = image.path();
    Err(Error::InUse { path, source })
}
