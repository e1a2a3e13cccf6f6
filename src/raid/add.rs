//! Taking devices in: a member that returns, one that is new and takes a free slot, a spare that waits for one.
//!
//! A device gets its superblock from the array's, with an identity of its own. It is only taken in here; filling it is the
//! work of [`super::rebuild`], from the start, or where the bitmap says that a member missed writes while it was away.

use std::{path::Path, sync::Arc};

use super::{
    SECTOR_BYTES, Sector, Slot,
    array::{Array, Control, Device, Roster},
    assemble::{Found, Image, find, member_of},
    error::{Error, Result},
    metadata::{
        identity::Uuid,
        superblock::{BadBlockFields, Features, Role, Superblock, Version},
    },
};
use crate::storage::{Access, Storage};

/// What became of a device that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is a spare.
    Spare,
    /// It took a slot and is to be rebuilt from the start.
    Rebuild(Slot),
    /// It was a member before and is to be rebuilt where the bitmap says that it missed writes.
    Return(Slot),
}

impl Array {
    /// Adds a device: as a member that returns, as one that takes a free slot, or as a spare. `uuid` is its identity if it
    /// is new. The rebuild is the caller's to run.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where the device does not fit, [`Error::WrongState`] where the array takes none.
    pub fn add(&self, image: &Image, uuid: Uuid) -> Result<Added> {
        if self.legs().is_empty() {
            self.add_own(image, uuid)
        } else {
            self.add_to_leg(image, uuid)
        }
    }

    fn add_own(&self, image: &Image, uuid: Uuid) -> Result<Added> {
        let image = &image.watched(self.watch());
        let (path, storage) = (&*image.path(), image.open(Access::ReadWrite)?);
        if self.level().is_bare() || self.is_read_only() {
            return Err(Error::WrongState {
                array: self.name().to_owned(),
                reason: "it takes no members: it has no redundancy or is read-only",
            });
        }
        self.check_enabled(0)?;
        let (found, device) = look(path, &*storage)?;
        let _gate = self.exclude();
        let mut control = self.control();
        let roster = self.roster();
        let own = found.filter(|found| found.superblock.array_uuid == self.uuid());
        if let Some(own) = &own
            && control
                .devices
                .iter()
                .any(|device| device.superblock.device_uuid == own.superblock.device_uuid)
        {
            return Err(bad_device(path, "it is in use in this array already"));
        }
        image.claim(&*storage, 0, 0, Access::ReadWrite)?;
        let returning = own.as_ref().and_then(|found| self.returns_to(found, &control, &roster));
        let template = control.devices.first().map(|device| device.superblock.clone());
        let template = template.ok_or_else(|| bad_device(path, "the array has no members"))?;
        let found = match (own, returning) {
            (Some(found), Some(_)) => found,
            _ => Found {
                image: 0,
                superblock: new_superblock(path, &template, control.free_number(), uuid, device)?,
                device,
            },
        };
        let slot = returning.or_else(|| self.free_slot(&roster));
        let member = member_of(path, storage, &found, Some(image.sidecar()))?;
        member.set_delta(returning.is_some());
        let number = found.superblock.device_number;
        if slot.is_some() {
            member.set_recovered(0);
            member.set_checkpoint(0);
        }
        let failed = |source| Error::Member {
            path: path.to_path_buf(),
            verb: "write its bitmap or journal",
            source,
        };
        self.write_bitmap(&member)
            .and_then(|()| self.journal().admit(&member))
            .map_err(failed)?;
        control.assign(number, slot.map_or(Role::Spare, Role::Active));
        control.devices.push(Device {
            member: Arc::clone(&member),
            superblock: found.superblock,
        });
        if let Some(slot) = slot {
            self.replace_roster(roster.with(slot, Some(member)));
        }
        drop(control);
        drop(_gate);
        self.commit_all()?;
        Ok(match (slot, returning) {
            (None, _) => Added::Spare,
            (Some(slot), None) => Added::Rebuild(slot),
            (Some(slot), Some(_)) => Added::Return(slot),
        })
    }

    /// Adds a device to the leg that it was in, or that lacks a member.
    fn add_to_leg(&self, image: &Image, uuid: Uuid) -> Result<Added> {
        let found = look(&image.path(), &*image.open(Access::Read)?)?.0;
        let own = found.map(|found| found.superblock.array_uuid);
        let Some((first, leg)) = self.leg_for(own) else {
            return Ok(Added::Spare);
        };
        let whole = |slot: Slot| Slot(first + slot.0);
        Ok(match leg.add(image, uuid)? {
            Added::Spare => Added::Spare,
            Added::Rebuild(slot) => Added::Rebuild(whole(slot)),
            Added::Return(slot) => Added::Return(whole(slot)),
        })
    }

    /// Lets go of a spare: the array does not know it any more, and its image can be used by others.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where it is no spare of the array.
    pub fn release_spare(&self, path: &Path) -> Result<()> {
        if let Some(leg) = self
            .legs()
            .iter()
            .find(|leg| leg.status().spares.iter().any(|spare| spare == path))
        {
            return leg.release_spare(path);
        }
        let gate = self.exclude();
        let mut control = self.control();
        let roster = self.roster();
        let is = |device: &Device| device.member.path() == path && !roster.has(&device.member);
        let Some(index) = control.devices.iter().position(is) else {
            return Err(bad_device(path, "it is no spare of the array"));
        };
        let spare = control.devices.remove(index);
        control.assign(spare.superblock.device_number, Role::Spare);
        drop(control);
        drop(gate);
        self.commit_all()
    }

    /// A slot for a new member; none while the array moves, for only then it is settled where data lie.
    fn free_slot(&self, roster: &Roster) -> Option<Slot> {
        let mut slots = (0..roster.geometry().slots()).map(Slot);
        let free = slots.find(|slot| roster.seat(*slot).is_none());
        free.filter(|_| roster.moving().is_none())
    }

    /// Slot that a device had, if it is free, the device was whole and the bitmap knows all that it missed.
    fn returns_to(&self, found: &Found, control: &Control, roster: &Roster) -> Option<Slot> {
        let Role::Active(slot) = found.superblock.role() else {
            return None;
        };
        let intent = self.intent();
        let bitmap = intent.lock();
        let covers = bitmap.as_ref()?.header().covers_absence_since(found.superblock.events);
        let shape = |superblock: &Superblock| {
            let Superblock {
                level,
                layout,
                chunk,
                slots,
                size,
                ..
            } = superblock;
            (superblock.reshaping(), *level, *layout, *chunk, *slots, *size)
        };
        // A reshape that it missed has moved everything.
        let same_shape = control
            .devices
            .first()
            .is_some_and(|device| shape(&device.superblock) == shape(&found.superblock));
        let was_whole = found.superblock.recovered_to().is_none() && same_shape && roster.moving().is_none();
        let is_free = roster.seat(slot).is_none() && control.is_free(found.superblock.device_number);
        (covers && was_whole && is_free).then_some(slot)
    }

    /// Lets a spare take a free slot; the rebuild is the caller's to run. None where there is no spare or no free slot.
    ///
    /// # Errors
    /// As [`Array::rebuild`].
    pub fn activate_spare(&self) -> Result<Option<Slot>> {
        for (first, leg) in self.numbered_legs() {
            if let Some(slot) = leg.activate_spare()? {
                return Ok(Some(Slot(first + slot.0)));
            }
        }
        if !self.legs().is_empty() {
            return Ok(None);
        }
        let slot = {
            let _gate = self.exclude();
            let mut control = self.control();
            let roster = self.roster();
            let free = self.free_slot(&roster);
            let spare = control
                .devices
                .iter()
                .find(|device| !roster.has(&device.member))
                .cloned();
            let (Some(slot), Some(spare)) = (free, spare) else {
                return Ok(None);
            };
            self.journal().admit(&spare.member).map_err(|source| Error::Member {
                path: spare.member.path().to_path_buf(),
                verb: "write its journal",
                source,
            })?;
            spare.member.set_recovered(0);
            spare.member.set_checkpoint(0);
            control.assign(spare.superblock.device_number, Role::Active(slot));
            self.replace_roster(roster.with(slot, Some(spare.member)));
            slot
        };
        self.commit_all()?;
        Ok(Some(slot))
    }
}

/// What a device says of itself, if it was a member, and its size.
pub(super) fn look(path: &Path, storage: &dyn Storage) -> Result<(Option<Found>, Sector)> {
    let found = match find(path, storage, 0) {
        Err(error @ Error::Member { .. }) => return Err(error),
        found => found.ok().flatten(),
    };
    let bytes = storage.size_bytes().map_err(|source| Error::Member {
        path: path.to_path_buf(),
        verb: "find its size",
        source,
    })?;
    Ok((found, Sector(bytes / SECTOR_BYTES)))
}

pub(super) fn bad_device(path: &Path, reason: &str) -> Error {
    Error::BadParameter {
        parameter: "image",
        value: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// Superblock of a new device, with the places of everything as on the others.
pub(super) fn new_superblock(
    path: &Path,
    template: &Superblock,
    number: u32,
    uuid: Uuid,
    device: Sector,
) -> Result<Superblock> {
    let data_size = device.0.saturating_sub(template.data_offset.0);
    let place = Version::V1_2
        .place(device)
        .filter(|_| template.super_offset == Sector(8));
    let fits = data_size >= template.size.0;
    let Some(place) = place.filter(|_| fits) else {
        let reason = format!(
            "its {} sectors are too few, {} are the least",
            device.0,
            template.data_offset.0 + template.size.0
        );
        return Err(bad_device(path, &reason));
    };
    Ok(Superblock {
        features: template
            .features
            .with(Features::RECOVERY, false)
            .with(Features::BAD_BLOCKS, false),
        data_size: Sector(data_size),
        super_offset: place,
        recovery_offset: 0,
        device_number: number,
        corrected_reads: 0,
        device_uuid: uuid,
        device_flags: 0,
        bad_blocks: BadBlockFields { ..template.bad_blocks },
        ..template.clone()
    })
}
