//! What an array tells of itself: which of its bytes are holes, which have lost their redundancy, how its members are.
//!
//! Nothing here changes anything, and nothing waits for a lane: it is the state of one moment.

use std::{path::PathBuf, sync::atomic::Ordering};

use super::{Array, Roster};
use crate::{
    raid::{
        Level, Slot,
        error::Result,
        geometry::{Direction, Piece, ReshapeView},
        member::{Member, WHOLE},
        metadata::identity::Uuid,
        reshape::whole_bytes,
    },
    storage::Span,
};

/// Most extents that one answer has.
const EXTENTS_MAX: usize = 4096;

/// Redundancy is missing.
const DEGRADED: u32 = 1;
/// Data are lost.
const LOST: u32 = 2;

/// What a run of the array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes.
    Data,
    /// Nothing; reads as zeros.
    Hole,
    /// Zeros that have space.
    Zero,
}

/// A run of the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub length_bytes: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

/// A slot of the array and who sits there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// The slot.
    pub slot: Slot,
    /// The member's file; none where the slot is empty.
    pub path: Option<PathBuf>,
    /// Bytes of its data area that are right so far, where it is being rebuilt.
    pub rebuilt_bytes: Option<u64>,
    /// Reads that failed since the array was assembled.
    pub read_errors: u64,
}

/// State of an array at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Name, without a host.
    pub name: String,
    /// Identity.
    pub uuid: Uuid,
    /// Level.
    pub level: Level,
    /// Size in bytes.
    pub size_bytes: u64,
    /// By slot.
    pub members: Vec<MemberStatus>,
    /// Devices that wait for a slot to become free.
    pub spares: Vec<PathBuf>,
    /// True where some slot's data are not all there.
    pub degraded: bool,
    /// True where writes may be under way.
    pub dirty: bool,
    /// True where redundancy may be wrong somewhere or zeros are still to be made, so that a resync is needed.
    pub needs_resync: bool,
    /// How often the superblocks were written.
    pub events: u64,
    /// Where the array is going to, while it is reshaped.
    pub reshape: Option<Reshaping>,
}

/// A reshape under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshaping {
    /// Level afterwards, of a RAID 50 that of its legs.
    pub level: Level,
    /// Members afterwards.
    pub slots: u16,
    /// Chunk afterwards.
    pub chunk_bytes: u64,
    /// Size of the array afterwards.
    pub size_bytes: u64,
    /// Array bytes that were moved, durably.
    pub done_bytes: u64,
    /// Array bytes to move in all.
    pub whole_bytes: u64,
    /// False where it was stopped and waits to be gone on with.
    pub running: bool,
}

impl Reshaping {
    /// Where a reshape goes, and how far it is.
    pub(in crate::raid) fn of(view: &ReshapeView, running: bool) -> Self {
        let new = view.new_geometry();
        let whole_bytes = whole_bytes(view);
        Self {
            level: new.level(),
            slots: new.slots(),
            chunk_bytes: new.chunk_bytes(),
            size_bytes: new.capacity_bytes(),
            done_bytes: match view.direction() {
                Direction::Forward => view.position_bytes(),
                Direction::Backward => whole_bytes.saturating_sub(view.position_bytes()),
            },
            whole_bytes,
            running,
        }
    }

    /// That of an array that is where it was to go.
    pub(in crate::raid) fn done(level: Level, slots: u16, size_bytes: u64) -> Self {
        Self {
            level,
            slots,
            chunk_bytes: 0,
            size_bytes,
            done_bytes: size_bytes,
            whole_bytes: size_bytes,
            running: false,
        }
    }

    /// That of a RAID 0 with this chunk over legs, on which its data begin at `start_bytes`; none of no legs.
    pub(in crate::raid) fn of_legs(legs: &[Self], start_bytes: u64, chunk_bytes: u64) -> Option<Self> {
        let least = legs
            .iter()
            .map(|leg| leg.size_bytes.saturating_sub(start_bytes))
            .min()?;
        let used = least - least % chunk_bytes.max(1);
        Some(Self {
            level: legs.first()?.level,
            slots: legs.iter().fold(0, |all, leg| all.saturating_add(leg.slots)),
            chunk_bytes,
            size_bytes: legs.iter().fold(0, |all, _| all.saturating_add(used)),
            done_bytes: legs.iter().fold(0, |all, leg| all.saturating_add(leg.done_bytes)),
            whole_bytes: legs.iter().fold(0, |all, leg| all.saturating_add(leg.whole_bytes)),
            running: legs.iter().any(|leg| leg.running),
        })
    }
}

impl Array {
    /// State of the array and its members.
    pub fn status(&self) -> Status {
        let control = self.control();
        let roster = self.roster();
        let seat = |slot| {
            let member = roster.occupant(slot);
            MemberStatus {
                slot,
                path: member.map(|member| member.path().to_path_buf()),
                rebuilt_bytes: member.map(|member| member.recovered()).filter(|&bytes| bytes != WHOLE),
                read_errors: member.map_or(0, |member| member.read_errors()),
            }
        };
        let spares = control.devices.iter().filter(|device| !roster.has(&device.member));
        let reshape = match roster.moving() {
            Some(moving) => Some(Reshaping::of(&moving.view, self.reshape_runs().load(Ordering::Acquire))),
            None => self.reshape_of_legs(&roster, &control),
        };
        self.status_of_legs(Status {
            name: self.name().to_owned(),
            uuid: self.uuid(),
            level: self.level(),
            size_bytes: self.size_bytes(),
            members: (0..roster.slots()).map(Slot).map(seat).collect(),
            spares: spares.map(|device| device.member.path().to_path_buf()).collect(),
            degraded: roster.is_degraded(),
            dirty: control.dirty,
            needs_resync: self.has_blank() || self.intent().next_unsynced(0).is_some(),
            events: control.events,
            reshape,
        })
    }

    /// What the bytes of a range are, in order; the extents may end before the range does, but not before they begin.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::raid::Error::OutOfRange). A member that cannot tell has data.
    pub fn block_status(&self, offset_bytes: u64, length_bytes: u64) -> Result<Vec<Extent>> {
        self.check_range(offset_bytes, length_bytes)?;
        let first = self.blank_runs(offset_bytes, length_bytes).first().copied();
        if let Some(run) = first.filter(|run| run.blank) {
            return Ok(vec![Extent {
                length_bytes: run.length_bytes,
                kind: ExtentKind::Hole,
            }]);
        }
        let length_bytes = first.map_or(length_bytes, |run| run.length_bytes);
        let (_crossing, roster) = self.snapshot(offset_bytes, length_bytes);
        let mut extents: Vec<Extent> = Vec::new();
        for (side, at, length) in roster.parts(offset_bytes, length_bytes) {
            let mut seen = Spans::default();
            for piece in side.geometry().map(at, length) {
                let mut done = 0;
                while done < piece.length_bytes {
                    let (kind, length_bytes) = seen.kind_at(side, &piece, done);
                    done += length_bytes;
                    if let Some(last) = extents.last_mut().filter(|last| last.kind == kind) {
                        last.length_bytes += length_bytes;
                    } else if extents.len() == EXTENTS_MAX {
                        return Ok(extents);
                    } else {
                        extents.push(Extent { length_bytes, kind });
                    }
                }
            }
        }
        Ok(extents)
    }

    /// Health of a range: runs of bytes with flags, 1 where redundancy is missing, 2 where data are lost.
    pub fn health_status(&self, offset_bytes: u64, length_bytes: u64) -> Vec<(u64, u32)> {
        let length = length_bytes.min(self.size_bytes().saturating_sub(offset_bytes));
        let roster = self.roster();
        let legs = self.legs().iter().map(|leg| leg.status());
        let degraded = roster.is_degraded()
            || roster.intent().next_unsynced(0).is_some()
            || legs.into_iter().any(|leg| leg.degraded || leg.needs_resync);
        let flags = if degraded { DEGRADED } else { 0 };
        let (mut runs, mut at, end) = (Vec::new(), offset_bytes, offset_bytes + length);
        for (start, length) in self.lost_runs(&roster, offset_bytes, length) {
            runs.push((start - at, flags));
            runs.push((length, flags | LOST));
            at = start + length;
        }
        runs.push((end - at, flags));
        runs.retain(|(length, _)| *length > 0);
        runs
    }
}

/// The last span of each slot: a host may look through all of a file for the end of one, so it is asked once.
#[derive(Default)]
struct Spans(Vec<Option<(u64, Span)>>);

impl Spans {
    /// What a piece holds behind its first `done` bytes, and for how long.
    fn kind_at(&mut self, roster: &Roster, piece: &Piece<'_>, done: u64) -> (ExtentKind, u64) {
        let left = piece.length_bytes - done;
        let mut copies = piece.copies().map(|(slot, at)| (slot, at + done));
        let holder = copies.find_map(|(slot, at)| Some((slot, roster.holder(slot, at, left)?, at)));
        let span = holder.and_then(|(slot, member, at)| Some((self.span(slot, member, at)?, at)));
        span.map_or((ExtentKind::Data, left), |(span, at)| {
            let kind = if span.hole { ExtentKind::Hole } else { ExtentKind::Data };
            (kind, span.end_bytes.saturating_sub(at).clamp(1, left))
        })
    }

    fn span(&mut self, slot: Slot, member: &Member, at: u64) -> Option<Span> {
        if self.0.len() <= slot.index() {
            self.0.resize(slot.index() + 1, None);
        }
        let seen = &mut self.0[slot.index()];
        if let Some((start, span)) = seen
            && (*start..span.end_bytes).contains(&at)
        {
            return Some(*span);
        }
        let span = member.span(at).ok()?;
        *seen = Some((at, span));
        Some(span)
    }
}
