//! Moving an array on, step by step, each of which ends with a checkpoint in the superblocks.
//!
//! A step holds the crossing of what it moves, reads it from the old side, writes it to the new one, makes that durable
//! and notes the new position on all members; only then may anybody use what was moved. It never goes further than
//! [`ReshapeView::safe_position_bytes`]: no row that the old side still needs is overwritten before its data have a
//! durable position past it. So a crash at any point finds the array whole at the position that the superblocks name.

use std::{
    ops::ControlFlow,
    sync::{Arc, RwLockReadGuard, RwLockWriteGuard, atomic::Ordering},
};

use super::stored;
use crate::raid::{
    Level, SECTOR_BYTES, Sector,
    array::{Array, Device, Failures, Intent, Moving, Roster, Source, write_pages},
    error::{Error, Result},
    geometry::{Direction, Geometry, ReshapeView},
    member::WHOLE,
    metadata::superblock::{Features, MAX_SECTOR, ReshapeFields, Role},
    rebuild::{Ending, Pace, Progress, synced_bytes},
};

/// Most bytes of the array between two checkpoints, for which writes there have to wait.
const STEP_BYTES: u64 = 8 << 20;
/// Bytes moved at once.
const COPY_BYTES: u64 = 1 << 20;

/// What keeps members from changing during a step.
enum Gate<'a> {
    /// Writes elsewhere go on.
    Shared {
        /// Held.
        _guard: RwLockReadGuard<'a, ()>,
    },
    /// All writes wait, because the journal has to forget what it knows of the old places.
    Alone {
        /// Held.
        _guard: RwLockWriteGuard<'a, ()>,
    },
}

impl Array {
    /// Moves a reshape on to its end, or until the caller stops it; where none is under way there is nothing to do. It
    /// goes on from where it was stopped, by whomever.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and [`Error::NotWritten`] where members fail that the array needs, [`Error::FlushLost`],
    /// [`Error::WrongState`] where it is being moved already or has no room to go on. The array stays in use.
    pub fn reshape(&self, pace: Pace<'_>) -> Result<Ending> {
        if !self.legs().is_empty() {
            return self.reshape_legs(pace);
        }
        if self.roster().moving().is_none() {
            return Ok(Ending::Complete);
        }
        self.check_writable()?;
        let Some(_turn) = self.try_reshaping() else {
            return Err(self.wrong_state("a reshape is under way already"));
        };
        self.reshape_runs().store(true, Ordering::Release);
        let ending = self.move_on(pace);
        self.reshape_runs().store(false, Ordering::Release);
        ending
    }

    fn move_on(&self, pace: Pace<'_>) -> Result<Ending> {
        loop {
            let roster = self.roster();
            let Some(moving) = roster.moving() else {
                return Ok(Ending::Complete);
            };
            let Some(next) = next_position(&moving.view) else {
                self.finish()?;
                return Ok(Ending::Complete);
            };
            if next == moving.view.position_bytes() {
                return Err(self.wrong_state("there is no room before its data to move them safely"));
            }
            self.advance(next)?;
            let whole_bytes = whole_bytes(&moving.view);
            let done_bytes = match moving.view.direction() {
                Direction::Forward => next,
                Direction::Backward => whole_bytes.saturating_sub(next),
            };
            let progress = Progress {
                done_bytes,
                whole_bytes,
            };
            if pace(progress) == ControlFlow::Break(()) {
                return Ok(Ending::Stopped);
            }
        }
    }

    /// Moves the position; members that fail are expelled, and the step is done again without them.
    fn advance(&self, next: u64) -> Result<()> {
        loop {
            let mut failures = Failures::default();
            let moved = self.try_advance(next, &mut failures);
            if failures.is_empty() {
                return moved.map(|_| ());
            }
            if !self.expel(&failures) {
                moved?;
                return Err(self.not_written(next, failures.into_error()));
            }
            if matches!(moved, Ok(true)) {
                return Ok(());
            }
        }
    }

    /// One step. False where members failed before the position was noted.
    fn try_advance(&self, next: u64, failures: &mut Failures) -> Result<bool> {
        let _gate = self.gate_of_step();
        let before = self.roster();
        let Some(moving) = before.moving() else {
            return Ok(true);
        };
        let position = moving.view.position_bytes();
        let (start, end) = (position.min(next), position.max(next));
        let _crossing = self.hold_crossing(start, end - start);
        self.copy(&before, &moving.new, start, end, failures)?;
        if !failures.is_empty() {
            return Ok(false);
        }
        *failures = self.flush_members()?;
        if !failures.is_empty() {
            return Ok(false);
        }
        let mut control = self.control();
        if self.journal().is_active() {
            let members = before.members().map(|(_, member)| member);
            let begun = self.journal().activate(members);
            begun.map_err(|error| self.not_written(start, error))?;
        }
        let mut view = moving.view.clone();
        view.advance(next);
        for device in &mut control.devices {
            note_position(device, &view);
        }
        let failed = control.commit(before.intent().lock().as_mut(), before.is_degraded());
        if failed.len() == control.devices.len() {
            // What the superblocks say is not known: no write may go to either side any more.
            return Err(self.lose_all(failed.into_iter().next().map(|(_, error)| error)));
        }
        for (member, error) in failed {
            failures.push(&member, error);
        }
        let new = moving.new.clone();
        self.replace_roster(before.with_moving(Some(Moving { view, new })));
        Ok(true)
    }

    /// Lets nobody change members, nor write at all where there is a journal.
    fn gate_of_step(&self) -> Gate<'_> {
        {
            let _guard = self.enter();
            if !self.journal().is_active() {
                return Gate::Shared { _guard };
            }
        }
        Gate::Alone { _guard: self.exclude() }
    }

    /// Writes a range of the array to the new side: what the old side has, and zeros behind its end.
    fn copy(&self, old: &Roster, new: &Roster, start: u64, end: u64, failures: &mut Failures) -> Result<()> {
        let old_end = old.geometry().capacity_bytes();
        let unit = new.geometry().unit_bytes();
        let step = COPY_BYTES.next_multiple_of(unit);
        let mut at = start;
        while at < end {
            let length = step.min(end - at);
            if at >= old_end {
                self.put_on_side(new, Source::Hole(length), at, failures)?;
            } else {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                let there = usize::try_from(length.min(old_end - at)).unwrap_or(0);
                self.read_pieces(old, &mut bytes[..there], at, failures)?;
                self.put_on_side(new, Source::Bytes(&bytes), at, failures)?;
            }
            at += length;
        }
        Ok(())
    }

    /// Ends a reshape of which nothing is left to move: the new side is the array.
    fn finish(&self) -> Result<()> {
        let mut failures = Failures::default();
        loop {
            let done = self.try_finish(&mut failures)?;
            if !failures.is_empty() {
                let failed = std::mem::take(&mut failures);
                if !self.expel(&failed) {
                    return Err(self.not_written(0, failed.into_error()));
                }
            }
            if done {
                return self.rest_journal();
            }
        }
    }

    fn try_finish(&self, failures: &mut Failures) -> Result<bool> {
        let _gate = self.exclude();
        let before = self.roster();
        let Some(moving) = before.moving() else {
            return Ok(true);
        };
        *failures = self.flush_members()?;
        if !failures.is_empty() {
            return Ok(false);
        }
        let mut control = self.control();
        let done = tracked(&moving.new);
        let geometry = done.geometry();
        let pages = done.intent().pages();
        for (_, member) in done.members().filter(|_| !Arc::ptr_eq(done.intent(), before.intent())) {
            failures.note(member, write_pages(member, &pages));
        }
        if !failures.is_empty() {
            return Ok(false);
        }
        for device in &mut control.devices {
            settle(device, &done);
        }
        for role in &mut control.roles {
            if matches!(role, Role::Active(slot) if slot.0 >= geometry.slots()) {
                *role = Role::Spare;
            }
        }
        // A member that a crash keeps from being told is two events behind, and nobody takes it with its data in the wrong
        // place: md leaves it out, and here it is known what it missed.
        control.events += 1;
        // What the bitmap says of members that are away is of the old shape: none of them returns by it.
        let failed = control.commit(done.intent().lock().as_mut(), false);
        if failed.len() == control.devices.len() {
            return Err(self.lose_all(failed.into_iter().next().map(|(_, error)| error)));
        }
        for (member, error) in failed {
            failures.push(&member, error);
        }
        control.set_writes(!geometry.level().is_bare());
        let size = geometry.capacity_bytes();
        self.replace_roster(done);
        self.set_size(size);
        Ok(true)
    }

    /// Refuses every write from now on.
    pub(in crate::raid) fn lose_all(&self, error: Option<std::io::Error>) -> Error {
        self.lose();
        self.flush_lost(error)
    }

    pub(in crate::raid) fn wrong_state(&self, reason: &'static str) -> Error {
        Error::WrongState {
            array: self.name().to_owned(),
            reason,
        }
    }
}

/// Array bytes that a reshape goes over.
pub(in crate::raid) fn whole_bytes(view: &ReshapeView) -> u64 {
    match view.direction() {
        Direction::Forward => view.new_geometry().capacity_bytes(),
        Direction::Backward => view.capacity_bytes(),
    }
}

/// Array bytes that md wants a position to be a multiple of: a stripe of the new geometry with the larger of both chunks.
pub(super) fn position_unit(old: &Geometry, new: &Geometry) -> u64 {
    let chunk = old.chunk_bytes().max(new.chunk_bytes());
    new.unit_bytes() * (chunk / new.chunk_bytes().max(1)).max(1)
}

/// Where the next step ends; the position itself where no step is safe, none where all is moved.
fn next_position(view: &ReshapeView) -> Option<u64> {
    let position = view.position_bytes();
    let unit = position_unit(view.old(), view.new_geometry());
    let most = STEP_BYTES.next_multiple_of(unit);
    match view.direction() {
        Direction::Forward => {
            let goal = whole_bytes(view);
            let safe = view.safe_position_bytes().min(position + most).min(goal);
            let safe = if safe < goal { safe - safe % unit } else { goal };
            (position < goal).then_some(safe.max(position))
        }
        Direction::Backward => {
            let safe = view.safe_position_bytes().max(position.saturating_sub(most));
            (position > 0).then_some(safe.next_multiple_of(unit).min(position))
        }
    }
}

/// The new side with a bitmap that covers all of it.
fn tracked(new: &Roster) -> Roster {
    let whole_bytes = synced_bytes(new.geometry());
    let before = new.intent();
    let bitmap = before
        .lock()
        .as_ref()
        .map(|bitmap| bitmap.resized(Sector(whole_bytes / SECTOR_BYTES)));
    if before.covers(whole_bytes) {
        return new.clone();
    }
    let unsynced = before.next_unsynced(0).map(|_| 0);
    new.tracked(Intent::new(bitmap, unsynced, whole_bytes))
}

/// Says in a member's superblock where the position is.
pub(super) fn note_position(device: &mut Device, view: &ReshapeView) {
    device.superblock.reshape.position = view.position_bytes() / SECTOR_BYTES;
    // A member that md takes for one that is being filled has all that the new side needs.
    if device.member.checkpoint() != WHOLE {
        let new = view.new_geometry();
        let rows = view.position_bytes() / new.unit_bytes() * new.chunk_bytes();
        device.member.set_checkpoint(rows);
    }
}

/// Makes the superblock of a member say that it has the new geometry and no other.
fn settle(device: &mut Device, done: &Roster) {
    let geometry = done.geometry();
    let superblock = &mut device.superblock;
    let moved = superblock
        .data_offset
        .checked_offset(i64::from(stored::shift(superblock)));
    superblock.data_offset = moved.unwrap_or(superblock.data_offset);
    let over = [
        Features::RESHAPE,
        Features::RESHAPE_BACKWARDS,
        Features::NEW_OFFSET,
        Features::RAID0_LAYOUT,
    ];
    for feature in over {
        superblock.features = superblock.features.with(feature, false);
    }
    superblock.reshape = ReshapeFields {
        position: MAX_SECTOR.0,
        ..ReshapeFields::default()
    };
    superblock.level = geometry.level();
    superblock.layout = geometry.layout();
    superblock.chunk = u32::try_from(geometry.chunk_bytes() / SECTOR_BYTES).unwrap_or(0);
    superblock.slots = u32::from(geometry.slots());
    if geometry.level() == Level::Raid0 {
        superblock.data_size = superblock.size;
        superblock.size = Sector(0);
        superblock.layout = 0;
    }
    let seat = done.members().find(|(_, member)| member.is(&device.member));
    let start = superblock.data_offset.0 * SECTOR_BYTES;
    device.member = match seat {
        Some((_, member)) => Arc::clone(member),
        None => Arc::new(device.member.moved(start, superblock.data_size.0 * SECTOR_BYTES)),
    };
}
