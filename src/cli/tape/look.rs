//! Looking at a tape: where it stands, what is on it, whether all of that can be read.
//!
//! None of these moves the tape.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::TapeArgument;
use crate::{
    cli::{
        dump::time_of,
        exit::Code,
        output::{Cell, Column, FormOptions, Output, Table},
        reels::{TapesArgument, lost_json, tell},
    },
    dump::{
        record::{Header, Kind},
        verify::verify,
    },
    storage::Access,
    tape::{BlockRead as _, Found, index},
};

const COLUMNS: &[Column] = &[
    Column::right("file", "FILE"),
    Column::right("records", "RECORDS"),
    Column::right("size_bytes", "SIZE"),
    Column::right("level", "LEVEL"),
    Column::right("volume", "VOLUME"),
    Column::left("date", "DATE"),
    Column::left("label", "LABEL"),
    Column::left("path", "PATH"),
];

/// Tell where a tape stands and what it takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape status full.tap")]
pub struct Status {
    #[command(flatten)]
    tape: TapeArgument,
    #[command(flatten)]
    form: FormOptions,
}

/// List the tape files and the dumps in them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape ls full.tap")]
pub struct Ls {
    #[command(flatten)]
    tape: TapeArgument,
    #[command(flatten)]
    form: FormOptions,
}

/// Read a dump to its end and name what is damaged or missing
///
/// Of dumps made here every byte is checked; other programs give headers a checksum only.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape verify -f full.tap
  headstack tape verify -f full.tap -s 2")]
pub struct Verify {
    #[command(flatten)]
    tapes: TapesArgument,
    /// Tape file that the dump is in, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    #[command(flatten)]
    form: FormOptions,
}

impl Status {
    pub(super) fn run(self) -> Result<Code> {
        let mounted = self.tape.mount(Access::Read)?;
        let remembered = mounted.memory.of(&mounted.key);
        let position = mounted.image.position();
        let facts = [
            ("tape", Cell::path(&self.tape.tape)),
            ("size_bytes", Cell::Bytes(mounted.image.size_bytes()?)),
            ("file", Cell::Number(position.file.into())),
            ("record", Cell::number(position.record.map(u64::from))),
            ("offset_bytes", Cell::Bytes(position.offset_bytes)),
            (
                "capacity_bytes",
                remembered.capacity_bytes.map_or(Cell::None, Cell::Bytes),
            ),
            ("write_protected", Cell::Flag(remembered.write_protected)),
        ];
        Output::new("tape status", self.form).record(&facts)?;
        Ok(Code::Success)
    }
}

/// One tape file.
#[derive(Default)]
struct File {
    records: u64,
    bytes: u64,
    label: Option<Header>,
    /// True where it is the catalogue of those before it.
    index: bool,
    lost: u64,
}

impl File {
    fn row(self, number: u64) -> Vec<Cell> {
        let text = |bytes: &[u8]| Cell::text(String::from_utf8_lossy(bytes).into_owned());
        let mut row = vec![
            Cell::Number(number),
            Cell::Number(self.records),
            Cell::Bytes(self.bytes),
        ];
        match self.label {
            Some(header) => row.extend([
                Cell::Number(u64::try_from(header.label.level).unwrap_or(0)),
                Cell::Number(header.volume.into()),
                Cell::Time(time_of(header.date_s)),
                text(&header.label.label),
                text(&header.label.filesystem),
            ]),
            None => {
                row.resize(COLUMNS.len(), Cell::None);
                if self.index {
                    row[6] = Cell::text("catalogue");
                }
            }
        }
        row
    }
}

impl Ls {
    pub(super) fn run(self) -> Result<Code> {
        let mut image = self.tape.mount(Access::Read)?.image;
        image.rewind()?;
        let mut table = Table::new(COLUMNS);
        let (mut file, mut number, mut lost) = (File::default(), 1, 0);
        let mut record = Vec::new();
        loop {
            match image.read_record(&mut record)? {
                Found::Record | Found::BadRecord => {
                    if file.records == 0 {
                        let block = record.first_chunk::<1024>();
                        let header = block.and_then(|block| Header::decode(block).ok());
                        file.index = index::begins_with(&record);
                        file.label = header.filter(|header| header.kind == Kind::Tape);
                    }
                    file.records += 1;
                    file.bytes += record.len() as u64;
                }
                Found::Lost { length_bytes } => file.lost += length_bytes,
                found @ (Found::Mark | Found::End) => {
                    lost += file.lost;
                    let read = std::mem::take(&mut file);
                    // Behind the second mark at the end of data there is no file.
                    if read.records > 0 {
                        table.push(read.row(number));
                    }
                    if found == Found::End {
                        break;
                    }
                    number += 1;
                }
            }
        }
        Output::new("tape ls", self.form).table("files", &table)?;
        if lost > 0 {
            log::warn!(
                "{}: {lost} bytes hold no records: the tape is damaged",
                self.tape.tape.display()
            );
            return Ok(Code::Corrupt);
        }
        Ok(Code::Success)
    }
}

impl Verify {
    pub(super) fn run(self) -> Result<Code> {
        let mut reader = self.tapes.reader(self.file)?;
        let verified = verify(&mut reader)?;
        tell(&verified.troubles);
        let troubles: Vec<serde_json::Value> = verified
            .troubles
            .iter()
            .map(|trouble| {
                let path: PathBuf = trouble.path.clone();
                serde_json::json!({"path": path.to_string_lossy(), "what": trouble.what})
            })
            .collect();
        let output = Output::new("tape verify", self.form);
        let count = troubles.len() as u64;
        let facts = [
            ("objects", Cell::Number(verified.objects)),
            ("data_bytes", Cell::Bytes(verified.bytes)),
            (
                "damaged",
                if output.is_json() {
                    Cell::Json(troubles.into())
                } else {
                    Cell::Number(count)
                },
            ),
            (
                "lost",
                if output.is_json() {
                    Cell::Json(lost_json(&verified.lost))
                } else {
                    Cell::Number(verified.lost.len() as u64)
                },
            ),
        ];
        output.record(&facts)?;
        Ok(if count == 0 { Code::Success } else { Code::Corrupt })
    }
}
