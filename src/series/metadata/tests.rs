use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use serde_json::{Map, Value};

use super::{
    METADATA_LIMIT_BYTES, SeriesMetadata, check_object, decode_object, encode_object, varlen_parameters, with_varlen,
    without_varlen,
};
use crate::series::{Damage, FixedParameters, VarlenParameters, json};

/// Every different `metadata.txt` of a series in the database that tempsdb 0.6.4 wrote for the oracle `make_db.py`,
/// and of three made by hand with it: floats and strings that are not JSON, gzip, a varlen head of no bytes.
const BY_TEMPSDB: &[&str] = &[
    r#"{"block_size": 1, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 1, "max_entries_per_chunk": 1000, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 10, "max_entries_per_chunk": 5, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [8, 8]}}"#,
    r#"{"block_size": 104, "max_entries_per_chunk": 50, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 4, "length_profile": [100, 4080]}}"#,
    r#"{"block_size": 12, "max_entries_per_chunk": 37, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 12, "max_entries_per_chunk": 7, "last_entry_synced": 5, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [10, 255]}}"#,
    r#"{"block_size": 16, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 16, "max_entries_per_chunk": 10, "last_entry_synced": 12345, "page_size": 4096, "metadata": {}}"#,
    r#"{"block_size": 18, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [16, 64]}}"#,
    r#"{"block_size": 18, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [16]}}"#,
    r#"{"block_size": 18, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [16, 64, 256]}}"#,
    r#"{"block_size": 19, "max_entries_per_chunk": 20, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 3, "length_profile": [16, 64, 256]}}"#,
    r#"{"block_size": 2, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 1, "length_profile": [1]}}"#,
    r#"{"block_size": 24, "max_entries_per_chunk": 5000, "last_entry_synced": 300, "page_size": 4096, "metadata": {"unit": "kPa", "nested": {"a": [1, 2.5, null, true, "\u017c"]}}}"#,
    r#"{"block_size": 255, "max_entries_per_chunk": 7, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 256, "max_entries_per_chunk": 20, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 32, "max_entries_per_chunk": 1000, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 32, "max_entries_per_chunk": 1000, "last_entry_synced": 0, "page_size": 5000}"#,
    r#"{"block_size": 4, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 4, "max_entries_per_chunk": 1000, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 4, "max_entries_per_chunk": 2, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 4080, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 4080, "max_entries_per_chunk": 50, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 4084, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 4104, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 5, "max_entries_per_chunk": 3, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 6, "max_entries_per_chunk": 2, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [4, 4]}}"#,
    r#"{"block_size": 6, "max_entries_per_chunk": 3, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 1, "length_profile": [5]}}"#,
    r#"{"block_size": 64, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 64, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 64, "max_entries_per_chunk": 20, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 1, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 1048576}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 1000, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 4, "length_profile": [4, 4, 32]}}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 1000, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 10000, "last_entry_synced": 0, "page_size": 65536}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 3, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 4, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 5, "last_entry_synced": 0, "page_size": 4096}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 50, "last_entry_synced": 0, "page_size": 64}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 10, "last_entry_synced": 18446744073709551615, "page_size": 4096, "metadata": {"nan": NaN, "inf": [Infinity, -Infinity], "sur": "\ud800x\udfff", "ctl": "\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\u007f\u0080", "astral": "\ud83d\ude00\u00e9", "f": [1e+16, 1000000000000000.0, 1e-05, 0.0001, 5e-324, 1.7976931348623157e+308, -0.0, 1.0, 0.1, 123456789.125], "i": [0, -1, 18446744073709551616, -1180591620717411303424], "b": [true, false, null], "e": [{}, [], ""], "k\u017c\"\\/": 1}}"#,
    r#"{"block_size": 8, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096, "gzip_level": 6}"#,
    r#"{"block_size": 1, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096, "metadata": {"size_field": 1, "length_profile": [0, 8]}}"#,
];

fn damage(text: &str) -> String {
    match SeriesMetadata::decode(text.as_bytes()) {
        Err(Damage::Metadata(reason)) => reason,
        other => panic!("{text}: {other:?}"),
    }
}

fn root(metadata: &str, block_size: u32) -> SeriesMetadata {
    let text = format!(
        r#"{{"block_size": {block_size}, "max_entries_per_chunk": 7, "last_entry_synced": 0, "metadata": {metadata}}}"#
    );
    SeriesMetadata::decode(text.as_bytes()).unwrap()
}

#[test]
fn texts_of_tempsdb_come_back_byte_for_byte() {
    for text in BY_TEMPSDB {
        let metadata = SeriesMetadata::decode(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(metadata.encode()).unwrap(), *text);
    }
}

#[test]
fn database_metadata_of_tempsdb_comes_back_byte_for_byte() {
    let text = r#"{"owner": "make_db.py", "n": 1, "list": [1, 2, 3]}"#;
    let object = decode_object(text.as_bytes()).unwrap();
    assert_eq!(object["n"], Value::from(1));
    assert_eq!(String::from_utf8(encode_object(&object)).unwrap(), text);
    for text in ["[]", "null", "1", "", "{", "\"x\""] {
        assert!(
            matches!(decode_object(text.as_bytes()), Err(Damage::Metadata(_))),
            "{text}"
        );
    }
}

#[test]
fn fields_are_told_apart() {
    let text = r#"{"block_size": 24, "max_entries_per_chunk": 5000, "last_entry_synced": 300, "page_size": 64, "metadata": {"unit": "kPa"}, "gzip_level": 6}"#;
    let metadata = SeriesMetadata::decode(text.as_bytes()).unwrap();
    let expected = SeriesMetadata {
        block_size: 24,
        max_entries_per_chunk: 5000,
        last_entry_synced: 300,
        page_size: 64,
        metadata: Some(Map::from_iter([("unit".to_owned(), Value::from("kPa"))])),
        gzip_level: Some(6),
    };
    assert_eq!(metadata, expected);
    let parameters = FixedParameters {
        block_size: 24,
        entries_per_chunk: 5000,
        page_size: 64,
    };
    assert_eq!(metadata.fixed_parameters(), parameters);
}

#[test]
fn text_of_the_first_release_lacks_page_size_and_spaces() {
    // Written by ujson in 0.5a2: no spaces, slashes escaped, page_size left out when it is 4096.
    let text = r#"{"block_size":8,"max_entries_per_chunk":100,"last_entry_synced":0,"metadata":{"path":"a\/b"}}"#;
    let metadata = SeriesMetadata::decode(text.as_bytes()).unwrap();
    assert_eq!(metadata.page_size, 4096);
    assert_eq!(
        String::from_utf8(metadata.encode()).unwrap(),
        r#"{"block_size": 8, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096, "metadata": {"path": "a/b"}}"#
    );
}

#[test]
fn unknown_keys_are_accepted_and_dropped_and_null_is_absent() {
    let text = r#"{"new": [1], "block_size": 8, "max_entries_per_chunk": 1, "last_entry_synced": 2, "metadata": null, "gzip_level": null}"#;
    let metadata = SeriesMetadata::decode(text.as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(metadata.encode()).unwrap(),
        r#"{"block_size": 8, "max_entries_per_chunk": 1, "last_entry_synced": 2, "page_size": 4096}"#
    );
}

#[test]
fn each_wrong_field_is_named() {
    let good = r#"{"block_size": 8, "max_entries_per_chunk": 10, "last_entry_synced": 0, "page_size": 4096}"#;
    let with = |from: &str, to: &str| {
        assert!(good.contains(from));
        damage(&good.replace(from, to))
    };
    assert_eq!(with(r#""block_size": 8, "#, ""), "block_size is missing");
    assert_eq!(
        with(r#""max_entries_per_chunk": 10, "#, ""),
        "max_entries_per_chunk is missing"
    );
    assert_eq!(with(r#""last_entry_synced": 0, "#, ""), "last_entry_synced is missing");
    assert_eq!(with(": 8", ": -8"), "block_size is -8, not a whole number of 64 bits");
    assert_eq!(with(": 8", ": 8.0"), "block_size is 8.0, not a whole number of 64 bits");
    assert_eq!(with(": 8", ": \"8\""), "block_size is a string, not a number");
    assert_eq!(with(": 8", ": true"), "block_size is true or false, not a number");
    assert_eq!(with(": 8", ": NaN"), "block_size is a string, not a number");
    assert_eq!(with(": 8", ": 16777217"), "block_size is 16777217, it is 0 to 16777216");
    assert_eq!(
        with(": 8", ": 4294967304"),
        "block_size is 4294967304, it is 0 to 16777216"
    );
    let huge = format!(": {}", "9".repeat(10_000));
    assert!(with(": 8", &huge).len() < 100);
    assert_eq!(
        with(": 10", ": 2147483648"),
        "max_entries_per_chunk is 2147483648, it is 0 to 2147483647"
    );
    assert_eq!(with(": 10", ": []"), "max_entries_per_chunk is a list, not a number");
    assert_eq!(
        with(": 0", ": 18446744073709551616"),
        "last_entry_synced is 18446744073709551616, not a whole number of 64 bits"
    );
    assert_eq!(with(": 0", ": null"), "last_entry_synced is null, not a number");
    assert_eq!(with(": 4096", ": 0"), "page_size is 0, it is 1 to 1073741824");
    assert_eq!(
        with(": 4096", ": 1073741825"),
        "page_size is 1073741825, it is 1 to 1073741824"
    );
    assert_eq!(
        with("}", ", \"metadata\": []}"),
        "the key \"metadata\" holds a list, not an object"
    );
    assert_eq!(
        with("}", ", \"gzip_level\": \"x\"}"),
        "gzip_level is a string, not a number"
    );
    assert_eq!(damage("[]"), "a list, not an object");
    assert_eq!(damage(""), "text ends too early at byte 0");
    for end in 1..good.len() {
        assert!(damage(&good[..end]).contains("byte"), "cut at {end}");
    }
}

#[test]
fn text_over_the_limit_is_refused() {
    let length = usize::try_from(METADATA_LIMIT_BYTES).unwrap();
    let mut text = r#"{"block_size": 8, "max_entries_per_chunk": 10, "last_entry_synced": 0}"#.to_owned();
    text.push_str(&" ".repeat(length - text.len()));
    assert!(SeriesMetadata::decode(text.as_bytes()).is_ok());
    text.push(' ');
    assert_eq!(damage(&text), "16777217 bytes, 16777216 are the most");
}

#[test]
fn varlen_parameters_are_read_from_the_root() {
    let mut seen = 0;
    for text in BY_TEMPSDB.iter().filter(|text| text.contains("length_profile")) {
        let metadata = SeriesMetadata::decode(text.as_bytes()).unwrap();
        let parameters = varlen_parameters(&metadata).unwrap();
        let object = with_varlen(&parameters, None);
        let rewritten = SeriesMetadata {
            metadata: Some(object),
            ..metadata
        };
        assert_eq!(String::from_utf8(rewritten.encode()).unwrap(), *text);
        assert_eq!(without_varlen(&rewritten), None);
        seen += 1;
    }
    assert!(seen >= 10);
    let example = root(r#"{"size_field": 2, "length_profile": [10, 255]}"#, 12);
    let expected = VarlenParameters {
        length_profile: vec![10, 255],
        size_struct: 2,
        entries_per_chunk: 7,
    };
    assert_eq!(varlen_parameters(&example), Ok(expected));
}

#[test]
fn user_keys_stand_behind_the_varlen_parameters() {
    let parameters = VarlenParameters::default();
    let user = decode_object(br#"{"unit": "V", "size_field": 9, "length_profile": "x", "a": 1}"#).unwrap();
    let object = with_varlen(&parameters, Some(&user));
    assert_eq!(
        String::from_utf8(encode_object(&object)).unwrap(),
        r#"{"size_field": 2, "length_profile": [10, 255], "unit": "V", "a": 1}"#
    );
    let mut metadata = SeriesMetadata::new_part(&parameters, 0);
    metadata.metadata = Some(object);
    assert_eq!(varlen_parameters(&metadata), Ok(parameters));
    let back = encode_object(&without_varlen(&metadata).unwrap());
    assert_eq!(String::from_utf8(back).unwrap(), r#"{"unit": "V", "a": 1}"#);
}

#[test]
fn wrong_varlen_parameters_are_named() {
    let reason = |metadata: &str, block_size| match varlen_parameters(&root(metadata, block_size)) {
        Err(Damage::Metadata(reason)) => reason,
        other => panic!("{metadata}: {other:?}"),
    };
    assert_eq!(reason("null", 12), "the key \"metadata\" of a varlen series is missing");
    assert_eq!(reason("{}", 12), "size_field of a varlen series is missing");
    assert_eq!(
        reason(r#"{"size_field": 2}"#, 12),
        "length_profile of a varlen series is missing"
    );
    assert_eq!(
        reason(r#"{"size_field": 5, "length_profile": [7]}"#, 12),
        "size_field is 5, it is 1 to 4"
    );
    assert_eq!(
        reason(r#"{"size_field": 0, "length_profile": [12]}"#, 12),
        "size_field is 0, it is 1 to 4"
    );
    assert_eq!(
        reason(r#"{"size_field": 2, "length_profile": []}"#, 2),
        "length_profile is not a list of lengths"
    );
    assert_eq!(
        reason(r#"{"size_field": 2, "length_profile": 10}"#, 12),
        "length_profile is not a list of lengths"
    );
    assert_eq!(
        reason(r#"{"size_field": 2, "length_profile": [10, null]}"#, 12),
        "length_profile is null, not a number"
    );
    for (profile, block_size) in [("[0]", 2), ("[10, 0]", 12), ("[0, 0, 8]", 2), ("[10, 16777217]", 12)] {
        let text = format!(r#"{{"size_field": 2, "length_profile": {profile}}}"#);
        assert!(reason(&text, block_size).contains("has length"), "{profile}");
    }
    assert_eq!(
        reason(r#"{"size_field": 2, "length_profile": [10]}"#, 13),
        "block_size is 13, size_field and length_profile make it 12"
    );
}

#[test]
fn new_series_are_described_as_tempsdb_does() {
    let fixed = SeriesMetadata::new(&FixedParameters {
        block_size: 32,
        entries_per_chunk: 1000,
        page_size: 5000,
    });
    let varlen = VarlenParameters {
        length_profile: vec![16, 64, 256],
        size_struct: 3,
        entries_per_chunk: 20,
    };
    let written = [fixed]
        .into_iter()
        .chain([0, 1, 2, 5].map(|part| SeriesMetadata::new_part(&varlen, part)));
    for metadata in written {
        let text = String::from_utf8(metadata.encode()).unwrap();
        assert!(BY_TEMPSDB.contains(&text.as_str()), "{text}");
    }
}

#[test]
fn objects_that_could_not_be_read_back_are_refused() {
    let nested = |levels: usize| {
        let text = "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1);
        decode_object(text.as_bytes()).unwrap()
    };
    assert!(check_object(&nested(511)).is_ok());
    let stored = SeriesMetadata {
        metadata: Some(nested(511)),
        ..SeriesMetadata::new(&FixedParameters::default())
    };
    assert_eq!(SeriesMetadata::decode(&stored.encode()), Ok(stored));
    assert!(check_object(&nested(512)).is_err());
    let long = |length| Map::from_iter([("a".to_owned(), Value::from("x".repeat(length)))]);
    assert!(check_object(&long(8_000_000)).is_ok());
    assert!(check_object(&long(9_000_000)).is_err());
}

proptest! {
    #[test]
    fn every_metadata_comes_back(
        block_size in 0_u32..=1 << 24,
        max_entries_per_chunk in 0_u32..=0x7fff_ffff,
        last_entry_synced in any::<u64>(),
        page_size in 1_u32..=1 << 30,
        user in prop::option::of(json::tests::any_value()),
        gzip_level in prop::option::of(any::<u32>()),
    ) {
        // One trip through text gives numbers the spelling that a file has.
        let user = user.map(|user| json::decode(json::tests::encode(&user).as_bytes()).unwrap());
        let metadata = user.and_then(|user| user.as_object().cloned());
        let x = SeriesMetadata { block_size, max_entries_per_chunk, last_entry_synced, page_size, metadata, gzip_level };
        prop_assert_eq!(SeriesMetadata::decode(&x.encode()), Ok(x));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(metadata) = SeriesMetadata::decode(&bytes) {
            let _ = varlen_parameters(&metadata);
        }
    }

    #[test]
    fn any_damaged_text_is_read_or_refused(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = BY_TEMPSDB[which.index(BY_TEMPSDB.len())].as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(metadata) = SeriesMetadata::decode(&bytes) {
            prop_assert_eq!(SeriesMetadata::decode(&metadata.encode()), Ok(metadata.clone()));
            let _ = varlen_parameters(&metadata);
        }
    }
}
