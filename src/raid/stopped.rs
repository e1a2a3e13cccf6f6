//! What is done to the members of an array that nobody uses: another name, deletion, superblocks for older kernels.
//!
//! All members are claimed before the first is changed, so an array in use is refused as a whole. A crash in between leaves
//! what doing the same again completes: superblocks are changed one by one, each durably, and the freshest is believed.

use std::{io, path::Path, sync::Arc};

use super::{
    SECTOR_BYTES,
    allot::member_name,
    assemble::{Assembly, Found, Image, find},
    discover::{ArraySet, SetMember, open, open_legs},
    error::{Error, Result},
    health::Action,
    metadata::{
        identity::{Name, Time},
        superblock::{SUPERBLOCK_BYTES, downgrade},
    },
    nested::Leg,
    partition::{host, remove_partition, rename_partition},
};
use crate::storage::{Access, Storage};

#[cfg(test)]
mod tests;

/// Most of what is zeroed of the bytes between superblock and data.
const ZEROED_BYTES: u64 = 1 << 20;

/// A member that nobody else uses while this lives.
struct Held<'a> {
    member: &'a SetMember,
    storage: Arc<dyn Storage>,
    found: Found,
}

/// Opens and claims a device for writing.
fn hold(member: &SetMember) -> Result<Held<'_>> {
    let SetMember { image, uuid, .. } = member;
    let storage = image.open(Access::ReadWrite)?;
    image.claim(&*storage, 0, 0, Access::ReadWrite)?;
    match find(&image.path(), &*storage, 0)? {
        Some(found) if found.superblock.device_uuid == *uuid => Ok(Held { member, storage, found }),
        _ => Err(Error::InUse {
            path: image.path(),
            source: io::Error::other("it changed while it was looked at"),
        }),
    }
}

fn hold_all(set: &ArraySet) -> Result<Vec<Held<'_>>> {
    set.members.iter().map(hold).collect()
}

/// Gives an array another name, on all members and on their partitions.
///
/// # Errors
/// [`Error::BadParameter`] where the name has not 1 to 32 bytes, [`Error::WrongState`] where the array is not in a state to be
/// renamed, and as [`open`].
pub fn rename(set: &ArraySet, name: &str, now: Time) -> Result<()> {
    let array = open(set, Assembly::default())?;
    array.check_allows(Action::Rename)?;
    array.rename(name, now)?;
    array.stop(now)?;
    drop(array);
    for member in &set.members {
        if let (Some(slot), Some((whole, number))) = (member.slot, whole_of(member)) {
            rename_partition(&whole, number, &member_name(name, slot.index()))?;
        }
    }
    Ok(())
}

/// The image that a member is a partition of, and which; none for a whole image.
fn whole_of(member: &SetMember) -> Option<(Image, usize)> {
    let (number, name) = (member.partition?, member.image.name.as_os_str().as_encoded_bytes());
    let name = name.strip_suffix(format!(".p{number}").as_bytes())?;
    let name = Path::new(std::str::from_utf8(name).ok()?).to_path_buf();
    let directory = Arc::clone(&member.image.directory);
    Some((Image { directory, name }, number))
}

/// Deletes an array: its superblocks are zeroed, its partitions and journals are gone. The data stay where they are until
/// somebody uses the space.
///
/// # Errors
/// [`Error::InUse`] where the array is in use, [`Error::Member`] names an image that cannot be changed.
pub fn delete(set: &ArraySet) -> Result<()> {
    let held = hold_all(set)?;
    held.iter().try_for_each(Held::zero)?;
    held.into_iter().try_for_each(Held::free)
}

/// Gives an image back that was a device of an array which does without it.
///
/// # Errors
/// As [`delete`].
pub fn give_back(member: &SetMember) -> Result<()> {
    let held = hold(member)?;
    held.zero()?;
    held.free()
}

impl Held<'_> {
    /// Zeroes the superblock, and the bitmap and logs that stand between it and the data, durably.
    fn zero(&self) -> Result<()> {
        let superblock = &self.found.superblock;
        let at = superblock.super_offset.0 * SECTOR_BYTES;
        let behind = (superblock.data_offset.0 * SECTOR_BYTES).saturating_sub(at);
        let length = usize::try_from(behind.min(ZEROED_BYTES)).unwrap_or(0);
        let zeros = vec![0; length.max(superblock.length_bytes())];
        let zeroed = self.storage.write_all_at(&zeros, at).and_then(|()| self.storage.sync());
        zeroed.map_err(host(&self.member.image, "zero its superblock"))
    }

    /// Removes the journal and the partition.
    fn free(self) -> Result<()> {
        let Self { member, storage, .. } = self;
        drop(storage);
        let image = &member.image;
        match image.directory.remove(image.sidecar().name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(host(image, "remove its journal")(error)),
            _ => whole_of(member).map_or(Ok(()), |(whole, number)| remove_partition(&whole, number)),
        }
    }
}

/// Makes superblocks that a kernel of 6.19 or later has written readable to older ones. Returns how many were changed.
///
/// # Errors
/// As [`delete`], and for an array that is made of arrays as [`open`].
pub fn make_compatible(set: &ArraySet) -> Result<usize> {
    let held = hold_all(set)?;
    let mut changed = 0;
    for Held { member, storage, found } in &held {
        changed += usize::from(make_older(&member.image, &**storage, found)?);
    }
    drop(held);
    if set.legs.is_empty() {
        return Ok(changed);
    }
    for (leg, own) in open_legs(set, &set.images(), Assembly::default())?
        .iter()
        .zip(&set.legs)
    {
        let device = Leg::new(Arc::clone(leg));
        let Some(image) = own.members.first().map(|member| &member.image) else {
            continue;
        };
        if let Some(found) = find(Path::new(&own.name), &device, 0)? {
            changed += usize::from(make_older(image, &device, &found)?);
        }
        leg.stop(own.updated)?;
    }
    Ok(changed)
}

/// Rewrites one superblock; false where it is readable already.
fn make_older(image: &Image, storage: &dyn Storage, found: &Found) -> Result<bool> {
    let at = found.superblock.super_offset.0 * SECTOR_BYTES;
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    let count = storage
        .read_at(&mut bytes, at)
        .map_err(host(image, "read its superblock"))?;
    bytes.truncate(count);
    let Ok(Some(older)) = downgrade(&bytes) else {
        return Ok(false);
    };
    // What stands behind the superblock is not its own.
    let written = storage
        .write_all_at(&older[..found.superblock.length_bytes().min(count)], at)
        .and_then(|()| storage.sync());
    written.map_err(host(image, "write its superblock"))?;
    Ok(true)
}

/// The name of an array, checked.
///
/// # Errors
/// [`Error::BadParameter`] where it has not 1 to 32 bytes.
pub fn checked_name(name: &str) -> Result<Name> {
    Name::new(name)
        .filter(|_| !name.is_empty())
        .ok_or_else(|| Error::BadParameter {
            parameter: "name",
            value: format!("{name:?}"),
            reason: "it has 1 to 32 bytes".to_owned(),
        })
}

/// Name of a new array that was given none: `RAID_` with the level and the least number that is free, from 0.
pub fn default_name(level: &str, taken: &[String]) -> String {
    let level = level.trim_start_matches("RAID").trim();
    let names = (0..).map(|number| format!("RAID_{level}_{number}"));
    names
        .into_iter()
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| format!("RAID_{level}"))
}
