//! RAID 50 between the engine and a real kernel's md, which assembles it in two steps.
//!
//! What we write through one array the kernel reads through an array of arrays, and the reverse, in both cases with a disk
//! of each leg missing too.

use std::{
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use headstack::{
    raid::{
        Array, Level,
        assemble::{Assembly, Image},
        create::{Initialisation, NewImage, Wish},
        discover::{discover, open},
        metadata::identity::{Time, Uuid},
        nested::create_nested,
        rebuild::Ending,
        reshape::Plan,
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

fn images(folder: &Path, prefix: &str, count: usize) -> Vec<Image> {
    let directory = Arc::new(HostDirectory::open(folder).unwrap());
    (0..count)
        .map(|number| Image {
            directory: directory.clone(),
            name: format!("{prefix}{number}.img").into(),
        })
        .collect()
}

fn wish() -> Wish {
    Wish {
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
    }
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
    let members = images(folder.path(), "o", 6)
        .into_iter()
        .zip(0..)
        .map(|(image, number)| {
            let uuid = uuid(number);
            Some(NewImage { image, uuid })
        });
    let array = create_nested(&wish(), &members.collect::<Vec<_>>(), &[]).unwrap();
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
    let theirs = images(folder.path(), "t", 6);
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

/// A RAID 50 of six disks that is about to grow by two: the eight, their images, the array, and the words that it holds.
fn growing(folder: &Path, prefix: &str) -> (Vec<PathBuf>, Vec<Image>, Array, Vec<u8>) {
    let disks = (0..8).map(|n| image(folder, &format!("{prefix}{n}.img"), 12 * MIB));
    let disks = disks.collect();
    let images = images(folder, prefix, 8);
    let new = |(image, number): (&Image, u8)| NewImage {
        image: image.clone(),
        uuid: uuid(number),
    };
    let members: Vec<_> = images.iter().zip(0..6).map(|pair| Some(new(pair))).collect();
    let array = create_nested(&wish(), &members, &[]).unwrap();
    let data = words(array.size_bytes());
    array.write_at(&data, 0, true).unwrap();
    let plan = Plan {
        images: images.iter().zip(0..).skip(6).map(new).collect(),
        ..Plan::default()
    };
    array.begin_reshape(&plan).unwrap();
    (disks, images, array, data)
}

/// R10, R59: Linux and `mdadm --examine` take what a RAID 50 has become whose legs have got a disk each: every byte is there, and
/// what is new is zeros.
#[test]
fn kernel_takes_the_raid_50_that_grew() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (disks, _, array, data) = growing(folder.path(), "o");
    array.reshape(&mut |_| ControlFlow::Continue(())).unwrap();
    let bytes = whole(&array);
    assert!(bytes.len() > data.len() + data.len() / 4 && bytes[..data.len()] == data);
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    drop(array);
    fs::write(folder.path().join("words"), &bytes).unwrap();
    // Discs of a leg are those it was made of, and the one that it got.
    let script = "set -e\n\
        mdadm --assemble --readonly --run /dev/md1 /dev/ubda /dev/ubdb /dev/ubdc /dev/ubdg 2>&1\n\
        mdadm --assemble --readonly --run /dev/md2 /dev/ubdd /dev/ubde /dev/ubdf /dev/ubdh 2>&1\n\
        for leg in 1 2; do mdadm --examine /dev/md$leg 2>&1; done\n\
        mdadm --assemble --readonly /dev/md3 /dev/md1 /dev/md2 2>&1\n\
        cmp /dev/md3 words; echo same $(blockdev --getsize64 /dev/md3)\n\
        mdadm --stop /dev/md3 2>&1; mdadm --stop /dev/md1 2>&1; mdadm --stop /dev/md2 2>&1\n\
        mdadm --assemble --readonly --run /dev/md1 /dev/ubda /dev/ubdc /dev/ubdg 2>&1\n\
        mdadm --assemble --readonly --run /dev/md2 /dev/ubdd /dev/ubde /dev/ubdf 2>&1\n\
        mdadm --assemble --readonly /dev/md3 /dev/md1 /dev/md2 2>&1; cmp /dev/md3 words; echo degraded\n\
        mdadm --stop /dev/md3 2>&1; mdadm --stop /dev/md1 2>&1; mdadm --stop /dev/md2 2>&1\n";
    let said = kernel.run(folder.path(), script, &disks);
    assert!(said.contains(&format!("same {}", bytes.len())), "{said}");
    assert!(said.contains("degraded\n"), "{said}");
    // Half of the whole's sectors of each leg, and superblocks that mdadm finds no fault with.
    let used = format!("Used Dev Size : {}", bytes.len() / 2 / 512);
    let avail = format!("Avail Dev Size : {}", bytes.len() / 2 / 512);
    assert_eq!(
        said.matches(&avail).count().max(said.matches(&used).count()),
        2,
        "{said}"
    );
    assert_eq!(said.matches("- correct").count(), 2, "{said}");
}

/// R10, R59: a RAID 50 whose growth was cut off in its first leg, or in its second, Linux takes leg by leg: md moves each on
/// from where it stands, finds its parity right, and over them every byte; what it left we take in at once.
#[test]
fn kernel_goes_on_with_the_growth_of_a_raid_50_that_was_cut_off() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::from(
        "set -e\n\
         idle() { s=/sys/block/$1/md; n=0\n\
          while [ \"$(cat $s/sync_action)\" != idle ] || [ \"$(cat $s/reshape_position)\" != none ]; do\n\
          sleep 0.1; n=$((n+1)); [ $n -lt 3000 ] || { cat /proc/mdstat; exit 1; }; done; }\n\
         check() { idle $1; test \"$(cat $s/degraded)\" = 0; echo check >$s/sync_action; idle $1; \
          test \"$(cat $s/mismatch_cnt)\" = 0; }\n",
    );
    let mut left = Vec::new();
    let mut disks = Vec::new();
    for (case, (prefix, leg)) in [("a", 0), ("b", 1)].into_iter().enumerate() {
        let (own, images, array, data) = growing(folder.path(), prefix);
        let count = own.len();
        disks.extend(own);
        let mut steps = 0;
        let ended = array.reshape(&mut |_| {
            steps += u8::from(leg == 0 || array.legs()[0].status().reshape.is_none());
            // The last step of the first leg is told when that has not ended yet.
            let enough = steps == 2;
            array.write_at(&data[..4096], 0, false).unwrap();
            if enough {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(ended.unwrap(), Ending::Stopped);
        let stages: Vec<_> = array.legs().iter().map(|leg| leg.status().reshape).collect();
        assert_eq!(stages.iter().map(Option::is_some).collect::<Vec<_>>(), [leg == 0, true]);
        let moved = stages[leg].as_ref().unwrap();
        assert!(
            0 < moved.done_bytes && moved.done_bytes < moved.whole_bytes,
            "{moved:?}"
        );
        drop(array);
        fs::write(folder.path().join("words"), &data).unwrap();
        let disk = |n: usize| format!("/dev/ubd{}", char::from(b'a' + u8::try_from(case * count + n).unwrap()));
        let of = |all: [usize; 4]| all.map(disk).join(" ");
        writeln!(
            script,
            "mdadm --assemble /dev/md1 {} 2>&1 </dev/null; mdadm --assemble /dev/md2 {} 2>&1 </dev/null\n\
             check md1; check md2; mdadm --assemble /dev/md3 /dev/md1 /dev/md2 2>&1; cmp /dev/md3 words; echo same\n\
             for n in 3 1 2; do mdadm --stop /dev/md$n 2>&1; done",
            of([0, 1, 2, 6]),
            of([3, 4, 5, 7])
        )
        .unwrap();
        left.push((images, data));
    }
    let said = kernel.run(folder.path(), &script, &disks);
    assert_eq!(said.matches("same").count(), 2, "{said}");
    for (images, data) in left {
        let found = discover(&images);
        assert_eq!(found.arrays.len(), 1, "{found:?}");
        let array = open(&found.arrays[0], Assembly::default()).unwrap();
        let ended = array.reshape(&mut |_| ControlFlow::Continue(())).unwrap();
        let bytes = whole(&array);
        assert_eq!((ended, array.status().reshape), (Ending::Complete, None));
        assert!(bytes.len() > data.len() + data.len() / 4 && bytes[..data.len()] == data);
    }
}
