//! Flaws of a member: runs of its data that are lost, as md's bad-block log has them.
//!
//! A read that touches a flaw fails like a sector that cannot be read, whatever the host would give; a write that covers
//! one makes it good. The log is written before anybody relies on what it says: before a rebuild goes on behind a run that
//! it could not make, and, once the new bytes are durable, before the write that covered a flaw is answered. The flag in the
//! superblock, without which the log counts for nothing, follows with the next commit.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::io::Errno;

use super::Member;
use crate::raid::{
    SECTOR_BYTES, Sector,
    metadata::{
        badblocks::BadBlocks,
        superblock::{Features, Superblock},
    },
};

/// Where a log stands on its device, and its unit.
#[derive(Debug, Clone, Copy)]
struct LogPlace {
    start_bytes: u64,
    sectors: u16,
    shift: u8,
}

/// The flaws of a device.
#[derive(Debug, Default)]
pub(super) struct Flaws {
    any: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    place: Option<LogPlace>,
    /// From the start of the device.
    bad: BadBlocks,
}

impl Flaws {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Learns where the bad-block log is, and what it says if the superblock has it counted.
    ///
    /// # Errors
    /// What the host says, and `EILSEQ` where the log is damaged.
    pub fn load_flaws(&self, superblock: &Superblock) -> io::Result<()> {
        let Some(area) = superblock.bad_block_area() else {
            return Ok(());
        };
        let place = LogPlace {
            start_bytes: area.start.0 * SECTOR_BYTES,
            sectors: superblock.bad_blocks.sectors,
            shift: superblock.bad_blocks.shift,
        };
        let mut log = self.device.flaws.lock();
        log.place = Some(place);
        if !superblock.features.has(Features::BAD_BLOCKS) {
            return Ok(());
        }
        let mut bytes = vec![0; usize::from(place.sectors) * 512];
        self.read_raw(&mut bytes, place.start_bytes)?;
        log.bad = BadBlocks::decode(&bytes, place.shift).map_err(|damage| {
            log::warn!("{}: {damage}", self.path().display());
            io::Error::from(Errno::ILSEQ)
        })?;
        self.device.flaws.any.store(!log.bad.is_empty(), Ordering::Release);
        Ok(())
    }

    /// True where there is any flaw.
    pub fn has_flaws(&self) -> bool {
        self.device.flaws.any.load(Ordering::Acquire)
    }

    /// True where a range of the data area has lost some of its bytes.
    pub fn is_flawed(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        if !self.has_flaws() {
            return false;
        }
        let (start, length) = self.sectors_around(offset_bytes, length_bytes);
        self.device.flaws.lock().bad.first_in(start, length).is_some()
    }

    /// Runs of the data area whose bytes are lost: offset and length.
    pub fn flaws(&self) -> Vec<(u64, u64)> {
        let log = self.device.flaws.lock();
        let run = |(start, length): (Sector, Sector)| {
            let (start, end) = (start.0 * SECTOR_BYTES, (start.0 + length.0) * SECTOR_BYTES);
            let from = start.max(self.data_offset_bytes) - self.data_offset_bytes;
            let to = end.min(self.data_offset_bytes + self.data_bytes);
            (from, to.saturating_sub(self.data_offset_bytes).saturating_sub(from))
        };
        log.bad.ranges().map(run).filter(|(_, length)| *length > 0).collect()
    }

    /// Says durably that the bytes of a range are lost.
    ///
    /// # Errors
    /// `ENOSPC` where the member has no log or it is full, and what the host says; nothing has changed then.
    pub fn note_flaw(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let (start, length) = self.sectors_around(offset_bytes, length_bytes);
        self.change_log(|bad| bad.add(start, length))
    }

    /// Takes flaws away that a write has covered, once that is durable.
    pub(super) fn clear_flaws(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let first = (self.data_offset_bytes + offset_bytes).div_ceil(SECTOR_BYTES);
        let end = (self.data_offset_bytes + offset_bytes + length_bytes) / SECTOR_BYTES;
        let covered = (Sector(first), Sector(end.saturating_sub(first)));
        if self.device.flaws.lock().bad.first_in(covered.0, covered.1).is_none() {
            return Ok(());
        }
        self.flush()?;
        self.change_log(|bad| bad.remove(covered.0, covered.1))
    }

    fn change_log(&self, change: impl FnOnce(&mut BadBlocks)) -> io::Result<()> {
        let mut log = self.device.flaws.lock();
        let place = log.place.ok_or(Errno::NOSPC)?;
        let mut bad = log.bad.clone();
        change(&mut bad);
        let bytes = bad.encode(place.sectors, place.shift).map_err(|damage| {
            log::warn!("{}: {damage}", self.path().display());
            io::Error::from(Errno::NOSPC)
        })?;
        self.write_raw(&bytes, place.start_bytes)?;
        self.flush()?;
        self.device.flaws.any.store(!bad.is_empty(), Ordering::Release);
        log.bad = bad;
        Ok(())
    }

    /// All sectors of the device that a range of the data area touches.
    fn sectors_around(&self, offset_bytes: u64, length_bytes: u64) -> (Sector, Sector) {
        let start = (self.data_offset_bytes + offset_bytes) / SECTOR_BYTES;
        let end = (self.data_offset_bytes + offset_bytes + length_bytes).div_ceil(SECTOR_BYTES);
        (Sector(start), Sector(end - start))
    }
}
