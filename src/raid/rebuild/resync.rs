//! Making redundancy right after a crash, or for a new array: parity again of the data, copies again of the first one.
//!
//! What may be wrong the [`Intent`](crate::raid::array::Intent) says; what a step has made right is noted there once it is
//! durable, so that a resync that was stopped goes on where it was.

use super::{CHECKPOINT_BYTES, Ending, Pace, Progress, RUN_BYTES, batch_bytes, buffer, each, slabs};
use crate::raid::{
    SECTOR_BYTES, Sector, Slot,
    array::{Array, Failures, Parities, Roster},
    error::{Error, Result},
    geometry::{Geometry, Piece},
    metadata::superblock::MAX_SECTOR,
};

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
        if self.roster().moving().is_some() {
            return Err(self.busy("it is reshaped; the resync comes after that"));
        }
        if self.zero_blank(&mut *pace)? == Ending::Stopped {
            return Ok(Ending::Stopped);
        }
        let whole_bytes = synced_bytes(&self.geometry());
        let mut position = 0;
        while let Some((start, end)) = self
            .intent()
            .next_unsynced(position)
            .filter(|(start, _)| *start < whole_bytes)
        {
            let end = end.min(whole_bytes);
            self.intent().mark_syncing(start, end - start);
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
        self.note_synced(whole_bytes);
        Ok(Ending::Complete)
    }

    /// Notes what a resync has done, once that is durable; a clean stop tells the superblocks.
    pub(in crate::raid) fn note_resync(&self, start: u64, position: u64, whole_bytes: u64) -> Result<()> {
        self.flush()?;
        self.commit_flaws()?;
        self.intent().mark_synced(start, position, whole_bytes);
        self.note_synced(whole_bytes);
        Ok(())
    }

    fn note_synced(&self, whole_bytes: u64) {
        let left = self.intent().next_unsynced(0).map(|(start, _)| start);
        let left = left.filter(|start| *start < whole_bytes);
        self.control().synced_to = left.map_or(MAX_SECTOR, |start| Sector(start / SECTOR_BYTES));
    }

    /// Resyncs what begins at a position and returns its length.
    fn resync_step(&self, position: u64, end: u64) -> Result<u64> {
        let mut failures = Failures::default();
        let result = {
            let _inside = self.enter();
            self.mark_dirty(&mut failures)?;
            let roster = self.roster();
            if self.level().parities() > 0 {
                self.resync_stripes(&roster, position, end, &mut failures)
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

    fn resync_stripes(&self, roster: &Roster, position: u64, end: u64, failures: &mut Failures) -> Result<u64> {
        let slabs = slabs(roster.geometry(), position, end);
        let Some((_held, done)) = self.hold_slabs(&slabs) else {
            return Ok(roster.geometry().chunk_bytes());
        };
        each(&slabs, failures, |slab, failures| {
            match self.recovered_rows(roster, slab, Vec::new(), None, Parities::All) {
                Err(Error::Unreadable { .. }) if !roster.is_degraded() => self.salvage_parity(roster, slab, failures),
                rows => {
                    self.put_parity(roster, slab, &rows?, failures);
                    Ok(())
                }
            }
        })?;
        Ok(done - position)
    }

    fn resync_copies(&self, roster: &Roster, position: u64, end: u64, failures: &mut Failures) -> Result<u64> {
        let end = end.min(position + batch_bytes(roster.geometry().capacity_bytes()));
        let _held = self.hold_range(position, end - position);
        let runs: Vec<(u64, u64)> = (position..end)
            .step_by(usize::try_from(RUN_BYTES).unwrap_or(usize::MAX))
            .map(|start| (start, RUN_BYTES.min(end - start)))
            .collect();
        each(&runs, failures, |(start, length), failures| {
            let mut pieces = roster.geometry().map(*start, *length);
            pieces.try_for_each(|piece| self.resync_piece(roster, &piece, failures))
        })?;
        Ok(end - position)
    }

    /// Makes the copies of a piece equal; its lanes are held.
    fn resync_piece(&self, roster: &Roster, piece: &Piece<'_>, failures: &mut Failures) -> Result<()> {
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
                Ok(()) if *other != *bytes => bad.push((member, at)),
                Ok(()) => {}
                Err(error) => {
                    member.count_read_error();
                    last = Some(error);
                    bad.push((member, at));
                }
            }
        }
        if good.is_none() {
            return Err(self.unreadable(piece.array_offset_bytes, last));
        }
        for (member, at) in bad {
            failures.note(member, member.write(&bytes, at));
        }
        Ok(())
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
