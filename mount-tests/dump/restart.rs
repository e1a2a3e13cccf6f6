//! Dumps that are stopped and killed wherever it hurts, and go on: the tape is the one of a dump that was not.
//!
//! Stopping is done in the engine, at every place where it looks; killing is done to the real binary. What a tape has to be
//! is told by a second dump of the same tree with the same order, which is not disturbed.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use headstack::{
    dump::{
        Error, Hindrance, Result,
        context::{Context, Contexts},
        dumpdates::Dumpdates,
        reader::Reader,
        selection::Selection,
        tree::Tree,
        writer::{Notice, Order, Scope, Summary, Watch, dump, dump_kept, resume},
    },
    storage::HostDirectory,
    tape::{Container, Limits, Names, Volumes},
};

use super::Place;
use crate::peer::run;

/// A tree of everything that is written in a way of its own: files of one and of many segments, holes, links, many small.
fn fill(tree: &Path) {
    let bytes = |length: usize, seed: usize| -> Vec<u8> {
        (0..length)
            .map(|at| u8::try_from((at * 7 + at / 251 + seed) % 256).unwrap())
            .collect()
    };
    fs::write(tree.join("large"), bytes(3 << 20, 1)).unwrap();
    fs::write(tree.join("odd"), bytes(700_001, 2)).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(2 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"x", 1_500_000).unwrap();
    for folder in ["a", "b"] {
        fs::create_dir(tree.join(folder)).unwrap();
        for at in 0..20 {
            fs::write(tree.join(folder).join(format!("f{at}")), bytes(at * 1111, at)).unwrap();
        }
    }
    fs::hard_link(tree.join("odd"), tree.join("a/link")).unwrap();
    // More than goes with a file: the longer stands behind the end of the dump.
    for (name, length) in [("user.b", 30), ("user.a", 4000)] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(tree.join("b/f3"), name, &vec![b'v'; length], flags).unwrap();
    }
    std::os::unix::fs::symlink("a/f1", tree.join("symlink")).unwrap();
    // Reading a symlink sets its time of access, but not one that lies ahead.
    run(
        Command::new("touch")
            .args(["-h", "-a", "-d", "2035-01-01"])
            .arg(tree.join("symlink")),
        b"",
    );
}

pub fn order(level: u8) -> Order {
    Order {
        level,
        now_s: 1_900_000_000,
        factor: 10,
        label: "test".into(),
        host: "here".into(),
        honour_nodump_from: 1,
        identity: [9; 16],
        path: "/tree".into(),
        update: false,
        scope: Scope::Subtree,
        history: true,
        selection: Selection::default(),
    }
}

/// The tapes of a kind, in a directory of their own.
pub(super) fn volumes(place: &Place, kind: &str, container: Container, small: bool) -> Volumes {
    let directory = place.path("tapes").join(kind);
    fs::create_dir_all(&directory).unwrap();
    let capacity_bytes = small.then_some(1 << 20);
    Volumes {
        directory: Arc::new(HostDirectory::open(&directory).unwrap()),
        names: Names::Numbered("t".into()),
        container,
        record_bytes: 10240,
        limits: Limits {
            capacity_bytes,
            early_warning_bytes: 32 << 10,
        },
    }
}

/// Names and bytes of all files in a directory.
fn files_in(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

pub(super) fn assert_same_files(one: &Path, other: &Path, what: &str) {
    let (one, other) = (files_in(one), files_in(other));
    let names = |files: &[(PathBuf, Vec<u8>)]| {
        files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&one), names(&other), "{what}");
    for ((name, one), (_, other)) in one.iter().zip(&other) {
        let differs = one.iter().zip(other).position(|(one, other)| one != other);
        assert_eq!(differs, None, "{what}: {}", name.display());
    }
}

/// Dumps until the place number `stop_at` at which the dump looks whether to stop.
pub(super) fn until(stop_at: u64, mut dump: impl FnMut(&mut Watch<'_>) -> Result<Summary>) -> Result<Summary> {
    let stop = AtomicBool::new(stop_at == 0);
    let mut places = 0;
    let notice = &mut |notice: &Notice| {
        if let Notice::Written(_) = notice {
            places += 1;
            stop.store(places >= stop_at, Ordering::Relaxed);
        }
    };
    dump(&mut Watch { notice, stop: &stop })
}

pub fn dates(place: &Place, name: &str) -> Dumpdates {
    let directory = place.path("state").join(name);
    fs::create_dir_all(&directory).unwrap();
    Dumpdates::open(Arc::new(HostDirectory::open(&directory).unwrap())).unwrap()
}

/// D38, D40: stopped at any place of pass 4, and again a few places later until it is done, on tapes with and without
/// marks and over volumes, a dump gives the tape of one that was not stopped.
#[test]
fn a_dump_that_stops_anywhere_goes_on_to_the_same_bytes() {
    for (container, small) in [
        (Container::Tap, false),
        (Container::Flat, false),
        (Container::Tap, true),
        (Container::Flat, true),
    ] {
        let place = Place::new();
        let path = place.path("tree");
        fill(&path);
        let tree = Tree::open(&path).unwrap();
        let expected = dump(
            &tree,
            &order(0),
            volumes(&place, "whole", container, small),
            &mut dates(&place, "a"),
            &mut |_| (),
        )
        .unwrap();
        let contexts = Contexts::of(place.host("state"));
        for step in [1, 3, 1000] {
            let name = format!("stopped{step}");
            let tapes = volumes(&place, &name, container, small);
            let mut dates = dates(&place, "b");
            let mut keeper = contexts.begin(Context::new(order(0), path.clone(), &tapes)).unwrap();
            let mut result = until(step, |watch| {
                dump_kept(&tree, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
            });
            let mut stops = 0;
            while let Err(Error::Interrupted { pass, .. }) = result {
                assert!(pass >= 4);
                stops += 1;
                let id = keeper.context().id();
                drop(keeper);
                keeper = contexts.take(&id).unwrap();
                result = until(step, |watch| resume(&mut keeper, true, &mut dates, watch));
            }
            let done = result.unwrap();
            assert_eq!(done, expected, "the same is told of it");
            assert_eq!(stops > 10, step < 1000, "{stops} stops");
            keeper.remove().unwrap();
            let tapes = place.path("tapes");
            assert_same_files(
                &tapes.join(&name),
                &tapes.join("whole"),
                &format!("{container:?} {small} {step}"),
            );
        }
    }
}

/// D38: killed while it writes the catalogue behind itself, a dump goes on to the same bytes, on a tape that holds another one
/// too.
#[test]
fn a_dump_that_stops_in_its_catalogue_goes_on() {
    let place = Place::new();
    let path = place.path("tree");
    fill(&path);
    let tree = Tree::open(&path).unwrap();
    let tapes = volumes(&place, "t", Container::Tap, false);
    let mut dates = dates(&place, "a");
    let first = Order {
        identity: [1; 16],
        ..order(0)
    };
    dump(&tree, &first, tapes.clone(), &mut dates, &mut |_| ()).unwrap();
    let contexts = Contexts::of(place.host("state"));
    let mut keeper = contexts.begin(Context::new(order(0), path.clone(), &tapes)).unwrap();
    until(u64::MAX, |watch| {
        dump_kept(&tree, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
    })
    .unwrap();
    let whole = files_in(&place.path("tapes/t"));
    let bytes = &whole[0].1;
    let magic = b"HEADSTACK INDEX\n";
    let at = bytes.windows(magic.len()).position(|part| part == magic).unwrap();
    let reader = Reader::open(tapes.clone(), 1).unwrap();
    assert_eq!(reader.catalogue().unwrap().len(), 2);
    for length in [
        at - 8,
        at - 4,
        at,
        at + 100,
        at + 10_240 + 6,
        bytes.len() - 8,
        bytes.len(),
    ] {
        fs::write(place.path("tapes/t/t001"), &bytes[..length]).unwrap();
        let id = keeper.context().id();
        drop(keeper);
        keeper = contexts.take(&id).unwrap();
        until(u64::MAX, |watch| resume(&mut keeper, true, &mut dates, watch)).unwrap();
        let again = files_in(&place.path("tapes/t"));
        assert!(again == whole, "cut at {length} of {}", bytes.len());
    }
}

/// D38: killed anywhere behind its last mark, tapes later too, a dump goes on to the same bytes: what it left on those gives
/// way, and what others have on them stays.
#[test]
fn what_a_killed_dump_left_on_later_tapes_gives_way() {
    let place = Place::new();
    let path = place.path("tree");
    fill(&path);
    let tree = Tree::open(&path).unwrap();
    fs::create_dir(place.path("other")).unwrap();
    let other = Tree::open(&place.path("other")).unwrap();
    let of_others = Order {
        now_s: 1_800_000_000,
        ..order(0)
    };
    let prepared = |name: &str| {
        let tapes = volumes(&place, name, Container::Tap, true);
        let second = Volumes {
            names: Names::Listed(vec!["t002".into()]),
            ..tapes.clone()
        };
        dump(&other, &of_others, second, &mut dates(&place, name), &mut |_| ()).unwrap();
        tapes
    };
    let expected = dump(
        &tree,
        &order(0),
        prepared("whole"),
        &mut dates(&place, "a"),
        &mut |_| (),
    )
    .unwrap();
    assert!(expected.volumes > 3, "{expected:?}");
    let contexts = Contexts::of(place.host("state"));
    let tapes = prepared("killed");
    let mut dates = dates(&place, "b");
    let mut keeper = contexts.begin(Context::new(order(0), path, &tapes)).unwrap();
    let id = keeper.context().id();
    let stopped = until(1, |watch| {
        dump_kept(&tree, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
    });
    assert!(matches!(stopped, Err(Error::Interrupted { .. })), "{stopped:?}");
    let mark = place.path(&format!("state/context-{id}.mark"));
    let early = fs::read(&mark).unwrap();
    // Twice to its end: the second time there is nothing to be written that is not there already.
    for steps in [1, 2, 4, 8, 16, 32, 64, u64::MAX, 16, u64::MAX] {
        drop(keeper);
        fs::write(&mark, &early).unwrap();
        keeper = contexts.take(&id).unwrap();
        let result = until(steps, |watch| resume(&mut keeper, true, &mut dates, watch));
        if steps == u64::MAX {
            assert_eq!(result.unwrap(), expected);
            let tapes = place.path("tapes");
            assert_same_files(&tapes.join("killed"), &tapes.join("whole"), "killed");
        }
    }
}

/// A dump that stopped before pass 4 is refused, and one whose tape was written meanwhile, and one whose chain went on.
#[test]
fn what_was_changed_meanwhile_is_refused() {
    let place = Place::new();
    let path = place.path("tree");
    fill(&path);
    let tree = Tree::open(&path).unwrap();
    let contexts = Contexts::of(place.host("state"));
    let tapes = volumes(&place, "t", Container::Tap, false);
    let begin = |history| {
        contexts
            .begin(Context::new(Order { history, ..order(0) }, path.clone(), &tapes))
            .unwrap()
    };
    let hindrance = |result: Result<Summary>| match result {
        Err(Error::NotRestartable { hindrance, .. }) => hindrance,
        other => panic!("{other:?}"),
    };
    let mut dates = dates(&place, "a");

    let mut keeper = begin(true);
    let stopped = until(0, |watch| {
        dump_kept(&tree, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
    });
    assert!(
        matches!(stopped, Err(Error::Interrupted { pass: 1, .. })),
        "{stopped:?}"
    );
    let refused = hindrance(until(9, |watch| resume(&mut keeper, true, &mut dates, watch)));
    assert_eq!(refused, Hindrance::Pass { pass: 1 });
    keeper.remove().unwrap();

    let mut keeper = begin(false);
    let _ = until(5, |watch| {
        dump_kept(&tree, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
    });
    let refused = hindrance(until(9, |watch| resume(&mut keeper, true, &mut dates, watch)));
    assert_eq!(refused, Hindrance::History);
    keeper.remove().unwrap();

    let mut keeper = begin(true);
    let _ = until(5, |watch| {
        dump_kept(&tree, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
    });
    dump(&tree, &order(0), tapes.clone(), &mut dates, &mut |_| ()).unwrap();
    let before = files_in(&place.path("tapes/t"));
    let refused = until(9, |watch| resume(&mut keeper, true, &mut dates, watch));
    assert!(
        matches!(&refused, Err(Error::Tape(headstack::tape::Error::Changed { reason, .. })) if reason.contains("behind")),
        "{refused:?}"
    );
    assert_eq!(files_in(&place.path("tapes/t")), before, "and the tape is as it was");
    fs::write(place.path("tapes/t/t001"), &before[0].1[..30_000]).unwrap();
    let refused = until(9, |watch| resume(&mut keeper, true, &mut dates, watch));
    assert!(
        matches!(&refused, Err(Error::Tape(headstack::tape::Error::Changed { .. }))),
        "{refused:?}"
    );
}

/// The chain that a stopped increment belongs to must not have given its numbers away meanwhile.
#[test]
fn a_chain_that_went_on_is_refused() {
    let place = Place::new();
    let path = place.path("tree");
    fill(&path);
    let tree = Tree::open(&path).unwrap();
    let contexts = Contexts::of(place.host("state"));
    let mut dates = dates(&place, "a");
    let updating = |level, now_s| Order {
        update: true,
        now_s,
        identity: [level; 16],
        ..order(level)
    };
    let tapes = |name| volumes(&place, name, Container::Tap, false);
    dump(
        &tree,
        &updating(0, 1_000_000_000),
        tapes("full"),
        &mut dates,
        &mut |_| (),
    )
    .unwrap();
    fs::write(path.join("new"), "new").unwrap();
    let second = updating(2, 1_000_000_100);
    let kept = Context::new(second.clone(), path.clone(), &tapes("second"));
    let mut keeper = contexts.begin(kept).unwrap();
    let _ = until(3, |watch| {
        dump_kept(&tree, &second, tapes("second"), &mut dates, Some(&mut keeper), watch)
    });
    fs::write(path.join("newer"), "newer").unwrap();
    dump(
        &tree,
        &updating(1, 1_000_000_200),
        tapes("first"),
        &mut dates,
        &mut |_| (),
    )
    .unwrap();
    let refused = until(9, |watch| resume(&mut keeper, true, &mut dates, watch));
    assert!(
        matches!(
            &refused,
            Err(Error::NotRestartable {
                hindrance: Hindrance::Chain,
                ..
            })
        ),
        "{refused:?}"
    );
}

/// The binary as it dumps, with what it says of its passes.
fn dumping(place: &Place, tape: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_headstack"))
        .args(["dump", "-v", "-0", "--json", "-b", "10", "--state"])
        .arg(place.path("state"))
        .arg("-f")
        .arg(tape)
        .arg(place.path("tree"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the dump says that it enters a pass; false where it ended before.
fn enters(child: &mut Child, pass: u8) -> bool {
    let lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    lines
        .map_while(|line| line.ok())
        .any(|line| line.contains(&format!("pass {pass}:")))
}

/// Waits until the tape is so long; false where the dump ended before.
fn writes(child: &mut Child, tape: &Path, length: u64) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        if fs::metadata(tape).is_ok_and(|facts| facts.len() >= length) {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    panic!("the tape does not grow to {length}");
}

/// D38, D39: killed in any pass a dump leaves a context; what was in pass 4 goes on to the bytes of a dump that was not
/// killed, what was not is refused; and the tape is good for another dump either way.
#[test]
fn a_dump_that_is_killed_goes_on_to_the_same_bytes() {
    let place = Place::new();
    let path = place.path("tree");
    fill(&path);
    for at in 0..12_u8 {
        fs::write(path.join(format!("long{at}")), vec![at + 1; 2 << 20]).unwrap();
    }
    let tree = Tree::open(&path).unwrap();
    let contexts = Contexts::of(place.host("state"));
    let headstack = |words: &[&str]| {
        let state = place.path("state");
        let output = Command::new(env!("CARGO_BIN_EXE_headstack"))
            .args(words)
            .arg("--state")
            .arg(state)
            .output();
        output.unwrap()
    };
    let (mut resumed, mut refused) = (0, 0);
    let passes = (1..=4).map(|pass| (pass, 0));
    for (at, (pass, length)) in passes.chain((1..=9).map(|step| (0, step * 3_000_000))).enumerate() {
        let tape = place.path("tapes").join(format!("t{at}"));
        let mut child = dumping(&place, &tape);
        let there = match length {
            0 => enters(&mut child, pass),
            length => writes(&mut child, &tape, length),
        };
        child.kill().unwrap();
        child.wait().unwrap();
        let left = contexts.all().unwrap();
        let [context] = left.as_slice() else {
            assert!(left.is_empty() && (!there || pass == 0), "{left:?}");
            continue;
        };
        let id = context.id();
        if context.pass == 4 {
            let output = headstack(&["context", "resume", &id]);
            assert!(output.status.success(), "{output:?}");
            let whole = place.listed("whole", Container::Tap);
            let whole = Volumes {
                record_bytes: 10240,
                ..whole
            };
            dump(&tree, &context.order, whole, &mut dates(&place, "a"), &mut |_| ()).unwrap();
            let expected = place.path("tapes/whole");
            assert!(
                fs::read(&tape).unwrap() == fs::read(&expected).unwrap(),
                "killed at {pass} {length}"
            );
            fs::remove_file(expected).unwrap();
            resumed += 1;
        } else {
            let output = headstack(&["context", "resume", &id]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.code() == Some(78) && told.contains("only pass 4"),
                "{output:?}"
            );
            assert!(headstack(&["context", "rm", &id, "--yes"]).status.success());
            refused += 1;
        }
        assert_eq!(contexts.all().unwrap(), []);
        if at % 4 == 0 {
            let mut again = dumping(&place, &tape);
            assert!(!enters(&mut again, 9) && again.wait().unwrap().success());
            run(
                Command::new(env!("CARGO_BIN_EXE_headstack"))
                    .args(["tape", "ls", "--json"])
                    .arg(&tape),
                b"",
            );
        }
        // Who was killed early enough has made none.
        let _ = fs::remove_file(&tape);
    }
    assert!(resumed >= 3 && refused >= 1, "{resumed} resumed, {refused} refused");
}

/// D38: SIGINT and SIGTERM stop a dump in good order, at once and with the code of what may be tried again; the message
/// says how.
#[test]
fn signals_stop_a_dump_in_good_order() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new();
    let path = place.path("tree");
    for at in 0..16_u8 {
        fs::write(path.join(format!("long{at}")), vec![at + 1; 2 << 20]).unwrap();
    }
    let contexts = Contexts::of(place.host("state"));
    for (name, signal) in [("int", Signal::INT), ("term", Signal::TERM)] {
        let tape = place.path("tapes").join(name);
        let mut child = dumping(&place, &tape);
        assert!(writes(&mut child, &tape, 4_000_000));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let left = contexts.all().unwrap();
        let [context] = left.as_slice() else {
            panic!("it was too fast to be stopped: {output:?}");
        };
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("stopped in pass 4; try 'headstack context resume"),
            "{told}"
        );
        let mut keeper = contexts.take(&context.id()).unwrap();
        until(1_000_000, |watch| {
            resume(&mut keeper, true, &mut dates(&place, "a"), watch)
        })
        .unwrap();
        let expected = place.listed("whole", Container::Tap);
        let expected = Volumes {
            record_bytes: 10240,
            ..expected
        };
        dump(
            &Tree::open(&path).unwrap(),
            &context.order,
            expected,
            &mut dates(&place, "b"),
            &mut |_| (),
        )
        .unwrap();
        assert!(fs::read(&tape).unwrap() == fs::read(place.path("tapes/whole")).unwrap());
        fs::remove_file(place.path("tapes/whole")).unwrap();
        keeper.remove().unwrap();
    }
}
