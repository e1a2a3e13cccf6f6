//! What a fuzz target does with a tape: gives it to every reader that there is, and looks at what they leave behind.
//!
//! Shared by the targets in `tools/fuzz/targets` and by the replay in `mount-tests/dump`, which runs the same without a fuzzer.
//! Whatever the bytes are, nothing may panic, nothing outside the target may change, what a verification finds a
//! restore tells of too, and an object that nobody told of is what it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::FileTypeExt as _},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use headstack::{
    dump::{
        Error, ROOT, Trouble,
        browse::{Browser, Data},
        catalog::{Places, Scanned, contents, scan},
        dumpdates::Dumpdates,
        reader::Reader,
        restore::{Catalogue, Choice, Destination, compare, extract, extract_placed, restore_chain},
        salvage::salvage,
        selection::Selection,
        tree::Tree,
        verify::verify,
        writer::{Order, Scope, dump},
    },
    storage::{Directory, sim::SimDirectory},
    tape::{Container, Limits, Names, Volumes},
};

/// Length of a tape block, in bytes.
pub const BLOCK: usize = 1024;
/// Longest file that is looked into, in bytes: a tape may claim any length.
const LOOK_BYTES: u64 = 4 << 20;

/// A tape of our own with a little of everything, as a stream, in volumes.
pub struct Healthy {
    /// All on one volume.
    pub whole: Vec<u8>,
    /// The same tree, another dump, on as many volumes as it takes.
    pub volumes: Vec<Vec<u8>>,
    /// What a restore of either gives.
    pub contents: Contents,
}

/// What is in a directory: type, length and beginning of everything by its path.
pub type Contents = BTreeMap<PathBuf, (char, u64, Vec<u8>)>;

/// The healthy tapes.
pub static HEALTHY: LazyLock<Healthy> = LazyLock::new(|| {
    let room = tempfile::tempdir().expect("room for a tree");
    let tree = room.path().join("tree");
    fill(&tree).expect("a small tree");
    Healthy {
        whole: dumped(&tree, 1, None).remove(0),
        volumes: dumped(&tree, 2, Some(7 * 4 * BLOCK as u64)),
        contents: look(&tree),
    }
});

fn fill(tree: &Path) -> std::io::Result<()> {
    fs::create_dir_all(tree.join("d/inner"))?;
    fs::write(tree.join("a"), "abc".repeat(1000))?;
    fs::hard_link(tree.join("a"), tree.join("d/hard"))?;
    fs::write(tree.join("d/inner/deep"), "deep\n")?;
    fs::write(tree.join("empty"), "")?;
    // Not every file system takes attributes.
    let _ = rustix::fs::setxattr(tree.join("a"), c"user.k", b"value", rustix::fs::XattrFlags::empty());
    std::os::unix::fs::symlink("a", tree.join("link"))?;
    fs::write(
        tree.join("long"),
        (0..40_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>(),
    )?;
    let sparse = fs::File::create(tree.join("sparse"))?;
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 1_200_000)
}

/// Streams of the volumes that a tree is dumped on.
fn dumped(tree: &Path, identity: u8, capacity_bytes: Option<u64>) -> Vec<Vec<u8>> {
    let disk = Arc::new(SimDirectory::new());
    let order = Order {
        level: 0,
        now_s: 1_700_000_000 + i64::from(identity),
        factor: 4,
        label: "fuzzed".into(),
        host: "here".into(),
        honour_nodump_from: 1,
        identity: [identity; 16],
        path: "/tree".into(),
        update: false,
        scope: Scope::Subtree,
        history: false,
        selection: Selection::default(),
    };
    let volumes = Volumes {
        directory: disk.clone(),
        names: Names::Numbered("v".into()),
        container: Container::Flat,
        record_bytes: 4 * BLOCK,
        limits: Limits {
            capacity_bytes,
            early_warning_bytes: capacity_bytes.map_or(0, |_| 8 * BLOCK as u64),
        },
    };
    let mut dates = Dumpdates::open(disk.clone()).expect("nothing is remembered");
    let tree = Tree::open(tree).expect("it is there");
    let summary = dump(&tree, &order, volumes, &mut dates, &mut |_| ()).expect("nothing stands in the way");
    (1..=summary.volumes)
        .map(|number| {
            disk.read(Path::new(&format!("v{number:03}")), 1 << 30)
                .expect("it was written")
        })
        .collect()
}

/// What is in a directory.
pub fn look(directory: &Path) -> Contents {
    let mut found = Contents::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let Ok(entries) = fs::read_dir(directory.join(&path)) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = path.join(entry.file_name());
            if name == Path::new("restoresymtable") {
                continue;
            }
            let at = directory.join(&name);
            let Ok(facts) = at.symlink_metadata() else { continue };
            let kind = facts.file_type();
            let told = if kind.is_dir() {
                left.push(name.clone());
                ('d', 0, Vec::new())
            } else if kind.is_symlink() {
                let target = fs::read_link(&at).map(OsString::from).unwrap_or_default();
                ('l', facts.len(), target.into_encoded_bytes())
            } else if kind.is_file() {
                let bytes = if facts.len() <= LOOK_BYTES {
                    fs::read(&at).unwrap_or_default()
                } else {
                    Vec::new()
                };
                ('f', facts.len(), bytes)
            } else {
                (if kind.is_fifo() { 'p' } else { 's' }, 0, Vec::new())
            };
            found.insert(name, told);
        }
    }
    found
}

/// A place to restore in, beside which lies what nobody may touch.
pub struct Jail {
    room: tempfile::TempDir,
}

impl Jail {
    /// An empty one.
    pub fn new() -> Self {
        // Memory where there is some, for a restore waits for its disk.
        let room = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let room = room.expect("room for a restore");
        fs::create_dir(room.path().join("outside")).expect("it is empty");
        fs::write(room.path().join("outside/mine"), "mine").expect("it is empty");
        Self { room }
    }

    /// The directory that is restored into, empty.
    pub fn target(&self) -> PathBuf {
        let target = self.room.path().join("target");
        clear(&target);
        fs::create_dir(&target).expect("it was removed");
        target
    }

    /// Fails where something outside of the target has changed.
    pub fn check(&self) {
        clear(&self.room.path().join("target"));
        let there: Vec<PathBuf> = look(self.room.path()).into_keys().collect();
        assert_eq!(
            there,
            [Path::new("outside"), Path::new("outside/mine")],
            "outside of the target"
        );
        let mine = fs::read(self.room.path().join("outside/mine")).expect("it is there");
        assert_eq!(mine, b"mine", "outside of the target");
    }
}

/// Removes a directory with all that is in it, whatever its flags.
fn clear(directory: &Path) {
    if !directory.exists() || fs::remove_dir_all(directory).is_ok() {
        return;
    }
    let mut paths: Vec<PathBuf> = look(directory).into_keys().map(|path| directory.join(path)).collect();
    paths.push(directory.to_path_buf());
    for path in paths.iter().filter(|path| !path.is_symlink()) {
        if let Ok(file) = fs::File::open(path) {
            let _ = rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::empty());
        }
    }
    fs::remove_dir_all(directory).expect("nothing protects it any more");
}

/// What the readers said and left.
#[derive(Debug, Default)]
pub struct Played {
    /// What the whole restore said, or why there was none.
    pub told: Vec<Trouble>,
    /// Why there was no restore at all.
    pub refused: Option<Error>,
    /// What the restore left.
    pub left: Contents,
}

impl Played {
    /// True where nobody said that anything is wrong.
    pub fn is_silent(&self) -> bool {
        self.refused.is_none() && !self.told.iter().any(|trouble| trouble.loss)
    }
}

/// Volumes in memory.
pub fn volumes(streams: &[Vec<u8>], container: Container) -> Volumes {
    let disk = SimDirectory::new();
    let mut names = Vec::new();
    for (number, stream) in streams.iter().enumerate() {
        let name = PathBuf::from(format!("v{number}"));
        let made = disk.create(&name, &mut |file| file.write_all_at(stream, 0));
        made.expect("memory takes files");
        names.push(name);
    }
    Volumes {
        directory: Arc::new(disk),
        names: Names::Listed(names),
        container,
        record_bytes: 4 * BLOCK,
        limits: Limits::default(),
    }
}

/// A way to restore.
type How<'a> = &'a mut dyn FnMut(&mut Reader, &Destination) -> Result<Vec<Trouble>, Error>;

/// Gives a dump to every reader.
pub fn play(jail: &Jail, volumes: &Volumes) -> Played {
    let open = || Reader::open(volumes.clone(), 0);
    let mut played = Played::default();
    let mut reader = match open() {
        Ok(reader) => reader,
        Err(error) => {
            played.refused = Some(error);
            return played;
        }
    };
    if let Ok(mut names) = Catalogue::read(&mut reader) {
        names.list();
    }
    let verified = open().and_then(|mut reader| verify(&mut reader));
    let scanned = open().and_then(|reader| scan(&mut reader.copying()));
    let restore = |how: How<'_>| {
        let target = jail.target();
        let told = open().and_then(|mut reader| how(&mut reader, &Destination::open(&target)?));
        (told, look(&target))
    };
    let (told, left) = restore(&mut |reader, destination| {
        let told = extract(reader, destination, &Choice::all())?.troubles;
        // What was restored without loss is what the tape says.
        let found = open().and_then(|mut reader| compare(&mut reader, destination));
        if told.is_empty() {
            assert_eq!(found.ok(), Some(Vec::new()), "restored in silence");
        }
        Ok(told)
    });
    played.left = left;
    match told {
        Ok(told) => played.told = told,
        Err(error) => played.refused = Some(error),
    }
    if let (Ok(verified), true) = (&verified, played.is_silent()) {
        assert_eq!(
            verified.troubles.iter().find(|trouble| trouble.loss),
            None,
            "only the verification told"
        );
    }
    let _ = restore(&mut |reader, destination| Ok(restore_chain(reader, destination)?.troubles));
    let _ = restore(&mut |_, destination| Ok(salvage(open()?, destination)?.troubles));
    if let Ok(scanned) = scanned {
        placed(&scanned, &mut |names, places| {
            let _ = restore(&mut |reader, destination| {
                let chosen = Choice::of(&["a".into(), "d/inner".into()]);
                Ok(extract_placed(names, reader, places, destination, &chosen)?.troubles)
            });
            if let Ok(reader) = open() {
                browse(names, reader, places, played.is_silent().then_some(&played.left));
            }
        });
    }
    jail.check();
    played
}

/// Looks at all that there is in a dump; where nothing was told of, it is what a restore left.
fn browse(names: &mut Reader, reader: Reader, places: &Places, left: Option<&Contents>) {
    if names.rewind().is_err() {
        return;
    }
    let Ok(mut browser) = Browser::new(names, reader, places.clone()) else {
        return;
    };
    let mut folders = vec![(ROOT, PathBuf::new())];
    // A hostile directory may name itself, or one above it.
    let mut entered = BTreeSet::from([ROOT]);
    let mut seen = 0;
    while let Some((folder, path)) = folders.pop() {
        let names: Vec<(PathBuf, u32)> = browser
            .children(folder)
            .map(|(name, target)| (path.join(OsStr::from_bytes(name)), target.number))
            .collect();
        for (path, number) in names {
            seen += 1;
            let facts = browser.facts(number);
            if browser.is_directory(number) {
                if entered.insert(number) {
                    folders.push((number, path));
                }
                continue;
            }
            let Ok(Some(facts)) = facts else { continue };
            // From the end, from the middle and from the beginning.
            let size = facts.node.size_bytes.min(LOOK_BYTES);
            let _ = browser.read(number, size.saturating_sub(5), 5);
            let read = browser.read(number, 0, usize::try_from(size).unwrap_or(0));
            if let Some((kind, length, bytes)) = left.and_then(|left| left.get(&path))
                && matches!(kind, 'f' | 'l')
                && *length <= LOOK_BYTES
            {
                assert_eq!(read.ok(), Some(Data::Bytes(bytes.clone())), "{}", path.display());
            }
        }
    }
    assert!(left.is_none_or(|left| left.len() == seen), "{seen} objects are seen");
}

/// Opens what a scan found as a catalogue keeps it.
fn placed(scanned: &Scanned, then: &mut dyn FnMut(&mut Reader, &Places)) {
    let disk = SimDirectory::new();
    let made = disk.create(Path::new("toc"), &mut |file| file.write_all_at(&scanned.contents, 0));
    made.expect("memory takes files");
    let places = Places::decode(&scanned.places.encode()).expect("places are read back");
    if let Ok(mut names) = contents(Arc::new(disk), "toc".into()) {
        then(&mut names, &places);
    }
}

/// Ordinals of the blocks of a stream that are headers, in order; none behind what makes no sense.
pub fn headers(stream: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(block) = stream.get(at * BLOCK..(at + 1) * BLOCK) {
        let word = |from: usize| u32::from_le_bytes([block[from], block[from + 1], block[from + 2], block[from + 3]]);
        if word(24) != 60012 {
            break;
        }
        found.push(at);
        let count = word(160) as usize;
        at += 1 + match (word(0), word(888) & 0x8000) {
            (3 | 6, _) | (_, 0x8000) => count,
            (2 | 4, _) => block[164..164 + count.min(512)]
                .iter()
                .filter(|cell| **cell != 0)
                .count(),
            _ => 0,
        };
    }
    found
}

/// Makes the checksum of a header right, and with `data` the one that it has of the blocks behind it.
pub fn mend(stream: &mut [u8], header: usize, data: usize) {
    let (head, rest) = stream[header * BLOCK..].split_at_mut(BLOCK);
    if data > 0 && head[928..932] == *b"HSX1" {
        let sum = crc32c::crc32c(&rest[..data * BLOCK]);
        head[932..936].copy_from_slice(&sum.to_le_bytes());
    }
    head[28..32].fill(0);
    let words = head.chunks_exact(4);
    let sum = words.fold(0_u32, |sum, word| {
        sum.wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    });
    head[28..32].copy_from_slice(&84446_u32.wrapping_sub(sum).to_le_bytes());
}

/// The same stream as an image of records.
pub fn image(stream: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    for record in stream.chunks(4 * BLOCK) {
        let length = u32::try_from(record.len()).unwrap_or(0).to_le_bytes();
        image.extend([&length, record, &length].concat());
    }
    image.extend([0; 8]);
    image
}
