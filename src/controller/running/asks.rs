//! What is asked of the controller itself: disks, spares, settings, events, rehearsals.
//!
//! Each change is an event. What an operator's rehearsal does to a disk is done there and then; what follows from it, the
//! controller finds out as it would of a real disk.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::{Map, Value};

use super::{Inner, locked};
use crate::controller::{
    disk::{
        Disk,
        faults::Fault,
        scenario::{Deed, Scenario, Step},
    },
    error::{Error, Kind, Result},
    event::{Event, Name},
    interface::{DiskDeed, StoreAsk, Tell},
    library,
    log::Query,
    metrics,
    order::fail_all_on,
};
use crate::raid::{
    self,
    discover::{Contents, discover},
};

/// Longest time that events are waited for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Events of an answer at most.
const EVENTS_MAX: usize = 10_000;

/// A scenario that is under way.
#[derive(Default)]
pub(super) struct Rehearsal {
    steps: VecDeque<Step>,
    chance: Option<Rng>,
    /// Requests before it began.
    from: u64,
}

impl Inner {
    /// Answers what is asked.
    pub(super) fn answer(&self, ask: StoreAsk, tell: Tell<'_>) -> Result<Map<String, Value>> {
        match ask {
            StoreAsk::FreezeArray { name, moment } => return self.freeze_array(&name, &moment, tell),
            StoreAsk::ReadArray {
                moment,
                offset_bytes,
                length_bytes,
            } => return self.moments.read(&moment, offset_bytes, length_bytes),
            StoreAsk::LendArray { name } => return self.lend_array(&name, tell),
            StoreAsk::LeftOut { name, reason } => {
                let text = format!("array {name} is left out of a dump: {reason}");
                self.tell(Event::new(Name::LeftOut, text).of(&name));
            }
            StoreAsk::Status => return Ok(self.facts()),
            StoreAsk::Note { user, text } => self.tell(Event::new(Name::UserAction, format!("{user}: {text}"))),
            StoreAsk::Rescan => {
                locked(&self.changing).stopped.clear();
                self.look_for_disks();
                self.take_in();
                self.look_at_arrays();
                return Ok(self.facts());
            }
            StoreAsk::Disk { name, deed } => {
                let disk = self.disks.named(&name)?;
                self.treat(&disk, &deed)?;
                return Ok(self.disk_facts(&disk));
            }
            StoreAsk::Rehearse { scenario } => self.rehearse(&scenario)?,
            StoreAsk::Spare { name, add: true, yes } => self.add_spare(&name, yes)?,
            StoreAsk::Spare { name, .. } => self.remove_spare(&name)?,
            StoreAsk::Explain { name } => return self.explain(&name),
            StoreAsk::CreateArray(wish) => return self.create_array(&wish),
            StoreAsk::DeleteArray { name, yes } => return self.delete_array(&name, yes),
            StoreAsk::RenameArray { name, new } => return self.rename_array(&name, &new),
            StoreAsk::StartArray { name } => return self.start_array(&name),
            StoreAsk::History { disk, attribute, span } => return self.history(&disk, &attribute, &span),
            StoreAsk::Series => return library::series(&self.telemetry),
            StoreAsk::Points { series, varlen, span } => {
                return library::points(&self.telemetry, &series, varlen, &span);
            }
            StoreAsk::Snapshots => return library::snapshots(&self.telemetry),
            StoreAsk::CreateSnapshot { name } => {
                let name = library::create_snapshot(&self.telemetry, name)?;
                return Ok(Map::from_iter([("name".to_owned(), name.into())]));
            }
            StoreAsk::RemoveSnapshot { name } => library::remove_snapshot(&self.telemetry, &name)?,
            StoreAsk::FindFiles { text } => return library::find_files(&self.store, &text),
            StoreAsk::Metrics => {
                let text = metrics::text(&self.facts());
                return Ok(Map::from_iter([("text".to_owned(), text.into())]));
            }
            StoreAsk::PlanRestore(restore) => return self.plan_restore(&restore),
            StoreAsk::Tapes => return library::tapes(&self.store, &self.reels),
            StoreAsk::Set { key, value } => return self.set(&key, &value),
            StoreAsk::Events { query, wait_s } => return self.events(query, wait_s),
            StoreAsk::Notify(ask) => return self.notifier.answer(ask),
            StoreAsk::Schedule(ask) => return self.asked_of_schedule(ask),
            StoreAsk::ClearEvents => self.log.clear()?,
            StoreAsk::TestEvent => {
                self.tell(Event::new(Name::TestMessage, "a test, asked for by an operator"));
            }
        }
        Ok(Map::new())
    }

    fn treat(&self, disk: &Arc<Disk>, deed: &DiskDeed) -> Result<()> {
        let path = disk.path().display().to_string();
        let name = disk.name();
        match deed {
            DiskDeed::Pull => {
                disk.pull();
                self.tell(Event::new(Name::DiskRemoved, format!("the disk {name} was pulled")).at(&path));
                // What is not used would not be missed before its next request.
                for keeper in self.served.all() {
                    match fail_all_on(keeper.array(), disk.path()) {
                        Err(Error::Array(raid::Error::MemberNeeded { .. })) => keeper.array().look_for_members(),
                        failed => drop(failed),
                    }
                }
                self.look_at_arrays();
            }
            DiskDeed::Insert => {
                disk.insert();
                self.tell(Event::new(Name::DiskInserted, format!("the disk {name} was inserted")).at(path));
                self.take_in();
            }
            DiskDeed::Inject(text) => {
                let fault: Fault = text
                    .parse()
                    .map_err(|error: crate::controller::disk::faults::NoFault| {
                        Error::refused(Kind::Usage, error.to_string(), "one of them")
                    })?;
                disk.inject(fault);
                self.tell(Event::new(Name::Rehearsal, format!("the disk {name} has a fault: {fault}")).at(path));
            }
            DiskDeed::Heal => {
                disk.heal();
                self.tell(Event::new(Name::Rehearsal, format!("the disk {name} has no faults any more")).at(path));
            }
            DiskDeed::Identify => {
                self.tell(
                    Event::new(Name::Rehearsal, format!("the disk {name} shows where it is: {path}")).at(path.clone()),
                );
            }
        }
        self.ring();
        Ok(())
    }

    fn rehearse(&self, text: &str) -> Result<()> {
        let scenario = Scenario::parse(text).map_err(|error| {
            Error::refused(
                Kind::Usage,
                error.to_string(),
                "'headstack disk inject --help' for what a scenario is",
            )
        })?;
        for step in &scenario.steps {
            if let Some(name) = &step.disk {
                self.disks.named(name)?;
            }
        }
        let count = scenario.steps.len();
        *locked(&self.rehearsal) = Rehearsal {
            steps: scenario.steps.into(),
            chance: Some(Rng::with_seed(scenario.seed)),
            from: self.disks.requests(),
        };
        let text = format!("a scenario of {count} steps with seed {} begins", scenario.seed);
        self.tell(Event::new(Name::Rehearsal, text));
        self.ring();
        Ok(())
    }

    /// Does the steps that are due.
    pub(super) fn go_on_with_rehearsal(&self) {
        loop {
            let mut rehearsal = locked(&self.rehearsal);
            let made = self.disks.requests().saturating_sub(rehearsal.from);
            let Some(step) = rehearsal.steps.pop_front_if(|step| step.after <= made) else {
                return;
            };
            let chance = rehearsal.chance.get_or_insert_with(|| Rng::with_seed(0));
            let disks = self.disks.all();
            let disk = match &step.disk {
                Some(name) => self.disks.named(name).ok(),
                None => chance.choice(&disks).cloned(),
            };
            let Some(disk) = disk else { continue };
            let deed = match step.deed {
                Deed::Pull => DiskDeed::Pull,
                Deed::Insert => DiskDeed::Insert,
                Deed::Heal => DiskDeed::Heal,
                Deed::Inject(fault) => DiskDeed::Inject(fault.to_string()),
                Deed::InjectSomewhere { length_bytes } => {
                    let size = std::fs::metadata(disk.path()).map_or(0, |metadata| metadata.len());
                    let offset_bytes = chance.u64(..(size / 512).max(1)) * 512;
                    DiskDeed::Inject(
                        Fault::BadSector {
                            offset_bytes,
                            length_bytes,
                        }
                        .to_string(),
                    )
                }
            };
            drop(rehearsal);
            if let Err(error) = self.treat(&disk, &deed) {
                log::warn!("{error}");
            }
        }
    }

    fn add_spare(&self, name: &str, yes: bool) -> Result<()> {
        let _turn = locked(&self.turn);
        let disk = self.disks.named(name)?;
        let name = disk.name();
        let refused = |message: String, remedy: &str| Err(Error::refused(Kind::Refused, message, remedy));
        if locked(&self.remembered).spares.iter().any(|spare| spare == name) {
            let message = format!("{name} is in the spare pool already");
            return Err(Error::refused(Kind::Exists, message, "'headstack spare ls'"));
        }
        let found = discover(&[self.disks.image(&disk)]);
        match found.images.first().map(|report| &report.contents) {
            Some(Contents::Blank) => {}
            Some(Contents::Member) => {
                return refused(
                    format!("{name} is a member of an array"),
                    "'headstack array remove' first",
                );
            }
            Some(contents) if !yes => {
                let message = format!("{name} {contents}, which would be lost when it is used");
                return refused(message, "another disk, or --yes to do it");
            }
            _ => {}
        }
        self.remember(|remembered| remembered.spares.push(name.to_owned()))?;
        locked(&self.changing).declined.clear();
        let text = format!("{name} went to the spare pool");
        self.tell(Event::new(Name::SpareAdded, text).at(disk.path().display().to_string()));
        self.ring();
        Ok(())
    }

    fn remove_spare(&self, name: &str) -> Result<()> {
        let _turn = locked(&self.turn);
        let name = name.rsplit('/').next().unwrap_or(name);
        if locked(&self.remembered).spares.iter().all(|spare| spare != name) {
            let message = format!("{name} is not in the spare pool");
            return Err(Error::refused(Kind::NotFound, message, "'headstack spare ls'"));
        }
        self.remember(|remembered| remembered.spares.retain(|spare| spare != name))?;
        self.tell(Event::new(Name::SpareRemoved, format!("{name} left the spare pool")));
        Ok(())
    }

    fn set(&self, key: &str, value: &str) -> Result<Map<String, Value>> {
        let settings = self.settings().with(key, value)?;
        self.remember(|remembered| remembered.settings = settings.clone())?;
        self.share
            .store(settings.rebuild_priority.share(), std::sync::atomic::Ordering::Relaxed);
        for keeper in self.served.all() {
            keeper.set_stops_at_unreadable(!settings.continue_on_error);
            keeper.nudge();
        }
        self.tell(Event::new(Name::SettingChanged, format!("{key} is {value} now")));
        self.ring();
        match serde_json::to_value(&settings) {
            Ok(Value::Object(facts)) => Ok(facts),
            _ => Ok(Map::new()),
        }
    }

    fn events(&self, query: Query, wait_s: u64) -> Result<Map<String, Value>> {
        let query = Query {
            count: query.count.min(EVENTS_MAX),
            ..query
        };
        let patience = Duration::from_secs(wait_s).min(WAIT_MAX);
        let events = self.log.wait(&query, patience)?;
        let told: Vec<Value> = events.iter().map(Event::facts).collect();
        Ok(Map::from_iter([("events".to_owned(), told.into())]))
    }
}
