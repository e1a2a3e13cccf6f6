//! Making redundancy whole again: a *resync* after a crash or for a new array, a *rebuild* of a member that is new.
//!
//! Both go in steps that hold the lanes of what they change, so that the array is in use meanwhile, and both report after
//! each step, which is where the caller may pause or stop them. What a rebuild has done is noted on the member with each
//! checkpoint, and only after it was made durable.

use std::{io, ops::ControlFlow, sync::Arc, time::Duration};

use super::{
    SECTOR_BYTES, Sector, Slot,
    array::{Array, Failures, Roster, SLAB_BYTES, Slab, Source, put_on, trusted},
    error::{Error, Result},
    geometry::{Cell, Geometry},
    member::{Member, WHOLE},
    metadata::superblock::MAX_SECTOR,
};

/// Bytes of a member between two checkpoints.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Most bytes of a copy that are made at once.
const STEP_BYTES: u64 = 128 * 1024;

/// How far the work is, in bytes of a member (of the array for a resync of copies).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Done or found to need nothing.
    pub done_bytes: u64,
    /// All.
    pub whole_bytes: u64,
}

/// Told after each step; breaks to stop the work, which can be gone on with later.
pub type Pace<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// How long to pause after a step that took `step`, to take `share` percent (1 to 100) of the time.
pub fn pause_after(step: Duration, share: u8) -> Duration {
    let share = u32::from(share.clamp(1, 100));
    step * (100 - share) / share
}

/// How members are to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuild {
    /// Stop where the others cannot give the bytes, instead of noting that they are lost.
    pub stop_at_unreadable: bool,
    /// Fill all of the member: also where it missed nothing, and where nothing was ever written.
    pub full: bool,
}

/// A member that is being filled.
struct Filling<'a> {
    slot: Slot,
    member: &'a Arc<Member>,
    whole_bytes: u64,
    how: Rebuild,
}

impl Filling<'_> {
    /// True where the member may lack what stands in a range of the bitmap.
    fn is_wanted(&self, roster: &Roster, offset_bytes: u64, length_bytes: u64) -> bool {
        self.how.full || !self.member.is_delta() || roster.intent().is_set(offset_bytes, length_bytes)
    }
}

/// How the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There is nothing left to do.
    Complete,
    /// The caller stopped it.
    Stopped,
}

impl Array {
    /// Makes redundancy right wherever it may not be.
    ///
    /// # Errors
    /// [`Error::Unreadable`] where a member that is needed cannot be read, [`Error::FlushLost`], [`Error::WrongState`]
    /// where a resync is under way already.
    pub fn resync(&self, pace: Pace<'_>) -> Result<Ending> {
        if let Some(ending) = self.work_on_legs(|leg| leg.resync(&mut *pace))? {
            return Ok(ending);
        }
        let _running = self
            .activity()
            .resyncing()
            .ok_or_else(|| self.busy("it is being resynced already"))?;
        self.check_enabled(0)?;
        let whole_bytes = synced_bytes(&self.geometry());
        let mut position = 0;
        while let Some((start, end)) = self
            .intent()
            .next_unsynced(position)
            .filter(|(start, _)| *start < whole_bytes)
        {
            let end = end.min(whole_bytes);
            position = start;
            let mut noted = start;
            while position < end {
                position += self.resync_step(position, end)?;
                let done_bytes = position;
                let stopped = pace(Progress {
                    done_bytes,
                    whole_bytes,
                })
                .is_break();
                if stopped || position >= end || position - noted >= CHECKPOINT_BYTES {
                    self.note_resync(start, position, whole_bytes)?;
                    noted = position;
                }
                if stopped {
                    return Ok(Ending::Stopped);
                }
            }
        }
        self.control().synced_to = MAX_SECTOR;
        Ok(Ending::Complete)
    }

    /// Notes what a resync has done, once that is durable; a clean stop tells the superblocks.
    fn note_resync(&self, start: u64, position: u64, whole_bytes: u64) -> Result<()> {
        self.flush()?;
        self.intent().mark_synced(start, position, whole_bytes);
        let left = self.intent().next_unsynced(0).map(|(start, _)| start);
        let left = left.filter(|start| *start < whole_bytes);
        self.control().synced_to = left.map_or(MAX_SECTOR, |start| Sector(start / SECTOR_BYTES));
        Ok(())
    }

    fn busy(&self, reason: &'static str) -> Error {
        Error::WrongState {
            array: self.name().to_owned(),
            reason,
        }
    }

    /// Resyncs what begins at a position and returns its length.
    fn resync_step(&self, position: u64, end: u64) -> Result<u64> {
        let mut failures = Failures::default();
        let result = {
            let _inside = self.enter();
            self.mark_dirty(&mut failures)?;
            let roster = self.roster();
            if self.level().parities() > 0 {
                self.resync_stripe(&roster, position, &mut failures)
            } else {
                self.resync_copies(&roster, position, end, &mut failures)
            }
        };
        if failures.lacks_space() {
            return result.and(Err(self.not_written(position, failures.into_error())));
        }
        if !failures.is_empty() {
            self.expel(&failures);
        }
        result
    }

    fn resync_stripe(&self, roster: &Roster, position: u64, failures: &mut Failures) -> Result<u64> {
        let chunk = self.geometry().chunk_bytes();
        let Some(stripe) = self.geometry().stripe(position / chunk) else {
            return Ok(chunk);
        };
        let _held = self.hold_stripe(&stripe, 0, chunk);
        for column in (0..chunk).step_by(usize::try_from(SLAB_BYTES).unwrap_or(usize::MAX)) {
            let length = (chunk - column).min(SLAB_BYTES);
            let slab = Slab::unwritten(stripe, column, length);
            let rows = self.recovered_rows(roster, &slab, Vec::new(), None)?;
            self.put_parity(roster, &slab, &rows, failures);
        }
        Ok((stripe.number + 1) * chunk - position)
    }

    fn resync_copies(&self, roster: &Roster, position: u64, end: u64, failures: &mut Failures) -> Result<u64> {
        let Some(piece) = roster.geometry().map(position, (end - position).min(STEP_BYTES)).next() else {
            return Ok(end - position);
        };
        let _held = self.hold_range(piece.array_offset_bytes, piece.length_bytes);
        let mut bytes = buffer(piece.length_bytes);
        let mut other = buffer(piece.length_bytes);
        let mut good: Option<Slot> = None;
        let mut last = None;
        let mut bad = Vec::new();
        for (slot, at) in piece.copies() {
            let Some(member) = roster.holder(slot, at, piece.length_bytes) else {
                continue;
            };
            let into = if good.is_none() { &mut bytes } else { &mut other };
            match member.read(into, at) {
                Ok(()) if good.is_none() => good = Some(slot),
                Ok(()) if other != bytes => bad.push((member, at)),
                Ok(()) => {}
                Err(error) => {
                    member.count_read_error();
                    last = Some(error);
                    bad.push((member, at));
                }
            }
        }
        if good.is_none() {
            return Err(self.unreadable(position, last));
        }
        for (member, at) in bad {
            failures.note(member, member.write(&bytes, at));
        }
        Ok(piece.length_bytes)
    }

    /// Fills members that are new, one after the other; returns where there is none left. What the others cannot give is
    /// noted as lost, in md's bad-block logs, and the rebuild goes on.
    ///
    /// # Errors
    /// As [`Array::rebuild_as`].
    pub fn rebuild(&self, pace: Pace<'_>) -> Result<Ending> {
        self.rebuild_as(Rebuild::default(), pace)
    }

    /// Fills members that are new, one after the other; returns where there is none left.
    ///
    /// # Errors
    /// [`Error::Unreadable`] where bytes cannot be had from the others and it is to stop then, or a log is full: the
    /// rebuild can be tried again. [`Error::NotWritten`] where the new member failed and was expelled,
    /// [`Error::WrongState`] where a rebuild is under way already.
    pub fn rebuild_as(&self, how: Rebuild, pace: Pace<'_>) -> Result<Ending> {
        if let Some(ending) = self.work_on_legs(|leg| leg.rebuild_as(how, &mut *pace))? {
            return Ok(ending);
        }
        let _running = self
            .activity()
            .rebuilding()
            .ok_or_else(|| self.busy("it is being rebuilt already"))?;
        self.check_enabled(0)?;
        loop {
            let roster = self.roster();
            let Some((slot, member)) = roster.members().find(|(_, member)| member.recovered() != WHOLE) else {
                return Ok(Ending::Complete);
            };
            let filling = Filling {
                slot,
                member,
                whole_bytes: roster.geometry().used_bytes(slot),
                how,
            };
            let ending = self.fill(&filling, pace).inspect_err(|_| self.look_for_members())?;
            if ending == Ending::Stopped {
                self.checkpoint(member)?;
                return Ok(Ending::Stopped);
            }
        }
    }

    fn fill(&self, filling: &Filling<'_>, pace: Pace<'_>) -> Result<Ending> {
        let (member, whole_bytes) = (filling.member, filling.whole_bytes);
        let mut noted = member.recovered();
        loop {
            let position = member.recovered();
            if position >= whole_bytes {
                break;
            }
            let mut failures = Failures::default();
            let step = {
                let _inside = self.enter();
                let roster = self.roster();
                if !roster.has(member) {
                    return Err(self.not_written(position, io::Error::other("the member was taken out")));
                }
                self.fill_step(&roster, filling, position, &mut failures)
            };
            if !failures.is_empty() {
                self.expel(&failures);
                return Err(self.not_written(position, failures.into_error()));
            }
            let done_bytes = position + step?;
            if self.activity().take_flaws_noted() || done_bytes - noted >= CHECKPOINT_BYTES {
                self.checkpoint(member)?;
                noted = done_bytes;
            }
            if pace(Progress {
                done_bytes,
                whole_bytes,
            })
            .is_break()
            {
                return Ok(Ending::Stopped);
            }
        }
        self.complete(member)?;
        Ok(Ending::Complete)
    }

    /// Makes again what the member has at a position, and returns its length.
    fn fill_step(&self, roster: &Roster, filling: &Filling<'_>, position: u64, failures: &mut Failures) -> Result<u64> {
        if roster.geometry().stripes() > 0 {
            return self.fill_chunk(roster, filling, position, failures);
        }
        let (member, whole_bytes) = (filling.member, filling.whole_bytes);
        let (start, run) = match roster.geometry().cell(filling.slot, position) {
            Cell::Data {
                array_offset_bytes,
                run_bytes,
            } => (array_offset_bytes, run_bytes),
            // What stands here belongs to nothing.
            _ => {
                let unit = roster.geometry().chunk_bytes().max(SECTOR_BYTES);
                member.set_recovered((position - position % unit + unit).min(whole_bytes));
                return Ok(member.recovered() - position);
            }
        };
        let length = run.min(STEP_BYTES).min(whole_bytes - position);
        let _held = self.hold_range(start, length);
        if filling.is_wanted(roster, start, length) {
            self.fill_copy(roster, filling, start, (position, length), failures)?;
        }
        member.set_recovered(position + length);
        Ok(length)
    }

    /// Makes a run of a copy again; its lanes are held.
    fn fill_copy(
        &self,
        roster: &Roster,
        filling: &Filling<'_>,
        start: u64,
        (position, length): (u64, u64),
        failures: &mut Failures,
    ) -> Result<()> {
        let member = filling.member;
        let piece = roster.geometry().map(start, length).next();
        let mut sources = piece.iter().flat_map(|piece| piece.copies());
        let hole = |(slot, at): (Slot, u64)| Some(roster.holder(slot, at, length)?.is_hole(at, length));
        if !filling.how.full && sources.find_map(hole) == Some(true) {
            failures.note(member, put_on(member, Source::Hole(length), position));
            return Ok(());
        }
        let mut bytes = buffer(length);
        match self.read_copy(roster, start, &mut bytes) {
            Ok(()) => failures.note(member, member.write(&bytes, position)),
            Err(Error::Unreadable { .. }) if !filling.how.stop_at_unreadable => {
                self.salvage_copy(roster, member, start, (position, length), failures)?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads a run of the array from the first copy that can be read; its lanes are held.
    pub(in crate::raid) fn read_copy(&self, roster: &Roster, start: u64, bytes: &mut [u8]) -> Result<()> {
        let length = bytes.len() as u64;
        let mut last = None;
        for piece in roster.geometry().map(start, length).take(1) {
            for (slot, at) in piece.copies() {
                let Some(member) = roster.holder(slot, at, length) else {
                    continue;
                };
                match member.read(bytes, at) {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        member.count_read_error();
                        last = Some(error);
                    }
                }
            }
        }
        Err(self.unreadable(start, last))
    }

    /// Makes the member's chunk of a stripe again.
    fn fill_chunk(
        &self,
        roster: &Roster,
        filling: &Filling<'_>,
        position: u64,
        failures: &mut Failures,
    ) -> Result<u64> {
        let chunk = roster.geometry().chunk_bytes();
        let member = filling.member;
        let Some(stripe) = roster.geometry().stripe(position / chunk) else {
            member.set_recovered(position + chunk);
            return Ok(chunk);
        };
        let _held = self.hold_stripe(&stripe, 0, chunk);
        let at = stripe.member_offset_bytes;
        let all = || stripe.data().chain([stripe.p]).chain(stripe.q);
        let mut others = all().filter_map(|slot| trusted(roster, slot, at, chunk));
        // Zeros everywhere are zeros here too, for P and Q alike.
        if !filling.is_wanted(roster, at, chunk) {
        } else if !filling.how.full && others.all(|other| other.is_hole(at, chunk)) {
            failures.note(member, put_on(member, Source::Hole(chunk), at));
        } else {
            for column in (0..chunk).step_by(usize::try_from(SLAB_BYTES).unwrap_or(usize::MAX)) {
                let length = (chunk - column).min(SLAB_BYTES);
                let slab = Slab::unwritten(stripe, column, length);
                match self.recovered_rows(roster, &slab, Vec::new(), None) {
                    Ok(rows) => failures.note(member, member.write(&rows.row_of(filling.slot), slab.at())),
                    Err(Error::Unreadable { .. }) if !filling.how.stop_at_unreadable => {
                        self.salvage_row(roster, &slab, filling.slot, member, failures)?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        member.set_recovered(at + chunk);
        Ok(chunk)
    }

    /// Notes on the member how far it is, once that is durable.
    fn checkpoint(&self, member: &Arc<Member>) -> Result<()> {
        let position = member.recovered();
        self.flush()?;
        member.set_checkpoint(position);
        self.commit_all()
    }

    /// Ends the rebuild of a member.
    fn complete(&self, member: &Arc<Member>) -> Result<()> {
        self.flush()?;
        if !self.roster().has(member) {
            return Err(self.not_written(0, io::Error::other("the member failed when it was flushed")));
        }
        member.set_recovered(WHOLE);
        member.set_checkpoint(WHOLE);
        member.set_delta(false);
        self.commit_all()?;
        self.rest_journal()
    }
}

/// Bytes that a resync covers: of a member where there is parity, of the array else.
pub(in crate::raid) fn synced_bytes(geometry: &Geometry) -> u64 {
    if geometry.level().parities() > 0 {
        geometry.used_bytes(Slot(0))
    } else {
        geometry.capacity_bytes()
    }
}

fn buffer(length: u64) -> Vec<u8> {
    vec![0; usize::try_from(length).unwrap_or(0)]
}
