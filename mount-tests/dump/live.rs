//! Series that a restore has for itself while it fills them, as `restore --live` asks for.
//!
//! The mount is served by this process; who is kept away are programs of a shell. The tape comes through a pipe, so the
//! restore stands still where the test wants it to.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
};

use headstack::{
    dump::{
        reader::Reader,
        restore::{Choice, Destination, Terms, extract},
    },
    storage::SimDirectory,
    tape::{Container, Found, Limits, Names, Volumes, pipe},
};

use super::{Place, root};
use crate::mount::fixture::{Mount, appender, records, try_shell};

fn headstack(place: &Place, words: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headstack"));
    command.args(words).arg("--state").arg(place.path("state"));
    command.env_remove("RUST_LOG").output().unwrap()
}

/// Waits until a command of a shell fails as busy.
#[track_caller]
fn becomes_busy(command: &str) {
    for _ in 0..10_000 {
        let output = try_shell(command);
        if String::from_utf8_lossy(&output.stderr).contains("resource busy") {
            return;
        }
        assert!(output.status.success(), "{output:?}");
    }
    panic!("{command} goes on");
}

/// D24, D25: while a file of a series is restored, nobody else reads it, writes to it, or to its metadata, renames or removes it,
/// and a dump leaves it out, in its snapshot too; the next dump has it. Other series go on, and afterwards all is as it was.
#[test]
fn a_series_is_kept_from_others_while_it_is_restored() {
    if !root() {
        return;
    }
    let (place, mount, other) = (Place::new(), Mount::in_memory(), Mount::with("allow-delete"));
    appender(&mount.series("t").join("raw"))
        .write_all(&records(0..200_000))
        .unwrap();
    let tape = place.path("tapes/t.tap");
    let (tape, point) = (tape.to_str().unwrap(), mount.point());
    let dumped = headstack(&place, &["dump", "-0", "-b", "10", "-f", tape, point.to_str().unwrap()]);
    assert!(dumped.status.success(), "{dumped:?}");

    let (series, aside) = (other.series("t"), other.series("aside"));
    appender(&series.join("raw")).write_all(&records(0..10)).unwrap();
    let mut before = Command::new("bash");
    before.arg("-c").arg("exec 3>>raw; head -c 7; printf 12345678 >&3");
    let before = before.current_dir(&series).stdin(Stdio::piped()).stderr(Stdio::piped());
    let before = before.spawn().unwrap();

    let (to, from) = pipe::pipe();
    let piped = Volumes {
        directory: Arc::new(SimDirectory::new()),
        names: Names::Piped(from),
        container: Container::Flat,
        record_bytes: 10 * 1024,
        limits: Limits::default(),
    };
    let destination = Destination::open(&other.point()).unwrap().on(Terms {
        live: true,
        ..Terms::default()
    });
    let mut source = place.listed("t.tap", Container::Tap).open(1).unwrap();
    let mut to = to.writer().unwrap();
    let mut record = Vec::new();
    let second = place.path("tapes/second.tap");
    let level = |level| {
        let words = ["dump", level, "-u", "-f", second.to_str().unwrap()];
        headstack(&place, &[&words[..], &[other.point().to_str().unwrap()]].concat())
    };
    std::thread::scope(|scope| {
        let restoring = scope.spawn(|| extract(&mut Reader::open(piped, 0).unwrap(), &destination, &Choice::all()));
        for _ in 0..100 {
            assert_eq!(source.read_record(&mut record).unwrap(), Found::Record);
            to.write_record(&record).unwrap();
        }
        let at = |what: &str| what.replace('@', series.to_str().unwrap());
        becomes_busy(&at("cat @/raw > /dev/null"));
        for refused in [
            "cat @/text",
            "cat @/latest",
            "printf 1234567812345678 >> @/raw",
            "echo '{}' > @/meta",
            "echo synced 1 > @/ctl",
            "setfattr -n user.headstack.last_entry_synced -v 1 @",
            "rmdir @",
            "mv @ @2",
        ] {
            let output = try_shell(&at(refused));
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(
                !output.status.success() && told.contains("resource busy"),
                "{refused}: {output:?}"
            );
        }
        // What was open before is refused as well, and what it held of an entry is no entry.
        let output = before.wait_with_output().unwrap();
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("resource busy"),
            "{output:?}"
        );
        assert!(
            try_shell(&format!("ls -l {} && cat {}/raw", series.display(), aside.display()))
                .status
                .success()
        );
        let left_out = level("-0");
        let told = String::from_utf8_lossy(&left_out.stderr);
        assert!(
            left_out.status.code() == Some(74) && told.contains("t/raw: is busy"),
            "{left_out:?}"
        );
        while source.read_record(&mut record).unwrap() == Found::Record {
            to.write_record(&record).unwrap();
        }
        drop(to);
        let restored = restoring.join().unwrap().unwrap();
        assert_eq!(restored.troubles, []);
    });
    let cat = try_shell(&format!("cat {}/raw", series.display()));
    assert!(
        cat.status.success() && cat.stdout == records(0..200_000),
        "{:?}",
        cat.stderr
    );
    assert!(level("-1").status.success());
    let out = place.path("out");
    let back = headstack(
        &place,
        &[
            "restore",
            "-x",
            "-s",
            "2",
            "-f",
            second.to_str().unwrap(),
            "-D",
            out.to_str().unwrap(),
        ],
    );
    assert!(back.status.success(), "{back:?}");
    assert_eq!(fs::read(out.join("t/raw")).unwrap(), records(0..200_000));
}

/// A lock ends with the process that has it, and only what is in a mounted database can be kept from others.
#[test]
fn a_lock_ends_with_its_process() {
    if !root() {
        return;
    }
    let (place, mount) = (Place::new(), Mount::in_memory());
    let series = mount.series("t");
    appender(&series.join("raw")).write_all(&records(0..10)).unwrap();
    let mut holder = Command::new("sh");
    holder
        .arg("-c")
        .arg("exec 3>ctl; echo lock $$ >&3; read word < raw; echo locked; read word");
    let mut holder = holder
        .current_dir(&series)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut line).unwrap();
    let busy = fs::read(series.join("raw")).unwrap_err();
    assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy);
    holder.kill().unwrap();
    holder.wait().unwrap();
    // The kernel closes the files of a process that is gone without waiting for us.
    let read = (0..100_000).find_map(|_| fs::read(series.join("raw")).ok());
    assert_eq!(read, Some(records(0..10)));

    fs::write(place.path("tree/file"), "file").unwrap();
    let (tape, tree) = (place.path("tapes/t.tap"), place.path("tree"));
    let dumped = headstack(
        &place,
        &["dump", "-0", "-f", tape.to_str().unwrap(), tree.to_str().unwrap()],
    );
    assert!(dumped.status.success(), "{dumped:?}");
    let words = ["restore", "-x", "--live", "-f", tape.to_str().unwrap(), "-D"];
    let refused = headstack(&place, &[&words[..], &[place.path("out").to_str().unwrap()]].concat());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(64) && told.contains("no mounted database"),
        "{refused:?}"
    );
}
