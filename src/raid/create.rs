//! Making an array of images: superblocks as mdadm would write them, and what becomes of the old bytes.
//!
//! The plan is pure ([`super::metadata::plan`]); here it meets files. Superblocks are written last, so that a crash before
//! leaves images that belong to no array. Identities and the time are handed in.

use std::sync::Arc;

use super::{
    Level, SECTOR_BYTES, Sector,
    array::{Array, Zeroes},
    assemble::{Assembly, Image, assemble, find},
    discover::wipe_signatures,
    error::{Error, Result},
    metadata::{
        identity::{Name, Time, Uuid},
        plan::{NewArray, NewMember, Plan, PlanError, Tracking, plan},
        superblock::{MAX_SECTOR, Superblock, Version},
    },
};
use crate::storage::{Access, Storage};

/// What is wiped at both ends of the array where old data are to go at once.
const WIPED_BYTES: u64 = 1 << 20;
/// Bytes written at once.
const STEP_BYTES: u64 = 1 << 20;

/// What becomes of the bytes that the images hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialisation {
    /// They stay; redundancy is made to fit them by a resync, in which the first copy wins.
    Keep,
    /// Both ends of the array are wiped, the rest stays until it is written; usable at once, with a resync to come.
    Quick,
    /// All is zeros before the array can be used, which then is in sync.
    Foreground,
    /// As [`Initialisation::Foreground`] where the host makes holes, which takes no time, and at levels without redundancy;
    /// else usable at once: what is not zeros yet reads as zeros, and a resync makes them.
    Background,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Name of the array, at most 32 bytes.
    pub name: String,
    /// Identity of the array.
    pub uuid: Uuid,
    /// When it is made.
    pub created: Time,
    /// Level.
    pub level: Level,
    /// md's layout number for the level.
    pub layout: u32,
    /// Chunk; ignored by RAID 1.
    pub chunk_bytes: u64,
    /// What becomes of the old bytes.
    pub initialisation: Initialisation,
    /// Size of the data area that is used of each member; none for all.
    pub member_bytes: Option<u64>,
    /// Whether there is a write-intent bitmap, where the level can have one, and its bytes a bit (0 for md's choice).
    pub bitmap_chunk_bytes: Option<u32>,
    /// Take images that are members of an array already.
    pub overwrite: bool,
}

/// An image and the identity that it gets.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// The image.
    pub image: Image,
    /// Its identity.
    pub uuid: Uuid,
}

/// Makes an array of the members by slot, none for one that is missing, and returns it assembled.
///
/// # Errors
/// [`Error::BadParameter`] says which wish cannot be; [`Error::Member`] names an image that cannot be used.
pub fn create(wish: &Wish, members: &[Option<NewImage>], spares: &[NewImage]) -> Result<Array> {
    let images: Vec<&NewImage> = members.iter().flatten().chain(spares).collect();
    let mut storages = Vec::new();
    for image in &images {
        let storage = image.image.open(Access::ReadWrite)?;
        image.image.claim(&*storage, 0, 0, Access::ReadWrite)?;
        if !wish.overwrite {
            refuse_member(&image.image, &*storage)?;
        }
        storages.push(storage);
    }
    let devices = devices(&images, &storages)?;
    let mut of_device = devices.iter();
    let planned: Vec<Option<NewMember>> = members
        .iter()
        .map(|member| member.as_ref().and_then(|_| of_device.next().copied()))
        .collect();
    let spare_devices: Vec<NewMember> = of_device.copied().collect();
    let mut plan = plan(&new_array(wish)?, &planned, &spare_devices).map_err(|error| bad_plan(wish, &error))?;
    let superblocks: Vec<Superblock> = plan.superblocks.iter().flatten().cloned().collect();
    for (image, storage) in images.iter().zip(&storages) {
        wipe_signatures(&image.image, &**storage)?;
    }
    let zeroed = match wish.initialisation {
        Initialisation::Keep | Initialisation::Quick => false,
        Initialisation::Foreground => zero_all(&images, &storages, &superblocks, true)?,
        Initialisation::Background => zero_all(&images, &storages, &superblocks, wish.level.is_bare())?,
    };
    // Zeros agree with the parity of zeros. Without redundancy, or with one member missing, there is nothing to agree.
    let complete = members.iter().all(Option::is_some);
    let clean = zeroed || wish.level.is_bare() || (wish.level.parities() > 0 && !complete);
    write_all(&images, &storages, &mut plan, clean)?;
    let images: Vec<Image> = images.iter().map(|image| image.image.clone()).collect();
    drop(storages);
    let array = assemble(&images, Assembly::default())?;
    match wish.initialisation {
        Initialisation::Quick => wipe_ends(&array)?,
        Initialisation::Background if !zeroed => blank_all(&array)?,
        _ => {}
    }
    Ok(array)
}

fn devices(images: &[&NewImage], storages: &[Arc<dyn Storage>]) -> Result<Vec<NewMember>> {
    let device = |(image, storage): (&&NewImage, &Arc<dyn Storage>)| {
        let size = storage.size_bytes().map_err(host(&image.image, "find its size"))?;
        Ok(NewMember {
            uuid: image.uuid,
            device: Sector(size / SECTOR_BYTES),
        })
    };
    images.iter().zip(storages).map(device).collect()
}

fn host(image: &Image, verb: &'static str) -> impl Fn(std::io::Error) -> Error {
    let path = image.path();
    move |source| Error::Member {
        path: path.clone(),
        verb,
        source,
    }
}

fn refuse_member(image: &Image, storage: &dyn Storage) -> Result<()> {
    let path = image.path();
    match find(&path, storage, 0) {
        Ok(None) | Err(Error::NotStartable { .. }) => Ok(()),
        Ok(Some(found)) => Err(Error::BadParameter {
            parameter: "image",
            value: path.display().to_string(),
            reason: format!("it is a member of array {}", found.superblock.name.short()),
        }),
        Err(error) => Err(error),
    }
}

fn new_array(wish: &Wish) -> Result<NewArray> {
    let bad = |parameter, value: String, reason: &str| Error::BadParameter {
        parameter,
        value,
        reason: reason.to_owned(),
    };
    let name = Name::new(&wish.name).filter(|_| !wish.name.is_empty());
    let name = name.ok_or_else(|| bad("name", format!("{:?}", wish.name), "it has 1 to 32 bytes"))?;
    let chunk = if wish.level == Level::Raid1 {
        0
    } else {
        wish.chunk_bytes / SECTOR_BYTES
    };
    let chunk = u32::try_from(chunk)
        .ok()
        .filter(|_| wish.chunk_bytes.is_multiple_of(SECTOR_BYTES));
    let chunk = chunk.ok_or_else(|| bad("chunk", wish.chunk_bytes.to_string(), "it is a multiple of 512 bytes"))?;
    let bitmap = wish.bitmap_chunk_bytes.filter(|_| !wish.level.is_bare());
    Ok(NewArray {
        version: Version::V1_2,
        uuid: wish.uuid,
        name,
        created: wish.created,
        level: wish.level,
        layout: wish.layout,
        chunk,
        tracking: bitmap.map_or(Tracking::None, |chunk_bytes| Tracking::Bitmap { chunk_bytes }),
        clean: false,
        size: wish.member_bytes.map(|bytes| Sector(bytes / SECTOR_BYTES)),
        data_offset: None,
    })
}

fn bad_plan(wish: &Wish, error: &PlanError) -> Error {
    let (parameter, value) = match error {
        PlanError::TooLarge { wanted, .. } => ("capacity", format!("{wanted} sectors of each member")),
        PlanError::BitmapChunk { chunk_bytes, .. } => ("bitmap chunk", chunk_bytes.to_string()),
        _ => ("members", wish.name.clone()),
    };
    Error::BadParameter {
        parameter,
        value,
        reason: error.to_string(),
    }
}

/// Makes zeros of all data areas, by holes; where the host has none by writing if `patient`, else not at all. Returns
/// whether all is zero.
fn zero_all(
    images: &[&NewImage],
    storages: &[Arc<dyn Storage>],
    superblocks: &[Superblock],
    patient: bool,
) -> Result<bool> {
    for ((image, storage), superblock) in images.iter().zip(storages).zip(superblocks) {
        let start = superblock.data_offset.0 * SECTOR_BYTES;
        let length = superblock.data_size.0 * SECTOR_BYTES;
        match storage.punch(start, length) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                if !patient {
                    return Ok(false);
                }
                zero(&**storage, start, length).map_err(host(&image.image, "zero its data"))?;
            }
            punched => punched.map_err(host(&image.image, "zero its data"))?,
        }
        storage.sync().map_err(host(&image.image, "make its zeros durable"))?;
    }
    Ok(true)
}

fn zero(storage: &dyn Storage, start: u64, length: u64) -> std::io::Result<()> {
    let zeros = vec![0; usize::try_from(STEP_BYTES).unwrap_or(4096)];
    let mut done = 0;
    while done < length {
        let step = (length - done).min(zeros.len() as u64);
        storage.write_all_at(&zeros[..usize::try_from(step).unwrap_or(0)], start + done)?;
        done += step;
    }
    Ok(())
}

/// Writes logs and bitmaps, then the superblocks, each durably.
fn write_all(images: &[&NewImage], storages: &[Arc<dyn Storage>], plan: &mut Plan, clean: bool) -> Result<()> {
    if let Some(bitmap) = plan.bitmap.as_mut().filter(|_| clean) {
        bitmap.clear_all();
    }
    let present = plan.superblocks.iter_mut().flatten();
    for ((image, storage), superblock) in images.iter().zip(storages).zip(present) {
        let failed = host(&image.image, "write its superblock");
        if clean {
            superblock.resync_offset = MAX_SECTOR;
        }
        if let Some(area) = superblock.bad_block_area() {
            let empty = vec![0; usize::try_from(area.length.0 * SECTOR_BYTES).unwrap_or(0)];
            storage
                .write_all_at(&empty, area.start.0 * SECTOR_BYTES)
                .map_err(&failed)?;
        }
        if let (Some(start), Some(bitmap)) = (superblock.bitmap_start(), &plan.bitmap) {
            storage
                .write_all_at(&bitmap.encode(), start.0 * SECTOR_BYTES)
                .map_err(&failed)?;
        }
        storage.sync().map_err(&failed)?;
        storage
            .write_all_at(&superblock.encode(), superblock.super_offset.0 * SECTOR_BYTES)
            .map_err(&failed)?;
        storage.sync().map_err(&failed)?;
    }
    Ok(())
}

/// Lets all of the array read as zeros, and makes them where that cannot be noted.
fn blank_all(array: &Array) -> Result<()> {
    let Err(error) = array.set_blank(0, &array.geometry()) else {
        return Ok(());
    };
    log::warn!(
        "array {}: all of it is zeroed now, for no sidecar can say what is not: {error}",
        array.name()
    );
    let how = Zeroes {
        may_trim: true,
        fua: true,
        ..Zeroes::default()
    };
    array.write_zeroes(0, array.size_bytes(), how)
}

/// Makes zeros of both ends of the array, where file systems and partition tables have their heads.
fn wipe_ends(array: &Array) -> Result<()> {
    let size = array.size_bytes();
    let length = WIPED_BYTES.min(size);
    let how = Zeroes {
        may_trim: true,
        ..Zeroes::default()
    };
    array.write_zeroes(0, length, how)?;
    array.write_zeroes(size - length, length, Zeroes { fua: true, ..how })
}
