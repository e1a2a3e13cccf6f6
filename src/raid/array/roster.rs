//! Who sits in the slots of an array at one moment and by which shape, and who failed a request.
//!
//! A [`Roster`] never changes: a request takes the one of the moment and keeps it; a change of membership puts a new one
//! in its place while no write is under way.

use std::{io, sync::Arc};

use super::Intent;
use crate::raid::{
    Slot,
    geometry::Geometry,
    member::{Member, WHOLE},
};

/// Members by slot, and where the bytes of the array lie on them.
#[derive(Clone)]
pub(in crate::raid) struct Roster {
    geometry: Arc<Geometry>,
    intent: Arc<Intent>,
    seats: Vec<Option<Arc<Member>>>,
}

impl Roster {
    pub(in crate::raid) fn new(geometry: Geometry, intent: Intent, seats: Vec<Option<Arc<Member>>>) -> Self {
        Self {
            geometry: Arc::new(geometry),
            intent: Arc::new(intent),
            seats,
        }
    }

    /// Where bytes lie.
    pub(in crate::raid) fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// Where redundancy may not be right.
    pub(in crate::raid) fn intent(&self) -> &Arc<Intent> {
        &self.intent
    }

    /// Range of the bitmap's own address space that a range of the array lies in.
    pub(in crate::raid) fn bitmap_range(&self, offset_bytes: u64, length_bytes: u64) -> (u64, u64) {
        let last = offset_bytes + length_bytes.max(1) - 1;
        match (self.geometry.stripe_of(offset_bytes), self.geometry.stripe_of(last)) {
            (Some(first), Some(last)) if first.stripe.number == last.stripe.number && first.index == last.index => {
                (first.member_offset_bytes(), length_bytes)
            }
            (Some(first), Some(last)) => {
                let start = first.stripe.member_offset_bytes;
                let end = last.stripe.member_offset_bytes + self.geometry.chunk_bytes();
                (start, end - start)
            }
            _ => (offset_bytes, length_bytes),
        }
    }

    /// The member in a slot, whole or not.
    pub(in crate::raid) fn seat(&self, slot: Slot) -> Option<&Arc<Member>> {
        self.seats.get(slot.index()).and_then(Option::as_ref)
    }

    /// The member in a slot, if its data are right in this range.
    pub(in crate::raid) fn holder(&self, slot: Slot, offset_bytes: u64, length_bytes: u64) -> Option<&Arc<Member>> {
        self.seat(slot)
            .filter(|member| member.holds(offset_bytes, length_bytes))
    }

    /// All members with their slots.
    pub(in crate::raid) fn members(&self) -> impl Iterator<Item = (Slot, &Arc<Member>)> {
        let slots = (0..=u16::MAX).map(Slot);
        slots
            .zip(&self.seats)
            .filter_map(|(slot, seat)| seat.as_ref().map(|member| (slot, member)))
    }

    /// Slots whose data are not all there: empty, or rebuilt in part.
    pub(in crate::raid) fn missing(&self) -> Vec<Slot> {
        let slots = (0..=u16::MAX).map(Slot).zip(&self.seats);
        let lacking = |seat: &Option<Arc<Member>>| seat.as_ref().is_none_or(|member| member.recovered() != WHOLE);
        slots.filter(|(_, seat)| lacking(seat)).map(|(slot, _)| slot).collect()
    }

    /// True where some slot's data are not all there.
    pub(in crate::raid) fn is_degraded(&self) -> bool {
        self.seats
            .iter()
            .any(|seat| seat.as_ref().is_none_or(|member| member.recovered() != WHOLE))
    }

    /// The same with another member, or none, in a slot.
    pub(in crate::raid) fn with(&self, slot: Slot, member: Option<Arc<Member>>) -> Self {
        let mut seats = self.seats.clone();
        if let Some(seat) = seats.get_mut(slot.index()) {
            *seat = member;
        }
        Self { seats, ..self.clone() }
    }

    /// The same without a member, if it still sits there.
    pub(in crate::raid) fn without(&self, gone: &Arc<Member>) -> Self {
        let keep = |seat: &Option<Arc<Member>>| seat.clone().filter(|member| !member.is(gone));
        Self {
            seats: self.seats.iter().map(keep).collect(),
            ..self.clone()
        }
    }

    /// True where the member sits in some slot.
    pub(in crate::raid) fn has(&self, member: &Arc<Member>) -> bool {
        self.members().any(|(_, seated)| seated.is(member))
    }
}

/// Members that failed a write or a flush during a request. They are expelled after it, before it is answered.
#[derive(Debug, Default)]
pub(in crate::raid) struct Failures {
    failed: Vec<(Arc<Member>, io::Error)>,
    retry: bool,
    /// Records of the journal that some member did not take in place.
    records: Vec<u64>,
}

impl Failures {
    pub(in crate::raid) fn push(&mut self, member: &Arc<Member>, error: io::Error) {
        member.set_suspect(true);
        if !self.has(member) {
            self.failed.push((Arc::clone(member), error));
        }
    }

    /// Notes a member that failed before anything was written, so that the request is to be done again without it.
    pub(in crate::raid) fn push_and_retry(&mut self, member: &Arc<Member>, error: io::Error) {
        self.push(member, error);
        self.retry = true;
    }

    /// Notes a record of the journal that is not in place as a whole.
    pub(in crate::raid) fn push_record(&mut self, sequence: u64) {
        self.records.push(sequence);
    }

    /// Records that are not in place as a whole.
    pub(in crate::raid) fn records(&self) -> impl Iterator<Item = u64> {
        self.records.iter().copied()
    }

    /// True where the request is to be done again once the members are expelled.
    pub(in crate::raid) fn wants_retry(&self) -> bool {
        self.retry
    }

    /// Notes the outcome of a write.
    pub(in crate::raid) fn note(&mut self, member: &Arc<Member>, result: io::Result<()>) {
        if let Err(error) = result {
            self.push(member, error);
        }
    }

    pub(in crate::raid) fn has(&self, member: &Arc<Member>) -> bool {
        self.failed.iter().any(|(failed, _)| failed.is(member))
    }

    pub(in crate::raid) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    pub(in crate::raid) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.failed.iter().map(|(member, _)| member)
    }

    /// Members and errors, in words for the log.
    pub(in crate::raid) fn iter(&self) -> impl Iterator<Item = (&Arc<Member>, &io::Error)> {
        self.failed.iter().map(|(member, error)| (member, error))
    }

    /// True where a member had no room, which is no failure of the member: nobody is expelled for it.
    pub(in crate::raid) fn lacks_space(&self) -> bool {
        self.failed.iter().any(|(_, error)| is_full(error))
    }

    /// Those that are failures of their members, and those that had no room.
    pub(super) fn split_full(self) -> (Self, Self) {
        let retry = self.retry;
        let (full, failed): (Vec<_>, Vec<_>) = self.failed.into_iter().partition(|(_, error)| is_full(error));
        // A record that somebody had no room for is not whole whoever else is expelled.
        let (with_full, with_failed) = if full.is_empty() {
            (Vec::new(), self.records)
        } else {
            (self.records, Vec::new())
        };
        let half = |failed, records| Self { failed, retry, records };
        (half(failed, with_failed), half(full, with_full))
    }

    /// The last error, to be the source of the request's.
    pub(in crate::raid) fn into_error(self) -> io::Error {
        let last = self.failed.into_iter().next_back().map(|(_, error)| error);
        last.unwrap_or_else(|| rustix::io::Errno::IO.into())
    }
}

/// True where the host says that there is no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}
