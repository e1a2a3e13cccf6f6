//! Where the bytes of an array lie: pure arithmetic, no I/O.
//!
//! [`Geometry`] answers for one md array: its capacity, the [`Piece`]s that a range is made of, the [`Stripe`]s of the
//! parity levels, what a byte of a member is good for ([`Cell`]), and which members may be missing. [`ReshapeView`]
//! joins two geometries while an array moves from one to the other, [`Raid50`] nests them, [`ArrayKind`] has the rules
//! of what is created: fewest members, usable space, what is left over.
//!
//! Offsets on a member count from its data area. Layout numbers are md's (`spec/array.md`, section 1).

mod copies;
mod error;
mod kinds;
mod nested;
mod reshape;
mod rotation;
mod spans;
mod stripe;
mod survival;

pub use error::{GeometryError, PlanError};
pub use kinds::{ArrayKind, Plan, Room};
pub use nested::Raid50;
pub use reshape::{Direction, ReshapeView, Side, SidePiece};
pub use stripe::{Position, Stripe};
pub use survival::Redundancy;

use super::{Level, SECTOR_BYTES, Slot};
use copies::Copies;
use rotation::Rotation;
use spans::{Spans, Zones, slot_of};

/// The smallest chunk of the levels that md stripes by pages.
const PAGE_BYTES: u64 = 4096;

/// The largest chunk: md keeps the number of sectors in 31 bits.
const CHUNK_BYTES_MAX: u64 = 1 << 39;

/// The most members of an array: md's `max_dev`.
const SLOTS_MAX: usize = 1920;

/// The most members of RAID 6: beyond, coefficients of Q come twice, and two lost members are not found again.
const RAID6_SLOTS_MAX: usize = 255;

/// The shape of one md array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    level: Level,
    layout: u32,
    chunk_bytes: u64,
    slots: u16,
    capacity_bytes: u64,
    placement: Placement,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Placement {
    Spans(Spans),
    Zones(Zones),
    Mirror,
    Copies(Copies),
    Parity(Rotation),
}

/// One place of a byte, and how many bytes follow it there without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: Slot,
    member_offset_bytes: u64,
    run_bytes: u64,
}

/// What a byte of a member's data area is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// A byte of the array.
    Data {
        /// Which one.
        array_offset_bytes: u64,
        /// Bytes from here on that follow one another in the array too.
        run_bytes: u64,
    },
    /// A byte of the P parity of a stripe.
    P {
        /// Number of the stripe.
        stripe: u64,
    },
    /// A byte of the Q parity of a stripe.
    Q {
        /// Number of the stripe.
        stripe: u64,
    },
    /// Nothing: left over at the end of the member.
    Unused,
}

/// A run of array bytes that lies in one run on each member that has it.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    geometry: &'a Geometry,
    /// Where it begins in the array.
    pub array_offset_bytes: u64,
    /// Its length.
    pub length_bytes: u64,
}

impl<'a> Piece<'a> {
    /// What follows its first `bytes`, of which it has more.
    #[must_use]
    pub fn behind(self, bytes: u64) -> Self {
        Self {
            array_offset_bytes: self.array_offset_bytes + bytes,
            length_bytes: self.length_bytes - bytes,
            ..self
        }
    }

    /// The members that hold it, and where in their data areas. Several with RAID 1 and 10; at the parity levels the
    /// one that holds the data.
    pub fn copies(&self) -> impl Iterator<Item = (Slot, u64)> + use<'a> {
        let (geometry, offset) = (self.geometry, self.array_offset_bytes);
        (0..geometry.copies()).map(move |copy| {
            let place = geometry.place(offset, copy);
            (place.slot, place.member_offset_bytes)
        })
    }

    /// The first of its copies.
    pub fn first_copy(&self) -> (Slot, u64) {
        let place = self.geometry.place(self.array_offset_bytes, 0);
        (place.slot, place.member_offset_bytes)
    }
}

impl Geometry {
    /// Checks and lays out a shape.
    ///
    /// `layout` is md's number and is ignored at levels that have none; `chunk_bytes` is ignored by RAID 1, and 0 for a
    /// linear array without rounding. `member_bytes` are the sizes of the data areas in slot order: all that is there
    /// for linear and RAID 0, the superblock's `size` of each member for the others, of which the smallest counts.
    /// Empty members are refused.
    pub fn new(level: Level, layout: u32, chunk_bytes: u64, member_bytes: &[u64]) -> Result<Self, GeometryError> {
        check_members(level, member_bytes)?;
        check_chunk(level, chunk_bytes)?;
        let slots = u16::try_from(member_bytes.len()).map_err(|_| GeometryError::TooLarge)?;
        let smallest = member_bytes.iter().copied().min().unwrap_or(0);
        let (layout, chunk_bytes) = match level {
            Level::Linear | Level::Raid4 => (0, chunk_bytes),
            Level::Raid1 => (0, 0),
            Level::Raid0 | Level::Raid5 | Level::Raid6 | Level::Raid10 => (layout, chunk_bytes),
        };
        let (placement, capacity_bytes) = match level {
            Level::Linear => {
                let spans = Spans::new(chunk_bytes, member_bytes)?;
                let capacity = spans.capacity_bytes();
                (Placement::Spans(spans), capacity)
            }
            Level::Raid0 => {
                let zones = Zones::new(layout, chunk_bytes, member_bytes)?;
                let capacity = zones.capacity_bytes();
                (Placement::Zones(zones), capacity)
            }
            Level::Raid1 => (Placement::Mirror, smallest - smallest % SECTOR_BYTES),
            Level::Raid10 => {
                let copies = Copies::new(layout, chunk_bytes, u64::from(slots), smallest)?;
                let capacity = copies.capacity_bytes()?;
                (Placement::Copies(copies), capacity)
            }
            Level::Raid4 | Level::Raid5 | Level::Raid6 => {
                let rotation = Rotation::new(level, layout, slots)?;
                let capacity = (smallest - smallest % chunk_bytes)
                    .checked_mul(u64::from(rotation.data()))
                    .ok_or(GeometryError::TooLarge)?;
                (Placement::Parity(rotation), capacity)
            }
        };
        let counted = if level == Level::Raid10 { 0 } else { chunk_bytes };
        if capacity_bytes == 0 || smallest < counted.max(1) {
            return Err(GeometryError::Empty { level, chunk_bytes });
        }
        Ok(Self {
            level,
            layout,
            chunk_bytes,
            slots,
            capacity_bytes,
            placement,
        })
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// md's layout number; 0 at levels that have none.
    pub fn layout(&self) -> u32 {
        self.layout
    }

    /// Length of a chunk; 0 for RAID 1, which has none, and for a linear array without rounding.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Number of members.
    pub fn slots(&self) -> u16 {
        self.slots
    }

    /// Bytes of the array.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Bytes of a member's data area that the array uses, from 0.
    pub fn used_bytes(&self, slot: Slot) -> u64 {
        match &self.placement {
            Placement::Spans(spans) => spans.used_bytes(slot),
            Placement::Zones(zones) => zones.used_bytes(slot),
            Placement::Mirror => self.capacity_bytes,
            Placement::Copies(copies) => copies.used_bytes(),
            Placement::Parity(rotation) => self.capacity_bytes / u64::from(rotation.data()),
        }
    }

    /// Copies of every byte: 1 where redundancy is parity or nothing.
    pub fn copies(&self) -> u64 {
        match &self.placement {
            Placement::Mirror => u64::from(self.slots),
            Placement::Copies(copies) => copies.copies(),
            Placement::Spans(_) | Placement::Zones(_) | Placement::Parity(_) => 1,
        }
    }

    /// Array bytes of a full stripe: the write that costs no read. The chunk where there are no stripes; 0 for RAID 1.
    pub fn stripe_bytes(&self) -> u64 {
        match &self.placement {
            Placement::Spans(_) | Placement::Mirror => self.chunk_bytes,
            Placement::Zones(zones) => self.chunk_bytes * zones.width(),
            Placement::Copies(copies) => self.chunk_bytes * (u64::from(self.slots) / copies.copies()).max(1),
            Placement::Parity(rotation) => self.chunk_bytes * u64::from(rotation.data()),
        }
    }

    /// Cuts a range of the array into pieces, in order.
    ///
    /// # Panics
    /// Where the range reaches past the capacity: callers check what they were asked for.
    pub fn map(&self, array_offset_bytes: u64, length_bytes: u64) -> impl Iterator<Item = Piece<'_>> {
        let end = array_offset_bytes.checked_add(length_bytes);
        assert!(
            end.is_some_and(|end| end <= self.capacity_bytes),
            "{length_bytes} bytes at {array_offset_bytes} of an array of {}",
            self.capacity_bytes
        );
        let end = array_offset_bytes + length_bytes;
        let mut next = array_offset_bytes;
        std::iter::from_fn(move || {
            if next == end {
                return None;
            }
            let piece = Piece {
                geometry: self,
                array_offset_bytes: next,
                length_bytes: self.place(next, 0).run_bytes.min(end - next),
            };
            next += piece.length_bytes;
            Some(piece)
        })
    }

    /// What a byte of a member's data area is good for.
    pub fn cell(&self, slot: Slot, member_offset_bytes: u64) -> Cell {
        assert!(slot.0 < self.slots, "slot {slot} of {} members", self.slots);
        match &self.placement {
            Placement::Spans(spans) => spans.cell(slot, member_offset_bytes),
            Placement::Zones(zones) => zones.cell(slot, member_offset_bytes),
            Placement::Copies(copies) => copies.cell(slot, member_offset_bytes),
            Placement::Mirror if member_offset_bytes < self.capacity_bytes => Cell::Data {
                array_offset_bytes: member_offset_bytes,
                run_bytes: self.capacity_bytes - member_offset_bytes,
            },
            Placement::Mirror => Cell::Unused,
            Placement::Parity(_) => self
                .stripe(member_offset_bytes / self.chunk_bytes)
                .map_or(Cell::Unused, |stripe| {
                    stripe.cell(slot, member_offset_bytes % self.chunk_bytes)
                }),
        }
    }

    /// Where copy number `copy` of a byte inside the array lies.
    fn place(&self, array_offset: u64, copy: u64) -> Place {
        match &self.placement {
            Placement::Spans(spans) => spans.place(array_offset),
            Placement::Zones(zones) => zones.place(array_offset),
            Placement::Copies(copies) => copies.place(array_offset, copy),
            Placement::Mirror => Place {
                slot: slot_of(copy),
                member_offset_bytes: array_offset,
                run_bytes: self.capacity_bytes - array_offset,
            },
            Placement::Parity(rotation) => {
                let position = Position::new(*rotation, self.chunk_bytes, array_offset);
                Place {
                    slot: position.slot(),
                    member_offset_bytes: position.member_offset_bytes(),
                    run_bytes: self.chunk_bytes - position.within_bytes,
                }
            }
        }
    }

    /// Array bytes that are written at once in a reshape: a stripe, or a chunk where there is no parity.
    pub(in crate::raid) fn unit_bytes(&self) -> u64 {
        match &self.placement {
            Placement::Parity(_) | Placement::Zones(_) => self.stripe_bytes(),
            _ => self.chunk_bytes,
        }
    }

    /// Bytes of a member that the least part of the array needs; 0 where rows do not follow one another as the array does.
    pub(in crate::raid) fn row_bytes(&self) -> u64 {
        self.rows_before(1).unwrap_or(0)
    }

    /// Bytes of a member from its start to the end of the rows that array bytes below `array_offset` need; none where
    /// rows do not follow one another as the array does.
    fn rows_before(&self, array_offset: u64) -> Option<u64> {
        match &self.placement {
            Placement::Parity(_) => Some(array_offset.div_ceil(self.stripe_bytes()) * self.chunk_bytes),
            Placement::Zones(zones) if zones.is_even() => {
                Some(array_offset.div_ceil(self.stripe_bytes()) * self.chunk_bytes)
            }
            Placement::Copies(copies) => copies.rows_before(array_offset),
            Placement::Spans(_) | Placement::Zones(_) | Placement::Mirror => None,
        }
    }

    /// Bytes of a member from its start to the first row that array bytes from `array_offset` on need.
    fn rows_after(&self, array_offset: u64) -> Option<u64> {
        match &self.placement {
            Placement::Parity(_) => Some(array_offset / self.stripe_bytes() * self.chunk_bytes),
            Placement::Zones(zones) if zones.is_even() => Some(array_offset / self.stripe_bytes() * self.chunk_bytes),
            Placement::Copies(copies) => copies.rows_after(array_offset),
            Placement::Spans(_) | Placement::Zones(_) | Placement::Mirror => None,
        }
    }

    /// The stripe of that number; none at levels without parity, and past the end.
    pub fn stripe(&self, number: u64) -> Option<Stripe> {
        let Placement::Parity(rotation) = &self.placement else {
            return None;
        };
        (number < self.stripes()).then(|| Stripe::new(*rotation, self.chunk_bytes, number))
    }

    /// Number of stripes; 0 at levels without parity.
    pub fn stripes(&self) -> u64 {
        match &self.placement {
            Placement::Parity(_) => self.capacity_bytes / self.stripe_bytes(),
            _ => 0,
        }
    }

    /// The stripe, and the place in it, of a byte of the array; none at levels without parity, and past the end.
    pub fn stripe_of(&self, array_offset_bytes: u64) -> Option<Position> {
        let Placement::Parity(rotation) = &self.placement else {
            return None;
        };
        (array_offset_bytes < self.capacity_bytes)
            .then(|| Position::new(*rotation, self.chunk_bytes, array_offset_bytes))
    }
}

fn check_members(level: Level, member_bytes: &[u64]) -> Result<(), GeometryError> {
    let slots = member_bytes.len();
    let minimum = usize::from(level.minimum_members());
    let maximum = if level == Level::Raid6 {
        RAID6_SLOTS_MAX
    } else {
        SLOTS_MAX
    };
    if slots < minimum || slots > maximum {
        return Err(GeometryError::MemberCount {
            level,
            members: slots,
            minimum,
            maximum,
        });
    }
    Ok(())
}

fn check_chunk(level: Level, chunk_bytes: u64) -> Result<(), GeometryError> {
    let reason = match level {
        Level::Raid1 => return Ok(()),
        Level::Linear if chunk_bytes == 0 => return Ok(()),
        Level::Linear | Level::Raid0 if chunk_bytes == 0 || !chunk_bytes.is_multiple_of(SECTOR_BYTES) => {
            "it is a multiple of 512 bytes"
        }
        Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10
            if chunk_bytes < PAGE_BYTES || !chunk_bytes.is_power_of_two() =>
        {
            "it is a power of two of at least 4096 bytes"
        }
        _ if chunk_bytes > CHUNK_BYTES_MAX => "it is at most 2^39 bytes",
        _ => return Ok(()),
    };
    Err(GeometryError::BadChunk {
        level,
        chunk_bytes,
        reason,
    })
}

#[cfg(test)]
mod tests;
