//! The catalogue: single files come back without reading the tape, here and with stock restore.
//!
//! How much is read is counted by the kernel, for the thread that does it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use headstack::{
    dump::{
        catalog::{Catalog, Entry, Place, Places, Scanned, contents, scan},
        reader::Reader,
        restore::{Catalogue, Choice, Destination, extract, extract_placed},
    },
    storage::HostDirectory,
    tape::{Container, Limits, Names, Volumes},
};

use super::{Place as Stage, describe, root, same, shape, stock};
use crate::peer::run;

/// Bytes that this thread has read so far.
fn read_bytes() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

fn scanned(volumes: Volumes) -> (Scanned, Reader) {
    let mut reader = Reader::open(volumes, 0).unwrap().copying();
    let found = scan(&mut reader).unwrap();
    assert_eq!(found.troubles, []);
    (found, reader)
}

fn destination(stage: &Stage, name: &str) -> Destination {
    fs::create_dir_all(stage.path(name)).unwrap();
    Destination::open(&stage.path(name)).unwrap()
}

/// Paths and numbers of a listing.
fn listed(reader: &mut Reader) -> BTreeSet<(PathBuf, u32)> {
    let mut names = Catalogue::read(reader).unwrap();
    let list = names.list();
    assert_eq!(names.troubles, []);
    list.into_iter().map(|(path, target)| (path, target.number)).collect()
}

/// D47: one file of many is restored with under one hundredth of what a restore of all reads, the catalogue's own files
/// counted too.
#[test]
fn a_single_file_costs_little_reading() {
    let mut stage = Stage::new();
    for number in 0..6000 {
        let directory = stage.path("tree").join(format!("d{}", number / 100));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{number}")), format!("{number:8}").repeat(1024)).unwrap();
    }
    let volumes = stage.listed("t.tap", Container::Tap);
    stage.dump(0, volumes.clone());
    let (found, reader) = scanned(volumes.clone());
    let catalog = Catalog::new(Arc::new(HostDirectory::open(&stage.path("state")).unwrap()));
    let entry = Entry::of(reader.label(), vec!["t.tap".into()], 1, &found);
    catalog.add(&entry, &found).unwrap();
    assert_eq!(catalog.entries().unwrap(), std::slice::from_ref(&entry));
    let all = destination(&stage, "out");
    let before = read_bytes();
    extract(&mut Reader::open(volumes.clone(), 0).unwrap(), &all, &Choice::all()).unwrap();
    let full = read_bytes() - before;
    assert!(full > 48 << 20, "{full}");
    let one = destination(&stage, "one");
    let before = read_bytes();
    let mut names = catalog.contents(&entry.key).unwrap();
    let places = catalog.places(&entry.key).unwrap();
    let wanted = [PathBuf::from("d37/f3777")];
    let mut reader = Reader::open(volumes, 0).unwrap();
    let restored = extract_placed(&mut names, &mut reader, &places, &one, &Choice::of(&wanted)).unwrap();
    let little = read_bytes() - before;
    assert_eq!(restored.troubles, []);
    assert!(little * 100 < full, "{little} of {full} bytes");
    let text = fs::read_to_string(stage.path("one/d37/f3777")).unwrap();
    assert_eq!(text, format!("{:8}", 3777).repeat(1024));
    assert_eq!(fs::read_dir(stage.path("one")).unwrap().count(), 1);
}

/// What is chosen comes back by the catalogue as it does by reading all, over volumes too, and where the places are of
/// another copy.
#[test]
fn chosen_files_are_the_same_with_and_without_a_catalogue() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    shape("fill.sh", &stage.path("tree"));
    fs::write(stage.path("tree/long"), vec![7; 900_000]).unwrap();
    let limits = Limits {
        capacity_bytes: Some(10 * 33 * 1024),
        early_warning_bytes: 2 * 33 * 1024,
    };
    let volumes = stage.volumes(Names::Numbered("v".into()), Container::Tap, limits);
    stage.dump(0, volumes.clone());
    let (found, _) = scanned(volumes.clone());
    fs::write(stage.path("state/toc"), &found.contents).unwrap();
    let toc = || contents(stage.host("state"), "toc".into()).unwrap();
    assert_eq!(
        listed(&mut toc()),
        listed(&mut Reader::open(volumes.clone(), 0).unwrap())
    );
    let wanted = [
        "file", "hard", "many/f7", "many/f40", "size1024", "huge", "long", "null",
    ]
    .map(PathBuf::from);
    extract(
        &mut Reader::open(volumes.clone(), 0).unwrap(),
        &destination(&stage, "out"),
        &Choice::of(&wanted),
    )
    .unwrap();
    let wrong = found.places.encode().lines().map(shifted).collect::<String>();
    for (at, places) in [found.places.clone(), Places::decode(&wrong).unwrap()]
        .iter()
        .enumerate()
    {
        let name = format!("placed{at}");
        let mut reader = Reader::open(volumes.clone(), 0).unwrap();
        let restored = extract_placed(
            &mut toc(),
            &mut reader,
            places,
            &destination(&stage, &name),
            &Choice::of(&wanted),
        )
        .unwrap();
        assert_eq!(restored.troubles, []);
        // Directories that are only on the way have the time of the restore.
        let chosen = |name: &str| -> Vec<String> {
            let lines = describe(&stage.path(name)).into_iter();
            lines
                .filter(|line| !["2e ", "6d616e79 "].iter().any(|way| line.starts_with(way)))
                .collect()
        };
        same(&chosen(&name), &chosen("out"), &name);
    }
    assert_eq!(found.places.of(2), None::<Place>, "directories have no places");
}

/// A line of places with its offset a few records on.
fn shifted(line: &str) -> String {
    let mut words: Vec<String> = line.split('\t').map(str::to_owned).collect();
    if let [number, _, offset] = words.as_mut_slice()
        && number != "ino"
    {
        *offset = (offset.parse::<u64>().unwrap() + 3 * 32 * 1024).to_string();
    }
    words.join("\t") + "\n"
}

/// Stock restore lists our table of contents and goes by our places: what stands before them on the tape may be gone.
#[test]
fn stock_restore_takes_contents_and_places() {
    if !stock() {
        return;
    }
    let mut stage = Stage::new();
    shape("fill.sh", &stage.path("tree"));
    let volumes = stage.listed("t", Container::Flat);
    stage.dump(0, volumes.clone());
    let (found, mut reader) = scanned(volumes);
    fs::write(stage.path("state/toc"), &found.contents).unwrap();
    fs::write(stage.path("state/qfa"), found.places.encode()).unwrap();
    let output = run(
        Command::new("restore").args(["-t", "-A"]).arg(stage.path("state/toc")),
        b"",
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in ["./many/f40", "./hard/link", "./a/b/c/deep"] {
        assert!(
            text.lines().any(|line| line.trim_end().ends_with(name)),
            "{name}: {text}"
        );
    }
    reader.rewind().unwrap();
    let number = Catalogue::read(&mut reader)
        .unwrap()
        .list()
        .into_iter()
        .find(|(path, _)| path == Path::new("many/f40"))
        .map(|(_, target)| target.number);
    let place = found.places.of(number.unwrap()).unwrap();
    let mut tape = fs::read(stage.path("tapes/t")).unwrap();
    let (from, to) = (3 * 32 * 1024, usize::try_from(place.offset_bytes).unwrap());
    assert!(from < to, "files lie before the last one: {place:?}");
    tape[from..to].fill(0xAA);
    fs::write(stage.path("tapes/t"), tape).unwrap();
    let mut command = Command::new("restore");
    command
        .args(["-x", "-a", "-o", "-Q"])
        .arg(stage.path("state/qfa"))
        .arg("-f");
    command.arg(stage.path("tapes/t")).arg("./many/f40");
    let output = run(command.current_dir(stage.path("out")), b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("resync"), "{said}");
    assert_eq!(fs::read(stage.path("out/many/f40")).unwrap(), b"file 40\n", "{said}");
}
