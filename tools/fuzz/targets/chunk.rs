//! Fuzzes chunk files: first, middle and last of a fixed series, root and part of a variable-length one.
//!
//! What is done with the bytes, and what must hold whatever they are, is in `scenes.rs`, which the normal tests share.
#![no_main]

#[path = "../scenes.rs"]
mod scenes;
#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(
    init: seeds::keep(&scenes::healthy()[std::path::Path::new(scenes::CHUNKS[0])]),
    |bytes: &[u8]| scenes::play(&scenes::CHUNKS, bytes)
);
