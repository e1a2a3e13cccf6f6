//! `dump` as it is asked: what backup applications tell it, what it refuses to build on, what it leaves to the next dump.
//!
//! What is on a tape is told by restoring it.

use std::{fs, path::Path, process::Command, sync::Arc};

use headstack::storage::{Access, Directory, HostDirectory};

use super::{
    headstack,
    restores::{Small, root, with},
    run,
    tapes::{Reels, contents},
};

fn names(directory: &str) -> Vec<String> {
    contents(directory).into_iter().map(|(name, _)| name).collect()
}

/// Changes the text that remembers dumps.
fn edit_dates(reels: &Reels, from: &str, to: &str) {
    let path = Path::new(&reels.state).join("dumpdates.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// D06: no increment is built on a dump of a release that came later, but a level 0 begins anew.
#[test]
fn a_dump_of_a_later_release_is_no_base() {
    let reels = Reels::new();
    reels.dump("-0").json();
    edit_dates(&reels, "\"epoch\": 1", "\"epoch\": 2");
    reels
        .dump("-1")
        .fails(78, &["a baseline is required", "later release", "level 0"]);
    reels.dump("-0").json();
    reels.dump("-1").json();
}

/// D71: a tree that became read-only, or writable again, needs a new level 0.
#[test]
fn a_tree_that_changed_its_mode_needs_a_baseline() {
    if !root() {
        return;
    }
    let reels = Reels::new();
    let small = Small::mounted(reels.place.at("small"), "size=1m");
    fs::write(Path::new(&small.at).join("file"), "1").unwrap();
    let mode = |mode: &str| {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{mode}"), &small.at])
            .status();
        assert!(done.unwrap().success(), "{mode}");
    };
    let dump = |level: &str| reels.run(&["dump", level, "-u", "-f", &reels.tape, &small.at]);
    dump("-0").text();
    mode("ro");
    dump("-1").fails(78, &["a baseline is required", "is read-only now"]);
    dump("-0").text();
    dump("-1").text();
    mode("rw");
    dump("-2").fails(78, &["a baseline is required", "is writable now"]);
    dump("-0").text();
}

/// D03, D37: backup applications tell a dump what it is to be, on the line or in the environment.
#[test]
fn a_dump_takes_what_backup_applications_tell() {
    let reels = Reels::new();
    for name in ["core", "x.tmp", "a/y.tmp", "log.old", "kept"] {
        fs::write(Path::new(&reels.tree).join(name), name).unwrap();
    }
    let words = [
        "dump",
        "-f",
        &reels.tape,
        &reels.tree,
        "--state",
        &reels.state,
        "--json",
    ];
    with("MOVER_RECORD_SIZE", "262145", &words).fails(64, &["MOVER_RECORD_SIZE=262145"]);
    with("LEVEL", "32", &words).fails(64, &["level 32"]);
    with("LEVEL", "7", &words).fails(78, &["level 7"]);
    let unknown = reels
        .run(&["dump", "-e", "FROB=1", "-f", &reels.tape, &reels.tree])
        .ends(64);
    assert!(unknown.err.contains("FROB is not known"), "{unknown:?}");
    let told = [
        "-e",
        "EXCLUDE=*.tmp,core,log*",
        "-e",
        "MOVER_RECORD_SIZE=20480",
        "-e",
        "UPDATE=Y",
        "-e",
        "HIST=N",
    ];
    let line: Vec<&str> = ["dump", "-f", &reels.tape, &reels.tree]
        .into_iter()
        .chain(told)
        .collect();
    reels.run(&line).text();
    let out = reels.out("out");
    headstack(&["restore", "-x", "-b", "20", "-f", &reels.tape, "-D", &out]).text();
    let found = names(&out);
    assert!(found.contains(&"kept".to_owned()), "{found:?}");
    let left_out = |name: &&String| ["core", "x.tmp", "a/y.tmp", "log.old"].contains(&name.as_str());
    assert_eq!(found.iter().find(left_out), None);
    reels.run(&["tape", "find", "kept"]).fails(66, &["kept"]);
    let log = fs::read_to_string(Path::new(&reels.state).join("backup.log")).unwrap();
    assert!(log.contains("Options (b=20, u=true, EXCLUDE=*.tmp,core,log*"), "{log}");
    reels.run(&["dump", "-1", "-f", &reels.tape, &reels.tree]).text();
}

/// A change of the inode alone is no change where that is told.
#[test]
fn changes_of_the_inode_are_ignored_where_told() {
    let reels = Reels::new();
    let file = Path::new(&reels.tree).join("file");
    fs::write(&file, "file").unwrap();
    run(Command::new("touch").args(["-d", "2001-01-01"]).arg(&file), b"").text();
    reels.dump("-0").json();
    edit_dates(&reels, "\"since_s\": 1", "\"since_s\": 4");
    let old = |options: &[&str]| {
        let tape = reels.place.at("next.tap");
        let _ = fs::remove_file(&tape);
        // What is dumped because of its own time only.
        let line: Vec<&str> = ["dump", "-1", "-f", &tape, &reels.tree]
            .iter()
            .chain(options)
            .copied()
            .collect();
        reels.run(&line).text();
        let listed = reels.run(&["tape", "find", "./file"]);
        String::from_utf8_lossy(&listed.out).contains("next.tap")
    };
    assert!(!old(&[]), "nothing changed since a day that lies ahead");
    edit_dates(&reels, "\"since_s\": 4", "\"since_s\": 1");
    assert!(old(&[]), "the inode changed in this second");
    assert!(!old(&["-e", "IGNORE_CTIME=Y"]), "and its data in 2001");
}

/// D22, D25: images of an array that somebody uses are skipped, which is told and remembered, and the next increment takes
/// them; on the tape they are never half of an array.
#[test]
fn images_of_arrays_in_use_are_left_to_the_next_dump() {
    let reels = Reels::new();
    let disks = Path::new(&reels.tree).join("disks");
    fs::create_dir(&disks).unwrap();
    let images = ["a.img", "b.img", "c.img"].map(|name| disks.join(name).to_str().unwrap().to_owned());
    let [a, b, c] = images.each_ref().map(String::as_str);
    headstack(&["disk", "create", a, b, c, "--size", "8M"]).text();
    headstack(&["array", "create", "r0", "--level", "1", a, b]).text();
    let host: Arc<HostDirectory> = Arc::new(HostDirectory::open(&disks).unwrap());
    let used = host.open(Path::new("b.img"), Access::ReadWrite).unwrap();
    used.claim(0, 0, Access::ReadWrite).unwrap();
    let ran = reels.dump("-0").ends(74);
    assert!(
        ran.err.contains("disks/a.img") && ran.err.contains("left to the next dump"),
        "{ran:?}"
    );
    let history = reels.run(&["tape", "history", "--json"]).json();
    assert_eq!(
        history["dumps"][0]["partial"],
        serde_json::json!(["disks/a.img", "disks/b.img"])
    );
    let log = fs::read_to_string(Path::new(&reels.state).join("backup.log")).unwrap();
    assert!(log.contains("Error (disks/b.img: is part of an array in use"), "{log}");
    let out = reels.out("out");
    headstack(&["restore", "-r", "-f", &reels.tape, "-D", &out]).ends(74);
    let restored = |name: &str| Path::new(&out).join("disks").join(name).exists();
    assert_eq!(
        [restored("a.img"), restored("b.img"), restored("c.img")],
        [false, false, true]
    );
    drop(used);
    // Nothing of them has changed since, as their times say.
    edit_dates(&reels, "\"since_s\": 1", "\"since_s\": 4");
    reels.dump("-1").json();
    headstack(&["restore", "-r", "-s", "2", "-f", &reels.tape, "-D", &out]).text();
    for (image, name) in [(a, "a.img"), (b, "b.img")] {
        let back = fs::read(Path::new(&out).join("disks").join(name)).unwrap();
        assert!(back == fs::read(image).unwrap(), "{name}");
    }
    let examined = headstack(&[
        "array",
        "show",
        &format!("{out}/disks/a.img"),
        &format!("{out}/disks/b.img"),
        "--json",
    ]);
    assert!(examined.text().contains("r0"), "the array is whole again");
}
