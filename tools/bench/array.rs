//! Benchmark of the array engine against Linux md under User Mode Linux, over the same kind of images in memory.
//!
//! Ours is the engine alone, called by as many threads as a row says; md is measured by fio inside its kernel, which has one
//! CPU, costly system calls and no AVX, so that its figures are a floor. Check and rebuild are bytes of each member per
//! second. `--quick` makes one short round of one shape; a word picks the shapes whose name contains it, a second one the
//! columns, `--one` calls the engine by one thread instead of four, `--no-md` leaves md out. Output is Markdown.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use headstack::{
    raid::{
        Array, Level, Slot,
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::{Time, Uuid},
    },
    storage::HostDirectory,
};

const MIB: u64 = 1 << 20;

/// Name, level, md's layout, members.
type Shape = (&'static str, Level, u32, usize);

const SHAPES: [Shape; 7] = [
    ("RAID 0 x 4", Level::Raid0, 0, 4),
    ("RAID 1 x 2", Level::Raid1, 0, 2),
    ("RAID 10 x 4", Level::Raid10, 0x102, 4),
    ("RAID 5 x 4", Level::Raid5, 2, 4),
    ("RAID 5 x 6", Level::Raid5, 2, 6),
    ("RAID 6 x 4", Level::Raid6, 2, 4),
    ("RAID 6 x 6", Level::Raid6, 2, 6),
];

/// What is measured, in the order of the columns: bytes per second, or operations where the name says so.
const COLUMNS: [&str; 7] = [
    "read 1 MiB",
    "write 1 MiB",
    "write whole stripes",
    "read 4 KiB, k/s",
    "write 4 KiB, k/s",
    "check",
    "rebuild",
];

/// How much and how long.
#[derive(Clone, Copy)]
struct Effort {
    member_mib: u64,
    seconds: f64,
    rounds: usize,
}

/// Who calls the engine, and a word of the columns that are wanted.
#[derive(Clone, Copy)]
struct Who<'a> {
    threads: u64,
    column: Option<&'a str>,
}

/// A random number generator that is as fast as it has to be (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Makes an array of new images; their pages are in memory when it returns.
fn new_array(scratch: &Path, shape: Shape, effort: Effort) -> Result<(Array, Vec<Image>)> {
    let directory = Arc::new(HostDirectory::open(scratch)?);
    let (_, level, layout, members) = shape;
    let mut images = Vec::new();
    for number in 0..=members {
        let name = PathBuf::from(format!("{number}.img"));
        fs::File::create(scratch.join(&name))?.set_len(effort.member_mib * MIB)?;
        images.push(Image {
            directory: directory.clone(),
            name,
        });
    }
    let new = |number: usize| NewImage {
        image: images[number].clone(),
        uuid: uuid(number),
    };
    let wish = Wish {
        name: "bench".to_owned(),
        uuid: uuid(99),
        created: Time::new(1_700_000_000, 0),
        level,
        layout,
        chunk_bytes: 512 << 10,
        initialisation: Initialisation::Foreground,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: true,
    };
    let all: Vec<Option<NewImage>> = (0..members).map(|number| Some(new(number))).collect();
    let array = create(&wish, &all, &[])?;
    sequential(&array, MIB, 1, f64::MAX, 1, true)?;
    Ok((array, images))
}

fn uuid(number: usize) -> Uuid {
    Uuid([u8::try_from(number + 1).unwrap_or(0); 16])
}

/// Bytes per second of whole passes of 1 MiB requests.
fn sequential(array: &Array, request: u64, threads: u64, seconds: f64, passes: u32, write: bool) -> Result<f64> {
    let steps = array.size_bytes() / request;
    let next = AtomicU64::new(0);
    let end = steps * u64::from(passes);
    let start = Instant::now();
    thread::scope(|scope| {
        let run = |_| {
            scope.spawn(|| -> Result<()> {
                let mut buffer: Vec<u8> = (0..request).map(|at| at.to_le_bytes()[0]).collect();
                loop {
                    let step = next.fetch_add(1, Ordering::Relaxed);
                    if step >= end || start.elapsed().as_secs_f64() > seconds {
                        return Ok(());
                    }
                    if write {
                        array.write_at(&buffer, step % steps * request, false)?;
                    } else {
                        array.read_at(&mut buffer, step % steps * request)?;
                    }
                }
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().try_for_each(joined)
    })?;
    let done = next.load(Ordering::Relaxed).min(end);
    Ok(done as f64 * request as f64 / start.elapsed().as_secs_f64())
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

/// Operations per second of 4 KiB each, anywhere.
fn random(array: &Array, threads: u64, seconds: f64, write: bool) -> Result<f64> {
    let pages = array.size_bytes() / 4096;
    let count = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        let run = |seed| {
            let count = &count;
            scope.spawn(move || -> Result<()> {
                let (mut random, mut buffer, mut done) = (Random(seed), [7; 4096], 0);
                while start.elapsed().as_secs_f64() < seconds {
                    let at = random.below(pages) * 4096;
                    if write {
                        array.write_at(&buffer, at, false)?;
                    } else {
                        array.read_at(&mut buffer, at)?;
                    }
                    done += 1;
                }
                count.fetch_add(done, Ordering::Relaxed);
                Ok(())
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().try_for_each(joined)
    })?;
    Ok(count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

/// Our figures for the columns that are wanted; 0 for the others and where the level has none.
fn headstack(scratch: &Path, shape: Shape, effort: Effort, who: Who<'_>) -> Result<[f64; 7]> {
    let (array, images) = new_array(scratch, shape, effort)?;
    let (seconds, threads) = (effort.seconds, who.threads);
    let request = |column: usize| {
        if column == 2 {
            array.geometry().stripe_bytes().max(MIB)
        } else {
            MIB
        }
    };
    let mut figures = [0.0; 7];
    for column in (0..7).filter(|column| who.column.is_none_or(|word| COLUMNS[*column].contains(word))) {
        figures[column] = match column {
            0..3 => sequential(&array, request(column), threads, seconds, u32::MAX, column > 0)?,
            3 | 4 => random(&array, threads, seconds, column == 4)?,
            _ if shape.1.is_bare() => 0.0,
            5 => check(&array)?,
            _ => rebuild(&array, &images[shape.3])?,
        };
    }
    array.stop(Time::new(1_700_000_100, 0))?;
    Ok(figures)
}

/// Bytes of each member per second that are compared.
fn check(array: &Array) -> Result<f64> {
    array.flush()?;
    let start = Instant::now();
    array.verify(headstack::raid::scrub::Repair::Report, &mut |_| {
        ControlFlow::Continue(())
    })?;
    Ok(array.geometry().used_bytes(Slot(0)) as f64 / start.elapsed().as_secs_f64())
}

/// Bytes per second that a member is filled with.
fn rebuild(array: &Array, spare: &Image) -> Result<f64> {
    array.fail_member(Slot(1))?;
    array.add(spare, uuid(50))?;
    let start = Instant::now();
    array.rebuild(&mut |_| ControlFlow::Continue(()))?;
    Ok(array.geometry().used_bytes(Slot(0)) as f64 / start.elapsed().as_secs_f64())
}

/// The guest's script: prints seven figures, one a line.
fn guest(shape: Shape, effort: Effort) -> String {
    let (_, level, _, members) = shape;
    let disks: Vec<String> = ('a'..)
        .take(members)
        .map(|letter| format!("/dev/ubd{letter}"))
        .collect();
    let spare = ('a'..).nth(members).unwrap_or('z');
    let level_name = format!("{level:?}").to_lowercase();
    let mut script = String::from("set -e\necho 10000000 >/proc/sys/dev/raid/speed_limit_max\n");
    script += "echo 10000000 >/proc/sys/dev/raid/speed_limit_min\n";
    let redundant = !matches!(level, Level::Raid0);
    let chunk = if level == Level::Raid1 { "" } else { "--chunk=512" };
    let clean = if redundant {
        "--assume-clean --bitmap=internal"
    } else {
        ""
    };
    let _ = writeln!(
        script,
        "mdadm --create /dev/md0 --run --level={level_name} --raid-devices={members} {chunk} {clean} {} >/dev/null 2>&1",
        disks.join(" ")
    );
    script += "run() { fio --name=r --filename=/dev/md0 --direct=1 --ioengine=libaio --time_based --norandommap --minimal \
               --runtime=SECONDS \"$@\" 2>/dev/null | tail -1; }\n";
    script = script.replace("SECONDS", &format!("{:.1}", effort.seconds.max(1.0)));
    let data = match level {
        Level::Raid1 => 2,
        Level::Raid10 => members / 2,
        _ => members - usize::from(level.parities()),
    };
    script +=
        "run --rw=read --bs=1m --iodepth=4 | cut -d';' -f7\nrun --rw=write --bs=1m --iodepth=4 | cut -d';' -f48\n";
    let _ = writeln!(
        script,
        "run --rw=write --bs={}k --iodepth=4 | cut -d';' -f48",
        data * 512
    );
    script += "run --rw=randread --bs=4k --iodepth=32 | cut -d';' -f8\nrun --rw=randwrite --bs=4k --iodepth=32 | cut -d';' -f49\n";
    if redundant {
        script += "up() { cut -d' ' -f1 /proc/uptime; }\nidle() { while ! grep -q idle /sys/block/md0/md/sync_action; do sleep 0.02; done; }\n";
        script += "size=$(cat /sys/block/md0/md/component_size)\nwait_for() { idle; end=$(up); echo \"$size $start $end\" | awk '{ print $1 * 1024 / ($3 - $2) }'; }\n";
        script += "start=$(up)\necho check >/sys/block/md0/md/sync_action\nwait_for\n";
        let _ = writeln!(
            script,
            "mdadm /dev/md0 --fail /dev/ubdb --remove /dev/ubdb >/dev/null 2>&1\nstart=$(up)\nmdadm /dev/md0 --add /dev/ubd{spare} >/dev/null 2>&1\nsleep 0.05\nwait_for"
        );
    }
    script += "mdadm --stop /dev/md0 >/dev/null 2>&1\n";
    script
}

/// md's figures for the columns; none where User Mode Linux is not installed.
fn md(scratch: &Path, shape: Shape, effort: Effort) -> Result<Option<[f64; 7]>> {
    if !Path::new("/usr/bin/linux.uml").exists() {
        return Ok(None);
    }
    let script = scratch.join("guest.sh");
    fs::write(&script, guest(shape, effort))?;
    let mut images = Vec::new();
    for number in 0..=shape.3 {
        let path = scratch.join(format!("{number}.img"));
        // Zeros that have space, as ours after its first pass.
        fs::write(&path, vec![0; usize::try_from(effort.member_mib * MIB)?])?;
        images.push(path);
    }
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/peers/md/run.py");
    let output = Command::new("python3")
        .arg(runner)
        .args(["--memory", "256", "--seconds", "300"])
        .arg(&script)
        .args(&images)
        .output()
        .context("cannot run python3")?;
    if !output.status.success() {
        bail!(
            "md: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut figures = [0.0; 7];
    let text = String::from_utf8(output.stdout)?;
    for (figure, line) in figures.iter_mut().zip(text.lines()) {
        *figure = line.trim().parse().with_context(|| format!("md said {text:?}"))?;
    }
    figures[..3].iter_mut().for_each(|figure| *figure *= 1024.0);
    Ok(Some(figures))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

fn medians(rounds: &[[f64; 7]]) -> [f64; 7] {
    std::array::from_fn(|column| median(rounds.iter().map(|round| round[column]).collect()))
}

fn shown(column: usize, figure: f64) -> String {
    match column {
        _ if figure == 0.0 => "-".to_owned(),
        3 | 4 => format!("{:.1}", figure / 1e3),
        _ => format!("{:.2}", figure / 1e9),
    }
}

/// A directory in memory with room for all images and the guest's own memory, or the one for temporary files.
fn memory(effort: Effort) -> PathBuf {
    let needed = (8 * effort.member_mib + 512) * MIB;
    let free = rustix::fs::statvfs("/dev/shm").map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if free >= needed {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    }
}

/// The cells of a shape's line in the table.
fn cells(scratch: &Path, shape: Shape, effort: Effort, who: Who<'_>, with_md: bool) -> Result<Vec<String>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        ours.push(headstack(scratch, shape, effort, who)?);
        if with_md {
            theirs.extend(md(scratch, shape, effort)?);
        }
    }
    let (ours, theirs) = (medians(&ours), medians(&theirs));
    let cell = |column: usize| {
        let ratio = ours[column] / theirs[column];
        let text = shown(column, ours[column]);
        if ratio.is_finite() && ratio > 0.0 {
            format!("{text} ({ratio:.1}x)")
        } else {
            text
        }
    };
    Ok((0..COLUMNS.len()).map(cell).collect())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let effort = if quick {
        Effort {
            member_mib: 32,
            seconds: 0.2,
            rounds: 1,
        }
    } else {
        Effort {
            member_mib: 384,
            seconds: 2.0,
            rounds: 3,
        }
    };
    let with_md = !arguments.iter().any(|argument| argument == "--no-md");
    let mut words = arguments.iter().filter(|argument| !argument.starts_with("--"));
    let (word, column) = (words.next(), words.next().map(String::as_str));
    let threads = if arguments.iter().any(|argument| argument == "--one") {
        1
    } else {
        4
    };
    let who = Who { threads, column };
    let base = memory(effort);
    let scratch = tempfile::tempdir_in(base)?;
    let mut out = io::stdout();
    writeln!(
        out,
        "GB/s or thousand operations per second, {threads} threads, and in brackets headstack's multiple of Linux md; \
         chunk 512 KiB, images of {} MiB in memory, medians of {}.\n",
        effort.member_mib, effort.rounds
    )?;
    writeln!(
        out,
        "| array | {} |\n|---|{}",
        COLUMNS.join(" | "),
        "---|".repeat(COLUMNS.len())
    )?;
    for shape in SHAPES
        .iter()
        .filter(|shape| word.is_none_or(|word| shape.0.contains(word.as_str())))
    {
        if quick && shape.0 != "RAID 5 x 4" {
            continue;
        }
        let cells = cells(scratch.path(), *shape, effort, who, with_md)?;
        writeln!(out, "| {} | {} |", shape.0, cells.join(" | "))?;
    }
    Ok(())
}
