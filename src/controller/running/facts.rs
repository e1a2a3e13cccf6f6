//! What the controller tells of itself: the worst first, then arrays, disks, spares, settings and the last events.
//!
//! Plain JSON, the same for a verb and for a page. No disk is asked for it: what the images hold is known from the last look,
//! so that a disk that hangs holds nobody up.

use serde_json::{Map, Value, json};

use super::{Inner, locked};
use crate::{
    controller::{disk::Disk, log::Query, order},
    raid::{
        discover::{Contents, Discovery},
        health::{ArrayState, DiskState},
    },
};

/// Events that are shown with the status.
const EVENTS_SHOWN: usize = 5;

impl Inner {
    /// How all is.
    pub(super) fn facts(&self) -> Map<String, Value> {
        let mut keepers = self.served.all();
        keepers.sort_by_key(|keeper| std::cmp::Reverse(keeper.array().state()));
        let worst = keepers.first().map(|keeper| keeper.array().state());
        let worst = worst.unwrap_or(ArrayState::Normal);
        let arrays: Vec<Value> = keepers
            .iter()
            .map(|keeper| Value::Object(order::facts(keeper)))
            .collect();
        let not_started: Vec<String> = {
            let looks = locked(&self.changing);
            let running = |uuid| keepers.iter().any(|keeper| keeper.array().uuid() == uuid);
            let told = looks.told.iter().filter(|(uuid, _)| !running(**uuid));
            told.map(|(_, text)| text.clone()).collect()
        };
        let found = locked(&self.found).clone();
        let disks: Vec<Value> = self
            .disks
            .all()
            .iter()
            .map(|disk| Value::Object(self.facts_of_disk(disk, &found)))
            .collect();
        let query = Query {
            count: EVENTS_SHOWN,
            ..Query::default()
        };
        let events = self.log.page(&query).unwrap_or_default();
        let remembered = locked(&self.remembered).clone();
        let facts = json!({
            "store": self.store.root(),
            "pid": std::process::id(),
            "seconds": self.began.elapsed().as_secs(),
            "state": worst.name(),
            "status": worst.status(),
            "explanation": worst.explanation(),
            "arrays": arrays,
            "not_started": not_started,
            "disks": disks,
            "spares": remembered.spares,
            "settings": remembered.settings,
            "telemetry_trouble": self.telemetry.trouble(),
            "events": events.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }

    /// What is known of one disk.
    pub(super) fn disk_facts(&self, disk: &Disk) -> Map<String, Value> {
        let found = locked(&self.found).clone();
        self.facts_of_disk(disk, &found)
    }

    fn facts_of_disk(&self, disk: &Disk, found: &Discovery) -> Map<String, Value> {
        let path = disk.path();
        let report = found.images.iter().find(|report| report.image.path() == path);
        let array = found
            .arrays
            .iter()
            .find(|set| set.members.iter().any(|member| member.image.path() == path));
        let smart = locked(&self.health).of(self, disk);
        let facts = json!({
            "name": disk.name(),
            "path": path,
            "size_bytes": report.map(|report| report.size_bytes),
            "free_bytes": report.map(|report| report.free_bytes),
            "state": self.disk_state(disk, report.map(|report| &report.contents)).name(),
            "array": array.map(|set| set.name.clone()),
            "pulled": disk.is_pulled(),
            "faults": disk.faults(),
            "holds": report.map(|report| report.contents.to_string()),
            "written_bytes": smart.written_bytes(),
            "smart": {
                "data_units_read": smart.units_read,
                "data_units_written": smart.units_written,
                "host_read_commands": smart.reads,
                "host_write_commands": smart.writes,
                "power_cycles": smart.power_cycles,
                "power_on_hours": smart.power_on_hours,
                "media_errors": smart.media_errors,
                "num_err_log_entries": smart.error_entries,
            },
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }

    /// The state of a disk, in the guide's words.
    fn disk_state(&self, disk: &Disk, contents: Option<&Contents>) -> DiskState {
        if disk.is_pulled() {
            return DiskState::CriticalMissingDisk;
        }
        for keeper in self.served.all() {
            let status = keeper.array().status();
            let states = keeper.array().disk_states();
            let is = |path: &Option<std::path::PathBuf>| path.as_deref() == Some(disk.path());
            if let Some(seat) = status.members.iter().find(|seat| is(&seat.path)) {
                let state = states.iter().find(|(slot, _)| *slot == seat.slot);
                return state.map_or(DiskState::Normal, |(_, state)| *state);
            }
            if status.spares.iter().any(|path| path == disk.path()) {
                return DiskState::Spare;
            }
        }
        let in_pool = locked(&self.remembered).spares.iter().any(|spare| spare == disk.name());
        match contents {
            _ if in_pool => DiskState::Spare,
            Some(Contents::FileSystem(_) | Contents::PartitionTable(_)) => DiskState::Legacy,
            Some(Contents::Member) => DiskState::CriticalRebuildRequired,
            _ => DiskState::NotInitialized,
        }
    }
}
