//! A dump read from end to end: is all there that its maps promise, and is it as it was written?
//!
//! Nothing is restored. On tapes of other programs only headers have a checksum, so what they say is checked and that every
//! object is there; on ours every byte is.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    error::{Result, Trouble},
    reader::Reader,
    restore::{Catalogue, Space},
};

/// What became of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Objects that were read whole.
    pub objects: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// What is damaged or missing.
    pub troubles: Vec<Trouble>,
}

/// Reads a dump to its end.
///
/// # Errors
/// [`super::Error::Tape`]. Damage is in what is returned.
pub fn verify(reader: &mut Reader) -> Result<Verified> {
    let mut catalogue = Catalogue::read(reader)?;
    let mut troubles = std::mem::take(&mut catalogue.troubles);
    catalogue.settle_types();
    let space = Space::reach(&catalogue.folders, &mut troubles);
    let name = |number: u32| {
        let directory = space.paths.get(&number).cloned();
        let path = directory.or_else(|| space.paths_of(number).into_iter().next());
        path.unwrap_or_else(|| PathBuf::from(format!("number {number}")))
    };
    let mut verified = Verified {
        objects: catalogue.folders.len() as u64,
        bytes: 0,
        troubles,
    };
    let lose = |troubles: &mut Vec<Trouble>, number: u32, what: &str| {
        troubles.push(Trouble {
            path: name(number),
            what: what.to_owned(),
            loss: true,
        });
    };
    let mut seen: BTreeSet<u32> = catalogue.folders.keys().copied().collect();
    while let Some(header) = catalogue.next_object(reader)? {
        seen.insert(header.number);
        let bytes = &mut verified.bytes;
        if reader.data(&mut |_, piece| *bytes += piece.len() as u64)? {
            verified.objects += 1;
        } else {
            lose(&mut verified.troubles, header.number, "is damaged on the tape");
        }
    }
    verified.troubles.extend(reader.take_troubles());
    for number in catalogue.here.iter().filter(|number| !seen.contains(number)) {
        lose(&mut verified.troubles, number, "is not on the tape, which promises it");
    }
    Ok(verified)
}
