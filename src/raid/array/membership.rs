//! Changes of membership and of the superblocks' state: dirty, expelled, bitmap bits.
//!
//! A full disk is no failed member. Where a member has no room nobody is expelled: the request fails with the host's `ENOSPC`,
//! its range waits for a resync, and all works again once there is room; who would rather do without the member fails it by
//! hand. Only where a flush says so, which is then too late to undo, it counts as a failure.
//!
//! The one rule that everything here serves: a member that missed a write is marked as failed, durably, on all others
//! before that write is acknowledged. Otherwise its old data could come back as the truth after a crash.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{Array, Failures, Roster};
use crate::raid::{
    Sector, Slot,
    error::{Error, Result},
    member::{Member, WHOLE},
    metadata::identity::Time,
};

#[cfg(test)]
mod tests;

impl Array {
    /// Says in the superblocks that writes are under way, before the first one is. The caller is inside the gate.
    pub(in crate::raid) fn mark_dirty(&self, failures: &mut Failures) -> Result<()> {
        if self.dirty.load(Ordering::Acquire) || self.roster().is_bare() {
            return Ok(());
        }
        let mut control = self.control();
        if self.dirty.load(Ordering::Acquire) {
            return Ok(());
        }
        let before = std::mem::replace(&mut control.dirty, true);
        let roster = self.roster();
        let degraded = roster.is_degraded();
        // Nothing was written yet that could be torn.
        self.activate_journal(&roster);
        let failed = control.commit(self.intent().lock().as_mut(), degraded);
        if failed.len() == control.devices.len() {
            control.dirty = before;
            let source = failed.into_iter().next_back().map(|(_, error)| error);
            let source = source.unwrap_or_else(|| io::Error::from(rustix::io::Errno::IO));
            return Err(self.not_written(0, source));
        }
        for (member, error) in failed {
            failures.push(&member, error);
        }
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Sets the bits of a range of the array before it is written. The caller is inside the gate.
    pub(in crate::raid) fn mark_intent(
        &self,
        roster: &Roster,
        offset_bytes: u64,
        length_bytes: u64,
        failures: &mut Failures,
    ) {
        let (start, length) = roster.bitmap_range(offset_bytes, length_bytes);
        let write = |pages: &[_]| self.write_bitmaps(pages, failures);
        roster.intent().begin(start, length, write);
    }

    /// Writes pages of the bitmap on all members, durably.
    fn write_bitmaps(&self, pages: &[(usize, [u8; 4096])], failures: &mut Failures) {
        for (_, member) in self.roster().members() {
            failures.note(member, write_pages(member, pages));
        }
    }

    /// Ends a request: members that failed it are expelled before anybody hears of its result.
    pub(in crate::raid) fn settle(
        &self,
        result: Result<()>,
        failures: Failures,
        offset_bytes: u64,
        length: u64,
    ) -> Result<()> {
        if failures.is_empty() {
            return result;
        }
        let (failures, full) = failures.split_full();
        let expelled = failures.is_empty() || self.expel(&failures);
        if expelled && full.is_empty() {
            return result;
        }
        if !expelled {
            self.look_for_members();
        }
        if !self.keep_records(&full) {
            full.members().for_each(|member| member.set_suspect(false));
        }
        let failures = if full.is_empty() { failures } else { full };
        // Nobody is expelled, or not all who took less than the others: what is on the members may differ.
        let roster = self.roster();
        for (side, at, length) in roster.parts(offset_bytes, length) {
            let (start, length) = side.bitmap_range(at, length);
            roster.intent().mark_unsynced(start, length);
        }
        self.control().synced_to = Sector(0);
        result.and_then(|()| Err(self.not_written(offset_bytes, failures.into_error())))
    }

    /// Expels members; false, and nothing is changed, where the array cannot do without them.
    pub(in crate::raid) fn expel(&self, failures: &Failures) -> bool {
        let _gate = self.exclude();
        let mut control = self.control();
        let before = self.roster();
        let mut next = (*before).clone();
        let mut going: Vec<Arc<Member>> = failures
            .members()
            .filter(|member| before.has(member))
            .cloned()
            .collect();
        if going.is_empty() {
            failures.records().for_each(|record| self.journal.applied(record));
            return true;
        }
        for (member, error) in failures.iter() {
            log::warn!("array {}: {} failed: {error}", self.name(), member.path().display());
        }
        let mut changed = control.clone();
        while !going.is_empty() {
            for member in &going {
                next = next.without(member);
            }
            if !next.is_readable() {
                // What was committed so far names members as failed that are still in use: say again who is.
                if changed.events != control.events {
                    control.events = changed.events;
                    self.restore_journal(&before);
                    drop(control.commit(self.intent().lock().as_mut(), before.is_degraded()));
                }
                if !self.keep_records(failures) {
                    failures.members().for_each(|member| member.set_suspect(false));
                }
                return false;
            }
            going.iter().for_each(|member| changed.drop_faulty(member));
            // What was written past the journal so far must be whole on disk before only parity knows the lost member.
            for (_, member) in next.members().filter(|_| self.wants_journal(&next)) {
                if let Err(error) = member.flush() {
                    log::warn!("{}: not flushed: {error}", member.path().display());
                }
            }
            self.activate_journal(&next);
            let failed = changed.commit(self.intent().lock().as_mut(), next.is_degraded());
            going = failed.into_iter().map(|(member, _)| member).collect();
        }
        *control = changed;
        self.set_roster(next);
        failures.records().for_each(|record| self.journal.applied(record));
        true
    }

    /// Where writes of stripes came to no end, and cannot: what parity gives there is not to be believed before the journal
    /// was replayed. So there are no more writes until a new assembly, and the member stays a suspect, which keeps it out of
    /// all parity.
    fn keep_records(&self, failures: &Failures) -> bool {
        let (Some(member), Some(_)) = (failures.members().next(), failures.records().next()) else {
            return false;
        };
        self.journal.keep(member);
        self.lost.store(true, Ordering::Release);
        true
    }

    /// Takes members into the journal again that were dropped and are to stay after all.
    fn restore_journal(&self, roster: &Roster) {
        if !self.journal.is_active() {
            return;
        }
        for (_, member) in roster.members() {
            if let Err(error) = member.flush() {
                log::warn!("{}: not flushed: {error}", member.path().display());
            }
        }
        let members = roster.members().map(|(_, member)| member);
        if let Err(error) = self.journal.activate(members) {
            log::warn!(
                "array {}: no stripe journal, a crash may tear stripes: {error}",
                self.name()
            );
        }
    }

    /// True where the journal is to become active.
    fn wants_journal(&self, roster: &Roster) -> bool {
        let needed = self.journal_always || roster.is_degraded();
        needed && roster.has_parity() && !self.journal.is_active()
    }

    /// Makes the journal active where a crash could tear a stripe; no write is under way.
    fn activate_journal(&self, roster: &Roster) {
        if !self.wants_journal(roster) {
            return;
        }
        if let Err(error) = self.journal.activate(roster.members().map(|(_, member)| member)) {
            log::warn!(
                "array {}: no stripe journal, a crash may tear stripes: {error}",
                self.name()
            );
        }
    }

    /// Lets writes go past the journal once no member is missing any more.
    ///
    /// # Errors
    /// As [`Array::flush`]; where a sidecar cannot be written the journal stays active.
    pub(in crate::raid) fn rest_journal(&self) -> Result<()> {
        let _gate = self.exclude();
        if self.journal_always || self.roster().is_degraded() || !self.journal.is_active() {
            return Ok(());
        }
        let failures = self.flush_members()?;
        if !failures.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.journal.deactivate() {
            log::warn!("array {}: the stripe journal stays in use: {error}", self.name());
        }
        Ok(())
    }

    /// Writes the superblocks as they are to be now.
    pub(in crate::raid) fn commit_all(&self) -> Result<()> {
        self.check_enabled(0)?;
        let mut failures = Failures::default();
        {
            let _inside = self.enter();
            let degraded = self.roster().is_degraded();
            for (member, error) in self.control().commit(self.intent().lock().as_mut(), degraded) {
                failures.push(&member, error);
            }
        }
        self.settle(Ok(()), failures, 0, 1)
    }

    /// Writes the superblocks where they do not say yet of some flaw that it is there, also of one that another noted.
    pub(in crate::raid) fn commit_flaws(&self) -> Result<()> {
        let Some(noted) = self.activity().uncommitted_flaws() else {
            return Ok(());
        };
        self.commit_all()?;
        self.activity().flaws_committed(noted);
        Ok(())
    }

    /// Takes a member out on request, as if it had failed.
    ///
    /// # Errors
    /// [`Error::MemberNeeded`] where the array cannot do without it, [`Error::WrongState`] where the slot is empty.
    pub fn fail_member(&self, slot: Slot) -> Result<()> {
        if let Some((leg, slot)) = self.leg_of(slot) {
            return leg.fail_member(slot);
        }
        let roster = self.roster();
        let Some(member) = roster.occupant(slot) else {
            return Err(Error::WrongState {
                array: self.name().to_owned(),
                reason: "there is no member in that slot",
            });
        };
        // A member under suspicion is passed over by writes, so one that has to stay must not come under it.
        let without: Vec<Slot> = roster.missing().into_iter().chain([slot]).collect();
        if !roster.geometry().can_read(&without) {
            return Err(Error::MemberNeeded {
                array: self.name().to_owned(),
                slot,
            });
        }
        let mut failures = Failures::default();
        failures.push(member, io::Error::other("failed on request"));
        if self.expel(&failures) {
            Ok(())
        } else {
            Err(Error::MemberNeeded {
                array: self.name().to_owned(),
                slot,
            })
        }
    }

    pub(in crate::raid) fn not_written(&self, offset_bytes: u64, source: io::Error) -> Error {
        Error::NotWritten {
            array: self.name().to_owned(),
            offset_bytes,
            source,
        }
    }

    /// Tells the array the time, about once a second, so that it can do what is lazily done: clear bits of quiet regions
    /// and say in the superblocks that it is clean once no write came since the last tick. Returns true where it is clean.
    ///
    /// # Errors
    /// [`Error::FlushLost`] where members could not be flushed.
    pub fn tick(&self, now: Time) -> Result<bool> {
        if let Some(clean) = self.tick_legs(now)? {
            return Ok(clean);
        }
        let dirty = {
            let mut control = self.control();
            control.now = now;
            control.dirty
        };
        if self.is_read_only() || self.is_disabled() {
            return Ok(self.is_read_only());
        }
        let writes = self.writes.load(Ordering::Acquire);
        let idle = self.writes_at_tick.swap(writes, Ordering::AcqRel) == writes;
        if !dirty && !self.intent().has_quiet() {
            return Ok(true);
        }
        let unsynced = self.intent().next_unsynced(0).is_some();
        self.flush()?;
        let Ok(gate) = self.gate.try_write() else {
            return Ok(false);
        };
        let mut failures = Failures::default();
        let degraded = self.roster().is_degraded();
        if !degraded {
            self.write_bitmaps(&self.intent().clear_quiet(), &mut failures);
        }
        self.intent().age();
        let quiet = idle && dirty && !unsynced && self.writes.load(Ordering::Acquire) == writes;
        if quiet {
            // A write that has been under way since the last tick may have ended behind the flush.
            failures.merge(self.flush_members()?);
        }
        if quiet && failures.is_empty() {
            let mut control = self.control();
            control.dirty = false;
            for (member, error) in control.commit(self.intent().lock().as_mut(), degraded) {
                failures.push(&member, error);
            }
            self.dirty.store(false, Ordering::Release);
        }
        drop(gate);
        self.settle(Ok(()), failures, 0, 1)?;
        Ok(!self.control().dirty)
    }

    /// Tells the array that a [quarter](crate::raid::watch::Watch::LOOKS) of the time has passed that a member may take to answer. One that has
    /// hung since is expelled by the request that waits for it. Levels without redundancy wait for ever: they could not do
    /// without it.
    pub fn look_at_members(&self) {
        for leg in self.legs() {
            leg.look_at_members();
        }
        self.watch().set_on(!self.roster().is_bare());
        for path in self.watch().look() {
            log::error!("array {}: {} does not answer", self.name(), path.display());
        }
    }

    /// Ends the use of the array: flushes all, and says in the superblocks how far it is in sync.
    ///
    /// # Errors
    /// [`Error::FlushLost`] where members could not be flushed; the superblocks then say that a resync is needed. A
    /// disabled array is left as it is.
    pub fn stop(&self, now: Time) -> Result<()> {
        if self.is_read_only() || self.is_disabled() {
            return Ok(());
        }
        self.control().now = now;
        self.flush()?;
        if self.stop_legs(now)? {
            return Ok(());
        }
        let _gate = self.exclude();
        // What was written since that flush is not to be called clean without one of its own.
        let failures = self.flush_members()?;
        if !failures.is_empty() {
            return Err(self.flush_lost(Some(failures.into_error())));
        }
        let roster = self.roster();
        if !roster.is_degraded() {
            self.intent().age();
            let mut failures = Failures::default();
            self.write_bitmaps(&self.intent().clear_quiet(), &mut failures);
            for (member, error) in failures.iter() {
                log::warn!("{}: bits of the bitmap stay set: {error}", member.path().display());
            }
        }
        let mut control = self.control();
        let rebuilding = roster.members().any(|(_, member)| member.recovered() != WHOLE);
        if !control.dirty && !rebuilding {
            return Ok(());
        }
        control.dirty = false;
        self.dirty.store(false, Ordering::Release);
        let failed = control.commit(self.intent().lock().as_mut(), roster.is_degraded());
        let error = failed.into_iter().next().map(|(_, error)| error);
        error.map_or(Ok(()), |error| Err(self.flush_lost(Some(error))))
    }

    /// Puts other members into the slots; no write is under way.
    pub(in crate::raid) fn replace_roster(&self, roster: Roster) {
        self.set_roster(roster);
    }

    /// Writes all of the bitmap of a member that is new.
    pub(in crate::raid) fn write_bitmap(&self, member: &Member) -> io::Result<()> {
        write_pages(member, &self.intent().pages())
    }
}

/// Writes pages of the bitmap of one member, durably.
pub(in crate::raid) fn write_pages(member: &Member, pages: &[(usize, [u8; 4096])]) -> io::Result<()> {
    let Some(place) = member.bitmap_bytes().filter(|_| !pages.is_empty()) else {
        return Ok(());
    };
    for (number, page) in pages {
        member.write_raw(page, place + (*number * page.len()) as u64)?;
    }
    member.flush()
}
