use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{
    AREAS_AT, AreaKind, Cache, LABEL_BYTES, Label, LabelDamage, MAX_AREAS, Method, Policy, PrivateArea, Stamp,
    private_size,
};
use crate::raid::{
    Sector,
    metadata::identity::{Time, Uuid},
};

const DISK: Uuid = Uuid([0x11; 16]);
const AREA_BYTES: u64 = 17 << 20;

fn policy(array: u8, revision: u64) -> Policy {
    Policy {
        array: Uuid([array; 16]),
        revision,
        order: 1,
        cache: Cache::WriteThrough,
        method: Method::Background,
        watermark: Sector(4096),
        stamp: Stamp {
            events: 7,
            updated: Time(70),
        },
    }
}

fn label() -> Label {
    let mut label = Label {
        disk: DISK,
        generation: 4,
        global_spare: true,
        initialised: true,
        areas: Vec::new(),
        policies: vec![policy(1, 5), policy(2, 1)],
    };
    let journal = label
        .add_area(AreaKind::Journal, Uuid([1; 16]), 4_000_000, AREA_BYTES)
        .unwrap();
    assert_eq!((journal.offset_bytes, journal.length_bytes), (AREAS_AT, 4_001_792));
    label
        .add_area(AreaKind::Events, Uuid::default(), 65536, AREA_BYTES)
        .unwrap();
    label
}

fn seal(block: &mut [u8]) {
    block[8..12].fill(0);
    let sum = crc32c::crc32c(block);
    block[8..12].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn a_label_stands_as_the_table_has_it() {
    let block = label().encode();
    assert_eq!(block.len(), LABEL_BYTES);
    assert_eq!(block[..8], *b"HEADSTK\n");
    assert_eq!(block[12..0x20], [[1, 0, 0, 0].as_slice(), &[0x11; 16]].concat());
    assert_eq!((block[0x20], block[0x28]), (4, 3));
    assert_eq!(block[0x40..0x44], [1, 0, 0, 0]);
    assert_eq!(block[0x48..0x58], [1; 16]);
    assert_eq!(block[0x58..0x60], AREAS_AT.to_le_bytes());
    assert_eq!(block[0x300..0x311], [[1; 16].as_slice(), &[5]].concat());
    assert_eq!(block[0x330..0x334], [1, 1, 3, 1]);
    assert_eq!(Label::decode(&block, DISK, AREA_BYTES), Ok(label()));
}

#[test]
fn the_newer_whole_label_counts() {
    let old = Label {
        generation: 3,
        ..label()
    }
    .encode();
    let new = label().encode();
    let mut torn = new.clone();
    torn[100] ^= 1;
    let newest = |blocks| Label::newest(blocks, DISK, AREA_BYTES).map(|label| label.generation);
    assert_eq!(newest([&new, &old]), Ok(4));
    assert_eq!(newest([&old, &new]), Ok(4));
    assert_eq!(newest([&old, &torn]), Ok(3));
    assert_eq!(newest([&torn, &old]), Ok(3));
    assert_eq!(newest([&torn, &[]]), Err(LabelDamage::Absent));
}

#[test]
fn damage_is_named() {
    let foreign = Label::decode(&label().encode(), Uuid([2; 16]), AREA_BYTES);
    assert_eq!(
        foreign,
        Err(LabelDamage::Foreign {
            found: DISK,
            expected: Uuid([2; 16])
        })
    );
    let mut later = label().encode();
    later[12] = 2;
    seal(&mut later);
    assert_eq!(
        Label::decode(&later, DISK, AREA_BYTES),
        Err(LabelDamage::Version { version: 2 })
    );
    for (at, value, wanted) in [
        (0x28, 4_u64, "flags"),
        (0x40, 4, "area kind"),
        (0x58, 65536, "area offset"),
        (0x58, AREAS_AT + 1, "area offset"),
        (0x58, u64::MAX - 4095, "area offset"),
        (0x60, 0, "area offset"),
        (0x60, 32 << 20, "area offset"),
        (0x58 + 40, AREAS_AT + 4096, "area offset"),
        (0x330, 1 << 24 | 2 << 8, "policy cache"),
        (0x330, 1 << 24 | 4 << 16, "policy method"),
    ] {
        let mut block = label().encode();
        block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        seal(&mut block);
        match Label::decode(&block, DISK, AREA_BYTES) {
            Err(LabelDamage::Field { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    assert!(
        Label::decode(&label().encode(), DISK, AREAS_AT).is_err(),
        "an area that was cut"
    );
}

#[test]
fn areas_fill_gaps_and_do_not_overlap() {
    let mut label = label();
    let taken: Vec<PrivateArea> = label.areas.clone();
    assert_eq!(label.area(AreaKind::Journal, Uuid([1; 16])), Some(taken[0]));
    assert_eq!(label.area(AreaKind::Journal, Uuid([3; 16])), None);
    label.areas.remove(0);
    let small = label.add_area(AreaKind::Checksums, DISK, 1, AREA_BYTES).unwrap();
    assert_eq!((small.offset_bytes, small.length_bytes), (AREAS_AT, 4096));
    let large = label.add_area(AreaKind::Journal, DISK, 5_000_000, AREA_BYTES).unwrap();
    assert_eq!(large.offset_bytes, taken[1].offset_bytes + taken[1].length_bytes);
    assert_eq!(label.add_area(AreaKind::Journal, DISK, AREA_BYTES, AREA_BYTES), None);
    assert_eq!(label.add_area(AreaKind::Journal, DISK, u64::MAX, AREA_BYTES), None);
    while label.areas.len() < MAX_AREAS {
        label.add_area(AreaKind::Events, DISK, 4096, AREA_BYTES).unwrap();
    }
    assert_eq!(label.add_area(AreaKind::Events, DISK, 4096, AREA_BYTES), None);
    assert_eq!(Label::decode(&label.encode(), DISK, AREA_BYTES), Ok(label));
}

/// Of an array's members the newest policy counts, and its watermark only while the array did not run elsewhere.
#[test]
fn the_newest_policy_counts() {
    let labels = [
        label(),
        Label {
            policies: vec![policy(1, 9)],
            ..label()
        },
        Label {
            policies: vec![],
            ..label()
        },
    ];
    let found = Policy::of_array(&labels, Uuid([1; 16])).unwrap();
    assert_eq!(found.revision, 9);
    assert_eq!(Policy::of_array(&labels, Uuid([3; 16])), None);
    assert_eq!(found.zeroed_to(found.stamp), Some(Sector(4096)));
    assert_eq!(
        found.zeroed_to(Stamp {
            events: 8,
            ..found.stamp
        }),
        None
    );
    let done = Policy {
        watermark: Sector(u64::MAX),
        ..found
    };
    assert_eq!(done.zeroed_to(found.stamp), None);
    let kept = Policy {
        method: Method::Keep,
        ..found
    };
    assert_eq!(kept.zeroed_to(found.stamp), None);
}

#[test]
fn a_private_area_is_16_mebibytes_and_a_thousandth() {
    assert_eq!(private_size(Sector(0)), Sector(16 * 2048));
    assert_eq!(private_size(Sector(2048 * 64)), Sector(17 * 2048));
    assert_eq!(private_size(Sector(2048 << 20)), Sector((16 + 1049) * 2048));
}

proptest! {
    #[test]
    fn a_label_survives_its_bytes(
        numbers in any::<[u64; 5]>(),
        areas in proptest::collection::vec((0..3_usize, any::<[u8; 16]>(), 1..200_000_u64), 0..18),
        flags in any::<[bool; 2]>(),
        count in 0..=16_u8,
    ) {
        let [generation, revision, watermark, events, updated] = numbers;
        let mut label = Label {
            disk: DISK,
            generation,
            global_spare: flags[0],
            initialised: flags[1],
            areas: Vec::new(),
            policies: Vec::new(),
        };
        for (kind, array, length) in areas {
            let kind = [AreaKind::Journal, AreaKind::Checksums, AreaKind::Events][kind];
            label.add_area(kind, Uuid(array), length, AREA_BYTES);
        }
        for order in 0..count {
            label.policies.push(Policy {
                array: Uuid([order; 16]),
                revision,
                order,
                cache: if order % 2 == 0 { Cache::WriteBack } else { Cache::WriteThrough },
                method: [Method::Keep, Method::Quick, Method::Foreground, Method::Background][usize::from(order % 4)],
                watermark: Sector(watermark),
                stamp: Stamp { events, updated: Time(updated) },
            });
        }
        prop_assert_eq!(Label::decode(&label.encode(), DISK, AREA_BYTES), Ok(label));
    }

    #[test]
    fn hostile_labels_never_panic(changes in proptest::collection::vec((12..LABEL_BYTES, any::<u8>()), 0..20), small in any::<u16>()) {
        let mut block = label().encode();
        for (at, value) in changes {
            block[if at % 2 == 0 { at } else { 12 + at % 0x100 }] = value;
        }
        seal(&mut block);
        for area_bytes in [AREA_BYTES, small.into(), u64::MAX] {
            if let Ok(label) = Label::decode(&block, DISK, area_bytes) {
                prop_assert!(label.areas.iter().all(|area| area.offset_bytes + area.length_bytes <= area_bytes));
                prop_assert_eq!(Label::decode(&label.encode(), DISK, area_bytes), Ok(label));
            }
        }
    }
}
