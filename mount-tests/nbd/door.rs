//! `headstack nbd` as its users start it: the real binary over real images, with real clients.
//!
//! [`Door`] starts the verb and ends it; images, sockets and processes are gone after each test, also where it fails.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::fixture::{contents, find, pattern, run, wait_until};

pub const HEADSTACK: &str = env!("CARGO_BIN_EXE_headstack");

/// Runs the binary; its exit code, standard output and standard error.
pub fn headstack(words: &[&str]) -> (i32, String, String) {
    let output = Command::new("timeout")
        .arg("600")
        .arg(HEADSTACK)
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs the binary, which has to succeed.
#[track_caller]
pub fn done(words: &[&str]) -> String {
    let (code, out, err) = headstack(words);
    assert_eq!(code, 0, "{words:?}: {err}");
    out
}

/// A scratch directory with the images of an array.
pub struct Images {
    pub directory: TempDir,
    pub paths: Vec<String>,
}

impl Images {
    /// An array `a` of new images `0.img` and so on.
    pub fn new(level: &str, count: usize, size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let images = Self {
            paths: (0..count)
                .map(|number| path(&directory, &format!("{number}.img")))
                .collect(),
            directory,
        };
        let mut words = vec!["disk", "create", "--size", size];
        words.extend(images.words());
        done(&words);
        let mut words = vec!["array", "create", "a", "--level", level, "--chunk", "64K"];
        words.extend(images.words());
        done(&words);
        images
    }

    pub fn words(&self) -> Vec<&str> {
        self.paths.iter().map(String::as_str).collect()
    }

    pub fn at(&self, name: &str) -> String {
        path(&self.directory, name)
    }

    pub fn place(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// What `array show` says.
    pub fn shown(&self) -> Value {
        serde_json::from_str(&done(&["array", "show", "--json", "a", "--in", self.place()])).unwrap()
    }
}

fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

/// A running server, which is killed where a test fails before it ends it.
pub struct Door {
    child: Child,
    out: BufReader<ChildStdout>,
    pub uris: Vec<String>,
}

impl Door {
    /// Serves images and waits until it says where; `exports` is how many there are.
    pub fn open(words: &[&str], exports: usize) -> Self {
        let mut child = Command::new(HEADSTACK)
            .arg("nbd")
            .args(words)
            .env_remove("LISTEN_FDS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut uris = Vec::new();
        for _ in 0..exports {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert!(line.starts_with("nbd"), "{words:?}: it ended before it served");
            uris.push(line.trim_end().to_owned());
        }
        Self { child, out, uris }
    }

    /// Serves the array of some images.
    pub fn of(images: &Images) -> Self {
        Self::open(&images.words(), 1)
    }

    pub fn uri(&self) -> &str {
        &self.uris[0]
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by a signal that asks, and waits; its exit code.
    pub fn stop(self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.ended()
    }

    /// Waits for its end; its exit code.
    pub fn ended(mut self) -> i32 {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let mut rest = String::new();
        self.out.read_line(&mut rest).unwrap();
        assert_eq!(rest, "", "it printed more than URIs");
        code
    }

    /// Ends it by force, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It has ended where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies a file into an export.
pub fn put(source: &Path, uri: &str) {
    run(find("nbdcopy")
        .unwrap()
        .args(["--flush", "--connections=4"])
        .arg(source)
        .arg(uri));
}

/// The whole of an export.
pub fn get(uri: &str, target: &Path) -> Vec<u8> {
    fs::write(target, b"").unwrap();
    run(find("nbdcopy").unwrap().arg("--connections=4").arg(uri).arg(target));
    contents(target)
}

fn size_of(uri: &str) -> usize {
    run(find("nbdinfo").unwrap().args(["--size", uri]))
        .trim()
        .parse()
        .unwrap()
}

/// R56: the images alone are enough for `nbdinfo`, which hands over a socket and reads what is printed.
#[test]
fn nbdinfo_starts_the_verb_by_itself() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let images = Images::new("5", 3, "16M");
    nbdinfo
        .args(["--json", "--", "[", HEADSTACK, "nbd"])
        .args(images.words())
        .arg("]");
    let info: Value = serde_json::from_str(&run(&mut nbdinfo)).unwrap();
    assert_eq!(info["exports"][0]["export-name"], "a");
    assert_eq!(info["exports"][0]["description"], "raid5 of 3 members");
    assert_eq!(images.shown()["served"], false);
}

/// R27, R58: what is printed can be pasted; a signal stops the array cleanly, and nothing but images is left.
#[test]
fn a_signal_stops_the_array_cleanly() {
    if find("nbdcopy").is_none() {
        return;
    }
    for level in ["5", "1"] {
        let images = Images::new(level, 3, "16M");
        let door = Door::of(&images);
        let source = PathBuf::from(images.at("source"));
        let bytes = pattern(7, size_of(door.uri()));
        fs::write(&source, &bytes).unwrap();
        put(&source, door.uri());
        assert_eq!(images.shown()["served"], true);
        assert_eq!(door.stop(), 0);
        let shown = images.shown();
        assert_eq!((&shown["state"], &shown["dirty"]), (&"Normal".into(), &false.into()));
        let sockets = fs::read_dir(images.place()).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().contains("sock")
        });
        assert_eq!(sockets.count(), 0);
        let door = Door::of(&images);
        assert!(get(door.uri(), Path::new(&images.at("target"))) == bytes);
        assert_eq!(door.stop(), 0);
    }
}

/// R18, R56: a server that is killed in the midst of writes leaves images that are served again with all that was flushed;
/// the resync that is due runs by itself.
#[test]
fn a_killed_server_leaves_what_assembles() {
    if find("nbdcopy").is_none() || find("fio").is_none() {
        return;
    }
    let images = Images::new("6", 5, "16M");
    let target = PathBuf::from(images.at("target"));
    let source = PathBuf::from(images.at("source"));
    for round in 0..3 {
        let door = Door::of(&images);
        let bytes = pattern(round, size_of(door.uri()) / 2);
        fs::write(&source, &bytes).unwrap();
        put(&source, door.uri());
        // The second half is being written when it dies; nothing is said of that half.
        let mut fio = find("fio").unwrap();
        fio.args([
            "--name=w",
            "--ioengine=nbd",
            "--rw=randwrite",
            "--bs=4k",
            "--iodepth=16",
            "--thread",
        ])
        .args(["--time_based", "--runtime=60", "--size=8M"])
        .arg(format!("--offset={}", size_of(door.uri()) / 2))
        .arg(format!("--uri={}", door.uri()))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
        let mut load = fio.spawn().unwrap();
        let before = images.shown()["events"].as_u64().unwrap();
        wait_until("it writes", || {
            images.shown()["dirty"] == true && images.shown()["events"].as_u64() >= Some(before)
        });
        door.kill();
        load.wait().unwrap();
        let door = Door::of(&images);
        done(&["array", "rebuild", "a", "--in", images.place()]);
        assert_eq!(images.shown()["state"], "Normal");
        assert!(get(door.uri(), &target)[..bytes.len()] == bytes, "round {round}");
        assert_eq!(door.stop(), 0);
    }
}

/// R25, R28, R29: under a load that verifies what it reads, a member is failed, and another one is filled in its place.
#[test]
fn a_member_is_lost_and_replaced_under_load() {
    let Some(mut fio) = find("fio") else { return };
    let images = Images::new("5", 4, "32M");
    let door = Door::of(&images);
    fio.args([
        "--name=v",
        "--ioengine=nbd",
        "--rw=randrw",
        "--bsrange=4k-128k",
        "--iodepth=8",
        "--thread",
    ])
    .args([
        "--size=64M",
        "--loops=2",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--verify_backlog=64",
        "--verify_state_save=0",
    ])
    .arg(format!("--uri={}", door.uri()))
    .stdout(Stdio::piped());
    let load = fio.spawn().unwrap();
    wait_until("it writes", || images.shown()["dirty"] == true);
    done(&["array", "fail", "a", &images.paths[2]]);
    let (code, _, _) = headstack(&["array", "show", "--check", "a", "--in", images.place()]);
    assert_eq!(code, 1);
    let spare = images.at("spare.img");
    done(&["disk", "create", "--size", "32M", &spare]);
    let added: Value = serde_json::from_str(&done(&["array", "add", "--json", "a", &spare])).unwrap();
    assert_eq!(
        (&added["added"]["slot"], &added["degraded"]),
        (&2.into(), &false.into())
    );
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("err= 0"), "{said}");
    assert_eq!(door.stop(), 0);
    assert_eq!(images.shown()["state"], "Normal");
}

/// An image serves one array at a time: who comes second is told the process that has it, and nothing is changed.
#[test]
fn a_second_opener_is_told_who_has_the_images() {
    let images = Images::new("1", 2, "16M");
    let door = Door::of(&images);
    let pid = format!("pid {}", door.pid());
    let other = images.at("other.sock");
    let mut words = vec!["nbd", "--socket", &other];
    words.extend(images.words());
    let (code, _, err) = headstack(&words);
    assert_eq!(code, 75, "{err}");
    assert!(err.contains(&pid) && err.contains("0.img"), "{err}");
    let mut words = vec!["array", "create", "b", "--level", "0", "--yes", "--force-overwrite"];
    words.extend(images.words());
    let (code, _, err) = headstack(&words);
    assert_eq!(code, 75, "{err}");
    assert_eq!(door.stop(), 0);
}

/// R23, R56: several arrays in one directory are several exports; an image that is no member is refused by name.
#[test]
fn each_array_of_the_images_is_an_export() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let images = Images::new("1", 2, "16M");
    let more: Vec<String> = (0..2).map(|number| images.at(&format!("more{number}.img"))).collect();
    done(&["disk", "create", "--size", "16M", &more[0], &more[1]]);
    let (code, _, err) = headstack(&["nbd", &images.paths[0], &more[0]]);
    assert!(
        code == 65 && err.contains("more0.img") && err.contains("array create"),
        "{err}"
    );
    done(&["array", "create", "b", "--level", "0", &more[0], &more[1]]);
    let door = Door::open(&[images.place()], 2);
    let list: Value = serde_json::from_str(&run(nbdinfo.args(["--list", "--json", door.uri()]))).unwrap();
    let exports = list["exports"].as_array().unwrap();
    let names: Vec<&str> = exports
        .iter()
        .map(|export| export["export-name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        size_of(&door.uris[1]),
        usize::try_from(exports[1]["export-size"].as_u64().unwrap()).unwrap()
    );
    assert_eq!(door.stop(), 0);
    let door = Door::open(&["--array", "b", images.place()], 1);
    assert!(door.uri().contains("/b?"), "{}", door.uri());
    assert_eq!(door.stop(), 0);
}

/// A server for reading only changes no byte of any image.
#[test]
fn a_read_only_server_writes_nothing() {
    let Some(mut nbdinfo) = find("nbdinfo") else { return };
    let images = Images::new("5", 3, "16M");
    let before: Vec<Vec<u8>> = images.paths.iter().map(|path| contents(Path::new(path))).collect();
    let mut words = vec!["--read-only"];
    words.extend(images.words());
    let door = Door::open(&words, 1);
    let info: Value = serde_json::from_str(&run(nbdinfo.args(["--json", door.uri()]))).unwrap();
    assert_eq!(info["exports"][0]["is_read_only"], true);
    let (code, _, err) = headstack(&["array", "fail", "a", "1", "--in", images.place()]);
    assert_eq!(code, 77, "{err}");
    assert_eq!(door.stop(), 0);
    for (path, before) in images.paths.iter().zip(before) {
        assert!(contents(Path::new(path)) == before, "{path}");
    }
}

/// R55: under an overlay a damaged array is forced, written to and read back, and its images stay as they are.
#[test]
fn an_overlay_takes_all_writes() {
    if find("nbdcopy").is_none() {
        return;
    }
    let images = Images::new("5", 3, "16M");
    let before: Vec<Vec<u8>> = images.paths.iter().map(|path| contents(Path::new(path))).collect();
    let overlay = images.at("try.overlay");
    let source = PathBuf::from(images.at("source"));
    let open = || {
        let mut words = vec!["--overlay", &overlay, "--force"];
        words.extend(&images.words()[..2]);
        Door::open(&words, 1)
    };
    let door = open();
    let bytes = pattern(9, size_of(door.uri()));
    fs::write(&source, &bytes).unwrap();
    put(&source, door.uri());
    assert_eq!(door.stop(), 0);
    let door = open();
    assert!(get(door.uri(), Path::new(&images.at("target"))) == bytes);
    assert_eq!(door.stop(), 0);
    for (path, before) in images.paths.iter().zip(before) {
        assert!(contents(Path::new(path)) == before, "{path}");
    }
}

/// R17: while a member is filled, it is told how long that is going to take.
#[test]
fn a_rebuild_tells_how_long_it_takes() {
    let Some(mut python) = super::fixture::libnbd("h.connect_uri(sys.argv[1])\nsys.stdin.read()") else {
        return;
    };
    let images = Images::new("1", 2, "256M");
    let mut words = vec!["--rebuild-share", "1"];
    words.extend(images.words());
    let door = Door::open(&words, 1);
    // Somebody is there, so that the rebuild leaves most of the time to him.
    let mut client = python.arg(door.uri()).stdin(Stdio::piped()).spawn().unwrap();
    let connected = || {
        let mut can = Command::new("nbdinfo");
        can.args(["--can", "connect", door.uri()])
            .status()
            .is_ok_and(|status| status.success())
    };
    wait_until("it serves", connected);
    done(&["array", "fail", "a", "0", "--in", images.place()]);
    let spare = images.at("spare.img");
    done(&["disk", "create", "--size", "256M", &spare]);
    done(&["array", "add", "--no-wait", "a", &spare]);
    wait_until("it tells", || images.shown()["work"]["eta_seconds"].is_u64());
    let shown = images.shown();
    assert_eq!(
        (&shown["state"], &shown["work"]["kind"]),
        (&"Rebuilding".into(), &"rebuild".into())
    );
    drop(client.stdin.take());
    client.wait().unwrap();
    assert_eq!(door.stop(), 0);
}

/// Commands that undo what a test did to the machine, the last first, also where it fails.
#[derive(Default)]
struct Undo(Vec<Vec<String>>);

impl Undo {
    fn push(&mut self, words: &[&str]) {
        self.0.push(words.iter().map(|word| (*word).to_owned()).collect());
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(words) = self.0.pop() {
            let undone = Command::new(&words[0]).args(&words[1..]).output();
            if !undone.as_ref().is_ok_and(|output| output.status.success()) {
                eprintln!("not undone: {words:?}: {undone:?}");
            }
        }
    }
}

/// R28, R56: a file system on the array, on a kernel without NBD: nbdfuse, a loop device, mkfs, mount, a member lost under
/// it, and fsck finds nothing wrong.
#[test]
fn a_file_system_lives_on_the_array() {
    let tools = [
        "nbdfuse",
        "losetup",
        "mkfs.ext4",
        "e2fsck",
        "mount",
        "umount",
        "fusermount3",
    ];
    if tools.iter().any(|tool| find(tool).is_none()) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return crate::peer::skip("losetup and mount (need root)");
    }
    let images = Images::new("6", 5, "32M");
    let door = Door::of(&images);
    let mut undo = Undo::default();
    let (file, place) = (images.at("nbd"), images.at("mnt"));
    fs::write(&file, b"").unwrap();
    fs::create_dir(&place).unwrap();
    let mut fuse = Command::new("nbdfuse").args([&file, door.uri()]).spawn().unwrap();
    wait_until("nbdfuse serves", || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 0)
    });
    undo.push(&["fusermount3", "-u", &file]);
    let device = run(Command::new("losetup").args(["-f", "--show", &file]))
        .trim()
        .to_owned();
    undo.push(&["losetup", "-d", &device]);
    run(Command::new("mkfs.ext4").args(["-q", &device]));
    run(Command::new("mount").args([&device, &place]));
    undo.push(&["umount", &place]);
    let bytes = pattern(11, 20 << 20);
    fs::write(images.at("mnt/first"), &bytes).unwrap();
    done(&["array", "fail", "a", "1", "--in", images.place()]);
    fs::write(images.at("mnt/second"), &bytes).unwrap();
    done(&["array", "fail", "a", "3", "--in", images.place()]);
    run(&mut Command::new("sync"));
    assert!(contents(Path::new(&images.at("mnt/first"))) == bytes);
    assert!(contents(Path::new(&images.at("mnt/second"))) == bytes);
    undo.0.pop();
    run(Command::new("umount").arg(&place));
    run(Command::new("e2fsck").args(["-f", "-n", &device]));
    drop(undo);
    fuse.wait().unwrap();
    assert_eq!(door.stop(), 0);
    assert_eq!(images.shown()["status"], "Critical");
}

/// R59, R58: an array in use becomes a RAID 5 of a RAID 1 and then grows; its bytes stay, clients see the new size, and what
/// cannot be is refused.
#[test]
fn an_array_is_migrated_and_grows_while_it_is_served() {
    if find("nbdcopy").is_none() {
        return;
    }
    let images = Images::new("1", 2, "32M");
    let door = Door::of(&images);
    let before = size_of(door.uri());
    let bytes = pattern(5, before);
    let (source, target) = (PathBuf::from(images.at("source")), PathBuf::from(images.at("target")));
    fs::write(&source, &bytes).unwrap();
    put(&source, door.uri());
    let more: Vec<String> = ["2.img", "3.img"].iter().map(|name| images.at(name)).collect();
    done(&["disk", "create", "--size", "32M", &more[0], &more[1]]);
    done(&["array", "migrate", "a", "--level", "5", &more[0]]);
    done(&["array", "grow", "a", &more[1]]);
    let shown = images.shown();
    assert_eq!((&shown["level"], &shown["state"]), (&"raid5".into(), &"Normal".into()));
    assert!(size_of(door.uri()) > 2 * before, "{} of {before}", size_of(door.uri()));
    assert!(get(door.uri(), &target)[..bytes.len()] == bytes);
    let (code, _, message) = headstack(&["array", "migrate", "a", "--level", "10", "--in", images.place()]);
    assert!(code == 64 && !message.is_empty(), "{code} {message}");
    let (code, _, message) = headstack(&["array", "grow", "a", "--in", images.place()]);
    assert!(code == 64 && message.contains("not on its way"), "{code} {message}");
    assert!(done(&["array", "verify", "a", "--in", images.place()]).contains("clean"));
    assert_eq!(door.stop(), 0);
    assert_eq!(images.shown()["state"], "Normal");
}

/// R59, R58: a reshape that Linux left half-way shows as such, and is gone on with by itself once the array is served.
#[test]
fn a_reshape_that_was_left_half_way_is_gone_on_with() {
    if find("nbdcopy").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let set = crate::peer::top().join("images/raid/r5_grow_3_4/set.tar.xz");
    run(Command::new("tar").arg("-xJf").arg(set).arg("-C").arg(directory.path()));
    let images: Vec<String> = (0..4)
        .map(|number| path(&directory, &format!("m{number}.img")))
        .collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let shown = || -> Value {
        let words: Vec<&str> = ["array", "show", "--json"]
            .into_iter()
            .chain(images.iter().copied())
            .collect();
        serde_json::from_str(&done(&words)).unwrap()
    };
    let before = shown();
    assert_eq!(
        (&before["state"], &before["served"]),
        (&"OCE/ORLM stopped".into(), &false.into())
    );
    let door = Door::open(&images, 1);
    wait_until("the reshape ends", || shown()["state"] == "Normal");
    let bytes = get(door.uri(), &directory.path().join("target"));
    let grown = before["size_bytes"].as_u64().unwrap() / 2 * 3;
    assert_eq!(bytes.len() as u64, grown);
    let words = bytes
        .chunks_exact(8)
        .zip(0_u64..)
        .take_while(|(word, number)| **word == number.to_le_bytes());
    assert_eq!(words.count() as u64, before["size_bytes"].as_u64().unwrap() / 8);
    assert_eq!(door.stop(), 0);
    assert_eq!(shown()["state"], "Normal");
}

/// R22, R59: larger images make a larger array, and a mirror takes another copy, while both are served.
#[test]
fn an_array_uses_more_of_its_members_while_it_is_served() {
    if find("nbdinfo").is_none() {
        return;
    }
    let images = Images::new("5", 3, "16M");
    let door = Door::of(&images);
    let before = size_of(door.uri());
    for image in images.words() {
        fs::OpenOptions::new()
            .write(true)
            .open(image)
            .unwrap()
            .set_len(24 << 20)
            .unwrap();
    }
    done(&["array", "grow", "a", "--size", "max", "--in", images.place()]);
    assert_eq!(size_of(door.uri()), before + (16 << 20));
    assert_eq!(images.shown()["state"], "Normal");
    assert_eq!(door.stop(), 0);

    let images = Images::new("1", 2, "16M");
    let door = Door::of(&images);
    let third = images.at("2.img");
    done(&["disk", "create", "--size", "16M", &third]);
    done(&["array", "grow", "a", &third, "--copies", "3"]);
    let shown = images.shown();
    assert_eq!(
        (&shown["state"], shown["members"].as_array().unwrap().len()),
        (&"Normal".into(), 3)
    );
    assert_eq!(door.stop(), 0);
}
