//! Reading: what the real library wrote is found whole, and range queries have their right answers.
//!
//! The library itself answers many of these queries wrongly (a bound between two entries), so the right answers come
//! from the manifest, which was made from what was appended.

use super::{answers_questions, found, open_to_read, open_to_write, same, same_tree, tree};
use crate::peer::Tempsdb;

/// Every series of a database that tempsdb wrote reads identically, mapped and through descriptors, and reading for
/// reading only changes no byte (T05, T09, T12, T18, T19, T31, T34, T35, T36, T37).
#[test]
fn peer_made_database_reads_identically() {
    let Some(peer) = Tempsdb::find() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let manifest = peer.make(&scratch.path().join("made"));
    let path = scratch.path().join("made/db");
    let before = tree(&path);
    let database = open_to_read(&path);
    same(&manifest, &found(&database), "for reading only");
    answers_questions(&manifest, &database);
    assert_eq!(database.check(None).unwrap(), []);
    drop(database);
    same_tree(&before, &tree(&path), "after reading");

    let database = open_to_write(&path);
    same(&manifest, &found(&database), "for writing");
    for name in manifest.fixed.keys() {
        database.series(name).unwrap().disable_mmap().unwrap();
    }
    same(&manifest, &found(&database), "through descriptors");
    answers_questions(&manifest, &database);
    assert_eq!(database.statistics().recovered, []);
    database.close().unwrap();
    same_tree(&before, &tree(&path), "after opening for writing");
}
