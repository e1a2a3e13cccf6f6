//! What a verify found: where members disagree, who is to blame as far as that can be known, what could not be read.
//!
//! Lists are cut off at [`LISTED_MAX`], counts are not: a member that was overwritten as a whole must not fill memory.

use crate::raid::{Slot, rebuild::Ending};

/// Most mismatches, and most unreadable runs, that a report lists.
pub const LISTED_MAX: usize = 1024;

/// What a verify does about what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repair {
    /// Nothing: it only looks.
    #[default]
    Report,
    /// What can be proven: sectors that cannot be read, the one member that RAID 6 finds by both parities, the one copy
    /// that most others outvote. Where nobody knows who is right nothing is changed.
    Provable,
    /// Beyond that, as md does: data, or the first copy, are taken for right and the rest is made to fit them.
    Redundancy,
}

/// A member that may hold wrong bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// Its slot.
    pub slot: Slot,
    /// Where, from the start of its data area.
    pub offset_bytes: u64,
}

/// A run in which redundancy does not go with the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// First byte of the array that is concerned; where a parity is to blame, or nobody knows who, the one in the first
    /// chunk of the stripe.
    pub array_offset_bytes: u64,
    /// Its length, on each member.
    pub length_bytes: u64,
    /// Members that may be wrong: one where it is known who is.
    pub suspects: Vec<Suspect>,
    /// It was made right.
    pub repaired: bool,
}

/// A run of a member that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// The member and the place.
    pub at: Suspect,
    /// Its length.
    pub length_bytes: u64,
    /// It was written with what the others have, and reads again.
    pub repaired: bool,
}

/// What a verify found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether it came to the end; it stops, too, where a member is lost.
    pub ending: Ending,
    /// Bytes of the array, or of each member where there is parity, that were compared.
    pub compared_bytes: u64,
    /// Of these: redundancy there waits for a resync, so that nothing could be said.
    pub unsynced_bytes: u64,
    /// Bytes of each member in which there was a mismatch, repaired or not.
    pub mismatched_bytes: u64,
    /// Of these: left as they are.
    pub unrepaired_bytes: u64,
    /// Bytes that could not be read.
    pub unreadable_bytes: u64,
    /// Mismatches by array offset, no more than [`LISTED_MAX`].
    pub mismatches: Vec<Mismatch>,
    /// Unreadable runs by slot and place, no more than [`LISTED_MAX`].
    pub unreadable: Vec<Unreadable>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            ending: Ending::Complete,
            compared_bytes: 0,
            unsynced_bytes: 0,
            mismatched_bytes: 0,
            unrepaired_bytes: 0,
            unreadable_bytes: 0,
            mismatches: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// True where all redundancy agrees with the data, and everything can be read, now.
    pub fn is_clean(&self) -> bool {
        self.unrepaired_bytes == 0 && self.unreadable.iter().all(|run| run.repaired)
    }

    pub(super) fn add_mismatch(&mut self, found: Mismatch) {
        self.mismatched_bytes += found.length_bytes;
        if !found.repaired {
            self.unrepaired_bytes += found.length_bytes;
        }
        if let Some(last) = self.mismatches.last_mut().filter(|last| continues(last, &found)) {
            last.length_bytes += found.length_bytes;
        } else if self.mismatches.len() < LISTED_MAX {
            self.mismatches.push(found);
        }
    }

    pub(super) fn add_unreadable(&mut self, found: Unreadable) {
        self.unreadable_bytes += found.length_bytes;
        let goes_on = |last: &&mut Unreadable| {
            let end = last.at.offset_bytes + last.length_bytes;
            (last.repaired, last.at.slot, end) == (found.repaired, found.at.slot, found.at.offset_bytes)
        };
        if let Some(last) = self.unreadable.last_mut().filter(goes_on) {
            last.length_bytes += found.length_bytes;
        } else if self.unreadable.len() < LISTED_MAX {
            self.unreadable.push(found);
        }
    }

    /// Takes in what was found in another part of the array.
    pub(super) fn merge(&mut self, other: Self) {
        self.compared_bytes += other.compared_bytes;
        self.unsynced_bytes += other.unsynced_bytes;
        self.mismatched_bytes += other.mismatched_bytes;
        self.unrepaired_bytes += other.unrepaired_bytes;
        self.unreadable_bytes += other.unreadable_bytes;
        let room = LISTED_MAX - self.mismatches.len();
        self.mismatches.extend(other.mismatches.into_iter().take(room));
        let room = LISTED_MAX - self.unreadable.len();
        self.unreadable.extend(other.unreadable.into_iter().take(room));
    }

    /// Puts the lists into order, and what belongs together into one.
    pub(super) fn finish(mut self) -> Self {
        let (mut mismatches, mut unreadable) = (self.mismatches, self.unreadable);
        mismatches.sort_by(|a, b| (a.array_offset_bytes, &a.suspects).cmp(&(b.array_offset_bytes, &b.suspects)));
        unreadable.sort_by_key(|run| run.at);
        (self.mismatches, self.unreadable) = (Vec::new(), Vec::new());
        let totals = (self.mismatched_bytes, self.unrepaired_bytes, self.unreadable_bytes);
        mismatches.into_iter().for_each(|found| self.add_mismatch(found));
        unreadable.into_iter().for_each(|found| self.add_unreadable(found));
        (self.mismatched_bytes, self.unrepaired_bytes, self.unreadable_bytes) = totals;
        self
    }
}

/// True where a mismatch goes on where the last one ended, on the same members.
fn continues(last: &Mismatch, next: &Mismatch) -> bool {
    let follows =
        |(a, b): (&Suspect, &Suspect)| a.slot == b.slot && a.offset_bytes + last.length_bytes == b.offset_bytes;
    last.repaired == next.repaired
        && last.array_offset_bytes + last.length_bytes == next.array_offset_bytes
        && last.suspects.len() == next.suspects.len()
        && last.suspects.iter().zip(&next.suspects).all(follows)
}
