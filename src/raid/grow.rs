//! Growing without moving anything: members that are used up to a larger size, and mirrors of more or fewer copies.
//!
//! Both are one change of all superblocks, as md has it. Where a crash lets some of them say the old and some the new, the
//! freshest is right about all: every member has been told before how much room it has, and what is new at the end is
//! noted as not in sync, for a resync to make its redundancy. Moving data is [`super::reshape`]'s business.

use std::sync::Arc;

use super::{
    Level, SECTOR_BYTES, Sector, Slot,
    array::{Array, Control, Failures, Intent, Roster, write_pages},
    error::{Error, Result},
    geometry::Geometry,
    member::{Member, WHOLE},
    metadata::{
        bitmap::{Bitmap, BitmapHeader},
        superblock::{Role, Superblock},
    },
    rebuild::synced_bytes,
};

#[cfg(test)]
mod tests;

/// What mirrors, which have no chunks, are used in multiples of.
const MIRROR_UNIT_BYTES: u64 = 4096;

impl Array {
    /// Uses every member up to `wanted` bytes, or as far as all of them reach, which may be more than when they were taken
    /// in. The resync of what is new is the caller's to run. Returns the size of the array.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where a level or a member does not allow it, [`Error::WrongState`] where the array is not
    /// whole.
    pub fn grow_members(&self, wanted: Option<u64>) -> Result<u64> {
        if !self.legs().is_empty() {
            return self.grow_legs(wanted);
        }
        self.check_growth()?;
        let Some(_turn) = self.try_reshaping() else {
            return Err(self.wrong_state("a reshape is under way already"));
        };
        let mut failures = Failures::default();
        let grown = {
            let _gate = self.exclude();
            let before = self.roster();
            self.check_whole(&before)?;
            let mut control = self.control();
            self.enlarge(&before, &mut control, wanted, &mut failures)
        };
        if grown.is_err()
            && let Err(error) = self.journal().clear_blank(self.size_bytes(), u64::MAX)
        {
            log::warn!("array {}: {error}", self.name());
        }
        if !failures.is_empty() && !self.expel(&failures) {
            return Err(self.not_written(0, failures.into_error()));
        }
        grown.map(|()| self.size_bytes())
    }

    /// Refuses levels that do not grow without moving data.
    fn check_growth(&self) -> Result<()> {
        self.check_writable()?;
        let reason = match self.level() {
            Level::Linear | Level::Raid0 => "nothing is made for what is new; make a larger one and copy",
            Level::Raid10 if self.geometry().layout() >> 8 & 0xff > 1 && self.geometry().layout() >> 16 & 1 == 0 => {
                "far copies lie by the size of members; make a larger one and copy"
            }
            _ => return Ok(()),
        };
        refuse("size", self.level(), reason)
    }

    /// Looks whether every member could be used up to `wanted` bytes.
    pub(in crate::raid) fn check_size(&self, wanted: Option<u64>) -> Result<()> {
        self.check_growth()?;
        let roster = self.roster();
        self.check_whole(&roster)?;
        chosen(roster.geometry(), &rooms(&self.control())?, wanted).map(drop)
    }

    fn enlarge(
        &self,
        before: &Roster,
        control: &mut Control,
        wanted: Option<u64>,
        failures: &mut Failures,
    ) -> Result<()> {
        let old_bytes = before.geometry().used_bytes(Slot(0));
        let rooms = rooms(control)?;
        let bytes = chosen(before.geometry(), &rooms, wanted)?;
        if bytes == old_bytes {
            return Ok(());
        }
        *failures = self.flush_members()?;
        if !failures.is_empty() {
            return Err(self.wrong_state("a member could not be flushed; rebuild it first"));
        }
        let geometry = before.geometry();
        let sizes = vec![bytes; usize::from(geometry.slots())];
        let new = Geometry::new(geometry.level(), geometry.layout(), geometry.chunk_bytes(), &sizes);
        let new = new.or_else(|error| refuse("size", bytes, error))?;
        // Old bytes of the images are not the array's: what is new reads as zeros until it is written.
        self.set_blank(geometry.capacity_bytes(), &new)
            .map_err(|source| Error::Member {
                path: std::path::PathBuf::from(self.name()),
                verb: "note in the sidecars what is zeros",
                source,
            })?;
        // Before any member says how much of it is used each says that it has so much.
        for (device, room) in control.devices.iter_mut().zip(&rooms) {
            device.superblock.data_size = Sector(room / SECTOR_BYTES);
            let start = device.member.data_offset_bytes();
            device.member = Arc::new(device.member.moved(start, *room));
        }
        self.say(control, before, failures)?;
        let synced_to = synced_bytes(geometry);
        let intent = Intent::new(bitmap(before, control, &new), Some(synced_to), synced_bytes(&new));
        let seats = before.seats().iter().map(|seat| {
            let is = |member: &Arc<Member>| control.devices.iter().find(|device| device.member.is(member));
            Some(Arc::clone(&is(seat.as_ref()?)?.member))
        });
        let next = before.shaped(new, seats.collect()).tracked(intent);
        let pages = next.intent().pages();
        for device in &control.devices {
            failures.note(&device.member, write_pages(&device.member, &pages));
        }
        if !failures.is_empty() {
            return Err(self.wrong_state("a member did not take its bitmap; rebuild it first"));
        }
        for device in &mut control.devices {
            device.superblock.size = Sector(bytes / SECTOR_BYTES);
        }
        control.synced_to = Sector(synced_to / SECTOR_BYTES);
        let said = self.say(control, &next, failures);
        let size = next.geometry().capacity_bytes();
        self.replace_roster(next);
        self.set_size(size);
        said
    }

    /// Lets a mirror have another number of copies. More copies are slots that wait for members; fewer are those of the
    /// first members that are whole, and the others are let go.
    ///
    /// # Errors
    /// As [`Array::grow_members`].
    pub fn set_copies(&self, copies: u16) -> Result<()> {
        self.check_writable()?;
        if self.level() != Level::Raid1 {
            return refuse("copies", copies, "only a raid1 has a number of copies that can change");
        }
        if copies < 2 {
            return refuse("copies", copies, "a mirror has at least 2");
        }
        let mut failures = Failures::default();
        let said = {
            let _gate = self.exclude();
            let before = self.roster();
            let mut control = self.control();
            let geometry = before.geometry();
            let sizes = vec![geometry.used_bytes(Slot(0)); usize::from(copies)];
            let new = Geometry::new(Level::Raid1, geometry.layout(), 0, &sizes);
            let new = new.or_else(|error| refuse("copies", copies, error))?;
            let mut seats = before.seats().to_vec();
            if copies < geometry.slots() {
                seats.retain(|seat| seat.as_ref().is_some_and(|member| member.recovered() == WHOLE));
                if seats.len() < usize::from(copies) {
                    return Err(self.wrong_state("fewer members than that are whole; rebuild it first"));
                }
            }
            seats.resize(usize::from(copies), None);
            let next = before.shaped(new, seats);
            for (_, member) in before.members().filter(|(_, member)| !next.has(member)) {
                control.drop_faulty(member);
            }
            for (slot, member) in next.members() {
                if let Some(number) = control.number_of(member) {
                    control.assign(number, Role::Active(slot));
                }
            }
            for device in &mut control.devices {
                device.superblock.slots = u32::from(copies);
            }
            control.forget_absent();
            let said = self.say(&mut control, &next, &mut failures);
            self.replace_roster(next);
            said
        };
        if !failures.is_empty() && !self.expel(&failures) {
            return Err(self.not_written(0, failures.into_error()));
        }
        said
    }

    /// Writes the superblocks. Where no member took its own nobody knows what they say, and nothing is written any more.
    pub(in crate::raid) fn say(&self, control: &mut Control, roster: &Roster, failures: &mut Failures) -> Result<()> {
        let failed = control.commit(roster.intent().lock().as_mut(), roster.is_degraded());
        if failed.len() == control.devices.len() {
            return Err(self.lose_all(failed.into_iter().next().map(|(_, error)| error)));
        }
        for (member, error) in failed {
            failures.push(&member, error);
        }
        Ok(())
    }
}

fn refuse<T>(parameter: &'static str, value: impl ToString, reason: impl ToString) -> Result<T> {
    Err(Error::BadParameter {
        parameter,
        value: value.to_string(),
        reason: reason.to_string(),
    })
}

/// Bytes from where the data of a member begin to the end of its device, which may have grown.
fn room(member: &Member, superblock: &Superblock) -> Result<u64> {
    let start = superblock.data_offset;
    let behind = [
        Some(superblock.own_area().end()),
        superblock.bad_block_area().map(|area| area.end()),
        superblock.bitmap_start(),
    ];
    if behind.into_iter().flatten().any(|end| end > start) {
        let path = member.path().display();
        return refuse(
            "size",
            path,
            "its superblock stands behind its data; use metadata 1.2 and copy",
        );
    }
    let size = member.current_bytes().map_err(|source| Error::Member {
        path: member.path().to_path_buf(),
        verb: "find its size",
        source,
    })?;
    let room = size.saturating_sub(start.0 * SECTOR_BYTES);
    Ok(room - room % SECTOR_BYTES)
}

/// As [`room`], of all members.
pub(in crate::raid) fn rooms(control: &Control) -> Result<Vec<u64>> {
    let devices = control.devices.iter();
    devices.map(|device| room(&device.member, &device.superblock)).collect()
}

/// The bytes that are used of each member afterwards.
fn chosen(geometry: &Geometry, rooms: &[u64], wanted: Option<u64>) -> Result<u64> {
    let old = geometry.used_bytes(Slot(0));
    let unit = geometry.chunk_bytes().max(MIRROR_UNIT_BYTES);
    let most = rooms.iter().copied().min().unwrap_or(0);
    let bytes = wanted.unwrap_or(most);
    let bytes = bytes - bytes % unit;
    if bytes > most {
        let reason = format!("{most} bytes are what all its members have; replace the smaller ones first");
        return refuse("size", bytes, reason);
    }
    match wanted {
        Some(_) if bytes < old => refuse("size", bytes, format!("{old} bytes are used, and nothing shrinks")),
        _ => Ok(bytes.max(old)),
    }
}

/// The bitmap of a larger array: the same, or one of larger regions where it has no room.
fn bitmap(before: &Roster, control: &Control, new: &Geometry) -> Option<Bitmap> {
    let lock = before.intent().lock();
    let old = lock.as_ref()?;
    let sync_size = Sector(synced_bytes(new) / SECTOR_BYTES);
    let rooms = control.devices.iter().map(|device| {
        let end = device.superblock.data_offset;
        device.superblock.bitmap_room(end).0 * SECTOR_BYTES
    });
    let room = rooms.min().unwrap_or(0);
    let resized = old.resized(sync_size);
    if resized.header().area_bytes() <= room {
        return Some(resized);
    }
    let mut header = BitmapHeader {
        sync_size,
        ..old.header().clone()
    };
    while header.area_bytes() > room && header.chunk_bytes < 1 << 31 {
        header.chunk_bytes *= 2;
    }
    let mut coarse = Bitmap::new(header);
    coarse.set_all();
    Some(coarse)
}
