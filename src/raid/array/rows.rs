//! The bytes of one slab: a row for each data chunk, P and Q, and the parity arithmetic over them.
//!
//! Between [`super::stripe`], which decides what to read and write, and [`crate::raid::parity`], which knows bytes only.

use std::{io, ops::Deref};

use super::{
    Roster,
    stripe::{Parity, trusted},
    write::Source,
};
use crate::raid::{
    Slot,
    buffer::Buffer,
    geometry::Stripe,
    parity::{self, Code, Part, Recovery},
};

/// A row of bytes.
pub(in crate::raid) enum Row<'a> {
    /// The caller has them.
    Given(&'a [u8]),
    /// They were read or made.
    Own(Buffer),
}

impl Deref for Row<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Given(bytes) => bytes,
            Self::Own(buffer) => buffer,
        }
    }
}

/// Rows of a slab; those that were neither read nor made are not there.
pub(in crate::raid) struct Rows<'a> {
    stripe: Stripe,
    length: usize,
    data: Vec<Option<Row<'a>>>,
    p: Option<Buffer>,
    q: Option<Buffer>,
}

impl<'a> Rows<'a> {
    pub(in crate::raid) fn new(stripe: Stripe, length_bytes: u64) -> Self {
        Self {
            stripe,
            length: usize::try_from(length_bytes).unwrap_or(usize::MAX),
            data: (0..stripe.data_chunks()).map(|_| None).collect(),
            p: None,
            q: None,
        }
    }

    /// Reads the rows of some members, all of which have to be trusted.
    pub(in crate::raid) fn read(
        &mut self,
        roster: &Roster,
        at: u64,
        slots: impl Iterator<Item = Slot>,
    ) -> Result<(), (Slot, io::Error)> {
        for slot in slots {
            // It was trusted when the caller made its plan; what the plan needs and is not there must not pass for zeros.
            let Some(member) = trusted(roster, slot, at, self.length as u64) else {
                return Err((slot, io::Error::other("it failed meanwhile")));
            };
            let mut row = Buffer::take(self.length);
            member.read(&mut row, at).map_err(|error| (slot, error))?;
            match self.stripe.index_of(slot) {
                Some(index) => self.data[usize::from(index)] = Some(Row::Own(row)),
                None if slot == self.stripe.p => self.p = Some(row),
                None => self.q = Some(row),
            }
        }
        Ok(())
    }

    /// Puts what is to be written over what was read.
    pub(in crate::raid) fn overlay(&mut self, new: &[Option<Source<'a>>]) {
        for (row, source) in self.data.iter_mut().zip(new) {
            match source {
                Some(Source::Bytes(bytes)) => *row = Some(Row::Given(bytes)),
                Some(Source::Hole(_)) => *row = Some(Row::Own(Buffer::zeros(self.length))),
                None => {}
            }
        }
    }

    /// A row of data, which is there.
    pub(in crate::raid) fn data(&self, index: u16) -> &[u8] {
        self.data[usize::from(index)].as_deref().unwrap_or_default()
    }

    /// The row that a member of the stripe has to have, where those of data are all there.
    pub(in crate::raid) fn row_of(&self, slot: Slot) -> Row<'_> {
        if let Some(index) = self.stripe.index_of(slot) {
            return Row::Given(self.data(index));
        }
        let is_p = slot == self.stripe.p;
        let parity = self.parity(is_p, !is_p);
        let row = if is_p { parity.p } else { parity.q };
        row.map_or(Row::Given(&[]), Row::Own)
    }

    /// P as it was read.
    pub(in crate::raid) fn p(&self) -> Option<&[u8]> {
        self.p.as_deref()
    }

    /// Q as it was read.
    pub(in crate::raid) fn q(&self) -> Option<&[u8]> {
        self.q.as_deref()
    }

    /// Parity of the rows of data, which are all there.
    pub(in crate::raid) fn parity(&self, with_p: bool, with_q: bool) -> Parity {
        let data: Vec<&[u8]> = self.data.iter().map(|row| row.as_deref().unwrap_or_default()).collect();
        let mut p = Buffer::take(self.length);
        if !with_q {
            parity::p(&mut p, &data);
            return Parity {
                p: with_p.then_some(p),
                q: None,
            };
        }
        let mut q = Buffer::take(self.length);
        parity::pq(&mut p, &mut q, &data, &self.exponents());
        Parity {
            p: with_p.then_some(p),
            q: Some(q),
        }
    }

    /// Parity as read, with what is to be written in place of the rows that were read.
    pub(in crate::raid) fn modified_parity(self, new: &[Option<Source<'_>>]) -> Parity {
        let (mut p, mut q) = (self.p, self.q);
        let stripe = self.stripe;
        for (index, (row, source)) in (0..).zip(self.data.iter().zip(new)) {
            let (Some(old), Some(source)) = (row, source) else {
                continue;
            };
            let (new, exponent) = (source.bytes(), stripe.exponent(index));
            match (&mut p, &mut q) {
                (Some(p), Some(q)) => parity::update_pq(p, q, old, new, exponent),
                (Some(p), None) => parity::update_p(p, old, new),
                (None, Some(q)) => parity::update_q(q, old, new, exponent),
                (None, None) => {}
            }
        }
        Parity { p, q }
    }

    fn exponents(&self) -> Vec<u8> {
        (0..self.stripe.data_chunks())
            .map(|index| self.stripe.exponent(index))
            .collect()
    }

    /// Makes the rows of data again that were not read.
    ///
    /// # Errors
    /// The slot of one that cannot be made of what was read.
    pub(in crate::raid) fn recover(&mut self) -> Result<(), Slot> {
        let parts = (0..self.stripe.data_chunks()).map(Part::Data);
        let wanted: Vec<Part> = parts.filter(|part| self.row(*part).is_none()).collect();
        let Some(Part::Data(first)) = wanted.first().copied() else {
            return Ok(());
        };
        let exponents = self.exponents();
        let code = if self.stripe.q.is_some() {
            Code::Pq(&exponents)
        } else {
            Code::P(self.stripe.data_chunks())
        };
        let parities = [Some(Part::P), self.stripe.q.map(|_| Part::Q)];
        let unread = parities.into_iter().flatten().filter(|part| self.row(*part).is_none());
        let lost: Vec<Part> = wanted.iter().copied().chain(unread).collect();
        let Some(recovery) = Recovery::new(code, &lost, &wanted) else {
            return Err(self.stripe.data_slot(first));
        };
        let mut made: Vec<Buffer> = wanted.iter().map(|_| Buffer::take(self.length)).collect();
        {
            let sources: Vec<&[u8]> = recovery.sources().iter().filter_map(|part| self.row(*part)).collect();
            let mut rows: Vec<&mut [u8]> = made.iter_mut().map(|row| &mut **row).collect();
            recovery.run(&mut rows, &sources);
        }
        for (part, row) in wanted.into_iter().zip(made) {
            if let Part::Data(index) = part {
                self.data[usize::from(index)] = Some(Row::Own(row));
            }
        }
        Ok(())
    }

    fn row(&self, part: Part) -> Option<&[u8]> {
        match part {
            Part::Data(index) => self.data.get(usize::from(index))?.as_deref(),
            Part::P => self.p.as_deref(),
            Part::Q => self.q.as_deref(),
        }
    }
}
