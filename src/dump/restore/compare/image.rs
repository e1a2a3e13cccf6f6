//! An image on a tape held against what it was taken of, or what bears its name by now.
//!
//! Compared are what it is, its name, its length and its bytes. What is there may be longer, as an array that was made of larger
//! disks is, which is told as well.

use std::path::Path;

use super::{Differences, Reader, Result, held::Source};
use crate::dump::{
    images::{Image, Wanted},
    record::ImageFacts,
};

/// What an array is, in md's terms.
fn shape(facts: &ImageFacts) -> String {
    let ImageFacts {
        nested,
        level,
        members,
        chunk_kib,
        layout,
        ..
    } = facts;
    let nested = if *nested { ", of arrays" } else { "" };
    format!("level {level}{nested}, {members} members, chunks of {chunk_kib} KiB, layout {layout:#x}")
}

impl Differences<'_> {
    /// Compares an image with what it is held against.
    pub(super) fn image(
        &mut self,
        reader: &mut Reader,
        path: &Path,
        wanted: &Wanted,
        image: Option<&Image>,
    ) -> Result<()> {
        let Some(image) = image else {
            self.note(path, "is not there: no array has its identity or its name".into());
            return Ok(());
        };
        if image.own_name() != wanted.name {
            self.note(path, format!("is called {} here", image.own_name()));
        }
        if let Some(why) = &image.refused {
            self.lose(path, format!("cannot be compared: {why}"));
            return Ok(());
        }
        let (here, tape) = (shape(&image.facts), shape(&wanted.facts));
        if here != tape {
            self.note(path, format!("is an array of {here}; on the tape: {tape}"));
        }
        if image.size_bytes != wanted.size_bytes {
            let what = format!("has {} bytes, on the tape {}", image.size_bytes, wanted.size_bytes);
            self.note(path, what);
        }
        match (image.open)() {
            Ok(contents) => {
                let source = Source::Image(contents, image.size_bytes);
                self.bytes(reader, path, source, wanted.size_bytes)
            }
            Err(error) => {
                self.lose(path, format!("cannot be compared: {error}"));
                Ok(())
            }
        }
    }
}
