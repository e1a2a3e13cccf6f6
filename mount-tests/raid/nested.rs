//! RAID 50 between the engine and a real kernel's md, which assembles it in two steps.
//!
//! What we write through one array the kernel reads through an array of arrays, and the reverse, in both cases with a disk
//! of each leg missing too.

use std::{fmt::Write as _, fs, path::Path, sync::Arc};

use headstack::{
    raid::{
        Array, Level,
        assemble::{Assembly, Image},
        create::{Initialisation, NewImage, Wish},
        discover::{discover, open},
        metadata::identity::{Time, Uuid},
        nested::create_nested,
    },
    storage::HostDirectory,
};

use super::{image, md::Kernel};

const MIB: u64 = 1 << 20;

fn uuid(number: u8) -> Uuid {
    let mut bytes = [0x7c; 16];
    bytes[0] = number;
    Uuid(bytes)
}

fn images(folder: &Path, prefix: &str) -> Vec<Image> {
    let directory = Arc::new(HostDirectory::open(folder).unwrap());
    (0..6)
        .map(|number| Image {
            directory: directory.clone(),
            name: format!("{prefix}{number}.img").into(),
        })
        .collect()
}

fn words(size: u64) -> Vec<u8> {
    (0..size / 8).flat_map(u64::to_le_bytes).collect()
}

fn whole(array: &Array) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(array.size_bytes()).unwrap()];
    array.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// R10, R56: Linux assembles our RAID 50, whole and with a disk of each leg missing, and reads the same bytes; one that it made is
/// found and served as one array, whole and degraded.
#[test]
fn kernel_and_engine_share_raid_50() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let ours: Vec<_> = (0..6)
        .map(|n| image(folder.path(), &format!("o{n}.img"), 24 * MIB))
        .collect();
    let theirs: Vec<_> = (0..6)
        .map(|n| image(folder.path(), &format!("t{n}.img"), 24 * MIB))
        .collect();
    let members = images(folder.path(), "o").into_iter().zip(0..).map(|(image, number)| {
        let uuid = uuid(number);
        Some(NewImage { image, uuid })
    });
    let wish = Wish {
        name: "fifty".to_owned(),
        uuid: uuid(99),
        created: Time::new(1_700_000_000, 0),
        level: Level::Raid5,
        layout: 2,
        chunk_bytes: 128 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    };
    let array = create_nested(&wish, &members.collect::<Vec<_>>(), &[]).unwrap();
    let data = words(array.size_bytes());
    array.write_at(&data, 0, false).unwrap();
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    drop(array);
    fs::write(folder.path().join("words"), &data).unwrap();
    let mut script = String::from("set -e\n");
    script.push_str("assemble() { mdadm --assemble --readonly --run /dev/md1 $1 2>&1; mdadm --assemble --readonly --run /dev/md2 $2 2>&1; mdadm --assemble --readonly /dev/md3 /dev/md1 /dev/md2 2>&1; cmp /dev/md3 words; echo same; mdadm --stop /dev/md3 2>&1; mdadm --stop /dev/md1 2>&1; mdadm --stop /dev/md2 2>&1; }\n");
    script.push_str("assemble '/dev/ubda /dev/ubdb /dev/ubdc' '/dev/ubdd /dev/ubde /dev/ubdf'\n");
    script.push_str("assemble '/dev/ubda /dev/ubdc' '/dev/ubde /dev/ubdf'\n");
    let create = "mdadm --create --run --assume-clean --bitmap=none --chunk=64";
    writeln!(
        script,
        "for d in g h i j k l; do dd if=/dev/zero of=/dev/ubd$d bs=1M count=24 2>/dev/null; done"
    )
    .unwrap();
    writeln!(script, "{create} --level=5 -n3 /dev/md1 /dev/ubdg /dev/ubdh /dev/ubdi 2>&1; {create} --level=5 -n3 /dev/md2 /dev/ubdj /dev/ubdk /dev/ubdl 2>&1").unwrap();
    writeln!(
        script,
        "mdadm --create --run --level=0 --chunk=64 -n2 --homehost=h --name=theirs /dev/md3 /dev/md1 /dev/md2 2>&1"
    )
    .unwrap();
    writeln!(script, "n=$(blockdev --getsize64 /dev/md3); head -c $n words | dd of=/dev/md3 bs=1M conv=fsync 2>/dev/null; echo size $n; mdadm --stop /dev/md3 2>&1; mdadm --stop /dev/md1 2>&1; mdadm --stop /dev/md2 2>&1").unwrap();
    let all: Vec<_> = ours.into_iter().chain(theirs).collect();
    let said = kernel.run(folder.path(), &script, &all);
    assert_eq!(said.matches("same").count(), 2, "{said}");
    let size = said.lines().find_map(|line| line.strip_prefix("size ")).unwrap();
    let size: usize = size.parse().unwrap();
    let theirs = images(folder.path(), "t");
    let how = Assembly {
        read_only: true,
        ..Assembly::default()
    };
    for kept in [&[0, 1, 2, 3, 4, 5][..], &[0, 2, 3, 4], &[1, 2, 3, 5]] {
        let kept: Vec<Image> = kept.iter().map(|number| theirs[*number].clone()).collect();
        let found = discover(&kept);
        assert_eq!(
            (found.arrays.len(), found.arrays[0].name.as_str()),
            (1, "theirs"),
            "{found:?}"
        );
        let array = open(&found.arrays[0], how).unwrap();
        let bytes = whole(&array);
        assert_eq!(bytes.len(), size);
        let count = size.min(data.len());
        assert!(bytes[..count] == data[..count], "{kept:?}");
    }
}
