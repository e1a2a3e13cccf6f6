//! Random operations on a mount against a list in memory: an fsx for files that only grow.
//!
//! The model knows what every entry has to be, which must be refused, and what each snapshot froze.
//! `HEADSTACK_MODEL_CASES` sets how many runs there are.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

use super::fixture::{Mount, appender, record};

const VALUE: usize = 5;
const WIDTH: usize = 20 + 1 + 2 * VALUE + 1;

#[derive(Debug, Clone)]
enum Operation {
    /// Appends records with these steps between timestamps; a step of 0 is an entry that must be refused.
    AppendRaw(Vec<u8>),
    /// The same as lines.
    AppendText(Vec<u8>),
    /// Appends through a file that stays open.
    AppendOpen(Vec<u8>),
    /// Reads a piece of `raw` or `text`.
    Read { text: bool, at: u16, length: u16 },
    /// Reads a range.
    Range { from: u16, to: u16 },
    /// Removes the oldest chunk.
    Trim,
    /// Makes a snapshot.
    Snapshot,
    /// Unmounts and mounts.
    Remount,
}

fn operation() -> impl Strategy<Value = Operation> {
    let steps = || prop::collection::vec(0..6u8, 1..40);
    prop_oneof![
        4 => steps().prop_map(Operation::AppendRaw),
        4 => steps().prop_map(Operation::AppendText),
        4 => steps().prop_map(Operation::AppendOpen),
        6 => (any::<bool>(), any::<u16>(), 1..2000u16).prop_map(|(text, at, length)| Operation::Read { text, at, length }),
        3 => (0..3000u16, 0..3000u16).prop_map(|(from, to)| Operation::Range { from: from.min(to), to: from.max(to) }),
        2 => proptest::strategy::Just(Operation::Trim),
        1 => proptest::strategy::Just(Operation::Snapshot),
        1 => proptest::strategy::Just(Operation::Remount),
    ]
}

fn value(timestamp: u64) -> [u8; VALUE] {
    std::array::from_fn(|i| u8::try_from((timestamp * 7 + i as u64) % 251).unwrap())
}

fn line(timestamp: u64) -> String {
    let hex: String = value(timestamp).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{timestamp:020} {hex}\n")
}

/// What the series has to hold, and the mount that holds it.
struct Model {
    // Dropped before the mount, which would wait for it.
    open: Option<File>,
    mount: Mount,
    series: PathBuf,
    entries: Vec<u64>,
    last: u64,
    chunk: usize,
    /// Entries in the chunks that are left, oldest first.
    chunks: Vec<usize>,
    snapshots: BTreeMap<String, Vec<u64>>,
}

impl Model {
    fn new() -> Self {
        let mount = Mount::in_memory();
        let series = mount.series("s");
        mount.set(&series, "block_size", &VALUE.to_string());
        mount.set(&series, "entries_per_chunk", "16");
        Self {
            mount,
            series,
            open: None,
            entries: Vec::new(),
            last: 0,
            chunk: 16,
            chunks: Vec::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// The timestamps of a batch, and how many of them have to be taken.
    fn plan(&self, steps: &[u8]) -> (Vec<u64>, usize) {
        let mut at = self.last;
        let stamps: Vec<u64> = steps
            .iter()
            .map(|step| {
                at += u64::from(*step);
                at
            })
            .collect();
        let empty_start = usize::from(self.entries.is_empty() && self.last == 0 && steps[0] == 0);
        let good = steps.iter().skip(empty_start).take_while(|step| **step > 0).count() + empty_start;
        (stamps, good)
    }

    fn took(&mut self, stamps: &[u64]) {
        for stamp in stamps {
            self.entries.push(*stamp);
            self.last = *stamp;
            match self.chunks.last_mut() {
                Some(count) if *count < self.chunk => *count += 1,
                _ => self.chunks.push(1),
            }
        }
    }

    fn append(&mut self, steps: &[u8], text: bool, keep_open: bool) {
        let (stamps, good) = self.plan(steps);
        let encode = |t: &u64| match text {
            true => line(*t).into_bytes(),
            false => record(*t, &value(*t)),
        };
        let bytes: Vec<u8> = stamps.iter().flat_map(encode).collect();
        let width = bytes.len() / stamps.len();
        let mut fresh;
        let file = if keep_open {
            self.open.get_or_insert_with(|| appender(&self.series.join("raw")))
        } else {
            fresh = appender(&self.series.join(if text { "text" } else { "raw" }));
            &mut fresh
        };
        let outcome = file.write(&bytes);
        match (good, outcome) {
            (0, Err(error)) => assert_eq!(error.raw_os_error(), Some(libc::ERANGE)),
            (good, outcome) => assert_eq!(outcome.unwrap(), good * width),
        }
        self.took(&stamps[..good]);
    }

    fn whole(&self, text: bool) -> Vec<u8> {
        match text {
            true => self.entries.iter().flat_map(|t| line(*t).into_bytes()).collect(),
            false => self.entries.iter().flat_map(|t| record(*t, &value(*t))).collect(),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::AppendRaw(steps) => self.append(steps, false, false),
            Operation::AppendText(steps) => self.append(steps, true, false),
            Operation::AppendOpen(steps) => self.append(steps, false, true),
            Operation::Read { text, at, length } => {
                let whole = self.whole(*text);
                let at = usize::from(*at) % (whole.len() + 10);
                let mut buffer = vec![0; usize::from(*length)];
                let file = File::open(self.series.join(if *text { "text" } else { "raw" })).unwrap();
                let read = file.read_at(&mut buffer, at as u64).unwrap();
                let rest = whole.get(at..).unwrap_or_default();
                assert!(buffer[..read] == rest[..rest.len().min(buffer.len())]);
            }
            Operation::Range { from, to } => {
                let (from, to) = (u64::from(*from), u64::from(*to));
                let expected: String = self
                    .entries
                    .iter()
                    .filter(|t| (from..=to).contains(*t))
                    .map(|t| line(*t))
                    .collect();
                let path = self.series.join(format!("range/{from}-{to}.text"));
                assert_eq!(fs::read_to_string(path).unwrap(), expected);
            }
            Operation::Trim if self.chunks.len() > 1 => {
                let oldest = self.entries[0];
                fs::remove_file(self.series.join(format!("chunks/{oldest:020}.chunk"))).unwrap();
                let gone = self.chunks.remove(0);
                self.entries.drain(..gone);
            }
            Operation::Trim => {}
            Operation::Snapshot => {
                let name = format!("n{}", self.snapshots.len());
                fs::create_dir(self.mount.path(".snapshot").join(&name)).unwrap();
                self.snapshots.insert(name, self.entries.clone());
            }
            Operation::Remount => {
                self.open = None;
                self.mount.remount("");
            }
        }
    }

    fn check(&self) {
        for (text, name) in [(false, "raw"), (true, "text")] {
            let whole = self.whole(text);
            assert_eq!(fs::metadata(self.series.join(name)).unwrap().len(), whole.len() as u64);
        }
        assert!(fs::read(self.series.join("raw")).unwrap() == self.whole(false));
        let latest = fs::read_to_string(self.series.join("latest")).unwrap();
        assert_eq!(latest, self.entries.last().map(|t| line(*t)).unwrap_or_default());
    }

    fn check_snapshots(&self) {
        for (name, entries) in &self.snapshots {
            let expected: Vec<u8> = entries.iter().flat_map(|t| record(*t, &value(*t))).collect();
            let frozen = self.mount.path(".snapshot").join(name).join("s");
            assert!(fs::read(frozen.join("raw")).unwrap() == expected, "snapshot {name}");
            assert_eq!(
                fs::metadata(frozen.join("text")).unwrap().len(),
                (entries.len() * WIDTH) as u64
            );
        }
    }
}

fn cases() -> u32 {
    std::env::var("HEADSTACK_MODEL_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(12)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: cases(), max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn a_mount_is_what_its_model_is(operations in prop::collection::vec(operation(), 1..60)) {
        let mut model = Model::new();
        for operation in &operations {
            model.apply(operation);
            model.check();
        }
        model.check_snapshots();
    }
}
