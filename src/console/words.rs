//! Facts of the controller's answers as pages write them: texts, sizes, times, and what is missing as a dash.
//!
//! A key that an answer lacks is no error: the page shows a dash, as for what is not known.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};
use serde_json::Value;

/// The text of a key; empty where there is none.
pub fn text<'a>(facts: &'a Value, key: &str) -> &'a str {
    facts[key].as_str().unwrap_or_default()
}

/// The list of a key; empty where there is none.
pub fn list<'a>(facts: &'a Value, key: &str) -> &'a [Value] {
    facts[key].as_array().map_or(&[], Vec::as_slice)
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A number of bytes in binary units, with at most one digit after the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = (bytes.ilog2() / 10).min(6);
    let tenths = (u128::from(bytes) * 10 + (1_u128 << (10 * unit - 1))) >> (10 * unit);
    let name = UNITS[usize::try_from(unit).unwrap_or(1) - 1];
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, rest) => format!("{whole}.{rest} {name}"),
    }
}

/// The size of a key, or a dash.
pub fn size_of(facts: &Value, key: &str) -> String {
    facts[key].as_u64().map_or_else(|| "–".to_owned(), size)
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of seconds in words.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A moment in this machine's time, with the exact one in UTC behind it.
pub fn moment(time_us: u64) -> Markup {
    let micros = i64::try_from(time_us).unwrap_or(i64::MAX);
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    let local = time
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    html! { time datetime=(time.to_string()) title=(time.to_string()) { (local) } }
}

/// A part in a hundred, rounded down so that 100 means done.
pub fn percent(done: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(done) * 100 / u128::from(whole.max(1)))
        .unwrap_or(100)
        .min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_for_people() {
        let sizes = [0, 1023, 1024, 1536, 16 << 20, (1 << 40) + (1 << 39), u64::MAX].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "16 MiB", "1.5 TiB", "16 EiB"]
        );
        assert_eq!(
            [59, 61, 3661, 90_000].map(duration),
            ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
        assert_eq!(
            [7, 1234, 1_234_567].map(count),
            ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]
        );
        assert_eq!(
            [percent(0, 0), percent(1, 3), percent(999, 1000), percent(5, 5)],
            [0, 33, 99, 100]
        );
    }
}
