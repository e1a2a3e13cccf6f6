//! Reshape: an array in use moves to another geometry.
//!
//! [`target`] decides what is possible, [`begin`] writes down what is to come, [`advance`] moves the data step by step, each
//! ending with a checkpoint in md's own fields, so that Linux goes on with what was left half-way here and the reverse.
//! [`stored`] has how superblocks put it, [`shape`] the two sides of an array that is assembled.
//!
//! The *old side* is what still lies by the geometry of before, the *new side* what was moved; the *position* cuts the array
//! between them. Data move towards the front of every member into the *room* before them, so that nothing is overwritten
//! before it is safe elsewhere; where there is no room a reshape is refused.

mod advance;
mod begin;
mod shape;
pub(in crate::raid) mod stored;
mod target;

pub(in crate::raid) use advance::whole_bytes;
pub(in crate::raid) use shape::{Shape, moved};
pub use target::Plan;
