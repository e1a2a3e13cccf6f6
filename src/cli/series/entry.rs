//! Entries on their way out: lines, JSON or binary records.
//!
//! Lines are those of the mount's `text` files and binary records of a fixed series those of its `raw` file, so what
//! is learnt of one holds for the other.

use anyhow::Result;
use serde_json::{Map, Value};

use crate::{
    cli::output::{Data, Output},
    series::{Kind, Timestamp, text::Codec},
};

/// How entries are written.
#[derive(Debug, Clone, Copy)]
pub enum EntryForm {
    /// A line each, as in the mount's `text` files: the timestamp, a space, the value.
    Lines(Codec),
    /// A list in one JSON document.
    Json(Codec),
    /// Binary records as in the mount's `raw` files.
    Raw(Kind),
}

/// Writes the entries of one series to standard output.
#[derive(Debug)]
pub struct EntryWriter {
    data: Data,
    form: EntryForm,
    any: bool,
}

impl EntryWriter {
    /// Begins; `facts` stand before the list in JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn begin(output: &Output, form: EntryForm, facts: Map<String, Value>) -> Result<Self> {
        let mut data = Data::open()?;
        if matches!(form, EntryForm::Json(_)) {
            let mut head = output.version();
            head.extend(facts);
            let mut text = serde_json::to_vec(&head)?;
            text.pop();
            text.extend_from_slice(b",\"entries\":[");
            data.write(&text)?;
        }
        Ok(Self { data, form, any: false })
    }

    /// Writes records that are already packed as `raw` has them.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn records(&mut self, packed: &[u8]) -> Result<()> {
        self.data.write(packed)
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn entry(&mut self, timestamp: Timestamp, value: &[u8]) -> Result<()> {
        let (form, first) = (self.form, !self.any);
        self.any = true;
        self.data.write_with(|buffer| {
            match form {
                EntryForm::Lines(codec) => codec.push_line(buffer, timestamp, value),
                EntryForm::Json(codec) => {
                    buffer.extend_from_slice(if first { b"\n" } else { b",\n" });
                    json(buffer, timestamp, value, &codec)?;
                }
                EntryForm::Raw(kind) => record(buffer, timestamp, value, kind),
            }
            Ok(())
        })
    }

    /// Ends.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if matches!(self.form, EntryForm::Json(_)) {
            self.data.write(b"\n]}\n")?;
        }
        self.data.finish()
    }
}

/// Adds the object of an entry. Numbers are JSON numbers, except the floats that JSON has no number for.
fn json(buffer: &mut Vec<u8>, timestamp: Timestamp, value: &[u8], codec: &Codec) -> Result<()> {
    let object = serde_json::json!({"timestamp": timestamp.0, "value": codec.json(value)});
    Ok(serde_json::to_writer(buffer, &object)?)
}

/// Adds the binary record of an entry: the timestamp, for a variable-length value its length in four bytes, the value.
fn record(buffer: &mut Vec<u8>, timestamp: Timestamp, value: &[u8], kind: Kind) {
    buffer.extend_from_slice(&timestamp.0.to_le_bytes());
    if kind == Kind::Varlen {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        buffer.extend_from_slice(&length.to_le_bytes());
    }
    buffer.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::{json, record};
    use crate::{
        series::text::{Codec, Format},
        series::{Kind, Timestamp},
    };

    #[test]
    fn an_object_has_numbers_where_json_has_them() {
        let object = |timestamp, value: &[u8], codec: Codec| {
            let mut buffer = Vec::new();
            json(&mut buffer, Timestamp(timestamp), value, &codec).unwrap();
            String::from_utf8(buffer).unwrap()
        };
        let number = |value: [u8; 8], format| object(7, &value, Codec::fixed(format, 8));
        assert_eq!(
            object(u64::MAX, &[0xab], Codec::fixed(Format::Hex, 1)),
            r#"{"timestamp":18446744073709551615,"value":"ab"}"#
        );
        assert_eq!(
            number(u64::MAX.to_le_bytes(), Format::U64),
            r#"{"timestamp":7,"value":18446744073709551615}"#
        );
        assert_eq!(
            number((-1_i64).to_le_bytes(), Format::I64),
            r#"{"timestamp":7,"value":-1}"#
        );
        assert_eq!(
            number(1.5_f64.to_le_bytes(), Format::F64),
            r#"{"timestamp":7,"value":1.5}"#
        );
        assert_eq!(
            number(f64::INFINITY.to_le_bytes(), Format::F64),
            r#"{"timestamp":7,"value":"inf"}"#
        );
        assert_eq!(
            object(7, b"a\"\0", Codec::fixed(Format::Utf8, 3)),
            r#"{"timestamp":7,"value":"a\""}"#
        );
        assert_eq!(
            object(7, b"a ", Codec::varlen(Format::Utf8, 9)),
            r#"{"timestamp":7,"value":"a "}"#
        );
    }

    #[test]
    fn a_record_is_packed() {
        let mut bytes = Vec::new();
        record(&mut bytes, Timestamp(0x0102), b"ab", Kind::Fixed);
        assert_eq!(bytes, b"\x02\x01\0\0\0\0\0\0ab");
        bytes.clear();
        record(&mut bytes, Timestamp(1), b"ab", Kind::Varlen);
        assert_eq!(bytes, b"\x01\0\0\0\0\0\0\0\x02\0\0\0ab");
    }
}
