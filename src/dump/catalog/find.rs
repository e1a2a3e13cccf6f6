//! Which dumps of the catalogue have a file: asked of their tables of contents, so that no tape is needed.
//!
//! An increment names what did not change too, and does not have it; such names are not found.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{Catalog, Entry};
use crate::dump::{error::Result, restore::Catalogue as Names};

/// A file that a dump has.
#[derive(Debug)]
pub struct Found<'a> {
    /// The dump.
    pub entry: &'a Entry,
    /// Number of the file on the tape.
    pub number: u32,
    /// Its path, from the root of what was dumped.
    pub path: PathBuf,
}

impl Catalog {
    /// Tells of the files of all dumps whose path has `text` in it, or with `./` before it is this path or under it, until
    /// it is told to stop. Returns the keys of dumps whose table of contents is missing.
    ///
    /// # Errors
    /// [`Error::State`](crate::dump::Error::State), or a table of contents that is damaged.
    pub fn find(&self, text: &Path, tell: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>) -> Result<Vec<String>> {
        let rooted = text.strip_prefix(".").ok().filter(|_| text.starts_with("."));
        let word = text.to_string_lossy();
        let mut unknown = Vec::new();
        for entry in self.entries()? {
            let Some(mut contents) = self.contents(&entry.key) else {
                unknown.push(entry.key);
                continue;
            };
            let mut names = Names::read(&mut contents)?;
            for (path, target) in names.list() {
                let matches = names.here.contains(target.number)
                    && match rooted {
                        Some(rooted) => path.starts_with(rooted),
                        None => path.to_string_lossy().contains(&*word),
                    };
                let found = || Found {
                    entry: &entry,
                    number: target.number,
                    path,
                };
                if matches && tell(found()).is_break() {
                    return Ok(unknown);
                }
            }
        }
        Ok(unknown)
    }
}
