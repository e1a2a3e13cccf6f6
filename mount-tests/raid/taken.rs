//! Superblocks, bitmaps and bad-block logs that we encode: Linux md takes them and sees in them what we meant.
//!
//! Images of zeros get metadata only, which is enough for md: all zeros are in sync at every level. One boot assembles
//! all cases, most of them read-only so that md shows the state that it found instead of mending it. Members are
//! partitions of a few images, so the kernel reads our partition tables too.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use headstack::raid::{
    Level, Sector, Slot,
    metadata::{
        badblocks::BadBlocks,
        bitmap::Bitmap,
        gpt::{Gpt, Partition, PartitionName},
        identity::{Guid, Name, Time, Uuid},
        plan::{NewArray, NewMember, Plan, Tracking, plan},
        superblock::{Features, Role, Superblock, Version},
    },
};

use super::{
    image,
    md::{Examined, Kernel, Mdadm},
    superblock_at, write,
};

const MIB: u64 = 1 << 20;
const MEMBER_BYTES: u64 = 24 * MIB;
/// Type of a partition that the limit of four arrays does not count.
const LINUX_DATA: Guid = Guid::from_printed(0x0FC6_3DAF_8483_4772_8E79_3D69_D847_7DE4);

/// One array that md is given.
struct Case {
    /// What is special about it.
    name: &'static str,
    /// Superblocks by slot, none for a missing member.
    superblocks: Vec<Option<Superblock>>,
    bitmap: Option<Bitmap>,
    bad_blocks: BadBlocks,
    version: Version,
    /// Further options for `mdadm --assemble`.
    options: &'static str,
    /// Attributes of `/sys/block/mdN/md` and what they have to be.
    wanted: Vec<(String, String)>,
}

impl Case {
    fn new(name: &'static str, array: &NewArray, members: usize) -> Self {
        let device = Sector(MEMBER_BYTES / 512);
        let uuid = |member: usize| {
            let mut bytes = array.uuid.0;
            bytes[15] = u8::try_from(member).unwrap();
            Uuid(bytes)
        };
        let members: Vec<_> = (0..members)
            .map(|member| {
                Some(NewMember {
                    uuid: uuid(member),
                    device,
                })
            })
            .collect();
        let Plan {
            superblocks, bitmap, ..
        } = plan(array, &members, &[]).unwrap();
        let mut case = Self {
            name,
            superblocks,
            bitmap,
            bad_blocks: BadBlocks::default(),
            version: array.version,
            options: "--readonly",
            wanted: Vec::new(),
        };
        if let Some(bitmap) = case.bitmap.as_mut().filter(|_| array.clean) {
            bitmap.clear_all();
        }
        case.wants("level", array.level.to_string());
        case.wants("raid_disks", members.len());
        if !matches!(array.level, Level::Linear) {
            let layout = i64::from(array.layout);
            case.wants("layout", if array.level == Level::Raid0 { -1 } else { layout });
            case.wants("chunk_size", array.chunk * 512);
        }
        if !array.level.is_bare() {
            let size = case.superblocks[0].as_ref().unwrap().size;
            case.wants("component_size", size.0 / 2);
            case.wants("resync_start", if array.clean { "none" } else { "0" });
            case.wants("degraded", 0);
            case.wants("mismatch_cnt", 0);
            case.wants("bitmap/location", if case.bitmap.is_some() { "+8" } else { "none" });
        }
        case
    }

    fn wants(&mut self, attribute: &str, value: impl ToString) {
        self.wanted.retain(|(name, _)| name != attribute);
        self.wanted.push((attribute.to_owned(), value.to_string()));
    }

    fn each(&mut self, change: impl Fn(&mut Superblock)) {
        self.superblocks.iter_mut().flatten().for_each(change);
    }

    /// Takes a member away, and its role from the others.
    fn lose(&mut self, slot: usize) {
        self.superblocks[slot] = None;
        self.each(|superblock| superblock.roles[slot] = Role::Faulty);
    }

    /// Writes the metadata of one member, whose first sector is `base` of an image.
    fn write(&self, superblock: &Superblock, path: &Path, base: Sector) {
        let at = |place: Sector| Sector(base.0 + place.0);
        write(path, at(superblock.super_offset), &superblock.encode());
        if let (Some(bitmap), Some(start)) = (&self.bitmap, superblock.bitmap_start()) {
            write(path, at(start), &bitmap.encode());
        }
        if superblock.features.has(Features::BAD_BLOCKS) {
            let fields = superblock.bad_blocks;
            let log = self.bad_blocks.encode(fields.sectors, fields.shift).unwrap();
            write(path, at(superblock.bad_block_area().unwrap().start), &log);
        }
    }

    /// Members with their slots.
    fn members(&self) -> impl Iterator<Item = (usize, &Superblock)> {
        let slots = self.superblocks.iter().enumerate();
        slots.filter_map(|(slot, superblock)| superblock.as_ref().map(|superblock| (slot, superblock)))
    }
}

fn array(number: u8, level: Level, layout: u32, chunk: u32) -> NewArray {
    NewArray {
        version: Version::V1_2,
        uuid: Uuid([number + 1; 16]),
        name: Name::new("ours").unwrap(),
        created: Time::new(1_795_000_000, 0),
        level,
        layout,
        chunk,
        tracking: if level.is_bare() {
            Tracking::None
        } else {
            Tracking::Bitmap { chunk_bytes: 65536 }
        },
        clean: true,
        size: None,
        data_offset: None,
    }
}

/// Every level, several chunk sizes and layouts, clean.
fn whole(cases: &mut Vec<Case>) {
    for (name, level, layout, chunk, members) in [
        ("linear", Level::Linear, 0, 0, 3),
        ("linear, one", Level::Linear, 0, 0, 1),
        ("raid0, 4 KiB", Level::Raid0, 0, 8, 3),
        ("raid0, 512 KiB", Level::Raid0, 0, 1024, 2),
        ("raid1", Level::Raid1, 0, 0, 2),
        ("raid1, three", Level::Raid1, 0, 0, 3),
        ("raid4", Level::Raid4, 0, 64, 3),
        ("raid5, left asymmetric", Level::Raid5, 0, 8, 4),
        ("raid5, right asymmetric", Level::Raid5, 1, 32, 4),
        ("raid5, left symmetric", Level::Raid5, 2, 128, 3),
        ("raid5, right symmetric", Level::Raid5, 3, 256, 5),
        ("raid5, parity first", Level::Raid5, 4, 1024, 3),
        ("raid5, parity last", Level::Raid5, 5, 128, 3),
        ("raid6", Level::Raid6, 2, 128, 5),
        ("raid6, right asymmetric", Level::Raid6, 1, 1024, 4),
        ("raid6, N continue", Level::Raid6, 10, 64, 5),
        ("raid6, as RAID 5", Level::Raid6, 18, 64, 5),
        ("raid10, near", Level::Raid10, 0x102, 128, 4),
        ("raid10, near, odd", Level::Raid10, 0x102, 64, 3),
        ("raid10, far", Level::Raid10, 0x201, 128, 4),
        ("raid10, offset", Level::Raid10, 0x1_0201, 32, 3),
    ] {
        let number = u8::try_from(cases.len()).unwrap();
        let mut case = Case::new(name, &array(number, level, layout, chunk), members);
        case.options = "";
        cases.push(case);
    }
}

/// Missing members, checkpoints of resync and rebuild, flags.
fn unfinished(cases: &mut Vec<Case>) {
    let number = u8::try_from(cases.len()).unwrap();
    let mut case = Case::new("degraded raid5", &array(number, Level::Raid5, 2, 128), 4);
    case.lose(2);
    case.wants("degraded", 1);
    cases.push(case);

    let mut case = Case::new("twice degraded raid6", &array(number + 1, Level::Raid6, 2, 128), 5);
    case.lose(0);
    case.lose(3);
    case.wants("degraded", 2);
    cases.push(case);

    let mut case = Case::new("dirty raid6", &array(number + 2, Level::Raid6, 2, 128), 4);
    case.each(|superblock| superblock.resync_offset = Sector(12_288));
    case.wants("resync_start", 12_288);
    cases.push(case);

    let mut case = Case::new(
        "raid5 in the middle of a rebuild",
        &array(number + 3, Level::Raid5, 2, 128),
        4,
    );
    let member = case.superblocks[1].as_mut().unwrap();
    member.features = member.features.with(Features::RECOVERY, true);
    member.recovery_offset = 8192;
    case.wants("degraded", 1);
    case.wants("dev-1/recovery_start", 8192);
    case.wants("dev-1/slot", 1);
    cases.push(case);

    let mut case = Case::new("raid1 with flags", &array(number + 4, Level::Raid1, 0, 0), 2);
    case.superblocks[1].as_mut().unwrap().device_flags = 1;
    case.wants("dev-1/state", "in_sync,write_mostly");
    case.wants("dev-0/state", "in_sync");
    cases.push(case);

    let mut case = Case::new("raid1 with bad blocks", &array(number + 5, Level::Raid1, 0, 0), 2);
    let start = case.superblocks[0].as_ref().unwrap().data_offset.0;
    for (at, length) in [(3000, 8), (5000, 1000)] {
        case.bad_blocks.add(Sector(start + at), Sector(length));
    }
    let member = case.superblocks[0].as_mut().unwrap();
    member.features = member.features.with(Features::BAD_BLOCKS, true);
    let blocks = format!("{} 8|{} 512|{} 488", start + 3000, start + 5000, start + 5512);
    case.wants("dev-0/bad_blocks", blocks);
    case.wants("dev-1/bad_blocks", "");
    cases.push(case);

    let mut case = Case::new(
        "a rebuilt member with a new number",
        &array(number + 6, Level::Raid5, 2, 128),
        3,
    );
    case.each(|superblock| {
        superblock.roles[1] = Role::Spare;
        superblock.roles[3] = Role::Active(Slot(1));
    });
    case.superblocks[1].as_mut().unwrap().device_number = 3;
    case.wants("dev-1/slot", 1);
    cases.push(case);

    let mut case = Case::new("a member one event behind", &array(number + 7, Level::Raid5, 2, 128), 3);
    case.each(|superblock| superblock.events = 41);
    case.superblocks[1].as_mut().unwrap().events = 40;
    case.bitmap.as_mut().unwrap().stamp(41, true);
    cases.push(case);

    let mut case = Case::new(
        "a member two events behind",
        &array(number + 8, Level::Raid5, 2, 128),
        3,
    );
    case.each(|superblock| superblock.events = 41);
    case.superblocks[1].as_mut().unwrap().events = 39;
    case.bitmap.as_mut().unwrap().stamp(41, true);
    case.wants("degraded", 1);
    cases.push(case);
}

/// Other places of the superblock.
fn versions(cases: &mut Vec<Case>) {
    for (name, version, location) in [
        ("version 1.1", Version::V1_1, "+8"),
        ("version 1.0", Version::V1_0, "-16"),
    ] {
        let number = u8::try_from(cases.len()).unwrap();
        let asked = NewArray {
            version,
            ..array(number, Level::Raid5, 2, 128)
        };
        let mut case = Case::new(name, &asked, 3);
        case.wants("metadata_version", version.name());
        case.wants("bitmap/location", location);
        cases.push(case);
    }
    let number = u8::try_from(cases.len()).unwrap();
    let asked = NewArray {
        tracking: Tracking::None,
        clean: false,
        ..array(number, Level::Raid5, 2, 128)
    };
    let mut case = Case::new("never resynced", &asked, 3);
    case.wants("resync_start", 0);
    cases.push(case);
}

/// Arrays that are being turned into others.
fn reshaping(cases: &mut Vec<Case>) {
    let number = u8::try_from(cases.len()).unwrap();
    let bare = |number, level, layout, chunk| NewArray {
        tracking: Tracking::None,
        ..array(number, level, layout, chunk)
    };
    let mut case = Case::new("raid5 growing from 3 to 4", &bare(number, Level::Raid5, 2, 128), 4);
    case.each(|superblock| {
        superblock.features = superblock
            .features
            .with(Features::RESHAPE, true)
            .with(Features::NEW_OFFSET, true);
        superblock.reshape.new_level = 5;
        superblock.reshape.new_layout = 2;
        superblock.reshape.new_chunk = 128;
        superblock.reshape.delta = 1;
        superblock.reshape.position = 3072;
        superblock.reshape.new_offset = -1024;
    });
    case.wants("raid_disks", "4 (3)");
    case.wants("reshape_position", 3072);
    case.wants("dev-0/offset", 2048);
    case.wants("dev-0/new_offset", 1024);
    cases.push(case);

    let mut case = Case::new(
        "raid5 getting larger chunks",
        &bare(number + 1, Level::Raid5, 2, 128),
        3,
    );
    case.each(|superblock| {
        superblock.features = superblock
            .features
            .with(Features::RESHAPE, true)
            .with(Features::NEW_OFFSET, true);
        superblock.reshape.new_level = 5;
        superblock.reshape.new_layout = 3;
        superblock.reshape.new_chunk = 256;
        superblock.reshape.position = 2048;
        superblock.reshape.new_offset = -1024;
    });
    case.wants("chunk_size", "131072 (65536)");
    case.wants("layout", "3 (2)");
    case.wants("reshape_position", 2048);
    cases.push(case);
}

/// Images with a partition for each case: member `m` of case `c` is partition `c + 1` of image `m`.
fn disks(cases: &[Case], directory: &Path) -> Vec<PathBuf> {
    let count = cases.iter().map(|case| case.superblocks.len()).max().unwrap();
    let length = Sector(MEMBER_BYTES / 512);
    let device = Sector(2 * 2048 + length.0 * cases.len() as u64);
    let mut images = Vec::new();
    for disk in 0..count {
        let path = image(directory, &format!("disk{disk}"), device.0 * 512);
        let mut gpt = Gpt::new(Guid([7; 16]), device).unwrap();
        for (index, case) in cases.iter().enumerate() {
            let area = gpt.place(length).unwrap();
            let number = gpt.add(Partition {
                kind: LINUX_DATA,
                id: Guid([u8::try_from(index).unwrap(); 16]),
                area,
                attributes: 0,
                name: PartitionName::new(case.name),
            });
            assert_eq!(number, Ok(index + 1));
            if let Some((_, superblock)) = case.members().find(|(slot, _)| *slot == disk) {
                case.write(superblock, &path, area.start);
            }
        }
        let bytes = gpt.encode();
        write(&path, Sector(0), &bytes.head);
        write(&path, Sector(device.0 - 33), &bytes.tail);
        images.push(path);
    }
    images
}

/// Name of a member's device in the guest.
fn device(index: usize, slot: usize) -> String {
    format!("ubd{}{}", char::from(b'a' + u8::try_from(slot).unwrap()), index + 1)
}

/// Lines that assemble one case, print what md sees, and stop it.
fn commands(index: usize, case: &Case) -> String {
    let mut script = format!(
        "mdadm --assemble /dev/md{index} --run --freeze-reshape {}",
        case.options
    );
    for (slot, _) in case.members() {
        write!(script, " /dev/{}", device(index, slot)).unwrap();
    }
    script.push('\n');
    if case.options.is_empty() && case.members().all(|(_, superblock)| !superblock.level.is_bare()) {
        writeln!(script, "verify {index}").unwrap();
    }
    for (attribute, _) in &case.wanted {
        writeln!(script, "show {index} {attribute} {}", path(index, attribute)).unwrap();
    }
    writeln!(script, "mdadm --stop /dev/md{index}").unwrap();
    script
}

/// An attribute as a path; `dev-M/` stands for the member in slot M.
fn path(index: usize, attribute: &str) -> String {
    match attribute.strip_prefix("dev-").and_then(|rest| rest.split_once('/')) {
        Some((slot, rest)) => format!("dev-{}/{rest}", device(index, slot.parse().unwrap())),
        None => attribute.to_owned(),
    }
}

/// Functions of the script. To start a program takes long in the guest, so they are made of the shell's own means.
const FUNCTIONS: &str = "\
show() {
    local lines IFS='|'
    mapfile -t lines <\"/sys/block/md$1/md/$3\" && echo \"$1:$2=${lines[*]}\"
}
verify() {
    local action=
    echo check >\"/sys/block/md$1/md/sync_action\"
    until [ \"$action\" = idle ]; do read -r action <\"/sys/block/md$1/md/sync_action\"; done
}
";

/// R08, R09, R12, R13, R14, R50, R51: the kernel sees the array, its state and its members as we encoded them.
#[test]
fn the_kernel_takes_what_we_write() {
    let Some(kernel) = Kernel::find() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    whole(&mut cases);
    unfinished(&mut cases);
    versions(&mut cases);
    reshaping(&mut cases);
    let mut script = String::from(FUNCTIONS);
    for (index, case) in cases.iter().enumerate() {
        script.push_str(&commands(index, case));
    }
    let text = kernel.run(scratch.path(), &script, &disks(&cases, scratch.path()));
    let seen: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        for (attribute, wanted) in &case.wanted {
            let found = seen.get(format!("{index}:{attribute}").as_str());
            if found != Some(&wanted.as_str()) {
                wrong.push(format!(
                    "{index}: {}: {attribute} is {found:?}, not {wanted:?}",
                    case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{text}", wrong.join("\n"));
}

/// R12, R13: `mdadm --examine` of members in each state.
#[test]
fn mdadm_examines_what_we_write() {
    let Some(mdadm) = Mdadm::find() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    whole(&mut cases);
    unfinished(&mut cases);
    versions(&mut cases);
    reshaping(&mut cases);
    for (index, case) in cases.iter().enumerate() {
        for (slot, superblock) in case.members() {
            let path = image(scratch.path(), &format!("c{index}m{slot}"), MEMBER_BYTES);
            case.write(superblock, &path, Sector(0));
            assert_eq!(&superblock_at(&path, case.version), superblock, "{}", case.name);
            same(case, superblock, &mdadm.examine(&path));
        }
    }
}

fn same(case: &Case, superblock: &Superblock, said: &Examined) {
    let context = format!("{}: {said:?}", case.name);
    assert!(
        said.get("Checksum")
            .is_some_and(|checksum| checksum.ends_with("- correct")),
        "{context}"
    );
    assert_eq!(said.word("Version"), case.version.name(), "{context}");
    assert_eq!(said.word("Array UUID"), superblock.array_uuid.to_string(), "{context}");
    assert_eq!(
        said.word("Device UUID"),
        superblock.device_uuid.to_string(),
        "{context}"
    );
    assert_eq!(said.word("Name"), "ours", "{context}");
    assert_eq!(said.word("Raid Level"), superblock.level.to_string(), "{context}");
    assert_eq!(said.number("Raid Devices"), u64::from(superblock.slots), "{context}");
    assert_eq!(
        said.word("State"),
        if superblock.is_clean() { "clean" } else { "active" },
        "{context}"
    );
    assert_eq!(said.number("Events"), superblock.events, "{context}");
    assert!(
        said.get("Creation Time").is_some_and(|time| time.contains("2026")),
        "{context}"
    );
    let recovered = superblock.recovered_to().map(|offset| format!("{} sectors", offset.0));
    assert_eq!(said.get("Recovery Offset"), recovered.as_deref(), "{context}");
    let position = superblock
        .reshaping()
        .map(|reshape| format!("{}", reshape.position / 2));
    assert_eq!(said.get("Reshape pos'n").is_some(), position.is_some(), "{context}");
    if let (Some(said), Some(position)) = (said.get("Reshape pos'n"), position) {
        assert!(said.starts_with(&position), "{context}");
    }
    let missing = |slot: usize| case.superblocks[slot].is_none();
    let state: String = (0..case.superblocks.len())
        .map(|slot| if missing(slot) { '.' } else { 'A' })
        .collect();
    assert_eq!(said.word("Array State"), state, "{context}");
}
