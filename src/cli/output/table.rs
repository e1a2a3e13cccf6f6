//! Facts as text and as JSON: cells, records and tables. Nothing here prints.
//!
//! Text is either aligned for people or separated by tabs for scripts; control characters are escaped in both, so a
//! hostile name can neither drive a terminal nor break a line of fields. JSON holds every name as it is.

use std::{fmt::Write, time::SystemTime};

use serde_json::{Map, Value};

use super::{Form, time_text};

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// There is none.
    None,
    /// Words, a name or a path.
    Text(String),
    /// A count or a timestamp.
    Number(u64),
    /// A size in bytes.
    Bytes(u64),
    /// A time of the host's clock.
    Time(SystemTime),
    /// True or false.
    Flag(bool),
    /// Something with a shape of its own.
    Json(Value),
}

impl Cell {
    /// A number that may be missing.
    pub fn number(number: Option<u64>) -> Self {
        number.map_or(Self::None, Self::Number)
    }

    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A path, lossily where it is not UTF-8.
    pub fn path(path: &std::path::Path) -> Self {
        Self::Text(path.to_string_lossy().into_owned())
    }

    /// The fact of a key, as JSON has it: a number is a size where the key says so.
    pub fn of(key: &str, value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::String(text) => Self::text(text),
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => match number.as_u64() {
                Some(bytes) if key.ends_with("_bytes") => Self::Bytes(bytes),
                Some(number) => Self::Number(number),
                None => Self::Json(value.clone()),
            },
            Value::Array(_) | Value::Object(_) => Self::Json(value.clone()),
        }
    }

    /// The fact as a JSON value.
    pub fn json(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) | Self::Bytes(number) => (*number).into(),
            Self::Time(time) => time_text(*time).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Json(value) => value.clone(),
        }
    }

    /// The fact as text: for people sizes have a unit, for scripts they are bytes.
    fn words(&self, form: Form) -> String {
        match self {
            Self::None => "-".into(),
            Self::Text(text) => printable(text),
            Self::Bytes(bytes) if form == Form::Text => size_text(*bytes),
            Self::Number(number) | Self::Bytes(number) => number.to_string(),
            Self::Time(time) => time_text(*time),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
            Self::Json(value) => value.to_string(),
        }
    }
}

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its key in JSON, with the unit.
    pub key: &'static str,
    /// Its header.
    pub title: &'static str,
    /// True where text stands at the right edge.
    pub right: bool,
}

impl Column {
    /// A column of words.
    pub const fn left(key: &'static str, title: &'static str) -> Self {
        Self {
            key,
            title,
            right: false,
        }
    }

    /// A column of numbers.
    pub const fn right(key: &'static str, title: &'static str) -> Self {
        Self {
            key,
            title,
            right: true,
        }
    }
}

/// Rows of facts.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell a column.
    pub fn push(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as a list of objects.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Map<String, Value> {
            self.columns
                .iter()
                .zip(row)
                .map(|(column, cell)| (column.key.to_owned(), cell.json()))
                .collect()
        };
        self.rows.iter().map(object).collect()
    }

    /// The rows as lines.
    pub fn text(&self, form: Form) -> String {
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(self.rows.len() + 1);
        if form == Form::Text && !self.rows.is_empty() {
            lines.push(self.columns.iter().map(|column| column.title.to_owned()).collect());
        }
        lines.extend(
            self.rows
                .iter()
                .map(|row| row.iter().map(|cell| cell.words(form)).collect::<Vec<_>>()),
        );
        let mut text = String::new();
        if form != Form::Text {
            for line in &lines {
                text.push_str(&line.join("\t"));
                text.push('\n');
            }
            return text;
        }
        let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in &lines {
            text.push_str(aligned(line, self.columns, &widths).trim_end());
            text.push('\n');
        }
        text
    }
}

fn aligned(cells: &[String], columns: &[Column], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((cell, column), width) in cells.iter().zip(columns).zip(widths) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        let (before, after) = if column.right {
            (padding.as_str(), "")
        } else {
            ("", padding.as_str())
        };
        line.push_str(before);
        line.push_str(cell);
        line.push_str(after);
    }
    line
}

/// One thing's facts as lines: the key, then the fact.
pub(super) fn record_text(facts: &[(&str, Cell)], form: Form) -> String {
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (key, cell) in facts {
        let words = cell.words(form);
        let line = match form {
            Form::Text => writeln!(text, "{key:width$}  {words}"),
            Form::Tabs | Form::Json => writeln!(text, "{key}\t{words}"),
        };
        debug_assert!(line.is_ok(), "a String takes any text");
    }
    text
}

/// Text without control characters, so that a hostile name cannot move a terminal's cursor or break a line of fields.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// A size for people, in binary units.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = tenths.div_ceil(1024);
        unit = next;
    }
    match unit {
        "" => bytes.to_string(),
        _ if tenths < 100 => format!("{}.{}{unit}", tenths / 10, tenths % 10),
        _ => format!("{}{unit}", tenths.div_ceil(10)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Column, Table, printable, record_text, size_text};
    use crate::cli::output::Form;
    use serde_json::json;
    use std::time::{Duration, SystemTime};

    const COLUMNS: &[Column] = &[Column::left("name", "NAME"), Column::right("size_bytes", "SIZE")];

    fn table() -> Table {
        let mut table = Table::new(COLUMNS);
        table.push(vec![Cell::text("żółć"), Cell::Bytes(2048)]);
        table.push(vec![Cell::text("a\nb"), Cell::None]);
        table
    }

    #[test]
    fn a_table_is_aligned_for_people_and_raw_for_scripts() {
        assert_eq!(table().text(Form::Text), "NAME  SIZE\nżółć  2.0K\na\\nb     -\n");
        assert_eq!(table().text(Form::Tabs), "żółć\t2048\na\\nb\t-\n");
        assert_eq!(
            table().json(),
            json!([{"name": "żółć", "size_bytes": 2048}, {"name": "a\nb", "size_bytes": null}])
        );
        assert_eq!(Table::new(COLUMNS).text(Form::Text), "", "no header over nothing");
    }

    #[test]
    fn sizes_round_up_as_ls_does() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10 << 20, "10M"),
            (u64::MAX, "16384P"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\tc"), "a\\u{1b}[2Jb\\tc");
    }

    #[test]
    fn a_record_has_one_fact_a_line() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800);
        let facts = [("name", Cell::text("x")), ("modified", Cell::Time(time))];
        assert_eq!(
            record_text(&facts, Form::Text),
            "name      x\nmodified  2026-01-31T12:00:00Z\n"
        );
        assert_eq!(
            record_text(&facts, Form::Tabs),
            "name\tx\nmodified\t2026-01-31T12:00:00Z\n"
        );
    }
}
