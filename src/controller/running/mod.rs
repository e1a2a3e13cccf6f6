//! The controller of a store while it runs: one process that has all arrays of the store in use and takes care of them.
//!
//! A thread looks at everything once a second, or when it is woken: it tells what happened as events ([`watch`](super::watch)),
//! lets spares and returning disks join their arrays ([`arrays`]), stores counters ([`health`]) and lets a scenario go on
//! ([`asks`]). What is asked through the socket is answered by the asker's thread ([`Controller::answer`]).

mod advice;
mod arrays;
mod asks;
mod changes;
mod facts;
mod health;
mod history;
mod lending;
mod telling;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::{
    clock::HostClock,
    disk::Disks,
    error::{Error, Result},
    event::{Event, Name},
    hook,
    interface::{Ask, Tell},
    library::Reels,
    locked,
    log::Log,
    notify::Notifier,
    order::{Order, on_host},
    schedule::Schedule,
    served::{Finder, Served},
    settings::Remembered,
    store::{Store, Tenure},
    telemetry::Telemetry,
    watch::Observed,
};
use crate::{
    nbd::{Server, watch_starts},
    raid::{
        discover::{Discovery, discover},
        metadata::identity::Uuid,
    },
    series::Database,
};

use asks::Rehearsal;
use health::Health;
use lending::Moments;

/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(1);

/// A running controller.
pub struct Controller {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the controller's threads share.
struct Inner {
    store: Store,
    _tenure: Tenure,
    disks: Arc<Disks>,
    telemetry: Arc<Telemetry>,
    log: Log,
    served: Served,
    /// Share of the time that work on redundancy takes while somebody uses an array.
    share: Arc<AtomicU8>,
    remembered: Mutex<Remembered>,
    /// What the images held when they were last looked at.
    found: Mutex<Discovery>,
    /// Held while arrays come and go, and while disks join them, which takes as long as the disks take.
    changing: Mutex<Looks>,
    /// Held by whoever makes, deletes, renames or starts an array, or changes the pool, from the look at what there is to
    /// the change's end: of two who want what only one can have, the later finds it gone.
    turn: Mutex<()>,
    /// Held for a moment only: whoever asks how all is must not wait for a disk.
    seen: Mutex<Seen>,
    rehearsal: Mutex<Rehearsal>,
    health: Mutex<Health>,
    notifier: Notifier,
    schedule: Arc<Schedule>,
    /// Moments of arrays that are being read.
    moments: Moments,
    reels: Reels,
    bell: Mutex<Bell>,
    rung: Condvar,
    began: Instant,
}

/// What the last looks found.
#[derive(Default)]
struct Looks {
    arrays: BTreeMap<Uuid, Observed>,
    /// Arrays that an operator stopped: they stay so until the next rescan.
    stopped: BTreeSet<Uuid>,
    /// Arrays that a restore has: nothing starts them before they are given back.
    lent: BTreeSet<Uuid>,
    /// Spares that an array did not take: they are not offered to it again.
    declined: BTreeSet<(Uuid, String)>,
}

/// What is remembered of the arrays beside what they are.
#[derive(Default)]
struct Seen {
    /// What was told of arrays that cannot be started, or of work that failed, so that it is told once.
    told: BTreeMap<Uuid, String>,
    /// What was told of arrays that work on images that were deleted, by array and path.
    nameless: BTreeMap<(Uuid, String), String>,
    /// Where members were seen last, by slot.
    last: BTreeMap<(Uuid, usize), PathBuf>,
}

#[derive(Default)]
struct Bell {
    rings: bool,
    ending: bool,
}

impl Inner {
    /// Takes note of what an array is like now; returns what it was like.
    fn see(&self, looks: &mut Looks, uuid: Uuid, now: Observed) -> Option<Observed> {
        let mut seen = locked(&self.seen);
        for (slot, seat) in now.seats.iter().enumerate() {
            if let Some(path) = &seat.path {
                seen.last.insert((uuid, slot), path.clone());
            }
        }
        looks.arrays.insert(uuid, now)
    }
}

impl Controller {
    /// Takes over a store and starts its arrays, which the server serves from now on.
    ///
    /// # Errors
    /// The store's directories cannot be read. An array that cannot be started is told as an
    /// event and keeps nobody from the others.
    pub fn start(store: Store, tenure: Tenure, server: Arc<Server>) -> Result<Self> {
        let (remembered, trouble) = match Remembered::load(&store) {
            Ok(remembered) => (remembered, None),
            Err(error) => (Remembered::default(), Some(error)),
        };
        let telemetry = Arc::new(Telemetry::new(&store));
        let log = Log::new(Arc::clone(&telemetry));
        let disks = Arc::new(Disks::new(&store.disks())?);
        disks.rescan()?;
        let notifier = Notifier::start(&store, Arc::new(HostClock)).map_err(Error::host(store.root()))?;
        let schedule = Arc::new(Schedule::open(&store, Arc::new(HostClock)));
        let share = Arc::new(AtomicU8::new(remembered.settings.rebuild_priority.share()));
        let inner = Arc::new(Inner {
            store,
            _tenure: tenure,
            disks: Arc::clone(&disks),
            telemetry,
            log,
            served: Served::new(server, Vec::new()).with_images(images_of(&disks)),
            share,
            remembered: Mutex::new(remembered),
            found: Mutex::default(),
            changing: Mutex::default(),
            turn: Mutex::default(),
            seen: Mutex::default(),
            rehearsal: Mutex::default(),
            health: Mutex::default(),
            notifier,
            schedule,
            moments: Moments::default(),
            reels: Reels::default(),
            bell: Mutex::default(),
            rung: Condvar::new(),
            began: Instant::now(),
        });
        inner.tell(Event::new(Name::ControllerStarted, "the controller has started"));
        if let Some(trouble) = trouble {
            let text = format!("{trouble}; the defaults hold");
            inner.tell(Event::new(Name::StateTrouble, text));
        }
        locked(&inner.health).begin(&inner);
        inner.take_in();
        let thread = thread::Builder::new().name("controller".to_owned()).spawn({
            let inner = Arc::downgrade(&inner);
            move || run(&inner)
        });
        let thread = thread.map_err(Error::host(inner.store.root()))?;
        Ok(Self {
            inner,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Answers what is asked.
    ///
    /// # Errors
    /// Those of what is asked.
    pub fn answer(&self, ask: Ask, tell: Tell<'_>) -> Result<Map<String, Value>> {
        match ask {
            Ask::Store(ask) => self.inner.answer(ask, tell),
            Ask::Stop { name, disconnect } => self.inner.stop_array(name.as_deref(), disconnect),
            ask => {
                let stops_or_goes_on = matches!(
                    &ask,
                    Ask::Array {
                        order: Order::Pause | Order::Resume,
                        ..
                    }
                );
                let answered = self.inner.served.answer(ask, tell);
                let kept = self.inner.keep_pauses();
                self.inner.ring();
                match kept {
                    Err(error) if stops_or_goes_on && answered.is_ok() => Err(error),
                    _ => answered,
                }
            }
        }
    }

    /// The store's database, to be mounted while the controller runs; none while it is another process's.
    pub fn share_database(&self) -> Option<Arc<Database>> {
        self.inner.telemetry.share()
    }

    /// The server, which ends when the controller is to end.
    pub fn server(&self) -> &Arc<Server> {
        self.inner.served.server()
    }

    /// Ends: stops all arrays cleanly and gives the store back.
    ///
    /// # Errors
    /// Members or the database could not be flushed.
    pub fn stop(&self) -> Result<()> {
        locked(&self.inner.bell).ending = true;
        self.inner.rung.notify_all();
        let Some(thread) = locked(&self.thread).take() else {
            return Ok(());
        };
        // A panic of the thread has been told where it happened.
        let _ = thread.join();
        // What hangs on purpose would hang the end too.
        for disk in self.inner.disks.all() {
            disk.heal();
        }
        self.inner.schedule.stop();
        self.inner.tell_own_events();
        self.inner.look_at_arrays();
        let stopped = self.inner.served.stop_all();
        locked(&self.inner.health).end(&self.inner);
        self.inner
            .tell(Event::new(Name::ControllerStopped, "the controller has ended"));
        self.inner.notifier.stop();
        self.inner.telemetry.close()?;
        stopped
    }
}

impl Inner {
    /// Logs an event, and tells it to the hook.
    fn tell(&self, event: Event) {
        let event = self.log.record(event);
        self.notifier.take(&event);
        let program = locked(&self.remembered).settings.hook.clone();
        if let Some(program) = program {
            hook::run(&program, &event);
        }
    }

    /// Lets the thread look at once.
    fn ring(&self) {
        locked(&self.bell).rings = true;
        self.rung.notify_all();
    }

    /// Waits for the next look; false where there is none any more.
    fn rest(&self) -> bool {
        let bell = locked(&self.bell);
        let quiet = |bell: &mut Bell| !bell.rings && !bell.ending;
        let waited = self.rung.wait_timeout_while(bell, TICK, quiet);
        let (mut bell, _) = waited.unwrap_or_else(PoisonError::into_inner);
        bell.rings = false;
        !bell.ending
    }

    /// Looks at everything.
    fn look(&self) {
        self.log.settle();
        self.go_on_with_rehearsal();
        self.look_for_disks();
        self.look_at_arrays();
        locked(&self.health).tick(self);
        self.keep_schedule();
        self.tell_own_events();
    }

    /// Sees what the images hold.
    fn discover(&self) -> Discovery {
        watch_starts();
        let found = discover(&self.disks.images());
        locked(&self.found).clone_from(&found);
        found
    }

    /// Changes what the store remembers, durably.
    fn remember(&self, change: impl FnOnce(&mut Remembered)) -> Result<()> {
        let mut remembered = locked(&self.remembered);
        let mut wish = remembered.clone();
        change(&mut wish);
        if wish != *remembered {
            wish.save(&self.store)?;
            *remembered = wish;
        }
        Ok(())
    }

    /// Settings at the moment.
    fn settings(&self) -> super::settings::Settings {
        locked(&self.remembered).settings.clone()
    }

    /// Share of the time that work on redundancy may take.
    fn share(&self) -> impl Fn() -> u8 + Send + Sync + 'static {
        let (share, server) = (Arc::clone(&self.share), Arc::clone(self.served.server()));
        move || {
            if server.clients() == 0 {
                100
            } else {
                share.load(Ordering::Relaxed)
            }
        }
    }
}

/// Finds images: a disk of the store with its counters and faults, another image as it is.
fn images_of(disks: &Arc<Disks>) -> Box<Finder> {
    let disks = Arc::clone(disks);
    Box::new(move |path| {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match disks.named(&real.to_string_lossy()) {
            Ok(disk) => Ok(disks.image(&disk)),
            Err(_) => on_host(path),
        }
    })
}

/// Looks at everything until the controller ends.
fn run(inner: &Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        inner.look();
        if !inner.rest() {
            return;
        }
    }
}
