//! What a target takes: lists up to a limit, permissions of a style, objects of a release, images as what they were.
//!
//! Alignment is the target's own: where it says how its files are aligned, those that come say the same.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, fgetxattr},
    io::{Errno, retry_on_intr as retry, write},
};

use super::Destination;
use crate::dump::{
    attributes::Attribute,
    images::{ALIGNMENT, ARRAY, EPOCH, FOLDER, Image, Images, IsPart, Take, Wanted, wanted},
    record::Header,
};

/// What a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Most entries of an access control list; objects with more get what their permissions say.
    pub list_limit: Option<usize>,
    /// True where permissions are those of UNIX only: objects with those of Windows get default ones.
    pub unix_style: bool,
    /// True where series have names in ASCII: directories of other names are ordinary ones.
    pub classic: bool,
    /// Release whose objects it takes, as [`EPOCH`] counts them; none for this one. What came later is left out, or is what
    /// it was before.
    pub epoch: Option<u8>,
    /// True where everybody else is kept away from a series of a mounted database while it is restored.
    pub live: bool,
}

/// A series that everybody else is kept away from until this is dropped.
#[derive(Debug)]
pub(in crate::dump::restore) struct Kept {
    /// Its directory in the target.
    directory: PathBuf,
    _control: OwnedFd,
}

/// The file of a series that takes commands.
const CONTROL: &str = "ctl";

/// How files of a directory are aligned, where it says so.
pub(super) fn alignment_of(root: &OwnedFd) -> Option<Vec<u8>> {
    let mut alignment = vec![0; 256];
    let length = fgetxattr(root, ALIGNMENT, &mut alignment).ok()?;
    alignment.truncate(length);
    Some(alignment)
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Destination").field(&self.path).finish()
    }
}

impl Destination {
    /// Says what the target takes.
    #[must_use]
    pub fn on(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// Lets images be restored as what they were, where their names stand in [`FOLDER`]; files that are part of what they
    /// could be restored to are left alone.
    #[must_use]
    pub fn taking_images(self, take: Take, is_part: IsPart) -> Self {
        Self {
            images: Some((take, is_part)),
            ..self
        }
    }

    /// True for the path of a file that is there as part of an array: it is neither overwritten nor removed.
    pub(in crate::dump::restore) fn is_part(&self, path: &Path) -> bool {
        let images = self.images.as_ref();
        images.is_some_and(|(_, is_part)| self.has(path) && is_part(&self.renamed(path)))
    }

    /// Says what images on a tape are held against in a comparison.
    #[must_use]
    pub fn against(self, images: Images) -> Self {
        Self {
            against: images,
            ..self
        }
    }

    /// What an image is held against that a header begins, and none where there is no such thing; none at all where it is a file.
    pub(in crate::dump::restore) fn counterpart(
        &self,
        header: &Header,
        path: &Path,
    ) -> Option<(Option<&Image>, Wanted)> {
        let (_, wanted) = self.image(header, path)?;
        Some((self.against.like(&wanted), wanted))
    }

    /// Keeps others away from the series that a file of the tape goes into, where that is asked for; `kept` is the one that
    /// they were kept away from so far.
    pub(in crate::dump::restore) fn keep_away(&self, path: &Path, kept: &mut Option<Kept>) -> Result<(), Errno> {
        let path = self.renamed(path);
        let directory = path.parent().unwrap_or(Path::new(""));
        if !self.terms.live || kept.as_ref().is_some_and(|kept| kept.directory == directory) {
            return Ok(());
        }
        *kept = None;
        let control = self.open_here(&directory.join(CONTROL), OFlags::WRONLY)?;
        let line = format!("lock {}\n", std::process::id());
        retry(|| write(&control, line.as_bytes()))?;
        *kept = Some(Kept {
            directory: directory.to_path_buf(),
            _control: control,
        });
        Ok(())
    }

    fn epoch(&self) -> u8 {
        self.terms.epoch.unwrap_or(EPOCH)
    }

    /// Where an image goes that a header begins; none where it is a file.
    pub(in crate::dump::restore) fn image(&self, header: &Header, path: &Path) -> Option<(&Take, Wanted)> {
        let (take, _) = self.images.as_ref()?;
        let wanted = wanted(header, &self.renamed(path))?;
        (wanted.facts.epoch <= self.epoch()).then_some((take, wanted))
    }

    /// True for the directory of images, which is there for whom they are files only.
    pub(in crate::dump::restore) fn is_folder_of_images(&self, path: &Path) -> bool {
        self.images.is_some() && self.renamed(path) == Path::new(FOLDER)
    }

    /// True for the path of what is no file there, as it was restored as what it was.
    pub(in crate::dump::restore) fn has_as_image(&self, path: &Path) -> bool {
        self.images.is_some() && self.renamed(path).starts_with(FOLDER) && !self.has(path)
    }

    /// An attribute as the target has it: none for those that its release does not know, and its own alignment.
    pub(in crate::dump::restore) fn adapted(&self, attribute: &Attribute) -> Option<Attribute> {
        let is_alignment = attribute.name == ALIGNMENT.as_bytes();
        if self.epoch() < EPOCH && (is_alignment || attribute.name == ARRAY.as_bytes()) {
            return None;
        }
        let own = self.alignment.as_ref().filter(|_| is_alignment);
        Some(Attribute {
            name: attribute.name.clone(),
            value: own.unwrap_or(&attribute.value).clone(),
        })
    }
}
