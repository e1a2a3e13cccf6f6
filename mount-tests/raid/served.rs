//! Arrays as a whole, between the engine and a real kernel's md.
//!
//! What the kernel wrote is served byte for byte, with and without each member that may be missing; what
//! we write, degrade and rebuild the kernel assembles and reads byte for byte, and finds its parity right.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use headstack::{
    raid::{
        Array, Error, Level, Slot,
        assemble::{Assembly, Image, assemble},
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::{Time, Uuid},
    },
    storage::HostDirectory,
};

use super::{image, md::Kernel};
use crate::peer::top;

/// Sets that the kernel wrote, and members that were missing when it did.
const SETS: &[(&str, &[u16])] = &[
    ("linear_n3", &[]),
    ("r0_n3_64k", &[]),
    ("r0_unequal_alt", &[]),
    ("r0_unequal_orig", &[]),
    ("r1_n2_bitmap", &[]),
    ("r5_n3_512k_bitmap", &[]),
    ("r5_n3_degraded", &[1]),
    ("r5_n4_64k", &[]),
    ("r6_n5_64k", &[]),
    ("r6_n5_degraded2", &[1, 3]),
    ("r6_n6_512k_bitmap", &[]),
    ("r10_f2_n4_64k", &[]),
    ("r10_n2_n4_64k", &[]),
];

pub(super) const MIB: u64 = 1 << 20;

pub(super) fn images(directory: &Path, names: impl IntoIterator<Item = PathBuf>) -> Vec<Image> {
    let directory = Arc::new(HostDirectory::open(directory).unwrap());
    let image = |name| Image {
        directory: directory.clone(),
        name,
    };
    names.into_iter().map(image).collect()
}

/// Reads all of an array in steps that fit nothing and looks at each 64-bit word, which holds its number.
pub(super) fn check_words(array: &Array, what: &str) {
    let mut at = 0;
    while at < array.size_bytes() {
        let length = (array.size_bytes() - at).min(1_000_008);
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        array.read_at(&mut bytes, at).unwrap();
        for (number, word) in (at / 8..).zip(bytes.chunks_exact(8)) {
            let found = u64::from_le_bytes(word.try_into().unwrap());
            assert_eq!(found, number, "{what}: word {number} of {}", array.size_bytes() / 8);
        }
        at += length;
    }
}

/// All sets of at most two slots.
pub(super) fn losses(slots: u16) -> Vec<Vec<u16>> {
    let mut found = vec![vec![]];
    for one in 0..slots {
        found.push(vec![one]);
        found.extend((one + 1..slots).map(|two| vec![one, two]));
    }
    found
}

/// R10, R56: every set is served, whichever members are lost as long as the level allows it; where it does not, the set is
/// refused and its images stay as they are.
#[test]
fn sets_of_the_kernel_are_served_byte_for_byte() {
    for (name, absent) in SETS {
        let folder = tempfile::tempdir().unwrap();
        let archive = top().join("images/raid").join(name).join("set.tar.xz");
        let status = Command::new("tar")
            .arg("-xJf")
            .arg(archive)
            .arg("-C")
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "{name} cannot be unpacked");
        let result = fs::read_to_string(folder.path().join("res")).unwrap();
        let size: u64 = result.split_whitespace().nth(1).unwrap().parse().unwrap();
        let count = (0_u16..)
            .take_while(|n| folder.path().join(format!("m{n}.img")).exists())
            .count();
        let slots = u16::try_from(count).unwrap();
        let mut tried = BTreeMap::new();
        for lost in losses(slots) {
            let present = (0..slots).filter(|slot| !lost.contains(slot) && !absent.contains(slot));
            let present = images(folder.path(), present.map(|slot| PathBuf::from(format!("m{slot}.img"))));
            let how = Assembly {
                read_only: true,
                ..Assembly::default()
            };
            let missing: Vec<Slot> = lost.iter().chain(*absent).copied().map(Slot).collect();
            let assembled = assemble(&present, how);
            *tried.entry(assembled.is_ok()).or_insert(0) += 1;
            match assembled {
                Ok(array) => {
                    assert!(array.geometry().can_read(&missing), "{name} without {missing:?}");
                    assert_eq!(array.size_bytes(), size, "{name}");
                    check_words(&array, &format!("{name} without {missing:?}"));
                    let refused = array.write_at(&[0; 512], 0, false);
                    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{name}: {refused:?}");
                }
                Err(Error::NotStartable { .. }) => assert!(!lost.is_empty(), "{name} is not started"),
                Err(error) => panic!("{name} without {missing:?}: {error}"),
            }
        }
        let survivable = match *name {
            name if name.starts_with("r1_") => 3,
            name if name.starts_with("r5_n4") => 5,
            "r5_n3_512k_bitmap" => 4,
            "r6_n5_64k" => 16,
            "r6_n6_512k_bitmap" => 22,
            name if name.starts_with("r10_n2") => 9,
            name if name.starts_with("r10_f2") => 7,
            "r5_n3_degraded" => 2,
            "r6_n5_degraded2" => 4,
            _ => 1,
        };
        assert_eq!(tried.get(&true), Some(&survivable), "{name}: {tried:?}");
    }
}

/// Level, layout, members, chunk in KiB, with a bitmap.
type Shape = (Level, u32, u16, u64, bool);

const SHAPES: &[Shape] = &[
    (Level::Linear, 0, 3, 0, false),
    (Level::Raid0, 1, 3, 64, false),
    (Level::Raid1, 0, 2, 0, true),
    (Level::Raid10, 0x102, 4, 512, true),
    (Level::Raid10, 0x201, 4, 64, false),
    (Level::Raid10, 0x1_0201, 3, 64, true),
    (Level::Raid4, 0, 3, 64, true),
    (Level::Raid5, 0, 3, 4, false),
    (Level::Raid5, 2, 4, 512, true),
    (Level::Raid5, 3, 3, 128, true),
    (Level::Raid6, 2, 4, 64, true),
    (Level::Raid6, 8, 5, 64, false),
    (Level::Raid6, 10, 5, 64, true),
    (Level::Raid6, 18, 5, 64, true),
];

fn uuid(array: usize, member: usize) -> Uuid {
    let mut bytes = [0x5a; 16];
    bytes[0] = u8::try_from(array + 1).unwrap();
    bytes[1] = u8::try_from(member).unwrap();
    Uuid(bytes)
}

/// Makes an array, fills it with its words, and overwrites parts of it a second time while a member is lost and replaced.
fn fill(folder: &Path, number: usize, shape: Shape) -> Vec<PathBuf> {
    let (level, layout, members, chunk_kib, bitmap) = shape;
    let name = |member: u16| PathBuf::from(format!("a{number}m{member}"));
    let mut paths: Vec<PathBuf> = (0..members)
        .map(|n| image(folder, name(n).to_str().unwrap(), 12 * MIB))
        .collect();
    let new = images(folder, (0..members).map(name))
        .into_iter()
        .enumerate()
        .map(|(member, image)| {
            Some(NewImage {
                image,
                uuid: uuid(number, member),
            })
        });
    let wish = Wish {
        name: format!("served{number}"),
        uuid: uuid(number, 255),
        created: Time::new(1_700_000_000, 0),
        level,
        layout,
        chunk_bytes: chunk_kib << 10,
        initialisation: Initialisation::Quick,
        member_bytes: None,
        bitmap_chunk_bytes: bitmap.then_some(0),
        overwrite: false,
    };
    let array = create(&wish, &new.collect::<Vec<_>>(), &[]).unwrap();
    array.resync(&mut |_| ControlFlow::Continue(())).unwrap();
    let words =
        |start: u64, length: u64| -> Vec<u8> { (start / 8..(start + length) / 8).flat_map(u64::to_le_bytes).collect() };
    let size = array.size_bytes();
    let write = |start: u64, length: u64| {
        let length = length.min(size - start);
        array.write_at(&words(start, length), start, false).unwrap();
    };
    (0..size).step_by(700_000).for_each(|at| write(at, 700_000));
    if !level.is_bare() {
        array.fail_member(Slot(1)).unwrap();
        // The first round was wrong, in part for the lost member only: what is right is written while it is gone.
        array.write_at(&vec![0xee; 300_000], 4096, false).unwrap();
        write(0, 400_000);
        let spare = name(members);
        paths[1] = image(folder, spare.to_str().unwrap(), 12 * MIB);
        array.add(&images(folder, [spare])[0], uuid(number, 100)).unwrap();
        let mut steps = 0;
        let mut pace = |_| {
            steps += 1;
            if steps == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        array.rebuild(&mut pace).unwrap();
        array.write_at(&vec![0xdd; 60_000], 32_768, false).unwrap();
        write(32_768, 60_000);
        array.rebuild(&mut |_| ControlFlow::Continue(())).unwrap();
    }
    check_words(&array, &format!("{shape:?}"));
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    paths
}

/// R10, R29, R56: arrays that we made, filled, lost a member of and rebuilt: Linux assembles them clean, reads our words and
/// finds no mismatch.
#[test]
fn kernel_reads_what_we_wrote_and_finds_parity_right() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::from("set -e\n");
    script.push_str("words() { python3 -c 'import sys,struct\nn=int(sys.argv[1])//8\nf=open(sys.argv[2],\"rb\")\nat=0\nwhile at<n:\n b=f.read(1<<20)\n k=len(b)//8\n assert k\n w=struct.unpack(\"<%dQ\"%k,b)\n assert w==tuple(range(at,at+k)),(at)\n at+=k\nprint(\"words right\",n)' \"$@\"; }\n");
    for (number, shape) in SHAPES.iter().enumerate() {
        let paths = fill(folder.path(), number, *shape);
        let names: Vec<String> = paths
            .iter()
            .map(|path| format!("./{}", path.file_name().unwrap().display()))
            .collect();
        writeln!(
            script,
            "echo case {number}; loops=; for f in {}; do l=$(losetup -f --show $f); loops=\"$loops $l\"; done",
            names.join(" ")
        )
        .unwrap();
        script.push_str("mdadm --assemble /dev/md0 $loops 2>&1\n");
        script.push_str("words $(blockdev --getsize64 /dev/md0) /dev/md0\n");
        if !shape.0.is_bare() {
            script.push_str(
                "s=/sys/block/md0/md; test \"$(cat $s/degraded)\" = 0; test \"$(cat $s/resync_start)\" = none\n",
            );
            script.push_str("echo check >$s/sync_action; while [ \"$(cat $s/sync_action)\" != idle ]; do sleep 0.05; done; test \"$(cat $s/mismatch_cnt)\" = 0; echo no mismatch\n");
        }
        script.push_str("mdadm --stop /dev/md0 2>&1; losetup -d $loops\n");
    }
    let said = kernel.run(folder.path(), &script, &[]);
    assert_eq!(said.matches("words right").count(), SHAPES.len(), "{said}");
    let redundant = SHAPES.iter().filter(|shape| !shape.0.is_bare()).count();
    assert_eq!(said.matches("no mismatch").count(), redundant, "{said}");
}
