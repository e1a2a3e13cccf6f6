//! Arrays whose zeros are still to be made, on hosts that make no holes: used, stopped, killed and taken elsewhere meanwhile.

use std::{
    ops::{ControlFlow, Range},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    raid::{
        Array, Error, Level, Slot,
        array::ExtentKind,
        create::{Initialisation, NewImage, create},
        health::ArrayState,
        metadata::{identity::Time, superblock::MAX_SECTOR},
        rig::{Make, Rig, contents, on, pattern, uuid},
        scrub::Repair,
    },
    storage::{
        Directory as _, SimDirectory,
        sim::{Operation, Verb},
    },
};

fn levels() -> [Make; 6] {
    let background = |make: Make| Make {
        initialisation: Initialisation::Background,
        ..make
    };
    let without_bitmap = |make: Make| Make { bitmap: false, ..make };
    [
        background(Make::new(Level::Raid1, 2, 8)),
        background(Make::new(Level::Raid10, 4, 8)),
        background(Make::new(Level::Raid4, 3, 8)),
        background(Make::new(Level::Raid5, 3, 8)),
        background(without_bitmap(Make::new(Level::Raid5, 4, 16))),
        background(Make::new(Level::Raid6, 5, 8)),
    ]
}

fn no_holes(operation: &Operation) -> Option<i32> {
    (operation.verb == Verb::Punch).then_some(libc::EOPNOTSUPP)
}

/// An array of images that hold something else, on a host that makes no holes; without the member in a slot, if one is
/// named.
fn made(make: Make, without: Option<u16>) -> (Rig, Array) {
    let rig = Rig::new();
    let member = |n: u16| {
        let image = rig.new_image(n.into());
        let file = rig.open(n.into());
        file.write_all_at(&vec![0xa5; usize::try_from(file.size_bytes().unwrap()).unwrap()], 0)
            .unwrap();
        file.sync().unwrap();
        let uuid = uuid(n.into());
        (Some(n) != without).then_some(NewImage { image, uuid })
    };
    let members: Vec<_> = (0..make.members).map(member).collect();
    rig.directory.set_rule(no_holes);
    let array = create(&Rig::wish(make), &members, &[]).unwrap();
    (rig, array)
}

fn again(array: Array, rig: &Rig, members: Range<usize>) -> (Rig, Array) {
    drop(array);
    let rig = Rig {
        directory: rig.directory.killed().unwrap(),
    };
    rig.directory.set_rule(no_holes);
    let array = rig.assemble(members).unwrap();
    (rig, array)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A pace that stops after some steps.
fn after(steps: usize) -> impl FnMut(crate::raid::rebuild::Progress) -> ControlFlow<()> {
    let mut left = steps;
    move |_| {
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// R15, R16: where the host makes no holes a background initialisation shows zeros at once and makes them by and by, after
/// which members hold them and their parity; a foreground one and those of levels without redundancy are over at once.
#[test]
fn all_is_zeros_at_once_and_in_the_end() {
    let foreground = |level, members| Make {
        initialisation: Initialisation::Foreground,
        ..Make::new(level, members, 8)
    };
    let bare = Make {
        initialisation: Initialisation::Background,
        ..Make::new(Level::Raid0, 2, 8)
    };
    for make in [foreground(Level::Raid5, 3), foreground(Level::Raid0, 2), bare] {
        let (_rig, array) = made(make, None);
        assert_eq!(array.state(), ArrayState::Normal, "{}", make.level);
        assert!(!array.has_blank() && is_zero(&contents(&array)), "{}", make.level);
    }
    for make in levels() {
        let what = make.level;
        let (rig, array) = made(make, None);
        let size = array.size_bytes();
        assert_eq!(array.state(), ArrayState::InitializationStopped, "{what}");
        assert!(array.status().needs_resync && is_zero(&contents(&array)), "{what}");
        assert!(!array.read_cached_at(&mut [0; 512], 0).unwrap(), "{what}");
        let extents = array.block_status(0, size).unwrap();
        assert_eq!(
            (extents[0].kind, extents[0].length_bytes),
            (ExtentKind::Hole, size),
            "{what}"
        );
        // Trimming what is blank leaves it so; writing a little makes zeros of a little.
        array.trim(0, size, false).unwrap();
        assert!(array.is_all_blank(0, size), "{what}");
        assert!(
            matches!(array.grow_members(None), Err(Error::WrongState { .. })),
            "{what}"
        );
        let mut states = Vec::new();
        let mut steps = 0;
        let ending = array.resync(&mut |_| {
            states.push(array.state());
            steps += 1;
            ControlFlow::Continue(())
        });
        ending.unwrap();
        assert!(
            steps > 3
                && states[..steps - 1]
                    .iter()
                    .all(|state| *state == ArrayState::Initializing),
            "{what}"
        );
        assert_eq!(array.state(), ArrayState::Normal, "{what}");
        assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
        array.stop(Time::new(3000, 0)).unwrap();
        assert_eq!(rig.superblock(0).resync_offset, MAX_SECTOR, "{what}");
        drop(array);
        // Not because somebody says so: without sidecars they are zeros too.
        for n in 0..make.members {
            let _ = rig.directory.remove(&PathBuf::from(format!("m{n}.journal")));
        }
        let array = rig.assemble(0..usize::from(make.members)).unwrap();
        assert!(is_zero(&contents(&array)), "{what}");
    }
}

/// R16, R58: initialisation that was stopped goes on where it was, and the superblocks say how far redundancy is, so that md
/// makes the rest where the members roam.
#[test]
fn stopped_half_way_goes_on_and_roams() {
    for make in levels() {
        let what = make.level;
        let members = 0..usize::from(make.members);
        let (rig, array) = made(make, None);
        array.resync(&mut after(2)).unwrap();
        let end = array.size_bytes() - 4096;
        array.write_at(&pattern(4096), end, false).unwrap();
        array.stop(Time::new(2000, 0)).unwrap();
        let said = rig.superblock(0).resync_offset;
        assert!(
            said.0 < rig.superblock(0).size.0 && said.0 > 0 || !make.bitmap,
            "{what}: {said:?}"
        );
        let (rig, array) = again(array, &rig, members.clone());
        let expected = |array: &Array| {
            let found = contents(array);
            let end = usize::try_from(end).unwrap();
            is_zero(&found[..end]) && found[end..] == pattern(4096)
        };
        assert!(array.has_blank() && expected(&array), "{what}");
        // Elsewhere: no sidecar, and a resync as md does it.
        let elsewhere = Rig {
            directory: rig.directory.killed().unwrap(),
        };
        for n in members.clone() {
            elsewhere
                .directory
                .remove(&PathBuf::from(format!("m{n}.journal")))
                .unwrap();
        }
        let roamed = elsewhere.assemble(members.clone()).unwrap();
        assert!(!roamed.has_blank() && roamed.status().needs_resync, "{what}");
        roamed.resync(&mut on).unwrap();
        assert!(roamed.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
        let found = contents(&roamed);
        assert!(found[found.len() - 4096..] == pattern(4096), "{what}");
        drop(roamed);
        array.resync(&mut on).unwrap();
        assert!(!array.has_blank() && expected(&array), "{what}");
        assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
        array.fail_member(Slot(1)).unwrap();
        assert!(expected(&array), "{what}");
    }
}

/// R16: what others wrote since is believed and not the map of what was blank before.
#[test]
fn map_of_another_time_hides_nothing() {
    for make in levels() {
        let (rig, array) = made(make, None);
        drop(array);
        // Linux knows nothing of sidecars.
        let members = 0..usize::from(make.members);
        let kept: Vec<(PathBuf, Vec<u8>)> = members
            .clone()
            .map(|n| {
                let name = PathBuf::from(format!("m{n}.journal"));
                let bytes = rig.directory.read(&name, u64::MAX).unwrap();
                rig.directory.remove(&name).unwrap();
                (name, bytes)
            })
            .collect();
        let other = rig.assemble(members.clone()).unwrap();
        let bytes = pattern(other.size_bytes());
        other.write_at(&bytes, 0, true).unwrap();
        other.resync(&mut on).unwrap();
        other.stop(Time::new(5000, 0)).unwrap();
        drop(other);
        for (name, bytes) in &kept {
            rig.directory.replace(name, bytes).unwrap();
        }
        let array = rig.assemble(members).unwrap();
        assert!(!array.has_blank() && contents(&array) == bytes, "{}", make.level);
    }
}

/// R16: a member that is missing from the start, fails or comes while zeros are made takes no byte with it.
#[test]
fn members_go_and_come_meanwhile() {
    for make in levels() {
        let what = make.level;
        let (rig, array) = made(make, Some(1));
        let mut bytes = vec![0; usize::try_from(array.size_bytes()).unwrap()];
        let mut write = |array: &Array, at: usize| {
            array.write_at(&pattern(10_000), at as u64, true).unwrap();
            bytes[at..at + 10_000].copy_from_slice(&pattern(10_000));
            assert!(contents(array) == bytes, "{what}");
        };
        write(&array, 70_000);
        array.resync(&mut after(2)).unwrap();
        let spare = rig.new_image(20);
        let file = rig.open(20);
        file.write_all_at(&vec![0x5a; usize::try_from(file.size_bytes().unwrap()).unwrap()], 0)
            .unwrap();
        array.add(&spare, uuid(20)).unwrap();
        array.rebuild(&mut after(2)).unwrap();
        write(&array, 150_000);
        array.rebuild(&mut on).unwrap();
        array.resync(&mut after(2)).unwrap();
        write(&array, 230_000);
        array.fail_member(Slot(0)).unwrap();
        write(&array, 300_000);
        array.resync(&mut on).unwrap();
        assert!(!array.has_blank() && contents(&array) == bytes, "{what}");
        let spare = rig.new_image(21);
        array.add(&spare, uuid(21)).unwrap();
        array.rebuild(&mut on).unwrap();
        assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
        assert!(contents(&array) == bytes, "{what}");
    }
}

/// What a story left at the change of the disk where it was cut, and what had been acknowledged then.
struct Cut {
    directory: SimDirectory,
    bytes: Vec<u8>,
    under_way: Range<usize>,
}

/// Writes here and there while zeros are made, and cuts that at one change of the disk: a death of the machine where the
/// number is odd, else of the process.
fn cut_at(make: Make, at: usize) -> Option<Cut> {
    let (rig, array) = made(make, None);
    let size = usize::try_from(array.size_bytes()).unwrap();
    let model = Arc::new(Mutex::new((vec![0; size], 0..0)));
    let taken: Arc<Mutex<Option<Cut>>> = Arc::default();
    let (place, disk, now, count) = (
        Arc::clone(&taken),
        rig.directory.clone(),
        Arc::clone(&model),
        AtomicUsize::new(0),
    );
    rig.directory.set_rule(move |operation| {
        let changes = matches!(operation.verb, Verb::Write | Verb::Sync);
        if changes && count.fetch_add(1, Ordering::Relaxed) == at {
            let left = if at % 2 == 1 {
                disk.crash(at as u64)
            } else {
                disk.killed()
            };
            let (bytes, under_way) = now.lock().unwrap().clone();
            *place.lock().unwrap() = Some(Cut {
                directory: left.unwrap(),
                bytes,
                under_way,
            });
        }
        no_holes(operation)
    });
    let mut chance = fastrand::Rng::with_seed(at as u64 / 64);
    for _ in 0..4 {
        array.resync(&mut after(2)).unwrap();
        let length = chance.usize(1..40_000);
        let start = chance.usize(0..size - length);
        let bytes: Vec<u8> = (0..length).map(|_| chance.u8(1..0xa0)).collect();
        model.lock().unwrap().1 = start..start + length;
        array.write_at(&bytes, start as u64, true).unwrap();
        let mut model = model.lock().unwrap();
        model.0[start..start + length].copy_from_slice(&bytes);
        model.1 = 0..0;
    }
    rig.directory.clear_rule();
    taken.lock().unwrap().take()
}

/// R16: a death at any moment of an initialisation that is in use costs no acknowledged byte and shows no old one; it goes on
/// afterwards and ends with redundancy that is right.
#[test]
fn death_at_any_moment_costs_nothing_and_shows_nothing() {
    for (number, make) in levels().into_iter().enumerate() {
        let mut at = number;
        while let Some(cut) = cut_at(make, at) {
            let what = format!("{} death at {at}", make.level);
            let rig = Rig {
                directory: cut.directory,
            };
            rig.directory.set_rule(no_holes);
            let array = rig.assemble(0..usize::from(make.members)).unwrap();
            let check = |what: &str| {
                let found = contents(&array);
                let differs = (0..found.len()).find(|n| found[*n] != cut.bytes[*n] && !cut.under_way.contains(n));
                assert_eq!(differs, None, "{what}");
                assert!(!found.contains(&0xa5), "{what}");
            };
            check(&what);
            array.resync(&mut on).unwrap();
            assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{what}");
            array.fail_member(Slot(0)).unwrap();
            check(&format!("{what}, one less"));
            at += 41;
        }
        assert!(at > 41, "{}: {at}", make.level);
    }
}

/// R16: where a sidecar cannot be written nothing is written to what is blank, and what was there stays right.
#[test]
fn sidecar_that_cannot_be_written_costs_an_error() {
    let (rig, array) = made(levels()[3], None);
    rig.directory.set_rule(|operation| {
        let sidecar = operation.path.extension().is_some_and(|end| end == "journal");
        (sidecar && operation.verb == Verb::Write)
            .then_some(libc::ENOSPC)
            .or_else(|| no_holes(operation))
    });
    assert!(matches!(
        array.write_at(&[1; 512], 0, false),
        Err(Error::NotWritten { .. })
    ));
    assert!(array.has_blank() && is_zero(&contents(&array)));
    rig.directory.set_rule(no_holes);
    array.write_at(&[1; 512], 0, false).unwrap();
    assert!(!is_zero(&contents(&array)));
}
