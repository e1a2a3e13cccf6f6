//! `headstack series append`: entries from the command line or from standard input, streamed in batches.
//!
//! Whatever has arrived is committed before the verb waits for more, so a slow producer's entries are visible at once and
//! a fast one's are written a batch at a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::fd::AsFd,
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;

use super::any;
use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::{Code, Failure, code_of, remedy_of},
        output::{Cell, JsonOption, Output, Progress, Unit},
    },
    series::text::{Codec, Format, TextError},
    series::{AnySeries, Error, Series, Timestamp, VarlenSeries},
};

/// Bytes of input that are looked at together.
const INPUT_BYTES: usize = 1 << 20;
/// Bytes of records after which a batch is committed.
const BATCH_BYTES: usize = 1 << 18;

/// Append entries to a series: one from the command line, or lines of `TIMESTAMP VALUE` from standard input
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series append db temperature 1700000000 21.5
  headstack series append db temperature --format hex < lines.txt
  sensor | headstack series append db temperature
      each line is committed when it arrives

A line that is no entry, or whose timestamp is not larger than the one before, ends the verb: the message gives its
number and how many entries were appended before it.")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// Timestamp of one entry; standard input is read where there is none
    #[arg(value_name = "TS", requires = "value")]
    timestamp: Option<Timestamp>,
    /// Its value
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: Option<String>,
    /// How values are written: hex, base64, utf8, u64, i64 or f64; the series' own format by default
    #[arg(long)]
    format: Option<Format>,
    /// Fill values that are too short up with zeros, as is always done in the format utf8
    #[arg(long)]
    pad: bool,
    /// Tell the progress however little there is to do
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Appends.
    ///
    /// # Errors
    /// [`Code::Busy`] where the database is mounted; [`Code::Usage`] for a wrong argument and [`Code::Corrupt`] for a
    /// wrong line; [`Code::Io`] where the file system is full.
    pub fn run(self) -> Result<Code> {
        let (database, key) = self.series.write("series append", "writing to", "raw")?;
        let series = database.any(&key)?;
        let codec = any::codec(&series, self.format)?;
        let mut sink = Sink::new(&series, self.pad || codec.format() == Format::Utf8);
        match (self.timestamp, &self.value) {
            (Some(timestamp), Some(value)) => {
                let value = codec.parse_value(value.as_bytes()).map_err(wrong_value)?;
                sink.push(0, timestamp, &value)
                    .and_then(|()| sink.commit())
                    .map_err(|stop| stop.error)?;
            }
            _ => append_lines(&mut sink, &codec, self.progress)?,
        }
        let appended = sink.committed;
        drop(sink);
        let last = series.last_timestamp()?.map(|Timestamp(last)| last);
        drop(series);
        database.close()?;
        let sentence = format!(
            "appended {appended} entries to {}/{}",
            database.path().display(),
            key.name
        );
        let facts = [
            ("series", Cell::text(&key.name)),
            ("appended", Cell::Number(appended)),
            ("last_timestamp", Cell::number(last)),
        ];
        Output::of_json("series append", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }
}

fn wrong_value(error: TextError) -> anyhow::Error {
    let remedy = match &error {
        TextError::TooLong { limit, .. } => format!("a value of at most {limit} bytes"),
        _ => "--format, if it is written in another one".to_owned(),
    };
    Failure::new(Code::Usage, error.to_string(), remedy).into()
}

/// Appends every line of standard input.
fn append_lines(sink: &mut Sink<'_>, codec: &Codec, progress: bool) -> Result<()> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().context("standard input")?);
    let length = file
        .metadata()
        .map_or(0, |facts| if facts.is_file() { facts.len() } else { 0 });
    let mut progress = Progress::new("series append", Unit::Bytes, length, progress);
    let mut input = BufReader::with_capacity(INPUT_BYTES, file);
    let mut line = Vec::new();
    for number in 1_u64.. {
        if !input.buffer().contains(&b'\n') {
            sink.commit().map_err(|stop| stop.told(sink.committed))?;
        }
        line.clear();
        let read = input.read_until(b'\n', &mut line).context("standard input")?;
        if read == 0 {
            break;
        }
        progress.add(read as u64);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let (timestamp, value) = match codec.parse_line(text) {
            Ok(entry) => entry,
            Err(reason) => {
                sink.commit().map_err(|stop| stop.told(sink.committed))?;
                return Err(bad_line(number, &reason, sink.committed));
            }
        };
        sink.push(number, timestamp, &value)
            .map_err(|stop| stop.told(sink.committed))?;
    }
    sink.commit().map_err(|stop| stop.told(sink.committed))
}

fn bad_line(number: u64, reason: &TextError, committed: u64) -> anyhow::Error {
    let message = format!("standard input: line {number}: {reason}; {committed} entries before it were appended");
    Failure::new(Code::Corrupt, message, "again from that line on, once it is put right").into()
}

/// Why appending ended before the input did.
#[derive(Debug)]
struct Stop {
    line: u64,
    error: Error,
}

impl Stop {
    /// Tells the line and how far appending got. A wrong line is wrong input, not a wrong command line.
    fn told(self, committed: u64) -> anyhow::Error {
        let code = match code_of(&self.error) {
            Code::Usage => Code::Corrupt,
            code => code,
        };
        let Self { line, error } = self;
        let remedy = remedy_of(&error).unwrap_or_else(|| "again from that line on".to_owned());
        let message = format!("standard input: line {line}: {error}; {committed} entries before it were appended");
        Failure::new(code, message, remedy).into()
    }
}

/// Where entries go; those of a fixed series a batch at a time.
struct Sink<'a> {
    target: Target<'a>,
    pad: bool,
    committed: u64,
}

enum Target<'a> {
    Fixed {
        series: &'a Arc<Series>,
        records: Vec<u8>,
        lines: Vec<u64>,
    },
    Varlen(&'a Arc<VarlenSeries>),
}

impl<'a> Sink<'a> {
    fn new(series: &'a AnySeries, pad: bool) -> Self {
        let target = match series {
            AnySeries::Fixed(series) => Target::Fixed {
                series,
                records: Vec::new(),
                lines: Vec::new(),
            },
            AnySeries::Varlen(series) => Target::Varlen(series),
        };
        Self {
            target,
            pad,
            committed: 0,
        }
    }

    /// Takes the entry of a line.
    fn push(&mut self, line: u64, timestamp: Timestamp, value: &[u8]) -> Result<(), Stop> {
        match &mut self.target {
            Target::Varlen(series) => {
                series.append(timestamp, value).map_err(|error| Stop { line, error })?;
                self.committed += 1;
                Ok(())
            }
            Target::Fixed { series, records, lines } => {
                let limit = series.block_size();
                if value.len() > limit || (value.len() < limit && !self.pad) {
                    let error = Error::BadLength {
                        path: series.path(),
                        length: value.len(),
                        limit,
                        too_long: value.len() > limit,
                    };
                    self.commit()?;
                    return Err(Stop { line, error });
                }
                records.extend_from_slice(&timestamp.0.to_le_bytes());
                records.extend_from_slice(value);
                records.resize(records.len() + limit - value.len(), 0);
                lines.push(line);
                if records.len() >= BATCH_BYTES {
                    self.commit()
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Commits what is held.
    fn commit(&mut self) -> Result<(), Stop> {
        let Target::Fixed { series, records, lines } = &mut self.target else {
            return Ok(());
        };
        if records.is_empty() {
            return Ok(());
        }
        let (committed, result) = series.append_records(records);
        self.committed += committed as u64;
        let line = lines.get(committed).copied().unwrap_or(0);
        records.clear();
        lines.clear();
        result.map_err(|error| Stop { line, error })
    }
}
