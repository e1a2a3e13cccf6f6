//! Arrays in use: what is done for them in the background, and the orders that they take.
//!
//! A [`Keeper`](crate::nbd::Keeper) tells its array the time and makes redundancy whole again. An [`order::Order`] is what a verb asks
//! of an array; it is carried out on the keeper, in the process of the verb itself or, through a [`control`] socket, in
//! the one that serves the array. Progress and result are the same both ways.

pub mod client;
pub mod control;
pub mod order;
pub mod served;
