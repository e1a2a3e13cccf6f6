//! FUSE face of the dump engine: a dump on a tape is a tree of files that any program reads and none can write.
//!
//! ```text
//! kernel -> adapter -> dump::browse -> dump::reader -> tape
//! ```
//!
//! [`adapter`] and [`session`] alone know the crate fuser. The kernel's side of mounting and unmounting, and its options,
//! are those of [`crate::mount`]. Names are there from the start; facts and data of an object are read from where it
//! lies on the tape, when they are asked for. What the tape has lost is answered with EIO.

pub mod adapter;
pub mod session;
