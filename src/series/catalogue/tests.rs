use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{CATALOGUE_FILE, Catalogue, Used, decode};
use crate::{
    series::{Damage, Error, SeriesId, SeriesKey},
    storage::{Directory, SimDirectory, Storage, sim::Verb},
};

fn fixed(name: &str) -> SeriesKey {
    SeriesKey::fixed(name)
}

fn open(directory: &SimDirectory, present: &[SeriesKey]) -> Catalogue {
    Catalogue::open_above(Arc::new(directory.clone()), true, present, Used::default()).unwrap()
}

fn file(directory: &SimDirectory) -> String {
    let bytes = directory.read(Path::new(CATALOGUE_FILE), 1 << 20).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A directory whose catalogue holds `text`.
fn holding(text: &str) -> SimDirectory {
    let directory = SimDirectory::new();
    let fill = &mut |file: &dyn Storage| file.write_all_at(text.as_bytes(), 0);
    directory.create(Path::new(CATALOGUE_FILE), fill).unwrap();
    directory
}

const EXAMPLE: &str = concat!(
    "{\"catalogue\":1}\n",
    "{\"series\":1,\"kind\":\"fixed\",\"name\":\"a\"}\n",
    "{\"series\":2,\"kind\":\"varlen\",\"name\":\"a\"}\n",
    "{\"series\":3,\"kind\":\"fixed\",\"name\":\"line\\nbreak \\\"ż\\\"\"}\n",
    "{\"renamed\":1,\"name\":\"b\"}\n",
    "{\"deleted\":2}\n",
    "{\"snapshot\":1}\n",
);

#[test]
fn lines_are_as_documented() {
    let directory = SimDirectory::new();
    let catalogue = open(&directory, &[]);
    assert!(
        directory.stat(Path::new(CATALOGUE_FILE)).is_err(),
        "nothing is written before there is a number"
    );
    assert_eq!(catalogue.add(&fixed("a")).unwrap(), SeriesId(1));
    assert_eq!(catalogue.add(&SeriesKey::varlen("a")).unwrap(), SeriesId(2));
    assert_eq!(catalogue.add(&fixed("line\nbreak \"ż\"")).unwrap(), SeriesId(3));
    catalogue.rename(&fixed("a"), &fixed("b")).unwrap();
    catalogue.forget(&SeriesKey::varlen("a")).unwrap();
    assert_eq!(catalogue.next_snapshot().unwrap(), 1);
    assert_eq!(file(&directory), EXAMPLE);
}

#[test]
fn numbers_are_kept_through_renames_and_opening() {
    let directory = holding(EXAMPLE);
    let catalogue = open(&directory, &[fixed("b"), fixed("line\nbreak \"ż\"")]);
    assert_eq!(catalogue.id(&fixed("b")), Some(SeriesId(1)));
    assert_eq!(catalogue.key(SeriesId(1)), Some(fixed("b")));
    assert_eq!(catalogue.id(&fixed("a")), None);
    assert_eq!(catalogue.id(&SeriesKey::varlen("a")), None);
    assert_eq!(catalogue.key(SeriesId(2)), None);
    assert_eq!(
        catalogue.add(&fixed("b")).unwrap(),
        SeriesId(1),
        "one that has a number keeps it"
    );
    assert_eq!(
        catalogue.add(&SeriesKey::varlen("a")).unwrap(),
        SeriesId(4),
        "numbers are never reused"
    );
    assert_eq!(catalogue.next_snapshot().unwrap(), 2);
}

#[test]
fn series_without_a_number_get_one_in_order_and_those_gone_are_forgotten() {
    let directory = holding(EXAMPLE);
    let present = [SeriesKey::varlen("z"), fixed("y"), fixed("b"), fixed("x"), fixed("y")];
    let catalogue = open(&directory, &present);
    assert_eq!(catalogue.id(&fixed("x")), Some(SeriesId(4)));
    assert_eq!(catalogue.id(&fixed("y")), Some(SeriesId(5)));
    assert_eq!(catalogue.id(&SeriesKey::varlen("z")), Some(SeriesId(6)));
    assert_eq!(catalogue.key(SeriesId(3)), None);
    let before = file(&directory);
    let again = open(&directory, &present);
    assert_eq!(again.id(&fixed("y")), Some(SeriesId(5)));
    assert_eq!(file(&directory), before, "opening again writes nothing");
}

#[test]
fn reader_numbers_in_memory_and_writes_nothing() {
    let directory = holding(EXAMPLE);
    let _ = directory.take_operations();
    let catalogue = Catalogue::open_above(
        Arc::new(directory.clone()),
        false,
        &[fixed("b"), fixed("new")],
        Used::default(),
    )
    .unwrap();
    assert_eq!(catalogue.id(&fixed("new")), Some(SeriesId(4)));
    assert_eq!(catalogue.id(&fixed("b")), Some(SeriesId(1)));
    for refused in [
        catalogue.rename(&fixed("b"), &fixed("c")),
        catalogue.forget(&fixed("b")),
        catalogue.next_snapshot().map(drop),
    ] {
        assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
    }
    assert_eq!(catalogue.add(&fixed("c")).unwrap(), SeriesId(5));
    catalogue.sync().unwrap();
    assert_eq!(
        directory.operations().len(),
        directory.count(Verb::ReadFile),
        "{:?}",
        directory.operations()
    );
    assert_eq!(file(&directory), EXAMPLE);
}

#[test]
fn renaming_takes_over_a_name_and_needs_a_number() {
    let catalogue = open(&SimDirectory::new(), &[fixed("a"), fixed("b")]);
    catalogue.rename(&fixed("a"), &fixed("b")).unwrap();
    assert_eq!(catalogue.id(&fixed("b")), Some(SeriesId(1)));
    assert_eq!(catalogue.key(SeriesId(2)), None);
    catalogue.rename(&fixed("b"), &SeriesKey::varlen("b")).unwrap();
    assert_eq!(catalogue.key(SeriesId(1)), Some(SeriesKey::varlen("b")));
    assert!(matches!(
        catalogue.rename(&fixed("a"), &fixed("c")),
        Err(Error::DoesNotExist { .. })
    ));
    catalogue.forget(&fixed("a")).unwrap();
}

#[test]
fn every_torn_end_is_left_out_and_overwritten() {
    for cut in 0..EXAMPLE.len() {
        if !EXAMPLE.is_char_boundary(cut) {
            continue;
        }
        for garbage in ["", "\0\0\0\0", "\0\0\n", "{\"series\":\n"] {
            let torn = format!("{}{garbage}", &EXAMPLE[..cut]);
            let directory = holding(&torn);
            let whole_lines = EXAMPLE[..cut].matches('\n').count();
            let survivors = EXAMPLE[..cut]
                .lines()
                .take(whole_lines)
                .filter(|line| line.contains("series"))
                .count();
            let catalogue = open(&directory, &[fixed("new one")]);
            let id = catalogue.id(&fixed("new one")).unwrap();
            assert_eq!(id.0 as usize, survivors + 1, "{torn:?}");
            drop(catalogue);
            let text = file(&directory);
            assert!(
                decode(text.as_bytes()).unwrap().damaged_lines == 0,
                "{torn:?} became {text:?}"
            );
            assert!(text.ends_with("\"name\":\"new one\"}\n"), "{text:?}");
            assert_eq!(open(&directory, &[fixed("new one")]).id(&fixed("new one")), Some(id));
        }
    }
}

#[test]
fn damage_in_the_middle_costs_no_more_than_its_lines() {
    let text = EXAMPLE
        .replace("{\"series\":2,", "{\"series\":2;")
        .replace("{\"snapshot\":1}", "{\"snapshot\":9}");
    let contents = decode(text.as_bytes()).unwrap();
    assert_eq!((contents.damaged_lines, contents.lines), (1, 7));
    let catalogue = open(&holding(&text), &[fixed("b")]);
    assert_eq!(catalogue.id(&fixed("b")), Some(SeriesId(1)));
    assert_eq!(catalogue.add(&fixed("c")).unwrap(), SeriesId(4));
    assert_eq!(catalogue.next_snapshot().unwrap(), 10);
}

#[test]
fn number_on_a_line_that_lacks_the_rest_is_not_given_out() {
    for line in [
        "{\"series\":7}",
        "{\"series\":7,\"kind\":\"odd\",\"name\":\"a\"}",
        "{\"renamed\":7}",
        "{\"deleted\":7}",
    ] {
        let catalogue = open(&holding(&format!("{line}\n")), &[]);
        assert_eq!(catalogue.add(&fixed("c")).unwrap(), SeriesId(8), "{line}");
    }
    let above = Used {
        series: 40,
        snapshots: 50,
    };
    let catalogue = Catalogue::open_above(Arc::new(holding(EXAMPLE)), true, &[fixed("new")], above).unwrap();
    assert_eq!(catalogue.id(&fixed("new")), Some(SeriesId(41)));
    assert_eq!(catalogue.next_snapshot().unwrap(), 51);
}

#[test]
fn newer_version_and_used_up_numbers_are_errors_that_say_so() {
    let error = |text: &str, present: &[SeriesKey]| match Catalogue::open_above(
        Arc::new(holding(text)),
        true,
        present,
        Used::default(),
    ) {
        Err(Error::Damaged {
            path,
            damage: Damage::Metadata(reason),
        }) => {
            assert_eq!(path, Path::new("/simulated/.headstack.catalogue"));
            reason
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    };
    assert_eq!(
        error("{\"catalogue\":2}\n", &[]),
        "of version 2, this program reads up to 1"
    );
    let last = "{\"deleted\":4294967295}\n{\"snapshot\":4294967295}\n";
    assert!(error(last, &[fixed("a")]).starts_with("all numbers are used up"));
    let catalogue = open(&holding(last), &[]);
    assert!(matches!(catalogue.add(&fixed("a")), Err(Error::Damaged { .. })));
    assert!(matches!(catalogue.next_snapshot(), Err(Error::Damaged { .. })));
}

#[test]
fn dead_lines_are_dropped_and_numbers_stay_used() {
    let directory = SimDirectory::new();
    let catalogue = open(&directory, &[fixed("kept")]);
    for i in 0..200 {
        let key = fixed(&format!("s{i}"));
        assert_eq!(catalogue.add(&key).unwrap(), SeriesId(2 + i));
        catalogue.forget(&key).unwrap();
    }
    assert_eq!(catalogue.next_snapshot().unwrap(), 1);
    drop(catalogue);
    let reader = Catalogue::open_above(Arc::new(directory.clone()), false, &[fixed("kept")], Used::default()).unwrap();
    assert_eq!(reader.id(&fixed("kept")), Some(SeriesId(1)));
    assert!(file(&directory).lines().count() > 400, "a reader replaces nothing");
    let catalogue = open(&directory, &[fixed("kept")]);
    let short = concat!(
        "{\"catalogue\":1}\n",
        "{\"used_series\":201,\"used_snapshots\":1}\n",
        "{\"series\":1,\"kind\":\"fixed\",\"name\":\"kept\"}\n",
    );
    assert_eq!(file(&directory), short);
    assert_eq!(catalogue.add(&fixed("next")).unwrap(), SeriesId(202));
    assert_eq!(catalogue.next_snapshot().unwrap(), 2);
    drop(catalogue);
    let catalogue = open(&directory, &[fixed("kept"), fixed("next")]);
    assert_eq!(catalogue.id(&fixed("next")), Some(SeriesId(202)));
}

#[test]
fn each_number_costs_one_small_write() {
    let directory = SimDirectory::new();
    let catalogue = open(&directory, &[]);
    for i in 0..10_000 {
        catalogue.add(&fixed(&format!("s{i}"))).unwrap();
    }
    // The first write fills the file that is made.
    assert_eq!(directory.count(Verb::Write), 10_001);
    assert_eq!(directory.count(Verb::Sync), 0);
    assert_eq!(directory.operations().len(), 10_003);
    catalogue.sync().unwrap();
    catalogue.sync().unwrap();
    assert_eq!(directory.count(Verb::Sync), 1);
    catalogue.add(&fixed("another")).unwrap();
    catalogue.sync().unwrap();
    assert_eq!(
        (directory.count(Verb::Sync), directory.count(Verb::SyncDirectory)),
        (2, 1)
    );
}

#[test]
fn numbers_of_a_killed_writer_are_made_durable_by_the_next_one() {
    let directory = SimDirectory::new();
    let keys: Vec<_> = (0..20).map(|i| fixed(&format!("series number {i:02}"))).collect();
    drop(open(&directory, &keys));
    let directory = directory.killed().unwrap();
    open(&directory, &keys).sync().unwrap();
    for seed in 0..50 {
        let catalogue = open(&directory.crash(seed).unwrap(), &keys);
        assert!(
            (1..)
                .zip(&keys)
                .all(|(id, key)| catalogue.id(key) == Some(SeriesId(id))),
            "seed {seed}"
        );
    }
}

#[test]
fn write_that_fails_changes_nothing_and_the_next_one_works() {
    let directory = SimDirectory::new();
    let catalogue = open(&directory, &[fixed("a")]);
    for round in 0..2 {
        directory.fail_next(Verb::Write, libc::ENOSPC);
        assert!(matches!(
            catalogue.add(&fixed("a much longer name")),
            Err(Error::Io { .. })
        ));
        directory.fail_next(Verb::Write, libc::EIO);
        assert!(matches!(catalogue.next_snapshot(), Err(Error::Io { .. })));
        assert_eq!(catalogue.id(&fixed("a much longer name")), None);
        assert_eq!(
            catalogue.add(&fixed(&format!("b{round}"))).unwrap(),
            SeriesId(2 + round)
        );
    }
    let expected = file(&directory);
    assert_eq!(decode(expected.as_bytes()).unwrap().damaged_lines, 0);
    let present = [fixed("a"), fixed("b0"), fixed("b1")];
    assert_eq!(open(&directory, &present).id(&fixed("b1")), Some(SeriesId(3)));
}

#[test]
fn full_disk_leaves_no_half_line_behind() {
    let directory = SimDirectory::new();
    let catalogue = open(&directory, &[fixed("a")]);
    directory.set_space_bytes(Some(4096));
    let mut added = vec![fixed("a")];
    loop {
        let key = fixed(&format!("{:>200}", added.len()));
        match catalogue.add(&key) {
            Ok(_) => added.push(key),
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                break;
            }
        }
    }
    // A shorter line still fits, over what the failed write left.
    assert!(catalogue.add(&fixed("b")).is_ok());
    added.push(fixed("b"));
    let text = file(&directory);
    assert_eq!(decode(text.as_bytes()).unwrap().damaged_lines, 0);
    assert_eq!(text.lines().count(), added.len() + 1);
    directory.set_space_bytes(None);
    let again = open(&directory, &added);
    assert_eq!(again.id(&fixed("b")).unwrap().0 as usize, added.len());
}

#[test]
fn synced_numbers_survive_a_power_loss() {
    for seed in 0..300 {
        let directory = SimDirectory::new();
        let catalogue = open(&directory, &[]);
        let keys: Vec<_> = (0..40).map(|i| fixed(&format!("series number {i}"))).collect();
        for key in &keys[..20] {
            catalogue.add(key).unwrap();
        }
        catalogue.sync().unwrap();
        for key in &keys[20..] {
            catalogue.add(key).unwrap();
        }
        let crashed = directory.crash(seed).unwrap();
        let catalogue = open(&crashed, &keys);
        let ids: BTreeSet<SeriesId> = keys.iter().map(|key| catalogue.id(key).unwrap()).collect();
        assert_eq!(ids.len(), keys.len(), "seed {seed}: no number is given twice");
        for (i, key) in keys[..20].iter().enumerate() {
            assert_eq!(catalogue.id(key).unwrap().0 as usize, i + 1, "seed {seed}");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Rename(u8, u8),
    Forget(u8),
    Snapshot,
    Reopen,
    Tear(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..8_u8).prop_map(Step::Add),
        2 => (0..8_u8, 0..8_u8).prop_map(|(a, b)| Step::Rename(a, b)),
        4 => (0..8_u8).prop_map(Step::Forget),
        1 => prop::strategy::Just(Step::Snapshot),
        1 => prop::strategy::Just(Step::Reopen),
        1 => (1..20_u8).prop_map(Step::Tear),
    ];
    prop::collection::vec(step, 0..600)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn numbers_are_unique_for_ever(steps in steps()) {
        let directory = SimDirectory::new();
        let mut catalogue = open(&directory, &[]);
        let mut live: HashMap<SeriesKey, SeriesId> = HashMap::new();
        let (mut last, mut last_snapshot) = (0, 0);
        for step in steps {
            let key = |i: u8| fixed(&format!("s{i}"));
            match step {
                Step::Add(i) => {
                    let id = catalogue.add(&key(i)).unwrap();
                    match live.get(&key(i)) {
                        Some(old) => prop_assert_eq!(id, *old),
                        None => {
                            prop_assert_eq!(id.0, last + 1);
                            last = id.0;
                            live.insert(key(i), id);
                        }
                    }
                }
                Step::Rename(a, b) => {
                    if let Some(id) = live.remove(&key(a)) {
                        catalogue.rename(&key(a), &key(b)).unwrap();
                        live.insert(key(b), id);
                    }
                }
                Step::Forget(i) => {
                    catalogue.forget(&key(i)).unwrap();
                    live.remove(&key(i));
                }
                Step::Snapshot => {
                    last_snapshot += 1;
                    prop_assert_eq!(catalogue.next_snapshot().unwrap(), last_snapshot);
                }
                Step::Reopen | Step::Tear(_) => {
                    drop(catalogue);
                    if let (Step::Tear(zeros), Ok(stat)) = (&step, directory.stat(Path::new(CATALOGUE_FILE))) {
                        let file = directory.open(Path::new(CATALOGUE_FILE), crate::storage::Access::ReadWrite).unwrap();
                        file.set_size(stat.size_bytes + u64::from(*zeros)).unwrap();
                    }
                    let present: Vec<_> = live.keys().cloned().collect();
                    catalogue = open(&directory, &present);
                }
            }
            for (key, id) in &live {
                prop_assert_eq!(catalogue.id(key), Some(*id));
                prop_assert_eq!(catalogue.key(*id), Some(key.clone()));
            }
        }
    }

    #[test]
    fn any_bytes_are_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_damaged_file_gives_each_series_a_number(at in 0..EXAMPLE.len(), byte: u8) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[at] = byte;
        let directory = SimDirectory::new();
        directory.create(Path::new(CATALOGUE_FILE), &mut |file| file.write_all_at(&bytes, 0)).unwrap();
        let present = [fixed("a"), fixed("b"), fixed("c")];
        if let Ok(catalogue) = Catalogue::open_above(Arc::new(directory.clone()), true, &present, Used::default()) {
            let ids: BTreeSet<_> = present.iter().map(|key| catalogue.id(key).unwrap()).collect();
            prop_assert_eq!(ids.len(), 3);
            let again = open(&directory, &present);
            prop_assert!(present.iter().all(|key| again.id(key) == catalogue.id(key)));
        }
    }
}
