//! Fuzzes the files that headstack keeps beside the series: catalogue, marks, snapshots.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `scenes.rs`, which the normal tests share.
#![no_main]

#[path = "../scenes.rs"]
mod scenes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scenes::play(&scenes::OWN, bytes));
