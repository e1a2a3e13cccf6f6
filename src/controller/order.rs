//! What a verb asks of an array that is in use, and how it is carried out.
//!
//! A member is named by its slot, by its path or by the name of its file.

mod facts;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::facts::{facts, level_name, reshape_facts};
use super::{
    error::{Error, Kind, Result},
    interface::Tell,
};
use crate::{
    nbd::Keeper,
    raid::{
        self, Array, Level, Slot,
        add::Added,
        array::{MemberStatus, Status},
        assemble::Image,
        create::NewImage,
        discover::{Contents, discover},
        metadata::identity::Uuid,
        rebuild::{Ending, Progress},
        reshape::Plan,
        scrub::{Mismatch, Repair, Suspect, Unreadable},
        stopped::give_back,
    },
};

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// How the array is.
    Status,
    /// Take a member out as if it had failed.
    Fail {
        /// Which.
        member: String,
    },
    /// Take an image in: as the member it was, in a free slot, or as a spare.
    Add {
        /// The image.
        image: PathBuf,
        /// Answer when it is filled.
        wait: bool,
        /// Take it though it holds something else, which is lost.
        yes: bool,
    },
    /// Give an image back that the array does without: a spare, or a member that failed.
    Remove {
        /// The image.
        image: PathBuf,
        /// Do it though the array could be glad of what the image holds.
        yes: bool,
    },
    /// Compare redundancy with data.
    Verify {
        /// What is done about what is found.
        repair: Mending,
    },
    /// Fill members that are new, and make redundancy right where it may not be.
    Rebuild,
    /// Use more of each member.
    Enlarge {
        /// Bytes of each member; none for all that they have.
        member_bytes: Option<u64>,
    },
    /// Let a mirror have another number of copies.
    Copies {
        /// How many.
        count: u16,
        /// Images that become members.
        images: Vec<PathBuf>,
        /// Take them though they hold something else, which is lost.
        yes: bool,
    },
    /// Move to another shape; without any wish, go on with a move that was stopped.
    Reshape {
        /// md's number of the level afterwards.
        level: Option<i32>,
        /// Chunk afterwards.
        chunk_bytes: Option<u64>,
        /// Images that become members.
        images: Vec<PathBuf>,
        /// Take them though they hold something else, which is lost.
        yes: bool,
    },
}

/// What a verify does about what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mending {
    /// Nothing
    None,
    /// Mend what can be proven wrong; where nobody knows who is right change nothing
    Provable,
    /// Beyond that, as md does: take data for right and make redundancy fit them
    Redundancy,
}

impl From<Mending> for Repair {
    fn from(mending: Mending) -> Self {
        match mending {
            Mending::None => Self::Report,
            Mending::Provable => Self::Provable,
            Mending::Redundancy => Self::Redundancy,
        }
    }
}

/// Finds the image of a path, as the one who has the array in use sees it.
pub type Find<'a> = &'a dyn Fn(&Path) -> Result<Image>;

/// The image of a path on this host.
///
/// # Errors
/// There is no such file.
pub fn on_host(path: &Path) -> Result<Image> {
    Image::at(path).map_err(Error::host(path))
}

/// Carries out an order and gives the facts of its result.
///
/// # Errors
/// The array's state does not allow it, there is no such member, or I/O failed.
pub fn perform(keeper: &Keeper, order: &Order, find: Find<'_>, tell: Tell<'_>) -> Result<Map<String, Value>> {
    let array = keeper.array();
    if array.is_read_only() && !matches!(order, Order::Status) {
        let message = format!("array {} is in use for reading only", array.name());
        return Err(Error::refused(
            Kind::NotPermitted,
            message,
            "again where it is served for writing",
        ));
    }
    match order {
        Order::Status => {}
        Order::Fail { member } => fail(array, member)?,
        Order::Add { image, wait, yes } => {
            let device = Taking { find, yes: *yes }.device_of(array, image)?;
            let added = array.add(&device, new_uuid()?)?;
            if *wait && added != Added::Spare {
                finish(keeper, tell)?;
            } else {
                keeper.nudge();
            }
            let mut facts = facts(keeper);
            facts.insert("added".to_owned(), added_fact(added));
            return Ok(facts);
        }
        Order::Verify { repair } => {
            let report = verify(keeper, (*repair).into(), tell)?;
            let mut facts = facts(keeper);
            facts.insert("verify".to_owned(), report);
            return Ok(facts);
        }
        Order::Remove { image, yes } => remove(array, find, image, *yes)?,
        Order::Rebuild => finish(keeper, tell)?,
        Order::Enlarge { member_bytes } => {
            array.grow_members(*member_bytes)?;
            finish(keeper, tell)?;
        }
        Order::Copies { count, images, yes } => {
            copies(array, *count, images, Taking { find, yes: *yes })?;
            finish(keeper, tell)?;
        }
        Order::Reshape {
            level,
            chunk_bytes,
            images,
            yes,
        } => {
            let plan = plan(array, *level, *chunk_bytes, images, Taking { find, yes: *yes })?;
            begin_reshape(array, &plan)?;
            finish(keeper, tell)?;
        }
    }
    Ok(facts(keeper))
}

/// Lets a mirror have another number of copies; images wait as spares until there are slots for them.
fn copies(array: &Array, count: u16, images: &[PathBuf], taking: Taking<'_>) -> Result<()> {
    for path in images {
        array.add(&taking.device_of(array, path)?, new_uuid()?)?;
    }
    Ok(array.set_copies(count)?)
}

/// What an array is asked to become.
fn plan(
    array: &Array,
    level: Option<i32>,
    chunk_bytes: Option<u64>,
    images: &[PathBuf],
    taking: Taking<'_>,
) -> Result<Plan> {
    let new = |path: &PathBuf| {
        let (image, uuid) = (taking.device_of(array, path)?, new_uuid()?);
        Ok(NewImage { image, uuid })
    };
    let known = |code: i32| {
        let unknown = || {
            Error::refused(
                Kind::Usage,
                format!("{code} is no level"),
                "the same version on both sides",
            )
        };
        Level::from_code(code).ok_or_else(unknown)
    };
    Ok(Plan {
        level: level.map(known).transpose()?,
        chunk_bytes,
        images: images.iter().map(new).collect::<Result<_>>()?,
        ..Plan::default()
    })
}

/// Begins to move an array to another shape, or finds it on its way; the keeper does the work.
fn begin_reshape(array: &Array, plan: &Plan) -> Result<()> {
    let wished = plan.level.is_some() || plan.chunk_bytes.is_some() || !plan.images.is_empty();
    if wished {
        return Ok(array.begin_reshape(plan)?);
    }
    if array.status().reshape.is_some() {
        return Ok(());
    }
    let message = format!("array {} is not on its way to another shape", array.name());
    Err(Error::refused(
        Kind::Usage,
        message,
        "images to take in, --level or --chunk",
    ))
}

/// Waits for the work of a keeper.
fn finish(keeper: &Keeper, tell: Tell<'_>) -> Result<()> {
    let mut gone = None;
    let finished = keeper.finish(&mut |progress| match tell(progress) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            gone = Some(error);
            ControlFlow::Break(())
        }
    });
    match gone {
        Some(error) => Err(error),
        None => Ok(finished?),
    }
}

/// How images are taken in.
#[derive(Clone, Copy)]
struct Taking<'a> {
    find: Find<'a>,
    /// What they hold may be lost.
    yes: bool,
}

impl Taking<'_> {
    /// The device that an image is to an array: the partition that was its member, or all of it.
    fn device_of(self, array: &Array, path: &Path) -> Result<Image> {
        let whole = (self.find)(path)?;
        let found = discover(std::slice::from_ref(&whole));
        let own = found.arrays.iter().find(|set| set.uuid == array.uuid());
        if let Some(device) = own.and_then(|set| set.members.first()) {
            return Ok(device.image.clone());
        }
        let contents = found.images.first().map(|report| &report.contents);
        let in_part = found
            .arrays
            .iter()
            .flat_map(|set| &set.members)
            .any(|member| member.partition.is_some());
        let place = path.display();
        match contents {
            Some(Contents::Blank | Contents::Unreadable(_)) | None => Ok(whole),
            Some(contents) if in_part || matches!(contents, Contents::PartitionTable(_)) => {
                let message = format!("{place}: {contents}, in a partition table");
                Err(Error::refused(Kind::Refused, message, "an image without one"))
            }
            Some(_) if self.yes => Ok(whole),
            Some(contents) => {
                let message = format!("{place}: {contents}, which would be lost");
                Err(Error::refused(
                    Kind::Refused,
                    message,
                    "another image, or --yes to do it",
                ))
            }
        }
    }
}

/// Compares redundancy with data; the rest of the time is left to those who use the array.
fn verify(keeper: &Keeper, repair: Repair, tell: Tell<'_>) -> Result<Value> {
    let mut gone = None;
    let mut pace = |progress: Progress| match tell(progress) {
        Ok(()) if keeper.rest() => ControlFlow::Continue(()),
        Ok(()) => ControlFlow::Break(()),
        Err(error) => {
            gone = Some(error);
            ControlFlow::Break(())
        }
    };
    let report = keeper.array().verify(repair, &mut pace)?;
    if let Some(error) = gone {
        return Err(error);
    }
    let suspect = |suspect: &Suspect| json!({"slot": suspect.slot.0, "offset_bytes": suspect.offset_bytes});
    let mismatch = |found: &Mismatch| {
        json!({
            "array_offset_bytes": found.array_offset_bytes,
            "length_bytes": found.length_bytes,
            "suspects": found.suspects.iter().map(suspect).collect::<Vec<_>>(),
            "repaired": found.repaired,
        })
    };
    let unreadable = |run: &Unreadable| {
        json!({
            "slot": run.at.slot.0,
            "offset_bytes": run.at.offset_bytes,
            "length_bytes": run.length_bytes,
            "repaired": run.repaired,
        })
    };
    Ok(json!({
        "clean": report.is_clean() && report.ending == Ending::Complete,
        "complete": report.ending == Ending::Complete,
        "compared_bytes": report.compared_bytes,
        "mismatched_bytes": report.mismatched_bytes,
        "unrepaired_bytes": report.unrepaired_bytes,
        "unreadable_bytes": report.unreadable_bytes,
        "mismatches": report.mismatches.iter().map(mismatch).collect::<Vec<_>>(),
        "unreadable": report.unreadable.iter().map(unreadable).collect::<Vec<_>>(),
    }))
}

/// Takes a member out, unless the array needs it.
pub(super) fn fail(array: &Array, member: &str) -> Result<()> {
    let status = array.status();
    let slot = slot_of(&status, member)?;
    let absent = |seat: &&MemberStatus| seat.slot == slot || seat.path.is_none() || seat.rebuilt_bytes.is_some();
    let without: Vec<Slot> = status.members.iter().filter(absent).map(|seat| seat.slot).collect();
    if !array.legs().is_empty() || array.geometry().can_read(&without) {
        return Ok(array.fail_member(slot)?);
    }
    let array = status.name;
    Err(raid::Error::MemberNeeded { array, slot }.into())
}

/// Gives an image back that the array does without.
fn remove(array: &Array, find: Find<'_>, path: &Path, yes: bool) -> Result<()> {
    let found = discover(&[find(path)?]);
    let own = found.arrays.iter().find(|set| set.uuid == array.uuid());
    let (place, name) = (path.display(), array.name());
    let Some(device) = own.and_then(|set| set.members.first()) else {
        let message = format!("{place}: it is no device of array {name}");
        return Err(Error::refused(
            Kind::NotFound,
            message,
            "'headstack array show' for those it has",
        ));
    };
    let path = device.image.path();
    let status = array.status();
    if let Some(seat) = status.members.iter().find(|seat| seat.path.as_ref() == Some(&path)) {
        let message = format!("{place}: it is member {} of array {name}, in use", seat.slot);
        return Err(Error::refused(Kind::Refused, message, "'headstack array fail' first"));
    }
    if status.spares.contains(&path) {
        array.release_spare(&path)?;
    } else if !yes {
        let message = format!("{place}: array {name} could not take it back as the member that it was");
        return Err(Error::refused(Kind::Refused, message, "--yes to do it"));
    }
    Ok(give_back(device)?)
}

fn added_fact(added: Added) -> Value {
    match added {
        Added::Spare => json!({"as": "spare"}),
        Added::Rebuild(slot) => json!({"as": "new-member", "slot": slot.0}),
        Added::Return(slot) => json!({"as": "returning-member", "slot": slot.0}),
    }
}

/// The slot that a user means.
fn slot_of(status: &Status, member: &str) -> Result<Slot> {
    let given = std::fs::canonicalize(member).unwrap_or_else(|_| PathBuf::from(member));
    let is = |path: &Path| path == given || path.file_name().is_some_and(|name| name.to_str() == Some(member));
    let number = member.parse().ok();
    let named = status.members.iter().find(|seat| seat.path.as_deref().is_some_and(is));
    let numbered = || {
        let taken = |seat: &&MemberStatus| seat.path.is_some();
        status
            .members
            .iter()
            .filter(taken)
            .find(|seat| Some(seat.slot.0) == number)
    };
    match named.or_else(numbered) {
        Some(seat) => Ok(seat.slot),
        None => Err(Error::refused(
            Kind::NotFound,
            format!("array {} has no member {member}", status.name),
            "'headstack array show' for its members",
        )),
    }
}

/// A new identity for a member or an array.
///
/// # Errors
/// The host has no randomness.
pub fn new_uuid() -> Result<Uuid> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::host("getrandom")(errno.into()))?;
    Ok(Uuid(bytes))
}
