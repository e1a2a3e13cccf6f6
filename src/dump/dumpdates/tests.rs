//! Bases held to the table that the seed gives.

use super::*;
use crate::{dump::tree::Identity, storage::SimDirectory};

fn root() -> Identity {
    Identity {
        inode: 5,
        born_ns: 1,
        kind: 0o40_000,
    }
}

/// Dates are ordinals: the base of each level of a sequence, by its place.
fn bases(levels: &[u8]) -> Vec<Option<i64>> {
    let mut dates = Dumpdates::open(Arc::new(SimDirectory::new())).unwrap();
    let mut found = Vec::new();
    for (date, level) in (1..).zip(levels) {
        let base = dates.base("/t", *level).cloned();
        found.push(base.as_ref().map(|base| base.date_s));
        let dump = Remembered {
            path: "/t".into(),
            level: *level,
            date_s: date,
            base_s: base.as_ref().map_or(0, |base| base.date_s),
            since_s: date,
            next_number: 3,
            dump: format!("{date:032x}"),
            chain: base.map_or(format!("{date:032x}"), |base| base.chain),
            epoch: EPOCH,
            read_only: false,
            again: BTreeSet::new(),
        };
        dates.remember(dump, &Numbers::new(root())).unwrap();
    }
    found
}

/// D31, D32: the base is the most recent dump of a lower level.
#[test]
fn the_base_is_the_latest_dump_of_a_lower_level() {
    let table: [(&[u8], &[Option<i64>]); 5] = [
        (&[0, 1, 2, 3], &[None, Some(1), Some(2), Some(3)]),
        (&[0, 2, 3, 1, 4], &[None, Some(1), Some(2), Some(1), Some(4)]),
        (&[0, 1, 1, 1], &[None, Some(1), Some(1), Some(1)]),
        (&[0, 1, 2, 1, 2], &[None, Some(1), Some(2), Some(1), Some(4)]),
        (&[5, 0, 31, 31], &[None, None, Some(2), Some(2)]),
    ];
    for (levels, expected) in table {
        assert_eq!(bases(levels), expected, "levels {levels:?}");
    }
}

#[test]
fn numbers_of_a_chain_go_with_its_last_dump() {
    let directory = SimDirectory::new();
    let mut dates = Dumpdates::open(Arc::new(directory.clone())).unwrap();
    let dump = |level, date_s, chain: &str| Remembered {
        path: "/t".into(),
        level,
        date_s,
        base_s: 0,
        since_s: 0,
        next_number: 3,
        dump: "d".into(),
        chain: chain.into(),
        epoch: EPOCH,
        read_only: false,
        again: BTreeSet::new(),
    };
    dates.remember(dump(0, 1, "a"), &Numbers::new(root())).unwrap();
    dates.remember(dump(1, 2, "a"), &Numbers::new(root())).unwrap();
    dates.remember(dump(0, 3, "b"), &Numbers::new(root())).unwrap();
    let names = || {
        let mut names: Vec<_> = directory
            .list(Path::new(""))
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["dumpdates.json", "dumpdates.lock", "numbers-a", "numbers-b"]);
    assert_eq!(dates.forget(|dump| dump.level == 1).unwrap(), 1);
    assert_eq!(names(), ["dumpdates.json", "dumpdates.lock", "numbers-b"]);
    let again = Dumpdates::open(Arc::new(directory.clone())).unwrap();
    assert_eq!(again.all(), dates.all());
    assert_eq!(again.numbers(&again.all()[0]).unwrap(), Numbers::new(root()));
    directory.replace(Path::new("numbers-b"), b"rubbish").unwrap();
    assert!(matches!(
        again.numbers(&again.all()[0]),
        Err(Error::DamagedState { .. })
    ));
}
