//! What a fuzz target does with its bytes: puts them in the place of one structure on the members of a small array, makes
//! their checksums right, and then looks for arrays, opens them and uses them.
//!
//! Shared by the targets in `tools/fuzz/targets` and by the replay in `mount-tests/raid`, which runs the same without a fuzzer.
//! Whatever the bytes are, nothing may panic, opening for reading changes nothing, an array is no larger than its members,
//! and without the one member that has the bytes the others give what was written.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use headstack::{
    raid::{
        Array, Level, Sector,
        assemble::{Assembly, Image, assemble},
        create::{Initialisation, NewImage, Wish, create},
        discover::{discover, open},
        journal::{Blank, format::State},
        metadata::{
            gpt::{Gpt, HEAD_BYTES, LINUX_RAID, Partition, PartitionName},
            identity::{Guid, Time, Uuid},
            ppl::{self, HEADER_BYTES, PplHeader},
            superblock::{Area, checksum},
        },
        overlay::over,
    },
    storage::{Access, Directory, sim::SimDirectory},
};

/// Where the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Superblock of one member.
    Superblock,
    /// The same fields of all members' superblocks, their own identities aside.
    Superblocks,
    /// Bitmap of all members.
    Bitmap,
    /// Partition table of an image that holds a member.
    Table,
    /// Sidecar of one member.
    Sidecar,
    /// Header of an overlay.
    Overlay,
    /// Partial parity log, behind its signature; nothing is opened with it.
    Ppl,
}

const MEMBERS: u8 = 3;
const IMAGE_BYTES: usize = (1 << 20) + (192 << 10);
const SUPERBLOCK_AT: usize = 4096;
const BITMAP_AT: usize = 8192;
const TABLE_AT: u64 = 1 << 20;
const OVERLAY_HEADER: usize = 65_536;
/// Where the bytes go in a partial parity log: behind its signature.
const PPL_AT: usize = 516;
const PPL_CHECKSUM: std::ops::Range<usize> = 532..536;
const SIDECAR_BYTES: usize = 8192 + 135_168;
/// Bytes of a journal's state: its own, those of the map's head, and some of its bits.
const STATE_LENGTH: usize = 128;

/// A small array of which one member was lost in use, so that its journal is active, and what it holds.
struct Healthy {
    images: Vec<Vec<u8>>,
    sidecars: Vec<Option<Vec<u8>>>,
    overlay: Vec<u8>,
    data: Vec<u8>,
}

/// A log with these bytes, and with the checksum that they need.
fn partial_parity_log(bytes: &[u8]) -> Vec<u8> {
    let mut log = PplHeader::encode_empty(uuid(1), 1);
    log.resize(log.len().max(PPL_AT + bytes.len()), 0);
    log[PPL_AT..PPL_AT + bytes.len()].copy_from_slice(bytes);
    log[PPL_CHECKSUM].fill(0);
    let checksum = crc32c::crc32c(&log[..HEADER_BYTES]).to_le_bytes();
    log[PPL_CHECKSUM].copy_from_slice(&checksum);
    log
}

static HEALTHY: LazyLock<Healthy> = LazyLock::new(healthy);

fn uuid(number: u8) -> Uuid {
    Uuid([number + 1; 16])
}

fn image(directory: &SimDirectory, name: &str) -> Image {
    Image {
        directory: Arc::new(directory.clone()),
        name: name.into(),
    }
}

fn images(directory: &SimDirectory) -> Vec<Image> {
    (0..MEMBERS)
        .map(|number| image(directory, &format!("m{number}")))
        .collect()
}

fn contents(directory: &SimDirectory, name: &str) -> Option<Vec<u8>> {
    directory.read(Path::new(name), 256 << 20).ok()
}

fn put(directory: &SimDirectory, name: &str, bytes: &[u8]) {
    let made = directory.create(Path::new(name), &mut |file| file.write_all_at(bytes, 0));
    made.expect("simulated storage takes files");
}

fn healthy() -> Healthy {
    let directory = SimDirectory::new();
    let members: Vec<Option<NewImage>> = images(&directory)
        .into_iter()
        .zip(0..)
        .map(|(image, number)| {
            put(&directory, &format!("m{number}"), &vec![0; IMAGE_BYTES]);
            Some(NewImage {
                image,
                uuid: uuid(number),
            })
        })
        .collect();
    let wish = Wish {
        name: "fuzzed".to_owned(),
        uuid: uuid(100),
        created: Time::new(1000, 0),
        level: Level::Raid5,
        layout: 2,
        chunk_bytes: 16 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(4096),
        overwrite: false,
    };
    let array = create(&wish, &members, &[]).expect("an array of three images");
    let data: Vec<u8> = (0..array.size_bytes() / 8).flat_map(u64::to_le_bytes).collect();
    array.write_at(&data, 0, false).expect("it takes writes");
    array.stop(Time::new(1500, 0)).expect("it stops");
    drop(array);
    // Opened with a journal for every write, and left as by a crash.
    let how = Assembly {
        journal_always: true,
        ..Assembly::default()
    };
    let array = assemble(&images(&directory), how).expect("it starts");
    array.write_at(&data[..8192], 0, true).expect("it takes writes");
    drop(array);
    let names: Vec<String> = (0..MEMBERS).map(|number| format!("m{number}")).collect();
    let files: Vec<Vec<u8>> = names.iter().filter_map(|name| contents(&directory, name)).collect();
    let sidecars = names
        .iter()
        .map(|name| contents(&directory, &format!("{name}.journal")));
    // One entry of the ring is enough, and quick to copy.
    let sidecars = sidecars
        .map(|bytes| bytes.map(|bytes| bytes[..bytes.len().min(SIDECAR_BYTES)].to_vec()))
        .collect();
    for name in &names {
        directory
            .remove(Path::new(&format!("{name}.journal")))
            .expect("it is there");
    }
    drop(over(&images(&directory), uuid(100), &image(&directory, "overlay")).expect("an overlay is made"));
    let mut overlay = contents(&directory, "overlay").expect("it is there");
    overlay.truncate(2 * OVERLAY_HEADER);
    Healthy {
        images: files,
        sidecars,
        overlay,
        data,
    }
}

/// The bytes that stand in a place of the healthy array, to be mutated.
pub fn seed(place: Place) -> Vec<u8> {
    let image = &HEALTHY.images[1];
    match place {
        Place::Superblock | Place::Superblocks => image[SUPERBLOCK_AT..SUPERBLOCK_AT + 0x110].to_vec(),
        Place::Bitmap => image[BITMAP_AT..BITMAP_AT + 320].to_vec(),
        Place::Table => table()[512..512 + 92]
            .iter()
            .chain(&table()[1024..1024 + 128])
            .copied()
            .collect(),
        Place::Sidecar => {
            let sidecar = HEALTHY.sidecars[1].clone().unwrap_or_default();
            let state = State::decode(&sidecar[..4096]).map(|state| State {
                blank: Blank::new(0, 1 << 20, 8192),
                ..state
            });
            let state = state.map_or_else(|| vec![0; STATE_LENGTH], |state| state.encode());
            [
                &state[..STATE_LENGTH],
                &sidecar[4096..4096 + STATE_LENGTH],
                &sidecar[8192..8192 + 128],
            ]
            .concat()
        }
        Place::Overlay => HEALTHY.overlay[OVERLAY_HEADER..OVERLAY_HEADER + 64 + 2 * 96].to_vec(),
        // One entry: 4 KiB of data of one member, and as much partial parity, which is what follows.
        Place::Ppl => {
            let partial = vec![0x5a; 4096];
            let numbers = [0_u32, 1, 0, 1, 0, 0, 0, 4096, 4096, 0, crc32c::crc32c(&partial)];
            let mut log: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            log.resize(HEADER_BYTES - PPL_AT, 0);
            [log, partial].concat()
        }
    }
}

/// The head of an image that has a member as its first partition.
fn table() -> Vec<u8> {
    let device = Sector((TABLE_AT + IMAGE_BYTES as u64 + (1 << 20)) / 512);
    let mut gpt = Gpt::new(Guid([9; 16]), device).expect("room for a table");
    let partition = Partition {
        kind: LINUX_RAID,
        id: Guid([8; 16]),
        area: Area {
            start: Sector(TABLE_AT / 512),
            length: Sector(IMAGE_BYTES as u64 / 512),
        },
        attributes: 0,
        name: PartitionName::new("fuzzed-1"),
    };
    gpt.add(partition).expect("room for a partition");
    gpt.encode().head
}

fn overwrite(into: &mut [u8], at: usize, bytes: &[u8]) {
    let length = bytes.len().min(into.len().saturating_sub(at));
    into[at..at + length].copy_from_slice(&bytes[..length]);
}

/// Makes the checksum of the superblock in an image right.
fn mend_superblock(image: &mut [u8]) {
    let superblock = &mut image[SUPERBLOCK_AT..SUPERBLOCK_AT + 4096];
    let count = u32::from_le_bytes([superblock[0xdc], superblock[0xdd], superblock[0xde], superblock[0xdf]]);
    let length = usize::try_from(count).map_or(4096, |count| count.saturating_mul(2).saturating_add(256).min(4096));
    superblock[0xd8..0xdc].fill(0);
    let sum = checksum(&superblock[..length]);
    superblock[0xd8..0xdc].copy_from_slice(&sum.to_le_bytes());
}

/// Puts CRCs of both kinds right where our own structures have them.
fn mend(bytes: &mut [u8], crc_at: usize, length: usize, crc: fn(&[u8]) -> u32) {
    if bytes.len() >= length {
        bytes[crc_at..crc_at + 4].fill(0);
        let sum = crc(&bytes[..length]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Makes the checksums of a journal's state right: its own, and that of what is blank.
fn mend_state(state: &mut [u8]) {
    mend(state, 76, 76, crc32fast::hash);
    state[104..108].fill(0);
    let sum = crc32fast::hash(&[&state[..76], &state[80..]].concat());
    state[104..108].copy_from_slice(&sum.to_le_bytes());
}

/// Looks at what a sidecar calls blank, as an array of some size would.
fn look_at_blank(sidecar: &[u8]) {
    for state in sidecar[..8192].chunks(4096).filter_map(State::decode) {
        for (size, unit) in [(1 << 20, 8192), (u64::MAX / 2, 1)] {
            let fitted = state.blank.clone().and_then(|blank| blank.fitted(size, unit));
            let Some(blank) = fitted else { continue };
            let (from, length) = (size / 3, size / 2);
            let mut at = from;
            for run in blank.runs(from, length) {
                assert!(run.offset_bytes == at && run.length_bytes > 0, "runs with a gap");
                at += run.length_bytes;
            }
            assert_eq!(at, from + length, "runs end elsewhere");
            let next = blank.next(from);
            assert!(next.is_none_or(|(start, end)| start < end && end > from && end <= size));
        }
    }
}

/// Makes both checksums of a journal's entry right.
fn mend_entry(entry: &mut [u8]) {
    let length = u32::from_le_bytes([entry[40], entry[41], entry[42], entry[43]]);
    let end = usize::try_from(length).map_or(usize::MAX, |length| length.saturating_add(4096));
    if let Some(payload) = entry.get(4096..end) {
        let sum = crc32fast::hash(payload);
        entry[44..48].copy_from_slice(&sum.to_le_bytes());
    }
    mend(entry, 48, 4096, crc32fast::hash);
}

/// Writes the array to a new directory, with the bytes in their place.
fn stage(place: Place, bytes: &[u8]) -> SimDirectory {
    let directory = SimDirectory::new();
    for (number, healthy) in HEALTHY.images.iter().enumerate() {
        let mut image = healthy.clone();
        match place {
            Place::Superblock if number == 1 => {
                overwrite(&mut image, SUPERBLOCK_AT, bytes);
                mend_superblock(&mut image);
            }
            Place::Superblocks => {
                overwrite(&mut image, SUPERBLOCK_AT, bytes);
                // Number and identity stay the member's own.
                image[SUPERBLOCK_AT + 0xa0..SUPERBLOCK_AT + 0xb8]
                    .copy_from_slice(&healthy[SUPERBLOCK_AT + 0xa0..SUPERBLOCK_AT + 0xb8]);
                mend_superblock(&mut image);
            }
            Place::Bitmap => overwrite(&mut image, BITMAP_AT, bytes),
            Place::Table if number == 1 => {
                let mut whole = table();
                overwrite(&mut whole, 512, &bytes[..bytes.len().min(92)]);
                overwrite(&mut whole, 1024, bytes.get(92..).unwrap_or_default());
                let entries = crc32fast::hash(&whole[1024..HEAD_BYTES]);
                whole[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
                mend(&mut whole[512..1024], 16, 92, crc32fast::hash);
                whole.resize(usize::try_from(TABLE_AT).unwrap_or(0), 0);
                whole.extend(&image);
                whole.resize(whole.len() + (1 << 20), 0);
                image = whole;
            }
            _ => {}
        }
        put(&directory, &format!("m{number}"), &image);
        let Some(mut sidecar) = HEALTHY.sidecars[number].clone().filter(|_| place == Place::Sidecar) else {
            continue;
        };
        if number == 1 {
            for (at, from) in [(0, 0), (4096, STATE_LENGTH), (8192, 2 * STATE_LENGTH)] {
                overwrite(&mut sidecar, at, bytes.get(from..).unwrap_or_default());
            }
            mend_state(&mut sidecar[..4096]);
            mend_state(&mut sidecar[4096..8192]);
            mend_entry(&mut sidecar[8192..]);
            look_at_blank(&sidecar);
        }
        put(&directory, &format!("m{number}.journal"), &sidecar);
    }
    if place == Place::Overlay {
        let mut overlay = HEALTHY.overlay.clone();
        overwrite(&mut overlay, OVERLAY_HEADER, bytes);
        mend(&mut overlay[OVERLAY_HEADER..], 12, OVERLAY_HEADER, crc32c::crc32c);
        put(&directory, "overlay", &overlay);
    }
    directory
}

/// Reads all of an array that it gives.
fn read(array: &Array) -> Vec<Option<u8>> {
    let size = array.size_bytes();
    assert!(
        size <= u64::from(MEMBERS) * (IMAGE_BYTES as u64 + (4 << 20)),
        "an array of {size} bytes"
    );
    let mut found = Vec::new();
    for at in (0..size).step_by(64 << 10) {
        let mut bytes = vec![0; usize::try_from((size - at).min(64 << 10)).unwrap_or(0)];
        match array.read_at(&mut bytes, at) {
            Ok(()) => found.extend(bytes.into_iter().map(Some)),
            Err(_) => found.extend(vec![None; bytes.len()]),
        }
    }
    found
}

/// Looks for arrays, opens and uses what there is.
pub fn play(place: Place, bytes: &[u8]) {
    if place == Place::Ppl {
        let _ = ppl::replay(&partial_parity_log(bytes), uuid(1), 128, u16::from(MEMBERS));
        return;
    }
    let directory = stage(place, bytes);
    let images = images(&directory);
    let before: Vec<_> = (0..MEMBERS)
        .map(|number| contents(&directory, &format!("m{number}")))
        .collect();
    let reading = Assembly {
        read_only: true,
        ..Assembly::default()
    };
    let found = discover(&images);
    for set in &found.arrays {
        if let Ok(array) = open(set, reading) {
            let bytes = read(&array);
            let status = array.status();
            let alone = status.members.iter().filter_map(|member| member.path.clone());
            let hostile = alone
                .into_iter()
                .any(|path| path.ends_with("m1") || path.ends_with("m1.p1"));
            if !hostile && place == Place::Superblock && array.size_bytes() == HEALTHY.data.len() as u64 {
                let right = bytes
                    .iter()
                    .zip(&HEALTHY.data)
                    .all(|(found, wanted)| found.is_none_or(|found| found == *wanted));
                assert!(right, "wrong bytes without the member that has been changed");
            }
        }
    }
    let after: Vec<_> = (0..MEMBERS)
        .map(|number| contents(&directory, &format!("m{number}")))
        .collect();
    assert!(before == after, "reading changed a member");
    if place == Place::Overlay {
        if let Ok(images) = over(&images, uuid(100), &image(&directory, "overlay"))
            && let Ok(array) = assemble(&images, Assembly::default())
        {
            read(&array);
            let _ = array.write_at(&[1; 4096], 0, true);
        }
        let after: Vec<_> = (0..MEMBERS)
            .map(|number| contents(&directory, &format!("m{number}")))
            .collect();
        assert!(before == after, "a member was changed under an overlay");
        return;
    }
    let forced = Assembly {
        force: true,
        ..Assembly::default()
    };
    for set in &discover(&images).arrays {
        if let Ok(array) = open(set, forced) {
            read(&array);
            let _ = array.write_at(&[1; 4096], 0, true);
            let _ = array.stop(Time::new(5000, 0));
        }
    }
    // Nothing may be found that cannot be opened for reading twice.
    let _ = images[1].open(Access::Read);
}
