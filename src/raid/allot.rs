//! Sharing out images: which of them become members whole, which get a partition, and how large that is.
//!
//! An array takes the same length of every image, limited by the smallest; what is left of the others, or by a smaller
//! capacity, stays free for more arrays, up to four an image. An image that is used up is a bare member, which any tool
//! takes for what it is; one of which something is left gets a partition table. JBOD takes all of each image.
//!
//! Planning reads only ([`Allotment::plan`]), so what would be done can be shown; [`Allotment::apply`] makes the partitions.

use super::{
    SECTOR_BYTES, Sector,
    assemble::{Image, find},
    create::NewImage,
    discover::{Contents, unclaimed},
    error::{Error, Result},
    geometry::{self, ArrayKind, Room},
    metadata::{
        gpt::ARRAYS_PER_IMAGE,
        plan::{Tracking, data_offset},
        superblock::Version,
    },
    partition::{add_partition, align_bytes, free_of, free_of_blank, host, read_table},
};
use crate::storage::{Access, Storage};

#[cfg(test)]
mod tests;

/// An image of which no more than this would be left is used whole.
const LEFT_BYTES_MIN: u64 = 8 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Name of the array; partitions are named after it.
    pub name: String,
    /// Kind of array.
    pub kind: ArrayKind,
    /// Capacity of the array; none for as much as there is.
    pub capacity_bytes: Option<u64>,
    /// Chunk; ignored by RAID 1 and JBOD.
    pub chunk_bytes: u64,
    /// Whether there will be a write-intent bitmap.
    pub bitmap: bool,
    /// Take images that hold something else already.
    pub overwrite: bool,
}

/// What becomes of one image.
#[derive(Debug, Clone)]
pub struct Share {
    /// The image, and the identity of the member.
    pub image: NewImage,
    /// Length of the partition that it gets; none where it is used whole.
    pub partition_bytes: Option<u64>,
    /// Free space that is left for other arrays: the largest gap.
    pub left_bytes: u64,
}

/// What becomes of all images.
#[derive(Debug, Clone)]
pub struct Allotment {
    /// By slot; none where a member is missing from the start.
    pub shares: Vec<Option<Share>>,
    /// Capacity of the array in bytes, to some MiB.
    pub capacity_bytes: u64,
    /// Data area to use of each member, to be asked for when the array is made; none for all of it.
    pub member_bytes: Option<u64>,
    name: String,
}

/// An image's space before it is shared out.
struct Space {
    size_bytes: u64,
    /// The largest gap, where there is a partition table or were one.
    gap_bytes: u64,
    /// True where there is a table already.
    table: bool,
}

impl Allotment {
    /// Plans, without writing anything, how an array of members by slot is made of their images' free space.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where the kind does not go with so many members, where an image has no room, members of four
    /// arrays already or something else in it, and where less can be had than is wanted.
    pub fn plan(request: &Request, members: &[Option<NewImage>]) -> Result<Self> {
        let present: Vec<&NewImage> = members.iter().flatten().collect();
        let spaces: Vec<Space> = present
            .iter()
            .map(|member| space_of(&member.image, request.overwrite))
            .collect::<Result<_>>()?;
        let kind = request.kind;
        if !kind.allows(members.len()) {
            return Err(bad("members", members.len().to_string(), kind.needs().to_owned()));
        }
        if kind == ArrayKind::Jbod && request.capacity_bytes.is_none() {
            return Ok(Self::whole(request, members, &spaces));
        }
        let smallest = |of: &dyn Fn(&Space) -> u64| spaces.iter().map(of).min().unwrap_or(0);
        let largest = match request.capacity_bytes {
            None => smallest(&|space| if space.table { space.gap_bytes } else { space.size_bytes }),
            Some(_) => smallest(&|space| space.gap_bytes),
        };
        let plan = fit(request, &vec![largest; members.len()])?;
        let wanted = if request.capacity_bytes.is_some() {
            plan.member_bytes
        } else {
            largest
        };
        let mut share = spaces.iter();
        let shares: Vec<Option<Share>> = members
            .iter()
            .map(|member| {
                let space = member.as_ref().and_then(|_| share.next());
                member
                    .clone()
                    .zip(space)
                    .map(|(image, space)| share_of(image, space, wanted))
            })
            .collect();
        let bare = shares.iter().flatten().all(|share| share.partition_bytes.is_none());
        let fits = |space: &Space| {
            space
                .size_bytes
                .saturating_sub(room(request, space.size_bytes, members.len()).data_offset_bytes)
                >= plan.data_bytes
        };
        let limited = bare && request.capacity_bytes.is_some() && !kind.level().is_bare() && spaces.iter().all(fits);
        Ok(Self {
            shares,
            capacity_bytes: plan.capacity_bytes,
            member_bytes: limited.then_some(plan.data_bytes),
            name: request.name.clone(),
        })
    }

    /// All of each image, however large it is.
    fn whole(request: &Request, members: &[Option<NewImage>], spaces: &[Space]) -> Self {
        let mut space = spaces.iter();
        let shares = members.iter().map(|member| {
            let space = member.as_ref().and_then(|_| space.next());
            member.clone().zip(space).map(|(image, space)| Share {
                image,
                partition_bytes: space.table.then_some(space.gap_bytes),
                left_bytes: 0,
            })
        });
        let capacity = spaces.iter().map(|space| {
            let length = if space.table { space.gap_bytes } else { space.size_bytes };
            length.saturating_sub(room(request, length, 1).data_offset_bytes)
        });
        Self {
            shares: shares.collect(),
            capacity_bytes: capacity.sum(),
            member_bytes: None,
            name: request.name.clone(),
        }
    }

    /// Makes the partitions; returns the devices by slot, to be made an array of.
    ///
    /// # Errors
    /// As [`add_partition`]; partitions that were made before are taken back.
    pub fn apply(&self) -> Result<Vec<Option<NewImage>>> {
        let mut made = Vec::new();
        let mut devices = Vec::new();
        for (slot, share) in self.shares.iter().enumerate() {
            let Some(share) = share else {
                devices.push(None);
                continue;
            };
            let Some(length) = share.partition_bytes else {
                devices.push(Some(share.image.clone()));
                continue;
            };
            let NewImage { image, uuid } = &share.image;
            let name = member_name(&self.name, slot);
            match add_partition(image, Sector(length / SECTOR_BYTES), &name, *uuid) {
                Ok((number, device)) => {
                    made.push((image, number));
                    devices.push(Some(NewImage {
                        image: device,
                        uuid: *uuid,
                    }));
                }
                Err(error) => {
                    for (image, number) in made {
                        if let Err(also) = super::partition::remove_partition(image, number) {
                            log::warn!("{}: partition {number} is left behind: {also}", image.path().display());
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(devices)
    }
}

/// Name of the partition of a member: the array's, cut where it is too long, and the slot.
pub fn member_name(array: &str, slot: usize) -> String {
    let end = format!("-{slot}");
    let short: String = array.chars().take(36 - end.len()).collect();
    format!("{short}{end}")
}

/// Makes room on one image for a member of at least `device_bytes`, to be added to an array: a partition where it has a
/// table, else all of it.
///
/// # Errors
/// As [`Allotment::plan`] and [`add_partition`].
pub fn room_for_member(new: &NewImage, array: &str, device_bytes: u64, overwrite: bool) -> Result<NewImage> {
    let space = space_of(&new.image, overwrite)?;
    if !space.table {
        return Ok(new.clone());
    }
    let length = Sector(device_bytes.div_ceil(SECTOR_BYTES));
    let short: String = array.chars().take(30).collect();
    let name = format!("{short}-spare");
    let (_, image) = add_partition(&new.image, length, &name, new.uuid)?;
    Ok(NewImage { image, uuid: new.uuid })
}

/// Whether an image is used whole or gets a partition of `wanted` bytes.
fn share_of(image: NewImage, space: &Space, wanted: u64) -> Share {
    let bare = !space.table && space.size_bytes.saturating_sub(wanted) < LEFT_BYTES_MIN;
    let length = wanted.next_multiple_of(align_bytes()).min(space.gap_bytes);
    Share {
        image,
        partition_bytes: (!bare).then_some(length),
        left_bytes: if bare { 0 } else { space.gap_bytes - length },
    }
}

/// What an image has to share.
fn space_of(image: &Image, overwrite: bool) -> Result<Space> {
    let storage = image.open(Access::Read)?;
    let size_bytes = storage.size_bytes().map_err(host(image, "find its size"))?;
    let refuse = |reason: String| Err(bad("image", image.path().display().to_string(), reason));
    match find(&image.path(), &*storage, 0) {
        Ok(Some(found)) if !overwrite => {
            return refuse(format!("it is a member of array {}", found.superblock.name.short()));
        }
        Err(error @ Error::Member { .. }) => return Err(error),
        Err(error) if !overwrite => return refuse(error.to_string()),
        Ok(None) => {
            let table = match read_table(image, &*storage) {
                Err(Error::NotStartable { .. }) if overwrite => None,
                table => table?,
            };
            if let Some(gpt) = table {
                let (gap_bytes, members) = free_of(&gpt);
                if members >= ARRAYS_PER_IMAGE {
                    return refuse(format!(
                        "it holds members of {members} arrays, which is the limit; delete one or take another image"
                    ));
                }
                return Ok(Space {
                    size_bytes,
                    gap_bytes,
                    table: true,
                });
            }
            if !overwrite {
                refuse_foreign(image, &*storage, size_bytes)?;
            }
        }
        Ok(_) | Err(_) => {}
    }
    Ok(Space {
        size_bytes,
        gap_bytes: free_of_blank(size_bytes),
        table: false,
    })
}

fn refuse_foreign(image: &Image, storage: &dyn Storage, size_bytes: u64) -> Result<()> {
    match unclaimed(storage, size_bytes).map_err(host(image, "look at it"))? {
        // What is not known is nothing that anybody could miss by its name; the caller asks before it destroys data.
        Contents::Blank | Contents::Unknown | Contents::Member => Ok(()),
        contents => Err(bad(
            "image",
            image.path().display().to_string(),
            format!("it {contents}"),
        )),
    }
}

/// How much the metadata takes of a member of that length.
fn room(request: &Request, member_bytes: u64, members: usize) -> Room {
    let kind = request.kind;
    let striped = !matches!(kind, ArrayKind::Raid1 | ArrayKind::Jbod);
    let chunk = if striped { request.chunk_bytes / SECTOR_BYTES } else { 0 };
    let chunk = u32::try_from(chunk).unwrap_or(u32::MAX);
    let tracking = if request.bitmap && !kind.level().is_bare() {
        Tracking::Bitmap { chunk_bytes: 0 }
    } else {
        Tracking::None
    };
    let offset = |bytes: u64, tracking| data_offset(Version::V1_2, Sector(bytes / SECTOR_BYTES), chunk, tracking).0;
    let mut sectors = offset(member_bytes, tracking);
    if let Some(legs) = kind.legs(members).filter(|legs| *legs > 1) {
        // The legs' own superblocks: the outer array begins behind them.
        let leg = member_bytes.saturating_mul((members / legs) as u64 - 1);
        sectors = sectors.max(offset(leg, Tracking::None));
    }
    Room {
        data_offset_bytes: sectors * SECTOR_BYTES,
        align_bytes: align_bytes(),
        chunk_bytes: if kind == ArrayKind::Raid1 {
            64 << 10
        } else {
            request.chunk_bytes
        },
    }
}

/// The arithmetic, repeated until the room for metadata is that of the length it leads to.
fn fit(request: &Request, free_bytes: &[u64]) -> Result<geometry::Plan> {
    let mut length = free_bytes.iter().copied().min().unwrap_or(0);
    let mut tries = 0;
    loop {
        let room = room(request, length, free_bytes.len());
        let plan = geometry::Plan::new(request.kind, free_bytes, request.capacity_bytes, room).map_err(|error| {
            let capacity = request
                .capacity_bytes
                .map_or_else(|| "maximum".to_owned(), |bytes| bytes.to_string());
            bad("capacity", capacity, error.to_string())
        })?;
        tries += 1;
        // A shorter member may have less room before its data; what it is then short of is nothing.
        if plan.member_bytes == length || request.capacity_bytes.is_none() || tries == 4 {
            return Ok(plan);
        }
        length = plan.member_bytes;
    }
}

fn bad(parameter: &'static str, value: String, reason: String) -> Error {
    Error::BadParameter {
        parameter,
        value,
        reason,
    }
}
