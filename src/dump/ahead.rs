//! Work that is done ahead of whoever needs it in order: by other threads, and by that one itself.
//!
//! A tree costs system calls for each object, so those are what is spread. Who needs something that nobody has begun does it
//! itself; while another thread is at it, it does the next. What is done ahead is bounded by its weight, and a thread is
//! called only where there is work for it: a call that is not needed costs as much as several objects.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// More threads than these wait for each other in the kernel.
const THREADS_MAX: usize = 4;

/// Work on its way to whoever needs it.
pub(super) struct Ahead<'a, Job, Done> {
    work: Box<dyn Fn(&Job) -> Done + Send + Sync + 'a>,
    weigh: fn(&Done) -> usize,
    most: usize,
    shared: Mutex<Shared<Job, Done>>,
    /// There is something to do, or all is over.
    wanted: Condvar,
    /// Something was done.
    done: Condvar,
}

/// What the threads share.
struct Shared<Job, Done> {
    /// What nobody has begun, by its place, what is needed first last.
    waiting: Vec<(usize, Job)>,
    ready: HashMap<usize, Done>,
    /// Weight of what is ready.
    weight: usize,
    /// Threads that wait for something to do.
    idle: usize,
    /// True while what another thread is at is waited for.
    awaited: bool,
    over: bool,
    /// True once a thread died.
    broken: bool,
}

impl<'a, Job: Send, Done: Send> Ahead<'a, Job, Done> {
    /// Work that is yet to be asked for. What is done ahead weighs `most`, and as much more as the threads are at.
    pub(super) fn new(work: impl Fn(&Job) -> Done + Send + Sync + 'a, weigh: fn(&Done) -> usize, most: usize) -> Self {
        Self {
            work: Box::new(work),
            weigh,
            most,
            shared: Mutex::new(Shared {
                waiting: Vec::new(),
                ready: HashMap::new(),
                weight: 0,
                idle: 0,
                awaited: false,
                over: false,
                broken: false,
            }),
            wanted: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// Calls `go`, while as many threads work ahead of it as there are processors besides.
    pub(super) fn helped<T>(&self, go: impl FnOnce() -> T) -> T {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX)) - 1;
        thread::scope(|scope| {
            let _over = Over(self);
            for _ in 0..threads {
                scope.spawn(|| {
                    let _alive = Alive(self);
                    self.help();
                });
            }
            go()
        })
    }

    /// Asks for what is needed next, each with its place, the first of it before all that was asked for.
    pub(super) fn ask(&self, jobs: impl DoubleEndedIterator<Item = (usize, Job)>) {
        let mut shared = self.lock();
        shared.waiting.extend(jobs.rev());
        self.call(&shared);
    }

    /// What was asked for with a place, once it is done.
    pub(super) fn take(&self, place: usize) -> Done {
        let mut shared = self.lock();
        loop {
            if let Some(done) = shared.ready.remove(&place) {
                let full = shared.weight >= self.most;
                shared.weight -= (self.weigh)(&done);
                if full {
                    self.call(&shared);
                }
                return done;
            }
            // What is needed is the last, unless somebody is at it.
            let needed = shared.waiting.last().is_some_and(|(next, _)| *next == place);
            let room = needed || shared.weight < self.most;
            shared = match shared.next(room) {
                Some((_, job)) if needed => {
                    drop(shared);
                    return (self.work)(&job);
                }
                Some((next, job)) => {
                    drop(shared);
                    self.make(next, &job)
                }
                None => {
                    assert!(!shared.broken, "a thread that worked ahead died");
                    shared.awaited = true;
                    let mut shared = self.done.wait(shared).unwrap_or_else(PoisonError::into_inner);
                    shared.awaited = false;
                    shared
                }
            };
        }
    }

    /// Works for others until all is over.
    fn help(&self) {
        let mut shared = self.lock();
        while !shared.over {
            let room = shared.weight < self.most;
            shared = match shared.next(room) {
                Some((place, job)) => {
                    drop(shared);
                    self.make(place, &job)
                }
                None => {
                    shared.idle += 1;
                    let mut shared = self.wanted.wait(shared).unwrap_or_else(PoisonError::into_inner);
                    shared.idle -= 1;
                    shared
                }
            };
        }
    }

    fn make(&self, place: usize, job: &Job) -> MutexGuard<'_, Shared<Job, Done>> {
        let done = (self.work)(job);
        let mut shared = self.lock();
        shared.weight += (self.weigh)(&done);
        shared.ready.insert(place, done);
        if shared.awaited {
            self.done.notify_one();
        }
        shared
    }

    /// Calls idle threads if there is more than what is about to be done by who needs it.
    fn call(&self, shared: &Shared<Job, Done>) {
        if shared.idle > 0 && shared.waiting.len() > 1 && shared.weight < self.most {
            self.wanted.notify_all();
        }
    }
}

impl<Job, Done> Ahead<'_, Job, Done> {
    fn lock(&self) -> MutexGuard<'_, Shared<Job, Done>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Job, Done> Shared<Job, Done> {
    /// What is to be done next, where there is room for it.
    fn next(&mut self, room: bool) -> Option<(usize, Job)> {
        if room { self.waiting.pop() } else { None }
    }
}

/// Lets the threads go, however the work ends.
struct Over<'o, 'a, Job, Done>(&'o Ahead<'a, Job, Done>);

impl<Job, Done> Drop for Over<'_, '_, Job, Done> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.wanted.notify_all();
    }
}

/// Tells who waits for a thread that it died.
struct Alive<'o, 'a, Job, Done>(&'o Ahead<'a, Job, Done>);

impl<Job, Done> Drop for Alive<'_, '_, Job, Done> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().broken = true;
            self.0.done.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_in_its_order_whoever_did_it() {
        // A tree: each number below 1000 has three below it, asked for when it is taken.
        for most in [1, 7, 1 << 20] {
            let ahead = Ahead::new(|number: &usize| number * 3, |_| 1, most);
            let taken = ahead.helped(|| {
                ahead.ask([(1, 1)].into_iter());
                let (mut open, mut taken) = (vec![1], Vec::new());
                while let Some(number) = open.pop() {
                    taken.push(number);
                    let first = ahead.take(number);
                    if number < 1000 {
                        ahead.ask((first..first + 3).map(|below| (below, below)));
                        open.extend((first..first + 3).rev());
                    }
                }
                taken
            });
            let mut expected = Vec::new();
            let mut open = vec![1];
            while let Some(number) = open.pop() {
                expected.push(number);
                if number < 1000 {
                    open.extend((number * 3..number * 3 + 3).rev());
                }
            }
            assert_eq!(taken, expected, "at most {most}");
        }
    }

    #[test]
    fn a_thread_that_dies_is_not_waited_for() {
        if thread::available_parallelism().map_or(1, usize::from) == 1 {
            return;
        }
        let died = std::panic::catch_unwind(|| {
            let (begun, waited) = crossbeam_channel::unbounded();
            let owner = thread::current().id();
            let work = |_: &usize| {
                begun.send(()).unwrap();
                assert_eq!(thread::current().id(), owner, "dies in another thread");
            };
            let ahead = Ahead::new(work, |()| 1, 10);
            ahead.helped(|| {
                ahead.ask((0..10).map(|place| (place, place)));
                waited.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
                (0..10).for_each(|place| ahead.take(place));
            });
        });
        assert!(died.is_err());
    }
}
