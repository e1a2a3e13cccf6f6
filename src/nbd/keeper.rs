//! One thread an array: tells it the time, and makes its redundancy whole again as soon as that is possible. A move to
//! another shape that was left half-way is gone on with.
//!
//! The work goes in small steps. Between them the thread pauses for as long as it takes to leave the rest of the time to
//! those who use the array; where nobody does, it does not pause. Work that failed is tried again when something has
//! changed, or when it is asked for.

use std::{
    io,
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use super::watcher::Watcher;
use crate::raid::{
    Array,
    metadata::identity::Time,
    rebuild::{Progress, Rebuild, pause_after},
};

/// How often the array is told the time.
const TICK: Duration = Duration::from_secs(1);
/// Work after which a pause is due: shorter pauses are not worth a wake-up.
const STINT: Duration = Duration::from_millis(10);

/// What is done to an array beside serving it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Making it right where it may not be.
    Resync,
    /// Filling members.
    Rebuild,
    /// Going on with a move to another shape.
    Reshape,
}

impl Work {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Rebuild => "rebuild",
            Self::Reshape => "reshape",
        }
    }
}

/// When work that is due begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// By itself.
    Eager,
    /// When it is asked for.
    Asked,
    /// Not before [`Keeper::go_on`]: it was ended before this keeper came, and by itself afterwards.
    Halted,
}

/// Share of the time, in percent, that work may take at the moment.
pub type Share = Box<dyn Fn() -> u8 + Send + Sync>;

/// The instant, as superblocks have it.
pub fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Time::new(since.as_secs(), since.subsec_micros())
}

/// Why work is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfinished {
    /// The array is being stopped; the work goes on when it is started again.
    #[error("array {array}: it is being stopped")]
    Stopping {
        /// Name of the array.
        array: String,
    },
    /// The caller does not wait any longer.
    #[error("array {array}: nobody waits for it any more")]
    Left {
        /// Name of the array.
        array: String,
    },
    /// Somebody stopped the work; it goes on when that is asked for.
    #[error("array {array}: the work was stopped before it was done")]
    Halted {
        /// Name of the array.
        array: String,
    },
    /// It failed.
    #[error("{reason}")]
    Failed {
        /// What the engine said.
        reason: String,
    },
}

/// What the thread and those who wait for it share.
#[derive(Debug, Default)]
struct State {
    ending: bool,
    /// A rebuild ends where nobody can give a sector, in place of noting that it is lost.
    stops_at_unreadable: bool,
    /// Work may begin without being asked for.
    eager: bool,
    /// No work is begun, and what is under way ends.
    halted: bool,
    /// Times that work was told to end.
    halts: u64,
    working: Option<Work>,
    pace: Option<Pace>,
    /// How far another thread is with its work.
    guest: Option<Pace>,
    /// Requests to look at the array, and the last of them after which there was nothing left to do or something failed.
    asked: u64,
    answered: u64,
    /// Why the last work failed, and how often the superblocks had been written then.
    fault: Option<(String, u64)>,
}

/// How far work is, and since when.
#[derive(Debug, Clone, Copy)]
struct Pace {
    progress: Progress,
    began: Instant,
    /// Bytes that were done when it began.
    from_bytes: u64,
}

impl Pace {
    fn at(before: Option<Self>, progress: Progress) -> Self {
        let new = || Self {
            progress,
            began: Instant::now(),
            from_bytes: progress.done_bytes,
        };
        Self {
            progress,
            ..before.unwrap_or_else(new)
        }
    }

    /// Bytes a second; none before there is any.
    fn rate(self) -> Option<u64> {
        let done = u128::from(self.progress.done_bytes.checked_sub(self.from_bytes)?);
        let rate = done * 1000 / self.began.elapsed().as_millis().max(1);
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }
}

/// What is shared with the thread.
struct Shared {
    array: Arc<Array>,
    share: Share,
    state: Mutex<State>,
    changed: Condvar,
}

/// An array that is taken care of.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    watcher: Mutex<Option<Watcher>>,
}

impl Keeper {
    /// Takes care of an array from now on. A member that does not answer within `timeout` counts as failed; none waits for
    /// ever.
    ///
    /// # Errors
    /// No thread is left.
    pub fn start(array: Arc<Array>, begin: Begin, share: Share, timeout: Option<Duration>) -> io::Result<Self> {
        let watcher = timeout.map(|timeout| Watcher::start(Arc::clone(&array), timeout));
        let watcher = watcher.transpose()?;
        let state = State {
            eager: begin != Begin::Asked,
            halted: begin == Begin::Halted,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            array,
            share,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let thread = thread::Builder::new().name("array keeper".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        });
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread?)),
            watcher: Mutex::new(watcher),
        })
    }

    /// The array.
    pub fn array(&self) -> &Arc<Array> {
        &self.shared.array
    }

    /// What is being done, and how far it is.
    pub fn work(&self) -> Option<(Work, Option<Progress>)> {
        let state = self.shared.lock();
        state.working.map(|work| (work, state.pace.map(|pace| pace.progress)))
    }

    /// How far another thread is with its work on the array.
    pub fn visitor(&self) -> Option<Progress> {
        self.shared.lock().guest.map(|pace| pace.progress)
    }

    /// Bytes a second that the work did so far, and how long it is going to take at that speed; none before it has one.
    pub fn speed(&self) -> Option<(u64, Duration)> {
        let state = self.shared.lock();
        let pace = if state.working.is_some() {
            state.pace
        } else {
            state.guest
        }?;
        let rate = pace.rate()?;
        let left = pace.progress.whole_bytes.saturating_sub(pace.progress.done_bytes);
        Some((rate, Duration::from_secs(left.div_ceil(rate))))
    }

    /// Ends the work that is under way. What the keeper did does not begin again before [`Keeper::go_on`].
    pub fn halt(&self) {
        let mut state = self.shared.lock();
        state.halts += 1;
        state.halted = state.guest.is_none();
        self.shared.changed.notify_all();
    }

    /// True where work waits for [`Keeper::go_on`].
    pub fn is_halted(&self) -> bool {
        self.shared.lock().halted
    }

    /// Lets work go on that was ended.
    pub fn go_on(&self) {
        self.shared.lock().halted = false;
        self.nudge();
    }

    /// Says whether a rebuild ends at a sector that nobody can give; else it goes on and notes that the sector is lost.
    pub fn set_stops_at_unreadable(&self, stops: bool) {
        self.shared.lock().stops_at_unreadable = stops;
    }

    /// Why the last work failed; none where none did, or something has changed since.
    pub fn fault(&self) -> Option<String> {
        let state = self.shared.lock();
        state.fault.as_ref().map(|(reason, _)| reason.clone())
    }

    /// Lets the thread look whether there is something to do.
    pub fn nudge(&self) -> u64 {
        let mut state = self.shared.lock();
        state.asked += 1;
        state.fault = None;
        self.shared.changed.notify_all();
        state.asked
    }

    /// Lets another thread work on the array, which leaves the rest of the time to those who use it.
    pub fn visit(&self) -> Visit<'_> {
        Visit {
            shared: &self.shared,
            halts: self.shared.lock().halts,
            step: Instant::now(),
        }
    }

    /// Waits until all work is done that is due, and tells how far it is meanwhile; breaks to wait no longer.
    ///
    /// # Errors
    /// [`Unfinished`] says why it is not done.
    pub fn finish(&self, tell: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<(), Unfinished> {
        self.shared.lock().halted = false;
        let ticket = self.nudge();
        let mut state = self.shared.lock();
        let mut told = None;
        let name = || self.array().name().to_owned();
        while state.answered < ticket {
            if state.ending {
                return Err(Unfinished::Stopping { array: name() });
            }
            let progress = state.pace.map(|pace| pace.progress);
            if progress != told
                && let Some(progress) = progress
            {
                told = Some(progress);
                drop(state);
                if tell(progress).is_break() {
                    return Err(Unfinished::Left { array: name() });
                }
                state = self.shared.lock();
                continue;
            }
            state = self.shared.wait(state, TICK);
        }
        if state.halted {
            return Err(Unfinished::Halted { array: name() });
        }
        match &state.fault {
            Some((fault, _)) => Err(Unfinished::Failed { reason: fault.clone() }),
            None => Ok(()),
        }
    }

    /// Ends the work, which can be gone on with later, and stops the array.
    ///
    /// # Errors
    /// Members could not be flushed.
    pub fn stop(&self) -> Result<(), crate::raid::Error> {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        // A panic of the thread has been told where it happened.
        let _ = thread.join();
        let stopped = self.array().stop(now());
        drop(self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take());
        stopped
    }
}

/// Work of another thread on an array.
pub struct Visit<'a> {
    shared: &'a Shared,
    halts: u64,
    /// When it rested last.
    step: Instant,
}

impl Visit<'_> {
    /// Leaves the rest of the time to those who use the array, after a step of the work; false where the work is to end.
    pub fn rest(&mut self, progress: Progress) -> bool {
        let share = (self.shared.share)();
        let mut state = self.shared.lock();
        state.guest = Some(Pace::at(state.guest, progress));
        let ends = |state: &State| state.ending || state.halts != self.halts;
        if self.step.elapsed() >= STINT {
            let until = Instant::now() + pause_after(self.step.elapsed().min(TICK), share);
            while !ends(&state) && Instant::now() < until {
                state = self.shared.wait(state, until.saturating_duration_since(Instant::now()));
            }
            self.step = Instant::now();
        }
        !ends(&state)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.shared.lock().guest = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self) {
        let mut ticked = Instant::now();
        loop {
            let mut state = self.lock();
            if state.ending {
                return;
            }
            let (asked, wanted) = (state.asked, state.eager || state.asked > state.answered);
            drop(state);
            let due = if wanted { self.due() } else { None };
            if let Some(work) = due {
                self.work(work, &mut ticked, asked);
                continue;
            }
            state = self.lock();
            state.answered = asked;
            self.changed.notify_all();
            if state.asked == asked && !state.ending {
                drop(self.wait(state, TICK.saturating_sub(ticked.elapsed())));
            } else {
                drop(state);
            }
            self.tick(&mut ticked);
        }
    }

    fn tick(&self, ticked: &mut Instant) {
        if ticked.elapsed() < TICK {
            return;
        }
        *ticked = Instant::now();
        if let Err(error) = self.array.tick(now()) {
            log::debug!("{error}");
        }
    }

    /// What is to be done next; none where there is nothing, or nothing that did not just fail.
    fn due(&self) -> Option<Work> {
        if self.array.is_read_only() {
            return None;
        }
        let status = self.array.status();
        let state = self.lock();
        if state.halted || state.fault.as_ref().is_some_and(|(_, events)| *events == status.events) {
            return None;
        }
        drop(state);
        // Nothing else can be done before it has its new shape.
        if let Some(reshape) = &status.reshape {
            return (!reshape.running).then_some(Work::Reshape);
        }
        if status.needs_resync {
            return Some(Work::Resync);
        }
        let vacant = status.members.iter().any(|member| member.path.is_none());
        if vacant && !status.spares.is_empty() {
            match self.array.activate_spare() {
                Ok(Some(slot)) => log::warn!("array {}: a spare takes the place of member {slot}", status.name),
                Ok(None) => {}
                Err(error) => log::error!("{error}"),
            }
        }
        let unfilled = |member: &crate::raid::array::MemberStatus| member.rebuilt_bytes.is_some();
        let status = self.array.status();
        status.members.iter().any(unfilled).then_some(Work::Rebuild)
    }

    fn work(&self, work: Work, ticked: &mut Instant, asked: u64) {
        let name = self.array.name();
        log::info!("array {name}: {} begins", work.name());
        let how = {
            let mut state = self.lock();
            state.working = Some(work);
            Rebuild {
                stop_at_unreadable: state.stops_at_unreadable,
                ..Rebuild::default()
            }
        };
        let mut began = Instant::now();
        let mut pace = |progress: Progress| {
            self.tick(ticked);
            let mut state = self.lock();
            state.pace = Some(Pace::at(state.pace, progress));
            if began.elapsed() >= STINT {
                self.changed.notify_all();
                let until = Instant::now() + pause_after(began.elapsed(), (self.share)());
                while !state.ending && !state.halted && Instant::now() < until {
                    state = self.wait(state, until.saturating_duration_since(Instant::now()));
                }
                began = Instant::now();
            }
            if state.ending || state.halted {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let ended = match work {
            Work::Resync => self.array.resync(&mut pace),
            Work::Rebuild => self.array.rebuild_as(how, &mut pace),
            Work::Reshape => self.array.reshape(&mut pace),
        };
        let fault = match ended {
            Ok(ending) => {
                log::info!("array {name}: {} ends: {ending:?}", work.name());
                None
            }
            Err(error) => {
                log::error!("array {name}: {} failed: {error}", work.name());
                Some((error.to_string(), self.array.status().events))
            }
        };
        let mut state = self.lock();
        state.working = None;
        state.pace = None;
        if fault.is_some() {
            state.answered = asked;
        }
        state.fault = fault;
        self.changed.notify_all();
    }
}
