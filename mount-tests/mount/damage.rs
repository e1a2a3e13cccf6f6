//! What must not kill the mount: damaged files, full disks.
//!
//! Files are cut behind the mount's back, and a disk of a few megabytes is filled up; whoever reads or writes what is
//! hurt gets its errno, and everybody else goes on.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use super::fixture::{Mount, appender, errno, records, shell};

fn filled() -> (Mount, std::path::PathBuf) {
    let mount = Mount::new();
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "1000");
    appender(&series.join("raw")).write_all(&records(1..=5500)).unwrap();
    (mount, series)
}

fn cut(path: &Path, size: u64) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(size)
        .unwrap();
}

/// A chunk that another process cuts short under a mapping is an error for its reader and for nobody else.
#[test]
fn a_chunk_that_is_cut_short_does_not_kill_the_mount() {
    let (mount, series) = filled();
    let mut open = fs::File::open(series.join("raw")).unwrap();
    let mut start = vec![0; 40_000];
    open.read_exact(&mut start).unwrap();
    cut(&mount.database().join("s/1001"), 4096);
    // EIO where the kernel was copying from the chunk itself when it found it short.
    let raw = errno(fs::read(series.join("raw")));
    assert!(matches!(raw, libc::EUCLEAN | libc::EIO), "{raw}");
    assert_eq!(errno(fs::read(series.join("text"))), libc::EUCLEAN);
    assert_eq!(errno(fs::read(series.join("range/1500-1600.text"))), libc::EUCLEAN);
    assert_eq!(fs::read(series.join("range/1-900.raw")).unwrap(), records(1..=900));
    assert_eq!(
        fs::read(series.join("range/2500-2600.raw")).unwrap(),
        records(2500..=2600)
    );
    appender(&series.join("raw")).write_all(&records([5501])).unwrap();
    mount.series("other");
    assert!(shell(&format!("ls -l {0} {0}/s {0}/s/chunks", mount.point().display())).contains("other"));
}

#[test]
fn a_damaged_series_is_listed_and_says_so() {
    let (mut mount, series) = filled();
    mount.series("whole");
    mount.unmount();
    fs::write(mount.database().join("s/metadata.txt"), "{").unwrap();
    mount.mount_again();
    assert_eq!(errno(fs::read(series.join("raw"))), libc::EUCLEAN);
    let listing = shell(&format!("ls {}", mount.point().display()));
    assert!(listing.contains("s\n") && listing.contains("whole\n"), "{listing}");
    assert_eq!(fs::read(mount.path("whole/raw")).unwrap(), b"");
}

/// A full disk: what fits is stored and counted, the rest is ENOSPC, and nothing of an entry is seen in part.
#[test]
fn a_full_disk_makes_a_short_count_and_then_its_errno() {
    let Some(mount) = Mount::on_small_disk(4 << 20) else {
        return crate::peer::skip("mounting a tmpfs takes root");
    };
    let series = mount.series("s");
    mount.set(&series, "entries_per_chunk", "10000");
    let mut raw = appender(&series.join("raw"));
    let mut next = 1u64;
    let error = loop {
        let batch = records(next..next + 5000);
        match raw.write(&batch) {
            Ok(taken) => {
                assert_eq!(taken % 16, 0);
                next += taken as u64 / 16;
            }
            Err(error) => break error,
        }
        assert!(next < 1_000_000, "4 MiB never fill up");
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert!(next > 100_000, "only {next} entries fit");
    assert!(fs::read(series.join("raw")).unwrap() == records(1..next));
    // Space comes back with a trim, and the series goes on.
    fs::remove_file(series.join("chunks/00000000000000000001.chunk")).unwrap();
    raw.write_all(&records(next..next + 100)).unwrap();
    assert_eq!(
        fs::metadata(series.join("raw")).unwrap().len(),
        (next + 99 - 10_000) * 16
    );
}
