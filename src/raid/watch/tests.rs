//! Members that hang while the array is in use; nothing here knows how long anything takes.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use super::{Watch, starts};
use crate::{
    raid::{
        Array, Level, Slot,
        assemble::Assembly,
        discover::{Contents, discover, open},
        metadata::identity::Time,
        rig::{Make, Rig, contents, on, uuid},
    },
    storage::{Access, sim::Verb},
};

/// Holds operations on a file until it is opened, and tells how many have come.
#[derive(Default)]
struct Tap {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Tap {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        let _state = self.changed.wait_while(state, |(open, _)| !*open).unwrap();
    }

    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let _state = self.changed.wait_while(state, |(_, come)| *come < count).unwrap();
    }

    fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }
}

/// Lets operations of some kinds on an image hang. A read hangs in a thread for members only: memory does not hold it.
fn hang(rig: &Rig, image: &'static str, verbs: &'static [Verb]) -> Arc<Tap> {
    let tap = Arc::new(Tap::default());
    let held = Arc::clone(&tap);
    rig.directory.set_rule(move |operation| {
        let own = operation.path == Path::new(image) && verbs.contains(&operation.verb);
        match thread::current().name() {
            Some("member") if own => held.pass(),
            _ if own => return Some(libc::EAGAIN),
            _ => {}
        }
        None
    });
    tap
}

/// Looks so often that what hangs now is given up.
fn give_up(array: &Array) {
    for _ in 0..=Watch::LOOKS {
        array.look_at_members();
    }
}

/// Does something that hangs, and gives it up once `count` operations hang.
fn surviving<T: Send>(array: &Array, tap: &Tap, count: usize, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let working = scope.spawn(work);
        tap.wait_for(count);
        give_up(array);
        working.join().unwrap()
    })
}

fn missing(array: &Array) -> Vec<Slot> {
    let lacks = |member: &&crate::raid::array::MemberStatus| member.path.is_none();
    array
        .status()
        .members
        .iter()
        .filter(lacks)
        .map(|member| member.slot)
        .collect()
}

fn levels() -> [Make; 4] {
    [
        Make::new(Level::Raid1, 3, 64),
        Make::new(Level::Raid10, 4, 64),
        Make::new(Level::Raid5, 4, 64),
        Make::new(Level::Raid6, 5, 64),
    ]
}

/// R54: a member that does not answer a write is out before the write is answered, and what it still writes later is
/// never taken for the truth.
#[test]
fn write_that_hangs_costs_the_member_and_its_late_end_harms_nobody() {
    for make in levels() {
        for verbs in [&[Verb::Write][..], &[Verb::Sync]] {
            let (rig, array, mut bytes) = Rig::filled(make);
            array.look_at_members();
            let tap = hang(&rig, "m1", verbs);
            let new = vec![0x5a; bytes.len() - 8192];
            surviving(&array, &tap, 1, || array.write_at(&new, 4096, true)).unwrap();
            bytes[4096..4096 + new.len()].copy_from_slice(&new);
            assert_eq!(missing(&array), [Slot(1)], "{:?}", make.level);
            assert!(contents(&array) == bytes, "{:?}", make.level);
            // While it hangs nobody takes it in again.
            let refused = array.add(&rig.image(1), uuid(1)).unwrap_err();
            assert!(refused.to_string().contains("open it for writing"), "{refused}");
            array.write_at(&[0x77; 64 << 10], 0, true).unwrap();
            bytes[..64 << 10].fill(0x77);
            array.stop(Time::new(2000, 0)).unwrap();
            tap.open();
            drop(array);
            rig.directory.clear_rule();
            let again = rig.assemble(0..usize::from(make.members)).unwrap();
            assert_eq!(missing(&again), [Slot(1)], "{:?}", make.level);
            assert!(contents(&again) == bytes, "{:?}", make.level);
        }
    }
}

/// R29: a member that answers again comes back, and is right again where it missed writes.
#[test]
fn member_that_answers_again_returns() {
    let make = Make::new(Level::Raid5, 4, 64);
    let (rig, array, mut bytes) = Rig::filled(make);
    array.look_at_members();
    let tap = hang(&rig, "m2", &[Verb::Write]);
    surviving(&array, &tap, 1, || array.write_at(&[9; 512 << 10], 0, true)).unwrap();
    bytes[..512 << 10].fill(9);
    tap.open();
    rig.directory.clear_rule();
    // The file is free once the operation has ended, which is not long from now.
    let returned = loop {
        match array.add(&rig.image(2), uuid(2)) {
            Ok(returned) => break returned,
            Err(error) => assert!(error.to_string().contains("m2"), "{error}"),
        }
        thread::yield_now();
    };
    assert_eq!(returned, crate::raid::add::Added::Return(Slot(2)));
    array.rebuild(&mut on).unwrap();
    array.fail_member(Slot(0)).unwrap();
    assert!(contents(&array) == bytes);
}

/// R50: a read that hangs is answered from redundancy, and the member is out.
#[test]
fn read_that_hangs_is_answered_by_the_others() {
    for make in levels() {
        let (rig, array, bytes) = Rig::filled(make);
        array.look_at_members();
        let tap = hang(&rig, "m0", &[Verb::Read]);
        let read = surviving(&array, &tap, 1, || contents(&array));
        assert!(read == bytes, "{:?}", make.level);
        assert_eq!(missing(&array), [Slot(0)], "{:?}", make.level);
        tap.open();
    }
}

/// The requests that wait for a member that hangs hold up nobody who does without it, and all of them end.
#[test]
fn many_requests_end_where_a_member_hangs() {
    let make = Make::new(Level::Raid1, 2, 64);
    let (rig, array, _) = Rig::filled(make);
    array.look_at_members();
    let tap = hang(&rig, "m1", &[Verb::Write, Verb::Sync]);
    thread::scope(|scope| {
        let write = |at: u64| array.write_at(&[3; 4096], at * 65536, at < 2);
        let writers: Vec<_> = (0..4).map(|at| scope.spawn(move || write(at))).collect();
        // All of them wait for this member, and nothing else is under way that looks in quick succession could mistake.
        tap.wait_for(4);
        let mut byte = [0];
        array.read_at(&mut byte, array.size_bytes() - 1).unwrap();
        give_up(&array);
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    assert_eq!(missing(&array), [Slot(1)]);
    let mut written = [0; 4096];
    array.read_at(&mut written, 3 * 65536).unwrap();
    assert_eq!(written, [3; 4096]);
    tap.open();
}

/// A level without redundancy waits, however long it takes.
#[test]
fn bare_levels_wait() {
    let (rig, array, mut bytes) = Rig::filled(Make::new(Level::Raid0, 2, 64));
    give_up(&array);
    let tap = Arc::new(Tap::default());
    let held = Arc::clone(&tap);
    rig.directory.set_rule(move |operation| {
        if operation.verb == Verb::Write && operation.path == Path::new("m1") {
            held.pass();
        }
        None
    });
    thread::scope(|scope| {
        let writing = scope.spawn(|| array.write_at(&[1; 128 << 10], 0, false));
        tap.wait_for(1);
        give_up(&array);
        tap.open();
        writing.join().unwrap().unwrap();
    });
    bytes[..128 << 10].fill(1);
    assert!(contents(&array) == bytes);
}

/// What ends in time is never given up, however many looks there are in all.
#[test]
fn only_what_is_seen_again_and_again_is_given_up() {
    let rig = Rig::new();
    rig.new_image(0);
    let watch = Arc::new(Watch::default());
    watch.set_on(true);
    let watched = watch.over(Arc::new(rig.directory.clone()));
    let file = watched.open(Path::new("m0"), Access::ReadWrite).unwrap();
    for round in 0..3 {
        let tap = hang(&rig, "m0", &[Verb::Write]);
        thread::scope(|scope| {
            let writing = scope.spawn(|| file.write_all_at(&[round], 0));
            tap.wait_for(1);
            for _ in 0..Watch::LOOKS {
                assert!(watch.look().is_empty());
            }
            tap.open();
            writing.join().unwrap().unwrap();
        });
    }
    let tap = hang(&rig, "m0", &[Verb::Sync]);
    thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync());
        tap.wait_for(1);
        (0..Watch::LOOKS).for_each(|_| assert!(watch.look().is_empty()));
        assert_eq!(watch.look(), [rig.image(0).path()]);
        assert_eq!(
            syncing.join().unwrap().unwrap_err().raw_os_error(),
            Some(libc::ETIMEDOUT)
        );
    });
    assert!(watch.look().is_empty());
    assert_eq!(
        file.read_at(&mut [0], 0).unwrap_err().raw_os_error(),
        Some(libc::ETIMEDOUT)
    );
    let refused = watched.open(Path::new("m0"), Access::ReadWrite).err().unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    tap.open();
}

/// R54: an image that does not answer when an array is started is left out, and the array is degraded; where it hangs in
/// the middle of the assembly it is not waited for either.
#[test]
fn image_that_hangs_at_the_start_is_left_out() {
    starts::look();
    for verb in [Verb::Open, Verb::Size] {
        let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid5, 4, 64));
        array.stop(Time::new(2000, 0)).unwrap();
        drop(array);
        let verbs: &'static [Verb] = if verb == Verb::Open {
            &[Verb::Open]
        } else {
            &[Verb::Size]
        };
        let images: Vec<_> = (0..4).map(|n| rig.image(n)).collect();
        let starting = |work: &(dyn Fn() -> Option<Array> + Sync)| {
            let tap = hang(&rig, "m1", verbs);
            let done = thread::scope(|scope| {
                let working = scope.spawn(work);
                tap.wait_for(1);
                for _ in 0..=Watch::LOOKS {
                    starts::look();
                }
                working.join().unwrap()
            });
            tap.open();
            rig.directory.clear_rule();
            done
        };
        let array = starting(&|| {
            let found = discover(&images);
            assert!(matches!(found.images[1].contents, Contents::Unreadable(_)), "{verb:?}");
            Some(open(&found.arrays[0], Assembly::default()).unwrap())
        });
        let array = array.unwrap();
        assert_eq!(missing(&array), [Slot(1)], "{verb:?}");
        assert!(contents(&array) == bytes, "{verb:?}");
        drop(array);
        let refused = starting(&|| {
            assert!(rig.assemble(0..4).is_err(), "{verb:?}");
            None
        });
        assert!(refused.is_none());
        assert!(contents(&rig.assemble(0..4).unwrap()) == bytes, "{verb:?}");
    }
}
