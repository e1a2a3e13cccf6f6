//! Dumps of mounted databases: from a snapshot that the dump makes, holds and removes, while others go on appending.
//!
//! The mount is served by this process, the dumps are those of the real binary.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use headstack::{
    dump::{context::Contexts, tree::Tree, writer::dump},
    storage::{Directory as _, HostDirectory},
    tape::{Container, Volumes},
};
use serde_json::Value;

use super::{Place, restart::dates, root};
use crate::mount::fixture::{Mount, appender, records};

/// Runs the binary with the state of a place.
fn headstack(place: &Place, words: &[&str]) -> Output {
    command(place, words).output().unwrap()
}

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headstack"));
    command.args(words).arg("--state").arg(place.path("state"));
    command.env_remove("RUST_LOG").env("HEADSTACK_MEM", "64G");
    command
}

#[track_caller]
fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(output: &Output, code: i32, named: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(code) && told.contains(named) && told.contains("try "),
        "{output:?}"
    );
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Names of the snapshots in a mount.
fn snapshots(mount: &Mount) -> Vec<String> {
    let entries = fs::read_dir(mount.path(".snapshot")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn restored(place: &Place, tape: &Path, out: &Path) {
    fs::create_dir_all(out).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_headstack"))
        .args(["restore", "-r", "-f"])
        .arg(tape)
        .arg("-D")
        .arg(out)
        .env("XDG_STATE_HOME", place.path("state"))
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// D02, D04, D08: a mounted tree is dumped from a snapshot that is gone afterwards, under live appends, so that what
/// comes back is a prefix; a series alone is a group, and what is in it a subtree.
#[test]
fn a_mounted_tree_is_dumped_while_it_grows() {
    if !root() {
        return;
    }
    let (place, mount) = (Place::new(), Mount::in_memory());
    let series = mount.series("t");
    appender(&series.join("raw")).write_all(&records(0..5000)).unwrap();
    let stop = AtomicBool::new(false);
    let before = fs::read(series.join("raw")).unwrap();
    let tape = place.path("tapes/t.tap");
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut raw = appender(&series.join("raw"));
            for at in 5000.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                raw.write_all(&records(at..at + 1)).unwrap();
            }
        });
        let output = headstack(
            &place,
            &["dump", "-0", "-u", "--json", "-f", &text(&tape), &text(&mount.point())],
        );
        stop.store(true, Ordering::Relaxed);
        done(&output)
    });
    assert_eq!((&told["scope"], &told["troubles"]), (&"store".into(), &0.into()));
    assert_eq!(snapshots(&mount), Vec::<String>::new());
    let out = place.path("out");
    restored(&place, &tape, &out);
    let back = fs::read(out.join("t/raw")).unwrap();
    let live = fs::read(series.join("raw")).unwrap();
    assert!(
        back.len() >= before.len() && live.starts_with(&back) && back.len() % 16 == 0,
        "{}",
        back.len()
    );
    let names: Vec<_> = fs::read_dir(out.join("t"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        names.len(),
        2,
        "raw and meta, and nothing that is made of them: {names:?}"
    );
    for (path, scope) in [("t", "group"), ("varlen", "group"), (".snapshot/keep/t", "subtree")] {
        if scope == "subtree" {
            fs::create_dir(mount.path(".snapshot/keep")).unwrap();
        }
        let told = done(&headstack(
            &place,
            &["dump", "-0", "--json", "-f", &text(&tape), &text(&mount.path(path))],
        ));
        assert_eq!(told["scope"], scope, "{path}");
    }
    // The increment finds the series by the number that it had, and takes it whole.
    appender(&series.join("raw"))
        .write_all(&records(9_000_000..9_000_010))
        .unwrap();
    let second = place.path("tapes/second.tap");
    done(&headstack(
        &place,
        &[
            "dump",
            "-1",
            "-u",
            "--json",
            "-f",
            &text(&second),
            &text(&mount.point()),
        ],
    ));
    restored(&place, &second, &out);
    assert_eq!(
        fs::read(out.join("t/raw")).unwrap(),
        fs::read(series.join("raw")).unwrap()
    );
}

/// D11: of a snapshot that is named, or that the tree is in, no other is made, and it stays.
#[test]
fn a_named_snapshot_is_dumped_and_stays() {
    if !root() {
        return;
    }
    let (place, mount) = (Place::new(), Mount::in_memory());
    let series = mount.series("t");
    appender(&series.join("raw")).write_all(&records(0..10)).unwrap();
    fs::create_dir(mount.path(".snapshot/monday")).unwrap();
    appender(&series.join("raw")).write_all(&records(10..20)).unwrap();
    let tape = text(&place.path("tapes/t.tap"));
    let point = text(&mount.point());
    done(&headstack(
        &place,
        &["dump", "-0", "--json", "--snapshot", "monday", "-f", &tape, &point],
    ));
    assert_eq!(snapshots(&mount), ["monday"]);
    restored(&place, Path::new(&tape), &place.path("out"));
    assert_eq!(fs::read(place.path("out/t/raw")).unwrap(), records(0..10));
    let inside = text(&mount.path(".snapshot/monday"));
    done(&headstack(&place, &["dump", "-0", "--json", "-f", &tape, &inside]));
    assert_eq!(snapshots(&mount), ["monday"]);
    fs::remove_dir(mount.path(".snapshot/monday")).unwrap();
    fails(
        &headstack(&place, &["dump", "-0", "--snapshot", "friday", "-f", &tape, &point]),
        66,
        "friday",
    );
    let plain = text(&place.path("tree"));
    fails(
        &headstack(&place, &["dump", "-0", "--snapshot", "friday", "-f", &tape, &plain]),
        64,
        "no mount",
    );
}

/// A dump of the mount that is killed once it writes files.
fn killed(place: &Place, mount: &Mount, tape: &Path, options: &[&str]) {
    let (file, tree) = (text(tape), text(&mount.point()));
    let words = [&["dump", "-0", "-b", "10", "-f", &file, &tree], options].concat();
    let mut child: Child = command(place, &words).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !fs::metadata(tape).is_ok_and(|facts| facts.len() > 3_000_000) {
        assert!(
            start.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(),
            "too fast or too slow"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// D10, D40, D41, D44: snapshots of dumps that were killed stay, are held, and go with their contexts; a dump whose
/// snapshot is gone is refused, as is one that kept no history, and what goes on gives the bytes of a whole dump.
#[test]
fn snapshots_of_stopped_dumps_are_held_until_their_contexts_go() {
    if !root() {
        return;
    }
    let (place, mount) = (Place::new(), Mount::in_memory());
    let series = mount.series("t");
    let mut raw = appender(&series.join("raw"));
    for at in 0..64_u64 {
        raw.write_all(&records(at * 32_768..(at + 1) * 32_768)).unwrap();
    }
    let tapes: Vec<_> = (0..4).map(|at| place.path(&format!("tapes/t{at}.tap"))).collect();
    let contexts = Contexts::of(place.host("state"));
    let mut ids = Vec::new();
    for (at, tape) in tapes.iter().enumerate() {
        let options: &[&str] = if at == 3 { &["--no-history"] } else { &[] };
        killed(&place, &mount, tape, options);
        let listed = contexts.all().unwrap();
        let new = listed.iter().find(|context| !ids.contains(&context.id())).unwrap();
        assert_eq!(new.snapshot.as_ref().unwrap().name, format!("snapshot_for_backup.{at}"));
        ids.push(new.id());
    }
    assert_eq!(snapshots(&mount).len(), 4);
    let busy = fs::remove_dir(mount.path(".snapshot/snapshot_for_backup.0")).unwrap_err();
    assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy);
    let database = text(&mount.database());
    fails(
        &headstack_plain(&["snapshot", "rm", &database, "snapshot_for_backup.0", "--yes"]),
        75,
        "elsewhere",
    );
    let shown = done(&headstack(&place, &["context", "show", &ids[0], "--json"]));
    assert_eq!(
        (
            &shown["is_snapshot_copy_auto_created"],
            &shown["is_context_restartable"],
            &shown["volume_name"]
        ),
        (&true.into(), &true.into(), &text(&mount.point()).into())
    );

    let first = contexts.get(&ids[0]).unwrap();
    let whole = Volumes {
        record_bytes: 10240,
        ..place.listed("whole", Container::Tap)
    };
    dump(
        &Tree::open(&first.tree).unwrap(),
        &first.order,
        whole,
        &mut dates(&place, "a"),
        &mut |_| (),
    )
    .unwrap();
    done(&headstack(&place, &["context", "resume", &ids[0], "--json"]));
    assert!(
        fs::read(&tapes[0]).unwrap() == fs::read(place.path("tapes/whole")).unwrap(),
        "the bytes differ"
    );
    assert_eq!(snapshots(&mount).len(), 3);

    let held = "user.headstack.hold.snapshot_for_backup.1";
    rustix::fs::removexattr(mount.path(".snapshot"), held).unwrap();
    fs::remove_dir(mount.path(".snapshot/snapshot_for_backup.1")).unwrap();
    fails(
        &headstack(&place, &["context", "resume", &ids[1]]),
        78,
        "snapshot_for_backup.1 is not available",
    );
    fails(
        &headstack(&place, &["context", "resume", &ids[3]]),
        78,
        "kept no file history",
    );
    fails(&headstack(&place, &["context", "rm", &ids[1]]), 78, "could not go on");
    for id in &ids[1..] {
        let output = headstack(&place, &["context", "rm", id, "--yes"]);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!((snapshots(&mount).len(), contexts.all().unwrap().len()), (0, 0));
}

fn headstack_plain(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headstack"))
        .args(words)
        .output()
        .unwrap()
}

/// D39: after the database was unmounted, as a reboot does it, a context is still there; removing it releases the
/// snapshot in the database itself, and mounted again it could go on.
#[test]
fn contexts_survive_their_mounts() {
    if !root() {
        return;
    }
    let (place, mut mount) = (Place::new(), Mount::in_memory());
    let series = mount.series("t");
    let mut raw = appender(&series.join("raw"));
    for at in 0..64_u64 {
        raw.write_all(&records(at * 32_768..(at + 1) * 32_768)).unwrap();
    }
    drop(raw);
    let tapes = [place.path("tapes/one.tap"), place.path("tapes/two.tap")];
    let contexts = Contexts::of(place.host("state"));
    tapes.iter().for_each(|tape| killed(&place, &mount, tape, &[]));
    let listed = contexts.all().unwrap();
    mount.unmount();
    fails(
        &headstack(&place, &["context", "resume", &listed[0].id()]),
        78,
        "is not available",
    );
    let output = headstack(&place, &["context", "rm", &listed[0].id(), "--yes"]);
    assert!(output.status.success(), "{output:?}");
    mount.mount_again();
    assert_eq!(snapshots(&mount), [listed[1].snapshot.as_ref().unwrap().name.clone()]);
    done(&headstack(&place, &["context", "resume", &listed[1].id(), "--json"]));
    assert_eq!(snapshots(&mount), Vec::<String>::new());
}

/// D41: whatever the table of mounts calls a database, a context knows where it is, and so does a restored chain; a mounted tape
/// is no database, and is dumped as it is.
#[test]
fn a_mount_of_any_name_says_where_its_database_is() {
    if !root() {
        return;
    }
    let (place, mut mount) = (Place::new(), Mount::with("fsname=/none,allow-delete"));
    let series = mount.series("t");
    let mut raw = appender(&series.join("raw"));
    for at in 0..64_u64 {
        raw.write_all(&records(at * 32_768..(at + 1) * 32_768)).unwrap();
    }
    drop(raw);
    killed(&place, &mount, &place.path("tapes/one.tap"), &[]);
    let contexts = Contexts::of(place.host("state"));
    let context = contexts.all().unwrap().remove(0);
    assert_eq!(context.snapshot.as_ref().unwrap().database, mount.database());
    mount.unmount();
    let output = headstack(&place, &["context", "rm", &context.id(), "--yes"]);
    assert!(output.status.success(), "{output:?}");
    mount.mount_again();
    assert_eq!(snapshots(&mount), Vec::<String>::new());

    let (tape, point) = (text(&place.path("tapes/t.tap")), text(&mount.point()));
    let target = Mount::with("fsname=other");
    for (level, file, more) in [("-0", "1", 9_000_000..9_000_010), ("-1", "2", 9_000_010..9_000_020)] {
        done(&headstack(
            &place,
            &["dump", level, "-u", "--json", "-f", &tape, &point],
        ));
        let words = ["restore", "-r", "-s", file, "-f", &tape, "-D", &text(&target.point())];
        let output = headstack(&place, &words);
        assert!(output.status.success(), "{output:?}");
        appender(&series.join("raw")).write_all(&records(more)).unwrap();
    }
    let reel = text(&place.path("out"));
    done(&headstack(&place, &["tape", "mount", "--json", "-f", &tape, &reel]));
    let again = headstack(
        &place,
        &[
            "dump",
            "-0",
            "--json",
            "-f",
            &text(&place.path("tapes/again.tap")),
            &reel,
        ],
    );
    let unmounted = headstack_plain(&["umount", &reel]);
    assert!(unmounted.status.success(), "{unmounted:?}");
    assert_eq!(done(&again)["troubles"], 0);
}

/// D18: what is mounted in a tree stands on the tape as a symlink to where it is mounted.
#[test]
fn mount_points_are_symlinks_on_the_tape() {
    if !root() {
        return;
    }
    let (mut place, mount) = (Place::new(), Mount::in_memory());
    mount.series("t");
    let tree = mount.point().parent().unwrap().to_path_buf();
    let tape = place.listed("t", Container::Tap);
    let summary = dump(
        &Tree::open(&tree).unwrap(),
        &super::restart::order(0),
        Volumes {
            record_bytes: 10240,
            ..tape
        },
        &mut dates(&place, "a"),
        &mut |_| (),
    );
    place.now_s = summary.unwrap().date_s;
    let out = place.path("out");
    restored(&place, &place.path("tapes/t"), &out);
    assert_eq!(fs::read_link(out.join("m")).unwrap(), mount.point());
    assert!(out.join("db").is_dir());
}

/// D62: where memory allows four sessions, the fifth is refused, and goes on when one has ended.
#[test]
fn sessions_are_limited_by_memory() {
    let place = Place::new();
    let state = HostDirectory::open(&place.path("state")).unwrap();
    let held: Vec<_> = (1..=4)
        .map(|at| state.lock(Path::new(&format!("session-{at}.lock")), "test").unwrap())
        .collect();
    let (tape, tree) = (text(&place.path("tapes/t.tap")), text(&place.path("tree")));
    let words = ["dump", "-0", "-f", &tape, &tree];
    let output = command(&place, &words).env("HEADSTACK_MEM", "8G").output().unwrap();
    fails(&output, 75, "4 dumps and restores");
    assert!(!Path::new(&tape).exists());
    let output = command(&place, &words).env("HEADSTACK_MEM", "16G").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let target = place.path("target");
    fs::create_dir(&target).unwrap();
    let back = ["restore", "-x", "-f", &tape, "-D", &text(&target)];
    let output = command(&place, &back).env("HEADSTACK_MEM", "8G").output().unwrap();
    fails(&output, 75, "4 dumps and restores");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    drop(held);
    for words in [&words[..], &back[..]] {
        let output = command(&place, words).env("HEADSTACK_MEM", "8G").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// D07: the passes in their order, in the backup log with all other events, each line as filers write them.
#[test]
fn a_dump_leaves_its_events_in_the_backup_log() {
    let place = Place::new();
    fs::write(place.path("tree/file"), "file").unwrap();
    let (tape, tree) = (text(&place.path("tapes/t.tap")), text(&place.path("tree")));
    let words = ["dump", "-0", "-u", "-v", "-f", &tape, &tree];
    let output = headstack(&place, &words);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && told.contains("pass 1: walking the tree to find files"),
        "{told}"
    );
    let output = headstack(&place, &["dump", "-1", "-f", &tape, &tree]);
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(place.path("state/backup.log")).unwrap();
    let events: Vec<&str> = log
        .lines()
        .map(|line| {
            let (head, event) = line.split_once(&format!(" {tree}(")).unwrap();
            let words: Vec<&str> = head.split_whitespace().collect();
            assert!(words.len() == 7 && words[0] == "dmp" && words[5] == "UTC", "{line}");
            event.split_once(") ").unwrap().1
        })
        .map(|event| {
            if event.starts_with("Base_dump (Level 0, ") || event.starts_with("End (") {
                event.split(' ').next().unwrap()
            } else {
                event
            }
        })
        .collect();
    let dump = |start, base: &[&'static str], update| -> Vec<&'static str> {
        let head: &[&str] = &[start, update];
        let passes: &[&str] = &[
            "Phase_change (I)",
            "Phase_change (II)",
            "Tape_open (t.tap)",
            "Phase_change (III)",
            "Phase_change (IV)",
            "Phase_change (V)",
            "Tape_close (t.tap)",
            "End",
        ];
        [head, base, passes].concat()
    };
    let expected = [
        dump("Start (Level 0)", &[], "Options (b=10, u=true)"),
        dump("Start (Level 1)", &["Base_dump"], "Options (b=10, u=false)"),
    ];
    assert_eq!(events, expected.concat());
}

/// D70: where there is no room for the snapshot, both remedies are named.
#[test]
fn a_full_file_system_says_what_makes_room() {
    if !root() {
        return;
    }
    let place = Place::new();
    let Some(mount) = Mount::on_small_disk(4 << 20) else {
        return;
    };
    mount.series("t");
    let filler = mount.database().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let tape = text(&place.path("tapes/t.tap"));
    let output = headstack(&place, &["dump", "-0", "-f", &tape, &text(&mount.point())]);
    fails(&output, 74, "no space for a snapshot");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("has grown") && told.contains("were deleted"), "{told}");
    drop(file);
    fs::remove_file(filler).unwrap();
    let output = headstack(&place, &["dump", "-0", "-f", &tape, &text(&mount.point())]);
    assert!(output.status.success(), "{output:?}");
}

/// D17, D46: restored into the root of a mounted database, directories are series again, with parameters, metadata, marks
/// and entries; anywhere else they are directories with two files. What is there already has to be the same.
#[test]
fn series_come_back_as_series_in_the_root_of_a_mount() {
    if !root() {
        return;
    }
    let (place, mount) = (Place::new(), Mount::in_memory());
    let series = mount.series("t");
    for (name, value) in [("page_size", "8192"), ("entries_per_chunk", "100"), ("format", "u64")] {
        mount.set(&series, name, value);
    }
    appender(&series.join("raw")).write_all(&records(1..5000)).unwrap();
    fs::write(series.join("meta"), r#"{"format":"u64","unit":"5","place":{"x":1}}"#).unwrap();
    mount.set(&series, "last_entry_synced", "4000");
    let log = mount.series("varlen/log");
    mount.set(&log, "length_profile", "10,255");
    appender(&log.join("text"))
        .write_all(b"1 00ff\n2 \n7 0102030405060708090a0b0c0d0e0f\n")
        .unwrap();
    mount.series("empty");
    let tape = place.path("tapes/t.tap");
    done(&headstack(
        &place,
        &["dump", "-0", "--json", "-f", &text(&tape), &text(&mount.point())],
    ));

    let other = Mount::in_memory();
    let again = |mount: &Mount| {
        let (tape, point) = (text(&tape), text(&mount.point()));
        headstack_plain(&["restore", "-x", "-f", &tape, "-D", &point])
    };
    let output = again(&other);
    assert!(output.status.success(), "{output:?}");
    for name in ["t", "varlen/log", "empty"] {
        for file in ["raw", "meta", "text"] {
            let path = format!("{name}/{file}");
            assert_eq!(
                fs::read(other.path(&path)).unwrap(),
                fs::read(mount.path(&path)).unwrap(),
                "{path}"
            );
        }
        let attributes = |mount: &Mount| {
            let command = format!("cd {} && getfattr -d {name}", mount.point().display());
            crate::mount::fixture::shell(&command)
        };
        assert_eq!(attributes(&other), attributes(&mount), "{name}");
    }
    let output = again(&other);
    assert!(output.status.success(), "the same again: {output:?}");
    let compared = |mount: &Mount| {
        let (tape, point) = (text(&tape), text(&mount.point()));
        let output = headstack_plain(&["restore", "-C", "-f", &tape, "-D", &point]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for mount in [&mount, &other] {
        assert_eq!(compared(mount), (Some(0), String::new()), "nothing differs in a mount");
    }
    appender(&other.path("t/raw")).write_all(&records(6000..6001)).unwrap();
    let (code, told) = compared(&other);
    assert!(code == Some(1) && told.contains("t/raw: has "), "{told}");
    let third = Mount::in_memory();
    appender(&third.series("t").join("raw"))
        .write_all(&records(2..3))
        .unwrap();
    let output = again(&third);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(74) && told.contains("other entries"),
        "{output:?}"
    );

    restored(&place, &tape, &place.path("out"));
    let files = |name: &str| fs::read_dir(place.path("out").join(name)).unwrap().count();
    assert_eq!((files("t"), files("varlen/log")), (2, 2));
    assert_eq!(
        fs::read(place.path("out/t/raw")).unwrap(),
        fs::read(series.join("raw")).unwrap()
    );
}

/// D08, D33: a chain of dumps of a mount under live appends, restored level by level into the root of another one: series grow,
/// come, go and change their names there as they did; those that go are named.
#[test]
fn increments_go_on_top_of_a_restored_mount() {
    if !root() {
        return;
    }
    let (place, mount, other) = (Place::new(), Mount::with("allow-delete"), Mount::with("allow-delete"));
    let raw = |name: &str| mount.path(name).join("raw");
    for name in ["grows", "stays", "goes", "old", "varlen/old", "again"] {
        mount.series(name);
    }
    mount.set(&mount.path("varlen/old"), "length_profile", "10,255");
    appender(&mount.path("varlen/old/text"))
        .write_all(b"1 00ff\n2 \n")
        .unwrap();
    for name in ["grows", "stays", "goes", "old", "again"] {
        appender(&raw(name)).write_all(&records(0..1000)).unwrap();
    }
    let tape = text(&place.path("tapes/t.tap"));
    let (point, target) = (text(&mount.point()), text(&other.point()));
    let restore = |file: &str, into: &str| headstack_plain(&["restore", "-r", "-s", file, "-f", &tape, "-D", into]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut raw = appender(&raw("grows"));
            for at in 1000.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                raw.write_all(&records(at..at + 1)).unwrap();
            }
        });
        let level = |level: &str, file: &str| {
            let before = fs::read(raw("grows")).unwrap().len();
            done(&headstack(
                &place,
                &["dump", level, "-u", "--json", "-f", &tape, &point],
            ));
            let output = restore(file, &target);
            assert!(output.status.success(), "level {level}: {output:?}");
            let told = String::from_utf8(output.stderr).unwrap();
            let back = fs::read(other.path("grows/raw")).unwrap();
            let live = fs::read(raw("grows")).unwrap();
            assert!(back.len() >= before && live.starts_with(&back) && back.len() % 16 == 0);
            told
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(level("-0", "1"), "");
            mount.series("comes");
            appender(&raw("comes")).write_all(&records(5..50)).unwrap();
            for name in ["goes", "again"] {
                fs::remove_dir(mount.path(name)).unwrap();
            }
            mount.series("again");
            appender(&raw("again")).write_all(&records(7..9)).unwrap();
            fs::rename(mount.path("old"), mount.path("new")).unwrap();
            fs::rename(mount.path("varlen/old"), mount.path("varlen/new")).unwrap();
            appender(&raw("new")).write_all(&records(2000..2100)).unwrap();
            fs::write(mount.path("stays/meta"), r#"{"unit":"V"}"#).unwrap();
            let told = level("-1", "2");
            let removed: Vec<&str> = told.lines().filter(|line| line.contains("was removed")).collect();
            assert_eq!(removed.len(), 2, "{told}");
            for name in ["again", "goes"] {
                let sentence = format!("{name}: is gone from the dump, and was removed");
                assert!(removed.iter().any(|line| line.ends_with(&sentence)), "{told}");
            }
            appender(&raw("comes")).write_all(&records(60..70)).unwrap();
            assert_eq!(level("-2", "3"), "");
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
    let names = |mount: &Mount| crate::mount::fixture::shell(&format!("cd {} && ls . varlen", mount.point().display()));
    assert_eq!(names(&other), names(&mount));
    for file in [
        "comes/raw",
        "new/raw",
        "again/raw",
        "stays/raw",
        "stays/meta",
        "varlen/new/text",
        "varlen/new/raw",
    ] {
        assert_eq!(
            fs::read(other.path(file)).unwrap(),
            fs::read(mount.path(file)).unwrap(),
            "{file}"
        );
    }
    let output = restore("2", &target);
    fails(&output, 78, "which is not the last one restored here");
    let third = Mount::in_memory();
    fails(
        &restore("2", &text(&third.point())),
        78,
        "which is not the last one restored here",
    );
}

/// A database that is not mounted is a tree of files, and comes back as one, byte for byte: the real library reads it, and so do
/// we.
#[test]
fn a_database_that_is_not_mounted_comes_back_to_the_byte() {
    let Some(peer) = crate::peer::Tempsdb::find() else {
        return;
    };
    let place = Place::new();
    let manifest = peer.make(&place.path("made"));
    let tape = text(&place.path("tapes/t.tap"));
    done(&headstack(
        &place,
        &["dump", "-0", "--json", "-f", &tape, &text(&place.path("made/db"))],
    ));
    let out = place.path("out");
    let output = headstack_plain(&["restore", "-x", "-f", &tape, "-D", &text(&out)]);
    assert!(output.status.success(), "{output:?}");
    crate::peer::run(Command::new("diff").arg("-r").arg(place.path("made/db")).arg(&out), b"");
    let output = headstack_plain(&["series", "check", &text(&out)]);
    assert!(output.status.success(), "{output:?}");
    let read = peer.read(&out);
    assert_eq!(
        (read.fixed.len(), read.varlen.len()),
        (manifest.fixed.len(), manifest.varlen.len())
    );
}
