//! Fuzzes one structure on the members of an array: an overlay.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `members.rs`, which the normal tests share.
#![no_main]

#[path = "../members.rs"]
mod members;
#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(
    init: seeds::keep(&members::seed(members::Place::Overlay)),
    |bytes: &[u8]| members::play(members::Place::Overlay, bytes)
);
