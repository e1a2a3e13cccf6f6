//! States of real arrays on simulated storage: each is reached by what happens to an array, not by setting facts.

use std::{
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex, atomic::AtomicUsize},
};

use super::*;
use crate::{
    raid::{
        Level,
        add::Added,
        create::{Initialisation, NewImage},
        discover::discover,
        metadata::identity::Time,
        rebuild::Ending,
        reshape::Plan,
        rig::{Make, Rig, contents, on, pattern, uuid},
        scrub::Repair,
    },
    storage::sim::Verb,
};

fn disks(array: &Array) -> Vec<DiskState> {
    array.disk_states().into_iter().map(|(_, state)| state).collect()
}

/// R10: which members each level can lose, by every subset: what is left serves every byte, takes writes and is
/// assembled again; one more is refused and changes nothing.
#[test]
fn every_subset_of_members_is_survived_or_refused_as_the_level_says() {
    type Survives = fn(&[usize]) -> bool;
    let cases: [(Level, u16, Survives); 7] = [
        (Level::Linear, 3, |lost| lost.is_empty()),
        (Level::Raid0, 3, |lost| lost.is_empty()),
        (Level::Raid1, 2, |lost| lost.len() <= 1),
        (Level::Raid10, 4, |lost| {
            lost.iter().filter(|n| **n < 2).count() < 2 && lost.iter().filter(|n| **n >= 2).count() < 2
        }),
        (Level::Raid4, 3, |lost| lost.len() <= 1),
        (Level::Raid5, 4, |lost| lost.len() <= 1),
        (Level::Raid6, 5, |lost| lost.len() <= 2),
    ];
    for (level, members, survives) in cases {
        for subset in 0..1_u32 << members {
            let lost: Vec<usize> = (0..usize::from(members)).filter(|n| subset & 1 << n != 0).collect();
            let what = format!("{level} without {lost:?}");
            let (rig, array, mut bytes) = Rig::filled(Make::new(level, members, 8));
            let mut gone = Vec::new();
            for n in &lost {
                let slot = Slot(u16::try_from(*n).unwrap());
                gone.push(*n);
                assert_eq!(array.fail_member(slot).is_ok(), survives(&gone), "{what}, failing {n}");
                if array.roster().seat(slot).is_some() {
                    gone.pop();
                }
            }
            if survives(&lost) {
                let state = if lost.is_empty() {
                    ArrayState::Normal
                } else {
                    ArrayState::CriticalMissingDisk
                };
                assert_eq!(array.state(), state, "{what}");
                let part = pattern(70_000);
                array.write_at(&part, 10_000, false).unwrap();
                bytes[10_000..80_000].copy_from_slice(&part);
            }
            // Whatever was refused left an array that works.
            assert!(contents(&array) == bytes, "{what}");
            array.stop(Time::new(2000, 0)).unwrap();
            drop(array);
            let left = (0..usize::from(members)).filter(|n| !lost.contains(n));
            let before: Vec<_> = left.clone().map(|n| rig.bytes(n)).collect();
            match rig.assemble(left.clone()) {
                Ok(array) => {
                    assert!(survives(&lost), "{what}");
                    assert!(contents(&array) == bytes, "{what}, assembled");
                }
                Err(Error::NotStartable { .. }) => {
                    assert!(!survives(&lost), "{what}");
                    assert!(
                        left.zip(before).all(|(n, before)| rig.bytes(n) == before),
                        "{what}: written to"
                    );
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
}

/// R27, R28, R57, R58: from Normal over Critical and Rebuilding back to Normal, with what may be asked in each.
#[test]
fn a_lost_member_is_replaced() {
    let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid5, 3, 8));
    assert_eq!(array.state(), ArrayState::Normal);
    assert_eq!(disks(&array), [DiskState::Normal; 3]);
    assert_eq!(
        array.actions(),
        [Action::Delete, Action::Verify, Action::Rename, Action::Reshape]
    );

    array.fail_member(Slot(1)).unwrap();
    assert_eq!(array.state(), ArrayState::CriticalMissingDisk);
    let others = [DiskState::Normal, DiskState::CriticalMissingDisk, DiskState::Normal];
    assert_eq!(disks(&array), others);
    assert!(array.check_allows(Action::AddDisk).is_ok());
    for refused in [Action::Rename, Action::Verify] {
        assert!(
            matches!(array.check_allows(refused), Err(Error::WrongState { .. })),
            "{refused:?}"
        );
    }

    let added = array.add(&rig.new_image(3), uuid(3)).unwrap();
    assert_eq!(added, Added::Rebuild(Slot(1)));
    assert_eq!(array.state(), ArrayState::CriticalInconsistency);
    assert_eq!(disks(&array)[1], DiskState::CriticalRebuildRequired);
    let mut seen = Vec::new();
    let ending = array.rebuild(&mut |_| {
        seen.push((
            array.state(),
            disks(&array)[1],
            array.check_allows(Action::StopRebuild).is_ok(),
        ));
        ControlFlow::Break(())
    });
    assert_eq!(ending.unwrap(), Ending::Stopped);
    assert_eq!(seen, [(ArrayState::Rebuilding, DiskState::Rebuilding, true)]);
    assert_eq!(disks(&array)[1], DiskState::CriticalRebuildRequired);
    array.rebuild(&mut on).unwrap();
    assert_eq!((array.state(), contents(&array) == bytes), (ArrayState::Normal, true));
}

/// R57, R58: Initializing while parity is made for the first time, and Initialization Stopped when that was interrupted,
/// from where it goes on after the array was stopped and assembled again.
#[test]
fn an_initialisation_is_stopped_and_gone_on_with() {
    for bitmap in [true, false] {
        for level in [Level::Raid5, Level::Raid1] {
            let make = Make {
                bitmap,
                initialisation: Initialisation::Keep,
                ..Make::new(level, 3, 8)
            };
            let (rig, array) = Rig::make(make);
            assert_eq!(array.state(), ArrayState::InitializationStopped);
            assert_eq!(disks(&array), [DiskState::Uninitialized; 3]);
            assert!(array.check_allows(Action::ResumeInitialization).is_ok());
            let mut done = 0;
            let ending = array.resync(&mut |progress| {
                assert_eq!(array.state(), ArrayState::Initializing);
                assert_eq!(disks(&array), [DiskState::Initializing; 3]);
                done = progress.done_bytes;
                if done * 2 > progress.whole_bytes {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            assert_eq!(ending.unwrap(), Ending::Stopped);
            array.stop(Time::new(2000, 0)).unwrap();
            drop(array);
            let array = rig.assemble(0..3).unwrap();
            assert_eq!(array.state(), ArrayState::InitializationStopped);
            let mut first = None;
            array
                .resync(&mut |progress| {
                    first.get_or_insert(progress.done_bytes);
                    ControlFlow::Continue(())
                })
                .unwrap();
            // It goes on in the region in which it was stopped.
            assert!(
                first.unwrap() + (128 << 10) > done,
                "{level} {bitmap}: {first:?} after {done}"
            );
            assert_eq!(array.state(), ArrayState::Normal);
            array.stop(Time::new(3000, 0)).unwrap();
            drop(array);
            assert_eq!(rig.assemble(0..3).unwrap().state(), ArrayState::Normal);
        }
    }
}

/// R50, R57, R58: a verify shows as such; what it finds makes the array critical until it was mended.
#[test]
fn mismatches_make_an_array_critical() {
    let (rig, array, _) = Rig::filled(Make::new(Level::Raid5, 3, 8));
    array
        .verify(Repair::Report, &mut |_| {
            assert_eq!(array.state(), ArrayState::Verifying);
            assert_eq!(disks(&array), [DiskState::Verifying; 3]);
            assert!(array.check_allows(Action::StopVerify).is_ok());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(array.state(), ArrayState::Normal);
    rig.spoil(0, 0);
    array.verify(Repair::Report, &mut on).unwrap();
    assert_eq!(array.state(), ArrayState::CriticalInconsistency);
    assert!(array.check_allows(Action::Rebuild).is_ok());
    array.verify(Repair::Redundancy, &mut on).unwrap();
    assert_eq!(array.state(), ArrayState::Normal);
}

/// R50, R57: what a verify found outlives a clean stop and a kill, in use and at rest, until it is repaired; a note from
/// before somebody else ran the array counts for nothing.
#[test]
fn what_a_verify_found_is_kept_until_it_is_repaired() {
    for level in [Level::Raid1, Level::Raid5, Level::Raid10] {
        let members = if level == Level::Raid10 { 4 } else { 3 };
        let (mut rig, mut array, bytes) = Rig::filled(Make::new(level, members, 8));
        rig.spoil(1, 0);
        array.verify(Repair::Report, &mut on).unwrap();
        let at_rest = |rig: &Rig| {
            let images: Vec<_> = (0..members.into()).map(|n| rig.image(n)).collect();
            discover(&images).arrays.remove(0).inconsistent
        };
        for killed in [false, true] {
            array.write_at(&bytes[..512], 0, false).unwrap();
            if !killed {
                array.stop(Time::new(3000, 0)).unwrap();
            }
            let image = rig.directory.killed().unwrap();
            drop(array);
            rig = Rig { directory: image };
            assert!(at_rest(&rig), "{level}, killed {killed}");
            array = rig.assemble(0..members.into()).unwrap();
            assert_eq!(
                array.state(),
                ArrayState::CriticalInconsistency,
                "{level}, killed {killed}"
            );
        }
        array.resync(&mut on).unwrap();
        array.stop(Time::new(4000, 0)).unwrap();
        drop(array);
        // As if another system had written the superblocks since.
        let roamed = Rig {
            directory: rig.directory.killed().unwrap(),
        };
        for n in 0..members.into() {
            let mut superblock = roamed.superblock(n);
            superblock.events += 2;
            superblock.updated = Time::new(9000, 0);
            let file = roamed.open(n);
            file.write_all_at(&superblock.encode(), superblock.super_offset.0 * 512)
                .unwrap();
        }
        assert!(!at_rest(&roamed), "{level}");
        array = rig.assemble(0..members.into()).unwrap();
        assert_eq!(array.state(), ArrayState::CriticalInconsistency, "{level}");
        array.verify(Repair::Redundancy, &mut on).unwrap();
        assert_eq!(array.state(), ArrayState::Normal, "{level}");
        array.stop(Time::new(5000, 0)).unwrap();
        drop(array);
        assert!(!at_rest(&rig), "{level}");
        let array = rig.assemble(0..members.into()).unwrap();
        assert_eq!(array.state(), ArrayState::Normal, "{level}");
    }
}

/// R30, R54, R55: too few members: nothing is read and nothing more is written, superblocks neither; with the disks back
/// the array is what it was before: critical, and every acknowledged byte is there.
#[test]
fn a_disabled_array_is_left_alone_and_comes_back() {
    for (level, members, first) in [
        (Level::Raid5, 3, Some(1)),
        (Level::Raid1, 2, Some(0)),
        (Level::Raid0, 2, None),
    ] {
        for writes in [false, true] {
            let (rig, array, mut bytes) = Rig::filled(Make::new(level, members, 8));
            let pulled = usize::from(members) - 1;
            if let Some(first) = first {
                array.fail_member(Slot(first)).unwrap();
                let part = pattern(9000);
                array.write_at(&part, 5000, true).unwrap();
                bytes[5000..14_000].copy_from_slice(&part);
            }
            let path = rig.image(pulled).name;
            rig.directory
                .set_rule(move |operation| (operation.path == path).then_some(libc::EIO));
            let mut all = vec![0; bytes.len()];
            if writes {
                assert!(array.write_at(&[0x55; 4096], 8192, true).is_err());
                let _ = array.flush();
            } else {
                assert!(matches!(array.read_at(&mut all, 0), Err(Error::Unreadable { .. })));
            }
            assert_eq!(array.state(), ArrayState::Disabled, "{level} {writes}");
            assert!(disks(&array).iter().all(|disk| *disk >= DiskState::CriticalMissingDisk));
            assert_eq!(array.actions(), [Action::Delete]);
            drop(rig.directory.take_operations());
            assert!(array.read_at(&mut [0; 1], 0).is_err());
            assert!(array.write_at(&[0; 512], 0, false).is_err());
            assert!(array.rebuild(&mut on).is_err() || array.level().is_bare());
            let _ = array.tick(Time::new(2000, 0));
            let _ = array.stop(Time::new(2000, 0));
            drop(array);
            assert_eq!(
                rig.directory.count(Verb::Write) + rig.directory.count(Verb::Punch),
                0,
                "{level} {writes}"
            );
            rig.directory.clear_rule();
            let array = rig.assemble(0..usize::from(members)).unwrap();
            let state = if first.is_some() {
                ArrayState::CriticalMissingDisk
            } else {
                ArrayState::Normal
            };
            let found = contents(&array);
            let outside = |n: &usize| !writes || !(8192..8192 + 4096).contains(n);
            assert!(
                (0..bytes.len()).filter(outside).all(|n| found[n] == bytes[n]),
                "{level} {writes}"
            );
            assert_eq!(array.state(), state, "{level} {writes}");
        }
    }
}

/// R29: the same disk comes back and is filled where it missed writes; it is known by its identity.
#[test]
fn a_member_that_was_pulled_and_comes_back_is_caught_up() {
    let (rig, array, mut bytes) = Rig::filled(Make::new(Level::Raid6, 5, 8));
    array.tick(Time::new(2000, 0)).unwrap();
    array.tick(Time::new(2001, 0)).unwrap();
    array.tick(Time::new(2002, 0)).unwrap();
    array.fail_member(Slot(2)).unwrap();
    array.write_at(&[7; 4096], 40_960, false).unwrap();
    bytes[40_960..45_056].fill(7);
    array.stop(Time::new(2003, 0)).unwrap();
    drop(array);
    let array = rig.assemble(0..5).unwrap();
    assert_eq!(array.state(), ArrayState::CriticalMissingDisk);
    assert_eq!(array.add(&rig.image(2), uuid(77)).unwrap(), Added::Return(Slot(2)));
    drop(rig.directory.take_operations());
    array.rebuild(&mut on).unwrap();
    let data = rig.place(2, 0);
    let written: u64 = rig
        .directory
        .operations()
        .iter()
        .filter(|one| one.verb == Verb::Write && one.path == rig.image(2).name && one.offset_bytes >= data)
        .map(|one| one.length_bytes)
        .sum();
    assert!(written > 0 && written <= 4 * 8192, "{written} bytes");
    assert_eq!((array.state(), contents(&array) == bytes), (ArrayState::Normal, true));
    assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean());
}

/// R21: a large read engages more disks where blocks are smaller, a tiny one a single disk; a full stripe is written without
/// reading, a small write of RAID 5 touches two members.
#[test]
fn block_size_says_how_many_disks_a_request_engages() {
    let touched = |rig: &Rig, verb| {
        let data = rig.place(0, 0);
        let all = rig.directory.take_operations();
        let hits = all.iter().filter(|one| one.verb == verb && one.offset_bytes >= data);
        hits.map(|one| one.path.clone())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    for (chunk_kib, members_read) in [(4, 4), (8, 2), (16, 1)] {
        let (rig, array, _) = Rig::filled(Make::new(Level::Raid0, 4, chunk_kib));
        drop(rig.directory.take_operations());
        array.read_at(&mut [0; 16384], 0).unwrap();
        assert_eq!(touched(&rig, Verb::Read), members_read, "{chunk_kib} KiB");
        array.read_at(&mut [0; 512], 20_480).unwrap();
        assert_eq!(touched(&rig, Verb::Read), 1, "{chunk_kib} KiB");
    }
    let (rig, array, _) = Rig::filled(Make::new(Level::Raid5, 5, 16));
    drop(rig.directory.take_operations());
    array.write_at(&pattern(4 * 16384), 4 * 16384, false).unwrap();
    let operations = rig.directory.operations();
    let data = rig.place(0, 0);
    assert!(
        !operations
            .iter()
            .any(|one| one.verb == Verb::Read && one.offset_bytes >= data)
    );
    assert_eq!(touched(&rig, Verb::Write), 5);
    array.write_at(&[1; 512], 0, false).unwrap();
    let read = rig
        .directory
        .operations()
        .iter()
        .filter(|one| one.verb == Verb::Read)
        .count();
    assert_eq!((read, touched(&rig, Verb::Write)), (2, 2));
}

/// An array of three, filled, that began to grow by image 3 and has hardly any room to do so, which makes for many steps.
fn growing() -> (Rig, Array, Vec<u8>) {
    let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid5, 3, 8));
    array.begin_reshape(&by_image(&rig, 3)).unwrap();
    (rig, array, bytes)
}

/// Growing by a new image.
fn by_image(rig: &Rig, number: usize) -> Plan {
    let image = match rig
        .directory
        .operations()
        .iter()
        .any(|one| one.path == rig.image(number).name)
    {
        true => rig.image(number),
        false => rig.new_image(number),
    };
    Plan {
        images: vec![NewImage {
            image,
            uuid: uuid(number as u64),
        }],
        room_bytes: Some(0),
        ..Plan::default()
    }
}

/// Moves an array on by one step, and tells what is seen meanwhile.
fn step<T>(array: &Array, mut look: impl FnMut() -> T) -> T {
    let mut seen = None;
    let ending = array.reshape(&mut |_| {
        seen = Some(look());
        ControlFlow::Break(())
    });
    assert_eq!(ending.unwrap(), Ending::Stopped);
    seen.unwrap()
}

/// R57, R58, R59: every state of an array that moves: stopped, moving, with a member lost, with one that waits to be
/// filled; at the end it is what it was to become.
#[test]
fn a_reshape_goes_through_its_states() {
    let (rig, array, bytes) = growing();
    assert_eq!(array.state(), ArrayState::ReshapeStopped);
    assert_eq!(disks(&array), [DiskState::ReshapeStopped; 4]);
    assert!(array.check_allows(Action::ResumeReshape).is_ok());
    let seen = step(&array, || {
        let running = array.status().reshape.unwrap().running;
        (
            array.state(),
            disks(&array),
            array.check_allows(Action::StopReshape).is_ok(),
            running,
        )
    });
    assert_eq!(seen, (ArrayState::Reshaping, vec![DiskState::Reshaping; 4], true, true));
    assert_eq!(array.state(), ArrayState::ReshapeStopped);
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);

    let array = rig.assemble(0..4).unwrap();
    assert_eq!(array.state(), ArrayState::ReshapeStopped);
    array.fail_member(Slot(1)).unwrap();
    let lost = (ArrayState::CriticalReshape, DiskState::CriticalMissingDisk);
    assert_eq!((array.state(), disks(&array)[1]), lost);
    assert_eq!(step(&array, || (array.state(), disks(&array)[1])), lost);
    assert!(contents(&array) == bytes);

    assert_eq!(array.add(&rig.new_image(4), uuid(4)).unwrap(), Added::Spare);
    assert_eq!(array.state(), ArrayState::CriticalReshapeRebuild);
    assert_eq!(step(&array, || array.state()), ArrayState::CriticalReshapeRebuild);
    array.stop(Time::new(3000, 0)).unwrap();
    drop(array);
    let array = rig.assemble([0, 2, 3, 4]).unwrap();
    assert_eq!(array.state(), ArrayState::CriticalReshapeRebuild);
    array.reshape(&mut on).unwrap();
    assert_eq!(array.state(), ArrayState::CriticalMissingDisk);
    assert_eq!(array.activate_spare().unwrap(), Some(Slot(1)));
    array.rebuild(&mut on).unwrap();
    assert_eq!(array.state(), ArrayState::Normal);
    array.fail_member(Slot(0)).unwrap();
    assert!(contents(&array)[..bytes.len()] == bytes);
}

/// R58, R59: a request that fails in the middle of a reshape does not disable an array that can be read.
#[test]
fn a_request_that_fails_does_not_disable_an_array_that_moves() {
    let (rig, array, mut bytes) = growing();
    step(&array, || ());
    let data = rig.place(0, 0);
    let at = bytes.len() - 4096;
    rig.directory.set_rule(move |operation| {
        let bad = operation.verb == Verb::Write && operation.offset_bytes >= data;
        bad.then_some(libc::EIO)
    });
    assert!(matches!(
        array.write_at(&[1; 4096], at as u64, false),
        Err(Error::NotWritten { .. })
    ));
    assert!(array.state() < ArrayState::Disabled, "{}", array.state());
    assert!(contents(&array)[..at] == bytes[..at]);
    rig.directory.clear_rule();
    array.write_at(&[2; 4096], at as u64, false).unwrap();
    bytes[at..].fill(2);
    array.reshape(&mut on).unwrap();
    array.resync(&mut on).unwrap();
    assert_eq!(array.state(), ArrayState::Normal);
    assert!(contents(&array)[..bytes.len()] == bytes);
    assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean());
}

/// R24, R59: a spare becomes a member of an array that grows; a kill at any moment of its beginning leaves the array as it
/// was or on its way, with every byte.
#[test]
fn a_spare_joins_a_reshape() {
    for dies_at in 0..40 {
        let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid5, 3, 8));
        assert_eq!(array.add(&rig.new_image(3), uuid(3)).unwrap(), Added::Spare);
        let taken: Arc<Mutex<Option<crate::storage::SimDirectory>>> = Arc::default();
        let (place, disk, count) = (Arc::clone(&taken), rig.directory.clone(), AtomicUsize::new(0));
        rig.directory.set_rule(move |operation| {
            let changes = matches!(operation.verb, Verb::Write | Verb::Sync);
            if changes && count.fetch_add(1, Ordering::Relaxed) == dies_at {
                *place.lock().unwrap() = Some(disk.killed().unwrap());
            }
            None
        });
        array.begin_reshape(&by_image(&rig, 3)).unwrap();
        assert!(array.status().spares.is_empty());
        let left = taken.lock().unwrap().take();
        rig.directory.clear_rule();
        let (rig, array) = match left {
            None => (rig, array),
            Some(directory) => {
                drop(array);
                let rig = Rig { directory };
                let array = rig.assemble(0..4).unwrap();
                (rig, array)
            }
        };
        assert!(contents(&array) == bytes, "killed at {dies_at}");
        array.reshape(&mut on).unwrap();
        assert!(contents(&array)[..bytes.len()] == bytes, "killed at {dies_at}");
        let member = array.begin_reshape(&by_image(&rig, 0)).unwrap_err();
        assert!(member.to_string().contains("already"), "{member}");
    }
}

/// R10: a write that leaves out a member which failed another request is answered only once that member is out: it holds
/// old data there.
#[test]
fn a_write_beside_one_that_fails_is_whole_without_the_member() {
    let (rig, array, _) = Rig::filled(Make::new(Level::Raid5, 3, 8));
    let (first, second) = (rig.place(2, 0), rig.place(2, 3 * 8192));
    let hung = Arc::new((Mutex::new((false, false)), Condvar::new()));
    let held = Arc::clone(&hung);
    // The first write fails on member 1, then waits for member 2 and fails there too.
    rig.directory.set_rule(move |operation| {
        let data = operation.verb == Verb::Write && operation.offset_bytes >= first;
        match operation.path.to_str() {
            Some("m1") if data => Some(libc::EIO),
            Some("m2") if data && operation.offset_bytes == first => {
                let mut state = held.0.lock().unwrap();
                state.0 = true;
                held.1.notify_all();
                drop(held.1.wait_while(state, |(_, open)| !*open).unwrap());
                Some(libc::EIO)
            }
            _ => None,
        }
    });
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| array.write_at(&[1; 4096], 8192, false));
        drop(hung.1.wait_while(hung.0.lock().unwrap(), |(come, _)| !*come).unwrap());
        let beside = scope.spawn(|| array.write_at(&[2; 4096], 3 * 16384 + 8192, false));
        // Its parity is written, so it has left out member 1.
        let written = || {
            let all = rig.directory.operations();
            let is = |one: &crate::storage::sim::Operation| one.verb == Verb::Write && one.offset_bytes == second;
            all.iter()
                .filter(|one| one.path == rig.image(2).name && is(one))
                .count()
                > 1
        };
        while !written() {
            std::thread::yield_now();
        }
        hung.0.lock().unwrap().1 = true;
        hung.1.notify_all();
        assert!(failing.join().unwrap().is_err());
        beside.join().unwrap().unwrap();
    });
    rig.directory.clear_rule();
    let mut found = [0; 4096];
    array.read_at(&mut found, 3 * 16384 + 8192).unwrap();
    assert_eq!(found, [2; 4096]);
}
