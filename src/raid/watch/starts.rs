//! Arrays that are about to be: their images are looked into and opened before there is an array whose members anybody
//! looks at.
//!
//! Whoever has a clock calls [`look`] again and again, for all that is being started in this process; before the first call
//! nothing is watched here. What hangs is given up as in an array: the image cannot be read, and the others go on.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::Watch;

static LOOKED_AT: AtomicBool = AtomicBool::new(false);
static UNDER_WAY: Mutex<Vec<Weak<Watch>>> = Mutex::new(Vec::new());

fn under_way() -> MutexGuard<'static, Vec<Weak<Watch>>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks once at all that is being started; the files that were given up.
pub fn look() -> Vec<PathBuf> {
    LOOKED_AT.store(true, Ordering::Release);
    let watches: Vec<Arc<Watch>> = under_way().iter().filter_map(Weak::upgrade).collect();
    watches.iter().flat_map(|watch| watch.look()).collect()
}

/// A watch that is on until this is dropped, if anybody looks; from then on it is the array's.
pub(in crate::raid) struct Starting(Arc<Watch>);

impl Starting {
    pub(in crate::raid) fn new() -> Self {
        let watch = Arc::new(Watch::default());
        watch.set_on(LOOKED_AT.load(Ordering::Acquire));
        let mut under_way = under_way();
        under_way.retain(|watch| watch.strong_count() > 0);
        under_way.push(Arc::downgrade(&watch));
        drop(under_way);
        Self(watch)
    }

    pub(in crate::raid) fn watch(&self) -> &Arc<Watch> {
        &self.0
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.set_on(false);
        under_way().retain(|watch| !std::ptr::eq(watch.as_ptr(), Arc::as_ptr(&self.0)));
    }
}
