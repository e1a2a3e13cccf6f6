//! `headstack dump`: puts a tree on tapes.
//!
//! Levels are options as other programs have them, `-0` to `-31`; they are turned into `--level` before the line is parsed.
//! What backup applications tell besides is in `variables.rs`.

pub(super) mod variables;

use std::{
    ffi::OsString,
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::Args;

use self::variables::Variables;
use super::{
    dumping::{
        self,
        source::{Source, tree_of},
        told,
    },
    exit::Code,
    output::{JsonOption, Output},
    reels::{StateArgument, TapesArgument, absolute},
};
use crate::{
    dump::{
        context::{Context as Kept, Contexts},
        dumpdates::Dumpdates,
        writer::{Order, check, dump_kept},
    },
    tape::{self, Container},
};

/// Blocking factor where none is told, as stock dump has it.
const FACTOR: u32 = 10;

/// Put a tree on tapes that any restore reads
///
/// Level 0 takes everything, a higher one what changed since the latest dump of a lower level that was made with -u. The
/// dump goes behind what is on the tape. One that is stopped or killed while it writes files is kept as a context, which
/// `headstack context resume` goes on with. Of a mounted database a snapshot is dumped, so that it may be written meanwhile; of
/// a store each array is one object, arrays/NAME.img, read at one moment while it is served; STORE/arrays/NAME.img is one alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack dump -0 -u -f full.tap /srv/data
  headstack dump -1 -u -f full.tap /srv/data
      what changed since, behind it on the same tape
  headstack dump -0 --flat -f data.dump /srv/data
      a stream that stock restore takes with -f
  headstack dump -0 -f full.tap -e 'EXCLUDE=*.tmp,core' /srv/data
      without files of these names
  headstack dump -0 -u -f r5.tap /srv/store/arrays/r5.img
      one array of a store")]
pub struct Arguments {
    /// Level, 0 to 31; also as -0 to -31. 0 by default
    #[arg(long, value_name = "N")]
    level: Option<u8>,
    #[command(flatten)]
    tapes: TapesArgument,
    /// Blocking factor: records of so many times 1024 bytes, 4 to 256. 10 by default
    #[arg(short, long, value_name = "FACTOR")]
    blocks: Option<u32>,
    /// Remember the dump, so that higher levels build on it
    #[arg(short, long)]
    update: bool,
    /// Write a plain stream of bytes in place of a tape image; one that is there is overwritten
    #[arg(long)]
    flat: bool,
    /// Name of the dump on the tape, at most 15 bytes; none by default
    #[arg(short = 'L', long, value_name = "LABEL")]
    label: Option<String>,
    /// Leave out what is flagged nodump (chattr +d) from this level on
    #[arg(long, value_name = "N", default_value_t = 1)]
    honour_nodump_from: u8,
    /// Snapshot to dump, of the mounted database that PATH is in; one is made, and removed afterwards, by default
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// Keep no file history: the dump is in no catalogue, and cannot be resumed if it stops
    #[arg(long)]
    no_history: bool,
    /// What backup applications tell: LEVEL, UPDATE, HIST, EXCLUDE, NO_ACLS, IGNORE_CTIME, DMP_NAME, MOVER_RECORD_SIZE
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = variables::variable)]
    variables: Vec<(String, String)>,
    /// Root of the tree
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    path: PathBuf,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

/// Turns `-0` to `-31` behind the verb into `--level`.
pub fn with_levels(arguments: Vec<OsString>) -> Vec<OsString> {
    let verb = arguments
        .iter()
        .skip(1)
        .position(|word| !word.to_string_lossy().starts_with('-'));
    let Some(verb) = verb.map(|at| at + 1).filter(|at| arguments[*at] == "dump") else {
        return arguments;
    };
    let end = arguments
        .iter()
        .position(|word| word == "--")
        .unwrap_or(arguments.len());
    let level = |(at, word): (usize, OsString)| {
        let text = word.to_str().and_then(|word| word.strip_prefix('-'));
        match text.filter(|text| at > verb && at < end && is_level(text)) {
            Some(level) => format!("--level={level}").into(),
            None => word,
        }
    };
    arguments.into_iter().enumerate().map(level).collect()
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Arguments {
    /// Makes the dump.
    ///
    /// # Errors
    /// The engine's; [`tape::Error::WriteProtected`].
    pub fn run(self) -> Result<Code> {
        let source = Source::of(&self.path)?;
        let tape = self.tapes.first();
        let remembered = self.state.memory()?.of(&absolute(tape)?);
        if remembered.write_protected {
            return Err(tape::Error::WriteProtected {
                path: tape.to_path_buf(),
            }
            .into());
        }
        let container = if self.flat { Container::Flat } else { Container::Tap };
        let order = self.order(&source)?;
        check(&order)?;
        let volumes = self.tapes.volumes(container, order.factor, remembered.limits())?;
        let state = self.state.open()?;
        let _session = dumping::session(&*state)?;
        let mut dates = Dumpdates::open(state.clone())?;
        let kept = Kept::new(order.clone(), source.path().to_path_buf(), &volumes);
        let log = dumping::log_of(&*state, &kept);
        log.tell("Start", &format!("Level {}", order.level));
        let variables: String = self
            .variables
            .iter()
            .map(|(name, value)| format!(", {name}={value}"))
            .collect();
        log.tell("Options", &format!("b={}, u={}{variables}", order.factor, order.update));
        let mut keeper = Contexts::of(state.clone()).begin(kept)?;
        let frozen = source.freeze(self.snapshot.as_deref(), &mut keeper, &*state);
        let result = frozen.and_then(|()| {
            let tree = tree_of(keeper.context())?;
            dumping::watched(&log, keeper.context().clone(), &mut |watch| {
                let keeper = Some(&mut keeper);
                Ok(dump_kept(&tree, &order, volumes.clone(), &mut dates, keeper, watch)?)
            })
        });
        let summary = dumping::ended(keeper, &log, result)?;
        told(Output::of_json("dump", self.json), &order, &summary)
    }

    fn order(&self, source: &Source) -> Result<Order> {
        let told = Variables::of(&self.variables)?;
        let identity = identity();
        let selection = told.selection(&identity)?;
        let label = self.label.as_deref().or(told.get("DMP_NAME")).unwrap_or("none");
        Ok(Order {
            level: self.level.or(told.level()?).unwrap_or(0),
            now_s: now_s()?,
            factor: self.blocks.or(told.factor()?).unwrap_or(FACTOR),
            label: label.to_owned(),
            host: host(),
            honour_nodump_from: self.honour_nodump_from,
            identity,
            path: source.known_as(),
            update: self.update || told.flag("UPDATE")?.unwrap_or(false),
            scope: source.scope(),
            history: !self.no_history && told.flag("HIST")?.unwrap_or(true),
            selection,
        })
    }
}

/// A date of a tape as a time of the host.
pub fn time_of(date_s: i64) -> SystemTime {
    let seconds = std::time::Duration::from_secs(date_s.unsigned_abs());
    let time = if date_s < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// The time now, in seconds since 1970.
///
/// # Errors
/// The clock stands before that.
pub fn now_s() -> Result<i64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?;
    i64::try_from(now.as_secs()).context("the clock")
}

/// Name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Bytes that no other dump has, with the marks of a random UUID.
pub fn identity() -> [u8; 16] {
    let half = || {
        RandomState::new()
            .hash_one((std::process::id(), SystemTime::now()))
            .to_le_bytes()
    };
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&half());
    identity[8..].copy_from_slice(&half());
    identity[6] = identity[6] & 0x0F | 0x40;
    identity[8] = identity[8] & 0x3F | 0x80;
    identity
}

#[cfg(test)]
mod tests {
    use super::with_levels;

    /// D29: levels are options of their own.
    #[test]
    fn levels_are_options_of_dump_only() {
        let words = |text: &str| -> Vec<std::ffi::OsString> { text.split(' ').map(Into::into).collect() };
        for (given, expected) in [
            ("headstack dump -0 -f t /a", "headstack dump --level=0 -f t /a"),
            ("headstack -v dump -31 -u /a", "headstack -v dump --level=31 -u /a"),
            ("headstack dump -- -3", "headstack dump -- -3"),
            ("headstack series -3", "headstack series -3"),
            ("headstack dump -u0 -f t", "headstack dump -u0 -f t"),
        ] {
            assert_eq!(with_levels(words(given)), words(expected));
        }
    }
}
