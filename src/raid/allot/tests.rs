//! Shares of images on simulated storage: what is left over, what is refused, and that a crash loses no array.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::*;
use crate::{
    raid::{
        Array, Level,
        assemble::Assembly,
        create::{Initialisation, Wish, create},
        discover::{discover, open},
        metadata::identity::{Time, Uuid},
    },
    storage::{Directory as _, HostDirectory, SimDirectory},
};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

fn uuid(array: u8, member: usize) -> Uuid {
    let mut bytes = [array; 16];
    bytes[15] = u8::try_from(member).unwrap();
    Uuid(bytes)
}

fn sparse(directory: &Arc<dyn crate::storage::Directory>, name: &str, size_bytes: u64) -> Image {
    directory
        .create(Path::new(name), &mut |file| file.set_size(size_bytes))
        .unwrap();
    Image {
        directory: Arc::clone(directory),
        name: name.into(),
    }
}

fn images(directory: &Arc<dyn crate::storage::Directory>, sizes: &[u64]) -> Vec<Image> {
    let sizes = sizes.iter().enumerate();
    sizes
        .map(|(number, size)| sparse(directory, &format!("d{number}.img"), *size))
        .collect()
}

fn request(name: &str, kind: ArrayKind, capacity_bytes: Option<u64>) -> Request {
    Request {
        name: name.to_owned(),
        kind,
        capacity_bytes,
        chunk_bytes: 64 << 10,
        bitmap: false,
        overwrite: false,
    }
}

fn members(images: &[Image], array: u8) -> Vec<Option<NewImage>> {
    let numbered = images.iter().enumerate();
    numbered
        .map(|(number, image)| {
            Some(NewImage {
                image: image.clone(),
                uuid: uuid(array, number),
            })
        })
        .collect()
}

/// Shares images out and makes the array.
fn made(request: &Request, images: &[Image], array: u8) -> Result<(Allotment, Array)> {
    let allotment = Allotment::plan(request, &members(images, array))?;
    let wish = Wish {
        name: request.name.clone(),
        uuid: uuid(array, 255),
        created: Time::new(1000, 0),
        level: request.kind.level(),
        layout: request.kind.layout(),
        chunk_bytes: if request.kind == ArrayKind::Jbod {
            0
        } else {
            request.chunk_bytes
        },
        initialisation: Initialisation::Keep,
        member_bytes: allotment.member_bytes,
        bitmap_chunk_bytes: None,
        overwrite: false,
    };
    let array = create(&wish, &allotment.apply()?, &[])?;
    Ok((allotment, array))
}

fn free(images: &[Image]) -> Vec<u64> {
    discover(images).images.iter().map(|report| report.free_bytes).collect()
}

/// R22: a RAID 1 of 6 TB and 4 TB is as large as the smaller allows, and leaves 2 TB and nothing.
#[test]
fn maximum_is_limited_by_the_smallest_and_leaves_the_rest() {
    let scratch = tempfile::tempdir().unwrap();
    let directory: Arc<dyn crate::storage::Directory> = Arc::new(HostDirectory::open(scratch.path()).unwrap());
    let images = images(&directory, &[6 * TIB, 4 * TIB]);
    let (allotment, array) = made(&request("mirror", ArrayKind::Raid1, None), &images, 1).unwrap();
    // Superblock and headroom take 129 MiB of each member, the table 2 MiB.
    let size = array.size_bytes();
    assert!(size > 4 * TIB - 140 * MIB && size < 4 * TIB, "{size}");
    assert!(allotment.capacity_bytes.abs_diff(size) < 2 * MIB);
    let left = free(&images);
    assert!(left[0] > 2 * TIB - 8 * MIB && left[0] <= 2 * TIB, "{left:?}");
    assert_eq!(left[1], 0);
    let planned: Vec<u64> = allotment
        .shares
        .iter()
        .flatten()
        .map(|share| share.left_bytes)
        .collect();
    assert_eq!(planned, left);
    // The space that is left makes an array of its own, which takes all of it.
    let (_, rest) = made(&request("rest", ArrayKind::Jbod, None), &images[..1], 2).unwrap();
    assert!(rest.size_bytes() > 2 * TIB - 150 * MIB);
    assert_eq!(free(&images), [0, 0]);
}

/// R23: one image serves four arrays with different partners, a fifth is refused; each is found, and what is written to one
/// shows in no other.
#[test]
fn one_image_serves_four_arrays_and_no_fifth() {
    let directory: Arc<dyn crate::storage::Directory> = Arc::new(SimDirectory::new());
    let images = images(&directory, &[64 * MIB; 4]);
    let kinds = [ArrayKind::Raid5, ArrayKind::Raid1, ArrayKind::Raid0, ArrayKind::Raid6];
    let used = [&images[..3], &images[..2], &images[..2], &images[..4]];
    let mut arrays = Vec::new();
    for (number, (kind, used)) in (0_u8..).zip(kinds.into_iter().zip(used)) {
        let request = request(&format!("array{number}"), kind, Some(8 * MIB));
        let (allotment, array) = made(&request, used, 10 * (number + 1)).unwrap();
        assert!(
            array.size_bytes() >= 8 * MIB && array.size_bytes() < 12 * MIB,
            "{}",
            array.size_bytes()
        );
        assert_eq!(allotment.capacity_bytes, array.size_bytes());
        array.write_at(&vec![number + 1; 8 << 20], 0, false).unwrap();
        arrays.push(array);
    }
    let fifth = request("fifth", ArrayKind::Raid1, Some(MIB));
    let refused = made(&fifth, &images[..2], 90).unwrap_err();
    assert!(matches!(refused, Error::BadParameter { .. }), "{refused}");
    assert!(refused.to_string().contains("4 arrays"), "{refused}");
    assert_eq!(
        discover(&images).images[0].free_bytes,
        0,
        "nothing more can be had of it"
    );
    // The other images still take one.
    made(&fifth, &images[2..], 90).unwrap();
    for array in &arrays {
        array.stop(Time::new(2000, 0)).unwrap();
    }
    drop(arrays);
    let found = discover(&images);
    assert_eq!(found.arrays.len(), 5);
    assert_eq!(found.images[0].members, 4);
    for (number, set) in (0_u8..4).zip(&found.arrays) {
        assert_eq!(set.name, format!("array{number}"));
        let partitions: BTreeSet<_> = set.members.iter().map(|member| member.partition).collect();
        assert!(!partitions.contains(&None));
        let array = open(set, Assembly::default()).unwrap();
        let mut bytes = vec![0; 8 << 20];
        array.read_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == number + 1), "array {number}");
    }
}

#[test]
fn blank_images_that_are_used_up_become_bare_members() {
    let directory: Arc<dyn crate::storage::Directory> = Arc::new(SimDirectory::new());
    let images = images(&directory, &[32 * MIB, 34 * MIB, 64 * MIB]);
    let (allotment, _) = made(&request("a", ArrayKind::Raid5, None), &images, 1).unwrap();
    let bare: Vec<bool> = allotment
        .shares
        .iter()
        .flatten()
        .map(|share| share.partition_bytes.is_none())
        .collect();
    assert_eq!(bare, [true, true, false]);
    let set = &discover(&images).arrays[0];
    let partitions: Vec<Option<usize>> = set.members.iter().map(|member| member.partition).collect();
    assert_eq!(partitions, [None, None, Some(1)]);
    let refused = made(&request("b", ArrayKind::Raid1, None), &images[1..], 2).unwrap_err();
    assert!(refused.to_string().contains("member of array a"), "{refused}");
}

/// R09: each level's fewest members, and one less is refused; usable space as the table has it.
#[test]
fn levels_have_their_fewest_members_and_their_share_of_space() {
    let table = [
        (ArrayKind::Jbod, 1, 1.0),
        (ArrayKind::Raid0, 2, 1.0),
        (ArrayKind::Raid1, 2, 0.5),
        (ArrayKind::Raid10, 4, 0.5),
        (ArrayKind::Raid5, 3, 2.0 / 3.0),
        (ArrayKind::Raid6, 4, 0.5),
        (ArrayKind::Raid50, 6, 2.0 / 3.0),
    ];
    for (kind, fewest, usable) in table {
        let directory: Arc<dyn crate::storage::Directory> = Arc::new(SimDirectory::new());
        let images = images(&directory, &vec![64 * MIB; fewest]);
        let request = request("a", kind, None);
        if fewest > 1 {
            let refused = Allotment::plan(&request, &members(&images[1..], 1))
                .unwrap_err()
                .to_string();
            assert!(refused.contains("at least"), "{kind}: {refused}");
        }
        let allotment = Allotment::plan(&request, &members(&images, 1)).unwrap();
        let share = allotment.capacity_bytes as f64 / (fewest as u64 * 64 * MIB) as f64;
        assert!(share <= usable && share > usable * 0.95, "{kind}: {share}");
    }
}

#[test]
fn what_images_hold_is_not_taken_unasked() {
    let directory: Arc<dyn crate::storage::Directory> = Arc::new(SimDirectory::new());
    let images = images(&directory, &[16 * MIB; 2]);
    let storage = images[1].open(Access::ReadWrite).unwrap();
    storage.write_all_at(&[0x53, 0xef], 1080).unwrap();
    drop(storage);
    let mut request = request("a", ArrayKind::Raid1, None);
    let refused = Allotment::plan(&request, &members(&images, 1)).unwrap_err().to_string();
    assert!(refused.contains("d1.img") && refused.contains("ext4"), "{refused}");
    request.overwrite = true;
    Allotment::plan(&request, &members(&images, 1)).unwrap();
    request.capacity_bytes = Some(TIB);
    let refused = Allotment::plan(&request, &members(&images, 1)).unwrap_err().to_string();
    assert!(refused.contains("do not fit"), "{refused}");
}

/// A power loss at any write of the making of a second array leaves the first as it was.
#[test]
fn crash_while_a_table_changes_loses_no_array() {
    for step in 0.. {
        let sim = SimDirectory::new();
        let directory: Arc<dyn crate::storage::Directory> = Arc::new(sim.clone());
        let images = images(&directory, &[14 * MIB; 2]);
        let (_, array) = made(&request("first", ArrayKind::Raid1, Some(2 * MIB)), &images, 1).unwrap();
        array.write_at(&[7; 4096], 0, true).unwrap();
        array.stop(Time::new(1500, 0)).unwrap();
        drop(array);
        sim.sync_directory(Path::new("")).unwrap();
        let left = std::sync::atomic::AtomicUsize::new(step);
        sim.set_rule(move |operation| {
            let counts = matches!(
                operation.verb,
                crate::storage::sim::Verb::Write | crate::storage::sim::Verb::Sync
            );
            let ordering = std::sync::atomic::Ordering::SeqCst;
            let over = counts
                && left
                    .fetch_update(ordering, ordering, |left| left.checked_sub(1))
                    .is_err();
            over.then_some(libc::EIO)
        });
        let complete = made(&request("second", ArrayKind::Raid1, Some(2 * MIB)), &images, 2).is_ok();
        let crashed: Arc<dyn crate::storage::Directory> = Arc::new(sim.crash(step as u64).unwrap());
        sim.clear_rule();
        let images: Vec<Image> = images
            .iter()
            .map(|image| Image {
                directory: Arc::clone(&crashed),
                name: image.name.clone(),
            })
            .collect();
        let found = discover(&images);
        let first = found.arrays.iter().find(|set| set.name == "first").unwrap();
        assert_eq!((first.missing.len(), &first.refusal), (0, &None), "step {step}");
        let array = open(first, Assembly::default()).unwrap();
        assert_eq!(array.level(), Level::Raid1);
        let mut bytes = [0; 4096];
        array.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [7; 4096], "step {step}");
        if complete {
            assert!(found.arrays.iter().any(|set| set.name == "second"));
            assert!(step > 12, "only {step} writes and flushes were interrupted");
            return;
        }
    }
}
