//! Which members an array can do without.
//!
//! The parity levels and RAID 1 count; RAID 10 asks whether every chunk keeps a copy, and the answer depends on which
//! members are gone. A linear array or a RAID 0 loses something with every member.

use std::collections::BTreeSet;

use super::{Geometry, Placement, copies::Copies, spans::slot_of};
use crate::raid::Slot;

/// How many members may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundancy {
    /// Any so many.
    pub always: u16,
    /// So many if they are the right ones.
    pub at_best: u16,
}

impl Geometry {
    /// How many members may be missing without loss, in the worst and in the best case.
    pub fn redundancy(&self) -> Redundancy {
        let both = |members| Redundancy {
            always: members,
            at_best: members,
        };
        match &self.placement {
            Placement::Spans(_) | Placement::Zones(_) => both(0),
            Placement::Mirror => both(self.slots - 1),
            Placement::Parity(_) => both(self.level.parities()),
            Placement::Copies(copies) => Redundancy {
                always: slot_of(copies.copies() - 1).0,
                at_best: self.slots - fewest_that_hold_all(copies),
            },
        }
    }

    /// True where all of the array can be read without these members. A slot given twice counts once.
    pub fn can_read(&self, missing: &[Slot]) -> bool {
        let missing: BTreeSet<Slot> = missing.iter().copied().filter(|slot| slot.0 < self.slots).collect();
        match &self.placement {
            Placement::Spans(_) | Placement::Zones(_) => missing.is_empty(),
            Placement::Mirror => missing.len() < usize::from(self.slots),
            Placement::Parity(_) => missing.len() <= usize::from(self.level.parities()),
            Placement::Copies(copies) => (0..copies.cycle()).all(|chunk| {
                let mut slots = copies.slots_of_chunk(chunk);
                slots.any(|slot| !missing.contains(&slot))
            }),
        }
    }
}

/// The fewest members that hold a copy of every chunk.
///
/// Chunks are arcs of equal length on circles of members. With a first member given, going round and taking the last
/// member of each arc that is still without one is best, so every member of one arc is tried as the first.
fn fewest_that_hold_all(copies: &Copies) -> u16 {
    let mut arcs: Vec<Vec<Slot>> = (0..copies.cycle())
        .map(|chunk| in_circular_order(copies.slots_of_chunk(chunk).collect()))
        .collect();
    arcs.sort();
    arcs.dedup();
    let mut total = 0;
    while let Some(circle) = take_circle(&mut arcs) {
        let best = circle[0].iter().map(|&first| members_from(first, &circle)).min();
        total += best.unwrap_or(0);
    }
    total
}

/// An arc's members from its first to its last: where the numbers jump, the arc passes the end of its circle.
fn in_circular_order(mut arc: Vec<Slot>) -> Vec<Slot> {
    arc.sort();
    let jump = arc.windows(2).position(|pair| pair[1].0 > pair[0].0 + 1);
    arc.rotate_left(jump.map_or(0, |at| at + 1));
    arc
}

/// Takes the first arc and all that hang together with it.
fn take_circle(arcs: &mut Vec<Vec<Slot>>) -> Option<Vec<Vec<Slot>>> {
    let mut circle = vec![arcs.pop()?];
    while let Some(at) = arcs
        .iter()
        .position(|arc| circle.iter().flatten().any(|slot| arc.contains(slot)))
    {
        circle.push(arcs.swap_remove(at));
    }
    Some(circle)
}

/// How many members hold all arcs if `first` is one of them.
fn members_from(first: Slot, circle: &[Vec<Slot>]) -> u16 {
    let members: Vec<Slot> = circle
        .iter()
        .flatten()
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let index = |slot: Slot| members.partition_point(|&other| other < slot);
    let steps = |slot: Slot| (index(slot) + members.len() - index(first)) % members.len();
    let mut others: Vec<(usize, &[Slot])> = circle
        .iter()
        .filter(|arc| !arc.contains(&first))
        .map(|arc| (steps(arc[arc.len() - 1]), arc.as_slice()))
        .collect();
    others.sort();
    let mut chosen = vec![first];
    for (_, arc) in others {
        if !arc.iter().any(|slot| chosen.contains(slot)) {
            chosen.extend(arc.last());
        }
    }
    slot_of(chosen.len() as u64).0
}
