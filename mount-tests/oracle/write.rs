//! Writing: what headstack writes is, byte for byte, what the real library writes, and the library reads it.
//!
//! Both sides write the same manifest. Chunk files, metadata, names and the number of pages all have to agree after
//! closing; what headstack keeps beside the series in the database's root is left out of the comparison.

use std::path::Path;

use headstack::series::{Database, FixedParameters, OpenOptions, Timestamp, VarlenParameters};

use super::{same, same_tree, tree};
use crate::peer::{Fixed, Hex, Manifest, Tempsdb, Varlen};

fn write_fixed(database: &Database, name: &str, facts: &Fixed, batch: bool) {
    let parameters = FixedParameters {
        block_size: facts.block_size,
        entries_per_chunk: facts.max_entries_per_chunk,
        page_size: facts.page_size,
    };
    let series = database.create_series(name, &parameters).unwrap();
    let entries = facts.written.as_ref().unwrap_or(&facts.entries);
    if batch {
        let mut records = Vec::new();
        for (timestamp, Hex(value)) in entries {
            records.extend_from_slice(&timestamp.to_le_bytes());
            records.extend_from_slice(value);
        }
        let (stored, outcome) = series.append_records(&records);
        outcome.unwrap();
        assert_eq!(stored, entries.len());
    } else {
        for (timestamp, Hex(value)) in entries {
            let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            series.append_padded(Timestamp(*timestamp), &value[..end]).unwrap();
        }
    }
    if facts.metadata.is_some() {
        series.set_metadata(facts.metadata.clone()).unwrap();
    }
    if facts.last_entry_synced != 0 {
        series.mark_synced_up_to(Timestamp(facts.last_entry_synced)).unwrap();
    }
    if let Some(bound) = facts.trim {
        series.trim(Timestamp(bound)).unwrap();
    }
}

fn write_varlen(database: &Database, name: &str, facts: &Varlen) {
    let parameters = VarlenParameters {
        length_profile: facts.length_profile.clone(),
        size_struct: facts.size_struct,
        entries_per_chunk: facts.max_entries_per_chunk,
    };
    let series = database.create_varlen_series(name, &parameters).unwrap();
    for (timestamp, Hex(value)) in &facts.entries {
        series.append(Timestamp(*timestamp), value).unwrap();
    }
    if facts.last_entry_synced != 0 {
        series.mark_synced_up_to(Timestamp(facts.last_entry_synced)).unwrap();
    }
}

/// Writes a manifest into a new database and closes it.
fn write(manifest: &Manifest, path: &Path, batch: bool) {
    let database = Database::create(path, OpenOptions::read_write()).unwrap();
    for (name, facts) in &manifest.fixed {
        write_fixed(&database, name, facts, batch);
    }
    for (name, facts) in &manifest.varlen {
        write_varlen(&database, name, facts);
    }
    database.set_metadata(manifest.metadata.as_ref()).unwrap();
    database.close().unwrap();
}

/// The same entries give the same bytes as tempsdb's after closing, one by one and in batches, padded, trimmed and with
/// metadata; and tempsdb reads them (T04, T06, T07, T13, T14, T20, T22, T24, T26, T34, T35, T36).
#[test]
fn written_database_is_byte_identical_to_the_peers() {
    let Some(peer) = Tempsdb::find() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let manifest = peer.make(&scratch.path().join("made"));
    let expected = tree(&scratch.path().join("made/db"));
    for (name, batch) in [("single", false), ("batch", true)] {
        let path = scratch.path().join(name);
        write(&manifest, &path, batch);
        same_tree(&expected, &tree(&path), name);
        same(&manifest, &peer.read(&path), name);
    }
}
