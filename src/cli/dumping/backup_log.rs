//! The backup log: a line for each event of a dump, as filers write it, in `backup.log` beside the dump dates.
//!
//! `dmp TIMESTAMP PATH(NUMBER) EVENT (INFO)`; each line is one write at the end of the file, so that dumps at once do
//! not mix theirs. A log that cannot be written is told once, and the dump goes on.

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

/// A log that lines of one dump go to.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    identifier: String,
    failed: Cell<bool>,
}

impl Log {
    /// Opens the log in the directory `state` for a dump of `path` that has a number of its own.
    pub fn open(state: &Path, path: &str, number: &str) -> Self {
        let place = state.join("backup.log");
        let opened = OpenOptions::new().create(true).append(true).open(&place);
        if let Err(error) = &opened {
            log::warn!("{}: {error}", place.display());
        }
        Self {
            file: opened.ok(),
            identifier: format!("{path}({number})"),
            failed: Cell::new(false),
        }
    }

    /// Writes an event; line breaks in `info` become spaces.
    pub fn tell(&self, event: &str, info: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        let now = jiff::Timestamp::now().strftime("%a %b %e %H:%M:%S UTC %Y");
        let line = format!("dmp {now} {} {event} ({info})", self.identifier).replace('\n', " ");
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes())
            && !self.failed.replace(true)
        {
            log::warn!("backup.log: {error}");
        }
    }
}
