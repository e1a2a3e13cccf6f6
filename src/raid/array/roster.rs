//! Who sits in the slots of an array at one moment and by which shape, and who failed a request.
//!
//! A [`Roster`] never changes: a request takes the one of the moment and keeps it; a change of membership puts a new one
//! in its place while no write is under way.

use std::{io, sync::Arc};

use super::Intent;
use crate::raid::{
    Slot,
    geometry::{Direction, Geometry, ReshapeView},
    member::{Member, WHOLE},
};

/// Members by slot, and where the bytes of the array lie on them.
///
/// While the array is reshaped this is its old side, and [`Moving`] has the new one.
#[derive(Clone)]
pub(in crate::raid) struct Roster {
    geometry: Arc<Geometry>,
    intent: Arc<Intent>,
    seats: Vec<Option<Arc<Member>>>,
    moving: Option<Box<Moving>>,
}

/// The other side of an array that is reshaped.
#[derive(Clone)]
pub(in crate::raid) struct Moving {
    /// Which bytes of the array lie on which side.
    pub(in crate::raid) view: ReshapeView,
    /// The new side.
    pub(in crate::raid) new: Roster,
}

impl Roster {
    pub(in crate::raid) fn new(geometry: Geometry, intent: Intent, seats: Vec<Option<Arc<Member>>>) -> Self {
        Self {
            geometry: Arc::new(geometry),
            intent: Arc::new(intent),
            seats,
            moving: None,
        }
    }

    /// The same seats by a shape of their own, with the same bitmap.
    pub(in crate::raid) fn shaped(&self, geometry: Geometry, seats: Vec<Option<Arc<Member>>>) -> Self {
        Self {
            geometry: Arc::new(geometry),
            intent: Arc::clone(&self.intent),
            seats,
            moving: None,
        }
    }

    /// The same with another bitmap.
    pub(in crate::raid) fn tracked(&self, intent: Intent) -> Self {
        Self {
            intent: Arc::new(intent),
            ..self.clone()
        }
    }

    /// The same as the old side of a reshape, or of none.
    pub(in crate::raid) fn with_moving(&self, moving: Option<Moving>) -> Self {
        Self {
            moving: moving.map(Box::new),
            ..self.clone()
        }
    }

    /// The reshape that is under way.
    pub(in crate::raid) fn moving(&self) -> Option<&Moving> {
        self.moving.as_deref()
    }

    /// The sides that a range of the array lies on, in order, with where it does.
    pub(in crate::raid) fn parts(&self, start: u64, length: u64) -> impl Iterator<Item = (&Self, u64, u64)> {
        let end = start + length;
        let (below, above, cut) = match &self.moving {
            None => (self, self, end),
            Some(moving) => {
                let cut = moving.view.position_bytes().clamp(start, end);
                match moving.view.direction() {
                    Direction::Forward => (&moving.new, self, cut),
                    Direction::Backward => (self, &moving.new, cut),
                }
            }
        };
        let parts = [(below, start, cut - start), (above, cut, end - cut)];
        parts.into_iter().filter(|(_, _, length)| *length > 0)
    }

    /// True where the loss of any member loses data, on all sides.
    pub(in crate::raid) fn is_bare(&self) -> bool {
        let new = self.moving().is_none_or(|moving| moving.new.is_bare());
        self.geometry.level().is_bare() && new
    }

    /// True where some side has parity.
    pub(in crate::raid) fn has_parity(&self) -> bool {
        let new = self.moving().is_some_and(|moving| moving.new.has_parity());
        self.geometry.level().parities() > 0 || new
    }

    /// True where all data can be read.
    pub(in crate::raid) fn is_readable(&self) -> bool {
        let new = self.moving().is_none_or(|moving| moving.new.is_readable());
        self.geometry.can_read(&self.missing()) && new
    }

    /// Slots, on whichever side there are more.
    pub(in crate::raid) fn slots(&self) -> u16 {
        let new = self.moving().map_or(0, |moving| moving.new.slots());
        self.geometry.slots().max(new)
    }

    /// Members of this side by slot.
    pub(in crate::raid) fn seats(&self) -> &[Option<Arc<Member>>] {
        &self.seats
    }

    /// The member in a slot, on whichever side.
    pub(in crate::raid) fn occupant(&self, slot: Slot) -> Option<&Arc<Member>> {
        self.seat(slot)
            .or_else(|| self.moving().and_then(|moving| moving.new.seat(slot)))
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

    /// All members with their slots, of both sides.
    pub(in crate::raid) fn members(&self) -> impl Iterator<Item = (Slot, &Arc<Member>)> {
        (0..self.slots())
            .map(Slot)
            .filter_map(|slot| self.occupant(slot).map(|member| (slot, member)))
    }

    /// Slots of this side whose data are not all there: empty, or rebuilt in part.
    pub(in crate::raid) fn missing(&self) -> Vec<Slot> {
        let slots = (0..=u16::MAX).map(Slot).zip(&self.seats);
        let lacking = |seat: &Option<Arc<Member>>| seat.as_ref().is_none_or(|member| member.recovered() != WHOLE);
        slots.filter(|(_, seat)| lacking(seat)).map(|(slot, _)| slot).collect()
    }

    /// True where some slot's data are not all there, on any side.
    pub(in crate::raid) fn is_degraded(&self) -> bool {
        let lacks = |seat: &Option<Arc<Member>>| seat.as_ref().is_none_or(|member| member.recovered() != WHOLE);
        self.seats.iter().any(lacks) || self.moving().is_some_and(|moving| moving.new.is_degraded())
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
            moving: self.moving().map(|moving| {
                Box::new(Moving {
                    view: moving.view.clone(),
                    new: moving.new.without(gone),
                })
            }),
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

    /// Takes in those of another part of the same work.
    pub(in crate::raid) fn merge(&mut self, other: Self) {
        for (member, error) in other.failed {
            self.push(&member, error);
        }
        self.retry |= other.retry;
        self.records.extend(other.records);
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
