//! Journals that a real kernel's md left when it was cut off: what they hold is put in its place as md does it.
//!
//! `res` is what md itself found in a copy of the set once it had recovered it.

use std::{fs, path::Path, process::Command};

use super::*;
use crate::raid::{
    Array,
    assemble::{Assembly, assemble, choose, find},
    rig::contents,
};

/// The members of a set, its journal last, and the sum of what md read from it.
fn unpack(case: &str, folder: &Path) -> (Vec<Image>, String) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("images/raid/{case}/set.tar.xz"));
    let mut tar = Command::new("tar");
    let done = tar.arg("-xJf").arg(&archive).arg("-C").arg(folder).status().unwrap();
    assert!(done.success(), "{} does not unpack", archive.display());
    let result = fs::read_to_string(folder.join("res")).unwrap();
    let images = (0..4).map(|n| Image::at(&folder.join(format!("m{n}.img"))).unwrap());
    (images.collect(), result.split_whitespace().last().unwrap().to_owned())
}

fn sum(array: &Array) -> String {
    let digest = openssl::sha::sha256(&contents(array));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spoils, in their places, all pages that the log has whole; how often it has them so, and how many only of data.
fn spoil(images: &[Image]) -> (usize, usize) {
    let looked = (0..).zip(images).filter_map(|(number, image)| {
        let storage = image.open(Access::Read).unwrap();
        find(&image.path(), &*storage, number).unwrap()
    });
    let found: Vec<Found> = looked.collect();
    let choice = choose(images, &found, Assembly::default()).unwrap();
    let journal = WriteJournal::read(images, &choice).unwrap().unwrap();
    let geometry = choice.shape.geometry();
    let (mut whole, mut data) = (journal.done.len(), 0);
    for (at, page) in &journal.open {
        if page.parity.is_none() {
            data += 1;
            continue;
        }
        whole += 1;
        let stripe = geometry.stripe(at / geometry.chunk_bytes()).unwrap();
        for slot in page.data.keys().copied().chain([stripe.p]) {
            let image = images[slot.index()].open(Access::ReadWrite).unwrap();
            let start = found[slot.index()].superblock.data_offset.0 * SECTOR_BYTES;
            image.write_all_at(&[0xee; PAGE_BYTES], start + at).unwrap();
        }
    }
    (whole, data)
}

/// R56: a set whose writes were in its journal when the kernel was cut off is served with what the kernel finds in it, with
/// a member missing too where the log has parity; it is never served without its journal, and looking changes nothing.
#[test]
fn journals_of_the_kernel_are_replayed() {
    for (case, pages) in [("r5_n3_journal", (248, 0)), ("r5_n3_journal_back", (0, 192))] {
        for missing in [None, Some(0), Some(2)] {
            let folder = tempfile::tempdir().unwrap();
            let (images, right) = unpack(case, folder.path());
            assert_eq!(spoil(&images), pages, "{case}: as the kernel counts them");
            let bytes = || (0..4).map(|n| fs::read(folder.path().join(format!("m{n}.img"))).unwrap());
            let before: Vec<Vec<u8>> = bytes().collect();
            let look = Assembly {
                read_only: true,
                ..Assembly::default()
            };
            let refused = [
                (
                    assemble(&images[..3], Assembly::default()),
                    "journal device is not there",
                ),
                (assemble(&images[..3], look), "journal device is not there"),
                (assemble(&images, look), "done again first"),
            ];
            for (result, words) in refused {
                let error = result.err().unwrap().to_string();
                assert!(error.contains(words), "{case}: {error}");
            }
            assert!(bytes().eq(before), "{case}: looking changed an image");
            let there: Vec<Image> = (0..4)
                .filter(|n| Some(*n) != missing)
                .map(|n| images[n].clone())
                .collect();
            let started = assemble(&there, Assembly::default());
            if missing.is_some() && pages.1 > 0 {
                let error = started.err().unwrap().to_string();
                assert!(error.contains("data without parity"), "{case}: {error}");
                continue;
            }
            let array = started.unwrap();
            assert_eq!(sum(&array), right, "{case} without {missing:?}");
            assert!(array.is_read_only());
            drop(array);
            // The log is empty now, so that nobody puts it over what is newer.
            assert_eq!(
                sum(&assemble(&there, look).unwrap()),
                right,
                "{case} without {missing:?}"
            );
        }
    }
}
