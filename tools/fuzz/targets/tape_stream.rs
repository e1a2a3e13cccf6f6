//! Fuzzes tapes: a whole stream of tape blocks.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `spots.rs` and `tapes.rs`, which the normal tests share.
#![no_main]

#[path = "../spots.rs"]
mod spots;
#[path = "../tapes.rs"]
mod tapes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spots::plant(spots::Spot::Stream, bytes));
