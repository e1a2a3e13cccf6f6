//! Arrays for dumps and restores: a moment of one to be read while its clients go on, and one taken out of service to be
//! written.
//!
//! Both last as long as the asker listens: who is killed hangs up, and the array is as it was before. An array that is lent
//! is nobody's for whoever asks, and is not started, looked for or rescanned until it is given back.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{Inner, Looks, changes::set_of, locked};
use crate::{
    controller::{
        error::{Error, Kind, Result},
        event::{Event, Name},
        interface::Tell,
        order::new_uuid,
        served::keeper_of,
    },
    nbd::frozen::Frozen,
    raid::{metadata::identity::Uuid, rebuild::Progress},
};

/// How often it is seen whether the asker still listens.
const LISTENS: Duration = Duration::from_millis(200);
/// Most bytes of an answer.
const PIECE_BYTES: u32 = 1 << 20;
/// Moments that are read at a time, at most.
const MOMENTS_MAX: usize = 64;

/// Moments of arrays, by the names that their askers made up.
#[derive(Default)]
pub(super) struct Moments {
    all: Mutex<BTreeMap<String, Arc<Frozen>>>,
}

impl Moments {
    /// Answers what is read of a moment.
    pub(super) fn read(&self, moment: &str, offset_bytes: u64, length_bytes: u32) -> Result<Map<String, Value>> {
        let found = locked(&self.all).get(moment).cloned();
        let frozen =
            found.ok_or_else(|| Error::refused(Kind::NotFound, "this moment of an array has ended", "a new one"))?;
        let size = frozen.size_bytes();
        let next = if offset_bytes < size {
            frozen.next_data(offset_bytes).map_err(Error::host(moment))?
        } else {
            None
        };
        let mut bytes = Vec::new();
        if let Some(next) = next {
            let length = u64::from(length_bytes.min(PIECE_BYTES)).min(size - next);
            bytes.resize(usize::try_from(length).unwrap_or(0), 0);
            frozen.read_at(&mut bytes, next).map_err(Error::host(moment))?;
        }
        Ok(Map::from_iter([
            ("next_bytes".to_owned(), json!(next)),
            ("bytes".to_owned(), data_encoding::BASE64.encode(&bytes).into()),
        ]))
    }
}

impl Looks {
    /// True where an array is not to be started.
    pub(super) fn keeps(&self, uuid: Uuid) -> bool {
        self.stopped.contains(&uuid) || self.lent.contains(&uuid)
    }
}

impl Inner {
    /// Lets a moment of an array be read until the asker hangs up.
    pub(super) fn freeze_array(&self, name: &str, moment: &str, tell: Tell<'_>) -> Result<Map<String, Value>> {
        let keeper = Arc::clone(keeper_of(&self.served.all(), Some(name))?);
        let array = keeper.array();
        let gone = || {
            Error::refused(
                Kind::NotFound,
                format!("array {name} is not served"),
                "'headstack status'",
            )
        };
        let export = self.served.server().exports().find(array.name()).ok_or_else(gone)?;
        let file = self.scratch()?;
        let frozen = Arc::new(Frozen::new(Arc::clone(array), file));
        {
            let mut all = locked(&self.moments.all);
            if all.len() >= MOMENTS_MAX || all.contains_key(moment) {
                let message = format!("{} moments of arrays are being read already", all.len());
                return Err(Error::refused(Kind::Busy, message, "again when a dump has ended"));
            }
            all.insert(moment.to_owned(), Arc::clone(&frozen));
        }
        export.freezer().freeze(&frozen);
        self.wait_for_asker(tell);
        locked(&self.moments.all).remove(moment);
        Ok(Map::new())
    }

    /// A file without a name, which goes with whoever has it open.
    fn scratch(&self) -> Result<File> {
        let path = self.store.state().path().join(format!("moment-{}", new_uuid()?));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(Error::host(&path))?;
        std::fs::remove_file(&path).map_err(Error::host(&path))?;
        Ok(file)
    }

    /// Takes an array out of service for the asker, until that hangs up.
    pub(super) fn lend_array(&self, name: &str, tell: Tell<'_>) -> Result<Map<String, Value>> {
        let uuid = {
            let _turn = locked(&self.turn);
            let found = self.discover();
            let set = set_of(&found, name)?;
            let uuid = set.uuid.to_string();
            if !locked(&self.changing).lent.insert(set.uuid) {
                let message = format!("array {} is being restored already", set.name);
                return Err(Error::refused(Kind::Busy, message, "again when that has ended"));
            }
            if keeper_of(&self.served.all(), Some(&uuid)).is_ok()
                && let Err(error) = self.stop_array(Some(&uuid), true)
            {
                locked(&self.changing).lent.remove(&set.uuid);
                self.take_in();
                return Err(error);
            }
            let text = format!("array {} is given to a restore: its clients are cut off", set.name);
            self.tell(Event::new(Name::Lent, text).of(&set.name));
            set.uuid
        };
        self.wait_for_asker(tell);
        {
            let mut looks = locked(&self.changing);
            looks.lent.remove(&uuid);
            looks.stopped.remove(&uuid);
        }
        if !locked(&self.bell).ending {
            self.take_in();
        }
        Ok(Map::new())
    }

    /// Waits until the asker hangs up, or the controller ends.
    fn wait_for_asker(&self, tell: Tell<'_>) {
        let here = Progress {
            done_bytes: 0,
            whole_bytes: 0,
        };
        while tell(here).is_ok() {
            let waited = self
                .rung
                .wait_timeout_while(locked(&self.bell), LISTENS, |bell| !bell.ending);
            let (bell, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if bell.ending {
                return;
            }
        }
    }
}
