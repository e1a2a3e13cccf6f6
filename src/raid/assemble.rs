//! Bringing members together to an array: look at them read-only, decide, and only then open them for writing.
//!
//! Nothing is written here at all: what has changed, such as a member that is missing now, is written with the first write
//! of the array, so that looking at a set never makes it worse. What cannot be proven is refused with the reason; members
//! that are stale are left out and named in the log.

mod choice;
mod claim;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    SECTOR_BYTES, Sector, Slot,
    array::{Array, Control, Device, Intent, Parts},
    error::{Error, Result},
    journal::{Journal, Replay, Sidecar, Stamp},
    member::{Member, Place, WHOLE},
    metadata::{
        bitmap::{Bitmap, BitmapHeader, BitmapVersion, sync_size},
        superblock::{MAX_SECTOR, SUPERBLOCK_BYTES, Superblock, SuperblockDamage, Version},
    },
    partial_parity::Logs,
    rebuild, reshape,
    watch::{Watch, starts::Starting},
    write_journal::WriteJournal,
};
use crate::storage::{Access, Directory, HostDirectory, Storage};

pub(super) use choice::{Choice, believed, caught_up, choose, shape_of};

/// Chunk of a bitmap that replaces one that is damaged: md's own.
const BITMAP_CHUNK_BYTES: u32 = 64 << 20;

/// An image file that may be a member.
#[derive(Clone)]
pub struct Image {
    /// The directory that holds it.
    pub directory: Arc<dyn Directory>,
    /// Its path in there.
    pub name: PathBuf,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Image").field(&self.path()).finish()
    }
}

impl Image {
    /// The image of a path, through links.
    ///
    /// # Errors
    /// There is no such file, or its directory cannot be opened.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        let wanted = path.to_path_buf();
        Starting::new().watch().ask(path, move || {
            let path = std::fs::canonicalize(wanted)?;
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(std::io::ErrorKind::IsADirectory.into());
            };
            Ok(Self {
                directory: Arc::new(HostDirectory::open(directory)?),
                name: name.into(),
            })
        })
    }

    /// The same image, whose operations are watched.
    pub(super) fn watched(&self, watch: &Arc<Watch>) -> Self {
        Self {
            directory: watch.over(Arc::clone(&self.directory)),
            name: self.name.clone(),
        }
    }

    /// Path for messages.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// Where its part of a stripe journal is.
    pub fn sidecar(&self) -> Sidecar {
        Sidecar::of(&self.directory, &self.name)
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Member`].
    pub fn open(&self, access: Access) -> Result<Arc<dyn Storage>> {
        let verb = match access {
            Access::Read => "open it for reading",
            Access::ReadWrite => "open it for writing",
        };
        self.directory.open(&self.name, access).map_err(|source| Error::Member {
            path: self.path(),
            verb,
            source,
        })
    }
}

/// How to assemble.
#[derive(Debug, Clone, Copy, Default)]
pub struct Assembly {
    /// Write nothing, not even the superblocks.
    pub read_only: bool,
    /// Start an array whose redundancy may be wrong where it is needed: dirty and degraded, with parity; and take members
    /// that missed writes where it cannot be started without them.
    pub force: bool,
    /// Keep a stripe journal not only while a member is missing.
    pub journal_always: bool,
    /// Make every write durable before it is answered.
    pub write_through: bool,
}

/// A member that was found in an image.
#[derive(Debug, Clone)]
pub struct Found {
    /// Number of the image.
    pub image: usize,
    /// What it says.
    pub superblock: Superblock,
    /// Size of its device.
    pub device: Sector,
}

/// Looks for a superblock in an image.
///
/// # Errors
/// [`Error::Member`] where it cannot be read, [`Error::NotStartable`] where it has a superblock that is damaged. None is
/// returned where there is none.
pub fn find(path: &Path, storage: &dyn Storage, image: usize) -> Result<Option<Found>> {
    let host = |source| Error::Member {
        path: path.to_path_buf(),
        verb: "read it",
        source,
    };
    let device = Sector(storage.size_bytes().map_err(host)? / SECTOR_BYTES);
    let mut damage = None;
    for version in Version::ALL {
        let Some(place) = version.place(device) else { continue };
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        let count = storage.read_at(&mut bytes, place.0 * SECTOR_BYTES).map_err(host)?;
        match Superblock::decode(&bytes[..count])
            .and_then(|superblock| superblock.fits(place, device).map(|()| superblock))
        {
            Ok(superblock) => {
                return Ok(Some(Found {
                    image,
                    superblock,
                    device,
                }));
            }
            Err(SuperblockDamage::Absent { .. }) => {}
            Err(found) => damage = damage.or(Some(found)),
        }
    }
    damage.map_or(Ok(None), |damage| {
        Err(Error::NotStartable {
            array: path.display().to_string(),
            reason: damage.to_string(),
            remedy: "leave this member out, or try 'headstack array examine' on it",
        })
    })
}

/// Assembles the array that the images are members of.
///
/// # Errors
/// [`Error::NotStartable`] says what is missing or contradictory; [`Error::Member`] names an image that cannot be used.
pub fn assemble(images: &[Image], how: Assembly) -> Result<Array> {
    let starting = Starting::new();
    let watch = starting.watch();
    let watched: Vec<Image> = images.iter().map(|image| image.watched(watch)).collect();
    let images = &*watched;
    let mut of_all = Vec::new();
    let mut readers = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let storage = image.open(Access::Read)?;
        of_all.extend(find(&image.path(), &*storage, number)?);
        readers.push(storage);
    }
    let choice = choose(images, &of_all, how)?;
    let bitmap = read_bitmap(images, &readers, &choice)?;
    let logs = Logs::read(images, &choice)?;
    let replay = read_journal(images, &choice, &logs, how)?;
    let read_only = how.read_only || choice.read_only || bitmap.as_ref().is_some_and(|(_, writable)| !writable);
    replay_write_journal(images, &of_all, &choice, how)?;
    let readers = read_only.then_some(&*readers);
    let (seats, new_seats, mut devices) = open_all(images, &of_all, &choice, readers)?;
    let freshest = &choice.freshest.superblock;
    let members = by_slot(&choice, &devices);
    // A member that a reshape fills is told first how far it is.
    devices.sort_by_key(|device| choice.shape.view().is_some() && device.member.checkpoint() == WHOLE);
    let journal = Arc::new(Journal::new(freshest.array_uuid, &replay, stamp_of(freshest)));
    if replay.active && !read_only {
        replay_all(&replay, &members, &new_seats, &journal, !choice.missing.is_empty())?;
    }
    if replay.inconsistent && !read_only {
        journal.set_inconsistent(true, members.iter().flatten());
    }
    let mut dirty = choice.dirty;
    // A clean stop in the middle of a resync says how far that was; after a crash it says 0.
    let mut synced_to = freshest.resync_offset;
    if !read_only {
        devices.iter_mut().for_each(|device| device.superblock.leave_ppl());
        if logs.replay(choice.shape.geometry(), &members)? && synced_to == Sector(0) {
            (dirty, synced_to) = (false, MAX_SECTOR);
        }
    }
    let mut control = Control::new(freshest.level, freshest, devices, Arc::clone(&journal));
    control.forget_absent();
    let in_use = |one: &Found| choice.devices.iter().any(|(found, _)| found.image == one.image);
    let left_out = of_all.iter().filter(|one| !in_use(one));
    control.seen = left_out.map(|one| one.superblock.events).max().unwrap_or(0);
    control.dirty = dirty;
    control.synced_to = synced_to;
    let unsynced_from = dirty.then(|| synced_to.bytes().unwrap_or(0));
    let whole_bytes = rebuild::synced_bytes(choice.shape.geometry());
    let array = Array::new(Parts {
        name: freshest.name.short(),
        uuid: freshest.array_uuid,
        shape: choice.shape,
        seats,
        new_seats,
        control,
        intent: Intent::new(bitmap.map(|(bitmap, _)| bitmap), unsynced_from, whole_bytes),
        read_only,
        journal,
        journal_always: how.journal_always,
        write_through: how.write_through,
        watch: Arc::clone(watch),
    });
    array.adopt_blank(replay.blank);
    Ok(array)
}

/// Puts what md's write journal has in its place.
fn replay_write_journal(images: &[Image], of_all: &[Found], choice: &Choice, how: Assembly) -> Result<()> {
    let journal = WriteJournal::read(images, choice)?;
    let Some(journal) = journal.filter(WriteJournal::is_pending) else {
        return Ok(());
    };
    if how.read_only {
        return Err(Error::NotStartable {
            array: choice.freshest.superblock.name.short(),
            reason: "writes in its write journal are to be done again first".to_owned(),
            remedy: "start it once for writing",
        });
    }
    let (_, _, devices) = open_all(images, of_all, choice, None)?;
    journal.replay(images, choice.shape.geometry(), &by_slot(choice, &devices))
}

/// Members by slot.
type Seats = Vec<Option<Arc<Member>>>;

/// Opens the members that were chosen, or takes what they were read by: seats of the array, of the new side of a reshape, and all
/// devices.
fn open_all(
    images: &[Image],
    of_all: &[Found],
    choice: &Choice,
    readers: Option<&[Arc<dyn Storage>]>,
) -> Result<(Seats, Seats, Vec<Device>)> {
    let access = if readers.is_some() {
        Access::Read
    } else {
        Access::ReadWrite
    };
    let mut seats = vec![None; usize::from(choice.shape.geometry().slots())];
    let mut new_seats = vec![None; usize::from(choice.shape.slots())];
    let mut devices = Vec::new();
    for (found, slot) in &choice.devices {
        let image = &images[found.image];
        let storage = match readers {
            Some(readers) => Arc::clone(&readers[found.image]),
            None => image.open(access)?,
        };
        let seen = of_all.iter().find(|seen| seen.image == found.image).unwrap_or(found);
        claim::member(image, &*storage, seen, access)?;
        let sidecar = Some(image.sidecar());
        let member = member_of(&image.path(), storage, found, sidecar)?;
        if let (Some(Sector(sectors)), Some(_)) = (found.superblock.recovered_to(), slot) {
            let chunk = choice.shape.geometry().chunk_bytes().max(SECTOR_BYTES);
            let bytes = sectors.saturating_mul(SECTOR_BYTES);
            if choice.shape.view().is_none() {
                member.set_recovered(bytes - bytes % chunk);
            }
            member.set_checkpoint(bytes - bytes % chunk);
        }
        if let Some(slot) = slot {
            new_seats[slot.index()] = Some(reshape::moved(&member, &found.superblock));
            if let Some(seat) = seats.get_mut(slot.index()) {
                *seat = Some(Arc::clone(&member));
            }
        }
        let superblock = found.superblock.clone();
        devices.push(Device { member, superblock });
    }
    Ok((seats, new_seats, devices))
}

/// All members by slot, of whichever side.
fn by_slot(choice: &Choice, devices: &[Device]) -> Vec<Option<Arc<Member>>> {
    let mut members = vec![None; usize::from(choice.shape.slots())];
    for ((_, slot), device) in choice.devices.iter().zip(devices) {
        if let Some(slot) = slot {
            members[slot.index()] = Some(Arc::clone(&device.member));
        }
    }
    members
}

/// Reads what a stripe journal says, and refuses what is neither covered by one nor forced.
pub(super) fn read_journal(images: &[Image], choice: &Choice, logs: &Logs, how: Assembly) -> Result<Replay> {
    let view = &choice.freshest.superblock;
    if view.level.is_bare() {
        return Ok(Replay::default());
    }
    let seated = choice
        .devices
        .iter()
        .filter_map(|(found, slot)| Some((found, (*slot)?)));
    let sidecars: Vec<(Slot, Sidecar, Stamp)> = seated
        .map(|(found, slot)| (slot, images[found.image].sidecar(), stamp_of(&found.superblock)))
        .collect();
    let replay = Replay::read(view.array_uuid, &sidecars).map_err(|source| Error::Member {
        path: images[choice.freshest.image].path(),
        verb: "read its journal",
        source,
    })?;
    let replay = if view.level.parities() > 0 {
        replay
    } else {
        replay.of_no_stripes()
    };
    let torn = view.level.parities() > 0 && choice.dirty && !choice.missing.is_empty();
    let refusal = if torn && !replay.covers && !logs.cover() && !how.force && !how.read_only {
        Some((
            "it was not stopped cleanly and members are missing: what parity gives for them may be wrong",
            "give all members, or start it with --force and check what is on it",
        ))
    } else if torn && how.read_only && (!replay.entries.is_empty() || logs.ask_for_writes()) {
        Some((
            "writes in its stripe journal or partial parity log are to be done again first",
            "start it once for writing",
        ))
    } else {
        None
    };
    match refusal {
        None => Ok(replay),
        Some((reason, remedy)) => Err(Error::NotStartable {
            array: view.name.short(),
            reason: reason.to_owned(),
            remedy,
        }),
    }
}

/// When a superblock was written, for its sidecar.
fn stamp_of(superblock: &Superblock) -> Stamp {
    Stamp {
        events: superblock.events,
        updated: superblock.updated,
    }
}

/// Does the writes of a journal again, and makes a new beginning of it.
fn replay_all(
    replay: &Replay,
    seats: &[Option<Arc<Member>>],
    new_seats: &[Option<Arc<Member>>],
    journal: &Journal,
    degraded: bool,
) -> Result<()> {
    let failed = |member: &Arc<Member>, source| Error::Member {
        path: member.path().to_path_buf(),
        verb: "replay its journal",
        source,
    };
    for entry in &replay.entries {
        let slot = usize::from(entry.slot);
        let mut views = [seats, new_seats]
            .into_iter()
            .filter_map(|side| side.get(slot)?.as_ref());
        let place = |view: &&Arc<Member>| view.offset_of(entry.offset_bytes, entry.bytes.len() as u64);
        if let Some((view, at)) = views.find_map(|view| Some((view, place(&view)?))) {
            let written = view.write(&entry.bytes, at);
            written.map_err(|source| failed(view, source))?;
        }
    }
    let members = || seats.iter().flatten();
    for member in members() {
        member.flush().map_err(|source| failed(member, source))?;
    }
    let begun = journal.activate(members());
    let begun = if degraded {
        begun
    } else {
        begun.and_then(|()| journal.deactivate())
    };
    match (begun, members().next()) {
        (Err(source), Some(member)) => Err(failed(member, source)),
        _ => Ok(()),
    }
}

/// The member that was found in an image, with its flaws.
pub(super) fn member_of(
    path: &Path,
    storage: Arc<dyn Storage>,
    found: &Found,
    sidecar: Option<Sidecar>,
) -> Result<Arc<Member>> {
    let member = Member::new(path, storage, place_of(found), sidecar);
    let loaded = member.load_flaws(&found.superblock);
    loaded.map_err(|source| Error::Member {
        path: path.to_path_buf(),
        verb: "read its bad-block log; leave it out to go on without it",
        source,
    })?;
    Ok(Arc::new(member))
}

/// Where a member that was found has what.
pub(super) fn place_of(found: &Found) -> Place {
    let superblock = &found.superblock;
    Place {
        device_start_bytes: 0,
        device_bytes: found.device.0 * SECTOR_BYTES,
        data_offset_bytes: superblock.data_offset.0 * SECTOR_BYTES,
        data_bytes: superblock.data_size.0 * SECTOR_BYTES,
        bitmap_bytes: superblock.bitmap_start().map(|start| start.0 * SECTOR_BYTES),
    }
}

/// The bitmap of the freshest member, and whether it can be written back in its place; none where there is none.
fn read_bitmap(images: &[Image], readers: &[Arc<dyn Storage>], choice: &Choice) -> Result<Option<(Bitmap, bool)>> {
    let found = &choice.freshest;
    let view = &found.superblock;
    let Some(start) = view.bitmap_start() else {
        return Ok(None);
    };
    let room = usize::try_from(view.bitmap_room(found.device).0 * SECTOR_BYTES).unwrap_or(0);
    let mut bytes = vec![0; room.min(64 << 20)];
    let read = readers[found.image].read_at(&mut bytes, start.0 * SECTOR_BYTES);
    let count = read.map_err(|source| Error::Member {
        path: images[found.image].path(),
        verb: "read its bitmap",
        source,
    })?;
    let decoded = Bitmap::decode(&bytes[..count]).and_then(|bitmap| {
        bitmap.header().belongs_to(view.array_uuid)?;
        Ok((bitmap.header().version != BitmapVersion::Lockless, bitmap))
    });
    let covered = sync_size(view.level, view.layout, view.size, u64::from(view.slots));
    Ok(Some(match decoded {
        Ok((writable, mut bitmap)) => {
            // A growth that a crash kept from being told told the bitmap first.
            if view.reshaping().is_none() && bitmap.header().sync_size > covered {
                bitmap = bitmap.resized(covered);
            }
            if bitmap.header().is_stale(view.events) {
                bitmap.set_all();
            }
            (bitmap, writable)
        }
        Err(damage) => {
            log::warn!(
                "{}: {damage}; all is taken for written",
                images[found.image].path().display()
            );
            let mut chunk = BITMAP_CHUNK_BYTES;
            let fits = |chunk| BitmapHeader::new(view.array_uuid, covered, chunk).area_bytes() <= room as u64;
            while !fits(chunk) && chunk < 1 << 31 {
                chunk *= 2;
            }
            let mut bitmap = Bitmap::new(BitmapHeader::new(view.array_uuid, covered, chunk));
            bitmap.set_all();
            (bitmap, fits(chunk))
        }
    }))
}
