//! What a new array looks like: the same as `mdadm --create` makes it on the same devices.
//!
//! One boot of the kernel creates an array for each case on sparse files behind loop devices; then what it left there
//! is held against the plan.

use std::{fmt::Write as _, path::PathBuf};

use headstack::raid::{
    Level, Sector,
    metadata::{
        bitmap::Bitmap,
        identity::{Name, Time, Uuid},
        plan::{NewArray, NewMember, Tracking, plan},
        superblock::{Superblock, Version},
    },
};

use super::{image, md::Kernel, read, sectors, superblock_at};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const BITMAP: Tracking = Tracking::Bitmap { chunk_bytes: 0 };

/// Sizes of the members in bytes, version, level, layout and its name for mdadm, chunk in KiB, tracking.
type Case = (&'static [u64], Version, Level, u32, &'static str, u32, Tracking);

const CASES: &[Case] = &[
    (
        &[16 * MIB + 77 * 512; 2],
        Version::V1_2,
        Level::Raid1,
        0,
        "",
        0,
        Tracking::None,
    ),
    (&[100 * MIB; 2], Version::V1_2, Level::Raid1, 0, "", 0, BITMAP),
    (&[5 * GIB; 3], Version::V1_2, Level::Raid1, 0, "", 0, BITMAP),
    (&[300 * GIB; 2], Version::V1_2, Level::Raid1, 0, "", 0, BITMAP),
    (&[3000 * GIB; 2], Version::V1_2, Level::Raid1, 0, "", 0, BITMAP),
    (&[100 * MIB; 2], Version::V1_1, Level::Raid1, 0, "", 0, BITMAP),
    (&[100 * MIB; 2], Version::V1_0, Level::Raid1, 0, "", 0, BITMAP),
    (
        &[20 * GIB + 7 * 512; 2],
        Version::V1_0,
        Level::Raid1,
        0,
        "",
        0,
        Tracking::None,
    ),
    (
        &[64 * MIB; 3],
        Version::V1_2,
        Level::Raid0,
        1,
        "original",
        64,
        Tracking::None,
    ),
    (
        &[64 * MIB, 80 * MIB, 72 * MIB],
        Version::V1_2,
        Level::Raid0,
        2,
        "alternate",
        64,
        Tracking::None,
    ),
    (
        &[900 * GIB; 2],
        Version::V1_2,
        Level::Raid0,
        1,
        "original",
        512,
        Tracking::None,
    ),
    (
        &[64 * MIB, 33 * MIB],
        Version::V1_2,
        Level::Linear,
        0,
        "",
        0,
        Tracking::None,
    ),
    (&[64 * MIB; 3], Version::V1_2, Level::Raid4, 0, "", 128, BITMAP),
    (&[64 * MIB; 3], Version::V1_2, Level::Raid5, 2, "ls", 4, BITMAP),
    (&[64 * MIB + 512; 4], Version::V1_2, Level::Raid5, 0, "la", 64, BITMAP),
    (&[30 * GIB; 4], Version::V1_2, Level::Raid5, 2, "ls", 512, BITMAP),
    (&[2000 * GIB; 3], Version::V1_2, Level::Raid5, 2, "ls", 4096, BITMAP),
    (
        &[500 * MIB; 3],
        Version::V1_2,
        Level::Raid5,
        2,
        "ls",
        8192,
        Tracking::None,
    ),
    (&[200 * MIB; 4], Version::V1_1, Level::Raid5, 3, "rs", 256, BITMAP),
    (&[200 * MIB; 4], Version::V1_0, Level::Raid5, 2, "ls", 256, BITMAP),
    (&[200 * MIB; 3], Version::V1_2, Level::Raid5, 2, "ls", 64, Tracking::Ppl),
    (&[200 * MIB; 3], Version::V1_0, Level::Raid5, 2, "ls", 64, Tracking::Ppl),
    (&[64 * MIB; 5], Version::V1_2, Level::Raid6, 2, "ls", 64, BITMAP),
    (&[9 * GIB; 6], Version::V1_2, Level::Raid6, 2, "ls", 512, BITMAP),
    (&[64 * MIB; 4], Version::V1_2, Level::Raid10, 0x102, "n2", 64, BITMAP),
    (&[64 * MIB; 5], Version::V1_2, Level::Raid10, 0x201, "f2", 64, BITMAP),
    (
        &[40 * GIB; 3],
        Version::V1_2,
        Level::Raid10,
        0x1_0201,
        "o2",
        512,
        BITMAP,
    ),
];

/// Lines that create the array of one case and stop it.
fn commands(index: usize, case: &Case) -> String {
    let &(sizes, version, level, _, layout, chunk, tracking) = case;
    let mut script = String::from("set --\n");
    for member in 0..sizes.len() {
        writeln!(script, "set -- \"$@\" $(losetup --show -f c{index}m{member})").unwrap();
    }
    let mut options = format!(
        "--metadata={} --level={level} -n{} --homehost=h --name=case{index} --uuid={} --assume-clean",
        version.name(),
        sizes.len(),
        uuid(index),
    );
    if !layout.is_empty() {
        write!(options, " --layout={layout}").unwrap();
    }
    if chunk > 0 {
        write!(options, " --chunk={chunk}").unwrap();
    }
    match tracking {
        Tracking::None => {}
        Tracking::Bitmap { .. } => options.push_str(" --bitmap=internal"),
        Tracking::Ppl => options.push_str(" --consistency-policy=ppl"),
    }
    if tracking == Tracking::None && !level.is_bare() {
        options.push_str(" --bitmap=none");
    }
    writeln!(
        script,
        "yes | mdadm --create /dev/md{index} --run {options} \"$@\" || fail=1"
    )
    .unwrap();
    writeln!(script, "mdadm --stop /dev/md{index} || fail=1\nlosetup -D").unwrap();
    script
}

fn uuid(index: usize) -> Uuid {
    let mut bytes = [0x5a; 16];
    bytes[0] = u8::try_from(index).unwrap();
    Uuid(bytes)
}

fn planned(index: usize, case: &Case, found: &[Superblock], images: &[PathBuf]) -> (Vec<Superblock>, Option<Bitmap>) {
    let &(_, version, level, layout, _, chunk, tracking) = case;
    let array = NewArray {
        version,
        uuid: uuid(index),
        name: Name::new(&format!("h:case{index}")).unwrap(),
        created: Time(0),
        level,
        layout,
        chunk: chunk * 2,
        tracking,
        clean: true,
        size: None,
        data_offset: None,
    };
    let members: Vec<Option<NewMember>> = found
        .iter()
        .zip(images)
        .map(|(superblock, image)| {
            Some(NewMember {
                uuid: superblock.device_uuid,
                device: sectors(image),
            })
        })
        .collect();
    let plan = plan(&array, &members, &[]).unwrap();
    (plan.superblocks.into_iter().map(Option::unwrap).collect(), plan.bitmap)
}

/// R08, R09, R50: places, sizes, roles and bitmaps of a new array are those of mdadm, on devices of 16 MiB to 3 TiB.
#[test]
fn new_arrays_look_like_those_of_mdadm() {
    let Some(kernel) = Kernel::find() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut script = String::from("fail=0\n");
    let mut images: Vec<Vec<PathBuf>> = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let name = |member| format!("c{index}m{member}");
        let made = case.0.iter().enumerate();
        images.push(
            made.map(|(member, &size)| image(scratch.path(), &name(member), size))
                .collect(),
        );
        script.push_str(&commands(index, case));
    }
    script.push_str("[ $fail = 0 ]\n");
    kernel.run(scratch.path(), &script, &[]);
    for (index, (case, images)) in CASES.iter().zip(&images).enumerate() {
        let found: Vec<Superblock> = images.iter().map(|image| superblock_at(image, case.1)).collect();
        let (superblocks, bitmap) = planned(index, case, &found, images);
        for (mut planned, found) in superblocks.into_iter().zip(&found) {
            // Times are the peer's own, and running the array moved its events.
            planned.created = found.created;
            planned.updated = found.updated;
            planned.events = found.events;
            assert_eq!(&planned, found, "case {index}: {case:?}");
            assert_eq!(planned.encode(), found.encode());
        }
        let Some(bitmap) = bitmap else { continue };
        for (image, superblock) in images.iter().zip(&found) {
            let start = superblock.bitmap_start().unwrap();
            let room = superblock.bitmap_room(sectors(image));
            assert!(room >= bitmap.area_sectors(), "case {index}: {case:?}");
            let stored = Bitmap::decode(&read(image, start.0 * 512, usize::try_from(room.0 * 512).unwrap())).unwrap();
            let mut header = stored.header().clone();
            (header.events, header.events_cleared) = (0, 0);
            assert_eq!(&header, bitmap.header(), "case {index}: {case:?}");
            assert_eq!(stored.area_sectors(), bitmap.area_sectors());
            assert!(sectors(image) > Sector(0));
        }
    }
}
