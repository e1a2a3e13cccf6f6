//! Flushes of one device that are asked for at once: one is under way at a time, and all who come meanwhile share the next.
//!
//! The host tells of what it could not write only once, to whoever flushes first. So a flush that failed is remembered: no
//! later one may say that all is durable, nor one beside it that heard of nothing.

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::raid::error::again;

/// Flushes of a device.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    failed: Option<io::Error>,
}

impl Flushes {
    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a flush has ended that began after this was called.
    ///
    /// # Errors
    /// What the first flush that failed met.
    pub(super) fn flush(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut rounds = self.rounds();
        let wanted = rounds.begun + 1;
        while rounds.ended < wanted && rounds.begun > rounds.ended {
            rounds = self.ended.wait(rounds).unwrap_or_else(PoisonError::into_inner);
        }
        if rounds.ended < wanted {
            rounds.begun += 1;
            drop(rounds);
            let synced = sync();
            rounds = self.rounds();
            rounds.ended += 1;
            if let Err(error) = synced {
                rounds.failed.get_or_insert(error);
            }
            self.ended.notify_all();
        }
        rounds.failed.as_ref().map_or(Ok(()), |error| Err(again(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    /// R10: of many flushes at once each is answered by one that began after it was asked for.
    #[test]
    fn flushes_that_come_together_are_answered_by_a_later_one() {
        let (flushes, syncs) = (Flushes::default(), AtomicUsize::new(0));
        let (began, begins) = crossbeam_channel::bounded(0);
        let (go, goes) = crossbeam_channel::bounded::<()>(0);
        thread::scope(|scope| {
            let (flushes, syncs) = (&flushes, &syncs);
            scope.spawn(move || {
                let held = || {
                    syncs.fetch_add(1, Ordering::Relaxed);
                    began.send(()).unwrap();
                    goes.recv().unwrap();
                    Ok(())
                };
                flushes.flush(held).unwrap();
            });
            begins.recv().unwrap();
            let asked = AtomicUsize::new(0);
            thread::scope(|inner| {
                for _ in 0..8 {
                    inner.spawn(|| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let count = || {
                            syncs.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        };
                        flushes.flush(count).unwrap();
                        assert!(
                            syncs.load(Ordering::Relaxed) >= 2,
                            "answered by a flush that began before"
                        );
                    });
                }
                while asked.load(Ordering::Relaxed) < 8 {
                    thread::yield_now();
                }
                go.send(()).unwrap();
            });
        });
    }

    /// R10: what one flush could not write no other calls durable, neither one that came beside it nor a later one.
    #[test]
    fn a_flush_that_failed_is_told_to_all() {
        let flushes = Flushes::default();
        flushes.flush(|| Ok(())).unwrap();
        let failed = flushes.flush(|| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EIO));
        let after = flushes.flush(|| Ok(()));
        assert_eq!(after.unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
