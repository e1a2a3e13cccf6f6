//! Arrays of a store on tapes and back: one object each, read by stock restore as a file, by ours as what it was.
//!
//! What an array holds is read and written through the engine while nobody serves it, and through a client while somebody
//! does.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use headstack::{
    nbd::keeper::now,
    raid::{
        Array,
        assemble::{Assembly, Image},
        discover::{ArraySet, discover, open, open_over},
    },
    storage::{Directory, HostDirectory},
};
use serde_json::{Value, json};

use super::{Store, connect};
use crate::{
    cli::{Ran, headstack, peer, restores::root, run, wait_until},
    peer::skip,
};

impl Store {
    /// A verb that remembers dumps outside of the store.
    fn remembering(&self, words: &[&str]) -> Ran {
        let state = self.beside("dumps");
        let mut all = words.to_vec();
        all.extend(["--state", &state]);
        headstack(&all)
    }

    fn beside(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    /// A directory beside the store.
    fn out(&self, name: &str) -> String {
        let out = self.beside(name);
        fs::create_dir_all(&out).unwrap();
        out
    }

    fn dump(&self, level: &str, tape: &str) -> Ran {
        self.remembering(&["dump", level, "-u", "-f", &self.beside(tape), &self.path()])
    }

    /// Restores names of a tape into a directory.
    fn extract(&self, tape: &str, into: &str, more: &[&str]) -> Ran {
        let tape = self.beside(tape);
        let mut words = vec!["restore", "-x", "--force", "-f", &tape, "-D", into];
        words.extend(more);
        self.remembering(&words)
    }

    fn open(&self, name: &str) -> Array {
        open(&self.members_of(name), Assembly::default()).unwrap()
    }

    fn members_of(&self, name: &str) -> ArraySet {
        let mut paths: Vec<PathBuf> = fs::read_dir(self.file("disks"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let images: Vec<Image> = paths.iter().map(|path| Image::at(path).unwrap()).collect();
        let found = discover(&images);
        found.arrays.into_iter().find(|set| set.name == name).unwrap()
    }

    fn bytes_of(&self, name: &str) -> Vec<u8> {
        let array = self.open(name);
        let mut bytes = vec![0; usize::try_from(array.size_bytes()).unwrap()];
        array.read_at(&mut bytes, 0).unwrap();
        array.stop(now()).unwrap();
        bytes
    }

    /// Writes a pattern with a hole behind it into an array at rest; all that the array holds then.
    fn write(&self, name: &str, seed: u32) -> Vec<u8> {
        let array = self.open(name);
        let data: Vec<u8> = (0..3_u32 << 20).map(|at| (at.wrapping_mul(seed) >> 24) as u8).collect();
        array.write_at(&data, 1 << 20, true).unwrap();
        array.stop(now()).unwrap();
        drop(array);
        self.bytes_of(name)
    }

    fn facts(&self, name: &str) -> Value {
        headstack(&["array", "show", "--json", name, "--in", &self.path()]).json()
    }
}

/// A store with an array `r5` of its first three disks, which takes little space.
fn sparse() -> Store {
    let store = Store::new(0);
    let disks = [0, 1, 2, 3].map(|number| store.disk(number));
    let [a, b, c, d] = disks.each_ref().map(String::as_str);
    headstack(&["disk", "create", "--size", "6M", a, b, c, d]).text();
    headstack(&["array", "create", "r5", "--level", "5", "--chunk", "64K", a, b, c]).text();
    store
}

fn names(listed: &str) -> Vec<String> {
    let paths = listed.lines().filter_map(|line| line.split_whitespace().last());
    paths.map(str::to_owned).collect()
}

/// D19: an array is one object on the tape, with its holes, in place of its members; a path into it is refused; it is a
/// file for stock restore and in any directory that is no store.
#[test]
fn an_array_is_one_object_on_a_tape() {
    if !root() {
        return;
    }
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    store.dump("-0", "t.tap").text();
    let tape = store.beside("t.tap");
    let listed = names(&headstack(&["restore", "-t", "-f", &tape]).text());
    for (name, there) in [("arrays/r5.img", true), ("disks/d3.img", true), ("disks/d0.img", false)] {
        assert_eq!(listed.contains(&format!("./{name}")), there, "{name}: {listed:?}");
    }
    headstack(&["tape", "verify", "-f", &tape]).text();
    let found = store.remembering(&["tape", "find", "./arrays/r5.img"]).text();
    assert!(found.contains("arrays/r5.img"), "{found}");
    let out = store.out("out");
    for path in ["arrays/r5/etc/passwd", "r5/etc/passwd", "arrays/r5.img/etc/passwd"] {
        store
            .extract("t.tap", &out, &[path])
            .fails(66, &["arrays/r5.img is an array", "whole"]);
    }
    store.extract("t.tap", &out, &["arrays/r5.img"]).text();
    let file = Path::new(&out).join("arrays/r5.img");
    assert!(fs::read(&file).unwrap() == bytes, "as a file");
    let taken = fs::metadata(&file).unwrap().blocks() * 512;
    assert!(taken < 4 << 20, "holes stay: {taken} bytes are taken");
    let mut told = vec![0; 4096];
    let length = rustix::fs::getxattr(&file, "user.headstack.array", &mut told).unwrap_or(0);
    let told = String::from_utf8_lossy(&told[..length]);
    assert!(
        length == 0 || told.contains("level=raid5") && told.contains("members=3"),
        "{told}"
    );
    stock_restore_makes_a_file(&store, &bytes);
}

fn stock_restore_makes_a_file(store: &Store, bytes: &[u8]) {
    if Command::new("restore").arg("-V").output().is_err() {
        skip("peer restore (Debian package dump)");
        return;
    }
    let (flat, out) = (store.beside("t.dump"), store.out("stock"));
    store
        .remembering(&["dump", "-0", "--flat", "-f", &flat, &store.path()])
        .text();
    let mut restore = Command::new("restore");
    restore
        .args(["-r", "-f", &flat, "-T", &store.out("scratch")])
        .current_dir(&out);
    run(&mut restore, b"").text();
    assert!(
        fs::read(Path::new(&out).join("arrays/r5.img")).unwrap() == bytes,
        "by stock restore"
    );
    let compared = run(
        Command::new("restore")
            .args(["-C", "-f", &flat, "-D", &out])
            .current_dir(&out),
        b"",
    );
    // Its flags are those of a file of ext4, which an array has not.
    let differs = |line: &&str| line.contains("arrays") && !line.contains("flags changed");
    assert_eq!(compared.err.lines().find(differs), None);
}

/// D51, D52: restored at the root of a store an array is an array, which keeps the identity that it has there; in another
/// directory, for another format or an earlier release (D26) it is a file.
#[test]
fn an_array_is_restored_into_the_array_that_is_there() {
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    store.dump("-0", "t.tap").text();
    let before = store.facts("r5");
    assert!(store.write("r5", 77_777_777) != bytes);
    for more in [&["--classic"][..], &["--target-epoch", "1"]] {
        let words: Vec<&str> = more.iter().copied().chain(["arrays/r5.img"]).collect();
        store.extract("t.tap", &store.path(), &words).text();
        let file = store.file("arrays/r5.img");
        assert!(fs::read(&file).unwrap() == bytes, "{more:?}");
        if more.len() == 2 {
            assert!(
                rustix::fs::getxattr(&file, "user.headstack.array", &mut [0; 4096]).is_err(),
                "an earlier release does not know it"
            );
        }
        fs::remove_file(&file).unwrap();
        assert!(store.bytes_of("r5") != bytes, "{more:?}: the array is left alone");
    }
    store.extract("t.tap", &store.path(), &["arrays/r5.img"]).text();
    assert!(store.bytes_of("r5") == bytes, "the array");
    assert!(!store.file("arrays/r5.img").exists());
    assert_eq!(store.facts("r5")["uuid"], before["uuid"]);
    if let Some(mdadm) = peer("mdadm") {
        let examined = run(Command::new(mdadm).arg("--examine").arg(store.disk(0)), b"").text();
        let uuid = before["uuid"].as_str().unwrap();
        assert!(examined.contains(uuid) && examined.contains("raid5"), "{examined}");
    }
    let clean = headstack(&["array", "verify", "--json", "r5", "--in", &store.path()]).json();
    assert_eq!(clean["clean"], true, "{clean}");
}

/// D52: where there is no such array it is made of free disks, with its level, chunk and members; where there are too few,
/// what is needed is said.
#[test]
fn an_array_is_made_anew_of_free_disks() {
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    store.dump("-0", "t.tap").text();
    let few = Store::new(2);
    let tape = store.beside("t.tap");
    let restore = |into: &Store| store.extract("t.tap", &into.path(), &["arrays"]);
    let ran = restore(&few).ends(74);
    let words = [
        "there is no array r5",
        "RAID 5, 3 free disks",
        "the store has 2",
        "disk create",
    ];
    for word in words {
        assert!(ran.err.contains(word), "{word}: {ran:?} {tape}");
    }
    let new = Store::new(4);
    restore(&new).text();
    assert!(new.bytes_of("r5") == bytes, "the array made anew");
    let facts = new.facts("r5");
    assert_eq!(
        (&facts["level"], &facts["chunk_bytes"]),
        (&json!("raid5"), &json!(65536))
    );
    assert_ne!(facts["uuid"], store.facts("r5")["uuid"], "it is another array");
    // Onto the one that was made, by its name, while the controller runs.
    new.write("r5", 99_999_999);
    let controller = new.serve();
    restore(&new).text();
    drop(controller);
    assert!(new.bytes_of("r5") == bytes, "the array restored again");
}

/// D23, D25, D48: while an array is restored its clients are cut off and refused, and a dump leaves it to the next one;
/// then it is served again, to clients that read it anew.
#[test]
fn nobody_has_an_array_while_it_is_restored() {
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    let _controller = store.serve();
    store.wait_for("Normal");
    store.dump("-0", "t.tap").text();
    let restoring = connect(&store);
    let begun = super::answer(
        &restoring,
        &json!({"version": 1, "store": {"lend-array": {"name": "r5"}}}).to_string(),
    );
    assert!(begun["progress"].is_object(), "{begun}");
    let again = store.try_ask(json!({"lend-array": {"name": "r5"}}));
    assert!(
        again["failed"].to_string().contains("being restored already"),
        "{again}"
    );
    let served = || {
        let nbdinfo = peer("nbdinfo")?;
        Some(
            Command::new(nbdinfo)
                .arg("--size")
                .arg(store.uri("r5"))
                .output()
                .unwrap()
                .status
                .success(),
        )
    };
    assert_ne!(served(), Some(true), "it is refused");
    let taken = store.open("r5");
    let skipped = store.dump("-1", "t.tap").ends(74);
    assert!(
        skipped.err.contains("arrays/r5.img") && skipped.err.contains("left to the next dump"),
        "{skipped:?}"
    );
    let told = store.events();
    assert!(
        told.contains(&"LeftOut".to_owned()) && told.contains(&"Lent".to_owned()),
        "{told:?}"
    );
    let mut changed = bytes.clone();
    changed[..4096].fill(0xAB);
    taken.write_at(&changed[..4096], 0, true).unwrap();
    taken.stop(now()).unwrap();
    drop((taken, restoring));
    wait_until("the array is served again", || {
        headstack(&["status", &store.path(), "--json"]).json()["arrays"][0]["state"] == "Normal"
            && served() != Some(false)
    });
    store.dump("-2", "t.tap").text();
    let out = store.out("out");
    store.extract("t.tap", &out, &["-s", "3", "arrays/r5.img"]).text();
    assert!(
        fs::read(Path::new(&out).join("arrays/r5.img")).unwrap() == changed,
        "the next dump has it"
    );
    let file = store.beside("copy");
    store.extract("t.tap", &store.path(), &["arrays/r5.img"]).text();
    if let Some(nbdcopy) = peer("nbdcopy") {
        run(Command::new(nbdcopy).arg(store.uri("r5")).arg(&file), b"").text();
        assert!(fs::read(file).unwrap() == bytes, "what clients read after the restore");
    }
}

/// D22: an array that lost too many disks is left out, which is told as a warning, and the next increment takes it.
#[test]
fn a_disabled_array_is_left_to_the_next_dump() {
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    let _controller = store.serve();
    store.wait_for("Normal");
    store.on_disk("pull", 0);
    store.wait_for("Critical – missing disk");
    let degraded = store.dump("-0", "first.tap");
    assert!(degraded.err.contains("read without 1 of its members"), "{degraded:?}");
    let out = store.out("first");
    store.extract("first.tap", &out, &["arrays/r5.img"]).text();
    assert!(
        fs::read(Path::new(&out).join("arrays/r5.img")).unwrap() == bytes,
        "degraded"
    );
    store.on_disk("pull", 1);
    store.wait_for("Disabled");
    let skipped = store.dump("-0", "t.tap").ends(74);
    assert!(skipped.err.contains("left to the next dump"), "{skipped:?}");
    let warnings = headstack(&["event", "download", "--json", "--store", &store.path()]).json();
    let warnings = warnings["events"].as_array().unwrap().iter();
    assert!(
        warnings
            .clone()
            .any(|event| event["event"] == "LeftOut" && event["level"] == "warning"),
        "{:?}",
        warnings.collect::<Vec<_>>()
    );
    store.on_disk("insert", 1);
    store.on_disk("insert", 0);
    store.wait_for("Normal");
    store.dump("-1", "t.tap").text();
    let out = store.out("out");
    store.extract("t.tap", &out, &["-s", "2", "arrays/r5.img"]).text();
    assert!(
        fs::read(Path::new(&out).join("arrays/r5.img")).unwrap() == bytes,
        "the increment"
    );
}

/// D08, D19: what a dump reads of an array that is served is a moment of it, whatever its clients write meanwhile.
#[test]
fn a_dump_reads_a_moment_while_clients_write() {
    let Some(nbdcopy) = peer("nbdcopy") else { return };
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    let _controller = store.serve();
    store.wait_for("Normal");
    let reading = connect(&store);
    let freeze = json!({"version": 1, "store": {"freeze-array": {"name": "r5", "moment": "m"}}});
    assert!(super::answer(&reading, &freeze.to_string())["progress"].is_object());
    let refused = store.try_ask(json!({"lend-array": {"name": "r5"}}))["failed"].to_string();
    assert!(refused.contains("a dump reads array"), "{refused}");
    let file = store.beside("new");
    fs::write(&file, vec![0xEE; 2 << 20]).unwrap();
    run(Command::new(nbdcopy).args(["--flush", &file, &store.uri("r5")]), b"").text();
    let read = |offset: u64| {
        store.try_ask(json!({"read-array": {"moment": "m", "offset_bytes": offset, "length_bytes": 4096}}))
    };
    for offset in [0_usize, 1 << 20, 3 << 20] {
        let answer = read(offset as u64)["done"].take();
        let found = data_encoding::BASE64
            .decode(answer["bytes"].as_str().unwrap().as_bytes())
            .unwrap();
        let next = usize::try_from(answer["next_bytes"].as_u64().unwrap()).unwrap();
        assert!(
            next >= offset && bytes[offset..next].iter().all(|byte| *byte == 0),
            "{offset}: a hole"
        );
        assert!(found == bytes[next..next + 4096], "{offset}: the moment");
    }
    drop(reading);
    wait_until("the moment ends", || read(0)["failed"].is_object());
    store.dump("-0", "t.tap").text();
    let out = store.out("out");
    store.extract("t.tap", &out, &["arrays/r5.img"]).text();
    let dumped = fs::read(Path::new(&out).join("arrays/r5.img")).unwrap();
    assert!(dumped[..2 << 20].iter().all(|byte| *byte == 0xEE) && dumped[2 << 20..] == bytes[2 << 20..]);
}

/// D19, D33, D52: a chain of dumps goes back into a store in its order; an array that did not change is on no increment, and one
/// that was deleted stays where it was restored, which is told.
#[test]
fn a_chain_with_an_array_goes_back_into_a_store() {
    let store = sparse();
    let first = store.write("r5", 2_654_435_761);
    let tape = store.beside("t.tap");
    let dump = |level: &str| {
        store.dump(level, "t.tap").text();
        let path = store.root.path().join("dumps/dumpdates.json");
        let text = fs::read_to_string(&path).unwrap();
        // What changed in the second of the dump before it is taken again: here only what follows it.
        let later = |line: &str| match line.trim().strip_prefix("\"since_s\": ") {
            Some(number) => {
                let seconds: i64 = number.trim_end_matches(',').parse().unwrap();
                format!("\"since_s\": {},", seconds + 2)
            }
            None => line.to_owned(),
        };
        fs::write(path, text.lines().map(later).collect::<Vec<_>>().join("\n")).unwrap();
    };
    dump("-0");
    dump("-1");
    let listed = |number: &str| names(&headstack(&["restore", "-t", "-s", number, "-f", &tape]).text());
    assert!(listed("1").contains(&"./arrays/r5.img".to_owned()));
    let out = store.out("out");
    store.extract("t.tap", &out, &["-s", "2", "arrays"]).text();
    assert!(!Path::new(&out).join("arrays/r5.img").exists(), "it did not change");
    let target = sparse();
    let restore = |number: &str| {
        headstack(&[
            "restore",
            "-r",
            "--force",
            "-s",
            number,
            "-f",
            &tape,
            "-D",
            &target.path(),
        ])
    };
    restore("1").text();
    assert!(target.bytes_of("r5") == first, "level 0");
    restore("2").text();
    let second = store.write("r5", 77_777_777);
    let touched = |name: &str| {
        let file = fs::File::options().write(true).open(name).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(9))
            .unwrap();
    };
    touched(&store.disk(0));
    fs::write(store.file("disks/plain"), "goes").unwrap();
    dump("-2");
    restore("3").text();
    assert!(target.bytes_of("r5") == second, "level 2");
    // What is gone is told of, before and after; a file goes, an array stays.
    headstack(&["array", "delete", "r5", "--yes", "--in", &store.path()]).text();
    fs::remove_file(store.file("disks/plain")).unwrap();
    dump("-3");
    let planned = [
        "restore",
        "-r",
        "--dry-run",
        "--json",
        "-s",
        "4",
        "-f",
        &tape,
        "-D",
        &target.path(),
    ];
    let planned = headstack(&planned).ends(0);
    let told: Vec<&str> = planned
        .err
        .lines()
        .filter(|line| line.contains("would be removed"))
        .collect();
    let named = |path: &str| told.iter().any(|line| line.contains(path));
    assert!(named("disks/plain: is gone") && !named("r5.img"), "{planned:?}");
    assert!(target.file("disks/plain").exists());
    // Its disks, which hold nothing now, do not go over those of the array that is there.
    let restored = restore("4").ends(74);
    for told in [
        "arrays/r5.img: is gone from the dump, and its array stays",
        "disks/d0.img: is part of an array here",
    ] {
        assert!(restored.err.contains(told), "{restored:?}");
    }
    assert!(!target.file("disks/plain").exists());
    assert!(target.bytes_of("r5") == second, "nobody deletes an array silently");
}

/// D20: a clone, an overlay beside the disks, is an array of its own on the tape and where it is restored.
#[test]
fn a_clone_becomes_an_array_of_its_own() {
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    let directory: Arc<dyn Directory> = Arc::new(HostDirectory::open(&store.file("disks")).unwrap());
    let overlay = Image {
        directory,
        name: "twin.overlay".into(),
    };
    let clone = open_over(&store.members_of("r5"), Assembly::default(), &overlay).unwrap();
    clone.write_at(&[0xC1; 8192], 4096, true).unwrap();
    clone.stop(now()).unwrap();
    drop(clone);
    let mut changed = bytes.clone();
    changed[4096..12288].fill(0xC1);
    let told = store.dump("-0", "t.tap");
    assert!(told.err.contains("is a clone of array r5"), "{told:?}");
    told.ends(0);
    let tape = store.beside("t.tap");
    let listed = names(&headstack(&["restore", "-t", "-f", &tape]).text());
    assert!(!listed.iter().any(|name| name.contains("overlay")), "{listed:?}");
    let new = Store::new(6);
    store.extract("t.tap", &new.path(), &["arrays"]).text();
    assert!(new.bytes_of("r5") == bytes, "the array");
    assert!(new.bytes_of("twin") == changed, "its clone");
    assert_ne!(new.facts("r5")["uuid"], new.facts("twin")["uuid"]);
}

/// D21, D26, D53: how a file is aligned goes with it; a target that says how its own files are aligned says so of those that
/// come, and an earlier release knows nothing of it.
#[test]
fn alignment_goes_with_a_file_or_is_that_of_the_target() {
    let store = Store::new(0);
    let tree = store.out("tree");
    let file = Path::new(&tree).join("machine.img");
    fs::write(&file, vec![7; 10_000]).unwrap();
    let align = |path: &Path, value: &str| {
        rustix::fs::setxattr(
            path,
            "user.headstack.align",
            value.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
    };
    align(&file, "4096");
    let tape = store.beside("t.tap");
    store.remembering(&["dump", "-0", "-f", &tape, &tree]).text();
    let aligned = store.out("aligned");
    align(Path::new(&aligned), "512");
    for (into, more, expected) in [
        (store.out("plain"), &[][..], Some("4096")),
        (store.out("old"), &["--target-epoch", "1"][..], None),
        (aligned, &[], Some("512")),
    ] {
        let words: Vec<&str> = more.iter().copied().chain(["machine.img"]).collect();
        store.extract("t.tap", &into, &words).text();
        let mut value = vec![0; 64];
        let length = rustix::fs::getxattr(Path::new(&into).join("machine.img"), "user.headstack.align", &mut value);
        let found = length
            .ok()
            .map(|length| String::from_utf8_lossy(&value[..length]).into_owned());
        assert_eq!(found.as_deref(), expected, "{into}");
    }
}

/// D19, D51: compared with a store, an array on a tape is held against the array: its bytes, its length, what it is and what it
/// is called; one that is not there or cannot be read is told, with the code that is meant for that.
#[test]
fn arrays_are_compared_as_what_they_are() {
    let store = sparse();
    let bytes = store.write("r5", 2_654_435_761);
    store.dump("-0", "t.tap").text();
    let tape = store.beside("t.tap");
    let compare = |into: &Store| headstack(&["restore", "-C", "-f", &tape, "-D", &into.path()]);
    let told = |into: &Store, code: i32, words: &[&str]| {
        let ran = compare(into).ends(code);
        let of_arrays: Vec<&str> = ran.err.lines().filter(|line| line.contains("arrays")).collect();
        assert_eq!(of_arrays.len(), words.len(), "{ran:?}");
        for word in words {
            assert!(of_arrays.iter().any(|line| line.contains(word)), "{word}: {ran:?}");
        }
    };
    told(&store, 0, &[]);
    let controller = store.serve();
    store.wait_for("Normal");
    told(&store, 1, &[]);
    drop(controller);
    store.extract("t.tap", &store.path(), &["arrays/r5.img"]).text();
    told(&store, 1, &[]);
    let array = store.open("r5");
    array.write_at(&[0x55; 512], 2 << 20, true).unwrap();
    array.stop(now()).unwrap();
    drop(array);
    told(
        &store,
        1,
        &["arrays/r5.img: has other data than the tape, at or behind byte"],
    );
    let disks = [0, 1, 2].map(|number| store.disk(number));
    headstack(&["array", "rename", "r5", "other", "--in", &store.path()]).text();
    told(&store, 1, &["has other data", "is called other here"]);
    for disk in &disks[..2] {
        fs::rename(disk, format!("{disk}.away")).unwrap();
    }
    told(&store, 74, &["is called other here", "cannot be compared"]);
    told(&Store::new(0), 1, &["arrays/r5.img: is not there"]);

    let small = Store::new(0);
    let (a, b) = (small.disk(0), small.disk(1));
    headstack(&["disk", "create", "--size", "4M", &a, &b]).text();
    headstack(&["array", "create", "r5", "--level", "1", &a, &b]).text();
    let size = format!("bytes, on the tape {}", bytes.len());
    told(
        &small,
        1,
        &["is an array of level 1, 2 members", &size, "has other data"],
    );
}
