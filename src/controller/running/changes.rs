//! Arrays that are made, deleted, renamed and started while the controller runs.
//!
//! An array that is deleted or renamed is taken out of service first, which clients that have it prevent.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Inner, images_of, locked};
use crate::{
    controller::{
        create::{Cache, Creation},
        error::{Error, Kind, Result},
        event::{Event, Level, Name},
        order,
        served::keeper_of,
    },
    nbd::keeper::now,
    raid::{
        discover::{ArraySet, Discovery},
        health::Action,
        stopped,
    },
};

impl Inner {
    /// Makes an array and starts it.
    pub(super) fn create_array(&self, wish: &Creation) -> Result<Map<String, Value>> {
        let _turn = locked(&self.turn);
        let taken: Vec<String> = self.discover().arrays.into_iter().map(|set| set.name).collect();
        if let Some(name) = wish.name.as_ref().filter(|name| taken.contains(name)) {
            let message = format!("there is an array {name} already");
            return Err(Error::refused(Kind::Exists, message, "another name"));
        }
        let port_of = |name: &str| self.disks.named(name).ok().map(|disk| disk.port());
        self.settings().profile.check(wish, taken.len(), &port_of)?;
        let find = images_of(&self.disks);
        let made = wish.make(&|path: &Path| find(path), &taken)?;
        let Some(uuid) = made.uuid else {
            return Ok(made.facts);
        };
        if wish.cache == Cache::WriteThrough {
            self.remember(|remembered| {
                remembered.write_through.insert(uuid.to_string());
            })?;
        }
        let used = wish.images.iter().chain(&wish.spares);
        for name in used.filter_map(|path| path.file_name()?.to_str()) {
            self.leave_pool(name);
        }
        self.take_in();
        Ok(made.facts)
    }

    /// Gives the disks of an array back.
    pub(super) fn delete_array(&self, name: &str, yes: bool) -> Result<Map<String, Value>> {
        let _turn = locked(&self.turn);
        let found = self.discover();
        let set = set_of(&found, name)?;
        let images: Vec<String> = set
            .members
            .iter()
            .map(|member| member.image.path().display().to_string())
            .collect();
        if !yes {
            let message = format!("array {} on {} would be lost", set.name, images.join(", "));
            return Err(Error::refused(Kind::Refused, message, "--yes to do it"));
        }
        self.take_out(set)?;
        stopped::delete(set)?;
        locked(&self.changing).stopped.remove(&set.uuid);
        {
            let mut seen = locked(&self.seen);
            seen.told.remove(&set.uuid);
            seen.last.retain(|(array, _), _| *array != set.uuid);
        }
        self.remember(|remembered| {
            remembered.write_through.remove(&set.uuid.to_string());
            remembered.paused.remove(&set.uuid.to_string());
        })?;
        self.discover();
        let text = format!(
            "array {} was deleted; its disks are free: {}",
            set.name,
            images.join(", ")
        );
        let event = Event::new(Name::DeviceDisappeared, text).with_level(Level::Information);
        self.tell(event.of(&set.name));
        Ok(Map::from_iter([
            ("name".to_owned(), json!(set.name)),
            ("images".to_owned(), json!(images)),
        ]))
    }

    /// Gives an array another name.
    pub(super) fn rename_array(&self, name: &str, new: &str) -> Result<Map<String, Value>> {
        let _turn = locked(&self.turn);
        stopped::checked_name(new)?;
        let found = self.discover();
        let set = set_of(&found, name)?;
        if found.arrays.iter().any(|other| other.name == new) {
            let message = format!("there is an array {new} already");
            return Err(Error::refused(Kind::Exists, message, "another name"));
        }
        if let Ok(keeper) = keeper_of(&self.served.all(), Some(&set.uuid.to_string())) {
            keeper.array().check_allows(Action::Rename)?;
        }
        self.take_out(set)?;
        let renamed = stopped::rename(set, new, now()).map_err(Error::from);
        locked(&self.changing).stopped.remove(&set.uuid);
        self.take_in();
        renamed?;
        let text = format!("array {} is called {new} now", set.name);
        self.tell(Event::new(Name::SettingChanged, text).of(new));
        self.array_facts(&set.uuid.to_string())
    }

    /// Starts an array that was stopped.
    pub(super) fn start_array(&self, name: &str) -> Result<Map<String, Value>> {
        let _turn = locked(&self.turn);
        let found = self.discover();
        let set = set_of(&found, name)?;
        locked(&self.changing).stopped.remove(&set.uuid);
        self.take_in();
        self.array_facts(&set.uuid.to_string()).map_err(|error| {
            let told = locked(&self.seen).told.get(&set.uuid).cloned();
            told.map_or(error, |text| {
                let remedy = format!("'headstack array explain {}' for the way back", set.name);
                Error::refused(Kind::Corrupt, text, remedy)
            })
        })
    }

    fn array_facts(&self, uuid: &str) -> Result<Map<String, Value>> {
        Ok(order::facts(keeper_of(&self.served.all(), Some(uuid))?))
    }

    /// Takes an array out of service, if it is served, unless clients have it.
    fn take_out(&self, set: &ArraySet) -> Result<()> {
        let uuid = set.uuid.to_string();
        if keeper_of(&self.served.all(), Some(&uuid)).is_ok() {
            self.stop_array(Some(&uuid), false)?;
        }
        Ok(())
    }
}

/// The one of the arrays found that a name or a UUID means.
pub(super) fn set_of<'a>(found: &'a Discovery, name: &str) -> Result<&'a ArraySet> {
    let is = |set: &&ArraySet| set.name == name || set.uuid.to_string() == name;
    let mut sets = found.arrays.iter().filter(is);
    match (sets.next(), sets.next()) {
        (Some(set), None) => Ok(set),
        (Some(_), Some(_)) => {
            let message = format!("several arrays are called {name}");
            Err(Error::refused(Kind::NotFound, message, "the UUID of one of them"))
        }
        (None, _) => {
            let message = format!("there is no array {name} in the store");
            Err(Error::refused(
                Kind::NotFound,
                message,
                "'headstack status' for those there are",
            ))
        }
    }
}
