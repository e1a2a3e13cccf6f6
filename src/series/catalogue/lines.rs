//! The lines of a catalogue: bytes to events and back, no I/O.
//!
//! Each line is one JSON object, UTF-8, ended by a newline. Defined here; no other program reads them.
//!
//! | line                                      | meaning                                                             |
//! |-------------------------------------------|---------------------------------------------------------------------|
//! | `{"catalogue":1}`                         | first line: version of the format; a newer one is refused            |
//! | `{"used_series":9,"used_snapshots":4}`    | all numbers up to these have been used (written by the replacement)  |
//! | `{"series":7,"kind":"fixed","name":"a"}`  | series 7 is called so; `kind` is `fixed` or `varlen`                 |
//! | `{"renamed":7,"name":"b"}`                | series 7 is called so from now on                                   |
//! | `{"deleted":7}`                           | series 7 is gone                                                    |
//! | `{"snapshot":3}`                          | snapshot 3 was made                                                 |

use serde_json::{Map, Value, json};

use crate::series::{Kind, SeriesId, SeriesKey};

/// Version of the format that is written.
pub(super) const VERSION: u32 = 1;

/// The greatest numbers known to be used; 0 where none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Of series.
    pub series: u32,
    /// Of snapshots.
    pub snapshots: u32,
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Version(u32),
    Used(Used),
    Series { id: SeriesId, key: SeriesKey },
    Renamed { id: SeriesId, name: String },
    Deleted { id: SeriesId },
    Snapshot { number: u32 },
}

/// What a file says.
pub(super) struct Contents {
    pub events: Vec<Event>,
    /// Where the last line that parses ends.
    pub end_bytes: u64,
    /// How many lines end before that, damaged ones included.
    pub lines: usize,
    pub damaged_lines: usize,
}

/// Takes a file apart.
///
/// # Errors
/// That it is of a newer version.
pub(super) fn decode(bytes: &[u8]) -> Result<Contents, String> {
    let mut contents = Contents {
        events: Vec::new(),
        end_bytes: 0,
        lines: 0,
        damaged_lines: 0,
    };
    let (mut at_bytes, mut skipped) = (0, 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        at_bytes += length_of(line);
        match line.strip_suffix(b"\n").and_then(Event::parse) {
            Some(Event::Version(version)) if version > VERSION => {
                return Err(format!("of version {version}, this program reads up to {VERSION}"));
            }
            Some(event) => {
                contents.events.push(event);
                contents.damaged_lines += skipped;
                contents.lines += skipped + 1;
                contents.end_bytes = at_bytes;
                skipped = 0;
            }
            None => skipped += 1,
        }
    }
    Ok(contents)
}

/// Lines that say `events`.
pub(super) fn encode(events: &[Event]) -> String {
    events.iter().map(|event| event.fields().to_string() + "\n").collect()
}

impl Event {
    fn fields(&self) -> Value {
        match self {
            Self::Version(version) => json!({ "catalogue": version }),
            Self::Used(used) => json!({ "used_series": used.series, "used_snapshots": used.snapshots }),
            Self::Series { id, key } => json!({ "series": id.0, "kind": kind_text(key.kind), "name": key.name }),
            Self::Renamed { id, name } => json!({ "renamed": id.0, "name": name }),
            Self::Deleted { id } => json!({ "deleted": id.0 }),
            Self::Snapshot { number } => json!({ "snapshot": number }),
        }
    }

    /// All that is known of a number whose line lacks the rest.
    fn used_at_least(id: SeriesId) -> Self {
        let series = id.0;
        Self::Used(Used { series, snapshots: 0 })
    }

    /// What a line says; none where it says nothing that is known.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let number = |key| {
            fields
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|number| u32::try_from(number).ok())
        };
        let id = |key| number(key).filter(|&id| id > 0).map(SeriesId);
        let text = |key| fields.get(key).and_then(Value::as_str);
        if let Some(version) = number("catalogue") {
            Some(Self::Version(version))
        } else if let Some(id) = id("series") {
            let key = text("kind").and_then(kind_from).zip(text("name"));
            Some(match key.map(|(kind, name)| (kind, name.to_owned())) {
                Some((kind, name)) => {
                    let key = SeriesKey { kind, name };
                    Self::Series { id, key }
                }
                None => Self::used_at_least(id),
            })
        } else if let Some(id) = id("renamed") {
            let name = text("name").map(str::to_owned);
            Some(name.map_or(Self::used_at_least(id), |name| Self::Renamed { id, name }))
        } else if let Some(id) = id("deleted") {
            Some(Self::Deleted { id })
        } else if let Some(number) = number("snapshot") {
            Some(Self::Snapshot { number })
        } else {
            let (series, snapshots) = (number("used_series")?, number("used_snapshots")?);
            Some(Self::Used(Used { series, snapshots }))
        }
    }
}

/// A kind as files of ours spell it.
pub(in crate::series) fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Fixed => "fixed",
        Kind::Varlen => "varlen",
    }
}

/// The kind that [`kind_text`] spells so.
pub(in crate::series) fn kind_from(text: &str) -> Option<Kind> {
    [Kind::Fixed, Kind::Varlen]
        .into_iter()
        .find(|&kind| kind_text(kind) == text)
}

pub(super) fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length in memory fits in 64 bits")
}
