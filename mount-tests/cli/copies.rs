//! `copy`: a dump that is restored at once, with no tape between.
//!
//! What a dump keeps is tested with dumps; here is that all of it arrives, and what a copy takes and refuses.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    HEADSTACK, headstack, peer, run,
    tapes::{Reels, contents},
};

/// What a copy needs: a tree, a place for it, and where is remembered what is under way.
fn copy(reels: &Reels, out: &str) -> Command {
    let mut command = Command::new(HEADSTACK);
    command.args(["copy", &reels.tree, out, "--state", &reels.state]);
    command.env("HEADSTACK_MEM", "8G").env_remove("RUST_LOG");
    command
}

/// Everything is copied, into a directory that is made for it; what cannot be is refused before anything is.
#[test]
fn a_tree_is_copied_through_no_tape() {
    let reels = Reels::new();
    fs::write(Path::new(&reels.tree).join("long"), vec![3; 5_000_000]).unwrap();
    let out = reels.place.at("new");
    let words = ["copy", "--json", "--state", &reels.state, &reels.tree, &out];
    let told = headstack(&words).json();
    assert_eq!((&told["objects"], &told["troubles"]), (&6.into(), &0.into()), "{told}");
    assert_eq!(contents(&out), contents(&reels.tree));
    let same = headstack(&["dump", "-0", "-f", &reels.tape, &reels.tree, "--state", &reels.state]);
    same.text();
    headstack(&["restore", "-C", "-f", &reels.tape, "-D", &out]).text();
    let inside = Path::new(&reels.tree).join("a");
    run(&mut copy(&reels, inside.to_str().unwrap()), b"").fails(64, &["is in what is copied"]);
    run(copy(&reels, &out).args(["--snapshot", "x"]), b"").fails(64, &["no mount of a database"]);
    let file = reels.place.at("new/top");
    let refused = run(&mut copy(&reels, &file), b"");
    assert!(refused.code != 0 && refused.err.contains("top"), "{refused:?}");
    let left_by = |state: &Path| {
        let names = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("context"))
            .count()
    };
    assert_eq!(left_by(Path::new(&reels.state)), 0);
    // What it keeps of itself is not copied, where the tree holds that.
    let own = Path::new(&reels.tree).join("state");
    fs::create_dir(&own).unwrap();
    let beside = reels.place.at("beside");
    let words = ["copy", "--json", "--state", own.to_str().unwrap(), &reels.tree, &beside];
    assert_eq!(headstack(&words).json()["troubles"], 0);
    assert_eq!(left_by(&Path::new(&beside).join("state")), 0);
}

/// D50, D59: what a restore is told of its target a copy takes too, and what is left out of a dump: other names with leave, lists up
/// to a limit, no more room than there is.
#[test]
fn a_copy_takes_what_a_restore_is_told() {
    let reels = Reels::new();
    let tree = Path::new(&reels.tree);
    fs::write(tree.join("left.tmp"), "out").unwrap();
    fs::write(tree.join("old"), "old").unwrap();
    let limit = |limit: &str, out: &str| {
        let words = ["-e", "EXCLUDE=*.tmp", "--rename", "old=sub/new", "--ace-limit", limit];
        run(copy(&reels, out).args(words).env("EXTRACT", "E"), b"")
    };
    let out = reels.place.at("new");
    run(copy(&reels, &out).args(["--rename", "old=sub/new"]), b"").fails(64, &["EXTRACT=E"]);
    limit("100", &out).text();
    let out = Path::new(&out);
    assert_eq!(fs::read(out.join("sub/new")).unwrap(), b"old");
    assert!(!out.join("old").exists() && !out.join("left.tmp").exists());
    if let Some(setfacl) = peer("setfacl") {
        let lists = Command::new(setfacl)
            .args(["-m", "u:1:r,u:2:r,u:3:r"])
            .arg(tree.join("old"))
            .status();
        assert!(lists.unwrap().success());
        let told = limit("5", out.to_str().unwrap());
        assert!(told.err.contains("which is too many"), "{told:?}");
    }
    run(copy(&reels, out.to_str().unwrap()).args(["-e", "LEVEL=3"]), b"").ends(64);
    let small = reels.place.at("small");
    run(copy(&reels, &small).env("FORCE", "perhaps"), b"").fails(64, &["FORCE=perhaps"]);
}

/// A copy that is held as soon as its last session is taken.
fn held(reels: &Reels, out: &str, session: u32) -> Child {
    let child = copy(reels, out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lock = Path::new(&reels.state).join(format!("session-{session}.lock"));
    let limit = Instant::now() + Duration::from_secs(120);
    while !lock.exists() {
        assert!(Instant::now() < limit, "{} is not taken", lock.display());
    }
    signal(&child, rustix::process::Signal::STOP);
    child
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, signal).unwrap();
}

/// D63: a copy takes the places of a dump and of a restore: of four, two copies take all.
#[test]
fn a_copy_counts_as_two_sessions() {
    let reels = Reels::new();
    // Long enough that none is done before it is held.
    fs::write(Path::new(&reels.tree).join("long"), vec![3; 40_000_000]).unwrap();
    let outs = [1, 2, 3].map(|number| reels.place.at(&format!("out{number}")));
    let mut copies = [held(&reels, &outs[0], 2), held(&reels, &outs[1], 4)];
    run(&mut copy(&reels, &outs[2]), b"").fails(75, &["4 dumps and restores"]);
    assert!(!Path::new(&outs[2]).exists(), "nothing was begun");
    for child in &mut copies {
        signal(child, rustix::process::Signal::CONT);
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(run(&mut copy(&reels, &outs[2]), b"").code, 0);
    for out in outs {
        assert_eq!(contents(&out), contents(&reels.tree));
    }
}
