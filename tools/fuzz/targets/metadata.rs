//! Fuzzes metadata: of series, of parts, of the database.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `scenes.rs`, which the normal tests share.
#![no_main]

#[path = "../scenes.rs"]
mod scenes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scenes::play(&scenes::METADATA, bytes));
