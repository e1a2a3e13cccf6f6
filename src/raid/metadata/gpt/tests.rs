use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

use super::{
    ALIGNMENT, Gpt, GptBytes, GptDamage, GptError, HEAD_BYTES, LINUX_RAID, Partition, PartitionName, TAIL_BYTES,
    table::has_dos_partitions,
};
use crate::raid::{
    Sector, Slot,
    metadata::{
        identity::{Guid, Name},
        superblock::Area,
    },
};

/// A type of partition that is nothing to us: Linux data.
const FOREIGN: Guid = Guid::from_printed(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);

const DEVICE: Sector = Sector(64 * 2048);

fn partition(kind: Guid, start: u64, length: u64) -> Partition {
    Partition {
        kind,
        id: Guid([9; 16]),
        area: Area {
            start: Sector(start),
            length: Sector(length),
        },
        attributes: 0,
        name: PartitionName::new("data-0"),
    }
}

fn sample() -> Gpt {
    let mut gpt = Gpt::new(Guid([3; 16]), DEVICE).unwrap();
    assert_eq!(gpt.add(partition(FOREIGN, 2048, 2048)).unwrap(), 1);
    assert_eq!(gpt.add(partition(LINUX_RAID, 10 * 2048, 20 * 2048)).unwrap(), 2);
    gpt
}

/// Puts right the CRCs of both headers and of the entries.
fn seal(bytes: &mut GptBytes) {
    let GptBytes { head, tail } = bytes;
    let fix = |header: &mut [u8], entries_crc: u32| {
        header[88..92].copy_from_slice(&entries_crc.to_le_bytes());
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    };
    let entries = crc32fast::hash(&head[1024..]);
    fix(&mut head[512..1024], entries);
    let entries = crc32fast::hash(&tail[..16384]);
    fix(&mut tail[16384..], entries);
}

/// Sectors 0 and 1 by the tables of UEFI 2.10, not by the encoder.
#[test]
fn headers_stand_as_the_standard_has_them() {
    let GptBytes { head, tail } = sample().encode();
    assert_eq!((head.len(), tail.len()), (HEAD_BYTES, TAIL_BYTES));
    assert_eq!(
        head[446..462],
        [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 1, 0]
    );
    assert_eq!(head[510..512], [0x55, 0xaa]);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for (header, own, other, entries) in [(&head[512..], 1, 131_071, 2), (&tail[16384..], 131_071, 1, 131_039)] {
        assert_eq!(&header[..16], b"EFI PART\0\0\x01\0\x5c\0\0\0");
        assert_eq!(
            [24, 32, 40, 48, 72].map(|at| word(header, at)),
            [own, other, 34, 131_038, entries]
        );
        assert_eq!(header[80..88], [128, 0, 0, 0, 128, 0, 0, 0]);
    }
    assert_eq!(head[1024..], tail[..16384]);
    let entry = &head[1024 + 128..];
    assert_eq!(entry[..4], [0x0f, 0x88, 0x9d, 0xa1]);
    assert_eq!([32, 40].map(|at| word(entry, at)), [20480, 61439]);
    assert_eq!(&entry[56..68], b"d\0a\0t\0a\0-\x000\0");
}

#[test]
fn either_copy_is_enough() {
    let gpt = sample();
    let whole = gpt.encode();
    let found = Gpt::decode(&whole.head, &whole.tail, DEVICE).unwrap();
    assert_eq!((found.gpt, found.damage), (gpt.clone(), None));
    for at in [520, 528, 560, 1024, 1100, HEAD_BYTES - 1] {
        let mut head = whole.head.clone();
        head[at] ^= 4;
        let found = Gpt::decode(&head, &whole.tail, DEVICE).unwrap();
        assert_eq!(found.gpt, gpt, "{at}");
        assert!(found.damage.is_some(), "{at}");
        let mut tail = whole.tail.clone();
        tail[if at < 1024 { 16384 + at - 512 } else { at - 1024 }] ^= 4;
        let found = Gpt::decode(&whole.head, &tail, DEVICE).unwrap();
        assert!(found.gpt == gpt && found.damage.is_some(), "{at}");
        assert!(Gpt::decode(&head, &tail, DEVICE).is_err(), "{at}");
    }
    let absent = Gpt::decode(&vec![0; HEAD_BYTES], &vec![0; TAIL_BYTES], DEVICE);
    assert_eq!(absent, Err(GptDamage::Absent { sector: 1 }));
    assert!(Gpt::decode(&[], &[], DEVICE).is_err());
}

#[test]
fn copies_that_differ_are_told_apart() {
    let mut bytes = sample().encode();
    bytes.tail[16384 + 56] ^= 1;
    seal(&mut bytes);
    let found = Gpt::decode(&bytes.head, &bytes.tail, DEVICE).unwrap();
    assert_eq!((found.gpt, found.damage), (sample(), Some(GptDamage::Differ)));
}

#[test]
fn damage_is_named_where_checksums_are_right() {
    for (at, value, wanted) in [
        (24, 2_u64, "MyLBA"),
        (32, 131_072, "AlternateLBA"),
        (40, 33, "LastUsableLBA"),
        (48, 131_039, "LastUsableLBA"),
        (48, 33, "LastUsableLBA"),
        (72, 4, "PartitionEntryLBA"),
        (80, 128 << 32 | 64, "NumberOfPartitionEntries"),
        (80, 256 << 32 | 128, "SizeOfPartitionEntry"),
        (8, 92 << 32 | 0x2_0000, "Revision"),
        (8, 96 << 32 | 0x1_0000, "HeaderSize"),
        (92, 1, "Reserved"),
    ] {
        let mut bytes = sample().encode();
        for header in [&mut bytes.head[512..1024], &mut bytes.tail[16384..]] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut bytes);
        match Gpt::decode(&bytes.head, &bytes.tail, DEVICE) {
            Err(GptDamage::Field { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    for (at, value) in [(128 + 32, 61_440_u64), (128 + 32, 4000), (32, 33), (128 + 40, 131_039)] {
        let mut bytes = sample().encode();
        bytes.head[1024 + at..1024 + at + 8].copy_from_slice(&value.to_le_bytes());
        bytes.tail[at..at + 8].copy_from_slice(&value.to_le_bytes());
        seal(&mut bytes);
        let damage = Gpt::decode(&bytes.head, &bytes.tail, DEVICE);
        let misplaced = if value == 4000 { 2 } else { usize::from(at >= 128) + 1 };
        match damage {
            Err(GptDamage::Partition { number, .. }) => assert_eq!(number, misplaced),
            other => panic!("{at}: {other:?}"),
        }
    }
}

/// R06: free space is what lies between partitions in whole MiB, and the largest gap is what a member can have.
#[test]
fn free_space_lies_between_partitions() {
    let mut gpt = sample();
    let mebibytes = |gpt: &Gpt| -> Vec<(u64, u64)> {
        let gaps = gpt.free().into_iter();
        gaps.map(|gap| (gap.start.0 / 2048, gap.length.0 / 2048)).collect()
    };
    assert_eq!(mebibytes(&gpt), [(2, 8), (30, 33)]);
    assert_eq!(gpt.max_free(), Sector(33 * 2048));
    let area = gpt.place(Sector(8 * 2048 - 5)).unwrap();
    assert_eq!((area.start, area.length), (Sector(2 * 2048), Sector(8 * 2048)));
    assert_eq!(gpt.place(Sector(9 * 2048)).unwrap().start, Sector(30 * 2048));
    assert!(matches!(
        gpt.place(Sector(34 * 2048)),
        Err(GptError::NoSpace { largest: 67_584, .. })
    ));
    assert!(matches!(gpt.place(Sector(u64::MAX)), Err(GptError::NoSpace { .. })));
    assert_eq!(
        gpt.add(partition(LINUX_RAID, 61_439, 100)),
        Err(GptError::Misplaced {
            start: 61_439,
            end: 61_539
        })
    );
    assert!(matches!(
        gpt.add(partition(LINUX_RAID, 131_030, 10)),
        Err(GptError::Misplaced { .. })
    ));
    gpt.add(partition(LINUX_RAID, 61_441, 3)).unwrap();
    assert_eq!(mebibytes(&gpt), [(2, 8), (31, 32)]);
    assert_eq!(gpt.remove(2).unwrap().area.start, Sector(20480));
    assert_eq!((gpt.remove(2), gpt.remove(0), gpt.remove(500)), (None, None, None));
    assert_eq!(mebibytes(&gpt), [(2, 28), (31, 32)]);
}

#[test]
fn an_image_holds_members_of_four_arrays() {
    let mut gpt = sample();
    for start in [40, 41, 42] {
        gpt.add(partition(LINUX_RAID, start * 2048, 2048)).unwrap();
    }
    assert_eq!(
        gpt.add(partition(LINUX_RAID, 43 * 2048, 2048)),
        Err(GptError::TooManyArrays)
    );
    for index in 0..123 {
        gpt.add(partition(FOREIGN, 43 * 2048 + index, 1)).unwrap();
    }
    assert_eq!(gpt.add(partition(FOREIGN, 45 * 2048, 1)), Err(GptError::Full));
}

#[test]
fn a_table_follows_the_size_of_its_image() {
    let gpt = sample();
    let grown = gpt.resized(Sector(DEVICE.0 * 2)).unwrap();
    assert_eq!(grown.max_free(), Sector(97 * 2048));
    let bytes = grown.encode();
    assert_eq!(
        Gpt::decode(&bytes.head, &bytes.tail, grown.device()).unwrap().gpt,
        grown
    );
    assert_eq!(grown.resized(DEVICE).unwrap(), gpt);
    assert_eq!(gpt.resized(Sector(20 * 2048)), Err(GptError::CutOff { number: 2 }));
    assert!(matches!(gpt.resized(ALIGNMENT), Err(GptError::TooSmall { .. })));
    let old = gpt.encode();
    let moved = Gpt::decode(&old.head, &vec![0; TAIL_BYTES], Sector(DEVICE.0 * 2));
    let moved = moved.unwrap();
    assert_eq!(moved.damage, Some(GptDamage::Absent { sector: 262_143 }));
    assert_eq!(moved.gpt.max_free(), Sector(33 * 2048));
    assert_eq!(moved.gpt.resized(Sector(DEVICE.0 * 2)).unwrap(), grown);
}

#[test]
fn names_are_cut_between_characters() {
    let name = PartitionName::new(&format!("{}\u{1f4be}", "x".repeat(35)));
    assert_eq!(name.to_string(), "x".repeat(35));
    assert_eq!(PartitionName::new("\u{1f4be} disk").to_string(), "\u{1f4be} disk");
    let long = Name::new("host:abcdefghijklmnopqrstuvwxyz").unwrap();
    assert_eq!(
        PartitionName::of_member(&long, Slot(12)).to_string(),
        "abcdefghijklmnopqrstuvwxyz-12"
    );
    assert_eq!(PartitionName([0xd800; 36]).to_string(), "\u{fffd}".repeat(36));
}

#[test]
fn old_partition_tables_are_told_from_protective_ones() {
    let head = sample().encode().head;
    assert!(!has_dos_partitions(&head));
    assert!(!has_dos_partitions(&[0; 512]));
    assert!(!has_dos_partitions(&[]));
    let mut old = head;
    old[450] = 0x83;
    assert!(has_dos_partitions(&old));
}

fn any_partition() -> impl Strategy<Value = (u64, u64, [u8; 16], u64, [u16; 12])> {
    (
        0..131_000_u64,
        1..9000_u64,
        any::<[u8; 16]>(),
        any::<u64>(),
        any::<[u16; 12]>(),
    )
}

proptest! {
    #[test]
    fn a_table_survives_its_bytes(wishes in proptest::collection::vec(any_partition(), 0..20), disk in any::<[u8; 16]>()) {
        let mut gpt = Gpt::new(Guid(disk), DEVICE).unwrap();
        for (start, length, kind, attributes, name) in wishes {
            let mut wish = partition(Guid(kind), start, length);
            wish.attributes = attributes;
            wish.name.0[..12].copy_from_slice(&name);
            drop(gpt.add(wish));
        }
        let bytes = gpt.encode();
        let found = Gpt::decode(&bytes.head, &bytes.tail, DEVICE).unwrap();
        prop_assert_eq!((found.gpt, found.damage), (gpt, None));
    }

    #[test]
    fn hostile_tables_never_panic(changes in proptest::collection::vec((0..HEAD_BYTES + TAIL_BYTES, any::<u8>()), 1..8), sealed in any::<bool>()) {
        let mut bytes = sample().encode();
        for (at, value) in changes {
            match at.checked_sub(HEAD_BYTES) {
                Some(at) => bytes.tail[at] = value,
                None => bytes.head[at] = value,
            }
        }
        if sealed {
            seal(&mut bytes);
        }
        if let Ok(found) = Gpt::decode(&bytes.head, &bytes.tail, DEVICE) {
            let again = found.gpt.encode();
            prop_assert_eq!(Gpt::decode(&again.head, &again.tail, DEVICE).unwrap().gpt, found.gpt.clone());
            drop(found.gpt.free());
        }
    }
}
