//! The catalogue on the tape itself: what its index says of the dumps before it.
//!
//! For each dump, the oldest first: u64 length and the JSON of its entry, u64 length and its table of contents, u64 length
//! and where its files lie, all little-endian. Which files of the host the tapes are is left out: that is not the tape's to
//! say.

use super::{Entry, Noted, Places};

/// The catalogue of some dumps as bytes.
pub(in crate::dump) fn encode(dumps: &[Noted]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for dump in dumps {
        let entry = Entry {
            tapes: Vec::new(),
            ..dump.entry.clone()
        };
        // Strings and numbers are always told.
        let entry = serde_json::to_vec(&entry).unwrap_or_default();
        for part in [&entry, &dump.contents, dump.places.encode().as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// Reads such a catalogue, for tapes that are called so; what makes no sense ends it.
#[must_use]
pub fn decode(mut bytes: &[u8], tapes: &[String]) -> Vec<Noted> {
    let mut dumps = Vec::new();
    while let Some(noted) = decode_one(&mut bytes, tapes) {
        dumps.push(noted);
    }
    dumps
}

fn decode_one(rest: &mut &[u8], tapes: &[String]) -> Option<Noted> {
    let entry: Entry = serde_json::from_slice(take(rest)?).ok()?;
    let contents = take(rest)?.to_vec();
    let places = Places::decode(std::str::from_utf8(take(rest)?).ok()?)?;
    Some(Noted {
        entry: Entry {
            tapes: tapes.to_vec(),
            ..entry
        },
        contents,
        places,
    })
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (part, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::catalog::Place;

    fn noted(file: u32) -> Noted {
        let mut places = Places::new(1_700_000_000);
        places.note(
            9,
            Place {
                volume: 1,
                offset_bytes: 10240,
            },
        );
        Noted {
            entry: Entry {
                key: "ab".into(),
                tapes: vec!["here.tap".into()],
                file,
                level: 0,
                date_s: 1_700_000_000,
                base_s: 0,
                path: "/srv".into(),
                objects: 3,
                partial: vec!["lost".into()],
            },
            contents: vec![7; 2048],
            places,
        }
    }

    #[test]
    fn what_is_cut_off_ends_the_catalogue() {
        let bytes = encode(&[noted(1), noted(2)]);
        assert!(!bytes.windows(8).any(|part| part == b"here.tap"));
        let tapes = ["here.tap".to_owned()];
        assert_eq!(decode(&bytes, &tapes), [noted(1), noted(2)]);
        for length in 0..bytes.len() {
            let whole = usize::from(length >= bytes.len() / 2);
            assert_eq!(decode(&bytes[..length], &tapes), vec![noted(1); whole], "{length}");
        }
    }
}
