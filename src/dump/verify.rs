//! A dump read from end to end: is all there that its maps promise, and is it as it was written?
//!
//! Nothing is restored. On tapes of other programs only headers have a checksum, so what they say is checked and that every
//! object is there; on ours every byte is.

use std::{collections::BTreeSet, ops::Range};

use super::{
    error::{Lost, Result, Trouble},
    reader::Reader,
    restore::Catalogue,
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
    /// Objects that are not as they were dumped; each is told among the troubles too.
    pub lost: Vec<Lost>,
}

/// Reads a dump to its end.
///
/// # Errors
/// [`super::Error::Tape`] and [`super::Error::WrongTape`]. Damage is in what is returned.
pub fn verify(reader: &mut Reader) -> Result<Verified> {
    let mut catalogue = Catalogue::read(reader)?;
    let mut troubles = std::mem::take(&mut catalogue.troubles);
    let space = catalogue.reach(&mut troubles);
    let mut verified = Verified {
        objects: catalogue.folders.len() as u64,
        bytes: 0,
        troubles,
        lost: Vec::new(),
    };
    let mut lose = |number: u32, ranges: Vec<Range<u64>>| {
        let path = space.path_of_number(number);
        verified.lost.push(Lost { path, ranges });
    };
    let mut seen: BTreeSet<u32> = catalogue.folders.keys().copied().collect();
    let mut named: BTreeSet<u32> = space.file_names.keys().copied().collect();
    named.extend(space.paths.keys());
    while let Some(header) = catalogue.next_object(reader)? {
        if !seen.insert(header.number) {
            continue;
        }
        let bytes = &mut verified.bytes;
        let ranges = reader.data(&mut |_, piece| *bytes += piece.len() as u64)?;
        if !named.contains(&header.number) {
            verified.troubles.push(Trouble {
                path: space.path_of_number(header.number),
                what: "is on the tape, but its name is lost".into(),
                loss: true,
            });
        }
        if ranges.is_empty() {
            verified.objects += 1;
        } else {
            lose(header.number, ranges);
        }
    }
    let missing = || catalogue.here.iter().filter(|number| !seen.contains(number));
    for number in missing().filter(|number| named.contains(number)) {
        lose(number, Vec::new());
    }
    let unnamed = missing().filter(|number| !named.contains(number));
    verified.lost.extend(Lost::without_names(unnamed));
    verified.troubles.extend(reader.take_troubles());
    verified.troubles.extend(verified.lost.iter().map(|lost| Trouble {
        path: lost.path.clone(),
        what: lost.told(),
        loss: true,
    }));
    Ok(verified)
}
