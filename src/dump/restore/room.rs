//! Room for a restore: space and inodes, checked before anything is made.
//!
//! What is needed is as much as the dump takes on its tapes, which is somewhat more than its data, and a reserve.

use rustix::fs::{StatVfs, fstatvfs};

use super::Destination;
use crate::dump::{
    error::{Error, Result},
    reader::Reader,
};

/// Space that is left over when all is restored, in bytes.
const RESERVE_BYTES: u64 = 100 << 20;

/// Checks whether `objects` new objects have room, and with `all` whether all data of the dump has.
///
/// # Errors
/// [`Error::NoRoom`], unless the destination was told to take what fits.
pub(super) fn check(destination: &Destination, reader: &Reader, objects: u64, all: bool) -> Result<()> {
    if destination.takes_what_fits() {
        return Ok(());
    }
    let Ok(room) = fstatvfs(destination.root()) else {
        return Ok(());
    };
    let refuse = |what, needed, free| {
        Err(Error::NoRoom {
            path: destination.path().to_path_buf(),
            what,
            needed,
            free,
        })
    };
    // File systems without a table of inodes tell of none at all.
    if room.f_files > 0 && room.f_favail < objects {
        return refuse("inodes", objects, room.f_favail);
    }
    let free = free_bytes(&room);
    if all && free < reader.most_bytes().saturating_add(RESERVE_BYTES) {
        let needed = reader.dump_bytes()?.saturating_add(RESERVE_BYTES);
        if free < needed {
            return refuse("bytes", needed, free);
        }
    }
    Ok(())
}

/// Checks whether a dump of `bytes` has room.
///
/// # Errors
/// [`Error::NoRoom`], unless the destination was told to take what fits.
pub fn check_room(destination: &Destination, bytes: u64) -> Result<()> {
    let Ok(room) = fstatvfs(destination.root()) else {
        return Ok(());
    };
    let (needed, free) = (bytes.saturating_add(RESERVE_BYTES), free_bytes(&room));
    if destination.takes_what_fits() || free >= needed {
        return Ok(());
    }
    Err(Error::NoRoom {
        path: destination.path().to_path_buf(),
        what: "bytes",
        needed,
        free,
    })
}

fn free_bytes(room: &StatVfs) -> u64 {
    room.f_bavail.saturating_mul(room.f_frsize)
}
