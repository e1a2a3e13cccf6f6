//! The archive that `headstack doctor --bundle` makes for whoever is asked for help: facts of the machine, the store's status
//! and its events.
//!
//! It holds no data of arrays or series and none of the files of `state`, where passwords are.

use std::{fs::File, io::Write as _, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use tar::{Builder, Header};

use crate::{
    cli::store::ask_if_running,
    controller::{
        Event, Store,
        interface::StoreAsk,
        log::{Query, read},
    },
};

/// Events in the archive at most: the newest.
const EVENTS_MAX: usize = 10_000;

/// Writes the archive.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn write(path: &Path, store: Option<&Store>, doctor: &Map<String, Value>) -> Result<()> {
    let place = || path.display().to_string();
    let mut archive = Builder::new(File::create_new(path).with_context(place)?);
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(now);
        archive.append_data(&mut header, name, bytes).with_context(place)
    };
    add("doctor.json", &serde_json::to_vec_pretty(doctor)?)?;
    if let Some(store) = store {
        if let Some(status) = ask_if_running(store, StoreAsk::Status)? {
            add("status.json", &serde_json::to_vec_pretty(&status)?)?;
        }
        let query = Query {
            count: EVENTS_MAX,
            ..Query::default()
        };
        let events: Vec<String> = match ask_if_running(
            store,
            StoreAsk::Events {
                query: query.clone(),
                wait_s: 0,
            },
        )? {
            Some(answer) => answer["events"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Value::to_string)
                .collect(),
            None => read(&store.series(), &query)?
                .iter()
                .map(|event: &Event| event.facts().to_string())
                .collect(),
        };
        add("events.jsonl", events.join("\n").as_bytes())?;
    }
    let mut file = archive.into_inner().with_context(place)?;
    file.flush().and_then(|()| file.sync_all()).with_context(place)
}
