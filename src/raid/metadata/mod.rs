//! The formats that stand beside an array's data: bytes in, bytes out, no I/O, no clock, no randomness.
//!
//! md's own: [`superblock`], [`bitmap`], [`badblocks`]. What a new array looks like is in [`plan`]. Every decoder takes
//! any bytes and returns what they say or an error that names the field; none trusts a length that it finds.
//!
//! Glossary: *place* is a sector on a member's device, *offset* is relative to something; *events* count how often the
//! superblocks of an array were written; a *log* here is one of md's, the *journal* is ours.

pub mod badblocks;
pub mod bitmap;
pub mod identity;
pub mod plan;
pub mod superblock;
