//! Fuzzes tapes: a whole stream of tape blocks.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `spots.rs` and `tapes.rs`, which the normal tests share.
#![no_main]

#[path = "../spots.rs"]
mod spots;
#[path = "../tapes.rs"]
mod tapes;
#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(
    init: seeds::keep(&spots::seed(spots::Spot::Stream)),
    |bytes: &[u8]| spots::plant(spots::Spot::Stream, bytes)
);
