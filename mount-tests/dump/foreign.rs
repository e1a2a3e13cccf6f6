//! Whole tapes of programs that are not to be had here: other byte orders, FreeBSD's UFS2, the old BSDs.
//!
//! `tools/peers/dump/foreign.py` lays them out by hand, from the headers and the restore of FreeBSD; the tape of the other
//! byte order is one of stock dump turned around.

use std::{fs, path::Path, process::Command};

use headstack::{
    dump::{
        reader::Reader,
        restore::{Choice, Destination, compare, extract},
        verify::verify,
    },
    tape::Container,
};

use super::{Place, describe, root, same, script, shape};
use crate::peer::{run, top};

/// A tape that the script writes of a tree, or of another tape.
fn tape(place: &Place, form: &str, order: &str, source: &Path) {
    let mut command = Command::new("python3");
    command.arg(script("foreign.py")).args([form, order]).arg(source);
    fs::write(place.path("tapes/t"), run(&mut command, b"").stdout).unwrap();
}

/// Restores it, and finds nothing wrong with it nor with what was restored.
fn restored(place: &Place, what: &str) -> Vec<String> {
    let reader = || Reader::open(place.listed("t", Container::Flat), 0).unwrap();
    let out = place.path("out");
    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    let destination = Destination::open(&out).unwrap();
    assert_eq!(
        extract(&mut reader(), &destination, &Choice::all()).unwrap().troubles,
        [],
        "{what}"
    );
    assert_eq!(verify(&mut reader()).unwrap().troubles, [], "{what}");
    assert_eq!(compare(&mut reader(), &destination).unwrap(), [], "{what}");
    describe(&out)
}

/// D65: a tape of stock dump from a machine of the other byte order is the same tree, with attributes and lists.
#[test]
fn a_tape_of_the_other_byte_order_comes_back() {
    if !root() {
        return;
    }
    let place = Place::new();
    let golden = top().join("images/tape/little-dump-0.4b47");
    tape(&place, "swapped", "big", &golden.join("level0.dump"));
    let expected: Vec<String> = fs::read_to_string(golden.join("level0.txt"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    same(&restored(&place, "swapped"), &expected, "swapped");
}

/// D65: tapes of FreeBSD's UFS2, of 4.3BSD and of before come back whole, in either byte order.
#[test]
fn tapes_of_other_systems_come_back() {
    if !root() {
        return;
    }
    for form in ["ufs2", "bsd43", "old"] {
        let place = Place::new();
        let tree = place.path("tree");
        shape("fill.sh", &tree);
        // What these tapes have no place for: attributes, and in the old ones long names, times before the second, minor
        // numbers and owners of more than a byte or two.
        let fit = "setfattr -x user.k1 file; setfattr -x user.big size1024; setfattr -x trusted.t size1025;
            setfattr -x security.foo size1023; setfattr -x user.dirx hard; setfacl -b size5000; setfacl -k a/b; rm block;
            mknod block b 8 200; chmod 4755 size5000; chown 7000:8000 size1025";
        let short = "rm n* un*; touch -d @1000000000 *; find . -exec touch -hd @1000000000 {} +";
        for command in [fit, short].into_iter().take(if form == "old" { 2 } else { 1 }) {
            run(Command::new("bash").args(["-c", command]).current_dir(&tree), b"");
        }
        let expected = describe(&tree);
        for order in ["little", "big"] {
            tape(&place, form, order, &tree);
            let what = format!("{form}, {order}-endian");
            same(&restored(&place, &what), &expected, &what);
        }
    }
}
