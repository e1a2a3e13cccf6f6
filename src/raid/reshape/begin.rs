//! Beginning a reshape: new members are taken in, and the superblocks say what is to come before anything moves.
//!
//! The new members are told first, and the others after them: where a crash comes in between, either nobody who was there
//! before knows of the reshape, and it never began, or all that it needs are there and it goes on.

use std::{sync::Arc, time::Duration};

use super::{
    Plan,
    advance::note_position,
    shape::moved,
    target::{Target, target},
};
use crate::raid::{
    Level, SECTOR_BYTES, Sector, Slot,
    add::{bad_device, look, new_superblock},
    array::{Array, Control, Device, Failures, Moving, Roster},
    assemble::{Found, Image, place_of},
    create::NewImage,
    error::{Error, Result},
    member::Member,
    metadata::{
        identity::Uuid,
        superblock::{Features, ReshapeFields, Role, Superblock},
    },
};
use crate::storage::{Access, Storage};

/// How long to wait between two looks whether requests have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Looks until it is told what is waited for.
const LOOKS_IN_SILENCE: u32 = 5000;

/// What becomes a member.
enum Candidate {
    /// An image that was looked at.
    New {
        image: Image,
        uuid: Uuid,
        storage: Arc<dyn Storage>,
        device: Sector,
    },
    /// The spare of this identity.
    Spare(Uuid),
}

impl Array {
    /// Begins to move the array to another shape; [`Array::reshape`] does the work. When this returns the images are
    /// members and the superblocks say so.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where that cannot be, with what can be done instead; [`Error::WrongState`] where the array
    /// is not whole; [`Error::Member`] where an image cannot be used.
    pub fn begin_reshape(&self, plan: &Plan) -> Result<()> {
        self.check_writable()?;
        if !self.legs().is_empty() {
            return self.begin_reshape_of_legs(plan);
        }
        let Some(_turn) = self.try_reshaping() else {
            return Err(self.wrong_state("a reshape is under way already"));
        };
        let candidates = self.candidates(plan)?;
        let (before, failures) = {
            let _gate = self.exclude();
            let before = self.roster();
            self.check_whole(&before)?;
            let mut control = self.control();
            let target = self.target(&before, &control, plan)?;
            let failures = self.flush_members()?;
            if !failures.is_empty() {
                return Err(self.not_written(0, failures.into_error()));
            }
            self.outlive(&mut control, &before)?;
            let devices = self.new_devices(&candidates, &control, &target)?;
            let failures = self.note(&mut control, devices, &target, &before)?;
            (before, failures)
        };
        if !failures.is_empty() && !self.expel(&failures) {
            return Err(self.not_written(0, failures.into_error()));
        }
        // Reads that began before know only the old places, and nothing may be moved over them while they last, nor over pages
        // that a client has not read yet.
        let mut looks = 0_u32;
        while Arc::strong_count(&before) > 1 || self.has_leases() {
            if looks == LOOKS_IN_SILENCE {
                log::warn!(
                    "array {}: nothing moves before clients have read their replies",
                    self.name()
                );
            }
            looks = looks.saturating_add(1);
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Looks whether the array could begin; gives what has the images claimed.
    pub(in crate::raid) fn rehearse(&self, plan: &Plan) -> Result<impl Sized> {
        self.check_writable()?;
        let candidates = self.candidates(plan)?;
        let roster = self.roster();
        self.check_whole(&roster)?;
        let control = self.control();
        let target = self.target(&roster, &control, plan)?;
        for candidate in &candidates {
            if let Candidate::New {
                image,
                uuid,
                storage,
                device,
            } = candidate
            {
                new_device(image, *uuid, Arc::clone(storage), *device, &control, &target)?;
            }
        }
        Ok(candidates)
    }

    /// Looks whether images can be members, and opens those that are not in use here already.
    fn candidates(&self, plan: &Plan) -> Result<Vec<Candidate>> {
        plan.images.iter().map(|new| self.candidate(new)).collect()
    }

    fn candidate(&self, new: &NewImage) -> Result<Candidate> {
        let image = new.image.watched(self.watch());
        let path = &*image.path();
        let (found, device) = look(path, &*image.open(Access::Read)?)?;
        if let Some(found) = found {
            let superblock = found.superblock;
            if superblock.array_uuid != self.uuid() {
                let reason = format!("it is a member of array {}", superblock.name.short());
                return Err(bad_device(path, &reason));
            }
            let control = self.control();
            let own = |device: &&Device| device.superblock.device_uuid == superblock.device_uuid;
            match control.devices.iter().find(own) {
                Some(member) if self.roster().has(&member.member) => {
                    return Err(bad_device(path, "it is a member of this array already"));
                }
                Some(_) => return Ok(Candidate::Spare(superblock.device_uuid)),
                None => {}
            }
        }
        let storage = image.open(Access::ReadWrite)?;
        image.claim(&*storage, 0, 0, Access::ReadWrite)?;
        let uuid = new.uuid;
        Ok(Candidate::New {
            image,
            uuid,
            storage,
            device,
        })
    }

    /// Refuses an array that is not whole, or on its way already.
    pub(in crate::raid) fn check_whole(&self, roster: &Roster) -> Result<()> {
        let reason = if roster.moving().is_some() {
            "a reshape is under way already; let it end first"
        } else if roster.is_degraded() {
            "a member is missing or not yet rebuilt; rebuild it first"
        } else if self.has_blank() {
            "zeros are still being made of it; let that end first"
        } else if roster.intent().next_unsynced(0).is_some() {
            "its redundancy may be wrong somewhere; resync it first"
        } else {
            return Ok(());
        };
        Err(self.wrong_state(reason))
    }

    fn target(&self, roster: &Roster, control: &Control, plan: &Plan) -> Result<Target> {
        let members = |device: &&Device| roster.has(&device.member);
        let superblocks: Vec<&Superblock> = control
            .devices
            .iter()
            .filter(members)
            .map(|device| &device.superblock)
            .collect();
        if superblocks
            .iter()
            .any(|superblock| superblock.features.has(Features::BAD_BLOCKS))
        {
            return Err(self.wrong_state("members have bad blocks; replace these members first"));
        }
        let bitmap = roster
            .intent()
            .lock()
            .as_ref()
            .map_or(Sector(0), |bitmap| bitmap.area_sectors());
        target(roster.geometry(), plan, &superblocks, bitmap)
    }

    /// Writes the superblocks until no device that is left out, such as one of a reshape that never began, can be taken for a
    /// member that missed a superblock.
    fn outlive(&self, control: &mut Control, roster: &Roster) -> Result<()> {
        let bare = roster.is_bare();
        control.set_writes(true);
        while control.events <= control.seen {
            let failed = control.commit(roster.intent().lock().as_mut(), false);
            if let Some((_, error)) = failed.into_iter().next() {
                control.set_writes(!bare);
                return Err(self.not_written(0, error));
            }
        }
        control.set_writes(!bare);
        Ok(())
    }

    /// The devices that become members, with the bitmap of the array and a part in its journal.
    fn new_devices(&self, candidates: &[Candidate], control: &Control, target: &Target) -> Result<Vec<Device>> {
        let mut numbers = control.clone();
        let mut devices = Vec::new();
        for candidate in candidates {
            let device = match candidate {
                Candidate::New {
                    image,
                    uuid,
                    storage,
                    device,
                } => new_device(image, *uuid, Arc::clone(storage), *device, &numbers, target)?,
                Candidate::Spare(uuid) => {
                    let is = |device: &&Device| device.superblock.device_uuid == *uuid;
                    let spare = control.devices.iter().find(is).cloned();
                    spare.ok_or_else(|| self.wrong_state("a spare that was to become a member has failed"))?
                }
            };
            let failed = |source| Error::Member {
                path: device.member.path().to_path_buf(),
                verb: "write its bitmap or journal",
                source,
            };
            self.write_bitmap(&device.member).map_err(failed)?;
            self.journal().admit(&device.member).map_err(failed)?;
            numbers.devices.push(device.clone());
            devices.push(device);
        }
        Ok(devices)
    }

    /// Says in all superblocks what is to come, and lets requests go by both sides. No write is under way.
    fn note(&self, control: &mut Control, devices: Vec<Device>, target: &Target, before: &Roster) -> Result<Failures> {
        let mut changed = control.clone();
        for (slot, device) in (before.geometry().slots()..).map(Slot).zip(devices) {
            changed.assign(device.superblock.device_number, Role::Active(slot));
            if target.stored.filled == Some(slot) {
                device.member.set_checkpoint(0);
            }
            changed.devices.retain(|known| !known.member.is(&device.member));
            // They are told first: what the others say of them must not come before they know it themselves.
            changed.devices.insert(0, device);
        }
        changed.set_writes(true);
        for device in &mut changed.devices {
            describe(&mut device.superblock, target);
            note_position(device, &target.view);
        }
        let new = self.new_side(&changed, target, before);
        let old_seats = before.seats().to_vec();
        let old = before.shaped(target.view.old().clone(), old_seats);
        let view = target.view.clone();
        let next = old.with_moving(Some(Moving { view, new }));
        let failed = changed.commit(next.intent().lock().as_mut(), next.is_degraded());
        if failed.len() == changed.devices.len() {
            let error = failed.into_iter().next().map(|(_, error)| error);
            return Err(self.lose_all(error));
        }
        *control = changed;
        self.replace_roster(next);
        let mut failures = Failures::default();
        for (member, error) in failed {
            failures.push(&member, error);
        }
        Ok(failures)
    }

    /// Members of the new side, where their data will be.
    fn new_side(&self, control: &Control, target: &Target, before: &Roster) -> Roster {
        let geometry = target.view.new_geometry().clone();
        let mut seats = vec![None; usize::from(geometry.slots())];
        for device in &control.devices {
            let number = device.superblock.device_number;
            let role = usize::try_from(number)
                .ok()
                .and_then(|number| control.roles.get(number));
            if let Some(Role::Active(slot)) = role
                && let Some(seat) = seats.get_mut(slot.index())
            {
                *seat = Some(moved(&device.member, &device.superblock));
            }
        }
        before.shaped(geometry, seats)
    }
}

/// The member that an image becomes.
fn new_device(
    image: &Image,
    uuid: Uuid,
    storage: Arc<dyn Storage>,
    device: Sector,
    control: &Control,
    target: &Target,
) -> Result<Device> {
    let path = &*image.path();
    let template = control.devices.first().map(|device| device.superblock.clone());
    let mut template = template.ok_or_else(|| bad_device(path, "the array has no members"))?;
    template.size = Sector(target.view.old().used_bytes(Slot(0)) / SECTOR_BYTES);
    let superblock = new_superblock(path, &template, control.free_number(), uuid, device)?;
    let found = Found {
        image: 0,
        superblock,
        device,
    };
    let sidecar = Some(image.sidecar());
    Ok(Device {
        member: Arc::new(Member::new(path, storage, place_of(&found), sidecar)),
        superblock: found.superblock,
    })
}

/// Makes a superblock say what is to come.
fn describe(superblock: &mut Superblock, target: &Target) {
    let (old, new, stored) = (target.view.old(), target.view.new_geometry(), &target.stored);
    let sectors = |chunk_bytes: u64| u32::try_from(chunk_bytes / SECTOR_BYTES).unwrap_or(0);
    superblock.level = stored.level;
    superblock.layout = stored.layout;
    superblock.chunk = sectors(old.chunk_bytes());
    superblock.slots = u32::from(stored.slots);
    superblock.size = Sector(old.used_bytes(Slot(0)) / SECTOR_BYTES);
    superblock.features = superblock
        .features
        .with(Features::RESHAPE, true)
        .with(Features::NEW_OFFSET, true)
        .with(Features::RAID0_LAYOUT, false);
    superblock.reshape = ReshapeFields {
        new_level: stored.level.code(),
        position: 0,
        delta: stored.delta,
        new_layout: stored.new_layout,
        new_chunk: sectors(new.chunk_bytes()),
        new_offset: target.shift,
    };
    debug_assert!(stored.level != Level::Raid0);
}
