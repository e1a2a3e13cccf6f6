//! What many chunks cost: the time to open a database of many series, and what is held after scanning many chunks.
//!
//! The large database is made of hard links to the chunks of one series, so that making it is quick and takes no space;
//! opening reads names, not chunks, so this makes no difference to what is measured.

use std::{fs, io::Write, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use headstack::series::{Database, FixedParameters, OpenOptions, Timestamp};

use crate::contenders::Peers;

const PARAMETERS: FixedParameters = FixedParameters {
    block_size: 8,
    entries_per_chunk: 100,
    page_size: 4096,
};

/// Descriptors, mappings and resident bytes of this process.
fn held() -> Result<[i64; 3]> {
    let descriptors = fs::read_dir("/proc/self/fd")?.count();
    let mappings = fs::read_to_string("/proc/self/maps")?.lines().count();
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: i64 = pages
        .split_whitespace()
        .nth(1)
        .context("statm has a second word")?
        .parse()?;
    Ok([i64::try_from(descriptors)?, i64::try_from(mappings)?, pages * 4096])
}

/// Writes the report, Markdown.
///
/// # Errors
/// Any of the engine's and of the host's.
pub fn report(out: &mut dyn Write, peers: &Peers, quick: bool) -> Result<()> {
    let (series, chunks) = if quick { (50, 100) } else { (1000, 1000) };
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("db");
    let database = Database::create(&path, OpenOptions::read_write())?;
    let first = database.create_series("0", &PARAMETERS)?;
    for timestamp in 1..=chunks * u64::from(PARAMETERS.entries_per_chunk) {
        first.append(Timestamp(timestamp), &timestamp.to_le_bytes())?;
    }
    database.close()?;
    multiply(&path, series)?;

    writeln!(
        out,
        "| opening {series} series of {chunks} chunks each | ms |\n|---|---|"
    )?;
    for (name, options) in [
        ("reading", OpenOptions::read_only()),
        ("writing", OpenOptions::read_write()),
    ] {
        let start = Instant::now();
        let database = Database::open(&path, options.clone())?;
        let keys = database.keys()?;
        let opened = start.elapsed();
        for key in &keys {
            drop(database.any(key)?);
        }
        let all = start.elapsed();
        writeln!(
            out,
            "| for {name}: database and list of series | {:.1} |",
            opened.as_secs_f64() * 1e3
        )?;
        writeln!(out, "| for {name}: and every series | {:.1} |", all.as_secs_f64() * 1e3)?;
    }

    let database = Database::open(&path, OpenOptions::read_only())?;
    let before = held()?;
    let mut records = 0;
    for run in database.series("0")?.contents().range(Timestamp::MIN, Timestamp::MAX)? {
        records += run?.len();
    }
    anyhow::ensure!(records as u64 == chunks * 100, "scanned {records} records");
    let ours: Vec<i64> = held()?.iter().zip(before).map(|(now, then)| now - then).collect();
    writeln!(
        out,
        "\n| held after scanning {chunks} chunks | headstack | tempsdb |\n|---|---|---|"
    )?;
    let theirs = peers.tempsdb_footprint(chunks, scratch.path())?;
    for (number, name) in ["descriptors", "mappings", "resident bytes"].iter().enumerate() {
        let theirs = theirs.map_or("not here".to_owned(), |theirs| theirs[number].to_string());
        writeln!(out, "| {name} | {} | {theirs} |", ours[number])?;
    }
    Ok(())
}

/// Makes series 1, 2, .. of hard links to the chunks of series 0.
fn multiply(path: &Path, series: usize) -> Result<()> {
    let names: Vec<_> = fs::read_dir(path.join("0"))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    for number in 1..series {
        let copy = path.join(number.to_string());
        fs::create_dir(&copy)?;
        for name in &names {
            let from = path.join("0").join(name);
            if name == "metadata.txt" {
                fs::copy(from, copy.join(name))?;
            } else {
                fs::hard_link(from, copy.join(name))?;
            }
        }
    }
    Ok(())
}
