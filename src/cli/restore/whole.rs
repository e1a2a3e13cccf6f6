//! Arrays on a tape are restored whole: a path that leads into one is refused, with what can be done.
//!
//! What is in an array is nobody's to look into but its file system's, so such a path is never on a tape; it is looked at
//! only where it was asked for and not found.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{
    cli::exit::{Code, Failure},
    dump::{
        images::{ENDING, path_of},
        restore::Catalogue,
    },
};

/// Refuses paths of files in an array that `catalogue` has.
///
/// # Errors
/// [`Code::NotFound`] where there is one.
pub(super) fn refuse_parts(catalogue: &mut Catalogue, paths: &[&PathBuf]) -> Result<()> {
    let listed = catalogue.list();
    let is_object = |path: &Path| {
        listed
            .iter()
            .any(|(other, target)| other == path && !target.is_directory)
    };
    for path in paths {
        for array in arrays_above(path) {
            if is_object(&array) {
                let message = format!(
                    "{}: {} is an array, which is dumped and restored whole, never a file in it",
                    path.display(),
                    array.display()
                );
                let remedy = format!(
                    "'headstack restore -x .. {}', and take the file out of that",
                    array.display()
                );
                return Err(Failure::new(Code::NotFound, message, remedy).into());
            }
        }
    }
    Ok(())
}

/// Paths that an array may have that a path leads into: `arrays/r0.img` for `arrays/r0/etc/passwd`, `r0/etc/passwd` and
/// `arrays/r0.img/etc/passwd`.
fn arrays_above(path: &Path) -> Vec<PathBuf> {
    let names = path
        .components()
        .take(2)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    names
        .flat_map(|name| [path_of(&name), path_of(&format!("{name}{ENDING}"))])
        .filter(|array| array != path)
        .collect()
}
