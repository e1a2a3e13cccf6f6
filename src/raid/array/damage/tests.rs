//! Sectors that cannot be read where redundancy is gone: what a rebuild makes of them, and what becomes of them then.

use std::path::PathBuf;

use super::*;
use crate::{
    raid::{
        Level,
        health::ArrayState,
        metadata::{identity::Time, superblock::Features},
        rebuild::{Ending, Rebuild},
        rig::{Make, Rig, contents, on, pattern, uuid},
        scrub::Repair,
    },
    storage::sim::Verb,
};

const FLAW: u64 = 20_480;

/// Makes a page of the data area of an image unreadable, as a disk has it: reads fail, writes do not.
fn wound(rig: &Rig, n: usize, offset_bytes: u64) {
    let (path, start): (PathBuf, u64) = (rig.image(n).name, rig.place(n, offset_bytes) + 700);
    rig.directory.set_rule(move |one| {
        let hit = one.verb == Verb::Read && one.path == path;
        (hit && one.offset_bytes <= start && one.offset_bytes + one.length_bytes > start).then_some(libc::EIO)
    });
}

/// Where the page at `FLAW` of a slot lies in the array, if it holds data.
fn place_of(array: &Array, slot: u16) -> Option<usize> {
    match array.geometry().cell(Slot(slot), FLAW) {
        Cell::Data { array_offset_bytes, .. } => usize::try_from(array_offset_bytes).ok(),
        _ => None,
    }
}

/// R35, R50, R53: a rebuild that meets a sector which the others cannot give notes it and goes on; only that page reads as
/// an error, also after a new assembly, and writing it makes it good.
#[test]
fn a_rebuild_goes_on_past_what_cannot_be_read() {
    for (level, members, lost, wounded) in [
        (Level::Raid1, 2, 0, 1),
        (Level::Raid5, 3, 1, 0),
        (Level::Raid5, 3, 0, 2),
        (Level::Raid10, 4, 2, 3),
        (Level::Raid4, 3, 2, 1),
    ] {
        let what = format!("{level}, {lost} lost, {wounded} wounded");
        let (rig, array, mut bytes) = Rig::filled(Make::new(level, members, 16));
        array.fail_member(Slot(lost)).unwrap();
        array.add(&rig.new_image(9), uuid(9)).unwrap();
        wound(&rig, wounded.into(), FLAW);
        let stop = Rebuild {
            stop_at_unreadable: true,
            ..Rebuild::default()
        };
        assert!(
            matches!(array.rebuild_as(stop, &mut on), Err(Error::Unreadable { .. })),
            "{what}"
        );
        assert_eq!(array.rebuild(&mut on).unwrap(), Ending::Complete, "{what}");
        rig.directory.clear_rule();
        // Both the new member and the one that could not read have it in their logs, and the flag.
        let page = [(FLAW, 4096)];
        let superblocks: Vec<_> = [9, usize::from(wounded)].map(|n| rig.superblock(n)).into();
        assert!(
            superblocks.iter().all(|one| one.features.has(Features::BAD_BLOCKS)),
            "{what}"
        );
        array.stop(Time::new(3000, 0)).unwrap();
        drop(array);
        let numbers = (0..usize::from(members)).filter(|n| *n != usize::from(lost)).chain([9]);
        let array = rig.assemble(numbers).unwrap();
        let roster = array.roster();
        for slot in [lost, wounded] {
            assert_eq!(roster.seat(Slot(slot)).unwrap().flaws(), page, "{what}");
        }
        assert_eq!(array.state(), ArrayState::CriticalInconsistency, "{what}");
        let mut gone: Vec<usize> = [lost, wounded]
            .iter()
            .filter_map(|slot| place_of(&array, *slot))
            .collect();
        gone.sort_unstable();
        gone.dedup();
        let health: Vec<(u64, u32)> = array.health_status(0, array.size_bytes());
        let (mut at, mut flagged) = (0, Vec::new());
        for (length, flags) in health {
            if flags & 2 != 0 {
                flagged.push((at, length));
            }
            at += length;
        }
        let expected: Vec<(u64, u64)> = gone.iter().map(|place| (*place as u64, 4096)).collect();
        assert_eq!(flagged, expected, "{what}");
        for place in (0..bytes.len()).step_by(4096) {
            let mut page = vec![0; 4096];
            match array.read_at(&mut page, place as u64) {
                Ok(()) => assert!(
                    !gone.contains(&place) && page == bytes[place..place + 4096],
                    "{what}: {place}"
                ),
                Err(Error::Unreadable { .. }) => assert!(gone.contains(&place), "{what}: {place}"),
                Err(error) => panic!("{what}: {error}"),
            }
        }
        for place in gone {
            array.write_at(&pattern(4096), place as u64, true).unwrap();
            bytes[place..place + 4096].copy_from_slice(&pattern(4096));
        }
        array.verify(Repair::Redundancy, &mut on).unwrap();
        assert!(contents(&array) == bytes, "{what}");
        assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
        assert_eq!(array.state(), ArrayState::Normal, "{what}");
        array.stop(Time::new(4000, 0)).unwrap();
        assert!(!rig.superblock(9).features.has(Features::BAD_BLOCKS), "{what}");
    }
}

/// R50: writing next to a lost page works, and what is written is read; two lost pages and their parity stay apart.
#[test]
fn writes_beside_lost_pages_are_kept() {
    for level in [Level::Raid5, Level::Raid6] {
        let (_rig, array, mut bytes) = Rig::filled(Make::new(level, 5, 16));
        let roster = array.roster();
        let stripe = array.geometry().stripe(1).unwrap();
        let lost: Vec<Slot> = stripe.data().take(usize::from(level.parities()) + 1).collect();
        for slot in &lost {
            roster
                .seat(*slot)
                .unwrap()
                .note_flaw(stripe.member_offset_bytes, 4096)
                .unwrap();
        }
        let place = |index: u64| usize::try_from(stripe.array_offset_bytes() + index * 16384).unwrap();
        // The first lost page is written again, which parity cannot follow.
        array.write_at(&pattern(4096), place(0) as u64, false).unwrap();
        bytes[place(0)..place(0) + 4096].copy_from_slice(&pattern(4096));
        // The whole stripe but for one page of the last chunk.
        let mut unread = Vec::new();
        for page in (0..bytes.len()).step_by(4096) {
            let mut found = vec![0; 4096];
            match array.read_at(&mut found, page as u64) {
                Ok(()) => assert!(found == bytes[page..page + 4096], "{level} {page}"),
                Err(_) => unread.push(page),
            }
        }
        let expected: Vec<usize> = (1..lost.len() as u64).map(place).collect();
        assert_eq!(unread, expected, "{level}");
        for place in expected {
            array.write_at(&pattern(4096), place as u64, false).unwrap();
            bytes[place..place + 4096].copy_from_slice(&pattern(4096));
        }
        assert!(contents(&array) == bytes);
        array.verify(Repair::Redundancy, &mut on).unwrap();
        assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean());
        for slot in 0..5 {
            assert!(!roster.seat(Slot(slot)).unwrap().has_flaws(), "{level} {slot}");
        }
        array.fail_member(lost[0]).unwrap();
        assert!(contents(&array) == bytes);
    }
}

/// R52: a rebuild reads and writes what was written to the array, not all of it; `full` does it all.
#[test]
fn a_rebuild_reads_what_is_used() {
    for level in [Level::Raid5, Level::Raid1, Level::Raid6] {
        let mut counts = Vec::new();
        for full in [false, true] {
            let (rig, array) = Rig::make(Make::new(level, 4, 16));
            let part = pattern(60_000);
            array.write_at(&part, 50_000, true).unwrap();
            array.fail_member(Slot(1)).unwrap();
            array.add(&rig.new_image(9), uuid(9)).unwrap();
            drop(rig.directory.take_operations());
            let how = Rebuild {
                full,
                ..Rebuild::default()
            };
            array.rebuild_as(how, &mut on).unwrap();
            let data = rig.place(0, 0);
            let bytes = |verb| -> u64 {
                let all = rig.directory.operations();
                let touched = all.iter().filter(|one| one.verb == verb && one.offset_bytes >= data);
                touched.map(|one| one.length_bytes).sum()
            };
            counts.push((bytes(Verb::Read), bytes(Verb::Write)));
            array.fail_member(Slot(0)).unwrap();
            let mut found = vec![0; part.len()];
            array.read_at(&mut found, 50_000).unwrap();
            assert_eq!(found, part);
        }
        let [(few, written), (all, _)] = counts[..] else {
            panic!()
        };
        assert!(few * 2 < all && written <= 2 * 65_536, "{level}: {counts:?}");
    }
}

/// R50: a bad sector where a crash may have left parity wrong is an error of that page alone, noted in the logs of its
/// member and of parity; it is never made of that parity, not by a resync either, and writing it makes it good.
#[test]
fn doubtful_parity_makes_no_data() {
    for level in [Level::Raid4, Level::Raid5, Level::Raid6] {
        let (rig, array, mut bytes) = Rig::filled(Make::new(level, 5, 16));
        let stripe = array.geometry().stripe(1).unwrap();
        let (torn, wounded) = (stripe.data_slot(1), stripe.data_slot(0));
        let page = usize::try_from(stripe.array_offset_bytes()).unwrap() + 4096;
        assert_eq!(stripe.member_offset_bytes + 4096, FLAW);
        // A write of which only the data came to its member before the crash.
        array
            .write_at(&bytes[page + 16384..page + 20480], page as u64 + 16384, false)
            .unwrap();
        drop(array);
        let file = rig.open(torn.index());
        file.write_all_at(&pattern(4096), rig.place(torn.index(), FLAW))
            .unwrap();
        bytes[page + 16384..page + 20480].copy_from_slice(&pattern(4096));
        wound(&rig, wounded.index(), FLAW);
        let array = rig.assemble(0..5).unwrap();
        let mut found = vec![0; 8192];
        let all = array.read_at(&mut found, page as u64);
        assert!(matches!(all, Err(Error::Unreadable { .. })), "{level}");
        array.read_at(&mut found[..4096], page as u64 + 4096).unwrap();
        assert!(
            found[..4096] == bytes[page + 4096..page + 8192],
            "{level}: the page behind it"
        );
        assert_eq!(array.resync(&mut on).unwrap(), Ending::Complete, "{level}");
        array.stop(Time::new(3000, 0)).unwrap();
        drop(array);
        rig.directory.clear_rule();
        let array = rig.assemble(0..5).unwrap();
        for slot in [Some(wounded), Some(stripe.p), stripe.q].into_iter().flatten() {
            assert_eq!(array.roster().seat(slot).unwrap().flaws(), [(FLAW, 4096)], "{level}");
        }
        for at in (0..bytes.len()).step_by(4096) {
            let read = array.read_at(&mut found[..4096], at as u64);
            assert_eq!(read.is_err(), at == page, "{level}: {at}");
            assert!(at == page || found[..4096] == bytes[at..at + 4096], "{level}: {at}");
        }
        array.write_at(&bytes[page..page + 4096], page as u64, true).unwrap();
        assert!(contents(&array) == bytes, "{level}");
        assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{level}");
        assert_eq!(array.state(), ArrayState::Normal, "{level}");
    }
}
