//! File ids, and listings that are large.
//!
//! Ids are the same after a remount and in every snapshot, by stat and by listing, and no two files share pages for
//! sharing an id.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::Path,
};

use super::fixture::{Mount, appender, records, shell};

/// Ids of a series' files by name, as stat and as a listing show them.
fn ids(series: &Path) -> BTreeMap<String, u64> {
    let names = ["", "raw", "text", "latest", "stats", "meta", "chunks", "range"];
    let more = [
        "chunks/00000000000000000001.chunk",
        "chunks/00000000000000000001.text",
        "range/5-9.raw",
    ];
    let stat = |name: &&str| ((*name).to_owned(), fs::metadata(series.join(name)).unwrap().ino());
    names.iter().chain(&more).map(stat).collect()
}

fn listed(directory: &Path) -> BTreeMap<String, u64> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.ino())
    };
    fs::read_dir(directory).unwrap().map(entry).collect()
}

#[test]
fn file_ids_are_the_same_after_a_remount_and_in_snapshots() {
    let mut mount = Mount::new();
    let (series, other) = (mount.series("s"), mount.path("varlen/v"));
    fs::create_dir(&other).unwrap();
    mount.set(&series, "entries_per_chunk", "10");
    appender(&series.join("raw")).write_all(&records(1..=35)).unwrap();
    let before = ids(&series);
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    fs::create_dir(mount.path(".snapshot/y")).unwrap();
    appender(&series.join("raw")).write_all(&records(36..=40)).unwrap();
    for round in 0..2 {
        for tree in [".snapshot/x", ".snapshot/y"] {
            let frozen = mount.path(tree).join("s");
            assert_eq!(ids(&frozen), before, "{tree}, round {round}");
            // By listing, before and after the kernel has the nodes.
            let shown = listed(&frozen);
            assert_eq!(shown["raw"], before["raw"]);
            assert_eq!(shown["meta"], before["meta"]);
            assert_eq!(listed(&mount.path(tree))["s"], before[""]);
            assert_eq!(
                listed(&mount.path(tree))["varlen"],
                fs::metadata(mount.path("varlen")).unwrap().ino()
            );
        }
        assert_eq!(ids(&series), before);
        mount.remount("");
    }
    assert_eq!(listed(&mount.path("varlen"))["v"], fs::metadata(&other).unwrap().ino());
    fs::rename(&series, mount.path("renamed")).unwrap();
    assert_eq!(ids(&mount.path("renamed")), before);
    let found = shell(&format!(
        "cd {}; find . -inum {} | sort",
        mount.point().display(),
        before["raw"]
    ));
    assert_eq!(found, "./.snapshot/x/s/raw\n./.snapshot/y/s/raw\n./renamed/raw\n");
}

#[test]
fn a_node_in_a_snapshot_never_shares_pages_with_the_live_one() {
    let mount = Mount::new();
    let series = mount.series("s");
    let raw = series.join("raw");
    appender(&raw).write_all(&records(1..=10)).unwrap();
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    appender(&raw).write_all(&records(11..=20)).unwrap();
    for _ in 0..3 {
        // Listings lend the live file's number to the kernel; that must not cost the live file its node.
        let _ = listed(&mount.path(".snapshot/x/s"));
        assert_eq!(fs::read(mount.path(".snapshot/x/s/raw")).unwrap(), records(1..=10));
        assert_eq!(fs::read(&raw).unwrap(), records(1..=20));
        assert_eq!(fs::metadata(&raw).unwrap().len(), 320);
    }
    shell("echo 2 > /proc/sys/vm/drop_caches 2>/dev/null || true");
    assert_eq!(fs::metadata(&raw).unwrap().len(), 320);
}

#[test]
fn ten_thousand_chunks_are_listed_whole_and_once() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "1");
    mount.set(&series, "page_size", "64");
    appender(&series.join("raw")).write_all(&records(1..=5000)).unwrap();
    let names = listed(&series.join("chunks"));
    assert_eq!(names.len(), 10_000);
    let distinct: std::collections::BTreeSet<u64> = names.values().copied().collect();
    assert_eq!(distinct.len(), 10_000);
    assert!((1..=5000).all(|t| names.contains_key(&format!("{t:020}.chunk"))));
    let small = shell(&format!(
        "find {} -name '*.chunk' -size -2 | wc -l",
        series.join("chunks").display()
    ));
    assert_eq!(small.trim(), "5000");
    assert_eq!(
        shell(&format!("cat {}/chunks/*.text | cmp - {0}/text", series.display())),
        ""
    );
}

#[test]
fn a_thousand_series_are_listed_without_opening_them() {
    let mount = Mount::new();
    for i in 0..1000 {
        mount.series(&format!("s{i}"));
    }
    let mut mount = mount;
    mount.remount("");
    assert_eq!(listed(&mount.point()).len(), 1003);
    shell(&format!("ls -l {} > /dev/null", mount.point().display()));
    let metrics = fs::read_to_string(mount.path(".stats")).unwrap();
    assert!(metrics.contains("\nheadstack_open_series 0\n"), "{metrics}");
}

/// The kernel keeps listings; every change of names shows in the next one all the same.
#[test]
fn a_listing_that_the_kernel_keeps_is_never_old() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "2");
    let chunks = series.join("chunks");
    let count = |path: &Path| fs::read_dir(path).unwrap().count();
    let (mut oldest, mut chunk_count) = (1, 0);
    for round in 1..=40u64 {
        // Twice, so that the second one is the kernel's.
        for _ in 0..2 {
            assert_eq!(count(&chunks), chunk_count * 2);
            assert_eq!(count(&mount.point()), 3 + usize::try_from(round).unwrap());
            assert_eq!(count(&mount.path(".snapshot")), usize::try_from(round - 1).unwrap());
        }
        appender(&series.join("raw"))
            .write_all(&records(round * 2 - 1..=round * 2))
            .unwrap();
        chunk_count += 1;
        if round % 5 == 0 {
            fs::remove_file(chunks.join(format!("{oldest:020}.chunk"))).unwrap();
            (oldest, chunk_count) = (oldest + 2, chunk_count - 1);
        }
        if round % 7 == 0 {
            shell(&format!("echo trim {} > {}", oldest + 3, series.join("ctl").display()));
            (oldest, chunk_count) = (oldest + 2, chunk_count - 1);
        }
        mount.series(&format!("s{round}"));
        fs::create_dir(mount.path(&format!(".snapshot/n{round}"))).unwrap();
    }
    let metrics = fs::read_to_string(mount.path(".stats")).unwrap();
    let of = |operation: &str| -> u64 {
        let start = format!("headstack_requests_total{{operation=\"{operation}\"}} ");
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(
        of("readdir") < 2 * of("opendir"),
        "the kernel kept none: {} of {}",
        of("readdir"),
        of("opendir")
    );
}
