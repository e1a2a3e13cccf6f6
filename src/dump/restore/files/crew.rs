//! Small files made by several threads at once: most of their time is the host's, which makes more than one at a time.
//!
//! The tape is read by one thread, which gives away small files with all that belongs to them, some at a time, and makes them
//! itself where all others have enough to do: nobody waits while there is work. Whatever goes wrong comes back in the order of
//! the tape, so that a restore says the same however many threads there were.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread::Scope,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use rustix::io::Errno;

use super::is_full;
use crate::dump::{
    attributes::Attribute,
    record::Node,
    restore::{Destination, target::write_at},
};

/// Longest file that is given away, in bytes; longer ones are written as they come.
pub(super) const SMALL_BYTES: u64 = 64 * 1024;
/// Files that are given away at a time: a thread that is woken for one costs as much as the file.
const BATCH: usize = 16;
/// Batches that wait for a thread, at most.
const WAITING: usize = 8;
/// Threads that make files, at most.
const THREADS_MAX: usize = 4;

/// A file to be made.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) node: Node,
    pub(super) attributes: Vec<Attribute>,
}

/// What went wrong with a file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// It was not made.
    NotMade(String),
    /// It did not get all that belongs to it.
    NotDressed(Vec<String>),
}

type Report = (u64, PathBuf, Failure);
type Batch = Vec<(u64, Job)>;

/// Threads that make files.
pub(super) struct Crew<'a> {
    /// What is gathered to be given away.
    batch: Batch,
    jobs: Sender<Batch>,
    waiting: Receiver<Batch>,
    reports: Receiver<Report>,
    maker: Maker<'a>,
    taken: u64,
}

/// What makes files.
#[derive(Clone)]
struct Maker<'a> {
    destination: &'a Destination,
    exact: bool,
    full: &'a AtomicBool,
    report: Sender<Report>,
}

impl Maker<'_> {
    fn make_all(&self, batch: Batch) {
        for (at, job) in batch {
            if let Err(failure) = make(self.destination, &job, self.exact, self.full) {
                // Whoever does not listen any more has failed for another reason.
                let _ = self.report.send((at, job.path, failure));
            }
        }
    }
}

impl<'a> Crew<'a> {
    /// Hires as many as there are processors besides; none where one thread has to do all.
    pub(super) fn hire<'scope>(
        scope: &'scope Scope<'scope, '_>,
        destination: &'a Destination,
        exact: bool,
        full: &'a AtomicBool,
    ) -> Option<Self>
    where
        'a: 'scope,
    {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(THREADS_MAX);
        if threads < 2 || destination.is_store() {
            return None;
        }
        let (jobs, waiting) = bounded::<Batch>(WAITING);
        let (report, reports) = unbounded();
        let maker = Maker {
            destination,
            exact,
            full,
            report,
        };
        for _ in 1..threads {
            let (waiting, maker) = (waiting.clone(), maker.clone());
            scope.spawn(move || waiting.into_iter().for_each(|batch| maker.make_all(batch)));
        }
        Some(Self {
            batch: Batch::new(),
            jobs,
            waiting,
            reports,
            maker,
            taken: 0,
        })
    }

    /// Gives a file away.
    pub(super) fn give(&mut self, job: Job) {
        self.taken += 1;
        self.batch.push((self.taken, job));
        if self.batch.len() < BATCH {
            return;
        }
        match self.jobs.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => self.maker.make_all(batch),
        }
    }

    /// True once there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.maker.full.load(Ordering::Relaxed)
    }

    /// Makes what is left, and waits until all is made; gives what went wrong in the order of the tape.
    pub(super) fn dismiss(self) -> impl Iterator<Item = (PathBuf, Failure)> {
        let Self {
            batch,
            jobs,
            waiting,
            reports,
            maker,
            ..
        } = self;
        drop(jobs);
        waiting.into_iter().for_each(|batch| maker.make_all(batch));
        maker.make_all(batch);
        // Those of the others go when they are done.
        drop(maker);
        let mut reports: Vec<Report> = reports.into_iter().collect();
        reports.sort();
        reports.into_iter().map(|(_, path, failure)| (path, failure))
    }
}

/// Makes one file.
fn make(destination: &Destination, job: &Job, exact: bool, full: &AtomicBool) -> Result<(), Failure> {
    if full.load(Ordering::Relaxed) {
        return Err(Failure::NotMade("is not restored: there is no room left".into()));
    }
    let not_made = |what: &str, errno: Errno| {
        full.fetch_or(is_full(errno), Ordering::Relaxed);
        Failure::NotMade(format!("cannot be {what}: {errno}"))
    };
    let made = destination
        .make_file(&job.path)
        .map_err(|errno| not_made("made", errno))?;
    if let Err(error) = write_at(&made.file, &job.bytes, 0) {
        // Half a file is worth less than the room it takes; that it stays is told in any case.
        let _ = destination.remove(&job.path);
        return Err(not_made("written", Errno::from_io_error(&error).unwrap_or(Errno::IO)));
    }
    match destination.dress(&job.path, Some(made), &job.node, &job.attributes, exact) {
        Ok(refused) if refused.is_empty() => Ok(()),
        Ok(refused) => Err(Failure::NotDressed(refused)),
        Err(errno) => {
            let what = format!("owner, permissions and times: {errno}");
            Err(Failure::NotDressed(vec![what]))
        }
    }
}
