//! How images come into an array that is in use, and how its members go out.
//!
//! An image that holds something else is not taken without a word; a member that the array needs is not given back.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Find, new_uuid};
use crate::{
    controller::error::{Error, Kind, Result},
    raid::{
        self, Array, Slot,
        add::Added,
        array::{MemberStatus, Status},
        assemble::Image,
        discover::{Contents, discover},
        partition::is_on,
        stopped::give_back,
    },
};

/// Lets a mirror have another number of copies; images wait as spares until there are slots for them.
pub(super) fn copies(array: &Array, count: u16, images: &[PathBuf], taking: Taking<'_>) -> Result<()> {
    for path in images {
        array.add(&taking.device_of(array, path)?, new_uuid()?)?;
    }
    Ok(array.set_copies(count)?)
}

/// How images are taken in.
#[derive(Clone, Copy)]
pub(super) struct Taking<'a> {
    pub(super) find: Find<'a>,
    /// What they hold may be lost.
    pub(super) yes: bool,
}

impl Taking<'_> {
    /// The device that an image is to an array: the partition that was its member, or all of it.
    pub(super) fn device_of(self, array: &Array, path: &Path) -> Result<Image> {
        let whole = (self.find)(path)?;
        let found = discover(std::slice::from_ref(&whole));
        let own = found.arrays.iter().find(|set| array.has_leg(set.uuid));
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

/// Takes a member out, unless the array needs it.
pub(in crate::controller) fn fail(array: &Array, member: &str) -> Result<()> {
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

/// Takes all members out that are an image or partitions of it, unless the array needs one of them.
pub(in crate::controller) fn fail_all_on(array: &Array, image: &Path) -> Result<()> {
    let members = array.status().members.into_iter().filter_map(|seat| seat.path);
    let on_it = members.filter(|member| is_on(member, image));
    let failed: Vec<_> = on_it.map(|member| fail(array, &member.display().to_string())).collect();
    failed.into_iter().collect()
}

/// Gives an image back that the array does without.
pub(super) fn remove(array: &Array, find: Find<'_>, path: &Path, yes: bool) -> Result<()> {
    let found = discover(&[find(path)?]);
    let own = found.arrays.iter().find(|set| array.has_leg(set.uuid));
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

pub(super) fn added_fact(added: Added) -> Value {
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
