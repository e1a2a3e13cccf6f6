//! `headstack series trim`: drops whole chunks of old entries.
//!
//! What goes is worked out from the chunks' first timestamps before it goes, told, and confirmed.

use anyhow::Result;
use clap::Args;

use crate::{
    cli::{
        arguments::SeriesArgument,
        exit::Code,
        output::{Cell, FormOptions, Output, confirm},
    },
    series::{AnySeries, ChunkInfo, Timestamp},
};

/// Drop the chunks whose entries are all older than a timestamp
///
/// Entries go by whole chunks, so some older than the timestamp may stay; the last chunk always stays. Chunks that a
/// snapshot needs are kept for it, out of the series.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack series trim db temperature --before 1700000000 --dry-run
  headstack series trim db temperature --before 1700000000 --yes")]
pub struct Arguments {
    #[command(flatten)]
    series: SeriesArgument,
    /// Keep every entry from this timestamp on
    #[arg(long, value_name = "TS")]
    before: Timestamp,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Only tell what would be dropped
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: FormOptions,
}

/// What a trim drops.
struct Loss {
    chunks: usize,
    entries: u64,
    first: Option<u64>,
}

impl Arguments {
    /// Trims.
    ///
    /// # Errors
    /// [`Code::Refused`] without a confirmation, [`Code::Busy`] where the database is mounted.
    pub fn run(self) -> Result<Code> {
        let output = Output::new("series trim", self.form);
        if self.dry_run {
            let (database, key) = self.series.read()?;
            let loss = loss(&database.any(&key)?.chunks()?, self.before);
            output.record(&facts(&key.name, &loss, true))?;
            return Ok(Code::Success);
        }
        let (database, key) = self
            .series
            .write("series trim", &format!("writing 'trim {}' to", self.before), "ctl")?;
        let series = database.any(&key)?;
        let loss = loss(&series.chunks()?, self.before);
        let Loss { chunks, entries, .. } = loss;
        let path = database.path().display();
        if chunks > 0 {
            let sentence = format!(
                "{path}: {chunks} chunks with {entries} entries of {} {:?} would be lost",
                key.what(),
                key.name
            );
            confirm(&sentence, &key.name, self.yes)?;
            match &series {
                AnySeries::Fixed(series) => series.trim(self.before)?,
                AnySeries::Varlen(series) => series.trim(self.before)?,
            };
        }
        drop(series);
        database.close()?;
        let sentence = format!(
            "{path}: dropped {chunks} chunks with {entries} entries of {} {:?}",
            key.what(),
            key.name
        );
        output.done(&sentence, &facts(&key.name, &loss, false))?;
        Ok(Code::Success)
    }
}

fn facts(name: &str, loss: &Loss, dry_run: bool) -> [(&'static str, Cell); 5] {
    [
        ("series", Cell::text(name)),
        ("chunks", Cell::number(u64::try_from(loss.chunks).ok())),
        ("entries", Cell::Number(loss.entries)),
        ("first_timestamp", Cell::number(loss.first)),
        ("dry_run", Cell::Flag(dry_run)),
    ]
}

/// A chunk goes where the next one begins before `before`, so the last one never does.
fn loss(chunks: &[ChunkInfo], before: Timestamp) -> Loss {
    let dropped = chunks
        .iter()
        .zip(chunks.iter().skip(1))
        .take_while(|(_, next)| next.first < before)
        .count();
    let gone = &chunks[..dropped];
    Loss {
        chunks: dropped,
        entries: gone.iter().map(|chunk| u64::from(chunk.entries)).sum(),
        first: gone.first().map(|chunk| chunk.first.0),
    }
}
