//! What to do where more is unreadable than redundancy makes good: save what can be had, and say what is lost.
//!
//! All of it works page by page, so that one bad sector costs no more than its page. What is lost is noted as a *flaw* in
//! the bad-block logs of the members concerned before anything relies on it, and reads as an error from then on, on this
//! and on every other system, until it is written again. Where a crash may have left parity wrong (a region that waits for
//! a resync) parity makes nothing good: what a member cannot give there is lost, rather than perhaps wrong.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    Array, Failures, Roster, Slab,
    stripe::{Parities, trusted},
    write::{Source, put_on},
};
use crate::raid::{
    Slot,
    error::{Error, Result},
    geometry::Cell,
    member::Member,
};

#[cfg(test)]
mod tests;

/// What is given up at once.
const PAGE_BYTES: u64 = 4096;

impl<'a> Slab<'a> {
    /// The same columns in pieces that each lie in one page of the members.
    pub(in crate::raid) fn pages(&self) -> Vec<Slab<'a>> {
        let (mut pages, mut done) = (Vec::new(), 0);
        while done < self.length {
            let at = self.at() + done;
            let length = (PAGE_BYTES - at % PAGE_BYTES).min(self.length - done);
            let part = |source: Source<'a>| source.split(done).1.split(length).0;
            pages.push(Slab {
                stripe: self.stripe,
                column: self.column + done,
                length,
                new: self.new.iter().map(|source| source.map(part)).collect(),
            });
            done += length;
        }
        pages
    }
}

impl Array {
    /// Makes the row of a member again, and notes on it the pages that cannot be made, and on the others those that they
    /// cannot read.
    pub(in crate::raid) fn salvage_row(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        slot: Slot,
        member: &Arc<Member>,
        failures: &mut Failures,
    ) -> Result<()> {
        for page in slab.pages() {
            match self.recovered_rows(roster, &page, Vec::new(), None, Parities::Needed) {
                Ok(rows) => failures.note(member, member.write(&rows.row_of(slot), page.at())),
                Err(error @ Error::Unreadable { .. }) => {
                    let all = page.stripe.data().chain([page.stripe.p]).chain(page.stripe.q);
                    for other in all.filter_map(|other| trusted(roster, other, page.at(), page.length)) {
                        self.note_unread(other, page.at(), page.length, &error)?;
                    }
                    self.give_up(member, page.at(), page.length, &error)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes a run of a copy again, as [`Array::salvage_row`] does.
    pub(in crate::raid) fn salvage_copy(
        &self,
        roster: &Roster,
        member: &Arc<Member>,
        start: u64,
        (position, length): (u64, u64),
        failures: &mut Failures,
    ) -> Result<()> {
        let mut done = 0;
        while done < length {
            let step = (PAGE_BYTES - (position + done) % PAGE_BYTES).min(length - done);
            let mut bytes = vec![0; usize::try_from(step).unwrap_or(0)];
            match self.read_copy(roster, start + done, &mut bytes) {
                Ok(()) => failures.note(member, member.write(&bytes, position + done)),
                Err(error @ Error::Unreadable { .. }) => {
                    for piece in roster.geometry().map(start + done, step) {
                        for (slot, at) in piece.copies() {
                            if let Some(other) = roster.holder(slot, at, step) {
                                self.note_unread(other, at, step, &error)?;
                            }
                        }
                    }
                    self.give_up(member, position + done, step, &error)?;
                }
                Err(error) => return Err(error),
            }
            done += step;
        }
        Ok(())
    }

    /// Writes pages of a slab whose parity cannot be known, because too much of the rest is unreadable: data go to their
    /// members, and parity is noted as lost.
    pub(super) fn put_pages(&self, roster: &Roster, slab: &Slab<'_>, failures: &mut Failures) -> Result<()> {
        for page in slab.pages() {
            if let Err(error) = self.put_slab_whole(roster, &page, failures) {
                if failures.wants_retry() || !matches!(error, Error::Unreadable { .. }) {
                    return Err(error);
                }
                self.put_alone(roster, &page, &error, failures)?;
            }
        }
        Ok(())
    }

    fn put_alone(&self, roster: &Roster, page: &Slab<'_>, why: &Error, failures: &mut Failures) -> Result<()> {
        let stripe = &page.stripe;
        let mut writes = Vec::new();
        for (new, slot) in page.new.iter().zip(stripe.data()) {
            let Some(new) = new else { continue };
            // A chunk whose member is missing exists in parity only, which is what is lost.
            let member = trusted(roster, slot, page.at(), page.length);
            let member = member.ok_or_else(|| self.unreadable(stripe.array_offset_bytes() + page.column, None))?;
            writes.push((member, *new));
        }
        for slot in [Some(stripe.p), stripe.q].into_iter().flatten() {
            if let Some(parity) = trusted(roster, slot, page.at(), page.length) {
                self.give_up(parity, page.at(), page.length, why)?;
            }
        }
        for (member, new) in writes {
            failures.note(member, put_on(member, new, page.at()));
        }
        Ok(())
    }

    /// Notes pages of a slab as lost that members cannot give and parity must not make again, because a crash may have left
    /// it wrong; parity of such a page is lost too. A member that does not take the note fails. The lanes are held.
    ///
    /// # Errors
    /// `why`, where the log of a member is full.
    pub(in crate::raid) fn give_up_unread(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        why: &Error,
        failures: &mut Failures,
    ) -> Result<()> {
        for page in slab.pages() {
            let (at, length) = (page.at(), page.length);
            let reads = |member: &Member| {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                member.read(&mut bytes, at).is_ok()
            };
            let seated = |slot: Slot| trusted(roster, slot, at, length);
            let unread: Vec<_> = page
                .stripe
                .data()
                .filter_map(seated)
                .filter(|one| !reads(one))
                .collect();
            let parities = [Some(page.stripe.p), page.stripe.q].into_iter().flatten();
            let parities = parities.filter(|_| !unread.is_empty()).filter_map(seated);
            for member in parities.chain(unread.iter().copied()) {
                if let Err(error) = self.note_lost(member, at, length, why) {
                    if error.raw_os_error() == Some(libc::ENOSPC) {
                        return Err(self.unreadable(page.stripe.array_offset_bytes() + page.column, Some(error)));
                    }
                    failures.push(member, error);
                }
            }
        }
        Ok(())
    }

    /// Makes parity of a slab whose data cannot all be read, page by page, and gives up the pages where that cannot be.
    pub(in crate::raid) fn salvage_parity(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        failures: &mut Failures,
    ) -> Result<()> {
        for page in slab.pages() {
            match self.recovered_rows(roster, &page, Vec::new(), None, Parities::All) {
                Ok(rows) => self.put_parity(roster, &page, &rows, failures),
                Err(error @ Error::Unreadable { .. }) => self.give_up_unread(roster, &page, &error, failures)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notes a page as lost on a member that cannot read it.
    fn note_unread(&self, member: &Arc<Member>, at: u64, length: u64, why: &Error) -> Result<()> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        if member.is_flawed(at, length) || member.read(&mut bytes, at).is_ok() {
            return Ok(());
        }
        self.give_up(member, at, length, why)
    }

    /// Notes a page as lost on a member; where its log takes no more the reason why stands.
    fn give_up(&self, member: &Arc<Member>, at: u64, length: u64, why: &Error) -> Result<()> {
        let noted = self.note_lost(member, at, length, why);
        noted.map_err(|source| self.unreadable(at, Some(source)))
    }

    fn note_lost(&self, member: &Arc<Member>, at: u64, length: u64, why: &Error) -> io::Result<()> {
        let page = at - at % PAGE_BYTES;
        let end = (at + length).next_multiple_of(PAGE_BYTES).min(member.data_bytes());
        log::error!(
            "array {}: {}: {length} bytes at {at} are lost: {why}",
            self.name(),
            member.path().display()
        );
        member.note_flaw(page, end - page).inspect_err(|source| {
            log::error!("{}: not noted in its bad-block log: {source}", member.path().display());
        })?;
        self.activity.note_flaws();
        Ok(())
    }

    /// True where a run of the array, which lies in one page of a member, has lost its bytes.
    fn is_lost(&self, roster: &Roster, array_offset: u64, length: u64) -> bool {
        let holds = |slot: Slot, at: u64| {
            let member = roster.holder(slot, at, length);
            member.is_some_and(|member| !member.is_flawed(at, length))
        };
        let Some(position) = roster.geometry().stripe_of(array_offset) else {
            let mut pieces = roster.geometry().map(array_offset, length);
            return pieces.any(|piece| !piece.copies().any(|(slot, at)| holds(slot, at)));
        };
        let (stripe, at) = (position.stripe, position.member_offset_bytes());
        if holds(position.slot(), at) {
            return false;
        }
        let all = stripe.data().chain([stripe.p]).chain(stripe.q);
        let gone = all.filter(|slot| !holds(*slot, at)).count();
        gone > usize::from(self.level().parities())
    }

    /// Runs of a range of the array whose bytes are lost, in order: offset and length.
    pub(super) fn lost_runs(&self, roster: &Roster, offset_bytes: u64, length_bytes: u64) -> Vec<(u64, u64)> {
        let end = offset_bytes + length_bytes;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (at, length) in concerned(roster) {
            let (from, to) = (at.max(offset_bytes), (at + length).min(end));
            if from >= to || !self.is_lost(roster, from, to - from) {
                continue;
            }
            match runs.last_mut().filter(|(start, length)| start + length == from) {
                Some((_, length)) => *length += to - from,
                None => runs.push((from, to - from)),
            }
        }
        runs
    }
}

/// Pages of the array that flaws have to do with, in order.
fn concerned(roster: &Roster) -> BTreeMap<u64, u64> {
    let geometry = roster.geometry();
    let mut pages = BTreeMap::new();
    for (slot, member) in roster.members().filter(|(_, member)| member.has_flaws()) {
        let used = geometry.used_bytes(slot);
        for (start, length) in member.flaws() {
            let mut at = start - start % PAGE_BYTES;
            while at < (start + length).min(used) {
                let length = PAGE_BYTES.min(used - at);
                match geometry.stripe(at.checked_div(geometry.chunk_bytes()).unwrap_or(0)) {
                    Some(stripe) => {
                        let column = at - stripe.member_offset_bytes;
                        let chunks = 0..u64::from(stripe.data_chunks());
                        let page = |chunk: u64| stripe.array_offset_bytes() + chunk * stripe.chunk_bytes() + column;
                        pages.extend(chunks.map(|chunk| (page(chunk), length)));
                    }
                    None => {
                        if let Cell::Data {
                            array_offset_bytes,
                            run_bytes,
                        } = geometry.cell(slot, at)
                        {
                            pages.insert(array_offset_bytes, length.min(run_bytes));
                        }
                    }
                }
                at += length;
            }
        }
    }
    pages
}
