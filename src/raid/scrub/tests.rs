//! Verifying arrays on simulated storage: what is named, what is repaired, what is left alone.

use std::ops::ControlFlow;

use super::*;
use crate::{
    raid::{
        Level, Slot,
        rig::{Make, Rig, contents, on},
    },
    storage::sim::{Operation, Verb},
};

fn suspect(slot: u16, offset_bytes: u64) -> Suspect {
    Suspect {
        slot: Slot(slot),
        offset_bytes,
    }
}

/// R27: a verify of RAID 5 says in which stripe parity is wrong, and leaves it as it is until told which side is right.
#[test]
fn raid5_reports_and_does_not_guess() {
    let (rig, array, mut bytes) = Rig::filled(Make::new(Level::Raid5, 4, 16));
    assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean());
    // Member 0, second stripe: the granule in the middle of its chunk.
    rig.spoil(0, 16384 + 4096);
    let stripe = array.geometry().stripe(1).unwrap();
    let all: Vec<Suspect> = stripe
        .data()
        .chain([stripe.p])
        .map(|slot| suspect(slot.0, 16384 + 4096))
        .collect();
    for repair in [Repair::Report, Repair::Provable] {
        let report = array.verify(repair, &mut on).unwrap();
        let expected = Mismatch {
            array_offset_bytes: 3 * 16384 + 4096,
            length_bytes: 4096,
            suspects: all.clone(),
            repaired: false,
        };
        assert_eq!(report.mismatches, [expected], "{repair:?}");
        assert_eq!((report.mismatched_bytes, report.unrepaired_bytes), (4096, 4096));
        assert_eq!(report.compared_bytes, array.geometry().used_bytes(Slot(0)));
    }
    let before = rig.bytes(stripe.p.index());
    let report = array.verify(Repair::Redundancy, &mut on).unwrap();
    assert_eq!((report.mismatched_bytes, report.unrepaired_bytes), (4096, 0));
    assert_ne!(before, rig.bytes(stripe.p.index()));
    assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean());
    // md's way: the data were taken for right, wrong as they are.
    let index = stripe.index_of(Slot(0)).unwrap();
    let spoiled = usize::try_from(3 * 16384 + u64::from(index) * 16384 + 4096).unwrap();
    bytes[spoiled] ^= 0x11;
    assert_eq!(contents(&array), bytes);
}

/// R27: both parities together name the member that is wrong, and it alone is written.
#[test]
fn raid6_finds_the_wrong_member_and_mends_it() {
    for (layout, members) in [(2, 5), (8, 5), (18, 6)] {
        let (rig, array, bytes) = Rig::filled(Make {
            layout,
            ..Make::new(Level::Raid6, members, 8)
        });
        for wrong in 0..members {
            let before: Vec<Vec<u8>> = (0..members).map(|n| rig.bytes(n.into())).collect();
            rig.spoil(wrong.into(), 3 * 8192 + 5000);
            let report = array.verify(Repair::Provable, &mut on).unwrap();
            let found: Vec<_> = report
                .mismatches
                .iter()
                .map(|one| (&*one.suspects, one.repaired))
                .collect();
            assert_eq!(
                found,
                [(&[suspect(wrong, 3 * 8192 + 4096)][..], true)],
                "layout {layout}"
            );
            let after: Vec<Vec<u8>> = (0..members).map(|n| rig.bytes(n.into())).collect();
            assert!(before == after, "layout {layout} member {wrong}");
            assert_eq!(contents(&array), bytes);
        }
        // Two members wrong at once are no single member's fault: nothing is touched.
        rig.spoil(0, 100);
        rig.spoil(1, 101);
        let report = array.verify(Repair::Provable, &mut on).unwrap();
        assert_eq!((report.mismatches.len(), report.unrepaired_bytes), (1, 4096));
        assert_eq!(report.mismatches[0].suspects.len(), usize::from(members));
    }
}

#[test]
fn most_of_three_copies_win_and_two_are_only_reported() {
    let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid1, 3, 0));
    rig.spoil(0, 40_960);
    let report = array.verify(Repair::Provable, &mut on).unwrap();
    assert_eq!(report.mismatches[0].suspects, [suspect(0, 40_960)]);
    assert!(report.is_clean());
    assert_eq!(contents(&array), bytes);
    assert!(array.verify(Repair::Report, &mut on).unwrap().mismatches.is_empty());

    let (rig, array, _) = Rig::filled(Make::new(Level::Raid1, 2, 0));
    rig.spoil(1, 40_960);
    let report = array.verify(Repair::Provable, &mut on).unwrap();
    assert_eq!(report.mismatches[0].suspects, [suspect(0, 40_960), suspect(1, 40_960)]);
    assert!(!report.is_clean());
    assert!(array.verify(Repair::Redundancy, &mut on).unwrap().is_clean());
    assert_eq!(
        rig.bytes(1)[usize::try_from(rig.place(1, 0)).unwrap()..],
        rig.bytes(0)[usize::try_from(rig.place(0, 0)).unwrap()..]
    );
}

/// R50: a sector that cannot be read is named to the page, on data and on parity alike, and is written again.
#[test]
fn unreadable_sectors_are_named_and_rewritten() {
    for (level, members) in [
        (Level::Raid5, 3),
        (Level::Raid6, 4),
        (Level::Raid1, 2),
        (Level::Raid10, 4),
    ] {
        let (rig, array, bytes) = Rig::filled(Make::new(level, members, 64));
        for member in 0..members {
            let start = rig.place(member.into(), 12_288);
            let path = rig.image(member.into()).name;
            let overlaps = move |operation: &Operation| {
                operation.path == path
                    && operation.offset_bytes < start + 512
                    && operation.offset_bytes + operation.length_bytes > start
            };
            let healed = std::sync::atomic::AtomicBool::new(false);
            rig.directory.set_rule(move |operation| {
                // As a disk does: a write replaces the bad sector.
                if operation.verb == Verb::Write && overlaps(operation) {
                    healed.store(true, Ordering::Relaxed);
                }
                let bad = operation.verb == Verb::Read && overlaps(operation) && !healed.load(Ordering::Relaxed);
                bad.then_some(libc::EIO)
            });
            let expected = |repaired| Unreadable {
                at: suspect(member, 12_288),
                length_bytes: 4096,
                repaired,
            };
            let report = array.verify(Repair::Report, &mut on).unwrap();
            assert_eq!(report.unreadable, [expected(false)], "{level} {member}");
            assert!(report.mismatches.is_empty());
            let report = array.verify(Repair::Provable, &mut on).unwrap();
            assert_eq!(report.unreadable, [expected(true)], "{level} {member}");
            assert!(array.verify(Repair::Report, &mut on).unwrap().unreadable.is_empty());
            rig.directory.clear_rule();
            assert_eq!(contents(&array), bytes);
        }
    }
}

/// What a whole wrong member leaves does not fill memory, and the counts are right all the same.
#[test]
fn lists_are_cut_off_and_counts_are_not() {
    let (rig, array, _) = Rig::filled(Make::new(Level::Raid5, 3, 4));
    let used = array.geometry().used_bytes(Slot(0));
    let step = 2 * GRANULE_BYTES;
    (0..used / step).for_each(|n| rig.spoil(1, n * step));
    let report = array.verify(Repair::Report, &mut on).unwrap();
    let places = usize::try_from(used / step).unwrap();
    assert_eq!(report.mismatches.len(), places.min(LISTED_MAX));
    assert_eq!(report.mismatched_bytes, used / step * GRANULE_BYTES);
}

#[test]
fn verify_stops_when_told_and_is_refused_where_it_makes_no_sense() {
    let (_rig, array, _) = Rig::filled(Make::new(Level::Raid5, 3, 4));
    let report = array.verify(Repair::Report, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(report.ending, Ending::Stopped);
    let mut inner = None;
    array
        .verify(Repair::Report, &mut |_| {
            inner.get_or_insert_with(|| array.verify(Repair::Report, &mut on));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(matches!(inner, Some(Err(Error::WrongState { .. }))));
    array.fail_member(Slot(1)).unwrap();
    assert!(matches!(
        array.verify(Repair::Report, &mut on),
        Err(Error::WrongState { .. })
    ));
}

/// Writes that go on meanwhile are never taken for mismatches.
#[test]
fn writes_under_way_are_no_mismatch() {
    for level in [Level::Raid5, Level::Raid6, Level::Raid1] {
        let (_rig, array, _) = Rig::filled(Make::new(level, 4, 16));
        let stop = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let at = n * 7919 % (array.size_bytes() - 9000);
                    array
                        .write_at(&[u8::try_from(n % 251).unwrap(); 9000], at, false)
                        .unwrap();
                }
            });
            for _ in 0..4 {
                let report = array.verify(Repair::Report, &mut on).unwrap();
                assert_eq!((report.mismatched_bytes, report.unsynced_bytes), (0, 0), "{level}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
