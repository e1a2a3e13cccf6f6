//! The catalogue: single files come back without reading the tape, here and with stock restore.
//!
//! How much is read is counted by the kernel, for the thread that does it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use headstack::{
    dump::{
        catalog::{Catalog, Place, Places, Scanned, contents, key_of, scan},
        reader::Reader,
        restore::{Catalogue, Choice, Destination, extract, extract_placed},
    },
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
    let all = destination(&stage, "out");
    let before = read_bytes();
    extract(&mut Reader::open(volumes.clone(), 0).unwrap(), &all, &Choice::all()).unwrap();
    let full = read_bytes() - before;
    assert!(full > 48 << 20, "{full}");
    let one = destination(&stage, "one");
    fs::create_dir(stage.path("elsewhere")).unwrap();
    let catalog = Catalog::new(stage.host("elsewhere"));
    let before = read_bytes();
    // Where nothing is known of the tape, it tells of itself.
    let mut reader = Reader::open(volumes, 0).unwrap();
    let [noted] = reader.catalogue().unwrap().try_into().unwrap();
    catalog.add(&noted).unwrap();
    let mut names = catalog.contents(&noted.entry.key).unwrap();
    let places = catalog.places(&noted.entry.key).unwrap();
    let wanted = [PathBuf::from("d37/f3777")];
    let restored = extract_placed(&mut names, &mut reader, &places, &one, &Choice::of(&wanted)).unwrap();
    let little = read_bytes() - before;
    assert_eq!(restored.troubles, []);
    assert!(little * 100 < full, "{little} of {full} bytes");
    let text = fs::read_to_string(stage.path("one/d37/f3777")).unwrap();
    assert_eq!(text, format!("{:8}", 3777).repeat(1024));
    assert_eq!(fs::read_dir(stage.path("one")).unwrap().count(), 1);
}

/// Of a tape that ends early, or on which nothing lies where it should, single files are looked for once for all of them.
#[test]
fn files_that_are_not_where_they_should_be_are_looked_for_together() {
    let mut stage = Stage::new();
    fs::create_dir(stage.path("tree/d")).unwrap();
    for number in 0..60 {
        fs::write(stage.path("tree/d").join(format!("f{number:02}")), vec![7; 100_000]).unwrap();
    }
    let volumes = stage.listed("t", Container::Flat);
    stage.dump(0, volumes.clone());
    let (found, reader) = scanned(volumes.clone());
    let whole = reader.read_bytes();
    fs::write(stage.path("state/toc"), &found.contents).unwrap();
    let tape = fs::read(stage.path("tapes/t")).unwrap();
    let wrong = Places::decode(&found.places.encode().replace("\t1\t", "\t1\t1")).unwrap();
    let restored = |bytes: &[u8], places: &Places, name: &str| {
        fs::write(stage.path("tapes/t"), bytes).unwrap();
        let mut names = contents(stage.host("state"), "toc".into()).unwrap();
        let mut reader = Reader::open(volumes.clone(), 0).unwrap();
        let choice = Choice::of(&["d".into()]);
        let told = extract_placed(&mut names, &mut reader, places, &destination(&stage, name), &choice).unwrap();
        assert!(
            reader.read_bytes() < 3 * whole,
            "{} of {whole} bytes",
            reader.read_bytes()
        );
        (
            told.lost.len(),
            fs::read_dir(stage.path(name).join("d")).unwrap().count(),
        )
    };
    assert_eq!(restored(&tape, &wrong, "wrong"), (0, 60));
    let (lost, left) = restored(&tape[..tape.len() / 2], &found.places, "short");
    assert!(
        (29..=32).contains(&lost) && lost + left >= 60,
        "{lost} lost, {left} left"
    );
}

/// A dump notes the very things that a reader of the tape finds: in the state directory, and behind itself on the tape, where
/// the next dump takes the place of that and tells of both.
#[test]
fn a_dump_notes_what_reading_it_finds() {
    let mut stage = Stage::new();
    for number in 0..200 {
        fs::write(stage.path("tree").join(format!("f{number}")), vec![7; number * 100]).unwrap();
    }
    let limits = Limits {
        capacity_bytes: Some(20 * 33 * 1024),
        early_warning_bytes: 10 * 33 * 1024,
    };
    let sets = [
        stage.listed("one.tap", Container::Tap),
        stage.volumes(Names::Numbered("v".into()), Container::Tap, limits),
    ];
    let catalog = Catalog::new(stage.host("state"));
    for volumes in sets {
        let files = if volumes.names.of(2).is_some() { 1 } else { 2 };
        for file in 0..files {
            stage.dump(u8::try_from(file).unwrap(), volumes.clone());
            let mut reader = Reader::open(volumes.clone(), file).unwrap().copying();
            let key = key_of(reader.label());
            let found = scan(&mut reader).unwrap();
            assert_eq!(files == 1, reader.volumes() > 3, "{}", reader.volumes());
            let mut on_tape = reader.catalogue().unwrap();
            assert_eq!(on_tape.len(), usize::try_from(file).unwrap() + 1);
            let noted = on_tape.pop().unwrap();
            assert_eq!(noted.entry.key, key);
            assert_eq!(noted.entry.file, file + 1);
            assert_eq!(noted.entry.objects, found.objects);
            assert_eq!(noted.entry.tapes, reader.tapes());
            assert_eq!((&noted.places, &noted.contents), (&found.places, &found.contents));
            assert_eq!(catalog.places(&key), Some(found.places));
            assert_eq!(catalog.entries().unwrap().pop(), Some(noted.entry));
        }
    }
    let refused = Reader::open(stage.listed("one.tap", Container::Tap), 2).unwrap_err();
    assert!(refused.to_string().contains("it is the catalogue"), "{refused}");
}

/// A dump that goes where others were takes their place in the catalogue too.
#[test]
fn what_is_overwritten_is_forgotten() {
    let mut stage = Stage::new();
    fs::write(stage.path("tree/f"), "f").unwrap();
    let catalog = Catalog::new(stage.host("state"));
    for (level, tape, container) in [
        (0, "a", Container::Flat),
        (1, "b.tap", Container::Tap),
        (2, "a", Container::Flat),
    ] {
        stage.dump(level, stage.listed(tape, container));
    }
    let tapes: Vec<String> = catalog
        .entries()
        .unwrap()
        .into_iter()
        .flat_map(|entry| entry.tapes)
        .collect();
    let path = |name: &str| stage.path("tapes").join(name).to_str().unwrap().to_owned();
    assert_eq!(tapes, [path("b.tap"), path("a")]);
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
