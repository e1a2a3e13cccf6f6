//! Fuzzes a meta block of md's write journal, with its checksum made right.
//!
//! A block that is taken has no more payloads than fit it.
#![no_main]

use headstack::raid::{
    Sector,
    metadata::{
        identity::Uuid,
        write_journal::{MetaBlock, PAGE_BYTES, Payload, checksum},
    },
};

const ARRAY: Uuid = Uuid([0x5a; 16]);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut block = MetaBlock::empty(ARRAY, Sector(64), 9);
    // Version, length and payloads are the fuzzer's; magic, number and position stay.
    for (at, byte) in (8..16).chain(32..PAGE_BYTES).zip(bytes) {
        block[at] = *byte;
    }
    block[4..8].fill(0);
    let sum = checksum(ARRAY, &block);
    block[4..8].copy_from_slice(&sum.to_le_bytes());
    if let Some(found) = MetaBlock::decode(ARRAY, Sector(64), &block) {
        assert_eq!(found.sequence, 9);
        let bytes = |payload: &Payload| match payload {
            Payload::Flush { rows } => 8 + 8 * rows.len(),
            other => 16 + 4 * other.checksums().len(),
        };
        assert!(32 + found.payloads.iter().map(bytes).sum::<usize>() <= PAGE_BYTES);
    }
});
