//! The same operations on the host and in simulation give the same results and errors.

use std::{collections::BTreeMap, fmt::Debug};

use proptest::{prelude::*, sample::select};

use super::*;

/// One call of a method of the traits. Numbers of files, mappings and locks choose among those that are open.
#[derive(Debug, Clone)]
enum Call {
    List(PathBuf),
    CreateDirectory(PathBuf),
    RemoveDirectory(PathBuf),
    Open(PathBuf, Access),
    Create(PathBuf, Vec<u8>, bool),
    Replace(PathBuf, Vec<u8>),
    ReadFile(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    StatPath(PathBuf),
    SyncDirectory(PathBuf),
    Sweep,
    Lock(PathBuf, String),
    Unlock(usize),
    Size(usize),
    Read(usize, u64, usize),
    Write(usize, u64, Vec<u8>),
    SetSize(usize, u64),
    Reserve(usize, u64, u64),
    Punch(usize, u64, u64),
    Sync(usize),
    Stat(usize),
    SetModified(usize, u64),
    Close(usize),
    Map(usize, usize, Access),
    Load(usize, usize),
    Store(usize, usize, Vec<u8>),
    Unmap(usize),
}

fn paths() -> impl Strategy<Value = PathBuf> {
    let long = "n".repeat(256);
    let longest = "n".repeat(255);
    let usual = ["a", "b", "d", "e", "d/a", "d/b", "d/f", "d/f/a", "e/a"]
        .map(str::to_owned)
        .to_vec();
    let odd = ["", ".", "./a", "d//a", "d/./f/", "/a", "..", "d/../a", "a\0b"].map(str::to_owned);
    let odd: Vec<_> = odd
        .into_iter()
        .chain([long.clone(), longest, format!("d/{long}"), format!("{long}/a")])
        .collect();
    prop_oneof![12 => select(usual), 1 => select::<String>(odd)].prop_map(PathBuf::from)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..9000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn accesses() -> impl Strategy<Value = Access> {
    prop_oneof![3 => Just(Access::ReadWrite), 1 => Just(Access::Read)]
}

fn offsets() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..200_u64, 1 => 0..20_000_u64]
}

fn calls() -> impl Strategy<Value = Call> {
    let file = || 0..4_usize;
    let of_names = prop_oneof![
        paths().prop_map(Call::List),
        paths().prop_map(Call::CreateDirectory),
        paths().prop_map(Call::RemoveDirectory),
        (paths(), accesses()).prop_map(|(path, access)| Call::Open(path, access)),
        (paths(), bytes(), proptest::bool::weighted(0.1))
            .prop_map(|(path, bytes, fail)| Call::Create(path, bytes, fail)),
        (paths(), bytes()).prop_map(|(path, bytes)| Call::Replace(path, bytes)),
        (paths(), 0..10_000_u64).prop_map(|(path, limit)| Call::ReadFile(path, limit)),
        (paths(), paths()).prop_map(|(from, to)| Call::Rename(from, to)),
        paths().prop_map(Call::Remove),
        paths().prop_map(Call::StatPath),
        paths().prop_map(Call::SyncDirectory),
        Just(Call::Sweep),
        (paths(), "[a-z]{0,20}").prop_map(|(path, holder)| Call::Lock(path, holder)),
        (0..2_usize).prop_map(Call::Unlock),
    ];
    let of_files = prop_oneof![
        file().prop_map(Call::Size),
        (file(), offsets(), 0..9000_usize).prop_map(|(file, offset, length)| Call::Read(file, offset, length)),
        (file(), offsets(), bytes()).prop_map(|(file, offset, bytes)| Call::Write(file, offset, bytes)),
        (file(), offsets()).prop_map(|(file, size)| Call::SetSize(file, size)),
        (file(), offsets(), offsets()).prop_map(|(file, offset, length)| Call::Reserve(file, offset, length)),
        (file(), offsets(), offsets()).prop_map(|(file, offset, length)| Call::Punch(file, offset, length)),
        file().prop_map(Call::Sync),
        file().prop_map(Call::Stat),
        (file(), 0..2_000_000_000_u64).prop_map(|(file, seconds)| Call::SetModified(file, seconds)),
        file().prop_map(Call::Close),
    ];
    let of_mappings = prop_oneof![
        (file(), 1..20_000_usize, accesses()).prop_map(|(file, length, access)| Call::Map(file, length, access)),
        (file(), 0..20_000_usize).prop_map(|(mapping, length)| Call::Load(mapping, length)),
        (file(), 0..9000_usize, bytes()).prop_map(|(mapping, offset, bytes)| Call::Store(mapping, offset, bytes)),
        file().prop_map(Call::Unmap),
    ];
    prop_oneof![5 => of_names, 4 => of_files, 2 => of_mappings]
}

/// A directory and what is open in it.
struct World {
    directory: Box<dyn Directory>,
    files: Vec<Arc<dyn Storage>>,
    /// Mappings, each with its file, whose size bounds what may be touched.
    mappings: Vec<(Mapping, Arc<dyn Storage>)>,
    locks: Vec<Box<dyn Send + Sync>>,
}

/// What a call gave, in words, so that the two worlds can be compared.
type Outcome = Result<String, (io::ErrorKind, Option<i32>)>;

fn outcome<T: Debug>(result: io::Result<T>) -> Outcome {
    result
        .map(|value| format!("{value:?}"))
        .map_err(|error| (error.kind(), error.raw_os_error()))
}

/// Space and times of changes are the file system's own.
fn plain(stat: Stat) -> (EntryKind, Option<u64>) {
    (stat.kind, (stat.kind == EntryKind::File).then_some(stat.size_bytes))
}

impl World {
    fn new(directory: Box<dyn Directory>) -> Self {
        Self {
            directory,
            files: Vec::new(),
            mappings: Vec::new(),
            locks: Vec::new(),
        }
    }

    fn call(&mut self, call: &Call) -> Outcome {
        match call {
            Call::List(path) => outcome(self.directory.list(path).map(|mut entries| {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                entries
            })),
            Call::CreateDirectory(path) => outcome(self.directory.create_directory(path)),
            Call::RemoveDirectory(path) => outcome(self.directory.remove_directory(path)),
            Call::Open(path, access) => outcome(self.directory.open(path, *access).map(|file| self.files.push(file))),
            Call::Create(path, bytes, fail) => {
                let mut fill = |file: &dyn Storage| {
                    file.write_all_at(bytes, 0)?;
                    if *fail {
                        Err(io::Error::from_raw_os_error(libc::EIO))
                    } else {
                        Ok(())
                    }
                };
                outcome(self.directory.create(path, &mut fill).map(|file| self.files.push(file)))
            }
            Call::Replace(path, bytes) => outcome(self.directory.replace(path, bytes)),
            Call::ReadFile(path, limit) => outcome(self.directory.read(path, *limit)),
            Call::Rename(from, to) => outcome(self.directory.rename(from, to)),
            Call::Remove(path) => outcome(self.directory.remove(path)),
            Call::StatPath(path) => outcome(self.directory.stat(path).map(plain)),
            Call::SyncDirectory(path) => outcome(self.directory.sync_directory(path)),
            Call::Sweep => outcome(self.directory.sweep_staged()),
            Call::Lock(path, holder) => outcome(self.directory.lock(path, holder).map(|lock| self.locks.push(lock))),
            Call::Unlock(number) => {
                let some = *number < self.locks.len();
                outcome(Ok(some.then(|| drop(self.locks.remove(*number)))))
            }
            Call::Close(number) => {
                let some = *number < self.files.len();
                outcome(Ok(some.then(|| drop(self.files.remove(*number)))))
            }
            Call::Load(..) | Call::Store(..) | Call::Unmap(_) => self.call_on_mapping(call),
            _ => self.call_on_file(call),
        }
    }

    fn call_on_file(&mut self, call: &Call) -> Outcome {
        let number = match call {
            Call::Size(number) | Call::Sync(number) | Call::Stat(number) => number,
            Call::Read(number, ..) | Call::Write(number, ..) => number,
            Call::Reserve(number, ..) | Call::Punch(number, ..) => number,
            Call::SetSize(number, _) | Call::SetModified(number, _) => number,
            Call::Map(number, ..) => number,
            _ => unreachable!("{call:?} is on no file"),
        };
        let Some(file) = self.files.get(*number) else {
            return outcome(Ok("no such file"));
        };
        match call {
            Call::Size(_) => outcome(file.size_bytes()),
            Call::Read(_, offset, length) => {
                let mut buffer = vec![0xee; *length];
                outcome(file.read_at(&mut buffer, *offset).map(|count| (count, buffer)))
            }
            Call::Write(_, offset, bytes) => outcome(file.write_all_at(bytes, *offset)),
            Call::SetSize(_, size) => outcome(file.set_size(*size)),
            Call::Reserve(_, offset, length) => outcome(file.reserve(*offset, *length)),
            Call::Punch(_, offset, length) => outcome(file.punch(*offset, *length)),
            Call::Sync(_) => outcome(file.sync()),
            Call::Stat(_) => outcome(file.stat().map(plain)),
            Call::SetModified(_, seconds) => {
                let modified = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(*seconds);
                let set = file.set_modified(modified);
                outcome(set.and_then(|()| file.stat()).map(|stat| stat.modified))
            }
            Call::Map(_, length, access) => {
                let mapped = file.map(*length, *access);
                outcome(mapped.map(|mapping| self.mappings.push((mapping, Arc::clone(file)))))
            }
            _ => unreachable!("{call:?} is on no file"),
        }
    }

    /// Touches mapped memory as an engine does: only where the file is.
    fn call_on_mapping(&mut self, call: &Call) -> Outcome {
        let (Call::Load(number, _) | Call::Store(number, ..) | Call::Unmap(number)) = call else {
            unreachable!("{call:?} is on no mapping");
        };
        let Some((mapping, file)) = self.mappings.get(*number) else {
            return outcome(Ok("no such mapping"));
        };
        let size = usize::try_from(file.size_bytes().unwrap()).unwrap().min(mapping.len());
        match call {
            Call::Load(_, length) => {
                let mut buffer = vec![0; size.min(*length)];
                mapping.copy_to(0, &mut buffer);
                outcome(Ok((buffer, mapping.damaged())))
            }
            Call::Store(_, offset, bytes) if mapping.is_writable() && offset + bytes.len() <= size => {
                mapping.copy_from(*offset, bytes);
                outcome(Ok(mapping.damaged()))
            }
            Call::Unmap(_) => {
                drop(self.mappings.remove(*number));
                outcome(Ok("unmapped"))
            }
            _ => outcome(Ok("out of bounds")),
        }
    }

    /// All names and the contents of all files.
    fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut tree = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            for entry in self.directory.list(&directory).unwrap() {
                let path = directory.join(entry.name);
                let contents = (entry.kind == EntryKind::File).then(|| self.directory.read(&path, 1 << 20).unwrap());
                if entry.kind == EntryKind::Directory {
                    open.push(path.clone());
                }
                tree.insert(path, contents);
            }
        }
        tree
    }
}

/// Calls the same on a host directory, which is empty, and in simulation.
fn compare(host: HostDirectory, calls: &[Call]) -> Result<(), TestCaseError> {
    let mut host = World::new(Box::new(host));
    let simulation = SimDirectory::new();
    let mut simulated = World::new(Box::new(simulation.clone()));
    for (number, call) in calls.iter().enumerate() {
        prop_assert_eq!(host.call(call), simulated.call(call), "call {}: {:?}", number, call);
    }
    let tree = host.tree();
    prop_assert_eq!(&tree, &simulated.tree());
    let killed = World::new(Box::new(simulation.killed().unwrap()));
    prop_assert_eq!(&tree, &killed.tree(), "killed");
    Ok(())
}

#[test]
fn holes_and_data_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let worlds: [Box<dyn Directory>; 2] = [
        Box::new(HostDirectory::open(root.path()).unwrap()),
        Box::new(SimDirectory::new()),
    ];
    for directory in worlds {
        let file = directory.create(Path::new("a"), &mut |_| Ok(())).unwrap();
        file.set_size(12 * 4096).unwrap();
        file.write_all_at(&[7; 4 * 4096], 4 * 4096).unwrap();
        file.punch(5 * 4096, 4096).unwrap();
        let mut spans = Vec::new();
        let mut at = 0;
        while let Some(span) = file.span_at(at).unwrap() {
            spans.push((span.hole, span.end_bytes / 4096));
            at = span.end_bytes;
        }
        let expected = [(true, 4), (false, 5), (true, 6), (false, 8), (true, 12)];
        assert_eq!(spans, expected, "{}", directory.path().display());
        let holes: Vec<bool> = [(0, 4), (0, 5), (4, 1), (5, 1), (5, 2), (8, 4), (8, 5), (12, 1)]
            .map(|(first, pages)| file.is_hole(first * 4096, pages * 4096).unwrap())
            .to_vec();
        assert_eq!(holes, [true, false, false, true, false, true, false, false]);
        let mut buffer = [1; 2 * 4096];
        if file.read_cached_at(&mut buffer, 4 * 4096).unwrap() {
            assert_eq!((buffer[0], buffer[4095], buffer[4096], buffer[8191]), (7, 7, 0, 0));
        }
    }
}

#[test]
fn ranges_are_claimed_alone_for_writing_and_together_for_reading() {
    let root = tempfile::tempdir().unwrap();
    let worlds: [Box<dyn Directory>; 2] = [
        Box::new(HostDirectory::open(root.path()).unwrap()),
        Box::new(SimDirectory::new()),
    ];
    for directory in worlds {
        let name = Path::new("a");
        let writer = directory.create(name, &mut |file| file.set_size(4096)).unwrap();
        let open = |access| directory.open(name, access).unwrap();
        writer.claim(1024, 1024, Access::ReadWrite).unwrap();
        for (offset, length, access, free) in [
            (0, 1024, Access::ReadWrite, true),
            (2048, 0, Access::ReadWrite, true),
            (0, 0, Access::ReadWrite, false),
            (2047, 1, Access::Read, false),
            (0, 1025, Access::Read, false),
        ] {
            let claimed = open(access).claim(offset, length, access);
            assert_eq!(claimed.is_ok(), free, "{offset} {length} {access:?} {claimed:?}");
            let busy = claimed.err().map(|error| error.kind());
            assert_eq!(busy, (!free).then_some(io::ErrorKind::WouldBlock));
        }
        drop(writer);
        let readers = [open(Access::Read), open(Access::Read)];
        readers
            .iter()
            .for_each(|reader| reader.claim(0, 0, Access::Read).unwrap());
        assert!(open(Access::ReadWrite).claim(4095, 1, Access::ReadWrite).is_err());
        drop(readers);
        open(Access::ReadWrite).claim(0, 0, Access::ReadWrite).unwrap();
    }
}

#[test]
fn a_claim_that_is_refused_names_the_process() {
    let root = tempfile::tempdir().unwrap();
    let directory = HostDirectory::open(root.path()).unwrap();
    let holder = directory.create(Path::new("a"), &mut |_| Ok(())).unwrap();
    holder.claim(0, 0, Access::ReadWrite).unwrap();
    let other = directory.open(Path::new("a"), Access::Read).unwrap();
    let refused = other.claim(0, 0, Access::Read).unwrap_err().to_string();
    assert_eq!(refused, format!("pid {} has it", std::process::id()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn simulation_is_the_host(calls in proptest::collection::vec(calls(), 1..60)) {
        let root = tempfile::tempdir().unwrap();
        compare(HostDirectory::open(root.path()).unwrap(), &calls)?;
    }

    #[test]
    fn simulation_is_an_old_host(calls in proptest::collection::vec(calls(), 1..60)) {
        let root = tempfile::tempdir().unwrap();
        compare(HostDirectory::open_on_old_host(root.path()).unwrap(), &calls)?;
    }

    /// Whatever was done: once all is synced, every crash image is the live tree.
    #[test]
    fn synced_tree_survives_every_crash(calls in proptest::collection::vec(calls(), 1..80), seeds in any::<[u64; 8]>()) {
        let simulation = SimDirectory::new();
        let mut world = World::new(Box::new(simulation.clone()));
        for call in &calls {
            let _ = world.call(call);
        }
        for seed in seeds {
            // Any image is a tree that can be read.
            World::new(Box::new(simulation.crash(seed).unwrap())).tree();
        }
        let tree = world.tree();
        for (path, contents) in &tree {
            if contents.is_some() {
                world.directory.open(path, Access::Read).unwrap().sync().unwrap();
            } else {
                world.directory.sync_directory(path).unwrap();
            }
        }
        world.directory.sync_directory(Path::new("")).unwrap();
        for seed in seeds {
            let crashed = World::new(Box::new(simulation.crash(seed).unwrap()));
            prop_assert_eq!(&tree, &crashed.tree(), "seed {}", seed);
        }
    }
}
