//! Superblocks and bitmaps that mdadm and Linux wrote: decoded they say what `mdadm --examine` says, encoded again they
//! are the same bytes.
//!
//! The arrays are those of `images/raid`, so no peer is needed.

use std::{fs, path::Path, process::Command};

use headstack::raid::{
    Level,
    metadata::{
        badblocks::BadBlocks,
        bitmap::Bitmap,
        superblock::{Features, Role, SUPERBLOCK_BYTES, Superblock, Version},
    },
};

use super::{HEAD_BYTES, md::Examined, read, sectors};
use crate::peer;

/// Unpacks a case of `images/raid`.
fn unpack(case: &Path, scratch: &Path) {
    let archive = case.join("set.tar.xz");
    peer::run(
        Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(scratch),
        b"",
    );
}

/// Members of a case, in role order; an image of zeros stands for a missing one.
fn members(scratch: &Path) -> Vec<std::path::PathBuf> {
    let names = (0..).map(|index| scratch.join(format!("m{index}.img")));
    names.take_while(|path| path.exists()).collect()
}

fn layout_name(superblock: &Superblock) -> Option<&'static str> {
    Some(match (superblock.level, superblock.layout) {
        (Level::Raid5 | Level::Raid6, 2) => "left-symmetric",
        (Level::Raid10, 0x102) => "near=2",
        (Level::Raid10, 0x201) => "far=2",
        (Level::Raid0, 1) => "original",
        (Level::Raid0, 2) => "alternate",
        _ => return None,
    })
}

/// The sets that `mdadm --examine` was asked about after they were stopped; in the others md went on after it.
const EXAMINED: [&str; 13] = [
    "linear_n3",
    "r0_n3_64k",
    "r0_unequal_alt",
    "r0_unequal_orig",
    "r10_f2_n4_64k",
    "r10_n2_n4_64k",
    "r1_n2_bitmap",
    "r5_n3_512k_bitmap",
    "r5_n3_degraded",
    "r5_n4_64k",
    "r6_n5_64k",
    "r6_n5_degraded2",
    "r6_n6_512k_bitmap",
];

/// Every label of `--examine` that has a field behind it.
fn same(superblock: &Superblock, said: &Examined, bytes: &[u8]) {
    assert_eq!(said.word("Magic"), "a92b4efc");
    assert_eq!(said.word("Version"), "1.2");
    assert_eq!(said.word("Feature Map"), format!("{:#x}", superblock.features.0));
    assert_eq!(said.word("Array UUID"), superblock.array_uuid.to_string());
    assert_eq!(said.word("Name"), superblock.name.to_string());
    assert_eq!(said.word("Raid Level"), superblock.level.to_string());
    assert_eq!(said.number("Raid Devices"), u64::from(superblock.slots));
    assert_eq!(said.number("Avail Dev Size"), superblock.data_size.0);
    if superblock.size.0 > 0 && superblock.size != superblock.data_size {
        assert_eq!(said.number("Used Dev Size"), superblock.size.0);
    }
    assert_eq!(said.number("Data Offset"), superblock.data_offset.0);
    assert_eq!(said.number("Super Offset"), superblock.super_offset.0);
    assert_eq!(
        said.word("State"),
        if superblock.is_clean() { "clean" } else { "active" }
    );
    assert_eq!(said.word("Device UUID"), superblock.device_uuid.to_string());
    assert_eq!(said.number("Events"), superblock.events);
    let checksum = u32::from_le_bytes(bytes[0xd8..0xdc].try_into().unwrap());
    assert_eq!(said.get("Checksum"), Some(format!("{checksum:x} - correct").as_str()));
    let log = superblock.bad_blocks;
    let log = format!(
        "{} entries available at offset {} sectors",
        u32::from(log.sectors) * 64,
        log.offset
    );
    assert_eq!(said.get("Bad Block Log"), Some(log.as_str()));
    let bitmap = superblock
        .bitmap_start()
        .map(|start| start.0 - superblock.super_offset.0);
    let bitmap = bitmap.map(|offset| format!("{offset} sectors from superblock"));
    assert_eq!(said.get("Internal Bitmap"), bitmap.as_deref());
    let layout = layout_name(superblock)
        .filter(|_| superblock.level != Level::Raid0 || superblock.features.has(Features::RAID0_LAYOUT));
    // The names of the rarer layouts are mdadm's own affair; the number behind them is compared by the re-encoding.
    if layout.is_some() {
        assert_eq!(said.get("Layout"), layout);
    }
    if let Some(chunk) = said.get("Chunk Size") {
        assert_eq!(chunk, format!("{}K", superblock.chunk / 2));
    }
    let Role::Active(slot) = superblock.role() else {
        panic!("{:?}", superblock.role());
    };
    assert_eq!(
        said.get("Device Role"),
        Some(format!("Active device {}", slot.0).as_str())
    );
    let state: String = (0..superblock.slots)
        .map(|slot| {
            let held = |role: &Role| matches!(role, Role::Active(held) if u32::from(held.0) == slot);
            if superblock.roles.iter().any(held) { 'A' } else { '.' }
        })
        .collect();
    assert_eq!(said.word("Array State"), state);
}

/// R08, R09, R10, R11: superblocks of thirteen arrays of six levels.
#[test]
fn what_md_wrote_is_read_and_written_again() {
    let mut decoded = 0;
    for case in EXAMINED.map(|case| peer::top().join("images/raid").join(case)) {
        let scratch = tempfile::tempdir().unwrap();
        unpack(&case, scratch.path());
        let examined = Examined::parse_all(&fs::read_to_string(scratch.path().join("examine")).unwrap());
        let mut examined = examined.iter();
        for image in members(scratch.path()) {
            let head = read(&image, 0, HEAD_BYTES);
            let device = sectors(&image);
            let bytes = &head[4096..4096 + SUPERBLOCK_BYTES];
            let Ok(superblock) = Superblock::decode(bytes) else {
                assert!(head.iter().all(|&byte| byte == 0), "{}", image.display());
                continue;
            };
            superblock.fits(Version::V1_2.place(device).unwrap(), device).unwrap();
            same(&superblock, examined.next().unwrap(), bytes);
            let again = superblock.encode();
            assert_eq!(again, bytes[..again.len()], "{}", image.display());
            assert!(bytes[again.len()..].iter().all(|&byte| byte == 0));
            if let Some(start) = superblock.bitmap_start() {
                let room = superblock.bitmap_room(device);
                let from = usize::try_from(start.0 * 512).unwrap();
                let stored = &head[from..from + usize::try_from(room.0 * 512).unwrap()];
                let bitmap = Bitmap::decode(stored).unwrap();
                bitmap.header().belongs_to(superblock.array_uuid).unwrap();
                assert!(!bitmap.header().is_stale(superblock.events));
                assert_eq!(bitmap.encode(), stored[..bitmap.encode().len()], "{}", image.display());
            }
            assert!(!superblock.features.has(Features::BAD_BLOCKS));
            assert!(BadBlocks::decode(&[0xff; 4096], 0).unwrap().is_empty());
            decoded += 1;
        }
        assert!(examined.next().is_none(), "{}", case.display());
    }
    assert_eq!(decoded, 45, "members");
}
