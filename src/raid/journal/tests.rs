//! Write holes that a journal has to close, and journals that are not to be believed.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    raid::{
        Array, Error, Level,
        assemble::Assembly,
        metadata::identity::Time,
        rig::{Make, Rig, contents, on, pattern},
        scrub::Repair,
    },
    storage::{
        SimDirectory,
        sim::{Operation, Verb},
    },
};

/// A degraded array of parity, with everything flushed.
fn degraded(level: Level) -> (Rig, Array, Vec<u8>) {
    let (rig, array, bytes) = Rig::filled(Make::new(level, 5, 16));
    array.fail_member(Slot(1)).unwrap();
    (rig, array, bytes)
}

/// Writes the superblock of an image as somebody else would.
fn rewrite_superblock(rig: &Rig, n: usize, change: impl Fn(&mut crate::raid::metadata::superblock::Superblock)) {
    let mut superblock = rig.superblock(n);
    change(&mut superblock);
    let file = rig.open(n);
    file.write_all_at(&superblock.encode(), superblock.super_offset.0 * 512)
        .unwrap();
}

/// Linux ran the array after a crash of ours, changed data, and came to the same count of events, as it does when it counts
/// back: our journal is of another time, and is not written over its data.
#[test]
fn journal_of_another_time_is_not_replayed() {
    for events_on in [0, 1] {
        let (rig, array, mut bytes) = degraded(Level::Raid5);
        array.write_at(&[0x11; 16384], 0, true).unwrap();
        let taken = rig.directory.killed().unwrap();
        drop(array);
        let rig = Rig { directory: taken };
        // The other system: forced, it writes the same place again, and stops cleanly.
        let other = rig.assemble_as(0..5, Assembly::default()).unwrap();
        let stripe = other.geometry().stripe(0).unwrap();
        other.write_at(&[0x22; 16384], 0, true).unwrap();
        bytes[..16384].fill(0x22);
        let files: Vec<Vec<u8>> = (0..5).map(|n| rig.bytes(n)).collect();
        drop(other);
        let crashed = rig.directory.killed().unwrap();
        let rig = Rig { directory: crashed };
        assert_eq!(stripe.number, 0);
        // Its sidecars are those of our first life again: that system does not know them.
        let first = degraded(Level::Raid5);
        first.1.write_at(&[0x11; 16384], 0, true).unwrap();
        let (ours, ours_after) = (first.0.directory.killed().unwrap(), first.0.superblock(0));
        for (n, file) in files.iter().enumerate() {
            let name = format!("m{n}.journal");
            if let Ok(journal) = ours.read(Path::new(&name), u64::MAX) {
                rig.directory.replace(Path::new(&name), &journal).unwrap();
            }
            rig.open(n).write_all_at(file, 0).unwrap();
            if n != 1 {
                rewrite_superblock(&rig, n, |superblock| {
                    superblock.events = ours_after.events + events_on;
                    superblock.updated = Time::new(5000, 0);
                    superblock.resync_offset = crate::raid::metadata::superblock::MAX_SECTOR;
                });
            }
        }
        let array = rig.assemble(0..5).unwrap();
        assert!(contents(&array) == bytes, "events {events_on} later");
    }
}

/// A member that is needed refuses a write in place, in the middle of a stripe: the blocks of the missing member, which
/// only parity has, are never read wrong, and after a new assembly they are as they were.
#[test]
fn stripe_that_stays_half_written_changes_nothing_else() {
    for level in [Level::Raid5, Level::Raid6] {
        for refusing in [0, 2, 3, 4] {
            for at in [0_u64, 40_000, 131_072] {
                let (rig, array, bytes) = degraded(level);
                if level == Level::Raid6 {
                    array.fail_member(Slot(if refusing == 2 { 0 } else { 2 })).unwrap();
                }
                array.flush().unwrap();
                let (path, data) = (rig.image(refusing).name, rig.place(refusing, 0));
                let count = AtomicU64::new(0);
                rig.directory.set_rule(move |one: &Operation| {
                    let hit = one.verb == Verb::Write && one.path == path && one.offset_bytes >= data;
                    (hit && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0).then_some(libc::EIO)
                });
                let new = vec![0x77; 30_000];
                let written = array.write_at(&new, at, false);
                rig.directory.clear_rule();
                let what = format!("{level}, member {refusing}, at {at}");
                let inside = |n: usize| (at..at + 30_000).contains(&(n as u64));
                for page in (0..bytes.len()).step_by(4096) {
                    let mut found = vec![0; 4096.min(bytes.len() - page)];
                    if array.read_at(&mut found, page as u64).is_ok() {
                        let right = (page..page + found.len()).all(|n| inside(n) || found[n - page] == bytes[n]);
                        assert!(right, "{what}: page {page}");
                    }
                }
                if written.is_ok() {
                    // The member was not part of it.
                    continue;
                }
                let refused = array.write_at(&new, at, false);
                assert!(
                    matches!(refused, Err(Error::FlushLost { .. })),
                    "{what}: {refused:?} after {written:?}"
                );
                for image in [rig.directory.killed().unwrap(), rig.directory.crash(3).unwrap()] {
                    let rig = Rig { directory: image };
                    let array = rig.assemble(0..5).unwrap();
                    let found = contents(&array);
                    let right = (0..bytes.len()).all(|n| found[n] == bytes[n] || inside(n) && found[n] == 0x77);
                    assert!(right, "{what}: after an assembly");
                }
            }
        }
    }
}

/// Without the sidecar of one member nobody can say which writes are whole: refused, but for force.
#[test]
fn missing_sidecar_is_no_proof() {
    let (rig, array, bytes) = degraded(Level::Raid6);
    array.write_at(&pattern(16384), 0, true).unwrap();
    drop(array);
    rig.directory.remove(Path::new("m3.journal")).unwrap();
    assert!(matches!(rig.assemble(0..5), Err(Error::NotStartable { .. })));
    let forced = Assembly {
        force: true,
        ..Assembly::default()
    };
    let array = rig.assemble_as(0..5, forced).unwrap();
    assert!(contents(&array)[16384..] == bytes[16384..]);
}

/// R18, R19: what was written through is there after a power cut at any moment; what was written back is there once it was
/// flushed.
#[test]
fn acknowledged_writes_survive_a_power_cut_as_the_policy_says() {
    for level in [Level::Raid5, Level::Raid1, Level::Raid10, Level::Raid6] {
        for through in [true, false] {
            let (rig, array, mut bytes) = Rig::filled(Make::new(level, 4, 16));
            array.set_write_through(through).unwrap();
            assert_eq!(array.is_write_through(), through);
            let images: Arc<Mutex<Vec<SimDirectory>>> = Arc::default();
            let (disk, taken) = (rig.directory.clone(), Arc::clone(&images));
            // The machine dies just before each operation of the write that follows.
            array.write_at(&[0x33; 20_000], 30_000, false).unwrap();
            bytes[30_000..50_000].fill(0x33);
            if !through {
                array.flush().unwrap();
            }
            rig.directory.set_rule(move |one: &Operation| {
                if matches!(one.verb, Verb::Write | Verb::Sync) {
                    let seed = taken.lock().unwrap().len() as u64;
                    let image = disk.crash(seed).unwrap();
                    taken.lock().unwrap().push(image);
                }
                None
            });
            array.write_at(&[0x44; 9000], 70_000, false).unwrap();
            rig.directory.clear_rule();
            let images = std::mem::take(&mut *images.lock().unwrap());
            assert!(images.len() > 1);
            for (number, directory) in images.into_iter().enumerate() {
                let array = Rig { directory }.assemble(0..4).unwrap();
                let found = contents(&array);
                let right = |n: usize| found[n] == bytes[n] || (70_000..79_000).contains(&n) && found[n] == 0x44;
                assert!((0..bytes.len()).all(right), "{level} {through} moment {number}");
            }
            if through {
                let array = Rig {
                    directory: rig.directory.crash(99).unwrap(),
                }
                .assemble(0..4)
                .unwrap();
                bytes[70_000..79_000].fill(0x44);
                assert!(contents(&array) == bytes, "{level}: acknowledged, then lost");
                array.resync(&mut on).unwrap();
                assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean());
            }
        }
    }
}

/// R10: a member that fails in the middle of a write of more stripes than the journal has room for is expelled, and the
/// write goes on without it: its unfinished record is not waited for by the write that has to end first.
#[test]
fn a_member_that_fails_within_a_long_write_is_not_waited_for() {
    let (rig, array, _) = Rig::filled(Make::new(Level::Raid6, 6, 4));
    array.fail_member(Slot(0)).unwrap();
    let (data, writes) = (rig.place(1, 0), AtomicU64::new(0));
    rig.directory.set_rule(move |operation| {
        let of_data = operation.verb == Verb::Write && operation.offset_bytes >= data && operation.path.ends_with("m1");
        let fails = of_data && writes.fetch_add(1, Ordering::Relaxed) == 3;
        fails.then_some(libc::EIO)
    });
    let bytes: Vec<u8> = pattern(array.size_bytes()).into_iter().map(|byte| !byte).collect();
    assert!(array.geometry().stripes() > 2 * ENTRIES);
    array.write_at(&bytes, 0, true).unwrap();
    rig.directory.clear_rule();
    assert_eq!(array.roster().missing(), [Slot(0), Slot(1)]);
    assert!(contents(&array) == bytes);
}
