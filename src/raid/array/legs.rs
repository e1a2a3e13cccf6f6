//! What an array that is made of arrays hands on to them: the state of the whole is that of its legs.
//!
//! Bytes and flushes find their way by themselves, for a leg is a member's device. What is said of members, time and
//! redundancy is said to the legs here. An ordinary array has no legs, and nothing here concerns it.

use std::sync::Arc;

use super::{Array, MemberStatus, Status};
use crate::raid::{
    SECTOR_BYTES, Slot,
    error::Result,
    geometry::Cell,
    health::{DiskState, Facts, Work},
    metadata::identity::{Time, Uuid},
    rebuild::{Ending, Pace},
    scrub::{Repair, Report},
};

impl Array {
    /// The same array, with the arrays that it is made of.
    pub(in crate::raid) fn with_legs(mut self, legs: Vec<Arc<Array>>) -> Self {
        self.legs = legs;
        self
    }

    /// The arrays that it is made of; none for an ordinary array.
    pub fn legs(&self) -> &[Arc<Array>] {
        &self.legs
    }

    /// True for its own identity and that of each array that it is made of.
    pub fn has_leg(&self, uuid: Uuid) -> bool {
        self.uuid() == uuid || self.legs.iter().any(|leg| leg.uuid() == uuid)
    }

    /// The legs, each with the number of its first disk.
    pub(in crate::raid) fn numbered_legs(&self) -> impl Iterator<Item = (u16, &Arc<Array>)> {
        self.legs.iter().scan(0_u16, |next, leg| {
            let first = *next;
            *next = first.saturating_add(leg.roster().slots());
            Some((first, leg))
        })
    }

    /// Name of its kind: the level's, or `raid50`.
    pub fn kind_name(&self) -> String {
        match self.legs.first() {
            Some(leg) => format!("{}0", leg.level().name()),
            None => self.level().name().to_owned(),
        }
    }

    /// Does the same to each leg until one is stopped; none for an ordinary array.
    pub(in crate::raid) fn work_on_legs(
        &self,
        mut work: impl FnMut(&Array) -> Result<Ending>,
    ) -> Result<Option<Ending>> {
        for leg in &self.legs {
            if work(leg)? == Ending::Stopped {
                return Ok(Some(Ending::Stopped));
            }
        }
        Ok((!self.legs.is_empty()).then_some(Ending::Complete))
    }

    /// Tells the legs the time; whether all are clean, none for an ordinary array.
    pub(super) fn tick_legs(&self, now: Time) -> Result<Option<bool>> {
        let mut clean = true;
        for leg in &self.legs {
            clean &= leg.tick(now)?;
        }
        Ok((!self.legs.is_empty()).then_some(clean))
    }

    /// Stops the legs, each even where another cannot be; false for an ordinary array.
    pub(super) fn stop_legs(&self, now: Time) -> Result<bool> {
        let mut stopped = Ok(!self.legs.is_empty());
        for leg in &self.legs {
            if let Err(error) = leg.stop(now) {
                stopped = Err(error);
            }
        }
        stopped
    }

    /// The leg of a disk, and its slot there; none for an ordinary array.
    pub(in crate::raid) fn leg_of(&self, disk: Slot) -> Option<(&Arc<Array>, Slot)> {
        let before = self.numbered_legs().take_while(|(first, _)| *first <= disk.0);
        before.last().map(|(first, leg)| (leg, Slot(disk.0 - first)))
    }

    /// The leg that a device is for, and its first disk: the one that it was in, else the first that has a free slot, else
    /// the first.
    pub(in crate::raid) fn leg_for(&self, device_of: Option<Uuid>) -> Option<(u16, &Arc<Array>)> {
        let own = self.numbered_legs().find(|(_, leg)| Some(leg.uuid()) == device_of);
        let lacks = |leg: &Array| leg.status().members.iter().any(|member| member.path.is_none());
        let free = || self.numbered_legs().find(|(_, leg)| lacks(leg));
        own.or_else(free).or_else(|| self.numbered_legs().next())
    }

    /// Verifies the legs, one after the other; disks and places of what is found are those of the whole. None for an
    /// ordinary array.
    pub(in crate::raid) fn verify_legs(&self, repair: Repair, pace: Pace<'_>) -> Result<Option<Report>> {
        let mut whole: Option<Report> = None;
        for (slot, (first, leg)) in (0..).map(Slot).zip(self.numbered_legs()) {
            let mut report = leg.verify(repair, &mut *pace)?;
            for found in &mut report.mismatches {
                found.array_offset_bytes = self.outer_offset(slot, found.array_offset_bytes);
                found.suspects.iter_mut().for_each(|suspect| suspect.slot.0 += first);
            }
            report.unreadable.iter_mut().for_each(|run| run.at.slot.0 += first);
            let stopped = report.ending == Ending::Stopped;
            whole = Some(match whole.take() {
                None => report,
                Some(before) => joined(before, report),
            });
            if stopped {
                break;
            }
        }
        Ok(whole)
    }

    /// Byte of the whole that a byte of a leg is; its first where the byte is none of the data.
    fn outer_offset(&self, slot: Slot, leg_offset_bytes: u64) -> u64 {
        let roster = self.roster();
        let control = self.control();
        let member = roster.seat(slot);
        let device = control
            .devices
            .iter()
            .find(|device| member.is_some_and(|member| member.is(&device.member)));
        let start = device.map_or(0, |device| device.superblock.data_offset.0 * SECTOR_BYTES);
        match roster.geometry().cell(slot, leg_offset_bytes.saturating_sub(start)) {
            Cell::Data { array_offset_bytes, .. } => array_offset_bytes,
            _ => 0,
        }
    }

    /// What is known of the whole: the worst of its legs; `own` is that of the outer array.
    pub(super) fn facts_of_legs(&self, own: Facts) -> Facts {
        self.legs.iter().map(|leg| leg.facts()).fold(own, |whole, leg| Facts {
            readable: whole.readable && leg.readable,
            missing: whole.missing + leg.missing,
            out_of_date: whole.out_of_date + leg.out_of_date,
            rebuilding: whole.rebuilding || leg.rebuilding,
            inconsistent: whole.inconsistent || leg.inconsistent,
            verifying: whole.verifying || leg.verifying,
            initialization: worse(whole.initialization, leg.initialization),
            reshape: worse(whole.reshape, leg.reshape),
        })
    }

    /// State of the disk in each slot of the whole; none for an ordinary array.
    pub(super) fn disk_states_of_legs(&self) -> Option<Vec<(Slot, DiskState)>> {
        let states = self.legs.iter().flat_map(|leg| leg.disk_states());
        let numbered = (0..).map(Slot).zip(states).map(|(slot, (_, state))| (slot, state));
        (!self.legs.is_empty()).then(|| numbered.collect())
    }

    /// State of the whole, with the disks of all legs; `own` is that of the outer array.
    pub(super) fn status_of_legs(&self, own: Status) -> Status {
        if self.legs.is_empty() {
            return own;
        }
        let mut whole = Status {
            members: Vec::new(),
            spares: Vec::new(),
            ..own
        };
        for leg in &self.legs {
            let status = leg.status();
            let first = whole.members.len();
            whole
                .members
                .extend(status.members.into_iter().map(|member| MemberStatus {
                    slot: Slot(u16::try_from(first).unwrap_or(u16::MAX).saturating_add(member.slot.0)),
                    ..member
                }));
            whole.spares.extend(status.spares);
            whole.degraded |= status.degraded;
            whole.dirty |= status.dirty;
            whole.needs_resync |= status.needs_resync;
            whole.events = whole.events.max(status.events);
        }
        whole
    }
}

/// Of two pieces of work the one that is less done.
fn worse(one: Work, other: Work) -> Work {
    match (one, other) {
        (Work::Running, _) | (_, Work::Running) => Work::Running,
        (Work::Stopped, _) | (_, Work::Stopped) => Work::Stopped,
        (Work::None, Work::None) => Work::None,
    }
}

/// Two reports as one.
fn joined(mut before: Report, after: Report) -> Report {
    before.ending = after.ending;
    before.compared_bytes += after.compared_bytes;
    before.unsynced_bytes += after.unsynced_bytes;
    before.mismatched_bytes += after.mismatched_bytes;
    before.unrepaired_bytes += after.unrepaired_bytes;
    before.unreadable_bytes += after.unreadable_bytes;
    before.mismatches.extend(after.mismatches);
    before.unreadable.extend(after.unreadable);
    before
}
