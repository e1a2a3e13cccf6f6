//! Benchmark of parity against ISA-L and snapraid: buffers of 256 KiB, in the cache and out of it.
//!
//! Contenders take turns in one run; a figure is the median over the rounds, in bytes of data per second. `--quick` makes
//! one short round; a word picks the rows that contain it, without snapraid. Run it with `tools/bench/run`, which builds the peer; output is Markdown.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use headstack::raid::parity::{self, Code, Part, Recovery};

/// Length of a buffer.
const BUFFER_BYTES: usize = 256 * 1024;

/// Data that do not stay in any cache: the stripes of a streaming run together.
const STREAM_BYTES: usize = 96 * 1024 * 1024;

/// What is measured: its name, ISA-L's word for the like, the function of `snapraid -T` for the like.
type Row = (&'static str, &'static str, Option<&'static str>);

const ROWS: [Row; 6] = [
    ("P", "p", Some("gen1")),
    ("P and Q", "pq", Some("gen2")),
    ("check P and Q", "check", None),
    ("one lost, by P", "p", Some("rec1")),
    ("one lost, by Q", "one", None),
    ("two lost", "two", Some("rec2")),
];

/// One stripe: data buffers, then P and Q. Page-aligned, as buffers for direct I/O are.
struct Stripe {
    bytes: Vec<u8>,
    start: usize,
    data: usize,
}

impl Stripe {
    fn new(data: usize, seed: usize) -> Self {
        let length = (data + 2) * BUFFER_BYTES;
        let bytes: Vec<u8> = (0..length + 4096)
            .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13).to_le_bytes()[0])
            .collect();
        let start = bytes.as_ptr().align_offset(4096);
        Self { bytes, start, data }
    }

    /// The data buffers, and the two after them.
    fn buffers(&mut self) -> (Vec<&[u8]>, [&mut [u8]; 2]) {
        let length = (self.data + 2) * BUFFER_BYTES;
        let (data, parities) = self.bytes[self.start..self.start + length].split_at_mut(self.data * BUFFER_BYTES);
        let (p, q) = parities.split_at_mut(BUFFER_BYTES);
        (data.chunks_exact(BUFFER_BYTES).collect(), [p, q])
    }
}

/// One operation on one stripe. Recoveries take the data buffers for whatever sources they need, and write to P and Q.
fn operation(name: &str, data: usize) -> Box<dyn Fn(&mut Stripe)> {
    let exponents: Vec<u8> = (0..u8::try_from(data).expect("few chunks")).collect();
    let recovery = |lost: &[Part], wanted: &[Part], exponents: &[u8]| {
        Recovery::new(Code::Pq(exponents), lost, wanted).expect("a loss that can be made good")
    };
    let zero = Part::Data(0);
    let one = match name {
        "one lost, by P" => recovery(&[zero], &[zero], &exponents),
        "one lost, by Q" => recovery(&[Part::P, zero], &[zero], &exponents),
        _ => recovery(&[zero, Part::Data(1)], &[zero, Part::Data(1)], &exponents),
    };
    match name {
        "P" => Box::new(|stripe| {
            let (data, [p, _]) = stripe.buffers();
            parity::p(p, &data);
        }),
        "P and Q" => Box::new(move |stripe| {
            let (data, [p, q]) = stripe.buffers();
            parity::pq(p, q, &data, &exponents);
        }),
        "check P and Q" => Box::new(move |stripe| {
            let (data, [p, q]) = stripe.buffers();
            assert!(parity::check_pq(p, q, &data, &exponents, 4096).is_empty());
        }),
        "two lost" => Box::new(move |stripe| {
            let (data, [p, q]) = stripe.buffers();
            one.run(&mut [p, q], &data);
        }),
        _ => Box::new(move |stripe| {
            let (data, [p, _]) = stripe.buffers();
            one.run(&mut [p], &data);
        }),
    }
}

/// Bytes of data per second of one operation over and over.
fn headstack(name: &str, data: usize, stripes: usize, seconds: f64) -> f64 {
    let mut all: Vec<Stripe> = (0..stripes).map(|seed| Stripe::new(data, seed)).collect();
    let generate = operation("P and Q", data);
    all.iter_mut().for_each(&generate);
    let operation = operation(name, data);
    let start = Instant::now();
    let mut passes = 0_u32;
    loop {
        all.iter_mut().for_each(&operation);
        passes += u32::try_from(stripes).expect("few stripes");
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed > seconds {
            return f64::from(passes) * (data * BUFFER_BYTES) as f64 / elapsed;
        }
    }
}

/// The same of ISA-L; none where the peer was not built.
fn isal(word: &str, data: usize, stripes: usize, seconds: f64) -> Result<Option<f64>> {
    let Some(peers) = std::env::var_os("HEADSTACK_BENCH_PEERS") else {
        return Ok(None);
    };
    let program = PathBuf::from(peers).join("isal");
    if !program.exists() {
        return Ok(None);
    }
    let arguments = [
        word.to_owned(),
        data.to_string(),
        stripes.to_string(),
        seconds.to_string(),
    ];
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(Some(String::from_utf8(output.stdout)?.trim().parse()?))
}

/// What snapraid's own speed test says, as text; none where snapraid is not installed.
fn snapraid() -> Option<String> {
    let output = Command::new("snapraid").arg("-T").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The fastest of snapraid's variants of a function, which its table has in MB/s.
fn snapraid_best(table: &str, function: &str) -> Option<f64> {
    let line = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(function))?;
    let rates = line
        .split_whitespace()
        .skip(1)
        .filter_map(|cell| cell.parse::<f64>().ok());
    rates.max_by(f64::total_cmp).map(|rate| rate * 1e6)
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn cell(peer: Option<f64>, ours: f64) -> String {
    peer.map_or_else(
        || "not here".to_owned(),
        |peer| format!("{:.1} ({:.2}x)", peer / 1e9, ours / peer),
    )
}

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, seconds) = if quick { (1, 0.02) } else { (15, 0.1) };
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let table = if quick || word.is_some() { None } else { snapraid() };
    let mut out = io::stdout();
    writeln!(
        out,
        "GB of data per second on one core, and in brackets headstack's multiple of it; medians of {rounds}; kernels: {}.\n",
        parity::kernel_name()
    )?;
    writeln!(
        out,
        "| operation | chunks | headstack | ISA-L | snapraid |\n|---|---|---|---|---|"
    )?;
    let picked = |row: &&Row| word.as_ref().is_none_or(|word| row.0.contains(word.as_str()));
    for &(name, word, function) in ROWS.iter().filter(picked) {
        for data in [4, 8] {
            for (place, stripes) in [("cached", 1), ("streamed", STREAM_BYTES / (data * BUFFER_BYTES))] {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                for _ in 0..rounds {
                    ours.push(headstack(name, data, stripes, seconds));
                    theirs.extend(isal(word, data, stripes, seconds)?);
                }
                let ours = median(ours).context("no round was made")?;
                let theirs = cell(median(theirs), ours);
                let best = (data == 8 && stripes == 1).then(|| {
                    table
                        .as_deref()
                        .zip(function)
                        .and_then(|(table, name)| snapraid_best(table, name))
                });
                let best = best.map_or_else(String::new, |best| cell(best, ours));
                let gigabytes = ours / 1e9;
                writeln!(
                    out,
                    "| {name} | {data}, {place} | **{gigabytes:.1}** | {theirs} | {best} |"
                )?;
            }
        }
    }
    Ok(())
}
