//! Overlays on simulated storage: members that never change, crashes, and overlays that do not go with their members.

use std::ops::ControlFlow;

use super::*;
use crate::{
    raid::{
        Array, Level, Slot,
        assemble::{Assembly, assemble},
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::Time,
    },
    storage::{
        Directory as _, SimDirectory,
        sim::{Operation, Verb},
    },
};

const IMAGE_BYTES: u64 = (2 << 20) + 512;

fn uuid(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn in_directory(directory: &SimDirectory, name: &str) -> Image {
    Image {
        directory: Arc::new(directory.clone()),
        name: name.into(),
    }
}

fn images(directory: &SimDirectory, members: u8) -> Vec<Image> {
    (0..members)
        .map(|member| in_directory(directory, &format!("m{member}")))
        .collect()
}

/// Makes a clean array of images `m0` and so on.
fn made(directory: &SimDirectory, level: Level, members: u8) -> Array {
    let images = images(directory, members);
    let new = images.into_iter().zip(1..).map(|(image, number)| {
        directory
            .create(&image.name, &mut |file| file.set_size(IMAGE_BYTES))
            .unwrap();
        let uuid = uuid(number);
        Some(NewImage { image, uuid })
    });
    let wish = Wish {
        name: "a".to_owned(),
        uuid: uuid(100),
        created: Time::new(1000, 0),
        level,
        layout: if level == Level::Raid0 { 1 } else { 2 },
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0).filter(|_| !level.is_bare()),
        overwrite: false,
    };
    create(&wish, &new.collect::<Vec<_>>(), &[]).unwrap()
}

fn contents(image: &Image) -> Vec<u8> {
    let storage = image.open(Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(storage.size_bytes().unwrap()).unwrap()];
    storage.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Lets nothing but the overlay be written, as on a file system that is read-only.
fn protect(directory: &SimDirectory) {
    let changing = [
        Verb::Write,
        Verb::SetSize,
        Verb::Reserve,
        Verb::Punch,
        Verb::Create,
        Verb::Remove,
        Verb::Replace,
        Verb::Rename,
    ];
    directory.set_rule(move |operation: &Operation| {
        let own = operation.path.to_string_lossy().ends_with("overlay");
        (changing.contains(&operation.verb) && !own).then_some(libc::EROFS)
    });
}

fn whole(array: &Array) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(array.size_bytes()).unwrap()];
    array.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// R55: two members of a RAID 5 are lost; forced under an overlay it is read, resynced and written, and the members stay
/// bit for bit as they were, on a file system that takes no writes.
#[test]
fn forced_array_under_an_overlay_leaves_its_members_alone() {
    let directory = SimDirectory::new();
    let array = made(&directory, Level::Raid5, 4);
    let old: Vec<u8> = (0..array.size_bytes())
        .map(|at| u8::try_from(at / 512 % 251).unwrap())
        .collect();
    array.write_at(&old, 0, false).unwrap();
    array.fail_member(Slot(0)).unwrap();
    array.write_at(&[0xee; 4096], 0, false).unwrap();
    // The second is lost while the array is in use: it is never stopped.
    drop(array);
    let left = images(&directory, 3);
    let before: Vec<Vec<u8>> = left.iter().map(contents).collect();
    protect(&directory);
    let file = in_directory(&directory, "overlay");
    let forced = Assembly {
        force: true,
        ..Assembly::default()
    };
    let array = assemble(&over(&left, uuid(100), &file).unwrap(), forced).unwrap();
    let stripe = 3 * (64 << 10);
    assert_eq!(whole(&array)[stripe..], old[stripe..]);
    array.resync(&mut |_| ControlFlow::Continue(())).unwrap();
    array.write_at(&[0xdd; 10_000], 300_000, false).unwrap();
    let now = whole(&array);
    assert_eq!(now[300_000..310_000], [0xdd; 10_000]);
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    let after: Vec<Vec<u8>> = left.iter().map(contents).collect();
    assert!(before == after, "a member was changed");
    // It goes on where it was, and needs no force any more.
    let array = assemble(&over(&left, uuid(100), &file).unwrap(), Assembly::default()).unwrap();
    assert_eq!(whole(&array), now);
    drop(array);
    assert!(assemble(&left, Assembly::default()).is_err());
    assert!(before == left.iter().map(contents).collect::<Vec<_>>());
}

#[test]
fn overlay_that_does_not_go_with_its_members_is_refused() {
    for level in [Level::Raid1, Level::Raid0] {
        let directory = SimDirectory::new();
        made(&directory, level, 2).stop(Time::new(1500, 0)).unwrap();
        let members = images(&directory, 2);
        let file = in_directory(&directory, "overlay");
        let array = assemble(&over(&members, uuid(100), &file).unwrap(), Assembly::default()).unwrap();
        array.write_at(&[1; 4096], 0, false).unwrap();
        array.stop(Time::new(2000, 0)).unwrap();
        drop(array);
        assert!(over(&members, uuid(100), &file).is_ok());
        let other = over(&members, uuid(99), &file).unwrap_err().to_string();
        assert!(other.contains("made for array"), "{other}");
        let array = assemble(&members, Assembly::default()).unwrap();
        array.write_at(&[2; 4096], 0, false).unwrap();
        array.stop(Time::new(2100, 0)).unwrap();
        drop(array);
        let stale = over(&members, uuid(100), &file).unwrap_err().to_string();
        assert!(
            stale.contains("changed since") && stale.contains("another file"),
            "{level}: {stale}"
        );
    }
}

#[test]
fn files_that_are_no_overlay_are_not_touched() {
    let directory = SimDirectory::new();
    made(&directory, Level::Raid1, 2).stop(Time::new(1500, 0)).unwrap();
    let members = images(&directory, 2);
    let file = in_directory(&directory, "letters");
    directory
        .create(&file.name, &mut |file| file.write_all_at(&[7; 200_000], 0))
        .unwrap();
    let refused = over(&members, uuid(100), &file).unwrap_err().to_string();
    assert!(
        refused.contains("letters") && refused.contains("no overlay"),
        "{refused}"
    );
    assert_eq!(contents(&file), [7; 200_000]);
    // A member is none either, and an empty file is as good as none.
    assert!(over(&members, uuid(100), &members[0]).is_err());
    let empty = in_directory(&directory, "empty");
    directory.create(&empty.name, &mut |_| Ok(())).unwrap();
    over(&members, uuid(100), &empty).unwrap();
    let text = in_directory(&directory, "text");
    directory
        .create(&text.name, &mut |file| file.write_all_at(b"HSoverly", 0))
        .unwrap();
    assert!(over(&members, uuid(100), &text).is_err());
}

/// Members may be given in another order, one may be missing, another be new.
#[test]
fn members_are_known_by_their_identities() {
    let directory = SimDirectory::new();
    made(&directory, Level::Raid5, 3).stop(Time::new(1500, 0)).unwrap();
    let mut members = images(&directory, 3);
    let file = in_directory(&directory, "overlay");
    let array = assemble(&over(&members[..2], uuid(100), &file).unwrap(), Assembly::default()).unwrap();
    array.write_at(&[1; 100_000], 5000, false).unwrap();
    let now = whole(&array);
    array.stop(Time::new(2000, 0)).unwrap();
    drop(array);
    members.reverse();
    let array = assemble(&over(&members, uuid(100), &file).unwrap(), Assembly::default()).unwrap();
    let status = array.status();
    assert!(status.members[2].path.is_none(), "it missed what the overlay has");
    assert_eq!(whole(&array), now);
}

/// A sequence that a seed decides (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Random reads, writes, holes, flushes, reopenings and power losses of one member under an overlay against plain bytes:
/// after a loss each sector is as it was flushed, or as it was written since.
#[test]
fn stream_is_as_plain_bytes_and_what_was_flushed_survives() {
    for seed in 1..16 {
        let mut chance = Chance(seed);
        let mut directory = SimDirectory::new();
        made(&directory, Level::Raid1, 2).stop(Time::new(1500, 0)).unwrap();
        let open = |directory: &SimDirectory| {
            let file = in_directory(directory, "overlay");
            over(&images(directory, 2)[..1], uuid(100), &file).unwrap()[0]
                .open(Access::ReadWrite)
                .unwrap()
        };
        let mut member = open(&directory);
        directory.sync_directory(Path::new("")).unwrap();
        let mut now = contents(&images(&directory, 2)[0]);
        let base = now.clone();
        let mut states = vec![now.clone()];
        for step in 0..60 {
            let at = chance.below(IMAGE_BYTES / 512) * 512;
            let length = [512, 4096, 5632, 70_000 / 512 * 512][usize::try_from(chance.below(4)).unwrap()];
            let length = length.min(IMAGE_BYTES - at);
            let range = usize::try_from(at).unwrap()..usize::try_from(at + length).unwrap();
            match chance.below(10) {
                0..=3 => {
                    let byte = u8::try_from(1 + chance.below(255)).unwrap();
                    member.write_all_at(&vec![byte; range.len()], at).unwrap();
                    now[range].fill(byte);
                    states.push(now.clone());
                }
                4 => {
                    member.punch(at, length).unwrap();
                    now[range].fill(0);
                    states.push(now.clone());
                }
                5..=6 => {
                    let mut bytes = vec![0; range.len()];
                    assert_eq!(member.read_at(&mut bytes, at).unwrap(), range.len());
                    assert!(bytes == now[range], "seed {seed} step {step} at {at}");
                    let span = member.span_at(at).unwrap().unwrap();
                    assert!(
                        span.end_bytes > at && span.end_bytes <= IMAGE_BYTES,
                        "seed {seed}: {span:?}"
                    );
                }
                7 => {
                    member.sync().unwrap();
                    states = vec![now.clone()];
                }
                8 => {
                    member.sync().unwrap();
                    states = vec![now.clone()];
                    drop(member);
                    member = open(&directory);
                }
                _ => {
                    drop(member);
                    directory = directory.crash(chance.below(u64::MAX)).unwrap();
                    member = open(&directory);
                    let mut bytes = vec![0; now.len()];
                    member.read_at(&mut bytes, 0).unwrap();
                    for (number, sector) in bytes.chunks(512).enumerate() {
                        let there = number * 512..number * 512 + sector.len();
                        let known = states.iter().any(|state| state[there.clone()] == *sector);
                        assert!(known, "seed {seed} step {step}: sector {number} is new");
                    }
                    now = bytes;
                    member.sync().unwrap();
                    states = vec![now.clone()];
                }
            }
        }
        let mut bytes = vec![0; now.len()];
        member.read_at(&mut bytes, 0).unwrap();
        assert!(bytes == now, "seed {seed}");
        assert!(
            base == contents(&images(&directory, 2)[0]),
            "seed {seed}: the member changed"
        );
    }
}

/// A full disk under the overlay is the member's error, and no byte is lost.
#[test]
fn full_disk_under_an_overlay_is_an_error() {
    let directory = SimDirectory::new();
    made(&directory, Level::Raid1, 2).stop(Time::new(1500, 0)).unwrap();
    let file = in_directory(&directory, "overlay");
    let member = over(&images(&directory, 2)[..1], uuid(100), &file).unwrap()[0]
        .open(Access::ReadWrite)
        .unwrap();
    directory.set_space_bytes(Some(0));
    let error = member.write_all_at(&[1; 8192], 1 << 20).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    let mut bytes = [9; 8192];
    member.read_at(&mut bytes, 1 << 20).unwrap();
    assert_eq!(bytes, [0; 8192]);
    directory.set_space_bytes(None);
    member.write_all_at(&[1; 8192], 1 << 20).unwrap();
    member.read_at(&mut bytes, 1 << 20).unwrap();
    assert_eq!(bytes, [1; 8192]);
}
