//! Looking at one run: read all members, compare, and say what is wrong. Nothing is written.
//!
//! A run of a parity array is a few stripes, or some columns of one; else it is a range of the array. A member that
//! cannot read the whole run is read again granule by granule, so that only what is bad is called bad.

use std::sync::Arc;

use super::{GRANULE_BYTES, Mismatch, Report, Scrub, Suspect, Unreadable};
use crate::raid::{
    Slot,
    array::Roster,
    geometry::{Geometry, Piece, Stripe},
    member::Member,
    parity::{self, Part},
};

/// Runs that the stripes of an array make.
pub(super) fn stripe_runs(geometry: &Geometry, run_bytes: u64) -> u64 {
    let chunk = geometry.chunk_bytes();
    if chunk >= run_bytes {
        geometry.stripes() * chunk.div_ceil(run_bytes)
    } else {
        geometry.stripes().div_ceil(run_bytes / chunk)
    }
}

/// Stripes, or columns of one.
struct StripeRun {
    first: u64,
    end: u64,
    column: u64,
    /// Of each chunk.
    length: u64,
}

impl StripeRun {
    fn new(geometry: &Geometry, run_bytes: u64, number: u64) -> Self {
        let chunk = geometry.chunk_bytes();
        if chunk >= run_bytes {
            let per_chunk = chunk.div_ceil(run_bytes);
            let column = number % per_chunk * run_bytes;
            let first = number / per_chunk;
            Self {
                first,
                end: first + 1,
                column,
                length: run_bytes.min(chunk - column),
            }
        } else {
            let stripes = run_bytes / chunk;
            let first = number * stripes;
            Self {
                first,
                end: (first + stripes).min(geometry.stripes()),
                column: 0,
                length: chunk,
            }
        }
    }
}

/// What could not be read, by slot: granules from the start of the run.
type Gaps = Vec<(Slot, u64)>;

impl Scrub<'_> {
    /// Compares parity with data; none where a member was lost.
    pub(super) fn compare_stripes(&self, number: u64, buffers: &mut Vec<Vec<u8>>) -> Option<Report> {
        let geometry = &*self.geometry;
        let run = StripeRun::new(geometry, self.run_bytes, number);
        let first = geometry.stripe(run.first)?;
        let at = first.member_offset_bytes + run.column;
        let length = (run.end - run.first) * run.length;
        let mut report = Report::new();
        report.compared_bytes = length;
        let (mut found, gaps) = {
            let _held = self
                .array
                .hold_stripes(&first, run.end - run.first, run.column, run.column + run.length);
            let roster = self.array.roster();
            if !self.is_comparable(&roster) {
                return None;
            }
            if roster.intent().is_unsynced(at, length) || has_suspect(&roster) {
                report.unsynced_bytes = length;
                return Some(report);
            }
            if roster.members().all(|(_, member)| member.is_hole(at, length)) {
                return Some(report);
            }
            let gaps = read_all(&roster, at, length, buffers);
            (self.wrong_stripes(&run, buffers), gaps)
        };
        let gap_at = |member_offset: u64| gaps.iter().any(|(_, gap)| at + gap == member_offset);
        found.retain(|(mismatch, _)| !mismatch.suspects.iter().any(|suspect| gap_at(suspect.offset_bytes)));
        for (slot, gap) in &gaps {
            let stripe = geometry.stripe(run.first + gap / run.length)?;
            let length = GRANULE_BYTES.min(length - gap);
            let repaired = self.mend_unread_stripe(stripe, run.column + gap % run.length, length, *slot);
            report.add_unreadable(unreadable(*slot, at + gap, length, repaired));
        }
        for (mut mismatch, stripe) in found {
            let column =
                mismatch.suspects.first().map_or(0, |suspect| suspect.offset_bytes) - stripe.member_offset_bytes;
            mismatch.repaired = self.mend_stripe(stripe, column, mismatch.length_bytes);
            report.add_mismatch(mismatch);
        }
        Some(report)
    }

    /// Granules of stripes in which parity is wrong.
    fn wrong_stripes(&self, run: &StripeRun, buffers: &[Vec<u8>]) -> Vec<(Mismatch, Stripe)> {
        let mut wrong = Vec::new();
        let (length, granule) = (size(run.length), size(GRANULE_BYTES));
        for number in run.first..run.end {
            let Some(stripe) = self.geometry.stripe(number) else {
                continue;
            };
            let start = size((number - run.first) * run.length);
            let row = |slot: Slot| &buffers[slot.index()][start..start + length];
            let data: Vec<&[u8]> = stripe.data().map(row).collect();
            let found = match stripe.q {
                None => parity::check_p(row(stripe.p), &data, granule),
                Some(q) => parity::check_pq(row(stripe.p), row(q), &data, &exponents(&stripe), granule),
            };
            for one in found {
                let range = one.offset_bytes..one.offset_bytes + one.length_bytes;
                let blamed = stripe.q.and_then(|q| {
                    let data: Vec<&[u8]> = data.iter().map(|row| &row[range.clone()]).collect();
                    blamed(&row(stripe.p)[range.clone()], &row(q)[range.clone()], &data, &stripe)
                });
                let column = run.column + range.start as u64;
                wrong.push((mismatch(&stripe, column, range.len() as u64, blamed), stripe));
            }
        }
        wrong
    }

    /// Compares copies; levels without them are only read. None where a member was lost.
    pub(super) fn compare_copies(&self, number: u64, buffers: &mut Vec<Vec<u8>>) -> Option<Report> {
        let geometry = &*self.geometry;
        let start = number * self.run_bytes;
        let length = self.run_bytes.min(geometry.capacity_bytes() - start);
        let mut report = Report::new();
        report.compared_bytes = length;
        let mut wrong = Vec::new();
        {
            let _held = self.array.hold_range(start, length);
            let roster = self.array.roster();
            if !self.is_comparable(&roster) {
                return None;
            }
            if geometry.copies() > 1 && (roster.intent().is_unsynced(start, length) || has_suspect(&roster)) {
                report.unsynced_bytes = length;
                return Some(report);
            }
            for piece in geometry.map(start, length) {
                compare_piece(&roster, &piece, buffers, &mut wrong)?;
            }
        }
        for finding in wrong {
            match finding {
                Finding::Unread { piece, copy, length } => {
                    let repaired = self.mend_unread_copy(&piece, copy.slot, length);
                    report.add_unreadable(unreadable(copy.slot, copy.offset_bytes, length, repaired));
                }
                Finding::Wrong(mut mismatch) => {
                    mismatch.repaired = self.mend_copies(mismatch.array_offset_bytes, mismatch.length_bytes);
                    report.add_mismatch(mismatch);
                }
            }
        }
        Some(report)
    }
}

/// Something that is wrong with copies.
enum Finding<'a> {
    /// A copy of the first `length` bytes of a piece cannot be read.
    Unread {
        piece: Piece<'a>,
        copy: Suspect,
        length: u64,
    },
    /// Copies differ.
    Wrong(Mismatch),
}

fn compare_piece<'a>(
    roster: &Roster,
    piece: &Piece<'a>,
    buffers: &mut Vec<Vec<u8>>,
    wrong: &mut Vec<Finding<'a>>,
) -> Option<()> {
    let copies: Vec<Suspect> = piece
        .copies()
        .map(|(slot, offset_bytes)| Suspect { slot, offset_bytes })
        .collect();
    let length = piece.length_bytes;
    let mut seats: Vec<&Arc<Member>> = Vec::with_capacity(copies.len());
    for copy in &copies {
        seats.push(roster.seat(copy.slot)?);
    }
    if seats
        .iter()
        .zip(&copies)
        .all(|(member, copy)| member.is_hole(copy.offset_bytes, length))
    {
        return Some(());
    }
    make_room(buffers, copies.len(), length);
    let mut gaps = Gaps::new();
    for (index, (member, copy)) in seats.iter().zip(&copies).enumerate() {
        let into = &mut buffers[index][..size(length)];
        read_one(member, copy.slot, copy.offset_bytes, into, &mut gaps);
    }
    let rows: Vec<&[u8]> = buffers[..copies.len()].iter().map(|row| &row[..size(length)]).collect();
    if gaps.is_empty() && rows.iter().all(|row| *row == rows[0]) {
        return Some(());
    }
    for from in (0..length).step_by(size(GRANULE_BYTES)) {
        let part = GRANULE_BYTES.min(length - from);
        let unread = |slot: Slot| gaps.contains(&(slot, from));
        for copy in copies.iter().filter(|copy| unread(copy.slot)) {
            let copy = Suspect {
                offset_bytes: copy.offset_bytes + from,
                ..*copy
            };
            let piece = piece.behind(from);
            wrong.push(Finding::Unread {
                piece,
                copy,
                length: part,
            });
        }
        let readable: Vec<(Suspect, &[u8])> = copies
            .iter()
            .zip(&rows)
            .filter(|(copy, _)| !unread(copy.slot))
            .map(|(copy, row)| (*copy, &row[size(from)..size(from + part)]))
            .collect();
        let suspects = outvoted(&readable);
        if !suspects.is_empty() {
            let suspects = suspects.into_iter().map(|one| Suspect {
                offset_bytes: one.offset_bytes + from,
                ..one
            });
            wrong.push(Finding::Wrong(Mismatch {
                array_offset_bytes: piece.array_offset_bytes + from,
                length_bytes: part,
                suspects: suspects.collect(),
                repaired: false,
            }));
        }
    }
    Some(())
}

/// Copies that are wrong: those that differ from what most of them hold, or all where there is no such majority; none
/// where they are equal.
pub(super) fn outvoted(copies: &[(Suspect, &[u8])]) -> Vec<Suspect> {
    let votes = |bytes: &[u8]| copies.iter().filter(|(_, other)| *other == bytes).count();
    let right = copies.iter().find(|(_, bytes)| votes(bytes) * 2 > copies.len());
    let is_wrong = |bytes: &[u8]| right.is_none_or(|(_, right)| *right != bytes);
    let wrong = copies.iter().filter(|(_, bytes)| is_wrong(bytes));
    wrong.map(|(suspect, _)| *suspect).collect()
}

/// The one part of a stripe that both parities say is wrong.
pub(super) fn blamed(p: &[u8], q: &[u8], data: &[&[u8]], stripe: &Stripe) -> Option<Part> {
    match parity::suspect(p, q, data, &exponents(stripe)) {
        parity::Suspect::One(part) => Some(part),
        parity::Suspect::Nobody | parity::Suspect::Several => None,
    }
}

pub(super) fn exponents(stripe: &Stripe) -> Vec<u8> {
    (0..stripe.data_chunks()).map(|index| stripe.exponent(index)).collect()
}

fn mismatch(stripe: &Stripe, column: u64, length_bytes: u64, blamed: Option<Part>) -> Mismatch {
    let chunk = match blamed {
        Some(Part::Data(index)) => u64::from(index) * stripe.chunk_bytes(),
        _ => 0,
    };
    let offset_bytes = stripe.member_offset_bytes + column;
    let all = || stripe.data().chain([stripe.p]).chain(stripe.q).collect();
    let slots: Vec<Slot> = match blamed {
        Some(Part::Data(index)) => vec![stripe.data_slot(index)],
        Some(Part::P) => vec![stripe.p],
        Some(Part::Q) => stripe.q.map_or_else(all, |q| vec![q]),
        None => all(),
    };
    let suspects = slots.into_iter().map(|slot| Suspect { slot, offset_bytes });
    Mismatch {
        array_offset_bytes: stripe.array_offset_bytes() + chunk + column,
        length_bytes,
        suspects: suspects.collect(),
        repaired: false,
    }
}

fn unreadable(slot: Slot, offset_bytes: u64, length_bytes: u64, repaired: bool) -> Unreadable {
    Unreadable {
        at: Suspect { slot, offset_bytes },
        length_bytes,
        repaired,
    }
}

/// True where a write failed whose request is not answered yet, so that members may differ for a moment.
fn has_suspect(roster: &Roster) -> bool {
    roster.members().any(|(_, member)| member.is_suspect())
}

fn make_room(buffers: &mut Vec<Vec<u8>>, count: usize, length: u64) {
    buffers.resize_with(buffers.len().max(count), Vec::new);
    for buffer in &mut buffers[..count] {
        buffer.resize(buffer.len().max(size(length)), 0);
    }
}

/// Reads a range of all members into buffers by slot.
fn read_all(roster: &Roster, at: u64, length: u64, buffers: &mut Vec<Vec<u8>>) -> Gaps {
    let count = roster.members().map(|(slot, _)| slot.index() + 1).max().unwrap_or(0);
    make_room(buffers, count, length);
    let mut gaps = Gaps::new();
    for (slot, member) in roster.members() {
        read_one(member, slot, at, &mut buffers[slot.index()][..size(length)], &mut gaps);
    }
    gaps
}

fn read_one(member: &Arc<Member>, slot: Slot, at: u64, into: &mut [u8], gaps: &mut Gaps) {
    let Err(error) = member.read(into, at) else { return };
    member.count_read_error();
    log::warn!("{}: read at {at} failed: {error}", member.path().display());
    for (from, granule) in (0..)
        .step_by(size(GRANULE_BYTES))
        .zip(into.chunks_mut(size(GRANULE_BYTES)))
    {
        if member.read(granule, at + from).is_err() {
            gaps.push((slot, from));
        }
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
