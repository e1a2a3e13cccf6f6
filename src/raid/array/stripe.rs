//! Levels with parity: a write changes data and parity of a stripe as one, a read makes lost data again from the rest.
//!
//! Work is cut into *slabs*: columns of one stripe in which each data chunk is either written as a whole or not at all. A
//! slab is brought to its new parity by whichever reads less: *reconstruct-write* reads the chunks that stay,
//! *read-modify-write* the old bytes of those that change. Where neither can be, because members are missing, all that is
//! there is read and the rest made again first. The lanes of the columns are held throughout. What others write in the same
//! columns at the same time goes with it ([`super::merge`]).

use std::{io, sync::Arc};

use rustix::io::Errno;

use super::{
    Array, Failures, Roster,
    merge::Offer,
    read::rewrite,
    rows::Rows,
    write::{Source, put_on},
};
use crate::raid::{
    Slot,
    buffer::Buffer,
    error::{Error, Result, again},
    geometry::Stripe,
    journal::Part,
    member::Member,
};

/// Longest slab.
pub(in crate::raid) const SLAB_BYTES: u64 = 128 * 1024;

/// Columns of a stripe; of each data chunk what is written there, or nothing.
pub(in crate::raid) struct Slab<'a> {
    pub(in crate::raid) stripe: Stripe,
    /// First byte in each chunk.
    pub(in crate::raid) column: u64,
    pub(in crate::raid) length: u64,
    /// By data chunk.
    pub(in crate::raid) new: Vec<Option<Source<'a>>>,
}

impl Slab<'_> {
    /// Columns of which nothing is written.
    pub(in crate::raid) fn unwritten(stripe: Stripe, column: u64, length: u64) -> Self {
        let new = vec![None; usize::from(stripe.data_chunks())];
        Self {
            stripe,
            column,
            length,
            new,
        }
    }

    /// Where it begins on every member.
    pub(in crate::raid) fn at(&self) -> u64 {
        self.stripe.member_offset_bytes + self.column
    }
}

/// Which parity to read beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::raid) enum Parities {
    /// What it takes to have all data.
    Needed,
    /// All there is, to be compared.
    All,
}

/// A member could not be read; the slab is to be thought over without it.
struct Unread(Slot, io::Error);

impl Array {
    /// Writes a run of the array, stripe by stripe.
    pub(in crate::raid) fn put_stripes(
        &self,
        roster: &Roster,
        source: Source<'_>,
        start: u64,
        failures: &mut Failures,
    ) -> Result<()> {
        self.offered(roster, (start, source), |offer| {
            let (mut rest, mut at) = (source, start);
            while rest.length() > 0 {
                let Some(position) = roster.geometry().stripe_of(at) else {
                    return self.check_range(at, rest.length());
                };
                let stripe = position.stripe;
                let within = at - stripe.array_offset_bytes();
                let (part, after) = rest.split(roster.geometry().stripe_bytes() - within);
                self.put_stripe(roster, stripe, (within, part), offer, failures)?;
                at += part.length();
                rest = after;
            }
            Ok(())
        })
    }

    /// Writes a run of one stripe, `start` bytes behind its first.
    fn put_stripe(
        &self,
        roster: &Roster,
        stripe: Stripe,
        (start, part): (u64, Source<'_>),
        offer: Option<&Arc<Offer>>,
        failures: &mut Failures,
    ) -> Result<()> {
        let whole = matches!(part, Source::Hole(length) if length == roster.geometry().stripe_bytes());
        if whole && !self.journal.is_active() {
            let _held = self.hold_stripe(&stripe, 0, stripe.chunk_bytes());
            self.punch_stripe(roster, stripe, failures);
            return Ok(());
        }
        self.put_columns(roster, stripe, (start, part), offer, failures)
    }

    /// Makes holes of a whole stripe: parity of zeros is zero, for P and Q.
    fn punch_stripe(&self, roster: &Roster, stripe: Stripe, failures: &mut Failures) {
        let length = stripe.chunk_bytes();
        let at = stripe.member_offset_bytes;
        let slots = stripe.data().chain([stripe.p]).chain(stripe.q);
        for member in slots.filter_map(|slot| roster.holder(slot, at, length)) {
            failures.note(member, put_on(member, Source::Hole(length), at));
        }
    }

    /// Writes a slab and its parity, or where that cannot be made, what is left. The lanes are held.
    pub(in crate::raid) fn put_slab(&self, roster: &Roster, slab: &Slab<'_>, failures: &mut Failures) -> Result<()> {
        match self.put_slab_whole(roster, slab, failures) {
            // With a member missing parity is the only trace of its bytes: nothing is given up then.
            Err(Error::Unreadable { .. }) if !failures.wants_retry() && !roster.is_degraded() => {
                self.put_pages(roster, slab, failures)
            }
            written => written,
        }
    }

    /// Writes a slab and its parity.
    pub(super) fn put_slab_whole(&self, roster: &Roster, slab: &Slab<'_>, failures: &mut Failures) -> Result<()> {
        self.check_doubtful(roster, slab)?;
        let mut distrusted = Vec::new();
        let parity = loop {
            match self.new_parity(roster, slab, &distrusted) {
                Ok(parity) => break parity,
                Err(Unread(slot, error)) => self.distrust(roster, slab, slot, error, &mut distrusted)?,
            }
        };
        let stripe = &slab.stripe;
        let data = slab
            .new
            .iter()
            .zip(stripe.data())
            .filter_map(|(new, slot)| Some((slot, (*new)?)));
        let parities = [(Some(stripe.p), parity.p.as_deref()), (stripe.q, parity.q.as_deref())];
        let parities = parities
            .into_iter()
            .filter_map(|(slot, bytes)| Some((slot?, Source::Bytes(bytes?))));
        let writes: Vec<(Slot, &Arc<Member>, Source<'_>)> = data
            .chain(parities)
            .filter_map(|(slot, source)| Some((slot, trusted(roster, slot, slab.at(), slab.length)?, source)))
            .collect();
        note_left_out(roster, slab, &writes, failures);
        self.make_room(slab, &writes, failures)?;
        let record = self.record(slab, &writes, failures)?;
        let mut refused = None;
        for (_, member, source) in writes {
            let written = put_on(member, source, slab.at());
            if let Err(error) = &written {
                refused = Some((member, again(error)));
            }
            failures.note(member, written);
        }
        match (record, refused) {
            (Some(sequence), None) => self.journal.applied(sequence),
            // Until it is known whether the array can do without the member.
            (Some(sequence), Some((member, error))) => {
                self.journal.unfinished(sequence, member, error);
                failures.push_record(sequence);
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// Refuses a write while a member that failed another one may have to stay: parity would take in what is not written
    /// to it.
    fn check_doubtful(&self, roster: &Roster, slab: &Slab<'_>) -> Result<()> {
        let suspects = roster.members().filter(|(_, member)| member.is_suspect());
        let suspects: Vec<Slot> = suspects.map(|(slot, _)| slot).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let without: Vec<Slot> = roster.missing().into_iter().chain(suspects).collect();
        if roster.geometry().can_read(&without) {
            return Ok(());
        }
        let at = slab.stripe.array_offset_bytes() + slab.column;
        Err(self.not_written(at, Errno::IO.into()))
    }

    /// Makes sure that all of a slab can be written, where a part of it would tear what a lost member had.
    fn make_room(
        &self,
        slab: &Slab<'_>,
        writes: &[(Slot, &Arc<Member>, Source<'_>)],
        failures: &mut Failures,
    ) -> Result<()> {
        if !self.journal.is_active() {
            return Ok(());
        }
        for (_, member, source) in writes {
            if let (Source::Bytes(_), Err(error)) = (source, member.reserve(slab.at(), slab.length)) {
                let source = again(&error);
                failures.push_and_retry(member, error);
                return Err(self.not_written(slab.stripe.array_offset_bytes() + slab.column, source));
            }
        }
        Ok(())
    }

    /// Puts what is about to be written into the journal, where it is active.
    fn record(
        &self,
        slab: &Slab<'_>,
        writes: &[(Slot, &Arc<Member>, Source<'_>)],
        failures: &mut Failures,
    ) -> Result<Option<u64>> {
        if !self.journal.is_active() {
            return Ok(None);
        }
        let parts: Vec<Part<'_>> = writes
            .iter()
            .map(|(slot, member, source)| Part {
                slot: *slot,
                member,
                offset_bytes: member.data_offset_bytes() + slab.at(),
                bytes: source.bytes(),
            })
            .collect();
        match self.journal.record(&parts) {
            Ok(sequence) => Ok(Some(sequence)),
            Err((member, error)) => {
                let source = again(&error);
                failures.push_and_retry(&member, error);
                Err(self.not_written(slab.stripe.array_offset_bytes() + slab.column, source))
            }
        }
    }

    /// Takes a member that could not be read out of the reckoning for one slab.
    fn distrust(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        slot: Slot,
        error: io::Error,
        so_far: &mut Vec<Slot>,
    ) -> Result<()> {
        if let Some(member) = roster.seat(slot) {
            member.count_read_error();
            log::warn!("{}: read at {} failed: {error}", member.path().display(), slab.at());
        }
        if so_far.contains(&slot) || so_far.len() >= usize::from(roster.geometry().level().parities()) {
            return Err(self.unreadable(slab.stripe.array_offset_bytes() + slab.column, Some(error)));
        }
        so_far.push(slot);
        Ok(())
    }

    /// Parity of a slab after the write.
    fn new_parity(&self, roster: &Roster, slab: &Slab<'_>, distrusted: &[Slot]) -> Result<Parity, Unread> {
        let stripe = &slab.stripe;
        let readable =
            |slot: Slot| trusted(roster, slot, slab.at(), slab.length).filter(|_| !distrusted.contains(&slot));
        let writable = |slot: Slot| trusted(roster, slot, slab.at(), slab.length).is_some();
        let wants = (writable(stripe.p), stripe.q.is_some_and(writable));
        if wants == (false, false) {
            return Ok(Parity::default());
        }
        let (mut written, mut kept) = (Vec::new(), Vec::new());
        for (new, slot) in slab.new.iter().zip(stripe.data()) {
            if new.is_some() {
                written.push(slot)
            } else {
                kept.push(slot)
            }
        }
        let reconstruct = kept.iter().all(|&slot| readable(slot).is_some());
        let old_parity = [wants.0.then_some(stripe.p), stripe.q.filter(|_| wants.1)];
        let mut old = written.iter().copied().chain(old_parity.into_iter().flatten());
        // Parity that is not known to be right must be made from all data.
        let modify = !roster.intent().is_unsynced(slab.at(), slab.length) && old.all(|slot| readable(slot).is_some());
        let cost = written.len() + old_parity.iter().flatten().count();
        let mut rows = Rows::new(*stripe, slab.length);
        if reconstruct && (!modify || kept.len() <= cost) {
            rows.read(roster, slab.at(), kept.iter().copied())
                .map_err(|(slot, error)| Unread(slot, error))?;
            rows.overlay(&slab.new);
        } else if modify {
            let all = written.iter().copied().chain(old_parity.into_iter().flatten());
            rows.read(roster, slab.at(), all)
                .map_err(|(slot, error)| Unread(slot, error))?;
            return Ok(rows.modified_parity(&slab.new));
        } else {
            self.read_and_recover(roster, slab, &mut rows, distrusted, Parities::Needed)?;
            rows.overlay(&slab.new);
        }
        Ok(rows.parity(wants.0, wants.1))
    }

    /// Reads the data of a slab that are there and as much parity as it takes, or all that is there, and makes the rest of
    /// the data again.
    fn read_and_recover(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        rows: &mut Rows,
        distrusted: &[Slot],
        parities: Parities,
    ) -> Result<(), Unread> {
        let stripe = &slab.stripe;
        let is_seated = |slot: &Slot| trusted(roster, *slot, slab.at(), slab.length).is_some();
        let is_there = |slot: &Slot| is_seated(slot) && !distrusted.contains(slot);
        // What its member cannot give must not be made of parity that a crash may have left wrong.
        let unread = stripe.data().find(|slot| is_seated(slot) && distrusted.contains(slot));
        if let Some(slot) = unread.filter(|_| roster.intent().is_unsynced(slab.at(), slab.length)) {
            return Err(Unread(
                slot,
                io::Error::other("parity may be wrong there since a crash"),
            ));
        }
        let data: Vec<Slot> = stripe.data().filter(is_there).collect();
        let wanted = match parities {
            Parities::Needed => usize::from(stripe.data_chunks()) - data.len(),
            Parities::All => usize::MAX,
        };
        let parity = [Some(stripe.p), stripe.q].into_iter().flatten().filter(is_there);
        rows.read(roster, slab.at(), data.iter().copied().chain(parity.take(wanted)))
            .map_err(|(slot, error)| Unread(slot, error))?;
        rows.recover().map_err(|slot| Unread(slot, Errno::IO.into()))
    }

    /// Fills `part`, a run of one chunk, from the rest of its stripe, and gives a member that could not read it the right
    /// bytes back.
    pub(in crate::raid) fn read_by_parity(
        &self,
        roster: &Roster,
        array_offset: u64,
        part: &mut [u8],
        error: Option<io::Error>,
        failures: &mut Failures,
    ) -> Result<()> {
        let Some(position) = roster.geometry().stripe_of(array_offset) else {
            return self.check_range(array_offset, part.len() as u64);
        };
        let (stripe, slot, end) = (
            position.stripe,
            position.slot(),
            position.within_bytes + part.len() as u64,
        );
        let _held = self.hold_stripe(&stripe, position.within_bytes, end);
        let mut first_error = error;
        let mut column = position.within_bytes;
        for run in part.chunks_mut(usize::try_from(SLAB_BYTES).unwrap_or(usize::MAX)) {
            let slab = Slab::unwritten(stripe, column, run.len() as u64);
            let rows = self.recovered_rows(roster, &slab, vec![slot], first_error.take(), Parities::Needed);
            let rows = match rows {
                Err(error) if !self.is_read_only() && roster.intent().is_unsynced(slab.at(), slab.length) => {
                    self.give_up_unread(roster, &slab, &error, failures)?;
                    return Err(error);
                }
                rows => rows?,
            };
            run.copy_from_slice(rows.data(position.index));
            if let Some(member) = roster
                .holder(slot, slab.at(), slab.length)
                .filter(|_| !self.is_read_only())
            {
                rewrite(member, run, slab.at(), failures);
            }
            column += slab.length;
        }
        Ok(())
    }

    /// All data of a slab, made again without the members in `distrusted` and those that cannot be read.
    pub(in crate::raid) fn recovered_rows(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        mut distrusted: Vec<Slot>,
        mut error: Option<io::Error>,
        parities: Parities,
    ) -> Result<Rows<'static>> {
        loop {
            let mut rows = Rows::new(slab.stripe, slab.length);
            match self.read_and_recover(roster, slab, &mut rows, &distrusted, parities) {
                Ok(()) => return Ok(rows),
                Err(Unread(slot, _)) if distrusted.contains(&slot) || roster.seat(slot).is_none() => {
                    return Err(self.lost(slab, slot, error.take()));
                }
                Err(Unread(slot, new)) => {
                    if trusted(roster, slot, slab.at(), slab.length).is_none() {
                        return Err(self.lost(slab, slot, error.take().or(Some(new))));
                    }
                    if let Some(member) = roster.seat(slot) {
                        member.count_read_error();
                    }
                    distrusted.push(slot);
                    error = Some(new);
                }
            }
        }
    }

    /// Writes the parity of data that was read or recovered, where what is there differs. The lanes are held.
    pub(in crate::raid) fn put_parity(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        rows: &Rows<'_>,
        failures: &mut Failures,
    ) {
        let parity = rows.parity(true, slab.stripe.q.is_some());
        let rows = [
            (Some(slab.stripe.p), parity.p, rows.p()),
            (slab.stripe.q, parity.q, rows.q()),
        ];
        for (slot, right, found) in rows {
            let (Some(slot), Some(right)) = (slot, right) else {
                continue;
            };
            let member = trusted(roster, slot, slab.at(), slab.length);
            if let Some(member) = member.filter(|_| found != Some(&*right)) {
                failures.note(member, member.write(&right, slab.at()));
            }
        }
    }

    /// The error for a slab whose chunk on `slot` is gone.
    fn lost(&self, slab: &Slab<'_>, slot: Slot, error: Option<io::Error>) -> Error {
        let index = slab.stripe.index_of(slot).unwrap_or(0);
        let chunk = u64::from(index) * slab.stripe.chunk_bytes();
        self.unreadable(slab.stripe.array_offset_bytes() + chunk + slab.column, error)
    }
}

/// Makes the outcome of a write depend on that of members which it leaves out because they failed another request: where
/// the array cannot do without one, this write is not whole either.
fn note_left_out(
    roster: &Roster,
    slab: &Slab<'_>,
    writes: &[(Slot, &Arc<Member>, Source<'_>)],
    failures: &mut Failures,
) {
    let stripe = &slab.stripe;
    let data = slab.new.iter().zip(stripe.data());
    let data = data.filter(|(new, _)| new.is_some()).map(|(_, slot)| slot);
    let left_out = |slot: &Slot| writes.iter().all(|(written, _, _)| written != slot);
    for slot in data.chain([stripe.p]).chain(stripe.q).filter(left_out) {
        if let Some(member) = roster.holder(slot, slab.at(), slab.length) {
            failures.push(member, io::Error::other("it failed another request"));
        }
    }
}

/// New parity, as far as there are members to take it.
#[derive(Debug, Default)]
pub(in crate::raid) struct Parity {
    pub(in crate::raid) p: Option<Buffer>,
    pub(in crate::raid) q: Option<Buffer>,
}

/// The member in a slot, if its bytes there go with those of the others: not where a write failed that is not answered
/// yet, because parity may have taken that write in already.
pub(in crate::raid) fn trusted(roster: &Roster, slot: Slot, at: u64, length: u64) -> Option<&Arc<Member>> {
    roster.holder(slot, at, length).filter(|member| !member.is_suspect())
}
