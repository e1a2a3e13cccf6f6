//! Who is told about events beside the log: people by mail, programs by a webhook.
//!
//! An event comes in through [`Notifier::take`], which writes it into the queue and waits for nobody. A thread for mail and
//! one for the webhook carry away what is due. A *destination* is one recipient or the webhook; a *digest* is a mail with
//! all events that were gathered since the last one. Mail goes out once with the first event, then events are gathered
//! for a while; an event that is worse than those of the last mail does not wait. What cannot be carried is tried again,
//! ever less often, and is told once as an event, which goes to whoever can still be told.

pub mod link;
pub mod message;
pub mod queue;
pub mod settings;
pub mod smtp;
pub mod webhook;

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    clock::Clock,
    error::{Error, Kind, Result},
    event::{Event, Level, Name},
    store::Store,
};
use message::Origin;
use queue::{Progress, Queue, Waiting};
pub use settings::{NotifyAsk, Wishes};

/// How long an event waits for others of the same moment, in seconds.
const SETTLE_S: i64 = 2;
/// Time until what failed is tried again, in seconds; it doubles with each failure.
const RETRY_S: i64 = 60;
/// Longest time until what failed is tried again, in seconds.
const RETRY_MAX_S: i64 = 3600;
/// Longest time that a thread sleeps, so that a clock that is set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How the name of a destination that is a recipient begins.
const MAIL: &str = "mail:";
/// The destination that is the webhook.
const WEBHOOK: &str = "webhook";

/// What is carried to one destination.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Address of the recipient; for the webhook it says nothing.
    pub to: String,
    /// The wishes at the moment.
    pub wishes: Wishes,
    /// Where the events come from.
    pub origin: Origin,
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// How many others were dropped.
    pub left_out: u64,
}

/// Why a parcel was not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words, without secrets.
    pub reason: String,
    /// True where no other recipient would fare better.
    pub of_server: bool,
}

impl Failure {
    /// A failure of the server.
    pub fn of_server(reason: String) -> Self {
        Self {
            reason,
            of_server: true,
        }
    }

    /// A failure that concerns one recipient.
    pub fn of_one(reason: String) -> Self {
        Self {
            reason,
            of_server: false,
        }
    }
}

/// A way to carry parcels.
pub trait Carrier: Send + Sync {
    /// Carries a parcel, and comes to an end whatever the other side does.
    ///
    /// # Errors
    /// It was not taken, or not certainly.
    fn carry(&self, parcel: &Parcel) -> std::result::Result<(), Failure>;
}

/// The two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Mail,
    Web,
}

/// Tells events to those who want to hear of them.
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    origin: Origin,
    clock: Arc<dyn Clock>,
    mail: Box<dyn Carrier>,
    web: Box<dyn Carrier>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    wishes: Wishes,
    queue: Queue,
    /// By destination that failed: how often, and when it is tried again.
    failures: BTreeMap<String, (u32, Timestamp)>,
    /// Events of our own, for the controller to log.
    outbox: Vec<Event>,
    journal_fails: bool,
    ending: bool,
}

/// What a way does next.
enum Next {
    Carry(String, Box<Parcel>, u64),
    Wait(Duration),
}

impl Notifier {
    /// Tells the events of a store from now on, and those that were not told before.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn start(store: &Store, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (mail, web) = (smtp::Mail::default(), webhook::Post::default());
        let notifier = Self::new(store, clock, Box::new(mail), Box::new(web));
        for (way, name) in [(Way::Mail, "mail"), (Way::Web, "webhook")] {
            let shared = Arc::clone(&notifier.shared);
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(move || while shared.step(way, true) {})?;
        }
        Ok(notifier)
    }

    fn new(store: &Store, clock: Arc<dyn Clock>, mail: Box<dyn Carrier>, web: Box<dyn Carrier>) -> Self {
        let mut outbox = Vec::new();
        let mut trouble = |error: Error| outbox.push(Event::new(Name::StateTrouble, error.to_string()));
        let wishes = Wishes::load(store).unwrap_or_else(|error| {
            trouble(error);
            Wishes::default()
        });
        let (queue, damage) = Queue::open(Arc::clone(store.state()));
        damage.into_iter().for_each(trouble);
        let mut state = State {
            wishes,
            queue,
            failures: BTreeMap::new(),
            outbox,
            journal_fails: false,
            ending: false,
        };
        state.set_destinations();
        Self {
            shared: Arc::new(Shared {
                store: store.clone(),
                origin: Origin::of(store.root()),
                clock,
                mail,
                web,
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// Takes an event that was logged.
    pub fn take(&self, event: &Event) {
        let mut state = self.shared.lock();
        let pushed = state.queue.push(event);
        state.journaled(pushed.map(drop));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Events of the notifier itself, which are to be logged.
    pub fn own_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.shared.lock().outbox)
    }

    /// Answers what is asked.
    ///
    /// # Errors
    /// What is asked cannot be, or a test was not taken by the server.
    pub fn answer(&self, ask: NotifyAsk) -> Result<Map<String, Value>> {
        let shared = &self.shared;
        if let NotifyAsk::TestRecipient(_) | NotifyAsk::TestWebhook = ask {
            let wishes = shared.lock().wishes.clone();
            return test(
                &ask,
                wishes,
                &shared.origin,
                &*shared.clock,
                [&*shared.mail, &*shared.web],
            );
        }
        let mut state = shared.lock();
        let mut wishes = state.wishes.clone();
        if let Some(sentence) = wishes.change(ask)? {
            wishes.save(&shared.store)?;
            state.wishes = wishes;
            state.set_destinations();
            // Whoever changes something wants to see whether it works now.
            state.failures.clear();
            state.outbox.push(Event::new(Name::SettingChanged, sentence));
            shared.changed.notify_all();
        }
        let mut facts = state.wishes.facts();
        facts.insert("destinations".to_owned(), state.destination_facts());
        Ok(facts)
    }

    /// Ends: what is not told is told by the next controller. A server that hangs holds nobody up.
    pub fn stop(&self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
    }
}

/// Answers what is asked of a store without a controller.
///
/// # Errors
/// As [`Notifier::answer`]; the file cannot be written.
pub fn answer_alone(store: &Store, clock: &dyn Clock, ask: NotifyAsk) -> Result<Map<String, Value>> {
    let mut wishes = match Wishes::load(store) {
        // A damaged file is put aside by what is saved now.
        Err(error) if error.judge().0 == Kind::Corrupt && !matches!(ask, NotifyAsk::Show) => Wishes::default(),
        loaded => loaded?,
    };
    if let NotifyAsk::TestRecipient(_) | NotifyAsk::TestWebhook = ask {
        let carriers: [&dyn Carrier; 2] = [&smtp::Mail::default(), &webhook::Post::default()];
        return test(&ask, wishes, &Origin::of(store.root()), clock, carriers);
    }
    if wishes.change(ask)?.is_some() {
        wishes.save(store)?;
    }
    Ok(wishes.facts())
}

/// Carries a test event, and says what came of it.
fn test(
    ask: &NotifyAsk,
    wishes: Wishes,
    origin: &Origin,
    clock: &dyn Clock,
    [mail, web]: [&dyn Carrier; 2],
) -> Result<Map<String, Value>> {
    let (carrier, to) = match ask {
        NotifyAsk::TestRecipient(address) => (mail, wishes.recipient(address)?.address.clone()),
        _ => (web, String::new()),
    };
    if std::ptr::addr_eq(carrier, web) && wishes.webhook.is_none() {
        let message = "there is no webhook";
        return Err(Error::refused(
            Kind::NotFound,
            message,
            "'headstack notify webhook set'",
        ));
    }
    if std::ptr::addr_eq(carrier, mail) && wishes.smtp.server.is_empty() {
        let message = "there is no mail server";
        return Err(Error::refused(Kind::NotFound, message, "'headstack notify smtp set'"));
    }
    let mut event = Event::new(Name::TestMessage, "a test, asked for by an operator");
    event.time_us = u64::try_from(clock.now().as_microsecond()).unwrap_or(0);
    let parcel = Parcel {
        to,
        wishes,
        origin: origin.clone(),
        events: vec![event],
        left_out: 0,
    };
    match carrier.carry(&parcel) {
        Ok(()) => Ok(Map::new()),
        Err(failure) => Err(Error::refused(
            Kind::Unavailable,
            failure.reason,
            "'headstack notify show' for how it is set",
        )),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries what is due, or waits for it if `waits`; false at the end.
    fn step(&self, way: Way, waits: bool) -> bool {
        let state = self.lock();
        if state.ending {
            return false;
        }
        match state.next(way, &self.origin, self.clock.now()) {
            Next::Wait(time) => {
                if waits {
                    drop(self.changed.wait_timeout(state, time.min(SLEEP_MAX)));
                }
            }
            Next::Carry(to, parcel, number) => {
                drop(state);
                let carrier = if way == Way::Mail { &self.mail } else { &self.web };
                // A server may bring a library to a panic; others are told all the same, and this one again later.
                let carried = catch_unwind(AssertUnwindSafe(|| carrier.carry(&parcel)));
                let panicked = |_| Err(Failure::of_server("what a server said led to a panic".to_owned()));
                let carried = carried.unwrap_or_else(panicked);
                let mut state = self.lock();
                match carried {
                    Ok(()) => state.carried(&to, &parcel, number, self.clock.now()),
                    Err(failure) => state.failed(&to, &failure, self.clock.now()),
                }
            }
        }
        true
    }
}

impl State {
    fn set_destinations(&mut self) {
        let mailed = self.wishes.recipients.iter().filter(|_| self.wishes.smtp.enabled);
        let mut wanted: Vec<(String, Vec<Level>)> = mailed
            .map(|recipient| (format!("{MAIL}{}", recipient.address), recipient.levels.clone()))
            .collect();
        wanted.extend(
            self.wishes
                .webhook
                .iter()
                .map(|hook| (WEBHOOK.to_owned(), hook.levels.clone())),
        );
        let written = self.queue.set_destinations(wanted);
        self.journaled(written);
    }

    /// Tells once that the journal cannot be written; what it would hold is in memory.
    fn journaled(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.journal_fails = false,
            Err(error) if !self.journal_fails => {
                self.journal_fails = true;
                let text = format!("events that are still to be told cannot be written down: {error}");
                self.outbox.push(Event::new(Name::StateTrouble, text));
            }
            Err(_) => {}
        }
    }

    fn next(&self, way: Way, origin: &Origin, now: Timestamp) -> Next {
        let mut wait = SLEEP_MAX;
        for to in self.queue.destinations() {
            let address = to.strip_prefix(MAIL);
            let Some(mut waiting) = self.queue.waiting(&to) else {
                continue;
            };
            if address.is_some() != (way == Way::Mail) || waiting.events.is_empty() {
                continue;
            }
            let due = match self.failures.get(&to) {
                Some((_, due)) => due.as_second(),
                None if way == Way::Web => now.as_second(),
                None => due_s(&waiting, self.wishes.digest_s, now.as_second()),
            };
            let left_s = due - now.as_second();
            if left_s > 0 {
                wait = wait.min(Duration::from_secs(left_s.unsigned_abs()));
                continue;
            }
            if way == Way::Web {
                waiting.events.truncate(1);
                waiting.numbers.truncate(1);
            }
            let parcel = Parcel {
                to: address.unwrap_or_default().to_owned(),
                wishes: self.wishes.clone(),
                origin: origin.clone(),
                events: waiting.events,
                left_out: waiting.progress.left_out,
            };
            let last = waiting.numbers.last().copied().unwrap_or(waiting.progress.up_to);
            return Next::Carry(to, Box::new(parcel), last);
        }
        Next::Wait(wait)
    }

    fn carried(&mut self, to: &str, parcel: &Parcel, number: u64, now: Timestamp) {
        self.failures.remove(to);
        let worst = worst_of(&parcel.events);
        let digest_s = i64::from(self.wishes.digest_s);
        let written = self.queue.advance(to, |progress: &mut Progress| {
            let gathering = (0..digest_s).contains(&(now.as_second() - progress.told_s));
            progress.worst = if gathering { worst.max(progress.worst) } else { worst };
            progress.told_s = now.as_second();
            progress.up_to = number;
            progress.left_out = progress.left_out.saturating_sub(parcel.left_out);
            progress.troubled = false;
        });
        self.journaled(written);
    }

    /// Tries again later, ever less often; says so once.
    fn failed(&mut self, to: &str, failure: &Failure, now: Timestamp) {
        let is_mail = to.starts_with(MAIL);
        let alike = |other: &String| other == to || (failure.of_server && is_mail && other.starts_with(MAIL));
        let all: Vec<String> = self.queue.destinations().into_iter().filter(alike).collect();
        log::warn!("{to}: {}", failure.reason);
        let mut told_before = true;
        for other in all {
            let times = self.failures.get(&other).map_or(0, |(times, _)| *times);
            let pause_s = (RETRY_S << times.min(16)).min(RETRY_MAX_S);
            let due = Timestamp::from_second(now.as_second() + pause_s).unwrap_or(Timestamp::MAX);
            self.failures.insert(other.clone(), (times + 1, due));
            let troubled = self
                .queue
                .waiting(&other)
                .is_some_and(|waiting| waiting.progress.troubled);
            told_before &= troubled;
            if !troubled {
                let written = self.queue.advance(&other, |progress| progress.troubled = true);
                self.journaled(written);
            }
        }
        if !told_before {
            let whom = to.strip_prefix(MAIL).filter(|_| !failure.of_server).unwrap_or("");
            let whom = if whom.is_empty() {
                String::new()
            } else {
                format!(" to {whom}")
            };
            let text = format!(
                "events cannot be told{whom}: {}; they are kept, and it is tried again",
                failure.reason
            );
            self.outbox.push(Event::new(Name::NotifyFailed, text));
        }
    }

    fn destination_facts(&self) -> Value {
        let facts = |to: &String| {
            let waiting = self.queue.waiting(to)?;
            let told = Some(waiting.progress.told_s).filter(|told_s| *told_s > 0);
            Some(json!({
                "to": to.strip_prefix(MAIL).unwrap_or(to),
                "waiting": waiting.events.len(),
                "left_out": waiting.progress.left_out,
                "told": told.and_then(|told_s| Timestamp::from_second(told_s).ok()).map(|time| time.to_string()),
                "troubled": waiting.progress.troubled,
            }))
        };
        self.queue.destinations().iter().filter_map(facts).collect()
    }
}

fn worst_of(events: &[Event]) -> Level {
    events.iter().map(|event| event.level).max().unwrap_or_default()
}

/// When a mail with what waits is due, in seconds since 1970.
fn due_s(waiting: &Waiting, digest_s: u32, now_s: i64) -> i64 {
    let oldest_us = waiting.events.first().map_or(0, |event| event.time_us);
    let came_s = i64::try_from(oldest_us / 1_000_000).unwrap_or(0).min(now_s);
    let progress = &waiting.progress;
    // A clock that was set back makes nobody wait for longer than the interval.
    let gathered_s = progress.told_s.min(now_s) + i64::from(digest_s);
    let worse = worst_of(&waiting.events) > progress.worst;
    let settled_s = came_s + SETTLE_S;
    if worse { settled_s } else { settled_s.max(gathered_s) }
}

#[cfg(test)]
mod tests;
