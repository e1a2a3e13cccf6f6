//! The decision of an assembly: whom to believe, who sits where, whether that is enough. No I/O.
//!
//! The superblock with most events is believed. With force the members that missed the fewest writes are taken where the
//! array could not be started without them, as `mdadm --assemble --force` has it: what they missed is lost.

use super::{Assembly, Found, Image};
use crate::raid::{
    Level, SECTOR_BYTES, Sector, Slot,
    error::{Error, Result},
    geometry::Geometry,
    metadata::superblock::{Features, Role, Superblock},
    reshape::{Shape, stored},
};

/// What becomes of the members that were found.
pub(in crate::raid) struct Choice {
    /// The superblock that is believed.
    pub(in crate::raid) freshest: Found,
    /// Members to open, with their slots; none for a spare.
    pub(in crate::raid) devices: Vec<(Found, Option<Slot>)>,
    pub(in crate::raid) shape: Shape,
    /// True where redundancy may not be right.
    pub(in crate::raid) dirty: bool,
    pub(in crate::raid) read_only: bool,
    pub(in crate::raid) missing: Vec<Slot>,
    /// The device with md's write journal.
    pub(in crate::raid) journal: Option<Found>,
}

/// Decides from what was found, without any I/O.
pub(in crate::raid) fn choose(images: &[Image], found: &[Found], how: Assembly) -> Result<Choice> {
    let Some((freshest, found)) = &believed(images, found) else {
        return Err(Error::NotStartable {
            array: images
                .first()
                .map_or_else(String::new, |image| image.path().display().to_string()),
            reason: "no image has an md superblock".to_owned(),
            remedy: "make an array with 'headstack array create'",
        });
    };
    let view = &freshest.superblock;
    let refuse = |reason: String, remedy| {
        Err(Error::NotStartable {
            array: view.name.short(),
            reason,
            remedy,
        })
    };
    check_identities(images, found, view)?;
    let shape = match shape_of(view, found) {
        Ok(shape) => shape,
        Err(reason) => return refuse(reason, "examine the members with 'headstack array examine'"),
    };
    let (mut devices, mut missing) = seat_all(images, found, freshest, &shape)?;
    let mut freshest = freshest.clone();
    if how.force && shape.view().is_none() {
        let geometry = shape.geometry();
        seat_stale(images, found, &mut freshest, geometry, &mut devices, &mut missing);
    }
    if !shape.can_read(&missing) {
        let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let (verb, remedy) = if how.force {
            ("missing", "give all members")
        } else {
            (
                "missing or missed writes",
                "give all members; try --force with --overlay if they are given",
            )
        };
        return refuse(format!("members {} are {verb}", list.join(", ")), remedy);
    }
    let dirty = !view.level.is_bare() && !view.is_clean();
    let has = |features: &[Features]| features.iter().any(|feature| view.features.has(*feature));
    let journal = found.iter().find(|one| is_journal(view, &one.superblock)).cloned();
    if let Some((reason, remedy)) = unreplayable(view, shape.view().is_some(), journal.is_some() || how.force) {
        return refuse(reason.to_owned(), remedy);
    }
    Ok(Choice {
        freshest,
        devices,
        shape,
        dirty,
        read_only: has(&[Features::JOURNAL, Features::CLUSTERED]),
        missing,
        journal: journal.filter(|_| has(&[Features::JOURNAL])),
    })
}

/// The member that is believed, and what the members that count say by it; none where there is none.
pub(in crate::raid) fn believed(images: &[Image], found: &[Found]) -> Option<(Found, Vec<Found>)> {
    let counted = without_begun(images, found);
    let freshest = freshest_of(&counted)?.clone();
    let counted = caught_up(&counted, &freshest.superblock);
    Some((freshest, counted))
}

/// Why a log of md that an array has cannot be replayed, and what helps.
fn unreplayable(view: &Superblock, moving: bool, journal: bool) -> Option<(&'static str, &'static str)> {
    let has = |feature: Features| view.features.has(feature);
    let moving_log = (has(Features::PPL) || has(Features::MULTIPLE_PPLS)) && moving;
    let dirty = !view.level.is_bare() && !view.is_clean();
    if dirty && (has(Features::CLUSTERED) || moving_log) || has(Features::JOURNAL) && moving {
        return Some((
            "it was not stopped cleanly, and has a log of md that is not replayed here",
            "let Linux start and stop it once",
        ));
    }
    (has(Features::JOURNAL) && !journal).then_some((
        "its journal device is not there or missed what came last; what it has not in place yet is unknown",
        "give all devices; or start it with --force and check what is on it",
    ))
}

/// True for the device that holds the write journal, up to date.
fn is_journal(view: &Superblock, own: &Superblock) -> bool {
    view.role_of(own.device_number) == Role::Journal && own.events.saturating_add(1) >= view.events
}

/// The member that is believed: the one of most events, and where several have as many the one that knows most members.
fn freshest_of(found: &[Found]) -> Option<&Found> {
    found.iter().max_by_key(|found| {
        let active = found.superblock.roles.iter();
        let active = active.filter(|role| matches!(role, Role::Active(_))).count();
        let knows = if found.superblock.reshaping().is_some() {
            active
        } else {
            0
        };
        (found.superblock.events, knows)
    })
}

/// Members without those that a reshape would have added: it was about to begin, and no member that was there before has been
/// told. These are told last.
fn without_begun(images: &[Image], found: &[Found]) -> Vec<Found> {
    let new = |found: &&Found| {
        let superblock = &found.superblock;
        let (old, position) = match superblock.reshaping() {
            Some(fields) => (superblock.slots_before(), fields.position),
            None => return false,
        };
        let filled = superblock.recovered_to() == Some(Sector(0));
        position == 0 && (filled || matches!(superblock.role(), Role::Active(slot) if u32::from(slot.0) >= old))
    };
    let told = |found: &Found| found.superblock.reshaping().is_some();
    if found.iter().filter(|found| told(found)).all(|found| new(&found)) && !found.iter().all(told) {
        let (left, kept): (Vec<&Found>, Vec<&Found>) = found.iter().partition(new);
        for one in left {
            log::warn!(
                "{}: left out, a reshape that it is for never began",
                images[one.image].path().display()
            );
        }
        return kept.into_iter().cloned().collect();
    }
    found.to_vec()
}

/// Members as the freshest would have them say of a reshape or a growth.
pub(in crate::raid) fn caught_up(found: &[Found], freshest: &Superblock) -> Vec<Found> {
    let mut found = found.to_vec();
    for one in &mut found {
        let superblock = &mut one.superblock;
        let ended = superblock.reshaping().is_some() && freshest.reshaping().is_none();
        if ended && superblock.events.saturating_add(2) >= freshest.events {
            superblock.events = freshest.events;
        }
        if superblock.events.saturating_add(1) >= freshest.events {
            stored::catch_up(superblock, freshest);
        }
        // Only a RAID 0 over legs that all have grown says so in superblocks that differ by an event.
        if freshest.level == Level::Raid0 && superblock.events.saturating_add(1) == freshest.events {
            let room = one.device.0.saturating_sub(superblock.data_offset.0);
            superblock.data_size = superblock.data_size.max(Sector(room.min(freshest.data_size.0)));
        }
    }
    found
}

/// Refuses members of several arrays, and copies of one member.
fn check_identities(images: &[Image], found: &[Found], view: &Superblock) -> Result<()> {
    let path = |found: &Found| images[found.image].path().display().to_string();
    let refuse = |reason: String, remedy| {
        Err(Error::NotStartable {
            array: view.name.short(),
            reason,
            remedy,
        })
    };
    if let Some(other) = found
        .iter()
        .find(|found| found.superblock.array_uuid != view.array_uuid)
    {
        let reason = format!(
            "{} is a member of another array, {}",
            path(other),
            other.superblock.name.short()
        );
        return refuse(reason, "give the members of one array");
    }
    for (index, one) in found.iter().enumerate() {
        let same = |other: &&Found| other.superblock.device_uuid == one.superblock.device_uuid;
        if let Some(other) = found[..index].iter().find(same) {
            let reason = format!("{} and {} are copies of the same member", path(other), path(one));
            return refuse(reason, "give only the one that was in use last");
        }
    }
    Ok(())
}

/// Members by slot, and the slots that nobody fills.
type Seating = (Vec<(Found, Option<Slot>)>, Vec<Slot>);

/// Seats the members that are fresh, by the roles that the freshest knows.
fn seat_all(images: &[Image], found: &[Found], freshest: &Found, shape: &Shape) -> Result<Seating> {
    let view = &freshest.superblock;
    let mut seated: Vec<Option<&Found>> = vec![None; usize::from(shape.slots())];
    let mut devices = Vec::new();
    let refuse = |reason| {
        Err(Error::NotStartable {
            array: view.name.short(),
            reason,
            remedy: "leave out the one that was not in use last",
        })
    };
    for one in found {
        let path = images[one.image].path();
        let role = view.role_of(one.superblock.device_number);
        let fresh = view.level.is_bare() || one.superblock.events.saturating_add(1) >= view.events;
        let Role::Active(slot) = role else {
            if role == Role::Spare && fresh && one.superblock.role() == Role::Spare {
                devices.push((one.clone(), None));
            } else if matches!(one.superblock.role(), Role::Active(_)) && one.superblock.events == view.events {
                return refuse(format!(
                    "{} and another member each took the other for failed",
                    path.display()
                ));
            } else {
                log::info!("{}: left out, it failed or is not in use", path.display());
            }
            continue;
        };
        if !fresh {
            log::info!("{}: left out, it missed writes", path.display());
            continue;
        }
        match seated.get_mut(slot.index()) {
            Some(seat @ None) => *seat = Some(one),
            Some(Some(other)) => {
                let other = images[other.image].path();
                return refuse(format!(
                    "{} and {} both say that they are member {slot}",
                    other.display(),
                    path.display()
                ));
            }
            None => {
                return refuse(format!(
                    "{} says that it is member {slot}, which there is not",
                    path.display()
                ));
            }
        }
        devices.push((one.clone(), Some(slot)));
    }
    let slots = (0..shape.slots()).map(Slot).zip(&seated);
    let whole = |slot: Slot, seat: &Option<&Found>| seat.is_some_and(|found| shape.is_whole(slot, &found.superblock));
    let missing = slots.filter(|(slot, seat)| !whole(*slot, seat)).map(|(slot, _)| slot);
    let missing: Vec<Slot> = missing.collect();
    if shape.view().is_some() {
        // A reshape goes on without the members that are not whole; they can be rebuilt after it.
        devices.retain(|(_, seat)| seat.is_none_or(|slot| !missing.contains(&slot)));
    }
    Ok((devices, missing))
}

/// Seats members that missed writes, the freshest first, until the array can be read; none where that is not enough.
fn seat_stale(
    images: &[Image],
    found: &[Found],
    freshest: &mut Found,
    geometry: &Geometry,
    devices: &mut Vec<(Found, Option<Slot>)>,
    missing: &mut Vec<Slot>,
) {
    let mut left_out: Vec<(&Found, Slot)> = found
        .iter()
        .filter(|one| devices.iter().all(|(seated, _)| seated.image != one.image))
        .filter(|one| one.superblock.recovered_to().is_none())
        .filter_map(|one| match one.superblock.role() {
            Role::Active(slot) => Some((one, slot)),
            _ => None,
        })
        .collect();
    left_out.sort_by_key(|(one, _)| std::cmp::Reverse(one.superblock.events));
    let mut chosen = Vec::new();
    let mut still = missing.clone();
    for (one, slot) in left_out {
        // A member that is being rebuilt may sit there: it gives way to one that is whole, if old.
        if geometry.can_read(&still) || !still.contains(&slot) {
            continue;
        }
        still.retain(|gap| *gap != slot);
        chosen.push((one, slot));
    }
    if !geometry.can_read(&still) {
        return;
    }
    *missing = still;
    for (one, slot) in chosen {
        log::warn!(
            "{}: taken although it missed writes",
            images[one.image].path().display()
        );
        devices.retain(|(_, seat)| *seat != Some(slot));
        devices.push((one.clone(), Some(slot)));
        let roles = &mut freshest.superblock.roles;
        roles
            .iter_mut()
            .filter(|role| **role == Role::Active(slot))
            .for_each(|role| *role = Role::Faulty);
        if let Some(role) = usize::try_from(one.superblock.device_number)
            .ok()
            .and_then(|number| roles.get_mut(number))
        {
            *role = Role::Active(slot);
        }
    }
}

/// Shape of the array, or why there is none.
pub(in crate::raid) fn shape_of(view: &Superblock, found: &[Found]) -> Result<Shape, String> {
    if view.reshaping().is_some() {
        return stored::sides(view, found).map(|view| Shape::Moving(Box::new(view)));
    }
    let slots = u16::try_from(view.slots).map_err(|_| "it has too many members".to_owned())?;
    let size_of = |slot: u16| {
        if !view.level.is_bare() {
            return Some(view.size);
        }
        let is = |found: &&Found| view.role_of(found.superblock.device_number) == Role::Active(Slot(slot));
        found.iter().find(is).map(|found| found.superblock.data_size)
    };
    let mut sizes = Vec::new();
    for slot in 0..slots {
        let size = size_of(slot).ok_or_else(|| format!("member {slot} is missing, and the level has no redundancy"))?;
        sizes.push(size.bytes().ok_or("its members are too large")?);
    }
    let chunk = u64::from(view.chunk) * SECTOR_BYTES;
    let geometry = Geometry::new(view.level, view.layout, chunk, &sizes);
    geometry.map(Shape::Still).map_err(|error| error.to_string())
}
