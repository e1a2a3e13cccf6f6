//! Moves of a tape, as `mt` has them, erasing and write protection.
//!
//! Where a move ends early the tape still stands where it ended, as a drive would.

use anyhow::Result;
use clap::Args;

use super::TapeArgument;
use crate::{
    cli::{
        exit::Code,
        output::{Cell, JsonOption, Output, confirm},
        reels::absolute,
    },
    storage::Access,
    tape::{self, BlockRead as _, TapImage},
};

/// A move without a count.
#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    tape: TapeArgument,
    #[command(flatten)]
    json: JsonOption,
}

/// A move over so many files or records.
#[derive(Debug, Args)]
pub struct Counted {
    #[command(flatten)]
    tape: TapeArgument,
    /// How many
    #[arg(value_name = "N", default_value_t = 1)]
    count: u32,
    #[command(flatten)]
    json: JsonOption,
}

/// Erase the tape from where it stands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape rewind full.tap
  headstack tape erase full.tap --yes")]
pub struct Erase {
    #[command(flatten)]
    tape: TapeArgument,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    json: JsonOption,
}

/// Protect a tape from being written
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape protect full.tap
  headstack tape protect full.tap --off")]
pub struct Protect {
    #[command(flatten)]
    tape: TapeArgument,
    /// Let it be written again
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    json: JsonOption,
}

impl Plain {
    pub(super) fn run(self, command: &'static str, go: fn(&mut TapImage) -> tape::Result<()>) -> Result<Code> {
        moved(&self.tape, self.json, command, go)
    }
}

impl Counted {
    pub(super) fn run(self, command: &'static str, go: fn(&mut TapImage, u32) -> tape::Result<()>) -> Result<Code> {
        moved(&self.tape, self.json, command, |image| go(image, self.count))
    }
}

/// Moves a tape and remembers where it came to stand.
fn moved(
    tape: &TapeArgument,
    json: JsonOption,
    command: &'static str,
    go: impl FnOnce(&mut TapImage) -> tape::Result<()>,
) -> Result<Code> {
    let mut mounted = tape.mount(Access::Read)?;
    let result = go(&mut mounted.image);
    let image = mounted.keep()?;
    result?;
    told(&image, json, command)
}

fn told(image: &TapImage, json: JsonOption, command: &'static str) -> Result<Code> {
    let position = image.position();
    let facts = [
        ("file", Cell::Number(position.file.into())),
        ("record", Cell::number(position.record.map(u64::from))),
        ("offset_bytes", Cell::Bytes(position.offset_bytes)),
    ];
    let sentence = format!("at file {}, offset {}", position.file, position.offset_bytes);
    Output::of_json(command, json).done(&sentence, &facts)?;
    Ok(Code::Success)
}

impl Erase {
    fn run_mounted(&self, mut mounted: super::Mounted) -> Result<Code> {
        mounted.image.erase()?;
        let image = mounted.keep()?;
        told(&image, self.json, "tape erase")
    }

    pub(super) fn run(self) -> Result<Code> {
        let mounted = self.tape.mount(Access::ReadWrite)?;
        let position = mounted.image.position();
        let name = self.tape.name().to_string_lossy().into_owned();
        let size = mounted.image.size_bytes()?.saturating_sub(position.offset_bytes);
        let loss = format!("{size} bytes of {name} from file {} on would be erased", position.file);
        confirm(&loss, &name, self.yes)?;
        self.run_mounted(mounted)
    }
}

impl Protect {
    pub(super) fn run(self) -> Result<Code> {
        // It has to be there.
        let mut mounted = self.tape.mount(Access::Read)?;
        let key = absolute(&self.tape.tape)?;
        let mut remembered = mounted.memory.of(&key);
        remembered.write_protected = !self.off;
        mounted.memory.set(&key, remembered)?;
        let facts = [("write_protected", Cell::Flag(!self.off))];
        let sentence = if self.off {
            "may be written"
        } else {
            "is write-protected"
        };
        Output::of_json("tape protect", self.json).done(sentence, &facts)?;
        Ok(Code::Success)
    }
}
