//! The plan of a replay: which bytes of the members' journals go where after a crash.
//!
//! Pure, so that every crash can be tried: see the tests.

use std::collections::BTreeMap;

use super::{Checkpoint, Record, Scanned, Stamp};
use crate::raid::{
    Sector, Slot,
    metadata::{identity::Uuid, superblock::Area},
};

/// The journal of one member that is present.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The member's slot.
    pub slot: Slot,
    /// The member's identity.
    pub device_uuid: Uuid,
    /// Where records may write: the member's data.
    pub data: Area,
    /// Its newest checkpoint; none where neither could be read.
    pub checkpoint: Option<Checkpoint>,
    /// What was found in its ring.
    pub records: Vec<Scanned>,
}

/// Bytes that go from a member's journal to the member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayWrite {
    /// The member.
    pub slot: Slot,
    /// Where to write, in sectors of its device.
    pub sector: Sector,
    /// Which bytes of its ring.
    pub payload: std::ops::Range<usize>,
}

/// A stripe of which it cannot be told whether it was being written: the journal of a member that took part is gone.
/// Without redundancy for a resync its blocks are to be treated as bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Number of the write.
    pub sequence: u64,
    /// The stripe.
    pub stripe: u64,
    /// The member without a journal.
    pub slot: Slot,
}

/// What is to be done before an array is served.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// Writes in their order.
    pub writes: Vec<ReplayWrite>,
    /// Sequence numbers of groups that were not complete: nothing of them was written in place.
    pub dropped: Vec<u64>,
    /// Stripes that cannot be told.
    pub doubts: Vec<Doubt>,
    /// True where the journals speak of another state of the array: it ran elsewhere since, and they were ignored.
    pub void: bool,
    /// True where every member has a journal and all of them cover every write: then a dirty array with missing members
    /// may be served after the replay.
    pub covers_all: bool,
    /// Least sequence number that no record has; the next start begins with it.
    pub next_sequence: u64,
}

/// Plans the replay of an array with the identity `array` and the superblocks `found` from the journals of all members
/// that are present and fresh. Members without a journal at all belong into the list too, without a checkpoint.
pub fn replay(array: Uuid, found: Stamp, journals: &[Journal]) -> Replay {
    let ours = |journal: &&Journal| {
        let own =
            |checkpoint: &Checkpoint| checkpoint.array_uuid == array && checkpoint.device_uuid == journal.device_uuid;
        journal.checkpoint.as_ref().is_some_and(own)
    };
    let checkpoints: Vec<&Checkpoint> = journals
        .iter()
        .filter(ours)
        .filter_map(|journal| journal.checkpoint.as_ref())
        .collect();
    let retired_below = checkpoints
        .iter()
        .map(|checkpoint| checkpoint.retired_below)
        .max()
        .unwrap_or(0);
    let numbers = journals.iter().filter(ours).flat_map(|journal| &journal.records);
    let last = numbers.map(|scanned| scanned.record.sequence.saturating_add(1)).max();
    let covering = checkpoints.iter().filter(|checkpoint| checkpoint.covers_all).count();
    let mut plan = Replay {
        covers_all: covering == journals.len() && covering > 0,
        next_sequence: last.unwrap_or(0).max(retired_below),
        ..Replay::default()
    };
    if !checkpoints.iter().all(|checkpoint| checkpoint.is_of(found)) {
        plan.void = true;
        plan.covers_all = false;
        return plan;
    }
    let mut groups: BTreeMap<(u64, u64), Vec<(&Journal, &Scanned)>> = BTreeMap::new();
    for journal in journals.iter().filter(ours) {
        for scanned in &journal.records {
            let Record {
                sequence, epoch, slot, ..
            } = scanned.record;
            if sequence >= retired_below && slot == journal.slot {
                groups.entry((sequence, epoch)).or_default().push((journal, scanned));
            }
        }
    }
    let without: Vec<Slot> = journals
        .iter()
        .filter(|journal| !ours(journal))
        .map(|journal| journal.slot)
        .collect();
    for ((sequence, _), group) in groups {
        judge(sequence, &group, journals, &without, &mut plan);
    }
    plan
}

/// Decides about one group and adds what follows to the plan.
fn judge(sequence: u64, group: &[(&Journal, &Scanned)], journals: &[Journal], without: &[Slot], plan: &mut Replay) {
    let (_, first) = group[0];
    let Record {
        stripe, participants, ..
    } = &first.record;
    let agree = group.iter().all(|(journal, scanned)| {
        let inside = |range: &super::Range| {
            let area = Area {
                start: range.sector,
                length: Sector(range.sectors.into()),
            };
            let data = journal.data;
            area.start >= data.start && area.end() <= data.end() && area.end().0 - area.start.0 == area.length.0
        };
        let record = &scanned.record;
        record.stripe == *stripe && record.participants == *participants && record.ranges.iter().all(inside)
    });
    let has = |slot: &Slot| group.iter().any(|(journal, _)| journal.slot == *slot);
    let present = |slot: &&Slot| journals.iter().any(|journal| journal.slot == **slot);
    let lacking: Vec<&Slot> = participants.iter().filter(present).filter(|slot| !has(slot)).collect();
    if lacking.iter().any(|slot| !without.contains(slot)) {
        // A member that has a journal never got its record, so nobody went on to write in place.
        plan.dropped.push(sequence);
        return;
    }
    let odd = if agree {
        lacking.first().copied()
    } else {
        Some(&first.record.slot)
    };
    if let Some(&slot) = odd {
        plan.doubts.push(Doubt {
            sequence,
            stripe: *stripe,
            slot,
        });
        return;
    }
    for (journal, scanned) in group {
        let mut at = scanned.payload.start;
        for range in &scanned.record.ranges {
            let end = at + range.sectors as usize * 512;
            plan.writes.push(ReplayWrite {
                slot: journal.slot,
                sector: range.sector,
                payload: at..end,
            });
            at = end;
        }
    }
}
