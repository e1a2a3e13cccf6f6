//! The bytes of one slab: a row for each data chunk, P and Q, and the parity arithmetic over them.
//!
//! Between [`super::stripe`], which decides what to read and write, and the arithmetic, which knows bytes only. P is the
//! xor of the rows; Q their sum too, each multiplied by its power of 2 in GF(256), which the stripe knows.

use std::{borrow::Cow, io};

use super::{
    Roster, field,
    stripe::{Parity, trusted},
    write::Source,
};
use crate::raid::{Slot, geometry::Stripe};

/// Rows of a slab; those that were neither read nor made are not there.
pub(in crate::raid) struct Rows<'a> {
    stripe: Stripe,
    length: usize,
    data: Vec<Option<Cow<'a, [u8]>>>,
    p: Option<Vec<u8>>,
    q: Option<Vec<u8>>,
}

impl<'a> Rows<'a> {
    pub(in crate::raid) fn new(stripe: Stripe, length_bytes: u64) -> Self {
        Self {
            stripe,
            length: usize::try_from(length_bytes).unwrap_or(usize::MAX),
            data: vec![None; usize::from(stripe.data_chunks())],
            p: None,
            q: None,
        }
    }

    /// Reads the rows of some members.
    pub(in crate::raid) fn read(
        &mut self,
        roster: &Roster,
        at: u64,
        slots: impl Iterator<Item = Slot>,
    ) -> Result<(), (Slot, io::Error)> {
        for slot in slots {
            let Some(member) = trusted(roster, slot, at, self.length as u64) else {
                continue;
            };
            let mut row = vec![0; self.length];
            member.read(&mut row, at).map_err(|error| (slot, error))?;
            match self.stripe.index_of(slot) {
                Some(index) => self.data[usize::from(index)] = Some(row.into()),
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
                Some(Source::Bytes(bytes)) => *row = Some((*bytes).into()),
                Some(Source::Hole(_)) => *row = Some(vec![0; self.length].into()),
                None => {}
            }
        }
    }

    /// A row of data, which is there.
    pub(in crate::raid) fn data(&self, index: u16) -> &[u8] {
        self.data[usize::from(index)].as_deref().unwrap_or_default()
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
        let mut parity = Parity {
            p: with_p.then(|| vec![0; self.length]),
            q: with_q.then(|| vec![0; self.length]),
        };
        for (index, row) in (0..).zip(&self.data) {
            let row = row.as_deref().unwrap_or_default();
            self.add(&mut parity, index, row);
        }
        parity
    }

    /// Parity as read, with what is to be written in place of the rows that were read.
    pub(in crate::raid) fn modified_parity(self, new: &[Option<Source<'_>>]) -> Parity {
        let (mut rows, mut this) = (Vec::new(), self);
        for (index, row) in (0..).zip(&mut this.data) {
            rows.extend(row.take().map(|row| (index, row.into_owned())));
        }
        let mut parity = Parity {
            p: this.p.take(),
            q: this.q.take(),
        };
        for (index, mut row) in rows {
            if let Some(Some(Source::Bytes(bytes))) = new.get(usize::from(index)) {
                field::xor(&mut row, bytes);
            }
            this.add(&mut parity, index, &row);
        }
        parity
    }

    fn add(&self, parity: &mut Parity, index: u16, row: &[u8]) {
        if let Some(p) = &mut parity.p {
            field::xor(p, row);
        }
        if let Some(q) = &mut parity.q {
            field::add_scaled(q, row, field::power(self.stripe.exponent(index)));
        }
    }

    /// Makes the rows of data again that were not read.
    ///
    /// # Errors
    /// The slot of one that cannot be made of what was read.
    pub(in crate::raid) fn recover(&mut self) -> Result<(), Slot> {
        let missing: Vec<u16> = (0..)
            .zip(&self.data)
            .filter(|(_, row)| row.is_none())
            .map(|(index, _)| index)
            .collect();
        match (missing.as_slice(), self.p.is_some(), self.q.is_some()) {
            ([], _, _) => Ok(()),
            ([one], true, _) => {
                let row = self.remainder(true, false).p;
                self.data[usize::from(*one)] = row.map(Cow::from);
                Ok(())
            }
            ([one], false, true) => {
                let mut row = self.remainder(false, true).q.unwrap_or_default();
                field::scale(&mut row, field::inverse(self.factor(*one)));
                self.data[usize::from(*one)] = Some(row.into());
                Ok(())
            }
            ([one, two], true, true) => {
                let parity = self.remainder(true, true);
                let (mut second, mut first) = (parity.p.unwrap_or_default(), parity.q.unwrap_or_default());
                // first * f1 + second * f2 = q and first + second = p give first.
                let (f1, f2) = (self.factor(*one), self.factor(*two));
                field::add_scaled(&mut first, &second, f2);
                field::scale(&mut first, field::inverse(f1 ^ f2));
                field::xor(&mut second, &first);
                self.data[usize::from(*one)] = Some(first.into());
                self.data[usize::from(*two)] = Some(second.into());
                Ok(())
            }
            (several, _, _) => Err(self.stripe.data_slot(several[0])),
        }
    }

    fn factor(&self, index: u16) -> u8 {
        field::power(self.stripe.exponent(index))
    }

    /// Parity less the rows that are there: what is left is due to those that are not.
    fn remainder(&self, with_p: bool, with_q: bool) -> Parity {
        let mut parity = Parity {
            p: self.p.clone().filter(|_| with_p),
            q: self.q.clone().filter(|_| with_q),
        };
        for (index, row) in (0..).zip(&self.data) {
            if let Some(row) = row {
                self.add(&mut parity, index, row);
            }
        }
        parity
    }
}
