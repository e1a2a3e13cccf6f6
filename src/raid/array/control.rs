//! The superblocks of an assembled array, and the one way in which they are written.
//!
//! [`Control`] holds what every member says of the array; a change is made in memory first and then *committed*: events
//! go up by one, the bitmap's header is written before the superblock, and all is flushed. Levels without redundancy
//! have superblocks that nobody ever writes, as md has it.

use std::{io, sync::Arc};

use crate::raid::{
    Level, SECTOR_BYTES, Sector,
    journal::{Journal, Stamp},
    member::{Member, WHOLE},
    metadata::{
        bitmap::Bitmap,
        identity::{Name, Time},
        superblock::{Features, MAX_SECTOR, Role, Superblock},
    },
};

/// An open device of the array.
#[derive(Debug, Clone)]
pub(in crate::raid) struct Device {
    pub(in crate::raid) member: Arc<Member>,
    /// What it says; roles, events and times are the array's.
    pub(in crate::raid) superblock: Superblock,
}

/// All superblocks.
#[derive(Debug, Clone)]
pub(in crate::raid) struct Control {
    /// Devices that are in use: members and spares. One that failed is dropped.
    pub(in crate::raid) devices: Vec<Device>,
    /// Roles by device number.
    pub(in crate::raid) roles: Vec<Role>,
    pub(in crate::raid) events: u64,
    /// Whether a write may be under way.
    pub(in crate::raid) dirty: bool,
    /// How far redundancy is right, in sectors; [`MAX_SECTOR`] for all.
    pub(in crate::raid) synced_to: Sector,
    /// The time that the caller last told.
    pub(in crate::raid) now: Time,
    /// The stripe journal, whose sidecars go with the superblocks.
    pub(in crate::raid) journal: Arc<Journal>,
    /// False for levels whose superblocks stay as they are.
    writes: bool,
}

impl Control {
    pub(in crate::raid) fn new(
        level: Level,
        freshest: &Superblock,
        devices: Vec<Device>,
        journal: Arc<Journal>,
    ) -> Self {
        let mut devices = devices;
        // A crash while it was renamed may have left two names.
        devices
            .iter_mut()
            .for_each(|device| device.superblock.name = freshest.name);
        Self {
            devices,
            roles: freshest.roles.clone(),
            events: freshest.events,
            dirty: false,
            synced_to: MAX_SECTOR,
            now: freshest.updated,
            journal,
            writes: !level.is_bare(),
        }
    }

    /// Number of the device that a member is.
    pub(in crate::raid) fn number_of(&self, member: &Arc<Member>) -> Option<u32> {
        let mut devices = self.devices.iter();
        devices
            .find(|device| device.member.is(member))
            .map(|device| device.superblock.device_number)
    }

    /// Gives a device a role.
    pub(in crate::raid) fn assign(&mut self, number: u32, role: Role) {
        let Ok(index) = usize::try_from(number) else { return };
        if index >= self.roles.len() {
            self.roles.resize(index + 1, Role::Spare);
        }
        self.roles[index] = role;
    }

    /// True where no device in use has the number.
    pub(in crate::raid) fn is_free(&self, number: u32) -> bool {
        self.devices
            .iter()
            .all(|device| device.superblock.device_number != number)
    }

    /// A number for a new device, which no other had while its role was known.
    pub(in crate::raid) fn free_number(&self) -> u32 {
        let unused = |number: &u32| {
            let role = usize::try_from(*number).ok().and_then(|number| self.roles.get(number));
            self.is_free(*number) && role.is_none_or(|role| *role == Role::Spare)
        };
        (0..).find(unused).unwrap_or(u32::MAX)
    }

    /// Takes the role away from every device that is not there.
    pub(in crate::raid) fn forget_absent(&mut self) {
        let devices = &self.devices;
        for (number, role) in (0_u32..).zip(&mut self.roles) {
            let there = devices.iter().any(|device| device.superblock.device_number == number);
            if !there && matches!(role, Role::Active(_)) {
                *role = Role::Faulty;
            }
        }
    }

    /// Marks a member as failed and forgets it: nothing is written to it any more.
    pub(in crate::raid) fn drop_faulty(&mut self, member: &Arc<Member>) {
        if let Some(number) = self.number_of(member) {
            self.assign(number, Role::Faulty);
            self.devices.retain(|device| !device.member.is(member));
            self.journal.forget(member);
        }
    }

    /// Gives the array another name; it is written with the next commit.
    pub(in crate::raid) fn set_name(&mut self, name: Name) {
        self.devices.iter_mut().for_each(|device| device.superblock.name = name);
    }

    /// As [`Control::commit`], at levels without redundancy too; there nothing is counted.
    pub(in crate::raid) fn commit_always(
        &mut self,
        bitmap: Option<&mut Bitmap>,
        degraded: bool,
    ) -> Vec<(Arc<Member>, io::Error)> {
        if self.writes {
            return self.commit(bitmap, degraded);
        }
        let written = self.devices.iter().map(|device| (device, write_device(device, None)));
        written
            .filter_map(|(device, written)| Some((Arc::clone(&device.member), written.err()?)))
            .collect()
    }

    /// Writes all superblocks and flushes them; returns the members where that failed.
    pub(in crate::raid) fn commit(
        &mut self,
        bitmap: Option<&mut Bitmap>,
        degraded: bool,
    ) -> Vec<(Arc<Member>, io::Error)> {
        if !self.writes {
            return Vec::new();
        }
        self.events += 1;
        let header = bitmap.map(|bitmap| {
            bitmap.stamp(self.events, !degraded);
            bitmap.header().encode()
        });
        let resync_offset = if self.dirty { Sector(0) } else { self.synced_to };
        let mut failed = self.journal.stamp(Stamp {
            events: self.events,
            updated: self.now,
        });
        for device in &mut self.devices {
            let superblock = &mut device.superblock;
            superblock.events = self.events;
            superblock.roles.clone_from(&self.roles);
            superblock.updated = self.now;
            superblock.resync_offset = resync_offset;
            let corrected = device.member.take_corrected();
            superblock.corrected_reads = superblock.corrected_reads.saturating_add(corrected);
            superblock.features = superblock
                .features
                .with(Features::BAD_BLOCKS, device.member.has_flaws());
            note_recovery(superblock, device.member.checkpoint());
            let written = write_device(device, header.as_ref().map(<[u8; 256]>::as_slice));
            if let Err(error) = written {
                failed.push((Arc::clone(&device.member), error));
            }
        }
        failed
    }
}

/// Says in a superblock how far the member is rebuilt.
fn note_recovery(superblock: &mut Superblock, recovered: u64) {
    let rebuilding = recovered != WHOLE && matches!(superblock.role(), Role::Active(_));
    superblock.features = superblock.features.with(Features::RECOVERY, rebuilding);
    superblock.recovery_offset = if rebuilding { recovered / SECTOR_BYTES } else { 0 };
}

/// Writes bitmap header and superblock of a device, durably.
fn write_device(device: &Device, header: Option<&[u8]>) -> io::Result<()> {
    let superblock = &device.superblock;
    if let (Some(header), Some(start)) = (header, superblock.bitmap_start()) {
        device.member.write_raw(header, start.0 * SECTOR_BYTES)?;
    }
    let place = superblock.super_offset.0 * SECTOR_BYTES;
    device.member.write_raw(&superblock.encode(), place)?;
    device.member.flush()
}
