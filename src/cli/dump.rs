//! `headstack dump`: puts a tree on tapes.
//!
//! Levels are options as other programs have them, `-0` to `-31`; they are turned into `--level` before the line is parsed.

use std::{
    ffi::OsString,
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::Args;

use super::{
    exit::Code,
    output::{Cell, JsonOption, Output},
    reels::{StateArgument, TapesArgument, absolute, tell},
};
use crate::{
    dump::{
        dumpdates::Dumpdates,
        tree::Tree,
        writer::{Notice, Order, Summary, dump},
    },
    tape::{self, Container},
};

/// Put a tree on tapes that any restore reads
///
/// Level 0 takes everything, a higher one what changed since the latest dump of a lower level that was made with -u. The
/// dump goes behind what is on the tape.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack dump -0 -u -f full.tap /srv/data
  headstack dump -1 -u -f full.tap /srv/data
      what changed since, behind it on the same tape
  headstack dump -0 --flat -f data.dump /srv/data
      a stream that stock restore takes with -f")]
pub struct Arguments {
    /// Level, 0 to 31; also as -0 to -31
    #[arg(long, value_name = "N", default_value_t = 0)]
    level: u8,
    #[command(flatten)]
    tapes: TapesArgument,
    /// Blocking factor: records of so many times 1024 bytes, 4 to 256
    #[arg(short, long, value_name = "FACTOR", default_value_t = 10)]
    blocks: u32,
    /// Remember the dump, so that higher levels build on it
    #[arg(short, long)]
    update: bool,
    /// Write a plain stream of bytes in place of a tape image; one that is there is overwritten
    #[arg(long)]
    flat: bool,
    /// Name of the dump on the tape, at most 15 bytes
    #[arg(short = 'L', long, value_name = "LABEL", default_value = "none")]
    label: String,
    /// Leave out what is flagged nodump (chattr +d) from this level on
    #[arg(long, value_name = "N", default_value_t = 1)]
    honour_nodump_from: u8,
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
    /// The engine's, as [`dump`] has them; [`tape::Error::WriteProtected`].
    pub fn run(self) -> Result<Code> {
        let tree = Tree::open(&self.path)?;
        let tape = self.tapes.first();
        let remembered = self.state.memory()?.of(&absolute(tape)?);
        if remembered.write_protected {
            return Err(tape::Error::WriteProtected {
                path: tape.to_path_buf(),
            }
            .into());
        }
        let container = if self.flat { Container::Flat } else { Container::Tap };
        // Checked by the engine; a stream needs records of some length before that.
        let volumes = self
            .tapes
            .volumes(container, self.blocks.clamp(1, 1024), remembered.limits())?;
        let mut dates = Dumpdates::open(self.state.open()?)?;
        let order = Order {
            level: self.level,
            now_s: now_s()?,
            factor: self.blocks,
            label: self.label.clone(),
            host: host(),
            honour_nodump_from: self.honour_nodump_from,
            identity: identity(),
            path: absolute(&self.path)?,
            update: self.update,
        };
        let summary = dump(&tree, &order, volumes, &mut dates, &mut |notice| {
            if let Notice::Pass(pass, what) = notice {
                log::info!("pass {pass}: {what}");
            }
        })?;
        let code = tell(&summary.troubles);
        self.told(&summary)?;
        Ok(code)
    }

    fn told(&self, summary: &Summary) -> Result<()> {
        let losses = summary.troubles.iter().filter(|trouble| trouble.loss).count();
        let sentence = format!(
            "level {}: {} objects, {} KiB on {} volumes, {losses} troubles",
            self.level, summary.objects, summary.blocks, summary.volumes
        );
        let facts = [
            ("level", Cell::Number(self.level.into())),
            ("date", Cell::Time(time_of(summary.date_s))),
            (
                "base",
                summary.base_s.map_or(Cell::None, |base| Cell::Time(time_of(base))),
            ),
            ("objects", Cell::Number(summary.objects)),
            ("size_bytes", Cell::Bytes(summary.blocks * 1024)),
            ("volumes", Cell::Number(summary.volumes.into())),
            ("troubles", Cell::Number(losses as u64)),
        ];
        Output::of_json("dump", self.json).done(&sentence, &facts)
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

fn now_s() -> Result<i64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?;
    i64::try_from(now.as_secs()).context("the clock")
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Bytes that no other dump has.
fn identity() -> [u8; 16] {
    let half = || {
        RandomState::new()
            .hash_one((std::process::id(), SystemTime::now()))
            .to_le_bytes()
    };
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&half());
    identity[8..].copy_from_slice(&half());
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
