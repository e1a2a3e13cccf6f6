//! Directories held to bytes put down by hand and to a tape of stock dump.

use proptest::prelude::*;

use super::*;

fn entry(number: u32, kind: u8, name: &[u8]) -> Entry {
    Entry {
        number,
        kind,
        name: name.to_vec(),
    }
}

/// A directory with one file, byte by byte.
fn drawn() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"\x02\0\0\0\x0c\0\x04\x01.\0\0\0");
    bytes.extend_from_slice(b"\x02\0\0\0\x0c\0\x04\x02..\0\0");
    bytes.extend_from_slice(b"\x0c\0\0\0\xe8\x01\x08\x04file\0\0\0\0");
    bytes.resize(512, 0);
    bytes
}

#[test]
fn a_directory_is_written_as_the_format_draws_it() {
    let mut writer = Writer::new(2, 2);
    writer.push(12, 8, b"file");
    assert_eq!(writer.finish(), drawn());
}

#[test]
fn a_directory_is_read_in_both_byte_orders_and_the_old_form() {
    let expected = vec![entry(2, 4, b"."), entry(2, 4, b".."), entry(12, 8, b"file")];
    let read = decode(&drawn(), false, Form::Typed);
    assert_eq!((read.entries, read.damaged_chunks), (expected.clone(), 0));
    let mut big = drawn();
    for at in [0, 12, 24] {
        big[at..at + 4].reverse();
        big[at + 4..at + 6].reverse();
    }
    assert_eq!(decode(&big, true, Form::Typed).entries, expected);
    let untyped: Vec<Entry> = expected.into_iter().map(|entry| Entry { kind: 0, ..entry }).collect();
    for at in [0, 12, 24] {
        big[at + 6] = 0;
    }
    assert_eq!(decode(&big, true, Form::Untyped).entries, untyped);
    let mut little = drawn();
    for at in [0, 12, 24] {
        little[at + 6] = little[at + 7];
        little[at + 7] = 0;
    }
    assert_eq!(decode(&little, false, Form::Untyped).entries, untyped);
}

#[test]
fn entries_do_not_cross_chunks_and_the_last_fills_its_own() {
    let mut writer = Writer::new(2, 2);
    let names: Vec<Vec<u8>> = (0..9_u8).map(|at| vec![b'a' + at; 254 - usize::from(at)]).collect();
    names.iter().for_each(|name| writer.push(7, 8, name));
    let bytes = writer.finish();
    assert_eq!(bytes.len() % CHUNK_BYTES, 0);
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let mut at = 0;
        while at < CHUNK_BYTES {
            at += usize::from(u16::from_le_bytes([chunk[at + 4], chunk[at + 5]]));
        }
        assert_eq!(at, CHUNK_BYTES);
    }
    let read = decode(&bytes, false, Form::Typed);
    assert_eq!(
        read.entries[2..].iter().map(|entry| &entry.name).collect::<Vec<_>>(),
        names.iter().collect::<Vec<_>>()
    );
}

#[test]
fn names_that_lead_elsewhere_are_not_read() {
    for name in [&b"a/b"[..], b"/etc", b"a\0b", b""] {
        let mut bytes = drawn();
        bytes[31] = u8::try_from(name.len()).unwrap();
        bytes[32..32 + name.len()].copy_from_slice(name);
        let read = decode(&bytes, false, Form::Typed);
        assert_eq!((read.entries.len(), read.damaged_chunks), (2, 1), "{name:?}");
    }
    // Lengths that do not fit: zero, odd, past the chunk, shorter than the name.
    for length in [0_u16, 4, 13, 600, 8] {
        let mut bytes = drawn();
        bytes[28..30].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decode(&bytes, false, Form::Typed).damaged_chunks, 1, "length {length}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_names_only(bytes in proptest::collection::vec(any::<u8>(), 0..1500), big in any::<bool>(), form in prop_oneof![Just(Form::Typed), Just(Form::Untyped), Just(Form::Short)]) {
        for entry in decode(&bytes, big, form).entries {
            prop_assert!(is_name(&entry.name) && entry.number != 0);
        }
    }

    #[test]
    fn what_was_written_is_read(names in proptest::collection::vec(proptest::collection::vec(1..=255_u8, 1..=255), 0..60)) {
        let mut writer = Writer::new(5, 2);
        let names: Vec<Vec<u8>> = names.into_iter().filter(|name| is_name(name)).collect();
        names.iter().zip(6..).for_each(|(name, number)| writer.push(number, 8, name));
        let read = decode(&writer.finish(), false, Form::Typed);
        prop_assert_eq!(read.damaged_chunks, 0);
        prop_assert_eq!(&read.entries[..2], &[entry(5, 4, b"."), entry(2, 4, b"..")]);
        let found: Vec<_> = read.entries[2..].iter().map(|entry| (entry.number, &entry.name)).collect();
        let expected: Vec<_> = (6..).zip(&names).collect();
        prop_assert_eq!(found, expected);
    }
}
