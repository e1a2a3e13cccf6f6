//! Fuzzes one structure on the members of an array: the superblock of one member.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `members.rs`, which the normal tests share.
#![no_main]

#[path = "../members.rs"]
mod members;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| members::play(members::Place::Superblock, bytes));
