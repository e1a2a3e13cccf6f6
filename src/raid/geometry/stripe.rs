//! A stripe of the parity levels: which member holds which chunk of it.
//!
//! A [`Stripe`] is a few numbers and copies like one; everything else about it is computed when asked. It knows where
//! bytes are and by what they are multiplied in Q, not how parity is made: that is [`crate::raid::parity`].

use super::{Cell, rotation::Rotation};
use crate::raid::Slot;

/// One row of chunks, P and Q among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    rotation: Rotation,
    chunk_bytes: u64,
    /// Its number, from 0.
    pub number: u64,
    /// Where it begins in every member's data area.
    pub member_offset_bytes: u64,
    /// The member that holds P, the xor of the data.
    pub p: Slot,
    /// The member that holds Q, at RAID 6.
    pub q: Option<Slot>,
}

impl Stripe {
    pub(super) fn new(rotation: Rotation, chunk_bytes: u64, number: u64) -> Self {
        let p = rotation.p(number);
        Self {
            rotation,
            chunk_bytes,
            number,
            member_offset_bytes: number * chunk_bytes,
            p,
            q: rotation.q(p),
        }
    }

    /// Length of a chunk.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Number of its data chunks.
    pub fn data_chunks(&self) -> u16 {
        self.rotation.data()
    }

    /// Array offset of its first data byte.
    pub fn array_offset_bytes(&self) -> u64 {
        self.number * self.chunk_bytes * u64::from(self.data_chunks())
    }

    /// The member of a data chunk; `index` counts in the order of the array's bytes.
    pub fn data_slot(&self, index: u16) -> Slot {
        assert!(index < self.data_chunks(), "chunk {index} of {}", self.data_chunks());
        self.rotation.data_slot(self.p, self.q, index)
    }

    /// The members of its data, in the order of the array's bytes.
    pub fn data(&self) -> impl Iterator<Item = Slot> + use<> {
        let stripe = *self;
        (0..stripe.data_chunks()).map(move |index| stripe.data_slot(index))
    }

    /// Which data chunk stands on a member; none where P or Q does.
    pub fn index_of(&self, slot: Slot) -> Option<u16> {
        (slot != self.p && Some(slot) != self.q).then(|| self.rotation.data_index(self.p, self.q, slot))
    }

    /// The power of 2 that data chunk `index` is multiplied by in Q; 0 at levels without Q.
    ///
    /// md counts data from the member after Q, DDF layouts by member number. At most 254.
    pub fn exponent(&self, index: u16) -> u8 {
        let slot = self.data_slot(index);
        let exponent = self.q.map_or(0, |q| self.rotation.exponent(self.p, q, slot));
        u8::try_from(exponent).expect("RAID 6 has at most 255 members")
    }

    /// What a byte of a member is good for, `within` bytes after the start of its chunk.
    pub(super) fn cell(&self, slot: Slot, within: u64) -> Cell {
        match self.index_of(slot) {
            Some(index) => Cell::Data {
                array_offset_bytes: self.array_offset_bytes() + u64::from(index) * self.chunk_bytes + within,
                run_bytes: self.chunk_bytes - within,
            },
            None if slot == self.p => Cell::P { stripe: self.number },
            None => Cell::Q { stripe: self.number },
        }
    }
}

/// Where a byte of the array stands in its stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The stripe.
    pub stripe: Stripe,
    /// Its data chunk, in the order of the array's bytes.
    pub index: u16,
    /// Bytes from the start of the chunk.
    pub within_bytes: u64,
}

impl Position {
    pub(super) fn new(rotation: Rotation, chunk_bytes: u64, array_offset: u64) -> Self {
        let data = u64::from(rotation.data());
        let chunk = array_offset / chunk_bytes;
        Self {
            stripe: Stripe::new(rotation, chunk_bytes, chunk / data),
            index: u16::try_from(chunk % data).expect("a stripe has fewer chunks than 65,536"),
            within_bytes: array_offset % chunk_bytes,
        }
    }

    /// The member that holds the byte.
    pub fn slot(&self) -> Slot {
        self.stripe.data_slot(self.index)
    }

    /// Where in its data area.
    pub fn member_offset_bytes(&self) -> u64 {
        self.stripe.member_offset_bytes + self.within_bytes
    }
}
