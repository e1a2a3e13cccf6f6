//! `dump`, `restore`, `tape` and `dumpdates` as their users meet them.
//!
//! What the tapes hold is held against stock programs in `dump`; here it is words, codes and what is remembered.

use std::{fs, path::Path, process::Command};

use super::{HEADSTACK, Place, Ran, headstack, run};
use crate::peer::top;

/// A place with a small tree, whose state is kept beside it.
pub(super) struct Reels {
    pub(super) place: Place,
    pub(super) tree: String,
    pub(super) tape: String,
    pub(super) state: String,
}

impl Reels {
    pub(super) fn new() -> Self {
        let place = Place::new();
        let tree = place.at("tree");
        fs::create_dir_all(Path::new(&tree).join("a/b")).unwrap();
        fs::write(Path::new(&tree).join("a/b/deep"), "deep\n").unwrap();
        fs::write(Path::new(&tree).join("top"), vec![7; 300_000]).unwrap();
        fs::hard_link(Path::new(&tree).join("top"), Path::new(&tree).join("a/link")).unwrap();
        let (tape, state) = (place.at("t.tap"), place.at("state"));
        Self {
            place,
            tree,
            tape,
            state,
        }
    }

    /// Runs a verb that remembers.
    pub(super) fn run(&self, words: &[&str]) -> Ran {
        let mut all = words.to_vec();
        all.extend(["--state", &self.state]);
        headstack(&all)
    }

    pub(super) fn dump(&self, level: &str) -> Ran {
        self.run(&["dump", level, "-u", "-f", &self.tape, &self.tree, "--json"])
    }

    pub(super) fn out(&self, name: &str) -> String {
        let out = self.place.at(name);
        fs::create_dir_all(&out).unwrap();
        out
    }
}

/// Names and contents of a tree.
pub(super) fn contents(tree: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(tree).to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(tree).unwrap().to_string_lossy().into_owned();
            if name == "restoresymtable" {
                continue;
            }
            if path.is_dir() {
                found.push((name, Vec::new()));
                open.push(path);
            } else {
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// D01, D05: a full dump and an increment behind it on one tape, listed, compared and brought back.
#[test]
fn a_chain_on_one_tape_comes_back() {
    let reels = Reels::new();
    let full = reels.dump("-0").json();
    assert_eq!(
        (&full["level"], &full["base"], &full["troubles"]),
        (&0.into(), &serde_json::Value::Null, &0.into())
    );
    let before = contents(&reels.tree);
    fs::rename(Path::new(&reels.tree).join("a/b"), Path::new(&reels.tree).join("moved")).unwrap();
    fs::remove_file(Path::new(&reels.tree).join("a/link")).unwrap();
    fs::write(Path::new(&reels.tree).join("new"), "new\n").unwrap();
    let increment = reels.dump("-1").json();
    assert_eq!(increment["base"], full["date"]);

    let files = reels.run(&["tape", "ls", &reels.tape, "--json"]).json();
    let levels: Vec<_> = files["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["level"].clone(), file["label"].clone()))
        .collect();
    let none = serde_json::Value::Null;
    let expected = [
        (0.into(), "none".into()),
        (1.into(), "none".into()),
        (none, "catalogue".into()),
    ];
    assert_eq!(levels, expected);
    let tape = reels.tape.as_str();
    let listed = headstack(&["restore", "-t", "-H", "-f", tape]).text();
    for path in [".", "./a/b/deep", "./a/link", "./top"] {
        assert!(
            listed.lines().any(|line| line.split('\t').nth(1) == Some(path)),
            "{path} in {listed}"
        );
    }
    let out = reels.out("out");
    headstack(&["restore", "-r", "-f", tape, "-D", &out]).text();
    assert_eq!(contents(&out), before);
    headstack(&["restore", "-r", "-s", "2", "-f", tape, "-D", &out]).text();
    assert_eq!(contents(&out), contents(&reels.tree));
    headstack(&["restore", "-r", "-s", "2", "-f", tape, "-D", &out]).fails(78, &["not the last one restored"]);

    headstack(&["restore", "-C", "-s", "2", "-f", tape, "-D", &reels.tree]).text();
    fs::write(Path::new(&reels.tree).join("new"), "other\n").unwrap();
    let differs = headstack(&["restore", "-C", "-s", "2", "-f", tape, "-D", &reels.tree]);
    assert!(differs.code == 1 && differs.err.contains("new: "), "{differs:?}");
    let one = reels.out("one");
    headstack(&["restore", "-x", "-f", tape, "-D", &one, "./a/b"]).text();
    assert_eq!(contents(&one).len(), 3);
    let absent = headstack(&["restore", "-x", "-f", tape, "-D", &one, "absent"]);
    assert!(
        absent.code == 74 && absent.err.contains("absent: is not on the tape"),
        "{absent:?}"
    );
}

/// D29, D32, D35: levels and blocking factors have their ranges, and an increment needs a base.
#[test]
fn what_cannot_be_dumped_is_refused() {
    let reels = Reels::new();
    let (tape, tree) = (reels.tape.as_str(), reels.tree.as_str());
    reels.dump("-1").fails(78, &["level 1", "lower level"]);
    reels
        .run(&["dump", "--level", "32", "-f", tape, tree])
        .fails(64, &["level 32"]);
    for factor in ["3", "257"] {
        reels
            .run(&["dump", "-b", factor, "-f", tape, tree])
            .fails(64, &["blocking factor", factor]);
    }
    reels
        .run(&["dump", "-0", "-f", tape, &reels.place.at("absent")])
        .fails(66, &["absent"]);
    assert!(!Path::new(tape).exists(), "nothing was refused too late");
    headstack(&["restore", "-t", "-f", tape]).fails(66, &["t.tap"]);
    fs::write(tape, "no tape at all, but some text that is long enough").unwrap();
    headstack(&["restore", "-t", "-f", tape]).fails(65, &["no dump here"]);
    reels.dump("-0").fails(73, &["t.tap"]);
    headstack(&["restore", "-r", "-x", "-f", tape]).ends(64);
}

/// What is no tape is told by what it is, and a tape file that is not there by its number.
#[test]
fn what_is_no_tape_is_named() {
    let reels = Reels::new();
    reels.dump("-0").json();
    let tape = reels.tape.as_str();
    headstack(&["restore", "-t", "-s", "9", "-f", tape]).fails(66, &["t.tap: there is no tape file 9", "tape ls"]);
    for words in [
        &["dump", "-0", "-f", "-", &reels.tree][..],
        &["restore", "-t", "-f", "-"],
    ] {
        reels.run(words).fails(64, &["-: a tape is a file", "./-"]);
    }
    let link = reels.place.at("link.tap");
    std::os::unix::fs::symlink(tape, &link).unwrap();
    headstack(&["restore", "-t", "-f", &link]).fails(74, &["link.tap", "a symlink is not followed"]);
    headstack(&["restore", "-t", "-f", &reels.tree]).fails(74, &["tree", "the path of a file"]);
    headstack(&["restore", "-t", "-f", "/dev/null"]).fails(74, &["null", "a regular file"]);
    // The working directory needs no name.
    let here = Path::new(tape).parent().unwrap();
    let told = run(
        Command::new(HEADSTACK)
            .current_dir(here)
            .args(["restore", "-t", "-f", "absent.tap"]),
        b"",
    );
    assert!(
        told.err
            .starts_with("headstack: volume 1 of the set is missing: absent.tap"),
        "{told:?}"
    );
}

/// D55: a chain is remembered by its dumps, and forgotten when asked.
#[test]
fn dumps_are_remembered_and_forgotten() {
    let reels = Reels::new();
    for level in ["-0", "-2", "-1"] {
        reels.dump(level).json();
    }
    let listed = reels.run(&["dumpdates", "ls", "--json"]).json();
    let dumps = listed["dumps"].as_array().unwrap();
    let levels: Vec<_> = dumps.iter().map(|dump| dump["level"].clone()).collect();
    assert_eq!(levels, [0, 1, 2]);
    assert_eq!(dumps[0]["base"], serde_json::Value::Null);
    assert_eq!(
        (&dumps[1]["base"], &dumps[2]["base"]),
        (&dumps[0]["date"], &dumps[0]["date"])
    );
    reels.run(&["dumpdates", "rm", &reels.tree]).fails(78, &["3 dumps"]);
    reels
        .run(&["dumpdates", "rm", &reels.tree, "--yes", "--level", "1"])
        .text();
    reels
        .run(&["dumpdates", "rm", &reels.tree, "--yes", "--level", "1"])
        .fails(66, &["no such dump"]);
    reels.run(&["dumpdates", "rm", &reels.tree, "--yes"]).text();
    reels.dump("-1").fails(78, &["level 1"]);
}

#[test]
fn a_tape_keeps_its_place_and_its_protection() {
    let reels = Reels::new();
    let tape = reels.tape.as_str();
    reels.run(&["tape", "create", tape]).text();
    reels.run(&["tape", "create", tape]).fails(73, &["t.tap"]);
    reels.dump("-0").json();
    reels.dump("-1").json();
    let file = |reels: &Reels| reels.run(&["tape", "status", tape, "--json"]).json()["file"].clone();
    assert_eq!(file(&reels), 0);
    reels.run(&["tape", "fsf", tape]).text();
    assert_eq!(file(&reels), 1);
    reels.run(&["tape", "fsf", tape, "7"]).fails(66, &["ends after 3 of 7"]);
    reels.run(&["tape", "eod", tape]).text();
    assert_eq!(file(&reels), 3, "two dumps and their catalogue");
    reels.run(&["tape", "bsf", tape]).text();
    assert_eq!(file(&reels), 2);
    reels.run(&["tape", "rewind", tape]).text();
    reels.run(&["tape", "fsf", tape]).text();
    reels.run(&["tape", "protect", tape]).text();
    reels.dump("-2").fails(77, &["write-protected"]);
    reels
        .run(&["tape", "erase", tape, "--yes"])
        .fails(77, &["write-protected"]);
    reels.run(&["tape", "protect", tape, "--off"]).text();
    reels.run(&["tape", "erase", tape]).fails(78, &["would be erased"]);
    reels.run(&["tape", "erase", tape, "--yes"]).text();
    let files = reels.run(&["tape", "ls", tape, "--json"]).json();
    assert_eq!(files["files"].as_array().unwrap().len(), 1, "the second dump is gone");
    headstack(&["tape", "verify", "-f", tape]).text();
}

/// A dump whose tapes are full goes on when it gets another one, as it is advised.
#[test]
fn a_dump_without_a_tape_left_goes_on_with_another() {
    let reels = Reels::new();
    let [first, second] = ["v1.tap", "v2.tap"].map(|name| reels.place.at(name));
    let sizes = ["--capacity", "200K", "--early-warning", "32K"];
    reels
        .run(&[&["tape", "create", &first], sizes.as_slice()].concat())
        .text();
    let stopped = reels.run(&["dump", "-0", "-f", &first, &reels.tree]);
    let told = stopped.fails(66, &["volume 2 of the set is missing", "-f TAPE"]);
    let id = told
        .split_whitespace()
        .skip_while(|word| *word != "resume")
        .nth(1)
        .unwrap();
    let elsewhere = format!("{}/v2.tap", reels.tree);
    reels
        .run(&["context", "resume", id, "-f", &elsewhere])
        .fails(64, &["lie in one directory"]);
    reels.run(&["context", "resume", id, "-f", &second]).text();
    let out = reels.out("out");
    headstack(&["restore", "-r", "-f", &first, "-f", &second, "-D", &out]).text();
    assert_eq!(contents(&out), contents(&reels.tree));
}

#[test]
fn a_full_tape_is_followed_by_the_next_volume() {
    let reels = Reels::new();
    let volumes: Vec<String> = (1..=3)
        .map(|number| reels.place.at(&format!("v{number}.tap")))
        .collect();
    reels
        .run(&[
            "tape",
            "create",
            &volumes[0],
            "--capacity",
            "200K",
            "--early-warning",
            "32K",
        ])
        .text();
    let set: Vec<&str> = volumes.iter().flat_map(|volume| ["-f", volume]).collect();
    let told = reels
        .run(&[&["dump", "-0", "--json", &reels.tree], set.as_slice()].concat())
        .json();
    assert_eq!(told["volumes"], 2);
    let out = reels.out("out");
    headstack(&[&["restore", "-r", "-D", &out], &set[..4]].concat()).text();
    assert_eq!(contents(&out), contents(&reels.tree));
    headstack(&[&["tape", "verify"], &set[..4]].concat()).text();
    let short = headstack(&["tape", "verify", "-f", &volumes[0]]);
    assert!(
        short.code == 65 && short.err.contains("ends before the dump does"),
        "{short:?}"
    );
    let one = reels.run(&["dump", "-0", &reels.tree, "-f", &volumes[0]]);
    one.fails(66, &["volume 2"]);
}

/// D65: a stream of stock dump becomes a tape file and a stream again, byte for byte; damage in it is told.
#[test]
fn streams_are_imported_and_exported_without_loss() {
    let reels = Reels::new();
    let golden = top().join("images/tape/little-dump-0.4b47/level0.dump");
    let golden = golden.to_str().unwrap();
    reels.run(&["tape", "import", golden, &reels.tape]).text();
    reels.dump("-0").json();
    let back = reels.place.at("back.dump");
    reels.run(&["tape", "export", &reels.tape, &back]).text();
    assert_eq!(fs::read(&back).unwrap(), fs::read(golden).unwrap());
    reels
        .run(&["tape", "export", &reels.tape, &back])
        .fails(73, &["back.dump"]);
    headstack(&["tape", "verify", "-f", &back]).text();
    headstack(&["tape", "verify", "-f", &reels.tape, "-s", "2"]).text();
    let mut bytes = fs::read(&back).unwrap();
    bytes[200 * 1024..210 * 1024].fill(0);
    fs::write(&back, bytes).unwrap();
    let damaged = headstack(&["tape", "verify", "-f", &back, "--json"]).ends(65);
    let told = damaged.document();
    let found = told["damaged"].as_array().unwrap();
    assert!(!found.is_empty(), "{told}");
}

/// A damaged tape gives what is left of it, with a list of what is not: code 74, and 65 from a verification.
#[test]
fn a_damaged_tape_is_salvaged() {
    let reels = Reels::new();
    reels.dump("-0").json();
    let mut bytes = fs::read(&reels.tape).unwrap();
    // One byte in the middle of the file of 300,000 bytes.
    let at = bytes.len() - 150_000;
    bytes[at] ^= 1;
    fs::write(&reels.tape, bytes).unwrap();
    let tape = reels.tape.as_str();
    let verified = headstack(&["tape", "verify", "-f", tape, "--json"]).ends(65).document();
    let out = reels.out("out");
    let salvaged = headstack(&["tape", "salvage", "-f", tape, "-D", &out, "--json"]).ends(74);
    assert!(salvaged.err.contains("bytes 0 to 299999 are lost"), "{salvaged:?}");
    let lost = &salvaged.document()["lost"];
    assert_eq!(*lost, serde_json::json!([{"path": "top", "ranges": [[0, 300_000]]}]));
    assert_eq!(*lost, verified["lost"]);
    assert_eq!(fs::read(Path::new(&out).join("a/b/deep")).unwrap(), b"deep\n");
    assert_eq!(fs::metadata(Path::new(&out).join("top")).unwrap().len(), 300_000);
    headstack(&["restore", "-r", "-f", tape, "-D", &reels.out("again")]).ends(74);
}

/// What was noted of tapes is found without them, and by it single files come back; a dump notes itself, and reading the tape
/// notes the same.
#[test]
fn files_are_found_in_the_catalogue() {
    let reels = Reels::new();
    reels.dump("-0").json();
    fs::write(Path::new(&reels.tree).join("new"), "new\n").unwrap();
    reels.dump("-1").json();
    let tape = reels.tape.as_str();
    let by_itself = reels.run(&["tape", "history", "--json"]).json();
    fs::remove_dir_all(&reels.state).unwrap();
    reels.run(&["tape", "find", "deep"]).fails(66, &["deep", "no dump"]);
    let noted = reels.run(&["tape", "catalogue", "-f", tape, "--json"]).json();
    assert_eq!(noted["objects"], 5);
    reels.run(&["tape", "catalogue", "-f", tape, "-s", "2"]).text();
    let history = reels.run(&["tape", "history", "--json"]).json();
    assert_eq!(history, by_itself);
    let dumps = history["dumps"].as_array().unwrap();
    let facts: Vec<_> = dumps
        .iter()
        .map(|dump| (&dump["level"], &dump["file"], &dump["path"]))
        .collect();
    let tree = serde_json::Value::from(reels.tree.as_str());
    assert_eq!(facts, [(&0.into(), &1.into(), &tree), (&1.into(), &2.into(), &tree)]);
    fs::rename(tape, reels.place.at("away")).unwrap();
    let found = |text: &str| -> Vec<(serde_json::Value, serde_json::Value)> {
        let found = reels.run(&["tape", "find", text, "--json"]).json();
        let rows = found["found"].as_array().unwrap().iter();
        rows.map(|row| (row["file"].clone(), row["path"].clone())).collect()
    };
    // What changed in the second of the base is on the increment too.
    assert_eq!(found("deep")[0], (1.into(), "./a/b/deep".into()));
    assert_eq!(found("./new"), [(2.into(), "./new".into())]);
    let inside: Vec<_> = found("./a/b").into_iter().filter(|(file, _)| *file == 1).collect();
    assert_eq!(inside.len(), 2);
    fs::rename(reels.place.at("away"), tape).unwrap();
    let out = reels.out("out");
    reels.run(&["restore", "-x", "-f", tape, "-D", &out, "a/b/deep"]).text();
    assert_eq!(contents(&out).len(), 3);
}

/// A tape is mounted by a daemon, looked into with other programs, and taken off; it is noted in the catalogue on the way.
#[test]
fn a_tape_is_mounted() {
    if !Path::new("/dev/fuse").exists() {
        return crate::peer::skip("/dev/fuse");
    }
    let reels = Reels::new();
    reels.dump("-0").json();
    fs::write(Path::new(&reels.tree).join("new"), "new").unwrap();
    reels.dump("-1").json();
    let (point, second) = (reels.out("point"), reels.out("second"));
    let told = reels
        .run(&["tape", "mount", "-f", &reels.tape, &point, "--json"])
        .json();
    assert_eq!(told["mount_point"], point.as_str());
    reels
        .run(&["tape", "mount", "-f", &reels.tape, "-s", "2", &second])
        .text();
    fs::remove_file(Path::new(&reels.tree).join("new")).unwrap();
    assert_eq!(contents(&point), contents(&reels.tree));
    assert!(contents(&second).contains(&("new".to_owned(), b"new".to_vec())));
    let noted = reels.run(&["tape", "history", "--json"]).json();
    assert_eq!(noted["dumps"].as_array().unwrap().len(), 2);
    for point in [&point, &second] {
        headstack(&["umount", point]).ends(0);
        assert_eq!(fs::read_dir(point).unwrap().count(), 0);
    }
    reels
        .run(&["tape", "mount", "-f", &reels.tape, "-s", "9", &point])
        .ends(66);
    let file = reels.place.at("tree/top");
    reels.run(&["tape", "mount", "-f", &file, &point]).ends(65);
}
