//! Image objects on their way to the tape: read through whoever has them, as large files are.
//!
//! An image is opened when its turn comes and closed behind its last segment, so what it is a moment of is its own. One that
//! a process had begun that was stopped cannot be gone on with as it was: if it changed meanwhile, it is left to the next
//! dump as well.

use std::path::Path;

use super::{Result, Source, Writer};
use crate::dump::{record::Header, tree::Identity};

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

    /// Writes what is left of an image that an earlier process had begun.
    pub(super) fn end_image(&mut self, header: &mut Header, path: &Path, at: usize, from_bytes: u64) -> Result<()> {
        let tree = self.tree;
        let told = self.troubles.len();
        let Some(image) = tree.images().of(&self.plan.walk.objects[at].status.identity) else {
            return Ok(());
        };
        let before_ns = header.private.as_ref().map(|private| private.modified_ns);
        if before_ns != Some(image.modified.ns()) {
            let what = "changed since the dump was stopped in the midst of it: the next dump takes it again";
            self.lose(path, what.into())?;
        }
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
