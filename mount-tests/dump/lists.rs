//! Access control lists and attributes that are longer than other programs take: kept behind the end of the dump.
//!
//! The trees are in memory, as the block of 4096 bytes that ext4 has for attributes is what such lists do not fit into.

use std::{fs, os::unix::fs::FileExt as _, path::Path, process::Command};

use headstack::{
    dump::{
        browse::Browser,
        catalog::{contents, scan},
        reader::Reader,
        restore::{Choice, Destination, compare, extract, extract_placed, restore_chain},
        salvage::salvage,
        verify::verify,
    },
    tape::{Container, Volumes},
};
use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::{Place, describe, root, same, stock};
use crate::peer::run;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A list of so many entries as the kernel takes it: owner, users by their numbers, group, mask and others.
fn list(entries: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let users = (0..entries - 4).map(|at| (2_u16, 4_u16, 1000 + at));
    let all = [(1, 6, NOBODY)].into_iter().chain(users);
    let all = all.chain([(4, 4, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)]);
    let mut value = vec![2, 0, 0, 0];
    for (tag, permissions, id) in all {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

fn set(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let length = getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// A tree of lists and attributes around all limits.
fn fill(tree: &Path) {
    fs::create_dir(tree.join("directory")).unwrap();
    for name in ["few", "most", "more", "long", "directory/inner"] {
        fs::write(tree.join(name), name).unwrap();
    }
    fs::hard_link(tree.join("most"), tree.join("directory/link")).unwrap();
    set(&tree.join("few"), ACCESS, &list(507));
    set(&tree.join("directory/inner"), ACCESS, &list(508));
    for name in [ACCESS, DEFAULT] {
        set(&tree.join("directory"), name, &list(1024));
    }
    set(&tree.join("most"), ACCESS, &list(1024));
    set(&tree.join("most"), "user.small", b"beside it");
    set(&tree.join("more"), ACCESS, &list(1025));
    set(&tree.join("long"), "user.long", &[7; 60_000]);
}

/// What a tape keeps of the tree: all but the list that is too long.
fn kept(place: &Place, name: &str) -> Vec<String> {
    let tree = place.path(name);
    run(Command::new("setfacl").arg("-b").arg(tree.join("more")), b"");
    fs::set_permissions(tree.join("more"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    describe(&tree)
}

fn out(place: &Place, name: &str) -> Destination {
    fs::create_dir_all(place.path(name)).unwrap();
    Destination::open(&place.path(name)).unwrap()
}

fn open(volumes: &Volumes) -> Reader {
    Reader::open(volumes.clone(), 0).unwrap()
}

/// D16: lists of up to 1,024 entries come back with files and directories, whichever way they are read; one of 1,025 is told,
/// and its file is on the tape in part. Stock restore takes all but the long lists.
#[test]
fn lists_of_1024_entries_are_kept_and_one_more_is_not() {
    if !root() || !stock() {
        return;
    }
    let mut place = Place::in_memory();
    fill(&place.path("tree"));
    let volumes = place.listed("t.tap", Container::Tap);
    let summary = place.dump(0, volumes.clone());
    assert_eq!(summary.troubles.len(), 1, "{:?}", summary.troubles);
    let told = &summary.troubles[0];
    assert!(
        told.loss && told.path == Path::new("more") && told.what.contains("1025 entries; 1024"),
        "{told:?}"
    );
    let found = scan(&mut open(&volumes).copying()).unwrap();
    assert!(found.troubles.is_empty() && found.places.trailing().is_some());

    let (read, whole) = (open(&volumes).catalogue().unwrap(), &place.path("whole"));
    assert_eq!(read[0].entry.partial, ["more"]);
    assert_eq!(
        (&read[0].places, &read[0].contents),
        (&found.places, &found.contents),
        "noted as scanned"
    );
    assert_eq!(
        restore_chain(&mut open(&volumes), &out(&place, "whole"))
            .unwrap()
            .troubles,
        []
    );
    let differences = compare(&mut open(&volumes), &out(&place, "tree")).unwrap();
    assert_eq!(
        differences.iter().map(|one| one.path.as_path()).collect::<Vec<_>>(),
        [Path::new("more")]
    );
    assert_eq!(compare(&mut open(&volumes), &out(&place, "whole")).unwrap(), []);
    let modified = fs::metadata(whole).unwrap().modified().unwrap();
    fs::remove_file(whole.join("restoresymtable")).unwrap();
    fs::File::open(whole).unwrap().set_modified(modified).unwrap();
    same(&kept(&place, "whole"), &kept(&place, "tree"), "restored");
    set(&whole.join("most"), ACCESS, &list(1023));
    let differences = compare(&mut open(&volumes), &out(&place, "whole")).unwrap();
    assert!(
        differences
            .iter()
            .any(|one| one.what.contains("another system.posix_acl_access")),
        "{differences:?}"
    );
    assert_eq!(verify(&mut open(&volumes)).unwrap().troubles, []);

    fs::write(place.path("state/toc"), &found.contents).unwrap();
    let names = || contents(place.host("state"), "toc".into()).unwrap();
    let choice = Choice::of(&["directory/link".into(), "long".into()]);
    let placed = out(&place, "placed");
    let restored = extract_placed(&mut names(), &mut open(&volumes), &found.places, &placed, &choice).unwrap();
    assert_eq!(restored.troubles, []);
    assert_eq!(value(&place.path("placed/directory/link"), ACCESS), Some(list(1024)));
    assert_eq!(value(&place.path("placed/long"), "user.long"), Some(vec![7; 60_000]));
    let mut browser = Browser::new(&mut names(), open(&volumes), found.places.clone()).unwrap();
    let most = browser.child(2, b"most").unwrap().number;
    let facts = browser.facts(most).unwrap().unwrap();
    assert!(facts.attributes.iter().any(|attribute| attribute.value == list(1024)));

    place.dump(0, place.listed("t.dump", Container::Flat));
    run(
        place.stock_restore().args(["-r", "-f"]).arg(place.path("tapes/t.dump")),
        b"",
    );
    for name in ["few", "most", "more", "long", "directory/inner", "directory/link"] {
        let (here, there) = (place.path("out").join(name), place.path("tree").join(name));
        assert_eq!(fs::read(&here).unwrap(), fs::read(&there).unwrap(), "{name}");
    }
    assert_eq!(value(&place.path("out/few"), ACCESS), Some(list(507)));
    assert_eq!(
        value(&place.path("out/most"), "user.small"),
        Some(b"beside it".to_vec())
    );
}

/// What is lost behind the end costs the lists that were there, and is told; salvage brings all the rest back.
#[test]
fn damage_behind_the_end_is_told() {
    if !root() {
        return;
    }
    let mut place = Place::in_memory();
    fill(&place.path("tree"));
    let volumes = place.listed("t.dump", Container::Flat);
    place.dump(0, volumes.clone());
    let found = scan(&mut open(&volumes).copying()).unwrap();
    let from = found.places.trailing().unwrap().offset_bytes;
    let path = place.path("tapes/t.dump");
    let whole = fs::read(&path).unwrap();
    let told = |what: &str| {
        let troubles = verify(&mut open(&volumes)).unwrap().troubles;
        assert!(
            troubles
                .iter()
                .any(|trouble| trouble.loss && trouble.what.contains(what)),
            "{what}: {troubles:?}"
        );
    };
    let tape = fs::File::options().write(true).open(&path).unwrap();
    tape.write_all_at(&[0xFF], from + 2000).unwrap();
    told("attributes of number");
    // A header: what it begins is not even counted.
    tape.write_all_at(&[0xFF], from + 30).unwrap();
    told("of 5 long attributes");
    let restored = salvage(open(&volumes), &out(&place, "salvaged")).unwrap();
    assert!(restored.troubles.iter().any(|trouble| trouble.loss));
    assert_eq!(value(&place.path("salvaged/long"), "user.long"), Some(vec![7; 60_000]));
    tape.set_len(from).unwrap();
    told("ends before the dump does");
    let restored = extract(&mut open(&volumes), &out(&place, "cut"), &Choice::all()).unwrap();
    assert!(restored.troubles.iter().any(|trouble| trouble.loss));
    assert_eq!(value(&place.path("cut/few"), ACCESS), Some(list(507)));
    fs::write(&path, whole).unwrap();
    assert_eq!(verify(&mut open(&volumes)).unwrap().troubles, []);
}
