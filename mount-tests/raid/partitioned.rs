//! Images that serve several arrays through partitions, before a real kernel's md.
//!
//! The kernel reads our partition tables, finds all arrays by their UUIDs among all partitions, and reads the words that we
//! wrote; what it then writes is read here.

use std::{fmt::Write as _, path::Path, sync::Arc};

use headstack::{
    raid::{
        Array,
        allot::{Allotment, Request},
        assemble::{Assembly, Image},
        create::{Initialisation, NewImage, Wish, create},
        discover::{discover, open},
        geometry::ArrayKind,
        metadata::identity::{Time, Uuid},
    },
    storage::HostDirectory,
};

use super::{image, md::Kernel};

const MIB: u64 = 1 << 20;

/// Kinds and the images that they are on.
const ARRAYS: &[(ArrayKind, &[usize])] = &[
    (ArrayKind::Raid5, &[0, 1, 2, 3]),
    (ArrayKind::Raid1, &[0, 1]),
    (ArrayKind::Raid6, &[0, 1, 2, 3]),
    (ArrayKind::Raid0, &[0, 2]),
    (ArrayKind::Raid10, &[1, 2, 3, 4]),
    (ArrayKind::Jbod, &[4]),
];

fn uuid(array: usize, member: usize) -> Uuid {
    let mut bytes = [0x6b; 16];
    bytes[0] = u8::try_from(array + 1).unwrap();
    bytes[1] = u8::try_from(member).unwrap();
    Uuid(bytes)
}

fn images(folder: &Path) -> Vec<Image> {
    let directory = Arc::new(HostDirectory::open(folder).unwrap());
    (0..5)
        .map(|number| Image {
            directory: directory.clone(),
            name: format!("d{number}.img").into(),
        })
        .collect()
}

fn made(number: usize, images: &[Image]) -> Array {
    let (kind, used) = ARRAYS[number];
    let request = Request {
        name: format!("shared{number}"),
        kind,
        capacity_bytes: (kind != ArrayKind::Jbod).then_some(8 * MIB),
        chunk_bytes: 128 << 10,
        bitmap: true,
        overwrite: false,
    };
    let members = used.iter().map(|image| {
        Some(NewImage {
            image: images[*image].clone(),
            uuid: uuid(number, *image),
        })
    });
    let allotment = Allotment::plan(&request, &members.collect::<Vec<_>>()).unwrap();
    let wish = Wish {
        name: request.name,
        uuid: uuid(number, 255),
        created: Time::new(1_700_000_000, 0),
        level: kind.level(),
        layout: kind.layout(),
        chunk_bytes: if kind == ArrayKind::Jbod { 0 } else { 128 << 10 },
        initialisation: Initialisation::Foreground,
        member_bytes: allotment.member_bytes,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    };
    create(&wish, &allotment.apply().unwrap(), &[]).unwrap()
}

/// Byte that fills an array.
fn byte(number: usize) -> u8 {
    u8::try_from(0x41 + number).unwrap()
}

/// R23, R56: several arrays on the same images: Linux sees our partitions and assembles all of them, with our data and without
/// mismatch; what it writes we read.
#[test]
fn kernel_assembles_all_arrays_of_shared_images() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..5)
        .map(|number| image(folder.path(), &format!("d{number}.img"), 64 * MIB))
        .collect();
    let images = images(folder.path());
    let mut script = String::from("set -e\n");
    for number in 0..ARRAYS.len() {
        let array = made(number, &images);
        let size = array.size_bytes();
        for at in (0..size).step_by(1 << 20) {
            let length = usize::try_from((size - at).min(1 << 20)).unwrap();
            array.write_at(&vec![byte(number); length], at, false).unwrap();
        }
        array.stop(Time::new(1_700_000_100, 0)).unwrap();
        let (device, uuid) = (format!("/dev/md{number}"), array.uuid());
        writeln!(
            script,
            "mdadm --assemble {device} --config=partitions --uuid={uuid} 2>&1"
        )
        .unwrap();
        writeln!(script, "test $(blockdev --getsize64 {device}) = {size}").unwrap();
        let letter = char::from(byte(number));
        writeln!(script, "test $(tr -d {letter} <{device} | wc -c) = 0; echo ours right").unwrap();
        if !array.level().is_bare() {
            writeln!(script, "s=/sys/block/md{number}/md; test \"$(cat $s/degraded)\" = 0; echo check >$s/sync_action; while [ \"$(cat $s/sync_action)\" != idle ]; do sleep 0.05; done; test \"$(cat $s/mismatch_cnt)\" = 0").unwrap();
        }
        let lower = letter.to_ascii_lowercase();
        writeln!(script, "head -c 1048576 /dev/zero | tr '\\0' {lower} | dd of={device} bs=64k seek=16 conv=fsync 2>/dev/null; mdadm --stop {device} 2>&1").unwrap();
    }
    let said = kernel.run(folder.path(), &script, &paths);
    assert_eq!(said.matches("ours right").count(), ARRAYS.len(), "{said}");
    let found = discover(&images);
    assert_eq!(found.arrays.len(), ARRAYS.len());
    for (number, set) in found.arrays.iter().enumerate() {
        assert_eq!((&set.refusal, set.missing.len()), (&None, 0), "{set:?}");
        let array = open(set, Assembly::default()).unwrap();
        let mut bytes = vec![0; 4 << 20];
        array.read_at(&mut bytes, 0).unwrap();
        let (before, rest) = bytes.split_at(1 << 20);
        let (theirs, after) = rest.split_at(1 << 20);
        assert!(
            before.iter().chain(after).all(|found| *found == byte(number)),
            "array {number}"
        );
        assert!(
            theirs.iter().all(|found| *found == byte(number).to_ascii_lowercase()),
            "array {number}"
        );
    }
}
