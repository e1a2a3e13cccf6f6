//! The life of series and snapshots, by file operations alone.
//!
//! They are made by mkdir, set up by attributes, renamed by mv, trimmed by removing their oldest chunk, frozen by mkdir
//! in `.snapshot`, and removed by rmdir.

use std::{fs, io::Write, path::Path};

use super::fixture::{Mount, appender, errno, records, shell, try_shell};

fn attribute(path: &Path, name: &str) -> String {
    shell(&format!(
        "getfattr --only-values -n user.headstack.{name} '{}'",
        path.display()
    ))
}

fn set(path: &Path, name: &str, value: &str) -> String {
    let run = try_shell(&format!("setfattr -n {name} -v '{value}' '{}'", path.display()));
    String::from_utf8_lossy(&run.stderr)
        .trim()
        .rsplit(": ")
        .next()
        .unwrap()
        .to_owned()
}

/// T06, T07, T12: parameters are attributes, inherited from the parent, changed while the series is empty.
#[test]
fn mkdir_makes_a_series_with_inherited_parameters() {
    let mut mount = Mount::new();
    mount.set(&mount.point(), "block_size", "5000");
    mount.set(&mount.point(), "format", "utf8");
    mount.set(&mount.path("varlen"), "length_profile", "4,6");
    mount.set(&mount.path("varlen"), "size_struct", "1");
    mount.remount("");
    let series = mount.series("s");
    assert_eq!(
        (attribute(&series, "block_size"), attribute(&series, "page_size")),
        ("5000".into(), "8192".into())
    );
    assert_eq!(attribute(&series, "format"), "utf8");
    let varlen = mount.path("varlen/s");
    fs::create_dir(&varlen).unwrap();
    assert_eq!(
        (attribute(&varlen, "length_profile"), attribute(&varlen, "size_struct")),
        ("4,6".into(), "1".into())
    );
    mount.set(&series, "block_size", "8");
    mount.set(&series, "page_size", "64");
    mount.set(&series, "format", "i64");
    assert_eq!(set(&series, "user.headstack.block_size", "0"), "Invalid argument");
    assert_eq!(set(&series, "user.headstack.page_size", "10"), "Invalid argument");
    assert_eq!(set(&series, "user.headstack.format", "runes"), "Invalid argument");
    assert_eq!(set(&varlen, "user.headstack.format", "u64"), "Invalid argument");
    appender(&series.join("text")).write_all(b"5 -7\n").unwrap();
    assert_eq!(
        fs::read_to_string(series.join("text")).unwrap(),
        "00000000000000000005 -0000000000000000007\n"
    );
    for (name, value) in [
        ("block_size", "16"),
        ("page_size", "128"),
        ("entries_per_chunk", "5"),
        ("format", "hex"),
    ] {
        assert_eq!(
            set(&series, &format!("user.headstack.{name}"), value),
            "Device or resource busy",
            "{name}"
        );
    }
    assert_eq!(attribute(&series, "block_size"), "8");
    assert_eq!(errno(fs::create_dir(&series)), libc::EEXIST);
    assert_eq!(errno(fs::create_dir(mount.path(".stats"))), libc::EEXIST);
}

/// T12, T20: marks and metadata are attributes; a restart keeps them.
#[test]
fn attributes_are_what_the_table_says() {
    let mut mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "last_entry_synced", "42");
    mount.set(&series, "meta.unit", "K");
    mount.set(&series, "meta.n", "5");
    mount.remount("");
    assert_eq!(
        fs::read_to_string(series.join("meta")).unwrap(),
        "{\"unit\":\"K\",\"n\":5}\n"
    );
    assert_eq!(attribute(&series, "last_entry_synced"), "42");
    assert_eq!(
        (attribute(&series, "meta.unit"), attribute(&series, "meta.n")),
        ("K".into(), "5".into())
    );
    assert_eq!(
        (attribute(&series, "last_entry_ts"), attribute(&series, "entries")),
        ("0".into(), "0".into())
    );
    let listed = shell(&format!("getfattr {} | grep ^user | tr '\\n' ' '", series.display()));
    let expected = [
        "page_size",
        "block_size",
        "entries_per_chunk",
        "format",
        "last_entry_synced",
        "meta.unit",
        "meta.n",
    ];
    for name in expected {
        assert!(listed.contains(&format!("user.headstack.{name} ")), "{listed}");
    }
    assert_eq!(listed.split_whitespace().count(), expected.len());
    shell(&format!("setfattr -x user.headstack.meta.n {}", series.display()));
    assert_eq!(fs::read_to_string(series.join("meta")).unwrap(), "{\"unit\":\"K\"}\n");
    for (name, expected) in [
        ("user.other", "Operation not permitted"),
        ("user.headstack.entries", "Operation not permitted"),
        ("user.headstack.meta.format", "Operation not permitted"),
        ("trusted.x", "Operation not supported"),
        ("security.x", "Operation not supported"),
        ("user.headstack.last_entry_synced", "Invalid argument"),
    ] {
        assert_eq!(set(&series, name, "x"), expected, "{name}");
    }
    let get = |name: &str| {
        let run = try_shell(&format!("getfattr -n {name} {}", series.display()));
        String::from_utf8_lossy(&run.stderr)
            .trim()
            .rsplit(": ")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(get("user.headstack.nonsense"), "No such attribute");
    assert_eq!(get("security.capability"), "Operation not supported");
    assert_eq!(get("trusted.x"), "Operation not supported");
}

/// T16: rmdir removes an empty series; one with entries only where the mount allows it.
#[test]
fn rmdir_removes_an_empty_series() {
    let mut mount = Mount::new();
    let (empty, full) = (mount.series("empty"), mount.series("full"));
    appender(&full.join("raw")).write_all(&records(1..=3)).unwrap();
    fs::remove_dir(&empty).unwrap();
    assert_eq!(errno(fs::metadata(&empty)), libc::ENOENT);
    assert_eq!(errno(fs::remove_dir(&full)), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_dir(mount.path("varlen"))), libc::EPERM);
    assert_eq!(errno(fs::remove_dir(mount.path("none"))), libc::ENOENT);
    mount.remount("allow-delete");
    fs::remove_dir(&full).unwrap();
    assert_eq!(errno(fs::metadata(&full)), libc::ENOENT);
    mount.series("full");
    assert_eq!(fs::metadata(full.join("raw")).unwrap().len(), 0);
}

/// T37: the two namespaces are separate; a rename stays within one.
#[test]
fn rename_keeps_the_series_and_its_open_files() {
    let mount = Mount::new();
    let (a, b) = (mount.series("a"), mount.path("b"));
    fs::create_dir(mount.path("varlen/a")).unwrap();
    let mut open = appender(&a.join("raw"));
    open.write_all(&records([1])).unwrap();
    fs::rename(&a, &b).unwrap();
    open.write_all(&records([2])).unwrap();
    assert_eq!(fs::read(b.join("raw")).unwrap(), records([1, 2]));
    assert_eq!(errno(fs::metadata(&a)), libc::ENOENT);
    assert!(mount.database().join("b").is_dir() && !mount.database().join("a").exists());
    mount.series("a");
    assert_eq!(errno(fs::rename(&a, &b)), libc::EEXIST);
    assert_eq!(errno(fs::rename(&a, mount.path("varlen/c"))), libc::EINVAL);
    assert_eq!(errno(fs::rename(mount.path("varlen"), mount.path("c"))), libc::EPERM);
    assert_eq!(errno(fs::rename(&a, mount.path("metadata.txt"))), libc::EINVAL);
}

/// T01, T24: removing the oldest closed chunk trims; nothing else can be removed.
#[test]
fn removing_the_oldest_chunk_trims() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "10");
    appender(&series.join("raw")).write_all(&records(1..=35)).unwrap();
    let chunk = |first: u64| series.join(format!("chunks/{first:020}.chunk"));
    let range = series.join("range/1-20.raw");
    assert_eq!(fs::read(&range).unwrap(), records(1..=20));
    let text = fs::read_to_string(series.join("text")).unwrap();
    for not_oldest in [11, 21, 31] {
        assert_eq!(errno(fs::remove_file(chunk(not_oldest))), libc::EBUSY);
    }
    assert_eq!(
        errno(fs::remove_file(series.join("chunks/00000000000000000001.text"))),
        libc::EPERM
    );
    fs::remove_file(chunk(1)).unwrap();
    assert_eq!(errno(fs::metadata(chunk(1))), libc::ENOENT);
    assert_eq!(errno(fs::metadata(chunk(1).with_extension("text"))), libc::ENOENT);
    assert_eq!(fs::read(series.join("raw")).unwrap(), records(11..=35));
    assert_eq!(fs::metadata(series.join("text")).unwrap().len(), 25 * 38);
    // What was read before the trim, and kept by the kernel, is gone with it.
    assert_eq!(fs::read(&range).unwrap(), records(11..=20));
    assert_eq!(fs::read_to_string(series.join("text")).unwrap(), text[10 * 38..]);
    shell(&format!(
        "find {}/chunks -name '*.chunk' | sort | head -n 2 | xargs rm",
        series.display()
    ));
    assert_eq!(fs::read(series.join("raw")).unwrap(), records(31..=35));
    assert_eq!(errno(fs::remove_file(chunk(31))), libc::EBUSY);
}

/// T15, T17, T20, T24: what has no natural file operation is a line in `ctl`.
#[test]
fn ctl_takes_commands() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "10");
    appender(&series.join("raw")).write_all(&records(1..=35)).unwrap();
    let ctl = series.join("ctl");
    let stats = || fs::read_to_string(series.join("stats")).unwrap();
    let old = fs::metadata(series.join("chunks/00000000000000000001.chunk")).unwrap();
    assert_eq!(old.len(), 4096);
    shell(&format!("printf 'synced 33\\ntrim 12\\nsync' > {}", ctl.display()));
    assert!(
        stats().contains("last_entry_synced 33\n") && stats().contains("entries 25\n"),
        "{}",
        stats()
    );
    assert_eq!(
        errno(fs::metadata(series.join("chunks/00000000000000000001.chunk"))),
        libc::ENOENT
    );
    shell(&format!(
        "echo close > {0}; echo access descriptor > {0}",
        ctl.display()
    ));
    assert!(stats().contains("access descriptor\n"));
    shell(&format!("echo access mmap > {}", ctl.display()));
    assert!(stats().contains("access mmap\n"));
    let bad = try_shell(&format!("echo explode > {}", ctl.display()));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("Invalid argument"));
    assert_eq!(fs::read(series.join("raw")).unwrap(), records(11..=35));
}

/// Snapshots: mkdir, mv and rmdir in `.snapshot`; frozen under appends, trims and deletion.
#[test]
fn snapshots_are_directories_that_never_change() {
    let mut mount = Mount::with("allow-delete");
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "10");
    appender(&series.join("raw")).write_all(&records(1..=35)).unwrap();
    shell(&format!("echo '{{\"a\":1}}' > {}", series.join("meta").display()));
    fs::create_dir(mount.path(".snapshot/one")).unwrap();
    assert_eq!(errno(fs::create_dir(mount.path(".snapshot/one"))), libc::EEXIST);
    appender(&series.join("raw")).write_all(&records(36..=60)).unwrap();
    shell(&format!("echo '{{\"a\":2}}' > {}", series.join("meta").display()));
    fs::remove_file(series.join("chunks/00000000000000000001.chunk")).unwrap();
    fs::rename(mount.path(".snapshot/one"), mount.path(".snapshot/two")).unwrap();
    assert_eq!(errno(fs::metadata(mount.path(".snapshot/one"))), libc::ENOENT);
    mount.series("later");
    let check = |mount: &Mount| {
        let frozen = mount.path(".snapshot/two/s");
        assert_eq!(fs::read(frozen.join("raw")).unwrap(), records(1..=35));
        assert_eq!(fs::metadata(frozen.join("text")).unwrap().len(), 35 * 38);
        assert_eq!(fs::read_to_string(frozen.join("meta")).unwrap(), "{\"a\":1}\n");
        assert_eq!(fs::read(frozen.join("range/5-15.raw")).unwrap(), records(5..=15));
        assert_eq!(
            fs::read(frozen.join("chunks/00000000000000000001.chunk"))
                .unwrap()
                .len(),
            4096
        );
        // Whatever the walk, each entry is met once.
        assert_eq!(shell(&format!("ls {}", frozen.display())), "meta\nraw\n");
        assert_eq!(
            shell(&format!("ls {}", mount.path(".snapshot/two").display())),
            "s\nvarlen\n"
        );
        assert_eq!(errno(fs::metadata(mount.path(".snapshot/two/later"))), libc::ENOENT);
    };
    check(&mount);
    // Hidden, but there, in the series itself.
    assert_eq!(
        shell(&format!("ls -A {} | grep -c snapshot || true", series.display())),
        "0\n"
    );
    assert_eq!(fs::read(series.join(".snapshot/two/raw")).unwrap(), records(1..=35));
    assert_eq!(errno(fs::metadata(mount.path("later/.snapshot/two"))), libc::ENOENT);
    mount.remount("allow-delete,hide-snapshots");
    check(&mount);
    assert!(!shell(&format!("ls -A {}", mount.point().display())).contains("snapshot"));
    fs::remove_dir(&series).unwrap();
    check(&mount);
    fs::remove_dir(mount.path(".snapshot/two")).unwrap();
    assert_eq!(shell(&format!("ls -A {}", mount.path(".snapshot").display())), "");
}

#[test]
fn owner_and_modes_come_from_the_options() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mount = Mount::with("uid=12,gid=34,file-mode=660,dir-mode=770,umask=010");
    let series = mount.series("s");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(&series), mode(&series.join("raw")), mode(&series.join("latest"))),
        (0o760, 0o660, 0o440)
    );
    assert_eq!(mode(&series.join("ctl")), 0o220);
    let facts = fs::metadata(series.join("raw")).unwrap();
    assert_eq!((facts.uid(), facts.gid()), (12, 34));
}
