//! The life of the mount itself: served by other processes, killed, signalled, busy, unmounted from outside.
//!
//! The other process is this test binary, run with a variable that tells it to serve; so it can be killed, and can be
//! another user's.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use headstack::{
    mount::{
        kernel::{self, KernelError},
        session::{Ended, MountRequest, StopSignals, mount},
    },
    series::{Database, OpenOptions},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::fixture::{Mount, appender, errno, records, shell, try_shell};

/// Name of the test that serves where this is set: `DATABASE MOUNTPOINT OPTIONS`.
const SERVE: &str = "HEADSTACK_TEST_SERVE";

/// Not a test: what the other tests run as a process of its own, to kill it or to be another user.
#[test]
fn serve_for_another_test() {
    let Ok(task) = std::env::var(SERVE) else { return };
    let words: Vec<&str> = task.split('|').collect();
    let database = Database::open(Path::new(words[0]), OpenOptions::read_write()).unwrap();
    let request = MountRequest {
        database: words[0].into(),
        mount_point: words[1].into(),
        options: words[2].parse().unwrap(),
    };
    let signals = StopSignals::catch().unwrap();
    let mounted = mount(&request, database).unwrap();
    say("READY");
    let ended = mounted.wait(signals).unwrap();
    say(&format!("ENDED {ended:?}"));
}

/// Says a line to the test that started this process.
fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A mount that another process serves. Dropping it kills that and unmounts.
struct Served {
    child: Child,
    lines: mpsc::Receiver<String>,
    directory: TempDir,
}

impl Served {
    fn new(options: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("m")).unwrap();
        Database::create(&directory.path().join("db"), OpenOptions::read_write())
            .unwrap()
            .close()
            .unwrap();
        Self::start(directory, options, |command| command)
    }

    fn start(directory: TempDir, options: &str, how: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "mount::session::serve_for_another_test", "--nocapture"])
            .env(SERVE, format!("{}|{}|{options}", at("db"), at("m")))
            .stdout(Stdio::piped());
        let mut child = how(&mut command).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let served = Self {
            child,
            lines,
            directory,
        };
        served.wait_for("READY");
        served
    }

    /// The first line that contains `word`.
    fn wait_for(&self, word: &str) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {word} within a minute"));
            if line.contains(word) {
                return line;
            }
        }
    }

    fn point(&self) -> std::path::PathBuf {
        self.directory.path().join("m")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = kernel::umount(&self.point(), true);
    }
}

/// Waits for a condition, a minute at most.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        thread::yield_now();
    }
}

fn is_mounted(path: &Path) -> bool {
    kernel::mounted_at(path).is_some()
}

#[test]
fn signals_unmount_and_close_the_database() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut served = Served::new("");
        fs::create_dir(served.point().join("s")).unwrap();
        appender(&served.point().join("s/raw"))
            .write_all(&records(1..=100))
            .unwrap();
        served.signal(signal);
        assert!(
            served
                .wait_for("ENDED")
                .contains(&format!("{:?}", Ended::Signal(signal.as_raw())))
        );
        assert!(served.child.wait().unwrap().success());
        assert!(!is_mounted(&served.point()));
        let database = Database::open(&served.directory.path().join("db"), OpenOptions::read_write()).unwrap();
        assert_eq!(database.series("s").unwrap().entries().unwrap(), 100);
        assert_eq!(database.statistics().recovered, []);
        database.close().unwrap();
    }
}

#[test]
fn a_busy_mount_is_taken_off_and_its_open_files_go_on_for_a_while() {
    let mut mount = Mount::new();
    let series = mount.series("s");
    appender(&series.join("raw")).write_all(&records(1..=100)).unwrap();
    let open = File::open(series.join("raw")).unwrap();
    let reader = thread::spawn(move || {
        // The mount leaves the tree while this is open.
        let mut buffer = [0; 16];
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            std::os::unix::fs::FileExt::read_exact_at(&open, &mut buffer, 16).unwrap();
        }
        buffer
    });
    mount.unmount();
    assert!(!is_mounted(&mount.point()));
    assert_eq!(reader.join().unwrap().to_vec(), records([2]));
}

#[test]
fn unmounting_from_outside_ends_the_server() {
    let mut served = Served::new("");
    shell(&format!("umount {}", served.point().display()));
    assert!(served.wait_for("ENDED").contains("Unmounted"));
    assert!(served.child.wait().unwrap().success());
    // And nobody else's mount that comes to the same place is harmed by a server that ends late.
    let mount = Mount::new();
    let late = mount.mounted();
    assert!(is_mounted(late.path()));
    shell(&format!("umount {0} && mount -t tmpfs none {0}", late.path().display()));
    let point = mount.point();
    drop(mount);
    assert_eq!(
        kernel::mounted_at(&point).map(|mount| mount.kind),
        Some("tmpfs".to_owned())
    );
    shell(&format!("umount {}", point.display()));
}

/// A server that died leaves a mount point that answers ENOTCONN; the next mount takes that off, so mounts never stack.
#[test]
fn a_dead_mount_point_is_recovered() {
    let mut served = Served::new("");
    fs::create_dir(served.point().join("s")).unwrap();
    let raw = served.point().join("s/raw");
    let mut file = appender(&raw);
    file.write_all(&records(1..=100)).unwrap();
    file.sync_all().unwrap();
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    wait_until("the mount is dead", || {
        errno(fs::metadata(served.point())) == libc::ENOTCONN
    });
    drop(file);
    let directory = std::mem::replace(&mut served.directory, TempDir::new().unwrap());
    let again = Served::start(directory, "", |command| command);
    assert_eq!(fs::read(again.point().join("s/raw")).unwrap(), records(1..=100));
    let lines = shell(&format!("grep -c ' {} ' /proc/self/mountinfo", again.point().display()));
    assert_eq!(lines.trim(), "1");
}

#[test]
fn a_living_mount_is_not_mounted_over() {
    let mount_a = Mount::new();
    let scratch = mount_a.scratch("other");
    let database = Database::create(&scratch, OpenOptions::read_write()).unwrap();
    let request = MountRequest {
        database: scratch,
        mount_point: mount_a.point(),
        options: Default::default(),
    };
    let error = mount(&request, database).unwrap_err();
    assert!(error.to_string().contains("fuse.headstack"), "{error}");
    assert!(matches!(
        kernel::recover_dead_mount_point(&mount_a.point()),
        Err(KernelError::Occupied { .. })
    ));
}

#[test]
fn proc_mounts_shows_what_is_mounted() {
    let mount = Mount::with("noexec,fsname=mydata");
    let line = shell(&format!("grep ' {} ' /proc/mounts", mount.point().display()));
    assert!(line.starts_with("mydata "), "{line}");
    for word in [
        " fuse.headstack ",
        "nosuid",
        "nodev",
        "noexec",
        "noatime",
        "default_permissions",
    ] {
        assert!(line.contains(word), "{line}");
    }
}

/// Other users are kept out unless allow_other lets them in, and then the modes decide.
#[test]
fn others_look_in_only_where_they_are_let_in() {
    let as_nobody = |command: String| {
        try_shell(&format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '{command}'"
        ))
    };
    for (options, expected) in [("", false), ("allow_other", true)] {
        let mount = Mount::with(options);
        let series = mount.series("s");
        appender(&series.join("raw")).write_all(&records([1])).unwrap();
        fs::set_permissions(mount.scratch(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(
            as_nobody(format!("cat {}/raw", series.display())).status.success(),
            expected,
            "{options}"
        );
        assert!(
            !as_nobody(format!("echo 2 00 >> {}/text", series.display()))
                .status
                .success()
        );
    }
}

#[test]
fn a_user_mounts_through_the_helper() {
    let helper = try_shell("test -u $(command -v fusermount3) && test -x $(command -v fusermount3)");
    if !helper.status.success() || !try_shell("test $(id -u) = 0 && command -v setpriv").status.success() {
        return crate::peer::skip("becoming another user takes root, setpriv and a set-user-id fusermount3");
    }
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("m")).unwrap();
    Database::create(&directory.path().join("db"), OpenOptions::read_write())
        .unwrap()
        .close()
        .unwrap();
    shell(&format!(
        "chown -R 65534:65534 {0} && chmod 755 {0}",
        directory.path().display()
    ));
    let mut served = Served::start(directory, "", |command| {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534)
    });
    let as_nobody = |command: &str| {
        try_shell(&format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '{command}'"
        ))
    };
    let point = served.point().display().to_string();
    let run = as_nobody(&format!(
        "cd {point} && mkdir s && echo 5 0a >> s/text && cat s/text && grep reads s/stats"
    ));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let out = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(out, "00000000000000000005 0a00000000000000\nreads cached\n");
    served.signal(Signal::TERM);
    served.wait_for("ENDED");
    assert!(served.child.wait().unwrap().success());
    assert!(!is_mounted(&served.point()));
}
