use proptest::prelude::{any, prop_assert, proptest};

use super::{HEADER_BYTES, PplDamage, PplHeader, newest, replay, signature};
use crate::raid::{Sector, Slot, metadata::identity::Uuid};

const ARRAY: Uuid = Uuid([0x42; 16]);

/// A header by the kernel's definitions: generation, then entries of first sector, sizes of partial parity and data,
/// slot and the CRC of the partial parity.
fn header(generation: u64, entries: &[(u64, u32, u32, u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..512].fill(0xff);
    bytes[512..516].copy_from_slice(&signature(ARRAY).to_le_bytes());
    bytes[520..528].copy_from_slice(&generation.to_le_bytes());
    bytes[528..532].copy_from_slice(&u32::try_from(entries.len()).unwrap().to_le_bytes());
    for (place, &(sector, partial, data, slot, crc)) in bytes[536..].chunks_exact_mut(24).zip(entries) {
        place[..8].copy_from_slice(&sector.to_le_bytes());
        for (place, number) in place[8..].chunks_exact_mut(4).zip([partial, data, slot, crc]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
    }
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    bytes[532..536].fill(0);
    let sum = crc32c::crc32c(&bytes[..HEADER_BYTES]);
    bytes[532..536].copy_from_slice(&sum.to_le_bytes());
}

/// An area of 1 MiB that begins with `parts`.
fn area(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.resize(1 << 20, 0);
    bytes
}

fn updates(area: &[u8], chunk: u32, slots: u16) -> Vec<(Vec<u64>, u64, Option<usize>)> {
    let plan = replay(area, ARRAY, chunk, slots).unwrap();
    assert_eq!(plan.torn, 0);
    let all = plan.updates.into_iter();
    all.map(|update| {
        assert_eq!(update.parity, Slot(2));
        let partial = update.partial.map(|partial| {
            assert_eq!(partial.len() as u64, update.length.0 * 512);
            partial.start
        });
        (
            update.data.iter().map(|sector| sector.0).collect(),
            update.length.0,
            partial,
        )
    })
    .collect()
}

#[test]
fn an_empty_header_is_the_kernel_s() {
    let bytes = PplHeader::encode_empty(ARRAY, 0);
    assert_eq!(bytes, header(0, &[]));
    assert_eq!(PplHeader::decode(&bytes, ARRAY).unwrap().entries, []);
    assert_eq!(replay(&area(&[&bytes]), ARRAY, 128, 4).unwrap().updates, []);
}

/// The four cases of the kernel's documentation, for chunks of 128 sectors on three data members and one parity.
#[test]
fn parity_follows_from_what_was_logged() {
    let pages = vec![0x99; 65536];
    let crc = |length: usize| crc32c::crc32c(&pages[..length]);
    // Part of one chunk, and the same rows of two chunks.
    let one = area(&[&header(1, &[(1000, 4096, 4096, 2, crc(4096))]), &pages]);
    assert_eq!(updates(&one, 128, 4), [(vec![1000], 8, Some(4096))]);
    let two = area(&[&header(1, &[(128 + 16, 8192, 16384, 2, crc(8192))]), &pages]);
    assert_eq!(updates(&two, 128, 4), [(vec![144, 272], 16, Some(4096))]);
    // The same rows of all members: no partial parity.
    let whole = area(&[&header(1, &[(384 + 8, 0, 3 * 8192, 2, 0)])]);
    assert_eq!(updates(&whole, 128, 4), [(vec![392, 520, 648], 16, None)]);
    // From the middle of one chunk to the middle of the last: partial parity of a whole chunk, 24 sectors of it void.
    let ragged = area(&[&header(1, &[(64, 65536, (64 + 128 + 40) * 512, 2, crc(65536))]), &pages]);
    assert_eq!(
        updates(&ragged, 128, 4),
        [
            (vec![64, 192], 64, Some(4096)),
            (vec![128, 256], 40, Some(4096 + 64 * 512)),
            (vec![168], 24, Some(4096 + 104 * 512)),
        ]
    );
    // Several entries: their partial parities follow each other.
    let entries = [
        (0, 4096, 4096, 2, crc(4096)),
        (384, 0, 3 * 4096, 2, 0),
        (800, 8192, 8192, 2, crc(8192)),
    ];
    let many = area(&[&header(1, &entries), &pages]);
    let starts: Vec<_> = updates(&many, 128, 4)
        .into_iter()
        .map(|(_, _, partial)| partial)
        .collect();
    assert_eq!(starts, [Some(4096), None, Some(8192)]);
}

#[test]
fn the_newest_of_a_ring_counts() {
    let page = vec![1; 4096];
    let crc = crc32c::crc32c(&page);
    let at = |generation, sector| header(generation, &[(sector, 4096, 4096, 2, crc)]);
    let ring = area(&[&at(5, 0), &page, &at(6, 8), &page, &at(4, 16), &page]);
    let (start, header) = newest(&ring, ARRAY).unwrap();
    assert_eq!((start, header.generation), (8192, 6));
    assert_eq!(updates(&ring, 128, 4), [(vec![8], 8, Some(12288))]);
    let mut torn = ring;
    torn[8192 + 540] ^= 1;
    assert_eq!(updates(&torn, 128, 4), [(vec![0], 8, Some(4096))]);
}

#[test]
fn damage_is_named() {
    let page = vec![1; 4096];
    let crc = crc32c::crc32c(&page);
    let refused = |entry: (u64, u32, u32, u32, u32)| match replay(&area(&[&header(1, &[entry]), &page]), ARRAY, 128, 4)
    {
        Err(PplDamage::Field { field, .. }) => field,
        other => panic!("{entry:?}: {other:?}"),
    };
    assert_eq!(refused((0, 100, 4096, 2, 0)), "pp_size");
    assert_eq!(refused((0, 129 * 512, 4096, 2, 0)), "pp_size");
    assert_eq!(refused((0, 4096, 0, 2, 0)), "data_size");
    assert_eq!(refused((0, 4096, 5 * 512, 2, 0)), "data_size");
    assert_eq!(refused((0, 4096, 4 * 4096, 2, 0)), "data_size");
    assert_eq!(refused((0, 0, 4096, 2, 0)), "data_size");
    assert_eq!(refused((0, 4096, 400 * 512, 2, 0)), "data_size");
    assert_eq!(refused((0, 4096, 4096, 4, 0)), "parity_disk");
    assert_eq!(refused((u64::MAX - 8, 4096, 4096, 2, 0)), "data_sector");
    let torn = replay(
        &area(&[&header(1, &[(0, 4096, 4096, 2, crc ^ 1)]), &page]),
        ARRAY,
        128,
        4,
    )
    .unwrap();
    assert_eq!((torn.updates, torn.torn), (vec![], 1));
    let other = PplHeader::decode(&header(1, &[]), Uuid([1; 16]));
    assert!(matches!(other, Err(PplDamage::Foreign { .. })));
    let mut flipped = header(1, &[]);
    flipped[600] ^= 1;
    assert!(matches!(
        PplHeader::decode(&flipped, ARRAY),
        Err(PplDamage::Checksum { .. })
    ));
    let mut many = header(1, &[]);
    many[528] = 149;
    seal(&mut many);
    assert!(matches!(
        PplHeader::decode(&many, ARRAY),
        Err(PplDamage::Field {
            field: "entries_count",
            ..
        })
    ));
    let short = replay(&header(1, &[(0, 4096, 4096, 2, crc)]), ARRAY, 128, 4);
    assert_eq!(short, Err(PplDamage::TooShort { size_bytes: 4096 }));
    assert!(PplHeader::decode(&[], ARRAY).is_err());
}

proptest! {
    #[test]
    fn hostile_logs_never_panic(
        changes in proptest::collection::vec((512..700_usize, any::<u8>()), 0..12),
        sectors in proptest::collection::vec((any::<u64>(), 0..300_u32, 0..900_u32), 1..5),
        chunk in 0..12_u32,
        slots in 0..9_u16,
    ) {
        let entries: Vec<_> = sectors.iter().map(|&(sector, partial, data)| (sector >> 3, partial * 512, data * 512, 2, 0)).collect();
        let mut bytes = area(&[&header(1, &entries)]);
        for (at, value) in changes {
            bytes[at] = value;
        }
        seal(&mut bytes);
        if let Ok(plan) = replay(&bytes, ARRAY, 8 << chunk, slots) {
            for update in plan.updates {
                prop_assert!(update.length > Sector(0) && update.data.len() < usize::from(slots.max(2)));
                prop_assert!(update.partial.is_none_or(|partial| partial.end <= bytes.len()));
            }
        }
    }
}
