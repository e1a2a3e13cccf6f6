//! `mount` and `umount`: the daemon, the foreground, mount(8)'s syntax, and what the other verbs do meanwhile.
//!
//! What the mounted files do is told elsewhere; here is how a mount begins and ends.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        net::UnixDatagram,
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use super::{HEADSTACK, LIMIT, Place, Ran, headstack, peer, run, wait_until};
use crate::peer::skip;

/// True where this machine can mount.
pub(super) fn can_mount() -> bool {
    let can = headstack(&["doctor"]).code == 0;
    if !can {
        skip("FUSE");
    }
    can
}

pub(super) fn is_mounted(path: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == Some(path))
}

/// A filled database and a mount point, unmounted at the end whatever happens.
struct Site {
    place: Place,
    mnt: String,
}

impl Site {
    fn new() -> Self {
        let place = Place::filled();
        let mnt = place.at("mnt");
        fs::create_dir(&mnt).unwrap();
        Self { place, mnt }
    }

    fn mount(&self, flags: &[&str]) -> Ran {
        headstack(&[&["mount", &self.place.db, &self.mnt], flags].concat())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if is_mounted(&self.mnt) {
            headstack(&["umount", &self.mnt]);
        }
    }
}

/// The verb returns when the mount is ready, says nothing, and leaves a daemon behind that holds no descriptor of ours.
#[test]
fn mount_returns_when_the_mount_is_ready() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    assert_eq!(site.mount(&[]).text(), "");
    assert!(is_mounted(&site.mnt));
    let text = fs::read_to_string(format!("{}/t/text", site.mnt)).unwrap();
    assert_eq!(
        text,
        headstack(&["series", "cat", &site.place.db, "t"]).text(),
        "the same lines as cat"
    );
    assert_eq!(headstack(&["umount", &site.mnt]).text(), "");
    assert!(!is_mounted(&site.mnt));
    headstack(&["series", "append", &site.place.db, "t", "110", "11"]).text();
}

/// -v tells in one line what happened, --json in a document with the daemon's process id.
#[test]
fn mount_tells_what_it_did_when_asked() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let told = site.mount(&["-v"]).ends(0);
    assert_eq!(
        told.err,
        format!("headstack: {} mounted on {}\n", site.place.db, site.mnt)
    );
    let told = headstack(&["umount", "-v", &site.mnt]).ends(0);
    assert_eq!(told.err, format!("headstack: unmounted {}\n", site.mnt));
    let document = site.mount(&["--json"]).json();
    let pid = document["pid"].as_u64().unwrap();
    assert_eq!(document["mount_point"], site.mnt.as_str());
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm, "headstack\n");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/fd/1")).unwrap(),
        Path::new("/dev/null")
    );
    let unmounted = headstack(&["umount", "--json", &site.mnt]).json();
    assert_eq!(unmounted["mount_point"], site.mnt.as_str());
    wait_until("the daemon ends", || has_ended(pid));
}

/// Unmounting waits for the database that is mounted, not for what the table of mounts calls it.
#[test]
fn umount_waits_for_its_own_database() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let other = site.place.at("other");
    fs::create_dir(&other).unwrap();
    let lock = fs::File::create(format!("{other}/.headstack.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(site.mount(&["-o", &format!("fsname={other}")]).text(), "");
    assert_eq!(
        headstack(&["umount", &site.mnt]).ends(0).err,
        "",
        "nobody waits for the other"
    );
    let own = fs::File::open(format!("{}/.headstack.lock", site.place.db)).unwrap();
    own.try_lock().expect("the daemon has let go of it");
}

/// True where a process is gone, or is a zombie because nobody reaps orphans here.
fn has_ended(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_err() || status.is_ok_and(|status| status.contains("State:\tZ"))
}

/// T03: while the database is mounted readers read it, and writers are told to write through the mount.
#[test]
fn a_mounted_database_is_read_and_not_written() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let (db, mnt) = (site.place.db.as_str(), site.mnt.as_str());
    site.mount(&[]).text();
    let mut file = fs::File::options().append(true).open(format!("{mnt}/t/text")).unwrap();
    file.write_all(b"110 11\n").unwrap();
    assert!(
        headstack(&["series", "latest", db, "t"])
            .text()
            .starts_with("00000000000000000110 ")
    );
    for verb in ["show", "cat", "first"] {
        headstack(&["series", verb, db, "t"]).ends(0);
    }
    headstack(&["series", "check", db]).text();
    headstack(&["series", "append", db, "t", "120", "1"]).fails(75, &[db, &format!("try writing to {mnt}/t/raw")]);
    headstack(&["series", "append", db, "log", "9", "1", "--varlen"]).fails(75, &[&format!("{mnt}/varlen/log/raw")]);
    headstack(&["series", "trim", db, "t", "--before", "1", "--yes"]).fails(75, &[&format!("{mnt}/t/ctl"), "trim 1"]);
    headstack(&["series", "create", db, "u", "--block-size", "1"]).fails(75, &[&format!("mkdir {mnt}/u")]);
    headstack(&["snapshot", "create", db, "s"]).fails(75, &[&format!("mkdir {mnt}/.snapshot/s")]);
    site.mount(&[]).ends(75);
    for words in [
        &["series", "ls", mnt][..],
        &["series", "append", mnt, "t", "120", "1"],
        &["snapshot", "ls", mnt],
    ] {
        headstack(words).fails(64, &[mnt, "is a mount", &format!("try {db}")]);
    }
}

/// A user who is not root mounts through fusermount3, sees the mount, and takes it off again.
#[test]
fn other_users_can_mount() {
    if !can_mount() || peer("fusermount3").is_none() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("root, to become another user");
    }
    let site = Site::new();
    let binary = site.place.at("headstack");
    fs::copy(HEADSTACK, &binary).unwrap();
    fs::set_permissions(site.place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in run(Command::new("find").arg(site.place.path()), b"").text().lines() {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    let as_user = |words: &[&str]| {
        run(
            Command::new(&binary).args(words).uid(65534).gid(65534).env("HOME", "/"),
            b"",
        )
    };
    if as_user(&["doctor"]).code != 0 {
        return skip("/dev/fuse that other users may open");
    }
    as_user(&["mount", &site.place.db, &site.mnt]).text();
    assert!(is_mounted(&site.mnt));
    let mut cat = Command::new("cat");
    let text = run(cat.arg(format!("{}/t/text", site.mnt)).uid(65534).gid(65534), b"").text();
    assert_eq!(text.lines().count(), 10);
    as_user(&["umount", &site.mnt]).text();
    assert!(!is_mounted(&site.mnt));
    as_user(&["series", "append", &site.place.db, "t", "110", "11"]).text();
}

/// The child's complaint is shown by the verb, with the child's exit code, and nothing stays mounted.
#[test]
fn a_mount_that_fails_says_why() {
    let site = Site::new();
    let (db, mnt) = (site.place.db.as_str(), site.mnt.as_str());
    let absent = site.place.at("absent");
    headstack(&["mount", &absent, mnt]).fails(66, &["absent", "series create"]);
    headstack(&["mount", db, mnt, "-o", "frob"]).fails(64, &["frob", "mount --help"]);
    headstack(&["mount", db, mnt, "-o", "uid=x"]).fails(64, &["uid=x"]);
    assert!(!is_mounted(mnt));
    if can_mount() {
        let ran = headstack(&["mount", db, &absent]).ends(66);
        assert!(ran.err.contains(&absent), "{ran:?}");
    }
}

/// A mount in the foreground tells its service manager when it is ready, and a signal ends it cleanly.
#[test]
fn the_foreground_notifies_and_ends_by_signal() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let socket = site.place.at("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(LIMIT)).unwrap();
    let mut child = Command::new(HEADSTACK)
        .args(["mount", "--foreground", &site.place.db, &site.mnt])
        .env("NOTIFY_SOCKET", &socket)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut message = [0; 256];
    let length = listener.recv(&mut message).unwrap();
    assert!(
        message[..length].starts_with(b"READY=1"),
        "{:?}",
        String::from_utf8_lossy(&message[..length])
    );
    assert!(is_mounted(&site.mnt));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!is_mounted(&site.mnt));
}

/// What the daemon logs after it let go of the terminal is found in the file that `--log` names.
#[test]
fn the_daemon_logs_into_a_file() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let log = site.place.at("log");
    site.mount(&["-vv", "--log", &log]).ends(0);
    fs::read(format!("{}/t/raw", site.mnt)).unwrap();
    headstack(&["umount", &site.mnt]).text();
    let text = fs::read_to_string(&log).unwrap();
    let (time, _) = text.lines().next().unwrap().split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{text}");
}

/// mount(8) runs the program under the name `mount.fuse.headstack`, with its own options first or last.
#[test]
fn mount8_can_mount() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let helper = site.place.at("mount.fuse.headstack");
    symlink(HEADSTACK, &helper).unwrap();
    let (db, mnt) = (site.place.db.as_str(), site.mnt.as_str());
    let call = |words: &[&str]| run(Command::new(&helper).args(words), b"");
    call(&[db, mnt, "-f"]).text();
    assert!(!is_mounted(mnt), "-f mounts nothing");
    call(&[db, mnt, "-o", "rw,nofail,frob"]).fails(64, &["frob"]);
    call(&[db]).fails(64, &["mount point"]);
    call(&[db, mnt, "-s", "-o", "ro,nofail,frob,_netdev", "-t", "fuse.headstack"]).text();
    assert!(is_mounted(mnt));
    let refused = fs::create_dir(format!("{mnt}/new")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    headstack(&["umount", mnt]).text();
}

/// The helper's name counts, not the file's: a copy under another name takes the usual verbs.
#[test]
fn other_names_take_verbs() {
    let mut command = Command::new(HEADSTACK);
    command.arg0("/usr/local/bin/hs").arg("--version");
    assert!(run(&mut command, b"").text().starts_with("headstack "));
}

/// A mount point whose daemon was killed is cleared by the next mount.
#[test]
fn a_dead_mount_point_is_mounted_again() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let daemon = site.mount(&["--json"]).json()["pid"].as_u64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_until("the daemon has ended", || has_ended(daemon));
    wait_until("the mount is dead", || {
        fs::metadata(&site.mnt).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    });
    site.mount(&[]).ends(0);
    assert!(fs::read_dir(format!("{}/t", site.mnt)).unwrap().count() > 0);
}

/// A file that is open keeps the mount busy; lazily it goes all the same, and its reader goes on.
#[test]
fn umount_minds_open_files_unless_lazy() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    site.mount(&[]).text();
    let mut file = fs::File::open(format!("{}/t/text", site.mnt)).unwrap();
    let ran = headstack(&["umount", &site.mnt]).ends(75);
    assert!(ran.err.contains(&site.mnt) && ran.err.contains("busy"), "{ran:?}");
    assert!(is_mounted(&site.mnt));
    headstack(&["umount", "--lazy", &site.mnt]).text();
    assert!(!is_mounted(&site.mnt));
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 10);
    drop(file);
    wait_until("the database is closed", || {
        headstack(&["series", "sync", &site.place.db]).code == 0
    });
}

/// Nothing is mounted there: the message says so, and what is there is left alone.
#[test]
fn umount_leaves_alone_what_is_not_ours() {
    let place = Place::new();
    let ran = headstack(&["umount", &place.path().display().to_string()]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains(&place.path().display().to_string()), "{ran:?}");
    let ran = headstack(&["umount", "/proc"]);
    assert_ne!(ran.code, 0);
    assert!(is_mounted("/proc"));
}
