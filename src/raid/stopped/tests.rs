//! Renaming, deleting and downgrading on simulated storage, whole images and partitions, plain and nested.

use super::*;
use crate::{
    raid::{
        Array,
        allot::{Allotment, Request},
        create::{Initialisation, NewImage, Wish, create},
        discover::{Contents, discover},
        geometry::ArrayKind,
        metadata::{identity::Uuid, superblock::checksum},
        nested::create_nested,
    },
    storage::{Directory, SimDirectory},
};

const IMAGE_BYTES: u64 = 24 << 20;

fn uuid(number: u8) -> Uuid {
    let mut bytes = [0x44; 16];
    bytes[0] = number;
    Uuid(bytes)
}

fn images(directory: &SimDirectory, count: usize) -> Vec<Image> {
    let image = |number: usize| Image {
        directory: Arc::new(directory.clone()),
        name: format!("m{number}").into(),
    };
    (0..count).map(image).collect()
}

/// Makes an array of images of which nothing, or half, is left.
fn made(directory: &SimDirectory, kind: ArrayKind, members: usize, half: bool) -> Vec<Image> {
    let images = images(directory, members);
    let new = images.iter().zip(1..).map(|(image, number)| {
        directory
            .create(&image.name, &mut |file| file.set_size(IMAGE_BYTES))
            .unwrap();
        Some(NewImage {
            image: image.clone(),
            uuid: uuid(number),
        })
    });
    let new: Vec<Option<NewImage>> = new.collect();
    let request = Request {
        name: "old".to_owned(),
        kind,
        capacity_bytes: half.then_some(4 << 20),
        chunk_bytes: 64 << 10,
        bitmap: true,
        overwrite: false,
    };
    let allotment = Allotment::plan(&request, &new).unwrap();
    let wish = Wish {
        name: "old".to_owned(),
        uuid: uuid(200),
        created: Time::new(1000, 0),
        level: kind.level(),
        layout: kind.layout(),
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: allotment.member_bytes,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    };
    let devices = allotment.apply().unwrap();
    let array = if kind == ArrayKind::Raid50 {
        create_nested(&wish, &devices, &[]).unwrap()
    } else {
        create(&wish, &devices, &[]).unwrap()
    };
    array.write_at(&[7; 4096], 8192, false).unwrap();
    array.stop(Time::new(1500, 0)).unwrap();
    images
}

fn only(images: &[Image]) -> ArraySet {
    let mut found = discover(images);
    assert_eq!(found.arrays.len(), 1, "{found:?}");
    found.arrays.remove(0)
}

fn opened(set: &ArraySet) -> Array {
    let array = open(set, Assembly::default()).unwrap();
    let mut bytes = [0; 4096];
    array.read_at(&mut bytes, 8192).unwrap();
    assert_eq!(bytes, [7; 4096]);
    array
}

/// R27: an array gets another name, on every member, and is in sync as before.
#[test]
fn renamed_array_has_its_new_name_on_all_members() {
    for (kind, members, half) in [
        (ArrayKind::Raid5, 3, false),
        (ArrayKind::Raid1, 2, true),
        (ArrayKind::Raid0, 2, false),
        (ArrayKind::Raid50, 6, false),
    ] {
        let directory = SimDirectory::new();
        let images = made(&directory, kind, members, half);
        let before = only(&images);
        rename(&before, "new", Time::new(3000, 0)).unwrap();
        for number in 0..members {
            let found = discover(&images[number..=number]);
            let name = if kind == ArrayKind::Raid50 {
                format!("new.leg{}", number / 3)
            } else {
                "new".to_owned()
            };
            assert_eq!(found.arrays[0].name, name, "{kind} {number}");
        }
        let set = only(&images);
        assert_eq!(
            (set.name.as_str(), set.uuid, set.dirty),
            ("new", before.uuid, false),
            "{kind}"
        );
        assert_eq!((set.missing.len(), &set.refusal), (0, &None));
        assert_eq!(opened(&set).name(), "new");
        for bad in ["", &"x".repeat(33)] {
            assert!(matches!(rename(&set, bad, Time(0)), Err(Error::BadParameter { .. })));
        }
        let array = open(&set, Assembly::default()).unwrap();
        assert!(
            matches!(rename(&set, "newer", Time(0)), Err(Error::InUse { .. })),
            "{kind}"
        );
        drop(array);
        rename(&set, "newer", Time::new(3001, 0)).unwrap();
    }
}

/// R28: a degraded array is not renamed.
#[test]
fn degraded_array_keeps_its_name() {
    let directory = SimDirectory::new();
    let images = made(&directory, ArrayKind::Raid5, 3, false);
    let set = only(&images[1..]);
    assert!(matches!(rename(&set, "new", Time(0)), Err(Error::WrongState { .. })));
    assert_eq!(only(&images).name, "old");
}

/// R27, R30: a deleted array is gone from its images, which are free again, and a disabled one can be deleted too; others on the
/// same images stay.
#[test]
fn deleted_array_leaves_nothing_behind() {
    for (kind, members, half) in [
        (ArrayKind::Raid6, 4, false),
        (ArrayKind::Raid1, 2, true),
        (ArrayKind::Jbod, 1, true),
        (ArrayKind::Raid50, 6, false),
    ] {
        let directory = SimDirectory::new();
        let images = made(&directory, kind, members, half);
        let whole_bytes = discover(&images).images[0].free_bytes;
        let set = only(&images);
        let array = open(&set, Assembly::default()).unwrap();
        assert!(matches!(delete(&set), Err(Error::InUse { .. })), "{kind}");
        drop(array);
        opened(&set);
        delete(&set).unwrap();
        let found = discover(&images);
        assert!(found.arrays.is_empty(), "{kind}: {found:?}");
        for report in &found.images {
            let empty = [Contents::Blank, Contents::Unknown, Contents::PartitionTable("GPT")];
            assert!(empty.contains(&report.contents), "{kind}: {report:?}");
            assert!(!half || report.free_bytes > whole_bytes, "{kind}: {report:?}");
        }
        let names: Vec<String> = directory
            .list(Path::new(""))
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names.len(), members, "{names:?}");
    }
    let directory = SimDirectory::new();
    let images = made(&directory, ArrayKind::Raid5, 3, false);
    let disabled = only(&images[..1]);
    assert!(disabled.refusal.is_some());
    delete(&disabled).unwrap();
    assert!(discover(&images[..1]).arrays.is_empty());
    assert_eq!(only(&images).missing.len(), 1);
}

/// A logical block size that a new kernel recorded is taken away, and nothing else is changed.
#[test]
fn superblocks_of_new_kernels_are_made_readable_to_old_ones() {
    let directory = SimDirectory::new();
    let images = made(&directory, ArrayKind::Raid5, 3, false);
    let read = |image: &Image| {
        let mut bytes = vec![0; 4096];
        image.open(Access::Read).unwrap().read_at(&mut bytes, 4096).unwrap();
        bytes
    };
    let before: Vec<Vec<u8>> = images.iter().map(read).collect();
    for image in &images[1..] {
        let mut bytes = read(image);
        bytes[0xe0..0xe4].copy_from_slice(&4096_u32.to_le_bytes());
        bytes[0xd8..0xdc].fill(0);
        let roles = usize::try_from(u32::from_le_bytes(bytes[0xdc..0xe0].try_into().unwrap())).unwrap();
        let sum = checksum(&bytes[..0x100 + 2 * roles]);
        bytes[0xd8..0xdc].copy_from_slice(&sum.to_le_bytes());
        image
            .open(Access::ReadWrite)
            .unwrap()
            .write_all_at(&bytes, 4096)
            .unwrap();
    }
    assert_eq!(make_compatible(&only(&images)).unwrap(), 2);
    assert!(before == images.iter().map(read).collect::<Vec<_>>());
    assert_eq!(make_compatible(&only(&images)).unwrap(), 0);
    opened(&only(&images));
}

/// R12: arrays without a name are numbered by their level.
#[test]
fn arrays_without_a_name_are_numbered() {
    let taken = ["RAID_5_0".to_owned(), "RAID_5_2".to_owned()];
    assert_eq!(default_name(ArrayKind::Raid5.name(), &taken), "RAID_5_1");
    assert_eq!(default_name(ArrayKind::Raid10.name(), &taken), "RAID_10_0");
    assert_eq!(default_name(ArrayKind::Raid50.name(), &[]), "RAID_50_0");
    assert_eq!(default_name(ArrayKind::Jbod.name(), &[]), "RAID_JBOD_0");
}
