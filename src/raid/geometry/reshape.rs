//! An array on its way from one geometry to another, in use all the while.
//!
//! A *reshape position* cuts the array in two: one side lies by the new geometry already, the other still by the old.
//! Forward, the position climbs and the new side is below it; backward it falls and the new side is above. Members are
//! the same for both; the new geometry's data areas may begin elsewhere (md: `new_offset`), which is what lets a
//! reshape go on without a backup file. Source: md's raid5 and raid10, tried against kernels stopped half-way.

use super::{Geometry, GeometryError, Piece};
use crate::raid::Level;

/// Which way the position moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From 0 to the end: growing, mostly.
    Forward,
    /// From the end to 0: shrinking, mostly.
    Backward,
}

/// A geometry of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Not moved yet.
    Old,
    /// Moved.
    New,
}

/// A piece, and the side it lies on.
#[derive(Debug, Clone, Copy)]
pub struct SidePiece<'a> {
    /// Which geometry, and so which data offset, it is of.
    pub side: Side,
    /// The piece by that geometry.
    pub piece: Piece<'a>,
}

/// Two geometries and the position between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReshapeView {
    old: Geometry,
    new: Geometry,
    direction: Direction,
    shift_bytes: i64,
    position_bytes: u64,
}

impl ReshapeView {
    /// Joins the two geometries of an array.
    ///
    /// `shift_bytes` is how far the new data areas begin after the old ones: negative with most reshapes (md:
    /// `new_offset`, there in sectors). It has to be the same on all members. `position_bytes` is md's
    /// `reshape_position`, there in sectors of the array.
    pub fn new(
        old: Geometry,
        new: Geometry,
        direction: Direction,
        shift_bytes: i64,
        position_bytes: u64,
    ) -> Result<Self, GeometryError> {
        let refuse = |reason| GeometryError::NoReshape {
            from: old.level(),
            to: new.level(),
            reason,
        };
        if [&old, &new].iter().any(|geometry| geometry.rows_before(0).is_none()) {
            return Err(refuse(
                "only raid0 of equal members, raid4, raid5, raid6 and raid10 without far copies move",
            ));
        }
        if (old.level() == Level::Raid10) != (new.level() == Level::Raid10) {
            return Err(refuse("raid10 and the parity levels do not lead to one another"));
        }
        if position_bytes > old.capacity_bytes().max(new.capacity_bytes()) {
            return Err(refuse("the position is past the end of the array"));
        }
        if !position_bytes.is_multiple_of(new.unit_bytes()) {
            return Err(refuse("the position is inside a stripe of the new geometry"));
        }
        Ok(Self {
            old,
            new,
            direction,
            shift_bytes,
            position_bytes,
        })
    }

    /// The geometry before.
    pub fn old(&self) -> &Geometry {
        &self.old
    }

    /// The geometry after.
    pub fn new_geometry(&self) -> &Geometry {
        &self.new
    }

    /// The geometry of a side.
    pub fn geometry(&self, side: Side) -> &Geometry {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    /// Which way the position moves.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Where the cut is, in bytes of the array.
    pub fn position_bytes(&self) -> u64 {
        self.position_bytes
    }

    /// How far the data areas of a side begin after the old ones.
    pub fn shift_bytes(&self, side: Side) -> i64 {
        match side {
            Side::Old => 0,
            Side::New => self.shift_bytes,
        }
    }

    /// Bytes of the array while it moves: the smaller of before and after.
    pub fn capacity_bytes(&self) -> u64 {
        self.old.capacity_bytes().min(self.new.capacity_bytes())
    }

    /// The side that a byte of the array lies on.
    pub fn side_of(&self, array_offset_bytes: u64) -> Side {
        let below = array_offset_bytes < self.position_bytes;
        if below == (self.direction == Direction::Forward) {
            Side::New
        } else {
            Side::Old
        }
    }

    /// Cuts a range of the array into pieces, in order; none crosses the position.
    ///
    /// # Panics
    /// Where the range reaches past the capacity.
    pub fn map(&self, array_offset_bytes: u64, length_bytes: u64) -> impl Iterator<Item = SidePiece<'_>> {
        let end = array_offset_bytes.checked_add(length_bytes);
        assert!(
            end.is_some_and(|end| end <= self.capacity_bytes()),
            "{length_bytes} bytes at {array_offset_bytes} of an array of {}",
            self.capacity_bytes()
        );
        let end = array_offset_bytes + length_bytes;
        let cut = self.position_bytes.clamp(array_offset_bytes, end);
        [(array_offset_bytes, cut), (cut, end)]
            .into_iter()
            .filter(|(start, end)| start < end)
            .flat_map(|(start, end)| {
                let side = self.side_of(start);
                let pieces = self.geometry(side).map(start, end - start);
                pieces.map(move |piece| SidePiece { side, piece })
            })
    }

    /// Sets the position, once what it says is on the members.
    ///
    /// # Panics
    /// Where it would move against the direction.
    pub fn advance(&mut self, position_bytes: u64) {
        let on = match self.direction {
            Direction::Forward => position_bytes >= self.position_bytes,
            Direction::Backward => position_bytes <= self.position_bytes,
        };
        assert!(
            on,
            "a reshape at {} cannot go back to {position_bytes}",
            self.position_bytes
        );
        self.position_bytes = position_bytes;
    }

    /// How far the position may move at once with all of the old side still whole: what lies between can be written
    /// by the new geometry without touching a row that the old side, from the position on, needs. A kill at any point
    /// is then harmless, as the members still name the old position.
    ///
    /// The position itself where not one stripe is safe: then only a copy elsewhere helps.
    pub fn safe_position_bytes(&self) -> u64 {
        let (position, unit) = (self.position_bytes, self.new.unit_bytes());
        let end = self.new.capacity_bytes();
        let moved = |member_offset: u64| i128::from(member_offset) - i128::from(self.shift_bytes);
        match self.direction {
            Direction::Forward => {
                let first_needed = self.old.rows_after(position).map(moved);
                let safe = |units: u64| self.new.rows_before(units * unit).map(i128::from) <= first_needed;
                let units = last_where(position / unit, end / unit, safe);
                units * unit
            }
            Direction::Backward => {
                let last_needed = self.old.rows_before(position.min(self.old.capacity_bytes())).map(moved);
                let safe = |back: u64| self.new.rows_after(position - back * unit).map(i128::from) >= last_needed;
                position - last_where(0, position / unit, safe) * unit
            }
        }
    }
}

/// The last of `from..=to` for which `holds`, which is true of all up to some point; `from` where it is true of none.
fn last_where(from: u64, to: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (from, to.max(from));
    while low < high {
        let middle = high - (high - low) / 2;
        (low, high) = if holds(middle) {
            (middle, high)
        } else {
            (low, middle - 1)
        };
    }
    low
}
