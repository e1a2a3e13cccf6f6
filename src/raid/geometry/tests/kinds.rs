//! The guide's table of levels: fewest members, usable space, what is left over, which losses are survived.

use super::super::{ArrayKind, Geometry, Plan, PlanError, Raid50, Redundancy, Room};
use crate::raid::Level;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn room() -> Room {
    Room {
        data_offset_bytes: MIB,
        align_bytes: MIB,
        chunk_bytes: 512 * KIB,
    }
}

fn plan(kind: ArrayKind, free_bytes: &[u64]) -> Result<Plan, PlanError> {
    Plan::new(kind, free_bytes, None, room())
}

/// R09: kind, fewest members, usable per cent at the fewest and at eight members.
const TABLE: [(ArrayKind, usize, [u64; 2]); 7] = [
    (ArrayKind::Jbod, 1, [100, 100]),
    (ArrayKind::Raid0, 2, [100, 100]),
    (ArrayKind::Raid1, 2, [50, 12]),
    (ArrayKind::Raid10, 4, [50, 50]),
    (ArrayKind::Raid5, 3, [66, 87]),
    (ArrayKind::Raid50, 6, [66, 75]),
    (ArrayKind::Raid6, 4, [50, 75]),
];

/// R09: one member fewer is refused, and capacity is the table's share to the byte.
#[test]
fn kinds_have_the_members_and_space_of_the_table() {
    for (kind, fewest, shares) in TABLE {
        let member = MIB + 2 * MIB;
        for (members, share) in [fewest, 8].into_iter().zip(shares) {
            let made = plan(kind, &vec![member; members]).unwrap();
            let (usable, whole) = kind.usable(members);
            // The legs of a RAID 50 lose the data offset of the outer array too.
            let legs = if kind == ArrayKind::Raid50 {
                kind.legs(members).unwrap() as u64
            } else {
                0
            };
            let data = 2 * MIB * members as u64 * usable as u64 / whole as u64;
            assert_eq!(made.capacity_bytes, data - legs * MIB, "{kind} of {members}");
            assert_eq!(100 * usable as u64 / whole as u64, share, "{kind} of {members}");
            assert_eq!(made.left_bytes, vec![0; members]);
        }
        let refused = plan(kind, &vec![member; fewest - 1]).unwrap_err().to_string();
        assert!(refused.contains(&fewest.to_string()), "{refused}");
    }
    assert!(!ArrayKind::Raid50.allows(7));
    assert_eq!(
        (6..=12)
            .filter_map(|members| ArrayKind::Raid50.legs(members))
            .collect::<Vec<_>>(),
        [2, 2, 3, 2, 2]
    );
}

/// R10: how many disks each kind of the table survives.
#[test]
fn kinds_survive_what_the_table_says() {
    let expected = [
        (ArrayKind::Jbod, 1, 0, 0),
        (ArrayKind::Raid0, 4, 0, 0),
        (ArrayKind::Raid1, 2, 1, 1),
        (ArrayKind::Raid10, 4, 1, 2),
        (ArrayKind::Raid5, 4, 1, 1),
        (ArrayKind::Raid6, 4, 2, 2),
    ];
    for (kind, members, always, at_best) in expected {
        let chunk = if kind == ArrayKind::Jbod { 0 } else { 64 * KIB };
        let geometry = Geometry::new(kind.level(), kind.layout(), chunk, &vec![MIB; members]).unwrap();
        assert_eq!(geometry.redundancy(), Redundancy { always, at_best }, "{kind}");
    }
}

/// R10: a RAID 50 survives one disk of each leg, and every subset of disks is judged so.
#[test]
fn raid50_survives_one_disk_of_each_leg() {
    let leg = Geometry::new(Level::Raid5, 2, 64 * KIB, &[4 * MIB; 3]).unwrap();
    let array = Raid50::new(leg, 2, 64 * KIB, MIB).unwrap();
    assert_eq!(array.capacity_bytes(), 2 * (8 * MIB - MIB));
    assert_eq!(
        (array.disks(), array.redundancy()),
        (6, Redundancy { always: 1, at_best: 2 })
    );
    for subset in 0_u32..64 {
        let missing: Vec<u16> = (0..6).filter(|disk| subset >> disk & 1 != 0).collect();
        let survives = (subset & 7).count_ones() <= 1 && (subset >> 3).count_ones() <= 1;
        assert_eq!(array.can_read(&missing), survives, "{missing:?}");
    }
    let mirror = Geometry::new(Level::Raid1, 0, 0, &[MIB; 2]).unwrap();
    assert!(Raid50::new(mirror, 2, 64 * KIB, 0).is_err());
}

/// R22, R23: the smallest disk limits, 6 TB and 4 TB leave 2 TB and 0, and those are room for more arrays.
#[test]
fn what_the_smallest_disk_leaves_is_max_free() {
    const TB: u64 = 1_000_000_000_000;
    let exact = Room {
        data_offset_bytes: 0,
        align_bytes: 1,
        chunk_bytes: 512,
    };
    let made = Plan::new(ArrayKind::Raid1, &[6 * TB, 4 * TB], None, exact).unwrap();
    assert_eq!((made.capacity_bytes, made.left_bytes), (4 * TB, vec![2 * TB, 0]));
    let made = plan(ArrayKind::Raid1, &[6 * TB, 4 * TB]).unwrap();
    let whole = 4 * TB - 4 * TB % MIB;
    assert_eq!(made.capacity_bytes, whole - MIB);
    assert_eq!(made.left_bytes, [(6 * TB - whole) / MIB * MIB, 0]);
    let next = plan(ArrayKind::Raid0, &[made.left_bytes[0], 3 * TB]).unwrap();
    assert_eq!(next.left_bytes[0], 0);
}

/// R22: less than the maximum takes just the room it needs, more is refused with the maximum.
#[test]
fn a_wanted_capacity_takes_no_more_than_it_needs() {
    let free = [GIB; 4];
    const GIB: u64 = 1 << 30;
    let made = Plan::new(ArrayKind::Raid5, &free, Some(30 * MIB), room()).unwrap();
    assert_eq!(
        (made.capacity_bytes, made.member_bytes, made.data_bytes),
        (30 * MIB, 11 * MIB, 10 * MIB)
    );
    let made = Plan::new(ArrayKind::Raid5, &free, Some(30 * MIB + 1), room()).unwrap();
    assert_eq!(made.capacity_bytes, 33 * MIB);
    let most = plan(ArrayKind::Raid5, &free).unwrap().capacity_bytes;
    let refused = Plan::new(ArrayKind::Raid5, &free, Some(most + 1), room());
    let expected = PlanError::TooMuch {
        wanted_bytes: most + 1,
        maximum_bytes: most,
    };
    assert_eq!(refused, Err(expected));
    let full = Plan::new(ArrayKind::Raid5, &[GIB, GIB, MIB], None, room());
    assert!(matches!(full, Err(PlanError::NoRoom { member: 2, .. })), "{full:?}");
}
