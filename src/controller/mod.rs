//! What lives long: arrays in use, and whoever may ask something of them.
//!
//! A [`Keeper`](crate::nbd::Keeper) tells its array the time and makes redundancy whole again. An [`order::Order`] is what
//! is asked of an array; it is carried out on the keeper, in the process of the verb itself or, through a [`socket`], in
//! the one that serves the array. Progress and result are the same both ways.

pub mod client;
pub mod error;
pub mod interface;
pub mod order;
pub mod served;
pub mod socket;

pub use error::{Error, Kind, Told};
