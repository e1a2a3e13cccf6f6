//! `headstack copy`: a dump that is restored as it comes, with no tape between.
//!
//! The dump runs in this thread, as it has the signals, the restore in another; each counts as a session. Whichever fails first
//! takes the other with it, and is the one that is told.

use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    dump::{
        host, identity, now_s,
        variables::{Variables, variable_of_copy},
    },
    dumping::{
        self,
        source::{Source, tree_of},
    },
    exit::{Code, Failure},
    output::{Cell, JsonOption, Output},
    reels::{StateArgument, tell},
    restoring::TargetOptions,
};
use crate::{
    dump::{
        context::{Context as Kept, Contexts},
        dumpdates::Dumpdates,
        reader::Reader,
        restore::{Choice, Destination, Restored, check_room, extract},
        writer::{Notice, Order, Summary, Watch, dump_kept},
    },
    tape::{Container, Limits, Names, Volumes, pipe},
};

/// Blocking factor: what is in memory between the two is some records of it.
const FACTOR: u32 = 64;

/// Copy a tree into a directory, as a dump and its restore do
///
/// Everything that a dump keeps is copied: owners, permissions, times, links, holes, attributes, access control lists. Of a
/// mounted database a snapshot is copied; into the root of one, series are copied as series. Files that are there are
/// overwritten, directories are not. Takes the places of two among the dumps and restores that may run at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack copy /srv/data /mnt/new
  headstack copy -e 'EXCLUDE=*.tmp' --rename a=b --extract-as E /srv/data /mnt/new")]
pub struct Arguments {
    /// Root of the tree
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    tree: PathBuf,
    /// Directory that it is copied into, which is made where it is missing
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    target: PathBuf,
    /// Snapshot to copy, of the mounted database that PATH is in; one is made, and removed afterwards, by default
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// What is left out, as backup applications tell it: EXCLUDE, NO_ACLS
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = variable_of_copy)]
    variables: Vec<(String, String)>,
    #[command(flatten)]
    options: TargetOptions,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Makes the copy.
    ///
    /// # Errors
    /// The engine's, of the dump or of the restore.
    pub fn run(self) -> Result<Code> {
        let source = Source::of(&self.tree)?;
        let state = self.state.open()?;
        let _sessions = [dumping::session(&*state)?, dumping::session(&*state)?];
        let target = self.made_target(&source)?;
        let destination = self.options.onto(Destination::open(&target)?, false)?;
        destination.claim()?;
        let (to, from) = pipe::pipe();
        let over = |end| Volumes {
            directory: state.clone(),
            names: Names::Piped(end),
            container: Container::Flat,
            record_bytes: FACTOR as usize * 1024,
            limits: Limits::default(),
        };
        let (volumes, reading) = (over(to), over(from));
        let order = self.order(&source)?;
        let mut dates = Dumpdates::open(state.clone())?;
        let kept = Kept::new(order.clone(), source.path().to_path_buf(), &volumes);
        let log = dumping::log_of(&*state, &kept);
        log.tell("Start", "Level 0");
        log.tell("Options", &format!("copy to {}", target.display()));
        let mut keeper = Contexts::of(state.clone()).begin(kept)?;
        let size_bytes = AtomicU64::new(0);
        let (dumped, restored) = thread::scope(|scope| {
            let restoring = scope.spawn(|| restore(reading, &destination, &size_bytes));
            let frozen = source.freeze(self.snapshot.as_deref(), &mut keeper, &*state);
            let dumped = frozen.and_then(|()| {
                let tree = tree_of(keeper.context())?;
                dumping::watched(&log, keeper.context().clone(), &mut |watch| {
                    let Watch { notice, stop } = watch;
                    let notice = &mut |told: &Notice| {
                        if let Notice::Estimate(blocks) = told {
                            size_bytes.store(blocks * 1024, Ordering::Release);
                        }
                        notice(told);
                    };
                    let watch = &mut Watch { notice, stop };
                    let keeper = Some(&mut keeper);
                    Ok(dump_kept(&tree, &order, volumes.clone(), &mut dates, keeper, watch)?)
                })
            });
            // The reader waits for as long as there is somebody who could write.
            drop(volumes);
            (dumped, restoring.join())
        });
        let dumped = dumping::ended(keeper, &log, dumped);
        let Ok(restored) = restored else {
            anyhow::bail!("{}: the restore ended in a panic", target.display());
        };
        self.told(dumped, restored)
    }

    /// The directory that is copied into.
    fn made_target(&self, source: &Source) -> Result<PathBuf> {
        let place = || self.target.display().to_string();
        match std::fs::create_dir(&self.target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error).with_context(place),
            _ => {}
        }
        let target = self.target.canonicalize().with_context(place)?;
        if target.starts_with(source.path()) {
            let message = format!("{} is in what is copied", target.display());
            return Err(Failure::new(Code::Usage, message, "a directory elsewhere").into());
        }
        Ok(target)
    }

    fn order(&self, source: &Source) -> Result<Order> {
        let identity = identity();
        Ok(Order {
            level: 0,
            now_s: now_s()?,
            factor: FACTOR,
            label: "copy".into(),
            host: host(),
            honour_nodump_from: 1,
            identity,
            path: source.known_as(),
            update: false,
            scope: source.scope(),
            history: false,
            selection: Variables::of(&self.variables)?.selection(&identity)?,
        })
    }

    fn told(&self, dumped: Result<Summary>, restored: Result<Restored>) -> Result<Code> {
        let (blocks, mut troubles) = match dumped {
            Ok(summary) => (summary.blocks, summary.troubles),
            // The restore had no use for more, and says why.
            Err(error) if is_left(&error) => (0, Vec::new()),
            Err(error) => return Err(error),
        };
        let restored = restored?;
        troubles.extend(restored.troubles);
        let code = tell(&troubles);
        let losses = troubles.iter().filter(|trouble| trouble.loss).count();
        let facts = [
            ("objects", Cell::Number(restored.objects)),
            ("size_bytes", Cell::Bytes(blocks * 1024)),
            ("troubles", Cell::Number(losses as u64)),
        ];
        let sentence = format!("copied: {} objects, {losses} troubles", restored.objects);
        Output::of_json("copy", self.json).done(&sentence, &facts)?;
        Ok(code)
    }
}

/// Restores what comes, once there is room for it.
fn restore(volumes: Volumes, destination: &Destination, size_bytes: &AtomicU64) -> Result<Restored> {
    let mut reader = Reader::open(volumes, 0).context("the dump")?;
    // Nothing comes before it is known how much it will be.
    check_room(destination, size_bytes.load(Ordering::Acquire))?;
    Ok(extract(&mut reader, destination, &Choice::all())?)
}

/// True where a dump ended as nobody reads it any more.
fn is_left(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|error| error.downcast_ref::<io::Error>());
    kinds.map(io::Error::kind).any(|kind| kind == io::ErrorKind::BrokenPipe)
}
