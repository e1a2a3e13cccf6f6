//! What the files hold: both kinds of series, in both forms, whole, in ranges and by chunk.
//!
//! Expected bytes are put together here by hand from timestamps; chunk files are compared with the database's own.
//! Every file is read whole and in odd pieces from odd places.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
};

use super::fixture::{Mount, appender, record, records, shell};

fn varlen_value(timestamp: u64) -> Vec<u8> {
    let length = usize::try_from(timestamp * 37 % 300).unwrap();
    (0..length)
        .map(|i| u8::try_from((i as u64 + timestamp) % 256).unwrap())
        .collect()
}

fn varlen_record(timestamp: u64) -> Vec<u8> {
    let value = varlen_value(timestamp);
    let mut out = timestamp.to_le_bytes().to_vec();
    out.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    out.extend(value);
    out
}

fn varlen_line(timestamp: u64) -> String {
    let hex: String = varlen_value(timestamp)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{timestamp:020} {hex}\n")
}

fn line(timestamp: u64) -> String {
    let hex: String = (timestamp * 3)
        .to_le_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{timestamp:020} {hex}\n")
}

/// Reads in pieces of odd sizes from odd places; they have to be what the whole is.
fn check(path: &Path, whole: &[u8]) {
    assert_eq!(
        fs::metadata(path).unwrap().len(),
        whole.len() as u64,
        "{}",
        path.display()
    );
    assert!(fs::read(path).unwrap() == whole, "{}", path.display());
    let file = File::open(path).unwrap();
    for step in [1, 7, 100, 4096, 70_001] {
        let mut buffer = vec![0; step];
        for from in [0, 1, 23, whole.len() / 3, whole.len().saturating_sub(step), whole.len()] {
            let length = file.read_at(&mut buffer, from as u64).unwrap();
            let rest = whole.get(from..).unwrap_or_default();
            let expected = &rest[..rest.len().min(step)];
            assert!(buffer[..length] == *expected, "{} {from} {step}", path.display());
        }
    }
}

/// T18, T19: latest, and ranges with both ends included, by name.
#[test]
fn a_fixed_series_is_seen_in_every_form() {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "1000");
    let stamps: Vec<u64> = (1..=5500).map(|t| t * 10).collect();
    appender(&series.join("raw"))
        .write_all(&records(stamps.iter().copied()))
        .unwrap();
    let lines = |from: u64, to: u64| -> String {
        stamps
            .iter()
            .filter(|t| (from..=to).contains(*t))
            .map(|t| line(*t))
            .collect()
    };
    let packed = |from: u64, to: u64| records(stamps.iter().copied().filter(|t| (from..=to).contains(t)));
    check(&series.join("raw"), &packed(0, u64::MAX));
    check(&series.join("text"), lines(0, u64::MAX).as_bytes());
    for (name, from, to) in [
        ("10-30", 10, 30),
        ("11-29", 11, 29),
        ("12-18", 12, 18),
        ("0-9", 0, 9),
        ("9995-10005", 9995, 10005),
        ("5-", 5, u64::MAX),
        ("-10001", 0, 10001),
        ("-", 0, u64::MAX),
        ("60000-70000", 60000, 70000),
        ("00000000000000000100-00000000000000000200", 100, 200),
    ] {
        check(&series.join(format!("range/{name}.raw")), &packed(from, to));
        check(&series.join(format!("range/{name}.text")), lines(from, to).as_bytes());
    }
    assert_eq!(shell(&format!("ls -A {}", series.join("range").display())), "");
    for bad in ["30-10.raw", "x-1.raw", "1-2", "1-2.bin"] {
        assert!(!series.join("range").join(bad).exists(), "{bad}");
    }
    check(
        &series.join("chunks/00000000000000010010.text"),
        lines(10010, 20000).as_bytes(),
    );
    check(
        &series.join("chunks/00000000000000050010.text"),
        lines(50010, u64::MAX).as_bytes(),
    );
    assert_eq!(fs::read_to_string(series.join("latest")).unwrap(), line(55000));
    let on_disk = fs::read(mount.database().join("s/10010")).unwrap();
    check(&series.join("chunks/00000000000000010010.chunk"), &on_disk);
}

/// T07, T35, T38: a variable-length series in both forms; sizes are exact although lines differ in length.
#[test]
fn a_varlen_series_is_seen_in_every_form() {
    let mount = Mount::new();
    let series = mount.path("varlen/v");
    fs::create_dir(&series).unwrap();
    mount.set(&series, "length_profile", "10,50");
    mount.set(&series, "entries_per_chunk", "500");
    let all: Vec<u64> = (1..=1700).collect();
    let packed = |from: u64, to: u64| -> Vec<u8> {
        all.iter()
            .filter(|t| (from..=to).contains(*t))
            .flat_map(|t| varlen_record(*t))
            .collect()
    };
    let lines = |from: u64, to: u64| -> String {
        all.iter()
            .filter(|t| (from..=to).contains(*t))
            .map(|t| varlen_line(*t))
            .collect()
    };
    appender(&series.join("raw")).write_all(&packed(1, 900)).unwrap();
    check(&series.join("text"), lines(1, 900).as_bytes());
    // The other form takes what it prints.
    fs::write(mount.scratch("in"), lines(901, 1700)).unwrap();
    shell(&format!(
        "cat {} >> {}",
        mount.scratch("in").display(),
        series.join("text").display()
    ));
    check(&series.join("raw"), &packed(0, u64::MAX));
    check(&series.join("text"), lines(0, u64::MAX).as_bytes());
    for (from, to) in [(1, 1), (100, 300), (499, 502), (1600, 9999), (5000, 6000)] {
        check(&series.join(format!("range/{from}-{to}.raw")), &packed(from, to));
        check(
            &series.join(format!("range/{from}-{to}.text")),
            lines(from, to).as_bytes(),
        );
    }
    check(
        &series.join("chunks/00000000000000000501.text"),
        lines(501, 1000).as_bytes(),
    );
    assert_eq!(fs::read_to_string(series.join("latest")).unwrap(), varlen_line(1700));
    let parts = shell(&format!("ls {}/chunks | grep -v text | tr '\\n' ' '", series.display()));
    assert_eq!(parts, "1 2 3 4 5 6 root ");
    let on_disk = fs::read(mount.database().join("varlen/v/root/501")).unwrap();
    check(&series.join("chunks/root/00000000000000000501.chunk"), &on_disk);
    fs::create_dir(mount.path(".snapshot/x")).unwrap();
    appender(&series.join("raw")).write_all(&varlen_record(2000)).unwrap();
    check(&mount.path(".snapshot/x/varlen/v/raw"), &packed(0, u64::MAX));
    check(&mount.path(".snapshot/x/varlen/v/text"), lines(0, u64::MAX).as_bytes());
    fs::remove_file(series.join("chunks/root/00000000000000000001.chunk")).unwrap();
    let rest = [packed(501, u64::MAX), varlen_record(2000)].concat();
    check(&series.join("raw"), &rest);
    check(
        &series.join("text"),
        (lines(501, u64::MAX) + &varlen_line(2000)).as_bytes(),
    );
}

#[test]
fn every_format_takes_what_it_prints() {
    let mount = Mount::new();
    for format in ["hex", "base64", "utf8", "u64", "i64", "f64"] {
        let (a, b) = (
            mount.series(&format!("{format}-a")),
            mount.series(&format!("{format}-b")),
        );
        for series in [&a, &b] {
            mount.set(series, "format", format);
        }
        let values = [
            [0; 8],
            [0xff; 8],
            *b"abc\0\0\0\0\0",
            *b"a b c  \n",
            *b"\\x41\0\0\0\0",
            1.5f64.to_le_bytes(),
        ];
        let bytes: Vec<u8> = values.iter().zip(1..).flat_map(|(value, t)| record(t, value)).collect();
        appender(&a.join("raw")).write_all(&bytes).unwrap();
        shell(&format!("cat {}/text >> {}/text", a.display(), b.display()));
        assert_eq!(fs::read(b.join("raw")).unwrap(), bytes, "{format}");
        let varlen = mount.path(&format!("varlen/{format}"));
        fs::create_dir(&varlen).unwrap();
        if matches!(format, "hex" | "base64" | "utf8") {
            mount.set(&varlen, "format", format);
            shell(&format!("cat {}/text >> {}/text", a.display(), varlen.display()));
            shell(&format!(
                "test $(wc -c < {0}/text) = $(stat -c %s {0}/text)",
                varlen.display()
            ));
        }
    }
}

/// T14: a value that is shorter than the block is padded with zeros.
#[test]
fn a_short_value_is_padded() {
    let mount = Mount::new();
    let series = mount.series("s");
    appender(&series.join("text")).write_all(b"1 ff\n2 \n").unwrap();
    let expected = [record(1, &[0xff, 0, 0, 0, 0, 0, 0, 0]), record(2, &[0; 8])].concat();
    assert_eq!(fs::read(series.join("raw")).unwrap(), expected);
}

/// T43: timestamps are unsigned 64 bit numbers.
#[test]
fn the_largest_timestamp_is_taken() {
    let mount = Mount::new();
    let series = mount.series("s");
    appender(&series.join("raw"))
        .write_all(&[record(0, &[1; 8]), record(u64::MAX, &[2; 8])].concat())
        .unwrap();
    assert_eq!(
        fs::metadata(series.join("range/18446744073709551615-.raw"))
            .unwrap()
            .len(),
        16
    );
    assert!(
        fs::read_to_string(series.join("latest"))
            .unwrap()
            .starts_with("18446744073709551615 ")
    );
}
