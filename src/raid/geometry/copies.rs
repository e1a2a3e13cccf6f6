//! RAID 10: every chunk has several copies, near (side by side), far (a region apart) or offset (a row apart).
//!
//! Copies are laid down chunk after chunk: near copy `i` of chunk `c` is cell `c * near + i`, cells fill rows of all
//! members, and each row is repeated `far` times, shifted by `near` members each time: in the next row (offset) or in
//! the next region of the member (far). Shifts stay inside a *set* of members: all of them, or with md's newer far
//! layouts groups of members. Works for odd numbers of members too. Source: md's raid10, tried against a kernel.

use super::{Cell, GeometryError, Place, spans::slot_of};
use crate::raid::{Level, Slot};

/// The arrangement of RAID 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copies {
    chunk_bytes: u64,
    slots: u64,
    near: u64,
    far: u64,
    /// True where a row's repetitions follow it at once.
    offset: bool,
    /// Members that a shift stays inside; the last set also holds what is left over.
    set: u64,
    /// Chunks of the array.
    chunks: u64,
    /// Rows of one region; with `offset`, rows that hold first repetitions.
    rows: u64,
}

impl Copies {
    /// Reads md's layout number: near | far << 8 | offset << 16 | sets << 17.
    pub(super) fn new(layout: u32, chunk_bytes: u64, slots: u64, member_bytes: u64) -> Result<Self, GeometryError> {
        let unknown = |remedy| GeometryError::UnknownLayout {
            level: Level::Raid10,
            layout,
            remedy,
        };
        let (near, far) = (u64::from(layout & 0xff), u64::from(layout >> 8 & 0xff));
        let offset = layout & 1 << 16 != 0;
        if near * far < 2 || near * far > slots {
            return Err(unknown("copies are at least 2 and at most one a member"));
        }
        let set = match layout >> 17 {
            0 => slots,
            1 => slots / far,
            2 => near * far,
            _ => return Err(unknown("bits above 18 mean nothing")),
        };
        let rows = member_bytes / chunk_bytes / far;
        let copies = Self {
            chunk_bytes,
            slots,
            near,
            far,
            offset,
            set,
            chunks: rows.checked_mul(slots).ok_or(GeometryError::TooLarge)? / near,
            rows,
        };
        if (set != slots && near > 1 && (!slots.is_multiple_of(set) || !set.is_multiple_of(near)))
            || (offset && near > 1 && !slots.is_multiple_of(near))
            || !copies.keep_apart()
        {
            return Err(unknown(
                "md itself would put two copies into one place with this number of members",
            ));
        }
        Ok(copies)
    }

    /// True where no chunk has two copies on one member.
    fn keep_apart(&self) -> bool {
        (0..self.slots).all(|first| {
            let slots: Vec<Slot> = self.slots_of_chunk(first).collect();
            slots.iter().enumerate().all(|(at, slot)| !slots[..at].contains(slot))
        })
    }

    pub(super) fn copies(&self) -> u64 {
        self.near * self.far
    }

    pub(super) fn capacity_bytes(&self) -> Result<u64, GeometryError> {
        self.chunks.checked_mul(self.chunk_bytes).ok_or(GeometryError::TooLarge)
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.rows * self.far * self.chunk_bytes
    }

    /// Chunks after which the same members come again.
    pub(super) fn cycle(&self) -> u64 {
        self.slots
    }

    /// Members of all copies of a chunk.
    pub(super) fn slots_of_chunk(&self, chunk: u64) -> impl Iterator<Item = Slot> + use<'_> {
        (0..self.copies()).map(move |copy| self.cell_of(chunk, copy).0)
    }

    /// Member and row of a copy; near copies come first.
    fn cell_of(&self, chunk: u64, copy: u64) -> (Slot, u64) {
        let cell = chunk * self.near + copy % self.near;
        let repetition = copy / self.near;
        let (row, column) = (cell / self.slots, cell % self.slots);
        let row = if self.offset {
            row * self.far + repetition
        } else {
            row + repetition * self.rows
        };
        (slot_of(self.shifted(column, repetition)), row)
    }

    /// First member and size of the set of a member.
    fn set_of(&self, column: u64) -> (u64, u64) {
        let sets = self.slots / self.set;
        let number = (column / self.set).min(sets - 1);
        let start = number * self.set;
        let size = if number == sets - 1 {
            self.slots - start
        } else {
            self.set
        };
        (start, size)
    }

    /// The member that holds the given repetition of what stands first on member `column`.
    fn shifted(&self, column: u64, repetition: u64) -> u64 {
        let (start, size) = self.set_of(column);
        start + (column - start + repetition * self.near) % size
    }

    /// The inverse of [`Self::shifted`].
    fn unshifted(&self, column: u64, repetition: u64) -> u64 {
        let (start, size) = self.set_of(column);
        start + (column - start + size - repetition * self.near % size) % size
    }

    /// Where copy number `copy` of the byte `array_offset`, which is inside the array, lies.
    pub(super) fn place(&self, array_offset: u64, copy: u64) -> Place {
        let within = array_offset % self.chunk_bytes;
        let (slot, row) = self.cell_of(array_offset / self.chunk_bytes, copy);
        Place {
            slot,
            member_offset_bytes: row * self.chunk_bytes + within,
            run_bytes: self.chunk_bytes - within,
        }
    }

    /// What lies at `member_offset` of `slot`.
    pub(super) fn cell(&self, slot: Slot, member_offset: u64) -> Cell {
        let (row, within) = (member_offset / self.chunk_bytes, member_offset % self.chunk_bytes);
        if row >= self.rows * self.far {
            return Cell::Unused;
        }
        let (row, repetition) = if self.offset {
            (row / self.far, row % self.far)
        } else {
            (row % self.rows, row / self.rows)
        };
        let column = self.unshifted(u64::from(slot.0), repetition);
        let chunk = (row * self.slots + column) / self.near;
        if chunk >= self.chunks {
            return Cell::Unused;
        }
        Cell::Data {
            array_offset_bytes: chunk * self.chunk_bytes + within,
            run_bytes: self.chunk_bytes - within,
        }
    }

    /// Rows that follow one another as the array does: none of far layouts.
    fn rows_in_order(&self) -> Option<u64> {
        (self.offset || self.far == 1).then_some(self.far * self.chunk_bytes)
    }

    /// Bytes of a member up to the end of the rows that array bytes below `array_offset` need.
    pub(super) fn rows_before(&self, array_offset: u64) -> Option<u64> {
        let cells = array_offset.div_ceil(self.chunk_bytes) * self.near;
        Some(cells.div_ceil(self.slots) * self.rows_in_order()?)
    }

    /// Bytes of a member up to the first row that array bytes from `array_offset` on need.
    pub(super) fn rows_after(&self, array_offset: u64) -> Option<u64> {
        let cells = array_offset / self.chunk_bytes * self.near;
        Some(cells / self.slots * self.rows_in_order()?)
    }
}
