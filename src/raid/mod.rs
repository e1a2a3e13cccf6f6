//! Engine 2: RAID arrays over image files, in Linux md's own format.
//!
//! An *array* is made of *members* (image files or partitions in them); each has a *slot*, its place in the geometry.
//! [`metadata`] holds the formats that stand beside the data: they take and return bytes and do no I/O.

pub mod metadata;
mod types;

pub use types::{Level, Sector, Slot};
