//! Work on an array that goes on after the page that asked for it has been answered.
//!
//! The controller answers some requests only when the work is done. Here a thread waits for that answer; the page of the
//! array shows the work, and how it ended is an event. At the end of the console a job goes away as a client would, which ends
//! the work at its next step.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Map, Value};

use super::{locked, visit::Problem};
use crate::controller::{
    error::Error,
    interface::{Answerer, Ask},
};

/// Jobs at a time.
const JOBS_MAX: usize = 16;

/// Jobs by the name of their array.
#[derive(Default)]
pub struct Jobs {
    running: Arc<Mutex<HashMap<String, Arc<AtomicBool>>>>,
}

impl Jobs {
    /// Begins a job of an array, which has one at a time; `ended` is told what was answered.
    ///
    /// # Errors
    /// The array has one already, or there are too many.
    pub fn begin(
        &self,
        array: &str,
        answerer: Arc<Answerer>,
        ask: Ask,
        ended: impl FnOnce(Result<Map<String, Value>, Error>) + Send + 'static,
    ) -> Result<(), Problem> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = locked(&self.running);
        if running.contains_key(array) {
            return Err(Problem::conflict(
                format!("array {array} is being worked on"),
                "again when that is done, or stop it",
            ));
        }
        if running.len() >= JOBS_MAX {
            return Err(Problem::busy(
                format!("{JOBS_MAX} jobs are under way"),
                "again when one is done",
            ));
        }
        running.insert(array.to_owned(), Arc::clone(&stop));
        drop(running);
        let (table, name) = (Arc::clone(&self.running), array.to_owned());
        let spawned = thread::Builder::new().name("console-job".to_owned()).spawn(move || {
            let mut tell = |_| {
                if stop.load(Ordering::Relaxed) {
                    Err(Error::ClientGone)
                } else {
                    Ok(())
                }
            };
            let answer = answerer(ask, &mut tell);
            locked(&table).remove(&name);
            ended(answer);
        });
        spawned.map(drop).map_err(|error| {
            locked(&self.running).remove(array);
            Problem::busy(format!("no thread: {error}"), "again a little later")
        })
    }

    /// Stops all of them.
    pub fn stop(&self) {
        locked(&self.running)
            .values()
            .for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}
