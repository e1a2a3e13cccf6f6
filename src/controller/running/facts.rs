//! What the controller tells of itself: the worst first, then arrays, disks, spares, settings and the last events.
//!
//! Plain JSON, the same for a verb and for a page. No disk is asked for it: what the images hold is known from the last look,
//! so that a disk that hangs holds nobody up.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde_json::{Map, Value, json};

use super::{Inner, locked};
use crate::{
    controller::{
        disk::{Disk, smart::Smart},
        log::Query,
        neighbours, order,
    },
    raid::{
        discover::{ArraySet, Contents, Discovery},
        health::{ArrayState, DiskState},
        metadata::identity::Uuid,
        partition::is_on,
    },
};

/// Name of the user that the controller runs as, or its number where it has none.
fn user() -> String {
    let number = geteuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2) == Some(&number.as_str()));
    found
        .and_then(|fields| Some((*fields.first()?).to_owned()))
        .unwrap_or(number)
}

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
            let seen = locked(&self.seen);
            let running = |uuid| keepers.iter().any(|keeper| keeper.array().uuid() == uuid);
            let told = seen.told.iter().filter(|(uuid, _)| !running(**uuid));
            told.map(|(_, text)| text.clone()).collect()
        };
        let has = |uuid: &Uuid, image: &Path| {
            let keeper = keepers.iter().find(|keeper| keeper.array().uuid() == *uuid);
            let members = keeper.map_or_else(Vec::new, |keeper| keeper.array().status().members);
            let mut paths = members.iter().filter_map(|seat| seat.path.as_deref());
            paths.any(|member| is_on(member, image))
        };
        let told = locked(&self.seen).nameless.clone();
        let nameless = told.iter().filter(|((uuid, path), _)| has(uuid, Path::new(path)));
        let nameless: Vec<&String> = nameless.map(|(_, text)| text).collect();
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
            "advice": self.advice(&found),
            "arrays": arrays,
            "not_started": not_started,
            "nameless": nameless,
            "disks": disks,
            "spares": remembered.spares,
            "runs": self.schedule.under_way(),
            "user": user(),
            "settings": remembered.settings,
            "controllers": neighbours::all(),
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

    /// The health of a disk now.
    pub(super) fn health_of(&self, disk: &Disk) -> Smart {
        locked(&self.health).of(self, disk)
    }

    fn facts_of_disk(&self, disk: &Disk, found: &Discovery) -> Map<String, Value> {
        let path = disk.path();
        let number = found.images.iter().position(|report| report.image.path() == path);
        let report = number.and_then(|number| found.images.get(number));
        let held = found
            .arrays
            .iter()
            .flat_map(|set| set.members.iter().map(move |member| (set, member)));
        let held: Vec<(&ArraySet, PathBuf)> = held
            .filter(|(_, member)| Some(member.number) == number)
            .map(|(set, member)| (set, member.image.path()))
            .collect();
        let smart = self.health_of(disk);
        // A disk whose members stand in partitions is as well as the worst of them.
        let contents = report.map(|report| &report.contents);
        let parts = held.iter().map(|(_, member)| self.disk_state(disk, member, contents));
        let state = parts.max().unwrap_or_else(|| self.disk_state(disk, path, contents));
        let hardware = disk.hardware();
        let link = self.settings().profile.link();
        let facts = json!({
            "name": disk.name(),
            "path": path,
            "location": {"controller": 1, "port": disk.port()},
            "model": hardware.model,
            "revision": hardware.revision,
            "pcie_width": hardware.width.or(link.map(|(width, _)| width)),
            "pcie_speed": hardware.speed.as_deref().or(link.map(|(_, speed)| speed)),
            "size_bytes": report.map(|report| report.size_bytes),
            "free_bytes": report.map(|report| report.free_bytes),
            "state": state.name(),
            "icon": state.icon(),
            "explanation": state.explanation(),
            "array": held.first().map(|(set, _)| &set.name),
            "arrays": held.iter().map(|(set, _)| &set.name).collect::<Vec<_>>(),
            "pulled": disk.is_pulled(),
            "faults": disk.faults(),
            "holds": report.map(|report| report.contents.to_string()),
            "written_bytes": smart.written_bytes(),
            "smart": smart.facts(),
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }

    /// The state of a disk, in the guide's words; `member` is the path of its device that is a member.
    fn disk_state(&self, disk: &Disk, member: &Path, contents: Option<&Contents>) -> DiskState {
        if disk.is_pulled() {
            return DiskState::CriticalMissingDisk;
        }
        for keeper in self.served.all() {
            let status = keeper.array().status();
            let states = keeper.array().disk_states();
            let is = |path: &Option<PathBuf>| path.as_deref() == Some(member);
            if let Some(seat) = status.members.iter().find(|seat| is(&seat.path)) {
                let state = states.iter().find(|(slot, _)| *slot == seat.slot);
                return state.map_or(DiskState::Normal, |(_, state)| *state);
            }
            if status.spares.iter().any(|path| path == member) {
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
