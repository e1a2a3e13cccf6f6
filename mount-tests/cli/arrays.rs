//! Arrays from the command line, at rest: made, shown, failed, rebuilt and explained, with `mdadm` as the second opinion.
//!
//! What happens while they are served is in `mount-tests/nbd`.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{Place, headstack, peer, run};

/// Images `d0.img`, `d1.img` and so on.
fn disks(place: &Place, count: usize, size: &str) -> Vec<String> {
    let paths: Vec<String> = (0..count).map(|number| place.at(&format!("d{number}.img"))).collect();
    let mut words = vec!["disk", "create", "--size", size];
    words.extend(paths.iter().map(String::as_str));
    headstack(&words).text();
    paths
}

/// Makes an array; the facts of its making.
fn created(words: &[&str], images: &[String]) -> Value {
    let mut all = vec!["array", "create", "--json"];
    all.extend(words);
    all.extend(images.iter().map(String::as_str));
    headstack(&all).json()
}

fn shown(place: &Place, name: &str) -> Value {
    headstack(&["array", "show", "--json", name, "--in", place.path().to_str().unwrap()]).json()
}

fn check(place: &Place, name: &str) -> i32 {
    headstack(&["array", "show", "--check", name, "--in", place.path().to_str().unwrap()]).code
}

fn mdadm(image: &str) -> Option<String> {
    let mdadm = peer("mdadm")?;
    Some(run(Command::new(mdadm).args(["--examine", image]), b"").text())
}

/// R08, R09, R20: every level of the table is made with its fewest members and has the table's share of their space; with
/// one less it is refused; chunks are 512K where nothing is said.
#[test]
fn every_level_is_made_with_its_fewest_members_and_refused_with_less() {
    for (level, fewest, usable) in [
        ("jbod", 1, 1),
        ("0", 2, 2),
        ("1", 2, 1),
        ("10", 4, 2),
        ("4", 3, 2),
        ("5", 3, 2),
        ("6", 4, 2),
        ("50", 6, 4),
    ] {
        let place = Place::new();
        let images = disks(&place, fewest, "16M");
        let made = created(&["--level", level, "a"], &images);
        let size = made["size_bytes"].as_u64().unwrap();
        let most = usable * (16 << 20);
        assert!(size <= most && size > most * 3 / 4, "level {level}: {size}");
        let facts = shown(&place, "a");
        assert_eq!(facts["state"], "Normal", "level {level}");
        if !["jbod", "1"].contains(&level) {
            assert_eq!(facts["chunk_bytes"], 512 << 10, "level {level}");
        }
        if fewest > 1 {
            let place = Place::new();
            let images = disks(&place, fewest - 1, "16M");
            let mut words = vec!["array", "create", "--level", level, "a"];
            words.extend(images.iter().map(String::as_str));
            headstack(&words).fails(64, &["needs at least"]);
        }
    }
}

/// R20: chunks outside of 4K to 1M and those that are no power of two are refused, the limits are taken.
#[test]
fn chunks_have_limits() {
    for (chunk, code) in [("4K", 0), ("1M", 0), ("128K", 0), ("2K", 64), ("2M", 64), ("96K", 64)] {
        let place = Place::new();
        let images = disks(&place, 2, "16M");
        let words = [
            "array", "create", "a", "--level", "0", "--chunk", chunk, &images[0], &images[1],
        ];
        headstack(&words).ends(code);
    }
}

/// R22: the smallest image limits the array; a capacity that is asked for is what it has.
#[test]
fn capacity_is_the_smallest_members_or_what_is_asked_for() {
    let place = Place::new();
    let mut images = disks(&place, 1, "64M");
    let small = place.at("small.img");
    headstack(&["disk", "create", "--size", "32M", &small]).text();
    images.push(small);
    let size = created(&["--level", "1", "a"], &images)["size_bytes"].as_u64().unwrap();
    assert!(size > 28 << 20 && size < 32 << 20, "{size}");
    let place = Place::new();
    let images = disks(&place, 3, "64M");
    let made = created(&["--level", "5", "--capacity", "32M", "a"], &images);
    assert_eq!(made["size_bytes"], 32 << 20);
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    let words = [
        "array",
        "create",
        "a",
        "--level",
        "5",
        "--capacity",
        "1G",
        &images[0],
        &images[1],
        &images[2],
    ];
    headstack(&words).fails(64, &["capacity"]);
}

/// R12: without a name the level and the next free number make one.
#[test]
fn arrays_without_a_name_are_called_by_level_and_number() {
    let place = Place::new();
    let images = disks(&place, 4, "16M");
    assert_eq!(created(&["--level", "1"], &images[..2])["name"], "RAID_1_0");
    assert_eq!(created(&["--level", "1"], &images[2..])["name"], "RAID_1_1");
    let listed = headstack(&["array", "ls", "-H", place.path().to_str().unwrap()]).text();
    let names: Vec<&str> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["RAID_1_0", "RAID_1_1"]);
}

/// R13, R14, R15, R16: the four ways to begin keep, wipe the ends of, or zero what the images hold, and say whether a
/// resync is left to do.
#[test]
fn initialisation_does_with_old_bytes_what_it_says() {
    for (init, middle, head, resync) in [
        ("keep", 0xaa, 0xaa, true),
        ("quick", 0xaa, 0, true),
        ("foreground", 0, 0, false),
        ("background", 0, 0, false),
    ] {
        let place = Place::new();
        let images = disks(&place, 2, "16M");
        for image in &images {
            fs::write(image, vec![0xaa; 16 << 20]).unwrap();
        }
        let made = created(&["--level", "1", "--init", init, "--yes", "a"], &images);
        assert_eq!(made["needs_resync"], resync, "{init}");
        let data = headstack(&["array", "examine", "--json", &images[0]]).json();
        let offset = data["images"][0]["data_offset_bytes"].as_u64().unwrap();
        let bytes = fs::read(&images[0]).unwrap();
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(bytes[offset], head, "{init}");
        assert_eq!(bytes[offset + (6 << 20)], middle, "{init}");
        headstack(&["array", "rebuild", "a", "--in", place.path().to_str().unwrap()]).text();
        assert_eq!(shown(&place, "a")["dirty"], false, "{init}");
    }
}

/// Images that hold something are taken only when that is confirmed, members of an array only when that is said too; a
/// dry run tells what would be lost and changes nothing.
#[test]
fn nothing_is_lost_without_a_word() {
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    fs::write(&images[1], vec![0xaa; 16 << 20]).unwrap();
    let before = fs::read(&images[1]).unwrap();
    let create = |more: &[&str], images: &[String]| {
        let mut words = vec!["array", "create", "--level", "0", "a"];
        words.extend(more);
        words.extend(images.iter().map(String::as_str));
        headstack(&words)
    };
    create(&[], &images[..2]).fails(78, &["d1.img", "would be lost"]);
    let dry = create(&["--dry-run", "--json"], &images[..2]).json();
    assert!(dry["lost"][0].as_str().unwrap().contains("d1.img"));
    assert!(fs::read(&images[1]).unwrap() == before, "a dry run wrote");
    create(&["--yes"], &images[..2]).ends(0);
    create(&["--yes"], &images[1..]).fails(78, &["d1.img", "member of an array"]);
    create(&["--yes", "--force-overwrite"], &images[1..]).ends(0);
    create(&[], &[place.at("none.img"), place.at("d0.img")]).fails(66, &["none.img"]);
}

/// R28, R29, R58: a member is failed, the array is critical and says so; the same disk comes back, is rebuilt, and all is
/// well. mdadm sees the same.
#[test]
fn a_member_is_failed_and_taken_back() {
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    created(&["--level", "5", "r5"], &images);
    let directory = place.path().to_str().unwrap();
    assert_eq!(check(&place, "r5"), 0);
    headstack(&["array", "fail", "r5", &images[1]]).ends(0);
    assert_eq!(check(&place, "r5"), 1);
    let facts = shown(&place, "r5");
    assert_eq!(
        (&facts["status"], &facts["degraded"]),
        (&"Critical".into(), &true.into())
    );
    assert_eq!(facts["members"][1]["standing"], "missing");
    if let Some(seen) = mdadm(&images[0]) {
        assert!(seen.contains("Array State : A.A"), "{seen}");
    }
    headstack(&["array", "fail", "r5", "2", "--in", directory]).fails(78, &["r5", "member 2"]);
    headstack(&["array", "fail", "r5", "9", "--in", directory]).fails(66, &["no member 9"]);
    let added = headstack(&["array", "add", "--json", "r5", &images[1]]).json();
    assert_eq!(added["added"]["slot"], 1);
    assert_eq!(added["state"], "Normal");
    assert_eq!(check(&place, "r5"), 0);
    if let Some(seen) = mdadm(&images[1]) {
        assert!(
            seen.contains("Array State : AAA") && seen.contains("Active device 1"),
            "{seen}"
        );
    }
}

/// R25, R29: a spare waits until a member fails, and is then filled by a rebuild; a new disk is taken in by a verb.
#[test]
fn spares_and_new_disks_take_the_place_of_what_failed() {
    let place = Place::new();
    let images = disks(&place, 5, "16M");
    let directory = place.path().to_str().unwrap();
    created(&["--level", "1", "--spare", &images[2], "m"], &images[..2]);
    assert_eq!(shown(&place, "m")["spares"].as_array().unwrap().len(), 1);
    headstack(&["array", "fail", "m", "d0.img", "--in", directory]).ends(0);
    let facts = headstack(&["array", "rebuild", "--json", "m", "--in", directory]).json();
    assert_eq!(facts["state"], "Normal");
    assert_eq!(facts["members"][0]["path"], images[2].as_str());
    headstack(&["array", "fail", "m", "1", "--in", directory]).ends(0);
    let facts = headstack(&["array", "add", "--json", "m", &images[3]]).json();
    assert_eq!(
        (&facts["state"], &facts["added"]["as"]),
        (&"Normal".into(), &"new-member".into())
    );
    let facts = headstack(&["array", "add", "--json", "m", &images[4]]).json();
    assert_eq!(facts["added"]["as"], "spare");
    headstack(&["array", "add", "m", &images[4]]).fails(64, &["d4.img", "in use"]);
}

/// R25, R28: a spare is given back at once, a member that failed with a word, one that is in use not at all; what was given
/// back is blank, and a spare that is gone takes no slot.
#[test]
fn images_that_an_array_does_without_are_given_back() {
    let place = Place::new();
    let images = disks(&place, 4, "16M");
    created(&["--level", "5", "--spare", &images[3], "r5"], &images[..3]);
    let remove = |image: &str, more: &[&str]| headstack(&[&["array", "remove", "r5", image], more].concat());
    remove(&images[0], &[]).fails(78, &["d0.img", "member 0", "in use"]);
    assert_eq!(
        remove(&images[3], &["--json"]).json()["spares"],
        Value::Array(Vec::new())
    );
    remove(&images[3], &[]).fails(66, &["d3.img"]);
    headstack(&["array", "fail", "r5", &images[0]]).ends(0);
    let facts = headstack(&[
        "array",
        "rebuild",
        "--json",
        "r5",
        "--in",
        place.path().to_str().unwrap(),
    ])
    .json();
    assert_eq!(facts["members"][0]["standing"], "missing");
    remove(&images[0], &[]).fails(78, &["d0.img", "--yes"]);
    remove(&images[0], &["--yes"]).ends(0);
    let Some(mdadm) = peer("mdadm") else { return };
    for image in [&images[0], &images[3]] {
        let seen = run(Command::new(&mdadm).args(["--examine", image]), b"").ends(1);
        assert!(seen.err.contains("No md superblock detected"), "{seen:?}");
    }
    let holds = |image: &str| headstack(&["disk", "show", "--json", image]).json()["holds"].clone();
    assert_eq!((holds(&images[0]), holds(&images[3])), ("blank".into(), "blank".into()));
    headstack(&["array", "add", "r5", &images[3]]).ends(0);
    assert_eq!(check(&place, "r5"), 0);
}

/// What else an image was is wiped when an array is made of it: nobody finds two things in one image.
#[test]
fn a_new_array_wipes_what_its_images_were() {
    let place = Place::new();
    let images = disks(&place, 2, "16M");
    let Some(sgdisk) = peer("sgdisk") else { return };
    for image in &images {
        run(Command::new(&sgdisk).args(["-n", "1:2048:4096", image]), b"").ends(0);
        let file = fs::File::options().write(true).open(image).unwrap();
        let put = |bytes: &[u8], at: u64| std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
        // Superblocks of versions 0.90 and 1.0, by their magic.
        put(
            &[0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0, 90, 0, 0, 0],
            (16 << 20) - (64 << 10),
        );
        put(&[0xfc, 0x4e, 0x2b, 0xa9, 1], (16 << 20) - (8 << 10));
    }
    created(
        &["--level", "1", "--init", "keep", "--yes", "--force-overwrite", "m"],
        &images,
    );
    let wipefs = Command::new("wipefs")
        .args(["--noheadings", "--output", "TYPE", &images[0]])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(wipefs.stdout).unwrap().trim(), "linux_raid_member");
    let verify = run(Command::new(&sgdisk).args(["-v", &images[0]]), b"");
    assert!(
        !String::from_utf8(verify.out).unwrap().contains("corrupt"),
        "a backup of the table is left"
    );
}

/// R30, R54, R55: with too few members the array is disabled: it is neither started nor written to, and with its images
/// back it is critical again.
#[test]
fn a_disabled_array_is_left_as_it_is() {
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    created(&["--level", "5", "r5"], &images);
    headstack(&["array", "fail", "r5", &images[0]]).ends(0);
    fs::create_dir(place.at("elsewhere")).unwrap();
    let away = place.at("elsewhere/d1.img");
    fs::rename(&images[1], &away).unwrap();
    let before = fs::read(&images[2]).unwrap();
    assert_eq!(check(&place, "r5"), 2);
    assert_eq!(shown(&place, "r5")["state"], "Disabled");
    let directory = place.path().to_str().unwrap();
    headstack(&["array", "rebuild", "r5", "--in", &images[2]]).fails(65, &["r5", "missing"]);
    headstack(&["nbd", &images[2]]).fails(65, &["r5", "missing"]);
    assert!(
        fs::read(&images[2]).unwrap() == before,
        "a disabled array was written to"
    );
    fs::rename(&away, &images[1]).unwrap();
    assert_eq!(check(&place, "r5"), 1);
    headstack(&["array", "add", "r5", &images[0], "--in", directory]).ends(0);
    assert_eq!(check(&place, "r5"), 0);
}

/// R51: the steps of recovery come in the guide's order and have the array's own names.
#[test]
fn explain_tells_the_steps_with_real_names() {
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    created(&["--level", "5", "r5"], &images);
    let directory = place.path().to_str().unwrap();
    let explained = || headstack(&["array", "explain", "r5", "--in", directory]).text();
    assert!(explained().contains("Nothing is to be done"));
    headstack(&["array", "fail", "r5", &images[1]]).ends(0);
    let text = explained();
    let places: Vec<usize> = [
        "Back up",
        "Find the disk",
        "take it back",
        "rebuild",
        "See that all is well",
    ]
    .iter()
    .map(|word| text.find(word).unwrap_or_else(|| panic!("{word}: {text}")))
    .collect();
    assert!(places.is_sorted(), "{text}");
    assert!(
        text.contains("member 1") && text.contains(&images[1]) && text.contains("array add r5"),
        "{text}"
    );
    // What it says can be typed.
    let line = text
        .lines()
        .find(|line| line.contains("headstack array add r5"))
        .unwrap();
    let words: Vec<&str> = line.split("headstack ").nth(1).unwrap().split_whitespace().collect();
    headstack(&words).ends(0);
    assert_eq!(check(&place, "r5"), 0);
}

/// R56: an image tells all that its superblock holds, with the values that mdadm prints.
#[test]
fn examine_tells_what_mdadm_does() {
    let place = Place::new();
    let images = disks(&place, 4, "16M");
    created(&["--level", "10", "--chunk", "64K", "--layout", "f2", "far"], &images);
    let facts = headstack(&["array", "examine", "--json", &images[2]]).json();
    let image = &facts["images"][0];
    assert_eq!(
        (&image["level"], &image["layout"], &image["slots"]),
        (&"raid10".into(), &0x201.into(), &4.into())
    );
    assert_eq!(
        (&image["chunk_bytes"], &image["role"]),
        (&65536.into(), &"member 2".into())
    );
    assert_eq!(image["array_name"], "far");
    if let Some(seen) = mdadm(&images[2]) {
        let field = |name: &str| {
            let line = seen.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.split_once(" : ").unwrap().1.trim().to_owned()
        };
        assert_eq!(field("Array UUID"), image["array_uuid"].as_str().unwrap());
        assert_eq!(field("Device UUID"), image["device_uuid"].as_str().unwrap());
        assert_eq!(field("Events"), image["events"].to_string());
        assert_eq!(field("Layout"), "far=2");
        let offset = image["data_offset_bytes"].as_u64().unwrap() / 512;
        assert_eq!(field("Data Offset"), format!("{offset} sectors"));
    }
    let blank = place.at("blank.img");
    headstack(&["disk", "create", "--size", "2M", &blank]).text();
    headstack(&["array", "examine", &blank]).fails(65, &["blank.img", "no superblock"]);
}

/// R57: images tell what they hold: nothing, a file system, an array's member.
#[test]
fn disks_tell_what_they_hold() {
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    created(&["--level", "1", "m"], &images[..2]);
    let directory = place.path().to_str().unwrap();
    let listed = headstack(&["disk", "ls", "--json", directory]).json();
    let rows = listed["images"].as_array().unwrap();
    let holds: Vec<&str> = rows.iter().map(|row| row["holds"].as_str().unwrap()).collect();
    assert_eq!(holds, ["member", "member", "blank"]);
    assert_eq!(
        (&rows[1]["array"], &rows[1]["member"]),
        (&"m".into(), &"1 (in sync)".into())
    );
    let shown = headstack(&["disk", "show", "--json", &images[0]]).json();
    assert_eq!(
        (&shown["level"], &shown["size_bytes"]),
        (&"raid1".into(), &(16 << 20).into())
    );
    headstack(&["disk", "show", &place.at("none")]).fails(66, &["none"]);
    headstack(&["disk", "create", "--size", "1K", &place.at("tiny")]).fails(64, &["2M"]);
    headstack(&["disk", "create", "--size", "16M", &images[0]]).fails(73, &["d0.img"]);
    assert!(!Path::new(&place.at("tiny")).exists());
}

/// R09, R11: the help on levels has the guide's numbers and a use for each.
#[test]
fn help_tells_what_each_level_needs_gives_and_survives() {
    let table = headstack(&["help", "levels", "--json"]).json();
    let rows = table["levels"].as_array().unwrap();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("level"), row["fewest_members"].as_u64().unwrap(), text("usable"))
    };
    let expected = [
        ("JBOD", 1, "100 %"),
        ("RAID 0", 2, "100 %"),
        ("RAID 1", 2, "12 to 50 %"),
        ("RAID 10", 4, "50 %"),
        ("RAID 5", 3, "66 to 87 %"),
        ("RAID 50", 6, "66 to 75 %"),
        ("RAID 6", 4, "50 to 75 %"),
    ]
    .map(|(level, fewest, usable)| (level.to_owned(), fewest, usable.to_owned()));
    assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), expected);
    assert!(rows.iter().all(|row| row["good_for"].as_str().unwrap().len() > 10));
    assert!(headstack(&["help", "array", "create"]).text().contains("--level"));
    headstack(&["help", "nonsense"]).fails(66, &["nonsense"]);
}

/// R22, R23: what an array leaves of its images makes more arrays, four at most; all of them are found again.
#[test]
fn what_is_left_of_images_makes_up_to_four_arrays() {
    let place = Place::new();
    let images = disks(&place, 3, "128M");
    for (number, level) in ["5", "1", "0", "5"].iter().enumerate() {
        let name = format!("a{number}");
        let size = created(&["--level", level, "--capacity", "20M", &name], &images)["size_bytes"]
            .as_u64()
            .unwrap();
        assert!((20 << 20..=24 << 20).contains(&size), "{name}: {size}");
    }
    let mut words = vec!["array", "create", "a4", "--level", "1", "--capacity", "8M"];
    words.extend(images.iter().map(String::as_str));
    headstack(&words).fails(64, &["d0.img"]);
    let listed = headstack(&["array", "ls", "-H", place.path().to_str().unwrap()]).text();
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.lines().all(|line| line.contains("Normal")), "{listed}");
}

/// R27: verify says which bytes do not fit and who is to blame, and repairs what can be proven.
#[test]
fn verify_finds_and_mends_what_was_damaged() {
    let place = Place::new();
    let images = disks(&place, 4, "16M");
    created(&["--level", "6", "--chunk", "64K", "r6"], &images);
    let directory = place.path().to_str().unwrap();
    let verify = |more: &[&str]| {
        let mut words = vec!["array", "verify", "--json", "r6", "--in", directory];
        words.extend(more);
        headstack(&words)
    };
    assert_eq!(verify(&[]).json()["clean"], true);
    let facts = headstack(&["array", "examine", "--json", &images[2]]).json();
    let offset = facts["images"][0]["data_offset_bytes"].as_u64().unwrap();
    let file = fs::File::options().write(true).open(&images[2]).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x77; 4096], offset + (1 << 20)).unwrap();
    let found = verify(&[]).ends(65).document();
    assert_eq!(
        (&found["clean"], &found["mismatched_bytes"]),
        (&false.into(), &4096.into())
    );
    let mismatch = &found["mismatches"][0];
    assert_eq!(mismatch["suspects"].as_array().unwrap().len(), 1, "{mismatch}");
    assert_eq!(
        (&mismatch["suspects"][0]["slot"], &mismatch["repaired"]),
        (&2.into(), &false.into())
    );
    let mended = verify(&["--repair"]).json();
    assert_eq!(
        (&mended["unrepaired_bytes"], &mended["mismatches"][0]["repaired"]),
        (&0.into(), &true.into())
    );
    assert_eq!(verify(&[]).json()["mismatched_bytes"], 0);
    headstack(&["array", "fail", "r6", &images[0]]).ends(0);
    verify(&[]).fails(78, &["r6", "missing"]);
}

/// A disk that holds something else is not taken in without a word.
#[test]
fn adding_a_disk_that_holds_something_needs_a_word() {
    let place = Place::new();
    let images = disks(&place, 4, "16M");
    created(&["--level", "1", "m"], &images[..2]);
    created(&["--level", "1", "other", "--missing", "1"], &images[2..3]);
    headstack(&["array", "fail", "m", &images[1]]).ends(0);
    headstack(&["array", "add", "m", &images[2]]).fails(78, &["d2.img", "member"]);
    fs::write(&images[3], vec![0xaa; 16 << 20]).unwrap();
    headstack(&["array", "add", "m", &images[3]]).fails(78, &["d3.img"]);
    headstack(&["array", "add", "m", &images[3], "--yes"]).ends(0);
    assert_eq!(check(&place, "m"), 0);
}

/// R27, R28, R30: an array that is well is renamed, one that misses a member is not; either is deleted, which is said
/// first, and its images are free again.
#[test]
fn arrays_are_renamed_and_deleted_as_their_state_allows() {
    let place = Place::new();
    let images = disks(&place, 3, "16M");
    created(&["--level", "5", "old"], &images);
    let directory = place.path().to_str().unwrap();
    headstack(&["array", "rename", "old", "new", "--in", directory]).text();
    assert_eq!(shown(&place, "new")["state"], "Normal");
    if let Some(seen) = mdadm(&images[1]) {
        assert!(seen.lines().any(|line| line.trim() == "Name : new"), "{seen}");
    }
    headstack(&["array", "fail", "new", &images[1]]).ends(0);
    headstack(&["array", "rename", "new", "other", "--in", directory]).fails(78, &["new"]);
    headstack(&["array", "delete", "new", "--in", directory]).fails(78, &["d0.img", "would be lost"]);
    let dry = headstack(&["array", "delete", "new", "--dry-run", "--json", "--in", directory]).json();
    assert_eq!(
        (&dry["name"], dry["images"].as_array().unwrap().len()),
        (&"new".into(), 3)
    );
    headstack(&["array", "delete", "new", "--yes", "--in", directory]).text();
    let listed = headstack(&["array", "ls", "-H", directory]).text();
    assert_eq!(listed, "");
    headstack(&["array", "show", "new", "--in", directory]).fails(66, &["new"]);
}

/// R26, R59: an array that is served on a socket of its own choice is found by its name alone: shown with where its reshape
/// goes and how far it is, and stopped; a server that was killed leaves nothing in the way.
#[test]
fn an_array_on_another_socket_is_found_by_its_name() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let images = disks(&place, 4, "16M");
    created(&["--level", "5", "--chunk", "64K", "r5"], &images[..3]);
    let directory = place.path().to_str().unwrap();
    let socket = elsewhere.at("far.sock");
    let start = ["array", "start", "r5", "--in", directory, "--socket", &socket];
    headstack(&start).ends(0);
    let facts = shown(&place, "r5");
    assert_eq!((&facts["served"], &facts["reshape"]), (&true.into(), &Value::Null));
    headstack(&["array", "stop", "r5", "--in", directory]).ends(0);
    let left: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name.to_string_lossy().ends_with(".img")),
        "{left:?}"
    );
    // What a killed server leaves behind: a link that leads nowhere.
    let link = place.at("r5.sock.control");
    std::os::unix::fs::symlink(elsewhere.at("gone.sock.control"), &link).unwrap();
    assert_eq!(shown(&place, "r5")["served"], false);
    headstack(&["array", "start", "r5", "--in", directory]).ends(0);
    assert_eq!(shown(&place, "r5")["served"], true);
    headstack(&["array", "stop", "r5", "--in", directory]).ends(0);
    std::os::unix::fs::symlink(elsewhere.at("gone.sock.control"), &link).unwrap();
    headstack(&start).ends(0);
    assert_eq!(shown(&place, "r5")["served"], true);
    headstack(&["array", "grow", "r5", &images[3], "--in", directory]).ends(0);
    let facts = shown(&place, "r5");
    assert!(
        facts["reshape"].is_null() || facts["reshape"]["to_members"] == 4,
        "{facts}"
    );
    headstack(&["array", "stop", "r5", "--in", directory]).ends(0);
    assert_eq!(shown(&place, "r5")["served"], false);
}

/// R10, R59: `array grow` gives each leg of a RAID 50 as many disks, and nothing where they do not go round.
#[test]
fn grow_gives_each_leg_of_a_raid_50_a_disk() {
    let place = Place::new();
    let images = disks(&place, 8, "8M");
    created(&["--level", "50", "--chunk", "64K", "r50"], &images[..6]);
    let directory = place.path().to_str().unwrap();
    let before = shown(&place, "r50")["size_bytes"].as_u64().unwrap();
    headstack(&["array", "grow", "r50", &images[6], "--in", directory]).ends(64);
    headstack(&["array", "grow", "r50", &images[6], &images[7], "--in", directory]).ends(0);
    let facts = shown(&place, "r50");
    let (size, members) = (
        facts["size_bytes"].as_u64().unwrap(),
        facts["members"].as_array().unwrap(),
    );
    assert_eq!((facts["level"].as_str(), members.len()), (Some("raid50"), 8), "{facts}");
    assert!(size > before + before / 3, "{facts}");
    assert_eq!(check(&place, "r50"), 0);
}
