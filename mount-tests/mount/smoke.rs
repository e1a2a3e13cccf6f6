//! The first steps of every user.

use std::{fs, io::Write};

use super::fixture::{Mount, appender, records, shell};

#[test]
fn a_value_goes_in_and_comes_out() {
    let mount = Mount::new();
    let series = mount.series("temperature");
    appender(&series.join("raw")).write_all(&records(1..=1000)).unwrap();
    assert_eq!(fs::read(series.join("raw")).unwrap(), records(1..=1000));
    shell(&format!("echo 2000 0102 >> {}", series.join("text").display()));
    eprintln!(
        "{}",
        shell(&format!(
            "cd {}; ls -lai . .snapshot temperature temperature/*; tail -n 2 temperature/text; cat temperature/latest temperature/stats temperature/meta; stat temperature/raw; df .; lsattr temperature temperature/chunks; getfattr -d temperature; mkdir .snapshot/a; ls -laiR .snapshot temperature/.snapshot; stat .snapshot/a/temperature/raw; find .snapshot -printf '%i %p\n'; ls -i .snapshot/a/temperature; cat .stats | head -5; find . -inum $(stat -c %i temperature/raw)",
            mount.point().display()
        ))
    );
}
