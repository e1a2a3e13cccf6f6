//! Image objects on their way to the tape: read through whoever has them, as large files are.
//!
//! An image is opened when its turn comes and closed behind its last segment, so what it is a moment of is its own. Where a
//! dump was stopped in the midst of one that is another by now, it begins that image anew: halves of two would be neither.

use std::path::Path;

use super::{Result, Source, Writer};
use crate::dump::{
    context::{
        mark::{Mark, Within},
        plan::Plan,
    },
    record::Header,
    tree::{Identity, Tree},
};

impl Writer<'_, '_> {
    /// Writes an image, with what it is taken of in its headers; false where it cannot be had.
    pub(super) fn write_image(&mut self, header: &mut Header, path: &Path, identity: &Identity) -> Result<bool> {
        let tree = self.tree;
        let Some(image) = tree.images().of(identity) else {
            self.lose(path, "is not on the tape: it is not there any more".into())?;
            return Ok(false);
        };
        if let Some(private) = &mut header.private {
            private.image = Some(image.facts);
        }
        match (image.open)() {
            Ok(contents) => self.write_large(header, path, Source::Image(&*contents), true, 0)?,
            Err(error) => {
                self.lose(path, format!("is not on the tape, and left to the next dump: {error}"))?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps where the dump stands before an image, to go back there.
    pub(super) fn mark_image(&mut self) -> Result<()> {
        self.mark(None)?;
        match &self.keeper {
            Some(keeper) if keeper.context().order.history => keeper.keep_before_image(),
            _ => Ok(()),
        }
    }

    /// Writes what is left of an image that an earlier process had begun.
    pub(super) fn end_image(&mut self, header: &mut Header, path: &Path, at: usize, from_bytes: u64) -> Result<()> {
        let tree = self.tree;
        let told = self.troubles.len();
        let Some(image) = tree.images().of(&self.plan.walk.objects[at].status.identity) else {
            return Ok(());
        };
        let opened = (image.open)();
        let source = match &opened {
            Ok(contents) => Source::Image(&**contents),
            Err(error) => {
                log::warn!("{}: {error}", path.display());
                Source::Lost(rustix::io::Errno::IO)
            }
        };
        self.write_large(header, path, source, opened.is_ok(), from_bytes)?;
        self.files_done += 1;
        let identity = self.plan.walk.objects[at].status.identity;
        self.write_attributes(header, path, identity, Ok(image.attributes.clone()))?;
        self.note_losses(at, told);
        Ok(())
    }
}

/// True where a dump stopped in the midst of an image with which it cannot go on.
pub(in crate::dump::writer) fn is_torn(tree: &Tree, plan: &Plan, mark: &Mark) -> bool {
    let header = mark.within.as_ref().and_then(Within::header);
    let header = header.filter(|header| header.private.as_ref().is_some_and(|private| private.image.is_some()));
    let file = usize::try_from(mark.files).ok().and_then(|at| plan.files.get(at));
    let (Some(header), Some(at)) = (header, file) else {
        return false;
    };
    let image = tree.images().of(&plan.walk.objects[*at].status.identity);
    !image.is_some_and(|image| image.goes_on(&header))
}
