//! Arrays that grow without moving, killed at every moment of it.

use super::*;
use crate::raid::{
    add::Added,
    metadata::identity::Time,
    rig::{IMAGE_BYTES, Make, Rig, contents, dying, on, pattern, uuid},
    scrub::Repair,
};

/// What images are larger by.
const MORE_BYTES: u64 = 192 << 10;

fn levels() -> [Make; 5] {
    let without_bitmap = |make: Make| Make { bitmap: false, ..make };
    [
        Make::new(Level::Raid1, 2, 8),
        Make::new(Level::Raid10, 4, 8),
        Make::new(Level::Raid5, 3, 8),
        without_bitmap(Make::new(Level::Raid5, 4, 16)),
        Make::new(Level::Raid6, 4, 8),
    ]
}

fn lengthen(rig: &Rig, members: u16) {
    for n in 0..usize::from(members) {
        let file = rig.open(n);
        file.set_size(IMAGE_BYTES + MORE_BYTES).unwrap();
        // What was on a disk before is none of the array's business.
        let old = vec![0xa5; usize::try_from(MORE_BYTES).unwrap()];
        file.write_all_at(&old, IMAGE_BYTES).unwrap();
        file.sync().unwrap();
    }
}

fn check(array: &Array, bytes: &[u8], what: &str) {
    let found = contents(array);
    assert!(found[..bytes.len()] == *bytes, "{what}");
    assert!(
        found[bytes.len()..].iter().all(|byte| *byte == 0),
        "{what}: the new end"
    );
}

/// R59, R22: larger images make a larger array while it is in use; a death at any moment leaves it as it was or grown,
/// with every byte, what is new reads as zeros whatever the images held there, and redundancy is made for it.
#[test]
fn members_grow_and_a_death_at_any_moment_costs_nothing() {
    // Every third moment of each, which are others for the next.
    for (first, make) in (0..3).cycle().zip(levels()) {
        let mut at = first;
        loop {
            let what = format!("{} death at {at}", make.level);
            let (rig, array, mut bytes) = Rig::filled(make);
            lengthen(&rig, make.members);
            let old = array.size_bytes();
            let (_, left) = dying(&rig.directory, at, || {
                let new = array.grow_members(None).unwrap();
                assert!(new > old && new == array.size_bytes(), "{what}: {old} {new}");
            });
            let new = array.size_bytes();
            let died = left.is_some();
            let (rig, array) = match left {
                Some(directory) => {
                    drop(array);
                    let rig = Rig { directory };
                    let array = rig.assemble(0..usize::from(make.members)).unwrap();
                    (rig, array)
                }
                None => (rig, array),
            };
            assert!([old, new].contains(&array.size_bytes()), "{what}");
            check(&array, &bytes, &what);
            array.resync(&mut on).unwrap();
            assert_eq!(array.grow_members(None).unwrap(), new, "{what}");
            // Written before there is redundancy.
            let end = pattern(8192);
            array.write_at(&end, old, false).unwrap();
            bytes.extend(end);
            array.resync(&mut on).unwrap();
            assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
            array.fail_member(Slot(0)).unwrap();
            check(&array, &bytes, &what);
            array.stop(Time::new(3000, 0)).unwrap();
            drop(array);
            let again = rig.assemble(1..usize::from(make.members)).unwrap();
            assert_eq!(again.size_bytes(), new, "{what}");
            check(&again, &bytes, &what);
            if !died {
                assert!(at > 30, "{what}");
                break;
            }
            at += 3;
        }
    }
}

/// R22: how far members are used can be chosen, never more than the smallest has, and never less than before; levels
/// that have no way are refused with the way round.
#[test]
fn what_cannot_grow_is_refused() {
    let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid5, 3, 8));
    let member = bytes.len() as u64 / 2;
    assert_eq!(array.grow_members(None).unwrap(), bytes.len() as u64);
    lengthen(&rig, 2);
    let refused = |wanted: u64| array.grow_members(Some(wanted)).unwrap_err().to_string();
    assert!(refused(member + 8192).contains("smaller ones first"));
    assert!(refused(member - 8192).contains("nothing shrinks"));
    lengthen(&rig, 3);
    assert_eq!(array.grow_members(Some(member + 10_000)).unwrap(), 2 * (member + 8192));
    array.resync(&mut on).unwrap();
    array.fail_member(Slot(1)).unwrap();
    assert!(refused(member + 16384).contains("rebuild it first"));
    let (_, bare, _) = Rig::filled(Make::new(Level::Raid0, 2, 8));
    assert!(matches!(bare.grow_members(None), Err(Error::BadParameter { .. })));
    let far = Make {
        layout: 0x201,
        ..Make::new(Level::Raid10, 4, 8)
    };
    let (_, far, _) = Rig::filled(far);
    assert!(far.grow_members(None).unwrap_err().to_string().contains("far copies"));
    assert!(matches!(far.set_copies(3), Err(Error::BadParameter { .. })));
}

/// R59: a mirror takes another copy, of a spare, and gives one up again; each is one step that a death makes or does not
/// make.
#[test]
fn mirrors_have_more_or_fewer_copies_and_a_death_at_any_moment_costs_nothing() {
    for (from, to) in [(2_u16, 3_u16), (3, 2)] {
        let mut at = 0;
        loop {
            let what = format!("{from} to {to}, death at {at}");
            let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid1, from, 8));
            if to > from {
                assert_eq!(array.add(&rig.new_image(2), uuid(2)).unwrap(), Added::Spare);
            }
            let (_, left) = dying(&rig.directory, at, || array.set_copies(to).unwrap());
            let died = left.is_some();
            let (rig, array) = match left {
                Some(directory) => {
                    drop(array);
                    let rig = Rig { directory };
                    let array = rig.assemble(0..3).unwrap();
                    (rig, array)
                }
                None => (rig, array),
            };
            assert!([from, to].contains(&array.geometry().slots()), "{what}");
            check(&array, &bytes, &what);
            array.set_copies(to).unwrap();
            if to > from {
                assert_eq!(array.activate_spare().unwrap(), Some(Slot(2)), "{what}");
                array.rebuild(&mut on).unwrap();
                array.fail_member(Slot(0)).unwrap();
            }
            array.fail_member(Slot(1)).unwrap();
            check(&array, &bytes, &what);
            array.stop(Time::new(3000, 0)).unwrap();
            drop(array);
            let again = rig.assemble(0..3).unwrap();
            assert_eq!(again.geometry().slots(), to, "{what}");
            check(&again, &bytes, &what);
            if !died {
                assert!(at > 3, "{what}");
                break;
            }
            at += 1;
        }
    }
}

/// R28: a mirror that has lost a member for good is whole again with one copy less.
#[test]
fn a_mirror_does_without_the_member_that_it_lost() {
    let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid1, 3, 8));
    array.fail_member(Slot(0)).unwrap();
    array.set_copies(2).unwrap();
    assert_eq!(array.state(), crate::raid::health::ArrayState::Normal);
    array.fail_member(Slot(0)).unwrap();
    check(&array, &bytes, "the last");
    assert!(array.set_copies(1).unwrap_err().to_string().contains("at least 2"));
    array.stop(Time::new(3000, 0)).unwrap();
    drop(array);
    let again = rig.assemble(0..3).unwrap();
    check(&again, &bytes, "again");
}
