//! Where on a tape, or beside it, the bytes of a fuzzer go; what is done with the tape then is in `tapes.rs`.
//!
//! Checksums are made right, so that what is tested stands behind them. The replay in `mount-tests/dump` shares this with the
//! targets in `tools/fuzz/targets`.

use std::{path::Path, sync::Arc};

use headstack::{
    dump::{
        catalog::Places,
        dumpdates::Dumpdates,
        reader::Reader,
        restore::{Choice, Destination, extract_placed},
    },
    storage::{Directory, sim::SimDirectory},
    tape::Container,
};

use super::tapes::{BLOCK, HEALTHY, Jail, headers, image, look, mend, play, volumes};

/// Where the bytes of a fuzzer go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// The header of a file.
    Header,
    /// The data of a directory.
    Directory,
    /// The extended attributes of a file.
    Attributes,
    /// A whole image of records.
    Image,
    /// A whole stream of tape blocks.
    Stream,
    /// Where the files of a dump lie.
    Places,
    /// What is remembered of earlier dumps.
    Dumpdates,
}

thread_local! {
    /// A place for whatever comes.
    static JAIL: Jail = Jail::new();
}

/// What stands in a spot of the healthy tape, to be mutated.
pub fn seed(spot: Spot) -> Vec<u8> {
    let stream = &HEALTHY.whole;
    let (header, data) = header_of(spot);
    match spot {
        Spot::Header => stream[header * BLOCK..(header + 1) * BLOCK].to_vec(),
        Spot::Directory | Spot::Attributes => stream[(header + 1) * BLOCK..(header + 1 + data) * BLOCK].to_vec(),
        Spot::Image => image(stream),
        Spot::Stream => stream.clone(),
        Spot::Places => b"495115637697\n1.0\n1700000001\n\nino\ttapeno\ttapepos\n5\t1\t8192\n6\t1\t16384\n".to_vec(),
        Spot::Dumpdates => {
            br#"[{"path":"/t","level":0,"date_s":9,"base_s":0,"since_s":8,"next_number":7,"dump":"00","chain":"00"}]"#
                .to_vec()
        }
    }
}

/// The header that a spot is in or behind, and how many blocks are behind it.
fn header_of(spot: Spot) -> (usize, usize) {
    let stream = &HEALTHY.whole;
    let found = headers(stream);
    let wanted = |header: &usize| {
        let block = &stream[header * BLOCK..];
        let extended = block[889] & 0x80 != 0;
        match spot {
            Spot::Attributes => block[0] == 2 && extended,
            Spot::Directory => block[0] == 2 && block[33] >> 4 == 4,
            _ => block[0] == 2 && block[33] >> 4 == 8 && !extended,
        }
    };
    let at = found.iter().position(wanted).unwrap_or(0);
    let next = found.get(at + 1).copied().unwrap_or(found[at] + 1);
    (found[at], next - found[at] - 1)
}

/// Puts bytes in their spot, makes the checksums right, and gives the tape to every reader.
pub fn plant(spot: Spot, bytes: &[u8]) {
    let mut stream = HEALTHY.whole.clone();
    let (header, data) = header_of(spot);
    let put = |stream: &mut Vec<u8>, at: usize, room: usize| {
        let length = bytes.len().min(room);
        stream[at..at + length].copy_from_slice(&bytes[..length]);
    };
    let set = match spot {
        Spot::Header => {
            put(&mut stream, header * BLOCK, BLOCK);
            mend(&mut stream, header, 0);
            volumes(&[stream], Container::Flat)
        }
        Spot::Directory | Spot::Attributes => {
            put(&mut stream, (header + 1) * BLOCK, data * BLOCK);
            mend(&mut stream, header, data);
            volumes(&[stream], Container::Flat)
        }
        Spot::Image => volumes(&[bytes.to_vec()], Container::Tap),
        Spot::Stream => volumes(&[bytes.to_vec()], Container::Flat),
        Spot::Places => return planted_places(bytes, stream),
        Spot::Dumpdates => {
            let disk = SimDirectory::new();
            let made = disk.create(Path::new("dumpdates.json"), &mut |file| file.write_all_at(bytes, 0));
            made.expect("memory takes files");
            let Ok(dates) = Dumpdates::open(Arc::new(disk)) else {
                return;
            };
            for remembered in dates.all() {
                let _ = (
                    dates.base(&remembered.path, 31),
                    dates.latest_s(&remembered.path),
                    dates.numbers(remembered),
                );
            }
            return;
        }
    };
    JAIL.with(|jail| play(jail, &set));
}

/// Goes by places that lie: what they lead to is what was dumped, or told of.
fn planted_places(bytes: &[u8], stream: Vec<u8>) {
    let Some(places) = std::str::from_utf8(bytes).ok().and_then(Places::decode) else {
        return;
    };
    let set = volumes(&[stream], Container::Flat);
    let open = || Reader::open(set.clone(), 0).expect("the tape is healthy");
    JAIL.with(|jail| {
        let target = jail.target();
        let destination = Destination::open(&target).expect("it was made");
        let told = extract_placed(&mut open(), &mut open(), &places, &destination, &Choice::all());
        let told = told.expect("the tape is healthy").troubles;
        assert!(
            !told.is_empty() || look(&target) == HEALTHY.contents,
            "restored by {places:?}"
        );
        jail.check();
    });
}
