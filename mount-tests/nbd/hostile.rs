//! Clients that mean harm or break: every one is answered or dropped, and nobody else notices.
//!
//! Each test ends with a decent client that reads and writes, and with the server empty.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};

use super::{
    fixture::{Served, pattern, wait_until},
    raw::{BLOCK_STATUS, DISC, FLUSH, READ, Raw, WRITE, request},
};
use headstack::nbd::{Limits, Settings};

/// A decent client is served as if nothing had been.
fn still_serves(served: &Served) {
    let mut raw = Raw::simple(served);
    raw.request(0, WRITE, 1, 512, 4);
    raw.send(b"good");
    assert_eq!(raw.reply(), (1, 0));
    raw.request(0, READ, 2, 511, 6);
    assert_eq!(raw.reply(), (2, 0));
    assert_eq!(raw.take(6)[1..5], *b"good");
    raw.request(0, DISC, 3, 0, 0);
    assert_eq!(raw.rest(), b"");
    served.wait_until_empty();
}

#[test]
fn an_oldstyle_or_foreign_client_is_dropped() {
    let served = Served::new(1 << 20);
    for flags in [[0xff; 4], *b"GET ", [0, 0, 0, 4]] {
        let mut raw = Raw::connect(&served);
        raw.take(18);
        raw.send(&flags);
        assert_eq!(raw.rest(), b"");
    }
    let mut raw = Raw::greeted(&served);
    raw.send(b"HAVENOOPTabcdefghijklmnop");
    assert_eq!(raw.rest(), b"");
    still_serves(&served);
}

#[test]
fn endless_options_are_answered_up_to_a_mebibyte_and_dropped_above() {
    let served = Served::new(1 << 20);
    let mut raw = Raw::greeted(&served);
    raw.option(7, &vec![0; 100_000]);
    let (option, kind, _) = raw.option_reply();
    assert_eq!((option, kind), (7, 0x8000_0009));
    raw.send(b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff");
    assert_eq!(raw.rest(), b"");
    still_serves(&served);
}

#[test]
fn a_request_without_its_magic_number_ends_the_session() {
    let served = Served::new(1 << 20);
    let mut raw = Raw::simple(&served);
    raw.request(0, FLUSH, 7, 0, 0);
    assert_eq!(raw.reply(), (7, 0));
    raw.send(&[0xab; 28]);
    assert_eq!(raw.rest(), b"");
    still_serves(&served);
}

#[test]
fn an_oversize_write_is_skipped_and_refused_and_an_endless_one_dropped() {
    let served = Served::new(1 << 20);
    let mut raw = Raw::simple(&served);
    raw.request(0, WRITE, 1, 0, 33 << 20);
    raw.send(&vec![7; 33 << 20]);
    assert_eq!(raw.reply(), (1, 22));
    raw.request(0, READ, 2, 0, 16);
    assert_eq!(raw.reply(), (2, 0));
    assert_eq!(raw.take(16), [0; 16]);
    raw.request(0, WRITE, 3, 0, u32::MAX);
    assert_eq!(raw.rest(), b"");
    still_serves(&served);
}

#[test]
fn requests_out_of_range_are_refused_and_change_nothing() {
    let served = Served::new(1 << 20);
    let mut raw = Raw::simple(&served);
    for (cookie, (offset, length, error)) in [(1 << 20, 4, 28), (u64::MAX, 4, 28), ((1 << 20) - 2, 4, 28)]
        .into_iter()
        .enumerate()
    {
        raw.request(0, WRITE, cookie as u64, offset, length);
        raw.send(b"evil");
        assert_eq!(raw.reply(), (cookie as u64, error));
    }
    raw.request(0, READ, 9, u64::MAX - 2, 4);
    assert_eq!(raw.reply(), (9, 22));
    raw.request(0, BLOCK_STATUS, 10, 0, 512);
    assert_eq!(raw.reply(), (10, 22));
    raw.request(0, 77, 11, 0, 0);
    assert_eq!(raw.reply(), (11, 22));
    raw.request(1 << 9, READ, 12, 0, 1);
    assert_eq!(raw.reply(), (12, 22));
    assert!(served.contents().iter().all(|&byte| byte == 0));
    drop(raw);
    still_serves(&served);
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_write_changes_nothing() {
    let served = Served::new(4 << 20);
    for sent in [0, 1, 27, 28, 29, 100_000, 1_000_000] {
        let mut raw = Raw::simple(&served);
        let mut message = request(0, WRITE, 1, 0, 1 << 20);
        message.resize(28 + (1 << 20), 0xee);
        raw.send(&message[..sent]);
    }
    served.wait_until_empty();
    assert!(served.contents().iter().all(|&byte| byte == 0));
    still_serves(&served);
}

#[test]
fn requests_of_a_client_that_vanished_finish() {
    let served = Served::new(4 << 20);
    let bytes = pattern(3, 1 << 20);
    let mut raw = Raw::simple(&served);
    for part in 0..4 {
        raw.request(0, WRITE, part, part << 20, 1 << 20);
        raw.send(&bytes);
    }
    // It waits for no reply. What the server has taken whole must be written whole.
    drop(raw);
    served.wait_until_empty();
    let image = served.contents();
    for part in image.chunks(1 << 20) {
        assert!(part == bytes || part.iter().all(|&byte| byte == 0), "half a write");
    }
    still_serves(&served);
}

#[test]
fn a_flood_of_reads_that_nobody_takes_holds_up_only_its_sender() {
    let limits = Limits {
        stall: std::time::Duration::from_secs(2),
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let served = Served::with(8 << 20, settings, |export| export);
    let mut floods: Vec<Raw> = (0..3).map(|_| Raw::simple(&served)).collect();
    for raw in &mut floods {
        for cookie in 0..200 {
            raw.request(0, READ, cookie, 0, 4 << 20);
        }
    }
    let mut raw = Raw::simple(&served);
    for cookie in 0..50 {
        raw.request(0, WRITE, cookie, 0, 4);
        raw.send(b"good");
        assert_eq!(raw.reply(), (cookie, 0));
    }
    drop(raw);
    // They are cut off for not taking their replies.
    wait_until("the floods are cut off", || served.server.clients() == 0);
    drop(floods);
    still_serves(&served);
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_cut_off() {
    let limits = Limits {
        handshake: std::time::Duration::from_secs(2),
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let served = Served::with(1 << 20, settings, |export| export);
    let mut raw = Raw::greeted(&served);
    raw.send(b"IHAVEOPT\0\0");
    assert_eq!(raw.rest(), b"");
    still_serves(&served);
}

#[test]
fn clients_beyond_the_limit_are_turned_away() {
    let limits = Limits {
        clients: 2,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let served = Served::with(1 << 20, settings, |export| export);
    let first = Raw::simple(&served);
    let second = Raw::simple(&served);
    assert_eq!(Raw::connect(&served).rest(), b"");
    drop((first, second));
    served.wait_until_empty();
    still_serves(&served);
}

/// A step of a client that may be anything.
#[derive(Debug, Clone)]
enum Step {
    Bytes(Vec<u8>),
    Option(u32, Vec<u8>),
    Request(u16, u16, u64, u32),
    Payload(usize),
}

impl Step {
    fn bytes(&self, extended: bool) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Option(option, data) => {
                let length = u32::try_from(data.len()).unwrap();
                [&b"IHAVEOPT"[..], &option.to_be_bytes(), &length.to_be_bytes(), data].concat()
            }
            Self::Request(flags, command, offset, length) => {
                let mut bytes = request(*flags, *command, 5, *offset, *length);
                if extended {
                    bytes[..4].copy_from_slice(&[0x21, 0xe4, 0x1c, 0x71]);
                    bytes.splice(24..24, [0; 4]);
                }
                bytes
            }
            Self::Payload(length) => vec![0x5a; *length],
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![0..1_u64 << 20, Just(1 << 20), any::<u64>()];
    let length = prop_oneof![0..70_000_u32, Just(1 << 20), any::<u32>()];
    let flags = prop_oneof![3 => Just(0_u16), 2 => 0..64_u16, 1 => any::<u16>()];
    prop_oneof![
        1 => vec(any::<u8>(), 0..64).prop_map(Step::Bytes),
        2 => (0..13_u32, vec(any::<u8>(), 0..40)).prop_map(|(option, data)| Step::Option(option, data)),
        6 => (flags, 0..10_u16, offset, length)
            .prop_map(|(flags, command, offset, length)| Step::Request(flags, command, offset, length)),
        2 => (0..80_000_usize).prop_map(Step::Payload),
    ]
}

/// Any bytes at any point of a session: the server answers or hangs up, keeps nobody, and serves the next client.
#[test]
fn no_bytes_harm_the_server() {
    let served = Served::new(1 << 20);
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    let script = (0..4_u8, vec(step(), 0..12));
    let outcome = runner.run(&script, |(start, steps)| {
        let mut raw = match start {
            0 => Raw::connect(&served),
            1 => Raw::greeted(&served),
            2 => Raw::simple(&served),
            _ => Raw::extended(&served),
        };
        for step in &steps {
            if !raw.try_send(&step.bytes(start == 3)) {
                break;
            }
        }
        raw.send_no_more();
        // It ends for every client: an endless wait would fail at the limit of reading.
        raw.rest();
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    still_serves(&served);
}
