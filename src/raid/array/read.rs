//! Reading: from the member that has the bytes, from another copy or from parity where it cannot.
//!
//! A read of members in sync takes no lock and allocates nothing. A member that fails to read is given the right bytes
//! back, which makes a disk replace the bad sector; if it does not take them it is expelled.

use std::{io, os::fd::BorrowedFd, sync::Arc};

use super::{Array, Failures, Roster};
use crate::raid::{
    Slot,
    error::{Error, Result},
    geometry::Piece,
    member::Member,
};

/// Run of the array that reads take from the same copy, so that one reader streams and many spread.
const TURN_BYTES: u64 = 256 * 1024;

/// Pages of members' files that somebody still reads: while it is kept, nothing is moved over what they hold.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "it is there to be counted")] Arc<()>);

impl Array {
    /// Fills the buffer from the array.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::raid::Error::OutOfRange), and [`Unreadable`](crate::raid::Error::Unreadable) where neither copies nor parity give the bytes.
    pub fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        self.check_range(offset_bytes, buffer.len() as u64)?;
        self.check_enabled(offset_bytes)?;
        if self.has_blank() {
            return self.read_blank(buffer, offset_bytes);
        }
        self.read_written(buffer, offset_bytes)
    }

    /// Fills the buffer with what members hold.
    pub(super) fn read_written(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let mut failures = Failures::default();
        let mut result = self.read_inside(buffer, offset_bytes, &mut failures);
        // What was read is right, even if the member that could not give it has to stay.
        if !failures.is_empty() && self.expel(&failures) && result.is_err() {
            result = self.read_inside(buffer, offset_bytes, &mut Failures::default());
        }
        if matches!(result, Err(Error::Unreadable { .. })) {
            self.look_for_members();
        }
        result
    }

    fn read_inside(&self, buffer: &mut [u8], start: u64, failures: &mut Failures) -> Result<()> {
        let (_crossing, roster) = self.snapshot(start, buffer.len() as u64);
        let mut rest = buffer;
        for (side, at, length) in roster.parts(start, rest.len() as u64) {
            let (part, after) = split(rest, length);
            rest = after;
            self.read_pieces(side, part, at, failures)?;
        }
        Ok(())
    }

    /// Fills the buffer if memory holds all of it; `false`, and the buffer's contents are lost, where a member would have
    /// to be waited for, has failed or is missing.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::raid::Error::OutOfRange).
    pub fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<bool> {
        self.check_range(offset_bytes, buffer.len() as u64)?;
        if self.is_disabled() || self.is_blank_in(offset_bytes, buffer.len() as u64) {
            return Ok(false);
        }
        let roster = self.roster();
        if roster.moving().is_some() {
            return Ok(false);
        }
        let mut rest = buffer;
        for piece in roster.geometry().map(offset_bytes, rest.len() as u64) {
            let (part, after) = split(rest, piece.length_bytes);
            rest = after;
            let Some((member, at)) = first_choice(&roster, &piece) else {
                return Ok(false);
            };
            if !member.read_cached(part, at).unwrap_or(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True where memory likely holds a range: where it holds the last byte of each of its pieces.
    pub fn is_cached(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let roster = self.roster();
        if roster.moving().is_some()
            || self.check_range(offset_bytes, length_bytes).is_err()
            || self.is_blank_in(offset_bytes, length_bytes)
        {
            return false;
        }
        let mut pieces = roster.geometry().map(offset_bytes, length_bytes);
        pieces.all(|piece| {
            let last = first_choice(&roster, &piece).map(|(member, at)| (member, at + piece.length_bytes - 1));
            last.is_some_and(|(member, at)| member.read_cached(&mut [0], at).unwrap_or(false))
        })
    }

    /// Puts a range into a pipe, as pages of the host's cache, which are leased until somebody has copied them; none, and
    /// what the pipe holds is lost, where members cannot do that, one has failed or is missing, or the pipe is too small.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::raid::Error::OutOfRange).
    pub fn splice_at(&self, pipe: BorrowedFd<'_>, offset_bytes: u64, length_bytes: u64) -> Result<Option<Lease>> {
        self.check_range(offset_bytes, length_bytes)?;
        if self.is_disabled() || self.is_blank_in(offset_bytes, length_bytes) {
            return Ok(None);
        }
        // Taken before it is looked whether anything moves: what begins to move then waits for it.
        let lease = Lease(Arc::clone(&self.leases));
        let roster = self.roster();
        // A member that hangs here nobody would give up, so it must be one that cannot, or that the array needs.
        let may_wait = roster.is_bare();
        if roster.moving().is_some() {
            return Ok(None);
        }
        let mut pieces = roster.geometry().map(offset_bytes, length_bytes);
        // Errors are left to an ordinary read, which mends them.
        let is_whole = pieces.all(|piece| {
            let choice = first_choice(&roster, &piece);
            choice.is_some_and(|(member, at)| {
                (may_wait || member.never_waits()) && member.splice(pipe, at, piece.length_bytes).unwrap_or(false)
            })
        });
        Ok(is_whole.then_some(lease))
    }

    /// True where somebody may still read pages that came out of [`Array::splice_at`].
    pub(in crate::raid) fn has_leases(&self) -> bool {
        Arc::strong_count(&self.leases) > 1
    }

    /// Asks the host to have a range in memory.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::raid::Error::OutOfRange); a range that cannot be read is left to the read that wants it.
    pub fn cache(&self, offset_bytes: u64, length_bytes: u64) -> Result<()> {
        self.check_range(offset_bytes, length_bytes)?;
        let roster = self.roster();
        if roster.moving().is_some() {
            return Ok(());
        }
        for piece in roster.geometry().map(offset_bytes, length_bytes) {
            if let Some((member, at)) = first_choice(&roster, &piece)
                && let Err(error) = member.advise(at, piece.length_bytes)
            {
                log::debug!("{}: not read ahead: {error}", member.path().display());
            }
        }
        Ok(())
    }

    /// Reads a run that lies on one side.
    pub(in crate::raid) fn read_pieces(
        &self,
        roster: &Roster,
        buffer: &mut [u8],
        start: u64,
        failures: &mut Failures,
    ) -> Result<()> {
        let mut rest = buffer;
        for piece in roster.geometry().map(start, rest.len() as u64) {
            let (part, after) = split(rest, piece.length_bytes);
            rest = after;
            let Some((member, at)) = first_choice(roster, &piece) else {
                self.read_otherwise(roster, &piece, part, None, failures)?;
                continue;
            };
            if let Err(error) = member.read(part, at) {
                member.count_read_error();
                log::warn!("{}: read at {at} failed: {error}", member.path().display());
                self.read_otherwise(roster, &piece, part, Some((member, error)), failures)?;
            }
        }
        Ok(())
    }

    /// Reads what the first choice could not give, and gives it the right bytes.
    fn read_otherwise(
        &self,
        roster: &Roster,
        piece: &Piece<'_>,
        part: &mut [u8],
        bad: Option<(&Arc<Member>, io::Error)>,
        failures: &mut Failures,
    ) -> Result<()> {
        if roster.geometry().level().parities() > 0 {
            return self.read_by_parity(
                roster,
                piece.array_offset_bytes,
                part,
                bad.map(|(_, error)| error),
                failures,
            );
        }
        // With the lanes held no write comes between reading the good copy and writing the bad one.
        let _held = self.hold_range(piece.array_offset_bytes, piece.length_bytes);
        let (mut unread, mut last) = (Vec::new(), None);
        for (slot, at) in piece.copies() {
            let Some(member) = roster.holder(slot, at, piece.length_bytes) else {
                continue;
            };
            if let Err(error) = member.read(part, at) {
                unread.push((member, at));
                last = Some(error);
                continue;
            }
            if !self.is_read_only() {
                for (member, at) in unread {
                    rewrite(member, part, at, failures);
                }
            }
            return Ok(());
        }
        Err(self.unreadable(piece.array_offset_bytes, last.or(bad.map(|(_, error)| error))))
    }
}

/// The member to read a piece from, and where.
fn first_choice<'a>(roster: &'a Roster, piece: &Piece<'_>) -> Option<(&'a Arc<Member>, u64)> {
    let copies = roster.geometry().copies();
    let holds = |(slot, at): (Slot, u64)| Some((roster.holder(slot, at, piece.length_bytes)?, at));
    if copies == 1 {
        return holds(piece.first_copy());
    }
    // Copies that a crash left different must look the same to every reader until they are.
    let turn = if roster
        .intent()
        .is_unsynced(piece.array_offset_bytes, piece.length_bytes)
    {
        0
    } else {
        piece.array_offset_bytes / TURN_BYTES % copies
    };
    let turn = usize::try_from(turn).unwrap_or(0);
    let mut wrapped = piece
        .copies()
        .skip(turn)
        .chain(piece.copies().take(turn))
        .filter_map(holds);
    wrapped.next()
}

/// Gives a member that could not read the right bytes, and looks whether it has them now.
pub(in crate::raid) fn rewrite(member: &Arc<Member>, bytes: &[u8], offset_bytes: u64, failures: &mut Failures) {
    let mut again = vec![0; bytes.len()];
    let written = member
        .write(bytes, offset_bytes)
        .and_then(|()| member.read(&mut again, offset_bytes))
        .and_then(|()| {
            if again == bytes {
                Ok(())
            } else {
                Err(io::Error::other("rewritten bytes differ"))
            }
        });
    match written {
        Ok(()) => member.count_corrected(),
        Err(error) => failures.push(member, error),
    }
}

/// Splits off the first `length` bytes, which the buffer has.
pub(super) fn split(buffer: &mut [u8], length: u64) -> (&mut [u8], &mut [u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
    buffer.split_at_mut(length)
}

/// The first `length` bytes and the rest.
pub(super) fn split_shared(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len()))
}
