use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{Area, Features, MAX_ROLES, MAX_SECTOR, Role, Superblock, SuperblockDamage, Version, checksum, downgrade};
use crate::raid::{Level, Sector, Slot, metadata::identity::Uuid};

/// Fixed part as mdadm 4.2 and Linux 6.1 left it: RAID 5 of three members of 9 MiB, chunk 512 KiB, internal bitmap. The
/// role table is 0, 1, spare, 2, then spares up to 128.
const FROM_LINUX: &str = concat!(
    "fc4e2ba9010000000100000000000000ca82f23ca1c3dffeb0afb9aef77091c2",
    "6e6f6e653a72355f6e335f3531326b5f6269746d617000000000000000000000",
    "630e016b00000000050000000200000000380000000000000004000003000000",
    "0800000000000000000000000000000000000000000000000000000000000000",
    "0010000000000000003800000000000008000000000000000000000000000000",
    "00000000000000007547489e03d857599fc4199f3dd7c8a80000080010000000",
    "630e016b000000001200000000000000fffffffffffffffff733bd3280000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
);

fn from_linux() -> Vec<u8> {
    let mut bytes = data_encoding::HEXLOWER.decode(FROM_LINUX.as_bytes()).unwrap();
    bytes.extend([0, 0, 1, 0, 0xff, 0xff, 2, 0]);
    bytes.resize(512, 0xff);
    bytes
}

/// The same with `value` at `at`, its checksum made right again.
fn changed(at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = from_linux();
    bytes[at..at + value.len()].copy_from_slice(value);
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let sum = checksum(bytes);
    bytes[0xd8..0xdc].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn the_kernel_s_bytes_are_read_and_written() {
    let bytes = from_linux();
    let superblock = Superblock::decode(&bytes).unwrap();
    assert_eq!(superblock.encode(), bytes);
    assert_eq!(superblock.array_uuid.to_string(), "ca82f23c:a1c3dffe:b0afb9ae:f77091c2");
    assert_eq!(
        superblock.device_uuid.to_string(),
        "7547489e:03d85759:9fc4199f:3dd7c8a8"
    );
    assert_eq!(superblock.name.to_string(), "none:r5_n3_512k_bitmap");
    assert_eq!(
        (superblock.level, superblock.layout, superblock.slots),
        (Level::Raid5, 2, 3)
    );
    assert_eq!((superblock.size, superblock.chunk), (Sector(14336), 1024));
    assert_eq!(
        (superblock.data_offset, superblock.data_size),
        (Sector(4096), Sector(14336))
    );
    assert_eq!((superblock.events, superblock.resync_offset), (18, MAX_SECTOR));
    assert_eq!(superblock.features, Features::BITMAP);
    assert_eq!(superblock.bitmap_start(), Some(Sector(16)));
    assert_eq!(
        superblock.bad_block_area(),
        Some(Area {
            start: Sector(24),
            length: Sector(8)
        })
    );
    assert_eq!(superblock.bitmap_room(Sector(18432)), Sector(8));
    assert_eq!(superblock.role(), Role::Active(Slot(0)));
    let roles = [
        Role::Active(Slot(0)),
        Role::Active(Slot(1)),
        Role::Spare,
        Role::Active(Slot(2)),
        Role::Spare,
    ];
    assert_eq!(superblock.roles[..5], roles);
    assert_eq!(superblock.fits(Sector(8), Sector(18432)), Ok(()));
    assert!(superblock.is_clean() && superblock.reshaping().is_none() && superblock.recovered_to().is_none());
}

#[test]
fn places_go_by_version() {
    let places = |device| Version::ALL.map(|version| version.place(Sector(device)).map(|place| place.0));
    assert_eq!(places(18432), [Some(8), Some(0), Some(18416)]);
    assert_eq!(places(18437), [Some(8), Some(0), Some(18416)]);
    assert_eq!(places(24), [Some(8), Some(0), Some(8)]);
    assert_eq!(places(23), [None; 3]);
}

/// What the kernel refuses is refused, by the name of the field.
#[test]
fn damage_is_named() {
    let refused = |at: usize, value: &[u8]| match Superblock::decode(&changed(at, value)) {
        Err(SuperblockDamage::Field { field, .. }) => field,
        other => panic!("{at:#x}: {other:?}"),
    };
    assert!(matches!(
        Superblock::decode(&changed(0, b"x")),
        Err(SuperblockDamage::Absent { .. })
    ));
    assert_eq!(
        Superblock::decode(&changed(4, &[2])),
        Err(SuperblockDamage::Version { major: 2 })
    );
    let unknown = Superblock::decode(&changed(9, &[0x20]));
    assert_eq!(unknown, Err(SuperblockDamage::UnknownFeatures { bits: 0x2000 }));
    let mut flipped = from_linux();
    flipped[0xc8] ^= 1;
    assert!(matches!(
        Superblock::decode(&flipped),
        Err(SuperblockDamage::Checksum { .. })
    ));
    for (at, value, field) in [
        (0x0c, [1].as_slice(), "pad0"),
        (0x10, &[0; 16], "set_uuid"),
        (0x48, &[7], "level"),
        (0x48, &[0xfc, 0xff, 0xff, 0xff], "level"),
        (0x50, &[0; 8], "size"),
        (0x50, &[1, 0x38], "size"),
        (0x58, &[0; 4], "chunksize"),
        (0x58, &[0, 5], "chunksize"),
        (0x58, &[4, 0], "chunksize"),
        (0x5c, &[0; 4], "raid_disks"),
        (0x5c, &[0xff; 4], "raid_disks"),
        (0x60, &[0; 4], "bitmap_offset"),
        (0x60, &[0xf7, 0xff, 0xff, 0xff], "bitmap_offset"),
        (0x88, &[9, 0], "data_size"),
        (0xb9, &[17], "bblog_shift"),
        (0xba, &[9], "bblog_size"),
        (0xe4, &[1], "pad3"),
        (0xff, &[1], "pad3"),
        (0x08, &[9, 4], "feature_map"),
        (0x08, &[0, 0x10], "feature_map"),
        (0x08, &[0, 0x0c], "feature_map"),
        (0x08, &[5], "delta_disks"),
    ] {
        if field == "delta_disks" {
            let mut bytes = changed(at, value);
            bytes[0x64] = 5;
            bytes[0x70] = 3;
            bytes[0x79] = 4;
            seal(&mut bytes);
            let damage = Superblock::decode(&bytes).unwrap_err();
            assert!(
                matches!(
                    damage,
                    SuperblockDamage::Field {
                        field: "delta_disks",
                        ..
                    }
                ),
                "{damage}"
            );
        } else {
            assert_eq!(refused(at, value), field, "{at:#x} {value:x?}");
        }
    }
    let long = changed(0xdc, &[0x81, 7]);
    assert!(matches!(
        Superblock::decode(&long),
        Err(SuperblockDamage::Field { field: "max_dev", .. })
    ));
    let cut = changed(0xdc, &[0x81, 0]);
    assert!(matches!(
        Superblock::decode(&cut),
        Err(SuperblockDamage::Field { field: "max_dev", .. })
    ));
    assert!(matches!(
        Superblock::decode(&from_linux()[..255]),
        Err(SuperblockDamage::Absent { .. })
    ));
}

/// A region that would be written to is never one that holds data or another region.
#[test]
fn regions_are_kept_apart() {
    let device = Sector(18432);
    let fits = |at: usize, value: &[u8]| Superblock::decode(&changed(at, value)).unwrap().fits(Sector(8), device);
    for (at, value, wanted) in [
        (0x90, [16].as_slice(), "super_offset"),
        (0x80, &[0, 0x11], "data_size"),
        (0x80, &[0xff; 8], "data_size"),
        (0x80, &[8, 0], "data_offset"),
        (0xbc, &[0, 0x20], "bblog_offset"),
        (0xbc, &[0xf9, 0xff, 0xff, 0xff], "bblog_offset"),
        (0xbc, &[0xf0, 0xff, 0xff, 0xff], "bblog_offset"),
        (0x60, &[0, 0x20], "bitmap_offset"),
        (0x60, &[0, 0, 0, 0x70], "bitmap_offset"),
        (0x60, &[17], "bitmap_offset"),
    ] {
        match fits(at, value) {
            Err(SuperblockDamage::Field { field, .. }) => assert_eq!(field, wanted, "{at:#x} {value:x?}"),
            other => panic!("{at:#x} {value:x?}: {other:?}"),
        }
    }
    assert_eq!(fits(0x60, &[8]), Ok(()));
    let short = Superblock::decode(&from_linux())
        .unwrap()
        .fits(Sector(8), Sector(18431));
    assert!(short.is_err());
}

#[test]
fn a_newer_kernel_s_superblock_is_read_and_downgraded() {
    let newer = changed(0xe0, &[0, 2]);
    let superblock = Superblock::decode(&newer).unwrap();
    assert_eq!(superblock.logical_block_bytes, 512);
    assert_eq!(superblock.encode(), from_linux());
    assert_eq!(downgrade(&newer).unwrap().unwrap(), from_linux());
    assert_eq!(downgrade(&from_linux()), Ok(None));
    assert!(downgrade(&newer[1..]).is_err());
}

/// The checksum folds its carry and takes an odd role as the low half of a word.
#[test]
fn the_checksum_is_md_s() {
    assert_eq!(checksum(&from_linux()), 0x32bd_33f7);
    let mut bytes = [0xff; 260];
    assert_eq!(checksum(&bytes), 0xffff_ffff);
    bytes[..4].fill(0);
    assert_eq!(checksum(&bytes[..258]), 0xffff);
}

#[test]
fn both_numbers_of_slots_are_known_while_reshaping() {
    let mut superblock = Superblock::decode(&from_linux()).unwrap();
    superblock.features = superblock.features.with(Features::RESHAPE, true);
    superblock.reshape.new_level = 5;
    superblock.reshape.new_chunk = 128;
    superblock.reshape.delta = 1;
    superblock.slots = 4;
    let grown = Superblock::decode(&superblock.encode()).unwrap();
    assert_eq!(
        (grown.slots_before(), grown.slots_in_use(), grown.reshapes_backwards()),
        (3, 4, false)
    );
    superblock.reshape.delta = -2;
    let shrunk = Superblock::decode(&superblock.encode()).unwrap();
    assert_eq!(
        (
            shrunk.slots_before(),
            shrunk.slots_in_use(),
            shrunk.reshapes_backwards()
        ),
        (6, 6, true)
    );
    superblock.reshape.delta = 0;
    assert!(!superblock.reshapes_backwards());
    superblock.features = superblock.features.with(Features::RESHAPE_BACKWARDS, true);
    assert!(superblock.reshapes_backwards());
}

fn role() -> impl Strategy<Value = Role> {
    any::<u16>().prop_map(Role::from_code)
}

fn superblock() -> impl Strategy<Value = Superblock> {
    let numbers = proptest::collection::vec(any::<u64>(), 12);
    let roles = proptest::collection::vec(role(), 1..=MAX_ROLES);
    (numbers, roles, any::<[u8; 32]>(), 0..7_usize).prop_map(|(n, roles, name, level)| {
        let levels = [-1, 0, 1, 4, 5, 6, 10];
        let level = Level::from_code(levels[level]).unwrap();
        let mut superblock = Superblock::decode(&from_linux()).unwrap();
        superblock.array_uuid = Uuid([(n[0] % 255) as u8 + 1; 16]);
        superblock.name.0 = name;
        superblock.level = level;
        superblock.layout = n[1].to_le_bytes()[0].into();
        superblock.chunk = 8 << (n[2] % 20);
        superblock.slots = (n[3] % 1920) as u32 + 1;
        superblock.features = Features([0, 1, 2, 7, 0x1c5][(n[4] % 5) as usize]);
        superblock.reshape.new_level = levels[(n[5] % 7) as usize];
        superblock.reshape.new_chunk = 64;
        superblock.reshape.delta = (superblock.slots / 2) as i32;
        superblock.reshape.position = n[6];
        superblock.device_number = u32::from(n[7].to_le_bytes()[0]);
        superblock.events = n[8] >> 2;
        superblock.resync_offset = Sector(n[9]);
        superblock.recovery_offset = n[10];
        superblock.updated.0 = n[11];
        superblock.roles = roles;
        superblock
    })
}

proptest! {
    #[test]
    fn a_superblock_survives_its_bytes(superblock in superblock()) {
        let bytes = superblock.encode();
        prop_assert_eq!(bytes.len(), superblock.length_bytes());
        prop_assert_eq!(Superblock::decode(&bytes).unwrap(), superblock);
    }

    /// Whatever field is changed: refused by name, or read back as exactly these bytes.
    #[test]
    fn mutated_superblocks_are_named_or_exact(at in 0..256_usize, value in any::<[u8; 8]>(), length in 1..=8_usize) {
        let length = length.min(256 - at);
        let mut bytes = changed(at, &value[..length]);
        seal(&mut bytes);
        match Superblock::decode(&bytes) {
            Ok(superblock) => {
                let place = superblock.super_offset;
                drop(superblock.fits(place, Sector(18432)));
                let _ = (superblock.bitmap_room(Sector(18432)), superblock.slots_in_use(), superblock.role());
                bytes[0xe0..0xe4].fill(0);
                let whole = bytes.len().min(superblock.length_bytes());
                let roles = 256 + 2 * superblock.roles.len();
                bytes[roles.min(whole)..].fill(0);
                seal(&mut bytes[..roles]);
                prop_assert_eq!(&superblock.encode()[..whole], &bytes[..whole]);
            }
            Err(damage) => prop_assert!(!damage.to_string().is_empty()),
        }
    }

    #[test]
    fn hostile_superblocks_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4200), keep in any::<bool>()) {
        let mut bytes = bytes;
        if keep && bytes.len() >= 512 {
            bytes[..16].copy_from_slice(&from_linux()[..16]);
            bytes[0xdc..0xe0].copy_from_slice(&[128, 0, 0, 0]);
            bytes[0xe4..0x100].fill(0);
            seal(&mut bytes[..512]);
        }
        if let Ok(superblock) = Superblock::decode(&bytes) {
            drop(superblock.fits(superblock.super_offset, Sector(u64::MAX)));
            let _ = (superblock.slots_in_use(), superblock.bitmap_room(Sector(u64::MAX)));
        }
    }
}
