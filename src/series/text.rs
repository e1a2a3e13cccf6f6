//! Text form of entries: one line an entry, `TIMESTAMP VALUE`, that parses back to the very bytes it was made from.
//!
//! Pure functions over bytes, shared by the mounted `text` files and the command line. The timestamp is printed with
//! 20 digits, so lines sort as text. In a fixed series every line has the same width, so the line of entry `i` starts
//! at byte `i * width`:
//!
//! | format | value of `n` bytes is printed as | width |
//! |---|---|---|
//! | `hex` | lower case pairs | `2n` |
//! | `base64` | padded RFC 4648 | `4 * ceil(n / 3)` |
//! | `utf8` | itself without trailing NULs, or `\x` and hex where it would not parse back; padded with spaces | `2n + 2` |
//! | `u64` | little endian, 20 digits | 20 |
//! | `i64` | little endian, a sign and 19 digits | 20 |
//! | `f64` | little endian, shortest decimal that parses back, `nan:0xBITS` for odd NaNs; padded with spaces | 24 |
//!
//! In a variable-length series `utf8` is not padded and keeps its NUL bytes in the hex form; the three numbers are not
//! offered. Input may be shorter: fewer digits, upper case hex, a value without its padding.

use std::{fmt, str::FromStr};

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::{Map, Number, Value};

use crate::series::Timestamp;

/// Key of a series' metadata that names its format.
pub const FORMAT_KEY: &str = "format";
/// Digits of a printed timestamp.
pub const TIMESTAMP_DIGITS: usize = 20;
/// Columns of a printed `u64` and `i64`.
const INTEGER_WIDTH: usize = 20;
/// Columns of a printed `f64`: `-2.2250738585072014e-308`.
const FLOAT_WIDTH: usize = 24;
/// Introduces the hex form of a value that is not clean text.
const ESCAPE: &[u8] = b"\\x";

/// How a value is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Pairs of hexadecimal digits.
    #[default]
    Hex,
    /// RFC 4648 with padding.
    Base64,
    /// Text, with a hexadecimal escape for whatever is not.
    Utf8,
    /// Unsigned little-endian integer of 8 bytes.
    U64,
    /// Signed little-endian integer of 8 bytes.
    I64,
    /// Little-endian IEEE 754 number of 8 bytes.
    F64,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Hex, Self::Base64, Self::Utf8, Self::U64, Self::I64, Self::F64];

    /// The word for it in options, attributes and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Utf8 => "utf8",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// True where values of a series can be written so: numbers need a fixed series of 8 byte values.
    pub fn suits(self, block_size: Option<usize>) -> bool {
        match self {
            Self::Hex | Self::Base64 | Self::Utf8 => true,
            Self::U64 | Self::I64 | Self::F64 => block_size == Some(8),
        }
    }

    /// The format that a series' metadata asks for; hex where it names none, or none that suits.
    pub fn of_metadata(metadata: Option<&Map<String, Value>>, block_size: Option<usize>) -> Self {
        metadata
            .and_then(|map| map.get(FORMAT_KEY)?.as_str()?.parse::<Self>().ok())
            .filter(|format| format.suits(block_size))
            .unwrap_or_default()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = TextError;

    fn from_str(name: &str) -> Result<Self, TextError> {
        // The layout's specification calls it `str`; metadata and the command line say `utf8`.
        let wanted = if name == "str" { "utf8" } else { name };
        Self::ALL
            .into_iter()
            .find(|format| format.name() == wanted)
            .ok_or_else(|| TextError::UnknownFormat { name: name.to_owned() })
    }
}

/// Why a line or a value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// No such format.
    #[error("{name:?} is no format: it is one of hex, base64, utf8, u64, i64, f64")]
    UnknownFormat {
        /// What was asked for.
        name: String,
    },
    /// The line does not begin with a timestamp.
    #[error("a line is `TIMESTAMP VALUE`; {found:?} is no timestamp from 0 to 18446744073709551615")]
    Timestamp {
        /// What stands there, cut to a readable length.
        found: String,
    },
    /// Nothing follows the timestamp.
    #[error("a line is `TIMESTAMP VALUE`; nothing follows timestamp {timestamp}")]
    NoValue {
        /// The timestamp.
        timestamp: Timestamp,
    },
    /// The value is not of its format.
    #[error("{found:?} is no {format} value")]
    Value {
        /// The series' format.
        format: Format,
        /// What stands there, cut to a readable length.
        found: String,
    },
    /// The value is longer than the series takes.
    #[error("value of {length} bytes where {limit} fit")]
    TooLong {
        /// Bytes of the value.
        length: u64,
        /// Greatest length in bytes.
        limit: u64,
    },
}

/// Prints and parses the entries of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    format: Format,
    block_size: Option<usize>,
    limit: u64,
}

impl Codec {
    /// For a fixed series; falls back on hex where `format` does not suit it.
    pub fn fixed(format: Format, block_size: usize) -> Self {
        let format = if format.suits(Some(block_size)) {
            format
        } else {
            Format::Hex
        };
        Self {
            format,
            block_size: Some(block_size),
            limit: block_size as u64,
        }
    }

    /// For a variable-length series whose values have at most `limit` bytes; falls back on hex for numbers.
    pub fn varlen(format: Format, limit: u64) -> Self {
        let format = if format.suits(None) { format } else { Format::Hex };
        Self {
            format,
            block_size: None,
            limit,
        }
    }

    /// The format in use.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Columns of a value of `length` bytes, or of any value in a fixed series; none where it depends on the bytes.
    fn value_width(&self, length: usize) -> Option<usize> {
        let n = self.block_size.unwrap_or(length);
        match self.format {
            Format::Hex => Some(2 * n),
            Format::Base64 => Some(n.div_ceil(3) * 4),
            Format::Utf8 => self.block_size.map(|n| 2 * n + ESCAPE.len()),
            Format::U64 | Format::I64 => Some(INTEGER_WIDTH),
            Format::F64 => Some(FLOAT_WIDTH),
        }
    }

    /// Bytes of every line of a fixed series with its newline; none for a variable-length one.
    pub fn line_width(&self) -> Option<usize> {
        let n = self.block_size?;
        Some(TIMESTAMP_DIGITS + 1 + self.value_width(n)? + 1)
    }

    /// Bytes of the line of a value of `length` bytes with its newline, where the length alone says it.
    pub fn line_width_of_length(&self, length: usize) -> Option<usize> {
        Some(TIMESTAMP_DIGITS + 1 + self.value_width(length)? + 1)
    }

    /// Bytes of the longest line that can be an entry of this series, with generous padding.
    pub fn longest_line(&self) -> u64 {
        let value = self.limit.saturating_mul(2).max(FLOAT_WIDTH as u64) + ESCAPE.len() as u64;
        value + 4 * TIMESTAMP_DIGITS as u64
    }

    /// Appends the line of an entry, newline included.
    pub fn push_line(&self, out: &mut Vec<u8>, timestamp: Timestamp, value: &[u8]) {
        push_timestamp(out, timestamp);
        out.push(b' ');
        self.push_value(out, value);
        out.push(b'\n');
    }

    /// A value as JSON has it: a number where JSON has one for it, else its text.
    pub fn json(&self, value: &[u8]) -> Value {
        let number = match (self.format, <[u8; 8]>::try_from(value)) {
            (Format::U64, Ok(bytes)) => Some(u64::from_le_bytes(bytes).into()),
            (Format::I64, Ok(bytes)) => Some(i64::from_le_bytes(bytes).into()),
            (Format::F64, Ok(bytes)) => Number::from_f64(f64::from_le_bytes(bytes)),
            _ => None,
        };
        number.map_or_else(
            || {
                let mut text = Vec::new();
                self.push_value(&mut text, value);
                let text = String::from_utf8_lossy(&text);
                let padded = self.line_width().is_some();
                Value::from(if padded { text.trim_end_matches(' ') } else { &text })
            },
            Value::Number,
        )
    }

    /// Appends the text of a value, padded where the series is fixed.
    pub fn push_value(&self, out: &mut Vec<u8>, value: &[u8]) {
        let start = out.len();
        match (self.format, <[u8; 8]>::try_from(value)) {
            (Format::Base64, _) => encode(out, value, &BASE64),
            (Format::Utf8, _) => self.push_utf8(out, value),
            (Format::U64, Ok(bytes)) => push_timestamp(out, Timestamp(u64::from_le_bytes(bytes))),
            (Format::I64, Ok(bytes)) => out.extend(format!("{:+020}", i64::from_le_bytes(bytes)).into_bytes()),
            (Format::F64, Ok(bytes)) => out.extend(float_text(f64::from_le_bytes(bytes)).into_bytes()),
            (Format::Hex | Format::U64 | Format::I64 | Format::F64, _) => encode(out, value, &HEXLOWER),
        }
        if let Some(width) = self.block_size.and_then(|n| self.value_width(n)) {
            out.resize(out.len().max(start + width), b' ');
        }
    }

    fn push_utf8(&self, out: &mut Vec<u8>, value: &[u8]) {
        let shown = match self.block_size {
            Some(_) => without_trailing(value, 0),
            None => value,
        };
        if self.is_clean(shown) {
            out.extend_from_slice(shown);
        } else {
            out.extend_from_slice(ESCAPE);
            encode(out, shown, &HEXLOWER);
        }
    }

    /// True where text parses back to the same bytes as it stands.
    fn is_clean(&self, shown: &[u8]) -> bool {
        let padding_eats_it = self.block_size.is_some() && shown.last() == Some(&b' ');
        let control = |&b: &u8| b < b' ' && b != b'\t' || b == 0x7f;
        !padding_eats_it && shown.first() != Some(&b'\\') && !shown.iter().any(control) && str::from_utf8(shown).is_ok()
    }

    /// Bytes of the line of a value with its newline, without making the line.
    pub fn line_length(&self, value: &[u8]) -> usize {
        self.line_width_of_length(value.len()).unwrap_or_else(|| {
            let text = if self.is_clean(value) {
                value.len()
            } else {
                ESCAPE.len() + 2 * value.len()
            };
            TIMESTAMP_DIGITS + 1 + text + 1
        })
    }

    /// Parses a line without its newline.
    ///
    /// # Errors
    /// Says which part of the line is wrong.
    pub fn parse_line(&self, line: &[u8]) -> Result<(Timestamp, Vec<u8>), TextError> {
        let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
        let (stamp, rest) = line.split_at(digits);
        let bad = || TextError::Timestamp { found: excerpt(line) };
        let timestamp = str::from_utf8(stamp)
            .ok()
            .and_then(|s| s.parse().ok())
            .ok_or_else(bad)?;
        match rest.split_first() {
            None => Err(TextError::NoValue { timestamp }),
            Some((b' ' | b'\t', value)) => Ok((timestamp, self.parse_value(value)?)),
            Some(_) => Err(bad()),
        }
    }

    /// Parses the text of a value; in a fixed series it may be shorter than a block.
    ///
    /// # Errors
    /// The text is not of the format, or the value is longer than the series takes.
    pub fn parse_value(&self, text: &[u8]) -> Result<Vec<u8>, TextError> {
        let keeps_spaces = self.format == Format::Utf8 && self.block_size.is_none();
        let text = if keeps_spaces {
            text
        } else {
            without_trailing(text, b' ')
        };
        let value = match self.format {
            Format::Hex => HEXLOWER_PERMISSIVE.decode(text).ok(),
            Format::Base64 => BASE64.decode(text).ok(),
            Format::Utf8 => match text.strip_prefix(ESCAPE) {
                // Lines of a fixed series may come to a variable-length one with their padding.
                Some(hex) => HEXLOWER_PERMISSIVE.decode(without_trailing(hex, b' ')).ok(),
                None => str::from_utf8(text).ok().map(|s| s.as_bytes().to_vec()),
            },
            Format::U64 => number(text, |s| s.parse::<u64>().ok().map(u64::to_le_bytes)),
            Format::I64 => number(text, |s| s.parse::<i64>().ok().map(i64::to_le_bytes)),
            Format::F64 => number(text, |s| parse_float(s).map(f64::to_le_bytes)),
        };
        let value = value.ok_or_else(|| TextError::Value {
            format: self.format,
            found: excerpt(text),
        })?;
        match value.len() as u64 {
            length if length > self.limit => Err(TextError::TooLong {
                length,
                limit: self.limit,
            }),
            _ => Ok(value),
        }
    }
}

/// The bytes before a trailing run of one byte.
fn without_trailing(bytes: &[u8], byte: u8) -> &[u8] {
    let kept = bytes.iter().rposition(|&b| b != byte).map_or(0, |i| i + 1);
    &bytes[..kept]
}

/// Appends 20 digits.
fn push_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    let mut digits = [b'0'; TIMESTAMP_DIGITS];
    let mut rest = timestamp.0;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

fn encode(out: &mut Vec<u8>, value: &[u8], encoding: &data_encoding::Encoding) {
    let start = out.len();
    out.resize(start + encoding.encode_len(value.len()), 0);
    encoding.encode_mut(value, &mut out[start..]);
}

/// The shortest text that parses back to the same bits, at most [`FLOAT_WIDTH`] long.
fn float_text(number: f64) -> String {
    if number.is_nan() && number.to_bits() != f64::NAN.to_bits() {
        return format!("nan:{:#018x}", number.to_bits());
    }
    format!("{number:?}")
}

fn parse_float(text: &str) -> Option<f64> {
    match text.strip_prefix("nan:0x") {
        Some(bits) => u64::from_str_radix(bits, 16)
            .ok()
            .map(f64::from_bits)
            .filter(|f| f.is_nan()),
        None => text.parse().ok(),
    }
}

fn number(text: &[u8], parse: impl Fn(&str) -> Option<[u8; 8]>) -> Option<Vec<u8>> {
    parse(str::from_utf8(text).ok()?.trim_start_matches(' ')).map(|bytes| bytes.to_vec())
}

/// What a message quotes of bad input.
fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    fn line(codec: Codec, timestamp: u64, value: &[u8]) -> String {
        let mut out = Vec::new();
        codec.push_line(&mut out, Timestamp(timestamp), value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_as_the_manual_shows_them() {
        let n = |bytes: u64| bytes.to_le_bytes();
        assert_eq!(
            line(Codec::fixed(Format::Hex, 3), 5, b"\x01\xab\xff"),
            "00000000000000000005 01abff\n"
        );
        assert_eq!(
            line(Codec::fixed(Format::Base64, 4), 5, b"abcd"),
            "00000000000000000005 YWJjZA==\n"
        );
        assert_eq!(
            line(Codec::fixed(Format::Utf8, 4), 5, b"ab\0\0"),
            "00000000000000000005 ab        \n"
        );
        assert_eq!(
            line(Codec::fixed(Format::Utf8, 4), 5, b"a\nb\0"),
            "00000000000000000005 \\x610a62  \n"
        );
        assert_eq!(
            line(Codec::fixed(Format::Utf8, 2), 5, b"a "),
            "00000000000000000005 \\x6120\n"
        );
        assert_eq!(
            line(Codec::fixed(Format::U64, 8), u64::MAX, &n(7)),
            "18446744073709551615 00000000000000000007\n"
        );
        assert_eq!(
            line(Codec::fixed(Format::I64, 8), 0, &n(u64::MAX)),
            "00000000000000000000 -0000000000000000001\n"
        );
        assert_eq!(
            line(Codec::fixed(Format::F64, 8), 0, &1.5f64.to_le_bytes()),
            "00000000000000000000 1.5                     \n"
        );
        assert_eq!(
            line(Codec::varlen(Format::Utf8, 99), 1, "zwölf ".as_bytes()),
            "00000000000000000001 zwölf \n"
        );
        assert_eq!(line(Codec::varlen(Format::Hex, 99), 1, b""), "00000000000000000001 \n");
    }

    #[test]
    fn short_input_is_understood() {
        let hex = Codec::fixed(Format::Hex, 4);
        assert_eq!(hex.parse_line(b"7 AbCd"), Ok((Timestamp(7), vec![0xab, 0xcd])));
        assert_eq!(hex.parse_line(b"007\tff  "), Ok((Timestamp(7), vec![0xff])));
        let float = Codec::fixed(Format::F64, 8);
        assert_eq!(
            float.parse_line(b"7 -1e3"),
            Ok((Timestamp(7), (-1000f64).to_le_bytes().to_vec()))
        );
        assert_eq!(
            Codec::varlen(Format::Utf8, 9).parse_line(b"7 "),
            Ok((Timestamp(7), vec![]))
        );
    }

    #[test]
    fn bad_lines_say_which_part_is_wrong() {
        let hex = Codec::fixed(Format::Hex, 2);
        assert!(matches!(hex.parse_line(b""), Err(TextError::Timestamp { .. })));
        assert!(matches!(hex.parse_line(b"-1 00"), Err(TextError::Timestamp { .. })));
        assert!(matches!(
            hex.parse_line(b"18446744073709551616 00"),
            Err(TextError::Timestamp { .. })
        ));
        assert!(matches!(hex.parse_line(b"5,00"), Err(TextError::Timestamp { .. })));
        assert_eq!(
            hex.parse_line(b"5"),
            Err(TextError::NoValue {
                timestamp: Timestamp(5)
            })
        );
        assert!(matches!(hex.parse_line(b"5 0"), Err(TextError::Value { .. })));
        assert_eq!(
            hex.parse_line(b"5 010203"),
            Err(TextError::TooLong { length: 3, limit: 2 })
        );
        assert!(matches!(
            Codec::fixed(Format::U64, 8).parse_line(b"5 -1"),
            Err(TextError::Value { .. })
        ));
        assert!(matches!(
            Codec::fixed(Format::Utf8, 8).parse_line(b"5 \xff"),
            Err(TextError::Value { .. })
        ));
    }

    #[test]
    fn numbers_fall_back_on_hex_where_they_do_not_suit() {
        assert_eq!(Codec::fixed(Format::U64, 4).format(), Format::Hex);
        assert_eq!(Codec::varlen(Format::F64, 99).format(), Format::Hex);
        let asked = serde_json::json!({"format": "i64"});
        assert_eq!(Format::of_metadata(asked.as_object(), Some(8)), Format::I64);
        assert_eq!(Format::of_metadata(asked.as_object(), Some(9)), Format::Hex);
        assert_eq!(Format::of_metadata(None, Some(8)), Format::Hex);
        assert_eq!("str".parse(), Ok(Format::Utf8));
    }

    proptest! {
        #[test]
        fn every_value_of_a_fixed_series_parses_back_and_has_the_width(
            timestamp: u64, value in prop::collection::vec(any::<u8>(), 1..40), words in "[ -~\\\\\0]{8}"
        ) {
            for value in [&value[..], words.as_bytes(), &words.as_bytes()[..8]] {
                for format in Format::ALL {
                    let codec = Codec::fixed(format, value.len());
                    let mut out = Vec::new();
                    codec.push_line(&mut out, Timestamp(timestamp), value);
                    prop_assert_eq!(Some(out.len()), codec.line_width());
                    prop_assert!(out.len() as u64 <= codec.longest_line());
                    prop_assert!(!out[..out.len() - 1].contains(&b'\n'));
                    let (back, mut bytes) = codec.parse_line(&out[..out.len() - 1]).unwrap();
                    bytes.resize(value.len(), 0);
                    prop_assert_eq!((back.0, &bytes[..]), (timestamp, value));
                }
            }
        }

        #[test]
        fn every_value_of_a_varlen_series_parses_back_and_has_the_length(
            timestamp: u64, value in prop::collection::vec(any::<u8>(), 0..40), words in "[ -~\\\\\0]{0,8}"
        ) {
            for value in [&value[..], words.as_bytes()] {
                for format in Format::ALL {
                    let codec = Codec::varlen(format, 100);
                    let mut out = Vec::new();
                    codec.push_line(&mut out, Timestamp(timestamp), value);
                    prop_assert_eq!(out.len(), codec.line_length(value));
                    prop_assert!(!out[..out.len() - 1].contains(&b'\n'));
                    prop_assert_eq!(codec.parse_line(&out[..out.len() - 1]), Ok((Timestamp(timestamp), value.to_vec())));
                }
            }
        }

        #[test]
        fn every_float_parses_back_to_its_bits(bits: u64) {
            let text = float_text(f64::from_bits(bits));
            prop_assert!(text.len() <= FLOAT_WIDTH);
            prop_assert_eq!(parse_float(&text).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..60)) {
            for format in Format::ALL {
                let _ = Codec::fixed(format, 8).parse_line(&line);
                let _ = Codec::varlen(format, 8).parse_line(&line);
            }
        }
    }
}
