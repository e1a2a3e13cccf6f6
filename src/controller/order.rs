//! What a verb asks of an array that is in use, and how it is carried out.
//!
//! A member is named by its slot, by its path or by the name of its file. How images come in and members go out is in
//! [`members`], what is told of an array in [`facts()`].

mod facts;
mod members;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use facts::{facts, level_name, reshape_facts};
pub(super) use members::fail_all_on;
use members::{Taking, added_fact, copies, fail, remove};

use super::{
    error::{Error, Kind, Result},
    interface::Tell,
};
use crate::{
    nbd::Keeper,
    raid::{
        Array, Level,
        add::Added,
        assemble::Image,
        create::NewImage,
        health::{Action, ArrayState},
        metadata::identity::Uuid,
        rebuild::{Ending, Progress},
        reshape::Plan,
        scrub::{Mismatch, Repair, Suspect, Unreadable},
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
    /// Stop what is done to the array: a verify ends, other work waits until it is asked for.
    Pause,
    /// Go on with what was stopped.
    Resume,
    /// Use more of each member.
    Enlarge {
        /// Bytes of each member; none for all that they have.
        member_bytes: Option<u64>,
        /// Answer when it is done.
        wait: bool,
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
        /// Answer when it is done.
        wait: bool,
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
    if array.state() == ArrayState::Disabled && !matches!(order, Order::Status) {
        array.check_allows(Action::AddDisk)?;
    }
    match order {
        Order::Status => {}
        Order::Fail { member } => fail(array, member)?,
        Order::Add { image, wait, yes } => {
            let device = Taking { find, yes: *yes }.device_of(array, image)?;
            let added = array.add(&device, new_uuid()?)?;
            end_or_go_on(keeper, *wait && added != Added::Spare, tell)?;
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
        Order::Pause => {
            check_allows(array, &STOPS)?;
            keeper.halt();
        }
        Order::Resume => {
            check_allows(array, &RESUMES)?;
            keeper.go_on();
        }
        Order::Enlarge { member_bytes, wait } => {
            array.grow_members(*member_bytes)?;
            end_or_go_on(keeper, *wait, tell)?;
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
            wait,
        } => {
            let plan = plan(array, *level, *chunk_bytes, images, Taking { find, yes: *yes })?;
            begin_reshape(array, &plan)?;
            end_or_go_on(keeper, *wait, tell)?;
        }
    }
    Ok(facts(keeper))
}

/// What [`Order::Pause`] is in the guide's words.
const STOPS: [Action; 4] = [
    Action::StopRebuild,
    Action::StopVerify,
    Action::StopInitialization,
    Action::StopReshape,
];
/// What [`Order::Resume`] is.
const RESUMES: [Action; 3] = [Action::Rebuild, Action::ResumeInitialization, Action::ResumeReshape];

/// Refuses where none of some actions is allowed.
fn check_allows(array: &Array, actions: &[Action]) -> Result<()> {
    let allowed = |action: &&Action| array.actions().contains(action);
    let action = actions.iter().find(allowed).or(actions.first());
    Ok(action.map_or(Ok(()), |action| array.check_allows(*action))?)
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

/// Waits for the work of a keeper, or lets it go on behind the answer.
fn end_or_go_on(keeper: &Keeper, wait: bool, tell: Tell<'_>) -> Result<()> {
    if wait {
        return finish(keeper, tell);
    }
    keeper.go_on();
    Ok(())
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

/// Compares redundancy with data; the rest of the time is left to those who use the array.
fn verify(keeper: &Keeper, repair: Repair, tell: Tell<'_>) -> Result<Value> {
    let mut gone = None;
    let mut visit = keeper.visit();
    let mut pace = |progress: Progress| match tell(progress) {
        Ok(()) if visit.rest(progress) => ControlFlow::Continue(()),
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

/// The report of a verify in a sentence.
///
/// # Errors
/// The sentence, where not all is well or not all was looked at.
pub fn verdict(array: &str, report: &Value) -> std::result::Result<String, String> {
    let bytes = |key: &str| report[key].as_u64().unwrap_or(0);
    if report["clean"] == true {
        let mended = match bytes("mismatched_bytes") {
            0 => String::new(),
            mended => format!("; {mended} of them did not agree and were mended"),
        };
        return Ok(format!(
            "array {array} is clean: {} bytes were compared{mended}",
            bytes("compared_bytes")
        ));
    }
    let ended = if report["complete"] == true {
        ""
    } else {
        "; the verify was broken off"
    };
    Err(format!(
        "array {array}: {} bytes do not agree, {} of them are left so, {} bytes cannot be read{ended}",
        bytes("mismatched_bytes"),
        bytes("unrepaired_bytes"),
        bytes("unreadable_bytes"),
    ))
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
