//! The shape of an array that is assembled: one geometry, or two while it is reshaped.
//!
//! Between the superblocks, which [`super::stored`] reads, and the array's roster, which has a seat for each member on
//! each side. Nothing here does I/O.

use std::sync::Arc;

use super::stored;
use crate::raid::{
    Slot,
    geometry::{Geometry, ReshapeView},
    member::Member,
    metadata::superblock::Superblock,
};

/// Where the bytes of an array lie.
#[derive(Debug, Clone)]
pub(in crate::raid) enum Shape {
    /// By one geometry.
    Still(Geometry),
    /// By two, with a position between them.
    Moving(Box<ReshapeView>),
}

impl Shape {
    /// The geometry, of the old side while there are two.
    pub(in crate::raid) fn geometry(&self) -> &Geometry {
        match self {
            Self::Still(geometry) => geometry,
            Self::Moving(view) => view.old(),
        }
    }

    /// The reshape under way.
    pub(in crate::raid) fn view(&self) -> Option<&ReshapeView> {
        match self {
            Self::Still(_) => None,
            Self::Moving(view) => Some(view),
        }
    }

    /// Slots, on whichever side there are more.
    pub(in crate::raid) fn slots(&self) -> u16 {
        let new = self.view().map_or(0, |view| view.new_geometry().slots());
        self.geometry().slots().max(new)
    }

    /// True where a member of the slot is there with all of its data.
    pub(in crate::raid) fn is_whole(&self, slot: Slot, superblock: &Superblock) -> bool {
        match self.view() {
            Some(view) if slot.0 >= view.old().slots() => stored::has_new_side(superblock, view),
            _ => superblock.recovered_to().is_none(),
        }
    }

    /// True where all data can be read without the members of some slots.
    pub(in crate::raid) fn can_read(&self, missing: &[Slot]) -> bool {
        let can = |geometry: &Geometry| {
            let slots = missing.iter().copied().filter(|slot| slot.0 < geometry.slots());
            geometry.can_read(&slots.collect::<Vec<_>>())
        };
        can(self.geometry()) && self.view().is_none_or(|view| can(view.new_geometry()))
    }
}

/// A member by where its data lie on the new side of a reshape, as its superblock has it.
pub(in crate::raid) fn moved(member: &Member, superblock: &Superblock) -> Arc<Member> {
    let shift = i64::from(stored::shift(superblock));
    let start = superblock.data_offset.checked_offset(shift);
    let start = start.unwrap_or(superblock.data_offset);
    // At levels without redundancy nothing has looked at the size, which they do not use.
    let bytes = superblock.size.bytes().unwrap_or(0);
    Arc::new(member.moved(start.bytes().unwrap_or(0), bytes))
}
