//! Closed chunk files that the kernel reads by itself, without asking us.
//!
//! One backing file a node, kept while any file of the node is open; all its opens are of the same sort, for the kernel
//! refuses to mix reads of its own with pages that we filled.

use std::{
    collections::HashMap,
    os::fd::BorrowedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fuser::{BackingId, ReplyOpen};

#[derive(Debug, Default)]
struct OpenNode {
    opens: usize,
    backing: Option<Arc<BackingId>>,
}

#[derive(Debug, Default)]
struct Open {
    nodes: HashMap<u64, OpenNode>,
    /// Node of each counted open file.
    handles: HashMap<u64, u64>,
}

/// Backing files of all open nodes.
#[derive(Debug, Default)]
pub struct Passthrough {
    offered: AtomicBool,
    open: Mutex<Open>,
}

impl Passthrough {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the kernel takes backing files.
    pub fn offer(&self) {
        self.offered.store(true, Ordering::Relaxed);
    }

    /// True where the kernel takes backing files.
    pub fn is_offered(&self) -> bool {
        self.offered.load(Ordering::Relaxed)
    }

    /// Counts an open file of `node` and returns the node's backing file; none where its pages have to come from us.
    pub fn open(
        &self,
        node: u64,
        handle: u64,
        file: Option<BorrowedFd<'_>>,
        reply: &ReplyOpen,
    ) -> Option<Arc<BackingId>> {
        let mut open = self.lock();
        open.handles.insert(handle, node);
        let known = open.nodes.entry(node).or_default();
        if known.opens == 0 && self.is_offered() {
            match file.map(|file| reply.open_backing(file)) {
                Some(Ok(backing)) => known.backing = Some(Arc::new(backing)),
                Some(Err(error)) => {
                    log::info!("the kernel does not read closed chunks by itself: {error}");
                    self.offered.store(false, Ordering::Relaxed);
                }
                None => {}
            }
        }
        known.opens += 1;
        known.backing.clone()
    }

    /// Takes back an open file; those that were never counted are let pass.
    pub fn release(&self, handle: u64) {
        let mut open = self.lock();
        let Some(node) = open.handles.remove(&handle) else {
            return;
        };
        if let Some(known) = open.nodes.get_mut(&node) {
            known.opens -= 1;
            if known.opens == 0 {
                open.nodes.remove(&node);
            }
        }
    }
}
