//! What a verb asks of an array that is in use, and how it is carried out.
//!
//! Orders, progress and results are JSON, one document a line, on the control socket; in the process itself they are
//! values. A member is named by its slot, by its path or by the name of its file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::keeper::{Keeper, Work};
use crate::{
    cli::{
        exit::{Code, Failure},
        images::{image, new_uuid},
    },
    raid::{
        self, Array, Slot,
        add::Added,
        array::{MemberStatus, Status},
        health::{ArrayState, Facts, Work as Running},
        rebuild::Progress,
    },
};

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// How the array is.
    Status,
    /// Take a member out as if it had failed.
    Fail {
        /// Which.
        member: String,
    },
    /// Take an image in: as the member it was, in a free slot, or as a spare.
    Add {
        /// The image.
        image: PathBuf,
        /// Answer when it is filled.
        wait: bool,
    },
    /// Fill members that are new, and make redundancy right where it may not be.
    Rebuild,
}

/// An order for one array of a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Name or UUID; none for the only one.
    pub array: Option<String>,
    /// What is asked.
    pub order: Order,
}

/// What is answered: any number of lines of progress, then one of the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How far it is.
    Progress {
        /// Bytes that are done.
        done_bytes: u64,
        /// All bytes.
        whole_bytes: u64,
    },
    /// It is done; the facts.
    Done(Map<String, Value>),
    /// It is not.
    Failed {
        /// Exit code of the verb.
        code: u8,
        /// Why not, and what to try.
        message: String,
    },
}

/// Told how far an order is.
pub type Tell<'a> = &'a mut dyn FnMut(Progress) -> Result<()>;

/// Carries out an order and gives the facts of its result.
///
/// # Errors
/// The array's state does not allow it, there is no such member, or I/O failed.
pub fn perform(keeper: &Keeper, order: &Order, tell: Tell<'_>) -> Result<Map<String, Value>> {
    let array = keeper.array();
    if array.is_read_only() && !matches!(order, Order::Status) {
        let message = format!("array {} is in use for reading only", array.name());
        return Err(Failure::new(Code::NotPermitted, message, "again where it is served for writing").into());
    }
    match order {
        Order::Status => {}
        Order::Fail { member } => fail(array, member)?,
        Order::Add { image: path, wait } => {
            let added = array.add(&image(path)?, new_uuid()?)?;
            if *wait && added != Added::Spare {
                keeper.finish(tell)?;
            } else {
                keeper.nudge();
            }
            let mut facts = facts(keeper);
            facts.insert("added".to_owned(), added_fact(added));
            return Ok(facts);
        }
        Order::Rebuild => keeper.finish(tell)?,
    }
    Ok(facts(keeper))
}

/// Takes a member out, unless the array needs it.
fn fail(array: &Array, member: &str) -> Result<()> {
    let status = array.status();
    let slot = slot_of(&status, member)?;
    let absent = |seat: &&MemberStatus| seat.slot == slot || seat.path.is_none() || seat.rebuilt_bytes.is_some();
    let without: Vec<Slot> = status.members.iter().filter(absent).map(|seat| seat.slot).collect();
    if array.geometry().can_read(&without) {
        return Ok(array.fail_member(slot)?);
    }
    let array = status.name;
    Err(raid::Error::MemberNeeded { array, slot }.into())
}

fn added_fact(added: Added) -> Value {
    match added {
        Added::Spare => json!({"as": "spare"}),
        Added::Rebuild(slot) => json!({"as": "new-member", "slot": slot.0}),
        Added::Return(slot) => json!({"as": "returning-member", "slot": slot.0}),
    }
}

/// The slot that a user means.
fn slot_of(status: &Status, member: &str) -> Result<Slot> {
    let given = std::fs::canonicalize(member).unwrap_or_else(|_| PathBuf::from(member));
    let is = |path: &Path| path == given || path.file_name().is_some_and(|name| name.to_str() == Some(member));
    let number = member.parse().ok();
    let named = status.members.iter().find(|seat| seat.path.as_deref().is_some_and(is));
    let numbered = || {
        let taken = |seat: &&MemberStatus| seat.path.is_some();
        status
            .members
            .iter()
            .filter(taken)
            .find(|seat| Some(seat.slot.0) == number)
    };
    match named.or_else(numbered) {
        Some(seat) => Ok(seat.slot),
        None => Err(Failure::new(
            Code::NotFound,
            format!("array {} has no member {member}", status.name),
            "'headstack array show' for its members",
        )
        .into()),
    }
}

/// The state that an array is in, by the guide's table.
pub fn state_of(keeper: &Keeper) -> ArrayState {
    let status = keeper.array().status();
    let work = keeper.work().map(|(work, _)| work);
    let count = |which: &dyn Fn(&MemberStatus) -> bool| {
        let found = status.members.iter().filter(|member| which(member)).count();
        u16::try_from(found).unwrap_or(u16::MAX)
    };
    let resyncing = work == Some(Work::Resync);
    ArrayState::of(Facts {
        missing: count(&|member| member.path.is_none()),
        out_of_date: count(&|member| member.rebuilt_bytes.is_some()),
        rebuilding: work == Some(Work::Rebuild),
        inconsistent: status.needs_resync && !resyncing,
        initialization: if resyncing { Running::Running } else { Running::None },
        ..Facts::default()
    })
}

/// All that is known of an array in use.
pub fn facts(keeper: &Keeper) -> Map<String, Value> {
    let array = keeper.array();
    let status = array.status();
    let state = state_of(keeper);
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
    let work = keeper.work().map(|(work, progress)| {
        json!({
            "kind": work.name(),
            "done_bytes": progress.map(|progress| progress.done_bytes),
            "whole_bytes": progress.map(|progress| progress.whole_bytes),
        })
    });
    let facts = json!({
        "name": status.name,
        "uuid": status.uuid.to_string(),
        "level": status.level.name(),
        "size_bytes": status.size_bytes,
        "state": state.name(),
        "status": state.status(),
        "read_only": array.is_read_only(),
        "degraded": status.degraded,
        "dirty": status.dirty,
        "needs_resync": status.needs_resync,
        "events": status.events,
        "members": members,
        "spares": status.spares,
        "work": work,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}
