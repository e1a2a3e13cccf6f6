//! Benchmark of the series engine against a plain C loop over mapped memory, LMDB, SQLite and the real tempsdb.
//!
//! All contenders run in turns in one run, in a scratch directory of `$TMPDIR`; a figure is the median over the rounds.
//! `--quick` makes one small round; a word picks the rows that contain it, and leaves the rest out. Run it with `tools/bench/run`, which builds the peers first; output is Markdown.

mod contenders;
mod footprint;

use std::io::{self, Write};

use anyhow::Result;
use contenders::{Job, Peers, Workload};

/// Name of the row, what is timed, length of a value, share of the records that this workload is given.
type Row = (&'static str, Workload, usize, u64);

const ROWS: [Row; 16] = [
    ("append 8 B, one by one", Workload::Append, 8, 1),
    ("append 8 B, writer's seat held", Workload::AppendSeated, 8, 1),
    ("append 8 B, batches of 1,000", Workload::AppendBatch, 8, 1),
    ("append 64 B, one by one", Workload::Append, 64, 4),
    ("append 64 B, writer's seat held", Workload::AppendSeated, 64, 4),
    ("append 64 B, batches of 1,000", Workload::AppendBatch, 64, 4),
    ("append 40 B varlen [16, 64, 256]", Workload::AppendVarlen, 40, 4),
    ("full scan 8 B, first", Workload::Scan, 8, 1),
    ("full scan 8 B, again", Workload::Rescan, 8, 1),
    ("full scan 64 B, first", Workload::Scan, 64, 4),
    ("full scan 64 B, again", Workload::Rescan, 64, 4),
    ("full scan 40 B varlen", Workload::ScanVarlen, 40, 4),
    ("point lookup 8 B", Workload::Point, 8, 1),
    ("point lookup 64 B", Workload::Point, 64, 4),
    ("100-record range lookup 8 B", Workload::Range, 8, 1),
    ("100-record range lookup 64 B", Workload::Range, 64, 4),
];

const CONTENDERS: [&str; 5] = ["headstack", "mapped C loop", "LMDB", "SQLite", "tempsdb"];

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (records, rounds) = if quick { (100_000, 1) } else { (4_000_000, 5) };
    let words = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let peers = Peers::find();
    let mut out = io::stdout();
    writeln!(
        out,
        "Records/s, and in brackets headstack's multiple of it; medians of {rounds}, {records} records.\n"
    )?;
    writeln!(out, "| workload | {} |", CONTENDERS.join(" | "))?;
    writeln!(out, "|---|{}", "---|".repeat(CONTENDERS.len()))?;
    let picked = |row: &&Row| words.as_ref().is_none_or(|words| row.0.contains(words));
    for &(name, workload, value_bytes, share) in ROWS.iter().filter(picked) {
        let job = Job {
            workload,
            value_bytes,
            records: records / share,
        };
        let cells = row(&peers, &job, rounds)?;
        writeln!(out, "| {name} | {} |", cells.join(" | "))?;
    }
    if words.is_some() {
        return Ok(());
    }
    writeln!(out)?;
    footprint::report(&mut out, &peers, quick)
}

/// Measures one row, the contenders taking turns.
fn row(peers: &Peers, job: &Job, rounds: usize) -> Result<Vec<String>> {
    let mut rates: [Vec<f64>; CONTENDERS.len()] = Default::default();
    for _ in 0..rounds {
        for (contender, rates) in rates.iter_mut().enumerate() {
            let scratch = tempfile::tempdir()?;
            let rate = match contender {
                0 => Some(contenders::headstack(job, scratch.path())?),
                1 => peers.program("raw", job, scratch.path())?,
                2 => peers.program("lmdb", job, scratch.path())?,
                3 => peers.program("sqlite", job, scratch.path())?,
                _ => peers.tempsdb(job, scratch.path())?,
            };
            rates.extend(rate);
        }
    }
    let medians: Vec<Option<f64>> = rates.into_iter().map(median).collect();
    let ours = medians[0].unwrap_or_default();
    let cell = |(contender, median): (usize, &Option<f64>)| match median {
        None => "not here".to_owned(),
        Some(rate) if contender == 0 => format!("**{}**", in_words(*rate)),
        Some(rate) => format!(
            "{} ({:.*}x)",
            in_words(*rate),
            if ours / rate < 10.0 { 2 } else { 0 },
            ours / rate
        ),
    };
    Ok(medians.iter().enumerate().map(cell).collect())
}

/// The middle of some figures; none of none.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// A rate with three digits: 71.2M, 654k.
fn in_words(rate: f64) -> String {
    let (scaled, unit) = if rate >= 1e6 {
        (rate / 1e6, "M")
    } else {
        (rate / 1e3, "k")
    };
    let digits = if scaled >= 100.0 { 0 } else { 1 };
    format!("{scaled:.digits$}{unit}")
}
