//! What the command line writes is read by the real tempsdb, and the reverse.
//!
//! The engine's own tests go over the format at large; here it is the verbs' way of using it: every series of a varied
//! database is printed in every form, and a copy made by `cat | append` is the same database to the library.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Place, headstack, headstack_fed};
use crate::peer::{Entry, Hex, Manifest, Tempsdb};

/// Hexadecimal digits of bytes.
fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Lines as `series cat --format hex` prints them.
fn lines(entries: &[Entry]) -> String {
    entries
        .iter()
        .map(|(timestamp, Hex(value))| format!("{timestamp:020} {}\n", hex(value)))
        .collect()
}

/// All series of a manifest under the names that verbs take, with their entries.
fn all_entries(manifest: &Manifest) -> BTreeMap<String, &[Entry]> {
    let fixed = manifest
        .fixed
        .iter()
        .map(|(name, series)| (name.clone(), &series.entries[..]));
    let varlen = manifest
        .varlen
        .iter()
        .map(|(name, series)| (format!("varlen/{name}"), &series.entries[..]));
    fixed.chain(varlen).collect()
}

/// T34 T35 T37: every series of the real library is listed, and printed entry by entry, range by range.
#[test]
fn every_series_of_tempsdb_is_printed() {
    let Some(peer) = Tempsdb::find() else { return };
    let place = Place::new();
    let manifest = peer.make(&place.path().join("made"));
    let db = place.at("made/db");
    let expected = all_entries(&manifest);
    let listed = headstack(&["series", "ls", "--json", &db]).json();
    let names: Vec<&str> = listed["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), expected.len());
    for (name, entries) in &expected {
        assert!(names.contains(&name.as_str()), "{name:?}");
        let text = headstack(&["series", "cat", "--format", "hex", &db, "--", name]).text();
        assert!(text == lines(entries), "{name:?}");
        let shown = headstack(&["series", "show", "--json", &db, "--", name]).json();
        assert_eq!(shown["entries"], entries.len(), "{name:?}");
    }
    headstack(&["series", "check", &db]).text();
    let step = manifest.ranges.len() / 60 + 1;
    for question in manifest.ranges.iter().step_by(step) {
        let name = if question.0 == "fixed" {
            question.1.clone()
        } else {
            format!("varlen/{}", question.1)
        };
        let (from, to) = (question.2.to_string(), question.3.to_string());
        let words = [
            "series", "cat", "--json", &db, "--from", &from, "--to", &to, "--", &name,
        ];
        let answer = headstack(&words).json();
        let entries = answer["entries"].as_array().unwrap();
        let timestamp = |entry: Option<&Value>| entry.and_then(|entry| entry["timestamp"].as_u64());
        let told = (entries.len(), timestamp(entries.first()), timestamp(entries.last()));
        assert_eq!(
            told,
            (question.4, question.5, question.6),
            "{name:?} from {from} to {to}"
        );
    }
}

/// T34 T35: a copy made with `create` and `cat | append` holds to the library what the original holds.
#[test]
fn tempsdb_reads_a_copy_made_by_verbs() {
    let Some(peer) = Tempsdb::find() else { return };
    let place = Place::new();
    let manifest = peer.make(&place.path().join("made"));
    let db = place.at("made/db");
    let copy = place.at("copy");
    for (name, series) in &manifest.fixed {
        let numbers = [
            series.block_size,
            series.max_entries_per_chunk,
            series.page_size.max(series.block_size + 8),
        ];
        let [block_size, per_chunk, page_size] = numbers.map(|number| number.to_string());
        let create = [
            "series",
            "create",
            &copy,
            "--block-size",
            &block_size,
            "--entries-per-chunk",
            &per_chunk,
        ];
        headstack(&[&create[..], &["--page-size", &page_size, "--", name]].concat()).text();
    }
    for (name, series) in &manifest.varlen {
        let profile: Vec<String> = series.length_profile.iter().map(ToString::to_string).collect();
        let (size_struct, per_chunk) = (series.size_struct.to_string(), series.max_entries_per_chunk.to_string());
        let create = [
            "series",
            "create",
            &copy,
            "--varlen",
            &profile.join(","),
            "--size-struct",
            &size_struct,
        ];
        headstack(&[&create[..], &["--entries-per-chunk", &per_chunk, "--", name]].concat()).text();
    }
    for name in all_entries(&manifest).keys() {
        let text = headstack(&["series", "cat", "--format", "hex", &db, "--", name]).text();
        headstack_fed(
            &["series", "append", "--format", "hex", &copy, "--", name],
            text.as_bytes(),
        )
        .text();
    }
    let found = peer.read(copy.as_ref());
    let (found, expected) = (all_entries(&found), all_entries(&manifest));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, entries) in expected {
        assert!(found[&name] == entries, "{name:?}");
    }
}

/// T20 T22 T24 T34: a database of the real library is appended to, trimmed and marked, and the library goes on with it.
#[test]
fn a_database_of_tempsdb_is_taken_over_and_given_back() {
    let Some(peer) = Tempsdb::find() else { return };
    let place = Place::filled();
    let db = place.db.as_str();
    let value = |number: u64| Hex(number.to_le_bytes().to_vec());
    peer.append(db.as_ref(), "fixed", "t", &[(110, value(11)), (120, value(12))]);
    peer.append(db.as_ref(), "varlen", "log", &[(5, Hex(b"from tempsdb".to_vec()))]);
    headstack(&["series", "append", db, "t", "130", "13"]).text();
    headstack(&["series", "append", db, "log", "9", "zażółć gęślą jaźń"]).text();
    headstack(&["series", "trim", db, "t", "--before", "51", "--yes"]).text();
    headstack(&["series", "mark", db, "t", "100"]).text();
    headstack(&["series", "meta", db, "t", r#"{"unit": "kPa"}"#]).text();
    headstack(&["series", "check", db]).text();
    let found = peer.read(db.as_ref());
    let expected: Vec<Entry> = (5..=13).map(|i| (i * 10, value(i))).collect();
    assert_eq!(found.fixed["t"].entries, expected);
    assert_eq!(found.fixed["t"].last_entry_synced, 100);
    assert_eq!(json!(found.fixed["t"].metadata), json!({"unit": "kPa"}));
    let words = ["one", "", "from tempsdb", "zażółć gęślą jaźń"].map(|text| Hex(text.as_bytes().to_vec()));
    let expected: Vec<Entry> = [1, 2, 5, 9].into_iter().zip(words).collect();
    assert_eq!(found.varlen["log"].entries, expected);
}
