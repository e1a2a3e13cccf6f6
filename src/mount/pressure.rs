//! Closing chunks that nobody needs when memory is short: the thread, clock and file that the engine's
//! [`PressureManager`] does without.
//!
//! One look every few seconds at what the kernel says of the whole machine.

use std::{
    fs, io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::filesystem::Filesystem;
use crate::series::pressure::{PRESSURE_FILE, Pressure, PressureManager};

/// Time from one look at the kernel's word to the next; its average is over ten seconds.
const SAMPLE: Duration = Duration::from_secs(5);

/// Starts the thread, which ends when the other end of `over` is dropped; it is none where the kernel keeps no such
/// word.
///
/// # Errors
/// The host has no more threads.
pub fn watch(filesystem: Arc<Filesystem>, over: Receiver<()>) -> io::Result<Option<JoinHandle<()>>> {
    if fs::metadata(PRESSURE_FILE).is_err() {
        log::info!("{PRESSURE_FILE} is missing: chunks are closed by the bounds on open chunks alone");
        return Ok(None);
    }
    let watch = move || {
        let (start, mut manager) = (Instant::now(), PressureManager::default());
        while over.recv_timeout(SAMPLE) == Err(RecvTimeoutError::Timeout) {
            let text = fs::read_to_string(PRESSURE_FILE).unwrap_or_default();
            let now_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            relieve(&filesystem, &mut manager, now_ms, &text);
        }
    };
    thread::Builder::new()
        .name("pressure".to_owned())
        .spawn(watch)
        .map(Some)
}

/// Closes chunks where the text of a pressure file asks for it; returns how many.
fn relieve(filesystem: &Filesystem, manager: &mut PressureManager, now_ms: u64, text: &str) -> usize {
    let Some(pressure) = Pressure::parse(text) else {
        return 0;
    };
    if !manager.observe(now_ms, pressure.severity(PressureManager::PRESSING_PERCENT)) {
        return 0;
    }
    let closed = filesystem.database().close_chunks();
    log::info!("memory is short: closed {closed} chunks that nobody needs");
    closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mount::options::Options,
        series::{Database, FixedParameters, OpenOptions, Timestamp},
    };

    /// T10, T02: chunks stay open after they were read, until memory is short; then once in thirty seconds.
    #[test]
    fn chunks_are_closed_when_memory_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::create(&directory.path().join("db"), OpenOptions::read_write()).unwrap();
        let parameters = FixedParameters {
            entries_per_chunk: 10,
            ..Default::default()
        };
        let series = database.create_series("s", &parameters).unwrap();
        for t in 1..=100u64 {
            series.append(Timestamp(t), &t.to_le_bytes()).unwrap();
        }
        let filesystem = Filesystem::new(database, Options::default(), (0, 0)).unwrap();
        let mut manager = PressureManager::default();
        let text = |percent: u32| format!("some avg10={percent}.00 avg60=0.00 avg300=0.00 total=0\n");
        let read = || {
            series
                .range(Timestamp::MIN, Timestamp::MAX)
                .unwrap()
                .for_each(|run| drop(run.unwrap()))
        };
        let open = || filesystem.database().statistics().open_chunks;
        read();
        assert_eq!(open(), 9);
        assert_eq!(relieve(&filesystem, &mut manager, 0, &text(9)), 0);
        assert_eq!(relieve(&filesystem, &mut manager, 5_000, &text(10)), 9);
        assert_eq!(open(), 0);
        read();
        assert_eq!(relieve(&filesystem, &mut manager, 34_999, &text(90)), 0);
        assert_eq!(relieve(&filesystem, &mut manager, 35_000, &text(90)), 9);
        assert_eq!(relieve(&filesystem, &mut manager, 99_000, "nonsense"), 0);
    }
}
