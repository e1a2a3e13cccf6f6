//! Sorting images into arrays: who belongs together, who is missing, who is stale, and what the other images hold.
//!
//! Images are opened for reading only and nothing is decided by names: members of one array carry its UUID. What a set
//! cannot be started for is said in words beforehand ([`ArraySet::refusal`]), by the same rules by which [`open`] then
//! assembles it. Everything here is plain data, to be shown or sent as it is.

mod image;
mod nest;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc};

use super::{
    Array, Level, SECTOR_BYTES, Slot,
    array::Reshaping,
    assemble::{Assembly, Found, Image, assemble, believed, choose, read_journal, shape_of},
    error::{Error, Result},
    metadata::{
        identity::{Time, Uuid},
        superblock::{Features, Role, Superblock, Version},
    },
    nested::assemble_nested,
    overlay::over,
    partial_parity::Logs,
    watch::starts::Starting,
};
use crate::storage::natural;

pub use image::{Contents, ImageReport};
use image::{Device, look};
pub(super) use image::{unclaimed, wipe_signatures};
use nest::nest;

/// All that was found in some images.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The arrays, by name and then by UUID.
    pub arrays: Vec<ArraySet>,
    /// The images, in the order in which they were given.
    pub images: Vec<ImageReport>,
}

/// The images of one array.
#[derive(Debug, Clone)]
pub struct ArraySet {
    /// Name of the array, without a host.
    pub name: String,
    /// Identity of the array.
    pub uuid: Uuid,
    /// Level.
    pub level: Level,
    /// md's layout number.
    pub layout: u32,
    /// Chunk in bytes; 0 where the level has none.
    pub chunk_bytes: u64,
    /// Size in bytes; none where it depends on members that are missing, or cannot be.
    pub size_bytes: Option<u64>,
    /// Number of slots.
    pub slots: u16,
    /// Times that the superblocks were written, by the freshest.
    pub events: u64,
    /// When the array was made.
    pub created: Time,
    /// When the freshest superblock was written.
    pub updated: Time,
    /// True where it was not stopped cleanly, or never was in sync.
    pub dirty: bool,
    /// True where a verify found that its redundancy does not go with its data, or sectors of it are lost.
    pub inconsistent: bool,
    /// Where it goes, and how far it came, where it was left on its way to another shape.
    pub reshape: Option<Reshaping>,
    /// All devices that say that they belong to the array, by slot; then those without one.
    pub members: Vec<SetMember>,
    /// Slots that no member in good standing fills.
    pub missing: Vec<Slot>,
    /// Contradictions between images.
    pub conflicts: Vec<Conflict>,
    /// Why the array cannot be started for writing without force; none where it can.
    pub refusal: Option<String>,
    /// The arrays that it is made of, by slot: RAID 50. Members, missing slots and conflicts are then those of all legs,
    /// numbered leg after leg. Empty for an ordinary array.
    pub legs: Vec<ArraySet>,
}

/// A device that says that it belongs to an array.
#[derive(Debug, Clone)]
pub struct SetMember {
    /// Where it is.
    pub image: Image,
    /// Number of the image among those that were given.
    pub number: usize,
    /// Number of the partition that it is, from 1; none for a whole image.
    pub partition: Option<usize>,
    /// Version of its superblock.
    pub version: Version,
    /// Its identity.
    pub uuid: Uuid,
    /// Its slot, by the freshest superblock of the array.
    pub slot: Option<Slot>,
    /// Times that its superblock was written.
    pub events: u64,
    /// Length of the device in bytes.
    pub device_bytes: u64,
    /// Where its data begin, in bytes from the start of the device.
    pub data_offset_bytes: u64,
    /// How it stands to the array.
    pub standing: Standing,
}

/// How a device stands to its array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds its slot's data.
    InSync,
    /// It is being rebuilt.
    Rebuilding {
        /// Bytes of its data area that are right.
        done_bytes: u64,
    },
    /// It waits for a slot.
    Spare,
    /// It missed writes: its superblock is older than those of the others.
    Stale,
    /// The others say that it failed, or do not know it any more.
    Failed,
    /// It holds a journal of md.
    Journal,
}

impl Standing {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::Rebuilding { .. } => "rebuilding",
            Self::Spare => "spare",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Journal => "journal",
        }
    }
}

/// A contradiction between images, in which nobody can say who is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// Two devices have the same identity: one is a copy of the other.
    SameDevice {
        /// The first.
        path: PathBuf,
        /// The second.
        other: PathBuf,
    },
    /// Two devices are the same member.
    SameSlot {
        /// The slot.
        slot: Slot,
        /// The first.
        path: PathBuf,
        /// The second.
        other: PathBuf,
    },
    /// Another array has the same name.
    SameName {
        /// Its identity.
        other: Uuid,
    },
    /// A device has superblocks of two arrays.
    TwoArrays {
        /// The device.
        path: PathBuf,
        /// Name of the other array.
        other: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameDevice { path, other } => {
                write!(
                    f,
                    "{} and {} are copies of the same member",
                    path.display(),
                    other.display()
                )
            }
            Self::SameSlot { slot, path, other } => {
                write!(f, "{} and {} both are member {slot}", path.display(), other.display())
            }
            Self::SameName { other } => write!(f, "array {other} has the same name"),
            Self::TwoArrays { path, other } => {
                write!(f, "{} has a superblock of array {other} too", path.display())
            }
        }
    }
}

impl ArraySet {
    /// Images of all its devices, to be given to [`assemble`].
    pub fn images(&self) -> Vec<Image> {
        self.members.iter().map(|member| member.image.clone()).collect()
    }
}

/// Looks at images and sorts them into arrays. An image that cannot be read is reported like the others.
pub fn discover(images: &[Image]) -> Discovery {
    let mut devices = Vec::new();
    let mut reports = Vec::new();
    let starting = Starting::new();
    for (number, image) in images.iter().enumerate() {
        reports.push(look(&image.watched(starting.watch()), number, &mut devices));
    }
    let mut uuids: Vec<Uuid> = devices
        .iter()
        .map(|device| device.found.superblock.array_uuid)
        .collect();
    uuids.sort();
    uuids.dedup();
    let arrays: Vec<ArraySet> = uuids.iter().filter_map(|uuid| set_of(*uuid, &devices)).collect();
    let mut arrays = nest(arrays);
    arrays.sort_by(|one, other| {
        natural(one.name.as_bytes(), other.name.as_bytes()).then_with(|| one.uuid.cmp(&other.uuid))
    });
    let names: Vec<(String, Uuid)> = arrays.iter().map(|set| (set.name.clone(), set.uuid)).collect();
    for set in &mut arrays {
        let same = names
            .iter()
            .filter(|(name, uuid)| *name == set.name && *uuid != set.uuid);
        set.conflicts
            .extend(same.map(|(_, other)| Conflict::SameName { other: *other }));
    }
    Discovery {
        arrays,
        images: reports,
    }
}

/// Assembles the array of a set.
///
/// # Errors
/// As [`assemble`].
pub fn open(set: &ArraySet, how: Assembly) -> Result<Array> {
    open_images(set, &set.images(), how)
}

/// Assembles the array of a set of images that stand for those of its members, leg after leg.
fn open_images(set: &ArraySet, images: &[Image], how: Assembly) -> Result<Array> {
    let Some(beside) = images.first().filter(|_| !set.legs.is_empty()) else {
        return assemble(images, how);
    };
    assemble_nested(open_legs(set, images, how)?, beside, how)
}

/// Assembles the legs of a set of images that stand for those of its members, leg after leg.
pub(super) fn open_legs(set: &ArraySet, images: &[Image], how: Assembly) -> Result<Vec<Arc<Array>>> {
    let mut rest = images;
    let legs = set.legs.iter().map(|leg| {
        let (own, after) = rest.split_at(leg.members.len().min(rest.len()));
        rest = after;
        Ok(Arc::new(assemble(own, how)?))
    });
    legs.collect()
}

/// Assembles the array of a set under the overlay in a file, which takes all writes; see [`overlay`](super::overlay).
///
/// # Errors
/// As [`assemble`], and where the overlay does not go with the members.
pub fn open_over(set: &ArraySet, how: Assembly, file: &Image) -> Result<Array> {
    open_images(set, &over(&set.images(), set.uuid, file)?, how)
}

/// The set of one array.
fn set_of(uuid: Uuid, devices: &[Device]) -> Option<ArraySet> {
    let own: Vec<&Device> = devices
        .iter()
        .filter(|device| device.found.superblock.array_uuid == uuid)
        .collect();
    let images: Vec<Image> = own.iter().map(|device| device.image.clone()).collect();
    let found: Vec<Found> = own
        .iter()
        .enumerate()
        .map(|(image, device)| Found {
            image,
            ..device.found.clone()
        })
        .collect();
    let (freshest, counted) = believed(&images, &found)?;
    let view = &freshest.superblock;
    let shape = shape_of(view, &counted).ok();
    let geometry = shape.as_ref().map(|shape| shape.geometry());
    let choice = choose(&images, &found, Assembly::default());
    let mut members: Vec<SetMember> = own
        .iter()
        .zip(&found)
        .map(|(device, found)| {
            let counts = counted.iter().find(|one| one.image == found.image);
            member_of(view, device, &counts.unwrap_or(found).superblock)
        })
        .collect();
    members.sort_by_key(|member| (member.slot.is_none(), member.slot, member.number));
    let in_sync = |slot: &Slot| {
        let mut sitting = members.iter().filter(|member| member.slot == Some(*slot));
        sitting.any(|member| member.standing == Standing::InSync)
    };
    let slots = u16::try_from(view.slots).unwrap_or(u16::MAX);
    let missing = match &choice {
        Ok(choice) => choice.missing.clone(),
        Err(_) => (0..slots).map(Slot).filter(|slot| !in_sync(slot)).collect(),
    };
    let journal = choice.and_then(|choice| {
        let logs = Logs::read(&images, &choice)?;
        read_journal(&images, &choice, &logs, Assembly::default())
    });
    let flawed = |found: &Found| found.superblock.features.has(Features::BAD_BLOCKS);
    let inconsistent = journal.as_ref().is_ok_and(|journal| journal.inconsistent) || found.iter().any(flawed);
    Some(ArraySet {
        name: view.name.short(),
        uuid,
        level: view.level,
        layout: view.layout,
        chunk_bytes: u64::from(view.chunk) * SECTOR_BYTES,
        size_bytes: geometry.map(|geometry| geometry.capacity_bytes()),
        slots,
        events: view.events,
        created: view.created,
        updated: view.updated,
        dirty: !view.level.is_bare() && !view.is_clean(),
        inconsistent,
        reshape: shape
            .as_ref()
            .and_then(|shape| Some(Reshaping::of(shape.view()?, false))),
        conflicts: conflicts(&own, &members),
        members,
        missing,
        refusal: journal.err().map(|error| match error {
            Error::NotStartable { reason, .. } => reason,
            other => other.to_string(),
        }),
        legs: Vec::new(),
    })
}

/// How a device stands to the array that the freshest superblock describes, by what its own says with that in mind.
fn member_of(view: &Superblock, device: &Device, own: &Superblock) -> SetMember {
    let role = view.role_of(own.device_number);
    let fresh = view.level.is_bare() || own.events.saturating_add(1) >= view.events;
    let standing = match (role, own.recovered_to()) {
        (Role::Journal, _) => Standing::Journal,
        (Role::Faulty, _) => Standing::Failed,
        (Role::Spare, _) if own.role() != Role::Spare => Standing::Failed,
        (Role::Spare | Role::Active(_), _) if !fresh => Standing::Stale,
        (Role::Spare, _) => Standing::Spare,
        (Role::Active(_), Some(sectors)) => Standing::Rebuilding {
            done_bytes: sectors.0.saturating_mul(SECTOR_BYTES),
        },
        (Role::Active(_), None) => Standing::InSync,
    };
    SetMember {
        image: device.image.clone(),
        number: device.number,
        partition: device.partition,
        version: version_of(&device.found),
        uuid: own.device_uuid,
        slot: match role {
            Role::Active(slot) => Some(slot),
            _ => None,
        },
        events: device.found.superblock.events,
        device_bytes: device.found.device.0 * SECTOR_BYTES,
        data_offset_bytes: own.data_offset.0.saturating_mul(SECTOR_BYTES),
        standing,
    }
}

fn version_of(found: &Found) -> Version {
    match found.superblock.super_offset.0 {
        0 => Version::V1_1,
        8 => Version::V1_2,
        _ => Version::V1_0,
    }
}

fn conflicts(own: &[&Device], members: &[SetMember]) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for (index, one) in members.iter().enumerate() {
        for other in &members[..index] {
            let (path, other_path) = (other.image.path(), one.image.path());
            if one.uuid == other.uuid {
                conflicts.push(Conflict::SameDevice {
                    path,
                    other: other_path,
                });
            } else if let Some(slot) = one.slot.filter(|_| one.slot == other.slot) {
                let stale = [one, other].iter().any(|member| member.standing == Standing::Stale);
                if !stale {
                    conflicts.push(Conflict::SameSlot {
                        slot,
                        path,
                        other: other_path,
                    });
                }
            }
        }
    }
    let twofold = own.iter().filter_map(|device| Some((device, device.other.clone()?)));
    conflicts.extend(twofold.map(|(device, other)| Conflict::TwoArrays {
        path: device.image.path(),
        other,
    }));
    conflicts
}
