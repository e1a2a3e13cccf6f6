//! Sets on simulated storage: what is told of them is what assembling them then does.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use super::*;
use crate::{
    raid::{
        Sector,
        assemble::find,
        create::{Initialisation, NewImage, Wish, create},
        reshape::Plan,
        rig::{Make, Rig, contents, dying, on},
    },
    storage::{Access, Directory, SimDirectory},
};

const IMAGE_BYTES: u64 = 2 << 20;

fn uuid(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn blank(directory: &SimDirectory, name: &str) -> Image {
    directory
        .create(Path::new(name), &mut |file| file.set_size(IMAGE_BYTES))
        .unwrap();
    Image {
        directory: Arc::new(directory.clone()),
        name: name.into(),
    }
}

/// An array of new images `{name}0` and so on.
fn made(directory: &SimDirectory, name: &str, number: u8, level: Level, members: u8) -> (Vec<Image>, Array) {
    let images: Vec<Image> = (0..members)
        .map(|member| blank(directory, &format!("{name}{member}")))
        .collect();
    let layout = match level {
        Level::Raid10 => 0x102,
        Level::Raid0 => 1,
        Level::Raid5 | Level::Raid6 => 2,
        _ => 0,
    };
    let wish = Wish {
        name: name.to_owned(),
        uuid: uuid(number),
        created: Time::new(1000, 0),
        level,
        layout,
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: None,
        overwrite: false,
    };
    let new = images.iter().zip(1..).map(|(image, member)| {
        Some(NewImage {
            image: image.clone(),
            uuid: uuid(number + member),
        })
    });
    let array = create(&wish, &new.collect::<Vec<_>>(), &[]).unwrap();
    (images, array)
}

fn write(image: &Image, at: u64, bytes: &[u8]) {
    image.open(Access::ReadWrite).unwrap().write_all_at(bytes, at).unwrap();
}

fn copy(directory: &SimDirectory, from: &Image, name: &str) -> Image {
    let mut bytes = vec![0; usize::try_from(IMAGE_BYTES).unwrap()];
    from.open(Access::Read).unwrap().read_at(&mut bytes, 0).unwrap();
    let to = blank(directory, name);
    write(&to, 0, &bytes);
    to
}

/// R56: members are sorted into their arrays whatever their order and names, and each set can be opened.
#[test]
fn images_are_sorted_into_arrays_by_their_superblocks() {
    let directory = SimDirectory::new();
    let (mut one, array) = made(&directory, "one", 10, Level::Raid5, 3);
    array.write_at(&[7; 4096], 8192, false).unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let (two, array) = made(&directory, "two", 20, Level::Raid0, 2);
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    one.reverse();
    let images: Vec<Image> = one
        .iter()
        .zip(&two)
        .flat_map(|(one, two)| [one, two])
        .cloned()
        .collect();
    let images = [&images[..], &one[2..]].concat();
    let found = discover(&images);
    let names: Vec<&str> = found.arrays.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert!(found.images.iter().all(|report| report.contents == Contents::Member));
    let set = &found.arrays[0];
    assert_eq!(
        (set.uuid, set.level, set.layout, set.chunk_bytes),
        (uuid(10), Level::Raid5, 2, 64 << 10)
    );
    assert_eq!((set.slots, set.dirty, set.missing.len()), (3, false, 0));
    assert_eq!((&set.refusal, &set.conflicts), (&None, &vec![]));
    let numbers: Vec<usize> = set.members.iter().map(|member| member.number).collect();
    assert_eq!(numbers, [4, 2, 0]);
    let array = open(set, Assembly::default()).unwrap();
    assert_eq!(Some(array.size_bytes()), set.size_bytes);
    let mut bytes = [0; 4096];
    array.read_at(&mut bytes, 8192).unwrap();
    assert_eq!(bytes, [7; 4096]);
    assert_eq!(
        open(&found.arrays[1], Assembly::default()).unwrap().level(),
        Level::Raid0
    );
}

/// R28, R30, R54: missing and stale members are named; where too many are gone the refusal says which, and with all back
/// it is gone.
#[test]
fn missing_and_stale_members_are_named() {
    let directory = SimDirectory::new();
    let (images, array) = made(&directory, "a", 10, Level::Raid6, 4);
    array.fail_member(Slot(2)).unwrap();
    array.write_at(&[7; 4096], 0, false).unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    let set = &discover(&images).arrays[0];
    assert_eq!(set.missing, [Slot(2)]);
    assert_eq!(set.members.len(), 4);
    let failed = set.members.iter().find(|member| member.number == 2).unwrap();
    assert_eq!((failed.slot, failed.standing), (None, Standing::Failed));
    assert_eq!(set.refusal, None);
    let set = &discover(&images[..2]).arrays[0];
    assert_eq!((&set.missing, &set.refusal), (&vec![Slot(2), Slot(3)], &None));
    let set = &discover(&images[..1]).arrays[0];
    assert_eq!(set.missing, [Slot(1), Slot(2), Slot(3)]);
    assert_eq!(
        set.refusal.as_deref(),
        Some("members 1, 2, 3 are missing or missed writes")
    );
    assert_eq!(set.size_bytes, discover(&images).arrays[0].size_bytes);
    assert!(open(set, Assembly::default()).is_err());
    assert_eq!(discover(&images).arrays[0].refusal, None);
}

#[test]
fn contradictions_are_named_and_refused() {
    let directory = SimDirectory::new();
    let (mut images, array) = made(&directory, "a", 10, Level::Raid1, 2);
    array.stop(Time::new(2000, 0)).unwrap();
    images.push(copy(&directory, &images[0], "copy"));
    let set = &discover(&images).arrays[0];
    let [Conflict::SameDevice { path, other }] = &set.conflicts[..] else {
        panic!("{:?}", set.conflicts)
    };
    assert_eq!((path, other), (&images[0].path(), &images[2].path()));
    assert!(set.refusal.as_ref().unwrap().contains("copies of the same member"));

    let (more, array) = made(&directory, "b", 30, Level::Raid1, 2);
    array.stop(Time::new(2000, 0)).unwrap();
    // A member of one array that another left its superblock on, at the end of the device.
    let mut superblock = find(&more[0].path(), &*more[0].open(Access::Read).unwrap(), 0)
        .unwrap()
        .unwrap()
        .superblock;
    let place = Version::V1_0.place(Sector(IMAGE_BYTES / 512)).unwrap();
    superblock.super_offset = place;
    superblock.data_offset = Sector(0);
    (superblock.size, superblock.data_size) = (Sector(128), Sector(128));
    superblock.bad_blocks.sectors = 0;
    write(&images[1], place.0 * 512, &superblock.encode());
    let set = &discover(&images[..2]).arrays[0];
    let twofold = Conflict::TwoArrays {
        path: images[1].path(),
        other: "b".to_owned(),
    };
    assert_eq!(set.conflicts, [twofold]);
}

#[test]
fn arrays_of_one_name_are_both_found_and_flagged() {
    let directory = SimDirectory::new();
    let other = SimDirectory::new();
    let (mut images, _) = made(&directory, "a", 10, Level::Raid1, 2);
    images.extend(made(&other, "a", 20, Level::Raid1, 2).0);
    let found = discover(&images);
    assert_eq!(found.arrays.len(), 2);
    assert_eq!(found.arrays[0].conflicts, [Conflict::SameName { other: uuid(20) }]);
    assert_eq!(found.arrays[1].conflicts, [Conflict::SameName { other: uuid(10) }]);
}

/// R57: images that are no members are told apart: not initialised, legacy, damaged.
#[test]
fn other_images_are_reported_with_what_they_hold() {
    let directory = SimDirectory::new();
    let (images, _) = made(&directory, "a", 10, Level::Raid1, 2);
    let report = |image: &Image| discover(std::slice::from_ref(image)).images[0].contents.clone();
    let next = |number: u64| blank(&directory, &format!("blank{number}"));
    assert_eq!(report(&next(0)), Contents::Blank);
    let case = |number, at: u64, bytes: &[u8]| {
        let image = next(number);
        write(&image, at, bytes);
        report(&image)
    };
    assert_eq!(case(1, 1080, &[0x53, 0xef]), Contents::FileSystem("ext2, ext3 or ext4"));
    assert_eq!(
        case(2, IMAGE_BYTES - 512, &[0xde, 0x11, 0xde, 0x11]),
        Contents::NotTaken("DDF")
    );
    let old = [0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0];
    assert_eq!(case(3, IMAGE_BYTES - (64 << 10), &old), Contents::NotTaken("md 0.90"));
    assert_eq!(case(4, 5000, b"something"), Contents::Unknown);
    write(&images[0], 4096 + 0x48, &[9]);
    let Contents::Damaged(reason) = report(&images[0]) else {
        panic!("{:?}", report(&images[0]))
    };
    assert!(reason.contains("checksum"), "{reason}");
    let gone = Image {
        directory: Arc::new(directory.clone()),
        name: "gone".into(),
    };
    assert!(matches!(report(&gone), Contents::Unreadable(_)));
    let empty = Image {
        name: "empty".into(),
        ..gone
    };
    directory.create(&empty.name, &mut |_| Ok(())).unwrap();
    assert_eq!(report(&empty), Contents::Blank);
}

/// R55: a RAID 5 that lost two members, one after the other, is started with force: what the first missed is lost, and
/// nothing else.
#[test]
fn force_takes_the_freshest_of_the_members_that_missed_writes() {
    let directory = SimDirectory::new();
    let (images, array) = made(&directory, "a", 10, Level::Raid5, 4);
    let size = array.size_bytes();
    let old: Vec<u8> = (0..size).map(|at| u8::try_from(at / 4096 % 251).unwrap()).collect();
    array.write_at(&old, 0, false).unwrap();
    array.fail_member(Slot(1)).unwrap();
    array.write_at(&[0xee; 64 << 10], 0, false).unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let left = &images[..3];
    let forced = Assembly {
        force: true,
        ..Assembly::default()
    };
    let refused = assemble(left, Assembly::default()).unwrap_err().to_string();
    assert!(
        refused.contains("members 1, 3 are missing") && refused.contains("--force"),
        "{refused}"
    );
    assert!(assemble(&images[..1], forced).is_err());
    let array = assemble(left, forced).unwrap();
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    array.read_at(&mut bytes, 0).unwrap();
    // The stripe that was written without the member is not to be trusted; the others are whole.
    let stripe = 3 * (64 << 10);
    assert_eq!(bytes[stripe..], old[stripe..]);
    array.write_at(&[0xdd; 4096], stripe as u64, false).unwrap();
    array.stop(Time::new(3000, 0)).unwrap();
    drop(array);
    // From now on it is a member like the others.
    let set = &discover(left).arrays[0];
    assert_eq!((&set.missing, &set.refusal), (&vec![Slot(3)], &None));
    // Members that missed nothing are never replaced by one that did.
    let (images, array) = made(&directory, "b", 30, Level::Raid5, 4);
    array.fail_member(Slot(1)).unwrap();
    array.write_at(&[0xee; 4096], 0, false).unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let array = assemble(&images, forced).unwrap();
    assert_eq!(array.status().members[1].path, None);
}

/// R59: an array that was stopped on its way to another shape tells where it was going and how far it came.
#[test]
fn a_reshape_at_rest_tells_where_it_goes() {
    let (rig, array) = Rig::make(Make::new(Level::Raid5, 3, 16));
    let size = array.size_bytes();
    let plan = Plan {
        images: vec![NewImage {
            image: rig.new_image(3),
            uuid: uuid(33),
        }],
        room_bytes: Some(0),
        ..Plan::default()
    };
    array.begin_reshape(&plan).unwrap();
    array.reshape(&mut |_| ControlFlow::Break(())).unwrap();
    let live = array.status().reshape.unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let images: Vec<Image> = (0..4).map(|n| rig.image(n)).collect();
    let rest = discover(&images).arrays.remove(0).reshape.unwrap();
    assert_eq!(rest, live);
    assert_eq!(
        (rest.level, rest.slots, rest.chunk_bytes, rest.running),
        (Level::Raid5, 4, 16 << 10, false)
    );
    assert_eq!((rest.size_bytes, rest.whole_bytes), (size / 2 * 3, size / 2 * 3));
    assert!(0 < rest.done_bytes && rest.done_bytes < rest.whole_bytes, "{rest:?}");
}

/// The size that superblocks of a RAID 0 have, and do not need, is none that anything is reckoned from.
#[test]
fn raid_0_is_not_reckoned_from_a_size_that_it_does_not_use() {
    let (rig, array, bytes) = Rig::filled(Make::new(Level::Raid0, 2, 8));
    drop(array);
    for n in 0..2 {
        let mut superblock = rig.superblock(n);
        superblock.size = Sector(u64::MAX);
        let place = superblock.super_offset.0 * SECTOR_BYTES;
        rig.open(n).write_all_at(&superblock.encode(), place).unwrap();
    }
    let array = rig.assemble(0..2).unwrap();
    assert!(contents(&array) == bytes);
}

/// R59: wherever a crash cuts a growth off, at its beginning or its end, what is told of the stopped set is what its assembly
/// then does: who has a seat, who is missing, whether it starts.
#[test]
fn a_set_at_either_end_of_a_reshape_is_told_as_it_is_assembled() {
    let grown = |at: usize| {
        let (rig, array, _) = Rig::filled(Make::new(Level::Raid5, 3, 8));
        let plan = Plan {
            images: vec![NewImage {
                image: rig.new_image(3),
                uuid: crate::raid::rig::uuid(3),
            }],
            ..Plan::default()
        };
        dying(&rig.directory, at, || {
            array.begin_reshape(&plan).unwrap();
            array.reshape(&mut on).unwrap();
        })
    };
    let (count, _) = grown(usize::MAX);
    let near = count.min(16);
    for at in (0..near).chain(count - near..count) {
        let Some(directory) = grown(at).1 else { continue };
        let rig = Rig { directory };
        let images: Vec<Image> = (0..4).map(|n| rig.image(n)).collect();
        let found = discover(&images);
        assert_eq!(found.arrays.len(), 1, "death at change {at}: {found:?}");
        let set = &found.arrays[0];
        let what = format!("death at change {at}: {set:?}");
        assert_eq!(set.refusal, None, "{what}");
        let seats = open(set, Assembly::default()).unwrap().status().members;
        let empty = seats.iter().filter(|seat| seat.path.is_none()).map(|seat| seat.slot);
        assert_eq!(set.missing, empty.collect::<Vec<_>>(), "{what}");
        for seat in seats
            .iter()
            .filter_map(|seat| seat.path.as_ref().map(|path| (seat.slot, path)))
        {
            let told = set.members.iter().find(|member| member.image.path() == *seat.1);
            let told = told.map(|member| (member.slot, member.standing));
            assert_eq!(told, Some((Some(seat.0), Standing::InSync)), "{what}");
        }
    }
}
