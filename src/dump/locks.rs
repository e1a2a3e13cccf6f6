//! Locks beside the dump dates: short ones around a change of a file that several dumps share, and places for sessions.
//!
//! A lock goes with the process that holds it, however that ends.

use std::{io, path::Path, thread, time::Duration};

use super::error::{Error, Result};
use crate::storage::Directory;

/// A lock while it is held.
pub type Held = Box<dyn Send + Sync>;

/// Pause between two tries, and how many there are: changes take milliseconds.
const PAUSE: Duration = Duration::from_millis(2);
const TRIES: u32 = 5000;

/// Takes a lock, or says that another process has it.
pub(super) fn at_once(directory: &dyn Directory, name: &str) -> Result<Option<Held>> {
    let contents = format!("pid {}\n", std::process::id());
    match directory.lock(Path::new(name), &contents) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(source) => Err(Error::State {
            path: directory.path().join(name),
            source,
        }),
    }
}

/// Takes a lock that nobody keeps for long.
pub(super) fn briefly(directory: &dyn Directory, name: &str) -> Result<Held> {
    for _ in 0..TRIES {
        if let Some(held) = at_once(directory, name)? {
            return Ok(held);
        }
        thread::sleep(PAUSE);
    }
    Err(Error::Busy {
        what: directory.path().join(name).display().to_string(),
    })
}

/// How many dumps and restores may run at once on a machine of so much memory.
#[must_use]
pub fn session_limit(memory_bytes: u64) -> u32 {
    match memory_bytes >> 30 {
        0..16 => 4,
        16..24 => 16,
        24.. => 32,
    }
}

/// Takes a place for a dump or restore, of which there are `limit`.
///
/// # Errors
/// [`Error::TooManySessions`] where all are taken, [`Error::State`].
pub fn session(directory: &dyn Directory, limit: u32) -> Result<Held> {
    for place in 1..=limit {
        if let Some(held) = at_once(directory, &format!("session-{place}.lock"))? {
            return Ok(held);
        }
    }
    Err(Error::TooManySessions { limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDirectory;

    /// D62: 4 sessions below 16 GB, 16 below 24 GB, 32 from there on.
    #[test]
    fn memory_limits_the_sessions() {
        let table = [(0, 4), (8, 4), (15, 4), (16, 16), (23, 16), (24, 32), (512, 32)];
        for (gib, sessions) in table {
            assert_eq!(session_limit(gib << 30), sessions, "{gib} GiB");
        }
        assert_eq!(session_limit((16 << 30) - 1), 4);
        let directory = SimDirectory::new();
        let mut held: Vec<Held> = (0..4).map(|_| session(&directory, 4).unwrap()).collect();
        assert!(matches!(
            session(&directory, 4),
            Err(Error::TooManySessions { limit: 4 })
        ));
        held.remove(1);
        assert!(session(&directory, 4).is_ok());
    }
}
