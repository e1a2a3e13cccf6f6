//! Copies between tape images and plain streams of bytes, without loss both ways.
//!
//! A stream has no record lengths; they are what its first header says.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::TapeArgument;
use crate::{
    cli::{
        exit::{Code, Failure},
        output::{Cell, JsonOption, Output},
        reels::{beside, host},
    },
    dump::record::Header,
    storage::Access,
    tape::{BlockRead, BlockWrite, FlatStream, Found, Limits, Position, RECORD_MAX_BYTES, TapImage},
};

/// Blocking factor of streams that do not tell.
const FACTOR: usize = 10;

/// Add a stream of bytes to a tape as a tape file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape import data.dump full.tap
      what stock dump wrote with -f data.dump")]
pub struct Import {
    /// Stream of bytes
    #[arg(value_name = "SRC", value_hint = clap::ValueHint::FilePath)]
    source: PathBuf,
    #[command(flatten)]
    tape: TapeArgument,
    /// Blocking factor; what the stream says by default
    #[arg(short, long, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=1024))]
    blocks: Option<u32>,
    #[command(flatten)]
    json: JsonOption,
}

/// Write a tape file as a stream of bytes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape export full.tap data.dump
  headstack tape export full.tap data.dump -s 2
  restore -r -f data.dump")]
pub struct Export {
    #[command(flatten)]
    tape: TapeArgument,
    /// Stream of bytes to make
    #[arg(value_name = "DST", value_hint = clap::ValueHint::FilePath)]
    target: PathBuf,
    /// Tape file, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    #[command(flatten)]
    json: JsonOption,
}

impl Import {
    pub(super) fn run(self) -> Result<Code> {
        let (directory, name) = host(&self.source)?;
        let open = |record_bytes| FlatStream::open(&directory, name, Access::Read, record_bytes, Limits::default());
        let factor = match self.blocks {
            Some(factor) => factor as usize,
            None => told_factor(&mut beside(&self.source, open(1024))?)?,
        };
        let mut stream = beside(&self.source, open(factor * 1024))?;
        let exists = self.tape.tape.exists();
        let mut image = if exists {
            let mut image = self.tape.mount(Access::ReadWrite)?.image;
            image.to_new_file()?;
            image
        } else {
            TapImage::create(&self.tape.directory()?, self.tape.name(), Limits::default())?
        };
        let records = copy(&mut stream, &mut image, &self.source)?;
        told("tape import", self.json, records)
    }
}

/// The blocking factor that a stream's first header tells.
fn told_factor(stream: &mut FlatStream) -> Result<usize> {
    let mut block = Vec::new();
    stream.read_record(&mut block)?;
    stream.seek(Position::START)?;
    let header = block.first_chunk::<1024>().and_then(|block| Header::decode(block).ok());
    let factor = header.map_or(0, |header| header.factor as usize);
    Ok(if (1..=1024).contains(&factor) { factor } else { FACTOR })
}

impl Export {
    pub(super) fn run(self) -> Result<Code> {
        let mut image = self.tape.mount(Access::Read)?.image;
        image.to_file(self.file - 1)?;
        let (directory, name) = host(&self.target)?;
        let made = FlatStream::create(&directory, name, RECORD_MAX_BYTES, Limits::default());
        let mut stream = beside(&self.target, made)?;
        let records = copy(&mut image, &mut stream, &self.tape.tape)?;
        told("tape export", self.json, records)
    }
}

/// Copies records up to the next mark; what cannot be read is an error, as a copy without it would not be one.
fn copy(from: &mut dyn BlockRead, to: &mut dyn BlockWrite, name: &Path) -> Result<u64> {
    let mut records = 0;
    let mut record = Vec::new();
    loop {
        match from.read_record(&mut record)? {
            Found::Record => {
                to.write_record(&record)?;
                records += 1;
            }
            Found::BadRecord | Found::Lost { .. } => {
                let message = format!("{}: record {} cannot be read", name.display(), records + 1);
                return Err(
                    Failure::new(Code::Corrupt, message, "'headstack restore', which goes on behind it").into(),
                );
            }
            Found::Mark | Found::End => {
                to.finish()?;
                return Ok(records);
            }
        }
    }
}

fn told(command: &'static str, json: JsonOption, records: u64) -> Result<Code> {
    let facts = [("records", Cell::Number(records))];
    Output::of_json(command, json).done(&format!("copied {records} records"), &facts)?;
    Ok(Code::Success)
}
