//! The state of an array and of its disks in the controller guide's words, made of what the array knows of itself.
//!
//! An array whose members fail until there are too few is *disabled*: from then on nothing at all is written to any
//! member, so that disks that are put back make the array again that it was. That it is disabled is found out by asking
//! each member for its superblock after something could not be done; it stays so until the array is assembled again.

use std::sync::atomic::Ordering;

use super::{Array, Roster};
use crate::raid::{
    SECTOR_BYTES, Slot,
    error::{Error, Result},
    health::{Action, ArrayState, DiskState, Facts, SlotState, Work},
    member::{Member, WHOLE},
    rebuild::synced_bytes,
};

#[cfg(test)]
mod tests;

impl Array {
    /// What is known of the array now.
    pub fn facts(&self) -> Facts {
        self.facts_of_legs(self.own_facts())
    }

    /// What is known of the array without its legs.
    fn own_facts(&self) -> Facts {
        let roster = self.roster();
        let geometry = roster.geometry();
        let seats = || (0..roster.slots()).map(|slot| roster.occupant(Slot(slot)));
        let missing = seats().filter(Option::is_none).count();
        let out_of_date = seats().flatten().filter(|member| member.recovered() != WHOLE).count();
        // Who comes while the array moves is filled after that.
        let waiting = match roster.moving() {
            Some(_) if missing > 0 => self.spares(&roster).min(missing),
            _ => 0,
        };
        let (missing, out_of_date) = (missing - waiting, out_of_date + waiting);
        let whole_bytes = synced_bytes(geometry);
        let unsynced = roster
            .intent()
            .next_unsynced(0)
            .filter(|(start, _)| *start < whole_bytes);
        // What was never in sync reaches to the end; what a crash left behind is a region here and there.
        let initial = self.has_blank() || unsynced.is_some_and(|(_, end)| end >= whole_bytes);
        let resyncing = self.activity.is_resyncing();
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        Facts {
            readable: !self.is_disabled() && roster.is_readable(),
            missing: count(missing),
            out_of_date: count(out_of_date),
            rebuilding: self.activity.is_rebuilding() && out_of_date > 0 || resyncing && unsynced.is_some() && !initial,
            inconsistent: self.journal.is_inconsistent()
                || roster.members().any(|(_, member)| member.has_flaws())
                || unsynced.is_some() && !initial,
            verifying: self.activity.is_verifying(),
            initialization: match (initial, resyncing) {
                (false, _) => Work::None,
                (true, true) => Work::Running,
                (true, false) => Work::Stopped,
            },
            reshape: match (roster.moving(), self.reshape_runs().load(Ordering::Acquire)) {
                (None, _) => Work::None,
                (Some(_), true) => Work::Running,
                (Some(_), false) => Work::Stopped,
            },
        }
    }

    /// Devices that wait for a slot.
    fn spares(&self, roster: &Roster) -> usize {
        let control = self.control();
        let waits = |device: &&super::Device| !roster.has(&device.member);
        control.devices.iter().filter(waits).count()
    }

    /// The state of the array now.
    pub fn state(&self) -> ArrayState {
        ArrayState::of(self.facts())
    }

    /// What may be asked of the array now.
    pub fn actions(&self) -> &'static [Action] {
        self.state().actions()
    }

    /// Looks whether something may be asked of the array now.
    ///
    /// # Errors
    /// [`Error::WrongState`] where it may not.
    pub fn check_allows(&self, action: Action) -> Result<()> {
        let state = self.state();
        if state.allows(action) {
            return Ok(());
        }
        Err(Error::WrongState {
            array: self.name().to_owned(),
            reason: state.explanation(),
        })
    }

    /// State of the disk in each slot.
    pub fn disk_states(&self) -> Vec<(Slot, DiskState)> {
        if let Some(states) = self.disk_states_of_legs() {
            return states;
        }
        let (roster, facts) = (self.roster(), self.facts());
        let state = ArrayState::of(facts);
        let of = |slot| {
            let filled = match roster.occupant(slot) {
                None => SlotState::Missing,
                Some(member) if member.recovered() == WHOLE => SlotState::InSync,
                Some(_) if self.activity.is_rebuilding() => SlotState::Rebuilding,
                Some(_) => SlotState::OutOfDate,
            };
            (slot, DiskState::of_member(state, filled))
        };
        (0..roster.slots()).map(Slot).map(of).collect()
    }

    /// True where too few members are left.
    pub(in crate::raid) fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Acquire)
    }

    /// Finds out, after something could not be done or a disk went, whether too few members are left; then the array is
    /// disabled.
    pub fn look_for_members(&self) {
        self.legs().iter().for_each(|leg| leg.look_for_members());
        if self.is_disabled() {
            return;
        }
        let roster = self.roster();
        let places: Vec<_> = {
            let control = self.control();
            let place =
                |device: &super::Device| (device.member.clone(), device.superblock.super_offset.0 * SECTOR_BYTES);
            control.devices.iter().map(place).collect()
        };
        let answers = |member: &Member| {
            let place = places.iter().find(|(known, _)| known.is(member));
            place.is_some_and(|(_, place)| member.read_raw(&mut [0; 512], *place).is_ok())
        };
        let sides = [Some(&*roster), roster.moving().map(|moving| &moving.new)];
        let lacks = |side: &Roster| {
            let mut missing = side.missing();
            let silent = side.members().filter(|(_, member)| !answers(member));
            missing.extend(silent.map(|(slot, _)| slot));
            missing.sort_unstable();
            missing.dedup();
            !side.geometry().can_read(&missing)
        };
        if sides.into_iter().flatten().any(lacks) {
            log::error!(
                "array {}: too few members are left, nothing is written any more",
                self.name()
            );
            self.disabled.store(true, Ordering::Release);
        }
    }

    /// Refuses what needs members that are not there.
    pub(in crate::raid) fn check_enabled(&self, offset_bytes: u64) -> Result<()> {
        if self.is_disabled() {
            return Err(self.unreadable(offset_bytes, None));
        }
        Ok(())
    }
}
