//! survey
//!
//!
use super::{copy, open_to_read, open_to_write, tree};
use crate::peer;
use headstack::series::{AnySeries, Timestamp};
#[test]
fn survey() {
    let scratch = tempfile::tempdir().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(peer::top().join("images/damaged/series"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    names.sort();
    for from in names {
        let name = from.file_name().unwrap().to_str().unwrap();
        let path = scratch.path().join(name);
        copy(&from, &path);
        let before = tree(&path);
        let db = open_to_read(&path);
        eprintln!("== {name}: keys {:?}", db.keys().map(|k| k.len()));
        match db.check(None) {
            Ok(f) => {
                for f in f {
                    eprintln!(
                        "   check {} : {}",
                        f.path.strip_prefix(&path).unwrap().display(),
                        f.damage
                    )
                }
            }
            Err(e) => eprintln!("   CHECK ERR {e}"),
        }
        for key in db.keys().unwrap() {
            match db.any(&key) {
                Ok(AnySeries::Fixed(s)) => eprintln!(
                    "   ro {:?} {:?}",
                    s.contents().entries().map_err(|e| e.to_string()),
                    s.contents()
                        .range(Timestamp::MIN, Timestamp::MAX)
                        .map(|r| {
                            let mut n = 0;
                            for e in r.entries() {
                                match e {
                                    Ok(_) => n += 1,
                                    Err(e) => return format!("{n} then {e}"),
                                }
                            }
                            format!("{n}")
                        })
                        .map_err(|e| e.to_string())
                ),
                Ok(AnySeries::Varlen(s)) => eprintln!(
                    "   ro {:?} {:?}",
                    s.contents().entries().map_err(|e| e.to_string()),
                    s.contents()
                        .range(Timestamp::MIN, Timestamp::MAX)
                        .map(|r| {
                            let mut n = 0;
                            for e in r {
                                match e.and_then(|e| e.to_bytes()) {
                                    Ok(_) => n += 1,
                                    Err(e) => return format!("{n} then {e}"),
                                }
                            }
                            format!("{n}")
                        })
                        .map_err(|e| e.to_string())
                ),
                Err(e) => eprintln!("   ro open {e}"),
            }
        }
        drop(db);
        assert!(before == tree(&path));
        let db = open_to_write(&path);
        for key in db.keys().unwrap() {
            match db.any(&key) {
                Ok(AnySeries::Fixed(s)) => eprintln!(
                    "   rw {:?} append {:?}",
                    s.contents().entries().map_err(|e| e.to_string()),
                    s.append(Timestamp(1000), &[1; 8]).map_err(|e| e.to_string())
                ),
                Ok(AnySeries::Varlen(s)) => eprintln!(
                    "   rw {:?} append {:?}",
                    s.contents().entries().map_err(|e| e.to_string()),
                    s.append(Timestamp(1000), b"12345678").map_err(|e| e.to_string())
                ),
                Err(e) => eprintln!("   rw open {e}"),
            }
        }
        for r in db.statistics().recovered {
            eprintln!("   recovered {} {}", r.path.display(), r.action);
        }
        eprintln!("   changed {}", before != tree(&path));
    }
}
