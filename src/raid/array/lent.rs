//! Bytes that a request lends to other threads, without a copy, for as long as it is under way itself.
//!
//! Whoever wants them looks while the request still waits for its answer, and keeps the request waiting as long as it
//! looks: [`lend`] returns only when everybody has let go, and nobody gets hold of the bytes after that. Who may write
//! what with them is the business of [`super::merge`].

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Bytes that were lent; nothing once they were taken back.
#[derive(Debug)]
pub(in crate::raid) struct Lent(RwLock<Option<&'static [u8]>>);

/// Lent bytes, which are not taken back before this is dropped.
pub(in crate::raid) struct Borrowed<'a>(RwLockReadGuard<'a, Option<&'static [u8]>>);

impl Lent {
    /// The bytes; nothing where they were taken back or are just being so.
    pub(in crate::raid) fn borrow(&self) -> Option<Borrowed<'_>> {
        self.0.try_read().ok().filter(|bytes| bytes.is_some()).map(Borrowed)
    }

    fn take_back(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Borrowed<'_> {
    /// The bytes, for as long as they are borrowed and no longer.
    pub(in crate::raid) fn bytes(&self) -> &[u8] {
        self.0.unwrap_or_default()
    }
}

/// Takes bytes back, also where the work with them panics.
struct TakeBack(Arc<Lent>);

impl Drop for TakeBack {
    fn drop(&mut self) {
        self.0.take_back();
    }
}

/// Lends bytes to others while `work` runs; it hands the lent bytes to whom it likes.
pub(in crate::raid) fn lend<T>(bytes: &[u8], work: impl FnOnce(&Arc<Lent>) -> T) -> T {
    // SAFETY: the reference lives in the lock alone, and `TakeBack` takes it out, under the lock's write half, before this
    // function returns or unwinds, while `bytes` is still borrowed from the caller. `Borrowed` holds the read half and
    // gives out what it guards no longer than it lives itself, so nobody has the bytes when the write half is had.
    let bytes = unsafe { std::mem::transmute::<&[u8], &'static [u8]>(bytes) };
    let lent = TakeBack(Arc::new(Lent(RwLock::new(Some(bytes)))));
    work(&lent.0)
}

#[cfg(test)]
mod tests {
    use std::{panic::catch_unwind, sync::Mutex, thread};

    use super::*;

    #[test]
    fn lent_bytes_are_there_until_the_work_ends() {
        let bytes = vec![7; 100];
        let kept = lend(&bytes, |lent| {
            assert_eq!(lent.borrow().unwrap().bytes(), [7; 100]);
            Arc::clone(lent)
        });
        assert!(kept.borrow().is_none());
        let kept = Mutex::new(None);
        let ended = catch_unwind(|| {
            lend(&bytes, |lent| {
                *kept.lock().unwrap() = Some(Arc::clone(lent));
                panic!("the work failed");
            })
        });
        assert!(ended.is_err());
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap();
        assert!(kept.borrow().is_none());
    }

    #[test]
    fn the_work_does_not_end_while_somebody_looks() {
        let (told, hear) = crossbeam_channel::bounded::<Arc<Lent>>(0);
        let (looks, looked) = crossbeam_channel::bounded(0);
        thread::scope(|scope| {
            let lender = scope.spawn(move || {
                let bytes = vec![9; 1000];
                lend(&bytes, |lent| {
                    told.send(Arc::clone(lent)).unwrap();
                    looked.recv().unwrap();
                });
            });
            let lent = hear.recv().unwrap();
            let borrowed = lent.borrow().unwrap();
            looks.send(()).unwrap();
            // The lender wants the bytes back as soon as it gets to it, from when on nobody else gets them.
            while lent.borrow().is_some() {
                thread::yield_now();
            }
            assert!(!lender.is_finished());
            assert_eq!(borrowed.bytes(), [9; 1000]);
            drop(borrowed);
            lender.join().unwrap();
        });
    }
}
