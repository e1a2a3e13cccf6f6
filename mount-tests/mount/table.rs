//! The operation table: every row, with its errno.
//!
//! The errno is that of ext4's append-only attribute where that has a say; [`super::differential`] asks ext4 itself.
//! Each test makes a mount of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FallocateFlags, Mode, OFlags, SeekFrom as Seeking, Timespec, Timestamps},
    io::Errno,
};

use super::fixture::{Mount, appender, errno, record, records, shell, try_shell};

/// A mount with a series of 8 byte values that has a hundred entries, two closed chunks among them.
fn filled() -> (Mount, PathBuf) {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "40");
    appender(&series.join("raw")).write_all(&records(1..=100)).unwrap();
    (mount, series)
}

fn open(path: &Path, flags: OFlags) -> Result<(), Errno> {
    rustix::fs::open(path, flags, Mode::empty()).map(drop)
}

fn chunk(series: &Path) -> PathBuf {
    series.join("chunks/00000000000000000001.chunk")
}

#[test]
fn entries_open_for_reading_and_appending_only() {
    let (_mount, series) = filled();
    for name in ["raw", "text"] {
        let file = series.join(name);
        for (flags, expected) in [
            (OFlags::RDONLY, Ok(())),
            (OFlags::WRONLY | OFlags::APPEND, Ok(())),
            (OFlags::RDWR | OFlags::APPEND, Ok(())),
            (OFlags::WRONLY, Err(Errno::PERM)),
            (OFlags::RDWR, Err(Errno::PERM)),
            (OFlags::WRONLY | OFlags::APPEND | OFlags::TRUNC, Err(Errno::PERM)),
            (OFlags::RDONLY | OFlags::TRUNC, Err(Errno::PERM)),
        ] {
            assert_eq!(open(&file, flags), expected, "{name} {flags:?}");
        }
        let end = fs::metadata(&file).unwrap().len();
        for size in [0, end, end + 1] {
            assert!(
                !try_shell(&format!("truncate -s {size} {}", file.display()))
                    .status
                    .success(),
                "{name} {size}"
            );
            assert_eq!(errno(appender(&file).set_len(size)), libc::EPERM, "{name} {size}");
        }
        assert_eq!(fs::metadata(&file).unwrap().len(), end);
    }
}

/// T13: entries go to the end, whatever offset the caller names.
#[test]
fn an_append_goes_to_the_end_whatever_the_offset() {
    let (_mount, series) = filled();
    let mut file = OpenOptions::new()
        .append(true)
        .read(true)
        .open(series.join("raw"))
        .unwrap();
    file.write_all_at(&record(101, &[1; 8]), 0).unwrap();
    file.seek(SeekFrom::Start(3)).unwrap();
    file.write_all(&record(102, &[2; 8])).unwrap();
    let mut expected = records(1..=100);
    expected.extend(record(101, &[1; 8]));
    expected.extend(record(102, &[2; 8]));
    assert_eq!(fs::read(series.join("raw")).unwrap(), expected);
}

#[test]
fn a_write_after_o_append_was_cleared_is_refused() {
    let (_mount, series) = filled();
    let file = appender(&series.join("raw"));
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).unwrap();
    assert_eq!(errno((&file).write(&record(101, &[1; 8]))), libc::EPERM);
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND).unwrap();
    assert_eq!((&file).write(&record(101, &[1; 8])).unwrap(), 16);
}

#[test]
fn records_may_be_cut_anywhere_between_writes() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "block_size", "16");
    let bytes: Vec<u8> = (1..=20_000u64)
        .flat_map(|t| record(t, &[u8::try_from(t % 251).unwrap(); 16]))
        .collect();
    let file = mount.scratch("in");
    fs::write(&file, &bytes).unwrap();
    // cat writes 128 KiB at a time, which is no multiple of 24.
    shell(&format!("cat {} >> {}", file.display(), series.join("raw").display()));
    assert!(fs::read(series.join("raw")).unwrap() == bytes);
}

#[test]
fn a_fragment_is_refused_at_once_and_a_held_one_at_close() {
    let (mount, series) = filled();
    let raw = series.join("raw");
    let short = try_shell(&format!("printf x >> {}", raw.display()));
    assert!(!short.status.success());
    assert!(String::from_utf8_lossy(&short.stderr).contains("Invalid argument"));
    let tools = ["cat $IN >> $OUT", "dd if=$IN of=$OUT bs=1M oflag=append conv=notrunc"];
    for (number, tool) in tools.into_iter().enumerate() {
        let first = 101 + 100 * number as u64;
        let whole = records(first..first + 100);
        let cut = mount.scratch("cut");
        fs::write(&cut, [&whole[..], b"rest"].concat()).unwrap();
        let run = try_shell(&format!("IN={} OUT={}; {tool}", cut.display(), raw.display()));
        assert!(!run.status.success(), "{tool}");
        assert!(
            String::from_utf8_lossy(&run.stderr).contains("Invalid argument"),
            "{tool}"
        );
        assert_eq!(fs::metadata(&raw).unwrap().len(), (first + 99) * 16, "{tool}");
    }
    assert!(
        fs::read_to_string(series.join("stats"))
            .unwrap()
            .contains("held_fragments 2\n")
    );
}

#[test]
fn lines_are_committed_as_they_end_and_the_last_one_at_close() {
    let (_mount, series) = filled();
    let text = series.join("text");
    let mut file = appender(&text);
    file.write_all(b"101 ff\n102 a").unwrap();
    assert_eq!(fs::metadata(&text).unwrap().len(), 101 * 38);
    file.write_all(b"a").unwrap();
    drop(file);
    assert_eq!(
        shell(&format!("tail -n 2 {}", text.display())),
        "00000000000000000101 ff00000000000000\n00000000000000000102 aa00000000000000\n"
    );
}

/// T13: a timestamp has to exceed the last one; what came before it in the same write is stored, and counted.
#[test]
fn a_bad_entry_makes_a_short_count_and_then_its_errno() {
    let (_mount, series) = filled();
    let mut raw = appender(&series.join("raw"));
    let mut bytes = records([101, 102, 102, 103]);
    assert_eq!(raw.write(&bytes).unwrap(), 32);
    assert_eq!(errno(raw.write(&bytes.split_off(32))), libc::ERANGE);
    let mut text = appender(&series.join("text"));
    assert_eq!(text.write(b"103 00\n103 00\n104 00\n").unwrap(), 7);
    assert_eq!(errno(text.write(b"103 00\n104 00\n")), libc::ERANGE);
    assert_eq!(text.write(b"104 00\n105 zz\n").unwrap(), 7);
    assert_eq!(errno(text.write(b"105 zz\n")), libc::EINVAL);
    assert_eq!(errno(text.write(b"105 000102030405060708\n")), libc::EMSGSIZE);
    assert_eq!(errno(text.write(b"105\n")), libc::EINVAL);
    assert_eq!(text.write(b"105 01\n").unwrap(), 7);
    assert_eq!(fs::metadata(series.join("raw")).unwrap().len(), 105 * 16);
}

#[test]
fn what_is_no_entry_can_only_be_read() {
    let (_mount, series) = filled();
    let derived = [
        "latest",
        "stats",
        "range/1-5.raw",
        "range/1-.text",
        "chunks/00000000000000000001.text",
    ];
    for name in derived.into_iter().chain(["chunks/00000000000000000001.chunk"]) {
        assert_eq!(open(&series.join(name), OFlags::RDONLY), Ok(()), "{name}");
        for flags in [
            OFlags::WRONLY,
            OFlags::WRONLY | OFlags::APPEND,
            OFlags::RDWR,
            OFlags::WRONLY | OFlags::TRUNC,
        ] {
            assert_eq!(open(&series.join(name), flags), Err(Errno::PERM), "{name} {flags:?}");
        }
        assert_eq!(errno(fs::remove_file(series.join("latest"))), libc::EPERM);
    }
    fs::create_dir(series.parent().unwrap().join(".snapshot/x")).unwrap();
    let frozen = series.parent().unwrap().join(".snapshot/x/s");
    for name in derived.into_iter().chain(["raw", "text", "meta"]) {
        assert_eq!(open(&frozen.join(name), OFlags::RDONLY), Ok(()), "{name}");
        for flags in [
            OFlags::WRONLY,
            OFlags::WRONLY | OFlags::APPEND,
            OFlags::WRONLY | OFlags::TRUNC,
        ] {
            assert_eq!(open(&frozen.join(name), flags), Err(Errno::ROFS), "{name} {flags:?}");
        }
        assert_eq!(errno(fs::remove_file(frozen.join("raw"))), libc::EROFS);
    }
    assert_eq!(errno(fs::create_dir(frozen.join("new"))), libc::EROFS);
}

#[test]
fn owner_mode_times_links_and_names_stay() {
    let (mount, series) = filled();
    for name in ["raw", "text"] {
        let file = series.join(name);
        let now = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_NOW,
            },
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_NOW,
            },
        };
        let set = |times| rustix::fs::utimensat(rustix::fs::CWD, &file, times, rustix::fs::AtFlags::empty());
        assert_eq!(set(&now), Ok(()), "{name}");
        let chosen = OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH);
        assert_eq!(errno(chosen), libc::EPERM, "{name}");
        assert_eq!(
            errno(fs::set_permissions(&file, fs::Permissions::from_mode(0o600))),
            libc::EPERM,
            "{name}"
        );
        assert_eq!(
            errno(std::os::unix::fs::chown(&file, Some(1), None)),
            libc::EPERM,
            "{name}"
        );
        assert_eq!(errno(fs::hard_link(&file, series.join("other"))), libc::EPERM, "{name}");
        assert_eq!(errno(fs::rename(&file, series.join("other"))), libc::EPERM, "{name}");
        assert_eq!(errno(fs::remove_file(&file)), libc::EPERM, "{name}");
    }
    for directory in [series.clone(), mount.point()] {
        assert_eq!(errno(File::create(directory.join("stray"))), libc::EPERM);
        assert_eq!(errno(symlink("raw", directory.join("stray"))), libc::EPERM);
        let kind = rustix::fs::FileType::Fifo;
        let made = rustix::fs::mknodat(rustix::fs::CWD, directory.join("stray"), kind, Mode::RWXU, 0);
        assert_eq!(made, Err(Errno::PERM));
    }
    assert_eq!(errno(fs::create_dir(series.join("stray"))), libc::EPERM);
    assert_eq!(errno(fs::remove_dir(series.join("chunks"))), libc::EPERM);
    assert_eq!(errno(fs::metadata(series.join("stray"))), libc::ENOENT);
    assert_eq!(errno(fs::metadata(series.join("x".repeat(256)))), libc::ENAMETOOLONG);
}

#[test]
fn space_cannot_be_reserved_and_holes_do_not_exist() {
    let (_mount, series) = filled();
    let file = appender(&series.join("raw"));
    for flags in [
        FallocateFlags::empty(),
        FallocateFlags::KEEP_SIZE,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
    ] {
        assert_eq!(
            rustix::fs::fallocate(&file, flags, 0, 4096),
            Err(Errno::OPNOTSUPP),
            "{flags:?}"
        );
    }
    let file = File::open(series.join("raw")).unwrap();
    assert_eq!(rustix::fs::seek(&file, Seeking::Data(5)), Ok(5));
    assert_eq!(rustix::fs::seek(&file, Seeking::Hole(5)), Ok(1600));
    assert_eq!(rustix::fs::seek(&file, Seeking::Data(1600)), Err(Errno::NXIO));
    assert_eq!(rustix::fs::seek(&file, Seeking::Hole(1600)), Err(Errno::NXIO));
    assert_eq!(rustix::fs::seek(&file, Seeking::End(-16)), Ok(1584));
}

#[test]
fn a_growing_file_cannot_be_mapped_and_a_closed_chunk_can() {
    let (mount, series) = filled();
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    for (path, expected) in [
        (series.join("raw"), false),
        (series.join("text"), false),
        (chunk(&series), true),
        (mount.path(".snapshot/x/s/raw"), true),
        (mount.path(".snapshot/x/s/text"), true),
    ] {
        let map = memory_map(&path);
        assert_eq!(map.is_ok(), expected, "{} {map:?}", path.display());
    }
}

/// Maps with a program of its own, for a mapping of a file that is gone would be a signal here.
fn memory_map(path: &Path) -> Result<(), String> {
    let script = "import mmap,sys; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,mmap.MAP_SHARED,mmap.PROT_READ); \
                  f.seek(0); sys.exit(m[:]!=f.read())";
    let run = try_shell(&format!("python3 -c \"{script}\" {}", path.display()));
    match run.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&run.stderr).into_owned()),
    }
}

#[test]
fn flags_show_what_a_file_is_and_stay() {
    let (mount, series) = filled();
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    let flags = |path: &Path| {
        let shown = shell(&format!("lsattr -d {}", path.display()));
        shown.split(' ').next().unwrap().replace('-', "")
    };
    for (name, expected) in [
        ("raw", "a"),
        ("text", "ad"),
        ("latest", "d"),
        ("stats", "d"),
        ("ctl", "d"),
        ("chunks", "d"),
        ("range", "d"),
        ("meta", ""),
        (".", ""),
        ("chunks/00000000000000000001.chunk", "id"),
        ("chunks/00000000000000000081.chunk", "d"),
        ("chunks/00000000000000000001.text", "id"),
        ("range/1-50.raw", "id"),
        ("range/1-.raw", "d"),
        ("../.snapshot/x/s/raw", "i"),
        ("../.stats", "d"),
    ] {
        assert_eq!(flags(&series.join(name)), expected, "{name}");
    }
    for command in ["chattr +a", "chattr =a"] {
        shell(&format!("{command} {}", series.join("raw").display()));
    }
    for command in ["chattr -a", "chattr +i"] {
        assert!(
            !try_shell(&format!("{command} {}", series.join("raw").display()))
                .status
                .success(),
            "{command}"
        );
    }
}

/// T11, T23: fsync of a file syncs its series, fsync of the root syncs all.
#[test]
fn fsync_is_the_sync_of_the_series() {
    let (mount, series) = filled();
    let file = appender(&series.join("raw"));
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(&series).unwrap().sync_all().unwrap();
    File::open(mount.point()).unwrap().sync_all().unwrap();
    File::open(series.join("raw")).unwrap().sync_all().unwrap();
    shell(&format!("sync -f {}", series.join("raw").display()));
}

#[test]
fn stat_is_exact() {
    let (mount, series) = filled();
    let before = SystemTime::now();
    appender(&series.join("raw")).write_all(&records([101])).unwrap();
    let facts = fs::metadata(series.join("raw")).unwrap();
    assert_eq!((facts.len(), facts.nlink(), facts.blksize()), (101 * 16, 1, 1 << 20));
    let modified = facts.modified().unwrap();
    assert!(modified + Duration::from_millis(20) >= before && modified <= SystemTime::now());
    assert_eq!(fs::metadata(series.join("text")).unwrap().len(), 101 * 38);
    assert_eq!(fs::metadata(series.join("latest")).unwrap().len(), 38);
    let on_disk: u64 = fs::read_dir(mount.database().join("s"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.file_name() == "metadata.txt" {
                0
            } else {
                entry.metadata().unwrap().blocks()
            }
        })
        .sum();
    assert_eq!(facts.blocks(), on_disk);
    let (ours, host) = (
        rustix::fs::statvfs(mount.point()).unwrap(),
        rustix::fs::statvfs(mount.database()).unwrap(),
    );
    assert_eq!(
        (ours.f_blocks * ours.f_frsize, ours.f_namemax),
        (host.f_blocks * host.f_frsize, 255)
    );
}

/// T22: metadata is overwritten as a whole; bad JSON changes nothing.
#[test]
fn meta_is_overwritten_as_a_whole() {
    let (mount, series) = filled();
    let meta = series.join("meta");
    assert_eq!(fs::read_to_string(&meta).unwrap(), "null\n");
    shell(&format!(
        "echo '{{\"unit\": \"K\", \"n\": [1, 2.50]}}' > {}",
        meta.display()
    ));
    assert_eq!(fs::read_to_string(&meta).unwrap(), "{\"unit\":\"K\",\"n\":[1,2.50]}\n");
    for bad in ["{", "5", "[]", "{} x"] {
        let file = mount.scratch("bad");
        fs::write(&file, bad).unwrap();
        let run = try_shell(&format!("dd if={} of={}", file.display(), meta.display()));
        assert!(
            String::from_utf8_lossy(&run.stderr).contains("Invalid argument"),
            "{bad}"
        );
    }
    assert_eq!(fs::read_to_string(&meta).unwrap(), "{\"unit\":\"K\",\"n\":[1,2.50]}\n");
    shell(&format!(": > {}", meta.display()));
    assert_eq!(fs::metadata(&meta).unwrap().len(), 26);
    shell(&format!("echo null > {}", meta.display()));
    assert_eq!(fs::read_to_string(&meta).unwrap(), "null\n");
}

#[test]
fn lax_append_takes_writes_at_the_exact_end() {
    let mount = Mount::with("lax-append");
    let series = mount.series("s");
    let source = mount.scratch("in");
    fs::write(&source, records(1..=100_000)).unwrap();
    shell(&format!("cp {} {}", source.display(), series.join("raw").display()));
    assert!(fs::read(series.join("raw")).unwrap() == records(1..=100_000));
    let mut file = OpenOptions::new().write(true).open(series.join("raw")).unwrap();
    assert_eq!(errno(file.write(&records([100_001]))), libc::EPERM);
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(&records([100_001])).unwrap();
    file.set_len(100_001 * 16).unwrap();
    assert_eq!(errno(file.set_len(16)), libc::EPERM);
    assert!(
        !try_shell(&format!("cp {} {}", source.display(), series.join("raw").display()))
            .status
            .success()
    );
    fs::write(&source, records(1..=100_500)).unwrap();
    if try_shell("rsync --version").status.success() {
        shell(&format!(
            "rsync --inplace --append {} {}",
            source.display(),
            series.join("raw").display()
        ));
        assert!(fs::read(series.join("raw")).unwrap() == records(1..=100_500));
    }
}

#[test]
fn a_read_only_mount_takes_nothing() {
    let (mut mount, series) = filled();
    mount.remount("ro");
    assert_eq!(fs::read(series.join("raw")).unwrap(), records(1..=100));
    assert_eq!(
        open(&series.join("raw"), OFlags::WRONLY | OFlags::APPEND),
        Err(Errno::ROFS)
    );
    assert_eq!(errno(fs::create_dir(mount.path("t"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(chunk(&series))), libc::EROFS);
    assert_eq!(errno(fs::rename(&series, mount.path("t"))), libc::EROFS);
}

/// rsync and backups go by the time of the last append: it stays when the database is closed and opened again.
#[test]
fn the_time_of_the_last_append_survives_a_remount() {
    let (mut mount, series) = filled();
    appender(&series.join("raw")).write_all(&records([101])).unwrap();
    let time = |name: &str| fs::metadata(series.join(name)).unwrap().modified().unwrap();
    let (before, closed) = (time("raw"), time("chunks/00000000000000000001.chunk"));
    mount.remount("");
    assert_eq!(
        (time("raw"), time("chunks/00000000000000000001.chunk")),
        (before, closed)
    );
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    let frozen = fs::metadata(mount.path(".snapshot/x/s/raw"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(frozen, before);
}
