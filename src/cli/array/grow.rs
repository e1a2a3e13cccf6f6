//! `headstack array grow` and `headstack array migrate`: move an array to another shape while it is in use.
//!
//! Both are one order; what they take differs, as their users' questions do: more room, or another level.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::target::PlaceArguments;
use crate::{
    cli::{
        arguments::size,
        exit::Code,
        output::{JsonOption, Output},
    },
    controller::order::Order,
    raid::{Level, UnknownLevel},
};

/// Let images become members, so that the array has more room, or go on with what was stopped
///
/// Levels 0, 4, 5, 6 and 10 can grow by images, 50 by as many for each leg; all with redundancy by --size, once their images
/// are longer or were replaced by longer ones; mirrors take more --copies. The array is in use meanwhile and has its new size
/// at the end. What a kill or a loss of power stopped goes on once the array is served, or by the same verb without images;
/// Linux md can do so too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array grow r5 disk4.img
  headstack array grow r50 disk6.img disk7.img
      gives each of two legs a disk
  headstack array grow r5 --chunk 64K
      gives the array another chunk
  headstack array grow r5 --size max
      uses all of members that are longer now
  headstack array grow mirror disk2.img --copies 3
  headstack array grow r5
      goes on with what was stopped")]
pub struct GrowArguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// Images that become members
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    /// Chunk of the array afterwards
    #[arg(long, value_name = "SIZE", value_parser = size)]
    chunk: Option<u64>,
    /// Bytes to use of each member, or max for all that they have
    #[arg(long, value_name = "SIZE|max", value_parser = room, conflicts_with_all = ["images", "chunk", "copies"])]
    size: Option<Room>,
    /// Copies of a RAID 1 afterwards, of its members and the images
    #[arg(long, value_name = "N", conflicts_with = "chunk")]
    copies: Option<u16>,
    #[command(flatten)]
    common: Common,
}

/// Bytes of a member; none for all that there are.
#[derive(Debug, Clone, Copy)]
struct Room(Option<u64>);

fn room(text: &str) -> Result<Room, String> {
    match text {
        "max" => Ok(Room(None)),
        _ => size(text).map(|bytes| Room(Some(bytes))),
    }
}

/// Give an array another level: 0 to 5, 1 to 5, 4 to 5, 5 to 6
///
/// The array is in use meanwhile. Images that the level needs, and others if it is to grow as well, come along. After a
/// kill or a loss of power 'headstack array grow NAME' goes on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array migrate a --level 6 disk4.img
  headstack array migrate mirror --level 5 disk2.img
      makes a RAID 5 of a RAID 1 of two and a third image")]
pub struct MigrateArguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// Level afterwards
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Level,
    /// Images that become members
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

fn level(text: &str) -> Result<Level, String> {
    text.parse().map_err(|error: UnknownLevel| error.to_string())
}

/// What both take.
#[derive(Debug, Args)]
struct Common {
    /// Take images though they hold something else, which is lost
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl GrowArguments {
    /// Grows the array.
    ///
    /// # Errors
    /// [`Code::Usage`] where it cannot be moved like that, [`Code::Refused`] where it is not whole.
    pub fn run(self) -> Result<Code> {
        let (images, beside) = whole(&self.images)?;
        let yes = self.common.yes;
        let order = match (self.size, self.copies) {
            (Some(Room(member_bytes)), _) => Order::Enlarge {
                member_bytes,
                wait: true,
            },
            (None, Some(count)) => Order::Copies { count, images, yes },
            (None, None) => Order::Reshape {
                level: None,
                chunk_bytes: self.chunk,
                images,
                yes,
                wait: true,
            },
        };
        self.common.run("array grow", &self.name, beside.as_deref(), order)
    }
}

impl MigrateArguments {
    /// Moves the array to the level.
    ///
    /// # Errors
    /// As [`GrowArguments::run`].
    pub fn run(self) -> Result<Code> {
        let (images, beside) = whole(&self.images)?;
        let order = Order::Reshape {
            level: Some(self.level.code()),
            chunk_bytes: None,
            images,
            yes: self.common.yes,
            wait: true,
        };
        self.common.run("array migrate", &self.name, beside.as_deref(), order)
    }
}

/// Images by their whole paths, and the first of them, beside which the array may be.
fn whole(images: &[PathBuf]) -> Result<(Vec<PathBuf>, Option<PathBuf>)> {
    let whole = |path: &PathBuf| std::fs::canonicalize(path).with_context(|| path.display().to_string());
    let images: Vec<PathBuf> = images.iter().map(whole).collect::<Result<_>>()?;
    let beside = images.first().cloned();
    Ok((images, beside))
}

impl Common {
    fn run(self, verb: &'static str, name: &str, beside: Option<&Path>, order: Order) -> Result<Code> {
        let facts = self.place.carry_out(Some(name), beside, order, "reshape")?;
        let output = Output::of_json(verb, self.json);
        if output.is_json() {
            output.document(facts)?;
        }
        Ok(Code::Success)
    }
}
