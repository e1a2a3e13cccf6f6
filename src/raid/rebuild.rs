//! Making redundancy whole again: a *resync* after a crash or for a new array, a *rebuild* of a member that is new.
//!
//! Both go in steps that hold the lanes of what they change, so that the array is in use meanwhile, and both report after
//! each step, which is where the caller may pause or stop them. A step is a batch of runs, which several threads read, make
//! and write. What a rebuild has done is noted on the member with each checkpoint, and only after it was made durable.

mod resync;

use std::{
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    SECTOR_BYTES, Slot,
    array::{Array, Failures, Held, Parities, Roster, SLAB_BYTES, Slab, Source, crew, put_on, trusted},
    buffer::Buffer,
    error::{Error, Result},
    geometry::{Cell, Geometry},
    member::{Member, WHOLE},
};

pub(in crate::raid) use resync::synced_bytes;

/// Bytes of a member between two checkpoints.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Most bytes of a member (of the array for a resync of copies) in a step, where a stripe is not more.
const BATCH_BYTES: u64 = 4 << 20;

/// Bytes of the array over which the copies of a step may be strewn.
const SPREAD_BYTES: u64 = 4 * BATCH_BYTES;

/// Most bytes of a copy that are made at once.
const RUN_BYTES: u64 = 128 * 1024;

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
    fn busy(&self, reason: &'static str) -> Error {
        Error::WrongState {
            array: self.name().to_owned(),
            reason,
        }
    }

    /// Waits for the lanes of slabs that follow one another, and says where on the members they end.
    fn hold_slabs(&self, slabs: &[Slab<'_>]) -> Option<(Held<'_>, u64)> {
        let (first, last) = (&slabs.first()?.stripe, &slabs.last()?.stripe);
        let (count, chunk) = (last.number - first.number + 1, first.chunk_bytes());
        Some((
            self.hold_stripes(first, count, 0, chunk),
            last.member_offset_bytes + chunk,
        ))
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
            self.commit_flaws()?;
            if done_bytes - noted >= CHECKPOINT_BYTES {
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

    /// Makes again what the member has from a position on, and returns its length.
    fn fill_step(&self, roster: &Roster, filling: &Filling<'_>, position: u64, failures: &mut Failures) -> Result<u64> {
        if roster.geometry().stripes() > 0 {
            return self.fill_stripes(roster, filling, position, failures);
        }
        let (member, whole_bytes) = (filling.member, filling.whole_bytes);
        let runs = copies(roster.geometry(), filling, position);
        let starts = runs.iter().map(|run| run.start).min();
        let ends = runs.iter().map(|run| run.start + run.length).max();
        let Some((start, end)) = starts.zip(ends) else {
            // What stands here belongs to nothing.
            let unit = roster.geometry().chunk_bytes().max(SECTOR_BYTES);
            member.set_recovered((position - position % unit + unit).min(whole_bytes));
            return Ok(member.recovered() - position);
        };
        let _held = self.hold_range(start, end - start);
        each(&runs, failures, |run, failures| {
            if filling.is_wanted(roster, run.start, run.length) {
                self.fill_copy(roster, filling, run.start, (run.position, run.length), failures)?;
            }
            Ok(())
        })?;
        let done: u64 = runs.iter().map(|run| run.length).sum();
        member.set_recovered(position + done);
        Ok(done)
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
        // Of what is blank others may hold anything yet.
        if self.is_all_blank(start, length) || !filling.how.full && sources.find_map(hole) == Some(true) {
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

    /// Makes the member's chunks of stripes again.
    fn fill_stripes(
        &self,
        roster: &Roster,
        filling: &Filling<'_>,
        position: u64,
        failures: &mut Failures,
    ) -> Result<u64> {
        let slabs = slabs(roster.geometry(), position, filling.whole_bytes);
        let Some((_held, done)) = self.hold_slabs(&slabs) else {
            let chunk = roster.geometry().chunk_bytes();
            filling.member.set_recovered(position + chunk);
            return Ok(chunk);
        };
        each(&slabs, failures, |slab, failures| {
            self.fill_slab(roster, filling, slab, failures)
        })?;
        filling.member.set_recovered(done);
        Ok(done - position)
    }

    /// Makes the member's columns of a stripe again; their lanes are held.
    fn fill_slab(
        &self,
        roster: &Roster,
        filling: &Filling<'_>,
        slab: &Slab<'_>,
        failures: &mut Failures,
    ) -> Result<()> {
        let (member, stripe, at, length) = (filling.member, &slab.stripe, slab.at(), slab.length);
        if !filling.is_wanted(roster, at, length) {
            return Ok(());
        }
        let all = stripe.data().chain([stripe.p]).chain(stripe.q);
        let mut others = all.filter_map(|slot| trusted(roster, slot, at, length));
        // Zeros everywhere are zeros here too, for P and Q alike; of what is blank others may hold anything yet.
        let blank = self.is_all_blank(stripe.array_offset_bytes(), roster.geometry().stripe_bytes());
        if blank || !filling.how.full && others.all(|other| other.is_hole(at, length)) {
            failures.note(member, put_on(member, Source::Hole(length), at));
            return Ok(());
        }
        match self.recovered_rows(roster, slab, Vec::new(), None, Parities::Needed) {
            Ok(rows) => failures.note(member, member.write(&rows.row_of(filling.slot), at)),
            Err(Error::Unreadable { .. }) if !filling.how.stop_at_unreadable => {
                self.salvage_row(roster, slab, filling.slot, member, failures)?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
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

fn buffer(length: u64) -> Buffer {
    Buffer::take(usize::try_from(length).unwrap_or(0))
}

/// Bytes of a step: few enough of the whole that the caller hears of it and can stop it.
fn batch_bytes(whole_bytes: u64) -> u64 {
    (whole_bytes / 16).next_multiple_of(RUN_BYTES).min(BATCH_BYTES)
}

/// Does a step with each item, by several threads, and gathers the members that failed.
fn each<T: Sync>(
    items: &[T],
    failures: &mut Failures,
    step: impl Fn(&T, &mut Failures) -> Result<()> + Sync,
) -> Result<()> {
    let all = Mutex::new(failures);
    crew::each(items, |item| {
        let mut failed = Failures::default();
        let ended = step(item, &mut failed);
        if !failed.is_empty() {
            all.lock().unwrap_or_else(PoisonError::into_inner).merge(failed);
        }
        ended
    })
}

/// The slabs of a step over stripes: from the stripe at a position of the members on, not behind `end`.
fn slabs(geometry: &Geometry, position: u64, end: u64) -> Vec<Slab<'static>> {
    let chunk = geometry.chunk_bytes();
    let first = position / chunk;
    let batch = batch_bytes(geometry.stripes() * chunk) / chunk;
    let last = end.div_ceil(chunk).min(first + batch.max(1));
    let columns = || (0..chunk).step_by(usize::try_from(SLAB_BYTES).unwrap_or(usize::MAX));
    (first..last)
        .filter_map(|number| geometry.stripe(number))
        .flat_map(|stripe| columns().map(move |column| (stripe, column)))
        .map(|(stripe, column)| Slab::unwritten(stripe, column, (chunk - column).min(SLAB_BYTES)))
        .collect()
}

/// A run of a copy.
struct CopyRun {
    /// In the array.
    start: u64,
    /// On the member.
    position: u64,
    length: u64,
}

/// The runs of a step over copies: from a position of the member on to where something is that belongs to nothing.
fn copies(geometry: &Geometry, filling: &Filling<'_>, position: u64) -> Vec<CopyRun> {
    let end = filling.whole_bytes.min(position + batch_bytes(filling.whole_bytes));
    let mut runs: Vec<CopyRun> = Vec::new();
    let mut at = position;
    while at < end
        && let Cell::Data {
            array_offset_bytes: start,
            run_bytes,
        } = geometry.cell(filling.slot, at)
    {
        if runs
            .first()
            .is_some_and(|first| start.abs_diff(first.start) > SPREAD_BYTES)
        {
            break;
        }
        let length = run_bytes.min(RUN_BYTES).min(end - at);
        runs.push(CopyRun {
            start,
            position: at,
            length,
        });
        at += length;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R37: work that may take a share of the time pauses for the rest of it, however long its steps are.
    #[test]
    fn a_share_of_the_time_is_kept() {
        let pause = |step_ms, share| pause_after(Duration::from_millis(step_ms), share).as_millis();
        for (share, pause_ms) in [(5, 190), (15, 56), (30, 23), (60, 6), (90, 1), (100, 0)] {
            assert_eq!(pause(10, share), pause_ms, "{share} percent");
        }
        assert_eq!((pause(1000, 50), pause(1, 50)), (1000, 1));
        // Nothing is not a share, nor is more than all.
        assert_eq!((pause(10, 0), pause(10, 200)), (990, 0));
    }
}
