//! The arrays of a running controller: how they start, what joins them, and how those that lost too much come back.
//!
//! An array is started when its images suffice for it without force. A disk that comes back is taken in where it is known;
//! a place that stays empty goes to the first disk of the spare pool that fits. An array that was disabled because disks
//! were pulled has written nothing since: when they are back it is assembled again.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::{Inner, Looks, locked};
use crate::{
    controller::{
        disk::Disk,
        error::{Error, Kind, Result},
        event::{Event, Level, Name},
        order::{fail_all_on, level_name, new_uuid},
        served::keeper_of,
        watch::{Observed, work_failed},
    },
    nbd::{Begin, Export, Keeper},
    raid::{
        self,
        add::Added,
        assemble::Assembly,
        discover::{ArraySet, Discovery, open},
        health::ArrayState,
        partition::is_on,
    },
};

impl Inner {
    fn start_found(&self, looks: &mut Looks, found: &Discovery) {
        let running = self.served.all();
        for set in &found.arrays {
            let is = |keeper: &&Arc<Keeper>| keeper.array().uuid() == set.uuid;
            if running.iter().any(|keeper| is(&keeper)) || looks.keeps(set.uuid) {
                continue;
            }
            match self.start_set(set) {
                Ok(observed) => {
                    {
                        let mut seen = locked(&self.seen);
                        seen.told.remove(&set.uuid);
                        seen.nameless.retain(|(uuid, _), _| *uuid != set.uuid);
                    }
                    observed.greeting().into_iter().for_each(|event| self.tell(event));
                    self.see(looks, set.uuid, observed);
                }
                Err(error) => {
                    let text = format!("array {} is not started: {error}", set.name);
                    if locked(&self.seen).told.insert(set.uuid, text.clone()).as_ref() != Some(&text) {
                        self.tell(Event::new(Name::NotStarted, text).of(&set.name));
                    }
                }
            }
        }
    }

    fn start_set(&self, set: &ArraySet) -> Result<Observed> {
        if let Some(conflict) = set.conflicts.first() {
            let message = format!("its images contradict each other: {conflict}");
            return Err(Error::refused(Kind::Corrupt, message, "to leave one of them out"));
        }
        if let Some(reason) = &set.refusal {
            let remedy = "'headstack array explain' for the way back";
            return Err(Error::refused(Kind::Corrupt, reason, remedy));
        }
        let array = Arc::new(open(set, Assembly::default())?);
        let description = format!("{} of {} members", level_name(&array), array.status().members.len());
        let export = Export::new(array.name(), Arc::clone(&array)).map_err(|error| {
            let remedy = "'headstack array rename' while it is stopped";
            Error::refused(Kind::Usage, error.to_string(), remedy)
        })?;
        let remembered = locked(&self.remembered).clone();
        let (settings, uuid) = (remembered.settings, set.uuid.to_string());
        array.set_write_through(remembered.write_through.contains(&uuid))?;
        let timeout = Some(Duration::from_secs(settings.member_timeout_s)).filter(|timeout| !timeout.is_zero());
        let begin = match remembered.paused.contains(&uuid) {
            true => Begin::Halted,
            false => Begin::Eager,
        };
        let keeper = Keeper::start(array, begin, Box::new(self.share()), timeout);
        let keeper = keeper.map_err(Error::host(self.store.root()))?;
        keeper.set_stops_at_unreadable(!settings.continue_on_error);
        let observed = Observed::of(&keeper);
        self.served.add(Arc::new(keeper), export.with_description(&description));
        Ok(observed)
    }

    /// Takes an array out of service, until the next rescan.
    pub(super) fn stop_array(&self, name: Option<&str>, disconnect: bool) -> Result<Map<String, Value>> {
        let mut looks = locked(&self.changing);
        let keepers = self.served.all();
        let array = Arc::clone(keeper_of(&keepers, name)?.array());
        drop(keepers);
        self.served.stop_one(Some(&array.uuid().to_string()), disconnect)?;
        looks.stopped.insert(array.uuid());
        looks.arrays.remove(&array.uuid());
        let text = format!("array {} was stopped by an operator", array.name());
        let event = Event::new(Name::DeviceDisappeared, text).with_level(Level::Information);
        self.tell(event.of(array.name()));
        Ok(Map::from_iter([("ended".to_owned(), json!(false))]))
    }

    /// Remembers of the arrays whose work was stopped that it was, durably: it waits after a restart too.
    ///
    /// # Errors
    /// An error of the host.
    pub(super) fn keep_pauses(&self) -> Result<()> {
        let keepers = self.served.all();
        self.remember(|remembered| {
            for keeper in &keepers {
                let uuid = keeper.array().uuid().to_string();
                if keeper.is_halted() {
                    remembered.paused.insert(uuid);
                } else {
                    remembered.paused.remove(&uuid);
                }
            }
        })
    }

    /// Tells what happened to the arrays, and lets disks join those that miss some.
    pub(super) fn look_at_arrays(&self) {
        let mut looks = locked(&self.changing);
        let mut changed = false;
        for keeper in self.served.all() {
            let uuid = keeper.array().uuid();
            let now = Observed::of(&keeper);
            let before = self.see(&mut looks, uuid, now.clone());
            if let Some(before) = before {
                let events = now.since(&before);
                let moved = !now.members().eq(before.members());
                changed |= moved || !events.is_empty();
                if moved {
                    now.members().for_each(|member| self.is_spare_no_more(member));
                }
                events.into_iter().for_each(|event| self.tell(event));
            }
            match keeper.fault() {
                Some(fault) if locked(&self.seen).told.get(&uuid) != Some(&fault) => {
                    self.tell(work_failed(&now.name, &fault));
                    locked(&self.seen).told.insert(uuid, fault);
                }
                Some(_) => {}
                None => {
                    locked(&self.seen).told.remove(&uuid);
                }
            }
            if now.state != ArrayState::Disabled && self.settings().auto_rebuild {
                self.offer_spare(&mut looks, &keeper, &now);
            }
        }
        if changed {
            self.discover();
        }
        // What lets work go on may be no order, such as a disk that came back.
        if let Err(error) = self.keep_pauses() {
            log::debug!("{error}");
        }
    }

    /// Lets the first spare that fits take an empty place.
    fn offer_spare(&self, looks: &mut Looks, keeper: &Keeper, now: &Observed) {
        let array = keeper.array();
        if now.empty_slots().next().is_none() || array.level().is_bare() || !array.status().spares.is_empty() {
            return;
        }
        let pool = locked(&self.remembered).spares.clone();
        for name in pool {
            let offer = (array.uuid(), name.clone());
            let Some(disk) = self.disks.named(&name).ok().filter(|disk| !disk.is_pulled()) else {
                continue;
            };
            if looks.declined.contains(&offer) {
                continue;
            }
            match self.join(keeper, &disk) {
                Ok(_) => {
                    self.leave_pool(&name);
                    let text = format!("array {}: the spare {name} takes the place of a member", now.name);
                    let path = disk.path().display().to_string();
                    self.tell(Event::new(Name::MoveSpare, text).of(&now.name).at(path));
                    return;
                }
                Err(error) => {
                    looks.declined.insert(offer);
                    self.tell(work_failed(
                        &now.name,
                        &format!("the spare {name} cannot be taken: {error}"),
                    ));
                }
            }
        }
    }

    fn join(&self, keeper: &Keeper, disk: &Disk) -> Result<Added> {
        let added = keeper.array().add(&self.disks.image(disk), new_uuid()?)?;
        keeper.go_on();
        Ok(added)
    }

    /// Takes the disk of a member out of the spare pool, whoever made it one.
    fn is_spare_no_more(&self, member: &Path) {
        let pool = locked(&self.remembered).spares.clone();
        let on_it = |name: &&String| is_on(member, &self.store.disks().join(name));
        pool.iter().filter(on_it).for_each(|name| self.leave_pool(name));
    }

    /// Takes a name out of the spare pool. The disk is in use: where that cannot be made durable now, it is with the next
    /// change that can.
    pub(super) fn leave_pool(&self, name: &str) {
        if let Err(error) = self.remember(|remembered| remembered.spares.retain(|spare| spare != name)) {
            locked(&self.remembered).spares.retain(|spare| spare != name);
            self.tell(Event::new(Name::StateTrouble, error.to_string()));
        }
    }

    /// Sees which images came and went.
    pub(super) fn look_for_disks(&self) {
        match self.disks.rescan() {
            Ok(change) if change.found.is_empty() && change.gone.is_empty() => {}
            Ok(change) => {
                for disk in &change.gone {
                    let renamed = change.found.iter().find(|found| found.is_file_of(disk));
                    self.part_with(disk, renamed.map(|found| found.name()));
                }
                for disk in &change.found {
                    let text = format!("there is a new image: {}", disk.name());
                    self.tell(Event::new(Name::DiskInserted, text).at(disk.path().display().to_string()));
                }
                self.take_in();
            }
            Err(error) => log::warn!("{error}"),
        }
    }

    /// Does without a disk whose image was deleted, replaced or renamed while arrays may have it open: it fails where its
    /// array can do so. An array that cannot goes on with the file, which has no name any more, and says so.
    fn part_with(&self, disk: &Disk, renamed: Option<&str>) {
        let (name, path) = (disk.name(), disk.path().display().to_string());
        let text = match renamed {
            Some(new) => format!("the image {name} is called {new} now"),
            None if disk.path().exists() => format!("the image {name} was replaced by another file"),
            None => format!("the image {name} is not there any more"),
        };
        self.tell(Event::new(Name::DiskRemoved, &text).at(&path));
        for keeper in self.served.all() {
            let array = keeper.array();
            match fail_all_on(array, disk.path()) {
                Err(Error::Array(raid::Error::MemberNeeded { .. })) if renamed.is_none() => {
                    let text = format!(
                        "array {} goes on with the file that was {name} and has no name any more: what it holds is lost when \
                         the controller ends; copy its data now, from its NBD export",
                        array.name()
                    );
                    self.tell(Event::new(Name::Fail, &text).of(array.name()).at(&path));
                    locked(&self.seen).nameless.insert((array.uuid(), path.clone()), text);
                }
                // It is no member there, or the array does without it.
                done => drop(done),
            }
        }
        self.look_at_arrays();
    }

    /// Looks at all disks that are plugged in: starts arrays, brings back disabled ones, takes returning members in.
    pub(super) fn take_in(&self) {
        let mut looks = locked(&self.changing);
        looks.declined.clear();
        let found = self.discover();
        for keeper in self.served.all() {
            let uuid = keeper.array().uuid();
            let Some(set) = found.arrays.iter().find(|set| set.uuid == uuid) else {
                continue;
            };
            let startable = set.refusal.is_none() && set.conflicts.is_empty();
            if keeper.array().state() == ArrayState::Disabled && startable {
                self.revive(&mut looks, &keeper);
            }
        }
        self.start_found(&mut looks, &found);
        if !self.settings().auto_rebuild {
            return;
        }
        for keeper in self.served.all() {
            let own = |set: &&ArraySet| set.uuid == keeper.array().uuid();
            if let Some(set) = found.arrays.iter().find(own)
                && keeper.array().state() != ArrayState::Disabled
            {
                self.take_back(&keeper, set);
            }
        }
    }

    /// Assembles a disabled array again.
    fn revive(&self, looks: &mut Looks, keeper: &Keeper) {
        let array = keeper.array();
        // Its members may be gone: what cannot be flushed any more was never told to be durable.
        if let Err(error) = self.served.stop_one(Some(&array.uuid().to_string()), true) {
            log::debug!("{error}");
        }
        looks.arrays.remove(&array.uuid());
    }

    /// Lets members that are back take their places.
    fn take_back(&self, keeper: &Keeper, set: &ArraySet) {
        let status = keeper.array().status();
        let in_use = |path: &std::path::Path| {
            status.members.iter().any(|seat| seat.path.as_deref() == Some(path))
                || status.spares.iter().any(|spare| spare == path)
        };
        for member in &set.members {
            if status.members.iter().all(|seat| seat.path.is_some()) {
                return;
            }
            let path = member.image.path();
            if in_use(&path) {
                continue;
            }
            let added = new_uuid().and_then(|uuid| Ok(keeper.array().add(&member.image, uuid)?));
            match added {
                Ok(_) => {
                    keeper.go_on();
                    let text = format!("array {}: {} is back", status.name, path.display());
                    self.tell(
                        Event::new(Name::DiskInserted, text)
                            .of(&status.name)
                            .at(path.display().to_string()),
                    );
                }
                Err(error) => self.tell(work_failed(&status.name, &format!("{}: {error}", path.display()))),
            }
        }
    }
}
