//! RAID 50 as one object on simulated storage: what survives, what is rebuilt, what is found again.

use std::{ops::ControlFlow, path::Path};

use super::*;
use crate::{
    raid::{
        Slot,
        add::Added,
        discover::{Discovery, discover, open, open_over},
        health::{ArrayState, DiskState},
        metadata::identity::Time,
        rebuild::Ending,
        reshape::Plan,
        rig::dying,
        scrub::Repair,
    },
    storage::{Directory as _, SimDirectory},
};

const IMAGE_BYTES: u64 = 3 << 20;
/// Of images that do for a megabyte in all.
const SMALL_BYTES: u64 = 7 << 18;
const DISKS: u8 = 6;

fn uuid(number: u8) -> Uuid {
    let mut bytes = [0x33; 16];
    bytes[0] = number;
    Uuid(bytes)
}

fn blank(directory: &SimDirectory, number: u8) -> Image {
    blank_of(directory, number, IMAGE_BYTES)
}

fn blank_of(directory: &SimDirectory, number: u8, bytes: u64) -> Image {
    let image = image(directory, number);
    directory.create(&image.name, &mut |file| file.set_size(bytes)).unwrap();
    image
}

fn image(directory: &SimDirectory, number: u8) -> Image {
    Image {
        directory: Arc::new(directory.clone()),
        name: format!("m{number}").into(),
    }
}

fn images(directory: &SimDirectory) -> Vec<Image> {
    (0..DISKS).map(|number| image(directory, number)).collect()
}

fn new(image: &Image, number: u8) -> NewImage {
    NewImage {
        image: image.clone(),
        uuid: uuid(number),
    }
}

fn wish() -> Wish {
    Wish {
        name: "fifty".to_owned(),
        uuid: uuid(200),
        created: Time::new(1000, 0),
        level: Level::Raid5,
        layout: 2,
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    }
}

fn made(directory: &SimDirectory) -> Array {
    made_of(directory, IMAGE_BYTES)
}

fn made_of(directory: &SimDirectory, bytes: u64) -> Array {
    let members: Vec<Option<NewImage>> = (0..DISKS)
        .map(|number| Some(new(&blank_of(directory, number, bytes), number)))
        .collect();
    create_nested(&wish(), &members, &[]).unwrap()
}

fn pattern(array: &Array) -> Vec<u8> {
    (0..array.size_bytes() / 8).flat_map(u64::to_le_bytes).collect()
}

fn whole(array: &Array) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(array.size_bytes()).unwrap()];
    array.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn all(_: crate::raid::rebuild::Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// R09, R10: six disks make two legs of three; any one disk may be lost, two if they are of different legs, and with two of one
/// leg the array is refused.
#[test]
fn one_disk_of_each_leg_may_be_lost() {
    let directory = SimDirectory::new();
    let array = made(&directory);
    let data = pattern(&array);
    array.write_at(&data, 0, false).unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let images = images(&directory);
    let usable = data.len() as u64;
    assert!(
        usable > 4 * (IMAGE_BYTES - (2 << 20)) - (2 << 20) && usable < 4 * IMAGE_BYTES,
        "{usable}"
    );
    for one in 0..usize::from(DISKS) {
        for two in 0..usize::from(DISKS) {
            let kept: Vec<Image> = images
                .iter()
                .enumerate()
                .filter(|(number, _)| *number != one && *number != two)
                .map(|(_, image)| image.clone())
                .collect();
            let found = discover(&kept);
            let set = &found.arrays[0];
            if one != two && one / 3 == two / 3 {
                assert!(set.refusal.as_ref().unwrap().contains("leg"), "{set:?}");
                assert!(open(set, Assembly::default()).is_err(), "without {one} and {two}");
                continue;
            }
            assert_eq!(
                (found.arrays.len(), &set.refusal),
                (1, &None),
                "without {one} and {two}"
            );
            let mut lost = vec![one, two];
            lost.sort_unstable();
            lost.dedup();
            let missing: Vec<usize> = set.missing.iter().map(|slot| slot.index()).collect();
            assert_eq!(missing, lost);
            let how = Assembly {
                read_only: true,
                ..Assembly::default()
            };
            let array = open(set, how).unwrap();
            assert_eq!((array.name(), array.kind_name().as_str()), ("fifty", "raid50"));
            assert!(whole(&array) == data, "without {one} and {two}");
        }
    }
}

/// R28, R29, R30: members fail and are replaced through the whole; a third that the array needs is kept.
#[test]
fn failures_and_rebuilds_reach_the_legs() {
    let directory = SimDirectory::new();
    let array = made(&directory);
    let data = pattern(&array);
    array.write_at(&data, 0, false).unwrap();
    array.fail_member(Slot(1)).unwrap();
    array.fail_member(Slot(5)).unwrap();
    assert!(matches!(array.fail_member(Slot(4)), Err(Error::MemberNeeded { .. })));
    assert!(matches!(array.fail_member(Slot(6)), Err(Error::WrongState { .. })));
    let status = array.status();
    assert_eq!(status.members.len(), 6);
    assert!(status.degraded && status.members[1].path.is_none() && status.members[5].path.is_none());
    assert!(array.health_status(0, 4096).iter().any(|(_, flags)| *flags != 0));
    array.write_at(&data[..100_000], 50_000, false).unwrap();
    let mut wanted = data.clone();
    wanted[50_000..150_000].copy_from_slice(&data[..100_000]);
    assert_eq!(
        array.add(&blank(&directory, 10), uuid(10)).unwrap(),
        Added::Rebuild(Slot(1))
    );
    // The one that was taken out of the second leg goes back there.
    let back = array.add(&image(&directory, 5), uuid(11)).unwrap();
    assert_eq!(back, Added::Return(Slot(5)));
    assert_eq!(array.rebuild(&mut all).unwrap(), Ending::Complete);
    assert!(!array.status().degraded);
    assert!(array.health_status(0, 4096).iter().all(|(_, flags)| *flags == 0));
    array.fail_member(Slot(0)).unwrap();
    array.fail_member(Slot(3)).unwrap();
    assert!(whole(&array) == wanted);
    array.stop(Time::new(2000, 0)).unwrap();
}

/// A crash under writes leaves legs that are resynced through the whole.
#[test]
fn crash_is_resynced_in_all_legs() {
    let directory = SimDirectory::new();
    let array = made(&directory);
    let data = pattern(&array);
    array.write_at(&data, 0, true).unwrap();
    directory.sync_directory(Path::new("")).unwrap();
    let after = directory.crash(7).unwrap();
    drop(array);
    let set = &discover(&images(&after)).arrays[0];
    assert!(set.dirty);
    let array = open(set, Assembly::default()).unwrap();
    assert!(array.status().needs_resync);
    array.resync(&mut all).unwrap();
    assert!(!array.status().needs_resync);
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let set = &discover(&images(&after)).arrays[0];
    assert!(!set.dirty);
    assert!(whole(&open(set, Assembly::default()).unwrap()) == data);
}

#[test]
fn members_that_make_no_equal_legs_are_refused() {
    let directory = SimDirectory::new();
    let members: Vec<Option<NewImage>> = (0..7)
        .map(|number| Some(new(&blank(&directory, number), number)))
        .collect();
    for count in [0, 3, 5, 7] {
        let refused = create_nested(&wish(), &members[..count], &[]);
        assert!(matches!(refused, Err(Error::BadParameter { .. })), "{count} members");
    }
    let Discovery { arrays, .. } = discover(&images(&directory));
    assert!(arrays.is_empty(), "nothing was made");
    assert_eq!(leg_name(&"x".repeat(32), 1), format!("{}.leg1", "x".repeat(27)));
}

#[test]
fn overlay_takes_the_writes_to_all_legs() {
    let directory = SimDirectory::new();
    let array = made(&directory);
    let data = pattern(&array);
    array.write_at(&data, 0, false).unwrap();
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let set = &discover(&images(&directory)).arrays[0];
    let file = Image {
        directory: Arc::new(directory.clone()),
        name: "overlay".into(),
    };
    let array = open_over(set, Assembly::default(), &file).unwrap();
    array.write_at(&[0xee; 300_000], 100_000, false).unwrap();
    let changed = whole(&array);
    assert_eq!(changed[100_000..400_000], [0xee; 300_000]);
    array.stop(Time::new(3000, 0)).unwrap();
    drop(array);
    assert!(whole(&open(set, Assembly::default()).unwrap()) == data);
    assert!(whole(&open_over(set, Assembly::default(), &file).unwrap()) == changed);
}

/// R27, R58: verify reaches all legs and names disk and place of the whole; its state is that of its worst leg.
#[test]
fn verify_names_disks_and_places_of_the_whole() {
    let directory = SimDirectory::new();
    let array = made(&directory);
    let data = pattern(&array);
    array.write_at(&data, 0, false).unwrap();
    assert_eq!(array.state(), ArrayState::Normal);
    let report = array.verify(Repair::Report, &mut all).unwrap();
    assert!(report.is_clean() && report.mismatches.is_empty());
    // Chunk 1 of the whole is the first of the second leg's data: one of its disks holds byte 65536.
    let disk = (3..6).find(|number| {
        let storage = image(&directory, *number).open(Access::ReadWrite).unwrap();
        let mut bytes = vec![0; usize::try_from(IMAGE_BYTES).unwrap()];
        storage.read_at(&mut bytes, 0).unwrap();
        let at = bytes.windows(4096).position(|window| window == &data[65_536..69_632]);
        if let Some(at) = at {
            storage.write_all_at(&[0xff; 512], at as u64).unwrap();
        }
        at.is_some()
    });
    let report = array.verify(Repair::Report, &mut all).unwrap();
    assert_eq!(report.mismatches.len(), 1, "{report:?}");
    let found = &report.mismatches[0];
    assert!(
        found.suspects.iter().all(|suspect| (3..6).contains(&suspect.slot.0)),
        "{found:?} {disk:?}"
    );
    assert!((65_536..131_072).contains(&found.array_offset_bytes), "{found:?}");
    assert_eq!(array.state(), ArrayState::CriticalInconsistency);
    array.fail_member(Slot(0)).unwrap();
    let states = array.disk_states();
    assert_eq!(
        (states.len(), states[0]),
        (6, (Slot(0), DiskState::CriticalMissingDisk))
    );
    assert!(array.verify(Repair::Report, &mut all).is_err());
}

/// The disks that let two legs of three become legs of four.
fn joining(directory: &SimDirectory) -> Plan {
    let new = [6, 7].map(|number| new(&image(directory, number), number));
    Plan {
        images: new.to_vec(),
        ..Plan::default()
    }
}

/// The array that is in the directory, with all that it may have.
fn opened(directory: &SimDirectory, what: &str) -> Array {
    let images: Vec<Image> = (0..DISKS + 2).map(|number| image(directory, number)).collect();
    let found = discover(&images);
    assert_eq!(found.arrays.len(), 1, "{what}: {found:?}");
    let set = &found.arrays[0];
    let array = open(set, Assembly::default()).unwrap();
    assert!(set.refusal.is_none() && !array.status().degraded, "{what}: {set:?}");
    array
}

/// What a growth makes of an array: to its end, from wherever a death left it.
fn grown_by(grow: impl Fn(&Array), array: &Array, new: u64, what: &str) {
    array.reshape(&mut all).unwrap();
    array.resync(&mut all).unwrap();
    if array.size_bytes() < new {
        grow(array);
        assert_eq!(array.reshape(&mut all).unwrap(), Ending::Complete, "{what}");
        array.resync(&mut all).unwrap();
    }
    assert_eq!((array.size_bytes(), array.status().reshape), (new, None), "{what}");
}

/// Lets an array grow and die at the first change, then later and later ones, densely where the superblocks are written;
/// every time no byte is lost, what is new is zeros, and the growth comes to its end.
fn grows_and_dies(prepare: impl Fn(&SimDirectory), grow: impl Fn(&SimDirectory, &Array)) {
    let directory = SimDirectory::new();
    let array = made_of(&directory, SMALL_BYTES);
    let data = pattern(&array);
    array.write_at(&data, 0, true).unwrap();
    directory.sync_directory(Path::new("")).unwrap();
    prepare(&directory);
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let go = |directory: &SimDirectory, at: usize| {
        let array = opened(directory, "before");
        let done = dying(directory, at, || grow(directory, &array));
        (done, array.size_bytes())
    };
    let ((changes, _), new) = go(&directory.killed().unwrap(), usize::MAX);
    assert!(new > data.len() as u64);
    let ends = (0..changes).step_by(3).take(5).chain(changes - 8..changes);
    for at in ends.chain((15..changes - 8).step_by((changes / 8) | 1)) {
        let what = format!("death at {at} of {changes}");
        let ((_, left), _) = go(&directory.killed().unwrap(), at);
        let left = left.unwrap();
        let array = opened(&left, &what);
        assert!([data.len() as u64, new].contains(&array.size_bytes()), "{what}");
        assert_eq!(array.status().members.len(), array.disk_states().len(), "{what}");
        let mut wanted = data.clone();
        let check = |array: &Array, wanted: &[u8]| {
            let bytes = whole(array);
            assert!(bytes[..wanted.len()] == *wanted, "{what}");
            assert!(
                bytes[wanted.len()..].iter().all(|byte| *byte == 0),
                "{what}: the new end"
            );
        };
        check(&array, &wanted);
        grown_by(|array| grow(&left, array), &array, new, &what);
        check(&array, &wanted);
        array.write_at(&data[..70_000], wanted.len() as u64, false).unwrap();
        wanted.extend(&data[..70_000]);
        assert!(array.verify(Repair::Report, &mut all).unwrap().is_clean(), "{what}");
        let disks = u16::try_from(array.status().members.len()).unwrap();
        array.fail_member(Slot(0)).unwrap();
        array.fail_member(Slot(disks / 2)).unwrap();
        check(&array, &wanted);
        array.stop(Time::new(3000, 0)).unwrap();
        drop(array);
        let kept: Vec<Image> = (0..8).map(|number| image(&left, number)).collect();
        let again = open(&discover(&kept).arrays[0], Assembly::default()).unwrap();
        assert_eq!((again.size_bytes(), again.status().reshape), (new, None), "{what}");
        check(&again, &wanted);
    }
}

/// R59, R10: a disk joins each leg while the array is in use; a death at any moment costs nothing, and what it left goes on,
/// by itself once the legs have begun, else by the same order again.
#[test]
fn legs_get_more_disks_and_a_death_at_any_moment_costs_nothing() {
    let prepare = |directory: &SimDirectory| {
        for number in [6, 7] {
            let disk = blank_of(directory, number, SMALL_BYTES);
            disk.open(Access::ReadWrite).unwrap().sync().unwrap();
        }
        directory.sync_directory(Path::new("")).unwrap();
    };
    grows_and_dies(prepare, |directory, array| {
        array.begin_reshape(&joining(directory)).unwrap();
        assert_eq!(array.reshape(&mut all).unwrap(), Ending::Complete);
    });
}

/// R22, R59: larger disks make a larger RAID 50, and a death at any moment costs nothing.
#[test]
fn larger_disks_make_a_larger_raid_50() {
    let prepare = |directory: &SimDirectory| {
        for number in 0..DISKS {
            let file = image(directory, number).open(Access::ReadWrite).unwrap();
            file.set_size(SMALL_BYTES + (256 << 10)).unwrap();
            file.sync().unwrap();
        }
        for number in [6, 7] {
            blank(directory, number);
        }
    };
    grows_and_dies(prepare, |_, array| {
        array.grow_members(None).unwrap();
    });
}

/// Legs stay alike: what would not make them so is refused before anything is written.
#[test]
fn disks_that_make_no_equal_legs_do_not_join() {
    let directory = SimDirectory::new();
    let array = made(&directory);
    for number in [6, 7] {
        blank(&directory, number);
    }
    let all_of = joining(&directory);
    let refused = |plan: Plan| array.begin_reshape(&plan).unwrap_err().to_string();
    let one = Plan {
        images: all_of.images[..1].to_vec(),
        ..Plan::default()
    };
    assert!(refused(one).contains("as many disks each"));
    let level = Plan {
        level: Some(Level::Raid6),
        ..all_of.clone()
    };
    assert!(refused(level).contains("keeps its level"));
    let twice = Plan {
        images: vec![all_of.images[0].clone(); 2],
        ..Plan::default()
    };
    refused(twice);
    let member = Plan {
        images: vec![new(&image(&directory, 0), 0)],
        ..Plan::default()
    };
    assert!(refused(member).contains("members of it already"));
    assert_eq!((array.status().reshape, array.status().members.len()), (None, 6));
    let mut model = pattern(&array);
    array.write_at(&model, 0, false).unwrap();
    array.begin_reshape(&all_of).unwrap();
    let reshape = array.status().reshape.unwrap();
    assert_eq!((reshape.slots, reshape.done_bytes, reshape.running), (8, 0, false));
    assert_eq!(array.state(), ArrayState::ReshapeStopped);
    array.begin_reshape(&all_of).unwrap();
    // While the legs move the array is as large as it was, and written and read as ever.
    let mut at = 0;
    array
        .reshape(&mut |_| {
            at = (at + 1_234_567) % (model.len() - 50_000);
            array
                .write_at(&[at.to_le_bytes()[0]; 50_000], at as u64, false)
                .unwrap();
            model[at..at + 50_000].fill(at.to_le_bytes()[0]);
            assert!(whole(&array) == model, "written at {at}");
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(at > 0);
    assert_eq!(array.size_bytes(), reshape.size_bytes);
    assert!(whole(&array)[..model.len()] == model);
}
