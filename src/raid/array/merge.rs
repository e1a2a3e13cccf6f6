//! Writes of one stripe that are under way at once, merged: whoever writes columns of the stripe takes along what others
//! are about to write there, so that parity is made once and nothing has to be read for it.
//!
//! A request *offers* its bytes while it is under way, and does its columns one *cell* after the other. Before it does a
//! cell it looks, with the lanes of the cell held, whether its own part of it was done by somebody else, and whether there
//! are offers that fill gaps. A part that was taken along counts as done only where all of the merged write succeeded; else
//! its owner writes it again itself, and meets the same failures. No request is answered before all of its own parts are
//! done, so what an answer means does not change.
//!
//! One of a stream of requests, many of which are under way at once, first lets those before it end: meanwhile the rest of
//! its stripe is likely to come. It waits for requests that began before it and lie before it, never for later ones.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    Array, Failures, Roster,
    lent::{Borrowed, Lent, lend},
    stripe::{SLAB_BYTES, Slab},
    write::Source,
};
use crate::raid::{
    error::{Error, Result},
    geometry::{Geometry, Stripe},
};

/// Cells of a chunk that an offer can tell apart.
const CELLS: u64 = 64;

/// What requests under way are about to write.
#[derive(Debug, Default)]
pub(in crate::raid) struct Offers {
    board: Mutex<Board>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Board {
    offers: Vec<Arc<Offer>>,
    waiting: usize,
}

/// What a request is about to write.
#[derive(Debug)]
pub(in crate::raid) struct Offer {
    geometry: Arc<Geometry>,
    /// First byte in the array.
    start: u64,
    end: u64,
    bytes: Arc<Lent>,
    /// Numbers of the first and the last stripe, the only ones of which others may be writing the rest.
    edges: [u64; 2],
    /// Of both a bit for each cell that is done.
    done: [AtomicU64; 2],
    ended: AtomicBool,
}

impl Offer {
    fn done_of(&self, stripe: &Stripe) -> Option<&AtomicU64> {
        let edge = self.edges.iter().position(|number| *number == stripe.number)?;
        Some(&self.done[edge])
    }

    /// True where its part of a cell was written.
    fn is_done(&self, stripe: &Stripe, cell: u64) -> bool {
        let done = self.done_of(stripe);
        done.is_some_and(|done| done.load(Ordering::Acquire) & 1 << cell != 0)
    }

    /// Notes that its part of a cell was written; true where that is the first cell of the stripe.
    fn set_done(&self, stripe: &Stripe, cell: u64) -> bool {
        let done = self.done_of(stripe);
        done.is_some_and(|done| done.fetch_or(1 << cell, Ordering::AcqRel) == 0)
    }

    /// Bytes of a stripe that it writes: the first, from the stripe's first, and how many.
    fn run_in(&self, stripe: &Stripe) -> (u64, u64) {
        let first = stripe.array_offset_bytes();
        let end = self.end.min(first + stripe_bytes(stripe));
        let start = self.start.max(first);
        (start.saturating_sub(first), end.saturating_sub(start))
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

fn stripe_bytes(stripe: &Stripe) -> u64 {
    u64::from(stripe.data_chunks()) * stripe.chunk_bytes()
}

impl Board {
    /// Offers for a stripe.
    fn of<'a>(&'a self, geometry: &'a Arc<Geometry>, stripe: &'a Stripe) -> impl Iterator<Item = &'a Arc<Offer>> {
        self.offers
            .iter()
            .filter(|offer| offer.done_of(stripe).is_some() && Arc::ptr_eq(&offer.geometry, geometry))
    }

    /// The request that ends where another begins.
    fn before(&self, offer: &Offer) -> Option<&Arc<Offer>> {
        let mut all = self.offers.iter();
        all.find(|other| other.end == offer.start && Arc::ptr_eq(&other.geometry, &offer.geometry))
    }

    /// Bytes of a request and of those before it without a gap, as far as that matters.
    fn window(&self, offer: &Arc<Offer>, enough: u64) -> u64 {
        let mut first = offer;
        while offer.end - first.start < enough
            && let Some(before) = self.before(first)
        {
            first = before;
        }
        offer.end - first.start
    }
}

/// Takes an offer back.
struct Withdraw<'a>(&'a Offers, &'a Arc<Offer>);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let mut board = self.0.board();
        self.1.ended.store(true, Ordering::Release);
        board.offers.retain(|offer| !Arc::ptr_eq(offer, self.1));
        self.0.tell(&board);
    }
}

impl Offers {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, board: &Board) {
        if board.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Offers a run of the array while `work` writes it.
    fn with<T>(
        &self,
        geometry: &Arc<Geometry>,
        (start, edges): (u64, [u64; 2]),
        bytes: &[u8],
        work: impl FnOnce(&Arc<Offer>) -> T,
    ) -> T {
        lend(bytes, |lent| {
            let offer = Arc::new(Offer {
                geometry: Arc::clone(geometry),
                start,
                end: start + bytes.len() as u64,
                bytes: Arc::clone(lent),
                edges,
                done: Default::default(),
                ended: AtomicBool::new(false),
            });
            self.board().offers.push(Arc::clone(&offer));
            let _withdraw = Withdraw(self, &offer);
            work(&offer)
        })
    }

    /// Offers of others for a cell of a stripe that is not done yet.
    fn beside(
        &self,
        geometry: &Arc<Geometry>,
        stripe: &Stripe,
        cell: u64,
        own: Option<&Arc<Offer>>,
    ) -> Vec<Arc<Offer>> {
        let is_own = |offer: &Arc<Offer>| own.is_some_and(|own| Arc::ptr_eq(own, offer));
        let board = self.board();
        let offers = board.of(geometry, stripe);
        let others = offers.filter(|offer| !is_own(offer) && !offer.is_done(stripe, cell));
        others.cloned().collect()
    }

    /// Lets the requests before this one end where the rest of its stripe may come meanwhile: where so much of the stream
    /// is under way as a stripe has. Returns as soon as all of the stripe is there, or somebody has begun with it.
    fn await_rest(&self, offer: &Arc<Offer>, stripe: &Stripe) {
        let mut board = self.board();
        let whole = stripe_bytes(stripe);
        let Some(before) = board.before(offer).cloned() else {
            return;
        };
        if board.window(offer, whole) < whole {
            return;
        }
        let begun = || {
            offer
                .done_of(stripe)
                .is_none_or(|done| done.load(Ordering::Acquire) != 0)
        };
        let lacks = |board: &Board| {
            board
                .of(&offer.geometry, stripe)
                .map(|one| one.run_in(stripe).1)
                .sum::<u64>()
                < whole
        };
        while !before.has_ended() && !begun() && lacks(&board) {
            board.waiting += 1;
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
            board.waiting -= 1;
        }
    }
}

/// The number of the cell that columns of a stripe are, where they are a whole one.
fn cell_of(stripe: &Stripe, column: u64, length: u64) -> Option<u64> {
    let cell = column / SLAB_BYTES;
    let is_whole = column.is_multiple_of(SLAB_BYTES) && length == (stripe.chunk_bytes() - column).min(SLAB_BYTES);
    (is_whole && cell < CELLS).then_some(cell)
}

/// Of each data chunk of columns what a run of the stripe writes there, where it writes all of them.
fn covered<'a>(
    stripe: &Stripe,
    (column, length): (u64, u64),
    (start, part): (u64, Source<'a>),
) -> impl Iterator<Item = Option<Source<'a>>> {
    let (chunk, end) = (stripe.chunk_bytes(), start + part.length());
    (0..stripe.data_chunks()).map(move |index| {
        let begin = u64::from(index) * chunk + column;
        (begin >= start && begin + length <= end).then(|| part.split(begin - start).1.split(length).0)
    })
}

impl Array {
    /// Offers a run of the array to others while `work` writes it, where somebody could take some of it along.
    pub(super) fn offered<T>(
        &self,
        roster: &Roster,
        (start, source): (u64, Source<'_>),
        work: impl FnOnce(Option<&Arc<Offer>>) -> T,
    ) -> T {
        let geometry = roster.geometry();
        let Source::Bytes(bytes) = source else {
            return work(None);
        };
        let worth = source.length() >= geometry.chunk_bytes().min(SLAB_BYTES);
        // While the array is reshaped a stripe may not be what another request takes it for.
        if !worth || self.roster().moving().is_some() {
            return work(None);
        }
        let edges = [start, start + source.length() - 1].map(|at| geometry.stripe_of(at).map(|at| at.stripe.number));
        match edges {
            [Some(first), Some(last)] => self
                .offers
                .with(geometry, (start, [first, last]), bytes, |offer| work(Some(offer))),
            _ => work(None),
        }
    }

    /// Writes a run of one stripe, slab by slab.
    pub(super) fn put_columns(
        &self,
        roster: &Roster,
        stripe: Stripe,
        (start, part): (u64, Source<'_>),
        offer: Option<&Arc<Offer>>,
        failures: &mut Failures,
    ) -> Result<()> {
        let (chunk, end) = (stripe.chunk_bytes(), start + part.length());
        let (first, last) = if start / chunk == (end - 1) / chunk {
            (start % chunk, (end - 1) % chunk + 1)
        } else {
            (0, chunk)
        };
        // Where a chunk begins or ends to be written, the set of written chunks changes.
        let mut cuts = [first, start % chunk, end % chunk, last];
        cuts.sort_unstable();
        let mut slabs = Vec::new();
        for (from, to) in cuts.iter().zip(&cuts[1..]) {
            let mut column = *from;
            while column < *to {
                let length = (to - column).min(SLAB_BYTES - column % SLAB_BYTES);
                slabs.push((column, length));
                column += length;
            }
        }
        // Whoever writes the first bytes of the stripe begins at this end, the others at that, so that they do not meet.
        if start > 0 {
            slabs.reverse();
        }
        if let Some(offer) = offer.filter(|_| part.length() < stripe_bytes(&stripe)) {
            self.offers.await_rest(offer, &stripe);
        }
        for (column, length) in slabs {
            let slab = Slab {
                stripe,
                column,
                length,
                new: covered(&stripe, (column, length), (start, part)).collect(),
            };
            if slab.new.iter().all(Option::is_none) {
                continue;
            }
            let _held = self.hold_stripe(&stripe, column, column + length);
            let own = offer.zip(cell_of(&stripe, column, length));
            if !own.is_some_and(|(offer, cell)| offer.is_done(&stripe, cell)) {
                self.put_merged(roster, &slab, offer, failures)?;
                if let Some((offer, cell)) = own {
                    offer.set_done(&stripe, cell);
                }
            }
        }
        Ok(())
    }

    /// Writes a slab, and with it what others offer of its columns. Its lanes are held.
    fn put_merged(
        &self,
        roster: &Roster,
        slab: &Slab<'_>,
        own: Option<&Arc<Offer>>,
        failures: &mut Failures,
    ) -> Result<()> {
        let cell = cell_of(&slab.stripe, slab.column, slab.length);
        let Some(cell) = cell.filter(|_| slab.new.iter().any(Option::is_none) && failures.is_empty()) else {
            return self.put_slab(roster, slab, failures);
        };
        let offers = self.offers.beside(roster.geometry(), &slab.stripe, cell, own);
        let borrowed: Vec<(&Offer, Borrowed<'_>)> = offers
            .iter()
            .filter_map(|offer| Some((&**offer, offer.bytes.borrow()?)))
            .collect();
        let (merged, taken) = merged(slab, &borrowed);
        if taken.is_empty() {
            return self.put_slab(roster, slab, failures);
        }
        match self.put_slab_whole(roster, &merged, failures) {
            Ok(()) if failures.is_empty() => {
                let begun = taken.iter().filter(|offer| offer.set_done(&slab.stripe, cell)).count();
                if begun > 0 {
                    self.offers.tell(&self.offers.board());
                }
                Ok(())
            }
            // Each for itself, as if there were no others: only so it shows whose bytes cannot be written.
            Err(Error::Unreadable { .. }) if !failures.wants_retry() => self.put_slab(roster, slab, failures),
            ended => ended,
        }
    }
}

/// A slab with what offers add to it, and those of which all was added.
fn merged<'a, 'b>(slab: &Slab<'a>, offers: &'b [(&'b Offer, Borrowed<'b>)]) -> (Slab<'b>, Vec<&'b Offer>)
where
    'a: 'b,
{
    let mut new: Vec<Option<Source<'b>>> = slab.new.clone();
    let mut taken = Vec::new();
    for (offer, borrowed) in offers {
        let (start, length) = offer.run_in(&slab.stripe);
        let skipped = slab.stripe.array_offset_bytes().saturating_sub(offer.start);
        let part = Source::Bytes(borrowed.bytes()).split(skipped).1.split(length).0;
        let rows: Vec<Option<Source<'b>>> = covered(&slab.stripe, (slab.column, slab.length), (start, part)).collect();
        let collides = rows.iter().zip(&new).any(|(row, new)| row.is_some() && new.is_some());
        if !collides && rows.iter().any(Option::is_some) {
            new.iter_mut().zip(rows).for_each(|(new, row)| *new = new.or(row));
            taken.push(*offer);
        }
    }
    let slab = Slab {
        stripe: slab.stripe,
        column: slab.column,
        length: slab.length,
        new,
    };
    (slab, taken)
}

#[cfg(test)]
mod tests;
