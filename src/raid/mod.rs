//! Engine 2: RAID arrays over image files, in Linux md's own format.
//!
//! An *array* is one run of bytes spread over *members*; a member is a file, or a GPT partition in one, and stands in a
//! *slot* (md: role). Its *data area* begins at the *data offset*; all offsets on a member here are from there, unless
//! a name says otherwise. A *chunk* is the run of bytes that lies on one member; chunks side by side are a *stripe*,
//! *P* and *Q* its parities. A *copy* is one of the places of a byte in a mirror. Members that are gone make an array
//! *degraded*; *rebuild* fills a new member, *resync* makes redundancy true again, *verify* only looks, *reshape*
//! moves an array to another geometry while it is in use.
//!
//! [`geometry`], [`parity`] and [`health`] are pure: where bytes lie, how they are made again, what state that is.
//! [`metadata`] holds the formats that stand beside the data: bytes in, bytes out. I/O begins with [`member`]; [`allot`] shares
//! images out by [`partition`]s, each a [`device`] of its own; [`create`] and [`assemble`], for which [`discover`] sorts
//! images into sets, lead to an [`Array`], which serves; [`overlay`] keeps members as they are, [`journal`] keeps stripes
//! whole, [`rebuild`] redundancy, [`scrub`] looks whether it is, [`add`] takes devices in, [`grow`] uses more of them,
//! [`watch`] gives up members that hang.

pub mod add;
pub mod allot;
pub mod array;
pub mod assemble;
pub mod buffer;
pub mod create;
pub mod device;
pub mod discover;
pub mod error;
pub mod geometry;
pub mod grow;
pub mod health;
pub mod journal;
pub mod member;
pub mod metadata;
pub mod nested;
pub mod overlay;
pub mod parity;
mod partial_parity;
pub mod partition;
pub mod rebuild;
pub mod reshape;
#[cfg(test)]
pub(crate) mod rig;
pub mod scrub;
pub mod stopped;
mod types;
pub mod watch;
mod write_journal;

pub use array::{Array, Extent, ExtentKind, Lease, Zeroes};
pub use error::{Error, Result};
pub use types::{Level, SECTOR_BYTES, Sector, Slot, UnknownLevel};
