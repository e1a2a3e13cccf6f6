//! What is told of the schedule: its tasks with their next times, and the runs that were.
//!
//! Plain JSON, the same for a verb and for a page; times are told in UTC and in the local time of the clock.

use serde_json::{Map, Value, json};

use super::task::{Book, Entry, Run};
use crate::controller::{clock::Clock, error::Result};

/// The tasks and when they are due next: `tasks`, and the `zone` of these times.
pub(super) fn shown(book: &Book, clock: &dyn Clock) -> Map<String, Value> {
    let (now, zone) = (clock.now(), clock.zone());
    let task = |entry: &Entry| {
        let next = entry.task.when.next(entry.from.max(now), &zone);
        let last = entry.runs.back();
        json!({
            "name": entry.task.name,
            "deed": entry.task.deed,
            "kind": entry.task.deed.name(),
            "object": entry.task.deed.object(),
            "when": entry.task.when,
            "missed": entry.task.missed,
            "next": next.map(|next| next.to_string()),
            "next_local": next.map(|next| next.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()),
            "running": entry.is_running(),
            "last": last,
        })
    };
    let tasks: Vec<Value> = book.tasks.iter().map(task).collect();
    let zone = zone
        .iana_name()
        .map_or_else(|| now.to_zoned(zone.clone()).strftime("%:z").to_string(), str::to_owned);
    Map::from_iter([("tasks".to_owned(), json!(tasks)), ("zone".to_owned(), json!(zone))])
}

/// The runs of a task, or of all, the newest first: `runs`.
///
/// # Errors
/// There is no such task.
pub(super) fn history(book: &mut Book, name: Option<&str>) -> Result<Map<String, Value>> {
    if let Some(name) = name {
        book.entry(name)?;
    }
    let wanted = book
        .tasks
        .iter()
        .filter(|entry| name.is_none_or(|name| name == entry.task.name));
    let mut runs: Vec<(&str, &Run)> = wanted
        .flat_map(|entry| entry.runs.iter().map(|run| (entry.task.name.as_str(), run)))
        .collect();
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.began));
    let fact = |(task, run): &(&str, &Run)| {
        let mut fact = json!(run);
        fact["task"] = json!(task);
        fact
    };
    let facts: Vec<Value> = runs.iter().map(fact).collect();
    Ok(Map::from_iter([("runs".to_owned(), json!(facts))]))
}
