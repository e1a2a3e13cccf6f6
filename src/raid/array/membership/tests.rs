//! Full disks under sparse images: no member is given up for want of room, and no byte outside the write changes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam_channel::bounded;

use crate::{
    raid::{
        Array, Error, Level, Slot,
        metadata::identity::Time,
        rig::{Make, Rig, contents, on},
        scrub::Repair,
    },
    storage::{Directory, SimDirectory, sim::Verb},
};

fn is_full(result: Result<(), Error>) -> bool {
    let Err(Error::NotWritten { source, .. }) = result else {
        return false;
    };
    source.raw_os_error() == Some(libc::ENOSPC)
}

/// Space that all files take.
fn used_bytes(rig: &Rig) -> u64 {
    let capacity = rig.directory.capacity().unwrap();
    (capacity.blocks - capacity.blocks_free) * capacity.fragment_bytes
}

fn all_there(array: &Array) -> bool {
    let status = array.status();
    !status.degraded && status.members.iter().all(|member| member.path.is_some())
}

/// Writes to holes until one fails, then makes room again.
#[test]
fn full_disk_fails_the_write_and_no_member() {
    for (level, members) in [
        (Level::Raid0, 3),
        (Level::Linear, 2),
        (Level::Raid1, 2),
        (Level::Raid10, 4),
        (Level::Raid5, 3),
        (Level::Raid6, 4),
    ] {
        let (rig, array) = Rig::make(Make::new(level, members, 64));
        let size = usize::try_from(array.size_bytes()).unwrap();
        array.write_at(&[1; 4096], 0, true).unwrap();
        let mut known = contents(&array);
        let capacity = used_bytes(&rig);
        rig.directory.set_space_bytes(Some(capacity + 3 * 4096));
        let mut refused = None;
        for at in (4096..size - 4096).step_by(4096) {
            match array.write_at(&[2; 4096], at as u64, false) {
                Ok(()) => known[at..at + 4096].fill(2),
                error => {
                    assert!(is_full(error), "{level}");
                    refused = Some(at);
                    break;
                }
            }
        }
        let refused = refused.expect("the disk is full");
        if !level.is_bare() {
            assert!(all_there(&array), "{level}: {:?}", array.status());
            assert!(array.status().needs_resync, "{level}");
        }
        // What was acknowledged stays, and so does what was never written.
        let now = contents(&array);
        assert!(
            now[..refused] == known[..refused] && now[refused + 4096..] == known[refused + 4096..],
            "{level}"
        );
        rig.directory.set_space_bytes(None);
        array.write_at(&[3; 4096], refused as u64, true).unwrap();
        array.resync(&mut on).unwrap();
        known[refused..refused + 4096].fill(3);
        assert!(contents(&array) == known, "{level}");
        if !level.is_bare() {
            assert!(array.verify(Repair::Report, &mut on).unwrap().is_clean(), "{level}");
            array.fail_member(Slot(1)).unwrap();
            assert!(contents(&array) == known, "{level}: redundancy is right");
        }
    }
}

/// With a member lost a write that has no room changes nothing at all: a stripe of which only a part is written would give
/// wrong bytes for what the lost member had.
#[test]
fn full_disk_tears_no_stripe_of_a_degraded_array() {
    for (level, members, lost) in [(Level::Raid5, 3, 1), (Level::Raid6, 5, 2)] {
        for slot in 0..members {
            let (rig, array) = Rig::make(Make::new(level, members, 64));
            for other in 0..lost {
                array.fail_member(Slot((slot + other) % members)).unwrap();
            }
            let chunk = 64 << 10;
            array.write_at(&vec![7; 4096], 0, true).unwrap();
            let known = contents(&array);
            for blocks in 0..8 {
                let used = used_bytes(&rig);
                rig.directory.set_space_bytes(Some(used + blocks * 4096));
                let at = chunk + 8192;
                let done = array.write_at(&[9; 8192], at, false).is_ok();
                let now = contents(&array);
                let range = usize::try_from(at).unwrap()..usize::try_from(at).unwrap() + 8192;
                assert!(now[..range.start] == known[..range.start], "{level} {slot} {blocks}");
                assert!(now[range.end..] == known[range.end..], "{level} {slot} {blocks}");
                let unchanged = now[range.clone()] == known[range.clone()];
                assert!(
                    if done { now[range] == [9; 8192] } else { unchanged },
                    "{level} {slot} {blocks}"
                );
                if done {
                    break;
                }
            }
            rig.directory.set_space_bytes(None);
            array.write_at(&[9; 8192], chunk + 8192, true).unwrap();
        }
    }
}

/// Out of file descriptors: images cannot be opened, which is said and leaves the array as it was.
#[test]
fn members_that_cannot_be_opened_are_named() {
    let (rig, array) = Rig::make(Make::new(Level::Raid5, 3, 64));
    array.write_at(&[7; 4096], 0, true).unwrap();
    array.stop(crate::raid::metadata::identity::Time::new(2000, 0)).unwrap();
    drop(array);
    for allowed in 0..6 {
        let left = std::sync::atomic::AtomicUsize::new(allowed);
        rig.directory.set_rule(move |operation| {
            let ordering = std::sync::atomic::Ordering::SeqCst;
            let over = operation.verb == Verb::Open
                && left
                    .fetch_update(ordering, ordering, |left| left.checked_sub(1))
                    .is_err();
            over.then_some(libc::EMFILE)
        });
        let refused = rig.assemble(0..3).unwrap_err();
        let Error::Member { path, source, .. } = &refused else {
            panic!("{refused}")
        };
        assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{}", path.display());
        rig.directory.clear_rule();
    }
    assert_eq!(contents(&rig.assemble(0..3).unwrap())[..4096], [7; 4096]);
}

/// Members on a file system that takes no writes are refused for writing, named, and served read-only.
#[test]
fn members_on_a_read_only_file_system_are_served_read_only() {
    let (rig, array) = Rig::make(Make::new(Level::Raid1, 2, 64));
    array.write_at(&[7; 4096], 0, true).unwrap();
    array.stop(crate::raid::metadata::identity::Time::new(2000, 0)).unwrap();
    drop(array);
    let before = [rig.bytes(0), rig.bytes(1)];
    let changing = [Verb::Write, Verb::SetSize, Verb::Punch, Verb::Create, Verb::Reserve];
    rig.directory
        .set_rule(move |operation| changing.contains(&operation.verb).then_some(libc::EROFS));
    let how = crate::raid::assemble::Assembly {
        read_only: true,
        ..Default::default()
    };
    let array = rig.assemble_as(0..2, how).unwrap();
    assert_eq!(contents(&array)[..4096], [7; 4096]);
    assert!(matches!(
        array.write_at(&[8; 512], 0, false),
        Err(Error::ReadOnly { .. })
    ));
    drop(array);
    // A host that opens for writing all the same refuses the first write: it is not acknowledged.
    let array = rig.assemble(0..2).unwrap();
    assert!(array.write_at(&[8; 512], 0, false).is_err());
    drop(array);
    rig.directory.clear_rule();
    assert!(before == [rig.bytes(0), rig.bytes(1)]);
}

/// R10: a write that is under way while the array hears the time twice, and ends behind the flush of the second time, is
/// durable before any superblock says that the array is clean: whatever a power loss then leaves, parity goes with it.
#[test]
fn an_array_is_not_clean_before_a_write_that_outlasted_its_ticks_is_durable() {
    const MEMBERS: usize = 3;
    let make = Make {
        bitmap: false,
        ..Make::new(Level::Raid5, 3, 4)
    };
    let (rig, array, _) = Rig::filled(make);
    assert!(!array.tick(Time::new(2000, 0)).unwrap());
    let (data, disk) = (rig.place(0, 0), rig.directory.clone());
    let (come, comes) = bounded::<()>(0);
    let (go, goes) = bounded::<()>(0);
    let (end, ends) = bounded::<()>(0);
    let (held, syncs) = (AtomicBool::new(false), AtomicUsize::new(0));
    let last_tick = Arc::new(AtomicBool::new(false));
    let left: Arc<Mutex<Vec<SimDirectory>>> = Arc::default();
    let (counts, taken) = (Arc::clone(&last_tick), Arc::clone(&left));
    rig.directory.set_rule(move |operation| {
        let is_data = operation.verb == Verb::Write && operation.offset_bytes >= data;
        if is_data && !held.swap(true, Ordering::Relaxed) {
            come.send(()).unwrap();
            goes.recv().unwrap();
        }
        if operation.verb == Verb::Sync && counts.load(Ordering::Relaxed) {
            let done = syncs.fetch_add(1, Ordering::Relaxed) + 1;
            if done == MEMBERS {
                // The last sync of the flush lets the write end.
                go.send(()).unwrap();
                ends.recv().unwrap();
            } else if done > MEMBERS {
                taken
                    .lock()
                    .unwrap()
                    .extend((0..8).map(|seed| disk.crash(seed).unwrap()));
            }
        }
        None
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            array.write_at(&[0x5a; 8192], 0, false).unwrap();
            end.send(()).unwrap();
        });
        comes.recv().unwrap();
        assert!(!array.tick(Time::new(2001, 0)).unwrap());
        last_tick.store(true, Ordering::Relaxed);
        assert!(array.tick(Time::new(2002, 0)).unwrap());
    });
    rig.directory.clear_rule();
    let mut clean = 0;
    for directory in std::mem::take(&mut *left.lock().unwrap()) {
        let array = Rig { directory }.assemble(0..MEMBERS).unwrap();
        if !array.status().needs_resync {
            clean += 1;
            assert_eq!(array.verify(Repair::Report, &mut on).unwrap().mismatched_bytes, 0);
        }
    }
    assert!(clean > 0);
}
