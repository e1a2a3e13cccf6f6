//! Mappings that lose their file, and signals that are none of ours.

use std::{
    env,
    fs::File,
    io::Write as _,
    os::unix::{fs::FileExt as _, process::ExitStatusExt as _},
    process::{Command, Output},
    thread,
};

use super::*;

const PAGE: usize = 4096;

/// A file without a name, of the given contents.
fn file(contents: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(contents).unwrap();
    file
}

#[test]
fn stores_reach_the_file_and_loads_see_it() {
    let file = file(&[7; 2 * PAGE]);
    let mapping = Mapping::new(&file, 2 * PAGE, Access::ReadWrite).unwrap();
    mapping.copy_from(PAGE - 2, b"abcd");
    mapping.store_u32(1, 0x0403_0201);
    let mut back = [0; 4];
    file.read_exact_at(&mut back, (PAGE - 2) as u64).unwrap();
    assert_eq!(&back, b"abcd");
    file.read_exact_at(&mut back, 1).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);

    file.write_all_at(&[9, 0, 0, 1], 5).unwrap();
    assert_eq!(mapping.load_u32(5), 0x0100_0009);
    mapping.copy_to(PAGE - 3, &mut back);
    assert_eq!(&back, b"\x07abc");
    // SAFETY: nothing is written while the borrow lives.
    assert_eq!(unsafe { mapping.slice(PAGE - 2..PAGE + 2) }, b"abcd");
    assert!(!mapping.damaged());
    assert!(mapping.is_writable());
}

#[test]
fn reads_behind_a_cut_give_zeros_and_say_so() {
    for access in [Access::Read, Access::ReadWrite] {
        let file = file(&[7; 3 * PAGE]);
        let mapping = Mapping::new(&file, 3 * PAGE, access).unwrap();
        let sound = Mapping::new(&file, PAGE, access).unwrap();
        assert_eq!(mapping.load_u32(2 * PAGE), 0x0707_0707);
        file.set_len(PAGE as u64).unwrap();
        assert!(!mapping.damaged());
        let mut back = [1; 2 * PAGE];
        mapping.copy_to(PAGE, &mut back);
        assert_eq!(back, [0; 2 * PAGE]);
        assert!(mapping.damaged());
        assert_eq!(
            mapping.load_u32(0),
            0x0707_0707,
            "pages that the file has stay what they are"
        );
        assert_eq!(sound.load_u32(0), 0x0707_0707);
        assert!(!sound.damaged(), "another mapping of the file is not blamed");
    }
}

#[test]
fn writes_behind_a_cut_are_lost_and_say_so() {
    let file = file(&[7; 2 * PAGE]);
    let mapping = Mapping::new(&file, 2 * PAGE, Access::ReadWrite).unwrap();
    file.set_len(PAGE as u64).unwrap();
    mapping.copy_from(PAGE + 5, &[3; 100]);
    assert!(mapping.damaged());
    mapping.store_u32(PAGE, 1);
    assert_eq!(mapping.load_u32(PAGE), 1, "the void keeps what is put in it");
    file.set_len(2 * PAGE as u64).unwrap();
    let mut back = [1; PAGE];
    file.read_exact_at(&mut back, PAGE as u64).unwrap();
    assert_eq!(back, [0; PAGE], "nothing came into the file");
}

#[test]
fn mapping_may_reach_past_the_end_and_sees_the_file_grow() {
    let file = file(b"head");
    let mapping = Mapping::new(&file, 16 * PAGE, Access::Read).unwrap();
    assert_eq!(mapping.len(), 16 * PAGE);
    file.write_all_at(b"tail", 9 * PAGE as u64).unwrap();
    let mut back = [0; 4];
    mapping.copy_to(9 * PAGE, &mut back);
    assert_eq!(&back, b"tail");
    assert!(!mapping.damaged());
    mapping.copy_to(10 * PAGE, &mut back);
    assert_eq!(back, [0; 4]);
    assert!(mapping.damaged());
}

#[test]
fn slot_of_a_dropped_mapping_is_used_again_without_its_damage() {
    let file = file(&[7; PAGE]);
    for _ in 0..2 * MAPPINGS_MAX {
        let mapping = Mapping::new(&file, 2 * PAGE, Access::Read).unwrap();
        assert!(!mapping.damaged());
        assert_eq!(mapping.load_u32(PAGE), 0);
        assert!(mapping.damaged());
    }
}

#[test]
fn table_gives_each_slot_to_one_owner_until_none_is_left() {
    let table = Table {
        slots: [const { Slot::new() }; MAPPINGS_MAX],
        high_water: AtomicUsize::new(0),
    };
    let claim_many = || {
        let mut mine = Vec::new();
        while let Some(slot) = table.claim() {
            slot.publish(mine.len() + 1, mine.len() + 2, false);
            mine.push(ptr::from_ref(slot).addr());
        }
        mine
    };
    let mut all = thread::scope(|scope| {
        let threads = [
            scope.spawn(claim_many),
            scope.spawn(claim_many),
            scope.spawn(claim_many),
        ];
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), MAPPINGS_MAX);
    table.slots[77].release();
    let again = table.claim().unwrap();
    assert!(ptr::eq(again, &raw const table.slots[77]));
    assert!(!again.covers(1), "a claimed slot covers nothing");
    again.release();
    assert!(table.claim().is_some(), "a claim that is given up leaves the slot free");
}

#[test]
fn threads_lose_pages_of_their_own_mappings_only() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let file = file(&[7; 4 * PAGE]);
                    let mapping = Mapping::new(&file, 4 * PAGE, Access::ReadWrite).unwrap();
                    let sound = Mapping::new(&file, PAGE, Access::Read).unwrap();
                    file.set_len(PAGE as u64).unwrap();
                    assert_eq!(mapping.load_u32(3 * PAGE), 0);
                    assert_eq!(sound.load_u32(0), 0x0707_0707);
                    assert!(mapping.damaged() && !sound.damaged());
                }
            });
        }
    });
}

#[test]
fn mapping_needs_the_access_of_its_descriptor() {
    let named = tempfile::NamedTempFile::new().unwrap();
    named.as_file().set_len(PAGE as u64).unwrap();
    let file = File::open(named.path()).unwrap();
    let error = Mapping::new(&file, PAGE, Access::ReadWrite).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    assert_eq!(Mapping::new(&file, PAGE, Access::Read).unwrap().load_u32(0), 0);
}

#[test]
#[should_panic(expected = "outside of a mapping")]
fn range_past_the_end_is_refused() {
    Mapping::new(&file(&[7; PAGE]), PAGE, Access::Read)
        .unwrap()
        .copy_to(PAGE - 1, &mut [0; 2]);
}

#[test]
#[should_panic(expected = "outside of a mapping")]
fn range_that_overflows_is_refused() {
    let _ = Mapping::new(&file(&[7; PAGE]), PAGE, Access::Read)
        .unwrap()
        .load_u32(usize::MAX - 1);
}

#[test]
#[should_panic(expected = "mapping for reading")]
fn store_into_a_mapping_for_reading_is_refused() {
    Mapping::new(&file(&[7; PAGE]), PAGE, Access::Read)
        .unwrap()
        .copy_from(0, b"x");
}

/// Set in the children that this file starts of its own test binary.
const CHILD: &str = "HEADSTACK_TEST_CHILD";

/// Runs one test of this file in a child process of its own.
fn run_as_child(test: &str) -> Output {
    let name = format!("storage::guard::tests::{test}");
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap()
}

/// Loses a guarded page, says that the process lives, and then faults on memory that is not guarded.
fn fault_here_and_elsewhere() {
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .unwrap();
    let file = file(&[7; PAGE]);
    let guarded = Mapping::new(&file, 2 * PAGE, Access::Read).unwrap();
    assert_eq!(guarded.load_u32(PAGE), 0);
    assert!(guarded.damaged());
    std::io::stderr().write_all(b"guarded fault survived\n").unwrap();
    let bare = MmapOptions::new().len(2 * PAGE).map_raw(&file).unwrap();
    // SAFETY: the address is mapped; the access raises SIGBUS, which is the purpose.
    let byte = unsafe { bare.as_ptr().add(PAGE).read_volatile() };
    unreachable!("read {byte} where there is no file");
}

#[test]
fn fault_elsewhere_still_kills() {
    if env::var_os(CHILD).is_some() {
        fault_here_and_elsewhere();
    }
    let output = run_as_child("fault_elsewhere_still_kills");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("guarded fault survived"), "{said}");
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{said}");
}

extern "C" fn leave_with_42(_signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: _exit is async-signal-safe and has no preconditions.
    unsafe { libc::_exit(42) };
}

#[test]
fn fault_elsewhere_goes_to_the_handler_that_was_there_before() {
    if env::var_os(CHILD).is_some() {
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = leave_with_42;
        exchange_action(Some((handler as *const () as libc::sighandler_t, libc::SA_SIGINFO))).unwrap();
        fault_here_and_elsewhere();
    }
    let output = run_as_child("fault_elsewhere_goes_to_the_handler_that_was_there_before");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("guarded fault survived"), "{said}");
    assert_eq!(output.status.code(), Some(42), "{said}");
}

#[test]
fn signal_that_was_sent_meets_the_default_action() {
    if env::var_os(CHILD).is_some() {
        rustix::process::setrlimit(
            rustix::process::Resource::Core,
            rustix::process::Rlimit {
                current: Some(0),
                maximum: Some(0),
            },
        )
        .unwrap();
        exchange_action(Some((libc::SIG_DFL, 0))).unwrap();
        let _mapping = Mapping::new(&file(b"x"), PAGE, Access::Read).unwrap();
        // SAFETY: raise has no preconditions.
        unsafe { libc::raise(libc::SIGBUS) };
        unreachable!("lived on after the default action");
    }
    let output = run_as_child("signal_that_was_sent_meets_the_default_action");
    assert_eq!(
        output.status.signal(),
        Some(libc::SIGBUS),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
