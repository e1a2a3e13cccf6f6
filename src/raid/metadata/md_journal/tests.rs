use proptest::prelude::{any, prop_assert, proptest};

use super::{BLOCK_BYTES, MdJournalBlock, MdJournalDamage, Payload, checksum, walk};
use crate::raid::{Sector, metadata::identity::Uuid};

const ARRAY: Uuid = Uuid([0x42; 16]);

fn seal(block: &mut [u8]) {
    block[4..8].fill(0);
    let sum = checksum(ARRAY, &block[..BLOCK_BYTES]);
    block[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// A block by the kernel's definitions, with its payloads' bytes.
fn block(sequence: u64, position: u64, payloads: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES];
    bytes[..4].copy_from_slice(&[0x09, 0xc5, 0x33, 0x64]);
    bytes[8] = 1;
    bytes[12..16].copy_from_slice(&u32::try_from(32 + payloads.len()).unwrap().to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&position.to_le_bytes());
    bytes[32..32 + payloads.len()].copy_from_slice(payloads);
    seal(&mut bytes);
    bytes
}

/// A payload of `kind` for `pages` at `location`.
fn payload(kind: u8, location: u64, pages: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(u32::try_from(pages.len() * 8).unwrap().to_le_bytes());
    bytes.extend(location.to_le_bytes());
    bytes.extend(pages.iter().flat_map(|page| checksum(ARRAY, page).to_le_bytes()));
    bytes
}

/// The seed is the raw CRC of the UUID, so that of no bytes at all is its complement.
#[test]
fn checksums_are_not_inverted() {
    assert_eq!(checksum(ARRAY, b""), !crc32c::crc32c(&ARRAY.0));
    let whole = [ARRAY.0.as_slice(), b"page"].concat();
    assert_eq!(checksum(ARRAY, b"page"), !crc32c::crc32c(&whole));
}

#[test]
fn blocks_are_read_in_order_up_to_the_first_that_is_not_whole() {
    let (data, parity) = (vec![0xd1; BLOCK_BYTES], vec![0x9a; BLOCK_BYTES]);
    let both = [payload(0, 1000, &[&data]), payload(1, 500, &[&parity, &data])].concat();
    let flush = [
        &[2, 0, 0, 0, 16, 0, 0, 0],
        8_u64.to_le_bytes().as_slice(),
        &16_u64.to_le_bytes(),
    ]
    .concat();
    // Begins in the last page of the ring of six and goes on at its start.
    let ring = |second: u64, third: &[u8]| {
        let pages = [
            data.as_slice(),
            &parity,
            &data,
            &block(second, 24, &flush),
            third,
            &block(41, 40, &both),
        ];
        pages.concat()
    };
    let nothing = vec![0; BLOCK_BYTES];
    let found = walk(&ring(42, &nothing), Sector(40), ARRAY).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].sequence, found[0].length()), (41, Sector(32)));
    let Payload::Parity {
        location,
        sectors,
        checksums,
        ..
    } = &found[0].payloads[1]
    else {
        panic!("{found:?}");
    };
    assert_eq!((*location, *sectors, checksums.len()), (Sector(500), 16, 2));
    assert_eq!(
        found[1].payloads,
        [Payload::Flush {
            stripes: vec![Sector(8), Sector(16)]
        }]
    );
    assert_eq!(
        walk(&ring(43, &nothing), Sector(40), ARRAY).unwrap().len(),
        1,
        "a number is missing"
    );
    assert_eq!(
        walk(&ring(42, &block(43, 40, &[])), Sector(40), ARRAY).unwrap().len(),
        2,
        "it stands elsewhere"
    );
    let last = walk(&ring(42, &block(43, 32, &[])), Sector(40), ARRAY).unwrap();
    assert_eq!(last.len(), 3, "it fills the ring");
    let over = block(43, 32, &payload(0, 1, &[&data]));
    assert_eq!(
        walk(&ring(42, &over), Sector(40), ARRAY).unwrap().len(),
        2,
        "it would meet its tail"
    );
    let mut torn = ring(42, &nothing);
    torn[BLOCK_BYTES] ^= 1;
    assert_eq!(walk(&torn, Sector(40), ARRAY).unwrap(), [], "a page is torn");
    torn[5 * BLOCK_BYTES + 20] ^= 1;
    assert!(matches!(
        walk(&torn, Sector(40), ARRAY),
        Err(MdJournalDamage::Checksum { .. })
    ));
    for tail in [48, 41, u64::MAX] {
        let damage = walk(&torn, Sector(tail), ARRAY);
        assert!(
            matches!(
                damage,
                Err(MdJournalDamage::Field {
                    field: "journal_tail",
                    ..
                })
            ),
            "{tail}"
        );
    }
}

#[test]
fn damage_is_named() {
    let refused = |at: usize, value: u8| {
        let mut bytes = block(1, 0, &payload(0, 8, &[&[0; BLOCK_BYTES]]));
        bytes[at] = value;
        seal(&mut bytes);
        MdJournalBlock::decode(&bytes, ARRAY).unwrap_err()
    };
    let named = |at, value| match refused(at, value) {
        MdJournalDamage::Field { field, .. } => field,
        other => panic!("{at}: {other}"),
    };
    assert!(matches!(refused(0, 1), MdJournalDamage::Absent { .. }));
    assert_eq!(named(8, 2), "version");
    assert_eq!(named(12, 31), "meta_size");
    assert_eq!(named(13, 0x11), "meta_size");
    assert_eq!(named(12, 50), "payload size");
    assert_eq!(named(12, 36), "payload");
    assert_eq!(named(32, 3), "payload type");
    assert_eq!(named(36, 0), "payload size");
    assert_eq!(named(36, 7), "payload size");
    assert_eq!(named(36, 16), "payload size");
    let flush = block(1, 0, &[2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let damage = MdJournalBlock::decode(&flush, ARRAY);
    assert!(
        matches!(
            damage,
            Err(MdJournalDamage::Field {
                field: "flush size",
                ..
            })
        ),
        "{damage:?}"
    );
    assert!(MdJournalBlock::decode(&[], ARRAY).is_err());
    assert!(matches!(
        walk(&[], Sector(0), ARRAY),
        Err(MdJournalDamage::Field { .. })
    ));
}

proptest! {
    #[test]
    fn hostile_journals_never_panic(changes in proptest::collection::vec((0..100_usize, any::<u8>()), 0..10), tail in 0..60_u64) {
        let page = [7; BLOCK_BYTES];
        let payloads = [payload(0, 8, &[&page]), payload(1, 8, &[&page])].concat();
        let mut ring = [block(1, 0, &payloads), page.to_vec(), page.to_vec(), block(2, 24, &payloads), page.to_vec(), page.to_vec()].concat();
        for (at, value) in changes {
            ring[at % 2 * 3 * BLOCK_BYTES + at] = value;
        }
        seal(&mut ring);
        seal(&mut ring[3 * BLOCK_BYTES..]);
        if let Ok(blocks) = walk(&ring, Sector(tail), ARRAY) {
            prop_assert!(blocks.iter().map(|block| block.length().0).sum::<u64>() <= 48);
        }
    }
}
