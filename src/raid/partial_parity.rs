//! md's partial parity logs at assembly: what was being written when the array was cut off gets its parity again.
//!
//! Only a RAID 5 that was not stopped cleanly has something to replay, and only before it is used; afterwards the stripe
//! journal ([`super::journal`]) takes the log's place, and the first write says in the superblocks that there is none. The
//! format is [`super::metadata::ppl`]'s; what is decided here is decided as Linux does it.

use std::sync::Arc;

use super::{
    SECTOR_BYTES, Sector, Slot,
    assemble::{Choice, Image},
    error::{Error, Result},
    geometry::Geometry,
    member::Member,
    metadata::ppl::{ParityUpdate, PplReplay, replay},
    parity::xor_into,
};
use crate::storage::Access;

/// The log of one member.
struct Log {
    /// The member, whose parity it is about.
    slot: Slot,
    area: Vec<u8>,
    plan: PplReplay,
}

/// The logs of an array's members.
#[derive(Default)]
pub(super) struct Logs {
    logs: Vec<Log>,
    /// Some log or entry was not whole, so that not all is known.
    torn: bool,
    /// Some log could not be understood at all.
    damaged: bool,
}

impl Logs {
    /// Reads the logs of an array that was not stopped cleanly; nothing of another one.
    ///
    /// # Errors
    /// [`Error::Member`].
    pub(super) fn read(images: &[Image], choice: &Choice) -> Result<Self> {
        let mut logs = Self::default();
        let view = &choice.freshest.superblock;
        if !choice.dirty || choice.shape.view().is_some() {
            return Ok(logs);
        }
        for (found, slot) in &choice.devices {
            let (Some(slot), Some(place)) = (*slot, found.superblock.ppl_area()) else {
                continue;
            };
            let image = &images[found.image];
            let mut area = vec![0; usize::try_from(place.length.0 * SECTOR_BYTES).unwrap_or(0)];
            let read = image
                .open(Access::Read)?
                .read_at(&mut area, place.start.0 * SECTOR_BYTES);
            let count = read.map_err(|source| Error::Member {
                path: image.path(),
                verb: "read its partial parity log",
                source,
            })?;
            area.truncate(count);
            match replay(&area, view.array_uuid, view.chunk, choice.shape.slots()) {
                Ok(plan) => {
                    logs.torn |= plan.torn > 0;
                    logs.logs.push(Log { slot, area, plan });
                }
                Err(damage) => {
                    log::warn!("{}: {damage}", image.path().display());
                    logs.damaged = true;
                }
            }
        }
        Ok(logs)
    }

    /// True where parity is right once they are replayed, as far as members are there.
    pub(super) fn cover(&self) -> bool {
        !self.logs.is_empty() && !self.damaged
    }

    /// True where there is something to replay.
    pub(super) fn ask_for_writes(&self) -> bool {
        self.logs.iter().any(|log| !log.plan.updates.is_empty())
    }

    /// Makes parity right, durably, where a log says that data were being written. True where that makes all parity right;
    /// else a resync is needed.
    ///
    /// # Errors
    /// [`Error::Member`].
    pub(super) fn replay(&self, geometry: &Geometry, members: &[Option<Arc<Member>>]) -> Result<bool> {
        let mut all = !self.torn && !self.damaged;
        for log in &self.logs {
            for update in &log.plan.updates {
                all &= log.update(update, geometry, members)?;
            }
        }
        for member in members.iter().flatten().filter(|_| self.ask_for_writes()) {
            member.flush().map_err(|source| failed(member, source))?;
        }
        Ok(all && self.ask_for_writes())
    }
}

impl Log {
    /// Writes one run of parity; false where the log speaks of something else than this array's stripes. Where data that were
    /// being written are missing, nothing better than the parity that stands there can be had, and it stays.
    fn update(&self, update: &ParityUpdate, geometry: &Geometry, members: &[Option<Arc<Member>>]) -> Result<bool> {
        let place = |sector: &Sector| geometry.stripe_of(sector.bytes()?);
        let places: Option<Vec<_>> = update.data.iter().map(place).collect();
        let (Some(places), Some(length_bytes)) = (places, update.length.bytes()) else {
            return Ok(false);
        };
        let Some(first) = places.first() else { return Ok(true) };
        let offset_bytes = first.member_offset_bytes();
        let same_row = places
            .iter()
            .all(|place| place.stripe == first.stripe && place.member_offset_bytes() == offset_bytes);
        let in_chunk = first.within_bytes + length_bytes <= geometry.chunk_bytes();
        if !same_row || !in_chunk || first.stripe.p != update.parity || self.slot != update.parity {
            return Ok(false);
        }
        let holder = |slot: Slot| {
            let member = members.get(slot.index())?.as_ref();
            member.filter(|member| member.holds(offset_bytes, length_bytes))
        };
        let Some(target) = holder(self.slot) else {
            return Ok(true);
        };
        let mut data = vec![0; usize::try_from(length_bytes).unwrap_or(0)];
        let mut parity = match &update.partial {
            Some(range) => self.area[range.clone()].to_vec(),
            None => data.clone(),
        };
        for place in &places {
            let Some(member) = holder(place.slot()) else {
                return Ok(true);
            };
            member
                .read(&mut data, offset_bytes)
                .map_err(|source| failed(member, source))?;
            xor_into(&mut parity, &data);
        }
        target
            .write(&parity, offset_bytes)
            .map_err(|source| failed(target, source))?;
        Ok(true)
    }
}

fn failed(member: &Member, source: std::io::Error) -> Error {
    Error::Member {
        path: member.path().to_path_buf(),
        verb: "replay partial parity on it",
        source,
    }
}
