//! Linear arrays and the zones of RAID 0: layouts without redundancy, whose members may differ in size.
//!
//! A *zone* is a run of array bytes striped over the same members. It ends where its smallest member is full; the next
//! zone goes on over the larger ones, in slot order. A linear array is what is left when the stripes are taken away:
//! one span a member. Source: md's raid0 and linear personalities, tried against a kernel (`images/raid`).

use super::{Cell, GeometryError, Place};
use crate::raid::{Level, SECTOR_BYTES, Slot};

/// How a chunk of RAID 0 finds its member in a zone: md's layout number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Layout 1, `original`: the chunk's number in the array decides.
    Original,
    /// Layout 2, `alternate`: the chunk's number in the zone decides.
    Alternate,
}

/// A run of the array, striped over the same members.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Zone {
    /// First byte of the array after the zone.
    array_end: u64,
    /// First byte of the zone on each of its members.
    member_start: u64,
    /// Its members, by slot.
    members: Vec<Slot>,
}

/// RAID 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zones {
    chunk_bytes: u64,
    turn: Turn,
    zones: Vec<Zone>,
    used_bytes: Vec<u64>,
    capacity_bytes: u64,
}

impl Zones {
    /// Lays out zones over members of these sizes.
    ///
    /// Layout 0 is what kernels before 5.4 wrote; it is taken where all layouts are the same, and refused where a
    /// wrong guess would swap chunks.
    pub(super) fn new(layout: u32, chunk_bytes: u64, member_bytes: &[u64]) -> Result<Self, GeometryError> {
        let used_bytes: Vec<u64> = member_bytes.iter().map(|bytes| bytes - bytes % chunk_bytes).collect();
        let mut zones: Vec<Zone> = Vec::new();
        let (mut member_start, mut array_end) = (0, 0_u64);
        loop {
            let larger = |slot: &Slot| used_bytes[slot.index()] > member_start;
            let members: Vec<Slot> = slots(member_bytes.len()).filter(larger).collect();
            let Some(end) = members.iter().map(|slot| used_bytes[slot.index()]).min() else {
                break;
            };
            let bytes = (end - member_start).checked_mul(members.len() as u64);
            array_end = bytes
                .and_then(|bytes| array_end.checked_add(bytes))
                .ok_or(GeometryError::TooLarge)?;
            zones.push(Zone {
                array_end,
                member_start,
                members,
            });
            member_start = end;
        }
        let turn = match layout {
            1 => Turn::Original,
            2 => Turn::Alternate,
            0 if zones.get(1).is_none_or(|zone| zone.members.len() == 1) => Turn::Alternate,
            _ => {
                return Err(GeometryError::UnknownLayout {
                    level: Level::Raid0,
                    layout,
                    remedy: "1 (original) and 2 (alternate) are known; 0 does not say which, and members of unequal \
                             size need one of them",
                });
            }
        };
        // md masks sizes with the chunk less one. That rounds to chunks where the chunk is a power of two, and leaves
        // the end of the last zone out where it is not.
        let masked = |bytes: &u64| (bytes / SECTOR_BYTES) & !(chunk_bytes / SECTOR_BYTES - 1);
        Ok(Self {
            chunk_bytes,
            turn,
            zones,
            capacity_bytes: used_bytes.iter().map(masked).sum::<u64>() * SECTOR_BYTES,
            used_bytes,
        })
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    pub(super) fn used_bytes(&self, slot: Slot) -> u64 {
        self.used_bytes[slot.index()]
    }

    /// True where all members are used up to the same place.
    pub(super) fn is_even(&self) -> bool {
        self.zones.len() == 1
    }

    /// Members that the first stripe of the array has.
    pub(super) fn width(&self) -> u64 {
        self.zones.first().map_or(1, |zone| zone.members.len() as u64)
    }

    fn zone_start(&self, zone: usize) -> u64 {
        zone.checked_sub(1).map_or(0, |before| self.zones[before].array_end)
    }

    /// Where the byte `array_offset`, which is inside the array, lies.
    pub(super) fn place(&self, array_offset: u64) -> Place {
        let index = self.zones.partition_point(|zone| zone.array_end <= array_offset);
        let zone = &self.zones[index];
        let width = zone.members.len() as u64;
        let within = array_offset % self.chunk_bytes;
        let in_zone = (array_offset - self.zone_start(index)) / self.chunk_bytes;
        let turn = match self.turn {
            Turn::Original => array_offset / self.chunk_bytes,
            Turn::Alternate => in_zone,
        };
        Place {
            slot: member(&zone.members, turn % width),
            member_offset_bytes: zone.member_start + in_zone / width * self.chunk_bytes + within,
            run_bytes: self.chunk_bytes - within,
        }
    }

    /// What lies at `member_offset` of `slot`.
    pub(super) fn cell(&self, slot: Slot, member_offset: u64) -> Cell {
        if member_offset >= self.used_bytes(slot) {
            return Cell::Unused;
        }
        let index = self.zones.partition_point(|zone| zone.member_start <= member_offset) - 1;
        let zone = &self.zones[index];
        let width = zone.members.len() as u64;
        let within = member_offset % self.chunk_bytes;
        let row = (member_offset - zone.member_start) / self.chunk_bytes;
        let start = self.zone_start(index);
        let at = zone.members.iter().take_while(|&&other| other != slot).count() as u64;
        let column = match self.turn {
            Turn::Alternate => at,
            // The zone begins with the member that its first chunk's number in the array names.
            Turn::Original => (at + width - start / self.chunk_bytes % width) % width,
        };
        let array_offset_bytes = start + (row * width + column) * self.chunk_bytes + within;
        if array_offset_bytes >= self.capacity_bytes {
            return Cell::Unused;
        }
        Cell::Data {
            array_offset_bytes,
            run_bytes: (self.chunk_bytes - within).min(self.capacity_bytes - array_offset_bytes),
        }
    }
}

/// A linear array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spans {
    /// First byte of the array after each member.
    ends: Vec<u64>,
}

impl Spans {
    /// Members one after the other, each rounded down to the chunk (md: rounding) where there is one.
    pub(super) fn new(chunk_bytes: u64, member_bytes: &[u64]) -> Result<Self, GeometryError> {
        let mut end = 0_u64;
        let mut ends = Vec::with_capacity(member_bytes.len());
        for bytes in member_bytes {
            let used = if chunk_bytes == 0 {
                *bytes
            } else {
                bytes - bytes % chunk_bytes
            };
            end = end.checked_add(used).ok_or(GeometryError::TooLarge)?;
            ends.push(end);
        }
        Ok(Self { ends })
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn start(&self, slot: usize) -> u64 {
        slot.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    pub(super) fn used_bytes(&self, slot: Slot) -> u64 {
        self.ends[slot.index()] - self.start(slot.index())
    }

    /// Where the byte `array_offset`, which is inside the array, lies.
    pub(super) fn place(&self, array_offset: u64) -> Place {
        let index = self.ends.partition_point(|&end| end <= array_offset);
        Place {
            slot: slot_of(index as u64),
            member_offset_bytes: array_offset - self.start(index),
            run_bytes: self.ends[index] - array_offset,
        }
    }

    /// What lies at `member_offset` of `slot`.
    pub(super) fn cell(&self, slot: Slot, member_offset: u64) -> Cell {
        let used = self.used_bytes(slot);
        if member_offset >= used {
            return Cell::Unused;
        }
        Cell::Data {
            array_offset_bytes: self.start(slot.index()) + member_offset,
            run_bytes: used - member_offset,
        }
    }
}

fn slots(members: usize) -> impl Iterator<Item = Slot> {
    (0..members as u64).map(slot_of)
}

fn member(members: &[Slot], index: u64) -> Slot {
    members[usize::try_from(index).expect("fewer members than 65,536")]
}

/// The slot of a number that is known to be below the number of members.
pub(super) fn slot_of(number: u64) -> Slot {
    Slot(u16::try_from(number).expect("fewer members than 65,536"))
}
