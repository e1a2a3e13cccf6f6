//! New series are put together where nobody looks, and appear under their name complete.
//!
//! A directory `.headstack.new.<series>.<part>` in the database's root is filled, then renamed. What a crash leaves
//! there is swept away when the database is next opened for writing.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Error, Result, SeriesId, context::Context};
use crate::storage::{Directory, EntryKind};

const PREFIX: &str = ".headstack.new.";

/// Lets `fill` make a directory with all that belongs there, then gives it its name, durably.
///
/// # Errors
/// Those of `fill`, [`Error::Io`]; the name does not exist then.
pub(super) fn build(
    context: &Context,
    (id, part): (SeriesId, u32),
    name: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    context.writable()?;
    let directory = &context.directory;
    let unborn = PathBuf::from(format!("{PREFIX}{}.{part}", id.0));
    remove(directory.as_ref(), &unborn).map_err(context.failed(&unborn))?;
    let parent = name.parent().unwrap_or(Path::new(""));
    let born = fill(&unborn).and_then(|()| {
        directory
            .sync_directory(&unborn)
            .and_then(|()| directory.rename(&unborn, name))
            .and_then(|()| directory.sync_directory(parent))
            .map_err(context.failed(name))
    });
    if born.is_err()
        && let Err(error) = remove(directory.as_ref(), &unborn)
    {
        log::warn!("{}: left behind: {error}", context.shown(&unborn).display());
    }
    born
}

/// Removes what was never finished; returns how many there were.
pub(super) fn sweep(directory: &dyn Directory) -> Result<usize> {
    let failed = |path: &Path| {
        let path = directory.path().join(path);
        move |source| Error::Io { path, source }
    };
    let mut swept = 0;
    for entry in directory.list(Path::new("")).map_err(failed(Path::new("")))? {
        if entry.exact && entry.kind == EntryKind::Directory && entry.name.starts_with(PREFIX) {
            let path = PathBuf::from(entry.name);
            remove(directory, &path).map_err(failed(&path))?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn remove(directory: &dyn Directory, path: &Path) -> io::Result<()> {
    let entries = match directory.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let below = path.join(&entry.name);
        match entry.kind {
            EntryKind::Directory => remove(directory, &below)?,
            _ => directory.remove(&below)?,
        }
    }
    directory.remove_directory(path)
}
