//! Objects read ahead of the writer: several threads load what comes next, and it is given out in the order of the tape.
//!
//! Small files cost system calls, not bytes, so that is what is spread. Few are under way at a time, which bounds memory
//! and descriptors. Whoever gives up drops this, and the threads end with the batch they have.

use std::{
    collections::VecDeque,
    path::PathBuf,
    thread::{self, Scope},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::io::Errno;

use super::load::{Loaded, load};
use crate::dump::{context::plan::Plan, tree::Tree};

/// Objects that a thread loads at a time: enough that handing them over costs little.
const BATCH: usize = 16;
/// Batches under way.
const BATCHES: usize = 8;
/// More threads than these wait for each other in the kernel.
const THREADS_MAX: usize = 4;

/// An object with its path; nothing is loaded of what is not read.
pub(super) struct Next {
    pub(super) path: PathBuf,
    pub(super) loaded: Option<Result<Loaded, Errno>>,
}

type Job = (usize, Sender<Vec<Next>>);

/// Objects on their way to the writer.
pub(super) struct Ahead {
    jobs: Sender<Job>,
    under_way: VecDeque<Receiver<Vec<Next>>>,
    /// What is loaded, the next one last.
    ready: Vec<Next>,
    /// Place of the first file that nobody was asked for.
    asked: usize,
    files: usize,
}

impl Ahead {
    /// Starts to load the files of a plan from a place on.
    pub(super) fn start<'s>(scope: &'s Scope<'s, '_>, tree: &'s Tree, plan: &'s Plan, from: usize) -> Self {
        let (jobs, taken) = unbounded::<Job>();
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
        for _ in 0..threads {
            let taken: Receiver<Job> = taken.clone();
            scope.spawn(move || {
                for (first, done) in taken {
                    // Who asked may have given up.
                    let _ = done.send(load_batch(tree, plan, first));
                }
            });
        }
        Self {
            jobs,
            under_way: VecDeque::new(),
            ready: Vec::new(),
            asked: from,
            files: plan.files.len(),
        }
    }

    /// The next object; none behind the last, or where a thread died.
    pub(super) fn next(&mut self) -> Option<Next> {
        while self.under_way.len() < BATCHES && self.asked < self.files {
            let (done, waited) = bounded(1);
            self.jobs.send((self.asked, done)).ok()?;
            self.under_way.push_back(waited);
            self.asked += BATCH;
        }
        if self.ready.is_empty() {
            self.ready = self.under_way.pop_front()?.recv().ok()?;
            self.ready.reverse();
        }
        self.ready.pop()
    }
}

fn load_batch(tree: &Tree, plan: &Plan, first: usize) -> Vec<Next> {
    let places = plan.files.iter().skip(first).take(BATCH);
    let next = |at: &usize| {
        let object = &plan.walk.objects[*at];
        let path = plan.walk.path_of_object(object);
        let loaded = (!object.status.mount_root).then(|| load(tree, &path, &object.status));
        Next { path, loaded }
    };
    places.map(next).collect()
}
