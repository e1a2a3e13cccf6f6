//! Headers held to tapes of stock dump, and to bytes put down by hand.

use std::fs;

use proptest::prelude::*;

use super::*;

/// A tape of stock dump from `images/tape`.
fn golden(name: &str) -> Vec<u8> {
    let images = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("images/tape");
    fs::read(images.join("little-dump-0.4b47").join(name)).unwrap()
}

fn blocks(tape: &[u8]) -> Vec<TapeBlock> {
    let chunks = tape.chunks_exact(TAPE_BLOCK_BYTES);
    chunks.map(|chunk| chunk.try_into().unwrap()).collect()
}

/// A block with words put at offsets in either byte order, and the checksum that the format asks for.
fn by_hand(fields: &[(usize, usize, u64)], big: bool) -> TapeBlock {
    let mut block = [0; 1024];
    let mut put = |at: usize, width: usize, value: u64| {
        let bytes = if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let bytes = if big { &bytes[8 - width..] } else { &bytes[..width] };
        block[at..at + width].copy_from_slice(bytes);
    };
    fields.iter().for_each(|(at, width, value)| put(*at, *width, *value));
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap();
        if big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let total = block
        .chunks_exact(4)
        .fold(0, |sum: u32, bytes| sum.wrapping_add(word(bytes)));
    let missing = 84446_u32.wrapping_sub(total);
    block[28..32].copy_from_slice(&if big {
        missing.to_be_bytes()
    } else {
        missing.to_le_bytes()
    });
    block
}

const FIELDS: &[(usize, usize, u64)] = &[
    (0, 4, 2),
    (4, 4, 1_700_000_000),
    (8, 4, 1_600_000_000),
    (12, 4, 3),
    (16, 4, 77),
    (20, 4, 1234),
    (24, 4, 60012),
    (32, 2, 0o100_644),
    (34, 2, 2),
    (40, 8, 5_000_000_000),
    (48, 4, 1_500_000_001),
    (52, 4, 7),
    (56, 4, 4_000_000_000),
    (60, 4, 999_999),
    (64, 4, 1_500_000_003),
    (72, 4, 0x0010_3C2C),
    (132, 4, 0x80000),
    (144, 4, 70000),
    (148, 4, 80000),
    (160, 4, 3),
    (692, 4, 9),
    (888, 4, 2),
    (892, 4, 640),
    (896, 4, 32),
];

#[test]
fn both_byte_orders_say_the_same() {
    for big in [false, true] {
        let mut block = by_hand(FIELDS, big);
        assert_eq!(Header::decode(&block).unwrap().big_endian, big);
        block = by_hand(FIELDS, big);
        let header = Header::decode(&block).unwrap();
        assert_eq!(header.kind, Kind::Inode);
        assert_eq!((header.date_s, header.base_date_s), (1_700_000_000, 1_600_000_000));
        assert_eq!((header.volume, header.tape_block, header.number), (3, 77, 1234));
        assert_eq!(
            header.node,
            Node {
                mode: 0o100_644,
                links: 2,
                uid: 70000,
                gid: 80000,
                size_bytes: 5_000_000_000,
                accessed: Time {
                    seconds: 1_500_000_001,
                    nanoseconds: 7000
                },
                modified: Time {
                    seconds: 4_000_000_000,
                    nanoseconds: 999_999_000
                },
                changed: Time {
                    seconds: 1_500_000_003,
                    nanoseconds: 0
                },
                device: 0x0010_3C2C,
                flags: 0x80000,
            }
        );
        assert_eq!(
            (header.count, header.label.level, header.first_block, header.factor),
            (3, 9, 640, 32)
        );
    }
}

#[test]
fn the_old_format_and_ufs2_are_read() {
    let old = [
        (0, 4, 2),
        (4, 4, 400_000_000),
        (12, 4, 1),
        (16, 4, 5),
        (20, 2, 4321),
        (24, 4, 60011),
        (32, 2, 0o100_600),
        (34, 2, 1),
        (36, 2, 10),
        (38, 2, 20),
        (40, 4, 3000),
        (84, 4, 1),
        (88, 4, 2),
        (92, 4, 3),
        (96, 4, 3),
        (100, 1, 1),
        (102, 1, 1),
    ];
    let ufs2 = [
        (0, 4, 2),
        (20, 4, 99),
        (24, 4, 0x1954_0119),
        (32, 2, 0o100_640),
        (40, 8, 10),
        (52, 4, 11),
        (60, 4, 12),
        (88, 8, 5_000_000_000),
        (96, 8, 6_000_000_000),
        (144, 4, 1),
        (148, 4, 2),
        (160, 4, 1),
        (896, 8, 7_000_000_000),
        (904, 8, 1),
        (912, 8, 6_000_000_001),
    ];
    for big in [false, true] {
        let header = Header::decode(&by_hand(&old, big)).unwrap();
        assert_eq!(
            (header.dialect, header.number, header.date_s),
            (Dialect::Old, 4321, 400_000_000)
        );
        assert_eq!(
            (header.node.uid, header.node.gid, header.node.size_bytes),
            (10, 20, 3000)
        );
        assert_eq!((header.node.modified.seconds, header.blocks()), (2, 2));

        let header = Header::decode(&by_hand(&ufs2, big)).unwrap();
        assert_eq!(
            (header.dialect, header.date_s, header.tape_block),
            (Dialect::Ufs2, 7_000_000_000, 6_000_000_001)
        );
        assert_eq!(
            (header.node.accessed.seconds, header.node.accessed.nanoseconds),
            (5_000_000_000, 11)
        );
        assert_eq!(
            (header.node.modified.ns(), header.node.uid),
            (6_000_000_000_000_000_012, 1)
        );
    }
}

#[test]
fn tapes_of_stock_dump_are_a_chain_of_headers() {
    for (name, level) in [("level0.dump", 0), ("level1.dump", 1)] {
        let blocks = blocks(&golden(name));
        let mut at = 0;
        let mut kinds = Vec::new();
        while at < blocks.len() {
            let header = Header::decode(&blocks[at]).unwrap_or_else(|flaw| panic!("{name} block {at}: {flaw}"));
            assert_eq!((header.tape_block, header.factor), (at as u64, 10));
            assert_eq!(
                (header.dialect, header.big_endian, header.private),
                (Dialect::Standard, false, None)
            );
            at += 1 + header.blocks();
            if kinds.last() != Some(&header.kind) {
                kinds.push(header.kind);
            }
            let written = Header::decode(&header.encode()).unwrap();
            assert_eq!(written, header, "{name} block {at}");
        }
        assert_eq!(kinds[..4], [Kind::Tape, Kind::Clear, Kind::Bits, Kind::Inode]);
        assert_eq!(kinds.last(), Some(&Kind::End));
        let first = Header::decode(&blocks[0]).unwrap();
        assert_eq!(first.label.level, level);
        assert_eq!(first.base_date_s == 0, level == 0);
        assert_eq!(first.flags, FLAG_NEW_HEADER | FLAG_NEW_INODE);
    }
}

#[test]
fn what_is_no_header_is_told_apart() {
    assert_eq!(Header::decode(&[0; 1024]), Err(Flaw::Magic(0)));
    let good = by_hand(FIELDS, false);
    for bit in [0, 5 * 8, 32 * 8 + 3, 163 * 8, 900 * 8, 1023 * 8 + 7] {
        let mut block = good;
        block[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&block), Err(Flaw::Checksum), "bit {bit}");
    }
    let with = |at: usize, value: u64| {
        let mut fields = FIELDS.to_vec();
        fields.retain(|field| field.0 != at);
        fields.push((at, 4, value));
        Header::decode(&by_hand(&fields, false))
    };
    assert_eq!(with(0, 7), Err(Flaw::Kind(7)));
    assert_eq!(with(160, 513), Err(Flaw::Count(513)));
    assert_eq!(with(160, 0xFFFF_FFFF), Err(Flaw::Count(-1)));
}

#[test]
fn our_own_facts_survive_and_replace_what_is_coarser() {
    let private = Private {
        checksum: 0xDEAD_BEEF,
        modified_ns: -1,
        accessed_ns: 1_234_567_890_123_456_789,
        changed_ns: 5,
        born_ns: None,
        file_id: u64::MAX,
        device: 0x1234_5678_9ABC,
        dump: *b"0123456789abcdef",
        offset_bytes: 0x0102_0304_0506,
        image: Some(ImageFacts {
            epoch: 2,
            nested: true,
            level: -1,
            members: 8,
            chunk_kib: 512,
            layout: 0x1_0002,
        }),
    };
    let mut header = Header::new(Kind::Inode);
    header.node.modified = Time::of_ns(-1);
    header.private = Some(private);
    let read = Header::decode(&header.encode()).unwrap();
    assert_eq!(read.private, Some(private));
    assert_eq!(read.node.modified.ns(), -1, "before 1970, which 32 bits cannot tell");
    assert_eq!(read.node.accessed.ns(), 1_234_567_890_123_456_789);
    assert!(!read.node.modified.is_tellable());
}

proptest! {
    #[test]
    fn any_block_is_read_or_refused(mut block in proptest::collection::vec(any::<u8>(), 1024), magic in prop_oneof![Just(60012_u32), Just(60011), Just(0x1954_0119)], big in any::<bool>()) {
        block[24..28].copy_from_slice(&if big { magic.to_be_bytes() } else { magic.to_le_bytes() });
        let mut block: TapeBlock = block.try_into().unwrap();
        prop_assert!(Header::decode(&block).is_err() || block[28..32] != [0; 4]);
        // With a checksum that is right, only the type and the count can be wrong.
        block[..4].copy_from_slice(&if big { 4_u32.to_be_bytes() } else { 4_u32.to_le_bytes() });
        let fields: Vec<_> = block.iter().enumerate().map(|(at, byte)| (at, 1, u64::from(*byte))).collect();
        let mut fields = fields;
        fields.retain(|(at, ..)| !(28..32).contains(at));
        let block = by_hand(&fields, big);
        match Header::decode(&block) {
            Ok(header) => {
                prop_assert!(header.blocks() <= CELLS_MAX);
                if header.dialect == Dialect::Standard {
                    let again = Header::decode(&header.encode());
                    prop_assert!(again.is_ok());
                }
            }
            Err(flaw) => prop_assert!(matches!(flaw, Flaw::Count(_) | Flaw::Size(_)), "{flaw}"),
        }
    }
}
