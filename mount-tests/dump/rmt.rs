//! Our drive under stock dump and restore: they write and read tape images through `headstack rmt`.
//!
//! They reach a drive through the program that RSH names; a script there runs ours.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use headstack::tape::Container;

use super::{Place, describe, same, shape, stock};
use crate::peer::run;

const HEADSTACK: &str = env!("CARGO_BIN_EXE_headstack");

/// The program that stands for rsh.
fn drive(place: &Place) -> PathBuf {
    let script = place.path("drive.sh");
    let text = format!(
        "#!/bin/sh\nexec {HEADSTACK} rmt --state {}\n",
        place.path("state").display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Runs a stock program with our drive; returns what it said.
fn with_drive(place: &Place, program: &str, words: &[&str], directory: &Path) -> String {
    let mut command = Command::new(program);
    command.args(words).env("RSH", drive(place)).current_dir(directory);
    let output = run(command.stdin(Stdio::piped()), b"");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn rewind(place: &Place, tape: &str) {
    let mut command = Command::new(HEADSTACK);
    command
        .args(["tape", "rewind", tape, "--state"])
        .arg(place.path("state"));
    run(&mut command, b"");
}

/// Stock restore reads the dumps on our images, the second one too; what it does not find is told.
#[test]
fn stock_restore_drives_our_images() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    shape("fill.sh", &place.path("tree"));
    let full = describe(&place.path("tree"));
    place.dump(0, place.listed("t.tap", Container::Tap));
    shape("change.sh", &place.path("tree"));
    place.dump(1, place.listed("t.tap", Container::Tap));
    let tape = place.path("tapes/t.tap").to_str().unwrap().to_owned();
    let remote = format!("vt:{tape}");
    let out = place.path("out");
    with_drive(&place, "restore", &["-r", "-b", "32", "-f", &remote], &out);
    same(&describe(&out), &full, "level 0");
    rewind(&place, &tape);
    with_drive(&place, "restore", &["-r", "-b", "32", "-s", "2", "-f", &remote], &out);
    same(&describe(&out), &describe(&place.path("tree")), "level 1");
}

/// Stock dump writes an image that is read here and by stock restore; it stands behind the dump then.
#[test]
fn stock_dump_drives_our_images() {
    if !stock() {
        return;
    }
    let place = Place::new();
    let tree = place.path("tree");
    let image = place.path("filesystem");
    fs::write(tree.join("file"), "hello\n").unwrap();
    fs::create_dir(tree.join("deep")).unwrap();
    fs::write(tree.join("deep/long"), vec![9; 700_000]).unwrap();
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&image).arg("8M");
    run(&mut make, b"");
    let attach = run(Command::new("losetup").args(["-f", "--show"]).arg(&image), b"");
    let device = String::from_utf8(attach.stdout).unwrap().trim().to_owned();
    let tape = place.path("tapes/t.tap").to_str().unwrap().to_owned();
    let remote = format!("vt:{tape}");
    let dumped = std::panic::catch_unwind(|| {
        with_drive(&place, "dump", &["-q", "-0", "-b", "10", "-f", &remote, &device], &tree)
    });
    run(Command::new("losetup").args(["-d", &device]), b"");
    let said = dumped.unwrap();
    assert!(said.contains("DUMP IS DONE"), "{said}");
    let mut verify = Command::new(HEADSTACK);
    verify.args(["tape", "verify", "-f", &tape]);
    run(&mut verify, b"");
    let out = place.path("out");
    let mut ours = Command::new(HEADSTACK);
    ours.args(["restore", "-x", "-f", &tape, "-D"]).arg(&out);
    run(&mut ours, b"");
    assert_eq!(fs::read(out.join("deep/long")).unwrap(), vec![9; 700_000]);
    rewind(&place, &tape);
    let listed = with_drive(&place, "restore", &["-t", "-b", "10", "-f", &remote], &out);
    assert!(listed.contains("./deep/long"), "{listed}");
}

/// Commands that make no sense, and tapes that cannot be, get errors and no end.
#[test]
fn the_drive_answers_whatever_it_is_asked() {
    let place = Place::new();
    let tape = place.path("tapes/t.tap");
    let path = tape.display();
    let script = format!(
        "R10\nO{path}\n0\nO{path}\n2\nW3\nabcW0\nI5\n1\nI6\n1\nR2\nI6\n1\nR10\nR10\nL0\n1\nI99\n1\nQ\nS\nC{path}\nL0\n0\n"
    );
    let mut command = Command::new(HEADSTACK);
    command.args(["rmt", "--state"]).arg(place.path("state"));
    let output = run(&mut command, script.as_bytes());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let starts: Vec<&str> = text.lines().filter(|line| line.starts_with(['A', 'E'])).collect();
    let expected = [
        "E9", "E2", "A0", "A3", "E22", "A1", "A1", "E12", "A1", "A3", "A16", "E22", "E22", "A48",
    ];
    assert_eq!(starts[..expected.len()], expected, "{text:?}");
    assert!(text.contains("A3\nabcA0\n"), "{text:?}");
    assert!(text.ends_with("A0\nE9\nBad file descriptor (os error 9)\n"), "{text:?}");
}
