//! Writing: to all copies, or through [`super::stripe`] where there is parity; zeros and trim as the same with holes.
//!
//! Before the first byte goes out the superblocks say *dirty* and the bitmap has the range; after the last one, members
//! that failed are expelled. Only then is the request answered.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{Array, Failures, Roster, read::split_shared};
use crate::raid::{
    error::{Error, Result},
    geometry::{Geometry, Piece},
    member::Member,
};

/// Zeros to write where holes cannot be punched.
const ZEROS_BYTES: usize = 256 * 1024;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// Unit of holes.
const HOLE_BYTES: u64 = 4096;

/// How zeros may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zeroes {
    /// Holes may stand for zeros.
    pub may_trim: bool,
    /// Refuse where it would take as long as writing.
    pub fast_only: bool,
    /// All of it is durable before the answer.
    pub fua: bool,
}

/// What is written to a run: bytes, or zeros of which no bytes are needed.
#[derive(Debug, Clone, Copy)]
pub(in crate::raid) enum Source<'a> {
    Bytes(&'a [u8]),
    /// Zeros, by holes where the host has them.
    Hole(u64),
}

impl<'a> Source<'a> {
    pub(in crate::raid) fn length(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Hole(length) => length,
        }
    }

    /// The bytes; zeros of a slab's length at most for a hole.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Hole(length) => {
                &ZEROS[..usize::try_from(length).map_or(ZEROS_BYTES, |length| length.min(ZEROS_BYTES))]
            }
        }
    }

    pub(super) fn split(self, length: u64) -> (Self, Self) {
        match self {
            Self::Bytes(bytes) => {
                let (part, rest) = split_shared(bytes, length);
                (Self::Bytes(part), Self::Bytes(rest))
            }
            Self::Hole(all) => (Self::Hole(length.min(all)), Self::Hole(all.saturating_sub(length))),
        }
    }
}

impl Array {
    /// Writes to the array; with `fua` all of it is durable before the answer.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::ReadOnly`], [`Error::NotWritten`] where too many members failed, and
    /// [`Error::FlushLost`] where a flush failed before or the one of `fua` does.
    pub fn write_at(&self, bytes: &[u8], offset_bytes: u64, fua: bool) -> Result<()> {
        self.put(Source::Bytes(bytes), offset_bytes, fua)
    }

    /// Makes zeros of a range.
    ///
    /// # Errors
    /// As [`Array::write_at`]; [`Error::NotFast`], and nothing has changed, where only holes would be fast and there can
    /// be none.
    pub fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, how: Zeroes) -> Result<()> {
        self.check_range(offset_bytes, length_bytes)?;
        self.check_writable()?;
        if how.fast_only && !(how.may_trim && self.has_holes_for(offset_bytes, length_bytes)) {
            return Err(Error::NotFast);
        }
        if how.may_trim {
            return self.put(Source::Hole(length_bytes), offset_bytes, how.fua);
        }
        let (mut at, end) = (offset_bytes, offset_bytes + length_bytes);
        while at < end {
            let step = usize::try_from(end - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            self.put(Source::Bytes(&ZEROS[..step]), at, false)?;
            at += step as u64;
        }
        if how.fua { self.flush() } else { Ok(()) }
    }

    /// Gives the space of a range back; it reads as zeros then. What is less than a page, or with parity less than a row of
    /// chunks, may be left as it is.
    ///
    /// # Errors
    /// As [`Array::write_at`].
    pub fn trim(&self, offset_bytes: u64, length_bytes: u64, fua: bool) -> Result<()> {
        self.check_range(offset_bytes, length_bytes)?;
        let unit = hole_unit_bytes(self.roster().geometry());
        let start = offset_bytes.next_multiple_of(unit);
        let end = offset_bytes + length_bytes;
        let end = end - end % unit;
        if start < end {
            self.put(Source::Hole(end - start), start, fua)
        } else {
            self.check_writable()
        }
    }

    /// True where all of a range can become holes.
    fn has_holes_for(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let roster = self.roster();
        let unit = hole_unit_bytes(roster.geometry());
        let aligned = offset_bytes.is_multiple_of(unit) && length_bytes.is_multiple_of(unit);
        aligned && roster.members().all(|(_, member)| member.can_punch())
    }

    fn put(&self, source: Source<'_>, offset_bytes: u64, fua: bool) -> Result<()> {
        let length = source.length();
        self.check_range(offset_bytes, length)?;
        self.check_writable()?;
        if length > 0 && self.has_blank() {
            self.put_blank(source, offset_bytes)?;
        } else if length > 0 {
            self.put_run(source, offset_bytes)?;
        }
        if fua || self.is_write_through() {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes a run in which something may be blank.
    fn put_blank(&self, source: Source<'_>, offset_bytes: u64) -> Result<()> {
        let Source::Hole(length) = source else {
            self.leave_blank(offset_bytes, source.length())?;
            return self.put_run(source, offset_bytes);
        };
        // What is blank is zeros already.
        let runs = self.blank_runs(offset_bytes, length);
        runs.iter()
            .filter(|run| !run.blank)
            .try_for_each(|run| self.put_run(Source::Hole(run.length_bytes), run.offset_bytes))
    }

    /// Writes a run of which nothing is blank.
    pub(super) fn put_run(&self, source: Source<'_>, offset_bytes: u64) -> Result<()> {
        let length = source.length();
        // Each round has one member less, so there are few.
        let (result, failures) = loop {
            let mut failures = Failures::default();
            let result = self.put_inside(source, offset_bytes, &mut failures);
            if !(failures.wants_retry() && !failures.lacks_space() && self.expel(&failures)) {
                break (result, failures);
            }
        };
        self.settle(result, failures, offset_bytes, length)?;
        self.commit_flaws()
    }

    fn put_inside(&self, source: Source<'_>, offset_bytes: u64, failures: &mut Failures) -> Result<()> {
        let _inside = self.enter();
        self.writes.fetch_add(1, Ordering::AcqRel);
        let (_crossing, roster) = self.snapshot(offset_bytes, source.length());
        if !roster.is_bare() {
            self.mark_dirty(failures)?;
        }
        let mut rest = source;
        for (side, at, length) in roster.parts(offset_bytes, source.length()) {
            let (part, after) = rest.split(length);
            rest = after;
            self.mark_intent(side, at, length, failures);
            self.put_on_side(side, part, at, failures)?;
        }
        Ok(())
    }

    /// Writes a run that lies on one side.
    pub(in crate::raid) fn put_on_side(
        &self,
        side: &Roster,
        source: Source<'_>,
        start: u64,
        failures: &mut Failures,
    ) -> Result<()> {
        if side.geometry().level().parities() > 0 {
            return self.put_stripes(side, source, start, failures);
        }
        let mut rest = source;
        for piece in side.geometry().map(start, source.length()) {
            let (part, after) = rest.split(piece.length_bytes);
            rest = after;
            self.put_copies(side, &piece, part, failures)?;
        }
        Ok(())
    }

    /// Writes a piece to all members that have it.
    fn put_copies(&self, roster: &Roster, piece: &Piece<'_>, part: Source<'_>, failures: &mut Failures) -> Result<()> {
        if roster.geometry().copies() == 1 {
            let (slot, at) = piece.first_copy();
            let member = roster
                .seat(slot)
                .ok_or_else(|| self.unreadable(piece.array_offset_bytes, None))?;
            return put_on(member, part, at).map_err(|error| self.not_written(piece.array_offset_bytes, error));
        }
        let _held = self.hold_range(piece.array_offset_bytes, piece.length_bytes);
        for (slot, at) in piece.copies() {
            let Some(member) = roster.seat(slot) else { continue };
            // Of a member that is being rebuilt what is behind the rebuild is still to come.
            let (part, _) = part.split(member.recovered().saturating_sub(at).min(piece.length_bytes));
            if part.length() > 0 {
                failures.note(member, put_on(member, part, at));
            }
        }
        Ok(())
    }
}

/// What a hole in all members is at least.
pub(super) fn hole_unit_bytes(geometry: &Geometry) -> u64 {
    if geometry.level().parities() > 0 {
        geometry.stripe_bytes()
    } else {
        HOLE_BYTES
    }
}

/// Writes a run to one member; zeros as a hole where that can be.
pub(in crate::raid) fn put_on(member: &Arc<Member>, source: Source<'_>, offset_bytes: u64) -> io::Result<()> {
    let length = match source {
        Source::Bytes(bytes) => return member.write(bytes, offset_bytes),
        Source::Hole(length) => length,
    };
    if member.can_punch() {
        match member.punch(offset_bytes, length) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            punched => return punched,
        }
    }
    let (mut at, end) = (offset_bytes, offset_bytes + length);
    while at < end {
        let step = usize::try_from(end - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
        member.write(&ZEROS[..step], at)?;
        at += step as u64;
    }
    Ok(())
}
