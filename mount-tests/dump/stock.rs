//! Our tapes under stock `restore`: listing, whole trees, chains, single files, comparison, several volumes.
//!
//! The tapes are flat streams, as `restore -f FILE` takes them.

use std::{fs, path::Path};

use headstack::{
    dump::{
        reader::Reader,
        restore::{Destination, restore_chain},
    },
    tape::{Container, Limits, Names},
};

use super::{Place, describe, same, shape, stock};
use crate::peer::{run, top};

/// Runs stock restore in the place's `out`; returns all it said.
fn restore(place: &Place, arguments: &[&str], tape: &Path) -> String {
    let output = run(place.stock_restore().args(arguments).arg("-f").arg(tape), b"");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// D01, D12, D13, D14, D16, D32, D33: stock restore brings a level 0 back as it was, and the increment on top of it.
#[test]
fn stock_restore_brings_a_chain_back() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let before = describe(&tree);
    let volumes = place.listed("l0", Container::Flat);
    let full = place.dump(0, volumes);
    assert_eq!((full.troubles.as_slice(), full.base_s), ([].as_slice(), None));
    assert_eq!(describe(&tree), before, "the dump left the tree alone");
    let said = restore(&place, &["-r"], &place.path("tapes/l0"));
    assert_eq!(said, "", "stock restore has nothing to say");
    same(&describe(&place.path("out")), &before, "level 0");

    shape("change.sh", &tree);
    let after = describe(&tree);
    let volumes = place.listed("l1", Container::Flat);
    let increment = place.dump(1, volumes);
    assert_eq!(
        (increment.troubles.as_slice(), increment.base_s),
        ([].as_slice(), Some(full.date_s))
    );
    let said = restore(&place, &["-r"], &place.path("tapes/l1"));
    assert_eq!(said, "");
    same(&describe(&place.path("out")), &after, "level 1");
}

/// D34, D35: a tape is whole tape blocks in records of the blocking factor; `-t`, `-x` and `-C` read it.
#[test]
fn stock_restore_lists_extracts_and_compares() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let volumes = place.listed("l0", Container::Flat);
    let summary = place.dump(0, volumes);
    let tape = place.path("tapes/l0");
    let length = fs::metadata(&tape).unwrap().len();
    assert_eq!((length, length % (32 * 1024)), (summary.blocks * 1024, 0));
    let listed = restore(&place, &["-t"], &tape);
    for name in ["./hard/link", "./many/f40", "./null", "./sp ace", "./a/b/c/deep"] {
        assert!(
            listed.lines().any(|line| line.trim_end().ends_with(name)),
            "{name} in {listed}"
        );
    }
    restore(&place, &["-x", "-a", "-o", "many/f7", "a/b/c"], &tape);
    assert_eq!(fs::read(place.path("out/many/f7")).unwrap(), b"file 7\n");
    assert_eq!(fs::read(place.path("out/a/b/c/deep")).unwrap(), b"deep\n");
    assert!(!place.path("out/file").exists());
    let compare = |place: &Place| {
        let mut command = place.stock_restore();
        let output = command
            .args(["-C", "-D"])
            .arg(&tree)
            .arg("-f")
            .arg(&tape)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = compare(&place);
    assert_eq!(code, Some(0), "{said}");
    fs::write(tree.join("many/f7"), b"other!\n").unwrap();
    assert_eq!(compare(&place).0, Some(2), "a file that changed is found");
}

/// Chains of D31 under hostile changes: levels 0, 2, 3, 1, 4 restore by their bases.
#[test]
fn stock_restore_follows_the_bases() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let mut trees = Vec::new();
    for (at, level) in [0, 2, 3, 1, 4].into_iter().enumerate() {
        match at {
            0 => {}
            1 => shape("change.sh", &tree),
            _ => {
                fs::write(tree.join(format!("added{at}")), format!("{at}\n").repeat(at * 1000)).unwrap();
                fs::rename(tree.join("many"), tree.join("elsewhere")).unwrap();
                fs::rename(tree.join("elsewhere"), tree.join("many")).unwrap();
                fs::remove_file(tree.join(format!("many/f{}", at + 10))).unwrap();
            }
        }
        let volumes = place.listed(&format!("t{at}"), Container::Flat);
        let summary = place.dump(level, volumes);
        assert_eq!(summary.troubles, []);
        trees.push(describe(&tree));
    }
    for chain in [&[0, 1, 2][..], &[0, 3, 4]] {
        fs::remove_dir_all(place.path("out")).unwrap();
        fs::create_dir(place.path("out")).unwrap();
        for at in chain {
            let said = restore(&place, &["-r"], &place.path(&format!("tapes/t{at}")));
            assert_eq!(said, "", "tape {at} of {chain:?}");
            same(
                &describe(&place.path("out")),
                &trees[*at],
                &format!("tape {at} of {chain:?}"),
            );
        }
    }
}

/// A dump that fills several volumes is read from them in order.
#[test]
fn stock_restore_reads_several_volumes() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let long: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(tree.join("long"), long).unwrap();
    let limits = Limits {
        capacity_bytes: Some(10 * 32 * 1024),
        early_warning_bytes: 2 * 32 * 1024,
    };
    let volumes = place.volumes(Names::Numbered("v".into()), Container::Flat, limits);
    let summary = place.dump(0, volumes);
    assert!(summary.volumes >= 4, "{summary:?}");
    let said = restore(&place, &["-r", "-M"], &place.path("tapes/v"));
    assert_eq!(said, "");
    same(&describe(&place.path("out")), &describe(&tree), "over volumes");
}

/// D65: the matrix of writers and readers: what stock dump and ours wrote, restored by stock restore and by ours.
#[test]
fn every_reader_takes_the_tapes_of_every_writer() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    place.dump(0, place.listed("ours", Container::Flat));
    let golden = top().join("images/tape/little-dump-0.4b47");
    fs::copy(golden.join("level0.dump"), place.path("tapes/stock")).unwrap();
    let stocks = fs::read_to_string(golden.join("level0.txt")).unwrap();
    let stocks: Vec<String> = stocks.lines().map(str::to_owned).collect();
    for (writer, expected) in [("ours", describe(&tree)), ("stock", stocks)] {
        for reader in ["ours", "stock"] {
            let out = place.path("out");
            fs::remove_dir_all(&out).unwrap();
            fs::create_dir(&out).unwrap();
            if reader == "stock" {
                let mut command = place.stock_restore();
                run(command.args(["-r", "-f"]).arg(place.path("tapes").join(writer)), b"");
            } else {
                let mut tape = Reader::open(place.listed(writer, Container::Flat), 0).unwrap();
                let told = restore_chain(&mut tape, &Destination::open(&out).unwrap()).unwrap();
                assert_eq!(told.troubles, [], "{writer}");
            }
            // Stock restore loses minor numbers above 255 of stock's own tapes, which ours finds.
            let block = data_encoding::HEXLOWER.encode(b"block");
            let known = |line: &&String| (writer, reader) != ("stock", "stock") || !line.starts_with(&block);
            let kept = |lines: &[String]| -> Vec<String> { lines.iter().filter(known).cloned().collect() };
            let what = format!("written by {writer}, read by {reader}");
            same(&kept(&describe(&out)), &kept(&expected), &what);
        }
    }
}
