//! How a task is done: what concerns arrays in this process, what concerns trees and tapes by the verbs of this program.
//!
//! A dump or a restore is a process of its own: what goes wrong there cannot harm the arrays, and it does exactly what the
//! same verb does when an operator types it. The end of the controller ends it.

use std::{
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Job, drill, task::Deed};
use crate::{
    controller::{
        error::Error,
        order::{Mending, Order, on_host, perform},
    },
    nbd::Keeper,
    raid::health::ArrayState,
};

/// Most that is read of what a verb prints, in bytes.
const OUTPUT_MAX_BYTES: u64 = 256 << 20;

/// The wish that a run comes to its end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    asked: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
}

impl Ending {
    /// True once it was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Asks for it; a verb that runs is told to end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.as_ref() {
            // One that has ended just now needs no signal.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
    }
}

/// The verbs of this program, with the state of a store.
#[derive(Debug, Clone)]
pub struct Verbs {
    /// The program.
    pub program: PathBuf,
    /// Directory of the store's state.
    pub state: PathBuf,
}

impl Verbs {
    /// Runs a verb, and gives what it prints.
    ///
    /// # Errors
    /// What the verb complains about, or that it was to end.
    pub fn run(&self, words: &[OsString], ending: &Ending) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.program);
        command.args(words).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let named = |error: std::io::Error| format!("{}: {error}", self.program.display());
        let (out, err) = {
            let mut place = ending.child.lock().unwrap_or_else(PoisonError::into_inner);
            if ending.is_asked() {
                return Err("it was to end".to_owned());
            }
            let child = place.insert(command.spawn().map_err(named)?);
            (child.stdout.take(), child.stderr.take())
        };
        let complaints = thread::Builder::new().name("complaints".to_owned()).spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not told.
            drop(err.map(|mut err| err.by_ref().take(64 << 10).read_to_end(&mut text)));
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut printed = Vec::new();
        let read = out.map_or(Ok(0), |mut out| {
            out.by_ref().take(OUTPUT_MAX_BYTES).read_to_end(&mut printed)
        });
        let text = complaints.map_err(named)?.join().unwrap_or_default();
        let mut place = ending.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = match place.take() {
            Some(mut child) => child.wait().map_err(named)?,
            None => return Err("it was to end".to_owned()),
        };
        drop(place);
        read.map_err(named)?;
        if status.success() {
            return Ok(printed);
        }
        let said = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("it does not say why");
        Err(format!(
            "{} failed ({status}): {said}",
            words.first().map_or("".into(), |word| word.to_string_lossy())
        ))
    }
}

/// Does a task; the sentence says what came of it.
///
/// # Errors
/// Why it could not be done, or what is wrong with what it looked at.
pub fn done(job: &Job, keeper: Option<&Keeper>, verbs: &Verbs) -> Result<String, String> {
    match &job.task.deed {
        Deed::Verify { array, repair } => verified(found(keeper, array)?, *repair, &job.ending),
        Deed::Rebuild { array } => rebuilt(found(keeper, array)?, &job.ending),
        Deed::Dump { source, tape, levels } => dumped(source, tape, level(levels, job.done), verbs, &job.ending),
        Deed::Drill { tape, sample } => drill::drill(tape, *sample, verbs, &job.ending),
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

fn ordered(keeper: &Keeper, order: &Order, ending: &Ending) -> Result<serde_json::Map<String, Value>, String> {
    let mut tell = |_| {
        if ending.is_asked() {
            Err(Error::ClientGone)
        } else {
            Ok(())
        }
    };
    let done = perform(keeper, order, &on_host, &mut tell);
    done.map_err(|error| error.told().message)
}

fn verified(keeper: &Keeper, repair: Mending, ending: &Ending) -> Result<String, String> {
    let array = keeper.array();
    let (name, state) = (array.name(), array.state());
    if state != ArrayState::Normal {
        return Err(format!(
            "array {name} is {}: it is verified when it is Normal",
            state.name()
        ));
    }
    let facts = ordered(keeper, &Order::Verify { repair }, ending)?;
    let report = &facts["verify"];
    let bytes = |key: &str| report[key].as_u64().unwrap_or(0);
    if report["clean"] == true {
        return Ok(format!(
            "array {name} is clean: {} bytes were compared",
            bytes("compared_bytes")
        ));
    }
    let ended = if report["complete"] == true {
        ""
    } else {
        "; the verify was broken off"
    };
    let text = format!(
        "array {name}: {} bytes do not agree, {} of them are left so, {} bytes cannot be read{ended}",
        bytes("mismatched_bytes"),
        bytes("unrepaired_bytes"),
        bytes("unreadable_bytes"),
    );
    Err(text)
}

fn rebuilt(keeper: &Keeper, ending: &Ending) -> Result<String, String> {
    let name = keeper.array().name();
    if keeper.array().state() == ArrayState::Normal {
        return Ok(format!("array {name} is Normal: there was nothing to rebuild"));
    }
    ordered(keeper, &Order::Rebuild, ending)?;
    let state = keeper.array().state();
    let text = format!("array {name} is {}", state.name());
    if state == ArrayState::Normal {
        Ok(text)
    } else {
        Err(format!("{text} after the rebuild"))
    }
}

fn dumped(source: &Path, tape: &Path, level: u8, verbs: &Verbs, ending: &Ending) -> Result<String, String> {
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
    verbs.run(&words, ending)?;
    Ok(format!(
        "a dump of level {level} of {} is on {}",
        source.display(),
        tape.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_of_levels_goes_round() {
        let levels: Vec<u8> = (0..7).map(|done| level(&[0, 1, 2], done)).collect();
        assert_eq!(levels, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_verb_that_fails_says_why_and_one_that_is_to_end_does() {
        let verbs = Verbs {
            program: "/bin/sh".into(),
            state: "/".into(),
        };
        let words = |script: &str| -> Vec<OsString> { vec!["-c".into(), script.into()] };
        let ending = Ending::default();
        assert_eq!(verbs.run(&words("echo yes"), &ending).unwrap(), b"yes\n");
        let failed = verbs
            .run(&words("echo first >&2; echo last >&2; exit 3"), &ending)
            .unwrap_err();
        assert!(failed.contains("last") && failed.contains('3'), "{failed}");
        let other = ending.clone();
        let waiter = thread::spawn(move || verbs.run(&words("read never </dev/zero; exec sleep 600"), &other));
        while ending.child.lock().unwrap().is_none() {
            thread::yield_now();
        }
        ending.ask();
        assert!(waiter.join().unwrap().is_err());
    }
}
