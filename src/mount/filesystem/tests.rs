//! The file system without a mount: answers, and what they make stale.

use std::{ffi::OsStr, time::Duration};

use tempfile::TempDir;

use super::{Effect, Filesystem, Stale, attributes::Found, open::Caching};
use crate::{
    mount::{
        errno::{Errno, Refusal, Result, errno},
        nodes::ROOT,
    },
    series::{Database, OpenOptions},
};

const APPEND: i32 = libc::O_WRONLY | libc::O_APPEND;

/// A file system on a database of its own.
struct Fixture {
    fs: Filesystem,
    _directory: TempDir,
}

impl Fixture {
    fn new(options: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let database = Database::create(&directory.path().join("db"), OpenOptions::read_write()).unwrap();
        Self {
            fs: Filesystem::new(database, options.parse().unwrap(), (7, 8)).unwrap(),
            _directory: directory,
        }
    }

    /// Looks a path up from the root.
    fn find(&self, path: &str) -> Result<Found> {
        let mut found = None;
        let mut node = ROOT;
        for name in path.split('/') {
            let step = self.fs.lookup(node, OsStr::new(name))?;
            node = step.node;
            found = Some(step);
        }
        Ok(found.unwrap())
    }

    fn node(&self, path: &str) -> u64 {
        self.find(path).unwrap().node
    }

    fn series(&self, name: &str, entries_per_chunk: &str) -> u64 {
        let node = self.fs.make_directory(ROOT, OsStr::new(name)).unwrap().node;
        let attribute = OsStr::new("user.headstack.entries_per_chunk");
        self.fs
            .set_attribute(node, attribute, entries_per_chunk.as_bytes())
            .unwrap();
        node
    }

    fn open(&self, path: &str, flags: i32) -> Result<Effect<super::open::Opened>> {
        self.fs.open(self.node(path), flags.into())
    }

    fn read(&self, path: &str) -> Vec<u8> {
        let opened = self.open(path, libc::O_RDONLY).unwrap().value;
        let mut buffer = vec![0; 1 << 16];
        let length = self.fs.read(opened.handle, 0, &mut buffer).unwrap();
        self.fs.release(opened.handle);
        buffer.truncate(length);
        buffer
    }

    /// Appends records for these timestamps through a file of its own.
    fn append(&self, path: &str, stamps: std::ops::RangeInclusive<u64>) -> Effect<usize> {
        let handle = self.open(path, APPEND).unwrap().value.handle;
        let done = self.fs.write(handle, 0, &records(stamps), APPEND).unwrap();
        self.fs.flush(handle).unwrap();
        self.fs.release(handle);
        done
    }

    fn size(&self, path: &str) -> u64 {
        self.fs.attributes(self.node(path)).unwrap().0.size_bytes
    }
}

fn records(stamps: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    stamps
        .flat_map(|t| [t.to_le_bytes(), t.to_le_bytes()].concat())
        .collect()
}

fn refused<T>(result: Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(refusal) => {
            let Errno(number) = errno(&refusal);
            number
        }
    }
}

#[test]
fn growing_files_are_believed_only_while_nobody_writes() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    let raw = fixture.find("s/raw").unwrap();
    // The kernel may not have made the node yet when it is told to forget its size.
    assert_eq!(raw.attributes_hold, Duration::ZERO);
    let holds = || fixture.fs.attributes(raw.node).unwrap().1;
    assert!(holds() > Duration::ZERO);
    let opened = fixture.open("s/text", APPEND).unwrap();
    assert!(
        opened.stale.contains(&Stale::Attributes(raw.node)),
        "{:?}",
        opened.stale
    );
    assert_eq!(holds(), Duration::ZERO);
    // The kernel has forgotten what it believed; a second writer has nothing to tell it.
    let second = fixture.open("s/raw", APPEND).unwrap();
    assert_eq!(second.stale, []);
    fixture.fs.release(opened.value.handle);
    assert_eq!(holds(), Duration::ZERO);
    fixture.fs.release(second.value.handle);
    assert!(holds() > Duration::ZERO);
}

#[test]
fn an_append_makes_nothing_stale_where_reads_pass_the_cache_by() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    let _ = (fixture.node("s/raw"), fixture.node("s/text"), fixture.node("s/latest"));
    assert_eq!(fixture.append("s/raw", 1..=5).stale, []);
}

#[test]
fn cached_readers_lose_the_tail_before_the_size_grows() {
    let fixture = Fixture::new("live-read=cached");
    fixture.series("s", "1000");
    fixture.append("s/raw", 1..=300);
    let raw = fixture.node("s/raw");
    assert_eq!(
        fixture.open("s/raw", libc::O_RDONLY).unwrap().value.caching,
        Caching::UntilReopened
    );
    let handle = fixture.open("s/raw", APPEND).unwrap().value.handle;
    let done = fixture.fs.write(handle, 0, &records(301..=310), APPEND).unwrap();
    let position = |wanted: &dyn Fn(&Stale) -> bool| done.stale.iter().position(wanted).unwrap();
    // 300 records end in the second page.
    let tail = position(&|stale| *stale == Stale::Tail(raw, 4096));
    let published = position(&|stale| matches!(stale, Stale::Published(_, 310)));
    let grown = position(&|stale| matches!(stale, Stale::Grown(node, 4960, _) if *node == raw));
    assert!(tail < published && published < grown, "{:?}", done.stale);
    // Until then sizes do not show what reads may not hold yet.
    assert_eq!(fixture.size("s/raw"), 300 * 16);
    let Stale::Published(series, entries) = done.stale[published] else {
        panic!()
    };
    fixture.fs.publish(series, entries);
    assert_eq!(fixture.size("s/raw"), 310 * 16);
}

#[test]
fn a_trim_makes_everything_stale_that_counts_from_the_oldest_entry() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    fixture.append("s/raw", 1..=35);
    let raw = fixture.node("s/raw");
    let range = fixture.node("s/range/1-15.raw");
    let chunks = fixture.node("s/chunks");
    let (gone, kept) = (
        fixture.node("s/chunks/00000000000000000001.chunk"),
        fixture.node("s/chunks/00000000000000000011.chunk"),
    );
    let stale = fixture
        .fs
        .unlink(chunks, OsStr::new("00000000000000000001.chunk"))
        .unwrap()
        .stale;
    assert!(
        stale.contains(&Stale::Contents(raw)) && stale.contains(&Stale::Contents(range)),
        "{stale:?}"
    );
    assert!(stale.contains(&Stale::Attributes(gone)));
    assert!(stale.contains(&Stale::Name(chunks, "00000000000000000001.chunk".to_owned())));
    assert!(
        !stale
            .iter()
            .any(|stale| matches!(stale, Stale::Contents(node) | Stale::Attributes(node) if *node == kept))
    );
    assert_eq!(refused(fixture.fs.attributes(gone)), libc::ESTALE);
    assert_eq!(fixture.read("s/range/1-15.raw"), records(11..=15));
}

#[test]
fn what_is_closed_may_be_kept_for_ever() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    fixture.append("s/raw", 1..=35);
    fixture
        .fs
        .make_directory(fixture.node(".snapshot"), OsStr::new("x"))
        .unwrap();
    for (path, caching) in [
        ("s/raw", Caching::Direct),
        ("s/range/1-15.text", Caching::Keep),
        ("s/range/1-.text", Caching::Direct),
        ("s/range/1-36.text", Caching::Direct),
        ("s/chunks/00000000000000000011.chunk", Caching::Passthrough),
        ("s/chunks/00000000000000000031.chunk", Caching::Direct),
        ("s/chunks/00000000000000000011.text", Caching::Keep),
        (".snapshot/x/s/raw", Caching::Keep),
        (".snapshot/x/s/chunks/00000000000000000011.chunk", Caching::Passthrough),
        (".snapshot/x/s/meta", Caching::Keep),
    ] {
        assert_eq!(
            fixture.open(path, libc::O_RDONLY).unwrap().value.caching,
            caching,
            "{path}"
        );
        let held_for_ever = fixture.fs.attributes(fixture.node(path)).unwrap().1 > Duration::from_secs(3600);
        assert_eq!(held_for_ever, caching != Caching::Direct, "{path}");
    }
}

#[test]
fn the_last_chunk_of_a_snapshot_is_not_shown_as_a_file() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    fixture.append("s/raw", 1..=25);
    fixture
        .fs
        .make_directory(fixture.node(".snapshot"), OsStr::new("x"))
        .unwrap();
    fixture.append("s/raw", 26..=28);
    assert_eq!(
        refused(fixture.find(".snapshot/x/s/chunks/00000000000000000021.chunk")),
        libc::ENOENT
    );
    assert_eq!(
        fixture.read(".snapshot/x/s/chunks/00000000000000000021.text").len(),
        5 * 38
    );
}

#[test]
fn one_file_many_writers_one_view() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    let a = fixture.open("s/raw", APPEND).unwrap().value.handle;
    let b = fixture.open("s/raw", APPEND).unwrap().value.handle;
    // Fragments are each file's own.
    let (first, second) = (records(1..=300), records(301..=600));
    assert_eq!(fixture.fs.write(a, 0, &first[..4790], APPEND).unwrap().value, 4790);
    assert_eq!(refused(fixture.fs.write(b, 0, &second[..7], APPEND)), libc::EINVAL);
    assert_eq!(fixture.fs.write(a, 0, &first[4790..], APPEND).unwrap().value, 10);
    assert_eq!(fixture.fs.write(b, 0, &second, APPEND).unwrap().value, second.len());
    assert_eq!(fixture.read("s/raw"), records(1..=600));
}

#[test]
fn parameters_do_not_change_under_an_open_file() {
    let fixture = Fixture::new("");
    let series = fixture.series("s", "10");
    let block_size = OsStr::new("user.headstack.block_size");
    let handle = fixture.open("s/raw", APPEND).unwrap().value.handle;
    assert_eq!(
        refused(fixture.fs.set_attribute(series, block_size, b"16")),
        libc::EBUSY
    );
    fixture.fs.release(handle);
    fixture.fs.set_attribute(series, block_size, b"16").unwrap();
    assert_eq!(fixture.fs.get_attribute(series, block_size).unwrap(), b"16");
}

#[test]
fn nodes_and_views_go_when_the_kernel_forgets_them() {
    let fixture = Fixture::new("");
    let series = fixture.series("s", "10");
    let raw = fixture.node("s/raw");
    assert_eq!(fixture.fs.nodes().len(), 2);
    fixture.fs.forget(raw, 1);
    // mkdir and two lookups of the directory.
    fixture.fs.forget(series, 2);
    assert!(fixture.fs.nodes().is_empty());
    assert_eq!(refused(fixture.fs.attributes(raw)), libc::ESTALE);
    assert_eq!(super::lock(&fixture.fs.views).len(), 0);
    fixture.append("s/raw", 1..=3);
    assert_eq!(fixture.size("s/raw"), 48);
}

#[test]
fn closing_refuses_what_still_comes() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    let handle = fixture.open("s/raw", APPEND).unwrap().value.handle;
    fixture.fs.close().unwrap();
    assert_eq!(
        refused(fixture.fs.write(handle, 0, &records(1..=1), APPEND)),
        libc::ESHUTDOWN
    );
    assert_eq!(
        refused(fixture.fs.make_directory(ROOT, OsStr::new("t"))),
        libc::ESHUTDOWN
    );
}

#[test]
fn defaults_that_a_database_cannot_mean_are_left_aside() {
    let nonsense = serde_json::json!({"headstack": {"block_size": "x", "page_size": "64", "varlen.size_struct": "9"}});
    let defaults = super::xattr::Defaults::load(nonsense.as_object());
    assert_eq!((defaults.fixed.block_size, defaults.fixed.page_size), (8, 64));
    assert_eq!(defaults.varlen.size_struct, 2);
}

#[test]
fn a_refusal_says_what_to_do() {
    let fixture = Fixture::new("");
    fixture.series("s", "10");
    let error = fixture.open("s/raw", libc::O_WRONLY).unwrap_err();
    assert!(matches!(error, Refusal::AppendOnly { .. }));
    assert!(error.to_string().contains("O_APPEND") && error.to_string().contains("lax-append"));
}

/// Bytes are the same whether they are copied or given away where they lie, wherever a read begins and ends.
#[test]
fn bytes_given_away_are_the_bytes_that_are_copied() {
    let fixture = Fixture::new("");
    fixture.series("s", "5000");
    fixture.append("s/raw", 1..=12_000);
    for path in [
        "s/raw",
        "s/range/100-11000.raw",
        "s/chunks/00000000000000005001.chunk",
        "s/chunks/00000000000000010001.chunk",
        "s/text",
    ] {
        let handle = fixture.open(path, libc::O_RDONLY).unwrap().value.handle;
        let size = usize::try_from(fixture.size(path)).unwrap();
        let mut whole = vec![0; size];
        assert_eq!(fixture.fs.read(handle, 0, &mut whole).unwrap(), size);
        let mut buffer = vec![0xaa; size + 100];
        for (from, length) in [
            (0, size + 100),
            (4, 16 << 10),
            (5, 20_000),
            (0, 16 << 10),
            (size - 20_000, 20_000),
            (size - 17_000, 17_100),
            (size / 2 - 9000, 18_000),
            (size, 20_000),
        ] {
            let given = fixture
                .fs
                .read_with(handle, from as u64, &mut buffer[..length], <[u8]>::to_vec)
                .unwrap();
            assert!(
                given == whole[from..size.min(from + length)],
                "{path} {from} {length}: {}",
                given.len()
            );
        }
    }
}
