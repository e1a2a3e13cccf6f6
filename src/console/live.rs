//! Changes told to open pages: a stream of server-sent events says that there is something new, and a page fetches what
//! it shows again.
//!
//! While a page is open the controller is asked once a second how all is; without one nobody asks. What changes all the
//! time by itself, such as counters, is left out of the comparison.

use std::{
    collections::hash_map::DefaultHasher,
    convert::Infallible,
    hash::{Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, timeout},
};

use super::visit::{Problem, Visit};
use crate::controller::interface::{Answerer, Ask, StoreAsk};

/// How often the controller is asked.
const TICK: Duration = Duration::from_secs(1);
/// How often a stream says that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Streams at a time: fewer than connections, so that pages find room beside them.
const STREAMS_MAX: usize = 128;

/// Facts that change without anything happening.
const RESTLESS: [&str; 5] = ["seconds", "smart", "written_bytes", "pid", "eta_seconds"];

/// Tells changes.
pub struct Live {
    answerer: Arc<Answerer>,
    version: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

impl Live {
    /// Tells what changes for one who answers.
    pub fn new(answerer: Arc<Answerer>) -> Self {
        Self {
            answerer,
            version: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Looks for changes for ever.
    pub async fn watch(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = 0;
        loop {
            ticks.tick().await;
            if self.version.receiver_count() == 0 {
                continue;
            }
            let answerer = Arc::clone(&self.answerer);
            let asked = spawn_blocking(move || answerer(Ask::Store(StoreAsk::Status), &mut |_| Ok(())));
            let Ok(Ok(status)) = asked.await else { continue };
            let now = digest(&Value::Object(status));
            if now != last {
                last = now;
                self.version.send_modify(|version| *version += 1);
            }
        }
    }

    fn stream(&self) -> Option<Response> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let changes = self.version.subscribe();
        let first = Ok::<_, Infallible>("retry: 2000\nevent: hello\ndata: 0\n\n".to_owned());
        let told = stream::unfold((changes, place), |(mut changes, place)| async {
            let text = match timeout(SIGN_OF_LIFE, changes.changed()).await {
                Ok(Ok(())) => format!("event: store\ndata: {}\n\n", *changes.borrow_and_update()),
                Ok(Err(_)) => return None,
                Err(_) => ": still here\n\n".to_owned(),
            };
            Some((Ok::<_, Infallible>(text), (changes, place)))
        });
        let body = Body::from_stream(stream::StreamExt::chain(stream::iter([first]), told));
        Some(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
    }
}

/// `GET /live`: the stream of one page.
pub async fn live(visit: Visit) -> Result<Response, Problem> {
    visit.shared().live.stream().ok_or_else(|| {
        let message = format!("{STREAMS_MAX} pages are open already");
        Problem::busy(
            message,
            "to close some of them; this page stays as it is until it is loaded again",
        )
    })
}

/// A number that is another one when something has happened.
fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    feed(value, &mut hasher);
    hasher.finish()
}

fn feed(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !RESTLESS.contains(&key.as_str())) {
                key.hash(hasher);
                feed(value, hasher);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| feed(value, hasher)),
        plain => plain.to_string().hash(hasher),
    }
    0_u8.hash(hasher);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::digest;

    #[test]
    fn only_what_happens_is_a_change() {
        let status = |seconds, state, done| {
            digest(&json!({"seconds": seconds, "arrays": [{"state": state, "work": {"done_bytes": done}}]}))
        };
        assert_eq!(status(1, "Normal", 0), status(2, "Normal", 0));
        assert_ne!(status(1, "Normal", 0), status(1, "Disabled", 0));
        assert_ne!(status(1, "Rebuilding", 0), status(1, "Rebuilding", 4096));
    }
}
