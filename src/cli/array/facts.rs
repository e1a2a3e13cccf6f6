//! What is known of an array, whether it is in use or only lies in its images.
//!
//! Both give the same facts under the same keys, so that what reads them need not care. The state of an array at rest is
//! what it would be if it were started now.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::target::served;
use crate::{
    cli::{images::host_time, output::time_text},
    controller::{
        client,
        interface::Ask,
        order::{Order, reshape_facts},
    },
    raid::{
        discover::{ArraySet, SetMember, Standing},
        health::{ArrayState, Facts, Work},
    },
};

/// Facts of an array: from its server where it has one, else from its images.
///
/// # Errors
/// The server does not answer as it should.
pub fn facts(set: &ArraySet) -> Result<Map<String, Value>> {
    match served(set) {
        None => Ok(at_rest(set)),
        Some(stream) => {
            let ask = Ask::Array {
                name: Some(set.uuid.to_string()),
                order: Order::Status,
            };
            let mut live = client::ask(stream, ask, &mut |_| Ok(()))?;
            live.insert("served".to_owned(), Value::Bool(true));
            for (key, value) in at_rest(set) {
                live.entry(key).or_insert(value);
            }
            Ok(live)
        }
    }
}

/// The state of an array at rest.
pub fn state(set: &ArraySet) -> ArrayState {
    let unfilled = |member: &&SetMember| matches!(member.standing, Standing::Rebuilding { .. });
    let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    ArrayState::of(Facts {
        readable: set.refusal.is_none() && set.conflicts.is_empty(),
        missing: count(set.missing.len()),
        out_of_date: count(set.members.iter().filter(unfilled).count()),
        inconsistent: set.dirty || set.inconsistent,
        reshape: if set.reshape.is_some() {
            Work::Stopped
        } else {
            Work::None
        },
        ..Facts::default()
    })
}

fn at_rest(set: &ArraySet) -> Map<String, Value> {
    let state = state(set);
    let mut members: Vec<(u16, Value)> = Vec::new();
    for member in &set.members {
        if let Some(slot) = member.slot {
            members.push((slot.0, member_facts(member)));
        }
    }
    for slot in &set.missing {
        if !members.iter().any(|(number, _)| *number == slot.0) {
            members.push((slot.0, json!({"slot": slot.0, "path": null, "standing": "missing"})));
        }
    }
    members.sort_by_key(|(slot, _)| *slot);
    let standing = |wanted: Standing| -> Vec<Value> {
        let found = set.members.iter().filter(|member| member.standing == wanted);
        found.map(|member| json!(member.image.path())).collect()
    };
    let others: Vec<Value> = set
        .members
        .iter()
        .filter(|member| member.slot.is_none() && member.standing != Standing::Spare)
        .map(member_facts)
        .collect();
    let conflicts: Vec<String> = set.conflicts.iter().map(ToString::to_string).collect();
    let facts = json!({
        "name": set.name,
        "uuid": set.uuid.to_string(),
        "level": level_name(set),
        "layout": set.layout,
        "chunk_bytes": set.chunk_bytes,
        "size_bytes": set.size_bytes,
        "state": state.name(),
        "status": state.status(),
        "served": false,
        "degraded": !set.missing.is_empty(),
        "dirty": set.dirty,
        "reshape": set.reshape.as_ref().map(reshape_facts),
        "events": set.events,
        "created": time_text(host_time(set.created)),
        "updated": time_text(host_time(set.updated)),
        "members": members.into_iter().map(|(_, facts)| facts).collect::<Vec<_>>(),
        "spares": standing(Standing::Spare),
        "left_out": others,
        "conflicts": conflicts,
        "refusal": set.refusal,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// The name of an array's level, with RAID 50 as one.
pub fn level_name(set: &ArraySet) -> &'static str {
    if set.legs.is_empty() {
        set.level.name()
    } else {
        "raid50"
    }
}

fn member_facts(member: &SetMember) -> Value {
    let rebuilt = match member.standing {
        Standing::Rebuilding { done_bytes } => Some(done_bytes),
        _ => None,
    };
    json!({
        "slot": member.slot.map(|slot| slot.0),
        "path": member.image.path(),
        "standing": member.standing.name(),
        "rebuilt_bytes": rebuilt,
        "events": member.events,
        "uuid": member.uuid.to_string(),
    })
}
