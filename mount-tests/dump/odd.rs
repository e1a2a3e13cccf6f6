//! Trees that tapes have no good place for: what cannot be kept is named, everything else is kept.
//!
//! What stock restore makes of the same tapes is in `tape.md` of the project; here it is what the dump says beforehand.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use headstack::{
    dump::{
        reader::Reader,
        restore::{Choice, Destination, extract},
        verify::verify,
        writer::Summary,
    },
    tape::{Container, Limits, Names},
};

use super::{Place, describe, root, same};
use crate::peer::run;

/// What a summary says of a path: the words, and whether anything is lost.
fn told<'a>(summary: &'a Summary, path: &str) -> Option<(&'a str, bool)> {
    let trouble = summary.troubles.iter().find(|trouble| trouble.path == Path::new(path));
    trouble.map(|trouble| (trouble.what.as_str(), trouble.loss))
}

fn restored(place: &Place, name: &str) {
    let mut reader = Reader::open(place.listed(name, Container::Tap), 0).unwrap();
    let destination = Destination::open(&place.path("out")).unwrap();
    assert_eq!(extract(&mut reader, &destination, &Choice::all()).unwrap().troubles, []);
}

/// Names of 255 bytes and times before 1970 are kept by us, and told of, as others lose them.
#[test]
fn what_others_lose_is_told_and_kept() {
    let mut place = Place::new();
    let tree = place.path("tree");
    let long = "n".repeat(255);
    fs::write(tree.join(&long), "long").unwrap();
    let old = File::create(tree.join("old")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH - Duration::new(86_400, 5))
        .unwrap();
    let summary = place.dump(0, place.listed("t.tap", Container::Tap));
    assert!(
        told(&summary, &long).is_some_and(|(what, loss)| what.contains("255 bytes") && !loss),
        "{summary:?}"
    );
    assert!(
        told(&summary, "old").is_some_and(|(what, loss)| what.contains("1970") && !loss),
        "{summary:?}"
    );
    assert_eq!(summary.troubles.len(), 2);
    restored(&place, "t.tap");
    same(&describe(&place.path("out")), &describe(&tree), "names and times");
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&place.path("out/old")), modified(&tree.join("old")));
}

/// Attributes that take more than other programs read are kept all the same.
#[test]
fn attributes_of_more_than_a_block_are_kept() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    fs::write(tree.join("file"), "data").unwrap();
    // As much as ext4 takes, inside the inode and in a block.
    for (name, length) in [("user.b", 30), ("user.a", 4000)] {
        let value = "v".repeat(length);
        run(
            Command::new("setfattr")
                .args(["-n", name, "-v", &value])
                .arg(tree.join("file")),
            b"",
        );
    }
    let summary = place.dump(0, place.listed("t.tap", Container::Tap));
    assert_eq!(summary.troubles, []);
    restored(&place, "t.tap");
    same(&describe(&place.path("out")), &describe(&tree), "long attributes");
}

/// What is flagged nodump is left out of increments, with all that is in it, and not of level 0.
#[test]
fn what_is_flagged_nodump_is_left_out_of_increments() {
    if !root() {
        return;
    }
    let mut place = Place::new();
    let tree = place.path("tree");
    fs::create_dir(tree.join("cache")).unwrap();
    fs::write(tree.join("cache/a"), "a").unwrap();
    run(Command::new("chattr").arg("+d").arg(tree.join("cache")), b"");
    let full = place.dump(0, place.listed("t.tap", Container::Tap));
    assert_eq!(full.objects, 3);
    fs::write(tree.join("kept"), "kept").unwrap();
    let increment = place.dump(1, place.listed("t.tap", Container::Tap));
    assert_eq!(
        (increment.objects, increment.troubles),
        (2, vec![]),
        "the root and the new file"
    );
}

/// An increment over nothing new is the root alone; what changed is in each dump above its base, and no other.
#[test]
fn an_increment_holds_what_changed() {
    let mut place = Place::new();
    let tree = place.path("tree");
    let past = SystemTime::now() - Duration::from_secs(1000);
    for name in ["one", "two", "three"] {
        File::create(tree.join(name)).unwrap().set_modified(past).unwrap();
    }
    place.dump(0, place.listed("t.tap", Container::Tap));
    // The inodes changed in the second of the dump, so one later is dumped as of then.
    place.now_s += 10;
    place.dump(1, place.listed("t.tap", Container::Tap));
    place.now_s += 10;
    let quiet = place.dump(2, place.listed("t.tap", Container::Tap));
    assert_eq!(quiet.objects, 1, "{quiet:?}");
    fs::hard_link(tree.join("one"), tree.join("link")).unwrap();
    fs::write(tree.join("four"), "4").unwrap();
    place.now_s += 10;
    let unknown = place.dump(3, place.listed("t.tap", Container::Tap));
    assert_eq!(
        unknown.objects, 2,
        "the root and what its base does not know: {unknown:?}"
    );
}

/// Tapes that are full are passed over, whichever volume of the dump they would have been; what is on each is read as a set.
#[test]
fn a_dump_begins_and_goes_on_on_tapes_with_room() {
    const RECORD: u64 = 32 * 1024 + 8;
    let mut place = Place::new();
    fs::write(place.path("tree/file"), vec![5; 600_000]).unwrap();
    let limits = Limits {
        capacity_bytes: Some(16 * RECORD),
        early_warning_bytes: 2 * RECORD,
    };
    let set = |place: &Place, names: &[&str]| {
        let names = Names::Listed(names.iter().map(Into::into).collect());
        place.volumes(names, Container::Tap, limits)
    };
    let first = place.dump(0, set(&place, &["a", "b", "c", "d"]));
    assert_eq!((first.volumes, first.troubles), (2, vec![]));
    // The third is full of another dump.
    place.dump(0, set(&place, &["c", "other"]));
    let second = place.dump(0, set(&place, &["a", "b", "c", "d"]));
    assert_eq!(second.volumes, 2);
    let mut reader = Reader::open(set(&place, &["b", "d"]), 1).unwrap();
    assert_eq!(reader.label().volume, 1);
    let destination = Destination::open(&place.path("out")).unwrap();
    assert_eq!(extract(&mut reader, &destination, &Choice::all()).unwrap().troubles, []);
    same(
        &describe(&place.path("out")),
        &describe(&place.path("tree")),
        "what began on the second tape",
    );
    assert_eq!(
        verify(&mut Reader::open(set(&place, &["a", "b"]), 0).unwrap())
            .unwrap()
            .troubles,
        []
    );
}

/// A tape with room for a dump and not for its catalogue has the dump, and that is told.
#[test]
fn a_catalogue_without_room_is_told() {
    let mut place = Place::new();
    fs::write(place.path("tree/file"), vec![5; 100_000]).unwrap();
    let roomy = place.dump(0, place.listed("roomy.tap", Container::Tap));
    assert!(roomy.indexed && roomy.troubles.is_empty());
    let limits = Limits {
        capacity_bytes: Some(roomy.blocks / 32 * (32 * 1024 + 8) + 64),
        early_warning_bytes: 0,
    };
    let tight = |place: &Place| place.volumes(Names::Listed(vec!["tight.tap".into()]), Container::Tap, limits);
    let summary = place.dump(0, tight(&place));
    assert!(!summary.indexed, "{summary:?}");
    assert!(
        told(&summary, "tight.tap").is_some_and(|(what, loss)| what.contains("no room for the catalogue") && !loss),
        "{summary:?}"
    );
    assert_eq!(
        verify(&mut Reader::open(tight(&place), 0).unwrap()).unwrap().troubles,
        []
    );
}
