//! `restore -i` beside stock restore: the same commands from a pipe list and extract the same.
//!
//! Stock restore asks about the root's permissions and for volumes; the options say both beforehand.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use headstack::tape::Container;

use super::{Place, describe, same, shape, stock};
use crate::peer::run;

/// Runs commands in a directory; returns what was said.
fn session(mut command: Command, directory: &Path, lines: &str) -> String {
    fs::create_dir_all(directory).unwrap();
    let output = run(command.current_dir(directory).stdin(Stdio::piped()), lines.as_bytes());
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn ours(tape: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headstack"));
    command.args(["restore", "-i", "-f"]).arg(tape);
    command
}

fn theirs(tape: &Path) -> Command {
    let mut command = Command::new("restore");
    command.args(["-i", "-a", "-o", "-f"]).arg(tape);
    command
}

/// Names in a listing, which stock restore puts in columns; those that are marked have a star.
fn listed(said: &str) -> Vec<String> {
    // Lines that stock restore read are told again behind its prompt.
    let lines = said.lines().filter(|line| !line.starts_with("restore > "));
    let words = lines
        .flat_map(str::split_whitespace)
        .filter(|word| !word.ends_with(':'));
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words
}

/// The same script gives the same tree and, but for columns, the same listings.
#[test]
fn commands_do_what_they_do_in_stock_restore() {
    if !stock() {
        return;
    }
    let mut place = Place::new();
    shape("fill.sh", &place.path("tree"));
    place.dump(0, place.listed("t", Container::Flat));
    let tape = place.path("tapes/t");
    let marked = "cd many\nadd f3\nadd f3?\ndelete f32\nls\nquit\n";
    let (us, them) = (
        session(ours(&tape), &place.path("a"), marked),
        session(theirs(&tape), &place.path("b"), marked),
    );
    assert_eq!(listed(&us), listed(&them), "{us}\n{them}");
    let script = "add hard\ncd many\nadd f3\nadd f3?\ndelete f32\ncd ..\nadd a\ndelete a/b/c/deep\nadd size1024 huge\npwd\nextract\nquit\n";
    let said = session(ours(&tape), &place.path("a"), script);
    assert!(said.contains("extracted"), "{said}");
    session(theirs(&tape), &place.path("b"), script);
    // Directories that are only on the way are not of the dump, the root is from now: ours are private.
    let chosen = |name: &str| -> Vec<String> {
        let lines = describe(&place.path(name)).into_iter();
        lines
            .filter(|line| !["2e ", "6d616e79 "].iter().any(|start| line.starts_with(start)))
            .collect()
    };
    same(&chosen("a"), &chosen("b"), "extracted");
    assert!(place.path("a/many/f31").exists() && !place.path("a/many/f32").exists());
}

/// What makes no sense is told, and the session goes on.
#[test]
fn commands_without_sense_are_told() {
    let mut place = Place::new();
    fs::write(place.path("tree/file"), "x").unwrap();
    place.dump(0, place.listed("t", Container::Flat));
    let script = "frobnicate\ncd file\ncd gone\nadd gone\nextract\nadd 'file\nadd file\nextract\n";
    let said = session(ours(&place.path("tapes/t")), &place.path("a"), script);
    for word in [
        "frobnicate: no such command",
        "/file: not a directory",
        "/gone: is not on the tape",
        "nothing is marked",
        "a quote is not closed",
        "extracted 2 objects",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(fs::read(place.path("a/file")).unwrap(), b"x");
}
