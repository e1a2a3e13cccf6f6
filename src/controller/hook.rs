//! The hook: a program that is run for each event, with the arguments that mdadm's monitor gives to its program.
//!
//! They are the event's name, the array's, and the disk's where there is one. The program runs beside the controller;
//! what it says is not read and how it ends is only logged. So many run at a time; where all are busy an event is left out.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::event::Event;

/// Programs that run at a time.
const RUNNING_MAX: usize = 16;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Runs the program for an event, and does not wait for it.
pub fn run(program: &Path, event: &Event) {
    if RUNNING.fetch_add(1, Ordering::AcqRel) >= RUNNING_MAX {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        log::warn!(
            "{}: {RUNNING_MAX} are running, {} is left out",
            program.display(),
            event.event
        );
        return;
    }
    let mut command = Command::new(program);
    command.arg(event.event.to_string());
    command.arg(event.array.as_deref().unwrap_or_default());
    command.args(&event.disk);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let name = program.display().to_string();
    let spawned = thread::Builder::new().name("hook".to_owned()).spawn(move || {
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => log::warn!("{name}: {status}"),
            Err(error) => log::warn!("{name}: {error}"),
        }
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    });
    if let Err(error) = spawned {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        log::warn!("{}: no thread: {error}", program.display());
    }
}
