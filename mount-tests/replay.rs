//! The fuzz targets' work on a fixed set of bytes: every run does the same, and it takes seconds.
//!
//! Seeds are the files of a healthy database and those of `images/damaged`; each is played as it is and with every field
//! mutated: cut, lengthened, single bytes set, numbers that lie at the edges written over every place.

#[path = "../tools/fuzz/scenes.rs"]
mod scenes;

use std::{collections::BTreeSet, fs};

use crate::peer;

/// Values that arithmetic stumbles over.
const EDGES: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/// Mutations of `seed`: those of its parts that `stride` selects.
fn mutations(seed: &[u8], stride: usize) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::from([
        seed.to_vec(),
        Vec::new(),
        [seed, seed].concat(),
        [seed, &[0; 64]].concat(),
    ]);
    for at in (0..seed.len()).step_by(stride) {
        found.insert(seed[..at].to_vec());
        for byte in [0, 0xff, seed[at] ^ 1, seed[at] ^ 0x80, b'9', b'"'] {
            let mut bytes = seed.to_vec();
            bytes[at] = byte;
            found.insert(bytes);
        }
    }
    for at in (0..seed.len().saturating_sub(3)).step_by(4) {
        for edge in EDGES {
            let mut bytes = seed.to_vec();
            bytes[at..at + 4].copy_from_slice(&edge.to_le_bytes());
            found.insert(bytes);
        }
    }
    found
}

fn replay(places: &[&str], damaged: &str, stride: usize) {
    let mut played = 0;
    for place in places {
        let seed = &scenes::healthy()[std::path::Path::new(place)];
        let seed = &seed[..seed.len().min(400)];
        for bytes in mutations(seed, stride) {
            scenes::play(&[place], &bytes);
            played += 1;
        }
    }
    for case in fs::read_dir(peer::top().join("images/damaged/series")).unwrap() {
        let Ok(files) = fs::read_dir(case.unwrap().path().join("s")) else {
            continue;
        };
        for file in files.map(|file| file.unwrap()).filter(|file| file.path().is_file()) {
            if file.file_name().to_string_lossy().starts_with(damaged) {
                scenes::play(places, &fs::read(file.path()).unwrap());
                played += 1;
            }
        }
    }
    assert!(played > 500, "{played} inputs");
}

/// Every field of a chunk file mutated: an error or the right entries, never a panic, never a byte changed by a reader
/// (T28, T32, T34).
#[test]
fn hostile_chunks_are_survived() {
    replay(&scenes::CHUNKS, "", 3);
}

/// Hostile metadata, of series, of parts, of the database (T12, T22).
#[test]
fn hostile_metadata_is_survived() {
    replay(&scenes::METADATA, "metadata", 1);
}

/// Hostile contents of the files that headstack keeps for itself: what they say may be lost, the entries may not.
#[test]
fn hostile_own_files_are_survived() {
    replay(&scenes::OWN, "metadata", 1);
}
