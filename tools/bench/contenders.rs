//! The contenders of the series benchmark: headstack in this process, its peers as child processes.
//!
//! Every contender stores records with the timestamps 1, 2, .. and values that begin with the timestamp's complement, so
//! that timestamp and head of a record add up to all ones; the sum over what was read shows that all of it was read.
//! The peers' own descriptions stand in `peers/peer.h` and in `tools/peers/tempsdb/bench.py`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use headstack::series::{Database, FixedParameters, OpenOptions, Records, Series, Timestamp, VarlenParameters};

/// Lookups in a timed run, and records in a row that a range lookup reads.
pub const LOOKUPS: u64 = 100_000;
/// What the slow peer does instead.
pub const LOOKUPS_OF_TEMPSDB: u64 = 2_000;
/// Records of a range lookup.
pub const RANGE: u64 = 100;
/// Records of one batch append.
const BATCH: u64 = 1000;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Appends one by one.
    Append,
    /// Appends one by one while holding the writer's seat; peers append as ever.
    AppendSeated,
    /// Appends in batches of 1,000; peers append as ever.
    AppendBatch,
    /// Appends to a variable-length series with the profile [16, 64, 256]; peers but tempsdb append as ever.
    AppendVarlen,
    /// Reads all records for the first time since they were appended.
    Scan,
    /// Reads all records again.
    Rescan,
    /// Reads all values of a variable-length series; peers but tempsdb scan as ever.
    ScanVarlen,
    /// Looks up single records.
    Point,
    /// Looks up [`RANGE`] records in a row.
    Range,
}

/// One measurement to make.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// What is timed.
    pub workload: Workload,
    /// Length of a value in bytes.
    pub value_bytes: usize,
    /// Records in the store.
    pub records: u64,
}

impl Job {
    /// How many records the timed part touches, given how many lookups it makes.
    fn touched(&self, lookups: u64) -> u64 {
        match self.workload {
            Workload::Point => lookups,
            Workload::Range => lookups * RANGE,
            _ => self.records,
        }
    }
}

/// Where peers are found.
pub struct Peers {
    programs: PathBuf,
    python: PathBuf,
}

/// Timestamps to look up, the same as the peers': xorshift over 1 ..= limit.
struct Scattered(u64);

impl Scattered {
    fn next(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit + 1
    }
}

/// Adds up what was read.
#[derive(Default)]
struct Sum {
    sum: u64,
    records: u64,
}

impl Sum {
    fn add(&mut self, timestamp: Timestamp, value: &[u8]) {
        let head = value.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        self.sum = self.sum.wrapping_add(timestamp.0).wrapping_add(head);
        self.records += 1;
    }

    /// Adds all records of a run.
    fn add_run(&mut self, run: &Records) -> Result<()> {
        let (mut sum, mut records) = (self.sum, self.records);
        for (timestamp, value) in run.iter() {
            let head = value.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
            sum = sum.wrapping_add(timestamp.0).wrapping_add(head);
        }
        records += run.len() as u64;
        *self = Self { sum, records };
        Ok(run.verify()?)
    }

    fn check(&self, records: u64) -> Result<()> {
        ensure!(self.records == records, "read {} records of {records}", self.records);
        ensure!(self.sum == 0_u64.wrapping_sub(records), "read the wrong records");
        Ok(())
    }
}

fn fill(value: &mut [u8], timestamp: u64) {
    value[..8].copy_from_slice(&(!timestamp).to_le_bytes());
}

/// Records a second of headstack at a job, in a fresh database in `directory`.
///
/// # Errors
/// Any of the engine's, and wrong sums.
pub fn headstack(job: &Job, directory: &Path) -> Result<f64> {
    let database = Database::create(&directory.join("headstack"), OpenOptions::read_write())?;
    let varlen = matches!(job.workload, Workload::AppendVarlen | Workload::ScanVarlen);
    let seconds = if varlen {
        varlen_seconds(&database, job)?
    } else {
        fixed_seconds(&database, job)?
    };
    database.close()?;
    Ok(job.touched(LOOKUPS) as f64 / seconds)
}

fn fixed_seconds(database: &Database, job: &Job) -> Result<f64> {
    let parameters = FixedParameters {
        block_size: u32::try_from(job.value_bytes)?,
        entries_per_chunk: 100_000,
        page_size: 4096,
    };
    let series = database.create_series("s", &parameters)?;
    let start = Instant::now();
    append(&series, job)?;
    let appended = start.elapsed().as_secs_f64();
    if job.workload == Workload::Rescan {
        scan(&series, job.records)?;
    }
    let start = Instant::now();
    match job.workload {
        Workload::Scan | Workload::Rescan => scan(&series, job.records)?,
        Workload::Point => points(&series, job.records)?,
        Workload::Range => ranges(&series, job.records)?,
        _ => return Ok(appended),
    }
    Ok(start.elapsed().as_secs_f64())
}

fn append(series: &Arc<Series>, job: &Job) -> Result<()> {
    let mut value = vec![0; job.value_bytes];
    match job.workload {
        Workload::AppendSeated => {
            let mut appender = series.appender()?;
            for timestamp in 1..=job.records {
                fill(&mut value, timestamp);
                appender.append(Timestamp(timestamp), &value)?;
            }
        }
        Workload::AppendBatch => {
            let mut records = Vec::new();
            for timestamp in 1..=job.records {
                fill(&mut value, timestamp);
                records.extend_from_slice(&timestamp.to_le_bytes());
                records.extend_from_slice(&value);
                if timestamp % BATCH == 0 || timestamp == job.records {
                    series.append_records(&records).1?;
                    records.clear();
                }
            }
        }
        _ => {
            for timestamp in 1..=job.records {
                fill(&mut value, timestamp);
                series.append(Timestamp(timestamp), &value)?;
            }
        }
    }
    Ok(())
}

fn scan(series: &Series, records: u64) -> Result<()> {
    let mut sum = Sum::default();
    for run in series.contents().range(Timestamp::MIN, Timestamp::MAX)? {
        sum.add_run(&run?)?;
    }
    sum.check(records)
}

fn points(series: &Series, records: u64) -> Result<()> {
    let (mut sum, mut scattered) = (Sum::default(), Scattered(88_172_645_463_325_252));
    for _ in 0..LOOKUPS {
        let timestamp = Timestamp(scattered.next(records));
        let value = series.contents().get(timestamp)?.context("a record is missing")?;
        sum.add(timestamp, &value);
    }
    sum.check(LOOKUPS)
}

fn ranges(series: &Series, records: u64) -> Result<()> {
    let (mut sum, mut scattered) = (Sum::default(), Scattered(88_172_645_463_325_252));
    for _ in 0..LOOKUPS {
        let from = scattered.next(records - RANGE + 1);
        for run in series.contents().range(Timestamp(from), Timestamp(from + RANGE - 1))? {
            sum.add_run(&run?)?;
        }
    }
    sum.check(LOOKUPS * RANGE)
}

fn varlen_seconds(database: &Database, job: &Job) -> Result<f64> {
    let parameters = VarlenParameters {
        length_profile: vec![16, 64, 256],
        size_struct: 2,
        entries_per_chunk: 100_000,
    };
    let series = database.create_varlen_series("v", &parameters)?;
    let mut value = vec![0; job.value_bytes];
    let start = Instant::now();
    for timestamp in 1..=job.records {
        fill(&mut value, timestamp);
        series.append(Timestamp(timestamp), &value)?;
    }
    let appended = start.elapsed().as_secs_f64();
    if job.workload == Workload::AppendVarlen {
        return Ok(appended);
    }
    let start = Instant::now();
    let mut sum = Sum::default();
    let mut range = series.contents().range(Timestamp::MIN, Timestamp::MAX)?;
    while let Some(timestamp) = range.next_into(&mut value) {
        sum.add(timestamp?, &value);
    }
    sum.check(job.records)?;
    Ok(start.elapsed().as_secs_f64())
}

impl Peers {
    /// Programs from `$HEADSTACK_BENCH_PEERS`, Python from `$HEADSTACK_TEMPSDB_PYTHON` or where `tools/setup` puts it.
    pub fn find() -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let given = |name, default: &str| std::env::var_os(name).map_or(top.join(default), PathBuf::from);
        Self {
            programs: given("HEADSTACK_BENCH_PEERS", "target/bench-peers"),
            python: given("HEADSTACK_TEMPSDB_PYTHON", "target/peers/tempsdb-0.6.4/bin/python"),
        }
    }

    /// Records a second of a peer written in C: `raw`, `lmdb` or `sqlite`; none where it was not built.
    ///
    /// # Errors
    /// Where it fails.
    pub fn program(&self, name: &str, job: &Job, directory: &Path) -> Result<Option<f64>> {
        let path = self.programs.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let workload = match job.workload {
            Workload::Scan | Workload::ScanVarlen => "scan",
            Workload::Rescan => "rescan",
            Workload::Point => "point",
            Workload::Range => "range",
            _ => "append",
        };
        let seconds = seconds(Command::new(path).arg(workload), job, directory)?;
        Ok(Some(job.touched(LOOKUPS) as f64 / seconds))
    }

    fn script(&self, workload: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/peers/tempsdb/bench.py"))
            .arg(workload);
        command
    }

    /// Records a second of the real tempsdb, which is given a sixteenth of the records; none where it is not installed.
    ///
    /// # Errors
    /// Where it fails.
    pub fn tempsdb(&self, job: &Job, directory: &Path) -> Result<Option<f64>> {
        if !self.python.exists() {
            return Ok(None);
        }
        let workload = match job.workload {
            Workload::Scan | Workload::Rescan => "scan",
            Workload::Point => "point",
            Workload::Range => "range",
            Workload::AppendVarlen => "varlen",
            Workload::ScanVarlen => "varlen-scan",
            _ => "append",
        };
        let job = Job {
            records: job.records / 16,
            ..*job
        };
        let seconds = seconds(&mut self.script(workload), &job, directory)?;
        Ok(Some(job.touched(LOOKUPS_OF_TEMPSDB) as f64 / seconds))
    }

    /// Descriptors, mappings and resident bytes that tempsdb gains by scanning `chunks` chunks.
    ///
    /// # Errors
    /// Where it fails.
    pub fn tempsdb_footprint(&self, chunks: u64, directory: &Path) -> Result<Option<[i64; 3]>> {
        if !self.python.exists() {
            return Ok(None);
        }
        let job = Job {
            workload: Workload::Scan,
            value_bytes: 8,
            records: chunks,
        };
        let text = output(&mut self.script("footprint"), &job, directory)?;
        let numbers = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<i64>, _>>()?;
        Ok(numbers.first_chunk().copied())
    }
}

fn seconds(command: &mut Command, job: &Job, directory: &Path) -> Result<f64> {
    Ok(output(command, job, directory)?.trim().parse()?)
}

fn output(command: &mut Command, job: &Job, directory: &Path) -> Result<String> {
    command
        .args([job.value_bytes.to_string(), job.records.to_string()])
        .arg(directory);
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
