//! How a task is done: what concerns arrays in this process, what concerns trees and tapes by the verbs of this program.
//!
//! A dump or a restore is a process of its own: what goes wrong there cannot harm the arrays, and it does exactly what the
//! same verb does when an operator types it. The end of the controller ends it.

use std::{ffi::OsString, path::Path};

use serde_json::{Map, Value};

use super::{
    Job, drill,
    task::{Deed, Restore},
    verbs::{Course, Verbs},
};
use crate::{
    controller::{
        error::Error,
        order::{Mending, Order, on_host, perform, verdict},
    },
    nbd::Keeper,
    raid::health::ArrayState,
};

/// Does a task; the sentence says what came of it.
///
/// # Errors
/// Why it could not be done, or what is wrong with what it looked at.
pub fn done(job: &Job, keeper: Option<&Keeper>, verbs: &Verbs) -> Result<String, String> {
    match &job.task.deed {
        Deed::Verify { array, repair } => verified(found(keeper, array)?, *repair, &job.course),
        Deed::Rebuild { array } => rebuilt(found(keeper, array)?, &job.course),
        Deed::Dump { source, tape, levels } => dumped(source, tape, level(levels, job.done), verbs, &job.course),
        Deed::Restore(restore) => restored(restore, verbs, &job.course),
        Deed::Resume { context } => resumed(context, verbs, &job.course),
        Deed::Drill { tape, sample } => drill::drill(tape, *sample, verbs, &job.course),
    }
}

fn found<'a>(keeper: Option<&'a Keeper>, array: &str) -> Result<&'a Keeper, String> {
    keeper.ok_or_else(|| format!("no array {array} is in use"))
}

/// The level of the next dump of a cycle.
fn level(levels: &[u8], done: u64) -> u8 {
    let at = usize::try_from(done % levels.len().max(1) as u64).unwrap_or(0);
    levels.get(at).copied().unwrap_or(0)
}

fn ordered(keeper: &Keeper, order: &Order, course: &Course) -> Result<Map<String, Value>, String> {
    let mut tell = |progress| {
        course.reach(progress);
        if course.is_asked() {
            Err(Error::ClientGone)
        } else {
            Ok(())
        }
    };
    let done = perform(keeper, order, &on_host, &mut tell);
    done.map_err(|error| error.told().message)
}

fn verified(keeper: &Keeper, repair: Mending, course: &Course) -> Result<String, String> {
    let array = keeper.array();
    let (name, state) = (array.name(), array.state());
    if state != ArrayState::Normal {
        return Err(format!(
            "array {name} is {}: it is verified when it is Normal",
            state.name()
        ));
    }
    let facts = ordered(keeper, &Order::Verify { repair }, course)?;
    verdict(name, &facts["verify"])
}

fn rebuilt(keeper: &Keeper, course: &Course) -> Result<String, String> {
    let name = keeper.array().name();
    if keeper.array().state() == ArrayState::Normal {
        return Ok(format!("array {name} is Normal: there was nothing to rebuild"));
    }
    ordered(keeper, &Order::Rebuild, course)?;
    let state = keeper.array().state();
    let text = format!("array {name} is {}", state.name());
    if state == ArrayState::Normal {
        Ok(text)
    } else {
        Err(format!("{text} after the rebuild"))
    }
}

fn dumped(source: &Path, tape: &Path, level: u8, verbs: &Verbs, course: &Course) -> Result<String, String> {
    let words: Vec<OsString> = vec![
        "dump".into(),
        format!("--level={level}").into(),
        "--update".into(),
        "--json".into(),
        "--state".into(),
        verbs.state.clone().into(),
        "-f".into(),
        tape.into(),
        "--".into(),
        source.into(),
    ];
    verbs.run(&words, course)?;
    Ok(format!(
        "a dump of level {level} of {} is on {}",
        source.display(),
        tape.display()
    ))
}

fn resumed(context: &str, verbs: &Verbs, course: &Course) -> Result<String, String> {
    let words = ["context", "resume", "--json", "--state"].map(OsString::from);
    let words = words.into_iter().chain([verbs.state.clone().into(), context.into()]);
    let told = document(&verbs.run(&words.collect::<Vec<_>>(), course)?)?;
    Ok(format!(
        "the dump is whole: level {}, {} objects",
        told["level"], told["objects"]
    ))
}

/// Restores; the sentence says how much.
///
/// # Errors
/// What the verb complains about, or that it was to end.
pub fn restored(restore: &Restore, verbs: &Verbs, course: &Course) -> Result<String, String> {
    let told = document(&verbs.run(&restore.words(&verbs.state, None), course)?)?;
    Ok(format!("{} objects are in {}", told["objects"], restore.into.display()))
}

/// What a restore would do: what is on the tape, and what is overwritten; nothing is.
///
/// # Errors
/// Why it cannot be done.
pub fn planned(restore: &Restore, verbs: &Verbs) -> Result<Value, String> {
    let left = verbs.leave(
        &restore.words(&verbs.state, Some("--dry-run=names")),
        &Course::default(),
    )?;
    // One that would overwrite something fails, but says all of it before.
    let mut told = document(&left.printed).map_err(|_| left.complaint.clone())?;
    if !left.status.success() {
        told["refusal"] = left.complaint.into();
    }
    Ok(told)
}

/// What a verb printed as a document.
///
/// # Errors
/// It is none.
pub fn document(printed: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(printed).map_err(|error| format!("what a verb printed cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_of_levels_goes_round() {
        let levels: Vec<u8> = (0..7).map(|done| level(&[0, 1, 2], done)).collect();
        assert_eq!(levels, [0, 1, 2, 0, 1, 2, 0]);
    }
}
