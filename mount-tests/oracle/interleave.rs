//! Taking turns: the real library and headstack append to the same database, over and over, and agree at every turn.
//!
//! Beside the shared database stands one that the library alone wrote; at the end both hold the same bytes, so neither
//! side can tell who wrote what.

use std::path::Path;

use headstack::series::{Database, FixedParameters, Kind, OpenOptions, Timestamp, VarlenParameters};

use super::{Dice, found, kind_name, open_to_write, same_entries, same_tree, tree};
use crate::peer::{Entry, Hex, Tempsdb};

const TURNS: usize = 12;

/// Name, kind, and for variable-length series the longest value.
const SERIES: [(&str, Kind, usize); 3] = [
    ("small", Kind::Fixed, 8),
    ("wide", Kind::Fixed, 200),
    ("text", Kind::Varlen, 90),
];

fn create(path: &Path) {
    let database = Database::create(path, OpenOptions::read_write()).unwrap();
    for (name, block_size, entries_per_chunk, page_size) in [("small", 8, 100, 64), ("wide", 200, 1000, 4096)] {
        let parameters = FixedParameters {
            block_size,
            entries_per_chunk,
            page_size,
        };
        database.create_series(name, &parameters).unwrap();
    }
    let parameters = VarlenParameters {
        length_profile: vec![4, 8, 32],
        size_struct: 2,
        entries_per_chunk: 40,
    };
    database.create_varlen_series("text", &parameters).unwrap();
    database.close().unwrap();
}

fn append(path: &Path, kind: Kind, name: &str, entries: &[Entry]) {
    let database = open_to_write(path);
    for (timestamp, Hex(value)) in entries {
        match kind {
            Kind::Fixed => database
                .series(name)
                .unwrap()
                .append(Timestamp(*timestamp), value)
                .unwrap(),
            Kind::Varlen => database
                .varlen_series(name)
                .unwrap()
                .append(Timestamp(*timestamp), value)
                .unwrap(),
        }
    }
    database.close().unwrap();
    assert_eq!(
        database.statistics().recovered,
        [],
        "{name} needed recovery after a clean close"
    );
}

fn entries(dice: &mut Dice, kind: Kind, length: usize, after: u64) -> Vec<Entry> {
    let mut last = after;
    let mut entry = |_| {
        last += 1 + dice.below(20);
        let length = if kind == Kind::Fixed {
            length
        } else {
            usize::try_from(dice.below(length as u64)).unwrap()
        };
        (last, Hex(dice.bytes(length)))
    };
    let count = [1, 3, 37, 130][usize::try_from(after % 4).unwrap()];
    (0..count).map(&mut entry).collect()
}

/// Each side appends to what the other left, reads all of it, and the bytes are those of a single writer (T13, T27,
/// T34, T35).
#[test]
fn both_libraries_append_in_turns() {
    let Some(peer) = Tempsdb::find() else { return };
    let mut dice = Dice::new("both_libraries_append_in_turns");
    let scratch = tempfile::tempdir().unwrap();
    let (shared, alone) = (scratch.path().join("shared"), scratch.path().join("alone"));
    create(&shared);
    create(&alone);
    let mut all: [Vec<Entry>; 3] = Default::default();
    for turn in 0..TURNS {
        for ((name, kind, length), all) in SERIES.iter().zip(&mut all) {
            let added = entries(&mut dice, *kind, *length, all.last().map_or(0, |entry| entry.0));
            if turn % 2 == 0 {
                peer.append(&shared, kind_name(*kind), name, &added);
            } else {
                append(&shared, *kind, name, &added);
            }
            all.extend(added);
        }
        let ours = found(&open_to_write(&shared));
        let theirs = peer.read(&shared);
        for (found, side) in [(ours, "headstack"), (theirs, "tempsdb")] {
            same_entries(&all[0], &found.fixed["small"].entries, side);
            same_entries(&all[1], &found.fixed["wide"].entries, side);
            same_entries(&all[2], &found.varlen["text"].entries, side);
        }
    }
    for ((name, kind, _), all) in SERIES.iter().zip(&all) {
        peer.append(&alone, kind_name(*kind), name, all);
    }
    let (mut expected, mut found) = (tree(&alone), tree(&shared));
    // The library's sync writes the metadata anew; both hold the same words.
    expected.retain(|path, _| !path.ends_with("metadata.txt"));
    found.retain(|path, _| !path.ends_with("metadata.txt"));
    same_tree(&expected, &found, "shared against alone");
}
