//! Our restore: of stock dump's tapes and of our own, whole and damaged, and into places that try to lead it astray.
//!
//! What stock programs wrote is in `images/tape`, with what a restore of it must give.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use headstack::{
    dump::{
        Error,
        reader::Reader,
        restore::{Catalogue, Choice, Destination, Restored, compare, extract, restore_chain},
    },
    tape::{Container, Limits, Names, Volumes},
};

use super::{Place, describe, root, same, shape};
use crate::peer::top;

/// The golden tapes of stock dump.
fn golden(name: &str) -> PathBuf {
    top().join("images/tape/little-dump-0.4b47").join(name)
}

fn lines(name: &str) -> Vec<String> {
    fs::read_to_string(golden(name))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A reader of a copy of some tape.
fn reader_of(place: &Place, bytes: &[u8]) -> Reader {
    fs::write(place.path("tapes/copy"), bytes).unwrap();
    Reader::open(place.listed("copy", Container::Flat), 0).unwrap()
}

fn destination(place: &Place) -> Destination {
    Destination::open(&place.path("out")).unwrap()
}

fn chain(place: &Place, volumes: Volumes) -> Restored {
    restore_chain(&mut Reader::open(volumes, 0).unwrap(), &destination(place)).unwrap()
}

/// D65: tapes of stock dump come back as what was dumped, level 0 and the increment on top of it.
#[test]
fn tapes_of_stock_dump_come_back() {
    if !root() {
        return;
    }
    let place = Place::new();
    for level in ["level0", "level1"] {
        let tape = fs::read(golden(&format!("{level}.dump"))).unwrap();
        let mut reader = reader_of(&place, &tape);
        let restored = restore_chain(&mut reader, &destination(&place)).unwrap();
        assert_eq!(restored.troubles, []);
        same(&describe(&place.path("out")), &lines(&format!("{level}.txt")), level);
    }
    let tape = fs::read(golden("level1.dump")).unwrap();
    let again = restore_chain(&mut reader_of(&place, &tape), &destination(&place));
    assert!(
        matches!(again, Err(Error::WrongTape { .. })),
        "the same increment twice: {again:?}"
    );
}

/// D13, D33, D58: our own chain comes back, to the nanosecond, from images with several dumps behind each other.
#[test]
fn our_own_chain_comes_back() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let volumes = place.listed("t.tap", Container::Tap);
    assert_eq!(place.dump(0, volumes.clone()).troubles, []);
    let before = describe(&tree);
    fs::write(place.path("out/file"), "overwritten").unwrap();
    fs::create_dir(place.path("out/many")).unwrap();
    fs::write(place.path("out/many/mine"), "kept").unwrap();
    assert_eq!(chain(&place, volumes.clone()).troubles, []);
    fs::remove_file(place.path("out/many/mine")).unwrap();
    let touched = filetime(&tree.join("many"));
    same(
        &describe(&place.path("out"))
            .into_iter()
            .filter(|line| !line.starts_with("6d616e79 "))
            .collect::<Vec<_>>(),
        &before
            .iter()
            .filter(|line| !line.starts_with("6d616e79 "))
            .cloned()
            .collect::<Vec<_>>(),
        "level 0",
    );
    assert_ne!(touched, (0, 0));
    for name in ["file", "size5000", "symlink", "a/b/c", "fifo", "socket"] {
        assert_eq!(
            filetime(&place.path("out").join(name)),
            filetime(&tree.join(name)),
            "{name}"
        );
    }
    shape("change.sh", &tree);
    assert_eq!(place.dump(1, volumes.clone()).troubles, []);
    let mut second = Reader::open(volumes, 1).unwrap();
    assert_eq!(restore_chain(&mut second, &destination(&place)).unwrap().troubles, []);
    same(&describe(&place.path("out")), &describe(&tree), "level 1");
}

fn filetime(path: &Path) -> (i64, i64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec())
}

/// A dump over several volumes, in both containers, whose objects go over the ends of volumes.
#[test]
fn several_volumes_are_read_in_order_and_a_missing_one_is_told() {
    if !root() {
        return;
    }
    for container in [Container::Flat, Container::Tap] {
        let mut place = Place::new();
        let tree = place.path("tree");
        shape("fill.sh", &tree);
        let long: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8).collect();
        fs::write(tree.join("long"), long).unwrap();
        let limits = Limits {
            capacity_bytes: Some(10 * 33 * 1024),
            early_warning_bytes: 2 * 33 * 1024,
        };
        let volumes = place.volumes(Names::Numbered("v".into()), container, limits);
        let count = place.dump(0, volumes.clone()).volumes;
        assert!(count >= 4, "{count} volumes");
        assert_eq!(chain(&place, volumes.clone()).troubles, []);
        same(&describe(&place.path("out")), &describe(&tree), "over volumes");
        fs::remove_file(place.path(&format!("tapes/v{count:03}"))).unwrap();
        let mut reader = Reader::open(volumes, 0).unwrap();
        let found = compare(&mut reader, &Destination::open(&tree).unwrap()).unwrap();
        assert!(
            found.iter().any(|trouble| trouble.what.contains("ends before")),
            "{found:?}"
        );
    }
}

/// D47: single files and whole directories, with what belongs to them, and nothing else.
#[test]
fn chosen_names_are_extracted() {
    if !root() {
        return;
    }
    let place = Place::new();
    let tape = fs::read(golden("level0.dump")).unwrap();
    let wanted = ["a/b", "many/f7", "hard/link", "not/there"].map(PathBuf::from);
    let restored = extract(
        &mut reader_of(&place, &tape),
        &destination(&place),
        &Choice::of(&wanted),
    )
    .unwrap();
    let troubles: Vec<&Path> = restored.troubles.iter().map(|trouble| trouble.path.as_path()).collect();
    assert_eq!(troubles, [Path::new("not/there")]);
    let names = |lines: &[String]| -> Vec<String> {
        let names = lines.iter().map(|line| line.split(' ').next().unwrap());
        names
            .map(|name| String::from_utf8(data_encoding::HEXLOWER.decode(name.as_bytes()).unwrap()).unwrap())
            .collect()
    };
    let found = describe(&place.path("out"));
    let expected = [
        ".",
        "a",
        "a/b",
        "a/b/c",
        "a/b/c/deep",
        "hard",
        "hard/link",
        "many",
        "many/f7",
    ];
    assert_eq!(names(&found), expected);
    let golden = lines("level0.txt");
    for line in found
        .iter()
        .filter(|line| ["612f62", "6d616e792f"].iter().any(|start| line.starts_with(start)))
    {
        assert!(golden.contains(line), "{line}");
    }
}

/// The listing has every name of the tree.
#[test]
fn a_tape_is_listed() {
    let place = Place::new();
    let tape = fs::read(golden("level0.dump")).unwrap();
    let mut catalogue = Catalogue::read(&mut reader_of(&place, &tape)).unwrap();
    let listed: Vec<PathBuf> = catalogue.list().into_iter().map(|(path, _)| path).collect();
    let expected = lines("level0.txt").len() + 1;
    assert_eq!(listed.len(), expected, "and lost+found");
    assert!(listed.contains(&PathBuf::from("hard/link")) && listed.contains(&PathBuf::from("lost+found")));
    assert_eq!(catalogue.troubles, []);
}

/// A comparison finds nothing in the tree itself, and every change.
#[test]
fn a_comparison_names_what_differs() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let volumes = place.listed("t.tap", Container::Tap);
    place.dump(0, volumes.clone());
    let compared = || {
        let mut reader = Reader::open(volumes.clone(), 0).unwrap();
        compare(&mut reader, &Destination::open(&tree).unwrap()).unwrap()
    };
    assert_eq!(compared(), []);
    let times = fs::File::open(tree.join("huge"))
        .unwrap()
        .metadata()
        .unwrap()
        .modified()
        .unwrap();
    let huge = fs::File::options().write(true).open(tree.join("huge")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&huge, b"x", 7_000_000).unwrap();
    huge.set_modified(times).unwrap();
    fs::remove_file(tree.join("many/f9")).unwrap();
    let found = compared();
    let of = |name: &str| {
        found
            .iter()
            .find(|trouble| trouble.path == Path::new(name))
            .map(|trouble| trouble.what.as_str())
    };
    assert!(of("huge").is_some_and(|what| what.contains("other data")), "{found:?}");
    assert!(
        of("many/f9").is_some_and(|what| what.contains("not there")),
        "{found:?}"
    );
    assert!(of("many").is_some_and(|what| what.contains("modified")), "{found:?}");
    assert_eq!(found.len(), 3, "{found:?}");
}

/// Whatever a restore brings back is compared: each change of one thing is one difference, and what the tape has lost is
/// told as a loss.
#[test]
fn a_comparison_sees_all_that_a_restore_brings_back() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let volumes = place.listed("t", Container::Flat);
    place.dump(0, volumes.clone());
    assert_eq!(chain(&place, volumes.clone()).troubles, []);
    let out = place.path("out");
    let compared = || compare(&mut Reader::open(volumes.clone(), 0).unwrap(), &destination(&place)).unwrap();
    assert_eq!(compared(), []);
    // Each command changes one thing, and the second undoes it.
    for (command, undo, path, told) in [
        (
            "setfattr -n user.k1 -v other file",
            "setfattr -n user.k1 -v 'value one' file",
            "file",
            "another user.k1",
        ),
        (
            "setfattr -n user.more -v x many",
            "setfattr -x user.more many",
            "many",
            "has user.more, on the tape it has none",
        ),
        (
            "setfattr -x trusted.t size1025",
            "setfattr -n trusted.t -v tt size1025",
            "size1025",
            "has no trusted.t",
        ),
        (
            "setfacl -m u:1000:r size5000",
            "setfacl -m u:1000:rw size5000; chmod 4755 size5000; setfacl -m u:1000:rw,g:1001:r,u:1002:---,m::rwx size5000",
            "size5000",
            "another system.posix_acl_access",
        ),
        (
            "setfacl -k a/b",
            "setfacl -d -m u:1000:rwx,g:1001:rx a/b",
            "a/b",
            "has no system.posix_acl_default",
        ),
        ("chattr +A size1", "chattr -A size1", "size1", "has flags 0x80"),
        ("chown 1 size1", "chown 1000 size1", "size1", "has owner 1:1001"),
        ("chmod 600 size1", "chmod 644 size1", "size1", "has mode 100600"),
        (
            "ln size1 size1.more; touch -r ../tree .",
            "rm size1.more; touch -r ../tree .",
            "size1",
            "has 2 links, on the tape 1",
        ),
        (
            "touch -r block null.time; rm null; mknod null c 1 5; touch -r null.time null; touch -r ../tree .",
            "touch -r ../tree/null null",
            "null",
            "another device",
        ),
    ] {
        let told_of = |command: &str| {
            crate::peer::run(
                std::process::Command::new("bash")
                    .args(["-c", command])
                    .current_dir(&out),
                b"",
            );
            compared()
        };
        let found = told_of(command);
        let named = found
            .iter()
            .any(|trouble| trouble.path == Path::new(path) && trouble.what.contains(told));
        assert!(
            named && !found.iter().any(|trouble| trouble.loss),
            "{command}: {found:?}"
        );
        crate::peer::run(
            std::process::Command::new("bash").args(["-c", undo]).current_dir(&out),
            b"",
        );
    }
    let tape = fs::read(place.path("tapes/t")).unwrap();
    fs::write(place.path("tapes/t"), &tape[..tape.len() * 2 / 3]).unwrap();
    assert!(compared().iter().any(|trouble| trouble.loss));
}

/// Links in the target that lead outside are not followed, whoever made them.
#[test]
fn nothing_is_written_outside_the_target() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let volumes = place.listed("t.tap", Container::Tap);
    place.dump(0, volumes.clone());
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f1"), "mine").unwrap();
    let out = place.path("out");
    std::os::unix::fs::symlink(&outside, out.join("many")).unwrap();
    std::os::unix::fs::symlink(outside.join("f1"), out.join("file")).unwrap();
    let before = describe(&outside);
    let restored = extract(
        &mut Reader::open(volumes, 0).unwrap(),
        &destination(&place),
        &Choice::all(),
    )
    .unwrap();
    assert_eq!(describe(&outside), before);
    let told = |name: &str| restored.troubles.iter().any(|trouble| trouble.path == Path::new(name));
    assert!(told("many") && told("many/f1"), "{:?}", restored.troubles);
    assert_eq!(
        fs::read(out.join("file")).unwrap(),
        b"hello\n",
        "a link in a file's place is replaced"
    );
    assert!(fs::symlink_metadata(out.join("file")).unwrap().is_file());
}

/// Each byte of our tapes is covered by a checksum: whatever is flipped is told, and nothing panics. What is behind the end
/// of the dump is nobody's.
#[test]
fn damage_to_our_tapes_is_always_told() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    shape("fill.sh", &tree);
    let volumes = place.listed("t", Container::Flat);
    place.dump(0, volumes);
    let tape = fs::read(place.path("tapes/t")).unwrap();
    let target = Destination::open(&tree).unwrap();
    let end = tape
        .chunks(1024)
        .position(|block| block[..4] == [5, 0, 0, 0] && block[24..26] == [0x6C, 0xEA])
        .unwrap()
        * 1024;
    let mut seed = 0x1234_5678_u64;
    for _ in 0..120 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = usize::try_from(seed >> 20).unwrap() % end;
        let mut damaged = tape.clone();
        damaged[at] ^= 1 << (seed % 8);
        fs::write(place.path("tapes/copy"), &damaged).unwrap();
        let mut reader = Reader::open(place.listed("copy", Container::Flat), 0).unwrap();
        let found = compare(&mut reader, &target).unwrap();
        assert!(!found.is_empty(), "bit {} of byte {at} (block {})", seed % 8, at / 1024);
        damaged.truncate(at);
        fs::write(place.path("tapes/copy"), &damaged).unwrap();
        match Reader::open(place.listed("copy", Container::Flat), 0) {
            Ok(mut reader) => assert!(!compare(&mut reader, &target).unwrap().is_empty(), "cut at {at}"),
            Err(Error::NoDump { .. }) => assert!(at < 1024, "cut at {at}"),
            Err(error) => panic!("cut at {at}: {error}"),
        }
    }
}

/// A record that is lost costs what was in it; everything else comes back, and what is missing is named.
#[test]
fn a_lost_record_costs_what_was_in_it() {
    if !root() {
        return;
    }
    let place = Place::new();
    let mut tape = fs::read(golden("level0.dump")).unwrap();
    let record = 10 * 1024;
    let at = tape.len() - 12 * record;
    tape[at..at + record].fill(0);
    let restored = extract(&mut reader_of(&place, &tape), &destination(&place), &Choice::all()).unwrap();
    let found = describe(&place.path("out"));
    let expected = lines("level0.txt");
    let missing = expected.iter().filter(|line| !found.contains(line)).count();
    assert!((1..12).contains(&missing), "{missing} objects are not as they were");
    let named = restored
        .troubles
        .iter()
        .filter(|trouble| trouble.what.contains("promises"))
        .count();
    assert!(
        named > 0
            && restored
                .troubles
                .iter()
                .any(|trouble| trouble.what.contains("are lost"))
    );
}

/// D65: a dump of stock dump over several volumes comes back, and with one of them missing all that is on the others is.
#[test]
fn volumes_of_stock_dump_come_back() {
    if !root() {
        return;
    }
    let folder = top().join("images/tape").join("volumes-dump-0.4b47");
    let expected = fs::read_to_string(folder.join("level0.txt")).unwrap();
    let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
    let place = Place::new();
    for name in ["plain001", "plain002", "plain003"] {
        fs::copy(folder.join(name), place.path("tapes").join(name)).unwrap();
    }
    let volumes = place.volumes(Names::Numbered("plain".into()), Container::Flat, Limits::default());
    assert_eq!(chain(&place, volumes.clone()).troubles, []);
    same(&describe(&place.path("out")), &expected, "over volumes");
    fs::remove_file(place.path("tapes/plain002")).unwrap();
    fs::remove_dir_all(place.path("out")).unwrap();
    fs::create_dir(place.path("out")).unwrap();
    let salvaged = headstack::dump::salvage::salvage(Reader::open(volumes, 0).unwrap(), &destination(&place)).unwrap();
    let found = describe(&place.path("out"));
    let gone = expected.iter().filter(|line| !found.contains(line)).count();
    assert!(
        gone > 0 && gone <= salvaged.lost.len(),
        "{gone} are gone, told are {:?}",
        salvaged.lost
    );
}

/// D65: compressed tapes of stock dump come back, in whichever way they were compressed; damage in them costs records only.
#[test]
fn compressed_tapes_of_stock_dump_come_back() {
    if !root() {
        return;
    }
    let folder = top().join("images/tape").join("compressed-dump-0.4b47");
    let expected = fs::read_to_string(folder.join("level0.txt")).unwrap();
    let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
    for kind in ["zlib", "bzip2", "lzo"] {
        let place = Place::new();
        let mut tape = fs::read(folder.join(kind).with_extension("dump")).unwrap();
        let restored = extract(&mut reader_of(&place, &tape), &destination(&place), &Choice::all()).unwrap();
        assert_eq!(restored.troubles, [], "{kind}");
        same(&describe(&place.path("out")), &expected, kind);
        // Somewhere in the files that come last.
        let at = tape.len() - 3000;
        tape[at] ^= 0x55;
        let restored = extract(&mut reader_of(&place, &tape), &destination(&place), &Choice::all()).unwrap();
        let losses = restored.troubles.iter().filter(|trouble| trouble.loss).count();
        assert!((1..12).contains(&losses), "{kind}: {restored:?}");
        tape.truncate(at);
        let restored = extract(&mut reader_of(&place, &tape), &destination(&place), &Choice::all()).unwrap();
        assert!(
            restored
                .troubles
                .iter()
                .any(|trouble| trouble.what.contains("ends before")),
            "{kind}"
        );
    }
}
