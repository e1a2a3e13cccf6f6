//! Several threads for work that is made of many independent steps: what is read, computed and written by one step waits
//! for none of the others.
//!
//! The threads live as long as the work, which is milliseconds; the caller is one of them, so that it gets done where none
//! can be had. What the steps of rebuild and resync share, the lanes above all, the caller holds meanwhile.

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Threads for one piece of work: steps wait for devices too, so a few even where processors are few.
pub(in crate::raid) fn hands() -> usize {
    static HANDS: OnceLock<usize> = OnceLock::new();
    *HANDS.get_or_init(|| thread::available_parallelism().map_or(4, NonZero::get).clamp(4, 16))
}

/// Does a step with each of the items, in no order, and stops soon after one that fails.
///
/// # Errors
/// That of a step that failed.
pub(in crate::raid) fn each<T: Sync, E: Send>(items: &[T], step: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            step(item).inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    let others = hands().min(items.len()).saturating_sub(1);
    thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let threads: Vec<_> = (0..others).filter_map(spawn).collect();
        threads.into_iter().fold(work(), |so_far, thread| {
            let ended = thread.join().unwrap_or_else(|cause| resume_unwind(cause));
            so_far.and(ended)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_item_has_its_step_once() {
        for count in [0, 1, 3, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let seen = Mutex::new(Vec::new());
            let ended: Result<(), ()> = each(&items, |item| {
                seen.lock().unwrap().push(*item);
                Ok(())
            });
            assert_eq!(ended, Ok(()));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, items);
        }
    }

    #[test]
    fn a_step_that_fails_ends_the_work() {
        let items: Vec<usize> = (0..1000).collect();
        let done = AtomicUsize::new(0);
        let ended = each(&items, |item| {
            done.fetch_add(1, Ordering::Relaxed);
            if *item == 5 { Err(*item) } else { Ok(()) }
        });
        assert_eq!(ended, Err(5));
        assert!(done.into_inner() <= items.len());
        assert_eq!(each(&[7], |item| Err(*item)), Err(7));
    }
}
