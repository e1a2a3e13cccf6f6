//! What of an array is [blank](crate::raid::journal::blank): read as zeros, made zeros before it is written, and by and by
//! all of it.
//!
//! Zeros are written as any write is, to all members that are there and with their parity, so that redundancy is right where
//! they are. A region goes from blank to zeros in one turn, under which nobody else writes there: writes that come to a
//! blank region wait for the turn and make zeros of it first.

use super::{
    Array,
    read::split,
    write::{Source, hole_unit_bytes},
};
use crate::raid::{
    error::Result,
    geometry::Geometry,
    journal::{Blank, blank::BlankRun},
    rebuild::{Ending, Pace, Progress, synced_bytes},
};

/// Blank bytes that are made zeros where a write comes to the first of them.
const AHEAD_BYTES: u64 = 1 << 20;
/// Most bytes that are made zeros in one step, where a region is not more.
const STEP_BYTES: u64 = 16 << 20;

impl Array {
    /// Lets a range at the end of the array be blank; `geometry` is what the array has then.
    ///
    /// # Errors
    /// What the host says of a sidecar: nothing is blank then.
    pub(in crate::raid) fn set_blank(&self, start_bytes: u64, geometry: &Geometry) -> std::io::Result<()> {
        match Blank::new(start_bytes, geometry.capacity_bytes(), hole_unit_bytes(geometry)) {
            Some(blank) => self
                .journal()
                .set_blank(blank, self.roster().members().map(|(_, member)| member)),
            None => Ok(()),
        }
    }

    /// Goes on with what sidecars said of an array that was assembled.
    pub(in crate::raid) fn adopt_blank(&self, blank: Option<Blank>) {
        let roster = self.roster();
        let still = roster.moving().is_none();
        let fitted = blank.filter(|_| still).and_then(|blank| {
            let geometry = roster.geometry();
            blank.fitted(geometry.capacity_bytes(), hole_unit_bytes(geometry))
        });
        if let Some(blank) = fitted {
            let members = roster.members().map(|(_, member)| member);
            self.journal()
                .adopt_blank(blank, members.filter(|_| !self.is_read_only()));
        }
    }

    /// True where something is blank.
    pub(in crate::raid) fn has_blank(&self) -> bool {
        self.journal().has_blank()
    }

    /// Runs of a range that are blank or not, in order; none of no bytes.
    pub(super) fn blank_runs(&self, offset_bytes: u64, length_bytes: u64) -> Vec<BlankRun> {
        let whole = BlankRun {
            offset_bytes,
            length_bytes,
            blank: false,
        };
        let runs = self
            .journal()
            .with_blank(|blank| blank.runs(offset_bytes, length_bytes));
        runs.unwrap_or_else(|| vec![whole])
    }

    /// True where some of a range is blank.
    pub(super) fn is_blank_in(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        self.has_blank() && self.blank_runs(offset_bytes, length_bytes).iter().any(|run| run.blank)
    }

    /// True where all of a range is blank.
    pub(in crate::raid) fn is_all_blank(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        self.has_blank() && self.blank_runs(offset_bytes, length_bytes).iter().all(|run| run.blank)
    }

    /// Reads a range in which something may be blank.
    pub(super) fn read_blank(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let mut rest = buffer;
        for run in self.blank_runs(offset_bytes, rest.len() as u64) {
            let (part, after) = split(rest, run.length_bytes);
            rest = after;
            if run.blank {
                part.fill(0);
            } else {
                self.read_written(part, run.offset_bytes)?;
            }
        }
        Ok(())
    }

    /// Makes zeros of the blank regions of a range that is about to be written, and of some behind them.
    ///
    /// # Errors
    /// As [`Array::write_at`]; [`NotWritten`](crate::raid::Error::NotWritten) where a sidecar cannot be written.
    pub(super) fn leave_blank(&self, offset_bytes: u64, length_bytes: u64) -> Result<()> {
        let end_bytes = offset_bytes + length_bytes;
        while self.is_blank_in(offset_bytes, length_bytes) {
            let _turn = self.journal().blank_turn();
            let next = self.journal().with_blank(|blank| {
                let (start, end) = blank.next(offset_bytes)?;
                let from = start.max(offset_bytes);
                let to = end_bytes.max(from.saturating_add(AHEAD_BYTES)).min(end);
                (from < end_bytes).then(|| (start, blank.ceiling(to)))
            });
            if let Some((start, end)) = next.flatten() {
                self.make_zeros(start, end)?;
            }
        }
        Ok(())
    }

    /// Makes zeros of blank regions; the turn is held.
    fn make_zeros(&self, start_bytes: u64, end_bytes: u64) -> Result<()> {
        self.put_run(Source::Hole(end_bytes - start_bytes), start_bytes)?;
        self.flush()?;
        let cleared = self.journal().clear_blank(start_bytes, end_bytes);
        cleared.map_err(|error| self.not_written(start_bytes, error))
    }

    /// Makes zeros of all that is blank, which is in sync then.
    ///
    /// # Errors
    /// As [`Array::write_at`]; [`NotWritten`](crate::raid::Error::NotWritten) where a sidecar cannot be written.
    pub(in crate::raid) fn zero_blank(&self, pace: Pace<'_>) -> Result<Ending> {
        if !self.has_blank() {
            return Ok(Ending::Complete);
        }
        self.check_writable()?;
        let geometry = self.geometry();
        let whole_bytes = synced_bytes(&geometry);
        self.intent().mark_syncing(0, whole_bytes);
        let step = (geometry.capacity_bytes() / 16).clamp(1, STEP_BYTES);
        let mut run: Option<(u64, u64)> = None;
        loop {
            let done = {
                let _turn = self.journal().blank_turn();
                let next = self.journal().with_blank(|blank| {
                    let (start, end) = blank.next(0)?;
                    Some((start, blank.ceiling(end.min(start + step))))
                });
                let Some((start, end)) = next.flatten() else {
                    return Ok(Ending::Complete);
                };
                self.make_zeros(start, end)?;
                (start, end)
            };
            // What was written in between made zeros of its regions, but its own redundancy is another matter.
            let start = run.filter(|run| run.1 == done.0).map_or(done.0, |run| run.0);
            run = Some((start, done.1));
            let done_bytes = synced_to(&geometry, done.1);
            self.note_resync(synced_to(&geometry, start), done_bytes, whole_bytes)?;
            if pace(Progress {
                done_bytes,
                whole_bytes,
            })
            .is_break()
            {
                return Ok(Ending::Stopped);
            }
        }
    }
}

/// How far a resync is that has passed all before a byte of the array, where a row or all ends.
fn synced_to(geometry: &Geometry, offset_bytes: u64) -> u64 {
    if offset_bytes >= geometry.capacity_bytes() {
        synced_bytes(geometry)
    } else if geometry.level().parities() > 0 {
        offset_bytes / geometry.stripe_bytes() * geometry.chunk_bytes()
    } else {
        offset_bytes
    }
}

#[cfg(test)]
mod tests;
