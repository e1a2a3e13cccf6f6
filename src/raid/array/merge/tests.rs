//! Writes under way at once on simulated storage: which of them are merged, which wait, and what a failure does to them.

use std::{sync::atomic::AtomicU64, thread};

use super::*;
use crate::{
    raid::{
        Level, Slot,
        rig::{Make, Rig, contents, on, pattern},
        scrub::Repair,
    },
    storage::sim::Verb,
};

const CHUNK: u64 = 64 << 10;
/// How often a test of streams goes over an array.
const LAPS: u64 = 3;

/// Yields until something is so.
fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let mut looks = 0_u64;
    while !is_so() {
        looks += 1;
        assert!(looks < 1 << 32, "{what} never came");
        thread::yield_now();
    }
}

fn stripe_at(array: &Array, offset_bytes: u64) -> Stripe {
    array.geometry().stripe_of(offset_bytes).unwrap().stripe
}

fn assert_in_sync(array: &Array) {
    array.flush().unwrap();
    assert_eq!(array.verify(Repair::Report, &mut on).unwrap().mismatched_bytes, 0);
}

/// A chunk of bytes of their own.
fn chunk_of(value: u8) -> Vec<u8> {
    vec![value; usize::try_from(CHUNK).unwrap()]
}

/// Three requests that are a stripe together are one write of it: nothing is read, and each member is written once.
#[test]
fn parts_of_a_stripe_are_written_as_one() {
    for (level, members, writes) in [(Level::Raid5, 4, 4), (Level::Raid6, 5, 5)] {
        let (rig, array, mut bytes) = Rig::filled(Make::new(level, members, CHUNK >> 10));
        let stripe = stripe_at(&array, 0);
        let held = array.hold_stripe(&stripe, 0, CHUNK);
        thread::scope(|scope| {
            let array = &array;
            let writers: Vec<_> = [1, 2, 3]
                .map(|value: u8| {
                    let at = u64::from(value - 1) * CHUNK;
                    scope.spawn(move || array.write_at(&chunk_of(value), at, false))
                })
                .into();
            await_that("all three", || array.offers.board().offers.len() == 3);
            drop(rig.directory.take_operations());
            drop(held);
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        let data = rig.place(0, 0);
        let done = rig.directory.take_operations();
        let count = |verb: Verb| {
            done.iter()
                .filter(|one| one.verb == verb && one.offset_bytes >= data)
                .count()
        };
        assert_eq!((count(Verb::Read), count(Verb::Write)), (0, writes), "{level}");
        for value in [1, 2, 3] {
            let at = usize::try_from((u64::from(value) - 1) * CHUNK).unwrap();
            bytes[at..][..chunk_of(value).len()].fill(value);
        }
        assert!(contents(&array) == bytes, "{level}");
        assert_in_sync(&array);
    }
}

/// A request of a stream lets the one before it end, and is done by the one that brings the rest of its stripe; where that
/// does not come it is written when the one before it has ended.
#[test]
fn a_request_of_a_stream_awaits_the_rest_of_its_stripe() {
    for rest_comes in [true, false] {
        let (_rig, array, mut bytes) = Rig::filled(Make::new(Level::Raid5, 3, CHUNK >> 10));
        let stripe = stripe_at(&array, 0);
        let held = array.hold_stripe(&stripe, 0, CHUNK);
        thread::scope(|scope| {
            let array = &array;
            let before = scope.spawn(move || array.write_at(&[chunk_of(1), chunk_of(2)].concat(), 0, false));
            await_that("the first", || array.offers.board().offers.len() == 1);
            let waiting = scope.spawn(move || array.write_at(&chunk_of(3), 2 * CHUNK, false));
            await_that("the second", || array.offers.board().waiting == 1);
            if rest_comes {
                array.write_at(&chunk_of(4), 3 * CHUNK, false).unwrap();
                // The first is still held up.
                waiting.join().unwrap().unwrap();
                drop(held);
            } else {
                drop(held);
                waiting.join().unwrap().unwrap();
            }
            before.join().unwrap().unwrap();
        });
        let written = [chunk_of(1), chunk_of(2), chunk_of(3), chunk_of(4)].concat();
        let length = written.len() - if rest_comes { 0 } else { chunk_of(4).len() };
        bytes[..length].copy_from_slice(&written[..length]);
        assert!(contents(&array) == bytes);
        assert_in_sync(&array);
    }
}

/// R10: where a member fails a merged write, the request of which it lacks bytes is answered only once it is out, whoever
/// wrote them, and all that was written is there without it.
#[test]
fn a_failed_merged_write_is_each_ones_own() {
    let (rig, array, mut bytes) = Rig::filled(Make::new(Level::Raid5, 3, CHUNK >> 10));
    let data = rig.place(1, 0);
    rig.directory.set_rule(move |operation| {
        let fails = operation.verb == Verb::Write && operation.offset_bytes >= data && operation.path.ends_with("m1");
        fails.then_some(libc::EIO)
    });
    let held = array.hold_stripe(&stripe_at(&array, 0), 0, CHUNK);
    thread::scope(|scope| {
        let array = &array;
        let writers = [1, 2].map(|value: u8| {
            scope.spawn(move || {
                let written = array.write_at(&chunk_of(value), u64::from(value - 1) * CHUNK, false);
                (written, array.roster().seat(Slot(1)).is_some())
            })
        });
        await_that("both", || array.offers.board().offers.len() == 2);
        drop(held);
        let [first, second] = writers.map(|writer| writer.join().unwrap());
        first.0.unwrap();
        second.0.unwrap();
        assert!(!second.1, "answered before the member was expelled");
    });
    rig.directory.clear_rule();
    bytes[..2 * chunk_of(1).len()].copy_from_slice(&[chunk_of(1), chunk_of(2)].concat());
    assert!(contents(&array) == bytes);
}

/// Streams of requests of all sizes by four threads, some with a member that fails on the way and with the journal after
/// that, or with one that is missing before and the journal from the start: what was written last is read, and parity goes
/// with it.
#[test]
fn streams_of_several_threads_are_whole() {
    for (level, members, chunk_kib, request, fails, lacks) in [
        (Level::Raid5, 4, 64, 128 << 10, false, false),
        (Level::Raid5, 4, 64, 100 << 10, false, false),
        (Level::Raid5, 3, 8, 20 << 10, false, false),
        (Level::Raid4, 4, 16, 16 << 10, true, false),
        (Level::Raid6, 5, 64, 64 << 10, false, false),
        (Level::Raid6, 6, 16, 48 << 10, true, false),
        (Level::Raid6, 6, 4, 200 << 10, true, true),
    ] {
        let what = format!("{level} x {members}, chunks of {chunk_kib} KiB, requests of {request}");
        let (rig, array, mut bytes) = Rig::filled(Make::new(level, members, chunk_kib));
        let steps = array.size_bytes() / request;
        if lacks {
            array.fail_member(Slot(0)).unwrap();
        }
        if fails {
            let (data, writes) = (rig.place(1, 0), AtomicU64::new(0));
            rig.directory.set_rule(move |operation| {
                let of_data =
                    operation.verb == Verb::Write && operation.offset_bytes >= data && operation.path.ends_with("m1");
                let gone = of_data && writes.fetch_add(1, Ordering::Relaxed) >= steps / 8;
                gone.then_some(libc::EIO)
            });
        }
        let written = |step: u64| pattern(request + step).split_off(usize::try_from(step).unwrap());
        // A lap ends before the next begins: of two writes to one place that are under way at once either may be the last.
        for lap in 0..LAPS {
            let next = AtomicU64::new(lap * steps);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        loop {
                            let step = next.fetch_add(1, Ordering::Relaxed);
                            if step >= (lap + 1) * steps {
                                break;
                            }
                            let fua = step.is_multiple_of(7);
                            array.write_at(&written(step), step % steps * request, fua).unwrap();
                        }
                    });
                }
            });
        }
        rig.directory.clear_rule();
        for step in (LAPS - 1) * steps..LAPS * steps {
            let at = usize::try_from(step % steps * request).unwrap();
            let part = written(step);
            bytes[at..][..part.len()].copy_from_slice(&part);
        }
        let missing = [(0, lacks), (1, fails)].map(|(slot, is)| is.then_some(Slot(slot)));
        let missing: Vec<Slot> = missing.into_iter().flatten().collect();
        assert_eq!(array.roster().missing(), missing, "{what}");
        assert!(contents(&array) == bytes, "{what}");
        if missing.is_empty() {
            assert_in_sync(&array);
        }
    }
}
