//! Sets whose arrays are members of an array themselves: RAID 0 over RAID 5, which is RAID 50.
//!
//! The outer superblock stands in the data of the legs, which are looked at without claiming their members or writing to
//! them, even where they are in use or their journals wait. A leg that cannot be read any more is known by its identity
//! if we made it.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use super::{ArraySet, Assembly, Image, SetMember};
use crate::{
    raid::{
        Level, SECTOR_BYTES, Sector, Slot,
        array::Reshaping,
        assemble::{Found, assemble, caught_up, find, shape_of},
        device::{Devices, Opener, Window},
        metadata::{identity::Uuid, superblock::Role},
        nested::{Leg, leg_uuid},
    },
    storage::{Access, Storage},
};

/// Puts legs into the arrays that are made of them.
pub(super) fn nest(sets: Vec<ArraySet>) -> Vec<ArraySet> {
    let mut plain = Vec::new();
    let mut nested: BTreeMap<Uuid, Vec<(ArraySet, Found)>> = BTreeMap::new();
    for set in sets {
        match outer_of(&set) {
            Some(found) => nested
                .entry(found.superblock.array_uuid)
                .or_default()
                .push((set, found)),
            None => plain.push(set),
        }
    }
    for (uuid, legs) in nested {
        match whole_of(uuid, legs, &mut plain) {
            Ok(set) => plain.push(set),
            Err(legs) => plain.extend(legs),
        }
    }
    plain
}

/// The superblock of a RAID 0 in the data of an array.
fn outer_of(set: &ArraySet) -> Option<Found> {
    if set.level != Level::Raid5 {
        return None;
    }
    let images: Vec<Image> = set.members.iter().map(unclaimed).collect::<io::Result<_>>().ok()?;
    let how = Assembly {
        read_only: true,
        ..Assembly::default()
    };
    let leg = Leg::new(Arc::new(assemble(&images, how).ok()?));
    let found = find(Path::new(&set.name), &leg, 0).ok().flatten()?;
    (found.superblock.level == Level::Raid0).then_some(found)
}

/// The image of a member, to be read whoever has claimed it, without what stands in its journal.
fn unclaimed(member: &SetMember) -> io::Result<Image> {
    let image = &member.image;
    let storage = image.directory.open(&image.name, Access::Read)?;
    let size = storage.size_bytes()?;
    let window: Arc<dyn Storage> = Arc::new(Window::unclaimed(storage, 0, size));
    let opener: Opener = Arc::new(move |_| Ok(Arc::clone(&window)));
    let none: Opener = Arc::new(|_| Err(io::ErrorKind::NotFound.into()));
    let mut devices = Devices::over(Arc::clone(&image.directory));
    devices.insert(image.name.clone(), opener);
    devices.insert(image.sidecar().name().to_path_buf(), none);
    Ok(Image {
        directory: Arc::new(devices),
        name: image.name.clone(),
    })
}

/// The set of the whole; its legs are given back where they make none.
fn whole_of(uuid: Uuid, legs: Vec<(ArraySet, Found)>, others: &mut Vec<ArraySet>) -> Result<ArraySet, Vec<ArraySet>> {
    let (sets, mut found): (Vec<ArraySet>, Vec<Found>) = legs.into_iter().unzip();
    found
        .iter_mut()
        .enumerate()
        .for_each(|(image, found)| found.image = image);
    let freshest = found.iter().max_by_key(|found| found.superblock.events);
    let view = freshest.map_or_else(|| found[0].superblock.clone(), |found| found.superblock.clone());
    let found = caught_up(&found, &view);
    let slots = u16::try_from(view.slots).unwrap_or(u16::MAX);
    let mut seats: Vec<Option<ArraySet>> = vec![None; usize::from(slots)];
    let shape = shape_of(&view, &found).ok();
    let mut sets = sets.into_iter().zip(&found);
    while let Some((set, found)) = sets.next() {
        match view.role_of(found.superblock.device_number) {
            Role::Active(slot) if seats.get(slot.index()).is_some_and(Option::is_none) => {
                seats[slot.index()] = Some(set);
            }
            // Two legs that say that they are the same: nobody can tell which is right.
            _ => {
                let seated = seats.into_iter().flatten();
                return Err(seated.chain([set]).chain(sets.map(|(set, _)| set)).collect());
            }
        }
    }
    for (number, seat) in seats.iter_mut().enumerate().filter(|(_, seat)| seat.is_none()) {
        let lost = others.iter().position(|set| set.uuid == leg_uuid(uuid, number));
        *seat = lost.map(|index| others.swap_remove(index));
    }
    let absent = seats.iter().position(Option::is_none);
    let legs: Vec<ArraySet> = seats.into_iter().flatten().collect();
    let refusal = refusal_of(&legs, absent);
    let chunk_bytes = u64::from(view.chunk) * SECTOR_BYTES;
    let mut whole = ArraySet {
        name: view.name.short(),
        uuid,
        level: view.level,
        layout: view.layout,
        chunk_bytes,
        size_bytes: shape.map(|shape| shape.geometry().capacity_bytes()),
        slots: 0,
        events: legs.iter().map(|leg| leg.events).max().unwrap_or(0),
        created: view.created,
        updated: legs.iter().map(|leg| leg.updated).max().unwrap_or_default(),
        dirty: legs.iter().any(|leg| leg.dirty),
        inconsistent: legs.iter().any(|leg| leg.inconsistent),
        reshape: reshape_of(&legs, view.data_offset, chunk_bytes),
        members: Vec::new(),
        missing: Vec::new(),
        conflicts: Vec::new(),
        refusal,
        legs: Vec::new(),
    };
    for leg in &legs {
        let first = whole.slots;
        whole.slots = first.saturating_add(leg.slots);
        let disk = |slot: Slot| Slot(first.saturating_add(slot.0));
        whole
            .members
            .extend(leg.members.iter().cloned().map(|member| SetMember {
                slot: member.slot.map(disk),
                ..member
            }));
        whole.missing.extend(leg.missing.iter().copied().map(disk));
        whole.conflicts.extend(leg.conflicts.iter().cloned());
    }
    whole.legs = legs;
    Ok(whole)
}

/// Where a whole is going to whose legs are reshaped; none where none is.
fn reshape_of(legs: &[ArraySet], start: Sector, chunk_bytes: u64) -> Option<Reshaping> {
    let still = |leg: &ArraySet| Reshaping::done(leg.level, leg.slots, leg.size_bytes.unwrap_or(0));
    let stages = legs.iter().map(|leg| leg.reshape.clone().unwrap_or_else(|| still(leg)));
    let stages: Vec<Reshaping> = stages.collect();
    let moving = legs.iter().any(|leg| leg.reshape.is_some());
    Reshaping::of_legs(&stages, start.0 * SECTOR_BYTES, chunk_bytes).filter(|_| moving)
}

/// Why a whole cannot be started, of which a leg may be absent.
fn refusal_of(legs: &[ArraySet], absent: Option<usize>) -> Option<String> {
    if let Some(number) = absent {
        return Some(format!("leg {number} is missing"));
    }
    let broken = legs.iter().find_map(|leg| Some((leg, leg.refusal.as_ref()?)));
    broken.map(|(leg, reason)| format!("{}: {reason}", leg.name))
}
