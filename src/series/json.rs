//! JSON text exactly as Python's `json` module reads and writes it; no meaning, that is [`super::metadata`]'s.
//!
//! Source: CPython 3.9 `Lib/json/{encoder,decoder,scanner}.py` with default arguments, and texts written by it.
//!
//! | part        | written as                                                                                          |
//! |-------------|-----------------------------------------------------------------------------------------------------|
//! | separators  | `", "` and `": "`, no newline; `{}` and `[]` when empty                                               |
//! | strings     | `\" \\ \n \r \t \f \b`, anything else outside `0x20..=0x7e` as `\uxxxx`, astral ones as two of them   |
//! | integers    | their digits, of any length                                                                         |
//! | floats      | `repr`: `1.0`, `0.0001`, `1e-05`, `1000000000000000.0`, `1e+16`; digits no double holds are kept       |
//! | not JSON    | `NaN`, `Infinity`, `-Infinity` and unpaired `\ud800`..`\udfff`, which Python reads and writes          |
//! | twice a key | the first one's place, the last one's value                                                         |
//!
//! Rust's values have no room for the "not JSON" row. In memory such a float is the string [`MARK`] + its name, and an
//! unpaired surrogate is `MARK` and a character of the private use plane 15. `MARK` is U+10FFFF, a noncharacter, which
//! Unicode sets aside for just this; a file that spells out such a string itself is refused rather than changed.

use std::str::FromStr;

use serde_json::{Map, Number, Value};

/// First character of a stand-in for what JSON cannot say.
pub(super) const MARK: char = '\u{10ffff}';
/// Greatest depth of nested lists and objects; Python's own is about 990.
pub(super) const DEPTH_MAX: usize = 512;

/// Floats that Python writes and JSON does not know.
const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
/// Stands for surrogate U+D800 after a [`MARK`]; the other 2047 follow.
const SURROGATE_BASE: u32 = 0xf_0000;

/// Reads one value, which may have white space around it.
///
/// # Errors
/// What was found and at which byte.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to()))?;
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(reader.wrong("text after the end"));
    }
    Ok(value)
}

/// Writes one object.
pub(super) fn encode_object(object: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_object(&mut out, object);
    out
}

/// Depth of the deepest list or object in `value`; 0 where it is neither.
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The surrogate that `MARK`, `follower` stand for.
fn surrogate_of(follower: char) -> Option<u32> {
    let offset = u32::from(follower).checked_sub(SURROGATE_BASE)?;
    (offset < 0x800).then_some(0xd800 + offset)
}

/// How many unpaired surrogates `text` stands for.
fn stand_ins(text: &str) -> usize {
    let followers = text
        .match_indices(MARK)
        .filter_map(|(at, mark)| text[at + mark.len()..].chars().next());
    followers.filter_map(surrogate_of).count()
}

/// The float that JSON does not know for which `text` stands.
fn not_finite_of(text: &str) -> Option<&str> {
    text.strip_prefix(MARK).filter(|name| NOT_FINITE.contains(name))
}

/// A place in a text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over `word` if it is next.
    fn take(&mut self, word: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.take(word) {
            return Ok(());
        }
        Err(self.unexpected())
    }

    fn unexpected(&self) -> String {
        self.wrong(if self.at < self.text.len() {
            "unexpected character"
        } else {
            "text ends too early"
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(self.wrong("lists and objects are nested too deeply")),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.expect("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.expect("null").map(|()| Value::Null),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => self.number(),
            _ => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut object = Map::new();
        self.expect("{")?;
        self.skip_space();
        if self.take("}") {
            return Ok(Value::Object(object));
        }
        loop {
            let key = self.string()?;
            self.skip_space();
            self.expect(":")?;
            self.skip_space();
            let value = self.value(depth)?;
            object.insert(key, value);
            self.skip_space();
            if self.take("}") {
                return Ok(Value::Object(object));
            }
            self.expect(",")?;
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        self.expect("[")?;
        self.skip_space();
        if self.take("]") {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take("]") {
                return Ok(Value::Array(items));
            }
            self.expect(",")?;
            self.skip_space();
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        if let Some(name) = NOT_FINITE.into_iter().find(|name| self.take(name)) {
            return Ok(Value::String(format!("{MARK}{name}")));
        }
        let start = self.at;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _sign = self.take("+") || self.take("-");
            self.digits()?;
        }
        Number::from_str(&self.text[start..self.at])
            .map(Value::Number)
            .map_err(|_| self.wrong("bad number"))
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong("a digit is missing"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        self.expect("\"")?;
        let mut out = String::new();
        let mut unpaired = 0;
        loop {
            let run = self.at;
            while self.peek().is_some_and(|b| b >= 0x20 && b != b'"' && b != b'\\') {
                self.at += 1;
            }
            out.push_str(&self.text[run..self.at]);
            if self.take("\"") {
                break;
            }
            if self.take("\\") {
                unpaired += usize::from(self.escape(&mut out)?);
            } else if self.peek().is_some() {
                return Err(self.wrong("control character in a string"));
            } else {
                return Err(self.wrong("text ends in a string"));
            }
        }
        let spelled_out = stand_ins(&out) != unpaired || not_finite_of(&out).is_some();
        if spelled_out {
            self.at = start;
            return Err(self.wrong("string with noncharacter U+10FFFF, which cannot be kept,"));
        }
        Ok(out)
    }

    /// Reads what follows a backslash; true where it was an unpaired surrogate.
    fn escape(&mut self, out: &mut String) -> Result<bool, String> {
        let Some(letter) = self.peek() else {
            return Err(self.wrong("text ends in a string"));
        };
        self.at += 1;
        out.push(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(out),
            _ => {
                self.at -= 1;
                return Err(self.wrong("bad escape"));
            }
        });
        Ok(false)
    }

    /// Reads the digits of `\uxxxx` and, where they begin a pair, the second half of it.
    fn unicode(&mut self, out: &mut String) -> Result<bool, String> {
        let unit = self.four_digits()?;
        if (0xd800..0xdc00).contains(&unit) {
            let behind = self.at;
            if self.take("\\u") {
                let low = self.four_digits()?;
                let joined = low
                    .checked_sub(0xdc00)
                    .filter(|low| *low < 0x400)
                    .and_then(|low| char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + low));
                if let Some(joined) = joined {
                    out.push(joined);
                    return Ok(false);
                }
                self.at = behind;
            }
        }
        if let Some(plain) = char::from_u32(unit) {
            out.push(plain);
            return Ok(false);
        }
        let follower = char::from_u32(SURROGATE_BASE + unit - 0xd800);
        out.push(MARK);
        out.push(follower.ok_or_else(|| self.wrong("bad escape"))?);
        Ok(true)
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut unit = 0;
        for &digit in digits.ok_or_else(|| self.wrong("bad escape"))? {
            let digit = char::from(digit).to_digit(16).ok_or_else(|| self.wrong("bad escape"))?;
            unit = unit * 16 + digit;
        }
        self.at += 4;
        Ok(unit)
    }
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => {
            match not_finite_of(text) {
                Some(name) => out.push_str(name),
                None => write_string(out, text),
            };
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(object) => write_object(out, object),
    }
}

fn write_object(out: &mut String, object: &Map<String, Value>) {
    out.push('{');
    for (i, (key, value)) in object.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { ", " });
        write_string(out, key);
        out.push_str(": ");
        write_value(out, value);
    }
    out.push('}');
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            ' '..='~' => out.push(next),
            MARK if rest.peek().copied().and_then(surrogate_of).is_some() => {
                let unit = rest.next().and_then(surrogate_of).unwrap_or_default();
                out.push_str(&format!("\\u{unit:04x}"));
            }
            _ => {
                for unit in next.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

/// Writes a number: as Python's `repr` where a double holds just its digits, else as it is.
fn write_number(out: &mut String, number: &Number) {
    let text = number.as_str();
    let is_float = text.contains(['.', 'e', 'E']);
    let double = text.parse::<f64>().ok().filter(|double| is_float && double.is_finite());
    let Some(double) = double else {
        out.push_str(text);
        return;
    };
    let shortest = format!("{double:e}");
    match (Decimal::parse(text), Decimal::parse(&shortest)) {
        (Some(given), Some(held)) if given == held => held.write_repr(out),
        _ => out.push_str(text),
    }
}

/// A decimal number `0.DIGITS * 10^point`; digits begin and end with other than 0, zero has none and point 0.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    /// Takes a JSON number apart; none where its exponent is beyond reason.
    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let from_first = all.trim_start_matches('0');
        let digits = from_first.trim_end_matches('0').to_owned();
        let leading_zeros = all.len() - from_first.len();
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading_zeros).ok()?;
        let point = if digits.is_empty() {
            0
        } else {
            point.checked_add(exponent)?
        };
        Some(Self {
            negative,
            digits,
            point,
        })
    }

    /// Writes what Python's `repr` of such a float is: an exponent below 1e-4 and from 1e16 on.
    fn write_repr(&self, out: &mut String) {
        let digits = self.digits.as_str();
        if self.negative {
            out.push('-');
        }
        match usize::try_from(self.point) {
            _ if digits.is_empty() => out.push_str("0.0"),
            Ok(point @ 1..=16) if digits.len() <= point => out.push_str(&format!("{digits:0<point$}.0")),
            Ok(point @ 1..=16) => out.push_str(&format!("{}.{}", &digits[..point], &digits[point..])),
            _ if (-3..=0).contains(&self.point) => {
                let zeros = usize::try_from(-self.point).unwrap_or_default();
                out.push_str(&format!("0.{:0<zeros$}{digits}", ""));
            }
            _ => {
                let exponent = self.point - 1;
                let sign = if exponent < 0 { '-' } else { '+' };
                let dot = if digits.len() > 1 { "." } else { "" };
                out.push_str(&format!(
                    "{}{dot}{}e{sign}{:02}",
                    &digits[..1],
                    &digits[1..],
                    exponent.abs()
                ));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
