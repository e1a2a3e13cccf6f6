//! The schedule: tasks that are done by themselves when they are due, one run of each at a time.
//!
//! A *task* has a *deed* and says *when*; a *run* is once that it was done, with its *outcome*. The controller asks every
//! second what is due ([`Schedule::due`]); each run has a thread of its own ([`run`]), and what came of it is an event. A
//! task that was due while the controller was off is *missed*, and is made up for once or left out, as it says itself.

mod drill;
pub mod run;
pub mod task;
mod told;
pub mod verbs;
pub mod when;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    clock::Clock,
    error::{Error, Kind, Result},
    event::{Event, Name},
    store::Store,
};
pub use task::ScheduleAsk;
use task::{Book, Deed, Entry, Missed, Outcome, Run, Task};
use told::{history, shown};
use verbs::Course;
use when::When;

/// How late a run may begin before it counts as missed, in seconds.
const LATE_S: i64 = 60;
/// How far ahead the clock may have been before what it said is not believed, in seconds.
const AHEAD_S: i64 = 86_400;
/// Times that were missed and are counted at most.
const COUNTED_MAX: usize = 1000;

/// The schedule of a store.
pub struct Schedule {
    store: Store,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    book: Book,
    running: BTreeMap<String, Running>,
    /// Tasks that are to be run at once.
    asked: Vec<String>,
    /// For the controller to log.
    outbox: Vec<Event>,
    ending: bool,
}

/// A run that is under way.
#[derive(Default)]
struct Running {
    course: Course,
    thread: Option<JoinHandle<()>>,
}

/// A run that is due.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task.
    pub task: Task,
    /// Runs that ended well before.
    pub done: u64,
    /// Tells how far it is, and ends it before its time.
    pub course: Course,
}

/// What new tasks can be about, and what tasks need to run.
pub trait Arrays {
    /// Names of the redundant arrays that are Normal: those can be verified.
    fn normal(&self) -> Vec<String>;
    /// Names of the arrays that are critical: those can be rebuilt.
    fn critical(&self) -> Vec<String>;
}

impl Schedule {
    /// The schedule of a store.
    pub fn open(store: &Store, clock: Arc<dyn Clock>) -> Self {
        let mut state = State::default();
        match Book::load(store) {
            Ok(book) => state.book = book,
            Err(error) => {
                let text = format!("{error}; no task runs");
                state.outbox.push(Event::new(Name::StateTrouble, text));
            }
        }
        let now = clock.now();
        for entry in &mut state.book.tasks {
            for run in entry.runs.iter_mut().filter(|run| run.outcome == Outcome::Running) {
                run.outcome = Outcome::Interrupted;
                run.ended = Some(now);
                "the controller ended in the midst of it".clone_into(&mut run.text);
            }
            if entry.task.when == When::Now && entry.runs.is_empty() {
                entry.add_run(Run {
                    began: now,
                    ended: Some(now),
                    outcome: Outcome::Missed,
                    text: "the controller ended before it began".to_owned(),
                });
            }
            // A clock that was wrong once does not hold a task up for years.
            if entry.from.as_second() > now.as_second() + AHEAD_S {
                entry.from = now;
            }
        }
        Self {
            store: store.clone(),
            clock,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events of the schedule, which are to be logged.
    pub fn own_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().outbox)
    }

    /// Answers what is asked.
    ///
    /// # Errors
    /// [`Kind::Refused`] where no array is in the state that a deed is for; those of [`Book`].
    pub fn answer(&self, ask: ScheduleAsk, arrays: &dyn Arrays) -> Result<Map<String, Value>> {
        let now = self.clock.now();
        let mut state = self.lock();
        match ask {
            ScheduleAsk::Show => {
                let mut facts = shown(&state.book, &*self.clock);
                facts.insert("verify".to_owned(), json!(arrays.normal()));
                facts.insert("rebuild".to_owned(), json!(arrays.critical()));
                Ok(facts)
            }
            ScheduleAsk::History { name } => history(&mut state.book, name.as_deref()),
            ScheduleAsk::Run { name } => {
                state.book.entry(&name)?;
                if state.running.contains_key(&name) || state.asked.contains(&name) {
                    let message = format!("the task {name} is running");
                    return Err(Error::refused(Kind::Busy, message, "again when it has ended"));
                }
                state.asked.push(name);
                Ok(Map::new())
            }
            ScheduleAsk::Stop { name } => {
                let running = state.running.get(&name).ok_or_else(|| {
                    let message = format!("no run of a task {} is under way", name.escape_debug());
                    Error::refused(Kind::NotFound, message, "'headstack sched ls'")
                })?;
                running.course.ask();
                Ok(Map::new())
            }
            ScheduleAsk::Add {
                name,
                deed,
                when,
                missed,
            } => {
                suits(&deed, arrays)?;
                let mut book = state.book.clone();
                let name = book.add(&self.store, name, deed, &when, missed, now)?;
                let at_once = book.entry(&name)?.task.when == When::Now;
                self.change(&mut state, book, format!("the task {name} was added: {when}"))?;
                state.asked.extend(at_once.then(|| name.clone()));
                Ok(Map::from_iter([("name".to_owned(), json!(name))]))
            }
            ScheduleAsk::Remove { name } => {
                let mut book = state.book.clone();
                book.remove(&name)?;
                self.change(&mut state, book, format!("the task {name} was removed"))?;
                Ok(Map::new())
            }
        }
    }

    fn change(&self, state: &mut State, book: Book, sentence: String) -> Result<()> {
        book.save(&self.store)?;
        state.book = book;
        state.outbox.push(Event::new(Name::SettingChanged, sentence));
        Ok(())
    }

    /// The runs that are under way, with how far they are.
    pub fn under_way(&self) -> Vec<Value> {
        let state = self.lock();
        let entries = state.book.tasks.iter();
        let told = entries.filter_map(|entry| {
            let reached = state.running.get(&entry.task.name)?.course.reached();
            Some(json!({
                "task": entry.task.name,
                "kind": entry.task.deed.name(),
                "object": entry.task.deed.object(),
                "began": entry.runs.back().map(|run| run.began),
                "done_bytes": reached.map(|reached| reached.done_bytes),
                "whole_bytes": reached.map(|reached| reached.whole_bytes),
            }))
        });
        told.collect()
    }

    /// The runs that are to begin now. They count as begun: [`Schedule::ended`] is to be told of each.
    pub fn due(&self) -> Vec<Job> {
        let (now, zone) = (self.clock.now(), self.clock.zone());
        let mut state = self.lock();
        let State {
            book,
            running,
            asked,
            outbox,
            ending,
        } = &mut *state;
        let mut jobs = Vec::new();
        let mut changed = false;
        for entry in book.tasks.iter_mut().filter(|_| !*ending) {
            let name = entry.task.name.clone();
            let wished = asked
                .iter()
                .position(|asked| *asked == name)
                .map(|at| asked.swap_remove(at));
            let due = entry.task.when.next(entry.from, &zone).filter(|due| *due <= now);
            if due.is_none() && wished.is_none() {
                continue;
            }
            changed = true;
            let begins = due.is_none_or(|due| begins(entry, due, now, running.contains_key(&name), outbox, &zone));
            if due.is_some() {
                entry.from = now;
            }
            if (begins || wished.is_some()) && !running.contains_key(&name) {
                entry.add_run(Run {
                    began: now,
                    ended: None,
                    outcome: Outcome::Running,
                    text: String::new(),
                });
                let job = Job {
                    task: entry.task.clone(),
                    done: entry.done,
                    course: Course::default(),
                };
                let text = format!(
                    "the task {name} begins: {} of {}",
                    job.task.deed.name(),
                    job.task.deed.object()
                );
                outbox.push(of_array(Event::new(Name::TaskStarted, text), &job.task));
                let course = job.course.clone();
                running.insert(name, Running { course, thread: None });
                jobs.push(job);
            }
        }
        asked.clear();
        if changed {
            self.remember(&mut state);
        }
        jobs
    }

    fn remember(&self, state: &mut State) {
        if let Err(error) = state.book.save(&self.store) {
            let text = format!("the schedule cannot be written down: {error}");
            state.outbox.push(Event::new(Name::StateTrouble, text));
        }
    }

    /// Takes note of the thread of a run, for which the end of the controller waits.
    pub fn began(&self, name: &str, thread: JoinHandle<()>) {
        if let Some(running) = self.lock().running.get_mut(name) {
            running.thread = Some(thread);
        }
    }

    /// Takes note of how a run ended.
    pub fn ended(&self, task: &Task, result: std::result::Result<String, String>) {
        let now = self.clock.now();
        let mut state = self.lock();
        let running = state.running.remove(&task.name);
        let interrupted = running.is_some_and(|running| running.course.is_asked());
        let (outcome, event, text) = match result {
            Ok(text) => (Outcome::Done, Name::TaskFinished, text),
            Err(_) if interrupted && state.ending => (
                Outcome::Interrupted,
                Name::TaskFailed,
                "the controller ended in the midst of it".to_owned(),
            ),
            Err(text) if interrupted => (
                Outcome::Interrupted,
                Name::TaskStopped,
                format!("it was stopped: {text}"),
            ),
            Err(text) => (Outcome::Failed, Name::TaskFailed, text),
        };
        let told = format!("the task {}: {text}", task.name);
        state.outbox.push(of_array(Event::new(event, told), task));
        if let Ok(entry) = state.book.entry(&task.name) {
            entry.done += u64::from(outcome == Outcome::Done);
            if let Some(run) = entry.runs.iter_mut().rfind(|run| run.outcome == Outcome::Running) {
                run.ended = Some(now);
                run.outcome = outcome;
                run.text = text;
            }
        }
        self.remember(&mut state);
    }

    /// Ends: runs are broken off, and waited for.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.ending = true;
        let threads: Vec<JoinHandle<()>> = state
            .running
            .values_mut()
            .filter_map(|running| {
                running.course.ask();
                running.thread.take()
            })
            .collect();
        drop(state);
        // A panic of a thread has been told where it happened.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Whether a run that is due begins; what is missed is told.
fn begins(
    entry: &mut Entry,
    due: Timestamp,
    now: Timestamp,
    is_running: bool,
    outbox: &mut Vec<Event>,
    zone: &jiff::tz::TimeZone,
) -> bool {
    let task = &entry.task;
    let name = &task.name;
    let late = now.as_second() - due.as_second() > LATE_S;
    let mut tell = |text: &str| outbox.push(of_array(Event::new(Name::TaskMissed, text), task));
    let text = if is_running {
        format!("the task {name} is due, but its last run has not ended: it is left out")
    } else if late {
        let mut times = 1;
        let mut at = due;
        while let Some(next) = task
            .when
            .next(at, zone)
            .filter(|next| *next <= now && times < COUNTED_MAX)
        {
            at = next;
            times += 1;
        }
        let was = due.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string();
        match task.missed {
            Missed::Run => {
                tell(&format!(
                    "the task {name} was due {times} times since {was}: it runs once now"
                ));
                return true;
            }
            Missed::Skip => format!("the task {name} was due {times} times since {was}: that is left out"),
        }
    } else {
        return true;
    };
    tell(&text);
    entry.add_run(Run {
        began: now,
        ended: Some(now),
        outcome: Outcome::Missed,
        text,
    });
    false
}

fn of_array(event: Event, task: &Task) -> Event {
    match task.deed.array() {
        Some(array) => event.of(array),
        None => event,
    }
}

/// Refuses a deed that no array is in the state for.
fn suits(deed: &Deed, arrays: &dyn Arrays) -> Result<()> {
    let (array, fit, what) = match deed {
        Deed::Verify { array, .. } => (
            array,
            arrays.normal(),
            "a verify is for redundant arrays that are Normal",
        ),
        Deed::Rebuild { array } => (array, arrays.critical(), "a rebuild is for arrays that are Critical"),
        Deed::Dump { .. } | Deed::Restore(_) | Deed::Resume { .. } | Deed::Drill { .. } => return Ok(()),
    };
    if fit.contains(array) {
        return Ok(());
    }
    let names = if fit.is_empty() {
        "there are none".to_owned()
    } else {
        fit.join(", ")
    };
    let message = format!("array {}: {what}", array.escape_debug());
    Err(Error::refused(Kind::Refused, message, format!("one of those: {names}")))
}

/// Answers what is asked of a store without a controller.
///
/// # Errors
/// [`Kind::Unavailable`] for what needs one; those of [`Book`].
pub fn answer_alone(store: &Store, clock: &dyn Clock, ask: ScheduleAsk) -> Result<Map<String, Value>> {
    let needs_controller = match &ask {
        ScheduleAsk::Add { deed, when, .. } => matches!(deed, Deed::Rebuild { .. }) || when.parse() == Ok(When::Now),
        ScheduleAsk::Run { .. } | ScheduleAsk::Stop { .. } => true,
        _ => false,
    };
    if needs_controller {
        let message = format!("{}: its controller does not run", store.root().display());
        let remedy = format!("'headstack serve {}'", store.root().display());
        return Err(Error::refused(Kind::Unavailable, message, remedy));
    }
    let mut book = match Book::load(store) {
        // A damaged file is put aside by what is saved now.
        Err(error) if error.judge().0 == Kind::Corrupt && matches!(ask, ScheduleAsk::Add { .. }) => Book::default(),
        loaded => loaded?,
    };
    match ask {
        ScheduleAsk::Show => Ok(shown(&book, clock)),
        ScheduleAsk::History { name } => history(&mut book, name.as_deref()),
        ScheduleAsk::Add {
            name,
            deed,
            when,
            missed,
        } => {
            let name = book.add(store, name, deed, &when, missed, clock.now())?;
            book.save(store)?;
            Ok(Map::from_iter([("name".to_owned(), json!(name))]))
        }
        ScheduleAsk::Remove { name } => {
            book.remove(&name)?;
            book.save(store)?;
            Ok(Map::new())
        }
        ScheduleAsk::Run { .. } | ScheduleAsk::Stop { .. } => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests;
