//! Tapes that lie: every field of every header, directories, maps, records in any order, two dumps in one another.
//!
//! The work itself, and what has to hold whatever the tape says, is in `tools/fuzz/tapes.rs`, which the fuzz targets share; here
//! is a fixed set of lies, each with checksums made right, so that what is tested stands behind them.

#[path = "../../tools/fuzz/spots.rs"]
mod spots;
#[path = "../../tools/fuzz/tapes.rs"]
mod tapes;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use headstack::{
    dump::{
        Error,
        reader::Reader,
        restore::{Choice, Destination, extract},
        verify::verify,
    },
    tape::Container,
};

use spots::{Spot, plant, seed};
use tapes::{BLOCK, HEALTHY, Jail, Played, headers, image, look, mend, play, volumes};

use super::Place;
use crate::peer::top;

/// Fields of a header: where, how long, and whether it is a fact about the object, which a forger may choose freely.
const FIELDS: &[(usize, usize, bool)] = &[
    (0, 4, false),
    (4, 4, false),
    (8, 4, true),
    (12, 4, false),
    (16, 4, false),
    (20, 4, false),
    (24, 4, false),
    (32, 2, true),
    (34, 2, true),
    (36, 2, true),
    (38, 2, true),
    (40, 8, true),
    (48, 4, true),
    (52, 4, true),
    (56, 4, true),
    (60, 4, true),
    (64, 4, true),
    (72, 4, true),
    (76, 4, true),
    (132, 4, true),
    (144, 4, true),
    (148, 4, true),
    (160, 4, false),
    (164, 1, false),
    (165, 1, false),
    (300, 1, false),
    (675, 1, false),
    (676, 4, true),
    (692, 4, true),
    (696, 4, true),
    (760, 4, true),
    (824, 4, true),
    (888, 4, false),
    (892, 4, true),
    (896, 4, true),
    (900, 4, true),
    (928, 4, true),
    (932, 4, false),
    (936, 8, true),
    (944, 8, true),
    (952, 8, true),
    (960, 8, true),
    (968, 8, true),
    (976, 8, true),
    (984, 8, false),
    (1000, 8, false),
];

/// Values that arithmetic stumbles over.
const EDGES: [u64; 4] = [0, 513, 0x7FFF_FFFF, u64::MAX];

fn whole(stream: &[u8]) -> tapes::Jail {
    assert!(headers(stream).len() > 10);
    Jail::new()
}

fn played(jail: &Jail, streams: &[Vec<u8>]) -> Played {
    play(jail, &volumes(streams, Container::Flat))
}

/// Every field of the first header of each kind that `chosen` selects, at every edge. What nobody told of is what it was.
fn mutate(chosen: impl Fn(u8, u8) -> bool) {
    let stream = &HEALTHY.whole;
    let jail = whole(stream);
    let (mut count, mut silent, mut kinds) = (0, Vec::new(), BTreeSet::new());
    for header in headers(stream) {
        let block = &stream[header * BLOCK..];
        let (kind, of) = (block[0], if matches!(block[0], 2 | 4) { block[33] >> 4 } else { 0 });
        if !chosen(kind, of) || !kinds.insert((kind, of)) {
            continue;
        }
        for (at, length, fact) in FIELDS {
            let at = header * BLOCK + at;
            let mut word = [0; 8];
            word[..*length].copy_from_slice(&stream[at..at + length]);
            let there = u64::from_le_bytes(word);
            let near = [there.wrapping_add(1), there.wrapping_sub(1)];
            // A forger may choose facts freely: of those only what arithmetic stumbles over is of interest.
            let (from, near) = if *fact { (2, &near[..0]) } else { (0, &near[..]) };
            for value in EDGES[from..].iter().chain(near) {
                let mut hostile = stream.clone();
                hostile[at..at + length].copy_from_slice(&value.to_le_bytes()[..*length]);
                if hostile == *stream {
                    continue;
                }
                mend(&mut hostile, header, 0);
                let told = played(&jail, &[hostile]);
                if !*fact && told.is_silent() && told.left != HEALTHY.contents {
                    silent.push(format!(
                        "type {kind}, mode {of:x}, {length} bytes at {}: {value:#x}",
                        at - header * BLOCK
                    ));
                }
                count += 1;
            }
        }
    }
    assert!(kinds.len() >= 3 && count > 300, "{kinds:?}, {count} headers");
    assert_eq!(silent, Vec::<String>::new(), "restored in silence, and not what it was");
}

/// Labels, maps and directories with every field mutated: named errors, or everything as it was.
#[test]
fn hostile_headers_before_the_files_are_survived() {
    mutate(|kind, of| matches!(kind, 1 | 3 | 6) || of == 4);
}

/// Headers of files, links, further segments and the end with every field mutated.
#[test]
fn hostile_headers_of_files_are_survived() {
    mutate(|kind, of| kind == 5 || matches!((kind, of), (2, 8 | 10) | (4, _)));
}

/// A tape that ends anywhere is told of, unless it is behind the end of the dump; as are records that are missing, that
/// come twice, in another order, or from another dump.
#[test]
fn records_out_of_place_are_told() {
    let stream = &HEALTHY.whole;
    let jail = whole(stream);
    let end = headers(stream)
        .into_iter()
        .find(|header| stream[header * BLOCK] == 5)
        .unwrap();
    let judge = |hostile: Vec<u8>, what: &str| {
        for (hostile, container) in [(image(&hostile), Container::Tap), (hostile, Container::Flat)] {
            let told = play(&jail, &volumes(&[hostile], container));
            assert!(!told.is_silent() || told.left == HEALTHY.contents, "{what}: {told:?}");
        }
    };
    for blocks in 0..stream.len() / BLOCK {
        let told = played(&jail, &[stream[..blocks * BLOCK].to_vec()]);
        assert_eq!(told.is_silent(), blocks > end, "cut behind block {blocks}: {told:?}");
        judge(
            stream[..blocks * BLOCK + 100].to_vec(),
            &format!("cut in block {blocks}"),
        );
    }
    let records: Vec<&[u8]> = stream.chunks(4 * BLOCK).collect();
    let other: Vec<&[u8]> = HEALTHY.volumes[0].chunks(4 * BLOCK).collect();
    for at in 0..records.len() {
        let mut missing = records.clone();
        missing.remove(at);
        judge(missing.concat(), &format!("without record {at}"));
        let mut twice = records.clone();
        twice.insert(at, records[at]);
        judge(twice.concat(), &format!("record {at} twice"));
        let mut swapped = records.clone();
        swapped.swap(at, (at + 1) % records.len());
        judge(swapped.concat(), &format!("records {at} and the next swapped"));
        let mut spliced = records[..at].to_vec();
        spliced.extend(other.get(at..).unwrap_or_default());
        judge(spliced.concat(), &format!("another dump from record {at} on"));
        let mut replaced = records.clone();
        replaced[at] = other[at % other.len()];
        judge(replaced.concat(), &format!("record {at} of another dump"));
    }
}

/// Volumes in any order, one of them missing or twice: what is restored in silence is all there was.
#[test]
fn volumes_out_of_order_are_told() {
    let all = &HEALTHY.volumes;
    assert!(all.len() >= 3, "{} volumes", all.len());
    let jail = Jail::new();
    let count = all.len();
    let in_order: Vec<usize> = (0..count).collect();
    let mut orders: Vec<Vec<usize>> = (0..count)
        .map(|gone| (0..count).filter(|at| *at != gone).collect())
        .collect();
    for at in 0..count {
        let mut swapped: Vec<usize> = (0..count).collect();
        swapped.swap(at, (at + 1) % count);
        orders.push(swapped);
        let mut twice: Vec<usize> = (0..count).collect();
        twice.insert(at, at);
        orders.push(twice);
    }
    for order in orders {
        let streams: Vec<Vec<u8>> = order.iter().map(|at| all[*at].clone()).collect();
        let told = played(&jail, &streams);
        // The last one twice is one too many, which nobody gets to.
        assert!(
            !told.is_silent() || order[..count.min(order.len())] == in_order[..],
            "{order:?}: {told:?}"
        );
        if order.first() == Some(&0) && order.len() == count && order != in_order {
            assert!(
                matches!(told.refused, Some(Error::WrongTape { .. })),
                "{order:?}: {told:?}"
            );
        }
    }
    assert_eq!(played(&jail, all).left, HEALTHY.contents);
    let mut mixed = all.clone();
    mixed[1] = HEALTHY.whole.clone();
    assert!(!played(&jail, &mixed).is_silent());
}

/// Entries of a directory with every length and every kind of name that cannot be one, with and without the checksum of
/// our tapes, and on a tape of stock dump: what lies outside of the target is never reached.
#[test]
fn hostile_directories_lead_nowhere() {
    let golden = fs::read(top().join("images/tape/little-dump-0.4b47/level0.dump")).unwrap();
    let jail = Jail::new();
    for (stream, name) in [(&HEALTHY.whole, &b"inner"[..]), (&golden, b"hard\0")] {
        let blocks = headers(stream);
        let found = stream.windows(name.len()).position(|window| window == name).unwrap();
        let (block, entry) = (found / BLOCK, found - 8);
        let header = *blocks.iter().rev().find(|header| **header < block).unwrap();
        let data = blocks.iter().find(|other| **other > header).unwrap() - header - 1;
        let mut lies: Vec<(usize, Vec<u8>)> = Vec::new();
        for length in [
            0_u16, 1, 3, 4, 7, 8, 11, 12, 13, 16, 20, 508, 511, 512, 513, 1024, 0x8000, 0xFFFF,
        ] {
            lies.push((4, length.to_le_bytes().to_vec()));
        }
        for length in [0, 1, 4, 5, 6, 127, 128, 254, 255] {
            lies.push((7, vec![length]));
        }
        for kind in [0, 1, 4, 8, 10, 12, 255] {
            lies.push((6, vec![kind]));
        }
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 12, 0x7FFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFF_u32] {
            lies.push((0, number.to_le_bytes().to_vec()));
        }
        let names: [&[u8]; 8] = [
            b"..\0\0\0",
            b".\0\0\0\0",
            b"../xx",
            b"/tmp/",
            b"a/b/c",
            b"\0\0\0\0\0",
            b"....\0",
            b"a\0b\0c",
        ];
        for name in names {
            lies.push((8, name.to_vec()));
            let length = name.iter().position(|byte| *byte == 0).unwrap_or(5);
            lies.push((7, [&[u8::try_from(length).unwrap()], name].concat()));
        }
        for (at, lie) in lies {
            for mended in [false, true] {
                let mut hostile = stream.clone();
                hostile[entry + at..entry + at + lie.len()].copy_from_slice(&lie);
                if hostile == *stream {
                    continue;
                }
                if std::ptr::eq(stream, &golden) {
                    restored(&jail, hostile);
                    break;
                }
                if mended {
                    mend(&mut hostile, header, data);
                }
                let told = played(&jail, &[hostile]);
                assert!(mended || !told.is_silent(), "{lie:?} at {at}: {told:?}");
            }
        }
    }
}

/// Restores a stream, of which something may be lost and nothing may go elsewhere.
fn restored(jail: &Jail, stream: Vec<u8>) {
    let target = Destination::open(&jail.target()).unwrap();
    let mut reader = Reader::open(volumes(&[stream], Container::Flat), 0).unwrap();
    extract(&mut reader, &target, &Choice::all()).unwrap();
    jail.check();
}

/// A directory within a directory, ten thousand times over: what lies deeper than a path can be is told, and costs no memory.
#[test]
fn directories_without_a_bottom_are_told() {
    let stream = &HEALTHY.whole;
    let blocks = headers(stream);
    let root = blocks
        .iter()
        .find(|header| stream[**header * BLOCK + 33] & 0xF0 == 0x40 && stream[**header * BLOCK] == 2);
    let root = *root.unwrap();
    let mut hostile = stream[..root * BLOCK].to_vec();
    let depth = 10_000_u32;
    for number in 0..depth {
        let at = hostile.len() / BLOCK;
        let mut segment = stream[root * BLOCK..(root + 2) * BLOCK].to_vec();
        segment[16..20].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
        segment[20..24].copy_from_slice(&(number + 2).to_le_bytes());
        segment[40..48].copy_from_slice(&512_u64.to_le_bytes());
        segment[BLOCK..].fill(0);
        // One entry, of a name of 200 bytes, to the end of its chunk.
        let entry = [
            &(number + 3).to_le_bytes()[..],
            &512_u16.to_le_bytes(),
            &[4, 200],
            &[b'n'; 200],
        ]
        .concat();
        segment[BLOCK..BLOCK + entry.len()].copy_from_slice(&entry);
        mend(&mut segment, 0, 1);
        hostile.extend(segment);
    }
    let disk = volumes(&[hostile], Container::Flat);
    let jail = Jail::new();
    let target = jail.target();
    let mut reader = Reader::open(disk, 0).unwrap();
    let told = extract(&mut reader, &Destination::open(&target).unwrap(), &Choice::all()).unwrap();
    assert!(
        told.troubles
            .iter()
            .any(|trouble| trouble.loss && trouble.what.contains("longest path")),
        "{:?}",
        told.troubles.iter().take(5).collect::<Vec<_>>()
    );
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A number in a header or behind it.
fn put(block: &mut [u8], at: usize, value: u64, length: usize) {
    block[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
}

/// The beginning of our tape up to its first directory, and that directory's header.
fn before_directories() -> (Vec<u8>, Vec<u8>) {
    let stream = &HEALTHY.whole;
    let is_inode = |header: &usize| stream[header * BLOCK] == 2;
    let root = headers(stream).into_iter().find(is_inode).unwrap() * BLOCK;
    (stream[..root].to_vec(), stream[root..root + BLOCK].to_vec())
}

/// A directory and a map that claim to be as long as can be, of which a tape of a few blocks has the two ends: what is between
/// them takes no memory.
#[test]
fn lengths_that_tapes_claim_take_no_memory() {
    let before = peak_kib();
    let (mut stream, header) = before_directories();
    let size = 1_u64 << 30;
    for (kind, offset) in [(2, 0), (4, size - 1024)] {
        let mut segment = [&header[..], &[0; BLOCK]].concat();
        put(&mut segment, 0, kind, 4);
        put(&mut segment, 16, (stream.len() / BLOCK) as u64, 4);
        put(&mut segment, 40, size, 8);
        put(&mut segment, 160, 1, 4);
        put(&mut segment, 164, 1, 1);
        put(&mut segment, 1000, offset, 8);
        mend(&mut segment, 0, 1);
        stream.extend(segment);
    }
    let jail = Jail::new();
    assert!(!played(&jail, &[stream]).is_silent());

    // The label, a map, what cannot be read, and the map's last block.
    let label = &HEALTHY.whole[..BLOCK];
    let map = headers(&HEALTHY.whole)
        .into_iter()
        .find(|header| HEALTHY.whole[header * BLOCK] == 6);
    let map = &HEALTHY.whole[map.unwrap() * BLOCK..][..BLOCK];
    let count = (1_u64 << 19) - 1;
    let mut first = [label, map].concat();
    put(&mut first, BLOCK + 160, count, 4);
    mend(&mut first, 1, 0);
    let mut last = [&[0xFF; BLOCK][..], map].concat();
    put(&mut last, BLOCK + 16, 2 + count, 4);
    mend(&mut last, 1, 0);
    let framed = |class: u32, bytes: &[u8]| {
        let word = (class << 28 | u32::try_from(bytes.len()).unwrap()).to_le_bytes();
        [&word, bytes, &word].concat()
    };
    let tape = [framed(0, &first), framed(8, b"lost"), framed(0, &last), vec![0; 8]].concat();
    assert!(!play(&jail, &volumes(&[tape], Container::Tap)).is_silent());
    let grown = peak_kib().saturating_sub(before);
    assert!(grown < 256 << 10, "{grown} KiB for a tape of a few");
}

/// A map that promises numbers by the hundred thousand which nothing names: they are told together.
#[test]
fn promises_without_names_are_told_together() {
    let stream = &HEALTHY.whole;
    let map = headers(stream)
        .into_iter()
        .find(|header| stream[header * BLOCK] == 3)
        .unwrap();
    let mut hostile = stream[..(map + 1) * BLOCK].to_vec();
    let blocks = 64;
    put(&mut hostile[map * BLOCK..], 160, blocks, 4);
    hostile.extend(vec![0x55; usize::try_from(blocks).unwrap() * BLOCK]);
    mend(&mut hostile, map, usize::try_from(blocks).unwrap());
    let jail = Jail::new();
    let disk = volumes(&[hostile], Container::Flat);
    let open = || Reader::open(disk.clone(), 0).unwrap();
    let target = Destination::open(&jail.target()).unwrap();
    let restored = extract(&mut open(), &target, &Choice::all()).unwrap();
    let verified = verify(&mut open()).unwrap();
    for (troubles, lost) in [(restored.troubles, restored.lost), (verified.troubles, verified.lost)] {
        assert!(
            troubles.len() < 1100 && lost.len() < 1100,
            "{} troubles",
            troubles.len()
        );
        let more = 64 * 1024 * 4 - 1000;
        let told = troubles
            .iter()
            .any(|trouble| trouble.path == Path::new(&format!("{more} more numbers")));
        assert!(told, "{:?}", troubles.last());
    }
    jail.check();
}

/// A directory that somebody swaps with a link to another place, as fast as can be: nothing of the tape ever goes there.
#[test]
fn links_that_come_and_go_are_never_followed() {
    let mut place = Place::new();
    let tree = place.path("tree");
    fs::create_dir(tree.join("d")).unwrap();
    for number in 0..400 {
        fs::write(tree.join(format!("d/f{number}")), "of the tape").unwrap();
    }
    place.dump(0, place.listed("t", Container::Flat));
    let (out, outside) = (place.path("out"), place.path("scratch"));
    fs::write(outside.join("f1"), "mine").unwrap();
    let stop = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            symlink(&outside, out.join("aside")).unwrap();
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let here = fs::File::open(&out).unwrap();
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                swaps += u64::from(rustix::fs::renameat_with(&here, "aside", &here, "d", exchange).is_ok());
            }
            swaps
        });
        for _ in 0..5 {
            let mut reader = Reader::open(place.listed("t", Container::Flat), 0).unwrap();
            let _ = extract(&mut reader, &Destination::open(&out).unwrap(), &Choice::all()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        swapping.join().unwrap()
    });
    assert!(swaps > 10, "{swaps} swaps");
    let there = look(&outside);
    assert_eq!(there.len(), 1, "{:?}", there.keys());
    assert_eq!(there[Path::new("f1")].2, b"mine");
}

/// The work of the fuzz targets on a fixed set of inputs: what stands in each spot with bytes changed, cut off and put
/// in. The seeds are the numbers of the inputs, which a failure names.
#[test]
fn what_fuzzers_put_on_tapes_is_survived() {
    for spot in [
        Spot::Header,
        Spot::Directory,
        Spot::Attributes,
        Spot::Image,
        Spot::Stream,
        Spot::Places,
        Spot::Dumpdates,
    ] {
        let healthy = seed(spot);
        plant(spot, &healthy);
        plant(spot, &[]);
        for seed in 1..=24_u64 {
            let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut bytes = healthy.clone();
            for _ in 0..=seed % 4 {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(chance >> 33).unwrap() % bytes.len().max(1);
                match chance >> 20 & 7 {
                    0 => bytes.truncate(at),
                    1 => bytes.splice(at..at, [0; 7]).for_each(drop),
                    2 => bytes.drain(at..bytes.len().min(at + 5)).for_each(drop),
                    edge => {
                        let value = [0, u64::MAX, 1 << 31, chance, 0x7FFF_FFFF][usize::try_from(edge).unwrap() - 3];
                        let end = bytes.len().min(at + 4);
                        bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
                    }
                }
            }
            let outcome = std::panic::catch_unwind(|| plant(spot, &bytes));
            assert!(outcome.is_ok(), "{spot:?}, seed {seed}");
        }
    }
}
