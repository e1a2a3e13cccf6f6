//! Sorting images into arrays: who belongs together, who is missing, who is stale, and what the other images hold.
//!
//! Images are opened for reading only and nothing is decided by names: members of one array carry its UUID. What a set
//! cannot be started for is said in words beforehand ([`ArraySet::refusal`]), by the same rules by which [`open`] then
//! assembles it. Everything here is plain data, to be shown or sent as it is.

use std::{fmt, path::PathBuf, sync::Arc};

use super::{
    Array, Level, SECTOR_BYTES, Sector, Slot,
    assemble::{Assembly, Found, Image, assemble, choose, find, read_journal, shape_of},
    error::{Error, Result},
    metadata::{
        foreign::{Foreign, HEAD_BYTES, TAIL_BYTES, foreign},
        identity::{Time, Uuid},
        superblock::{Role, SUPERBLOCK_BYTES, Superblock, Version},
    },
    overlay::over,
};
use crate::storage::{Access, Storage};

#[cfg(test)]
mod tests;

/// All that was found in some images.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The arrays, by name and then by UUID.
    pub arrays: Vec<ArraySet>,
    /// The images, in the order in which they were given.
    pub images: Vec<ImageReport>,
}

/// What one image holds.
#[derive(Debug, Clone)]
pub struct ImageReport {
    /// The image.
    pub image: Image,
    /// Its length in bytes; 0 where it could not be opened.
    pub size_bytes: u64,
    /// What is in it.
    pub contents: Contents,
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
    /// All devices that say that they belong to the array, by slot; then those without one.
    pub members: Vec<SetMember>,
    /// Slots that no member in good standing fills.
    pub missing: Vec<Slot>,
    /// Contradictions between images.
    pub conflicts: Vec<Conflict>,
    /// Why the array cannot be started for writing without force; none where it can.
    pub refusal: Option<String>,
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
    for (number, image) in images.iter().enumerate() {
        reports.push(look(image, number, &mut devices));
    }
    let mut uuids: Vec<Uuid> = devices
        .iter()
        .map(|device| device.found.superblock.array_uuid)
        .collect();
    uuids.sort();
    uuids.dedup();
    let mut arrays: Vec<ArraySet> = uuids.iter().filter_map(|uuid| set_of(*uuid, &devices)).collect();
    arrays.sort_by(|one, other| (&one.name, one.uuid).cmp(&(&other.name, other.uuid)));
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
    assemble(&set.images(), how)
}

/// Assembles the array of a set under the overlay in a file, which takes all writes; see [`overlay`](super::overlay).
///
/// # Errors
/// As [`assemble`], and where the overlay does not go with the members.
pub fn open_over(set: &ArraySet, how: Assembly, file: &Image) -> Result<Array> {
    assemble(&over(&set.images(), set.uuid, file)?, how)
}

/// A member that was found, and where.
struct Device {
    image: Image,
    number: usize,
    partition: Option<usize>,
    found: Found,
    /// Name of another array whose superblock it has too.
    other: Option<String>,
}

/// Looks at one image.
fn look(image: &Image, number: usize, devices: &mut Vec<Device>) -> ImageReport {
    let (size_bytes, contents) = match image.open(Access::Read) {
        Ok(storage) => look_into(image, &storage, number, devices),
        Err(error) => (0, Contents::Unreadable(host_says(&error))),
    };
    ImageReport {
        image: image.clone(),
        size_bytes,
        contents,
    }
}

fn look_into(image: &Image, storage: &Arc<dyn Storage>, number: usize, devices: &mut Vec<Device>) -> (u64, Contents) {
    let size_bytes = match storage.size_bytes() {
        Ok(size_bytes) => size_bytes,
        Err(error) => return (0, Contents::Unreadable(error.to_string())),
    };
    let contents = match find(&image.path(), &**storage, number) {
        Ok(Some(found)) => {
            let other = second_array(&**storage, &found);
            devices.push(Device {
                image: image.clone(),
                number,
                partition: None,
                found,
                other,
            });
            Contents::Member
        }
        Ok(None) => unclaimed(&**storage, size_bytes).unwrap_or_else(|error| Contents::Unreadable(error.to_string())),
        Err(Error::NotStartable { reason, .. }) => Contents::Damaged(reason),
        Err(error) => Contents::Unreadable(host_says(&error)),
    };
    (size_bytes, contents)
}

/// What is in an image that has no md superblock of version 1.
fn unclaimed(storage: &dyn Storage, size_bytes: u64) -> std::io::Result<Contents> {
    let device = Sector(size_bytes / SECTOR_BYTES);
    let end = device.0 * SECTOR_BYTES;
    let mut head = vec![0; HEAD_BYTES.min(usize::try_from(end).unwrap_or(HEAD_BYTES))];
    let mut tail = vec![0; TAIL_BYTES.min(usize::try_from(end).unwrap_or(TAIL_BYTES))];
    let count = storage.read_at(&mut head, 0)?;
    head.truncate(count);
    let tail_at = end - tail.len() as u64;
    storage.read_at(&mut tail, tail_at)?;
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
    let view = &found.iter().max_by_key(|found| found.superblock.events)?.superblock;
    let shape = shape_of(view, &found).ok();
    let geometry = shape.as_ref().map(|shape| shape.geometry());
    let mut members: Vec<SetMember> = own.iter().map(|device| member_of(view, device)).collect();
    members.sort_by_key(|member| (member.slot.is_none(), member.slot, member.number));
    let in_sync = |slot: &Slot| {
        let mut sitting = members.iter().filter(|member| member.slot == Some(*slot));
        sitting.any(|member| member.standing == Standing::InSync)
    };
    let slots = u16::try_from(view.slots).unwrap_or(u16::MAX);
    let missing = (0..slots).map(Slot).filter(|slot| !in_sync(slot)).collect();
    let refusal = choose(&images, &found, Assembly::default())
        .and_then(|choice| read_journal(&images, &choice, Assembly::default()))
        .err();
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
        conflicts: conflicts(&own, &members),
        members,
        missing,
        refusal: refusal.map(|error| match error {
            Error::NotStartable { reason, .. } => reason,
            other => other.to_string(),
        }),
    })
}

/// How a device stands to the array that the freshest superblock describes.
fn member_of(view: &Superblock, device: &Device) -> SetMember {
    let own = &device.found.superblock;
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
        events: own.events,
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
