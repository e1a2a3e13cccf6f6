//! What is told of an array in use: its state in the guide's words, its members, what is being done to it.
//!
//! Plain JSON, the same for verbs, pages and the socket.

use serde_json::{Map, Value, json};

use crate::{
    nbd::Keeper,
    raid::{Array, array::Reshaping},
};

/// The name of an array's level, with RAID 50 as one.
pub fn level_name(array: &Array) -> &'static str {
    if array.legs().is_empty() {
        array.level().name()
    } else {
        "raid50"
    }
}

/// All that is known of an array in use.
pub fn facts(keeper: &Keeper) -> Map<String, Value> {
    let array = keeper.array();
    let status = array.status();
    let state = array.state();
    let members: Vec<Value> = status
        .members
        .iter()
        .map(|member| {
            let standing = match (&member.path, member.rebuilt_bytes) {
                (None, _) => "missing",
                (Some(_), Some(_)) => "rebuilding",
                (Some(_), None) => "in sync",
            };
            json!({
                "slot": member.slot.0,
                "path": member.path,
                "standing": standing,
                "rebuilt_bytes": member.rebuilt_bytes,
                "read_errors": member.read_errors,
            })
        })
        .collect();
    let own = keeper.work().map(|(work, progress)| (work.name(), progress));
    let work = own.or_else(|| Some(("verify", Some(keeper.visitor()?))));
    let work = work.or_else(|| keeper.is_halted().then_some(("paused", None)));
    let work = work.map(|(kind, progress)| {
        let speed = keeper.speed();
        json!({
            "kind": kind,
            "done_bytes": progress.map(|progress| progress.done_bytes),
            "whole_bytes": progress.map(|progress| progress.whole_bytes),
            "bytes_per_second": speed.map(|(rate, _)| rate),
            "eta_seconds": speed.map(|(_, left)| left.as_secs()),
        })
    });
    let facts = json!({
        "name": status.name,
        "uuid": status.uuid.to_string(),
        "level": level_name(array),
        "size_bytes": status.size_bytes,
        "state": state.name(),
        "status": state.status(),
        "icon": state.icon(),
        "explanation": state.explanation(),
        "actions": state.actions().iter().map(|action| action.name()).collect::<Vec<_>>(),
        "halted": keeper.is_halted(),
        "fault": keeper.fault(),
        "chunk_bytes": array.geometry().chunk_bytes(),
        "cache": if array.is_write_through() { "write-through" } else { "write-back" },
        "read_only": array.is_read_only(),
        "degraded": status.degraded,
        "dirty": status.dirty,
        "needs_resync": status.needs_resync,
        "events": status.events,
        "members": members,
        "spares": status.spares,
        "reshape": status.reshape.as_ref().map(reshape_facts),
        "work": work,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// Facts of a reshape: where it goes, and how far it is.
pub fn reshape_facts(reshape: &Reshaping) -> Value {
    json!({
        "to_level": reshape.level.name(),
        "to_members": reshape.slots,
        "to_chunk_bytes": reshape.chunk_bytes,
        "to_size_bytes": reshape.size_bytes,
        "moved_bytes": reshape.done_bytes,
        "of_bytes": reshape.whole_bytes,
        "running": reshape.running,
    })
}
