//! What a power loss may and may not do, and the faults.

use std::collections::BTreeSet;

use super::*;

/// Crash images looked at for each promise.
const SEEDS: u64 = 400;

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn create(directory: &SimDirectory, name: &str, contents: &[u8]) -> Arc<dyn Storage> {
    directory
        .create(path(name), &mut |file| file.write_all_at(contents, 0))
        .unwrap()
}

fn read(directory: &SimDirectory, name: &str) -> Option<Vec<u8>> {
    match directory.read(path(name), 1 << 20) {
        Ok(contents) => Some(contents),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{name}: {error}"),
    }
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().expect("an error").raw_os_error()
}

/// What crash images of a directory show, each different sight once.
fn sights<T: Ord>(directory: &SimDirectory, look: impl Fn(&SimDirectory) -> T) -> BTreeSet<T> {
    (0..SEEDS).map(|seed| look(&directory.crash(seed).unwrap())).collect()
}

#[test]
fn synced_file_survives_every_crash() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", &[7; 3000]);
    file.sync().unwrap();
    directory.sync_directory(path("")).unwrap();
    assert_eq!(
        sights(&directory, |disk| read(disk, "a")),
        BTreeSet::from([Some(vec![7; 3000])])
    );
}

#[test]
fn sectors_and_size_of_an_unsynced_write_come_out_old_or_new() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", &[1; 3 * SECTOR_BYTES]);
    file.sync().unwrap();
    directory.sync_directory(path("")).unwrap();
    file.write_all_at(&[2; 3 * SECTOR_BYTES], SECTOR_BYTES as u64).unwrap();
    let sights = sights(&directory, |disk| {
        let contents = read(disk, "a").unwrap();
        contents
            .chunks(SECTOR_BYTES)
            .map(|sector| (sector.len(), BTreeSet::from_iter(sector.to_vec())))
            .collect()
    });
    let sector = |byte: u8| (SECTOR_BYTES, BTreeSet::from([byte]));
    let mut expected = BTreeSet::new();
    for second in [1, 2] {
        for third in [1, 2] {
            expected.insert(vec![sector(1), sector(second), sector(third)]);
            for fourth in [0, 2] {
                expected.insert(vec![sector(1), sector(second), sector(third), sector(fourth)]);
            }
        }
    }
    assert_eq!(sights, expected);
}

#[test]
fn cut_that_was_not_synced_may_come_undone() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", &[1; 100]);
    file.sync().unwrap();
    directory.sync_directory(path("")).unwrap();
    file.set_size(10).unwrap();
    // The cut's sector is whole: either all of it is from before the cut, or none.
    let expected = [vec![1; 10], vec![1; 100], [vec![1; 10], vec![0; 90]].concat()];
    let sights = sights(&directory, |disk| read(disk, "a").unwrap());
    assert!(sights.is_subset(&BTreeSet::from(expected.clone())), "{sights:?}");
    assert!(
        sights.contains(&expected[0]) && sights.contains(&expected[1]),
        "{sights:?}"
    );
}

#[test]
fn stores_through_a_mapping_are_part_of_a_crash() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", &[0; 1024]);
    file.sync().unwrap();
    directory.sync_directory(path("")).unwrap();
    let mapping = file.map(4096, Access::ReadWrite).unwrap();
    mapping.copy_from(500, &[3; 24]);
    let old = vec![0; 1024];
    let tail = |tail: u8, head: u8| [vec![0; 500], vec![tail; 12], vec![head; 12], vec![0; 500]].concat();
    let seen = sights(&directory, |disk| read(disk, "a").unwrap());
    assert_eq!(seen, BTreeSet::from([old, tail(3, 0), tail(0, 3), tail(3, 3)]));
    file.sync().unwrap();
    assert_eq!(
        sights(&directory, |disk| read(disk, "a").unwrap()),
        BTreeSet::from([tail(3, 3)])
    );
}

#[test]
fn names_that_were_not_synced_happened_or_not_each_by_itself() {
    let directory = SimDirectory::new();
    create(&directory, "gone", b"");
    directory.sync_directory(path("")).unwrap();
    create(&directory, "new", b"");
    directory.remove(path("gone")).unwrap();
    let look = |disk: &SimDirectory| (read(disk, "gone").is_some(), read(disk, "new").is_some());
    let all = BTreeSet::from([(false, false), (false, true), (true, false), (true, true)]);
    assert_eq!(sights(&directory, look), all);
    directory.sync_directory(path("")).unwrap();
    assert_eq!(sights(&directory, look), BTreeSet::from([(false, true)]));
}

#[test]
fn names_are_durable_only_as_far_as_their_directories_are() {
    let directory = SimDirectory::new();
    directory.create_directory(path("sub")).unwrap();
    create(&directory, "sub/a", b"").sync().unwrap();
    directory.sync_directory(path("sub")).unwrap();
    let look = |disk: &SimDirectory| (disk.stat(path("sub")).is_ok(), read(disk, "sub/a").is_some());
    assert_eq!(sights(&directory, look), BTreeSet::from([(false, false), (true, true)]));
    directory.sync_directory(path("")).unwrap();
    assert_eq!(sights(&directory, look), BTreeSet::from([(true, true)]));
}

#[test]
fn moved_file_is_in_one_place_after_every_crash() {
    let directory = SimDirectory::new();
    directory.create_directory(path("from")).unwrap();
    create(&directory, "from/a", b"kept").sync().unwrap();
    directory.sync_directory(path("")).unwrap();
    directory.sync_directory(path("from")).unwrap();
    directory.create_directory(path("to")).unwrap();
    directory.create_directory(path("to/deep")).unwrap();
    directory.rename(path("from/a"), path("to/b")).unwrap();
    directory.rename(path("to/b"), path("to/deep/c")).unwrap();
    directory.remove_directory(path("from")).unwrap();
    let places = ["from/a", "to/b", "to/deep/c"];
    let seen = sights(&directory, |disk| places.map(|place| read(disk, place).is_some()));
    let only = |at: usize| [0, 1, 2].map(|index| index == at);
    assert_eq!(seen, BTreeSet::from([only(0), only(1), only(2)]));
    // The old directory's sync is enough for the whole move.
    directory.sync_directory(path("to/deep")).unwrap();
    let seen = sights(&directory, |disk| places.map(|place| read(disk, place).is_some()));
    assert_eq!(seen, BTreeSet::from([only(2)]));
}

#[test]
fn directory_with_unsynced_removals_comes_back_whole_or_goes() {
    let directory = SimDirectory::new();
    directory.create_directory(path("sub")).unwrap();
    create(&directory, "sub/a", b"a").sync().unwrap();
    directory.sync_directory(path("")).unwrap();
    directory.sync_directory(path("sub")).unwrap();
    directory.remove(path("sub/a")).unwrap();
    directory.remove_directory(path("sub")).unwrap();
    let seen = sights(&directory, |disk| {
        (disk.stat(path("sub")).is_ok(), read(disk, "sub/a").is_some())
    });
    assert_eq!(seen, BTreeSet::from([(false, false), (true, false), (true, true)]));
}

#[test]
fn replaced_contents_are_durable_at_once() {
    let directory = SimDirectory::new();
    directory.replace(path("a"), b"first").unwrap();
    let reader = directory.open(path("a"), Access::Read).unwrap();
    directory.replace(path("a"), b"second").unwrap();
    assert_eq!(
        sights(&directory, |disk| read(disk, "a")),
        BTreeSet::from([Some(b"second".to_vec())])
    );
    let mut buffer = [0; 9];
    assert_eq!(reader.read_at(&mut buffer, 0).unwrap(), 5);
    assert_eq!(&buffer[..5], b"first");
}

#[test]
fn crash_is_the_same_for_the_same_seed_and_leaves_the_original_alone() {
    let directory = SimDirectory::new();
    for name in ["a", "b", "c"] {
        create(&directory, name, &[1; 5000]);
    }
    let look = |disk: &SimDirectory| ["a", "b", "c"].map(|name| read(disk, name));
    for seed in 0..50 {
        assert_eq!(
            look(&directory.crash(seed).unwrap()),
            look(&directory.crash(seed).unwrap())
        );
    }
    let image = directory.crash(3).unwrap();
    create(&image, "d", b"");
    assert!(read(&directory, "d").is_none());
    assert_eq!(
        look(&directory),
        [const { Some([1_u8; 5000]) }; 3].map(|contents| contents.map(Vec::from))
    );
    assert_ne!(image.boot(), directory.boot());
}

#[test]
fn crash_image_is_durable_as_it_is() {
    let directory = SimDirectory::new();
    create(&directory, "a", &[1; 5000]);
    for seed in 0..50 {
        let image = directory.crash(seed).unwrap();
        let found = read(&image, "a");
        for again in 0..10 {
            assert_eq!(read(&image.crash(again).unwrap(), "a"), found);
        }
    }
}

#[test]
fn kill_loses_locks_only_and_makes_nothing_durable() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", b"unsynced");
    let mapping = file.map(4096, Access::ReadWrite).unwrap();
    mapping.copy_from(0, b"UN");
    let _held = directory.lock(path("lock"), "holder").unwrap();
    let killed = directory.killed().unwrap();
    assert_eq!(killed.boot(), directory.boot());
    assert_eq!(read(&killed, "a").unwrap(), b"UNsynced");
    assert_eq!(
        errno(directory.lock(path("lock"), "").map(|_| ())),
        Some(libc::EWOULDBLOCK)
    );
    let _held = killed.lock(path("lock"), "next").unwrap();
    assert_eq!(read(&directory, "lock").unwrap(), b"holder");
    let seen = sights(&killed, |disk| {
        read(disk, "a").is_some_and(|contents| contents == b"UNsynced")
    });
    assert_eq!(seen, BTreeSet::from([false, true]));
}

#[test]
fn cut_behind_a_mapping_damages_it() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", &[7; 8192]);
    let mapping = file.map(8192, Access::Read).unwrap();
    directory
        .open(path("a"), Access::ReadWrite)
        .unwrap()
        .set_size(100)
        .unwrap();
    assert_eq!(mapping.load_u32(4096), 0);
    assert!(mapping.damaged());
}

#[test]
fn full_disk_refuses_what_needs_space() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", &[1; 4096]);
    directory.set_space_bytes(Some(4 * BLOCK_BYTES + 100));
    file.reserve(0, 2 * BLOCK_BYTES).unwrap();
    assert_eq!(directory.capacity().unwrap().blocks_free, 2);
    assert_eq!(errno(file.reserve(0, 5 * BLOCK_BYTES)), Some(libc::ENOSPC));
    file.set_size(4096).unwrap();
    assert_eq!(directory.capacity().unwrap().blocks_free, 3);
    // What fits is written.
    assert_eq!(errno(file.write_all_at(&[2; 5 * 4096], 4096 - 10)), Some(libc::ENOSPC));
    assert_eq!(file.size_bytes().unwrap(), 4 * 4096);
    assert_eq!(
        errno(directory.create(path("b"), &mut |_| Ok(())).map(|_| ())),
        Some(libc::ENOSPC)
    );
    assert_eq!(errno(directory.create_directory(path("d"))), Some(libc::ENOSPC));
    assert_eq!(errno(directory.replace(path("a"), b"x")), Some(libc::ENOSPC));
    // Overwriting and cutting need none.
    file.write_all_at(&[3; 4096], 0).unwrap();
    file.set_size(4096).unwrap();
    directory.replace(path("b"), b"x").unwrap();
    let fill = directory
        .create(path("c"), &mut |file| file.write_all_at(&[1; 3 * 4096], 0))
        .map(|_| ());
    assert_eq!(errno(fill), Some(libc::ENOSPC));
    assert!(read(&directory, "c").is_none());
    directory.set_space_bytes(None);
    create(&directory, "c", &[1; 3 * 4096]);
    assert!(directory.unreserved_stores().unwrap().is_empty());
}

#[test]
fn removal_gives_space_back() {
    let directory = SimDirectory::new();
    directory.set_space_bytes(Some(2 * BLOCK_BYTES));
    create(&directory, "a", &[1; 8192]);
    assert_eq!(directory.capacity().unwrap().blocks_free, 0);
    directory.remove(path("a")).unwrap();
    create(&directory, "b", &[1; 8192]);
}

#[test]
fn store_that_was_not_reserved_is_found_out() {
    let directory = SimDirectory::new();
    directory.create_directory(path("sub")).unwrap();
    let file = create(&directory, "sub/a", b"a");
    file.set_size(3 * BLOCK_BYTES).unwrap();
    file.reserve(BLOCK_BYTES, BLOCK_BYTES).unwrap();
    let mapping = file.map(3 * 4096, Access::ReadWrite).unwrap();
    mapping.copy_from(4096, &[1; 4096]);
    assert_eq!(directory.unreserved_stores().unwrap(), [""; 0].map(PathBuf::from));
    mapping.copy_from(8192, &[1]);
    assert_eq!(directory.unreserved_stores().unwrap(), [path("sub/a")]);
}

#[test]
fn faults_hit_what_they_are_set_for() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", b"a");
    directory.fail_next(Verb::Sync, libc::EIO);
    directory.fail_next(Verb::Map, libc::ENOMEM);
    file.read_at(&mut [0], 0).unwrap();
    assert_eq!(errno(file.sync()), Some(libc::EIO));
    file.sync().unwrap();
    assert_eq!(errno(file.map(1, Access::Read)), Some(libc::ENOMEM));
    file.map(1, Access::Read).unwrap();

    directory.set_rule(|operation| (operation.path == Path::new("b")).then_some(libc::EROFS));
    let mut filled = false;
    let refused = directory.create(path("b"), &mut |_| {
        filled = true;
        Ok(())
    });
    assert_eq!(errno(refused.map(|_| ())), Some(libc::EROFS));
    assert!(!filled);
    create(&directory, "c", b"c");
    directory.clear_rule();
    create(&directory, "b", b"b");
}

#[test]
fn rule_may_take_an_image_before_each_operation() {
    let directory = SimDirectory::new();
    let images = Arc::new(Mutex::new(Vec::new()));
    let (seen, disk) = (Arc::clone(&images), directory.clone());
    directory.set_rule(move |operation| {
        seen.lock().unwrap().push((operation.verb, disk.killed().unwrap()));
        None
    });
    let file = create(&directory, "a", b"first");
    file.write_all_at(b"second", 0).unwrap();
    file.sync().unwrap();
    directory.clear_rule();
    let images = images.lock().unwrap();
    let verbs: Vec<_> = images.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(verbs, [Verb::Create, Verb::Write, Verb::Write, Verb::Sync]);
    let contents: Vec<_> = images.iter().map(|(_, image)| read(image, "a")).collect();
    assert_eq!(
        contents,
        [None, None, Some(b"first".to_vec()), Some(b"second".to_vec())]
    );
}

#[test]
fn log_tells_what_an_operation_costs() {
    let directory = SimDirectory::new();
    let file = create(&directory, "a", b"abc");
    directory.take_operations();
    file.read_at(&mut [0; 2], 1).unwrap();
    file.size_bytes().unwrap();
    directory.list(path("")).unwrap();
    let expected = [
        Operation {
            verb: Verb::Read,
            path: PathBuf::from("a"),
            offset_bytes: 1,
            length_bytes: 2,
        },
        Operation {
            verb: Verb::Size,
            path: PathBuf::from("a"),
            offset_bytes: 0,
            length_bytes: 0,
        },
        Operation {
            verb: Verb::List,
            path: PathBuf::new(),
            offset_bytes: 0,
            length_bytes: 0,
        },
    ];
    assert_eq!(directory.operations(), expected);
    assert_eq!((directory.count(Verb::Read), directory.count(Verb::Write)), (1, 0));
    assert_eq!(directory.take_operations(), expected);
    assert!(directory.operations().is_empty());
}
