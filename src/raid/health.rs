//! How an array and its disks are doing: the controller guide's two tables of icons, ordered by severity.
//!
//! [`Facts`] are what the engine knows of an array, an [`Event`] is what can happen to it; [`ArrayState::of`] puts the
//! facts into the guide's words, [`ArrayState::actions`] says what may be done then. Pure: nothing here looks at a disk
//! or at a clock. The guide's words are kept as it has them; OCE/ORLM is its name for growing and migrating online,
//! which is called reshape here.

mod array;
mod disk;
mod facts;

pub use array::{Action, ArrayState};
pub use disk::{DiskState, SlotState};
pub use facts::{Event, Facts, Work};

#[cfg(test)]
mod tests;
