//! Fuzzes tapes: a whole image of records.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `tapes.rs`, which the normal tests share.
#![no_main]

#[path = "../tapes.rs"]
mod tapes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tapes::plant(tapes::Spot::Image, bytes));
