use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{
    PartRecord, SeriesRecord, SnapshotRecord, parse_pin_name, pin_name, since_1970, snapshot_number_of, system_time,
};
use crate::series::{Damage, Kind, SeriesId, SeriesKey, Timestamp};

const FIXED: &str = r#"{"block_size": 8, "max_entries_per_chunk": 100, "last_entry_synced": 0, "page_size": 4096, "metadata": {"unit": "\u017c"}}"#;
const ROOT: &str = r#"{"block_size": 12, "max_entries_per_chunk": 7, "last_entry_synced": 5, "page_size": 4096, "metadata": {"size_field": 2, "length_profile": [10, 255]}}"#;

fn part(block_size: u32, max_entries_per_chunk: u32, chunks: Option<(u64, u64, u32)>) -> PartRecord {
    PartRecord {
        block_size,
        page_size: 4096,
        max_entries_per_chunk,
        first_chunk: chunks.map(|(first, _, _)| Timestamp(first)),
        last_chunk: chunks.map(|(_, last, _)| Timestamp(last)),
        last_chunk_entries: chunks.map_or(0, |(_, _, entries)| entries),
    }
}

fn example() -> SnapshotRecord {
    SnapshotRecord {
        number: 3,
        name: "before the move".to_owned(),
        created: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        tags: BTreeSet::from(["backup".to_owned(), "żółć".to_owned()]),
        series: vec![
            SeriesRecord {
                id: SeriesId(7),
                kind: Kind::Fixed,
                name: "a".to_owned(),
                parts: vec![part(8, 100, Some((1000, u64::MAX, 42)))],
                metadata: FIXED.to_owned(),
            },
            SeriesRecord {
                id: SeriesId(9),
                kind: Kind::Varlen,
                name: "a".to_owned(),
                parts: vec![
                    part(12, 7, Some((5, 5, 1))),
                    part(255, 7, Some((5, 9, 7))),
                    part(255, 7, None),
                ],
                metadata: ROOT.to_owned(),
            },
        ],
    }
}

/// The example, by hand.
fn example_text() -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        concat!(
            r#"{{"version":1,"number":3,"name":"before the move","created_seconds":1700000000,"#,
            r#""created_nanoseconds":123456789,"tags":["backup","żółć"],"series":["#,
            r#"{{"id":7,"kind":"fixed","name":"a","metadata":"{}","parts":["#,
            r#"{{"block_size":8,"page_size":4096,"max_entries_per_chunk":100,"#,
            r#""first_chunk":1000,"last_chunk":18446744073709551615,"last_chunk_entries":42}}]}},"#,
            r#"{{"id":9,"kind":"varlen","name":"a","metadata":"{}","parts":["#,
            r#"{{"block_size":12,"page_size":4096,"max_entries_per_chunk":7,"first_chunk":5,"last_chunk":5,"last_chunk_entries":1}},"#,
            r#"{{"block_size":255,"page_size":4096,"max_entries_per_chunk":7,"first_chunk":5,"last_chunk":9,"last_chunk_entries":7}},"#,
            r#"{{"block_size":255,"page_size":4096,"max_entries_per_chunk":7,"first_chunk":null,"last_chunk":null,"last_chunk_entries":0}}"#,
            r#"]}}]}}"#
        ),
        quoted(FIXED),
        quoted(ROOT)
    )
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

fn damage(text: &str) -> String {
    match SnapshotRecord::decode(text.as_bytes(), is_name) {
        Err(Damage::Metadata(reason)) => reason,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn text_is_as_documented() {
    assert_eq!(String::from_utf8(example().encode()).unwrap(), example_text());
    assert_eq!(
        SnapshotRecord::decode(example_text().as_bytes(), is_name),
        Ok(example())
    );
    assert_eq!(example().series[1].key(), SeriesKey::varlen("a"));
}

#[test]
fn chunks_between_the_first_and_the_last_are_needed() {
    let record = example();
    let needed = |id, part, first| {
        let mut series = record.series.iter();
        series.any(|series| series.id == SeriesId(id) && series.needs(part, Timestamp(first)))
    };
    assert!(needed(7, 0, 1000) && needed(7, 0, 1001) && needed(7, 0, u64::MAX));
    assert!(!needed(7, 0, 999) && !needed(7, 1, 1000) && !needed(8, 0, 1000));
    assert!(needed(9, 1, 9) && !needed(9, 0, 9) && !needed(9, 2, 5) && !needed(9, u32::MAX, 5));
}

#[test]
fn each_wrong_field_is_named() {
    let with = |from: &str, to: &str| {
        let text = example_text();
        assert!(text.contains(from), "{from}");
        damage(&text.replacen(from, to, 1))
    };
    let table = [
        (
            r#""version":1"#,
            r#""version":2"#,
            "snapshot: of version 2, this program reads version 1",
        ),
        (r#""number":3"#, r#""number":0"#, "snapshot: it has number 0"),
        ("before the move", "a/b", "snapshot: \"a/b\" cannot be a name"),
        (r#""backup""#, r#""""#, "snapshot: \"\" cannot be a name"),
        (r#""backup""#, r#""żółć""#, "snapshot: a tag is there twice"),
        (
            "123456789",
            "1000000000",
            "snapshot: it was made at a time beyond reason",
        ),
        (
            r#""name":"a""#,
            r#""name":"../a""#,
            "snapshot: \"../a\" cannot be a name",
        ),
        (
            r#""kind":"fixed""#,
            r#""kind":"odd""#,
            "snapshot: series \"a\" is of kind \"odd\"",
        ),
        (
            r#""id":7"#,
            r#""id":9"#,
            "snapshot: series \"a\" has number 9, which it cannot have",
        ),
        (
            r#""id":7"#,
            r#""id":0"#,
            "snapshot: series \"a\" has number 0, which it cannot have",
        ),
        (
            r#""kind":"varlen""#,
            r#""kind":"fixed""#,
            "snapshot: series \"a\" is there twice",
        ),
        (
            r#""kind":"fixed""#,
            r#""kind":"varlen""#,
            "snapshot: series \"a\": metadata: size_field of a varlen series is missing",
        ),
        (
            r#"{\"block_size\": 8,"#,
            r#"{"#,
            "snapshot: series \"a\": metadata: block_size is missing",
        ),
        (
            r#"{"block_size":8,"#,
            r#"{"block_size":9,"#,
            "snapshot: series \"a\": part 0 has block size 9, its metadata makes it 8",
        ),
        (
            r#"{"block_size":255,"#,
            r#"{"block_size":10,"#,
            "snapshot: series \"a\": part 1 has block size 10, its metadata makes it 255",
        ),
        (
            r#""page_size":4096"#,
            r#""page_size":0"#,
            "snapshot: series \"a\": part 0: page size is out of range",
        ),
        (
            r#""max_entries_per_chunk":100"#,
            r#""max_entries_per_chunk":2147483648"#,
            "snapshot: series \"a\": part 0: entries per chunk are out of range",
        ),
    ];
    for (from, to, reason) in table {
        assert_eq!(with(from, to), reason);
    }
    for (from, to) in [
        (r#""first_chunk":5,"last_chunk":9"#, r#""first_chunk":9,"last_chunk":5"#),
        (r#""first_chunk":5,"#, r#""first_chunk":null,"#),
        (r#""last_chunk_entries":42"#, r#""last_chunk_entries":0"#),
        (r#""last_chunk_entries":0"#, r#""last_chunk_entries":1"#),
    ] {
        assert!(with(from, to).ends_with("do not fit"), "{from}");
    }
    assert!(with("{\"block_size\":8,", "{\"odd\":1,\"block_size\":8,").contains("unknown field `odd`"));
    for text in ["", "[]", "null", "{}", r#"{"version":-1}"#, r#"{"version":1}"#] {
        assert!(damage(text).starts_with("snapshot: "), "{text}");
    }
    for end in 0..example_text().len() {
        assert!(
            SnapshotRecord::decode(&example_text().as_bytes()[..end], is_name).is_err(),
            "cut at {end}"
        );
    }
    damage(&"[".repeat(1_000_000));
}

#[test]
fn fixed_series_has_one_part_and_any_series_at_least_one() {
    let mut record = example();
    record.series[0].parts.push(part(8, 100, None));
    assert!(damage(&String::from_utf8(record.encode()).unwrap()).ends_with("it cannot have 2 parts"));
    for series in 0..2 {
        let mut record = example();
        record.series[series].parts.clear();
        assert!(damage(&String::from_utf8(record.encode()).unwrap()).ends_with("it cannot have 0 parts"));
    }
}

#[test]
fn file_names_are_parsed_as_they_are_made_and_no_other_way() {
    assert_eq!(
        pin_name(SeriesId(7), 2, Timestamp(u64::MAX)),
        ".headstack.pin.7.2.18446744073709551615"
    );
    let parsed = parse_pin_name(".headstack.pin.7.2.18446744073709551615");
    assert_eq!(parsed, Some((SeriesId(7), 2, Timestamp(u64::MAX))));
    for other in [
        ".headstack.pin.7.2",
        ".headstack.pin.7.2.1.0",
        ".headstack.pin.0.2.1",
        ".headstack.pin.07.2.1",
        ".headstack.pin.7.+2.1",
        ".headstack.pin.7.2.18446744073709551616",
        ".headstack.pin.4294967296.2.1",
        ".headstack.pin.7.2.1 ",
        ".headstack.pin.7.2.",
        "headstack.pin.7.2.1",
        "",
    ] {
        assert_eq!(parse_pin_name(other), None, "{other}");
    }
    assert_eq!(example().file_name(), ".headstack.snapshot.3");
    assert_eq!(snapshot_number_of(".headstack.snapshot.3"), Some(3));
    for other in ["0", "03", "+3", "4294967296", "", "3.4"] {
        assert_eq!(
            snapshot_number_of(&format!(".headstack.snapshot.{other}")),
            None,
            "{other}"
        );
    }
    assert_eq!(snapshot_number_of(".headstack.catalogue"), None);
}

#[test]
fn moments_before_1970_come_back() {
    let moment = SystemTime::UNIX_EPOCH - Duration::new(1, 1);
    assert_eq!(since_1970(moment), (-2, 999_999_999));
    assert_eq!(since_1970(SystemTime::UNIX_EPOCH - Duration::from_secs(3)), (-3, 0));
    assert_eq!(system_time(-2, 999_999_999), Some(moment));
    let _ = (system_time(i64::MIN, 0), system_time(i64::MAX, 999_999_999));
}

fn parts(sizes: Vec<u32>) -> impl Strategy<Value = Vec<PartRecord>> {
    let extent = prop::option::of((any::<u64>(), any::<u64>(), 1..=u32::MAX));
    let page = (1..=1_u32 << 30, 0..=0x7fff_ffff_u32);
    sizes
        .into_iter()
        .map(|size| {
            (extent.clone(), page.clone()).prop_map(move |(extent, (page_size, entries))| PartRecord {
                page_size,
                ..part(
                    size,
                    entries,
                    extent.map(|(a, b, entries)| (a.min(b), a.max(b), entries)),
                )
            })
        })
        .collect::<Vec<_>>()
}

fn series() -> impl Strategy<Value = SeriesRecord> {
    let fixed = parts(vec![8]).prop_map(|parts| (Kind::Fixed, parts, FIXED));
    let sizes = (0..4_usize).prop_map(|more| [vec![12], vec![255; more]].concat());
    let varlen = sizes.prop_flat_map(parts).prop_map(|parts| (Kind::Varlen, parts, ROOT));
    (prop_oneof![fixed, varlen], "[^/]{1,12}").prop_map(|((kind, parts, metadata), name)| SeriesRecord {
        id: SeriesId(0),
        kind,
        name,
        parts,
        metadata: metadata.to_owned(),
    })
}

fn record() -> impl Strategy<Value = SnapshotRecord> {
    let all_series = prop::collection::btree_map(any::<String>(), series(), 0..6);
    let tags = prop::collection::btree_set("[^/]{1,8}", 0..4);
    let moment = (any::<i32>(), 0..1_000_000_000_u32).prop_map(|(seconds, rest)| system_time(seconds.into(), rest));
    (1..=u32::MAX, "[^/]{1,20}", moment, tags, all_series, Just(())).prop_map(
        |(number, name, created, tags, all_series, ())| {
            let mut series: Vec<_> = all_series.into_values().collect();
            for (i, series) in (1..).zip(&mut series) {
                series.id = SeriesId(i);
                series.name.push_str(&i.to_string());
            }
            SnapshotRecord {
                number,
                name,
                created: created.unwrap(),
                tags,
                series,
            }
        },
    )
}

proptest! {
    #[test]
    fn every_record_comes_back(record in record()) {
        prop_assert_eq!(SnapshotRecord::decode(&record.encode(), is_name), Ok(record));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(SnapshotRecord::decode(&bytes, is_name).is_err());
    }

    #[test]
    fn any_damaged_text_is_read_or_refused(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = example_text().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(record) = SnapshotRecord::decode(&bytes, is_name) {
            prop_assert_eq!(SnapshotRecord::decode(&record.encode(), is_name), Ok(record));
        }
    }

    #[test]
    fn every_pin_name_comes_back(id in 1..=u32::MAX, part: u32, first: u64) {
        let (id, first) = (SeriesId(id), Timestamp(first));
        prop_assert_eq!(parse_pin_name(&pin_name(id, part, first)), Some((id, part, first)));
    }
}
