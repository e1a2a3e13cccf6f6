//! Fuzzes one structure on the members of an array: a partial parity log.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `members.rs`, which the normal tests share.
#![no_main]

#[path = "../members.rs"]
mod members;
#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(
    init: seeds::keep(&members::seed(members::Place::Ppl)),
    |bytes: &[u8]| members::play(members::Place::Ppl, bytes)
);
