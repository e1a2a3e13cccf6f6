//! What the command line writes is read by the real tempsdb, and the reverse.
//!
//! The engine's own tests go over the format at large; here it is the verbs' way of using it.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use super::{Place, headstack, headstack_fed, run, skipped};

/// Python with the real library.
fn tempsdb() -> Option<PathBuf> {
    let python = std::env::var_os("HEADSTACK_TEMPSDB_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skipped("tempsdb");
    }
    python
}

/// Reads a database with the real library: a JSON object a line, `[series, [[timestamp, hex], ..]]`.
const READ: &str = r#"
import json, sys, warnings, logging
warnings.simplefilter('ignore'); logging.disable(logging.CRITICAL)
from tempsdb.database import Database
db = Database(sys.argv[1])
fixed = db.get_series('t'); it = fixed.iterate_range(0, 2**64-1)
with it: print(json.dumps([[ts, value.hex()] for ts, value in it]))
log = db.get_varlen_series('log'); it = log.iterate_range(0, 2**64-1, True)
print(json.dumps([[ts, value.hex()] for ts, value in it])); it.close()
print(json.dumps([fixed.last_entry_synced, fixed.metadata, fixed.block_size, fixed.last_entry_ts]))
fixed.close(); log.close(True); db.close()
"#;

/// T34 T35: entries that verbs appended are the real library's entries.
#[test]
fn tempsdb_reads_what_was_appended() {
    let Some(python) = tempsdb() else { return };
    let place = Place::filled();
    let db = place.db.as_str();
    headstack(&["series", "mark", db, "t", "30"]).text();
    headstack_fed(&["series", "append", db, "log"], "5 zażółć gęślą jaźń\n".as_bytes()).text();
    let script = place.at("read.py");
    fs::write(&script, READ).unwrap();
    let text = run(Command::new(&python).arg(&script).arg(db), b"").text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> = (1..=10_u8)
        .map(|i| json!([i * 10, format!("{i:02x}00000000000000")]))
        .collect();
    assert_eq!(lines[0], json!(expected));
    let long: String = "zażółć gęślą jaźń".bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(lines[1], json!([[1, "6f6e65"], [2, ""], [5, long]]));
    assert_eq!(lines[2], json!([30, {"format": "u64"}, 8, 100]));
}

/// T34: a database of the real library is read, appended to and trimmed, and the library goes on with it.
#[test]
fn a_database_of_tempsdb_is_taken_over_and_given_back() {
    let Some(python) = tempsdb() else { return };
    let place = Place::new();
    let db = place.db.as_str();
    let make = r#"
import sys
from tempsdb.database import create_database
db = create_database(sys.argv[1]); s = db.create_series('t', 8, 4, page_size=4096)
for i in range(1, 11): s.append(i * 10, i.to_bytes(8, 'little'))
s.set_metadata({'unit': 'kPa'}); s.close()
v = db.create_varlen_series('log', [4, 6], 2, 3)
for i in range(5): v.append(i, b'x' * i * 5)
v.close(); db.close()
"#;
    let script = place.at("make.py");
    fs::write(&script, make).unwrap();
    run(Command::new(&python).arg(&script).arg(db), b"").ends(0);
    assert_eq!(
        headstack(&["series", "meta", "--json", db, "t"]).json()["metadata"],
        json!({"unit": "kPa"})
    );
    let cat = headstack(&["series", "cat", "--json", db, "log", "--format", "utf8"]).json();
    assert_eq!(cat["entries"][4], json!({"timestamp": 4, "value": "x".repeat(20)}));
    headstack(&["series", "append", db, "t", "110", "11", "--format", "u64"]).text();
    headstack(&["series", "append", db, "log", "9", "late", "--format", "utf8"]).text();
    headstack(&["series", "trim", db, "t", "--before", "51", "--yes"]).text();
    headstack(&["series", "check", db]).text();
    let script = place.at("read.py");
    fs::write(&script, READ).unwrap();
    let text = run(Command::new(&python).arg(&script).arg(db), b"").text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> = (5..=11_u8)
        .map(|i| json!([i * 10, format!("{i:02x}00000000000000")]))
        .collect();
    assert_eq!(lines[0], json!(expected));
    assert_eq!(lines[1].as_array().unwrap().last(), Some(&json!([9, "6c617465"])));
    assert_eq!(lines[2][1], json!({"unit": "kPa"}));
}
