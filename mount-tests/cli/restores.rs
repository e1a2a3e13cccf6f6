//! `restore` before and while it works: what it needs, what is missing, room, names in the way, locks, interruptions.
//!
//! File systems that are too small are memory, mounted for the test and unmounted whatever becomes of it.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    HEADSTACK, Ran, headstack, run,
    tapes::{Reels, contents},
};
use crate::peer::skip;

/// Runs the binary with one variable more.
pub(super) fn with(name: &str, value: &str, words: &[&str]) -> Ran {
    run(Command::new(HEADSTACK).env(name, value).args(words), b"")
}

/// D36, D55, D56: what a restore needs is told, and what of it is missing, before anything is made.
#[test]
fn a_plan_names_what_is_missing() {
    let reels = Reels::new();
    let volumes: Vec<String> = (1..=2)
        .map(|number| reels.place.at(&format!("v{number}.tap")))
        .collect();
    let sizes = ["--capacity", "200K", "--early-warning", "32K"];
    reels
        .run(&[&["tape", "create", &volumes[0]], sizes.as_slice()].concat())
        .text();
    let set = ["-f", &volumes[0], "-f", &volumes[1]];
    reels
        .run(&[&["dump", "-0", "-u", &reels.tree], set.as_slice()].concat())
        .text();
    fs::write(Path::new(&reels.tree).join("new"), "new").unwrap();
    reels.run(&["dump", "-1", "-u", &reels.tree, "-f", &reels.tape]).text();
    let out = reels.out("out");
    let plan = |words: &[&str]| headstack(&[&["restore", "--dry-run", "--json", "-D", &out], words].concat());
    let told = plan(&[&["-r"], set.as_slice()].concat()).json();
    for (key, value) in [
        ("level", 0),
        ("blocking_factor", 10),
        ("volumes", 2),
        ("clashes", 0),
        ("objects", 5),
    ] {
        assert_eq!(told[key], value, "{key} in {told}");
    }
    assert_eq!(told["path"], reels.tree.as_str());
    assert!(told["size_bytes"].as_u64().unwrap() > 300_000, "{told}");
    let short = plan(&["-r", "-f", &volumes[0]]).ends(66);
    assert!(short.err.contains("volume 2 of the dump is missing"), "{short:?}");
    plan(&["-r", "-f", &reels.tape]).fails(78, &["needs the dump of its base"]);
    headstack(&["restore", "-t", "-b", "32", "-f", &volumes[0]]).fails(64, &["blocking factor 10, not 32"]);
    fs::write(Path::new(&out).join("top"), "mine").unwrap();
    let clash = plan(&[&["-x"], set.as_slice()].concat());
    assert!(
        clash.code == 73 && clash.err.contains("top: would be overwritten"),
        "{clash:?}"
    );
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing was made");
    headstack(&[&["restore", "-r", "-D", &out], set.as_slice()].concat()).text();
    let told = plan(&["-r", "-f", &reels.tape]).json();
    assert_eq!(told["base_is_restored"], true);
}

/// D03, D59: objects get other names where EXTRACT=E allows it, or where the catalogue says where they lie.
#[test]
fn objects_are_renamed_with_leave() {
    let reels = Reels::new();
    let dump = ["dump", "-0", "--no-history", "-f", &reels.tape, &reels.tree];
    reels.run(&dump).text();
    let out = reels.out("out");
    let words = [
        "restore",
        "-x",
        "-f",
        &reels.tape,
        "-D",
        &out,
        "--rename",
        "a/b=x/y",
        "a",
        "--state",
        &reels.state,
    ];
    headstack(&words).fails(64, &["EXTRACT=E"]);
    with("EXTRACT", "Y", &words).fails(64, &["EXTRACT=E"]);
    with("EXTRACT", "maybe", &words).fails(64, &["EXTRACT=maybe"]);
    assert_eq!(with("EXTRACT", "E", &words).text(), "");
    let names: Vec<String> = contents(&out).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "a/link", "x", "x/y", "x/y/deep"]);
    reels.run(&["tape", "catalogue", "-f", &reels.tape]).text();
    fs::remove_dir_all(Path::new(&out).join("x")).unwrap();
    assert_eq!(headstack(&words).text(), "");
    assert_eq!(fs::read(Path::new(&out).join("x/y/deep")).unwrap(), b"deep\n");
    headstack(&["restore", "-x", "-f", &reels.tape, "-D", &out, "--rename", "a=../b"]).ends(64);
}

/// A file system in memory.
pub(super) struct Small {
    pub(super) at: String,
}

impl Small {
    pub(super) fn mounted(at: String, options: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let small = Self { at };
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs", &small.at])
            .status();
        assert!(done.unwrap().success(), "tmpfs with {options}");
        small
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

pub(super) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("file systems of a size (needs root)");
    }
    root
}

/// D60, D61: 100 MB more than the dump are needed, and inodes for all; FORCE restores what fits, and names what does not.
#[test]
fn room_is_checked_unless_forced() {
    if !root() {
        return;
    }
    let reels = Reels::new();
    for number in 0..20 {
        fs::write(Path::new(&reels.tree).join(format!("f{number:02}")), vec![1; 300_000]).unwrap();
    }
    reels.dump("-0").json();
    let told = headstack(&[
        "restore",
        "-r",
        "--dry-run",
        "--json",
        "-f",
        &reels.tape,
        "-D",
        &reels.out("plan"),
    ])
    .json();
    let size = told["size_bytes"].as_u64().unwrap();
    let restore = |at: &str| ["restore", "-r", "-f", &reels.tape, "-D", at].map(str::to_owned);
    let words = |words: &[String]| -> Ran { headstack(words) };
    let of = |extra: u64| format!("size={}", (size + (extra << 20)).next_multiple_of(4096));
    let near = Small::mounted(reels.place.at("near"), &of(99));
    words(&restore(&near.at)).fails(75, &["bytes are needed"]);
    assert_eq!(fs::read_dir(&near.at).unwrap().count(), 0);
    let enough = Small::mounted(reels.place.at("enough"), &of(101));
    words(&restore(&enough.at)).text();
    assert_eq!(contents(&enough.at), contents(&reels.tree));
    let few = Small::mounted(reels.place.at("few"), "size=200M,nr_inodes=10");
    words(&restore(&few.at)).fails(75, &["inodes are needed"]);
    let tight = Small::mounted(reels.place.at("tight"), "size=2M");
    let line = restore(&tight.at);
    let forced = with("FORCE", "Y", &line.iter().map(String::as_str).collect::<Vec<_>>()).ends(74);
    let there = contents(&tight.at);
    let all = contents(&reels.tree);
    let missing: Vec<&String> = all
        .iter()
        .filter(|entry| !there.contains(entry))
        .map(|(name, _)| name)
        .collect();
    assert!((10..20).contains(&missing.len()), "{missing:?}");
    for name in missing {
        assert!(
            forced.err.contains(&format!("{name}: ")),
            "{name} is not named: {}",
            forced.err
        );
    }
}

/// D54, D72: locks on files do not stop a restore; another restore into the same directory does.
#[test]
fn locks_are_ignored_and_restores_are_not() {
    let reels = Reels::new();
    reels.dump("-0").json();
    let out = reels.out("out");
    let locked = File::create(Path::new(&out).join("top")).unwrap();
    locked.lock().unwrap();
    let words = ["restore", "-r", "-f", &reels.tape, "-D", &out];
    headstack(&words).text();
    assert_eq!(contents(&out), contents(&reels.tree));
    let other = File::open(&out).unwrap();
    other.lock().unwrap();
    headstack(&words).fails(75, &["another restore"]);
    headstack(&["restore", "-C", "-f", &reels.tape, "-D", &out]).text();
}

/// D50: an access control list above the limit of the target is left to the permissions, and that is told.
#[test]
fn lists_above_the_limit_become_permissions() {
    if Command::new("setfacl")
        .arg("-v")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return skip("peer setfacl (Debian package acl)");
    }
    let reels = Reels::new();
    let file = Path::new(&reels.tree).join("top");
    let entries: Vec<String> = (1000..1036).map(|user| format!("u:{user}:r")).collect();
    let set = Command::new("setfacl")
        .arg("-m")
        .arg(entries.join(","))
        .arg(&file)
        .status()
        .unwrap();
    assert!(set.success());
    reels.dump("-0").json();
    for (limit, kept) in [("32", false), ("40", true)] {
        let out = reels.out(&format!("out{limit}"));
        let ran = headstack(&[
            "restore",
            "-x",
            "--ace-limit",
            limit,
            "-f",
            &reels.tape,
            "-D",
            &out,
            "top",
        ])
        .ends(0);
        let list = Command::new("getfacl")
            .arg("-cn")
            .arg(Path::new(&out).join("top"))
            .output()
            .unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert_eq!(list.contains("user:1035:r"), kept, "{list}");
        assert_eq!(ran.err.contains("40 entries"), !kept, "{}", ran.err);
    }
}

/// D15, D28, D49: permissions of Windows and of UNIX restored to a target of either style; attributes of DOS stay.
#[test]
fn permissions_follow_the_style_of_the_target() {
    if !rustix::process::geteuid().is_root() {
        return skip("permissions of Windows (needs root)");
    }
    let reels = Reels::new();
    let tree = PathBuf::from(&reels.tree);
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    fs::create_dir(tree.join("share")).unwrap();
    for name in ["share", "windows", "unix"] {
        let path = tree.join(name);
        if name != "share" {
            fs::write(&path, name).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        set(&path, "user.DOSATTRIB", b"0x22\0\0\x05\0\x05\0");
        if name != "unix" {
            set(&path, "security.NTACL", b"\x04\0\x04\0\0\0\x02\0");
        }
    }
    reels.dump("-0").json();
    // What is restored, to which style: its permissions, and whether those of Windows are there.
    let table = [
        ("share", "unix", 0o755, false),
        ("windows", "unix", 0o644, false),
        ("unix", "unix", 0o770, false),
        ("share", "ntfs", 0o770, true),
        ("windows", "ntfs", 0o770, true),
        ("unix", "ntfs", 0o770, false),
    ];
    for (name, style, mode, windows) in table {
        let out = reels.out(&format!("{name}-{style}"));
        let words = ["restore", "-x", "--style", style, "-f", &reels.tape, "-D", &out, name];
        let ran = headstack(&words).ends(0);
        let path = Path::new(&out).join(name);
        let value = |of: &str| {
            let mut value = [0; 64];
            let length = rustix::fs::getxattr(&path, of, &mut value[..]).ok()?;
            Some(value[..length].to_vec())
        };
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode, "{name} to {style}");
        assert_eq!(value("security.NTACL").is_some(), windows, "{name} to {style}");
        assert_eq!(value("user.DOSATTRIB").unwrap(), b"0x22\0\0\x05\0\x05\0");
        assert_eq!(ran.err.contains("those of Windows"), mode != 0o770, "{}", ran.err);
    }
}

/// D57: series with names that an old release does not take are ordinary directories there.
#[test]
fn series_of_unicode_names_become_ordinary_directories() {
    let reels = Reels::new();
    for name in ["coin", "m\u{fc}nze"] {
        let path = Path::new(&reels.tree).join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("raw"), name).unwrap();
        let parameter = "user.headstack.block_size";
        rustix::fs::setxattr(&path, parameter, b"8", rustix::fs::XattrFlags::empty()).unwrap();
    }
    reels.dump("-0").json();
    for (words, series) in [(vec!["--classic"], false), (vec![], true)] {
        let out = reels.out(&format!("out{series}"));
        let ran = headstack(&[&["restore", "-x", "-f", &reels.tape, "-D", &out], words.as_slice()].concat()).ends(0);
        for (name, is_series) in [("coin", true), ("m\u{fc}nze", series)] {
            let path = Path::new(&out).join(name);
            assert_eq!(fs::read(path.join("raw")).unwrap(), name.as_bytes());
            let found = rustix::fs::getxattr(&path, "user.headstack.block_size", &mut [0; 8][..]);
            assert_eq!(found.is_ok(), is_series, "{name}");
        }
        assert_eq!(ran.err.contains("ordinary directory"), !series, "{}", ran.err);
    }
}

/// An increment that is killed while names move or files come is restored again to the same end.
#[test]
fn a_killed_restore_goes_on() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("peer strace, which kills at a system call");
    }
    let reels = Reels::new();
    let tree = PathBuf::from(&reels.tree);
    for name in ["one", "two", "three"] {
        fs::create_dir(tree.join(name)).unwrap();
        fs::write(tree.join(name).join(name), name).unwrap();
    }
    reels.dump("-0").json();
    let swap = |a: &str, b: &str| {
        fs::rename(tree.join(a), tree.join("aside")).unwrap();
        fs::rename(tree.join(b), tree.join(a)).unwrap();
        fs::rename(tree.join("aside"), tree.join(b)).unwrap();
    };
    swap("one", "two");
    swap("one/two", "three/three");
    fs::rename(tree.join("top"), tree.join("two/top")).unwrap();
    fs::write(tree.join("new"), "new").unwrap();
    reels.dump("-1").json();
    let expected = contents(&reels.tree);
    let mut killed = 0;
    for call in ["renameat", "openat", "linkat"] {
        for at in 1..20 {
            let out = reels.out(&format!("{call}{at}"));
            headstack(&["restore", "-r", "-f", &reels.tape, "-D", &out]).text();
            let second = ["restore", "-r", "-s", "2", "-f", &reels.tape, "-D", &out];
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let mut command = Command::new("strace");
            command.args([
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
                "-e",
                &inject,
                HEADSTACK,
            ]);
            let status = command.args(second).stderr(Stdio::null()).status().unwrap();
            killed += usize::from(!status.success());
            if status.success() {
                break;
            }
            headstack(&second).text();
            assert_eq!(contents(&out), expected, "killed at {call} {at}");
        }
    }
    assert!(killed > 10, "{killed} were killed");
}

/// D45: the stages of a restore in their order, each told with -v.
#[test]
fn stages_are_told_in_their_order() {
    let reels = Reels::new();
    reels.dump("-0").json();
    let out = reels.out("out");
    let told = headstack(&["-v", "restore", "-r", "-f", &reels.tape, "-D", &out])
        .ends(0)
        .err;
    let stages: Vec<usize> = (1..=4)
        .map(|stage| {
            told.find(&format!("stage {stage}"))
                .unwrap_or_else(|| panic!("stage {stage}: {told}"))
        })
        .collect();
    assert!(stages.is_sorted(), "{told}");
    assert_eq!(contents(&out), contents(&reels.tree));
}
