//! md's write journals, replayed here, before a real kernel's md; and an array that grew here before its zeros were made.
//!
//! What a replay leaves has to be what md itself found in a copy of the set, with parity that goes with it and a log that has
//! nothing left to say.

use std::{fmt::Write as _, fs, ops::ControlFlow, path::PathBuf, process::Command};

use headstack::raid::{
    Level,
    assemble::{Assembly, assemble},
    create::{Initialisation, NewImage, Wish, create},
    metadata::identity::{Time, Uuid},
};

use super::{image, md::Kernel, served::images};
use crate::peer::top;

/// Looks whether redundancy goes with the data of `/dev/md0`.
const CHECK: &str = "s=/sys/block/md0/md; n=0
until [ \"$(cat $s/sync_action)\" = idle ]; do sleep 0.05; n=$((n+1)); [ $n -lt 4000 ]; done
echo check >$s/sync_action; while [ \"$(cat $s/sync_action)\" != idle ]; do sleep 0.05; done
test \"$(cat $s/degraded)\" = 0; test \"$(cat $s/mismatch_cnt)\" = 0; echo no mismatch\n";

/// R56: of a set whose write journal was replayed here the kernel reads what it found in it itself, and finds no mismatch.
#[test]
fn replayed_write_journals_are_right_for_md() {
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut script, mut devices) = ("set -e\n".to_owned(), Vec::new());
    for case in ["r5_n3_journal", "r5_n3_journal_back"] {
        let place = folder.path().join(case);
        fs::create_dir(&place).unwrap();
        let archive = top().join("images/raid").join(case).join("set.tar.xz");
        let status = Command::new("tar")
            .arg("-xJf")
            .arg(archive)
            .arg("-C")
            .arg(&place)
            .status();
        assert!(status.unwrap().success(), "{case} does not unpack");
        let result = fs::read_to_string(place.join("res")).unwrap();
        let right = result.split_whitespace().last().unwrap();
        let names: Vec<PathBuf> = (0..4).map(|n| PathBuf::from(format!("m{n}.img"))).collect();
        drop(assemble(&images(&place, names.clone()), Assembly::default()).unwrap());
        let first = devices.len();
        devices.extend(names.iter().map(|name| place.join(name)));
        let disks: Vec<String> = (first..devices.len())
            .map(|number| format!("/dev/ubd{}", char::from(b'a' + u8::try_from(number).unwrap())))
            .collect();
        writeln!(
            script,
            "mdadm --assemble --run /dev/md0 {} 2>&1
test \"$(sha256sum </dev/md0 | cut -d' ' -f1)\" = {right}; echo sum right
{CHECK}mdadm --stop /dev/md0 2>&1",
            disks.join(" ")
        )
        .unwrap();
    }
    let said = kernel.run(folder.path(), &script, &devices);
    assert_eq!(said.matches("sum right").count(), 2, "{said}");
    assert_eq!(said.matches("no mismatch").count(), 2, "{said}");
}

/// R16, R59: an array that grew by its images' old bytes and roams before zeros were made of them is resynced by md: what was
/// written is there, and redundancy goes with all of it.
#[test]
fn md_resyncs_what_is_still_to_be_zeroed() {
    const OLD: u64 = 12 << 20;
    const NEW: u64 = 16 << 20;
    let Some(kernel) = Kernel::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let names: Vec<PathBuf> = (0..3).map(|n| PathBuf::from(format!("m{n}"))).collect();
    let paths: Vec<PathBuf> = names
        .iter()
        .map(|name| image(folder, name.to_str().unwrap(), OLD))
        .collect();
    let wish = Wish {
        name: "grown".to_owned(),
        uuid: Uuid([5; 16]),
        created: Time::new(1_700_000_000, 0),
        level: Level::Raid5,
        layout: 2,
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Background,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    };
    let members: Vec<_> = (1..)
        .zip(images(folder, names.clone()))
        .map(|(n, image)| {
            let uuid = Uuid([n; 16]);
            Some(NewImage { image, uuid })
        })
        .collect();
    let array = create(&wish, &members, &[]).unwrap();
    let old = usize::try_from(array.size_bytes()).unwrap();
    let mut bytes: Vec<u8> = (0..array.size_bytes() / 8).flat_map(u64::to_le_bytes).collect();
    array.write_at(&bytes, 0, true).unwrap();
    for (n, path) in (0_u8..).zip(&paths) {
        let held = fs::read(path).unwrap();
        fs::write(
            path,
            [held, vec![0xa0 + n; usize::try_from(NEW - OLD).unwrap()]].concat(),
        )
        .unwrap();
    }
    array.grow_members(None).unwrap();
    let size = usize::try_from(array.size_bytes()).unwrap();
    bytes.resize(size, 0);
    let mut found = vec![1; size];
    array.read_at(&mut found, 0).unwrap();
    assert!(size > old && found == bytes, "the new end shows what was there");
    array.resync(&mut |_| ControlFlow::Break(())).unwrap();
    let last = size - 70_000;
    array.write_at(&[7; 4096], last as u64, true).unwrap();
    bytes[last..last + 4096].fill(7);
    array.stop(Time::new(1_700_000_100, 0)).unwrap();
    drop(array);

    let script = format!(
        "set -e\nmdadm --assemble --run /dev/md0 /dev/ubda /dev/ubdb /dev/ubdc 2>&1
test $(blockdev --getsize64 /dev/md0) = {size}; cat /sys/block/md0/md/sync_action
{CHECK}dd if=/dev/md0 of=read bs=64k 2>/dev/null; mdadm --stop /dev/md0 2>&1\n"
    );
    let said = kernel.run(folder, &script, &paths);
    assert!(said.contains("no mismatch"), "{said}");
    let read = fs::read(folder.join("read")).unwrap();
    assert!(read[..old] == bytes[..old], "md reads other bytes");
    assert!(
        read[last..last + 4096] == [7; 4096],
        "md does not read what was written"
    );
    // What it made redundant is what members held; our map is of another time now.
    let array = assemble(&images(folder, names), Assembly::default()).unwrap();
    array.read_at(&mut found, 0).unwrap();
    assert!(found == read, "md's bytes are hidden");
}
