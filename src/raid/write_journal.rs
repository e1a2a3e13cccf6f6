//! md's write journal at assembly: what was logged and may not be in place is written there, as Linux does it.
//!
//! Of each page of a stripe the log has data and parity, which are written as they are, or only data that were to be
//! written later (write-back); these get their parity from all data, for which no member may be missing. Then the log is
//! made empty, so that nobody writes it again. An array with such a journal is only read here. The format is
//! [`super::metadata::write_journal`]'s; the journal that writes of our own go through is [`super::journal`].

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use super::{
    SECTOR_BYTES, Sector, Slot,
    array::{Intent, Roster, Rows, Source},
    assemble::{Choice, Found, Image},
    error::{Error, Result},
    geometry::{Geometry, Stripe},
    member::Member,
    metadata::{
        identity::Uuid,
        write_journal::{MetaBlock, PAGE_BYTES, PAGE_SECTORS, Payload, checksum},
    },
};
use crate::storage::{Access, Storage};

#[cfg(test)]
mod tests;

/// What Linux leaves between the numbers of blocks before and after a recovery.
const NUMBERS_BETWEEN: u64 = 10_000;

/// A page of a stripe: what the log has of it, by place in the ring.
#[derive(Default)]
struct Page {
    data: BTreeMap<Slot, Sector>,
    parity: Option<Sector>,
}

/// The journal of an array, and what is to be done of it.
pub(super) struct WriteJournal {
    found: Found,
    array: Uuid,
    ring: Ring,
    tail: Sector,
    /// Number of the next block.
    next: u64,
    /// Pages in the order in which they are to be written, by their offset on the members.
    done: Vec<(u64, Page)>,
    /// Those that wait for more; what is left at the end is the last of its page.
    open: BTreeMap<u64, Page>,
}

/// Where the log is on its device.
#[derive(Clone)]
struct Ring {
    start_bytes: u64,
    sectors: u64,
}

impl Ring {
    fn after(&self, at: Sector, sectors: u64) -> Sector {
        Sector((at.0 + sectors) % self.sectors)
    }

    fn read(&self, storage: &dyn Storage, at: Sector) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE_BYTES];
        let count = storage.read_at(&mut bytes, self.start_bytes + at.0 * SECTOR_BYTES)?;
        bytes.truncate(count);
        Ok(bytes)
    }
}

impl WriteJournal {
    /// Reads the log of an array that has one; none where it has not.
    ///
    /// # Errors
    /// [`Error::Member`].
    pub(super) fn read(images: &[Image], choice: &Choice) -> Result<Option<Self>> {
        let Some(found) = &choice.journal else { return Ok(None) };
        let image = &images[found.image];
        let superblock = &found.superblock;
        let ring = Ring {
            start_bytes: superblock.data_offset.0.saturating_mul(SECTOR_BYTES),
            sectors: superblock.data_size.0 / PAGE_SECTORS * PAGE_SECTORS,
        };
        let tail = Sector(superblock.recovery_offset);
        if ring.sectors == 0 || tail.0 >= ring.sectors || !tail.0.is_multiple_of(PAGE_SECTORS) {
            return Ok(None);
        }
        let mut journal = Self {
            found: found.clone(),
            array: choice.freshest.superblock.array_uuid,
            ring,
            tail,
            next: 0,
            done: Vec::new(),
            open: BTreeMap::new(),
        };
        let storage = image.open(Access::Read)?;
        let scanned = journal.scan(&*storage, choice.shape.geometry());
        scanned.map_err(|source| failed(image, "read the log on it", source))?;
        Ok(Some(journal))
    }

    /// Goes through the log up to the first block that is not whole: what is behind it was never acknowledged.
    fn scan(&mut self, storage: &dyn Storage, geometry: &Geometry) -> io::Result<()> {
        let (mut at, mut expected, mut gone_over) = (self.tail, None, 0);
        while gone_over < self.ring.sectors {
            let block = MetaBlock::decode(self.array, at, &self.ring.read(storage, at)?);
            let Some(block) = block.filter(|block| expected.is_none_or(|number| number == block.sequence)) else {
                break;
            };
            let mut places = Vec::new();
            let mut length = PAGE_SECTORS;
            for sum in block.payloads.iter().flat_map(Payload::checksums) {
                let place = self.ring.after(at, length);
                if checksum(self.array, &self.ring.read(storage, place)?) != *sum {
                    return Ok(());
                }
                places.push(place);
                length += PAGE_SECTORS;
            }
            self.take_in(&block, &places, geometry);
            self.next = block.sequence.saturating_add(1);
            expected = Some(self.next);
            at = self.ring.after(at, length);
            gone_over += length;
        }
        Ok(())
    }

    /// Takes in what a block says, whose pages are at `places`.
    fn take_in(&mut self, block: &MetaBlock, places: &[Sector], geometry: &Geometry) {
        let mut places = places.iter().copied();
        for payload in &block.payloads {
            let mut own = places.by_ref().take(payload.checksums().len());
            match payload {
                Payload::Data { array, .. } => {
                    let position = array.bytes().and_then(|offset| geometry.stripe_of(offset));
                    let (Some(position), Some(place)) = (position, own.next()) else {
                        continue;
                    };
                    let at = position.member_offset_bytes();
                    // Another write of a page that is logged as a whole.
                    if let Some(page) = self.open.remove(&at) {
                        if page.parity.is_some() {
                            self.done.push((at, page));
                        } else {
                            self.open.insert(at, page);
                        }
                    }
                    self.open.entry(at).or_default().data.insert(position.slot(), place);
                }
                Payload::Parity { row, .. } => {
                    if let (Some(at), Some(place)) = (row.bytes(), own.next()) {
                        self.open.entry(at).or_default().parity = Some(place);
                    }
                }
                Payload::Flush { rows } => {
                    for at in rows.iter().filter_map(|row| row.bytes()) {
                        self.open.remove(&at);
                    }
                }
            }
            own.for_each(drop);
        }
    }

    /// True where something of it is to be written.
    pub(super) fn is_pending(&self) -> bool {
        !self.done.is_empty() || !self.open.is_empty()
    }

    /// Writes what the log has to its places, durably, and makes the log empty.
    ///
    /// # Errors
    /// [`Error::Member`]; [`Error::NotStartable`] where a member is missing that parity of later writes needs.
    pub(super) fn replay(self, images: &[Image], geometry: &Geometry, members: &[Option<Arc<Member>>]) -> Result<()> {
        let image = &images[self.found.image];
        let storage = image.open(Access::ReadWrite)?;
        image.claim(&*storage, 0, self.found.device.0 * SECTOR_BYTES, Access::ReadWrite)?;
        if self.open.values().any(|page| page.parity.is_none()) && members.iter().any(Option::is_none) {
            return Err(Error::NotStartable {
                array: self.found.superblock.name.short(),
                reason: "its write journal has data without parity, and a member is missing".to_owned(),
                remedy: "give all members, or let Linux start and stop it once",
            });
        }
        let roster = Roster::new(geometry.clone(), Intent::new(None, None, 1), members.to_vec());
        let written: BTreeSet<u64> = self
            .done
            .iter()
            .map(|(at, _)| *at)
            .chain(self.open.keys().copied())
            .collect();
        for (at, page) in self
            .done
            .iter()
            .map(|(at, page)| (*at, page))
            .chain(self.open.iter().map(|(at, page)| (*at, page)))
        {
            let stripe = geometry.stripe(at / geometry.chunk_bytes().max(1));
            let Some(stripe) = stripe.filter(|_| at.is_multiple_of(PAGE_BYTES as u64)) else {
                continue;
            };
            self.put(&*storage, &roster, &stripe, at, page)
                .map_err(|source| failed(image, "write what is logged on it", source))?;
        }
        log::warn!(
            "{}: {} pages of stripes were written again",
            image.path().display(),
            written.len()
        );
        let flushed = members.iter().flatten().try_for_each(|member| member.flush());
        let empty = MetaBlock::empty(self.array, self.tail, self.next.saturating_add(NUMBERS_BETWEEN));
        flushed
            .and_then(|()| storage.write_all_at(&empty, self.ring.start_bytes + self.tail.0 * SECTOR_BYTES))
            .and_then(|()| storage.sync())
            .map_err(|source| failed(image, "empty the log on it", source))
    }

    /// Writes one page of a stripe to the members that are there.
    fn put(&self, log: &dyn Storage, roster: &Roster, stripe: &Stripe, at: u64, page: &Page) -> io::Result<()> {
        let logged = |place: Sector| self.ring.read(log, place);
        let put = |slot: Slot, bytes: &[u8]| roster.seat(slot).map_or(Ok(()), |member| member.write(bytes, at));
        let data = page.data.iter().map(|(slot, place)| Ok((*slot, logged(*place)?)));
        let data: Vec<(Slot, Vec<u8>)> = data.collect::<io::Result<_>>()?;
        let parities = [Some(stripe.p), stripe.q].into_iter().flatten();
        if let Some(place) = page.parity {
            for (number, slot) in (0..).zip(parities) {
                put(slot, &logged(self.ring.after(place, number * PAGE_SECTORS))?)?;
            }
        } else {
            let mut rows = Rows::new(*stripe, PAGE_BYTES as u64);
            let kept = stripe.data().filter(|slot| !page.data.contains_key(slot));
            rows.read(roster, at, kept).map_err(|(_, error)| error)?;
            let new = |slot: Slot| {
                data.iter()
                    .find(|(own, _)| *own == slot)
                    .map(|(_, bytes)| Source::Bytes(bytes))
            };
            rows.overlay(&stripe.data().map(new).collect::<Vec<_>>());
            for slot in parities {
                put(slot, &rows.row_of(slot))?;
            }
        }
        data.iter().try_for_each(|(slot, bytes)| put(*slot, bytes))
    }
}

fn failed(image: &Image, verb: &'static str, source: io::Error) -> Error {
    Error::Member {
        path: image.path(),
        verb,
        source,
    }
}
