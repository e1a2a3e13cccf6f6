//! What the controller advises about an array: its state, what may be asked of it, and the steps that bring it back.
//!
//! The steps are [`explain`](crate::controller::explain)'s; here is gathered what it has to know. No disk is asked for it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Inner, changes::set_of, locked};
use crate::{
    controller::{
        error::Result,
        explain::{Place, steps},
        served::keeper_of,
    },
    raid::{
        Array, Slot,
        discover::{ArraySet, Contents, Discovery},
        health::ArrayState,
    },
};

impl Inner {
    /// Explains one array.
    pub(super) fn explain(&self, name: &str) -> Result<Map<String, Value>> {
        let found = locked(&self.found).clone();
        let set = set_of(&found, name)?;
        Ok(self.explained(&found, set))
    }

    /// Explains the arrays that are not well.
    pub(super) fn advice(&self, found: &Discovery) -> Vec<Value> {
        let unwell = |set: &&ArraySet| self.state_of(set) > ArrayState::Initializing;
        let sets = found.arrays.iter().filter(unwell);
        sets.map(|set| Value::Object(self.explained(found, set))).collect()
    }

    /// State of an array that is served; one that is not cannot be used.
    fn state_of(&self, set: &ArraySet) -> ArrayState {
        let keepers = self.served.all();
        let keeper = keeper_of(&keepers, Some(&set.uuid.to_string()));
        keeper.map_or(ArrayState::Disabled, |keeper| keeper.array().state())
    }

    fn explained(&self, found: &Discovery, set: &ArraySet) -> Map<String, Value> {
        let state = self.state_of(set);
        let actions: Vec<&str> = state.actions().iter().map(|action| action.name()).collect();
        let steps = steps(set, state, &self.place_of(found, set));
        let (texts, ways): (Vec<_>, Vec<_>) = steps.into_iter().map(|step| (step.text, step.ways)).unzip();
        Map::from_iter([
            ("name".to_owned(), json!(set.name)),
            ("uuid".to_owned(), json!(set.uuid.to_string())),
            ("state".to_owned(), json!(state.name())),
            ("status".to_owned(), json!(state.status())),
            ("explanation".to_owned(), json!(state.explanation())),
            ("actions".to_owned(), json!(actions)),
            ("steps".to_owned(), json!(texts)),
            ("ways".to_owned(), json!(ways)),
        ])
    }

    fn place_of(&self, found: &Discovery, set: &ArraySet) -> Place {
        let keepers = self.served.all();
        let keeper = keeper_of(&keepers, Some(&set.uuid.to_string()));
        let taken = |array: &Array| -> Vec<Slot> {
            let members = array.status().members;
            let seats = members.iter().filter(|seat| seat.rebuilt_bytes.is_some());
            seats.map(|seat| seat.slot).collect()
        };
        let pool = locked(&self.remembered).spares.clone();
        let blank = found.images.iter().filter(|report| report.contents == Contents::Blank);
        let blank = blank.map(|report| report.image.path());
        let last: BTreeMap<Slot, _> = {
            let seen = locked(&self.seen);
            let own = seen.last.iter().filter(|((array, _), _)| *array == set.uuid);
            own.filter_map(|((_, slot), path)| Some((Slot(u16::try_from(*slot).ok()?), path.clone())))
                .collect()
        };
        Place {
            socket: self.store.socket(),
            directory: self.store.disks(),
            store: Some(self.store.root().to_path_buf()),
            taken: keeper
                .as_ref()
                .map_or_else(|_| Vec::new(), |keeper| taken(keeper.array())),
            last,
            pulled: self
                .disks
                .all()
                .iter()
                .filter(|disk| disk.is_pulled())
                .map(|disk| disk.path().to_path_buf())
                .collect(),
            blank: blank
                .filter(|path| pool.iter().all(|spare| !path.ends_with(spare)))
                .collect(),
            halted: keeper.is_ok_and(|keeper| keeper.is_halted()),
        }
    }
}
