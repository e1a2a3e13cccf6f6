//! Image objects through the engine: dumps stopped in the midst of one, damaged tapes of them, and mounted tapes.
//!
//! What an image is taken of is memory here, so that it changes and goes away when a test wants it to. Arrays of a real store
//! are in `cli/controller/dumped.rs`.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use headstack::{
    dump::{
        Error, Lost,
        attributes::Attribute,
        context::{Context, Contexts},
        images::{ARRAY, Contents, Image, Images, Sink, Take},
        reader::Reader,
        record::{ImageFacts, Time},
        restore::{Choice, Destination, Restored, extract},
        salvage::salvage,
        tree::Tree,
        writer::{dump, dump_kept, resume_with},
    },
    tape::{Container, Volumes},
};

use super::{
    Place, browsed,
    restart::{assert_same_files, dates, order, until, volumes},
};

const SIZE: usize = 3 << 20;
const PATH: &str = "arrays/r5.img";

/// Bytes in memory; what is zero at their beginning is a hole.
struct Memory(Vec<u8>);

impl Contents for Memory {
    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let at = usize::try_from(offset_bytes).unwrap();
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }

    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        let at = usize::try_from(offset_bytes).unwrap();
        let data = self.0[at..].iter().position(|byte| *byte != 0);
        Ok(data.map(|more| offset_bytes + more as u64))
    }
}

/// Half a megabyte of nothing, and behind it bytes that depend on `seed`.
fn pattern(seed: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at / 251 + at * seed) % 255 + 1).unwrap();
    (0..SIZE).map(|at| if at < 512 << 10 { 0 } else { byte(at) }).collect()
}

fn images(bytes: &[u8], modified_s: i64, served: bool) -> Images {
    let bytes = bytes.to_vec();
    let image = Image {
        name: "r5.img".into(),
        identity: [5; 16],
        size_bytes: SIZE as u64,
        modified: Time {
            seconds: modified_s,
            nanoseconds: 5,
        },
        facts: ImageFacts {
            epoch: 2,
            nested: false,
            level: 5,
            members: 3,
            chunk_kib: 64,
            layout: 2,
        },
        attributes: vec![Attribute {
            name: ARRAY.into(),
            value: b"level=raid5".to_vec(),
        }],
        notes: Vec::new(),
        served,
        refused: None,
        open: Box::new(move || Ok(Arc::new(Memory(bytes.clone())) as Arc<dyn Contents>)),
    };
    Images {
        all: vec![image],
        ..Images::default()
    }
}

/// A tree of two files beside the images.
fn tree(place: &Place, images: Images) -> Tree {
    if !place.path("tree/large").exists() {
        fs::write(place.path("tree/large"), vec![3; 700_001]).unwrap();
        fs::write(place.path("tree/small"), "small\n").unwrap();
    }
    Tree::open(&place.path("tree")).unwrap().with_images(images)
}

/// D38, D40: stopped at any place of pass 4 a dump goes on to the bytes of one that was not stopped, which are those that an
/// image has now: where it changed, or others may have written to it, it is written anew as a whole, also from an earlier tape
/// on, when what was on the later ones gives way.
#[test]
fn a_dump_stopped_in_an_image_has_no_halves_of_two() {
    let (old, new) = (pattern(7), pattern(11));
    for (what, then_s, served, bytes, container, small) in [
        ("the same", 5, false, &old, Container::Tap, true),
        ("changed", 6, false, &new, Container::Tap, false),
        ("changed", 6, false, &new, Container::Flat, true),
        ("served", 5, true, &new, Container::Tap, true),
    ] {
        let place = Place::new();
        let now = tree(&place, images(bytes, then_s, served));
        let whole = volumes(&place, "whole", container, small);
        let expected = dump(&now, &order(0), whole, &mut dates(&place, "a"), &mut |_| ()).unwrap();
        let contexts = Contexts::of(place.host("state"));
        let mut stops = 0;
        for step in (1..).step_by(2) {
            let tapes = volumes(&place, &format!("stopped{step}"), container, small);
            let mut dates = dates(&place, "b");
            let kept = Context::new(order(0), place.path("tree"), &tapes);
            let mut keeper = contexts.begin(kept).unwrap();
            let before = tree(&place, images(&old, 5, false));
            let result = until(step, |watch| {
                dump_kept(&before, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
            });
            if result.is_ok() {
                break;
            }
            assert!(matches!(result, Err(Error::Interrupted { .. })), "{result:?}");
            stops += 1;
            let done = until(u64::MAX, |watch| {
                resume_with(&mut keeper, true, images(bytes, then_s, served), &mut dates, watch)
            });
            keeper.remove().unwrap();
            assert_eq!(done.unwrap(), expected, "{what}, stopped at {step}");
            let tapes = place.path("tapes");
            let what = format!("{what} {container:?} {small}, stopped at {step}");
            assert_same_files(&tapes.join(format!("stopped{step}")), &tapes.join("whole"), &what);
        }
        assert!(stops >= 4, "{what}: {stops} stops");
    }
}

/// D25, D40: an image that is gone when a dump goes on that stopped in the midst of it is not on the tape at all, which is told.
#[test]
fn an_image_that_is_gone_leaves_nothing_of_it() {
    let place = Place::new();
    let tapes = volumes(&place, "t", Container::Tap, false);
    let contexts = Contexts::of(place.host("state"));
    let mut keeper = contexts
        .begin(Context::new(order(0), place.path("tree"), &tapes))
        .unwrap();
    let mut dates = dates(&place, "a");
    let before = tree(&place, images(&pattern(7), 5, false));
    let stopped = until(6, |watch| {
        dump_kept(&before, &order(0), tapes.clone(), &mut dates, Some(&mut keeper), watch)
    });
    assert!(matches!(stopped, Err(Error::Interrupted { .. })), "{stopped:?}");
    let beginning = fs::read(place.path("tapes/t/t001")).unwrap().len();
    assert!(beginning > 1 << 20, "it stopped in the midst of the image: {beginning}");
    let done = until(u64::MAX, |watch| {
        resume_with(&mut keeper, true, Images::default(), &mut dates, watch)
    });
    let troubles = done.unwrap().troubles;
    assert!(
        troubles.len() == 1 && troubles[0].loss && troubles[0].path == Path::new(PATH),
        "{troubles:?}"
    );
    assert!(fs::read(place.path("tapes/t/t001")).unwrap().len() < beginning);
    let destination = Destination::open(&place.path("out")).unwrap();
    let restored = extract(&mut Reader::open(tapes, 0).unwrap(), &destination, &Choice::all()).unwrap();
    assert_eq!(fs::read(place.path("out/small")).unwrap(), b"small\n");
    assert!(!place.path("out").join(PATH).exists());
    let lost: Vec<_> = restored.lost.iter().map(|lost| lost.path.as_path()).collect();
    assert_eq!(lost, [Path::new(PATH)]);
}

/// A dump of the tree with an image, and where on the flat tape its header is.
fn dumped(place: &Place, bytes: &[u8]) -> (Volumes, usize) {
    let tapes = place.listed("t", Container::Flat);
    let tapes = Volumes {
        record_bytes: 10240,
        ..tapes
    };
    let tree = tree(place, images(bytes, 5, false));
    let summary = dump(&tree, &order(0), tapes.clone(), &mut dates(place, "a"), &mut |_| ()).unwrap();
    assert_eq!(summary.troubles, []);
    let tape = fs::read(place.path("tapes/t")).unwrap();
    let is_header = |block: &[u8]| {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
        word(0) == 2 && word(24) == 60012 && word(40) as usize == SIZE
    };
    let header = tape.chunks(1024).position(is_header).unwrap() * 1024;
    (tapes, header)
}

/// Damages the tape of a place.
fn wound(place: &Place, range: std::ops::Range<usize>) {
    let path = place.path("tapes/t");
    let mut tape = fs::read(&path).unwrap();
    tape[range].fill(0);
    fs::write(path, tape).unwrap();
}

/// What was written to an image that was restored as what it was: its bytes, and whether it was given back.
type Written = Arc<Mutex<(Vec<u8>, bool)>>;

struct Record(Written);

impl Sink for Record {
    fn write_at(&mut self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let at = usize::try_from(offset_bytes).unwrap();
        self.0.lock().unwrap().0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn clear(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let at = usize::try_from(offset_bytes).unwrap();
        let length = usize::try_from(length_bytes).unwrap();
        self.0.lock().unwrap().0[at..at + length].fill(0);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().1 = true;
        Ok(())
    }
}

/// Restores all to `out`, the image into memory that was full of 9.
fn restored(place: &Place, tapes: &Volumes) -> (Restored, Written) {
    let written: Written = Arc::new(Mutex::new((vec![9; SIZE], false)));
    let to = written.clone();
    let take: Take = Box::new(move |_| Ok(Box::new(Record(to.clone())) as Box<dyn Sink>));
    let destination = Destination::open(&place.path("out"))
        .unwrap()
        .taking_images(take, Box::new(|_| false));
    let mut reader = Reader::open(tapes.clone(), 0).unwrap();
    (extract(&mut reader, &destination, &Choice::all()).unwrap(), written)
}

/// Fails unless exactly the image is lost, in stretches that lie where the wound is; gives the stretches.
#[track_caller]
fn only_the_image(lost: &[Lost]) -> Vec<std::ops::Range<u64>> {
    assert!(lost.len() == 1 && lost[0].path == Path::new(PATH), "{lost:?}");
    lost[0].ranges.clone()
}

/// D19: of a damaged tape an image is salvaged as a file with holes for what is lost, told to the byte; restored as what it
/// was, the same is told; one whose beginning is lost leaves what it would go to alone.
#[test]
fn a_damaged_image_is_salvaged_and_told() {
    let bytes = pattern(7);
    let place = Place::new();
    let (tapes, header) = dumped(&place, &bytes);
    // The first segment is a hole, so the second begins with the next block; its header stays.
    wound(&place, header + 100 * 1024..header + 110 * 1024);
    let (back, written) = restored(&place, &tapes);
    let ranges = only_the_image(&back.lost);
    let lost: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert!((10 << 10..=512 << 10).contains(&lost), "{ranges:?}");
    let rest = |bytes: &[u8]| {
        let mut rest = bytes.to_vec();
        for range in &ranges {
            rest[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].fill(0);
        }
        rest
    };
    let (found, given_back) = &*written.lock().unwrap();
    assert!(rest(found) == rest(&bytes) && *given_back);
    let saved = Destination::open(&place.path("scratch")).unwrap();
    let salvaged = salvage(Reader::open(tapes.clone(), 0).unwrap(), &saved).unwrap();
    assert_eq!(only_the_image(&salvaged.lost), ranges);
    let saved_bytes = fs::read(place.path("scratch").join(PATH)).unwrap();
    assert!(rest(&saved_bytes) == rest(&bytes) && saved_bytes.len() == SIZE);
    assert_eq!(fs::read(place.path("scratch/small")).unwrap(), b"small\n");

    // What comes behind its beginning says where it belongs.
    wound(&place, header..header + 1024);
    let (back, _) = restored(&place, &tapes);
    assert_eq!(only_the_image(&back.lost)[0].start, 0);
    wound(&place, header..header + (1 + 5 * 513) * 1024);
    let (back, written) = restored(&place, &tapes);
    assert_eq!(only_the_image(&back.lost), []);
    assert!(
        written.lock().unwrap().0.iter().all(|byte| *byte == 9),
        "it was left alone"
    );
    let salvaged = salvage(Reader::open(tapes, 0).unwrap(), &saved).unwrap();
    assert_eq!(only_the_image(&salvaged.lost), []);
}

/// D19: on a mounted tape an image is a file, with its bytes, its holes and what it was taken of.
#[test]
fn an_image_is_a_file_of_a_mounted_tape() {
    if !super::root() {
        return;
    }
    let (place, bytes) = (Place::new(), pattern(7));
    let (tapes, _) = dumped(&place, &bytes);
    let _mounted = browsed::mounted(&place, &tapes);
    let file = place.path("out").join(PATH);
    assert!(fs::read(&file).unwrap() == bytes);
    let facts = fs::metadata(&file).unwrap();
    assert_eq!(
        (facts.mtime(), facts.mtime_nsec(), facts.mode() & 0o7777),
        (5, 5, 0o600)
    );
    let open = fs::File::open(&file).unwrap();
    assert_eq!(rustix::fs::seek(&open, rustix::fs::SeekFrom::Data(0)), Ok(512 << 10));
    let mut told = [0; 64];
    let length = rustix::fs::getxattr(&file, ARRAY, &mut told).unwrap();
    assert_eq!(&told[..length], b"level=raid5");
    assert!(fs::OpenOptions::new().write(true).open(&file).is_err());
}
