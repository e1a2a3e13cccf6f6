//! The fuzz targets' work on members, on a fixed set of bytes: every run does the same, and it takes seconds.
//!
//! Each field of each structure is mutated with its checksum made right, so what is tested is what stands behind the
//! checksum: numbers that lie, places outside of the device, sizes that do not go together.

#[path = "../../tools/fuzz/members.rs"]
mod members;

use members::Place;

/// Values that arithmetic stumbles over, and how many bytes of them.
const EDGES: [(u64, usize); 6] = [
    (0, 4),
    (1, 4),
    (0x7fff_ffff, 4),
    (0xffff_ffff, 4),
    (1 << 40, 8),
    (u64::MAX, 8),
];

/// Every field of a structure mutated.
fn replay(place: Place, stride: usize) {
    let seed = members::seed(place);
    members::play(place, &seed);
    members::play(place, &[]);
    let mut played = 0;
    for at in (0..seed.len()).step_by(stride) {
        for (edge, width) in EDGES {
            let mut bytes = seed.clone();
            let end = bytes.len().min(at + width);
            bytes[at..end].copy_from_slice(&edge.to_le_bytes()[..end - at]);
            members::play(place, &bytes);
            played += 1;
        }
        let mut bytes = seed.clone();
        bytes[at] ^= 1;
        members::play(place, &bytes);
    }
    assert!(played > 50, "{played} inputs");
}

/// R56: every field of one member's superblock mutated: it is refused or left out, or served within its bounds.
#[test]
fn hostile_superblock_of_one_member_is_survived() {
    replay(Place::Superblock, 4);
}

/// Every field mutated on all members alike: there is nobody left who knows better.
#[test]
fn hostile_superblocks_of_all_members_are_survived() {
    replay(Place::Superblocks, 4);
}

#[test]
fn hostile_bitmaps_are_survived() {
    replay(Place::Bitmap, 4);
}

#[test]
fn hostile_partition_tables_are_survived() {
    replay(Place::Table, 4);
}

#[test]
fn hostile_sidecars_are_survived() {
    replay(Place::Sidecar, 4);
}

#[test]
fn hostile_overlays_are_survived() {
    replay(Place::Overlay, 8);
}

#[test]
fn hostile_partial_parity_logs_are_survived() {
    replay(Place::Ppl, 4);
}
