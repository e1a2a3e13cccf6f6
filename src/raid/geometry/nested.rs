//! RAID 50: a RAID 0 whose members are RAID 5 arrays. No level of md, but md arrays inside md arrays.
//!
//! The legs are ordinary arrays; the outer array is an ordinary RAID 0, whose members' data areas begin some sectors
//! into the legs. This file answers only what neither answers alone: the capacity of all of it, and which disks may be
//! missing. Disks are numbered leg after leg.

use super::{Geometry, GeometryError, Redundancy, spans::slot_of};
use crate::raid::{Level, Slot};

/// A RAID 0 over legs of RAID 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raid50 {
    outer: Geometry,
    leg: Geometry,
}

impl Raid50 {
    /// Stripes over `legs` arrays of the shape of `leg`, with chunks of `chunk_bytes`.
    ///
    /// `inner_data_offset_bytes` is where the outer array's data areas begin in each leg.
    pub fn new(
        leg: Geometry,
        legs: u16,
        chunk_bytes: u64,
        inner_data_offset_bytes: u64,
    ) -> Result<Self, GeometryError> {
        if leg.level() != Level::Raid5 || legs < 2 || legs.checked_mul(leg.slots()).is_none() {
            return Err(GeometryError::UnequalLegs);
        }
        let data = leg.capacity_bytes().saturating_sub(inner_data_offset_bytes);
        let members = vec![data; usize::from(legs)];
        Ok(Self {
            outer: Geometry::new(Level::Raid0, 1, chunk_bytes, &members)?,
            leg,
        })
    }

    /// The RAID 0; its members are the legs.
    pub fn outer(&self) -> &Geometry {
        &self.outer
    }

    /// The shape of every leg.
    pub fn leg(&self) -> &Geometry {
        &self.leg
    }

    /// Bytes of the whole.
    pub fn capacity_bytes(&self) -> u64 {
        self.outer.capacity_bytes()
    }

    /// Disks of all legs.
    pub fn disks(&self) -> u16 {
        self.outer.slots() * self.leg.slots()
    }

    /// The leg of a disk, and its slot there.
    pub fn leg_of(&self, disk: u16) -> (Slot, Slot) {
        (Slot(disk / self.leg.slots()), Slot(disk % self.leg.slots()))
    }

    /// One disk always, one of each leg at best.
    pub fn redundancy(&self) -> Redundancy {
        let leg = self.leg.redundancy();
        Redundancy {
            always: leg.always,
            at_best: leg.at_best * self.outer.slots(),
        }
    }

    /// True where all can be read without these disks.
    pub fn can_read(&self, missing: &[u16]) -> bool {
        (0..self.outer.slots()).all(|leg| {
            let here = missing.iter().map(|&disk| self.leg_of(disk));
            let slots: Vec<Slot> = here
                .filter(|(of, _)| *of == slot_of(u64::from(leg)))
                .map(|(_, slot)| slot)
                .collect();
            self.leg.can_read(&slots)
        })
    }
}
