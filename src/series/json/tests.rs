use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, Decimal, MARK, decode, depth, write_value};

/// Text of one value.
pub(in crate::series) fn encode(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// Output of `json.dumps` of CPython 3.9.
const BY_PYTHON: &[(&str, &str)] = &[
    ("empty containers", r##"{"a": {}, "b": [], "c": ""}"##),
    ("constants", r##"[true, false, null]"##),
    (
        "ascii",
        r##"" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~""##,
    ),
    (
        "controls",
        r##""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\u007f\u0080\u009f\u00a0""##,
    ),
    (
        "latin and beyond",
        r##""\u00e9\u017c\u0142\u2028\u2029\ufeff\ufffe\uffff\ue000""##,
    ),
    ("astral", r##""\ud800\udc00\ud83d\ude00\udb40\udc01\udbff\udffe""##),
    ("noncharacter of ours, alone", r##""\udbff\udfff""##),
    (
        "unpaired",
        r##""\ud800 \udbff \udc00 \udfff \udc00\ud800 \ud83d\ud83d""##,
    ),
    ("not finite", r##"[NaN, Infinity, -Infinity]"##),
    ("names of them", r##"["NaN", "Infinity", "-Infinity"]"##),
    ("keys", r##"{"k\u017c\"\\/": 1, "": 2, "\ud800": 3, "NaN": 4}"##),
    (
        "integers",
        r##"[0, -1, 2147483648, 9223372036854775808, 18446744073709551615, 18446744073709551616, -1180591620717411303424, 10000000000000000000000000000000000000000]"##,
    ),
    (
        "round floats",
        r##"[0.0, -0.0, 1.0, -1.0, 10.0, 100000.0, 1000000000000000.0, 1e+16, 1e+17, 1e+22, 1e+23, 1e+100, -1e+16]"##,
    ),
    (
        "small floats",
        r##"[0.1, 0.01, 0.001, 0.0001, 1e-05, 1e-05, 1.5e-05, 1e-10, 1e-100, 5e-324, 2.2250738585072014e-308]"##,
    ),
    (
        "long floats",
        r##"[0.30000000000000004, 0.3333333333333333, 6666666666666666.0, 123456789.125, 1.7976931348623157e+308, 9007199254740992.0, 1234567890123456.8, 1.2345678901234568e+16, 0.00012345, 1.2345e-05, 4.35, 5.684341886080802e-14, 1.152921504606847e+18]"##,
    ),
    (
        "nested",
        r##"{"unit": "kPa", "nested": {"a": [1, 2.5, null, true, "\u017c", [[]]]}}"##,
    ),
];

#[test]
fn text_written_by_python_comes_back_byte_for_byte() {
    for (name, text) in BY_PYTHON {
        let value = decode(text.as_bytes()).unwrap();
        assert_eq!(encode(&value), *text, "{name}");
    }
}

#[test]
fn floats_made_here_print_as_python_repr() {
    // Left: the double; right: CPython's repr of it.
    let table: &[(f64, &str)] = &[
        (1e16, "1e+16"),
        (1e15, "1000000000000000.0"),
        (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
        (1e-4, "0.0001"),
        (1e-5, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (1e100, "1e+100"),
        (-2.5e-100, "-2.5e-100"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (100.0, "100.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
    ];
    for (double, repr) in table {
        assert_eq!(encode(&Value::Number(Number::from_f64(*double).unwrap())), *repr);
    }
}

#[test]
fn numbers_that_no_double_holds_keep_their_digits() {
    for text in [
        "0.1000000000000000055511151231257827",
        "1e+400",
        "-1e-400",
        "1e+99999999999999999999999",
        "12345678901234567890123456789",
    ] {
        assert_eq!(encode(&decode(text.as_bytes()).unwrap()), text);
    }
    for (text, repr) in [
        ("1E5", "100000.0"),
        ("1.50", "1.5"),
        ("0.00e7", "0.0"),
        ("1e0", "1.0"),
        ("-0", "-0"),
    ] {
        assert_eq!(encode(&decode(text.as_bytes()).unwrap()), repr);
    }
}

#[test]
fn last_of_two_equal_keys_wins_in_the_place_of_the_first() {
    // json.dumps(json.loads(text)) of CPython 3.9.
    let value = decode(br#"{"a":1,"b":2,"a":3}"#).unwrap();
    assert_eq!(encode(&value), r#"{"a": 3, "b": 2}"#);
}

#[test]
fn compact_text_with_escaped_slashes_is_read() {
    let value = decode(b" {\"path\":\"a\\/b\" ,\n\t\"x\":[1,2]}\r\n").unwrap();
    assert_eq!(encode(&value), r#"{"path": "a/b", "x": [1, 2]}"#);
}

#[test]
fn what_python_refuses_is_refused_with_its_place() {
    let table = [
        ("", "text ends too early at byte 0"),
        ("  ", "text ends too early at byte 2"),
        ("{", "text ends too early at byte 1"),
        ("[1,", "text ends too early at byte 3"),
        ("[1,]", "unexpected character at byte 3"),
        (r#"{"a":1,}"#, "unexpected character at byte 7"),
        ("{1:2}", "unexpected character at byte 1"),
        ("{NaN:2}", "unexpected character at byte 1"),
        (r#"{"a" 1}"#, "unexpected character at byte 5"),
        ("nul", "unexpected character at byte 0"),
        ("a value", "unexpected character at byte 0"),
        ("-", "a digit is missing at byte 1"),
        ("01", "text after the end at byte 1"),
        ("1.", "a digit is missing at byte 2"),
        (".5", "unexpected character at byte 0"),
        ("1e", "a digit is missing at byte 2"),
        ("+1", "unexpected character at byte 0"),
        ("-NaN", "a digit is missing at byte 1"),
        ("Infinit", "a digit is missing at byte 0"),
        ("1 2", "text after the end at byte 2"),
        ("\"abc", "text ends in a string at byte 4"),
        ("\"a\\", "text ends in a string at byte 3"),
        ("\"a\nb\"", "control character in a string at byte 2"),
        (r#""\x""#, "bad escape at byte 2"),
        (r#""\u12""#, "bad escape at byte 3"),
        (r#""\u12g4""#, "bad escape at byte 3"),
        (r#""\u+123""#, "bad escape at byte 3"),
        (r#""\ud800\uzzzz""#, "bad escape at byte 9"),
        ("\u{feff}{}", "unexpected character at byte 0"),
    ];
    for (text, reason) in table {
        assert_eq!(decode(text.as_bytes()).unwrap_err(), reason, "{text:?}");
    }
    assert_eq!(decode(b"\"a\xff\"").unwrap_err(), "not UTF-8 at byte 2");
}

#[test]
fn text_that_spells_out_a_stand_in_is_refused_rather_than_changed() {
    for text in [
        "\u{10ffff}NaN",
        "\u{10ffff}-Infinity",
        "x\u{10ffff}\u{f0000}",
        "\u{10ffff}\u{f07ff}",
    ] {
        let plain = format!("[\"{text}\"]");
        assert!(
            decode(plain.as_bytes())
                .unwrap_err()
                .contains("cannot be kept, at byte 1"),
            "{text:?}"
        );
    }
    // Both a real noncharacter and an unpaired surrogate: nothing is mistaken, so nothing is refused.
    let both = r#""\udbff\udfff\ud800 \udbff\udfffnan \udb80\udc00""#;
    assert_eq!(encode(&decode(both.as_bytes()).unwrap()), both);
    let mixed = r#""\ud800 \udbff\udfff\udb80\udc00""#;
    assert!(decode(mixed.as_bytes()).is_err());
}

#[test]
fn stand_ins_are_plain_strings_to_other_json_libraries() {
    let value = decode(br#"[NaN, "\ud800"]"#).unwrap();
    assert_eq!(value[0], Value::String(format!("{MARK}NaN")));
    let through_serde = serde_json::from_str::<Value>(&value.to_string()).unwrap();
    assert_eq!(encode(&through_serde), r#"[NaN, "\ud800"]"#);
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let deepest = decode(nested(DEPTH_MAX).as_bytes()).unwrap();
    assert_eq!(depth(&deepest), DEPTH_MAX);
    assert_eq!(encode(&deepest), nested(DEPTH_MAX));
    assert!(
        decode(nested(DEPTH_MAX + 1).as_bytes())
            .unwrap_err()
            .contains("too deeply")
    );
    assert!(decode("[".repeat(1_000_000).as_bytes()).is_err());
    assert!(decode("{\"a\":".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn decimals_compare_by_value() {
    assert_eq!(Decimal::parse("1200"), Decimal::parse("0.0012e6"));
    assert_eq!(Decimal::parse("0"), Decimal::parse("0.00e99"));
    assert_ne!(Decimal::parse("-1"), Decimal::parse("1"));
    assert_eq!(Decimal::parse("1e9999999999999999999"), None);
}

/// Any value; floats are finite.
pub(in crate::series) fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        any::<String>().prop_map(Value::String),
        prop_oneof![Just("NaN"), Just("Infinity"), Just("-Infinity")]
            .prop_map(|name| Value::String(format!("{MARK}{name}"))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Equality that looks at the value of a number, not at its spelling.
pub(in crate::series) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        _ => a == b,
    }
}

proptest! {
    #[test]
    fn every_value_comes_back(value in any_value()) {
        let text = encode(&value);
        prop_assert!(text.is_ascii());
        let back = decode(text.as_bytes()).unwrap();
        prop_assert!(same(&value, &back), "{text}");
        prop_assert_eq!(encode(&back), text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_text_of_json_letters_is_read_or_refused_and_what_is_read_comes_back(
        text in r#"[\[\]{}:, "\\udbf8D0-9eE.+\-aNIn\u{10ffff}\u{f0000}]{0,40}"#,
    ) {
        if let Ok(value) = decode(text.as_bytes()) {
            let again = encode(&value);
            prop_assert_eq!(decode(again.as_bytes()), Ok(value));
        }
    }

    #[test]
    fn every_surrogate_sequence_comes_back(units in prop::collection::vec(0xd7ff_u16..=0xe000, 0..8)) {
        let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let text = format!("\"{escapes}\"");
        match decode(text.as_bytes()) {
            Ok(value) => prop_assert_eq!(encode(&value), text),
            Err(reason) => prop_assert!(reason.contains("U+10FFFF"), "{}", reason),
        }
    }
}
