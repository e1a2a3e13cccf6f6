//! Names of the snapshots that dumps make for themselves: `snapshot_for_backup.0` and so on.
//!
//! The number goes up by one with each dump and begins again at 0 when the machine was started anew. It is kept in
//! `snapshots.json` beside the dump dates. Who makes the snapshot is not known here.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    error::{Error, Result},
    locks::briefly,
};
use crate::storage::Directory;

const FILE: &str = "snapshots.json";
/// Longest file that is read, in bytes.
const LIMIT_BYTES: u64 = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct Counter {
    /// The run of the machine, in hexadecimal.
    boot: String,
    next: u64,
}

/// The name for the next snapshot that a dump makes.
///
/// # Errors
/// [`Error::State`]; a counter that cannot be read begins again.
pub fn next_name(directory: &dyn Directory) -> Result<String> {
    let failed = |source| Error::State {
        path: directory.path().join(FILE),
        source,
    };
    let _lock = briefly(directory, "snapshots.lock")?;
    let boot = data_encoding::HEXLOWER.encode(&directory.boot());
    let kept: Option<Counter> = match directory.read(Path::new(FILE), LIMIT_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(failed(source)),
    };
    let number = kept
        .filter(|counter| counter.boot == boot)
        .map_or(0, |counter| counter.next);
    let counter = Counter {
        boot,
        next: number.saturating_add(1),
    };
    let text = serde_json::to_vec(&counter).map_err(|error| failed(error.into()))?;
    directory.replace(Path::new(FILE), &text).map_err(failed)?;
    Ok(format!("snapshot_for_backup.{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDirectory;

    /// D09: numbers from 0, one more each time, and from 0 again after a start of the machine.
    #[test]
    fn numbers_go_up_until_the_machine_is_started_anew() {
        let directory = SimDirectory::new();
        for number in 0..3 {
            assert_eq!(next_name(&directory).unwrap(), format!("snapshot_for_backup.{number}"));
        }
        let text = String::from_utf8(directory.read(Path::new(FILE), 4096).unwrap()).unwrap();
        let boot = data_encoding::HEXLOWER.encode(&directory.boot());
        let earlier = text.replace(&boot, "00");
        assert_ne!(earlier, text);
        directory.replace(Path::new(FILE), earlier.as_bytes()).unwrap();
        assert_eq!(next_name(&directory).unwrap(), "snapshot_for_backup.0");
        directory.replace(Path::new(FILE), b"rubbish").unwrap();
        assert_eq!(next_name(&directory).unwrap(), "snapshot_for_backup.0");
    }
}
