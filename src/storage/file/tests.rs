//! The host's side of the storage traits, each way of doing it.

use std::{
    ffi::OsStr,
    fs as std_fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    },
    process::Command,
};

use tempfile::TempDir;

use super::{staged::STAGED_PREFIX, *};

/// A host that has learnt nothing since 1998.
const OLD_HOST: Abilities = Abilities {
    unnamed_files: false,
    exclusive_rename: false,
    reserve: false,
};

fn directory(abilities: Abilities) -> (TempDir, HostDirectory) {
    let outer = tempfile::tempdir().unwrap();
    let mut directory = HostDirectory::create(&outer.path().join("root")).unwrap();
    directory.abilities = abilities;
    (outer, directory)
}

/// The directory on a host as it is, and on an old one.
fn directories() -> [(TempDir, HostDirectory); 2] {
    [directory(ABILITIES), directory(OLD_HOST)]
}

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn create(directory: &HostDirectory, name: &str, contents: &[u8]) -> Arc<dyn Storage> {
    directory
        .create(path(name), &mut |file| file.write_all_at(contents, 0))
        .unwrap()
}

fn names(directory: &HostDirectory, of: &str) -> Vec<String> {
    let mut names: Vec<_> = directory
        .list(path(of))
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.sort();
    names
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().expect("an error").raw_os_error()
}

#[test]
fn created_file_appears_complete_and_alone() {
    for (_outer, directory) in directories() {
        directory.create_directory(path("sub")).unwrap();
        let mut fill = |file: &dyn Storage| {
            file.write_all_at(b"contents", 0)?;
            assert_eq!(names(&directory, "sub"), [""; 0], "no name before the file is filled");
            Ok(())
        };
        let file = directory.create(path("sub/a"), &mut fill).unwrap();
        assert_eq!(names(&directory, "sub"), ["a"]);
        assert_eq!(names(&directory, ""), ["sub"]);
        file.write_all_at(b"!", 8).unwrap();
        assert_eq!(directory.read(path("sub/a"), 100).unwrap(), b"contents!");
    }
}

#[test]
fn create_over_a_name_or_with_a_failing_fill_leaves_nothing() {
    for (_outer, directory) in directories() {
        create(&directory, "a", b"old");
        let again = directory
            .create(path("a"), &mut |file| file.write_all_at(b"new", 0))
            .map(|_| ());
        assert_eq!(errno(again), Some(libc::EEXIST));
        let failed = directory
            .create(path("b"), &mut |_| Err(Errno::NOSPC.into()))
            .map(|_| ());
        assert_eq!(errno(failed), Some(libc::ENOSPC));
        let homeless = directory.create(path("none/b"), &mut |_| Ok(())).map(|_| ());
        assert_eq!(errno(homeless), Some(libc::ENOENT));
        assert_eq!(names(&directory, ""), ["a"]);
        assert_eq!(directory.read(path("a"), 3).unwrap(), b"old");
    }
}

#[test]
fn replace_keeps_mode_and_owner_and_leaves_no_other_name() {
    for (_outer, directory) in directories() {
        directory.create_directory(path("sub")).unwrap();
        directory.replace(path("sub/a"), b"first").unwrap();
        let host_path = directory.path().join("sub/a");
        std_fs::set_permissions(&host_path, std_fs::Permissions::from_mode(0o640)).unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&host_path, Some(1234), Some(2345)).unwrap();
        }
        let old = std_fs::metadata(&host_path).unwrap();
        let reader = directory.open(path("sub/a"), Access::Read).unwrap();
        directory.replace(path("sub/a"), b"second").unwrap();
        let new = std_fs::metadata(&host_path).unwrap();
        assert_ne!(new.ino(), old.ino());
        assert_eq!((new.mode(), new.uid(), new.gid()), (old.mode(), old.uid(), old.gid()));
        assert!(!root || new.uid() == 1234);
        assert_eq!(directory.read(path("sub/a"), 6).unwrap(), b"second");
        let mut buffer = [0; 10];
        assert_eq!(
            reader.read_at(&mut buffer, 0).unwrap(),
            5,
            "who had it open reads the old contents"
        );
        assert_eq!(names(&directory, "sub"), ["a"]);
        assert_eq!(names(&directory, ""), ["sub"]);

        assert_eq!(errno(directory.replace(path("sub"), b"x")), Some(libc::EISDIR));
        assert_eq!(errno(directory.replace(path("none/a"), b"x")), Some(libc::ENOENT));
        assert_eq!(names(&directory, ""), ["sub"]);
    }
}

#[test]
fn rename_never_overwrites() {
    for (_outer, directory) in directories() {
        create(&directory, "a", b"a");
        create(&directory, "b", b"b");
        directory.create_directory(path("sub")).unwrap();
        assert_eq!(errno(directory.rename(path("a"), path("b"))), Some(libc::EEXIST));
        assert_eq!(errno(directory.rename(path("a"), path("a"))), Some(libc::EEXIST));
        assert_eq!(errno(directory.rename(path("sub"), path("sub/in"))), Some(libc::EINVAL));
        assert_eq!(errno(directory.rename(path("c"), path("b"))), Some(libc::ENOENT));
        directory.rename(path("a"), path("sub/a")).unwrap();
        directory.rename(path("sub"), path("moved")).unwrap();
        assert_eq!(directory.read(path("moved/a"), 1).unwrap(), b"a");
        assert_eq!(names(&directory, ""), ["b", "moved"]);
    }
}

#[test]
fn paths_out_of_the_root_are_refused() {
    let (_outer, directory) = directory(ABILITIES);
    create(&directory, "a", b"a");
    for stray in ["/etc/passwd", "..", "../root/a", "x/../../root/a", "a/.."] {
        let stray = path(stray);
        let results = [
            directory.list(stray).map(|_| ()),
            directory.create_directory(stray),
            directory.remove_directory(stray),
            directory.open(stray, Access::Read).map(|_| ()),
            directory.create(stray, &mut |_| Ok(())).map(|_| ()),
            directory.replace(stray, b"x"),
            directory.read(stray, 10).map(|_| ()),
            directory.rename(stray, path("b")),
            directory.rename(path("a"), stray),
            directory.remove(stray),
            directory.stat(stray).map(|_| ()),
            directory.sync_directory(stray),
            directory.lock(stray, "").map(|_| ()),
        ];
        for result in results {
            assert_eq!(
                result.unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                stray.display()
            );
        }
    }
    assert_eq!(names(&directory, "./"), ["a"]);
}

#[test]
fn only_regular_files_are_opened() {
    let (outer, directory) = directory(ABILITIES);
    create(&directory, "a", b"a");
    directory.create_directory(path("sub")).unwrap();
    symlink("a", directory.path().join("link")).unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(std_fs::metadata(&pipe).unwrap().file_type().is_fifo());
    for access in [Access::Read, Access::ReadWrite] {
        assert_eq!(
            errno(directory.open(path("link"), access).map(|_| ())),
            Some(libc::ELOOP)
        );
        assert_eq!(
            errno(directory.open(path("sub"), access).map(|_| ())),
            Some(libc::EISDIR)
        );
        let pipe = directory.open(path("pipe"), access).map(|_| ());
        assert_eq!(pipe.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(directory.stat(path("link")).unwrap().kind, EntryKind::Other);
    let mut kinds: Vec<_> = directory
        .list(path(""))
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name, entry.kind))
        .collect();
    kinds.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("a", EntryKind::File),
        ("link", EntryKind::Other),
        ("pipe", EntryKind::Other),
        ("sub", EntryKind::Directory),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    drop(outer);
}

#[test]
fn names_that_are_not_utf8_are_flagged() {
    let (_outer, directory) = directory(ABILITIES);
    std_fs::write(directory.path().join(OsStr::from_bytes(b"b\xffd")), b"").unwrap();
    let expected = Entry {
        name: "b\u{fffd}d".to_owned(),
        exact: false,
        kind: EntryKind::File,
    };
    assert_eq!(directory.list(path("")).unwrap(), [expected]);
}

#[test]
fn database_survives_that_its_directory_is_moved() {
    let (outer, directory) = directory(ABILITIES);
    create(&directory, "a", b"a");
    std_fs::rename(directory.path(), outer.path().join("elsewhere")).unwrap();
    create(&directory, "b", b"b");
    directory.replace(path("a"), b"new").unwrap();
    assert_eq!(std_fs::read(outer.path().join("elsewhere/a")).unwrap(), b"new");
    assert_eq!(std_fs::read(outer.path().join("elsewhere/b")).unwrap(), b"b");
}

#[test]
fn reserve_takes_space_and_changes_no_byte() {
    let (_outer, directory) = directory(ABILITIES);
    let file = create(&directory, "a", b"contents");
    file.reserve(0, 1 << 20).unwrap();
    let stat = file.stat().unwrap();
    assert_eq!(stat.size_bytes, 8);
    assert!(stat.allocated_bytes >= 1 << 20, "{stat:?}");
    assert_eq!(directory.read(path("a"), 8).unwrap(), b"contents");
    file.reserve(5, 0).unwrap();
}

#[test]
fn reserve_without_fallocate_fills_holes_and_the_tail_with_zeros() {
    let (_outer, directory) = directory(OLD_HOST);
    let file = create(&directory, "a", b"head");
    file.write_all_at(b"tail", 500_000).unwrap();
    assert!(file.stat().unwrap().allocated_bytes < 100_000);
    file.reserve(2, 1_000_000).unwrap();
    let stat = file.stat().unwrap();
    assert_eq!(stat.size_bytes, 1_000_002);
    file.sync().unwrap();
    assert!(file.stat().unwrap().allocated_bytes >= 1_000_000, "{stat:?}");
    let contents = directory.read(path("a"), 2_000_000).unwrap();
    assert_eq!(&contents[..4], b"head");
    assert_eq!(&contents[500_000..500_004], b"tail");
    assert_eq!(contents.iter().filter(|byte| **byte != 0).count(), 8);
}

#[test]
fn lock_excludes_every_other_handle_and_names_its_holder() {
    let (_outer, directory) = directory(ABILITIES);
    let other = HostDirectory::open(directory.path()).unwrap();
    let held = directory.lock(path("lock"), "a rather long holder").unwrap();
    for contender in [&directory, &other] {
        let error = contender.lock(path("lock"), "contender").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(contender.read(path("lock"), 100).unwrap(), b"a rather long holder");
    }
    drop(held);
    let _held = other.lock(path("lock"), "next").unwrap();
    assert_eq!(directory.read(path("lock"), 100).unwrap(), b"next");
}

#[test]
fn lock_ends_with_its_process() {
    let (_outer, directory) = directory(ABILITIES);
    let script = "exec 9>lock; flock -n 9 && echo held && read wait";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(
        errno(directory.lock(path("lock"), "").map(|_| ())),
        Some(libc::EWOULDBLOCK)
    );
    child.kill().unwrap();
    child.wait().unwrap();
    directory.lock(path("lock"), "").unwrap();
}

#[test]
fn sweep_takes_leftovers_and_spares_work_under_way() {
    let (_outer, directory) = directory(OLD_HOST);
    for leftover in ["1.0", "999999999.7", "what.ever"] {
        std_fs::write(directory.path().join(format!("{STAGED_PREFIX}{leftover}")), b"half").unwrap();
    }
    std_fs::write(directory.path().join("chunk"), b"").unwrap();
    directory.create_directory(path(".headstack.tmp.dir")).unwrap();
    let mut swept = None;
    let mut fill = |file: &dyn Storage| {
        swept = Some(directory.sweep_staged()?);
        file.write_all_at(b"done", 0)
    };
    let _file = directory.create(path("new"), &mut fill).unwrap();
    assert_eq!(swept, Some(3));
    assert_eq!(names(&directory, ""), [".headstack.tmp.dir", "chunk", "new"]);
    assert_eq!(directory.read(path("new"), 4).unwrap(), b"done");
    assert_eq!(directory.sweep_staged().unwrap(), 0);
}

#[test]
fn staged_name_that_a_dead_process_left_is_stepped_over() {
    let (_outer, directory) = directory(OLD_HOST);
    // Numbers are of the process, so those that come next are not far.
    for number in 0..1000 {
        let name = format!("{STAGED_PREFIX}{}.{number}", std::process::id());
        std_fs::write(directory.path().join(name), b"half").unwrap();
    }
    create(&directory, "a", b"a");
    assert_eq!(directory.read(path("a"), 1).unwrap(), b"a");
    assert_eq!(directory.sweep_staged().unwrap(), 1000);
}

#[test]
fn mapping_shows_the_storage() {
    let (_outer, directory) = directory(ABILITIES);
    let file = create(&directory, "a", &[1; 4096]);
    let mapping = file.map(8192, Access::ReadWrite).unwrap();
    mapping.copy_from(10, b"mapped");
    let mut buffer = [0; 6];
    assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 6);
    assert_eq!(&buffer, b"mapped");
    let reader = directory.open(path("a"), Access::Read).unwrap();
    assert_eq!(errno(reader.map(4096, Access::ReadWrite)), Some(libc::EACCES));
    assert!(!reader.map(4096, Access::Read).unwrap().is_writable());
}

#[test]
fn facts_are_those_of_the_host() {
    let (_outer, directory) = directory(ABILITIES);
    let file = create(&directory, "a", &[1; 5000]);
    for when in [
        SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789),
        SystemTime::UNIX_EPOCH - Duration::from_millis(1500),
    ] {
        file.set_modified(when).unwrap();
        assert_eq!(file.stat().unwrap().modified, when);
        assert_eq!(directory.stat(path("a")).unwrap().modified, when);
    }
    let stat = directory.stat(path("a")).unwrap();
    assert_eq!((stat.kind, stat.size_bytes), (EntryKind::File, 5000));
    assert_eq!(
        stat.allocated_bytes,
        std_fs::metadata(directory.path().join("a")).unwrap().blocks() * 512
    );
    assert_eq!(directory.stat(path("")).unwrap().kind, EntryKind::Directory);

    let capacity = directory.capacity().unwrap();
    assert!(capacity.blocks >= capacity.blocks_free && capacity.blocks_free >= capacity.blocks_available);
    assert!(capacity.fragment_bytes.is_power_of_two());
    assert_eq!(capacity.name_max, 255);

    let told = std_fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let hex: String = directory.boot().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, told.trim().replace('-', ""));
}

#[test]
fn read_has_a_limit() {
    let (_outer, directory) = directory(ABILITIES);
    create(&directory, "a", b"12345");
    assert_eq!(directory.read(path("a"), 5).unwrap(), b"12345");
    assert_eq!(errno(directory.read(path("a"), 4)), Some(libc::EFBIG));
    assert_eq!(errno(directory.read(path(""), 4)), None, "the root is no file");
}

#[test]
fn create_of_a_root_that_exists_is_refused() {
    let (_outer, directory) = directory(ABILITIES);
    assert_eq!(errno(HostDirectory::create(directory.path())), Some(libc::EEXIST));
    assert_eq!(
        errno(HostDirectory::open(&directory.path().join("none"))),
        Some(libc::ENOENT)
    );
    create(&directory, "a", b"");
    assert_eq!(
        errno(HostDirectory::open(&directory.path().join("a"))),
        Some(libc::ENOTDIR)
    );
}

/// A directory on a memory file system of its own, which no path leads to and which ends with the handle. None, said
/// aloud, where this process may not mount.
fn small_directory(size_bytes: u64) -> Option<HostDirectory> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let file_system = match fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::PERM | Errno::NOSYS) => {
            io::Write::write_all(&mut io::stderr(), b"skipped: mounting a tmpfs needs root\n").unwrap();
            return None;
        }
        file_system => file_system.unwrap(),
    };
    fsconfig_set_string(&file_system, "size", size_bytes.to_string()).unwrap();
    fsconfig_create(&file_system).unwrap();
    let root = fsmount(&file_system, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    Some(HostDirectory {
        path: PathBuf::from("/small"),
        root,
        boot: boot(),
        abilities: ABILITIES,
    })
}

#[test]
fn full_disk_is_told_by_reserve_and_leaves_no_half_file() {
    let Some(mut directory) = small_directory(1 << 20) else {
        return;
    };
    for abilities in [ABILITIES, OLD_HOST] {
        directory.abilities = abilities;
        let file = create(&directory, "a", b"head");
        assert_eq!(errno(file.reserve(0, 2 << 20)), Some(libc::ENOSPC));
        file.set_size(4).unwrap();
        file.reserve(0, 900 << 10).unwrap();
        let refused = directory
            .create(path("b"), &mut |file| file.write_all_at(&[1; 200 << 10], 0))
            .map(|_| ());
        assert_eq!(errno(refused), Some(libc::ENOSPC));
        directory.replace(path("c"), b"old").unwrap();
        assert_eq!(errno(directory.replace(path("c"), &[1; 200 << 10])), Some(libc::ENOSPC));
        assert_eq!(names(&directory, ""), ["a", "c"]);
        assert_eq!(directory.read(path("c"), 3).unwrap(), b"old");

        file.write_all_at(&[1; 900 << 10], 0).unwrap();
        let capacity = directory.capacity().unwrap();
        assert_eq!(capacity.blocks * capacity.fragment_bytes, 1 << 20);
        assert!(capacity.blocks_free * capacity.fragment_bytes <= (1 << 20) - (900 << 10));
        directory.remove(path("a")).unwrap();
        directory.remove(path("c")).unwrap();
    }
}

#[test]
fn lock_is_had_on_a_full_disk() {
    let Some(directory) = small_directory(64 << 10) else {
        return;
    };
    let file = create(&directory, "a", b"");
    file.write_all_at(&[1; 128 << 10], 0).unwrap_err();
    assert_eq!(directory.capacity().unwrap().blocks_free, 0);
    let _held = directory.lock(path("lock"), "holder").unwrap();
    assert_eq!(
        errno(directory.lock(path("lock"), "").map(|_| ())),
        Some(libc::EWOULDBLOCK)
    );
    assert_eq!(directory.read(path("lock"), 100).unwrap(), b"", "only the text is lost");
}

#[test]
fn store_without_space_damages_the_mapping_and_reserved_space_keeps_it() {
    let Some(directory) = small_directory(64 << 10) else {
        return;
    };
    let file = create(&directory, "a", b"");
    file.set_size(128 << 10).unwrap();
    file.reserve(0, 32 << 10).unwrap();
    let filler = create(&directory, "filler", b"");
    filler.write_all_at(&[1; 128 << 10], 0).unwrap_err();
    let mapping = file.map(128 << 10, Access::ReadWrite).unwrap();
    mapping.copy_from(0, &[5; 32 << 10]);
    assert!(!mapping.damaged());
    mapping.copy_from(32 << 10, &[5; 8]);
    assert!(mapping.damaged());
}
