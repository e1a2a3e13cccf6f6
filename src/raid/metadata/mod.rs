//! The formats that stand beside an array's data: bytes in, bytes out, no I/O, no clock, no randomness.
//!
//! md's own: [`superblock`], [`bitmap`], [`badblocks`], [`ppl`] and [`write_journal`]; the last two are only read. What a new array looks like is in
//! [`plan`], what an image may hold instead in [`foreign`]. [`gpt`] is the table of an image that holds several members.
//!
//! Every decoder takes any bytes and returns what they say or an error that names the field; none trusts a length that
//! it finds.
//!
//! Glossary: a *place* is a sector of a member's device, an *offset* is relative to something; *events* count how often
//! the superblocks of an array were written.

pub mod badblocks;
pub mod bitmap;
pub mod foreign;
pub mod gpt;
pub mod identity;
pub mod plan;
pub mod ppl;
pub mod superblock;
pub mod write_journal;
