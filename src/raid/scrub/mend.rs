//! Mending one granule that a verify found wrong: looked at again under its lanes, and written if it can be known how.
//!
//! The superblocks need not say *dirty* for this: a crash in the middle leaves a mismatch, as there was one before, and
//! must not lead to a resync, which would take the wrong data for right.

use std::{io, sync::Arc};

use super::{
    Repair, Scrub, Suspect,
    compare::{blamed, outvoted},
};
use crate::raid::{
    Slot,
    array::{Failures, Parities, Roster, Rows, Slab, rewrite},
    geometry::{Piece, Stripe},
    member::Member,
    parity::Part,
};

impl Scrub<'_> {
    /// Runs a repair while no change of membership is possible, and expels who failed it.
    fn mended(&self, mend: impl FnOnce(&Roster, &mut Failures) -> bool) -> bool {
        if self.repair == Repair::Report {
            return false;
        }
        let mut failures = Failures::default();
        let mended = {
            let _inside = self.array.enter();
            let roster = self.array.roster();
            self.is_comparable(&roster) && mend(&roster, &mut failures)
        };
        if failures.is_empty() {
            return mended;
        }
        self.array.expel(&failures);
        false
    }

    /// Mends columns of a stripe in which parity does not go with the data; true where it does now.
    pub(super) fn mend_stripe(&self, stripe: Stripe, column: u64, length: u64) -> bool {
        self.mended(|roster, failures| {
            let _held = self.array.hold_stripe(&stripe, column, column + length);
            let slab = Slab::unwritten(stripe, column, length);
            let mut rows = Rows::new(stripe, length);
            let all = stripe.data().chain([stripe.p]).chain(stripe.q);
            if rows.read(roster, slab.at(), all).is_err() {
                return false;
            }
            let data: Vec<&[u8]> = (0..stripe.data_chunks()).map(|index| rows.data(index)).collect();
            let part = match (rows.p(), rows.q()) {
                (Some(p), Some(q)) => blamed(p, q, &data, &stripe),
                _ => None,
            };
            match part {
                Some(Part::Data(index)) => {
                    let slot = stripe.data_slot(index);
                    let right = self
                        .array
                        .recovered_rows(roster, &slab, vec![slot], None, Parities::Needed);
                    let (Ok(right), Some(member)) = (right, roster.seat(slot)) else {
                        return false;
                    };
                    rewrite(member, right.data(index), slab.at(), failures);
                }
                Some(Part::P | Part::Q) => self.array.put_parity(roster, &slab, &rows, failures),
                None if self.repair == Repair::Redundancy => self.array.put_parity(roster, &slab, &rows, failures),
                None => return false,
            }
            failures.is_empty()
        })
    }

    /// Writes columns of a member that cannot be read, from the rest of the stripe; true where they can be read now.
    pub(super) fn mend_unread_stripe(&self, stripe: Stripe, column: u64, length: u64, slot: Slot) -> bool {
        self.mended(|roster, failures| {
            let _held = self.array.hold_stripe(&stripe, column, column + length);
            let slab = Slab::unwritten(stripe, column, length);
            let rows = self
                .array
                .recovered_rows(roster, &slab, vec![slot], None, Parities::Needed);
            let (Ok(rows), Some(member)) = (rows, roster.seat(slot)) else {
                return false;
            };
            rewrite(member, &rows.row_of(slot), slab.at(), failures);
            failures.is_empty()
        })
    }

    /// Makes copies of a granule equal; true where they are now.
    pub(super) fn mend_copies(&self, array_offset: u64, length: u64) -> bool {
        self.mended(|roster, failures| {
            let _held = self.array.hold_range(array_offset, length);
            let Some(piece) = self.geometry.map(array_offset, length).next() else {
                return false;
            };
            let Ok(copies) = read_copies(roster, &piece) else {
                return false;
            };
            let views: Vec<(Suspect, &[u8])> = copies.iter().map(|copy| (copy.place, &*copy.bytes)).collect();
            let mut wrong = outvoted(&views);
            if wrong.len() == copies.len() {
                if self.repair != Repair::Redundancy {
                    return false;
                }
                wrong.remove(0);
            }
            let right = copies.iter().find(|copy| !wrong.contains(&copy.place));
            let Some(right) = right else { return false };
            for copy in copies.iter().filter(|copy| wrong.contains(&copy.place)) {
                if copy.bytes != right.bytes {
                    rewrite(copy.member, &right.bytes, copy.place.offset_bytes, failures);
                }
            }
            failures.is_empty()
        })
    }

    /// Writes a copy of the first `length` bytes of a piece that cannot be read, from another; true where it can be read now.
    pub(super) fn mend_unread_copy(&self, piece: &Piece<'_>, slot: Slot, length: u64) -> bool {
        self.mended(|roster, failures| {
            let _held = self.array.hold_range(piece.array_offset_bytes, length);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            let others = piece.copies().filter(|(other, _)| *other != slot);
            let mut members = others.filter_map(|(other, at)| Some((roster.seat(other)?, at)));
            if !members.any(|(member, at)| member.read(&mut bytes, at).is_ok()) {
                return false;
            }
            for (_, at) in piece.copies().filter(|(own, _)| *own == slot) {
                if let Some(member) = roster.seat(slot) {
                    rewrite(member, &bytes, at, failures);
                }
            }
            failures.is_empty()
        })
    }
}

/// One copy of a granule.
struct Copy<'a> {
    place: Suspect,
    member: &'a Arc<Member>,
    bytes: Vec<u8>,
}

/// All copies of a piece, which must all be readable.
fn read_copies<'a>(roster: &'a Roster, piece: &Piece<'_>) -> io::Result<Vec<Copy<'a>>> {
    let mut copies = Vec::new();
    for (slot, offset_bytes) in piece.copies() {
        let Some(member) = roster.seat(slot) else { continue };
        let mut bytes = vec![0; usize::try_from(piece.length_bytes).unwrap_or(0)];
        member.read(&mut bytes, offset_bytes)?;
        copies.push(Copy {
            place: Suspect { slot, offset_bytes },
            member,
            bytes,
        });
    }
    Ok(copies)
}
