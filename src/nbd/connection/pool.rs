//! The threads that do what can block, a few for each export, so that a hanging array holds up no other.
//!
//! They start with the first client and end when the export and its last client are gone. A panic of the engine fails
//! the one request.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{Connection, request::Operation};
use crate::{nbd::protocol::transmission::Request, raid::buffer::Buffer};

/// One request on its way through the pool.
pub(super) struct Job {
    pub(super) connection: Arc<Connection>,
    pub(super) request: Request,
    pub(super) operation: Operation,
    pub(super) payload: Option<Buffer>,
    /// What it counts for in the connection's allowance, in bytes.
    pub(super) cost_bytes: usize,
}

/// The threads of one export.
#[derive(Default)]
pub struct Pool {
    jobs: OnceLock<Sender<Job>>,
}

impl Pool {
    /// The way into the pool; the first call starts its threads.
    ///
    /// The number of threads that could be started may be less than `threads`, and none: then the caller works itself.
    pub(super) fn jobs(&self, name: &str, threads: usize) -> Sender<Job> {
        let start = || {
            let (sender, receiver) = unbounded();
            for number in 0..threads {
                let jobs: Receiver<Job> = receiver.clone();
                let started = thread::Builder::new()
                    .name(format!("nbd worker {number}"))
                    .spawn(move || work(&jobs));
                if let Err(error) = started {
                    log::warn!("export {name:?}: only {number} of {threads} worker threads: {error}");
                    break;
                }
            }
            sender
        };
        self.jobs.get_or_init(start).clone()
    }
}

fn work(jobs: &Receiver<Job>) {
    for job in jobs {
        job.run();
    }
}

impl Job {
    /// Carries the request out and replies.
    pub(super) fn run(self) {
        let Self {
            connection,
            request,
            operation,
            payload,
            cost_bytes,
        } = self;
        let reply = connection.execute(&request, operation, payload, cost_bytes);
        connection.send(reply);
    }
}

/// The engine panicked.
#[derive(Debug)]
pub(in crate::nbd) struct Panicked;

/// Runs a part of the engine; what it panics with goes to the log.
pub(in crate::nbd) fn guarded<T>(part: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(part)).map_err(|cause| {
        log::error!("a request made the engine panic: {}", panic_text(&*cause));
        Panicked
    })
}

fn panic_text(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_a_value() {
        assert!(guarded(|| 7).is_ok_and(|seven| seven == 7));
        assert!(guarded(|| panic!("on purpose")).is_err());
        let nothing: Vec<u8> = Vec::new();
        assert!(guarded(|| nothing[std::hint::black_box(3)]).is_err());
    }

    #[test]
    fn the_text_of_a_panic_is_found_in_both_its_forms() {
        assert_eq!(panic_text(&"plain"), "plain");
        assert_eq!(panic_text(&"made".to_owned()), "made");
        assert_eq!(panic_text(&7), "no message");
    }
}
