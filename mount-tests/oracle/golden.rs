//! Golden databases: what three releases of tempsdb wrote is read whole on every machine, with or without the peer.
//!
//! The archives and how each was made are in `images/series`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use headstack::series::Timestamp;

use super::{answers_questions, found, open_to_read, open_to_write, same, same_tree, tree};
use crate::peer::{self, Manifest, Tempsdb};

const CASES: [&str; 3] = ["varied-tempsdb-0.6.4", "varied-tempsdb-0.5.4", "varied-tempsdb-0.4.4"];

/// Unpacks a golden database.
pub fn unpack(case: &str, scratch: &Path) -> (PathBuf, Manifest) {
    let archive = peer::top().join("images/series").join(case).join("varied.tar.xz");
    peer::run(
        Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(scratch),
        b"",
    );
    (scratch.join("db"), peer::read_manifest(&scratch.join("manifest.json")))
}

/// Every golden database is read whole and left as it was, for reading only and for writing (T19, T34, T35, T36).
#[test]
fn golden_databases_read_whole() {
    for case in CASES {
        let scratch = tempfile::tempdir().unwrap();
        let (path, manifest) = unpack(case, scratch.path());
        let before = tree(&path);
        let database = open_to_read(&path);
        same(&manifest, &found(&database), case);
        answers_questions(&manifest, &database);
        assert_eq!(database.check(None).unwrap(), [], "{case}");
        drop(database);
        same_tree(&before, &tree(&path), case);

        let database = open_to_write(&path);
        same(&manifest, &found(&database), case);
        assert_eq!(database.statistics().recovered, [], "{case}");
        database.close().unwrap();
        let mut after = tree(&path);
        if !before.contains_key(Path::new("varlen")) {
            after.remove(Path::new("varlen"));
        }
        same_tree(&before, &after, case);
    }
}

/// A series that an old release wrote takes appends, and then today's release reads it too, which refuses the metadata
/// of the old ones (T34).
#[test]
fn appending_to_an_old_database_makes_it_current() {
    let peer = Tempsdb::find();
    for case in CASES {
        let scratch = tempfile::tempdir().unwrap();
        let (path, mut manifest) = unpack(case, scratch.path());
        let database = open_to_write(&path);
        for (name, facts) in &mut manifest.fixed {
            let last = facts.entries.last().map_or(0, |entry| entry.0);
            let series = database.series(name).unwrap();
            if last < u64::MAX {
                let value = vec![7; facts.block_size as usize];
                series.append(Timestamp(last + 1), &value).unwrap();
                facts.entries.push((last + 1, peer::Hex(value)));
            }
            series.mark_synced_up_to(Timestamp(9)).unwrap();
            facts.last_entry_synced = 9;
            facts.chunks = series
                .contents()
                .chunks()
                .unwrap()
                .iter()
                .map(|chunk| chunk.first.0)
                .collect();
        }
        for (name, facts) in &mut manifest.varlen {
            let last = facts.entries.last().map_or(0, |entry| entry.0);
            let series = database.varlen_series(name).unwrap();
            series.append(Timestamp(last + 1), b"abc").unwrap();
            series.mark_synced_up_to(Timestamp(9)).unwrap();
            facts.entries.push((last + 1, peer::Hex(b"abc".to_vec())));
            facts.last_entry_synced = 9;
        }
        same(&manifest, &found(&database), case);
        database.close().unwrap();
        same(&manifest, &found(&open_to_read(&path)), case);
        if let Some(peer) = &peer {
            // Metadata is written anew where something is marked, which in a variable-length series is the root only.
            std::fs::remove_dir_all(path.join("varlen")).unwrap();
            std::fs::create_dir(path.join("varlen")).unwrap();
            manifest.varlen.clear();
            same(&manifest, &peer.read(&path), case);
        }
    }
}
