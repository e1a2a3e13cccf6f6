//! Partial parity logs that a real kernel's md left when it was cut off: what they say is done as md does it.
//!
//! The guest is cut off in the middle of its writes; then parity that its logs speak of is torn, so that whoever does not
//! replay them is found out. One copy of the images md assembles, another one we do.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use headstack::raid::{
    Error, Sector,
    assemble::{Assembly, assemble},
    metadata::{
        identity::Time,
        ppl::replay,
        superblock::{Superblock, Version},
    },
};

use super::{image, md::Kernel, read, served::images, superblock_at, write};

const MEMBERS: u16 = 4;
const CHUNK: u64 = 128;
const MEMBER_BYTES: u64 = 8 << 20;

/// Writes all over the array from eight processes, and pulls the plug.
const CUT_OFF: &str = r#"
set -e
mdadm --create /dev/md0 --run --assume-clean -l5 -c64 -n4 --consistency-policy=ppl /dev/ubda /dev/ubdb /dev/ubdc /dev/ubdd 2>&1
dd if=pattern of=/dev/md0 bs=64k oflag=direct 2>/dev/null
sync
for n in 1 2 3 4 5 6 7 8; do
 python3 -c 'import os, random, sys
random.seed(sys.argv[1])
f = os.open("/dev/md0", os.O_WRONLY)
while True:
    length = 4096 * random.randrange(1, 12)
    os.pwrite(f, bytes([random.randrange(256)]) * length, 4096 * random.randrange(3000))
    os.fdatasync(f)' $n &
done
n=0; until [ "$(awk '{ print $7 }' /sys/block/md0/stat)" -gt 36000 ]; do sleep 0.05; n=$((n+1)); [ $n -lt 4000 ]; done
echo 0 >.status
echo c >/proc/sysrq-trigger
"#;

fn names(set: &str) -> impl Iterator<Item = PathBuf> {
    (0..MEMBERS).map(move |slot| PathBuf::from(format!("{set}.{slot}")))
}

/// Copies members of the set that was cut off.
fn copy(folder: &Path, set: &str, without: Option<u16>) -> Vec<PathBuf> {
    let slots = (0..MEMBERS).filter(|slot| Some(*slot) != without);
    let copied = slots.map(|slot| {
        let name = PathBuf::from(format!("{set}.{slot}"));
        fs::copy(folder.join(format!("cut.{slot}")), folder.join(&name)).unwrap();
        name
    });
    copied.collect()
}

fn areas(superblock: &Superblock) -> (u64, usize) {
    let bytes = superblock.size.0 * 512;
    (superblock.data_offset.0 * 512, usize::try_from(bytes).unwrap())
}

/// Overwrites the parity of everything that the logs speak of; how many runs that were.
fn tear(folder: &Path) -> usize {
    let mut torn = BTreeSet::new();
    for (slot, name) in (0_u16..).zip(names("cut")) {
        let path = folder.join(name);
        let superblock = superblock_at(&path, Version::V1_2);
        assert!(!superblock.is_clean(), "it was stopped cleanly");
        let area = superblock.ppl_area().unwrap();
        let log = read(&path, area.start.0 * 512, usize::try_from(area.length.0 * 512).unwrap());
        let plan = replay(&log, superblock.array_uuid, superblock.chunk, MEMBERS).unwrap();
        for update in plan.updates {
            let stripe = update.data[0].0 / (CHUNK * 3);
            assert_eq!(u64::from(slot), 3 - stripe % 4, "left-symmetric parity");
            let place = Sector(superblock.data_offset.0 + stripe * CHUNK + update.data[0].0 % CHUNK);
            write(
                &path,
                place,
                &vec![0xee; usize::try_from(update.length.0 * 512).unwrap()],
            );
            torn.insert((slot, place.0));
        }
    }
    torn.len()
}

/// R55, R59: a RAID 5 with md's partial parity log that was cut off gets the parity that md gives it, byte for byte; without
/// any one member it reads as under md.
#[test]
fn partial_parity_logs_are_replayed_as_md_does_it() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running: Vec<PathBuf> = names("running")
        .map(|name| image(folder, name.to_str().unwrap(), MEMBER_BYTES))
        .collect();
    let pattern: Vec<u8> = (0..3 * MEMBER_BYTES / 8).flat_map(u64::to_le_bytes).collect();
    fs::write(folder.join("pattern"), &pattern[..16 << 20]).unwrap();
    kernel.run(folder, CUT_OFF, &running);
    // What the guest had handed to its host may come to the images a little later: all that follows is done to one moment.
    for (running, cut) in running.iter().zip(names("cut")) {
        fs::copy(running, folder.join(cut)).unwrap();
    }
    let torn = tear(folder);
    assert!(torn > 0, "nothing was being written");

    // md on one copy whole, and on copies without each member.
    let mut devices = copy(folder, "md", None);
    let mut script = "set -e\nmdadm --assemble --run /dev/md0 /dev/ubda /dev/ubdb /dev/ubdc /dev/ubdd 2>&1
dd if=/dev/md0 of=whole bs=64k 2>/dev/null\ncat /sys/block/md0/md/resync_start\nmdadm --stop /dev/md0 2>&1\n"
        .to_owned();
    for lost in 0..MEMBERS {
        let first = devices.len();
        devices.extend(copy(folder, &format!("md{lost}"), Some(lost)));
        let disk = |number: usize| format!("/dev/ubd{}", char::from(b'a' + u8::try_from(number).unwrap()));
        let disks: Vec<String> = (first..devices.len()).map(disk).collect();
        writeln!(
            script,
            "mdadm --assemble --run /dev/md0 {} 2>&1\ndd if=/dev/md0 of=without{lost} bs=64k 2>/dev/null\nmdadm --stop /dev/md0 2>&1",
            disks.join(" ")
        )
        .unwrap();
    }
    let devices: Vec<PathBuf> = devices.iter().map(|name| folder.join(name)).collect();
    let said = kernel.run(folder, &script, &devices);
    assert!(
        said.lines().any(|line| line == "none"),
        "md did not take its logs for whole: {said}"
    );

    let ours = copy(folder, "ours", None);
    let array = assemble(&images(folder, ours.clone()), Assembly::default()).unwrap();
    assert!(!array.status().needs_resync && !array.status().dirty);
    let mut bytes = vec![0; usize::try_from(array.size_bytes()).unwrap()];
    array.read_at(&mut bytes, 0).unwrap();
    assert!(
        bytes == fs::read(folder.join("whole")).unwrap(),
        "other bytes than md's"
    );
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    for (slot, (name, md)) in ours.iter().zip(names("md")).enumerate() {
        let (at, length) = areas(&superblock_at(&folder.join(name), Version::V1_2));
        let same = read(&folder.join(name), at, length) == read(&folder.join(md), at, length);
        assert!(same, "member {slot} is not what md made of it");
    }

    for lost in 0..MEMBERS {
        let names = copy(folder, &format!("ours{lost}"), Some(lost));
        let members = images(folder, names);
        let how = Assembly {
            read_only: true,
            ..Assembly::default()
        };
        let refused = assemble(&members, how);
        assert!(
            matches!(refused, Err(Error::NotStartable { .. })),
            "replaying writes: {refused:?}"
        );
        let array = assemble(&members, Assembly::default()).unwrap();
        array.read_at(&mut bytes, 0).unwrap();
        let md = fs::read(folder.join(format!("without{lost}"))).unwrap();
        assert!(bytes == md, "without member {lost}: other bytes than md's");
        // Written here it has no such log any more, and is whole again for md too.
        array.write_at(&[7; 4096], 0, false).unwrap();
        array.flush().unwrap();
        array.stop(Time::new(1_700_000_100, 0)).unwrap();
    }
    let written: Vec<PathBuf> = (1..MEMBERS).map(|slot| folder.join(format!("ours0.{slot}"))).collect();
    let superblock = superblock_at(&written[0], Version::V1_2);
    assert!(superblock.ppl_area().is_none() && superblock.is_clean());
    let script = "set -e\nmdadm --assemble --run /dev/md0 /dev/ubda /dev/ubdb /dev/ubdc 2>&1
dd if=/dev/md0 of=again bs=64k 2>/dev/null\nmdadm --stop /dev/md0 2>&1\n";
    kernel.run(folder, script, &written);
    let mut expected = fs::read(folder.join("without0")).unwrap();
    expected[..4096].fill(7);
    assert!(
        fs::read(folder.join("again")).unwrap() == expected,
        "md reads other bytes than were written here"
    );
}
