//! What each fault does to whoever uses the disk.

use super::*;
use crate::storage::{Access, Storage};

fn names(disks: &[Arc<Disk>]) -> Vec<&str> {
    disks.iter().map(|disk| disk.name()).collect()
}

struct Bench {
    place: tempfile::TempDir,
    disks: Disks,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.img"), [7; 64 << 10]).unwrap();
        let disks = Disks::new(place.path()).unwrap();
        assert_eq!(names(&disks.rescan().unwrap().found), ["a.img"]);
        Self { place, disks }
    }

    fn disk(&self) -> Arc<Disk> {
        self.disks.named("a.img").unwrap()
    }

    fn open(&self) -> Arc<dyn Storage> {
        let image = self.disks.image(&self.disk());
        image.directory.open(&image.name, Access::ReadWrite).unwrap()
    }

    fn inject(&self, fault: &str) {
        self.disk().inject(fault.parse().unwrap());
    }

    fn stored(&self) -> Vec<u8> {
        std::fs::read(self.place.path().join("a.img")).unwrap()
    }
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// R46: counters move with what is really read and written.
#[test]
fn counters_move_with_requests() {
    let bench = Bench::new();
    let file = bench.open();
    file.read_at(&mut [0; 4096], 0).unwrap();
    file.write_all_at(&[1; 1000], 512).unwrap();
    file.sync().unwrap();
    bench.inject("read-error:2");
    assert_eq!(errno(file.read_at(&mut [0; 512], 0)), None);
    assert_eq!(errno(file.read_at(&mut [0; 512], 0)), Some(libc::EIO));
    let counts = bench.disk().counters.counts();
    let expected = counters::Counts {
        reads: 2,
        read_bytes: 4608,
        writes: 1,
        written_bytes: 1000,
        flushes: 1,
        read_errors: 1,
        write_errors: 0,
    };
    assert_eq!(counts, expected);
}

#[test]
fn bad_sectors_fail_until_they_are_written() {
    let bench = Bench::new();
    let file = bench.open();
    bench.inject("bad-sector@8K+512");
    assert_eq!(errno(file.read_at(&mut [0; 512], 8192)), Some(libc::EIO));
    assert_eq!(errno(file.read_at(&mut [0; 4096], 8192 + 511 - 4095)), Some(libc::EIO));
    file.read_at(&mut [0; 512], 8192 + 512).unwrap();
    file.write_all_at(&[1; 256], 8192).unwrap();
    assert_eq!(errno(file.read_at(&mut [0; 512], 8192)), Some(libc::EIO));
    file.write_all_at(&[1; 512], 8192).unwrap();
    file.read_at(&mut [0; 512], 8192).unwrap();
    assert!(bench.disk().faults().is_empty());
}

#[test]
fn writes_fail_are_torn_and_bits_turn_over() {
    let bench = Bench::new();
    let file = bench.open();
    bench.inject("write-error:2");
    file.write_all_at(&[1; 10], 0).unwrap();
    assert_eq!(errno(file.write_all_at(&[2; 10], 0)), Some(libc::EIO));
    assert_eq!(bench.stored()[..10], [1; 10]);
    bench.disk().heal();
    bench.inject("torn-write");
    assert_eq!(errno(file.write_all_at(&[3; 1024], 4096)), Some(libc::EIO));
    assert_eq!(bench.stored()[4096..4608], [3; 512]);
    assert_eq!(bench.stored()[4608..5120], [7; 512]);
    file.write_all_at(&[4; 1024], 4096).unwrap();
    bench.inject("bit-flip@100");
    assert_eq!(bench.stored()[99..102], [7, 6, 7]);
    bench.inject("bit-flip@1G");
    assert_eq!(bench.stored().len(), 64 << 10);
}

#[test]
fn lost_flushes_show_when_the_disk_is_pulled() {
    let bench = Bench::new();
    let file = bench.open();
    file.write_all_at(&[1; 100], 0).unwrap();
    bench.inject("lost-flush");
    file.write_all_at(&[2; 100], 0).unwrap();
    file.write_all_at(&[3; 100], 50).unwrap();
    file.sync().unwrap();
    assert_eq!(bench.stored()[..150], [[2; 50].as_slice(), &[3; 100]].concat());
    bench.disk().pull();
    assert_eq!(bench.stored()[..150], [[1; 100].as_slice(), &[7; 50]].concat());
    assert_eq!(errno(file.read_at(&mut [0; 1], 0)), Some(libc::ENODEV));
    bench.disk().insert();
    file.read_at(&mut [0; 1], 0).unwrap();
}

#[test]
fn what_hangs_goes_on_when_healed_and_fails_when_pulled() {
    let bench = Bench::new();
    for pulled in [false, true] {
        bench.inject("hang");
        let file = bench.open();
        let before = bench.disks.requests();
        let waiter = std::thread::spawn(move || errno(file.read_at(&mut [0; 1], 0)));
        while bench.disks.requests() == before {
            std::thread::yield_now();
        }
        if pulled {
            bench.disk().pull();
        } else {
            bench.disk().heal();
        }
        let answer = waiter.join().unwrap();
        assert_eq!(answer, pulled.then_some(libc::ENODEV));
    }
}

/// R32: a look at the directory finds what came and what went.
#[test]
fn a_rescan_tells_what_came_and_what_went() {
    let bench = Bench::new();
    std::fs::write(bench.place.path().join("b.img"), b"").unwrap();
    std::fs::write(bench.place.path().join("notes.txt"), b"").unwrap();
    std::fs::remove_file(bench.place.path().join("a.img")).unwrap();
    let change = bench.disks.rescan().unwrap();
    assert_eq!(
        (names(&change.found), names(&change.gone)),
        (vec!["b.img"], vec!["a.img"])
    );
    let change = bench.disks.rescan().unwrap();
    assert!(change.found.is_empty() && change.gone.is_empty());
    assert!(bench.disks.named("a.img").is_err());
}

/// R32: a file that takes the place of an image is another disk; an image that has another name is known again.
#[test]
fn a_rescan_sees_files_that_were_replaced_and_renamed() {
    let bench = Bench::new();
    let place = |name: &str| bench.place.path().join(name);
    std::fs::write(place("other"), b"other").unwrap();
    std::fs::rename(place("a.img"), place("b.img")).unwrap();
    std::fs::rename(place("other"), place("a.img")).unwrap();
    let change = bench.disks.rescan().unwrap();
    assert_eq!(
        (names(&change.found), names(&change.gone)),
        (vec!["a.img", "b.img"], vec!["a.img"])
    );
    assert!(change.found[1].is_file_of(&change.gone[0]));
    assert!(!change.found[0].is_file_of(&change.gone[0]));
}
