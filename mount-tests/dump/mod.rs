//! Dumps beside stock `dump` and `restore` of Linux: ours restored by them, theirs by us.
//!
//! Trees are filled and changed by the scripts in `tools/peers/dump`, which also made the tapes in `images/tape`; what a
//! tree holds is told by `describe.py` of the same place, so both sides are compared in everything a restore must bring back.

mod browsed;
mod catalog;
mod chains;
mod damaged;
mod foreign;
mod hostile;
mod interactive;
mod lists;
mod live;
mod mounted;
mod odd;
mod ours;
mod restart;
mod rmt;
mod stock;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use headstack::{
    dump::{
        dumpdates::Dumpdates,
        selection::Selection,
        tree::Tree,
        writer::{Order, Scope, Summary, dump},
    },
    storage::HostDirectory,
    tape::{Container, Limits, Names, Volumes},
};

use crate::peer::{run, skip, top};

/// A script of `tools/peers/dump`.
fn script(name: &str) -> PathBuf {
    top().join("tools/peers/dump").join(name)
}

/// True where the tests may make devices and give files away.
fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("dump and restore of everything (needs root)");
    }
    root
}

/// True where stock `restore` is installed and may be used.
fn stock() -> bool {
    let found = Command::new("restore").arg("-V").output().is_ok();
    if !found {
        skip("peer restore (Debian package dump)");
    }
    found && root()
}

/// A place for a tree, its tapes and what is restored of it.
struct Place {
    directory: tempfile::TempDir,
    now_s: i64,
}

impl Place {
    fn new() -> Self {
        Self::inside(tempfile::tempdir().unwrap())
    }

    /// A place in memory, where attributes may be longer than on a disk.
    fn in_memory() -> Self {
        Self::inside(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn inside(directory: tempfile::TempDir) -> Self {
        let place = Self { directory, now_s: 0 };
        for name in ["tree", "tapes", "state", "out", "scratch"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stock restore in `out`. It names its scratch files for the time of the dump, so each place has its own for them.
    fn stock_restore(&self) -> Command {
        let mut command = Command::new("restore");
        command
            .arg("-T")
            .arg(self.path("scratch"))
            .current_dir(self.path("out"));
        command
    }

    fn host(&self, name: &str) -> Arc<HostDirectory> {
        Arc::new(HostDirectory::open(&self.path(name)).unwrap())
    }

    /// A set of volumes of the place.
    fn volumes(&self, names: Names, container: Container, limits: Limits) -> Volumes {
        Volumes {
            directory: self.host("tapes"),
            names,
            container,
            record_bytes: 32 * 1024,
            limits,
        }
    }

    fn listed(&self, name: &str, container: Container) -> Volumes {
        self.volumes(Names::Listed(vec![name.into()]), container, Limits::default())
    }

    /// Dumps the tree.
    fn dump(&mut self, level: u8, volumes: Volumes) -> Summary {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        self.now_s = self.now_s.max(i64::try_from(now).unwrap());
        let tree = Tree::open(&self.path("tree")).unwrap();
        let mut dates = Dumpdates::open(self.host("state")).unwrap();
        let mut identity = [7; 16];
        identity[0] = u8::try_from(dates.all().len()).unwrap();
        let order = Order {
            level,
            now_s: self.now_s,
            factor: 32,
            label: "test".into(),
            host: "here".into(),
            honour_nodump_from: 1,
            identity,
            path: "/tree".into(),
            update: true,
            scope: Scope::Store,
            history: true,
            selection: Selection::default(),
        };
        dump(&tree, &order, volumes, &mut dates, &mut |_| ()).unwrap()
    }
}

/// Fills or changes a tree.
fn shape(script_name: &str, tree: &Path) {
    run(Command::new("bash").arg(script(script_name)).arg(tree), b"");
}

/// Everything that a restore must bring back, a line an object.
fn describe(tree: &Path) -> Vec<String> {
    let output = run(Command::new("python3").arg(script("describe.py")).arg(tree), b"");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Fails with the first differences of two descriptions.
fn same(found: &[String], expected: &[String], what: &str) {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        let missing = a.iter().filter(|line| !b.contains(line));
        missing.take(5).map(|line| line.chars().take(200).collect()).collect()
    };
    let (extra, missing) = (only(found, expected), only(expected, found));
    assert!(
        extra.is_empty() && missing.is_empty(),
        "{what}:\nonly found: {extra:#?}\nonly expected: {missing:#?}"
    );
    assert_eq!(found.len(), expected.len(), "{what}");
}
